"""Runs that are stopped at any moment, and runs that have little memory: the same bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import orjson
import pytest
import reference

from dedup import Filters, Options, checkpoints, duplicates, intake, runs
from dedup.checkpoints import FOLDER_NAME
from dedup.errors import InputError, OutputError
from dedup.runs import Plan, Run

SMALL = 1


def write_input(folder: Path, seed: int = 1, documents: int = 400) -> Path:
    """Write text files, packed ones, and rows, in which sentences repeat with small edits."""
    chooser = Random(seed)
    stock = [reference.make_sentence(chooser) for _ in range(300)]

    def text() -> str:
        sentences = []
        for _ in range(chooser.randint(1, 9)):
            words = chooser.choice(stock).split(" ")
            if chooser.random() < 0.4:
                words[chooser.randrange(len(words))] = chooser.choice(words)
            sentences.append(" ".join(words))
        return "\n\n".join(sentences)

    (folder / "deep").mkdir(parents=True)
    for i in range(documents // 10):
        (folder / ("deep" if i % 2 else ".") / f"{i}.txt").write_text(text(), encoding="utf-8")
    for name in ("rows.jsonl", "deep/more.jsonl"):
        rows = [orjson.dumps({"id": f"{name}-{i}", "text": text()}) for i in range(documents)]
        (folder / name).write_bytes(b"\n".join([*rows, b"no row", b""]))
    (folder / "broken.jsonl.gz").write_bytes(b"nothing")
    return folder


def clean(source: Path, out: Path, *, memory: int | None = None, **values: object) -> Run:
    plan = Plan(paths=[str(source)], out=str(out), **values)  # type: ignore[arg-type]
    return runs.run(plan, Options(), Filters(), threads=2, memory=memory)


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("source") / "in")


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("expected") / "out"
    done = clean(source, out)
    assert done.summary["removed_duplicates"] > 1000
    assert len(done.failures) == 3
    return read_tree(out)


class StoppedError(KeyboardInterrupt):
    """Ctrl-C, told apart from that of whoever runs the tests."""


# Where a run may be stopped: after so many calls of a function.
MOMENTS = [
    (intake.FileReader, "_read_file", 3),
    (intake.FileReader, "_read_file", 30),
    (checkpoints.Checkpoint, "save_read", 2),
    (runs, "find_duplicates", 1),
    (duplicates, "build_buckets", 1),
    (checkpoints.Checkpoint, "save_duplicates", 1),
    (runs, "cut_duplicates", 1),
    (runs, "_write_file", 1),
    (runs, "_write_file", 25),
    (checkpoints.Checkpoint, "save_written", 10),
    (runs, "_summarise", 1),
    (checkpoints.Checkpoint, "remove", 1),
]


@pytest.mark.parametrize("save_seconds", [0.0, 1000.0])
@pytest.mark.parametrize(("owner", "name", "calls"), MOMENTS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    owner: object,
    name: str,
    calls: int,
    save_seconds: float,
    source: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if save_seconds and name.startswith("save_") and name != "save_written":
        # Nothing is saved of work this short.
        return
    original = getattr(owner, name)
    count = 0

    def stop(*arguments: object, **values: object) -> object:
        nonlocal count
        count += 1
        if count == calls:
            raise StoppedError
        return original(*arguments, **values)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(StoppedError):
            clean(source, out, save_seconds=save_seconds)
    assert (out / FOLDER_NAME).is_dir()
    with pytest.raises(OutputError, match="--resume"):
        clean(source, out)
    done = clean(source, out, save_seconds=save_seconds, resume=True)
    assert read_tree(out) == expected
    assert len(done.failures) == 3


def test_what_was_read_and_found_is_not_read_and_found_again(
    source: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise StoppedError

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "cut_duplicates", stop)
        with pytest.raises(StoppedError):
            clean(source, out, save_seconds=0)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(intake.FileReader, "_read_file", refuse)
    monkeypatch.setattr(runs, "find_duplicates", refuse)
    clean(source, out, save_seconds=0, resume=True)
    assert read_tree(out) == expected


def stop_after_reading(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(runs, "find_duplicates", stop)
        with pytest.raises(StoppedError):
            clean(source, out, save_seconds=0)


def test_a_run_does_not_go_on_with_other_input_or_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_input(tmp_path / "in", 2, 40)
    out = tmp_path / "out"
    stop_after_reading(source, out, monkeypatch)
    before = read_tree(out)
    with pytest.raises(OutputError, match="with other include"):
        clean(source, out, resume=True, include=["*.txt"])
    (source / "0.txt").write_text("Other text than was read.", encoding="utf-8")
    with pytest.raises(InputError, match="changed since the run was stopped"):
        clean(source, out, resume=True)
    assert read_tree(out) == before
    clean(source, out, overwrite=True)
    assert not (out / FOLDER_NAME).exists()


def test_a_state_that_was_damaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_input(tmp_path / "in", 2, 40)
    stop_after_reading(source, tmp_path / "out", monkeypatch)
    for name in ("read.json", "text", "files-0.json"):
        path = tmp_path / "out" / FOLDER_NAME / name
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2])
        with pytest.raises(OutputError, match="--overwrite"):
            clean(source, tmp_path / "out", resume=True)
        path.write_bytes(kept)
    clean(source, tmp_path / "out", resume=True)


def test_there_has_to_be_a_run_to_go_on_with(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in", 3, 20)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(OutputError, match="no run that was stopped"):
        clean(source, tmp_path / "out", resume=True)
    # Stopped before there was anything to keep, it begins.
    clean(source, tmp_path / "new", resume=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    seed: int, source: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dedup", "clean", str(source), "--out", str(out)]
    command += ["--threads", "2", "--save-every", "0"]
    killed = 0
    # When so many files stand in the output folder, with those of the state.
    for count in sorted(Random(seed).sample(range(1, 55), 4)):
        arguments = ["--resume"] if (out / FOLDER_NAME).exists() else ["--overwrite"]
        with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE) as process:
            while process.poll() is None and sum(len(names) for *_, names in os.walk(out)) < count:
                pass
            process.kill()
            process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed > 1
    arguments = ["--resume"] if (out / FOLDER_NAME).exists() else ["--overwrite"]
    assert subprocess.run([*command, *arguments], check=False, capture_output=True).returncode == 6
    assert read_tree(out) == expected


@pytest.mark.parametrize("keep", ["first", "last", "longest"])
def test_columns_on_disk_give_the_same_bytes(
    keep: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(keep=keep)  # type: ignore[arg-type]
    plan = Plan(paths=[str(source)], out=str(tmp_path / "a"))
    runs.run(plan, options, Filters(min_run=2, boilerplate_over=9), memory=None)
    # All columns on disk, sorted and grouped in many parts.
    monkeypatch.setattr("dedup.scratch._LEAST_BYTES", 0)
    monkeypatch.setattr("dedup.scratch._LEAST_ROOM_BYTES", 0)
    monkeypatch.setattr("dedup.scratch._LEAST_CHUNK_BYTES", 4000)
    plan = Plan(paths=[str(source)], out=str(tmp_path / "b"))
    runs.run(plan, options, Filters(min_run=2, boilerplate_over=9), threads=2, memory=SMALL)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
