"""Passages: the longest runs of text that are aligned with other text.

Nothing here asks for sentences: a copy may begin in the middle of one. Words
are cut from the original text (`words`), places that share a seed are linked
(`seeds`), where links stand close together a core is made (`chains`), and
around each core the two texts are aligned (`alignments`). Which cores there are
depends on all texts; what is made of one depends on its two texts alone.

The module opens no files and decides nothing about what goes.
"""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.alignments import align_core, align_cores
from dedup.chains import Cores, find_cores
from dedup.columns import Bytes, Positions, Texts
from dedup.errors import OptionsError
from dedup.extents import find_extents
from dedup.kernels import kernel
from dedup.options import MappedOptions
from dedup.progress import Done, Progress
from dedup.scratch import Scratch
from dedup.seeds import find_pair_seeds, find_run_seeds
from dedup.slices import cut_slices, map_slices
from dedup.words import Words, cut_words

# Cores that a thread takes at a time, about.
_CORES_A_SLICE = 1 << 12

# Share of the most evidence there can be that short passages need: 16 words, 30.
_EVIDENCE_SHARE = 30 / 32


@dataclass(frozen=True, kw_only=True)
class PassageOptions(MappedOptions):
    """What counts as a passage.

    The defaults lie on a plateau: with any of them 20 to 30 % higher or lower,
    the score over all categories of PAN 2013 stays between 0.88 and 0.90.

    Raises
    ------
    OptionsError
        When a value has the wrong type or is out of range; it names the option.
    """

    least_words: int = 16
    """Least length of either side, in words; four code points are a word in
    Thai, Lao, Khmer and Myanmar, one is in Han and Kana."""

    least_evidence: float = 30.0
    """How much more likely, as a natural logarithm, the two sides are a copy
    than not. 16 words in a row have 32; the less is the same, the longer a
    passage has to be."""

    least_share: float = 0.3
    """Least share of aligned words of the shorter side."""

    gap_words: int = 45
    """Words in a row without a partner that a passage bridges."""

    word_gain: float = 2.0
    """The most that one word with a partner adds to the evidence."""

    word_loss: float = 0.6
    """What one word without a partner takes from it."""

    fidelity: float = 0.6
    """Chance with which a word of a copy is copied."""

    common_share: float = 0.001
    """Words that are more of all words than this are in no seed of two words."""

    common_count: int = 20
    """But a word that stands no more often than this always may be."""

    seed_words: int = 2
    """Next words, common ones passed over, that a word makes a seed with."""

    seed_distance: int = 12
    """Words from one to the other, at most."""

    run_words: int = 8
    """Words in a row that make the other kind of seed."""

    most_places: int = 10
    """A seed of two words in more places is not followed."""

    most_run_places: int = 500
    """A run in more places is followed to the first and the one before only."""

    least_seeds: int = 3
    """Seeds near each other in both texts that have them aligned; one run is enough."""

    cell_words: int = 48
    """What is near: half again as many words."""

    window_words: int = 96
    """Words on each side of a core in which a passage has to begin."""

    def __post_init__(self) -> None:
        for name, kind, least, most in _RANGES:
            value = getattr(self, name)
            good = int if kind is int else int | float
            if isinstance(value, bool) or not isinstance(value, good) or not least <= value <= most:
                wanted = "a whole number" if kind is int else "a number"
                raise OptionsError(name, value, f"{wanted} from {least} to {most}")

    @classmethod
    def of_length(cls, least_words: int, **values: Any) -> "PassageOptions":
        """Build options for passages of a least length, however short.

        Less evidence is asked for where a copy of that length has no more.
        """
        most = dataclasses.replace(cls(), **values)
        evidence = min(most.least_evidence, _EVIDENCE_SHARE * most.word_gain * least_words)
        return cls(least_words=least_words, **{"least_evidence": evidence, **values})


_RANGES = (
    ("least_words", int, 1, 1_000_000),
    ("least_evidence", float, 0, 1_000_000),
    ("least_share", float, 0, 1),
    ("gap_words", int, 0, 10_000),
    ("word_gain", float, 0.01, 100),
    ("word_loss", float, 0.01, 100),
    ("fidelity", float, 0.01, 1),
    ("common_share", float, 0, 1),
    ("common_count", int, 0, 1_000_000),
    ("seed_words", int, 1, 16),
    ("seed_distance", int, 1, 1000),
    ("run_words", int, 2, 1000),
    ("most_places", int, 2, 10_000),
    ("most_run_places", int, 2, 10_000),
    ("least_seeds", int, 1, 1000),
    ("cell_words", int, 4, 10_000),
    ("window_words", int, 8, 10_000),
)


@dataclass(frozen=True)
class Passages:
    """Pairs of passages that match, sorted by where the left one stands, then the right one.

    The left one is the earlier in reading order. Within one text the two do not
    overlap.

    Attributes
    ----------
    left_documents, left_starts, left_stops
        int64[n], text, and bytes in the data of all texts, on borders of code points.
    right_documents, right_starts, right_stops
        int64[n], the same of the later one.
    left_words, right_words, aligned_words
        int64[n], words of either, and how many have a partner.
    scores
        float64[n], aligned words over all words of the two, 0 to 1.
    containments
        float64[n], aligned words over the words of the shorter.
    evidence
        float64[n], logarithm of how much more likely a copy is than chance.
    kinds
        uint8[n], as of duplicates: 0 the same bytes, 1 the same words, 2 near.
    capped_count
        Seeds in so many places that not all of them were followed.
    """

    left_documents: Positions
    left_starts: Positions
    left_stops: Positions
    right_documents: Positions
    right_starts: Positions
    right_stops: Positions
    left_words: Positions
    right_words: Positions
    aligned_words: Positions
    scores: NDArray[np.float64]
    containments: NDArray[np.float64]
    evidence: NDArray[np.float64]
    kinds: Bytes
    capped_count: int

    def __len__(self) -> int:
        return len(self.left_starts)


@dataclass(frozen=True)
class Comparison:
    """Two texts and what they share, word by word.

    Attributes
    ----------
    passages
        Those with one side in either text.
    offsets
        int64[n + 1], passage `i` has the aligned words ``offsets[i]`` to
        ``offsets[i + 1]``.
    left_starts, left_stops, right_starts, right_stops
        int64[m], bytes in the data of the two texts one after the other.
    """

    passages: Passages
    offsets: Positions
    left_starts: Positions
    left_stops: Positions
    right_starts: Positions
    right_stops: Positions


@dataclass(frozen=True)
class _Found:
    """Passages in words, and the core around which each was found."""

    rows: Positions
    lefts: Positions
    rights: Positions
    evidence: NDArray[np.float64]


@dataclass(frozen=True)
class _Places:
    """What is known of each word by where it stands.

    `text_of` int32[n] is its text, `counts` int32[n] how often its id stands there.
    """

    text_of: NDArray[np.int32]
    counts: NDArray[np.int32]


@kernel
def _place_words(ids, offsets, distinct_count, text_of, counts):
    seen = np.zeros(distinct_count, np.int32)
    for t in range(len(offsets) - 1):
        for i in range(offsets[t], offsets[t + 1]):
            text_of[i] = t
            seen[ids[i]] += 1
        for i in range(offsets[t], offsets[t + 1]):
            counts[i] = seen[ids[i]]
        for i in range(offsets[t], offsets[t + 1]):
            seen[ids[i]] = 0


def _find_places(words: Words, scratch: Scratch) -> _Places:
    text_of, counts = (scratch.empty(len(words), np.int32) for _ in range(2))
    _place_words(words.ids, words.offsets, len(words.counts), text_of, counts)
    return _Places(text_of, counts)


@kernel
def _mark_pairs(text_of, lefts, rights, begins):
    for c in range(len(lefts)):
        begins[c] = (
            c == 0
            or text_of[lefts[c]] != text_of[lefts[c - 1]]
            or text_of[rights[c]] != text_of[rights[c - 1]]
        )


@kernel
def _hash_pairs(text_of, offsets, fingerprints, lefts, rights, spare, firsts, keys):
    """Write for each pair of texts a hash of all that its passages depend on."""
    for p in range(len(keys)):
        left, right = text_of[lefts[firsts[p]]], text_of[rights[firsts[p]]]
        state = _mixed(fingerprints[left], np.uint64(left == right))
        state = _mixed(state, fingerprints[right])
        for c in range(firsts[p], firsts[p + 1]):
            state = _mixed(state, np.uint64(lefts[c] - offsets[left]))
            state = _mixed(state, np.uint64(rights[c] - offsets[right]))
            state = _mixed(state, np.uint64(spare[c]))
        keys[p] = state


@kernel
def _mixed(state, value):
    """Return a hash that went on by one value: a bijection of each for the other."""
    state = (state ^ value) * np.uint64(0xD6E8FEB86659FD93)
    return state ^ (state >> np.uint64(32))


def _most_drop(options: PassageOptions) -> float:
    """Return how far the evidence may fall: half a word more than a gap takes."""
    return (options.gap_words + 0.5) * options.word_loss


def _find_alike(keys: NDArray[np.uint64]) -> tuple[Positions, Positions]:
    """Return the first row of each key, rising, and which of these each row is like."""
    _, chosen, like = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(chosen)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return chosen[order], ranks[like]


def _align_all(
    words: Words,
    places: _Places,
    cores: Cores,
    options: PassageOptions,
    threads: int,
    done: Done,
) -> _Found:
    """Align around cores, once for all pairs of texts that are alike and have the same cores.

    In licences of Debian packages, where every other text is another's copy, that
    is one pair of six.
    """
    begins = np.empty(len(cores.lefts) + 1, np.bool_)
    begins[-1] = True
    _mark_pairs(places.text_of, cores.lefts, cores.rights, begins)
    firsts = np.flatnonzero(begins)
    keys = np.empty(len(firsts) - 1, np.uint64)
    _hash_pairs(
        places.text_of, words.offsets, words.fingerprints, cores.lefts, cores.rights, cores.spare,
        firsts, keys,
    )  # fmt: skip
    chosen, like = _find_alike(keys)
    heads, tails = firsts[:-1][chosen], firsts[1:][chosen]

    def align(first: int, last: int) -> tuple[NDArray[Any], ...]:
        room = int((tails[first:last] - heads[first:last]).sum())
        rows = np.empty((room, 5), np.int64)
        which = np.empty(room, np.int64)
        evidence = np.empty(room, np.float64)
        counts = np.empty(last - first, np.int64)
        count = align_cores(
            words.ids, words.weights, places.counts, len(words.counts),
            words.offsets, words.fingerprints, places.text_of, cores.lefts, cores.rights,
            cores.spare, heads[first:last], tails[first:last], options.window_words,
            options.fidelity, options.word_gain, options.word_loss, _most_drop(options),
            options.least_evidence, 4 * options.least_words, options.least_share,
            rows, which, evidence, counts,
        )  # fmt: skip
        return rows[:count].copy(), which[:count].copy(), evidence[:count].copy(), counts

    parts = []
    bounds = cut_slices(tails - heads, _CORES_A_SLICE)
    for part, (first, last) in zip(
        map_slices(align, bounds, threads), pairwise(bounds), strict=True
    ):
        parts.append(part)
        done(int(tails[last - 1] - heads[first]))
    rows, which, evidence, counts = (
        np.concatenate([empty, *(part[k] for part in parts)])
        for k, empty in enumerate(
            (np.empty((0, 5), np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
        )
    )
    starts = np.cumsum(counts) - counts
    pairs = np.repeat(np.arange(len(like)), counts[like])
    taken = np.arange(len(pairs)) - np.repeat(np.cumsum(counts[like]) - counts[like], counts[like])
    taken += starts[like][pairs]
    # How far the texts of a pair are from those that were aligned.
    moved = []
    for side in (cores.lefts, cores.rights):
        bases = words.offsets[places.text_of[side[firsts[:-1]]]]
        moved.append((bases - bases[chosen][like])[pairs])
    rows, which = rows[taken], which[taken]
    rows[:, 0:2] += moved[0][:, None]
    rows[:, 2:4] += moved[1][:, None]
    order = np.lexsort(rows.T[[3, 2, 1, 0]])
    # Two words may come out of one code point (a fraction); it is no passage of itself.
    order = order[words.starts[rows[order, 0]] < words.starts[rows[order, 2]]]
    return _Found(
        rows[order],
        (cores.lefts[which] + moved[0])[order],
        (cores.rights[which] + moved[1])[order],
        evidence[taken][order],
    )


def _find(
    texts: Texts,
    options: PassageOptions,
    threads: int,
    scratch: Scratch | None,
    progress: Progress | None,
) -> tuple[Words, _Places, _Found, int]:
    scratch = scratch or Scratch()
    progress = progress or Progress()
    with progress.stage("cutting into words"):
        words = cut_words(texts, threads, scratch)
        places = _find_places(words, scratch)
    with progress.stage("finding seeds"):
        most_count = max(options.common_count, int(options.common_share * len(words)))
        pair_seeds = find_pair_seeds(
            words, most_count, options.seed_words, options.seed_distance, threads, scratch
        )
        run_seeds = find_run_seeds(words, options.run_words, threads, scratch)
    with progress.stage("chaining"):
        cores = find_cores(
            words, places.text_of, pair_seeds, run_seeds, options.most_places,
            options.most_run_places, options.cell_words, options.least_seeds, threads, scratch,
        )  # fmt: skip
    del pair_seeds, run_seeds
    with progress.stage("aligning", len(cores.lefts), "cores") as done:
        found = _align_all(words, places, cores, options, threads, done)
    return words, places, found, cores.capped_count


def _describe(texts: Texts, words: Words, places: _Places, found: _Found, capped: int) -> Passages:
    rows = found.rows
    documents = np.stack([places.text_of[rows[:, 0]], places.text_of[rows[:, 2]]], 1).astype(
        np.int64
    )
    spans, kinds = find_extents(texts, words, documents, rows)
    left_words, right_words = rows[:, 1] - rows[:, 0], rows[:, 3] - rows[:, 2]
    aligned = rows[:, 4].copy()
    return Passages(
        left_documents=documents[:, 0].copy(),
        left_starts=spans[:, 0].copy(),
        left_stops=spans[:, 1].copy(),
        right_documents=documents[:, 1].copy(),
        right_starts=spans[:, 2].copy(),
        right_stops=spans[:, 3].copy(),
        left_words=left_words,
        right_words=right_words,
        aligned_words=aligned,
        scores=aligned / (left_words + right_words - aligned),
        containments=aligned / np.minimum(left_words, right_words),
        evidence=found.evidence,
        kinds=kinds,
        capped_count=capped,
    )


def find_passages(
    texts: Texts,
    options: PassageOptions | None = None,
    threads: int = 1,
    *,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> Passages:
    """Find the passages that texts share with each other and within themselves.

    Parameters
    ----------
    texts
        In reading order.

    Notes
    -----
    Time and bytes are linear in the text and in what is found: a place is
    linked to no more than ``most_places`` or ``most_run_places`` earlier ones.

    Examples
    --------
    >>> one = b"He said: it is the east, and Juliet is the sun. Arise, fair sun, and kill the moon."
    >>> two = b"Who wrote that it is the east, and Juliet is the sun. Arise, fair sun, and kill? I."
    >>> options = PassageOptions(least_words=8, least_evidence=20)
    >>> found = find_passages(Texts.from_bytes([one, two]), options)
    >>> start, stop = found.left_starts[0], found.left_stops[0]
    >>> one[start:stop].decode()
    'it is the east, and Juliet is the sun. Arise, fair sun, and kill'
    """
    words, places, found, capped = _find(
        texts, options or PassageOptions(), threads, scratch, progress
    )
    return _describe(texts, words, places, found, capped)


def compare_texts(left: bytes, right: bytes, options: PassageOptions | None = None) -> Comparison:
    """Find the passages that two texts share, and which words of them belong together.

    What either repeats within itself is left out.
    """
    options = options or PassageOptions()
    texts = Texts.from_bytes([left, right])
    words, places, found, capped = _find(texts, options, 1, None, None)
    across = places.text_of[found.rows[:, 0]] != places.text_of[found.rows[:, 2]]
    found = _Found(
        found.rows[across], found.lefts[across], found.rights[across], found.evidence[across]
    )
    heads = np.full(len(words.counts), -1, np.int32)
    parts = []
    for row, left_core, right_core in zip(found.rows, found.lefts, found.rights, strict=True):
        again = np.empty(5, np.int64)
        links = np.empty((row[4], 2), np.int64)
        align_core(
            words.ids, words.weights, places.counts, heads,
            words.offsets, words.fingerprints, 0, 1, left_core, right_core,
            options.window_words, options.fidelity, options.word_gain, options.word_loss,
            _most_drop(options), again, links,
        )  # fmt: skip
        links = links[: again[4]]
        parts.append(links[np.argsort(links[:, 0], kind="stable")])
    links = np.concatenate([np.empty((0, 2), np.int64), *parts])
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return Comparison(
        _describe(texts, words, places, found, capped),
        offsets,
        words.starts[links[:, 0]],
        words.stops[links[:, 0]],
        words.starts[links[:, 1]],
        words.stops[links[:, 1]],
    )
