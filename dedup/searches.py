"""Searches: files in, the pairs of passages they share out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dedup.files import write_parts
from dedup.formats import Failure, Fields
from dedup.intake import FileReader, find_input
from dedup.kinds import KINDS
from dedup.matches import Match, count_points, list_matches, match_lines
from dedup.options import Options
from dedup.passages import PassageOptions, find_passages
from dedup.progress import Progress
from dedup.scratch import Scratch


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

    Raises
    ------
    InputError
        When there is nothing to read, or with `strict` something cannot be.
    OutputError
        When the file cannot be written.
    """
    progress = progress or Progress()
    options = options or PassageOptions()
    sources = find_input(paths, (), include, exclude)
    with Scratch() as scratch:
        reader = FileReader(
            sources,
            fields or Fields(),
            Options(unit="document"),
            strict=strict,
            threads=threads,
            scratch=scratch,
            checkpoint=None,
        )
        intake = reader.read(progress)
        intake.lookout.close()
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
