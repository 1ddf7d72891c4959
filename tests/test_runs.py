"""Runs over folders and corpora, as the command does them."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import orjson
import pytest
import reference
import zstandard
from conftest import Run

from dedup import checkpoints, clean, cli, runs, spool
from dedup.errors import InputError, OutputError
from dedup.formats import FileError, Limits
from dedup.progress import Progress

SEEDS = Path(__file__).parent.parent / "seeds"
A, B, C, D = (reference.make_sentence(Random(seed)) for seed in (1, 2, 3, 4))


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
    assert (code, err) == (0, "6 files rebuilt\n")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "in")


def test_packed_texts_are_restored_and_packed_again(run: Run, tmp_path: Path) -> None:
    texts = {
        "a.rst.gz": f"{A} {B} {A}\r\n".encode(),
        "b.txt.gz": f"{C} Über. {B}".encode("utf-16"),
        "same.log.gz": D.encode(),
    }
    write_tree(tmp_path / "in", {name: gzip.compress(text, 9) for name, text in texts.items()})
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out")[0] == 0
    assert gzip.decompress((tmp_path / "out" / "a.rst.gz").read_bytes()) != texts["a.rst.gz"]
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    told = "3 files rebuilt, 2 with the same text in other bytes (packed or escaped anew)\n"
    assert (code, err) == (0, told)
    back = read_tree(tmp_path / "back")
    assert {name: gzip.decompress(data) for name, data in back.items()} == texts
    # What was not changed was not packed again.
    assert back["same.log.gz"] == (tmp_path / "in" / "same.log.gz").read_bytes()


def test_rows_are_restored_in_all_their_bytes(run: Run, tmp_path: Path) -> None:
    sheet = io.StringIO()
    csv.writer(sheet).writerows([["id", "text"], ["p", f"{B} {A}"], ["q", A], ["r", f"{D},\n{D}"]])
    files: dict[str, str | bytes] = {
        "a.txt": f"{A} {B}",
        "b.jsonl": jsonl({"z": [1.5], "id": 1, "text": f"{A} {C}"}, {"text": C})
        + b"no row\n\n"
        + jsonl({"text": f"Ünd {C}", "id": "x"}),
        "c.csv": sheet.getvalue(),
        "d.txt": f"{D} {B}",
        "none.jsonl": b"",
    }
    write_tree(tmp_path / "in", files)
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out")[0] == cli.SOME_FAILED
    assert (tmp_path / "out" / "b.jsonl").read_bytes() != files["b.jsonl"]
    assert (tmp_path / "out" / "c.csv").read_bytes().decode() != files["c.csv"]
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert (code, err) == (0, "5 files rebuilt\n")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "in")


def test_rows_packed_or_in_columns_are_restored_in_their_values(run: Run, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"key": ["x", "y"], "body": [f"{A} {B}", f"{B} {C}"], "n": [1, 2]})
    (tmp_path / "in").mkdir()
    parquet.write_table(table, tmp_path / "in" / "t.parquet")
    packed = gzip.compress(jsonl({"key": "z", "body": f"{C} {D}"}))
    (tmp_path / "in" / "r.jsonl.gz").write_bytes(packed)
    fields = ["--id-field", "key", "--text-field", "body"]
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out", *fields)[0] == 0
    cleaned = parquet.read_table(tmp_path / "out" / "t.parquet")
    assert cleaned["body"].to_pylist() == [f"{A} {B}", ""]
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert code == 0
    assert err.startswith("2 files rebuilt")
    assert parquet.read_table(tmp_path / "back" / "t.parquet").equals(table)
    assert (tmp_path / "back" / "r.jsonl.gz").read_bytes() == packed


def test_what_is_not_rebuilt_is_counted_and_what_cannot_be_is_listed(
    run: Run, tmp_path: Path
) -> None:
    page = f"<html><body><article><p>{B}</p><p>{B}</p></article></body></html>"
    write_tree(
        tmp_path / "in",
        {
            "a.jsonl": jsonl({"id": 1, "text": f"{A} {C}"}),
            "b.jsonl": jsonl({"id": 2, "text": A}, {"id": 3, "text": D}, {"id": 4, "text": C}),
            "c.txt": A,
            "d.html": page,
            "e.html.gz": gzip.compress(page.encode()),
        },
    )
    options = ["--out", tmp_path / "out", "--drop-documents-over", "0.9"]
    assert run("clean", tmp_path / "in", *options)[0] == 0
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert code == cli.SOME_FAILED
    assert err.splitlines() == [
        "dedup: b.jsonl: 2 of its rows were left out of the mirror, so not to be rebuilt",
        "dedup: c.txt: left out of the mirror, so not to be rebuilt",
        "1 file rebuilt",
        "2 files are not rebuilt: html 2 (their mirror holds extracted text)",
    ]
    assert list(read_tree(tmp_path / "back")) == ["a.jsonl"]
    write_tree(tmp_path / "html", {"d.html": page})
    assert run("clean", tmp_path / "html", "--out", tmp_path / "text")[0] == 0
    code, _, err = run("restore", tmp_path / "text", "--out", tmp_path / "none")
    told = "1 file is not rebuilt: html 1 (its mirror holds extracted text)"
    assert (code, err) == (0, f"0 files rebuilt\n{told}\n")


def test_a_reference_has_no_originals(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "known", {"k.jsonl": jsonl({"id": 1, "text": A}, {"id": 2, "text": B})})
    path = tmp_path / "c.jsonl"
    path.write_bytes(jsonl({"id": 1, "text": f"{C} {A}"}))
    options = ["--against", tmp_path / "known", "--out", tmp_path / "out"]
    assert run("clean", path, *options)[0] == 0
    assert run("restore", tmp_path / "out", "--out", tmp_path / "back")[0] == 0
    assert read_tree(tmp_path / "back") == {"c.jsonl": path.read_bytes()}


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([f"{A} {B}"], "holds fewer rows than the map has documents of it"),
        ([f"{A} {B}", C, D], "holds more rows than the map has documents of it"),
        ([A, C], "document '1': the text is not the cleaned text this map was made with"),
    ],
)
def test_a_mirror_with_other_rows_is_told(
    run: Run, tmp_path: Path, texts: list[str], told: str
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(jsonl({"id": 1, "text": f"{A} {B}"}, {"id": 2, "text": f"{C} {A}"}))
    (tmp_path / "d.txt").write_text(f"{D} {A}", encoding="utf-8")
    assert run("clean", path, tmp_path / "d.txt", "--out", tmp_path / "out")[0] == 0
    mirror = [{"id": i, "text": text} for i, text in enumerate(texts, 1)]
    (tmp_path / "out" / "c.jsonl").write_bytes(jsonl(*mirror))
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert (code, err) == (cli.SOME_FAILED, f"dedup: c.jsonl: {told}\n1 file rebuilt\n")
    assert read_tree(tmp_path / "back") == {"d.txt": f"{D} {A}".encode()}


def test_a_map_that_was_cut_is_told(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {A}", "b.txt": f"{B} {B}"})
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out")[0] == 0
    map_file = tmp_path / "out" / "map.jsonl"
    map_file.write_bytes(b"".join(map_file.read_bytes().splitlines(keepends=True)[:2]))
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    told = "dedup: b.txt: the map ends before the documents of b.txt\n1 file rebuilt\n"
    assert (code, err) == (cli.SOME_FAILED, told)


def test_map_and_manifest_have_to_be_of_one_run(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {A}", "b.txt": B})
    run("clean", tmp_path / "in", "--out", tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    known = orjson.loads(manifest.read_bytes())
    for content, code, told in [
        ({**known, "inputs": known["inputs"][:1]}, 4, "map.jsonl, line 3: has more documents"),
        ({**known, "inputs": [{}]}, 4, "manifest.json: not the manifest of a run"),
        (None, 3, "manifest.json: no such file"),
    ]:
        manifest.write_bytes(orjson.dumps(content))
        if content is None:
            manifest.unlink()
        found, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "b", "--overwrite")
        assert found == code
        assert told in err


def test_restoring_tells_what_does_not_fit(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {B} {A}", "b.txt": f"{C} {C}"})
    run("clean", tmp_path / "in", "--out", tmp_path / "out")
    (tmp_path / "out" / "a.txt").write_text("something else", encoding="utf-8")
    code, _, err = run("restore", tmp_path / "out", "--out", tmp_path / "back")
    assert code == cli.SOME_FAILED
    assert "a.txt: the text is not the cleaned text this map was made with" in err
    assert read_tree(tmp_path / "back") == {"b.txt": f"{C} {C}".encode()}


def test_a_manifest_cannot_lead_out_of_the_folder(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {A}"})
    run("clean", tmp_path / "in", "--out", tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"file": "a.txt"', b'"file": "../evil"'))
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


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("ending", PACKERS)
def test_standard_input_is_a_corpus_when_its_format_is_named(
    run: Run, tmp_path: Path, ending: str
) -> None:
    data = jsonl({"id": 1, "text": f"{A} {B}"}, {"id": 2, "text": f"{B} {C}"})
    write_tree(tmp_path / "in", {f"stdin.jsonl{ending}": PACKERS[ending](data)})
    out, other = tmp_path / "out", tmp_path / "other"
    options = ["--stdin-format", "jsonl", "--out", out]
    assert run("clean", "-", *options, stdin=PACKERS[ending](data))[0] == 0
    assert run("clean", tmp_path / "in", "--out", other)[0] == 0
    assert read_tree(out) == read_tree(other)
    assert sorted(read_tree(out)) == [
        "manifest.json",
        "map.jsonl",
        f"stdin.jsonl{ending}",
        "summary.json",
    ]


def test_standard_input_stands_where_it_is_named(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {B}"})
    sheet = f'id,text\r\n1,"{B} {C}"\r\n'.encode()
    for order, kept in ((["-", tmp_path / "in"], f"{B} {C}"), ([tmp_path / "in", "-"], C)):
        out = tmp_path / f"out{len(kept)}"
        done = run("clean", *order, "--stdin-format", "csv", "--out", out, stdin=sheet)
        assert done[0] == 0
        lines = (out / "stdin.csv").read_text(encoding="utf-8").splitlines()
        assert lines == ["id,text", f'1,"{kept}"']
    arguments = ["--stdin-format", "csv", "--dry-run"]
    code, printed, _ = run("clean", "-", tmp_path / "in", *arguments, stdin=sheet)
    assert code == 0
    assert [row["document"] for row in map(orjson.loads, printed.splitlines())] == [
        "1",
        "a.txt",
        "a.txt",
    ]
    write_tree(tmp_path / "in", {"stdin.csv": sheet})
    done = run("clean", "-", tmp_path / "in", *arguments, stdin=sheet)
    assert done[0] == cli.SOME_FAILED
    assert "stdin.csv: its name is taken by standard input" in done[2]


def test_standard_input_lies_in_no_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--stdin-format", "jsonl", "--out", "."]
    assert run("clean", "-", *options, stdin=jsonl({"id": 1, "text": A}))[0] == 0
    assert (tmp_path / "stdin.jsonl").exists()


def test_standard_input_may_be_parquet_or_one_text(run: Run, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(arrow.table({"id": [1, 2], "text": [A, f"{A} {B}"]}), file)
    options = ["--stdin-format", "parquet", "--out", tmp_path / "out"]
    assert run("clean", "-", *options, stdin=file.getvalue())[0] == 0
    cleaned = parquet.read_table(tmp_path / "out" / "stdin.parquet")
    assert cleaned["text"].to_pylist() == [A, B]
    code, _, err = run("clean", "-", *options, "--overwrite", stdin=gzip.compress(b"x"))
    assert (code, err) == (
        3,
        "dedup: standard input: parquet is read unpacked only, but this is gz\n",
    )
    options = ["--stdin-format", "text", "--out", tmp_path / "text"]
    assert run("clean", "-", *options, stdin=f"{A} {A}".encode())[0] == 0
    assert (tmp_path / "text" / "stdin.txt").read_text(encoding="utf-8") == A


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-", "--resume"], "is gone, so no run goes on with it"),
        (["-", "-"], "can be read once only"),
        (["-", "--against", "-"], "is no reference"),
        (["in"], "is not among the paths"),
        (["-"], "is empty"),
    ],
)
def test_standard_input_that_cannot_be_a_corpus_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    write_tree(tmp_path / "in", {"a.txt": A})
    monkeypatch.chdir(tmp_path)
    code, _, err = run("clean", *arguments, "--stdin-format", "jsonl", "--out", "out")
    assert code == 3
    assert err.startswith("dedup: standard input: ")
    assert told in err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    code, _, err = run("clean", "-", "in", "--out", "out")
    assert (code, "--stdin-format" in err) == (3, True)


def test_a_bomb_on_standard_input_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = zstandard.compress(bytes(80 << 20))
    options = ["--stdin-format", "jsonl", "--out", tmp_path / "out"]
    code, _, err = run("clean", "-", *options, stdin=bomb)
    assert code == cli.SOME_FAILED
    assert "stdin.jsonl.zst: unpacks to more than 1000 times its size" in err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(11))))
    with (
        pytest.raises(FileError, match="more than 10 bytes, the limit"),
        spool.spool_stdin("jsonl", str(tmp_path), Progress(), Limits(unpacked_bytes=10)),
    ):
        pass


@pytest.mark.parametrize("has_names", [False, True])
def test_nothing_is_left_of_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_names: bool
) -> None:
    if has_names:
        monkeypatch.setattr(spool, "_OPEN_FILES", tmp_path / "nowhere")
    elif not spool._OPEN_FILES.exists():
        pytest.skip("needs /proc")
    for failure in (None, InputError("x", "y"), KeyboardInterrupt()):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abc")))
        with (
            pytest.raises(type(failure)) if failure else contextlib.nullcontext(),
            spool.spool_stdin("jsonl", str(tmp_path), Progress()) as file,
        ):
            assert [file.path.read_bytes(), file.path.read_bytes()] == [b"abc", b"abc"]
            names = [path.name for path in tmp_path.iterdir()]
            assert len(names) == has_names
            # What a run that was killed left, the next one removes.
            assert all(map(checkpoints._UNFINISHED.fullmatch, names))
            if failure:
                raise failure
        assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="no room for what comes on standard input"):
        spool.spool_stdin("jsonl", str(tmp_path / "none"), Progress()).__enter__()


@pytest.mark.skipif(not spool._OPEN_FILES.exists(), reason="needs /proc")
def test_nothing_is_left_of_standard_input_when_the_run_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dedup", "clean", "-", "--stdin-format", "jsonl"]
    with subprocess.Popen(
        [*command, "--out", out], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        # More than a pipe and a block take, so that some of it stands in the file.
        process.stdin.write(jsonl({"id": 1, "text": A}) * 100_000)
        process.stdin.flush()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert list(out.iterdir()) == []


def test_what_a_run_over_standard_input_that_was_killed_left_is_removed(
    run: Run, tmp_path: Path
) -> None:
    write_tree(tmp_path / "out", {".dedup-abcd_123": b"left", "mine": b"mine"})
    options = ["--stdin-format", "jsonl", "--out", tmp_path / "out", "--overwrite"]
    assert run("clean", "-", *options, stdin=jsonl({"id": 1, "text": A}))[0] == 0
    names = ["manifest.json", "map.jsonl", "mine", "stdin.jsonl", "summary.json"]
    assert sorted(read_tree(tmp_path / "out")) == names


def test_a_run_over_standard_input_that_is_stopped_does_not_go_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "find_duplicates", stop)
    options = ["--stdin-format", "jsonl", "--out", tmp_path / "out", "--save-every", "0"]
    code, _, err = run("clean", "-", *options, stdin=jsonl({"id": 1, "text": A}))
    assert (code, err) == (cli.STOPPED, "dedup: stopped\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_of_other_kinds_are_counted(run: Run, tmp_path: Path) -> None:
    others = {f"{i}.png": "" for i in range(4)} | {
        "deep/x.CSS": "",
        "deep/y.css": "",
        "x.tar.gz": "",
        "x.pdf.gz": "",
        "Makefile": "",
        ".hidden.png": "",
        ".git/x.png": "",
        "left/out.png": "",
        "z.js": "",
    }
    write_tree(tmp_path / "in", {"a.txt": A, "b.txt": f"{A} {A}", **others})
    code, _, err = run("clean", tmp_path / "in", "--exclude", "left", "--out", tmp_path / "out")
    assert code == 0
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["unread_files"] == {
        "count": 10,
        "suffixes": {".png": 4, ".css": 2, "": 1, ".gz": 1, ".js": 1, ".pdf.gz": 1},
    }
    assert list(summary["unread_files"]["suffixes"])[:2] == [".png", ".css"]
    told = (
        "  10 files of other kinds were not read (.png 4, .css 2, no ending 1, .gz 1, .js 1, ...)"
    )
    assert told in err.splitlines()
    code, _, err = run("clean", tmp_path / "in", "--include", "*.txt", "--dry-run")
    assert (code, "other kind" in err) == (0, False)
    code, _, err = run(
        "clean", tmp_path / "in", "--include", "*.txt", "--include", "z.*", "--dry-run"
    )
    assert "  1 file of another kind was not read (.js 1)" in err.splitlines()


def test_at_most_twenty_endings_are_listed(run: Run, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"a.txt": A, **{f"x.x{i:02}": "" for i in range(30)}})
    assert run("clean", tmp_path / "in", "--out", tmp_path / "out")[0] == 0
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["unread_files"] == {
        "count": 30,
        "suffixes": {f".x{i:02}": 1 for i in range(20)},
    }


def test_why_there_is_nothing_to_read_comes_first_and_is_short(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "in", {"a.png": "", "b.css": "", "c.css": ""})
    for i in range(40):
        (tmp_path / "in" / f"{i:02}.txt").symlink_to("nowhere")
    links = "; ".join(f"{i:02}.txt: no such file or directory" for i in range(5))
    others = "3 files of other kinds were not read (.css 2, .png 1)"
    for arguments, told in [
        (["in"], f"in: no file of a format that is read, {others}; {links}; and 35 more"),
        (["in", "--include", "*.txt"], f"in: nothing that can be read: {links}; and 35 more"),
        (
            ["in", "--exclude", "*"],
            "in: no file of a format that is read is left by --include and --exclude",
        ),
        (
            ["x", "y"],
            "x, y: nothing that can be read: x: no such file or directory; "
            "y: no such file or directory",
        ),
    ]:
        code, _, err = run("clean", *arguments, "--out", "out")
        assert (code, err) == (3, f"dedup: {told}\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], ["  3 of 6 sentences repeat another (3 exact)", "  taken out: {0}"]),
        (
            ["--min-run", "2"],
            ["  3 of 6 sentences repeat another (3 exact)", "  2 of them taken out: {0}"],
        ),
        (["--min-chars", "900"], ["  0 of 6 sentences repeat another"]),
    ],
)
def test_the_summary_says_what_was_taken_out_once_and_where_the_map_is(
    run: Run, tmp_path: Path, options: list[str], told: list[str]
) -> None:
    write_tree(tmp_path / "in", {"a.txt": f"{A} {B} {C}", "b.txt": f"{A} {B}", "c.txt": C})
    out = tmp_path / "out"
    code, _, err = run("clean", tmp_path / "in", "--out", out, *options)
    assert code == 0
    summary = orjson.loads((out / "summary.json").read_bytes())
    removed, chars = summary["removed_chars"], summary["chars"]
    amount = f"{removed:,} of {chars:,} characters, {removed / chars:.1%}"
    assert err.splitlines()[1:-2] == [line.format(amount) for line in told]
    assert err.splitlines()[-1] == f"  the map is in {out}/map.jsonl"
    assert "the map is in" not in run("clean", tmp_path / "in", "--dry-run", *options)[2]


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
