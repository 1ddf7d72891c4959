"""The map of a corpus, held to the map of each of its documents and to orjson."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from dedup.cleaned import CodePoints, Kept
from dedup.columns import Bytes, Texts
from dedup.corpus import CleanedCorpus
from dedup.duplicates import Duplicates
from dedup.filters import Choice
from dedup.kinds import KINDS
from dedup.maps import (
    _bound_string,
    _digests,
    _join_kept,
    _put,
    _put_digest,
    _put_number,
    _put_share,
    _put_string,
    _round_shares,
    map_lines,
)
from dedup.results import Duplicate, Result, Span, Stats
from dedup.units import Units

# Every escape and its neighbours, and code points of one byte to four.
STRINGS = st.text(
    st.one_of(
        st.sampled_from([*map(chr, range(0x24)), "[", "\\", "]", "/", "a", "\x7f"]),
        st.sampled_from("\x80éß߿ࠀ漢\u2028\uffff𐀀😀"),
    ),
    max_size=30,
)
SHARES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 1.0, 1e-7, 4.99e-7, 1e-6, 9e-6, 9.6e-6, 1e-5, 2e-5, 0.1, 0.999_999_9]),
    # Half a millionth, exactly and nearly.
    st.integers(0, 640).map(lambda count: count / 640),
)


class Made(NamedTuple):
    """A corpus and what is known of its documents."""

    corpus: CleanedCorpus
    names: Texts
    results: list[Result]


def columns(texts: list[str]) -> Texts:
    return Texts.from_bytes(text.encode() for text in texts)


def stack(rows: list[tuple[Any, ...]], *kinds: type) -> list[Any]:
    return [np.array([row[column] for row in rows], kind) for column, kind in enumerate(kinds)]


def count_up(counts: list[int]) -> Any:
    return np.concatenate([[0], np.cumsum(np.array(counts, np.int64))]).astype(np.int64)


def find_bytes(documents: list[tuple[str, str]], spans: list[list[tuple[int, int]]]) -> list[Any]:
    """Return the starts and stops of spans of code points in the joined texts' bytes."""
    begins = count_up([len(text.encode()) for _, text in documents]).tolist()
    return stack(
        [
            tuple(begin + len(text[:position].encode()) for position in span)
            for begin, (_, text), of_text in zip(begins, documents, spans, strict=False)
            for span in of_text
        ],
        int,
        int,
    )


def make_corpus(
    documents: list[tuple[str, str]],
    spans: list[list[tuple[int, int]]],
    kept: list[list[tuple[int, int]]],
    rows: list[tuple[int, int, int, float, float, int, bool]],
) -> Made:
    """Make a corpus of texts.

    Parameters
    ----------
    spans, kept
        Units and segments of each text, in code points.
    rows
        Unit, canonical, kind, score, containment, passage, removed.
    """
    texts = columns([text for _, text in documents])
    unit_starts, unit_stops = find_bytes(documents, spans)
    kept_starts, kept_stops = find_bytes(documents, kept)
    units = [
        Span(name, *span)
        for (name, _), of_text in zip(documents, spans, strict=True)
        for span in of_text
    ]
    unit_offsets = count_up(list(map(len, spans)))
    row_units, canonicals, kinds, scores, containments, passages, removed = stack(
        rows, int, int, np.uint8, float, float, int, np.bool_
    )
    corpus = CleanedCorpus(
        texts,
        Units(unit_starts, unit_stops, unit_offsets),
        Duplicates(
            row_units,
            canonicals,
            unit_starts[canonicals],
            unit_stops[canonicals],
            scores,
            containments,
            kinds,
            passages,
            np.ones(len(units), np.bool_),
            0,
        ),
        removed,
        Choice(removed, *np.empty((3, 0), np.int64)),
        Kept(kept_starts, kept_stops, count_up(list(map(len, kept)))),
        CodePoints(
            np.array([len(text) for _, text in documents], np.int64),
            *stack([(unit.start, unit.stop) for unit in units], int, int),
            *stack([span for of_text in kept for span in of_text], int, int),
        ),
    )
    results = []
    for i, (name, text) in enumerate(documents):
        duplicates = tuple(
            Duplicate(
                name,
                units[unit].start,
                units[unit].stop,
                units[canonical],
                KINDS[kind],
                score,
                containment,
                passage,
                is_removed,
            )
            for unit, canonical, kind, score, containment, passage, is_removed in rows
            if unit_offsets[i] <= unit < unit_offsets[i + 1]
        )
        cleaned = [text[slice(*span)] for span in kept[i]]
        starts = count_up(list(map(len, cleaned))).tolist()
        chars = sum(row.stop - row.start for row in duplicates)
        removed_chars = len(text) - starts[-1]
        results.append(
            Result(
                name,
                text,
                "".join(cleaned),
                duplicates,
                tuple((*span, start) for span, start in zip(kept[i], starts, strict=False)),
                Stats(len(text), removed_chars, chars, 0, 0, 0, 0, 0, 1.0),
            )
        )
    return Made(corpus, columns([name for name, _ in documents]), results)


@st.composite
def corpora(draw: st.DrawFn) -> Made:
    documents = draw(st.lists(st.tuples(STRINGS, STRINGS), max_size=8))
    spans: list[list[tuple[int, int]]] = []
    kept: list[list[tuple[int, int]]] = []
    for _, text in documents:
        for chosen in (spans, kept):
            cuts = draw(st.sets(st.integers(0, len(text)), max_size=8))
            parts = list(pairwise(sorted(cuts | {0, len(text)})))
            chosen.append([part for part in parts if draw(st.booleans())])
        if draw(st.booleans()):
            kept[-1] = [(0, len(text))] if text else []
    count = sum(map(len, spans))
    repeated = draw(st.sets(st.integers(0, count - 1), max_size=12)) if count else set()
    rows = [
        (
            unit,
            draw(st.integers(0, count - 1)),
            draw(st.integers(0, len(KINDS) - 1)),
            draw(SHARES),
            draw(SHARES),
            draw(st.integers(0, 1 << 40)),
            draw(st.booleans()),
        )
        for unit in sorted(repeated)
    ]
    return make_corpus(documents, spans, kept, rows)


def lines_of(made: Made, first: int = 0, files: Mapping[int, Any] | None = None) -> bytes:
    return b"".join(
        line
        for document, result in enumerate(made.results)
        if document >= first
        for line in result.map_lines((files or {}).get(document))
    )


FILES = st.dictionaries(
    st.integers(0, 9),
    st.dictionaries(
        st.sampled_from(["file", "encoding", "dropped"]), st.one_of(st.booleans(), STRINGS)
    ),
)


@given(corpora(), FILES, st.integers(0, 3))
def test_the_map_of_a_corpus_is_that_of_each_of_its_documents(
    made: Made, files: dict[int, dict[str, Any]], first: int
) -> None:
    first = min(first, len(made.results))
    lines = b"".join(map_lines(made.corpus, made.names, first, files))
    assert lines == lines_of(made, first, files)


@given(st.lists(corpora(), min_size=1, max_size=1), st.integers(1, 400))
def test_the_map_is_the_same_in_parts_of_any_size_and_in_threads(
    drawn: list[Made], part_bytes: int
) -> None:
    made = drawn[0]
    whole = lines_of(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dedup.maps._PART_BYTES", part_bytes)
        for threads in (1, 3):
            assert b"".join(map_lines(made.corpus, made.names, 0, {}, threads)) == whole


def test_a_map_of_many_parts_comes_in_order_and_may_be_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dedup.maps._PART_BYTES", 1)
    documents = [(f"{i}", f"text {i}") for i in range(300)]
    whole = [[(0, len(text))] for _, text in documents]
    rows = [(i, 299 - i, i % 3, i / 300, 1.0, i, i % 2 == 0) for i in range(300)]
    made = make_corpus(documents, whole, whole, rows)
    for threads in (1, 3):
        parts = list(map_lines(made.corpus, made.names, 7, {}, threads))
        assert len(parts) == 293
        assert b"".join(parts) == lines_of(made, 7)
        begun = map_lines(made.corpus, made.names, 7, {}, threads)
        assert next(begun) == parts[0]
        begun.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("chars", [1, 2, 3, 4, 9, 10, 11, 3125, 199_999, 400_000])
def test_shares_of_a_long_text_are_written_however_small(chars: int) -> None:
    text = "ä" * 400_000
    made = make_corpus(
        [("long", text)], [[(0, chars)]], [[(0, len(text))]], [(0, 0, 0, 1.0, 1.0, 0, False)]
    )
    assert b"".join(map_lines(made.corpus, made.names, 0, {})) == lines_of(made)


def test_names_and_what_is_said_of_files_may_be_long() -> None:
    name, text = "\x01" * 100_000, "a\n" * 100_000
    made = make_corpus(
        [(name, text)], [[(0, 3), (3, 9)]], [[(0, 3)]], [(1, 0, 2, 0.75, 1.0, 0, True)]
    )
    files = {0: {"file": "ä\\" * 500_000}}
    assert b"".join(map_lines(made.corpus, made.names, 0, files)) == lines_of(made, 0, files)


def written(kernel: Any, room: int, *values: Any) -> bytes:
    """Return what a kernel writes behind two bytes; it writes nothing before them."""
    out = np.full(room + 10, 255, np.uint8)
    stop = kernel(out, 2, *values)
    assert out[:2].tolist() == [255, 255]
    return out[2:stop].tobytes()


def array(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


@given(STRINGS, STRINGS)
def test_strings_are_escaped_as_orjson_does(before: str, text: str) -> None:
    start, data = len(before.encode()), array((before + text).encode())
    encoded = written(_put_string, 6 * len(data) + 2, data, start, len(data))
    assert encoded == orjson.dumps(text) == reference.encode_string(text)
    bound = _bound_string(data, start, len(data))
    assert len(encoded) <= bound <= len(text.encode()) * 6 + 2


def test_every_byte_below_128_is_escaped_as_orjson_does() -> None:
    text = "".join(map(chr, range(128)))
    data = array(text.encode())
    assert written(_put_string, 800, data, 0, 128) == orjson.dumps(text)


@given(st.binary(max_size=40), st.integers(0, 20))
def test_text_is_copied_from_where_it_starts_to_where_it_stops(text: bytes, start: int) -> None:
    start = min(start, len(text))
    assert written(_put, len(text), array(text), start, len(text)) == text[start:]


@given(st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 18).map(lambda digits: 10**digits)))
def test_numbers_are_written_as_python_writes_them(number: int) -> None:
    for value in (number, max(number - 1, 0)):
        assert written(_put_number, 19, value) == str(value).encode()


def test_millionths_are_written_as_orjson_writes_the_float() -> None:
    for millionths in [*range(2000), *range(2000, 1_000_000, 97), 999_999, 1_000_000]:
        expected = orjson.dumps(millionths / 1_000_000)
        assert written(_put_share, 8, millionths) == expected
        assert expected == reference.encode_share(millionths)


@given(st.lists(SHARES, max_size=20))
def test_shares_are_rounded_as_python_rounds_them(shares: list[float]) -> None:
    found = _round_shares(np.array(shares, np.float64))
    assert (found / 1_000_000).tolist() == [round(share, 6) for share in shares]


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_checksums_are_written_in_hexadecimal(texts: list[bytes]) -> None:
    joined = Texts.from_bytes(texts)
    digests = _digests(joined.data, joined.offsets)
    assert [written(_put_digest, 18, digests, i) for i in range(len(texts))] == [
        orjson.dumps(reference.checksum(text)) for text in texts
    ]


@given(corpora(), st.data())
def test_the_kept_text_of_changed_documents_is_joined(made: Made, data: st.DataObject) -> None:
    kept, count = made.corpus.kept, len(made.results)
    changed = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    expected = "".join(
        result.text for result, is_changed in zip(made.results, changed, strict=True) if is_changed
    ).encode()
    out = np.empty(len(expected), np.uint8)
    _join_kept(
        made.corpus.texts.data, kept.starts, kept.stops, kept.offsets, np.array(changed, bool), out
    )
    assert out.tobytes() == expected
