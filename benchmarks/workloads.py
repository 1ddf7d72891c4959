"""Texts to measure on: made from a seed, or natural text that stands outside."""

import gzip
import json
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dedup.columns import Texts

# Most of the letters of a language of the Latin script, by how common they are.
_ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sh st t th tr v w".split()
)
_NUCLEI = "a e i o u ai ea ie oo ou".split()
_CODAS = ["", "", "", "n", "r", "s", "t", "l", "d", "m", "nd", "st", "ng", "ck"]

_WORD = re.compile(r"[^\W\d_]+")
# From Thai on there are scripts that write without spaces.
_THAI = "\u0e00"


@dataclass(frozen=True)
class Workload:
    """A text to measure on.

    Attributes
    ----------
    name
        What tables call it.
    documents
        Its documents.
    """

    name: str
    documents: list[str]

    @property
    def size_mb(self) -> float:
        """Size in 10**6 bytes of UTF-8."""
        return sum(len(text.encode()) for text in self.documents) / 1e6

    def to_texts(self) -> Texts:
        """Return the documents as columns."""
        return Texts.from_bytes([text.encode() for text in self.documents])


def planted(size_mb: float, seed: int = 1) -> Workload:
    """Make documents in which one sentence in five is a copy of an earlier one.

    Half of the copies are exact, half have one to three words replaced,
    dropped, added or swapped.
    """
    rng = random.Random(seed)
    words = sorted({_word(rng) for _ in range(20000)})
    rng.shuffle(words)
    weights = [1 / (rank + 3) for rank in range(len(words))]
    stock = rng.choices(words, weights, k=1 << 20)
    sentences: list[list[str]] = []
    documents: list[str] = []
    size = at = 0
    while size < size_mb * 1e6:
        paragraphs = []
        for _ in range(rng.randint(2, 12)):
            paragraph = []
            for _ in range(rng.randint(1, 8)):
                if sentences and rng.random() < 0.2:
                    sentence = list(rng.choice(sentences))
                    if rng.random() < 0.5:
                        _edit(sentence, words, rng)
                else:
                    length = rng.randint(6, 28)
                    at = (at + length) % (len(stock) - 30)
                    sentence = stock[at : at + length]
                    sentences.append(sentence)
                paragraph.append(" ".join(sentence).capitalize() + ".")
            paragraphs.append(" ".join(paragraph))
        documents.append("\n\n".join(paragraphs) + "\n")
        size += len(documents[-1])
    return Workload("planted", documents)


def natural(folder: Path, size_mb: float) -> list[Workload]:
    """Load natural text: the first part of each ``natural/*.jsonl.gz`` in a folder.

    Returns
    -------
    list
        Nothing where the folder is not there.
    """
    workloads = []
    for path in sorted((folder / "natural").glob("*.jsonl*")):
        documents = []
        size = 0
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as rows:
            for row in rows:
                documents.append(json.loads(row)["text"])
                size += len(documents[-1].encode())
                if size >= size_mb * 1e6:
                    break
        workloads.append(Workload(path.name.split(".")[0], documents))
    return workloads


def mix(parts: list[Workload], size_mb: float) -> Workload:
    """Join the beginnings of texts, equal parts of each as far as they reach.

    The last document of each is cut short.
    """
    documents: list[str] = []
    room = int(size_mb * 1e6)
    by_size = sorted(parts, key=lambda part: part.size_mb)
    for i, part in enumerate(by_size):
        share = room // (len(by_size) - i)
        for text in part.documents:
            raw = text.encode()[:share]
            documents.append(raw.decode(errors="ignore"))
            share -= len(raw)
            room -= len(raw)
            if not share:
                break
    return Workload("natural", documents)


def grow(parts: list[Workload], size_mb: float) -> Iterator[str]:
    """Yield documents of about a size in all: those of the texts, then salted ones.

    Up to their own size they are a `mix`. Behind it all come again, salted, as
    often as it takes: in each round about every other word, chosen anew by a
    hash of word and round, gets letters of that round at its end. A word is
    changed everywhere or nowhere, so what repeats in a text repeats in each
    round, but few sentences are still like those of another round. In scripts
    without spaces, where a word is a clause, they go in behind every second
    character.
    """
    if size_mb <= sum(part.size_mb for part in parts):
        yield from mix(parts, size_mb).documents
        return
    left = size_mb * 1e6
    for turn in count():
        salted = _Salted(turn)
        for part in parts:
            for text in part.documents:
                document = _WORD.sub(salted.salt, text) if turn else text
                left -= len(document.encode())
                if left < 0:
                    return
                yield document


class _Salted(dict[str, str]):
    """Words to what they are in a round; filled as they are met."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._salt = f"{_ONSETS[turn % len(_ONSETS)]}{_NUCLEI[turn % len(_NUCLEI)]}x"

    def salt(self, word: re.Match[str]) -> str:
        return self[word[0]]

    def __missing__(self, word: str) -> str:
        salted = word
        if word[0] >= _THAI:
            pairs = (word[start : start + 2] for start in range(0, len(word), 2))
            salted = "".join(pair + self._salt for pair in pairs)
        elif zlib.crc32(word.encode(), self._turn) % 2 == 0:
            salted = word + self._salt
        self[word] = salted
        return salted


def _word(rng: random.Random) -> str:
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)
        for _ in range(rng.choice((1, 1, 2, 2, 3)))
    )


def _edit(sentence: list[str], words: list[str], rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        i = rng.randrange(len(sentence))
        match rng.choice(("replace", "drop", "add", "swap")):
            case "replace":
                sentence[i] = rng.choice(words)
            case "drop" if len(sentence) > 4:
                del sentence[i]
            case "add":
                sentence.insert(i, rng.choice(words))
            case "swap" if i:
                sentence[i - 1], sentence[i] = sentence[i], sentence[i - 1]
            case _:
                pass
