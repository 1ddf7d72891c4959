"""Shingles of folded text: their hashes for sketching, their sets for scoring.

A shingle is a run of a few code points of folded text: 5 in scripts with
spaces, 2 in Han, Kana and their like, 3 in Thai, Lao, Khmer, Myanmar and
theirs. Text that mixes scripts is shingled run by run. A space counts only
between two code points of scripts with spaces; a run shorter than its shingle
is one shingle.

The lengths were chosen so that a threshold of 0.7 means the same amount of
editing everywhere. A sentence comes down to 0.7 when this share of its letters
was edited, word by word: 16 % in English with 5 (14 to 19 % in Vietnamese,
Hindi, Russian, Turkish); 14 % in Chinese and 17 % in Japanese with 2; 16 % in
Thai and 18 % in Khmer with 3; 19 % in Korean with 5 jamo, to which Hangul is
folded and in which it is as long as English (1.01). With 3, Chinese would come
down at 9 %; with 1 only at 28 %, and a sentence with its words shuffled would
score 1. Over parallel lines of a manual in nine languages the score of a pair
differs from that of the same pair in Greek, Russian and Turkish by -0.01
(Chinese, 2), +0.04 (Japanese, 2), 0.00 (Khmer, 3) and +0.02 (Korean, 5) in the
median, English itself by +0.01; Chinese with 1 by +0.09, with 3 by -0.10. Verses
of the Chinese Bible, held against English and Spanish, say the same: -0.02
with 2, +0.12 with 1, -0.10 with 3. No more pairs of different lines reach 0.7
than in English: 27 in a million in Chinese, 50 in Japanese, 51 in English.

Were spaces kept between Han, dropping the punctuation inside a Chinese sentence
would leave a score of 0.79, with a border there 0.89; without them it is 0.995
(English 0.98), and a wrapped line or a space beside a Latin word change nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.folding import PADDING_BYTES, folding_table
from dedup.kernels import kernel
from dedup.options import Options
from dedup.scratch import Scratch
from dedup.tables import folding as table

_WRITING_SHIFT, _WRITING_MASK = table.WRITING_SHIFT, table.WRITING_MASK

_PRIME_1 = np.uint32(0x9E3779B1)
_PRIME_2 = np.uint32(0x85EBCA77)
_PRIME_3 = np.uint32(0xC2B2AE3D)
_PRIME_4 = np.uint32(0x27D4EB2F)
_PRIME_5 = np.uint32(0x165667B1)

# What a stretch may gain when it is brought to the borders of words.
_WORDS_ADD = 0.1

# Shingles of a sampled run, how far apart they stand in scripts without spaces (in
# others end to end), and which bits of a hash have to be 0.
_RUN_SHINGLES = 4
_UNSPACED_STEP = 2
_SPACED_MASK, _UNSPACED_MASK = 15, 3
_MIX = np.uint64(0xD6E8FEB86659FD93)

# Small constants as uint32: a plain number would make every sum 64 bits wide.
_1, _2, _3, _4, _8, _11, _12, _13 = (np.uint32(n) for n in (1, 2, 3, 4, 8, 11, 12, 13))
_15, _16, _17, _21, _24, _255 = (np.uint32(n) for n in (15, 16, 17, 21, 24, 255))


@dataclass(frozen=True)
class Shingles:
    """Hashes of the shingles of many units.

    Unit `i` has ``hashes[offsets[i]:offsets[i + 1]]``, in the order of its
    text, repeated shingles repeated.

    Attributes
    ----------
    hashes
        uint32[shingle_count], xxh32 (seed 0) of the UTF-8 of each shingle.
    offsets
        int64[unit_count + 1]
    """

    hashes: NDArray[np.uint32]
    offsets: Positions


@dataclass(frozen=True)
class Sets:
    """The sets of shingles of many units, in so far as it takes no look at the text.

    Attributes
    ----------
    sizes
        int64[unit_count], different shingles.
    maps
        uint64[unit_count, 8], a map of 512 bits in which each shingle has set
        one. A bit that is set in one map and not in the other stands for a
        shingle that only one unit has, which bounds what they can share.
    """

    sizes: Positions
    maps: NDArray[np.uint64]


class Runs(NamedTuple):
    """Runs of shingles, sampled by their content.

    Attributes
    ----------
    keys
        uint64[n], hash of each run; those of one unit in the order of its text.
    places
        uint8[n], where in the folded unit it starts, in parts of 256.
    counts
        int32[unit_count], how many each unit has.
    """

    keys: NDArray[np.uint64]
    places: Bytes
    counts: NDArray[np.int32]

    def take(self, units: Positions) -> "Runs":
        """Return those of some units.

        Parameters
        ----------
        units
            int64[n], in any order.
        """
        counts = self.counts[units]
        ends = np.cumsum(self.counts)
        behind = np.cumsum(counts)
        rows = np.arange(int(counts.sum(dtype=np.int64)))
        rows += np.repeat(ends[units] - behind, counts)
        return Runs(self.keys[rows], self.places[rows], counts)

    def only(self, wanted: Flags) -> "Runs":
        """Return them as if the units that are not wanted had none.

        Parameters
        ----------
        wanted
            bool[unit_count]
        """
        rows = np.repeat(wanted, self.counts)
        return Runs(self.keys[rows], self.places[rows], np.where(wanted, self.counts, np.int32(0)))


# Bytes of a run's key that count: of the first 100 GB of text, one key in 300 is that of
# another run too, and what that leads to is compared.
RUN_BYTES = 5


class PackedRuns(NamedTuple):
    """Runs while the band keys stand in memory beside them.

    Attributes
    ----------
    keys
        uint8[RUN_BYTES * run_count], the highest bytes, the lowest of them first.
    places, counts
        Of `Runs`.
    """

    keys: Bytes
    places: Bytes
    counts: NDArray[np.int32]

    def unpack(self, scratch: Scratch) -> Runs:
        """Return them with whole keys."""
        keys = scratch.full(len(self.places), 0, "<u8")
        keys.view(np.uint8).reshape(-1, 8)[:, -RUN_BYTES:] = self.keys.reshape(-1, RUN_BYTES)
        return Runs(keys, self.places, self.counts)


def shorten_runs(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return keys as they are when they were packed."""
    shortened: NDArray[np.uint64] = keys & ~np.uint64((1 << 8 * (8 - RUN_BYTES)) - 1)
    return shortened


def pack_runs(keys: NDArray[np.uint64]) -> Bytes:
    """Pack keys of runs."""
    packed: Bytes = keys.astype("<u8").view(np.uint8).reshape(-1, 8)[:, -RUN_BYTES:].ravel()
    return packed


@kernel
def _rotated(value, count):
    value = np.uint32(value)
    return np.uint32(value << np.uint32(count)) | np.uint32(value >> np.uint32(32 - count))


@kernel
def _load32(data, at):
    return np.uint32(
        np.uint32(data[at])
        | np.uint32(data[at + 1]) << np.uint32(8)
        | np.uint32(data[at + 2]) << np.uint32(16)
        | np.uint32(data[at + 3]) << np.uint32(24)
    )


@kernel
def _load64(data, at):
    word = np.uint64(data[at])
    for k in range(1, 8):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@kernel
def _avalanched(state):
    state = np.uint32((state ^ (state >> np.uint32(15))) * _PRIME_2)
    state = np.uint32((state ^ (state >> np.uint32(13))) * _PRIME_3)
    return np.uint32(state ^ (state >> np.uint32(16)))


@kernel
def _xxh32_round(lane, word):
    return np.uint32(_rotated(np.uint32(lane + word * _PRIME_2), 13) * _PRIME_1)


@kernel
def _xxh32_word(state, word):
    return np.uint32(_rotated(np.uint32(state + np.uint32(word * _PRIME_3)), 17) * _PRIME_4)


@kernel
def _xxh32_byte(state, byte):
    return np.uint32(_rotated(np.uint32(state + np.uint32(byte * _PRIME_5)), 11) * _PRIME_1)


@kernel
def _gather(words, begins, sizes, count, first, second, third, last):
    for k in range(np.uint64(count)):
        begin = begins[k]
        first[k] = words[begin]
        second[k] = words[begin + _4]
        third[k] = words[begin + _8]
        last[k] = words[begin + np.uint32(sizes[k] & _12)]


@kernel
def _hash_short(sizes, first, second, third, last, count, hashes, at):
    # xxh32 of shingles of up to 15 bytes: every step is made and the ones past
    # the end are thrown away, so that the loop becomes vectors. Lengths change
    # from one shingle to the next (a space is one byte, a letter two or three),
    # and a branch for each cost 11 ns a shingle of Greek, against 3; the words
    # are gathered beforehand, for a look-up in the loop would keep it scalar.
    target = np.uint64(at)
    for k in range(np.uint64(count)):
        size = sizes[k]
        state = np.uint32(_PRIME_5 + size)
        step = np.uint32(state + np.uint32(first[k] * _PRIME_3))
        step = np.uint32(np.uint32(np.uint32(step << _17) | (step >> _15)) * _PRIME_4)
        state = step if size >= _4 else state
        step = np.uint32(state + np.uint32(second[k] * _PRIME_3))
        step = np.uint32(np.uint32(np.uint32(step << _17) | (step >> _15)) * _PRIME_4)
        state = step if size >= _8 else state
        step = np.uint32(state + np.uint32(third[k] * _PRIME_3))
        step = np.uint32(np.uint32(np.uint32(step << _17) | (step >> _15)) * _PRIME_4)
        state = step if size >= _12 else state
        rest = last[k]
        left = size & _3
        step = np.uint32(state + np.uint32((rest & _255) * _PRIME_5))
        step = np.uint32(np.uint32(np.uint32(step << _11) | (step >> _21)) * _PRIME_1)
        state = step if left >= _1 else state
        step = np.uint32(state + np.uint32(((rest >> _8) & _255) * _PRIME_5))
        step = np.uint32(np.uint32(np.uint32(step << _11) | (step >> _21)) * _PRIME_1)
        state = step if left >= _2 else state
        step = np.uint32(state + np.uint32(((rest >> _16) & _255) * _PRIME_5))
        step = np.uint32(np.uint32(np.uint32(step << _11) | (step >> _21)) * _PRIME_1)
        state = step if left >= _3 else state
        state = np.uint32((state ^ (state >> _15)) * _PRIME_2)
        state = np.uint32((state ^ (state >> _13)) * _PRIME_3)
        hashes[target + k] = np.uint32(state ^ (state >> _16))


@kernel
def _xxh32(data, start, stop):
    length = stop - start
    i = start
    if length >= 16:
        lane_1 = np.uint32(_PRIME_1 + _PRIME_2)
        lane_2 = _PRIME_2
        lane_3 = np.uint32(0)
        lane_4 = np.uint32(np.uint32(0) - _PRIME_1)
        while i + 16 <= stop:
            lane_1 = _xxh32_round(lane_1, _load32(data, i))
            lane_2 = _xxh32_round(lane_2, _load32(data, i + 4))
            lane_3 = _xxh32_round(lane_3, _load32(data, i + 8))
            lane_4 = _xxh32_round(lane_4, _load32(data, i + 12))
            i += 16
        state = np.uint32(
            _rotated(lane_1, 1) + _rotated(lane_2, 7) + _rotated(lane_3, 12) + _rotated(lane_4, 18)
        )
    else:
        state = _PRIME_5
    state = np.uint32(state + np.uint32(length))
    while i + 4 <= stop:
        state = _xxh32_word(state, _load32(data, i))
        i += 4
    while i < stop:
        state = _xxh32_byte(state, np.uint32(data[i]))
        i += 1
    return _avalanched(state)


@kernel
def _set_key(data, start, stop):
    """Return 64 bits that stand for a shingle in a set.

    Up to 8 bytes they are the shingle itself; no byte of folded text is 0, so
    none is confused with a shorter one. A longer one is hashed: two of a set
    of n clash with a chance of n * n / 2**65, 1e-11 for a book of 20,000.
    """
    length = stop - start
    if length <= 8:
        word = _load64(data, start)
        if length < 8:
            word &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
        return word
    state = np.uint64(length)
    i = start
    while i < stop:
        word = _load64(data, i)
        if stop - i < 8:
            word &= (np.uint64(1) << np.uint64(8 * (stop - i))) - np.uint64(1)
        state = (state ^ word) * np.uint64(0xD6E8FEB86659FD93)
        state ^= state >> np.uint64(32)
        i += 8
    return state * np.uint64(0xD6E8FEB86659FD93)


@kernel
def _is_ascii_span(data, start, stop):
    high = np.uint8(0)
    for i in range(start, stop):
        high |= data[i]
    return high < 128


@kernel
def _is_spaced_span(data, start, stop, pages, entries):
    """Tell whether all scripts of a folded text have spaces."""
    # Below U+0800 all have.
    highest = np.uint8(0)
    for i in range(start, stop):
        highest = max(highest, data[i])
    if highest < 0xE0:
        return True
    for i in range(start, stop):
        first = data[i]
        if first >= 0xE0:
            point = (
                np.int64(first & 0x0F) << 12
                | np.int64(data[i + 1] & 0x3F) << 6
                | np.int64(data[i + 2] & 0x3F)
            )
            if first >= 0xF0:
                point = (
                    np.int64(first & 0x07) << 18
                    | np.int64(data[i + 1] & 0x3F) << 12
                    | np.int64(data[i + 2] & 0x3F) << 6
                    | np.int64(data[i + 3] & 0x3F)
                )
            entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
            if (entry >> _WRITING_SHIFT) & _WRITING_MASK:
                return False
    return True


@kernel
def _cut_spaced(data, start, stop, size, text, points, begins, sizes):
    """Cut a folded text of one run, of scripts with spaces; see `_cut_shingles`."""
    source = np.uint64(start)
    length = np.uint64(stop - start)
    count = np.int64(0)
    for i in range(length):
        text[i] = data[source + i]
    for i in range(length):
        points[np.uint64(count)] = i
        count += (data[source + i] & 0xC0) != 0x80
    points[np.uint64(count)] = length
    if count < size:
        begins[0] = 0
        sizes[0] = length
        return min(count, np.int64(1))
    behind = np.uint64(size)
    for k in range(np.uint64(count - size + 1)):
        begins[k] = points[k]
        sizes[k] = points[k + behind] - points[k]
    return count - size + 1


@kernel
def _cut_shingles(data, start, stop, run_sizes, pages, entries, text, points, begins, sizes):
    """Cut one folded text into shingles; return how many.

    Shingle `k` is ``text[begins[k]:begins[k] + sizes[k]]``; `text` is the folded text
    without the spaces that do not count, `points` where its code points start.
    """
    if _is_spaced_span(data, start, stop, pages, entries):
        # One run, in which every space counts: three times as fast as below.
        return _cut_spaced(data, start, stop, run_sizes[0], text, points, begins, sizes)
    count = 0
    length = 0
    point_count = 0
    run_first = 0
    writing = np.int64(0)
    run_size = run_sizes[0]
    space_waits = False
    i = start
    while i < stop:
        first = data[i]
        if first == 32:
            space_waits = writing == 0 and point_count > run_first
            i += 1
            continue
        width = 1
        own_writing = np.int64(0)
        if first >= 0xE0:
            # Below U+0800 every script has spaces: no look-up.
            width = 3
            point = (
                np.int64(first & 0x0F) << 12
                | np.int64(data[i + 1] & 0x3F) << 6
                | np.int64(data[i + 2] & 0x3F)
            )
            if first >= 0xF0:
                width = 4
                point = (
                    np.int64(first & 0x07) << 18
                    | np.int64(data[i + 1] & 0x3F) << 12
                    | np.int64(data[i + 2] & 0x3F) << 6
                    | np.int64(data[i + 3] & 0x3F)
                )
            entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
            own_writing = np.int64(entry >> _WRITING_SHIFT) & _WRITING_MASK
        elif first >= 0x80:
            width = 2
        if own_writing != writing:
            size = point_count - run_first
            if 0 < size < run_size:
                begin = points[run_first]
                begins[count] = begin
                sizes[count] = length - begin
                count += 1
            run_first = point_count
            writing = own_writing
            run_size = run_sizes[writing]
            space_waits = False
        if space_waits:
            space_waits = False
            text[length] = 32
            points[point_count] = length
            point_count += 1
            length += 1
            if point_count - run_first >= run_size:
                begin = points[point_count - run_size]
                begins[count] = begin
                sizes[count] = length - begin
                count += 1
        points[point_count] = length
        for k in range(width):
            text[length + k] = data[i + k]
        point_count += 1
        length += width
        if point_count - run_first >= run_size:
            begin = points[point_count - run_size]
            begins[count] = begin
            sizes[count] = length - begin
            count += 1
        i += width
    size = point_count - run_first
    if 0 < size < run_size:
        begin = points[run_first]
        begins[count] = begin
        sizes[count] = length - begin
        count += 1
    return count


@kernel
def _hash_fives(data, start, count, hashes, at):
    # xxh32 of every 5 bytes, the default, written out and with positions that
    # cannot be negative: so the compiler turns it into vectors (1,190 against
    # 255 MB/s with `_xxh32` called for each position).
    source = np.uint64(start)
    target = np.uint64(at)
    for k in range(np.uint64(count)):
        i = source + k
        word = np.uint32(
            np.uint32(data[i])
            | np.uint32(np.uint32(data[i + _1]) << _8)
            | np.uint32(np.uint32(data[i + _2]) << _16)
            | np.uint32(np.uint32(data[i + _3]) << _24)
        )
        state = np.uint32(np.uint32(_PRIME_5 + np.uint32(5)) + np.uint32(word * _PRIME_3))
        state = np.uint32(np.uint32(np.uint32(state << _17) | (state >> _15)) * _PRIME_4)
        state = np.uint32(state + np.uint32(np.uint32(data[i + _4]) * _PRIME_5))
        state = np.uint32(np.uint32(np.uint32(state << _11) | (state >> _21)) * _PRIME_1)
        state = np.uint32((state ^ (state >> _15)) * _PRIME_2)
        state = np.uint32((state ^ (state >> _13)) * _PRIME_3)
        hashes[target + k] = np.uint32(state ^ (state >> _16))


@kernel
def _load_words(text, count, words):
    for k in range(np.uint64(count)):
        words[k] = np.uint32(
            np.uint32(text[k])
            | np.uint32(np.uint32(text[k + _1]) << _8)
            | np.uint32(np.uint32(text[k + _2]) << _16)
            | np.uint32(np.uint32(text[k + _3]) << _24)
        )


@kernel
def _hash_shingles(data, offsets, longest, run_sizes, pages, entries, hashes, out_offsets):
    text = np.empty(longest + 64, np.uint8)
    points = np.empty(longest + 2, np.int32)
    begins = np.empty(longest + 1, np.uint32)
    sizes = np.empty(longest + 1, np.uint32)
    words = np.empty(longest + 16, np.uint32)
    first, second = np.empty(longest + 1, np.uint32), np.empty(longest + 1, np.uint32)
    third, last = np.empty(longest + 1, np.uint32), np.empty(longest + 1, np.uint32)
    spaced = run_sizes[0]
    at = np.int64(0)
    for unit in range(len(offsets) - 1):
        start = offsets[unit]
        stop = offsets[unit + 1]
        if _is_ascii_span(data, start, stop):
            count = max(np.int64(0), stop - start - spaced + 1)
            if spaced == 5:
                _hash_fives(data, start, count, hashes, at)
            else:
                for k in range(count):
                    hashes[at + k] = _xxh32(data, start + k, start + k + spaced)
            if count == 0 and stop > start:
                hashes[at] = _xxh32(data, start, stop)
                count = 1
        else:
            count = np.int64(
                _cut_shingles(
                    data,
                    start,
                    stop,
                    run_sizes,
                    pages,
                    entries,
                    text,
                    points,
                    begins,
                    sizes,
                )
            )
            if count:
                length = np.int64(begins[count - 1]) + np.int64(sizes[count - 1])
                _load_words(text, length + 12, words)
                _gather(words, begins, sizes, count, first, second, third, last)
                _hash_short(sizes, first, second, third, last, count, hashes, at)
                for k in range(count):
                    if sizes[k] > 15:
                        begin = np.int64(begins[k])
                        hashes[at + k] = _xxh32(text, begin, begin + np.int64(sizes[k]))
        at += count
        out_offsets[unit + 1] = at


@kernel
def _five_keys(data, start, count, keys):
    # `_set_key` of every 5 bytes, in a form that becomes vectors.
    source = np.uint64(start)
    for k in range(np.uint64(count)):
        i = source + k
        keys[k] = (
            np.uint64(data[i])
            | np.uint64(data[i + _1]) << np.uint64(8)
            | np.uint64(data[i + _2]) << np.uint64(16)
            | np.uint64(data[i + _3]) << np.uint64(24)
            | np.uint64(data[i + _4]) << np.uint64(32)
        )


@kernel
def _cut_keys(data, start, stop, run_sizes, pages, entries, text, points, begins, sizes, keys):
    """Write the set key of each shingle of one folded text; return how many."""
    if _is_ascii_span(data, start, stop):
        spaced = run_sizes[0]
        count = max(min(np.int64(1), stop - start), stop - start - spaced + 1)
        if spaced == 5 and stop - start >= 5:
            _five_keys(data, start, count, keys)
        else:
            for k in range(count):
                keys[k] = _set_key(data, start + k, min(stop, start + k + spaced))
        return count
    count = np.int64(
        _cut_shingles(data, start, stop, run_sizes, pages, entries, text, points, begins, sizes)
    )
    for k in range(count):
        begin = np.int64(begins[k])
        keys[k] = _set_key(text, begin, begin + np.int64(sizes[k]))
    return count


@kernel
def _slot(key, shift):
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> shift)


@kernel
def _measure_sets(data, offsets, longest, run_sizes, pages, entries, sizes, maps):
    text = np.empty(longest + 64, np.uint8)
    points = np.empty(longest + 2, np.int32)
    begins = np.empty(longest + 1, np.uint32)
    widths = np.empty(longest + 1, np.uint32)
    keys = np.empty(longest + 1, np.uint64)
    capacity = 16
    while capacity < 2 * longest:
        capacity *= 2
    slots = np.empty(capacity, np.uint64)
    filled_for = np.full(capacity, -1, np.int64)
    for unit in range(len(offsets) - 1):
        count = _cut_keys(
            data,
            offsets[unit],
            offsets[unit + 1],
            run_sizes,
            pages,
            entries,
            text,
            points,
            begins,
            widths,
            keys,
        )
        mask, shift = _table_size(count)
        distinct = 0
        maps[unit, :] = 0
        for k in range(count):
            slot = _slot(keys[k], shift)
            while filled_for[slot] == unit and slots[slot] != keys[k]:
                slot = (slot + 1) & mask
            if filled_for[slot] != unit:
                filled_for[slot] = unit
                slots[slot] = keys[k]
                distinct += 1
                bit = _slot(keys[k], np.uint64(55))
                maps[unit, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
        sizes[unit] = distinct


@kernel
def _table_size(count):
    # As small as the set allows, so that the table stays in the first cache.
    mask = np.int64(15)
    shift = np.uint64(60)
    while mask + 1 < 2 * count:
        mask = 2 * mask + 1
        shift -= np.uint64(1)
    return mask, shift


@kernel
def _bits_set(word):
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def _can_reach(left, right, sizes, maps, threshold):
    """Tell whether two sets may reach the threshold, by their sizes and maps."""
    needed = threshold / (1 + threshold) * (sizes[left] + sizes[right]) - 1e-6
    if min(sizes[left], sizes[right]) < needed:
        return False
    only_left = np.uint64(0)
    only_right = np.uint64(0)
    for k in range(8):
        one = maps[left, k]
        other = maps[right, k]
        only_left += _bits_set(one & ~other)
        only_right += _bits_set(other & ~one)
    return (
        sizes[left] - np.int64(only_left) >= needed
        and sizes[right] - np.int64(only_right) >= needed
    )


@kernel
def _find_reachable(left, right, sizes, maps, threshold, reachable):
    for pair in range(len(left)):
        reachable[pair] = _can_reach(left[pair], right[pair], sizes, maps, threshold)


@kernel
def _score_pairs(
    data, offsets, left, right, sizes, maps, threshold, run_sizes, pages, entries, shared
):
    # First the maps: over natural text they spare 19 of 20 pairs the look at
    # the text (1.5 us a pair, 0.1 us with them). Then one hash table holds the
    # set of the left unit, for all its pairs; the shingles of the right one
    # are looked up in it, until so many are missing that the threshold is out
    # of reach.
    longest = np.int64(0)
    for pair in range(len(left)):
        if _can_reach(left[pair], right[pair], sizes, maps, threshold):
            shared[pair] = 1
            for unit in (left[pair], right[pair]):
                longest = max(longest, offsets[unit + 1] - offsets[unit])
        else:
            shared[pair] = 0
    text = np.empty(longest + 64, np.uint8)
    points = np.empty(longest + 2, np.int32)
    begins = np.empty(longest + 1, np.uint32)
    widths = np.empty(longest + 1, np.uint32)
    keys = np.empty(longest + 1, np.uint64)
    capacity = 16
    while capacity < 2 * longest:
        capacity *= 2
    slots = np.empty(capacity, np.uint64)
    filled_for = np.full(capacity, -1, np.int64)
    matched_in = np.full(capacity, -1, np.int64)
    mask = np.int64(0)
    shift = np.uint64(0)
    current = np.int64(-1)
    for pair in range(len(left)):
        if shared[pair] == 0:
            continue
        unit = left[pair]
        other = right[pair]
        if unit != current:
            current = unit
            count = _cut_keys(
                data,
                offsets[unit],
                offsets[unit + 1],
                run_sizes,
                pages,
                entries,
                text,
                points,
                begins,
                widths,
                keys,
            )
            mask, shift = _table_size(count)
            for k in range(count):
                slot = _slot(keys[k], shift)
                while filled_for[slot] == unit and slots[slot] != keys[k]:
                    slot = (slot + 1) & mask
                filled_for[slot] = unit
                slots[slot] = keys[k]
        count = _cut_keys(
            data,
            offsets[other],
            offsets[other + 1],
            run_sizes,
            pages,
            entries,
            text,
            points,
            begins,
            widths,
            keys,
        )
        # J >= t just when shared >= t / (1 + t) * (sum of the sizes).
        needed = threshold / (1 + threshold) * (sizes[unit] + sizes[other]) - 1e-6
        spare = count - needed
        common = np.int64(0)
        for k in range(count):
            slot = _slot(keys[k], shift)
            while filled_for[slot] == unit and slots[slot] != keys[k]:
                slot = (slot + 1) & mask
            if filled_for[slot] == unit and matched_in[slot] != pair:
                matched_in[slot] = pair
                common += 1
            elif k + 1 - common > spare:
                common = 0
                break
        shared[pair] = common


@kernel
def _list_places(data, start, count, text, begins, sizes, firsts, lasts):
    """Write where each shingle of `_cut_shingles` starts and stops in the folded text."""
    # The two texts differ in spaces that do not count.
    at = start
    done = np.int64(0)
    for k in range(count):
        begin = np.int64(begins[k])
        while done < begin:
            at += 1 + (data[at] == 32 and text[done] != 32)
            done += 1
        at += data[at] == 32 and text[begin] != 32
        firsts[k] = at
        behind = at
        for i in range(begin, begin + np.int64(sizes[k])):
            behind += 1 + (data[behind] == 32 and text[i] != 32)
        lasts[k] = behind


@kernel
def _has(keys, count, key):
    i = np.int64(0)
    while i < count and keys[i] != key:
        i += 1
    return i < count


@kernel
def _find_stretches(
    data, offsets, left, right, threshold, run_sizes, pages, entries, starts, stops
):
    # A stretch of the right text with c shingles of the left one and x others has
    # a Jaccard of at least t just when c - t * x >= t * (shingles of the left one):
    # so the stretch with the most of that is looked for, in one go. It ends where
    # the likeness does, and would leave out what stands in the place of the other
    # words of the left text ("select the first control", "select the first object
    # in"): so it is made as long as the left text, at the ends where that goes on.
    longest = np.int64(0)
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    text = np.empty(longest + 64, np.uint8)
    points = np.empty(longest + 2, np.int32)
    begins = np.empty(longest + 1, np.uint32)
    widths = np.empty(longest + 1, np.uint32)
    keys = np.empty(longest + 1, np.uint64)
    firsts = np.empty(longest + 1, np.int64)
    lasts = np.empty(longest + 1, np.int64)
    longest = np.int64(0)
    for row in left:
        longest = max(longest, offsets[row + 1] - offsets[row])
    own_keys = np.empty(longest + 1, np.uint64)
    own_count = np.int64(0)
    # A flag for each key, 16 times as many as keys: one in twenty that is no key of
    # the left text is taken for one, which the exact score puts right.
    capacity = 16
    while capacity < 16 * longest:
        capacity *= 2
    flags = np.zeros(capacity, np.uint8)
    shift = np.uint64(0)
    distinct = np.int64(0)
    for pair in range(len(left)):
        unit = left[pair]
        if pair == 0 or unit != left[pair - 1]:
            for k in range(own_count):
                flags[_slot(own_keys[k], shift)] = 0
            own_count = np.int64(
                _cut_keys(
                    data,
                    offsets[unit],
                    offsets[unit + 1],
                    run_sizes,
                    pages,
                    entries,
                    text,
                    points,
                    begins,
                    widths,
                    own_keys,
                )
            )
            _, shift = _table_size(8 * own_count)
            distinct = 0
            for k in range(own_count):
                slot = _slot(own_keys[k], shift)
                distinct += flags[slot] == 0
                flags[slot] = 1
        start = offsets[right[pair]]
        stop = offsets[right[pair] + 1]
        count = _cut_keys(
            data, start, stop, run_sizes, pages, entries, text, points, begins, widths, keys
        )
        most = 0.0
        sum_so_far = 0.0
        begin = np.int64(0)
        best_first = np.int64(-1)
        best_last = np.int64(-1)
        for k in range(count):
            if flags[_slot(keys[k], shift)]:
                if sum_so_far <= 0:
                    sum_so_far = 0.0
                    begin = k
                sum_so_far += 1
                if sum_so_far > most:
                    most = sum_so_far
                    best_first = begin
                    best_last = k
            else:
                sum_so_far -= threshold
        starts[pair] = -1
        stops[pair] = -1
        if best_first < 0 or most < threshold * distinct - 1e-6:
            continue
        # The ends are looked at again: a flag may be that of another shingle.
        while best_first < best_last and not _has(own_keys, own_count, keys[best_first]):
            best_first += 1
        while best_first < best_last and not _has(own_keys, own_count, keys[best_last]):
            best_last -= 1
        best_position = np.int64(0)
        while best_position < own_count and own_keys[best_position] != keys[best_first]:
            best_position += 1
        missing = max(np.int64(0), own_count - (best_last - best_first + 1))
        before = min(missing, best_position)
        best_first = max(np.int64(0), best_first - before)
        best_last = min(count - 1, best_last + missing - before)
        common = np.int64(0)
        for k in range(best_first, best_last + 1):
            common += flags[_slot(keys[k], shift)]
        others = best_last - best_first + 1 - common
        # Whole words at its ends may make it a little more alike, not so much.
        if min(common, distinct) < (threshold - _WORDS_ADD) * (distinct + others):
            continue
        if _is_ascii_span(data, start, stop):
            starts[pair] = best_first
            stops[pair] = min(best_last + run_sizes[0], stop - start)
        else:
            _list_places(data, start, count, text, begins, widths, firsts, lasts)
            starts[pair] = firsts[best_first] - start
            stops[pair] = lasts[best_last] - start


@kernel
def _select_runs(data, offsets, hashes, shingle_offsets, pages, entries, rows):
    """Write at which shingles runs start, doubled; one more for a run as in scripts without spaces.

    A text that mixes scripts has runs of both kinds, as each of its parts has alone.
    """
    count = np.int64(0)
    spaced_mask, unspaced_mask = np.uint32(_SPACED_MASK), np.uint32(_UNSPACED_MASK)
    for unit in range(len(offsets) - 1):
        for k in range(shingle_offsets[unit], shingle_offsets[unit + 1]):
            # Written in any case: which is taken no processor can foresee.
            rows[count] = 2 * k
            count += (hashes[k] & spaced_mask) == 0
        if not _is_spaced_span(data, offsets[unit], offsets[unit + 1], pages, entries):
            for k in range(shingle_offsets[unit], shingle_offsets[unit + 1]):
                rows[count] = 2 * k + 1
                count += (hashes[k] & unspaced_mask) == 0
    return count


@kernel
def _hash_runs(data, offsets, hashes, shingle_offsets, rows, spaced_step, keys, places, counts):
    unit = np.int64(0)
    count = np.int64(0)
    walked = np.int64(-1)
    at = np.int64(0)
    points = np.int64(0)
    counts[:] = 0
    for row in rows:
        k = np.int64(row >> 1)
        step = np.int64(_UNSPACED_STEP) if row & 1 else spaced_step
        while shingle_offsets[unit + 1] <= k:
            unit += 1
        first = shingle_offsets[unit]
        if k + step * (_RUN_SHINGLES - 1) >= shingle_offsets[unit + 1]:
            continue
        state = np.uint64(1 + (row & 1))
        for part in range(_RUN_SHINGLES):
            state = (state ^ np.uint64(hashes[k + part * step])) * _MIX
            state ^= state >> np.uint64(32)
        keys[count] = state
        # As many code points stand before it as shingles, about.
        start = offsets[unit]
        length = offsets[unit + 1] - start
        if shingle_offsets[unit + 1] - first == length - spaced_step + 1:
            # A code point a byte.
            at = start + k - first
            points = k - first
        elif walked != unit or k - first < points:
            at = start
            points = 0
        walked = unit
        while points < k - first and at < offsets[unit + 1] - 1:
            at += 1
            points += (data[at] & 0xC0) != 0x80
        places[count] = (at - start) * 256 // length
        counts[unit] += 1
        count += 1
    return count


def hash_shingles(folded: Texts, options: Options) -> Shingles:
    """Hash the shingles of folded texts.

    Notes
    -----
    Requires `PADDING_BYTES` readable bytes behind the last folded one. Time is
    linear; 4 bytes a folded byte, and 13 a byte of the longest unit.
    """
    tables = folding_table()
    offsets = np.zeros(len(folded) + 1, np.int64)
    hashes = np.empty(int(folded.offsets[-1] - folded.offsets[0]) + 1, np.uint32)
    _hash_shingles(
        folded.data,
        folded.offsets,
        _longest(folded),
        _run_sizes(options),
        tables.pages,
        tables.entries,
        hashes,
        offsets,
    )
    return Shingles(hashes, offsets)


def measure_sets(folded: Texts, options: Options) -> Sets:
    """Measure the set of shingles of each folded text."""
    tables = folding_table()
    sets = Sets(np.empty(len(folded), np.int64), np.empty((len(folded), 8), np.uint64))
    _measure_sets(
        folded.data,
        folded.offsets,
        _longest(folded),
        _run_sizes(options),
        tables.pages,
        tables.entries,
        sets.sizes,
        sets.maps,
    )
    return sets


def find_reachable(left: Positions, right: Positions, sets: Sets, options: Options) -> Flags:
    """Tell which pairs may reach the threshold, without a look at their text.

    Over natural text it spares 19 of 20 pairs that look.

    Returns
    -------
    bool[pair_count]
        False only where the Jaccard is below the threshold.
    """
    reachable = np.empty(len(left), np.bool_)
    _find_reachable(left, right, sets.sizes, sets.maps, options.threshold, reachable)
    return reachable


def score_pairs(
    folded: Texts, left: Positions, right: Positions, sets: Sets, options: Options
) -> Positions:
    """Count the shingles that the units of each pair share, exactly.

    Parameters
    ----------
    left, right
        int64[pair_count], rows of `folded`; pairs of one left unit together.
    sets
        Of `measure_sets`, for all rows.

    Returns
    -------
    int64[pair_count]
        Shared shingles; 0 where the Jaccard is below the threshold.
    """
    tables = folding_table()
    shared = np.empty(len(left), np.int64)
    _score_pairs(
        folded.data,
        folded.offsets,
        left,
        right,
        sets.sizes,
        sets.maps,
        options.threshold,
        _run_sizes(options),
        tables.pages,
        tables.entries,
        shared,
    )
    return shared


def sample_runs(folded: Texts, shingles: Shingles, options: Options) -> Runs:
    """Sample runs of shingles, the same wherever the same text stands; none without stretches.

    Notes
    -----
    A run is taken when the hash of its first shingle says so, one in 16; one in
    four in scripts without spaces, where a sentence has a third as many. One in
    eight finds 3 % more of what was cut elsewhere, and takes twice the time.
    """
    if not options.stretches:
        return Runs(np.empty(0, np.uint64), np.empty(0, np.uint8), np.zeros(len(folded), np.int32))
    tables = folding_table()
    rows = np.empty(2 * len(shingles.hashes) + 1, np.int32)
    count = _select_runs(
        folded.data,
        folded.offsets,
        shingles.hashes,
        shingles.offsets,
        tables.pages,
        tables.entries,
        rows,
    )
    keys, places = np.empty(count, np.uint64), np.empty(count, np.uint8)
    counts = np.empty(len(folded), np.int32)
    count = _hash_runs(
        folded.data,
        folded.offsets,
        shingles.hashes,
        shingles.offsets,
        rows[:count],
        options.shingle_chars,
        keys,
        places,
        counts,
    )
    return Runs(keys[:count], places[:count], counts)


def find_stretches(
    folded: Texts, left: Positions, right: Positions, options: Options
) -> tuple[Positions, Positions]:
    """Find the stretch of the right text that is most like the left one.

    Parameters
    ----------
    left, right
        int64[pair_count], rows of `folded`; pairs of one left text together.

    Returns
    -------
    starts, stops
        int64[pair_count], bytes of the right text, on borders of code points;
        -1 where none comes up to the threshold. That one does is not certain:
        a shingle that stands in it twice counted twice.
    """
    tables = folding_table()
    starts, stops = np.empty((2, len(left)), np.int64)
    _find_stretches(
        folded.data,
        folded.offsets,
        left,
        right,
        options.threshold,
        _run_sizes(options),
        tables.pages,
        tables.entries,
        starts,
        stops,
    )
    return starts, stops


def _run_sizes(options: Options) -> Positions:
    """Return the code points in a shingle, by the writing of the folding table."""
    return np.array(
        [options.shingle_chars, options.shingle_chars_han, options.shingle_chars_thai], np.int64
    )


def _longest(folded: Texts) -> int:
    return int(np.diff(folded.offsets).max(initial=0)) + PADDING_BYTES
