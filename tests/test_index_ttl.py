"""An index that forgets: what is gone after a time, and what stays."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import reference
from conftest import Run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dedup import InputError, OptionsError, Result
from dedup.index.index import Index

FERRY = "The ferry leaves at noon from the old pier."
NOBODY = "Nobody in the village remembered who had built the mill."
KEPT = "The harbour master kept a list of all the ships since the war."


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index that forgets after ten seconds."""
    with Index.open(tmp_path / "index", ttl=10) as one:
        yield one


def canonicals(results: list[Result]) -> list[list[str]]:
    """Return the documents that are repeated by each."""
    return [[row.canonical.document for row in one.duplicates] for one in results]


@pytest.mark.parametrize(
    "ttl", [0, -1, -0.5, math.nan, math.inf, 1e300, 10**400, True, False, "30", [30]]
)
def test_a_time_to_live_is_a_number_of_seconds(tmp_path: Path, ttl: Any) -> None:
    with pytest.raises(OptionsError, match=r"option ttl: .*expected a number of seconds, over 0"):
        Index.open(tmp_path / "index", ttl=ttl)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("now", [math.nan, math.inf, -1, 1e300, 1_700_000_000_000, True, "0"])
def test_a_time_is_seconds_since_1970(index: Index, now: Any) -> None:
    index.add([("a", FERRY)], now=5)
    for call in (index.add, index.check):
        with pytest.raises(OptionsError, match=r"option now: .*expected seconds since 1970"):
            call([("b", NOBODY)], now=now)
    with pytest.raises(OptionsError, match="option now"):
        index.expire(now=now)
    assert canonicals(index.check([("b", FERRY)], now=15)) == [["a"]]


def test_the_longest_time_to_live_forgets_nothing(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index", ttl=1000 * 366 * 86_400) as index:
        index.add([("a", FERRY)])
        assert index.expire() == 0
        assert canonicals(index.check([("b", FERRY)])) == [["a"]]


def test_an_index_keeps_the_time_to_live_that_it_was_made_with(tmp_path: Path) -> None:
    Index.open(tmp_path / "never").close()
    with pytest.raises(OptionsError, match=r"ttl: got 10, expected none, as .*never has it"):
        Index.open(tmp_path / "never", ttl=10)
    Index.open(tmp_path / "index", ttl=10).close()
    with pytest.raises(OptionsError, match=r"ttl: got 11, expected 10, as .*index has it"):
        Index.open(tmp_path / "index", ttl=11)
    with Index.open(tmp_path / "index", ttl=10.0) as index:
        index.add([("a", FERRY)], now=0)
    with Index.open(tmp_path / "index") as index:
        assert canonicals(index.check([("b", FERRY)], now=10)) == [["a"]]
        assert canonicals(index.check([("b", FERRY)], now=10.001)) == [[]]
    with Index.open(tmp_path / "never") as index:
        index.add([("a", FERRY)], now=0)
        assert index.expire(now=1e9) == 0
        assert canonicals(index.add([("b", FERRY)], now=1e9)) == [["a"]]


def test_the_time_of_a_call_counts_not_the_clock(index: Index) -> None:
    index.add([("a", FERRY)], now=0)
    assert canonicals(index.add([("b", FERRY)], now=10)) == [["a"]]
    assert index.expire(now=20) == 0
    assert index.expire(now=20.001) == 2
    assert len(index) == 0


def test_a_time_before_that_of_the_last_call_counts_as_that(index: Index) -> None:
    index.add([("a", FERRY)], now=100)
    index.add([("b", NOBODY)], now=3)
    assert index.expire(now=50) == 0
    assert canonicals(index.check([("c", f"{FERRY} {NOBODY}")], now=0)) == [["a", "b"]]
    # Both were seen at 100.
    assert canonicals(index.check([("c", f"{FERRY} {NOBODY}")], now=110)) == [["a", "b"]]
    assert index.expire(now=110.5) == 2
    index.add([("c", FERRY)], now=0)
    assert canonicals(index.check([("d", FERRY)], now=120.5)) == [["c"]]
    assert canonicals(index.check([("d", FERRY)], now=120.6)) == [[]]


def test_a_unit_that_is_repeated_stays_and_the_rest_of_its_document_goes(index: Index) -> None:
    index.add([("a", f"{NOBODY} {FERRY} {KEPT}")], now=0)
    index.add([("b", FERRY)], now=8)
    before = index.get("a")
    assert index.expire(now=15) == 0
    assert canonicals(index.check([("c", f"{NOBODY} {FERRY} {KEPT}")], now=15)) == [["a"]]
    # What was said of it is said still, and its text is there.
    assert index.get("a") == before
    assert dict(index.export()) == {"a": f"{NOBODY} {FERRY} {KEPT}", "b": FERRY}
    assert (index.stats()["documents"], index.stats()["units"]) == (2, 4)
    # Both were last seen at 8.
    assert index.expire(now=18) == 0
    assert index.expire(now=18.1) == 2
    assert (index.get("a"), index.get("b"), list(index.export())) == (None, None, [])
    assert canonicals(index.add([("a", FERRY), ("b", f"{FERRY} {KEPT}")], now=18.1)) == [[], ["a"]]


def test_adding_forgets_before_it_judges(index: Index) -> None:
    index.add([("a", FERRY)], now=0)
    again, other = index.add([("a", f"{FERRY} {NOBODY}"), ("b", FERRY)], now=11)
    assert (again.duplicates, [row.canonical.document for row in other.duplicates]) == ((), ["a"])
    assert len(index) == 2


@pytest.mark.parametrize("text", ["", "...", "Short."])
def test_a_document_without_units_that_are_compared_goes_too(index: Index, text: str) -> None:
    index.add([("a", text)], now=0)
    assert index.expire(now=10) == 0
    assert index.expire(now=11) == 1
    assert index.get("a") is None


def test_looking_says_what_adding_would_and_forgets_nothing(index: Index, tmp_path: Path) -> None:
    index.add([("a", f"{FERRY} {NOBODY}")], now=0)
    index.add([("b", f"{NOBODY} {KEPT}")], now=5)
    documents = [("a", f"{FERRY} {NOBODY}"), ("b", KEPT), ("c", f"{FERRY} {NOBODY} {KEPT}")]
    for now in (5, 10, 10.5, 15, 15.5, 100):
        found = index.check(documents, now=now)
        index.snapshot(tmp_path / f"{now}")
        with Index.open(tmp_path / f"{now}") as copy:
            added = copy.add(documents, if_exists="replace", now=now)
        assert [(one.text, one.duplicates) for one in found] == [
            (one.text, one.duplicates) for one in added
        ]
    assert len(index) == 2
    assert canonicals(index.check([("c", FERRY)], now=5)) == [["a"]]


def test_removing_is_not_seeing_and_needs_no_clock(index: Index) -> None:
    index.add([("a", FERRY), ("b", NOBODY)], now=0)
    index.remove(["b"])
    assert canonicals(index.add([("c", FERRY)], now=1)) == [["a"]]
    assert index.expire(now=11.5) == 2


def test_a_copy_that_stays_now_was_seen_with_those_that_repeat_it(index: Index) -> None:
    index.add([("a", FERRY)], now=0)
    index.add([("b", f"{FERRY} {NOBODY}")], now=5)
    index.add([("c", FERRY)], now=8)
    (first, second) = index.remove(["a"])
    assert (first.now, second.now and second.now.canonical.document) == (None, "b")
    assert canonicals(index.check([("d", f"{NOBODY} {FERRY}")], now=16)) == [["b"]]
    index.expire(now=16)
    assert canonicals(index.check([("d", f"{NOBODY} {FERRY}")], now=18)) == [["b"]]
    assert index.expire(now=18.1) == 2


def test_a_copy_that_was_judged_again_keeps_no_one_longer_than_itself(index: Index) -> None:
    index.add([("a", FERRY)], now=0)
    index.add([("b", FERRY)], now=5)
    index.add([("c", FERRY)], now=8)
    index.add([("d", NOBODY)], now=14)
    index.remove(["a"])
    assert canonicals(index.check([("e", FERRY)], now=18)) == [["b"]]
    assert canonicals(index.check([("e", FERRY)], now=18.1)) == [[]]


def test_a_document_that_comes_again_is_seen_again(index: Index) -> None:
    index.add([("a", f"{FERRY} {NOBODY}"), ("e", "")], now=0)
    index.add([("b", f"{FERRY} {KEPT}")], now=2)
    index.add([("b", f"{FERRY} {KEPT}"), ("e", "")], now=8)
    assert canonicals(index.check([("c", f"{FERRY} {NOBODY} {KEPT}")], now=12.5)) == [["a", "b"]]
    index.add([("a", f"{FERRY} {NOBODY}")], now=9)
    # What it repeats was seen with it.
    assert canonicals(index.check([("c", f"{FERRY} {NOBODY} {KEPT}")], now=18)) == [["a", "a", "b"]]
    assert index.expire(now=18.1) == 2
    assert [name for name, _ in index.export()] == ["a"]
    assert index.expire(now=19.1) == 1


@pytest.mark.parametrize("if_exists", ["error", "skip", "replace"])
def test_a_document_that_was_forgotten_in_part_comes_again_as_the_last(
    index: Index, if_exists: Any
) -> None:
    index.add([("a", f"{FERRY} {NOBODY}")], now=0)
    index.add([("b", f"{FERRY} {KEPT}")], now=8)
    again = [("a", f"{FERRY} {NOBODY}")]
    looked = index.check(again, now=12)
    added = index.add(again, if_exists=if_exists, now=12)
    assert looked == added
    # As if it had been removed: the next copy stays, and it repeats that.
    assert canonicals(added) == [["b"]]
    assert [name for name, _ in index.export()] == ["b", "a"]
    assert canonicals(index.check([("c", f"{FERRY} {NOBODY} {KEPT}")], now=18)) == [["b", "a", "b"]]
    assert canonicals(index.check([("c", f"{FERRY} {NOBODY} {KEPT}")], now=22)) == [["b", "a"]]


def test_of_a_document_forgotten_in_part_another_text_is_an_error_still(index: Index) -> None:
    index.add([("a", f"{FERRY} {NOBODY}")], now=0)
    index.add([("b", FERRY)], now=8)
    with pytest.raises(InputError, match="another text has this id"):
        index.add([("a", KEPT)], now=12)
    # The call that failed has forgotten nothing.
    assert canonicals(index.check([("c", NOBODY)], now=10)) == [["a"]]
    (kept,) = index.add([("a", KEPT)], if_exists="skip", now=12)
    assert kept.original == f"{FERRY} {NOBODY}"


def test_what_stands_across_units_is_seen_in_all_of_them(index: Index) -> None:
    index.add([("a", f"{FERRY} {NOBODY} {KEPT}")], now=0)
    joined = f"{FERRY[:-1]}, {NOBODY[0].lower()}{NOBODY[1:]}"
    (found,) = index.add([("b", joined)], now=8)
    (row,) = found.duplicates
    assert (row.canonical.start, row.canonical.stop) == (0, len(f"{FERRY} {NOBODY}"))
    for now, expected in ((18, ["a", "a"]), (18.1, [])):
        index.expire(now=now)
        assert canonicals(index.check([("c", f"{FERRY} {NOBODY} {KEPT}")], now=now)) == [expected]


def test_a_look_at_a_document_in_place_of_one_that_is_repeated(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index") as index:
        index.add([("a", FERRY), ("b", FERRY)])
        new = [("a", f"{FERRY} {NOBODY}")]
        looked = index.check(new)
        # Nothing of the look is there.
        before = index.get("a"), index.get("b"), len(index), index.stats()["postings"]
        assert before[0]
        assert before[0].original == FERRY
        assert canonicals(index.check([("c", f"{FERRY} {NOBODY}")])) == [["a"]]
        assert canonicals(looked) == [["b"]]
        assert looked == index.add(new, if_exists="replace")


def test_a_unit_that_was_repeated_is_forgotten_while_another_stays(index: Index) -> None:
    index.add([("a", f"{FERRY} {NOBODY}")], now=0)
    index.add([("b", FERRY)], now=8)
    index.add([("c", NOBODY)], now=9)
    assert index.expire(now=12) == 0
    for _ in range(2):
        assert canonicals(index.check([("d", f"{FERRY} {NOBODY}")], now=18.5)) == [["a"]]
        # Of the second nothing is left.
        index.expire(now=18.5)
    assert [name for name, _ in index.export()] == ["a", "c"]


def test_what_is_forgotten_gives_its_space_back(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    documents = [
        (f"d{number}", text)
        for number in range(40)
        for text in reference.make_documents(number)[:1]
    ]
    index.add(documents, now=0)
    index.add([("kept", KEPT)], now=9)
    index.compact()
    before = index.stats()
    assert before["bytes"] == sum(one.stat().st_size for one in folder.rglob("*.*"))
    assert index.expire(now=15) == 40
    index.compact()
    after = index.stats()
    assert (after["documents"], after["units"], after["ttl"]) == (1, 1, 10)
    assert after["postings"] < before["postings"] / 10
    assert after["bytes"] < before["bytes"] * 0.6
    index.verify()
    # No byte of what is forgotten is in a file.
    files = b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file())
    assert b"kept" in files
    assert b"d17" not in files


@pytest.mark.parametrize("how", ["reopen", "reindex", "compact"])
def test_what_is_forgotten_stays_so(tmp_path: Path, how: str) -> None:
    index = Index.open(tmp_path / "index", ttl=10)
    index.add([("a", f"{FERRY} {NOBODY}"), ("b", f"{KEPT} {FERRY}")], now=0)
    index.add([("c", FERRY)], now=8)
    index.expire(now=12)
    everything = [("d", f"{FERRY} {NOBODY} {KEPT}")]
    before = index.check(everything, now=12)
    assert canonicals(before) == [["a"]]
    if how == "reopen":
        index.close()
        index = Index.open(tmp_path / "index")
    else:
        getattr(index, how)()
    assert index.check(everything, now=12) == before
    index.verify()
    assert index.add(everything, now=12) == before
    index.close()


def test_another_process_sees_what_is_forgotten(index: Index, tmp_path: Path) -> None:
    with Index.open(tmp_path / "index") as other:
        index.add([("a", f"{FERRY} {NOBODY}")], now=0)
        index.add([("b", FERRY)], now=8)
        assert canonicals(other.check([("c", f"{FERRY} {NOBODY}")], now=8)) == [["a", "a"]]
        index.expire(now=12)
        # Its own time of the call is the earlier one.
        assert canonicals(other.check([("c", f"{FERRY} {NOBODY}")], now=9)) == [["a"]]


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", ttl=10)
    index.add([("a", FERRY)], now=0)
    index.close()
    index.close()
    for call in (
        index.expire,
        index.stats,
        index.compact,
        index.reindex,
        index.verify,
        index.__len__,
        lambda: index.add([("b", FERRY)]),
        lambda: index.check([("b", FERRY)]),
        lambda: index.remove(["a"]),
        lambda: index.get("a"),
        lambda: list(index.export()),
        lambda: index.snapshot(tmp_path / "copy"),
    ):
        with pytest.raises(InputError, match="index: is closed"):
            call()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["index"]


@pytest.mark.parametrize(
    ("given", "seconds", "shown"),
    [
        ("90", 90, "90s"),
        ("90s", 90, "90s"),
        ("15m", 900, "15m"),
        ("1.5h", 5400, "90m"),
        ("12 H", 43_200, "12h"),
        ("30d", 2_592_000, "30d"),
        ("2w", 1_209_600, "2w"),
        ("0.25", 0.25, "0.25s"),
    ],
)
def test_the_command_takes_durations(
    run: Run, tmp_path: Path, given: str, seconds: float, shown: str
) -> None:
    assert run("index", "create", tmp_path / "index", "--ttl", given) == (0, b"", "")
    assert run("index", "stats", tmp_path / "index").out.decode().endswith(f"ttl  {shown}\n")
    assert json.loads(run("index", "stats", tmp_path / "index", "--json").out)["ttl"] == seconds


@pytest.mark.parametrize("given", ["", "0", "0d", "-1d", "30x", "d", "1e3", "nan", "inf", "5000w4"])
def test_the_command_refuses_what_is_no_duration(run: Run, tmp_path: Path, given: str) -> None:
    code, out, err = run("index", "create", tmp_path / "index", f"--ttl={given}")
    assert (code, out) == (2, b"")
    assert f"option ttl: got {given!r}, expected a duration such as 90s, 15m, 12h" in err
    assert not (tmp_path / "index").exists()


def test_the_command_refuses_too_long_a_duration(run: Run, tmp_path: Path) -> None:
    code, _, err = run("index", "create", tmp_path / "index", "--ttl", "9999999w")
    assert (code, "over 0 and at most" in err) == (2, True)


def test_the_command_forgets(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "index"
    assert run("index", "create", path, "--ttl", "2w").code == 0
    with Index.open(path) as index:
        # Long ago, and now.
        index.add([("a", f"{FERRY} {NOBODY}"), ("b", KEPT)], now=0)
    assert run("index", "expire", path) == (0, b"forgot 2 documents\n", "")
    assert run("index", "expire", path, "--json") == (0, b'{"documents":0}\n', "")
    with Index.open(path) as index:
        index.add([("c", FERRY)])
    assert run("index", "expire", path) == (0, b"forgot 0 documents\n", "")
    assert json.loads(run("index", "export", path).out)["id"] == "c"
    assert run("index", "create", tmp_path / "never").code == 0
    assert run("index", "expire", tmp_path / "never").out == b"forgot 0 documents\n"
    assert run("index", "stats", tmp_path / "never").out.decode().endswith("ttl  never\n")
    assert json.loads(run("index", "stats", tmp_path / "never", "--json").out)["ttl"] is None
    assert run("index", "expire", tmp_path / "nowhere").code == 3


SENTENCES = tuple(
    " ".join(reference.make_words(Random(n), "Latin", 9)) + "." for n in range(40, 48)
)
TTL = 10


class Stream(RuleBasedStateMachine):
    """An index that forgets sentences that are the same or nothing alike, beside a dictionary.

    Attributes
    ----------
    last_seen
        When each sentence that is remembered came last, and the document it stays in.
    there
        Sentences of each document, and when it came last.
    """

    numbers = st.lists(st.integers(0, 7), max_size=4)
    batches = st.lists(
        st.tuples(st.integers(0, 5), numbers), max_size=3, unique_by=lambda one: one[0]
    )
    waits = st.sampled_from([-7, 0, 1, 3, 4, 10, 11])

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.index = Index.open(f"{self.folder.name}/index", ttl=TTL)
        self.now, self.latest = 1000, 0
        self.last_seen: dict[int, tuple[str, int]] = {}
        self.there: dict[str, tuple[list[int], int]] = {}
        self.next_name = 0

    def name_new(self, batch: list[tuple[int, list[int]]]) -> list[tuple[str, list[int]]]:
        """Name documents that were never there."""
        named = [(f"d{self.next_name + number}", numbers) for number, numbers in batch]
        self.next_name += 6
        return named

    def write(self, batch: list[tuple[str, list[int]]]) -> list[tuple[str, str]]:
        return [(name, "\n\n".join(SENTENCES[one] for one in numbers)) for name, numbers in batch]

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.latest = max(self.latest, self.now)

    def forget(self) -> None:
        """Forget what is older than the time to live, in the dictionary."""
        least = self.latest - TTL
        self.last_seen = {
            number: (name, at) for number, (name, at) in self.last_seen.items() if at >= least
        }
        stays = {name for name, _ in self.last_seen.values()}
        self.there = {
            name: one for name, one in self.there.items() if one[1] >= least or name in stays
        }

    def judge(self, batch: list[tuple[str, list[int]]]) -> list[list[tuple[int, str]]]:
        """Return which sentences of new documents repeat which document."""
        first = {number: name for number, (name, _) in self.last_seen.items()}
        expected: list[list[tuple[int, str]]] = []
        for name, numbers in batch:
            expected.append([])
            for number in numbers:
                if number in first:
                    expected[-1].append((number, first[number]))
                first.setdefault(number, name)
        return expected

    def read(self, results: list[Result]) -> list[list[tuple[int, str]]]:
        return [
            [
                (SENTENCES.index(one.original[row.start : row.stop]), row.canonical.document)
                for row in one.duplicates
            ]
            for one in results
        ]

    def see(self, name: str, numbers: list[int]) -> None:
        for number in numbers:
            stays, _ = self.last_seen.get(number, (name, 0))
            self.last_seen[number] = (stays, self.latest)
        self.there[name] = (numbers, self.latest)

    @rule(batch=batches, seconds=waits)
    def add(self, batch: list[tuple[int, list[int]]], seconds: int) -> None:
        self.wait(seconds)
        named = self.name_new(batch)
        looked = self.index.check(self.write(named), now=self.now)
        found = self.index.add(self.write(named), now=self.now)
        # What is judged again because of what is forgotten takes numbers of passages.
        assert self.read(looked) == self.read(found)
        assert [one.text for one in looked] == [one.text for one in found]
        self.forget()
        assert self.read(found) == self.judge(named)
        for name, numbers in named:
            self.see(name, numbers)

    @rule(seconds=waits, chosen=st.integers(0, 99))
    def add_again(self, seconds: int, chosen: int) -> None:
        self.wait(seconds)
        least = self.latest - TTL
        whole = [name for name, (_, at) in self.there.items() if at >= least]
        if not whole:
            self.expire(0)
            return
        name = whole[chosen % len(whole)]
        before = self.index.get(name)
        numbers = self.there[name][0]
        assert self.index.check(self.write([(name, numbers)]), now=self.now) == [before]
        assert self.index.add(self.write([(name, numbers)]), now=self.now) == [before]
        self.forget()
        self.see(name, numbers)

    @rule(batch=batches, seconds=waits)
    def check(self, batch: list[tuple[int, list[int]]], seconds: int) -> None:
        named = self.name_new(batch)
        at = max(self.latest, self.now + seconds)
        kept = self.latest, self.last_seen, self.there
        self.latest = at
        self.forget()
        expected = self.judge(named)
        self.latest, self.last_seen, self.there = kept
        found = self.index.check(self.write(named), now=self.now + seconds)
        assert self.read(found) == expected

    @rule(seconds=waits)
    def expire(self, seconds: int) -> None:
        self.wait(seconds)
        before = len(self.there)
        self.forget()
        gone = before - len(self.there)
        assert self.index.expire(now=self.now) == gone
        assert dict(self.index.export()) == dict(
            self.write([(name, numbers) for name, (numbers, _) in self.there.items()])
        )
        assert len(self.index) == len(self.there)

    @rule(how=st.sampled_from(["reopen", "reindex", "compact"]))
    def keep(self, how: str) -> None:
        everything = [("all", "\n\n".join(SENTENCES))]
        before = self.index.check(everything, now=self.now)
        if how == "reopen":
            self.index.close()
            self.index = Index.open(f"{self.folder.name}/index", create=False)
        elif how == "reindex":
            self.index.reindex()
        else:
            self.index.compact()
        assert self.index.check(everything, now=self.now) == before
        self.index.verify()

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()


Stream.TestCase.settings = settings(max_examples=20, stateful_step_count=15)
test_an_index_forgets_as_a_dictionary_does = Stream.TestCase
