"""One engine under every route: documents in, cleaned documents and their map out."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.cleaned import count_canonicals, join_kept
from dedup.columns import Positions
from dedup.corpus import CleanedCorpus, clean_corpus
from dedup.documents import check_documents
from dedup.errors import OptionsError
from dedup.filters import Filters
from dedup.kinds import KINDS
from dedup.options import Options
from dedup.results import Duplicate, Result, Span, Stats


def clean(
    text: str,
    options: Options | None = None,
    *,
    filters: Filters | None = None,
    document: str = "text",
) -> Result:
    """Take the repeated passages out of a text and say where they stood.

    Parameters
    ----------
    text
        Any text.
    options
        What counts as a duplicate; the defaults unless given.
    filters
        Which duplicates are taken out; all unless given.
    document
        What the map calls the text.

    Returns
    -------
    Result
        The cleaned text, the duplicates with their canonicals, the kept segments.

    Raises
    ------
    InputError
        When it is no text; `TextError` when it holds a lone surrogate, which no
        Unicode text does.

    Notes
    -----
    Time is linear in the text, but for sorting. Memory is at most about 30
    times its UTF-8.

    Examples
    --------
    >>> result = clean(
    ...     "The ferry leaves at noon from the old pier. Nobody knew it then. "
    ...     "The ferry leaves at noon, from the old pier."
    ... )
    >>> result.text
    'The ferry leaves at noon from the old pier. Nobody knew it then.'
    >>> row = result.duplicates[0]
    >>> row.start, row.stop, row.canonical.start, row.canonical.stop, row.kind
    (65, 109, 0, 43, 'folded')
    """
    return clean_documents([(document, text)], options, filters=filters)[0]


def clean_documents(
    documents: Iterable[tuple[str, str]],
    options: Options | None = None,
    *,
    filters: Filters | None = None,
    threads: int = 1,
) -> list[Result]:
    """Clean documents together: repeats inside and across them go.

    Parameters
    ----------
    documents
        Id and text of each, in reading order.
    options
        What counts as a duplicate; the defaults unless given.
    filters
        Which duplicates are taken out; all unless given.
    threads
        Workers; the result is the same for any number.

    Raises
    ------
    InputError
        When a document is no pair of texts, or two have one id; `TextError` when
        a text holds a lone surrogate. It names the document.
    """
    options = options or Options()
    if not isinstance(options, Options):
        raise OptionsError("options", options, "an Options")
    documents = list(documents)
    _, texts = check_documents(documents)
    corpus = clean_corpus(texts, options, filters or Filters(), threads=threads)
    return list_results(documents, corpus, options)


def place_canonicals(corpus: CleanedCorpus) -> tuple[Positions, Positions]:
    """Return where the canonical of each row starts and stops, in code points."""
    rows = corpus.rows
    return count_canonicals(
        corpus.texts.data,
        corpus.units,
        corpus.points,
        rows.canonicals,
        rows.canonical_starts,
        rows.canonical_stops,
    )


def list_results(
    documents: Sequence[tuple[str, str]],
    corpus: CleanedCorpus,
    options: Options,
    names: Sequence[str] | None = None,
    canonicals: tuple[Positions, Positions] | None = None,
) -> list[Result]:
    """List what became of documents that were cleaned together.

    Parameters
    ----------
    documents
        Id and text of those at the end of the corpus that are asked for.
    names
        Ids of all documents of the corpus, where there are more of them.
    canonicals
        What `place_canonicals` returns, where it is known.
    """
    names = names or [name for name, _ in documents]
    first = len(names) - len(documents)
    texts, units = corpus.texts, corpus.units
    found, kept, points = corpus.rows, corpus.kept, corpus.points

    document_of = np.repeat(np.arange(len(names)), np.diff(units.offsets))
    unit_chars = points.unit_stops - points.unit_starts
    row_documents = document_of[found.units]
    canonical_starts, canonical_stops = canonicals or place_canonicals(corpus)
    row_offsets = np.searchsorted(row_documents, np.arange(len(names) + 1))
    rows = [
        Duplicate(names[document], start, stop, Span(names[other], other_start, other_stop), *rest)
        for document, start, stop, other, other_start, other_stop, *rest in zip(
            row_documents.tolist(),
            points.unit_starts[found.units].tolist(),
            points.unit_stops[found.units].tolist(),
            document_of[found.canonicals].tolist(),
            canonical_starts.tolist(),
            canonical_stops.tolist(),
            [KINDS[kind] for kind in found.kinds.tolist()],
            found.scores.tolist(),
            found.containments.tolist(),
            found.passages.tolist(),
            corpus.removed.tolist(),
            strict=True,
        )
    ]
    # Columns of all documents at once: numpy takes longer to be called than to count.
    lengths = points.kept_stops - points.kept_starts
    places = np.cumsum(lengths) - lengths
    places -= np.repeat(np.append(places, 0)[kept.offsets[:-1]], np.diff(kept.offsets))
    kept_rows = list(
        zip(points.kept_starts.tolist(), points.kept_stops.tolist(), places.tolist(), strict=True)
    )
    kept_offsets, unit_offsets = kept.offsets.tolist(), units.offsets.tolist()
    kept_chars = _sum_parts(lengths, kept.offsets).tolist()
    compared = _sum_parts(found.compared, units.offsets).tolist()
    duplicate_chars = _sum_parts(unit_chars[found.units], row_offsets).tolist()
    bounds = row_offsets.tolist()
    results = []
    for i, (name, text) in enumerate(documents, first):
        segments = tuple(kept_rows[kept_offsets[i] : kept_offsets[i + 1]])
        is_whole = segments == ((0, len(text), 0),)
        unit_count = unit_offsets[i + 1] - unit_offsets[i]
        results.append(
            Result(
                name,
                text,
                text if is_whole else join_kept(texts.data, kept, i).decode(),
                tuple(rows[bounds[i] : bounds[i + 1]]),
                segments,
                Stats(
                    chars=len(text),
                    removed_chars=len(text) - kept_chars[i],
                    duplicate_chars=duplicate_chars[i],
                    units=unit_count,
                    compared_units=compared[i],
                    short_units=unit_count - compared[i],
                    duplicates=bounds[i + 1] - bounds[i],
                    capped_buckets=found.capped_count,
                    recall=options.recall,
                ),
            )
        )
    return results


def _sum_parts(values: NDArray[Any], offsets: Positions) -> Positions:
    """Add up the values of each part."""
    sums = np.append(0, np.cumsum(values))
    parts: Positions = sums[offsets[1:]] - sums[offsets[:-1]]
    return parts
