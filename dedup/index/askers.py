"""Askers: units that may stand again, cut elsewhere, in what an index holds.

Most units share a run of shingles with some others, and with none enough of them. Only
of those that may have a stretch the others are fetched with their text: one in thirty.
"""

from dataclasses import dataclass

import numpy as np

from dedup.columns import Flags, Positions
from dedup.index.postings import Distinct, Measures, UnitKeys
from dedup.kernels import kernel
from dedup.stretches import (
    LEAST_SHARE,
    MOST_PLACES,
    SLACK_BYTES,
    SLACK_PART,
    SOURCE_SHARE,
    WORD_BYTES,
)


@dataclass(frozen=True)
class Askers:
    """Units for which stretches are looked for, and where.

    Attributes
    ----------
    asks
        bool[unit_count]; all units that have a stretch are among them.
    sources
        bool[n], which units of the index they may stand in, or beside.
    """

    asks: Flags
    sources: Flags


@kernel
def _list_meetings(order, rows, owners, offsets, found, first_own, counted, askers, sources):
    """Write which units share a run with each that counts; only count, while there is no room."""
    members = np.empty(MOST_PLACES, np.int64)
    count = np.int64(0)
    first = np.int64(0)
    while first < len(order):
        row = rows[order[first]]
        known = offsets[row + 1] - offsets[row]
        member_count = np.int64(0)
        behind = first
        while behind < len(order) and rows[order[behind]] == row:
            owner = owners[order[behind]]
            behind += 1
            if not counted[owner]:
                continue
            last = np.int64(-1)
            for place in range(min(known + member_count, MOST_PLACES)):
                source = found[offsets[row] + place] if place < known else members[place - known]
                if source == last or source == first_own + owner:
                    continue
                last = source
                if len(askers):
                    askers[count] = owner
                    sources[count] = source
                count += 1
            if member_count < MOST_PLACES:
                members[member_count] = first_own + owner
            member_count += 1
        first = behind
    return count


@kernel
def _choose_askers(
    askers, sources, run_counts, long, lengths, documents, starts, stops, asks, is_source
):
    """Say of which units enough runs stand near each other elsewhere, and where."""
    offsets = np.zeros(len(run_counts) + 1, np.int64)
    for asker in askers:
        offsets[asker + 1] += 1
    for i in range(len(run_counts)):
        offsets[i + 1] += offsets[i]
    ends = offsets[:-1].copy()
    by_asker = np.empty(len(sources), np.int64)
    for i in range(len(askers)):
        by_asker[ends[askers[i]]] = sources[i]
        ends[askers[i]] += 1
    for asker in range(len(run_counts)):
        hits = offsets[asker + 1] - offsets[asker]
        count = run_counts[asker]
        if hits == 0 or hits < LEAST_SHARE * count or not long[asker]:
            continue
        mine = np.sort(by_asker[offsets[asker] : offsets[asker + 1]])
        length = lengths[asker]
        needed = max(LEAST_SHARE * count, min(count, 2))
        first = np.int64(0)
        while first < hits:
            source = mine[first]
            behind = first
            while behind < hits and mine[behind] == source:
                behind += 1
            own = behind - first
            if own >= SOURCE_SHARE * count:
                # The text around it is nowhere wider than this.
                own_length = stops[source] - starts[source]
                slack = length // 2 + (length + own_length) // SLACK_PART + SLACK_BYTES
                reach = length + slack + WORD_BYTES
                begin = starts[source] - reach
                end = stops[source] + reach
                low = first
                high = behind
                while low > 0:
                    other = mine[low - 1]
                    if documents[other] != documents[source] or stops[other] <= begin:
                        break
                    low -= 1
                while high < hits:
                    other = mine[high]
                    if documents[other] != documents[source] or starts[other] >= end:
                        break
                    high += 1
                is_cut_elsewhere = (
                    3 * own_length > 4 * length or 4 * own_length < 3 * length or high - low > own
                )
                if is_cut_elsewhere and high - low >= needed:
                    asks[asker] = True
                    for i in range(low, high):
                        is_source[mine[i]] = True
            first = behind


def find_askers(
    keys: UnitKeys,
    runs: Distinct,
    offsets: Positions,
    found: Positions,
    measures: Measures,
    documents: Positions,
    counted: Flags,
) -> Askers:
    """Find the units for which stretches are looked for.

    Parameters
    ----------
    keys
        Of the units.
    runs
        The distinct ones of theirs.
    offsets, found
        int64[k + 1] and int64[n], the first `MOST_PLACES` units of the index that
        have each distinct run: rows of the measures.
    measures
        Of units of the index, rising, which stand before all that ask.
    documents
        int64[unit_count], numbers of the documents of those that ask.
    counted
        bool[unit_count], units that are the first of their text, here and in the index.

    Notes
    -----
    What `propose_stretches` asks for, but for the place of a run in its unit: by that
    the text around it would be narrower.
    """
    counts = keys.runs.counts
    owners = np.repeat(np.arange(len(counts)), counts)
    first_own = len(measures)
    asked = (runs.order, runs.rows, owners, offsets, found, first_own, counted)
    nothing = np.empty(0, np.int64)
    count = _list_meetings(*asked, nothing, nothing)
    askers, sources = np.empty(count, np.int64), np.empty(count, np.int64)
    if count:
        _list_meetings(*asked, askers, sources)
    asks = np.zeros(len(counts), np.bool_)
    is_source = np.zeros(first_own + len(counts), np.bool_)
    _choose_askers(
        askers,
        sources,
        counts,
        keys.asks,
        keys.lengths,
        np.concatenate([measures.documents, documents]),
        np.concatenate([measures.starts, keys.starts]),
        np.concatenate([measures.starts + measures.lengths, keys.starts + keys.lengths]),
        asks,
        is_source,
    )
    return Askers(asks, is_source[:first_own])
