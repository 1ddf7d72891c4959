import math
from fractions import Fraction
from typing import Any

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from dedup.errors import OptionsError
from dedup.options import RECALL_AT_THRESHOLD, Options, candidate_probability, solve_bands

THRESHOLDS = st.integers(1, 100).map(lambda percent: percent / 100)


def test_defaults_are_those_of_the_design() -> None:
    options = Options()
    assert (options.unit, options.keep, options.numbers) == ("sentence", "first", True)
    assert (options.threshold, options.shingle_chars) == (0.7, 5)
    assert (options.min_chars, options.min_chars_unspaced) == (25, 8)
    assert options.recall >= RECALL_AT_THRESHOLD == 0.99
    assert options.bands * options.rows <= options.num_perm


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("unit", "word"),
        ("unit", None),
        ("unit", 1),
        ("unit", ["sentence"]),
        ("keep", "best"),
        ("keep", ""),
        ("threshold", 0),
        ("threshold", 0.0),
        ("threshold", -0.5),
        ("threshold", 1.0001),
        ("threshold", 70),
        ("threshold", math.nan),
        ("threshold", math.inf),
        ("threshold", "0.7"),
        ("threshold", None),
        ("threshold", True),
        ("numbers", 1),
        ("numbers", "yes"),
        ("numbers", None),
        ("min_chars", 0),
        ("min_chars", -1),
        ("min_chars", 25.0),
        ("min_chars", True),
        ("min_chars", 1_000_001),
        ("min_chars_unspaced", 0),
        ("shingle_chars", 1),
        ("shingle_chars", 9),
        ("shingle_chars_han", 0),
        ("shingle_chars_han", 9),
        ("shingle_chars_thai", 0),
        ("shingle_chars_thai", 9),
        ("num_perm", 0),
        ("num_perm", 4097),
        ("num_perm", "130"),
        ("num_perm", 10**400),
        ("bucket_cap", 0),
        ("bucket_cap", 1_000_001),
    ],
)
def test_a_wrong_value_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(OptionsError) as caught:
        Options.from_mapping({option: value})
    error = caught.value
    assert (error.option, error.value) == (option, value) or math.isnan(value)
    assert str(error).startswith(f"option {option}: got ")
    assert str(error).endswith(error.expected)
    assert len(str(error)) < 300


def test_an_unknown_option_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(OptionsError) as caught:
        Options.from_mapping({"treshold": 0.7})
    assert caught.value.option == "treshold"
    for name in Options().to_mapping():
        assert name in caught.value.expected


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("unit", ["sentence", "paragraph", "document"]),
        ("keep", ["first", "longest", "last"]),
        ("threshold", [0.05, 0.5, 1, 1.0]),
        ("numbers", [True, False]),
        ("min_chars", [1, 1_000_000]),
        ("min_chars_unspaced", [1, 1_000_000]),
        ("shingle_chars", [2, 8]),
        ("shingle_chars_han", [1, 8]),
        ("shingle_chars_thai", [1, 8]),
        ("num_perm", [5, 4096]),
        ("bucket_cap", [1, 1_000_000]),
    ],
)
def test_allowed_values_go_in_and_come_out(option: str, values: list[Any]) -> None:
    for value in values:
        mapping = Options.from_mapping({option: value}).to_mapping()
        assert mapping[option] == value
        assert Options.from_mapping(mapping) == Options(**{option: value})


def test_a_threshold_too_low_for_the_slots_says_how_many_it_needs() -> None:
    with pytest.raises(OptionsError) as caught:
        Options(threshold=0.01)
    assert caught.value.option == "num_perm"
    assert caught.value.expected == "at least 459 at threshold 0.01"
    assert Options(threshold=0.01, num_perm=459).rows == 1
    with pytest.raises(OptionsError):
        Options(threshold=0.01, num_perm=458)
    with pytest.raises(OptionsError) as caught:
        Options(threshold=1e-300)
    assert caught.value.option in ("threshold", "num_perm")


@given(THRESHOLDS, st.integers(1, 256))
def test_bands_equal_their_twin(threshold: float, num_perm: int) -> None:
    expected = reference.solve_bands(
        Fraction(str(threshold)), num_perm, Fraction(str(RECALL_AT_THRESHOLD))
    )
    if expected is None:
        with pytest.raises(OptionsError):
            solve_bands(threshold, num_perm)
    else:
        assert solve_bands(threshold, num_perm) == expected
        options = Options(threshold=threshold, num_perm=num_perm)
        assert (options.bands, options.rows) == expected
        assert options.recall >= RECALL_AT_THRESHOLD - 1e-12


@given(st.integers(0, 1000), st.integers(1, 100), st.integers(1, 20))
def test_probabilities_equal_their_twin(permille: int, bands: int, rows: int) -> None:
    assert candidate_probability(permille / 1000, bands, rows) == pytest.approx(
        reference.candidate_probability(Fraction(permille, 1000), bands, rows), rel=1e-9
    )


def test_the_probability_rises_with_the_score() -> None:
    chances = [candidate_probability(score / 100, 26, 5) for score in range(101)]
    assert chances == sorted(chances)
    assert (chances[0], chances[100]) == (0, 1)


def test_options_are_compared_and_hashed_by_value_and_cannot_be_changed() -> None:
    assert Options(threshold=0.8) == Options(threshold=0.8) != Options()
    assert len({Options(), Options(), Options(keep="last")}) == 2
    with pytest.raises(AttributeError):
        Options().threshold = 0.5  # type: ignore[misc]
