"""Searches: files in, the pairs of passages they share out."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dedup.errors import InputError, OutputError
from dedup.files import STDIN, Source, read_source, shown_name, write_parts
from dedup.formats import CorpusFile, Failure, Fields, kind_of, read_documents
from dedup.intake import FileReader, check_reference, find_input
from dedup.kinds import KINDS
from dedup.matches import (
    Match,
    PairScope,
    check_scope,
    choose_passages,
    count_points,
    list_matches,
    match_lines,
)
from dedup.passages import PassageOptions, find_passages
from dedup.progress import Progress
from dedup.scratch import Scratch
from dedup.spool import StdinFormat, spool_stdin

_STDIN_NAME = "standard input"


@dataclass(frozen=True)
class Search:
    """The passages that files share.

    Attributes
    ----------
    summary
        Counts of documents, characters, pairs by kind, seeds that were capped,
        and what could not be read.
    failures
        What could not be read.
    notes
        What the user should know of files that were read.
    matches
        The pairs; none where they were written to a file.
    """

    summary: dict[str, Any]
    failures: list[Failure]
    notes: list[str]
    matches: Iterator[Match]


def search(
    paths: Sequence[str],
    out: str | None,
    options: PassageOptions | None = None,
    *,
    scope: PairScope = "corpus",
    against: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    fields: Fields | None = None,
    strict: bool = False,
    overwrite: bool = False,
    stdin_format: StdinFormat | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Search:
    """Find the passages that files share, across and within documents.

    Parameters
    ----------
    paths, include, exclude, fields, strict
        See `dedup.runs.Plan`.
    out
        File for the pairs, written whole or not at all; None for none.
    scope
        Which pairs count.
    against
        Folders and files of a reference. Where there is one, only pairs of a
        passage in it and one in `paths` count.
    overwrite
        Whether `out` may be one of the files that are read, or stand among them.
    stdin_format
        How text is stored in what comes on standard input; as one text unless given.

    Raises
    ------
    OptionsError
        When there is a reference and pairs are to stand inside documents.
    InputError
        When there is nothing to read, no reference though one is asked for, or
        with `strict` something that cannot be read.
    OutputError
        When the file cannot be written, or would be one of those that are read.
    """
    progress = progress or Progress()
    options = options or PassageOptions()
    check_scope(scope, bool(against))
    _check_stdin(paths, against, stdin_format)
    if out is not None:
        if not overwrite:
            _check_apart(out, [*paths, *against])
        _check_room(out)
    with ExitStack() as stack:
        given: list[str | CorpusFile] = list(paths)
        if STDIN in paths:
            spooled = stack.enter_context(spool_stdin(stdin_format or "text", None, progress))
            given[given.index(STDIN)] = spooled
        sources = find_input(given, against, include, exclude)
        check_reference(sources, against)
        if out is not None and not overwrite:
            _check_files(out, [*sources.reference, *sources.files])
        scratch = stack.enter_context(Scratch())
        reader = FileReader(
            sources,
            fields or Fields(),
            None,
            strict=strict,
            threads=threads,
            scratch=scratch,
            checkpoint=None,
        )
        intake = reader.read(progress)
        texts = intake.buffer.texts()
        found = find_passages(texts, options, threads, progress=progress)
        found = choose_passages(found, scope, intake.reference_count if against else None)
        names = [intake.name(document) for document in range(len(texts))]
        matches = list_matches(texts, names, found)
        if out is not None:
            with progress.stage("writing"):
                write_parts(out, match_lines(matches))
            matches = iter(())
    kinds = np.bincount(found.kinds, minlength=len(KINDS)).tolist()
    begin, end = count_points(texts.data, texts.offsets[[intake.reference_count, -1]]).tolist()
    summary = {
        "documents": len(texts) - intake.reference_count,
        "reference_documents": intake.reference_count if against else None,
        "chars": end - begin,
        "pairs": len(found),
        "kinds": dict(zip(KINDS, kinds, strict=True)),
        "capped_seeds": found.capped_count,
        "failures": [failure.to_mapping() for failure in intake.failures],
        "unread_files": sources.summarise_unread(),
    }
    notes = [_of_reading(one.record.note) for one in intake.files if one.record and one.record.note]
    return Search(summary, intake.failures, notes, matches)


def read_text(path: str) -> Source:
    """Read the text of a file of any format that holds one, or standard input for ``-``.

    Raises
    ------
    InputError
        When it cannot be read, or holds rows.
    """
    format_, compression = kind_of(path)
    if path == STDIN or (format_, compression) == ("text", ""):
        source = read_source(path)
        return Source(source.name, source.text, note=_of_reading(source.note))
    if format_ in ("jsonl", "csv", "parquet"):
        raise InputError(path, "holds rows, not one text; dedup find lists what they share")
    file = CorpusFile(Path(path), path, format_, compression)
    reader = read_documents(file, Fields(), [])
    text = b"".join(text for batch in reader for text in batch.texts).decode()
    return Source(shown_name(path), text, note=_of_reading(reader.record.note))


def read_both(left: str, right: str) -> tuple[Source, Source]:
    """Read two texts to be compared, and name them so that they can be told apart.

    Raises
    ------
    InputError
        See `read_text`; also when both are to come on standard input.
    """
    if left == right == STDIN:
        raise InputError(_STDIN_NAME, "can be read once only, but is named more often")
    one, other = (read_text(path) for path in (left, right))
    if one.name == other.name:
        one, other = (
            Source(os.fsencode(path).decode(errors="replace"), source.text, note=source.note)
            for path, source in ((left, one), (right, other))
        )
    return one, other


def _of_reading(note: str) -> str:
    """Return the part of a note that is about reading: nothing is written in that encoding."""
    return note.replace("read and written as", "read as").removesuffix(", written as utf-8")


def _check_stdin(
    paths: Sequence[str], against: Sequence[str], stdin_format: StdinFormat | None
) -> None:
    """Refuse standard input where it cannot be read."""
    if STDIN in against:
        raise InputError(_STDIN_NAME, "can be searched, but is no reference; name a file")
    if list(paths).count(STDIN) > 1:
        raise InputError(_STDIN_NAME, "can be read once only, but is named more often")
    if stdin_format is not None and STDIN not in paths:
        raise InputError(_STDIN_NAME, "is not among the paths: name it as -")


def _check_room(target: str) -> None:
    """Refuse a place where no file can be written, before time is spent on what goes there."""
    out = Path(target)
    if out.is_dir():
        raise OutputError(target, "is a folder")
    if not out.resolve().parent.is_dir():
        raise OutputError(target, "no such folder")


def _check_apart(target: str, paths: Sequence[str]) -> None:
    """Refuse a file that is read, as far as the paths tell, or would be the next time."""
    out = Path(target)
    for path in paths:
        if path == STDIN:
            status = _file_on_stdin()
            if status and out.exists() and os.path.samestat(out.stat(), status):
                raise _is_read(target)
        elif Path(path).is_dir():
            if Path(path).resolve() in out.resolve().parents:
                reason = f"stands inside the input {path}; pass --overwrite to write there"
                raise OutputError(target, reason)
        elif out.exists() and Path(path).exists() and out.samefile(path):
            raise _is_read(target)


def _file_on_stdin() -> os.stat_result | None:
    """Return the status of the file that standard input comes from, if it is one."""
    # Closed, or replaced by what has no descriptor.
    with suppress(OSError, ValueError, AttributeError):
        status = os.fstat(sys.stdin.fileno())
        return status if stat.S_ISREG(status.st_mode) else None
    return None


def _check_files(target: str, files: Sequence[CorpusFile]) -> None:
    """Refuse a file that is read, by whatever name."""
    out = Path(target)
    if not out.exists():
        return
    status = out.stat()
    for file in files:
        # A file that is gone meanwhile is told of when it is read.
        with suppress(OSError):
            if os.path.samestat(status, file.path.stat()):
                raise _is_read(target)


def _is_read(target: str) -> OutputError:
    return OutputError(target, "is a file that is read; pass --overwrite to replace it")
