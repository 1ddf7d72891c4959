"""Outside sets: loaded as they are published, named when missing, measured by hand-made ones."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from benchmarks import labelled, loaders
from benchmarks.scores import Passage
from dedup.errors import InputError
from dedup.options import Options

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no outside data")

COPIED = "The ferry leaves at noon from the old pier behind the market."
OTHER = "Nobody of them knew before the winter what had been agreed."


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path.write_bytes(pack.get(path.suffix, bytes)(raw))


def gold_row(
    a: str, a_start: int, a_end: int, b: str, b_start: int, b_end: int, **rest: Any
) -> Any:
    spans = {"a_start": a_start, "a_end": a_end, "b_start": b_start, "b_end": b_end}
    return {"a": a, "b": b, **spans, **rest}


def write_pan_rows(folder: Path, ending: str = "") -> None:
    documents = [
        {"id": "t1", "text": f"So it was. {COPIED}", "role": "susp"},
        {"id": "s1", "text": f"{COPIED} {OTHER}", "role": "src"},
        {"id": "t2", "text": "Nothing of it.", "role": "susp"},
    ]
    pairs = [("t1", "s1", "verbatim"), ("t2", "s1", "none")]
    write_rows(folder / f"pan13/docs.jsonl{ending}", documents)
    rows = [{"a": a, "b": b, "category": category} for a, b, category in pairs]
    write_rows(folder / f"pan13/pairs.jsonl{ending}", rows)
    gold = gold_row("t1", 11, 11 + len(COPIED), "s1", 0, len(COPIED), category="verbatim")
    write_rows(folder / f"pan13/gold.jsonl{ending}", [gold])


def write_published_pan(folder: Path) -> Path:
    """Write a corpus in the layout of its makers; return the annotation of its one passage."""
    root = folder / "pan13-text-alignment-tiny"
    texts = {
        "susp/suspicious-document00001.txt": f"So it was: é. {COPIED}\r\n",
        "susp/suspicious-document00002.txt": "Nothing of it.",
        "src/source-document00001.txt": f"{COPIED} {OTHER}",
    }
    pairs = {
        "01-no-plagiarism": "suspicious-document00002.txt source-document00001.txt\n",
        "02-no-obfuscation": "suspicious-document00001.txt source-document00001.txt\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    for name, lines in pairs.items():
        (root / name).mkdir()
        (root / name / "pairs").write_text(lines)
        susp, src = lines.replace(".txt", "").split()
        feature = ""
        if name.startswith("02"):
            feature = (
                f'<feature name="plagiarism" obfuscation="none" this_offset="14" '
                f'this_length="{len(COPIED)}" source_reference="source-document00001.txt" '
                f'source_offset="0" source_length="{len(COPIED)}" />\n'
            )
        (root / name / f"{susp}-{src}.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<document reference="{susp}.txt">\n'
            '<feature name="md5Hash" value="0" />\n'
            f"{feature}</document>\n"
        )
    return root / "02-no-obfuscation" / "suspicious-document00001-source-document00001.xml"


def find_copied(documents: Sequence[str], reference_count: int) -> list[Passage]:
    """Find the one sentence, in all documents, with its first place; the first goes last."""
    places = [(i, text.find(COPIED)) for i, text in enumerate(documents) if COPIED in text]
    size = len(COPIED)
    (one, start), others = places[0], places[1:]
    return [Passage(one, start, start + size, i, at, at + size) for i, at in others]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_rows_are_loaded_plain_and_packed(tmp_path: Path, ending: str) -> None:
    write_pan_rows(tmp_path, ending)
    assert loaders.load_pan13(tmp_path) == loaders.AlignedTexts(
        name="pan13",
        ids=["s1", "t1", "t2"],
        texts=[f"{COPIED} {OTHER}", f"So it was. {COPIED}", "Nothing of it."],
        groups=["src", "susp", "susp"],
        reference_count=1,
        gold=[Passage(1, 11, 11 + len(COPIED), 0, 0, len(COPIED))],
        categories=["verbatim"],
        ratios=[None],
        judged={(1, 0): "verbatim", (2, 0): "none"},
    )


def test_pan_is_loaded_as_it_is_published(tmp_path: Path) -> None:
    write_published_pan(tmp_path)
    assert loaders.load_published_pan(tmp_path) == [
        loaders.AlignedTexts(
            name="pan13-text-alignment-tiny",
            ids=["source-document00001", "suspicious-document00001", "suspicious-document00002"],
            texts=[f"{COPIED} {OTHER}", f"So it was: é. {COPIED}\r\n", "Nothing of it."],
            groups=["src", "susp", "susp"],
            reference_count=1,
            gold=[Passage(1, 14, 14 + len(COPIED), 0, 0, len(COPIED))],
            categories=["verbatim"],
            ratios=[None],
            judged={(2, 0): "none", (1, 0): "verbatim"},
        )
    ]


def test_core_is_loaded_as_it_is_published(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "core_id": "11251086",
            "doi": "10.1016/j.ajhg.2007.12.013",
            "original_abstract": "An abstract.",
            "original_title": "A Title",
            "processed_title": "a title",
            "processed_abstract": "an abstract",
            "cat": "exact_dup",
            "labelled_duplicates": ["82332306", "999", "11251086"],
        },
        {"core_id": 7, "original_title": "Other", "cat": "non_dup", "labelled_duplicates": []},
        {"core_id": "82332306", "original_abstract": "Ab.", "labelled_duplicates": ["11251086"]},
    ]
    write_rows(tmp_path / "deduplication_dataset_2020/Ground_Truth_data.jsonl", rows)
    core = loaders.load_core_2020(tmp_path)
    ids = ["11251086", "7", "82332306"]
    texts = ["A Title\n\nAn abstract.", "Other", "Ab."]
    assert core == loaders.PairedTexts("core_2020", ids, texts, [(0, 2)])
    assert core.label().labels == ["11251086", "7", "11251086"]


def test_news_copy_is_loaded_as_it_is_published(tmp_path: Path) -> None:
    articles = {
        f"paper-jun-05-1930-p-{i}": {"headline": "NEWS", "byline": byline, "article": text}
        for i, (byline, text) in enumerate([("By A.", "Rain."), (None, "Rain!"), ("", "Sun.")])
    }
    ids = list(articles)
    folder = tmp_path / "news_copy" / "test"
    folder.mkdir(parents=True)
    (folder / "articles.json").write_text(json.dumps(articles))
    (folder / "pairs.json.gz").write_bytes(gzip.compress(json.dumps([ids[1::-1]]).encode()))
    assert loaders.load_news_copy(tmp_path) == [
        loaders.PairedTexts("news_copy test", ids, ["By A. Rain.", "Rain!", "Sun."], [(0, 1)])
    ]
    (folder / "pairs.json.gz").unlink()
    with pytest.raises(InputError, match="test: an object of articles or an array of pairs"):
        loaders.load_news_copy(tmp_path)


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    names = [outside.name for outside in loaders.missing_sets(tmp_path)]
    assert names == [outside.name for outside in loaders.OUTSIDE_SETS]
    assert len(names) == len(set(names)) == 15
    write_published_pan(tmp_path)
    write_rows(tmp_path / "natural/news.jsonl", [])
    assert {"pan13", "natural"} == set(names) - {s.name for s in loaders.missing_sets(tmp_path)}
    for outside in loaders.OUTSIDE_SETS[:3]:
        assert outside.source.startswith("https://")
    single = ("pan13", "horae_latin", "quran", "bible", "debian_copyright", "impresso", "scancode",
              "licenseclassifier", "clough_stevenson", "mccormick", "core_2020")  # fmt: skip
    for name in single:
        assert getattr(loaders, f"load_{name}")(tmp_path) is None
    assert loaders.load_news_copy(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "x"', "docs.jsonl, line 2: no JSON"),
        ("[1]", "docs.jsonl, line 2: a JSON object is wanted"),
        ('{"id": 5, "text": ""}', "docs.jsonl, line 2: id has to be text"),
        ('{"id": "x"}', "docs.jsonl, line 2: text has to be text"),
        ('{"id": "t1", "text": ""}', "docs.jsonl, line 2: two documents have the id t1"),
    ],
)
def test_broken_rows_are_refused_with_file_and_line(
    tmp_path: Path, line: str, message: str
) -> None:
    folder = tmp_path / "mccormick"
    write_rows(folder / "gold_pairs.jsonl", [])
    (folder / "docs.jsonl").write_text('{"id": "t1", "text": "a"}\n' + line + "\n")
    with pytest.raises(InputError, match=message):
        loaders.load_mccormick(tmp_path)


def test_labels_that_cannot_be_are_refused_with_file_and_line(tmp_path: Path) -> None:
    write_pan_rows(tmp_path)
    gold = tmp_path / "pan13" / "gold.jsonl"
    good = gold_row("t1", 0, 1, "s1", 0, 1, category="none")
    for bad, message in (
        (good | {"a": "t9"}, "gold.jsonl, line 2: a names 't9', which is no document"),
        (good | {"a_end": 1000}, "gold.jsonl, line 2: a_start to a_end is not within"),
        (good | {"b_start": True}, "gold.jsonl, line 2: b_start has to be a whole number"),
        (good | {"category": None}, "gold.jsonl, line 2: category has to be text"),
    ):
        write_rows(gold, [good, bad])
        with pytest.raises(InputError, match=message):
            loaders.load_pan13(tmp_path)
    gold.unlink()
    with pytest.raises(InputError, match=r"gold\.jsonl: the file is missing"):
        loaders.load_pan13(tmp_path)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed_files_that_end_too_early_are_refused(tmp_path: Path, ending: str) -> None:
    write_pan_rows(tmp_path, ending)
    path = tmp_path / f"pan13/docs.jsonl{ending}"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=f"docs.jsonl{ending}: it cannot be unpacked"):
        loaders.load_pan13(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</document>\n", "", "line 5: no element found$"),
        ('this_offset="14"', 'this_offset="x"', "line 4: this_offset and this_length have to be"),
        ('this_offset="14"', 'this_offset="99"', "line 4: 99 to 160 is not within suspicious"),
        ("source-document00001.txt", "elsewhere.txt", "line 4: no text file is called 'elsewhere"),
    ],
)
def test_broken_annotations_are_refused_with_file_and_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_published_pan(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=f"source-document00001.xml, {message}"):
        loaders.load_published_pan(tmp_path)


def test_broken_texts_and_pairs_are_refused_with_file_and_line(tmp_path: Path) -> None:
    root = write_published_pan(tmp_path).parent.parent
    pairs = root / "01-no-plagiarism" / "pairs"
    good = pairs.read_text()
    pairs.write_text(good + "suspicious-document00009.txt source-document00001.txt\n")
    with pytest.raises(InputError, match="pairs, line 2: two names of text files"):
        loaders.load_published_pan(tmp_path)
    pairs.write_text(good)
    (root / "src" / "source-document00001.txt").write_bytes(b"One.\n\xff")
    with pytest.raises(InputError, match=r"00001.txt, line 2: no UTF-8 at byte 5"):
        loaders.load_published_pan(tmp_path)


def test_passages_of_judged_pairs_are_scored_by_category(tmp_path: Path) -> None:
    write_published_pan(tmp_path)
    (run, *rows) = labelled.measure_passages(tmp_path, find_copied)
    assert run["category"] == "run"
    assert (run["documents"], run["passages"], run["unjudged"]) == (3, 1, 0)
    name = "pan13-text-alignment-tiny"
    perfect = {"plagdet": 1.0, "precision": 1.0, "recall": 1.0, "granularity": 1.0, "f1": 1.0,
               "gold": 1, "found": 1}  # fmt: skip
    assert rows == [
        {"set": name, "category": "none", "pairs": 1, "found": 0, "found_pairs": 0},
        {"set": name, "category": "verbatim", **perfect},
        {"set": name, "category": "entire", **perfect},
    ]


def test_passages_in_clean_pairs_are_false_and_those_in_no_pair_are_neither(
    tmp_path: Path,
) -> None:
    write_published_pan(tmp_path)

    def find(documents: Sequence[str], reference_count: int) -> list[Passage]:
        assert reference_count == 1
        clean = Passage(0, 0, 5, 2, 0, 5)
        return [*find_copied(documents, 1), clean, Passage(1, 0, 5, 2, 0, 5)]

    (run, none, verbatim, entire) = labelled.measure_passages(tmp_path, find)
    assert run["unjudged"] == 1
    assert (none["found"], none["found_pairs"]) == (1, 1)
    assert (verbatim["precision"], entire["precision"], entire["found"]) == (1.0, 0.5, 2)


def test_a_part_of_the_pairs_keeps_what_belongs_to_them(tmp_path: Path) -> None:
    write_published_pan(tmp_path)
    (aligned,) = loaders.load_published_pan(tmp_path)
    assert labelled.take_pairs(aligned, 1) == aligned
    one = loaders.AlignedTexts(
        **{**vars(aligned), "judged": {(1, 0): "verbatim"}, "name": "one"}
    )  # fmt: skip
    part = labelled.take_pairs(one, 1)
    assert (part.ids, part.gold, part.judged) == (
        ["source-document00001", "suspicious-document00001"],
        aligned.gold,
        {(1, 0): "verbatim"},
    )


def test_where_gold_is_incomplete_recall_is_measured(tmp_path: Path) -> None:
    size = len(COPIED)
    books = [
        {"id": f"{version}.{book}", "version": version, "text": text}
        for version in ("v1", "v2")
        for book, text in (("A", COPIED), ("B", f"{OTHER} {COPIED}"))
    ]
    write_rows(tmp_path / "bible/docs.jsonl", books)
    at = len(OTHER) + 1
    rows = [
        gold_row("v1.B", at, at + size, "v1.A", 0, size, version="v1", char_ratio=1.0),
        gold_row("v2.B", 0, at, "v2.A", 0, size, version="v2", char_ratio=0.2),
    ]
    write_rows(tmp_path / "bible/doublets.dev.jsonl", rows)
    chapters = [
        {"id": "q1", "lang": "ar", "text": COPIED},
        {"id": "q2", "lang": "ar", "text": f"{OTHER} {COPIED}"},
    ]
    write_rows(tmp_path / "quran/docs.jsonl", chapters)
    verse = gold_row("q2", 0, len(OTHER), "q1", 0, size, char_ratio=0.7)
    write_rows(tmp_path / "quran/gold.jsonl", [verse])
    rows = [r for r in labelled.measure_passages(tmp_path, find_copied) if r["category"] != "run"]
    nothing = {"gold": 1, "recall": 0.0, "half": 0.0}
    assert rows == [
        {"set": "bible", "category": "v1", "gold": 1, "recall": 1.0, "half": 1.0},
        {"set": "bible", "category": "v2", **nothing},
        {"set": "quran", "category": "entire", **nothing},
        {"set": "quran", "category": "ratio 0.8 to 1.0", "gold": 0, "recall": None, "half": None},
        {"set": "quran", "category": "ratio 0.6 to 0.8", **nothing},
        {"set": "quran", "category": "ratio 0.0 to 0.6", "gold": 0, "recall": None, "half": None},
    ]


def test_stanzas_are_found_with_their_like_or_where_their_like_is_found(tmp_path: Path) -> None:
    # The first holds no label: what a finder links to it joins the others.
    texts = [COPIED, COPIED, COPIED, COPIED.upper(), OTHER, OTHER]
    documents = [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)]
    stanzas = [
        {"doc": f"d{i}", "start": 0, "end": len(texts[i]), "label": label}
        for i, label in ((1, "MIT"), (2, "MIT"), (3, "MIT"), (4, "BSD"), (5, "BSD"))
    ]
    write_rows(tmp_path / "debian_copyright/docs.jsonl", documents)
    write_rows(tmp_path / "debian_copyright/passages.jsonl", stanzas)

    def find(documents: Sequence[str], reference_count: int) -> list[Passage]:
        half, whole = len(OTHER) // 2, len(OTHER)
        # What leads elsewhere, and what says nothing.
        others = [Passage(5, 0, half, 0, 0, half), Passage(5, half, whole, 5, half, whole)]
        return [*find_copied(documents, 0), *others]

    row = labelled.measure_passages(tmp_path, find)[1]
    half = (len(OTHER) // 2) / len(OTHER)
    # Of two stanzas of MIT that repeat the first, the one in capitals is not found.
    assert row == {
        "set": "debian_copyright",
        "category": "stanza",
        "stanzas": 3,
        "recall": 1 / 3,
        "recall_anywhere": pytest.approx((1 + half) / 3),
        "half": 1 / 3,
    }


def test_runs_of_repeated_sentences_are_passages_in_code_points() -> None:
    first = f"Él dijo. {COPIED} {OTHER}"
    second = f"Así fue: ñ. {COPIED} {OTHER}"
    found = labelled.find_by_sentences([first, second])
    assert [second[passage.a_start : passage.a_stop] for passage in found] == [f"{COPIED} {OTHER}"]
    assert found == [
        Passage(1, second.find(COPIED), len(second), 0, first.find(COPIED), len(first))
    ]
    assert labelled.find_by_sentences([COPIED, OTHER, ""]) == []


def test_documents_are_scored_by_threshold_with_and_without_the_guard(tmp_path: Path) -> None:
    texts = [
        f"{COPIED} It was 7.",
        OTHER,
        f"{COPIED} It was 9.",
        "",
        f"{OTHER} And so on, they say.",
    ]
    documents = [{"id": f"t{i}", "text": text} for i, text in enumerate(texts)]
    write_rows(tmp_path / "mccormick/docs.jsonl", documents)
    pairs = [{"a": "t0", "b": "t2"}, {"a": "t4", "b": "t1"}]
    write_rows(tmp_path / "mccormick/gold_pairs.jsonl", pairs)
    rows = labelled.measure_documents(tmp_path)
    # The first two share 63 of 65 shingles, the others 54 of 73.
    figures = {
        (row["method"], row["threshold"], row["numbers"]): (
            row["duplicates"],
            row["pair_precision"],
            row["pair_recall"],
        )
        for row in rows
    }
    assert figures == {
        ("dedup", 0.5, True): (1, 1.0, 0.5),
        ("dedup", 0.5, False): (2, 1.0, 1.0),
        ("dedup", 0.6, True): (1, 1.0, 0.5),
        ("dedup", 0.6, False): (2, 1.0, 1.0),
        ("dedup", 0.7, True): (1, 1.0, 0.5),
        ("dedup", 0.7, False): (2, 1.0, 1.0),
        ("dedup", 0.8, True): (0, 0.0, 0.0),
        ("dedup", 0.8, False): (1, 1.0, 0.5),
        ("dedup", 0.9, True): (0, 0.0, 0.0),
        ("dedup", 0.9, False): (1, 1.0, 0.5),
        ("datasketch", 0.7, True): (1, 1.0, 0.5),
    }
    assert [row["same_answer"] for row in rows if row["method"] == "datasketch"] == [True]
    best = rows[1]
    assert best["adjusted_rand"] == best["b_cubed_f1"] == 1.0
    assert json.loads(json.dumps(rows)) == rows


def test_answers_are_measured_by_what_they_share_with_their_own_source(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a1", "label": "cut", "text": COPIED, "source": "oa"},
        {"id": "a2", "label": "non", "text": OTHER, "source": "oa"},
        {"id": "oa", "label": "orig", "text": COPIED, "source": None},
        {"id": "ob", "label": "orig", "text": OTHER, "source": None},
    ]
    write_rows(tmp_path / "clough_stevenson/docs.jsonl", rows)
    measured = labelled.measure_answers(tmp_path, Options(), quick=True)
    assert [(row["threshold"], row["label"], row["answers"], row["share"]) for row in measured] == [
        (threshold, *figures)
        for threshold in (0.5, 0.7)
        for figures in (("cut", 1, 1.0), ("light", 0, None), ("heavy", 0, None), ("non", 1, 0.0))
    ]


@needs_data
def test_all_rows_of_the_outside_sets_are_loaded() -> None:
    aligned = {
        loader.__name__: loader(DATA)
        for loader in (
            loaders.load_pan13,
            loaders.load_horae_latin,
            loaders.load_quran,
            loaders.load_bible,
        )
    }
    sizes = {
        name.removeprefix("load_"): (
            len(some.texts),
            some.reference_count,
            len(some.gold),
            len(some.judged),
        )
        for name, some in aligned.items()
        if some
    }
    assert sizes == {
        "pan13": (5057, 3230, 4007, 5185),
        "horae_latin": (177, 172, 301, 860),
        "quran": (114, 0, 799, 0),
        "bible": (521, 0, 192, 0),
    }
    debian, licences = loaders.load_debian_copyright(DATA), loaders.load_licenseclassifier(DATA)
    assert debian
    assert (len(debian.texts), len(debian.stanzas)) == (460, 1474)
    assert licences
    assert (len(licences.references.texts), len(licences.expected)) == (431, 41)
    answers, pairs = loaders.load_clough_stevenson(DATA), loaders.load_mccormick(DATA)
    assert answers
    assert (len(answers.texts), answers.source_count) == (100, 5)
    assert pairs
    assert (len(pairs.texts), len(pairs.pairs)) == (2500, 20)
    impresso, scancode = loaders.load_impresso(DATA), loaders.load_scancode(DATA)
    assert impresso
    assert (len(impresso.texts), len(set(impresso.labels))) == (10434, 3585)
    assert scancode
    assert (len(scancode.texts), len(set(scancode.labels))) == (7249, 1671)
