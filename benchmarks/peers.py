"""Peers: each does the same task as ours, in the way its documentation shows.

The task: sentences that repeat an earlier one, found among all sentences of a
file. Cutting and folding are given to every peer for nothing. A peer that names
candidates has them scored exactly, under our law; a peer that decides alone is
left to, and of each of its clusters the first stays.

Nothing here imports the package, so that the memory of a process is the peer's
own, and a peer can stand in an environment of its own. That is the place of
dolma, which asks for numpy below 2, and of text-dedup, which brings 1.3 GB of
packages, Spark among them. Not driven are:

- NeMo Curator: its fuzzy deduplication runs on cuDF, which needs an NVIDIA GPU.
- passim: needs Spark and is on no package index (the package of that name there
  checks passwords); it aligns passages and removes nothing.
"""

import gzip
import json
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

_DIGITS = re.compile(r"\d+")

# Sentences sketched in one call, and shingle sets that are kept.
_BATCH = 4096
_SETS_KEPT = 1 << 14


class Sentence(NamedTuple):
    """A folded sentence.

    Attributes
    ----------
    text
        The folded text.
    runs
        Code points in a shingle, and text, of each run of characters written alike.
    """

    text: str
    runs: Sequence[tuple[int, str]]

    def cut_shingles(self) -> set[str]:
        """Cut it into shingles, the same as ours."""
        return {
            run[start : start + size]
            for size, run in self.runs
            for start in range(max(1, len(run) - size + 1))
        }


@dataclass(frozen=True)
class Task:
    """What every peer is told; the names are those of our options."""

    threshold: float
    shingle_chars: int
    num_perm: int
    bands: int
    rows: int
    numbers: bool


# None stands for a sentence too short to be compared.
Sentences = Sequence[Sentence | None]


class Index(Protocol):
    """An index of sentences by number."""

    def query(self, number: int, sentence: Sentence, shingles: set[str]) -> Iterable[int]:
        """Name the candidates of a sentence."""

    def insert(self, number: int, sentence: Sentence) -> None:
        """Take in the sentence that was asked for last."""


@dataclass(frozen=True)
class Peer:
    """A peer and how it is driven.

    Attributes
    ----------
    distribution
        The package it comes from.
    check
        What decides that a candidate is a duplicate.
    slots
        Slots of a signature and the bands they are cut into.
    find
        Takes sentences, the task and an empty folder; returns the numbers of
        the duplicates.
    """

    distribution: str
    check: str
    slots: str
    find: Callable[[Sentences, Task, Path], set[int]]


def apply_law(
    sentences: Sentences, task: Task, index: Index, shingled: Iterable[tuple[int, set[str]]]
) -> dict[int, tuple[int, float]]:
    """Find duplicates with an index of candidates: score them exactly, keep the leaders.

    A sentence goes when an earlier one that stayed is a candidate with a Jaccard
    at or above the threshold and the same digits.

    Parameters
    ----------
    shingled
        Number and shingles of each sentence that is compared, in order; no
        shingles for one whose index does not need them.

    Returns
    -------
    dict
        Duplicate to canonical and score.
    """

    @lru_cache(_SETS_KEPT)
    def cut_shingles(number: int) -> set[str]:
        sentence = sentences[number]
        assert sentence is not None
        return sentence.cut_shingles()

    digits: dict[int, list[str]] = {}
    found: dict[int, tuple[int, float]] = {}
    for number, shingles in shingled:
        sentence = sentences[number]
        assert sentence is not None
        mine = _DIGITS.findall(sentence.text)
        best = (0.0, 0)
        for other in index.query(number, sentence, shingles):
            if task.numbers and digits[other] != mine:
                continue
            shingles = shingles or cut_shingles(number)
            theirs = cut_shingles(other)
            shared = len(shingles & theirs)
            score = shared / (len(shingles) + len(theirs) - shared)
            if score >= task.threshold:
                best = max(best, (score, -other))
        if best[0]:
            found[number] = (-best[1], best[0])
        else:
            index.insert(number, sentence)
            digits[number] = mine
    return found


def find_with_datasketch(sentences: Sentences, task: Task) -> dict[int, tuple[int, float]]:
    """Find duplicates with datasketch; the answer has to be ours, pair by pair."""
    import datasketch
    import xxhash

    lsh = datasketch.MinHashLSH(num_perm=task.num_perm, params=(task.bands, task.rows))
    # One object is copied: drawing the permutations anew costs more than a sketch.
    empty = datasketch.MinHash(
        task.num_perm, seed=1, scheme="affine32", hashfunc=xxhash.xxh32_intdigest
    )

    class _Index:
        def query(self, number: int, sentence: Sentence, shingles: set[str]) -> Iterable[int]:
            self.minhash = empty.copy()
            self.minhash.update_batch([shingle.encode() for shingle in shingles])
            found: list[int] = lsh.query(self.minhash)
            return found

        def insert(self, number: int, sentence: Sentence) -> None:
            lsh.insert(number, self.minhash)

    return apply_law(sentences, task, _Index(), _shingle(sentences))


def _datasketch(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    return set(find_with_datasketch(sentences, task))


def _rensa(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    import rensa

    slots = task.bands * task.rows
    lsh = rensa.RMinHashLSH(task.threshold, slots, task.bands)
    sketches: dict[int, Any] = {}

    def sketch() -> Iterator[tuple[int, set[str]]]:
        for batch in _batches(_shingle(sentences)):
            minhashes = rensa.RMinHash.from_token_sets([part for _, part in batch], slots, 1)
            sketches.clear()
            sketches.update(
                (number, minhash) for (number, _), minhash in zip(batch, minhashes, strict=True)
            )
            yield from batch

    class _Index:
        def query(self, number: int, sentence: Sentence, shingles: set[str]) -> Iterable[int]:
            found: list[int] = lsh.query(sketches[number])
            return found

        def insert(self, number: int, sentence: Sentence) -> None:
            lsh.insert(number, sketches[number])

    return set(apply_law(sentences, task, _Index(), sketch()))


def _rensa_alone(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    import rensa

    # 128 slots in 32 bands: the bands have to share the slots out evenly.
    keeper = rensa.RMinHashDeduplicator(
        threshold=task.threshold,
        num_perm=task.num_perm,
        use_lsh=True,
        num_bands=task.num_perm // task.rows,
    )
    removed: set[int] = set()
    for batch in _batches(_shingle(sentences)):
        kept = keeper.add_pairs((str(number), shingles) for number, shingles in batch)
        removed.update(number for (number, _), stays in zip(batch, kept, strict=True) if not stays)
    return removed


def _gaoya_index(task: Task, threshold: float) -> Any:
    from gaoya.minhash import MinHashStringIndex

    return MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=threshold,
        num_bands=task.bands,
        band_size=task.rows,
        analyzer="char",
        ngram_range=(task.shingle_chars, task.shingle_chars),
        id_container="smallvec",
    )


def _gaoya(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    # It drops candidates by estimate; at 0 it names all that share a band.
    index = _gaoya_index(task, 0.0)

    class _Index:
        def query(self, number: int, sentence: Sentence, shingles: set[str]) -> Iterable[int]:
            found: list[int] = index.query(sentence.text)
            return found

        def insert(self, number: int, sentence: Sentence) -> None:
            index.insert_document(number, sentence.text)

    nothing: set[str] = set()
    numbers = ((number, nothing) for number, sentence in enumerate(sentences) if sentence)
    return set(apply_law(sentences, task, _Index(), numbers))


def _gaoya_alone(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    index = _gaoya_index(task, task.threshold)
    removed: set[int] = set()
    for number, sentence in enumerate(sentences):
        if sentence is None:
            continue
        if index.query(sentence.text):
            removed.add(number)
        else:
            index.insert_document(number, sentence.text)
    return removed


def _fastsketch(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    from FastSketchLSH import LSH, FastSimilaritySketch

    # Slots have to be a power of two: 64 in 16 bands are next to our 68 in 17.
    slots = 1 << (task.bands * task.rows).bit_length() - 1
    sketcher = FastSimilaritySketch(size=slots, seed=1)
    # More threads wait for one another at every row: over 100 times slower on two cores.
    lsh = LSH(num_perm=slots, num_bands=slots // task.rows, num_threads=1)
    inserted: list[int] = []
    sketches: dict[int, Any] = {}

    def sketch() -> Iterator[tuple[int, set[str]]]:
        for batch in _batches(_shingle(sentences)):
            matrix = sketcher.batch([list(shingles) for _, shingles in batch])
            sketches.clear()
            sketches.update((number, matrix[i : i + 1]) for i, (number, _) in enumerate(batch))
            yield from batch

    class _Index:
        def query(self, number: int, sentence: Sentence, shingles: set[str]) -> Iterable[int]:
            return [inserted[row] for row in lsh.query(sketches[number][0])]

        def insert(self, number: int, sentence: Sentence) -> None:
            lsh.insert(sketches[number])
            inserted.append(number)

    return set(apply_law(sentences, task, _Index(), sketch()))


def _datatrove(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.logging import logger
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    logger.remove()
    # Words are its tokens; a tokenizer of one's own gives it characters.
    tokenizer = type(
        "Characters",
        (WordTokenizer,),
        {
            "word_tokenize": lambda self, text: list(text),
            "sent_tokenize": lambda self, text: [text],
            "span_tokenize": lambda self, text: [(0, len(text))],
        },
    )()
    folded = TextNormConfig(
        lowercase=False,
        norm_whitespace=False,
        remove_punctuation=False,
        norm_unicode_diacritics=False,
        norm_numbers=False,
    )
    # Nothing is scored behind the bands, so they are its own, steeper than ours.
    config = MinhashConfig(n_grams=task.shingle_chars, norm_config=folded)
    signatures, buckets, clusters = (str(folder / name) for name in ("signatures", "dups", "out"))
    numbers = [number for number, sentence in enumerate(sentences) if sentence]
    documents = (
        Document(text=sentence.text, id=str(number))
        for number, sentence in enumerate(sentences)
        if sentence
    )
    signature = MinhashDedupSignature(signatures, config, language=tokenizer)
    # It hands text to xxhash, which from version 4 on takes bytes alone.
    signature._hash_func = lambda shingle: xxhash.xxh64_intdigest(shingle.encode())
    signature.run(documents)
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(signatures, buckets, config=config).run(
            rank=bucket, world_size=config.num_buckets
        )
    MinhashDedupCluster(buckets, clusters, config, save_cluster_id=True).run()
    rows = Path(clusters, "000000.clusters").read_bytes()
    # What its filter lets stay of a cluster is chance; here it is the first.
    return _keep_firsts((numbers[row], cluster) for row, cluster in struct.iter_unpack("<2I", rows))


def _text_dedup(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    from text_dedup.minhash import main

    source, out = folder / "sentences.jsonl", folder / "out"
    numbers = []
    with source.open("w", encoding="utf-8") as file:
        for number, sentence in enumerate(sentences):
            if sentence:
                numbers.append(number)
                # Words are its tokens; here each character is one.
                text = " ".join(sentence.text.replace(" ", "_"))
                file.write(json.dumps({"text": text}) + "\n")
    values = {
        "--path": "json",
        "--data_files": source,
        "--split": "train",
        "--cache_dir": folder / "cache",
        "--output": out,
        "--column": "text",
        "--ngram": task.shingle_chars,
        "--min_length": 1,
        # Nothing is scored behind the bands; it solves them for the threshold.
        "--threshold": task.threshold,
        "--num_proc": os.cpu_count() or 1,
    }
    arguments = [str(part) for pair in values.items() for part in pair]
    main([*arguments, "--debug"], standalone_mode=False)
    with (out / "uf.pkl").open("rb") as stored:
        sets = pickle.load(stored)
    # Which one stays of a cluster is chance; here it is the first.
    return _keep_firsts((numbers[row], sets.find(row)) for row in list(sets.parent))


def _dolma(sentences: Sentences, task: Task, folder: Path) -> set[int]:
    from dolma import deduper

    documents = folder / "documents"
    documents.mkdir()
    numbers_at: list[dict[int, int]] = []
    texts = ((number, sentence.text) for number, sentence in enumerate(sentences) if sentence)
    with gzip.open(documents / "sentences.jsonl.gz", "wt", 1, encoding="utf-8") as file:
        while batch := list(islice(texts, _BATCH)):
            at, starts = 0, {}
            for number, text in batch:
                starts[at] = number
                at += len(text) + 1
            numbers_at.append(starts)
            row = {"id": str(len(numbers_at)), "source": "", "text": "\n".join(t for _, t in batch)}
            file.write(json.dumps(row) + "\n")
    # Words, not characters: nearly every shingle of characters stands somewhere in
    # 0.5 MB of text, and of 3,066 sentences with 564 repeats it removed 2,713.
    by_ngram = {
        "ngram_length": 5,
        "stride": 0,
        "overlap_threshold": task.threshold,
        "skip_short_paragraphs": False,
    }
    paragraphs = {"attribute_name": "seen", "paragraph_separator": "\n", "by_ngram": by_ngram}
    deduper(
        {
            "documents": [str(documents / "sentences.jsonl.gz")],
            "work_dir": {"input": str(folder / "in"), "output": str(folder / "out")},
            "dedupe": {
                "name": "seen",
                "paragraphs": paragraphs,
                "skip_empty": True,
                "min_length": 0,
                "min_words": 0,
                "num_partitions": 1,
                "partition_index": 0,
                "file_partition": False,
                "document_dir": "documents",
            },
            "bloom_filter": {
                "file": str(folder / "filter"),
                "size_in_bytes": 0,
                "read_only": False,
                "estimated_doc_count": sum(len(s.text.split()) for s in sentences if s),
                "desired_false_positive_rate": 1e-6,
            },
            "processes": 1,
            "compression": {"input": None, "output": None},
            "is_s3_volume": False,
        }
    )
    removed: set[int] = set()
    with gzip.open(folder / "attributes" / "seen" / "sentences.jsonl.gz", "rt") as rows:
        for starts, line in zip(numbers_at, rows, strict=True):
            spans = json.loads(line)["attributes"]["seen"]
            removed.update(starts[int(start)] for start, _, _ in spans)
    return removed


def _keep_firsts(members: Iterable[tuple[int, int]]) -> set[int]:
    """Return all members of clusters but the first of each."""
    firsts: dict[int, int] = {}
    pairs = sorted(members)
    return {number for number, cluster in pairs if firsts.setdefault(cluster, number) != number}


def _shingle(sentences: Sentences) -> Iterator[tuple[int, set[str]]]:
    for number, sentence in enumerate(sentences):
        if sentence:
            yield number, sentence.cut_shingles()


def _batches(rows: Iterable[tuple[int, set[str]]]) -> Iterator[list[tuple[int, set[str]]]]:
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        yield batch


PEERS = {
    "datasketch": Peer("datasketch", "exact", "128, 17 x 4", _datasketch),
    "rensa": Peer("rensa", "exact", "68, 17 x 4", _rensa),
    "rensa alone": Peer("rensa", "estimate", "128, 32 x 4", _rensa_alone),
    "gaoya": Peer("gaoya", "exact", "68, 17 x 4", _gaoya),
    "gaoya alone": Peer("gaoya", "estimate", "68, 17 x 4", _gaoya_alone),
    "FastSketchLSH": Peer("fastsketchlsh", "exact", "64, 16 x 4", _fastsketch),
    "datatrove": Peer("datatrove", "none", "112, 14 x 8", _datatrove),
    "text-dedup": Peer("text-dedup", "none", "250, 25 x 10", _text_dedup),
    "dolma": Peer("dolma", "share seen", "none; 5 words", _dolma),
}
