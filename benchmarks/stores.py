"""Stores: where band keys can be kept, each fed the same: ``python -m benchmarks.stores``.

The task: units with their band keys come in batches of 500 documents. The units that
share a key with a new one are looked up first, then the new ones are put in, and the
batch is on disk before the next, where the store can do that. No score is computed
but by the whole index, which is handed the text and gives back the map.

A job comes as JSON on standard input, what was measured goes as JSON to standard
output. Nothing here imports the package before a store of it is asked for, so that
the memory of a process is the store's own, and a store can stand in an environment of
its own.
"""

import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import own_bytes

BATCH_DOCUMENTS = 500

# Units that are looked up in one call, as many of them there as not.
_ASKED_TOGETHER = 600

# Calls of a round of look-ups; and rounds, fewer where a store is slow.
_CALLS = 10
_LEAST_ROUNDS, _MOST_ROUNDS, _ASKING_SECONDS = 3, 20, 5.0

# Units, and documents, that a store is fed beforehand.
_WARMED_UNITS = 50

# What SQLite keeps in memory, in KiB; by itself it keeps 2,000.
_SQLITE_CACHE_KIB = 65536

# Segments of a tier, each four times as large as the one before, that are merged.
_SEGMENTS_A_TIER = 4

Rows = NDArray[np.uint64]


@dataclass(frozen=True)
class Job:
    """What a store is fed.

    Attributes
    ----------
    store
        Its name.
    keys
        File of uint64[n, bands], the band keys of units.
    counts
        File of int64[m], the units of each document.
    texts
        JSON Lines file, rows [id, text]: the same documents.
    seconds
        No batch begins later; the last is never put in.
    batch
        Documents that come together.
    """

    store: str
    keys: str
    counts: str
    texts: str
    seconds: float
    batch: int = BATCH_DOCUMENTS


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes
    ----------
    keys
        How many were put in.
    seconds
        Of looking up and putting in, batch after batch.
    look_ups
        Keys looked up a second, warm, half of them there.
    start_bytes, bytes
        Memory of the process that is no file's: before the first batch, and after all.
        A server's is in both.
    disk_bytes
        Of all files, when the store was closed; 0 for one in memory alone.
    """

    keys: int
    seconds: float
    look_ups: float
    start_bytes: int
    bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Batch:
    """Units that come together.

    Attributes
    ----------
    rows
        uint64[n, bands], their band keys.
    first
        Number of the first of them.
    documents
        Id and text of the documents that they stand in.
    """

    rows: Rows
    first: int
    documents: list[tuple[str, str]]


class Store(Protocol):
    """A store of units under their band keys."""

    def add(self, batch: Batch) -> None:
        """Look up units that share a key with those of a batch, and put these in."""

    def look_up(self, batch: Batch) -> int:
        """Return how many of a batch share a key with one that is there."""

    def server_bytes(self) -> int:
        """Return the memory of a server."""


@dataclass(frozen=True)
class Kind:
    """A store and how it is used.

    Attributes
    ----------
    distribution
        The package that it comes from.
    is_durable
        Whether a batch is on disk before the next.
    open
        Takes an empty folder and the number of bands.
    command
        A program that it needs.
    """

    distribution: str
    is_durable: bool
    open: Callable[[Path, int], contextlib.AbstractContextManager[Store]]
    command: str = ""


class _Datasketch:
    """MinHashLSH, with bands of one slot: the slots are the keys."""

    def __init__(self, bands: int, port: int | None = None) -> None:
        import datasketch

        storage: dict[str, Any] = {"type": "dict"}
        if port is not None:
            redis = {"host": "127.0.0.1", "port": port}
            storage = {"type": "redis", "basename": b"keys", "redis": redis}
        self._lsh = datasketch.MinHashLSH(num_perm=bands, params=(bands, 1), storage_config=storage)
        # One object for all: it is only read.
        self._minhash = datasketch.MinHash(bands, scheme="affine32")
        self._port = port

    def add(self, batch: Batch) -> None:
        self.look_up(batch)
        with self._lsh.insertion_session() as session:
            for i, row in enumerate(batch.rows, batch.first):
                self._minhash.hashvalues = row
                session.insert(i, self._minhash, check_duplication=False)

    def look_up(self, batch: Batch) -> int:
        found = 0
        for row in batch.rows:
            self._minhash.hashvalues = row
            found += bool(self._lsh.query(self._minhash))
        return found

    def server_bytes(self) -> int:
        if self._port is None:
            return 0
        import redis

        with redis.Redis(port=self._port) as server:
            told: Any = server.info("memory")
        return int(told["used_memory_rss"])


@contextlib.contextmanager
def _open_dictionary(folder: Path, bands: int) -> Iterator[Store]:
    yield _Datasketch(bands)


@contextlib.contextmanager
def _open_redis(folder: Path, bands: int) -> Iterator[Store]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A log that reaches the disk before each answer: by itself it loses the last seconds.
    log = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen(
        ["redis-server", *place, *log], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            if not any("Ready to accept connections" in line for line in server.stdout):
                raise RuntimeError("redis-server did not start")
            yield _Datasketch(bands, port)
        finally:
            server.terminate()


class _Sqlite:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def add(self, batch: Batch) -> None:
        self.look_up(batch)
        keys, bands = _signed(batch.rows), batch.rows.shape[1]
        with self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO postings VALUES (?, ?)",
                ((key, batch.first + i // bands) for i, key in enumerate(keys)),
            )

    def look_up(self, batch: Batch) -> int:
        found = {
            key
            for key, _ in self._connection.executemany(
                "SELECT key, unit FROM postings WHERE key = ?",
                ((key,) for key in _signed(batch.rows)),
            )
        }
        return sum(not found.isdisjoint(row) for row in batch.rows.view(np.int64).tolist())

    def server_bytes(self) -> int:
        return 0


@contextlib.contextmanager
def _open_sqlite(folder: Path, bands: int) -> Iterator[Store]:
    import apsw

    connection = apsw.Connection(str(folder / "keys.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("cache_size", -_SQLITE_CACHE_KIB)
    # The table is the index: with a row number and an index beside it the file is larger.
    connection.execute(
        "CREATE TABLE postings (key INTEGER, unit INTEGER, PRIMARY KEY (key, unit)) WITHOUT ROWID"
    )
    try:
        yield _Sqlite(connection)
    finally:
        connection.close()


class _Rocks:
    """Under each key its units, eight bytes each: they are read before they are written."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def add(self, batch: Batch) -> None:
        from rocksdict import WriteBatch

        keys = _to_bytes(batch.rows)
        bands = batch.rows.shape[1]
        distinct = list(dict.fromkeys(keys))
        units = dict(zip(distinct, self._table.get(distinct), strict=True))
        for i, key in enumerate(keys):
            unit = (batch.first + i // bands).to_bytes(8, "little")
            units[key] = (units[key] or b"") + unit
        together = WriteBatch(raw_mode=True)
        for key, value in units.items():
            together.put(key, value)
        self._table.write(together)

    def look_up(self, batch: Batch) -> int:
        found = self._table.get(_to_bytes(batch.rows))
        bands = batch.rows.shape[1]
        return sum(any(found[at : at + bands]) for at in range(0, len(found), bands))

    def server_bytes(self) -> int:
        return 0


@contextlib.contextmanager
def _open_rocks(folder: Path, bands: int) -> Iterator[Store]:
    from rocksdict import BlockBasedOptions, Options, Rdict, WriteOptions

    options, blocks, writes = Options(raw_mode=True), BlockBasedOptions(), WriteOptions()
    # Most keys are not there, and a filter says so without reading.
    blocks.set_bloom_filter(10, False)
    options.set_block_based_table_factory(blocks)
    writes.sync = True
    table = Rdict(str(folder / "keys"), options)
    table.set_write_options(writes)
    try:
        yield _Rocks(table)
    finally:
        table.close()


class _Segments:
    """Segments of ours: one for each batch, merged here and now when there are many."""

    def __init__(self, folder: Path) -> None:
        from dedup.index import segments

        self._kernels = segments
        self._folder = folder
        self._open: list[Any] = []
        self._written = 0
        self._firsts = np.zeros(1, np.int64)
        self._stops = np.full(1, np.iinfo(np.int64).max)

    def add(self, batch: Batch) -> None:
        self.look_up(batch)
        units = np.repeat(
            np.arange(batch.first, batch.first + len(batch.rows)), batch.rows.shape[1]
        )
        path = self._name()
        self._kernels.write_segment(path, batch.rows.ravel(), units)
        self._open.append(self._kernels.Segment.open(path))
        while merged := self._choose():
            path = self._name()
            self._kernels.merge_segments(merged, path, self._firsts, self._stops)
            for one in merged:
                self._open.remove(one)
                one.close()
                Path(one.path).unlink()
            self._open.append(self._kernels.Segment.open(path))

    def look_up(self, batch: Batch) -> int:
        keys, places = np.unique(batch.rows, return_inverse=True)
        offsets, _ = self._kernels.find_in_all(self._open, keys, 64, self._firsts, self._stops)
        found = (np.diff(offsets) > 0)[places.reshape(batch.rows.shape)]
        return int(np.count_nonzero(found.any(axis=1)))

    def server_bytes(self) -> int:
        return 0

    def _name(self) -> Path:
        self._written += 1
        return self._folder / f"{self._written}.seg"

    def _choose(self) -> list[Any]:
        tiers: dict[int, list[Any]] = {}
        for one in self._open:
            tiers.setdefault(one.count.bit_length() // 2, []).append(one)
        return next((some for some in tiers.values() if len(some) >= _SEGMENTS_A_TIER), [])


@contextlib.contextmanager
def _open_segments(folder: Path, bands: int) -> Iterator[Store]:
    yield _Segments(folder)


class _Index:
    """The whole index: it cuts, sketches, scores and keeps the text too."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def add(self, batch: Batch) -> None:
        self._index.add(batch.documents)

    def look_up(self, batch: Batch) -> int:
        # Under other names, for one that is there gets the answer that it got.
        documents = [(f"again {name}", text) for name, text in batch.documents]
        return sum(bool(result.duplicates) for result in self._index.check(documents))

    def server_bytes(self) -> int:
        return 0


@contextlib.contextmanager
def _open_index(folder: Path, bands: int) -> Iterator[Store]:
    from dedup import Index

    with Index.open(folder / "index") as index:
        yield _Index(index)


WHOLE = "dedup.Index"

STORES = {
    WHOLE: Kind("dedup", True, _open_index),
    "dedup segments": Kind("dedup", True, _open_segments),
    "datasketch, dictionary": Kind("datasketch", False, _open_dictionary),
    "datasketch, Redis": Kind("redis", True, _open_redis, "redis-server"),
    "SQLite": Kind("apsw", True, _open_sqlite),
    "RocksDB": Kind("rocksdict", True, _open_rocks),
}


def feed(job: Job) -> Outcome:
    """Feed a store all batches but one, as far as time reaches, and look up in it."""
    kind = STORES[job.store]
    keys: Rows = np.load(job.keys, mmap_mode="r")
    bands = keys.shape[1]
    with tempfile.TemporaryDirectory() as name, Path(job.texts).open(encoding="utf-8") as texts:
        batches = _read(job, keys, texts)
        places = [Path(name) / "warm", Path(name) / "counted"]
        for place in places:
            place.mkdir()
        first = batch = strange = next(batches)
        with kind.open(places[0], bands) as store:
            # Kernels are loaded, and tables of folding read.
            few = Batch(batch.rows[:_WARMED_UNITS], 0, batch.documents[:_WARMED_UNITS])
            store.add(few)
            store.look_up(few)
        shutil.rmtree(places[0])
        with kind.open(places[1], bands) as store:
            start_bytes = own_bytes() + store.server_bytes()
            seconds = 0.0
            put = 0
            for strange in batches:
                started = time.perf_counter()
                store.add(batch)
                seconds += time.perf_counter() - started
                put += len(batch.rows)
                if seconds >= job.seconds:
                    break
                batch = strange
            end_bytes = own_bytes() + store.server_bytes()
            calls = [first, strange] if job.store == WHOLE else _choose(store, keys[:put])
            look_ups = _ask(store, calls)
        disk_bytes = sum(file.stat().st_size for file in places[1].rglob("*") if file.is_file())
    return Outcome(put * bands, seconds, look_ups, start_bytes, end_bytes, disk_bytes)


def _read(job: Job, keys: Rows, texts: Iterator[str]) -> Iterator[Batch]:
    """Yield batches, one after another."""
    counts: NDArray[np.int64] = np.load(job.counts)
    stops = np.cumsum(counts).tolist()
    first = 0
    for last in range(job.batch, len(counts) + 1, job.batch):
        rows = (json.loads(next(texts)) for _ in range(job.batch))
        documents = [(str(name), text) for name, text in rows]
        stop = stops[last - 1]
        yield Batch(np.array(keys[first:stop]), first, documents)
        first = stop


def _choose(store: Store, keys: Rows) -> list[Batch]:
    """Choose units to ask for, half of them there.

    Raises
    ------
    RuntimeError
        When one that is there is not found, or one is found that is not there.
    """
    rng = np.random.default_rng(1)
    calls = []
    for _ in range(_CALLS):
        known = keys[np.sort(rng.integers(0, len(keys), _ASKED_TOGETHER // 2))]
        strange = rng.integers(0, 1 << 63, known.shape, np.uint64)
        calls.append(Batch(np.concatenate([known, strange]), 0, []))
        if store.look_up(calls[-1]) != len(known):
            raise RuntimeError("a key that is there was not found, or one that is not was")
    return calls


def _ask(store: Store, calls: Sequence[Batch]) -> float:
    """Return how many keys are looked up a second."""
    seconds: list[float] = []
    while len(seconds) < _LEAST_ROUNDS or (
        len(seconds) < _MOST_ROUNDS and sum(seconds) < _ASKING_SECONDS
    ):
        started = time.perf_counter()
        for batch in calls:
            store.look_up(batch)
        seconds.append(time.perf_counter() - started)
    return sum(batch.rows.size for batch in calls) / statistics.median(seconds)


def _signed(rows: Rows) -> list[int]:
    keys: list[int] = rows.view(np.int64).ravel().tolist()
    return keys


def _to_bytes(rows: Rows) -> list[bytes]:
    data = rows.astype(">u8").tobytes()
    return [data[at : at + 8] for at in range(0, len(data), 8)]


if __name__ == "__main__":
    print(json.dumps(asdict(feed(Job(**json.load(sys.stdin))))))
