"""Quality: what is found of what is there, and how well sentences are cut."""

import gzip
import json
import random
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import planted
from dedup.columns import Texts
from dedup.duplicates import find_duplicates
from dedup.folding import fold_spans
from dedup.options import Options
from dedup.shingles import measure_sets, score_pairs
from dedup.units import cut_units

# Thai marks no end of a sentence; there is nothing to find.
_NO_END_MARKS = "th_pud"


def measure_recall(options: Options, pairs: int = 20000, seed: int = 7) -> list[dict[str, Any]]:
    """Measure how many pairs of each true score become duplicates, and what was promised.

    Pairs are two sentences alone in a document each, the second an edit of the
    first; the score is exact, so a pair below the threshold must never be found.
    """
    rng = random.Random(seed)
    stock = [
        sentence
        for text in planted(2, seed).documents
        for paragraph in text.split("\n\n")
        for sentence in paragraph.strip().split(". ")
        if 60 <= len(sentence) <= 200
    ]
    counts: dict[int, list[float]] = {}
    texts = []
    for _ in range(pairs):
        words = rng.choice(stock).lower().strip(".").split(" ")
        edited = list(words)
        for _ in range(rng.randint(1, max(1, len(words) // 4))):
            edited[rng.randrange(len(edited))] = rng.choice(rng.choice(stock).lower().split(" "))
        texts.append((" ".join(words) + ".", " ".join(edited) + "."))
    data = Texts.from_bytes([part.encode() for pair in texts for part in pair])
    folded = fold_spans(data.data, data.offsets[:-1], data.offsets[1:])
    any_score = Options(threshold=0.05, num_perm=4096)
    sets = measure_sets(folded, any_score)
    sizes = sets.sizes
    left = np.arange(0, 2 * pairs, 2)
    shared = score_pairs(folded, left, left + 1, sets, any_score)
    scores = shared / (sizes[::2] + sizes[1::2] - shared)
    for i, (first, second) in enumerate(texts):
        single = Texts.from_bytes([f"{first}\n\n{second}".encode()])
        found = len(find_duplicates(single, cut_units(single, "paragraph"), options))
        counts.setdefault(int(scores[i] * 20), []).append(float(found))
    return [
        {
            "score_from": step / 20,
            "score_to": (step + 1) / 20,
            "pairs": len(found),
            "found": sum(found) / len(found),
        }
        for step, found in sorted(counts.items())
        if 0.5 <= step / 20 < 1
    ]


def measure_golden_rules(folder: Path) -> dict[str, str]:
    """Count the golden rules of sentence segmentation that hold, by language."""
    counts: dict[str, list[int]] = {}
    path = folder / "pysbd_golden" / "rules.jsonl"
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            rule = json.loads(line)
            if "GOLDEN" not in rule["set"]:
                continue
            cut = [sentence.strip() for sentence in split(rule["text"])]
            wanted = [sentence.strip() for sentence in rule["sents"]]
            counts.setdefault(rule["lang"], []).append(cut == wanted)
    return {lang: f"{sum(held)} of {len(held)}" for lang, held in sorted(counts.items())}


def measure_sentences(folder: Path) -> dict[str, float]:
    """Measure the F1 of sentence borders in running text, by file, and the mean.

    Lines, a sentence each, are joined by a space. Borders are compared as
    offsets that ignore white space; the end of the text does not count.
    """
    scores = {}
    for path in sorted((folder / "ersatz").glob("*.txt*")):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        sentences = [line.strip() for line in raw.decode().splitlines() if line.strip()]
        scores[path.name.removesuffix(".gz").removesuffix(".txt")] = border_f1(
            sentences, split(" ".join(sentences))
        )
    if scores:
        scores["mean"] = statistics.mean(
            score for name, score in scores.items() if name != _NO_END_MARKS
        )
    return scores


def border_f1(wanted: list[str], cut: list[str]) -> float:
    """Return the F1 of the borders between sentences of the same running text."""
    true, found = _borders(wanted), _borders(cut)
    hits = len(true & found)
    return 2 * hits / (len(true) + len(found)) if hits else 0.0


def split(text: str) -> list[str]:
    """Split a text into sentences."""
    data = text.encode()
    units = cut_units(Texts.from_bytes([data]), "sentence")
    return [
        data[start:stop].decode() for start, stop in zip(units.starts, units.stops, strict=True)
    ]


def _borders(sentences: list[str]) -> set[int]:
    ends = np.cumsum([0, *(len("".join(sentence.split())) for sentence in sentences)]).tolist()
    return {end for before, end in pairwise(ends) if before < end} - {ends[-1]}
