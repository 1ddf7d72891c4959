"""Filters: which duplicates are taken out, and which are only marked.

The law says what is a duplicate; a filter never changes that. A duplicate
that stays in the text keeps its row, with ``"removed": false``.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dedup.columns import Flags, Positions
from dedup.duplicates import Duplicates
from dedup.errors import OptionsError
from dedup.kernels import kernel
from dedup.orders import find_order
from dedup.scratch import Scratch
from dedup.units import Units, find_documents

Boilerplate = Literal["keep-first", "keep-all", "drop-all"]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What is done with duplicates.

    Raises
    ------
    OptionsError
        When a value has the wrong type or is out of range; it names the option.
    """

    min_run: int = 1
    """Least run of consecutive duplicates that is taken out of a document when
    their canonicals stand in other documents; a shorter one is only marked."""

    boilerplate_over: int = 0
    """A unit that stands in so many documents or more is boilerplate; 0: none is."""

    boilerplate: Boilerplate = "keep-first"
    """Of boilerplate one copy stays (``keep-first``), or all (``keep-all``), or
    none (``drop-all``)."""

    annotate: bool = False
    """Whether nothing is taken out."""

    def __post_init__(self) -> None:
        if self.boilerplate not in get_args(Boilerplate):
            allowed = ", ".join(get_args(Boilerplate))
            raise OptionsError("boilerplate", self.boilerplate, f"one of {allowed}")
        for name, least in (("min_run", 1), ("boilerplate_over", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise OptionsError(name, value, f"a whole number, {least} or more")
        annotate: object = self.annotate
        if not isinstance(annotate, bool):
            raise OptionsError("annotate", annotate, "true or false")


@dataclass(frozen=True)
class Choice:
    """What is taken out.

    Attributes
    ----------
    rows
        bool[duplicate_count], whether the duplicate is taken out.
    dropped
        int64[n], canonicals that are taken out too, rising: boilerplate of
        which nothing is to stay.
    boilerplate
        int64[n], canonicals that are boilerplate, rising.
    boilerplate_documents
        int64[n], in how many documents each stands.
    """

    rows: Flags
    dropped: Positions
    boilerplate: Positions
    boilerplate_documents: Positions


@kernel
def _mark_long_runs(units, compared, documents, canonical_documents, least, removed):
    """Mark rows of runs that are long enough, and those inside one document."""
    first = 0
    for i in range(len(units)):
        ends = i + 1 == len(units) or documents[i + 1] != documents[i]
        # Units between two rows that were compared are no duplicates.
        for unit in range(units[i] + 1, 0 if ends else units[i + 1]):
            ends = ends or compared[unit]
        if ends:
            for k in range(first, i + 1):
                removed[k] = i + 1 - first >= least or documents[k] == canonical_documents[k]
            first = i + 1


@kernel
def _count_documents(order, canonicals, documents, canonical_documents, counts):
    """Count in how many documents each canonical stands; rows of one are in reading order."""
    count = 0
    groups = 0
    for i in range(len(order)):
        row = order[i]
        is_first = i == 0 or canonicals[order[i - 1]] != canonicals[row]
        if is_first:
            count = 1
        if documents[row] != canonical_documents[row] and (
            is_first or documents[order[i - 1]] != documents[row]
        ):
            count += 1
        if i + 1 == len(order) or canonicals[order[i + 1]] != canonicals[row]:
            counts[groups, 0] = canonicals[row]
            counts[groups, 1] = count
            groups += 1
    return groups


def _touches(units: Units, found: Duplicates, dropped: Positions) -> Flags:
    """Tell which rows have a canonical of which something is dropped."""
    lasts = np.searchsorted(units.starts, found.canonical_stops)
    touches: Flags = np.searchsorted(dropped, found.canonicals) < np.searchsorted(dropped, lasts)
    return touches


def choose_removed(
    units: Units, found: Duplicates, filters: Filters, scratch: Scratch | None = None
) -> Choice:
    """Choose which duplicates are taken out.

    Notes
    -----
    A run is counted in units that were compared, within a document; whether
    its canonicals follow one another does not matter.
    """
    scratch = scratch or Scratch()
    removed = scratch.full(len(found), True, np.bool_)
    boilerplate, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    if filters.min_run > 1 or filters.boilerplate_over:
        documents = find_documents(units, found.units, scratch)
        others = find_documents(units, found.canonicals, scratch)
        if filters.min_run > 1:
            _mark_long_runs(
                found.units, found.compared, documents, others, filters.min_run, removed
            )
        if filters.boilerplate_over:
            # What is like a stretch is no copy of the unit in which that begins.
            is_unit = found.canonical_starts == units.starts[found.canonicals]
            is_unit &= found.canonical_stops == units.stops[found.canonicals]
            order = find_order(found.canonicals, scratch)
            order = order[is_unit[order]]
            groups = scratch.empty((len(found), 2), np.int64)
            groups = groups[: _count_documents(order, found.canonicals, documents, others, groups)]
            boilerplate, counts = groups[groups[:, 1] >= filters.boilerplate_over].T
    dropped = boilerplate[:0]
    if filters.boilerplate != "keep-first" and len(boilerplate):
        is_boilerplate = np.isin(found.canonicals, boilerplate)
        is_boilerplate &= is_unit
        if filters.boilerplate == "keep-all":
            removed &= ~is_boilerplate
        else:
            removed |= is_boilerplate
            dropped = boilerplate
            # A stretch of what is dropped does not stay.
            removed[~is_unit & _touches(units, found, dropped)] = False
    if filters.annotate:
        removed[:] = False
        dropped = boilerplate[:0]
    return Choice(removed, dropped, boilerplate, counts)
