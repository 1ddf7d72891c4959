from collections import defaultdict
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dedup import pairs
from dedup.pairs import Buckets, CandidateFinder, build_buckets


def make_keys(chooser: Random, bands: int, unit_count: int, spread: int) -> list[list[int]]:
    return [[chooser.randrange(spread) for _ in range(unit_count)] for _ in range(bands)]


def group(keys: list[list[int]]) -> dict[tuple[int, int], list[int]]:
    """Return the units of each band and key that several units have."""
    groups = defaultdict(list)
    for band, column in enumerate(keys):
        for unit, key in enumerate(column):
            groups[band, key].append(unit)
    return {place: units for place, units in groups.items() if len(units) > 1}


def buckets_of(buckets: Buckets, unit: int) -> list[int]:
    found: list[int] = buckets.of_unit[buckets.offsets[unit] : buckets.offsets[unit + 1]].tolist()
    return found


def put(buckets: Buckets, unit: int) -> None:
    """Let a unit stay: it joins its buckets as far as they have room."""
    for bucket in buckets_of(buckets, unit):
        at = int(buckets.rooms[bucket] + buckets.counts[bucket])
        if at < buckets.rooms[bucket + 1]:
            buckets.members[at] = unit
            buckets.counts[bucket] += 1


def build(keys: NDArray[np.uint64], cap: int) -> Buckets:
    """Build buckets, for small keys and for the same spread over 64 bits, for all units."""
    spread = keys * np.uint64(0x9E3779B97F4A7C15)
    (buckets, live), (other, other_live) = (
        build_buckets(list(some), cap, threads) for some, threads in ((keys, 1), (spread, 2))
    )
    assert live.tolist() == other_live.tolist()
    assert np.array_equal(buckets.offsets, other.offsets)
    counts = np.zeros(keys.shape[1], np.int64)
    counts[live] = np.diff(buckets.offsets)
    assert (counts[live] > 0).all()
    return replace(buckets, offsets=np.append(np.zeros(1, np.int64), np.cumsum(counts)))


@given(
    st.randoms(use_true_random=False),
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_buckets_equal_their_twin(
    chooser: Random, bands: int, unit_count: int, spread: int, cap: int
) -> None:
    keys = make_keys(chooser, bands, unit_count, spread)
    buckets = build(np.array(keys, np.uint64).reshape(bands, unit_count), cap)
    groups = group(keys)
    numbers: dict[tuple[int, int], set[int]] = defaultdict(set)
    for unit in range(unit_count):
        places = [(band, keys[band][unit]) for band in range(bands)]
        shared = [place for place in places if place in groups]
        for place, bucket in zip(shared, buckets_of(buckets, unit), strict=True):
            numbers[place].add(bucket)
    assert sorted(map(sorted, numbers.values())) == [[number] for number in range(len(groups))]
    rooms = np.diff(buckets.rooms).tolist()
    for place, (number,) in numbers.items():
        assert rooms[number] == min(cap, len(groups[place]))
    assert len(buckets.members) == sum(rooms)
    assert not buckets.counts.any()
    assert not buckets.full.any()


def test_buckets_of_many_units_hold_all_that_share_a_key() -> None:
    # So many that the maps of keys seen once and twice hold more than a word.
    chooser = Random(1)
    keys = [[chooser.getrandbits(64) for _ in range(20_000)] for _ in range(3)]
    for column in keys:
        for _ in range(300):
            column[chooser.randrange(20_000)] = column[chooser.randrange(20_000)]
    buckets, live = build_buckets(list(np.array(keys, np.uint64)), 256)
    groups = group(keys)
    assert live.tolist() == sorted({unit for units in groups.values() for unit in units})
    row_of = {unit: row for row, unit in enumerate(live.tolist())}
    found = {
        place: set.intersection(*(set(buckets_of(buckets, row_of[unit])) for unit in units))
        for place, units in groups.items()
    }
    assert sorted(map(sorted, found.values())) == [[number] for number in range(len(groups))]
    assert len(buckets.of_unit) == sum(map(len, groups.values()))


@pytest.mark.parametrize("wave_units", [1, 3, 1 << 15])
@pytest.mark.parametrize("bucket_limit", [1, 2, 16])
@pytest.mark.parametrize(("wave_pairs", "wave_entries"), [(1, 1), (20, 9), (1 << 20, 1 << 18)])
@pytest.mark.parametrize("seed", range(6))
def test_waves_pair_each_unit_with_all_that_stay_and_all_that_wait(
    monkeypatch: pytest.MonkeyPatch,
    wave_units: int,
    bucket_limit: int,
    wave_pairs: int,
    wave_entries: int,
    seed: int,
) -> None:
    monkeypatch.setattr(pairs, "WAVE_UNITS", wave_units)
    monkeypatch.setattr(pairs, "WAVE_BUCKET_LIMIT", bucket_limit)
    monkeypatch.setattr(pairs, "WAVE_PAIRS", wave_pairs)
    monkeypatch.setattr(pairs, "WAVE_ENTRIES", wave_entries)
    chooser = Random(seed)
    unit_count, cap = chooser.choice([1, 20, 50]), chooser.choice([1, 3, 256])
    keys = make_keys(chooser, 3, unit_count, chooser.choice([2, 10, 40]))
    buckets = build(np.array(keys, np.uint64), cap)
    finder = CandidateFinder(buckets)
    groups = group(keys).values()
    first = 0
    while first < unit_count:
        stored = {
            bucket: set(buckets.members[buckets.rooms[bucket] :][: buckets.counts[bucket]].tolist())
            for bucket in range(len(buckets.counts))
        }
        wave = finder.next_wave(first)
        assert first == wave.first < wave.last <= min(unit_count, first + wave_units)
        left, right = wave.left.tolist(), wave.right.tolist()
        assert left == sorted(left)
        found = list(zip(left, right, strict=True))
        expected = {
            (unit, other)
            for unit in range(first, wave.last)
            for bucket in buckets_of(buckets, unit)
            for other in stored[bucket]
        } | {
            (unit, other)
            for units in groups
            for unit in units
            for other in units
            if first <= other < unit < wave.last
        }
        assert len(found) == len(expected)
        assert set(found) == expected
        for unit in range(first, wave.last):
            if chooser.random() < 0.6:
                put(buckets, unit)
        first = wave.last


def test_a_wave_ends_before_a_bucket_holds_too_many_that_wait() -> None:
    buckets = build(np.zeros((1, 100), np.uint64), 256)
    finder = CandidateFinder(buckets)
    wave = finder.next_wave(0)
    assert (wave.last, len(wave.left)) == (16, 16 * 15 // 2)
    for unit in range(16):
        put(buckets, unit)
    wave = finder.next_wave(16)
    assert (wave.last, len(wave.left)) == (32, 16 * 16 + 16 * 15 // 2)


@pytest.mark.parametrize("seed", range(20))
def test_later_pairs_are_those_with_members_behind_the_unit(seed: int) -> None:
    chooser = Random(seed)
    unit_count = 30
    keys = make_keys(chooser, 3, unit_count, chooser.choice([2, 8, 30]))
    buckets = build(np.array(keys, np.uint64), chooser.choice([2, 256]))
    finder = CandidateFinder(buckets)
    first = 0
    while first < unit_count:
        first = finder.next_wave(first).last
    for unit in range(unit_count):
        if chooser.random() < 0.5:
            put(buckets, unit)
    units = sorted(chooser.sample(range(unit_count), 8))
    latest = [chooser.randrange(-1, unit_count) for _ in units]
    rows, right = finder.later_pairs(np.array(units, np.int64), np.array(latest, np.int64))
    expected = {
        (row, other)
        for row, unit in enumerate(units)
        for bucket in buckets_of(buckets, unit)
        for other in buckets.members[buckets.rooms[bucket] :][: buckets.counts[bucket]].tolist()
        if unit < other <= latest[row]
    }
    found = list(zip(rows.tolist(), right.tolist(), strict=True))
    assert rows.tolist() == sorted(rows.tolist())
    assert len(found) == len(expected)
    assert set(found) == expected
