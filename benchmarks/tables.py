"""Tables of the README, generated from the results of a run."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS_PATH = ROOT / "benchmarks" / "results" / "latest.json"
README_PATH = ROOT / "README.md"
_BEGIN, _END = "<!-- benchmarks: begin -->\n", "<!-- benchmarks: end -->\n"


def render_tables(results: dict[str, Any]) -> str:
    """Render what a run measured as Markdown."""
    machine = results["machine"]
    parts = [
        f"Measured on {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"numba {machine['numba']}, datasketch {machine['datasketch']}; medians, one core.\n"
    ]
    if "datasketch" in results:
        parts.append(_datasketch_table(results["datasketch"]))
    if "peers" in results:
        parts.append(_peers_table(results["peers"]))
    if "stages" in results:
        parts.append(_stages_table(results["stages"]))
    if "corpus" in results:
        parts.append(_corpus_line(results["corpus"], results["machine"]))
    if "growth" in results:
        parts.append(_growth_table(results["growth"]))
    if "memory" in results:
        parts.append(_memory_table(results["memory"]))
    if "recall" in results:
        parts.append(_recall_table(results["recall"], results["recall_promised"]))
    if "sentences" in results:
        parts.append(_sentences_table(results["sentences"], results["golden_rules"]))
    return "\n".join(parts)


def write_readme(results: dict[str, Any]) -> None:
    """Put the tables into the README, between their markers."""
    readme = README_PATH.read_text(encoding="utf-8")
    before, rest = readme.split(_BEGIN)
    _, after = rest.split(_END)
    text = f"{before}{_BEGIN}{render_tables(results)}{_END}{after}"
    README_PATH.write_text(text, encoding="utf-8")


def readme_tables() -> str:
    """Return what stands between the markers of the README."""
    readme = README_PATH.read_text(encoding="utf-8")
    return readme.split(_BEGIN)[1].split(_END)[0]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _datasketch_table(rows: list[dict[str, Any]]) -> str:
    return "The same task, from the text to verified duplicates, in one run:\n\n" + _table(
        ["text", "MB", "duplicates", "same answer", "datasketch MB/s", "dedup MB/s", "times"],
        [
            [
                row["workload"],
                f"{row['size_mb']:.1f}",
                f"{row['duplicates']:,}",
                "yes" if row["same_answer"] else "no",
                f"{row['datasketch_mb_s']:.2f}",
                f"{row['mb_s']:.1f}",
                f"{row['times_datasketch']:.0f}",
            ]
            for row in rows
        ],
    )


def _peers_table(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        is_peer = "recall" in row
        name, alone, _ = row["name"].partition(" alone")
        rows.append(
            [
                f"{name} {row['version']}{alone}" if is_peer else name,
                row.get("slots", "-"),
                row.get("check", "-"),
                f"{row['seconds']:.2f}",
                f"{row['mb_s']:.1f}",
                f"{row['times']:.1f}",
                f"{row['peak_mb']:.0f}",
                f"{row['removed']:,}" if "check" in row else "-",
                f"{row['recall']:.2%}" if is_peer else "-",
                f"{row['agreed']:.2%}" if is_peer else "-",
            ]
        )
    missing = ", ".join(result["missing"])
    head = ["", "slots", "check", "s", "MB/s", "times", "peak MB", "removed", "found", "agreed"]
    return (
        f"A JSON Lines file of {result['size_mb']:.1f} MB ({result['workload']} text, "
        f"{result['documents']:,} documents, {result['sentences']:,} sentences) to the same "
        "without its repeated sentences, each run in a process of its own, rounds in turn. The "
        "floor reads and writes the rows with orjson and does nothing between. Peers are given "
        "the sentences cut and folded for nothing, ours also writes its map. Slots are those of "
        "a signature, cut into bands x rows. Candidates are checked exactly, or as the peer does "
        "it alone: by the estimate of its sketches, by the share of shingles seen before, or not "
        "at all; then its clusters count, and sentences with other digits are not kept apart. "
        "Times: how much longer it takes than ours with one thread. Found: the share of our "
        "duplicates that it removes. Agreed: the share of what it removes that is ours too.\n\n"
        + _table(head, rows)
        + (f"\nNot installed, so left out: {missing}.\n" if missing else "")
    )


def _growth_table(rows: list[dict[str, Any]]) -> str:
    return (
        "Natural text of growing size from file to cleaned file with its map, each run in a "
        "process of its own (past the size of all texts they come again with other words):\n\n"
    ) + _table(
        ["MB", "documents", "threads", "removed", "s", "MB/s", "peak MB", "peak / text"],
        [
            [
                f"{row['size_mb']:,.0f}",
                f"{row['documents']:,}",
                f"{row['threads']}",
                f"{row['removed']:,}",
                f"{row['seconds']:.1f}",
                f"{row['mb_s']:.1f}",
                f"{row['peak_mb']:,.0f}",
                f"{row['peak_mb'] / row['size_mb']:.1f}",
            ]
            for row in rows
        ],
    )


def _memory_table(rows: list[dict[str, Any]]) -> str:
    return (
        f"All natural texts, {rows[0]['size_mb']:.0f} MB, with `--memory` (the peak is that of "
        "the process, of which the program itself takes about 180 MB):\n\n"
    ) + _table(
        ["limit MB", "s", "MB/s", "peak MB", "same bytes"],
        [
            [
                "none" if row["limit_mb"] is None else f"{row['limit_mb']:,.0f}",
                f"{row['seconds']:.1f}",
                f"{row['mb_s']:.1f}",
                f"{row['peak_mb']:,.0f}",
                "yes" if row["same_bytes"] else "no",
            ]
            for row in rows
        ],
    )


def _stages_table(rows: list[dict[str, Any]]) -> str:
    return (
        "From raw UTF-8, MB/s: to sentences, to signatures (sentences, folding, shingles and "
        "sketch), to duplicates, to cleaned text and map:\n\n"
    ) + _table(
        ["text", "MB", "sentences", "to sentences", "to signatures", "to duplicates", "to map"],
        [
            [
                row["workload"],
                f"{row['size_mb']:.1f}",
                f"{row['units']:,}",
                *(
                    f"{row[name]:.0f}"
                    for name in ("cut_mb_s", "sign_mb_s", "find_mb_s", "clean_mb_s")
                ),
            ]
            for row in rows
        ],
    )


def _corpus_line(row: dict[str, Any], machine: dict[str, Any]) -> str:
    return (
        f"A JSON Lines file of {row['size_mb']:.0f} MB and {row['documents']:,} documents of "
        f"natural text, from file to cleaned file with its map, on {machine['cores']} cores: "
        f"{row['mb_s']:.0f} MB/s, {row['times_floor']:.1f} times what it takes to read and write "
        f"the same rows with orjson and nothing between ({row['floor_mb_s']:.0f} MB/s); "
        f"{row['duplicates']:,} duplicates, {row['removed_share']:.0%} of the text.\n"
    )


def _recall_table(rows: list[dict[str, Any]], promised: dict[str, float]) -> str:
    return (
        "Pairs of sentences found, by their true score (threshold 0.7; none may be found "
        "below). The promise is the chance of a pair with the least score of the row:\n\n"
    ) + _table(
        ["score", "pairs", "found", "promise"],
        [
            [
                f"{row['score_from']:.2f} to {row['score_to']:.2f}",
                f"{row['pairs']:,}",
                f"{row['found']:.2%}",
                f"{promised[str(row['score_from'])]:.2%}" if row["score_from"] >= 0.7 else "-",
            ]
            for row in rows
        ],
    )


def _sentences_table(scores: dict[str, float], golden: dict[str, str]) -> str:
    mean = scores["mean"]
    names = [name for name in scores if name != "mean"]
    listed = ", ".join(f"{name} {scores[name]:.3f}" for name in names)
    rules = ", ".join(f"{lang} {held}" for lang, held in golden.items())
    return (
        f"Sentence borders: mean F1 {mean:.4f} over {len(names) - 1} sets, Thai apart ({listed}). "
        f"Golden rules that hold: {rules}.\n"
    )
