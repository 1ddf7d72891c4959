"""Documents that are put into a collection: rows in, rows out, each with its own status.

A stream of lines is answered while it comes: a line in, a line out, in order. Lines that
came while others were put in are put in together.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
from fastapi import Response
from starlette.types import Receive, Scope, Send

from dedup.results import Result
from service.collections import Collection, Collections, Document, IfExists
from service.problems import Fault, ProblemError
from service.requests import name_type, parse_json
from service.schemas import ID_BYTES, LINES

_log = logging.getLogger("dedup.service")

# Rows that are put in together.
_ROWS_AT_ONCE: Final = 500

# Bytes of lines that wait to be put in, before no more are read; and of answers that wait
# for who asked to read them, before no more are put in.
_MOST_WAITING: Final = 4 << 20
_MOST_UNREAD: Final = 16 << 20


@dataclass(frozen=True)
class Wish:
    """What is to become of documents.

    Attributes
    ----------
    check
        Whether nothing is remembered.
    if_exists
        What becomes of an id that is there with another text.
    text
        Whether the answers have the cleaned text.
    is_queued
        Whether it is among those of which only so many may wait.
    """

    check: bool
    if_exists: IfExists
    text: bool
    is_queued: bool = True


@dataclass(frozen=True)
class Refusal:
    """A document that was not taken.

    Attributes
    ----------
    status
        As of HTTP, 400 or more.
    document
        Its id, where it has one.
    faults
        What is wrong.
    """

    status: int
    document: str | None
    faults: Sequence[Fault]

    def to_json(self, line: int | None = None) -> bytes:
        """Return its row, with the line it stood in."""
        place = {} if line is None else {"line": line}
        faults = [asdict(fault) for fault in self.faults]
        row = {"status": self.status, "document": self.document, **place, "errors": faults}
        return orjson.dumps(row)


# A row that came: what is to be put in, or why it is not.
Row = Document | Refusal


def parse_document(value: object, limit_bytes: int) -> Row:
    """Take a document out of a JSON value; fields beside `id` and `text` are let alone."""
    if not isinstance(value, dict):
        return Refusal(422, None, [Fault("body", f"got {name_type(value)}, expected an object")])
    name, text = value.get("id"), value.get("text")
    faults = []
    status = 422
    if not isinstance(name, str):
        given = f"got {name_type(name)}, expected a string" if "id" in value else "missing"
        faults.append(Fault("id", given))
    elif not 1 <= len(name.encode()) <= ID_BYTES or "\0" in name:
        reason = f"expected 1 to {ID_BYTES} bytes of UTF-8, and no U+0000"
        faults.append(Fault("id", f"got {len(name.encode())} bytes, {reason}"))
        name = None
    if not isinstance(text, str):
        given = f"got {name_type(text)}, expected a string" if "text" in value else "missing"
        faults.append(Fault("text", given))
    elif len(text) * 4 > limit_bytes and len(text.encode()) > limit_bytes:
        status = 413
        faults.append(Fault("text", f"it is over the limit of {limit_bytes} bytes"))
    if faults:
        return Refusal(status, name if isinstance(name, str) else None, faults)
    assert isinstance(name, str)
    assert isinstance(text, str)
    return name, text


def parse_line(line: bytes | None, limit_bytes: int) -> Row:
    """Take a document out of a line; None stands for one that was too long."""
    if line is None:
        return Refusal(413, None, [Fault("line", f"it is over the limit of {limit_bytes} bytes")])
    try:
        return parse_document(parse_json(line, "line"), limit_bytes)
    except ProblemError as error:
        return Refusal(error.status, None, error.faults)


async def put(
    collections: Collections, name: str, rows: Sequence[Row], wish: Wish
) -> AsyncIterator[list[bytes | Refusal]]:
    """Put documents into a collection; yield the answers, in order, some at a time.

    Raises
    ------
    ProblemError
        When the first of them cannot be put in for a reason that is not its own; what
        comes behind others that were put in is answered with a row.
    """
    is_first = True
    for some in _split(rows):
        documents = [row for row in some if not isinstance(row, Refusal)]
        answers: Iterator[bytes | Refusal] = iter(())
        if documents:
            try:
                async with collections.using(name) as collection:
                    answers = iter(await _put_some(collection, documents, wish))
            except ProblemError as error:
                if is_first:
                    raise
                answers = iter([Refusal(error.status, one, error.faults) for one, _ in documents])
            is_first = False
        yield [row if isinstance(row, Refusal) else next(answers) for row in some]


async def _put_some(
    collection: Collection, documents: list[Document], wish: Wish
) -> list[bytes | Refusal]:
    def write(results: list[Result | None]) -> list[bytes | Refusal]:
        return [
            _write_row(result, wish.text)
            if result is not None
            else Refusal(409, document, [Fault("id", "another text has this id")])
            for result, (document, _) in zip(results, documents, strict=True)
        ]

    if wish.check:
        return await collection.check(documents, write, is_queued=wish.is_queued)
    return await collection.add(documents, wish.if_exists, write, is_queued=wish.is_queued)


def _write_row(result: Result, with_text: bool) -> bytes:
    found = result.to_mapping()
    if not with_text:
        del found["text"]
    return orjson.dumps({"status": 200, **found})


def _split(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Split rows so that no part has a document twice, or too many."""
    first, names = 0, set[str]()
    for position, row in enumerate(rows):
        name = None if isinstance(row, Refusal) else row[0]
        if name in names or position - first == _ROWS_AT_ONCE:
            yield rows[first:position]
            first, names = position, set()
        if name is not None:
            names.add(name)
    if first < len(rows):
        yield rows[first:]


class Lines(Response):
    """Answers a stream of documents while it comes.

    Parameters
    ----------
    put_rows
        Puts documents in and yields their answers.
    slot
        Held while it lasts; `ProblemError` 429 when there is none.
    limit_bytes
        Of a line.
    seconds
        Longest that a line, or the reader of an answer, is waited for.
    """

    def __init__(
        self,
        put_rows: Callable[[Sequence[Row]], AsyncIterator[list[bytes | Refusal]]],
        slot: AbstractContextManager[None],
        limit_bytes: int,
        seconds: float,
    ) -> None:
        super().__init__(media_type=LINES)
        del self.headers["content-length"]
        self._put_rows, self._slot = put_rows, slot
        self._limit_bytes, self._seconds = limit_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read and write at the same time."""
        with self._slot:
            await self._exchange(receive, send)

    async def _exchange(self, receive: Receive, send: Send) -> None:
        lines = _LineReader(receive, self._limit_bytes)
        answers = _Sender(send, self._seconds)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(lines.read())
            sending = group.create_task(answers.send())
            try:
                await self._answer(lines, answers)
                await answers.end()
            finally:
                reading.cancel()
                sending.cancel()

    async def _answer(self, lines: "_LineReader", answers: "_Sender") -> None:
        while not answers.done.is_set():
            try:
                async with asyncio.timeout(self._seconds):
                    some = await lines.take(_ROWS_AT_ONCE)
            except TimeoutError:
                reason = f"no line came for {self._seconds:g} s"
                refusal = Refusal(408, None, [Fault("line", reason)])
                await answers.put([refusal.to_json(lines.number + 1)])
                return
            if not some:
                return
            # orjson takes a millisecond for 1.5 MB, less than another thread costs.
            rows = [parse_line(line, self._limit_bytes) for _, line in some]
            numbers = iter([number for number, _ in some])
            try:
                async for written in self._put_rows(rows):
                    await answers.put(
                        [
                            row.to_json(number) if isinstance(row, Refusal) else row
                            for row, number in zip(written, numbers, strict=False)
                        ]
                    )
            except ProblemError as error:
                # Nothing of this part was put in; the next may be.
                left = list(numbers)
                refused = [
                    row if isinstance(row, Refusal) else Refusal(error.status, row[0], error.faults)
                    for row in rows[len(rows) - len(left) :]
                ]
                await answers.put(
                    [one.to_json(number) for one, number in zip(refused, left, strict=True)]
                )


class _LineReader:
    """Lines of a body as it comes, with their numbers from 1; blank ones are left out."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive, self._limit_bytes = receive, limit_bytes
        self._lines: deque[tuple[int, bytes | None]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._is_ended = False
        self.number = 0

    async def read(self) -> None:
        """Read until the body ends; what is behind the last line break is a line too."""
        rest, is_over = bytearray(), False
        more = True
        while more:
            while self._bytes > _MOST_WAITING:
                self._changed.clear()
                await self._changed.wait()
            message = await self._receive()
            if message["type"] == "http.disconnect":
                # What came of the last line is not all of it.
                rest.clear()
                is_over = False
                break
            more = message.get("more_body", False)
            *whole, last = message.get("body", b"").split(b"\n")
            for part in whole:
                rest += part
                self._add(None if is_over or len(rest) > self._limit_bytes else bytes(rest))
                rest, is_over = bytearray(), False
            rest += last
            if len(rest) > self._limit_bytes:
                is_over = True
                rest.clear()
        if rest.strip() or is_over:
            self._add(None if is_over else bytes(rest))
        self._is_ended = True
        self._changed.set()

    def _add(self, line: bytes | None) -> None:
        """Take a line; None stands for one that was too long."""
        self.number += 1
        if line is None or line.strip():
            self._lines.append((self.number, line))
            self._bytes += len(line or b"")
            self._changed.set()

    async def take(self, count: int) -> list[tuple[int, bytes | None]]:
        """Return the lines that are there, at most so many; none at the end."""
        while not self._lines and not self._is_ended:
            self._changed.clear()
            await self._changed.wait()
        some: list[tuple[int, bytes | None]] = []
        size = 0
        while self._lines and len(some) < count and size < _MOST_WAITING:
            some.append(self._lines.popleft())
            size += len(some[-1][1] or b"")
        self._bytes -= size
        self._changed.set()
        return some


class _Sender:
    """Sends answers while others are made, as far as they are read."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self._parts: deque[bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._is_ended = False
        # Set when all was sent, or nobody reads it.
        self.done = asyncio.Event()

    async def put(self, rows: Sequence[bytes]) -> None:
        """Have rows sent; wait while too many are unread."""
        part = b"".join(row + b"\n" for row in rows)
        self._parts.append(part)
        self._bytes += len(part)
        self._changed.set()
        while self._bytes > _MOST_UNREAD and not self.done.is_set():
            self._changed.clear()
            await self._changed.wait()

    async def end(self) -> None:
        """Wait until all is sent."""
        self._is_ended = True
        self._changed.set()
        await self.done.wait()

    async def send(self) -> None:
        """Send what there is until the end; give up when nobody reads it."""
        try:
            while True:
                while self._parts:
                    part = self._parts.popleft()
                    async with asyncio.timeout(self._seconds):
                        await self._send(_body(part, True))
                    self._bytes -= len(part)
                    self._changed.set()
                if self._is_ended:
                    await self._send(_body(b"", False))
                    return
                self._changed.clear()
                await self._changed.wait()
        except TimeoutError:
            _log.warning("nobody read an answer for %g s", self._seconds)
        finally:
            self.done.set()
            self._changed.set()


def _body(part: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": part, "more_body": more}
