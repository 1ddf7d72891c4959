"""Text as columns: UTF-8 bytes and offsets, and bytes counted in code points.

Inside the library a span is a pair of byte positions; at its edges (maps,
results, requests) it is a pair of code points. This module goes from one to
the other and never looks at what the text says.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup.kernels import kernel

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Texts:
    """Many texts in one buffer.

    Text `i` is ``data[offsets[i]:offsets[i + 1]]``, valid UTF-8.

    Attributes
    ----------
    data
        uint8[byte_count]
    offsets
        int64[text_count + 1], rising, from 0 to byte_count.
    """

    data: Bytes
    offsets: Positions

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_bytes(cls, texts: Iterable[bytes]) -> "Texts":
        """Join texts that are UTF-8 already."""
        parts = list(texts)
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(np.frombuffer(b"".join(parts), np.uint8), offsets)


@kernel
def _is_ascii(data):
    high = np.uint8(0)
    for i in range(len(data)):
        high |= data[i]
    return high < 128


@kernel
def _count_code_points(data, positions, counts):
    # A byte starts a code point unless its two high bits are 10.
    count = np.int64(0)
    at = positions[0]
    for i in range(len(positions)):
        step = np.int64(0)
        for k in range(at, positions[i]):
            step += (data[k] & 0xC0) != 0x80
        count += step
        at = positions[i]
        counts[i] = count


def is_ascii(data: Bytes) -> bool:
    """Tell whether every byte is below 128."""
    return bool(_is_ascii(data))


def count_code_points(data: Bytes, positions: Positions) -> Positions:
    """Count the code points between the first position and each position.

    Parameters
    ----------
    data
        uint8[byte_count], UTF-8.
    positions
        int64[n], not falling, each on a code point's border.

    Returns
    -------
    int64[n]
        Code points in ``data[positions[0]:positions[i]]``.
    """
    if len(positions) == 0:
        return np.zeros(0, np.int64)
    if is_ascii(data[positions[0] : positions[-1]]):
        since_first: Positions = positions - positions[0]
        return since_first
    counts = np.empty(len(positions), np.int64)
    _count_code_points(data, positions, counts)
    return counts
