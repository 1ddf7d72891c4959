"""The page of the results: plots, tables and a summary in one self-contained HTML file."""

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from benchmarks.comparison import fit_growth
from benchmarks.durable import list_promises
from benchmarks.plots import (
    PUBLISHED_PLAGDET,
    draw_plots,
    language_of,
    name_of_peer,
    passages_of_pan,
)
from benchmarks.service import list_load_promises, list_soak_promises
from benchmarks.stores import WHOLE
from benchmarks.tables import SECTIONS, render_part

# A peer that finds so much of what ours does finds as much.
_LEAST_RECALL = 0.99

# What is said to be a loss: under these a share that goes, an F1 of borders, a share of
# passages, and how much another number of threads gives of what it could; over these
# the share of speed a larger file loses, an estimate's error as against the theory,
# and what another threshold would gain.
_LEAST_GONE, _LEAST_BORDERS, _LEAST_PASSAGES, _LEAST_GAIN = 0.9, 0.9, 0.5, 0.8
_MOST_SLOWED, _MOST_ERROR, _MOST_MISSED = 0.2, 1.1, 0.1

_PUBLISHED = (
    "Passages of PAN 2013, plagdet on the training corpus (the best published, on test corpus 2)"
)

TITLES = {
    "datasketch": "The same answer as datasketch",
    "peers": "Peers, file to file",
    "planted_peers": "Peers, held against the truth",
    "stages": "Stages, one core",
    "corpus": "All natural text",
    "growth": "Growth",
    "memory": "Bounded memory",
    "start": "First run and later ones",
    "index": "A durable index",
    "stores": "Stores of band keys",
    "service": "The service under load",
    "soak": "The service for long",
    "recall": "Recall by score",
    "promise": "The stated recall",
    "kinds": "Kinds of edit",
    "precision": "Precision",
    "estimator": "Error of the estimate",
    "passages": "Passages",
    "edits": "Passages by edit",
    "trade": "Score against speed",
    "documents": "Whole documents",
    "sentences": "Sentence borders",
    "golden_rules": "Golden rules",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --card: #f6f8fa;
  --rule: #d8dee4; --soft: #59636e; --win: #0072b2; --loss: #b84c00 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --card: #161b22; --rule: #30363d; --soft: #9198a1;
    --win: #58a6ff; --loss: #f0883e }
}
* { box-sizing: border-box }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100% }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word }
h1, h2, h3 { line-height: 1.25; margin: 0 0 .5rem }
h2 { border-bottom: 1px solid var(--rule); padding-bottom: .3rem; margin-top: 3.5rem }
h3 { margin-top: 2.5rem; scroll-margin-top: 1rem }
a { color: inherit; text-underline-offset: .15em }
.soft, nav, details { color: var(--soft); font-size: .9rem }
.summary { display: grid; gap: 1rem; margin: 1rem 0 1.25rem; align-items: start }
@media (min-width: 52rem) { .summary { grid-template-columns: 1fr 1fr } }
section { background: var(--card); border-radius: 8px; padding: 1rem 1.1rem;
  border-top: 3px solid var(--rule); font-size: .95rem }
.summary .wins { border-color: var(--win) }
.summary .losses { border-color: var(--loss) }
section h2 { font-size: 1.1rem; margin: 0; border: 0; padding: 0 }
section ul { margin: .4rem 0 0; padding-left: 1.1rem }
section li { margin: .3rem 0 }
nav { line-height: 1.9 }
figure { margin: 1rem 0; background: #fff; border: 1px solid var(--rule); border-radius: 8px;
  padding: .4rem; overflow-x: auto }
figure img { display: block; width: 100%; min-width: 38rem; height: auto }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal }
th:first-child, td:first-child { padding-left: 0; text-align: left }
tr:has(> [data-ours]) { font-weight: 600; color: var(--win) }
pre { overflow-x: auto; background: var(--card); border-radius: 8px; padding: .8rem }
@media print { figure { break-inside: avoid } }
"""


def render_page(results: Mapping[str, Any], plots: Mapping[str, bytes]) -> str:
    """Render results as one page that loads nothing.

    Parameters
    ----------
    plots
        PNG by the key of the part, of `draw_plots`.
    """
    shown = [name for names in SECTIONS.values() for name in names if name in results]
    machine = dict(results["machine"])
    cpu, cores, commit = (machine.pop(name, "") for name in ("cpu", "cores", "commit"))
    versions = ", ".join(f"{name} {value}" for name, value in machine.items())
    told = f"{cpu}, {cores} cores. {versions}." + (f" Commit {commit}." if commit else "")
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>dedup: benchmarks</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
        f'<h1>dedup: benchmarks</h1>\n<p class="soft">{html.escape(told)}</p>\n',
        _render_list("What was measured", "", list_measured(results)),
        '<div class="summary">\n',
        _render_list("Where it wins", "wins", list_wins(results)),
        _render_list("Where it loses", "losses", list_losses(results)),
        "</div>\n",
    ]
    links = " · ".join(f'<a href="#{name}">{TITLES[name]}</a>' for name in shown)
    parts.append(f"<nav>{links}</nav>\n")
    for heading, names in SECTIONS.items():
        if any(name in results for name in names):
            parts.append(f"<h2>{heading}</h2>\n")
        parts += [_render_part(name, results, plots) for name in names if name in results]
    settings = {name: results[name] for name in ("options", "seeds") if name in results}
    if settings:
        written = html.escape(json.dumps(settings, indent=1))
        parts.append(
            f"<h2>To measure it again</h2>\n<p><code>python -m benchmarks all</code>, with these "
            f"options and seeds:</p>\n<details><summary>options and seeds</summary>\n"
            f"<pre>{written}</pre>\n</details>\n"
        )
    return "".join([*parts, "</body>\n</html>\n"])


def write_page(results: Mapping[str, Any], folder: Path) -> Path:
    """Write the page and its plots into a folder; return where the page is."""
    plots = draw_plots(results)
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in plots.items():
        (folder / f"{name}.png").write_bytes(png)
    page = folder / "report.html"
    page.write_text(render_page(results, plots), encoding="utf-8")
    return page


def list_measured(results: Mapping[str, Any]) -> Iterator[str]:
    """Say in a few lines what the results are results of."""
    if "peers" in results:
        part = results["peers"]
        names = [name_of_peer(row) for row in part["rows"] if "recall" in row]
        yield (
            f"Speed from file to cleaned file on {part['size_mb']:g} MB of {part['workload']} "
            f"text, beside {_join(names)}. Each run has a process of its own, peers get the "
            "sentences cut and folded for nothing."
        )
    if "growth" in results:
        sizes = sorted({row["size_mb"] for row in results["growth"]})
        yield f"Time and memory as the text grows from {sizes[0]:,.0f} to {sizes[-1]:,.0f} MB."
    if "index" in results:
        large = results["index"]["builds"][0]
        yield f"A durable index of {large['units']:,} units, and what is promised of it."
    if "stores" in results:
        names = [row["name"] for row in results["stores"]["rows"]]
        yield f"Stores fed the same band keys, look-up before insert: {_join(names)}."
    if "service" in results:
        seconds = results["service"]["overload"]["seconds"]
        yield (
            "The service, a process with one worker: texts, batches, single posts, and more than "
            f"it can take for {seconds:.0f} s."
        )
    if "recall" in results:
        pairs = sum(row["pairs"] for row in results["recall"])
        yield f"Recall on {pairs:,} pairs of sentences of known exact score."
    sets = {row["set"]: None for name in ("documents", "passages") for row in results.get(name, ())}
    if sets:
        yield f"Documents and passages of labelled sets from outside: {_join(_words(sets))}."
    if "sentences" in results:
        count = len({language_of(name) for name in results["sentences"]} - {"mean"})
        yield f"Borders of sentences in {count} languages."


def list_wins(results: Mapping[str, Any]) -> Iterator[str]:
    """Say where the results are better than those of others, or as promised."""
    if "peers" in results:
        rows = [row for row in results["peers"]["rows"] if "recall" in row and row["times"] > 1]
        exact = [row for row in rows if row["recall"] >= _LEAST_RECALL]
        fastest = {
            id(row): (row, told)
            for told, some in (("of all that are slower", rows), ("that finds as much", exact))
            for row in sorted(some, key=lambda row: float(row["times"]))[:1]
        }
        for row, told in fastest.values():
            yield (
                f"{row['times']:.1f} times as fast as {name_of_peer(row)}, the fastest peer "
                f"{told}, file to file on one thread."
            )
    same = [row for row in results.get("datasketch", ()) if row["same_answer"]]
    if same:
        times = [f"{row['times_datasketch']:.0f} times on {row['workload']}" for row in same]
        yield f"The same answer as datasketch, faster: {_join(times)} text."
    for threads, exponent in fit_growth(results.get("growth", ())).items():
        if exponent is not None and exponent <= 1:
            yield (
                f"With {_threads(threads)} time grows no faster than the text, to the power of "
                f"{exponent:.2f}."
            )
    if "memory" in results and all(row["same_bytes"] for row in results["memory"]):
        yield "The same bytes with any amount of memory."
    for what, promised, reached, is_kept in _list_all_promises(results):
        if is_kept:
            yield f"{what}: {reached}, promised {promised}."
    for aspect, _, behind in _hold_stores_against_index(results):
        if behind:
            yield f"{WHOLE}, text and map and all, is better in {aspect} than {_join(behind)}."
    if results.get("promise", {}).get("holds"):
        row = results["promise"]
        yield (
            f"The stated recall holds: {row['missed']:,} of {row['pairs']:,} pairs near the "
            f"threshold missed, {row['expected_missed']:.0f} expected."
        )
    if "precision" in results and results["precision"]["below_threshold"] == 0:
        yield (
            f"Each of {results['precision']['removals']:,} removals scores at or above the "
            "threshold, checked by plain sets."
        )
    good = [row for row in _whole_estimates(results) if row["rmse"] <= _MOST_ERROR * row["theory"]]
    if good:
        errors = [f"{row['slots']} slots {row['rmse']:.4f} ({row['theory']:.4f})" for row in good]
        yield f"Signatures err no more than theory says: {_join(errors)}."
    ahead = [
        f"{category} {score:.3f} ({best:.3f}, {system})"
        for category, score, system, best in _held_against_published(results)
        if score >= best
    ]
    if ahead:
        yield f"{_PUBLISHED}, found better: {_join(ahead)}."
    for row in results.get("passages", ()):
        if row["category"] == "none" and row["found"] == 0:
            yield f"No false passage in {row['pairs']:,} pairs of {row['set']} that share nothing."
    if "sentences" in results:
        yield f"Borders of sentences: mean F1 {results['sentences']['mean']:.3f}, Thai apart."


def list_losses(results: Mapping[str, Any]) -> Iterator[str]:
    """Say where others are better, a promise is broken, or much is missed."""
    yield from _list_peer_losses(results.get("peers", {"rows": ()}))
    planted = results.get("planted_peers", {}).get("rows", ())
    if ours := _find_ours(planted):
        for row in planted:
            name = name_of_peer(row)
            if row.get("truth_recall", 0) > ours["truth_recall"]:
                shares = f"{row['truth_recall']:.2%}, ours {ours['truth_recall']:.2%}"
                yield f"{name} finds more of the planted repeats: {shares}."
            if row.get("wrong", 1) < ours["wrong"]:
                shares = f"{row['wrong']:.2%}, ours {ours['wrong']:.2%}"
                yield f"{name} removes less that repeats nothing: {shares}."
    yield from _list_growth_losses(results.get("growth", []))
    if results.get("corpus", {}).get("times_floor", 0) > 1:
        yield (
            f"{results['corpus']['times_floor']:.1f} times the time of reading and writing the "
            "same rows and nothing between."
        )
    past = [
        f"{row['peak_mb']:,.0f} MB under a limit of {row['limit_mb']:,.0f}"
        for row in results.get("memory", ())
        if row["limit_mb"] is not None and row["peak_mb"] > row["limit_mb"]
    ]
    if past:
        yield f"Peak memory past its limit, the program itself included: {_join(past)}."
    if start := results.get("start"):
        first = f", {start['first']:.0f} s the first time" if "first" in start else ""
        yield f"The command takes {start['later']:.1f} s for a text of 3 KB{first}."
    for what, promised, reached, is_kept in _list_all_promises(results):
        if not is_kept:
            yield f"{what}: {reached}, promised {promised}."
    for build in results.get("index", {}).get("builds", ()):
        if build["last_tenth_mb_s"] < (1 - _MOST_SLOWED) * build["first_tenth_mb_s"]:
            yield (
                f"An index that grows to {build['units']:,} units takes "
                f"{build['first_tenth_mb_s']:.1f} MB/s at first, {build['last_tenth_mb_s']:.1f} "
                "in the end."
            )
    for aspect, ahead, _ in _hold_stores_against_index(results):
        if ahead:
            yield f"Better in {aspect} than {WHOLE}, text and map and all: {_join(ahead)}."
    yield from _list_quality_losses(results)
    yield from _list_labelled_losses(results)


def _list_all_promises(results: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Yield what is promised of an index and of the service, told with of which."""
    for name, told, promises in (
        ("index", "An index", list_promises),
        ("service", "The service", list_load_promises),
        ("soak", "The service", list_soak_promises),
    ):
        if name in results:
            for what, promised, reached, is_kept in promises(results[name]):
                yield f"{told}: {what}", promised, reached, is_kept


def _hold_stores_against_index(
    results: Mapping[str, Any],
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield an aspect, the stores that are better than the index in it, and those that are not."""
    rows = results.get("stores", {}).get("rows", ())
    index = next((row for row in rows if row["name"] == WHOLE), None)
    if index is None:
        return
    aspects: dict[str, Callable[[Mapping[str, Any]], float]] = {
        "putting in": lambda row: float(row["keys"] / row["seconds"]),
        "looking up": lambda row: float(row["look_ups"]),
    }
    for aspect, speed in aspects.items():
        times = {row["name"]: speed(row) / speed(index) for row in rows if row is not index}
        yield (
            aspect,
            [f"{name} ({some:.1f} times)" for name, some in times.items() if some > 1],
            [f"{name} ({1 / some:.1f} times)" for name, some in times.items() if some <= 1],
        )


def _list_peer_losses(part: Mapping[str, Any]) -> Iterator[str]:
    rows = part["rows"]
    peers = [row for row in rows if "recall" in row]
    for row in peers:
        if row["times"] < 1:
            yield (
                f"{name_of_peer(row)} is {1 / row['times']:.1f} times as fast, and finds "
                f"{row['recall']:.0%} of what ours does."
            )
    ours = _find_ours(rows)
    if not ours:
        return
    sketching = {
        name_of_peer(row): ours["seconds"] / (row["seconds"] - row["shingling_seconds"])
        for row in peers
        if row["times"] >= 1 and row.get("shingling_seconds")
    }
    for name, times in sketching.items():
        if times > 1:
            yield f"{name}, its shingling in Python not counted, is {times:.1f} times as fast."
    first = f"The first {part.get('warm_mb', 0):g} MB in a new process"
    for key, told, unit in (
        ("peak_mb", "Peak memory", "{:,.0f} MB"),
        ("first_seconds", first, "{:.2f} s"),
    ):
        less = [row for row in peers if row.get(key, ours.get(key, 0)) < ours.get(key, 0)]
        less.sort(key=lambda row: float(row[key]))
        if less:
            named = [f"{name_of_peer(row)} {unit.format(row[key])}" for row in less]
            yield f"{told}: ours {unit.format(ours[key])}, less with {_join(named)}."


def _list_growth_losses(rows: list[dict[str, Any]]) -> Iterator[str]:
    for threads, exponent in fit_growth(rows).items():
        if exponent is not None and exponent > 1:
            yield (
                f"With {_threads(threads)} time grows faster than the text, to the power of "
                f"{exponent:.2f}."
            )
    speeds = {(row["threads"], row["size_mb"]): row["mb_s"] for row in rows}
    for threads in sorted({row["threads"] for row in rows}):
        some = {size: speed for (count, size), speed in speeds.items() if count == threads}
        best, largest = max(some, key=lambda size: some[size]), max(some)
        if some[largest] < (1 - _MOST_SLOWED) * some[best]:
            yield (
                f"With {_threads(threads)} {some[largest]:.0f} MB/s at {largest:,.0f} MB, "
                f"{some[best]:.0f} at {best:,.0f} MB."
            )
        gain = some[largest] / speeds.get((1, largest), some[largest])
        if threads > 1 and gain < _LEAST_GAIN * threads:
            yield (
                f"{_threads(threads)} are only {gain:.1f} times as fast as 1 at {largest:,.0f} MB."
            )


def _list_quality_losses(results: Mapping[str, Any]) -> Iterator[str]:
    if not results.get("promise", {"holds": True})["holds"]:
        yield "More pairs are missed than the stated recall says."
    wrong = results.get("precision", {}).get("wrong", ())
    if wrong:
        told = [f"{row['removals']:,} of {row['kind']}" for row in wrong]
        yield f"Removals of what says something else: {_join(told)}."
    lightest: dict[str, float] = {}
    for row in results.get("kinds", {}).get("by_kind", ()):
        lightest.setdefault(row["kind"], row["recall"])
    weak = {kind: share for kind, share in lightest.items() if share < _LEAST_GONE}
    if weak:
        told = [f"{kind} {weak[kind]:.0%}" for kind in sorted(weak, key=lambda kind: weak[kind])]
        yield f"Planted copies that stay although edited least; what goes: {_join(told)}."
    for row in _whole_estimates(results):
        if row["rmse"] > _MOST_ERROR * row["theory"]:
            yield (
                f"Signatures of {row['slots']} slots err by {row['rmse']:.4f}, in theory "
                f"{row['theory']:.4f}."
            )


def _list_labelled_losses(results: Mapping[str, Any]) -> Iterator[str]:
    behind = [
        f"{category} {score:.3f} ({best:.3f}, {system})"
        for category, score, system, best in _held_against_published(results)
        if score < best
    ]
    if behind:
        yield f"{_PUBLISHED}, found worse: {_join(behind)}."
    missed = [
        f"{row['set'].replace('_', ' ')} {row['category']} {row['recall']:.0%}"
        for row in results.get("passages", ())
        if "recall" in row
        and "plagdet" not in row
        and row["recall"] < _LEAST_PASSAGES
        # Parts of what stands under "entire".
        and not row["category"].startswith("ratio")
    ]
    if missed:
        yield f"Passages mostly missed: {_join(missed)}."
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for row in results.get("documents", ()):
        if row.get("method") == "dedup":
            sets.setdefault(row["set"], []).append(row)
    for name, rows in sets.items():
        best = max(rows, key=lambda row: row["b_cubed_f1"])
        for row in rows:
            is_default = row["threshold"] == results["options"]["threshold"] and row["numbers"]
            if is_default and best["b_cubed_f1"] - row["b_cubed_f1"] > _MOST_MISSED:
                yield (
                    f"Documents of {name.replace('_', ' ')}: B-cubed F1 {row['b_cubed_f1']:.2f} "
                    f"by default, {best['b_cubed_f1']:.2f} at a threshold of "
                    f"{best['threshold']:g}"
                    + ("." if best["numbers"] else " without the guard on numbers.")
                )
    scores = results.get("sentences", {})
    low = [
        name
        for name in sorted(scores, key=lambda name: scores[name])
        if scores[name] < _LEAST_BORDERS and name != "mean"
    ]
    if low:
        told = [f"{language_of(name)} {scores[name]:.2f}" for name in low]
        yield f"Borders of sentences, F1: {_join(told)}."
    rules = {lang: held.split(" of ") for lang, held in results.get("golden_rules", {}).items()}
    broken = [
        f"{language_of(lang)} {held} of {of}"
        for lang, (held, of) in rules.items()
        if 2 * int(held) <= int(of)
    ]
    if broken:
        yield f"Golden rules of which at most half hold: {_join(broken)}."


def _held_against_published(
    results: Mapping[str, Any],
) -> Iterator[tuple[str, float, str, float]]:
    """Yield category, our plagdet, the best system published and its plagdet."""
    for category, row in passages_of_pan(results).items():
        published = PUBLISHED_PLAGDET[category]
        system = max(published, key=lambda name: published[name])
        yield category, row["plagdet"], system, published[system]


def _whole_estimates(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in results.get("estimator", ()) if "datasketch_rmse" in row]


def _find_ours(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["name"].startswith("dedup")), None)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _words(names: Iterable[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _join(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _render_list(heading: str, kind: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>\n" for line in lines)
    attribute = f' class="{kind}"' if kind else ""
    return (
        f"<section{attribute}>\n<h2>{heading}</h2>\n<ul>\n"
        f"{items or '<li>nothing measured</li>'}</ul>\n</section>\n"
    )


def _render_part(name: str, results: Mapping[str, Any], plots: Mapping[str, bytes]) -> str:
    # Causes of failures may look like tags.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = str(markdown.render(render_part(name, results)))
    text = text.replace("<table>", '<div class="wide"><table>')
    text = text.replace("</table>", "</table></div>").replace("<td>dedup", "<td data-ours>dedup")
    title = TITLES[name]
    image = ""
    if name in plots:
        data = base64.b64encode(plots[name]).decode()
        image = (
            f'<figure><img alt="Plot: {title}. The text below has its figures." width="900" '
            f'src="data:image/png;base64,{data}"></figure>\n'
        )
    measured = results.get("measured", {}).get(name)
    told = (
        f'<p class="soft">Measured at commit {html.escape(measured["commit"])} '
        f"in {measured['seconds']:,.0f} s.</p>\n"
        if measured
        else ""
    )
    return f'<h3 id="{name}">{title}</h3>\n{image}{text}{told}'
