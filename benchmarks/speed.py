"""Speed: from raw UTF-8 to signatures and to the map, one core, beside datasketch."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from benchmarks.comparison import fold_sentences, to_task
from benchmarks.peers import find_with_datasketch
from benchmarks.workloads import Workload
from dedup.columns import Texts
from dedup.duplicates import Duplicates, find_duplicates
from dedup.filters import Filters
from dedup.folding import fold_spans
from dedup.options import Options
from dedup.pipeline import clean_documents
from dedup.runs import Plan, Run, run
from dedup.shingles import hash_shingles
from dedup.signatures import sign
from dedup.slices import cut_slices
from dedup.units import Units, cut_units


def timed(work: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of several rounds, after one that does not count."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def sign_all(texts: Texts, options: Options) -> None:
    """Do all from raw UTF-8 to signatures: cut, fold, shingle, sketch; one core."""
    units = cut_units(texts, options.unit)
    bounds = cut_slices(units.stops - units.starts)
    for first, last in pairwise(bounds.tolist()):
        rows = slice(first, last)
        folded = fold_spans(texts.data, units.starts[rows], units.stops[rows])
        sign(hash_shingles(folded, options), options.num_perm, options.bands * options.rows)


def measure_stages(workload: Workload, options: Options, rounds: int = 3) -> dict[str, Any]:
    """Measure MB/s a core: cutting alone, to signatures, to duplicates, to cleaned text."""
    texts = workload.to_texts()
    documents = [(str(i), text) for i, text in enumerate(workload.documents)]
    size = workload.size_mb
    units = cut_units(texts, options.unit)
    return {
        "workload": workload.name,
        "size_mb": round(size, 2),
        "units": len(units),
        "cut_mb_s": size / timed(lambda: cut_units(texts, options.unit), rounds),
        "sign_mb_s": size / timed(lambda: sign_all(texts, options), rounds),
        "find_mb_s": size / timed(lambda: _find(texts, options), rounds),
        "clean_mb_s": size / timed(lambda: clean_documents(documents, options), rounds),
    }


def compare_with_datasketch(
    workload: Workload, options: Options, rounds: int = 3
) -> dict[str, Any]:
    """Do one task with datasketch and with ours, rounds in turn, and hold the answers together."""
    options = replace(options, stretches=False)
    texts = workload.to_texts()
    units = cut_units(texts, options.unit)
    sentences = fold_sentences(texts, units, _find(texts, options), options)
    ours: list[float] = []
    theirs: list[float] = []
    _find(texts, options)
    for _ in range(rounds):
        start = time.perf_counter()
        found = _find(texts, options)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        peer = find_with_datasketch(sentences, to_task(options))
        theirs.append(time.perf_counter() - start)
    mine = {
        int(unit): (int(canonical), float(score))
        for unit, canonical, score in zip(found.units, found.canonicals, found.scores, strict=True)
    }
    return {
        "workload": workload.name,
        "size_mb": round(workload.size_mb, 2),
        "units": len(units),
        "duplicates": len(mine),
        "datasketch_duplicates": len(peer),
        "same_answer": mine.keys() == peer.keys()
        and all(
            mine[unit][0] == peer[unit][0] and abs(mine[unit][1] - peer[unit][1]) < 1e-12
            for unit in mine
        ),
        "mb_s": workload.size_mb / statistics.median(ours),
        "datasketch_mb_s": workload.size_mb / statistics.median(theirs),
        "times_datasketch": statistics.median(
            [other / own for own, other in zip(ours, theirs, strict=True)]
        ),
    }


def measure_corpus(workloads: list[Workload], rounds: int = 3) -> dict[str, Any]:
    """Clean a JSON Lines file of all texts into another, and do the least beside it.

    The floor is one core that reads and writes the same rows with orjson and
    does nothing between. Rounds are in turn.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, copy, out = (Path(folder) / name for name in ("in.jsonl", "copy.jsonl", "out"))
        documents = 0
        with path.open("wb") as file:
            for workload in workloads:
                for i, text in enumerate(workload.documents):
                    row = {"id": f"{workload.name}-{i}", "text": text}
                    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                    documents += 1

        def floor() -> None:
            with path.open("rb") as source, copy.open("wb") as target:
                for line in source:
                    target.write(orjson.dumps(orjson.loads(line), option=orjson.OPT_APPEND_NEWLINE))

        def ours() -> Run:
            shutil.rmtree(out, ignore_errors=True)
            plan = Plan(paths=[str(path)], out=str(out))
            return run(plan, Options(), Filters())

        summary = ours().summary
        floor()
        seconds: dict[str, list[float]] = {"floor": [], "ours": []}
        for _ in range(rounds):
            for name, work in (("floor", floor), ("ours", ours)):
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
        size = path.stat().st_size / 1e6
        ratios = [own / least for own, least in zip(seconds["ours"], seconds["floor"], strict=True)]
        return {
            "size_mb": round(size, 1),
            "documents": documents,
            "duplicates": summary["duplicates"],
            "removed_share": summary["removed_chars"] / summary["chars"],
            "mb_s": size / statistics.median(seconds["ours"]),
            "floor_mb_s": size / statistics.median(seconds["floor"]),
            "times_floor": statistics.median(ratios),
        }


def _find(texts: Texts, options: Options) -> Duplicates:
    units: Units = cut_units(texts, options.unit)
    return find_duplicates(texts, units, options)
