"""Measures of quality: what they count is there, and a broken promise shows."""

from collections import Counter
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
import reference

from benchmarks import plants, quality
from benchmarks.generator import Generated, Planted, Span, generate
from dedup.duplicates import find_duplicates
from dedup.options import Options, candidate_probability

FERRY = "The ferry leaves at noon from the old pier behind the market."
NOBODY = "Nobody of them knew before the winter what had been agreed."

WHOEVER = "Whoever comes by the northern road will see three towers, one of them without its roof."


def planted(kind: str, edits: int, copy: Span, original: Span, repeats: bool = True) -> Planted:
    return Planted(copy, original, kind, edits, "latin", repeats)


def drop_a_band(options: Options) -> Options:
    dropped = Options.from_mapping(options.to_mapping())
    object.__setattr__(dropped, "_banding", (options.bands - 1, options.rows))
    return dropped


def test_the_promise_holds_and_a_dropped_band_breaks_it() -> None:
    options = Options(stretches=False)
    dropped = drop_a_band(options)
    assert (options.bands, dropped.bands) == (17, 16)
    pairs = quality.make_pairs(options, 40_000, 7, 0.7, 0.75)
    kept, broken = (
        quality.hold_against_promise(quality.judge_pairs(pairs, used), options)
        for used in (options, dropped)
    )
    assert kept["holds"]
    assert not broken["holds"]
    assert broken["p_value"] < 1e-4 < kept["p_value"]
    assert broken["pairs"] == kept["pairs"] == 40_000
    assert broken["expected_missed"] == kept["expected_missed"]
    assert kept["expected_missed"] == pytest.approx(0.0046 * 40_000, rel=0.05)


def test_a_promise_is_checked_just_above_the_threshold() -> None:
    options = Options(threshold=0.8)
    checked = quality.check_promise(options, 1000, 3)
    pairs = quality.make_pairs(options, 1000, 3, 0.8, 0.8 + 0.05)
    assert checked == quality.hold_against_promise(quality.judge_pairs(pairs, options), options)
    assert checked["holds"]


def test_misses_are_counted_above_the_threshold_alone() -> None:
    scores = np.array([0.5, 0.69, 0.7, 0.7, 0.8, 1.0])
    found = np.array([False, False, False, True, True, True])
    missing = [1 - candidate_probability(score, 17, 4) for score in (0.7, 0.7, 0.8)]
    assert quality.hold_against_promise(quality.JudgedPairs(scores, found), Options()) == {
        "pairs": 4,
        "expected_missed": pytest.approx(sum(missing)),
        "missed": 1,
        "p_value": pytest.approx(1 - prod(1 - chance for chance in missing)),
        "holds": True,
    }


def test_the_tail_is_that_of_all_outcomes_added_up() -> None:
    chances = [0.5, 0.1, 0.9, 0.25, 0.01]
    for least in range(len(chances) + 1):
        by_hand = sum(
            prod(p if hit else 1 - p for p, hit in zip(chances, hits, strict=True))
            for hits in product((False, True), repeat=len(chances))
            if sum(hits) >= least
        )
        assert quality.find_tail(np.array(chances), least) == pytest.approx(by_hand, abs=1e-11)


def test_pairs_are_of_all_scores_and_many_lengths() -> None:
    judged = quality.judge_pairs(quality.make_pairs(Options(), 2000, 3), Options())
    assert len(judged.scores) == len(judged.found) == 2000
    assert ((judged.scores >= 0.5) & (judged.scores < 1)).all()
    assert np.histogram(judged.scores, 5, (0.5, 1))[0].min() > 100
    assert not judged.found[judged.scores < 0.7].any()
    near = quality.make_pairs(Options(), 500, 3, 0.7, 0.75)
    assert ((near.scores >= 0.7) & (near.scores < 0.75)).all()
    assert len(np.unique(near.scores)) > 200


def test_recall_is_measured_by_steps_of_the_score() -> None:
    rows = quality.measure_recall(Options(), 2000, 3)
    assert [row["score_from"] for row in rows] == [step / 20 for step in range(10, 20)]
    assert sum(row["pairs"] for row in rows) == 2000
    for row in rows:
        assert row["found"] == pytest.approx(row["expected"], abs=0.04)
        assert (row["expected"] > 0) == (row["score_from"] >= 0.7)


def test_each_kind_of_copy_is_counted_by_what_went() -> None:
    # One word of NOBODY is another; of the copy in two sentences the longer one goes, the
    # other is too short; the one with a misread letter stays, for it has another number.
    edited = NOBODY.replace("agreed", "decided")
    misread = NOBODY.replace("Nobody", "Nob0dy")
    longer = "From the old pier behind the market."
    split = f"The ferry leaves at noon. {longer}"
    documents = [f"{FERRY}\n\n{NOBODY}\n", f"{FERRY} {edited}\n", f"{split}\n", f"{misread}\n"]
    ferry, nobody = Span(0, 0, len(FERRY)), Span(0, len(FERRY) + 2, len(FERRY) + 2 + len(NOBODY))
    relations = [
        planted("exact", 0, Span(1, 0, len(FERRY)), ferry),
        planted("substitute", 1, Span(1, len(FERRY) + 1, len(FERRY) + 1 + len(edited)), nobody),
        planted("split", 1, Span(2, 0, len(split)), ferry),
        planted("ocr", 1, Span(3, 0, len(misread)), nobody),
    ]
    found = quality.measure_by_kind(Generated(0, documents, relations), Options())
    sets = [
        set(reference.cut_shingles(reference.fold_text(text))) for text in (NOBODY, edited, misread)
    ]
    score, misread_score = (reference.jaccard(sets[0], other) for other in sets[1:])
    assert min(score, misread_score) >= 0.7
    gone: dict[str, Any] = {
        "copies": 1,
        "recall": 1.0,
        "reaching": 1,
        "reaching_found": 1.0,
        "promised": 1,
        "promised_found": 1.0,
    }
    exact = {**gone, "score": 1.0, "promised_expected": 1.0}
    expected = pytest.approx(candidate_probability(score, 17, 4))
    near = {**gone, "score": pytest.approx(score), "promised_expected": expected}
    none = {"recall": 0.0, "reaching_found": 0.0, "promised_found": None}
    lost = {**exact, **none, "promised": 0, "promised_expected": None}
    share = len(longer.replace(" ", "")) / len(split.replace(" ", ""))
    halved = {**lost, "recall": share, "reaching_found": share}
    assert found["by_kind"] == [
        {"kind": "exact", "edits": "0", **exact},
        {"kind": "substitute", "edits": "1", **near},
        {"kind": "ocr", "edits": "1", **lost, "score": pytest.approx(misread_score)},
        {"kind": "split", "edits": "1", **halved},
    ]
    assert [(row["script"], row["copies"]) for row in found["by_script"]] == [("latin", 4)]
    assert [(row["chars"], row["copies"]) for row in found["by_length"]] == [("50 to 100", 4)]
    assert found["one_token"] == [{"chars": "50 to 100", **near}]
    assert (found["promise"]["pairs"], found["promise"]["missed"]) == (2, 0)


def test_a_removal_is_right_only_where_a_repeat_of_its_canonical_was_planted() -> None:
    other = FERRY.replace("noon", "dawn")
    documents = [f"{FERRY}\n", f"{FERRY} {other}\n", f"{NOBODY}\n\n{NOBODY}\n", f"{WHOEVER}\n" * 2]
    start = len(FERRY) + 1
    relations = [
        planted("exact", 0, Span(1, 0, len(FERRY)), Span(0, 0, len(FERRY))),
        planted(
            "template name", 1, Span(1, start, start + len(other)), Span(0, 0, len(FERRY)), False
        ),
        # A repeat was planted there, but not of what it was taken for.
        planted("chain", 1, Span(3, len(WHOEVER) + 1, 2 * len(WHOEVER) + 1), Span(2, 0, 20)),
    ]
    found = quality.measure_precision(Generated(0, documents, relations), Options())
    right, name, none, chain = (
        len(text.replace(" ", "")) for text in (FERRY, other, NOBODY, WHOEVER)
    )
    assert found == {
        "removals": 4,
        "removed_chars": right + name + none + chain,
        "right_chars": right,
        "precision": right / (right + name + none + chain),
        "wrong": [
            {"kind": "chain", "removals": 1, "chars": chain},
            {"kind": "template name", "removals": 1, "chars": name},
            {"kind": "none", "removals": 1, "chars": none},
        ],
        "below_threshold": 0,
    }


def test_removals_below_the_threshold_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    generated = generate(0.1, scripts=["latin"])
    assert quality.measure_precision(generated, Options())["below_threshold"] == 0
    # An engine that took out more than it may.
    monkeypatch.setattr(
        "benchmarks.quality.find_duplicates",
        lambda texts, units, _: find_duplicates(texts, units, Options(threshold=0.5)),
    )
    assert quality.measure_precision(generated, Options())["below_threshold"] > 20


def test_generated_text_is_cleaned_as_promised() -> None:
    generated = generate(0.5)
    kinds = quality.measure_by_kind(generated, Options())
    assert kinds["promise"]["holds"]
    by_kind: Counter[str] = Counter()
    for row in kinds["by_kind"]:
        by_kind[row["kind"]] += row["copies"]
        if row["kind"] in ("exact", "case", "punctuation"):
            assert (row["score"], row["recall"]) == (1, 1)
    assert by_kind == Counter(one.kind for one in generated.planted if one.repeats)
    precision = quality.measure_precision(generated, Options())
    assert {row["kind"] for row in precision["wrong"]} == {"template name"}
    assert precision["below_threshold"] == 0
    with pytest.raises(ValueError, match="keep is last"):
        quality.measure_precision(generated, Options(keep="last"))


def test_estimates_are_as_good_as_the_theory_and_those_of_datasketch() -> None:
    rows = quality.measure_estimator(Options(), 1500, 2)
    wholes = [row for row in rows if row["score_to"] - row["score_from"] > 0.1]
    assert [row["slots"] for row in wholes] == [64, 128, 256]
    for row in wholes:
        assert row["same_slots"]
        assert row["our_rmse"] == pytest.approx(row["datasketch_rmse"], abs=1e-12)
        assert row["rmse"] == pytest.approx(row["theory"], rel=0.1)
        assert abs(row["mean_error"]) < 0.006
    assert len(rows) == 33
    assert sum(row["pairs"] for row in rows[:10]) == rows[10]["pairs"]


def test_planted_passages_are_where_they_are_said_to_be_and_nothing_else_is_shared() -> None:
    documents, planted = plants.plant_passages("Han", 24, "deletion", 3, 10, 1)
    assert (documents, planted) == plants.plant_passages("Han", 24, "deletion", 3, 10, 1)
    for one in planted:
        left, right = (documents[side[0]][side[1] : side[2]] for side in (one.left, one.right))
        assert (len(left), len(right)) == (24, 21)
        assert (left[0], left[-1]) == (right[0], right[-1])
    assert sorted(side[0] for one in planted for side in (one.left, one.right)) == list(range(20))


def test_what_is_found_of_planted_passages_falls_with_their_edits() -> None:
    few, many = (plants._measure_plants("Latin", 16, "substitution", edits, 20) for edits in (1, 8))
    assert few["found"] == 1.0 > many["found"]
    assert few["precision"] > 0.95 < few["recall"]
    assert 0.9 < few["exact_ends"] <= 1
