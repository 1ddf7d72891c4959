"""The service under load: texts, batches, single posts, more than it can take, and for long.

The server is a process of its own, and so is what loads it: ``python -m benchmarks.service``
takes a job as JSON on standard input, and gives what was measured as JSON.
"""

import asyncio
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import psutil

from benchmarks.durable import make_documents
from benchmarks.processes import ROOT, ask
from benchmarks.stores import BATCH_DOCUMENTS
from benchmarks.workloads import Workload
from dedup.index.index import Index

# What is promised: of the sample article at 16 connections, of batches against `Index.add`,
# of single posts, and of health checks while it is asked for more than it can do.
LEAST_ARTICLES_S, MOST_ARTICLE_MS = 600.0, 40.0
MOST_TIMES = 2.0
MOST_POST_MS, MOST_SLOW_POST_MS = 8.0, 50.0
MOST_HEALTH_MS = 50.0

CONNECTIONS = 16
_OVERLOAD_CONNECTIONS = 10 * CONNECTIONS
_COLLECTION = "/v1/collections/load"
_DOCUMENTS = f"{_COLLECTION}/documents?text=true"

# Between two health checks, and two looks at the memory of the server: seconds.
_HEALTH_SECONDS, _LOOK_SECONDS = 0.02, 1.0


@dataclass
class Server:
    """A server in a process of its own, with an index of its own."""

    port: int
    process: psutil.Process
    folder: Path

    def end(self) -> list[str]:
        """Stop it as an operator does; return the ids of the documents that are there."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        with Index.open(self.folder / "collections" / "load", create=False) as index:
            return [name for name, _ in index.export()]


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Start a server with an empty collection."""
    program = [sys.executable, "-m", "dedup", "serve", "--port", "0", "--index", str(folder)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(program, cwd=ROOT, stderr=subprocess.PIPE, stdout=log, text=True) as run,
    ):
        assert run.stderr is not None
        lines = run.stderr
        port = 0
        for line in lines:
            log.write(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
                break
        reading = threading.Thread(target=lambda: log.writelines(lines))
        reading.start()
        try:
            if not port:
                raise RuntimeError("the server did not start")
            asyncio.run(_ask_once(port, b"PUT", _COLLECTION))
            yield Server(port, psutil.Process(run.pid), folder)
        finally:
            run.terminate()
            run.wait(60)
            reading.join()


def measure_service(
    parts: Sequence[Workload], seconds: float, batches: int, soak_seconds: float
) -> dict[str, Any]:
    """Measure the service.

    Parameters
    ----------
    seconds
        Of each kind of load; of more than it can take six times as long.
    batches
        Of 500 documents of 3 KB, put in by the service and directly.
    soak_seconds
        Of a load that goes on for long.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = folder / "documents.jsonl"
        # For all kinds of load, each of which begins anew where these end.
        count = BATCH_DOCUMENTS * (batches + 20)
        with documents.open("wb") as out:
            for text in islice(make_documents(parts), count):
                out.write(orjson.dumps(text) + b"\n")
        found: dict[str, Any] = {"workload": parts[0].name if len(parts) == 1 else "natural"}
        for part in ("articles", "batches", "single", "together", "overload", "soak"):
            (folder / part).mkdir()
            with serve(folder / part) as server:
                job = {"port": server.port, "documents": str(documents), "seconds": seconds}
                if part == "articles":
                    # The first second of a server is another one's.
                    _load(job, task="articles", connections=CONNECTIONS, seconds=1.0)
                    found[part] = _load(job, task="articles", connections=CONNECTIONS)
                elif part == "batches":
                    beside = str(folder / "directly")
                    found[part] = _load(job, task="batches", count=batches, folder=beside)
                elif part == "single":
                    found[part] = _load(job, task="posts", connections=1)
                elif part == "together":
                    found[part] = _load(job, task="posts", connections=CONNECTIONS)
                elif part == "overload":
                    more = {"connections": _OVERLOAD_CONNECTIONS, "seconds": 6 * seconds}
                    found[part] = _measure_long(server, job | more)
                else:
                    more = {"connections": CONNECTIONS, "seconds": soak_seconds}
                    found[part] = _measure_long(server, job | more)
        return found


def list_service_promises(result: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """List what is promised of the service: what, the promise, what was reached, and whether."""
    articles, batches, single = (result[name] for name in ("articles", "batches", "single"))
    overload = result["overload"]
    times = batches["seconds"] / batches["direct_seconds"]
    others = sorted(set(overload["statuses"]) - {"200", "429"})
    return [
        (
            f"sample articles a second, {CONNECTIONS} connections",
            f"at least {LEAST_ARTICLES_S:.0f}",
            f"{articles['rate']:.0f}",
            articles["rate"] >= LEAST_ARTICLES_S,
        ),
        (
            "of these the slowest of a hundred",
            f"at most {MOST_ARTICLE_MS:.0f} ms",
            f"{articles['p99_ms']:.1f} ms",
            articles["p99_ms"] <= MOST_ARTICLE_MS,
        ),
        (
            "batches of 500 documents, times what `Index.add` takes",
            f"at most {MOST_TIMES:.1f}",
            f"{times:.2f}",
            times <= MOST_TIMES,
        ),
        (
            "a single document put in durably, median",
            f"at most {MOST_POST_MS:.0f} ms",
            f"{single['p50_ms']:.1f} ms",
            single["p50_ms"] <= MOST_POST_MS,
        ),
        (
            "of these the slowest of a hundred",
            f"at most {MOST_SLOW_POST_MS:.0f} ms",
            f"{single['p99_ms']:.1f} ms",
            single["p99_ms"] <= MOST_SLOW_POST_MS,
        ),
        (
            "statuses under ten times the load",
            "200 and 429",
            ", ".join(sorted(overload["statuses"])),
            not others,
        ),
        (
            "health checks under it, the slowest of a hundred",
            f"at most {MOST_HEALTH_MS:.0f} ms",
            f"{overload['health']['p99_ms']:.1f} ms",
            overload["health"]["p99_ms"] <= MOST_HEALTH_MS,
        ),
        (
            "documents that were acknowledged under it and are not there",
            "none",
            f"{overload['lost']:,} of {overload['acknowledged']:,}",
            not overload["lost"],
        ),
    ]


def _measure_long(server: Server, job: Mapping[str, Any]) -> dict[str, Any]:
    """Load a server, and look at its memory, its files and its health meanwhile."""
    looks: list[tuple[float, int]] = []
    ended = threading.Event()
    health: dict[str, Any] = {}

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            looks.append((server.process.memory_info().rss / 1e6, server.process.num_fds()))

    def check() -> None:
        health.update(_load(job, task="health"))

    threads = [threading.Thread(target=look), threading.Thread(target=check)]
    for thread in threads:
        thread.start()
    found = _load(job, task="posts", name=True)
    threads[1].join()
    ended.set()
    threads[0].join()
    names = found.pop("names")
    there = set(server.end())
    # What was made ready in the first sixth is not what grows.
    first = looks[len(looks) // 6]
    return {
        **found,
        "health": health,
        "acknowledged": len(names),
        "lost": sum(name not in there for name in names),
        "first_mb": first[0],
        "last_mb": looks[-1][0],
        "first_files": first[1],
        "last_files": looks[-1][1],
    }


def _load(job: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return ask("benchmarks.service", dict(job) | more, str(more["task"]))


def _write(method: bytes, path: str, body: bytes = b"", kind: bytes = b"application/json") -> bytes:
    head = b"%s %s HTTP/1.1\r\nHost: a\r\n" % (method, path.encode())
    if body:
        head += b"Content-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body))
    return head + b"\r\n" + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read an answer; return its status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if found := re.search(rb"\r\ncontent-length: (\d+)", head):
        return status, await reader.readexactly(int(found[1]))
    body = b""
    while b"\r\ntransfer-encoding: chunked" in head:
        size = int(await reader.readuntil(b"\r\n"), 16)
        part = await reader.readexactly(size + 2)
        if not size:
            break
        body += part[:-2]
    return status, body


async def _ask_once(port: int, method: bytes, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_write(method, path, b"{}"))
    await _read(reader)
    writer.close()


async def _post(
    job: Mapping[str, Any], make: Callable[[], tuple[str, bytes]], connections: int
) -> dict[str, Any]:
    """Send requests over some connections, each of them when the one before is answered."""
    seconds: list[float] = []
    statuses: Counter[str] = Counter()
    names: list[str] = []
    start = time.perf_counter()
    end = start + job["seconds"]

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
        while time.perf_counter() < end:
            name, request = make()
            begun = time.perf_counter()
            writer.write(request)
            status, _ = await _read(reader)
            seconds.append(time.perf_counter() - begun)
            statuses[str(status)] += 1
            if status == 200 and job.get("name"):
                names.append(name)
            if job["task"] == "health":
                await asyncio.sleep(_HEALTH_SECONDS)
        writer.close()

    await asyncio.gather(*(send() for _ in range(connections)))
    taken = time.perf_counter() - start
    ordered = sorted(seconds)
    found: dict[str, Any] = {
        "rate": statuses["200"] / taken,
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[int(0.99 * len(ordered))],
        "longest_ms": 1e3 * ordered[-1],
        "statuses": dict(statuses),
        "own_cores": time.process_time() / taken,
    }
    return found | ({"names": names} if job.get("name") else {})


def _make_posts(job: Mapping[str, Any]) -> Callable[[], tuple[str, bytes]]:
    """Return what makes single posts of documents: each a new id, the texts over and over."""
    texts = [orjson.loads(line) for line in Path(job["documents"]).read_bytes().splitlines()]
    count = 0

    def make() -> tuple[str, bytes]:
        nonlocal count
        name, text = str(count), texts[count % len(texts)]
        # The same text again would be a copy, which is less work.
        turn = count // len(texts)
        text = f"{text} {turn}" if turn else text
        count += 1
        return name, _write(b"POST", _DOCUMENTS, orjson.dumps({"id": name, "text": text}))

    return make


async def _put_batches(job: Mapping[str, Any]) -> dict[str, Any]:
    """Put batches in by the service and directly, by turns."""
    lines = Path(job["documents"]).read_bytes().splitlines()[: BATCH_DOCUMENTS * job["count"]]
    documents = [(str(number), orjson.loads(line)) for number, line in enumerate(lines)]
    served = directly = 0.0
    size = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", job["port"], limit=1 << 24)
    with Index.open(job["folder"]) as index:
        for first in range(0, len(documents), BATCH_DOCUMENTS):
            some = documents[first : first + BATCH_DOCUMENTS]
            rows = [orjson.dumps({"id": name, "text": text}) for name, text in some]
            request = _write(b"POST", _DOCUMENTS, b"\n".join(rows), b"application/x-ndjson")
            start = time.perf_counter()
            writer.write(request)
            status, body = await _read(reader)
            middle = time.perf_counter()
            results = index.add(some)
            end = time.perf_counter()
            found = [orjson.loads(row) for row in body.splitlines()]
            expected = [{"status": 200, **one.to_mapping()} for one in results]
            if status != 200 or found != expected:
                raise RuntimeError("the service answers otherwise than the library")
            if first:
                # The first batch of each makes ready.
                served += middle - start
                directly += end - middle
                size += sum(len(text.encode()) for _, text in some)
    writer.close()
    return {"mb": size / 1e6, "seconds": served, "direct_seconds": directly}


def _do(job: Mapping[str, Any]) -> dict[str, Any]:
    if job["task"] == "batches":
        return asyncio.run(_put_batches(job))
    if job["task"] == "posts":
        return asyncio.run(_post(job, _make_posts(job), job["connections"]))
    if job["task"] == "health":
        request = ("", _write(b"GET", "/livez"))
        return asyncio.run(_post(job, lambda: request, 1))
    (sample,) = sorted((ROOT / "seeds").glob("*.txt"))[:1]
    body = orjson.dumps({"text": sample.read_text("utf-8")})
    request = ("", _write(b"POST", "/v1/clean", body))
    return asyncio.run(_post(job, lambda: request, job["connections"]))


if __name__ == "__main__":
    print(json.dumps(_do(json.load(sys.stdin))))
