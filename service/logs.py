"""Logs: a line for each thing that an operator should know, never with text or keys."""

import logging
import re
import sys
import time
import uuid
from typing import Final, Literal

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.workers import Queue

_log = logging.getLogger("dedup.service")

_LOGGERS: Final = ("dedup.service", "uvicorn", "uvicorn.error", "uvicorn.access")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.-]{1,128}")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


def set_up_logs(level: str, form: Literal["json", "text"]) -> None:
    """Have our lines and those of the server written to standard error in one form."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(["request_id", "key", "method", "route", "status", "ms"]),
        structlog.processors.TimeStamper("iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.types.Processor
    if form == "json":
        last = structlog.processors.JSONRenderer(lambda value, **_: orjson.dumps(value).decode())
    else:
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())


class Observed:
    """Names, times, counts and logs each request.

    Parameters
    ----------
    app
        What answers.
    metrics
        Where they are counted.
    queue
        Of those that wait.
    access_log
        Whether those that went well are logged too.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, queue: Queue, access_log: bool) -> None:
        self._app, self._metrics, self._queue = app, metrics, queue
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and say so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = _find_request_id(scope)
        status = 500

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_named)
        finally:
            seconds = time.perf_counter() - start
            # A path that is none, and a method that nobody knows, may be anything.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.count_request(method, route, status, seconds, self._queue.waiting)
            if self._access_log or status >= 500:
                level = logging.ERROR if status >= 500 else logging.INFO
                facts = {"method": method, "route": route, "status": status}
                facts |= {"ms": round(1e3 * seconds, 1), "key": scope.get("dedup.key")}
                _log.log(level, "request", extra=facts)
            structlog.contextvars.clear_contextvars()


def _find_request_id(scope: Scope) -> str:
    """Return the id that the sender gave, where it is one; or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
