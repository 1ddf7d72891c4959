"""Seeds: places that may be part of a passage, and where its like stands.

Two words that are not common and stand near each other are a seed, whatever
their order: it survives when words are moved, put in and taken out. A long run
of words is another kind, for text that stands in so many places that its pairs
of words no longer say much. A place is linked to the earlier ones that hold
the same; a seed in too many places to only a few of them, and is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.kernels import kernel
from dedup.scratch import Scratch
from dedup.slices import map_slices
from dedup.words import Numbers, Words, narrow_kind

_MIX = np.uint64(0xD6E8FEB86659FD93)

# Seeds are found part by part, by the first bits of their keys; about as many as
# this in each, so that its bit maps stay in the second cache. Every part makes all
# keys anew, which takes a tenth of the time, so there are no more than 16.
_PART_BITS = 4
_SEEDS_A_PART = 1 << 20


@dataclass(frozen=True)
class Seeds:
    """Places of seeds that stand in two places or more, grouped.

    All are int32, or int64 where there are too many words for that.

    Attributes
    ----------
    places
        int[n], words at which seeds begin, never falling.
    ranks
        int[n], where the place stands in `groups`.
    firsts
        int[n], where the group of the place starts in `groups`; the earlier
        places of the same seed are ``groups[firsts[k]:ranks[k]]``.
    groups
        int[n], places of one seed after another, each rising.
    """

    places: Numbers
    ranks: Numbers
    firsts: Numbers
    groups: Numbers


@kernel
def _mixed(state, value):
    """Return a hash that went on by one value: a bijection of each for the other."""
    state = (state ^ value) * _MIX
    return state ^ (state >> np.uint64(32))


@kernel
def _make_pairs(
    ids, offsets, counts, most_count, reach, most_distance, first_part, last_part, shift,
    keys, places,
):  # fmt: skip
    """Write the seeds of two words that are not common; return how many.

    Each such word is paired with the next `reach` such words of its text that
    are no more than `most_distance` words away. Of the keys, those with the first
    bits of `first_part` to `last_part`.
    """
    count = np.int64(0)
    longest = np.int64(0)
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    rare = np.empty(longest + 1, np.int32)
    for t in range(len(offsets) - 1):
        base = offsets[t]
        known = np.int64(0)
        for i in range(offsets[t + 1] - base):
            rare[known] = i
            known += np.int64(counts[ids[base + i]] <= most_count)
        for k in range(known):
            own = ids[base + rare[k]]
            for next_one in range(k + 1, min(k + 1 + reach, known)):
                other = ids[base + rare[next_one]]
                if rare[next_one] - rare[k] > most_distance:
                    break
                low = np.uint64(min(own, other))
                high = np.uint64(max(own, other))
                key = _mixed(low << np.uint64(32) | high, np.uint64(1))
                part = np.int64(key >> shift)
                keys[count] = key
                places[count] = base + rare[k]
                count += np.int64((other != own) & (part >= first_part) & (part < last_part))
    return count


@kernel
def _make_runs(ids, offsets, length, first_part, last_part, shift, keys, places):
    """Write the seeds of `length` words in a row, of some parts; return how many."""
    count = np.int64(0)
    for t in range(len(offsets) - 1):
        for i in range(offsets[t], offsets[t + 1] - length + 1):
            key = np.uint64(length)
            for k in range(length):
                key = _mixed(key, np.uint64(ids[i + k]))
            part = np.int64(key >> shift)
            keys[count] = key
            places[count] = i
            count += np.int64((part >= first_part) & (part < last_part))
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


@kernel
def _count_places(places, cursors):
    for k in range(len(places)):
        cursors[places[k]] += 1


@kernel
def _sum_up(cursors):
    total = np.int64(0)
    for i in range(len(cursors)):
        count = cursors[i]
        cursors[i] = total
        total += count


@kernel
def _put(part_places, part_ranks, part_firsts, base, cursors, places, ranks, firsts):
    for k in range(len(part_places)):
        at = cursors[part_places[k]]
        cursors[part_places[k]] += 1
        places[at] = part_places[k]
        ranks[at] = base + part_ranks[k]
        firsts[at] = base + part_firsts[k]


def _group_part(keys: NDArray[np.uint64], places: Numbers) -> Seeds:
    bits = max(16, int(np.ceil(np.log2(max(len(keys), 1) * 8))))
    seen = np.zeros((1 << bits) // 64, np.uint64)
    keep = np.empty(len(keys) + 1, np.int32)
    keep = keep[: _mark_repeated(keys, seen, np.zeros_like(seen), keep)]
    keys, places = keys[keep], places[keep]
    ranks = np.full(len(keys), -1, np.int32)
    firsts = np.empty(len(keys), np.int32)
    groups = np.empty_like(places)
    count = _group(keys, places, np.argsort(keys, kind="stable"), ranks, firsts, groups)
    repeated = np.flatnonzero(ranks >= 0)
    return Seeds(places[repeated], ranks[repeated], firsts[repeated], groups[:count].copy())


def _find_groups(
    make: Callable[..., int], words: Words, room: int, scratch: Scratch | None, threads: int
) -> Seeds:
    """Group the seeds that are made: part by part, then joined in the order of places."""
    scratch = scratch or Scratch()
    kind = narrow_kind(room)
    bounds = np.linspace(
        0, 1 << _PART_BITS, min(1 << _PART_BITS, room // _SEEDS_A_PART + 1) + 1
    ).astype(np.int64)

    def group(first: int, last: int) -> Seeds:
        keys, places = np.empty(room + 1, np.uint64), np.empty(room + 1, kind)
        count = make(first, last, np.uint64(64 - _PART_BITS), keys, places)
        return _group_part(keys[:count], places[:count])

    parts = list(map_slices(group, bounds, threads))
    cursors = np.zeros(len(words) + 1, kind)
    for part in parts:
        _count_places(part.places, cursors)
    _sum_up(cursors)
    total = sum(len(part.places) for part in parts)
    columns: list[NDArray[Any]] = [scratch.empty(total, kind) for _ in range(4)]
    places, ranks, firsts, groups = columns
    base = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        _put(part.places, part.ranks, part.firsts, base, cursors, places, ranks, firsts)
        groups[base : base + len(part.groups)] = part.groups
        base += len(part.groups)
    return Seeds(places, ranks, firsts, groups)


def find_pair_seeds(
    words: Words,
    most_count: int,
    reach: int,
    most_distance: int,
    threads: int = 1,
    scratch: Scratch | None = None,
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

    def make(*part: Any) -> int:
        count: int = _make_pairs(
            words.ids, words.offsets, words.counts, most_count, reach, most_distance, *part
        )
        return count

    return _find_groups(make, words, len(words) * reach, scratch, threads)


def find_run_seeds(
    words: Words, length: int, threads: int = 1, scratch: Scratch | None = None
) -> Seeds:
    """Find the seeds of some words in a row."""

    def make(*part: Any) -> int:
        count: int = _make_runs(words.ids, words.offsets, length, *part)
        return count

    return _find_groups(make, words, len(words), scratch, threads)
