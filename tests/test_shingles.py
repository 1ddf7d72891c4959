from itertools import pairwise
from random import Random

import numpy as np
import pytest
import reference
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dedup.columns import Positions, Texts
from dedup.folding import fold_spans
from dedup.options import Options
from dedup.shingles import Shingles, hash_shingles, measure_sets, score_pairs

LISTS = st.lists(reference.texts(), max_size=8)
SIZES = st.tuples(st.integers(2, 8), st.integers(1, 8), st.integers(1, 8))


def fold(texts: list[str]) -> Texts:
    documents = Texts.from_bytes([text.encode() for text in texts])
    return fold_spans(documents.data, documents.offsets[:-1], documents.offsets[1:])


def sized(sizes: tuple[int, int, int], threshold: float = 0.7) -> Options:
    spaced, han, thai = sizes
    return Options(
        shingle_chars=spaced,
        shingle_chars_han=han,
        shingle_chars_thai=thai,
        threshold=threshold,
        num_perm=4096,
    )


def rows(shingles: Shingles) -> list[list[int]]:
    return [
        shingles.hashes[start:stop].tolist() for start, stop in pairwise(shingles.offsets.tolist())
    ]


@given(LISTS)
def test_hashes_equal_their_twin(texts: list[str]) -> None:
    hashed = hash_shingles(fold(texts), Options())
    assert hashed.hashes.dtype == np.uint32
    assert rows(hashed) == [reference.hash_shingles(reference.fold_text(text)) for text in texts]


@given(LISTS, SIZES)
def test_hashes_equal_their_twin_at_every_length_of_shingles(
    texts: list[str], sizes: tuple[int, int, int]
) -> None:
    assert rows(hash_shingles(fold(texts), sized(sizes))) == [
        reference.hash_shingles(reference.fold_text(text), sizes) for text in texts
    ]


def test_hashes_of_shingles_of_every_width_in_bytes_are_xxh32() -> None:
    # 8 code points of 1 to 4 bytes: 8 to 32 bytes, on both sides of 16, where
    # xxh32 begins to go by four lanes.
    letters = "aж한𐌰"
    for text in (
        one * left + two * (8 - left) for one in letters for two in letters for left in range(9)
    ):
        folded = reference.fold_text(text)
        (hashes,) = rows(hash_shingles(fold([text]), sized((8, 8, 8))))
        assert hashes == [
            xxhash.xxh32_intdigest(folded[at : at + 8].encode())
            for at in range(max(1, len(folded) - 7))
        ]


@pytest.mark.parametrize(
    ("text", "shingles"),
    [
        ("", []),
        ("abc", ["abc"]),
        ("abcde", ["abcde"]),
        ("ab cdef", ["ab cd", "b cde", " cdef"]),
        ("漢", ["漢"]),
        ("漢 字 仮", ["漢字", "字仮"]),
        ("ab 漢字 cd", ["ab", "漢字", "cd"]),
        ("ab漢cd ef", ["ab", "漢", "cd ef"]),
        ("ก ข ค ง", ["กขค", "ขคง"]),
        ("漢ก字", ["漢", "ก", "字"]),
        ("12345漢6", ["12345", "漢", "6"]),
    ],
)
def test_mixed_text_is_shingled_run_by_run(text: str, shingles: list[str]) -> None:
    assert reference.cut_shingles(text) == shingles
    (hashes,) = rows(hash_shingles(fold([text]), Options()))
    assert hashes == [xxhash.xxh32_intdigest(part.encode()) for part in shingles]


@given(LISTS, SIZES)
def test_sizes_of_sets_equal_their_twin(texts: list[str], sizes: tuple[int, int, int]) -> None:
    assert measure_sets(fold(texts), sized(sizes)).sizes.tolist() == [
        len(set(reference.cut_shingles(reference.fold_text(text), sizes))) for text in texts
    ]


def check_scores(
    texts: list[str], pairs: list[tuple[int, int]], sizes: tuple[int, int, int], threshold: float
) -> None:
    folded = fold(texts)
    options = sized(sizes, threshold)
    left: Positions = np.array([pair[0] for pair in pairs], np.int64)
    right: Positions = np.array([pair[1] for pair in pairs], np.int64)
    shared = score_pairs(folded, left, right, measure_sets(folded, options), options)
    sets = [set(reference.cut_shingles(reference.fold_text(text), sizes)) for text in texts]
    assert shared.tolist() == [
        len(sets[one] & sets[two])
        if sets[one] | sets[two] and reference.jaccard(sets[one], sets[two]) >= threshold
        else 0
        for one, two in pairs
    ]


@given(
    st.lists(reference.texts(), min_size=1, max_size=5),
    SIZES,
    st.sampled_from([0.05, 0.25, 1 / 3, 0.5, 0.7, 0.75, 0.9, 1.0]),
)
def test_scores_equal_their_twin(
    texts: list[str], sizes: tuple[int, int, int], threshold: float
) -> None:
    count = len(texts)
    check_scores(
        texts, [(one, two) for one in range(count) for two in range(count)], sizes, threshold
    )


@given(
    st.randoms(use_true_random=False),
    st.sampled_from([0.2, 0.5, 0.6, 2 / 3, 0.7, 0.8, 0.9, 1.0]),
)
def test_scores_of_near_copies_equal_their_twin(chooser: Random, threshold: float) -> None:
    texts = reference.make_chains(chooser, 12, bases=2)
    pairs = [(one, two) for one in range(12) for two in range(12)]
    check_scores(texts, pairs, (5, 2, 3), threshold)


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_a_score_of_exactly_the_threshold_counts(threshold: float) -> None:
    # Sets of single Han: of 100 that both have together, `threshold` are shared.
    characters = [chr(0x4E00 + number) for number in range(100)]
    shared = round(100 * threshold)
    texts = ["".join(characters), "".join(characters[:shared]), "".join(characters[: shared - 1])]
    options = sized((5, 1, 3), threshold)
    folded = fold(texts)
    counted = score_pairs(
        folded,
        np.array([0, 0, 1, 2], np.int64),
        np.array([1, 2, 0, 0], np.int64),
        measure_sets(folded, options),
        options,
    )
    assert counted.tolist() == [shared, 0, shared, 0]


def test_repeated_shingles_count_once() -> None:
    check_scores(
        ["ha " * 300, "ha " * 7, "ha he " * 5, "he ha " * 50],
        [(one, two) for one in range(4) for two in range(4)],
        (5, 2, 3),
        0.4,
    )


def test_units_of_very_different_lengths_are_scored_in_one_run() -> None:
    # The table of the left unit shrinks and grows with it.
    chooser = Random(5)
    long = " ".join(reference.make_words(chooser, "Latin", 3000))
    texts = ["short one", long, "short two", long + " more", "short one", long]
    pairs = [(one, two) for one in range(6) for two in range(6)]
    check_scores(texts, pairs, (5, 2, 3), 0.5)
