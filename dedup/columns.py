"""Text as columns: UTF-8 bytes and offsets.

Inside the library a span is a pair of byte positions; at its edges (maps,
results, requests) it is a pair of code points.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    def lengths(self, first: int, last: int) -> Positions:
        """Return the bytes of the texts from `first` to `last`."""
        lengths: Positions = np.diff(self.offsets[first : last + 1])
        return lengths

    @classmethod
    def from_bytes(cls, texts: Iterable[bytes]) -> "Texts":
        """Join texts that are UTF-8 already."""
        parts = list(texts)
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(np.frombuffer(b"".join(parts), np.uint8), offsets)
