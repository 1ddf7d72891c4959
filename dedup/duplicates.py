"""The law of the leader: which units go, and which copy stays for each.

Units are taken in the order of the keep policy. A unit is a duplicate when an
earlier one that stayed shares a band with it and has an exact Jaccard at or
above the threshold; its canonical is the one with the highest score, the
earliest among equals. Units that are equal once folded have the same
signature and are judged together, before anything is sketched.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions, Texts
from dedup.folding import PADDING_BYTES, Descriptions, describe, fold_spans, same_spans
from dedup.kernels import kernel
from dedup.options import Options
from dedup.orders import find_order
from dedup.pairs import CHECKED, NORMAL, REFERENCE, CandidateFinder, build_buckets
from dedup.progress import Done, Progress
from dedup.scratch import Column, Scratch
from dedup.shingles import Sets, hash_shingles, measure_sets, score_pairs
from dedup.signatures import hash_bands, sign
from dedup.slices import SLICE_BYTES, cut_many_slices, map_slices, run_slices
from dedup.units import Units, find_documents

EXACT, FOLDED, NEAR = 0, 1, 2
KINDS = ("exact", "folded", "near")

_PAIRS_A_SLICE, _MOST_PAIRS_A_SLICE = 1 << 9, 1 << 13
_UNITS_A_SLICE = 1 << 12


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
class Described:
    """What is known of units before one is held against another.

    Attributes
    ----------
    compared
        bool[unit_count], whether the unit is long enough to be compared.
    units
        int64[n], units that are compared, rising; an index into it is a place.
    chars
        int32[n], their length, folded.
    numbers, fingerprints
        uint64[n], hashes of their digits and of all of their folded text; both
        differ between documents where each is cleaned by itself.
    """

    compared: Flags
    units: Positions
    chars: NDArray[np.int32]
    numbers: NDArray[np.uint64]
    fingerprints: NDArray[np.uint64]


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
        int32[n], the match and how many shingles both have.
    """

    canonicals: NDArray[np.int32]
    shared: NDArray[np.int32]


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
def _link_equal(order, fingerprints, firsts):
    """Write for each rank the first that has the same fingerprint."""
    first = np.int64(0)
    for i in range(len(order)):
        if i == 0 or fingerprints[order[i]] != fingerprints[order[i - 1]]:
            first = order[i]
        firsts[order[i]] = first


@kernel
def _number_groups(first_of_rank, firsts):
    """Turn first ranks into numbers of groups, in place; return how many there are."""
    count = np.int64(0)
    for rank in range(len(first_of_rank)):
        first = first_of_rank[rank]
        if first == rank:
            firsts[count] = rank
            first_of_rank[rank] = count
            count += 1
        else:
            first_of_rank[rank] = first_of_rank[first]
    return count


@kernel
def _count_rows(units, firsts, group_of_rank, live_of_group, canonicals, border, has_reference):
    rows = np.int64(0)
    again = np.int64(0)
    for rank in range(len(units)):
        group = group_of_rank[rank]
        live = live_of_group[group]
        if live >= 0 and canonicals[live] >= 0:
            rows += 1
            again += firsts[group] != rank
        elif (
            firsts[group] != rank
            and units[rank] >= border
            and not (has_reference and units[firsts[group]] >= border)
        ):
            rows += 1
    return rows, again


@kernel
def _find_later_copies(firsts, group_of_rank, live_of_group, canonicals, ranks):
    count = 0
    for rank in range(len(group_of_rank)):
        group = group_of_rank[rank]
        live = live_of_group[group]
        if live >= 0 and canonicals[live] >= 0 and firsts[group] != rank:
            ranks[count] = rank
            count += 1


@kernel
def _list_rows(
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
    border,
    has_reference,
    row_ranks,
    row_canonicals,
    scores,
    containments,
    kinds,
):
    row = 0
    again = 0
    for rank in range(len(units)):
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
            row_canonicals[row] = firsts[live[best]]
            scores[row] = common / (sizes[unit] + sizes[best] - common)
            containments[row] = common / min(sizes[unit], sizes[best])
            kinds[row] = NEAR
        elif (
            first != rank
            and units[rank] >= border
            and not (has_reference and units[first] >= border)
        ):
            row_canonicals[row] = first
            scores[row] = 1.0
            containments[row] = 1.0
            kinds[row] = EXACT if exact[rank] else FOLDED
        else:
            continue
        row_ranks[row] = rank
        row += 1


@kernel
def _number_passages(places, canonical_places, documents, canonical_documents, passages):
    passage = np.int64(-1)
    for i in range(len(places)):
        if (
            i == 0
            or places[i] != places[i - 1] + 1
            or documents[i] != documents[i - 1]
            or canonical_places[i] != canonical_places[i - 1] + 1
            or canonical_documents[i] != canonical_documents[i - 1]
        ):
            passage += 1
        passages[i] = passage


def find_duplicates(
    documents: Texts,
    units: Units,
    options: Options,
    threads: int = 1,
    *,
    describe: Callable[[], Described] | None = None,
    document_ranks: Positions | None = None,
    reference_count: int = 0,
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
    scratch
        Where columns are made; the result's too.
    progress
        Is told how far it is.

    Notes
    -----
    Time is linear in the text, plus n log n in the units, plus the pairs that
    are scored, of which a unit has at most ``bands * (bucket_cap + 16)``.
    """
    scratch = scratch or Scratch()
    progress = progress or Progress()
    data = documents.data
    described = describe() if describe else describe_all(data, units, options, threads, scratch)
    has_reference = reference_count > 0
    border = int(units.offsets[reference_count])
    compared, places = described.compared, described.units
    order = None
    if not has_reference:
        order = _order_places(described, units, document_ranks, options, threads, scratch)
    in_order = places if order is None else scratch.take(places, order)
    with progress.stage("finding equal units"):
        fingerprints = _in_order(described.fingerprints, order, scratch)
        groups = _group_equal(data, units, in_order, fingerprints, threads, scratch)
    leaders = scratch.take(in_order, groups.firsts)
    numbers = scratch.take(_in_order(described.numbers, order, scratch), groups.firsts)
    # Band keys are the most memory of all; what is done with goes before.
    del described, fingerprints
    keys = _sketch(data, units, leaders, numbers, options, threads, scratch, progress)
    del numbers
    with progress.stage("grouping bands"):
        buckets, live = build_buckets(keys, options.bucket_cap, threads, scratch)
    live_units = scratch.take(leaders, live)
    folded, sets = _fold_live(data, units, live_units, options, threads, scratch)
    roles = scratch.full(len(live), NORMAL, np.uint8)
    if has_reference:
        np.subtract(CHECKED, live_units < border, out=roles, casting="unsafe")
    finder = CandidateFinder(buckets, roles, scratch)
    live_of_group = scratch.full(len(leaders), -1, np.int32)
    live_of_group[live] = np.arange(len(live), dtype=np.int32)
    del leaders, live_units
    with _Scorer(folded, sets, options, threads) as scorer:
        verdicts = _apply_law(finder, scorer, sets, options, scratch, progress)
        judged = (groups.firsts, groups.of_rank, live_of_group, verdicts.canonicals)
        row_count, again_count = _count_rows(in_order, *judged, border, has_reference)
        again = np.empty(again_count, np.int64)
        _find_later_copies(*judged, again)
        again_verdicts = _judge_again(
            again,
            live_of_group[groups.of_rank[again]],
            scratch.take(groups.firsts, live),
            verdicts,
            sets,
            finder,
            scorer,
        )

    # From verdicts on live leaders to rows for all units.
    ranks, canonical_ranks = (scratch.empty(row_count, np.int64) for _ in range(2))
    scores, containments = (scratch.empty(row_count, np.float64) for _ in range(2))
    kinds = scratch.empty(row_count, np.uint8)
    _list_rows(
        in_order,
        groups.firsts,
        groups.of_rank,
        groups.exact,
        live_of_group,
        live,
        verdicts.canonicals,
        verdicts.shared,
        sets.sizes,
        again,
        *again_verdicts,
        border,
        has_reference,
        ranks,
        canonical_ranks,
        scores,
        containments,
        kinds,
    )
    capped_count = int(np.count_nonzero(buckets.full))
    del folded, sets, finder, buckets, groups, in_order
    if order is not None:
        ranks, canonical_ranks = scratch.take(order, ranks), scratch.take(order, canonical_ranks)
        by_unit = find_order(ranks, scratch, threads)
        ranks, canonical_ranks, scores, containments, kinds = (
            scratch.take(column, by_unit)
            for column in (ranks, canonical_ranks, scores, containments, kinds)
        )
    found, canonicals = scratch.take(places, ranks), scratch.take(places, canonical_ranks)
    passages = scratch.empty(row_count, np.int64)
    homes = (find_documents(units, which, scratch) for which in (found, canonicals))
    _number_passages(ranks, canonical_ranks, *homes, passages)
    return Duplicates(
        found, canonicals, scores, containments, kinds, passages, compared, capped_count
    )


def describe_units(
    data: Bytes, units: Units, options: Options, first_document: int = 0
) -> Described:
    """Describe the units of some documents.

    Parameters
    ----------
    first_document
        Which the first one is among all.
    """
    seen = describe(fold_spans(data, units.starts, units.stops))
    compared = _is_long_enough(seen, options)
    rows = np.flatnonzero(compared)
    chars = (seen.spaced_chars + seen.unspaced_chars)[rows].astype(np.int32)
    numbers = seen.numbers[rows] if options.numbers else np.zeros(len(rows), np.uint64)
    fingerprints = seen.fingerprints[rows]
    if options.scope == "document":
        # Units of two documents then have no fingerprint and no band in common.
        document_count = len(units.offsets) - 1
        documents = np.arange(first_document + 1, first_document + document_count + 1)
        salt = np.repeat(documents.astype(np.uint64), np.diff(units.offsets))[rows]
        salt *= np.uint64(0x9E3779B97F4A7C15)
        numbers, fingerprints = numbers ^ salt, fingerprints ^ salt
    return Described(compared, rows, chars, numbers, fingerprints)


class Describing:
    """Descriptions of units that come slice by slice."""

    def __init__(self, scratch: Scratch, expected_units: int = 0) -> None:
        self._compared = Column(scratch, np.bool_, expected_units)
        kinds = (np.int64, np.int32, np.uint64, np.uint64)
        self._columns = [Column(scratch, kind, expected_units) for kind in kinds]

    def __len__(self) -> int:
        return len(self._compared)

    def append(self, part: Described) -> None:
        """Take the descriptions of units that come next."""
        values: tuple[NDArray[Any], ...] = (
            part.units + len(self),
            part.chars,
            part.numbers,
            part.fingerprints,
        )
        for column, more in zip(self._columns, values, strict=True):
            column.extend(more)
        self._compared.extend(part.compared)

    def truncate(self, unit_count: int) -> None:
        """Forget all but the first units."""
        self._compared.truncate(unit_count)
        compared_count = int(np.searchsorted(self._columns[0].values, unit_count))
        for column in self._columns:
            column.truncate(compared_count)

    def get(self) -> Described:
        """Return all that came."""
        return Described(self._compared.values, *(column.values for column in self._columns))


def describe_all(
    data: Bytes, units: Units, options: Options, threads: int = 1, scratch: Scratch | None = None
) -> Described:
    """Describe all units, slices of documents in threads."""
    described = Describing(scratch or Scratch(), len(units))

    def work(first: int, last: int) -> Described:
        offsets = units.offsets[first : last + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        part = Units(units.starts[rows], units.stops[rows], offsets)
        return describe_units(data, part, options, first)

    def lengths(first: int, last: int) -> Positions:
        return np.diff(units.offsets[first : last + 1])

    document_count = len(units.offsets) - 1
    bounds = cut_many_slices(document_count, lengths, _UNITS_A_SLICE)
    for part in map_slices(work, bounds, threads):
        described.append(part)
    return described.get()


def _is_long_enough(lengths: Descriptions, options: Options) -> Flags:
    """Tell which units are compared; in mixed text each script counts by its own measure."""
    enough: Flags = (
        lengths.spaced_chars * options.min_chars_unspaced
        + lengths.unspaced_chars * options.min_chars
        >= options.min_chars * options.min_chars_unspaced
    )
    return enough


def _order_places(
    described: Described,
    units: Units,
    document_ranks: Positions | None,
    options: Options,
    threads: int,
    scratch: Scratch,
) -> Positions | None:
    """Return the places in the order of the keep policy; None where it is that of reading."""
    count = len(described.units)
    match options.keep:
        case "last":
            order = scratch.empty(count, np.int64)
            for first in range(0, count, _UNITS_A_SLICE):
                last = min(first + _UNITS_A_SLICE, count)
                order[count - last : count - first] = np.arange(last - 1, first - 1, -1)
            return order
        case "longest":
            keys = scratch.empty(count, np.int32)
            return find_order(np.negative(described.chars, out=keys), scratch, threads)
        case "newest" | "priority" if document_ranks is not None:
            keys = scratch.empty(count, np.int64)
            _rank_places(described.units, units.offsets, document_ranks, keys)
            return find_order(keys, scratch, threads)
    return None


@kernel
def _rank_places(units, offsets, document_ranks, keys):
    document = np.int64(0)
    for place in range(len(units)):
        while offsets[document + 1] <= units[place]:
            document += 1
        keys[place] = document_ranks[document]


def _in_order(
    values: NDArray[np.uint64], order: Positions | None, scratch: Scratch
) -> NDArray[np.uint64]:
    return values if order is None else scratch.take(values, order)


def _group_equal(
    data: Bytes,
    units: Units,
    in_order: Positions,
    fingerprints: NDArray[np.uint64],
    threads: int,
    scratch: Scratch,
) -> _Groups:
    """Group units, which stand in the order of the policy, that are equal once folded."""
    count = len(in_order)
    first_of_rank = scratch.empty(count, np.int64)
    _link_equal(find_order(fingerprints, scratch, threads), fingerprints, first_of_rank)

    # The same fingerprint is no proof: the texts are compared.
    exact = scratch.full(count, True, np.bool_)

    def work(begin: int, end: int) -> Positions:
        again = begin + np.flatnonzero(first_of_rank[begin:end] != np.arange(begin, end))
        left, right = in_order[again], in_order[first_of_rank[again]]
        spans = (units.starts[left], units.stops[left], units.starts[right], units.stops[right])
        same = same_spans(data, *spans)
        exact[again] = same
        doubtful = again[~same]
        rows = in_order[np.concatenate([doubtful, first_of_rank[doubtful]])]
        both = _fold(data, units, rows)
        middle = len(doubtful)
        equal = same_spans(
            both.data,
            both.offsets[:middle],
            both.offsets[1 : middle + 1],
            both.offsets[middle:-1],
            both.offsets[middle + 1 :],
        )
        return doubtful[~equal]

    bounds = np.append(np.arange(0, count, _UNITS_A_SLICE), count)
    # Written when all were looked at, for others look at the first of theirs.
    for unequal in list(map_slices(work, bounds, threads)):
        first_of_rank[unequal] = unequal
    firsts_room = scratch.empty(count, np.int64)
    group_count = _number_groups(first_of_rank, firsts_room)
    return _Groups(in_order, firsts_room[:group_count], first_of_rank, exact)


def _fold(data: Bytes, units: Units, which: Positions) -> Texts:
    return fold_spans(data, units.starts[which], units.stops[which])


def _sketch(
    data: Bytes,
    units: Units,
    which: Positions,
    numbers: NDArray[np.uint64],
    options: Options,
    threads: int,
    scratch: Scratch,
    progress: Progress,
) -> list[NDArray[np.uint64]]:
    """Compute the band keys of some units: uint64[n] for each band."""
    keys = [scratch.empty(len(which), np.uint64) for _ in range(options.bands)]

    def work(first: int, last: int) -> None:
        shingles = hash_shingles(_fold(data, units, which[first:last]), options)
        signatures = sign(shingles, options.num_perm, options.bands * options.rows)
        part = hash_bands(signatures, numbers[first:last], options.bands, options.rows)
        for band in range(options.bands):
            keys[band][first:last] = part[band]

    bounds = _cut_by_length(units, which)
    with progress.stage("sketching", len(which), "units") as done:
        run_slices(work, bounds, threads, done)
    return keys


def _cut_by_length(units: Units, which: Positions) -> Positions:
    def lengths(first: int, last: int) -> Positions:
        rows = which[first:last]
        spans: Positions = units.stops[rows] - units.starts[rows]
        return spans

    return cut_many_slices(len(which), lengths)


def _fold_live(
    data: Bytes,
    units: Units,
    which: Positions,
    options: Options,
    threads: int,
    scratch: Scratch,
) -> tuple[Texts, Sets]:
    """Fold some units once more, to stay, and measure their sets of shingles."""
    bounds = _cut_by_length(units, which)
    text = Column(scratch, np.uint8, SLICE_BYTES * len(bounds))
    offsets = scratch.empty(len(which) + 1, np.int64)
    offsets[0] = 0
    sets = Sets(scratch.empty(len(which), np.int64), scratch.empty((len(which), 8), np.uint64))

    def work(first: int, last: int) -> Texts:
        folded = _fold(data, units, which[first:last])
        part = measure_sets(folded, options)
        sets.sizes[first:last] = part.sizes
        sets.maps[first:last] = part.maps
        return folded

    for first, last, folded in zip(
        bounds[:-1], bounds[1:], map_slices(work, bounds, threads), strict=True
    ):
        offsets[first + 1 : last + 1] = folded.offsets[1:] + len(text)
        text.extend(folded.data[: folded.offsets[-1]])
    text.extend(np.zeros(PADDING_BYTES, np.uint8))
    return Texts(text.values, offsets), sets


class _Scorer:
    """Scores candidate pairs of folded units, in threads that last as long as it.

    Most waves are a few thousand pairs: a pool for each took 0.1 s of a run over
    246 MB, and one slice for each did not use the second core, 0.2 s.
    """

    def __init__(self, folded: Texts, sets: Sets, options: Options, threads: int) -> None:
        self._folded, self._sets, self._options = folded, sets, options
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
        return score_pairs(self._folded, left, right, self._sets, self._options)


def _apply_law(
    finder: CandidateFinder,
    scorer: _Scorer,
    sets: Sets,
    options: Options,
    scratch: Scratch,
    progress: Progress,
) -> _Verdicts:
    """Decide unit after unit: pairs are scored a wave at a time, by all threads."""
    count = len(sets.sizes)
    verdicts = _Verdicts(scratch.full(count, -1, np.int32), scratch.full(count, 0, np.int32))
    pair_of = scratch.full(count, 0, np.int32)
    with progress.stage("comparing", count, "units") as done:
        _decide_all(finder, scorer, sets, options, pair_of, verdicts, done)
    return verdicts


def _decide_all(
    finder: CandidateFinder,
    scorer: _Scorer,
    sets: Sets,
    options: Options,
    pair_of: NDArray[np.int32],
    verdicts: _Verdicts,
    done: Done,
) -> None:
    buckets = finder.buckets
    count = len(sets.sizes)
    first = 0
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
        done(wave.last - first)
        first = wave.last


def _judge_again(
    ranks: Positions,
    live: NDArray[np.int32],
    live_ranks: Positions,
    verdicts: _Verdicts,
    sets: Sets,
    finder: CandidateFinder,
    scorer: _Scorer,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hold repeated texts that go against what came to stay since the first of them.

    A later copy of a duplicate goes too, but its canonical may be another: a
    unit in between that is more alike.

    Parameters
    ----------
    ranks, live
        int[n], later copies: their ranks, rising, and their numbers among live units.
    live_ranks
        int64[live_count], rank of the first unit with each live text.

    Returns
    -------
    canonicals, shared
        int32[n], as in the verdicts.
    """
    best, best_shared = verdicts.canonicals[live], verdicts.shared[live]
    if len(ranks) == 0:
        return best, best_shared
    units, rows = np.unique(live.astype(np.int64), return_inverse=True)
    last_ranks = np.zeros(len(units), np.int64)
    np.maximum.at(last_ranks, rows, ranks)
    latest = np.searchsorted(live_ranks, last_ranks) - 1
    left, right = finder.later_pairs(units, latest)
    shared = scorer.score(units[left], right)
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
    return best, best_shared
