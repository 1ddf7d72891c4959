"""Judgements: what the law says of documents that are held against an index.

The units that they share a key with are fetched, with the documents they stand in; the
law is applied to those and the new ones, and comes to what a run over all would say.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Flags, Positions, Texts
from dedup.corpus import cut_all_units, cut_duplicates
from dedup.descriptions import Described
from dedup.duplicates import GOES, OPEN, SHORT, STAYS, Decided, Duplicates, find_duplicates
from dedup.filters import Filters
from dedup.index.askers import find_askers
from dedup.index.journal import COPY, ROW, Journal, News, Record, join_records
from dedup.index.lookups import View
from dedup.index.postings import Distinct, Postings, UnitKeys, make_keys, make_runs
from dedup.kinds import KINDS
from dedup.options import Options
from dedup.pipeline import list_results
from dedup.results import Result
from dedup.shingles import Runs
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
    found = _Found.of(keys, numbers, journal, view, options)
    # One that is judged again is still under its keys.
    leaders = np.setdiff1d(found.list_leaders(), unit_numbers[rows], assume_unique=True)
    own = {one.number for one in mine}
    others = [one for one in journal.documents_of(leaders) if one.number not in own]
    records = [*others, *mine]
    texts, units = join_records(records) if others else (opened.texts, opened.units)
    states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in records)])
    states[states == COPY] = GOES
    firsts = np.array([one.number for one in records], np.int64)
    at = np.searchsorted(firsts, leaders, side="right") - 1
    held = units.offsets[at] + leaders - firsts[at]
    opens = looked_at + len(units) - len(opened.units)
    decided = _decide(texts, units, states, leaders, held, opens, keys, found, options, threads)
    law = find_duplicates(texts, units, options, threads, decided=decided)
    law = replace(law, passages=law.passages + journal.facts.next_passage)
    corpus = cut_duplicates(texts, units, law, Filters(), threads)
    documents = [(one.id, one.text.decode()) for one in mine]
    results = list_results(documents, corpus, options, [one.id for one in records])
    first = len(others)
    judged = _record(mine, results, law, units, first, {one.id: one.number for one in records})
    judged_states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in judged)])
    return Judgement(results, judged, keys, numbers, judged_states[looked_at])


class _Matches(NamedTuple):
    """Units of the index under the distinct of some keys.

    Attributes
    ----------
    distinct
        The keys.
    offsets, units
        int64[n + 1] and int64[k], units of distinct key `i` are
        ``units[offsets[i]:offsets[i + 1]]``.
    """

    distinct: Distinct
    offsets: Positions
    units: Positions

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The key of each unit."""
        return np.repeat(self.distinct.keys, np.diff(self.offsets))


@dataclass(frozen=True)
class _Found:
    """Where units were found again that are to be judged.

    Attributes
    ----------
    texts, bands
        Units that have the same text, and a band in common.
    runs
        int64[n], rising, units that share a run with one that asks.
    asks
        bool[unit_count], which units may stand again, cut elsewhere.
    """

    texts: _Matches
    bands: _Matches
    runs: Positions
    asks: Flags

    @classmethod
    def of(
        cls, keys: UnitKeys, numbers: Positions, journal: Journal, view: View, options: Options
    ) -> "_Found":
        """Look for units, of which the numbers are given."""

        def match(wanted: NDArray[np.uint64], most: int) -> _Matches:
            distinct = Distinct.of(wanted)
            return _Matches(distinct, *view.find(distinct.keys, most))

        texts = match(keys.texts, _MOST_EQUAL)
        runs = match(keys.runs.keys, MOST_PLACES)
        text_rows, run_rows = texts.distinct.rows, runs.distinct.rows
        # One that repeats a text that is there is held against others as the first with
        # that text; a later copy within the batch as the first of them.
        is_old = (np.diff(texts.offsets)[text_rows] > 0) | (numbers < view.stop)
        is_first = np.zeros(len(text_rows), np.bool_)
        is_first[np.unique(text_rows, return_index=True)[1]] = True
        longest = int(max(keys.lengths.max(initial=0), journal.facts.longest_unit))
        asks = find_askers(
            keys, runs.distinct, runs.offsets, runs.units, numbers, is_first & ~is_old, longest
        )
        # Of those that are old it is only known how many of their runs stand anywhere.
        known = np.diff(runs.offsets) > 0
        known |= np.bincount(run_rows, minlength=len(known)) > 1
        of_run = np.repeat(np.arange(len(numbers)), keys.runs.counts)
        counts = np.bincount(of_run[known[run_rows]], minlength=len(numbers))
        asks |= is_old & keys.asks & (counts >= LEAST_SHARE * keys.runs.counts)
        wanted = np.zeros(len(known), np.bool_)
        wanted[run_rows[asks[of_run]]] = True
        sources = np.unique(runs.units[np.repeat(wanted, np.diff(runs.offsets))])
        return cls(texts, match(keys.bands.ravel(), options.bucket_cap), sources, asks)

    def list_leaders(self) -> Positions:
        """Return all units that are held against, rising."""
        return np.unique(np.concatenate([self.texts.units, self.bands.units, self.runs]))


def _decide(
    texts: Texts,
    units: Units,
    states: NDArray[np.uint8],
    leaders: Positions,
    held: Positions,
    opens: Positions,
    keys: UnitKeys,
    found: _Found,
    options: Options,
    threads: int,
) -> Decided:
    """Tell the law what is known: nothing is computed of a leader that was found with it.

    Parameters
    ----------
    leaders, held
        int64[n], numbers of the units that are held against, and which of all they are.
    opens
        int64[m], which are the open ones that have keys.
    """
    count = len(leaders)
    # Nothing else has these.
    total = np.uint64(count * (options.bands + 1))
    fillers = np.arange(total, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    fingerprints, *bands = fillers.reshape(options.bands + 1, count)

    def place(matches: _Matches) -> tuple[Positions, Flags]:
        at = np.searchsorted(leaders, matches.units)
        # One that is judged again is none of them.
        at[at == count] = 0
        return at, leaders[at] == matches.units if count else np.zeros(len(at), np.bool_)

    at, is_held = place(found.texts)
    fingerprints[at[is_held]] = found.texts.keys[is_held]
    # Any of those with the text has the bands of all.
    owners = np.empty(len(found.texts.distinct.keys), np.int64)
    owners[found.texts.distinct.rows] = np.arange(len(found.texts.distinct.rows))
    owners = np.repeat(owners, np.diff(found.texts.offsets))
    for band, own in zip(bands, keys.bands, strict=True):
        band[at[is_held]] = own[owners[is_held]]
    with_runs = np.zeros(count, np.bool_)
    with_runs[at[is_held]] = True
    with_runs[np.isin(leaders, found.runs, assume_unique=True)] = True
    at, is_held = place(found.bands)
    distinct = found.bands.distinct
    band_of = np.empty(len(distinct.keys), np.int64)
    band_of[distinct.rows] = np.repeat(np.arange(options.bands), len(opens))
    band_of = np.repeat(band_of, np.diff(found.bands.offsets))[is_held]
    at, common = at[is_held], found.bands.keys[is_held]
    for number, band in enumerate(bands):
        mine = band_of == number
        band[at[mine]] = common[mine]
    rows = held[with_runs]
    sampled = make_runs(texts, units.starts[rows], units.stops[rows], options, threads)
    counts = np.zeros(count, np.int32)
    counts[with_runs] = sampled.counts
    runs = Runs(
        np.concatenate([sampled.keys, keys.runs.keys]),
        np.concatenate([sampled.places, keys.runs.places]),
        np.concatenate([counts, keys.runs.counts]),
    )
    looked_at = np.concatenate([held, opens])
    order = np.argsort(looked_at, kind="stable")
    compared = (states == STAYS) | (states == GOES)
    compared[opens] = True
    described = Described(
        compared,
        looked_at[order],
        np.zeros(len(order), np.int32),
        np.concatenate([np.ones(count, np.bool_), found.asks])[order],
        np.zeros(len(order), np.uint64),
        np.concatenate([fingerprints, keys.texts])[order],
    )
    both = [np.concatenate([band, own])[order] for band, own in zip(bands, keys.bands, strict=True)]
    return Decided(states, described, both, runs.take(order))


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
