"""Stretches: units that repeat text which is cut elsewhere, and what may not go for it."""

from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import make_documents, say

from dedup import Filters, Options, Result, clean_documents, duplicates, pairs, restore, stretches
from dedup.checkpoints import Checkpoint
from dedup.columns import Texts
from dedup.duplicates import Duplicates, find_duplicates
from dedup.folding import find_places, fold_spans
from dedup.shingles import Runs, find_stretches, hash_shingles, sample_runs
from dedup.units import cut_units

Span = tuple[int, int, int]
KEEPS = ["first", "longest", "last"]


def clean(texts: Sequence[str], filters: Filters | None = None, **options: Any) -> list[Result]:
    documents = [(str(number), text) for number, text in enumerate(texts)]
    return clean_documents(documents, Options.from_mapping(options), filters=filters)


def sides(results: list[Result]) -> list[tuple[str, str]]:
    """Return the text of each duplicate and of its canonical."""
    texts = {result.document: result.original for result in results}
    return [
        (
            result.original[row.start : row.stop],
            texts[row.canonical.document][row.canonical.start : row.canonical.stop],
        )
        for result in results
        for row in result.duplicates
    ]


def cut(texts: Sequence[str], unit: str = "sentence") -> list[Span]:
    """Return document, start and stop of all units, in code points."""
    spans = []
    for number, text in enumerate(texts):
        documents = Texts.from_bytes([text.encode()])
        units = cut_units(documents, unit)  # type: ignore[arg-type]
        for borders in zip(units.starts.tolist(), units.stops.tolist(), strict=True):
            start, stop = (len(documents.data[:at].tobytes().decode()) for at in borders)
            spans.append((number, start, stop))
    return spans


def shingles(text: str) -> set[str]:
    return set(reference.cut_shingles(reference.fold_text(text)))


def words(seed: int, count: int, script: str = "Latin") -> list[str]:
    return reference.make_words(Random(seed), script, count)


def choose_options(seed: int, **options: Any) -> dict[str, Any]:
    chooser = Random(seed)
    return {
        "threshold": chooser.choice([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        "unit": chooser.choice(["sentence", "sentence", "paragraph"]),
        "numbers": chooser.random() < 0.7,
        **options,
    }


def is_unspaced(character: str) -> bool:
    folded = reference.fold_code_point(character).replace(" ", "")
    return bool(folded) and all(map(reference.writing, folded))


def cuts_a_word(text: str, at: int) -> bool:
    before, behind = (
        [character for character in part if reference.fold_code_point(character)]
        for part in (text[:at], text[at:])
    )
    return all(
        part and reference.fold_code_point(part[0]).strip() and not is_unspaced(part[0])
        for part in (before[-1:], behind[:1])
    )


def check(results: list[Result], options: Options, ranks: Sequence[int] = ()) -> int:
    """Verify every row by definition; return how many canonicals are no whole units."""
    texts = {result.document: result.original for result in results}
    spans = cut([result.original for result in results], options.unit)
    folded = {
        span: reference.fold_text(results[span[0]].original[span[1] : span[2]]) for span in spans
    }

    def place(span: Span) -> tuple[int, ...]:
        number, start, _ = span
        if options.keep == "longest":
            return -len(folded[span]), number, start
        if ranks:
            return ranks[number], number, start
        return (-number, -start) if options.keep == "last" else (number, start)

    rows = [
        ((int(row.document), row.start, row.stop), row)
        for result in results
        for row in result.duplicates
    ]
    gone = {own for own, _ in rows}
    assert len(gone) == len(rows)
    count = 0
    for own, row in rows:
        assert own in folded
        number, start, stop = int(row.canonical.document), row.canonical.start, row.canonical.stop
        assert options.scope == "corpus" or number == own[0]
        touched = [
            span for span in spans if span[0] == number and span[1] < stop and span[2] > start
        ]
        assert touched
        assert not gone.intersection(touched)
        for span in touched:
            assert place(span) < place(own) or not reference.is_long_enough(folded[span])
        canonical = texts[str(number)][start:stop]
        assert canonical == canonical.strip() != ""
        left, right = (shingles(text) for text in (folded[own], canonical))
        assert row.score == reference.jaccard(left, right) >= options.threshold
        assert row.containment == reference.containment(left, right)
        if options.numbers:
            folded_canonical = reference.fold_text(canonical)
            assert reference.digit_runs(folded[own]) == reference.digit_runs(folded_canonical)
        if (number, start, stop) not in folded:
            count += 1
            assert row.kind == "near"
            # 1.5 times the least length.
            assert reference.is_long_enough(folded[own], 30, 10)
    for result in results:
        assert restore(result.text, result.document_record()) == result.original
    return count


def accent(text: str) -> str:
    return text.translate(str.maketrans("αειου", "άέίόύ")).replace("κ", "κ\u0301")


def mix(seed: int) -> list[str]:
    latin, han = words(seed, 14), words(seed, 14, "Han")
    return [word for pair in zip(latin, han, strict=True) for word in pair]


@pytest.mark.parametrize("change", ["split", "merged", "shifted"])
@pytest.mark.parametrize(
    ("script", "seed"), [("Latin", 2), ("Han", 1), ("Thai", 3), ("Greek", 0), ("mixed", 1)]
)
def test_what_was_planted_is_found_where_it_stands(script: str, seed: int, change: str) -> None:
    # Which runs are sampled, and so whether all of it is found, is up to the words.
    between, comma, stop = (" ", ", ", ". ") if script in ("Latin", "Greek") else ("", "，", "。")
    one, two, three, four = (
        between.join(mix(number) if script == "mixed" else words(number, 30, script)).capitalize()
        for number in range(seed + 1, seed + 5)
    )
    if change == "split":
        source = [f"{three}{comma}{four}", f"{one}{comma}{two}"]
        copy, expected = [one, two], [one, two + stop.strip()]
    elif change == "merged":
        source, copy = [three, one, two, four], [f"{one}{comma}{two}"]
        expected = [one + stop + two + stop.strip()]
    else:
        source, copy = [f"{one}{comma}{two}", f"{three}{comma}{four}"], [f"{two}{comma}{three}"]
        expected = [two + stop + three]
    if script == "Greek":
        copy = [accent(part) for part in copy]
    texts = [stop.join([*parts, ""]).strip() for parts in (source, copy)]
    results = clean(texts)
    assert sides(results) == [
        (part + stop.strip(), canonical) for part, canonical in zip(copy, expected, strict=True)
    ]
    assert {(row.kind, row.score, row.passage) for row in results[1].duplicates} == {("near", 1, 0)}
    assert results[1].text == ""
    assert check(results, Options()) == len(expected)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("scope", ["corpus", "document"])
def test_every_stretch_is_verified_and_stays(keep: str, scope: str) -> None:
    count = 0
    for seed in range(12):
        options = choose_options(seed, keep=keep, scope=scope)
        texts = make_documents(seed)
        texts = texts if scope == "corpus" else ["".join(texts), texts[0]]
        count += check(clean(texts, **options), Options.from_mapping(options))
    assert count > 20


@pytest.mark.parametrize("keep", KEEPS)
def test_stretches_begin_and_end_at_words(keep: str) -> None:
    for seed in range(120):
        texts = make_documents(seed)
        results = clean(texts, keep=keep, **choose_options(seed))
        for row in (row for result in results for row in result.duplicates):
            text = texts[int(row.canonical.document)]
            assert not cuts_a_word(text, row.canonical.start), (seed, row)
            assert not cuts_a_word(text, row.canonical.stop), (seed, row)


def test_a_verbatim_copy_has_its_very_words_for_canonical() -> None:
    for seed in range(20):
        before, copy, behind = (words(3 * seed + part, 24) for part in range(3))
        (row,) = sides(clean([say(before, copy, behind), say(copy)]))
        assert row == (say(copy), " ".join(copy)), seed


def test_a_stretch_in_a_unit_of_two_scripts_is_whole() -> None:
    sentence = say(words(2, 30))
    text = "".join(words(1, 80, "Han")) + "，" + sentence
    assert sides(clean([text, sentence], unit="paragraph")) == [(sentence, sentence)]


@pytest.mark.parametrize("keep", KEEPS)
def test_units_come_before_stretches_and_both_equal_their_twin(keep: str) -> None:
    count = 0
    for seed in range(6):
        texts = make_documents(seed)
        # Later copies too, of units that went for either.
        texts.append("\n".join(reversed(texts[-1].split("\n"))))
        spans = cut(texts)
        numbers = {span: number for number, span in enumerate(spans)}
        units = [texts[number][start:stop] for number, start, stop in spans]
        for with_stretches in (True, False):
            chosen = choose_options(seed, keep=keep, unit="sentence", stretches=with_stretches)
            options = Options.from_mapping(chosen)
            rows = {}
            for row in (row for result in clean(texts, **chosen) for row in result.duplicates):
                own = numbers[int(row.document), row.start, row.stop]
                other = (int(row.canonical.document), row.canonical.start, row.canonical.stop)
                rows[own] = own, numbers.get(other), row.kind, row.score, row.containment
            expected = reference.find_duplicates(
                units,
                keep=keep,
                threshold=options.threshold,
                numbers=options.numbers,
                bands=options.bands,
                rows=options.rows,
                num_perm=options.num_perm,
                gone=rows,
            )
            assert [rows.pop(row[0]) for row in expected] == expected
            assert all(row[1] is None and row[2] == "near" for row in rows.values())
            assert with_stretches or not rows
            count += len(rows)
    assert count > 10


@pytest.mark.parametrize("small", [1, 7])
def test_threads_waves_and_slices_change_nothing(
    monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    for seed in range(4):
        documents = [(str(number), text) for number, text in enumerate(make_documents(seed))]
        for keep in KEEPS:
            options = Options.from_mapping(choose_options(seed, keep=keep))
            expected = [result.to_json() for result in clean_documents(documents, options)]
            with monkeypatch.context() as patch:
                patch.setattr(stretches, "_ASKERS_AT_ONCE", small)
                patch.setattr(duplicates, "_UNITS_AGAIN", small)
                patch.setattr(stretches, "_KEYS_AT_ONCE", small)
                patch.setattr(stretches, "_LEADERS_AT_ONCE", small)
                patch.setattr(pairs, "WAVE_UNITS", small)
                patch.setattr(pairs, "WAVE_BUCKET_LIMIT", small)
                for threads in (1, 3):
                    results = clean_documents(documents, options, threads=threads)
                    assert [result.to_json() for result in results] == expected


ONE, TWO, THREE = (words(seed, 40) for seed in (31, 32, 33))


def test_text_that_went_is_no_stretch_for_others() -> None:
    like, half = say(ONE[:35], TWO[:6]), say(ONE[27:35], TWO[:6])
    assert sides(clean([like, half])) == [(half, half.lower())]
    # With what it is like before it, the second goes, and the third has nothing left.
    assert sides(clean([say(ONE), like, half])) == [(like, say(ONE))]
    # And so it is when the second goes for a stretch.
    results = clean([say(THREE, ONE), like, half])
    assert [len(result.duplicates) for result in results] == [0, 1, 0]
    assert check(results, Options()) == 1


def test_later_copies_go_for_the_same_stretch_or_for_a_unit_that_is_like_them() -> None:
    # Like the unit are both others; those two are not like each other.
    merged, own, other = say(ONE[6:], THREE), say(ONE), say(ONE[:34])
    stretch = " ".join(ONE[6:]).capitalize()
    copies = [own, own, own.upper()]
    assert sides(clean([merged, *copies], threshold=0.82)) == [(copy, stretch) for copy in copies]
    results = clean([merged, own, own, other, own.upper()], threshold=0.82)
    assert sides(results) == [(own, stretch), (own, stretch), (own.upper(), other)]
    assert check(results, Options(threshold=0.82)) == 2


def test_parts_of_one_text_are_one_passage() -> None:
    split = f"{say(ONE[:20])} {say(ONE[20:])}"
    _, second = clean([f"{say(TWO)} {say(ONE)}", split])
    assert [row.passage for row in second.duplicates] == [0, 0]
    # Sentences that each begin in the middle of another.
    source = f"{say(ONE)} {say(TWO)} {say(THREE)}"
    shifted = [say(ONE[20:], TWO[:20]), say(TWO[20:], THREE[:20])]
    _, second = clean([source, " ".join(shifted)])
    assert [row.passage for row in second.duplicates] == [0, 0]
    # In the other order they are two.
    _, second = clean([source, " ".join(reversed(shifted))])
    assert [row.passage for row in second.duplicates] == [0, 1]
    _, second = clean([source, f"{shifted[0]} {say(words(34, 30))} {shifted[1]}"])
    assert [row.passage for row in second.duplicates] == [0, 1]


def find(texts: Sequence[str], options: Options, **more: Any) -> tuple[Duplicates, list[str]]:
    documents = Texts.from_bytes([text.encode() for text in texts])
    found = find_duplicates(documents, cut_units(documents, options.unit), options, **more)
    spans = zip(found.canonical_starts.tolist(), found.canonical_stops.tolist(), strict=True)
    return found, [documents.data[start:stop].tobytes().decode() for start, stop in spans]


def test_against_a_reference_only_its_stretches_count() -> None:
    known = f"{say(ONE)} {say(ONE)} {say(ONE[:20])}"
    texts = [known, say(THREE, TWO), say(ONE[20:]), say(TWO), say(ONE[:20])]
    found, canonicals = find(texts, Options(), reference_count=1)
    assert found.units.tolist() == [4, 6]
    assert canonicals == [" ".join(ONE[20:]) + ".", say(ONE[:20])]
    found, canonicals = find(texts[1:], Options(), reference_count=0)
    assert canonicals == [" ".join(TWO) + "."]


@pytest.mark.parametrize("keep", ["newest", "priority"])
def test_the_first_document_by_rank_has_the_stretch(keep: str) -> None:
    merged, half = say(ONE, TWO), say(TWO)
    options = Options(keep=keep)  # type: ignore[arg-type]
    found, canonicals = find([half, merged], options, document_ranks=np.array([1, 0]))
    assert (found.units.tolist(), canonicals) == ([0], [" ".join(TWO) + "."])
    assert len(find([half, merged], options, document_ranks=np.array([0, 1]))[0]) == 0


def test_a_stretch_is_no_copy_of_the_unit_that_it_begins_in() -> None:
    texts = [say(ONE), say(ONE[:25]), say(ONE), say(TWO), say(TWO)]
    filters = Filters(boilerplate_over=2, boilerplate="keep-all")
    results = clean(texts, filters)
    assert [row.removed for result in results for row in result.duplicates] == [True, False, False]
    filters = Filters(boilerplate_over=3, boilerplate="keep-all")
    results = clean(texts, filters)
    assert [row.removed for result in results for row in result.duplicates] == [True] * 3
    # Runs count rows of either kind.
    text = f"{say(ONE[:25])} {say(TWO)}"
    results = clean([say(ONE), say(TWO), text, say(ONE[15:])], Filters(min_run=2))
    assert [row.removed for result in results for row in result.duplicates] == [True, True, False]


def test_what_is_dropped_as_boilerplate_takes_no_stretch_along() -> None:
    texts = [say(ONE), say(ONE), say(ONE[:25])]
    results = clean(texts, Filters(boilerplate_over=2, boilerplate="drop-all"))
    assert [result.text for result in results[:2]] == ["", ""]
    assert results[2].text == say(ONE[:25])


def test_a_checkpoint_gives_back_where_stretches_stand(tmp_path: Path) -> None:
    found, _ = find(make_documents(1), Options())
    Checkpoint(tmp_path, {}, 0).save_duplicates(found, "inputs")
    loaded = Checkpoint(tmp_path, {}, 0).load_duplicates("inputs")
    assert loaded is not None
    for field in fields(Duplicates):
        assert np.array_equal(getattr(loaded, field.name), getattr(found, field.name)), field.name
    assert len(np.setdiff1d(found.canonical_starts, find(make_documents(1), Options())[0].units))


def find_words(text: str, first: int, last: int) -> tuple[int, int]:
    """Find the words of which half comes to the folded bytes, as code points of the text."""
    out = 0
    after_space = True
    is_in_word = False
    words: list[tuple[int, int]] = []
    folded_words: list[tuple[int, int]] = []
    for at, character in enumerate(text):
        folded = reference.fold_code_point(character)
        if not folded:
            # A mark goes with the letter before it.
            if words and words[-1][1] == at:
                words[-1] = words[-1][0], at + 1
            continue
        begin = out
        for part in folded:
            out += 0 if part == " " and after_space else len(part.encode())
            after_space = part == " "
        if not folded.strip():
            is_in_word = False
            continue
        if is_in_word and not is_unspaced(character):
            words[-1] = words[-1][0], at + 1
            folded_words[-1] = folded_words[-1][0], out
        else:
            words.append((at, at + 1))
            folded_words.append((begin, out))
        is_in_word = not is_unspaced(character)
    covered = [min(stop, last) - max(start, first) for start, stop in folded_words]
    hit = [
        word
        for word, part, (start, stop) in zip(words, covered, folded_words, strict=True)
        if part > 0 and 2 * part >= stop - start
    ]
    return (hit[0][0], hit[-1][1]) if hit else (0, 0)


@given(reference.texts(30), st.integers(0, 100), st.integers(0, 100))
def test_places_of_folded_text_equal_their_twin(text: str, one: int, two: int) -> None:
    folded = reference.fold_text(text)
    one, two = sorted((one % (len(folded) + 1), two % (len(folded) + 1)))
    if not folded[one:two].strip():
        return
    asked = np.array([[len(folded[:at].encode())] for at in (one, two)])
    data = np.frombuffer(f"a{text}b".encode(), np.uint8)
    borders = np.array([[1], [len(data) - 1]])
    places = find_places(data, *borders, *asked)
    start, stop = (len(data[1 : place[0]].tobytes().decode()) for place in places)
    assert (start, stop) == find_words(text, *asked[:, 0].tolist())
    assert reference.fold_text(text[start:stop]) in folded


def fold(texts: Sequence[str]) -> Texts:
    documents = Texts.from_bytes([text.encode() for text in texts])
    return fold_spans(documents.data, documents.offsets[:-1], documents.offsets[1:])


def place_shingles(folded: str) -> list[tuple[int, int]]:
    """Return where each shingle stands in the folded text, with the spaces that do not count."""
    runs: list[tuple[int, list[int]]] = []
    space = -1
    for at, character in enumerate(folded):
        if character == " ":
            space = at
            continue
        kind = reference.writing(character)
        if not runs or runs[-1][0] != kind:
            runs.append((kind, []))
        elif kind == 0 and space >= 0:
            runs[-1][1].append(space)
        runs[-1][1].append(at)
        space = -1
    return [
        (run[first], run[min(first + size, len(run)) - 1] + 1)
        for size, run in (((5, 2, 3)[kind], run) for kind, run in runs)
        for first in range(max(1, len(run) - size + 1))
    ]


def find_best(left: str, right: str, threshold: Fraction) -> tuple[int, int]:
    """Try all stretches; shingles of up to 8 bytes only, which flags are known for."""
    own, keys = reference.cut_shingles(left), reference.cut_shingles(right)
    bits = next(bits for bits in range(4, 64) if 1 << bits >= 16 * len(own))

    def flag(shingle: str) -> int:
        key = int.from_bytes(shingle.encode(), "little")
        return (key * 0x9E3779B97F4A7C15 % (1 << 64)) >> (64 - bits)

    flags = {flag(shingle) for shingle in own}
    is_own = [flag(shingle) in flags for shingle in keys]
    worth = [Fraction(0)]
    for one in is_own:
        worth.append(worth[-1] + (1 if one else -threshold))
    at_own = [at for at, one in enumerate(is_own) if one]
    spans = [*combinations(at_own, 2), *((at, at) for at in at_own)]
    # Of equals the one that ends first, and of those the shortest.
    found = max(((worth[j + 1] - worth[i], -j, i) for i, j in spans), default=None)
    if found is None or found[0] < threshold * len(flags):
        return -1, -1
    first, last = found[2], -found[1]
    # A flag at an end may be that of another shingle.
    while first < last and keys[first] not in own:
        first += 1
    while first < last and keys[last] not in own:
        last -= 1
    missing = max(0, len(own) - (last - first + 1))
    before = min(missing, own.index(keys[first]) if keys[first] in own else len(own))
    first, last = max(0, first - before), min(len(keys) - 1, last + missing - before)
    # Too far below the threshold for words at the ends to mend it.
    common = sum(is_own[first : last + 1])
    others = last + 1 - first - common
    if min(common, len(flags)) < (threshold - Fraction(0.1)) * (len(flags) + others):
        return -1, -1
    places = place_shingles(right)
    start, stop = places[first][0], places[last][1]
    return len(right[:start].encode()), len(right[:stop].encode())


SMALL = st.text(st.sampled_from("abcd 漢字 12"), max_size=40)


@given(SMALL, SMALL, SMALL, st.integers(0, 40), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_the_best_stretch_is_the_best_of_all(
    left: str, before: str, behind: str, at: int, threshold: float
) -> None:
    texts = [left, left[:10], before + left[at:] + behind, before + left[:at], behind + before]
    folded = [reference.fold_text(text) for text in texts]
    rows, others = np.repeat([0, 1], 3), np.array([2, 3, 4] * 2)
    options = Options(threshold=threshold, num_perm=2048)
    starts, stops = find_stretches(fold(texts), rows, others, options)
    assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == [
        find_best(folded[row], folded[other], Fraction(threshold))
        for row, other in zip(rows, others, strict=True)
    ]


@pytest.mark.parametrize("script", ["Latin", "Greek", "Han", "Thai"])
def test_the_same_text_has_the_same_runs_wherever_it_stands(script: str) -> None:
    between = " " if script in ("Latin", "Greek") else ""
    text, *around = (between.join(words(seed, 150, script)) for seed in range(5))
    texts = [text, *(f"{one}{between}{text}{between}{one}" for one in around)]
    options = Options()
    runs = sample_runs(fold(texts), hash_shingles(fold(texts), options), options)
    keys = np.split(runs.keys, np.cumsum(runs.counts)[:-1])
    places = np.split(runs.places, np.cumsum(runs.counts)[:-1])
    assert len(keys[0]) > 15
    for row in range(1, len(texts)):
        place_of = dict(zip(keys[row].tolist(), places[row].tolist(), strict=True))
        for key, place in zip(keys[0].tolist(), places[0].tolist(), strict=True):
            assert abs(3 * (place_of[key] - 256 // 3) - place) < 20
    none = sample_runs(fold(texts), hash_shingles(fold(texts), options), Options(stretches=False))
    assert (len(none.keys), none.counts.tolist()) == (0, [0] * len(texts))


LONG = words(41, 40_000)
HOSTILE: dict[str, tuple[list[str], list[int]]] = {
    "nothing": (["", " ", ""], [0, 0, 0]),
    "one word": (["word " * 10_000, "Some word. " + "word " * 10_000 + "end."], [0, 0]),
    "no letters": (["?! " * 5000, "?! " * 5000], [0, 0]),
    "marks": (["\u0301\u0302" * 3000, say(ONE), "\u0301" * 3000], [0, 0, 0]),
    "one digit more": ([say(ONE, ["7"], TWO), say(ONE[20:], ["8"], TWO[:20])], [0, 0]),
    "the start": ([say(ONE, TWO), say(ONE)], [0, 1]),
    "the end": ([" ".join([*ONE, *TWO]), " ".join(TWO) + "."], [0, 1]),
    "no sign at the end": ([say(ONE, TWO), " ".join(TWO)], [0, 0]),
    "soft hyphens": ([say(ONE, TWO), "\u00ad".join(say(TWO))], [0, 1]),
    "long": ([" ".join(LONG), " ".join(LONG[9000:24_000]) + "."], [0, 1]),
    "ligatures": (["ﷺ " * 9 + say(ONE), "ﷺ " * 9 + "."], [0, 1]),
}


@pytest.mark.parametrize("unit", ["sentence", "paragraph", "document"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_cut_by_whole_units_or_stays(name: str, unit: str) -> None:
    texts, expected = HOSTILE[name]
    results = clean(texts, unit=unit)
    assert [len(result.duplicates) for result in results] == expected
    check(results, Options.from_mapping({"unit": unit}))


def test_a_text_repeated_a_thousand_times_goes_for_one_unit_or_stretch() -> None:
    rows = sides(clean([say(ONE, TWO) + " " + (say(TWO) + " ") * 1000]))
    assert rows == [(say(TWO), " ".join(TWO) + ".")] * 1000


def test_runs_do_not_depend_on_what_stands_beside() -> None:
    texts = [part for seed in range(12) for part in make_documents(seed)[0].split("\n")]
    # A run as of a script with spaces may begin where the text is too short for it.
    texts += ["".join(words(seed, seed % 7, "Han") + words(seed, 2)) for seed in range(400)]

    def sample(texts: list[str]) -> Runs:
        folded = fold(texts)
        return sample_runs(folded, hash_shingles(folded, Options()), Options())

    together = sample(texts)
    alone = [sample([text]) for text in texts]
    for number, column in enumerate(together):
        parts = np.concatenate([one[number] for one in alone])
        assert column.tolist() == parts.tolist()  # type: ignore[attr-defined]


def test_what_comes_later_has_no_say() -> None:
    texts = [
        "u kakusu gudu nifomu nu m\n"
        "Fe putuma vemiveda lone mosu kakusu gudu nifomu nu mu mo navudide buna tusilege dolo "
        "kakopa mi ta\nfonam",
        "Fe putuma vemiveda lone mosu kakusu gudu nifomu nu mu mo navudide buna tusilege "
        "dolosoto mudilibe dosabe faba kakopa mi ta.",
        # Has runs of the second that the first has not.
        "ibe dosabe faba kakopa mi",
    ]
    documents = [(str(number), text) for number, text in enumerate(texts)]
    alone, whole = clean_documents(documents[:2]), clean_documents(documents)
    assert [one.duplicates for one in whole[:2]] == [one.duplicates for one in alone]
