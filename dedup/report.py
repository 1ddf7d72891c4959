"""What people read: a summary of a cleaning, and what goes beside what stays."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from dedup.kinds import KINDS
from dedup.options import Options
from dedup.results import Duplicate, Result

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from dedup.passages import Comparison

# A word, a character of a script without spaces, a run of white space, or one
# of anything else.
_TOKENS = re.compile(
    r"[฀-໿က-႟ក-៿぀-ヿ㐀-鿿豈-﫿𠀀-𱍊]|[^\W_฀-໿က-႟ក-៿぀-ヿ㐀-鿿豈-﫿𠀀-𱍊]+|\s+|.", re.DOTALL
)

# From the first word to the last.
_MARKED = re.compile(r"\w(?:.*\w)?", re.DOTALL)

# Alignment takes time in the square of the tokens; what is longer is shown
# up to here.
_MOST_TOKENS = 2000

# Endings of files of other kinds that are shown.
_MOST_ENDINGS = 5

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
        lines.append(_taken_out(removed, stats.duplicates, stats.removed_chars, stats.chars))
    lines.append(
        f"  {stats.compared_units:,} compared, {stats.short_units:,} too short; a pair at the "
        f"threshold {options.threshold:g} is found with a chance of {stats.recall:.1%}"
    )
    if stats.capped_buckets:
        lines.append(_capped(stats.capped_buckets, options))
    return "\n".join(lines)


def summarise_run(summary: Mapping[str, Any], options: Options, map_file: str | None = None) -> str:
    """Summarise a run over many documents in a few lines.

    Parameters
    ----------
    map_file
        Where the map is, if it was written.
    """
    units = _UNIT_WORDS[options.unit]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary["kinds"].items() if count)
    lines = [
        f"{summary['documents']:,} documents, {summary['changed_documents']:,} of them changed",
        f"  {summary['duplicates']:,} of {summary['units']:,} {units} repeat another"
        + (f" ({kinds})" if kinds else ""),
    ]
    if kinds:
        counts = ("removed_duplicates", "duplicates", "removed_chars", "chars")
        lines.append(_taken_out(*(summary[name] for name in counts)))
    lines.append(
        f"  {summary['compared_units']:,} compared, {summary['short_units']:,} too short; a pair "
        f"at the threshold {options.threshold:g} is found with a chance of "
        f"{summary['recall']:.1%}"
    )
    if summary["dropped_documents"]:
        lines.append(f"  {len(summary['dropped_documents']):,} documents left out")
    if summary["boilerplate"]:
        lines.append(f"  {len(summary['boilerplate']):,} units are boilerplate")
    if summary["capped_buckets"]:
        lines.append(_capped(summary["capped_buckets"], options))
    lines += _list_unread(summary)
    if map_file is not None:
        lines.append(f"  the map is in {map_file}")
    return "\n".join(lines)


def summarise_originals(count: int, other_bytes: int, extracts: Mapping[str, int]) -> str:
    """Summarise what was rebuilt of a cleaned folder.

    Parameters
    ----------
    count, other_bytes
        Files rebuilt, and how many of them have other bytes than the original.
    extracts
        Files that are not rebuilt, for only text was taken out of them, by format.

    Examples
    --------
    >>> print(summarise_originals(1, 0, {"html": 2, "pdf": 1}))
    1 file rebuilt
    3 files are not rebuilt: html 2, pdf 1 (their mirror holds extracted text)
    """
    lines = [f"{count:,} file{'' if count == 1 else 's'} rebuilt"]
    if other_bytes:
        lines[0] += f", {other_bytes:,} with the same text in other bytes (packed or escaped anew)"
    if extracts:
        total = sum(extracts.values())
        formats = ", ".join(f"{name} {extracts[name]:,}" for name in sorted(extracts))
        lines.append(
            f"{total:,} file{' is' if total == 1 else 's are'} not rebuilt: {formats} "
            f"({'its' if total == 1 else 'their'} mirror holds extracted text)"
        )
    return "\n".join(lines)


def describe_unread(unread: Mapping[str, Any]) -> str:
    """Say how many files of other kinds were not read.

    Examples
    --------
    >>> describe_unread({"count": 44, "suffixes": {".png": 40, ".css": 3, "": 1}})
    '44 files of other kinds were not read (.png 40, .css 3, no ending 1)'
    """
    count, suffixes = unread["count"], unread["suffixes"]
    shown = [f"{name or 'no ending'} {n:,}" for name, n in [*suffixes.items()][:_MOST_ENDINGS]]
    if len(suffixes) > len(shown):
        shown.append("...")
    files = "file of another kind was" if count == 1 else "files of other kinds were"
    return f"{count:,} {files} not read ({', '.join(shown)})"


def summarise_matches(summary: Mapping[str, Any], least_words: int, out: str | None = None) -> str:
    """Summarise the pairs of passages that were found in a few lines.

    Parameters
    ----------
    least_words
        The least length that was asked for.
    out
        Where the pairs are, if they were written.
    """
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary["kinds"].items() if count)
    lines = [
        f"{_count(summary['pairs'], 'pair')} of passages of {_count(least_words, 'word')} or more"
        + (f" ({kinds})" if kinds else ""),
        f"  in {_count(summary['documents'], 'document')} of "
        f"{_count(summary['chars'], 'character')}",
    ]
    if summary["reference_documents"] is not None:
        lines[1] += f", held against {summary['reference_documents']:,} of the reference"
    if summary["pairs"] == 0 and least_words > 1:
        lines.append("  --min-words finds shorter ones")
    if summary["capped_seeds"]:
        lines.append(
            f"  {summary['capped_seeds']:,} seeds stand in too many places: "
            "not all of these were followed"
        )
    lines += _list_unread(summary)
    if out is not None:
        lines.append(f"  the pairs are in {out}")
    return "\n".join(lines)


def describe_no_match(least_words: int) -> str:
    """Say that two texts share nothing of a least length.

    Examples
    --------
    >>> describe_no_match(16)
    'the two share no passage of 16 words or more; --min-words finds shorter ones'
    """
    shorter = "; --min-words finds shorter ones" if least_words > 1 else ""
    return f"the two share no passage of {_count(least_words, 'word')} or more{shorter}"


def render_comparison(
    comparison: "Comparison", texts: Sequence[bytes], names: Sequence[str]
) -> Iterator["RenderableType"]:
    """Render the passages of two texts side by side, words without a partner marked.

    Yields
    ------
    rich.console.RenderableType
        Words without a partner stand in ``[- -]`` on the left and in ``{+ +}`` on
        the right; on a terminal they are red and green too.
    """
    from rich.table import Table
    from rich.text import Text

    found = comparison.passages
    data = b"".join(texts)
    begin = len(texts[0])
    for row in range(len(found)):
        words = slice(comparison.offsets[row], comparison.offsets[row + 1])
        title = Text(f"{KINDS[found.kinds[row]]}", style="bold")
        title.append(
            f", score {found.scores[row]:.3f}, containment {found.containments[row]:.3f}, "
            f"{found.aligned_words[row]:,} words aligned",
            style="not bold",
        )
        table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False)
        sides = (
            (0, found.left_starts, found.left_stops, comparison.left_starts, comparison.left_stops),
            (
                begin,
                found.right_starts,
                found.right_stops,
                comparison.right_starts,
                comparison.right_stops,
            ),
        )
        cells = []
        for name, (first, starts, stops, word_starts, word_stops), marks in zip(
            names, sides, (("[-", "-]", "red"), ("{+", "+}", "green")), strict=True
        ):
            start, stop = int(starts[row]), int(stops[row])
            before = len(data[first:start].decode())
            after = before + len(data[start:stop].decode())
            table.add_column(f"{name} {before}-{after}", ratio=1, overflow="fold")
            spans = sorted(
                zip(word_starts[words].tolist(), word_stops[words].tolist(), strict=True)
            )
            cells.append(_mark_rest(data, start, stop, spans, *marks))
        table.add_row(*cells)
        yield title
        yield table


def _mark_rest(
    data: bytes,
    start: int,
    stop: int,
    spans: Sequence[tuple[int, int]],
    before: str,
    behind: str,
    style: str,
) -> "Text":
    """Mark what of a text has words that stand in no span; spans may overlap."""
    from rich.text import Text

    text = Text()
    at = start
    for first, last in [*spans, (stop, stop)]:
        if first > at:
            gap = data[at:first].decode()
            if marked := _MARKED.search(gap):
                text.append(gap[: marked.start()])
                text.append(f"{before}{marked[0]}{behind}", style=style)
                text.append(gap[marked.end() :])
            else:
                text.append(gap)
        if last > max(at, first):
            text.append(data[max(at, first) : last].decode())
        at = max(at, last)
    return text


def _list_unread(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    if summary["failures"]:
        count = len(summary["failures"])
        things = "file or row" if count == 1 else "files or rows"
        lines.append(f"  {count:,} {things} could not be read")
    if summary["unread_files"]["count"]:
        lines.append(f"  {describe_unread(summary['unread_files'])}")
    return lines


def _count(count: int, name: str) -> str:
    return f"{count:,} {name}" + ("" if count == 1 else "s")


def _taken_out(removed: int, duplicates: int, removed_chars: int, chars: int) -> str:
    """Say how much was taken out, and how many where that is not all that repeat."""
    count = "" if removed == duplicates else f"{removed:,} of them "
    return (
        f"  {count}taken out: {removed_chars:,} of {chars:,} characters, "
        f"{removed_chars / max(1, chars):.1%}"
    )


def _capped(count: int, options: Options) -> str:
    return (
        f"  {count:,} index buckets filled past {options.bucket_cap:,}: "
        "pairs may have been missed there"
    )


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
