"""Extents: where passages start and stop in the original text, and of which kind they are."""

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Positions, Texts
from dedup.folding import folding_table
from dedup.kernels import kernel
from dedup.kinds import EXACT, FOLDED, NEAR
from dedup.tables import folding as table
from dedup.words import Words

# Code points of closing or opening marks that a passage takes along.
_MOST_MARKS = 8


@kernel
def _measure(
    data, ids, starts, stops, offsets, texts, rows, space, pages, entries, most_marks,
    spans, kinds,
):  # fmt: skip
    """Write the bytes of passages and their kind.

    Marks right before and right behind go along, where they are the same on
    both sides: a full stop, quotation marks, brackets.
    """
    for r in range(len(rows)):
        l0, l1, r0, r1 = rows[r, 0], rows[r, 1], rows[r, 2], rows[r, 3]
        a, b = starts[l0], stops[l1 - 1]
        c, d = starts[r0], stops[r1 - 1]
        same = l1 - l0 == r1 - r0
        k = np.int64(0)
        while same and k < l1 - l0:
            same = ids[l0 + k] == ids[r0 + k]
            k += 1
        left_first, left_last = offsets[texts[r, 0]], offsets[texts[r, 0] + 1]
        right_first, right_last = offsets[texts[r, 1]], offsets[texts[r, 1] + 1]
        own = texts[r, 0] == texts[r, 1]
        if own:
            # Words that overlap, in scripts without spaces, do not make passages overlap.
            b = min(b, c)
            left_last = c
        for _ in range(most_marks):
            width = _mark_width(data, b, left_last, space, pages, entries)
            if width == 0 or width > right_last - d or not _is_same(data, b, d, width):
                break
            b += width
            d += width
        if own:
            right_first = b
        for _ in range(most_marks):
            width = _mark_width_before(data, a, left_first, space, pages, entries)
            if width == 0 or width > c - right_first:
                break
            if not _is_same(data, a - width, c - width, width):
                break
            a -= width
            c -= width
        spans[r, 0], spans[r, 1], spans[r, 2], spans[r, 3] = a, b, c, d
        kinds[r] = NEAR
        if same:
            kinds[r] = EXACT if b - a == d - c and _is_same(data, a, c, b - a) else FOLDED


@kernel
def _is_same(data, one, other, length):
    same = True
    for k in range(length):
        same &= data[one + k] == data[other + k]
    return same


@kernel
def _mark_width(data, at, stop, space, pages, entries):
    """Return the bytes of the mark at a place; 0 for a letter, a digit or white space."""
    if at >= stop:
        return np.int64(0)
    first = np.int64(data[at])
    width = np.int64(1)
    point = first
    if first >= 0xF0:
        width = np.int64(4)
        point = first & 0x07
    elif first >= 0xE0:
        width = np.int64(3)
        point = first & 0x0F
    elif first >= 0x80:
        width = np.int64(2)
        point = first & 0x1F
    for k in range(1, width):
        point = point << 6 | np.int64(data[at + k] & 0x3F)
    is_white = (
        point <= 0x20
        or point == 0x85
        or point == 0xA0
        or 0x2000 <= point <= 0x200A
        or point == 0x2028
        or point == 0x2029
        or point == 0x202F
        or point == 0x205F
        or point == 0x3000
        or point == 0x1680
    )
    entry = entries[np.int64(pages[point >> 8]) << 8 | (point & 255)]
    return np.int64(0) if is_white or entry & 3 != space else width


@kernel
def _mark_width_before(data, at, start, space, pages, entries):
    """Return the bytes of the mark right before a place; 0 where there is none."""
    if at <= start:
        return np.int64(0)
    begin = at - 1
    while begin > start and data[begin] & 0xC0 == 0x80:
        begin -= 1
    return _mark_width(data, begin, at, space, pages, entries)


def find_extents(
    texts: Texts, words: Words, documents: Positions, rows: Positions
) -> tuple[NDArray[np.int64], Bytes]:
    """Find the bytes and the kind of passages that are given in words.

    Marks right before and right behind go along, where they are the same on
    both sides: a full stop, quotation marks, brackets.

    Parameters
    ----------
    documents
        int64[n, 2], text of the left side and of the right.
    rows
        int64[n, 4 or more], first word of the left side and the one behind the
        last, the same of the right.

    Returns
    -------
    spans
        int64[n, 4], start and stop of the left side, of the right.
    kinds
        uint8[n]
    """
    tables = folding_table()
    spans = np.empty((len(rows), 4), np.int64)
    kinds = np.empty(len(rows), np.uint8)
    _measure(
        texts.data, words.ids, words.starts, words.stops, texts.offsets, documents, rows,
        table.SPACE, tables.pages, tables.entries, _MOST_MARKS, spans, kinds,
    )  # fmt: skip
    return spans, kinds
