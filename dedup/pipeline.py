"""One engine under every route: documents in, cleaned documents and their map out."""

from collections.abc import Iterable, Sequence

import numpy as np

from dedup.cleaned import count_canonicals, join_kept
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


def list_results(
    documents: Sequence[tuple[str, str]],
    corpus: CleanedCorpus,
    options: Options,
    names: Sequence[str] | None = None,
) -> list[Result]:
    """List what became of documents that were cleaned together.

    Parameters
    ----------
    documents
        Id and text of those at the end of the corpus that are asked for.
    names
        Ids of all documents of the corpus, where there are more of them.
    """
    names = names or [name for name, _ in documents]
    first = len(names) - len(documents)
    texts, units = corpus.texts, corpus.units
    found, kept, points = corpus.rows, corpus.kept, corpus.points

    document_of = np.repeat(np.arange(len(names)), np.diff(units.offsets))
    unit_chars = points.unit_stops - points.unit_starts
    row_documents = document_of[found.units]
    canonical_starts, canonical_stops = count_canonicals(
        texts.data,
        units,
        points,
        found.canonicals,
        found.canonical_starts,
        found.canonical_stops,
    )
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
    results = []
    for i, (name, text) in enumerate(documents, first):
        mine = slice(kept.offsets[i], kept.offsets[i + 1])
        lengths = points.kept_stops[mine] - points.kept_starts[mine]
        starts = np.cumsum(lengths) - lengths
        kept_rows = zip(
            points.kept_starts[mine].tolist(),
            points.kept_stops[mine].tolist(),
            starts.tolist(),
            strict=True,
        )
        my_units = slice(units.offsets[i], units.offsets[i + 1])
        my_rows = slice(row_offsets[i], row_offsets[i + 1])
        compared = int(np.count_nonzero(found.compared[my_units]))
        results.append(
            Result(
                name,
                text,
                join_kept(texts.data, kept, i).decode(),
                tuple(rows[my_rows]),
                tuple(kept_rows),
                Stats(
                    chars=len(text),
                    removed_chars=len(text) - int(lengths.sum()),
                    duplicate_chars=int(unit_chars[found.units[my_rows]].sum()),
                    units=int(units.offsets[i + 1] - units.offsets[i]),
                    compared_units=compared,
                    short_units=int(units.offsets[i + 1] - units.offsets[i]) - compared,
                    duplicates=int(row_offsets[i + 1] - row_offsets[i]),
                    capped_buckets=found.capped_count,
                    recall=options.recall,
                ),
            )
        )
    return results
