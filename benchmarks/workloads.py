"""Texts to measure on: made from a seed, or natural text that stands outside."""

import gzip
import json
import random
import unicodedata
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

_VOWELS = frozenset("aeiouy")
_SURROGATES = 0xD800


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
    """Yield documents of about a size in all: those of the texts, then the same in ciphers.

    Up to their own size they are a `mix`. Behind it all come again as often as
    it takes, each round in a cipher of its own: one letter for another of the
    same script, vowels for vowels. What repeats in the texts repeats in each
    round, lengths and words are as often as they were, and rounds have nothing
    in common, as texts in other languages have not. So text and work grow
    alike, and what grows faster is the program's.
    """
    if size_mb <= sum(part.size_mb for part in parts):
        yield from mix(parts, size_mb).documents
        return
    left = size_mb * 1e6
    for turn in count():
        cipher = _make_cipher(turn)
        for part in parts:
            for text in part.documents:
                document = text.translate(cipher) if turn else text
                left -= len(document.encode())
                if left < 0:
                    return
                yield document


def _make_cipher(turn: int) -> dict[int, str]:
    """Return what becomes of letters: others of the same script and size in UTF-8."""
    alphabets: dict[tuple[str, int, bool], list[str]] = {}
    for letter in map(chr, range(_SURROGATES)):
        upper = letter.upper()
        is_small = letter.islower() and len(upper) == 1 and upper.lower() == letter != upper
        # Those that fold to more than one code point stay as they are.
        if (is_small or unicodedata.category(letter) == "Lo") and not unicodedata.decomposition(
            letter
        ):
            script = unicodedata.name(letter).split()[0]
            kind = script, len(letter.encode()), letter in _VOWELS
            alphabets.setdefault(kind, []).append(letter)
    rng = random.Random(turn)
    cipher = {}
    for letters in alphabets.values():
        for letter, other in zip(letters, rng.sample(letters, len(letters)), strict=True):
            cipher[ord(letter)] = other
            if letter.islower():
                cipher[ord(letter.upper())] = other.upper()
    return cipher


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
