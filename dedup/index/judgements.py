"""Judgements: what the law says of documents that are held against an index.

The units that they share a key with are fetched, with the documents they stand in; the
law is applied to those and the new ones, and comes to what a run over all would say.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Flags, Positions, Texts
from dedup.corpus import cut_all_units, cut_duplicates
from dedup.duplicates import GOES, OPEN, SHORT, STAYS, Decided, Duplicates, find_duplicates
from dedup.filters import Filters
from dedup.index.askers import find_askers
from dedup.index.journal import COPY, ROW, Journal, News, Record, join_records
from dedup.index.lookups import View
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
class Opened:
    """Documents with units that are to be judged, and the keys of those.

    Attributes
    ----------
    records
        The state of a unit that is to be judged is OPEN. They stand behind all
        that they are held against.
    texts, units
        The same as columns.
    rows
        int64[n], the open units.
    keys
        Of the open units.
    """

    records: list[Record]
    texts: Texts
    units: Units
    rows: Positions
    keys: UnitKeys

    @classmethod
    def of(cls, records: list[Record], options: Options, threads: int = 1) -> "Opened":
        """Make the keys of what is open in documents."""
        texts, units = join_records(records)
        states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in records)])
        rows = np.flatnonzero(states == OPEN)
        offsets = np.searchsorted(rows, units.offsets)
        some = Units(units.starts[rows], units.stops[rows], offsets)
        return cls(records, texts, units, rows, make_keys(texts, some, options, threads))

    def renumbered(self, first: int) -> "Opened":
        """Return it with other numbers, rising from one."""
        records = []
        for one in self.records:
            records.append(replace(one, number=first))
            first = records[-1].stop
        return replace(self, records=records)


def open_documents(documents: list[tuple[str, str]], options: Options, threads: int = 1) -> Opened:
    """Cut new documents into units, all of them open."""
    texts = Texts.from_bytes([text.encode() for _, text in documents])
    units = cut_all_units(texts, options, threads)
    data, bounds = texts.data.tobytes(), texts.offsets.tolist()
    records = []
    for i, (name, _) in enumerate(documents):
        mine = slice(units.offsets[i], units.offsets[i + 1])
        records.append(
            Record(
                -1,
                name,
                data[bounds[i] : bounds[i + 1]],
                units.starts[mine] - bounds[i],
                units.stops[mine] - bounds[i],
                np.full(int(units.offsets[i + 1] - units.offsets[i]), OPEN, np.uint8),
                np.empty(0, ROW),
            )
        )
    keys = make_keys(texts, units, options, threads)
    return Opened(records, texts, units, np.arange(len(units)), keys)


@dataclass(frozen=True)
class Judgement:
    """What the law says of documents that were held against the index.

    Attributes
    ----------
    results
        One for each.
    records
        The same, as the journal has it.
    seen
        Units that others point to now, and the document of each.
    keys
        Of the units that were judged.
    key_units, key_states
        int64[n] and uint8[n], number and state of each unit that has keys.
    """

    results: list[Result]
    records: list[Record]
    seen: dict[int, int]
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
    opened: Opened, journal: Journal, view: View, options: Options, threads: int = 1
) -> Judgement:
    """Judge the open units of some documents.

    Parameters
    ----------
    opened
        Numbered; behind all that is in the view, or part of it.
    journal, view
        What they are held against, in one transaction.
    """
    rows, keys, mine = opened.rows, opened.keys, opened.records
    unit_numbers = np.concatenate(
        [np.empty(0, np.int64), *(one.number + np.arange(len(one.starts)) for one in mine)]
    )
    looked_at = rows[keys.units]
    numbers = unit_numbers[looked_at]
    leaders, asks = _find_leaders(keys, numbers, journal, view, options)
    # One that is judged again is still under its keys.
    leaders = np.setdiff1d(leaders, unit_numbers[rows], assume_unique=True)
    own = {one.number for one in mine}
    others = [one for one in journal.documents_of(leaders) if one.number not in own]
    records = [*others, *mine]
    texts, units = join_records(records) if others else (opened.texts, opened.units)
    states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in records)])
    states[states == COPY] = GOES
    firsts = np.array([one.number for one in records], np.int64)
    at = np.searchsorted(firsts, leaders, side="right") - 1
    all_ask = np.ones(len(units), np.bool_)
    all_ask[len(units) - len(opened.units) + looked_at] = asks
    found = find_duplicates(
        texts,
        units,
        options,
        threads,
        decided=Decided(states, units.offsets[at] + leaders - firsts[at], all_ask),
    )
    found = replace(found, passages=found.passages + journal.facts.next_passage)
    corpus = cut_duplicates(texts, units, found, Filters(), threads)
    documents = [(one.id, one.text.decode()) for one in mine]
    results = list_results(documents, corpus, options, [one.id for one in records])
    first = len(others)
    judged = _record(mine, results, found, units, first, {one.id: one.number for one in records})
    judged_states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in judged)])
    of_record = np.searchsorted(units.offsets, found.canonicals, side="right") - 1
    canonicals = firsts[of_record] + found.canonicals - units.offsets[of_record]
    seen = dict(zip(canonicals.tolist(), firsts[of_record].tolist(), strict=True))
    return Judgement(results, judged, seen, keys, numbers, judged_states[looked_at])


def _find_leaders(
    keys: UnitKeys, numbers: Positions, journal: Journal, view: View, options: Options
) -> tuple[Positions, Flags]:
    """Find the units that others are to be held against.

    Parameters
    ----------
    numbers
        int64[n], of the units that have keys.

    Returns
    -------
    leaders
        int64[k], rising.
    asks
        bool[n], which units may stand again, cut elsewhere.
    """

    def find(wanted: NDArray[np.uint64], most: int) -> tuple[Positions, Positions, Positions]:
        distinct, rows = np.unique(wanted, return_inverse=True)
        return rows, *view.find(distinct, most)

    text_rows, text_offsets, equal = find(keys.texts, _MOST_EQUAL)
    _, _, banded = find(keys.bands.ravel(), options.bucket_cap)
    rows, offsets, shared = find(keys.runs, MOST_PLACES)
    # One that repeats a text that is there is held against others as the first with that
    # text; a later copy within the batch as the first of them.
    is_old = (np.diff(text_offsets)[text_rows] > 0) | (numbers < view.stop)
    is_first = np.zeros(len(text_rows), np.bool_)
    is_first[np.unique(text_rows, return_index=True)[1]] = True
    longest = int(max(keys.lengths.max(initial=0), journal.facts.longest_unit))
    asks = find_askers(keys, rows, offsets, shared, numbers, is_first & ~is_old, longest)
    # Of those that are old it is only known how many of their runs stand anywhere.
    is_known = (np.diff(offsets) > 0) | (np.bincount(rows, minlength=len(offsets) - 1) > 1)
    of_run = np.repeat(np.arange(len(keys.units)), keys.run_counts)
    known = np.bincount(of_run[is_known[rows]], minlength=len(keys.units))
    asks |= is_old & keys.asks & (known >= LEAST_SHARE * keys.run_counts)
    wanted = np.zeros(len(offsets) - 1, np.bool_)
    wanted[rows[asks[of_run]]] = True
    leaders = [equal, banded, shared[np.repeat(wanted, np.diff(offsets))]]
    return np.unique(np.concatenate(leaders)), asks


def _record(
    opened: list[Record],
    results: list[Result],
    found: Duplicates,
    units: Units,
    first: int,
    numbers: dict[str, int],
) -> list[Record]:
    """Turn what was found of open documents into what the journal has of them."""
    goes = np.zeros(len(units), np.bool_)
    goes[found.units] = True
    is_leader = np.zeros(len(units), np.bool_)
    is_leader[found.leaders] = True
    judged = np.where(goes, np.where(is_leader, GOES, COPY), STAYS)
    judged[~found.compared] = SHORT
    row_offsets = np.searchsorted(found.units, units.offsets)
    records = []
    for i, (one, result) in enumerate(zip(opened, results, strict=True), first):
        base = int(units.offsets[i])
        mine = judged[base : base + len(one.starts)]
        states = np.where(one.states == OPEN, mine, one.states).astype(np.uint8)
        rows = np.array(
            [
                (
                    0,
                    numbers[row.canonical.document],
                    row.canonical.start,
                    row.canonical.stop,
                    KINDS.index(row.kind),
                    row.score,
                    row.containment,
                    row.passage,
                )
                for row in result.duplicates
            ],
            ROW,
        )
        rows["unit"] = found.units[row_offsets[i] : row_offsets[i + 1]] - base
        records.append(replace(one, states=states, rows=rows))
    return records
