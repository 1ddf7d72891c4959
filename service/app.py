"""The application: what answers at which path, and the threads that do the work.

The event loop reads and writes; a pool of its own parses, cleans and
serialises, so that a health check is answered during any load. Nothing is
remembered between requests.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import StreamingResponse

import dedup
from dedup.kernels import compilation_notice
from dedup.options import Options
from dedup.pipeline import clean
from dedup.results import Duplicate, Result
from service import schemas
from service.problems import HANDLERS
from service.requests import (
    JSON,
    PLAIN,
    BodyForm,
    choose_answer_type,
    parse_cleaning,
    read_body,
    read_body_form,
)
from service.settings import Settings

_log = logging.getLogger("uvicorn.error")

_Answer = TypeVar("_Answer")
_Row = TypeVar("_Row")

# Rows that are serialised in one call, which no other thread can interrupt:
# 4,096 take about 2 ms, a million 0.6 s.
_ROWS_A_PIECE = 4096

# Scripts with spaces and without, copies of every kind, and a near copy twice: whatever
# the library does with a text it does with this one.
_FERRY = "The ferry leaves at noon from the old pier, and nobody knew it"
_KEEPER = "The keeper wrote down every ship that passed the island in forty years of service"
_WARM_UP_TEXT = (
    f"{_FERRY} then. {_FERRY} before. {_FERRY} before. {_FERRY} then! {_FERRY}, then.\n\n"
    "Паром уходит в полдень от старого причала. 渡轮中午从旧码头出发。渡轮中午从旧码头出发了。"
    f"\n\n{_KEEPER}, and no one but a child ever read a line of it. {_KEEPER}."
)


class Workers:
    """Threads that clean, some of them kept free of large texts.

    Parameters
    ----------
    threads
        Texts at a time. At least two are started, so that a large one never
        holds all of them.
    large_body_bytes
        Size over which a body is large.
    """

    def __init__(self, threads: int, large_body_bytes: int) -> None:
        threads = max(2, threads)
        self._pool = ThreadPoolExecutor(threads, "clean")
        self._large_body_bytes = large_body_bytes
        self._room_for_large = asyncio.Semaphore(threads - 1)

    async def run(self, size_bytes: int, work: Callable[..., _Answer], *given: Any) -> _Answer:
        """Do work on a body of this size in a thread, and return what it returns."""
        loop = asyncio.get_running_loop()
        if size_bytes <= self._large_body_bytes:
            return await loop.run_in_executor(self._pool, work, *given)
        async with self._room_for_large:
            return await loop.run_in_executor(self._pool, work, *given)

    def stop(self) -> None:
        """Wait for what is being done and end the threads."""
        self._pool.shutdown()


def warm_up() -> None:
    """Compile every kernel, or load it from the disk, so that no request waits for that."""

    def notify() -> None:
        _log.info("Compiling kernels; this takes about half a minute, once.")

    with compilation_notice(notify):
        for unit in ("sentence", "paragraph", "document"):
            clean(_WARM_UP_TEXT, Options.from_mapping({"unit": unit, "min_chars": 1}))


def clean_body(
    body: bytearray, form: BodyForm, query: bytes, answer_type: str
) -> tuple[bytes, ...]:
    """Parse a request, clean its text and write the answer, in pieces."""
    text, options, document = parse_cleaning(body, form, query)
    body.clear()
    result = clean(text, options, document=document)
    if answer_type == PLAIN:
        return (result.text.encode(),)
    if len(result.duplicates) + len(result.kept) <= _ROWS_A_PIECE:
        return (result.to_json(),)
    return tuple(write_pieces(result))


def write_pieces(result: Result) -> Iterator[bytes]:
    """Write what `Result.to_json` writes, a few thousand rows at a time."""
    yield b'{"document":' + orjson.dumps(result.document) + b',"text":'
    yield orjson.dumps(result.text)
    yield b',"duplicates":['
    yield from _write_rows(result.duplicates, Duplicate.to_mapping)
    yield b'],"kept":['
    yield from _write_rows(result.kept, list)
    yield b'],"stats":' + orjson.dumps(result.stats.to_mapping()) + b"}"


def _write_rows(rows: Sequence[_Row], convert: Callable[[_Row], object]) -> Iterator[bytes]:
    for start in range(0, len(rows), _ROWS_A_PIECE):
        written = orjson.dumps([convert(row) for row in rows[start : start + _ROWS_A_PIECE]])
        yield (b"," if start else b"") + written[1:-1]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    settings
        Limits and threads; the defaults unless given.
    """
    limits = settings or Settings()

    @asynccontextmanager
    async def run_workers(app: FastAPI) -> AsyncIterator[dict[str, Workers]]:
        workers = Workers(limits.threads, limits.large_body_bytes)
        try:
            await workers.run(0, warm_up)
            yield {"workers": workers}
        finally:
            workers.stop()

    app = FastAPI(
        title="dedup",
        version=dedup.__version__,
        description="Finds and removes repeated text, with an exact map of what went.",
        lifespan=run_workers,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )

    async def clean_text(request: Request) -> Response:
        """Take the repeated passages out of a text and say where they stood."""
        answer_type = choose_answer_type(",".join(request.headers.getlist("accept")))
        form = read_body_form(request)
        body = await read_body(request, limits.body_limit_bytes)
        query: bytes = request.scope["query_string"]
        workers: Workers = request.state.workers
        pieces = await workers.run(len(body), clean_body, body, form, query, answer_type)
        media_type = f"{PLAIN}; charset=utf-8" if answer_type == PLAIN else JSON
        if len(pieces) == 1:
            return Response(pieces[0], media_type=media_type)

        async def send_pieces() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        length = str(sum(map(len, pieces)))
        return StreamingResponse(
            send_pieces(), headers={"Content-Length": length}, media_type=media_type
        )

    async def report_life(request: Request) -> Response:
        """Answer while the process lives, whatever it is doing."""
        return Response(b'{"status":"ok"}', media_type=JSON)

    app.add_api_route(
        "/v1/clean",
        clean_text,
        methods=["POST"],
        operation_id="clean",
        response_class=Response,
        responses=schemas.clean_answers(),
        openapi_extra=schemas.clean_operation(),
    )
    app.add_api_route(
        "/livez",
        report_life,
        methods=["GET"],
        operation_id="livez",
        response_class=Response,
        responses=schemas.life_answers(),
    )

    def describe() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema["components"] = {"schemas": schemas.component_schemas()}
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
    return app


def serve(host: str = "127.0.0.1", port: int = 8000, settings: Settings | None = None) -> None:
    """Serve until told to stop; requests in flight are answered first.

    Parameters
    ----------
    port
        0 takes a free one; the log names it.
    """
    import uvicorn

    # The rows of a large map are a million objects without a cycle among them, and a full
    # collection holds every thread: beside a text of 31 MB with a million duplicates the
    # p99 of small ones was 0.36 s with Python's own thresholds, 0.07 s with these.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    settings = settings or Settings()
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        lifespan="on",
        access_log=settings.access_log,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
