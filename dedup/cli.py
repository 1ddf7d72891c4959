"""The command `dedup`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dedup.errors import DedupError, EncodingError, InputError, MapError, OptionsError, OutputError

if TYPE_CHECKING:
    from dedup.results import Result

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

app = typer.Typer(
    help="Find and remove repeated and near-repeated text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A text file, or - for standard input.")]


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
    file: File,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the cleaned text here, not to stdout.")
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
        bool, typer.Option("--overwrite", help="Let --out replace the input itself.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary on stderr.")] = False,
    unit: Annotated[
        Literal["sentence", "paragraph", "document"], typer.Option(help="What is compared.")
    ] = "sentence",
    threshold: Annotated[
        float, typer.Option(help="Least score of a duplicate, over 0 and up to 1.")
    ] = 0.7,
    keep: Annotated[
        Literal["first", "longest", "last"], typer.Option(help="Which copy stays.")
    ] = "first",
    numbers: Annotated[
        bool, typer.Option(help="Units whose digits differ are never duplicates.")
    ] = True,
    min_chars: Annotated[
        int, typer.Option(help="Least length of a unit that is compared, in folded characters.")
    ] = 25,
) -> None:
    """Take repeated passages out of a text; print what stays."""
    from dedup.files import check_target, read_source, write_whole
    from dedup.options import Options

    options = Options(
        unit=unit, threshold=threshold, keep=keep, numbers=numbers, min_chars=min_chars
    )
    if as_json + diff + dry_run > 1:
        raise typer.BadParameter("--json, --diff and --dry-run exclude each other")
    targets = [target for target in (out, map_file) if target is not None]
    if len(targets) == 2 and targets[0] == targets[1]:
        raise OutputError(targets[0], "cannot take both the text and the map")
    if out is not None:
        check_target(out, [file], overwrite)
    if map_file is not None:
        check_target(map_file, [file])
    source = read_source(file)
    if source.note:
        _say(f"dedup: {source.note}")

    with _told_of_compilation():
        from dedup.pipeline import clean as clean_text

        result = clean_text(source.text, options, document=source.name)

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
    if not quiet:
        from dedup.report import summarise

        _say(summarise(result, options))


@app.command()
def restore(
    cleaned: Annotated[str, typer.Argument(metavar="CLEANED", help="Cleaned text, or -.")],
    map_file: Annotated[
        str, typer.Option("--map", metavar="FILE", help="The map of its cleaning.")
    ],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the original here, not to stdout.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --out replace the cleaned text itself.")
    ] = False,
) -> None:
    """Give back the original of a cleaned text, byte for byte."""
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
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Answer over HTTP: POST /v1/clean, GET /livez, GET /openapi.json."""
    with _told_of_compilation():
        from service.app import serve as serve_http

        serve_http(host, port)


@contextmanager
def _told_of_compilation() -> Iterator[None]:
    """Say so when kernels have to be compiled: the first run takes its time."""
    from dedup.kernels import compilation_notice

    with compilation_notice(
        lambda: _say("dedup: compiling for this machine, once; about half a minute")
    ):
        yield


def _print_bytes(*parts: bytes) -> None:
    for part in parts:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def _print_diff(result: "Result") -> None:
    from rich.console import Console

    from dedup.report import render_diff

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in render_diff(result):
        console.print(line)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
