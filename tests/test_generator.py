"""Generated text: the truth about it is true, and all of it."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
import reference

from benchmarks.generator import KINDS, SCRIPTS, STRENGTHS, Generated, Planted, Span, generate
from dedup.columns import Texts
from dedup.units import cut_units

SPACED = [script for script in SCRIPTS if script not in ("han", "kana", "thai")]
CASED = ["latin", "cyrillic", "greek"]


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate(0.5)


def read(generated: Generated, span: Span) -> str:
    return generated.documents[span.document][span.start : span.stop]


def both(generated: Generated, kind: str) -> Iterator[tuple[Planted, str, str]]:
    """Yield the relations of a kind with the texts of copy and original, folded."""
    for planted in generated.planted:
        if planted.kind == kind:
            copy, original = read(generated, planted.copy), read(generated, planted.original)
            yield planted, reference.fold_text(copy), reference.fold_text(original)


def find_families(generated: Generated) -> dict[Span, int]:
    """Number the families of spans of which one was made from the other."""
    family_of: dict[Span, int] = {}
    for planted in generated.planted:
        number = family_of.setdefault(planted.original, len(family_of))
        family_of[planted.copy] = number
    return family_of


def test_a_seed_gives_the_same_text_under_every_python() -> None:
    made = generate(0.3, 5)
    assert made.seed == 5
    assert zlib.crc32("\0".join(made.documents).encode()) == 1491755775
    assert zlib.crc32(repr(made.planted).encode()) == 133254749
    assert generate(0.05, 6) != generate(0.05, 7)


def test_sizes_are_as_asked_and_scripts_as_chosen(generated: Generated) -> None:
    size = sum(len(text.encode()) for text in generated.documents)
    assert 0.5e6 <= size < 0.52e6
    assert {planted.script for planted in generate(0.05, scripts=["han"]).planted} == {"han"}


def test_every_kind_is_planted_in_every_script_that_has_it(generated: Generated) -> None:
    found = {(planted.script, planted.kind) for planted in generated.planted}
    assert {kind for _, kind in found} == set(KINDS)
    for script in SCRIPTS:
        wanted = set(STRENGTHS) - (set() if script in CASED else {"case"})
        assert {kind for of, kind in found if of == script} >= wanted, script


def test_copies_stand_behind_their_originals_and_overlap_nothing(generated: Generated) -> None:
    for planted in generated.planted:
        one, other = planted.original, planted.copy
        assert (one.document, one.stop) <= (other.document, other.start)
        for span in (one, other):
            assert 0 <= span.start < span.stop <= len(generated.documents[span.document])
    copies = [planted.copy for planted in generated.planted]
    assert copies == sorted(copies, key=lambda span: (span.document, span.start))
    spans = sorted(find_families(generated), key=lambda span: (span.document, span.start))
    for before, behind in pairwise(spans):
        assert before.document != behind.document or before.stop <= behind.start


def test_spans_are_whole_sentences_for_the_engine_too(generated: Generated) -> None:
    texts = Texts.from_bytes([text.encode() for text in generated.documents])
    units = cut_units(texts, "sentence")
    borders = set()
    for document, text in enumerate(generated.documents):
        first = int(texts.offsets[document])
        to_char = {len(text[:i].encode()): i for i in range(len(text) + 1)}
        rows = slice(int(units.offsets[document]), int(units.offsets[document + 1]))
        for side, positions in (("start", units.starts), ("stop", units.stops)):
            borders |= {(document, side, to_char[int(at) - first]) for at in positions[rows]}
    for span in find_families(generated):
        assert (span.document, "start", span.start) in borders
        assert (span.document, "stop", span.stop) in borders


def test_copies_are_what_they_are_said_to_be(generated: Generated) -> None:
    for planted in generated.planted:
        assert planted.repeats != planted.kind.startswith("template")
    for planted, _, _ in both(generated, "exact"):
        assert planted.edits == 0
        assert read(generated, planted.copy) == read(generated, planted.original)
    for kind in ("case", "punctuation"):
        for planted, copy, original in both(generated, kind):
            assert copy.replace(" ", "") == original.replace(" ", "")
            assert planted.edits > 0
            assert read(generated, planted.copy) != read(generated, planted.original)
    for kind in ("split", "merge"):
        for _, copy, original in both(generated, kind):
            assert copy.replace(" ", "") == original.replace(" ", "")
    counts = Counter[str]()
    for kind, growth in (("insert", 1), ("delete", -1), ("substitute", 0), ("swap", 0)):
        for planted, copy, original in both(generated, kind):
            if planted.script not in SPACED:
                continue
            words, others = copy.split(), original.split()
            assert len(words) - len(others) == growth * planted.edits
            counts[kind] += 1
            changed = [a != b for a, b in zip(words, others, strict=False)]
            if kind == "substitute":
                assert sum(changed) == planted.edits
            if kind == "swap":
                assert sorted(words) == sorted(others)
                assert sum(changed) == 2 * planted.edits
            if kind in ("insert", "delete"):
                few, many = sorted((Counter(words), Counter(others)), key=lambda one: one.total())
                assert few <= many
    assert min(counts.values()) > 20
    for _, copy, original in both(generated, "reorder"):
        assert sorted(copy.replace(" ", "")) == sorted(original.replace(" ", ""))


def test_members_of_a_template_differ_in_one_number_or_one_name(generated: Generated) -> None:
    for kind in ("template number", "template name"):
        members = defaultdict[Span, set[str]](set)
        for planted, copy, original in both(generated, kind):
            digits, others = reference.digit_runs(copy), reference.digit_runs(original)
            assert (digits == others) == (kind == "template name")
            assert copy not in members[planted.original] | {original}
            members[planted.original].add(copy)
            if planted.script in SPACED:
                words, other_words = copy.split(), original.split()
                assert sum(a != b for a, b in zip(words, other_words, strict=True)) == 1
        assert max(map(len, members.values())) >= 5


def test_boilerplate_stands_in_dozens_of_documents_and_chains_drift() -> None:
    made = generate(0.3, scripts=["latin"])
    hubs = Counter(planted.original for planted in made.planted if planted.kind == "boilerplate")
    assert max(hubs.values()) >= 24
    documents = {p.copy.document for p in made.planted if p.original == hubs.most_common(1)[0][0]}
    assert len(documents) == hubs.most_common(1)[0][1]
    chained = [planted for planted in made.planted if planted.kind == "chain"]
    copies = {planted.copy for planted in chained}
    # Each is made from the one before it.
    assert sum(planted.original in copies for planted in chained) > len(chained) / 2
    assert len({planted.original for planted in chained}) == len(chained)


def test_more_edits_leave_less_alike(generated: Generated) -> None:
    for kind in ("insert", "delete", "substitute", "ocr", "reorder"):
        scores = defaultdict(list)
        for planted, copy, original in both(generated, kind):
            sets = (set(reference.cut_shingles(text)) for text in (copy, original))
            scores[planted.edits].append(reference.jaccard(*sets))
        means = [sum(scores[edits]) / len(scores[edits]) for edits in (1, 2)]
        most = [score for edits, few in scores.items() if edits > 2 for score in few]
        means.append(sum(most) / len(most))
        assert means[0] > max(means[1:]), kind
        assert means[0] - means[2] > 0.15, kind


def test_nothing_is_alike_that_was_not_planted() -> None:
    made = generate(0.35, 2)
    texts = Texts.from_bytes([text.encode() for text in made.documents])
    units = cut_units(texts, "sentence")
    families = find_families(made)
    spans = defaultdict(list)
    for span, number in families.items():
        spans[span.document].append((span, number))
    sets, numbers = [], []
    for document, text in enumerate(made.documents):
        data = text.encode()
        first = int(texts.offsets[document])
        for unit in range(int(units.offsets[document]), int(units.offsets[document + 1])):
            start, stop = int(units.starts[unit]) - first, int(units.stops[unit]) - first
            char = len(data[:start].decode())
            sets.append(set(reference.cut_shingles(reference.fold_text(data[start:stop].decode()))))
            of = [number for span, number in spans[document] if span.start <= char < span.stop]
            numbers.append(of[0] if of else -1 - unit)
    units_of = defaultdict(list)
    for unit, shingles in enumerate(sets):
        for shingle in shingles:
            units_of[shingle].append(unit)
    shared = Counter[tuple[int, int]]()
    for holders in units_of.values():
        shared.update(combinations(holders, 2))
    alike = [
        (one, other)
        for (one, other), common in shared.items()
        if common / (len(sets[one]) + len(sets[other]) - common) >= 0.7
    ]
    assert len(sets) > 3000
    assert len(alike) > 300
    assert [pair for pair in alike if numbers[pair[0]] != numbers[pair[1]]] == []
