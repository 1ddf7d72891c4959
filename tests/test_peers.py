"""The peers: held to a truth, given what ours has, and each where its packages agree."""

import subprocess
import sys
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import orjson
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import comparison, environments, generator, peers, processes, workloads
from dedup.columns import Texts
from dedup.duplicates import find_duplicates
from dedup.options import Options
from dedup.units import cut_units

# One that is handed shingles and always there, one that cuts them, one that finds no edits.
COMPARED = ["datasketch", "gaoya", "suffix array"]


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    return comparison.compare_with_peers(
        workloads.planted(0.1), Options(), rounds=1, names=COMPARED
    )


def test_peers_find_what_ours_finds(compared: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in compared["rows"] if row["name"] in peers.PEERS}
    assert compared["failed"] == {}
    assert rows.keys() == {*COMPARED} - compared["missing"].keys()
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["first_seconds"] > 0
        assert row["peak_mb"] > 10
        assert row["given"] == "sentences, folded"
        assert row["lacks"]
    assert rows["datasketch"]["recall"] == rows["datasketch"]["agreed"] == 1
    if "gaoya" in rows:
        assert rows["gaoya"]["recall"] > 0.97
        assert rows["gaoya"]["agreed"] > 0.99
    if "suffix array" in rows:
        assert rows["suffix array"]["recall"] > 0.4
        assert not rows["suffix array"]["finds_edits"]
    assert 0 < compared["given_seconds"] < 1


def test_shingling_is_timed_apart_where_it_is_done_here(compared: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in compared["rows"] if row["name"] in peers.PEERS}
    assert 0 < rows["datasketch"]["shingling_seconds"] < rows["datasketch"]["seconds"]
    for name in rows.keys() & {"gaoya", "suffix array"}:
        assert rows[name]["shingling_seconds"] is None


def test_ours_and_the_floor_stand_beside_the_peers(compared: dict[str, Any]) -> None:
    names = [row["name"] for row in compared["rows"]]
    assert names[:2] == ["floor", "dedup, 1 thread"]
    assert {*names, *compared["missing"]} >= {*COMPARED}
    ours = compared["rows"][1]
    assert ours["removed"] == compared["duplicates"] > 50
    assert ours["times"] == 1


def test_the_first_run_is_over_text_of_the_same_kind() -> None:
    whole = workloads.Workload("w", ["é" * 300, "b" * 100])
    assert comparison._begin(whole, 1).documents == whole.documents
    assert comparison._begin(whole, whole.size_mb / 10).documents == ["é" * 30, "b" * 10]


def test_a_slow_peer_has_one_round_and_the_base_runs_between(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(comparison, "_SLOW_SECONDS", 0)
    source = tmp_path / "in.jsonl"
    comparison._write_task(workloads.planted(0.01), Options(), source)
    floor = processes.Job("floor", str(source), str(source))
    peer = replace(floor, name="datasketch", task=comparison.to_task(Options()))
    runs = {name: (sys.executable, job) for name, job in (("base", floor), ("peer", peer))}
    outcomes, times = comparison._take_turns_with("base", runs, rounds=2)
    assert {name: len(done) for name, done in outcomes.items()} == {"base": 2, "peer": 1}
    mean = sum(outcome.seconds for outcome in outcomes["base"]) / 2
    assert times == {"base": 1, "peer": pytest.approx(outcomes["peer"][0].seconds / mean)}


def test_what_goes_is_held_to_what_was_planted(tmp_path: Path) -> None:
    ferry, budget = comparison.checked_sentences()[:2]
    edited, template = ferry.replace("at dawn", "at noon"), "Ärger: room 1 is on the upper floor."
    texts = [f"{ferry} {template} {budget}", f"Éa. {edited} {budget} {template.replace('1', '2')}"]
    given = comparison._write_task(
        workloads.Workload("two", texts), Options(), tmp_path / "in.jsonl"
    )

    def span(document: int, text: str) -> generator.Span:
        start = texts[document].index(text)
        return generator.Span(document, start, start + len(text))

    def plant(copy: str, original: str, repeats: bool = True) -> generator.Planted:
        return generator.Planted(
            span(1, copy), span(0, original), "substitute", 1, "latin", repeats
        )

    planted = [
        plant(edited, ferry),
        plant(budget, budget),
        plant(template.replace("1", "2"), template, repeats=False),
    ]
    task = comparison.to_task(Options())
    truth = comparison.find_truth(texts, given, planted, task)
    assert truth == ({4, 5}, {4, 5})
    assert truth.score({4, 5}) == {"truth_recall": 1, "wrong": 0}
    assert truth.score({4, 6, 0}) == {"truth_recall": 0.5, "wrong": 2 / 3}
    strict = replace(task, threshold=0.99)
    assert comparison.find_truth(texts, given, planted, strict) == ({5}, {4, 5})
    chained = [
        *planted,
        generator.Planted(span(0, budget), span(0, ferry), "chain", 1, "latin", True),
    ]
    assert comparison.find_truth(texts, given, chained, task) == ({4}, {2, 4, 5})


def test_the_truth_of_the_check_is_true() -> None:
    shingles = [
        set(reference.cut_shingles(reference.fold_text(text)))
        for text in comparison.checked_sentences()
    ]
    assert len(shingles) == 40

    def score(first: int, second: int) -> float:
        return len(shingles[first] & shingles[second]) / len(shingles[first] | shingles[second])

    for number in range(10):
        assert score(number, number + 20) == 1
        assert 0.85 < score(number + 10, number + 30) < 1
    assert max(score(i, j) for i in range(20) for j in range(i)) < 0.2


def find_pythons() -> dict[str, str]:
    """Return the interpreter of each peer that is installed already."""
    places = {}
    for name, peer in peers.PEERS.items():
        python: str | Path | None = sys.executable
        if peer.distribution in environments.PINS:
            pins = environments.PINS[peer.distribution]
            python = environments.find_environment(peer.distribution, pins)
        if python is not None and name in environments._installed(str(python)):
            places[name] = str(python)
    return places


def test_every_peer_there_is_passes_the_check() -> None:
    places = find_pythons()
    assert "datasketch" in places
    told = {name: comparison.check_peer(name, places[name], Options()) for name in places}
    assert told == dict.fromkeys(places)


def test_a_peer_that_does_something_else_is_not_timed() -> None:
    said = "removed 0 of 20 others, 10 of 10 exact repeats, 0 of 10 light edits"
    strict = Options(threshold=0.99)
    assert comparison.check_peer("datasketch", sys.executable, strict) == said
    found = comparison.find_right_peers(["datasketch"], [], strict)
    assert found == ({}, {}, {"datasketch": said})


def test_a_peer_that_does_not_run_says_why(tmp_path: Path) -> None:
    venv.create(tmp_path, symlinks=True)
    said = comparison.check_peer("datasketch", str(tmp_path / "bin" / "python"), Options())
    assert said == "ModuleNotFoundError: No module named 'orjson'"


def test_a_peer_that_is_not_installed_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = peers.Peer("no-such-distribution", "exact", "", lambda *_: peers.Answer(set()), "all")
    monkeypatch.setattr(processes, "PEERS", {"absent": absent, **peers.PEERS})
    found = processes._versions()
    assert "absent" not in found
    assert "datasketch" in found


def test_a_peer_takes_out_sentences_and_nothing_else(tmp_path: Path) -> None:
    first, other = "The ferry leaves at noon from the old pier.", "Nobody of them knew it before."
    texts = [f"{first} {other}\n\n{first}", f"  {other} Ünd ja. {first} Oh!"]
    source = tmp_path / "in.jsonl"
    task_given = comparison._write_task(workloads.Workload("two", texts), Options(), source)
    removed = {2, 3, 5}
    assert (task_given.removed, len(task_given.units)) == (removed, 7)
    task = comparison.to_task(Options())
    _, answer = processes.clean_with_peer("datasketch", source, tmp_path, task)
    assert answer.numbers == removed
    cleaned = (tmp_path / "cleaned.jsonl").read_bytes()
    rows = [orjson.loads(line) for line in cleaned.splitlines()]
    assert rows == [
        {"id": "1", "text": f"{first} {other}\n\n"},
        {"id": "2", "text": "  Ünd ja. Oh!"},
    ]


@given(reference.folded_texts())
def test_peers_are_given_our_shingles(text: str) -> None:
    options = Options()
    texts = Texts.from_bytes([text.encode()])
    units = cut_units(texts, "document")
    found = find_duplicates(texts, units, options)
    for sentence in comparison.fold_sentences(texts, units, found, options):
        if sentence is not None:
            folded = reference.fold_text(text)
            assert sentence.text == folded
            assert sentence.cut_shingles() == set(reference.cut_shingles(folded))


def covered_share(rows: list[bytes], number: int, size: int) -> float:
    """Return how much of a row lies in runs of `size` bytes that begin earlier, too."""
    text = b"\n".join(rows)
    start = sum(len(row) + 1 for row in rows[:number])
    covered: set[int] = set()
    for at in range(len(text) - size + 1):
        if text.find(text[at : at + size]) < at:
            covered.update(range(at, at + size))
    return sum(i in covered for i in range(start, start + len(rows[number]))) / len(rows[number])


@given(st.lists(st.text("ab", min_size=1, max_size=12), min_size=1, max_size=8))
def test_the_suffix_array_removes_what_stands_in_repeats(texts: list[str]) -> None:
    pytest.importorskip("pydivsufsort")
    sentences: list[peers.Sentence | None] = [peers.Sentence(text, ()) for text in texts]
    rows = [text.encode() for text in texts]
    task = comparison.to_task(Options())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "_REPEAT_BYTES", 4)
        # One too short to be compared stands for nothing.
        found = peers.PEERS["suffix array"].find([None, *sentences], task, Path())
    assert found.numbers == {
        number + 1 for number in range(len(rows)) if covered_share(rows, number, 4) >= 0.7
    }


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make environments here, with pip, which finds no index."""
    monkeypatch.setenv("DEDUP_BENCH_ENVS", str(tmp_path / "environments"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def write_wheel(folder: Path, version: str) -> str:
    """Write a wheel of a package with nothing but its version; return its pin."""
    stem = f"tiny-{version}"
    files = {
        "tiny.py": f"version = {version!r}\n",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{stem}.dist-info/RECORD"
    rows = [f"{name},,\n" for name in [*files, record]]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, record: "".join(rows)}.items():
            wheel.writestr(name, text)
    return f"tiny=={version}"


def version_in(python: Path) -> str:
    done = subprocess.run(
        [python, "-c", "import tiny; print(tiny.version)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_environment_is_kept_until_its_pins_change(offline: Path) -> None:
    first, second = (write_wheel(offline, version) for version in ("1", "2"))
    assert environments.find_environment("tiny", (first,)) is None
    python = environments.make_environment("tiny", (first,))
    assert python.is_relative_to(offline)
    assert environments.find_environment("tiny", (first,)) == python
    mark = python.parent / "mark"
    mark.touch()
    assert environments.make_environment("tiny", (first,)) == python
    assert mark.exists()
    assert version_in(python) == "1"
    assert environments.find_environment("tiny", (second,)) is None
    assert environments.make_environment("tiny", (second,)) == python
    assert not mark.exists()
    assert version_in(python) == "2"


def test_an_environment_half_made_is_made_again(offline: Path) -> None:
    pin = write_wheel(offline, "1")
    folder = environments._folder_of("tiny")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("half a program")
    assert version_in(environments.make_environment("tiny", (pin,))) == "1"


def test_two_at_once_make_one_environment(offline: Path) -> None:
    pin = write_wheel(offline, "1")
    together = Barrier(2)

    def make(_: int) -> tuple[str, int]:
        together.wait()
        python = environments.make_environment("tiny", (pin,))
        return version_in(python), (python.parent.parent / "pyvenv.cfg").stat().st_mtime_ns

    with ThreadPoolExecutor(2) as threads:
        versions, times = zip(*threads.map(make, range(2)), strict=True)
    assert versions == ("1", "1")
    assert len(set(times)) == 1


def test_what_cannot_be_installed_leaves_nothing_and_is_missing_with_its_cause(
    offline: Path,
) -> None:
    found, missing = environments.find_peers(["datasketch", "semhash"])
    assert [*found] == ["datasketch"]
    pin = environments.PINS["semhash"][0]
    assert missing == {"semhash": f"ERROR: No matching distribution found for {pin}"}
    assert not environments._folder_of("semhash").exists()


def test_causes_name_no_address() -> None:
    said = "WARNING: retrying\nERROR: no route to https://host.example/simple/x/ from here\n"
    error = subprocess.CalledProcessError(1, "pip", stderr=said)
    assert environments._say_why(error) == "ERROR: no route to ... from here"


def test_an_interpreter_that_is_named_wins_over_an_environment(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environments.PINS, "datasketch", ("no-such-distribution==1",))
    cause = "ERROR: No matching distribution found for no-such-distribution==1"
    assert environments.find_peers(["datasketch"]) == ({}, {"datasketch": cause})
    found, missing = environments.find_peers(["datasketch"], [sys.executable])
    assert (found["datasketch"].python, missing) == (sys.executable, {})
