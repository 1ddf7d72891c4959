"""What an index survives: kills, power loss, a full disk, damage, many processes, time."""

import re
import shutil
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import reference
from disks import Deaf, Disk
from survivor import Call, Kill, Survivors, follow, make_calls, obey, read, tell

from dedup import DedupError, clean_documents
from dedup.index import lookups
from dedup.index.index import Index
from dedup.index.journal import FORMAT
from dedup.index.segments import Segment


@pytest.fixture
def few_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a segment every few documents, and merge every few segments."""
    monkeypatch.setattr(lookups, "_MOST_RECENT", 400)
    monkeypatch.setattr(lookups, "_SEGMENTS_A_TIER", 2)


def survive_kills(folder: Path, rounds: int, seed: int) -> None:
    """Kill a process that uses an index, again and again, and look at the index each time."""
    chooser = Random(seed)
    killed = {"begin": 0, "done": 0, "write": 0, "merge": 0}
    calls: list[Call] = []
    done = 0
    with Survivors() as survivors:
        for number in range(rounds):
            if done == len(calls):
                calls, done = make_calls(chooser.randrange(1 << 30), 60), 0
                path = folder / str(number)
                # The same calls, and nobody is killed.
                other = Index.open(folder / f"{number}-other")
            word = list(killed)[number % 4]
            count = chooser.randint(1, 8) if word == "done" else 1
            # In half of the rounds soon after, so that it falls into what has just begun.
            kill = Kill(word, count, chooser.choice([0.002, 0.03]) * chooser.random())
            task = ("work", {"path": str(path), "calls": calls[done:]})
            (ending,) = survivors.run(task, kill=kill)
            assert ending.code in (0, -9)
            if ending.code:
                killed[word] += 1
            with Index.open(path) as index:
                index.verify()
                after = ending.count("done")
                known = dict(other.export())
                for call in calls[done : done + after]:
                    obey(other, call)
                    follow(known, call)
                done += after
                assert list(other.export()) == list(known.items())
                if list(index.export()) != list(known.items()):
                    obey(other, calls[done])
                    done += 1
                found = tell(index)
                assert found == tell(other)
                if all(kind == "add" for kind, _ in calls[:done]):
                    assert found[1] == read(clean_documents(found[0]))
            if done == len(calls):
                other.close()
    assert sum(killed.values()) > rounds // 2
    assert min(killed.values()) > 0


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    survive_kills(tmp_path, 20, 1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_what_was_acknowledged_survives_five_hundred_kills(tmp_path: Path) -> None:
    survive_kills(tmp_path, 500, 2)


def run_alone(task: str, path: Path, *before: str) -> str:
    """Do a task in a process that has done nothing else, and return what it says."""
    script = str(Path(__file__).parent / "survivor.py")
    command = [*before, sys.executable, script, task, str(path)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def find_loss(
    disk: Disk, states: list[Any], number: int, folder: Path, deaf: Deaf | None = None
) -> str | None:
    """Let the power go off at some moment, and say what is not as it has to be then."""
    chooser = Random(number)
    moment = chooser.randint(1, len(disk))
    target = folder / "after"
    target.mkdir()
    disk.crash(moment, chooser, target, deaf)
    done = disk.said(moment).count(("done",))
    try:
        with Index.open(target / "new" / "index") as index:
            index.verify()
            found = tell(index)
            index.add([("more", found[0][0][1] if found[0] else "")])
    except DedupError as error:
        return f"{moment}: {error}"
    finally:
        shutil.rmtree(target)
    # What was acknowledged, and of what was under way all or nothing.
    return None if found in states[done : done + 2] else f"{moment}: lost"


@pytest.mark.usefixtures("few_recent")
def test_what_was_acknowledged_survives_power_loss_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    run_alone("record", tmp_path / "disk")
    disk, calls = Disk.read(tmp_path / "disk")
    states = []
    with Index.open(tmp_path / "other") as other:
        states.append(tell(other))
        for call in calls:
            obey(other, call)
            states.append(tell(other))
    assert disk.said(len(disk)).count(("done",)) == len(calls)
    assert [find_loss(disk, states, number, tmp_path) for number in range(200)] == [None] * 200
    # What would be found, was one thing not brought to the disk.
    for deaf in (
        lambda path: path.endswith("-wal"),
        lambda path: "/.dedup-" in path,
        lambda path: path.endswith("/segments"),
        lambda path: path.endswith("/index"),
        lambda path: path.endswith("/new"),
        lambda path: path.endswith("/disk"),
    ):
        losses = (find_loss(disk, states, number, tmp_path, deaf) for number in range(200))
        assert any(losses)


def test_all_is_made_anew_from_any_number_of_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_DOCUMENTS_AT_ONCE", 4)
    with Index.open(tmp_path / "index") as index:
        for number, call in enumerate(make_calls(7, 27)[:9]):
            obey(index, call)
            expected = tell(index)
            assert expected[2][0][2]
            index.compact()
            index.reindex()
            assert tell(index) == expected, number


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    # As root, and else as one who is root in there.
    for options in ("-m", "-rm"):
        if subprocess.run(["unshare", options, "true"], check=False).returncode == 0:
            break
    else:
        pytest.skip("no disk can be mounted here")
    said = run_alone("fill", tmp_path, "unshare", options)
    journal = "/index/journal.sqlite: no room: the disk is full"
    segment = "/index/segments/?.seg: no space left on device"
    assert re.sub(r"\w{32}", "?", said).splitlines() == [
        f"create: {journal}",
        f"add: {journal}",
        f"add: {journal}",
        f"compact: {segment}",
        f"add: {journal}",
        f"add: {journal}",
        "open: done",
        f"write_segment: {segment}",
        f"merge_segments: {segment}",
        "left: []",
    ]


def make_batches(seed: int, count: int) -> list[list[tuple[str, str]]]:
    """Make documents in the batches in which they are added."""
    calls = [call for call in make_calls(seed, 9 * count) if call[0] == "add"]
    return [[(name, text) for name, text in what] for _, what in calls[:count]]


def choose_places(file: str, size: int, count: int, seed: int) -> list[tuple[str, int, int]]:
    """Choose bits that are flipped."""
    chooser = Random(seed)
    return [(file, chooser.randrange(size), chooser.randrange(8)) for _ in range(count)]


def choose_cuts(file: str, size: int, count: int, seed: int) -> list[tuple[str, int, int]]:
    """Choose lengths to which a file is cut, some of them whole pages; and one byte more."""
    chooser = Random(seed)
    ats = [0, 1, size - 1, *(chooser.randrange(size) for _ in range(count - 4))]
    return [(file, at - at % chooser.choice([1, 4096]), -1) for at in ats] + [(file, size, -2)]


def test_damage_of_segments_is_refused_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_MOST_RECENT", 4200)
    whole = tmp_path / "whole"
    with Index.open(whole) as index:
        for batch in make_batches(4, 90):
            index.add(batch)
            # What is done beside the calls is done before the next.
            index.verify()
        names = [name for name, _ in index.export()][::10]
    files = [str(path.relative_to(whole)) for path in whole.glob("segments/*")]
    assert len(files) == 2
    places = []
    for number, file in enumerate(files):
        content = (whole / file).read_bytes()
        width, count = struct.unpack_from("<IQ", content, 12)
        (measures,) = struct.unpack_from("<Q", content, 64)
        assert count > 4096
        bounds = [0, 80, 4096, 4096 + 4096]
        for size in (8 * count, width * count, -(-10 * count // 64) * 8, 104 * measures):
            bounds.append(bounds[-1] + -(-size // 4096) * 4096)
        assert len(content) == bounds[-1] + 4096
        for first, stop in pairwise([*bounds, len(content)]):
            for _, at, bit in choose_places(file, stop - first, 25, number + first):
                places.append((file, first + at, bit))
        places += choose_cuts(file, len(content), 20, number)
    Random(1).shuffle(places)
    task = {"folder": str(tmp_path), "names": names}
    with Survivors() as survivors:
        (ending,) = survivors.run(("damage", {**task, "places": places, "mends": False}))
        shutil.rmtree(tmp_path / "damaged")
        (mended,) = survivors.run(("damage", {**task, "places": places[:20], "mends": True}))
    assert (ending.code, mended.code) == (0, 0)
    answers = [orjson.loads(line) for line in ending.lines]
    assert len(answers) == len(places) == 440
    for place, one in zip(places, answers, strict=True):
        # A search looks at the blocks that it needs, and `verify` at all.
        assert (one["verify"], one["check"] in ("right", "refused")) == ("refused", True), place
        assert "wrong" not in one.values()
    assert [orjson.loads(line)["mended"] for line in mended.lines] == ["right"] * 20


@pytest.mark.usefixtures("few_recent")
def test_damage_of_the_journal_is_refused_or_found_by_verify(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    with Index.open(whole) as index:
        for batch in make_batches(5, 6):
            index.add(batch)
        names = [name for name, _ in index.export()]
        index.remove(names[:1])
    size = (whole / "journal.sqlite").stat().st_size
    places = choose_places("journal.sqlite", size, 400, 1)
    places += choose_cuts("journal.sqlite", size, 30, 1)
    task = {"folder": str(tmp_path), "places": places, "names": names, "mends": False}
    with Survivors() as survivors:
        (ending,) = survivors.run(("damage", task))
    assert ending.code == 0
    answers = [set(orjson.loads(line).values()) for line in ending.lines]
    assert len(answers) == len(places)
    assert not any("wrong" in one for one in answers)
    assert sum(one == {"refused"} for one in answers) > len(places) // 5


@pytest.mark.usefixtures("few_recent")
def test_damage_of_the_log_takes_back_the_calls_behind_it(tmp_path: Path) -> None:
    # SQLite takes a log to end where it is damaged, as if the power had gone off then.
    batches = make_batches(6, 8)
    with Index.open(tmp_path / "index") as index:
        for batch in batches:
            index.add(batch)
            index.verify()
        shutil.copytree(tmp_path / "index", tmp_path / "whole")
    (tmp_path / "whole" / "journal.sqlite-shm").unlink()
    file = "journal.sqlite-wal"
    size = (tmp_path / "whole" / file).stat().st_size
    places = choose_places(file, size, 120, 1) + choose_cuts(file, size, 30, 1)
    task = {"folder": str(tmp_path), "places": places, "batches": batches}
    with Survivors() as survivors:
        (ending,) = survivors.run(("damage_log", task))
    assert ending.code == 0
    assert len(ending.lines) == len(places)
    found = set(ending.lines)
    assert found <= {"refused", *(f"left {count}" for count in range(9))}
    # Where the first pages are, which have the tables, and somewhere between and behind.
    assert {"refused", "left 0", "left 8"} < found


def make_groups(seed: int, count: int) -> dict[str, str]:
    """Make near copies, of which any two are duplicates, and name their group."""
    chooser = Random(seed)
    groups = {}
    for number in range(count):
        sentence = reference.make_sentence(chooser, "Latin", 30)
        for _ in range(4):
            at = chooser.randrange(20, len(sentence) - 20)
            copy = sentence[:at] + chooser.choice("aeiou") + sentence[at + 1 :]
            groups[chooser.choice([copy, copy.upper(), f"{copy}.."])] = f"group {number}"
    return groups


def race(
    folder: Path, groups: dict[str, str], sizes: list[int], *, shared: bool
) -> tuple[list[list[str]], list[str]]:
    """Let processes add all texts at once; return what each said, and the groups of the new."""
    path = folder / "index"
    tasks = []
    texts: dict[str, str] = {}
    for number, size in enumerate(sizes):
        some = list(groups)
        if not shared:
            Random(number).shuffle(some)
        owner = "" if shared else f"{number}-"
        documents = [(f"{owner}{list(groups).index(text)}", text) for text in some]
        texts |= dict(documents)
        task = {"path": str(path), "documents": documents, "size": size}
        tasks.append(("race", task))
    with Survivors() as survivors:
        endings = survivors.run(*tasks)
    assert [one.code for one in endings] == [0] * len(sizes)
    with Index.open(path, create=False) as index:
        index.verify()
        documents, found, checked = tell(index)
    assert dict(documents) == texts
    assert found == read(clean_documents(documents))
    probe = "\n\n".join(text for _, text in documents)
    assert checked == read(clean_documents([*documents, ("probe", probe)])[-1:])
    new = [
        groups[texts[name]]
        for ending in endings
        for kind, name in map(str.split, ending.lines)
        if kind == "new"
    ]
    return [one.lines for one in endings], new


def test_of_processes_that_add_the_same_documents_one_is_first(tmp_path: Path) -> None:
    groups = make_groups(1, 250)
    said, new = race(tmp_path, groups, [4, 4], shared=True)
    assert said[0] == said[1]
    assert sorted(new) == sorted([*set(groups.values())] * 2)


def test_of_near_copies_that_processes_add_at_once_one_stays(tmp_path: Path) -> None:
    groups = make_groups(2, 250)
    _, new = race(tmp_path, groups, [3, 16, 50, 125], shared=False)
    assert sorted(new) == sorted(set(groups.values()))


def test_segments_that_another_process_merges_away_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_MOST_RECENT", 1)
    monkeypatch.setattr(lookups, "_SEGMENTS_A_TIER", 100)
    calls = make_calls(8, 27)[:6]
    merged: list[int] = []

    def merge() -> None:
        if not merged:
            merged.append(len(list(tmp_path.glob("index/segments/*"))))
            one.compact()

    open_segment, merge_segments = Segment.open, vars(lookups)["merge_segments"]

    def merge_and_open(path: Path) -> Segment:
        merge()
        return open_segment(path)

    def merge_twice(*arguments: Any) -> bool:
        merge()
        return bool(merge_segments(*arguments))

    with Index.open(tmp_path / "index") as one, Index.open(tmp_path / "index") as other:
        for call in calls[:3]:
            obey(one, call)
            one.verify()
        with monkeypatch.context() as patches:
            # They are listed, and not open yet.
            patches.setattr(Segment, "open", merge_and_open)
            found = tell(other)
        assert (merged, found) == ([3], tell(one))
        for call in calls[3:]:
            obey(one, call)
            one.verify()
        assert tell(other) == tell(one)
        merged.clear()
        with monkeypatch.context() as patches:
            patches.setattr(lookups, "merge_segments", merge_twice)
            other.compact()
        assert (merged, tell(other)) == ([4], tell(one))


def test_what_is_looked_up_before_it_is_added_is_new_more_than_once(tmp_path: Path) -> None:
    # Shows that the tests above would see it: to look and then to add is not one step.
    groups = make_groups(3, 30)
    new = []
    with Index.open(tmp_path / "index") as one, Index.open(tmp_path / "index") as two:
        for number, (text, group) in enumerate(groups.items()):
            documents = [(f"{number}", text), (f"again {number}", text)]
            found = [
                index.check([document])[0]
                for index, document in zip((one, two), documents, strict=True)
            ]
            new += [group for result in found if not result.duplicates]
            for index, document in zip((one, two), documents, strict=True):
                index.add([document])
    assert set(new) == set(groups.values())
    assert len(new) == 2 * len(set(new))


FORMATS = sorted(Path(__file__).parent.glob("index_format_*"))


def make_index(folder: Path) -> None:
    """Make an index of this format and what it has to answer, to be kept.

    `python tests/test_survival.py tests/index_format_N` does it. Some documents are in a
    segment, some were added, removed and judged again since.
    """
    documents = [
        (f"d{n}", text)
        for seed in range(2)
        for n, text in enumerate(reference.make_documents(seed)[:3], 10 * seed)
    ]
    with Index.open(folder / "index", create=True) as index:
        index.add(documents[:3])
        index.compact()
        index.add(documents[3:])
        index.remove([documents[0][0]])
        index.add([(documents[1][0], documents[0][1])], if_exists="replace")
        answers = answer(index)
    (folder / "answers.jsonl").write_bytes(b"\n".join(map(orjson.dumps, answers)) + b"\n")


def answer(index: Index) -> list[Any]:
    """Return what an index says of its documents, and of one that has what they have."""
    documents = list(index.export())
    probe = " ".join(text for _, text in documents[::-1])
    found = [one for name, _ in documents if (one := index.get(name))]
    found += index.check([("probe", probe)])
    kept = ("document", "text", "duplicates")
    return [{field: one.to_mapping()[field] for field in kept} for one in found]


@pytest.mark.parametrize("kept", [None, *FORMATS], ids=lambda one: one.name if one else "now")
def test_an_index_of_every_format_is_read(tmp_path: Path, kept: Path | None) -> None:
    if kept is None:
        make_index(tmp_path / "now")
        kept = tmp_path / "now"
    lines = (kept / "answers.jsonl").read_bytes().splitlines()
    answers = [orjson.loads(line) for line in lines]
    assert len(answers) > 4
    assert all(one["duplicates"] for one in answers[-2:])
    path = shutil.copytree(kept / "index", tmp_path / "index")
    with Index.open(path, create=False) as index:
        index.verify()
        assert answer(index) == answers
        index.reindex()
        assert answer(index) == answers
        index.add([("more", "Words that were not there.")])
        assert len(index) == len(answers)


def test_there_is_an_index_of_each_format() -> None:
    numbers = {int(one.name.removeprefix("index_format_")) for one in FORMATS}
    # The first one was never released.
    assert numbers == set(range(2, FORMAT + 1))


if __name__ == "__main__":
    make_index(Path(sys.argv[1]))
