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
from dedup.units import Units

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


def choose_removed(units: Units, found: Duplicates, filters: Filters) -> Choice:
    """Choose which duplicates are taken out.

    Notes
    -----
    A run is counted in units that were compared, within a document; whether
    its canonicals follow one another does not matter.
    """
    document_of = np.repeat(np.arange(len(units.offsets) - 1), np.diff(units.offsets))
    documents, others = document_of[found.units], document_of[found.canonicals]
    removed = np.ones(len(found), np.bool_)
    if filters.min_run > 1 and len(found):
        # One more at the border of two documents, so that no run goes over it.
        ranks = (np.cumsum(found.compared) + document_of)[found.units]
        begins = np.concatenate([[True], np.diff(ranks) != 1])
        run = np.cumsum(begins) - 1
        removed = (np.bincount(run)[run] >= filters.min_run) | (documents == others)
    boilerplate, counts = _find_boilerplate(found, documents, document_of, filters)
    is_boilerplate = np.isin(found.canonicals, boilerplate)
    dropped = boilerplate[:0]
    if filters.boilerplate == "keep-all":
        removed &= ~is_boilerplate
    elif filters.boilerplate == "drop-all":
        removed |= is_boilerplate
        dropped = boilerplate
    if filters.annotate:
        removed[:] = False
        dropped = boilerplate[:0]
    return Choice(removed, dropped, boilerplate, counts)


def _find_boilerplate(
    found: Duplicates, documents: Positions, document_of: Positions, filters: Filters
) -> tuple[Positions, Positions]:
    """Return canonicals that stand in enough documents, themselves counted, and in how many."""
    if filters.boilerplate_over == 0 or len(found) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.concatenate(
        [
            found.canonicals * len(document_of) + documents,
            found.canonicals * len(document_of) + document_of[found.canonicals],
        ]
    )
    canonicals, counts = np.unique(np.unique(places) // len(document_of), return_counts=True)
    often = counts >= filters.boilerplate_over
    return canonicals[often], counts[often]
