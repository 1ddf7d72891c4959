"""Scores: how well what was found agrees with what is labelled.

Four measures, each of the paper its docstring names: passages with offsets,
pairs of documents, and two of clusters. Nothing here knows where the labels or
the findings come from.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

# Pairs of passages looked at in one go, 8 bytes a number: 100 MB at most.
_PAIRS_AT_ONCE = 1 << 20


class Passage(NamedTuple):
    """Two spans that are alike; offsets are half-open.

    Attributes
    ----------
    a, b
        The documents: their numbers or their ids.
    a_start, a_stop, b_start, b_stop
        Where the spans stand, in code points of the document.
    """

    a: Hashable
    a_start: int
    a_stop: int
    b: Hashable
    b_start: int
    b_stop: int


def plagdet(
    gold: Iterable[Passage], found: Iterable[Passage], symmetric: bool = False
) -> dict[str, float]:
    """Score passages: precision and recall by characters, and how much they are in pieces.

    A passage found and a gold one meet when they overlap on both sides. Recall
    is the mean, over gold passages, of the share of their characters, on both
    sides together, that the found ones which meet them cover; precision is the
    same the other way round. Granularity is how many found passages meet a gold
    one that is met at all. Of equal passages one counts.

    Parameters
    ----------
    symmetric
        Whether the two documents of a passage may change places.

    Returns
    -------
    dict
        `plagdet`, the F1 divided by log2(1 + granularity); `precision`,
        `recall`, `f1`, 0 to 1; `granularity`, 1 or more; the numbers of `gold`
        and `found` passages.

    Notes
    -----
    Time is n log n in the passages, plus the pairs that overlap on one side:
    0.5 s for 100,000 found and 4,000 gold ones.

    References
    ----------
    M. Potthast, B. Stein, A. Barrón-Cedeño, P. Rosso, "An Evaluation Framework
    for Plagiarism Detection", COLING 2010.

    Examples
    --------
    Half of a gold passage is found, in two pieces that hold nothing else:

    >>> gold = [Passage("a", 0, 40, "b", 0, 40)]
    >>> found = [Passage("a", 0, 10, "b", 0, 10), Passage("a", 20, 30, "b", 20, 30)]
    >>> scores = plagdet(gold, found)
    >>> scores["precision"], scores["recall"], scores["granularity"]
    (1.0, 0.5, 2.0)
    >>> round(scores["plagdet"], 4) == round(2 / 3 / math.log2(3), 4)
    True
    """
    sides, gold_count = _number_sides(gold, found, symmetric)
    left, right = _find_meetings(sides[:, :gold_count], sides[:, gold_count:])
    gold_sides, found_sides = sides[:, :gold_count], sides[:, gold_count:]
    recall = _mean_covered(gold_sides, found_sides, left, right)
    precision = _mean_covered(found_sides, gold_sides, right, left)
    meetings = np.bincount(left, minlength=1)
    met = int(np.count_nonzero(meetings))
    granularity = len(left) / met if met else 1.0
    f1 = _f1(precision, recall)
    return {
        "plagdet": f1 / math.log2(1 + granularity),
        "precision": precision,
        "recall": recall,
        "granularity": granularity,
        "f1": f1,
        "gold": gold_count,
        "found": sides.shape[1] - gold_count,
    }


def recall_by_passage(
    gold: Sequence[Passage], found: Iterable[Passage], symmetric: bool = False
) -> list[float]:
    """Return the share of each gold passage's characters that is found; see `plagdet`.

    Examples
    --------
    >>> gold = [Passage("a", 0, 40, "b", 0, 40), Passage("a", 50, 60, "b", 50, 60)]
    >>> recall_by_passage(gold, [Passage("b", 0, 20, "a", 0, 40)], symmetric=True)
    [0.75, 0.0]
    """
    # Equal gold passages are scored once, and each is told.
    places = {passage: i for i, passage in enumerate(dict.fromkeys(gold))}
    sides, gold_count = _number_sides(places, found, symmetric, keep_gold=True)
    gold_sides, found_sides = sides[:, :gold_count], sides[:, gold_count:]
    left, right = _find_meetings(gold_sides, found_sides)
    shares = _covered(gold_sides, found_sides, left, right)
    return [float(shares[places[passage]]) for passage in gold]


def pair_scores(
    gold_pairs: Iterable[tuple[Hashable, Hashable]],
    found_pairs: Iterable[tuple[Hashable, Hashable]],
    judged: Iterable[tuple[Hashable, Hashable]] | None = None,
) -> dict[str, float]:
    """Score unordered pairs: precision, recall and F1.

    Parameters
    ----------
    judged
        The pairs of which it is known whether they are gold; what is found
        beside them does not count. All, unless given.

    Returns
    -------
    dict
        `precision`, `recall`, `f1`, 0 to 1 (0 of nothing), and the numbers of
        `hits`, `found` and `gold`.

    Examples
    --------
    >>> pair_scores([(1, 2), (1, 3)], [(2, 1), (4, 5)])["f1"]
    0.5
    """
    gold, found = _unordered(gold_pairs), _unordered(found_pairs)
    if judged is not None:
        found &= _unordered(judged)
    hits = len(gold & found)
    precision = hits / len(found) if found else 0.0
    recall = hits / len(gold) if gold else 0.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": _f1(precision, recall),
        "hits": hits,
        "found": len(found),
        "gold": len(gold),
    }


def adjusted_rand(labels: Sequence[Hashable], clusters: Sequence[Hashable]) -> float:
    """Score clusters by the pairs they join and part: 1 is perfect, 0 is chance.

    Parameters
    ----------
    labels, clusters
        Of each item, its true class and the cluster it was put in.

    Raises
    ------
    ValueError
        When there is nothing to score, or the lengths differ.

    References
    ----------
    L. Hubert, P. Arabie, "Comparing Partitions", Journal of Classification 2,
    1985.

    Examples
    --------
    >>> round(adjusted_rand("aab", "xyy"), 6)
    -0.5
    """
    cells = _count_cells(labels, clusters)
    together = sum(math.comb(count, 2) for count in cells.values())
    by_label = sum(math.comb(count, 2) for count in Counter(labels).values())
    by_cluster = sum(math.comb(count, 2) for count in Counter(clusters).values())
    pairs = math.comb(len(labels), 2)
    expected = by_label * by_cluster / pairs if pairs else 0.0
    most = (by_label + by_cluster) / 2
    return (together - expected) / (most - expected) if most != expected else 1.0


def b_cubed(labels: Sequence[Hashable], clusters: Sequence[Hashable]) -> dict[str, float]:
    """Score clusters item by item.

    The precision of an item is the share of its cluster that has its label, its
    recall the share of its label that is in its cluster; an item is one of both.

    Returns
    -------
    dict
        `precision`, `recall`, means over items, and `f1` of both.

    Raises
    ------
    ValueError
        When there is nothing to score, or the lengths differ.

    References
    ----------
    A. Bagga, B. Baldwin, "Algorithms for Scoring Coreference Chains", LREC
    Workshop on Linguistic Coreference, 1998.

    Examples
    --------
    >>> b_cubed("aab", "xyy")["precision"] == b_cubed("aab", "xyy")["recall"] == 2 / 3
    True
    """
    cells = _count_cells(labels, clusters)
    of_label, of_cluster = Counter(labels), Counter(clusters)
    precision = math.fsum(n * n / of_cluster[cluster] for (_, cluster), n in cells.items())
    recall = math.fsum(n * n / of_label[label] for (label, _), n in cells.items())
    precision, recall = precision / len(labels), recall / len(labels)
    return {"precision": precision, "recall": recall, "f1": _f1(precision, recall)}


def join_pairs(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Join items into clusters; return the first item of each item's cluster.

    Parameters
    ----------
    count
        How many items there are, numbered from 0.
    pairs
        Items that are in one cluster.

    Examples
    --------
    >>> join_pairs(5, [(3, 1), (4, 3)])
    [0, 1, 2, 1, 1]
    """
    firsts = list(range(count))

    def find(item: int) -> int:
        while firsts[item] != item:
            firsts[item] = firsts[firsts[item]]
            item = firsts[item]
        return item

    for left, right in pairs:
        one, other = find(left), find(right)
        firsts[max(one, other)] = min(one, other)
    return [find(item) for item in range(count)]


def list_pairs(clusters: Iterable[Hashable]) -> Iterator[tuple[int, int]]:
    """Yield all pairs of items that are in one cluster.

    Examples
    --------
    >>> list(list_pairs("xyxx"))
    [(0, 2), (0, 3), (2, 3)]
    """
    members: dict[Hashable, list[int]] = {}
    for item, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(item)
    for items in members.values():
        yield from ((one, other) for i, one in enumerate(items) for other in items[i + 1 :])


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _unordered(pairs: Iterable[tuple[Hashable, Hashable]]) -> set[frozenset[Hashable]]:
    return {frozenset(pair) for pair in pairs}


def _count_cells(
    labels: Sequence[Hashable], clusters: Sequence[Hashable]
) -> Counter[tuple[Hashable, Hashable]]:
    if not labels:
        raise ValueError("there are no items to score")
    return Counter(zip(labels, clusters, strict=True))


def _number_sides(
    gold: Iterable[Passage],
    found: Iterable[Passage],
    symmetric: bool,
    keep_gold: bool = False,
) -> tuple[Numbers, int]:
    """Turn passages into numbers.

    Returns
    -------
    int64[5, n]
        Gold passages, then found ones: number of the pair of documents, start
        and stop on the first side, start and stop on the other.
    int
        How many are gold.
    """
    documents: dict[Hashable, int] = {}
    pairs: dict[tuple[int, int], int] = {}

    def number(passage: Passage) -> tuple[int, int, int, int, int]:
        a = documents.setdefault(passage.a, len(documents))
        b = documents.setdefault(passage.b, len(documents))
        one, other = (passage.a_start, passage.a_stop), (passage.b_start, passage.b_stop)
        if symmetric and (b, other[0]) < (a, one[0]):
            a, b, one, other = b, a, other, one
        return (pairs.setdefault((a, b), len(pairs)), *one, *other)

    gold_rows = [number(passage) for passage in gold]
    if not keep_gold:
        gold_rows = list(dict.fromkeys(gold_rows))
    found_rows = list(dict.fromkeys(number(passage) for passage in found))
    rows = np.array(gold_rows + found_rows, np.int64).reshape(-1, 5)
    return np.ascontiguousarray(rows.T), len(gold_rows)


def _find_meetings(gold: Numbers, found: Numbers) -> tuple[Numbers, Numbers]:
    """Find the gold and found passages that overlap on both sides.

    Of two spans that overlap, one begins within the other. Spans sorted by where
    they begin, those that begin within one are a run, found by bisection.
    """
    if not gold.shape[1] or not found.shape[1]:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # Documents stand one behind the other, too far apart for spans to touch.
    room = int(max(gold[1:].max(), found[1:].max())) + 2
    side = _crowded_less(gold, found, room)
    starts = [some[0] * room + some[side] for some in (gold, found)]
    stops = [some[0] * room + some[side + 1] for some in (gold, found)]
    parts: list[tuple[Numbers, Numbers]] = []
    for one in (0, 1):
        other = 1 - one
        order = np.argsort(starts[other], kind="stable")
        in_order = starts[other][order]
        # What begins at the same place counts the first time alone.
        firsts = np.searchsorted(in_order, starts[one], "left" if one == 0 else "right")
        lasts = np.maximum(np.searchsorted(in_order, stops[one], "left"), firsts)
        for rows, places in _unfold(firsts, lasts):
            hits = order[places]
            left, right = (rows, hits) if one == 0 else (hits, rows)
            meets = np.ones(len(left), np.bool_)
            for at in (1, 3):
                meets &= gold[at, left] < found[at + 1, right]
                meets &= found[at, right] < gold[at + 1, left]
            parts.append((left[meets], right[meets]))
    return (
        np.concatenate([left for left, _ in parts]),
        np.concatenate([right for _, right in parts]),
    )


def _crowded_less(gold: Numbers, found: Numbers, room: int) -> int:
    """Return the row of the side on which fewer found passages overlap gold ones."""
    counts = []
    for side in (1, 3):
        starts = np.sort(found[0] * room + found[side])
        stops = np.sort(found[0] * room + found[side + 1])
        before = np.searchsorted(stops, gold[0] * room + gold[side], "right")
        begun = np.searchsorted(starts, gold[0] * room + gold[side + 1], "left")
        counts.append(int((begun - before).sum()))
    return 1 if counts[0] <= counts[1] else 3


def _unfold(firsts: Numbers, lasts: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield the rows and the places from `firsts` to `lasts` of each, some at a time."""
    ends = np.cumsum(lasts - firsts)
    row, count = 0, len(firsts)
    while row < count:
        done = int(ends[row - 1]) if row else 0
        last = max(row + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        lengths = (lasts - firsts)[row:last]
        rows = np.repeat(np.arange(row, last), lengths)
        steps = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield rows, np.repeat(firsts[row:last], lengths) + steps
        row = last


def _covered(some: Numbers, others: Numbers, rows: Numbers, mates: Numbers) -> NDArray[np.float64]:
    """Return the share of each passage's characters that those which meet it cover."""
    count = some.shape[1]
    covered = np.zeros(count)
    for side in (1, 3):
        starts = np.maximum(some[side, rows], others[side, mates])
        stops = np.minimum(some[side + 1, rows], others[side + 1, mates])
        order = np.lexsort((starts, rows))
        room = int(some[side + 1].max(initial=0)) + 1
        base = rows[order] * room
        # How far the spans of a passage reach so far; those of an earlier passage
        # all end before its first place.
        reach = np.maximum.accumulate(base + stops[order])
        reached = np.concatenate([[0], reach[:-1]]) if len(reach) else reach
        gained = np.maximum(reach - np.maximum(reached, base + starts[order]), 0)
        covered += np.bincount(rows[order], weights=gained, minlength=count)
    chars = some[2] - some[1] + some[4] - some[3]
    shares: NDArray[np.float64] = covered / np.maximum(chars, 1)
    return shares


def _mean_covered(some: Numbers, others: Numbers, rows: Numbers, mates: Numbers) -> float:
    if not some.shape[1]:
        return 0.0
    return float(_covered(some, others, rows, mates).mean())
