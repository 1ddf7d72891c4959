"""A client of the service, waiting or not: the library's own types in and out.

Each call is written once, as a generator that yields what is asked and is sent what was
answered; a client that waits and one that does not drive the same. Who is told to come
again later does.
"""

import asyncio
import random
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast
from urllib.parse import quote

import orjson

from dedup.errors import DedupError, InputError, OutputError
from dedup.files import write_parts
from dedup.options import Options
from dedup.results import Duplicate, Result, Span

try:
    import httpx
except ImportError:
    reason = "needs the extra 'client': pip install 'dedup[client]'"
    raise InputError("service.client", reason) from None

IfExists = Literal["error", "skip", "replace"]
Document = tuple[str, str]

_Answer = TypeVar("_Answer")

# Rows of one request: so that it is answered in a second or two, and held by nobody.
_ROWS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 4 << 20

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0
_COME_AGAIN: Final = (408, 429, 502, 503, 504)
_LOOK_SECONDS: Final = 0.5
_ENDED: Final = ("done", "failed", "cancelled")
_PARTS_BYTES: Final = 1 << 20


class ServiceError(OutputError):
    """The service refused a request, or what answered is no such service.

    Attributes
    ----------
    status
        As of HTTP; 0 where there was no answer.
    detail
        What it said.
    errors
        What is wrong with the request: `field` and `reason` of each.
    """

    def __init__(self, status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__("the service", f"it answers {status}: {detail}" if status else detail)
        self.status, self.detail, self.errors = status, detail, errors


@dataclass(frozen=True)
class Refusal:
    """A document of many that was not taken.

    Attributes
    ----------
    document
        Its id.
    status
        As of HTTP: 409 for an id that is there with another text.
    errors
        What is wrong: `field` and `reason` of each.
    """

    document: str
    status: int
    errors: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Job:
    """How far a job is.

    Attributes
    ----------
    id, state
        Its name, and ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
    stage, done, total, unit
        What is being done, and how much of it.
    reason
        Why it failed.
    summary
        Figures of one that is done.
    values
        All that the service says of it.
    """

    id: str
    state: str
    stage: str | None
    done: int | None
    total: int | None
    unit: str | None
    reason: str | None
    summary: Mapping[str, Any] | None
    values: Mapping[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in _ENDED


@dataclass(frozen=True)
class _Ask:
    """A request.

    Attributes
    ----------
    is_safe
        Whether it may be sent once more when nobody knows whether it was answered.
    """

    method: str
    path: str
    content: bytes | None = None
    kind: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)
    is_safe: bool = True


@dataclass(frozen=True)
class _Done(Generic[_Answer]):
    """What a call came to."""

    value: _Answer


_Call = Generator[_Ask, "httpx.Response", _Answer]


class _Retries:
    """When to come again, of one request.

    Parameters
    ----------
    count
        How often at most.
    seconds
        How long in all.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._left = count
        self._end = time.monotonic() + seconds
        self._wait = _FIRST_WAIT

    def find_wait(self, ask: _Ask, answer: "httpx.Response | httpx.TransportError") -> float | None:
        """Return the seconds to wait, or None when it is not sent again."""
        if isinstance(answer, httpx.Response):
            if answer.status_code not in _COME_AGAIN:
                return None
            # A refusal was never begun; of what a gateway says nobody knows.
            if answer.status_code in (502, 504) and not ask.is_safe:
                return None
            told = _read_wait(answer.headers.get("retry-after"))
        else:
            if not ask.is_safe and not isinstance(answer, httpx.ConnectError | httpx.PoolTimeout):
                return None
            told = None
        # Full jitter: those who were refused together do not come again together.
        wait = random.uniform(0, self._wait) if told is None else told + random.uniform(0, 0.1)
        self._wait = min(2 * self._wait, _LONGEST_WAIT)
        if self._left <= 0 or time.monotonic() + wait > self._end:
            return None
        self._left -= 1
        return wait


def _read_wait(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header: a number, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((then - datetime.now(UTC)).total_seconds(), 0.0)


def _check(answer: "httpx.Response", *statuses: int) -> "httpx.Response":
    """Refuse what is no good answer."""
    if answer.status_code in statuses:
        return answer
    detail, errors = f"{answer.reason_phrase}, which is no answer of this service", []
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        with suppress(ValueError, KeyError, TypeError):
            problem = orjson.loads(answer.content)
            detail, errors = str(problem["detail"]), problem["errors"]
    raise ServiceError(answer.status_code, detail, errors)


def _parse(answer: "httpx.Response", *statuses: int) -> Any:
    """Return the JSON of a good answer."""
    _check(answer, *statuses)
    try:
        return orjson.loads(answer.content)
    except ValueError:
        raise ServiceError(answer.status_code, "what answers is no such service") from None


def _read_result(values: Any, original: str) -> Result:
    try:
        return Result.from_mapping(values, original)
    except (DedupError, TypeError, AttributeError) as error:
        raise ServiceError(200, f"what answers is no such service: {error}") from None


def _advance(call: _Call[_Answer], answer: "httpx.Response | None") -> _Ask | _Done[_Answer]:
    """Hand a call what was answered; return what it asks next, or what it came to."""
    try:
        return next(call) if answer is None else call.send(answer)
    except StopIteration as done:
        return _Done(cast(_Answer, done.value))
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"what answers is no such service: {error!r}"
        raise ServiceError(answer.status_code if answer else 0, reason) from None


def _clean(text: str, options: Options | None, document: str) -> _Call[Result]:
    body = {"text": text, "document": document}
    content = orjson.dumps(body | ({"options": options.to_mapping()} if options else {}))
    return _read_result(_parse((yield _Ask("POST", "/v1/clean", content)), 200), text)


def _list_collections() -> _Call[list[str]]:
    found = _parse((yield _Ask("GET", "/v1/collections")), 200)
    return [one["name"] for one in found["collections"]]


def _make_collection(name: str, options: Options | None, ttl: float | None) -> _Call[bool]:
    body = {"options": options.to_mapping() if options else {}, "ttl": ttl}
    answer = yield _Ask("PUT", f"/v1/collections/{_quote(name)}", orjson.dumps(body))
    return _check(answer, 200, 201).status_code == 201


def _delete(path: str) -> _Call[None]:
    _check((yield _Ask("DELETE", path)), 204)


def _get(method: Literal["GET", "POST"], path: str, status: int = 200) -> _Call[dict[str, Any]]:
    ask = _Ask(method, path, is_safe=method == "GET")
    return cast(dict[str, Any], _parse((yield ask), status))


def _put_rows(
    path: str, documents: Sequence[Document], check: bool, if_exists: IfExists
) -> _Call[list[Result | Refusal]]:
    content = b"".join(orjson.dumps({"id": name, "text": text}) + b"\n" for name, text in documents)
    query = {"check": str(check).lower(), "text": "false", "if_exists": if_exists}
    # The same id with the same text gets the answer that it got: it may be sent again.
    ask = _Ask("POST", path, content, "application/x-ndjson", query)
    answer = _check((yield ask), 200)
    try:
        rows = [orjson.loads(line) for line in answer.content.splitlines()]
    except ValueError:
        raise ServiceError(200, "what answers is no such service") from None
    if len(rows) != len(documents):
        raise ServiceError(200, f"{len(rows)} rows answer {len(documents)} documents")
    return [
        _read_result(row, text)
        if row["status"] == 200
        else Refusal(name, row["status"], row["errors"])
        for row, (name, text) in zip(rows, documents, strict=True)
    ]


def _find_repeats(path: str) -> _Call[tuple[list[Duplicate], list[Duplicate]]]:
    found = _parse((yield _Ask("GET", path)), 200)
    both = [
        [Duplicate(**{**row, "canonical": Span(**row["canonical"])}) for row in found[name]]
        for name in ("repeats", "repeated_by")
    ]
    return both[0], both[1]


def _read_job(values: Mapping[str, Any]) -> Job:
    names = ("id", "state", "stage", "done", "total", "unit", "reason", "summary")
    return Job(**{name: values[name] for name in names}, values=values)


def _show_job(name: str) -> _Call[Job]:
    return _read_job(_parse((yield _Ask("GET", f"/v1/jobs/{_quote(name)}")), 200))


def _split(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Split documents into requests."""
    some: list[Document] = []
    size = 0
    for name, text in documents:
        if some and (len(some) == _ROWS_AT_ONCE or size + len(text) > _BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append((name, text))
        size += len(text)
    if some:
        yield some


def _quote(part: str) -> str:
    return quote(part, safe="")


def _find_kind(path: Path) -> str:
    """Return the media type of an upload by its name."""
    for ending, kind in (
        (".zip", "application/zip"),
        (".tar", "application/x-tar"),
        (".tar.gz", "application/gzip"),
        (".tgz", "application/gzip"),
        (".jsonl", "application/x-ndjson"),
        (".ndjson", "application/x-ndjson"),
    ):
        if path.name.lower().endswith(ending):
            return kind
    raise InputError(str(path), "a job is a .zip, .tar, .tar.gz, .tgz, .jsonl or .ndjson")


def _option_query(options: Options | None) -> dict[str, str]:
    values = options.to_mapping() if options else {}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def _tell(url: str, error: "httpx.HTTPError | httpx.InvalidURL") -> ServiceError:
    """Say why there was no answer."""
    reason = str(error) or type(error).__name__
    return ServiceError(0, f"no answer from {url}: {reason}")


_HttpClient = TypeVar("_HttpClient", bound="httpx.Client | httpx.AsyncClient")


class _Base(Generic[_HttpClient]):
    """What both clients have."""

    def __init__(
        self,
        kind: type[_HttpClient],
        url: str,
        key: str | None,
        timeout: float,
        retries: int,
        transport: Any,
    ) -> None:
        self._url, self._timeout, self._retries = url.rstrip("/"), timeout, retries
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if not url.startswith(("http://", "https://")):
            raise InputError(url, "an address begins with http:// or https://")
        try:
            self._client = kind(
                base_url=self._url, headers=headers, timeout=timeout, transport=transport
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(url, str(error)) from None

    def _begin(self) -> _Retries:
        return _Retries(self._retries, self._timeout * (self._retries + 1))

    def _build(self, ask: _Ask) -> "httpx.Request":
        headers = {} if ask.content is None else {"Content-Type": ask.kind}
        return self._client.build_request(
            ask.method,
            f"{self._url}{ask.path}",
            content=ask.content,
            headers=headers,
            params=dict(ask.query) or None,
        )


class Client(_Base["httpx.Client"]):
    """A client that waits for each answer; as a context manager it closes at the end.

    Parameters
    ----------
    url
        Of the service.
    key
        An API key, where the service wants one.
    timeout
        Seconds without a byte after which an answer is given up.
    retries
        How often a request is sent again that was refused for now or lost.

    Raises
    ------
    ServiceError
        By each call that the service refuses, or that nobody answers.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 8,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        super().__init__(httpx.Client, url, key, timeout, retries, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def clean(self, text: str, options: Options | None = None, *, document: str = "text") -> Result:
        """Do what `dedup.clean` does, there."""
        return self._do(_clean(text, options, document))

    def collections(self) -> list[str]:
        """List the collections that the key may see."""
        return self._do(_list_collections())

    def create_collection(
        self, name: str, options: Options | None = None, *, ttl: float | None = None
    ) -> "Collection":
        """Make a collection, or take one that was made so."""
        self._do(_make_collection(name, options, ttl))
        return self.collection(name)

    def delete_collection(self, name: str) -> None:
        """Delete a collection with all that is in it."""
        self._do(_delete(f"/v1/collections/{_quote(name)}"))

    def collection(self, name: str) -> "Collection":
        """Return a collection that is there."""
        return Collection(self, name)

    def submit(
        self, source: str | Path | bytes, options: Options | None = None, *, kind: str | None = None
    ) -> Job:
        """Upload a corpus to be cleaned: a file, or its bytes and their media type."""
        if isinstance(source, bytes):
            if kind is None:
                raise InputError("kind", "is needed with bytes: their media type")
            return self._submit(lambda: source, kind, options)
        path = Path(source)
        return self._submit(lambda: _read_parts(path), kind or _find_kind(path), options)

    def _submit(
        self, content: Callable[[], bytes | Iterator[bytes]], kind: str, options: Options | None
    ) -> Job:
        retries = self._begin()
        ask = _Ask("POST", "/v1/jobs", None, kind, _option_query(options), is_safe=False)
        while True:
            found: httpx.Response | httpx.TransportError
            try:
                found = self._client.post(
                    f"{self._url}{ask.path}",
                    content=content(),
                    headers={"Content-Type": kind},
                    params=dict(ask.query) or None,
                )
            except httpx.TransportError as error:
                found = error
            wait = retries.find_wait(ask, found)
            if wait is None:
                if isinstance(found, httpx.TransportError):
                    raise _tell(self._url, found) from None
                return _read_job(_parse(found, 202))
            time.sleep(wait)

    def job(self, name: str) -> Job:
        """Say how far a job is."""
        return self._do(_show_job(name))

    def wait(self, name: str, progress: Callable[[Job], None] | None = None) -> Job:
        """Wait until a job has ended; `progress` is told how far it is."""
        while not (job := self.job(name)).has_ended:
            if progress:
                progress(job)
            time.sleep(_LOOK_SECONDS)
        return job

    def download(
        self, name: str, path: str | Path, *, what: Literal["result", "map"] = "result"
    ) -> None:
        """Write the result of a job, or its map, into a file: whole or not at all."""
        url = f"{self._url}/v1/jobs/{_quote(name)}/{what}"
        try:
            with self._client.stream("GET", url) as answer:
                if answer.status_code != 200:
                    answer.read()
                    _check(answer, 200)
                write_parts(str(path), answer.iter_bytes(_PARTS_BYTES))
        except httpx.HTTPError as error:
            raise _tell(self._url, error) from None

    def cancel(self, name: str) -> None:
        """Stop a job, and remove all that there is of it."""
        self._do(_delete(f"/v1/jobs/{_quote(name)}"))

    def _do(self, call: _Call[_Answer]) -> _Answer:
        answer: httpx.Response | None = None
        while True:
            ask = _advance(call, answer)
            if isinstance(ask, _Done):
                return ask.value
            answer = self._send(ask)

    def _send(self, ask: _Ask) -> "httpx.Response":
        retries = self._begin()
        while True:
            found: httpx.Response | httpx.TransportError
            try:
                found = self._client.send(self._build(ask))
            except httpx.TransportError as error:
                found = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _tell(self._url, error) from None
            wait = retries.find_wait(ask, found)
            if wait is None:
                if isinstance(found, httpx.TransportError):
                    raise _tell(self._url, found) from None
                return found
            time.sleep(wait)


class AsyncClient(_Base["httpx.AsyncClient"]):
    """`Client` for an event loop; as an asynchronous context manager it closes at the end."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 8,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        super().__init__(httpx.AsyncClient, url, key, timeout, retries, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See `Client`."""
        await self._client.aclose()

    async def clean(
        self, text: str, options: Options | None = None, *, document: str = "text"
    ) -> Result:
        """See `Client`."""
        return await self._do(_clean(text, options, document))

    async def collections(self) -> list[str]:
        """See `Client`."""
        return await self._do(_list_collections())

    async def create_collection(
        self, name: str, options: Options | None = None, *, ttl: float | None = None
    ) -> "AsyncCollection":
        """See `Client`."""
        await self._do(_make_collection(name, options, ttl))
        return self.collection(name)

    async def delete_collection(self, name: str) -> None:
        """See `Client`."""
        await self._do(_delete(f"/v1/collections/{_quote(name)}"))

    def collection(self, name: str) -> "AsyncCollection":
        """See `Client`."""
        return AsyncCollection(self, name)

    async def submit(self, source: bytes, kind: str, options: Options | None = None) -> Job:
        """Upload a corpus to be cleaned: bytes and their media type."""
        ask = _Ask("POST", "/v1/jobs", source, kind, _option_query(options), is_safe=False)
        return _read_job(_parse(await self._send(ask), 202))

    async def job(self, name: str) -> Job:
        """See `Client`."""
        return await self._do(_show_job(name))

    async def wait(self, name: str, progress: Callable[[Job], None] | None = None) -> Job:
        """See `Client`."""
        while not (job := await self.job(name)).has_ended:
            if progress:
                progress(job)
            await asyncio.sleep(_LOOK_SECONDS)
        return job

    async def download(self, name: str, what: Literal["result", "map"] = "result") -> bytes:
        """Return the result of a job, or its map."""
        ask = _Ask("GET", f"/v1/jobs/{_quote(name)}/{what}")
        return _check(await self._send(ask), 200).content

    async def cancel(self, name: str) -> None:
        """See `Client`."""
        await self._do(_delete(f"/v1/jobs/{_quote(name)}"))

    async def _do(self, call: _Call[_Answer]) -> _Answer:
        answer: httpx.Response | None = None
        while True:
            ask = _advance(call, answer)
            if isinstance(ask, _Done):
                return ask.value
            answer = await self._send(ask)

    async def _send(self, ask: _Ask) -> "httpx.Response":
        retries = self._begin()
        while True:
            found: httpx.Response | httpx.TransportError
            try:
                found = await self._client.send(self._build(ask))
            except httpx.TransportError as error:
                found = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _tell(self._url, error) from None
            wait = retries.find_wait(ask, found)
            if wait is None:
                if isinstance(found, httpx.TransportError):
                    raise _tell(self._url, found) from None
                return found
            await asyncio.sleep(wait)


class Collection:
    """Documents that the service has seen; of `Client.collection`."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self._client, self._path = client, f"/v1/collections/{_quote(name)}"

    def add(
        self, documents: Iterable[Document], *, if_exists: IfExists = "error"
    ) -> Iterator[Result | Refusal]:
        """Say what is new in documents, and remember them; any number of them.

        Nothing is sent before the first answer is asked for.
        """
        for some in _split(documents):
            path = f"{self._path}/documents"
            yield from self._client._do(_put_rows(path, some, False, if_exists))

    def check(self, documents: Iterable[Document]) -> Iterator[Result | Refusal]:
        """Say what `add` would say, and remember nothing."""
        for some in _split(documents):
            path = f"{self._path}/documents"
            yield from self._client._do(_put_rows(path, some, True, "error"))

    def get(self, document: str) -> dict[str, Any]:
        """Return what was said of a document: its cleaned text and map."""
        return self._client._do(_get("GET", f"{self._path}/documents/{_quote(document)}"))

    def duplicates(self, document: str) -> tuple[list[Duplicate], list[Duplicate]]:
        """Return the rows of what a document repeats, and of those that repeat it."""
        path = f"{self._path}/documents/{_quote(document)}/duplicates"
        return self._client._do(_find_repeats(path))

    def remove(self, document: str) -> None:
        """Forget a document."""
        self._client._do(_delete(f"{self._path}/documents/{_quote(document)}"))

    def stats(self) -> dict[str, Any]:
        """Count what is there."""
        return self._client._do(_get("GET", f"{self._path}/stats"))

    def compact(self) -> dict[str, Any]:
        """Give back the space of what was removed."""
        return self._client._do(_get("POST", f"{self._path}/compact"))

    def snapshot(self) -> str:
        """Write a copy beside it; return its name."""
        return str(self._client._do(_get("POST", f"{self._path}/snapshot", 201))["snapshot"])


class AsyncCollection:
    """`Collection` for an event loop; of `AsyncClient.collection`."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self.name = name
        self._client, self._path = client, f"/v1/collections/{_quote(name)}"

    async def add(
        self, documents: Iterable[Document], *, if_exists: IfExists = "error"
    ) -> AsyncIterator[Result | Refusal]:
        """See `Collection`."""
        for some in _split(documents):
            path = f"{self._path}/documents"
            for row in await self._client._do(_put_rows(path, some, False, if_exists)):
                yield row

    async def check(self, documents: Iterable[Document]) -> AsyncIterator[Result | Refusal]:
        """See `Collection`."""
        for some in _split(documents):
            path = f"{self._path}/documents"
            for row in await self._client._do(_put_rows(path, some, True, "error")):
                yield row

    async def get(self, document: str) -> dict[str, Any]:
        """See `Collection`."""
        return await self._client._do(_get("GET", f"{self._path}/documents/{_quote(document)}"))

    async def duplicates(self, document: str) -> tuple[list[Duplicate], list[Duplicate]]:
        """See `Collection`."""
        path = f"{self._path}/documents/{_quote(document)}/duplicates"
        return await self._client._do(_find_repeats(path))

    async def remove(self, document: str) -> None:
        """See `Collection`."""
        await self._client._do(_delete(f"{self._path}/documents/{_quote(document)}"))

    async def stats(self) -> dict[str, Any]:
        """See `Collection`."""
        return await self._client._do(_get("GET", f"{self._path}/stats"))

    async def compact(self) -> dict[str, Any]:
        """See `Collection`."""
        return await self._client._do(_get("POST", f"{self._path}/compact"))

    async def snapshot(self) -> str:
        """See `Collection`."""
        found = await self._client._do(_get("POST", f"{self._path}/snapshot", 201))
        return str(found["snapshot"])


def _read_parts(path: Path) -> Iterator[bytes]:
    """Read a file in parts."""
    try:
        with path.open("rb") as file:
            while part := file.read(_PARTS_BYTES):
                yield part
    except OSError as error:
        raise InputError(str(path), (error.strerror or str(error)).lower()) from None
