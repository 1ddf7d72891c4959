"""Peers: each does the same task as ours, in the way its documentation shows.

The task: sentences that repeat an earlier one, found among all sentences of a
file. Cutting and folding are given to every peer for nothing; shingling is timed
apart where it is done here, in Python, because the peer takes ready shingles. A
peer that names candidates has them scored exactly, under our law; a peer that
decides alone is left to, and of each of its clusters the first stays.

Nothing here imports the package, so that the memory of a process is the peer's
own, and a peer can stand in an environment of its own. Not driven are:

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
import time
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

# What semhash keeps apart by itself. A cosine is no Jaccard: at 0.7 it removed 10,964
# of 28,197 sentences of natural text, of which 17 % repeat another at a Jaccard of
# 0.7, and at 0.9 it removed 4,756, of which 38 % do.
_COSINE = 0.9

# Least length of a repeat that counts, that of Lee et al. (50 tokens) in bytes.
_REPEAT_BYTES = 50


def find_digits(text: str) -> list[str]:
    """Return the runs of digits of a text, which tell two facts apart."""
    return _DIGITS.findall(text)


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


class Answer(NamedTuple):
    """What a peer found.

    Attributes
    ----------
    numbers
        The sentences that go.
    shingling_seconds
        What of its time went into cutting shingles here; none where the peer cuts
        them, or works without.
    """

    numbers: set[int]
    shingling_seconds: float | None = None


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
        Slots of a signature and the bands they are cut into, or what it has instead.
    find
        Takes sentences, the task and an empty folder.
    lacks
        What it does not give by itself. Here sentences are its items, which gives
        each a place in the text; and where `check` is exact, scores are ours.
    finds_edits
        Whether it claims to find more than exact repeats.
    """

    distribution: str
    check: str
    slots: str
    find: Callable[[Sentences, Task, Path], Answer]
    lacks: str
    finds_edits: bool = True


class Shingled:
    """Number and shingles of each sentence that is compared, cut and timed on the way.

    Attributes
    ----------
    seconds
        What the cutting took so far.
    """

    def __init__(self, sentences: Sentences) -> None:
        self._sentences = sentences
        self.seconds = 0.0

    def __iter__(self) -> Iterator[tuple[int, set[str]]]:
        for number, sentence in enumerate(self._sentences):
            if sentence:
                start = time.perf_counter()
                shingles = sentence.cut_shingles()
                self.seconds += time.perf_counter() - start
                yield number, shingles

    def batches(self) -> Iterator[list[tuple[int, set[str]]]]:
        """Yield them by the thousand."""
        rows = iter(self)
        while batch := list(islice(rows, _BATCH)):
            yield batch


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
        mine = find_digits(sentence.text)
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


def find_with_datasketch(
    sentences: Sentences, task: Task, shingled: Iterable[tuple[int, set[str]]] | None = None
) -> dict[int, tuple[int, float]]:
    """Find duplicates with datasketch; the answer has to be ours, pair by pair.

    Parameters
    ----------
    shingled
        The shingles of the sentences, where what cutting them takes is wanted apart.
    """
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

    return apply_law(sentences, task, _Index(), shingled or Shingled(sentences))


def _datasketch(sentences: Sentences, task: Task, folder: Path) -> Answer:
    shingled = Shingled(sentences)
    return Answer(set(find_with_datasketch(sentences, task, shingled)), shingled.seconds)


def _rensa(sentences: Sentences, task: Task, folder: Path) -> Answer:
    import rensa

    slots = task.bands * task.rows
    lsh = rensa.RMinHashLSH(task.threshold, slots, task.bands)
    sketches: dict[int, Any] = {}
    shingled = Shingled(sentences)

    def sketch() -> Iterator[tuple[int, set[str]]]:
        for batch in shingled.batches():
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

    return Answer(set(apply_law(sentences, task, _Index(), sketch())), shingled.seconds)


def _rensa_alone(sentences: Sentences, task: Task, folder: Path) -> Answer:
    import rensa

    # 128 slots in 32 bands: the bands have to share the slots out evenly.
    keeper = rensa.RMinHashDeduplicator(
        threshold=task.threshold,
        num_perm=task.num_perm,
        use_lsh=True,
        num_bands=task.num_perm // task.rows,
    )
    removed: set[int] = set()
    shingled = Shingled(sentences)
    for batch in shingled.batches():
        kept = keeper.add_pairs((str(number), shingles) for number, shingles in batch)
        removed.update(number for (number, _), stays in zip(batch, kept, strict=True) if not stays)
    return Answer(removed, shingled.seconds)


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


def _gaoya(sentences: Sentences, task: Task, folder: Path) -> Answer:
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
    return Answer(set(apply_law(sentences, task, _Index(), numbers)))


def _gaoya_alone(sentences: Sentences, task: Task, folder: Path) -> Answer:
    index = _gaoya_index(task, task.threshold)
    removed: set[int] = set()
    for number, sentence in enumerate(sentences):
        if sentence is None:
            continue
        if index.query(sentence.text):
            removed.add(number)
        else:
            index.insert_document(number, sentence.text)
    return Answer(removed)


def _fastsketch(sentences: Sentences, task: Task, folder: Path) -> Answer:
    from FastSketchLSH import LSH, FastSimilaritySketch

    # Slots have to be a power of two: 64 in 16 bands are next to our 68 in 17.
    slots = 1 << (task.bands * task.rows).bit_length() - 1
    sketcher = FastSimilaritySketch(size=slots, seed=1)
    # More threads wait for one another at every row: over 100 times slower on two cores.
    lsh = LSH(num_perm=slots, num_bands=slots // task.rows, num_threads=1)
    inserted: list[int] = []
    sketches: dict[int, Any] = {}
    shingled = Shingled(sentences)

    def sketch() -> Iterator[tuple[int, set[str]]]:
        for batch in shingled.batches():
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

    return Answer(set(apply_law(sentences, task, _Index(), sketch())), shingled.seconds)


def _datatrove(sentences: Sentences, task: Task, folder: Path) -> Answer:
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )

    # Nothing is scored behind the bands, so they are its own, steeper than ours.
    config = MinhashConfig(n_grams=task.shingle_chars, norm_config=_datatrove_folding())
    signatures, buckets, clusters = (str(folder / name) for name in ("signatures", "dups", "out"))
    numbers = [number for number, sentence in enumerate(sentences) if sentence]
    documents = (
        Document(text=sentence.text, id=str(number))
        for number, sentence in enumerate(sentences)
        if sentence
    )
    signature = MinhashDedupSignature(signatures, config, language=_datatrove_characters())
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
    pairs = ((numbers[row], cluster) for row, cluster in struct.iter_unpack("<2I", rows))
    return Answer(_keep_firsts(pairs))


def _datatrove_sentences(sentences: Sentences, task: Task, folder: Path) -> Answer:
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.dedup.sentence_dedup import (
        SentDedupConfig,
        SentenceDedupFilter,
        SentenceDedupSignature,
        SentenceFindDedups,
    )

    # Single sentences, one a line; no document goes because little of it is left.
    config = SentDedupConfig(
        n_sentences=1,
        split_sentences=False,
        min_doc_words=0,
        min_num_sentences=0,
        norm_config=_datatrove_folding(),
    )
    signatures, duplicates = str(folder / "signatures"), str(folder / "duplicates")
    language = _datatrove_characters()
    rows = ((number, sentence.text) for number, sentence in enumerate(sentences) if sentence)
    numbers, texts = [], []
    # It counts the sentences of a document in 16 bits.
    while batch := list(islice(rows, _BATCH)):
        numbers.append([number for number, _ in batch])
        texts.append("\n".join(text for _, text in batch))

    def documents() -> Iterator[Any]:
        return (Document(text=text, id=str(i)) for i, text in enumerate(texts))

    signature = SentenceDedupSignature(signatures, config=config, language=language)
    signature.hash_fc = lambda text: xxhash.xxh64_intdigest(text.encode())
    signature.run(documents())
    SentenceFindDedups(signatures, duplicates, config=config).run()
    for _ in SentenceDedupFilter(duplicates, config=config, language=language).run(documents()):
        pass
    found = Path(duplicates, "0000", "00000.c4_dup")
    pairs = struct.iter_unpack("<IH", found.read_bytes()) if found.exists() else ()
    return Answer({numbers[document][sentence] for document, sentence in pairs})


def _datatrove_characters() -> Any:
    """Make a tokenizer: words are its tokens, and here each character is one."""
    from datatrove.utils.logging import logger
    from datatrove.utils.word_tokenizers import WordTokenizer

    logger.remove()
    return type(
        "Characters",
        (WordTokenizer,),
        {
            "word_tokenize": lambda self, text: list(text),
            "sent_tokenize": lambda self, text: [text],
            "span_tokenize": lambda self, text: [(0, len(text))],
        },
    )()


def _datatrove_folding() -> Any:
    """Make the folding that changes nothing: the text is folded."""
    from datatrove.utils.text import TextNormConfig

    return TextNormConfig(
        lowercase=False,
        norm_whitespace=False,
        remove_punctuation=False,
        norm_unicode_diacritics=False,
        norm_numbers=False,
    )


def _text_dedup(sentences: Sentences, task: Task, folder: Path) -> Answer:
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
    return Answer(_keep_firsts((numbers[row], sets.find(row)) for row in list(sets.parent)))


def _dolma(sentences: Sentences, task: Task, folder: Path) -> Answer:
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
    return Answer(removed)


def _semhash(sentences: Sentences, task: Task, folder: Path) -> Answer:
    import wordllama
    from semhash import SemHash

    # Its own model would be fetched; this one of 256 dimensions comes in a wheel,
    # which looks for its tokenizer in a folder of another name unless told where.
    embedder = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )

    class _Encoder:
        def encode(self, inputs: Sequence[str], **_: Any) -> Any:
            return embedder.embed(list(inputs))

    records = [
        {"number": str(number), "text": sentence.text}
        for number, sentence in enumerate(sentences)
        if sentence
    ]
    index = SemHash.from_records(records, columns=["text"], model=_Encoder())
    found = index.self_deduplicate(threshold=_COSINE)
    return Answer({int(duplicate.record["number"]) for duplicate in found.filtered})


def _suffix_array(sentences: Sentences, task: Task, folder: Path) -> Answer:
    """Find sentences whose bytes stand, as far as the threshold asks, in exact repeats.

    A repeat is a run of at least 50 bytes that begins earlier too, and may run
    across the borders of sentences. Unlike its authors' tool, which removes every
    copy, this leaves the first; what is covered by repeats is removed there as runs
    of bytes and here as sentences.

    References
    ----------
    K. Lee, D. Ippolito, A. Nystrom, C. Zhang, D. Eck, C. Callison-Burch, N. Carlini,
    "Deduplicating Training Data Makes Language Models Better", ACL 2022.
    """
    import numpy as np
    from pydivsufsort import divsufsort, kasai

    numbers = [number for number, sentence in enumerate(sentences) if sentence]
    rows = [sentence.text.encode() for sentence in sentences if sentence]
    text = b"\n".join(rows)
    if len(text) < _REPEAT_BYTES:
        return Answer(set())
    suffixes = divsufsort(text)
    # Suffixes that begin with the same 50 bytes stand in a row.
    is_first = np.ones(len(text), np.bool_)
    is_first[1:] = kasai(text, suffixes)[:-1] < _REPEAT_BYTES
    firsts = np.flatnonzero(is_first)
    lengths = np.diff(firsts, append=len(text))
    earliest = np.repeat(np.minimum.reduceat(suffixes, firsts), lengths)
    repeats = suffixes[suffixes > earliest]
    depth = np.zeros(len(text) + 1, np.int64)
    depth[repeats] += 1
    depth[repeats + _REPEAT_BYTES] -= 1
    covered = np.concatenate([[0], np.cumsum(np.cumsum(depth[:-1]) > 0)])
    sizes = np.array([len(row) for row in rows])
    stops = np.cumsum(sizes + 1) - 1
    shares = (covered[stops] - covered[stops - sizes]) / sizes
    return Answer({numbers[row] for row in np.flatnonzero(shares >= task.threshold).tolist()})


def _keep_firsts(members: Iterable[tuple[int, int]]) -> set[int]:
    """Return all members of clusters but the first of each."""
    firsts: dict[int, int] = {}
    pairs = sorted(members)
    return {number for number, cluster in pairs if firsts.setdefault(cluster, number) != number}


# What all that sketch a text as one have in common.
_NO_PLACE = "offsets, exact scores, repeats inside a text"
_NO_SCORE = "offsets, any score, repeats inside a text"

PEERS = {
    "datasketch": Peer("datasketch", "exact", "128, 17 x 4", _datasketch, _NO_PLACE),
    "rensa": Peer("rensa", "exact", "68, 17 x 4", _rensa, _NO_PLACE),
    "rensa alone": Peer("rensa", "estimate", "128, 32 x 4", _rensa_alone, _NO_PLACE),
    "gaoya": Peer("gaoya", "exact", "68, 17 x 4", _gaoya, _NO_PLACE),
    "gaoya alone": Peer("gaoya", "estimate", "68, 17 x 4", _gaoya_alone, _NO_PLACE),
    "FastSketchLSH": Peer("fastsketchlsh", "exact", "64, 16 x 4", _fastsketch, _NO_PLACE),
    "suffix array": Peer(
        "pydivsufsort",
        "share repeated",
        "none; 50 bytes",
        _suffix_array,
        "near repeats, sentence borders",
        finds_edits=False,
    ),
    "datatrove": Peer("datatrove", "none", "112, 14 x 8", _datatrove, _NO_SCORE),
    "datatrove sentences": Peer(
        "datatrove",
        "same hash",
        "none; 1 sentence",
        _datatrove_sentences,
        "near repeats, offsets, which other copy",
        finds_edits=False,
    ),
    "text-dedup": Peer("text-dedup", "none", "250, 25 x 10", _text_dedup, _NO_SCORE),
    "semhash": Peer(
        "semhash",
        "cosine 0.9",
        "256 dimensions",
        _semhash,
        "offsets, scores of the letters, repeats inside a text",
    ),
    "dolma": Peer(
        "dolma",
        "share seen",
        "none; 5 words",
        _dolma,
        "which other copy, exact scores",
    ),
}
