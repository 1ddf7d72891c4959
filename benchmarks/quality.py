"""Quality: what is found of what is there, and how well sentences are cut."""

import gzip
import json
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasketch
import numpy as np
import xxhash
from numpy.typing import NDArray

from benchmarks.generator import KINDS, SCRIPTS, Draw, Generated, Planted, Span, Writer
from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.duplicates import find_duplicates
from dedup.folding import describe, fold_spans
from dedup.options import MOST_SLOTS, Options, candidate_probability
from dedup.shingles import hash_shingles, measure_sets, score_pairs
from dedup.signatures import SCHEME, SEED, Signatures, sign
from dedup.units import cut_units

# A run whose misses are less likely than this, if its promise holds, breaks it.
_LEAST_P_VALUE = 1e-4

_TOKEN_EDITS = {"insert", "delete", "substitute", "swap"}
_EDIT_STEPS = (0, 1, 2, 3, 5, 9)
_EDIT_LABELS = ("0", "1", "2", "3 to 4", "5 to 8", "9 and more")
_LENGTH_STEPS = (0, 25, 50, 100, 200)
_LENGTH_LABELS = ("under 25", "25 to 50", "50 to 100", "100 to 200", "200 and more")

# So that pairs are of many lengths: the chance that a text goes on.
_MORE_SENTENCES = 0.3

# datasketch signs 4,000 texts a second.
_DATASKETCH_PAIRS = 200

# Thai marks no end of a sentence; there is nothing to find.
_NO_END_MARKS = "th_pud"


@dataclass(frozen=True)
class Pairs:
    """Texts that are like no other but one.

    Attributes
    ----------
    documents
        Each two paragraphs, the second an edit of the first.
    scores
        float64[n], their exact Jaccard.
    """

    documents: Texts
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class JudgedPairs:
    """Pairs and what the engine made of them.

    Attributes
    ----------
    scores
        float64[n], exact Jaccard of each pair.
    found
        bool[n], whether the second became a duplicate of the first.
    """

    scores: NDArray[np.float64]
    found: Flags


def make_pairs(
    options: Options, pairs: int, seed: int, least: float = 0.5, most: float = 1.0
) -> Pairs:
    """Make pairs whose scores lie between two numbers (half-open).

    The first of a pair is a sentence or several in one of all scripts, 30 to 500
    letters long (10 to 200 without spaces); in the second, one to three runs of
    letters are others.
    """
    draw = Draw(seed)
    writers = [Writer(script, draw) for script in SCRIPTS]
    texts: list[bytes] = []
    scores = np.empty(0)
    while len(texts) < pairs:
        made = [
            _make_pair(draw.one(writers), draw, options, least, most)
            for _ in range(pairs - len(texts) + 100)
        ]
        exact = _score_texts([text for pair in made for text in pair], options)
        wanted = np.flatnonzero((exact >= least) & (exact < most))[: pairs - len(texts)]
        texts += ["\n\n".join(made[i]).encode() for i in wanted.tolist()]
        scores = np.append(scores, exact[wanted])
    return Pairs(Texts.from_bytes(texts), scores)


def judge_pairs(pairs: Pairs, options: Options) -> JudgedPairs:
    """Find which pairs become duplicates, in one run over all.

    Units alone are held against each other: what their bands promise is measured.
    """
    if options.stretches:
        options = replace(options, stretches=False)
    units = cut_units(pairs.documents, "paragraph")
    if len(units) != 2 * len(pairs.scores):
        raise RuntimeError("a text of a pair is not one paragraph")
    duplicates = find_duplicates(pairs.documents, units, options)
    is_found = np.zeros(len(units), np.bool_)
    is_found[duplicates.units[duplicates.canonicals == duplicates.units - 1]] = True
    return JudgedPairs(pairs.scores, is_found[1::2])


def measure_recall(options: Options, pairs: int = 20000, seed: int = 7) -> list[dict[str, Any]]:
    """Measure how many pairs of each true score become duplicates, and what was promised.

    The score is exact, so a pair below the threshold must never be found.

    Returns
    -------
    list
        For each step of the score from 0.5 to 1: `score_from` and `score_to`
        (half-open), `pairs`, the share `found`, and `expected`, the share that
        is promised to be, each pair by its own score.
    """
    judged = judge_pairs(make_pairs(options, pairs, seed), options)
    steps = _find_steps(judged.scores)
    chances = _promised_chances(judged.scores, options)
    return [
        {
            "score_from": step / 20,
            "score_to": (step + 1) / 20,
            "pairs": int(np.count_nonzero(steps == step)),
            "found": float(judged.found[steps == step].mean()),
            "expected": float(chances[steps == step].mean()),
        }
        for step in np.unique(steps).tolist()
    ]


def check_promise(options: Options, pairs: int = 40_000, seed: int = 7) -> dict[str, Any]:
    """Hold the pairs a run missed just above the threshold against its stated recall.

    All pairs score from the threshold to 0.05 above it, where one band less
    shows. The number missed is, if the promise holds, a sum of trials whose
    chances differ (Poisson-binomial); its tail is computed, not approximated.

    Returns
    -------
    dict
        `pairs`; `missed` and `expected_missed` of them; `p_value`, the chance of
        so many or more if the promise holds; `holds`, whether that is 1e-4 or
        more.
    """
    most = min(options.threshold + 0.05, 1.0)
    made = make_pairs(options, pairs, seed, options.threshold, most)
    return hold_against_promise(judge_pairs(made, options), options)


def hold_against_promise(judged: JudgedPairs, options: Options) -> dict[str, Any]:
    """Hold judged pairs against the stated recall; see `check_promise`."""
    is_due = judged.scores >= options.threshold
    chances = 1 - _promised_chances(judged.scores[is_due], options)
    missed = int(np.count_nonzero(~judged.found[is_due]))
    p_value = find_tail(chances, missed)
    return {
        "pairs": len(chances),
        "expected_missed": float(chances.sum()),
        "missed": missed,
        "p_value": p_value,
        "holds": p_value >= _LEAST_P_VALUE,
    }


def find_tail(chances: NDArray[np.float64], least: int) -> float:
    """Return the chance, to 12 digits, that so many of independent trials or more come out.

    Notes
    -----
    Time is trials times `least`: 0.2 s for 40,000 and 300.

    References
    ----------
    R. Barlow, K. Heidtmann, "Computing k-out-of-n system reliability", IEEE
    Transactions on Reliability 33, 1984.

    Examples
    --------
    >>> find_tail(np.array([0.5, 0.5, 0.1]), 2)
    0.3
    """
    below = np.zeros(least + 1)
    below[0] = 1.0
    for chance in chances.tolist():
        below[1:] += chance * (below[:-1] - below[1:])
        below[0] *= 1 - chance
    return round(max(0.0, 1 - float(below[:least].sum())), 12)


def measure_by_kind(generated: Generated, options: Options) -> dict[str, Any]:
    """Measure how much of what was planted goes, by kind of edit, script and length.

    Templates are left out, for they do not repeat.

    Returns
    -------
    dict
        Tables `by_kind` (rows have `kind` and `edits`), `by_script`
        (`script`), `by_length` (`chars`, of the copy) and `one_token`: copies
        with one word inserted, deleted, substituted or swapped (`chars`).
        Besides, each row has the number of `copies`; their mean `score`, exact
        and of the whole spans, with what they were made from; `recall`, the
        share of their characters that went; of those that score at or above the
        threshold, the number, `reaching`, and the share that went,
        `reaching_found`. The law compares sentences with those that stay: the
        sentences it must find are `promised`, of which the share `promised_found`
        was and `promised_expected` should be, by the stated recall. A share of
        nothing is None. `promise` holds all of them against it, as
        `check_promise` does.
    """
    judged = _Judged(generated, options)
    copies = [planted for planted in generated.planted if planted.repeats]
    spans = judged.find_spans([planted.copy for planted in copies])
    originals = judged.find_spans([planted.original for planted in copies])
    table = _CopyTable(
        chars=judged.count_chars(spans),
        gone=judged.count_gone(spans),
        scores=judged.score(spans, originals),
        promised=judged.find_promised(copies),
    )
    kinds = [(planted.kind, _edits_label(planted.edits)) for planted in copies]
    lengths = [_length_label(planted.copy.stop - planted.copy.start) for planted in copies]
    one_token = [
        label if planted.edits == 1 and planted.kind in _TOKEN_EDITS else ""
        for planted, label in zip(copies, lengths, strict=True)
    ]
    by_kind = sorted(
        set(kinds), key=lambda label: (KINDS.index(label[0]), _EDIT_LABELS.index(label[1]))
    )
    chars = [label for label in _LENGTH_LABELS if label in lengths]
    scripts = [planted.script for planted in copies]
    return {
        "by_kind": [
            {"kind": kind, "edits": edits, **table.row(kinds, (kind, edits), options)}
            for kind, edits in by_kind
        ],
        "by_script": [
            {"script": script, **table.row(scripts, script, options)}
            for script in SCRIPTS
            if script in scripts
        ],
        "by_length": [{"chars": label, **table.row(lengths, label, options)} for label in chars],
        "one_token": [
            {"chars": label, **table.row(one_token, label, options)}
            for label in chars
            if label in one_token
        ],
        "promise": hold_against_promise(table.promised_pairs(), options),
    }


def measure_precision(generated: Generated, options: Options) -> dict[str, Any]:
    """Measure how much of what went was a planted repeat, and verify each removal.

    Returns
    -------
    dict
        `removed_chars` and `right_chars`, white space left out, and their ratio,
        `precision`. A removal is right where a planted repeat stood and its
        canonical is one of its family. `wrong`: `kind`, `removals` and `chars` of
        the others, most first; "none" is text that was not planted. `removals` in all,
        and `below_threshold`, those that score below it by plain sets.
    """
    judged = _Judged(generated, options)
    found = judged.found
    rows = zip(
        found.units.tolist(),
        found.canonical_starts.tolist(),
        found.canonical_stops.tolist(),
        strict=True,
    )
    removed = right = 0
    wrong: dict[str, list[int]] = {}
    for unit, start, stop in rows:
        place, source = slice(*judged.unit_places(unit)), slice(*judged.find_places(start, stop))
        chars = int(np.count_nonzero(judged.is_text[place]))
        of_canonical = set(judged.families[source].tolist()) - {-1}
        hit = np.isin(judged.families[place], list(of_canonical)) & judged.is_text[place]
        removed += chars
        right += int(np.count_nonzero(hit))
        if not hit.any():
            kinds = set(judged.kinds[place].tolist()) - {-1}
            name = KINDS[min(kinds)] if kinds else "none"
            counts = wrong.setdefault(name, [0, 0])
            counts[0] += 1
            counts[1] += chars
    return {
        "removals": len(judged.found),
        "removed_chars": removed,
        "right_chars": right,
        "precision": right / removed if removed else None,
        "wrong": [
            {"kind": kind, "removals": count, "chars": chars}
            for kind, (count, chars) in sorted(wrong.items(), key=lambda item: -item[1][1])
        ],
        "below_threshold": judged.count_below_threshold(),
    }


def measure_estimator(options: Options, pairs: int = 4000, seed: int = 7) -> list[dict[str, Any]]:
    """Measure how far the score read off two signatures is from the exact one.

    No score of ours is an estimate; this is for those who compare signatures
    themselves, and says whether ours are as good as the theory and as datasketch's.

    Returns
    -------
    list
        For signatures of 64, 128 and 256 slots, for each step of the score, and
        for all (0.5 to 1): `slots`, `score_from`, `score_to`, `pairs`,
        `mean_error`, `rmse`, and `theory`, the square root of the mean of
        ``s * (1 - s) / slots``. The row for all has also `datasketch_pairs` and
        `datasketch_rmse`, of its own signatures and estimates, `our_rmse` of the
        same pairs, and whether they are the `same_slots`.
    """
    made = make_pairs(options, pairs, seed)
    units = cut_units(made.documents, "paragraph")
    folded = fold_spans(made.documents.data, units.starts, units.stops)
    shingles = hash_shingles(folded, options)
    scores, steps = made.scores, _find_steps(made.scores)
    is_spaced = describe(folded).unspaced_chars == 0
    few = np.flatnonzero(is_spaced[::2] & is_spaced[1::2])[:_DATASKETCH_PAIRS]
    few_units = np.column_stack([2 * few, 2 * few + 1]).ravel()
    few_folded = [
        bytes(folded.data[folded.offsets[unit] : folded.offsets[unit + 1]]).decode()
        for unit in few_units.tolist()
    ]
    rows = []
    for slots in (64, 128, 256):
        signatures = sign(shingles, slots)
        errors = _estimate(signatures) - scores
        variances = scores * (1 - scores) / slots
        for first, last in [*pairwise(range(10, 21)), (10, 20)]:
            some = (steps >= first) & (steps < last)
            rows.append(
                {
                    "slots": slots,
                    "score_from": first / 20,
                    "score_to": last / 20,
                    "pairs": int(np.count_nonzero(some)),
                    "mean_error": float(errors[some].mean()),
                    "rmse": _root_mean(errors[some] ** 2),
                    "theory": _root_mean(variances[some]),
                }
            )
        minhashes = _sign_with_datasketch(few_folded, slots, options.shingle_chars)
        theirs = np.array(
            [one.jaccard(other) for one, other in zip(minhashes[::2], minhashes[1::2], strict=True)]
        )
        rows[-1] |= {
            "datasketch_pairs": len(few),
            "datasketch_rmse": _root_mean((theirs - scores[few]) ** 2),
            "our_rmse": _root_mean(errors[few] ** 2),
            "same_slots": bool(
                np.array_equal([one.hashvalues for one in minhashes], signatures[few_units])
            ),
        }
    return rows


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


class _Judged:
    """A generated corpus and what the engine made of it.

    Places are code points of all documents joined.

    Attributes
    ----------
    units, found
        Sentences, and those that are duplicates.
    is_text
        bool[n], by place, whether it is no white space.
    families, kinds
        int64[n], by place: number of the family of repeats planted there, and
        index into `KINDS` of what was planted, templates too; -1 for none.
    """

    def __init__(self, generated: Generated, options: Options) -> None:
        if options.keep != "first":
            raise ValueError(f"keep is {options.keep}: only with first is a copy what goes")
        self._options = options
        self._texts = Texts.from_bytes([text.encode() for text in generated.documents])
        data = self._texts.data
        self.units = cut_units(self._texts, options.unit)
        self.found = find_duplicates(self._texts, self.units, options)
        leads = (data & 0xC0) != 0x80
        self._bytes = np.append(np.flatnonzero(leads), len(data))
        self._places = np.append(np.cumsum(leads) - leads, len(self._bytes) - 1)
        self._first_places = self._places[self._texts.offsets]
        self._unit_starts = self._places[self.units.starts]
        self._unit_stops = self._places[self.units.stops]
        self.is_text = ~np.isin(data[self._bytes[:-1]], [0x20, 0x0A])
        went = np.zeros(len(self.is_text) + 1, np.int64)
        np.add.at(went, self._unit_starts[self.found.units], 1)
        np.add.at(went, self._unit_stops[self.found.units], -1)
        self._text_before = _sums(self.is_text)
        self._gone_before = _sums(self.is_text & (np.cumsum(went[:-1]) > 0))
        self._label(generated)

    def _label(self, generated: Generated) -> None:
        self.families = np.full(len(self.is_text), -1, np.int64)
        self.kinds = np.full(len(self.is_text), -1, np.int64)
        # Spans of each family, in reading order: a copy comes after its original.
        self._family_of: dict[Span, int] = {}
        self._members: list[list[Span]] = []
        for planted in generated.planted:
            pair = (planted.original, planted.copy)
            if planted.repeats:
                number = self._family_of.setdefault(planted.original, len(self._members))
                if number == len(self._members):
                    self._members.append([planted.original])
                self._family_of[planted.copy] = number
                self._members[number].append(planted.copy)
            for span in pair:
                place = slice(*self._place(span))
                self.kinds[place] = KINDS.index(planted.kind)
                if planted.repeats:
                    self.families[place] = number

    def _place(self, span: Span) -> tuple[int, int]:
        first = int(self._first_places[span.document])
        return first + span.start, first + span.stop

    def unit_places(self, unit: int) -> tuple[int, int]:
        """Return where a unit starts and stops."""
        return int(self._unit_starts[unit]), int(self._unit_stops[unit])

    def find_places(self, start: int, stop: int) -> tuple[int, int]:
        """Return the places of bytes."""
        return int(self._places[start]), int(self._places[stop])

    def find_spans(self, spans: Sequence[Span]) -> Positions:
        """Return the places of spans: int64[n, 2]."""
        return np.array([self._place(span) for span in spans], np.int64).reshape(-1, 2)

    def count_chars(self, spans: Positions) -> Positions:
        """Return how many characters of each span are no white space."""
        counts: Positions = self._text_before[spans[:, 1]] - self._text_before[spans[:, 0]]
        return counts

    def count_gone(self, spans: Positions) -> Positions:
        """Return how many of them went."""
        counts: Positions = self._gone_before[spans[:, 1]] - self._gone_before[spans[:, 0]]
        return counts

    def score(self, spans: Positions, others: Positions) -> NDArray[np.float64]:
        """Return the exact scores of spans with others."""
        both = self._bytes[np.concatenate([spans, others])]
        rows = np.arange(len(spans))
        return _score_spans(
            self._texts.data, both[:, 0], both[:, 1], rows, rows + len(spans), self._options
        )

    def find_promised(self, copies: Sequence[Planted]) -> list[list[tuple[float, bool]]]:
        """Find the sentences of each copy that the law must find.

        Returns
        -------
        list
            For each copy, of each such sentence: the highest score with an
            earlier sentence of the family that stayed, and whether it went.
        """
        went = np.zeros(len(self.units), np.bool_)
        went[self.found.units] = True
        folded = fold_spans(self._texts.data, self.units.starts, self.units.stops)
        numbers = describe(folded).numbers
        units_of = {span: self._units_in(span) for span in self._family_of}
        owners, left, right = [], [], []
        for i, planted in enumerate(copies):
            earlier = [
                unit
                for span in self._members[self._family_of[planted.copy]]
                for unit in units_of[span]
                if not went[unit] and self.found.compared[unit]
            ]
            for unit in units_of[planted.copy]:
                for other in earlier:
                    is_same_fact = not self._options.numbers or numbers[unit] == numbers[other]
                    if other < unit and self.found.compared[unit] and is_same_fact:
                        owners.append(i)
                        left.append(unit)
                        right.append(other)
        starts, stops = self.units.starts, self.units.stops
        scores = _score_spans(
            self._texts.data,
            starts,
            stops,
            np.array(left, np.int64),
            np.array(right, np.int64),
            self._options,
        )
        best: list[dict[int, float]] = [{} for _ in copies]
        for owner, unit, score in zip(owners, left, scores.tolist(), strict=True):
            if score >= self._options.threshold:
                best[owner][unit] = max(score, best[owner].get(unit, 0.0))
        return [
            [(score, bool(went[unit])) for unit, score in promised.items()] for promised in best
        ]

    def count_below_threshold(self) -> int:
        """Count duplicates that score below the threshold with their canonical, by plain sets."""
        found = self.found
        folded = fold_spans(
            self._texts.data,
            np.concatenate([self.units.starts[found.units], found.canonical_starts]),
            np.concatenate([self.units.stops[found.units], found.canonical_stops]),
        )
        shingles = hash_shingles(folded, self._options)
        hashes, offsets = shingles.hashes.tolist(), shingles.offsets.tolist()
        sets = [set(hashes[start:stop]) for start, stop in pairwise(offsets)]
        count = len(self.found)
        return sum(
            len(one & other) < self._options.threshold * len(one | other) * (1 - 1e-12)
            for one, other in zip(sets[:count], sets[count:], strict=True)
        )

    def _units_in(self, span: Span) -> list[int]:
        """Return the units that lie within a span."""
        start, stop = self._place(span)
        first, last = np.searchsorted(self._unit_starts, [start, stop]).tolist()
        return [unit for unit in range(first, last) if self._unit_stops[unit] <= stop]


@dataclass(frozen=True)
class _CopyTable:
    """What became of planted copies.

    Attributes
    ----------
    chars, gone
        int64[n], characters that are no white space, and those that went.
    scores
        float64[n], exact Jaccard with what each was made from.
    promised
        Of `_Judged.find_promised`.
    """

    chars: Positions
    gone: Positions
    scores: NDArray[np.float64]
    promised: list[list[tuple[float, bool]]]

    def row(self, labels: Sequence[Hashable], label: Hashable, options: Options) -> dict[str, Any]:
        """Return the figures of the copies that have a label."""
        some = np.array([one == label for one in labels])
        reaching = some & (self.scores >= options.threshold)
        pairs = self.promised_pairs(some)
        return {
            "copies": int(np.count_nonzero(some)),
            "score": float(self.scores[some].mean()),
            "recall": _share(self.gone[some].sum(), self.chars[some].sum()),
            "reaching": int(np.count_nonzero(reaching)),
            "reaching_found": _share(self.gone[reaching].sum(), self.chars[reaching].sum()),
            "promised": len(pairs.found),
            "promised_found": _share(pairs.found.sum(), len(pairs.found)),
            "promised_expected": _share(
                _promised_chances(pairs.scores, options).sum(), len(pairs.found)
            ),
        }

    def promised_pairs(self, some: Flags | None = None) -> JudgedPairs:
        """Return the sentences that the law must find in all copies, or in some."""
        which = range(len(self.promised)) if some is None else np.flatnonzero(some).tolist()
        pairs = [pair for i in which for pair in self.promised[i]]
        return JudgedPairs(
            np.array([score for score, _ in pairs], np.float64),
            np.array([found for _, found in pairs], np.bool_),
        )


def _make_pair(
    writer: Writer, draw: Draw, options: Options, least: float, most: float
) -> tuple[str, str]:
    """Return a text, and one that differs from it in one to three runs of letters.

    A run of m other letters takes m - 1 shingles more than a shingle has
    letters; of n shingles x are to go, so that (n - x) / (n + x) is the score.
    """
    size = _shingle_chars(writer.name, options)
    words = writer.sentence()
    while draw.random() < _MORE_SENTENCES:
        words += writer.sentence()
    first = writer.render(words, "")
    score = least + (most - least) * draw.random()
    gone = (len(first) - size + 1) * (1 - score) / (1 + score)
    runs = 1 + draw.below(max(1, min(3, int(gone / (size + 1)))))
    second = list(first)
    left = int(gone + draw.random())
    for i in range(runs):
        length = max(1, left // (runs - i) - size + 1)
        left -= length + size - 1
        begin, end = len(first) * i // runs, len(first) * (i + 1) // runs - length
        start = begin + draw.below(max(1, end - begin))
        second[start : start + length] = [draw.one(writer.letters) for _ in range(length)]
    return first, "".join(second)


def _score_texts(texts: Sequence[str], options: Options) -> NDArray[np.float64]:
    """Return the exact Jaccard of each two texts."""
    data = Texts.from_bytes([text.encode() for text in texts])
    left = np.arange(0, len(texts), 2)
    return _score_spans(data.data, data.offsets[:-1], data.offsets[1:], left, left + 1, options)


def _shingle_chars(script: str, options: Options) -> int:
    sizes = {
        "han": options.shingle_chars_han,
        "kana": options.shingle_chars_han,
        "thai": options.shingle_chars_thai,
    }
    return sizes.get(script, options.shingle_chars)


def _score_spans(
    data: Bytes,
    starts: Positions,
    stops: Positions,
    left: Positions,
    right: Positions,
    options: Options,
) -> NDArray[np.float64]:
    """Return the exact Jaccard of pairs of spans; 0 below 0.05."""
    folded = fold_spans(data, starts, stops)
    low = replace(options, threshold=0.05, num_perm=MOST_SLOTS)
    sets = measure_sets(folded, low)
    shared = score_pairs(folded, left, right, sets, low)
    scores: NDArray[np.float64] = shared / (sets.sizes[left] + sets.sizes[right] - shared)
    return scores


def _promised_chances(scores: NDArray[np.float64], options: Options) -> NDArray[np.float64]:
    """Return the stated recall of pairs, 0 below the threshold."""
    values, rows = np.unique(scores, return_inverse=True)
    chances = [
        candidate_probability(min(score, 1.0), options.bands, options.rows)
        if score >= options.threshold
        else 0.0
        for score in values.tolist()
    ]
    return np.array(chances, np.float64)[rows]


def _estimate(signatures: Signatures) -> NDArray[np.float64]:
    """Estimate the score of each two signatures: the share of slots that are equal."""
    shares: NDArray[np.float64] = (signatures[::2] == signatures[1::2]).mean(axis=1)
    return shares


def _sign_with_datasketch(
    folded: Sequence[str], slots: int, shingle_chars: int
) -> list[datasketch.MinHash]:
    """Sign folded texts of scripts with spaces, with datasketch alone."""
    shingles = [
        [text[i : i + shingle_chars].encode() for i in range(len(text) - shingle_chars + 1)]
        for text in folded
    ]
    minhashes: list[datasketch.MinHash] = datasketch.MinHash.bulk(
        shingles, num_perm=slots, seed=SEED, scheme=SCHEME, hashfunc=xxhash.xxh32_intdigest
    )
    return minhashes


def _find_steps(scores: NDArray[np.float64]) -> Positions:
    """Return the steps of 0.05 that scores are in; one at a border may be a hair below it."""
    steps: Positions = np.floor(scores * 20 + 1e-9).astype(np.int64)
    return steps


def _edits_label(edits: int) -> str:
    return _EDIT_LABELS[int(np.searchsorted(_EDIT_STEPS, edits, side="right")) - 1]


def _length_label(chars: int) -> str:
    return _LENGTH_LABELS[int(np.searchsorted(_LENGTH_STEPS, chars, side="right")) - 1]


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _root_mean(squares: NDArray[np.float64]) -> float:
    return float(np.sqrt(squares.mean()))


def _sums(flags: Flags) -> Positions:
    sums = np.zeros(len(flags) + 1, np.int64)
    np.cumsum(flags, out=sums[1:])
    return sums
