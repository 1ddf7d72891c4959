from random import Random
from typing import Any

import orjson
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from dedup import (
    InputError,
    MapError,
    Options,
    OptionsError,
    Result,
    clean,
    clean_documents,
    restore,
)
from dedup.results import checksum, translate_offset

TEXT = (
    "Die Fähre verläßt um zwölf Uhr den alten Hafen. Niemand wußte es. 😀\n\n"
    "Die Fähre verläßt um zwölf Uhr den alten Hafen! Am Abend kehrt sie leer zurück.\n"
)


@pytest.fixture
def result() -> Result:
    return clean(TEXT, document="notice.txt")


def test_a_result_serialises_to_the_map_of_the_design(result: Result) -> None:
    start = TEXT.index("Die", 10)
    assert orjson.loads(result.to_json()) == {
        "document": "notice.txt",
        "text": result.text,
        "duplicates": [
            {
                "document": "notice.txt",
                "start": start,
                "stop": start + 47,
                "canonical": {"document": "notice.txt", "start": 0, "stop": 47},
                "kind": "folded",
                "score": 1.0,
                "containment": 1.0,
                "passage": 0,
                "removed": True,
            }
        ],
        "kept": [[0, start, 0], [start + 48, len(TEXT), start]],
        "stats": {
            "chars": len(TEXT),
            "removed_chars": 48,
            "duplicate_chars": 47,
            "share": round(47 / len(TEXT), 6),
            "units": 5,
            "compared_units": 3,
            "short_units": 2,
            "duplicates": 1,
            "capped_buckets": 0,
            "recall": round(Options().recall, 6),
        },
    }
    assert result.text == TEXT[:start] + TEXT[start + 48 :]


def test_the_map_is_the_record_and_a_line_for_each_duplicate(result: Result) -> None:
    record, *rows = [orjson.loads(line) for line in result.map_lines()]
    assert all(line.endswith(b"\n") for line in result.map_lines())
    assert rows == [row.to_mapping() for row in result.duplicates]
    assert record == result.document_record()
    assert record["removed_text"] == ["Die Fähre verläßt um zwölf Uhr den alten Hafen! "]
    assert (record["length"], record["removed_chars"]) == (len(TEXT), 48)
    assert restore(result.text, record) == TEXT


def test_every_offset_goes_to_the_cleaned_text_and_back(result: Result) -> None:
    for offset in range(len(TEXT)):
        cleaned = result.cleaned_offset(offset)
        assert cleaned == reference.translate_offset(result.kept, offset, len(TEXT))
        if cleaned is not None:
            assert result.text[cleaned] == TEXT[offset]
            assert result.original_offset(cleaned) == offset
    assert [result.cleaned_offset(offset) for offset in range(len(TEXT))].count(None) == 48
    assert result.cleaned_offset(len(TEXT)) == len(result.text)
    assert result.original_offset(len(result.text)) == len(TEXT)


@given(st.lists(st.booleans(), max_size=20))
def test_offsets_equal_their_twin(stays: list[bool]) -> None:
    kept: list[tuple[int, int, int]] = []
    cleaned = 0
    for offset, here in enumerate(stays):
        if here and kept and kept[-1][1] == offset:
            kept[-1] = (kept[-1][0], offset + 1, kept[-1][2])
        elif here:
            kept.append((offset, offset + 1, cleaned))
        cleaned += here
    for offset in range(len(stays) + 1):
        assert translate_offset(kept, offset, len(stays)) == reference.translate_offset(
            kept, offset, len(stays)
        )


@pytest.mark.parametrize("offset", [-1, len(TEXT) + 1, 10**9])
def test_offsets_outside_of_the_text_are_refused(result: Result, offset: int) -> None:
    with pytest.raises(IndexError, match=str(offset)):
        result.cleaned_offset(offset)
    with pytest.raises(IndexError, match=str(offset)):
        result.original_offset(offset)


def test_offsets_of_an_empty_text() -> None:
    empty = clean("")
    assert (empty.cleaned_offset(0), empty.original_offset(0)) == (0, 0)
    assert (empty.kept, empty.stats.share) == ((), 0.0)


def test_a_document_of_which_nothing_stays_comes_back() -> None:
    _, gone = clean_documents([("one", TEXT), ("two", f"\n {TEXT[:47]} \n")])
    assert (gone.text, gone.kept) == ("", ())
    assert gone.cleaned_offset(0) is None
    assert gone.cleaned_offset(50) is None
    assert gone.cleaned_offset(51) == 0
    assert gone.original_offset(0) == 51
    assert restore("", gone.document_record()) == f"\n {TEXT[:47]} \n"


def test_figures_add_up() -> None:
    text = "\n\n".join(reference.make_chains(Random(3), 80))
    result = clean(text)
    stats = result.stats
    assert stats.chars == len(text)
    assert stats.removed_chars == len(text) - len(result.text) > stats.duplicate_chars > 0
    assert stats.duplicate_chars == sum(row.stop - row.start for row in result.duplicates)
    assert stats.duplicates == len(result.duplicates)
    assert stats.units == stats.compared_units + stats.short_units
    assert stats.share == stats.duplicate_chars / stats.chars


@pytest.mark.parametrize(
    "damage",
    [
        {"kept": None},
        {"kept": [[0, 1]]},
        {"kept": [["a", "b", "c"]]},
        {"kept": 7},
        {"length": "long"},
        {"length": None},
        {"removed_text": None},
        {"removed_text": 3},
        {"removed_text": ["Something else"]},
        {"removed_text": []},
        {"kept": []},
        {"kept": [[0, 10, 0]]},
        {"kept": [[5, 3, 0], [-7, 10**12, 3]]},
        {"checksum": "0" * 16},
        {"cleaned_checksum": None},
    ],
)
def test_a_damaged_record_is_refused(result: Result, damage: dict[str, Any]) -> None:
    with pytest.raises(MapError) as caught:
        restore(result.text, result.document_record() | damage, "notice.map")
    assert caught.value.source == "notice.map"


@pytest.mark.parametrize(
    "missing", ["kept", "removed_text", "length", "checksum", "cleaned_checksum"]
)
def test_a_record_that_lacks_something_is_refused(result: Result, missing: str) -> None:
    record = result.document_record()
    del record[missing]
    with pytest.raises(MapError, match=missing):
        restore(result.text, record)


def test_another_text_is_refused(result: Result) -> None:
    with pytest.raises(MapError, match="not the cleaned text"):
        restore(result.text + " ", result.document_record())


def test_checksums_are_those_of_xxh3() -> None:
    assert checksum("") == "2d06800538d394c2"
    assert len({checksum("a"), checksum("b"), checksum("ä")}) == 3


@pytest.mark.parametrize("value", ["\ud800", "not the cleaned text"])
def test_a_text_that_is_not_the_cleaned_one_is_refused(value: str) -> None:
    record = clean("One sentence of some length. One sentence of some length.").document_record()
    with pytest.raises(MapError):
        restore(value, record)
    with pytest.raises(MapError):
        restore("One sentence of some length.", record | {"length": float("inf")})


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([("a", None)], "a: a text is wanted, not NoneType"),
        ([("a", b"x")], "a: a text is wanted, not bytes"),
        ([(1, "x")], "an id has to be text, not int"),
        (["ab"], "pairs of id and text are wanted, not str"),
        ([("a", "x"), ("a", "y")], "a: two documents have this id"),
        ([("a\ud800", "x")], "lone surrogate"),
    ],
)
def test_what_is_no_document_is_refused(documents: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        clean_documents(documents)


def test_what_is_no_options_is_refused() -> None:
    with pytest.raises(OptionsError, match="expected an Options"):
        clean("x", {"threshold": 0.7})  # type: ignore[arg-type]


def test_documents_may_come_from_an_iterator() -> None:
    assert [result.text for result in clean_documents(iter([("a", "x"), ("b", "y")]))] == ["x", "y"]
