"""Groups of units that are the same text once folded, found by fingerprint and verified."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions
from dedup.folding import fold_spans, same_spans
from dedup.kernels import kernel
from dedup.orders import find_order
from dedup.scratch import Scratch
from dedup.slices import map_slices
from dedup.units import Units

_UNITS_A_SLICE = 1 << 12


@dataclass(frozen=True)
class Groups:
    """Compared units by folded text.

    Attributes
    ----------
    units
        int64[n], units in the order of the policy; an index into it is a rank.
    firsts
        int64[group_count], rank of the first unit of each group, rising.
    of_rank
        int64[n], group of each rank.
    exact
        bool[n], whether the unit is the same text as the first of its group.
    """

    units: Positions
    firsts: Positions
    of_rank: Positions
    exact: Flags


@kernel
def _link_equal(order, fingerprints, firsts):
    """Write for each rank the first that has the same fingerprint."""
    first = np.int64(0)
    for i in range(len(order)):
        if i == 0 or fingerprints[order[i]] != fingerprints[order[i - 1]]:
            first = order[i]
        firsts[order[i]] = first


@kernel
def _number_groups(first_of_rank, firsts):
    """Turn first ranks into numbers of groups, in place; return how many there are."""
    count = np.int64(0)
    for rank in range(len(first_of_rank)):
        first = first_of_rank[rank]
        if first == rank:
            firsts[count] = rank
            first_of_rank[rank] = count
            count += 1
        else:
            first_of_rank[rank] = first_of_rank[first]
    return count


def group_equal(
    data: Bytes,
    units: Units,
    in_order: Positions,
    fingerprints: NDArray[np.uint64],
    threads: int,
    scratch: Scratch,
) -> Groups:
    """Group units that are equal once folded.

    Parameters
    ----------
    in_order
        int64[n], units in the order of the policy.
    fingerprints
        uint64[n], theirs.
    """
    count = len(in_order)
    first_of_rank = scratch.empty(count, np.int64)
    _link_equal(find_order(fingerprints, scratch, threads), fingerprints, first_of_rank)

    # The same fingerprint is no proof: the texts are compared.
    exact = scratch.full(count, True, np.bool_)

    def work(begin: int, end: int) -> Positions:
        again = begin + np.flatnonzero(first_of_rank[begin:end] != np.arange(begin, end))
        left, right = in_order[again], in_order[first_of_rank[again]]
        spans = (units.starts[left], units.stops[left], units.starts[right], units.stops[right])
        same = same_spans(data, *spans)
        exact[again] = same
        doubtful = again[~same]
        rows = in_order[np.concatenate([doubtful, first_of_rank[doubtful]])]
        both = fold_spans(data, units.starts[rows], units.stops[rows])
        middle = len(doubtful)
        equal = same_spans(
            both.data,
            both.offsets[:middle],
            both.offsets[1 : middle + 1],
            both.offsets[middle:-1],
            both.offsets[middle + 1 :],
        )
        scratch.keep_to_room()
        return doubtful[~equal]

    bounds = np.append(np.arange(0, count, _UNITS_A_SLICE), count)
    # Written when all were looked at, for others look at the first of theirs.
    for unequal in list(map_slices(work, bounds, threads)):
        first_of_rank[unequal] = unequal
    firsts_room = scratch.empty(count, np.int64)
    group_count = _number_groups(first_of_rank, firsts_room)
    return Groups(in_order, firsts_room[:group_count], first_of_rank, exact)
