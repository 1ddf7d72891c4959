"""The harness: right before it is fast, and its tables are those of its results."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import reference
from hypothesis import given

from benchmarks import comparison, peers, processes, quality, speed, tables, workloads
from dedup.columns import Texts
from dedup.duplicates import find_duplicates
from dedup.options import Options
from dedup.units import cut_units

SHARED = tables.ROOT.parent / "shared"
MACHINE = {"cpu": "C", "cores": 2, "python": "3", "numba": "0", "datasketch": "2"}
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no outside data")


def test_tables_of_the_readme_are_those_of_the_last_results() -> None:
    results = json.loads(tables.RESULTS_PATH.read_text(encoding="utf-8"))
    assert tables.readme_tables() == tables.render_tables(results)


def test_datasketch_gives_the_same_answer() -> None:
    row = speed.compare_with_datasketch(workloads.planted(0.2), Options(), rounds=1)
    assert row["same_answer"]
    assert row["duplicates"] > 100


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    return comparison.compare_with_peers(workloads.planted(0.1), Options(), rounds=1)


def test_every_installed_peer_finds_what_ours_finds(compared: dict[str, Any]) -> None:
    rows = [row for row in compared["rows"] if "recall" in row]
    assert {row["name"] for row in rows} == {*peers.PEERS} - {*compared["missing"]}
    for row in rows:
        if row["name"] == "datasketch":
            assert row["recall"] == row["agreed"] == 1
        elif row["check"] == "exact":
            assert row["recall"] > 0.97, row["name"]
            assert row["agreed"] > 0.99, row["name"]
        else:
            assert row["recall"] > 0.7, row["name"]
            assert row["agreed"] > 0.4, row["name"]
        assert row["seconds"] > 0
        assert row["peak_mb"] > 10


def test_little_memory_gives_the_same_bytes() -> None:
    rows = comparison.measure_memory([workloads.planted(0.3)], [1.0], rounds=1)
    assert [row["limit_mb"] for row in rows] == [None, 1.0]
    assert all(row["same_bytes"] for row in rows)
    assert "yes" in tables.render_tables({"machine": MACHINE, "memory": rows})


def test_ours_and_the_floor_stand_beside_the_peers(compared: dict[str, Any]) -> None:
    names = [row["name"] for row in compared["rows"]]
    assert names[:2] == ["floor", "dedup, 1 thread"]
    assert {*names, *compared["missing"]} >= {*peers.PEERS, "datasketch"}
    ours = compared["rows"][1]
    assert ours["removed"] == compared["duplicates"] > 50
    assert ours["times"] == 1


def test_a_peer_that_is_not_installed_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = peers.Peer("no-such-distribution", "exact", "", lambda *_: set())
    monkeypatch.setattr(processes, "PEERS", {"absent": absent, **peers.PEERS})
    found = processes._versions()
    assert "absent" not in found
    assert "datasketch" in found


def test_a_peer_takes_out_sentences_and_nothing_else(tmp_path: Path) -> None:
    first, other = "The ferry leaves at noon from the old pier.", "Nobody of them knew it before."
    texts = [f"{first} {other}\n\n{first}", f"  {other} Ünd ja. {first} Oh!"]
    source = tmp_path / "in.jsonl"
    removed, count = comparison._write_task(workloads.Workload("two", texts), Options(), source)
    assert (removed, count) == ({2, 3, 5}, 7)
    task = comparison.to_task(Options())
    assert processes.clean_with_peer("datasketch", source, tmp_path, task)[1] == removed
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


def test_tables_are_rendered_from_results() -> None:
    measured = {"seconds": 0.5, "mb_s": 8.0, "peak_mb": 100.4}
    peer = {
        "version": "1.2",
        "recall": 0.99,
        "agreed": 1.0,
        "check": "exact",
        "slots": "64, 16 x 4",
    }
    results = {
        "machine": MACHINE,
        "peers": {
            "workload": "planted",
            "size_mb": 4.0,
            "documents": 1200,
            "sentences": 24000,
            "duplicates": 4400,
            "rows": [
                {"name": "floor", "removed": 0, "times": 0.1, **measured},
                {
                    "name": "dedup, 1 thread",
                    "removed": 4400,
                    "times": 1.0,
                    "check": "exact",
                    "slots": "128, 17 x 4",
                    **measured,
                },
                {"name": "rensa alone", "removed": 43, "times": 9.0, **measured, **peer},
            ],
            "missing": ["gaoya", "dolma"],
        },
        "growth": [
            {"size_mb": 1000.2, "documents": 99000, "threads": 2, "removed": 7, **measured},
        ],
    }
    text = tables.render_tables(results)
    for line in (
        "| floor | - | - | 0.50 | 8.0 | 0.1 | 100 | - | - | - |",
        "| dedup, 1 thread | 128, 17 x 4 | exact | 0.50 | 8.0 | 1.0 | 100 | 4,400 | - | - |",
        "| rensa 1.2 alone | 64, 16 x 4 | exact | 0.50 | 8.0 | 9.0 | 100 | 43 | 99.00% | 100.00% |",
        "Not installed, so left out: gaoya, dolma.",
        "| 1,000 | 99,000 | 2 | 7 | 0.5 | 8.0 | 100 | 0.1 |",
    ):
        assert line in text.splitlines()


def test_equal_parts_are_mixed_and_the_last_documents_cut() -> None:
    parts = [workloads.Workload("a", ["é" * 30, "b" * 50]), workloads.Workload("c", ["d" * 10])]
    assert workloads.mix(parts, 61e-6).documents == ["d" * 10, "é" * 25]
    assert workloads.mix(parts, 1).documents == ["d" * 10, "é" * 30, "b" * 50]


def test_salted_rounds_repeat_little_of_one_another() -> None:
    part = workloads.planted(0.05)
    once = list(workloads.grow([part], part.size_mb))
    assert once == part.documents
    grown = list(workloads.grow([part], 4 * part.size_mb))
    assert grown == list(workloads.grow([part], 4 * part.size_mb))
    assert grown[: len(once)] == once
    assert 0.9 < sum(len(text.encode()) for text in grown) / 4e6 / part.size_mb <= 1
    options = Options()
    found = [
        len(speed._find(workloads.Workload("grown", texts).to_texts(), options))
        for texts in (once, grown)
    ]
    # Each round has the repeats of the text, and few more.
    assert 3 * found[0] < found[1] < 5 * found[0]
    thai, han = "ข้อความภาษาไทยยาวมาก", "這是一個很長的中文句子沒有空格"
    first, second = (
        {part for text in texts for part in reference.cut_shingles(reference.fold_text(text))}
        for texts in (
            [thai, han],
            list(workloads.grow([workloads.Workload("u", [thai, han])], 2.4e-4))[2:4],
        )
    )
    assert len(first & second) / len(first | second) < 0.6


def test_a_seed_gives_the_same_text_again() -> None:
    assert workloads.planted(0.05, 3) == workloads.planted(0.05, 3)
    assert workloads.planted(0.05, 3) != workloads.planted(0.05, 4)


def test_no_pair_below_the_threshold_is_found_and_nearly_all_above() -> None:
    for row in quality.measure_recall(Options(), pairs=1500):
        if row["score_to"] <= 0.7:
            assert row["found"] == 0
        elif row["score_from"] >= 0.75:
            assert row["found"] > 0.97


def test_the_gate_turns_red_when_work_is_slower(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmarks import __main__ as command

    gate = tmp_path / "gate.json"
    gate.write_text('{"room": 1.5, "ratios": {"cut": 1.0, "sign": 1.0}}', encoding="utf-8")
    monkeypatch.setattr(command, "_GATE_PATH", gate)
    measured: Callable[..., Any]
    for measured, code in (
        (lambda *_: {"cut": 1.4, "sign": 1.0}, 0),
        (lambda *_: {"cut": 1.0, "sign": 1.6}, 1),
    ):
        monkeypatch.setattr(speed, "measure_gate", measured)
        assert command._gate(write=False) == code
    assert "slower than the gate allows" in capsys.readouterr().err


@needs_data
def test_border_scores_are_those_of_the_published_scorer() -> None:
    scorer = runpy.run_path(str(SHARED / "tools" / "score.py"))
    path = next((SHARED / "data" / "ersatz").glob("*de-en.de*"))
    sentences = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    cut = quality.split(" ".join(sentences))
    wanted = scorer["seg_prf"](sentences, cut)["f1"]
    assert quality.border_f1(sentences, cut) == pytest.approx(wanted)


@needs_data
def test_sentences_are_cut_as_well_as_promised() -> None:
    assert quality.measure_sentences(SHARED / "data")["mean"] >= 0.94
    held, _ = quality.measure_golden_rules(SHARED / "data")["en"].split(" of ")
    assert int(held) >= 43
