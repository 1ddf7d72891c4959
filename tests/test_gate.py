"""The regression gate: what is slower, found no more or judged otherwise turns it red."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gate

ANSWERS: dict[str, Any] = {
    "promise": 0.9906,
    "kept": {
        "pairs": 40000,
        "missed": 184,
        "expected_missed": 183.2,
        "p_value": 0.5,
        "holds": True,
    },
    "text": {"made": "a0", "duplicates": 500, "checksum": "b0"},
    "pairs": {
        "made": "c0",
        "duplicates": 2986,
        "checksum": "d0",
        "found_under": 0,
    },
    "datasketch": {"units": 1700, "otherwise": 0},
}
MACHINE = {"architecture": "x86_64", "processor": "P", "versions": {"numba": "0.68"}}
GATE: dict[str, Any] = {
    "machine": MACHINE,
    "answers": ANSWERS,
    "counts": {"reference": 1000, "cut": 2000, "find": 20000},
    "times": {"P": {"cut": 2.0, "find": 20.0}},
}


@pytest.mark.parametrize(
    ("path", "value", "red"),
    [
        (("promise",), 0.9876, ["recall promised at the threshold"]),
        (("kept", "holds"), False, ["pairs just over the threshold that are missed"]),
        (("pairs", "found_under"), 1, ["pairs just under the threshold that are found"]),
        (("datasketch", "otherwise"), 1, ["sentences judged otherwise than by datasketch"]),
        (("text", "duplicates"), 499, ["duplicates in the made text"]),
        (("pairs", "checksum"), "d1", ["duplicates in the pairs"]),
        (("text", "made"), "a1", ["made text, as it is made"]),
        (("promise",), 0.99, []),
    ],
)
def test_an_answer_that_is_not_as_it_was_is_red(
    path: tuple[str, ...], value: object, red: list[str]
) -> None:
    answers = copy.deepcopy(ANSWERS)
    place = answers
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    findings = gate.check_answers(answers, ANSWERS)
    assert [finding.name for finding in findings if not finding.holds] == red


@pytest.mark.parametrize("slower", [1.0, 1.2])
def test_a_fifth_more_instructions_are_red_whatever_the_versions(slower: float) -> None:
    counts = {"reference": 3000, "cut": 6000, "find": int(60000 * slower)}
    for versions in ({"numba": "0.68"}, {"numba": "0.69"}):
        found = gate.check_counts(counts, GATE, MACHINE | {"versions": versions})
        assert {name: one.holds for name, one in found.items()} == {
            "cut": True,
            "find": slower == 1,
        }
    assert str(found["cut"]) == (
        "ok  instructions, cut: 2.0000 of the reference work; "
        "at most 2.3000 (stored x 1.15, other versions)"
    )


def test_instructions_that_were_not_counted_are_not_held_against_anything() -> None:
    assert gate.check_counts({}, GATE, MACHINE) == {}


def test_a_fifth_more_time_is_red_on_the_same_processor() -> None:
    times = {"cut": 2.0, "find": 24.0}
    same = gate.check_times(times, GATE, MACHINE)
    assert {name: one.holds for name, one in same.items()} == {"cut": True, "find": False}
    assert str(same["find"]) == (
        f"RED time, find: 24.000 of the reference work; "
        f"at most {20 * gate.TIME_ROOM:.3f} (stored x {gate.TIME_ROOM})"
    )


def test_another_processor_is_held_against_the_slowest_that_is_known() -> None:
    known = GATE | {"times": {"P": {"cut": 2.0, "find": 20.0}, "R": {"cut": 3.0, "find": 10.0}}}
    times = {"cut": 3.0 * gate.TIME_ROOM_ELSEWHERE, "find": 20.1 * gate.TIME_ROOM_ELSEWHERE}
    found = gate.check_times(times, known, MACHINE | {"processor": "Q"})
    assert {name: one.holds for name, one in found.items()} == {"cut": True, "find": False}
    assert "another processor" in str(found["find"])


def test_one_name_of_two_generations_is_two_processors() -> None:
    processor = gate.describe_machine()["processor"]
    info = Path("/proc/cpuinfo")
    if info.exists() and "cpu family" in info.read_text(encoding="utf-8"):
        assert "cpu family " in processor
        assert ", model " in processor
    assert processor


def test_pairs_lie_on_both_sides_of_the_threshold() -> None:
    documents, is_over = gate.make_pairs(30, 10)
    assert (len(documents), sum(is_over)) == (40, 30)
    for document, over in zip(documents, is_over, strict=True):
        one, other = (
            {text[i : i + 5] for i in range(len(text) - 4)} for text in document.split("\n\n")
        )
        low, high = (0.7, 0.72) if over else (0.68, 0.7)
        assert low <= len(one & other) / len(one | other) < high
    assert gate.make_pairs(30, 10) == (documents, is_over)


def test_the_text_has_four_scripts_and_repeats_in_each() -> None:
    text = "".join(gate.make_text(0.01))
    for first, last in ("az", "\u0430\u044f", "\u0e01\u0e2e", "\u4e00\u9fff"):
        assert sum(first <= letter <= last for letter in text) > 100


class Parts:
    """Stands for the processes of a gate; slow as often as it is told."""

    def __init__(self, slow_tries: int) -> None:
        self.slow_tries = slow_tries
        self.calls: list[tuple[str, ...]] = []

    def run(self, folder: str, part: str, *stages: str) -> dict[str, Any]:
        self.calls.append((part, *stages))
        if part == "answers":
            return ANSWERS
        if part == "counts":
            counts: dict[str, Any] = GATE["counts"]
            return counts
        self.slow_tries -= 1
        seconds = {"reference": 0.01, "cut": 0.02, "find": 0.3 if self.slow_tries >= 0 else 0.2}
        return {name: seconds[name] for name in ("reference", *(stages or ("cut", "find")))}


@pytest.mark.parametrize(("slow_tries", "code"), [(0, 0), (2, 0), (99, 1)])
def test_a_stage_that_is_slow_again_and_again_is_red(
    slow_tries: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(GATE), encoding="utf-8")
    parts = Parts(slow_tries)
    monkeypatch.setattr(gate, "_run_part", parts.run)
    monkeypatch.setattr(gate, "_why_no_counts", lambda: "")
    monkeypatch.setattr(gate, "describe_machine", lambda: MACHINE)
    assert gate.run_gate(path=path) == code
    again = min(slow_tries, gate.ATTEMPTS)
    assert parts.calls == [("answers",), ("counts",), ("times",), *[("times", "find")] * again]
    shown = capsys.readouterr()
    assert shown.err == ("the gate is red: time, find\n" if code else "")
    assert len(shown.out.splitlines()) == 12


def test_a_gate_without_valgrind_says_so_and_checks_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(GATE), encoding="utf-8")
    monkeypatch.setattr(gate, "_run_part", Parts(0).run)
    monkeypatch.setattr(gate, "describe_machine", lambda: MACHINE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gate.run_gate(path=path) == 0
    assert "instructions are not counted: " in capsys.readouterr().out
    assert gate.run_gate(write=True, path=path) == 1
    assert json.loads(path.read_text(encoding="utf-8")) == GATE


def test_what_a_run_stores_is_what_the_next_is_held_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gate.json"
    monkeypatch.setattr(gate, "_run_part", Parts(0).run)
    monkeypatch.setattr(gate, "_why_no_counts", lambda: "")
    monkeypatch.setattr(gate, "describe_machine", lambda: MACHINE)
    assert gate.run_gate(write=True, path=path) == 0
    assert json.loads(path.read_text(encoding="utf-8")) == GATE
    monkeypatch.setattr(gate, "describe_machine", lambda: MACHINE | {"processor": "Q"})
    assert gate.run_gate(write=True, path=path) == 0
    assert json.loads(path.read_text(encoding="utf-8"))["times"].keys() == {"P", "Q"}


def test_a_part_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)times: .*text\.jsonl"):
        gate._run_part(str(tmp_path), "times")


def test_the_stored_gate_is_of_every_stage() -> None:
    stored = json.loads(gate.GATE_PATH.read_text(encoding="utf-8"))
    stages = {"cut", "fold", "shingle", "sketch", "find", "read", "map", "rewrite", "clean"}
    assert stored["times"]
    assert all(set(times) == stages for times in stored["times"].values())
    assert set(stored["counts"]) == {"reference", *stages}
