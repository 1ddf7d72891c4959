"""Judgements: what the law says of documents that are held against an index.

The units that they share a key with are fetched, with the documents they stand in; the
law is applied to those and the new ones, and comes to what a run over all would say.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Positions
from dedup.corpus import cut_duplicates
from dedup.duplicates import GOES, OPEN, SHORT, STAYS, Decided, Duplicates, find_duplicates
from dedup.filters import Filters
from dedup.index.journal import COPY, ROW, Journal, News, Record, join_records
from dedup.index.lookups import Lookups
from dedup.index.postings import Postings, UnitKeys, make_keys
from dedup.kinds import KINDS
from dedup.options import Options
from dedup.pipeline import list_results
from dedup.results import Result
from dedup.stretches import LEAST_SHARE, MOST_PLACES
from dedup.units import Units

# Texts that share a fingerprint are compared; so many are looked at.
_MOST_EQUAL: Final = 4


@dataclass(frozen=True)
class Judgement:
    """What the law says of documents that were held against the index.

    Attributes
    ----------
    results
        One for each.
    records
        The same, as the journal has it.
    keys
        Of the units that were judged.
    key_units, key_states
        int64[n] and uint8[n], number and state of each unit that has keys.
    """

    results: list[Result]
    records: list[Record]
    keys: UnitKeys
    key_units: Positions
    key_states: NDArray[np.uint8]

    def put(self, old_leaders: Positions | None = None) -> tuple[Postings, News]:
        """Return what the units that were judged are put under from now on.

        Parameters
        ----------
        old_leaders
            int64[n], numbers of those that are under their text and runs already.

        Returns
        -------
        Postings
        News
            Numbers of the units.
        """
        staying = self.key_states == STAYS
        leaders = staying | (self.key_states == GOES)
        if old_leaders is not None:
            leaders &= ~np.isin(self.key_units, old_leaders)
        postings = self.keys.put(leaders, staying, self.key_units)
        return postings, (self.key_units[leaders], self.key_units[staying])


def judge(
    opened: list[Record],
    journal: Journal,
    lookups: Lookups,
    ranges: NDArray[np.int64],
    options: Options,
    passage: int,
    threads: int = 1,
) -> Judgement:
    """Judge the open units of some documents, which stand behind all others.

    Parameters
    ----------
    opened
        The documents; the state of a unit that is to be judged is OPEN.
    ranges
        int64[n, 3], number, first unit and unit count of all that they are held
        against.
    passage
        The number of the next passage.
    """
    texts, units = join_records(opened)
    states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in opened)])
    rows = np.flatnonzero(states == OPEN)
    offsets = np.searchsorted(rows, units.offsets)
    keys = make_keys(
        texts,
        Units(units.starts[rows], units.stops[rows], offsets),
        options,
        threads,
    )
    leaders = _find_leaders(keys, lookups, ranges, options)
    unit_numbers = np.concatenate(
        [np.empty(0, np.int64), *(one.first_unit + np.arange(len(one.starts)) for one in opened)]
    )
    # One that is judged again is still under its keys.
    leaders = np.setdiff1d(leaders, unit_numbers[rows], assume_unique=True)
    of_range = np.searchsorted(ranges[:, 1], leaders, side="right") - 1
    mine = {one.number for one in opened}
    wanted = [number for number in np.unique(ranges[of_range, 0]).tolist() if number not in mine]
    records = [*journal.documents(wanted), *opened]
    all_texts, all_units = join_records(records)
    all_states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in records)])
    all_states[all_states == COPY] = GOES
    first_units = np.array([one.first_unit for one in records], np.int64)
    at = np.searchsorted(first_units, leaders, side="right") - 1
    local = all_units.offsets[at] + leaders - first_units[at]
    found = find_duplicates(
        all_texts,
        all_units,
        options,
        threads,
        decided=Decided(all_states, local),
    )
    found = replace(found, passages=found.passages + passage)
    corpus = cut_duplicates(all_texts, all_units, found, Filters(), threads)
    names = [one.id for one in records]
    documents = [(one.id, one.text.decode()) for one in opened]
    results = list_results(documents, corpus, options, names)
    first = len(records) - len(opened)
    numbers = {one.id: one.number for one in records}
    judged = _record(opened, results, found, all_units, first, numbers)
    judged_states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in judged)])
    looked_at = rows[keys.units]
    return Judgement(results, judged, keys, unit_numbers[looked_at], judged_states[looked_at])


def _find_leaders(
    keys: UnitKeys, lookups: Lookups, ranges: NDArray[np.int64], options: Options
) -> Positions:
    """Find the units that others are to be held against, rising."""

    def find(wanted: NDArray[np.uint64], most: int) -> tuple[Positions, Positions]:
        distinct, rows = np.unique(wanted, return_inverse=True)
        offsets, found = lookups.find(distinct, most, ranges)
        counts = np.diff(offsets)[rows]
        own = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
        return own, found[offsets[:-1][rows][own] + within]

    _, equal = find(keys.texts, _MOST_EQUAL)
    _, banded = find(keys.bands.ravel(), options.bucket_cap)
    leaders = [equal, banded]
    if len(keys.runs):
        own, shared = find(keys.runs, MOST_PLACES)
        # Of a unit that has too few runs in common with all others nothing is needed.
        _, again, times = np.unique(keys.runs, return_inverse=True, return_counts=True)
        is_known = times[again] > 1
        is_known[own] = True
        of_run = np.repeat(np.arange(len(keys.units)), keys.run_counts)
        known = np.bincount(of_run[is_known], minlength=len(keys.units))
        asks = keys.asks & (known >= LEAST_SHARE * keys.run_counts)
        leaders.append(shared[asks[of_run[own]]])
    return np.unique(np.concatenate(leaders))


def _record(
    opened: list[Record],
    results: list[Result],
    found: Duplicates,
    units: Units,
    first: int,
    numbers: dict[str, int],
) -> list[Record]:
    """Turn what was found of open documents into what the journal has of them."""
    assert found.leaders is not None
    is_leader = np.zeros(len(units), np.bool_)
    is_leader[found.leaders] = True
    goes = np.zeros(len(units), np.bool_)
    goes[found.units] = True
    judged = np.where(goes, np.where(is_leader, GOES, COPY), STAYS)
    judged[~found.compared] = SHORT
    row_offsets = np.searchsorted(found.units, units.offsets)
    records = []
    for i, (one, result) in enumerate(zip(opened, results, strict=True), first):
        base = int(units.offsets[i])
        mine = judged[base : base + len(one.starts)]
        states = np.where(one.states == OPEN, mine, one.states).astype(np.uint8)
        rows = np.empty(len(result.duplicates), ROW)
        rows["unit"] = found.units[row_offsets[i] : row_offsets[i + 1]] - base
        for row, duplicate in zip(rows, result.duplicates, strict=True):
            row["canonical"] = numbers[duplicate.canonical.document]
            row["start"] = duplicate.canonical.start
            row["stop"] = duplicate.canonical.stop
            row["kind"] = KINDS.index(duplicate.kind)
            row["score"] = duplicate.score
            row["containment"] = duplicate.containment
            row["passage"] = duplicate.passage
        records.append(replace(one, states=states, rows=rows))
    return records
