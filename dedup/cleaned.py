"""Cleaned text and the map: what is cut out, and where everything stood.

Whole units go and the white space around them closes up; nothing else
changes, so cleaned text is the kept segments of the original, one after the
other.
"""

from dataclasses import dataclass

import numpy as np

from dedup.columns import Bytes, Flags, Positions, Texts, count_code_points
from dedup.kernels import kernel
from dedup.slices import run_slices
from dedup.units import Units


@dataclass(frozen=True)
class Kept:
    """The segments of documents that stay.

    Attributes
    ----------
    starts, stops
        int64[segment_count], byte positions, never empty.
    offsets
        int64[document_count + 1], document `i` keeps the segments from
        ``offsets[i]`` to ``offsets[i + 1]``.
    """

    starts: Positions
    stops: Positions
    offsets: Positions


@dataclass(frozen=True)
class CodePoints:
    """Byte spans of units and segments, counted in code points of their documents.

    Attributes
    ----------
    lengths
        int64[document_count]
    unit_starts, unit_stops
        int64[unit_count]
    kept_starts, kept_stops
        int64[segment_count]
    """

    lengths: Positions
    unit_starts: Positions
    unit_stops: Positions
    kept_starts: Positions
    kept_stops: Positions


@kernel
def _line_breaks(data, start, stop):
    """Return how many line breaks stand in white space, and where the last one ends."""
    count = 0
    after = start
    i = start
    while i < stop:
        width = 0
        byte = data[i]
        if byte == 13:
            width = 2 if i + 1 < stop and data[i + 1] == 10 else 1
        elif 10 <= byte <= 12:
            width = 1
        elif byte == 0xC2 and i + 1 < stop and data[i + 1] == 0x85:
            width = 2
        elif (
            byte == 0xE2
            and i + 2 < stop
            and data[i + 1] == 0x80
            and (data[i + 2] == 0xA8 or data[i + 2] == 0xA9)
        ):
            width = 3
        if width:
            count += 1
            i += width
            after = i
        else:
            i += 1
    return count, after


@kernel
def _cut_out(
    data, offsets, starts, stops, unit_offsets, removed, kept_starts, kept_stops, kept_offsets
):
    count = 0
    for document in range(len(offsets) - 1):
        first = unit_offsets[document]
        last = unit_offsets[document + 1]
        segment = offsets[document]
        i = first
        while i < last:
            if not removed[i]:
                i += 1
                continue
            j = i + 1
            while j < last and removed[j]:
                j += 1
            before = offsets[document] if i == first else stops[i - 1]
            behind = offsets[document + 1] if j == last else starts[j]
            cut_start = starts[i]
            cut_stop = stops[j - 1]
            if i == first and j == last:
                cut_start = before
                cut_stop = behind
            elif i == first:
                cut_stop = behind
            elif j == last:
                cut_start = before
            else:
                # Two gaps become one. The one with more line breaks says how far
                # apart its neighbours stand, the later one how what follows is
                # indented.
                breaks_before, indent_before = _line_breaks(data, before, cut_start)
                breaks_behind, indent_behind = _line_breaks(data, cut_stop, behind)
                if breaks_before > breaks_behind:
                    if breaks_behind:
                        cut_start = indent_before
                        cut_stop = indent_behind
                    else:
                        cut_stop = behind
                elif breaks_behind or behind - cut_stop >= cut_start - before:
                    cut_start = before
                else:
                    cut_stop = behind
            if cut_start > segment:
                kept_starts[count] = segment
                kept_stops[count] = cut_start
                count += 1
            segment = cut_stop
            i = j
        if segment < offsets[document + 1]:
            kept_starts[count] = segment
            kept_stops[count] = offsets[document + 1]
            count += 1
        kept_offsets[document + 1] = count
    return count


def cut_out(documents: Texts, units: Units, removed: Flags) -> Kept:
    """Cut units out of documents and close the gaps.

    Of the white space before and behind a run of removed units one stays: the
    one with more line breaks, or the longer one; at either end of a document
    the outer one. A document of which nothing stays loses its white space too.

    Parameters
    ----------
    removed
        bool[unit_count]
    """
    most = len(documents) + int(np.count_nonzero(removed))
    starts, stops = np.empty(most, np.int64), np.empty(most, np.int64)
    offsets = np.zeros(len(documents) + 1, np.int64)
    count = _cut_out(
        documents.data,
        documents.offsets,
        units.starts,
        units.stops,
        units.offsets,
        removed,
        starts,
        stops,
        offsets,
    )
    return Kept(starts[:count], stops[:count], offsets)


def count_all_code_points(
    documents: Texts, units: Units, kept: Kept, threads: int = 1
) -> CodePoints:
    """Count the spans of units and kept segments in code points of their documents."""
    borders = count_code_points(documents.data, documents.offsets)

    columns: list[Positions] = [np.empty(0, np.int64)] * 4

    def work(first: int, last: int) -> None:
        for i in range(first, last):
            part = (units, kept)[i]
            both = np.zeros(2 * len(part.starts) + 1, np.int64)
            both[1::2] = part.starts
            both[2::2] = part.stops
            counted = count_code_points(documents.data, both)
            before = np.repeat(borders[:-1], np.diff(part.offsets))
            columns[2 * i : 2 * i + 2] = counted[1::2] - before, counted[2::2] - before

    run_slices(work, np.arange(3), threads)
    return CodePoints(np.diff(borders), *columns)


def join_kept(data: Bytes, kept: Kept, document: int) -> bytes:
    """Join the kept segments of one document: its cleaned text, as UTF-8."""
    segments = range(int(kept.offsets[document]), int(kept.offsets[document + 1]))
    return b"".join(data[kept.starts[i] : kept.stops[i]].tobytes() for i in segments)
