"""Postings: the keys under which units are found again, and what was found.

A unit has a key for its folded text, one for each band and one for each run of
shingles that is sampled. All kinds stand in one order of keys. Beside them stand the
measures of those units: where they stand, and what bounds how alike two can be.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup.columns import Flags, Positions, Texts
from dedup.descriptions import describe_all
from dedup.folding import fold_spans
from dedup.index.segments import MEASURE_WORDS
from dedup.kernels import kernel
from dedup.options import Options
from dedup.orders import order_hashes
from dedup.shingles import Runs, Sets, hash_shingles, measure_sets, sample_runs, shorten_runs
from dedup.signatures import hash_bands, sign
from dedup.slices import cut_slices, map_slices
from dedup.units import Units, find_documents

# What tells the kinds of keys apart.
_TEXT = np.uint64(0xA0761D6478BD642F)
_BAND = np.uint64(0xE7037ED1A0B428DB)
_RUN = np.uint64(0x8EBC6AF09C88C6E3)


@dataclass(frozen=True)
class UnitKeys:
    """Keys of units that are compared.

    Attributes
    ----------
    units
        int64[n], which of the units that were given, rising.
    texts
        uint64[n], of the folded text.
    bands
        uint64[bands, n]
    runs
        Of all of them.
    asks
        bool[n], whether a unit is looked for in stretches.
    starts, lengths
        int64[n], where the units stand in their documents, in bytes.
    sets
        Of their shingles.
    """

    units: Positions
    texts: NDArray[np.uint64]
    bands: NDArray[np.uint64]
    runs: Runs
    asks: Flags
    starts: Positions
    lengths: Positions
    sets: Sets

    def put(
        self, leaders: Flags, staying: Flags, numbers: Positions, documents: Positions
    ) -> "Postings":
        """Put units under their keys.

        Parameters
        ----------
        leaders
            bool[n], which rows are put under their text and their runs.
        staying
            bool[n], which are put under their bands.
        numbers, documents
            int64[n], what each unit and its document are known by.
        """
        of_runs = np.repeat(leaders, self.runs.counts)
        under_bands = np.tile(numbers[staying], len(self.bands))
        measures = np.empty((int(np.count_nonzero(leaders)), MEASURE_WORDS), np.uint64)
        columns = (numbers, documents, self.starts, self.lengths, self.sets.sizes)
        for word, column in enumerate(columns):
            measures[:, word] = column[leaders]
        measures[:, len(columns) :] = self.sets.maps[leaders]
        return Postings(
            np.concatenate(
                [self.texts[leaders], self.bands[:, staying].ravel(), self.runs.keys[of_runs]]
            ),
            np.concatenate(
                [numbers[leaders], under_bands, np.repeat(numbers, self.runs.counts)[of_runs]]
            ),
            measures,
        )


class Postings(NamedTuple):
    """Keys, and the unit that each leads to; in any order.

    Attributes
    ----------
    keys
        uint64[n]
    units
        int64[n]
    measures
        uint64[m, MEASURE_WORDS], of those that stand under their text.
    """

    keys: NDArray[np.uint64]
    units: Positions
    measures: NDArray[np.uint64]


@dataclass(frozen=True)
class Measures:
    """What is known of units without a look at their text.

    Attributes
    ----------
    rows
        uint64[n, MEASURE_WORDS], as segments have them.
    """

    rows: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def documents(self) -> Positions:
        """The number of each one's document."""
        return self.rows[:, 1].astype(np.int64)

    @property
    def starts(self) -> Positions:
        """Where it starts there, in bytes."""
        return self.rows[:, 2].astype(np.int64)

    @property
    def lengths(self) -> Positions:
        """How many bytes it has."""
        return self.rows[:, 3].astype(np.int64)

    @property
    def sets(self) -> Sets:
        """Its shingles."""
        return Sets(self.rows[:, 4].astype(np.int64), np.ascontiguousarray(self.rows[:, 5:]))


def make_keys(texts: Texts, units: Units, options: Options, threads: int = 1) -> UnitKeys:
    """Make the keys of all units that are long enough to be compared."""
    described = describe_all(texts.data, units, options, threads)
    rows = described.units
    starts, stops = units.starts[rows], units.stops[rows]

    def make(first: int, last: int) -> tuple[NDArray[np.uint64], Runs, Sets]:
        folded = fold_spans(texts.data, starts[first:last], stops[first:last])
        shingles = hash_shingles(folded, options)
        signatures = sign(shingles, options.num_perm, options.bands * options.rows)
        numbers = described.numbers[first:last]
        return (
            hash_bands(signatures, numbers, options.bands, options.rows),
            sample_runs(folded, shingles, options),
            measure_sets(folded, options),
        )

    parts = list(map_slices(make, cut_slices(stops - starts), threads))
    bands = [band for band, *_ in parts]
    return UnitKeys(
        rows,
        described.fingerprints ^ _TEXT,
        np.concatenate([np.empty((options.bands, 0), np.uint64), *bands], axis=-1) ^ _BAND,
        _join_runs([run for _, run, _ in parts]),
        described.long,
        starts - texts.offsets[find_documents(units, rows)],
        stops - starts,
        Sets(
            np.concatenate([np.empty(0, np.int64), *(sets.sizes for *_, sets in parts)]),
            np.concatenate([np.empty((0, 8), np.uint64), *(sets.maps for *_, sets in parts)]),
        ),
    )


def make_runs(
    texts: Texts, starts: Positions, stops: Positions, options: Options, threads: int = 1
) -> Runs:
    """Make the runs of units that stand at some places."""

    def make(first: int, last: int) -> Runs:
        folded = fold_spans(texts.data, starts[first:last], stops[first:last])
        return sample_runs(folded, hash_shingles(folded, options), options)

    return _join_runs(list(map_slices(make, cut_slices(stops - starts), threads)))


def _join_runs(parts: list[Runs]) -> Runs:
    keys = np.concatenate([np.empty(0, np.uint64), *(part.keys for part in parts)])
    return Runs(
        shorten_runs(keys) ^ _RUN,
        np.concatenate([np.empty(0, np.uint8), *(part.places for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.counts for part in parts)]),
    )


@kernel
def _number_distinct(order, keys, distinct, rows):
    """Number keys that are equal by the place of the first; return how many there are."""
    count = np.int64(0)
    for i in order:
        if count == 0 or keys[i] != distinct[count - 1]:
            distinct[count] = keys[i]
            count += 1
        rows[i] = count - 1
    return count


class Distinct(NamedTuple):
    """Keys of which each stands once.

    Attributes
    ----------
    keys
        uint64[n], rising.
    rows
        int64[m], which of them each of the keys is that were given.
    order
        int32[m], the keys that were given, in rising order.
    """

    keys: NDArray[np.uint64]
    rows: Positions
    order: NDArray[np.int32]

    @classmethod
    def of(cls, keys: NDArray[np.uint64]) -> "Distinct":
        """Find them."""
        order = order_hashes(keys)
        distinct, rows = np.empty(len(keys), np.uint64), np.empty(len(keys), np.int64)
        count = _number_distinct(order, keys, distinct, rows)
        return cls(distinct[:count], rows, order)
