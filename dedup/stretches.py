"""Stretches: text that stays and that a unit repeats, though it is cut elsewhere there.

A sentence that was split, merged or that begins in the middle of another has no
unit that is like it. Runs of its shingles, sampled by their content, lead to
earlier units that have the same; in the text around each of those the stretch
that is most like the unit is looked for, whole words of it. It counts when its
score, exact as that of two units, comes up to the threshold.

Which stretches a unit has depends on the two texts alone, not on what stays:
that is for the law to say.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.folding import describe, find_places, fold_spans
from dedup.kernels import kernel
from dedup.options import Options
from dedup.orders import order_hashes
from dedup.pairs import select_repeated
from dedup.scratch import Column, Scratch
from dedup.shingles import Runs, find_stretches, measure_sets, score_pairs
from dedup.slices import map_slices, run_slices
from dedup.units import Units, find_documents

# A run in more units is followed to the first of them only.
MOST_PLACES = 4

# Share of its runs that a unit has in common with a text in which it is looked for,
# and with one unit of that; and how many such units are followed.
LEAST_SHARE, SOURCE_SHARE = 0.5, 0.2
_MOST_SOURCES = 4

# Keys that are grouped at once, for they fit into a cache then, and leaders.
_KEYS_AT_ONCE = 1 << 22
_LEADERS_AT_ONCE = 1 << 11

# Hits that are sorted by inserting them.
_FEW_HITS = 32

# Leaders that are held at once against the text that is proposed for them.
_ASKERS_AT_ONCE = 1 << 9

# What a key that is grouped and a meeting of two leaders take.
_KEY_BYTES, _MEETING_BYTES = 24, 24

# Part of a chunk that meetings may take: all of it takes 100 MB more and is no faster.
_MEETING_SHARE = 4

# Bytes that a place in a unit is told by, and in parts of the longer of the two.
SLACK_BYTES = 24
SLACK_PART = 64

# A word that the border of a text would cut is taken whole up to so many bytes.
WORD_BYTES = 64


@dataclass(frozen=True)
class Proposals:
    """Where a unit may stand again.

    Proposals of unit `i` are ``offsets[i]`` to ``offsets[i + 1]``.

    Attributes
    ----------
    offsets
        int64[leader_count + 1]
    sources
        int32[n], earlier leaders, rising for each unit.
    starts, stops
        int64[n], text around it, in bytes on borders of code points.
    """

    offsets: Positions
    sources: NDArray[np.int32]
    starts: Positions
    stops: Positions


@dataclass(frozen=True)
class Stretches:
    """Stretches that are like units.

    Those of unit `i` are ``offsets[i]`` to ``offsets[i + 1]``, by their sources.

    Attributes
    ----------
    offsets
        int64[leader_count + 1]
    starts, stops
        int64[n], bytes.
    scores, containments
        float64[n], exact Jaccard, and shared shingles over the smaller set.
    """

    offsets: Positions
    starts: Positions
    stops: Positions
    scores: NDArray[np.float64]
    containments: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def none(cls, offsets: Positions) -> Self:
        """Return none, of as many units as there are offsets, which are 0."""
        return cls(offsets, *np.empty((2, 0), np.int64), *np.empty((2, 0)))


@kernel
def _group_runs(order, keys, rows, is_first):
    """Write the runs that stand twice or more, group by group, each in rising order."""
    count = np.int64(0)
    i = np.int64(0)
    while i < len(order):
        behind = i + 1
        while behind < len(order) and keys[order[behind]] == keys[order[i]]:
            behind += 1
        if behind - i > 1:
            for k in range(i, behind):
                rows[count] = order[k]
                is_first[count] = k == i
                count += 1
        i = behind
    return count


@kernel
def _list_meetings(
    rows, is_first, owners, asks, is_source, begin, end, places, askers, sources, meetings
):
    """Write which leaders share a run with askers of a range, and where it stands in both.

    Counts only, while there is no room.
    """
    count = np.int64(0)
    first = np.int64(0)
    for k in range(len(rows)):
        if is_first[k]:
            first = k
        asker = owners[k]
        if not (begin <= asker < end and asks[asker]):
            continue
        last = np.int64(-1)
        for m in range(first, min(k, first + MOST_PLACES)):
            source = owners[m]
            if source == asker or source == last or not is_source[source]:
                continue
            last = source
            if len(askers):
                askers[count] = asker - begin
                sources[count] = source
                meetings[count, 0] = places[rows[k]]
                meetings[count, 1] = places[rows[m]]
            count += 1
    return count


@kernel
def _count_later(owners, is_first, counts):
    for i in range(len(owners)):
        # One that is not here is the first.
        if not is_first[i] and owners[i] >= 0:
            counts[owners[i]] += 1


@kernel
def _sort_by_asker(askers, offsets, order):
    for i in range(len(askers)):
        offsets[askers[i] + 2] += 1
    for leader in range(len(offsets) - 2):
        offsets[leader + 2] += offsets[leader + 1]
    for i in range(len(askers)):
        order[offsets[askers[i] + 1]] = i
        offsets[askers[i] + 1] += 1


@kernel
def _is_inside(byte):
    """Tell whether a byte may stand inside a word."""
    return byte >= 128 or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@kernel
def _propose(
    data, first, last, begin_leader, counts, offsets, order, meeting_sources, meetings, unit_of,
    starts, stops, documents, text_offsets, proposal_counts, sources, begins, ends,
):  # fmt: skip
    """Write the proposals of some leaders; return how many."""
    count = np.int64(0)
    for leader in range(first, last):
        before = count
        begin_row = offsets[leader - begin_leader]
        hits = offsets[leader - begin_leader + 1] - begin_row
        proposal_counts[leader] = 0
        if hits == 0 or hits < LEAST_SHARE * counts[leader]:
            continue
        unit = unit_of[leader]
        length = stops[unit] - starts[unit]
        # By the unit, then by where the run stands in the asker.
        mine = order[begin_row : begin_row + hits]
        keys = np.empty(hits, np.int64)
        for i in range(hits):
            own_place, place = meetings[mine[i], 0], meetings[mine[i], 1]
            keys[i] = (
                unit_of[meeting_sources[mine[i]]] << 16 | np.int64(own_place) << 8 | np.int64(place)
            )
        if hits <= _FEW_HITS:
            # Nearly all: half the time of a general sort.
            for i in range(1, hits):
                key, row = keys[i], mine[i]
                at = i
                while at > 0 and keys[at - 1] > key:
                    keys[at] = keys[at - 1]
                    mine[at] = mine[at - 1]
                    at -= 1
                keys[at] = key
                mine[at] = row
        else:
            mine = mine[np.argsort(keys, kind="mergesort")]
        i = np.int64(0)
        while i < hits:
            other = meeting_sources[mine[i]]
            source = unit_of[other]
            behind = i + 1
            while behind < hits and meeting_sources[mine[behind]] == other:
                behind += 1
            if behind - i >= SOURCE_SHARE * counts[leader]:
                document = documents[other]
                own_length = stops[source] - starts[source]
                slack = length // 2 + (length + own_length) // SLACK_PART + SLACK_BYTES
                shift = starts[source] + (own_length * np.int64(meetings[mine[i], 1]) >> 8)
                shift -= length * np.int64(meetings[mine[i], 0]) >> 8
                least = text_offsets[document]
                most = text_offsets[document + 1]
                # A unit is not looked for in itself.
                if starts[source] < starts[unit]:
                    most = min(most, starts[unit])
                else:
                    least = max(least, stops[unit])
                begin = max(least, min(most, shift - slack))
                end = min(most, max(begin, shift + length + slack))
                # Whole words, unless they are very long.
                while (
                    begin > least
                    and begin > shift - slack - WORD_BYTES
                    and (data[begin] & 0xC0 == 0x80 or _is_inside(data[begin - 1]))
                ):
                    begin -= 1
                while begin < end and data[begin] & 0xC0 == 0x80:
                    begin += 1
                while (
                    end < most
                    and end < shift + length + slack + WORD_BYTES
                    and (data[end] & 0xC0 == 0x80 or _is_inside(data[end]))
                ):
                    end += 1
                while end > begin and end < most and data[end] & 0xC0 == 0x80:
                    end -= 1
                # Its neighbours have the rest, when they have something.
                low = i
                while low > 0 and stops[unit_of[meeting_sources[mine[low - 1]]]] > begin:
                    low -= 1
                high = behind
                while high < hits and starts[unit_of[meeting_sources[mine[high]]]] < end:
                    high += 1
                # Where one unit of about that length has it all, the two were held
                # against each other, and are too little alike.
                others = (high - low) - (behind - i)
                is_cut_elsewhere = (
                    3 * own_length > 4 * length or 4 * own_length < 3 * length or others > 0
                )
                needed = max(LEAST_SHARE * counts[leader], min(counts[leader], 2))
                if is_cut_elsewhere and high - low >= needed:
                    if count - before == _MOST_SOURCES:
                        break
                    # By rank; in most orders they come so.
                    at = count
                    while at > before and sources[at - 1] > other:
                        sources[at] = sources[at - 1]
                        begins[at] = begins[at - 1]
                        ends[at] = ends[at - 1]
                        at -= 1
                    sources[at] = other
                    begins[at] = begin
                    ends[at] = end
                    count += 1
            i = behind
        proposal_counts[leader] = count - before
    return count


def propose_stretches(
    texts: Texts,
    units: Units,
    leaders: Positions,
    asks: Flags,
    is_source: Flags,
    runs: Runs,
    taken: NDArray[np.uint64] | None = None,
    threads: int = 1,
    scratch: Scratch | None = None,
) -> Proposals:
    """Propose where leaders may stand again.

    Parameters
    ----------
    leaders
        int64[leader_count], their units, in the order of the policy.
    asks, is_source
        bool[leader_count], whether a leader is looked for, and whether others
        are looked for around it.
    runs
        Of all leaders.
    taken
        uint64[n], runs of units before all of these: each takes a place of that run.
    """
    scratch = scratch or Scratch()
    count = len(leaders)
    run_keys, places = runs.keys, runs.places
    if taken is not None and len(taken):
        run_keys = np.concatenate([taken, run_keys])
        places = np.concatenate([np.zeros(len(taken), np.uint8), places])
    # The owner of a place that is taken is -1.
    run_offsets = scratch.full(count + 1, len(run_keys) - len(runs.keys), np.int64)
    run_offsets[1:] += np.cumsum(runs.counts)
    most_keys = min(_KEYS_AT_ONCE, scratch.chunk_bytes // threads // _KEY_BYTES)
    part_bits = (len(run_keys) // most_keys).bit_length()
    parts = np.arange((1 << part_bits) + 1)
    kinds = (np.int32, np.bool_, np.int32)
    groups = [[Column(scratch, kind) for kind in kinds] for _ in parts[1:]]
    known = scratch.full(count, 0, np.int32)

    def group(number: int, _: int) -> None:
        selected = select_repeated(run_keys, number, part_bits)
        keys = run_keys[selected]
        rows, is_first = np.empty(len(selected), np.int32), np.empty(len(selected), np.bool_)
        size = _group_runs(order_hashes(keys, part_bits), keys, rows, is_first)
        owners = (np.searchsorted(run_offsets, selected, side="right") - 1).astype(np.int32)
        found = (selected[rows[:size]], is_first[:size], owners[rows[:size]])
        for column, values in zip(groups[number], found, strict=True):
            column.extend(values)
        scratch.keep_to_room()

    run_slices(group, parts, threads)
    # Runs that stand in an earlier unit too: what comes later has no say.
    for _, is_first, owners in groups:
        _count_later(owners.values, is_first.values, known)
    # Of four leaders that share a run, three share too few.
    asks = asks & (known >= LEAST_SHARE * runs.counts) & (known > 0)
    documents = find_documents(units, leaders, scratch)
    proposal_counts = scratch.full(count, 0, np.int32)
    columns = [Column(scratch, kind) for kind in (np.int32, np.int64, np.int64)]
    # Askers of which the meetings may be many enough to fill a chunk.
    weights = np.cumsum(np.where(asks, known, 0) * (MOST_PLACES * _MEETING_BYTES))
    chunk_bytes = scratch.chunk_bytes // _MEETING_SHARE
    steps = np.arange(chunk_bytes, int(weights[-1]) if count else 0, chunk_bytes)
    ends = np.unique([0, *np.searchsorted(weights, steps).tolist(), count])

    for begin, end in pairwise(ends.tolist()):

        def meet(
            number: int, _: int, begin: int = begin, end: int = end
        ) -> tuple[NDArray[Any], ...]:
            found = [column.values for column in groups[number]]
            asked = (*found, asks, is_source, begin, end, places)
            nothing = np.empty((0, 2), np.uint8)
            no_leaders = np.empty(0, np.int32)
            most = _list_meetings(*asked, no_leaders, no_leaders, nothing)
            rooms = (
                np.empty(most, np.int32),
                np.empty(most, np.int32),
                np.empty((most, 2), np.uint8),
            )
            if most:
                _list_meetings(*asked, *rooms)
            scratch.keep_to_room()
            return rooms

        met = list(map_slices(meet, parts, threads))
        askers, sources, meetings = (np.concatenate(column) for column in zip(*met, strict=True))
        del met
        offsets = np.zeros(end - begin + 2, np.int64)
        order = np.empty(len(askers), np.int32)
        _sort_by_asker(askers, offsets, order)

        def propose(
            first: int,
            last: int,
            begin: int = begin,
            offsets: Positions = offsets,
            order: NDArray[np.int32] = order,
            sources: NDArray[np.int32] = sources,
            meetings: NDArray[np.uint8] = meetings,
        ) -> tuple[NDArray[Any], ...]:
            most = int(offsets[last - begin] - offsets[first - begin])
            found = np.empty(most, np.int32), np.empty(most, np.int64), np.empty(most, np.int64)
            size = _propose(
                texts.data,
                first,
                last,
                begin,
                runs.counts,
                offsets,
                order,
                sources,
                meetings,
                leaders,
                units.starts,
                units.stops,
                documents,
                texts.offsets,
                proposal_counts,
                *found,
            )
            scratch.keep_to_room()
            return tuple(column[:size].copy() for column in found)

        bounds = np.append(np.arange(begin, max(end, begin + 1), _LEADERS_AT_ONCE), end)
        for part in map_slices(propose, bounds, threads):
            for column, values in zip(columns, part, strict=True):
                column.extend(values)
        scratch.keep_to_room()
    proposal_offsets = scratch.full(count + 1, 0, np.int64)
    np.cumsum(proposal_counts, out=proposal_offsets[1:])
    return Proposals(proposal_offsets, *(column.values for column in columns))


def match_stretches(
    data: Bytes,
    units: Units,
    leaders: Positions,
    proposals: Proposals,
    options: Options,
    threads: int = 1,
    scratch: Scratch | None = None,
) -> Stretches:
    """Find in each proposed text the stretch that is most like the unit.

    One that does not come up to the threshold is left out.

    Parameters
    ----------
    leaders
        int64[leader_count], their units.
    """
    scratch = scratch or Scratch()
    counts = np.diff(proposals.offsets)
    columns = [Column(scratch, kind) for kind in (np.int64, np.int64, np.float64, np.float64)]
    found_counts = scratch.full(len(leaders), 0, np.int64)
    askers = np.flatnonzero(counts)

    def match(first: int, last: int) -> tuple[NDArray[Any], ...]:
        some = askers[first:last]
        rows = slice(int(proposals.offsets[some[0]]), int(proposals.offsets[some[-1] + 1]))
        of_pair = np.repeat(some, counts[some])
        pairs, *found = _match(
            data, units, leaders[of_pair], proposals.starts[rows], proposals.stops[rows], options
        )
        np.add.at(found_counts, of_pair[pairs], 1)
        scratch.keep_to_room()
        return tuple(found)

    bounds = np.append(np.arange(0, len(askers), _ASKERS_AT_ONCE), len(askers))
    for part in map_slices(match, bounds, threads):
        for column, values in zip(columns, part, strict=True):
            column.extend(values)
    offsets = scratch.full(len(leaders) + 1, 0, np.int64)
    np.cumsum(found_counts, out=offsets[1:])
    return Stretches(offsets, *(column.values for column in columns))


def _match(
    data: Bytes,
    units: Units,
    which: Positions,
    starts: Positions,
    stops: Positions,
    options: Options,
) -> tuple[NDArray[Any], ...]:
    """Find stretches: which pairs have one, its bytes, its score and containment."""
    own, rows = np.unique(which, return_inverse=True)
    folded = _fold_both(data, units, own, starts, stops)
    firsts, lasts = find_stretches(folded, rows, np.arange(len(own), len(folded)), options)
    pairs = np.flatnonzero(firsts >= 0)
    own, rows = np.unique(own[rows[pairs]], return_inverse=True)
    begins, ends = find_places(data, starts[pairs], stops[pairs], firsts[pairs], lasts[pairs])
    begins, ends = _widen(data, units, begins, ends)
    folded = _fold_both(data, units, own, begins, ends)
    sets = measure_sets(folded, options)
    right = np.arange(len(own), len(folded))
    shared = score_pairs(folded, rows, right, sets, options)
    is_good = shared > 0
    if options.numbers:
        numbers = describe(folded).numbers
        is_good &= numbers[rows] == numbers[right]
    good = np.flatnonzero(is_good)
    shared, sizes, own_sizes = shared[good], sets.sizes[right[good]], sets.sizes[rows[good]]
    return (
        pairs[good],
        begins[good],
        ends[good],
        shared / (sizes + own_sizes - shared),
        shared / np.minimum(sizes, own_sizes),
    )


def _fold_both(
    data: Bytes, units: Units, own: Positions, starts: Positions, stops: Positions
) -> Texts:
    """Fold units, and spans behind them."""
    return fold_spans(
        data,
        np.concatenate([units.starts[own], starts]),
        np.concatenate([units.stops[own], stops]),
    )


def _widen(
    data: Bytes, units: Units, starts: Positions, stops: Positions
) -> tuple[Positions, Positions]:
    """Let stretches take along signs that part them from the border of a unit."""
    firsts = np.searchsorted(units.stops, starts, side="right")
    lasts = np.searchsorted(units.starts, stops, side="left") - 1
    unit_starts = np.minimum(units.starts[firsts], starts)
    unit_stops = np.maximum(units.stops[lasts], stops)
    before = np.diff(fold_spans(data, unit_starts, starts).offsets)
    behind = np.diff(fold_spans(data, stops, unit_stops).offsets)
    return np.where(before == 0, unit_starts, starts), np.where(behind == 0, unit_stops, stops)
