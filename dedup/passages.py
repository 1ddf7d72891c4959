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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.alignments import align_core, align_cores
from dedup.chains import Cores, find_cores, group_sizes
from dedup.columns import Bytes, Positions, Texts
from dedup.errors import OptionsError
from dedup.extents import find_extents
from dedup.kernels import kernel
from dedup.options import MappedOptions
from dedup.orders import find_order
from dedup.seeds import find_pair_seeds, find_run_seeds
from dedup.slices import map_slices
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
class _Index:
    """Words of each text by id.

    `text_of` int32[n] is the text of each word, `counts` int64[n] how often it
    stands there; `order` int64[n] are the words by text, then id, then place,
    `sorted_ids` int32[n] their ids.
    """

    text_of: NDArray[np.int32]
    order: Positions
    sorted_ids: NDArray[np.int32]
    counts: Positions


@kernel
def _count_in_texts(text_of, order, sorted_ids, counts):
    first = np.int64(0)
    n = len(order)
    while first < n:
        last = first + 1
        while (
            last < n
            and sorted_ids[last] == sorted_ids[first]
            and text_of[order[last]] == text_of[order[first]]
        ):
            last += 1
        for k in range(first, last):
            counts[order[k]] = last - first
        first = last


def _index_words(words: Words, threads: int) -> _Index:
    lengths = np.diff(words.offsets)
    text_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    keys = text_of.astype(np.int64) * len(words.counts) + words.ids
    order = find_order(keys, threads=threads)
    sorted_ids = words.ids[order]
    counts = np.empty(len(words), np.int64)
    _count_in_texts(text_of, order, sorted_ids, counts)
    return _Index(text_of, order, sorted_ids, counts)


def _most_drop(options: PassageOptions) -> float:
    """Return how far the evidence may fall: half a word more than a gap takes."""
    return (options.gap_words + 0.5) * options.word_loss


def _align_all(
    words: Words, index: _Index, cores: Cores, options: PassageOptions, threads: int
) -> _Found:
    n = len(cores.lefts)
    pairs = index.text_of[cores.rights].astype(np.int64) << 32 | index.text_of[cores.lefts]
    firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
    _, chosen = np.unique(firsts // _CORES_A_SLICE, return_index=True)
    bounds = np.append(firsts[chosen], n)

    def align(first: int, last: int) -> _Found:
        rows = np.empty((last - first, 5), np.int64)
        evidence = np.empty(last - first, np.float64)
        which = np.empty(last - first, np.int64)
        count = align_cores(
            words.ids, words.weights, index.sorted_ids, index.order, index.counts,
            words.offsets, words.fingerprints, index.text_of, cores.lefts, cores.rights,
            cores.spare, first, last, options.window_words, options.fidelity, options.word_gain,
            options.word_loss, _most_drop(options), options.least_evidence,
            4 * options.least_words, options.least_share, rows, which, evidence,
        )  # fmt: skip
        which = which[:count]
        return _Found(
            rows[:count].copy(), cores.lefts[which], cores.rights[which], evidence[:count].copy()
        )

    parts = list(map_slices(align, bounds, threads))
    rows = np.concatenate([np.empty((0, 5), np.int64), *(part.rows for part in parts)])
    order = np.lexsort(rows.T[[3, 2, 1, 0]])
    # Two words may come out of one code point (a fraction); it is no passage of itself.
    order = order[words.starts[rows[order, 0]] < words.starts[rows[order, 2]]]
    return _Found(
        rows[order],
        np.concatenate([np.empty(0, np.int64), *(part.lefts for part in parts)])[order],
        np.concatenate([np.empty(0, np.int64), *(part.rights for part in parts)])[order],
        np.concatenate([np.empty(0, np.float64), *(part.evidence for part in parts)])[order],
    )


def _find(texts: Texts, options: PassageOptions, threads: int) -> tuple[Words, _Index, _Found, int]:
    words = cut_words(texts, threads)
    most_count = max(options.common_count, int(options.common_share * len(words)))
    pair_seeds = find_pair_seeds(
        words, most_count, options.seed_words, options.seed_distance, threads
    )
    run_seeds = find_run_seeds(words, options.run_words, threads)
    cores = find_cores(
        words, pair_seeds, run_seeds, options.most_places, options.most_run_places,
        options.cell_words, options.least_seeds, threads,
    )  # fmt: skip
    capped = 0
    for seeds, most in ((pair_seeds, options.most_places), (run_seeds, options.most_run_places)):
        sizes = group_sizes(seeds)
        capped += int(np.count_nonzero((seeds.ranks == seeds.firsts) & (sizes > most)))
    index = _index_words(words, threads)
    return words, index, _align_all(words, index, cores, options, threads), capped


def _describe(texts: Texts, words: Words, index: _Index, found: _Found, capped: int) -> Passages:
    rows = found.rows
    documents = np.stack([index.text_of[rows[:, 0]], index.text_of[rows[:, 2]]], 1).astype(np.int64)
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
    texts: Texts, options: PassageOptions | None = None, threads: int = 1
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
    words, index, found, capped = _find(texts, options or PassageOptions(), threads)
    return _describe(texts, words, index, found, capped)


def compare_texts(left: bytes, right: bytes, options: PassageOptions | None = None) -> Comparison:
    """Find the passages that two texts share, and which words of them belong together.

    What either repeats within itself is left out.
    """
    options = options or PassageOptions()
    texts = Texts.from_bytes([left, right])
    words, index, found, capped = _find(texts, options, 1)
    across = index.text_of[found.rows[:, 0]] != index.text_of[found.rows[:, 2]]
    found = _Found(
        found.rows[across], found.lefts[across], found.rights[across], found.evidence[across]
    )
    parts = []
    for row, left_core, right_core in zip(found.rows, found.lefts, found.rights, strict=True):
        again = np.empty(5, np.int64)
        links = np.empty((row[4], 2), np.int64)
        align_core(
            words.ids, words.weights, index.sorted_ids, index.order, index.counts,
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
        _describe(texts, words, index, found, capped),
        offsets,
        words.starts[links[:, 0]],
        words.stops[links[:, 0]],
        words.starts[links[:, 1]],
        words.stops[links[:, 1]],
    )
