"""What `design.md` says holds of every result."""

from collections import Counter
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import reference

from dedup import (
    Options,
    Result,
    clean,
    clean_documents,
    descriptions,
    duplicates,
    pairs,
    restore,
    slices,
)
from dedup.columns import Texts
from dedup.duplicates import Duplicates, find_duplicates
from dedup.folding import Descriptions, describe
from dedup.kinds import KINDS
from dedup.units import Units, cut_units

Row = tuple[int, int, str, float, float]


def find(units: list[str], **options: Any) -> Duplicates:
    """Find the duplicates among units that are given and not cut by rules.

    Held against other units alone; what is cut elsewhere has tests of its own.
    """
    encoded = [unit.encode() for unit in units]
    documents = Texts.from_bytes([b"\n".join(encoded)])
    stops = np.array(list(accumulate(len(part) + 1 for part in encoded)), np.int64) - 1
    starts = stops - np.array([len(part) for part in encoded], np.int64)
    return find_duplicates(
        documents,
        Units(starts, stops, np.array([0, len(units)], np.int64)),
        Options.from_mapping({"stretches": False, **options}),
    )


def rows(found: Duplicates) -> list[Row]:
    return list(
        zip(
            found.units.tolist(),
            found.canonicals.tolist(),
            [KINDS[kind] for kind in found.kinds],
            found.scores.tolist(),
            found.containments.tolist(),
            strict=True,
        )
    )


def by_definition(units: list[str], **options: Any) -> list[Row]:
    chosen = Options.from_mapping(options)
    return reference.find_duplicates(
        units, **options, bands=chosen.bands, rows=chosen.rows, num_perm=chosen.num_perm
    )


def make_text(chooser: Random, count: int) -> str:
    """Make a text of paragraphs with repeats and near repeats in it."""
    units = [unit for unit in reference.make_chains(chooser, count) if unit.strip()]
    return "".join(unit + chooser.choice([" ", " ", " ", "\n", "\n\n"]) for unit in units)


@pytest.mark.parametrize("keep", ["first", "longest", "last"])
@pytest.mark.parametrize("seed", range(8))
def test_the_law_of_the_leader_equals_its_twin(seed: int, keep: str) -> None:
    units = reference.make_chains(Random(seed), 90, bases=3)
    assert rows(find(units, keep=keep)) == by_definition(units, keep=keep)


@pytest.mark.parametrize("keep", ["first", "longest", "last"])
@pytest.mark.parametrize("threshold", [0.4, 0.55, 0.8, 0.9, 1.0])
def test_the_law_equals_its_twin_at_every_threshold(threshold: float, keep: str) -> None:
    for seed in range(3):
        units = reference.make_chains(Random(100 + seed), 60, bases=2)
        options = {"threshold": threshold, "keep": keep}
        assert rows(find(units, **options)) == by_definition(units, **options)


@pytest.mark.parametrize("keep", ["first", "longest", "last"])
@pytest.mark.parametrize("numbers", [True, False])
def test_the_law_equals_its_twin_where_scores_are_often_equal(numbers: bool, keep: str) -> None:
    # Few words and short units: few shingles, so many scores are the same.
    for seed in range(6):
        chooser = Random(200 + seed)
        words = ["alpha", "beta", "gamma", "delta", "7", "8"]
        units = [" ".join(chooser.choices(words, k=chooser.randint(4, 7))) for _ in range(90)]
        options = {"numbers": numbers, "keep": keep, "threshold": 0.6}
        assert rows(find(units, **options)) == by_definition(units, **options)


@pytest.mark.parametrize("numbers", [True, False])
def test_the_law_equals_its_twin_on_any_text(numbers: bool) -> None:
    for seed in range(4):
        chooser = Random(300 + seed)
        alphabet = chooser.sample(reference.RICH_ALPHABET, 12)
        bases = ["".join(chooser.choices(alphabet, k=40)) for _ in range(4)]
        units = []
        for _ in range(60):
            unit = chooser.choice(bases)
            for _ in range(chooser.randint(0, 3)):
                at = chooser.randrange(len(unit))
                unit = unit[:at] + chooser.choice(alphabet) + unit[at + chooser.randint(0, 1) :]
            units.append(unit)
        options = {"numbers": numbers, "min_chars": 4, "min_chars_unspaced": 2, "threshold": 0.5}
        assert rows(find(units, **options)) == by_definition(units, **options)


A = "the old ferry left the harbour early in the grey morning with nobody on board at all"
B = "the old ferry left the harbour early in the grey morning with somebody else on board"
C = "the old ferry left its harbour early on a grey morning with somebody else on board"


def test_the_chain_of_three_is_one() -> None:
    # What the next tests rest on: A ~ B and B ~ C, but not A ~ C.
    sets = [set(reference.cut_shingles(reference.fold_text(text))) for text in (A, B, C)]
    assert reference.jaccard(sets[0], sets[1]) > 0.6 < reference.jaccard(sets[1], sets[2])
    assert reference.jaccard(sets[0], sets[2]) < 0.6


def test_no_chain_removes_what_was_not_compared_with_what_stays() -> None:
    assert [(row[0], row[1]) for row in rows(find([A, B, C], threshold=0.6))] == [(1, 0)]
    assert [(row[0], row[1]) for row in rows(find([B, A, C], threshold=0.6))] == [(1, 0), (2, 0)]


def test_a_later_copy_of_a_duplicate_may_have_a_better_canonical() -> None:
    closer = B.replace("early", "earlier")
    far = A.replace("nobody", "nearly nobody")
    units = [A, B, far, C, closer, B, B.upper()]
    assert rows(find(units, threshold=0.6)) == by_definition(units, threshold=0.6)
    for seed in range(30):
        chooser = Random(seed)
        pool = [A, B, C, far, closer, *(reference.mutate(chooser, B) for _ in range(6))]
        units = [*chooser.choices(pool, k=20), *chooser.choices(pool, k=20)]
        for keep in ("first", "last", "longest"):
            options = {"threshold": chooser.choice([0.6, 0.7, 0.8]), "keep": keep}
            assert rows(find(units, **options)) == by_definition(units, **options)


@pytest.mark.parametrize(("keep", "expected"), [("first", (2, 0)), ("last", (0, 2))])
def test_among_equal_scores_the_earliest_is_canonical(keep: str, expected: tuple[int, int]) -> None:
    stem = "there is one stem that all of these units have together and it is long enough"
    left, right = f"xxxxx yyyyy zzzzz {stem}", f"{stem} qqqqq vvvvv wwwww"
    sets = [set(reference.cut_shingles(text)) for text in (left, right, stem)]
    assert reference.jaccard(sets[0], sets[2]) == reference.jaccard(sets[1], sets[2])
    units = [left, right, stem] if keep == "first" else [stem, left, right]
    found = rows(find(units, threshold=0.8, keep=keep))
    assert found == by_definition(units, threshold=0.8, keep=keep)
    assert [row[:2] for row in found] == [expected]


@pytest.mark.parametrize("seed", range(4))
def test_every_duplicate_is_verified_against_a_unit_that_stays(seed: int) -> None:
    result = clean(make_text(Random(seed), 200))
    assert len(result.duplicates) > 20
    gone = {(row.start, row.stop) for row in result.duplicates}
    for row in result.duplicates:
        assert (row.canonical.start, row.canonical.stop) not in gone
        one = result.original[row.start : row.stop]
        two = result.original[row.canonical.start : row.canonical.stop]
        sets = [set(reference.cut_shingles(reference.fold_text(text))) for text in (one, two)]
        assert row.score == reference.jaccard(*sets) >= 0.7
        assert row.containment == reference.containment(*sets) >= row.score
        # What is cut elsewhere is near, however alike.
        assert row.kind == "near" or reference.fold_text(one) == reference.fold_text(two)
        assert row.kind != "exact" or one == two
        assert two in result.text


@pytest.mark.parametrize("unit", ["sentence", "paragraph", "document"])
@pytest.mark.parametrize("keep", ["first", "longest", "last"])
def test_cleaned_text_and_map_give_back_the_originals(unit: str, keep: str) -> None:
    options = Options.from_mapping({"unit": unit, "keep": keep, "threshold": 0.5})
    originals = [make_text(Random(seed % 5), 40) for seed in range(8)]
    documents = [(str(number), text) for number, text in enumerate(originals)]
    results = clean_documents(documents, options)
    assert sum(len(result.duplicates) for result in results) >= 3
    for result, original in zip(results, originals, strict=True):
        assert restore(result.text, result.document_record()) == original


def as_json(results: list[Result]) -> list[bytes]:
    return [result.to_json() for result in results]


@pytest.mark.parametrize("slice_bytes", [1, 500, 20_000])
def test_threads_and_slices_change_nothing(
    monkeypatch: pytest.MonkeyPatch, slice_bytes: int
) -> None:
    documents = [(f"{seed}.txt", make_text(Random(seed), 150)) for seed in range(4)]
    options = Options(threshold=0.6)
    expected = as_json(clean_documents(documents, options))
    defaults = slices.cut_slices.__defaults__
    monkeypatch.setattr(slices.cut_slices, "__defaults__", (slice_bytes,))
    monkeypatch.setattr(duplicates, "_PAIRS_A_SLICE", slice_bytes % 37 + 1)
    assert defaults != slices.cut_slices.__defaults__
    for threads in (1, 2, 3):
        assert as_json(clean_documents(documents, options, threads=threads)) == expected


@pytest.mark.parametrize("limit", [1, 2, 16])
@pytest.mark.parametrize("wave_units", [1, 7, 1 << 15])
@pytest.mark.parametrize("wave_pairs", [1, 50, 1 << 20])
def test_waves_change_nothing(
    monkeypatch: pytest.MonkeyPatch, limit: int, wave_units: int, wave_pairs: int
) -> None:
    units = reference.make_chains(Random(7), 300, bases=6)
    expected = rows(find(units, threshold=0.6))
    monkeypatch.setattr(pairs, "WAVE_BUCKET_LIMIT", limit)
    monkeypatch.setattr(pairs, "WAVE_UNITS", wave_units)
    monkeypatch.setattr(pairs, "WAVE_PAIRS", wave_pairs)
    assert rows(find(units, threshold=0.6)) == expected


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_fingerprints_that_clash_change_nothing(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    units = reference.make_chains(Random(8), 150, bases=5)
    expected = {keep: rows(find(units, keep=keep)) for keep in ("first", "longest", "last")}

    def describe_weakly(folded: Texts) -> Descriptions:
        whole = describe(folded)
        weak = whole.fingerprints & np.uint64((1 << bits) - 1)
        return Descriptions(whole.spaced_chars, whole.unspaced_chars, whole.numbers, weak)

    monkeypatch.setattr(descriptions, "describe", describe_weakly)
    for keep, expected_rows in expected.items():
        found = rows(find(units, keep=keep))
        assert [row[:2] + row[3:] for row in found] == [row[:2] + row[3:] for row in expected_rows]
        # Of three texts with one fingerprint, the second and the third equal, the third
        # is not told for a copy but found like any other.
        for row, expected_row in zip(found, expected_rows, strict=True):
            assert row[2] == expected_row[2] or (row[2], row[3]) == ("near", 1.0)


def test_documents_cleaned_together_are_held_against_earlier_ones() -> None:
    sentence = "A sentence that is long enough stands in both of the documents."
    documents = [("one", sentence + " One more follows here."), ("two", "Before. " + sentence)]
    first, second = clean_documents(documents)
    assert (first.text, first.duplicates) == (documents[0][1], ())
    assert second.text == "Before."
    (row,) = second.duplicates
    assert (row.document, row.start, row.stop) == ("two", 8, 8 + len(sentence))
    assert (row.canonical.document, row.canonical.start) == ("one", 0)
    assert row.canonical.stop == len(sentence)
    second, first = clean_documents(documents[::-1])
    assert [row.document for row in first.duplicates] == ["one"]
    assert second.duplicates == ()


def test_documents_that_share_nothing_are_cleaned_as_each_alone() -> None:
    texts = [make_text(Random(seed), 60) for seed in range(5)]
    alone = [clean(text, document=str(number)) for number, text in enumerate(texts)]
    together = clean_documents([(str(number), text) for number, text in enumerate(texts)])
    for one, other in zip(alone, together, strict=True):
        assert (one.text, one.kept, one.stats) == (other.text, other.kept, other.stats)
        # Passages are counted through all documents of a run.
        assert [row.to_mapping() | {"passage": 0} for row in one.duplicates] == [
            row.to_mapping() | {"passage": 0} for row in other.duplicates
        ]


@pytest.mark.parametrize("keep", ["first", "longest", "last"])
def test_the_order_of_unrelated_text_does_not_matter(keep: str) -> None:
    chooser = Random(9)
    related = reference.make_chains(chooser, 60, bases=2)
    unrelated = [reference.make_sentence(chooser) for _ in range(60)]

    def found(units: list[str]) -> list[tuple[str, str, str, float, float]]:
        return [(units[row[0]], units[row[1]], *row[2:]) for row in rows(find(units, keep=keep))]

    expected = found(related)
    assert expected
    for _ in range(10):
        chooser.shuffle(unrelated)
        places = sorted(chooser.sample(range(120), 60))
        mixed = list(unrelated)
        for place, unit in zip(places, related, strict=True):
            mixed.insert(place, unit)
        assert found(mixed) == expected


@pytest.mark.parametrize("seed", range(6))
def test_a_lower_threshold_never_keeps_both_units_that_a_higher_one_calls_duplicates(
    seed: int,
) -> None:
    units = reference.make_chains(Random(seed), 150, bases=4)
    thresholds = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    found = {threshold: rows(find(units, threshold=threshold)) for threshold in thresholds}
    for higher in thresholds:
        for lower in thresholds:
            if lower < higher:
                gone = {row[0] for row in found[lower]}
                for unit, canonical, *_ in found[higher]:
                    assert unit in gone or canonical in gone


def test_a_higher_threshold_removes_no_more_where_no_chain_is() -> None:
    chooser = Random(3)
    units = []
    for _ in range(60):
        unit = reference.make_sentence(chooser)
        units += [unit, reference.mutate(chooser, unit)]
    counts = [len(find(units, threshold=percent / 100)) for percent in range(40, 101, 5)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 40 > counts[-1] > 0


def test_a_leader_that_goes_no_longer_stands_for_others() -> None:
    # So a higher threshold may remove more: at 0.6 B goes with A, and what is like
    # B alone stays; at 0.68 B stays, and both go with it.
    stem = "the old ferry left the harbour early in the grey morning with nobody on board"
    units = [
        stem.replace("harbour early", "lagoon quickly"),
        stem,
        stem.replace("the old ferry", "that new boat"),
        stem.replace("nobody on board", "somebody else"),
    ]
    assert [row[:2] for row in rows(find(units, threshold=0.6))] == [(1, 0)]
    assert [row[:2] for row in rows(find(units, threshold=0.68))] == [(2, 1), (3, 1)]


@pytest.mark.parametrize("keep", ["first", "longest", "last"])
@pytest.mark.parametrize("seed", range(4))
def test_units_that_stay_are_no_duplicates_among_themselves(seed: int, keep: str) -> None:
    units = reference.make_chains(Random(seed), 200, bases=6)
    gone = {row[0] for row in rows(find(units, keep=keep))}
    staying = [unit for number, unit in enumerate(units) if number not in gone]
    assert 6 <= len(staying) < len(units)
    assert rows(find(staying, keep=keep)) == []


def cut(text: str) -> list[str]:
    documents = Texts.from_bytes([text.encode()])
    units = cut_units(documents, "sentence")
    return [
        documents.data[start:stop].tobytes().decode()
        for start, stop in zip(units.starts, units.stops, strict=True)
    ]


def test_cleaning_a_cleaned_text_removes_nothing_more() -> None:
    # Unless what the closed gap brings together reads as one sentence now: "Etc."
    # before a small letter, a line that now looks wrapped. Nor are there stretches:
    # a closed gap makes new ones.
    held = 0
    options = Options(stretches=False)
    for seed in range(60):
        once = clean(make_text(Random(seed), 80), options)
        assert once.duplicates
        staying = Counter(cut(once.original))
        staying.subtract(once.original[row.start : row.stop] for row in once.duplicates)
        if Counter(cut(once.text)) == +staying:
            held += 1
            again = clean(once.text, options)
            assert (again.text, again.duplicates) == (once.text, ()), seed
    assert held > 15


def test_cleaning_cleaned_paragraphs_removes_nothing_more() -> None:
    for seed in range(30):
        options = Options(stretches=False)
        once = clean("\n\n".join(reference.make_chains(Random(seed), 80)), options)
        assert once.duplicates
        again = clean(once.text, options)
        assert (again.text, again.duplicates) == (once.text, ())


@pytest.mark.parametrize(
    ("keep", "stays"), [("first", [0, 3]), ("longest", [1, 4]), ("last", [2, 5])]
)
def test_the_keep_policy_says_which_copy_stays(keep: str, stays: list[int]) -> None:
    stem = "one stem of words that all of the three copies have together"
    han = "這些話在三個地方都一樣而且夠長可以比較"
    units = [stem, stem + " at it", stem + " it", han, han + "嗎", han]
    gone = [row[0] for row in rows(find(units, keep=keep))]
    assert sorted(set(range(6)) - set(gone)) == stays


def test_units_whose_numbers_differ_are_no_duplicates_unless_asked() -> None:
    units = [
        "In the attack on the town 137 people were killed on Monday.",
        "In the attack on the town 316 people were killed on Monday.",
        "In the attack on the town, １３７ people were killed on Monday!",
        "In the attack on the town 13 7 people were killed on Monday.",
        "In the attack on the town 137 people were killed on Mondays.",
        "In the attack on the town people were killed on Monday 137.",
        "In the attack on the town people were killed on Monday.",
    ]
    assert [row[:3] for row in rows(find(units))] == [
        (2, 0, "folded"),
        (4, 0, "near"),
        (5, 0, "near"),
    ]
    assert [row[0] for row in rows(find(units, numbers=False))] == [1, 2, 3, 4, 5, 6]
    for numbers in (True, False):
        assert rows(find(units, numbers=numbers)) == by_definition(units, numbers=numbers)


def test_runs_of_digits_count_in_their_order() -> None:
    units = [
        "The score was 12 to 34 when the whistle went at last.",
        "The score was 34 to 12 when the whistle went at last.",
        "The score was 1 to 234 when the whistle went at last.",
        "The score was 12 to 34 when the whistles went at last.",
    ]
    assert [row[:2] for row in rows(find(units))] == [(3, 0)]


@pytest.mark.parametrize(
    ("unit", "shorter"),
    [
        ("just a sentence of these 25", "just a sentence of these"),
        ("漢字仮名交文章八", "漢字仮名交文章"),
        ("ภาษาไทยๆ", "ภาษาไทย"),
        ("漢字仮名 twelve letter", "漢字仮名 twelve lett"),
    ],
)
def test_units_shorter_than_the_least_length_stay(unit: str, shorter: str) -> None:
    least = {"min_chars": len(unit) if unit.isascii() else 25}
    assert reference.is_long_enough(reference.fold_text(unit), **least)
    assert not reference.is_long_enough(reference.fold_text(shorter), **least)
    assert [row[0] for row in rows(find([unit, unit], **least))] == [1]
    found = find([shorter, shorter], **least)
    assert rows(found) == []
    assert found.compared.tolist() == [False, False]
    # Held against a longer one neither: it stays even beside its own extension.
    assert rows(find([unit, shorter], threshold=0.5, **least)) == []


def test_buckets_that_fill_are_counted_and_full_ones_cost_no_more_than_pairs() -> None:
    chooser = Random(4)
    stem = " ".join(reference.make_words(chooser, "Latin", 14))
    units = [f"{stem} {' '.join(reference.make_words(chooser, 'Latin', 9))}" for _ in range(60)]
    whole = find(units, threshold=0.7)
    assert whole.capped_count == 0
    assert rows(whole) == by_definition(units)
    capped = find(units, threshold=0.7, bucket_cap=2)
    assert capped.capped_count > 0
    for row in rows(capped):
        sets = [set(reference.cut_shingles(reference.fold_text(units[unit]))) for unit in row[:2]]
        assert row[3] == reference.jaccard(*sets) >= 0.7
    result = clean(". ".join(unit.capitalize() for unit in units), Options(bucket_cap=2))
    assert result.stats.capped_buckets > 0


def test_equal_copies_go_however_full_the_buckets_are() -> None:
    chooser = Random(6)
    stem = " ".join(reference.make_words(chooser, "Latin", 14))
    units = [f"{stem} {' '.join(reference.make_words(chooser, 'Latin', 9))}" for _ in range(40)]
    found = find([*units, *units], bucket_cap=1)
    assert {row[0] for row in rows(found)} >= set(range(40, 80))


def make_pair(chooser: Random, threshold: Fraction) -> tuple[str, str, str]:
    """Make two units with the least Jaccard from the threshold on, and a third just below it.

    Both begin alike, and each goes on in its own way until a letter more would
    be too much. All are lower-case ASCII, and so their own folded texts.
    """
    one = two = " ".join(reference.make_words(chooser, "Latin", 15))
    while True:
        longer = (one + chooser.choice("abcdefghij"), two + chooser.choice("klmnopqrst"))
        for pair in ((longer[0], two), longer):
            sets = [{text[at : at + 5] for at in range(len(text) - 4)} for text in pair]
            if Fraction(len(sets[0] & sets[1]), len(sets[0] | sets[1])) < threshold:
                return one, two, pair[1] if pair[0] == one else pair[0]
            one, two = pair


@pytest.mark.parametrize("threshold", ["0.5", "0.7", "0.9"])
def test_pairs_at_the_threshold_are_found_as_often_as_stated(threshold: str) -> None:
    chooser = Random(10)
    count = 2000 if threshold == "0.7" else 300
    units = [unit for _ in range(count) for unit in make_pair(chooser, Fraction(threshold))[:2]]
    found = rows(find(units, threshold=float(threshold)))
    options = Options(threshold=float(threshold))
    assert options.recall >= 0.99
    assert len(found) / count >= 0.985
    cut = [
        reference.cut_bands(
            reference.sign({unit[at : at + 5] for at in range(len(unit) - 4)}, options.num_perm),
            options.bands,
            options.rows,
        )
        for unit in units
    ]
    assert [row[:2] for row in found] == [
        (first + 1, first)
        for first in range(0, len(units), 2)
        if any(one == two for one, two in zip(cut[first], cut[first + 1], strict=True))
    ]
    assert all(0 <= row[3] - float(threshold) < 0.03 for row in found)


@pytest.mark.parametrize("threshold", ["0.5", "0.6", "0.75", "0.8", "0.9"])
def test_a_pair_exactly_at_the_threshold_is_a_duplicate_and_one_below_is_not(
    threshold: str,
) -> None:
    chooser = Random(13)
    exact = below = 0
    for _ in range(60):
        one, two, three = make_pair(chooser, Fraction(threshold))
        for units in ([one, two], [two, three], [one, three]):
            found = rows(find(units, threshold=float(threshold)))
            assert found == by_definition(units, threshold=float(threshold))
            exact += any(row[3] == float(threshold) for row in found)
            below += not found
    assert exact > 4 < below


def test_pairs_of_any_score_become_candidates_as_often_as_the_function_says() -> None:
    chooser = Random(11)
    options = Options(threshold=0.7)
    seen: Counter[int] = Counter()
    hits: Counter[int] = Counter()
    expected: Counter[int] = Counter()
    for _ in range(600):
        one = two = reference.make_sentence(chooser, word_count=16)
        for _ in range(chooser.randint(2, 9)):
            two = reference.mutate(chooser, two)
        sets = [set(reference.cut_shingles(reference.fold_text(text))) for text in (one, two)]
        score = reference.jaccard(*sets)
        bands = [
            reference.cut_bands(reference.sign(parts, 130), options.bands, options.rows)
            for parts in sets
        ]
        place = int(score * 5)
        seen[place] += 1
        hits[place] += any(left == right for left, right in zip(*bands, strict=True))
        expected[place] += reference.candidate_probability(
            Fraction(score), options.bands, options.rows
        )  # type: ignore[assignment]
    for place, count in seen.items():
        assert abs(hits[place] - expected[place]) < 3.5 * max(1, count / 4) ** 0.5


def test_consecutive_duplicates_of_consecutive_units_are_one_passage() -> None:
    chooser = Random(12)
    one, two, three, four = (reference.make_sentence(chooser) for _ in range(4))
    found = find([one, two, three, four, one, two, "Short.", three, "\n", one, four, three])
    assert found.units.tolist() == [4, 5, 7, 9, 10, 11]
    assert found.canonicals.tolist() == [0, 1, 2, 0, 3, 2]
    assert found.passages.tolist() == [0, 0, 0, 1, 2, 3]


def test_a_passage_ends_with_its_document() -> None:
    chooser = Random(14)
    one, two = (reference.make_sentence(chooser) for _ in range(2))
    both = f"{one} {two}"
    results = clean_documents([("a", both), ("b", one), ("c", two), ("d", both)])
    assert [[row.passage for row in result.duplicates] for result in results] == [
        [],
        [0],
        [1],
        [2, 2],
    ]
    results = clean_documents([("a", one), ("b", two), ("c", both)])
    assert [row.passage for row in results[2].duplicates] == [0, 1]


def test_the_news_article_has_its_one_duplicate() -> None:
    (path,) = Path(__file__).parent.parent.joinpath("seeds").glob("*e161e0f97b314195*")
    result = clean(path.read_text())
    (row,) = result.duplicates
    assert (row.kind, round(row.score, 2)) == ("near", 0.89)
    gone = result.original[row.start : row.stop]
    assert gone.startswith("Responding to his statement, Russian Foreign Minister")
    assert gone.endswith("lays down their arms.")
    assert result.text == result.original.replace(gone + "\n", "", 1).replace("\n\n\n", "\n\n")
