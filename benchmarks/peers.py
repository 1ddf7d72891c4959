"""Peers: each does the same task as ours, in the way its documentation shows."""

import re

import datasketch
import xxhash

from dedup.options import Options

_DIGITS = re.compile(r"\d+")


def find_with_datasketch(folded: list[str], options: Options) -> dict[int, tuple[int, float]]:
    """Find duplicates among folded units with datasketch: MinHash, LSH, exact check.

    The law is ours: a unit goes when an earlier one that stayed shares a band
    and has a Jaccard at or above the threshold; so the answer has to be ours
    too. Folding and cutting into units are given to it for nothing.

    Returns
    -------
    dict
        Duplicate to canonical and score.
    """
    size = options.shingle_chars
    index = datasketch.MinHashLSH(num_perm=options.num_perm, params=(options.bands, options.rows))
    sets: dict[int, set[str]] = {}
    numbers: dict[int, list[str]] = {}
    found: dict[int, tuple[int, float]] = {}
    # One object is copied: drawing the permutations anew costs more than a sketch.
    empty = datasketch.MinHash(
        options.num_perm, seed=1, scheme="affine32", hashfunc=xxhash.xxh32_intdigest
    )
    for unit, text in enumerate(folded):
        if len(text) < options.min_chars:
            continue
        shingles = {text[i : i + size] for i in range(len(text) - size + 1)}
        digits = _DIGITS.findall(text)
        minhash = empty.copy()
        minhash.update_batch([shingle.encode() for shingle in shingles])
        best = (0.0, 0)
        for other in index.query(minhash):
            if options.numbers and numbers[other] != digits:
                continue
            shared = len(shingles & sets[other])
            score = shared / (len(shingles) + len(sets[other]) - shared)
            if score >= options.threshold:
                best = max(best, (score, -other))
        if best[0]:
            found[unit] = (-best[1], best[0])
        else:
            index.insert(unit, minhash)
            sets[unit] = shingles
            numbers[unit] = digits
    return found
