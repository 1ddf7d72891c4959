"""Words of the original text: what passages are aligned by.

A word is a run of code points that folding keeps, cut straight from the
original bytes, so that it knows where it stands. Scripts without spaces have
no such runs: there a word starts at every code point and takes the ones behind
it along, 2 in Han, Kana and their like, 4 in Thai, Lao, Khmer and theirs, as
far as the script goes on. Such words overlap; a run of them starts and stops
where the text does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dedup.columns import Positions, Texts
from dedup.folding import folding_table
from dedup.kernels import kernel
from dedup.scratch import Scratch
from dedup.slices import cut_slices, map_slices
from dedup.tables import folding as table

# Code points of a word in Han and Kana, and in Thai, Lao, Khmer and Myanmar.
HAN_CHARS, THAI_CHARS = 2, 4

# Words that a byte of text may come to: 3 bytes of a squared Kana word fold to 6.
_WORDS_A_BYTE = 2

# int32, or int64 where that does not hold the greatest value: columns of words are
# most of what finding passages holds.
Numbers = NDArray[np.signedinteger[Any]]

_SPACE, _DROP, _KEEP = table.SPACE, table.DROP, table.KEEP
_WRITING_SHIFT, _WRITING_MASK = table.WRITING_SHIFT, table.WRITING_MASK
_LENGTH_SHIFT, _LENGTH_MASK = table.LENGTH_SHIFT, table.LENGTH_MASK
_POOL_SHIFT = table.POOL_SHIFT
_THAI = table.THAI
_SEED = np.uint64(0x9E3779B97F4A7C15)


def narrow_kind(most: int) -> type[np.int32] | type[np.int64]:
    """Return the kind of `Numbers` up to a greatest value."""
    return np.int32 if most < 1 << 31 else np.int64


def join_parts(
    parts: list[tuple[NDArray[Any], ...]], kinds: Sequence[DTypeLike], scratch: Scratch
) -> list[NDArray[Any]]:
    """Join columns that come in parts; the list is empty behind, so no part is held twice."""
    columns = [scratch.empty(sum(len(part[0]) for part in parts), kind) for kind in kinds]
    at = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        for column, values in zip(columns, part, strict=True):
            column[at : at + len(values)] = values
        at += len(part[0])
    return columns


@dataclass(frozen=True)
class Words:
    """Words of many texts.

    Text `i` has the words ``offsets[i]`` to ``offsets[i + 1]``.

    Attributes
    ----------
    ids
        int32[word_count], equal for words that fold to the same; numbered from
        0 in the order in which they first stand.
    starts, stops
        int32[word_count], or int64 beyond 2 GB: bytes in the data of all texts,
        on borders of code points; starts never fall, nor do stops.
    offsets
        int64[text_count + 1]
    weights
        uint8[word_count], quarters of a word that each amounts to: 4, and 1 in
        Thai and its like, where a word of the language has four code points or
        five and starts at one of them.
    counts
        int64[distinct_count], how often each id stands.
    fingerprints
        uint64[text_count], hash of the words of each text in order.
    """

    ids: NDArray[np.int32]
    starts: Numbers
    stops: Numbers
    offsets: Positions
    weights: NDArray[np.uint8]
    counts: Positions
    fingerprints: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.ids)


@kernel
def _mixed(state, value):
    """Return a hash that went on by one value: a bijection of each for the other."""
    state = (state ^ value) * np.uint64(0xD6E8FEB86659FD93)
    return state ^ (state >> np.uint64(32))


@kernel
def _decode(data, at):
    """Return the code point that starts at a byte, and how many bytes it takes."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, np.int64(1)
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(data[at + 1] & 0x3F), np.int64(2)
    if first < 0xF0:
        return (
            (first & 0x0F) << 12
            | np.int64(data[at + 1] & 0x3F) << 6
            | np.int64(data[at + 2] & 0x3F),
            np.int64(3),
        )
    return (
        (first & 0x07) << 18
        | np.int64(data[at + 1] & 0x3F) << 12
        | np.int64(data[at + 2] & 0x3F) << 6
        | np.int64(data[at + 3] & 0x3F),
        np.int64(4),
    )


@kernel
def _join_gram(hashes, stops, count, run_first, size):
    """Let each of the words of a run without spaces, one code point each, take the next along.

    Backwards would be too late: each needs the code points of the ones behind it
    as they were.
    """
    for k in range(run_first, count):
        last = min(k + size, count)
        state = hashes[k]
        for behind in range(k + 1, last):
            state = _mixed(state, hashes[behind])
        hashes[k] = state
        stops[k] = stops[last - 1]


@kernel
def _cut_words(
    data, start, stop, pages, entries, pool, ascii_map, grams, hashes, starts, stops, weights
):
    """Cut one text into words; return how many.

    Requires: room for two words a byte.
    """
    count = np.int64(0)
    state = _SEED
    in_word = False
    # Where the run of a script without spaces began, and which kind it is.
    run_first = np.int64(0)
    run_writing = np.int64(0)
    i = start
    while i < stop:
        byte = data[i]
        if byte < 128:
            folded = ascii_map[byte]
            if folded == 32:
                in_word = False
            elif folded != 0:
                if run_writing:
                    _join_gram(hashes, stops, count, run_first, grams[run_writing])
                    run_writing = np.int64(0)
                if not in_word:
                    in_word = True
                    state = _SEED
                    starts[count] = i
                    weights[count] = 4
                    count += 1
                state = _mixed(state, np.uint64(folded))
                hashes[count - 1] = state
                stops[count - 1] = i + 1
            i += 1
            continue
        point, width = _decode(data, i)
        entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
        action = entry & 3
        if action == _SPACE:
            in_word = False
        elif action == _DROP:
            # A mark goes with the letter before it.
            if count and stops[count - 1] == i and (in_word or run_writing):
                stops[count - 1] = i + width
        else:
            at = i
            behind = i + width
            source = data
            if action != _KEEP:
                source = pool
                at = np.int64(entry >> _POOL_SHIFT)
                behind = at + (np.int64(entry >> _LENGTH_SHIFT) & _LENGTH_MASK)
            while at < behind:
                own = entry
                own_width = width
                if action != _KEEP:
                    point, own_width = _decode(source, at)
                    own = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
                at += own_width
                if own & 3 == _SPACE:
                    in_word = False
                    continue
                writing = np.int64(own >> _WRITING_SHIFT) & _WRITING_MASK
                if writing != run_writing:
                    if run_writing:
                        _join_gram(hashes, stops, count, run_first, grams[run_writing])
                    run_writing = writing
                    run_first = count
                    in_word = False
                if writing or not in_word:
                    in_word = writing == 0
                    state = _SEED
                    starts[count] = i
                    weights[count] = 1 if writing == _THAI else 4
                    count += 1
                state = _mixed(state, np.uint64(point))
                hashes[count - 1] = state
                stops[count - 1] = i + width
        i += width
    if run_writing:
        _join_gram(hashes, stops, count, run_first, grams[run_writing])
    return count


@kernel
def _cut_texts(
    data, offsets, first, last, pages, entries, pool, ascii_map, grams,
    hashes, starts, stops, weights, ends, fingerprints,
):  # fmt: skip
    """Cut texts into words, one behind the other; write where the words of each end."""
    count = np.int64(0)
    for t in range(first, last):
        before = count
        count += _cut_words(
            data,
            offsets[t],
            offsets[t + 1],
            pages,
            entries,
            pool,
            ascii_map,
            grams,
            hashes[count:],
            starts[count:],
            stops[count:],
            weights[count:],
        )
        ends[t - first] = count
        state = _SEED
        for k in range(before, count):
            state = _mixed(state, hashes[k])
        fingerprints[t - first] = state
    return count


@kernel
def _number(hashes, ids):
    """Number different values from 0 as they first stand; return how often each does.

    A table of slots that is at most half full; it grows with what is different,
    so for natural text it stays in the cache, and sorting takes ten times as long.
    """
    size = np.int64(1 << 12)
    slots = np.full(size, -1, np.int32)
    values = np.empty(size // 2, np.uint64)
    counts = np.empty(size // 2, np.int64)
    count = np.int64(0)
    for i in range(len(hashes)):
        value = hashes[i]
        mask = np.uint64(size - 1)
        at = (value * _SEED) >> np.uint64(20) & mask
        while slots[at] >= 0 and values[slots[at]] != value:
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            if count == size // 2:
                size *= 4
                mask = np.uint64(size - 1)
                slots = np.full(size, -1, np.int32)
                grown = np.empty(size // 2, np.uint64)
                grown[:count] = values[:count]
                values = grown
                grown_counts = np.empty(size // 2, np.int64)
                grown_counts[:count] = counts[:count]
                counts = grown_counts
                for k in range(count):
                    at = (values[k] * _SEED) >> np.uint64(20) & mask
                    while slots[at] >= 0:
                        at = (at + np.uint64(1)) & mask
                    slots[at] = k
                at = (value * _SEED) >> np.uint64(20) & mask
                while slots[at] >= 0:
                    at = (at + np.uint64(1)) & mask
            slots[at] = count
            values[count] = value
            counts[count] = 0
            count += 1
        ids[i] = slots[at]
        counts[slots[at]] += 1
    return counts[:count].copy()


def cut_words(texts: Texts, threads: int = 1, scratch: Scratch | None = None) -> Words:
    """Cut texts into words.

    Notes
    -----
    Time and bytes are linear in the text: 13 bytes a word, and three times that
    for a moment.
    """
    scratch = scratch or Scratch()
    tables = folding_table()
    grams = np.array([1, HAN_CHARS, THAI_CHARS], np.int64)
    kind = narrow_kind(len(texts.data))
    kinds = (np.uint64, kind, kind, np.uint8)

    def cut(first: int, last: int) -> tuple[NDArray[Any], ...]:
        room = int(texts.offsets[last] - texts.offsets[first]) * _WORDS_A_BYTE
        columns = [np.empty(room, each) for each in kinds]
        ends = np.empty(last - first, np.int64)
        fingerprints = np.empty(last - first, np.uint64)
        count = _cut_texts(
            texts.data, texts.offsets, first, last,
            tables.pages, tables.entries, tables.pool, tables.ascii, grams,
            *columns, ends, fingerprints,
        )  # fmt: skip
        return *(column[:count].copy() for column in columns), ends, fingerprints

    offsets = np.zeros(len(texts) + 1, np.int64)
    fingerprints = np.empty(len(texts), np.uint64)
    row = 0
    parts = []
    for *columns, ends, prints in map_slices(cut, cut_slices(np.diff(texts.offsets)), threads):
        offsets[row + 1 : row + 1 + len(ends)] = ends + offsets[row]
        fingerprints[row : row + len(ends)] = prints
        row += len(ends)
        parts.append(tuple(columns))
    hashes, starts, stops, weights = join_parts(parts, kinds, scratch)
    ids = scratch.empty(len(hashes), np.int32)
    counts = _number(hashes, ids)
    return Words(ids, starts, stops, offsets, weights, counts, fingerprints)
