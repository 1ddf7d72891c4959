"""An index that forgets: what is gone after a time, and what stays."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import reference
from conftest import Run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dedup import InputError, OptionsError, OutputError, Result
from dedup.index.index import Index

FERRY = "The ferry leaves at noon from the old pier."
NOBODY = "Nobody in the village remembered who had built the mill."
KEPT = "The harbour master kept a list of all the ships since the war."


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index that forgets after ten seconds."""
    with Index.open(tmp_path / "index", ttl=10) as one:
        yield one


def canonicals(results: list[Result]) -> list[list[str]]:
    """Return the documents that are repeated by each."""
    return [[row.canonical.document for row in one.duplicates] for one in results]


@pytest.mark.parametrize(
    "ttl", [0, -1, -0.5, math.nan, math.inf, 1e300, 10**400, True, False, "30", [30]]
)
def test_a_time_to_live_is_a_number_of_seconds(tmp_path: Path, ttl: Any) -> None:
    with pytest.raises(OptionsError, match="option ttl: .*expected a number of seconds, over 0"):
        Index.open(tmp_path / "index", ttl=ttl)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("now", [math.nan, math.inf, -1, 1e300, 1_700_000_000_000, True, "0"])
def test_a_time_is_seconds_since_1970(index: Index, now: Any) -> None:
    index.add([("a", FERRY)], now=5)
    for call in (index.add, index.check):
        with pytest.raises(OptionsError, match="option now: .*expected seconds since 1970"):
            call([("b", NOBODY)], now=now)
    with pytest.raises(OptionsError, match="option now"):
        index.expire(now=now)
    assert canonicals(index.check([("b", FERRY)], now=15)) == [["a"]]


def test_the_longest_time_to_live_forgets_nothing(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index", ttl=1000 * 366 * 86_400) as index:
        index.add([("a", FERRY)])
        assert index.expire() == 0
        assert canonicals(index.check([("b", FERRY)])) == [["a"]]


def test_an_index_keeps_the_time_to_live_that_it_was_made_with(tmp_path: Path) -> None:
    Index.open(tmp_path / "never").close()
    with pytest.raises(OptionsError, match="ttl: got 10, expected none, as .*never has it"):
        Index.open(tmp_path / "never", ttl=10)
    Index.open(tmp_path / "index", ttl=10).close()
    with pytest.raises(OptionsError, match="ttl: got 11, expected 10, as .*index has it"):
        Index.open(tmp_path / "index", ttl=11)
    with Index.open(tmp_path / "index", ttl=10.0) as index:
        index.add([("a", FERRY)], now=0)
    with Index.open(tmp_path / "index") as index:
        assert canonicals(index.check([("b", FERRY)], now=10)) == [["a"]]
        assert canonicals(index.check([("b", FERRY)], now=10.001)) == [[]]
    with Index.open(tmp_path / "never") as index:
        index.add([("a", FERRY)], now=0)
        assert index.expire(now=1e9) == 0
        assert canonicals(index.add([("b", FERRY)], now=1e9)) == [["a"]]
