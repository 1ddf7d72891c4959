"""Jobs: uploaded corpora that are cleaned beside the requests, by processes of their own.

A job is a folder: what was uploaded, what is made of it, and a file that says what the job
is. Of the processes that share the folder of jobs one does them, one job at a time; when it
ends, another goes on where it was.
"""

import asyncio
import fcntl
import logging
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from signal import Signals
from typing import Any, Final, Literal, Self
from uuid import uuid4

import orjson

from dedup.errors import DedupError, InputError, OutputError
from dedup.files import write_whole
from dedup.index.segments import sync_folder
from dedup.options import Options
from service.job_worker import (
    DONE,
    FAILED,
    JOB,
    MAP,
    PROGRESS,
    REFUSED,
    UPLOAD,
    check_upload,
    forget_work,
    name_result,
)
from service.problems import Fault, ProblemError
from service.settings import Settings

_log = logging.getLogger("dedup.service")

State = Literal["queued", "running", "done", "failed", "cancelled"]

KINDS: Final[Mapping[str, str]] = {
    "application/zip": "zip",
    "application/x-tar": "tar",
    "application/gzip": "tar.gz",
    "application/x-ndjson": "jsonl",
}

_ID: Final = re.compile("[0-9a-f]{32}")
_ENDED: Final = ("done", "failed", "cancelled")

# Between two looks: for a job to do, for the lock, and at how far one is.
_LOOK_SECONDS: Final = 0.2

# How often a worker that was killed is started again.
_MOST_TRIES: Final = 2

# How often a job is begun whatever ended it: it may be the end of the service, too.
_MOST_BEGINNINGS: Final = 5

# Between two looks for what nobody will end: uploads of processes that are gone.
_TIDY_SECONDS: Final = 60.0

# Of an upload that has lasted as long as a request may: bytes a second at least. One that
# comes slower would keep its place among the jobs for days.
_LEAST_RATE: Final = 16_384

# A comment in a stream of events, so that nobody takes it for dead.
_HEARTBEAT_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Job:
    """An uploaded corpus that is to be cleaned.

    Attributes
    ----------
    id
        Its name: random.
    kind
        How it was packed.
    bytes
        Of the upload.
    options
        What counts as a duplicate.
    owner
        Name of the key that made it.
    state
        How far it is.
    created, started, finished
        Seconds since 1970.
    reason
        Why it failed.
    tries
        How often it was begun.
    unpacked_bytes, ratio
        What it may unpack to.
    reserve_bytes
        What of the disk stays free.
    """

    id: str
    kind: str
    bytes: int
    options: Mapping[str, Any]
    owner: str | None
    created: float
    unpacked_bytes: int
    ratio: int
    state: State = "queued"
    started: float | None = None
    finished: float | None = None
    reason: str | None = None
    tries: int = 0
    reserve_bytes: int = 0

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from its folder."""
        return cls(**orjson.loads((folder / JOB).read_bytes()))

    def write(self, folder: Path) -> None:
        """Write it into its folder, whole."""
        write_whole(str(folder / JOB), orjson.dumps(asdict(self)))


class Jobs:
    """The jobs of a folder.

    Parameters
    ----------
    folder
        Where they are; it is made.
    settings
        Of them `job_limit_bytes`, `job_unpacked_bytes`, `job_ratio`, `job_count`,
        `job_keep_seconds`, `request_seconds` and `stream_count`.
    check_disk
        Raises `ProblemError` when there is no room.
    """

    def __init__(self, folder: Path, settings: Settings, check_disk: Callable[[], None]) -> None:
        self._folder, self._settings, self.check_disk = folder, settings, check_disk
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(str(folder), error.strerror or str(error)) from error
        self._receiving: set[str] = set()
        self._ended_jobs: dict[str, Job] = {}
        self._followers = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Do what there is to do, and what comes."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop; what is being done is gone on with at the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def receive(
        self, kind: str, parts: AsyncIterator[bytes], options: Options, owner: str | None
    ) -> Job:
        """Take an upload; the job waits from then on.

        Raises
        ------
        ProblemError
            413 for one that is too large, 422 for one that is no archive of its kind,
            429 when there are too many jobs, 408 when it takes too long to come.
        """
        limits = self._settings
        waiting = sum(job.state not in _ENDED for job in self.list(None))
        if waiting + len(self._receiving) >= limits.job_count:
            reason = f"{waiting} jobs wait or run already"
            raise ProblemError(429, Fault("jobs", reason), headers={"Retry-After": "30"})
        await asyncio.to_thread(self.check_disk)
        name = uuid4().hex
        folder = self._folder / name
        self._receiving.add(name)
        try:
            folder.mkdir()
            size = await self._store(folder / UPLOAD, parts)
            try:
                await asyncio.to_thread(check_upload, folder / UPLOAD, kind)
            except InputError as error:
                raise ProblemError(422, Fault("body", error.reason)) from None
            job = Job(
                id=name,
                kind=kind,
                bytes=size,
                options=options.to_mapping(),
                owner=owner,
                created=time.time(),
                unpacked_bytes=limits.job_unpacked_bytes,
                ratio=limits.job_ratio,
                reserve_bytes=limits.disk_reserve_bytes,
            )
            await asyncio.to_thread(job.write, folder)
            await asyncio.to_thread(sync_folder, folder)
            await asyncio.to_thread(sync_folder, self._folder)
            return job
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
                raise ProblemError(
                    503, Fault("disk", reason), headers={"Retry-After": "30"}
                ) from error
            raise
        finally:
            self._receiving.discard(name)

    async def _store(self, path: Path, parts: AsyncIterator[bytes]) -> int:
        """Write an upload as it comes; return how many bytes it has."""
        limits = self._settings
        size = 0
        begun = time.monotonic()
        with path.open("xb") as file:
            while True:
                try:
                    async with asyncio.timeout(limits.request_seconds):
                        part = await anext(parts, None)
                except TimeoutError:
                    reason = f"nothing of it came for {limits.request_seconds:g} s"
                    raise ProblemError(408, Fault("body", reason)) from None
                if part is None:
                    break
                size += len(part)
                slow = time.monotonic() - begun - limits.request_seconds
                if size < slow * _LEAST_RATE:
                    reason = f"{size} bytes came in {time.monotonic() - begun:.0f} s, too few"
                    raise ProblemError(408, Fault("body", reason))
                if size > limits.job_limit_bytes:
                    reason = f"it is over the limit of {limits.job_limit_bytes} bytes"
                    raise ProblemError(413, Fault("body", reason))
                file.write(part)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return size

    def list(self, owner: str | None) -> list[Job]:
        """List the jobs of a key, or all; the oldest first."""
        found = []
        for entry in self._folder.iterdir():
            if known := self._ended_jobs.get(entry.name):
                found.append(known)
            elif _ID.fullmatch(entry.name):
                # It may be received, or removed, just now.
                with suppress(OSError, ValueError, TypeError):
                    found.append(Job.read(entry))
        # Nothing more is written of these; what another process removed is forgotten here.
        self._ended_jobs = {job.id: job for job in found if job.state in _ENDED}
        mine = [job for job in found if owner is None or job.owner == owner]
        return sorted(mine, key=lambda job: (job.created, job.id))

    def count(self) -> Mapping[str, int]:
        """Count the jobs in each state."""
        return Counter(job.state for job in self.list(None))

    def find(self, name: str, owner: str | None) -> Job:
        """Return a job; `ProblemError` 404 when it is not there, or another key's."""
        try:
            if _ID.fullmatch(name):
                job = Job.read(self._folder / name)
                if owner is None or job.owner == owner:
                    return job
        except (OSError, ValueError, TypeError):
            # Not there, or not written by this version.
            pass
        raise _no_job()

    def describe(self, job: Job) -> dict[str, Any]:
        """Return what is told of a job."""
        shown = asdict(job)
        for name in ("owner", "tries", "unpacked_bytes", "ratio", "reserve_bytes"):
            del shown[name]
        progress = self._read(job, PROGRESS) if job.state != "queued" else {}
        done = self._read(job, DONE) if job.state == "done" else {}
        for name in ("stage", "done", "total", "unit"):
            shown[name] = progress.get(name)
        for name in ("summary", "failures", "notes"):
            shown[name] = done.get(name)
        return shown

    async def follow(self, job: Job) -> AsyncIterator[bytes]:
        """Yield what is told of a job as server-sent events, until it has ended."""

        def look(job: Job) -> tuple[Job, bytes]:
            try:
                job = self.find(job.id, None)
            except ProblemError:
                job = replace(job, state="cancelled")
            return job, orjson.dumps(self.describe(job))

        before, last = b"", time.monotonic()
        self._followers += 1
        try:
            while True:
                job, shown = await asyncio.to_thread(look, job)
                if shown != before:
                    before, last = shown, time.monotonic()
                    yield b"event: job\ndata: " + shown + b"\n\n"
                elif time.monotonic() - last > _HEARTBEAT_SECONDS:
                    last = time.monotonic()
                    yield b": it goes on\n\n"
                if job.state in _ENDED:
                    return
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._followers -= 1

    def check_followers(self) -> None:
        """Refuse who would follow a job when too many do: `ProblemError` 429."""
        if self._followers >= self._settings.stream_count:
            reason = f"{self._followers} jobs are followed already"
            raise ProblemError(429, Fault("queue", reason), headers={"Retry-After": "5"})

    def result(self, job: Job) -> tuple[Path, os.stat_result]:
        """Return the file of the result, and what is known of it.

        Raises
        ------
        ProblemError
            409 when there is none, 404 when it was removed meanwhile.
        """
        return self._find_file(job, name_result(job.kind))

    def map(self, job: Job) -> tuple[Path, os.stat_result]:
        """Return the file of the map; see `result`."""
        return self._find_file(job, MAP)

    def cancel(self, job: Job) -> None:
        """Stop a job, and remove all that there is of it."""
        folder = self._folder / job.id
        self._ended_jobs.pop(job.id, None)
        # Nobody finds it from here on; who does it looks whether it is there.
        gone = self._folder / f".{job.id}-{uuid4().hex}"
        with suppress(FileNotFoundError):
            folder.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _find_file(self, job: Job, name: str) -> tuple[Path, os.stat_result]:
        if job.state != "done":
            raise ProblemError(409, Fault("id", f"this job is {job.state}, and has no result"))
        path = self._folder / job.id / name
        try:
            return path, path.stat()
        except FileNotFoundError:
            raise _no_job() from None

    def _read(self, job: Job, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = orjson.loads((self._folder / job.id / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    async def _work(self) -> None:
        """Do jobs, while no other process does."""
        with (self._folder / ".lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    await asyncio.sleep(_LOOK_SECONDS)
            tidied = -_TIDY_SECONDS
            while True:
                try:
                    if time.monotonic() - tidied > _TIDY_SECONDS:
                        await asyncio.to_thread(self._tidy)
                        tidied = time.monotonic()
                    await self._work_once(lock.fileno())
                except (OSError, DedupError) as error:
                    # No room, perhaps; the job stays as it is.
                    _log.error("jobs: %s", error)
                    await asyncio.sleep(_HEARTBEAT_SECONDS)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _work_once(self, lock: int) -> None:
        jobs = await asyncio.to_thread(self.list, None)
        for job in jobs:
            if job.state not in _ENDED:
                await self._do(job, lock)
                return
            if time.time() - (job.finished or job.created) > self._settings.job_keep_seconds:
                await asyncio.to_thread(self.cancel, job)

    async def _do(self, job: Job, lock: int) -> None:
        """Do a job, or go on with it."""
        if job.tries >= _MOST_BEGINNINGS:
            reason = f"it was begun {job.tries} times, and the service ended each time"
            await self._end(job, "failed", reason)
            return
        folder = self._folder / job.id
        job = replace(job, state="running", started=job.started or time.time(), tries=job.tries + 1)
        await asyncio.to_thread(job.write, folder)
        # The worker ends when its standard input does, so with this process, and holds the
        # lock until then: of two processes that do a job one would write over the other.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.job_worker", str(folder),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, pass_fds=[lock],
        )  # fmt: skip
        assert process.stderr is not None
        reading = asyncio.create_task(process.stderr.read())
        ending = asyncio.create_task(process.wait())
        try:
            while not ending.done():
                await asyncio.wait([ending], timeout=_LOOK_SECONDS)
                if not self._is_there(job):
                    break
        except asyncio.CancelledError:
            # The service stops: this was no try of its own.
            with suppress(OSError, OutputError):
                replace(job, tries=job.tries - 1).write(folder)
            raise
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            code = await ending
            said = (await reading).decode(errors="replace")
        if not self._is_there(job):
            # It may have written into a folder that was just made.
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            return
        if code == 0:
            await self._end(job, "done", None)
            return
        if code == REFUSED:
            reason = self._read(job, FAILED).get("reason", "it says not why")
            await self._end(job, "failed", reason)
            return
        cause = f"was killed by {_name_signal(-code)}" if code < 0 else f"ended with {code}"
        _log.error("job %s: its process %s\n%s", job.id, cause, said[-4000:])
        if job.tries >= _MOST_TRIES:
            reason = f"its process {cause}, {job.tries} times; perhaps memory ran out"
            await self._end(job, "failed", reason)

    def _is_there(self, job: Job) -> bool:
        """Tell whether a job was not cancelled; a worker may have made its folder anew."""
        return (self._folder / job.id / JOB).exists()

    async def _end(self, job: Job, state: State, reason: str | None) -> None:
        folder = self._folder / job.id
        ended = replace(job, state=state, reason=reason, finished=time.time())
        await asyncio.to_thread(ended.write, folder)
        await asyncio.to_thread(forget_work, folder)

    def _tidy(self) -> None:
        """Remove what is left of uploads that were not received whole, and of jobs."""
        for entry in self._folder.iterdir():
            # Another process may be receiving it, or removing it.
            with suppress(FileNotFoundError):
                if entry.name.startswith("."):
                    if entry.is_dir():
                        shutil.rmtree(entry, ignore_errors=True)
                elif _ID.fullmatch(entry.name) and not (entry / JOB).exists():
                    came = entry / UPLOAD if (entry / UPLOAD).exists() else entry
                    old = time.time() - came.stat().st_mtime > 2 * self._settings.request_seconds
                    if old and not (entry / JOB).exists():
                        shutil.rmtree(entry, ignore_errors=True)


def _no_job() -> ProblemError:
    return ProblemError(404, Fault("id", "there is no job with this id"))


def _name_signal(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        # One of those that have no name.
        return f"signal {number}"
