"""What an index survives: kills, power loss, a full disk, damage, many processes, time."""

from pathlib import Path
from random import Random

import pytest
from survivor import Call, Kill, Survivors, follow, make_calls, obey, read, tell

from dedup import clean_documents
from dedup.index.index import Index


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
