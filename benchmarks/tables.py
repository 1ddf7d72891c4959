"""Tables of the README, generated from the results of a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import fit_growth
from benchmarks.durable import find_stall, list_promises
from benchmarks.service import CONNECTIONS, OVERLOAD, list_load_promises, list_soak_promises

ROOT = Path(__file__).parent.parent
RESULTS_PATH = ROOT / "benchmarks" / "results" / "latest.json"
README_PATH = ROOT / "README.md"

# Parts in the order in which they are shown.
SECTIONS = {
    "Speed": [
        "datasketch",
        "peers",
        "planted_peers",
        "stages",
        "corpus",
        "growth",
        "memory",
        "start",
        "index",
        "stores",
        "service",
        "soak",
    ],
    "Quality": [
        "recall",
        "promise",
        "kinds",
        "precision",
        "estimator",
        "passages",
        "edits",
        "trade",
        "documents",
        "sentences",
        "golden_rules",
    ],
}

# What is told of figures that were looked at for long.
_WHICH = ("first", "last", "most")

_BEGIN, _END = "<!-- benchmarks: begin -->\n", "<!-- benchmarks: end -->\n"


def render_tables(results: Mapping[str, Any]) -> str:
    """Render what a run measured as Markdown: a heading for each area, a part after the other."""
    parts = [_machine_line(results["machine"])]
    for heading, names in SECTIONS.items():
        shown = [render_part(name, results) for name in names if name in results]
        if shown:
            parts += [f"### {heading}\n", *shown]
    return "\n".join(parts)


def render_part(name: str, results: Mapping[str, Any]) -> str:
    """Render one part of the results as Markdown."""
    return _RENDERERS[name](results)


def write_readme(results: Mapping[str, Any]) -> None:
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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _machine_line(machine: Mapping[str, Any]) -> str:
    return (
        f"Measured on {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"numba {machine['numba']}, datasketch {machine['datasketch']}; medians, one core unless "
        "said.\n"
    )


def _datasketch_table(results: Mapping[str, Any]) -> str:
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
            for row in results["datasketch"]
        ],
    )


def _peers_table(results: Mapping[str, Any]) -> str:
    result = results["peers"]
    rows = [
        [
            _peer_name(row),
            row.get("slots", "-"),
            row.get("check", "-"),
            f"{row['seconds']:.2f}",
            _seconds(row.get("shingling_seconds")),
            f"{row['mb_s']:.1f}",
            f"{row['times']:.1f}",
            f"{row['peak_mb']:.0f}",
            f"{row['removed']:,}" if "check" in row else "-",
            f"{row['recall']:.2%}" if "recall" in row else "-",
            f"{row['agreed']:.2%}" if "recall" in row else "-",
        ]
        for row in result["rows"]
    ]
    head = ["", "slots", "check", "s", "of it shingling", "MB/s", "times", "peak MB", "removed"]
    text = (
        f"A JSON Lines file of {result['size_mb']:.1f} MB ({result['workload']} text, "
        f"{result['documents']:,} documents, {result['sentences']:,} sentences) to the same "
        "without its repeated sentences, each run in a process of its own that is warm, rounds in "
        "turn. The floor reads and writes the rows with orjson and does nothing between. Peers are "
        f"given the sentences cut and folded for nothing ({result['given_seconds']:.2f} s with "
        "ours), ours also writes its map. Slots are those of a signature, cut into bands x rows. "
        "Candidates are checked exactly, or as the peer does it alone: by the estimate of its "
        "sketches, by the share of shingles seen before, or not at all; then its clusters count, "
        "and sentences with other digits are not kept apart. Times: how much longer it takes than "
        "ours with one thread. Found: the share of our duplicates that it removes. Agreed: the "
        "share of what it removes that is ours too.\n\n" + _table([*head, "found", "agreed"], rows)
    )
    lacks = {_peer_name(row): row["lacks"] for row in result["rows"] if row.get("lacks")}
    if lacks:
        text += "\nWhat a peer cannot do by itself: "
        text += "; ".join(f"{name}: {what}" for name, what in lacks.items()) + ".\n"
    if losses := _list_losses(result["rows"]):
        text += f"\n{losses}\n"
    for told, names in (("Not to be had", "missing"), ("Failed the check", "failed")):
        if result[names]:
            causes = "; ".join(f"{name} ({cause})" for name, cause in result[names].items())
            text += f"\n{told}, so left out: {causes}.\n"
    return text


def _list_losses(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say which peers are ahead, and at what price."""
    ahead = [row for row in rows if "recall" in row and row["times"] < 1]
    return " ".join(
        f"{_peer_name(row)} is ahead of ours by {1 / row['times']:.1f} times, and finds "
        f"{row['recall']:.0%} of what ours does."
        for row in ahead
    )


def _planted_peers_table(results: Mapping[str, Any]) -> str:
    result = results["planted_peers"]
    return (
        f"The same on {result['size_mb']:.1f} MB made with planted repeats in ten scripts: the "
        f"share of {result['planted']:,} planted sentences at or above the threshold that went, "
        "and of what went the share that repeats nothing (for ours: names that differ in a "
        "template):\n\n"
    ) + _table(
        ["", "MB/s", "times", "removed", "recall", "wrong"],
        [
            [
                _peer_name(row),
                f"{row['mb_s']:.1f}",
                f"{row['times']:.1f}",
                f"{row['removed']:,}",
                f"{row['truth_recall']:.2%}",
                f"{row['wrong']:.2%}",
            ]
            for row in result["rows"]
            if "truth_recall" in row
        ],
    )


def _peer_name(row: Mapping[str, Any]) -> str:
    if "recall" not in row:
        return str(row["name"])
    name, alone, _ = row["name"].partition(" alone")
    return f"{name} {row['version']}{alone}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


def _growth_table(results: Mapping[str, Any]) -> str:
    rows = results["growth"]
    exponents = ", ".join(
        f"{exponent:.2f} with {threads} thread{'s' if threads > 1 else ''}"
        for threads, exponent in fit_growth(rows).items()
        if exponent is not None
    )
    return (
        (
            "Natural text of growing size from file to cleaned file with its map, each run in a "
            "process of its own (past the size of all texts they come again with other words):\n\n"
        )
        + _table(
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
        + (f"\nTime grows with the size to the power of {exponents}.\n" if exponents else "")
    )


def _memory_table(results: Mapping[str, Any]) -> str:
    rows = results["memory"]
    return (
        f"All natural texts, {rows[0]['size_mb']:.0f} MB, with `--memory` (the peak is that of "
        "the process, of which the program itself takes about 220 MB):\n\n"
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


def _stages_table(results: Mapping[str, Any]) -> str:
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
            for row in results["stages"]
        ],
    )


def _corpus_line(results: Mapping[str, Any]) -> str:
    row = results["corpus"]
    seconds = row["size_mb"] / row["mb_s"]
    return (
        f"A JSON Lines file of {row['size_mb']:.0f} MB and {row['documents']:,} documents of "
        f"natural text, from file to cleaned file with its map, on {results['machine']['cores']} "
        f"cores: {row['mb_s']:.0f} MB/s ({row['documents'] / seconds:,.0f} documents/s), "
        f"{row['times_floor']:.1f} times what it takes to read and write the same rows with orjson "
        f"and nothing between ({row['floor_mb_s']:.0f} MB/s); {row['duplicates']:,} duplicates, "
        f"{row['removed_share']:.0%} of the text.\n"
    )


def _start_line(results: Mapping[str, Any]) -> str:
    start = results["start"]
    first = f"{start['first']:.0f} s the first time, which compiles; " if "first" in start else ""
    return (
        f"The command on the first sample, 3 KB: {first}{start['later']:.1f} s later, of which "
        f"Python and imports take {start['python']:.2f} and most of the rest loading Numba and the "
        f"compiled loops; {start['repeated'] * 1e3:.1f} ms in a process that has done so.\n"
    )


def _index_table(results: Mapping[str, Any]) -> str:
    result = results["index"]
    large = result["builds"][0]
    calls, opened, empty = result["calls"], result["open"], result["open_empty"]
    text = (
        f"A durable index (`dedup.Index`) of {large['units']:,} units of {result['workload']} text "
        "in documents of about 3 KB, grown in batches of 500 that are each on disk when they are "
        "answered, in a process of its own; `add` takes them one by one, `add_batches` gets the "
        "next ready meanwhile, and a batch's time is from answer to answer. First and last: the "
        "speed over the first and the last tenth. Stall: single documents of 3 KB, each like "
        "nothing else, are added between batches, of `add_batches` behind each 20th; how much "
        "longer than the median the longest of them took while segments were written and merged, "
        "and, else, at any other time. MB: memory of the process that "
        "is no file's, at the end.\n\n"
    )
    text += _table(
        ["call", "documents", "text MB", "MB/s", "first", "last", "batch ms", "99 %",
         "longest", "stall ms", "else", "MB"],
        [
            [
                f"`{row['call']}`",
                f"{row['documents']:,}",
                f"{row['text_mb']:,.0f}",
                f"{row['mb_s']:.1f}",
                f"{row['first_tenth_mb_s']:.1f}",
                f"{row['last_tenth_mb_s']:.1f}",
                *(f"{row['batch'][name]:,.0f}" for name in ("median", "p99", "longest")),
                _milliseconds(find_stall(row)),
                _milliseconds(row["quiet"] and row["quiet"]["longest"] - row["quiet"]["median"]),
                f"{row['memory_mb']:,.0f}",
            ]
            for row in result["builds"]
        ],
    )  # fmt: skip
    text += "\nThat index, and what is promised of it:\n\n" + _promises_table(list_promises(result))
    posted = result["postings"] / large["units"]
    text += (
        f"\nOne document of 3 KB: looked up and put in durably in {_call_times(calls['add'])}, "
        f"only looked up in {_call_times(calls['check'])}. Opened, with a first document read, in "
        f"{opened['open_ms']:.0f} ms where kernels are loaded, {opened['first_ms']:,.0f} ms where "
        f"they are not, {opened['process_ms']:,.0f} ms from the start of Python on (an empty "
        f"index: {empty['open_ms']:.0f}, {empty['first_ms']:,.0f} and {empty['process_ms']:,.0f}). "
    )
    if opened["memory_mb"] is not None:
        text += (
            f"Open and idle the process has {opened['memory_mb']:.0f} MB, of which "
            f"{opened['own_mb']:.0f} are no file's, with an empty index {empty['memory_mb']:.0f} "
            f"and {empty['own_mb']:.0f}; after {calls['add']['count']:,} single documents "
            f"{calls['memory_mb']:.0f}, and beside them {calls['mapped_mb']:,.0f} of segments that "
            "are mapped and that the system can take back. "
        )
    return text + (
        f"On disk {result['segments']} segments with {posted:.0f} postings a unit and "
        f"a journal of {result['journal_bytes'] / 1e6 / large['text_mb']:.2f} bytes a byte of "
        f"text. Keys are looked up {result['look_ups']['keys']:,} a call, in all segments.\n"
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _call_times(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.1f} ms (median; 99 % within {spread['p99']:.1f})"


def _stores_table(results: Mapping[str, Any]) -> str:
    result = results["stores"]
    text = (
        f"Stores fed the same {result['bands']} band keys of each unit of {result['workload']} "
        "text, in batches of 500 documents: units that share a key are looked up, then the new "
        "ones put in, and where the store can do that the batch is on disk before the next. Each "
        "in a process of its own, up to the same end or for half a minute, so the slower are the "
        "smaller. `dedup.Index` is handed the text, cuts, sketches, scores, and keeps the "
        "text; others are handed the keys. Look-ups are warm and of keys of which half are there. "
        "MB: memory that is no file's, with a server's, and in brackets what of it was there "
        "before the first key.\n\n"
    ) + _table(
        ["", "durable", "keys", "put in, keys/s", "looked up, keys/s", "bytes a key", "MB"],
        [
            [
                row["name"],
                "yes" if row["durable"] else "no",
                f"{row['keys']:,}",
                f"{row['keys'] / row['seconds']:,.0f}",
                f"{row['look_ups']:,.0f}",
                f"{row['disk_bytes'] / row['keys']:.1f}" if row["disk_bytes"] else "-",
                f"{row['bytes'] / 1e6:,.0f} ({row['start_bytes'] / 1e6:,.0f})",
            ]
            for row in result["rows"]
        ],
    )
    if result["missing"]:
        causes = "; ".join(f"{name} ({cause})" for name, cause in result["missing"].items())
        text += f"\nNot to be had, so left out: {causes}.\n"
    return text


def _promises_table(promises: Iterable[tuple[str, str, str, bool]]) -> str:
    return _table(
        ["", "promised", "reached", "kept"],
        [
            [what, promised, reached, "yes" if is_kept else "NO"]
            for what, promised, reached, is_kept in promises
        ],
    )


def _service_table(results: Mapping[str, Any]) -> str:
    part = results["service"]
    batches, overload = part["batches"], part["overload"]
    text = (
        "The service, a process with one worker and durable collections on the disk, loaded by "
        "another process over the loopback interface; each connection sends its next request when "
        f"it has the answer to the last. Articles are the sample, 3 KB; others {part['workload']} "
        "text in documents of about 3 KB. The client's cores are what the load itself takes of "
        "the processor that both share.\n\n"
    )
    text += _table(
        ["", "connections", "asked/s", "answered/s", "median ms", "99 %", "longest", "client's"],
        [
            [
                name,
                f"{row['connections']}",
                f"{row['asked_s']:,.0f}",
                f"{row['answered_s']:,.0f}",
                *(f"{row[f'{which}_ms']:,.1f}" for which in ("p50", "p99", "longest")),
                f"{row['own_cores']:.2f}",
            ]
            for name, row in (
                ("`POST /v1/clean`", part["articles"]),
                ("single posts", part["single"]),
                ("single posts", part["together"]),
                ("single posts, overload", overload),
                ("`GET /livez` beside it", overload["health"]),
            )
        ],
    )
    statuses = ", ".join(f"{count:,} of {name}" for name, count in overload["statuses"].items())
    text += (
        f"\nBatches of 500 documents as lines over one connection, {batches['mb']:.1f} MB: "
        f"{batches['mb_s']:.1f} MB/s, {batches['direct_mb_s']:.1f} by `Index.add` in a process "
        "beside it, by turns, with the same answers. Overload: "
        f"{overload['connections']} connections have {OVERLOAD} times as many requests to make as "
        f"{CONNECTIONS} are answered, for {overload['seconds']:,.0f} s; since who is refused is "
        f"told so by turns, they come to ask {overload['asked_s']:,.0f} a second, "
        f"{overload['times']:.1f} times as many; {statuses}. Memory "
        f"{overload['first_mb']:,.0f} MB after a "
        f"sixth of that time, {overload['last_mb']:,.0f} at the end, of which "
        f"{overload['first_own_mb']:,.0f} and {overload['last_own_mb']:,.0f} are no file's, while "
        f"the index grew by {overload['acknowledged']:,} documents.\n\n"
    )
    return text + _promises_table(list_load_promises(part))


def _soak_table(results: Mapping[str, Any]) -> str:
    part = results["soak"]
    statuses = ", ".join(f"{count:,} of {name}" for name, count in part["statuses"].items())
    text = (
        f"The service for {_duration(part['seconds'])}: all that it can be asked, in turn, over "
        f"a few connections, old documents removed again. {statuses}; in each of "
        f"{part['rounds']:,} rounds one request is wrong on purpose. From a sixth of the time "
        "on:\n\n"
    ) + _table(
        ["", "first", "last", "most"],
        [
            ["memory MB", *(f"{part[f'{which}_mb']:,.0f}" for which in _WHICH)],
            ["of it no file's", *(f"{part[f'{which}_own_mb']:,.0f}" for which in _WHICH)],
            ["open files", *(f"{part[f'{which}_files']}" for which in _WHICH)],
        ],
    )
    if promises := list_soak_promises(part):
        text += f"\n{_promises_table(promises)}"
    return text


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _recall_table(results: Mapping[str, Any]) -> str:
    return (
        "Pairs of sentences found, by their true score (threshold 0.7; none may be found "
        "below). The promise is the share that the bands find by chance, each pair by its own "
        "score:\n\n"
    ) + _table(
        ["score", "pairs", "found", "promise"],
        [
            [
                f"{row['score_from']:.2f} to {row['score_to']:.2f}",
                f"{row['pairs']:,}",
                f"{row['found']:.2%}",
                f"{row['expected']:.2%}" if row["score_from"] >= 0.7 else "-",
            ]
            for row in results["recall"]
        ],
    )


def _promise_line(results: Mapping[str, Any]) -> str:
    row = results["promise"]
    return (
        f"Of {row['pairs']:,} pairs that score 0.70 to 0.75 the stated recall lets expect "
        f"{row['expected_missed']:.0f} to be missed; {row['missed']:,} were "
        f"(p = {row['p_value']:.2g}): the promise {'holds' if row['holds'] else 'DOES NOT HOLD'}.\n"
    )


def _kinds_table(results: Mapping[str, Any]) -> str:
    kinds = results["kinds"]
    strengths = list(dict.fromkeys(row["edits"] for row in kinds["by_kind"]))
    by_kind: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in kinds["by_kind"]:
        by_kind.setdefault(row["kind"], {})[row["edits"]] = row
    cells = [
        [
            kind,
            *(f"{rows[edits]['recall']:.0%}" if edits in rows else "-" for edits in strengths),
            _share(rows.values(), "reaching_found", "reaching"),
            _share(rows.values(), "promised_found", "promised"),
        ]
        for kind, rows in by_kind.items()
    ]
    scripts = ", ".join(f"{row['script']} {row['recall']:.0%}" for row in kinds["by_script"])
    token = ", ".join(f"{row['chars']} {row['recall']:.0%}" for row in kinds["one_token"])
    return (
        "What becomes of planted copies, the share of their characters that goes, by kind and "
        "number of edits; of copies that still score 0.7 or more the share that goes; and of the "
        "sentences that have to go by the law:\n\n"
        + _table(["kind, edits", *strengths, "scoring 0.7", "by the law"], cells)
        + f"\nBy script: {scripts}. One word changed, by length in characters: {token}.\n"
    )


def _share(rows: Iterable[Mapping[str, Any]], share: str, count: str) -> str:
    total = found = 0.0
    for row in rows:
        total += row[count]
        found += row[count] * (row[share] or 0.0)
    return f"{found / total:.1%}" if total else "-"


def _precision_line(results: Mapping[str, Any]) -> str:
    row = results["precision"]
    wrong = ", ".join(f"{one['kind']} {one['removals']:,}" for one in row["wrong"]) or "none"
    return (
        f"Of {row['removals']:,} removals from made text, {row['below_threshold']} score below the "
        f"threshold. {row['precision']:.1%} of the removed characters were planted as repeats; "
        f"removals of what was not, by kind: {wrong}.\n"
    )


def _estimator_table(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["estimator"] if "same_slots" in row]
    return (
        "Error of the score as signatures estimate it (no score of ours is an estimate; this is "
        "for those who compare signatures themselves):\n\n"
    ) + _table(
        ["slots", "pairs", "RMSE", "theory", "datasketch", "ours, the same pairs", "same slots"],
        [
            [
                f"{row['slots']}",
                f"{row['pairs']:,}",
                f"{row['rmse']:.4f}",
                f"{row['theory']:.4f}",
                f"{row['datasketch_rmse']:.4f}",
                f"{row['our_rmse']:.4f}",
                "yes" if row["same_slots"] else "no",
            ]
            for row in rows
        ],
    )


def _documents_table(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["documents"] if "b_cubed_f1" in row]
    answers = [row for row in results["documents"] if "label" in row and row["threshold"] == 0.7]
    told = ", ".join(f"{row['label']} {row['share']:.0%}" for row in answers)
    return (
        "Whole documents (`--unit document`), held against the labels of outside sets; pairs where "
        "a set has pairs:\n\n"
        + _table(
            ["set", "method", "threshold", "numbers", "goes", "MB/s", "pair F1", "ARI", "B3 F1"],
            [
                [
                    row["set"],
                    row["method"],
                    f"{row['threshold']:.1f}",
                    "kept apart" if row["numbers"] else "-",
                    f"{row['duplicates']:,}",
                    f"{row['mb_s']:.1f}",
                    f"{row['pair_f1']:.3f}" if "pair_f1" in row else "-",
                    f"{row['adjusted_rand']:.3f}",
                    f"{row['b_cubed_f1']:.3f}",
                ]
                for row in rows
                if row["threshold"] in (0.5, 0.7, 0.9)
            ],
        )
        + (
            f"\nShare of students' answers found in their source, by how they copied: {told}.\n"
            if told
            else ""
        )
    )


def _passages_table(results: Mapping[str, Any]) -> str:
    rows = results["passages"]
    runs = ", ".join(
        f"{row.get('version') or row['set']} {row['size_mb']:.1f} MB in {row['seconds']:.1f} s"
        for row in rows
        if row["category"] == "run"
    )
    told = [
        f"{row['set']}: {row['found']:,} passages in {row['pairs']:,} pairs that share nothing"
        for row in rows
        if row["category"] == "none"
    ]
    return (
        "Passages, found in all documents of a set at once:\n\n"
        + _table(
            ["set", "category", "plagdet", "precision", "recall", "granularity"],
            [
                [
                    row["set"],
                    row["category"],
                    f"{row['plagdet']:.3f}" if "plagdet" in row else "-",
                    f"{row['precision']:.3f}" if "precision" in row else "-",
                    f"{row['recall']:.3f}",
                    f"{row['granularity']:.2f}" if "granularity" in row else "-",
                ]
                for row in rows
                if "recall" in row
            ],
        )
        + f"\n{'; '.join([*told, f'time on two threads: {runs}'])}.\n"
    )


def _edits_table(results: Mapping[str, Any]) -> str:
    rows = results["edits"]
    kinds = list(dict.fromkeys(row["edit"] for row in rows))
    cells: dict[tuple[str, int, int], dict[str, Any]] = {}
    for row in rows:
        cells.setdefault((row["script"], row["words"], row["edited"]), {})[row["edit"]] = row
    return (
        f"Passages planted in made text, {rows[0]['plants']} of each, with single words edited: "
        "share of which half or more was found on both sides, and in brackets the share of "
        "the ends of those that are exact to the character:\n\n"
    ) + _table(
        ["script", "words", "edited", *kinds],
        [
            [
                script,
                f"{words}",
                f"{edited}",
                *(
                    f"{row['found']:.2f}"
                    + (f" ({row['exact_ends']:.2f})" if row["exact_ends"] is not None else "")
                    for row in (of_kind[kind] for kind in kinds)
                ),
            ]
            for (script, words, edited), of_kind in cells.items()
        ],
    )


def _trade_table(results: Mapping[str, Any]) -> str:
    return (
        "Score against speed, PAN 2013 as a whole: how many places of a seed are followed:\n\n"
    ) + _table(
        ["options", "plagdet", "precision", "recall", "MB/s"],
        [
            [
                row["options"],
                f"{row['plagdet']:.3f}",
                f"{row['precision']:.3f}",
                f"{row['recall']:.3f}",
                f"{row['mb_s']:.1f}",
            ]
            for row in results["trade"]
        ],
    )


def _sentences_line(results: Mapping[str, Any]) -> str:
    scores = results["sentences"]
    names = [name for name in scores if name != "mean"]
    listed = ", ".join(f"{name} {scores[name]:.3f}" for name in names)
    return (
        f"Sentence borders: mean F1 {scores['mean']:.4f} over {len(names) - 1} sets, Thai apart "
        f"({listed}).\n"
    )


def _golden_line(results: Mapping[str, Any]) -> str:
    rules = ", ".join(f"{lang} {held}" for lang, held in results["golden_rules"].items())
    return f"Golden rules of sentence borders that hold: {rules}.\n"


_RENDERERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "datasketch": _datasketch_table,
    "peers": _peers_table,
    "planted_peers": _planted_peers_table,
    "stages": _stages_table,
    "corpus": _corpus_line,
    "growth": _growth_table,
    "memory": _memory_table,
    "start": _start_line,
    "index": _index_table,
    "stores": _stores_table,
    "service": _service_table,
    "soak": _soak_table,
    "recall": _recall_table,
    "promise": _promise_line,
    "kinds": _kinds_table,
    "precision": _precision_line,
    "estimator": _estimator_table,
    "passages": _passages_table,
    "edits": _edits_table,
    "trade": _trade_table,
    "documents": _documents_table,
    "sentences": _sentences_line,
    "golden_rules": _golden_line,
}
