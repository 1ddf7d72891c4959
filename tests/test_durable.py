"""The part of the harness that measures indexes: whole figures of small ones, judged honestly."""

from contextlib import nullcontext
from typing import Any

import pytest

from benchmarks import durable, page, stores, tables, workloads

MACHINE = {"cpu": "C", "cores": 2, "python": "3", "numba": "0", "datasketch": "2"}
BANDS = 17

SPREAD = {"count": 30, "median": 10.0, "p99": 20.0, "longest": 45.0}
BUILD: dict[str, Any] = {
    "call": "add_batches",
    "documents": 1000,
    "units": 30_000,
    "duplicates": 100,
    "text_mb": 3.0,
    "mb_s": 9.0,
    "first_tenth_mb_s": 10.0,
    "last_tenth_mb_s": 7.0,
    "stretches_mb_s": [10.0, 9.0, 7.0],
    "batch": SPREAD,
    "quiet": SPREAD,
    "while_merging": {**SPREAD, "longest": 70.4},
    "memory_mb": 300.0,
    "close_seconds": 0.1,
}
OPEN = {"open_ms": 4.0, "first_ms": 500.0, "process_ms": 900.0, "memory_mb": 150.0, "own_mb": 90.0}
INDEX: dict[str, Any] = {
    "workload": "natural",
    "builds": [BUILD, {**BUILD, "call": "add", "while_merging": None, "last_tenth_mb_s": 9.0}],
    "open": OPEN,
    "open_empty": {**OPEN, "memory_mb": 120.0},
    "segments": 3,
    "postings": 600_000,
    "segment_bytes": 7_500_000,
    "journal_bytes": 1_500_000,
    "look_ups": {
        "keys": 10_000,
        "there": 1_500_000.0,
        "there_found": 0.9,
        "absent": 900_000.0,
        "absent_found": 0.0,
    },
    "calls": {"check": SPREAD, "add": SPREAD, "memory_mb": 200.0, "mapped_mb": 30.0},
}
STORE = {"durable": True, "keys": 1000, "seconds": 0.5, "look_ups": 5000.0}
STORE |= {"start_bytes": 100_000_000, "bytes": 120_000_000, "disk_bytes": 15_000}
STORES: dict[str, Any] = {
    "workload": "natural",
    "size_mb": 3.0,
    "documents": 1000,
    "bands": BANDS,
    "rows": [
        {"name": stores.WHOLE, **STORE},
        {**STORE, "name": "fast", "durable": False, "seconds": 0.25, "disk_bytes": 0},
        {**STORE, "name": "slow", "seconds": 2.0, "look_ups": 50_000.0},
    ],
    "missing": {"Redis": "no program redis-server"},
}


def test_documents_are_cut_between_words_and_nothing_is_lost() -> None:
    texts = ["one two three " * 100, "short", "é" * 700, "  \n"]
    documents = list(durable.cut_documents(texts, 300))
    assert "".join("".join(documents).split()) == "".join("".join(texts).split())
    assert all(0 < len(document.encode()) <= 300 for document in documents)
    assert all(document.split()[-1] in ("one", "two", "three") for document in documents[:4])


def test_rounds_of_documents_are_in_other_orders_and_other_words() -> None:
    part = workloads.planted(0.02)
    made = durable.make_documents([part])
    count = len(list(durable.cut_documents(part.documents)))
    first, second = ([next(made) for _ in range(count)] for _ in range(2))
    assert sorted(first) == sorted(durable.cut_documents(part.documents)) != first
    assert not {*first} & {*second}


def test_an_index_is_measured() -> None:
    result = durable.measure_index([workloads.planted(0.1)], units=1000, rounds=1, singles=3)
    one, two = result["builds"]
    assert (one["call"], one["documents"]) == ("add_batches", 502)
    assert (two["call"], two["documents"]) == ("add", 52)
    assert one["units"] > 5_000
    assert one["quiet"]["count"] == 2
    assert one["while_merging"] is None
    assert one["text_mb"] == pytest.approx(502 * durable.DOCUMENT_BYTES / 1e6, rel=0.05)
    assert result["postings"] > BANDS * one["units"] / 2
    assert 12 <= result["segment_bytes"] / result["postings"] < 20
    assert result["look_ups"]["there_found"] > 0.5
    assert result["look_ups"]["absent_found"] == 0
    assert result["calls"]["add"]["count"] == result["calls"]["check"]["count"] == 3
    assert 0 < result["open"]["open_ms"] < result["open"]["process_ms"]
    assert 0 < result["open_empty"]["memory_mb"] < 1000
    text = tables.render_tables({"machine": MACHINE, "index": result})
    assert f"A durable index (`dedup.Index`) of {one['units']:,} units of planted text" in text


def test_stores_are_fed_the_same_keys() -> None:
    names = [name for name in stores.STORES if name not in ("datasketch, Redis", "RocksDB")]
    result = durable.measure_stores([workloads.planted(0.1)], 900, 60.0, names, batch=20)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == names
    assert result["missing"] == {}
    assert len({row["keys"] for row in rows.values()}) == 1
    assert rows["SQLite"]["keys"] % BANDS == 0
    for name, row in rows.items():
        assert row["seconds"] > 0
        assert row["look_ups"] > 0
        assert row["bytes"] > 10_000_000
        assert row["durable"] == (row["disk_bytes"] > row["keys"]) == (name != names[2])


def test_a_store_whose_program_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    names = ["datasketch, Redis"]
    result = durable.measure_stores([workloads.planted(0.1)], 10, 1.0, names, batch=2)
    assert result["rows"] == []
    assert result["missing"] == {"datasketch, Redis": "no program redis-server"}


class Forgetful:
    def add(self, batch: stores.Batch) -> None:
        pass

    def look_up(self, batch: stores.Batch) -> int:
        return 0

    def server_bytes(self) -> int:
        return 0


def test_a_store_that_does_not_find_what_it_was_fed_is_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = stores.Kind("none", False, lambda folder, bands: nullcontext(Forgetful()))
    monkeypatch.setitem(stores.STORES, "forgetful", kind)

    def feed(module: str, job: dict[str, Any], name: str, python: str) -> None:
        stores.feed(stores.Job(**job))

    monkeypatch.setattr(durable, "ask", feed)
    with pytest.raises(RuntimeError, match="a key that is there was not found"):
        durable.measure_stores([workloads.planted(0.1)], 10, 1.0, ["forgetful"], batch=2)


def test_tables_say_what_was_promised_and_what_was_reached() -> None:
    results = {"machine": MACHINE, "index": INDEX, "stores": STORES}
    lines = tables.render_tables(results).splitlines()
    for line in (
        "| `add_batches` | 1,000 | 3 | 9.0 | 10.0 | 7.0 | 10 | 20 | 45 | 60 | 35 | 300 |",
        "| `add` | 1,000 | 3 | 9.0 | 10.0 | 9.0 | 10 | 20 | 45 | - | 35 | 300 |",
        "| MB of text a second in durable batches, up to 30,000 units | at least 8 | 9.0 | yes |",
        "| longest stall of a call while segments are written and merged | at most 50 ms | 60 ms "
        "| NO |",
        "| band keys looked up a second, warm, that are there | at least 1,000,000 | 1,500,000 "
        "| yes |",
        "| band keys looked up a second, warm, that are not there | at least 1,000,000 | 900,000 "
        "| NO |",
        "| bytes of segments a posting | at most 20 | 12.5 | yes |",
        "| memory of a process in which it is open and idle | under 200 MB | 150 MB | yes |",
        "| dedup.Index | yes | 1,000 | 2,000 | 5,000 | 15.0 | 120 (100) |",
        "| fast | no | 1,000 | 4,000 | 5,000 | - | 120 (100) |",
        "Not to be had, so left out: Redis (no program redis-server).",
    ):
        assert line in lines


def test_promises_and_stores_are_won_or_lost() -> None:
    results = {"index": INDEX, "stores": STORES}
    assert list(page.list_wins(results)) == [
        "An index: MB of text a second in durable batches, up to 30,000 units: 9.0, promised at "
        "least 8.",
        "An index: band keys looked up a second, warm, that are there: 1,500,000, promised at "
        "least 1,000,000.",
        "An index: bytes of segments a posting: 12.5, promised at most 20.",
        "An index: memory of a process in which it is open and idle: 150 MB, promised under 200 "
        "MB.",
        "dedup.Index, text and map and all, is better in putting in than slow (4.0 times).",
        "dedup.Index, text and map and all, is better in looking up than fast (1.0 times).",
    ]
    assert list(page.list_losses(results)) == [
        "An index: longest stall of a call while segments are written and merged: 60 ms, promised "
        "at most 50 ms.",
        "An index: band keys looked up a second, warm, that are not there: 900,000, promised at "
        "least 1,000,000.",
        "An index that grows to 30,000 units takes 10.0 MB/s at first, 7.0 in the end.",
        "Better in putting in than dedup.Index, text and map and all: fast (2.0 times).",
        "Better in looking up than dedup.Index, text and map and all: slow (10.0 times).",
    ]
