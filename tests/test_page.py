"""The page of the benchmark results: whole, self-contained, and honest about losses."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, parts, plots, tables

RESULTS: dict[str, Any] = json.loads(tables.RESULTS_PATH.read_text(encoding="utf-8"))
VOID = {"meta", "img"}

SCORES = {"b_cubed_f1": 0.39, "adjusted_rand": 0.05}
LABELLED = {"set": "impresso", "method": "dedup", "mb_s": 9.0, "duplicates": 3}
PASSAGE = {"set": "pan13", "precision": 0.9, "recall": 0.9, "granularity": 1.0}
# What a later run measures and the stored one may not have.
MORE: dict[str, Any] = {
    "options": {"threshold": 0.7},
    "documents": [
        {**LABELLED, **SCORES, "threshold": 0.7, "numbers": True},
        {**LABELLED, **SCORES, "b_cubed_f1": 0.78, "threshold": 0.5, "numbers": False},
    ],
    "passages": [
        {"set": "pan13", "category": "run", "size_mb": 2.0, "seconds": 1.0},
        {"set": "pan13", "category": "none", "pairs": 60, "found": 0},
        {**PASSAGE, "category": "summary", "plagdet": 0.116},
        {**PASSAGE, "category": "random", "plagdet": 0.947},
        {"set": "quran", "category": "entire", "gold": 799, "recall": 0.04},
        {"set": "quran", "category": "ratio 0.8 to 1.0", "gold": 86, "recall": 0.19},
    ],
    "kinds": {
        "by_kind": [
            {"kind": kind, "edits": "1", "copies": 9, "recall": share, "reaching": 9,
             "reaching_found": 1.0, "promised": 9, "promised_found": 1.0}
            for kind, share in (("insert", 0.98), ("split", 0.08))
        ],
        "by_script": [],
        "one_token": [],
    },
}  # fmt: skip


class Reader(HTMLParser):
    """Reads a page: tags that are open, what is linked, and what stands for images."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        for name, value in attrs:
            if name in ("src", "href", "srcset"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag == "img":
            self.alts.append(dict(attrs)["alt"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def drawn() -> dict[str, bytes]:
    return plots.draw_plots(RESULTS | MORE)


def test_the_page_loads_nothing_and_shows_every_part(drawn: dict[str, bytes]) -> None:
    results = RESULTS | MORE
    text = page.render_page(results, drawn)
    reader = read(text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in reader.links)
    assert "url(" not in text
    assert "@import" not in text
    shown = [name for names in tables.SECTIONS.values() for name in names if name in results]
    assert reader.ids == shown
    assert [link[1:] for link in reader.links if link.startswith("#")] == shown
    assert {"kinds", "documents", "passages"} <= drawn.keys()
    assert reader.alts == [
        f"Plot: {page.TITLES[name]}. The text below has its figures."
        for name in shown
        if name in drawn
    ]


def test_every_part_that_is_measured_has_a_section_and_a_title() -> None:
    shown = [name for names in tables.SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(parts.PARTS)
    assert sorted(page.TITLES) == sorted(parts.PARTS)


def test_plots_are_png_of_one_width_and_the_same_again(drawn: dict[str, bytes]) -> None:
    again = plots.draw_plots({name: MORE[name] for name in MORE})
    assert list(again) == ["kinds", "passages", "documents"]
    for name, png in drawn.items():
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(png[16:20], "big") == 1800
        assert png == again.get(name, png)


def test_what_was_not_measured_is_left_out() -> None:
    machine = {"machine": RESULTS["machine"]}
    text = page.render_page(machine, plots.draw_plots(machine))
    assert read(text).ids == []
    assert text.count("nothing measured") == 3
    unjudged = {"passages": MORE["passages"][:2], "documents": []}
    assert plots.draw_plots(unjudged) == {}


def test_a_peer_that_is_faster_is_a_loss() -> None:
    slow = {"name": "slow", "times": 7.0, "recall": 1.0, "version": "1"}
    fast = {"name": "fast alone", "times": 0.5, "recall": 0.4, "version": "2"}
    rough = {"name": "rough", "times": 2.0, "recall": 0.9, "version": "3"}
    results = {"peers": {"rows": [slow, fast, rough]}, "promise": {"holds": False}}
    assert list(page.list_wins(results)) == [
        f"{times} times as fast as {which}, file to file on one thread."
        for times, which in (
            (2.0, "rough 3, the fastest peer of all that are slower"),
            (7.0, "slow 1, the fastest peer that finds as much"),
        )
    ]
    assert list(page.list_losses(results)) == [
        "fast 2 alone is 2.0 times as fast, and finds 40% of what ours does.",
        "More pairs are missed than the stated recall says.",
    ]


def test_a_peer_that_takes_less_is_a_loss_although_it_is_slower() -> None:
    ours = {"name": "dedup, 1 thread", "times": 1.0, "seconds": 1.0, "peak_mb": 200.0}
    ours |= {"first_seconds": 0.7}
    peer = {"name": "peer", "version": "3", "times": 1.5, "seconds": 1.5, "recall": 1.0}
    lean = peer | {"peak_mb": 40.0, "first_seconds": 0.9, "shingling_seconds": 1.1}
    quick = peer | {"name": "quick", "peak_mb": 300.0, "first_seconds": 0.1}
    rows = [ours, lean, quick]
    assert list(page.list_losses({"peers": {"rows": rows, "warm_mb": 1.0}})) == [
        "peer 3, its shingling in Python not counted, is 2.5 times as fast.",
        "Peak memory: ours 200 MB, less with peer 3 40 MB.",
        "The first 1 MB in a new process: ours 0.70 s, less with quick 3 0.10 s.",
    ]


def test_growth_and_memory_past_their_limits_are_losses() -> None:
    growth = [
        {"threads": threads, "size_mb": size, "seconds": size / speed, "mb_s": speed}
        for threads, size, speed in ((1, 10.0, 30.0), (1, 100.0, 20.0), (2, 100.0, 28.0))
    ]
    memory = [
        {"limit_mb": limit, "peak_mb": 250.0, "same_bytes": True} for limit in (None, 300.0, 20.0)
    ]
    results = {"growth": growth, "memory": memory}
    assert list(page.list_wins(results)) == ["The same bytes with any amount of memory."]
    assert list(page.list_losses(results)) == [
        "With 1 thread time grows faster than the text, to the power of 1.18.",
        "With 1 thread 20 MB/s at 100 MB, 30 at 10 MB.",
        "2 threads are only 1.4 times as fast as 1 at 100 MB.",
        "Peak memory past its limit, the program itself included: 250 MB under a limit of 20.",
    ]


def test_what_is_missed_in_labelled_sets_is_a_loss() -> None:
    told = "Passages of PAN 2013, plagdet on the training corpus (the best published, on test "
    results = MORE | {"sentences": {"th_pud": 0.01, "x.de": 0.95, "mean": 0.95}}
    results |= {"golden_rules": {"ar": "1 of 5", "en": "46 of 48"}}
    assert list(page.list_wins(results)) == [
        f"{told}corpus 2), found better: random 0.947 (0.884, Sanchez-Perez).",
        "No false passage in 60 pairs of pan13 that share nothing.",
        "Borders of sentences: mean F1 0.950, Thai apart.",
    ]
    assert list(page.list_losses(results)) == [
        "Planted copies that stay although edited least; what goes: split 8%.",
        f"{told}corpus 2), found worse: summary 0.116 (0.561, Sanchez-Perez).",
        "Passages mostly missed: quran entire 4%.",
        "Documents of impresso: B-cubed F1 0.39 by default, 0.78 at a threshold of 0.5 without "
        "the guard on numbers.",
        "Borders of sentences, F1: Thai 0.01.",
        "Golden rules of which at most half hold: Arabic 1 of 5.",
    ]


def test_page_and_plots_are_written(tmp_path: Path) -> None:
    results = {"machine": RESULTS["machine"], "memory": RESULTS["memory"]}
    written = page.write_page(results, tmp_path / "new" / "page")
    drawn = plots.draw_plots(results)
    assert written.read_text(encoding="utf-8") == page.render_page(results, drawn)
    assert {path.name for path in written.parent.iterdir()} == {"report.html", "memory.png"}
    assert (written.parent / "memory.png").read_bytes() == drawn["memory"]


def test_names_are_escaped() -> None:
    machine = {**RESULTS["machine"], "cpu": "<b>&"}
    text = page.render_page({"machine": machine, "golden_rules": {"<i>": "1 of 1"}}, {})
    assert "&lt;b&gt;&amp;, 2 cores" in text
    assert "&lt;i&gt; 1 of 1" in text
    read(text)
