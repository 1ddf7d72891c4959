"""Work in slices: what a slice unfolds to stays in the cache, and threads share them out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from dedup.columns import Positions

# Bytes of text in a slice: its folded text, hashes and signatures then stay in
# the second cache.
SLICE_BYTES = 1 << 18


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


def run_slices(work: Callable[[int, int], None], bounds: Positions, threads: int) -> None:
    """Do work on every slice, in threads when there are several of both.

    Parameters
    ----------
    work
        Takes the first row and the one behind the last, and writes only there.
    bounds
        int64[slice_count + 1] of `cut_slices`.
    """
    slices = list(pairwise(bounds.tolist()))
    if threads == 1 or len(slices) <= 1:
        for first, last in slices:
            work(first, last)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, first, last) for first, last in slices]:
            done.result()
