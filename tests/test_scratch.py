"""Room for columns: in memory and on disk they hold the same."""

import errno
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dedup import scratch as scratch_module
from dedup.errors import OutputError
from dedup.orders import find_order, order_hashes
from dedup.scratch import Column, Scratch


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a limit of one byte leave no room in memory at all."""
    monkeypatch.setattr(scratch_module, "_LEAST_BYTES", 0)
    monkeypatch.setattr(scratch_module, "_LEAST_ROOM_BYTES", 0)
    monkeypatch.setattr(scratch_module, "_LEAST_CHUNK_BYTES", 640)


@pytest.mark.parametrize("most_bytes", [None, 1])
def test_a_column_holds_what_it_was_given(most_bytes: int | None, tmp_path: Path) -> None:
    with Scratch(most_bytes, str(tmp_path)) as scratch:
        column = Column(scratch, np.int32)
        for i in range(200):
            column.extend(np.arange(i * 50, (i + 1) * 50, dtype=np.int32))
        early = column.values
        column.extend(np.arange(10_000, 90_000, dtype=np.int32))
        column.truncate(80_000)
        column.truncate(85_000)
        column.extend(np.array([-1], np.int32))
        scratch.release()
        assert column.values.tolist() == [*range(80_000), -1]
        assert early.tolist() == list(range(10_000))
        assert scratch.is_on_disk == (most_bytes is not None)
        # Files have no name: nothing is left whatever ends the process.
        assert not list(tmp_path.iterdir())


def test_columns_stand_in_memory_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_module, "_LEAST_ROOM_BYTES", 100_000)
    with Scratch(1) as scratch:
        first = scratch.empty(30_000, np.uint8)
        assert not scratch.is_on_disk
        second = scratch.full((100, 300), 7, np.uint8)
        assert scratch.is_on_disk
        assert (second == 7).all()
        del first, second
        gc.collect()
        again = scratch.empty(30_000, np.uint8)
        assert not scratch.is_on_disk
        assert len(again) == 30_000


@settings(max_examples=60)
@given(
    st.lists(st.integers(-5, 400), max_size=300),
    st.sampled_from([np.int32, np.int64]),
    st.integers(1, 3),
)
def test_keys_are_sorted_in_parts_as_at_once(keys: list[int], kind: type, threads: int) -> None:
    values: NDArray[Any] = np.array(keys, kind)
    with Scratch(1) as scratch:
        order = find_order(values, scratch, threads)
        assert order.tolist() == np.argsort(values, kind="stable").tolist()
        assert scratch.take(values, order).tolist() == sorted(keys)


def test_many_keys_of_all_sizes_are_sorted() -> None:
    keys = np.random.default_rng(1).integers(0, 1 << 63, 5000, dtype=np.uint64) * np.uint64(2)
    keys[::3] = keys[0]
    with Scratch(1) as scratch:
        assert np.array_equal(find_order(keys, scratch), np.argsort(keys, kind="stable"))


def test_keys_are_sorted_by_threads_as_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedup.orders._MANY_KEYS", 10)
    keys = np.random.default_rng(2).integers(-50, 50, 3000)
    for threads in (1, 2, 3):
        assert np.array_equal(find_order(keys, None, threads), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("known_bits", [0, 5])
def test_hashes_are_ordered_as_any_keys_are(known_bits: int) -> None:
    chooser = np.random.default_rng(3)
    for count in (0, 1, 2, 3, 1000, 50_000):
        keys = chooser.integers(0, 1 << 63, count, dtype=np.uint64) >> np.uint64(known_bits)
        # Many that are equal, and many that share their first bits.
        keys[: count // 3] = keys[count // 3 : 2 * (count // 3)]
        keys[count // 2 : count // 2 + 500] = 7
        keys[count // 4 : count // 4 + 200] &= np.uint64((1 << 20) - 1)
        assert np.array_equal(order_hashes(keys, known_bits), np.argsort(keys, kind="stable"))


def test_a_full_disk_is_an_error_and_no_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with Scratch(1, str(tmp_path)) as scratch, pytest.raises(OutputError, match="no space left"):
        scratch.empty(100, np.uint8)
    with Scratch(1, str(tmp_path / "none")) as scratch, pytest.raises(OutputError, match="no room"):
        scratch.empty(100, np.uint8)
    assert not list(tmp_path.iterdir())


def test_the_memory_that_is_free_is_that_of_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scratch_module, "_GROUP", tmp_path)
    free = scratch_module.find_free_bytes()
    assert free > 1 << 20
    (tmp_path / "memory.current").write_text("400\n")
    for most, expected in (("1000\n", 600), ("300\n", 0)):
        (tmp_path / "memory.max").write_text(most)
        assert scratch_module.find_free_bytes() == expected
    (tmp_path / "memory.max").write_text("max\n")
    assert scratch_module.find_free_bytes() > 1 << 20
