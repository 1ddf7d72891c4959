"""Lookups: where units are found under their keys, made from the journal.

What was added lately is in memory; beside the calls it is written to segments, and
segments are merged. Nothing here is the truth: it can be made from the journal again.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Positions
from dedup.duplicates import GOES, STAYS
from dedup.errors import DedupError, InputError
from dedup.index.journal import ADDED, JUDGED, Journal, News, Record, join_records
from dedup.index.postings import Postings, make_keys
from dedup.index.segments import (
    Recent,
    Segment,
    find_in_all,
    merge_segments,
    sync_folder,
    write_segment,
)
from dedup.options import Options

# Postings in memory at most, 64 MB, before they are written to a segment; and segments
# of a tier, each tier four times as large as the one before, before they are merged.
_MOST_RECENT: Final = 1 << 22
_SEGMENTS_A_TIER, _TIER_BITS = 4, 2

# Documents that are read at once when all is made anew.
_DOCUMENTS_AT_ONCE: Final = 256

# Another process may be writing a file that is younger.
_LEFT_SECONDS: Final = 3600


class Lookups:
    """Postings of all documents of a journal, in memory and in segments.

    Parameters
    ----------
    folder
        Where segments are.
    lock
        Held by whoever uses the journal's connection.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        options: Options,
        threads: int,
        lock: threading.RLock,
    ) -> None:
        self._folder, self._journal, self._options = folder, journal, options
        self._threads, self._lock = threads, lock
        self._segments: dict[str, Segment] = {}
        self._worker: threading.Thread | None = None
        self._failure: DedupError | None = None
        self._closing = threading.Event()
        self._ranges: NDArray[np.int64] | None = None
        self.forget()

    def __len__(self) -> int:
        written = sum(segment.count for segment in self._segments.values())
        return written + self._frozen.count + self._recent.count

    @property
    def names(self) -> list[str]:
        """The files of the segments."""
        return list(self._segments)

    def close(self) -> None:
        """Stop what is done beside the calls, and close all files."""
        self._closing.set()
        self.finish_work()
        self._drop()

    def find(
        self, keys: NDArray[np.uint64], most: int, ranges: NDArray[np.int64]
    ) -> tuple[Positions, Positions]:
        """Find the first units under each key.

        Parameters
        ----------
        keys
            uint64[n], rising.
        most
            Units of each key at most.
        ranges
            int64[m, 3], number, first unit and unit count of the documents that count.

        Returns
        -------
        offsets, units
            int64[n + 1] and int64[k]; those of each key rise.
        """
        # A document without units has no range.
        filled = ranges[ranges[:, 2] > 0]
        return find_in_all(
            [*self._segments.values(), self._frozen, self._recent],
            keys,
            most,
            filled[:, 1].copy(),
            filled[:, 1] + filled[:, 2],
            self._threads,
        )

    def add(self, postings: Postings) -> None:
        """Take postings of what was just written to the journal."""
        self._recent.add(*postings)
        self.forget_removed()

    def forget_removed(self) -> None:
        """Take notice that documents were just removed from the journal."""
        self._change = self._journal.last_change()
        self._ranges = None

    def forget(self) -> None:
        """Forget what is in memory and was made from the journal."""
        # Postings of the changes up to `_written` stand in segments; the frozen ones are
        # about to, the others are recent.
        self._recent, self._frozen = Recent(), Recent()
        self._change = self._written = -1
        self._ranges = None

    def live(self) -> NDArray[np.int64]:
        """Return number, first unit and unit count of each document that is there."""
        if self._ranges is None:
            self._ranges = self._journal.ranges()
        return self._ranges

    def catch_up(self) -> None:
        """Take up what the journal says since it was looked at."""
        listed = self._journal.segments()
        written = max(listed.values(), default=0)
        if written != self._written:
            # All was forgotten, or another process wrote a segment of what is recent here.
            self.forget()
            self._change = self._written = written
        if listed.keys() != self._segments.keys():
            self._drop(listed)
            for name in listed.keys() - self._segments.keys():
                self._segments[name] = Segment.open(self._folder / name)
        changes = self._journal.changes(self._change)
        if changes:
            self._ranges = None
        added = set()
        for number, kind, document, news in changes:
            # A document is read as it is now, so what was judged since is in it.
            if kind == ADDED or (kind == JUDGED and document not in added):
                for record in self._journal.documents([document]):
                    self._take_up(record, news if kind == JUDGED else None)
            if kind == ADDED:
                added.add(document)
            self._change = number

    def tell_failure(self) -> None:
        """Raise what failed beside the calls, once."""
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure

    def _drop(self, kept: Iterable[str] = ()) -> None:
        for name in self._segments.keys() - set(kept):
            self._segments.pop(name).close()

    def work(self) -> None:
        """Write what is recent to a segment, and merge segments, beside what is called."""
        if self._worker and self._worker.is_alive():
            return
        if self._recent.count < _MOST_RECENT:
            return
        self._worker = threading.Thread(target=self._flush_and_merge, daemon=True)
        self._worker.start()

    def _flush_and_merge(self) -> None:
        try:
            self.flush()
            while not self._closing.is_set() and (some := self._choose_merge()):
                self.merge(some)
        except DedupError as error:
            # Nothing is lost: it is told by the next call that writes, and done again.
            self._failure = error

    def finish_work(self) -> None:
        """Wait until nothing is done beside the calls."""
        if self._worker:
            self._worker.join()
            self._worker = None

    def flush(self) -> None:
        """Write recent postings to a segment."""
        with self._lock:
            if self._recent.count == 0:
                return
            # Searched until the segment is there.
            self._frozen, self._recent = self._recent, Recent()
            frozen, change, written = self._frozen, self._change, self._written
        try:
            name = self._write_segment(*frozen.columns())
            with self._lock, self._journal.write():
                listed = self._journal.segments()
                if max(listed.values(), default=0) != written or self._frozen is not frozen:
                    # Another process was first, or all was forgotten.
                    (self._folder / name).unlink()
                    return
                self._journal.register(name, change, frozen.count, [])
                self._segments[name] = Segment.open(self._folder / name)
                self._written, self._frozen = change, Recent()
        except BaseException:
            with self._lock:
                self.forget()
            raise

    def _write_segment(self, keys: NDArray[np.uint64], units: Positions) -> str:
        self._folder.mkdir(exist_ok=True)
        name = f"{uuid4().hex}.seg"
        write_segment(self._folder / name, keys, units)
        # The folder may be new, and then its own name is brought to the disk by this alone.
        sync_folder(self._folder.parent)
        return name

    def _choose_merge(self) -> list[str]:
        """Choose segments of about one size, when there are many of them."""
        with self._lock:
            tiers: dict[int, list[str]] = {}
            for name, segment in self._segments.items():
                tiers.setdefault(segment.count.bit_length() // _TIER_BITS, []).append(name)
        return next((names for names in tiers.values() if len(names) >= _SEGMENTS_A_TIER), [])

    def merge(self, names: list[str]) -> None:
        """Make one segment of some."""
        if not names:
            return
        with self._lock:
            segments = [self._segments[name] for name in names]
            live = self.live()
        name = f"{uuid4().hex}.seg"
        path = self._folder / name
        try:
            if not merge_segments(
                segments, path, live[:, 1], live[:, 1] + live[:, 2], self._closing.is_set
            ):
                return
        except InputError:
            with self._lock:
                if self._journal.segments().keys() >= set(names):
                    raise
            # Another process was first, and has removed them.
            return
        with self._lock, self._journal.write():
            listed = self._journal.segments()
            if not listed.keys() >= set(names):
                path.unlink()
                return
            merged = Segment.open(path)
            last = max(listed[old] for old in names)
            self._journal.register(name, last, merged.count, names)
            self._segments[name] = merged
            self._drop(self._segments.keys() - set(names))
        for old in names:
            with suppress(OSError):
                (self._folder / old).unlink()

    def sweep(self) -> None:
        """Take away files that the journal does not know: they were left by a crash."""
        for path in self._folder.glob("*.seg*"):
            with suppress(OSError):
                is_old = time.time() - path.stat().st_mtime > _LEFT_SECONDS
                if path.name not in self._journal.segments() and is_old:
                    path.unlink()

    def _take_up(self, record: Record, news: News | None = None) -> None:
        """Put the leaders of a document under their keys, or only what is new of it."""
        keys = make_keys(*join_records([record]), self._options, self._threads)
        states = record.states[keys.units]
        staying, leaders = states == STAYS, (states == STAYS) | (states == GOES)
        if news is not None:
            # What they were put under before is there still.
            leaders &= np.isin(keys.units, news[0])
            staying &= np.isin(keys.units, news[1])
        self._recent.add(*keys.put(leaders, staying, record.first_unit + keys.units))

    def compact(self) -> None:
        """Make one segment of all, without what was removed."""
        self.finish_work()
        self.flush()
        self.merge(self.names)
        self.sweep()

    def verify(self) -> None:
        """Look at every block of every segment."""
        self.finish_work()
        with self._lock:
            for segment in self._segments.values():
                segment.verify()

    def reindex(self) -> None:
        """Make all anew from the journal."""
        self.finish_work()
        with self._lock:
            while not self._write_all():
                pass
            self.forget()
            self._drop()
            self.sweep()

    def _write_all(self) -> bool:
        """Write all postings to new segments; False when others did meanwhile."""
        names: dict[str, int] = {}
        with self._journal.read():
            change, listed = self._journal.last_change(), self._journal.segments()
            self._recent, number = Recent(), -1
            is_last = False
            while not is_last:
                records = self._journal.documents_after(number, _DOCUMENTS_AT_ONCE)
                is_last = len(records) < _DOCUMENTS_AT_ONCE
                for record in records:
                    number = record.number
                    self._take_up(record)
                if self._recent.count >= (1 if is_last else _MOST_RECENT):
                    names[self._write_segment(*self._recent.columns())] = self._recent.count
                    self._recent = Recent()
        with self._journal.write():
            if self._journal.segments() != listed:
                return False
            self._journal.forget_segments()
            for name, count in names.items():
                self._journal.register(name, change, count, [])
        return True
