"""The journal of an index: every document and what the law said of it.

It is the truth: what else an index has can be made from it again. One transaction is
one acknowledged call.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any, ClassVar, Final

import numpy as np
import orjson
import xxhash
import zstandard
from numpy.typing import NDArray

from dedup.columns import Positions, Texts
from dedup.errors import InputError
from dedup.index.databases import Database
from dedup.units import Units

FORMAT: Final = 2

# The identity of a journal that is to be gone.
_DELETED: Final = "deleted"

# Values that one statement asks for.
_VALUES_AT_ONCE: Final = 500

# Level 1 packs 500 documents of 3 KB in 4 ms to 0.43; level 3 takes twice that for 0.40.
_LEVEL: Final = 1

# Text of documents that were read lately, for others that are like them: of eight that
# a document is held against, most were read for the one before it. Of the 2,200 that a
# batch of 500 is held against 45 % are among 8,000, 87 % among 32,000.
_CACHED_BYTES: Final = 128 << 20

_SCHEMA: Final = """
CREATE TABLE facts (number {whole} PRIMARY KEY, facts {blob} NOT NULL);
CREATE TABLE documents (
    number {whole} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    changed {whole} NOT NULL,
    added {whole} NOT NULL,
    unit_count {whole} NOT NULL,
    chars {whole} NOT NULL,
    duplicates {whole} NOT NULL,
    checksum {blob} NOT NULL,
    body {blob} NOT NULL,
    rows {blob} NOT NULL
);
CREATE INDEX documents_by_age ON documents (added);
CREATE TABLE pointers (
    canonical {whole} NOT NULL,
    document {whole} NOT NULL,
    PRIMARY KEY (canonical, document)
){clustered};
CREATE INDEX pointers_by_document ON pointers (document);
CREATE TABLE gaps (start {whole} PRIMARY KEY, stop {whole} NOT NULL);
CREATE TABLE seen (
    document {whole} NOT NULL,
    unit {whole} NOT NULL,
    last_seen {whole} NOT NULL,
    PRIMARY KEY (document, unit)
){clustered};
CREATE INDEX seen_by_age ON seen (last_seen);
CREATE TABLE changes (
    number {whole} PRIMARY KEY,
    kind {whole} NOT NULL,
    document {whole} NOT NULL,
    units {blob}
);
"""

ROW: Final = np.dtype(
    [
        ("unit", "<i8"),
        ("canonical", "<i8"),
        ("start", "<i8"),
        ("stop", "<i8"),
        ("kind", "<i8"),
        ("score", "<f8"),
        ("containment", "<f8"),
        ("passage", "<i8"),
    ]
)
"""A row of the map: the unit of its document, the document of its canonical, where
that stands in code points, and the rest as the map has it."""

_NO_ROWS: Final = np.empty(0, ROW)

_COLUMNS: Final = "number, id, unit_count, body, checksum, rows"

# A duplicate whose text stands in an earlier unit, which has the keys of both; beside
# the states that the law knows.
COPY: Final = 4

# What happened to a document: `JUDGED` again, `REMOVED`, or some units were `FORGOTTEN`.
ADDED, JUDGED, REMOVED, FORGOTTEN = range(4)


@dataclass(frozen=True)
class Record:
    """A document as the journal has it.

    Attributes
    ----------
    number
        That of its first unit among those of all documents, and so its place in
        the order of all; one without units takes a number too.
    id
        The caller's name for it.
    text
        Its text, UTF-8.
    starts, stops
        int64[unit_count], its units, in bytes.
    states
        uint8[unit_count], what the law said of them.
    rows
        ROW[n], its duplicates.
    """

    number: int
    id: str
    text: bytes
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    states: NDArray[np.uint8]
    rows: NDArray[np.void]

    @property
    def stop(self) -> int:
        """The number behind its last one."""
        return self.number + max(len(self.starts), 1)


@dataclass(frozen=True)
class Facts:
    """What an index was made with, and its counters.

    Attributes
    ----------
    format
        Of the journal.
    identity
        What no other journal has.
    options, unicode, signatures
        What it was made with.
    ttl
        Seconds after which a unit that was not seen again is forgotten; None: never.
    next_number, next_passage, last_change
        Of documents and units, of passages, and of changes.
    trimmed
        The last change that all who keep segments have to have seen.
    now, forgotten
        The latest time of a call, and the time up to which what was last seen
        before it is forgotten; milliseconds since 1970.
    documents, units, duplicates, chars
        Of what is there.
    """

    options: Mapping[str, Any]
    unicode: str
    signatures: str
    identity: str = ""
    ttl: float | None = None
    format: int = FORMAT
    next_number: int = 0
    next_passage: int = 0
    last_change: int = 0
    trimmed: int = 0
    now: int = 0
    forgotten: int = 0
    documents: int = 0
    units: int = 0
    duplicates: int = 0
    chars: int = 0


# Of units that were judged again, those that became the first of their text, and
# those that came to stay; int64 each.
News = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Forgotten:
    """Units that were last seen too long ago.

    Attributes
    ----------
    documents
        Numbers of those of which no unit is left.
    units
        int64[n, 2], ranges of units of others.
    """

    documents: list[int]
    units: NDArray[np.int64]


class _Cache:
    """Documents of an index that were read lately, with the change that made them so.

    Those of all indexes of a process share one limit.
    """

    _lock: ClassVar = threading.Lock()
    _records: ClassVar[OrderedDict[tuple[int, int], tuple[int, Record]]] = OrderedDict()
    _numbers: ClassVar = count()
    _bytes: ClassVar[int] = 0

    def __init__(self) -> None:
        self._number = next(_Cache._numbers)

    def get(self, number: int, changed: int) -> Record | None:
        key = self._number, number
        with _Cache._lock:
            found = _Cache._records.get(key)
            if not found or found[0] != changed:
                return None
            _Cache._records.move_to_end(key)
            return found[1]

    def clear(self) -> None:
        with _Cache._lock:
            self._drop([key for key in _Cache._records if key[0] == self._number])

    def remove(self, numbers: Iterable[int]) -> None:
        with _Cache._lock:
            self._drop((self._number, number) for number in numbers)

    def put(self, record: Record, changed: int) -> None:
        key = self._number, record.number
        with _Cache._lock:
            self._drop([key])
            _Cache._records[key] = changed, record
            _Cache._bytes += _size(record)
            while _Cache._bytes > _CACHED_BYTES:
                self._drop([next(iter(_Cache._records))])

    @staticmethod
    def _drop(keys: Iterable[tuple[int, int]]) -> None:
        for key in keys:
            if found := _Cache._records.pop(key, None):
                _Cache._bytes -= _size(found[1])


def _compact(record: Record) -> Record:
    """Return a document without its rows that keeps no columns of its batch in memory."""
    columns = (record.starts.copy(), record.stops.copy(), record.states.copy())
    return Record(record.number, record.id, record.text, *columns, _NO_ROWS)


def _size(record: Record) -> int:
    return len(record.text) + record.starts.nbytes * 2 + 1000


class Journal:
    """Documents of an index, in the order in which they came.

    Parameters
    ----------
    database
        Where it is kept.

    Attributes
    ----------
    facts
        As they are in the transaction; what is put here in one that writes is
        written at its end.
    """

    facts: Facts

    def __init__(
        self, database: Database, cache: _Cache | None = None, identity: str | None = None
    ) -> None:
        self.database = database
        self._cache = cache or _Cache()
        # Of the one that was opened, since it was read first.
        self._identity = identity
        self._packer = zstandard.ZstdCompressor(level=_LEVEL)
        self._unpacker = zstandard.ZstdDecompressor()

    def create(self, facts: Facts) -> None:
        """Make the tables, unless another process just did."""
        with self.database.write():
            if self.database.is_made():
                return
            self.database.prepare()
            for statement in _SCHEMA.format(**self.database.types).split(";"):
                if statement.strip():
                    self.database.execute(statement)
            self._put_facts(facts)

    def close(self) -> None:
        """Close the connection, and forget what was read through it."""
        self.database.close()
        self._cache.clear()

    def reader(self) -> "Journal":
        """Open it once more, to be read beside this one."""
        return Journal(self.database.another(), self._cache, self._identity)

    @contextmanager
    def write(self) -> Iterator[None]:
        """Do all that is done here in one transaction, alone; none of it on an error."""
        try:
            with self.database.write():
                before = self.facts = self._get_facts()
                yield
                if self.facts != before:
                    self._put_facts(self.facts)
        except BaseException:
            # What was not written has numbers that others will have.
            self._cache.clear()
            raise

    @contextmanager
    def read(self) -> Iterator[None]:
        """See the same state in all that is read here; nobody waits for it."""
        with self.database.read():
            self.facts = self._get_facts()
            yield

    def _get_facts(self) -> Facts:
        name = self.database.name
        rows = self.database.execute("SELECT facts FROM facts WHERE number = 0")
        try:
            found = orjson.loads(self._unseal(bytes(rows[0][0]), ())) if rows else None
        except _Damage:
            found = None
        if not isinstance(found, dict):
            raise InputError(name, "is damaged: what it was made with cannot be read")
        if found.get("format") != FORMAT:
            raise InputError(name, f"has format {found.get('format')}; this version reads {FORMAT}")
        facts = Facts(**found)
        if facts.identity == _DELETED:
            raise InputError(name, "was deleted")
        if facts.identity != (self._identity or facts.identity):
            raise InputError(name, "was made anew since it was opened: open it again")
        self._identity = facts.identity
        return facts

    def delete(self) -> None:
        """Take it away, and tell those that have it open at their next look."""
        with self.database.write():
            self._put_facts(replace(self._get_facts(), identity=_DELETED))
            self.database.drop()

    def _put_facts(self, facts: Facts) -> None:
        self.database.execute(
            "INSERT INTO facts VALUES (0, ?) "
            "ON CONFLICT (number) DO UPDATE SET facts = excluded.facts",
            (self._seal(orjson.dumps(facts), ()),),
        )

    def find_ids(self, ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Return number and checksum of the documents that are there."""
        found = self._ask("SELECT id, number, checksum FROM documents WHERE id IN ({})", ids)
        return {name: (number, bytes(checksum)) for name, number, checksum in found}

    def names(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the ids of documents."""
        wanted = list(numbers)
        return dict(self._ask("SELECT number, id FROM documents WHERE number IN ({})", wanted))

    def documents(self, numbers: Sequence[int]) -> list[Record]:
        """Return documents in rising order of their numbers; those not there are left out.

        Raises
        ------
        InputError
            When one of them is damaged.
        """
        rows = self._ask(f"SELECT {_COLUMNS} FROM documents WHERE number IN ({{}})", numbers)
        return sorted((self._unpack(*row) for row in rows), key=_number)

    def bodies(self, numbers: Sequence[int]) -> list[Record]:
        """Return documents as `documents` does, but without their rows; those read lately are kept.

        Raises
        ------
        InputError
            When one of them is damaged.
        """
        versions: dict[int, int] = dict(
            self._ask("SELECT number, changed FROM documents WHERE number IN ({})", numbers)
        )
        found, missing = [], []
        for number, changed in versions.items():
            record = self._cache.get(number, changed)
            if record:
                found.append(record)
            else:
                missing.append(number)
        for row in self._ask(
            "SELECT number, id, unit_count, body FROM documents WHERE number IN ({})", missing
        ):
            record = self._unpack_body(*row)
            self._cache.put(record, versions[record.number])
            found.append(record)
        return sorted(found, key=_number)

    def documents_after(self, number: int, count: int) -> list[Record]:
        """Return some documents behind one, in order."""
        rows = self.database.execute(
            f"SELECT {_COLUMNS} FROM documents WHERE number > ? ORDER BY number LIMIT ?",
            (number, count),
        )
        return [self._unpack(*row) for row in rows]

    def _ask(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Ask for rows that have one of some values."""
        found = []
        for first in range(0, len(values), _VALUES_AT_ONCE):
            some = values[first : first + _VALUES_AT_ONCE]
            found += self.database.execute(statement.format(",".join("?" * len(some))), some)
        return found

    def add(self, records: Sequence[Record], checksums: Sequence[bytes]) -> None:
        """Write new documents, behind all that are there."""
        facts = self.facts
        change = facts.last_change
        chars = [_count_chars(one.text) for one in records]
        self.database.execute_many(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.number,
                    one.id,
                    change + i,
                    facts.now,
                    len(one.starts),
                    chars[i - 1],
                    len(one.rows),
                    checksum,
                    self._pack_body(one),
                    self._seal(one.rows.tobytes(), _place(one)),
                )
                for i, (one, checksum) in enumerate(zip(records, checksums, strict=True), 1)
            ],
        )
        for i, one in enumerate(records, 1):
            self._cache.put(_compact(one), change + i)
        self._point(records)
        passages = [int(one.rows["passage"].max(initial=-1)) + 1 for one in records]
        self.facts = replace(
            facts,
            next_number=max([facts.next_number, *(one.stop for one in records)]),
            next_passage=max([facts.next_passage, *passages]),
            documents=facts.documents + len(records),
            units=facts.units + sum(len(one.starts) for one in records),
            duplicates=facts.duplicates + sum(len(one.rows) for one in records),
            chars=facts.chars + sum(chars),
        )
        self._log([(ADDED, one.number, None) for one in records])

    def judge(self, record: Record, before: Record, news: News) -> None:
        """Write that some units of a document were judged again, and what is new of them."""
        leaders, staying = news
        parts = (np.array([len(leaders)]), leaders, staying)
        packed = b"".join(part.astype("<i8").tobytes() for part in parts)
        self._log([(JUDGED, record.number, packed)])
        self.database.execute(
            "UPDATE documents SET changed = ?, duplicates = ?, body = ?, rows = ? WHERE number = ?",
            (
                self.facts.last_change,
                len(record.rows),
                self._pack_body(record),
                self._seal(record.rows.tobytes(), _place(record)),
                record.number,
            ),
        )
        self.database.execute("DELETE FROM pointers WHERE document = ?", (record.number,))
        self._point([record])
        self.facts = replace(
            self.facts,
            duplicates=self.facts.duplicates + len(record.rows) - len(before.rows),
            next_passage=max(
                self.facts.next_passage, int(record.rows["passage"].max(initial=-1)) + 1
            ),
        )

    def remove(self, numbers: Sequence[int]) -> list[int]:
        """Forget documents; return those that point to them, in order."""
        gone = self._ask(
            "SELECT number, unit_count, duplicates, chars FROM documents WHERE number IN ({})",
            numbers,
        )
        self.facts = replace(
            self.facts,
            documents=self.facts.documents - len(gone),
            units=self.facts.units - sum(row[1] for row in gone),
            duplicates=self.facts.duplicates - sum(row[2] for row in gone),
            chars=self.facts.chars - sum(row[3] for row in gone),
        )
        self.forget_units([(row[0], row[0] + max(row[1], 1)) for row in gone])
        pointing = self.find_pointing(numbers)
        for table, column in (
            ("pointers", "canonical"),
            ("pointers", "document"),
            ("seen", "document"),
            ("documents", "number"),
        ):
            self._ask(f"DELETE FROM {table} WHERE {column} IN ({{}})", numbers)
        self._cache.remove(numbers)
        self._log([(REMOVED, number, None) for number in numbers])
        return pointing

    def find_pointing(self, numbers: Sequence[int]) -> list[int]:
        """Return the other documents that point to some, in order."""
        found = self._ask("SELECT document FROM pointers WHERE canonical IN ({})", numbers)
        return sorted({row[0] for row in found} - set(numbers))

    def gaps(self) -> NDArray[np.int64]:
        """Return the ranges of units that are gone, int64[n, 2], rising and apart."""
        rows = self.database.execute("SELECT start, stop FROM gaps ORDER BY start")
        return np.array(rows, np.int64).reshape(-1, 2)

    def forget_units(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Write that units are gone; what touches is one range."""
        for start, stop in join_ranges(np.array(list(ranges), np.int64).reshape(-1, 2)).tolist():
            touching = self.database.execute(
                "SELECT start, stop FROM gaps WHERE start <= ? AND start >= "
                "coalesce((SELECT max(start) FROM gaps WHERE start <= ?), 0)",
                (stop, start),
            )
            joined = [(start, stop), *(one for one in touching if one[1] >= start)]
            self._ask("DELETE FROM gaps WHERE start IN ({})", [one[0] for one in joined])
            self.database.execute(
                "INSERT INTO gaps VALUES (?, ?)",
                (min(one[0] for one in joined), max(one[1] for one in joined)),
            )

    def see(self, records: Sequence[Record]) -> None:
        """Write that what documents repeat was seen when they came, or later."""
        rows = np.concatenate([np.empty(0, ROW), *(one.rows for one in records)])
        canonicals = self.documents(np.unique(rows["canonical"]).tolist())
        numbers = [one.number for one in (*records, *canonicals)]
        added = dict(self._ask("SELECT number, added FROM documents WHERE number IN ({})", numbers))
        times = np.repeat(
            [added[one.number] for one in records], [len(one.rows) for one in records]
        )
        seen: dict[tuple[int, int], int] = {}
        for one in canonicals:
            mine = rows["canonical"] == one.number
            # All of a document is as old as it is, unless it stands here.
            mine &= times > added[one.number]
            places = _find_chars(one.text)
            # A canonical may be a stretch over several units.
            firsts = np.searchsorted(one.stops, places[rows["start"][mine]], side="right")
            stops = np.searchsorted(one.starts, places[rows["stop"][mine]], side="left")
            for first, stop, last_seen in zip(
                firsts.tolist(), stops.tolist(), times[mine].tolist(), strict=True
            ):
                for unit in range(one.number + first, one.number + stop):
                    place = (one.number, unit)
                    seen[place] = max(seen.get(place, 0), last_seen)
        self.database.execute_many(
            "INSERT INTO seen VALUES (?, ?, ?) "
            "ON CONFLICT (document, unit) DO UPDATE SET last_seen = excluded.last_seen "
            "WHERE excluded.last_seen > seen.last_seen",
            [(*place, last_seen) for place, last_seen in sorted(seen.items())],
        )

    def renew(self, numbers: Sequence[int]) -> None:
        """Write that documents were seen now, and what they repeat."""
        self.database.execute_many(
            "UPDATE documents SET added = ? WHERE number = ?",
            [(self.facts.now, number) for number in numbers],
        )
        self._ask("DELETE FROM seen WHERE document IN ({})", numbers)
        self.see(self.documents(numbers))

    def find_forgotten(self, until: int) -> Forgotten:
        """Find what was last seen before a time and is still there.

        Parameters
        ----------
        until
            Milliseconds since 1970.
        """
        span = (self.facts.forgotten, until)
        counts: dict[int, int] = dict(
            self.database.execute(
                "SELECT number, unit_count FROM documents WHERE added >= ? AND added < ?", span
            )
        )
        again = self.database.execute(
            "SELECT document, unit FROM seen WHERE last_seen >= ? AND last_seen < ?", span
        )
        ranges = [(unit, unit + 1) for _, unit in again]
        touched = sorted(counts.keys() | {document for document, _ in again})
        kept: dict[int, list[int]] = {}
        for document, unit in self._ask(
            f"SELECT document, unit FROM seen WHERE last_seen >= {int(until)} "
            "AND document IN ({})",
            touched,
        ):
            kept.setdefault(document, []).append(unit)
        for document in kept.keys() & counts.keys():
            bounds = [document - 1, *sorted(kept[document]), document + counts[document]]
            ranges += [
                (before + 1, after) for before, after in pairwise(bounds) if before + 1 < after
            ]
        gone = [document for document in touched if document not in kept]
        left = np.array(ranges, np.int64).reshape(-1, 2)
        return Forgotten(gone, join_ranges(left))

    def forget(self, until: int, forgotten: Forgotten) -> None:
        """Write what is forgotten; the documents of which nothing is left are to be removed."""
        self.forget_units(map(tuple, forgotten.units.tolist()))
        self.database.execute("DELETE FROM seen WHERE last_seen < ?", (until,))
        self.facts = replace(self.facts, forgotten=until)
        if len(forgotten.units):
            self._log([(FORGOTTEN, -1, None)])

    def changes(self, after: int) -> list[tuple[int, int, int, News]]:
        """Return number, kind, document and news of the changes behind one."""
        rows = self.database.execute(
            "SELECT number, kind, document, units FROM changes WHERE number > ? ORDER BY number",
            (after,),
        )
        found = []
        for number, kind, document, packed in rows:
            units = np.frombuffer(packed or bytes(8), "<i8")
            leaders, staying = np.split(units[1:], units[:1])
            found.append((number, kind, document, (leaders, staying)))
        return found

    def trim(self, last_change: int) -> None:
        """Forget changes that are in segments."""
        self.database.execute("DELETE FROM changes WHERE number <= ?", (last_change,))

    def trim_for_all(self, last_change: int) -> None:
        """Forget changes though not all who keep segments may have seen them."""
        with self.write():
            if last_change > self.facts.trimmed:
                self.trim(last_change)
                self.facts = replace(self.facts, trimmed=last_change)

    def verify(self) -> None:
        """Look at all that is there.

        Raises
        ------
        InputError
            When something is damaged.
        """
        self.database.verify()
        number = -1
        while records := self.documents_after(number, _VALUES_AT_ONCE):
            number = records[-1].number

    def _log(self, changes: Sequence[tuple[int, int, bytes | None]]) -> None:
        last = self.facts.last_change
        self.database.execute_many(
            "INSERT INTO changes VALUES (?, ?, ?, ?)",
            [(last + i, *change) for i, change in enumerate(changes, 1)],
        )
        self.facts = replace(self.facts, last_change=last + len(changes))

    def _point(self, records: Iterable[Record]) -> None:
        self.database.execute_many(
            "INSERT INTO pointers VALUES (?, ?)",
            [
                (canonical, one.number)
                for one in records
                if len(one.rows)
                for canonical in sorted(set(one.rows["canonical"].tolist()))
            ],
        )

    def _pack_body(self, record: Record) -> bytes:
        parts = (record.starts.astype("<i8"), record.stops.astype("<i8"), record.states)
        data = b"".join(part.tobytes() for part in parts)
        return self._seal(data + record.text, _place(record))

    def _seal(self, data: bytes, place: tuple[object, ...]) -> bytes:
        """Pack data, with a checksum of it and of where it belongs."""
        return self._packer.compress(_digest(data, place) + data)

    def _unseal(self, packed: bytes, place: tuple[object, ...]) -> bytes:
        try:
            whole = self._unpacker.decompress(packed)
        except zstandard.ZstdError as error:
            raise _Damage from error
        if _digest(whole[8:], place) != whole[:8]:
            raise _Damage
        return whole[8:]

    def _unpack(
        self, number: int, name: str, unit_count: int, body: bytes, checksum: bytes, rows: bytes
    ) -> Record:
        record = self._unpack_body(number, name, unit_count, body)
        try:
            whole = self._unseal(bytes(rows), _place(record))
        except _Damage:
            whole = None
        if whole is None or check_text(record.text) != bytes(checksum):
            raise InputError(self.database.name, f"document {name!r} is damaged")
        return replace(record, rows=np.frombuffer(whole, ROW))

    def _unpack_body(self, number: int, name: str, unit_count: int, body: bytes) -> Record:
        try:
            data = self._unseal(bytes(body), (number, name, unit_count))
        except _Damage:
            raise InputError(self.database.name, f"document {name!r} is damaged") from None
        # A copy: else they would hold the text once more, for as long as they are kept.
        head = data[: 17 * unit_count]
        starts, stops = np.frombuffer(head, "<i8", 2 * unit_count).reshape(2, -1)
        states = np.frombuffer(head, np.uint8, unit_count, 16 * unit_count)
        return Record(number, name, data[17 * unit_count :], starts, stops, states, _NO_ROWS)


class _Damage(Exception):  # noqa: N818
    """What was read is not what was written."""


def _number(record: Record) -> int:
    return record.number


def _place(record: Record) -> tuple[object, ...]:
    return record.number, record.id, len(record.starts)


def _digest(data: bytes, place: tuple[object, ...]) -> bytes:
    return xxhash.xxh3_64_digest(orjson.dumps(place) + data)


def join_ranges(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ranges in order, those that touch as one.

    Parameters
    ----------
    ranges
        int64[n, 2], half-open, in any order.
    """
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    if len(ranges) == 0:
        return ranges
    stops = np.maximum.accumulate(ranges[:, 1])
    begins = np.append(True, ranges[1:, 0] > stops[:-1])
    ends = np.append(begins[1:], True)
    return np.stack([ranges[begins, 0], stops[ends]], axis=1)


def join_records(records: Sequence[Record]) -> tuple[Texts, Units]:
    """Make columns of documents."""
    texts = Texts.from_bytes([one.text for one in records])
    offsets = np.zeros(len(records) + 1, np.int64)
    np.cumsum([len(one.starts) for one in records], out=offsets[1:])
    empty = np.empty(0, np.int64)
    shifts = np.repeat(texts.offsets[:-1], np.diff(offsets))
    starts = np.concatenate([empty, *(one.starts for one in records)])
    stops = np.concatenate([empty, *(one.stops for one in records)])
    return texts, Units(starts + shifts, stops + shifts, offsets)


def check_text(text: bytes) -> bytes:
    """Return the checksum of a text: xxh3, 16 bytes."""
    return xxhash.xxh3_128_digest(text)


def _find_chars(text: bytes) -> Positions:
    """Return where each code point begins, and the end: int64[n + 1]."""
    data = np.frombuffer(text, np.uint8)
    return np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))


def _count_chars(text: bytes) -> int:
    data = np.frombuffer(text, np.uint8)
    return int(np.count_nonzero((data & 0xC0) != 0x80))
