"""Collections: indexes with names, and the commits that many posts share.

A collection is a folder, or a schema of a PostgreSQL database. Those of one process are
opened when they are first asked for.
"""

import asyncio
import logging
import os
import re
import shutil
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Generic, Literal, TypeVar
from weakref import WeakValueDictionary

from dedup.errors import DedupError, InputError, OptionsError, OutputError
from dedup.index.databases import Address, Postgres
from dedup.index.index import Index
from dedup.options import Options
from dedup.results import Duplicate, Result
from service.problems import Fault, ProblemError
from service.settings import Settings
from service.workers import Queue, Workers

_log = logging.getLogger("dedup.service")

IfExists = Literal["error", "skip", "replace"]
Document = tuple[str, str]

_Answer = TypeVar("_Answer")

# Lower case, since some disks know no other; short enough for a schema with its prefix.
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)
_PREFIX: Final = "dedup_"

# What is put in together: 500 documents of 3 KB take 0.36 s, and a single post that comes
# meanwhile waits so long.
_DOCUMENTS_AT_ONCE: Final = 500
_CHARS_AT_ONCE: Final = 4 << 20

# Of what takes minutes, so many wait.
_MOST_MAINTENANCE: Final = 4

# So an index says that it is not there.
_MISSING: Final = "is no index"

# And so that its database cannot be reached.
_AWAY: Final = "the server cannot be reached"


@dataclass(eq=False)
class _Post(Generic[_Answer]):
    """Documents of one request, none of them twice, and what is made of the results."""

    documents: Sequence[Document]
    if_exists: IfExists
    finish: Callable[[list[Result | None]], _Answer]
    answer: "asyncio.Future[_Answer]"
    taken: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Shared:
    """What all collections of a process share."""

    workers: Workers
    queue: Queue
    commits: Executor
    check_disk: Callable[[], None]
    count_results: Callable[[Sequence[Result]], None]


class Collection:
    """An open index; used on the event loop, which it never holds.

    Attributes
    ----------
    users
        Requests that use it; `idle` is set while there is none.
    is_broken
        Whether it is to be closed, and opened anew for who comes next.
    """

    def __init__(self, name: str, index: Index, shared: _Shared) -> None:
        self.name, self.index = name, index
        self.users, self.is_broken = 0, False
        self.idle = asyncio.Event()
        self._shared = shared
        self._posts: deque[_Post[Any]] = deque()
        self._committing: asyncio.Task[None] | None = None

    async def add(
        self,
        documents: Sequence[Document],
        if_exists: IfExists,
        finish: Callable[[list[Result | None]], _Answer],
        *,
        is_queued: bool = True,
    ) -> _Answer:
        """Put documents in, in one commit with those of other posts that wait.

        Parameters
        ----------
        documents
            None of them twice.
        finish
            Makes the answer of the results, in a thread; None stands for a document that
            is there with another text.
        is_queued
            Whether it is one of those of which only so many may wait.

        Raises
        ------
        ProblemError
            429 when too many wait; 503 when nothing can be written now.
        """
        post = _Post(documents, if_exists, finish, asyncio.get_running_loop().create_future())
        if is_queued:
            with self._shared.queue.wait():
                self._put(post)
                await post.taken.wait()
        else:
            self._put(post)
        answer: _Answer = await post.answer
        return answer

    async def check(
        self,
        documents: Sequence[Document],
        finish: Callable[[list[Result | None]], _Answer],
        *,
        is_queued: bool = True,
    ) -> _Answer:
        """Do what `add` does, and remember nothing."""

        def work() -> _Answer:
            results = self.index.check(documents)
            return finish([*results])

        if not is_queued:
            return await self.run(self._shared.commits, work)
        size = sum(len(text) for _, text in documents)
        return await self._shared.workers.run(size, self.do, work)

    def _put(self, post: _Post[Any]) -> None:
        self._posts.append(post)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())

    async def _commit_all(self) -> None:
        try:
            while self._posts:
                await self._commit(self._take_group())
        finally:
            self._committing = None

    def _take_group(self) -> list[_Post[Any]]:
        """Take posts that can be put in together: in their order, no document twice."""
        group: list[_Post[Any]] = []
        names: set[str] = set()
        chars = 0
        while self._posts:
            post = self._posts[0]
            more = {name for name, _ in post.documents}
            size = sum(len(text) for _, text in post.documents)
            if group and (
                (post.if_exists == "replace") != (group[0].if_exists == "replace")
                or len(names) + len(more) > _DOCUMENTS_AT_ONCE
                or chars + size > _CHARS_AT_ONCE
                or not names.isdisjoint(more)
            ):
                break
            group.append(self._posts.popleft())
            post.taken.set()
            names |= more
            chars += size
        return group

    async def _commit(self, group: list[_Post[Any]]) -> None:
        def work() -> list[Any]:
            self._shared.check_disk()
            documents = [document for post in group for document in post.documents]
            # What is there with another text is found by its text: one such document does
            # not cost the others of its commit.
            mode: IfExists = "replace" if group[0].if_exists == "replace" else "skip"
            results = self.index.add(documents, if_exists=mode)
            self._shared.count_results(results)
            answers, first = [], 0
            for post in group:
                some = results[first : first + len(post.documents)]
                first += len(some)
                answers.append(
                    post.finish(
                        [
                            None if post.if_exists == "error" and one.original != text else one
                            for one, (_, text) in zip(some, post.documents, strict=True)
                        ]
                    )
                )
            return answers

        try:
            with self._shared.queue.measure(len(group)):
                answers = await self.run(self._shared.commits, work)
        except Exception as error:
            for post in group:
                if not post.answer.done():
                    post.answer.set_exception(error)
                    # Who asked may have gone.
                    post.answer.exception()
            return
        for post, answer in zip(group, answers, strict=True):
            if not post.answer.done():
                post.answer.set_result(answer)

    async def run(self, pool: Executor, work: Callable[..., _Answer], *given: Any) -> _Answer:
        """Do work on the index in a thread.

        Raises
        ------
        ProblemError
            503 when the index cannot be used now.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self.do, work, *given)
        except ProblemError:
            raise
        except Exception:
            self.is_broken = True
            raise

    def do(self, work: Callable[..., _Answer], *given: Any) -> _Answer:
        """Do work on the index in this thread; raises as `run` does."""
        try:
            return work(*given)
        except (InputError, OutputError) as error:
            self.is_broken = True
            raise _refuse(self.name, error) from error

    async def close(self) -> None:
        """Close it when nobody uses it."""
        if self.users:
            await self.idle.wait()
        if self._committing is not None:
            await self._committing
        try:
            await asyncio.to_thread(self.index.close)
        except DedupError as error:
            _log.error("collection %s: %s", self.name, error)


class Collections:
    """All that there are.

    Parameters
    ----------
    settings
        Of them `index`, `data`, `threads`, `open_collections` and `disk_reserve_bytes`.
    workers
        Who look at documents that are not remembered; with the queue of all.
    count_results
        Told of what is committed, in a thread.

    Raises
    ------
    OutputError
        When the folder cannot be made.
    """

    def __init__(
        self,
        settings: Settings,
        workers: Workers,
        count_results: Callable[[Sequence[Result]], None],
    ) -> None:
        assert settings.index is not None
        self._url = settings.index if Address.is_one(settings.index) else None
        data = settings.data or (None if self._url else Path(settings.index))
        assert data is not None
        self.data = data
        self._folder = Path(settings.index) / "collections" if not self._url else data / "replicas"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(str(self._folder), error.strerror or str(error)) from error
        self._settings = settings
        self._most_open = settings.open_collections
        self._commits = ThreadPoolExecutor(max(2, settings.threads), "commit")
        self._beside = ThreadPoolExecutor(2, "open")
        self._slow = ThreadPoolExecutor(1, "maintain")
        self._slow_queue = Queue(_MOST_MAINTENANCE, 1)
        self._shared = _Shared(
            workers, workers.queue, self._commits, self.check_disk, count_results
        )
        self._open: OrderedDict[str, Collection] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open what there is, as many as stay open; what cannot be opened is logged."""
        names: list[str] = []
        try:
            names = await self.names()
        except ProblemError as error:
            # It may come yet; `check_ready` says that it is not there.
            _log.error("collections: %s", error)
        for name in names[: self._most_open]:
            try:
                async with self.using(name):
                    pass
            except ProblemError as error:
                _log.error("collection %s: %s", name, error)

    async def stop(self) -> None:
        """Close all, after what is being done."""
        for collection in list(self._open.values()):
            self._retire(collection)
        while self._closing:
            await asyncio.wait(self._closing)
        for pool in (self._commits, self._beside, self._slow):
            pool.shutdown()

    def check_disk(self) -> None:
        """Refuse to write when there is less room on the disk than is kept free.

        Raises
        ------
        ProblemError
            503.
        """
        check_disk(self.data, self._settings)

    async def check_ready(self) -> None:
        """Look whether documents can be taken now.

        Raises
        ------
        ProblemError
            503 with all that is in the way.
        """

        def look() -> None:
            if not os.access(self._folder, os.W_OK):
                raise _unavailable("index", "its folder cannot be written")
            self.check_disk()
            self._list()

        await self._run(look)

    async def names(self) -> list[str]:
        """List the collections by name."""
        return await self._run(self._list)

    def sizes(self) -> Mapping[str, Mapping[str, int]]:
        """Return figures of those that are open; not on the event loop."""
        found = {}
        for collection in list(self._open.values()):
            # It may be closed or gone meanwhile.
            with suppress(DedupError):
                stats = collection.index.stats()
                found[collection.name] = {
                    name: value for name, value in stats.items() if isinstance(value, int)
                }
        return found

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[Collection]:
        """Use a collection; it stays open meanwhile.

        Raises
        ------
        ProblemError
            404 when it is not there; 503 when it cannot be opened now.
        """
        collection = self._open.get(name)
        if collection is None or collection.is_broken:
            check_name(name)
            async with self._lock(name):
                collection = self._open.get(name)
                if collection is not None and collection.is_broken:
                    self._retire(collection)
                    collection = None
                if collection is None:
                    collection = await self._open_one(name, None, None, False)
        self._open.move_to_end(name)
        collection.users += 1
        collection.idle.clear()
        try:
            yield collection
        finally:
            collection.users -= 1
            if not collection.users:
                collection.idle.set()
            if collection.is_broken:
                self._retire(collection)

    async def make(self, name: str, options: Options, ttl: float | None) -> bool:
        """Make a collection; return False when it is there, made so.

        Raises
        ------
        ProblemError
            409 when it is there, made otherwise.
        OptionsError
            When an index cannot have such options.
        """
        check_name(name)
        async with self._lock(name):
            if not (collection := self._open.get(name)):
                with suppress(_MissingError):
                    collection = await self._open_one(name, None, None, False)
            if collection is None:
                await self._run(self.check_disk)
                await self._open_one(name, options, ttl, True)
                return True
        async with self.using(name) as collection:
            made = await collection.run(self._beside, collection.index.stats)
        if (collection.index.options, made["ttl"]) != (options, ttl):
            reason = "is there with other options, which are fixed when it is made"
            raise ProblemError(409, Fault("name", reason))
        return False

    async def delete(self, name: str) -> None:
        """Take a collection away, when what is being done in it is done.

        Raises
        ------
        ProblemError
            404 when it is not there.
        """
        check_name(name)
        async with self._lock(name):
            collection = self._open.get(name) or await self._open_one(name, None, None, False)
            # Who comes now waits for the lock.
            del self._open[name]
            try:
                if collection.users:
                    await collection.idle.wait()
                await self._maintain(collection, collection.index.delete)
            finally:
                # Also when it is still there.
                self._close(collection)

    async def compact(self, collection: Collection) -> None:
        """Give back the space of what was removed."""
        await self._maintain(collection, collection.index.compact)

    async def snapshot(self, collection: Collection) -> str:
        """Write a copy of a collection; return the name of its folder."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        target = f"{collection.name}-{now}-{token_hex(4)}"
        await self._run(self.check_disk)
        folder = self.data / "snapshots" / target
        await self._maintain(collection, collection.index.snapshot, folder)
        return target

    async def get(self, collection: Collection, document: str) -> Result:
        """Return what was said of a document; `ProblemError` 404 when it is not there."""
        found = await collection.run(self._commits, collection.index.get, document)
        if found is None:
            raise _no_document()
        return found

    async def repeats(self, collection: Collection, document: str, limit: int) -> list[Duplicate]:
        """Return the rows of others that repeat it; `ProblemError` 404 when it is not there."""
        found = await collection.run(self._commits, collection.index.repeats, document, limit)
        if found is None:
            raise _no_document()
        return found

    async def remove(self, collection: Collection, document: str) -> None:
        """Forget a document; `ProblemError` 404 when it is not there."""

        def work() -> None:
            try:
                collection.index.remove([document])
            except InputError as error:
                if error.source == document:
                    raise _no_document() from None
                raise

        await collection.run(self._commits, work)

    async def stats(self, collection: Collection) -> dict[str, Any]:
        """Count what is there."""
        return await collection.run(self._beside, collection.index.stats)

    async def _maintain(
        self, collection: Collection, work: Callable[..., None], *given: Any
    ) -> None:
        """Do what takes long, one at a time."""
        with self._slow_queue.wait(), self._slow_queue.measure():
            await collection.run(self._slow, work, *given)

    def _list(self) -> list[str]:
        if self._url is None:
            entries = [one for one in os.scandir(self._folder) if NAME.fullmatch(one.name)]
            return sorted(
                one.name for one in entries if (self._folder / one.name / "journal.sqlite").exists()
            )
        database = Postgres(Address(self._url))
        try:
            found = database.list_collections()
        finally:
            database.close()
        names = [one.removeprefix(_PREFIX) for one in found if one.startswith(_PREFIX)]
        return [name for name in names if NAME.fullmatch(name)]

    async def _run(self, work: Callable[[], _Answer]) -> _Answer:
        """Do what is no one collection's in a thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._beside, work)
        except (InputError, OutputError) as error:
            raise _refuse("index", error) from error
        except OSError as error:
            raise _unavailable("index", error.strerror or str(error)) from error

    async def _open_one(
        self, name: str, options: Options | None, ttl: float | None, create: bool
    ) -> Collection:
        """Open a collection, or make it; under its lock."""
        if self._url is None:
            path = str(self._folder / name)
        else:
            path = Address(self._url).of_collection(_PREFIX + name, self._folder / name)

        def work() -> Index:
            try:
                return Index.open(path, options, create=create, ttl=ttl)
            except OptionsError as error:
                if create:
                    raise
                reason = f"was made by another version: {error}"
                raise _unavailable(name, reason) from error
            except InputError as error:
                if error.reason == _MISSING:
                    raise _MissingError(name) from None
                raise

        try:
            index = await asyncio.get_running_loop().run_in_executor(self._beside, work)
        except (InputError, OutputError) as error:
            raise _refuse(name, error) from error
        collection = self._open[name] = Collection(name, index, self._shared)
        for other in list(self._open.values()):
            if len(self._open) <= self._most_open:
                break
            if not other.users and other is not collection:
                self._retire(other)
        return collection

    def _retire(self, collection: Collection) -> None:
        """Close it when nobody uses it; who comes next opens another."""
        if self._open.get(collection.name) is collection:
            del self._open[collection.name]
            self._close(collection)

    def _close(self, collection: Collection) -> None:
        task = asyncio.create_task(collection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _lock(self, name: str) -> asyncio.Lock:
        """Return the lock of a name: it is opened, made or deleted by one at a time."""
        found = self._locks.get(name)
        if found is None:
            found = self._locks[name] = asyncio.Lock()
        return found


class _MissingError(ProblemError):
    """There is no such collection."""

    def __init__(self, name: str) -> None:
        super().__init__(404, Fault("name", f"there is no collection {name}"))


def check_disk(folder: Path, settings: Settings) -> None:
    """Refuse to write where there is less room than is kept free.

    Raises
    ------
    ProblemError
        503.
    """
    free = shutil.disk_usage(folder).free
    if free < settings.disk_reserve_bytes:
        reason = f"{free} bytes are free on it, {settings.disk_reserve_bytes} are kept free"
        raise _unavailable("disk", reason)


def check_name(name: str) -> None:
    """Refuse what no collection is called: 404, since there is none."""
    if not NAME.fullmatch(name):
        reason = "a collection is called with up to 48 small letters, digits and _, a letter first"
        raise ProblemError(404, Fault("name", reason))


def _no_document() -> ProblemError:
    return ProblemError(404, Fault("id", "there is no document with this id"))


def _refuse(place: str, error: InputError | OutputError) -> ProblemError:
    """Say that an index cannot be used; its path is for the log alone."""
    _log.error("%s: %s", place, error)
    reason = error.reason
    if reason.startswith(_AWAY):
        # What is behind it says where the database is.
        reason = "the database cannot be reached"
    return _unavailable(place, reason)


def _unavailable(place: str, reason: str) -> ProblemError:
    return ProblemError(503, Fault(place, reason), headers={"Retry-After": "1"})
