"""The service survives what it stands on: a disk without room, a database that goes and comes."""

import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from test_index import FERRY, make_corpus
from test_postgres import Server
from test_postgres import server as postgres  # noqa: F401
from test_service import Served, serving
from test_survival import make_groups

from dedup import clean_documents

NEWS = "/v1/collections/news"
DOCUMENTS = f"{NEWS}/documents"


def post(served: Served, name: str, text: str) -> httpx.Response:
    return httpx.post(f"{served.url}{DOCUMENTS}", json={"id": name, "text": text}, timeout=60)


def test_a_full_disk_is_503_loses_nothing_and_is_well_again(tmp_path: Path) -> None:
    for options in ("-m", "-rm"):
        if subprocess.run(["unshare", options, "true"], check=False).returncode == 0:
            break
    else:
        pytest.skip("no disk can be mounted here")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    before = ("unshare", options, "sh", "-c", mount, str(disk))
    flags = ("--index", disk, "--disk-reserve-bytes", 0)
    documents = make_corpus(21)
    with serving(tmp_path / "log", *flags, before=before) as served:
        httpx.put(f"{served.url}{NEWS}")
        expected = [one.to_mapping() for one in clean_documents(documents)]
        acknowledged = []
        # The disk is mounted for the server alone.
        filler = Path(f"/proc/{served.process.pid}/root{disk}/filler")
        for number, (name, text) in enumerate(documents[:20]):
            if number == 10:
                with filler.open("wb", 0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(4096))
            answer = post(served, name, text)
            if answer.status_code == 200:
                acknowledged.append(number)
                assert answer.json() == {"status": 200, **expected[number]}
            else:
                assert answer.status_code == 503
                assert "no room: the disk is full" in answer.json()["detail"]
                assert answer.headers["retry-after"] == "1"
                assert str(disk) not in answer.text
        # The last room of the log may take one or two.
        assert acknowledged[:10] == list(range(10))
        assert len(acknowledged) < 20
        assert httpx.get(f"{served.url}/livez").status_code == 200
        filler.unlink()
        answers = [post(served, name, text) for name, text in documents]
        assert [answer.json() for answer in answers] == [{"status": 200, **one} for one in expected]
        assert served.stop() in (0, -15)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_database_that_goes_is_503_and_what_was_acknowledged_is_there_when_it_comes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue("postgres")
    url = server.name("unused").partition("&collection")[0]
    flags = ("--index", url, "--data", tmp_path / "data", "--disk-reserve-bytes", 0)
    documents = make_corpus(22)
    expected = [{"status": 200, **one.to_mapping()} for one in clean_documents(documents)]
    with serving(tmp_path / "log", *flags) as served:
        assert httpx.put(f"{served.url}{NEWS}").status_code == 201
        answers = [post(served, *one) for one in documents[:10]]
        assert [answer.json() for answer in answers] == expected[:10]
        server.control("-m", "immediate", "stop")
        for path, method in ((NEWS, "GET"), (DOCUMENTS, "POST"), ("/readyz", "GET")):
            body: dict[str, Any] = {"json": {"id": "x", "text": FERRY}} if method == "POST" else {}
            answer = httpx.request(method, f"{served.url}{path}", timeout=60, **body)
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"] == "1"
            assert str(server.folder) not in answer.text
        assert httpx.get(f"{served.url}/livez").status_code == 200
        assert httpx.post(f"{served.url}/v1/clean", json={"text": FERRY}).status_code == 200
        server.start()
        answers = [post(served, *one) for one in documents]
        if answers[0].status_code == 503:
            # One request may find that its connection is gone.
            answers = [post(served, *one) for one in documents]
        assert [answer.json() for answer in answers] == expected
        assert httpx.get(f"{served.url}/readyz").status_code == 200
        names = httpx.get(f"{served.url}/v1/collections").json()["collections"]
        assert names == [{"name": "news"}]
        assert httpx.delete(f"{served.url}{NEWS}").status_code == 204
        assert httpx.get(f"{served.url}{NEWS}").status_code == 404
        assert httpx.get(f"{served.url}/v1/collections").json() == {"collections": []}
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_of_near_copies_that_replicas_are_sent_one_is_new(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue("postgres")
    url = server.name("unused").partition("&collection")[0]
    groups = make_groups(2, 24)
    new: list[str] = []
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(
                serving(
                    tmp_path / f"log{number}",
                    *("--index", url, "--data", tmp_path / f"data{number}"),
                    *("--disk-reserve-bytes", 0),
                )
            )
            for number in range(2)
        ]
        for replica in replicas:
            httpx.put(f"{replica.url}/v1/collections/shared")
        texts = list(groups)
        Random(1).shuffle(texts)
        for number, text in enumerate(texts):
            answer = httpx.post(
                f"{replicas[number % 2].url}/v1/collections/shared/documents",
                json={"id": str(number), "text": text},
                timeout=60,
            )
            if not answer.json()["duplicates"]:
                new.append(groups[text])
        httpx.delete(f"{replicas[0].url}/v1/collections/shared")
        # The other one is told at its next look.
        statuses = [
            httpx.get(f"{replicas[1].url}/v1/collections/shared").status_code for _ in range(3)
        ]
        assert set(statuses) <= {404, 503}
        assert statuses[-1] == 404
    assert sorted(new) == sorted(set(groups.values()))
