"""Runs over files: folders and corpus files in, a cleaned mirror and its map out."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from dedup import formats
from dedup.columns import Positions
from dedup.corpus import (
    CleanedCorpus,
    Lookout,
    TextBuffer,
    clean_corpus,
    iterate_kept,
    rank_globs,
    rank_newest,
    rank_priority,
)
from dedup.duplicates import KINDS
from dedup.errors import InputError, MapError, OptionsError, OutputError
from dedup.files import make_folder, read_cleaned, read_map, write_parts, write_whole
from dedup.filters import Filters
from dedup.folding import folding_table
from dedup.formats import CorpusFile, Failure, Fields, FileRecord
from dedup.maps import map_lines
from dedup.options import Options
from dedup.results import restore
from dedup.signatures import SCHEME, SEED

MAP_NAME, SUMMARY_NAME, MANIFEST_NAME = "map.jsonl", "summary.json", "manifest.json"

# Text that a byte of a compressed file is expected to unpack to.
_UNPACKED = 6


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run reads, what it leaves out and where it writes.

    Attributes
    ----------
    paths
        Folders and files, cleaned together.
    out
        Folder of the cleaned mirror; None for a run that writes nothing.
    against
        Folders and files of a reference, which stays as it is.
    include, exclude
        Globs on paths relative to the folder given.
    fields
        Names of the fields of rows.
    priority_globs
        For ``keep="priority"``: paths in the order in which their copies stay.
    drop_over
        Share of removed text over which a document is left out; None for never.
    strict
        Whether the first file or row that cannot be read ends the run.
    overwrite
        Whether `out` may hold files already.
    """

    paths: Sequence[str]
    out: str | None
    against: Sequence[str] = ()
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    fields: Fields = field(default_factory=Fields)
    priority_globs: Sequence[str] = ()
    drop_over: float | None = None
    strict: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class _FileRead:
    """A file and its documents, from the first to behind the last."""

    file: CorpusFile
    record: FileRecord
    first: int
    last: int


@dataclass
class _Read:
    """All documents that were read, the reference first."""

    buffer: TextBuffer
    lookout: Lookout
    ids: list[str] = field(default_factory=list)
    dates: list[object | None] = field(default_factory=list)
    priorities: list[object | None] = field(default_factory=list)
    files: list["_FileRead"] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    reference_count: int = 0
    reference_files: int = 0


@dataclass(frozen=True)
class Run:
    """A run that is done.

    Attributes
    ----------
    summary
        Of `summary.json`.
    failures
        What could not be read.
    notes
        What the user should know of files that were read.
    map_parts
        The map, for a run that wrote nothing.
    """

    summary: dict[str, Any]
    failures: list[Failure]
    notes: list[str]
    map_parts: Iterator[bytes]


class Progress:
    """Says how far a run is: bars on a terminal, lines elsewhere; or nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    @contextmanager
    def stage(
        self, name: str, total: int | None = None, unit: str = ""
    ) -> Iterator[Callable[[int], None]]:
        """Show a stage while it lasts; call what comes with what is done since."""
        if self._quiet:
            yield lambda done: None
            return
        if not sys.stderr.isatty():
            print(f"dedup: {name}", file=sys.stderr)
            yield lambda done: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bars

        amounts = (
            (DownloadColumn(), TransferSpeedColumn())
            if unit == "bytes"
            else (MofNCompleteColumn(),)
        )
        columns = (TextColumn("{task.description:<22}"), BarColumn())
        ends = (TimeElapsedColumn(), TimeRemainingColumn())
        with Bars(
            *columns, *(amounts if total else ()), *ends, console=Console(stderr=True)
        ) as bars:
            task = bars.add_task(name, total=total)
            yield lambda done: bars.advance(task, done)


def run(
    plan: Plan,
    options: Options,
    filters: Filters,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Run:
    """Clean files together.

    Raises
    ------
    InputError
        When there is nothing to read, or with `Plan.strict` something cannot be.
    OutputError
        When the mirror cannot be written, or would mix with the input.
    """
    threads = threads or os.cpu_count() or 1
    progress = progress or Progress()
    _check_ranks(plan, options)
    if plan.out is not None:
        _check_out(plan.out, [*plan.paths, *plan.against], plan.overwrite)
    read = _read_all(plan, options, threads, progress)
    with progress.stage("finding duplicates"):
        corpus = clean_corpus(
            read.buffer.texts(),
            options,
            filters,
            threads=threads,
            lookout=read.lookout,
            document_ranks=_rank(read, plan, options),
            reference_count=read.reference_count,
        )
    dropped = _choose_dropped(corpus, read, plan)
    parts = map_lines(corpus, read.ids, read.reference_count, _files_of(read, dropped))
    if plan.out is not None:
        out = Path(plan.out)
        count = len(read.files) - read.reference_files
        with progress.stage("writing", count, "files") as done:
            for file_read in read.files[read.reference_files :]:
                _write_file(file_read, corpus, dropped, plan, read.failures)
                done(1)
        with progress.stage("writing the map"):
            write_parts(str(out / MAP_NAME), parts)
        parts = iter(())
    summary = _summarise(corpus, read, dropped, options)
    if plan.out is not None:
        write_whole(str(out / SUMMARY_NAME), _json(summary))
        write_whole(str(out / MANIFEST_NAME), _json(_manifest(read, plan, options, filters)))
    notes = [one.record.note for one in read.files if one.record.note]
    return Run(summary, read.failures, notes, parts)


def restore_tree(folder: str, out: str, *, overwrite: bool = False) -> tuple[int, list[str]]:
    """Rebuild the text files of a cleaned mirror, byte for byte.

    Parameters
    ----------
    folder
        What `run` wrote, its map in it.
    out
        Where the originals go.

    Returns
    -------
    count, problems
        How many files were rebuilt, and a line for each that could not be.

    Raises
    ------
    InputError, MapError
        When there is no map, or none that parses.
    OutputError
        When the originals cannot be written, or would mix with the mirror.
    """
    map_file = str(Path(folder) / MAP_NAME)
    _check_out(out, [folder], overwrite)
    count = 0
    problems = []
    for line, record in read_map(map_file):
        if "kept" not in record or "file" not in record:
            continue
        name = str(record["file"])
        if record.get("dropped"):
            problems.append(f"{name}: left out of the mirror, so not to be rebuilt")
            continue
        target = Path(out) / name
        if not target.resolve().is_relative_to(Path(out).resolve()):
            raise MapError(map_file, f"{name} leads out of the folder", line)
        try:
            source = read_cleaned(str(Path(folder) / name), record, map_file)
            original = source.encode(restore(source.text, record, map_file))
        except (InputError, MapError) as error:
            problems.append(f"{name}: {error.reason}")
            continue
        make_folder(str(target.parent))
        write_whole(str(target), original)
        count += 1
    return count, problems


def _check_out(target: str, sources: Sequence[str], overwrite: bool) -> None:
    """Refuse a folder that would mix output with input, or with what is not ours."""
    out = Path(target).resolve()
    for path in sources:
        source = Path(path).resolve()
        if source == out or source in out.parents:
            raise OutputError(target, f"stands inside the input {path}")
        if out in source.parents:
            raise OutputError(target, f"holds the input {path}")
    if out.exists() and not out.is_dir():
        raise OutputError(target, "is no folder")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise OutputError(target, "is not empty; pass --overwrite to write into it")
    make_folder(target)


def _read_all(plan: Plan, options: Options, threads: int, progress: Progress) -> _Read:
    reference, failures = formats.find_files(plan.against)
    files, more = formats.find_files(plan.paths, plan.include, plan.exclude)
    failures += more
    if not files:
        reasons = "; ".join(map(str, failures)) or "no file of a format that is read"
        raise InputError(", ".join(plan.paths), reasons)
    for file in files if plan.out is not None else ():
        if formats.output_name(file) in (MAP_NAME, SUMMARY_NAME, MANIFEST_NAME):
            reason = "has the name of a file the run writes itself; rename it or --exclude it"
            raise InputError(file.name, reason)
    sizes = {file.path: file.path.stat().st_size for file in [*reference, *files]}
    expected = sum(
        sizes[file.path] * (_UNPACKED if file.compression else 1) for file in [*reference, *files]
    )
    buffer = TextBuffer(expected)
    read = _Read(buffer, Lookout(buffer, options, threads), failures=failures)
    _stop_if_strict(plan, read.failures)
    with progress.stage("reading", sum(sizes.values()), "bytes") as done:
        for group in (reference, files):
            seen: set[str] = set()
            for file in group:
                _read_file(file, plan, read, seen)
                _stop_if_strict(plan, read.failures)
                done(sizes[file.path])
            if group is reference:
                read.reference_count = len(read.ids)
                read.reference_files = len(read.files)
    return read


def _read_file(file: CorpusFile, plan: Plan, read: _Read, seen: set[str]) -> None:
    first = len(read.ids)
    reader = formats.read_documents(file, plan.fields, read.failures, seen=seen)
    try:
        for batch in reader:
            read.buffer.append(batch.texts)
            read.ids += batch.ids
            read.dates += batch.dates
            read.priorities += batch.priorities
            read.lookout.look(first)
    except formats.FileError:
        # The reader has listed it; what it gave so far does not count.
        read.lookout.forget(first)
        read.buffer.truncate(first)
        for column in (read.ids, read.dates, read.priorities):
            del column[first:]
        return
    read.files.append(_FileRead(file, reader.record, first, len(read.ids)))


def _stop_if_strict(plan: Plan, failures: list[Failure]) -> None:
    if plan.strict and failures:
        raise InputError(
            failures[0].source, str(failures[0]).removeprefix(f"{failures[0].source}: ")
        )


def _check_ranks(plan: Plan, options: Options) -> None:
    """Refuse a keep policy that has nothing to go by."""
    if options.keep == "newest" and plan.fields.date is None:
        raise OptionsError("keep", "newest", "a date field beside it")
    if options.keep == "priority" and not plan.priority_globs and plan.fields.priority is None:
        raise OptionsError("keep", "priority", "a priority field or globs beside it")


def _rank(read: _Read, plan: Plan, options: Options) -> Positions | None:
    if options.keep == "newest":
        return rank_newest(read.dates)
    if options.keep == "priority":
        if plan.priority_globs:
            names = [one.file.name for one in read.files for _ in range(one.first, one.last)]
            return rank_globs(names, list(plan.priority_globs))
        return rank_priority(read.priorities)
    return None


def _choose_dropped(corpus: CleanedCorpus, read: _Read, plan: Plan) -> set[int]:
    """Return the documents of which so much goes that they are left out."""
    if plan.drop_over is None:
        return set()
    points = corpus.points
    rows = corpus.rows.units[corpus.removed]
    document_of = np.repeat(np.arange(len(read.ids)), np.diff(corpus.units.offsets))
    removed = np.bincount(
        document_of[rows],
        weights=points.unit_stops[rows] - points.unit_starts[rows],
        minlength=len(read.ids),
    )
    over = removed > plan.drop_over * np.maximum(points.lengths, 1)
    over[: read.reference_count] = False
    return set(np.flatnonzero(over).tolist())


def _files_of(read: _Read, dropped: set[int]) -> dict[int, dict[str, Any]]:
    """Return what the map says of documents that are text files, for `restore_tree`."""
    files = {
        one.first: {"file": formats.output_name(one.file), **one.record.encoding}
        for one in read.files
        if one.file.format == "text" and not one.file.compression and one.first < one.last
    }
    for document in dropped:
        files[document] = {**files.get(document, {}), "dropped": True}
    return files


def _write_file(
    one: _FileRead,
    corpus: CleanedCorpus,
    dropped: set[int],
    plan: Plan,
    failures: list[Failure],
) -> None:
    changes = (
        formats.DROPPED if one.first + i in dropped else text
        for i, text in enumerate(iterate_kept(corpus, one.first, one.last))
    )
    target = Path(str(plan.out)) / formats.output_name(one.file)
    try:
        formats.rewrite_file(one.file, plan.fields, target, changes, one.record)
    except formats.FileError as error:
        failures.append(error.failure)
        _stop_if_strict(plan, failures[-1:])


def _summarise(
    corpus: CleanedCorpus, read: _Read, dropped: set[int], options: Options
) -> dict[str, Any]:
    points, rows, units = corpus.points, corpus.rows, corpus.units
    begin = read.reference_count
    first_unit = int(units.offsets[begin])
    lengths = points.kept_stops - points.kept_starts
    chars = int(points.lengths[begin:].sum())
    kept_chars = int(lengths[int(corpus.kept.offsets[begin]) :].sum())
    kinds = np.bincount(rows.kinds, minlength=len(KINDS)).tolist()
    duplicate_chars = int((points.unit_stops[rows.units] - points.unit_starts[rows.units]).sum())
    compared = int(rows.compared[first_unit:].sum())
    changed = np.zeros(len(read.ids), np.bool_)
    document_of = np.repeat(np.arange(len(read.ids)), np.diff(units.offsets))
    changed[document_of[rows.units[corpus.removed]]] = True
    return {
        "documents": len(read.ids) - begin,
        "changed_documents": int(changed.sum()),
        "dropped_documents": [read.ids[document] for document in sorted(dropped)],
        "chars": chars,
        "removed_chars": chars - kept_chars,
        "duplicate_chars": duplicate_chars,
        "share": round(duplicate_chars / chars, 6) if chars else 0.0,
        "units": len(units) - first_unit,
        "compared_units": compared,
        "short_units": len(units) - first_unit - compared,
        "duplicates": len(rows),
        "removed_duplicates": int(corpus.removed.sum()),
        "kinds": dict(zip(KINDS, kinds, strict=True)),
        "capped_buckets": rows.capped_count,
        "recall": round(options.recall, 6),
        "boilerplate": [
            {
                "documents": count,
                "document": read.ids[int(document_of[unit])],
                "start": int(points.unit_starts[unit]),
                "stop": int(points.unit_stops[unit]),
                "text": corpus.texts.data[units.starts[unit] : units.stops[unit]]
                .tobytes()
                .decode(),
            }
            for count, unit in sorted(
                zip(
                    corpus.choice.boilerplate_documents.tolist(),
                    corpus.choice.boilerplate.tolist(),
                    strict=True,
                ),
                key=lambda pair: (-pair[0], pair[1]),
            )
        ],
        "failures": [failure.to_mapping() for failure in read.failures],
    }


def _manifest(read: _Read, plan: Plan, options: Options, filters: Filters) -> dict[str, Any]:
    return {
        "format": 1,
        "versions": {name: version(name) for name in ("dedup", "numpy", "numba")},
        "unicode_version": folding_table().unicode_version,
        "signature": {"scheme": SCHEME, "seed": SEED, "bands": options.bands, "rows": options.rows},
        "options": options.to_mapping(),
        "filters": asdict(filters),
        "fields": asdict(plan.fields),
        "priority_globs": list(plan.priority_globs),
        "drop_documents_over": plan.drop_over,
        "inputs": [
            {
                "file": one.file.name,
                "reference": i < read.reference_files,
                "documents": one.last - one.first,
                "bytes": one.record.byte_count,
                "checksum": one.record.checksum,
            }
            for i, one in enumerate(read.files)
        ],
    }


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
