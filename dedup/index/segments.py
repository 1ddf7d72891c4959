"""Segments of a durable index: immutable, sorted, memory-mapped posting lists.

A posting says that a unit stands under a key: a band key, good as random, and
the number of a unit. Postings are sorted by key and unit; the same one may
stand twice and then counts twice. Beside them stand measures: what bounds how
alike two units can be, so that most that share a key are never fetched.
`FORMAT.md` describes every byte of a segment's file; no byte of it is believed
before its checksum was compared.

What to write, when to merge and which units are live is decided elsewhere.
"""

import contextlib
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from dedup.columns import Positions
from dedup.errors import InputError, OutputError
from dedup.kernels import kernel
from dedup.orders import order_hashes
from dedup.slices import map_slices
from dedup.streams import describe

Keys = NDArray[np.uint64]

MEASURE_WORDS = 13
"""Words of a measure: the numbers of a unit and of its document, where it begins there and
how long it is, in bytes, how many shingles it has, and their map of 512 bits; see
`dedup.shingles.Sets`."""

# The first byte is no ASCII, and the line breaks tell of a copy made as text.
_MAGIC = b"\x89DSEG\r\n\x1a"
_VERSION = 2
_HEADER = struct.Struct("<8sIIQQqqQQQQ")
_CHECKSUM = struct.Struct("<Q")
_PAGE_BYTES = 4096

# Postings in a block. Of its keys, 32 KiB, a search that comes first computes the
# checksum in 3 microseconds, and the table of blocks takes 0.006 bytes a posting.
_BLOCK = 4096
_BLOCK_SHIFT = 12

# Bits of the filter for each posting, and words of it in a block, 32 KiB. Of the keys
# that are not there, three quarters of all that are looked for, it lets 2 % through.
_FILTER_BITS = 10
_FILTER_BLOCK = 4096
_FILTER_SHIFT = 12

# Postings in memory that are worth a filter; fewer stand in a cache.
_FILTERED = 1 << 14

# Measures in a block, 52 KiB of them.
_MEASURE_BLOCK = 512
_MEASURE_SHIFT = 9
_MEASURE_BYTES = 8 * MEASURE_WORDS

# Blocks of measures that are read at once when segments are merged.
_MEASURES_READ = 16

# Keys that are looked up together: each step touches memory for all of them, so
# that the processor waits for many places at once. One by one, 1000 absent keys
# take three times as long, and 170,000 1.8 times.
_TOGETHER = 32

# Keys for which threads are worth while, and slices that each thread is given.
_MANY_KEYS = 1 << 13
_SLICES = 4

# Postings that merging holds of all inputs together, and those that are packed
# into a file at once.
_MERGED_TOGETHER = 1 << 18
_PACKED_TOGETHER = 1 << 17

# Bits of units by which the ranges of live ones are told apart at once.
_JUMP_BITS = 16

# Blocks that are verified between two questions whether to stop.
_VERIFIED_TOGETHER = 256

# Postings beyond which runs in memory are not merged: adding a batch would have to
# wait for it. Each more run is one more search of 0.15 microseconds a key.
_LONGEST_RUN = 1 << 21

# Written data that is handed to the disk at once: of gigabytes at the end, other
# writes to the disk would have to wait. The longest wait of a call that adds was 28 to
# 61 ms with 64 MB, 15 to 17 with 16, 19 to 44 with 4.
_SYNC_BYTES = 16 << 20

_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3 = np.uint64(0x165667B19E3779F9)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)


class _Columns(NamedTuple):
    """Sorted postings as the kernels take them, in a file or in memory.

    Attributes
    ----------
    keys
        uint64[n], n at least `posting_count`: the rest is zeros that fill a page.
    units
        uint32[n] or int64[n], less the base.
    words
        uint64[w], the units as checksums take them.
    fences
        uint64[block_count + 1], the first key of each block, and the greatest.
    key_sums, unit_sums
        uint64[block_count], checksums.
    key_checked, unit_checked
        uint8[block_count], whether the checksum was compared. Threads write
        here at once, all the same: bytes, for bits would undo each other.
    filter
        uint64[f], f at least `filter_count`, of which each key has set some bits of
        one; nothing where there is none.
    filter_sums, filter_checked
        The same for its blocks.
    """

    keys: Keys
    units: NDArray[Any]
    words: Keys
    posting_count: int
    base: int
    fences: Keys
    key_sums: Keys
    unit_sums: Keys
    key_checked: NDArray[np.uint8]
    unit_checked: NDArray[np.uint8]
    filter: Keys
    filter_count: int
    filter_sums: Keys
    filter_checked: NDArray[np.uint8]


class _Measures(NamedTuple):
    """Measures in the order of their units, as the kernels take them.

    Attributes
    ----------
    rows
        uint64[n, MEASURE_WORDS]
    words
        uint64[w], the same and the zeros behind it, as checksums take them.
    fences
        uint64[block_count + 1], the first unit of each block, and the greatest.
    sums
        uint64[block_count], checksums.
    checked
        uint8[block_count]; see `_Columns`.
    """

    rows: Keys
    words: Keys
    fences: Keys
    sums: Keys
    checked: NDArray[np.uint8]

    @classmethod
    def from_sorted(cls, rows: Keys) -> Self:
        """Take rows in memory, where nothing has to be checked."""
        block_count = -(-len(rows) // _MEASURE_BLOCK)
        fences = np.concatenate([rows[::_MEASURE_BLOCK, 0], rows[-1:, 0]])
        sums = np.zeros(block_count, np.uint64)
        rows = _frozen(rows)
        words = rows.reshape(-1)
        return cls(rows, words, _frozen(fences), _frozen(sums), np.ones(block_count, np.uint8))


class _Live(NamedTuple):
    """Ranges of live units, and where to look for a unit among them.

    Attributes
    ----------
    firsts, stops
        int64[m]
    least, shift
        Of a unit, ``(unit - least) >> shift`` is the place to look up in jumps.
    jumps
        int32[j], ranges that begin at or before the least unit of each place.
    """

    firsts: Positions
    stops: Positions
    least: int
    shift: int
    jumps: NDArray[np.int32]


@kernel
def _rotated(value, count):
    return (value << np.uint64(count)) | (value >> np.uint64(64 - count))


@kernel
def _folded_lane(state, lane):
    state ^= _rotated(lane * _PRIME_2, 31) * _PRIME_1
    return state * _PRIME_1 + _PRIME_4


@kernel
def checksum_words(words):
    """Return the XXH64 (seed 0) of words, of which there are a multiple of four.

    References
    ----------
    Yann Collet, "xxHash fast digest algorithm", 2014.
    """
    one = _PRIME_1 + _PRIME_2
    two = _PRIME_2
    three = np.uint64(0)
    four = np.uint64(0) - _PRIME_1
    for i in range(0, len(words), 4):
        one = _rotated(one + words[i] * _PRIME_2, 31) * _PRIME_1
        two = _rotated(two + words[i + 1] * _PRIME_2, 31) * _PRIME_1
        three = _rotated(three + words[i + 2] * _PRIME_2, 31) * _PRIME_1
        four = _rotated(four + words[i + 3] * _PRIME_2, 31) * _PRIME_1
    state = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
    state = _folded_lane(state, one)
    state = _folded_lane(state, two)
    state = _folded_lane(state, three)
    state = _folded_lane(state, four)
    state += np.uint64(8 * len(words))
    state = (state ^ (state >> np.uint64(33))) * _PRIME_2
    state = (state ^ (state >> np.uint64(29))) * _PRIME_3
    return state ^ (state >> np.uint64(32))


@kernel
def _is_whole(words, sums, block, block_words):
    first = block * block_words
    last = min(first + block_words, len(words))
    return checksum_words(words[first:last]) == sums[block]


@kernel
def _find_damaged(words, sums, checked, block_words, first, last):
    """Return the first of some blocks that is damaged, or -1; those before it are checked."""
    for block in range(first, last):
        if not _is_whole(words, sums, block, block_words):
            return np.int64(block)
        checked[block] = 1
    return np.int64(-1)


@kernel
def _is_live(unit, firsts, stops):
    low = np.int64(0)
    high = np.int64(len(firsts))
    while low < high:
        middle = (low + high) >> 1
        if firsts[middle] <= unit:
            low = middle + 1
        else:
            high = middle
    return low > 0 and unit < stops[low - 1]


@kernel
def _lower_bound(values, low, high, guess, key):
    """Return the first place after `low`, up to `high`, of a value that is not less.

    Requires
    --------
    The value at `low` is less; the one at `high`, which is not looked at, is
    not. Time: the logarithm of how far off the guess is, whatever the values.
    """
    if high - low <= 1:
        return high
    guess = min(max(guess, low + 1), high - 1)
    step = np.int64(1)
    if values[guess] < key:
        low = guess
        while low + step < high and values[low + step] < key:
            low += step
            step += step
        high = min(high, low + step)
    else:
        high = guess
        while high - step > low and values[high - step] >= key:
            high -= step
            step += step
        low = max(low, high - step)
    while high - low > 1:
        middle = (low + high) >> 1
        if values[middle] < key:
            low = middle
        else:
            high = middle
    return high


@kernel
def _count_lesser_blocks(fences, block_count, key, near):
    """Return how many blocks begin with a lesser key; near is what it was for the last key.

    Requires
    --------
    The key is not above the greatest.
    """
    if near > 0 and fences[near - 1] >= key:
        near = np.int64(0)
    if fences[near] >= key:
        return near
    share = np.float64(key - fences[near]) / np.float64(fences[block_count] - fences[near])
    guess = near + np.int64(share * np.float64(block_count - near))
    return _lower_bound(fences, near, np.int64(block_count), guess, key)


@kernel
def _filter_word(key, count):
    """Return which word of a filter has the bits of a key; it rises with the key."""
    return np.int64(((key >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))


@kernel
def _filter_bits(key):
    mixed = key * _PRIME_2
    bits = np.uint64(1) << (mixed >> np.uint64(58))
    bits |= np.uint64(1) << ((mixed >> np.uint64(52)) & np.uint64(63))
    bits |= np.uint64(1) << ((mixed >> np.uint64(46)) & np.uint64(63))
    return bits | np.uint64(1) << ((mixed >> np.uint64(40)) & np.uint64(63))


@kernel
def _fill_filter(keys, word_count, first, words):
    """Set the bits of keys in the words of a filter from the first one on."""
    for i in range(len(keys)):
        words[_filter_word(keys[i], word_count) - first] |= _filter_bits(keys[i])


@kernel
def _count_found(columns, place, most, firsts, stops):
    """Count live units of the key at a place; or return -2 less the damaged part."""
    found = np.int64(0)
    block = np.int64(-1)
    i = place
    while found < most and i < columns.posting_count:
        if i >> _BLOCK_SHIFT != block:
            block = i >> _BLOCK_SHIFT
            if not columns.key_checked[block]:
                if not _is_whole(columns.keys, columns.key_sums, block, _BLOCK):
                    return -2 - 3 * block
                columns.key_checked[block] = 1
            if not columns.unit_checked[block]:
                block_words = _BLOCK * len(columns.words) // len(columns.units)
                if not _is_whole(columns.words, columns.unit_sums, block, block_words):
                    return -3 - 3 * block
                columns.unit_checked[block] = 1
        if columns.keys[i] != columns.keys[place]:
            break
        found += np.int64(_is_live(columns.base + np.int64(columns.units[i]), firsts, stops))
        i += 1
    return found


@kernel
def _pass_filter(columns, wanted, passed):
    """Write which of the wanted keys may be there; return how many, or -2 less the damaged part.

    Notes
    -----
    Most keys are not there. The words of the filter stand in the order of the keys, as
    those that are looked for do: a key takes a tenth of the time that a search does.
    """
    count = np.int64(0)
    if columns.posting_count == 0:
        return count
    word_count = columns.filter_count
    if word_count == 0:
        for i in range(len(wanted)):
            passed[i] = i
        return np.int64(len(wanted))
    checked = np.int64(-1)
    for i in range(len(wanted)):
        word = _filter_word(wanted[i], word_count)
        block = word >> _FILTER_SHIFT
        if block != checked:
            if not columns.filter_checked[block]:
                if not _is_whole(columns.filter, columns.filter_sums, block, _FILTER_BLOCK):
                    return -4 - 3 * block
                columns.filter_checked[block] = 1
            checked = block
        bits = _filter_bits(wanted[i])
        # Without a branch.
        passed[count] = i
        count += np.int64(columns.filter[word] & bits == bits)
    return count


@kernel
def _find_places(columns, wanted, passed, most, firsts, stops, places, counts):
    """Find the first posting of each key that may be there, and how many live units it gives.

    Returns
    -------
    int64
        -1; or the part that is damaged: three times the number of a block, and 0 for
        keys, 1 for units, 2 for the filter.

    Notes
    -----
    A key's block is found among the fences, which stay in the cache, and its
    place there is guessed twice: with 50 million postings and 10,000 keys that
    takes three quarters of the time that one guess does, a fifth of that of
    `np.searchsorted`.
    """
    if len(passed) == 0:
        return np.int64(-1)
    keys, count, fences = columns.keys, columns.posting_count, columns.fences
    block_count = np.int64(len(columns.key_sums))
    greatest = fences[block_count]
    is_dense = len(passed) > block_count
    near = np.int64(0)
    blocks = np.empty(_TOGETHER, np.int64)
    guesses = np.empty(_TOGETHER, np.int64)
    slopes = np.empty(_TOGETHER, np.float64)
    touched = np.empty(_TOGETHER, np.uint64)
    for group in range(0, len(passed), _TOGETHER):
        size = min(_TOGETHER, len(passed) - group)
        for j in range(size):
            key = wanted[passed[group + j]]
            blocks[j] = -1
            guesses[j] = 0
            slopes[j] = 0.0
            if key > greatest:
                continue
            if is_dense and (near == 0 or fences[near - 1] < key):
                while fences[near] < key:
                    near += 1
            else:
                near = _count_lesser_blocks(fences, block_count, key, near)
            blocks[j] = near
            if near == 0:
                continue
            if not columns.key_checked[near - 1]:
                if not _is_whole(keys, columns.key_sums, near - 1, _BLOCK):
                    return 3 * (near - 1)
                columns.key_checked[near - 1] = 1
            low = (near - 1) << _BLOCK_SHIFT
            width = min(low + _BLOCK, count) - low
            slope = np.float64(width) / np.float64(fences[near] - fences[near - 1])
            slopes[j] = slope
            guess = low + np.int64(np.float64(key - fences[near - 1]) * slope)
            guesses[j] = min(max(guess, low), low + width - 1)
        # What each step reads of memory it reads for all keys before a branch depends on it:
        # a branch that was not foreseen waits for the memory, and all behind it do. With
        # 245,000 keys of a batch in five segments: 55 ms, 75 where each key went on alone.
        for j in range(size):
            touched[j] = keys[guesses[j]]
        for j in range(size):
            key = wanted[passed[group + j]]
            off = np.float64(np.int64(key - touched[j]))
            low = (max(blocks[j], 1) - 1) << _BLOCK_SHIFT
            guess = guesses[j] + np.int64(off * slopes[j])
            guesses[j] = min(max(guess, low), min(low + _BLOCK, count) - 1)
        for j in range(size):
            touched[j] = keys[guesses[j]]
        for j in range(size):
            row = passed[group + j]
            key = wanted[row]
            place = np.int64(-1)
            if blocks[j] == 0:
                place = np.int64(0) if key == fences[0] else np.int64(-1)
            elif blocks[j] > 0:
                low = (blocks[j] - 1) << _BLOCK_SHIFT
                high = min(low + _BLOCK, count)
                place = _lower_bound(keys, low, high, guesses[j], key)
                # Beyond the block stands what its fence says; it is not checked yet.
                if (fences[blocks[j]] if place == high else keys[place]) != key:
                    place = np.int64(-1)
            places[group + j] = place
        for j in range(size):
            touched[j] = columns.units[max(places[group + j], 0)]
        for j in range(size):
            row = passed[group + j]
            place = places[group + j]
            found = np.int64(0)
            if place >= 0:
                limit = most[min(row, len(most) - 1)]
                found = _count_found(columns, place, limit, firsts, stops)
                if found < 0:
                    return -2 - found
            counts[group + j] = found
    return np.int64(-1)


@kernel
def _fill_found(columns, firsts, stops, rows, places, counts, heads, found):
    for i in range(len(places)):
        if counts[i] == 0:
            continue
        at = heads[rows[i]]
        end = at + counts[i]
        k = places[i]
        while at < end:
            unit = columns.base + np.int64(columns.units[k])
            if _is_live(unit, firsts, stops):
                found[at] = unit
                at += 1
            k += 1
        heads[rows[i]] = end


@kernel
def _find_measures(measures, units, is_found, found):
    """Write the measures of units that have one here; return the damaged block or -1."""
    rows, fences = measures.rows, measures.fences
    block_count = np.int64(len(measures.sums))
    if block_count == 0:
        return np.int64(-1)
    for i in range(len(units)):
        unit = np.uint64(units[i])
        if is_found[i] or unit < fences[0] or unit > fences[block_count]:
            continue
        # The last block that begins at or before the unit.
        low = np.int64(0)
        high = block_count
        while high - low > 1:
            middle = (low + high) >> 1
            if fences[middle] <= unit:
                low = middle
            else:
                high = middle
        if not measures.checked[low]:
            if not _is_whole(measures.words, measures.sums, low, _MEASURE_BLOCK * MEASURE_WORDS):
                return low
            measures.checked[low] = 1
        first = low << _MEASURE_SHIFT
        last = min(first + _MEASURE_BLOCK, np.int64(len(rows)))
        # Mostly they are all there, one behind the other.
        place = min(first + np.int64(unit - rows[first, 0]), last - 1)
        if rows[place, 0] != unit:
            last = place
            while first < last:
                middle = (first + last) >> 1
                if rows[middle, 0] < unit:
                    first = middle + 1
                else:
                    last = middle
            place = first
            if rows[place, 0] != unit:
                continue
        is_found[i] = True
        for word in range(MEASURE_WORDS):
            found[i, word] = rows[place, word]
    return np.int64(-1)


@kernel
def _add_counts(rows, counts, totals):
    for i in range(len(rows)):
        totals[rows[i]] += counts[i]


@kernel
def _begin_rows(totals, heads):
    """Turn counts into the places where rows begin; return how many there are in all."""
    count = np.int64(0)
    for i in range(len(totals)):
        heads[i] = count
        count += totals[i]
    return count


@kernel
def _keep_first(totals, gathered, most, offsets):
    """Keep the least units of each key, in place."""
    begin = np.int64(0)
    kept = np.int64(0)
    offsets[0] = 0
    for i in range(len(totals)):
        if totals[i]:
            end = begin + totals[i]
            for k in range(begin + 1, end):
                if gathered[k - 1] > gathered[k]:
                    # Of several sources.
                    gathered[begin:end] = np.sort(gathered[begin:end])
                    break
            for k in range(begin, min(end, begin + most[min(i, len(most) - 1)])):
                gathered[kept] = gathered[k]
                kept += 1
            begin = end
        offsets[i + 1] = kept


@kernel
def _is_sorted(keys, units):
    for i in range(1, len(keys)):
        if keys[i - 1] > keys[i] or (keys[i - 1] == keys[i] and units[i - 1] > units[i]):
            return False
    return True


@kernel
def _take_sorted(order, keys, units, sorted_keys, sorted_units):
    """Take postings in the order of their keys, and sort the units of each key."""
    for i in range(len(order)):
        sorted_keys[i] = keys[order[i]]
        sorted_units[i] = units[order[i]]
    first = 0
    while first < len(order):
        rises = True
        last = first + 1
        while last < len(order) and sorted_keys[last] == sorted_keys[first]:
            rises &= sorted_units[last - 1] <= sorted_units[last]
            last += 1
        if not rises:
            some = sorted_units[first:last].copy()
            sorted_units[first:last] = some[np.argsort(some, kind="mergesort")]
        first = last


@kernel
def _merge_two(left_keys, left_units, right_keys, right_units, keys, units):
    i = np.int64(0)
    j = np.int64(0)
    at = np.int64(0)
    while i < len(left_keys) and j < len(right_keys):
        left = left_keys[i]
        right = right_keys[j]
        # Without a branch, which would be foreseen in half of all cases.
        takes_right = (right < left) | ((right == left) & (right_units[j] < left_units[i]))
        keys[at] = right if takes_right else left
        units[at] = right_units[j] if takes_right else left_units[i]
        j += np.int64(takes_right)
        i += np.int64(not takes_right)
        at += 1
    while i < len(left_keys):
        keys[at] = left_keys[i]
        units[at] = left_units[i]
        i += 1
        at += 1
    while j < len(right_keys):
        keys[at] = right_keys[j]
        units[at] = right_units[j]
        j += 1
        at += 1


@kernel
def _merge_runs(keys, units, begins, ends, one_keys, one_units, two_keys, two_units):
    """Merge sorted runs, two by two; tell whether the result stands in the second room."""
    bounds = np.zeros(len(begins) + 1, np.int64)
    run_count = np.int64(0)
    for run in range(0, len(begins), 2):
        other = min(run + 1, len(begins) - 1)
        # The last of an odd number is merged with nothing.
        begin = begins[other] if other > run else ends[other]
        first = bounds[run_count]
        last = first + ends[run] - begins[run] + ends[other] - begin
        _merge_two(
            keys[begins[run] : ends[run]],
            units[begins[run] : ends[run]],
            keys[begin : ends[other]],
            units[begin : ends[other]],
            one_keys[first:last],
            one_units[first:last],
        )
        run_count += 1
        bounds[run_count] = last
    is_second = False
    while run_count > 1:
        from_keys, into_keys = (two_keys, one_keys) if is_second else (one_keys, two_keys)
        from_units, into_units = (two_units, one_units) if is_second else (one_units, two_units)
        merged_count = np.int64(0)
        for run in range(0, run_count, 2):
            first = bounds[run]
            middle = bounds[run + 1]
            last = bounds[min(run + 2, run_count)]
            _merge_two(
                from_keys[first:middle],
                from_units[first:middle],
                from_keys[middle:last],
                from_units[middle:last],
                into_keys[first:last],
                into_units[first:last],
            )
            merged_count += 1
            bounds[merged_count] = last
        run_count = merged_count
        is_second = not is_second
    return is_second


@kernel
def _fill_jumps(firsts, least, shift, jumps):
    row = np.int64(0)
    for i in range(len(jumps)):
        # The least unit of the place behind the last may be too much for int64.
        reach = np.uint64(i) << np.uint64(shift)
        while row < len(firsts) and (
            firsts[row] <= least or np.uint64(firsts[row] - least) <= reach
        ):
            row += 1
        jumps[i] = row


@kernel
def _is_live_near(unit, live):
    """Do as `_is_live`, among the few ranges that begin near the unit."""
    near = (unit - live.least) >> live.shift
    low = np.int64(live.jumps[near])
    high = np.int64(live.jumps[near + 1])
    while low < high:
        middle = (low + high) >> 1
        if live.firsts[middle] <= unit:
            low = middle + 1
        else:
            high = middle
    return low > 0 and unit < live.stops[low - 1]


@kernel
def _scan_live(units, base, count, live, found):
    """Add live units to the count, the least and the most that were found so far."""
    live_count, least, most = found[0], found[1], found[2]
    for i in range(count):
        unit = base + np.int64(units[i])
        if _is_live_near(unit, live):
            live_count += 1
            least = min(least, unit)
            most = max(most, unit)
    found[0], found[1], found[2] = live_count, least, most


@kernel
def _take_live(keys, units, count, base, are_live, live, into_keys, into_units, begin, end):
    """Move what is left of a room to its front, and add live postings; return where they end."""
    for i in range(begin, end):
        into_keys[i - begin] = into_keys[i]
        into_units[i - begin] = into_units[i]
    at = end - begin
    if are_live:
        for i in range(count):
            into_keys[at + i] = keys[i]
            into_units[at + i] = base + np.int64(units[i])
        return at + count
    for i in range(count):
        unit = base + np.int64(units[i])
        # Written always and counted sometimes.
        into_keys[at] = keys[i]
        into_units[at] = unit
        at += np.int64(_is_live_near(unit, live))
    return at


@kernel
def _find_end(keys, units, begin, end, key, unit):
    """Return where sorted postings are above one."""
    low = begin
    high = end
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key or (keys[middle] == key and units[middle] <= unit):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _pack(keys, units, first, base, into_keys, into_units, at, count):
    for i in range(count):
        into_keys[at + i] = keys[first + i]
        into_units[at + i] = units[first + i] - base


@kernel
def _seal(keys, unit_words, count, unit_block_words, fences, key_sums, unit_sums):
    """Compute fences and checksums of packed blocks."""
    for block in range(len(key_sums)):
        first = block << _BLOCK_SHIFT
        fences[block] = keys[first]
        fences[block + 1] = keys[min(first + _BLOCK, count) - 1]
        key_sums[block] = checksum_words(keys[first : min(first + _BLOCK, len(keys))])
        at = block * unit_block_words
        unit_sums[block] = checksum_words(
            unit_words[at : min(at + unit_block_words, len(unit_words))]
        )


@dataclass(frozen=True)
class _Layout:
    """Where the sections of a file stand, in bytes from its start.

    Attributes
    ----------
    count, width
        Postings, and bytes of a unit.
    measure_count
        Measures.
    """

    count: int
    width: int
    measure_count: int = 0

    @property
    def block_count(self) -> int:
        return -(-self.count // _BLOCK)

    @property
    def filter_count(self) -> int:
        return -(-self.count * _FILTER_BITS // 64)

    @property
    def filter_blocks(self) -> int:
        return -(-self.filter_count // _FILTER_BLOCK)

    @property
    def keys_at(self) -> int:
        return _PAGE_BYTES + _padded(8 * (3 * self.block_count + 1 + self.filter_blocks))

    @property
    def units_at(self) -> int:
        return self.keys_at + _padded(8 * self.count)

    @property
    def filter_at(self) -> int:
        return self.units_at + _padded(self.width * self.count)

    @property
    def measures_at(self) -> int:
        return self.filter_at + _padded(8 * self.filter_count)

    @property
    def measure_blocks(self) -> int:
        return -(-self.measure_count // _MEASURE_BLOCK)

    @property
    def measure_table_at(self) -> int:
        return self.measures_at + _padded(_MEASURE_BYTES * self.measure_count)

    @property
    def byte_count(self) -> int:
        return self.measure_table_at + _padded(8 * (2 * self.measure_blocks + 1))

    @property
    def unit_type(self) -> str:
        return "<u4" if self.width == 4 else "<i8"

    def describe_part(self, part: int) -> str:
        """Name a block of keys, units or the filter, by the number that kernels give it."""
        block, kind = divmod(part, 3)
        places = (
            ("keys", self.keys_at, self.units_at, 8 * _BLOCK),
            ("units", self.units_at, self.filter_at, self.width * _BLOCK),
            ("filter", self.filter_at, self.measures_at, 8 * _FILTER_BLOCK),
        )
        return _describe_block(block, *places[kind])

    def describe_measures(self, block: int) -> str:
        """Name a block of measures."""
        size = _MEASURE_BYTES * _MEASURE_BLOCK
        return _describe_block(block, "measures", self.measures_at, self.measure_table_at, size)


def _describe_block(block: int, section: str, at: int, stop: int, size: int) -> str:
    start = at + block * size
    return f"damaged: block {block} of the {section}, bytes {start} to {min(start + size, stop)}"


@dataclass(frozen=True)
class _Postings:
    """Sorted postings that can be searched.

    Attributes
    ----------
    source
        Path of the file.
    layout
        Of the file.
    """

    columns: _Columns
    measures: _Measures
    source: str
    layout: _Layout

    @classmethod
    def from_sorted(cls, keys: Keys, units: Positions, measures: Keys) -> Self:
        """Take sorted columns in memory, where nothing has to be checked."""
        layout = _Layout(len(keys), 8)
        checked = np.ones(layout.block_count, np.uint8)
        sums = _frozen(np.zeros(layout.block_count, np.uint64))
        fences = _frozen(np.concatenate([keys[::_BLOCK], keys[-1:]]))
        keys, units = _frozen(keys), _frozen(units)
        filter_count = layout.filter_count if len(keys) >= _FILTERED else 0
        words = np.zeros(filter_count, np.uint64)
        if filter_count:
            _fill_filter(keys, filter_count, 0, words)
        filtered = (
            _frozen(words),
            filter_count,
            _frozen(np.zeros(layout.filter_blocks, np.uint64)),
            np.ones(layout.filter_blocks, np.uint8),
        )
        columns = _Columns(
            keys, units, keys, len(keys), 0, fences, sums, sums, checked, checked, *filtered
        )
        return cls(columns, _Measures.from_sorted(measures), "memory", layout)

    def reaches(self, unit: int) -> bool:
        """Say whether postings of a unit, or of later ones, may be here."""
        fences = self.measures.fences
        return len(fences) == 0 or int(fences[-1]) >= unit

    def measure(self, units: Positions, is_found: NDArray[np.bool_], found: Keys) -> None:
        """Write the measures of units that have one here and none yet."""
        damaged = _find_measures(self.measures, units, is_found, found)
        if damaged >= 0:
            raise InputError(self.source, self.layout.describe_measures(damaged))

    def find(
        self, keys: Keys, most: Positions, firsts: Positions, stops: Positions
    ) -> tuple[NDArray[np.int32], Positions, Positions]:
        """Return keys that may be here, the place of each, and how many live units it gives."""
        passed = np.empty(len(keys) + 1, np.int32)
        count = _pass_filter(self.columns, keys, passed)
        if count < 0:
            raise self.damage(-2 - count)
        rows = passed[:count]
        places, counts = np.empty(count, np.int64), np.empty(count, np.int64)
        damaged = _find_places(self.columns, keys, rows, most, firsts, stops, places, counts)
        if damaged >= 0:
            raise self.damage(damaged)
        return rows, places, counts

    def damage(self, part: int) -> InputError:
        return InputError(self.source, self.layout.describe_part(part))


class Segment:
    """A file of postings, mapped into memory.

    What a search touches is read, and checked when it is touched for the first
    time. Any number of threads may search at once.

    Attributes
    ----------
    path
        Of the file.
    count
        Postings in it.
    byte_count
        Length of the file.
    least_unit, most_unit
        Of its units; 0 and -1 when there is none.
    """

    def __init__(
        self,
        path: str,
        postings: _Postings,
        least_unit: int,
        most_unit: int,
        mapped: mmap.mmap,
    ) -> None:
        self.path = path
        self.count = postings.layout.count
        self.byte_count = len(mapped)
        self.least_unit = least_unit
        self.most_unit = most_unit
        self._postings: _Postings | None = postings
        self._mapped: mmap.mmap | None = mapped

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a segment's file.

        Raises
        ------
        InputError
            When it cannot be read, is no segment, is one of another format
            version, or its header or table of blocks is damaged or cut short.

        Notes
        -----
        Reads the header and the table of blocks: 6 bytes of each thousand
        postings.
        """
        name = os.fspath(path)
        try:
            with Path(name).open("rb") as file:
                # Not np.memmap, which maps a file for each array, and slices of
                # which take five times as long as those of a plain array.
                size = os.fstat(file.fileno()).st_size
                mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else None
        except OSError as error:
            raise InputError(name, describe(error)) from error
        if mapped is None or size < _PAGE_BYTES:
            start = mapped[:] if mapped else b""
            if start[: len(_MAGIC)] != _MAGIC[: len(start)]:
                raise InputError(name, "is no segment of an index")
            raise InputError(name, f"cut short: {size} bytes, and a header has {_PAGE_BYTES}")
        layout, least, most, *checksums = _read_header(name, mapped[:_PAGE_BYTES], size)
        tables: list[Keys] = []
        for at, stop, checksum in (
            (_PAGE_BYTES, layout.keys_at, checksums[0]),
            (layout.measure_table_at, layout.byte_count, checksums[1]),
        ):
            tables.append(_map_column(mapped, "<u8", at, stop))
            if xxhash.xxh64_intdigest(tables[-1].data) != checksum:
                raise InputError(name, f"damaged: table of blocks, bytes {at} to {stop}")
        table, measure_table = tables
        block_count = layout.block_count
        bounds = np.cumsum([block_count + 1, block_count, block_count, layout.filter_blocks])
        fences, key_sums, unit_sums, filter_sums, _ = np.split(table, bounds)
        # Byte orders are named: a machine with another one refuses the types.
        columns = _Columns(
            _map_column(mapped, "<u8", layout.keys_at, layout.units_at),
            _map_column(mapped, layout.unit_type, layout.units_at, layout.filter_at),
            _map_column(mapped, "<u8", layout.units_at, layout.filter_at),
            layout.count,
            least,
            fences,
            key_sums,
            unit_sums,
            np.zeros(block_count, np.uint8),
            np.zeros(block_count, np.uint8),
            _map_column(mapped, "<u8", layout.filter_at, layout.measures_at),
            layout.filter_count,
            filter_sums,
            np.zeros(layout.filter_blocks, np.uint8),
        )
        words = _map_column(mapped, "<u8", layout.measures_at, layout.measure_table_at)
        count, block_count = layout.measure_count, layout.measure_blocks
        fences, sums = np.split(measure_table[: 2 * block_count + 1], [block_count + 1])
        measures = _Measures(
            words[: MEASURE_WORDS * count].reshape(count, MEASURE_WORDS),
            words,
            fences,
            sums,
            np.zeros(block_count, np.uint8),
        )
        postings = _Postings(columns, measures, name, layout)
        return cls(name, postings, least, most, mapped)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, as soon as no search needs it any more."""
        # Closing a map that arrays stand in is an error; it goes with the last.
        self._postings = None
        self._mapped = None

    @property
    def postings(self) -> _Postings:
        """The columns, while the segment is open."""
        if self._postings is None:
            raise ValueError(f"{self.path}: the segment is closed")
        return self._postings

    def verify(self, should_stop: Callable[[], bool] | None = None) -> None:
        """Read the whole file and compare all checksums.

        Raises
        ------
        InputError
            Names the first block that is damaged.
        """
        postings = self.postings
        columns, layout = postings.columns, postings.layout
        for first in range(0, layout.block_count, _VERIFIED_TOGETHER):
            if should_stop is not None and should_stop():
                return
            last = min(first + _VERIFIED_TOGETHER, layout.block_count)
            for part, (words, sums, checked, size) in enumerate(
                (
                    (columns.keys, columns.key_sums, columns.key_checked, 8),
                    (columns.words, columns.unit_sums, columns.unit_checked, layout.width),
                )
            ):
                block = _find_damaged(words, sums, checked, _BLOCK * size // 8, first, last)
                if block >= 0:
                    raise postings.damage(3 * block + part)
        filtered = (columns.filter, columns.filter_sums, columns.filter_checked, _FILTER_BLOCK)
        for first in range(0, layout.filter_blocks, _VERIFIED_TOGETHER):
            if should_stop is not None and should_stop():
                return
            last = min(first + _VERIFIED_TOGETHER, layout.filter_blocks)
            block = _find_damaged(*filtered, first, last)
            if block >= 0:
                raise postings.damage(3 * block + 2)
        words, _, sums, checked = postings.measures[1:]
        for first in range(0, layout.measure_blocks, _VERIFIED_TOGETHER):
            if should_stop is not None and should_stop():
                return
            last = min(first + _VERIFIED_TOGETHER, layout.measure_blocks)
            size = _MEASURE_BLOCK * MEASURE_WORDS
            block = _find_damaged(words, sums, checked, size, first, last)
            if block >= 0:
                raise InputError(self.path, layout.describe_measures(block))

    def find(
        self, keys: Keys, most: int | Positions, firsts: Positions, stops: Positions
    ) -> tuple[Positions, Positions]:
        """Return the first live units of keys; see `find_in_all`."""
        return find_in_all([self], keys, most, firsts, stops)


class Recent:
    """Postings of recent batches, in memory.

    One thread adds at a time; any number search meanwhile, and find what had
    been added when they began.

    Notes
    -----
    A few sorted runs, each longer than the next or as long as runs become: a
    posting is merged log2 of batches a run times, for 5 ns and the memory.
    """

    def __init__(self) -> None:
        self._runs: tuple[_Postings, ...] = ()

    @property
    def count(self) -> int:
        """Postings that were added."""
        return sum(run.layout.count for run in self._runs)

    @property
    def byte_count(self) -> int:
        """Memory that they take."""
        return 16 * self.count + sum(run.measures.rows.nbytes for run in self._runs)

    @property
    def postings(self) -> tuple[_Postings, ...]:
        """The sorted runs, the oldest first."""
        return self._runs

    def add(self, keys: Keys, units: Positions, measures: Keys | None = None) -> None:
        """Add postings in any order.

        Parameters
        ----------
        keys, units
            uint64[n] and int64[n], from 0; fewer than 2**31.
        measures
            uint64[m, MEASURE_WORDS]
        """
        if len(keys) == 0:
            return
        run = sort_postings(keys, units)
        measured = [_no_measures() if measures is None else measures]
        runs = list(self._runs)
        while runs and runs[-1].layout.count <= len(run[0]):
            if runs[-1].layout.count + len(run[0]) > _LONGEST_RUN:
                break
            measured.append(runs[-1].measures.rows)
            run = _merge_columns(runs.pop().columns, run)
        if run[0] is keys:
            run = keys.copy(), units.copy()
        self._runs = (*runs, _Postings.from_sorted(*run, _sort_measures(measured)))

    def columns(self) -> tuple[Keys, Positions, Keys]:
        """Return all keys and units, sorted, and all measures."""
        runs = self._runs
        merged: tuple[Keys, Positions] = (np.empty(0, np.uint64), np.empty(0, np.int64))
        for run in reversed(runs):
            merged = _merge_columns(run.columns, merged)
        return *merged, _sort_measures([run.measures.rows for run in runs])

    def find(
        self, keys: Keys, most: int | Positions, firsts: Positions, stops: Positions
    ) -> tuple[Positions, Positions]:
        """Return the first live units of keys; see `find_in_all`."""
        return find_in_all([self], keys, most, firsts, stops)


@dataclass(frozen=True)
class Snapshot:
    """What some sources had at one moment; they may be closed and added to meanwhile."""

    postings: tuple[_Postings, ...]

    @classmethod
    def of(cls, sources: Iterable["Segment | Recent"]) -> Self:
        """Take it of some sources."""
        held = [source.postings for source in sources]
        parts = [(one,) if isinstance(one, _Postings) else one for one in held]
        return cls(tuple(one for part in parts for one in part))

    def since(self, unit: int) -> "Snapshot":
        """Return the part of it in which postings of a unit, or of later ones, may be."""
        return Snapshot(tuple(one for one in self.postings if one.reaches(unit)))


def find_in_all(
    sources: Sequence[Segment | Recent | Snapshot],
    keys: Keys,
    most: int | Positions,
    firsts: Positions,
    stops: Positions,
    threads: int = 1,
) -> tuple[Positions, Positions]:
    """Return the first live units that stand under each key, over all sources.

    Parameters
    ----------
    keys
        uint64[n], sorted. In any other order the result is right but slow.
    most
        Units that are wanted of a key: one number, or int64[n].
    firsts, stops
        int64[m], rising: a unit is live in one of the half-open, disjoint
        ranges.

    Returns
    -------
    offsets
        int64[n + 1]
    units
        int64[offsets[-1]], those of key `i` are
        ``units[offsets[i]:offsets[i + 1]]``, rising.

    Raises
    ------
    InputError
        When a block that was touched is damaged: its file, place and bytes.
    """
    searched = _list_postings(sources)
    keys = _frozen(np.ascontiguousarray(keys, np.uint64))
    firsts = _frozen(np.ascontiguousarray(firsts, np.int64))
    stops = _frozen(np.ascontiguousarray(stops, np.int64))
    limits = _frozen(np.ascontiguousarray(most, np.int64).reshape(-1))
    count = len(keys)
    if not searched:
        return np.zeros(count + 1, np.int64), np.empty(0, np.int64)

    def find(first: int, last: int) -> tuple[Positions, Positions]:
        some = keys[first:last]
        limit = limits[first:last] if len(limits) == count else limits
        parts = [one.find(some, limit, firsts, stops) for one in searched]
        totals = np.zeros(last - first, np.int64)
        for rows, _, counts in parts:
            _add_counts(rows, counts, totals)
        heads = np.empty(last - first, np.int64)
        gathered = np.empty(_begin_rows(totals, heads), np.int64)
        for one, (rows, places, counts) in zip(searched, parts, strict=True):
            _fill_found(one.columns, firsts, stops, rows, places, counts, heads, gathered)
        offsets = np.empty(last - first + 1, np.int64)
        _keep_first(totals, gathered, limit, offsets)
        return offsets, gathered[: int(offsets[-1])]

    if threads == 1 or count < _MANY_KEYS:
        return find(0, count)
    bounds = np.linspace(0, count, _SLICES * threads + 1).astype(np.int64)
    parts = list(map_slices(find, bounds, threads))
    offsets = np.zeros(count + 1, np.int64)
    for (first, last), (part, _) in zip(pairwise(bounds.tolist()), parts, strict=True):
        offsets[first + 1 : last + 1] = part[1:] + offsets[first]
    return offsets, np.concatenate([units for _, units in parts])


def measure_in_all(sources: Sequence[Segment | Recent | Snapshot], units: Positions) -> Keys:
    """Return the measures of units, over all sources.

    Parameters
    ----------
    units
        int64[n], rising. In any other order the result is right but slow.

    Returns
    -------
    uint64[n, MEASURE_WORDS]

    Raises
    ------
    InputError
        When a block that was touched is damaged, its file, place and bytes; or when a
        unit has no measure.
    """
    is_found, found = (
        np.zeros(len(units), np.bool_),
        np.empty((len(units), MEASURE_WORDS), np.uint64),
    )
    units = _frozen(np.ascontiguousarray(units, np.int64))
    searched = _list_postings(sources)
    for source in searched:
        source.measure(units, is_found, found)
    if not is_found.all():
        names = sorted({source.source for source in searched})
        missing = int(units[np.flatnonzero(~is_found)[0]])
        raise InputError(", ".join(names), f"damaged: unit {missing} has no measure")
    return found


def _list_postings(sources: Iterable[Segment | Recent | Snapshot]) -> list[_Postings]:
    found: list[_Postings] = []
    for source in sources:
        held = source.postings
        found += [held] if isinstance(held, _Postings) else held
    return found


def sort_postings(keys: Keys, units: Positions) -> tuple[Keys, Positions]:
    """Return postings by key and unit; those given, if they are so already.

    Parameters
    ----------
    keys, units
        uint64[n] and int64[n], fewer than 2**31.
    """
    keys = np.ascontiguousarray(keys, np.uint64)
    units = np.ascontiguousarray(units, np.int64)
    if _is_sorted(_frozen(keys), _frozen(units)):
        return keys, units
    sorted_keys, sorted_units = np.empty_like(keys), np.empty_like(units)
    order = order_hashes(keys)
    _take_sorted(order, _frozen(keys), _frozen(units), sorted_keys, sorted_units)
    return sorted_keys, sorted_units


def write_segment(
    path: str | os.PathLike[str], keys: Keys, units: Positions, measures: Keys | None = None
) -> None:
    """Write postings, in any order, into a new file: whole or not at all, and to the disk.

    Parameters
    ----------
    keys, units
        uint64[n] and int64[n], from 0; fewer than 2**31.
    measures
        uint64[m, MEASURE_WORDS], in any order.

    Raises
    ------
    OutputError
        When it cannot be written; nothing is left of it then.
    """
    keys, units = sort_postings(keys, units)
    least, most = (int(units.min()), int(units.max())) if len(units) else (0, -1)
    rows = _no_measures() if measures is None else _sort_measures([measures])
    with _Writer(os.fspath(path), len(keys), least, most, len(rows)) as writer:
        writer.write(keys, units)
        writer.write_measures(rows)
        writer.finish()


def merge_segments(
    segments: Sequence[Segment],
    path: str | os.PathLike[str],
    firsts: Positions,
    stops: Positions,
    should_stop: Callable[[], bool] | None = None,
) -> bool:
    """Write the live postings of segments into one new file, whole or not at all.

    Parameters
    ----------
    firsts, stops
        As of `find_in_all`.
    should_stop
        Is asked every few milliseconds.

    Returns
    -------
    bool
        Whether the file was written; not if it was told to stop.

    Raises
    ------
    InputError
        When a segment is damaged: all that is read is checked.
    OutputError
        When the file cannot be written; nothing is left of it then.

    Notes
    -----
    Holds the postings of some blocks of each segment, however many there are.
    """
    firsts = _frozen(np.ascontiguousarray(firsts, np.int64))
    stops = _frozen(np.ascontiguousarray(stops, np.int64))
    stops_now = should_stop or _never
    room = max(_MERGED_TOGETHER // max(len(segments), 1) // _BLOCK, 2) * _BLOCK
    rooms, one, two = (_Room(room * len(segments)) for _ in range(3))
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(_Reader(segment.path, rooms, at * room, room, firsts, stops))
            for at, segment in enumerate(segments)
        ]
        found = np.array([0, np.iinfo(np.int64).max, -1], np.int64)
        for reader in readers:
            for _ in reader.scan(found):
                if stops_now():
                    return False
        count, least, most = found.tolist() if found[0] else (0, 0, -1)
        most_measures = sum(reader.measure_count for reader in readers)
        writer = stack.enter_context(_Writer(os.fspath(path), count, least, most, most_measures))
        left = readers
        while True:
            for reader in left:
                if stops_now():
                    return False
                reader.refill()
            left = [reader for reader in left if reader.begin < reader.end]
            if not left:
                break
            writer.write(*_merge_round(left, rooms, one, two))
        for some in _merge_measures([reader.read_measures() for reader in readers]):
            if stops_now():
                return False
            writer.write_measures(some)
        writer.finish()
    return True


class _Room:
    """Room for postings.

    Attributes
    ----------
    keys, units
        uint64[n] and int64[n]
    """

    def __init__(self, count: int) -> None:
        self.keys: Keys = np.empty(count, np.uint64)
        self.units: Positions = np.empty(count, np.int64)


class _Reader:
    """Reads the live postings of a segment, some blocks at a time, and checks them all.

    Not through the map, which holds all that was passed and ends the process
    where the disk fails. Checked and from memory, reading takes 1.4 ns longer a
    posting.

    Parameters
    ----------
    rooms, start, size
        Where the postings are to stand.

    Attributes
    ----------
    begin, end
        Where live postings stand that were read and not yet taken.
    """

    def __init__(
        self, path: str, rooms: _Room, start: int, size: int, firsts: Positions, stops: Positions
    ) -> None:
        self._segment = Segment.open(path)
        self._postings = self._segment.postings
        self._layout = self._postings.layout
        least, most = self._segment.least_unit, self._segment.most_unit
        row = int(np.searchsorted(firsts, least, "right")) - 1
        self._are_live = row >= 0 and most < int(stops[row])
        # With 30,000 ranges merging took twice as long when each unit was looked for
        # among all of them.
        reach = most - least + 1
        shift = max(reach.bit_length() - min(len(firsts).bit_length() + 1, _JUMP_BITS), 0)
        self._live = _Live(firsts, stops, least, shift, np.empty((reach >> shift) + 2, np.int32))
        _fill_jumps(firsts, least, shift, self._live.jumps)
        self._block = 0
        self._read_keys: Keys = np.empty(size, np.uint64)
        self._read_units = np.empty(size, self._layout.unit_type)
        self._rooms, self._start, self._size = rooms, start, size
        self.begin = self.end = start

    def __enter__(self) -> Self:
        with self._refusing():
            self._descriptor = os.open(self._segment.path, os.O_RDONLY)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        self._segment.close()

    @property
    def measure_count(self) -> int:
        """Measures of the segment."""
        return self._layout.measure_count

    @property
    def is_done(self) -> bool:
        """Whether all postings were read."""
        return self._block == self._layout.block_count

    def scan(self, found: Positions) -> Iterator[None]:
        """Count live postings; see `_scan_live`. Yields every few milliseconds."""
        segment, layout = self._segment, self._layout
        if self._are_live and segment.count:
            found[0] += segment.count
            found[1] = min(int(found[1]), segment.least_unit)
            found[2] = max(int(found[2]), segment.most_unit)
            return
        for first in range(0, layout.count, self._size):
            yield
            some = min(self._size, layout.count - first)
            self._read(self._read_units, some, layout.units_at + layout.width * first)
            _scan_live(self._read_units, self._live.least, some, self._live, found)

    def refill(self) -> None:
        """Read on, unless half of the room is full."""
        columns, layout = self._postings.columns, self._layout
        while not self.is_done and 2 * (self.end - self.begin) <= self._size:
            room = (self._size - self.end + self.begin) // _BLOCK
            first, last = self._block, min(self._block + room, layout.block_count)
            at = first * _BLOCK
            count = min(last * _BLOCK, layout.count) - at
            parts = (
                (self._read_keys, layout.keys_at, columns.key_sums),
                (self._read_units, layout.units_at, columns.unit_sums),
            )
            for part, (values, section, sums) in enumerate(parts):
                size = values.itemsize
                padded = _padded(size * count) // size
                self._read(values, padded, section + size * at)
                damaged = _find_damaged(
                    _frozen(values[:padded].view(np.uint64)),
                    sums[first:last],
                    np.empty(last - first, np.uint8),
                    _BLOCK * size // 8,
                    0,
                    last - first,
                )
                if damaged >= 0:
                    raise self._postings.damage(3 * (first + damaged) + part)
            self.end = self._start + _take_live(
                self._read_keys,
                self._read_units,
                count,
                columns.base,
                self._are_live,
                self._live,
                self._rooms.keys[self._start : self._start + self._size],
                self._rooms.units[self._start : self._start + self._size],
                self.begin - self._start,
                self.end - self._start,
            )
            self.begin, self._block = self._start, last

    def read_measures(self) -> Iterator[Keys]:
        """Yield the measures of live units, in order, some blocks at a time."""
        layout, sums = self._layout, self._postings.measures.sums
        for first in range(0, layout.measure_blocks, _MEASURES_READ):
            last = min(first + _MEASURES_READ, layout.measure_blocks)
            start = layout.measures_at + first * _MEASURE_BLOCK * _MEASURE_BYTES
            stop = layout.measures_at + last * _MEASURE_BLOCK * _MEASURE_BYTES
            words = np.empty((min(stop, layout.measure_table_at) - start) // 8, np.uint64)
            self._read(words, len(words), start)
            block = _find_damaged(
                _frozen(words),
                sums[first:last],
                np.empty(last - first, np.uint8),
                _MEASURE_BLOCK * MEASURE_WORDS,
                0,
                last - first,
            )
            if block >= 0:
                raise InputError(self._segment.path, layout.describe_measures(first + int(block)))
            count = min(last * _MEASURE_BLOCK, layout.measure_count) - first * _MEASURE_BLOCK
            rows = words[: count * MEASURE_WORDS].reshape(count, MEASURE_WORDS)
            if not self._are_live:
                units = rows[:, 0].astype(np.int64)
                at = np.searchsorted(self._live.firsts, units, "right") - 1
                rows = rows[(at >= 0) & (units < np.append(self._live.stops, 0)[at])]
            if len(rows):
                yield rows

    def last(self) -> tuple[int, int]:
        """Return the last posting in the room."""
        return int(self._rooms.keys[self.end - 1]), int(self._rooms.units[self.end - 1])

    def _read(self, values: NDArray[Any], count: int, at: int) -> None:
        rest = values[:count].data.cast("B")
        with self._refusing():
            while len(rest):
                size = os.preadv(self._descriptor, [rest], at)
                if size == 0:
                    raise InputError(self._segment.path, f"cut short: nothing at byte {at}")
                rest = rest[size:]
                at += size

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(self._segment.path, describe(error)) from error


def _merge_round(
    readers: list[_Reader], rooms: _Room, one: _Room, two: _Room
) -> tuple[Keys, Positions]:
    """Take from readers all postings before which none can come, merged."""
    begins = np.array([reader.begin for reader in readers])
    ends = np.array([reader.end for reader in readers])
    lasts = [reader.last() for reader in readers if not reader.is_done]
    if lasts:
        key, unit = min(lasts)
        for i, reader in enumerate(readers):
            ends[i] = _find_end(
                rooms.keys, rooms.units, reader.begin, reader.end, np.uint64(key), unit
            )
    is_second = _merge_runs(
        rooms.keys, rooms.units, begins, ends, one.keys, one.units, two.keys, two.units
    )
    for reader, end in zip(readers, ends.tolist(), strict=True):
        reader.begin = end
    merged, total = two if is_second else one, int((ends - begins).sum())
    return merged.keys[:total], merged.units[:total]


def _merge_measures(parts: list[Iterator[Keys]]) -> Iterator[Keys]:
    """Merge measures by the number of their unit."""
    held = [(rows, part) for part in parts if (rows := next(part, None)) is not None]
    while held:
        # What comes later in any part is above the least of the last ones.
        bound = min(rows[-1, 0] for rows, _ in held)
        taken, left = [], []
        for rows, part in held:
            at = int(np.searchsorted(rows[:, 0], bound, "right"))
            taken.append(rows[:at])
            rest = rows[at:] if at < len(rows) else next(part, None)
            if rest is not None:
                left.append((rest, part))
        yield _sort_measures(taken)
        held = left


class _Writer:
    """Writes sorted postings into a file that appears when it is whole.

    Parameters
    ----------
    count, least, most
        Postings that will be written, and the range of their units.
    most_measures
        Room that is kept for measures.
    """

    def __init__(self, path: str, count: int, least: int, most: int, most_measures: int) -> None:
        self._target = Path(path)
        width = 4 if most - least < 1 << 32 else 8
        self._layout = _Layout(count, width, most_measures)
        self._measures: Keys = np.empty((_MEASURES_READ * _MEASURE_BLOCK, MEASURE_WORDS), np.uint64)
        self._measures_held = self._measures_done = self._last_measured = 0
        self._measure_fences: list[int] = []
        self._measure_sums: list[int] = []
        self._least, self._most = least, most
        self._temporary = self._target.with_name(f".dedup-{secrets.token_hex(4)}")
        self._descriptor = -1
        self._keys = np.empty(_PACKED_TOGETHER, np.uint64)
        self._units = np.empty(_PACKED_TOGETHER, self._layout.unit_type)
        self._held = 0
        self._done = 0
        self._unsynced = 0
        block_count = self._layout.block_count
        self._table = np.zeros((self._layout.keys_at - _PAGE_BYTES) // 8, np.uint64)
        bounds = np.cumsum([block_count + 1, block_count, block_count, self._layout.filter_blocks])
        parts = np.split(self._table, bounds)
        self._fences, self._key_sums, self._unit_sums, self._filter_sums, _ = parts
        # Words of the filter from a block on, of which some are written.
        self._filter: Keys = np.zeros(0, np.uint64)
        self._filter_done = 0

    def __enter__(self) -> Self:
        with self._refusing():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(self._temporary, flags, 0o666)
            try:
                # What does not fit is refused before an hour of merging.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(self._descriptor, 0, self._layout.byte_count)
            except BaseException:
                self._forget()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._forget()

    def write(self, keys: Keys, units: Positions) -> None:
        """Write postings that come behind those that were written."""
        keys, units = _frozen(keys), _frozen(units)
        first = 0
        while first < len(keys):
            count = min(len(keys) - first, len(self._keys) - self._held)
            _pack(keys, units, first, self._least, self._keys, self._units, self._held, count)
            self._held += count
            first += count
            if self._held == len(self._keys):
                self._flush()

    def write_measures(self, rows: Keys) -> None:
        """Write measures of units that come behind those that were written."""
        first = 0
        while first < len(rows):
            held = self._measures_held
            count = min(len(rows) - first, len(self._measures) - held)
            self._measures[held : held + count] = rows[first : first + count]
            self._measures_held += count
            first += count
            if self._measures_held == len(self._measures):
                self._flush_measures()

    def finish(self) -> None:
        """Write what is held, the tables and the header, and give the file its name."""
        self._flush()
        self._put_filter(self._layout.filter_count)
        self._flush_measures()
        if self._done != self._layout.count:
            raise ValueError(f"{self._target}: {self._done} postings, not {self._layout.count}")
        layout = self._layout = replace(self._layout, measure_count=self._measures_done)
        table = self._table.astype("<u8", copy=False).tobytes()
        fences = [*self._measure_fences, self._last_measured]
        measure_table = np.array([*fences, *self._measure_sums], "<u8").tobytes()
        measure_table = measure_table.ljust(layout.byte_count - layout.measure_table_at, b"\0")
        fields = _HEADER.pack(
            _MAGIC,
            _VERSION,
            layout.width,
            layout.count,
            _BLOCK,
            self._least,
            self._most,
            layout.byte_count,
            xxhash.xxh64_intdigest(table),
            layout.measure_count,
            xxhash.xxh64_intdigest(measure_table),
        )
        header = fields.ljust(_PAGE_BYTES - _CHECKSUM.size, b"\0")
        header += _CHECKSUM.pack(xxhash.xxh64_intdigest(header))
        with self._refusing():
            self._put(measure_table, layout.measure_table_at)
            self._put(header + table, 0)
            os.ftruncate(self._descriptor, layout.byte_count)
            os.fsync(self._descriptor)
            self._temporary.replace(self._target)
            sync_folder(self._target.parent)
        os.close(self._descriptor)
        self._descriptor = -1

    def _flush(self) -> None:
        count, self._held = self._held, 0
        if count == 0:
            return
        layout = self._layout
        # Only the last part is not a number of whole blocks; zeros fill its pages.
        key_room = _padded(8 * count) // 8
        unit_room = _padded(layout.width * count) // layout.width
        self._keys[count:key_room] = 0
        self._units[count:unit_room] = 0
        block = self._done // _BLOCK
        last = block + -(-count // _BLOCK)
        _seal(
            self._keys[:key_room],
            self._units[:unit_room].view(np.uint64),
            count,
            layout.width * _BLOCK // 8,
            self._fences[block : last + 1],
            self._key_sums[block:last],
            self._unit_sums[block:last],
        )
        self._filter_keys(_frozen(self._keys[:count]))
        with self._refusing():
            self._put(self._keys[:key_room].data.cast("B"), layout.keys_at + 8 * self._done)
            self._put(
                self._units[:unit_room].data.cast("B"),
                layout.units_at + layout.width * self._done,
            )
        self._done += count

    def _filter_keys(self, keys: Keys) -> None:
        """Put keys into the filter, and write the blocks of it that are behind them."""
        count = self._layout.filter_count
        last = int(_filter_word(keys[-1], count))
        room = last + 1 - self._filter_done
        if room > len(self._filter):
            self._filter = np.append(
                self._filter, np.zeros(_padded(room - len(self._filter)), np.uint64)
            )
        _fill_filter(keys, count, self._filter_done, self._filter)
        self._put_filter(last - last % _FILTER_BLOCK)

    def _put_filter(self, stop: int) -> None:
        """Write the words of the filter up to one."""
        done, count = self._filter_done, stop - self._filter_done
        if count <= 0:
            return
        words = np.zeros(_padded(8 * count) // 8, np.uint64)
        words[: min(count, len(self._filter))] = self._filter[:count]
        for block, first in enumerate(range(0, len(words), _FILTER_BLOCK), done // _FILTER_BLOCK):
            self._filter_sums[block] = checksum_words(_frozen(words[first : first + _FILTER_BLOCK]))
        with self._refusing():
            self._put(
                words.astype("<u8", copy=False).data.cast("B"), self._layout.filter_at + 8 * done
            )
        self._filter, self._filter_done = self._filter[count:], stop

    def _flush_measures(self) -> None:
        count, self._measures_held = self._measures_held, 0
        if count == 0:
            return
        # Only the last part is not a number of whole blocks; zeros fill its pages.
        words = _padded(_MEASURE_BYTES * count) // 8
        flat = np.zeros(words, np.uint64)
        flat[: MEASURE_WORDS * count] = self._measures[:count].reshape(-1)
        size = _MEASURE_BLOCK * MEASURE_WORDS
        for first in range(0, words, size):
            self._measure_sums.append(int(checksum_words(_frozen(flat[first : first + size]))))
        self._measure_fences += self._measures[:count:_MEASURE_BLOCK, 0].tolist()
        self._last_measured = int(self._measures[count - 1, 0])
        at = self._layout.measures_at + _MEASURE_BYTES * self._measures_done
        with self._refusing():
            self._put(flat.astype("<u8", copy=False).data.cast("B"), at)
        self._measures_done += count

    def _put(self, data: bytes | memoryview, at: int) -> None:
        rest = memoryview(data)
        while len(rest):
            written = os.pwrite(self._descriptor, rest, at)
            rest = rest[written:]
            at += written
            self._unsynced += written
        if self._unsynced >= _SYNC_BYTES:
            os.fsync(self._descriptor)
            self._unsynced = 0

    def _forget(self) -> None:
        """Leave nothing, unless the file is finished."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(str(self._target), describe(error)) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_header(name: str, header: bytes, size: int) -> tuple[_Layout, int, int, int, int]:
    """Return what a header says, if it is whole and fits the file."""
    fields = _HEADER.unpack_from(header)
    magic, version, width, count, block, least, most, byte_count, table, *measured = fields
    measure_count, measure_table = measured
    if magic != _MAGIC:
        raise InputError(name, "is no segment of an index")
    covered = _PAGE_BYTES - _CHECKSUM.size
    if xxhash.xxh64_intdigest(header[:covered]) != _CHECKSUM.unpack_from(header, covered)[0]:
        raise InputError(name, f"damaged: header, bytes 0 to {_PAGE_BYTES}")
    if version != _VERSION:
        raise InputError(name, f"has format version {version}, expected {_VERSION}")
    layout = _Layout(count, width, measure_count)
    if block != _BLOCK or width not in (4, 8) or byte_count != layout.byte_count:
        raise InputError(name, f"damaged: header, bytes 0 to {_HEADER.size}")
    if size != byte_count:
        what = "cut short" if size < byte_count else "too long"
        raise InputError(name, f"{what}: {size} bytes, expected {byte_count}")
    return layout, least, most, table, measure_table


def _merge_columns(left: _Columns, right: tuple[Keys, Positions]) -> tuple[Keys, Positions]:
    count = len(left.keys) + len(right[0])
    keys, units = np.empty(count, np.uint64), np.empty(count, np.int64)
    _merge_two(left.keys, left.units, *map(_frozen, right), keys, units)
    return keys, units


def _no_measures() -> Keys:
    return np.empty((0, MEASURE_WORDS), np.uint64)


def _sort_measures(parts: Sequence[Keys]) -> Keys:
    """Join measures in the order of their units."""
    rows = np.concatenate([_no_measures(), *parts])
    units = rows[:, 0]
    if np.all(units[:-1] <= units[1:]):
        return rows
    return rows[np.argsort(units, kind="stable")]


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written, as of a map: kernels then know one type alone."""
    view = array.view()
    view.flags.writeable = False
    return view


def _map_column(mapped: mmap.mmap, kind: str, start: int, stop: int) -> NDArray[Any]:
    """Return what stands between two places of a file, which may be nothing."""
    if start == stop:
        return _frozen(np.empty(0, kind))
    size = np.dtype(kind).itemsize
    return np.frombuffer(mapped, kind, (stop - start) // size, start)


def _padded(size: int) -> int:
    return -(-size // _PAGE_BYTES) * _PAGE_BYTES


def _never() -> bool:
    return False
