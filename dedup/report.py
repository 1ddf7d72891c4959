"""What people read: a summary of a cleaning, and what goes beside what stays."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from dedup.options import Options
from dedup.results import Duplicate, Result

if TYPE_CHECKING:
    from rich.text import Text

# A word, a character of a script without spaces, a run of white space, or one
# of anything else.
_TOKENS = re.compile(
    r"[฀-໿က-႟ក-៿぀-ヿ㐀-鿿豈-﫿𠀀-𱍊]|[^\W_฀-໿က-႟ក-៿぀-ヿ㐀-鿿豈-﫿𠀀-𱍊]+|\s+|.", re.DOTALL
)

# Alignment takes time in the square of the tokens; what is longer is shown
# up to here.
_MOST_TOKENS = 2000

_UNIT_WORDS = {"sentence": "sentences", "paragraph": "paragraphs", "document": "documents"}


def summarise(result: Result, options: Options) -> str:
    """Summarise a cleaning in a few lines."""
    stats = result.stats
    units = _UNIT_WORDS[options.unit]
    if stats.chars == 0:
        return f"{result.document}: empty"
    kinds = [row.kind for row in result.duplicates]
    counts = [
        f"{kinds.count(kind)} {kind}" for kind in ("exact", "folded", "near") if kind in kinds
    ]
    lines = [
        f"{result.document}: {stats.duplicates:,} of {stats.units:,} {units} repeat an earlier one"
        if options.keep == "first"
        else f"{result.document}: {stats.duplicates:,} of {stats.units:,} {units} repeat another"
    ]
    if counts:
        lines[0] += f" ({', '.join(counts)})"
        removed = sum(row.removed for row in result.duplicates)
        lines.append(
            f"  {removed:,} taken out: {stats.removed_chars:,} of {stats.chars:,} characters, "
            f"{stats.removed_chars / stats.chars:.1%}"
        )
    lines.append(
        f"  {stats.compared_units:,} compared, {stats.short_units:,} too short; a pair at the "
        f"threshold {options.threshold:g} is found with a chance of {stats.recall:.1%}"
    )
    if stats.capped_buckets:
        lines.append(
            f"  {stats.capped_buckets:,} index buckets filled past {options.bucket_cap:,}: "
            "pairs may have been missed there"
        )
    return "\n".join(lines)


def render_diff(result: Result) -> Iterator["Text"]:
    """Render each duplicate beside its canonical, words that differ marked.

    Yields
    ------
    rich.text.Text
        Words only in what goes stand in ``[- -]``, words only in what stays in
        ``{+ +}``; on a terminal they are red and green too.
    """
    for row in result.duplicates:
        yield from _render_row(row, result.original)


def _render_row(row: Duplicate, text: str) -> Iterator["Text"]:
    from rich.text import Text

    mark = "goes" if row.removed else "is marked"
    title = Text(f"{row.document} {row.start}-{row.stop} {mark}: {row.kind}", style="bold")
    title.append(f", score {row.score:.3f}, containment {row.containment:.3f}", style="not bold")
    goes = _TOKENS.findall(text[row.start : row.stop])
    stays = _TOKENS.findall(text[row.canonical.start : row.canonical.stop])
    cut = len(goes) > _MOST_TOKENS or len(stays) > _MOST_TOKENS
    goes, stays = goes[:_MOST_TOKENS], stays[:_MOST_TOKENS]
    left, right = Text("  - "), Text("  + ")
    for change, i, j, k, m in SequenceMatcher(None, goes, stays, autojunk=False).get_opcodes():
        if change == "equal":
            left.append("".join(goes[i:j]))
            right.append("".join(stays[k:m]))
            continue
        if i < j:
            left.append(f"[-{''.join(goes[i:j])}-]", style="red")
        if k < m:
            right.append(f"{{+{''.join(stays[k:m])}+}}", style="green")
    if cut:
        left.append(" ...")
        right.append(" ...")
    right.append(f"  [{row.canonical.document} {row.canonical.start}-{row.canonical.stop}]", "dim")
    yield title
    yield left
    yield right
