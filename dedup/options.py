"""Every number and choice that decides a result, and nothing that does not."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from dedup.errors import OptionsError

Unit = Literal["sentence", "paragraph", "document"]
Keep = Literal["first", "longest", "last", "newest", "priority"]
Scope = Literal["corpus", "document"]

# Most slots of a signature.
MOST_SLOTS = 4096

# Chance with which a pair exactly at the threshold is compared.
RECALL_AT_THRESHOLD = 0.99


@dataclass(frozen=True, kw_only=True)
class MappedOptions:
    """Options that come from JSON and go into it."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build options from names and values, as they come in JSON.

        Raises
        ------
        OptionsError
            For an unknown name, too.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name, value in values.items():
            if name not in names:
                raise OptionsError(str(name), value, "one of the options " + ", ".join(names))
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, as they go into JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Options(MappedOptions):
    """What counts as a duplicate.

    Raises
    ------
    OptionsError
        When a value has the wrong type or is out of range; it names the option.

    Examples
    --------
    >>> Options(threshold=0.8).bands, Options(threshold=0.8).rows
    (16, 6)
    >>> Options(threshold=7)
    Traceback (most recent call last):
    dedup.errors.OptionsError: option threshold: got 7, expected a number over 0 and up to 1
    """

    unit: Unit = "sentence"
    """What is compared: ``sentence``, ``paragraph`` or ``document``."""

    threshold: float = 0.7
    """Least score (exact Jaccard of the shingle sets) of a duplicate, 0 < t <= 1."""

    keep: Keep = "first"
    """Which copy stays: the ``first``, the ``longest`` or the ``last``; across
    documents, that of the ``newest`` document or of the one with the first
    ``priority``."""

    scope: Scope = "corpus"
    """Whether repeats are looked for across all documents or inside each."""

    numbers: bool = True
    """Whether two units whose runs of digits differ are never duplicates."""

    stretches: bool = True
    """Whether a unit that no unit is like is held against stretches of the text
    that stays, which begin and end elsewhere: it was split, merged or cut
    differently there."""

    min_chars: int = 25
    """Least length of a unit that is compared, in code points of folded text."""

    min_chars_unspaced: int = 8
    """The same for scripts that write without spaces."""

    shingle_chars: int = 5
    """Code points in a shingle, 2 to 8."""

    shingle_chars_han: int = 2
    """The same for Han, Kana and their like, 1 to 8."""

    shingle_chars_thai: int = 3
    """The same for Thai, Lao, Khmer, Myanmar and their like, 1 to 8."""

    num_perm: int = 128
    """Slots of a signature, as many as datasketch's by default. At threshold 0.7
    they are cut into 17 bands of 4 rows. 130 would give room for 26 bands of 5,
    and over 238 MB of natural text 1.0 instead of 2.4 million pairs to score;
    but scoring is the smaller part, and twice the slots take twice the time."""

    bucket_cap: int = 1000
    """How many staying units one band bucket holds; buckets that fill are counted."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("unit", get_args(Unit)),
            ("keep", get_args(Keep)),
            ("scope", get_args(Scope)),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise OptionsError(name, value, "one of " + ", ".join(allowed))
        threshold: object = self.threshold
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise OptionsError("threshold", threshold, "a number over 0 and up to 1")
        if not 0 < threshold <= 1:
            raise OptionsError("threshold", threshold, "a number over 0 and up to 1")
        for name in ("numbers", "stretches"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise OptionsError(name, value, "true or false")
        for name, least, most in (
            ("min_chars", 1, 1_000_000),
            ("min_chars_unspaced", 1, 1_000_000),
            ("shingle_chars", 2, 8),
            ("shingle_chars_han", 1, 8),
            ("shingle_chars_thai", 1, 8),
            ("num_perm", 1, MOST_SLOTS),
            ("bucket_cap", 1, 1_000_000),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise OptionsError(name, value, f"a whole number from {least} to {most}")
        bands, rows = solve_bands(self.threshold, self.num_perm)
        object.__setattr__(self, "_banding", (bands, rows))

    @property
    def bands(self) -> int:
        """Bands of a signature."""
        return self._banding[0]

    @property
    def rows(self) -> int:
        """Slots in a band."""
        return self._banding[1]

    @property
    def recall(self) -> float:
        """Chance with which a pair exactly at the threshold is compared."""
        return candidate_probability(self.threshold, self.bands, self.rows)

    # Set once by __post_init__; not a field, so that it is neither compared nor shown.
    _banding = (0, 0)


def candidate_probability(score: float, bands: int, rows: int) -> float:
    """Return the chance that two units with a given Jaccard share a band.

    Parameters
    ----------
    score
        Jaccard of the two shingle sets, 0 to 1.
    bands, rows
        How the signature is cut.

    Raises
    ------
    OptionsError
        When a value is out of range.

    References
    ----------
    A. Rajaraman, J. Ullman, "Mining of Massive Datasets", 2011, section 3.4.2.

    Examples
    --------
    >>> round(candidate_probability(0.7, 17, 4), 4)
    0.9906
    """
    if not 0 <= score <= 1:
        raise OptionsError("score", score, "a number from 0 to 1")
    for name, value in (("bands", bands), ("rows", rows)):
        if value < 1:
            raise OptionsError(name, value, "a whole number, 1 or more")
    return -math.expm1(bands * math.log1p(-(score**rows))) if score < 1 else 1.0


def solve_bands(
    threshold: float, num_perm: int, recall: float = RECALL_AT_THRESHOLD
) -> tuple[int, int]:
    """Find the most selective bands and rows that keep the recall at the threshold.

    More rows let fewer unrelated pairs through but need more bands; of all
    cuts that fit into `num_perm` slots and find a pair at the threshold with
    the chance `recall`, the one with the most rows is taken, with no more
    bands than it needs.

    Returns
    -------
    bands, rows

    Raises
    ------
    OptionsError
        When even one row a band does not fit; it says how many slots would.

    Examples
    --------
    >>> solve_bands(0.7, 128)
    (17, 4)
    >>> solve_bands(0.7, 130)
    (26, 5)
    """
    if not 0 < threshold <= 1:
        raise OptionsError("threshold", threshold, "a number over 0 and up to 1")
    if not 0 < recall < 1:
        raise OptionsError("recall", recall, "a number over 0 and under 1")
    best = None
    for rows in range(1, num_perm + 1):
        bands = _bands_needed(threshold**rows, recall)
        if bands * rows > num_perm:
            break
        best = (bands, rows)
    if best is None:
        least = _bands_needed(threshold, recall)
        if least > MOST_SLOTS:
            raise OptionsError(
                "threshold", threshold, f"one that {MOST_SLOTS} slots can find, 0.0012 or more"
            )
        raise OptionsError("num_perm", num_perm, f"at least {least} at threshold {threshold}")
    return best


def _bands_needed(band_chance: float, recall: float) -> int:
    """Return the least number of bands of which one matches with the chance `recall`."""
    if band_chance >= 1:
        return 1
    if band_chance < 1e-9:
        return 1 << 31
    return math.ceil(math.log1p(-recall) / math.log1p(-band_chance))
