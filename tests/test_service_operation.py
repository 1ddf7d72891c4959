"""How the service is run: settings, keys, logs, metrics, several processes, its end."""

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer.main
from conftest import Run
from test_index import FERRY, KEPT, NOBODY
from test_service import JSON, PLAIN, ROOT, Client, check_problem, serving
from test_service_collections import serve

from dedup import InputError, OptionsError
from dedup.cli import app as command
from service.keys import create_key, read_keys, remove_key, write_keys
from service.server import check_settings
from service.settings import Settings, load_settings

NEWS = "/v1/collections/news"
DOCUMENTS = f"{NEWS}/documents"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DEDUP_"):
            monkeypatch.delenv(name)


# Settings


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dedup.toml"
    file.write_text('port = 1\nqueue_requests = 2\nhost = "::1"\nthreads = 3\n')
    monkeypatch.setenv("DEDUP_QUEUE_REQUESTS", "4")
    monkeypatch.setenv("DEDUP_THREADS", "5")
    found = load_settings(str(file), {"threads": 6, "host": None})
    assert (found.port, found.queue_requests, found.host, found.threads) == (1, 4, "::1", 6)
    monkeypatch.setenv("DEDUP_CONFIG", str(file))
    assert load_settings(None, {}).port == 1
    # What is made in Python has what it is given alone.
    assert Settings().queue_requests == 64


@pytest.mark.parametrize(
    ("flags", "variable", "file", "words"),
    [
        ({"port": 70000}, None, "", "option --port: got 70000, expected input should be less"),
        ({"body_limit_bytes": 0}, None, "", "--body-limit-bytes: got 0, expected input should"),
        ({}, ("DEDUP_PORT", "x"), "", "option DEDUP_PORT: got 'x', expected input should be a"),
        ({}, ("DEDUP_PROT", "1"), "", "option DEDUP_PROT: got '1', expected no such variable"),
        ({}, None, "prot = 1", "option prot of the file: got 1, expected one of index, index"),
        ({}, None, "threads = 0", "option threads of the file: got 0"),
        ({}, None, "threads = ", "dedup.toml: is no TOML"),
    ],
)
def test_settings_that_are_none_are_told_with_where_they_came_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    variable: tuple[str, str] | None,
    file: str,
    words: str,
) -> None:
    (tmp_path / "dedup.toml").write_text(file)
    if variable:
        monkeypatch.setenv(*variable)
    with pytest.raises((OptionsError, InputError)) as caught:
        load_settings(str(tmp_path / "dedup.toml"), flags)
    assert words in str(caught.value)


def test_a_file_of_settings_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_settings(str(tmp_path / "none"), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_without_keys_it_listens_to_this_machine_alone(host: str, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"expected 127\.0\.0\.1, unless there are --keys"):
        check_settings(Settings(host=host))
    create_key(tmp_path / "keys", "a", False, ())
    check_settings(Settings(host=host, keys=tmp_path / "keys"))
    for local in ("127.0.0.1", "::1", "localhost"):
        check_settings(Settings(host=local))


def test_an_index_in_postgresql_needs_a_folder_and_shows_no_password() -> None:
    with pytest.raises(OptionsError, match="data"):
        check_settings(Settings(index="postgresql://me:secret@localhost/base"))
    with pytest.raises(InputError) as caught:
        check_settings(Settings(index="postgresql://me:se/cret@localhost/base"))
    assert "cret" not in str(caught.value)


def test_the_command_has_a_flag_for_every_setting_and_says_what_it_is() -> None:
    (found,) = [
        one
        for one in typer.main.get_command(command).commands.values()  # type: ignore[attr-defined]
        if one.name == "serve"
    ]
    flags = {one.name: one for one in found.params if one.name not in ("config", "help")}
    assert flags.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        assert flags[name].help.startswith(" ".join((field.description or "").split()))
        default = field.default
        if default is not None and name != "threads":
            shown = str(default).lower() if isinstance(default, bool) else f"{default}"
            shown = f"{default:g}" if isinstance(default, float) else shown
            assert flags[name].help.endswith(f"[{shown}]")


def test_a_server_that_cannot_start_says_why_in_a_line(run: Run, tmp_path: Path) -> None:
    answer = run("serve", "--host", "0.0.0.0")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "unless there are --keys" in answer.err
    answer = run("serve", "--keys", tmp_path / "none")
    assert (answer.code, "no such file" in answer.err) == (3, True)


# Keys


def test_the_command_makes_lists_and_removes_keys(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = run("keys", "create", file, "writer").out.decode().strip()
    other = run(
        "keys", "create", file, "reader", "--read-only", "--collection", "a", "--collection", "b"
    ).out.decode()
    assert re.fullmatch(r"dedup_[A-Za-z0-9_-]{43}", key)
    assert key not in file.read_text()
    assert other.strip() not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = run("keys", "list", file).out.decode()
    assert re.fullmatch(
        r"writer  reads and writes  all collections  since \S+\n"
        r"reader  reads  a, b  since \S+\n",
        listed,
    )
    assert run("keys", "create", file, "writer").code == 3
    assert run("keys", "remove", file, "writer").code == 0
    assert run("keys", "remove", file, "writer").code == 3
    assert [one.name for one in read_keys(file)] == ["reader"]


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[]",
        "{}",
        '{"keys": {}}',
        '{"keys": [1]}',
        '{"keys": [{"name": "a"}]}',
        '{"keys": [{"name": "a", "sha256": "00"}]}',
        '{"keys": [{"name": "a", "sha256": 1}]}',
        '{"keys": [{"name": "a", "sha256": "' + "0" * 64 + '", "write": true}]}',
        '{"keys": [{"name": "a", "sha256": "' + "0" * 64 + '", "collections": [1]}]}',
        '{"keys": [' + ",".join(['{"name": "a", "sha256": "' + "0" * 64 + '"}'] * 2) + "]}",
        '{"keys": []}',
    ],
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "keys").write_text(written)
    with pytest.raises(InputError, match="keys: "):
        check_settings(Settings(keys=tmp_path / "keys"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    """A service with keys, and the keys."""
    folder = tmp_path_factory.mktemp("locked")
    file = folder / "keys.json"
    keys = {
        "all": create_key(file, "all", False, ()),
        "reads": create_key(file, "reads", True, ()),
        "news": create_key(file, "news", False, ["news"]),
        "other": create_key(file, "other", False, ["other"]),
    }
    settings = Settings(index=str(folder), keys=file, disk_reserve_bytes=0)
    with serve(settings) as client:
        for name in ("news", "other"):
            client.request("PUT", f"/v1/collections/{name}", headers=bearer(keys["all"]))
        yield client, keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


REQUESTS: list[tuple[str, str, bytes, dict[str, str], bool]] = [
    ("GET", NEWS, b"", {}, False),
    ("PUT", NEWS, b"", {}, True),
    ("POST", DOCUMENTS, orjson.dumps({"id": "a", "text": FERRY}), JSON, True),
    ("POST", f"{DOCUMENTS}?check=true", orjson.dumps({"id": "a", "text": FERRY}), JSON, False),
    ("GET", f"{DOCUMENTS}/a", b"", {}, False),
    ("GET", f"{DOCUMENTS}/a/duplicates", b"", {}, False),
    ("GET", f"{NEWS}/stats", b"", {}, False),
    ("POST", f"{NEWS}/compact", b"", {}, True),
    ("POST", f"{NEWS}/snapshot", b"", {}, True),
    ("DELETE", f"{DOCUMENTS}/a", b"", {}, True),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "writes"),
    REQUESTS,
    ids=[f"{m} {p}" for m, p, *_ in REQUESTS],
)
def test_a_key_does_what_it_may_and_never_reaches_anothers_collection(
    locked: tuple[Client, dict[str, str]],
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    writes: bool,
) -> None:
    client, keys = locked
    answers = {
        name: client.request(method, path, content=body, headers=headers | bearer(key))
        for name, key in keys.items()
        if name != "all"
    }
    assert answers["news"].status_code < 300, answers["news"].text
    assert answers["other"].status_code == 403
    hidden = client.request(
        method,
        path.replace("news", "nothing"),
        content=body,
        headers=headers | bearer(keys["other"]),
    )
    # The same whether it is there or not.
    for name in ("title", "detail", "errors", "status"):
        assert hidden.json()[name] == answers["other"].json()[name]
    if writes:
        check_problem(answers["reads"], 403, "Authorization")
    else:
        assert answers["reads"].status_code < 300


def test_who_has_no_key_is_refused_before_anything_is_read(
    locked: tuple[Client, dict[str, str]],
) -> None:
    client, keys = locked
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {keys['all']}"},
        bearer(keys["all"][:-1]),
        bearer(keys["all"] + "x"),
        bearer("x" * 10_000),
    ]
    paths = ["/v1/clean", "/v1/collections", NEWS, DOCUMENTS, "/v1/jobs", "/metrics"]
    for headers in wrong:
        for path in paths:
            for method in ("GET", "POST"):
                answer = client.request(method, path, content=b"{", headers=headers)
                if answer.status_code != 405:
                    check_problem(answer, 401, "Authorization")
                    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/livez", "/readyz", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 200


def test_a_key_sees_its_own_collections_and_jobs(locked: tuple[Client, dict[str, str]]) -> None:
    client, keys = locked
    for name, names in (("all", ["news", "other"]), ("news", ["news"]), ("other", ["other"])):
        answer = client.request("GET", "/v1/collections", headers=bearer(keys[name]))
        assert [one["name"] for one in answer.json()["collections"]] == names
    lines = {"Content-Type": "application/x-ndjson"}
    body = orjson.dumps({"id": "a", "text": FERRY})
    made = client.post("/v1/jobs", content=body, headers=lines | bearer(keys["news"]))
    path = made.headers["location"]
    for name, status in (("news", 200), ("all", 200), ("other", 404), ("reads", 404)):
        assert client.request("GET", path, headers=bearer(keys[name])).status_code == status
    check_problem(client.request("DELETE", path, headers=bearer(keys["other"])), 404, "id")
    refused = client.post("/v1/jobs", content=body, headers=lines | bearer(keys["reads"]))
    check_problem(refused, 403, "Authorization")
    assert client.request("DELETE", path, headers=bearer(keys["news"])).status_code == 204
    for name, status in (("all", 200), ("reads", 200), ("news", 403)):
        assert client.request("GET", "/metrics", headers=bearer(keys[name])).status_code == status


def test_a_changed_file_of_keys_is_taken_up_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    first = create_key(file, "first", False, ())
    with serve(Settings(keys=file)) as client:
        monkeypatch.setattr("service.keys._LOOK_SECONDS", 0)
        for key in (first, create_key(file, "second", False, ())):
            answer = client.post("/v1/clean", content=b"a", headers=PLAIN | bearer(key))
            client._runner.run(asyncio.sleep(1.05) if key == first else asyncio.sleep(0))
            assert answer.status_code == 200
        good = file.read_bytes()
        file.write_text("{")
        answer = client.post("/v1/clean", content=b"a", headers=PLAIN | bearer(first))
        assert answer.status_code == 200
        file.write_bytes(good)
        remove_key(file, "first")
        answer = client.post("/v1/clean", content=b"a", headers=PLAIN | bearer(first))
        check_problem(answer, 401, "Authorization")
        # Nobody is let in when there are none.
        write_keys(file, [])
        answer = client.post("/v1/clean", content=b"a", headers=PLAIN | bearer(first))
        check_problem(answer, 401, "Authorization")


# Logs and metrics


def test_each_failed_request_is_a_line_with_its_id_and_never_text_or_keys(tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys", "me", False, ())
    log = tmp_path / "log"
    flags = ("--keys", tmp_path / "keys", "--access-log", "--index", tmp_path)
    with serving(log, *flags) as served:
        with httpx.Client(base_url=served.url, headers=bearer(key)) as client:
            headers = PLAIN | {"X-Request-ID": "abc.1"}
            answer = client.post(
                "/v1/clean?document=secret-name", content=b"secret text", headers=headers
            )
            assert answer.headers["x-request-id"] == "abc.1"
            bad = {"X-Request-ID": "a b\tc"}
            answer = client.get("/v1/collections/secretive/documents/secret-id", headers=bad)
            assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
            client.get("/secret-path")
        served.stop()
    lines = [orjson.loads(line) for line in log.read_text().splitlines()]
    assert "secret" not in log.read_text().replace("secretive", "")
    assert key not in log.read_text()
    assert "There are no keys" not in log.read_text()
    requests = [
        (one["request_id"], one["key"], one["method"], one["route"], one["status"])
        for one in lines
        if one["event"] == "request"
    ]
    assert requests == [
        ("abc.1", "me", "POST", "/v1/clean", 200),
        (
            answer.headers["x-request-id"],
            "me",
            "GET",
            "/v1/collections/{name}/documents/{id}",
            404,
        ),
        (requests[2][0], None, "GET", "other", 404),
    ]
    assert all({"level", "timestamp"} <= one.keys() for one in lines)


def read_metrics(client: Client) -> dict[str, float]:
    text = client.get("/metrics").text
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def test_metrics_count_what_was_done(tmp_path: Path) -> None:
    with serve(Settings(index=str(tmp_path), disk_reserve_bytes=0)) as client:
        client.request("PUT", NEWS)
        rows = [{"id": "a", "text": f"{FERRY} {NOBODY}"}, {"id": "b", "text": f"{KEPT} {FERRY}"}]
        client.post(DOCUMENTS, content=orjson.dumps(rows), headers=JSON)
        client.post(DOCUMENTS, content=b"{}", headers=JSON)
        client.get("/nowhere")
        found = read_metrics(client)
        route = f'route="{DOCUMENTS.replace("news", "{name}")}"'
        for name, value in {
            f'dedup_requests_total{{method="POST",{route},status="200"}}': 1,
            f'dedup_requests_total{{method="POST",{route},status="422"}}': 1,
            'dedup_requests_total{method="GET",route="other",status="404"}': 1,
            f"dedup_request_seconds_count{{{route}}}": 2,
            "dedup_documents_total": 2,
            "dedup_units_total": 4,
            'dedup_duplicates_total{kind="exact"}': 1,
            "dedup_commit_documents_sum": 2,
            "dedup_queue_requests": 0,
            'dedup_collection_documents{name="news"}': 2,
            'dedup_collection_duplicates{name="news"}': 1,
        }.items():
            assert found[name] == value, name
        assert found['dedup_collection_bytes{name="news"}'] > 0


def test_the_page_of_the_description_loads_nothing_from_elsewhere() -> None:
    with serve(Settings()) as client:
        page = client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        links = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)["']""", page.text)
        assert len(links) >= 4
        assert all(link.startswith("/") for link in links)
        for link in links:
            assert client.get(link).status_code == 200


def test_telemetry_is_sent_where_it_is_asked_for_and_has_no_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    received: list[tuple[bytes, bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as collector:

        def collect() -> None:
            while True:
                try:
                    connection, _ = collector.accept()
                except OSError:
                    return
                with connection:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += connection.recv(65536)
                    head, _, body = data.partition(b"\r\n\r\n")
                    size = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
                    while len(body) < size:
                        body += connection.recv(65536)
                    received.append((head.split()[1], body))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=collect)
        thread.start()
        url = f"http://127.0.0.1:{collector.getsockname()[1]}"
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        with serving(log, "--telemetry", **variables) as served:
            with httpx.Client(base_url=served.url) as client:
                client.post("/v1/clean?document=secret", content=b"secret", headers=PLAIN)
                client.get("/livez")
            served.stop()
        collector.shutdown(socket.SHUT_RDWR)
        thread.join(60)
    assert "There are no keys, so it listens to this machine alone" in log.read_text()
    traces = b"".join(body for path, body in received if path == b"/v1/traces")
    assert b"/v1/clean" in traces
    assert b"dedup" in traces
    assert b"/livez" not in traces
    assert {path for path, _ in received} == {b"/v1/traces", b"/v1/metrics"}


# Several processes, and the end


def test_processes_share_an_index_and_their_metrics(tmp_path: Path) -> None:
    flags = ("--index", tmp_path, "--workers", 2, "--disk-reserve-bytes", 0)
    with serving(tmp_path / "log", *flags) as served:
        with httpx.Client(base_url=served.url) as client:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    client.get("/readyz")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            client.put(NEWS)
        for number in range(20):
            # A connection each time, so that both are asked.
            body = {"id": str(number), "text": f"{FERRY} Number {number}."}
            answer = httpx.post(f"{served.url}{DOCUMENTS}", json=body, verify=False)
            assert len(answer.json()["duplicates"]) == (number > 0)
        text = httpx.get(f"{served.url}/metrics").text
        assert "\ndedup_documents_total 20.0\n" in text
        # What one deleted is not there for the other.
        assert httpx.delete(f"{served.url}{NEWS}").status_code == 204
        for _ in range(10):
            answer = httpx.post(f"{served.url}{DOCUMENTS}", json={"id": "a", "text": FERRY})
            assert answer.status_code in (404, 503)
        statuses = {httpx.get(f"{served.url}{NEWS}").status_code for _ in range(10)}
        assert statuses == {404}
        served.stop()


def test_a_stream_that_is_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    flags = ("--index", tmp_path, "--disk-reserve-bytes", 0)
    with serving(tmp_path / "log", *flags) as served:
        httpx.put(f"{served.url}{NEWS}")
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            head = f"POST {DOCUMENTS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n"
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            first = orjson.dumps({"id": "a", "text": FERRY}) + b"\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(first), first))
            received = connection.recv(65536)
            while b'"document":"a"' not in received:
                received += connection.recv(65536)
            served.process.send_signal(signal.SIGTERM)
            second = orjson.dumps({"id": "b", "text": FERRY}) + b"\n"
            connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(second), second))
            while part := connection.recv(65536):
                received += part
        assert received.endswith(b"0\r\n\r\n")
        assert b'"document":"b"' in received
        assert served.process.wait(60) in (0, -signal.SIGTERM)


# Image and composition, which are built elsewhere


def test_the_health_check_of_the_image_says_how_the_service_is(tmp_path: Path) -> None:
    image = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.search(r"^HEALTHCHECK .*? CMD\s+(\[.*\])$", image, re.MULTILINE)
    assert found
    check = [sys.executable, *orjson.loads(found[1])[1:]]
    with serving(tmp_path / "log", "--index", tmp_path, "--disk-reserve-bytes", 0) as served:
        environment = os.environ | {"DEDUP_PORT": str(served.port)}
        assert subprocess.run(check, env=environment, check=False).returncode == 0
    assert subprocess.run(check, env=environment, check=False, stderr=-3).returncode != 0


def test_the_image_sets_what_there_is_and_runs_as_an_ordinary_user() -> None:
    image = (ROOT / "Dockerfile").read_text()
    names = set(re.findall(r"\bDEDUP_(\w+)=", image))
    assert {name.lower() for name in names} <= Settings.model_fields.keys()
    assert names
    assert re.search(r"^USER (?!root)\w+$", image, re.MULTILINE)
    for copied in re.findall(r"^COPY ((?:[\w.]+ )+)\S+$", image, re.MULTILINE):
        for one in copied.split():
            assert (ROOT / one).exists()
            assert f"\n!{one}\n" in (ROOT / ".dockerignore").read_text()
    (compiled,) = re.findall(r'^RUN \S+/python -c "(.*)"$', image, re.MULTILINE)
    subprocess.run([sys.executable, "-c", compiled], check=True, cwd=ROOT)


def test_the_composition_starts_the_service_as_its_settings_allow(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())
    service = composed["services"]["dedup"]
    assert service["read_only"] is True
    assert not str(service["user"]).startswith("0")
    assert {"postgres", "keys", "index"} == composed["secrets"].keys()
    assert set(service["secrets"]) <= composed["secrets"].keys()
    words = iter(service["command"])
    given = {word.removeprefix("--").replace("-", "_"): next(words) for word in words}
    assert given.keys() <= Settings.model_fields.keys()
    # With the secrets in their places it starts.
    create_key(tmp_path / "keys", "admin", False, ())
    (tmp_path / "index").write_text("postgresql://dedup:secret@postgres/dedup")
    for name in ("keys", "index"):
        key = "keys" if name == "keys" else "index_file"
        assert given[key] == f"/run/secrets/{name}"
        given[key] = str(tmp_path / name)
    settings = load_settings(None, given)
    assert settings.index == "postgresql://dedup:secret@postgres/dedup"
    check_settings(settings)
    assert composed["services"]["postgres"]["healthcheck"]["test"][0] == "CMD"


def test_a_file_with_the_address_of_the_index_is_read(tmp_path: Path) -> None:
    file = tmp_path / "index"
    with pytest.raises(InputError, match=r"(?i)no such file"):
        load_settings(None, {"index_file": str(file)})
    file.write_text("\n")
    with pytest.raises(InputError, match="expected one line"):
        load_settings(None, {"index_file": str(file)})
    file.write_text("/srv/dedup\n")
    assert load_settings(None, {"index_file": str(file)}).index == "/srv/dedup"
    with pytest.raises(OptionsError, match="nothing beside the index itself"):
        load_settings(None, {"index_file": str(file), "index": "/srv/other"})
