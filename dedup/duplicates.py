"""The law of the leader: which units go, and which copy stays for each.

Units are taken in the order of the keep policy. A unit is a duplicate when an
earlier one that stayed shares a band with it and has an exact Jaccard at or
above the threshold; its canonical is the one with the highest score, the
earliest among equals. Units that are equal once folded have the same
signature and are judged together, before anything is sketched.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.folding import Descriptions, describe, fold_spans, same_spans
from dedup.kernels import kernel
from dedup.options import Options
from dedup.pairs import CHECKED, REFERENCE, CandidateFinder, build_buckets
from dedup.shingles import Sets, hash_shingles, measure_sets, score_pairs
from dedup.signatures import hash_bands, sign
from dedup.slices import cut_slices, run_slices
from dedup.units import Units

EXACT, FOLDED, NEAR = 0, 1, 2
KINDS = ("exact", "folded", "near")

_PAIRS_A_SLICE = 1 << 13


@dataclass(frozen=True)
class Duplicates:
    """The units that are duplicates, in reading order, and their canonicals.

    Attributes
    ----------
    units, canonicals
        int64[n], numbers of units; the first rise.
    scores, containments
        float64[n], exact Jaccard, and shared shingles over the smaller set.
    kinds
        uint8[n], index into `KINDS`.
    passages
        int64[n], from 0: consecutive duplicates whose canonicals are
        consecutive too have the same number. Units too short to be compared
        do not part a passage, the border of two documents does.
    compared
        bool[unit_count], whether the unit was compared; the others are too short.
    capped_count
        Buckets that filled past `Options.bucket_cap`.
    """

    units: Positions
    canonicals: Positions
    scores: NDArray[np.float64]
    containments: NDArray[np.float64]
    kinds: Bytes
    passages: Positions
    compared: Flags
    capped_count: int

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True)
class _Groups:
    """Compared units by folded text.

    Attributes
    ----------
    units
        int64[n], units in the order of the policy; an index into it is a rank.
    firsts
        int64[group_count], rank of the first unit of each group, rising.
    of_rank
        int64[n], group of each rank.
    exact
        bool[n], whether the unit is the same text as the first of its group.
    """

    units: Positions
    firsts: Positions
    of_rank: Positions
    exact: Flags


@dataclass(frozen=True)
class _Verdicts:
    """Best match of some units; -1 and zeros for one that stays.

    Attributes
    ----------
    canonicals, shared
        int64[n], the match and how many shingles both have.
    """

    canonicals: Positions
    shared: Positions


@kernel
def _decide(
    first,
    last,
    pair_offsets,
    right,
    pair_shared,
    sizes,
    of_unit,
    rooms,
    members,
    counts,
    full,
    threshold,
    pair_of,
    roles,
    canonicals,
    shared,
):
    for unit in range(first, last):
        for pair in range(pair_offsets[unit - first], pair_offsets[unit - first + 1]):
            pair_of[right[pair]] = pair
        best = np.int64(-1)
        best_shared = np.int64(0)
        best_union = np.int64(1)
        for band in range(of_unit.shape[1]):
            bucket = of_unit[unit, band]
            if bucket < 0 or roles[unit] == REFERENCE:
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
        canonicals[unit] = best
        shared[unit] = best_shared
        if best >= 0 or roles[unit] == CHECKED:
            continue
        for band in range(of_unit.shape[1]):
            bucket = of_unit[unit, band]
            if bucket < 0:
                continue
            at = rooms[bucket] + counts[bucket]
            if at < rooms[bucket + 1]:
                members[at] = unit
                counts[bucket] += 1
            else:
                full[bucket] = True


@kernel
def _decide_again(
    ranks, rows, units, row_offsets, right, pair_shared, right_ranks, sizes, best, shared
):
    # `best` and `shared` come with the match of the group's first unit.
    for i in range(len(ranks)):
        row = rows[i]
        size = sizes[units[row]]
        best_union = size + sizes[best[i]] - shared[i]
        for pair in range(row_offsets[row], row_offsets[row + 1]):
            if right_ranks[pair] > ranks[i]:
                continue
            other = right[pair]
            common = pair_shared[pair]
            union = size + sizes[other] - common
            ahead = common * best_union - shared[i] * union
            if ahead > 0 or (ahead == 0 and other < best[i]):
                best[i] = other
                shared[i] = common
                best_union = union


@kernel
def _number_passages(units, canonicals, ranks, passages):
    passage = np.int64(-1)
    for i in range(len(units)):
        if (
            i == 0
            or ranks[units[i]] != ranks[units[i - 1]] + 1
            or ranks[canonicals[i]] != ranks[canonicals[i - 1]] + 1
        ):
            passage += 1
        passages[i] = passage


def find_duplicates(
    documents: Texts,
    units: Units,
    options: Options,
    threads: int = 1,
    *,
    describe_all: Callable[[], Descriptions] | None = None,
    document_ranks: Positions | None = None,
    reference_count: int = 0,
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
    describe_all
        Gives the descriptions of all units, where there are some already; a
        function, so that nobody holds them when they have been used.
    document_ranks
        int64[document_count], which documents come first when copies are kept
        by `newest` or `priority`; equal ranks in reading order.
    reference_count
        How many documents at the beginning are the reference: all their units
        stay, the others are held against them alone.

    Notes
    -----
    Time is linear in the text, plus n log n in the units, plus the pairs that
    are scored, of which a unit has at most ``bands * (bucket_cap + 16)``.
    """
    data = documents.data
    document_of = np.repeat(np.arange(len(documents), dtype=np.int32), np.diff(units.offsets))
    descriptions = describe_all() if describe_all else describe_units(data, units, threads)
    compared = _is_long_enough(descriptions, options)
    numbers = descriptions.numbers if options.numbers else np.zeros(len(units), np.uint64)
    if options.scope == "document":
        # Units of two documents then have no fingerprint and no band in common.
        salt = (document_of.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        numbers = numbers ^ salt
        descriptions = replace(descriptions, fingerprints=descriptions.fingerprints ^ salt)
    in_order = np.flatnonzero(compared)
    if reference_count == 0:
        in_order = _order_units(in_order, descriptions, document_of, document_ranks, options)
    groups = _group_equal(data, units, descriptions, in_order, threads)
    leaders = groups.units[groups.firsts]
    numbers = numbers[leaders]
    # Band keys are the most memory of all; what is done with goes before.
    del descriptions
    keys = _sketch(data, units, leaders, numbers, options, threads)
    buckets, live = build_buckets(keys, options.bucket_cap, threads)
    folded = _fold(data, units, leaders[live])
    sets = _measure_sets(folded, options, threads)
    roles = np.zeros(len(units), np.uint8)
    if reference_count:
        roles = np.where(document_of < reference_count, REFERENCE, CHECKED).astype(np.uint8)
    finder = CandidateFinder(buckets, roles[leaders[live]])
    verdicts = _apply_law(folded, sets, finder, options, threads)

    # From verdicts on live leaders to rows for all units.
    live_of_group = np.full(len(leaders), -1, np.int64)
    live_of_group[live] = np.arange(len(live))
    live_of_rank = live_of_group[groups.of_rank]
    is_first = np.zeros(len(groups.units), np.bool_)
    is_first[groups.firsts] = True
    is_near = np.zeros(len(groups.units), np.bool_)
    in_live = live_of_rank >= 0
    is_near[in_live] = verdicts.canonicals[live_of_rank[in_live]] >= 0
    near_ranks = np.flatnonzero(is_near)
    near = _Verdicts(
        verdicts.canonicals[live_of_rank[near_ranks]], verdicts.shared[live_of_rank[near_ranks]]
    )
    _judge_again(
        near_ranks,
        is_first,
        live_of_rank,
        groups.firsts[live],
        near,
        folded,
        sets,
        finder,
        options,
        threads,
    )
    sizes, capped_count = sets.sizes, int(buckets.full.sum())
    del folded, sets, finder, buckets
    near_sizes = sizes[live_of_rank[near_ranks]]
    canonical_sizes = sizes[near.canonicals]
    is_equal = ~is_first & ~is_near & (roles[leaders[groups.of_rank]] != CHECKED)
    is_equal &= roles[groups.units] != REFERENCE
    equal_ranks = np.flatnonzero(is_equal)

    found_ranks = np.concatenate([near_ranks, equal_ranks])
    found = groups.units[found_ranks]
    order = np.argsort(found)
    ones = np.ones(len(equal_ranks))
    scores = np.concatenate([near.shared / (near_sizes + canonical_sizes - near.shared), ones])
    containments = np.concatenate([near.shared / np.minimum(near_sizes, canonical_sizes), ones])
    canonicals = np.concatenate(
        [leaders[live[near.canonicals]], leaders[groups.of_rank[equal_ranks]]]
    )
    kinds = np.concatenate(
        [
            np.full(len(near_ranks), NEAR, np.uint8),
            np.where(groups.exact[equal_ranks], EXACT, FOLDED).astype(np.uint8),
        ]
    )
    passages = np.empty(len(found), np.int64)
    found, canonicals = found[order], canonicals[order]
    # One more at the border of two documents, so that no passage goes over it.
    ranks = np.cumsum(compared) + np.repeat(np.arange(len(documents)), np.diff(units.offsets))
    _number_passages(found, canonicals, ranks, passages)
    return Duplicates(
        found,
        canonicals,
        scores[order],
        containments[order],
        kinds[order],
        passages,
        compared,
        capped_count,
    )


def describe_units(data: Bytes, units: Units, threads: int = 1) -> Descriptions:
    """Fold units and describe what comes out."""
    count = len(units)
    found = Descriptions(
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.uint64),
        np.empty(count, np.uint64),
    )

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        seen = describe(fold_spans(data, units.starts[rows], units.stops[rows]))
        found.spaced_chars[rows] = seen.spaced_chars
        found.unspaced_chars[rows] = seen.unspaced_chars
        found.numbers[rows] = seen.numbers
        found.fingerprints[rows] = seen.fingerprints

    run_slices(work, cut_slices(units.stops - units.starts), threads)
    return found


def _is_long_enough(descriptions: Descriptions, options: Options) -> Flags:
    """Tell which units are compared; in mixed text each script counts by its own measure."""
    enough: Flags = (
        descriptions.spaced_chars * options.min_chars_unspaced
        + descriptions.unspaced_chars * options.min_chars
        >= options.min_chars * options.min_chars_unspaced
    )
    return enough


def _order_units(
    compared: Positions,
    descriptions: Descriptions,
    document_of: NDArray[np.int32],
    document_ranks: Positions | None,
    options: Options,
) -> Positions:
    """Put compared units in the order of the keep policy."""
    match options.keep:
        case "last":
            return compared[::-1]
        case "longest":
            chars = descriptions.spaced_chars + descriptions.unspaced_chars
            return compared[np.argsort(-chars[compared], kind="stable")]
        case "newest" | "priority" if document_ranks is not None:
            ranks = document_ranks[document_of[compared]]
            return compared[np.argsort(ranks, kind="stable")]
    return compared


def _group_equal(
    data: Bytes, units: Units, descriptions: Descriptions, in_order: Positions, threads: int
) -> _Groups:
    """Group units, which stand in the order of the policy, that are equal once folded."""
    by_print = np.argsort(descriptions.fingerprints[in_order], kind="stable")
    prints = descriptions.fingerprints[in_order[by_print]]
    begins = np.ones(len(prints), np.bool_)
    begins[1:] = prints[1:] != prints[:-1]
    first_of_rank = np.empty(len(in_order), np.int64)
    first_of_rank[by_print] = by_print[begins][np.cumsum(begins) - 1]

    # The same fingerprint is no proof: the texts are compared.
    ranks = np.arange(len(in_order))
    exact = np.ones(len(in_order), np.bool_)
    again = np.flatnonzero(first_of_rank != ranks)
    left, right = in_order[again], in_order[first_of_rank[again]]
    exact[again] = same_spans(
        data, units.starts[left], units.stops[left], units.starts[right], units.stops[right]
    )
    doubtful = again[~exact[again]]
    equal = np.empty(len(doubtful), np.bool_)

    def work(first: int, last: int) -> None:
        rows = doubtful[first:last]
        both = _fold(data, units, np.concatenate([in_order[rows], in_order[first_of_rank[rows]]]))
        middle = len(rows)
        equal[first:last] = same_spans(
            both.data,
            both.offsets[:middle],
            both.offsets[1 : middle + 1],
            both.offsets[middle:-1],
            both.offsets[middle + 1 :],
        )

    doubtful_units = in_order[doubtful]
    run_slices(
        work, cut_slices(units.stops[doubtful_units] - units.starts[doubtful_units]), threads
    )
    unequal = doubtful[~equal]
    first_of_rank[unequal] = unequal
    firsts = np.flatnonzero(first_of_rank == ranks)
    return _Groups(in_order, firsts, np.searchsorted(firsts, first_of_rank), exact)


def _fold(data: Bytes, units: Units, which: Positions) -> Texts:
    return fold_spans(data, units.starts[which], units.stops[which])


def _sketch(
    data: Bytes,
    units: Units,
    which: Positions,
    numbers: NDArray[np.uint64],
    options: Options,
    threads: int,
) -> list[NDArray[np.uint64]]:
    """Compute the band keys of some units: uint64[n] for each band."""
    keys = [np.empty(len(which), np.uint64) for _ in range(options.bands)]

    def work(first: int, last: int) -> None:
        shingles = hash_shingles(_fold(data, units, which[first:last]), options)
        signatures = sign(shingles, options.num_perm, options.bands * options.rows)
        part = hash_bands(signatures, numbers[first:last], options.bands, options.rows)
        for band in range(options.bands):
            keys[band][first:last] = part[band]

    run_slices(work, cut_slices(units.stops[which] - units.starts[which]), threads)
    return keys


def _measure_sets(folded: Texts, options: Options, threads: int) -> Sets:
    sets = Sets(np.empty(len(folded), np.int64), np.empty((len(folded), 8), np.uint64))

    def work(first: int, last: int) -> None:
        part = measure_sets(Texts(folded.data, folded.offsets[first : last + 1]), options)
        sets.sizes[first:last] = part.sizes
        sets.maps[first:last] = part.maps

    run_slices(work, cut_slices(np.diff(folded.offsets)), threads)
    return sets


def _score(
    folded: Texts, left: Positions, right: Positions, sets: Sets, options: Options, threads: int
) -> Positions:
    shared = np.empty(len(left), np.int64)

    def work(first: int, last: int) -> None:
        shared[first:last] = score_pairs(folded, left[first:last], right[first:last], sets, options)

    run_slices(work, np.append(np.arange(0, len(left), _PAIRS_A_SLICE), len(left)), threads)
    return shared


def _apply_law(
    folded: Texts, sets: Sets, finder: CandidateFinder, options: Options, threads: int
) -> _Verdicts:
    """Decide unit after unit: pairs are scored a wave at a time, by all threads."""
    count = len(folded)
    verdicts = _Verdicts(np.full(count, -1, np.int64), np.zeros(count, np.int64))
    buckets = finder.buckets
    pair_of = np.zeros(count, np.int64)
    first = 0
    while first < count:
        wave = finder.next_wave(first)
        shared = _score(folded, wave.left, wave.right, sets, options, threads)
        pair_offsets = np.searchsorted(wave.left, np.arange(first, wave.last + 1))
        _decide(
            first,
            wave.last,
            pair_offsets,
            wave.right,
            shared,
            sets.sizes,
            buckets.of_unit,
            buckets.rooms,
            buckets.members,
            buckets.counts,
            buckets.full,
            options.threshold,
            pair_of,
            finder.roles,
            verdicts.canonicals,
            verdicts.shared,
        )
        first = wave.last
    return verdicts


def _judge_again(
    near_ranks: Positions,
    is_first: Flags,
    live_of_rank: Positions,
    live_ranks: Positions,
    near: _Verdicts,
    folded: Texts,
    sets: Sets,
    finder: CandidateFinder,
    options: Options,
    threads: int,
) -> None:
    """Hold repeated texts that go against what came to stay since the first of them.

    A later copy of a duplicate goes too, but its canonical may be another: a
    unit in between that is more alike. `near` is corrected in place.
    """
    again = np.flatnonzero(~is_first[near_ranks])
    if len(again) == 0:
        return
    ranks = near_ranks[again]
    units, rows = np.unique(live_of_rank[ranks], return_inverse=True)
    last_ranks = np.zeros(len(units), np.int64)
    np.maximum.at(last_ranks, rows, ranks)
    latest = np.searchsorted(live_ranks, last_ranks) - 1
    left, right = finder.later_pairs(units, latest)
    shared = _score(folded, units[left], right, sets, options, threads)
    best, best_shared = near.canonicals[again], near.shared[again]
    _decide_again(
        ranks,
        rows,
        units,
        np.searchsorted(left, np.arange(len(units) + 1)),
        right,
        shared,
        live_ranks[right],
        sets.sizes,
        best,
        best_shared,
    )
    near.canonicals[again] = best
    near.shared[again] = best_shared
