"""Databases: where the journal of an index is kept, and what its transactions promise.

SQLite is one file for the processes of one machine; `postgres` is for several machines.
Both take the same statements, with `?` where a value stands.
"""

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import apsw.sqlite_extra

from dedup.errors import InputError, OutputError

# "dedu": says in the file's header whose it is.
_APPLICATION: Final = 0x64656475

# SQLite's own layer with a checksum of eight bytes for each page.
_CHECKED: Final = "cksmvfs"
_CHECKSUM_BYTES: Final = 8

# Pages of a connection that are kept in memory.
_CACHED_KIB: Final = 16 << 10

# Bytes of the log that are kept when all of it is in the file.
_LOG_BYTES: Final = 16 << 20

# A writer waits so long for another one; each holds the lock for milliseconds.
_WAIT_MS: Final = 60_000


class Database(Protocol):
    """One connection; used by one thread at a time.

    Attributes
    ----------
    name
        What errors call it.
    types
        What it calls a column of bytes (`blob`) and one of whole numbers
        (`whole`), and a table that is kept in the order of its key
        (`clustered`).
    """

    name: str
    types: Mapping[str, str]

    def is_made(self) -> bool:
        """Tell whether the tables of a journal are there."""
        ...

    def another(self) -> "Database":
        """Open another connection to the same."""
        ...

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a statement."""
        ...

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Do a statement for each row of values."""
        ...

    def write(self) -> AbstractContextManager[None]:
        """Do all that is done here in one transaction, alone; none of it on an error."""
        ...

    def read(self) -> AbstractContextManager[None]:
        """See the same state in all that is read here; nobody waits for it."""
        ...

    def verify(self) -> None:
        """Look at all that is there; `InputError` when something is damaged."""
        ...

    def shrink(self) -> None:
        """Give back the space of what was removed."""
        ...

    def copy_to(self, path: Path) -> None:
        """Write a copy of the file as it is now, while it is in use."""
        ...

    def close(self) -> None:
        """Close the connection; what was acknowledged is there."""
        ...


@cache
def _load_checksums() -> None:
    """Make the file system layer known that writes and compares a checksum of each page."""
    default = apsw.vfs_names()[0]
    connection = apsw.Connection(":memory:")
    apsw.sqlite_extra.load(connection, "cksumvfs")
    connection.close()
    # For those alone that ask for it.
    apsw.set_default_vfs(default)


class Sqlite:
    """A SQLite file: write-ahead log, and every transaction synced.

    Parameters
    ----------
    path
        The file; it is made when it is not there.

    Raises
    ------
    InputError
        When it is another file.
    """

    types: Mapping[str, str] = {"blob": "BLOB", "whole": "INTEGER", "clustered": " WITHOUT ROWID"}

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        _load_checksums()
        with self._told():
            self._connection = apsw.Connection(self.name, vfs=_CHECKED)
            self._connection.set_busy_timeout(_WAIT_MS)
            # Room at the end of each page of a new file, for its checksum.
            self._connection.reserve_bytes(reserve=_CHECKSUM_BYTES)
            # Read before anything is written, so that another file stays as it is.
            tables: Any = self._connection.execute("SELECT count(*) FROM sqlite_schema").get
            if tables and self._connection.pragma("application_id") != _APPLICATION:
                self._connection.close()
                raise InputError(self.name, "is no journal of an index")
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "full")
            self._connection.pragma("cache_size", -_CACHED_KIB)
            # The log and the memory that connections share stay when all are closed: on a
            # full disk there is no room to make them again.
            self._connection.pragma("journal_size_limit", _LOG_BYTES)
            stays = ctypes.c_int(1)
            self._connection.file_control(
                "main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(stays)
            )

    def is_made(self) -> bool:
        """See `Database`."""
        with self._told():
            return bool(self._connection.pragma("application_id") == _APPLICATION)

    def another(self) -> "Sqlite":
        """See `Database`."""
        return Sqlite(self._path)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """See `Database`."""
        with self._told():
            return self._connection.execute(statement, values).fetchall()

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Database`."""
        with self._told():
            self._connection.executemany(statement, rows)

    @contextmanager
    def write(self) -> Iterator[None]:
        """See `Database`."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._told():
                if not self._connection.pragma("application_id"):
                    self._connection.pragma("application_id", _APPLICATION)
                self._connection.execute("COMMIT")
        except BaseException:
            # Some errors have rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def read(self) -> Iterator[None]:
        """See `Database`."""
        with self._told():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def verify(self) -> None:
        """See `Database`."""
        with self._told():
            found: Any = self._connection.execute("PRAGMA integrity_check(1)").get
        if found != "ok":
            raise InputError(self.name, f"is damaged: {found}")

    def copy_to(self, path: Path) -> None:
        """See `Database`."""
        with self._told(str(path)):
            target = apsw.Connection(str(path), vfs=_CHECKED)
            try:
                with target.backup("main", self._connection, "main") as backup:
                    backup.step(-1)
            finally:
                target.close()

    def shrink(self) -> None:
        """See `Database`."""
        with self._told():
            self._connection.execute("VACUUM")
            self._connection.pragma("wal_checkpoint", "truncate")

    def close(self) -> None:
        """See `Database`."""
        with self._told():
            self._connection.close()

    @contextmanager
    def _told(self, path: str | None = None) -> Iterator[None]:
        """Say what SQLite says in the words of the rest."""
        path = path or self.name
        try:
            yield
        except apsw.FullError:
            raise OutputError(path, "no room: the disk is full") from None
        except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError) as error:
            # The statements are right, so a table that is missing is damage too.
            raise InputError(path, f"is damaged, or no SQLite file: {error}") from None
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise OutputError(path, f"cannot be written: {error}") from None
        except apsw.IOError as error:
            if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
                raise InputError(path, "is damaged: the checksum of a page is not right") from None
            if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
                # Of the memory that connections share, beside the file.
                raise OutputError(path, "no room: the disk is full") from None
            raise OutputError(path, f"cannot be read or written: {error}") from None
        except apsw.BusyError:
            reason = f"another process has been writing for {_WAIT_MS // 1000} s"
            raise OutputError(path, reason) from None
