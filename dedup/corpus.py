"""Corpora: many documents as columns, and the cleaning of them all together."""

from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import accumulate

import numpy as np

from dedup.cleaned import CodePoints, Kept, count_all_code_points, cut_out
from dedup.columns import Flags, Positions, Texts
from dedup.descriptions import Described, Describing, describe_units
from dedup.documents import CHANGED, DROPPED, UNCHANGED, Changes
from dedup.duplicates import Duplicates, find_duplicates
from dedup.filters import Choice, Filters, choose_removed
from dedup.kernels import kernel
from dedup.kinds import EXACT
from dedup.options import Options
from dedup.progress import Progress
from dedup.scratch import Column, Scratch
from dedup.slices import SLICE_BYTES, cut_many_slices, cut_slices, map_slices
from dedup.units import Units, cut_units, find_documents

# Documents are cut into units in slices of so many bytes, by all threads.
_SLICE_BYTES = 1 << 20

# Slices of which the units may wait to be taken up, for each thread, and what
# a slice takes for each byte of it meanwhile.
_AHEAD = 4
_BYTES_A_BYTE = 3

# Texts of so many bytes are copied one by one: joined first they would be copied
# twice, but one by one costs 0.2 us each.
_LONG_BYTES = 512

# Text for which a unit is expected.
_BYTES_A_UNIT = 64


class TextBuffer:
    """Texts that come one after the other, in one growing column.

    Parameters
    ----------
    expected_bytes
        How much text is likely to come. Pages are taken as they are written,
        so a guess too high costs nothing; one too low costs a copy.
    """

    def __init__(self, expected_bytes: int, scratch: Scratch | None = None) -> None:
        scratch = scratch or Scratch()
        self._data = Column(scratch, np.uint8, expected_bytes)
        self._offsets = Column(scratch, np.int64)
        self._offsets.extend(np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def append(self, texts: Iterable[bytes]) -> None:
        """Take texts, valid UTF-8."""
        parts = list(texts)
        total = sum(map(len, parts))
        if total < _LONG_BYTES * len(parts):
            self.extend(Texts.from_bytes(parts))
            return
        ends = np.fromiter(accumulate(map(len, parts)), np.int64, len(parts))
        self._offsets.extend(ends + len(self._data))
        room = self._data.add(total).data
        at = 0
        for part in parts:
            room[at : at + len(part)] = part
            at += len(part)

    def extend(self, texts: Texts) -> None:
        """Take texts that are columns already, from 0 on."""
        self._offsets.extend(texts.offsets[1:] + len(self._data))
        self._data.extend(texts.data[: texts.offsets[-1]])

    def truncate(self, count: int) -> None:
        """Forget all but the first texts."""
        self._offsets.truncate(count + 1)
        self._data.truncate(int(self._offsets.values[-1]))

    def bytes_since(self, first: int) -> int:
        """Return how many bytes the texts from `first` on have."""
        return len(self._data) - int(self._offsets.values[first])

    def texts(self, first: int = 0, last: int | None = None) -> Texts:
        """Return the texts from `first` to `last`; positions are those among all."""
        stop = None if last is None else last + 1
        return Texts(self._data.values, self._offsets.values[first:stop])


class Lookout:
    """Cuts and describes documents in threads, while more of them are being read.

    Parameters
    ----------
    buffer
        Where the documents come in.
    expected_bytes
        How much text is likely to come.
    """

    def __init__(
        self,
        buffer: TextBuffer,
        options: Options,
        threads: int,
        scratch: Scratch | None = None,
        expected_bytes: int = 0,
    ) -> None:
        scratch = scratch or Scratch()
        self._buffer, self._options = buffer, options
        self._pool = ThreadPoolExecutor(threads)
        self._ahead = _AHEAD * threads
        most = scratch.chunk_bytes // (self._ahead * _BYTES_A_BYTE)
        self._slice_bytes = min(_SLICE_BYTES, max(most, SLICE_BYTES))
        self._parts: deque[tuple[int, Future[tuple[Units, Described]]]] = deque()
        self._first = 0
        expected = expected_bytes // _BYTES_A_UNIT
        self._cut = _GrowingUnits(scratch, expected)
        self._described: Describing | None = Describing(scratch, expected)

    def look(self, whole: int, least_bytes: int | None = None) -> None:
        """Take up the documents that came since, if they are as many bytes.

        Parameters
        ----------
        whole
            How many documents no failure can take back any more.
        least_bytes
            A slice unless given.
        """
        least_bytes = self._slice_bytes if least_bytes is None else least_bytes
        if self._buffer.bytes_since(self._first) < least_bytes:
            return
        for end in (whole, len(self._buffer)):
            if self._first < end:
                lengths = self._buffer.texts(self._first, end).lengths(0, end - self._first)
                for last in (self._first + cut_slices(lengths, self._slice_bytes)[1:]).tolist():
                    texts = self._buffer.texts(self._first, last)
                    work = self._pool.submit(_cut_and_describe, texts, self._options, self._first)
                    self._parts.append((self._first, work))
                    self._first = last
                    self._collect(self._ahead)

    def forget(self, count: int) -> None:
        """Forget all but the first documents, which were whole before the others came."""
        while self._parts and self._parts[-1][0] >= count:
            _, work = self._parts.pop()
            if not work.cancel():
                # Its text is about to be written over.
                work.exception()
        if self._described is not None and count < self._cut.document_count:
            self._cut.truncate(count)
            self._described.truncate(self._cut.unit_count)
        self._first = min(self._first, count)

    def finish(self) -> Units:
        """Wait for all; return the units of all documents."""
        self.look(len(self._buffer), least_bytes=0)
        with self._pool:
            self._collect(0)
        return self._cut.get()

    def take_described(self) -> Described:
        """Return the descriptions of all units, once."""
        if self._described is None:
            raise RuntimeError("the descriptions were taken")
        described, self._described = self._described.get(), None
        return described

    def close(self) -> None:
        """Stop, with nothing to be finished."""
        self._pool.shutdown(cancel_futures=True)

    def _collect(self, most: int) -> None:
        """Take up what is done, and wait while more than so many parts are not."""
        while self._parts and (len(self._parts) > most or self._parts[0][1].done()):
            units, described = self._parts.popleft()[1].result()
            self._cut.append(units)
            if self._described is not None:
                self._described.append(described)


class _GrowingUnits:
    """Units of documents that come slice by slice."""

    def __init__(self, scratch: Scratch, expected: int = 0) -> None:
        self._starts, self._stops = (Column(scratch, np.int64, expected) for _ in range(2))
        self._offsets = Column(scratch, np.int64)
        self._offsets.extend(np.zeros(1, np.int64))

    @property
    def document_count(self) -> int:
        return len(self._offsets) - 1

    @property
    def unit_count(self) -> int:
        return len(self._starts)

    def append(self, part: Units) -> None:
        self._offsets.extend(part.offsets[1:] + len(self._starts))
        self._starts.extend(part.starts)
        self._stops.extend(part.stops)

    def truncate(self, document_count: int) -> None:
        self._offsets.truncate(document_count + 1)
        unit_count = int(self._offsets.values[-1])
        self._starts.truncate(unit_count)
        self._stops.truncate(unit_count)

    def get(self) -> Units:
        return Units(self._starts.values, self._stops.values, self._offsets.values)


def _cut_and_describe(texts: Texts, options: Options, first: int) -> tuple[Units, Described]:
    units = cut_units(texts, options.unit)
    return units, describe_units(texts.data, units, options, first)


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
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> CleanedCorpus:
    """Clean documents together.

    Parameters
    ----------
    document_ranks, reference_count
        See `find_duplicates`.
    lookout
        Has the units and their descriptions, where one looked ahead.
    scratch
        Where columns are made.
    progress
        Is told how far it is.
    """
    scratch = scratch or Scratch()
    units = lookout.finish() if lookout else cut_all_units(texts, options, threads, scratch)
    found = find_duplicates(
        texts,
        units,
        options,
        threads,
        describe=lookout.take_described if lookout else None,
        document_ranks=document_ranks,
        reference_count=reference_count,
        scratch=scratch,
        progress=progress,
    )
    return cut_duplicates(texts, units, found, filters, threads, scratch)


def cut_duplicates(
    texts: Texts,
    units: Units,
    found: Duplicates,
    filters: Filters,
    threads: int = 1,
    scratch: Scratch | None = None,
) -> CleanedCorpus:
    """Take out of documents what was found and the filters choose."""
    scratch = scratch or Scratch()
    choice = choose_removed(units, found, filters, scratch)
    rows, row_removed = _with_dropped(units, found, choice)
    removed = scratch.full(len(units), False, np.bool_)
    _mark_removed(rows.units, row_removed, removed)
    kept = cut_out(texts, units, removed, scratch)
    del removed
    points = count_all_code_points(texts, units, kept, threads, scratch)
    return CleanedCorpus(texts, units, rows, row_removed, choice, kept, points)


@kernel
def _mark_removed(units, row_removed, removed):
    for row in range(len(units)):
        removed[units[row]] = row_removed[row]


@dataclass(frozen=True)
class RowMeasures:
    """What the rows of a corpus amount to, in code points.

    Attributes
    ----------
    removed_chars
        int64[document_count], in units that are taken out.
    duplicate_chars
        In all units that are duplicates.
    """

    removed_chars: Positions
    duplicate_chars: int


@kernel
def _measure_rows(units, documents, removed, starts, stops, removed_chars):
    total = np.int64(0)
    for row in range(len(units)):
        length = stops[units[row]] - starts[units[row]]
        total += length
        if removed[row]:
            removed_chars[documents[row]] += length
    return total


def measure_rows(corpus: CleanedCorpus, scratch: Scratch | None = None) -> RowMeasures:
    """Add up the rows of a corpus."""
    scratch = scratch or Scratch()
    rows, points = corpus.rows.units, corpus.points
    removed_chars = scratch.full(len(corpus.texts), 0, np.int64)
    total = _measure_rows(
        rows,
        find_documents(corpus.units, rows, scratch),
        corpus.removed,
        points.unit_starts,
        points.unit_stops,
        removed_chars,
    )
    return RowMeasures(removed_chars, int(total))


def _with_dropped(units: Units, found: Duplicates, choice: Choice) -> tuple[Duplicates, Flags]:
    """Add rows for canonicals that are taken out as well."""
    count = len(choice.dropped)
    if count == 0:
        return found, choice.rows
    own_starts, own_stops = units.starts[choice.dropped], units.stops[choice.dropped]
    row_units = np.concatenate([found.units, choice.dropped])
    order = np.argsort(row_units)
    ones = np.ones(count)
    rows = replace(
        found,
        units=row_units[order],
        canonicals=np.concatenate([found.canonicals, choice.dropped])[order],
        canonical_starts=np.concatenate([found.canonical_starts, own_starts])[order],
        canonical_stops=np.concatenate([found.canonical_stops, own_stops])[order],
        scores=np.concatenate([found.scores, ones])[order],
        containments=np.concatenate([found.containments, ones])[order],
        kinds=np.concatenate([found.kinds, np.full(count, EXACT, np.uint8)])[order],
        passages=np.concatenate(
            [found.passages, found.passages.max(initial=-1) + 1 + np.arange(count)]
        )[order],
    )
    return rows, np.concatenate([choice.rows, np.ones(count, np.bool_)])[order]


def cut_all_units(
    texts: Texts, options: Options, threads: int, scratch: Scratch | None = None
) -> Units:
    """Cut documents into units, slices of documents in threads."""

    def work(first: int, last: int) -> Units:
        return cut_units(Texts(texts.data, texts.offsets[first : last + 1]), options.unit)

    bounds = cut_many_slices(len(texts), texts.lengths, _SLICE_BYTES)
    if len(bounds) == 2:
        return work(0, len(texts))
    units = _GrowingUnits(scratch or Scratch())
    for part in map_slices(work, bounds, threads):
        units.append(part)
    return units.get()


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


def changes_of(
    corpus: CleanedCorpus, first: int, last: int, dropped: Collection[int] = ()
) -> Changes:
    """Return what becomes of documents: changed is one that is not kept whole.

    Parameters
    ----------
    dropped
        Documents of the corpus that are left out.
    """
    texts, kept = corpus.texts, corpus.kept
    offsets = kept.offsets[first : last + 1]
    segments = slice(offsets[0], offsets[-1])
    kept_bytes = np.zeros(offsets[-1] - offsets[0] + 1, np.int64)
    np.cumsum(kept.stops[segments] - kept.starts[segments], out=kept_bytes[1:])
    is_whole = np.diff(kept_bytes[offsets - offsets[0]]) == np.diff(texts.offsets[first : last + 1])
    actions = np.where(is_whole, UNCHANGED, CHANGED).astype(np.uint8)
    if dropped:
        actions[[document in dropped for document in range(first, last)]] = DROPPED
    return Changes(texts.data, actions, kept.starts, kept.stops, offsets)
