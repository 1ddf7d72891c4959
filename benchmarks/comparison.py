"""Comparison: file to cleaned file, ours beside the floor and peers, and on larger files."""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, replace
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks.environments import Place, find_peers
from benchmarks.generator import Planted, Span
from benchmarks.peers import PEERS, Sentence, Sentences, Task, find_digits
from benchmarks.processes import Job, Outcome, measure, sentences_path
from benchmarks.workloads import Workload, grow, mix
from dedup.columns import Texts
from dedup.duplicates import Duplicates, find_duplicates
from dedup.folding import fold_spans, folding_table
from dedup.options import Options
from dedup.tables import folding as table
from dedup.units import Units, cut_units

# The first run of a process. With 0.02 MB two kernels of ours were still loaded, and
# most memory touched, in the run that counts: 0.16 s for 4 MB, of which 0.13 s remain
# behind 1 MB and 0.12 s in later runs of the same process.
_WARM_MB = 1.0

# A peer that takes longer has no further rounds.
_SLOW_SECONDS = 8.0

# Texts that share nothing, of which ten come again as they are and ten edited.
_CHECKED = (
    "The ferry to the northern islands leaves at dawn from the old stone pier behind the "
    "fish market unless a storm is coming.",
    "My grandmother kept every letter she had ever been sent in a blue tin box under the "
    "stairs and never let us open it.",
    "Before the committee votes on the new budget its members want to hear what the mayor "
    "has to say about broken bridges.",
    "Copper wires carry the signal from the roof to the cellar, where a small grey machine "
    "turns it into pictures once an hour.",
    "Nobody expected the young violinist to win the prize, least of all her teacher, who "
    "had gone home before the last round.",
    "If you plant garlic in the autumn and cover it with straw, the cloves will sleep under "
    "snow and sprout in early spring.",
    "The museum bought eleven drawings by an unknown painter and later found that somebody "
    "had forged the whole collection.",
    "Wolves follow the reindeer across the frozen lake each winter, and hunters have learnt "
    "to read their tracks like a map.",
    "A tired clerk stamped the forms without reading them, so that for a week the city "
    "issued permits to anyone who asked.",
    "Our train stood in the tunnel for two hours while engineers looked for a fault that "
    "turned out to be a chewed cable.",
    "Bakers in this valley still use the sour dough that their great grandparents brought "
    "over the pass in wooden buckets.",
    "When interest rates fall, families borrow more to build houses, and the price of "
    "timber climbs within a few months.",
    "The lighthouse keeper wrote down the weather every evening for forty years and missed "
    "only a single day through illness.",
    "Bees that visit clover make a pale and gentle honey, whereas those near the chestnut "
    "woods bring home a bitter dark one.",
    "In the final minute the goalkeeper ran forward, jumped above everyone and headed the "
    "ball into the far upper corner.",
    "Archaeologists opened the tomb with great care, only to learn that robbers had emptied "
    "it many centuries before them.",
    "A good translator hears the rhythm of a poem first and worries about the meaning of "
    "single words only much later on.",
    "The court ruled that a landlord may not forbid his tenants to hang their washing on "
    "the balcony during the summer.",
    "Doctors advise walkers to check their legs for ticks after a day in tall grass and to "
    "remove any of them at once.",
    "Because the river had changed its bed, the border between the two villages now ran "
    "through the middle of an orchard.",
)
_REPEATED = 10
# Of ten edited ones as many must go, where a peer claims to find such.
_EDITS_FOUND = 7


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


def check_peer(name: str, python: str, options: Options) -> str | None:
    """Hold a peer to a small truth: forty sentences of which twenty repeat others.

    All exact repeats have to go and nothing that repeats nothing; of repeats with a
    word more or less at least seven in ten, where the peer claims to find such.

    Returns
    -------
    str or None
        What it did, when that is not right.
    """
    texts = checked_sentences()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        _write_task(Workload("checked", texts), options, source)
        job = Job(name, str(source), str(source), to_task(options))
        try:
            removed = set(measure(job, python).numbers or ())
        except RuntimeError as error:
            return str(error).splitlines()[-1]
    kinds = {"others": 0, "exact repeats": 0, "light edits": 0}
    for number in removed:
        kinds[[*kinds][max(0, number // _REPEATED - 1)]] += 1
    least = _EDITS_FOUND if PEERS[name].finds_edits else 0
    if (kinds["others"], kinds["exact repeats"]) == (0, _REPEATED) and kinds[
        "light edits"
    ] >= least:
        return None
    of = (len(_CHECKED), _REPEATED, _REPEATED)
    told = [
        f"{count} of {all_} {kind}" for (kind, count), all_ in zip(kinds.items(), of, strict=True)
    ]
    return f"removed {', '.join(told)}"


def checked_sentences() -> list[str]:
    """Return twenty sentences, ten of them again, and the other ten edited.

    Of those a word goes: in turn the first, one in the middle, the last.
    """
    edited = []
    for i, text in enumerate(_CHECKED[_REPEATED:]):
        words = text.split()
        del words[i % 3 * (len(words) - 1) // 2]
        edited.append(" ".join(words))
    return [*_CHECKED, *_CHECKED[:_REPEATED], *edited]


def find_right_peers(
    names: Collection[str], pythons: Iterable[str], options: Options
) -> tuple[dict[str, Place], dict[str, str], dict[str, str]]:
    """Find peers and check them.

    Returns
    -------
    places, missing, failed
        Of each peer: where it stands, or why it is not there, or what it did instead.
    """
    found, missing = find_peers(names, pythons)
    checks = {name: check_peer(name, place.python, options) for name, place in found.items()}
    failed = {name: said for name, said in checks.items() if said}
    return {name: found[name] for name in found if name not in failed}, missing, failed


def compare_with_peers(
    workload: Workload,
    options: Options,
    rounds: int = 3,
    pythons: Iterable[str] = (),
    names: Collection[str] = tuple(PEERS),
    planted: Sequence[Planted] = (),
) -> dict[str, Any]:
    """Clean a JSON Lines file with each peer that is to be had, rounds in turn.

    Beside them stand ours, with one thread and with all, and the floor: read
    and write the same rows with orjson and do nothing between. Each run has a
    process of its own; peers take as many threads as they do by themselves. A peer
    is checked before it is timed, and one that takes longer than 8 s has one round.

    Parameters
    ----------
    pythons
        Interpreters to look for peers in before any other.
    names
        The peers; what they need is installed in environments of their own.
    planted
        The truth about the documents, where it is known.

    Returns
    -------
    dict
        `rows`: of each, median seconds, how many times ours takes with one thread, run
        right before and after, the seconds of a first run over `warm_mb`, what of its
        seconds went into shingling here, peak memory, how many sentences it removed,
        how many of those that ours removes are among them (`recall`) and how many of
        them ours removes too (`agreed`); with a truth, the share of planted repeats at
        or above the threshold that went (`truth_recall`), and of what went the share
        that repeats nothing (`wrong`). `given_seconds`: what cutting and folding,
        which peers are given, takes ours. `missing` and `failed`: why not timed.
    """
    # What no peer does is not asked of ours either.
    options = replace(options, stretches=False)
    places, missing, failed = find_right_peers(names, pythons, options)
    task = to_task(options)
    with tempfile.TemporaryDirectory() as folder:
        source, warm = Path(folder) / "in.jsonl", Path(folder) / "warm.jsonl"
        given = _write_task(workload, options, source)
        mine = given.removed
        begun = _begin(workload, _WARM_MB)
        _write_task(begun, options, warm)

        def job(name: str, threads: int = 1) -> Job:
            told = task if name in PEERS else None
            return Job(name, str(source), str(warm), told, threads, stretches=False)

        runs = {"floor": (sys.executable, job("floor"))}
        for threads in _thread_counts():
            runs[_thread_name(threads)] = (sys.executable, job("dedup", threads))
        runs |= {name: (place.python, job(name)) for name, place in places.items()}
        outcomes, times = _take_turns_with(_thread_name(1), runs, rounds)
    truth = find_truth(workload.documents, given, planted, task) if planted else None
    rows = []
    for name, done in outcomes.items():
        row: dict[str, Any] = {"name": name, "removed": done[0].removed, "rounds": len(done)}
        row |= _medians(done, workload.size_mb)
        row["first_seconds"] = statistics.median(outcome.first_seconds for outcome in done)
        row["times"] = times[name]
        if name in PEERS:
            removed = set(done[0].numbers or ())
            shared = len(mine & removed)
            row |= {
                "version": places[name].version,
                "check": PEERS[name].check,
                "slots": PEERS[name].slots,
                "lacks": PEERS[name].lacks,
                "finds_edits": PEERS[name].finds_edits,
                "given": "sentences, folded",
                "shingling_seconds": _median_shingling(done),
                "recall": shared / len(mine) if mine else 1.0,
                "agreed": shared / len(removed) if removed else 1.0,
            }
            row |= truth.score(removed) if truth else {}
        elif name != "floor":
            if done[0].removed != len(mine):
                raise AssertionError(f"{name}: {done[0].removed} removed, not {len(mine)}")
            row["check"] = "exact"
            row["slots"] = f"{options.num_perm}, {options.bands} x {options.rows}"
            row |= truth.score(mine) if truth else {}
        rows.append(row)
    return {
        "workload": workload.name,
        "size_mb": round(workload.size_mb, 2),
        "warm_mb": round(begun.size_mb, 2),
        "documents": len(workload.documents),
        "sentences": len(given.units),
        "duplicates": len(mine),
        "planted": len(truth.repeats) if truth else None,
        "given_seconds": _time_given(workload, options),
        "rows": rows,
        "missing": missing,
        "failed": failed,
    }


def measure_growth(parts: list[Workload], sizes_mb: list[float], rounds: int = 3) -> list[Any]:
    """Clean ever larger JSON Lines files of natural text, with one thread and with all.

    Each run has a process of its own; `grow` says what a larger file is made of.
    """
    rows = []
    for size in sizes_mb:
        with tempfile.TemporaryDirectory() as folder:
            source, warm = Path(folder) / "in.jsonl", Path(folder) / "warm.jsonl"
            _write_rows(warm, mix(parts, _WARM_MB).documents)
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


def fit_growth(rows: Iterable[dict[str, Any]]) -> dict[int, float | None]:
    """Fit the power of the size that time grows with, for each number of threads.

    Returns
    -------
    dict
        1 is in proportion; None where there are not two sizes.

    Notes
    -----
    By least squares on logarithms.

    Examples
    --------
    >>> rows = [{"threads": 1, "size_mb": 10.0**i, "seconds": 2 * 20.0**i} for i in range(3)]
    >>> round(fit_growth(rows)[1], 3)
    1.301
    >>> fit_growth(rows[:1])
    {1: None}
    """
    points: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        points.setdefault(row["threads"], []).append((row["size_mb"], row["seconds"]))
    exponents: dict[int, float | None] = {}
    for threads, some in points.items():
        x, y = np.log(np.array(some).T)
        x = x - x.mean()
        exponents[threads] = float(x @ y / (x @ x)) if x.any() else None
    return exponents


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
        _write_rows(warm, mix(parts, _WARM_MB).documents)
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
    """Run jobs of ours in turn, and one round before, which compiles and is not counted."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, (python, job) in runs.items():
            if turn == 0:
                measure(replace(job, source=job.warm), python)
            else:
                outcomes[name].append(measure(job, python))
    return outcomes


def _take_turns_with(
    base: str, runs: dict[str, tuple[str, Job]], rounds: int
) -> tuple[dict[str, list[Outcome]], dict[str, float]]:
    """Run jobs in turn, and the base between each two.

    A round of all peers takes minutes, in which a machine that others use too has
    come to half its speed: what a run is held against is the base right before it and
    right after. Ours are compiled before; peers ran when they were checked.

    Returns
    -------
    outcomes, times
        All runs of each; and the median of how many times the base's seconds it took.
    """
    _take_turns({name: run for name, run in runs.items() if run[1].task is None}, rounds=0)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    ratios: dict[str, list[float]] = {name: [] for name in runs}

    def run(name: str) -> float:
        python, job = runs[name]
        outcomes[name].append(measure(job, python))
        return outcomes[name][-1].seconds

    before = run(base)
    ratios[base].append(1.0)
    for _ in range(rounds):
        for name, (_, job) in runs.items():
            done = outcomes[name]
            is_slow = job.task is not None and done and done[0].seconds > _SLOW_SECONDS
            if name != base and not is_slow:
                seconds, after = run(name), run(base)
                ratios[name].append(2 * seconds / (before + after))
                before = after
    return outcomes, {name: statistics.median(found) for name, found in ratios.items()}


def _time_given(workload: Workload, options: Options) -> float:
    """Return the seconds that ours takes to cut and fold a text, with one thread."""
    texts = workload.to_texts()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        units = cut_units(texts, options.unit)
        fold_spans(texts.data, units.starts, units.stops)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _median_shingling(done: list[Outcome]) -> float | None:
    seconds = [each.shingling_seconds for each in done if each.shingling_seconds is not None]
    return statistics.median(seconds) if seconds else None


def _begin(workload: Workload, size_mb: float) -> Workload:
    """Return the beginning of each document, about a size in all, and so of the same kind."""
    share = min(1.0, size_mb / workload.size_mb)
    documents = [text[: ceil(share * len(text))] for text in workload.documents]
    return Workload(workload.name, documents)


def _medians(done: list[Outcome], size_mb: float) -> dict[str, float]:
    seconds = statistics.median(outcome.seconds for outcome in done)
    return {
        "seconds": seconds,
        "mb_s": size_mb / seconds,
        "peak_mb": statistics.median(outcome.peak_bytes for outcome in done) / 1e6,
    }


def _write_rows(path: Path, texts: Iterable[str]) -> tuple[int, float]:
    """Write texts as JSON Lines; return how many there were and their size in MB."""
    number = size = 0
    with path.open("wb") as file:
        for number, text in enumerate(texts, 1):
            row = {"id": str(number), "text": text}
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            size += len(text.encode())
    return number, size / 1e6


class Given(NamedTuple):
    """A text as peers are given it.

    Attributes
    ----------
    texts, units
        Its columns, cut into sentences.
    sentences
        Folded.
    removed
        The numbers of those that ours removes.
    """

    texts: Texts
    units: Units
    sentences: Sentences
    removed: set[int]


def _write_task(workload: Workload, options: Options, path: Path) -> Given:
    """Write a file and its sentences."""
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
    return Given(texts, units, sentences, set(found.units.tolist()))


class Truth(NamedTuple):
    """What is known of sentences by number.

    Attributes
    ----------
    repeats
        Those that have to go: of one planted original, at or above the threshold.
    copies
        Those that may: more than half of each lies in a planted copy.
    """

    repeats: set[int]
    copies: set[int]

    def score(self, removed: set[int]) -> dict[str, float]:
        """Hold what went to it."""
        went = len(self.repeats & removed)
        wrong = len(removed - self.copies)
        return {
            "truth_recall": went / len(self.repeats) if self.repeats else 1.0,
            "wrong": wrong / len(removed) if removed else 0.0,
        }


def find_truth(
    documents: Sequence[str], given: Given, planted: Iterable[Planted], task: Task
) -> Truth:
    """Find which sentences are planted repeats.

    Of pairs where copy and original are one sentence each, the original none's copy,
    those count as repeats whose exact score reaches the threshold and whose digits
    are the same. Templates, which only look alike, may not go.
    """
    pairs = [
        (_cover(documents, given, each.copy), _cover(documents, given, each.original))
        for each in planted
        if each.repeats
    ]
    copies = {number for copy, _ in pairs for number in copy}
    repeats = set()
    for copy, original in pairs:
        if len(copy) != 1 or len(original) != 1 or original[0] in copies:
            continue
        first, second = given.sentences[original[0]], given.sentences[copy[0]]
        if first is None or second is None:
            continue
        theirs, mine = first.cut_shingles(), second.cut_shingles()
        score = len(theirs & mine) / len(theirs | mine)
        same_digits = not task.numbers or find_digits(first.text) == find_digits(second.text)
        if score >= task.threshold and same_digits:
            repeats.add(copy[0])
    return Truth(repeats, copies)


def _cover(documents: Sequence[str], given: Given, span: Span) -> list[int]:
    """Return the sentences of which more than half lies in a span."""
    text, units = documents[span.document], given.units
    at = int(given.texts.offsets[span.document])
    start = at + len(text[: span.start].encode())
    stop = start + len(text[span.start : span.stop].encode())
    first, last = units.offsets[span.document : span.document + 2].tolist()
    starts, stops = units.starts[first:last], units.stops[first:last]
    inside = np.minimum(stops, stop) - np.maximum(starts, start)
    found: list[int] = (first + np.flatnonzero(2 * inside > stops - starts)).tolist()
    return found
