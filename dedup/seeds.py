"""Seeds: places that may be part of a passage, and where its like stands.

Two words that are not common and stand near each other are a seed, whatever
their order: it survives when words are moved, put in and taken out. A long run
of words is another kind, for text that stands in so many places that its pairs
of words no longer say much. A place is linked to the earlier ones that hold
the same; a seed in too many places to only a few of them, and is counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Positions
from dedup.kernels import kernel
from dedup.orders import find_order
from dedup.words import Words

_MIX = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Seeds:
    """Places of seeds that stand in two places or more, grouped.

    Attributes
    ----------
    places
        int64[n], words at which seeds begin, never falling.
    ranks
        int64[n], where the place stands in `groups`.
    firsts
        int64[n], where the group of the place starts in `groups`; the earlier
        places of the same seed are ``groups[firsts[k]:ranks[k]]``.
    groups
        int64[n], places of one seed after another, each rising.
    """

    places: Positions
    ranks: Positions
    firsts: Positions
    groups: Positions


@kernel
def _mixed(state, value):
    """Return a hash that went on by one value: a bijection of each for the other."""
    state = (state ^ value) * _MIX
    return state ^ (state >> np.uint64(32))


@kernel
def _make_pairs(ids, offsets, counts, most_count, reach, most_distance, keys, places):
    """Write the seeds of two words that are not common; return how many.

    Each such word is paired with the next `reach` such words of its text that
    are no more than `most_distance` words away.
    """
    count = np.int64(0)
    longest = np.int64(0)
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    rare = np.empty(longest, np.int64)
    for t in range(len(offsets) - 1):
        known = np.int64(0)
        for i in range(offsets[t], offsets[t + 1]):
            rare[known] = i
            known += np.int64(counts[ids[i]] <= most_count)
        for k in range(known):
            own = ids[rare[k]]
            for next_one in range(k + 1, min(k + 1 + reach, known)):
                other = ids[rare[next_one]]
                if rare[next_one] - rare[k] > most_distance:
                    break
                if other != own:
                    low = np.uint64(min(own, other))
                    high = np.uint64(max(own, other))
                    keys[count] = _mixed(low << np.uint64(32) | high, np.uint64(1))
                    places[count] = rare[k]
                    count += 1
    return count


@kernel
def _make_runs(ids, offsets, length, keys, places):
    """Write the seeds of `length` words in a row; return how many."""
    count = np.int64(0)
    for t in range(len(offsets) - 1):
        for i in range(offsets[t], offsets[t + 1] - length + 1):
            state = np.uint64(length)
            for k in range(length):
                state = _mixed(state, np.uint64(ids[i + k]))
            keys[count] = state
            places[count] = i
            count += 1
    return count


@kernel
def _mark_repeated(keys, seen, twice, keep):
    """Mark keys of which another is likely to be equal; no equal ones are missed.

    A bit map of what was seen, another of what was seen twice: most seeds stand
    in one place, and sorting is what costs.
    """
    mask = np.uint64(len(seen) * 64 - 1)
    for i in range(len(keys)):
        bit = (keys[i] >> np.uint64(7)) & mask
        word = bit >> np.uint64(6)
        flag = np.uint64(1) << (bit & np.uint64(63))
        twice[word] |= seen[word] & flag
        seen[word] |= flag
    count = np.int64(0)
    for i in range(len(keys)):
        bit = (keys[i] >> np.uint64(7)) & mask
        keep[count] = i
        count += np.int64((twice[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1))
    return count


@kernel
def _group(keys, places, order, ranks, firsts, groups):
    """Write the groups of two places or more; return places in them and the largest group."""
    count = np.int64(0)
    first = np.int64(0)
    n = len(order)
    while first < n:
        stop = first + 1
        key = keys[order[first]]
        while stop < n and keys[order[stop]] == key:
            stop += 1
        start = count
        if stop - first > 1:
            for k in range(first, stop):
                ranks[order[k]] = count
                firsts[order[k]] = start
                groups[count] = places[order[k]]
                count += 1
        first = stop
    return count


def _find_groups(keys: NDArray[np.uint64], places: Positions, threads: int) -> Seeds:
    bits = max(16, int(np.ceil(np.log2(max(len(keys), 1) * 8))))
    seen = np.zeros((1 << bits) // 64, np.uint64)
    keep = np.empty(len(keys) + 1, np.int64)
    count = _mark_repeated(keys, seen, np.zeros_like(seen), keep)
    keys, places = keys[keep[:count]], places[keep[:count]]
    order = find_order(keys, threads=threads)
    ranks = np.full(len(keys), -1, np.int64)
    firsts = np.empty(len(keys), np.int64)
    groups = np.empty(len(keys), np.int64)
    count = _group(keys, places, order, ranks, firsts, groups)
    repeated = np.flatnonzero(ranks >= 0)
    return Seeds(places[repeated], ranks[repeated], firsts[repeated], groups[:count].copy())


def find_pair_seeds(
    words: Words, most_count: int, reach: int, most_distance: int, threads: int = 1
) -> Seeds:
    """Find the seeds of two words that stand near each other.

    Parameters
    ----------
    most_count
        How often a word may stand and be part of a seed.
    reach
        With how many of the next such words each is paired.
    most_distance
        Words between the two, at most, and one.
    """
    room = len(words) * reach
    keys, places = np.empty(room, np.uint64), np.empty(room, np.int64)
    count = _make_pairs(
        words.ids, words.offsets, words.counts, most_count, reach, most_distance, keys, places
    )
    return _find_groups(keys[:count], places[:count], threads)


def find_run_seeds(words: Words, length: int, threads: int = 1) -> Seeds:
    """Find the seeds of some words in a row."""
    keys, places = np.empty(len(words), np.uint64), np.empty(len(words), np.int64)
    count = _make_runs(words.ids, words.offsets, length, keys, places)
    return _find_groups(keys[:count], places[:count], threads)
