"""The service's jobs: uploaded corpora, cleaned by processes of their own."""

import asyncio
import gzip
import io
import os
import random
import signal
import stat
import struct
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    MutableMapping,
)
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
from conftest import Run
from test_index import FERRY, KEPT, NOBODY
from test_service import Client, check_problem, serving
from test_service_collections import serve

from dedup.errors import InputError, OutputError
from dedup.options import Options
from dedup.progress import Progress
from service import schemas
from service.app import create_app
from service.job_worker import pack, shorten_failures, unpack
from service.jobs import Job, Jobs
from service.problems import ProblemError
from service.settings import Settings

ZIP, TAR = {"Content-Type": "application/zip"}, {"Content-Type": "application/x-tar"}
TAR_GZ = {"Content-Type": "application/gzip"}
LINES = {"Content-Type": "application/x-ndjson"}

FILES = {"a.txt": f"{FERRY} {NOBODY}\n", "deep/er/b.md": f"{KEPT} {FERRY}\n", "c.bin": "\0\0"}
ROWS = b"".join(
    orjson.dumps({"id": name, "text": text, "more": [1]}) + b"\n"
    for name, text in (("a", FERRY), ("b", f"{KEPT} {FERRY}"))
)


def make_zip(files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def make_tar(files: dict[str, str], mode: Any = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data=tmp_path_factory.mktemp("data"),
        disk_reserve_bytes=0,
        job_limit_bytes=1 << 20,
        job_unpacked_bytes=30 << 20,
        job_ratio=10,
        job_count=50,
    )


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Client]:
    with serve(settings) as client:
        yield client


def submit(client: Client, body: bytes, headers: dict[str, str], query: str = "") -> str:
    answer = client.post(f"/v1/jobs{query}", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    path = answer.headers["location"]
    assert path == f"/v1/jobs/{answer.json()['id']}"
    return str(path)


def follow(client: Client, path: str) -> dict[str, Any]:
    """Return the last event of a job, when it has ended."""
    answer = client.request("GET", path, headers={"Accept": "text/event-stream"}, timeout=120)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [part for part in answer.text.split("\n\n") if part.startswith("event: job\ndata: ")]
    last: dict[str, Any] = orjson.loads(events[-1].partition("data: ")[2])
    return last


def unpack_zip(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def unpack_tar(data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            entry.name: (archive.extractfile(entry) or io.BytesIO()).read().decode()
            for entry in archive
        }


@pytest.mark.parametrize(
    ("headers", "body", "read"),
    [
        (ZIP, make_zip(FILES), unpack_zip),
        (TAR, make_tar(FILES), unpack_tar),
        (TAR_GZ, make_tar(FILES, "w:gz"), unpack_tar),
    ],
    ids=["zip", "tar", "tar.gz"],
)
def test_an_archive_comes_back_as_the_command_cleans_its_folder(
    client: Client,
    run: Run,
    tmp_path: Path,
    headers: dict[str, str],
    body: bytes,
    read: Callable[[bytes], dict[str, str]],
) -> None:
    path = submit(client, body, headers, "?threshold=0.8")
    job = follow(client, path)
    assert (job["state"], job["reason"], job["options"]["threshold"]) == ("done", None, 0.8)
    schemas.Job.model_validate(job)
    for name, text in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    out = tmp_path / "out"
    assert run("clean", tmp_path / "in", "--out", out, "--threshold", 0.8).code in (0, 1)
    own = ("map.jsonl", "summary.json", "manifest.json")
    expected = {
        file.relative_to(out).as_posix(): file.read_text()
        for file in out.rglob("*")
        if file.is_file() and file.name not in own
    }
    result = client.get(f"{path}/result")
    assert result.headers["content-type"] == headers["Content-Type"]
    assert "attachment" in result.headers["content-disposition"]
    assert read(result.content) == expected
    assert client.get(f"{path}/map").content == (out / "map.jsonl").read_bytes()
    summary = orjson.loads((out / "summary.json").read_bytes())
    assert job["summary"]["documents"] == summary["documents"]
    assert client.get(path).json() == job
    assert job["id"] in [one["id"] for one in client.get("/v1/jobs").json()["jobs"]]
    assert client.request("DELETE", path).status_code == 204
    for gone in (path, f"{path}/result", f"{path}/map"):
        check_problem(client.get(gone), 404, "id")


def test_rows_come_back_with_what_else_is_in_them(client: Client) -> None:
    path = submit(client, ROWS, LINES)
    assert follow(client, path)["state"] == "done"
    rows = [orjson.loads(row) for row in client.get(f"{path}/result").content.splitlines()]
    assert rows == [
        {"id": "a", "text": FERRY, "more": [1]},
        {"id": "b", "text": KEPT, "more": [1]},
    ]


def test_the_example_of_the_description_is_answered_so(client: Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/jobs"]["post"]
    body = operation["requestBody"]["content"]["application/x-ndjson"]["example"]
    answer = client.post("/v1/jobs", content=body.encode(), headers=LINES)
    expected = operation["responses"]["202"]["content"]["application/json"]["example"]
    changing = {"id", "created"}
    found = answer.json()
    assert found.keys() == expected.keys()
    assert {name: found[name] for name in found.keys() - changing} == {
        name: expected[name] for name in expected.keys() - changing
    }
    job = follow(client, f"/v1/jobs/{found['id']}")
    assert (job["state"], job["failures"]) == ("done", [])


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        archive.addfile(entry)
    return packed.getvalue()


def zip_link() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("a.txt")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return packed.getvalue()


def zip_encrypted() -> bytes:
    data = bytearray(make_zip({"a.txt": FERRY}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


def zip_with_bad_sum() -> bytes:
    data = bytearray(make_zip({"a.txt": FERRY}, zipfile.ZIP_STORED))
    data[data.index(b"ferry")] ^= 1
    return bytes(data)


def zip_that_says_less() -> bytes:
    """A bomb whose directory says that it is small."""
    data = bytearray(make_zip({"a.txt": "a" * (40 << 20)}))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 10)
    return bytes(data)


def zip_with_bad_name() -> bytes:
    """A name that says it is UTF-8, and is not."""
    data = make_zip({"\u00e9.txt": FERRY})
    return data.replace("\u00e9".encode(), b"\xff\xfe")


def zip_lzma(place: int, value: bytes) -> bytes:
    """A packed entry with bytes changed, counted from the version before its settings."""
    data = bytearray(make_zip({"a.txt": FERRY}, zipfile.ZIP_LZMA))
    start = data.index(b"a.txt") + 5 + place
    data[start : start + len(value)] = value
    return bytes(data)


def tar_with_bad_header() -> bytes:
    data = bytearray(make_tar({"a.txt": FERRY, "b.txt": KEPT}))
    data[data.index(b"b.txt") + 150] ^= 1
    return bytes(data)


def tar_with_wide_header() -> bytes:
    """A small upload with an extended header of 40 MiB."""
    entry = tarfile.TarInfo("a.txt")
    entry.type, entry.size = tarfile.XHDTYPE, 40 << 20
    return gzip.compress(entry.tobuf() + bytes(entry.size), mtime=0)


def tar_sparse() -> bytes:
    entry = tarfile.TarInfo("a.txt")
    entry.type = tarfile.GNUTYPE_SPARSE
    return entry.tobuf() + bytes(1024)


BAD_ARCHIVES: dict[str, tuple[dict[str, str], bytes, str]] = {
    "up": (ZIP, make_zip({"../a.txt": FERRY}), "leads out of the archive"),
    "up within": (ZIP, make_zip({"b/../../a.txt": FERRY}), "leads out of the archive"),
    "absolute": (ZIP, make_zip({"/etc/a.txt": FERRY}), "is no relative path"),
    "drive": (ZIP, make_zip({"C:/a.txt": FERRY}), "is no relative path"),
    "backslash": (TAR, make_tar({"..\\a.txt": FERRY}), "backslash"),
    "control": (TAR, make_tar({"a\n.txt": FERRY}), "control character"),
    "empty part": (ZIP, make_zip({"a//b.txt": FERRY}), "empty part"),
    "dot": (ZIP, make_zip({"a/./b.txt": FERRY}), "a dot"),
    "long part": (ZIP, make_zip({"a" * 256: FERRY}), "over 255 bytes"),
    "deep": (ZIP, make_zip({"a/" * 64 + "b.txt": FERRY}), "too deep"),
    "twice": (TAR, make_tar({"a.txt": FERRY, "A.TXT": FERRY}), "is there twice"),
    "twice, composed": (TAR, make_tar({"\u00e9.txt": "", "e\u0301.txt": ""}), "is there twice"),
    "file and folder": (TAR, make_tar({"a": FERRY, "a/b.txt": FERRY}), "a file and a folder"),
    "tar up": (TAR, make_tar({"../../a.txt": FERRY}), "leads out of the archive"),
    "tar absolute": (TAR, make_tar({"/tmp/a.txt": FERRY}), "is no relative path"),
    "symbolic link": (TAR, link("a.txt", "/etc/passwd"), "is a link"),
    "hard link": (TAR, link("a.txt", "b.txt", tarfile.LNKTYPE), "is a link"),
    "device": (TAR, link("a.txt", "", tarfile.CHRTYPE), "is a link, a device"),
    "fifo": (TAR, link("a.txt", "", tarfile.FIFOTYPE), "is a link, a device"),
    "zip link": (ZIP, zip_link(), "is a link"),
    "encrypted": (ZIP, zip_encrypted(), "is encrypted"),
    "bad sum": (ZIP, zip_with_bad_sum(), "Bad CRC"),
    "cut": (
        TAR_GZ,
        make_tar({"a.txt": os.urandom(5000).hex()}, "w:gz")[:-3000],
        "file ended before",
    ),
    "cut at a header": (TAR, make_tar({"a.txt": FERRY})[:1024], "is damaged: empty header"),
    "bad header": (TAR, tar_with_bad_header(), "is damaged: bad checksum"),
    "wide header": (TAR_GZ, tar_with_wide_header(), "a header takes over 1048576 bytes"),
    "sparse": (TAR, tar_sparse(), "sparse"),
    "bad name": (ZIP, zip_with_bad_name(), "is no zip archive: 'utf-8' codec"),
    "bad lzma": (ZIP, zip_lzma(9, b"\xff" * 9), "a.txt: is damaged"),
    "wide lzma": (ZIP, zip_lzma(5, b"\xff" * 4), "of memory to unpack"),
    "bomb in a file": (
        ZIP,
        make_zip({"a.txt.gz": gzip.compress(b"a" * (31 << 20))}),
        "unpacks to more than it may",
    ),
    "bomb": (ZIP, make_zip({"a.txt": "a" * (20 << 20)}), "unpacks to more than it may"),
    "tar bomb": (TAR_GZ, make_tar({"a": "a" * (20 << 20)}, "w:gz"), "more than it may"),
    "sly bomb": (ZIP, zip_that_says_less(), "a.txt"),
    "nothing": (ZIP, make_zip({}), "no"),
    "nothing known": (ZIP, make_zip({"a.bin": "\0"}), "no"),
    "own name": (ZIP, make_zip({"map.jsonl": "{}"}), "has the name of a file"),
    "bad rows": (LINES, b'{"text": 1}\nnot JSON\n', ""),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives_fail_with_cause_and_place_and_touch_nothing(
    client: Client, settings: Settings, name: str
) -> None:
    headers, body, words = BAD_ARCHIVES[name]
    assert settings.data
    before = sorted(path.name for path in settings.data.iterdir())
    answer = client.post("/v1/jobs", content=body, headers=headers)
    if answer.status_code == 422:
        assert words in check_problem(answer, 422, "body")["detail"]
        return
    job = follow(client, f"/v1/jobs/{answer.json()['id']}")
    if name == "bad rows":
        assert (job["state"], len(job["failures"])) == ("done", 2)
        return
    assert job["state"] == "failed"
    assert words in job["reason"]
    assert str(settings.data) not in job["reason"]
    check_problem(client.get(f"/v1/jobs/{job['id']}/result"), 409, "id")
    assert sorted(path.name for path in settings.data.iterdir()) == before


@pytest.mark.parametrize(
    ("headers", "body", "status", "field"),
    [
        ({"Content-Type": "application/json"}, b"{}", 415, "Content-Type"),
        (ZIP | {"Content-Encoding": "gzip"}, b"", 415, "Content-Encoding"),
        (ZIP, b"", 422, "body"),
        (ZIP, b"PK no archive", 422, "body"),
        (TAR, b"x" * 2000, 422, "body"),
        (TAR_GZ, b"\x1f\x8b broken", 422, "body"),
        (ZIP, b"a" * (1 << 20) + b"b", 413, "body"),
    ],
)
def test_uploads_that_are_none_are_refused_and_nothing_is_left(
    client: Client,
    settings: Settings,
    headers: dict[str, str],
    body: bytes,
    status: int,
    field: str,
) -> None:
    assert settings.data
    before = sorted((settings.data / "jobs").iterdir())
    check_problem(client.post("/v1/jobs", content=body, headers=headers), status, field)
    assert sorted((settings.data / "jobs").iterdir()) == before


@pytest.mark.parametrize("query", ["thresold=1", "threshold=7", "unit=word", "keep=a&keep=b"])
def test_options_that_are_none_are_named(client: Client, query: str) -> None:
    name = query.partition("=")[0]
    answer = client.post(f"/v1/jobs?{query}", content=ROWS, headers=LINES)
    check_problem(answer, 422, f"query.{name}")


@pytest.mark.parametrize("name", ["..", "A" * 32, "%2e%2e%2fjobs", "a" * 31])
def test_ids_that_are_none_are_not_there(client: Client, name: str) -> None:
    answer = client.get(f"/v1/jobs/{name}")
    assert answer.status_code == 404


def test_an_upload_that_breaks_off_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    app = create_app(settings.model_copy(update={"data": tmp_path}))
    messages: Iterator[dict[str, Any]] = iter(
        [
            {"type": "http.request", "body": make_zip(FILES)[:50], "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 400) == 400

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "raw_path": b"/v1/jobs",
        "query_string": b"",
        "headers": [(b"content-type", b"application/zip")],
    }

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(run())
    assert [one.name for one in (tmp_path / "jobs").iterdir()] == [".lock"]


def large_rows() -> bytes:
    texts = (f"{FERRY} Nobody knew the {number} of {number * 7}. " * 20 for number in range(9000))
    return b"".join(
        orjson.dumps({"id": str(number), "text": text}) + b"\n" for number, text in enumerate(texts)
    )


def wait_for_worker(process: int) -> psutil.Process:
    """Wait until a job is being cleaned."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for child in psutil.Process(process).children():
            # It may have ended just now.
            with suppress(psutil.Error):
                if "service.job_worker" in " ".join(child.cmdline()):
                    return child
        time.sleep(0.02)
    raise AssertionError("no job is done")


def test_jobs_survive_the_service_and_a_running_one_is_cancelled(tmp_path: Path) -> None:
    flags = ("--data", tmp_path / "data", "--disk-reserve-bytes", 0)
    rows = large_rows()
    with serving(tmp_path / "log", *flags) as served, httpx.Client(base_url=served.url) as client:
        first = client.post("/v1/jobs", content=rows, headers=LINES).headers["location"]
        second = client.post("/v1/jobs", content=ROWS, headers=LINES).headers["location"]
        worker = wait_for_worker(served.process.pid)
        # One that is killed is started again.
        worker.kill()
        psutil.wait_procs([worker], timeout=60)
        worker = wait_for_worker(served.process.pid)
        assert served.stop(signal.SIGKILL) == -signal.SIGKILL
        # It does not go on alone: the next one would do the same job beside it.
        psutil.wait_procs([worker], timeout=60)
        assert not worker.is_running()
        assert not list((tmp_path / "data" / "jobs").glob("*/done.json"))
    with serving(tmp_path / "log", *flags) as served, httpx.Client(base_url=served.url) as client:
        assert [client.get(path).json()["state"] for path in (first, second)] == [
            "running",
            "queued",
        ]
        worker = wait_for_worker(served.process.pid)
        assert client.delete(first).status_code == 204
        psutil.wait_procs([worker], timeout=60)
        assert not worker.is_running()
        with client.stream("GET", second, headers={"Accept": "text/event-stream"}) as events:
            events.read()
        assert client.get(second).json()["state"] == "done"
        assert client.get(first).status_code == 404
        assert served.stop() in (0, -signal.SIGTERM)
    (left,) = [path for path in (tmp_path / "data" / "jobs").iterdir() if path.is_dir()]
    assert second.endswith(left.name)


def test_of_two_that_share_a_folder_one_does_the_jobs(settings: Settings, tmp_path: Path) -> None:
    shared = settings.model_copy(update={"data": tmp_path})
    with serve(shared) as one, serve(shared) as two:
        path = submit(two, ROWS, LINES)
        # `one` is asked nothing, and so does nothing; it holds the lock.
        assert two.get(path).json()["state"] == "queued"
        assert follow(one, path)["state"] == "done"
        path = submit(two, ROWS, LINES)
        assert follow(one, path)["state"] == "done"
    with serve(shared) as three:
        assert follow(three, path)["state"] == "done"


def test_too_many_jobs_are_answered_with_when_to_come_again(
    settings: Settings, tmp_path: Path
) -> None:
    few = settings.model_copy(update={"data": tmp_path, "job_count": 1})
    with serve(few) as client:
        path = submit(client, ROWS, LINES)
        answer = client.post("/v1/jobs", content=ROWS, headers=LINES)
        check_problem(answer, 429, "jobs")
        assert int(answer.headers["retry-after"]) > 0
        assert follow(client, path)["state"] == "done"
        submit(client, ROWS, LINES)


def test_finished_jobs_go_after_their_time(settings: Settings, tmp_path: Path) -> None:
    brief = settings.model_copy(update={"data": tmp_path, "job_keep_seconds": 0.001})
    with serve(brief) as client:
        path = submit(client, ROWS, LINES)
        assert follow(client, path)["state"] in ("done", "cancelled")

        async def wait() -> None:
            while any(one.is_dir() for one in (tmp_path / "jobs").iterdir()):
                await asyncio.sleep(0.05)

        client._runner.run(asyncio.wait_for(wait(), 60))
        check_problem(client.get(path), 404, "id")


def test_without_a_folder_there_are_no_jobs() -> None:
    with serve(Settings()) as client:
        check_problem(client.get("/v1/jobs"), 404, "jobs")
        check_problem(client.post("/v1/jobs", content=ROWS, headers=LINES), 404, "jobs")


def make_job(folder: Path, body: bytes, **given: Any) -> Job:
    """Put a job into a folder as if it had been received."""
    values: dict[str, Any] = {
        "id": "0" * 32,
        "kind": "jsonl",
        "bytes": len(body),
        "options": Options().to_mapping(),
        "owner": None,
        "created": time.time(),
        "unpacked_bytes": 1 << 30,
        "ratio": 200,
    }
    job = Job(**values | given)
    (folder / job.id).mkdir(parents=True)
    (folder / job.id / "upload").write_bytes(body)
    job.write(folder / job.id)
    return job


def run_jobs(folder: Path, until: Callable[[Jobs], bool]) -> None:
    """Do jobs in this process, until something is so."""

    async def run() -> None:
        jobs = Jobs(folder, Settings(), lambda: None)
        jobs.start()
        async with asyncio.timeout(100):
            while not await asyncio.to_thread(until, jobs):
                await asyncio.sleep(0.02)
        await jobs.stop()

    asyncio.run(run())


def has_ended(jobs: Jobs) -> bool:
    return all(job.state not in ("queued", "running") for job in jobs.list(None))


def test_of_a_job_that_has_ended_only_what_is_asked_for_stays(tmp_path: Path) -> None:
    done = make_job(tmp_path, make_zip(FILES), kind="zip")
    failed = make_job(tmp_path, make_zip({"/a": ""}), kind="zip", id="1" * 32)
    run_jobs(tmp_path, has_ended)
    assert {
        job.id[0]: sorted(path.name for path in (tmp_path / job.id).iterdir())
        for job in (done, failed)
    } == {
        "0": ["done.json", "job.json", "map.jsonl", "progress.json", "result.zip"],
        "1": ["failed.json", "job.json", "progress.json"],
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_result_says_nothing_of_when_and_by_whom_it_was_made(tmp_path: Path, kind: str) -> None:
    results = []
    for number, name in enumerate(("one", "two", "other")):
        folder = tmp_path / name
        (folder / "out" / "deep").mkdir(parents=True)
        for path in (folder / "out" / "a.txt", folder / "out" / "deep" / "b.txt"):
            path.write_text(FERRY if number < 2 else KEPT)
            os.utime(path, (number * 1e6, 1e9 + number * 1e6))
        pack(folder, kind, Progress())
        results.append((folder / f"result.{kind}").read_bytes())
    assert results[0] == results[1] != results[2]
    if kind != "zip":
        with tarfile.open(fileobj=io.BytesIO(results[0])) as archive:
            assert [(one.name, one.uname, one.uid, one.mtime) for one in archive] == [
                ("a.txt", "", 0, 0),
                ("deep/b.txt", "", 0, 0),
            ]


def test_a_worker_that_is_killed_twice_is_not_begun_again(tmp_path: Path) -> None:
    job = make_job(tmp_path, large_rows(), tries=1)
    done = threading.Event()

    def kill() -> None:
        wait_for_worker(os.getpid()).kill()
        done.set()

    killer = threading.Thread(target=kill)
    killer.start()
    run_jobs(tmp_path, lambda jobs: done.is_set() and has_ended(jobs))
    killer.join()
    ended = Job.read(tmp_path / job.id)
    assert (ended.state, ended.tries) == ("failed", 2)
    assert ended.reason == "its process was killed by SIGKILL, 2 times; perhaps memory ran out"


def test_a_job_that_ends_the_service_each_time_is_not_begun_again(tmp_path: Path) -> None:
    job = make_job(tmp_path, ROWS, state="running", tries=5)
    run_jobs(tmp_path, has_ended)
    ended = Job.read(tmp_path / job.id)
    assert (ended.state, ended.tries) == ("failed", 5)
    assert ended.reason == "it was begun 5 times, and the service ended each time"


def test_a_job_whose_end_was_not_noted_is_not_done_again(tmp_path: Path) -> None:
    job = make_job(tmp_path, ROWS, state="running", tries=1)
    told = {"summary": {"documents": 7}, "failures": [], "notes": []}
    (tmp_path / job.id / "done.json").write_bytes(orjson.dumps(told))
    run_jobs(tmp_path, has_ended)
    jobs = Jobs(tmp_path, Settings(), lambda: None)
    shown = jobs.describe(jobs.find(job.id, None))
    assert (shown["state"], shown["summary"]) == ("done", {"documents": 7})
    assert not (tmp_path / job.id / "upload").exists()


def test_what_processes_that_are_gone_left_is_removed(tmp_path: Path) -> None:
    for name in ("a" * 32, "b" * 32, f".{'c' * 32}-{'d' * 32}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "upload").write_bytes(ROWS)
    os.utime(tmp_path / ("a" * 32) / "upload", (0, 0))
    run_jobs(tmp_path, lambda jobs: not (tmp_path / ("a" * 32)).exists())
    # That one may be received just now.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "b" * 32]


def test_a_job_that_another_process_removed_is_forgotten(tmp_path: Path) -> None:
    kept = make_job(tmp_path, ROWS, state="done")
    gone = make_job(tmp_path, ROWS, state="done", id="1" * 32)
    jobs, others = (Jobs(tmp_path, Settings(), lambda: None) for _ in range(2))
    assert [job.id for job in jobs.list(None)] == [kept.id, gone.id]
    others.cancel(gone)
    assert jobs.list(None) == [kept]
    assert list(jobs._ended_jobs) == [kept.id]


def test_a_job_of_another_version_is_not_there(tmp_path: Path) -> None:
    for name, content in (("a" * 32, b'{"id":'), ("b" * 32, b'{"id":"b","more":1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.json").write_bytes(content)
        jobs = Jobs(tmp_path, Settings(), lambda: None)
        with pytest.raises(ProblemError, match="there is no job with this id"):
            jobs.find(name, None)


def unpack_here(folder: Path, body: bytes, **given: Any) -> None:
    (folder / "upload").write_bytes(body)
    limits = {"kind": "zip", "bytes": len(body), "ratio": 200, "unpacked_bytes": 1 << 30}
    unpack(folder, limits | given, Progress())


def test_room_on_the_disk_is_left(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.txt: the disk has [0-9]+ bytes left"):
        unpack_here(tmp_path, make_zip(FILES), reserve_bytes=1 << 60)


def test_folders_and_entries_of_every_kind_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.job_worker._MOST_ENTRIES", 10)
    reason = "there are over 10 entries and folders"
    with pytest.raises(InputError, match=reason):
        unpack_here(tmp_path, make_zip({"/".join("abcdefghij") + "/a.txt": ""}))
    folders = b"".join(link(f"{number}/", "", tarfile.DIRTYPE)[:512] for number in range(11))
    with pytest.raises(InputError, match=reason):
        unpack_here(tmp_path, folders + bytes(1024), kind="tar")
    unpack_here(tmp_path, make_zip({"/".join("abcdefghi") + "/a.txt": ""}))


def test_a_tar_of_several_packed_parts_is_read_to_its_end(tmp_path: Path) -> None:
    whole = make_tar({"a.txt": FERRY, "b.txt": KEPT})
    unpack_here(tmp_path, gzip.compress(whole[:700]) + gzip.compress(whole[700:]), kind="tar.gz")
    assert {path.name: path.read_text() for path in (tmp_path / "input").iterdir()} == {
        "a.txt": FERRY,
        "b.txt": KEPT,
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_changed_bytes_are_refused_or_unpacked_and_nothing_else(tmp_path: Path, kind: str) -> None:
    files = {f"\u00e9{number}/{'x' * 60}.txt": FERRY for number in range(3)}
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    wholes = (
        [make_zip(files, method) for method in methods]
        if kind == "zip"
        else [make_tar(files, "w" if kind == "tar" else "w:gz")]
    )
    chance = random.Random(7)
    ends = Counter[str]()
    for number in range(200):
        data = bytearray(chance.choice(wholes))
        for _ in range(chance.choice((1, 1, 3))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            unpack_here(folder, bytes(data), kind=kind)
            ends["unpacked"] += 1
        except InputError:
            ends["refused"] += 1
    assert ends.total() == 200
    assert ends["refused"] > 20


def test_of_many_things_that_could_not_be_read_the_first_are_told() -> None:
    failures = [{"source": str(number), "reason": "is broken"} for number in range(1002)]
    assert shorten_failures(failures[:1000]) == failures[:1000]
    assert shorten_failures(failures) == [
        *failures[:1000],
        {"source": "upload", "reason": "2 more could not be read"},
    ]


def test_a_result_that_is_removed_meanwhile_is_not_there(tmp_path: Path) -> None:
    job = make_job(tmp_path, ROWS, state="done")
    jobs = Jobs(tmp_path, Settings(), lambda: None)
    with pytest.raises(ProblemError, match="there is no job with this id") as caught:
        jobs.result(job)
    assert caught.value.status == 404


def test_an_upload_that_trickles_does_not_keep_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(tmp_path, Settings(request_seconds=1.0, job_count=1), lambda: None)

    async def send(pause: float, count: int) -> AsyncIterator[bytes]:
        for start in range(0, len(ROWS), -(-len(ROWS) // count)):
            await asyncio.sleep(pause)
            yield ROWS[start : start + -(-len(ROWS) // count)]

    def receive(pause: float, count: int) -> Job:
        return asyncio.run(jobs.receive("jsonl", send(pause, count), Options(), None))

    with pytest.raises(ProblemError, match=r"body: \d+ bytes came in 1 s, too few") as caught:
        receive(0.1, 50)
    assert caught.value.status == 408
    assert list(tmp_path.iterdir()) == []
    # Slow, but not for long.
    assert receive(0.1, 3).bytes == len(ROWS)


def test_so_many_follow_a_job_and_no_more(settings: Settings, tmp_path: Path) -> None:
    limits = settings.model_copy(update={"data": tmp_path, "stream_count": 2})
    jobs = Jobs(tmp_path / "jobs", limits, lambda: None)
    job = make_job(tmp_path / "jobs", ROWS)

    async def run() -> None:
        first, second = jobs.follow(job), jobs.follow(job)
        assert b'"queued"' in await anext(first)
        jobs.check_followers()
        assert b'"queued"' in await anext(second)
        with pytest.raises(ProblemError, match="2 jobs are followed already") as caught:
            jobs.check_followers()
        assert caught.value.status == 429
        assert isinstance(first, AsyncGenerator)
        await first.aclose()
        jobs.check_followers()
        jobs.cancel(job)
        assert b'"cancelled"' in await anext(second)
        with pytest.raises(StopAsyncIteration):
            await anext(second)

    asyncio.run(run())
