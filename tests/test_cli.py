"""The command: stdout, stderr, exit code, files."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from conftest import Run

from dedup import cli, errors

SEED = Path(__file__).parent.parent / "seeds" / "000_e161e0f97b314195.txt"
TWICE = (
    "The ferry leaves at noon from the old pier. Nobody knew it then.\n\n"
    "The ferry leaves at noon from the old pier.\n"
)


@pytest.fixture
def twice(tmp_path: Path) -> Path:
    path = tmp_path / "twice.txt"
    path.write_text(TWICE, encoding="utf-8")
    return path


def test_cleaned_text_goes_to_stdout_and_a_summary_to_stderr(run: Run, twice: Path) -> None:
    answer = run("clean", twice)
    assert answer.code == 0
    assert answer.out.decode() == (
        "The ferry leaves at noon from the old pier. Nobody knew it then.\n"
    )
    assert "1 of 3 sentences repeat an earlier one (1 exact)" in answer.err
    assert "99.1%" in answer.err


def test_a_dash_reads_standard_input(run: Run) -> None:
    answer = run("clean", "-", "--quiet", stdin=TWICE.encode())
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count(b"ferry") == 1


def test_the_map_restores_the_seed_byte_for_byte(run: Run, tmp_path: Path) -> None:
    cleaned, map_file, back = (tmp_path / name for name in ("c.txt", "m.jsonl", "b.txt"))
    answer = run("clean", SEED, "--out", cleaned, "--map", map_file)
    assert (answer.code, answer.out) == (0, b"")
    assert cleaned.read_bytes() != SEED.read_bytes()
    assert run("restore", cleaned, "--map", map_file, "--out", back).code == 0
    assert back.read_bytes() == SEED.read_bytes()
    assert run("restore", cleaned, "--map", map_file).out == SEED.read_bytes()


def test_json_is_one_object_with_text_and_map(run: Run, twice: Path) -> None:
    answer = orjson.loads(run("clean", twice, "--json", "-q").out)
    assert answer["text"] == "The ferry leaves at noon from the old pier. Nobody knew it then.\n"
    assert answer["duplicates"][0]["document"] == "twice.txt"
    assert answer["kept"] == [[0, 64, 0], [109, 110, 64]]


def test_a_dry_run_prints_the_map_and_writes_nothing(run: Run, twice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    answer = run("clean", twice, "--dry-run", "--out", out, "-q")
    record, row = (orjson.loads(line) for line in answer.out.splitlines())
    assert record["kept"]
    assert row["kind"] == "exact"
    assert not out.exists()


def test_diff_marks_the_words_that_differ(run: Run) -> None:
    out = run("clean", SEED, "--diff", "-q").out.decode()
    assert "goes: near, score 0.893" in out
    assert "[-the -]Ukrainian military [-lays-] down" in out
    assert "Ukrainian military {+lay+} down" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--unit", "document"], 2),
        (["--unit", "paragraph"], 2),
        (["--threshold", "1.0"], 1),
        (["--min-chars", "60"], 2),
        (["--keep", "last"], 1),
    ],
)
def test_options_change_the_result(
    run: Run, twice: Path, arguments: list[str], expected: int
) -> None:
    out = run("clean", twice, "-q", *arguments).out.decode()
    assert out.count("The ferry leaves") == expected


def test_keep_last_takes_the_first_copy_out(run: Run, twice: Path) -> None:
    out = run("clean", twice, "-q", "--keep", "last").out.decode()
    assert out == "Nobody knew it then.\n\nThe ferry leaves at noon from the old pier.\n"


def test_sentences_that_are_cut_elsewhere_stay_when_asked_for(run: Run) -> None:
    first = "The keeper wrote down every ship that passed the island in forty years of service"
    text = f"{first}, and no one but a child ever read a line of it. {first}."
    assert run("clean", "-", "-q", stdin=text.encode()).out == text[: -len(first) - 2].encode()
    out = run("clean", "-", "-q", "--no-stretches", stdin=text.encode()).out
    assert out == text.encode()


def test_numbers_part_two_facts_unless_told_otherwise(run: Run) -> None:
    fact = b"In the first week of March the boats of the town landed %d tonnes of herring."
    text = fact % 137 + b" " + fact % 316
    assert run("clean", "-", "-q", stdin=text).out == text
    out = run("clean", "-", "-q", "--no-numbers", stdin=text).out
    assert out == fact % 137


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["clean", "nowhere.txt"], 3, "nowhere.txt: no such file or directory"),
        (["clean", "-", "--threshold", "7"], 2, "option threshold: got 7.0"),
        (["clean", "-", "--threshold", "0.01"], 2, "option num_perm: got 128, expected at least"),
        (["clean", "-", "--min-chars", "0"], 2, "option min_chars: got 0"),
        (["clean", "-", "--out", "no/such/folder/x"], 5, "no/such/folder/x"),
        (["clean", "-", "--out", "same", "--map", "same"], 5, "both"),
        (["restore", "-", "--map", "nowhere.jsonl"], 3, "nowhere.jsonl"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    run: Run,
    arguments: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run(*arguments, stdin=b"Some text.")
    assert answer.code == code
    assert answer.out == b""
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("dedup: ")
    assert told in answer.err
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_and_choices_are_refused(run: Run, twice: Path) -> None:
    for arguments in (["--no-such"], ["--unit", "word"], ["--json", "--diff"]):
        answer = run("clean", twice, *arguments)
        assert (answer.code, answer.out) == (2, b"")
        assert arguments[-1].strip("-") in answer.err


def test_the_input_is_not_overwritten_unless_asked(run: Run, twice: Path) -> None:
    link = twice.with_name("link.txt")
    link.symlink_to(twice)
    for target in (twice, link):
        answer = run("clean", twice, "--out", target)
        assert answer.code == 5
        assert "pass --overwrite" in answer.err
    assert run("clean", twice, "--map", twice, "--overwrite").code == 5
    assert twice.read_text(encoding="utf-8") == TWICE
    assert run("clean", twice, "--out", twice, "--overwrite").code == 0
    assert twice.read_text(encoding="utf-8").count("ferry") == 1


def test_text_and_map_never_go_to_one_file(run: Run, twice: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    link = tmp_path / "link"
    link.symlink_to(out)
    for other in (out, link, tmp_path / "x" / ".." / "o"):
        answer = run("clean", twice, "--out", out, "--map", other)
        assert (answer.code, answer.out) == (5, b"")
        assert "both" in answer.err
        assert not out.exists()


def test_a_failed_write_leaves_what_stood_there(run: Run, twice: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    answer = run("clean", twice, "--out", folder)
    assert answer.code == 5
    assert folder.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "twice.txt"]


def test_permissions_of_what_is_replaced_stay(run: Run, twice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    out.write_text("old", encoding="utf-8")
    out.chmod(0o640)
    assert run("clean", twice, "--out", out).code == 0
    assert out.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"no json\n", "line 1: not JSON"),
        (b"[]\n", "line 1: not a JSON object"),
        (b"{}\n", "records of 0 documents"),
        (b'{"kept": [[0, 1]]}\n', "line 1: not the record of a document"),
        (b'{"kept": []}\n{"kept": []}\n', "records of 2 documents"),
    ],
)
def test_a_bad_map_is_refused_with_its_line(
    run: Run, twice: Path, tmp_path: Path, line: bytes, told: str
) -> None:
    map_file = tmp_path / "map.jsonl"
    map_file.write_bytes(line)
    answer = run("restore", twice, "--map", map_file)
    assert answer.code == 4
    assert told in answer.err
    assert answer.out == b""


def test_the_map_of_another_text_is_refused(run: Run, twice: Path, tmp_path: Path) -> None:
    map_file = tmp_path / "map.jsonl"
    run("clean", twice, "--map", map_file)
    answer = run("restore", twice, "--map", map_file)
    assert answer.code == 4
    assert "not the cleaned text this map was made with" in answer.err


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "utf-16", "utf-8-sig", "utf-32"])
def test_other_encodings_are_named_kept_and_restored(
    run: Run, tmp_path: Path, encoding: str
) -> None:
    sentence = "Книги можно сдать в любом отделении до конца сентября. "
    other = "Читальный зал временно переезжает в здание школы на Садовой улице. "
    path, cleaned, map_file = (tmp_path / name for name in ("a.txt", "c.txt", "m.jsonl"))
    path.write_bytes((sentence + other + sentence).encode(encoding))
    answer = run("clean", path, "--out", cleaned, "--map", map_file)
    assert answer.code == 0
    if encoding in ("cp1251", "koi8-r"):
        assert f"not UTF-8, read and written as {encoding.replace('cp', 'windows-')}" in answer.err
    assert cleaned.read_bytes().decode(encoding).strip() == (sentence + other).strip()
    assert run("restore", cleaned, "--map", map_file).out == path.read_bytes()


def test_a_binary_file_is_refused_with_the_byte(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe\x00\x81" * 20)
    answer = run("clean", path)
    assert answer.code == 3
    assert answer.err == f"dedup: {path}: not UTF-8, and no other encoding fits, at byte 0\n"


def test_empty_text_is_no_error(run: Run) -> None:
    answer = run("clean", "-", stdin=b"")
    assert (answer.code, answer.out, answer.err) == (0, b"", "-: empty\n")


def test_every_error_has_an_exit_code() -> None:
    found = [errors.DedupError]
    for kind in found:
        found.extend(kind.__subclasses__())
    codes = {
        kind: next(cli.EXIT_CODES[k] for k in kind.__mro__ if k in cli.EXIT_CODES) for kind in found
    }
    assert set(codes.values()) == {1, 2, 3, 4, 5}
    assert all(code != 1 for kind, code in codes.items() if kind is not errors.DedupError)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("argument", ["-q", "--json", "--diff", "--dry-run"])
def test_a_full_output_is_an_error_in_a_line(
    tmp_path: Path, unbuffered: str, argument: str
) -> None:
    path = tmp_path / "big.txt"
    path.write_text(TWICE * 3000, encoding="utf-8")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dedup", "clean", "-q", argument, path],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        5,
        "dedup: standard output: no space left on device\n",
    )


def test_a_pipe_that_takes_little_at_a_time_gets_it_all(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_text("".join(f"Line {i} of a text.\n" for i in range(50_000)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dedup", "clean", "-q", path],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == path.read_bytes()


def test_closed_streams_are_errors_in_a_line(twice: Path) -> None:
    for end, told in ((">&-", "standard output: is closed"), ("<&-", "standard input: is closed")):
        file = "-" if end == "<&-" else str(twice)
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m dedup clean -q {file} {end}"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.stderr == f"dedup: {told}\n"
        assert done.returncode in (3, 5)


def test_names_and_words_that_the_terminal_has_no_signs_for(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/b\xffd \xd1\x84.txt"
    sentence = "Книги можно сдать в любом отделении до конца сентября. "
    with Path(os.fsdecode(path)).open("wb") as file:
        file.write((sentence * 2).encode())
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for argument in ("--json", "--diff", "--dry-run"):
        done = subprocess.run(
            [sys.executable.encode(), b"-m", b"dedup", b"clean", path, argument.encode()],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0)
        assert done.stdout


def test_kernels_run_where_none_can_be_kept(tmp_path: Path) -> None:
    code = (
        "import numba, numba.core.caching as caching\n"
        "def no_folder(*_): raise RuntimeError('cannot cache function')\n"
        "caching.FunctionCache.__init__ = no_folder\n"
        "from dedup import kernels\n"
        "twice = kernels.kernel(lambda x: 2 * x)\n"
        "assert (twice(3), kernels.is_cached) == (6, False)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_and_version_need_no_compiled_code() -> None:
    code = (
        "import sys; from dedup.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'numpy', 'fastapi'} & set(sys.modules), 'heavy import'"
    )
    for argument in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", code, argument], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_the_first_run_says_that_it_compiles(tmp_path: Path, twice: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "dedup", "clean", "-q", twice],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(done.stderr)
    assert told == ["dedup: compiling for this machine; later runs need not\n", ""]
