"""Processes that use an index and are killed, and what they are to do.

Run as a script it loads all that an index needs, once; then each line on stdin tells it
what to fork, and when to kill it. A fork takes milliseconds, a process of its own 1.5 s.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import reference
from disks import Disk

from dedup import DedupError, OutputError, Result, clean_documents
from dedup.index import lookups
from dedup.index.index import Index

Document = tuple[str, str]
Call = tuple[str, list[Any]]

# What a process says, line by line; and what it is to do, given that and its arguments.
Say = Callable[[str], None]
Task = Callable[..., None]


@dataclass(frozen=True)
class Kill:
    """When a process is killed: so long after it said a line for the n-th time.

    Attributes
    ----------
    word
        What the line begins with.
    count
        Which of these lines; 0 is the start.
    seconds
    """

    word: str
    count: int
    seconds: float


@dataclass(frozen=True)
class Ending:
    """What became of a process: its code, negative for a signal, and all that it said."""

    code: int
    lines: list[str]

    def count(self, word: str) -> int:
        return sum(line.split()[0] == word for line in self.lines)


class Survivors:
    """Forks processes that do the tasks of this module."""

    def __enter__(self) -> Self:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, *tasks: tuple[str, dict[str, Any]], kill: Kill | None = None) -> list[Ending]:
        """Do tasks at once, each in a process of its own; kill the first."""
        assert self._process.stdin
        assert self._process.stdout
        when = kill and (kill.word, kill.count, kill.seconds)
        print(json.dumps([tasks, when]), file=self._process.stdin, flush=True)
        return [Ending(*one) for one in json.loads(self._process.stdout.readline())]


def make_calls(seed: int, count: int) -> list[Call]:
    """Make calls of an index; the first third of them only add."""
    chooser = Random(seed)
    known: dict[str, str] = {}
    calls: list[Call] = []
    texts = _make_texts(chooser)
    while len(calls) < count:
        kind = "add"
        if 3 * len(calls) >= count and len(known) > 5:
            kind = chooser.choice(["add", "add", "replace", "remove", "remove", "all"])
        if kind == "all":
            calls.append((chooser.choice(["compact", "reindex"]), []))
        elif kind == "remove":
            calls.append((kind, chooser.sample(list(known), chooser.randint(1, 3))))
        else:
            batch: list[Document] = []
            for _ in range(chooser.choice([1, 1, 2, 5])):
                name = f"d{len(known) + len(batch)}-{len(calls)}"
                if kind == "replace" and chooser.random() < 0.7:
                    name = chooser.choice(list(known))
                batch.append((name, next(texts)))
            calls.append((kind, list(dict(batch).items())))
        follow(known, calls[-1])
    return calls


def _make_texts(chooser: Random) -> Iterator[str]:
    """Yield texts that have sentences of those before, some of them edited."""
    # Whole sentences: of pieces of them a run over all finds more than one over the first.
    known = [reference.make_sentence(chooser) for _ in range(3)]
    while True:
        some = []
        for _ in range(chooser.randint(2, 8)):
            kind = chooser.randrange(3)
            one = chooser.choice(known)
            if kind == 0:
                one = reference.make_sentence(chooser, chooser.choice(["Latin", "Greek", "Han"]))
            elif kind == 1:
                one = reference.mutate(chooser, one)
            some.append(one)
        known = (known + some)[-60:]
        yield "".join(one + chooser.choice([" ", " ", "\n", "\n\n"]) for one in some)


def follow(known: dict[str, str], call: Call) -> None:
    """Do with a dictionary what a call does with an index."""
    kind, what = call
    if kind == "remove":
        for name in what:
            del known[name]
    elif kind in ("add", "replace"):
        # What has another text comes last.
        for name, text in what:
            if known.get(name) != text:
                known.pop(name, None)
        known.update(what)


def obey(index: Index, call: Call) -> None:
    """Do a call."""
    kind, what = call
    if kind == "remove":
        index.remove(what)
    elif kind == "compact":
        index.compact()
    elif kind == "reindex":
        index.reindex()
    else:
        documents = [(name, text) for name, text in what]
        index.add(documents, if_exists="replace" if kind == "replace" else "error")


def read(results: Sequence[Result]) -> list[Any]:
    """Return all that the map says of documents."""
    return [(one.document, one.text, one.duplicates, one.kept) for one in results]


def tell(index: Index) -> list[Any]:
    """Return all that an index says: of each document, and of one with the texts of all."""
    documents = list(index.export())
    probe = "\n\n".join(text for _, text in documents)
    found = [one for name, _ in documents if (one := index.get(name))]
    assert len(index) == len(documents)
    return [documents, read(found), read(index.check([("probe", probe)]))]


def write_often(say: Say | None = None, postings: int = 400) -> None:
    """Let segments be written every few documents, and merged every few segments."""
    vars(lookups).update(_MOST_RECENT=postings, _SEGMENTS_A_TIER=2)
    if say is not None:
        for word in ("write", "merge"):
            name = f"{word}_segment" + "s" * (word == "merge")
            setattr(lookups, name, _telling(say, word, getattr(lookups, name)))


def _telling(say: Say, word: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def tell_and_do(*arguments: Any) -> Any:
        say(word)
        return function(*arguments)

    return tell_and_do


def work(say: Say, path: str, calls: list[Call]) -> None:
    """Do calls, and say of each that it is done."""
    write_often(say)
    say("begin")
    with Index.open(path) as index:
        say("open")
        for call in calls:
            obey(index, call)
            say("done")


def race(say: Say, path: str, documents: list[Document], size: int, postings: int = 3000) -> None:
    """Add documents, and say of each whether it is new."""
    write_often(postings=postings)
    with Index.open(path) as index:
        for first in range(0, len(documents), size):
            batch = [(name, text) for name, text in documents[first : first + size]]
            for result in index.add(batch):
                say(f"{'old' if result.duplicates else 'new'} {result.document}")


def damage(
    say: Say, folder: str, places: list[tuple[str, int, int]], names: list[str], mends: bool
) -> None:
    """Damage an index at one place after the other, and say what it answers then.

    Parameters
    ----------
    folder
        The index is in its folder `whole`.
    places
        File, byte, and the bit that is flipped there; -1 cuts the file at this byte, -2
        adds one to it.
    names
        Documents that are looked at.
    mends
        Whether all is to be made anew from the journal afterwards, and looked at again.
    """
    whole, path = Path(folder) / "whole", Path(folder) / "damaged"
    shutil.copytree(whole, path)
    with Index.open(path, create=False) as index:
        probe = "\n\n".join(text for _, text in index.export())
    right = _look(path, names, probe)
    for file, at, bit in places:
        shutil.rmtree(path)
        shutil.copytree(whole, path)
        _damage(path / file, at, bit)
        said = _compare(_look(path, names, probe), right)
        if mends:
            with Index.open(path, create=False) as index:
                index.reindex()
            said["mended"] = "right" if _look(path, names, probe) == right else "wrong"
        say(json.dumps(said))


def damage_log(
    say: Say, folder: str, places: list[tuple[str, int, int]], batches: list[list[Document]]
) -> None:
    """Damage what SQLite has not yet brought into its file, and say what is left.

    Parameters
    ----------
    batches
        What was added, call by call.
    """
    whole, path = Path(folder) / "whole", Path(folder) / "damaged"
    for file, at, bit in places:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        _damage(path / file, at, bit)
        try:
            with Index.open(path, create=False) as index:
                index.verify()
                documents, found, checked = tell(index)
        except DedupError:
            say("refused")
            continue
        counts = [len(batch) for batch in batches]
        count = next(n for n in range(len(counts) + 1) if sum(counts[:n]) == len(documents))
        assert documents == [(name, text) for batch in batches[:count] for name, text in batch]
        assert found == read(clean_documents(documents))
        probe = "\n\n".join(text for _, text in documents)
        assert checked == read(clean_documents([*documents, ("probe", probe)])[-1:])
        say(f"left {count}")


def _damage(path: Path, at: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    if bit == -1:
        del content[at:]
    elif bit == -2:
        content.append(at % 256)
    else:
        content[at] ^= 1 << bit
    path.write_bytes(content)


def _look(path: Path, names: list[str], probe: str) -> dict[str, Any]:
    """Return what an index answers to each kind of question, or that it refuses."""
    questions: dict[str, Callable[[Index], Any]] = {
        "check": lambda index: read(index.check([("probe", probe)])),
        "get": lambda index: read([one for name in names if (one := index.get(name))]),
        "export": lambda index: list(index.export()),
        "verify": lambda index: index.verify(),
    }
    found: dict[str, Any] = {}
    try:
        with Index.open(path, create=False) as index:
            for name, ask in questions.items():
                found[name] = "refused"
                with suppress(DedupError):
                    found[name] = ask(index)
    except DedupError:
        # It did not open; or did not close, which changes no answer.
        return found or dict.fromkeys(questions, "refused")
    return found


def _compare(found: dict[str, Any], right: dict[str, Any]) -> dict[str, str]:
    """Say of each answer whether it is right."""
    return {
        name: "refused" if answer == "refused" else "right" if answer == right[name] else "wrong"
        for name, answer in found.items()
    }


def fill(folder: str) -> None:
    """Use an index on a disk that is full, at every moment at which it may be."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    filler = Path(folder) / "filler"

    def take(left: int = 0) -> None:
        with filler.open("wb", 0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - left)

    def refuse(what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except OutputError as error:
            print(f"{what}: {str(error).replace(folder, '')}")
        else:
            print(f"{what}: done")

    texts = _make_texts(Random(1))
    documents = [(f"d{number}", next(texts)) for number in range(400)]
    left = iter(documents)
    there: list[Document] = []

    def add(index: Index, count: int = 1) -> None:
        for _ in range(count):
            batch = list(islice(left, 2))
            index.add(batch)
            there.extend(batch)
            # What is done beside the calls is done before the next, and told by it.
            index.verify()

    def check(index: Index) -> None:
        documents, found, _ = tell(index)
        assert documents == there
        assert found == read(clean_documents(there))

    def go_on(index: Index) -> None:
        add(index, 6)
        check(index)

    path = Path(folder) / "index"
    take()
    refuse("create", lambda: Index.open(path))
    filler.unlink()
    with Index.open(path) as index:
        go_on(index)
        take(left=150_000)
        for _ in range(2):
            refuse("add", partial(add, index, 50))
            check(index)
        take()
        refuse("compact", index.compact)
        check(index)
    take()
    with Index.open(path) as index:
        check(index)
        refuse("add", partial(add, index, 50))
        filler.unlink()
        go_on(index)
    take()

    def look() -> None:
        with Index.open(path) as index:
            check(index)
            refuse("add", partial(add, index, 50))

    refuse("open", look)
    filler.unlink()
    write_often(postings=1500)
    for name in ("write_segment", "merge_segments"):
        function = getattr(lookups, name)

        def write(*arguments: Any, function: Any = function) -> Any:
            take()
            return function(*arguments)

        setattr(lookups, name, write)
        with Index.open(path) as index:
            refuse(name, partial(add, index, 50))
            check(index)
        with Index.open(path) as index:
            check(index)
            setattr(lookups, name, function)
            filler.unlink()
            go_on(index)
    print(f"left: {list(path.rglob('.dedup-*'))}")


def record(folder: str) -> None:
    """Do calls on a disk that is recorded; what is done beside them is done after each."""
    calls = make_calls(3, 40)
    # The log of SQLite goes with the index when that is closed, and comes again.
    again = ("add", [("last", calls[0][1][0][1])])
    disk = Disk(Path(folder))
    waiting: list[threading.Thread] = []

    class Later(threading.Thread):
        """Runs when it is told to, so that what comes between is the same each time."""

        def start(self) -> None:
            waiting.append(self)

        def join(self, timeout: float | None = None) -> None:
            while waiting:
                waiting.pop().run()

    write_often()
    with disk.recording(), patch.object(threading, "Thread", Later):
        for some in (calls, [again]):
            with Index.open(Path(folder) / "new" / "index") as index:
                for call in some:
                    obey(index, call)
                    disk.say("done")
                    while waiting:
                        waiting.pop().run()
    disk.keep([*calls, again])


TASKS: dict[str, Task] = {one.__name__: one for one in (work, race, damage, damage_log)}

# Those that have a process of their own, with a disk that is theirs.
ALONE: dict[str, Callable[[str], None]] = {one.__name__: one for one in (fill, record)}


def _fork(name: str, arguments: dict[str, Any]) -> tuple[int, int]:
    """Start a process; return its number and where what it says is read."""
    reads, writes = os.pipe()
    process = os.fork()
    if process:
        os.close(writes)
        return process, reads
    try:
        # At once and in one piece, from whichever thread.
        TASKS[name](lambda line: os.write(writes, f"{line}\n".encode()), **arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _run(tasks: list[tuple[str, dict[str, Any]]], kill: Kill | None) -> list[Ending]:
    processes = [_fork(*task) for task in tasks]
    said = {reads: b"" for _, reads in processes}
    with selectors.DefaultSelector() as selector:
        for _, reads in processes:
            selector.register(reads, selectors.EVENT_READ)
        when = None
        while selector.get_map():
            process, first = processes[0]
            if kill and when is None:
                words = [line.split()[0] for line in said[first].split(b"\n")[:-1]]
                if words.count(kill.word.encode()) >= kill.count:
                    when = time.monotonic() + kill.seconds
            wait = None if when is None else max(when - time.monotonic(), 0)
            for key, _ in selector.select(wait):
                if part := os.read(key.fd, 1 << 16):
                    said[key.fd] += part
                else:
                    selector.unregister(key.fd)
            if when is not None and time.monotonic() >= when and first in selector.get_map():
                os.kill(process, signal.SIGKILL)
                kill = when = None
    endings = []
    for process, reads in processes:
        os.close(reads)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        endings.append(Ending(code, said[reads].decode().splitlines()))
    return endings


def _serve() -> None:
    """Do as stdin says, until it ends."""
    # Kernels are loaded when they are called first; the forks have them all.
    with TemporaryDirectory() as folder, Index.open(folder) as index:
        for call in make_calls(0, 12):
            obey(index, call)
        index.compact()
        tell(index)
        index.verify()
    for line in sys.stdin:
        tasks, when = json.loads(line)
        endings = _run(tasks, when and Kill(*when))
        print(json.dumps([(one.code, one.lines) for one in endings]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        ALONE[sys.argv[1]](sys.argv[2])
    else:
        _serve()
