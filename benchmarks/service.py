"""The service under load: texts, batches, single posts, more than it can take, and for long.

A server is a process of its own with one worker and an index on the disk; what loads it is
another, `benchmarks.traffic`.
"""

import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import orjson
import psutil

from benchmarks.durable import make_documents
from benchmarks.processes import ROOT, ask
from benchmarks.stores import BATCH_DOCUMENTS
from benchmarks.traffic import MOST_KEPT, Documents, ask_once, widen_limits, write_request
from benchmarks.workloads import Workload
from dedup.index.index import Index

# What is promised: of the sample article over 16 connections, of batches as against
# `Index.add`, of single posts, and of health checks while ten times as much is asked as
# the server can do.
LEAST_ARTICLES_S, MOST_ARTICLE_MS = 600.0, 40.0
MOST_TIMES = 2.0
MOST_POST_MS, MOST_SLOW_POST_MS = 8.0, 50.0
MOST_HEALTH_MS = 50.0

# What is taken as flat: by how much memory may grow in ten minutes, as a share; and how many
# files more may be open, since segments come and are merged.
MOST_GROWTH, _GROWTH_SECONDS = 0.01, 600
MOST_MORE_FILES = 10

CONNECTIONS = 16

# How many times what it can do is asked, and over how many connections: who is refused
# hears of it after 0.2 s, so that 160 of them asked 1.2 times as often as 16 are answered,
# 640 asked 4 times and these 6 times.
OVERLOAD, OVERLOAD_CONNECTIONS = 10, 1280

# Documents that a load has for each second of it; then they come again.
_TEXTS_A_SECOND = 500

_SOAK_CONNECTIONS = 4

# What comes before is not measured, for then a server is made ready: a share of the time.
_MADE_READY = 1 / 6

_LOOKS = 200
_START_SECONDS, _STOP_SECONDS = 120.0, 60.0

_Promise = tuple[str, str, str, bool]


@dataclass(frozen=True)
class Look:
    """What a server takes at a time.

    Attributes
    ----------
    seconds
        Since the first.
    memory_mb, own_mb
        Resident memory, and what of it is no file's.
    files
        That are open, connections among them.
    """

    seconds: float
    memory_mb: float
    own_mb: float
    files: int


class Server:
    """A server in a process of its own, with collections in a folder.

    Attributes
    ----------
    port, folder
        Where it listens, and keeps what it is given.
    """

    def __init__(self, port: int, folder: Path, process: psutil.Process) -> None:
        self.port, self.folder, self._process = port, folder, process

    def make_collection(self, name: str) -> None:
        """Make an empty collection."""
        answer = ask_once(self.port, write_request("PUT", f"/v1/collections/{name}"))
        if answer.status != 201:
            raise RuntimeError(answer.body.decode())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """End it as an operator does, or worse; return its exit code."""
        self._process.send_signal(how)
        return self._process.wait(_STOP_SECONDS)

    def read(self, collection: str) -> dict[str, str]:
        """Return the documents of a collection, when the server has ended."""
        with Index.open(self.folder / "collections" / collection, create=False) as index:
            index.verify()
            return dict(index.export())

    def watch(self, seconds: float) -> "_Watch":
        """Look at it while this lasts, about 200 times in so many seconds."""
        return _Watch(self._process, seconds / _LOOKS)


class _Watch:
    """Looks at a process, and gathers what it saw."""

    def __init__(self, process: psutil.Process, pause: float) -> None:
        self.looks: list[Look] = []
        self._process, self._pause = process, pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        start = perf_counter()
        while True:
            memory = self._process.memory_info()
            # What is mapped of segments is the system's to take back.
            shared = getattr(memory, "shared", 0)
            self.looks.append(
                Look(
                    perf_counter() - start,
                    memory.rss / 1e6,
                    (memory.rss - shared) / 1e6,
                    self._process.num_fds(),
                )
            )
            if self._ended.wait(self._pause):
                return


@contextmanager
def serve(folder: Path, *flags: str) -> Iterator[Server]:
    """Start a server on a free port; it is stopped at the end, if it has not been.

    Raises
    ------
    RuntimeError
        When it does not start; with what it said.
    """
    folder.mkdir(exist_ok=True)
    program = [sys.executable, "-m", "dedup", "serve", "--port", "0", "--index", str(folder)]
    # Its lines are read to the end: a pipe that is full would hold it.
    said: list[str] = []
    started = threading.Event()
    with subprocess.Popen(
        [*program, *flags], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:

        def listen() -> None:
            for line in process.stderr or ():
                said.append(line)
                if _find_port(line):
                    started.set()
            started.set()

        reading = threading.Thread(target=listen)
        reading.start()
        try:
            started.wait(_START_SECONDS)
            port = next(filter(None, map(_find_port, said)), None)
            if port is None:
                raise RuntimeError(f"the server did not start: {''.join(said)[-2000:]}")
            server = psutil.Process(process.pid)
            if sys.platform == "linux":
                limits = widen_limits(server.rlimit(psutil.RLIMIT_NOFILE))
                server.rlimit(psutil.RLIMIT_NOFILE, limits)
            yield Server(port, folder, server)
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)
            reading.join()


def _find_port(line: str) -> int | None:
    found = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
    return int(found[1]) if found else None


def measure_service(
    parts: Sequence[Workload],
    seconds: float,
    batches: int,
    overload_seconds: float,
    overload_connections: int = OVERLOAD_CONNECTIONS,
) -> dict[str, Any]:
    """Measure the service.

    Parameters
    ----------
    seconds
        Of each kind of load but for more than it can take.
    batches
        Of 500 documents of 3 KB, put in by the service and directly.
    overload_seconds, overload_connections
        Of a load that is ten times what it can take.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = max(int(_TEXTS_A_SECOND * seconds), BATCH_DOCUMENTS * (batches + 1))
        documents = _write_documents(folder, parts, count)
        (article,) = sorted((ROOT / "seeds").glob("*.txt"))[:1]
        with serve(folder / "served") as server:

            def load(task: str, **job: Any) -> dict[str, Any]:
                collection = str(job.get("collection", ""))
                if collection:
                    server.make_collection(collection)
                return _load(server, task, documents=str(documents), **job)

            sent = {"text": str(article), "connections": CONNECTIONS}
            # The first second of a server is another one's.
            load("article", seconds=min(seconds, 1.0), **sent)
            found: dict[str, Any] = {
                "workload": parts[0].name if len(parts) == 1 else "natural",
                "articles": load("article", seconds=seconds, **sent),
                "batches": load(
                    "batches",
                    collection="batches",
                    batches=batches,
                    size=BATCH_DOCUMENTS,
                    folder=str(folder / "direct"),
                ),
            }
            for kind, connections in (("single", 1), ("together", CONNECTIONS)):
                given = {"connections": connections, "seconds": seconds}
                found[kind] = load("posts", collection=kind, **given)
                del found[kind]["taken"]
        with serve(folder / "overload") as server:
            job = {
                "documents": str(documents),
                "connections": overload_connections,
                "seconds": overload_seconds,
                "rate": OVERLOAD * found["together"]["answered_s"],
            }
            found["overload"] = _measure_overload(server, job)
        return found


def measure_soak(parts: Sequence[Workload], seconds: float) -> dict[str, Any]:
    """Have a server do all it can for long, and see whether it takes more and more for it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = {
            "documents": str(_write_documents(folder, parts, MOST_KEPT)),
            "collection": "soak",
            "connections": _SOAK_CONNECTIONS,
            "seconds": seconds,
        }
        with serve(folder / "soak") as server:
            server.make_collection("soak")
            with server.watch(seconds) as watch:
                found = _load(server, "everything", **job)
        looks = watch.looks[int(_MADE_READY * len(watch.looks)) :]
        course = [
            [round(one.seconds, 1), round(one.memory_mb, 1), round(one.own_mb, 1), one.files]
            for one in watch.looks
        ]
        return {"seconds": seconds, **found, **_describe_looks(looks), "course": course}


def _measure_overload(server: Server, job: Mapping[str, Any]) -> dict[str, Any]:
    """Ask more of a server than it can do; look at its memory and its health meanwhile."""
    server.make_collection("overload")
    health: dict[str, Any] = {}
    checking = threading.Thread(
        target=lambda: health.update(_load(server, "health", seconds=job["seconds"]))
    )
    with server.watch(job["seconds"]) as watch:
        checking.start()
        found = _load(server, "posts", collection="overload", **job)
        checking.join()
    server.stop()
    made, there = Documents.read(Path(job["documents"])), server.read("overload")
    acknowledged = dict(made[number] for number in found.pop("taken"))
    looks = watch.looks[int(_MADE_READY * len(watch.looks)) :]
    return {
        **found,
        "times": OVERLOAD * found["asked_s"] / job["rate"],
        "health": health,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged.items() - there.items()),
        "unasked": len(there.keys() - acknowledged.keys()),
        **_describe_looks(looks),
    }


def _describe_looks(looks: Sequence[Look]) -> dict[str, Any]:
    """Return what was taken at first and at last, and how it grew.

    Growth is the slope of a straight line through memory that is no file's, of its mean.
    """
    own = np.array([one.own_mb for one in looks])
    seconds = np.array([one.seconds for one in looks])
    slope = float(np.polyfit(seconds, own, 1)[0]) if len(looks) > 1 else 0.0
    first, last = looks[0], looks[-1]
    return {
        "first_mb": first.memory_mb,
        "last_mb": last.memory_mb,
        "first_own_mb": first.own_mb,
        "last_own_mb": last.own_mb,
        "most_mb": max(one.memory_mb for one in looks),
        "most_own_mb": max(one.own_mb for one in looks),
        "growth_10_min": _GROWTH_SECONDS * slope / float(own.mean()),
        "first_files": first.files,
        "last_files": last.files,
        "most_files": max(one.files for one in looks),
    }


def list_load_promises(part: Mapping[str, Any]) -> list[_Promise]:
    """List what is promised of the service under load.

    Returns
    -------
    list
        What, the promise, what was reached, and whether it is kept.
    """
    articles, single, overload = (part[name] for name in ("articles", "single", "overload"))
    times, health = part["batches"]["times"], overload["health"]["p99_ms"]
    return [
        (
            f"sample articles a second over {CONNECTIONS} connections",
            f"at least {LEAST_ARTICLES_S:.0f}",
            f"{articles['answered_s']:.0f}",
            articles["answered_s"] >= LEAST_ARTICLES_S,
        ),
        (
            "sample articles, 99 % answered within",
            f"{MOST_ARTICLE_MS:.0f} ms",
            f"{articles['p99_ms']:.1f} ms",
            articles["p99_ms"] <= MOST_ARTICLE_MS,
        ),
        (
            "batches of 500 documents, times what `Index.add` takes",
            f"at most {MOST_TIMES:g}",
            f"{times:.2f}",
            times <= MOST_TIMES,
        ),
        (
            "single posts, put in durably, half within",
            f"{MOST_POST_MS:.0f} ms",
            f"{single['p50_ms']:.1f} ms",
            single["p50_ms"] <= MOST_POST_MS,
        ),
        (
            "single posts, 99 % within",
            f"{MOST_SLOW_POST_MS:.0f} ms",
            f"{single['p99_ms']:.1f} ms",
            single["p99_ms"] <= MOST_SLOW_POST_MS,
        ),
        (
            "answers under overload",
            "200 and 429",
            ", ".join(overload["statuses"]),
            overload["statuses"].keys() <= {"200", "429"},
        ),
        (
            "health checks under overload, 99 % within",
            f"{MOST_HEALTH_MS:.0f} ms",
            f"{health:.1f} ms",
            health <= MOST_HEALTH_MS,
        ),
        (
            "documents acknowledged under overload that are not there",
            "0",
            f"{overload['lost']:,} of {overload['acknowledged']:,}",
            not overload["lost"],
        ),
    ]


def list_soak_promises(part: Mapping[str, Any]) -> list[_Promise]:
    """List what is promised of the service for long; nothing of less than ten minutes."""
    if part["seconds"] < _GROWTH_SECONDS:
        return []
    return [
        (
            "growth of memory that is no file's, in ten minutes",
            f"at most {MOST_GROWTH:.0%}",
            f"{part['growth_10_min']:.1%}",
            part["growth_10_min"] <= MOST_GROWTH,
        ),
        (
            "open files in the end, beside those of the beginning",
            f"at most {MOST_MORE_FILES}",
            f"{part['last_files'] - part['first_files']}",
            part["last_files"] - part["first_files"] <= MOST_MORE_FILES,
        ),
    ]


def _write_documents(folder: Path, parts: Sequence[Workload], count: int) -> Path:
    path = folder / "documents.jsonl"
    with path.open("wb") as out:
        for text in islice(make_documents(parts), count):
            out.write(orjson.dumps(text, option=orjson.OPT_APPEND_NEWLINE))
    return path


def _load(server: Server, task: str, **job: Any) -> dict[str, Any]:
    return ask("benchmarks.traffic", {"task": task, "port": server.port, **job}, task)
