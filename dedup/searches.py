"""Searches: files in, the pairs of passages they share out."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dedup.errors import InputError, OutputError
from dedup.files import STDIN, write_parts
from dedup.formats import CorpusFile, Failure, Fields
from dedup.intake import FileReader, find_input
from dedup.kinds import KINDS
from dedup.matches import Match, count_points, list_matches, match_lines
from dedup.passages import PassageOptions, find_passages
from dedup.progress import Progress
from dedup.scratch import Scratch
from dedup.spool import StdinFormat, spool_stdin


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
    matches
        The pairs; none where they were written to a file.
    """

    summary: dict[str, Any]
    failures: list[Failure]
    matches: Iterator[Match]


def search(
    paths: Sequence[str],
    out: str | None,
    options: PassageOptions | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    fields: Fields | None = None,
    strict: bool = False,
    overwrite: bool = False,
    stdin_format: StdinFormat = "text",
    threads: int = 1,
    progress: Progress | None = None,
) -> Search:
    """Find the passages that files share, across and within documents.

    Parameters
    ----------
    paths, include, exclude, fields, strict, stdin_format
        See `dedup.runs.Plan`.
    out
        File for the pairs, written whole or not at all; None for none.
    overwrite
        Whether `out` may be one of the files that are read, or stand among them.

    Raises
    ------
    InputError
        When there is nothing to read, or with `strict` something cannot be.
    OutputError
        When the file cannot be written, or would be one of those that are read.
    """
    progress = progress or Progress()
    options = options or PassageOptions()
    if list(paths).count(STDIN) > 1:
        raise InputError("standard input", "can be read once only, but is named more often")
    if out is not None and not overwrite:
        _check_folders(out, paths)
    with ExitStack() as stack:
        given: list[str | CorpusFile] = list(paths)
        if STDIN in paths:
            spooled = stack.enter_context(spool_stdin(stdin_format, None, progress))
            given[given.index(STDIN)] = spooled
        sources = find_input(given, (), include, exclude)
        if out is not None and not overwrite:
            _check_files(out, sources.files)
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
        with progress.stage("finding passages"):
            found = find_passages(texts, options, threads)
        names = [intake.name(document) for document in range(len(texts))]
    matches = list_matches(texts, names, found)
    if out is not None:
        write_parts(out, match_lines(matches))
        matches = iter(())
    kinds = np.bincount(found.kinds, minlength=len(KINDS)).tolist()
    summary = {
        "documents": len(texts),
        "chars": int(count_points(texts.data, texts.offsets[-1:])[0]),
        "pairs": len(found),
        "kinds": dict(zip(KINDS, kinds, strict=True)),
        "capped_seeds": found.capped_count,
        "failures": [failure.to_mapping() for failure in intake.failures],
        "unread_files": sources.summarise_unread(),
    }
    return Search(summary, intake.failures, matches)


def _check_folders(target: str, paths: Sequence[str]) -> None:
    """Refuse a file that would be read the next time."""
    out = Path(target).resolve()
    for path in paths:
        folder = Path(path)
        if path != STDIN and folder.is_dir() and folder.resolve() in out.parents:
            reason = f"stands inside the input {path}; pass --overwrite to write there"
            raise OutputError(target, reason)


def _check_files(target: str, files: Sequence[CorpusFile]) -> None:
    """Refuse a file that is read, by whatever name."""
    out = Path(target)
    if out.exists() and any(out.samefile(file.path) for file in files if file.path.exists()):
        raise OutputError(target, "is a file that is read; pass --overwrite to replace it")
