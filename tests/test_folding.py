import subprocess
import sys
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import reference
import unicodedataplus
from hypothesis import given
from hypothesis import strategies as st

from dedup.columns import Texts
from dedup.folding import describe, fold_spans, fold_text, folding_table, same_spans
from dedup.tables import folding as table

LISTS = st.lists(reference.texts(), max_size=8)
ALL_CODE_POINTS = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


def fold(texts: list[str]) -> Texts:
    documents = Texts.from_bytes([text.encode() for text in texts])
    return fold_spans(documents.data, documents.offsets[:-1], documents.offsets[1:])


def strings(folded: Texts) -> list[str]:
    return [
        folded.data[start:stop].tobytes().decode()
        for start, stop in pairwise(folded.offsets.tolist())
    ]


def test_the_stored_table_is_the_one_the_generator_makes() -> None:
    generated = table.generate_table()
    with np.load(table.TABLE_PATH) as stored:
        assert set(stored) == set(generated)
        for name, values in generated.items():
            assert stored[name].dtype == values.dtype, name
            assert np.array_equal(stored[name], values), name


def test_the_table_names_its_unicode_version() -> None:
    assert folding_table().unicode_version == unicodedataplus.unidata_version == "16.0.0"


def test_every_code_point_folds_as_defined() -> None:
    # Between two letters, so that spaces at the ends are seen as well.
    folded = strings(fold([f"a{character}a" for character in ALL_CODE_POINTS]))
    wrong = [
        (hex(ord(character)), got)
        for character, got in zip(ALL_CODE_POINTS, folded, strict=True)
        if ord(character) % 7 == 0 or ord(character) < 0x3400
        if got != reference.fold_text(f"a{character}a")
    ]
    assert wrong == []


def test_folding_folded_text_changes_nothing() -> None:
    once = strings(fold(ALL_CODE_POINTS))
    assert strings(fold(once)) == once
    whole = fold_text("".join(ALL_CODE_POINTS))
    assert fold_text(whole) == whole


@given(LISTS)
def test_folded_spans_equal_their_twin(texts: list[str]) -> None:
    folded = fold(texts)
    assert strings(folded) == [reference.fold_text(text) for text in texts]
    assert folded.offsets[0] == 0
    assert len(folded.data) >= folded.offsets[-1] + 64


@given(LISTS, st.randoms(use_true_random=False))
def test_spans_fold_alike_wherever_they_stand(texts: list[str], chooser: Random) -> None:
    documents = Texts.from_bytes([text.encode() for text in texts])
    rows = list(range(len(texts))) * 2
    chooser.shuffle(rows)
    which = np.array(rows, np.int64)
    folded = fold_spans(documents.data, documents.offsets[which], documents.offsets[which + 1])
    assert strings(folded) == [reference.fold_text(texts[row]) for row in rows]


@pytest.mark.parametrize("growing", ["ﷺ", "한", "㍿", "ﷺ한 a"])
def test_replacements_longer_than_the_room_foreseen_are_written(growing: str) -> None:
    texts = [growing * 1000, "plain", growing * 5000, "", growing]
    assert strings(fold(texts)) == [reference.fold_text(text) for text in texts]


def test_well_known_texts_fold_as_the_design_says() -> None:
    assert fold_text("Ｅｃｏ\u00adlé, STRASSE straße") == "ecole strasse strasse"
    assert fold_text("ﷺ") == "صلى الله عليه وسلم"
    assert fold_text("شَرِكَة") == fold_text("شركة")
    assert fold_text("हिन्दी") == "हिन्दी"
    assert fold_text("\0\x07 \u2028—!") == ""


@given(LISTS)
def test_descriptions_equal_their_twin(texts: list[str]) -> None:
    folded = [reference.fold_text(text) for text in texts]
    described = describe(fold(texts))
    measured = list(
        zip(described.spaced_chars.tolist(), described.unspaced_chars.tolist(), strict=True)
    )
    assert measured == [reference.count_writings(text) for text in folded]
    digits = [tuple(reference.digit_runs(text)) for text in folded]
    assert [bool(number) for number in described.numbers] == [bool(runs) for runs in digits]
    for left in range(len(texts)):
        for right in range(left):
            same_numbers = described.numbers[left] == described.numbers[right]
            assert same_numbers == (digits[left] == digits[right])
            same_print = described.fingerprints[left] == described.fingerprints[right]
            assert same_print == (folded[left] == folded[right])


def test_each_sequence_of_digit_runs_has_a_number_of_its_own() -> None:
    texts = [f"{number}" for number in range(60_000)]
    texts += [f"a {left} b {right}" for left in range(200) for right in range(200)]
    texts += [f"漢{number}" for number in range(100_000, 130_000)]
    texts += ["1 2 3", "12 3", "1 23", "123 ", "1 2 3 0", "٣", "٣ 3", "3 ٣"]
    digits = {tuple(reference.digit_runs(reference.fold_text(text))) for text in texts}
    assert len(set(describe(fold(texts)).numbers.tolist())) == len(digits)


def test_digits_count_alike_in_texts_of_any_script() -> None:
    plain, accented, han = describe(fold(["12 a 3", "é12 ж 3ж", "漢１２字3"])).numbers.tolist()
    assert plain == accented == han


def test_fingerprints_of_like_texts_differ() -> None:
    base = "the quick brown fox jumps over the lazy dog and does it again"
    texts = {base[:at] + other + base[at + 1 :] for at in range(len(base)) for other in "xyzé漢"}
    texts |= {base[:stop] for stop in range(len(base))} | {base * times for times in range(2, 40)}
    folded = {reference.fold_text(text) for text in texts}
    assert len(set(describe(fold(sorted(texts))).fingerprints.tolist())) == len(folded)


@given(st.lists(st.binary(max_size=4).filter(bool), min_size=1, max_size=6))
def test_equal_spans_equal_their_twin(parts: list[bytes]) -> None:
    data = np.frombuffer(b"".join(parts) * 2, np.uint8)
    borders = range(len(data) + 1)
    spans = [(start, stop) for start in borders for stop in borders if start <= stop <= start + 5]
    spans = spans[:: max(1, len(spans) // 12)]
    pairs = [(left, right) for left in spans for right in spans]
    columns = np.array(pairs, np.int64).reshape(-1, 4).T
    same = same_spans(data, columns[0], columns[1], columns[2], columns[3])
    assert same.tolist() == [
        bytes(data[slice(*left)]) == bytes(data[slice(*right)]) for left, right in pairs
    ]


def test_folding_needs_no_unicode_data_but_the_stored_table() -> None:
    # So the result is the same under every Python, whatever Unicode it knows.
    code = (
        "import sys\n"
        "sys.modules['unicodedata'] = sys.modules['unicodedataplus'] = None\n"
        "from dedup.folding import fold_text\n"
        "print(ascii(fold_text('\\u00c9cole \\ufdfa \\u1c89')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ascii(reference.fold_text("École ﷺ \u1c89")) + "\n"
