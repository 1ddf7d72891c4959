"""Segments give what a dictionary gives, and of a damaged file nothing that is wrong."""

import os
import re
import resource
import shutil
import struct
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dedup.errors import InputError, OutputError
from dedup.index import segments as segments_module
from dedup.index.segments import (
    Recent,
    Segment,
    checksum_words,
    find_in_all,
    measure_in_all,
    merge_segments,
    sort_postings,
    write_segment,
)

MOST_KEY = 2**64 - 1
MOST_UNIT = 2**63 - 1
PAGE = 4096
BLOCK = 4096

Posting = tuple[int, int]
Ranges = list[tuple[int, int]]
EVERY: Ranges = [(0, MOST_UNIT)]


def find(
    postings: list[Posting], keys: list[int], most: list[int], live: Ranges
) -> list[list[int]]:
    """Twin of `find_in_all`."""
    units = defaultdict(list)
    for key, unit in postings:
        if any(first <= unit < stop for first, stop in live):
            units[key].append(unit)
    return [sorted(units[key])[:limit] for key, limit in zip(keys, most, strict=True)]


def to_columns(postings: list[Posting]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    return (
        np.array([key for key, _ in postings], np.uint64),
        np.array([unit for _, unit in postings], np.int64),
    )


def to_ranges(live: Ranges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return (
        np.array([first for first, _ in live], np.int64),
        np.array([stop for _, stop in live], np.int64),
    )


def to_lists(found: tuple[NDArray[np.int64], NDArray[np.int64]]) -> list[list[int]]:
    offsets, units = found
    assert offsets[0] == 0
    assert offsets[-1] == len(units)
    return [part.tolist() for part in np.split(units, offsets[1:-1])] if len(offsets) > 1 else []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_postings(path: Path) -> list[Posting]:
    """Read a file as FORMAT.md describes it, with nothing of ours."""
    data = path.read_bytes()
    header = struct.unpack_from("<8sIIQQqqQQQQ", data)
    magic, version, width, count, block, least, most, size, table_sum = header[:9]
    measure_count, measure_table_sum = header[9:]
    blocks = -(-count // 4096)

    def padded(length: int) -> int:
        return -(-length // 4096) * 4096

    filter_count = -(-10 * count // 64)
    filter_blocks = -(-filter_count // 4096)
    keys_at = 4096 + padded(8 * (3 * blocks + 1 + filter_blocks))
    units_at = keys_at + padded(8 * count)
    filter_at = units_at + padded(width * count)
    measures_at = filter_at + padded(8 * filter_count)
    measure_table_at = measures_at + padded(104 * measure_count)
    measure_blocks = -(-measure_count // 512)
    assert (magic, version, block) == (bytes.fromhex("89445345470D0A1A"), 2, 4096)
    assert size == len(data) == measure_table_at + padded(8 * (2 * measure_blocks + 1))
    assert data[80:4088] == bytes(4008)
    assert struct.unpack_from("<Q", data, 4088)[0] == xxhash.xxh64_intdigest(data[:4088])
    assert table_sum == xxhash.xxh64_intdigest(data[4096:keys_at])
    keys = struct.unpack_from(f"<{count}Q", data, keys_at)
    kind = "I" if width == 4 else "q"
    units = [least + unit for unit in struct.unpack_from(f"<{count}{kind}", data, units_at)]
    fences = struct.unpack_from(f"<{blocks + 1}Q", data, 4096)
    assert fences == (*keys[::4096], keys[-1] if count else 0)
    sums = struct.unpack_from(f"<{2 * blocks}Q", data, 4096 + 8 * (blocks + 1))
    for i in range(blocks):
        start, stop = keys_at + 32768 * i, min(keys_at + 32768 * (i + 1), units_at)
        assert sums[i] == xxhash.xxh64_intdigest(data[start:stop])
        start = units_at + 4096 * width * i
        stop = min(units_at + 4096 * width * (i + 1), filter_at)
        assert sums[blocks + i] == xxhash.xxh64_intdigest(data[start:stop])
    words = [0] * filter_count
    for key in keys:
        mixed = key * 0xC2B2AE3D27D4EB4F % 2**64
        for shift in (58, 52, 46, 40):
            words[(key >> 32) * filter_count >> 32] |= 1 << (mixed >> shift) % 64
    assert list(struct.unpack_from(f"<{filter_count}Q", data, filter_at)) == words
    sums = struct.unpack_from(f"<{filter_blocks}Q", data, 4096 + 8 * (3 * blocks + 1))
    for i in range(filter_blocks):
        start = filter_at + 32768 * i
        checked = data[start : min(start + 32768, measures_at)]
        assert sums[i] == xxhash.xxh64_intdigest(checked)
    assert measure_table_sum == xxhash.xxh64_intdigest(data[measure_table_at:])
    table = struct.unpack_from(f"<{2 * measure_blocks + 1}Q", data, measure_table_at)
    measured = [row[0] for row in read_measures(path)]
    assert table[: measure_blocks + 1] == (*measured[::512], measured[-1] if measured else 0)
    for i in range(measure_blocks):
        start = measures_at + 53248 * i
        checked = data[start : min(start + 53248, measure_table_at)]
        assert table[measure_blocks + 1 + i] == xxhash.xxh64_intdigest(checked)
    if count:
        assert (min(units), max(units)) == (least, most)
        assert width == (4 if most - least < 2**32 else 8)
    else:
        assert (least, most, width) == (0, -1, 4)
    return list(zip(keys, units, strict=True))


def read_measures(path: Path) -> list[tuple[int, ...]]:
    """Read the measures of a file as FORMAT.md describes it."""
    data = path.read_bytes()
    width, count = struct.unpack_from("<IQ", data, 12)
    (measure_count,) = struct.unpack_from("<Q", data, 64)
    blocks, filter_count = -(-count // 4096), -(-10 * count // 64)
    table = 8 * (3 * blocks + 1 + -(-filter_count // 4096))
    at = 4096 + sum(
        -(-length // 4096) * 4096 for length in (table, 8 * count, width * count, 8 * filter_count)
    )
    words = struct.unpack_from(f"<{13 * measure_count}Q", data, at)
    return [tuple(words[i : i + 13]) for i in range(0, len(words), 13)]


keys_drawn = st.one_of(
    st.sampled_from([0, 1, 2, 3, 2**32, 2**63 - 1, 2**63, MOST_KEY - 1, MOST_KEY]),
    st.integers(0, MOST_KEY),
)
units_drawn = st.one_of(
    st.integers(0, 20), st.sampled_from([2**32 - 1, 2**32, 2**40, MOST_UNIT - 1])
)
postings_drawn = st.lists(st.tuples(keys_drawn, units_drawn), max_size=40)


@st.composite
def live_drawn(draw: Any) -> Ranges:
    if draw(st.booleans()):
        return EVERY
    edges = sorted(draw(st.sets(st.one_of(st.integers(0, 21), st.just(2**41)), max_size=8)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_the_checksum_is_that_of_xxhash(quarters: int, seed: int) -> None:
    chooser = np.random.default_rng(seed)
    words = chooser.integers(0, MOST_KEY, 4 * quarters, np.uint64, endpoint=True)
    words.flags.writeable = False
    assert checksum_words(words) == xxhash.xxh64_intdigest(words.tobytes())


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.booleans(), postings_drawn), max_size=4),
    st.lists(keys_drawn, max_size=10),
    st.one_of(st.integers(0, 5), st.just(10**6)),
    live_drawn(),
)
def test_what_is_found_is_what_a_dictionary_holds(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[bool, list[Posting]]],
    others: list[int],
    most: int,
    live: Ranges,
) -> None:
    folder = tmp_path_factory.mktemp("found")
    postings = [posting for _, part in parts for posting in part]
    keys = sorted({key for key, _ in postings} | set(others))
    wanted = np.array(keys, np.uint64)
    limits = [(most + i) % 7 for i in range(len(keys))]
    with ExitStack() as stack:
        sources: list[Segment | Recent] = []
        for i, (is_recent, part) in enumerate(parts):
            if is_recent:
                recent = Recent()
                for first in range(0, len(part), 3):
                    recent.add(*to_columns(part[first : first + 3]))
                assert recent.count == len(part)
                assert [list(column) for column in recent.columns()[:2]] == [
                    list(column) for column in to_columns(sorted(part))
                ]
                sources.append(recent)
            else:
                path = folder / f"{i}"
                write_segment(path, *to_columns(part))
                assert read_postings(path) == sorted(part)
                sources.append(stack.enter_context(Segment.open(path)))
        expected = find(postings, keys, [most] * len(keys), live)
        assert to_lists(find_in_all(sources, wanted, most, *to_ranges(live))) == expected
        each = np.array(limits, np.int64)
        if len(keys) > 0:
            assert to_lists(find_in_all(sources, wanted, each, *to_ranges(live))) == find(
                postings, keys, limits, live
            )
        files = [one for one in sources if isinstance(one, Segment)]
        path = folder / "merged"
        assert merge_segments(files, path, *to_ranges(live))
        assert read_postings(path) == sorted(
            (key, unit)
            for is_recent, part in parts
            for key, unit in part
            if not is_recent and any(first <= unit < stop for first, stop in live)
        )
    shutil.rmtree(folder)


def make_measures(units: NDArray[np.int64], seed: int = 21) -> NDArray[np.uint64]:
    """Make measures that tell of which unit they are."""
    made = np.random.default_rng(seed).integers(0, MOST_KEY, (len(units), 13), np.uint64)
    made[:, 0] = units
    return made


@pytest.mark.parametrize("width", [1, 2**33])
def test_measures_are_found_and_merged(width: int, tmp_path: Path) -> None:
    chooser = np.random.default_rng(20)
    units = chooser.choice(9000, 4000, replace=False) * width
    measures = make_measures(units)
    keys = chooser.integers(0, MOST_KEY, len(units), np.uint64)
    # Numbers that follow one another, and some that come later; and no measure at all.
    owner = np.where(units < 5000 * width, units // width // 1700, chooser.integers(0, 4, 4000))
    recent = Recent()
    wanted = np.sort(units)
    with ExitStack() as stack:
        files = []
        for number in range(4):
            rows = np.flatnonzero(owner == number)
            some = (keys[rows], units[rows], measures[rows])
            if number == 3:
                for part in np.array_split(rows, 5):
                    recent.add(keys[part], units[part], measures[part])
                assert recent.byte_count == 120 * len(rows)
                found = sorted(row.tolist() for row in some[2])
                assert recent.columns()[2].tolist() == found
                continue
            path = tmp_path / f"{number}"
            write_segment(path, *some)
            read_postings(path)
            assert read_measures(path) == sorted(tuple(row.tolist()) for row in some[2])
            files.append(stack.enter_context(Segment.open(path)))
        write_segment(tmp_path / "none", keys, units)
        files.append(stack.enter_context(Segment.open(tmp_path / "none")))
        order = np.argsort(units)
        assert np.array_equal(measure_in_all([*files, recent], wanted), measures[order])
        few = np.sort(chooser.choice(4000, 50, replace=False))
        assert np.array_equal(measure_in_all([recent, *files], wanted[few]), measures[order][few])
        absent = np.setdiff1d(np.arange(-1, 9001) * width, units)
        for unit in [*absent[:200].tolist(), *absent[-3:].tolist()]:
            with pytest.raises(InputError, match=f"damaged: unit {unit} has no measure"):
                measure_in_all([*files, recent], np.array([wanted[0], unit]))
        live = to_ranges([(3 * width, 2000 * width), (2500 * width, 8000 * width)])
        assert merge_segments(files, tmp_path / "merged", *live)
        left = sorted(
            tuple(row.tolist())
            for row, number in zip(measures, owner.tolist(), strict=True)
            if number < 3 and np.any((live[0] <= row[0]) & (row[0] < live[1]))
        )
        read_postings(tmp_path / "merged")
        assert read_measures(tmp_path / "merged") == left
        assert len(left) > 1500


CHOOSER = np.random.default_rng(11)
MANY = 3 * BLOCK + 77
SHAPES = {
    "even": CHOOSER.integers(0, MOST_KEY, MANY, np.uint64, endpoint=True),
    "few keys": CHOOSER.choice(np.array([0, 5, 2**63, MOST_KEY], np.uint64), MANY),
    "one key": np.full(MANY, 2**50, np.uint64),
    "runs": CHOOSER.integers(0, MANY // 40, MANY).astype(np.uint64) * np.uint64(2**48),
    "dense": np.arange(MANY, dtype=np.uint64) + np.uint64(MOST_KEY - MANY + 1),
    # Guesses go wrong here: half of all keys are below a millionth of the greatest.
    "steep": np.exp(CHOOSER.uniform(0, 44.3, MANY)).astype(np.uint64),
    "low, and one high": np.append(np.arange(MANY - 1, dtype=np.uint64), np.uint64(MOST_KEY)),
    "blocks just full": CHOOSER.integers(0, 2**60, 2 * BLOCK, np.uint64),
}


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_keys_are_found_however_they_lie(shape: str, is_wide: bool, tmp_path: Path) -> None:
    keys = SHAPES[shape]
    chooser = np.random.default_rng(12)
    units = chooser.integers(0, 2**40 if is_wide else 500, len(keys)) + 10**12
    write_segment(tmp_path / "one", keys, units)
    postings = list(zip(keys.tolist(), units.tolist(), strict=True))
    assert read_postings(tmp_path / "one") == sorted(postings)
    live = [(0, 10**12 + 100), (10**12 + 200, 10**12 + 2**39)]
    # Each key, and what stands beside it: absent, or the next.
    near = np.concatenate([keys, keys - np.uint64(1), keys + np.uint64(1)])
    wanted = np.unique(np.append(near, np.array([0, MOST_KEY], np.uint64)))
    if len(wanted) > 6000:
        wanted = np.sort(chooser.choice(wanted, 6000, replace=False))
    expected = find(postings, wanted.tolist(), [3] * len(wanted), live)
    recent = Recent()
    recent.add(keys, units)
    with Segment.open(tmp_path / "one") as segment:
        assert (segment.count, segment.byte_count) == (
            len(keys),
            (tmp_path / "one").stat().st_size,
        )
        assert (segment.least_unit, segment.most_unit) == (units.min(), units.max())
        segment.verify()
        assert to_lists(segment.find(wanted, 3, *to_ranges(live))) == expected
        assert to_lists(recent.find(wanted, 3, *to_ranges(live))) == expected
        # In another order too, and by threads that share a segment not yet checked.
        assert to_lists(segment.find(wanted[::-1], 3, *to_ranges(live))) == expected[::-1]
    with Segment.open(tmp_path / "one") as segment:
        found = find_in_all([segment], np.repeat(wanted, 9), 3, *to_ranges(live), threads=3)
        assert to_lists(found)[::9] == expected
        assert to_lists(found)[8::9] == expected
    most = len(keys) * (17.26 if is_wide else 13.26)
    assert (tmp_path / "one").stat().st_size <= 28672 + most


def test_postings_are_sorted_by_key_and_unit() -> None:
    chooser = np.random.default_rng(13)
    for keys in SHAPES.values():
        units = chooser.integers(0, 50, len(keys))
        order = np.lexsort((units, keys))
        found = sort_postings(keys, units)
        assert np.array_equal(found[0], keys[order])
        assert np.array_equal(found[1], units[order])
        again = sort_postings(*found)
        assert again[0] is found[0]
        assert again[1] is found[1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("is_wide", [False, True])
def test_merging_equals_sorting_all_that_is_live(
    count: int, is_wide: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many rounds, and many parts of the file.
    monkeypatch.setattr(segments_module, "_MERGED_TOGETHER", 2 * BLOCK)
    monkeypatch.setattr(segments_module, "_PACKED_TOGETHER", BLOCK)
    monkeypatch.setattr(segments_module, "_SYNC_BYTES", 100_000)
    chooser = np.random.default_rng(14)
    shapes = ["even", "runs", "one key", "even", "low, and one high"][:count]
    all_keys, all_units = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    with ExitStack() as stack:
        files = []
        for i, shape in enumerate(shapes):
            keys = SHAPES[shape]
            units = chooser.integers(0, 2**40 if is_wide else 3000, len(keys))
            write_segment(tmp_path / f"{i}", keys, units)
            files.append(stack.enter_context(Segment.open(tmp_path / f"{i}")))
            all_keys.append(keys)
            all_units.append(units)
        keys, units = np.concatenate(all_keys), np.concatenate(all_units)
        scale = int(units.max(initial=1)) + 1
        some = [(scale * i // 100, scale * (i + 1) // 100) for i in range(10, 100, 3)]
        for live in (EVERY, some, [(5, 6)], []):
            assert merge_segments(files, tmp_path / "all", *to_ranges(live))
            firsts, stops = to_ranges(live)
            is_live = np.zeros(len(units), bool)
            for first, stop in zip(firsts, stops, strict=True):
                is_live |= (units >= first) & (units < stop)
            order = np.lexsort((units[is_live], keys[is_live]))
            found = read_postings(tmp_path / "all")
            assert [key for key, _ in found] == keys[is_live][order].tolist()
            assert [unit for _, unit in found] == units[is_live][order].tolist()
    assert names(tmp_path) == [*map(str, range(count)), "all"]


def test_units_of_the_whole_range_are_told_apart(tmp_path: Path) -> None:
    units = [0, 1, 2**62, MOST_UNIT - 6, MOST_UNIT - 5, MOST_UNIT - 1]
    postings = [(7, unit) for unit in units]
    write_segment(tmp_path / "one", *to_columns(postings))
    with Segment.open(tmp_path / "one") as segment:
        live = [(1, 2), (MOST_UNIT - 5, MOST_UNIT)]
        assert merge_segments([segment], tmp_path / "two", *to_ranges(live))
        assert read_postings(tmp_path / "two") == [postings[1], *postings[4:]]
        found = segment.find(np.array([7], np.uint64), 9, *to_ranges(live))
        assert to_lists(found) == [[1, MOST_UNIT - 5, MOST_UNIT - 1]]


def test_merging_stops_when_it_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "_MERGED_TOGETHER", 2 * BLOCK)
    target = tmp_path / "out" / "merged"
    target.parent.mkdir()
    units = np.arange(MANY)
    write_segment(tmp_path / "one", SHAPES["even"], units)
    write_segment(tmp_path / "two", SHAPES["runs"], units)
    live = to_ranges([(0, 10), (20, MANY)])
    with Segment.open(tmp_path / "one") as one, Segment.open(tmp_path / "two") as two:
        asked = 0
        is_done = False
        while not is_done:
            asked += 1
            left = asked

            def should_stop() -> bool:
                nonlocal left
                left -= 1
                assert not target.exists()
                return left == 0

            is_done = merge_segments([one, two], target, *live, should_stop)
            assert names(target.parent) == (["merged"] if is_done else [])
        assert asked > 8
    with Segment.open(target) as merged:
        merged.verify()
        assert merged.count == 2 * (MANY - 10)


def test_a_batch_costs_few_merges_and_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = np.random.default_rng(15)
    recent = Recent()
    keys = chooser.integers(0, MOST_KEY, 64_000, np.uint64)
    units = np.arange(64_000)
    for first in range(0, 63_000, 1000):
        recent.add(keys[first : first + 1000], units[first : first + 1000])
        recent.add(keys[:0], units[:0])
    assert [run.layout.count for run in recent.postings] == [32000, 16000, 8000, 4000, 2000, 1000]
    recent.add(keys[63_000:], units[63_000:])
    assert [run.layout.count for run in recent.postings] == [64000]
    assert (recent.count, recent.byte_count) == (64_000, 1_024_000)
    monkeypatch.setattr(segments_module, "_LONGEST_RUN", 2500)
    capped = Recent()
    for first in range(0, 64_000, 1000):
        capped.add(keys[first : first + 1000], units[first : first + 1000])
    assert [run.layout.count for run in capped.postings] == [2000] * 32
    order = np.argsort(keys)
    assert np.array_equal(capped.columns()[0], keys[order])
    assert np.array_equal(capped.columns()[1], units[order])
    assert np.array_equal(recent.columns()[0], keys[order])
    assert np.array_equal(recent.columns()[1], units[order])


def test_recent_postings_are_their_own_copy_and_searches_see_whole_batches() -> None:
    keys, units = np.arange(5, dtype=np.uint64), np.arange(5)
    recent = Recent()
    recent.add(keys, units)
    keys[:] = 9
    units[:] = 9
    live = to_ranges(EVERY)
    assert to_lists(recent.find(np.array([3, 9], np.uint64), 4, *live)) == [[3], []]
    seen = []
    key = np.array([77], np.uint64)
    is_over = threading.Event()

    def search() -> None:
        while not is_over.is_set():
            seen.append(len(recent.find(key, 10**6, *live)[1]))

    thread = threading.Thread(target=search)
    thread.start()
    for i in range(200):
        recent.add(np.full(10, 77, np.uint64), np.arange(10 * i, 10 * i + 10))
    is_over.set()
    thread.join()
    assert seen == sorted(seen)
    assert {count % 10 for count in seen} <= {0}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A file of three blocks, of which the last is not full."""
    units = np.random.default_rng(16).integers(50, 2**31, MANY - BLOCK)
    measures = make_measures(np.arange(50, 1300))
    write_segment(tmp_path / "whole", SHAPES["even"][: MANY - BLOCK], units, measures)
    return tmp_path / "whole"


def test_a_flipped_bit_is_found_wherever_it_is(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    keys_at, units_at = 2 * PAGE, 2 * PAGE + -(-8 * (MANY - BLOCK) // PAGE) * PAGE
    filter_at = units_at + -(-4 * (MANY - BLOCK) // PAGE) * PAGE
    measures_at = filter_at + -(-10 * (MANY - BLOCK) // 64 // 512) * PAGE
    edges = [0, 7, 8, 11, 12, 16, 63, 64, 79, 80, 4087, 4088, PAGE - 1, PAGE, keys_at - 1, keys_at]
    edges += [keys_at + 32767, keys_at + 32768, units_at - 1, units_at, len(data) - 1]
    edges += [
        filter_at - 1,
        filter_at,
        measures_at - 1,
        measures_at,
        measures_at + 53248,
        len(data) - PAGE - 1,
    ]
    places = edges + np.random.default_rng(17).integers(0, len(data), 150).tolist()
    keys = np.sort(SHAPES["even"][: MANY - BLOCK])
    live = to_ranges(EVERY)
    measured = np.arange(50, 1300)
    with Segment.open(whole) as segment:
        expected = segment.find(keys, 5, *live)
        measures = measure_in_all([segment], measured)

    def search(segment: Segment) -> None:
        segment.find(keys, 5, *live)
        measure_in_all([segment], measured)

    broken = tmp_path / "broken"
    tasks: list[Callable[[Segment], object]] = [
        search,
        Segment.verify,
        lambda segment: merge_segments([segment], tmp_path / "merged", *live),
    ]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        broken.write_bytes(flipped)
        # What is merged gets a filter of its own.
        for task in tasks[: 2 if filter_at <= place < measures_at else 3]:
            with pytest.raises(InputError) as caught, Segment.open(broken) as segment:
                task(segment)
            assert caught.value.source == str(broken)
            if place < 8:
                assert caught.value.reason == "is no segment of an index"
                continue
            where = re.search(r"bytes (\d+) to (\d+)$", caught.value.reason)
            assert where, caught.value.reason
            assert int(where[1]) <= place < int(where[2])
        # What is not touched does no harm, and what is found is right.
        try:
            with Segment.open(broken) as segment:
                for row in (0, 6000, len(keys) - 1):
                    offsets, units = segment.find(keys[row : row + 1], 5, *live)
                    first, last = expected[0][row], expected[0][row + 1]
                    assert offsets.tolist() == [0, last - first]
                    assert units.tolist() == expected[1][first:last].tolist()
                for at in (0, 700, 1249):
                    found = measure_in_all([segment], measured[at : at + 1])
                    assert np.array_equal(found, measures[at : at + 1])
        except InputError:
            pass
    assert names(tmp_path) == ["broken", "whole"]


def test_errors_name_the_block_and_its_bytes(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    units_at = 2 * PAGE + -(-8 * (MANY - BLOCK) // PAGE) * PAGE
    data[units_at + 4 * BLOCK] ^= 1
    whole.write_bytes(data)
    with Segment.open(whole) as segment, pytest.raises(InputError) as caught:
        segment.verify()
    assert caught.value.reason == (
        f"damaged: block 1 of the units, bytes {units_at + 4 * BLOCK} to {units_at + 8 * BLOCK}"
    )


def test_a_file_that_is_cut_short_or_too_long_is_refused(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    other = tmp_path / "other"
    for size in [*range(0, len(data), 512), 1, 7, 9, 4095, 4097, len(data) - 1]:
        other.write_bytes(data[:size])
        with pytest.raises(InputError, match=f"cut short: {size} bytes, "):
            Segment.open(other)
    other.write_bytes(data + b"\0")
    with pytest.raises(InputError, match=f"too long: {len(data) + 1} bytes, expected {len(data)}"):
        Segment.open(other)


def test_a_file_that_shrinks_while_it_is_merged_is_refused(whole: Path, tmp_path: Path) -> None:
    with Segment.open(whole) as segment:
        data = whole.read_bytes()
        whole.write_bytes(data[:-1])
        with pytest.raises(InputError, match="cut short"):
            merge_segments([segment], tmp_path / "merged", *to_ranges(EVERY))
        whole.unlink()
        with pytest.raises(InputError, match="no such file"):
            merge_segments([segment], tmp_path / "merged", *to_ranges(EVERY))
    assert names(tmp_path) == []


def test_files_of_another_kind_or_version_are_refused(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    struct.pack_into("<I", data, 8, 3)
    struct.pack_into("<Q", data, 4088, xxhash.xxh64_intdigest(bytes(data[:4088])))
    whole.write_bytes(data)
    with pytest.raises(InputError) as caught:
        Segment.open(whole)
    assert caught.value.reason == "has format version 3, expected 2"
    # Fields that no writer writes, with a checksum that is right.
    for at, value in ((12, 3), (16, 9), (24, 1), (48, 1)):
        data = bytearray(whole.read_bytes())
        struct.pack_into("<I", data, 8, 2)
        struct.pack_into("<I", data, at, value)
        struct.pack_into("<Q", data, 4088, xxhash.xxh64_intdigest(bytes(data[:4088])))
        (tmp_path / "odd").write_bytes(data)
        with pytest.raises(InputError, match="damaged: header, bytes 0 to 80"):
            Segment.open(tmp_path / "odd")
    for content in (b"text", b"text" * 5000, b"\0" * 9000):
        (tmp_path / "foreign").write_bytes(content)
        with pytest.raises(InputError, match="is no segment of an index"):
            Segment.open(tmp_path / "foreign")
    with pytest.raises(InputError, match="no such file"):
        Segment.open(tmp_path / "none")
    with pytest.raises(InputError, match="is a directory"):
        Segment.open(tmp_path)


def test_the_bytes_of_a_file_do_not_change(tmp_path: Path) -> None:
    keys = (np.arange(5000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(3)
    found = []
    for units in (np.arange(5000) + 70, np.arange(5000) << 33, np.arange(0)):
        write_segment(tmp_path / "one", keys[: len(units)], units)
        found.append(xxhash.xxh64_hexdigest((tmp_path / "one").read_bytes()))
    assert found == GOLDEN


GOLDEN = ["6a87f307d3be4f0f", "2cc5b80700e451f1", "dddecb518dbbf526"]


def test_a_closed_segment_is_not_searched_but_a_search_ends_well(whole: Path) -> None:
    segment = Segment.open(whole)
    postings = segment.postings
    segment.close()
    segment.close()
    with pytest.raises(ValueError, match="closed"):
        segment.find(np.zeros(1, np.uint64), 1, *to_ranges(EVERY))
    assert len(postings.columns.keys) >= MANY - BLOCK


@contextmanager
def small_files(most_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("reserves", [True, False])
def test_a_file_that_does_not_fit_leaves_nothing(
    reserves: bool, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    before = whole.read_bytes()
    units = np.arange(MANY)
    for limit in (0, 100, PAGE, 60_000, 130_000):
        with small_files(limit), pytest.raises(OutputError, match="file too large") as caught:
            write_segment(whole, SHAPES["even"], units)
        assert caught.value.target == str(whole)
        with (
            Segment.open(whole) as segment,
            small_files(min(limit, 60_000)),
            pytest.raises(OutputError, match="file too large"),
        ):
            merge_segments([segment, segment], tmp_path / "merged", *to_ranges(EVERY))
        assert names(tmp_path) == ["whole"]
        assert whole.read_bytes() == before
    with pytest.raises(OutputError, match="no such file"):
        write_segment(tmp_path / "none" / "one", SHAPES["even"], units)


def test_a_full_disk_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("needs a disk that can be mounted")
    options = ["-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if subprocess.run([mount, *options], check=False, capture_output=True).returncode:
        pytest.skip("needs a disk that can be mounted")
    try:
        with pytest.raises(OutputError, match="no space left"):
            write_segment(disk / "one", SHAPES["even"], np.arange(MANY))
        with Segment.open(whole) as segment, pytest.raises(OutputError, match="no space left"):
            merge_segments([segment], disk / "one", *to_ranges(EVERY))
        assert names(disk) == []
        write_segment(disk / "one", SHAPES["even"][:100], np.arange(100))
        assert len(read_postings(disk / "one")) == 100
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def note_name(path: Path, target: Path) -> Path:
        done.append(target)
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_name)
    write_segment(tmp_path / "one", SHAPES["even"], np.arange(MANY))
    assert done[0].name.startswith(".dedup-")
    assert done[1:] == [tmp_path / "one", tmp_path]


def test_every_kernel_here_releases_the_gil() -> None:
    kernels = [one for one in vars(segments_module).values() if hasattr(one, "py_func")]
    assert len(kernels) > 15
    for one in kernels:
        assert one.targetoptions["nogil"], one
