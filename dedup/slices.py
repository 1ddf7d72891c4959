"""Work in slices: what a slice unfolds to stays in the cache, and threads share them out."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

from dedup.columns import Positions

Result = TypeVar("Result")

# Bytes of text in a slice: its folded text, hashes and signatures then stay in
# the second cache.
SLICE_BYTES = 1 << 18

# Rows of which the lengths are looked at together.
_BLOCK_ROWS = 1 << 16

# Slices that threads are given ahead of the one that is waited for.
_AHEAD = 4


def cut_slices(lengths: Positions, most: int = SLICE_BYTES) -> Positions:
    """Cut rows into runs of about `most` in sum; a longer row is a run by itself.

    Returns
    -------
    int64[slice_count + 1]
        Rows at which slices begin, and the row count.
    """
    if len(lengths) == 0:
        return np.zeros(1, np.int64)
    run = (np.cumsum(lengths) - lengths) // most
    borders = np.flatnonzero(np.diff(run)) + 1
    return np.concatenate([[0], borders, [len(lengths)]])


def cut_many_slices(
    row_count: int, lengths_of: Callable[[int, int], Positions], most: int = SLICE_BYTES
) -> Positions:
    """Do as `cut_slices` for rows of which the lengths need not stand in memory at once.

    Parameters
    ----------
    lengths_of
        Gives the lengths of the rows from the first to the one behind the last.
    """
    parts = [np.zeros(1, np.int64)]
    for first in range(0, row_count, _BLOCK_ROWS):
        last = min(first + _BLOCK_ROWS, row_count)
        parts.append(first + cut_slices(lengths_of(first, last), most)[1:])
    return np.concatenate(parts)


def run_slices(
    work: Callable[[int, int], object],
    bounds: Positions,
    threads: int,
    done: Callable[[int], None] | None = None,
) -> None:
    """Do work on every slice, in threads when there are several of both.

    Parameters
    ----------
    work
        Takes the first row and the one behind the last, and writes only there.
    bounds
        int64[slice_count + 1] of `cut_slices`.
    done
        Is told of the rows that are done since.
    """
    slices = pairwise(bounds.tolist())
    for (first, last), _ in zip(slices, map_slices(work, bounds, threads), strict=True):
        if done:
            done(last - first)


def map_slices(
    work: Callable[[int, int], Result], bounds: Positions, threads: int
) -> Iterator[Result]:
    """Yield what work makes of every slice, in order; a few are made ahead."""
    slices = list(pairwise(bounds.tolist()))
    if threads == 1 or len(slices) <= 1:
        for first, last in slices:
            yield work(first, last)
        return
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for first, last in slices:
                ahead.append(pool.submit(work, first, last))
                if len(ahead) > _AHEAD * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for one in ahead:
                one.cancel()
