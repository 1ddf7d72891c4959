"""Units: the sentences, paragraphs or documents that are compared."""

from dataclasses import dataclass

import numpy as np

from dedup.columns import Positions, Texts
from dedup.kernels import kernel
from dedup.options import Unit
from dedup.scratch import Scratch
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


@kernel
def _find_documents(offsets, units, documents):
    for i in range(len(units)):
        low = np.int64(0)
        high = np.int64(len(offsets) - 1)
        while high - low > 1:
            middle = (low + high) // 2
            if offsets[middle] <= units[i]:
                low = middle
            else:
                high = middle
        documents[i] = low


def find_documents(units: Units, which: Positions, scratch: Scratch | None = None) -> Positions:
    """Return the document of each of some units.

    Returns
    -------
    int64[n]
    """
    documents = (scratch or Scratch()).empty(len(which), np.int64)
    _find_documents(units.offsets, which, documents)
    return documents


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
