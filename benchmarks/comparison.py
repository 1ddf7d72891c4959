"""Comparison: file to cleaned file, ours beside the floor and peers, and on larger files."""

import os
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from benchmarks.peers import PEERS, Sentence, Sentences, Task
from benchmarks.processes import Job, Outcome, find_peers, measure, sentences_path
from benchmarks.workloads import Workload, grow, planted
from dedup.columns import Texts
from dedup.duplicates import Duplicates, find_duplicates
from dedup.folding import fold_spans, folding_table
from dedup.options import Options
from dedup.tables import folding as table
from dedup.units import Units, cut_units


def to_task(options: Options) -> Task:
    """Return what peers are told of options."""
    return Task(**{field.name: getattr(options, field.name) for field in fields(Task)})


def fold_sentences(texts: Texts, units: Units, found: Duplicates, options: Options) -> Sentences:
    """Return what every peer is given for nothing: folded sentences, None for a short one."""
    folded = fold_spans(texts.data, units.starts, units.stops)
    borders = zip(folded.offsets[:-1].tolist(), folded.offsets[1:].tolist(), strict=True)
    raw = folded.data.tobytes()
    sizes = (options.shingle_chars, options.shingle_chars_han, options.shingle_chars_thai)
    return [
        _cut_runs(raw[start:stop].decode(), sizes) if compared else None
        for (start, stop), compared in zip(borders, found.compared.tolist(), strict=True)
    ]


def _cut_runs(text: str, sizes: Sequence[int]) -> Sentence:
    """Cut a folded text where the way of writing changes, which parts shingles too."""
    if text.isascii():
        return Sentence(text, ((sizes[0], text),))
    entries, pages = folding_table().entries, folding_table().pages

    def writing(character: str) -> int:
        entry = int(entries[(int(pages[ord(character) >> 8]) << 8) + (ord(character) & 255)])
        return entry >> table.WRITING_SHIFT & table.WRITING_MASK

    kinds = [writing(character) for character in text]
    if not any(kinds):
        return Sentence(text, ((sizes[0], text),))
    # A space goes with the letters around it, and goes away where these change.
    for i, character in enumerate(text):
        if character == " ":
            kinds[i] = kinds[i - 1]
    runs = []
    for kind, part in groupby(zip(kinds, text, strict=True), key=lambda pair: pair[0]):
        run = "".join(character for _, character in part)
        run = run.strip() if kind == 0 else run.replace(" ", "")
        runs.append((sizes[kind], run))
    return Sentence(text, tuple(runs))


def compare_with_peers(
    workload: Workload, options: Options, rounds: int = 3, pythons: Iterable[str] = ()
) -> dict[str, Any]:
    """Clean a JSON Lines file with each peer that is installed, rounds in turn.

    Beside them stand ours, with one thread and with all, and the floor: read
    and write the same rows with orjson and do nothing between. Each run has a
    process of its own; peers take as many threads as they do by themselves.

    Parameters
    ----------
    pythons
        Other interpreters to look for peers in.

    Returns
    -------
    dict
        Of each: median seconds, how many times ours of the same round it takes
        with one thread, peak memory, how many sentences it removed, how many of
        those that ours removes are among them (`recall`) and how many of them
        ours removes too (`agreed`).
    """
    places = find_peers([sys.executable, *pythons])
    task = to_task(options)
    with tempfile.TemporaryDirectory() as folder:
        source, warm = Path(folder) / "in.jsonl", Path(folder) / "warm.jsonl"
        mine, units = _write_task(workload, options, source)
        _write_task(planted(0.02), options, warm)

        def job(name: str, threads: int = 1) -> Job:
            told = task if name in PEERS else None
            return Job(name, str(source), str(warm), told, threads)

        runs = {"floor": (sys.executable, job("floor"))}
        for threads in _thread_counts():
            runs[_thread_name(threads)] = (sys.executable, job("dedup", threads))
        runs |= {name: (python, job(name)) for name, (python, _) in places.items()}
        outcomes = _take_turns(runs, rounds)
    rows = []
    for name, done in outcomes.items():
        row: dict[str, Any] = {"name": name, "removed": done[0].removed}
        row |= _medians(done, workload.size_mb)
        row["times"] = _ratio(done, outcomes[_thread_name(1)])
        if name in PEERS:
            removed = set(done[0].numbers or ())
            shared = len(mine & removed)
            row |= {
                "version": places[name][1],
                "check": PEERS[name].check,
                "slots": PEERS[name].slots,
                "recall": shared / len(mine) if mine else 1.0,
                "agreed": shared / len(removed) if removed else 1.0,
            }
        elif name != "floor":
            if done[0].removed != len(mine):
                raise AssertionError(f"{name}: {done[0].removed} removed, not {len(mine)}")
            row["check"] = "exact"
            row["slots"] = f"{options.num_perm}, {options.bands} x {options.rows}"
        rows.append(row)
    return {
        "workload": workload.name,
        "size_mb": round(workload.size_mb, 2),
        "documents": len(workload.documents),
        "sentences": units,
        "duplicates": len(mine),
        "rows": rows,
        "missing": [name for name in PEERS if name not in places],
    }


def measure_growth(parts: list[Workload], sizes_mb: list[float], rounds: int = 3) -> list[Any]:
    """Clean ever larger JSON Lines files of natural text, with one thread and with all.

    Each run has a process of its own; `grow` says what a larger file is made of.
    """
    rows = []
    for size in sizes_mb:
        with tempfile.TemporaryDirectory() as folder:
            source, warm = Path(folder) / "in.jsonl", Path(folder) / "warm.jsonl"
            _write_rows(warm, planted(0.02).documents)
            documents, size_mb = _write_rows(source, grow(parts, size))
            runs = {
                _thread_name(threads): (
                    sys.executable,
                    Job("dedup", str(source), str(warm), None, threads),
                )
                for threads in _thread_counts()
            }
            outcomes = _take_turns(runs, rounds)
        if len({outcome.checksum for done in outcomes.values() for outcome in done}) > 1:
            raise AssertionError("the threads decide what is written")
        for threads, done in zip(_thread_counts(), outcomes.values(), strict=True):
            rows.append(
                {
                    "size_mb": round(size_mb, 1),
                    "documents": documents,
                    "threads": threads,
                    "removed": done[0].removed,
                    **_medians(done, size_mb),
                }
            )
    return rows


def measure_memory(
    parts: list[Workload], limits_mb: list[float], rounds: int = 3
) -> list[dict[str, Any]]:
    """Clean a JSON Lines file of all texts with less and less memory.

    Returns
    -------
    list
        A row for each limit, the first without one: median seconds, peak
        memory, and whether all files are the same as without a limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, warm = Path(folder) / "in.jsonl", Path(folder) / "warm.jsonl"
        _write_rows(warm, planted(0.02).documents)
        _, size_mb = _write_rows(source, (text for part in parts for text in part.documents))
        threads = max(_thread_counts())
        limits = [None, *limits_mb]
        runs = {
            str(limit): (
                sys.executable,
                Job(
                    "dedup",
                    str(source),
                    str(warm),
                    threads=threads,
                    memory=None if limit is None else int(limit * 1e6),
                ),
            )
            for limit in limits
        }
        outcomes = _take_turns(runs, rounds)
    expected = outcomes["None"][0].checksum
    return [
        {
            "limit_mb": limit,
            "size_mb": round(size_mb, 1),
            "same_bytes": all(outcome.checksum == expected for outcome in done),
            **_medians(done, size_mb),
        }
        for limit, done in zip(limits, outcomes.values(), strict=True)
    ]


def _thread_counts() -> list[int]:
    return sorted({1, os.cpu_count() or 1})


def _thread_name(threads: int) -> str:
    return f"dedup, {threads} thread{'s' if threads > 1 else ''}"


def _take_turns(runs: dict[str, tuple[str, Job]], rounds: int) -> dict[str, list[Outcome]]:
    """Run jobs in turn, and one round before, which compiles and is not counted."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, (python, job) in runs.items():
            if turn == 0:
                measure(replace(job, source=job.warm), python)
            else:
                outcomes[name].append(measure(job, python))
    return outcomes


def _medians(done: list[Outcome], size_mb: float) -> dict[str, float]:
    seconds = statistics.median(outcome.seconds for outcome in done)
    return {
        "seconds": seconds,
        "mb_s": size_mb / seconds,
        "peak_mb": statistics.median(outcome.peak_bytes for outcome in done) / 1e6,
    }


def _ratio(done: list[Outcome], base: list[Outcome]) -> float:
    return statistics.median(
        mine.seconds / theirs.seconds for mine, theirs in zip(done, base, strict=True)
    )


def _write_rows(path: Path, texts: Iterable[str]) -> tuple[int, float]:
    """Write texts as JSON Lines; return how many there were and their size in MB."""
    number = size = 0
    with path.open("wb") as file:
        for number, text in enumerate(texts, 1):
            row = {"id": str(number), "text": text}
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            size += len(text.encode())
    return number, size / 1e6


def _write_task(workload: Workload, options: Options, path: Path) -> tuple[set[int], int]:
    """Write a file and its sentences; return which of them ours removes, and their count."""
    _write_rows(path, workload.documents)
    texts = workload.to_texts()
    units = cut_units(texts, options.unit)
    found = find_duplicates(texts, units, options)
    sentences = fold_sentences(texts, units, found, options)
    with sentences_path(path).open("wb") as file:
        for first, last, at in zip(
            units.offsets[:-1].tolist(),
            units.offsets[1:].tolist(),
            texts.offsets[:-1].tolist(),
            strict=True,
        ):
            starts = (units.starts[first:last] - at).tolist()
            stops = (units.stops[first:last] - at).tolist()
            row = [
                (start, stop, *(sentence or (None, None)))
                for start, stop, sentence in zip(starts, stops, sentences[first:last], strict=True)
            ]
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return set(found.units.tolist()), len(units)
