"""Kinds of a pair: how much alike its two sides are."""

from typing import Literal, get_args

Kind = Literal["exact", "folded", "near"]

# The same text; the same once folded; alike.
EXACT, FOLDED, NEAR = 0, 1, 2
KINDS: tuple[Kind, ...] = get_args(Kind)
