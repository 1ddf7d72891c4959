"""Databases: where the journal of an index is kept, and what its transactions promise.

SQLite is one file for the processes of one machine; PostgreSQL is for several machines.
Both take the same statements, with `?` where a value stands.
"""

import ctypes
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import apsw
import apsw.sqlite_extra
import xxhash

from dedup.errors import InputError, OutputError

if TYPE_CHECKING:
    import psycopg

# "dedu": says in the file's header whose it is.
_APPLICATION: Final = 0x64656475

# SQLite's own layer with a checksum of eight bytes for each page.
_CHECKED: Final = "cksmvfs"
_CHECKSUM_BYTES: Final = 8

# Giving back space waits so long for those that look.
_SHRINK_WAIT_MS: Final = 1000

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

    def prepare(self) -> None:
        """Make what tables stand in, in a transaction."""
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

    def drop(self) -> None:
        """Take away, in a transaction, what does not go with a folder."""
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

    def prepare(self) -> None:
        """See `Database`."""
        with self._told():
            self._connection.pragma("application_id", _APPLICATION)

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

    def drop(self) -> None:
        """See `Database`. The file goes with its folder."""

    def shrink(self) -> None:
        """See `Database`."""
        with self._told():
            self._connection.execute("VACUUM")
            # As far as those that look let it: it goes on with the next call that writes.
            self._connection.set_busy_timeout(_SHRINK_WAIT_MS)
            self._connection.pragma("wal_checkpoint", "truncate")
            self._connection.set_busy_timeout(_WAIT_MS)

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


_POSTGRES: Final = re.compile(r"postgres(ql)?:/", re.IGNORECASE)

# Parameters that have no secret in them; libpq has several that do, and grows more.
_SHOWN: Final[tuple[str, ...]] = ("host", "hostaddr", "port", "dbname", "user", "service")

# What libpq would repeat word for word in an error, with the password that it is part of.
_MALFORMED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|[\s\0]")

# What a collection may be called: it is the name of a schema.
_COLLECTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)


class Address:
    """Where a journal in PostgreSQL is, and the folder of this replica.

    Parameters
    ----------
    url
        ``postgresql://user@host/database?collection=NAME&replica=FOLDER``; both
        may be left out, other parameters are those of libpq.

    Attributes
    ----------
    name
        The same without a password, for errors.
    conninfo
        What libpq is told.
    collection
        The schema in which the tables are; `dedup` unless given.
    replica
        The folder, or None.

    Raises
    ------
    InputError
        When it is no address, or a collection cannot be called so.
    """

    def __init__(self, url: str) -> None:
        # Errors have no more of it until it is known where a password stands.
        scheme = url.partition("/")[0] + "//"
        if not url.startswith(scheme):
            raise InputError(scheme, "an address has two slashes, and is no Path")
        if _MALFORMED.search(url):
            raise InputError(scheme, "white space and % are percent-encoded; U+0000 is refused")
        try:
            parts = urlsplit(url)
            # A plus sign is no space here.
            query = parts.query.replace("+", "%2B")
            told = dict(parse_qsl(query, keep_blank_values=True))
        except ValueError as error:
            raise InputError(scheme, str(error)) from None
        behind = parts.path + parts.fragment + ("" if "@" in parts.netloc else parts.query)
        if parts.fragment or "@" in behind:
            raise InputError(scheme, "/, ?, # and @ of a name or password are percent-encoded")
        self.collection = told.pop("collection", "dedup")
        self.replica = told.pop("replica", None)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username or ""
        netloc = f"{user}@{host}" if user else host
        shown: dict[str, str] = {name: told[name] for name in _SHOWN if name in told}
        shown["collection"] = self.collection
        self.name = f"{parts.scheme}://{netloc}{parts.path}?{urlencode(shown, safe='/')}"
        query = urlencode(told, quote_via=quote)
        self.conninfo = f"{parts.scheme}://{parts.netloc}{parts.path}?{query}"
        if not _COLLECTION.fullmatch(self.collection):
            raise InputError(self.name, "a collection is called with letters, digits and _")

    @classmethod
    def is_one(cls, path: object) -> bool:
        """Tell an address from the path of a folder."""
        return _POSTGRES.match(str(path)) is not None

    def of_collection(self, collection: str, replica: Path) -> str:
        """Return the address of another collection of the same database."""
        beside = urlencode({"collection": collection, "replica": str(replica)}, quote_via=quote)
        joint = "" if self.conninfo.endswith("?") else "&"
        return f"{self.conninfo}{joint}{beside}"


class Postgres:
    """A schema of a PostgreSQL database, that many machines add to.

    Who writes holds an advisory lock of the collection until the transaction ends.

    Parameters
    ----------
    address
        Where it is.

    Raises
    ------
    InputError
        When psycopg is not installed.
    OutputError
        When the server cannot be reached.
    """

    types: Mapping[str, str] = {"blob": "BYTEA", "whole": "BIGINT", "clustered": ""}

    def __init__(self, address: Address) -> None:
        try:
            import psycopg
        except ImportError:
            reason = "needs the extra 'postgres': pip install 'dedup[postgres]'"
            raise InputError(address.name, reason) from None
        self._psycopg = psycopg
        self._address = address
        self.name = address.name
        # Any program that takes the lock of this number means this collection.
        self._is_in_transaction = False
        self._lock = xxhash.xxh3_64_intdigest(f"dedup {address.collection}".encode()) - (1 << 63)
        self._connection = self._connect()

    def _connect(self) -> "psycopg.Connection[Any]":
        with self._told():
            connection = self._psycopg.connect(
                self._address.conninfo,
                autocommit=True,
                client_encoding="utf8",
                application_name="dedup",
            )
            # An acknowledged call is on the disk, whatever the server's default is; and a
            # machine that is gone holds the lock for two minutes, not for two hours.
            connection.execute(
                f'SET search_path TO "{self._address.collection}"; '
                f"SET lock_timeout TO {_WAIT_MS}; SET synchronous_commit TO on; "
                "SET tcp_keepalives_idle TO 60; SET tcp_keepalives_interval TO 10; "
                "SET tcp_keepalives_count TO 6"
            )
        return connection

    def is_made(self) -> bool:
        """See `Database`."""
        # Not `to_regclass`: what it did not find before it does not find until the
        # transaction ends, though another process made it meanwhile.
        found = self.execute(
            "SELECT has_schema_privilege(quote_ident(schemaname), 'USAGE') "
            "FROM pg_catalog.pg_tables WHERE schemaname = ? AND tablename = 'facts'",
            (self._address.collection,),
        )
        if found == [(False,)]:
            raise OutputError(self.name, "no permission to use this collection")
        return bool(found)

    def list_collections(self) -> list[str]:
        """List the schemas of the database that have a journal."""
        found = self.execute(
            "SELECT schemaname FROM pg_catalog.pg_tables WHERE tablename = 'facts' "
            "AND has_schema_privilege(quote_ident(schemaname), 'USAGE') ORDER BY schemaname"
        )
        return [str(name) for (name,) in found]

    def prepare(self) -> None:
        """See `Database`."""
        self.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._address.collection}"')

    def another(self) -> "Postgres":
        """See `Database`."""
        return Postgres(self._address)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """See `Database`."""
        try:
            return self._ask(statement, values)
        except OutputError:
            if self._is_in_transaction or not self._connection.closed:
                raise
            # The server was away since the last call; nothing was begun.
            self._connection = self._connect()
            return self._ask(statement, values)

    def _ask(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._told():
            cursor = self._connection.execute(_translate(statement), tuple(values) or None)
            return cursor.fetchall() if cursor.description else []

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Database`."""
        rows = list(rows)
        if rows:
            # In a pipeline: the server is not waited for between rows.
            with self._told(), self._connection.cursor() as cursor:
                cursor.executemany(_translate(statement), rows)

    @contextmanager
    def write(self) -> Iterator[None]:
        """See `Database`."""
        # Each statement sees what was committed when it began, and so all that was
        # before the lock was given. With one state for all statements that would be the
        # state in which the lock was asked for.
        with self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED"):
            self.execute("SELECT pg_advisory_xact_lock(?)", (self._lock,))
            yield

    @contextmanager
    def read(self) -> Iterator[None]:
        """See `Database`."""
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self.execute(begin)
        self._is_in_transaction = True
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(self._psycopg.Error):
                if not self._connection.closed:
                    self._connection.rollback()
            raise
        finally:
            self._is_in_transaction = False

    def drop(self) -> None:
        """See `Database`."""
        self.execute(f'DROP SCHEMA "{self._address.collection}" CASCADE')

    def verify(self) -> None:
        """See `Database`. The server looks after its own pages."""
        self.execute("SELECT count(*) FROM documents")

    def copy_to(self, path: Path) -> None:
        """See `Database`."""
        raise OutputError(str(path), f"{self.name} is no file; pg_dump copies it")

    def shrink(self) -> None:
        """See `Database`."""
        for table in ("documents", "pointers", "gaps", "seen", "changes", "facts"):
            self.execute(f"VACUUM {table}")

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what the server says in the words of the rest."""
        errors = self._psycopg.errors
        try:
            yield
        except errors.DiskFull:
            raise OutputError(self.name, "no room: the disk of the server is full") from None
        except errors.LockNotAvailable:
            reason = f"another process has been writing for {_WAIT_MS // 1000} s"
            raise OutputError(self.name, reason) from None
        except errors.UndefinedTable as error:
            reason = f"is damaged, or was deleted: {_first_line(error)}"
            raise InputError(self.name, reason) from None
        except (errors.UndefinedColumn, errors.DataCorrupted) as error:
            raise InputError(self.name, f"is damaged: {_first_line(error)}") from None
        except (errors.DataError, errors.ProgramLimitExceeded) as error:
            # An id that PostgreSQL cannot have: with U+0000, or too long for its index.
            raise InputError(self.name, f"cannot be kept there: {_first_line(error)}") from None
        except self._psycopg.Error as error:
            if not getattr(self, "_connection", None) or self._connection.closed:
                reason = f"the server cannot be reached: {_first_line(error)}"
                raise OutputError(self.name, reason) from None
            raise OutputError(self.name, f"cannot be written: {_first_line(error)}") from None


def _translate(statement: str) -> str:
    """Write values as psycopg has them."""
    return statement.replace("%", "%%").replace("?", "%s")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
