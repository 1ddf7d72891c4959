"""Plants: passages put into made text with a known edit, and what is found of them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dedup.columns import Texts
from dedup.matches import list_matches
from dedup.passages import PassageOptions, find_passages

EDITS = ("insertion", "deletion", "substitution", "swap")
SCRIPTS = ("Latin", "Han", "Thai")

# Words of a document, and words of a Latin document that are one of the commonest.
_DOCUMENT_WORDS = 400
_COMMON_SHARE, _COMMON_COUNT = 0.4, 60
_VOCABULARY = 20_000

# Least length that is asked for, as a share of what is planted: deletions take some.
_LEAST_SHARE, _LEAST_WORDS, _DEFAULT_WORDS = 0.75, 6, 16


@dataclass(frozen=True)
class _Plant:
    """A passage and its copy.

    Attributes
    ----------
    left, right
        Document, start and stop in code points of the two.
    """

    left: tuple[int, int, int]
    right: tuple[int, int, int]


class _Writer:
    """Writes words of a script, some of them much more often than others."""

    def __init__(self, script: str, draw: random.Random) -> None:
        self._draw = draw
        self.space = " " if script == "Latin" else ""
        letters = {
            "Latin": "abcdefghiklmnoprstuvwy",
            "Han": "".join(map(chr, range(0x4E00, 0x5600))),
            "Thai": "".join(map(chr, range(0x0E01, 0x0E2F))),
        }[script]
        least, most = {"Latin": (2, 9), "Han": (1, 1), "Thai": (3, 5)}[script]
        self._words = sorted(
            {
                "".join(draw.choices(letters, k=draw.randint(least, most)))
                for _ in range(_VOCABULARY)
            }
        )
        draw.shuffle(self._words)

    def write(self, count: int) -> list[str]:
        """Return so many words."""
        common, draw = self._words[:_COMMON_COUNT], self._draw
        return [
            draw.choice(common if draw.random() < _COMMON_SHARE else self._words)
            for _ in range(count)
        ]


def _edit(words: list[str], kind: str, count: int, writer: _Writer, draw: random.Random) -> None:
    """Edit single words inside a passage, its ends apart."""
    for _ in range(count):
        at = draw.randrange(1, len(words) - 2)
        match kind:
            case "insertion":
                words[at:at] = writer.write(1)
            case "deletion":
                if len(words) > 4:
                    del words[at]
            case "substitution":
                words[at : at + 1] = writer.write(1)
            case _:
                words[at : at + 2] = [words[at + 1], words[at]]


def plant_passages(
    script: str, length: int, kind: str, edits: int, count: int, seed: int
) -> tuple[list[str], list[_Plant]]:
    """Write documents, two for each passage, that have nothing else in common.

    Parameters
    ----------
    length
        Words of a passage; in Han a character is one.
    kind, edits
        Which edit the copy had, and how many words were edited.
    count
        Passages.
    """
    draw = random.Random(f"{seed} {script} {length} {kind} {edits}")
    writer = _Writer(script, draw)
    documents, plants = [], []
    for number in range(count):
        passage = writer.write(length)
        copy = list(passage)
        _edit(copy, kind, edits, writer, draw)
        places = []
        for side, words in enumerate((passage, copy)):
            before = writer.write(draw.randint(20, _DOCUMENT_WORDS - 20))
            behind = writer.write(_DOCUMENT_WORDS - len(before))
            parts = [writer.space.join(some) for some in (before, words, behind)]
            start = len(parts[0]) + len(writer.space)
            documents.append(writer.space.join(parts))
            places.append((2 * number + side, start, start + len(parts[1])))
        plants.append(_Plant(*places))
    return documents, plants


def measure_edits(quick: bool = False) -> list[dict[str, Any]]:
    """Measure what is found of planted passages, by script, length, kind of edit and edits.

    Returns
    -------
    list
        `script`, `words`, `edit`, `edited` (words), `plants`; `found`, the share of which
        half or more was found on both sides; `recall`, the share of their characters,
        and `precision`, the share of found characters that are theirs; `exact_ends`, of the
        ends of those that were found the share that is exact to the character.
    """
    count = 30 if quick else 100
    lengths = (16, 64) if quick else (8, 16, 32, 64)
    return [
        _measure_plants(script, length, kind, edits, count)
        for script in SCRIPTS
        for length in lengths
        for kind in EDITS
        for edits in (max(1, round(0.1 * length)), round(0.2 * length))
    ]


def _measure_plants(script: str, length: int, kind: str, edits: int, count: int) -> dict[str, Any]:
    documents, plants = plant_passages(script, length, kind, edits, count, 5)
    texts = Texts.from_bytes([document.encode() for document in documents])
    least = min(_DEFAULT_WORDS, max(_LEAST_WORDS, int(_LEAST_SHARE * length)))
    options = PassageOptions.of_length(least)
    names = [str(number) for number in range(len(documents))]
    matches: dict[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int]]]] = {}
    found_chars = right_chars = planted_chars = exact = ends = found = 0
    for match in list_matches(texts, names, find_passages(texts, options, 2)):
        pair = int(match.match.document), int(match.document)
        sides = (match.match.start, match.match.stop), (match.start, match.stop)
        matches.setdefault(pair, []).append(sides)
        found_chars += sum(stop - start for start, stop in sides)
    for plant in plants:
        covered = [0, 0]
        best = None
        for sides in matches.get((plant.left[0], plant.right[0]), ()):
            for k, place in enumerate((plant.left, plant.right)):
                covered[k] += max(0, min(sides[k][1], place[2]) - max(sides[k][0], place[1]))
            best = max(best or sides, sides, key=lambda one: one[0][1] - one[0][0])
        lengths = [plant.left[2] - plant.left[1], plant.right[2] - plant.right[1]]
        planted_chars += sum(lengths)
        right_chars += sum(covered)
        if best and all(2 * part >= whole for part, whole in zip(covered, lengths, strict=True)):
            found += 1
            ends += 4
            exact += sum(
                own == other
                for one, place in zip(best, (plant.left, plant.right), strict=True)
                for own, other in zip(one, place[1:], strict=True)
            )
    return {
        "script": script,
        "words": length,
        "edit": kind,
        "edited": edits,
        "plants": len(plants),
        "found": found / len(plants),
        "recall": right_chars / planted_chars,
        "precision": right_chars / found_chars if found_chars else None,
        "exact_ends": exact / ends if ends else None,
    }


def list_trades() -> Iterator[tuple[str, PassageOptions]]:
    """Yield options that buy speed with passages that are missed, and what was changed."""
    for most in (2, 3, 5, 10, 20, 40):
        yield f"most_places {most}", PassageOptions(most_places=most)
