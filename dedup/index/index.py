"""The index: documents as they come, and what is new in each of them.

The law, the map and the words are those of a run over all documents in the order in
which they were added. What an index holds beside its journal can be made from it again.
"""

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from stat import S_ISREG
from tempfile import mkdtemp
from typing import Any, Final, Literal, Self, TypeGuard, get_args
from uuid import uuid4

import numpy as np
import xxhash
from numpy.typing import NDArray

from dedup.columns import Positions
from dedup.corpus import cut_duplicates
from dedup.documents import check_documents
from dedup.duplicates import GOES, OPEN, SHORT, Duplicates
from dedup.errors import InputError, OptionsError, OutputError
from dedup.filters import Filters
from dedup.folding import folding_table
from dedup.index.databases import Address, Database, Postgres, Sqlite
from dedup.index.journal import Facts, Journal, Record, check_text, join_records
from dedup.index.judgements import Judgement, Matched, Opened, judge, open_documents
from dedup.index.lookups import Lookups, Registry, StaleError, View, copy_segments, telling
from dedup.index.postings import Postings
from dedup.index.segments import Recent, sync_folder
from dedup.kinds import KINDS
from dedup.options import Options
from dedup.pipeline import list_results
from dedup.results import Duplicate, Result, Span
from dedup.signatures import SCHEME, SEED
from dedup.streams import describe

IfExists = Literal["error", "skip", "replace"]

_JOURNAL: Final = "journal.sqlite"
_REPLICA: Final = "replica.sqlite"
_SEGMENTS: Final = "segments"

_EXPORTED_AT_ONCE: Final = 256

# A thousand years, and the last second of the year 9999: a time in milliseconds, taken
# for one in seconds, would make an index forget all.
MOST_TTL: Final = 1000 * 366 * 86_400
_LAST_SECOND: Final = 253_402_300_799

# Others write at most so often between a look and the next.
_MOST_TRIES: Final = 20
_PATIENT_TRY: Final = 3

# Batches of `add_batches` that are worked on. With two 8.5 MB/s over 10 million units, 6.6
# one by one; three are no faster (10.1 and 10.3 over the first 2.4 million), for a third of the
# memory more.
_BATCHES_AT_ONCE: Final = 2


@dataclass(frozen=True)
class Judged:
    """A duplicate whose canonical was removed, and what the law says of it since.

    Attributes
    ----------
    document, start, stop
        Where it stands, in code points.
    was
        Its canonical before.
    now
        The row that it has now, or None: it stays.
    """

    document: str
    start: int
    stop: int
    was: Span
    now: Duplicate | None

    def to_mapping(self) -> dict[str, Any]:
        """Return it as it goes into JSON."""
        return {
            "document": self.document,
            "start": self.start,
            "stop": self.stop,
            "was": self.was.to_mapping(),
            "now": self.now.to_mapping() if self.now else None,
        }


class Index:
    """Documents that were seen, kept on disk; `open` opens one.

    Usable from many threads and processes: one of them adds at a time, and who only
    looks waits for nobody. As a context manager it closes at the end.

    Examples
    --------
    >>> import tempfile
    >>> from dedup import Index
    >>> folder = tempfile.mkdtemp()
    >>> with Index.open(f"{folder}/seen") as index:
    ...     first, second = index.add([
    ...         ("a", "The ferry leaves at noon from the old pier."),
    ...         ("b", "The ferry leaves at noon, from the old pier. Nobody knew it."),
    ...     ])
    >>> second.text, second.duplicates[0].canonical
    ('Nobody knew it.', Span(document='a', start=0, stop=43))
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        journal: Journal,
        lookups: Lookups,
        options: Options,
        threads: int,
    ) -> None:
        self.name, self.options = name, options
        self._folder, self._journal, self._threads = folder, journal, threads
        self._lookups = lookups
        # For one thread that writes; each of those that look takes a connection.
        self._writer = threading.Lock()
        self._readers: list[Journal] = []
        self._is_closed = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        options: Options | None = None,
        *,
        create: bool | None = None,
        threads: int = 1,
        ttl: float | None = None,
    ) -> Self:
        """Open an index, or make one where there is nothing yet.

        Parameters
        ----------
        path
            Its folder; or ``postgresql://user@host/database?collection=NAME&replica=FOLDER``
            for a journal in PostgreSQL that many machines add to, each with look-ups of
            its own in a folder on its own disk. A collection is a schema, `dedup` unless
            named; the folder is one in the user's cache unless named.
        options
            What it is made with, or has to have been made with; what it has, or the
            defaults, unless given.
        create
            True for a new one alone, False for one that is there.
        threads
            Workers of one call.
        ttl
            Seconds after which a unit that was not seen again is forgotten; of a new
            index, or what it has to have been made with. Never, unless given.

        Raises
        ------
        InputError
            When there is no index, or it is damaged.
        OptionsError
            When it was made with other options; it names the first that differs.
        OutputError
            When it cannot be written.

        Notes
        -----
        With a time to live, a unit is seen when its document is added, when a later one
        repeats it, and when either is added again with the same text. `check` finds no
        unit that was last seen longer ago; `add` and `expire` forget it. A document goes
        with the last of its units. Until then `get` and `export` give all of it, text
        and rows, as they were: its text is what was given and cannot be had in part. Added
        again, it is judged as a new one, the last, when some of its units are forgotten.
        """
        _check_ttl(ttl)
        _check_options(options or Options())
        if Address.is_one(path):
            return cls._open_shared(Address(str(path)), options, create, threads, ttl)
        folder = Path(path)
        file = folder / _JOURNAL
        if "\0" in str(path):
            raise InputError(repr(str(path)), "no folder is called so")
        if create is False:
            _look_for(path, file)
        new = [folder, *(one for one in folder.parents if not os.path.lexists(one))]
        if not os.path.lexists(file):
            with telling(path):
                folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(Sqlite(file))
        try:
            if create is True and journal.database.is_made():
                raise InputError(str(path), "is an index already")
            if not journal.database.is_made():
                if create is False:
                    raise InputError(str(path), "is no index")
                journal.create(_facts(options or Options(), ttl))
                # What is in a folder is lost with the power as long as its name may be.
                with telling(path):
                    for one in new:
                        sync_folder(one.parent)
            found = _read_options(path, journal, options, ttl)
            beside = journal.reader()
            registry = Registry(beside.database)
            registry.create()
            lookups = Lookups(folder / _SEGMENTS, beside, registry, found, threads)
            return cls(str(path), folder, journal, lookups, found, threads)
        except BaseException:
            journal.database.close()
            raise

    @classmethod
    def _open_shared(
        cls,
        address: Address,
        options: Options | None,
        create: bool | None,
        threads: int,
        ttl: float | None,
    ) -> Self:
        """Open a journal in PostgreSQL, with a replica of the look-ups."""
        opened: list[Database] = []

        def hold(database: Database) -> Database:
            opened.append(database)
            return database

        try:
            journal = Journal(hold(Postgres(address)))
            is_made = journal.database.is_made()
            if create is True and is_made:
                raise InputError(address.name, "is an index already")
            if create is False and not is_made:
                raise InputError(address.name, "is no index")
            if not is_made:
                journal.create(_facts(options or Options(), ttl))
            found = _read_options(address.name, journal, options, ttl)
            folder = Path(address.replica) if address.replica else _find_replica(address)
            with telling(folder):
                folder.mkdir(parents=True, exist_ok=True)
            registry = Registry(hold(Sqlite(folder / _REPLICA)))
            registry.create()
            registry.claim(journal)
            beside = journal.reader()
            hold(beside.database)
            lookups = Lookups(folder / _SEGMENTS, beside, registry, found, threads)
            return cls(address.name, folder, journal, lookups, found, threads)
        except BaseException:
            for database in opened:
                database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what was acknowledged is on disk."""
        with self._writer:
            if self._is_closed:
                return
            self._is_closed = True
            self._lookups.close()
            for journal in (self._journal, *self._readers):
                journal.close()

    def add(
        self,
        documents: Iterable[tuple[str, str]],
        *,
        if_exists: IfExists = "error",
        now: float | None = None,
    ) -> list[Result]:
        """Say what is new in documents, and remember them: in one step, all or none.

        A document that is there with the same text gets the answer that it got.

        Parameters
        ----------
        documents
            Id and text of each, in their order.
        if_exists
            What becomes of an id that is there with another text: an error, the
            answer for what is there, or the new text in its place, as the last one.
        now
            Seconds since 1970, for an index that forgets; the clock's, unless given. A
            time before that of the last call counts as that.

        Raises
        ------
        InputError
            When a document is no pair of texts, or has an id that is there already;
            it names it, and nothing is added.
        """
        _check_adding(if_exists, now)
        return self._put(documents, if_exists, now)

    def add_batches(
        self,
        batches: Iterable[Iterable[tuple[str, str]]],
        *,
        if_exists: IfExists = "error",
        now: float | None = None,
    ) -> Generator[list[Result], None, None]:
        """Add batches in their order, each in one step, on two threads.

        While one is judged and written, the next is cut and sketched, and what is said of
        the one before is put into words.

        Parameters
        ----------
        batches
            Of each the documents, as `add` takes them; read up to three ahead.
        if_exists, now
            As `add` takes them.

        Yields
        ------
        list of Result
            Of each batch, which is on disk.

        Raises
        ------
        InputError
            As `add` does. The batches before are there then, those behind are not; when
            the iterator is left before its end, two more than were given may be there.
        """
        _check_adding(if_exists, now)
        return self._put_batches(batches, if_exists, now)

    def _put_batches(
        self,
        batches: Iterable[Iterable[tuple[str, str]]],
        if_exists: IfExists,
        now: float | None,
    ) -> Generator[list[Result], None, None]:
        line = _Line()

        def put(number: int, documents: Iterable[tuple[str, str]]) -> list[Result]:
            try:
                return self._put(documents, if_exists, now, line, number)
            except BaseException:
                line.end(number)
                raise

        ahead: deque[Future[list[Result]]] = deque()
        failures: list[Exception] = []
        with ThreadPoolExecutor(_BATCHES_AT_ONCE) as pool:
            try:
                for number, documents in enumerate(_read_batches(batches, failures)):
                    ahead.append(pool.submit(put, number, documents))
                    # One waits, so that no thread does.
                    if len(ahead) > _BATCHES_AT_ONCE:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
                if failures:
                    raise failures[0]
            finally:
                line.end(0)

    def _put(
        self,
        documents: Iterable[tuple[str, str]],
        if_exists: IfExists,
        now: float | None,
        line: "_Line | None" = None,
        number: int = 0,
    ) -> list[Result]:
        """Add documents, in a line when it is their turn."""
        given = _Given.of(documents)
        # What takes longest is done before others have to wait.
        opened = open_documents(given.documents, self.options, self._threads)
        matched = None
        turn: AbstractContextManager[None] = nullcontext()
        if line:
            turn = line.turn(number)
            # Whoever is before may be at work yet: what they add is looked for later.
            with self._reading() as (_, view):
                matched = Matched.of(opened.keys, view, self.options)
        with turn, self._writing(now) as writing:
            answer = self._add(writing, given, opened, if_exists, matched)
        self._lookups.work()
        return answer.list_results(self.options)

    def check(
        self, documents: Iterable[tuple[str, str]], *, now: float | None = None
    ) -> list[Result]:
        """Say what `add` would say, and remember nothing.

        A document that is there with another text is looked at as if it took its place;
        where others repeat it, that waits for those who write.
        """
        _check_now(now)
        given = _Given.of(documents)
        opened = open_documents(given.documents, self.options, self._threads)
        with self._reading() as (journal, view):
            known = journal.find_ids(given.ids)
            if journal.facts.ttl is not None:
                facts = replace(journal.facts, now=_find_now(journal.facts, now))
                forgotten = journal.find_forgotten(_find_end(facts))
                view = view.without(forgotten.units)
                gone = set(forgotten.documents)
                view = view.without(_list_spans(journal.documents(forgotten.documents)))
                known = {name: one for name, one in known.items() if one[0] not in gone}
            others = set(given.list_others(known))
            same = [number for name, (number, _) in known.items() if name not in others]
            others |= {one.id for one in _find_partial(journal, same, view)}
            records = journal.documents([known[name][0] for name in others])
            if not journal.find_pointing([one.number for one in records]):
                view = view.without(_list_spans(records))
                new = [
                    document
                    for document in given.documents
                    if document[0] not in known or document[0] in others
                ]
                if len(new) < len(given.ids):
                    opened = open_documents(new, self.options, self._threads)
                numbered = opened.renumbered(journal.facts.next_number)
                judged = judge(numbered, journal, view, self.options, self._threads)
                same = [number for name, (number, _) in known.items() if name not in others]
                old = self._recall(journal, same)
                answer = _Answer(given.ids, judged, old)
                return answer.list_results(self.options)
        # What repeats a document that is replaced would have to be judged again.
        with suppress(_UndoneError), self._writing(now) as writing:
            found = self._add(writing, given, opened, "replace")
            raise _UndoneError
        return found.list_results(self.options)

    def get(self, document: str) -> Result | None:
        """Return what was said of a document; None when it is not there."""
        with self._reading() as (journal, _):
            found = journal.find_ids([document])
            if not found:
                return None
            return self._recall(journal, [found[document][0]])[0]

    def remove(self, documents: Iterable[str]) -> list[Judged]:
        """Forget documents, and judge again what pointed to them, in order.

        Returns
        -------
        list of Judged
            Units that lost their canonical. One that stays now is one that later
            documents are held against.

        Raises
        ------
        InputError
            When one is not there; nothing is removed.
        """
        names = list(dict.fromkeys(documents))
        # What is removed is not seen; the caller's clock may be another than this one's.
        with self._writing(now=0) as writing:
            found = self._journal.find_ids(names)
            for name in names:
                if name not in found:
                    raise InputError(name, "is not in the index")
            judged = self._remove(writing, [found[name][0] for name in names])
        self._lookups.work()
        return judged

    def repeats(self, document: str, limit: int | None = None) -> list[Duplicate] | None:
        """Return the rows of other documents that repeat one; None when that is not there.

        Parameters
        ----------
        limit
            Most rows that are returned: the first, by the order of the documents.
        """
        with self._reading() as (journal, _):
            found = journal.find_ids([document])
            if not found:
                return None
            pointing = journal.find_pointing([found[document][0]])
            rows: list[Duplicate] = []
            for first in range(0, len(pointing), _EXPORTED_AT_ONCE):
                if limit is not None and len(rows) >= limit:
                    break
                for record in journal.documents(pointing[first : first + _EXPORTED_AT_ONCE]):
                    listed = _list_rows(journal, record, {})
                    rows += [row for row in listed if row.canonical.document == document]
            return rows[:limit]

    def expire(self, *, now: float | None = None) -> int:
        """Forget what is older than the time to live; adding does that too.

        Returns
        -------
        int
            Documents of which nothing was left.
        """
        _check_now(now)
        with self._writing(now) as writing:
            count = self._forget(writing)
        self._lookups.work()
        return count

    def stats(self) -> dict[str, Any]:
        """Count what is there: documents, units, duplicates, postings, bytes.

        Units that are forgotten count as long as their document is there. `ttl` is in
        seconds, or None.
        """
        with self._reading() as (journal, _):
            facts = journal.facts
        sizes = []
        for file in self._folder.rglob("*"):
            # A segment may be merged meanwhile.
            with suppress(OSError):
                status = file.stat()
                sizes += [status.st_size] * S_ISREG(status.st_mode)
        return {
            "documents": facts.documents,
            "units": facts.units,
            "duplicates": facts.duplicates,
            "chars": facts.chars,
            "postings": self._lookups.posting_count,
            "bands": self.options.bands,
            "bytes": sum(sizes),
            "ttl": facts.ttl,
        }

    def export(self) -> Iterator[tuple[str, str]]:
        """Yield id and text of every document, in order, while the index is in use."""
        number = -1
        while True:
            with self._reading() as (journal, _):
                records = journal.documents_after(number, _EXPORTED_AT_ONCE)
            if not records:
                return
            number = records[-1].number
            for record in records:
                yield record.id, record.text.decode()

    def compact(self) -> None:
        """Give back the space of what was removed, and make one segment of all."""
        with self._reading():
            pass
        self._lookups.compact()
        with self._writer:
            self._journal.database.shrink()

    def reindex(self) -> None:
        """Make all that can be made from the journal anew."""
        self._check_open()
        self._lookups.reindex()

    def verify(self) -> None:
        """Look at all that is there.

        Raises
        ------
        InputError
            When something is damaged; it names the file.
        """
        with self._reading() as (journal, _):
            journal.verify()
        self._lookups.verify()

    def snapshot(self, path: str | Path) -> None:
        """Write a copy of the index as it is now, while it is in use.

        Of one in PostgreSQL it has the look-ups alone: a folder with which another replica
        begins. `pg_dump` copies the rest.

        Raises
        ------
        OutputError
            When something stands there already.
        """
        self._check_open()
        if Address.is_one(path):
            raise OutputError(Address(str(path)).name, "a snapshot is a folder")
        target = Path(path)
        if os.path.lexists(target):
            raise OutputError(str(path), "is there already")
        with telling(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            made = Path(mkdtemp(prefix=".dedup-", dir=target.parent))
        try:
            for _ in range(_MOST_TRIES):
                with self._reading() as (journal, _):
                    source = self._lookups.registry_of(journal).database
                    file = made / (_JOURNAL if source is journal.database else _REPLICA)
                    source.copy_to(file)
                copy = Sqlite(file)
                names = list(Registry(copy).segments())
                copy.close()
                try:
                    copy_segments(self._folder / _SEGMENTS, names, made / _SEGMENTS)
                except FileNotFoundError:
                    # Merged since.
                    file.unlink()
                    continue
                sync_folder(made)
                made.replace(target)
                sync_folder(target.parent)
                return
            raise InputError(self.name, "a segment is missing; reindex makes it anew")
        except OSError as error:
            raise OutputError(str(path), describe(error)) from error
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def delete(self) -> None:
        """Take the index away, its folder with all that is in it.

        Others that have it open are told at their next call. Of one in PostgreSQL the
        collection goes, and the replica of this machine.

        Raises
        ------
        OutputError
            When it cannot be deleted; it is there then, or another process will not see
            it and a folder beside it is left.
        """
        with self._writer:
            self._check_open()
            self._journal.delete()
        self.close()
        try:
            # Nothing of it may be taken for an index while its files go one by one.
            gone = Path(mkdtemp(prefix=".dedup-", dir=self._folder.parent))
            self._folder.replace(gone)
            sync_folder(self._folder.parent)
            shutil.rmtree(gone)
        except OSError as error:
            raise OutputError(self.name, describe(error)) from error

    def __len__(self) -> int:
        with self._reading() as (journal, _):
            return journal.facts.documents

    @contextmanager
    def _writing(self, now: float | None) -> "Iterator[_Writing]":
        """Do what is done here alone, and all of it or nothing."""
        with self._writer:
            self._check_open()
            self._lookups.tell_failure()
            for number in self._tries():
                # Others may do so much each time that there is no end of it.
                is_patient = number >= _PATIENT_TRY
                with suppress(StaleError), self._journal.write():
                    view = self._lookups.view(self._journal, is_patient=is_patient)
                    facts = self._journal.facts
                    self._journal.facts = replace(facts, now=_find_now(facts, now))
                    writing = _Writing.of(view)
                    yield writing
                    break
            self._lookups.take(
                view, writing.view.gaps, self._journal, Postings(*writing.made.columns())
            )

    @contextmanager
    def _reading(self) -> Iterator[tuple[Journal, View]]:
        """See one state of all; nobody waits for it."""
        self._check_open()
        try:
            journal = self._readers.pop()
        except IndexError:
            journal = self._journal.reader()
        try:
            for _ in self._tries():
                with suppress(StaleError), journal.read():
                    yield journal, self._lookups.view(journal)
                    return
        finally:
            self._readers.append(journal)

    def _check_open(self) -> None:
        if self._is_closed:
            raise InputError(self.name, "is closed")

    def _tries(self) -> Iterator[int]:
        """Count what is tried again because others did something meanwhile."""
        for number in range(_MOST_TRIES):
            yield number
            if self._lookups.is_behind:
                self._lookups.reindex(is_needed=False)
            elif self._lookups.is_late:
                with self._reading():
                    pass
        if self._lookups.is_ahead:
            raise InputError(self.name, "has lost what it had when it was opened: open it again")
        raise InputError(self.name, "a segment is missing; reindex makes it anew")

    def _add(
        self,
        writing: "_Writing",
        given: "_Given",
        opened: Opened,
        if_exists: IfExists,
        matched: Matched | None = None,
    ) -> "_Answer":
        """Add documents; return what is said of them."""
        self._forget(writing)
        known = self._journal.find_ids(given.ids)
        others = given.list_others(known)
        if others and if_exists == "error":
            raise InputError(others[0], "another text has this id")
        same = [number for name, (number, _) in known.items() if name not in others]
        replaced = [one.id for one in _find_partial(self._journal, same, writing.view)]
        if if_exists == "replace":
            replaced += others
        if replaced:
            self._remove(writing, [known.pop(name)[0] for name in replaced])
        new = [i for i, name in enumerate(given.ids) if name not in known]
        if len(new) < len(given.ids):
            some = [given.documents[i] for i in new]
            opened, matched = open_documents(some, self.options, self._threads), None
        judged = self._judge(opened, writing.view, matched)
        self._journal.add(judged.records, [given.checksums[i] for i in new])
        if self._journal.facts.ttl is not None:
            self._journal.see(judged.records)
            self._journal.renew([known[name][0] for name in known if name not in others])
        writing.take(judged.put()[0])
        old = self._recall(self._journal, [number for number, _ in known.values()])
        return _Answer(given.ids, judged, old)

    def _judge(self, opened: Opened, view: View, matched: Matched | None) -> Judgement:
        numbered = opened.renumbered(self._journal.facts.next_number)
        return judge(numbered, self._journal, view, self.options, self._threads, matched)

    def _forget(self, writing: "_Writing") -> int:
        """Forget what is older than the time to live; return how many documents."""
        facts = self._journal.facts
        if facts.ttl is None:
            return 0
        until = _find_end(facts)
        if until <= facts.forgotten:
            return 0
        forgotten = self._journal.find_forgotten(until)
        self._journal.forget(until, forgotten)
        writing.view = replace(writing.view, gaps=self._journal.gaps())
        if forgotten.documents:
            self._remove(writing, forgotten.documents)
        return len(forgotten.documents)

    def _remove(self, writing: "_Writing", numbers: Sequence[int]) -> list[Judged]:
        """Remove documents, and judge again what pointed to them."""
        names = self._journal.names(numbers)
        pointing = self._journal.remove(numbers)
        writing.view = replace(writing.view, gaps=self._journal.gaps())
        gone = np.array(sorted(numbers), np.int64)
        judged: list[Judged] = []
        for number in pointing:
            (record,) = self._journal.documents([number])
            judged += self._judge_again(writing, record, gone, names)
        return judged

    def _judge_again(
        self, writing: "_Writing", record: Record, gone: Positions, names: dict[int, str]
    ) -> list[Judged]:
        """Judge the units of a document that pointed to documents that are gone."""
        lost = np.isin(record.rows["canonical"], gone)
        open_units = record.rows["unit"][lost]
        states = record.states.copy()
        states[open_units] = OPEN
        left = replace(record, states=states, rows=record.rows[~lost])
        opened = Opened.of([left], self.options, self._threads)
        view = replace(writing.view, stop=record.stop)
        found = judge(opened, self._journal, view, self.options, self._threads)
        (after,) = found.records
        rows = np.concatenate([left.rows, after.rows])
        after = replace(after, rows=rows[np.argsort(rows["unit"], kind="stable")])
        old_leaders = record.number + open_units[record.states[open_units] == GOES]
        postings, news = found.put(old_leaders)
        self._journal.judge(after, record, (news[0] - record.number, news[1] - record.number))
        writing.take(postings)
        if self._journal.facts.ttl is not None:
            self._journal.see([after])
        (result,) = found.list_results(self.options)
        now = {(row.start, row.stop): row for row in result.duplicates}
        before = _list_rows(self._journal, record, names)
        return [
            Judged(row.document, row.start, row.stop, row.canonical, now.get((row.start, row.stop)))
            for row, is_lost in zip(before, lost.tolist(), strict=True)
            if is_lost
        ]

    def _recall(self, journal: Journal, numbers: Sequence[int]) -> list[Result]:
        """Return what was said of documents that are there."""
        return [self._recall_one(journal, record) for record in journal.documents(numbers)]

    def _recall_one(self, journal: Journal, record: Record) -> Result:
        texts, units = join_records([record])
        rows = record.rows
        none = np.zeros(len(rows), np.int64)
        found = Duplicates(
            rows["unit"].astype(np.int64),
            none,
            none,
            none,
            rows["score"].astype(np.float64),
            rows["containment"].astype(np.float64),
            rows["kind"].astype(np.uint8),
            rows["passage"].astype(np.int64),
            record.states != SHORT,
            0,
        )
        corpus = cut_duplicates(texts, units, found, Filters())
        (result,) = list_results([(record.id, record.text.decode())], corpus, self.options)
        return replace(result, duplicates=tuple(_list_rows(journal, record, {})))


@dataclass(frozen=True)
class _Answer:
    """What is said of documents that were given.

    Attributes
    ----------
    ids
        In their order.
    judged
        Those that are new.
    old
        What was said of the others.
    """

    ids: list[str]
    judged: Judgement
    old: list[Result]

    def list_results(self, options: Options) -> list[Result]:
        results = {one.document: one for one in (*self.judged.list_results(options), *self.old)}
        return [results[name] for name in self.ids]


class _Line:
    """Turns that are taken in the order of their numbers, 0 first, up to an end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next = 0
        self._end: float = inf

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait for a turn; `_OverError` when it will not come."""
        with self._changed:
            self._changed.wait_for(lambda: number == self._next or number >= self._end)
            if number >= self._end:
                raise _OverError
        yield
        with self._changed:
            self._next += 1
            self._changed.notify_all()

    def end(self, number: int) -> None:
        """Let no turn begin from a number on."""
        with self._changed:
            self._end = min(self._end, number)
            self._changed.notify_all()


class _OverError(Exception):
    """A turn will not come, for one before it failed."""


class _UndoneError(Exception):
    """What was written is to be undone."""


@dataclass
class _Writing:
    """What a call that writes has seen and made.

    Attributes
    ----------
    view
        What can be found, with what the call itself has done.
    made
        What it adds.
    """

    view: View
    made: Recent

    @classmethod
    def of(cls, view: View) -> Self:
        """Begin with what can be found."""
        made = Recent()
        return cls(replace(view, sources=(*view.sources, made)), made)

    def take(self, postings: Postings) -> None:
        """Find them from now on."""
        self.made.add(*postings)


@dataclass(frozen=True)
class _Given:
    """Documents as they were given, checked."""

    documents: list[tuple[str, str]]
    ids: list[str]
    checksums: list[bytes]

    @classmethod
    def of(cls, documents: Iterable[tuple[str, str]]) -> Self:
        documents = list(documents)
        ids, texts = check_documents(documents)
        data, bounds = texts.data.tobytes(), texts.offsets.tolist()
        checksums = [check_text(data[start:stop]) for start, stop in pairwise(bounds)]
        return cls(documents, list(ids), checksums)

    def list_others(self, known: Mapping[str, tuple[int, bytes]]) -> list[str]:
        """List the ids that are known with another text."""
        return [
            name
            for name, checksum in zip(self.ids, self.checksums, strict=True)
            if name in known and known[name][1] != checksum
        ]


def _look_for(path: str | Path, file: Path) -> None:
    """Refuse a folder in which a journal is not to be seen."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(str(path), "is no index") from None
    except OSError as error:
        raise InputError(str(path), describe(error)) from error


def _list_rows(journal: Journal, record: Record, names: dict[int, str]) -> list[Duplicate]:
    """Return the rows of a document as the map has them.

    Parameters
    ----------
    names
        Of documents that are there no more.
    """
    rows = record.rows
    known = names | journal.names(set(rows["canonical"].tolist()) - names.keys())
    text = record.text
    spans = [
        (len(text[:start].decode()), len(text[:stop].decode()))
        for start, stop in zip(
            record.starts[rows["unit"]].tolist(), record.stops[rows["unit"]].tolist(), strict=True
        )
    ]
    return [
        Duplicate(
            record.id,
            start,
            stop,
            Span(known[int(row["canonical"])], int(row["start"]), int(row["stop"])),
            KINDS[int(row["kind"])],
            float(row["score"]),
            float(row["containment"]),
            int(row["passage"]),
        )
        for (start, stop), row in zip(spans, rows, strict=True)
    ]


def _find_partial(journal: Journal, numbers: Sequence[int], view: View) -> list[Record]:
    """Find the documents of which some units are forgotten, among some."""
    if journal.facts.ttl is None:
        return []
    records = journal.documents(numbers)
    firsts = np.array([one.number for one in records], np.int64)
    stops = np.array([one.stop for one in records], np.int64)
    begun = np.searchsorted(view.gaps[:, 0], stops, side="left")
    ended = np.searchsorted(view.gaps[:, 1], firsts, side="right")
    return [
        one for one, is_partial in zip(records, (begun > ended).tolist(), strict=True) if is_partial
    ]


def _list_spans(records: Iterable[Record]) -> NDArray[np.int64]:
    """Return the numbers that documents have, int64[n, 2]."""
    return np.array([(one.number, one.stop) for one in records], np.int64).reshape(-1, 2)


def _read_batches(
    batches: Iterable[Iterable[tuple[str, str]]], failures: list[Exception]
) -> Iterator[list[tuple[str, str]]]:
    """Yield batches, up to one that cannot be read: those before it are to be added first."""
    try:
        for documents in batches:
            yield list(documents)
    except Exception as error:
        failures.append(error)


def _check_adding(if_exists: IfExists, now: object) -> None:
    if if_exists not in get_args(IfExists):
        raise OptionsError("if_exists", if_exists, "one of " + ", ".join(get_args(IfExists)))
    _check_now(now)


def _check_ttl(ttl: object) -> None:
    if ttl is not None and not (_is_number(ttl) and 0 < ttl <= MOST_TTL):
        raise OptionsError("ttl", ttl, f"a number of seconds, over 0 and at most {MOST_TTL}")


def _check_now(now: object) -> None:
    if now is not None and not (_is_number(now) and 0 <= now <= _LAST_SECOND):
        raise OptionsError("now", now, f"seconds since 1970, from 0 to {_LAST_SECOND}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _find_now(facts: Facts, now: float | None) -> int:
    """Return a time in milliseconds, not before that of the last call."""
    return max(facts.now, round(1000 * (time.time() if now is None else now)))


def _find_end(facts: Facts) -> int:
    """Return the time up to which what was last seen is forgotten."""
    assert facts.ttl is not None
    return facts.now - round(1000 * facts.ttl)


def _check_options(options: Options) -> None:
    """Refuse options that an index cannot keep to."""
    if options.keep != "first":
        raise OptionsError("keep", options.keep, "first: what was acknowledged stays")
    if options.scope != "corpus":
        raise OptionsError("scope", options.scope, "corpus: an index is about all documents")


def _facts(options: Options, ttl: float | None) -> Facts:
    unicode = folding_table().unicode_version
    return Facts(options.to_mapping(), unicode, f"{SCHEME}, seed {SEED}", uuid4().hex, ttl)


def _find_replica(address: Address) -> Path:
    """Return the folder of a replica that was not given one."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise InputError(address.name, "needs &replica=FOLDER: there is no home folder") from None
    number = xxhash.xxh3_64_hexdigest(address.name.encode())
    return Path(cache) / "dedup" / f"{address.collection}-{number}"


def _read_options(
    path: str | Path, journal: Journal, options: Options | None, ttl: float | None
) -> Options:
    """Return what an index was made with; refuse one that this version would read otherwise."""
    with journal.read():
        facts = journal.facts
    stored = Options.from_mapping(facts.options)
    _check_options(stored)
    own = _facts(stored, None)
    for name, was, here in (
        ("unicode", facts.unicode, own.unicode),
        ("signatures", facts.signatures, own.signatures),
    ):
        if was != here:
            raise InputError(str(path), f"was made with {name} {was}; here it is {here}")
    if options is not None:
        for name, value in options.to_mapping().items():
            if value != facts.options[name]:
                raise OptionsError(name, value, f"{facts.options[name]!r}, as {path} has it")
    if ttl is not None and ttl != facts.ttl:
        kept = "none" if facts.ttl is None else f"{facts.ttl:g}"
        raise OptionsError("ttl", ttl, f"{kept}, as {path} has it")
    return stored
