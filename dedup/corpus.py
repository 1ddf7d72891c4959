"""Corpora: many documents as columns, and the cleaning of them all together."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import accumulate

import numpy as np

from dedup.cleaned import CodePoints, Kept, count_all_code_points, cut_out
from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.duplicates import EXACT, Duplicates, describe_units, find_duplicates
from dedup.filters import Choice, Filters, choose_removed
from dedup.folding import Descriptions
from dedup.options import Options
from dedup.slices import cut_slices, run_slices
from dedup.units import Units, cut_units

# Documents are cut into units in slices of so many bytes, by all threads.
_SLICE_BYTES = 1 << 22


class TextBuffer:
    """Texts that come one after the other, in one growing buffer.

    Parameters
    ----------
    expected_bytes
        How much text is likely to come. Pages are taken as they are written,
        so a guess too high costs nothing; one too low costs a copy.
    """

    def __init__(self, expected_bytes: int) -> None:
        self._data: Bytes = np.empty(max(expected_bytes, 1 << 20), np.uint8)
        self._ends: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, texts: Iterable[bytes]) -> None:
        """Take texts, valid UTF-8."""
        parts = list(texts)
        end = self._size + sum(map(len, parts))
        if end > len(self._data):
            grown = np.empty(max(2 * len(self._data), end), np.uint8)
            grown[: self._size] = self._data[: self._size]
            self._data = grown
        self._data[self._size : end] = np.frombuffer(b"".join(parts), np.uint8)
        self._ends += accumulate(map(len, parts), initial=self._size)
        # The first is where the texts begin.
        del self._ends[-len(parts) - 1]
        self._size = end

    def truncate(self, count: int) -> None:
        """Forget all but the first texts."""
        del self._ends[count:]
        self._size = self._ends[-1] if self._ends else 0

    def bytes_since(self, first: int) -> int:
        """Return how many bytes the texts from `first` on have."""
        return self._size - (self._ends[first - 1] if first else 0)

    def texts(self, first: int = 0, last: int | None = None) -> Texts:
        """Return the texts from `first` to `last`; positions are those among all."""
        begin = self._ends[first - 1] if first else 0
        offsets = np.array([begin, *self._ends[first:last]], np.int64)
        return Texts(self._data[: offsets[-1]], offsets)


class Lookout:
    """Cuts and describes documents in threads, while more of them are being read.

    Parameters
    ----------
    buffer
        Where the documents come in.
    """

    def __init__(self, buffer: TextBuffer, options: Options, threads: int) -> None:
        self._buffer, self._options = buffer, options
        self._pool = ThreadPoolExecutor(threads)
        self._parts: list[tuple[int, Future[tuple[Units, Descriptions]]]] = []
        self._first = 0

    def look(self, whole: int, least_bytes: int = _SLICE_BYTES) -> None:
        """Take up the documents that came since, if they are as many bytes.

        Parameters
        ----------
        whole
            How many documents no failure can take back any more.
        """
        if self._buffer.bytes_since(self._first) < least_bytes:
            return
        for last in (whole, len(self._buffer)):
            if self._first < last:
                texts = self._buffer.texts(self._first, last)
                work = self._pool.submit(_cut_and_describe, texts, self._options)
                self._parts.append((self._first, work))
                self._first = last

    def forget(self, count: int) -> None:
        """Forget all but the first documents, which were whole before the others came."""
        for first, work in self._parts:
            if first >= count and not work.cancel():
                # Its text is about to be written over.
                work.exception()
        self._parts = [part for part in self._parts if part[0] < count]
        self._first = min(self._first, count)

    def finish(self, described: list[Descriptions]) -> Units:
        """Wait for all; return the units of all documents, and append their descriptions."""
        self.look(len(self._buffer), least_bytes=0)
        with self._pool:
            parts = [work.result() for _, work in self._parts]
        self._parts.clear()
        units = _join_units([units for units, _ in parts])
        columns = (
            np.concatenate([np.empty(0, kind), *(getattr(part, name) for _, part in parts)])
            for name, kind in (
                ("spaced_chars", np.int64),
                ("unspaced_chars", np.int64),
                ("numbers", np.uint64),
                ("fingerprints", np.uint64),
            )
        )
        described.append(Descriptions(*columns))
        return units


def _cut_and_describe(texts: Texts, options: Options) -> tuple[Units, Descriptions]:
    units = cut_units(texts, options.unit)
    return units, describe_units(texts.data, units)


@dataclass(frozen=True)
class CleanedCorpus:
    """Documents and all that was found out about them.

    Attributes
    ----------
    texts, units
        What was looked at, the reference first.
    rows
        What repeats; boilerplate of which nothing stays has a row of its own,
        with itself for a canonical.
    removed
        bool[row_count], what of it is taken out.
    choice
        What the filters chose.
    kept
        The segments that stay.
    points
        Spans in code points.
    """

    texts: Texts
    units: Units
    rows: Duplicates
    removed: Flags
    choice: Choice
    kept: Kept
    points: CodePoints


def clean_corpus(
    texts: Texts,
    options: Options,
    filters: Filters,
    *,
    threads: int = 1,
    document_ranks: Positions | None = None,
    lookout: Lookout | None = None,
    reference_count: int = 0,
) -> CleanedCorpus:
    """Clean documents together.

    Parameters
    ----------
    document_ranks, reference_count
        See `find_duplicates`.
    lookout
        Has the units and their descriptions, where one looked ahead.
    """
    described: list[Descriptions] = []
    units = lookout.finish(described) if lookout else cut_all_units(texts, options, threads)
    found = find_duplicates(
        texts,
        units,
        options,
        threads,
        describe_all=described.pop if described else None,
        document_ranks=document_ranks,
        reference_count=reference_count,
    )
    choice = choose_removed(units, found, filters)
    rows, row_removed = _with_dropped(found, choice)
    removed = np.zeros(len(units), np.bool_)
    removed[rows.units[row_removed]] = True
    kept = cut_out(texts, units, removed)
    points = count_all_code_points(texts, units, kept, threads)
    return CleanedCorpus(texts, units, rows, row_removed, choice, kept, points)


def _with_dropped(found: Duplicates, choice: Choice) -> tuple[Duplicates, Flags]:
    """Add rows for canonicals that are taken out as well."""
    count = len(choice.dropped)
    if count == 0:
        return found, choice.rows
    units = np.concatenate([found.units, choice.dropped])
    order = np.argsort(units)
    ones = np.ones(count)
    rows = replace(
        found,
        units=units[order],
        canonicals=np.concatenate([found.canonicals, choice.dropped])[order],
        scores=np.concatenate([found.scores, ones])[order],
        containments=np.concatenate([found.containments, ones])[order],
        kinds=np.concatenate([found.kinds, np.full(count, EXACT, np.uint8)])[order],
        passages=np.concatenate(
            [found.passages, found.passages.max(initial=-1) + 1 + np.arange(count)]
        )[order],
    )
    return rows, np.concatenate([choice.rows, np.ones(count, np.bool_)])[order]


def cut_all_units(texts: Texts, options: Options, threads: int) -> Units:
    """Cut documents into units, slices of documents in threads."""
    bounds = cut_slices(np.diff(texts.offsets), _SLICE_BYTES)
    parts: dict[int, Units] = {}

    def work(first: int, last: int) -> None:
        parts[first] = cut_units(Texts(texts.data, texts.offsets[first : last + 1]), options.unit)

    run_slices(work, bounds, threads)
    return _join_units([parts[first] for first in bounds[:-1].tolist()])


def _join_units(parts: list[Units]) -> Units:
    nothing = np.empty(0, np.int64)
    counts = np.concatenate([nothing, *(np.diff(part.offsets) for part in parts)])
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Units(
        np.concatenate([nothing, *(part.starts for part in parts)]),
        np.concatenate([nothing, *(part.stops for part in parts)]),
        offsets,
    )


def rank_newest(dates: list[object | None]) -> Positions:
    """Rank documents by date, the newest first, those without a date last.

    Parameters
    ----------
    dates
        ISO 8601 texts, numbers, or nothing. Texts are compared as text, which
        is right for dates written in one form.
    """
    return _rank([(date is None, not isinstance(date, str), date) for date in dates], reverse=True)


def rank_priority(priorities: list[object | None]) -> Positions:
    """Rank documents by priority, the least number first, those without one last."""
    return _rank([(value is None, isinstance(value, str), value) for value in priorities])


def rank_globs(names: list[str], globs: list[str]) -> Positions:
    """Rank documents by the first glob that fits the path of their file, others last."""
    ranks = [
        next((i for i, glob in enumerate(globs) if fnmatchcase(name, glob)), len(globs))
        for name in names
    ]
    return np.array(ranks, np.int64)


def _rank(keys: list[tuple[bool, bool, object]], reverse: bool = False) -> Positions:
    """Rank keys (nothing there, other kind, value); equal values have equal ranks."""
    order = {
        value: i
        for i, value in enumerate(
            [
                *sorted({key[1:] for key in keys if not key[0]}, reverse=reverse),
            ]
        )
    }
    return np.array([len(order) if key[0] else order[key[1:]] for key in keys], np.int64)


def iterate_kept(corpus: CleanedCorpus, first: int, last: int) -> Iterator[bytes | None]:
    """Yield the cleaned text of documents, None for one that did not change."""
    data, kept, texts = corpus.texts.data, corpus.kept, corpus.texts
    starts, stops, offsets = kept.starts.tolist(), kept.stops.tolist(), kept.offsets.tolist()
    borders = texts.offsets.tolist()
    for document in range(first, last):
        segments = range(offsets[document], offsets[document + 1])
        length = borders[document + 1] - borders[document]
        if sum(stops[i] - starts[i] for i in segments) == length:
            yield None
        else:
            yield b"".join(data[starts[i] : stops[i]].tobytes() for i in segments)
