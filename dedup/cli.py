"""The command `dedup`."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from dedup.errors import DedupError, EncodingError, InputError, MapError, OptionsError, OutputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dedup.filters import Filters
    from dedup.index.index import Index
    from dedup.options import Options
    from dedup.results import Result
    from dedup.runs import Plan
    from service.client import Client

# Exit code of each error; the closest class counts. 1 is a bug of ours, 2 also
# what the command line itself gives for options it does not know.
EXIT_CODES: dict[type[DedupError], int] = {
    DedupError: 1,
    OptionsError: 2,
    InputError: 3,
    EncodingError: 3,
    MapError: 4,
    OutputError: 5,
}

# Some files or rows could not be read; the rest was cleaned.
SOME_FAILED = 6

# Files and rows that could not be read that are said one by one; `summary.json`
# lists more.
_MOST_PROBLEMS = 20

# Stopped by Ctrl-C, as shells have it.
STOPPED = 130

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.IGNORECASE)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}

# The narrowest that two texts are shown side by side: of less nothing is left for
# letters, so the terminal breaks the lines.
_LEAST_COLUMNS = 20

_MANY = "Folders and corpora"

_MinWords = Annotated[
    int,
    typer.Option(
        min=1,
        max=1_000_000,
        metavar="COUNT",
        help="Least length of a passage, in words, on either side.",
    ),
]
_MinShare = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        help="Least share of aligned words of the shorter side.",
    ),
]

app = typer.Typer(
    help="Find and remove repeated and near-repeated text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command; errors become a line on stderr and an exit code."""
    try:
        app()
    except DedupError as error:
        _say(f"dedup: {error}")
        sys.exit(exit_code(error))


def exit_code(error: DedupError) -> int:
    """Return the exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from dedup import __version__

        print(f"dedup {__version__}")
        raise typer.Exit


@app.command()
def clean(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="A text file or - for standard input; or folders and corpora."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write the cleaned text to this file; the cleaned mirror into this folder.",
        ),
    ] = None,
    map_file: Annotated[
        str | None,
        typer.Option("--map", metavar="FILE", help="Write the map here, as JSON Lines."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print cleaned text and map as one JSON object.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what goes beside what stays, not the text.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the map alone; write no file.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Let --out replace the input, or fill a used folder."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary on stderr.")] = False,
    unit: Annotated[
        Literal["sentence", "paragraph", "document"], typer.Option(help="What is compared.")
    ] = "sentence",
    threshold: Annotated[
        float, typer.Option(help="Least score of a duplicate, over 0 and up to 1.")
    ] = 0.7,
    keep: Annotated[
        Literal["first", "longest", "last", "newest", "priority"],
        typer.Option(help="Which copy stays."),
    ] = "first",
    numbers: Annotated[
        bool, typer.Option(help="Units whose digits differ are never duplicates.")
    ] = True,
    stretches: Annotated[
        bool, typer.Option(help="Hold units against text that is cut elsewhere, too.")
    ] = True,
    min_chars: Annotated[
        int, typer.Option(help="Least length of a unit that is compared, in folded characters.")
    ] = 25,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Take nothing out; only say what repeats.")
    ] = False,
    scope: Annotated[
        Literal["corpus", "document"],
        typer.Option(
            help="Look for repeats across all documents, or inside each.", rich_help_panel=_MANY
        ),
    ] = "corpus",
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Take out only what also stands in this reference.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Read only such files.", rich_help_panel=_MANY),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Do not read such files.", rich_help_panel=_MANY),
    ] = None,
    stdin_format: Annotated[
        Literal["text", "jsonl", "csv", "parquet"] | None,
        typer.Option(help="What - holds, packed or not; makes it a corpus.", rich_help_panel=_MANY),
    ] = None,
    id_field: Annotated[
        str, typer.Option(metavar="NAME", help="Field with a row's id.", rich_help_panel=_MANY)
    ] = "id",
    text_field: Annotated[
        str, typer.Option(metavar="NAME", help="Field with a row's text.", rich_help_panel=_MANY)
    ] = "text",
    date_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Field for --keep newest.", rich_help_panel=_MANY),
    ] = None,
    priority_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Field for --keep priority; the least stays.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    priority: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Files for --keep priority, the first glob stays.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    min_run: Annotated[
        int,
        typer.Option(help="Across documents take out only runs of so many.", rich_help_panel=_MANY),
    ] = 1,
    boilerplate_over: Annotated[
        int,
        typer.Option(help="Units in so many documents are boilerplate.", rich_help_panel=_MANY),
    ] = 0,
    boilerplate: Annotated[
        Literal["keep-first", "keep-all", "drop-all"],
        typer.Option(help="What of boilerplate stays.", rich_help_panel=_MANY),
    ] = "keep-first",
    drop_documents_over: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Leave out documents of which a larger share goes.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at what cannot be read.", rich_help_panel=_MANY),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(help="Workers; all cores.", rich_help_panel=_MANY)
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory to keep to, such as 2GiB; half of what is free.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run that was stopped in --out.", rich_help_panel=_MANY
        ),
    ] = False,
    save_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Keep work of so long for --resume.", rich_help_panel=_MANY
        ),
    ] = 30.0,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Have a service clean it; DEDUP_KEY is the key, where it wants one.",
            rich_help_panel="At a service",
        ),
    ] = None,
    key_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File with the key alone.", rich_help_panel="At a service"
        ),
    ] = None,
) -> None:
    """Take repeated passages out of a text, or out of folders and corpora."""
    from dedup.filters import Filters
    from dedup.options import Options

    options = Options(
        unit=unit,
        threshold=threshold,
        keep=keep,
        scope=scope,
        numbers=numbers,
        stretches=stretches,
        min_chars=min_chars,
    )
    filters = Filters(
        min_run=min_run,
        boilerplate_over=boilerplate_over,
        boilerplate=boilerplate,
        annotate=annotate,
    )
    if as_json + diff + dry_run > 1:
        raise typer.BadParameter("--json, --diff and --dry-run exclude each other")
    if server is not None:
        local = {
            "--against": against,
            "--stdin-format": stdin_format,
            "--id-field": id_field != "id",
            "--text-field": text_field != "text",
            "--date-field": date_field,
            "--priority-field": priority_field,
            "--priority": priority,
            "--drop-documents-over": drop_documents_over is not None,
            "--min-run, --boilerplate and --annotate": filters != Filters(),
            "--strict": strict,
            "--threads": threads,
            "--memory": memory,
            "--resume": resume,
            "--save-every": save_every != 30,
            "--keep newest and priority": keep in ("newest", "priority"),
        }
        if given := [name for name, value in local.items() if value]:
            raise typer.BadParameter(f"not with --server: {', '.join(given)}")
    elif key_file is not None:
        raise typer.BadParameter("--key-file is for --server")
    if stdin_format is None and not _are_many(paths, against):
        _clean_one(
            paths[0],
            options,
            filters,
            out,
            map_file,
            as_json,
            diff,
            dry_run,
            overwrite,
            quiet,
            (server, key_file) if server else None,
        )
        return
    if as_json or diff or map_file:
        raise typer.BadParameter("--json, --diff and --map are for one text; a map stands in --out")
    if out is None and not dry_run:
        raise typer.BadParameter("folders and corpora need --out FOLDER, or --dry-run")
    if server is not None:
        if out is None or dry_run or overwrite:
            raise typer.BadParameter("with --server folders and corpora need a new --out FOLDER")
        _clean_there(server, key_file, paths, out, include or (), exclude or (), options, quiet)
        return
    if drop_documents_over is not None and not 0 <= drop_documents_over <= 1:
        raise OptionsError("drop_documents_over", drop_documents_over, "a share from 0 to 1")
    if threads is not None and threads < 1:
        raise OptionsError("threads", threads, "a whole number, 1 or more")
    if resume and overwrite:
        raise typer.BadParameter("--resume goes on, --overwrite starts anew: one of the two")
    from dedup.formats import Fields
    from dedup.runs import Plan

    plan = Plan(
        paths=paths,
        out=None if dry_run else out,
        against=against or (),
        include=include or (),
        exclude=exclude or (),
        fields=Fields(id_field, text_field, date_field, priority_field),
        priority_globs=priority or (),
        drop_over=drop_documents_over,
        strict=strict,
        overwrite=overwrite,
        resume=resume,
        save_seconds=save_every,
        stdin_format=stdin_format,
    )
    _clean_many(plan, options, filters, threads, _parse_size(memory), quiet)


def _parse_size(size: str | None) -> int | None:
    """Return the bytes of a size such as 2GiB, 500MB or 1.5G."""
    if size is None:
        return None
    found = _SIZE.fullmatch(size.strip())
    if not found or float(found[1]) == 0:
        raise OptionsError("memory", size, "a size such as 2GiB or 500MB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _parse_duration(duration: str | None) -> float | None:
    """Return the seconds of a duration such as 30d, 1.5h or 90."""
    if duration is None:
        return None
    found = _DURATION.fullmatch(duration.strip())
    if not found or float(found[1]) == 0:
        raise OptionsError("ttl", duration, "a duration such as 90s, 15m, 12h, 30d or 2w, over 0")
    return float(found[1]) * _SECONDS[found[2].lower() or "s"]


def _show_duration(seconds: float | None) -> str:
    """Show seconds in the largest measure that they are a whole number of."""
    if seconds is None:
        return "never"
    name = next((name for name, one in _SECONDS.items() if seconds % one == 0), "s")
    return f"{seconds / _SECONDS[name]:.15g}{name}"


def _are_many(paths: list[str], against: list[str] | None) -> bool:
    """Tell folders and corpora from one text."""
    if len(paths) > 1 or against:
        return True
    from pathlib import Path

    from dedup.formats import find_files

    if paths[0] == "-" or not Path(paths[0]).exists():
        return False
    if Path(paths[0]).is_dir():
        return True
    files, _ = find_files(paths)
    return any(file.format != "text" or file.compression for file in files)


def _clean_one(
    file: str,
    options: "Options",
    filters: "Filters",
    out: str | None,
    map_file: str | None,
    as_json: bool,
    diff: bool,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    server: tuple[str, str | None] | None,
) -> None:
    from dedup.files import check_apart, check_target, read_source, write_whole

    out = None if out == "-" else out
    if out is not None and map_file is not None:
        check_apart(out, map_file)
    if out is not None:
        check_target(out, [file], overwrite)
    if map_file is not None:
        check_target(map_file, [file])
    source = read_source(file)
    if source.note:
        _say(f"dedup: {source.note}")

    if server:
        with _connected(*server) as client:
            result = client.clean(source.text, options, document=source.name)
    else:
        with _told_of_compilation():
            from dedup.pipeline import clean as clean_text

            result = clean_text(source.text, options, filters=filters, document=source.name)

    cleaned = source.encode(result.text)
    if not dry_run:
        if map_file is not None:
            write_whole(map_file, b"".join(result.map_lines(source.to_mapping())))
        if out is not None:
            write_whole(out, cleaned)
    if dry_run:
        _print_bytes(*result.map_lines(source.to_mapping()))
    elif as_json:
        _print_bytes(result.to_json(), b"\n")
    elif diff:
        _print_diff(result)
    elif out is None:
        _print_bytes(cleaned)
        if cleaned and not cleaned.endswith(b"\n") and sys.stdout.isatty():
            _say("")
    if not quiet:
        from dedup.report import summarise

        _say(summarise(result, options))


@contextmanager
def _connected(url: str, key_file: str | None) -> "Iterator[Client]":
    """Connect to a service."""
    import os
    from pathlib import Path

    from service.client import Client

    key = os.environ.get("DEDUP_KEY")
    if key_file is not None:
        try:
            key = Path(key_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(key_file, f"cannot be read: {error}") from None
    with Client(url, key) as client:
        yield client


def _clean_there(
    server: str,
    key_file: str | None,
    paths: list[str],
    out: str,
    include: Sequence[str],
    exclude: Sequence[str],
    options: "Options",
    quiet: bool,
) -> None:
    """Have a service clean folders and corpora."""
    from dedup.progress import choose_progress
    from dedup.report import summarise_run
    from service.uploads import clean_corpus

    with _stoppable(), _connected(server, key_file) as client:
        done = clean_corpus(client, paths, out, include, exclude, options, choose_progress(quiet))
    _list_problems([*done.notes, *done.failures])
    if not quiet:
        _say(summarise_run(done.summary, options, done.map_file))
    if done.failures:
        raise typer.Exit(SOME_FAILED)


def _clean_many(
    plan: "Plan",
    options: "Options",
    filters: "Filters",
    threads: int | None,
    memory: int | None,
    quiet: bool,
) -> None:
    with _told_of_compilation():
        from dedup.progress import choose_progress
        from dedup.runs import run

        try:
            done = run(
                plan,
                options,
                filters,
                threads=threads,
                memory=memory,
                progress=choose_progress(quiet),
            )
        except KeyboardInterrupt:
            can_go_on = plan.out is not None and plan.stdin_format is None
            _say("dedup: stopped" + ("; go on with --resume" if can_go_on else ""))
            raise typer.Exit(STOPPED) from None
    if plan.out is None:
        for part in done.map_parts:
            _print_bytes(part)
    _list_problems([*done.notes, *done.failures])
    if not quiet:
        from dedup.report import summarise_run

        _say(summarise_run(done.summary, options, done.map_file))
    if done.failures:
        raise typer.Exit(SOME_FAILED)


@app.command()
def find(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Text files, folders and corpora; - for standard input."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the pairs here, not to standard output."),
    ] = None,
    min_words: _MinWords = 16,
    min_share: _MinShare = 0.3,
    scope: Annotated[
        Literal["corpus", "document", "across"],
        typer.Option(help="List all pairs, those inside a document, or those of two documents."),
    ] = "corpus",
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="List only what also stands in this reference, and where there."
        ),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Read only such files.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Do not read such files.")
    ] = None,
    id_field: Annotated[str, typer.Option(metavar="NAME", help="Field with a row's id.")] = "id",
    text_field: Annotated[
        str, typer.Option(metavar="NAME", help="Field with a row's text.")
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at what cannot be read.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --out replace a file that is read.")
    ] = False,
    stdin_format: Annotated[
        Literal["text", "jsonl", "csv", "parquet"] | None,
        typer.Option(help="What - holds, packed or not; one text unless given."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="COUNT", help="Workers; all cores.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary on stderr.")] = False,
) -> None:
    """List the passages that documents share, with exact offsets on both sides.

    One JSON object a line: first where the later passage stands, under match the earlier one.
    """
    out = None if out == "-" else out
    with _told_of_compilation(), _stoppable():
        import os

        from dedup.formats import Fields
        from dedup.passages import PassageOptions
        from dedup.progress import choose_progress
        from dedup.searches import search

        found = search(
            paths,
            out,
            PassageOptions.of_length(min_words, least_share=min_share),
            scope=scope,
            against=against or (),
            include=include or (),
            exclude=exclude or (),
            fields=Fields(id=id_field, text=text_field),
            strict=strict,
            overwrite=overwrite,
            stdin_format=stdin_format,
            threads=threads or os.cpu_count() or 1,
            # Nobody is told where standard error is closed.
            progress=choose_progress(quiet or sys.stderr is None),
        )
        from dedup.matches import match_lines

        for lines in match_lines(found.matches):
            _print_bytes(lines)
    _list_problems([*found.notes, *found.failures])
    if not quiet:
        from dedup.report import summarise_matches

        _say(summarise_matches(found.summary, min_words, out))
    if found.failures:
        raise typer.Exit(SOME_FAILED)


@app.command()
def compare(
    left: Annotated[
        str, typer.Argument(metavar="A", help="A file of one text, or - for standard input.")
    ],
    right: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    min_words: _MinWords = 16,
    min_share: _MinShare = 0.3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the pairs as JSON Lines instead.")
    ] = False,
) -> None:
    """Show the passages that two texts share side by side, aligned word by word."""
    with _told_of_compilation(), _stoppable():
        from dedup.passages import PassageOptions, compare_texts
        from dedup.searches import read_both

        sources = read_both(left, right)
        for note in dict.fromkeys(source.note for source in sources if source.note):
            _say(f"dedup: {note}")
        texts = [source.text.encode() for source in sources]
        names = [source.name for source in sources]
        options = PassageOptions.of_length(min_words, least_share=min_share)
        comparison = compare_texts(texts[0], texts[1], options)
    if as_json:
        from dedup.columns import Texts
        from dedup.matches import list_matches, match_lines

        matches = list_matches(Texts.from_bytes(texts), names, comparison.passages)
        _print_bytes(*match_lines(matches))
        return
    from dedup.report import describe_no_match, render_comparison

    _print_rich(render_comparison(comparison, texts, names), soft_wrap=False)
    if len(comparison.passages) == 0:
        _say(describe_no_match(min_words))


@app.command()
def restore(
    cleaned: Annotated[
        str, typer.Argument(metavar="CLEANED", help="Cleaned text, or -; or a cleaned folder.")
    ],
    map_file: Annotated[
        str | None,
        typer.Option(
            "--map", metavar="FILE", help="The map of its cleaning; a folder has its own."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="Write the original here, not to stdout.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Let --out replace the cleaned text, or fill a used folder."
        ),
    ] = False,
) -> None:
    """Give back the original of a cleaned text or folder."""
    from pathlib import Path

    if Path(cleaned).is_dir():
        if out is None or map_file is not None:
            raise typer.BadParameter("a folder needs --out FOLDER and has its own map")
        from dedup.originals import restore_tree
        from dedup.report import summarise_originals

        originals = restore_tree(cleaned, out, overwrite=overwrite)
        for problem in originals.problems:
            _say(f"dedup: {problem}")
        _say(summarise_originals(originals.count, originals.other_bytes, originals.extracts))
        if originals.problems:
            raise typer.Exit(SOME_FAILED)
        return
    if map_file is None:
        raise typer.BadParameter("a text needs --map FILE")
    from dedup.files import check_target, read_cleaned, read_map, write_whole
    from dedup.results import restore as restore_text

    if out is not None:
        check_target(out, [cleaned], overwrite)
        check_target(out, [map_file])
    records = [(line, row) for line, row in read_map(map_file) if "kept" in row]
    if len(records) != 1:
        raise MapError(map_file, f"has the records of {len(records)} documents, expected one")
    line, record = records[0]
    source = read_cleaned(cleaned, record, map_file)
    try:
        original = restore_text(source.text, record, map_file)
    except MapError as error:
        raise MapError(map_file, error.reason, line) from None
    data = source.encode(original)
    if out is not None:
        write_whole(out, data)
    else:
        _print_bytes(data)


@app.command()
def serve(
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Settings as TOML; DEDUP_CONFIG names one too."),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="Folder of the collections, or postgresql://user@host/database; none are "
            "kept unless given."
        ),
    ] = None,
    index_file: Annotated[
        str | None,
        typer.Option(
            help="File with the address of the index, which may have a password in it; "
            "instead of it."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of jobs, snapshots and replicas; that of the collections unless given."
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 takes a free one, and the log names it. [8000]"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer. [1]")] = None,
    keys: Annotated[
        str | None,
        typer.Option(help="File of the API keys, made by `dedup keys`; who has none is refused."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Texts that are worked on at the same time. [all cores]")
    ] = None,
    body_limit_bytes: Annotated[
        int | None,
        typer.Option(
            help="Largest body of a request that is read whole; a stream of lines may be "
            "longer. [33554432]"
        ),
    ] = None,
    document_limit_bytes: Annotated[
        int | None,
        typer.Option(help="Largest document of a collection, as a line of JSON. [8388608]"),
    ] = None,
    batch_limit_documents: Annotated[
        int | None,
        typer.Option(
            help="Most documents in one JSON array; a stream of lines may have more. [10000]"
        ),
    ] = None,
    large_body_bytes: Annotated[
        int | None,
        typer.Option(
            help="A body over this size is large: large ones together leave one thread to "
            "the small. [262144]"
        ),
    ] = None,
    queue_requests: Annotated[
        int | None,
        typer.Option(
            help="Requests that wait for a thread or a commit; one more is answered 429. [64]"
        ),
    ] = None,
    stream_count: Annotated[
        int | None,
        typer.Option(
            help="Streams of lines at the same time, and as many of events; one more is answered "
            "429. [16]"
        ),
    ] = None,
    held_bytes: Annotated[
        int | None,
        typer.Option(
            help="Most bytes of bodies that are held at the same time; over it the answer "
            "is 429. [536870912]"
        ),
    ] = None,
    open_collections: Annotated[
        int | None,
        typer.Option(
            help="Collections that are kept open; of more, the one that was used least "
            "lately is closed. [64]"
        ),
    ] = None,
    request_seconds: Annotated[
        float | None,
        typer.Option(
            help="Longest that a request waits and is read; work that was begun is ended. [60]"
        ),
    ] = None,
    job_limit_bytes: Annotated[
        int | None, typer.Option(help="Largest upload of a job. [1073741824]")
    ] = None,
    job_unpacked_bytes: Annotated[
        int | None, typer.Option(help="Most bytes that an upload unpacks to. [8589934592]")
    ] = None,
    job_ratio: Annotated[
        int | None,
        typer.Option(
            help="Most bytes that a packed byte of an upload unpacks to, over all of it. [200]"
        ),
    ] = None,
    job_count: Annotated[
        int | None, typer.Option(help="Jobs that wait or run; one more is answered 429. [32]")
    ] = None,
    job_keep_seconds: Annotated[
        float | None, typer.Option(help="How long a finished job and its result stay. [604800]")
    ] = None,
    disk_reserve_bytes: Annotated[
        int | None,
        typer.Option(
            help="Room on the disk under which the service is not ready and takes no "
            "documents. [268435456]"
        ),
    ] = None,
    shutdown_seconds: Annotated[
        float | None,
        typer.Option(
            help="Longest that what is in flight is waited for when the service is stopped. [30]"
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="Least that is logged. [info]"),
    ] = None,
    log_format: Annotated[
        Literal["json", "text"] | None, typer.Option(help="How log lines are written. [json]")
    ] = None,
    access_log: Annotated[
        bool | None,
        typer.Option(help="Whether each request is logged, and not only the failed. [false]"),
    ] = None,
    telemetry: Annotated[
        bool | None,
        typer.Option(
            help="Whether traces and metrics go to the OpenTelemetry collector of "
            "OTEL_EXPORTER_OTLP_*. [false]"
        ),
    ] = None,
) -> None:
    """Answer over HTTP: clean texts, keep collections, run jobs; /docs says how.

    Each setting can be given by a variable of the environment, too: DEDUP_ and its name in
    capitals, such as DEDUP_QUEUE_REQUESTS. A flag wins, then the environment, then the file.
    """
    flags = dict(locals())
    with _told_of_compilation():
        from service.server import serve as serve_http
        from service.settings import load_settings

        serve_http(load_settings(flags.pop("config"), flags))


keys_app = typer.Typer(help="Keep the API keys of the service in a file.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

_KeyFile = Annotated[str, typer.Argument(metavar="FILE", help="The file of keys.")]
_KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called.")]


@keys_app.command("create")
def keys_create(
    path: _KeyFile,
    name: _KeyName,
    read_only: Annotated[bool, typer.Option("--read-only", help="It changes nothing.")] = False,
    collection: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="It is for this collection alone.")
    ] = None,
) -> None:
    """Make a key and print it: this once, since the file has its hash alone."""
    from pathlib import Path

    from service.keys import create_key

    print(create_key(Path(path), name, read_only, collection or ()))


@keys_app.command("list")
def keys_list(path: _KeyFile) -> None:
    """List the keys by name, and what they may do."""
    from pathlib import Path

    from service.keys import read_keys

    for key in read_keys(Path(path)):
        rights = "reads" if key.read_only else "reads and writes"
        bound = "all collections" if key.collections is None else ", ".join(key.collections)
        print(f"{key.name}  {rights}  {bound}  since {key.created or 'some time'}")


@keys_app.command("remove")
def keys_remove(path: _KeyFile, name: _KeyName) -> None:
    """Take a key out; a service that runs refuses it from the next second on."""
    from pathlib import Path

    from service.keys import remove_key

    remove_key(Path(path), name)


index_app = typer.Typer(
    help="Keep an index of what was seen, and say what is new in documents as they come.",
    no_args_is_help=True,
)
app.add_typer(index_app, name="index")

_IndexPath = Annotated[
    str, typer.Argument(metavar="INDEX", help="The folder of the index, or postgresql://...")
]
_Sources = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Text files, folders and corpora; - is stdin."),
]
_Include = Annotated[
    list[str] | None, typer.Option("--include", metavar="GLOB", help="Read only such files.")
]
_Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Do not read such files.")
]
_IdField = Annotated[str, typer.Option(metavar="NAME", help="Field with a row's id.")]
_TextField = Annotated[str, typer.Option(metavar="NAME", help="Field with a row's text.")]
_Strict = Annotated[bool, typer.Option("--strict", help="Stop at what cannot be read.")]
_StdinFormat = Annotated[
    Literal["text", "jsonl", "csv", "parquet"], typer.Option(help="What - holds, packed or not.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Threads = Annotated[int | None, typer.Option(min=1, metavar="COUNT", help="Workers; all cores.")]
_Batch = Annotated[
    int, typer.Option(min=1, max=100_000, metavar="COUNT", help="Documents that are one step.")
]


@index_app.command("create")
def index_create(
    path: _IndexPath,
    unit: Annotated[
        Literal["sentence", "paragraph", "document"], typer.Option(help="What is compared.")
    ] = "sentence",
    threshold: Annotated[
        float, typer.Option(help="Least score of a duplicate, over 0 and up to 1.")
    ] = 0.7,
    numbers: Annotated[
        bool, typer.Option(help="Units whose digits differ are never duplicates.")
    ] = True,
    stretches: Annotated[
        bool, typer.Option(help="Hold units against text that is cut elsewhere, too.")
    ] = True,
    min_chars: Annotated[
        int, typer.Option(help="Least length of a unit that is compared, in folded characters.")
    ] = 25,
    ttl: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Forget what was not seen again for so long, such as 90s, 15m, 12h, 30d or 2w. "
            "Never, unless given.",
        ),
    ] = None,
) -> None:
    """Make an empty index; its options are fixed from then on."""
    with _told_of_compilation():
        from dedup.index.index import Index
        from dedup.options import Options

        options = Options(
            unit=unit,
            threshold=threshold,
            numbers=numbers,
            stretches=stretches,
            min_chars=min_chars,
        )
        Index.open(path, options, create=True, ttl=_parse_duration(ttl)).close()


@index_app.command("add")
def index_add(
    path: _IndexPath,
    sources: _Sources,
    if_exists: Annotated[
        Literal["error", "skip", "replace"],
        typer.Option(help="What becomes of an id that is there with another text."),
    ] = "error",
    include: _Include = None,
    exclude: _Exclude = None,
    id_field: _IdField = "id",
    text_field: _TextField = "text",
    strict: _Strict = False,
    stdin_format: _StdinFormat = "text",
    batch: _Batch = 500,
    as_json: _Json = False,
    threads: _Threads = None,
) -> None:
    """Say what is new in documents, and remember them.

    Each batch is on disk before it is told of; what was told of survives any end.
    """
    _feed_index(path, threads, sources, include, exclude, id_field, text_field, strict,
                stdin_format, batch, as_json, if_exists)  # fmt: skip


@index_app.command("check")
def index_check(
    path: _IndexPath,
    sources: _Sources,
    include: _Include = None,
    exclude: _Exclude = None,
    id_field: _IdField = "id",
    text_field: _TextField = "text",
    strict: _Strict = False,
    stdin_format: _StdinFormat = "text",
    batch: _Batch = 500,
    as_json: _Json = False,
    threads: _Threads = None,
) -> None:
    """Say what is new in documents, and remember nothing."""
    _feed_index(path, threads, sources, include, exclude, id_field, text_field, strict,
                stdin_format, batch, as_json, None)  # fmt: skip


@index_app.command("get")
def index_get(
    path: _IndexPath,
    document: Annotated[str, typer.Argument(metavar="ID", help="The id of a document.")],
    as_json: _Json = False,
) -> None:
    """Print a document without what it repeats; as JSON with its map."""
    with _opened(path) as index:
        found = index.get(document)
    if found is None:
        raise InputError(document, f"is not in the index {path}")
    _print_bytes(found.to_json() + b"\n" if as_json else found.text.encode())


@index_app.command("remove")
def index_remove(
    path: _IndexPath,
    documents: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of documents.")],
    as_json: _Json = False,
) -> None:
    """Forget documents; say what pointed to them and what became of that."""
    with _opened(path) as index:
        judged = index.remove(documents)
    if as_json:
        import orjson

        _print_bytes(*(orjson.dumps(one.to_mapping()) + b"\n" for one in judged))
        return
    staying = sum(one.now is None for one in judged)
    print(f"removed {_count(len(set(documents)), 'document')}")
    if judged:
        print(
            f"  {_count(len(judged), 'unit')} lost what they repeated: {staying} of them stay now"
        )


@index_app.command("expire")
def index_expire(path: _IndexPath, as_json: _Json = False) -> None:
    """Forget what was not seen again for the time to live; adding does that too."""
    with _opened(path) as index:
        count = index.expire()
    if as_json:
        import orjson

        _print_bytes(orjson.dumps({"documents": count}) + b"\n")
        return
    print(f"forgot {_count(count, 'document')}")


@index_app.command("stats")
def index_stats(path: _IndexPath, as_json: _Json = False) -> None:
    """Count documents, units, duplicates, postings and bytes; tell the time to live."""
    with _opened(path) as index:
        found = index.stats()
    if as_json:
        import orjson

        _print_bytes(orjson.dumps(found) + b"\n")
        return
    ttl = _show_duration(found.pop("ttl"))
    for name, value in found.items():
        print(f"{name:>12}  {value:,}")
    print(f"{'ttl':>12}  {ttl}")


@index_app.command("compact")
def index_compact(path: _IndexPath) -> None:
    """Give back the space of what was removed."""
    with _opened(path) as index:
        index.compact()


@index_app.command("reindex")
def index_reindex(path: _IndexPath) -> None:
    """Make all that can be made from the documents anew, after damage."""
    with _opened(path) as index:
        index.reindex()


@index_app.command("export")
def index_export(path: _IndexPath) -> None:
    """Print all documents as JSON Lines, in their order."""
    import orjson

    with _opened(path) as index:
        for name, text in index.export():
            _print_bytes(orjson.dumps({"id": name, "text": text}) + b"\n")


@index_app.command("snapshot")
def index_snapshot(
    path: _IndexPath,
    target: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder to be made.")],
) -> None:
    """Write a copy of an index while it is in use."""
    with _opened(path) as index:
        index.snapshot(target)


@index_app.command("restore")
def index_restore(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="What snapshot wrote.")],
    path: _IndexPath,
) -> None:
    """Make an index of a snapshot, after a look at all that is in it."""
    with _opened(snapshot) as index:
        index.verify()
        index.snapshot(path)


def _feed_index(
    path: str,
    threads: int | None,
    sources: list[str],
    include: list[str] | None,
    exclude: list[str] | None,
    id_field: str,
    text_field: str,
    strict: bool,
    stdin_format: Literal["text", "jsonl", "csv", "parquet"],
    batch: int,
    as_json: bool,
    if_exists: Literal["error", "skip", "replace"] | None,
) -> None:
    """Add the documents of files, or only look at them."""
    from dedup.formats import Fields
    from dedup.index.feeds import Feed

    feed = Feed(
        sources,
        include or (),
        exclude or (),
        Fields(id=id_field, text=text_field),
        strict,
        stdin_format,
    )
    documents = chars = duplicates = removed = 0
    with _stoppable(), _opened(path, threads) as index, ExitStack() as stack:
        batches = feed.batches(batch)
        answers: Iterable[list[Result]] = map(index.check, batches)
        if if_exists:
            adding = index.add_batches(batches, if_exists=if_exists)
            answers = stack.enter_context(closing(adding))
        for results in answers:
            documents += len(results)
            for result in results:
                chars += result.stats.chars
                removed += result.stats.removed_chars
                duplicates += result.stats.duplicates
                if as_json:
                    _print_bytes(result.to_json() + b"\n")
    _list_problems([*feed.notes, *feed.failures])
    if not as_json:
        share = f"{removed / chars:.1%}" if chars else "0.0%"
        print(
            f"{_count(documents, 'document')} of {chars:,} characters: "
            f"{_count(duplicates, 'duplicate')}, {share} of the text"
        )
    if feed.failures:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _opened(path: str, threads: int | None = None) -> "Iterator[Index]":
    """Open an index that is there, and close it."""
    with _told_of_compilation():
        import os

        from dedup.index.index import Index

        with Index.open(path, create=False, threads=threads or os.cpu_count() or 1) as index:
            yield index


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _list_problems(problems: Sequence[object]) -> None:
    for problem in problems[:_MOST_PROBLEMS]:
        _say(f"dedup: {problem}")
    if len(problems) > _MOST_PROBLEMS:
        _say(f"dedup: and {len(problems) - _MOST_PROBLEMS:,} more")


@contextmanager
def _told_of_compilation() -> Iterator[None]:
    """Say so when kernels have to be compiled: the first run takes its time."""
    from dedup import kernels

    def tell() -> None:
        later = (
            "later runs need not"
            if kernels.is_cached
            else "set NUMBA_CACHE_DIR to a folder that can be written, so that later runs need not"
        )
        _say(f"dedup: compiling for this machine; {later}")

    with kernels.compilation_notice(tell):
        yield


@contextmanager
def _stoppable() -> Iterator[None]:
    """Say so when it is stopped."""
    try:
        yield
    except KeyboardInterrupt:
        _say("dedup: stopped")
        raise typer.Exit(STOPPED) from None


def _print_bytes(*parts: bytes) -> None:
    """Write to standard output, all of it."""
    try:
        stream = sys.stdout.buffer
        for part in parts:
            rest = memoryview(part)
            # An unbuffered stream may take less than it is given.
            while len(rest):
                rest = rest[stream.write(rest) or 0 :]
        stream.flush()
    except (OSError, AttributeError) as error:
        _give_up_stdout(error)


def _print_diff(result: "Result") -> None:
    from dedup.report import render_diff

    _print_rich(render_diff(result), soft_wrap=True)


def _print_rich(things: "Iterator[RenderableType]", soft_wrap: bool) -> None:
    from rich.console import Console

    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        console = Console(file=sys.stdout, highlight=False, soft_wrap=soft_wrap)
        console.width = max(console.width, _LEAST_COLUMNS)
        for thing in things:
            console.print(thing)
        sys.stdout.flush()
    except (OSError, AttributeError) as error:
        _give_up_stdout(error)


def _give_up_stdout(error: Exception) -> NoReturn:
    """End because standard output takes no more; quietly when its reader has left."""
    # What Python would flush at its end would fail again, with a traceback.
    sys.stdout = None
    if isinstance(error, BrokenPipeError):
        sys.exit(EXIT_CODES[OutputError])
    reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "is closed"
    raise OutputError("standard output", reason) from error


def _say(message: str) -> None:
    if sys.stderr is not None:
        print(message.encode(errors="replace").decode(), file=sys.stderr)
