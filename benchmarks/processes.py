"""One measured run in a process of its own: ``python -m benchmarks.processes``.

A job comes as JSON on standard input, what was measured goes as JSON to standard
output. The clock runs from before the first byte is read to after the last is
written. A first run, over a small file of the same kind, is timed apart: it imports,
loads kernels or models, compiles where nothing is compiled yet, and touches memory
for the first time. The peak of memory is that of the whole process.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, Answer, Sentence, Sentences, Task

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Job:
    """What is run.

    Attributes
    ----------
    name
        ``floor``, ``dedup`` or the name of a peer.
    source
        JSON Lines file, rows {id, text}.
    warm
        A small file of the same kind, for the first run.
    task
        For a peer, what it is told. Beside `source` and `warm` it finds the
        sentences of each row as [start, stop, text, runs]: bytes, and what a
        `Sentence` holds, or nothing for one too short to be compared.
    threads, memory
        For ``dedup``; memory in bytes, none for what it takes by itself.
    stretches
        For ``dedup``: whether sentences that are cut elsewhere are looked for, which
        no peer does.
    """

    name: str
    source: str
    warm: str
    task: Task | None = None
    threads: int = 1
    memory: int | None = None
    stretches: bool = True


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes
    ----------
    seconds
        From file to file.
    first_seconds
        What the first run in the process took, over the small file.
    peak_bytes
        Most memory of the process.
    removed
        How many sentences went; 0 for the floor.
    numbers
        For a peer: which.
    shingling_seconds
        For a peer that is handed shingles: what of `seconds` went into cutting them.
    checksum
        For ``dedup``: of all files it wrote.
    """

    seconds: float
    first_seconds: float
    peak_bytes: int
    removed: int
    numbers: list[int] | None = None
    shingling_seconds: float | None = None
    checksum: str = ""


def measure(job: Job, python: str = sys.executable) -> Outcome:
    """Run a job in a process of its own.

    Raises
    ------
    RuntimeError
        When it fails; with what it said.
    """
    return Outcome(**ask("benchmarks.processes", asdict(job), job.name, python))


def ask(
    module: str, job: Mapping[str, Any], name: str, python: str = sys.executable
) -> dict[str, Any]:
    """Have a module do a job in a process of its own; return what it says.

    Raises
    ------
    RuntimeError
        When it fails; with the name of the job and what was said.
    """
    done = subprocess.run(
        [python, "-m", module],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def own_bytes() -> int:
    """Return the memory that is this process's alone and no file's; its peak where that is all.

    Pages of files that are mapped are the system's to take back.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return _peak_bytes()


def sentences_path(source: Path) -> Path:
    """Return where the sentences of a file stand."""
    return source.with_suffix(".sentences")


def copy_rows(source: Path, target: Path) -> float:
    """Read and write all rows and do nothing between; return the seconds it took."""
    import orjson

    start = time.perf_counter()
    with source.open("rb") as rows, target.open("wb") as out:
        for line in rows:
            out.write(orjson.dumps(orjson.loads(line), option=orjson.OPT_APPEND_NEWLINE))
    return time.perf_counter() - start


def clean_with_peer(name: str, source: Path, folder: Path, task: Task) -> tuple[float, Answer]:
    """Clean a file with a peer.

    Returns
    -------
    seconds, answer
        And which sentences went, counted through all rows.
    """
    import orjson

    spans, sentences = _read_sentences(sentences_path(source))
    start = time.perf_counter()
    with source.open("rb") as file:
        rows = [orjson.loads(line) for line in file]
    answer = PEERS[name].find(sentences, task, folder)
    removed = answer.numbers
    number = 0
    with (folder / "cleaned.jsonl").open("wb") as out:
        for row, mine in zip(rows, spans, strict=True):
            gone = [i for i in range(len(mine)) if number + i in removed]
            if gone:
                row["text"] = _cut_out(row["text"].encode(), mine, gone)
            number += len(mine)
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return time.perf_counter() - start, answer


def _cut_out(text: bytes, spans: list[tuple[int, int]], gone: list[int]) -> str:
    """Return a text without some of its sentences and the space behind each."""
    parts = []
    at = 0
    for i in gone:
        parts.append(text[at : spans[i][0]])
        at = spans[i + 1][0] if i + 1 < len(spans) else spans[i][1]
    return b"".join([*parts, text[at:]]).decode()


def _read_sentences(path: Path) -> tuple[list[list[tuple[int, int]]], Sentences]:
    import orjson

    spans = []
    sentences: list[Sentence | None] = []
    with path.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            spans.append([(start, stop) for start, stop, _, _ in row])
            sentences += [
                None if text is None else Sentence(text, tuple((size, run) for size, run in runs))
                for _, _, text, runs in row
            ]
    return spans, sentences


def _run(job: dict[str, Any]) -> Outcome:
    source, warm, name = Path(job["source"]), Path(job["warm"]), job["name"]
    answer = None
    checksum = ""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / "warm", Path(folder) / "counted"]
        for path, place in zip((warm, source), places, strict=True):
            place.mkdir()
            count = 0
            if name == "floor":
                took = copy_rows(path, place / "copy")
            elif name == "dedup":
                told = (job["threads"], job["memory"], job["stretches"])
                took, count = _clean(path, place / "out", *told)
                checksum = _checksum(place / "out")
            else:
                took, answer = clean_with_peer(name, path, place, Task(**job["task"]))
                count = len(answer.numbers)
            seconds.append(took)
            peak = _peak_bytes()
    return Outcome(
        seconds=seconds[1],
        first_seconds=seconds[0],
        peak_bytes=peak,
        removed=count,
        numbers=sorted(answer.numbers) if answer else None,
        shingling_seconds=answer.shingling_seconds if answer else None,
        checksum=checksum,
    )


def _clean(
    source: Path, out: Path, threads: int, memory: int | None, stretches: bool
) -> tuple[float, int]:
    from dedup.filters import Filters
    from dedup.options import Options
    from dedup.runs import Plan, run

    start = time.perf_counter()
    plan = Plan(paths=[str(source)], out=str(out))
    options = Options(stretches=stretches)
    summary = run(plan, options, Filters(), threads=threads, memory=memory).summary
    return time.perf_counter() - start, summary["removed_duplicates"]


def _checksum(folder: Path) -> str:
    import xxhash

    found = xxhash.xxh3_128()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.relative_to(folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()


def _peak_bytes() -> int:
    """Return the most memory this process had, or the largest it started.

    ru_maxrss will not do for itself on Linux: a child starts with its parent's.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return max(int(line.split()[1]) * 1024, children)
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, children)


def _versions() -> dict[str, str]:
    found = {}
    for name, peer in PEERS.items():
        try:
            found[name] = version(peer.distribution)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["--versions"]:
        print(json.dumps(_versions()))
    else:
        print(json.dumps(asdict(_run(json.load(sys.stdin)))))
