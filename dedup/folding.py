"""Folded text: what comparing sees of a text.

Every code point goes through one generated table (`dedup/tables/folding.py`
says how it is made), every run of spaces becomes one, and the spaces at both
ends go. The module also describes each folded text in a few numbers: how long
it is, which digits stand in it, and a fingerprint by which equal ones meet.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.kernels import kernel
from dedup.tables import folding as table

# Bytes that a kernel may read or write behind the last folded byte.
PADDING_BYTES = 64

_SPACE, _DROP, _KEEP = table.SPACE, table.DROP, table.KEEP
_WRITING_BITS, _DIGIT_BIT = table.WRITING_MASK << table.WRITING_SHIFT, table.DIGIT_BIT
_LENGTH_SHIFT, _LENGTH_MASK = table.LENGTH_SHIFT, table.LENGTH_MASK
_POOL_SHIFT = table.POOL_SHIFT


@dataclass(frozen=True)
class FoldingTable:
    """The generated table, as the kernels read it.

    Attributes
    ----------
    pages
        uint16[4352], page of a run of 256 code points.
    entries
        uint32[256 * page_count], entry of ``pages[point >> 8] << 8 | point & 255``.
    pool
        uint8[...], UTF-8 of the replacements.
    ascii
        uint8[128], what each ASCII byte becomes; 32 is a space, 0 goes.
    unicode_version
        The Unicode version it was generated from.
    """

    pages: NDArray[np.uint16]
    entries: NDArray[np.uint32]
    pool: Bytes
    ascii: Bytes
    unicode_version: str


@dataclass(frozen=True)
class Descriptions:
    """Folded texts in a few numbers each.

    Attributes
    ----------
    spaced_chars, unspaced_chars
        int64[n], code points of scripts with and without spaces; spaces count
        among the first.
    numbers
        uint64[n], hash of the runs of digits, in order; 0 where there are none.
    fingerprints
        uint64[n], hash of the whole; equal texts have equal fingerprints.
    """

    spaced_chars: Positions
    unspaced_chars: Positions
    numbers: NDArray[np.uint64]
    fingerprints: NDArray[np.uint64]


@cache
def folding_table() -> FoldingTable:
    """Load the generated table."""
    with np.load(table.TABLE_PATH) as stored:
        pages, entries, pool = stored["pages"], stored["entries"], stored["pool"]
        version = str(stored["unicode_version"])
    ascii_map = np.zeros(128, np.uint8)
    for byte in range(128):
        entry = int(entries[(int(pages[0]) << 8) + byte])
        action = entry & 3
        if action == _KEEP:
            ascii_map[byte] = byte
        elif action == _SPACE:
            ascii_map[byte] = 32
        elif action == table.REPLACE:
            ascii_map[byte] = pool[entry >> _POOL_SHIFT]
    return FoldingTable(pages, entries, pool, ascii_map, version)


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
def _fold_spans(data, starts, stops, pages, entries, pool, ascii_map, first, out, offsets):
    # Folds spans from `first` on; returns the span it stopped before because a
    # replacement that grows (a Hangul syllable: 3 bytes to 6 or 9) found no
    # room. `room` is how much longer than its input the output may still get.
    o = offsets[first]
    room = np.int64(len(out) - PADDING_BYTES) - o
    for s in range(first, len(starts)):
        room -= stops[s] - starts[s]
    for s in range(first, len(starts)):
        begin = o
        after_space = True
        i = starts[s]
        stop = stops[s]
        while i < stop:
            byte = data[i]
            if byte < 128:
                # Written whether it stays or not, then kept by moving on or
                # not: one unpredictable branch a word less.
                folded = ascii_map[byte]
                out[o] = folded
                is_space = folded == 32
                o += not (is_space and after_space)
                after_space = is_space
                i += 1
                continue
            point, width = _decode(data, i)
            entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
            action = entry & 3
            if action == _KEEP:
                for k in range(width):
                    out[o + k] = data[i + k]
                o += width
                after_space = False
            elif action == _SPACE:
                if not after_space:
                    out[o] = 32
                    o += 1
                after_space = True
            elif action != _DROP:
                length = np.int64(entry >> _LENGTH_SHIFT) & _LENGTH_MASK
                from_pool = np.int64(entry >> _POOL_SHIFT)
                room -= max(np.int64(0), length - width)
                if room < 0:
                    return s
                for k in range(length):
                    folded = pool[from_pool + k]
                    is_space = folded == 32
                    out[o] = folded
                    o += not (is_space and after_space)
                    after_space = is_space
            i += width
        if after_space and o > begin:
            o -= 1
        offsets[s + 1] = o
    return len(starts)


@kernel
def _is_unspaced(entry, pages, entries, pool):
    """Tell whether a code point that is kept or replaced is of a script without spaces."""
    if entry & 3 != _KEEP:
        # Only what it becomes says so.
        point, _ = _decode(pool, np.int64(entry >> _POOL_SHIFT))
        entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
    return entry & _WRITING_BITS != 0


@kernel
def _find_places(
    data, starts, stops, firsts, lasts, pages, entries, pool, ascii_map, place_starts, place_stops
):
    # Goes through the code points as `_fold_spans` does, word by word, and writes nothing.
    for s in range(len(starts)):
        folded = np.int64(0)
        after_space = True
        word = np.int64(-1)
        word_folded = np.int64(0)
        word_stop = np.int64(0)
        was_whole = False
        place_starts[s] = starts[s]
        place_stops[s] = starts[s]
        i = starts[s]
        while i <= stops[s]:
            byte = data[i] if i < stops[s] else np.uint8(255)
            if word >= 0 and not was_whole and byte < 128 and ascii_map[byte] > 32:
                # A further letter of a word, as most are.
                word_stop = i + 1
                folded += 1
                after_space = False
                i += 1
                continue
            entry = np.uint32(_SPACE)
            width = np.int64(1)
            if i < stops[s]:
                point, width = _decode(data, i)
                entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
            action = entry & 3
            if action == _DROP:
                # A mark goes with the letter before it.
                word_stop = i + width if word_stop == i else word_stop
                i += width
                continue
            # A script without spaces has words of one code point.
            is_whole = action != _SPACE and _is_unspaced(entry, pages, entries, pool)
            if word >= 0 and (is_whole or was_whole or action == _SPACE):
                covered = min(folded, lasts[s]) - max(word_folded, firsts[s])
                # A word at an end goes along when half of it belongs to the part.
                if covered > 0 and 2 * covered >= folded - word_folded:
                    if place_stops[s] == starts[s]:
                        place_starts[s] = word
                    place_stops[s] = word_stop
                if folded >= lasts[s]:
                    break
                word = -1
            if action == _SPACE:
                folded += not after_space
                after_space = True
            else:
                if word < 0:
                    word = i
                    word_folded = folded
                was_whole = is_whole
                word_stop = i + width
                if action == _KEEP:
                    folded += width
                    after_space = False
                else:
                    from_pool = np.int64(entry >> _POOL_SHIFT)
                    for k in range(np.int64(entry >> _LENGTH_SHIFT) & _LENGTH_MASK):
                        is_space = pool[from_pool + k] == 32
                        folded += not (is_space and after_space)
                        after_space = is_space
            i += width


@kernel
def _describe(data, offsets, pages, entries, spaced, unspaced, numbers, fingerprints):
    for t in range(len(offsets) - 1):
        start = offsets[t]
        stop = offsets[t + 1]
        high = np.uint8(0)
        digits = np.int64(0)
        for i in range(start, stop):
            high |= data[i]
            digits += (data[i] >= 48) & (data[i] <= 57)
        number_hash = np.uint64(0)
        if high < 128:
            spaced[t] = stop - start
            unspaced[t] = 0
            if digits:
                in_run = False
                for i in range(start, stop):
                    byte = data[i]
                    is_digit = byte >= 48 and byte <= 57
                    if is_digit or in_run:
                        number_hash = _mixed(number_hash, np.uint64(byte if is_digit else 32))
                    in_run = is_digit
        else:
            spaced_count = np.int64(0)
            unspaced_count = np.int64(0)
            in_run = False
            i = start
            while i < stop:
                point, width = _decode(data, i)
                entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
                if entry & _WRITING_BITS:
                    unspaced_count += 1
                else:
                    spaced_count += 1
                is_digit = (entry & _DIGIT_BIT) != 0
                if is_digit or in_run:
                    number_hash = _mixed(number_hash, np.uint64(point if is_digit else 32))
                in_run = is_digit
                i += width
            spaced[t] = spaced_count
            unspaced[t] = unspaced_count
            if in_run:
                number_hash = _mixed(number_hash, np.uint64(32))
        if high < 128 and digits and in_run:
            number_hash = _mixed(number_hash, np.uint64(32))
        numbers[t] = number_hash
        # Two chains, so that one multiplication need not wait for the other.
        one = np.uint64(stop - start)
        two = np.uint64(0x9E3779B97F4A7C15)
        i = start
        while i + 16 <= stop:
            one = _mixed(one, _word(data, i))
            two = _mixed(two, _word(data, i + 8))
            i += 16
        while i < stop:
            one = _mixed(one, np.uint64(data[i]))
            i += 1
        fingerprints[t] = _mixed(one, two)


@kernel
def _word(data, at):
    """Return eight bytes as a little-endian number; the compiler makes it one load."""
    word = np.uint64(data[at])
    word |= np.uint64(data[at + 1]) << np.uint64(8)
    word |= np.uint64(data[at + 2]) << np.uint64(16)
    word |= np.uint64(data[at + 3]) << np.uint64(24)
    word |= np.uint64(data[at + 4]) << np.uint64(32)
    word |= np.uint64(data[at + 5]) << np.uint64(40)
    word |= np.uint64(data[at + 6]) << np.uint64(48)
    word |= np.uint64(data[at + 7]) << np.uint64(56)
    return word


@kernel
def _mixed(state, value):
    """Return a hash that went on by one value: a bijection of each for the other."""
    state = (state ^ value) * np.uint64(0xD6E8FEB86659FD93)
    return state ^ (state >> np.uint64(32))


@kernel
def _same_spans(data, starts, stops, other_starts, other_stops, same):
    for s in range(len(starts)):
        length = stops[s] - starts[s]
        equal = length == other_stops[s] - other_starts[s]
        k = np.int64(0)
        while equal and k < length:
            equal = data[starts[s] + k] == data[other_starts[s] + k]
            k += 1
        same[s] = equal


def fold_spans(data: Bytes, starts: Positions, stops: Positions) -> Texts:
    """Fold spans of a text.

    Parameters
    ----------
    data
        uint8[byte_count], valid UTF-8.
    starts, stops
        int64[n], byte spans, each on code points' borders.

    Returns
    -------
    Texts
        n folded texts; `PADDING_BYTES` more may be read behind the last.

    Notes
    -----
    Time and bytes are linear in the spans; the longest replacement is 11 times
    its code point (U+FDFA).
    """
    tables = folding_table()
    total = int((stops - starts).sum())
    offsets = np.zeros(len(starts) + 1, np.int64)
    out = np.empty(total + total // 8 + PADDING_BYTES, np.uint8)
    done = 0
    while True:
        done = _fold_spans(
            data,
            starts,
            stops,
            tables.pages,
            tables.entries,
            tables.pool,
            tables.ascii,
            done,
            out,
            offsets,
        )
        if done == len(starts):
            break
        grown = np.empty(2 * len(out) + PADDING_BYTES, np.uint8)
        grown[: offsets[done]] = out[: offsets[done]]
        out = grown
    return Texts(out, offsets)


def find_places(
    data: Bytes, starts: Positions, stops: Positions, firsts: Positions, lasts: Positions
) -> tuple[Positions, Positions]:
    """Find the words of spans that part of their folded text comes from.

    Parameters
    ----------
    starts, stops
        int64[n], byte spans, as in `fold_spans`.
    firsts, lasts
        int64[n], bytes of the folded text of each.

    Returns
    -------
    starts, stops
        int64[n], bytes of the data: whole words in scripts with spaces, those of
        which the part has half or more; whole code points in others.
    """
    tables = folding_table()
    place_starts, place_stops = np.empty((2, len(starts)), np.int64)
    _find_places(
        data,
        starts,
        stops,
        firsts,
        lasts,
        tables.pages,
        tables.entries,
        tables.pool,
        tables.ascii,
        place_starts,
        place_stops,
    )
    return place_starts, place_stops


@kernel
def _end_in_letters(data, starts, stops, pages, entries, pool, found):
    for s in range(len(starts)):
        found[s] = False
        i = stops[s]
        while i > starts[s]:
            i -= 1
            while i > starts[s] and data[i] & 0xC0 == 0x80:
                i -= 1
            point, _ = _decode(data, i)
            entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
            action = entry & 3
            if action != _DROP:
                found[s] = action != _SPACE and not _is_unspaced(entry, pages, entries, pool)
                break


def end_in_letters(data: Bytes, starts: Positions, stops: Positions) -> Flags:
    """Tell which spans end in a letter or digit of a script with spaces, no sign behind it.

    Returns
    -------
    bool[n]
    """
    tables = folding_table()
    found = np.empty(len(starts), np.bool_)
    _end_in_letters(data, starts, stops, tables.pages, tables.entries, tables.pool, found)
    return found


def fold_text(text: str) -> str:
    """Fold one text.

    Examples
    --------
    >>> fold_text("  “Écoute,  Straße № 5!” ")
    'ecoute strasse no 5'
    """
    data = np.frombuffer(text.encode(), np.uint8)
    folded = fold_spans(data, np.zeros(1, np.int64), np.array([len(data)], np.int64))
    return folded.data[: folded.offsets[1]].tobytes().decode()


def describe(folded: Texts) -> Descriptions:
    """Describe folded texts: length by kind of script, digits, fingerprint."""
    tables = folding_table()
    count = len(folded)
    description = Descriptions(
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.uint64),
        np.empty(count, np.uint64),
    )
    _describe(
        folded.data,
        folded.offsets,
        tables.pages,
        tables.entries,
        description.spaced_chars,
        description.unspaced_chars,
        description.numbers,
        description.fingerprints,
    )
    return description


def same_spans(
    data: Bytes,
    starts: Positions,
    stops: Positions,
    other_starts: Positions,
    other_stops: Positions,
) -> Flags:
    """Tell for each pair of spans whether they hold the same bytes.

    Returns
    -------
    bool[n]
    """
    same = np.empty(len(starts), np.bool_)
    _same_spans(data, starts, stops, other_starts, other_stops, same)
    return same
