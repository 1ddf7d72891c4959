"""The service under load: what it was told it keeps, whatever ends it; and how it is measured."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import reference
from test_benchmarks import MACHINE

from benchmarks import page, plots, service, tables, workloads
from benchmarks.service import Server, serve
from benchmarks.traffic import Answer, Connection, write_lines, write_request
from dedup import Result, clean_documents
from dedup.index.index import Index

PATH = "/v1/collections/load/documents"

SPEED = {
    "connections": 16,
    "seconds": 60.0,
    "asked_s": 700.0,
    "answered_s": 650.0,
    "statuses": {"200": 39000},
    "p50_ms": 2.0,
    "p99_ms": 49.5,
    "longest_ms": 60.0,
    "own_cores": 0.1,
}
TAKEN = {
    "first_mb": 300.0,
    "last_mb": 302.0,
    "most_mb": 310.0,
    "first_own_mb": 200.0,
    "last_own_mb": 201.0,
    "most_own_mb": 205.0,
    "growth_10_min": 0.02,
    "first_files": 30,
    "last_files": 41,
    "most_files": 43,
}
LOAD = {
    "workload": "natural",
    "articles": SPEED,
    "batches": {"documents": 500, "mb": 3.0, "mb_s": 5.0, "direct_mb_s": 10.1, "times": 2.02},
    "single": SPEED,
    "together": SPEED,
    "overload": {
        **SPEED,
        **TAKEN,
        "statuses": {"200": 39000, "429": 3000, "500": 1},
        "times": 9.5,
        "health": {**SPEED, "connections": 1},
        "acknowledged": 39000,
        "lost": 1,
    },
}
SOAK = {"seconds": 1800.0, "statuses": {"200": 26, "422": 1}, "rounds": 1, **TAKEN}


class Client:
    """Puts documents in, in every way, and removes some; remembers what it was told.

    Parameters
    ----------
    told
        Called with each answer.

    Attributes
    ----------
    kept, gone
        Documents that are there, and ids of those that are not, as far as was acknowledged.
    asked
        All documents that were sent.
    unsure
        Of the request that was not answered: ids of its documents.
    """

    def __init__(self, number: int, told: Callable[[], None]) -> None:
        self.kept: dict[str, str] = {}
        self.gone: set[str] = set()
        self.asked: dict[str, str] = {}
        self.unsure: set[str] = set()
        self.statuses: list[int] = []
        self._number, self._told = number, told
        self._random = Random(number)
        self._count = 0

    async def run(self, port: int) -> None:
        """Ask until the server ends the connection."""
        with suppress(ConnectionError):
            connection = await Connection.open(port)
            while True:
                kind = self._random.choice(["one", "array", "lines", "lines", "remove"])
                await (
                    self._remove(connection) if kind == "remove" else self._put(connection, kind)
                )
                self._told()

    async def _put(self, connection: Connection, kind: str) -> None:
        count = 1 if kind == "one" else self._random.randint(2, 12)
        documents = dict(self._make() for _ in range(count))
        rows = [{"id": name, "text": text} for name, text in documents.items()]
        request = (
            write_lines(PATH, documents.items())
            if kind == "lines"
            else write_request("POST", PATH, orjson.dumps(rows if kind == "array" else rows[0]))
        )
        self.asked |= documents
        answer = await self._ask(connection, request, set(documents))
        if answer.status != 200:
            return
        told = {
            "one": lambda: [orjson.loads(answer.body)],
            "array": lambda: orjson.loads(answer.body),
            "lines": answer.rows,
        }[kind]()
        assert [row["document"] for row in told] == list(documents)
        self.kept |= {row["document"]: documents[row["document"]] for row in told}
        assert {row["status"] for row in told} == {200}

    async def _remove(self, connection: Connection) -> None:
        # None of those that others repeat, which would be judged again.
        single = [name for name in self.kept if name.endswith("alone")]
        if single:
            name = self._random.choice(single)
            answer = await self._ask(connection, write_request("DELETE", f"{PATH}/{name}"), {name})
            if answer.status == 204:
                del self.kept[name]
                self.gone.add(name)

    async def _ask(self, connection: Connection, request: bytes, names: set[str]) -> Answer:
        self.unsure = names
        answer = await connection.ask(request)
        self.unsure = set()
        self.statuses.append(answer.status)
        return answer

    def _make(self) -> tuple[str, str]:
        self._count += 1
        if self._random.random() < 0.3:
            name = f"{self._number}-{self._count}-alone"
            return name, reference.make_sentence(self._random, "Latin", 60)
        sentences = [reference.make_sentence(Random(self._random.randrange(40))) for _ in range(4)]
        return f"{self._number}-{self._count}", " ".join(sentences)


def load_and_end(
    server: Server, how: signal.Signals, answers: int, clients: int
) -> tuple[list[Client], int | None]:
    """Load a server, end it after so many answers; return what clients know, and its code."""
    left = answers

    async def run() -> tuple[list[Client], int | None]:
        enough = asyncio.Event()

        def count() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                enough.set()

        some = [Client(number, count) for number in range(clients)]
        async with asyncio.TaskGroup() as group:
            for one in some:
                group.create_task(one.run(server.port))
            await enough.wait()
            code = await asyncio.to_thread(server.stop, how)
        return some, code

    return asyncio.run(run())


def tell(results: list[Result]) -> list[dict[str, Any]]:
    return [one.to_mapping() for one in results]


def check_documents(folder: Path, clients: list[Client]) -> set[str]:
    """Hold an index against what clients know; return what none was told of, and is there."""
    with Index.open(folder / "collections" / "load", create=False) as index:
        index.verify()
        documents = list(index.export())
        found = [index.get(name) for name, _ in documents]
    assert tell([one for one in found if one]) == tell(list(clean_documents(documents)))
    there = dict(documents)
    unsure = set[str]()
    for client in clients:
        # What was on its way may have come to pass; of a removal, too.
        sure = {name: text for name, text in client.kept.items() if name not in client.unsure}
        assert sure.items() <= there.items()
        assert client.gone.isdisjoint(there)
        unsure |= client.unsure - client.kept.keys()
    asked = {name: text for client in clients for name, text in client.asked.items()}
    assert there.items() <= asked.items()
    return there.keys() - {name for client in clients for name in client.kept}


async def ask_a_stranger(sent: list[bytes], step: int) -> list[Answer]:
    """Ask a server that answers with these bytes, so many at a time, and then hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in sent:
            await reader.readuntil(b"\r\n\r\n")
            for first in range(0, len(one), step):
                writer.write(one[first : first + step])
                await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        connection = await Connection.open(server.sockets[0].getsockname()[1])
        request = write_request("GET", "/livez")
        found = [await connection.ask(request) for _ in sent]
        with pytest.raises(ConnectionError):
            await connection.ask(request)
        return found


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_an_answer_is_read_whatever_the_parts_in_which_it_comes(step: int) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    sent = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n0\r\n\r\nab",
        b"HTTP/1.1 429 No\r\n" + chunked + b"2\r\nab\r\nb\r\n0\n23456789a\r\n0\r\n\r\n",
        b"HTTP/1.1 204 None\r\nserver: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + chunked + b"0\r\n\r\n",
    ]
    expected = [(200, b"0\r\n\r\nab"), (429, b"ab0\n23456789a"), (204, b""), (200, b"")]
    assert asyncio.run(ask_a_stranger(sent, step)) == expected


@pytest.mark.parametrize("answers", [40, 250])
def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path, answers: int) -> None:
    with serve(tmp_path, "--disk-reserve-bytes", "0") as server:
        server.make_collection("load")
        clients, code = load_and_end(server, signal.SIGKILL, answers, 6)
    assert code == -signal.SIGKILL
    assert {status for one in clients for status in one.statuses} == {200, 204}
    strangers = check_documents(tmp_path, clients)
    assert strangers <= set[str]().union(*(one.unsure for one in clients))


@pytest.mark.long
@pytest.mark.parametrize("answers", range(20, 620, 30))
def test_what_was_acknowledged_is_there_after_any_kill(tmp_path: Path, answers: int) -> None:
    test_what_was_acknowledged_is_there_after_a_kill(tmp_path, answers)


def test_all_that_was_put_in_before_an_end_is_told(tmp_path: Path) -> None:
    with serve(tmp_path, "--disk-reserve-bytes", "0") as server:
        server.make_collection("load")
        clients, code = load_and_end(server, signal.SIGTERM, 250, 24)
    assert code in (0, -signal.SIGTERM)
    # Of more streams than there may be at the same time some are refused, and leave nothing.
    statuses = {status for one in clients for status in one.statuses}
    assert {200, 204} <= statuses <= {200, 204, 429}
    assert check_documents(tmp_path, clients) == set()
    # A removal that was begun was told, too: none is gone but those.
    there = {name for one in clients for name in one.kept}
    with Index.open(tmp_path / "collections" / "load", create=False) as index:
        assert {name for name, _ in index.export()} == there


def test_the_service_is_measured() -> None:
    part = service.measure_service([workloads.planted(1.0)], 0.3, 1, 0.6, 150)
    for name in ("articles", "single", "together"):
        row = part[name]
        assert row["statuses"].keys() == {"200"}
        assert row["asked_s"] == row["answered_s"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["longest_ms"]
        assert row["own_cores"] < 1
    assert part["batches"]["documents"] == 500
    assert part["batches"]["mb"] == pytest.approx(1.4, abs=0.2)
    overload = part["overload"]
    # More than it can take is refused; what was not is there, and nothing else.
    assert overload["statuses"].keys() == {"200", "429"}
    assert overload["acknowledged"] == overload["statuses"]["200"] > 64
    assert (overload["lost"], overload["unasked"]) == (0, 0)
    assert overload["health"]["statuses"].keys() == {"200"}
    assert 10 < overload["first_own_mb"] < overload["first_mb"] < 1000
    text = tables.render_tables({"machine": MACHINE, "service": part})
    assert "| answers under overload | 200 and 429 | 200, 429 | yes |\n" in text


def test_the_service_is_measured_for_long() -> None:
    part = service.measure_soak([workloads.planted(1.0)], 0.6)
    statuses = part["statuses"]
    # Of each round one request is wrong, six are right, and so are twenty lines.
    assert (statuses["422"], statuses.keys()) == (part["rounds"], {"200", "422"})
    assert statuses["200"] == part["rounds"] * (6 + 20)
    text = tables.render_tables({"machine": MACHINE, "soak": part})
    assert "all that it can be asked, in turn" in text
    drawn = plots.draw_plots({"soak": part, "service": LOAD})
    assert drawn.keys() == {"soak", "service"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_tables_say_what_the_service_promises_and_what_it_reached() -> None:
    lines = tables.render_tables({"machine": MACHINE, "service": LOAD, "soak": SOAK}).splitlines()
    for line in (
        "| `POST /v1/clean` | 16 | 700 | 650 | 2.0 | 49.5 | 60.0 | 0.10 |",
        "| `GET /livez` beside it | 1 | 700 | 650 | 2.0 | 49.5 | 60.0 | 0.10 |",
        "| sample articles a second over 16 connections | at least 600 | 650 | yes |",
        "| sample articles, 99 % answered within | 40 ms | 49.5 ms | NO |",
        "| batches of 500 documents, times what `Index.add` takes | at most 2 | 2.02 | NO |",
        "| single posts, put in durably, half within | 8 ms | 2.0 ms | yes |",
        "| single posts, 99 % within | 50 ms | 49.5 ms | yes |",
        "| answers under overload | 200 and 429 | 200, 429, 500 | NO |",
        "| health checks under overload, 99 % within | 50 ms | 49.5 ms | yes |",
        "| documents acknowledged under overload that are not there | 0 | 1 of 39,000 | NO |",
        "| memory MB | 300 | 302 | 310 |",
        "| open files | 30 | 41 | 43 |",
        "| growth of memory that is no file's, in ten minutes | at most 1% | 2.0% | NO |",
        "| open files in the end, beside those of the beginning | at most 10 | 11 | NO |",
    ):
        assert line in lines
    # In less than ten minutes nothing can be said of growth.
    assert service.list_soak_promises({**SOAK, "seconds": 20.0}) == []


def test_promises_of_the_service_are_won_or_lost() -> None:
    results = {"service": LOAD, "soak": SOAK}
    wins, losses = list(page.list_wins(results)), list(page.list_losses(results))
    assert "The service: single posts, 99 % within: 49.5 ms, promised 50 ms." in wins
    assert "The service: answers under overload: 200, 429, 500, promised 200 and 429." in losses
    assert (len(wins), len(losses)) == (4, 6)
