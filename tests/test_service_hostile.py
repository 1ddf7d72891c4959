"""The service among those that mean no good: what is generated, and bytes made by hand."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from test_index import FERRY
from test_service import ROOT, Served, serving

DESCRIPTION = Path(__file__).parent / "description"
# One that what is generated does not come upon, and delete.
COLLECTION = "/v1/collections/kept_apart_from_the_others"
DOCUMENTS = f"{COLLECTION}/documents"
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hostile")
    flags = ("--index", folder / "index", "--disk-reserve-bytes", 0, "--request-seconds", 1)
    limits = ("--body-limit-bytes", 1 << 20, "--document-limit-bytes", 100_000)
    with serving(folder / "log", *flags, *limits) as served:
        httpx.put(f"{served.url}{COLLECTION}")
        yield served
        # Whatever came, it is well.
        assert httpx.get(f"{served.url}/readyz").status_code == 200
    log = (folder / "log").read_text()
    assert "Traceback" not in log
    assert '"level":"error"' not in log


@pytest.mark.parametrize("examples", [5, pytest.param(1000, marks=pytest.mark.long)])
def test_what_is_generated_from_the_description_is_answered_as_it_says(
    served: Served, tmp_path: Path, examples: int
) -> None:
    program = Path(sys.executable).with_name("st")
    done = subprocess.run(
        [
            *(program, "--config-file", DESCRIPTION / "schemathesis.toml"),
            *("run", f"{served.url}/openapi.json", "--checks", "all", "--seed", "1"),
            *("--max-examples", str(examples), "--continue-on-failure"),
            *("--generation-database", "none"),
        ],
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": f"{DESCRIPTION}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found
    assert found[1] == found[2]
    assert int(found[1]) > 500


def exchange(served: Served, *parts: bytes, end: bool = True) -> bytes:
    """Send bytes, and read until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        if end:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while part := connection.recv(1 << 16):
                received += part
        except ConnectionResetError:
            pass
        return received


def head(method: str = "POST", path: str = DOCUMENTS, kind: str = LINES, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: a", "Connection: close", *more]
    lines += [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join([*lines, "", ""]).encode()


CHUNKED = "Transfer-Encoding: chunked"

# What is sent, and the statuses that it may get; none where the connection just ends.
RAW: dict[str, tuple[bytes, set[int]]] = {
    "nothing": (b"", {0}),
    "no HTTP": (b"\0\xff\xfe" * 100 + b"\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 200, {400}),
    "half a line": (b"POST /v1/cl", {0, 400}),
    "no such version": (b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n", {400, 505}),
    "old version": (b"GET /livez HTTP/1.0\r\n\r\n", {200}),
    "absolute form": (head("GET", "http://b/livez", ""), {200}),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", {404, 405}),
    "unknown method": (head("BREW", "/v1/clean"), {400, 405}),
    "path of bytes": (head("GET", "/x", "").replace(b"x", b"\xff\xfe"), {400, 404}),
    "long path": (head("GET", "/" + "a" * 60_000), {400, 404, 414, 431}),
    "encoded path": (head("GET", "/v1/collections/%00%ff%2e%2e"), {404}),
    "dots": (head("GET", "/v1/../../etc/passwd"), {404}),
    "many slashes": (head("GET", "//v1//clean//"), {404}),
    "huge header": (head("GET", "/livez", "", "X: " + "a" * 200_000), {200, 400, 431}),
    "many headers": (head("GET", "/livez", "", *["X: a"] * 5000), {200, 400, 431}),
    "request id of bytes": (head("GET", "/livez", "", "X-Request-ID: \u00ff\u00fe"), {200, 400}),
    "two lengths": (head("POST", "/v1/clean", "text/plain", "Content-Length: 1",
                         "Content-Length: 2") + b"ab", {400}),
    "length and chunks": (head("POST", "/v1/clean", "text/plain", "Content-Length: 1", CHUNKED)
                          + b"0\r\n\r\n", {400}),
    "negative length": (head("POST", "/v1/clean", "text/plain", "Content-Length: -1"), {400}),
    "no number": (head("POST", "/v1/clean", "text/plain", "Content-Length: x"), {400}),
    "bad chunk": (head("POST", "/v1/clean", "text/plain", CHUNKED) + b"zz\r\n\r\n", {400}),
    "huge chunk": (head("POST", "/v1/clean", "text/plain", CHUNKED) + b"f" * 20 + b"\r\n", {400}),
    "cut body": (head("POST", "/v1/clean", "text/plain", "Content-Length: 9") + b"abc", {0, 400}),
    "cut stream": (head("POST", DOCUMENTS, LINES, CHUNKED) + b"5\r\n{\"id", {0, 200}),
    "a million brackets": (head("POST", DOCUMENTS, "application/json",
                                "Content-Length: 1000000") + b"[" * 1_000_000, {400}),
    "a line of brackets": (head("POST", DOCUMENTS, LINES, "Content-Length: 90000")
                           + b"[" * 90_000, {200}),
    "huge numbers": (head("POST", DOCUMENTS, "application/json", "Content-Length: 50000")
                     + b"9" * 50_000, {400}),
    "NaN": (head("POST", DOCUMENTS, "application/json", "Content-Length: 3") + b"NaN", {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_bytes_made_by_hand_are_answered(served: Served, name: str) -> None:
    sent, statuses = RAW[name]
    received = exchange(served, sent, end=0 in statuses)
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", received)
    assert (int(found[1]) if found else 0) in statuses, received[:500]
    assert b"Traceback" not in received


def test_a_body_that_does_not_come_is_given_up(served: Served) -> None:
    slow = head("POST", "/v1/clean", "text/plain", "Content-Length: 9") + b"abc"
    received = exchange(served, slow, end=False)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"3 bytes of it came in 1 s, and not the end" in received
    endless = head("POST", "/v1/clean", "text/plain", CHUNKED) + b"3\r\nabc\r\n"
    assert exchange(served, endless, end=False).startswith(b"HTTP/1.1 408 ")


def test_a_stream_that_does_not_go_on_is_given_up_and_what_came_is_answered(
    served: Served,
) -> None:
    line = orjson.dumps({"id": "slow", "text": FERRY}) + b"\n"
    sent = head("POST", DOCUMENTS, LINES, CHUNKED) + b"%x\r\n%s\r\n" % (len(line), line)
    received = exchange(served, sent, end=False)
    assert received.startswith(b"HTTP/1.1 200 ")
    rows = [orjson.loads(row) for row in re.findall(rb'\{"status".*\}', received)]
    assert [(row["status"], row.get("line")) for row in rows] == [(200, None), (408, 2)]
    assert rows[1]["errors"][0]["reason"] == "no line came for 1 s"


def test_slow_senders_do_not_keep_others_out(served: Served) -> None:
    slow = head("POST", "/v1/clean", "text/plain", "Content-Length: 9") + b"abc"
    connections = []
    for _ in range(200):
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
        connection.sendall(slow)
        connections.append(connection)
    answer = httpx.post(f"{served.url}/v1/clean", json={"text": FERRY})
    assert answer.status_code == 200
    for connection in connections:
        connection.close()
