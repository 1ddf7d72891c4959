"""Runs over files: folders and corpus files in, a cleaned mirror and its map out."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson

from dedup import formats
from dedup.checkpoints import Checkpoint, FileRead, forget_state, has_state
from dedup.columns import Positions
from dedup.corpus import (
    CleanedCorpus,
    changes_of,
    cut_duplicates,
    measure_rows,
    rank_globs,
    rank_newest,
    rank_priority,
)
from dedup.duplicates import find_duplicates
from dedup.errors import InputError, OptionsError, OutputError
from dedup.files import STDIN, make_folder, write_parts, write_whole
from dedup.filters import Filters
from dedup.folding import folding_table
from dedup.formats import CorpusFile, Failure, Fields
from dedup.intake import FileReader, Found, Intake, find_input, stop_if_strict
from dedup.kinds import KINDS
from dedup.maps import map_lines
from dedup.options import Options
from dedup.progress import Done, Progress
from dedup.scratch import Scratch, find_free_bytes, free_at_once
from dedup.signatures import SCHEME, SEED
from dedup.slices import map_slices
from dedup.spool import StdinFormat, spool_stdin
from dedup.units import find_documents

MAP_NAME, SUMMARY_NAME, MANIFEST_NAME = "map.jsonl", "summary.json", "manifest.json"

# A worker that comes out of a kernel waits so long for the thread that parses
# rows. With Python's own 5 ms reading 246 MB takes 2.4 s, with this 2.1.
_SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run reads, what it leaves out and where it writes.

    Attributes
    ----------
    paths
        Folders and files, cleaned together; ``-`` is standard input.
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
    resume
        Whether to go on with the run that was stopped in `out`, if one was.
    save_seconds
        Work of so many seconds is kept for a run that goes on. Of a run that
        reads standard input nothing is kept: the input is gone.
    stdin_format
        How text is stored in what comes on standard input.
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
    resume: bool = False
    save_seconds: float = 30.0
    stdin_format: StdinFormat | None = None


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
    map_file
        Where the map is, for one that did.
    """

    summary: dict[str, Any]
    failures: list[Failure]
    notes: list[str]
    map_parts: Iterator[bytes]
    map_file: str | None


def run(
    plan: Plan,
    options: Options,
    filters: Filters,
    *,
    threads: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Run:
    """Clean files together.

    Parameters
    ----------
    threads
        Workers; all cores unless given. The result is the same for any number.
    memory
        Bytes of memory to keep to; half of what is free unless given. What does
        not fit stands in files, in the output folder's file system. The result
        is the same for any.
    progress
        Is told how far the run is.

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
    _check_stdin(plan)
    if plan.out is not None:
        sources = [path for path in plan.paths if path != STDIN]
        check_out(plan.out, [*sources, *plan.against], plan.overwrite, plan.resume)
    with _take_stdin(plan, progress) as paths:
        found = find_input(paths, plan.against, plan.include, plan.exclude)
        for file in found.files if plan.out is not None else ():
            if formats.output_name(file) in (MAP_NAME, SUMMARY_NAME, MANIFEST_NAME):
                reason = "has the name of a file the run writes itself; rename it or --exclude it"
                raise InputError(file.name, reason)
        checkpoint = None
        if plan.out is not None and plan.stdin_format is None:
            if not plan.resume:
                forget_state(Path(plan.out))
            identity = _identify(plan, options, filters)
            checkpoint = Checkpoint(Path(plan.out), identity, plan.save_seconds)
        try:
            with _hand_over_often():
                done = _run(plan, options, filters, found, threads, memory, checkpoint, progress)
        except KeyboardInterrupt:
            if checkpoint:
                checkpoint.begin()
            raise
        if checkpoint:
            checkpoint.remove()
        return done


@contextmanager
def _hand_over_often() -> Iterator[None]:
    """Have threads that wait for the interpreter wait less while this lasts."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _take_stdin(plan: Plan, progress: Progress) -> Iterator[list[str | CorpusFile]]:
    """Give the paths, with the file that standard input stands in while the run lasts."""
    paths: list[str | CorpusFile] = list(plan.paths)
    if plan.stdin_format is None:
        yield paths
        return
    if plan.out is not None:
        # Before there is a spool, for this removes files that are named as it is.
        forget_state(Path(plan.out))
    with spool_stdin(plan.stdin_format, plan.out, progress) as file:
        paths[paths.index(STDIN)] = file
        yield paths


def _run(
    plan: Plan,
    options: Options,
    filters: Filters,
    found: Found,
    threads: int,
    memory: int | None,
    checkpoint: Checkpoint | None,
    progress: Progress,
) -> Run:
    memory = find_free_bytes() // 2 if memory is None else memory
    free_at_once()
    with Scratch(memory, plan.out) as scratch:
        reader = FileReader(
            found,
            plan.fields,
            options,
            strict=plan.strict,
            threads=threads,
            scratch=scratch,
            checkpoint=checkpoint,
        )
        intake = reader.read(progress)
        corpus = _clean(intake, plan, options, filters, threads, scratch, checkpoint, progress)
        dropped = _choose_dropped(corpus, intake, plan)
        names = intake.ids.texts()
        files_of = _files_of(intake, dropped)
        parts = map_lines(corpus, names, intake.reference_count, files_of, threads)
        parts = _keep_to_room(parts, scratch)
        if plan.out is not None:
            _write_all(corpus, intake, dropped, plan, parts, threads, checkpoint, progress)
            parts = iter(())
        summary = _summarise(corpus, intake, found, dropped, options)
    if plan.out is not None:
        out = Path(plan.out)
        write_whole(str(out / SUMMARY_NAME), _json(summary))
        write_whole(str(out / MANIFEST_NAME), _json(_manifest(intake, plan, options, filters)))
    notes = [one.record.note for one in intake.files if one.record and one.record.note]
    map_file = None if plan.out is None else str(Path(plan.out) / MAP_NAME)
    return Run(summary, intake.failures, notes, parts, map_file)


def check_out(target: str, sources: Sequence[str], overwrite: bool, resume: bool = False) -> None:
    """Make a folder for output; refuse one that would mix it with input, or with other files.

    Raises
    ------
    OutputError
    """
    out = Path(target).resolve()
    for path in sources:
        source = Path(path).resolve()
        if source == out or source in out.parents:
            raise OutputError(target, f"stands inside the input {path}")
        if out in source.parents:
            raise OutputError(target, f"holds the input {path}")
    if out.exists() and not out.is_dir():
        raise OutputError(target, "is no folder")
    is_stopped = has_state(out)
    if out.exists() and any(out.iterdir()) and not overwrite and not (resume and is_stopped):
        if is_stopped:
            reason = (
                "holds a run that was stopped; pass --resume to go on, --overwrite to start anew"
            )
        elif resume:
            reason = "holds no run that was stopped; pass --overwrite to write into it"
        else:
            reason = "is not empty; pass --overwrite to write into it"
        raise OutputError(target, reason)
    make_folder(target)


def _identify(plan: Plan, options: Options, filters: Filters) -> dict[str, Any]:
    """Return all that decides the result beside what the input holds."""
    return {
        "versions": _versions(),
        "paths": [str(Path(path).resolve()) for path in plan.paths],
        "against": [str(Path(path).resolve()) for path in plan.against],
        "include": list(plan.include),
        "exclude": list(plan.exclude),
        "fields": asdict(plan.fields),
        "priority_globs": list(plan.priority_globs),
        "drop_documents_over": plan.drop_over,
        "options": options.to_mapping(),
        "filters": asdict(filters),
    }


def _check_stdin(plan: Plan) -> None:
    """Refuse standard input where it cannot be read, or not be read again."""
    count = list(plan.paths).count(STDIN)
    if STDIN in plan.against:
        raise InputError("standard input", "can be cleaned, but is no reference; name a file")
    if count > 1:
        raise InputError("standard input", "can be read once only, but is named more often")
    if count and plan.stdin_format is None:
        raise InputError("standard input", "is read as a corpus with --stdin-format only")
    if plan.stdin_format is not None and not count:
        raise InputError("standard input", "is not among the paths: name it as -")
    if count and plan.resume:
        raise InputError("standard input", "is gone, so no run goes on with it; start anew")


def _check_ranks(plan: Plan, options: Options) -> None:
    """Refuse a keep policy that has nothing to go by."""
    if options.keep == "newest" and plan.fields.date is None:
        raise OptionsError("keep", "newest", "a date field beside it")
    if options.keep == "priority" and not plan.priority_globs and plan.fields.priority is None:
        raise OptionsError("keep", "priority", "a priority field or globs beside it")


def _clean(
    intake: Intake,
    plan: Plan,
    options: Options,
    filters: Filters,
    threads: int,
    scratch: Scratch,
    checkpoint: Checkpoint | None,
    progress: Progress,
) -> CleanedCorpus:
    """Find duplicates, or take those that a stopped run found, and cut them out."""
    texts, lookout = intake.buffer.texts(), intake.lookout
    if lookout is None:
        raise RuntimeError("the texts were read without units")
    with progress.stage("cutting into units"):
        units = lookout.finish()
    inputs = intake.checksum
    found = checkpoint.load_duplicates(inputs) if checkpoint else None
    if found is None:
        found = find_duplicates(
            texts,
            units,
            options,
            threads,
            describe=lookout.take_described,
            document_ranks=_rank(intake, plan, options),
            reference_count=intake.reference_count,
            scratch=scratch,
            progress=progress,
        )
        if checkpoint and checkpoint.is_due:
            checkpoint.save_duplicates(found, inputs)
    with progress.stage("cutting out"):
        return cut_duplicates(texts, units, found, filters, threads, scratch)


def _rank(intake: Intake, plan: Plan, options: Options) -> Positions | None:
    if options.keep == "newest":
        return rank_newest(intake.dates)
    if options.keep == "priority":
        if plan.priority_globs:
            names = [one.file.name for one in intake.files for _ in range(one.first, one.last)]
            return rank_globs(names, list(plan.priority_globs))
        return rank_priority(intake.priorities)
    return None


def _choose_dropped(corpus: CleanedCorpus, intake: Intake, plan: Plan) -> set[int]:
    """Return the documents of which so much goes that they are left out."""
    if plan.drop_over is None:
        return set()
    removed = measure_rows(corpus).removed_chars
    over = removed > plan.drop_over * np.maximum(corpus.points.lengths, 1)
    over[: intake.reference_count] = False
    return set(np.flatnonzero(over).tolist())


def _files_of(intake: Intake, dropped: set[int]) -> dict[int, dict[str, Any]]:
    """Return what the map says of documents that are text files, and of those left out."""
    files = {
        one.first: {"file": formats.output_name(one.file), **one.record.encoding}
        for one in intake.files
        if one.record and one.file.format == "text"
    }
    for document in dropped:
        files[document] = {**files.get(document, {}), "dropped": True}
    return files


def _write_all(
    corpus: CleanedCorpus,
    intake: Intake,
    dropped: set[int],
    plan: Plan,
    map_parts: Iterator[bytes],
    threads: int,
    checkpoint: Checkpoint | None,
    progress: Progress,
) -> None:
    """Write the mirror, and the map at the same time."""
    out = Path(str(plan.out))
    written = checkpoint.load_written() if checkpoint else set()
    files = [one for one in intake.files[intake.reference_files :] if one.record]
    stopped = Event()
    with (
        progress.stage("writing", sum(one.size for one in files), "bytes") as done,
        ThreadPoolExecutor(1) as map_pool,
    ):

        def write(first: int, last: int) -> Failure | None:
            one = files[first]
            if one.file.name in written and (out / formats.output_name(one.file)).exists():
                done(one.size)
                return None
            return _write_file(one, corpus, dropped, plan, done)

        map_work = map_pool.submit(write_parts, str(out / MAP_NAME), _until(stopped, map_parts))
        try:
            bounds = np.arange(len(files) + 1)
            for one, failure in zip(files, map_slices(write, bounds, threads), strict=True):
                if failure:
                    intake.failures.append(failure)
                    stop_if_strict(plan.strict, [failure])
                elif checkpoint and one.file.name not in written:
                    checkpoint.save_written(one.file.name)
            map_work.result()
        finally:
            stopped.set()


def _keep_to_room(parts: Iterator[bytes], scratch: Scratch) -> Iterator[bytes]:
    """Yield parts, and make room for what is read for each."""
    for part in parts:
        scratch.keep_to_room()
        yield part


def _until(stopped: Event, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield parts until something else fails: then nothing is to be written."""
    for part in parts:
        if stopped.is_set():
            raise InterruptedError
        yield part


def _write_file(
    one: FileRead, corpus: CleanedCorpus, dropped: set[int], plan: Plan, done: Done
) -> Failure | None:
    """Write the mirror of a file; return what went wrong with the file itself."""
    changes = changes_of(corpus, one.first, one.last, dropped)
    target = Path(str(plan.out)) / formats.output_name(one.file)
    try:
        formats.rewrite_file(one.file, plan.fields, target, changes, one.record, done=done)
    except formats.FileError as error:
        return error.failure
    return None


def _summarise(
    corpus: CleanedCorpus, intake: Intake, found: Found, dropped: set[int], options: Options
) -> dict[str, Any]:
    points, rows, units = corpus.points, corpus.rows, corpus.units
    begin = intake.reference_count
    first_unit = int(units.offsets[begin])
    first_segment = int(corpus.kept.offsets[begin])
    chars = int(points.lengths[begin:].sum())
    kept_chars = int(points.kept_stops[first_segment:].sum())
    kept_chars -= int(points.kept_starts[first_segment:].sum())
    kinds = np.bincount(rows.kinds, minlength=len(KINDS)).tolist()
    measures = measure_rows(corpus)
    compared = int(np.count_nonzero(rows.compared[first_unit:]))
    return {
        "documents": len(corpus.texts) - begin,
        "changed_documents": int(np.count_nonzero(measures.removed_chars)),
        "dropped_documents": [intake.name(document) for document in sorted(dropped)],
        "chars": chars,
        "removed_chars": chars - kept_chars,
        "duplicate_chars": measures.duplicate_chars,
        "share": round(measures.duplicate_chars / chars, 6) if chars else 0.0,
        "units": len(units) - first_unit,
        "compared_units": compared,
        "short_units": len(units) - first_unit - compared,
        "duplicates": len(rows),
        "removed_duplicates": int(np.count_nonzero(corpus.removed)),
        "kinds": dict(zip(KINDS, kinds, strict=True)),
        "capped_buckets": rows.capped_count,
        "recall": round(options.recall, 6),
        "boilerplate": _list_boilerplate(corpus, intake),
        "failures": [failure.to_mapping() for failure in intake.failures],
        "unread_files": found.summarise_unread(),
    }


def _list_boilerplate(corpus: CleanedCorpus, intake: Intake) -> list[dict[str, Any]]:
    """Return the text of each unit that is boilerplate, and in how many documents it stands."""
    points, units, choice = corpus.points, corpus.units, corpus.choice
    documents = find_documents(units, choice.boilerplate)
    listed = zip(
        choice.boilerplate_documents.tolist(),
        choice.boilerplate.tolist(),
        documents.tolist(),
        strict=True,
    )
    return [
        {
            "documents": count,
            "document": intake.name(document),
            "start": int(points.unit_starts[unit]),
            "stop": int(points.unit_stops[unit]),
            "text": corpus.texts.data[units.starts[unit] : units.stops[unit]].tobytes().decode(),
        }
        for count, unit, document in sorted(listed, key=lambda one: (-one[0], one[1]))
    ]


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("dedup", "numpy", "numba")}


def _manifest(intake: Intake, plan: Plan, options: Options, filters: Filters) -> dict[str, Any]:
    return {
        "format": 1,
        "versions": _versions(),
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
                "reference": i < intake.reference_files,
                "documents": one.last - one.first,
                "bytes": one.record.byte_count,
                "checksum": one.record.checksum,
            }
            for i, one in enumerate(intake.files)
            if one.record
        ],
    }


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
