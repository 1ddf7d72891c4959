"""Judgements: what the law says of documents that are held against an index.

The units that they share a key with are fetched, with the documents they stand in; the
law is applied to those and the new ones, and comes to what a run over all would say.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Flags, Positions, Texts
from dedup.corpus import CleanedCorpus, cut_all_units, cut_duplicates
from dedup.descriptions import Described
from dedup.duplicates import GOES, OPEN, SHORT, STAYS, Decided, Duplicates, find_duplicates
from dedup.filters import Filters
from dedup.index.askers import find_askers
from dedup.index.journal import COPY, ROW, Journal, News, Record, join_records
from dedup.index.lookups import View
from dedup.index.postings import Distinct, Postings, UnitKeys, make_keys, make_runs
from dedup.options import Options
from dedup.pipeline import list_results, place_canonicals
from dedup.results import Result
from dedup.shingles import Runs, Sets, find_reachable
from dedup.stretches import LEAST_SHARE, MOST_PLACES
from dedup.units import Units, find_documents

# Texts that share a fingerprint are compared; so many are looked at.
_MOST_EQUAL: Final = 4

# Of so many units, texts are looked for before the other keys: most keys that are there are
# those of copies, which need none of them. Of a single document two searches take longer.
_MANY_UNITS: Final = 500


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
    shifts = np.repeat(texts.offsets[:-1], np.diff(units.offsets))
    starts, stops = units.starts - shifts, units.stops - shifts
    states, rows = np.full(len(units), OPEN, np.uint8), np.empty(0, ROW)
    records = []
    for i, (first, last) in enumerate(pairwise(units.offsets.tolist())):
        text, mine = data[bounds[i] : bounds[i + 1]], slice(first, last)
        records.append(
            Record(-1, documents[i][0], text, starts[mine], stops[mine], states[mine], rows)
        )
    keys = make_keys(texts, units, options, threads)
    return Opened(records, texts, units, np.arange(len(units)), keys)


@dataclass(frozen=True)
class Judgement:
    """What the law says of documents that were held against the index.

    Attributes
    ----------
    corpus
        All that were looked at.
    names
        Ids of those.
    canonicals
        Where those of the rows start and stop, in code points.
    records
        Of the documents, as the journal has it.
    keys
        Of the units that were judged.
    key_units, key_documents, key_states
        int64[n], int64[n] and uint8[n], of each unit that has keys its number, that of
        its document, and its state.
    """

    corpus: CleanedCorpus
    names: list[str]
    canonicals: tuple[Positions, Positions]
    records: list[Record]
    keys: UnitKeys
    key_units: Positions
    key_documents: Positions
    key_states: NDArray[np.uint8]

    def list_results(self, options: Options) -> list[Result]:
        """Return what is said of each document; nobody need wait for that to be written."""
        documents = [(one.id, one.text.decode()) for one in self.records]
        return list_results(documents, self.corpus, options, self.names, self.canonicals)

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
        postings = self.keys.put(leaders, staying, self.key_units, self.key_documents)
        return postings, (self.key_units[leaders], self.key_units[staying])


def judge(
    opened: Opened,
    journal: Journal,
    view: View,
    options: Options,
    threads: int = 1,
    matched: "Matched | None" = None,
) -> Judgement:
    """Judge the open units of some documents.

    Parameters
    ----------
    opened
        Numbered; behind all that is in the view, or part of it.
    journal, view
        What they are held against, in one transaction.
    matched
        What was found before, in a view of which this one may be a later state.
    """
    rows, keys, mine = opened.rows, opened.keys, opened.records
    unit_numbers = np.concatenate(
        [np.empty(0, np.int64), *(one.number + np.arange(len(one.starts)) for one in mine)]
    )
    looked_at = rows[keys.units]
    numbers = unit_numbers[looked_at]
    own_numbers = np.array([one.number for one in mine], np.int64)
    documents = own_numbers[np.searchsorted(own_numbers, numbers, side="right") - 1]
    if matched is not None and matched.view.gaps is view.gaps:
        matched = matched.until(view, options)
    else:
        matched = Matched.of(keys, view, options, numbers)
    found = _Found.of(keys, numbers, documents, matched, options)
    # One that is judged again is still under its keys.
    leaders = np.setdiff1d(found.list_leaders(), unit_numbers[rows], assume_unique=True)
    of_leaders = np.setdiff1d(view.measure(leaders).documents, own_numbers)
    others = journal.bodies(of_leaders.tolist())
    records = [*others, *mine]
    texts, units = join_records(records) if others else (opened.texts, opened.units)
    states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in records)])
    states[states == COPY] = GOES
    firsts = np.array([one.number for one in records], np.int64)
    at = np.searchsorted(firsts, leaders, side="right") - 1
    held = units.offsets[at] + leaders - firsts[at]
    opens = looked_at + len(units) - len(opened.units)
    decided = _decide(
        texts, units, states, numbers, leaders, held, opens, keys, found, options, threads
    )
    law = find_duplicates(texts, units, options, threads, decided=decided)
    law = replace(law, passages=law.passages + journal.facts.next_passage)
    corpus = cut_duplicates(texts, units, law, Filters(), threads)
    canonicals = place_canonicals(corpus)
    judged = _record(mine, law, canonicals, units, firsts)
    judged_states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in judged)])
    return Judgement(
        corpus,
        [one.id for one in records],
        canonicals,
        judged,
        keys,
        numbers,
        documents,
        judged_states[looked_at],
    )


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

    def with_units(self, offsets: Positions, units: Positions, most: int) -> "_Matches":
        """Return them with later units of each key, of all of which the first ones count."""
        if len(units) == 0:
            return self
        counts = np.concatenate([np.diff(self.offsets), np.diff(offsets)])
        numbers = np.tile(np.arange(len(self.distinct.keys)), 2)
        rows = np.repeat(numbers, counts)
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        firsts = np.searchsorted(rows, numbers[: len(self.distinct.keys)])
        is_kept = np.arange(len(rows)) - firsts[rows] < most
        kept = np.bincount(rows[is_kept], minlength=len(self.distinct.keys))
        joined = np.concatenate([self.units, units])[order[is_kept]]
        return _Matches(self.distinct, np.append(0, np.cumsum(kept)), joined)


def _match(view: View, *kinds: tuple[NDArray[np.uint64], int]) -> list[_Matches]:
    """Look for keys of several kinds, of each with the most units that are wanted of one.

    Notes
    -----
    All at once: of one document most of the time goes into asking each segment.
    """
    distinct = Distinct.of(np.concatenate([keys for keys, _ in kinds]))
    bounds = np.cumsum([0, *(len(keys) for keys, _ in kinds)]).tolist()
    most, parts = np.empty(len(distinct.keys), np.int64), []
    for (_, wanted), (first, last) in zip(kinds, pairwise(bounds), strict=True):
        rows = distinct.rows[first:last]
        is_mine = np.zeros(len(distinct.keys), np.bool_)
        is_mine[rows] = True
        most[is_mine] = wanted
        order = distinct.order[(distinct.order >= first) & (distinct.order < last)] - first
        mine = Distinct(distinct.keys[is_mine], (np.cumsum(is_mine) - 1)[rows], order)
        parts.append((mine, is_mine))
    offsets, units = view.find(distinct.keys, most)
    counts = np.diff(offsets)
    return [
        _Matches(
            mine,
            np.append(0, np.cumsum(counts[is_mine])),
            units[np.repeat(is_mine, counts)],
        )
        for mine, is_mine in parts
    ]


def _most_units(options: Options) -> tuple[int, int, int]:
    """Return how many units are wanted at most under a text, a run and a band."""
    return _MOST_EQUAL, MOST_PLACES, options.bucket_cap


@dataclass(frozen=True)
class Matched:
    """Units of the index that have keys in common with units that are to be judged.

    Attributes
    ----------
    view
        In which they were found.
    texts
        Units that have the same text.
    looked_at
        int64[n], rising, those for which the other keys were looked for.
    looked_for
        The runs that were.
    runs, bands
        Units that have one of those runs, and a band in common.
    """

    view: View
    texts: _Matches
    looked_at: Positions
    looked_for: Runs
    runs: _Matches
    bands: _Matches

    @classmethod
    def of(
        cls, keys: UnitKeys, view: View, options: Options, numbers: Positions | None = None
    ) -> "Matched":
        """Look for units; their numbers are given where some may be in the view."""
        of_text, of_run, of_band = _most_units(options)
        if len(keys.units) < _MANY_UNITS:
            texts, runs, bands = _match(
                view,
                (keys.texts, of_text),
                (keys.runs.keys, of_run),
                (keys.bands.ravel(), of_band),
            )
            return cls(view, texts, np.arange(len(keys.units)), keys.runs, runs, bands)
        (texts,) = _match(view, (keys.texts, of_text))
        settled = _find_settled(texts, keys, view, options)
        if numbers is not None:
            settled &= numbers >= view.stop
        looked_at = np.flatnonzero(~settled)
        looked_for = keys.runs.only(~settled)
        runs, bands = _match(
            view, (looked_for.keys, of_run), (keys.bands[:, looked_at].ravel(), of_band)
        )
        return cls(view, texts, looked_at, looked_for, runs, bands)

    def until(self, view: View, options: Options) -> "Matched":
        """Return what is found in a later view, of which no unit was taken away since.

        Notes
        -----
        Only what came since is looked for: a tenth of the time. Who is settled stays so.
        """
        if view.change == self.view.change:
            return replace(self, view=view)
        since = view.since(self.view.stop)
        texts, runs, bands = (
            one.with_units(*since.find(one.distinct.keys, most), most)
            for one, most in zip(
                (self.texts, self.runs, self.bands), _most_units(options), strict=True
            )
        )
        return replace(self, view=view, texts=texts, runs=runs, bands=bands)


@dataclass(frozen=True)
class _Found:
    """Where units were found again that are to be judged.

    Attributes
    ----------
    texts
        Units that have the same text.
    looked_at
        int64[n], rising, those for which the other keys were looked for.
    bands
        Units that have a band in common with these.
    runs
        int64[n], rising, units in which others may stand again, cut elsewhere, or beside
        which.
    met_runs, met_units
        uint64[k] and int64[k], the runs of those others, and the units that have each.
    asks
        bool[unit_count], which units may stand again, cut elsewhere.
    """

    texts: _Matches
    looked_at: Positions
    bands: _Matches
    runs: Positions
    met_runs: NDArray[np.uint64]
    met_units: Positions
    asks: Flags

    @classmethod
    def of(
        cls,
        keys: UnitKeys,
        numbers: Positions,
        documents: Positions,
        matched: Matched,
        options: Options,
    ) -> "_Found":
        """Choose among what was found, given the numbers of units and of their documents."""
        view, texts, runs, bands = matched.view, matched.texts, matched.runs, matched.bands
        looked_at, looked_for = matched.looked_at, matched.looked_for
        is_again = numbers < view.stop
        text_rows, run_rows = texts.distinct.rows, runs.distinct.rows
        # One that repeats a text that is there is held against others as the first with
        # that text; a later copy within the batch as the first of them.
        is_old = (np.diff(texts.offsets)[text_rows] > 0) | is_again
        is_first = np.zeros(len(text_rows), np.bool_)
        is_first[np.unique(text_rows, return_index=True)[1]] = True
        units, of_unit = np.unique(runs.units, return_inverse=True)
        measures = view.measure(units)
        askers = find_askers(
            replace(keys, runs=looked_for),
            runs.distinct,
            runs.offsets,
            of_unit,
            measures,
            documents,
            is_first & ~is_old,
        )
        # Of those that are old it is only known how many of their runs stand anywhere. One
        # that repeats what stays, and so stands under bands, goes for that.
        went = np.bincount(
            np.repeat(np.arange(len(texts.distinct.keys)), np.diff(texts.offsets)),
            ~np.isin(texts.units, bands.units),
            len(texts.distinct.keys),
        )
        known = np.diff(runs.offsets) > 0
        known |= np.bincount(run_rows, minlength=len(known)) > 1
        of_run = np.repeat(np.arange(len(numbers)), looked_for.counts)
        counts = np.bincount(of_run[known[run_rows]], minlength=len(numbers))
        # Whether it is long enough itself has no say: the first with its text may be. Of
        # those that were not looked for no run is known.
        asks_again = (is_again & keys.asks) | (is_old & (went[text_rows] > 0))
        asks_again &= (counts >= LEAST_SHARE * keys.runs.counts) & (counts > 0)

        def list_met(asks: Flags) -> Flags:
            """Say which of the units that have a run have one of some."""
            wanted = np.zeros(len(known), np.bool_)
            wanted[run_rows[asks[of_run]]] = True
            return np.repeat(wanted, np.diff(runs.offsets))

        askers.sources[of_unit[list_met(asks_again)]] = True
        asks = askers.asks | asks_again
        met = list_met(asks)
        return cls(
            texts,
            looked_at,
            _leave_out_unlike(bands, looked_at, keys, view, options),
            units[askers.sources],
            runs.keys[met],
            runs.units[met],
            asks,
        )

    def list_leaders(self) -> Positions:
        """Return all units that are held against, rising."""
        return np.unique(np.concatenate([self.texts.units, self.bands.units, self.runs]))


def _find_settled(texts: _Matches, keys: UnitKeys, view: View, options: Options) -> Flags:
    """Find the units that go because a text is there that stays.

    Parameters
    ----------
    texts
        Units of the index with their texts.

    Notes
    -----
    They need no other key: of 250,000 that a batch of 500 documents of natural text has
    half go, and of the 100,000 that are there five sixths. That one stays is known by one
    of its bands; where a bucket is full it may not be seen.
    """
    counts = np.diff(texts.offsets)[texts.distinct.rows]
    rows = np.flatnonzero(counts == 1)
    leaders = texts.units[texts.offsets[texts.distinct.rows[rows]]]
    (bands,) = _match(view, (keys.bands[0, rows], options.bucket_cap))
    settled = np.zeros(len(keys.units), np.bool_)
    settled[rows[np.isin(leaders, bands.units)]] = True
    return settled


def _leave_out_unlike(
    bands: _Matches, looked_at: Positions, keys: UnitKeys, view: View, options: Options
) -> _Matches:
    """Leave out units that none of those with which they share a band can be like.

    Notes
    -----
    Of 23,000 that a batch of 500 documents of natural text meets among 20,000, 1,500 are
    left, and the documents of the others are not fetched.
    """
    counts, rows = np.diff(bands.offsets), bands.distinct.rows
    leaders, of_leader = np.unique(bands.units, return_inverse=True)
    found = counts[rows]
    left = np.repeat(np.tile(looked_at, options.bands), found)
    firsts = bands.offsets[rows] - np.cumsum(found) + found
    right = of_leader[np.repeat(firsts, found) + np.arange(len(left))]
    sets = view.measure(leaders).sets
    both = Sets(
        np.concatenate([keys.sets.sizes, sets.sizes]),
        np.concatenate([keys.sets.maps, sets.maps]),
    )
    reachable = find_reachable(left, right + len(keys.units), both, options)
    is_kept = np.zeros(len(leaders), np.bool_)
    is_kept[right[reachable]] = True
    # Who finds a bucket full of others is not put into it.
    is_crowded = counts + np.bincount(rows, minlength=len(counts)) > options.bucket_cap
    is_kept[of_leader[np.repeat(is_crowded, counts)]] = True
    stays = is_kept[of_leader]
    offsets = np.append(0, np.cumsum(stays))[bands.offsets]
    return _Matches(bands.distinct, offsets, bands.units[stays])


def _decide(
    texts: Texts,
    units: Units,
    states: NDArray[np.uint8],
    own: Positions,
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
    own
        int64[k], numbers of the units that are judged.
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
    band_of[distinct.rows] = np.repeat(np.arange(options.bands), len(found.looked_at))
    band_of = np.repeat(band_of, np.diff(found.bands.offsets))[is_held]
    at, common = at[is_held], found.bands.keys[is_held]
    for number, band in enumerate(bands):
        mine = band_of == number
        band[at[mine]] = common[mine]
    has_runs = np.concatenate([leaders[with_runs], own])
    taken = found.met_runs[~np.isin(found.met_units, has_runs)]
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
    return Decided(states, described, both, runs.take(order), taken)


def _record(
    opened: list[Record],
    found: Duplicates,
    canonicals: tuple[Positions, Positions],
    units: Units,
    numbers: Positions,
) -> list[Record]:
    """Turn what was found of open documents into what the journal has of them.

    Parameters
    ----------
    opened
        The last of all documents.
    canonicals
        Where those of the rows start and stop, in code points.
    numbers
        Of all documents.
    """
    goes = np.zeros(len(units), np.bool_)
    goes[found.units] = True
    is_leader = np.zeros(len(units), np.bool_)
    is_leader[found.leaders] = True
    judged = np.where(goes, np.where(is_leader, GOES, COPY), STAYS)
    judged[~found.compared] = SHORT
    offsets = units.offsets[len(numbers) - len(opened) :]
    states = np.concatenate([np.empty(0, np.uint8), *(one.states for one in opened)])
    states = np.where(states == OPEN, judged[offsets[0] :], states).astype(np.uint8)
    # Only what is open has rows.
    row_offsets = np.searchsorted(found.units, offsets)
    rows = np.empty(len(found.units), ROW)
    rows["unit"] = found.units - np.repeat(offsets[:-1], np.diff(row_offsets))
    rows["canonical"] = numbers[find_documents(units, found.canonicals)]
    rows["start"], rows["stop"] = canonicals
    rows["kind"], rows["passage"] = found.kinds, found.passages
    rows["score"], rows["containment"] = found.scores, found.containments
    bounds, places = (offsets - offsets[0]).tolist(), row_offsets.tolist()
    return [
        replace(
            one,
            states=states[bounds[i] : bounds[i + 1]],
            rows=rows[places[i] : places[i + 1]],
        )
        for i, one in enumerate(opened)
    ]
