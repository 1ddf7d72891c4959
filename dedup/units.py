"""Units: the sentences, paragraphs or documents that are compared."""

from dataclasses import dataclass

import numpy as np

from dedup.columns import Positions, Texts
from dedup.options import Unit
from dedup.sentences import split_paragraphs, split_sentences


@dataclass(frozen=True)
class Units:
    """Spans of text, in reading order.

    Attributes
    ----------
    starts, stops
        int64[unit_count], byte positions in the data of all documents; never
        empty, without overlap, no white space at either end.
    offsets
        int64[document_count + 1], document `i` has units ``offsets[i]`` to
        ``offsets[i + 1]``.
    """

    starts: Positions
    stops: Positions
    offsets: Positions

    def __len__(self) -> int:
        return len(self.starts)


def cut_units(documents: Texts, unit: Unit) -> Units:
    """Cut documents into units; only white space stands between them."""
    if unit == "sentence":
        return Units(*split_sentences(documents.data, documents.offsets))
    starts, stops, offsets = split_paragraphs(documents.data, documents.offsets)
    if unit == "paragraph":
        return Units(starts, stops, offsets)
    filled = np.flatnonzero(np.diff(offsets))
    whole = np.zeros(len(documents) + 1, np.int64)
    np.cumsum(np.diff(offsets) > 0, out=whole[1:])
    return Units(starts[offsets[filled]], stops[offsets[filled + 1] - 1], whole)
