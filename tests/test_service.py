"""The service: what each request gets, down to the last header that matters."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import dedup.errors
from benchmarks.processes import own_bytes
from dedup import Options, clean
from dedup.documents import FileError
from dedup.errors import DedupError
from service import app as service_app
from service import schemas, workers
from service.app import create_app, write_pieces
from service.problems import STATUSES, find_fault, find_status
from service.requests import choose_answer_type
from service.settings import Settings
from service.workers import Workers

ROOT = Path(__file__).parent.parent
JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "text/plain"}
LIMIT = 1 << 20

FERRY = "The ferry leaves at noon from the old pier. Nobody knew it then. "
TWICE = FERRY + "The ferry leaves at noon, from the old pier."
ONCE = FERRY.rstrip()


class Client:
    """Asks an application inside this process, one request after the other."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **given))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    app = create_app(Settings(body_limit_bytes=LIMIT, large_body_bytes=LIMIT // 4))
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


def post(client: Client, value: object, **headers: str) -> httpx.Response:
    return client.post("/v1/clean", content=orjson.dumps(value), headers=JSON | headers)


def check_problem(answer: httpx.Response, status: int, field: str | None) -> dict[str, Any]:
    """Hold an answer against the form of RFC 9457, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = orjson.loads(answer.content)
    schemas.Problem.model_validate(problem)
    assert problem["status"] == status
    assert problem["detail"]
    assert len(answer.content) < 8000
    assert [fault["field"] for fault in problem["errors"]][:1] == ([] if field is None else [field])
    assert "Traceback" not in answer.text
    return problem


def test_the_answer_is_that_of_the_library(client: Client) -> None:
    answer = post(client, {"text": TWICE, "options": {"keep": "last"}, "document": "pier"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    expected = clean(TWICE, Options(keep="last"), document="pier").to_mapping()
    assert orjson.loads(answer.content) == expected
    assert len(expected["duplicates"]) == 1


def test_document_and_options_may_be_left_out(client: Client) -> None:
    assert post(client, {"text": TWICE}).json() == clean(TWICE).to_mapping()


@pytest.mark.parametrize(
    "text", ["", " ", "\0", "\n\n", "\ufeff", "a" * 100_000, "\U0010ffff\u202e"]
)
def test_odd_texts_come_back_as_they_are(client: Client, text: str) -> None:
    answer = post(client, {"text": text})
    assert answer.status_code == 200
    assert answer.json()["text"] == text
    answer = client.post(
        "/v1/clean", content=text.encode(), headers=PLAIN | {"Accept": "text/plain"}
    )
    assert (answer.status_code, answer.content) == (200, text.encode())


def test_the_last_of_equal_keys_counts(client: Client) -> None:
    answer = client.post("/v1/clean", content=b'{"text":1,"text":"last"}', headers=JSON)
    assert answer.json()["text"] == "last"


def test_plain_text_goes_in_with_options_as_parameters(client: Client) -> None:
    parameters = {
        "threshold": "1",
        "keep": "last",
        "numbers": "FALSE",
        "min_chars": "5",
        "document": "pier ü",
    }
    answer = client.post("/v1/clean", params=parameters, content=TWICE.encode(), headers=PLAIN)
    options = Options(threshold=1, keep="last", numbers=False, min_chars=5)
    assert answer.json() == clean(TWICE, options, document="pier ü").to_mapping()


def test_options_of_the_body_win_over_parameters(client: Client) -> None:
    answer = client.post(
        "/v1/clean?keep=first&min_chars=5&document=query",
        content=orjson.dumps({"text": TWICE, "options": {"keep": "last"}, "document": "body"}),
        headers=JSON,
    )
    options = Options(keep="last", min_chars=5)
    assert answer.json() == clean(TWICE, options, document="body").to_mapping()


def test_plain_text_comes_out_alone(client: Client) -> None:
    answer = post(client, {"text": TWICE}, Accept="text/plain")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.content == ONCE.encode()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/plain"),
        ("TEXT/plain; charset=utf-8", "text/plain"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=0.5, text/plain", "text/plain"),
        ("text/plain;q=0.5, application/json;q=0.4, */*;q=0.9", "text/plain"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("application/json;q=0, */*", "text/plain"),
    ],
)
def test_the_accept_header_is_honoured(accept: str, chosen: str) -> None:
    assert choose_answer_type(accept) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "garbage", ",;,", "*/*;q=0", "text/plain;q=nan", "application/json;q=2"]
)
def test_what_cannot_be_accepted_is_406(client: Client, accept: str) -> None:
    check_problem(post(client, {"text": ""}, Accept=accept), 406, "Accept")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf-8"),
        ('"UTF8"', "utf-8"),
        ("windows-1251", "cp1251"),
        ("KOI8-R", "koi8-r"),
        ("utf-16le", "utf-16-le"),
        ("gb18030", "gb18030"),
        ("Shift_JIS", "shift_jis"),
    ],
)
def test_the_charset_of_plain_text_is_honoured(client: Client, label: str, codec: str) -> None:
    text = "渡轮中午出发。" if codec.startswith(("gb", "shift")) else "Паром уходит в полдень."
    text = text.replace("轮", "船").replace("发", "航") if codec == "shift_jis" else text
    headers = {"Content-Type": f"text/plain; charset={label}"}
    answer = client.post("/v1/clean", content=text.encode(codec), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == text


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({}, "Content-Type"),
        ({"Content-Type": ""}, "Content-Type"),
        ({"Content-Type": ";"}, "Content-Type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"Content-Type": "application/jsonp"}, "Content-Type"),
        ({"Content-Type": "application/json; charset=utf-16"}, "Content-Type"),
        ({"Content-Type": "text/plain; charset=rot13"}, "Content-Type"),
        ({"Content-Type": "text/plain; charset=unicode_escape"}, "Content-Type"),
        ({"Content-Type": "text/plain; charset=idna"}, "Content-Type"),
        ({"Content-Type": "text/plain; charset="}, "Content-Type"),
        ({"Content-Type": "text/plain; charset=" + "x" * 5000}, "Content-Type"),
        ({"Content-Type": "text/plain", "Content-Encoding": "gzip"}, "Content-Encoding"),
    ],
)
def test_a_body_that_cannot_be_read_is_415(
    client: Client, headers: dict[str, str], field: str
) -> None:
    check_problem(client.post("/v1/clean", content=b"{}", headers=headers), 415, field)


HOSTILE_BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "it is empty"),
    "white space": (b" \n", 400, "byte 0"),
    "cut short": (b'{"text": "a', 400, "line 1, column 12 (byte 11)"),
    "place in bytes": ('{"ключ": "ü", x}'.encode(), 400, "column 15 (byte 19)"),
    "second line": (b'{"text": "a",\n "b"}', 400, "line 2"),
    "lone surrogate": (b'{"text": "\\ud800"}', 400, "surrogate"),
    "lone low surrogate": (b'{"text": "\\udc00"}', 400, "surrogate"),
    "surrogate in UTF-8": (b'{"text": "\xed\xa0\x80"}', 400, "at byte 10"),
    "bad UTF-8": (b'{"text": "\xff"}', 400, "not UTF-8: invalid start byte at byte 10"),
    "byte order mark": (b'\xef\xbb\xbf{"text": "a"}', 400, "byte order mark"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), 400, "not UTF-8"),
    "NUL": (b"\0", 400, "byte 0"),
    "NUL behind": (b'{"text": "a"}\0', 400, "byte 13"),
    "line break in a string": (b'{"text": "a\nb"}', 400, "control character"),
    "NaN": (b'{"text": "a", "options": {"threshold": NaN}}', 400, "byte 39"),
    "infinite": (b'{"text": "a", "options": {"threshold": 1e999}}', 400, "infinity"),
    "two values": (b"{}{}", 400, "byte 2"),
    "brackets": (b"[" * 500_000, 400, "at line 1, column"),
    "nested objects": (b'{"text":' * 100_000, 400, "at line 1, column"),
    "closed brackets": (b"[" * 2000 + b"]" * 2000, 400, "at line 1, column"),
    "an array": (b"[]", 422, "body: got an array"),
    "null": (b"null", 422, "body: got null"),
    "a number": (b"1" * 300, 422, "body: got a number"),
    "a string": (b'"text"', 422, "body: got a string"),
    "no text": (b"{}", 422, "text: missing"),
    "null text": (b'{"text": null}', 422, "text: got null"),
    "true text": (b'{"text": true}', 422, "text: got true"),
    "texts": (b'{"text": ["a"]}', 422, "text: got an array"),
    "unknown field": (b'{"text": "a", "txt": 1}', 422, "txt: unknown field"),
    "empty field": (b'{"text": "a", "": 1}', 422, "unknown field"),
    "huge field": (b'{"text": "a", "' + b"x" * 900_000 + b'": 1}', 422, "xxx..."),
    "many fields": (
        orjson.dumps({"text": "a"} | {f"field{i}": i for i in range(50_000)}),
        422,
        "; and 49980 more",
    ),
    "null options": (b'{"text": "a", "options": null}', 422, "options: got null"),
    "list of options": (b'{"text": "a", "options": []}', 422, "options: got an array"),
    "unknown option": (b'{"text": "a", "options": {"n": 1}}', 422, "options.n: got 1"),
    "unknown option, odd name": (b'{"text": "a", "options": {"\\u0000": 1}}', 422, "one of"),
    "deep option": (
        b'{"text": "a", "options": {"unit": ' + b"[" * 900 + b"]" * 900 + b"}}",
        422,
        "options.unit: got an array",
    ),
    "huge option": (
        b'{"text": "a", "options": {"unit": "' + b"x" * 900_000 + b'"}}',
        422,
        "options.unit: got",
    ),
    "huge number": (
        b'{"text": "a", "options": {"min_chars": ' + b"9" * 300 + b"}}",
        422,
        "options.min_chars: got 1e",
    ),
    "fraction": (
        b'{"text": "a", "options": {"min_chars": 5.5}}',
        422,
        "options.min_chars: got 5.5, expected a whole number from 1 to 1000000",
    ),
    "true for a number": (
        b'{"text": "a", "options": {"threshold": true}}',
        422,
        "options.threshold: got true",
    ),
    "a word for a truth value": (
        b'{"text": "a", "options": {"numbers": "yes"}}',
        422,
        'options.numbers: got "yes", expected true or false',
    ),
    "options that do not go together": (
        b'{"text": "a", "options": {"threshold": 0.7, "num_perm": 2}}',
        422,
        "options.num_perm: got 2, expected at least",
    ),
    "no id": (b'{"text": "a", "document": ""}', 422, "document: got 0 of them"),
    "null id": (b'{"text": "a", "document": null}', 422, "document: got null"),
    "long id": (b'{"text": "a", "document": "' + b"x" * 10_000 + b'"}', 422, "1 to 256"),
}


@pytest.mark.parametrize("name", HOSTILE_BODIES)
def test_hostile_bodies_are_refused_with_cause_and_place(client: Client, name: str) -> None:
    body, status, words = HOSTILE_BODIES[name]
    answer = client.post("/v1/clean", content=body, headers=JSON)
    field = orjson.loads(answer.content)["errors"][0]["field"]
    assert words in check_problem(answer, status, field)["detail"]


@pytest.mark.parametrize(
    ("body", "charset", "words"),
    [
        (b"good \xff", "utf-8", "not UTF-8: invalid start byte at byte 5"),
        (b"\xed\xa0\x80", "utf-8", "at byte 0"),
        (b"\xc3", "utf-8", "unexpected end of data at byte 0"),
        (b"a\x00\x00\xd8b\x00", "utf-16-le", "not UTF-16-LE"),
        (b"\xff", "us-ascii", "not ASCII"),
        (b"\x98", "windows-1251", "not CP1251"),
    ],
)
def test_plain_text_that_is_none_is_refused_with_its_byte(
    client: Client, body: bytes, charset: str, words: str
) -> None:
    headers = {"Content-Type": f"text/plain; charset={charset}"}
    answer = client.post("/v1/clean", content=body, headers=headers)
    assert words in check_problem(answer, 400, "body")["detail"]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("threshold=high", 422, "query.threshold"),
        ("threshold=nan", 422, "query.threshold"),
        ("threshold=1.2.3", 422, "query.threshold"),
        ("threshold=", 422, "query.threshold"),
        ("min_chars=1_0", 422, "query.min_chars"),
        ("min_chars=٣", 422, "query.min_chars"),
        ("min_chars=" + "9" * 5000, 422, "query.min_chars"),
        ("numbers=maybe", 422, "query.numbers"),
        ("unit=word", 422, "query.unit"),
        ("treshold=0.7", 422, "query.treshold"),
        ("keep=last&keep=last", 422, "query.keep"),
        ("document=", 422, "query.document"),
        ("document=" + "x" * 300, 422, "query.document"),
        ("num_perm=2", 422, "query.num_perm"),
        ("document=%FF", 400, "query"),
        ("&".join(f"a{i}=1" for i in range(200)), 400, "query"),
    ],
)
def test_bad_parameters_are_named(client: Client, query: str, status: int, field: str) -> None:
    answer = client.post(f"/v1/clean?{query}", content=b"a", headers=PLAIN)
    check_problem(answer, status, field)


def test_all_faults_of_a_request_are_named_at_once(client: Client) -> None:
    answer = post(client, {"txt": "a", "options": {"threshold": 7, "unit": "word", "keep": "all"}})
    problem = check_problem(answer, 422, "txt")
    assert problem["type"] == "urn:dedup:problem:invalid-value"
    assert [fault["field"] for fault in problem["errors"]] == [
        "txt",
        "text",
        "options.threshold",
        "options.unit",
        "options.keep",
    ]
    assert problem["errors"][2]["reason"] == "got 7, expected a number over 0 and up to 1"


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(client: Client) -> None:
    frame = len(b'{"text":""}')
    assert post(client, {"text": "a" * (LIMIT - frame)}).status_code == 200
    answer = post(client, {"text": "a" * (LIMIT - frame + 1)})
    problem = check_problem(answer, 413, "body")
    assert problem["title"] == "Content Too Large"
    assert str(LIMIT) in problem["detail"]


def test_a_body_of_unknown_length_is_counted_as_it_comes(client: Client) -> None:
    async def send() -> AsyncIterator[bytes]:
        yield b'{"text":"'
        for _ in range(5):
            yield b"a" * (LIMIT // 4)

    check_problem(client.post("/v1/clean", content=send(), headers=JSON), 413, "body")


def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    sent = asyncio.run(ask({"content-length": "9" * 30, "content-type": "application/json"}))
    assert sent[0]["status"] == 413


async def ask(headers: dict[str, str]) -> list[Any]:
    """Post by the bare protocol; the body never comes."""
    app = create_app()
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/clean",
        "raw_path": b"/v1/clean",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/", 404, None),
        ("POST", "/v1/clean/", 404, None),
        ("GET", "/" + "x" * 10_000, 404, None),
        ("GET", "/v1/clean", 405, "POST"),
        ("POST", "/livez", 405, "GET, HEAD"),
        ("BREW", "/v1/clean", 405, "POST"),
    ],
)
def test_paths_and_methods_that_do_not_exist_are_answered_in_the_same_form(
    client: Client, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = client.request(method, path)
    assert check_problem(answer, status, None)["type"] == "about:blank"
    assert answer.headers.get("allow") == allowed


def test_a_failure_is_answered_without_its_cause(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(service_app, "clean", fail)
    answer = post(client, {"text": "a"})
    problem = check_problem(answer, 500, None)
    assert "secret" not in answer.text
    assert problem["instance"] in caplog.text


def all_errors(kind: type[DedupError]) -> Iterator[type[DedupError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("dedup."):
            yield from all_errors(child)


def test_every_error_of_the_library_has_a_status() -> None:
    assert set(STATUSES) == set(all_errors(DedupError))


EXAMPLES = [
    dedup.errors.OptionsError("threshold", 7, "less"),
    dedup.errors.InputError("text", "wrong"),
    dedup.errors.TextError("text", "lone surrogate U+D800", 3),
    dedup.errors.EncodingError("text", "no encoding fits", 3),
    dedup.errors.MapError("map", "cut short", 2),
    dedup.errors.OutputError("place", "full"),
    DedupError("anything else"),
    FileError("a.gz", "cut short", byte=7),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_of_the_library_are_answered_with_their_status(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: DedupError
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(service_app, "clean", fail)
    status = find_status(error)
    assert status == STATUSES[type(error)]
    expected = None if status == 500 else find_fault(error).field
    check_problem(post(client, {"text": "a"}), status, expected)


def test_the_examples_walk_the_whole_tree() -> None:
    assert {type(error) for error in EXAMPLES} == set(all_errors(DedupError))


def test_an_error_without_a_status_has_that_of_its_parent() -> None:
    class Unheard(dedup.errors.TextError):
        pass

    assert find_status(Unheard("text", "odd", 0)) == STATUSES[dedup.errors.TextError]


def test_the_documented_example_gets_the_documented_answer(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operation = document["paths"]["/v1/clean"]["post"]
    bodies = operation["requestBody"]["content"]
    answers = operation["responses"]["200"]["content"]
    answer = post(client, bodies["application/json"]["example"])
    assert answer.json() == answers["application/json"]["example"]
    answer = client.post(
        "/v1/clean",
        content=bodies["text/plain"]["example"],
        headers=PLAIN | {"Accept": PLAIN["Content-Type"]},
    )
    assert answer.text == answers["text/plain"]["example"]
    answer = client.get("/livez")
    content = document["paths"]["/livez"]["get"]["responses"]["200"]["content"]
    assert answer.json() == content["application/json"]["example"]


def test_the_documented_problem_is_answered(client: Client) -> None:
    problem = check_problem(post(client, schemas.PROBLEM_REQUEST), 422, "options.threshold")
    document = client.get("/openapi.json").json()
    answers = document["paths"]["/v1/clean"]["post"]["responses"]
    for status in ("400", "406", "413", "415", "422", "default"):
        example = answers[status]["content"]["application/problem+json"]["example"]
        assert problem | {"instance": example["instance"]} == example


def test_every_reference_of_the_description_resolves(client: Client) -> None:
    text = client.get("/openapi.json").text
    names = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert names <= set(json.loads(text)["components"]["schemas"])
    assert {"CleanRequest", "CleanAnswer", "Problem", "Liveness"} <= names


def test_answers_fit_their_schema(client: Client) -> None:
    answer = post(client, {"text": TWICE * 3})
    assert schemas.CleanAnswer.model_validate_json(answer.content).stats.duplicates == 5


def test_the_schema_of_options_is_that_of_the_library() -> None:
    properties = schemas.CleanOptions.model_json_schema()["properties"]
    defaults = Options().to_mapping()
    assert {name: schema["default"] for name, schema in properties.items()} == defaults
    for name, schema in properties.items():
        for value in schema.get("enum", [True, False] if schema["type"] == "boolean" else []):
            Options.from_mapping({name: value})
        # The lowest thresholds need more slots; the fewest slots, a threshold they reach.
        beside = {"threshold": 1.0} if name == "num_perm" else {}
        for bound, outside in (("minimum", -1), ("maximum", 1)):
            if bound in schema:
                Options.from_mapping(beside | {name: schema[bound]})
                with pytest.raises(dedup.OptionsError):
                    Options.from_mapping(beside | {name: schema[bound] + outside})
    with pytest.raises(dedup.OptionsError):
        Options(threshold=properties["threshold"]["exclusiveMinimum"])


def test_pieces_of_a_large_answer_are_the_whole_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TWICE + " And so they said. ".join(f"{FERRY} {i} is odd. " for i in range(40))
    result = clean(text, document='"odd"')
    assert len(result.duplicates) > 20
    monkeypatch.setattr(service_app, "_ROWS_A_PIECE", 7)
    assert b"".join(write_pieces(result)) == result.to_json()
    answer = post(client, {"text": text, "document": '"odd"'})
    assert answer.content == result.to_json()
    assert answer.headers["content-length"] == str(len(result.to_json()))


AFTER_WARM_UP = """
import sys
import tempfile
from pathlib import Path
from dedup import Index, Options, clean
from service.workers import warm_up

def count_signatures():
    return {
        f"{module}.{name}": len(value.signatures)
        for module in sorted(sys.modules)
        if module.startswith("dedup.")
        for name, value in vars(sys.modules[module]).items()
        if hasattr(value, "signatures") and hasattr(value, "py_func")
    }

warm_up(index=True)
before = count_signatures()
samples = [path.read_text("utf-8") for path in sorted(Path("seeds").glob("*.txt"))]
twice = "The ferry leaves at noon from the pier. So the ferry leaves at noon from the pier. "
for text in ["", "a", twice, twice * 50, "渡轮中午从旧码头出发。" * 3, *samples]:
    for options in (
        Options(),
        Options(unit="paragraph", keep="longest"),
        Options(unit="document", keep="last", numbers=False),
        Options(threshold=1.0, min_chars=1, shingle_chars=8),
    ):
        clean(text, options)
with tempfile.TemporaryDirectory() as folder:
    for turn in range(3):
        with Index.open(folder) as index:
            documents = [(f"{turn} {i}", text) for i, text in enumerate([twice * turn, *samples])]
            index.check(documents)
            index.add(documents)
            index.remove([documents[0][0]])
            index.compact()
after = count_signatures()
print(sum(after.values()), {name for name in after if after[name] != before.get(name)} or "none")
"""


def test_no_kernel_is_compiled_after_the_warm_up() -> None:
    # In a process of its own: in this one others have compiled everything already.
    done = subprocess.run(
        [sys.executable, "-c", AFTER_WARM_UP], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    count, late = done.stdout.strip().split(maxsplit=1)
    assert int(count) > 10
    assert late == "none"


def test_memory_that_nobody_uses_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        giving = asyncio.create_task(workers.give_memory_back())
        await asyncio.sleep(0.5)
        giving.cancel()

    monkeypatch.setattr(workers, "_GIVE_BACK_SECONDS", 0.05)
    # What is under the last of them is kept for later, though all of it is free.
    blocks = [bytes(2000) for _ in range(100_000)]
    pinned = blocks.pop()
    blocks.clear()
    kept = own_bytes()
    asyncio.run(run())
    assert kept - own_bytes() > 150e6
    assert len(pinned) == 2000

    def find_none(name: None) -> None:
        raise OSError(name)

    # Other C libraries cannot: it ends at once.
    monkeypatch.setattr("ctypes.CDLL", find_none)
    asyncio.run(workers.give_memory_back())


def test_small_texts_pass_large_ones() -> None:
    async def run() -> list[str]:
        workers = Workers(Settings(threads=2, large_body_bytes=10_000))
        done: list[str] = []
        gate = threading.Event()

        def work(name: str) -> None:
            if name.startswith("large"):
                gate.wait(30)
            done.append(name)

        large = [asyncio.create_task(workers.run(10_001, work, f"large {i}")) for i in range(3)]
        try:
            await asyncio.sleep(0)
            await workers.run(10_000, work, "small")
        finally:
            gate.set()
        await asyncio.gather(*large)
        workers.stop()
        return done

    assert asyncio.run(run()) == ["small", "large 0", "large 1", "large 2"]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="threads\n  Input should be greater than"):
        Settings(threads=0)
    assert Settings(threads=3).body_limit_bytes == 32 * 2**20


@dataclass
class Served:
    """A server in a process of its own."""

    port: int
    process: subprocess.Popen[str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it as an operator would, or worse; return how it ended."""
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def serving(
    log: Path, *flags: object, before: Sequence[str] = (), **environment: str
) -> Iterator[Served]:
    """Start a server, by another program where one is given; it is stopped at the end."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("DEDUP_")}
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "dedup", "serve", "--port", "0", *map(str, flags)],
            cwd=ROOT,
            stdout=sink,
            stderr=subprocess.PIPE,
            env=known | {"PYTHONUNBUFFERED": "1"} | environment,
            text=True,
        )
        assert process.stderr is not None
        with process, process.stderr as lines:
            port = 0
            for line in lines:
                sink.write(line.encode())
                if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                    port = int(found[1])
                    break
            sink.flush()
            assert port, log.read_text()
            copier = threading.Thread(target=lambda: [sink.write(line.encode()) for line in lines])
            copier.start()
            try:
                yield Served(port, process, log)
            finally:
                process.terminate()
                process.wait(60)
                copier.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(log, "--body-limit-bytes", LIMIT) as served:
        yield served.port, log
        assert served.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()


def test_a_real_server_cleans(server: tuple[int, Path]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server[0]}") as client:
        answer = client.post("/v1/clean", json={"text": TWICE})
        assert (answer.status_code, answer.json()) == (200, clean(TWICE).to_mapping())
        assert client.get("/livez").json() == {"status": "ok"}


def exchange(port: int, sent: bytes, *, close: bool = False) -> bytes:
    """Send bytes to the server and read until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        if close:
            return b""
        received = b""
        while part := connection.recv(1 << 16):
            received += part
        return received


HEAD = b"POST /v1/clean HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_a_chunked_body_is_cleaned_and_counted_on_the_wire(server: tuple[int, Path]) -> None:
    body = TWICE.encode()
    whole = exchange(server[0], CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    assert whole.startswith(b"HTTP/1.1 200")
    piece = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    endless = exchange(server[0], CHUNKED + piece * (LIMIT // 0x10000 + 1))
    assert endless.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in endless


def test_http_1_0_is_answered(server: tuple[int, Path]) -> None:
    sent = b"POST /v1/clean HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nHi"
    assert exchange(server[0], sent).startswith(b"HTTP/1.1 200")


def test_a_body_cut_by_its_sender_is_nothing_to_the_server(server: tuple[int, Path]) -> None:
    exchange(server[0], HEAD + b"Content-Length: 100\r\n\r\nshort", close=True)
    answer = httpx.post(f"http://127.0.0.1:{server[0]}/v1/clean", json={"text": TWICE})
    assert answer.json()["text"] == ONCE
