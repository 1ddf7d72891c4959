"""Lookups: where units are found under their keys, made from the journal.

What was added lately is in memory; beside the calls it is written to segments, and
segments are merged. Nothing here is the truth: it can be made from the journal again.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Positions
from dedup.duplicates import GOES, STAYS
from dedup.errors import DedupError, InputError, OutputError
from dedup.index.databases import Database
from dedup.index.journal import (
    ADDED,
    FORGOTTEN,
    JUDGED,
    REMOVED,
    Journal,
    News,
    Record,
    join_ranges,
    join_records,
)
from dedup.index.postings import Measures, Postings, make_keys
from dedup.index.segments import (
    Recent,
    Segment,
    Snapshot,
    find_in_all,
    measure_in_all,
    merge_segments,
    sync_folder,
    write_segment,
)
from dedup.options import Options
from dedup.streams import describe

# Postings in memory at most, 32 MB, before they are written to a segment; those that are
# worth one when an index is closed; and segments of a tier, each tier four times as large
# as the one before, before they are merged.
_MOST_RECENT: Final = 1 << 21
_CLOSING_RECENT: Final = 1 << 17
_SEGMENTS_A_TIER, _TIER_BITS = 4, 2

# Documents that are read at once when all is made anew, or by who was not there for long.
_DOCUMENTS_AT_ONCE: Final = 256
_MANY_CHANGES: Final = 1 << 16

# Changes that are taken up while others wait to write: seconds.
_LATE_CHANGES: Final = 1 << 12

# Changes that are kept where many keep segments: who is behind them makes all anew, and
# would do so before.
_KEPT_CHANGES: Final = 1 << 17

# Another process may be writing a file that is younger.
_LEFT_SECONDS: Final = 3600

# No unit has this number.
_NO_END: Final = 1 << 62

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS segments (
    name TEXT PRIMARY KEY,
    last_change {whole} NOT NULL,
    postings {whole} NOT NULL
){clustered}
"""


@dataclass(frozen=True)
class View:
    """What can be found at one moment; what others do meanwhile does not show.

    Attributes
    ----------
    sources
        Where postings are.
    gaps
        int64[n, 2], rising ranges of units that are gone; the same object as long as all
        that is done is that documents are added.
    stop
        The number behind the last unit that is looked for.
    change
        The last one that is in it.
    threads
        Workers of a search.
    """

    sources: tuple[Snapshot | Recent, ...]
    gaps: NDArray[np.int64]
    stop: int
    change: int
    threads: int

    def find(self, keys: NDArray[np.uint64], most: int | Positions) -> tuple[Positions, Positions]:
        """Find the first units under each key.

        Parameters
        ----------
        keys
            uint64[n], rising.
        most
            Units of each key at most: one number, or int64[n].

        Returns
        -------
        offsets, units
            int64[n + 1] and int64[k]; those of each key rise.
        """
        return find_in_all(
            self.sources, keys, most, *_list_live(self.gaps, self.stop), self.threads
        )

    def measure(self, units: Positions) -> Measures:
        """Return what is known of units that were found: int64[n], rising."""
        return Measures(measure_in_all(self.sources, units))

    def since(self, stop: int) -> "View":
        """Return what came after a view that had this stop."""
        sources = tuple(
            one.since(stop) if isinstance(one, Snapshot) else one for one in self.sources
        )
        return replace(self, sources=sources).without(np.array([(0, stop)], np.int64))

    def without(self, ranges: NDArray[np.int64]) -> "View":
        """Return it without some units, int64[n, 2]."""
        return replace(self, gaps=join_ranges(np.concatenate([self.gaps, ranges])))


def _list_live(gaps: NDArray[np.int64], stop: int) -> tuple[Positions, Positions]:
    """Return where ranges of units begin and stop that are not gone."""
    firsts = np.append(0, gaps[:, 1])
    stops = np.append(gaps[:, 0], stop)
    filled = firsts < stops
    return firsts[filled], np.minimum(stops[filled], stop)


def copy_segments(folder: Path, names: Iterable[str], target: Path) -> None:
    """Copy segments into a folder, and to the disk."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        with (folder / name).open("rb") as file, (target / name).open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    sync_folder(target)


@contextmanager
def telling(path: str | Path) -> Iterator[None]:
    """Say what the system finds wrong in the words of the rest."""
    try:
        yield
    except OSError as error:
        raise OutputError(str(path), describe(error)) from error


class StaleError(Exception):
    """A transaction began before what is known here; to be done again."""


# Beside the segments of a replica: the journal that they were made from, and the last
# change that was seen by who made one of them.
_REPLICA_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS replica (identity TEXT NOT NULL, seen {whole} NOT NULL)"
)


class Registry:
    """Which segments there are.

    Parameters
    ----------
    database
        That of the journal, where that is on this machine; or another one.
    identity
        Of the journal, where it is another database; `claim` says it.
    """

    def __init__(self, database: Database, identity: str | None = None) -> None:
        self.database = database
        self._identity = identity

    def another(self) -> "Registry":
        """Open another connection to the same."""
        return Registry(self.database.another(), self._identity)

    def create(self) -> None:
        """Make the table, unless it is there."""
        with self.database.write():
            if not self.database.is_made():
                self.database.prepare()
            self.database.execute(_SCHEMA.format(**self.database.types))

    def claim(self, journal: Journal) -> None:
        """Forget segments that were made from another journal, or from more than it has."""
        # The journal is read behind: what others have seen by then, it has.
        with self.database.write(), journal.read():
            self.database.execute(_REPLICA_SCHEMA.format(**self.database.types))
            made_from = self.database.execute("SELECT identity, seen FROM replica")
            identity = self._identity = journal.facts.identity
            if [one[0] for one in made_from] != [identity] or (
                made_from[0][1] > journal.facts.last_change
            ):
                self.forget()
                self.database.execute("DELETE FROM replica")
                self.database.execute("INSERT INTO replica VALUES (?, 0)", (identity,))

    def segments(self) -> dict[str, int]:
        """Return the segments, and the last change that is in each."""
        return self.look()[0]

    def look(self) -> tuple[dict[str, int], int]:
        """Return the segments, and the last change that who made them had seen.

        That is 0 where the registry is in the journal: a transaction has seen the segments
        that there are with its changes.

        Raises
        ------
        InputError
            When a replica has become one of another journal.
        """
        if self._identity is None:
            rows = self.database.execute("SELECT name, last_change FROM segments")
            return {str(name): int(change) for name, change in rows}, 0
        found = self.database.execute(
            "SELECT identity, seen, name, last_change FROM replica LEFT JOIN segments ON TRUE"
        )
        if not found or found[0][0] != self._identity:
            raise InputError(self.database.name, "was taken by another index, which needs its own")
        return {str(row[2]): int(row[3]) for row in found if row[2] is not None}, found[0][1]

    def see(self, change: int) -> None:
        """Write that a segment was made by who had seen a change."""
        if self._identity is not None:
            self.database.execute("UPDATE replica SET seen = ? WHERE seen < ?", (change, change))

    def register(self, name: str, last_change: int, postings: int, replaced: Iterable[str]) -> None:
        """Write that a segment is there, in place of others."""
        self.database.execute_many(
            "DELETE FROM segments WHERE name = ?", [(old,) for old in replaced]
        )
        self.database.execute(
            "INSERT INTO segments VALUES (?, ?, ?)", (name, last_change, postings)
        )

    def forget(self) -> None:
        """Write that there is no segment; they are to be made anew."""
        self.database.execute("DELETE FROM segments")


class Lookups:
    """Postings of all documents of a journal, in memory and in segments.

    Parameters
    ----------
    folder
        Where segments are.
    journal
        A connection for what is done beside the calls.
    registry
        Its segments; with the journal's connection, or with another database.
    """

    def __init__(
        self, folder: Path, journal: Journal, registry: Registry, options: Options, threads: int
    ) -> None:
        self._folder, self._journal, self._registry = folder, journal, registry
        self._options, self._threads = options, threads
        # Of another database: one connection for who looks, one for what is done beside.
        self._is_shared = registry.database is not journal.database
        self._looked = registry.another() if self._is_shared else registry
        # Held for moments. Who needs a transaction too begins that before.
        self._lock = threading.RLock()
        # One thing is done beside the calls at a time.
        self._working = threading.RLock()
        self._segments: dict[str, Segment] = {}
        self._worker: threading.Thread | None = None
        self._failure: DedupError | None = None
        self._closing = threading.Event()
        # Why a transaction was stale: what is missing here, or in the journal.
        self.is_late = self.is_behind = self.is_ahead = False
        self._gaps: NDArray[np.int64] | None = None
        self._change: int
        self._written: int
        self._forget()

    @property
    def posting_count(self) -> int:
        """Postings, those of units that are gone included."""
        with self._lock:
            written = sum(segment.count for segment in self._segments.values())
            return written + self._frozen.count + self._recent.count

    def close(self) -> None:
        """Stop what is done beside the calls, and close all files."""
        self._closing.set()
        self.finish_work()
        with suppress(DedupError):
            # The next one need not make it from the journal.
            if self._recent.count >= _CLOSING_RECENT:
                self.flush()
        self._drop()
        self._journal.database.close()
        if self._is_shared:
            self._registry.database.close()
            self._looked.database.close()

    def view(self, journal: Journal, *, is_patient: bool = True) -> View:
        """Return what can be found as of a transaction.

        Parameters
        ----------
        is_patient
            Whether many changes are taken up, too.

        Raises
        ------
        StaleError
            When the transaction began before something that is known here.
            Or when much is to be taken up before, or all made anew; `is_late` and
            `is_behind` say so.
        """
        with self._lock:
            self._catch_up(journal, is_patient)
            assert self._gaps is not None
            return View(
                (Snapshot.of([*self._segments.values(), self._frozen, self._recent]),),
                self._gaps,
                journal.facts.next_number,
                self._change,
                self._threads,
            )

    def tell_failure(self) -> None:
        """Raise what failed beside the calls, once."""
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def take(
        self,
        view: View,
        gaps: NDArray[np.int64],
        journal: Journal,
        postings: Postings,
    ) -> None:
        """Take what was just written to the journal, in a transaction that saw a view."""
        with self._lock:
            # Another thread may have taken it up from the journal since.
            if self._change == view.change:
                self._recent.add(*postings)
                self._gaps = gaps
                self._change = journal.facts.last_change

    def _forget(self) -> None:
        """Forget what is in memory and was made from the journal."""
        # Postings of the changes up to `_written` stand in segments; the frozen ones are
        # about to, the others are recent.
        self._recent, self._frozen = Recent(), Recent()
        self._change = self._written = -1
        self._gaps = None

    def _catch_up(self, journal: Journal, is_patient: bool) -> None:
        """Take up what the journal says since it was looked at."""
        last = journal.facts.last_change
        listed, made = self.registry_of(journal).look()
        written = max(listed.values(), default=0)
        # A merge leaves out what is gone, which may be there yet for who began before.
        self.is_ahead = last < max(self._change, made)
        if self.is_ahead or written < self._written:
            raise StaleError
        if written != self._written:
            # All was forgotten, or another process wrote a segment of what is recent here.
            self._forget()
            self._change = self._written = written
        seen = max(self._change, 0)
        self.is_behind = last - seen > _MANY_CHANGES or seen < journal.facts.trimmed
        self.is_late = not is_patient and last - seen > _LATE_CHANGES
        if self.is_behind or self.is_late:
            raise StaleError
        if listed.keys() != self._segments.keys():
            self._drop(listed)
            for name in listed.keys() - self._segments.keys():
                path = self._folder / name
                try:
                    self._segments[name] = Segment.open(path)
                except InputError as error:
                    if not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    # Merged since by another process; or lost.
                    raise StaleError(str(path)) from error
        changes = journal.changes(self._change) if self._change < last else []
        kinds = {kind for _, kind, *_ in changes}
        if self._gaps is None or kinds & {REMOVED, FORGOTTEN, JUDGED}:
            self._gaps = journal.gaps()
        # A document is read as it is now, so what was judged since is in it.
        added = {document for _, kind, document, _ in changes if kind == ADDED}
        numbers = sorted(added)
        for first in range(0, len(numbers), _DOCUMENTS_AT_ONCE):
            some = journal.documents(numbers[first : first + _DOCUMENTS_AT_ONCE])
            self._recent.add(*self._list_postings(some))
        for _, kind, document, news in changes:
            if kind == JUDGED and document not in added:
                self._recent.add(*self._list_postings(journal.documents([document]), news))
        self._change = last

    def _list_postings(self, records: list[Record], news: News | None = None) -> Postings:
        """List the leaders of documents under their keys, or only what is new of one."""
        keys = make_keys(*join_records(records), self._options, self._threads)
        none = np.empty(0, np.int64)
        states = np.concatenate([none, *(one.states for one in records)])[keys.units]
        numbers = np.concatenate(
            [none, *(one.number + np.arange(len(one.starts)) for one in records)]
        )
        staying, leaders = states == STAYS, (states == STAYS) | (states == GOES)
        if news is not None:
            # What they were put under before is there still.
            leaders &= np.isin(keys.units, news[0])
            staying &= np.isin(keys.units, news[1])
        documents = np.repeat([one.number for one in records], [len(one.starts) for one in records])
        return keys.put(leaders, staying, numbers[keys.units], documents[keys.units])

    def registry_of(self, journal: Journal) -> Registry:
        """Return the registry as a transaction of the journal sees it."""
        return self._looked if self._is_shared else Registry(journal.database)

    def _drop(self, kept: Iterable[str] = ()) -> None:
        for name in self._segments.keys() - set(kept):
            self._segments.pop(name).close()

    def work(self) -> None:
        """Write what is recent to a segment, and merge segments, beside what is called."""
        with self._lock:
            if self._worker and self._worker.is_alive():
                return
            many_changes = self._change - self._written > _MANY_CHANGES // 2
            if self._recent.count < _MOST_RECENT and not many_changes:
                return
            self._worker = threading.Thread(target=self._flush_and_merge, daemon=True)
            self._worker.start()

    def _flush_and_merge(self) -> None:
        try:
            self.flush()
            while not self._closing.is_set() and (some := self._choose_merge()):
                if not self.merge(some):
                    return
        except DedupError as error:
            # Nothing is lost: it is told by the next call that writes, and done again.
            self._failure = error

    def finish_work(self) -> None:
        """Wait until nothing is done beside the calls."""
        if self._worker:
            self._worker.join()
            self._worker = None

    @contextmanager
    def _registering(self) -> Iterator[None]:
        """Change the registry and what is known of it here, as one."""
        transaction = self._registry.database.write()
        transaction.__enter__()
        with self._lock:
            try:
                yield
            except BaseException:
                transaction.__exit__(*sys.exc_info())
                raise
            transaction.__exit__(None, None, None)

    def flush(self) -> None:
        """Write recent postings to a segment."""
        with self._working, telling(self._folder):
            with self._lock:
                if self._change == self._written:
                    return
                # Searched until the segment is there.
                self._frozen, self._recent = self._recent, Recent()
                frozen, change, written = self._frozen, self._change, self._written
            name = f"{uuid4().hex}.seg"
            try:
                self._folder.mkdir(exist_ok=True)
                write_segment(self._folder / name, *frozen.columns())
                # The folder may be new: its own name is brought to the disk by this alone.
                sync_folder(self._folder.parent)
                with self._registering():
                    listed = self._registry.segments()
                    if max(listed.values(), default=0) != written or self._frozen is not frozen:
                        # Another process was first, or all was forgotten.
                        (self._folder / name).unlink()
                        return
                    self._register(name, change, frozen.count, [], change)
                    self._segments[name] = Segment.open(self._folder / name)
                    self._written, self._frozen = change, Recent()
                if self._is_shared and change > _KEPT_CHANGES:
                    self._journal.trim_for_all(change - _KEPT_CHANGES)
            except BaseException:
                with self._lock:
                    self._forget()
                raise

    def _register(
        self, name: str, change: int, count: int, replaced: Iterable[str], seen: int
    ) -> None:
        self._registry.register(name, change, count, replaced)
        self._registry.see(seen)
        if not self._is_shared:
            self._journal.trim(change)

    def _choose_merge(self) -> list[str]:
        """Choose segments of about one size, when there are many of them."""
        with self._lock:
            tiers: dict[int, list[str]] = {}
            for name, segment in self._segments.items():
                tiers.setdefault(segment.count.bit_length() // _TIER_BITS, []).append(name)
        return next((names for names in tiers.values() if len(names) >= _SEGMENTS_A_TIER), [])

    def merge(self, names: Sequence[str]) -> bool:
        """Make one segment of some; return whether it was done."""
        with self._working, telling(self._folder):
            with self._lock:
                gaps, seen = self._gaps, self._change
                if gaps is None or not names or not self._segments.keys() >= set(names):
                    return False
                segments = [self._segments[name] for name in names]
            name = f"{uuid4().hex}.seg"
            path = self._folder / name
            live = _list_live(gaps, _NO_END)
            try:
                if not merge_segments(segments, path, *live, self._closing.is_set):
                    return False
            except InputError:
                if self._registry.segments().keys() >= set(names):
                    raise
                # Another process was first, and has removed them.
                return False
            with self._registering():
                listed = self._registry.segments()
                if not (listed.keys() >= set(names) and self._segments.keys() >= set(names)):
                    path.unlink()
                    return False
                merged = Segment.open(path)
                last = max(listed[old] for old in names)
                self._register(name, last, merged.count, names, seen)
                self._segments[name] = merged
                self._drop(self._segments.keys() - set(names))
            for old in names:
                with suppress(OSError):
                    (self._folder / old).unlink()
            return True

    def sweep(self) -> None:
        """Take away files that the registry does not know: they were left by a crash."""
        for path in [*self._folder.glob("*.seg"), *self._folder.glob(".dedup-*")]:
            with suppress(OSError):
                is_old = time.time() - path.stat().st_mtime > _LEFT_SECONDS
                if is_old and path.name not in self._registry.segments():
                    path.unlink()

    def compact(self) -> None:
        """Make one segment of all, without what was removed."""
        self.finish_work()
        self.flush()
        with self._lock:
            names = list(self._segments)
        self.merge(names)
        self.sweep()

    def verify(self) -> None:
        """Look at every block of every segment."""
        self.finish_work()
        with self._working:
            for name in self._registry.segments():
                try:
                    # A map of its own: those of others may be closed meanwhile.
                    with Segment.open(self._folder / name) as segment:
                        segment.verify()
                except InputError:
                    if name in self._registry.segments():
                        raise

    def reindex(self, *, is_needed: bool = True) -> None:
        """Make all anew from the journal; or leave it to another process that did meanwhile.

        Parameters
        ----------
        is_needed
            Whether it is to be done in any case.
        """
        self.finish_work()
        with self._working, telling(self._folder):
            while not self._write_all() and is_needed:
                pass
            with self._lock:
                self._forget()
                self._drop()
            self.sweep()

    def _write_all(self) -> bool:
        """Write all postings to new segments; False when others did meanwhile."""
        names: dict[str, int] = {}
        self._folder.mkdir(exist_ok=True)
        recent, number = Recent(), -1
        with self._journal.read():
            listed = self._registry.segments()
            change = self._journal.facts.last_change
            while True:
                records = self._journal.documents_after(number, _DOCUMENTS_AT_ONCE)
                recent.add(*self._list_postings(records))
                if recent.count >= _MOST_RECENT or not records:
                    name = f"{uuid4().hex}.seg"
                    write_segment(self._folder / name, *recent.columns())
                    names[name], recent = recent.count, Recent()
                if not records or self._registry.segments() != listed:
                    break
                number = records[-1].number
        sync_folder(self._folder.parent)
        with self._registering():
            if self._registry.segments() != listed:
                for name in names:
                    (self._folder / name).unlink()
                return False
            self._registry.forget()
            for name, count in names.items():
                self._register(name, change, count, [], change)
        for name in listed:
            with suppress(OSError):
                (self._folder / name).unlink()
        return True
