from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
import reference
import reference_passages
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dedup import alignments, seeds
from dedup.chains import find_cores
from dedup.columns import Texts
from dedup.errors import OptionsError
from dedup.kinds import EXACT, FOLDED, KINDS, NEAR
from dedup.passages import (
    PassageOptions,
    Passages,
    compare_texts,
    find_passages,
)
from dedup.seeds import Seeds, find_pair_seeds, find_run_seeds
from dedup.words import Words, cut_words

SMALL = st.lists(st.lists(st.integers(0, 5), max_size=25), min_size=1, max_size=4)

# What a single copy in a short text needs to be found by.
SHORT = PassageOptions(least_words=4, least_evidence=6, least_seeds=1)


def join(texts: list[str]) -> Texts:
    return Texts.from_bytes([text.encode() for text in texts])


def words_of(numbers: list[list[int]]) -> Words:
    return cut_words(join([" ".join(f"w{number}" for number in text) for text in numbers]))


def spans(texts: list[str], found: Passages) -> list[tuple[int, str, int, str]]:
    data = "".join(texts).encode()
    return [
        (
            int(found.left_documents[k]),
            data[found.left_starts[k] : found.left_stops[k]].decode(),
            int(found.right_documents[k]),
            data[found.right_starts[k] : found.right_stops[k]].decode(),
        )
        for k in range(len(found))
    ]


def find(
    texts: list[str], options: PassageOptions | None = None
) -> list[tuple[int, str, int, str]]:
    return spans(texts, find_passages(join(texts), options))


def columns(found: Passages) -> dict[str, Any]:
    return {field.name: np.asarray(getattr(found, field.name)).tolist() for field in fields(found)}


def plant(chooser: Random, script: str, word_count: int) -> tuple[str, list[str]]:
    vocabulary = reference_passages.make_vocabulary(chooser, script, 3000)
    passage = reference_passages.make_text(chooser, vocabulary, word_count, script)
    # Words of the two texts are not those of each other, nor of the passage.
    parts = [
        reference_passages.make_text(
            chooser, reference_passages.make_vocabulary(chooser, script, 400), 150, script
        )
        for _ in range(4)
    ]
    return passage, parts


@given(reference.texts())
def test_words_are_those_of_the_definition(text: str) -> None:
    words = cut_words(join([text]))
    byte_at = [len(text[:at].encode()) for at in range(len(text) + 1)]
    expected = reference_passages.cut_words(text)
    assert list(
        zip(words.starts.tolist(), words.stops.tolist(), words.weights.tolist(), strict=True)
    ) == [(byte_at[start], byte_at[stop], weight) for _, start, stop, weight in expected]
    numbers: dict[str, int] = {}
    assert words.ids.tolist() == [numbers.setdefault(word, len(numbers)) for word, *_ in expected]
    assert words.counts.tolist() == list(Counter(words.ids.tolist()).values())


@given(st.lists(reference.texts(20), max_size=5))
def test_words_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    words = cut_words(join(texts))
    single = [cut_words(join([text])) for text in texts]
    bases = np.cumsum([0, *(len(text.encode()) for text in texts)])
    assert words.offsets.tolist() == np.cumsum([0, *(len(one) for one in single)]).tolist()
    assert words.starts.tolist() == [
        int(base + start) for base, one in zip(bases, single, strict=False) for start in one.starts
    ]
    assert words.fingerprints.tolist() == [int(one.fingerprints[0]) for one in single]


def test_more_different_words_than_the_first_table_holds_are_numbered_as_they_stand() -> None:
    text = " ".join(f"w{number * number % 9973}" for number in range(20000))
    numbers: dict[str, int] = {}
    expected = [numbers.setdefault(word, len(numbers)) for word in text.split()]
    assert len(numbers) > 4096
    assert cut_words(join([text])).ids.tolist() == expected


def links(seeds: Seeds) -> list[tuple[int, list[int]]]:
    return sorted(
        (int(place), sorted(seeds.groups[first:rank].tolist()))
        for place, rank, first in zip(seeds.places, seeds.ranks, seeds.firsts, strict=True)
    )


def expected_links(groups: dict[Any, list[int]]) -> list[tuple[int, list[int]]]:
    return sorted(
        (place, places[:rank]) for places in groups.values() for rank, place in enumerate(places)
    )


@given(SMALL, st.integers(1, 9), st.integers(1, 3), st.integers(1, 6))
def test_pair_seeds_are_those_of_the_definition(
    texts: list[list[int]], most_count: int, reach: int, distance: int
) -> None:
    found = find_pair_seeds(words_of(texts), most_count, reach, distance)
    expected = reference_passages.pair_seeds(texts, most_count, reach, distance)
    assert links(found) == expected_links(expected)


@given(SMALL, st.integers(2, 5))
def test_run_seeds_are_those_of_the_definition(texts: list[list[int]], length: int) -> None:
    found = find_run_seeds(words_of(texts), length)
    assert links(found) == expected_links(reference_passages.run_seeds(texts, length))


@given(SMALL, st.integers(2, 17))
def test_seeds_that_are_found_in_parts_are_the_same(texts: list[list[int]], parts: int) -> None:
    words = words_of(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeds, "_SEEDS_A_PART", max(1, 2 * len(words) // parts))
        found = find_pair_seeds(words, 9, 2, 6), find_run_seeds(words, 3)
    assert links(found[0]) == expected_links(reference_passages.pair_seeds(texts, 9, 2, 6))
    assert links(found[1]) == expected_links(reference_passages.run_seeds(texts, 3))
    for some in found:
        assert (np.diff(some.places) >= 0).all()


@given(st.lists(st.integers(0, 7), max_size=14), st.lists(st.integers(0, 7), max_size=14))
@example([0, 1, 2, 3, 0], [0, 1, 2, 3, 0])
def test_partners_are_those_of_the_definition(left: list[int], right: list[int]) -> None:
    ids = np.array(right + left, np.int32)
    n = len(right)
    partner_a, partner_b = np.empty(len(left), np.int64), np.empty(n, np.int64)
    gain_a, gain_b = np.empty(len(left)), np.empty(n)
    heads = np.full(8, -1, np.int32)
    alignments._match(
        ids, np.full(len(ids), 4, np.uint8), np.ones(len(ids), np.int32), heads,
        max(len(left), 1), max(n, 1), False, n, n + len(left), 0, n, n, 0.6, 2.0,
        partner_a, gain_a, partner_b, gain_b,
    )  # fmt: skip
    assert (heads == -1).all()
    assert partner_a.tolist() == reference_passages.match(left, right)
    assert [(j, i) for i, j in enumerate(partner_a.tolist()) if j >= 0] == sorted(
        ((j, i) for j, i in enumerate(partner_b.tolist()) if i >= 0), key=lambda pair: pair[1]
    )
    assert ((gain_a > 0) == (partner_a >= 0)).all()
    assert [gain_b[j] for j in partner_a if j >= 0] == gain_a[partner_a >= 0].tolist()


@given(st.lists(st.integers(-4, 4), max_size=12))
def test_the_best_stretch_has_the_greatest_sum(values: list[int]) -> None:
    start, stop = alignments._fit(np.array(values, np.float64), 0, len(values), 1e9)
    assert sum(values[start:stop]) == reference_passages.best_stretch(values)


@pytest.mark.parametrize("script", ["Latin", "Greek", "Han", "Thai"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("word_count", [40, 700])
def test_a_passage_in_other_text_is_found_with_both_ends(
    script: str, seed: int, word_count: int
) -> None:
    passage, (a, b, c, d) = plant(Random(seed), script, word_count)
    # A mark between: no word of four letters reaches over a border it should not.
    texts = [f"{a} 1 {passage} 2 {b}", f"{c} 3 {passage} 4 {d}"]
    assert find(texts) == [(0, passage, 1, passage)]
    assert find_passages(join(texts)).kinds.tolist() == [EXACT]


def test_closing_and_opening_marks_go_along_where_they_are_the_same() -> None:
    passage, (a, b, c, d) = plant(Random(5), "Latin", 40)
    same = f"“({passage}.”)"
    assert find([f"{a} {same} {b}", f"{c} {same} {d}"]) == [(0, same, 1, same)]
    assert find([f"{a} {passage}. {b}", f"{c} {passage}, {d}"]) == [(0, passage, 1, passage)]
    assert find([f"{a} ({passage}... {b}", f"{c} [{passage}.. {d}"]) == [
        (0, f"{passage}..", 1, f"{passage}..")
    ]


def test_kinds_tell_the_same_text_from_the_same_words_and_from_others() -> None:
    passage, (a, b, c, d) = plant(Random(6), "Latin", 60)
    upper = passage.upper().replace(" ", ",\n", 3)
    changed = passage.split(" ")
    changed[30] = "other"
    for copy, kind in ((passage, EXACT), (upper, FOLDED), (" ".join(changed), NEAR)):
        found = find_passages(join([f"{a} {passage} {b}", f"{c} {copy} {d}"]))
        assert found.kinds.tolist() == [kind]
        aligned = 60 if kind != NEAR else 59
        assert found.aligned_words.tolist() == [aligned]
        assert found.scores.tolist() == [aligned / (120 - aligned)]
        assert found.containments.tolist() == [aligned / 60]
    assert [KINDS[kind] for kind in (EXACT, FOLDED, NEAR)] == ["exact", "folded", "near"]


def edited(chooser: Random, words: list[str], edit: str, every: int) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(words):
        if at % every == every // 2:
            if edit == "insert":
                out += [f"new{at}", words[at]]
            elif edit == "substitute":
                out.append(f"new{at}")
            elif edit == "swap" and at + 1 < len(words):
                out += [words[at + 1], words[at]]
                at += 1
        else:
            out.append(words[at])
        at += 1
    return out


@pytest.mark.parametrize("edit", ["insert", "delete", "substitute", "swap"])
@pytest.mark.parametrize("every", [3, 5, 10])
def test_edited_passages_are_found_whole(edit: str, every: int) -> None:
    chooser = Random(every)
    passage, (a, b, c, d) = plant(chooser, "Latin", 90)
    copy = " ".join(edited(chooser, passage.split(" "), edit, every))
    texts = [f"{a} {passage} {b}", f"{c} {copy} {d}"]
    [(_, left, _, right)] = find(texts)
    # An edit that falls on the last words may leave them out.
    assert passage.startswith(left[:-1])
    assert copy.startswith(right[:-1])
    assert len(passage) - len(left) <= 20
    assert len(copy) - len(right) <= 20


def test_a_passage_with_all_its_words_shuffled_is_found() -> None:
    chooser = Random(1)
    passage, (a, b, c, d) = plant(chooser, "Latin", 80)
    words = passage.split(" ")
    blocks = [words[k : k + 3] for k in range(0, 80, 3)]
    chooser.shuffle(blocks)
    copy = " ".join(word for block in blocks for word in block)
    [(_, left, _, right)] = find([f"{a} {passage} {b}", f"{c} {copy} {d}"])
    assert (left, right) == (passage, copy)


def test_a_gap_up_to_the_option_is_bridged_and_a_longer_one_not() -> None:
    passage, (a, b, c, _) = plant(Random(2), "Latin", 80)
    first, second = " ".join(passage.split()[:40]), " ".join(passage.split()[40:])
    for gap, count in ((0, 1), (20, 1), (44, 1), (47, 2), (80, 2)):
        middle = " ".join(f"gap{number}" for number in range(gap))
        found = find([f"{a} {passage} {b}", f"{c} {first} {middle} {second}"])
        assert len(found) == count, gap


def test_a_text_that_repeats_itself_has_a_row_without_overlap() -> None:
    passage, (a, b, c, _) = plant(Random(3), "Latin", 50)
    assert find([f"{a} {passage} {b} {passage} {c}"]) == [(0, passage, 0, passage)]
    assert find([f"{passage} {passage}"]) == [(0, passage, 0, passage)]
    for found in find([" ".join([passage] * 7)]):
        assert found[1] == found[3]


def test_each_pair_of_texts_with_a_passage_has_a_row() -> None:
    passage, parts = plant(Random(4), "Latin", 50)
    texts = [f"{part} {passage}" for part in parts]
    assert [(left, right) for left, _, right, _ in find(texts)] == [
        (left, right) for left in range(4) for right in range(left + 1, 4)
    ]


def test_a_passage_in_many_texts_has_a_row_for_each_two_of_them() -> None:
    passage, _ = plant(Random(12), "Latin", 50)
    chooser = Random(13)
    own = reference_passages.make_vocabulary(chooser, "Latin", 50)
    found = find_passages(join([f"{word} {passage}" for word in own]))
    assert list(
        zip(found.left_documents.tolist(), found.right_documents.tolist(), strict=True)
    ) == [(left, right) for left in range(50) for right in range(left + 1, 50)]


def test_texts_that_are_there_twice_have_the_rows_of_the_first_with_sides_as_they_stand() -> None:
    passage, (a, b, c, d) = plant(Random(14), "Latin", 40)
    words = passage.split(" ")
    # All in one cell, with its core at the same place in both: the two pairs of sides
    # differ in nothing else, and as the copy is longer, rows of the wrong one would show.
    a, c = " ".join(a.split(" ")[:144]), " ".join(c.split(" ")[:144])
    copy = " ".join([*words[:24], "added", "here", *words[24:]])
    one, other = f"{a} {passage} {b}", f"{c} {copy} {d}"
    texts = [one, other, one.replace(" ", "\n"), other, one]
    found = find(texts)
    for left, first, right, second in found:
        for text, part in ((texts[left], first), (texts[right], second)):
            if text == other and left % 2 != right % 2:
                assert part == copy
            elif left % 2 != right % 2:
                assert part.split() == words
            else:
                assert part == text
    assert sorted((left, right) for left, _, right, _ in found) == [
        (left, right) for left in range(5) for right in range(left + 1, 5)
    ]


def natural(seed: int, count: int) -> list[str]:
    """Texts of common and rare words, with copied, edited and shuffled parts."""
    chooser = Random(seed)
    vocabulary = reference_passages.make_vocabulary(chooser, "Latin", 2000)
    weights = [1 / rank for rank in range(1, 2001)]
    texts: list[list[str]] = []
    for _ in range(count):
        words = chooser.choices(vocabulary, weights, k=chooser.randint(0, 300))
        for _ in range(chooser.randint(0, 2)):
            if texts and (other := chooser.choice(texts)):
                start = chooser.randrange(len(other))
                part = other[start : start + chooser.randint(10, 150)]
                part = [word for word in part if chooser.random() > 0.1]
                if chooser.random() < 0.4:
                    chooser.shuffle(part)
                at = chooser.randint(0, len(words))
                words[at:at] = part
        texts.append(words)
    return [" ".join(words) for words in texts]


@pytest.mark.parametrize("seed", range(6))
def test_swapping_two_texts_swaps_the_sides(seed: int) -> None:
    texts = natural(seed, 12)
    for one, other in pairwise(texts):
        found = [row for row in find([one, other], SHORT) if row[0] != row[2]]
        swapped = [row for row in find([other, one], SHORT) if row[0] != row[2]]
        assert sorted(found) == sorted((0, right, 1, left) for _, left, _, right in swapped)


@pytest.mark.parametrize("seed", range(3))
def test_threads_change_nothing(seed: int) -> None:
    texts = join(natural(seed, 40))
    assert columns(find_passages(texts, threads=1)) == columns(find_passages(texts, threads=3))


def test_unrelated_texts_change_nothing() -> None:
    passage, (a, b, c, d) = plant(Random(7), "Latin", 50)
    texts = [f"{a} {passage} {b}", f"{c} {passage} {d}"]
    others = natural(7, 6)
    found = find(texts)
    # The rows of the two: words of theirs stand in no other text.
    assert [row for row in find([*texts, *others]) if {row[0], row[2]} == {0, 1}] == found
    behind = [row for row in find([*others, *texts]) if {row[0], row[2]} == {6, 7}]
    assert [(left - 6, one, right - 6, other) for left, one, right, other in behind] == found


@settings(max_examples=60)
@given(st.lists(reference.texts(80), min_size=1, max_size=4), st.integers(1, 3))
def test_spans_are_on_code_points_and_do_not_overlap_within_a_text(
    texts: list[str], times: int
) -> None:
    texts = [text * times for text in texts]
    joined = join(texts)
    found = find_passages(joined, replace(SHORT, least_words=1, least_evidence=0.5))
    for left, one, right, other in spans(texts, found):
        assert one
        assert other
        assert left <= right
        assert one in texts[left]
        assert other in texts[right]
    for k in range(len(found)):
        left, right = found.left_documents[k], found.right_documents[k]
        assert joined.offsets[left] <= found.left_starts[k]
        assert found.left_stops[k] <= joined.offsets[left + 1]
        assert joined.offsets[right] <= found.right_starts[k]
        assert found.right_stops[k] <= joined.offsets[right + 1]
        if left == right:
            assert found.left_stops[k] <= found.right_starts[k]
        assert 0 < found.scores[k] <= found.containments[k] <= 1


def test_comparing_gives_the_aligned_words_of_both_sides() -> None:
    passage, (a, b, c, d) = plant(Random(8), "Latin", 40)
    words = passage.split(" ")
    copy = [*words[:10], "added", *words[10:20], *words[21:]]
    left, right = f"{a} {passage}. {b}", f"{c} {' '.join(copy)}. {d}"
    compared = compare_texts(left.encode(), right.encode())
    data = (left + right).encode()
    assert spans([left, right], compared.passages) == [(0, passage + ".", 1, " ".join(copy) + ".")]
    assert compared.offsets.tolist() == [0, 39]
    kept = words[:20] + words[21:]
    for starts, stops in (
        (compared.left_starts, compared.left_stops),
        (compared.right_starts, compared.right_stops),
    ):
        assert [data[x:y].decode() for x, y in zip(starts, stops, strict=True)] == kept


def test_nothing_comes_of_nothing() -> None:
    for texts in ([], [""], ["", ""], ["... --- !!!"] * 3, ["one"] * 5, ["今"] * 3):
        assert find(texts) == []
    assert len(compare_texts(b"", b"").passages) == 0


@pytest.mark.parametrize(
    "texts",
    [
        ["... --- !!! \n" * 20_000],
        ["word" * 20_000],
        reference_passages.make_vocabulary(Random(15), "Latin", 300) * 10,
        [" ".join(reference_passages.make_vocabulary(Random(16), "Latin", 30_000))],
    ],
    ids=["no words", "one long word", "texts of one word", "one line of different words"],
)
def test_text_without_passages_has_none_however_much_there_is(texts: list[str]) -> None:
    assert find(texts) == []


@pytest.mark.parametrize(("unit", "capped"), [("a ", 1), ("a b ", 2), ("今", 1)])
def test_one_word_over_and_over_is_capped_and_has_few_rows(unit: str, capped: int) -> None:
    text = unit * 5000
    found = find_passages(join([text]))
    assert found.capped_count == capped
    assert len(found) <= 5
    assert (found.left_stops <= found.right_starts).all()
    assert (found.kinds != NEAR).all()


def count_cores(texts: list[str], options: PassageOptions) -> int:
    words = cut_words(join(texts))
    cores = find_cores(
        words,
        np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(words.offsets)),
        find_pair_seeds(words, 20, options.seed_words, options.seed_distance),
        find_run_seeds(words, options.run_words),
        options.most_places,
        options.most_run_places,
        options.cell_words,
        options.least_seeds,
    )
    return len(cores.lefts)


def test_the_work_grows_with_the_text_however_often_a_passage_is_repeated() -> None:
    options = PassageOptions(most_run_places=8)
    passage, _ = plant(Random(9), "Latin", 60)
    # Doubling the copies doubles the cores, in one text and over many.
    one = [count_cores([" ".join([passage] * times)], options) for times in (200, 400, 800)]
    many = [count_cores([passage] * times, options) for times in (200, 400, 800)]
    for counts in (one, many):
        assert counts[1] <= 2.2 * counts[0]
        assert counts[2] <= 2.2 * counts[1]


def test_a_passage_repeated_all_through_a_text_gives_few_rows_that_cover_it() -> None:
    passage, _ = plant(Random(9), "Latin", 60)
    text = " ".join([passage] * 2000)
    found = find_passages(join([text]))
    assert found.capped_count > 0
    assert len(found) <= 2 * 2000
    covered = np.zeros(len(text), bool)
    for start, stop in zip(found.right_starts, found.right_stops, strict=True):
        covered[start:stop] = True
    assert covered[len(passage) + 1 :].mean() > 0.99


def test_a_text_equal_to_many_is_linked_to_the_first_and_the_one_before() -> None:
    passage, _ = plant(Random(10), "Latin", 60)
    found = find_passages(join([passage] * 700))
    pairs = set(zip(found.left_documents.tolist(), found.right_documents.tolist(), strict=True))
    assert pairs == {(0, k) for k in range(1, 700)} | {(k - 1, k) for k in range(1, 700)}
    assert (found.kinds == EXACT).all()
    # Runs of 8 of the 60 words; pairs of words are none, for each word is common.
    assert found.capped_count == 53


def test_two_long_equal_texts_are_one_passage() -> None:
    chooser = Random(11)
    vocabulary = reference_passages.make_vocabulary(chooser, "Latin", 3000)
    weights = [1 / rank for rank in range(1, 3001)]
    text = " ".join(chooser.choices(vocabulary, weights, k=40_000))
    found = find_passages(join([text, text]))
    across = found.left_documents != found.right_documents
    assert found.left_starts[across].tolist()[0] == 0
    assert found.left_stops[across].tolist()[0] == len(text)
    assert found.kinds[across].tolist()[0] == EXACT


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("least_words", 0, "a whole number from 1 to 1000000"),
        ("least_words", 2.5, "a whole number from 1 to 1000000"),
        ("least_words", True, "a whole number from 1 to 1000000"),
        ("least_share", 1.5, "a number from 0 to 1"),
        ("least_share", "much", "a number from 0 to 1"),
        ("nonsense", 1, "one of the options least_words, least_evidence"),
    ],
)
def test_bad_options_are_refused_by_name(name: str, value: object, expected: str) -> None:
    with pytest.raises(OptionsError, match=f"option {name}.*{expected}"):
        PassageOptions.from_mapping({name: value})


def test_options_go_into_json_and_come_back() -> None:
    options = PassageOptions(least_words=30, fidelity=0.5)
    assert PassageOptions.from_mapping(options.to_mapping()) == options
