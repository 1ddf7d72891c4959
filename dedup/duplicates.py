"""The law of the leader: which units go, and which copy stays for each.

Units are taken in the order of the keep policy. A unit is a duplicate when an
earlier one that stayed shares a band with it and has an exact Jaccard at or
above the threshold; its canonical is the one with the highest score, the
earliest among equals. Units that are equal once folded have the same
signature and are judged together, before anything is sketched.

A unit that no unit is like is held against stretches of text that stays, which
begin and end elsewhere (`stretches`): it goes for the first that scores at or
above the threshold.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.descriptions import Described, describe_all
from dedup.folding import fold_spans
from dedup.groups import Groups, group_equal
from dedup.kernels import kernel
from dedup.kinds import EXACT, FOLDED, NEAR
from dedup.options import Options
from dedup.orders import find_order
from dedup.pairs import (
    CHECKED,
    HELD,
    NORMAL,
    REFERENCE,
    STANDS,
    WENT,
    Buckets,
    CandidateFinder,
    build_buckets,
)
from dedup.progress import Progress
from dedup.scratch import Column, Scratch
from dedup.shingles import (
    RUN_BYTES,
    PackedRuns,
    Runs,
    Sets,
    find_reachable,
    hash_shingles,
    measure_sets,
    pack_runs,
    sample_runs,
    score_pairs,
    shorten_runs,
)
from dedup.signatures import hash_bands, sign
from dedup.slices import cut_many_slices, map_slices, run_slices
from dedup.stretches import Stretches, match_stretches, propose_stretches
from dedup.units import Units, find_documents

_PAIRS_A_SLICE, _MOST_PAIRS_A_SLICE = 1 << 9, 1 << 13

# Text of which a run is expected at most; pages are taken as they are written.
_BYTES_A_RUN = 12

# Units that are held at once against what came to stay since; all of them took
# 120 MB of pairs in a run over 246 MB.
_UNITS_AGAIN = 1 << 12

# Rows that are made at once where no kernel makes them.
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Duplicates:
    """The units that are duplicates, in reading order, and their canonicals.

    Attributes
    ----------
    units, canonicals
        int64[n], numbers of units; the first rise. A canonical that is a stretch
        begins in the unit.
    canonical_starts, canonical_stops
        int64[n], bytes of the canonicals.
    scores, containments
        float64[n], exact Jaccard, and shared shingles over the smaller set.
    kinds
        uint8[n], index into `KINDS`.
    passages
        int64[n], from 0: consecutive duplicates whose canonicals are
        consecutive too, or parts of one unit, have the same number. Units too
        short to be compared do not part a passage, the border of two documents
        does.
    compared
        bool[unit_count], whether the unit was compared; the others are too short.
    capped_count
        Buckets that filled past `Options.bucket_cap`.
    leaders
        int64[n], rising: units that were looked at and are the first of their
        folded text; only where some were decided before.
    """

    units: Positions
    canonicals: Positions
    canonical_starts: Positions
    canonical_stops: Positions
    scores: NDArray[np.float64]
    containments: NDArray[np.float64]
    kinds: Bytes
    passages: Positions
    compared: Flags
    capped_count: int
    leaders: Positions = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True)
class Decided:
    """What is known of units before they are looked at.

    Attributes
    ----------
    states
        uint8[unit_count], OPEN, SHORT, STAYS or GOES. Open ones come behind all
        that they may be held against.
    described
        The open units, and decided ones, each the first of its folded text, that
        they are held against; for an open unit that repeats one that went, these
        are all that that one was held against. Of the decided ones only the
        fingerprints of those that open ones may be equal to have to be right; a
        unit that is not `long` is not looked for in stretches.
    bands
        uint64[n] for each band, their keys. Of the decided ones those that no open
        one has may be any that nothing else has.
    runs
        Theirs. For an open one that is long, all in which a stretch of it may stand, or
        beside which, are there and have theirs.
    taken
        uint64[n], runs that open ones share with units that are not there: each takes
        one of the places of that run, of which only the first count.
    """

    states: NDArray[np.uint8]
    described: Described
    bands: list[NDArray[np.uint64]]
    runs: Runs
    taken: NDArray[np.uint64]


# To be judged; too short to be compared; and what the law said.
OPEN, SHORT, STAYS, GOES = range(4)


@dataclass(frozen=True)
class _Verdicts:
    """Best match of some units; -1 and zeros for one that stays.

    Attributes
    ----------
    canonicals, shared
        int32[n], the match and how many shingles both have; one that goes for a
        stretch has itself for a match.
    stretches
        int32[n], the stretch it goes for, or -1.
    """

    canonicals: NDArray[np.int32]
    shared: NDArray[np.int32]
    stretches: NDArray[np.int32]


class _Rows(NamedTuple):
    """Duplicates by rank.

    Attributes
    ----------
    ranks, canonical_ranks
        int64[n]; where the canonical is a stretch, the rank is -1 - its number.
    scores, containments
        float64[n]
    kinds
        uint8[n]
    """

    ranks: Positions
    canonical_ranks: Positions
    scores: NDArray[np.float64]
    containments: NDArray[np.float64]
    kinds: Bytes


@kernel
def _decide(
    first,
    last,
    pair_offsets,
    right,
    pair_shared,
    sizes,
    of_unit,
    offsets,
    rooms,
    members,
    counts,
    full,
    threshold,
    stretch_offsets,
    touched_offsets,
    touched,
    pair_of,
    roles,
    canonicals,
    shared,
    stretch_of,
):
    for unit in range(first, last):
        for pair in range(pair_offsets[unit - first], pair_offsets[unit - first + 1]):
            pair_of[right[pair]] = pair
        best = np.int64(-1)
        best_shared = np.int64(0)
        best_union = np.int64(1)
        for i in range(offsets[unit], offsets[unit + 1]):
            bucket = of_unit[i]
            if not roles[unit] & HELD:
                continue
            for k in range(rooms[bucket], rooms[bucket] + counts[bucket]):
                other = np.int64(members[k])
                common = pair_shared[pair_of[other]]
                union = sizes[unit] + sizes[other] - common
                if common == 0 or common / union < threshold:
                    continue
                ahead = common * best_union - best_shared * union
                if ahead > 0 or (ahead == 0 and other < best):
                    best = other
                    best_shared = common
                    best_union = union
        # A stretch counts when all that it is made of stays: the first that does.
        for k in range(stretch_offsets[unit], stretch_offsets[unit + 1]):
            stays = best < 0
            for i in range(touched_offsets[k], touched_offsets[k + 1]):
                stays = stays and touched[i] >= 0 and canonicals[touched[i]] < 0
            if stays:
                best = np.int64(unit)
                stretch_of[unit] = k
        if roles[unit] == WENT:
            best = np.int64(unit)
        canonicals[unit] = best
        shared[unit] = best_shared
        if best >= 0 or not roles[unit] & STANDS:
            continue
        for i in range(offsets[unit], offsets[unit + 1]):
            bucket = of_unit[i]
            at = rooms[bucket] + counts[bucket]
            if at < rooms[bucket + 1]:
                members[at] = unit
                counts[bucket] += 1
            else:
                full[bucket] = True


@kernel
def _decide_again(
    which,
    first_row,
    ranks,
    rows,
    units,
    row_offsets,
    right,
    pair_shared,
    right_ranks,
    sizes,
    threshold,
    best,
    shared,
):
    # `best` and `shared` come with the match of the group's first unit. A stretch
    # gives way to any unit.
    for i in which:
        row = rows[i] - first_row
        own = units[row]
        size = sizes[own]
        best_union = np.int64(1) if best[i] == own else size + sizes[best[i]] - shared[i]
        for pair in range(row_offsets[row], row_offsets[row + 1]):
            if right_ranks[pair] > ranks[i]:
                continue
            other = right[pair]
            common = pair_shared[pair]
            union = size + sizes[other] - common
            if common == 0 or common / union < threshold:
                continue
            ahead = common * best_union - shared[i] * union
            if ahead > 0 or (ahead == 0 and other < best[i]):
                best[i] = other
                shared[i] = common
                best_union = union


@kernel
def _count_rows(
    first_rank,
    last_rank,
    units,
    firsts,
    group_of_rank,
    live_of_group,
    canonicals,
    is_open,
    has_reference,
):
    rows = np.int64(0)
    again = np.int64(0)
    for rank in range(first_rank, last_rank):
        if not is_open[units[rank]]:
            continue
        group = group_of_rank[rank]
        live = live_of_group[group]
        if live >= 0 and canonicals[live] >= 0:
            rows += 1
            again += firsts[group] != rank
        elif firsts[group] != rank and not (has_reference and is_open[units[firsts[group]]]):
            rows += 1
    return rows, again


@kernel
def _find_later_copies(
    first_rank,
    last_rank,
    count,
    units,
    firsts,
    group_of_rank,
    live_of_group,
    canonicals,
    is_open,
    ranks,
):
    for rank in range(first_rank, last_rank):
        group = group_of_rank[rank]
        live = live_of_group[group]
        is_later = is_open[units[rank]] and firsts[group] != rank
        if is_later and live >= 0 and canonicals[live] >= 0:
            ranks[count] = rank
            count += 1
    return count


@kernel
def _list_rows(
    first_rank,
    last_rank,
    row,
    again,
    units,
    firsts,
    group_of_rank,
    exact,
    live_of_group,
    live,
    canonicals,
    shared,
    sizes,
    again_ranks,
    again_canonicals,
    again_shared,
    stretch_of,
    stretch_scores,
    stretch_containments,
    is_open,
    has_reference,
    row_ranks,
    row_canonicals,
    scores,
    containments,
    kinds,
):
    for rank in range(first_rank, last_rank):
        if not is_open[units[rank]]:
            continue
        group = group_of_rank[rank]
        unit = live_of_group[group]
        first = firsts[group]
        if unit >= 0 and canonicals[unit] >= 0:
            best = np.int64(canonicals[unit])
            common = np.int64(shared[unit])
            if again < len(again_ranks) and again_ranks[again] == rank:
                best = again_canonicals[again]
                common = again_shared[again]
                again += 1
            kinds[row] = NEAR
            if best == unit:
                stretch = stretch_of[unit]
                row_canonicals[row] = -1 - stretch
                scores[row] = stretch_scores[stretch]
                containments[row] = stretch_containments[stretch]
            else:
                row_canonicals[row] = firsts[live[best]]
                scores[row] = common / (sizes[unit] + sizes[best] - common)
                containments[row] = common / min(sizes[unit], sizes[best])
        elif first != rank and not (has_reference and is_open[units[first]]):
            row_canonicals[row] = first
            scores[row] = 1.0
            containments[row] = 1.0
            kinds[row] = EXACT if exact[rank] else FOLDED
        else:
            continue
        row_ranks[row] = rank
        row += 1
    return row, again


@kernel
def _number_passages(places, firsts, lasts, is_stretch, documents, canonical_documents, passages):
    # Canonicals have the places `firsts` to `lasts`. Two parts of one unit have
    # the same, and follow one another.
    passage = np.int64(-1)
    for i in range(len(places)):
        step = firsts[i] - lasts[i - 1]
        if (
            i == 0
            or places[i] != places[i - 1] + 1
            or documents[i] != documents[i - 1]
            or canonical_documents[i] != canonical_documents[i - 1]
            or not (step == 1 or (step == 0 and is_stretch[i] and is_stretch[i - 1]))
        ):
            passage += 1
        passages[i] = passage


@kernel
def _list_touched(
    firsts,
    lasts,
    ranks,
    is_open,
    went,
    rank_of,
    group_of_rank,
    first_ranks,
    live_of_group,
    offsets,
    touched,
):
    """Write which live units stretches are made of; -1 for one that stays for none.

    Counts only, while `touched` is empty.
    """
    count = np.int64(0)
    for k in range(len(firsts)):
        offsets[k] = count
        for unit in range(firsts[k], lasts[k] + 1):
            if not is_open[unit]:
                if went[unit]:
                    if len(touched):
                        touched[count] = -1
                    count += 1
                continue
            rank = np.int64(rank_of[unit])
            # Too short to be compared: it stays.
            if rank < 0:
                continue
            group = group_of_rank[rank]
            live = live_of_group[group]
            is_later = rank >= ranks[k] or first_ranks[group] != rank
            if is_later or live >= 0:
                if len(touched):
                    touched[count] = -1 if is_later else live
                count += 1
    offsets[len(firsts)] = count
    return count


@kernel
def _mark_ranks(units, rank_of):
    for rank in range(len(units)):
        rank_of[units[rank]] = rank


@kernel
def _rank_places(units, offsets, document_ranks, keys):
    document = np.int64(0)
    for place in range(len(units)):
        while offsets[document + 1] <= units[place]:
            document += 1
        keys[place] = document_ranks[document]


def find_duplicates(
    documents: Texts,
    units: Units,
    options: Options,
    threads: int = 1,
    *,
    describe: Callable[[], Described] | None = None,
    document_ranks: Positions | None = None,
    reference_count: int = 0,
    decided: Decided | None = None,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Apply the law of the leader to all units of all documents.

    Parameters
    ----------
    documents
        The text, in reading order.
    units
        Its units.
    threads
        Workers; the result is the same for any number.
    describe
        Gives the descriptions of all units, where there are some already; a
        function, so that nobody holds them when they have been used.
    document_ranks
        int64[document_count], which documents come first when copies are kept
        by `newest` or `priority`; equal ranks in reading order.
    reference_count
        How many documents at the beginning are the reference: all their units
        stay, the others are held against them alone.
    decided
        What is known already of some units, which have no rows in the result.
    scratch
        Where columns are made; the result's too.
    progress
        Is told how far it is.

    Notes
    -----
    Time is linear in the text, plus n log n in the units, plus the pairs that
    are scored, of which a unit has at most ``bands * (bucket_cap + 16)``.
    """
    finder = _Finder(
        documents,
        units,
        options,
        threads,
        scratch or Scratch(),
        progress or Progress(),
        reference_count > 0,
        decided,
        int(units.offsets[reference_count]),
    )
    return finder.find(describe, document_ranks)


class _Finder:
    """Applies the law, stage after stage; a stage gives columns to the next.

    A unit has a place among those compared, in reading order, and a rank among
    them in the order of the keep policy. The first of equal units is their
    leader. Leaders that share a band with another are live; only they are held
    against one another.
    """

    def __init__(
        self,
        texts: Texts,
        units: Units,
        options: Options,
        threads: int,
        scratch: Scratch,
        progress: Progress,
        has_reference: bool,
        decided: Decided | None,
        border: int,
    ) -> None:
        self._texts, self._data, self._units, self._options = texts, texts.data, units, options
        self._threads, self._scratch, self._progress = threads, scratch, progress
        self._has_reference = has_reference
        self._decided = decided
        # Which units are to be judged.
        self._is_open = self._scratch.full(len(units), True, np.bool_)
        self._is_open[:border] = False
        if decided:
            self._is_open[:] = decided.states == OPEN

    def find(
        self, describe: Callable[[], Described] | None, document_ranks: Positions | None
    ) -> Duplicates:
        """See `find_duplicates`."""
        take = self._scratch.take
        if self._decided:
            described = self._decided.described
        elif describe:
            described = describe()
        else:
            described = self._describe(self._units)
        compared, places = described.compared, described.units
        order = None
        if not self._has_reference and not self._decided:
            order = self._order_places(described, document_ranks)
        in_order = places if order is None else take(places, order)
        fingerprints, numbers, long = described.fingerprints, described.numbers, described.long
        if order is not None:
            fingerprints, numbers = take(fingerprints, order), take(numbers, order)
            long = take(long, order)
        with self._progress.stage("finding equal units"):
            groups = group_equal(
                self._data, self._units, in_order, fingerprints, self._threads, self._scratch
            )
        numbers, long = take(numbers, groups.firsts), take(long, groups.firsts)
        # Band keys are the most memory of all; what is done with goes before.
        del described, fingerprints, in_order
        leaders = take(groups.units, groups.firsts)
        if self._decided:
            keys, packed = _take_sketches(self._decided, groups.firsts)
        else:
            keys, packed = self._sketch(leaders, numbers)
        del numbers
        roles = self._choose_roles(groups, leaders)
        stretches = Stretches.none(self._scratch.full(len(leaders) + 1, 0, np.int64))
        del leaders

        def seek(groups: Groups = groups) -> Flags:
            nonlocal stretches, long, packed
            runs = packed.unpack(self._scratch)
            del packed
            stretches = self._find_stretches(take(groups.units, groups.firsts), roles, long, runs)
            del long
            return np.diff(stretches.offsets) > 0

        with self._progress.stage("grouping bands"):
            buckets, live = build_buckets(
                keys,
                self._options.bucket_cap,
                self._threads,
                self._scratch,
                seek if self._options.stretches else None,
            )
        rows = self._judge(groups, buckets, live, roles, stretches)
        capped_count = int(np.count_nonzero(buckets.full))
        firsts = groups.units[groups.firsts] if self._decided else np.empty(0, np.int64)
        del groups, buckets, live
        found = self._number(rows, stretches, places, order, compared, capped_count)
        return replace(found, leaders=firsts)

    def _describe(self, units: Units) -> Described:
        return describe_all(self._data, units, self._options, self._threads, self._scratch)

    def _order_places(
        self, described: Described, document_ranks: Positions | None
    ) -> Positions | None:
        """Return the places in the order of the keep policy; None where it is that of reading."""
        count = len(described.units)
        match self._options.keep:
            case "last":
                order = self._scratch.empty(count, np.int64)
                for first, last in self._go_through(count):
                    order[count - last : count - first] = np.arange(last - 1, first - 1, -1)
                return order
            case "longest":
                keys = self._scratch.empty(count, np.int32)
                np.negative(described.chars, out=keys)
                return find_order(keys, self._scratch, self._threads)
            case "newest" | "priority" if document_ranks is not None:
                keys = self._scratch.empty(count, np.int64)
                _rank_places(described.units, self._units.offsets, document_ranks, keys)
                return find_order(keys, self._scratch, self._threads)
        return None

    def _sketch(
        self, leaders: Positions, numbers: NDArray[np.uint64]
    ) -> tuple[list[NDArray[np.uint64]], PackedRuns]:
        """Compute the band keys of leaders, uint64[n] for each band, and sample their runs."""
        options = self._options
        keys = [self._scratch.empty(len(leaders), np.uint64) for _ in range(options.bands)]
        expected = len(self._data) // _BYTES_A_RUN if options.stretches else 0
        runs = [
            Column(self._scratch, kind, count)
            for kind, count in (
                (np.uint8, expected * RUN_BYTES),
                (np.uint8, expected),
                (np.int32, len(leaders)),
            )
        ]

        def work(first: int, last: int) -> Runs:
            folded = self._fold(leaders[first:last])
            shingles = hash_shingles(folded, options)
            signatures = sign(shingles, options.num_perm, options.bands * options.rows)
            part = hash_bands(signatures, numbers[first:last], options.bands, options.rows)
            for band in range(options.bands):
                keys[band][first:last] = part[band]
            return sample_runs(folded, shingles, options)

        with self._progress.stage("sketching", len(leaders), "units") as done:
            for part in map_slices(work, self._cut(leaders), self._threads):
                runs[0].extend(pack_runs(part.keys))
                runs[1].extend(part.places)
                runs[2].extend(part.counts)
                done(len(part.counts))
        return keys, PackedRuns(*(column.values for column in runs))

    def _choose_roles(self, groups: Groups, leaders: Positions) -> NDArray[np.uint8]:
        """Say what each leader may be."""
        if self._has_reference:
            return np.where(self._is_open[leaders], CHECKED, REFERENCE).astype(np.uint8)
        roles = self._scratch.full(len(leaders), NORMAL, np.uint8)
        if self._decided:
            states = self._decided.states[leaders]
            roles[states == STAYS] = REFERENCE
            # One that went is judged as it was, for those that are equal to it.
            sizes = np.bincount(groups.of_rank, minlength=len(leaders))
            roles[(states == GOES) & (sizes == 1)] = WENT
        return roles

    def _find_stretches(
        self, leaders: Positions, roles: NDArray[np.uint8], long: Flags, runs: Runs
    ) -> Stretches:
        """Find earlier text that leaders stand in, cut elsewhere."""
        if self._options.scope == "document":
            # Units of two documents then have no run in common.
            documents = find_documents(self._units, leaders, self._scratch)
            salt = (documents + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            runs.keys[:] ^= np.repeat(salt, runs.counts)
        proposals = propose_stretches(
            self._texts,
            self._units,
            leaders,
            long & (roles & HELD > 0),
            roles & STANDS > 0 if self._has_reference else np.ones(len(roles), np.bool_),
            runs,
            shorten_runs(self._decided.taken) if self._decided else None,
            self._threads,
            self._scratch,
        )
        return match_stretches(
            self._data,
            self._units,
            leaders,
            proposals,
            self._options,
            self._threads,
            self._scratch,
        )

    def _fold(self, units: Positions, which: Positions | None = None) -> Texts:
        """Fold some units; or of them again some."""
        rows = units if which is None else units[which]
        return fold_spans(self._data, self._units.starts[rows], self._units.stops[rows])

    def _cut(self, which: Positions) -> Positions:
        """Cut some units into slices of about as much text."""

        def lengths(first: int, last: int) -> Positions:
            rows = which[first:last]
            spans: Positions = self._units.stops[rows] - self._units.starts[rows]
            return spans

        return cut_many_slices(len(which), lengths)

    def _measure_live(self, which: Positions) -> Sets:
        """Measure the sets of shingles of live units."""
        scratch = self._scratch
        sets = Sets(scratch.empty(len(which), np.int64), scratch.empty((len(which), 8), np.uint64))

        def work(first: int, last: int) -> None:
            part = measure_sets(self._fold(which[first:last]), self._options)
            sets.sizes[first:last] = part.sizes
            sets.maps[first:last] = part.maps

        with self._progress.stage("measuring candidates", len(which), "units") as done:
            run_slices(work, self._cut(which), self._threads, done)
        return sets

    def _judge(
        self,
        groups: Groups,
        buckets: Buckets,
        live: Positions,
        roles: NDArray[np.uint8],
        stretches: Stretches,
    ) -> _Rows:
        """Decide live leaders one after the other, and list what all units come to."""
        scratch = self._scratch
        live_ranks = scratch.take(groups.firsts, live)
        live_units = scratch.take(groups.units, live_ranks)
        sets = self._measure_live(live_units)
        finder = CandidateFinder(buckets, scratch.take(roles, live), scratch)
        live_of_group = scratch.full(len(groups.firsts), -1, np.int32)
        live_of_group[live] = np.arange(len(live), dtype=np.int32)
        with _Scorer(partial(self._fold, live_units), sets, self._options, self._threads) as scorer:
            touched = self._list_touched(groups, stretches, live_of_group)
            verdicts = self._apply_law(
                finder, scorer, sets, np.append(stretches.offsets[live], len(stretches)), *touched
            )
            judged = (groups.firsts, groups.of_rank, live_of_group, verdicts.canonicals)
            opened = (self._is_open, self._has_reference)
            counts = [
                _count_rows(*ranks, groups.units, *judged, *opened)
                for ranks in self._go_through(len(groups.units))
            ]
            row_count, again_count = np.sum(counts or [(0, 0)], axis=0).tolist()
            again = np.empty(again_count, np.int64)
            listed = 0
            for ranks in self._go_through(len(groups.units)):
                listed = _find_later_copies(
                    *ranks, listed, groups.units, *judged, self._is_open, again
                )
            copies = live_of_group[groups.of_rank[again]]
            again_verdicts = _judge_again(again, copies, live_ranks, verdicts, sets, finder, scorer)
        rows = _Rows(
            scratch.empty(row_count, np.int64),
            scratch.empty(row_count, np.int64),
            scratch.empty(row_count, np.float64),
            scratch.empty(row_count, np.float64),
            scratch.empty(row_count, np.uint8),
        )
        at = (0, 0)
        for ranks in self._go_through(len(groups.units)):
            at = _list_rows(
                *ranks,
                *at,
                groups.units,
                groups.firsts,
                groups.of_rank,
                groups.exact,
                live_of_group,
                live,
                verdicts.canonicals,
                verdicts.shared,
                sets.sizes,
                again,
                again_verdicts.canonicals,
                again_verdicts.shared,
                verdicts.stretches,
                stretches.scores,
                stretches.containments,
                *opened,
                *rows,
            )
        return rows

    def _list_touched(
        self, groups: Groups, stretches: Stretches, live_of_group: NDArray[np.int32]
    ) -> tuple[Positions, NDArray[np.int32]]:
        """List which live units each stretch is made of, without those certain to stay.

        Returns
        -------
        offsets, touched
            int64[stretch_count + 1] and int32[n]; -1 is a unit that does not stay.
        """
        offsets = self._scratch.full(len(stretches) + 1, 0, np.int64)
        # All of the reference stays.
        if self._has_reference or len(stretches) == 0:
            return offsets, np.empty(0, np.int32)
        rank_of = self._scratch.full(len(self._units), -1, np.int32)
        _mark_ranks(groups.units, rank_of)
        went = self._decided.states == GOES if self._decided else ~self._is_open
        found = (
            *_find_touched(self._units, stretches.starts, stretches.stops),
            np.repeat(groups.firsts, np.diff(stretches.offsets)),
            self._is_open,
            went,
            rank_of,
            groups.of_rank,
            groups.firsts,
            live_of_group,
            offsets,
        )
        touched = self._scratch.empty(_list_touched(*found, np.empty(0, np.int32)), np.int32)
        if len(touched):
            _list_touched(*found, touched)
        return offsets, touched

    def _go_through(self, count: int) -> Iterator[tuple[int, int]]:
        """Give all rows, some at a time, and make room between."""
        for first in range(0, count, _ROWS_AT_ONCE):
            yield first, min(first + _ROWS_AT_ONCE, count)
            self._scratch.keep_to_room()

    def _apply_law(
        self,
        finder: CandidateFinder,
        scorer: "_Scorer",
        sets: Sets,
        stretch_offsets: Positions,
        touched_offsets: Positions,
        touched: NDArray[np.int32],
    ) -> _Verdicts:
        """Decide unit after unit: pairs are scored a wave at a time, by all threads.

        Parameters
        ----------
        stretch_offsets
            int64[live_count + 1], the stretches of each unit.
        touched_offsets, touched
            Of `_list_touched`.
        """
        count = len(sets.sizes)
        full, buckets = self._scratch.full, finder.buckets
        verdicts = _Verdicts(
            full(count, -1, np.int32), full(count, 0, np.int32), full(count, -1, np.int32)
        )
        pair_of = full(count, 0, np.int32)
        first = 0
        with self._progress.stage("comparing", count, "units") as done:
            while first < count:
                wave = finder.next_wave(first)
                shared = scorer.score(wave.left, wave.right)
                pair_offsets = np.searchsorted(wave.left, np.arange(first, wave.last + 1))
                _decide(
                    first,
                    wave.last,
                    pair_offsets,
                    wave.right,
                    shared,
                    sets.sizes,
                    buckets.of_unit,
                    buckets.offsets,
                    buckets.rooms,
                    buckets.members,
                    buckets.counts,
                    buckets.full,
                    self._options.threshold,
                    stretch_offsets,
                    touched_offsets,
                    touched,
                    pair_of,
                    finder.roles,
                    verdicts.canonicals,
                    verdicts.shared,
                    verdicts.stretches,
                )
                done(wave.last - first)
                self._scratch.keep_to_room()
                first = wave.last
        return verdicts

    def _number(
        self,
        rows: _Rows,
        found: Stretches,
        places: Positions,
        order: Positions | None,
        compared: Flags,
        capped_count: int,
    ) -> Duplicates:
        """Turn ranks into units, in reading order, and number passages."""
        take = self._scratch.take
        stretches = np.flatnonzero(rows.canonical_ranks < 0)
        numbers = -1 - rows.canonical_ranks[stretches]
        rows.canonical_ranks[stretches] = 0
        if order is not None:
            in_places = take(order, rows.ranks)
            by_unit = find_order(in_places, self._scratch, self._threads)
            rows = _Rows(in_places, take(order, rows.canonical_ranks), *rows[2:])
            rows = _Rows(*(take(column, by_unit) for column in rows))
            is_stretch = np.full(len(by_unit), -1, np.int64)
            is_stretch[stretches] = numbers
            is_stretch = is_stretch[by_unit]
            stretches = np.flatnonzero(is_stretch >= 0)
            numbers = is_stretch[stretches]
        units = take(places, rows.ranks)
        canonicals = take(places, rows.canonical_ranks)
        firsts, lasts = _find_touched(self._units, found.starts, found.stops)
        canonicals[stretches] = firsts[numbers]
        starts, stops = take(self._units.starts, canonicals), take(self._units.stops, canonicals)
        starts[stretches], stops[stretches] = found.starts[numbers], found.stops[numbers]
        # The compared units that a stretch is made of, as places.
        first_places = rows.canonical_ranks
        last_places = self._scratch.empty(len(units), np.int64)
        last_places[:] = first_places
        own_places = rows.ranks
        if self._decided:
            # Among all that are compared, not only those that are looked at here.
            places = np.flatnonzero(compared)
            own_places = np.searchsorted(places, units)
            first_places[:] = last_places[:] = np.searchsorted(places, canonicals)
        first_places[stretches] = np.searchsorted(places, firsts[numbers])
        last_places[stretches] = np.searchsorted(places, lasts[numbers], side="right") - 1
        is_stretch_row = self._scratch.full(len(units), False, np.bool_)
        is_stretch_row[stretches] = True
        passages = self._scratch.empty(len(units), np.int64)
        _number_passages(
            own_places,
            first_places,
            last_places,
            is_stretch_row,
            find_documents(self._units, units, self._scratch),
            find_documents(self._units, canonicals, self._scratch),
            passages,
        )
        return Duplicates(
            units, canonicals, starts, stops, *rows[2:], passages, compared, capped_count
        )


def _take_sketches(
    decided: Decided, which: Positions
) -> tuple[list[NDArray[np.uint64]], PackedRuns]:
    """Take band keys and runs of some units."""
    runs = decided.runs.take(which)
    return [band[which] for band in decided.bands], PackedRuns(
        pack_runs(runs.keys), runs.places, runs.counts
    )


class _Scorer:
    """Scores candidate pairs, in threads that last as long as it.

    Most waves are a few thousand pairs: a pool for each took 0.1 s of a run over
    246 MB, and one slice for each did not use the second core, 0.2 s. Few pairs
    need a look at their text, so units are folded for it each time: to keep the
    folded text took as much memory as half the text.

    Parameters
    ----------
    fold
        Folds the units of some numbers.
    """

    def __init__(
        self, fold: Callable[[Positions], Texts], sets: Sets, options: Options, threads: int
    ) -> None:
        self._fold, self._sets, self._options = fold, sets, options
        self.threshold = options.threshold
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def score(self, left: Positions, right: Positions) -> Positions:
        """Count the shingles that the units of each pair share; see `score_pairs`."""
        count = len(left)
        if self._threads == 1 or count <= _PAIRS_A_SLICE:
            return self._score(left, right)
        size = min(max(_PAIRS_A_SLICE, -(-count // self._threads)), _MOST_PAIRS_A_SLICE)
        works = [
            self._pool.submit(self._score, left[first : first + size], right[first : first + size])
            for first in range(0, count, size)
        ]
        return np.concatenate([work.result() for work in works])

    def _score(self, left: Positions, right: Positions) -> Positions:
        sets = self._sets
        reachable = np.flatnonzero(find_reachable(left, right, sets, self._options))
        units, rows = np.unique(
            np.concatenate([left[reachable], right[reachable]]), return_inverse=True
        )
        some = Sets(sets.sizes[units], sets.maps[units])
        count = len(reachable)
        shared = np.zeros(len(left), np.int64)
        shared[reachable] = score_pairs(
            self._fold(units), rows[:count], rows[count:], some, self._options
        )
        return shared


def _find_touched(units: Units, starts: Positions, stops: Positions) -> tuple[Positions, Positions]:
    """Return the first and the last unit of which each stretch has something."""
    firsts: Positions = np.searchsorted(units.stops, starts, side="right")
    lasts: Positions = np.searchsorted(units.starts, stops, side="left") - 1
    return firsts, lasts


def _judge_again(
    ranks: Positions,
    live: NDArray[np.int32],
    live_ranks: Positions,
    verdicts: _Verdicts,
    sets: Sets,
    finder: CandidateFinder,
    scorer: _Scorer,
) -> _Verdicts:
    """Hold repeated texts that go against what came to stay since the first of them.

    A later copy of a duplicate goes too, but its canonical may be another: a
    unit in between that is more alike.

    Parameters
    ----------
    ranks, live
        int[n], later copies: their ranks, rising, and their numbers among live units.
    live_ranks
        int64[live_count], rank of the first unit with each live text.
    """
    best, best_shared = verdicts.canonicals[live], verdicts.shared[live]
    again = _Verdicts(best, best_shared, verdicts.stretches[live])
    if len(ranks) == 0:
        return again
    units, rows = np.unique(live.astype(np.int64), return_inverse=True)
    last_ranks = np.zeros(len(units), np.int64)
    np.maximum.at(last_ranks, rows, ranks)
    latest = np.searchsorted(live_ranks, last_ranks) - 1
    by_row = np.argsort(rows, kind="stable")
    for first in range(0, len(units), _UNITS_AGAIN):
        some = units[first : first + _UNITS_AGAIN]
        left, right = finder.later_pairs(some, latest[first : first + _UNITS_AGAIN])
        begin, end = np.searchsorted(rows, [first, first + len(some)], sorter=by_row)
        _decide_again(
            by_row[begin:end],
            first,
            ranks,
            rows,
            some,
            np.searchsorted(left, np.arange(len(some) + 1)),
            right,
            scorer.score(some[left], right),
            live_ranks[right],
            sets.sizes,
            scorer.threshold,
            best,
            best_shared,
        )
    return again
