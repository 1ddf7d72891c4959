import string
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from dedup import Options, Result, TextError, clean, restore
from dedup.cleaned import count_all_code_points, cut_out, join_kept
from dedup.columns import Flags, Texts
from dedup.units import Units

WHITE_SPACE = [
    *("", " ", "  ", "\t", "\n", "\r\n", "\r", "\n\n", "\n \n\t", "\r\n\r\n ", "\v", "\f"),
    *("\x85", "\u00a0", "\u2003", "\u2028", "\u2029", "\u3000", " \n    ", "\n\u3000"),
]


@dataclass
class Marked:
    """A text, where its units stand in code points, and which of them go."""

    text: str
    spans: list[tuple[int, int]]
    removed: list[bool]


@st.composite
def marked_texts(draw: st.DrawFn) -> Marked:
    gap = st.sampled_from(WHITE_SPACE)
    text, spans, removed = draw(gap), [], []
    for unit, goes in draw(
        st.lists(st.tuples(st.sampled_from(["a", "Bc.", "é", "漢字。", "𐌰", "-"]), st.booleans()))
    ):
        spans.append((len(text), len(text) + len(unit)))
        removed.append(goes)
        text += unit + draw(gap)
    return Marked(text, spans, removed)


def to_bytes(text: str, offset: int) -> int:
    return len(text[:offset].encode())


def make_columns(documents: list[Marked]) -> tuple[Texts, Units, Flags]:
    texts = Texts.from_bytes([document.text.encode() for document in documents])
    spans = [
        (int(base) + to_bytes(document.text, start), int(base) + to_bytes(document.text, stop))
        for base, document in zip(texts.offsets[:-1], documents, strict=True)
        for start, stop in document.spans
    ]
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T
    counts = [0, *accumulate(len(document.spans) for document in documents)]
    units = Units(starts.copy(), stops.copy(), np.array(counts, np.int64))
    removed = [goes for document in documents for goes in document.removed]
    return texts, units, np.array(removed, np.bool_)


@given(st.lists(marked_texts(), max_size=4))
def test_cleaned_texts_equal_their_twin(documents: list[Marked]) -> None:
    texts, units, removed = make_columns(documents)
    kept = cut_out(texts, units, removed)
    assert [join_kept(texts.data, kept, number).decode() for number in range(len(documents))] == [
        reference.clean_text(document.text, document.spans, document.removed)
        for document in documents
    ]
    assert (kept.starts < kept.stops).all()
    assert (kept.stops[:-1] <= kept.starts[1:]).all()


def test_every_pair_of_gaps_closes_as_defined() -> None:
    documents = [
        Marked(
            f"a{before}b{behind}c",
            [
                (0, 1),
                (len(before) + 1, len(before) + 2),
                (len(before + behind) + 2, len(before + behind) + 3),
            ],
            [False, True, False],
        )
        for before in WHITE_SPACE
        for behind in WHITE_SPACE
    ]
    texts, units, removed = make_columns(documents)
    kept = cut_out(texts, units, removed)
    assert [join_kept(texts.data, kept, number).decode() for number in range(len(documents))] == [
        reference.clean_text(document.text, document.spans, document.removed)
        for document in documents
    ]


@given(st.lists(marked_texts(), max_size=4))
def test_what_stays_and_nothing_that_goes_is_in_the_kept_segments(documents: list[Marked]) -> None:
    texts, units, removed = make_columns(documents)
    kept = cut_out(texts, units, removed)
    stays = np.zeros(len(texts.data), np.bool_)
    for start, stop in zip(kept.starts, kept.stops, strict=True):
        stays[start:stop] = True
    for start, stop, goes in zip(units.starts, units.stops, removed, strict=True):
        assert stays[start:stop].all() != goes
        assert stays[start:stop].any() != goes


@given(st.lists(marked_texts(), max_size=4))
def test_spans_are_counted_in_code_points_of_their_documents(documents: list[Marked]) -> None:
    texts, units, removed = make_columns(documents)
    kept = cut_out(texts, units, removed)
    points = count_all_code_points(texts, units, kept)
    assert points.lengths.tolist() == [len(document.text) for document in documents]
    spans = list(zip(points.unit_starts.tolist(), points.unit_stops.tolist(), strict=True))
    assert spans == [span for document in documents for span in document.spans]
    for number, (first, last) in enumerate(pairwise(kept.offsets.tolist())):
        text = documents[number].text
        assert (
            "".join(
                text[start:stop]
                for start, stop in zip(
                    points.kept_starts[first:last], points.kept_stops[first:last], strict=True
                )
            )
            == join_kept(texts.data, kept, number).decode()
        )


@pytest.mark.parametrize(
    ("text", "goes", "cleaned"),
    [
        ("A. [B.] C.", "B", "A. C."),
        ("A.  [B.] C.", "B", "A.  C."),
        ("A. [B.]  C.", "B", "A.  C."),
        ("A.[B.]C.", "B", "A.C."),
        ("A.\n[B.] C.", "B", "A.\nC."),
        ("A. [B.]\nC.", "B", "A.\nC."),
        ("A.\n\n[B.]\n\nC.", "B", "A.\n\nC."),
        ("A.\n\n[B.] C.", "B", "A.\n\nC."),
        ("A. [B.]\n\nC.", "B", "A.\n\nC."),
        ("A.\n\n[B.]\n    C.", "B", "A.\n\n    C."),
        ("A.\n[B.]\n\n    C.", "B", "A.\n\n    C."),
        ("A.\r\n\r\n[B.]\r\n  C.", "B", "A.\r\n\r\n  C."),
        (" \n[A.] B.\n", "A", " \nB.\n"),
        (" \nA. [B.]\n", "B", " \nA.\n"),
        (" \n[A.]\n[B.] \n", "AB", ""),
        ("A. [B.] [C.] [D.]\nE.", "BCD", "A.\nE."),
        ("A. [B.] C. [D.] E.", "BD", "A. C. E."),
    ],
)  # fmt: skip
def test_gaps_close_so_that_the_text_reads_on(text: str, goes: str, cleaned: str) -> None:
    bare = text.replace("[", "").replace("]", "")
    spans = [(at, at + 2) for at, letter in enumerate(bare) if letter.isalpha()]
    document = Marked(bare, spans, [bare[start] in goes for start, _ in spans])
    texts, units, removed = make_columns([document])
    assert join_kept(texts.data, cut_out(texts, units, removed), 0).decode() == cleaned


def check(result: Result) -> None:
    """Hold a result against what is true of every one."""
    assert restore(result.text, result.document_record()) == result.original
    joined = "".join(result.original[start:stop] for start, stop, _ in result.kept)
    assert result.text == joined
    gone = {(row.start, row.stop) for row in result.duplicates}
    for row in result.duplicates:
        assert row.score >= 0.7
        assert (row.canonical.start, row.canonical.stop) not in gone
    result.to_json()


NOTHING_TO_REMOVE = {
    "empty": "",
    "one letter": "a",
    "one character a million times": "a" * 1_000_000,
    "one ideograph a million times": "漢" * 1_000_000,
    "a megabyte without a space": "".join(Random(1).choices(string.ascii_letters, k=1 << 20)),
    "a megabyte of ideographs": "".join(
        Random(2).choices([chr(0x4E00 + number) for number in range(9999)], k=350_000)
    ),
    "NULs": "\0" * 100_000,
    "only spaces": " " * 1_000_000,
    "only white space": "".join(WHITE_SPACE) * 10_000,
    "only line breaks": "\n" * 1_000_000,
    "only punctuation": "?!.,;:-" * 100_000,
    "only full stops": "." * 1_000_000,
    "only quotes and brackets": "\"'([{<" * 100_000,
    "only marks": "\u0301" * 500_000,
    "only soft hyphens": "\u00ad" * 500_000,
    "emoji": "😀 " * 250_000,
    "every code point once": "".join(
        chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF
    ),
}  # fmt: skip


@pytest.mark.parametrize("unit", ["sentence", "paragraph", "document"])
@pytest.mark.parametrize("name", NOTHING_TO_REMOVE)
def test_text_that_is_hardly_text_stays_as_it_is(name: str, unit: str) -> None:
    text = NOTHING_TO_REMOVE[name]
    # Among all code points are alphabets that fold to one another.
    stretches = name != "every code point once"
    result = clean(text, Options.from_mapping({"unit": unit, "stretches": stretches}))
    check(result)
    assert result.text == text
    assert result.duplicates == ()


def test_a_title_that_goes_takes_its_underline_along() -> None:
    line = "****************************"
    for title in (
        f"Description of the interface\n{line}",
        f"{line}\nThe interface and the why\n{line}",
    ):
        text = f"{title}\n\nIt is one.\n\n{title}\n\nIt is two.\n"
        assert clean(text).text == f"{title}\n\nIt is one.\n\nIt is two.\n"


def test_a_sentence_that_goes_takes_its_section_number_along() -> None:
    section = "SEC. 3670. The court may hear it at any time."
    text = f"{section} It may not hear more.\n\n"
    assert clean(f"{text}{section} It must hear less.\n").text == f"{text}It must hear less.\n"


def test_of_a_hundred_thousand_identical_lines_one_stays() -> None:
    line = "The very same line again and again."
    result = clean(f"{line}\n" * 100_000)
    check(result)
    assert result.text == line + "\n"
    assert len(result.duplicates) == 99_999
    assert {row.kind for row in result.duplicates} == {"exact"}


def test_a_hundred_thousand_identical_short_lines_stay() -> None:
    result = clean("Too short.\n" * 100_000)
    check(result)
    assert result.stats.short_units == result.stats.units == 100_000
    assert result.text == result.original


def test_twenty_thousand_lines_that_differ_in_a_number_stay_or_go_as_asked() -> None:
    lines = [
        f"On day {number} of the long voyage nothing at all was seen." for number in range(20_000)
    ]
    text = "\n".join(lines)
    with_guard = clean(text)
    check(with_guard)
    assert with_guard.duplicates == ()
    without = clean(text, Options(numbers=False))
    check(without)
    assert len(without.duplicates) > 19_000


def test_a_megabyte_of_laughter_is_cleaned() -> None:
    check(clean("ha ha ha " * 116_000))
    check(clean("Ha ha ha ha ha ha ha ha ha ha! " * 34_000))


@pytest.mark.parametrize(
    ("text", "offset", "shown"),
    [
        ("\ud800", 0, "U+D800"),
        ("Grüße 😀 \udfff!", 8, "U+DFFF"),
        ("a\udc00\ud800", 1, "U+DC00"),
    ],
)
def test_a_lone_surrogate_is_refused_with_its_place(text: str, offset: int, shown: str) -> None:
    with pytest.raises(TextError) as caught:
        clean(text, document="letter")
    error = caught.value
    assert (error.source, error.offset) == ("letter", offset)
    assert str(error) == f"letter: lone surrogate {shown} at code point {offset}"


@given(reference.texts(max_size=400))
def test_any_text_is_cleaned_and_comes_back(text: str) -> None:
    check(clean(text, Options(min_chars=3, min_chars_unspaced=2)))


@given(st.lists(reference.texts(max_size=12), max_size=6), st.randoms(use_true_random=False))
def test_any_text_of_repeats_is_cleaned_and_comes_back(parts: list[str], chooser: Random) -> None:
    text = "".join(chooser.choice([*parts, ". ", "\n", "\n\n"]) for _ in range(40))
    check(clean(text, Options(min_chars=3, min_chars_unspaced=2)))
