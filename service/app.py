"""The application: what answers at which path.

The event loop reads and writes; threads of their own parse, clean, put in and serialise
(`service.workers`, `service.collections`), so that a health check is answered during any
load.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import dedup
from dedup.pipeline import clean
from dedup.results import Duplicate, Result
from service import schemas
from service.collections import Collection, Collections, check_disk
from service.documents import Lines, Refusal, Row, Wish, parse_document, put
from service.jobs import KINDS, Job, Jobs
from service.keys import Key, Keys
from service.logs import Observed
from service.metrics import Metrics
from service.problems import HANDLERS, Fault, ProblemError
from service.requests import (
    PLAIN,
    BodyForm,
    choose_answer_type,
    choose_media_type,
    name_type,
    parse_cleaning,
    parse_collection,
    parse_flags,
    parse_json,
    parse_options,
    read_body,
    read_body_form,
)
from service.schemas import EVENTS, JSON, LINES
from service.settings import Settings
from service.telemetry import set_up_telemetry
from service.workers import Queue, Room, Workers, give_memory_back, warm_up

_Row = TypeVar("_Row")

# Rows that are serialised in one call, which no other thread can interrupt:
# 4,096 take about 2 ms, a million 0.6 s.
_ROWS_A_PIECE = 4096

# Rows of those that repeat a document, unless asked for otherwise.
_MOST_REPEATS = 1000


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


def parse_documents(body: bytearray, settings: Settings) -> tuple[bool, list[Row]]:
    """Parse one document or an array of them; tell which it was."""
    value = parse_json(body, "body")
    body.clear()
    if not isinstance(value, list):
        if not isinstance(value, dict):
            reason = f"got {name_type(value)}, expected an object or an array of them"
            raise ProblemError(422, Fault("body", reason))
        return True, [parse_document(value, settings.document_limit_bytes)]
    if len(value) > settings.batch_limit_documents:
        limit = settings.batch_limit_documents
        reason = f"got {len(value)} documents, at most {limit} go in one array"
        raise ProblemError(413, Fault("body", reason))
    return False, [parse_document(one, settings.document_limit_bytes) for one in value]


class Service:
    """What answers requests; one for each process.

    Parameters
    ----------
    settings
        Limits and places.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.workers = Workers(settings)
        self._room = Room(settings.held_bytes)
        self._streams = Queue(settings.stream_count, settings.stream_count)
        self._keys = Keys(settings.keys) if settings.keys else None
        self.metrics = Metrics(self._size, self._count_jobs)
        count = self.metrics.count_results
        self._kept = Collections(settings, self.workers, count) if settings.index else None
        data = self._kept.data if self._kept else settings.data
        self._jobs = (
            Jobs(data / "jobs", settings, partial(check_disk, data, settings)) if data else None
        )
        self._giving_back: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Compile, and open what there is."""
        await asyncio.to_thread(warm_up, index=self._kept is not None)
        if self._kept:
            await self._kept.start()
        if self._jobs:
            self._jobs.start()
        self._giving_back = asyncio.create_task(give_memory_back())

    async def stop(self) -> None:
        """Close all, after what is being done."""
        if self._giving_back:
            self._giving_back.cancel()
        if self._jobs:
            await self._jobs.stop()
        if self._kept:
            await self._kept.stop()
        self.workers.stop()

    def _size(self) -> Mapping[str, Mapping[str, int]]:
        return self._kept.sizes() if self._kept else {}

    def _count_jobs(self) -> Mapping[str, int]:
        return self._jobs.count() if self._jobs else {}

    def _find_jobs(self) -> Jobs:
        if self._jobs is None:
            reason = "this service does none: it was started without --index and without --data"
            raise ProblemError(404, Fault("jobs", reason))
        return self._jobs

    def _collections(self) -> Collections:
        if self._kept is None:
            reason = "this service keeps none: it was started without --index"
            raise ProblemError(404, Fault("name", reason))
        return self._kept

    def authorise(self, request: Request, collection: str | None, *, writes: bool) -> Key | None:
        """Return the key of a request, or None where there are no keys.

        Raises
        ------
        ProblemError
            401 for no key or an unknown one, 403 for one that may not do this.
        """
        if self._keys is None:
            return None
        key = self._keys.find(request.headers.get("authorization"))
        request.scope["dedup.key"] = key.name
        key.check(collection, writes=writes)
        return key

    async def clean_text(self, request: Request) -> Response:
        """Take the repeated passages out of a text and say where they stood."""
        self.authorise(request, None, writes=False)
        answer_type = choose_answer_type(",".join(request.headers.getlist("accept")))
        form = read_body_form(request)
        self.workers.queue.check()
        with self._room.hold() as take:
            body = await self._read(request, take)
            query: bytes = request.scope["query_string"]
            size = len(body)
            pieces = await self.workers.run(size, clean_body, body, form, query, answer_type)
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

    async def _read(self, request: Request, take: Callable[[int], None]) -> bytearray:
        """Read a body, up to the limit."""
        limits = self.settings
        return await read_body(request, limits.body_limit_bytes, limits.request_seconds, take)

    async def list_collections(self, request: Request) -> Response:
        """List the collections that the key may see."""
        key = self.authorise(request, None, writes=False)
        parse_flags(request.scope["query_string"], {})
        names = await self._collections().names()
        if key and key.collections is not None:
            names = [name for name in names if name in key.collections]
        return _answer({"collections": [{"name": name} for name in names]})

    async def make_collection(self, request: Request) -> Response:
        """Make a collection; its options are fixed from then on."""
        name: str = request.path_params["name"]
        self.authorise(request, name, writes=True)
        parse_flags(request.scope["query_string"], {})
        with self._room.hold() as take:
            body = await self._read(request, take)
            options, ttl = parse_collection(body)
        is_new = await self._collections().make(name, options, ttl)
        async with self._collections().using(name) as collection:
            described = await self._describe(collection)
        headers = {"Location": f"/v1/collections/{name}"} if is_new else None
        return _answer(described, 201 if is_new else 200, headers)

    async def show_collection(self, request: Request) -> Response:
        """Say how a collection was made and how much is in it."""
        async with self._using(request, writes=False) as collection:
            return _answer(await self._describe(collection))

    async def _describe(self, collection: Collection) -> dict[str, Any]:
        stats = await self._collections().stats(collection)
        counts = {name: stats[name] for name in ("documents", "units", "duplicates", "chars")}
        options = collection.index.options.to_mapping()
        return {"name": collection.name, "options": options, "ttl": stats["ttl"], **counts}

    async def delete_collection(self, request: Request) -> Response:
        """Delete a collection with all that is in it."""
        name: str = request.path_params["name"]
        self.authorise(request, name, writes=True)
        parse_flags(request.scope["query_string"], {})
        await self._collections().delete(name)
        return Response(status_code=204)

    async def put_documents(self, request: Request) -> Response:
        """Say what is new in documents, and remember them."""
        name: str = request.path_params["name"]
        flags = parse_flags(
            request.scope["query_string"],
            {"check": False, "text": True, "if_exists": ("error", "skip", "replace")},
        )
        self.authorise(request, name, writes=not flags["check"])
        collections = self._collections()
        form = read_body_form(request, (JSON, LINES))
        async with collections.using(name):
            # It is there; and is used for each part anew, so that a long stream does not
            # keep it from being deleted.
            pass
        if form.media_type == LINES:
            return self._answer_lines(name, Wish(**flags, is_queued=False))
        wish = Wish(**flags)
        self.workers.queue.check()
        with self._room.hold() as take:
            body = await self._read(request, take)
            if len(body) <= self.settings.large_body_bytes:
                is_one, rows = parse_documents(body, self.settings)
            else:
                is_one, rows = await self.workers.run(
                    len(body), parse_documents, body, self.settings
                )
            answers = [
                answer async for some in put(collections, name, rows, wish) for answer in some
            ]
        if is_one:
            if isinstance(answers[0], Refusal):
                raise ProblemError(answers[0].status, *answers[0].faults)
            return Response(answers[0], media_type=JSON)
        written = [one.to_json() if isinstance(one, Refusal) else one for one in answers]
        return Response(b"[" + b",".join(written) + b"]", media_type=JSON)

    def _answer_lines(self, name: str, wish: Wish) -> Response:
        return Lines(
            partial(put, self._collections(), name, wish=wish),
            self._streams.wait(),
            self.settings.document_limit_bytes,
            self.settings.request_seconds,
        )

    async def show_document(self, request: Request) -> Response:
        """Give what was said of a document: its cleaned text and map."""
        answer_type = choose_answer_type(",".join(request.headers.getlist("accept")))
        async with self._using(request, writes=False) as collection:
            document = _read_id(request)
            result = await self._collections().get(collection, document)
        if answer_type == PLAIN:
            return Response(result.text.encode(), media_type=f"{PLAIN}; charset=utf-8")
        return Response(result.to_json(), media_type=JSON)

    async def show_repeats(self, request: Request) -> Response:
        """Say whom a document repeats, and who repeats it."""
        async with self._using(request, writes=False, limit=_MOST_REPEATS) as collection:
            document = _read_id(request)
            limit = parse_flags(request.scope["query_string"], {"limit": _MOST_REPEATS})["limit"]
            result = await self._collections().get(collection, document)
            repeats = await self._collections().repeats(collection, document, limit)
        return _answer(
            {
                "document": document,
                "repeats": [row.to_mapping() for row in result.duplicates],
                "repeated_by": [row.to_mapping() for row in repeats],
            }
        )

    async def remove_document(self, request: Request) -> Response:
        """Forget a document; those that repeated it are judged again."""
        async with self._using(request, writes=True) as collection:
            await self._collections().remove(collection, _read_id(request))
        return Response(status_code=204)

    async def show_stats(self, request: Request) -> Response:
        """Count what is in a collection."""
        async with self._using(request, writes=False) as collection:
            return _answer(await self._collections().stats(collection))

    async def compact(self, request: Request) -> Response:
        """Give back the space of what was removed; answered when it is done."""
        async with self._using(request, writes=True) as collection:
            await self._collections().compact(collection)
            return _answer(await self._collections().stats(collection))

    async def snapshot(self, request: Request) -> Response:
        """Write a copy of a collection beside it; answered when it is there."""
        async with self._using(request, writes=True) as collection:
            return _answer({"snapshot": await self._collections().snapshot(collection)}, 201)

    @asynccontextmanager
    async def _using(
        self, request: Request, *, writes: bool, **flags: Any
    ) -> AsyncIterator[Collection]:
        """Use the collection that a request is about, as its key may."""
        name: str = request.path_params["name"]
        self.authorise(request, name, writes=writes)
        parse_flags(request.scope["query_string"], flags)
        async with self._collections().using(name) as collection:
            yield collection

    async def submit_job(self, request: Request) -> Response:
        """Take a corpus that is to be cleaned; it is done beside the requests."""
        key = self.authorise(request, None, writes=True)
        jobs = self._find_jobs()
        form = read_body_form(request, tuple(KINDS))
        options = parse_options(request.scope["query_string"])
        owner = key.name if key else None
        job = await jobs.receive(KINDS[form.media_type], request.stream(), options, owner)
        headers = {"Location": f"/v1/jobs/{job.id}"}
        return _answer(jobs.describe(job), 202, headers)

    async def list_jobs(self, request: Request) -> Response:
        """List the jobs of the key, the oldest first."""
        owner = self._find_owner(request, writes=False)
        jobs = self._find_jobs()

        def describe() -> bytes:
            return orjson.dumps({"jobs": [jobs.describe(job) for job in jobs.list(owner)]})

        return Response(await asyncio.to_thread(describe), media_type=JSON)

    async def show_job(self, request: Request) -> Response:
        """Say how far a job is; as events until it has ended, where those are accepted."""
        job = self._find_job(request, writes=False)
        jobs = self._find_jobs()
        accepted = ",".join(request.headers.getlist("accept"))
        if choose_media_type(accepted, (JSON, EVENTS)) == EVENTS:
            jobs.check_followers()
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(jobs.follow(job), headers=headers, media_type=EVENTS)
        return _answer(jobs.describe(job))

    async def job_result(self, request: Request) -> Response:
        """Give the cleaned files of a job, packed as they came."""
        job = self._find_job(request, writes=False)
        path, found = self._find_jobs().result(job)
        media_type = next(name for name, kind in KINDS.items() if kind == job.kind)
        name = f"{job.id}.{job.kind}"
        return FileResponse(path, media_type=media_type, filename=name, stat_result=found)

    async def job_map(self, request: Request) -> Response:
        """Give the map of a job, as JSON Lines."""
        job = self._find_job(request, writes=False)
        path, found = self._find_jobs().map(job)
        name = f"{job.id}.map.jsonl"
        return FileResponse(path, media_type=LINES, filename=name, stat_result=found)

    async def cancel_job(self, request: Request) -> Response:
        """Stop a job, and remove all that there is of it."""
        job = self._find_job(request, writes=True)
        await asyncio.to_thread(self._find_jobs().cancel, job)
        return Response(status_code=204)

    def _find_job(self, request: Request, *, writes: bool) -> Job:
        owner = self._find_owner(request, writes=writes)
        return self._find_jobs().find(request.path_params["id"], owner)

    def _find_owner(self, request: Request, *, writes: bool) -> str | None:
        """Return whose jobs a request may see; None for those of all."""
        key = self.authorise(request, None, writes=writes)
        parse_flags(request.scope["query_string"], {})
        return key.name if key and (key.read_only or key.collections is not None) else None

    async def report_life(self, request: Request) -> Response:
        """Answer while the process lives, whatever it is doing."""
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def report_readiness(self, request: Request) -> Response:
        """Say whether documents can be taken: the index is there, and room on the disk."""
        if self._kept:
            await self._kept.check_ready()
        elif self._jobs:
            await asyncio.to_thread(self._jobs.check_disk)
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def report_metrics(self, request: Request) -> Response:
        """Give the metrics for Prometheus; to keys that are for all collections."""
        key = self.authorise(request, None, writes=False)
        if key and key.collections is not None:
            raise ProblemError(403, Fault("Authorization", "this key is not for all collections"))
        # Figures of collections are looked up on the disk.
        written, media_type = await asyncio.to_thread(self.metrics.write)
        return Response(written, media_type=media_type)

    async def show_page(self, request: Request) -> Response:
        """Show the description as a page."""
        assets = "/docs/assets"
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="dedup",
            swagger_js_url=f"{assets}/swagger-ui-bundle.js",
            swagger_css_url=f"{assets}/swagger-ui.css",
            swagger_favicon_url=f"{assets}/favicon.png",
        )


def _read_id(request: Request) -> str:
    """Return the id in a path, as it was before it was encoded."""
    # The path that a framework gives is decoded: a slash of an id is no other there.
    raw: bytes = request.scope["raw_path"].partition(b"?")[0]
    part = raw.split(b"/")[5]
    try:
        return unquote(part.decode("ascii"), errors="strict")
    except UnicodeError:
        reason = "it is not percent-encoded UTF-8"
        raise ProblemError(400, Fault("id", reason)) from None


def _answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, JSON)


class _Route(Route):
    """A route that says which it is: logs and metrics name no path that was made up."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `Route.matches`."""
        found, child = super().matches(scope)
        if found is not Match.NONE:
            child["route"] = self
        return found, child


class _Segments:
    """Lets a slash that is encoded be part of a segment of the path, as it is of an id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if b"%2f" in raw.lower() and scope["type"] == "http":
            parts = raw.partition(b"?")[0].decode("latin-1").split("/")
            # Which segment it is in is all that routing needs to know.
            decoded = (unquote(part, errors="replace").replace("/", "\ufffd") for part in parts)
            scope["path"] = "/".join(decoded)
        await self._app(scope, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    settings
        Limits and places; the defaults unless given.
    """
    service = Service(settings or Settings())
    telemetry, stop_telemetry = set_up_telemetry(service.settings.telemetry)

    @asynccontextmanager
    async def run_service(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
            yield
        finally:
            await service.stop()
            await asyncio.to_thread(stop_telemetry)

    app = FastAPI(
        title="dedup",
        version=dedup.__version__,
        description="Finds and removes repeated text, with an exact map of what went.",
        lifespan=run_service,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        telemetry=telemetry,
    )
    app.add_middleware(_Segments)
    app.add_middleware(
        Observed,
        metrics=service.metrics,
        queue=service.workers.queue,
        access_log=service.settings.access_log,
    )
    app.add_route("/docs", service.show_page, include_in_schema=False)
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_offline", "static")]))
    # Not as routes of the framework, which would look for what handlers depend on: nothing.
    # The sample article is answered 690 times a second so, and 590 times with them.
    for operation in schemas.operations():
        handler = getattr(service, operation.name)
        app.router.routes.append(_Route(operation.path, handler, methods=[operation.method]))

    def describe() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=[],
            )
            app.openapi_schema["components"] = {"schemas": schemas.component_schemas()}
            for operation in schemas.operations():
                path = app.openapi_schema["paths"].setdefault(operation.path, {})
                path[operation.method.lower()] = {
                    "operationId": operation.name,
                    "summary": (getattr(service, operation.name).__doc__ or "").strip(),
                    **operation.extra,
                    "responses": {str(key): one for key, one in operation.responses.items()},
                }
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
    return app
