"""Plots of the results of a run, as PNG. They draw what was measured and judge nothing."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.comparison import fit_growth
from benchmarks.service import MOST_ARTICLE_MS, MOST_HEALTH_MS, MOST_SLOW_POST_MS

# Okabe and Ito's colours, which the colour-blind tell apart too: ours, what is held
# against it, and what is past a limit.
OURS, OTHER, PAST = "#0072b2", "#9aa1ab", "#d55e00"
# Behind what is written over lines.
_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
_INK, _PALE, _GRID = "#1f2328", "#656d76", "#e3e6ea"

# 900 pixels wide at twice the resolution.
_WIDTH_INCHES, _DPI = 9.0, 200
_HEADER_INCHES, _FOOTER_INCHES, _ROW_INCHES = 0.95, 0.55, 0.31

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.labelcolor": _PALE,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "text.color": _INK,
    "xtick.color": _PALE,
    "xtick.labelcolor": _PALE,
    "xtick.minor.size": 0,
    "ytick.labelcolor": _INK,
    "ytick.left": False,
    "ytick.minor.left": False,
}

_STAGES = {
    "clean_mb_s": "to map",
    "find_mb_s": "to duplicates",
    "sign_mb_s": "to signatures",
    "cut_mb_s": "to sentences",
}
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_STAGE_COLOURS = (OURS, "#56a3d3", "#93c4e3", "#c3cad2")

# plagdet on the official test corpus 2 of PAN 2013, by category: A. Sanchez-Perez,
# G. Sidorov, A. Gelbukh, "The winning approach to text alignment for text reuse
# detection at PAN 2014", CLEF 2014; M. Potthast et al., "Overview of the 5th
# international competition on plagiarism detection", CLEF 2013.
PUBLISHED_PLAGDET = {
    "verbatim": {"Sanchez-Perez": 0.900, "Torrejon": 0.926, "Kong": 0.827, "baseline": 0.934},
    "random": {"Sanchez-Perez": 0.884, "Torrejon": 0.747, "Kong": 0.823, "baseline": 0.071},
    "translation": {"Sanchez-Perez": 0.887, "Torrejon": 0.851, "Kong": 0.852, "baseline": 0.106},
    "summary": {"Sanchez-Perez": 0.561, "Torrejon": 0.341, "Kong": 0.434, "baseline": 0.045},
    "entire": {"Sanchez-Perez": 0.878, "Torrejon": 0.822, "Kong": 0.819, "baseline": 0.422},
}

_LANGUAGES = {
    "am": "Amharic", "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "gu": "Gujarati", "hi": "Hindi",
    "hy": "Armenian", "it": "Italian", "iu": "Inuktitut", "ja": "Japanese", "kk": "Kazakh",
    "km": "Khmer", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "mr": "Marathi",
    "my": "Burmese", "nl": "Dutch", "pl": "Polish", "ps": "Pashto", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "ta": "Tamil", "th": "Thai", "tr": "Turkish",
    "ur": "Urdu", "zh": "Chinese",
}  # fmt: skip


def draw_plots(results: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw a plot of each part of the results that has one.

    The same results give the same bytes, with the same matplotlib.

    Returns
    -------
    dict
        PNG of 1800 pixels across, by the key of the part.
    """
    plots = {}
    with matplotlib.style.context(["default", _STYLE]):
        for name, draw in _DRAWERS.items():
            figure = draw(results) if results.get(name) else None
            if figure:
                plots[name] = _to_png(figure)
    return plots


def language_of(name: str) -> str:
    """Return the language of a set of sentences, by the code at an end of its name.

    Examples
    --------
    >>> language_of("wmt19.de-en.de"), language_of("ko_pud"), language_of("planted")
    ('German', 'Korean', 'planted')
    """
    code = name.split("_")[0] if name.endswith("_pud") else name.split(".")[-1]
    return _LANGUAGES.get(code, name)


def name_of_peer(row: Mapping[str, Any]) -> str:
    """Return the name of a row of `peers`, with its version if it is a peer.

    Examples
    --------
    >>> name_of_peer({"name": "rensa alone", "version": "0.5.0"})
    'rensa 0.5.0 alone'
    """
    name, alone, _ = row["name"].partition(" alone")
    return f"{name} {row['version']}{alone}" if "version" in row else name


def _draw_peers(results: Mapping[str, Any]) -> Figure:
    shares = ("recall", "agreed")
    told = ("○ found, of ours", "◆ agreed, of theirs")
    title = "Peers, from file to file: MB/s, and how far the answers agree"
    figure, right, places = _draw_speeds(results["peers"], title, shares, told)
    if places:
        for place in places:
            right.plot(100, place, "s", color=OURS, markersize=6)
        _write(right, 100, places[-1], "the measure", -9, fontsize=8.5, color=OURS)
    return figure


def _draw_planted_peers(results: Mapping[str, Any]) -> Figure:
    part = results["planted_peers"]
    rows = [{**row, "right": 1 - row["wrong"]} if "wrong" in row else row for row in part["rows"]]
    told = ("○ found, of the planted", "◆ right, of what went")
    title = "Peers, held against planted repeats: MB/s, and what is found"
    shares = ("truth_recall", "right")
    return _draw_speeds({**part, "rows": rows}, title, shares, told)[0]


def _draw_speeds(
    part: Mapping[str, Any], title: str, shares: tuple[str, str], told: tuple[str, str]
) -> tuple[Figure, Axes, list[int]]:
    """Draw MB/s beside two shares; return the axes of these and the places of ours."""
    rows = sorted(part["rows"], key=lambda row: row["mb_s"])
    figure, left = _make_rows(
        len(rows),
        title,
        f"{part['size_mb']:g} MB of {part['workload']} text, logarithmic scale. Pale: without "
        "the time that cutting shingles in Python takes.",
    )
    box = left.get_position()
    left.set_position((0.19, box.y0, 0.485, box.height))
    right = figure.add_axes((0.735, box.y0, 0.235, box.height))
    places = range(len(rows))
    _name_rows(left, [name_of_peer(row) for row in rows])
    left.set_xscale("log")
    for place, row in zip(places, rows, strict=True):
        is_ours, is_floor = row["name"].startswith("dedup"), row["name"] == "floor"
        edge = row["mb_s"]
        if row.get("shingling_seconds"):
            edge = part["size_mb"] / (row["seconds"] - row["shingling_seconds"])
            left.barh(place, edge, color=OTHER, alpha=0.35, height=0.62)
        colour = OURS if is_ours else "#dfe3e8" if is_floor else OTHER
        left.barh(place, row["mb_s"], color=colour, height=0.62)
        speed = f"{row['mb_s']:.{0 if row['mb_s'] >= 100 else 1 if row['mb_s'] >= 1 else 2}f}"
        _write(left, edge, place, speed, 5, weight="bold" if is_ours else "normal")
        if is_ours:
            left.get_yticklabels()[place].set_fontweight("bold")
            left.get_yticklabels()[place].set_color(OURS)
        if is_floor:
            left.axvline(row["mb_s"], color=_PALE, linewidth=0.9, linestyle=(0, (2, 2)))
    left.set_xlim(min(row["mb_s"] for row in rows) / 2, max(row["mb_s"] for row in rows) * 2.2)
    _plain_ticks(left, "x", "{:g}")
    _name_rows(right, [""] * len(rows))
    least = 90.0
    for place, row in zip(places, rows, strict=True):
        if shares[0] not in row:
            continue
        found, agreed = (100 * row[share] for share in shares)
        right.plot([found, agreed], [place, place], color=_GRID, linewidth=2.2, zorder=1)
        right.plot(agreed, place, "D", color=PAST, markersize=5.2, zorder=3)
        right.plot(found, place, "o", color=_INK, markersize=6, fillstyle="none", zorder=4)
        least = min(least, found, agreed)
    right.set_xlim(least - 4, 103)
    _plain_ticks(right, "x", "{:g} %")
    for line, (text, colour) in enumerate(zip(told, (_INK, PAST), strict=True)):
        right.annotate(
            text, (0, 1), (0, 15 - 12 * line), xycoords="axes fraction",
            textcoords="offset points", fontsize=9, color=colour,
        )  # fmt: skip
    left.annotate(
        "MB/s", (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
        fontsize=9, color=_PALE,
    )  # fmt: skip
    return figure, right, [i for i in places if rows[i]["name"].startswith("dedup")]


def _draw_growth(results: Mapping[str, Any]) -> Figure:
    points: dict[int, list[tuple[float, float]]] = {}
    for row in sorted(results["growth"], key=lambda row: row["size_mb"]):
        points.setdefault(row["threads"], []).append((row["size_mb"], row["seconds"]))
    exponents = fit_growth(results["growth"])
    figure, axes = _make_plane(
        "Seconds from file to cleaned file, by MB",
        "Natural text, both scales logarithmic; dashed: in proportion to the size. "
        "At each point: MB/s.",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    colours = [OTHER, OURS] if len(points) > 1 else [OURS]
    quickest, slowest = (
        pick(seconds for line in points.values() for _, seconds in line) for pick in (min, max)
    )
    for i, (threads, line) in enumerate(sorted(points.items())):
        colour = colours[min(i, len(colours) - 1)]
        sizes, seconds = zip(*line, strict=True)
        proportional = [seconds[0] * size / sizes[0] for size in sizes]
        axes.plot(sizes, proportional, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(sizes, seconds, "-o", color=colour, linewidth=2.2, markersize=6)
        above = i == 0
        for size, second in line:
            axes.annotate(
                f"{size / second:.0f}", (size, second), (0, 8 if above else -16),
                textcoords="offset points", ha="right" if above else "left", fontsize=9,
                color=_PALE if colour == OTHER else colour,
            )  # fmt: skip
        exponent = exponents[threads]
        grows = "" if exponent is None else f"\ngrows with MB$^{{{exponent:.2f}}}$"
        axes.annotate(
            f"{threads} thread{'s' if threads > 1 else ''}{grows}", (sizes[-1], seconds[-1]),
            (22, -2 if above else -12), textcoords="offset points", va="bottom" if above else "top",
            fontsize=10, weight="bold", color=_PALE if colour == OTHER else colour,
        )  # fmt: skip
    axes.set_xlim(min(size for line in points.values() for size, _ in line) / 1.6, None)
    axes.set_xlim(None, max(size for line in points.values() for size, _ in line) * 4.5)
    axes.set_ylim(quickest / 2, slowest * 2.2)
    axes.set_xticks([size for size, _ in max(points.values(), key=len)])
    axes.set_yticks([tick for tick in _TICKS if quickest / 2 < tick < slowest * 2.2])
    _plain_ticks(axes, "x", "{:,g} MB")
    _plain_ticks(axes, "y", "{:,g} s")
    return figure


def _draw_memory(results: Mapping[str, Any]) -> Figure:
    rows = results["memory"][::-1]
    figure, axes = _make_rows(
        len(rows),
        "Peak memory under a limit, MB",
        f"{rows[0]['size_mb']:,.0f} MB of text; the peak is that of the process, the program "
        "itself included. Black: the limit.",
        row_inches=0.5,
    )
    limits = [row["limit_mb"] for row in rows]
    _name_rows(axes, ["no limit" if each is None else f"limit {each:,.0f} MB" for each in limits])
    for place, row in enumerate(rows):
        limit, peak = row["limit_mb"], row["peak_mb"]
        within = peak if limit is None else min(limit, peak)
        axes.barh(place, within, color=OTHER if limit is None else OURS, height=0.56)
        if peak > within:
            axes.barh(place, peak - within, left=within, color=PAST, height=0.56)
        if limit is not None:
            axes.plot([limit, limit], [place - 0.4, place + 0.4], color=_INK, linewidth=2)
        said = f"{peak:,.0f} MB, {row['seconds']:.1f} s"
        if peak > within:
            said += f", {peak - within:,.0f} past the limit"
        edge = max(peak, limit or 0)
        _write(axes, edge, place, said, 6, color=PAST if peak > within else _INK)
    axes.set_xlim(0, 1.5 * max(max(row["peak_mb"], row["limit_mb"] or 0) for row in rows))
    return figure


def _draw_index(results: Mapping[str, Any]) -> Figure:
    builds = results["index"]["builds"]
    figure, axes = _make_plane(
        "How fast an index takes text, MB/s, by what it holds",
        "Durable batches of 500 documents of about 3 KB; each point is the mean over a part of "
        "the build.",
    )
    colours = [OURS, OTHER]
    for build, colour in zip(builds, colours, strict=False):
        speeds = build["stretches_mb_s"]
        ends = np.arange(1, len(speeds) + 1) * build["units"] / len(speeds)
        axes.plot(ends, speeds, "-o", color=colour, linewidth=2.2, markersize=4)
        _write(
            axes, ends[-1], speeds[-1],
            build["call"], 8,
            fontsize=10, weight="bold", color=_PALE if colour == OTHER else colour,
        )  # fmt: skip
    fastest = max(speed for build in builds for speed in build["stretches_mb_s"])
    axes.set_ylim(0, 1.15 * fastest)
    axes.set_xlim(0, 1.12 * max(build["units"] for build in builds))
    _plain_ticks(axes, "x", "{:,.0f} units")
    return figure


def _draw_stores(results: Mapping[str, Any]) -> Figure:
    rows = sorted(results["stores"]["rows"], key=lambda row: row["keys"] / row["seconds"])
    figure, axes = _make_rows(
        len(rows),
        "Stores of band keys: keys a second",
        "Bars: put in, after a look-up; circles: looked up alone, warm. Logarithmic scale. Pale: "
        "not durable.",
        row_inches=0.36,
    )
    axes.set_xscale("log")
    _name_rows(axes, [row["name"] for row in rows])
    for place, row in enumerate(rows):
        speed = row["keys"] / row["seconds"]
        colour = OURS if row["name"].startswith("dedup") else OTHER
        axes.barh(place, speed, color=colour, height=0.62, alpha=1.0 if row["durable"] else 0.4)
        look_ups = row["look_ups"]
        axes.plot(look_ups, place, "o", color=PAST, markersize=6, markerfacecolor="white")
        told = f"{speed:,.0f} put in, {look_ups:,.0f} looked up"
        _write(axes, max(speed, look_ups), place, told, 8)
    speeds = [speed for row in rows for speed in (row["keys"] / row["seconds"], row["look_ups"])]
    axes.set_xlim(min(speeds) / 2, max(speeds) * (max(speeds) / min(speeds)) ** 0.8)
    box = axes.get_position()
    axes.set_position((0.19, box.y0, 0.78, box.height))
    _plain_ticks(axes, "x", "{:,.0f}")
    return figure


def _draw_service(results: Mapping[str, Any]) -> Figure:
    part = results["service"]
    overload = part["overload"]
    rows: list[tuple[str, Mapping[str, Any], float | None]] = [
        ("health", overload["health"], MOST_HEALTH_MS),
        ("posts, overload", overload, None),
        ("posts", part["together"], None),
        ("posts, one by one", part["single"], MOST_SLOW_POST_MS),
        ("articles", part["articles"], MOST_ARTICLE_MS),
    ]
    figure, axes = _make_rows(
        len(rows),
        "How long the service takes to answer, ms",
        "Half of the answers, circle, and 99 %, end of the line; logarithmic scale. Strokes: "
        "what is promised of 99 %.",
        row_inches=0.42,
    )
    axes.set_xscale("log")
    _name_rows(axes, [name for name, _, _ in rows])
    for place, (_, row, most) in enumerate(rows):
        half, slow = row["p50_ms"], row["p99_ms"]
        colour = PAST if most is not None and slow > most else OURS
        axes.plot([half, slow], [place, place], color=colour, linewidth=2.5)
        axes.plot(half, place, "o", color=colour, markersize=7)
        if most is not None:
            axes.plot([most, most], [place - 0.3, place + 0.3], color=_PALE, linewidth=1.5)
        told = f"{slow:,.1f}; {row['answered_s']:,.0f}/s over {row['connections']:,}"
        _write(axes, max(slow, most or 0), place, told, 8)
    least = min(row["p50_ms"] for _, row, _ in rows)
    most_ms = max(row["p99_ms"] for _, row, _ in rows)
    axes.set_xlim(least / 2, most_ms * (most_ms / least) ** 0.5)
    _plain_ticks(axes, "x", "{:,g}")
    return figure


def _draw_soak(results: Mapping[str, Any]) -> Figure | None:
    part = results["soak"]
    if not part.get("course"):
        return None
    minutes, memory, own, files = np.array(part["course"]).T
    minutes = minutes / 60
    figure, axes = _make_plane(
        "What the service takes while it is asked all it can do, MB",
        f"Old documents are removed again. {files.max():.0f} files are open at most. Grey: what "
        "the system lends of files that are mapped, too.",
    )
    axes.plot(minutes, memory, color=OTHER, linewidth=1.6)
    axes.plot(minutes, own, color=OURS, linewidth=2.2)
    _write(axes, minutes[-1], memory[-1], f"{memory[-1]:,.0f}", 6, color=_PALE)
    _write(axes, minutes[-1], own[-1], f"{own[-1]:,.0f}", 6, color=OURS, weight="bold")
    axes.set_xlim(0, 1.08 * minutes[-1])
    axes.set_ylim(0, 1.15 * memory.max())
    _plain_ticks(axes, "x", "{:g} min")
    return figure


def _draw_stages(results: Mapping[str, Any]) -> Figure:
    rows = sorted(results["stages"], key=lambda row: -row["clean_mb_s"])
    figure, axes = _make_rows(
        len(rows),
        "How fast raw text passes each stage, MB/s",
        "One core, logarithmic scale; each stage includes those before it.",
        row_inches=0.36,
        header_inches=1.05,
    )
    axes.set_xscale("log")
    _name_rows(axes, [row["workload"].replace("_", " ") for row in rows])
    for place, row in enumerate(rows):
        speeds = [row[name] for name in _STAGES]
        axes.plot([min(speeds), max(speeds)], [place, place], color=_GRID, linewidth=2.5, zorder=1)
        for speed, colour in zip(speeds, _STAGE_COLOURS, strict=True):
            axes.plot(speed, place, "o", color=colour, markersize=8)
        _write(axes, speeds[0], place, f"{speeds[0]:.0f}", -9, color=OURS, weight="bold")
        _write(axes, speeds[-1], place, f"{speeds[-1]:.0f}", 9, color=_PALE)
    # The slowest text stands on top: its stages lie furthest apart.
    for i, (name, title) in enumerate(_STAGES.items()):
        axes.annotate(
            title, (rows[-1][name], len(rows) - 1), (0 if i else 8, 11),
            textcoords="offset points", ha="center" if i else "right", fontsize=9,
            color=_PALE if i else OURS,
        )  # fmt: skip
    slowest, fastest = (pick(row[name] for row in rows for name in _STAGES) for pick in (min, max))
    axes.set_xlim(slowest / 1.4, fastest * 1.4)
    axes.set_xticks([tick for tick in _TICKS if slowest / 1.4 < tick < fastest * 1.4])
    _plain_ticks(axes, "x", "{:g}")
    return figure


def _draw_recall(results: Mapping[str, Any]) -> Figure:
    rows = results["recall"]
    promises = promised_recall(results)
    threshold = results["options"]["threshold"]
    figure, left = _make_plane(
        "Pairs of sentences found, by their exact score, %",
        "Blue: found. Grey: promised, by chance of the bands. "
        f"Below the threshold of {threshold:g} none may go.",
    )
    box = left.get_position()
    left.set_position((box.x0, box.y0, 0.36, box.height))
    right = figure.add_axes((0.56, box.y0, 0.41, box.height))
    above = [(row, promise) for row, promise in zip(rows, promises, strict=True) if promise]
    lowest = min([1.0, *(min(row["found"], promise) for row, promise in above)])
    for axes, steps in ((left, list(zip(rows, promises, strict=True))), (right, above)):
        axes.axvline(threshold, color=_PALE, linewidth=0.9, linestyle=(0, (2, 2)))
        for row, promise in steps:
            ends, middle = (row["score_from"], row["score_to"]), _middle(row)
            axes.plot(ends, [100 * promise] * 2, color=OTHER, linewidth=3, zorder=2)
            axes.plot(middle, 100 * row["found"], "o", color=OURS, markersize=7, zorder=3)
    left.set_ylim(-4, 106)
    right.set_ylim(100 - 112 * (1 - lowest) - 0.01, 100 + 25 * (1 - lowest) + 0.01)
    for row, _ in above:
        right.annotate(
            f"{100 * row['found']:.4g} %\nof {row['pairs']:,}", (_middle(row), 100 * row["found"]),
            (0, 8), textcoords="offset points", ha="center", fontsize=8.5, color=OURS,
        )  # fmt: skip
    right.set_yticks([tick for tick in right.get_yticks() if tick < 100.001])
    right.set_title("from the threshold on, enlarged", loc="left", fontsize=9, color=_PALE)
    left.set_title("all", loc="left", fontsize=9, color=_PALE)
    for axes in (left, right):
        axes.set_xlabel("score")
    return figure


def promised_recall(results: Mapping[str, Any]) -> list[float]:
    """Return what is promised of each row of `recall`, 0 below the threshold.

    That is the mean over the pairs of a row, or where results have no such, the
    chance of a pair with the least score of the row.
    """
    least = results.get("recall_promised", {})
    threshold = results["options"]["threshold"]
    return [
        row["expected"]
        if "expected" in row
        else least[str(row["score_from"])]
        if row["score_from"] >= threshold
        else 0.0
        for row in results["recall"]
    ]


def _draw_kinds(results: Mapping[str, Any]) -> Figure:
    rows = results["kinds"]["by_kind"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))[::-1]
    edits = sorted({row["edits"] for row in rows}, key=lambda label: int(label.split()[0]))
    figure, axes = _make_rows(
        len(kinds),
        "How much of planted repeats goes, by kind and number of edits, %",
        "Share of the characters of all copies. Black: the share of the copies that score at the "
        "threshold or above.",
        header_inches=1.2,
        row_inches=0.34,
    )
    _name_rows(axes, kinds)
    axes.grid(visible=False)
    for row in rows:
        column, place = edits.index(row["edits"]), kinds.index(row["kind"])
        share = row["recall"]
        axes.barh(place, 0.62, left=column, color=_GRID, height=0.5)
        axes.barh(place, 0.62 * share, left=column, color=OURS, height=0.5)
        reaching = column + 0.62 * row["reaching"] / row["copies"]
        axes.plot([reaching] * 2, [place - 0.34, place + 0.34], color=_INK, linewidth=1.5)
        axes.text(column + 0.68, place, f"{100 * share:.0f}", va="center", fontsize=9.5)
    for column, label in enumerate(edits):
        title = {"0": "no edit", "1": "1 edit"}.get(label, label)
        axes.text(column, len(kinds) - 0.35, title, fontsize=9, color=_PALE)
    axes.set_xlim(-0.1, len(edits))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    return figure


def _draw_estimator(results: Mapping[str, Any]) -> Figure:
    rows = results["estimator"]
    figure, axes = _make_plane(
        "Error of scores read off two signatures, root mean square",
        "Points: ours, by the exact score. Lines: theory, the root of s (1 - s) / slots. "
        "No score of ours is such an estimate.",
    )
    slots = sorted({row["slots"] for row in rows})
    for count in slots:
        steps = [row for row in rows if row["slots"] == count and _width(row) < 0.1]
        whole = [row for row in rows if row["slots"] == count and _width(row) > 0.1]
        places = [_middle(row) for row in steps]
        axes.plot(places, [row["theory"] for row in steps], color=OTHER, linewidth=2)
        axes.plot(places, [row["rmse"] for row in steps], "o", color=OURS, markersize=6)
        said = f"{count} slots"
        for row in whole:
            said += f"\nin all {row['rmse']:.4f}, theory {row['theory']:.4f}"
            if "datasketch_rmse" in row:
                said += f"\ndatasketch {row['datasketch_rmse']:.4f}"
                said += f", ours there {row['our_rmse']:.4f}"
        _write(axes, places[0], steps[0]["theory"], said, -12, fontsize=8.5)
    axes.set_xlim(0.27, 1)
    axes.set_ylim(0, None)
    axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    axes.set_xlabel("exact score", x=0.66)
    return figure


def _draw_sentences(results: Mapping[str, Any]) -> Figure:
    scores = {name: score for name, score in results["sentences"].items() if name != "mean"}
    names = sorted(scores, key=lambda name: scores[name])
    figure, axes = _make_rows(
        len(names),
        "Borders of sentences, F1 by language",
        "Running text of which the borders are known. Line: the mean without Thai, which marks "
        "no end of a sentence.",
        row_inches=0.235,
    )
    # One far behind would press all others together; it is written at the edge.
    least = min([score for score in scores.values() if score >= 0.5], default=0.0)
    edge = np.floor(20 * least) / 20 - 0.02
    _name_rows(axes, [language_of(name) for name in names])
    axes.tick_params(axis="y", labelsize=9)
    axes.axvline(results["sentences"]["mean"], color=_PALE, linewidth=0.9, linestyle=(0, (2, 2)))
    for place, name in enumerate(names):
        score = scores[name]
        if score < edge:
            axes.plot(edge + 0.004, place, "<", color=PAST, markersize=6)
            _write(axes, edge + 0.004, place, f"{score:.3f}", 8, color=PAST)
            continue
        axes.plot([edge, score], [place, place], color=_GRID, linewidth=2, zorder=1)
        axes.plot(score, place, "o", color=OURS, markersize=6)
        _write(axes, score, place, f"{score:.3f}", 7, fontsize=8.5)
    axes.set_xlim(edge, 1.02)
    axes.set_xticks([tick for tick in np.arange(0.5, 1.001, 0.05).round(2) if tick >= edge])
    return figure


def passages_of_pan(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of `passages` that others have published figures for, by category."""
    rows = {
        row["category"]: row
        for row in results.get("passages", ())
        if row["set"] == "pan13" and "plagdet" in row
    }
    return {category: rows[category] for category in PUBLISHED_PLAGDET if category in rows}


def _draw_passages(results: Mapping[str, Any]) -> Figure | None:
    rows = [*passages_of_pan(results).values()][::-1]
    if not rows:
        return None
    figure, axes = _make_rows(
        len(rows),
        "Passages, PAN 2013: plagdet by category",
        "Blue: ours, on the training corpus. Ticks: published, on test corpus 2, where results run "
        "within 0.02 of these:\n"
        + ", ".join(f"{system[0]} {system}" for system in PUBLISHED_PLAGDET["entire"])
        + ".",
        row_inches=0.6,
        header_inches=1.0,
    )
    _name_rows(axes, [row["category"] for row in rows])
    for place, row in enumerate(rows):
        axes.barh(place, row["plagdet"], color=OURS, height=0.4)
        _write(axes, 1, place, f"{row['plagdet']:.3f}", 10, weight="bold", color=OURS)
        published = PUBLISHED_PLAGDET[row["category"]]
        for theirs in published.values():
            axes.plot([theirs, theirs], [place - 0.28, place + 0.28], color=_INK, linewidth=1.6)
        for systems, middle in _join_close(published, 0.022):
            initials = " ".join(system[0] for system in systems)
            axes.text(middle, place + 0.3, initials, fontsize=8.5, ha="center", color=_PALE)
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, 0.74, box.height))
    axes.set_xlim(0, 1)
    return figure


def _draw_trade(results: Mapping[str, Any]) -> Figure:
    rows = results["trade"]
    figure, axes = _make_plane(
        "Passages of PAN 2013: plagdet against MB/s",
        "How many places of a seed are followed; ten, unless told otherwise.",
    )
    axes.plot(
        [row["mb_s"] for row in rows], [row["plagdet"] for row in rows], "o-", color=OURS, zorder=3
    )
    for row in rows:
        axes.annotate(
            row["options"].rpartition(" ")[2], (row["mb_s"], row["plagdet"]), (6, 6),
            textcoords="offset points", fontsize=8.5, color=OURS,
        )  # fmt: skip
    axes.set_xlabel("MB/s")
    axes.set_ylabel("plagdet")
    return figure


def _draw_documents(results: Mapping[str, Any]) -> Figure | None:
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for row in results["documents"]:
        if row.get("method") == "dedup":
            sets.setdefault(row["set"], []).append(row)
    scores = {"b_cubed_f1": "B-cubed F1", "adjusted_rand": "adjusted Rand", "pair_f1": "pair F1"}
    measured = [
        (name, score)
        for name, rows in sets.items()
        for score in scores
        if all(score in row for row in rows)
    ][::-1]
    if not measured:
        return None
    threshold = results["options"]["threshold"]
    figure, axes = _make_rows(
        len(measured),
        "Whole documents, held against the labels of outside sets",
        f"Blue: at the threshold of {threshold:g}, numbers kept apart (the guard), "
        "which is the default. Grey: at all others; the best is named.",
        row_inches=0.42,
    )
    _name_rows(axes, [f"{name.replace('_', ' ')}, {scores[score]}" for name, score in measured])
    for place, (name, score) in enumerate(measured):
        best = max(sets[name], key=lambda row: row[score])
        for row in sets[name]:
            is_default = row["threshold"] == threshold and row["numbers"]
            colour, size = (OURS, 8) if is_default else (OTHER, 5)
            axes.plot(row[score], place, "o", color=colour, markersize=size, zorder=2 + is_default)
            if is_default:
                axes.annotate(
                    f"{row[score]:.3f}", (row[score], place), (0, 8), textcoords="offset points",
                    ha="center", fontsize=8.5, weight="bold", color=OURS,
                )  # fmt: skip
        guard = "" if best["numbers"] else ", no guard"
        axes.annotate(
            f"best {best[score]:.3f} at {best['threshold']:g}{guard}", (1, place), (10, 0),
            xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=8.5, color=_PALE,
        )  # fmt: skip
    box = axes.get_position()
    axes.tick_params(axis="y", labelsize=8.5)
    axes.set_position((0.235, box.y0, 0.53, box.height))
    axes.set_xlim(-0.02, 1.02)
    return figure


def _join_close(values: dict[str, float], gap: float) -> list[tuple[list[str], float]]:
    """Return names in groups that lie within a gap of the next, and the middle of each group."""
    groups: list[list[str]] = []
    for name in sorted(values, key=lambda name: values[name]):
        if groups and values[name] - values[groups[-1][-1]] <= gap:
            groups[-1].append(name)
        else:
            groups.append([name])
    return [(group, (values[group[0]] + values[group[-1]]) / 2) for group in groups]


_DRAWERS: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
    "peers": _draw_peers,
    "planted_peers": _draw_planted_peers,
    "growth": _draw_growth,
    "memory": _draw_memory,
    "stages": _draw_stages,
    "index": _draw_index,
    "stores": _draw_stores,
    "service": _draw_service,
    "soak": _draw_soak,
    "recall": _draw_recall,
    "kinds": _draw_kinds,
    "estimator": _draw_estimator,
    "sentences": _draw_sentences,
    "passages": _draw_passages,
    "trade": _draw_trade,
    "documents": _draw_documents,
}


def _make_rows(
    count: int,
    title: str,
    told: str,
    row_inches: float = _ROW_INCHES,
    header_inches: float = _HEADER_INCHES,
) -> tuple[Figure, Axes]:
    """Return axes with a row for each of so many things, the last on top."""
    height = header_inches + row_inches * count + _FOOTER_INCHES
    figure = _make_figure(height, title, told)
    body = row_inches * count / height
    axes = figure.add_axes((0.17, _FOOTER_INCHES / height, 0.8, body))
    axes.set_ylim(-0.5, count - 0.5)
    return figure, axes


def _make_plane(title: str, told: str) -> tuple[Figure, Axes]:
    """Return axes of which both directions measure something."""
    height = 5.0
    figure = _make_figure(height, title, told)
    body = 1 - (_HEADER_INCHES + _FOOTER_INCHES) / height
    axes = figure.add_axes((0.085, _FOOTER_INCHES / height, 0.885, body))
    axes.grid(visible=True, axis="both")
    return figure, axes


def _make_figure(height: float, title: str, told: str) -> Figure:
    figure = Figure(figsize=(_WIDTH_INCHES, height))
    figure.text(0.015, 1 - 0.17 / height, title, fontsize=13, weight="bold", va="top")
    figure.text(0.015, 1 - 0.46 / height, told, fontsize=9, color=_PALE, va="top")
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.5, len(names) - 0.5)


def _write(axes: Axes, x: float, y: float, text: str, points: float, **style: Any) -> None:
    """Write beside a place, so many points to its right, or left if fewer than none."""
    axes.annotate(
        text, (x, y), (points, 0), textcoords="offset points", va="center",
        ha="left" if points > 0 else "right", **{"fontsize": 9.5, "bbox": _BOX, **style},
    )  # fmt: skip


def _plain_ticks(axes: Axes, direction: str, form: str) -> None:
    """Write numbers out where a logarithmic axis would write powers of ten."""
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: form.format(value))
    axis.set_minor_formatter(lambda value, _: "")


def _middle(row: Mapping[str, Any]) -> float:
    return float(row["score_from"] + row["score_to"]) / 2


def _width(row: Mapping[str, Any]) -> float:
    return float(row["score_to"] - row["score_from"])


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # The name and version of the library would be written in, and no more.
    figure.savefig(buffer, dpi=_DPI, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
