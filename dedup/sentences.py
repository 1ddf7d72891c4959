"""Cutting documents into paragraphs and sentences.

Spans of bytes come out, never text. Between and around the units stands only
white space, so nothing is lost. A paragraph is cut the same way wherever it
stands: the rules look at its own text and at the lines right beside it, and
nothing is learnt from the document or its language.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup import sentence_rules

Spans = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def split_paragraphs(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Spans:
    r"""Split documents into paragraphs.

    A blank line always ends a paragraph. A line break alone ends it unless the
    next line goes on: it begins with a small letter, or this line is as long
    as its neighbours, as lines are in wrapped text. Bullets, numbers and
    indentation begin a paragraph. A title is one paragraph with its underline,
    a line of one of ``= - ~ ^ " # * +`` three times or more, and with the same
    line above it; any other such line and the fence of a block of code are
    paragraphs by themselves.

    Parameters
    ----------
    data : uint8[n]
        UTF-8 of all documents; may be read-only.
    offsets : int64[d + 1]
        Document ``i`` is ``data[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    starts, stops : int64[u]
        Spans in `data`, in order, not empty, without white space at either
        end. Outside them is only white space (White_Space of Unicode) and a
        byte order mark that opens a document.
    unit_offsets : int64[d + 1]
        Those of document ``i`` are ``unit_offsets[i]:unit_offsets[i + 1]``.

    Notes
    -----
    Requires valid UTF-8 in each document. Time linear in the bytes; memory
    16 bytes a paragraph, twice while they are found.

    Examples
    --------
    >>> text = "Title\nIt was late. And he\nleft early.\n\nThe end.".encode()
    >>> starts, stops, _ = split_paragraphs(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
    >>> [text[start:stop] for start, stop in zip(starts, stops)]
    [b'Title', b'It was late. And he\nleft early.', b'The end.']
    """
    found: Any = sentence_rules.find_paragraphs(*_read_only(data, offsets))
    return found[0], found[1], found[2]


def split_sentences(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Spans:
    """Split documents into sentences.

    Parameters
    ----------
    data : uint8[n]
        UTF-8 of all documents; may be read-only.
    offsets : int64[d + 1]
        Document ``i`` is ``data[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    starts, stops : int64[u]
        Spans in `data`; as those of `split_paragraphs`, each inside one of them.
    unit_offsets : int64[d + 1]
        Those of document ``i`` are ``unit_offsets[i]:unit_offsets[i + 1]``.

    Notes
    -----
    Requires valid UTF-8 in each document. Time linear in the bytes.

    The rules see the stop, the word before it and the word after it. A full
    stop is no border before a small letter, after an abbreviation, an initial
    or an ordinal number. Stops of scripts without capitals are borders by
    themselves, as is a full stop without white space between a small word and
    a capitalised one. Quotes and brackets that close after the stop belong to
    the sentence, as does the label of a section before it: "Sec. 12.", "§ 1065.".
    A title with its underline is one sentence.

    References
    ----------
    Unicode Standard Annex #29, "Unicode Text Segmentation", Unicode 16.0, 2024.

    Examples
    --------
    >>> text = "Dr. Who paid $3.50. He left (at last.) 好。再见！".encode()
    >>> starts, stops, _ = split_sentences(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
    >>> [text[start:stop].decode() for start, stop in zip(starts, stops)]
    ['Dr. Who paid $3.50.', 'He left (at last.)', '好。', '再见！']
    """
    arrays = _read_only(data, offsets)
    starts, stops, paragraph_offsets = sentence_rules.find_paragraphs(*arrays)
    found: Any = sentence_rules.cut_sentences(arrays[0], starts, stops, paragraph_offsets)
    return found[0], found[1], found[2]


def _read_only(
    data: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return both as read-only arrays: for Numba another type, and another compilation."""
    data, offsets = data.view(), np.ascontiguousarray(offsets, np.int64).view()
    data.flags.writeable = offsets.flags.writeable = False
    return data, offsets
