from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dedup
from dedup.columns import Texts
from dedup.folding import fold_spans
from dedup.kernels import compilation_notice, kernel
from dedup.slices import cut_slices, run_slices


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_texts_are_joined_with_their_offsets(parts: list[bytes]) -> None:
    texts = Texts.from_bytes(parts)
    assert len(texts) == len(parts)
    assert [
        texts.data[texts.offsets[row] : texts.offsets[row + 1]].tobytes()
        for row in range(len(parts))
    ] == parts


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 60))
def test_slices_are_runs_of_rows_of_about_the_size_asked(lengths: list[int], most: int) -> None:
    bounds = cut_slices(np.array(lengths, np.int64), most).tolist()
    assert (bounds[0], bounds[-1]) == (0, len(lengths))
    assert bounds == sorted(set(bounds))
    for first, last in pairwise(bounds):
        assert sum(lengths[first : last - 1]) < most


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_row_is_worked_on_once(threads: int) -> None:
    seen = np.zeros(1000, np.int64)

    def work(first: int, last: int) -> None:
        seen[first:last] += 1

    run_slices(work, cut_slices(np.ones(1000, np.int64), 7), threads)
    assert (seen == 1).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_slice_reaches_the_caller(threads: int) -> None:
    def work(first: int, last: int) -> None:
        raise ValueError(first)

    with pytest.raises(ValueError, match="0"):
        run_slices(work, cut_slices(np.ones(100, np.int64), 7), threads)


def every_kernel() -> list[Any]:
    found = []
    for path in sorted(Path(dedup.__file__).parent.glob("*.py")):
        if path.stem == "__init__" or "@kernel" not in path.read_text():
            continue
        module = __import__(f"dedup.{path.stem}", fromlist=["*"])
        found += [value for value in vars(module).values() if hasattr(value, "py_func")]
    return found


def test_every_kernel_releases_the_gil_and_is_kept_on_disk() -> None:
    kernels = every_kernel()
    assert len(kernels) > 20
    for one in kernels:
        assert one.targetoptions["nogil"], one
        assert not one.targetoptions.get("parallel"), one
        assert not one.targetoptions.get("fastmath"), one
        assert type(one._cache).__name__ != "NullCache", one


def test_kernels_take_arrays_that_cannot_be_written() -> None:
    data = np.frombuffer("Grüße".encode(), np.uint8)
    assert not data.flags.writeable
    folded = fold_spans(data, np.array([0], np.int64), np.array([len(data)], np.int64))
    assert folded.data[: folded.offsets[1]].tobytes() == b"grusse"


def test_compilation_is_told_once_and_only_when_it_happens() -> None:
    def make() -> Callable[..., Any]:
        def add(left: Any, right: Any) -> Any:
            return left + right

        return add

    compiled = kernel(make())
    told: list[None] = []
    with compilation_notice(lambda: told.append(None)):
        assert compiled(1, 2) == 3
        assert compiled(1.5, 2.5) == 4
    first = len(told)
    with compilation_notice(lambda: told.append(None)):
        assert compiled(1, 2) == 3
    # A kernel that comes out of the disk cache is not told of.
    assert first in (0, 1)
    assert len(told) == first
