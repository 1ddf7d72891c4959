"""Finds and removes repeated and near-repeated text, with an exact map of what went.

>>> import dedup
>>> dedup.clean("One and the same sentence. One and the same sentence.").text
'One and the same sentence.'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dedup.errors import (
        DedupError,
        EncodingError,
        InputError,
        MapError,
        OptionsError,
        OutputError,
        TextError,
    )
    from dedup.filters import Filters
    from dedup.index.index import Index
    from dedup.matches import Match, match_documents
    from dedup.options import Options, candidate_probability, solve_bands
    from dedup.passages import PassageOptions
    from dedup.pipeline import clean, clean_documents
    from dedup.results import Duplicate, Result, Span, Stats, restore
    from dedup.signatures import from_datasketch, to_datasketch

__version__ = "0.1.0"

__all__ = [
    "DedupError",
    "Duplicate",
    "EncodingError",
    "Filters",
    "Index",
    "InputError",
    "MapError",
    "Match",
    "Options",
    "OptionsError",
    "OutputError",
    "PassageOptions",
    "Result",
    "Span",
    "Stats",
    "TextError",
    "candidate_probability",
    "clean",
    "clean_documents",
    "from_datasketch",
    "match_documents",
    "restore",
    "solve_bands",
    "to_datasketch",
]

_MODULES = {
    "Filters": "dedup.filters",
    "Index": "dedup.index.index",
    **dict.fromkeys(["Options", "candidate_probability", "solve_bands"], "dedup.options"),
    **dict.fromkeys(["Duplicate", "Result", "Span", "Stats", "restore"], "dedup.results"),
    **dict.fromkeys(["Match", "match_documents"], "dedup.matches"),
    "PassageOptions": "dedup.passages",
    **dict.fromkeys(["clean", "clean_documents"], "dedup.pipeline"),
    **dict.fromkeys(["from_datasketch", "to_datasketch"], "dedup.signatures"),
}


def __getattr__(name: str) -> Any:
    # Names load when first used: Numba takes 0.4 s, and `dedup --help` needs none of it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "dedup.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
