"""Durable indexes: how fast one grows, what it takes, and stores beside it.

Builds, openings and calls run in processes of their own: ``python -m benchmarks.durable``
takes a job as JSON on standard input, and gives what was measured as JSON.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import median
from string import ascii_lowercase
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.environments import PINS, EnvironmentMissingError, make_environment
from benchmarks.processes import ask, own_bytes
from benchmarks.stores import BATCH_DOCUMENTS, STORES, Job
from benchmarks.workloads import Workload, grow
from dedup.columns import Texts
from dedup.index.index import Index
from dedup.index.postings import make_keys
from dedup.index.segments import Segment, find_in_all
from dedup.options import Options
from dedup.units import cut_units

# What is promised: MB of text a second at least, milliseconds that merging stalls a call
# at most, band keys looked up a second at least, bytes of segments a posting and MB of
# memory at most.
LEAST_MB_S = 8.0
MOST_STALL_MS, LEAST_KEYS_S, MOST_POSTING_BYTES, MOST_MEMORY_MB = 50.0, 1e6, 20.0, 200.0

DOCUMENT_BYTES = 3000

# Single documents that are added after each batch. They are like nothing else, so that
# each is the same work, and what one takes longer it waited; while a segment is written
# there are more of them, for that is seldom.
_SINGLES, _MOST_SINGLES = 2, 100

# Documents of which a small index is made first, so that kernels are there.
_WARMED = 200

# Keys that are looked up in one call, and such calls in a round.
_KEYS_TOGETHER, _CALLS = 10_000, 20

# Batches that are handed to `add_batches` at once.
_LINE = 20

# Stretches of a build whose speed is told.
_STRETCHES = 20


def cut_documents(texts: Iterable[str], size: int = DOCUMENT_BYTES) -> Iterator[str]:
    """Cut texts, one behind the other, into documents of about a size in bytes."""
    held = b""
    for text in texts:
        held += text.encode() + b"\n\n"
        start = 0
        while len(held) - start >= size:
            half = start + size // 2
            stop = max(held.rfind(b" ", half, start + size), held.rfind(b"\n", half, start + size))
            if stop < 0:
                stop = start + size
                while held[stop] & 0xC0 == 0x80:
                    stop -= 1
            if document := held[start:stop].decode().strip():
                yield document
            start = stop
        held = held[start:]
    if document := held.decode().strip():
        yield document


def make_documents(parts: Sequence[Workload], seed: int = 1) -> Iterator[str]:
    """Yield documents of about 3 KB without end: the texts, then the same in ciphers.

    Those of a round come in no order, so that no stretch is of one text alone; see
    `grow` for what a round is.
    """
    grown = grow(list(parts), float("inf"))
    count = sum(len(part.documents) for part in parts)
    rng = random.Random(seed)
    while True:
        documents = list(cut_documents(islice(grown, count)))
        rng.shuffle(documents)
        yield from documents


def measure_index(
    parts: Sequence[Workload], units: int, rounds: int, singles: int = 300
) -> dict[str, Any]:
    """Measure an index as it grows to a number of units, and what it takes then.

    Parameters
    ----------
    singles
        Documents that are added one by one, and as many that are checked.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = make_documents(parts)
        source, later = folder / "documents.jsonl", folder / "later.jsonl"
        count = _write_units(source, documents, units)
        later.write_bytes(_pack(islice(documents, 2 * singles), count))
        large, tenth, empty = folder / "large", folder / "tenth", folder / "empty"
        builds = [
            _ask("build", source=source, folder=large, line=_LINE, documents=count),
            _ask("build", source=source, folder=tenth, line=1, documents=count // 10),
        ]
        shutil.rmtree(tenth)
        with Index.open(empty) as index:
            index.add([("0", "A sentence that is long enough to be compared.")])
        opening = {"open": _measure_opening(large, rounds)}
        opening["open_empty"] = _measure_opening(empty, rounds)
        if not any(large.glob("segments/*.seg")):
            # So small that all is in memory yet.
            with Index.open(large) as index:
                # What is there is known from the first call on.
                index.get("0")
                index.compact()
        with ExitStack() as stack:
            files = [
                stack.enter_context(Segment.open(path)) for path in large.glob("segments/*.seg")
            ]
            sizes = {
                "segments": len(files),
                "postings": sum(one.count for one in files),
                "segment_bytes": sum(one.byte_count for one in files),
                "journal_bytes": (large / "journal.sqlite").stat().st_size,
            }
        return {
            "workload": _name_of(parts),
            "builds": builds,
            **opening,
            **sizes,
            "look_ups": _ask("look_up", folder=large, source=source, rounds=rounds),
            "calls": _ask("call", folder=large, later=later),
        }


def measure_stores(
    parts: Sequence[Workload],
    units: int,
    seconds: float,
    names: Iterable[str] = STORES,
    batch: int = BATCH_DOCUMENTS,
) -> dict[str, Any]:
    """Feed stores the same band keys, one after the other.

    Parameters
    ----------
    units, seconds
        What each is fed at most, and about how long.

    Returns
    -------
    dict
        ``rows``, and ``missing``: why a store is not there.
    """
    rows, missing = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts, keys, counts = (
            folder / file for file in ("documents.jsonl", "keys.npy", "counts.npy")
        )
        size = _write_keys(texts, keys, counts, make_documents(parts), units, batch)
        for store in names:
            kind = STORES[store]
            if kind.command and not shutil.which(kind.command):
                missing[store] = f"no program {kind.command}"
                continue
            python = sys.executable
            if kind.distribution in PINS:
                try:
                    python = str(make_environment(kind.distribution, PINS[kind.distribution]))
                except EnvironmentMissingError as error:
                    missing[store] = error.cause
                    continue
            job = Job(store, str(keys), str(counts), str(texts), seconds, batch)
            found = ask("benchmarks.stores", asdict(job), store, python)
            rows.append({"name": store, "durable": kind.is_durable, **found})
    return {"workload": _name_of(parts), **size, "rows": rows, "missing": missing}


def list_promises(result: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """List what is promised of an index.

    Returns
    -------
    list
        What, the promise, what was reached, and whether it is kept; of what was
        measured: a small index does not merge.
    """
    stalls = [stall for build in result["builds"] if (stall := find_stall(build)) is not None]
    speeds = result["look_ups"]
    posting_bytes = result["segment_bytes"] / result["postings"] if result["postings"] else 0.0
    large = result["builds"][0]
    found = [
        (
            f"MB of text a second in durable batches, up to {large['units']:,} units",
            f"at least {LEAST_MB_S:.0f}",
            f"{large['mb_s']:.1f}",
            large["mb_s"] >= LEAST_MB_S,
        ),
        *(
            (
                f"band keys looked up a second, warm, that are {what}",
                f"at least {LEAST_KEYS_S:,.0f}",
                f"{speeds[name]:,.0f}",
                speeds[name] >= LEAST_KEYS_S,
            )
            for name, what in (("there", "there"), ("absent", "not there"))
        ),
        (
            "bytes of segments a posting",
            f"at most {MOST_POSTING_BYTES:.0f}",
            f"{posting_bytes:.1f}",
            posting_bytes <= MOST_POSTING_BYTES,
        ),
    ]
    if stalls:
        found.insert(
            1,
            (
                "longest stall of a call while segments are written and merged",
                f"at most {MOST_STALL_MS:.0f} ms",
                f"{max(stalls):.0f} ms",
                max(stalls) <= MOST_STALL_MS,
            ),
        )
    if (memory := result["open"]["memory_mb"]) is not None:
        found.append(
            (
                "memory of a process in which it is open and idle",
                f"under {MOST_MEMORY_MB:.0f} MB",
                f"{memory:.0f} MB",
                memory < MOST_MEMORY_MB,
            )
        )
    return found


def find_stall(build: Mapping[str, Any]) -> float | None:
    """Return by how many milliseconds the longest single add was held up, if there was merging."""
    merging, quiet = build["while_merging"], build["quiet"]
    if not merging or not quiet:
        return None
    return float(merging["longest"] - quiet["median"])


def _name_of(parts: Sequence[Workload]) -> str:
    return parts[0].name if len(parts) == 1 else "natural"


def _ask(task: str, **job: Any) -> dict[str, Any]:
    told = {name: str(value) if isinstance(value, Path) else value for name, value in job.items()}
    return ask("benchmarks.durable", {"task": task, **told}, task)


def _pack(documents: Iterable[str], first: int) -> bytes:
    """Return rows [id, text]."""
    rows = enumerate(documents, first)
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _unpack(rows: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    return ((str(number), text) for number, text in map(orjson.loads, rows))


def _write_units(path: Path, documents: Iterator[str], units: int) -> int:
    """Write batches of documents that have so many units; return how many documents."""
    count = 0
    unit = Options().unit
    with path.open("wb") as out:
        while units > 0:
            some = list(islice(documents, BATCH_DOCUMENTS))
            out.write(_pack(some, count))
            count += len(some)
            units -= len(cut_units(Texts.from_bytes([text.encode() for text in some]), unit))
    return count


def _write_keys(
    texts: Path, keys: Path, counts: Path, documents: Iterator[str], units: int, batch: int
) -> dict[str, Any]:
    """Write batches of documents with so many units, and the band keys of these; count them."""
    options = Options()
    rows: list[NDArray[np.uint64]] = []
    of_documents = []
    size = count = 0
    with texts.open("wb") as out:
        # One batch more, which stores are asked for and do not have.
        while units > 0 or len(rows) < 2:
            some = list(islice(documents, batch))
            out.write(_pack(some, count))
            columns = Texts.from_bytes([text.encode() for text in some])
            cut = cut_units(columns, options.unit)
            made = make_keys(columns, cut, options)
            rows.append(np.ascontiguousarray(made.bands.T))
            of_documents.append(np.diff(np.searchsorted(made.units, cut.offsets)))
            count += len(some)
            size += len(columns.data)
            units -= len(made.units)
    np.save(keys, np.concatenate(rows))
    np.save(counts, np.concatenate(of_documents).astype(np.int64))
    return {"size_mb": size / 1e6, "documents": count, "bands": options.bands}


def _measure_opening(folder: Path, rounds: int) -> dict[str, Any]:
    """Open an index in new processes, in which kernels are loaded by it, or were before."""
    cold, warm = (
        [
            _ask("open", folder=folder, warm=is_warm, started=time.time())
            for _ in range(max(rounds, 1))
        ]
        for is_warm in (False, True)
    )
    return {
        "open_ms": median(one["open_ms"] for one in warm),
        "first_ms": median(one["open_ms"] for one in cold),
        "process_ms": median(one["process_ms"] for one in cold),
        **{name: cold[0][name] for name in ("memory_mb", "mapped_mb", "own_mb")},
    }


def _build(job: Mapping[str, Any]) -> dict[str, Any]:
    """Grow an index by some batches at a time, and between them by single documents."""
    folder = Path(job["folder"])
    batches: list[tuple[int, float]] = []
    quiet: list[float] = []
    merging: list[float] = []
    strange = _make_strange(DOCUMENT_BYTES)
    strange_bytes = 0
    with Path(job["source"]).open("rb") as rows:
        documents = islice(_unpack(rows), job["documents"])
        _warm(list(islice(documents, _WARMED)))
        rows.seek(0)
        documents = islice(_unpack(rows), job["documents"])
        with Index.open(folder) as index:
            while some := list(islice(_cut_batches(documents), job["line"])):
                answers = index.add_batches(some) if job["line"] > 1 else map(index.add, some)
                answered = time.perf_counter()
                for _, batch in zip(answers, some, strict=True):
                    seconds = time.perf_counter() - answered
                    answered += seconds
                    batches.append((_size_of(batch), seconds))
                for number, one in enumerate(islice(strange, _MOST_SINGLES)):
                    was_writing = _is_writing(folder)
                    if number >= _SINGLES and not was_writing:
                        break
                    strange_bytes += _size_of([one])
                    seconds = _time(index.add, [one])
                    (merging if was_writing or _is_writing(folder) else quiet).append(seconds)
            counts = index.stats()
            memory = own_bytes()
            close_seconds = _time(index.close)
    tenth = max(len(batches) // 10, 1)
    return {
        "call": "add_batches" if job["line"] > 1 else "add",
        "documents": counts["documents"],
        "units": counts["units"],
        "duplicates": counts["duplicates"],
        "text_mb": (sum(size for size, _ in batches) + strange_bytes) / 1e6,
        "mb_s": _speed(batches),
        "first_tenth_mb_s": _speed(batches[:tenth]),
        "last_tenth_mb_s": _speed(batches[-tenth:]),
        "stretches_mb_s": [
            _speed(batches[i] for i in part)
            for part in np.array_split(np.arange(len(batches)), min(_STRETCHES, len(batches)))
        ],
        "batch": _spread([seconds for _, seconds in batches]),
        "quiet": _spread(quiet),
        "while_merging": _spread(merging),
        "memory_mb": memory / 1e6,
        "close_seconds": close_seconds,
    }


def _cut_batches(documents: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while some := list(islice(documents, BATCH_DOCUMENTS)):
        yield some


def _make_strange(size: int) -> Iterator[tuple[str, str]]:
    """Yield documents of a size that are like nothing else."""
    rng = random.Random(size)
    number = 0
    while True:
        words = ("".join(rng.choices(ascii_lowercase, k=rng.randint(2, 9))) for _ in range(size))
        text = ""
        while len(text) < size:
            text += " ".join(islice(words, 12)).capitalize() + ". "
        yield f"strange {number}", text
        number += 1


def _open(job: Mapping[str, Any]) -> dict[str, Any]:
    """Open an index and get a document."""
    if job["warm"]:
        _warm()
    start = time.perf_counter()
    with Index.open(job["folder"]) as index:
        index.get("0")
        ended = time.perf_counter()
        process_seconds = time.time() - job["started"]
        memory, mapped = _resident_mb()
    return {
        "open_ms": 1e3 * (ended - start),
        "process_ms": 1e3 * process_seconds,
        "own_mb": own_bytes() / 1e6,
        "memory_mb": memory,
        "mapped_mb": mapped,
    }


def _look_up(job: Mapping[str, Any]) -> dict[str, Any]:
    """Look up keys in all segments, each time as many as a call is given."""
    options = Options()
    wanted = _KEYS_TOGETHER * _CALLS
    with ExitStack() as stack:
        files = [
            stack.enter_context(Segment.open(path))
            for path in Path(job["folder"]).glob("segments/*.seg")
        ]
        # All live: nothing was removed.
        firsts, stops = np.zeros(1, np.int64), np.full(1, np.iinfo(np.int64).max)

        def find(keys: NDArray[np.uint64]) -> int:
            found = 0
            for first in range(0, wanted, _KEYS_TOGETHER):
                some = np.sort(keys[first : first + _KEYS_TOGETHER])
                offsets, _ = find_in_all(files, some, options.bucket_cap, firsts, stops)
                found += int(np.count_nonzero(np.diff(offsets)))
            return found

        rng = np.random.default_rng(1)
        there = _sample_keys(Path(job["source"]), wanted, options)
        asked = {"there": there, "absent": rng.integers(0, 1 << 64, wanted, np.uint64)}
        result: dict[str, Any] = {"keys": _KEYS_TOGETHER}
        for name, keys in asked.items():
            result[f"{name}_found"] = find(keys) / wanted
            result[name] = wanted / median(_time(find, keys) for _ in range(max(job["rounds"], 3)))
    return result


def _sample_keys(source: Path, count: int, options: Options) -> NDArray[np.uint64]:
    """Return band keys of documents from all over a file, in no order: uint64[count]."""
    size = source.stat().st_size
    texts = []
    # Of a document of 3 KB, some 30 units, there are about 500 keys.
    with source.open("rb") as rows:
        for place in np.linspace(0, size * 0.99, count // 150).astype(int).tolist():
            rows.seek(place)
            rows.readline()
            texts.append(orjson.loads(rows.readline())[1].encode())
    columns = Texts.from_bytes(texts)
    keys = make_keys(columns, cut_units(columns, options.unit), options).bands.ravel()
    return np.random.default_rng(2).choice(keys, count, replace=len(keys) < count)


def _call(job: Mapping[str, Any]) -> dict[str, Any]:
    """Check and add single documents, in turn."""
    checks, adds = [], []
    with Path(job["later"]).open("rb") as rows:
        documents = list(_unpack(rows))
    _warm(documents[:_WARMED])
    with Index.open(job["folder"]) as index:
        for checked, added in zip(documents[::2], documents[1::2], strict=True):
            checks.append(_time(index.check, [checked]))
            adds.append(_time(index.add, [added]))
        memory, mapped = _resident_mb()
    return {
        "check": _spread(checks),
        "add": _spread(adds),
        "memory_mb": memory,
        "mapped_mb": mapped,
    }


def _warm(documents: Sequence[tuple[str, str]] = ()) -> None:
    """Load all kernels, and what else is read once, by an index that is small."""
    text = "A sentence that comes again and again, and is long enough. "
    made = [(f"made {i}", f"{text}{text.upper()}This is number {i} of them.") for i in range(20)]
    with tempfile.TemporaryDirectory() as folder, Index.open(folder) as index:
        index.add(made)
        index.compact()
        for some in (documents[::2], documents[1::2]):
            index.check(some)
            index.add(some)
        index.get("made 0")


def _is_writing(folder: Path) -> bool:
    """Say whether a segment is being written: until it is whole it has another name."""
    return any(folder.glob("segments/.dedup-*"))


def _time(work: Callable[..., Any], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def _size_of(documents: Iterable[tuple[str, str]]) -> int:
    return sum(len(text.encode()) for _, text in documents)


def _speed(batches: Iterable[tuple[int, float]]) -> float:
    sizes, seconds = zip(*batches, strict=True)
    return float(sum(sizes) / 1e6 / sum(seconds))


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return the median and others in milliseconds; none of none."""
    if not seconds:
        return None
    return {
        "count": len(seconds),
        "median": 1e3 * median(seconds),
        "p99": 1e3 * float(np.percentile(seconds, 99)),
        "longest": 1e3 * max(seconds),
    }


def _resident_mb() -> tuple[float | None, float | None]:
    """Return the resident memory of this process: without pages of segments, and these."""
    path = Path("/proc/self/smaps")
    if not path.exists():
        return None, None
    whole = mapped = 0
    is_segment = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("Rss:"):
            size = int(line.split()[1]) * 1024
            whole += size
            mapped += size * is_segment
        elif "-" in line.split(maxsplit=1)[0]:
            is_segment = line.endswith((".seg", ".seg (deleted)"))
    return (whole - mapped) / 1e6, mapped / 1e6


_TASKS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "build": _build,
    "open": _open,
    "look_up": _look_up,
    "call": _call,
}

if __name__ == "__main__":
    told = json.load(sys.stdin)
    print(json.dumps(_TASKS[told["task"]](told)))
