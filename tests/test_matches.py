"""Matching passages of files: `dedup find` and `dedup compare`."""

import json
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
    assert "least_share" in done.err
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
    assert done.err.endswith("the two share no passage\n")


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
