"""Requests to the service, many at a time, from a process of their own.

``python -m benchmarks.traffic`` takes a job as JSON on standard input, and gives what was
measured as JSON. The client does little more than write and read, so that it leaves the
processor to the server: it takes no other answers than those of this service, and cookies,
redirects and the like it does not know.
"""

import asyncio
import json
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import orjson

from dedup.index.index import Index

JSON, LINES = "application/json", "application/x-ndjson"

# Between two health checks, seconds.
_HEALTH_SECONDS = 0.02

# What a round of a long load puts in as lines; so many documents stay in all.
_LINES_TOGETHER, MOST_KEPT = 20, 2000

# Files that are open at most, of which a connection is one.
_FILES = 4096

# Seconds that one answer is waited for.
_MOST_SECONDS = 60.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)

# The end of a body in chunks; JSON itself has no carriage return.
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    def rows(self) -> list[Any]:
        """Return the lines of an answer of JSON Lines."""
        return [orjson.loads(line) for line in self.body.splitlines()]


class Connection(asyncio.Protocol):
    """A connection that is kept alive; one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None
        # Where the body begins and, of one that is not in chunks, ends.
        self._start = self._stop = 0

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a server of this machine."""
        loop = asyncio.get_running_loop()
        _, one = await loop.create_connection(cls, "127.0.0.1", port)
        return one

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer.

        Raises
        ------
        ConnectionError
            When the server ends the connection before.
        """
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._transport.write(request)
        # One timer is a third of what a request costs here; `asyncio.timeout` is more.
        timer = loop.call_later(_MOST_SECONDS, self._transport.abort)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio calls this."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is waited for; asyncio calls this."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Take what came; asyncio calls this."""
        self._received += data
        if not self._start and not self._read_head():
            return
        if self._stop:
            if len(self._received) < self._stop:
                return
            body = bytes(self._received[self._start :])
        else:
            # Before the last chunk of an empty body is the line break of the head.
            if not self._received.endswith(_LAST_CHUNK, self._start - 2):
                return
            body = _join_chunks(bytes(self._received[self._start :]))
        answer = Answer(int(self._received[9:12]), body)
        self._received.clear()
        self._start = self._stop = 0
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[: end + 2])
        self._start = end + 4
        if found := _LENGTH.search(head):
            self._stop = self._start + int(found[1])
        elif not _CHUNKED.search(head):
            # Of 204 and the like.
            self._stop = self._start
        return True


def _join_chunks(body: bytes) -> bytes:
    parts = []
    at = 0
    while size := int(body[at : (end := body.index(b"\r\n", at))], 16):
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(parts)


def write_request(method: str, path: str, body: bytes = b"", media_type: str = JSON) -> bytes:
    """Write a request of HTTP/1.1."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if body:
        head += f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def write_lines(path: str, documents: Iterable[tuple[str, str]]) -> bytes:
    """Write a request that puts documents in, a line for each."""
    rows = [orjson.dumps({"id": name, "text": text}) for name, text in documents]
    return write_request("POST", path, b"\n".join(rows), LINES)


def widen_limits(files: tuple[int, int]) -> tuple[int, int]:
    """Return limits of open files with room for all connections, as far as they may go."""
    soft, hard = files
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    return max(soft, most), hard


def ask_once(port: int, request: bytes) -> Answer:
    """Ask over a connection of its own."""

    async def ask() -> Answer:
        async with _open_all(port, 1) as (connection,):
            return await connection.ask(request)

    return asyncio.run(ask())


class Documents:
    """Documents without end: texts over and over, each time with other words at their ends."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of JSON Lines, a text in each."""
        with path.open("rb") as lines:
            return cls([orjson.loads(line) for line in lines])

    def __getitem__(self, number: int) -> tuple[str, str]:
        """Return id and text of a document."""
        turn, place = divmod(number, len(self._texts))
        # The very same text would be known by its checksum, which is less work.
        more = f"\n\nThis is what was told for the {turn}th time, by number {number}."
        return f"{number}", self._texts[place] + (more if turn else "")


@asynccontextmanager
async def _open_all(port: int, connections: int) -> AsyncIterator[list[Connection]]:
    opened = [await Connection.open(port) for _ in range(connections)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


async def _send_all(
    port: int,
    make: Callable[[int], bytes],
    connections: int,
    seconds: float,
    rate: float | None = None,
    pause: float = 0.0,
) -> tuple[dict[str, Any], list[int]]:
    """Send requests over several connections, each of them when the one before is answered.

    Parameters
    ----------
    make
        Returns the request with a number.
    rate
        How many are begun a second at most, as far as the connections allow.
    pause
        Seconds between an answer and what is sent over the same connection next.

    Returns
    -------
    dict, list
        What was measured, and the numbers of those that were answered 200.
    """
    times: list[float] = []
    statuses: Counter[str] = Counter()
    taken: list[int] = []
    numbers = count()
    async with _open_all(port, connections) as opened:
        own = time.process_time()
        start = time.perf_counter()
        end = start + seconds

        async def send(connection: Connection) -> None:
            while (now := time.perf_counter()) < end:
                number = next(numbers)
                if rate is not None:
                    due = start + number / rate
                    if due >= end:
                        return
                    if due > now:
                        await asyncio.sleep(due - now)
                request = make(number)
                begun = time.perf_counter()
                answer = await connection.ask(request)
                times.append(time.perf_counter() - begun)
                statuses[str(answer.status)] += 1
                if answer.status == 200:
                    taken.append(number)
                if pause:
                    await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as group:
            for connection in opened:
                group.create_task(send(connection))
        passed = time.perf_counter() - start
        own = time.process_time() - own
    found = {
        "connections": connections,
        "seconds": passed,
        "asked_s": len(times) / passed,
        "answered_s": len(taken) / passed,
        "statuses": dict(sorted(statuses.items())),
        "p50_ms": 1e3 * float(np.median(times)),
        "p99_ms": 1e3 * float(np.percentile(times, 99)),
        "longest_ms": 1e3 * max(times),
        "own_cores": own / passed,
    }
    return found, taken


async def _send_article(job: Mapping[str, Any]) -> dict[str, Any]:
    """Have a text cleaned, over and over."""
    text = Path(job["text"]).read_text("utf-8")
    request = write_request("POST", "/v1/clean", orjson.dumps({"text": text}))
    found, _ = await _send_all(job["port"], lambda _: request, job["connections"], job["seconds"])
    return found


async def _send_posts(job: Mapping[str, Any]) -> dict[str, Any]:
    """Put documents in, each by a request of its own; say which were taken."""
    documents = Documents.read(Path(job["documents"]))
    path = f"/v1/collections/{job['collection']}/documents"

    def make(number: int) -> bytes:
        name, text = documents[number]
        return write_request("POST", path, orjson.dumps({"id": name, "text": text}))

    told = (job["connections"], job["seconds"], job.get("rate"))
    found, taken = await _send_all(job["port"], make, *told)
    return found | {"taken": taken}


async def _check_health(job: Mapping[str, Any]) -> dict[str, Any]:
    """Ask whether the server lives, all the time."""
    request = write_request("GET", "/livez")
    found, _ = await _send_all(
        job["port"], lambda _: request, 1, job["seconds"], pause=_HEALTH_SECONDS
    )
    return found


async def _put_batches(job: Mapping[str, Any]) -> dict[str, Any]:
    """Put batches in by the service and directly, by turns; both have to say the same."""
    documents = Documents.read(Path(job["documents"]))
    path = f"/v1/collections/{job['collection']}/documents"
    size = 0
    seconds: dict[str, list[float]] = {"service": [], "direct": []}
    async with _open_all(job["port"], 1) as (connection,):
        with Index.open(job["folder"]) as index:
            for turn in range(job["batches"] + 1):
                first = turn * job["size"]
                some = [documents[number] for number in range(first, first + job["size"])]
                request = write_lines(path, some)
                start = time.perf_counter()
                answer = await connection.ask(request)
                middle = time.perf_counter()
                results = index.add(some)
                end = time.perf_counter()
                expected = [{"status": 200, **one.to_mapping()} for one in results]
                if answer.status != 200 or answer.rows() != expected:
                    raise RuntimeError("the service answers otherwise than the library")
                # The first batch of each makes ready.
                if turn:
                    seconds["service"].append(middle - start)
                    seconds["direct"].append(end - middle)
                    size += sum(len(text.encode()) for _, text in some)
    ratios = np.array(seconds["service"]) / np.array(seconds["direct"])
    return {
        "documents": job["batches"] * job["size"],
        "mb": size / 1e6,
        "mb_s": size / 1e6 / sum(seconds["service"]),
        "direct_mb_s": size / 1e6 / sum(seconds["direct"]),
        "times": sum(seconds["service"]) / sum(seconds["direct"]),
        "batch_ms": 1e3 * float(np.median(seconds["service"])),
        "median_times": float(np.median(ratios)),
    }


async def _send_everything(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do all that a client does, over and over; documents go again, so that none pile up.

    The connections end at the same time. A round: a document by itself, some as lines,
    both looked at, the text cleaned, what is none refused, the figures, and the
    documents of a round long ago removed.
    """
    documents = Documents.read(Path(job["documents"]))
    path = f"/v1/collections/{job['collection']}"
    statuses: Counter[str] = Counter()
    rounds = count()
    kept = MOST_KEPT // (_LINES_TOGETHER + 1)
    end = time.perf_counter() + job["seconds"]
    async with _open_all(job["port"], job["connections"]) as opened:

        async def send(connection: Connection) -> None:
            async def ask(method: str, place: str, body: bytes = b"") -> None:
                answer = await connection.ask(write_request(method, place, body))
                statuses[str(answer.status)] += 1

            while time.perf_counter() < end:
                number = next(rounds)
                first = number * (_LINES_TOGETHER + 1)
                (name, text), *some = (
                    documents[one] for one in range(first, first + _LINES_TOGETHER + 1)
                )
                body = orjson.dumps({"id": name, "text": text})
                await ask("POST", f"{path}/documents?check=true", body)
                await ask("POST", f"{path}/documents", body)
                answer = await connection.ask(write_lines(f"{path}/documents?text=false", some))
                statuses.update(str(row["status"]) for row in answer.rows())
                await ask("GET", f"{path}/documents/{name}")
                await ask("GET", f"{path}/documents/{name}/duplicates")
                await ask("POST", "/v1/clean", orjson.dumps({"text": text}))
                await ask("POST", f"{path}/documents", b'{"id": 7}')
                await ask("GET", "/metrics")
                if number >= kept:
                    for old in range(first - kept * (_LINES_TOGETHER + 1), first)[
                        : _LINES_TOGETHER + 1
                    ]:
                        await ask("DELETE", f"{path}/documents/{old}")

        async with asyncio.TaskGroup() as group:
            for connection in opened:
                group.create_task(send(connection))
    return {"statuses": dict(sorted(statuses.items())), "rounds": next(rounds)}


_TASKS = {
    "article": _send_article,
    "posts": _send_posts,
    "health": _check_health,
    "batches": _put_batches,
    "everything": _send_everything,
}

if __name__ == "__main__":
    files = widen_limits(resource.getrlimit(resource.RLIMIT_NOFILE))
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    told = json.load(sys.stdin)
    print(json.dumps(asyncio.run(_TASKS[told["task"]](told))))
