"""The scorers: what can be worked out by hand, and the published one where it is there."""

import math
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scores
from benchmarks.scores import Passage, adjusted_rand, b_cubed, pair_scores, plagdet

SCORER = Path(__file__).parent.parent.parent / "shared" / "tools" / "score.py"
needs_scorer = pytest.mark.skipif(not SCORER.is_file(), reason="no published scorer")

GOLD = [Passage("a", 0, 100, "b", 50, 150), Passage("a", 200, 260, "c", 0, 40)]

STARTS, LENGTHS = st.integers(0, 40), st.integers(0, 15)


@st.composite
def passages(draw: st.DrawFn) -> Passage:
    a, b = draw(st.sampled_from("abc")), draw(st.sampled_from("abc"))
    one, other = draw(STARTS), draw(STARTS)
    return Passage(a, one, one + draw(LENGTHS), b, other, other + draw(LENGTHS))


def to_rows(some: list[Passage]) -> list[dict[str, Any]]:
    names = ("a", "a_start", "a_end", "b", "b_start", "b_end")
    return [dict(zip(names, passage, strict=True)) for passage in some]


def figures(values: dict[str, float]) -> list[float]:
    return [values[name] for name in ("plagdet", "precision", "recall", "granularity", "f1")]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return runpy.run_path(str(SCORER))


def test_what_is_found_as_labelled_is_perfect() -> None:
    assert plagdet(GOLD, GOLD) == {
        "plagdet": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "granularity": 1.0,
        "f1": 1.0,
        "gold": 2,
        "found": 2,
    }


def test_nothing_found_scores_nothing() -> None:
    nothing = [0.0, 0.0, 0.0, 1.0, 0.0]
    assert figures(plagdet(GOLD, [])) == nothing
    assert figures(plagdet([], GOLD)) == nothing
    assert figures(plagdet([], [])) == nothing


def test_precision_recall_and_granularity_are_those_worked_out_by_hand() -> None:
    found = [
        # Meets the first: 20 + 30 of its 200 characters, of 40 + 40 found.
        Passage("a", 80, 120, "b", 40, 80),
        # Meets it again: 10 + 20, of which 10 + 10 are seen already, of 20 + 20 found.
        Passage("a", 90, 110, "b", 70, 90),
        # Overlaps it on one side only.
        Passage("a", 0, 100, "b", 200, 300),
        # The second passage is found with another document.
        Passage("a", 200, 260, "b", 0, 40),
    ]
    # Of the first, 80 to 100 and 50 to 90 are found; of the second, nothing.
    recall = (60 / 200 + 0) / 2
    precision = ((20 + 30) / 80 + (10 + 20) / 40 + 0 + 0) / 4
    f1 = 2 * precision * recall / (precision + recall)
    assert figures(plagdet(GOLD, found)) == pytest.approx(
        [f1 / math.log2(3), precision, recall, 2.0, f1]
    )
    assert scores.recall_by_passage(GOLD, found) == pytest.approx([0.3, 0.0])


def test_the_documents_may_change_places_where_that_is_allowed() -> None:
    turned = [Passage(*passage[3:], *passage[:3]) for passage in GOLD]
    assert plagdet(GOLD, turned)["plagdet"] == 0.0
    assert plagdet(GOLD, turned, symmetric=True)["plagdet"] == 1.0
    within = [Passage("a", 10, 20, "a", 50, 60)]
    back = [Passage("a", 50, 60, "a", 10, 20)]
    assert plagdet(within, back)["plagdet"] == 0.0
    assert plagdet(within, back, symmetric=True)["plagdet"] == 1.0


def test_equal_passages_count_once() -> None:
    assert plagdet(GOLD * 2, GOLD * 3) == plagdet(GOLD, GOLD)
    assert scores.recall_by_passage(GOLD[:1] * 2, GOLD) == [1.0, 1.0]


def test_many_found_passages_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    gold = [Passage("a", i * 10, i * 10 + 9, "b", i * 10, i * 10 + 9) for i in range(50)]
    found = [Passage("a", i, i + 30, "b", i, i + 25) for i in range(500)]
    whole = plagdet(gold, found)
    monkeypatch.setattr(scores, "_PAIRS_AT_ONCE", 7)
    assert plagdet(gold, found) == whole
    assert whole["granularity"] == (9 + 19 + 29 + 47 * 33) / 50


@needs_scorer
@given(st.lists(passages(), max_size=8), st.lists(passages(), max_size=8), st.booleans())
def test_passages_score_as_by_the_published_scorer(
    published: dict[str, Any], gold: list[Passage], found: list[Passage], symmetric: bool
) -> None:
    mine = plagdet(gold, found, symmetric)
    theirs = published["plagdet"](to_rows(gold), to_rows(found), symmetric)
    assert figures(mine) == pytest.approx(figures(theirs), abs=1e-12)
    assert (mine["gold"], mine["found"]) == (theirs["gold"], theirs["det"])


def test_pairs_are_unordered_and_those_not_judged_do_not_count() -> None:
    gold = [(1, 2), (3, 4), (5, 6), (2, 1)]
    found = [(2, 1), (4, 3), (7, 8), (3, 5)]
    assert pair_scores(gold, found) == {
        "precision": 0.5,
        "recall": 2 / 3,
        "f1": pytest.approx(4 / 7),
        "hits": 2,
        "found": 4,
        "gold": 3,
    }
    judged = [*gold, (5, 3)]
    assert pair_scores(gold, found, judged)["precision"] == 2 / 3
    assert pair_scores([], [])["f1"] == 0.0


@needs_scorer
@given(
    *[st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)] * 2,
    st.none() | st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
)
def test_pairs_score_as_by_the_published_scorer(
    published: dict[str, Any], gold: Any, found: Any, judged: Any
) -> None:
    theirs = published["pair_prf"](gold, found, judged)
    names = {"hits": "tp", "found": "pred"}
    assert pair_scores(gold, found, judged) == {
        name: theirs[names.get(name, name)] for name in pair_scores(gold, found, judged)
    }


def test_clusters_score_as_worked_out_by_hand() -> None:
    labels, clusters = "aaabbc", "xxyyyz"
    # Joined and alike: one pair of x, one of y; 4 pairs alike, 4 joined, of 15.
    expected = 4 * 4 / 15
    assert adjusted_rand(labels, clusters) == pytest.approx((2 - expected) / (4 - expected))
    precision = (1 + 1 + 1 / 3 + 2 / 3 + 2 / 3 + 1) / 6
    recall = (2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6
    assert b_cubed(labels, clusters) == {
        "precision": pytest.approx(precision),
        "recall": pytest.approx(recall),
        "f1": pytest.approx(2 * precision * recall / (precision + recall)),
    }


def test_perfect_clusters_score_one_and_one_of_all_scores_chance() -> None:
    assert adjusted_rand("aab", "ccd") == 1.0
    assert adjusted_rand("ab", "ab") == 1.0
    assert adjusted_rand("a", "b") == 1.0
    assert adjusted_rand("aabb", "xxxx") == 0.0
    assert b_cubed("aabb", "xxxx")["precision"] == 0.5


def test_clusters_of_nothing_and_of_unequal_length_are_refused() -> None:
    for score in (adjusted_rand, b_cubed):
        with pytest.raises(ValueError, match="no items"):
            score("", "")
        with pytest.raises(ValueError, match="shorter"):
            score("aa", "a")


@needs_scorer
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20))
def test_clusters_score_as_by_the_published_scorer(
    published: dict[str, Any], cells: list[tuple[int, int]]
) -> None:
    labels, clusters = [label for label, _ in cells], [cluster for _, cluster in cells]
    theirs = published["clusters_scores"](dict(enumerate(labels)), dict(enumerate(clusters)))
    assert adjusted_rand(labels, clusters) == pytest.approx(theirs["ari"])
    assert b_cubed(labels, clusters) == {
        name: pytest.approx(theirs[f"bcubed_{name}"]) for name in ("precision", "recall", "f1")
    }


@given(
    st.integers(1, 9).flatmap(
        lambda count: st.tuples(
            st.just(count), st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=9)
        )
    )
)
def test_joined_pairs_are_the_same_cluster_and_no_others(
    drawn: tuple[int, list[tuple[int, int]]],
) -> None:
    count, joined = drawn
    clusters = list(range(count))
    for left, right in joined:
        low, high = sorted((clusters[left], clusters[right]))
        clusters = [low if cluster == high else cluster for cluster in clusters]
    assert scores.join_pairs(count, joined) == clusters
    pairs = combinations(range(count), 2)
    together = {(i, j) for i, j in pairs if clusters[i] == clusters[j]}
    assert set(scores.list_pairs(clusters)) == together
