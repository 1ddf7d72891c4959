"""Runs over folders and corpora, as the command does them."""

import gzip
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import orjson
import pytest
import reference

from dedup import clean, cli

SEEDS = Path(__file__).parent.parent / "seeds"
A, B, C, D = (reference.make_sentence(Random(seed)) for seed in (1, 2, 3, 4))

Run = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    def run_command(*arguments: object) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["dedup", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return run_command


def write_tree(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def jsonl(*values: dict[str, object]) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def test_a_folder_gives_what_each_file_gives_and_what_repeats_across(
    run: Run, tmp_path: Path
) -> None:
    code, _, err = run("clean", SEEDS, "--exclude", "README.md", "--out", tmp_path / "out")
    assert code == 0
    assert "9 documents" in err
    names = [path.name for path in SEEDS.iterdir() if path.name != "README.md"]
    for name in names:
        text = (SEEDS / name).read_text(encoding="utf-8")
        mirrored = (tmp_path / "out" / name).read_text(encoding="utf-8")
        if name != "harbour_report.txt":
            assert mirrored == clean(text).text
    report = (tmp_path / "out" / "harbour_report.txt").read_text(encoding="utf-8")
    assert "Visitors are reminded" not in report
    assert "crane" not in report
    across = [
        row
        for row in rows(tmp_path / "out" / "map.jsonl")
        if "kind" in row and row["canonical"]["document"] != row["document"]  # type: ignore[index]
    ]
    assert {row["document"] for row in across} == {"harbour_report.txt"}


@pytest.mark.parametrize("arguments", [["--threads", "1"], ["--threads", "3"]])
def test_any_number_of_threads_and_any_order_of_creation_give_the_same_bytes(
    run: Run, tmp_path: Path, arguments: list[str]
) -> None:
    files = {
        f"{name}/{i}.txt": " ".join(Random(i * 7 + len(name)).choices([A, B, C, D], k=5))
        for name in ("b", "a", "B", "ä", "a.b")
        for i in range(6)
    }
    names = sorted(files)
    Random(len(arguments[1])).shuffle(names)
    write_tree(tmp_path / "one", files)
    write_tree(tmp_path / "two", {name: files[name] for name in names})
    assert run("clean", tmp_path / "one", "--out", tmp_path / "x")[0] == 0
    assert run("clean", tmp_path / "two", "--out", tmp_path / "y", *arguments)[0] == 0
    assert read_tree(tmp_path / "x") == read_tree(tmp_path / "y")


def test_a_mirror_is_restored_byte_for_byte(run: Run, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.txt": f"{A} {B}\r\n\r\n{A}\r\n",
        "deep/b.md": f"# Title\n\n- {C}\n- {B}\n",
        "deep/c.log": f"{A} {C} Über.".encode("utf-16"),
        "legacy.txt": ("Книги можно сдать в любом отделении до конца сентября. " * 2).encode(
            "cp1251"
        ),
        "empty.txt": "",
        "all.txt": A,
    }
    write_tree(tmp_path / "in", files)
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "all.txt").read_bytes() == b""
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert (code, err) == (0, "6 text files rebuilt\n")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "in")


def test_restoring_tells_what_does_not_fit(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {B} {A}", "b.txt": f"{C} {C}"})
    run("clean", tmp_path / "in", "--out", tmp_path / "out")
    (tmp_path / "out" / "a.txt").write_text("something else", encoding="utf-8")
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert code == cli.SOME_FAILED
    assert "a.txt: the text is not the cleaned text this map was made with" in err
    assert read_tree(tmp_path / "back") == {"b.txt": f"{C} {C}".encode()}


def test_a_map_cannot_lead_out_of_the_folder(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {A}"})
    run("clean", tmp_path / "in", "--out", tmp_path / "out")
    map_file = tmp_path / "out" / "map.jsonl"
    map_file.write_bytes(map_file.read_bytes().replace(b'"file":"a.txt"', b'"file":"../evil"'))
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert code == 4
    assert "leads out of the folder" in err
    assert not (tmp_path / "evil").exists()


def test_rows_keep_their_fields_and_their_order(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        jsonl(
            {"z": 1, "id": "x", "text": f"{A} {B}", "more": {"b": [1.5, None], "a": "ü"}},
            {"text": f"{B} {C}", "id": 7},
            {"text": D},
        )
    )
    assert run("clean", path, "--out", tmp_path / "out")[0] == 0
    assert rows(tmp_path / "out" / "c.jsonl") == [
        {"z": 1, "id": "x", "text": f"{A} {B}", "more": {"b": [1.5, None], "a": "ü"}},
        {"text": C, "id": 7},
        {"text": D},
    ]
    lines = (tmp_path / "out" / "c.jsonl").read_bytes().splitlines()
    assert list(orjson.loads(lines[0])) == ["z", "id", "text", "more"]
    documents = [row["document"] for row in rows(tmp_path / "out" / "map.jsonl")]
    assert documents == ["x", "7", "7", "c.jsonl:3"]


def test_fields_are_named_by_options(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl({"k": "p", "body": A}, {"k": "q", "body": f"{A} {B}"})))
    options = ["--id-field", "k", "--text-field", "body"]
    assert run("clean", path, "--out", tmp_path / "out", *options)[0] == 0
    unpacked = gzip.decompress((tmp_path / "out" / "c.jsonl.gz").read_bytes())
    assert [orjson.loads(line)["body"] for line in unpacked.splitlines()] == [A, B]


def test_what_cannot_be_read_is_listed_and_the_rest_is_cleaned(run: Run, tmp_path: Path) -> None:
    write_tree(
        tmp_path / "in",
        {
            "a.txt": f"{A} {A}",
            "bad.txt.gz": b"\x1f\x8bno gzip at all",
            "rows.jsonl": jsonl({"id": 1, "text": B}) + b'{"id": 2, "te\n' + jsonl({"id": 3}),
        },
    )
    code, _, err = run("clean", tmp_path / "in", "--out", tmp_path / "out")
    assert code == cli.SOME_FAILED
    assert "bad.txt.gz" in err
    assert "rows.jsonl" in err
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert len(summary["failures"]) == 3
    assert summary["documents"] == 2
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == A
    # Rows that are none pass through.
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == (
        tmp_path / "in" / "rows.jsonl"
    ).read_bytes()
    code, _, err = run("clean", tmp_path / "in", "--out", tmp_path / "strict", "--strict")
    assert code == 3
    assert not list((tmp_path / "strict").iterdir())


def test_against_a_reference_only_what_it_has_goes(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "known", {"k.txt": f"{A} {A}"})
    write_tree(tmp_path / "in", {"a.txt": f"{B} {A} {B}"})
    before = read_tree(tmp_path / "known")
    options = ["--against", tmp_path / "known", "--out", tmp_path / "out"]
    assert run("clean", tmp_path / "in", *options)[0] == 0
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == f"{B} {B}"
    assert read_tree(tmp_path / "known") == before
    assert not (tmp_path / "out" / "k.txt").exists()
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (summary["documents"], summary["duplicates"]) == (1, 1)


def test_documents_that_are_nearly_all_duplicates_can_be_left_out(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        jsonl(
            {"id": 1, "text": f"{A} {B}"},
            {"id": 2, "text": f"{B} {A}"},
            {"id": 3, "text": f"{A} {C} {D}"},
        )
    )
    assert run("clean", path, "--out", tmp_path / "out", "--drop-documents-over", "0.8")[0] == 0
    assert [row["id"] for row in rows(tmp_path / "out" / "c.jsonl")] == [1, 3]
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["dropped_documents"] == ["2"]


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--keep", "newest", "--date-field", "day"], [B, A, C]),
        (["--keep", "priority", "--priority-field", "rank"], [B, "", f"{A} {C}"]),
        (["--keep", "last"], [B, "", f"{A} {C}"]),
        (["--keep", "longest"], [f"{A} {B}", "", C]),
        (["--scope", "document"], [f"{A} {B}", A, f"{A} {C}"]),
        (["--annotate"], [f"{A} {B}", A, f"{A} {C}"]),
        (["--min-run", "2"], [f"{A} {B}", A, f"{A} {C}"]),
        (["--boilerplate-over", "3", "--boilerplate", "drop-all"], [B, "", C]),
    ],
)
def test_options_choose_which_copy_stays(
    run: Run, tmp_path: Path, options: list[str], texts: list[str]
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        jsonl(
            {"id": 1, "text": f"{A} {B}", "day": "2020-01-01", "rank": 3},
            {"id": 2, "text": A, "day": "2024-01-01", "rank": 2},
            {"id": 3, "text": f"{A} {C}", "day": None, "rank": 1},
        )
    )
    assert run("clean", path, "--out", tmp_path / "out", *options)[0] == 0
    assert [row["text"] for row in rows(tmp_path / "out" / "c.jsonl")] == texts


def test_globs_set_priorities_of_files(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a/x.txt": f"{A} {B}", "b/y.txt": A})
    options = ["--keep", "priority", "--priority", "b/*", "--priority", "a/*"]
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out", *options)[0] == 0
    assert (tmp_path / "out" / "a" / "x.txt").read_text(encoding="utf-8") == B


def test_no_file_is_overwritten_by_the_map(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"map.jsonl": jsonl({"id": 1, "text": A}), "b.txt": A})
    code, _, err = run("clean", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 3
    assert "map.jsonl: has the name of a file the run writes itself" in err
    assert not list((tmp_path / "out").iterdir())
    options = ["--exclude", "map.jsonl", "--out", tmp_path / "out"]
    assert run("clean", tmp_path / "in", *options)[0] == 0


def test_encodings_that_were_detected_are_named(run: Run, tmp_path: Path) -> None:
    text = "Книги можно сдать в любом отделении до конца сентября. " * 2
    write_tree(tmp_path / "in", {"a.txt": text.encode("cp1251"), "b.txt": A})
    code, _, err = run("clean", tmp_path / "in", "--out", tmp_path / "out", "-q")
    assert (code, err) == (0, "dedup: a.txt: not UTF-8, read and written as windows-1251\n")


def test_a_dry_run_prints_the_map_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {A}"})
    code, out, _ = run("clean", tmp_path / "in", "--dry-run")
    assert code == 0
    assert [next(iter(orjson.loads(line))) for line in out.splitlines()] == ["document"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_manifest_says_how_it_was_made(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": A, "b.txt": B})
    run("clean", tmp_path / "in", "--out", tmp_path / "out", "--threshold", "0.8")
    manifest = orjson.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["options"]["threshold"] == 0.8
    assert manifest["unicode_version"] == "16.0.0"
    assert manifest["signature"] == {"scheme": "affine32", "seed": 1, "bands": 16, "rows": 6}
    assert [one["file"] for one in manifest["inputs"]] == ["a.txt", "b.txt"]
    assert all(len(one["checksum"]) == 16 for one in manifest["inputs"])


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["in"], 2, "--out"),
        (["in", "--out", "in/out"], 5, "stands inside the input"),
        (["in", "--out", "."], 5, "holds the input"),
        (["in", "--out", "full"], 5, "is not empty"),
        (["in", "--out", "in/a.txt"], 5, "in/a.txt"),
        (["in", "none", "--out", "out", "--strict"], 3, "none"),
        (["empty", "--out", "out"], 3, "no file of a format"),
        (["in", "--out", "out", "--json"], 2, "--json"),
        (["in", "--out", "out", "--min-run", "0"], 2, "min_run"),
        (["in", "--out", "out", "--keep", "newest"], 2, "date field"),
        (["in", "--out", "out", "--keep", "priority"], 2, "priority field"),
        (["in", "--out", "out", "--drop-documents-over", "7"], 2, "drop_documents_over"),
        (["in", "--out", "out", "--threads", "0"], 2, "threads"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    write_tree(tmp_path / "in", {"a.txt": A})
    write_tree(tmp_path / "full", {"old.txt": "old"})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    found, out, err = run("clean", "-q", *arguments)
    assert (found, out) == (code, b"")
    assert told in err
    assert read_tree(tmp_path / "full") == {"old.txt": b"old"}
    assert read_tree(tmp_path / "in") == {"a.txt": A.encode()}
