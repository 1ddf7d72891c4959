from random import Random

import datasketch
import numpy as np
import pytest
import reference
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dedup.columns import Texts
from dedup.errors import OptionsError
from dedup.folding import fold_spans
from dedup.options import Options
from dedup.shingles import Shingles, hash_shingles
from dedup.signatures import (
    Signatures,
    from_datasketch,
    hash_bands,
    permutations,
    sign,
    to_datasketch,
)

LISTS = st.lists(reference.texts(), max_size=6)


def hash_texts(texts: list[str]) -> Shingles:
    documents = Texts.from_bytes([text.encode() for text in texts])
    folded = fold_spans(documents.data, documents.offsets[:-1], documents.offsets[1:])
    return hash_shingles(folded, Options())


def sign_texts(texts: list[str], num_perm: int) -> Signatures:
    return sign(hash_texts(texts), num_perm)


@given(LISTS, st.sampled_from([1, 5, 16, 17, 64, 128, 130]))
def test_signatures_equal_datasketch_slot_for_slot(texts: list[str], num_perm: int) -> None:
    signatures = sign_texts(texts, num_perm)
    assert signatures.dtype == np.uint32
    assert signatures.shape == (len(texts), num_perm)
    assert [tuple(row) for row in signatures.tolist()] == [
        reference.sign(reference.cut_shingles(reference.fold_text(text)), num_perm)
        for text in texts
    ]


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=20), max_size=6))
def test_signatures_of_any_hashes_equal_datasketch(hashes: list[list[int]]) -> None:
    offsets = np.cumsum([0, *map(len, hashes)]).astype(np.int64)
    flat = np.array([one for row in hashes for one in row], np.uint32)
    expected = []
    for row in hashes:
        minhash = datasketch.MinHash(33, seed=1, scheme="affine32", hashfunc=lambda one: one)
        minhash.update_batch(row)
        expected.append(minhash.hashvalues.tolist())
    assert sign(Shingles(flat, offsets), 33).tolist() == expected


@pytest.mark.parametrize("num_perm", [1, 2, 16, 127, 128, 130, 256, 1024])
def test_permutations_are_those_of_datasketch(num_perm: int) -> None:
    factors, addends = permutations(num_perm)
    minhash = datasketch.MinHash(num_perm, seed=1, scheme="affine32")
    assert np.array_equal(np.array([factors, addends]), minhash.permutations)
    assert factors.dtype == addends.dtype == minhash.permutations[0].dtype == np.uint32
    assert (factors & 1).all()


@pytest.mark.parametrize("slots", [1, 15, 16, 17, 125, 130])
def test_the_first_slots_are_those_of_the_whole_signature(slots: int) -> None:
    shingles = hash_texts([reference.make_sentence(Random(seed)) for seed in range(5)])
    assert np.array_equal(sign(shingles, 130, slots), sign(shingles, 130)[:, :slots])


def test_a_unit_without_shingles_has_the_empty_signature() -> None:
    assert sign_texts(["", "ab", "..."], 7)[[0, 2]].tolist() == [[2**32 - 1] * 7] * 2


@given(
    st.lists(st.lists(st.integers(0, 1), min_size=6, max_size=6), min_size=1, max_size=12),
    st.data(),
)
def test_band_keys_are_equal_just_where_band_and_digits_are(
    rows: list[list[int]], data: st.DataObject
) -> None:
    numbers = data.draw(
        st.lists(
            st.sampled_from([0, 0x7C1D9B4E6F32A501, 0x91E4B3A7D8C05F62]),
            min_size=len(rows),
            max_size=len(rows),
        )
    )
    keys = hash_bands(np.array(rows, np.uint32), np.array(numbers, np.uint64), 3, 2)
    seen = {
        (band, number, cut): keys[band, unit]
        for unit, (row, number) in enumerate(zip(rows, numbers, strict=True))
        for band, cut in enumerate(reference.cut_bands(row, 3, 2))
    }
    assert keys.shape == (3, len(rows))
    assert len(set(seen.values())) == len(seen)
    assert keys.tolist() == [
        [
            seen[band, number, reference.cut_bands(row, 3, 2)[band]]
            for row, number in zip(rows, numbers, strict=True)
        ]
        for band in range(3)
    ]


@given(reference.texts(), reference.texts())
def test_signatures_go_to_datasketch_and_back(one: str, two: str) -> None:
    left, right = sign_texts([one, two], 64)
    minhash = to_datasketch(left)
    assert from_datasketch(minhash).tolist() == left.tolist()
    assert minhash.jaccard(to_datasketch(right)) == np.count_nonzero(left == right) / 64
    theirs = reference.make_minhash(reference.cut_shingles(reference.fold_text(one)), 64)
    assert minhash == theirs
    assert from_datasketch(datasketch.LeanMinHash(theirs)).tolist() == left.tolist()


def test_a_minhash_made_of_a_signature_can_be_updated() -> None:
    minhash = to_datasketch(sign_texts(["one two three"], 32)[0])
    for shingle in reference.cut_shingles("four five six"):
        minhash.update(shingle.encode())
    both = [*reference.cut_shingles("one two three"), *reference.cut_shingles("four five six")]
    assert from_datasketch(minhash).tolist() == list(reference.sign(both, 32))


def test_signatures_taken_and_given_are_copies() -> None:
    (signature,) = sign_texts(["one two three"], 32)
    before = signature.tolist()
    minhash = to_datasketch(signature)
    taken = from_datasketch(minhash)
    minhash.update(b"something else")
    taken[:] = 0
    assert signature.tolist() == before
    assert taken.tolist() == [0] * 32


def test_our_signatures_find_theirs_in_their_index_and_the_other_way_round() -> None:
    texts = [reference.make_sentence(Random(seed)) for seed in range(40)]
    near = [text.replace("a", "a", 1) + " also" for text in texts]
    ours = [to_datasketch(signature) for signature in sign_texts(texts, 128)]
    theirs = [
        reference.make_minhash(reference.cut_shingles(reference.fold_text(text)), 128)
        for text in near
    ]
    for stored, asked in ((ours, theirs), (theirs, ours)):
        index = datasketch.MinHashLSH(params=(32, 4), num_perm=128)
        for number, minhash in enumerate(stored):
            index.insert(number, minhash)
        assert [index.query(minhash) for minhash in asked] == [[number] for number in range(40)]


@pytest.mark.parametrize(
    ("minhash", "option"),
    [
        (datasketch.MinHash(8, seed=1, scheme="legacy"), "scheme"),
        (datasketch.MinHash(8, seed=1, scheme="affine64"), "scheme"),
        (datasketch.MinHash(8, seed=2, scheme="affine32"), "seed"),
        (datasketch.LeanMinHash(datasketch.MinHash(8, seed=2, scheme="affine32")), "seed"),
    ],
)
def test_minhashes_of_another_make_are_refused(minhash: datasketch.MinHash, option: str) -> None:
    with pytest.raises(OptionsError) as caught:
        from_datasketch(minhash)
    assert caught.value.option == option


def test_shared_slots_estimate_the_jaccard() -> None:
    chooser = Random(1)
    for _ in range(20):
        one = reference.make_sentence(chooser, word_count=40)
        two = reference.mutate(chooser, reference.mutate(chooser, one))
        left, right = sign_texts([one, two], 1024)
        sets = [set(reference.cut_shingles(reference.fold_text(text))) for text in (one, two)]
        assert abs(np.mean(left == right) - reference.jaccard(*sets)) < 0.06


def test_hashes_are_xxh32_with_seed_0() -> None:
    assert hash_texts(["abcde"]).hashes[0] == xxhash.xxh32_intdigest(b"abcde", seed=0)
