"""The journal of an index: every document and what the law said of it, in one SQLite file.

It is the truth: what else an index has can be made from it again. One transaction is
one acknowledged call. Nothing else knows SQLite.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw
import numpy as np
import orjson
import xxhash
import zstandard
from numpy.typing import NDArray

from dedup.columns import Texts
from dedup.errors import InputError, OutputError
from dedup.units import Units

FORMAT: Final = 1

# "dedu": says in the file's header whose it is.
_APPLICATION: Final = 0x64656475

# A writer waits so long for another one; each holds the lock for milliseconds.
_WAIT_MS: Final = 60_000

# Names that one statement asks for.
_NAMES_AT_ONCE: Final = 500

# Level 1 packs 500 documents of 3 KB in 4 ms to 0.43; level 3 takes twice that for 0.40.
_LEVEL: Final = 1

_SCHEMA: Final = """
CREATE TABLE facts (number INTEGER PRIMARY KEY, facts BLOB NOT NULL);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    first_unit INTEGER NOT NULL,
    unit_count INTEGER NOT NULL,
    chars INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    text BLOB NOT NULL,
    units BLOB NOT NULL,
    rows BLOB NOT NULL
);
CREATE TABLE pointers (
    canonical INTEGER NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (canonical, document)
) WITHOUT ROWID;
CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    document INTEGER NOT NULL,
    units BLOB
);
CREATE TABLE segments (
    name TEXT PRIMARY KEY,
    last_change INTEGER NOT NULL,
    postings INTEGER NOT NULL
) WITHOUT ROWID;
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

_COLUMNS: Final = "number, id, first_unit, unit_count, checksum, text, units, rows"

# A duplicate whose text stands in an earlier unit, which has the keys of both; beside
# the states that the law knows.
COPY: Final = 4

# What happened to a document.
ADDED, JUDGED, REMOVED = range(3)


@dataclass(frozen=True)
class Record:
    """A document as the journal has it.

    Attributes
    ----------
    number
        Its place in the order of all documents.
    id
        The caller's name for it.
    first_unit
        Number of its first unit among those of all documents.
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
    first_unit: int
    text: bytes
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    states: NDArray[np.uint8]
    rows: NDArray[np.void]


# Of units that were judged again, those that became the first of their text, and
# those that came to stay; int64 each.
News = tuple[NDArray[np.int64], NDArray[np.int64]]


class Journal:
    """Documents of an index, in the order in which they came.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packer = zstandard.ZstdCompressor(level=_LEVEL)
        self._unpacker = zstandard.ZstdDecompressor()
        with self._told():
            try:
                self._connect()
            except apsw.IOError as error:
                if not _is_about_room(error):
                    raise
                self._connection.close()
                self._connect(is_alone=True)

    def _connect(self, is_alone: bool = False) -> None:
        self._connection = apsw.Connection(str(self._path))
        self._connection.set_busy_timeout(_WAIT_MS)
        if is_alone:
            # What processes share beside the file has no room on a full disk. Without it
            # the file can be read, by one process.
            self._connection.pragma("locking_mode", "exclusive")
        # Read before anything is written, so that another file stays as it is.
        self._count_tables()
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, Any]) -> "Journal":
        """Make a new one, unless another process was first.

        Parameters
        ----------
        facts
            What the index was made with; JSON values.
        """
        journal = cls(path)
        with journal.write():
            if not journal._count_tables():
                journal._connection.execute(_SCHEMA)
                journal._connection.pragma("application_id", _APPLICATION)
                journal.set_facts({"format": FORMAT, **facts})
        return journal

    @classmethod
    def is_there(cls, path: Path) -> bool:
        """Tell whether there is one, and not only a file without tables, left by a crash."""
        if not path.exists():
            return False
        journal = cls(path)
        try:
            with journal._told():
                return journal._count_tables() > 0
        finally:
            journal.close()

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open one that is there.

        Raises
        ------
        InputError
            When it is no journal, or one of another format.
        """
        journal = cls(path)
        with journal._told():
            application = journal._connection.pragma("application_id")
        if application != _APPLICATION:
            journal.close()
            raise InputError(str(path), "is no journal of an index")
        found = journal.facts().get("format")
        if found != FORMAT:
            journal.close()
            raise InputError(str(path), f"has format {found}; this version reads {FORMAT}")
        return journal

    def close(self) -> None:
        """Close the file; what was acknowledged is in it."""
        with self._told():
            self._connection.close()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Do all that is done here in one transaction, alone; none of it on an error."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            try:
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[None]:
        """See the same state in all that is read here; nobody waits for it."""
        with self._told():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def facts(self) -> dict[str, Any]:
        """Return what the index was made with, and its counters."""
        with self._told():
            row: Any = self._connection.execute("SELECT facts FROM facts").fetchone()
            try:
                found = orjson.loads(self._unseal(row[0], ())) if row else None
            except _Damage:
                found = None
        if not isinstance(found, dict):
            raise InputError(str(self._path), "is damaged: what it was made with cannot be read")
        return found

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        """Write them, in place of those that were there."""
        self._connection.execute(
            "INSERT OR REPLACE INTO facts VALUES (0, ?)", (self._seal(orjson.dumps(facts), ()),)
        )

    def find_ids(self, ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Return number and checksum of the documents that are there."""
        found = {}
        with self._told():
            for first in range(0, len(ids), _NAMES_AT_ONCE):
                some = ids[first : first + _NAMES_AT_ONCE]
                marks = ",".join("?" * len(some))
                for name, number, checksum in self._connection.execute(
                    f"SELECT id, number, checksum FROM documents WHERE id IN ({marks})", some
                ):
                    found[str(name)] = (int(str(number)), bytes(checksum))
        return found

    def names(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the ids of documents."""
        found: dict[int, str] = {}
        wanted = list(numbers)
        with self._told():
            for first in range(0, len(wanted), _NAMES_AT_ONCE):
                some = wanted[first : first + _NAMES_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows: Any = self._connection.execute(
                    f"SELECT number, id FROM documents WHERE number IN ({marks})", some
                ).fetchall()
                found.update(rows)
        return found

    def documents(self, numbers: Sequence[int]) -> list[Record]:
        """Return documents in rising order of their numbers; those not there are left out.

        Raises
        ------
        InputError
            When one of them is damaged.
        """
        found = []
        with self._told():
            for first in range(0, len(numbers), _NAMES_AT_ONCE):
                some = list(numbers[first : first + _NAMES_AT_ONCE])
                marks = ",".join("?" * len(some))
                found += [
                    self._unpack(*row)
                    for row in self._connection.execute(
                        f"SELECT {_COLUMNS} FROM documents WHERE number IN ({marks}) "
                        "ORDER BY number",
                        some,
                    )
                ]
        return found

    def documents_after(self, number: int, count: int) -> list[Record]:
        """Return some documents behind one, in order."""
        with self._told():
            return [
                self._unpack(*row)
                for row in self._connection.execute(
                    f"SELECT {_COLUMNS} FROM documents WHERE number > ? ORDER BY number LIMIT ?",
                    (number, count),
                )
            ]

    def ranges(self) -> NDArray[np.int64]:
        """Return of each document its number, its first unit and how many it has, in order."""
        with self._told():
            rows = self._connection.execute(
                "SELECT number, first_unit, unit_count FROM documents ORDER BY number"
            ).fetchall()
        return np.array(rows, np.int64).reshape(-1, 3)

    def add(self, records: Sequence[Record], checksums: Sequence[bytes]) -> None:
        """Write new documents."""
        self._connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.number,
                    one.id,
                    one.first_unit,
                    len(one.starts),
                    _count_chars(one.text),
                    len(one.rows),
                    checksum,
                    self._packer.compress(one.text),
                    self._pack_units(one),
                    self._seal(one.rows.tobytes(), _place(one)),
                )
                for one, checksum in zip(records, checksums, strict=True)
            ],
        )
        self._point(records)
        self._log((ADDED, one.number, None) for one in records)

    def judge(self, record: Record, news: News) -> None:
        """Write that some units of a document were judged again, and what is new of them."""
        self._connection.execute(
            "UPDATE documents SET duplicates = ?, units = ?, rows = ? WHERE number = ?",
            (
                len(record.rows),
                self._pack_units(record),
                self._seal(record.rows.tobytes(), _place(record)),
                record.number,
            ),
        )
        self._connection.execute("DELETE FROM pointers WHERE document = ?", (record.number,))
        self._point([record])
        leaders, staying = news
        parts = (np.array([len(leaders)]), leaders, staying)
        packed = b"".join(part.astype("<i8").tobytes() for part in parts)
        self._log([(JUDGED, record.number, packed)])

    def remove(self, numbers: Sequence[int]) -> list[int]:
        """Forget documents; return those that point to them, in order."""
        pointing: set[int] = set()
        for number in numbers:
            pointing.update(
                int(str(row[0]))
                for row in self._connection.execute(
                    "SELECT document FROM pointers WHERE canonical = ?", (number,)
                )
            )
            for table, column in (
                ("pointers", "canonical"),
                ("pointers", "document"),
                ("documents", "number"),
            ):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
        self._log((REMOVED, number, None) for number in numbers)
        return sorted(pointing - set(numbers))

    def last_change(self) -> int:
        """Return the number of the last change, 0 when there is none."""
        with self._told():
            row = self._connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'changes'"
            ).fetchone()
        return int(str(row[0])) if row else 0

    def changes(self, after: int) -> list[tuple[int, int, int, News]]:
        """Return number, kind, document and news of the changes behind one."""
        with self._told():
            rows: Any = self._connection.execute(
                "SELECT number, kind, document, units FROM changes WHERE number > ? "
                "ORDER BY number",
                (after,),
            ).fetchall()
        found = []
        for number, kind, document, packed in rows:
            units = np.frombuffer(packed or bytes(8), "<i8")
            leaders, staying = np.split(units[1:], units[:1])
            found.append((number, kind, document, (leaders, staying)))
        return found

    def segments(self) -> dict[str, int]:
        """Return the segments, and the last change that is in each."""
        with self._told():
            rows = self._connection.execute("SELECT name, last_change FROM segments").fetchall()
        return {str(name): int(str(change)) for name, change in rows}

    def register(self, name: str, last_change: int, postings: int, replaced: Iterable[str]) -> None:
        """Write that a segment is there, in place of others; trim the changes."""
        self._connection.executemany(
            "DELETE FROM segments WHERE name = ?", [(old,) for old in replaced]
        )
        self._connection.execute(
            "INSERT INTO segments VALUES (?, ?, ?)", (name, last_change, postings)
        )
        self._connection.execute("DELETE FROM changes WHERE number <= ?", (last_change,))

    def forget_segments(self) -> None:
        """Write that there is no segment; they are to be made anew."""
        self._connection.execute("DELETE FROM segments")

    def counts(self) -> dict[str, int]:
        """Count documents, units, duplicates, code points and bytes."""
        with self._told():
            documents, units, duplicates, chars = self._connection.execute(
                "SELECT count(*), sum(unit_count), sum(duplicates), sum(chars) FROM documents"
            ).get
            postings = self._connection.execute("SELECT sum(postings) FROM segments").get
        return {
            "documents": documents,
            "units": units or 0,
            "duplicates": duplicates or 0,
            "chars": chars or 0,
            "postings": postings or 0,
        }

    def verify(self) -> None:
        """Look at all pages of the file.

        Raises
        ------
        InputError
            When something is damaged.
        """
        with self._told():
            found: Any = self._connection.execute("PRAGMA integrity_check(1)").get
        if found != "ok":
            raise InputError(str(self._path), f"is damaged: {found}")

    def copy_to(self, path: Path) -> None:
        """Write a copy of it as it is now, while it is in use."""
        with self._told(str(path)):
            target = apsw.Connection(str(path))
            try:
                with target.backup("main", self._connection, "main") as backup:
                    backup.step(-1)
            finally:
                target.close()

    def shrink(self) -> None:
        """Give back the space of what was removed."""
        with self._told():
            self._connection.execute("VACUUM")
            self._connection.pragma("wal_checkpoint(truncate)")

    def _count_tables(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM sqlite_schema").get)

    def _log(self, changes: Iterable[tuple[int, int, bytes | None]]) -> None:
        self._connection.executemany(
            "INSERT INTO changes (kind, document, units) VALUES (?, ?, ?)", changes
        )

    def _point(self, records: Iterable[Record]) -> None:
        self._connection.executemany(
            "INSERT INTO pointers VALUES (?, ?)",
            [
                (canonical, one.number)
                for one in records
                for canonical in np.unique(one.rows["canonical"]).tolist()
            ],
        )

    def _pack_units(self, record: Record) -> bytes:
        parts = (record.starts.astype("<i8"), record.stops.astype("<i8"), record.states)
        return self._seal(b"".join(part.tobytes() for part in parts), _place(record))

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
        self,
        number: Any,
        name: Any,
        first_unit: Any,
        unit_count: Any,
        checksum: Any,
        text: Any,
        units: Any,
        rows: Any,
    ) -> Record:
        place = (number, name, first_unit, unit_count)
        try:
            packed, whole = self._unseal(units, place), self._unseal(rows, place)
            unpacked = self._unpacker.decompress(text)
        except (_Damage, zstandard.ZstdError):
            raise InputError(str(self._path), f"document {name!r} is damaged") from None
        if check_text(unpacked) != checksum:
            raise InputError(str(self._path), f"document {name!r} is damaged")
        spans = np.frombuffer(packed, "<i8", 2 * unit_count)
        return Record(
            number,
            name,
            first_unit,
            unpacked,
            spans[:unit_count],
            spans[unit_count:],
            np.frombuffer(packed, np.uint8, unit_count, 16 * unit_count),
            np.frombuffer(whole, ROW),
        )

    @contextmanager
    def _told(self, path: str | None = None) -> Iterator[None]:
        """Say what SQLite says in the words of the rest."""
        path = path or str(self._path)
        try:
            yield
        except apsw.FullError:
            raise OutputError(path, "no room: the disk is full") from None
        except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError) as error:
            # SQLError: what the statements ask for is there, unless the schema is damaged.
            raise InputError(path, f"is damaged, or no SQLite file: {error}") from None
        except UnicodeDecodeError as error:
            raise InputError(path, f"is damaged: {error}") from None
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise OutputError(path, f"cannot be written: {error}") from None
        except apsw.IOError as error:
            if _is_about_room(error):
                raise OutputError(path, "no room: the disk is full") from None
            raise OutputError(path, f"cannot be read or written: {error}") from None
        except apsw.BusyError:
            reason = f"another process has been writing for {_WAIT_MS // 1000} s"
            raise OutputError(path, reason) from None


def _is_about_room(error: apsw.Error) -> bool:
    # The attribute is documented, and not declared (apsw 3.54.1).
    return bool(getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE)


class _Damage(Exception):  # noqa: N818
    """What was read is not what was written."""


def _place(record: Record) -> tuple[object, ...]:
    return record.number, record.id, record.first_unit, len(record.starts)


def _digest(data: bytes, place: tuple[object, ...]) -> bytes:
    return xxhash.xxh3_64_digest(orjson.dumps(place) + data)


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


def _count_chars(text: bytes) -> int:
    data = np.frombuffer(text, np.uint8)
    return int(np.count_nonzero((data & 0xC0) != 0x80))
