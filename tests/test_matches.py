"""Matching passages of files: `dedup find` and `dedup compare`."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st

from dedup.columns import Texts
from dedup.errors import InputError
from dedup.matches import count_points, list_matches, match_documents
from dedup.passages import find_passages
from dedup.searches import search

COPIED = (
    "the harbour master kept a list of every ship that had come in since the war, and beside "
    "each name he drew a small flag, a bird or a fish, which only he could read"
)
EARLIER = f"Ÿes: it is known that {COPIED}. Nobody asked him why."
LATER = f"Märchen? In her second letter she writes: {COPIED}; then it breaks off."


def slices(text: str, row: dict[str, int]) -> str:
    return text[row["start"] : row["stop"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(EARLIER, encoding="utf-8")
    rows = [{"id": "x", "text": LATER}, {"id": "y", "text": "Nothing is like this at all."}]
    (tmp_path / "in" / "b.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def test_a_copy_inside_other_sentences_is_found_with_both_ends(run: Run, folder: Path) -> None:
    done = run("find", str(folder / "in"))
    assert done.code == 0, done.err
    (row,) = [json.loads(line) for line in done.out.decode().splitlines()]
    assert slices(LATER, row) == slices(EARLIER, row["match"]) == COPIED
    assert (row["document"], row["match"]["document"]) == ("x", "a.txt")
    assert (row["kind"], row["score"], row["containment"]) == ("exact", 1.0, 1.0)
    assert "1 pair of passages of 16 words or more (1 exact)" in done.err
    assert "in 3 documents of " in done.err


def test_pairs_go_to_a_file_whole(run: Run, folder: Path) -> None:
    out = folder / "pairs.jsonl"
    done = run("find", str(folder / "in"), "--out", str(out), "-q")
    assert (done.code, done.out.decode(), done.err) == (0, "", "")
    assert json.loads(out.read_text(encoding="utf-8"))["document"] == "x"


@pytest.mark.parametrize("name", ["a.txt", "pairs.jsonl", "deeper/pairs.jsonl"])
def test_pairs_are_not_written_among_what_is_read(run: Run, folder: Path, name: str) -> None:
    out = folder / "in" / name
    done = run("find", str(folder / "in"), "--out", str(out))
    assert done.code == 5
    assert "stands inside the input" in done.err
    assert (folder / "in" / "a.txt").read_text(encoding="utf-8") == EARLIER
    assert not (folder / "in" / "pairs.jsonl").exists()


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_no_file_that_is_read_is_written_over_by_another_name(
    run: Run, folder: Path, link: str
) -> None:
    out = folder / "other.txt"
    getattr(out, link)(folder / "in" / "a.txt")
    done = run(
        "find", str(folder / "in" / "b.jsonl"), str(folder / "in" / "a.txt"), "--out", str(out)
    )
    assert done.code == 5
    assert "is a file that is read" in done.err
    assert out.read_text(encoding="utf-8") == EARLIER


def test_a_file_that_is_read_is_replaced_when_asked_for(run: Run, folder: Path) -> None:
    out = folder / "in" / "a.txt"
    assert run("find", str(folder / "in"), "--out", str(out), "--overwrite", "-q").code == 0
    assert json.loads(out.read_bytes())["document"] == "x"


def test_standard_input_is_read_beside_files(run: Run, folder: Path) -> None:
    done = run("find", str(folder / "in" / "a.txt"), "-", stdin=LATER.encode())
    (row,) = [json.loads(line) for line in done.out.splitlines()]
    assert slices(LATER, row) == COPIED
    assert (row["document"], row["match"]["document"]) == ("stdin.txt", "a.txt")
    rows = b"".join(
        json.dumps({"id": name, "text": text}).encode() + b"\n"
        for name, text in (("p", EARLIER), ("q", LATER))
    )
    done = run("find", "-", "--stdin-format", "jsonl", stdin=rows)
    (row,) = [json.loads(line) for line in done.out.splitlines()]
    assert (row["document"], row["match"]["document"]) == ("q", "p")
    done = run("find", "-", "-", stdin=rows)
    assert (done.code, "named more often" in done.err) == (3, True)
    done = run("find", folder / "in", "--stdin-format", "jsonl", stdin=rows)
    assert (done.code, done.err) == (
        3,
        "dedup: standard input: is not among the paths: name it as -\n",
    )


def test_a_hopeless_output_is_refused_before_anything_is_read(run: Run, folder: Path) -> None:
    for out, told in ((folder, "is a folder"), (folder / "no" / "pairs", "no such folder")):
        done = run("find", folder / "nowhere", "--out", out, "--overwrite")
        assert (done.code, done.out, done.err) == (5, b"", f"dedup: {out}: {told}\n")


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_the_file_on_standard_input_is_not_written_over(folder: Path, path: str) -> None:
    source = folder / "in" / "a.txt"
    with source.open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "dedup", "find", path, "--out", source],
            stdin=stdin,
            capture_output=True,
            check=False,
        )
    assert (done.returncode, b"is a file that is read" in done.stderr) == (5, True)
    assert source.read_text(encoding="utf-8") == EARLIER


def test_a_dash_for_the_output_is_standard_output(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = run("find", "in", "--out", "-", "-q")
    assert (done.code, done.out) == (0, run("find", "in", "-q").out)
    assert [path.name for path in folder.iterdir()] == ["in"]


def test_beside_a_reference_only_what_stands_in_it_is_listed(run: Run, folder: Path) -> None:
    (folder / "known").mkdir()
    (folder / "known" / "a.txt").write_text(f"{LATER} {LATER}", encoding="utf-8")
    (folder / "known" / "z.txt").write_text(LATER, encoding="utf-8")
    (folder / "in" / "c.txt").write_text("Nothing of it.", encoding="utf-8")
    done = run("find", folder / "in", "--against", folder / "known", "--include", "*.txt")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["document"], row["match"]["document"]) for row in rows] == [
        ("a.txt", "a.txt"),
        ("a.txt", "a.txt"),
        ("a.txt", "z.txt"),
    ]
    assert {slices(EARLIER, row) for row in rows} == {COPIED}
    first = LATER.index(COPIED)
    second = len(LATER) + 1 + first
    assert [row["match"]["start"] for row in rows] == [first, second, first]
    assert done.err == (
        "3 pairs of passages of 16 words or more (3 exact)\n"
        f"  in 2 documents of {len(EARLIER) + 14} characters, held against 2 of the reference\n"
    )


def test_a_reference_without_a_document_is_an_error(run: Run, folder: Path) -> None:
    (folder / "empty").mkdir()
    nowhere = folder / "nowhere.txt"
    for reference, told in (
        (nowhere, f"{nowhere}: nothing that can be read: {nowhere}: no such file or directory"),
        (folder / "empty", f"{folder / 'empty'}: no file of a format that is read"),
        ("-", "standard input: can be searched, but is no reference; name a file"),
    ):
        done = run("find", folder / "in", "--against", reference)
        assert (done.code, done.out, done.err) == (3, b"", f"dedup: {told}\n")


def test_pairs_are_not_written_into_a_reference(run: Run, folder: Path) -> None:
    reference = folder / "in" / "b.jsonl"
    done = run("find", folder / "in" / "a.txt", "--against", reference, "--out", reference)
    assert (done.code, "is a file that is read" in done.err) == (5, True)
    (folder / "other").mkdir()
    (folder / "other" / "a.txt").write_text(EARLIER, encoding="utf-8")
    out = folder / "in" / "pairs.jsonl"
    done = run("find", folder / "other", "--against", folder / "in", "--out", out)
    assert (done.code, "stands inside the input" in done.err, out.exists()) == (5, True, False)


@pytest.mark.parametrize(
    ("scope", "pairs"),
    [
        ("corpus", [("a", "a"), ("b", "a"), ("b", "a")]),
        ("document", [("a", "a")]),
        ("across", [("b", "a"), ("b", "a")]),
    ],
)
def test_the_scope_chooses_between_pairs_inside_and_across(
    run: Run, tmp_path: Path, scope: str, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": "a", "text": f"{EARLIER} {LATER}"}, {"id": "b", "text": f"What? {COPIED}!"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = run("find", path, "--scope", scope)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["document"], row["match"]["document"]) for row in found] == pairs
    assert done.err.startswith(f"{len(pairs)} pair")


def test_inside_documents_there_is_no_reference(run: Run, folder: Path) -> None:
    done = run("find", folder / "in", "--against", folder / "in", "--scope", "document")
    assert (done.code, done.out) == (2, b"")
    assert "--against" in done.err


def test_of_nothing_found_the_least_length_is_said(run: Run, folder: Path) -> None:
    path = folder / "in" / "a.txt"
    assert run("find", path).err == (
        "0 pairs of passages of 16 words or more\n"
        f"  in 1 document of {len(EARLIER)} characters\n"
        "  --min-words finds shorter ones\n"
    )
    assert "--min-words" not in run("find", path, "--min-words", "1").err


def test_the_first_thing_that_cannot_be_read_is_named_once(run: Run, folder: Path) -> None:
    (folder / "in" / "b.jsonl").write_bytes(b'{"id": "x", "text": "one"}\n{"id": }\n')
    done = run("find", folder / "in", "--strict")
    assert (done.code, done.err.count("b.jsonl")) == (3, 1)
    assert done.err.startswith("dedup: b.jsonl, line 2, byte 27: not JSON")


def test_the_encoding_that_offsets_rest_on_is_said(run: Run, tmp_path: Path) -> None:
    text = "Книги можно сдать в любом отделении до конца сентября. Читальный зал переезжает."
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode("koi8-r"))
    told = "not UTF-8, read as koi8-r\n"
    assert run("find", path, "-q").err == f"dedup: a.txt: {told}"
    assert run("compare", path, path).err.startswith(f"dedup: {path}: {told}")


def test_broken_and_odd_files_cost_only_themselves(run: Run, folder: Path) -> None:
    inside = folder / "in"
    (inside / "c.txt.gz").write_bytes(gzip.compress(LATER.encode())[:50])
    (inside / "d.txt").write_bytes(bytes(range(128, 256)) * 9)
    (inside / "e.txt").write_bytes(b"")
    (inside / "f.jsonl").write_bytes(b'{"id": "x", "text": "taken"}\n{"id": "y2", "text": ""}\n')
    (inside / "g.txt").write_bytes(LATER.replace(" ", "\0").encode())
    done = run("find", inside)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["document"], row["match"]["document"]) for row in rows] == [
        ("x", "a.txt"),
        ("g.txt", "x"),
        ("g.txt", "a.txt"),
    ]
    assert done.code == 6
    assert "Traceback" not in done.err
    for told in ("c.txt.gz: broken gz file", "d.txt: not UTF-8", "f.jsonl, line 1, byte 0: id 'x'"):
        assert f"dedup: {told}" in done.err
    assert "in 7 documents of" in done.err


def test_a_reader_that_leaves_early_gets_no_traceback(folder: Path) -> None:
    rows = [{"id": str(i), "text": f"{i} {LATER}"} for i in range(300)]
    (folder / "in" / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    command = (
        f"{sys.executable} -m dedup find {folder / 'in'} -q | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (5, "")
    assert json.loads(done.stdout)["match"]["document"] == "a.txt"


def test_a_search_that_is_stopped_says_so() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dedup", "find", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stderr
        # More than a pipe holds: once it is taken the search is under way.
        process.stdin.write(b"Some text.\n" * 500_000)
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert (process.wait(), process.stderr.read()) == (130, b"dedup: stopped\n")


def test_a_search_goes_on_where_nothing_can_be_told(folder: Path) -> None:
    command = f"{sys.executable} -m dedup find {folder / 'in'} 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["document"]) == (0, "x")


def test_a_longer_least_length_finds_nothing(run: Run, folder: Path) -> None:
    done = run("find", str(folder / "in"), "--min-words", "60")
    assert (done.code, done.out.decode()) == (0, "")
    assert "0 pairs of passages of 60 words or more" in done.err


def test_a_shorter_least_length_finds_short_copies(run: Run, tmp_path: Path) -> None:
    words = "seven wooden horses crossed the frozen bridge at noon"
    left, right = tmp_path / "l.txt", tmp_path / "r.txt"
    left.write_text(f"I saw that {words}. Then it rained a lot.", encoding="utf-8")
    right.write_text(f"Who told you {words}? My aunt, I believe.", encoding="utf-8")
    assert run("find", str(left), str(right)).out == b""
    done = run("find", str(left), str(right), "--min-words", "8")
    (row,) = [json.loads(line) for line in done.out.decode().splitlines()]
    assert slices(right.read_text(encoding="utf-8"), row) == words


def test_what_cannot_be_read_is_said_and_the_rest_is_matched(run: Run, folder: Path) -> None:
    (folder / "in" / "c.jsonl").write_bytes(b'{"id": "z"}\n')
    done = run("find", str(folder / "in"))
    assert done.code == 6
    assert "c.jsonl" in done.err
    assert len(done.out.decode().splitlines()) == 1
    assert run("find", str(folder / "in"), "--strict").code == 3


def test_of_many_problems_the_first_are_said(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + b"{}\n" * 30)
    done = run("find", path, "-q")
    assert done.code == 6
    lines = done.err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "dedup: and 10 more"


def test_options_out_of_range_are_refused(run: Run, folder: Path) -> None:
    done = run("find", str(folder / "in"), "--min-share", "1.5")
    assert done.code == 2
    assert "--min-share" in done.err
    assert run("find", str(folder / "in"), "--min-words", "0").code == 2
    done = run("find", str(folder / "nowhere"))
    assert done.code == 3


def test_the_output_never_replaces_an_input(run: Run, folder: Path) -> None:
    source = folder / "in" / "a.txt"
    done = run("find", str(source), "--out", str(source))
    assert done.code == 5
    assert source.read_text(encoding="utf-8") == EARLIER


def test_two_texts_stand_side_by_side_with_their_words_marked(run: Run, folder: Path) -> None:
    other = folder / "other.txt"
    other.write_text(LATER.replace("small flag", "tiny blue flag"), encoding="utf-8")
    done = run("compare", str(folder / "in" / "a.txt"), str(other))
    assert done.code == 0, done.err
    shown = " ".join(done.out.decode().split())
    assert "near, score 0.9" in shown
    assert "[-small-]" in shown
    assert "{+tiny" in shown
    assert "a.txt 22-" in shown


def test_comparing_prints_the_pairs_as_json(run: Run, folder: Path) -> None:
    other = folder / "other.txt"
    other.write_text(LATER, encoding="utf-8")
    done = run("compare", str(folder / "in" / "a.txt"), str(other), "--json")
    (row,) = [json.loads(line) for line in done.out.decode().splitlines()]
    assert slices(LATER, row) == COPIED
    assert (row["document"], row["match"]["document"]) == ("other.txt", "a.txt")


def test_texts_that_share_nothing_are_said_to(run: Run, folder: Path) -> None:
    other = folder / "other.txt"
    other.write_text("Something else.", encoding="utf-8")
    done = run("compare", str(folder / "in" / "a.txt"), str(other))
    assert (done.code, done.out.decode()) == (0, "")
    assert done.err == (
        "the two share no passage of 16 words or more; --min-words finds shorter ones\n"
    )
    for nothing in ("", "... !!! ---\n"):
        other.write_text(nothing, encoding="utf-8")
        done = run("compare", other, other, "--min-words", "1")
        assert (done.code, done.out, done.err) == (
            0,
            b"",
            "the two share no passage of 1 word or more\n",
        )


def test_texts_are_compared_out_of_files_of_other_formats(run: Run, folder: Path) -> None:
    packed, page = folder / "later.txt.gz", folder / "page.html"
    packed.write_bytes(gzip.compress(LATER.encode()))
    page.write_text(f"<title>T</title><p>Oh, <b>{COPIED}</b>?</p>", encoding="utf-8")
    for other, name in ((packed, "later.txt.gz"), (page, "page.html")):
        done = run("compare", folder / "in" / "a.txt", other, "--json")
        (row,) = [json.loads(line) for line in done.out.splitlines()]
        assert slices(EARLIER, row["match"]) == COPIED
        assert row["document"] == name


def test_files_of_many_texts_are_not_compared_as_one(run: Run, folder: Path) -> None:
    rows = folder / "in" / "b.jsonl"
    done = run("compare", rows, folder / "in" / "a.txt")
    told = "holds rows, not one text; dedup find lists what they share"
    assert (done.code, done.out, done.err) == (3, b"", f"dedup: {rows}: {told}\n")
    done = run("compare", "-", "-", stdin=EARLIER.encode())
    told = "standard input: can be read once only, but is named more often"
    assert (done.code, done.out, done.err) == (3, b"", f"dedup: {told}\n")


def test_a_text_on_standard_input_is_compared_with_a_file(run: Run, folder: Path) -> None:
    source = folder / "in" / "a.txt"
    for sides, names in ((("-", source), ("a.txt", "-")), ((source, "-"), ("-", "a.txt"))):
        done = run("compare", *sides, "--json", stdin=LATER.encode())
        (row,) = [json.loads(line) for line in done.out.splitlines()]
        assert (row["document"], row["match"]["document"]) == names


def test_two_files_of_one_name_are_told_apart_by_their_paths(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "new").mkdir()
    (folder / "new" / "a.txt").write_text(LATER, encoding="utf-8")
    done = run("compare", "in/a.txt", "new/a.txt", "--json")
    (row,) = [json.loads(line) for line in done.out.splitlines()]
    assert (row["document"], row["match"]["document"]) == ("new/a.txt", "in/a.txt")
    assert "in/a.txt 22-184" in run("compare", "in/a.txt", "new/a.txt").out.decode()


@pytest.mark.parametrize("columns", [1, 9, 30, 200])
def test_every_width_shows_all_letters(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    hebrew = "מנהל הנמל שמר רשימה של כל אונייה שנכנסה מאז המלחמה ולצד כל שם צייר דגל קטן"
    chinese = "渡轮中午从旧码头出发港务长保存着战后所有进港船只的名单"
    for text in (hebrew, chinese):
        path = tmp_path / "a.txt"
        path.write_text(text, encoding="utf-8")
        done = run("compare", path, path, "--min-words", "8")
        assert done.code == 0
        shown = done.out.decode()
        assert all(shown.count(letter) >= 2 * text.count(letter) for letter in set(text) - {" "})


def test_threads_do_not_change_the_pairs(folder: Path) -> None:
    one, two = (
        list(search([str(folder / "in")], None, threads=threads).matches) for threads in (1, 2)
    )
    assert one == two != []


def test_rows_are_in_the_order_of_the_later_passages() -> None:
    texts = Texts.from_bytes([text.encode() for text in (EARLIER, LATER, EARLIER, LATER)])
    rows = list(list_matches(texts, list("abcd"), find_passages(texts)))
    places = [(row.document, row.start, row.match.document) for row in rows]
    assert places == sorted(places)
    assert {(row.document, row.match.document) for row in rows} >= {("b", "a"), ("c", "a")}


def test_the_library_gives_the_rows_of_the_command(run: Run, folder: Path) -> None:
    documents = [("a.txt", EARLIER), ("x", LATER), ("y", "Nothing is like this at all.")]
    done = run("find", folder / "in", "-q")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [match.to_mapping() for match in match_documents(documents)] == rows


def test_documents_with_one_id_are_refused() -> None:
    with pytest.raises(InputError, match="two documents have this id"):
        match_documents([("a", EARLIER), ("a", LATER)])


@given(st.text(), st.lists(st.integers(0, 40)))
def test_code_points_are_counted_before_any_place(text: str, places: list[int]) -> None:
    starts = [len(text[:i].encode()) for i in range(len(text) + 1)]
    data = np.frombuffer(text.encode(), np.uint8)
    chosen = [place % len(starts) for place in places]
    counted = count_points(data, np.array([starts[i] for i in chosen], np.int64))
    assert counted.tolist() == chosen
