"""The service's collections: what is put in, found, forgotten and refused."""

import asyncio
import shutil
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from test_index import FERRY, KEPT, NOBODY, make_corpus
from test_service import JSON, PLAIN, Client, check_problem

from dedup import Options, OutputError, clean_documents
from dedup.index.index import Index
from service import schemas
from service.app import create_app
from service.settings import Settings

LINES = {"Content-Type": "application/x-ndjson"}
NEWS = "/v1/collections/news"
DOCUMENTS = f"{NEWS}/documents"


@contextmanager
def serve(settings: Settings) -> Iterator[Client]:
    """Answer inside this process."""
    app = create_app(settings)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        state = runner.run(lifespan.__aenter__())

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
        asked = httpx.AsyncClient(transport=transport, base_url="http://service")
        yield Client(runner, asked)
        runner.run(asked.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(index=str(tmp_path), document_limit_bytes=10_000, disk_reserve_bytes=0)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with serve(settings) as client:
        assert client.request("PUT", NEWS).status_code == 201
        yield client


def post(client: Client, value: object, query: str = "") -> httpx.Response:
    return client.post(DOCUMENTS + query, content=orjson.dumps(value), headers=JSON)


def post_lines(client: Client, *lines: bytes, query: str = "") -> list[dict[str, Any]]:
    answer = client.post(DOCUMENTS + query, content=b"".join(lines), headers=LINES)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(line) for line in answer.content.splitlines()]


def line(name: str, text: str) -> bytes:
    return orjson.dumps({"id": name, "text": text}) + b"\n"


def expected_rows(documents: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"status": 200, **one.to_mapping()} for one in clean_documents(documents)]


def test_a_collection_is_made_shown_listed_and_deleted(client: Client, tmp_path: Path) -> None:
    given = {"options": {"threshold": 0.8, "unit": "paragraph"}, "ttl": 3600}
    path = "/v1/collections/other_1"
    answer = client.request("PUT", path, content=orjson.dumps(given), headers=JSON)
    assert (answer.status_code, answer.headers["location"]) == (201, path)
    options = Options(threshold=0.8, unit="paragraph").to_mapping()
    described = {"name": "other_1", "options": options, "ttl": 3600}
    none = dict.fromkeys(["documents", "units", "duplicates", "chars"], 0)
    assert answer.json() == described | none
    again = client.request("PUT", path, content=orjson.dumps(given), headers=JSON)
    assert (again.status_code, again.json()) == (200, answer.json())
    assert client.get(path).json() == answer.json()
    for other in ({}, given | {"ttl": None}, {"options": {"threshold": 0.8}, "ttl": 3600}):
        refused = client.request("PUT", path, content=orjson.dumps(other), headers=JSON)
        check_problem(refused, 409, "name")
    names = [{"name": "news"}, {"name": "other_1"}]
    assert client.get("/v1/collections").json() == {"collections": names}
    assert client.request("DELETE", path).status_code == 204
    check_problem(client.request("DELETE", path), 404, "name")
    check_problem(client.get(path), 404, "name")
    assert client.get("/v1/collections").json() == {"collections": names[:1]}
    assert [one.name for one in (tmp_path / "collections").iterdir()] == ["news"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"[]", 422, "body"),
        (b"{", 400, "body"),
        (b'{"option": {}}', 422, "option"),
        (b'{"options": 1}', 422, "options"),
        (b'{"options": {"threshold": 7}}', 422, "options.threshold"),
        (b'{"options": {"keep": "last"}}', 422, "options.keep"),
        (b'{"options": {"scope": "document"}}', 422, "options.scope"),
        (b'{"ttl": 0}', 422, "ttl"),
        (b'{"ttl": true}', 422, "ttl"),
        (b'{"ttl": "1d"}', 422, "ttl"),
        (b'{"ttl": 1e300}', 422, "ttl"),
    ],
)
def test_what_no_collection_is_made_with_is_refused_with_its_place(
    client: Client, body: bytes, status: int, field: str
) -> None:
    answer = client.request("PUT", "/v1/collections/odd", content=body, headers=JSON)
    check_problem(answer, status, field)
    check_problem(client.get("/v1/collections/odd"), 404, "name")


@pytest.mark.parametrize(
    "name", ["News", "9", "_a", "a-b", "a" * 49, "%2e%2e", "a%2Fb", "..%2F..%2Fetc", "a%00", "ü"]
)
def test_what_no_collection_is_called_is_not_there(
    client: Client, name: str, tmp_path: Path
) -> None:
    for method, rest in (("PUT", ""), ("GET", ""), ("DELETE", ""), ("POST", "/documents")):
        answer = client.request(
            method, f"/v1/collections/{name}{rest}", content=b"{}", headers=JSON
        )
        assert answer.status_code == 404
    assert sorted(one.name for one in tmp_path.iterdir()) == ["collections", "jobs"]


def test_documents_get_the_rows_of_one_run_however_they_are_sent(client: Client) -> None:
    documents = make_corpus(3)
    expected = expected_rows(documents)
    third = len(documents) // 3
    found = [post(client, {"id": name, "text": text}).json() for name, text in documents[:third]]
    some = [{"id": name, "text": text, "more": 1} for name, text in documents[third : 2 * third]]
    found += post(client, some).json()
    found += post_lines(client, *(line(*one) for one in documents[2 * third :]))
    assert found == expected
    # The same once more gets the same answers.
    assert post_lines(client, *(line(*one) for one in documents)) == expected
    for row in expected:
        schemas.DocumentAnswer.model_validate_json(orjson.dumps(row))


def test_the_text_is_left_out_and_nothing_remembered_where_that_is_asked(client: Client) -> None:
    documents = [("a", FERRY), ("b", f"{FERRY} {NOBODY}")]
    expected = expected_rows(documents)
    lines = [line(*one) for one in documents]
    # Those of one request are looked at together.
    assert post_lines(client, *lines, query="?check=true") == expected
    assert client.get(NEWS).json()["documents"] == 0
    short = [{name: value for name, value in row.items() if name != "text"} for row in expected]
    assert post_lines(client, *lines, query="?text=false") == short
    assert post(client, {"id": "b", "text": documents[1][1]}, "?text=0").json() == short[1]
    assert client.get(NEWS).json()["documents"] == 2


def test_a_bad_row_does_not_cost_the_others(client: Client) -> None:
    rows = post_lines(
        client,
        line("a", FERRY),
        b"\n  \n",
        b"{\n",
        b'{"id": 1}\n',
        b'{"id": "", "text": ""}\n',
        b'{"id": "\\u0000", "text": ""}\n',
        orjson.dumps({"id": "x" * 1025, "text": ""}) + b"\n",
        orjson.dumps({"id": "long", "text": "x" * 10_000}) + b"\n",
        b'{"id": "a", "text": "\\ud800"}\n',
        b"\xff\n",
        b"[]\r\n",
        line("a", NOBODY),
        line("a", FERRY),
        orjson.dumps({"id": "b", "text": f"{FERRY} {KEPT}"}),
    )
    expected = expected_rows([("a", FERRY), ("b", f"{FERRY} {KEPT}")])
    assert [row for row in rows if row["status"] == 200] == [expected[0], *expected]
    refused = [
        (row["line"], row["status"], row["document"], row["errors"][0]["field"])
        for row in rows
        if row["status"] != 200
    ]
    assert refused == [
        (4, 400, None, "line"),
        (5, 422, None, "id"),
        (6, 422, None, "id"),
        (7, 422, None, "id"),
        (8, 422, None, "id"),
        (9, 413, None, "line"),
        (10, 400, None, "line"),
        (11, 400, None, "line"),
        (12, 422, None, "body"),
        (13, 409, "a", "id"),
    ]
    for row in rows:
        if row["status"] != 200:
            schemas.RowRefusal.model_validate(row)


def test_rows_of_an_array_have_their_own_status(client: Client) -> None:
    values = [{"id": "a", "text": FERRY}, 7, {"id": "a", "text": KEPT}, {"id": "b", "text": FERRY}]
    rows = post(client, values).json()
    assert [row["status"] for row in rows] == [200, 422, 409, 200]
    assert [row["document"] for row in rows] == ["a", None, "a", "b"]
    assert rows[3]["duplicates"][0]["canonical"]["document"] == "a"
    assert post(client, []).json() == []


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"1", 422, "body"),
        (b"{}", 422, "id"),
        (b'{"id": "a"}', 422, "text"),
        (b'{"id": "a", "text": 1}', 422, "text"),
        (b'{"id": "a", "text": "' + b"x" * 10_001 + b'"}', 413, "text"),
        (b"[" * 100_000, 400, "body"),
        (b"[" + b"1," * 20_000 + b"1]", 413, "body"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(
    client: Client, body: bytes, status: int, field: str
) -> None:
    check_problem(client.post(DOCUMENTS, content=body, headers=JSON), status, field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("check=maybe", "query.check"),
        ("text=", "query.text"),
        ("if_exists=add", "query.if_exists"),
        ("checks=true", "query.checks"),
        ("check=true&check=true", "query.check"),
    ],
)
def test_parameters_that_are_none_are_named(client: Client, query: str, field: str) -> None:
    check_problem(client.post(f"{DOCUMENTS}?{query}", content=b"{}", headers=JSON), 422, field)
    check_problem(client.get(f"{NEWS}?{query}"), 422, f"query.{query.split('=')[0]}")


def test_an_id_with_another_text_is_a_conflict_unless_told(client: Client) -> None:
    assert post(client, {"id": "a", "text": FERRY}).status_code == 200
    check_problem(post(client, {"id": "a", "text": KEPT}), 409, "id")
    kept = post(client, {"id": "a", "text": KEPT}, "?if_exists=skip")
    assert kept.json()["text"] == FERRY
    replaced = post(client, {"id": "a", "text": KEPT}, "?if_exists=replace")
    assert replaced.json()["text"] == KEPT
    assert client.get(f"{DOCUMENTS}/a").json()["text"] == KEPT


@pytest.mark.parametrize(
    "name", ["a", "a/b.txt", "a b", "ü/渡", "50%", "a?b#c", "duplicates", "\n"]
)
def test_a_document_is_shown_with_who_repeats_it_and_forgotten(client: Client, name: str) -> None:
    documents = [(name, f"{FERRY} {NOBODY}"), ("other", f"{KEPT} {FERRY}")]
    first, second = expected_rows(documents)
    for one in documents:
        post_lines(client, line(*one))
    path = f"{DOCUMENTS}/{quote(name, safe='')}"
    del first["status"], second["status"]
    assert client.get(path).json() == first
    answer = client.request("GET", path, headers={"Accept": "text/plain"})
    assert (answer.text, answer.headers["content-type"]) == (
        documents[0][1],
        "text/plain; charset=utf-8",
    )
    repeats = {"document": name, "repeats": [], "repeated_by": second["duplicates"]}
    assert client.get(f"{path}/duplicates").json() == repeats
    assert client.get(f"{path}/duplicates?limit=0").json() == repeats | {"repeated_by": []}
    turned = {"document": "other", "repeats": second["duplicates"], "repeated_by": []}
    assert client.get(f"{DOCUMENTS}/other/duplicates").json() == turned
    assert client.request("DELETE", path).status_code == 204
    for answer in (
        client.get(path),
        client.request("DELETE", path),
        client.get(f"{path}/duplicates"),
    ):
        check_problem(answer, 404, "id")
    assert client.get(f"{DOCUMENTS}/other").json()["duplicates"] == []


def test_an_id_that_is_not_encoded_rightly_is_told(client: Client) -> None:
    check_problem(client.get(f"{DOCUMENTS}/%FF"), 400, "id")
    check_problem(client.get(f"{DOCUMENTS}/a/b"), 404, None)


def test_figures_compaction_and_snapshots(client: Client, tmp_path: Path) -> None:
    documents = make_corpus(4)
    post_lines(client, *(line(*one) for one in documents))
    stats = client.get(f"{NEWS}/stats").json()
    schemas.CollectionStats.model_validate(stats)
    assert stats["documents"] == len(documents)
    answer = client.post(f"{NEWS}/snapshot")
    assert answer.status_code == 201
    name = answer.json()["snapshot"]
    with Index.open(tmp_path / "snapshots" / name, create=False) as copy:
        assert list(copy.export()) == documents
    compacted = client.post(f"{NEWS}/compact")
    assert compacted.json().items() >= {"documents": len(documents)}.items()


def test_what_was_put_in_is_there_for_the_next_service_and_the_command(
    settings: Settings, tmp_path: Path
) -> None:
    documents = make_corpus(5)
    for first in range(0, len(documents), 10):
        with serve(settings) as client:
            client.request("PUT", NEWS)
            some = documents[first : first + 10]
            rows = post_lines(client, *(line(*one) for one in some))
            assert rows == expected_rows(documents[: first + 10])[first:]
    with Index.open(tmp_path / "collections" / "news", create=False) as index:
        assert list(index.export()) == documents


def test_posts_that_come_together_are_put_in_together_in_their_order(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    add = Index.add

    def count(self: Index, documents: Any, **given: Any) -> Any:
        commits.append(len(documents))
        return add(self, documents, **given)

    monkeypatch.setattr(Index, "add", count)
    documents = make_corpus(6)
    app = create_app(settings)

    async def run() -> list[Any]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
                await client.put(NEWS)
                posts = [
                    client.post(DOCUMENTS, content=line(*one), headers=JSON) for one in documents
                ]
                return [answer.json() for answer in await asyncio.gather(*posts)]

    assert asyncio.run(run()) == expected_rows(documents)
    assert sum(commits) == len(documents)
    assert len(commits) < len(documents) / 2


def test_a_full_queue_is_answered_with_when_to_come_again(settings: Settings) -> None:
    few = Settings(**{**settings.model_dump(), "queue_requests": 3, "disk_reserve_bytes": 0})
    app = create_app(few)

    async def run() -> list[httpx.Response]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
                await client.put(NEWS)
                posts = [
                    client.post(DOCUMENTS, content=line(f"d{i}", FERRY), headers=JSON)
                    for i in range(30)
                ]
                answers = await asyncio.gather(*posts)
                good = [one.json()["document"] for one in answers if one.status_code == 200]
                for name in good:
                    assert (await client.get(f"{DOCUMENTS}/{name}")).status_code == 200
                return answers

    answers = asyncio.run(run())
    statuses = [one.status_code for one in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 3
    for one in answers:
        if one.status_code == 429:
            check_problem(one, 429, "queue")
            assert one.headers["retry-after"] == "1"


def test_lines_are_answered_while_they_come(settings: Settings) -> None:
    app = create_app(settings)

    async def run() -> list[bytes]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
                await client.put(NEWS)
            answered: asyncio.Queue[bytes] = asyncio.Queue()
            lines = iter([line("a", FERRY), line("b", FERRY), line("c", KEPT)])
            seen: list[bytes] = []

            async def receive() -> MutableMapping[str, Any]:
                if seen or not answered.empty():
                    # The next line comes when the one before it was answered.
                    seen.append(await answered.get())
                try:
                    part = next(lines)
                except StopIteration:
                    return {"type": "http.request", "body": b"", "more_body": False}
                if not seen:
                    seen.append(b"")
                return {"type": "http.request", "body": part, "more_body": True}

            async def send(message: MutableMapping[str, Any]) -> None:
                if message.get("body"):
                    await answered.put(message["body"])

            scope = {
                "type": "http",
                "method": "POST",
                "path": DOCUMENTS,
                "raw_path": DOCUMENTS.encode(),
                "query_string": b"text=false",
                "headers": [(b"content-type", b"application/x-ndjson")],
            }
            await asyncio.wait_for(app(scope, receive, send), 60)
            return [part for part in seen if part]

    rows = [orjson.loads(part) for part in asyncio.run(run())]
    assert [(row["document"], len(row["duplicates"])) for row in rows] == [
        ("a", 0),
        ("b", 1),
        ("c", 0),
    ]


def test_a_disk_without_room_takes_no_documents_and_is_well_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/readyz").json() == {"status": "ok"}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=-1))
        answer = post(client, {"id": "a", "text": FERRY})
        check_problem(answer, 503, "disk")
        assert answer.headers["retry-after"] == "1"
        check_problem(client.get("/readyz"), 503, "disk")
        assert client.get(NEWS).status_code == 200
        rows = post_lines(client, line("a", FERRY), b"[]\n", line("b", FERRY))
        assert [row["status"] for row in rows] == [503, 422, 503]
        assert [row["line"] for row in rows] == [1, 2, 3]
    assert post(client, {"id": "a", "text": FERRY}).status_code == 200


def test_an_index_that_fails_is_opened_anew(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Index, *given: Any, **named: Any) -> Any:
        raise OutputError("/secret/place", "no room: the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "add", fail)
        problem = check_problem(post(client, {"id": "a", "text": FERRY}), 503, "news")
        assert "no room: the disk is full" in problem["detail"]
        assert "secret" not in problem["detail"]
    opened = []
    real = Index.open

    def count(*given: Any, **named: Any) -> Any:
        opened.append(given[0])
        return real(*given, **named)

    monkeypatch.setattr(Index, "open", count)
    assert post(client, {"id": "a", "text": FERRY}).status_code == 200
    assert len(opened) == 1


def test_of_more_collections_than_stay_open_all_are_answered(settings: Settings) -> None:
    few = Settings(**{**settings.model_dump(), "open_collections": 2})
    with serve(few) as client:
        for _ in range(2):
            for number in range(5):
                path = f"/v1/collections/c{number}"
                client.request("PUT", path)
                body = orjson.dumps({"id": "a", "text": FERRY})
                answer = client.post(f"{path}/documents", content=body, headers=JSON)
                assert answer.json()["duplicates"] == []
        assert len(client.get("/v1/collections").json()["collections"]) == 5


def test_a_collection_that_another_process_deleted_is_not_there(
    client: Client, tmp_path: Path
) -> None:
    assert post(client, {"id": "a", "text": FERRY}).status_code == 200
    with Index.open(tmp_path / "collections" / "news") as index:
        index.delete()
    assert post(client, {"id": "b", "text": FERRY}).status_code in (404, 503)
    check_problem(post(client, {"id": "b", "text": FERRY}), 404, "name")


def test_without_an_index_there_are_no_collections() -> None:
    with serve(Settings()) as client:
        for path in ("/v1/collections", NEWS, f"{NEWS}/stats"):
            check_problem(client.get(path), 404, "name")
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/clean", content=b"a", headers=PLAIN).status_code == 200


def test_the_examples_of_the_description_are_answered_so(client: Client) -> None:
    client.request("DELETE", NEWS)
    document = client.get("/openapi.json").json()

    def ask(method: str, path: str, status: int, body: object = None, kind: str = "") -> Any:
        operation = document["paths"][path][method.lower()]
        where = path.replace("{name}", "news").replace("{id}", quote("monday/1.txt", safe=""))
        content = None if body is None else orjson.dumps(body)
        answer = client.request(method, where, content=content, headers=JSON)
        assert answer.status_code == status, answer.text
        if status == 204:
            return None
        shown = operation["responses"][str(status)]["content"]["application/json"]
        expected = shown["examples"][kind]["value"] if kind else shown["example"]
        return answer.json(), expected

    collection = "/v1/collections/{name}"
    body = document["paths"][collection]["put"]["requestBody"]["content"]["application/json"]
    for method, status in (("PUT", 201), ("PUT", 200), ("GET", 200)):
        given = body["example"] if method == "PUT" else None
        found, expected = ask(method, collection, status, given)
        assert found == expected
    found, expected = ask("GET", "/v1/collections", 200)
    assert found == expected
    documents = f"{collection}/documents"
    bodies = document["paths"][documents]["post"]["requestBody"]["content"]["application/json"]
    for kind in ("one", "array"):
        found, expected = ask("POST", documents, 200, bodies["examples"][kind]["value"], kind)
        assert found == expected
    for path in ("/{id}", "/{id}/duplicates"):
        found, expected = ask("GET", documents + path, 200)
        assert found == expected
    for method, path, status in (
        ("GET", "/stats", 200),
        ("POST", "/compact", 200),
        ("POST", "/snapshot", 201),
    ):
        found, expected = ask(method, collection + path, status)
        assert found.keys() == expected.keys()
        # Bytes are those of the disk, a snapshot is named for the time.
        same = found.keys() - {"bytes", "snapshot"}
        assert {name: found[name] for name in same} == {name: expected[name] for name in same}
    for path in ("/livez", "/readyz"):
        found, expected = ask("GET", path, 200)
        assert found == expected
    ask("DELETE", f"{documents}/{{id}}", 204)
    ask("DELETE", collection, 204)
