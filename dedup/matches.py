"""Matches: pairs of passages as rows, with code points of the original text on both sides."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from dedup.columns import Bytes, Positions, Texts
from dedup.documents import check_documents
from dedup.errors import OptionsError
from dedup.kernels import kernel
from dedup.kinds import KINDS, Kind
from dedup.passages import PassageOptions, Passages, find_passages
from dedup.results import Span

# Which pairs count: all, those inside one document, those of two documents.
PairScope = Literal["corpus", "document", "across"]

# Rows that are made at once, and digits of their shares.
_ROWS_AT_ONCE = 1 << 12
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Match:
    """A passage that matches an earlier one.

    Attributes
    ----------
    document, start, stop
        Where it stands, in code points of the original text, half-open.
    match
        The earlier one, in the same document or another.
    kind
        ``exact``: the same text; ``folded``: the same words; ``near``.
    score
        Aligned words over all words of the two, 0 to 1.
    containment
        Aligned words over those of the shorter, 0 to 1.
    """

    document: str
    start: int
    stop: int
    match: Span
    kind: Kind
    score: float
    containment: float

    def to_mapping(self) -> dict[str, Any]:
        """Return the row as it goes into JSON."""
        return {
            "document": self.document,
            "start": self.start,
            "stop": self.stop,
            "match": self.match.to_mapping(),
            "kind": self.kind,
            "score": round(self.score, _DIGITS),
            "containment": round(self.containment, _DIGITS),
        }


@kernel
def _count_points_at(data, places, points):
    # Places rise; a byte starts a code point unless its two high bits are 10.
    count = np.int64(0)
    at = np.int64(0)
    for i in range(len(places)):
        while at < places[i]:
            count += (data[at] & 0xC0) != 0x80
            at += 1
        points[i] = count


def count_points(data: Bytes, places: Positions) -> Positions:
    """Return how many code points start before each place, in any order.

    Parameters
    ----------
    data
        uint8[n], UTF-8.
    places
        int64[m], 0 to n.
    """
    distinct, rows = np.unique(places, return_inverse=True)
    points = np.empty(len(distinct), np.int64)
    _count_points_at(data, distinct, points)
    found: Positions = points[rows]
    return found


def match_documents(
    documents: Iterable[tuple[str, str]],
    options: PassageOptions | None = None,
    *,
    threads: int = 1,
) -> list[Match]:
    """Find the passages that documents share, across and within them.

    Parameters
    ----------
    documents
        Id and text of each, in reading order.
    options
        What counts as a passage; the defaults unless given.
    threads
        Workers; the result is the same for any number.

    Returns
    -------
    list
        By where the later passage stands.

    Raises
    ------
    InputError
        See `dedup.clean_documents`.

    Examples
    --------
    >>> text = "it was known that nobody had crossed the bridge since the great flood of that year"
    >>> one, two = f"He said {text}; I laughed.", f"Perhaps {text}. Who knows?"
    >>> (match,) = match_documents([("a", one), ("b", two)], PassageOptions.of_length(12))
    >>> two[match.start : match.stop] == one[match.match.start : match.match.stop] == text
    True
    """
    names, texts = check_documents(documents)
    return list(list_matches(texts, names, find_passages(texts, options, threads)))


def choose_passages(
    found: Passages, scope: PairScope = "corpus", reference_count: int | None = None
) -> Passages:
    """Choose pairs by the documents they stand in.

    Parameters
    ----------
    scope
        Which pairs count.
    reference_count
        How many documents at the beginning are a reference: then only pairs of
        one of them and one behind them count. None for no reference.

    Raises
    ------
    OptionsError
        When the scope is unknown, or there is a reference and pairs are to stand
        inside documents.
    """
    check_scope(scope, reference_count is not None)
    left, right = found.left_documents, found.right_documents
    chosen = np.ones(len(found), np.bool_)
    if reference_count is not None:
        chosen = (left < reference_count) & (right >= reference_count)
    elif scope != "corpus":
        chosen = (left == right) == (scope == "document")
    if chosen.all():
        return found
    columns: dict[str, Any] = {
        name: column[chosen]
        for name, column in vars(found).items()
        if isinstance(column, np.ndarray)
    }
    return replace(found, **columns)


def check_scope(scope: str, has_reference: bool) -> None:
    """Refuse a scope that is unknown, or leaves nothing beside a reference.

    Raises
    ------
    OptionsError
    """
    if scope not in get_args(PairScope):
        raise OptionsError("scope", scope, f"one of {', '.join(get_args(PairScope))}")
    if has_reference and scope == "document":
        raise OptionsError("scope", scope, "corpus or across, as --against is given")


def list_matches(texts: Texts, names: Sequence[str], found: Passages) -> Iterator[Match]:
    """List pairs of passages, by where the later one stands, then the earlier one.

    Parameters
    ----------
    names
        What each text is called.
    """
    order = np.lexsort(
        (
            found.left_stops,
            found.left_starts,
            found.right_stops,
            found.right_starts,
        )
    )
    columns: list[NDArray[Any]] = []
    for documents, starts, stops in (
        (found.right_documents, found.right_starts, found.right_stops),
        (found.left_documents, found.left_starts, found.left_stops),
    ):
        begins = texts.offsets[documents]
        points = count_points(texts.data, np.concatenate([begins, starts, stops]))
        begin, start, stop = np.split(points, 3)
        columns += [documents[order], (start - begin)[order], (stop - begin)[order]]
    columns += [found.kinds[order], found.scores[order], found.containments[order]]
    for first in range(0, len(order), _ROWS_AT_ONCE):
        rows = (column[first : first + _ROWS_AT_ONCE].tolist() for column in columns)
        for document, start, stop, other, begin, end, kind, *shares in zip(*rows, strict=True):
            match = Span(names[other], begin, end)
            yield Match(names[document], start, stop, match, KINDS[kind], *shares)


def match_lines(matches: Iterable[Match]) -> Iterator[bytes]:
    """Write matches as JSON Lines, many at a time."""
    rest = iter(matches)
    while rows := [*islice(rest, _ROWS_AT_ONCE)]:
        yield b"".join(
            orjson.dumps(match.to_mapping(), option=orjson.OPT_APPEND_NEWLINE) for match in rows
        )
