"""Cleaned text and the map: what is cut out, and where everything stood.

Whole units go and the white space around them closes up; nothing else
changes, so cleaned text is the kept segments of the original, one after the
other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.kernels import kernel
from dedup.scratch import Scratch
from dedup.slices import cut_many_slices, run_slices
from dedup.units import Units

# Documents of so many bytes are counted together.
_SLICE_BYTES = 1 << 22


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
    data,
    offsets,
    first_document,
    last_document,
    starts,
    stops,
    unit_offsets,
    removed,
    kept_starts,
    kept_stops,
    kept_offsets,
):
    count = kept_offsets[first_document]
    for document in range(first_document, last_document):
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


@kernel
def _count_code_points(data, start, stop):
    # A byte starts a code point unless its two high bits are 10.
    count = np.int64(0)
    for i in range(start, stop):
        count += (data[i] & 0xC0) != 0x80
    return count


@kernel
def _count_from_units(
    data,
    which,
    unit_starts,
    unit_stops,
    unit_point_starts,
    unit_point_stops,
    starts,
    stops,
    point_starts,
    point_stops,
):
    for i in range(len(which)):
        unit = which[i]
        point_starts[i] = unit_point_starts[unit] + _count_code_points(
            data, unit_starts[unit], starts[i]
        )
        # Most are whole units.
        if starts[i] == unit_starts[unit] and stops[i] == unit_stops[unit]:
            point_stops[i] = unit_point_stops[unit]
        else:
            point_stops[i] = point_starts[i] + _count_code_points(data, starts[i], stops[i])


@kernel
def _count_spans(data, begin, first, last, starts, stops, point_starts, point_stops):
    count = np.int64(0)
    at = begin
    for i in range(first, last):
        count += _count_code_points(data, at, starts[i])
        point_starts[i] = count
        count += _count_code_points(data, starts[i], stops[i])
        point_stops[i] = count
        at = stops[i]
    return count, at


@kernel
def _count_documents(
    data,
    offsets,
    first,
    last,
    starts,
    stops,
    unit_offsets,
    kept_starts,
    kept_stops,
    kept_offsets,
    lengths,
    unit_point_starts,
    unit_point_stops,
    kept_point_starts,
    kept_point_stops,
):
    for document in range(first, last):
        begin = offsets[document]
        end = offsets[document + 1]
        count, at = _count_spans(
            data,
            begin,
            unit_offsets[document],
            unit_offsets[document + 1],
            starts,
            stops,
            unit_point_starts,
            unit_point_stops,
        )
        length = count + _count_code_points(data, at, end)
        lengths[document] = length
        segment = kept_offsets[document]
        last_segment = kept_offsets[document + 1]
        if length == end - begin:
            for k in range(segment, last_segment):
                kept_point_starts[k] = kept_starts[k] - begin
                kept_point_stops[k] = kept_stops[k] - begin
        elif (
            segment + 1 == last_segment
            and kept_starts[segment] == begin
            and kept_stops[segment] == end
        ):
            kept_point_starts[segment] = 0
            kept_point_stops[segment] = length
        else:
            _count_spans(
                data,
                begin,
                segment,
                last_segment,
                kept_starts,
                kept_stops,
                kept_point_starts,
                kept_point_stops,
            )


def cut_out(documents: Texts, units: Units, removed: Flags, scratch: Scratch | None = None) -> Kept:
    """Cut units out of documents and close the gaps.

    Of the white space before and behind a run of removed units one stays: the
    one with more line breaks, or the longer one; at either end of a document
    the outer one. A document of which nothing stays loses its white space too.

    Parameters
    ----------
    removed
        bool[unit_count]
    """
    scratch = scratch or Scratch()
    most = len(documents) + int(np.count_nonzero(removed))
    starts, stops = scratch.empty(most, np.int64), scratch.empty(most, np.int64)
    offsets = scratch.empty(len(documents) + 1, np.int64)
    offsets[0] = 0
    bounds = cut_many_slices(len(documents), documents.lengths, _SLICE_BYTES)
    for first, last in pairwise(bounds.tolist()):
        _cut_out(
            documents.data,
            documents.offsets,
            first,
            last,
            units.starts,
            units.stops,
            units.offsets,
            removed,
            starts,
            stops,
            offsets,
        )
        scratch.keep_to_room()
    count = int(offsets[-1])
    return Kept(starts[:count], stops[:count], offsets)


def count_all_code_points(
    documents: Texts,
    units: Units,
    kept: Kept,
    threads: int = 1,
    scratch: Scratch | None = None,
) -> CodePoints:
    """Count the spans of units and kept segments in code points of their documents."""
    scratch = scratch or Scratch()
    lengths = scratch.empty(len(documents), np.int64)
    unit_starts, unit_stops = (scratch.empty(len(units.starts), np.int64) for _ in range(2))
    kept_starts, kept_stops = (scratch.empty(len(kept.starts), np.int64) for _ in range(2))

    def work(first: int, last: int) -> None:
        _count_documents(
            documents.data,
            documents.offsets,
            first,
            last,
            units.starts,
            units.stops,
            units.offsets,
            kept.starts,
            kept.stops,
            kept.offsets,
            lengths,
            unit_starts,
            unit_stops,
            kept_starts,
            kept_stops,
        )
        scratch.keep_to_room()

    run_slices(work, cut_many_slices(len(documents), documents.lengths, _SLICE_BYTES), threads)
    return CodePoints(lengths, unit_starts, unit_stops, kept_starts, kept_stops)


def count_canonicals(
    data: Bytes,
    units: Units,
    points: CodePoints,
    which: Positions,
    starts: Positions,
    stops: Positions,
) -> tuple[Positions, Positions]:
    """Count spans that each begin in some unit in code points of its document.

    Parameters
    ----------
    which
        int64[n], the unit.
    starts, stops
        int64[n], bytes of the data.
    """
    point_starts, point_stops = np.empty((2, len(which)), np.int64)
    _count_from_units(
        data,
        which,
        units.starts,
        units.stops,
        points.unit_starts,
        points.unit_stops,
        starts,
        stops,
        point_starts,
        point_stops,
    )
    return point_starts, point_stops


def join_kept(data: Bytes, kept: Kept, document: int) -> bytes:
    """Join the kept segments of one document: its cleaned text, as UTF-8."""
    segments = range(int(kept.offsets[document]), int(kept.offsets[document + 1]))
    return b"".join(data[kept.starts[i] : kept.stops[i]].tobytes() for i in segments)
