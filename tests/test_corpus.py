"""Many documents together: scope, reference, order of documents, filters, the map."""

from collections.abc import Iterable
from itertools import pairwise
from random import Random

import numpy as np
import orjson
import pytest
import reference

from dedup import Filters, Options, Result, clean, clean_documents
from dedup.columns import Texts
from dedup.corpus import (
    CleanedCorpus,
    TextBuffer,
    changes_of,
    clean_corpus,
    cut_all_units,
    rank_globs,
    rank_newest,
    rank_priority,
)
from dedup.documents import CHANGED, DROPPED, UNCHANGED
from dedup.errors import OptionsError
from dedup.maps import map_lines
from dedup.units import cut_units

A, B, C, D, E = (reference.make_sentence(Random(seed)) for seed in (1, 2, 3, 4, 5))


def columns(documents: Iterable[str]) -> Texts:
    buffer = TextBuffer(0)
    buffer.append(text.encode() for text in documents)
    return buffer.texts()


def cleaned(corpus: CleanedCorpus) -> list[str]:
    texts = corpus.texts
    changes = changes_of(corpus, 0, len(texts))
    borders = texts.offsets.tolist()
    return [
        (
            texts.data[start:stop].tobytes() if action == UNCHANGED else changes.text(document)
        ).decode()
        for document, (action, (start, stop)) in enumerate(
            zip(changes.actions.tolist(), pairwise(borders), strict=True)
        )
    ]


def make_documents(seed: int, count: int = 40) -> list[str]:
    chooser = Random(seed)
    stock = [reference.make_sentence(chooser) for _ in range(25)]
    return [
        "\n".join(
            " ".join(chooser.choice(stock) for _ in range(chooser.randint(0, 4)))
            for _ in range(chooser.randint(0, 4))
        )
        for _ in range(count)
    ]


def test_a_text_buffer_gives_back_what_it_took() -> None:
    buffer = TextBuffer(10)
    texts = [b"", b"x" * 3_000_000, "ä".encode(), b"y"]
    buffer.append(texts)
    buffer.append([b"gone"])
    buffer.truncate(4)
    buffer.append([b"z"])
    found = buffer.texts()
    parts = [
        found.data[start:stop].tobytes()
        for start, stop in zip(found.offsets[:-1], found.offsets[1:], strict=True)
    ]
    assert parts == [*texts, b"z"]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_units_are_the_same_in_slices(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedup.corpus._SLICE_BYTES", 200)
    texts = columns(make_documents(1))
    whole = cut_units(texts, "sentence")
    sliced = cut_all_units(texts, Options(), threads)
    for name in ("starts", "stops", "offsets"):
        assert np.array_equal(getattr(whole, name), getattr(sliced, name))


def test_no_documents_are_no_trouble() -> None:
    corpus = clean_corpus(columns([]), Options(), Filters())
    assert list(map_lines(corpus, columns([]), 0, {})) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_map_of_a_corpus_is_that_of_its_documents_cleaned_together(seed: int) -> None:
    documents = [(f"{i}.txt", text) for i, text in enumerate(make_documents(seed))]
    corpus = clean_corpus(columns(text for _, text in documents), Options(), Filters(), threads=2)
    results = clean_documents(documents)
    assert cleaned(corpus) == [result.text for result in results]
    lines = b"".join(map_lines(corpus, columns(name for name, _ in documents), 0, {}))
    assert lines == b"".join(line for result in results for line in result.map_lines())


@pytest.mark.parametrize("seed", range(5))
def test_in_the_scope_of_a_document_each_is_cleaned_by_itself(seed: int) -> None:
    documents = [(f"{i}", text) for i, text in enumerate(make_documents(seed))]
    together = clean_documents(documents, Options(scope="document"))
    assert [result.text for result in together] == [clean(text).text for _, text in documents]
    assert any(result.duplicates for result in together)


def test_the_changes_of_a_file_are_those_of_its_documents_among_all() -> None:
    corpus = clean_corpus(columns([f"{A} {B}", B, C, f"{A} {D}", "", E]), Options(), Filters())
    changes = changes_of(corpus, 1, 5, {0, 2, 5})
    assert changes.actions.tolist() == [CHANGED, DROPPED, CHANGED, UNCHANGED]
    assert [changes.text(document) for document in (0, 2)] == [b"", D.encode()]
    assert len(changes_of(corpus, 6, 6)) == 0


def test_against_a_reference_only_what_it_has_goes_and_it_stays_as_it_is() -> None:
    reference_texts = [f"{A} {B} {A}", f"{B}"]
    documents = [f"{C} {A} {D} {C}", f"{D} {B}"]
    corpus = clean_corpus(
        columns(reference_texts + documents), Options(), Filters(), reference_count=2
    )
    assert cleaned(corpus) == [*reference_texts, f"{C} {D} {C}", f"{D}"]
    document_of = np.repeat(np.arange(4), np.diff(corpus.units.offsets))
    assert document_of[corpus.rows.canonicals].tolist() == [0, 0]
    ids = columns(["r0", "r1", "d0", "d1"])
    lines = b"".join(map_lines(corpus, ids, 2, {})).splitlines()
    assert [orjson.loads(line)["document"] for line in lines] == ["d0", "d0", "d1", "d1"]


@pytest.mark.parametrize("seed", range(6))
def test_against_a_reference_near_copies_are_held_to_every_unit_of_it(seed: int) -> None:
    chooser = Random(seed)
    base = [reference.make_sentence(chooser) for _ in range(12)]

    def near(sentence: str) -> str:
        words = sentence.split(" ")
        for _ in range(chooser.randint(0, 3)):
            words[chooser.randrange(len(words))] = chooser.choice(words)
        return " ".join(words)

    known = [near(chooser.choice(base)) for _ in range(30)]
    asked = [near(chooser.choice(base)) for _ in range(30)]
    texts = columns([*known, *asked])
    options = Options(unit="document")
    corpus = clean_corpus(texts, options, Filters(), reference_count=30)
    alone = [
        bool(
            clean_corpus(
                columns([*known, text]), options, Filters(), reference_count=30
            ).rows.units.tolist()
        )
        for text in asked
    ]
    assert [30 + i for i, goes in enumerate(alone) if goes] == corpus.rows.units.tolist()
    assert 3 < sum(alone) < 30


def test_the_newest_document_keeps_its_copy() -> None:
    texts = columns([f"{A} {B}", f"{B} {A}", f"{A}", f"{C} {A}"])
    ranks = rank_newest(["2020-01-01", "2024-05-01", None, "2021-01-01"])
    assert ranks.tolist() == [2, 0, 3, 1]
    corpus = clean_corpus(texts, Options(keep="newest"), Filters(), document_ranks=ranks)
    assert cleaned(corpus) == ["", f"{B} {A}", "", C]


def test_priorities_rank_numbers_before_words_and_nothing_last() -> None:
    assert rank_priority([3, 1.5, None, 3, "a"]).tolist() == [1, 0, 3, 1, 2]
    assert rank_globs(["b/x.txt", "a/y.txt", "c"], ["a/*", "b/*"]).tolist() == [1, 0, 2]


def test_short_runs_across_documents_are_only_marked() -> None:
    documents = [("a", f"{A} {B} {C}"), ("b", f"{A} {D} {B} {C} {E}"), ("c", f"{D} {D}")]
    results = clean_documents(documents, filters=Filters(min_run=2))
    assert [result.text for result in results] == [
        f"{A} {B} {C}",
        f"{A} {D} {E}",
        # The first D repeats one of another document, alone but for the second,
        # which makes it a run of two.
        "",
    ]
    assert [[row.removed for row in result.duplicates] for result in results] == [
        [],
        [False, True, True],
        [True, True],
    ]


def test_a_run_ends_with_its_document() -> None:
    documents = [("a", f"{A} {B}"), ("b", A), ("c", B)]
    results = clean_documents(documents, filters=Filters(min_run=2))
    assert [result.text for result in results] == [f"{A} {B}", A, B]


def test_repeats_inside_a_document_go_whatever_the_run() -> None:
    assert clean(f"{A} {B} {A}", filters=Filters(min_run=3)).text == f"{A} {B}"


def boilerplate(policy: str) -> list[Result]:
    documents = [("a", f"{A} {B}"), ("b", f"{A} {C}"), ("c", f"{A} {B} {A}"), ("d", D)]
    filters = Filters(boilerplate_over=3, boilerplate=policy)  # type: ignore[arg-type]
    return clean_documents(documents, filters=filters)


@pytest.mark.parametrize(
    ("policy", "texts", "removed"),
    [
        ("keep-first", [f"{A} {B}", C, "", D], [[], [True], [True] * 3, []]),
        (
            "keep-all",
            [f"{A} {B}", f"{A} {C}", f"{A} {A}", D],
            [[], [False], [False, True, False], []],
        ),
        ("drop-all", [B, C, "", D], [[True], [True], [True] * 3, []]),
    ],
)
def test_boilerplate_is_kept_once_always_or_never(
    policy: str, texts: list[str], removed: list[list[bool]]
) -> None:
    results = boilerplate(policy)
    assert [result.text for result in results] == texts
    assert [[row.removed for row in result.duplicates] for result in results] == removed


def test_annotating_takes_nothing_out() -> None:
    text = f"{A} {B} {A}"
    for filters in (
        Filters(annotate=True),
        Filters(annotate=True, boilerplate_over=1, boilerplate="drop-all"),
    ):
        result = clean(text, filters=filters)
        assert result.text == text
        assert [row.removed for row in result.duplicates] == [False]
        assert result.stats.removed_chars == 0
        assert result.stats.duplicate_chars == len(A)


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"min_run": 0}, "min_run"),
        ({"min_run": True}, "min_run"),
        ({"boilerplate_over": -1}, "boilerplate_over"),
        ({"boilerplate": "none"}, "boilerplate"),
        ({"annotate": 1}, "annotate"),
    ],
)
def test_filters_refuse_what_makes_no_sense(values: dict[str, object], option: str) -> None:
    with pytest.raises(OptionsError) as caught:
        Filters(**values)  # type: ignore[arg-type]
    assert caught.value.option == option
