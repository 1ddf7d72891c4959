"""The passage engine's definitions in plain Python, on text and lists of words."""

import random
from collections import defaultdict
from collections.abc import Sequence

import reference


def cut_words(text: str) -> list[tuple[str, int, int, int]]:
    """Return words as what they fold to, start, stop (code points) and quarters of a word."""
    words: list[tuple[str, int, int, int]] = []
    is_open = False
    run: list[int] = []
    kind = 0

    def close_run() -> None:
        size = {1: 2, 2: 4}.get(kind, 1)
        joined = []
        for number in range(len(run)):
            taken = [words[k] for k in run[number : number + size]]
            joined.append(
                ("".join(w[0] for w in taken), taken[0][1], taken[-1][2], 1 if kind == 2 else 4)
            )
        for k, word in zip(run, joined, strict=True):
            words[k] = word
        run.clear()

    for at, character in enumerate(text):
        folded = reference.fold_code_point(character)
        if not folded and words and words[-1][2] == at and (is_open or run):
            words[-1] = (words[-1][0], words[-1][1], at + 1, words[-1][3])
        for point in folded:
            if point == " ":
                is_open = False
                continue
            own = reference.writing(point)
            if own != kind:
                close_run()
                is_open = False
            kind = own
            if own:
                run.append(len(words))
                words.append((point, at, at + 1, 4))
            elif is_open:
                words[-1] = (words[-1][0] + point, words[-1][1], at + 1, 4)
            else:
                is_open = True
                words.append((point, at, at + 1, 4))
    close_run()
    return words


def pair_seeds(
    texts: Sequence[Sequence[int]], most_count: int, reach: int, most_distance: int
) -> dict[tuple[int, int], list[int]]:
    """Return the places of each seed of two words, words numbered over all texts."""
    counts: dict[int, int] = defaultdict(int)
    for text in texts:
        for word in text:
            counts[word] += 1
    seeds = defaultdict(list)
    base = 0
    for text in texts:
        rare = [at for at, word in enumerate(text) if counts[word] <= most_count]
        for number, at in enumerate(rare):
            for other in rare[number + 1 : number + 1 + reach]:
                if other - at <= most_distance and text[at] != text[other]:
                    low, high = sorted((text[at], text[other]))
                    seeds[low, high].append(base + at)
        base += len(text)
    return {seed: sorted(places) for seed, places in seeds.items() if len(places) > 1}


def run_seeds(texts: Sequence[Sequence[int]], length: int) -> dict[tuple[int, ...], list[int]]:
    seeds = defaultdict(list)
    base = 0
    for text in texts:
        for at in range(len(text) - length + 1):
            seeds[tuple(text[at : at + length])].append(base + at)
        base += len(text)
    return {seed: places for seed, places in seeds.items() if len(places) > 1}


def match(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Return the partner in the right one of each word of the left one, or -1.

    Runs of two words or more first, the longest before the shorter, of equal
    ones the nearest to the diagonal; then single words, nearest to where their
    neighbours went.
    """
    runs = []
    for i in range(len(left)):
        for j in range(len(right)):
            if left[i] == right[j] and not (i and j and left[i - 1] == right[j - 1]):
                length = 1
                while (
                    i + length < len(left)
                    and j + length < len(right)
                    and left[i + length] == right[j + length]
                ):
                    length += 1
                if length > 1:
                    runs.append((-length, abs(i - j), i, j))
    partner = [-1] * len(left)
    taken = [False] * len(right)
    for negative, _, i, j in sorted(runs):
        free = [partner[i + k] < 0 and not taken[j + k] for k in range(-negative)]
        k = 0
        while k < len(free):
            stop = k
            while stop < len(free) and free[stop]:
                stop += 1
            if stop - k >= 2:
                for at in range(k, stop):
                    partner[i + at] = j + at
                    taken[j + at] = True
            k = max(stop, k + 1)
    in_runs = [i for i, other in enumerate(partner) if other >= 0]
    for i, word in enumerate(left):
        if i in in_runs:
            continue
        # Of two neighbours as near, the one before.
        near = min(in_runs, key=lambda k: (abs(k - i), k), default=None)
        expected = i if near is None else partner[near] + i - near
        free_places = [j for j, other in enumerate(right) if other == word and not taken[j]]
        if free_places:
            best = min(free_places, key=lambda j: (abs(j - expected), j))
            partner[i] = best
            taken[best] = True
    return partner


def best_stretch(values: Sequence[float]) -> float:
    """Return the greatest sum of a stretch, at least 0."""
    return max(sum(values[i:j]) for i in range(len(values) + 1) for j in range(i, len(values) + 1))


def make_vocabulary(chooser: random.Random, script: str, count: int) -> list[str]:
    """Return different words, each no more common than the others."""
    if script in ("Han", "Thai"):
        words = reference.make_words(chooser, script, 3 * count)
        return ["".join(words[k : k + 3]) for k in range(0, 3 * count, 3)]
    return ["".join(chooser.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(count)]


def make_text(
    chooser: random.Random, vocabulary: Sequence[str], word_count: int, script: str = "Latin"
) -> str:
    return ("" if script in ("Han", "Thai") else " ").join(
        chooser.choices(vocabulary, k=word_count)
    )
