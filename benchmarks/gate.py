"""The regression gate: answers as they were, recall as promised, no more work than before.

Answers are compared exactly. Instructions are counted by valgrind where it is
installed: what else a machine does cannot change a count. Times, which alone
see sleeping, waiting and slow memory, are ratios to a reference work done in
turn with ours, never seconds.

All of it runs in processes of their own, ``python -m benchmarks.gate``. Kernels
are compiled anew, since the disk cache of Numba does not notice a change in
another file, and for one kind of processor, so that counts are the same on all
of an architecture.
"""

import ctypes
import gc
import json
import math
import mmap
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash
from numba import njit
from numpy.typing import NDArray

from benchmarks.comparison import fold_sentences, to_task
from benchmarks.peers import find_with_datasketch
from benchmarks.quality import check_promise
from benchmarks.workloads import planted
from dedup.columns import Bytes, Texts
from dedup.corpus import changes_of, clean_corpus
from dedup.documents import Fields, FileRecord
from dedup.duplicates import Duplicates, find_duplicates
from dedup.filelist import find_files
from dedup.filters import Filters
from dedup.folding import fold_spans
from dedup.formats import read_documents, rewrite_file
from dedup.maps import map_lines
from dedup.options import RECALL_AT_THRESHOLD, Options
from dedup.runs import Plan, run
from dedup.shingles import hash_shingles
from dedup.signatures import hash_bands, sign
from dedup.units import cut_units

GATE_PATH = Path(__file__).parent / "gate.json"

_ROOT = Path(__file__).parent.parent

# Every x86-64 processor since 2013 has these, and valgrind knows no wider vectors.
_PROCESSOR = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+bmi,+bmi2,+lzcnt,+popcnt,+fma",
}

# How much more than stored is allowed. Counts repeat to one in 10,000; other
# versions of Numba and numpy compile both our work and the reference anew. The least
# times of single tries spread by 6 %; with two threads `clean` spread by 20 %. Two
# generations of one maker's processors, of one name, differed by up to 1.7 times, since
# one has wider vectors: what is not stored is held against the greatest that is.
COUNT_ROOM, COUNT_ROOM_ELSEWHERE = 1.03, 1.15
TIME_ROOM, TIME_ROOM_ELSEWHERE = 1.15, 1.5

# A stage over its room is timed so often again.
ATTEMPTS = 8
_TURNS, _TURN_SECONDS = 5, 0.25

# Times are taken of a fifth of the text: beside two processes that never rest, a
# work of 20 ms took 2.3 times its least in all of 45 rounds, one of 3 ms 1.04 times.
_TIMED_PART = 5

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_CYRILLIC = str.maketrans(_ALPHABET, "абцдефгхийклмнопярстувыъжз")
_THAI = str.maketrans(_ALPHABET, "กขคงจฉชซญฎฏฐฑฒณดตถทธนบปผฝพ")

# The instructions that valgrind takes for a request to its tool: the address of
# six words comes in rdi, what it says goes in rax. Elsewhere they do nothing.
_REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
_ZERO, _DUMP, _START, _STOP = (0x43540000 + number for number in (1, 3, 4, 5))


@dataclass(frozen=True)
class Finding:
    """One line of the gate.

    Attributes
    ----------
    name
        What is held against what.
    measured, allowed
        As they are shown.
    holds
        Whether one allows the other.
    """

    name: str
    measured: str
    allowed: str
    holds: bool

    def __str__(self) -> str:
        return f"{'ok' if self.holds else 'RED':<3} {self.name}: {self.measured}; {self.allowed}"


def run_gate(write: bool = False, path: Path = GATE_PATH) -> int:
    """Hold this code against the stored figures, a line for each check.

    Parameters
    ----------
    write
        Store the figures of this run instead.

    Returns
    -------
    int
        The exit code: 1 when a check does not hold.
    """
    with _make_folder() as folder:
        machine = describe_machine()
        answers = _run_part(folder, "answers")
        why_not = _why_no_counts()
        counts = {} if why_not else _run_part(folder, "counts")
        times = _run_part(folder, "times")
        if write:
            if why_not:
                print(f"nothing is stored: {why_not}", file=sys.stderr)
                return 1
            for _ in range(ATTEMPTS):
                times = _least(times, _run_part(folder, "times"))
            ratios = {name: round(ratio, 4) for name, ratio in to_ratios(times).items()}
            # Those of other processors stay.
            known = json.loads(path.read_text())["times"] if path.exists() else {}
            stored = {"machine": machine, "answers": answers, "counts": counts}
            stored["times"] = known | {machine["processor"]: ratios}
            path.write_text(json.dumps(stored, indent=1) + "\n")
            return 0
        gate = json.loads(path.read_text())
        slow = check_times(to_ratios(times), gate, machine)
        for _ in range(ATTEMPTS):
            again = [name for name, one in slow.items() if not one.holds]
            if not again:
                break
            times = _least(times, _run_part(folder, "times", *again))
            slow = check_times(to_ratios(times), gate, machine)
    if why_not:
        print(f"instructions are not counted: {why_not}")
    findings = [*check_answers(answers, gate["answers"])]
    findings += [*check_counts(counts, gate, machine).values(), *slow.values()]
    for finding in findings:
        print(finding)
    red = [finding.name for finding in findings if not finding.holds]
    if red:
        print(f"the gate is red: {', '.join(red)}", file=sys.stderr)
    return int(bool(red))


def check_answers(answers: Mapping[str, Any], stored: Mapping[str, Any]) -> list[Finding]:
    """Hold what was found against what is there, what is promised and what was found before."""
    promise, pairs, kept = answers["promise"], answers["pairs"], answers["kept"]
    findings = [
        Finding(
            "recall promised at the threshold",
            f"{promise:.4f}",
            f"{RECALL_AT_THRESHOLD} or more",
            promise >= RECALL_AT_THRESHOLD,
        ),
        Finding(
            "pairs just over the threshold that are missed",
            f"{kept['missed']} of {kept['pairs']}",
            f"{kept['expected_missed']:.0f} are expected, p = {kept['p_value']:.2g}",
            kept["holds"],
        ),
        Finding(
            "pairs just under the threshold that are found",
            str(pairs["found_under"]),
            "none is right",
            pairs["found_under"] == 0,
        ),
        Finding(
            "sentences judged otherwise than by datasketch",
            f"{answers['datasketch']['otherwise']} of {answers['datasketch']['units']}",
            "none is right",
            answers["datasketch"]["otherwise"] == 0,
        ),
    ]
    for name, text in (("text", "made text"), ("pairs", "pairs")):
        one, other = answers[name], stored[name]
        findings += [
            Finding(
                f"{text}, as it is made",
                one["made"],
                f"{other['made']} is stored",
                one["made"] == other["made"],
            ),
            Finding(
                f"duplicates in the {text}",
                f"{one['duplicates']}, checksum {one['checksum']}",
                f"{other['duplicates']}, checksum {other['checksum']} are stored",
                (one["duplicates"], one["checksum"]) == (other["duplicates"], other["checksum"]),
            ),
        ]
    return findings


def check_counts(
    counts: Mapping[str, int], gate: Mapping[str, Any], machine: Mapping[str, Any]
) -> dict[str, Finding]:
    """Hold instructions, in units of those of the reference work, against the stored ones.

    Parameters
    ----------
    counts
        Stage to instructions, `reference` among them; nothing where none were counted.
    """
    is_same = all(machine[name] == gate["machine"][name] for name in ("versions", "architecture"))
    room = COUNT_ROOM if is_same else COUNT_ROOM_ELSEWHERE
    where = "" if is_same else ", other versions"
    findings = {}
    for name, stored in gate["counts"].items() if counts else ():
        if name == "reference":
            continue
        ratio = counts[name] / counts["reference"]
        most = room * stored / gate["counts"]["reference"]
        findings[name] = Finding(
            f"instructions, {name}",
            f"{ratio:.4f} of the reference work",
            f"at most {most:.4f} (stored x {room}{where})",
            ratio <= most,
        )
    return findings


def check_times(
    times: Mapping[str, float], gate: Mapping[str, Any], machine: Mapping[str, Any]
) -> dict[str, Finding]:
    """Hold times, in units of that of the reference work, against the stored ones."""
    known: Mapping[str, Mapping[str, float]] = gate["times"]
    is_same = machine["processor"] in known
    room = TIME_ROOM if is_same else TIME_ROOM_ELSEWHERE
    where = "" if is_same else ", another processor"
    held = [known[machine["processor"]]] if is_same else list(known.values())
    most = {name: room * max(one[name] for one in held) for name in held[0]}
    return {
        name: Finding(
            f"time, {name}",
            f"{times[name]:.3f} of the reference work",
            f"at most {allowed:.3f} (stored x {room}{where})",
            times[name] <= allowed,
        )
        for name, allowed in most.items()
    }


def to_ratios(times: Mapping[str, float]) -> dict[str, float]:
    """Return the least seconds of stages in units of those of the reference work."""
    reference = times["reference"]
    return {name: least / reference for name, least in times.items() if name != "reference"}


def describe_machine() -> dict[str, Any]:
    """Return what counts and times depend on beside our code."""
    info = Path("/proc/cpuinfo")
    said = dict(
        re.findall(r"(?m)^(\w[\w ]*?)\s*: (.*)$", info.read_text() if info.exists() else "")
    )
    # One name stands for several generations.
    told = [f"{name} {said[name]}" for name in ("cpu family", "model") if name in said]
    packages = ("numpy", "numba", "llvmlite", "orjson", "xxhash")
    return {
        "architecture": platform.machine(),
        "processor": ", ".join([said.get("model name") or platform.processor(), *told]),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }


def make_text(size_mb: float = 0.8) -> list[str]:
    """Make documents with planted repeats, half of them in three other scripts."""
    parts: list[tuple[float, Callable[[str], str]]] = [
        (0.5, str),
        (0.15, _to_cyrillic),
        (0.15, _to_han),
        (0.2, _to_thai),
    ]
    return [
        write(text)
        for seed, (share, write) in enumerate(parts, 1)
        for text in planted(share * size_mb, seed).documents
    ]


def make_pairs(count: int = 3000, under: int = 600, seed: int = 5) -> tuple[list[str], list[bool]]:
    """Make pairs of sentences just over and just under the threshold of 0.7.

    Sentences are random letters, so that no two of different pairs are alike.

    Returns
    -------
    documents
        A pair each, in two paragraphs.
    is_over
        Whether the score of each is 0.7 or more. Scores lie within 0.68 and 0.72.
    """
    rng = random.Random(seed)
    documents: list[str] = []
    is_over: list[bool] = []
    left = {True: count, False: under}
    while any(left.values()):
        words = ("".join(rng.choices(_ALPHABET, k=rng.randint(2, 9))) for _ in range(99))
        first = " ".join(words)[: rng.randint(60, 200)].strip()
        letters = list(first)
        for _ in range(round(len(first) * 0.032 + rng.random() * 2)):
            at = rng.randrange(len(first))
            if letters[at] != " ":
                letters[at] = rng.choice(_ALPHABET)
        second = "".join(letters)
        one, other = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (first, second))
        score = len(one & other) / len(one | other)
        over = score >= 0.7
        if 0.68 <= score < 0.72 and left[over]:
            left[over] -= 1
            documents.append(f"{first}\n\n{second}")
            is_over.append(over)
    return documents, is_over


def measure_answers() -> dict[str, Any]:
    """Find the duplicates of the made texts, and compare some of them with datasketch."""
    options = Options()
    text = make_text()
    pairs, is_over = make_pairs()
    answers: dict[str, Any] = {"promise": options.recall, "kept": check_promise(options)}
    for name, documents in (("text", text), ("pairs", pairs)):
        texts = _to_texts(documents)
        units = cut_units(texts, options.unit)
        found = find_duplicates(texts, units, options)
        answers[name] = {
            "made": xxhash.xxh3_64_hexdigest(texts.data.tobytes()),
            "duplicates": len(found),
            "checksum": _checksum(found),
        }
    over = np.array(is_over)
    # The second of a pair is a duplicate of the first or of nothing.
    is_found = np.isin(2 * np.arange(len(over)) + 1, found.units)
    answers["pairs"] |= {
        "found_under": int((~over & is_found).sum()),
    }
    answers["datasketch"] = _compare_with_datasketch([*text[:40], *pairs[::12]], options)
    return answers


def measure_times(folder: Path, stages: Collection[str] = ()) -> dict[str, float]:
    """Measure the least seconds of stages and of the reference work, done in turn.

    Every stage gets the same time, so that short works, which may run between
    two interruptions, are done often.
    """
    works = _prepare(folder, part=_TIMED_PART)
    reference = works.pop("reference")
    least = {"reference": math.inf, **dict.fromkeys(stages or works, math.inf)}
    for _ in range(_TURNS):
        for name in stages or works:
            end = time.perf_counter() + _TURN_SECONDS
            while True:
                least["reference"] = min(least["reference"], _time(reference))
                for _ in range(3):
                    least[name] = min(least[name], _time(works[name]))
                if time.perf_counter() > end:
                    break
    return least


def count_instructions(folder: Path) -> dict[str, int]:
    """Count the instructions of each stage; for a process that valgrind runs."""
    room = mmap.mmap(-1, len(_REQUEST), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    room.write(_REQUEST)
    code = (ctypes.c_char * len(_REQUEST)).from_buffer(room)
    call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(ctypes.addressof(code))

    def request(number: int, text: bytes = b"") -> None:
        name = ctypes.create_string_buffer(text)
        words = (ctypes.c_uint64 * 6)(number, ctypes.addressof(name))
        call(ctypes.addressof(words))

    for name, work in _prepare(folder).items():
        work()
        gc.collect()
        request(_START)
        request(_ZERO)
        work()
        request(_DUMP, name.encode())
        request(_STOP)
    dumped = (folder / "counts").read_text()
    found = re.findall(r"(?s)Client Request: (\w+)\n.*?\ntotals: (\d+)", dumped)
    return {name: int(count) for name, count in found}


# Not `dedup.kernels.kernel`: what slows that down must not slow this.
@njit(cache=True, nogil=True)
def _mix(
    data: Bytes, table: NDArray[np.uint16], factors: NDArray[np.uint32], slots: NDArray[np.uint32]
) -> None:
    state = np.uint32(2166136261)
    for at in range(len(data)):
        state = np.uint32((state ^ np.uint32(table[data[at]])) * np.uint32(0x85EBCA6B))
        state ^= state >> np.uint32(13)
        for j in range(len(slots)):
            slots[j] = min(slots[j], np.uint32(factors[j] * state))


def _prepare(folder: Path, part: int = 1) -> dict[str, Callable[[], Any]]:
    """Return the works: the reference, which never changes, and our stages.

    Parameters
    ----------
    part
        One of so many documents is worked on.
    """
    options = Options()
    path, out = folder / f"text-{part}.jsonl", folder / f"out-{part}"
    lines = (folder / "text.jsonl").read_bytes().splitlines(keepends=True)[::part]
    path.write_bytes(b"".join(lines))
    texts = _to_texts([orjson.loads(line)["text"] for line in lines])
    ids = _to_texts([str(i) for i in range(len(texts))])
    units = cut_units(texts, options.unit)
    folded = fold_spans(texts.data, units.starts, units.stops)
    shingles = hash_shingles(folded, options)
    no_numbers = np.zeros(len(units), np.uint64)
    corpus = clean_corpus(texts, options, Filters())

    # Alike in kind: look-ups, multiplications, a minimum over slots; a sort.
    data = texts.data[: 400_000 // part]
    table = np.arange(256, dtype=np.uint16)[::-1].copy()
    factors = np.arange(1, 64, 2, dtype=np.uint32)
    numbers = np.random.default_rng(1).integers(0, 1 << 62, 50_000 // part)

    def reference() -> None:
        _mix(data, table, factors, np.full(32, 0xFFFFFFFF, np.uint32))
        np.sort(numbers)

    file = find_files([path])[0][0]
    changes = changes_of(corpus, 0, len(texts))

    def read() -> FileRecord:
        reader = read_documents(file, Fields(), [])
        for _ in reader:
            pass
        return reader.record

    record = read()

    def clean() -> None:
        shutil.rmtree(out, ignore_errors=True)
        plan = Plan(paths=[str(path)], out=str(out))
        run(plan, options, Filters(), threads=1, memory=1 << 30)

    return {
        "reference": reference,
        "cut": lambda: cut_units(texts, options.unit),
        "fold": lambda: fold_spans(texts.data, units.starts, units.stops),
        "shingle": lambda: hash_shingles(folded, options),
        "sketch": lambda: hash_bands(
            sign(shingles, options.num_perm, options.bands * options.rows),
            no_numbers,
            options.bands,
            options.rows,
        ),
        "find": lambda: find_duplicates(texts, units, options),
        "read": read,
        "map": lambda: sum(map(len, map_lines(corpus, ids, 0, {}))),
        "rewrite": lambda: rewrite_file(file, Fields(), folder / "mirror", changes, record),
        "clean": clean,
    }


def _least(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the least of two tries: what else the machine does can only add."""
    return {name: min(least, other.get(name, math.inf)) for name, least in one.items()}


def _time(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _make_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder, in memory where there is such a place: disks are not what is measured."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def _why_no_counts() -> str:
    """Return why instructions cannot be counted here; nothing where they can."""
    if platform.machine() != "x86_64":
        return f"that is made for x86-64, not for {platform.machine()}"
    return "" if shutil.which("valgrind") else "there is no valgrind"


def _run_part(folder: str, part: str, *stages: str) -> dict[str, Any]:
    """Run a part of the gate in a process of its own.

    Raises
    ------
    RuntimeError
        When it fails; with what it said.
    """
    command = [sys.executable, "-m", "benchmarks.gate", folder, part, *stages]
    if part == "counts":
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes"]
        command = [*valgrind, f"--callgrind-out-file={folder}/counts", *command]
    environment = {
        **os.environ,
        **(_PROCESSOR if platform.machine() == "x86_64" else {}),
        "NUMBA_CACHE_DIR": f"{folder}/kernels",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=_ROOT, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{part}: {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _to_cyrillic(text: str) -> str:
    return text.lower().translate(_CYRILLIC)


def _to_thai(text: str) -> str:
    """Write without spaces but those between sentences."""
    return re.sub(r"(?<!\.) ", "", text.lower()).replace(".", "").translate(_THAI)


def _to_han(text: str) -> str:
    """Write a character for a word."""

    def to_character(word: re.Match[str]) -> str:
        return chr(0x4E00 + zlib.crc32(word[0].encode()) % 5000)

    characters = re.sub("[a-z]+", to_character, text.lower())
    return re.sub("[. ]+", lambda mark: "\u3002" if "." in mark[0] else "", characters)


def _to_texts(documents: Collection[str]) -> Texts:
    return Texts.from_bytes([text.encode() for text in documents])


def _checksum(found: Duplicates) -> str:
    state = xxhash.xxh3_64()
    for column in (found.units, found.canonical_starts, found.canonical_stops, found.kinds):
        state.update(column.astype("<i8").tobytes())
    return state.hexdigest()


def _compare_with_datasketch(documents: Collection[str], options: Options) -> dict[str, int]:
    """Count the sentences that datasketch judges otherwise."""
    options = replace(options, stretches=False)
    texts = _to_texts(documents)
    units = cut_units(texts, options.unit)
    found = find_duplicates(texts, units, options)
    theirs = find_with_datasketch(fold_sentences(texts, units, found, options), to_task(options))
    ours = {
        unit: (canonical, score)
        for unit, canonical, score in zip(
            found.units.tolist(), found.canonicals.tolist(), found.scores.tolist(), strict=True
        )
    }
    otherwise = {
        unit
        for unit in ours.keys() | theirs.keys()
        if (unit in ours) != (unit in theirs)
        or ours[unit][0] != theirs[unit][0]
        or abs(ours[unit][1] - theirs[unit][1]) > 1e-12
    }
    return {"units": len(units), "otherwise": len(otherwise)}


def main(folder: Path, part: str, stages: list[str]) -> None:
    """Run a part of the gate; what was measured goes as JSON to standard output."""
    measured: dict[str, Any]
    match part:
        case "answers":
            with (folder / "text.jsonl").open("wb") as file:
                for i, text in enumerate(make_text()):
                    row = {"id": str(i), "text": text}
                    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            measured = measure_answers()
            # Compiled here, so that valgrind need not run the compiler.
            for work in _prepare(folder).values():
                work()
        case "counts":
            measured = count_instructions(folder)
        case _:
            measured = measure_times(folder, stages)
    print(json.dumps(measured))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
