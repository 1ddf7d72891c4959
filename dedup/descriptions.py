"""Descriptions of units: what is known of each before one is held against another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Bytes, Flags, Positions
from dedup.folding import Descriptions, describe, end_in_letters, fold_spans
from dedup.options import Options
from dedup.scratch import Column, Scratch
from dedup.slices import cut_many_slices, map_slices
from dedup.units import Units

_UNITS_A_SLICE = 1 << 12

# Least lengths that a long unit has: 30 code points in English. With 1.5 of them, 60 %
# of sentences that were split in two are found, not 67 %.
_LONG_TIMES = 1.2


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
    long
        bool[n], whether they have 1.2 times the least length and end in a sign, where
        words have spaces, so that they are held against stretches: most of the others
        that are found in those are headings, names and lines that are broken off.
    numbers, fingerprints
        uint64[n], hashes of their digits and of all of their folded text; both
        differ between documents where each is cleaned by itself.
    """

    compared: Flags
    units: Positions
    chars: NDArray[np.int32]
    long: Flags
    numbers: NDArray[np.uint64]
    fingerprints: NDArray[np.uint64]


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
    long = _is_long_enough(seen, options, _LONG_TIMES)
    long &= ~end_in_letters(data, units.starts, units.stops)
    long = long[rows]
    return Described(compared, rows, chars, long, numbers, fingerprints)


class Describing:
    """Descriptions of units that come slice by slice."""

    def __init__(self, scratch: Scratch, expected_units: int = 0) -> None:
        self._compared = Column(scratch, np.bool_, expected_units)
        kinds = (np.int64, np.int32, np.bool_, np.uint64, np.uint64)
        self._columns = [Column(scratch, kind, expected_units) for kind in kinds]

    def __len__(self) -> int:
        return len(self._compared)

    def append(self, part: Described) -> None:
        """Take the descriptions of units that come next."""
        values: tuple[NDArray[Any], ...] = (
            part.units + len(self),
            part.chars,
            part.long,
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


def _is_long_enough(lengths: Descriptions, options: Options, times: float = 1) -> Flags:
    """Tell which texts have so many times the least length of a unit that is compared.

    In mixed text each script counts by its own measure.
    """
    enough: Flags = (
        lengths.spaced_chars * options.min_chars_unspaced
        + lengths.unspaced_chars * options.min_chars
        >= times * options.min_chars * options.min_chars_unspaced
    )
    return enough
