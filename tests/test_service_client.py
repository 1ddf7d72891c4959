"""The client in Python, and the command that has a service clean."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import orjson
import pytest
from conftest import Run
from test_index import FERRY, KEPT, NOBODY, make_corpus
from test_service import ROOT, Served, serving
from test_service_jobs import ROWS

import dedup
from dedup import InputError, MapError, Options, Result, clean, clean_documents
from service import client as service_client
from service.client import AsyncClient, Client, Refusal, ServiceError
from service.keys import create_key


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    return path, create_key(path, "me", False, ())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, key: tuple[Path, str]) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    flags = ("--index", folder / "index", "--disk-reserve-bytes", 0, "--keys", key[0])
    with serving(folder / "log", *flags) as served:
        yield served


@pytest.fixture
def client(served: Served, key: tuple[Path, str]) -> Iterator[Client]:
    with Client(served.url, key[1]) as client:
        yield client


def read(results: Iterator[Result | Refusal] | list[Result | Refusal]) -> list[object]:
    """Return results as they went over the wire, where scores have six digits."""
    return [one if isinstance(one, Refusal) else one.to_mapping() for one in results]


def expect(documents: list[tuple[str, str]]) -> list[object]:
    return [one.to_mapping() for one in clean_documents(documents)]


def test_what_comes_back_is_the_result_of_the_library(client: Client) -> None:
    text = f"{FERRY} {NOBODY} {FERRY} 渡轮中午从旧码头出发。"
    result = client.clean(text, Options(keep="last"), document="ü")
    expected = clean(text, Options(keep="last"), document="ü")
    assert result.to_mapping() == expected.to_mapping()
    assert result.document_record() == expected.document_record()
    assert result.original_offset(3) == expected.original_offset(3)


def test_a_result_of_another_text_is_refused() -> None:
    values = clean(f"{FERRY} {FERRY}").to_mapping()
    assert Result.from_mapping(values, f"{FERRY} {FERRY}").text == FERRY
    for original in (FERRY, f"{FERRY} {FERRY}".upper()):
        with pytest.raises(MapError, match="is the result of another text"):
            Result.from_mapping(values, original)
    for broken in ({}, values | {"kept": 1}, values | {"stats": {}}, values | {"duplicates": [1]}):
        with pytest.raises(MapError, match="not what a cleaning returns"):
            Result.from_mapping(broken, FERRY)


def test_documents_of_any_number_are_put_in_looked_at_and_forgotten(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_client, "_ROWS_AT_ONCE", 7)
    documents = make_corpus(1)
    news = client.create_collection("news", Options(unit="sentence"), ttl=86_400)
    assert client.collections() == ["news"]
    assert read(news.check(iter(documents)))[:7] == expect(documents)[:7]
    assert news.stats()["documents"] == 0
    assert read(news.add(one for one in documents)) == expect(documents)
    assert read(news.add(documents)) == expect(documents)
    name, text = documents[0]
    (refused,) = news.add([(name, text + NOBODY + KEPT)])
    assert isinstance(refused, Refusal)
    assert (refused.document, refused.status, refused.errors[0]["field"]) == (name, 409, "id")
    (kept,) = news.add([(name, text + KEPT)], if_exists="replace")
    assert isinstance(kept, Result)
    assert news.get(name)["text"] == kept.text
    repeats, repeated_by = news.duplicates(name)
    assert {row.document for row in repeats} <= {name}
    assert all(row.canonical.document == name for row in repeated_by)
    news.remove(name)
    with pytest.raises(ServiceError, match="there is no document with this id") as caught:
        news.get(name)
    assert (caught.value.status, caught.value.errors[0]["field"]) == (404, "id")
    assert news.snapshot().startswith("news-")
    assert news.compact()["documents"] == len(documents) - 1
    client.delete_collection("news")
    assert client.collections() == []


def test_the_client_of_an_event_loop_does_the_same(served: Served, key: tuple[Path, str]) -> None:
    documents = make_corpus(2)

    async def run() -> list[Result | Refusal]:
        async with AsyncClient(served.url, key[1]) as client:
            assert (await client.clean(f"{FERRY} {FERRY}")).text == FERRY
            other = await client.create_collection("other")
            found = [one async for one in other.add(documents)]
            assert [one async for one in other.check(documents)] == found
            assert (await other.stats())["documents"] == len(documents)
            assert (await other.get(documents[0][0]))["document"] == documents[0][0]
            assert len(await other.duplicates(documents[0][0])) == 2
            await other.remove(documents[0][0])
            await other.compact()
            await other.snapshot()
            assert await client.collections() == ["other"]
            await client.delete_collection("other")
            job = await client.submit(ROWS, "application/x-ndjson")
            assert (await client.wait(job.id)).state == "done"
            assert len((await client.download(job.id)).splitlines()) == 2
            await client.cancel(job.id)
            return found

    assert read(asyncio.run(run())) == expect(documents)


def test_a_job_is_submitted_waited_for_and_downloaded(client: Client, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    job = client.submit(tmp_path / "rows.jsonl", Options(threshold=0.8, numbers=False))
    stages = []
    job = client.wait(job.id, lambda now: stages.append(now.state))
    assert (job.state, job.values["options"]["numbers"]) == ("done", False)
    assert set(stages) <= {"queued", "running"}
    client.download(job.id, tmp_path / "cleaned.jsonl")
    client.download(job.id, tmp_path / "map.jsonl", what="map")
    rows = [orjson.loads(row) for row in (tmp_path / "cleaned.jsonl").read_bytes().splitlines()]
    assert [row["text"] for row in rows] == [FERRY, KEPT]
    assert b'"kind":"exact"' in (tmp_path / "map.jsonl").read_bytes()
    client.cancel(job.id)
    with pytest.raises(ServiceError, match="404"):
        client.download(job.id, tmp_path / "more")
    assert not (tmp_path / "more").exists()
    with pytest.raises(InputError, match=r"a job is a \.zip"):
        client.submit(tmp_path / "rows.pdf")
    with pytest.raises(InputError, match="no such file"):
        client.submit(tmp_path / "none.zip")
    with pytest.raises(ServiceError, match="is no zip archive"):
        client.submit(b"PK", kind="application/zip")


Answers = Callable[[httpx.Request], httpx.Response]


def answered(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[str]]:
    """Answer requests in turn, and list them."""
    asked: list[str] = []
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.raw_path.decode()}")
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(answer), asked


CLEANED = httpx.Response(200, content=clean(FERRY).to_json())


def test_who_is_told_to_come_again_does_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("service.client.time.sleep", waits.append)
    monkeypatch.setattr("service.client.random.uniform", lambda low, high: high)
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    transport, asked = answered(
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(503, headers={"Retry-After": then}),
        httpx.Response(503, headers={"Retry-After": "soon"}),
        httpx.ConnectError("refused"),
        httpx.ReadError("lost"),
        CLEANED,
    )
    with Client("http://there", transport=transport) as client:
        assert client.clean(FERRY).text == FERRY
    assert asked == ["POST /v1/clean"] * 6
    assert waits[0] == 7.1
    assert 25 < waits[1] <= 30.1
    # Twice as long each time, where nothing is told.
    assert waits[2:] == [0.8, 1.6, 3.2]


def test_what_may_have_been_done_is_not_done_twice() -> None:
    transport, asked = answered(httpx.ReadError("lost"), CLEANED)
    with (
        Client("http://there", transport=transport) as client,
        pytest.raises(ServiceError, match="no answer from http://there: lost"),
    ):
        client.submit(b"PK", kind="application/zip")
    assert asked == ["POST /v1/jobs"]


def test_who_is_never_served_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.time.sleep", lambda _: None)
    transport, asked = answered(*[httpx.Response(429)] * 4)
    with (
        Client("http://there", transport=transport, retries=3) as client,
        pytest.raises(ServiceError, match="it answers 429"),
    ):
        client.clean(FERRY)
    assert len(asked) == 4
    # It would be waited for longer than it may take in all.
    transport, asked = answered(httpx.Response(429, headers={"Retry-After": "9999999"}))
    with (
        Client("http://there", transport=transport) as client,
        pytest.raises(ServiceError, match="it answers 429"),
    ):
        client.clean(FERRY)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(404, html="<html>"),
        httpx.Response(302, headers={"Location": "/"}),
        httpx.Response(200, content=clean(KEPT).to_json()),
        httpx.Response(400, content=b"{", headers={"Content-Type": "application/problem+json"}),
    ],
)
def test_answers_that_are_not_ours_are_told_so(answer: httpx.Response) -> None:
    transport, _ = answered(answer)
    with (
        Client("http://there", transport=transport) as client,
        pytest.raises(ServiceError, match=r"no answer of this|no such service|another text"),
    ):
        client.clean(FERRY)


@pytest.mark.parametrize("url", ["there", "ftp://there", "http://[", "http://a:b"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises((InputError, ServiceError)):
        Client(url, retries=0).collections()


# The command


def test_the_command_prints_what_it_prints_without_a_service(
    run: Run, served: Served, key: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEDUP_KEY", key[1])
    (sample,) = sorted((ROOT / "seeds").glob("*.txt"))[:1]
    for flags in ((), ("--json",), ("--diff",), ("--dry-run",), ("--keep", "last", "--quiet")):
        here = run("clean", sample, *flags)
        there = run("clean", sample, *flags, "--server", served.url)
        assert (there.code, there.out, there.err) == (here.code, here.out, here.err)
    maps: list[bytes] = []
    for more in ((), ("--server", served.url)):
        path = tmp_path / f"map{len(maps)}"
        assert run("clean", "-", "--map", path, *more, stdin=f"{FERRY} {FERRY}".encode()).code == 0
        maps.append(path.read_bytes())
    assert maps[0] == maps[1]


def test_the_command_has_a_folder_cleaned_as_it_would_do(
    run: Run, served: Served, key: tuple[Path, str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(key[1] + "\n")
    for name, text in {
        "in/a.txt": f"{FERRY} {NOBODY}",
        "in/b/c.md": f"{KEPT} {FERRY}",
        "in/b/rows.jsonl": ROWS.decode() + "not JSON\n",
        "in/d.bin": "\0",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    here = run("clean", tmp_path / "in", "--out", tmp_path / "here", "--exclude", "a.*")
    flags = ("--server", served.url, "--key-file", tmp_path / "key", "--exclude", "a.*")
    there = run("clean", tmp_path / "in", "--out", tmp_path / "there", *flags)
    assert (there.code, here.code) == (6, 6)
    assert there.err.replace("there/", "here/") == here.err
    trees = []
    for name in ("here", "there"):
        folder = tmp_path / name
        files = {one.relative_to(folder): one for one in folder.rglob("*") if one.is_file()}
        trees.append(
            {
                str(path): one.read_bytes()
                for path, one in files.items()
                if one.name not in ("manifest.json", "summary.json")
            }
        )
    assert trees[0] == trees[1]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["here", "in", "key", "there"]
    # A folder that holds something is left as it is.
    again = run("clean", tmp_path / "in", "--out", tmp_path / "there", *flags)
    assert (again.code, "is not empty" in again.err) == (5, True)


@pytest.mark.parametrize(
    "flags",
    [
        ("--min-run", 2),
        ("--annotate",),
        ("--threads", 2),
        ("--keep", "newest"),
        ("--resume",),
        ("--against", "x"),
    ],
)
def test_what_a_service_cannot_do_is_refused(run: Run, flags: tuple[object, ...]) -> None:
    answer = run("clean", "x", "--out", "y", "--server", "http://there", *flags)
    assert answer.code == 2
    assert "not with --server" in answer.err


def test_a_service_that_is_not_there_is_a_line(run: Run, served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(FERRY)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("service.client.time.sleep", lambda _: None)
    for url, words in (
        ("http://127.0.0.1:9", "no answer from http://127.0.0.1:9"),
        (served.url, "it answers 401: Authorization: expected Bearer and a key"),
        ("nowhere", "an address begins with http"),
    ):
        answer = run("clean", tmp_path / "a.txt", "--server", url)
        assert answer.code in (3, 5)
        assert words in answer.err
        assert answer.err.count("\n") == 1
    monkey.undo()


def test_the_version_is_that_of_the_library(client: Client) -> None:
    answer = httpx.get(f"{client._url}/openapi.json")
    assert answer.json()["info"]["version"] == dedup.__version__


def test_nothing_is_sent_before_an_answer_is_asked_for() -> None:
    transport, asked = answered()

    async def run() -> AsyncIterator[Result | Refusal]:
        return AsyncClient("http://there").collection("a").add([("a", FERRY)])

    with Client("http://there", transport=transport) as client:
        client.collection("a").add([("a", FERRY)])
    asyncio.run(run())
    assert asked == []
