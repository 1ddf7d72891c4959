"""Threads that work on texts, and the bounded queue before them.

The event loop reads and writes; what takes long is done here, so that a health check is
answered during any load. Who finds the queue full is told when to come again.
"""

import asyncio
import ctypes
import gc
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from dedup.index.index import Index
from dedup.kernels import compilation_notice
from dedup.options import Options
from dedup.pipeline import clean
from service.problems import Fault, ProblemError
from service.settings import Settings

_log = logging.getLogger("dedup.service")

_Answer = TypeVar("_Answer")

# Who is refused waits so long at least, and at most: seconds.
_LEAST_WAIT, _MOST_WAIT = 1, 60

# So small a body is worked on between two looks at the network, one at a time: it takes 1 to
# 3 ms. In a thread each of its sixty kernels waits for the event loop's turn to end: the
# sample article is answered 690 to 750 times a second so, 480 to 510 in one thread, 300 to
# 430 in two (16 connections).
_SMALL_BYTES = 8192

# Arrays of a text come and go in several threads, and the C library keeps what they leave:
# under requests of every kind memory came to 700 MB in five minutes, and stays between 260
# and 310 so. Giving it back takes 2 to 6 ms. Fewer arenas or a fixed threshold for maps
# alone changed nothing.
_GIVE_BACK_SECONDS = 15.0

# How much the last of the times that were measured counts.
_LAST_COUNTS = 0.05

# Scripts with spaces and without, copies of every kind, and a near copy twice: whatever
# the library does with a text it does with this one.
_FERRY = "The ferry leaves at noon from the old pier, and nobody knew it"
_KEEPER = "The keeper wrote down every ship that passed the island in forty years of service"
_WARM_UP_TEXT = (
    f"{_FERRY} then. {_FERRY} before. {_FERRY} before. {_FERRY} then! {_FERRY}, then.\n\n"
    "Паром уходит в полдень от старого причала. 渡轮中午从旧码头出发。渡轮中午从旧码头出发了。"
    f"\n\n{_KEEPER}, and no one but a child ever read a line of it. {_KEEPER}."
)


class Queue:
    """What waits, and no more of it than there is room for.

    Parameters
    ----------
    limit
        How many may wait.
    servers
        How many are served at the same time.
    """

    def __init__(self, limit: int, servers: int) -> None:
        self._limit, self._servers = limit, servers
        self._seconds = 0.01
        self.waiting = 0

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Be one of those that wait.

        Raises
        ------
        ProblemError
            429 when there is no room, with the time after which there may be some.
        """
        self.check()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def check(self) -> None:
        """Refuse who comes when there is no room: `ProblemError` 429."""
        if self.waiting >= self._limit:
            raise ProblemError(
                429,
                Fault("queue", f"{self._limit} requests wait already"),
                headers={"Retry-After": str(self.find_wait())},
            )

    def find_wait(self) -> int:
        """Return in how many seconds those that wait now will have been served."""
        seconds = self._seconds * self.waiting / self._servers
        return min(max(math.ceil(seconds), _LEAST_WAIT), _MOST_WAIT)

    @contextmanager
    def measure(self, count: int = 1) -> Iterator[None]:
        """Measure how long it takes to serve some."""
        start = time.perf_counter()
        yield
        seconds = (time.perf_counter() - start) / count
        self._seconds += _LAST_COUNTS * (seconds - self._seconds)


class Workers:
    """Threads that work, some of them kept free of large texts.

    Parameters
    ----------
    settings
        Of them `threads`, texts at a time: at least two are started, so that a large one
        never holds all of them; `large_body_bytes`, `queue_requests`, `request_seconds`.
    """

    def __init__(self, settings: Settings) -> None:
        threads = max(2, settings.threads)
        self.queue = Queue(settings.queue_requests, threads)
        self._pool = ThreadPoolExecutor(threads, "work")
        self._free = asyncio.Semaphore(threads)
        self._large_body_bytes = settings.large_body_bytes
        self._room_for_large = asyncio.Semaphore(threads - 1)
        self._lane = asyncio.Lock()
        self._seconds = settings.request_seconds

    async def run(self, size_bytes: int, work: Callable[..., _Answer], *given: Any) -> _Answer:
        """Do work on a body of this size, and return what it returns.

        Raises
        ------
        ProblemError
            429 when too many wait, or the time is up before there was a thread.
        """
        if size_bytes <= _SMALL_BYTES:
            with self.queue.wait():
                await self._lane.acquire()
            try:
                # Whoever is ready is served before: a health check waits for one of these.
                await asyncio.sleep(0)
                with self.queue.measure():
                    return work(*given)
            finally:
                self._lane.release()
        async with self._taken(size_bytes > self._large_body_bytes):
            with self.queue.measure():
                return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)

    @asynccontextmanager
    async def _taken(self, is_large: bool) -> AsyncIterator[None]:
        """Take a thread."""
        taken: list[asyncio.Semaphore] = []
        try:
            with self.queue.wait():
                try:
                    async with asyncio.timeout(self._seconds):
                        for one in (self._room_for_large, self._free)[not is_large :]:
                            await one.acquire()
                            taken.append(one)
                except TimeoutError:
                    raise ProblemError(
                        429,
                        Fault("queue", f"no thread was free for {self._seconds:g} s"),
                        headers={"Retry-After": str(self.queue.find_wait())},
                    ) from None
            yield
        finally:
            for one in taken:
                one.release()

    def stop(self) -> None:
        """Wait for what is being done and end the threads."""
        self._pool.shutdown()


class Room:
    """Bytes of bodies that are held at the same time.

    Parameters
    ----------
    limit_bytes
        Most of them.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Hold what is taken, until the end of this.

        Yields
        ------
        callable
            Takes so many bytes more; raises `ProblemError` 429 when there is no room.
        """
        held = 0

        def take(more: int) -> None:
            nonlocal held
            if self.held_bytes + more > self._limit_bytes:
                reason = f"bodies of {self.held_bytes} bytes are held already"
                raise ProblemError(429, Fault("body", reason), headers={"Retry-After": "1"})
            self.held_bytes += more
            held += more

        try:
            yield take
        finally:
            self.held_bytes -= held


async def give_memory_back() -> None:
    """Give the system back what nobody uses, again and again, where the C library can."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    while True:
        await asyncio.sleep(_GIVE_BACK_SECONDS)
        await asyncio.to_thread(trim, ctypes.c_size_t(0))


@cache
def warm_up(*, index: bool = False) -> None:
    """Compile every kernel, or load it from the disk, so that no request waits for that.

    Once in a process.

    Parameters
    ----------
    index
        Whether those of an index, too.
    """

    def notify() -> None:
        _log.info("Compiling kernels; this takes about half a minute, once.")

    with compilation_notice(notify):
        for unit in ("sentence", "paragraph", "document"):
            clean(_WARM_UP_TEXT, Options.from_mapping({"unit": unit, "min_chars": 1}))
        if index:
            _warm_up_index()
    # What is there now stays. To look whether any of it is garbage takes 50 to 90 ms, in which no
    # request is answered.
    gc.collect()
    gc.freeze()


def _warm_up_index() -> None:
    """Do with an index what is done with one: in memory, in a segment, forgotten, merged."""
    first, *others = (
        [(f"{turn} {number}", f"{_WARM_UP_TEXT} It is {number}.") for number in range(3)]
        for turn in range(3)
    )
    with TemporaryDirectory(prefix="dedup-") as folder:
        for documents in (first, *others):
            with Index.open(folder) as opened:
                opened.check(documents)
                opened.add(documents)
                opened.add(documents, if_exists="skip")
                opened.compact()
        with Index.open(folder) as opened:
            opened.remove([first[0][0]])
            opened.add(first)
            opened.repeats(first[1][0])
            opened.compact()
            opened.reindex()
