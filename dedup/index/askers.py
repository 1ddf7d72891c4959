"""Askers: units that may stand again, cut elsewhere, in what an index holds.

Most units share a run of shingles with some others, and with none enough of them. Only
of those that may have a stretch the others are fetched with their text: one in ten.
"""

import numpy as np

from dedup.columns import Flags, Positions
from dedup.index.postings import Distinct, UnitKeys
from dedup.kernels import kernel
from dedup.stretches import (
    LEAST_SHARE,
    MOST_PLACES,
    SLACK_BYTES,
    SLACK_PART,
    SOURCE_SHARE,
    WORD_BYTES,
)


@kernel
def _list_meetings(order, rows, owners, offsets, found, numbers, counted, askers, sources):
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
                if source == last or source == numbers[owner]:
                    continue
                last = source
                if len(askers):
                    askers[count] = owner
                    sources[count] = source
                count += 1
            if member_count < MOST_PLACES:
                members[member_count] = numbers[owner]
            member_count += 1
        first = behind
    return count


@kernel
def _choose_askers(askers, sources, run_counts, lengths, longest, asks):
    """Say of which units enough runs stand near each other elsewhere."""
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
        if hits == 0 or hits < LEAST_SHARE * count:
            continue
        mine = np.sort(by_asker[offsets[asker] : offsets[asker + 1]])
        # As many units as the text around a place may have.
        reach = 2 * (lengths[asker] + SLACK_BYTES + WORD_BYTES)
        reach += 2 * ((lengths[asker] + longest) // SLACK_PART + 1)
        needed = max(LEAST_SHARE * count, min(count, 2))
        low = np.int64(0)
        high = np.int64(0)
        first = np.int64(0)
        while first < hits and not asks[asker]:
            behind = first
            while behind < hits and mine[behind] == mine[first]:
                behind += 1
            if behind - first >= SOURCE_SHARE * count:
                while mine[low] < mine[first] - reach:
                    low += 1
                while high < hits and mine[high] <= mine[first] + reach:
                    high += 1
                asks[asker] = high - low >= needed
            first = behind


def find_askers(
    keys: UnitKeys,
    runs: Distinct,
    offsets: Positions,
    found: Positions,
    numbers: Positions,
    counted: Flags,
    longest: int,
) -> Flags:
    """Find the units for which stretches are looked for; all that have one are among them.

    Parameters
    ----------
    keys
        Of the units.
    runs
        The distinct ones of theirs.
    offsets, found
        int64[k + 1] and int64[n], the first `MOST_PLACES` units of the index that
        have each distinct run.
    numbers
        int64[unit_count], of the units, which stand behind those.
    counted
        bool[unit_count], units that are the first of their text, here and in the index.
    longest
        Bytes of the longest unit of all.

    Returns
    -------
    bool[unit_count]

    Notes
    -----
    What `propose_stretches` asks for, but for the place of a run in its unit.
    """
    counts = keys.runs.counts
    owners = np.repeat(np.arange(len(counts)), counts)
    asked = (runs.order, runs.rows, owners, offsets, found, numbers, counted)
    nothing = np.empty(0, np.int64)
    count = _list_meetings(*asked, nothing, nothing)
    askers, sources = np.empty(count, np.int64), np.empty(count, np.int64)
    if count:
        _list_meetings(*asked, askers, sources)
    asks = np.zeros(len(counts), np.bool_)
    _choose_askers(askers, sources, counts, keys.lengths, longest, asks)
    return asks & keys.asks
