"""The harness: right before it is fast, and its tables are those of its results."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import quality, speed, tables, workloads
from dedup.options import Options

SHARED = tables.ROOT.parent / "shared"
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no outside data")


def test_tables_of_the_readme_are_those_of_the_last_results() -> None:
    results = json.loads(tables.RESULTS_PATH.read_text(encoding="utf-8"))
    assert tables.readme_tables() == tables.render_tables(results)


def test_datasketch_gives_the_same_answer() -> None:
    row = speed.compare_with_datasketch(workloads.planted(0.2), Options(), rounds=1)
    assert row["same_answer"]
    assert row["duplicates"] > 100


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
