"""Errors as answers: RFC 9457 problem details, one form for every error.

The one table from the library's errors to statuses stands here. An answer
never holds a traceback or more of the request than it takes to find the fault.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from dedup.documents import FileError
from dedup.errors import (
    DedupError,
    EncodingError,
    InputError,
    MapError,
    OptionsError,
    OutputError,
    TextError,
)

_log = logging.getLogger("dedup.service")

MEDIA_TYPE = "application/problem+json"

# The nearest class counts: a new error has its parent's status until it is given its own.
STATUSES: Mapping[type[DedupError], int] = {
    DedupError: 500,
    OptionsError: 422,
    InputError: 422,
    TextError: 422,
    EncodingError: 400,
    FileError: 422,
    MapError: 422,
    OutputError: 500,
}

# Statuses that need more said than HTTP says of them.
_TYPES = {
    400: ("urn:dedup:problem:malformed-body", "The body cannot be read"),
    422: (
        "urn:dedup:problem:invalid-value",
        "The request holds a value that cannot be used",
    ),
}
# Python 3.13 renamed this one; the answer stays the same everywhere.
_TITLES = {413: "Content Too Large"}

# Who is refused is told so after a moment, and so many a second are: who asks again at once
# takes the time of those who are served. Of 160 connections 64 posts a second were put in
# without this, and 780 with it; of 1,280 that ask ten times as often as can be served 250
# where only each waited, 394 where they are told one after the other.
_REFUSED_SECONDS, _BETWEEN_SECONDS, _MOST_SECONDS = 0.2, 0.004, 10.0

_FAULTS_SHOWN = 20
_CHARS_SHOWN = 80


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request.

    Attributes
    ----------
    field
        Path in the body, ``query.`` and a parameter, a header, or ``body``.
    reason
        What is wrong there, and what would be right.
    """

    field: str
    reason: str


class ProblemError(Exception):
    """A request that cannot be served as it stands.

    Attributes
    ----------
    status
        The HTTP status, 400 or more.
    faults
        What is wrong; never empty.
    headers
        To go with the answer.
    """

    def __init__(
        self, status: int, *faults: Fault, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.reason}" for fault in faults))
        self.status = status
        self.faults = faults
        self.headers = headers


def shorten(value: str) -> str:
    """Cut what a request says to a length that can be shown."""
    return value if len(value) <= _CHARS_SHOWN else value[: _CHARS_SHOWN - 3] + "..."


def find_status(error: DedupError) -> int:
    """Return the status of an error: its own, or that of its nearest ancestor."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def find_fault(error: DedupError) -> Fault:
    """Return where in the request an error of the library lies, and why."""
    if isinstance(error, OptionsError):
        reason = f"got {show_value(error.value)}, expected {error.expected}"
        return Fault(f"options.{shorten(error.option)}", reason)
    if isinstance(error, TextError):
        return Fault("text", error.reason)
    return Fault("body", str(error))


def show_value(value: object) -> str:
    """Show a value of a request as JSON, cut short."""
    return shorten(orjson.dumps(value, default=str).decode())


def write_problem(
    status: int,
    detail: str,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
    instance: str | None = None,
) -> Response:
    """Return the answer that tells of an error."""
    kind, title = _TYPES.get(status, ("about:blank", ""))
    problem: dict[str, Any] = {
        "type": kind,
        "title": title or _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance or _name_instance(),
        "errors": [asdict(fault) for fault in faults],
    }
    return Response(orjson.dumps(problem), status, headers, MEDIA_TYPE)


class _Refusals:
    """Answers 429, of which only so many are given a second."""

    def __init__(self) -> None:
        self._next = 0.0

    async def wait(self) -> None:
        """Wait until the turn of one."""
        now = time.monotonic()
        self._next = max(now, self._next) + _BETWEEN_SECONDS
        await asyncio.sleep(max(_REFUSED_SECONDS, min(self._next - now, _MOST_SECONDS)))


_refusals = _Refusals()


async def answer_problem(request: Request, error: ProblemError) -> Response:
    """Answer a request that cannot be served as it stands."""
    shown = error.faults[:_FAULTS_SHOWN]
    if error.status == 429:
        await _refusals.wait()
    detail = "; ".join(f"{fault.field}: {fault.reason}" for fault in shown)
    if len(error.faults) > len(shown):
        detail += f"; and {len(error.faults) - len(shown)} more"
    return write_problem(error.status, detail, shown, error.headers)


async def answer_dedup_error(request: Request, error: DedupError) -> Response:
    """Answer an error of the library; what is not the request's fault is only logged."""
    status = find_status(error)
    if status >= 500:
        raise error
    return await answer_problem(request, ProblemError(status, find_fault(error)))


async def answer_http_error(request: Request, error: HTTPException) -> Response:
    """Answer what the framework refuses: paths and methods that do not exist."""
    path = shorten(request.url.path)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # The framework names the methods of the first route that has this path.
        headers["Allow"] = ", ".join(_list_methods(request))
    allowed = headers.get("Allow")
    if error.status_code == 404:
        detail = f"there is nothing at {path}; /openapi.json says what there is"
    elif error.status_code == 405 and allowed:
        detail = f"{path} takes {allowed}, not {shorten(request.method)}"
    else:
        detail = str(error.detail)
    return write_problem(error.status_code, detail, headers=headers)


def _list_methods(request: Request) -> list[str]:
    """List the methods of all routes that have the path of a request."""
    found: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


async def answer_disconnect(request: Request, error: Exception) -> Response:
    """End a request whose sender has gone: nobody reads this answer."""
    return write_problem(400, "the connection closed before the body was whole")


async def answer_failure(request: Request, error: Exception) -> Response:
    """Answer an error nobody foresaw; the server logs its traceback."""
    instance = _name_instance()
    _log.error("%s: %s at %s", instance, type(error).__name__, request.url.path)
    detail = "the service failed; its log names the cause under this instance"
    return write_problem(500, detail, instance=instance)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ProblemError: answer_problem,
    DedupError: answer_dedup_error,
    HTTPException: answer_http_error,
    ClientDisconnect: answer_disconnect,
    Exception: answer_failure,
}


def _name_instance() -> str:
    return f"urn:uuid:{uuid.uuid4()}"
