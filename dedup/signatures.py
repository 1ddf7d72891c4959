"""Signatures: datasketch's MinHash, slot for slot, and their bands.

A signature is by definition what ``datasketch.MinHash(num_perm, seed=1,
scheme="affine32", hashfunc=xxhash.xxh32_intdigest)`` holds after an update
with the UTF-8 of each shingle, so signatures made here can be looked up in an
index made with datasketch and the other way round.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dedup.errors import OptionsError
from dedup.kernels import kernel
from dedup.shingles import Shingles

if TYPE_CHECKING:
    import datasketch

Signatures = NDArray[np.uint32]

SEED = 1
SCHEME = "affine32"

# uint32 lanes of the widest vector; 32 and 64 were 20 % slower on 130 slots.
_LANES = 16


@cache
def permutations(num_perm: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the factors and addends of datasketch's `affine32` permutations.

    Returns
    -------
    factors, addends
        uint32[num_perm] each; the factors are odd.

    Notes
    -----
    Drawn as datasketch 2 draws them, from numpy's frozen `RandomState`; a test
    compares them with those of the installed datasketch. Taking them from
    datasketch itself would cost every start of the command the import of
    SciPy, 0.3 s.
    """
    generator = np.random.RandomState(SEED)
    halves = generator.randint(0, 1 << 31, size=num_perm, dtype=np.uint32)
    factors = halves * np.uint32(2) + np.uint32(1)
    addends = generator.randint(0, 1 << 32, size=num_perm, dtype=np.uint32)
    return factors, addends


@kernel
def _sign(hashes, offsets, factors, addends, signatures):
    # `factors` and `addends` are filled up to a multiple of 16, the lanes of a
    # vector; rows are gathered in `row`, so that no slot is left to a scalar
    # rest. Eight hashes a pass over the slots, so that a slot is loaded and
    # stored once for eight. Against the loop over hashes inside, two slots at
    # a time: 1.7 times the speed on sentences, which are short.
    padded = len(factors)
    slots = signatures.shape[1]
    row = np.empty(padded, np.uint32)
    mixed = np.empty(8, np.uint32)
    for unit in range(len(offsets) - 1):
        stop = offsets[unit + 1]
        row[:] = 0xFFFFFFFF
        i = offsets[unit]
        while i < stop:
            # The last pass may see one hash several times: a minimum does not mind.
            for k in range(8):
                h = hashes[min(i + k, stop - 1)]
                h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
                h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
                mixed[k] = np.uint32(h ^ (h >> np.uint32(16)))
            h0, h1, h2, h3 = mixed[0], mixed[1], mixed[2], mixed[3]
            h4, h5, h6, h7 = mixed[4], mixed[5], mixed[6], mixed[7]
            for j in range(padded):
                a = factors[j]
                b = addends[j]
                m0 = min(np.uint32(a * h0 + b), np.uint32(a * h1 + b))
                m1 = min(np.uint32(a * h2 + b), np.uint32(a * h3 + b))
                m2 = min(np.uint32(a * h4 + b), np.uint32(a * h5 + b))
                m3 = min(np.uint32(a * h6 + b), np.uint32(a * h7 + b))
                row[j] = min(row[j], min(min(m0, m1), min(m2, m3)))
            i += 8
        for j in range(slots):
            signatures[unit, j] = row[j]


@kernel
def _hash_bands(signatures, numbers, rows, keys):
    for band in range(keys.shape[0]):
        for unit in range(signatures.shape[0]):
            state = np.uint64(band + 1) * np.uint64(0x9E3779B97F4A7C15) ^ numbers[unit]
            state = (state ^ (state >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            for j in range(band * rows, band * rows + rows):
                state = (state ^ np.uint64(signatures[unit, j])) * np.uint64(0xD6E8FEB86659FD93)
                state ^= state >> np.uint64(32)
            keys[band, unit] = state


def sign(shingles: Shingles, num_perm: int, slots: int | None = None) -> Signatures:
    """Sketch each unit.

    Parameters
    ----------
    num_perm
        Slots of a whole signature; it decides every slot.
    slots
        How many of them to compute, the first ones; all unless given.

    Returns
    -------
    uint32[unit_count, slots]
        2**32 - 1 throughout for a unit without shingles.

    References
    ----------
    A. Broder, "On the resemblance and containment of documents", SEQUENCES 1997.
    """
    factors, addends = permutations(num_perm)
    count = num_perm if slots is None else slots
    signatures = np.empty((len(shingles.offsets) - 1, count), np.uint32)
    padded = np.zeros((2, -(-count // _LANES) * _LANES), np.uint32)
    padded[0, :count] = factors[:count]
    padded[1, :count] = addends[:count]
    _sign(shingles.hashes, shingles.offsets, padded[0], padded[1], signatures)
    return signatures


def hash_bands(
    signatures: Signatures, numbers: NDArray[np.uint64], bands: int, rows: int
) -> NDArray[np.uint64]:
    """Hash each band of each signature, and the unit's digits, to a key.

    Parameters
    ----------
    signatures
        uint32[unit_count, at least bands * rows]
    numbers
        uint64[unit_count], hash of the digits of each unit, or zeros where
        they are not to part units.

    Returns
    -------
    uint64[bands, unit_count]
        The band's number is in the key, so that all bands can share one index.
    """
    keys = np.empty((bands, len(signatures)), np.uint64)
    _hash_bands(signatures, numbers, rows, keys)
    return keys


def to_datasketch(signature: NDArray[np.uint32]) -> "datasketch.MinHash":
    """Make the datasketch MinHash that holds a signature.

    Parameters
    ----------
    signature
        uint32[num_perm], whole.
    """
    import datasketch
    import xxhash

    return datasketch.MinHash(
        hashvalues=np.array(signature, np.uint32),
        seed=SEED,
        scheme=SCHEME,
        hashfunc=xxhash.xxh32_intdigest,
    )


def from_datasketch(minhash: "datasketch.MinHash | datasketch.LeanMinHash") -> Signatures:
    """Take the signature out of a datasketch MinHash.

    Returns
    -------
    uint32[num_perm]

    Raises
    ------
    OptionsError
        When it was made with another scheme or seed: its slots would be
        compared with ours and mean nothing.
    """
    for name, wanted in (("scheme", SCHEME), ("seed", SEED)):
        given = getattr(minhash, name, None)
        if given != wanted:
            raise OptionsError(name, given, f"a MinHash made with {name}={wanted!r}")
    return np.array(minhash.hashvalues, np.uint32)
