"""Texts to measure on: made from a seed, or natural text that stands outside."""

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path

# Most of the letters of a language of the Latin script, by how common they are.
_ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sh st t th tr v w".split()
)
_NUCLEI = "a e i o u ai ea ie oo ou".split()
_CODAS = ["", "", "", "n", "r", "s", "t", "l", "d", "m", "nd", "st", "ng", "ck"]


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
