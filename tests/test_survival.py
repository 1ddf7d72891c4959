"""What an index survives: kills, power loss, a full disk, damage, many processes, time."""

import shutil
import threading
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from disks import Deaf, Disk
from survivor import Call, Kill, Survivors, follow, make_calls, obey, read, tell

from dedup import DedupError, clean_documents
from dedup.index import lookups
from dedup.index.index import Index


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
                calls, done = make_calls(chooser.randrange(1 << 30), 90), 0
                path = folder / str(number)
                # The same calls, and nobody is killed.
                other = Index.open(folder / f"{number}-other")
            word = "begin" if done == 0 else chooser.choice(list(killed))
            count = chooser.randint(1, 25 if word == "done" else 3)
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
    assert sum(killed.values()) > rounds * 2 // 3
    assert min(killed.values()) > 0


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    survive_kills(tmp_path, 20, 1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_what_was_acknowledged_survives_five_hundred_kills(tmp_path: Path) -> None:
    survive_kills(tmp_path, 500, 2)


def record_disk(folder: Path, calls: list[Call]) -> Disk:
    """Do calls on a disk that is recorded; what is done beside them is done after each."""
    disk = Disk(folder)
    waiting: list[threading.Thread] = []

    class Later(threading.Thread):
        """What comes between is the same each time."""

        def start(self) -> None:
            waiting.append(self)

        def join(self, timeout: float | None = None) -> None:
            while waiting:
                waiting.pop().run()

    with disk.recording(), patch.object(lookups.threading, "Thread", Later):
        with Index.open(folder / "new" / "index") as index:
            disk.say("open")
            for call in calls:
                obey(index, call)
                disk.say("done")
                while waiting:
                    waiting.pop().run()
        # The WAL is gone with it, and comes again.
        with Index.open(folder / "new" / "index") as index:
            index.add([("last", calls[0][1][0][1])])
            disk.say("done")
    return disk


def find_loss(
    disk: Disk, states: list[Any], number: int, folder: Path, deaf: Deaf | None = None
) -> str | None:
    """Let the power go off at some moment, and say what is not as it has to be then."""
    chooser = Random(number)
    moment = chooser.randint(1, len(disk))
    target = folder / "after"
    target.mkdir()
    disk.crash(moment, chooser, target, deaf)
    done = max(len(disk.said(moment)) - 1, 0)
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
    calls = make_calls(3, 40)
    states = []
    with Index.open(tmp_path / "other") as other:
        states.append(tell(other))
        for call in [*calls, ("add", [("last", calls[0][1][0][1])])]:
            obey(other, call)
            states.append(tell(other))
    (tmp_path / "disk").mkdir()
    disk = record_disk(tmp_path / "disk", calls)
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
