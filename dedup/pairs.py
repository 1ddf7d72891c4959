"""Candidate pairs: units that share a band.

Band keys are grouped by sorting. Keys that stand alone, nearly all of them,
drop out there; what is left are buckets, and units that are in none of them
are never looked at again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Flags, Positions
from dedup.kernels import kernel
from dedup.orders import order_hashes
from dedup.scratch import Column, Scratch
from dedup.slices import map_slices

# A wave ends before a unit that would meet so many undecided units in one
# bucket: pairs of units that both go are scored for nothing.
WAVE_BUCKET_LIMIT = 16
WAVE_UNITS = 1 << 15
WAVE_ENTRIES = 1 << 18
WAVE_PAIRS = 1 << 20

# Keys of a band that are grouped at once: what that takes is small beside all keys, and
# its bit maps stay in the second cache.
_KEYS_AT_ONCE = 1 << 21

# Keys of all bands that are grouped at once, where they are few.
_FEW_KEYS = 1 << 12

# What grouping takes for a key, and a wave for a pair.
_KEY_BYTES = 24
_PAIR_BYTES = 32

# What a unit may be, of two bits: it is held against others, and others are held
# against it while it stays. One of the reference stays whatever it is like; one that
# is checked against the reference stands for no other; one that went does neither.
HELD, STANDS = 1, 2
WENT, CHECKED, REFERENCE, NORMAL = 0, HELD, STANDS, HELD | STANDS


@dataclass(frozen=True)
class Buckets:
    """Which units share which bands, and who of them stays.

    Attributes
    ----------
    of_unit, offsets
        int32[n] and int64[unit_count + 1]: the buckets of unit `i` are
        ``of_unit[offsets[i]:offsets[i + 1]]``, one for each band that it
        shares with another. Over natural text that is 4 of 17.
    rooms
        int64[bucket_count + 1], where each bucket's members stand.
    members
        int32[rooms[-1]], staying units by bucket, in order.
    counts
        int32[bucket_count], members so far.
    full
        bool[bucket_count], whether a unit found no room.
    """

    of_unit: NDArray[np.int32]
    offsets: Positions
    rooms: Positions
    members: NDArray[np.int32]
    counts: NDArray[np.int32]
    full: NDArray[np.bool_]


@dataclass(frozen=True)
class _Groups:
    """Units that share a key of one band.

    Attributes
    ----------
    units, groups
        int32[n], a unit, rising in each part of the keys of a band, and its group.
    sizes
        int32[group_count]
    """

    units: NDArray[np.int32]
    groups: NDArray[np.int32]
    sizes: NDArray[np.int32]


@dataclass(frozen=True)
class Wave:
    """Candidate pairs of some consecutive units with earlier ones.

    Attributes
    ----------
    first, last
        The units ``first`` to ``last`` (half-open) have all their pairs here.
    left, right
        int64[pair_count], the later and the earlier unit; pairs of one later
        unit stand together, in rising order of it.
    """

    first: int
    last: int
    left: Positions
    right: Positions


@kernel
def _mark_repeated(keys, part, part_bits, once, twice, shift):
    """Set a bit of `twice` for each key whose bit of `once` an earlier key has set."""
    part_shift = np.uint64(63 - part_bits)
    for i in range(len(keys)):
        # In two steps, for a shift by 64 is none.
        if ((keys[i] >> np.uint64(1)) >> part_shift) != part:
            continue
        bit = (keys[i] << part_bits) >> shift
        word = np.int64(bit >> np.uint64(6))
        flag = np.uint64(1) << (bit & np.uint64(63))
        twice[word] |= once[word] & flag
        once[word] |= flag


@kernel
def _select_repeated(keys, part, part_bits, twice, shift, selected):
    part_shift = np.uint64(63 - part_bits)
    count = 0
    for i in range(len(keys)):
        bit = (keys[i] << part_bits) >> shift
        selected[count] = i
        is_repeated = (twice[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1)
        is_of_part = ((keys[i] >> np.uint64(1)) >> part_shift) == part
        count += np.int64(is_repeated) & np.int64(is_of_part)
    return count


@kernel
def _group_sorted(order, keys, selected, groups_of_key, new_numbers, units, groups, sizes):
    """Keep keys that stand twice or more: their units, rising, with the group of each."""
    group = np.int32(0)
    i = 0
    while i < len(order):
        j = i + 1
        while j < len(order) and keys[order[j]] == keys[order[i]]:
            j += 1
        for k in range(i, j):
            groups_of_key[order[k]] = group if j - i > 1 else -1
        new_numbers[group] = -1
        group += np.int32(j - i > 1)
        i = j
    kept = 0
    count = 0
    for i in range(len(order)):
        group = groups_of_key[i]
        if group < 0:
            continue
        if new_numbers[group] < 0:
            # By the first of their units: what is used together then stands
            # together, which takes a third from the time of the waves.
            new_numbers[group] = count
            sizes[count] = 0
            count += 1
        sizes[new_numbers[group]] += 1
        units[kept] = selected[i]
        groups[kept] = new_numbers[group]
        kept += 1
    return kept, count


@kernel
def _count_bands(units, counts):
    for i in range(len(units)):
        counts[units[i]] += 1


@kernel
def _number_live(counts, extra, live, numbers, ends):
    """List units that share a band, number them, and say where the buckets of each begin."""
    count = 0
    end = np.int64(0)
    for unit in range(len(counts)):
        numbers[unit] = count
        if counts[unit] or extra[unit]:
            live[count] = unit
            ends[count] = end
            end += counts[unit]
            count += 1
    ends[count] = end


@kernel
def _fill_buckets(units, groups, sizes, numbers, first, cap, ends, of_unit, rooms):
    # What was the beginning of a unit's buckets is their end when all are filled.
    for i in range(len(units)):
        live = numbers[units[i]]
        of_unit[ends[live]] = first + groups[i]
        ends[live] += 1
    for group in range(len(sizes)):
        rooms[first + group + 1] = rooms[first + group] + min(sizes[group], cap)


@kernel
def _largest_step(values):
    largest = np.int64(0)
    for i in range(len(values) - 1):
        largest = max(largest, values[i + 1] - values[i])
    return largest


@kernel
def _collect(
    first,
    last,
    roles,
    of_unit,
    offsets,
    rooms,
    members,
    counts,
    heads,
    waiting,
    following,
    owners,
    seen,
    bucket_limit,
    left,
    right,
):
    pair_count = 0
    stop = first
    # An entry is a bucket of a unit of this wave.
    begin = offsets[first]
    for unit in range(first, last):
        room_needed = np.int64(0)
        crowded = offsets[unit + 1] - begin > len(following)
        for i in range(offsets[unit], offsets[unit + 1]):
            bucket = of_unit[i]
            if roles[unit] & HELD:
                room_needed += counts[bucket] + waiting[bucket]
                crowded |= waiting[bucket] >= bucket_limit
        if unit > first and (crowded or pair_count + room_needed > len(left)):
            break
        stop = unit + 1
        for i in range(offsets[unit], offsets[unit + 1]):
            bucket = of_unit[i]
            if not roles[unit] & HELD:
                continue
            for k in range(rooms[bucket], rooms[bucket] + counts[bucket]):
                other = members[k]
                if seen[other] != unit:
                    seen[other] = unit
                    left[pair_count] = unit
                    right[pair_count] = other
                    pair_count += 1
            entry = heads[bucket]
            while entry >= 0:
                other = owners[entry]
                if seen[other] != unit:
                    seen[other] = unit
                    left[pair_count] = unit
                    right[pair_count] = other
                    pair_count += 1
                entry = following[entry]
        for i in range(offsets[unit], offsets[unit + 1]):
            if roles[unit] & STANDS:
                bucket = of_unit[i]
                entry = i - begin
                owners[entry] = unit
                following[entry] = heads[bucket]
                heads[bucket] = entry
                waiting[bucket] += 1
    for i in range(begin, offsets[stop]):
        heads[of_unit[i]] = -1
        waiting[of_unit[i]] = 0
    return stop, pair_count


@kernel
def _collect_later(of_unit, offsets, rooms, members, counts, units, latest, seen, left, right):
    # Counts only, while `left` is empty.
    count = 0
    filling = len(left) > 0
    for row in range(len(units)):
        unit = units[row]
        for i in range(offsets[unit], offsets[unit + 1]):
            bucket = of_unit[i]
            for k in range(rooms[bucket], rooms[bucket] + counts[bucket]):
                other = members[k]
                if unit < other <= latest[row] and (not filling or seen[other] != unit):
                    if filling:
                        seen[other] = unit
                        left[count] = row
                        right[count] = other
                    count += 1
    return count


def build_buckets(
    keys: list[NDArray[np.uint64]],
    cap: int,
    threads: int = 1,
    scratch: Scratch | None = None,
    more: Callable[[], Flags] | None = None,
) -> tuple[Buckets, Positions]:
    """Group equal band keys.

    Parameters
    ----------
    keys
        uint64[unit_count] for each band, of which the high bits are as good as
        random. They are the most memory of a run: the list is emptied.
    cap
        Most members of a bucket.
    more
        Gives bool[unit_count], units that are to be among them though they may
        share no key; asked when there are no keys any more.

    Returns
    -------
    buckets
        For the units that share a key with another, renumbered.
    live
        int64[n], those units, rising.

    Notes
    -----
    Most keys stand alone. Two bit maps in the second cache tell which may not,
    and only those are sorted: over 238 MB of natural text 1.0 s instead of 5.3 s
    for sorting all.
    """
    scratch = scratch or Scratch()
    bands, unit_count = len(keys), len(keys[0])
    most_keys = min(_KEYS_AT_ONCE, scratch.chunk_bytes // threads // _KEY_BYTES)

    def work(first: int, last: int) -> list[_Groups]:
        found = []
        if bands * unit_count <= _FEW_KEYS:
            # Together: one band after the other, a document takes 1 ms longer.
            salts = np.arange(bands, dtype=np.uint64) * np.uint64(0xD6E8FEB86659FD93)
            salted = np.concatenate([key ^ salt for key, salt in zip(keys, salts, strict=True)])
            one = _group_band(salted, most_keys, scratch)
            return [_Groups(one.units % max(unit_count, 1), one.groups, one.sizes)]
        for band in range(first, last):
            found.append(_group_band(keys[band], most_keys, scratch))
            # An empty part of it would keep it whole.
            keys[band] = np.empty(0, np.uint64)
        return found

    slices = np.arange(bands + 1) if bands * unit_count > _FEW_KEYS else np.array([0, bands])
    found = [one for part in map_slices(work, slices, threads) for one in part]
    keys.clear()
    counts = scratch.full(unit_count, 0, np.uint16)
    for one in found:
        _count_bands(one.units, counts)
    extra = more() if more else np.zeros(unit_count, np.bool_)
    live = scratch.empty(int(np.count_nonzero((counts > 0) | extra)), np.int64)
    numbers = scratch.empty(unit_count, np.int32)
    # One more in front, so that ends are beginnings.
    offsets = scratch.full(len(live) + 2, 0, np.int64)
    _number_live(counts, extra, live, numbers, offsets[1:])
    of_unit = scratch.empty(int(offsets[-1]), np.int32)
    bucket_count = sum(len(one.sizes) for one in found)
    rooms = scratch.empty(bucket_count + 1, np.int64)
    rooms[0] = first = 0
    for one in found:
        _fill_buckets(
            one.units, one.groups, one.sizes, numbers, first, cap, offsets[1:], of_unit, rooms
        )
        first += len(one.sizes)
    return (
        Buckets(
            of_unit,
            offsets[:-1],
            rooms,
            scratch.empty(int(rooms[-1]), np.int32),
            scratch.full(bucket_count, 0, np.int32),
            scratch.full(bucket_count, False, np.bool_),
        ),
        live,
    )


def _group_band(keys: NDArray[np.uint64], most_keys: int, scratch: Scratch) -> _Groups:
    """Group the units that share a key.

    Parameters
    ----------
    most_keys
        Keys that are grouped at once; more of them in parts, by their high bits.
    """
    part_bits = (len(keys) // most_keys).bit_length()
    units, groups, sizes = (Column(scratch, np.int32) for _ in range(3))
    for number in range(1 << part_bits):
        selected = select_repeated(keys, number, part_bits)
        count = len(selected)
        some = keys[selected]
        order = order_hashes(some, part_bits)
        rooms = [np.empty(count + 1, np.int32) for _ in range(5)]
        kept, group_count = _group_sorted(order, some, selected, *rooms)
        units.extend(rooms[2][:kept])
        groups.extend(rooms[3][:kept] + len(sizes))
        sizes.extend(rooms[4][:group_count])
    return _Groups(units.values, groups.values, sizes.values)


def select_repeated(keys: NDArray[np.uint64], number: int, part_bits: int) -> NDArray[np.int32]:
    """Select keys that are likely to stand twice or more; none that does is missed.

    Parameters
    ----------
    keys
        uint64[n], of which the high bits are as good as random.
    number, part_bits
        Only keys that begin with so many bits of this number.

    Returns
    -------
    int32[m]
        Rows, rising; of the keys that stand alone one in nine is among them.
    """
    part = np.uint64(number)
    # Eight bits a key.
    bits = max(6, (8 * len(keys) >> part_bits).bit_length())
    shift = np.uint64(64 - bits)
    once, twice = np.zeros((2, 1 << (bits - 6)), np.uint64)
    _mark_repeated(keys, part, np.uint64(part_bits), once, twice, shift)
    selected = np.empty(len(keys) + 1, np.int32)
    count = _select_repeated(keys, part, np.uint64(part_bits), twice, shift, selected)
    return selected[:count]


class CandidateFinder:
    """Candidate pairs wave by wave, while the units are decided in order.

    A wave pairs units with those that stay, and with earlier units of the wave
    itself, which are not decided yet. It ends before such pairs become many.
    """

    def __init__(
        self,
        buckets: Buckets,
        roles: NDArray[np.uint8] | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        scratch = scratch or Scratch()
        unit_count = len(buckets.offsets) - 1
        self.buckets = buckets
        self.roles = np.full(unit_count, NORMAL, np.uint8) if roles is None else roles
        most_bands = _largest_step(buckets.offsets)
        entry_room = min(WAVE_ENTRIES + most_bands, len(buckets.of_unit)) + 1
        self._heads = scratch.full(len(buckets.counts), -1, np.int32)
        self._waiting = scratch.full(len(buckets.counts), 0, np.int32)
        self._following = np.empty(entry_room, np.int32)
        self._owners = np.empty(entry_room, np.int32)
        self._seen = scratch.full(unit_count, -1, np.int32)
        # One unit may meet every member of all its buckets.
        cap = _largest_step(buckets.rooms) + WAVE_BUCKET_LIMIT
        most = min(WAVE_PAIRS, scratch.chunk_bytes // _PAIR_BYTES)
        pair_room = max(most_bands * cap, min(most, unit_count * most_bands * cap)) + 1
        self._left = np.empty(pair_room, np.int64)
        self._right = np.empty(pair_room, np.int64)

    def next_wave(self, first: int) -> Wave:
        """Pair the units from `first` on with earlier ones."""
        unit_count = len(self.roles)
        last, count = _collect(
            first,
            min(unit_count, first + WAVE_UNITS),
            self.roles,
            self.buckets.of_unit,
            self.buckets.offsets,
            self.buckets.rooms,
            self.buckets.members,
            self.buckets.counts,
            self._heads,
            self._waiting,
            self._following,
            self._owners,
            self._seen,
            WAVE_BUCKET_LIMIT,
            self._left,
            self._right,
        )
        return Wave(first, last, self._left[:count], self._right[:count])

    def later_pairs(self, units: Positions, latest: Positions) -> tuple[Positions, Positions]:
        """Pair units with later ones that stay, once all are decided.

        Parameters
        ----------
        units
            int64[n], rising.
        latest
            int64[n], the last unit each may be paired with.

        Returns
        -------
        rows, right
            int64[pair_count]: row of `units`, rising, and the later unit.
        """
        buckets = self.buckets
        found = (
            buckets.of_unit,
            buckets.offsets,
            buckets.rooms,
            buckets.members,
            buckets.counts,
            units,
            latest,
        )
        nothing = np.empty(0, np.int64)
        most = _collect_later(*found, self._seen, nothing, nothing)
        left, right = np.empty(most, np.int64), np.empty(most, np.int64)
        count = _collect_later(*found, self._seen, left, right) if most else 0
        return left[:count], right[:count]
