"""The index: the same map as a run over all, on disk, forgetful on request."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import reference
from conftest import Run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from reference import make_documents

from dedup import InputError, Options, OptionsError, OutputError, Result, clean_documents
from dedup.index import journal, judgements, lookups
from dedup.index.databases import Sqlite
from dedup.index.index import Index, Judged
from dedup.index.journal import Journal

Document = tuple[str, str]

FERRY = "The ferry leaves at noon from the old pier."
NOBODY = "Nobody in the village remembered who had built the mill."
KEPT = "The harbour master kept a list of all the ships since the war."


def make_corpus(seed: int) -> list[Document]:
    """Make documents that repeat one another in every way, some of them empty."""
    chooser = Random(seed)
    texts = [text for part in range(3) for text in make_documents(3 * seed + part)]
    texts += [reference.mutate(chooser, text) for text in texts[::3]]
    texts += texts[::4]
    texts += ["", "...", "\n\n"]
    chooser.shuffle(texts)
    return [(f"d{number}", text) for number, text in enumerate(texts)]


def rows(results: Sequence[Result]) -> list[Any]:
    return [(one.document, one.text, one.duplicates, one.kept) for one in results]


@pytest.fixture
def few_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a segment every few documents, and merge every few segments."""
    monkeypatch.setattr(lookups, "_MOST_RECENT", 300)
    monkeypatch.setattr(lookups, "_SEGMENTS_A_TIER", 2)


@pytest.fixture(params=["all keys at once", "texts first"])
def either_search(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Look for few units as for many, too."""
    if request.param == "texts first":
        monkeypatch.setattr(judgements, "_MANY_UNITS", 0)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.usefixtures("few_recent", "either_search")
def test_batches_of_any_size_get_the_rows_of_one_run(tmp_path: Path, size: int) -> None:
    for seed in range(3):
        documents = make_corpus(seed)
        options = Options(threshold=[0.5, 0.7, 0.9][seed])
        expected = rows(clean_documents(documents, options))
        assert sum(len(one[2]) for one in expected) > 10
        with Index.open(tmp_path / str(seed), options, threads=1 + seed) as index:
            found = []
            for first in range(0, len(documents), size):
                batch = documents[first : first + size]
                checked = index.check(batch)
                found += index.add(batch)
                assert rows(checked) == rows(found[first:])
            assert rows(found) == expected
            assert rows([one for name, _ in documents if (one := index.get(name))]) == expected


def cut_batches(documents: Sequence[Document], size: int) -> list[Sequence[Document]]:
    return [documents[first : first + size] for first in range(0, len(documents), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.usefixtures("few_recent", "either_search")
def test_batches_in_a_line_get_the_rows_of_one_run(tmp_path: Path, size: int) -> None:
    for seed in range(3):
        documents = make_corpus(seed)
        # Buckets that are full soon, too.
        options = Options(bucket_cap=[1000, 2, 3][seed])
        with Index.open(tmp_path / str(seed), options, threads=1 + seed) as index:
            batches = list(index.add_batches(cut_batches(documents, size)))
            assert list(map(len, batches)) == list(map(len, cut_batches(documents, size)))
            found = [result for batch in batches for result in batch]
            assert rows(found) == rows(clean_documents(documents, options))


@pytest.mark.usefixtures("few_recent", "either_search")
def test_batches_in_a_line_that_replace_and_repeat_get_what_they_get_one_by_one(
    tmp_path: Path,
) -> None:
    documents = make_corpus(3)
    # Every third comes again, as it was, and every fifth with another text.
    again = [*documents[::3], *((name, documents[-1][1]) for name, _ in documents[1::5])]
    Random(1).shuffle(again)
    batches = [*cut_batches(documents, 4)]
    for number, document in enumerate(again):
        batches.insert(2 * number + 3, [document])
    with Index.open(tmp_path / "line") as line, Index.open(tmp_path / "single") as single:
        expected = [rows(single.add(batch, if_exists="replace")) for batch in batches]
        assert list(map(rows, line.add_batches(batches, if_exists="replace"))) == expected
        assert list(line.export()) == list(single.export())


@pytest.mark.usefixtures("few_recent", "either_search")
def test_what_others_take_away_is_not_found_by_batches_in_a_line(tmp_path: Path) -> None:
    documents = make_corpus(4)
    there: dict[str, str] = {}
    with Index.open(tmp_path / "index") as index, Index.open(tmp_path / "index") as other:
        batches = cut_batches(documents, 3)
        for batch, _ in zip(batches, index.add_batches(batches), strict=True):
            there |= dict(batch)
            gone = batch[0][0]
            other.remove([gone])
            del there[gone]
        check_rows({name: index.get(name) for name in there}, there, 0.7)
        index.verify()


def test_batches_in_a_line_end_at_one_that_fails(tmp_path: Path) -> None:
    documents = make_corpus(5)

    def fail() -> Iterator[Document]:
        yield "never", NOBODY
        raise InputError("feed", "breaks off")

    bad: list[Iterable[Any]] = [
        [(documents[0][0], "Another text.")],
        [("bad", 7)],
        [("bad", "\ud800")],
        [("twice", FERRY), ("twice", KEPT)],
        fail(),
    ]
    for number, one in enumerate(bad):
        batches: list[Any] = [*cut_batches(documents, 2)]
        batches.insert(9, one)
        with Index.open(tmp_path / str(number)) as index:
            found = []
            adding = index.add_batches(batches)
            for _ in range(9):
                found += next(adding)
            with pytest.raises(InputError):
                next(adding)
            assert rows(found) == rows(clean_documents(documents[:18]))
            assert list(index.export()) == documents[:18]
            # It goes on.
            assert rows(index.add(documents[18:])) == rows(clean_documents(documents)[18:])
    with Index.open(tmp_path / "options") as index:
        with pytest.raises(OptionsError):
            index.add_batches([], if_exists="never")  # type: ignore[arg-type]
        with pytest.raises(OptionsError):
            index.add_batches([], now=-1)
        assert list(index.add_batches([])) == []
        assert list(map(len, index.add_batches([[], documents[:1]]))) == [0, 1]


def test_what_is_kept_of_documents_in_memory_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_corpus(8)

    def count_kept(index: Index) -> int:
        number = index._journal._cache._number
        return sum(key[0] == number for key in journal._Cache._records)

    with Index.open(tmp_path / "one") as one, Index.open(tmp_path / "two") as two:
        one.add(documents)
        two.add(documents)
        assert count_kept(one) == count_kept(two) == len(documents)
        one.remove([name for name, _ in documents[1:]])
        assert (count_kept(one), count_kept(two)) == (1, len(documents))
        two.close()
        assert (count_kept(one), count_kept(two)) == (1, 0)
        monkeypatch.setattr(journal, "_CACHED_BYTES", 20_000)
        expected = [result.text for result in clean_documents(documents)]
        assert [result.text for result in one.add(documents[1:])] == expected[1:]
        assert 0 < count_kept(one) < 20
    assert count_kept(one) == 0


def test_who_leaves_batches_in_a_line_has_whole_ones_from_the_first_on(tmp_path: Path) -> None:
    documents = make_corpus(6)
    for given in (1, 4):
        with Index.open(tmp_path / str(given)) as index:
            adding = index.add_batches(cut_batches(documents, 2))
            for _ in range(given):
                next(adding)
            adding.close()
            count = len(index)
            assert 2 * given <= count <= 2 * (given + 2)
            assert list(index.export()) == documents[:count]
            rest = index.add_batches(cut_batches(documents[count:], 5))
            found = [result for batch in rest for result in batch]
            assert rows(found) == rows(clean_documents(documents)[count:])


@pytest.mark.usefixtures("few_recent", "either_search")
def test_an_index_that_is_closed_and_shared_gets_the_rows_of_one_run(tmp_path: Path) -> None:
    documents = make_corpus(7)
    found = []
    other = Index.open(tmp_path / "index")
    for first in range(0, len(documents), 3):
        with Index.open(tmp_path / "index", create=False) as index:
            found += index.add(documents[first : first + 2])
        found += other.add(documents[first + 2 : first + 3])
    assert rows(found) == rows(clean_documents(documents))
    other.reindex()
    probe = [("probe", documents[5][1]), ("other", KEPT)]
    expected = rows(clean_documents([*documents, *probe])[-2:])
    assert rows(other.check(probe)) == expected
    other.compact()
    assert rows(other.check(probe)) == expected
    assert list(other.export()) == documents
    other.snapshot(tmp_path / "copy")
    other.close()
    with Index.open(tmp_path / "copy", create=False) as copy:
        assert rows(copy.check(probe)) == expected
        copy.verify()


@pytest.mark.usefixtures("either_search")
def test_a_copy_that_is_not_looked_for_itself_goes_for_what_the_first_goes_for(
    tmp_path: Path,
) -> None:
    # Folded the three are alike; only one that ends as a sentence is looked for in text
    # that is cut elsewhere.
    stretch = "choose Slide - Insert Slide from File Page - Insert Page from File"
    documents = [
        ("a", f"To put pages of another presentation into the one that is open, {stretch}."),
        ("b", f"{stretch[0].upper()}{stretch[1:]}."),
        ("c", f"First.\n\n{stretch[0].upper()}{stretch[1:]}"),
    ]
    with Index.open(tmp_path / "index") as index:
        found = [index.add([document])[0] for document in documents]
        assert rows(found) == rows(clean_documents(documents))
    assert [row.canonical.document for result in found for row in result.duplicates] == ["a", "a"]


def test_the_same_document_gets_the_same_answer(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index") as index:
        first = index.add([("a", f"{FERRY} {NOBODY}"), ("b", f"{FERRY} {KEPT}")])
        again = index.add([("c", KEPT), ("b", f"{FERRY} {KEPT}")])
        assert rows(again[1:]) == rows(first[1:])
        assert again[0].duplicates[0].canonical.document == "b"
        assert len(index) == 3


def test_the_same_id_with_another_text_is_an_error_unless_told(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index") as index:
        index.add([("a", FERRY), ("b", FERRY)])
        with pytest.raises(InputError, match="a: another text has this id"):
            index.add([("c", KEPT), ("a", NOBODY)])
        assert len(index) == 2
        assert index.get("c") is None
        (kept,) = index.add([("a", NOBODY)], if_exists="skip")
        assert kept.original == FERRY
        assert index.check([("a", NOBODY)])[0].original == NOBODY
        (new,) = index.add([("a", f"{NOBODY} {FERRY}")], if_exists="replace")
        # The copy in b came first, now that the old text of a is gone.
        assert new.duplicates[0].canonical.document == "b"
        assert [name for name, _ in index.export()] == ["b", "a"]
        with pytest.raises(OptionsError, match="if_exists"):
            index.add([], if_exists="perhaps")  # type: ignore[arg-type]


def test_what_pointed_to_a_removed_document_is_judged_again(tmp_path: Path) -> None:
    edited = NOBODY.replace("had", "has")
    with Index.open(tmp_path / "index") as index:
        index.add(
            [("a", f"{FERRY} {NOBODY}"), ("b", f"{FERRY} {edited}"), ("c", f"{KEPT} {FERRY}")]
        )
        judged = index.remove(["a"])
        assert [(one.document, one.was.document, one.now) for one in judged[:2]] == [
            ("b", "a", None),
            ("b", "a", None),
        ]
        assert (judged[2].document, judged[2].now and judged[2].now.canonical.document) == (
            "c",
            "b",
        )
        found = index.get("b")
        assert found
        assert (found.text, found.duplicates) == (f"{FERRY} {edited}", ())
        assert index.get("a") is None
        (probe,) = index.check([("p", f"{NOBODY} {FERRY}")])
        assert [row.canonical.document for row in probe.duplicates] == ["b", "b"]
        with pytest.raises(InputError, match="nowhere: is not in the index"):
            index.remove(["b", "nowhere"])
        assert len(index) == 2


@pytest.mark.usefixtures("few_recent")
def test_who_repeats_a_document_is_told(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index") as index:
        added = index.add(
            [
                ("a", f"{FERRY} {NOBODY}"),
                ("b", KEPT),
                ("c", f"{FERRY} {KEPT}"),
                ("d", f"{NOBODY} {FERRY}"),
            ]
        )
        rows_of_c, rows_of_d = added[2].duplicates, added[3].duplicates
        assert index.repeats("a") == [rows_of_c[0], *rows_of_d]
        assert index.repeats("a", limit=2) == [rows_of_c[0], rows_of_d[0]]
        assert index.repeats("a", limit=0) == []
        assert index.repeats("b") == [rows_of_c[1]]
        assert index.repeats("d") == []
        assert index.repeats("e") is None


def test_a_deleted_index_is_gone_and_who_has_it_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "index"
    beside = Index.open(path)
    with Index.open(path) as index:
        index.add([("a", FERRY)])
        index.delete()
        with pytest.raises(InputError, match="is closed"):
            index.delete()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="was deleted"):
        beside.add([("b", FERRY)])
    with pytest.raises(OutputError, match="unable to open"):
        beside.check([("b", FERRY)])
    beside.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="is no index"):
        Index.open(path, create=False)
    with Index.open(path) as index:
        assert [len(one.duplicates) for one in index.add([("a", FERRY)])] == [0]


@pytest.mark.usefixtures("either_search")
def test_after_removals_every_row_is_verified_against_text_that_stays(tmp_path: Path) -> None:
    for seed in range(4):
        chooser = Random(seed)
        documents = make_corpus(seed)
        with Index.open(tmp_path / str(seed)) as index:
            index.add(documents[:20])
            there = dict(documents[:20])
            for at in range(20, len(documents), 4):
                gone = chooser.sample(sorted(there), 3)
                before = {name: index.get(name) for name in there}
                judged = index.remove(gone)
                for name in gone:
                    del there[name]
                check_judged(judged, before, index)
                index.add(documents[at : at + 4])
                there |= dict(documents[at : at + 4])
            check_rows({name: index.get(name) for name in there}, there, 0.7)
            index.remove(sorted(there))
            alone = [one.text for one in clean_documents(documents[:1])]
            assert [one.text for one in index.check(documents[:1])] == alone
            index.compact()
            assert index.stats()["postings"] == 0


def check_judged(judged: list[Judged], before: dict[str, Result | None], index: Index) -> None:
    for one in judged:
        result, old = index.get(one.document), before[one.document]
        assert result
        assert old
        place = (one.start, one.stop)
        now = {(row.start, row.stop): row for row in result.duplicates}
        was = {(row.start, row.stop): row.canonical for row in old.duplicates}
        assert (now.get(place), was[place]) == (one.now, one.was)


def check_rows(results: dict[str, Result | None], texts: dict[str, str], least: float) -> None:
    count = 0
    for result in results.values():
        assert result
        for row in result.duplicates:
            count += 1
            other = results[row.canonical.document]
            assert other
            sides = (
                texts[row.document][row.start : row.stop],
                texts[row.canonical.document][row.canonical.start : row.canonical.stop],
            )
            sets = [set(reference.cut_shingles(reference.fold_text(side))) for side in sides]
            assert row.score == reference.jaccard(*sets) >= least
            stays = all(
                one.stop <= row.canonical.start or one.start >= row.canonical.stop
                for one in other.duplicates
            )
            assert stays, row
    assert count > 3


class Model(RuleBasedStateMachine):
    """An index of sentences that are the same or nothing alike, beside a dictionary."""

    sentences = tuple(
        " ".join(reference.make_words(Random(n), "Latin", 9)) + "." for n in range(12)
    )
    batches = st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.integers(0, 11), max_size=4)),
        max_size=3,
        unique_by=lambda one: one[0],
    )

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.index = Index.open(f"{self.folder.name}/index")
        self.there: dict[str, list[int]] = {}

    def write(self, batch: list[tuple[int, list[int]]]) -> list[Document]:
        return [
            (f"d{name}", "\n\n".join(self.sentences[number] for number in numbers))
            for name, numbers in batch
        ]

    def expect(self, there: dict[str, list[int]]) -> dict[str, list[tuple[str, int]]]:
        """Return which sentences of each document repeat which document."""
        first: dict[int, str] = {}
        expected: dict[str, list[tuple[str, int]]] = {}
        for name, numbers in there.items():
            expected[name] = []
            for number in numbers:
                if number in first:
                    expected[name].append((first[number], number))
                first.setdefault(number, name)
        return expected

    def read(self, result: Result) -> list[tuple[str, int]]:
        return [
            (row.canonical.document, self.sentences.index(result.original[row.start : row.stop]))
            for row in result.duplicates
        ]

    @rule(batch=batches)
    def add(self, batch: list[tuple[int, list[int]]]) -> None:
        new = {f"d{name}": numbers for name, numbers in batch}
        if any(self.there.get(name, numbers) != numbers for name, numbers in new.items()):
            with pytest.raises(InputError, match="another text has this id"):
                self.index.add(self.write(batch))
            return
        found = self.index.add(self.write(batch))
        self.there |= {name: numbers for name, numbers in new.items() if name not in self.there}
        expected = self.expect(self.there)
        assert {one.document: self.read(one) for one in found} == {
            name: expected[name] for name in new
        }

    @rule(batch=batches)
    def replace(self, batch: list[tuple[int, list[int]]]) -> None:
        self.index.add(self.write(batch), if_exists="replace")
        for name, numbers in batch:
            if self.there.get(f"d{name}") != numbers:
                self.there.pop(f"d{name}", None)
                self.there[f"d{name}"] = numbers

    @rule(batch=batches)
    def check(self, batch: list[tuple[int, list[int]]]) -> None:
        new = [(f"d{name}", numbers) for name, numbers in batch]
        there = dict(self.there)
        for name, numbers in new:
            if there.get(name) != numbers:
                there.pop(name, None)
                there[name] = numbers
        expected = self.expect(there)
        found = self.index.check(self.write(batch))
        if all(self.there.get(name) != numbers for name, numbers in new):
            assert [self.read(one) for one in found] == [expected[name] for name, _ in new]

    @rule(names=st.lists(st.integers(0, 9), unique=True, max_size=3))
    def remove(self, names: list[int]) -> None:
        some = [f"d{name}" for name in names]
        if not set(some) <= self.there.keys():
            with pytest.raises(InputError, match="is not in the index"):
                self.index.remove(some)
            return
        self.index.remove(some)
        for name in some:
            del self.there[name]

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(f"{self.folder.name}/index", create=False)

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def reindex(self) -> None:
        self.index.reindex()

    @invariant()
    def it_says_what_the_dictionary_says(self) -> None:
        found = {name: self.index.get(name) for name in self.there}
        assert {name: one and self.read(one) for name, one in found.items()} == self.expect(
            self.there
        )

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
test_an_index_does_what_a_dictionary_does = Model.TestCase


def test_options_are_fixed_and_those_an_index_cannot_keep_to_refused(tmp_path: Path) -> None:
    for options in (Options(keep="last"), Options(scope="document")):
        with pytest.raises(OptionsError, match=r"an index is|stays"):
            Index.open(tmp_path / "index", options)
    assert not (tmp_path / "index").exists()
    Index.open(tmp_path / "index", Options(threshold=0.8)).close()
    with pytest.raises(OptionsError, match=r"threshold: got 0.7, expected 0.8, as .*index has it"):
        Index.open(tmp_path / "index", Options())
    with Index.open(tmp_path / "index") as index:
        assert index.options.threshold == 0.8
    with pytest.raises(InputError, match="is an index already"):
        Index.open(tmp_path / "index", create=True)
    with pytest.raises(InputError, match="is no index"):
        Index.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_an_index_made_otherwise_is_refused_with_what_differs(tmp_path: Path) -> None:
    Index.open(tmp_path / "index").close()
    made: list[tuple[str, Any, str]] = [
        ("unicode", "9.0", r"was made with unicode 9\.0; here it is 16"),
        ("signatures", "other", "was made with signatures other; here it is affine32"),
        ("format", 99, "has format 99; this version reads 2"),
    ]
    for fact, value, told in made:
        copy = tmp_path / fact
        shutil.copytree(tmp_path / "index", copy)
        journal = Journal(Sqlite(copy / "journal.sqlite"))
        with journal.write():
            journal.facts = replace(journal.facts, **{fact: value})
        journal.database.close()
        with pytest.raises(InputError, match=told):
            Index.open(copy)


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    for content in (b"Not a database at all, but long enough to be looked at." * 40, b"short"):
        file.write_bytes(content)
        with pytest.raises(InputError, match="is damaged, or no SQLite file"):
            Index.open(tmp_path)
        assert file.read_bytes() == content


def test_flipped_bytes_are_refused_or_change_no_answer(tmp_path: Path) -> None:
    documents = make_corpus(1)
    with Index.open(tmp_path / "index") as index:
        expected = rows(index.add(documents))
    file = tmp_path / "index" / "journal.sqlite"
    whole = file.read_bytes()
    chooser = Random(1)
    refused = 0
    for _ in range(60):
        at = chooser.randrange(len(whole))
        file.write_bytes(
            whole[:at] + bytes([whole[at] ^ 1 << chooser.randrange(8)]) + whole[at + 1 :]
        )
        try:
            with Index.open(tmp_path / "index", create=False) as index:
                answers = [index.get(name) for name, _ in documents]
                index.verify()
        except (InputError, OutputError, OptionsError):
            refused += 1
        else:
            assert rows([one for one in answers if one]) == expected
    assert refused > 5


ADDER = f"""
import sys
from dedup.index import lookups
from dedup.index.index import Index

lookups._MOST_RECENT = 400
path, first, last, size = sys.argv[1], *map(int, sys.argv[2:])
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_index import make_corpus

documents = make_corpus(5) * 1
with Index.open(path, create=False) as index:
    for at in range(first, last, size):
        batch = documents[at : at + size]
        new = [not one.duplicates for one in index.add(batch)]
        print(at, "".join(map("01".__getitem__, new)), flush=True)
"""


def adder(path: Path, *numbers: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", ADDER, str(path), *map(str, numbers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    documents = make_corpus(5)
    path = tmp_path / "index"
    Index.open(path).close()
    chooser = Random(2)
    done = 0
    while done < len(documents):
        with adder(path, done, len(documents), 2) as process:
            assert process.stdout
            for _ in range(chooser.randint(1, 6)):
                line = process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines()
        acknowledged = int((rest or [line])[-1].split()[0]) + 2 if (rest or line) else done
        with Index.open(path, create=False) as index:
            count = len(index)
            assert acknowledged <= count <= acknowledged + 2 or count == len(documents)
            assert count % 2 == 0 or count == len(documents)
            expected = clean_documents(documents[:count])
            assert rows([one for name, _ in documents[:count] if (one := index.get(name))]) == rows(
                expected
            )
        done = count


def test_of_two_processes_one_is_first(tmp_path: Path) -> None:
    path = tmp_path / "index"
    Index.open(path).close()
    count = len(make_corpus(5))
    processes = [adder(path, 0, count, 1) for _ in range(2)]
    outputs = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    # The second to come with a document gets the answer of the first.
    assert outputs[0] == outputs[1]
    with Index.open(path, create=False) as index:
        assert len(index) == count


def test_the_command_keeps_an_index(run: Run, tmp_path: Path) -> None:
    path, source = tmp_path / "index", tmp_path / "in.jsonl"
    lines = [{"id": "a", "text": f"{FERRY} {NOBODY}"}, {"id": "b", "text": f"{FERRY} {KEPT}"}]
    source.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert run("index", "stats", path).code == 3
    assert run("index", "create", path, "--threshold", "0.8") == (0, b"", "")
    assert run("index", "create", path).code == 3
    told = f"2 documents of {sum(len(line['text']) for line in lines)} characters: 1 duplicate"
    assert run("index", "check", path, source).out.decode().startswith(told)
    assert run("index", "add", path, source).out.decode().startswith(told)
    done = run("index", "add", path, "-", "--stdin-format", "jsonl", "--json",
               stdin=b'{"id": "c", "text": "' + FERRY.encode() + b'"}\nnot json\n')  # fmt: skip
    assert (done.code, json.loads(done.out)["duplicates"][0]["canonical"]["document"]) == (6, "a")
    assert "line 2" in done.err
    assert run("index", "get", path, "b").out.decode() == KEPT
    assert json.loads(run("index", "get", path, "b", "--json").out)["document"] == "b"
    stats = json.loads(run("index", "stats", path, "--json").out)
    assert (stats["documents"], stats["units"], stats["duplicates"]) == (3, 5, 2)
    assert run("index", "get", path, "nowhere").code == 3
    done = run("index", "remove", path, "a")
    assert done.out.decode() == (
        "removed 1 document\n  2 units lost what they repeated: 1 of them stay now\n"
    )
    assert run("index", "snapshot", path, tmp_path / "copy").code == 0
    assert run("index", "snapshot", path, tmp_path / "copy").code == 5
    assert run("index", "restore", tmp_path / "copy", tmp_path / "again").code == 0
    for command in ("compact", "reindex"):
        assert run("index", command, path).code == 0
    exported = run("index", "export", path).out
    assert [json.loads(line)["id"] for line in exported.splitlines()] == ["b", "c"]
    assert run("index", "export", tmp_path / "again").out == exported
