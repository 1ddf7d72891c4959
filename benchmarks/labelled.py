"""Quality on labelled sets: whole documents by our engine, passages by any finder.

Sets that are not there are left out; `benchmarks.loaders.missing_sets` names
them. Every figure is of the texts as they are: nothing is tuned to a set.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import fold_sentences, to_task
from benchmarks.loaders import (
    AlignedTexts,
    LabelledTexts,
    PairedTexts,
    StanzaTexts,
    load_bible,
    load_clough_stevenson,
    load_core_2020,
    load_debian_copyright,
    load_horae_latin,
    load_impresso,
    load_mccormick,
    load_news_copy,
    load_pan13,
    load_published_pan,
    load_quran,
    load_scancode,
)
from benchmarks.peers import find_with_datasketch
from benchmarks.scores import (
    Passage,
    adjusted_rand,
    b_cubed,
    join_pairs,
    list_pairs,
    pair_scores,
    plagdet,
    recall_by_passage,
)
from dedup.columns import Texts
from dedup.duplicates import Duplicates, find_duplicates
from dedup.folding import fold_text
from dedup.options import Options
from dedup.units import Units, cut_units

# Takes texts and how many at the beginning are the reference: those need not be
# held against one another. 0 means that all are held against all.
Find = Callable[[Sequence[str], int], Iterable[Passage]]

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_QUICK_THRESHOLDS = (0.5, 0.7)

# Long texts that are a little like one another: without the guard, licences took
# 8 s at 0.5 and 3 at 0.7, articles 5 s at 0.4 and 0.6 at 0.5.
_LEAST_THRESHOLDS = {"mccormick": 0.5, "scancode": 0.7}

# What datasketch is given: it takes 2 MB a second, and finds what we find.
_PEER_SETS = ("mccormick", "impresso")

# Quick runs take so many documents of a set, pairs of each category of PAN, and
# these Bibles.
_QUICK_DOCUMENTS = 2500
_QUICK_PAIRS = 60
_QUICK_VERSIONS = ("en-kjv", "chi-cuv-simp")

_RATIO_STEPS = ((0.8, 1.01), (0.6, 0.8), (0.0, 0.6))


def measure_documents(
    folder: Path, options: Options | None = None, quick: bool = False
) -> list[dict[str, Any]]:
    """Measure how well whole documents that repeat others are found, by threshold.

    Each set is cleaned at every threshold with and without the numbers guard;
    documents are a cluster when one is the canonical of the other, or so joined
    over others. Datasketch's MinHashLSH does the same at the threshold of the
    options, its candidates scored exactly under our law. Last come the rows of
    `measure_answers`.

    Parameters
    ----------
    options
        What stays the same: the unit is the document.
    quick
        Two thresholds, the first 2,500 documents of a set, and no datasketch.

    Returns
    -------
    list
        Rows with `set`; `method`, ``dedup`` or ``datasketch``; `threshold`;
        `numbers`, whether the guard was on; `documents` and `size_mb` (10**6
        bytes); `duplicates`, those that go; `seconds` and `mb_s`, on one thread;
        `adjusted_rand`; `b_cubed_precision`, `b_cubed_recall`, `b_cubed_f1`. Sets
        of pairs have also `pair_precision`, `pair_recall` and `pair_f1`, of all
        pairs that are in one cluster. A row of datasketch has `same_answer`,
        whether the same documents go for the same others.
    """
    options = replace(options or Options(), unit="document")
    rows = []
    find_duplicates(*_cut(["one text"], options), options)
    for whole in _load_sets(folder):
        labelled = _first_documents(whole, _QUICK_DOCUMENTS) if quick else whole
        least = _LEAST_THRESHOLDS.get(labelled.name, 0.0)
        texts = Texts.from_bytes([text.encode() for text in labelled.texts])
        thresholds = _QUICK_THRESHOLDS if quick else THRESHOLDS
        for threshold, numbers in product(thresholds, (True, False)):
            if threshold >= least:
                tried = replace(options, threshold=threshold, numbers=numbers)
                start = time.perf_counter()
                units = cut_units(texts, "document")
                found = find_duplicates(texts, units, tried)
                seconds = time.perf_counter() - start
                pairs = _document_pairs(units, found)
                rows.append(_score_documents(labelled, "dedup", tried, pairs, seconds))
        if labelled.name in _PEER_SETS and not quick:
            rows.append(_measure_datasketch(labelled, texts, options))
    return rows + measure_answers(folder, options, quick)


def measure_answers(
    folder: Path, options: Options | None = None, quick: bool = False
) -> list[dict[str, Any]]:
    """Measure how much of an answer repeats its source, sentence by sentence.

    The sources are the reference; a sentence counts when its canonical is one of
    the source of its own question.

    Returns
    -------
    list
        For each threshold and class (``cut``, ``light``, ``heavy``, ``non``):
        `set`, `threshold`, `label`, `answers`, `share`, the mean share of the
        text (bytes of sentences), and `some`, the share of answers with any.
    """
    answers = load_clough_stevenson(folder)
    if answers is None:
        return []
    options = replace(options or Options(), unit="sentence")
    texts, units = _cut(answers.texts, options)
    document_of = np.repeat(np.arange(len(answers.texts)), np.diff(units.offsets))
    sizes = units.stops - units.starts
    sources = np.array(answers.sources)
    labels = np.array(answers.labels)
    rows = []
    for threshold in _QUICK_THRESHOLDS if quick else THRESHOLDS:
        tried = replace(options, threshold=threshold)
        found = find_duplicates(texts, units, tried, reference_count=answers.source_count)
        own = document_of[found.canonicals] == sources[document_of[found.units]]
        copied = np.zeros(len(units), np.bool_)
        copied[found.units[own]] = True
        count = len(answers.texts)
        repeated = np.bincount(document_of[copied], sizes[copied], count)
        shares = repeated / np.maximum(np.bincount(document_of, sizes, count), 1)
        for label in ("cut", "light", "heavy", "non"):
            some = shares[labels == label]
            rows.append(
                {
                    "set": "clough_stevenson",
                    "threshold": threshold,
                    "label": label,
                    "answers": len(some),
                    "share": float(some.mean()) if len(some) else None,
                    "some": float((some > 0).mean()) if len(some) else None,
                }
            )
    return rows


def measure_passages(folder: Path, find: Find, quick: bool = False) -> list[dict[str, Any]]:
    """Measure how well passages are found, on every labelled set of passages.

    The finder gets all documents of a set at once, references first, and returns
    passages of which `a` and `b` are numbers of documents, either way round.

    Parameters
    ----------
    quick
        60 pairs of each category of PAN, two Bibles, no Debian, of which the licences
        that stand in hundreds of places take most of the time.

    Returns
    -------
    list
        Rows with `set` and `category`. The first of a set, category ``run``, has
        `documents`, `size_mb`, `passages` (how many were found), `seconds` and
        `mb_s`. The others:

        PAN 2013 (``pan13`` and the corpora as published) and ``horae_latin``:
        what `plagdet` returns, for each category and ``entire``, of the passages
        found in judged pairs of documents; the others are neither right nor
        wrong, and the ``run`` row has their number, `unjudged`. A category is
        that of the pair. ``entire`` pools all categories, the clean pairs too.
        Category ``none``: `pairs` that share nothing, passages `found` in them,
        and in how many pairs, `found_pairs`.

        ``bible`` (each version by itself) and ``quran`` (by the ratio of the two
        sides): gold is incomplete, so recall alone. `gold`, `recall`, the mean
        share of characters of both sides, and `half`, the share of gold passages
        of which half was found.

        ``debian_copyright``: of the stanzas with the label and the folded text
        of an earlier one, `stanzas`, the mean share of characters that lie in a
        passage with another such stanza, or with a place to which a passage of
        another such stanza leads, `recall` (a finder may link all copies to one,
        and that one may stand where there are no labels); `half` by that; and the
        share in a passage with any place, `recall_anywhere`.
    """
    rows = []
    for aligned in _load_judged(folder):
        is_part = quick and len(aligned.texts) > _QUICK_DOCUMENTS
        rows += _measure_judged(take_pairs(aligned, _QUICK_PAIRS) if is_part else aligned, find)
    if bible := load_bible(folder):
        versions = _QUICK_VERSIONS if quick else sorted(set(bible.categories))
        for version in versions:
            part = _take_group(bible, version)
            found, run = _run(part.name, part.texts, 0, find)
            rows += [run | {"version": version}, _recall_row(part, found, version)]
    if quran := load_quran(folder):
        found, run = _run(quran.name, quran.texts, 0, find)
        rows += [run, _recall_row(quran, found, "entire")]
        for least, most in _RATIO_STEPS:
            some = [i for i, ratio in enumerate(quran.ratios) if least <= (ratio or 0) < most]
            label = f"ratio {least} to {min(most, 1.0)}"
            rows.append(_recall_row(quran, found, label, some))
    debian = None if quick else load_debian_copyright(folder)
    if debian:
        found, run = _run(debian.name, debian.texts, 0, find)
        rows += [run, _measure_stanzas(debian, found)]
    return rows


def measure_pan(folder: Path, find: Find, quick: bool = False) -> dict[str, Any]:
    """Measure passages on all categories of PAN 2013 together.

    Returns
    -------
    dict
        What `plagdet` returns, and `seconds`, `mb_s` and `size_mb` of the search.
    """
    pan = load_pan13(folder)
    if pan is None:
        return {}
    rows = _measure_judged(take_pairs(pan, _QUICK_PAIRS) if quick else pan, find)
    run = {name: rows[0][name] for name in ("seconds", "mb_s", "size_mb")}
    return run | next(row for row in rows if row["category"] == "entire")


def find_by_sentences(
    documents: Sequence[str], reference_count: int = 0, options: Options | None = None
) -> list[Passage]:
    """Find passages as runs of sentences that repeat others: what a finder has to better.

    A passage goes from the first to the last of consecutive duplicates whose
    canonicals are consecutive too; `a` is the side of the duplicates.
    """
    options = replace(options or Options(), unit="sentence")
    texts, units = _cut(documents, options)
    found = find_duplicates(texts, units, options, reference_count=reference_count)
    # Code points before each byte, and before each document.
    points = np.zeros(len(texts.data) + 1, np.int32)
    np.cumsum((texts.data & 0xC0) != 0x80, dtype=np.int32, out=points[1:])
    document_of = np.repeat(np.arange(len(documents)), np.diff(units.offsets))
    firsts = np.flatnonzero(np.diff(found.passages, prepend=-1))
    lasts = np.append(firsts[1:], len(found)) - 1 if len(firsts) else firsts
    columns: list[list[int]] = []
    for side in (found.units, found.canonicals):
        document = document_of[side[firsts]] if len(firsts) else firsts
        base = points[texts.offsets[document]]
        columns.append(document.tolist())
        columns.append((points[units.starts[side[firsts]]] - base).tolist())
        columns.append((points[units.stops[side[lasts]]] - base).tolist())
    return [Passage(*row) for row in zip(*columns, strict=True)]


def _load_sets(folder: Path) -> Iterator[LabelledTexts | PairedTexts]:
    loaders = (load_mccormick, load_scancode, load_impresso, load_core_2020)
    for load in loaders:
        labelled: LabelledTexts | PairedTexts | None = load(folder)
        if labelled:
            yield labelled
    yield from load_news_copy(folder)


def _first_documents(
    labelled: LabelledTexts | PairedTexts, count: int
) -> LabelledTexts | PairedTexts:
    if isinstance(labelled, PairedTexts):
        pairs = [pair for pair in labelled.pairs if max(pair) < count]
        return replace(
            labelled, ids=labelled.ids[:count], texts=labelled.texts[:count], pairs=pairs
        )
    return replace(
        labelled,
        ids=labelled.ids[:count],
        texts=labelled.texts[:count],
        labels=labelled.labels[:count],
    )


def _load_judged(folder: Path) -> Iterator[AlignedTexts]:
    if pan := load_pan13(folder):
        yield pan
    yield from load_published_pan(folder)
    if horae := load_horae_latin(folder):
        yield horae


def _cut(documents: Sequence[str], options: Options) -> tuple[Texts, Units]:
    texts = Texts.from_bytes([text.encode() for text in documents])
    return texts, cut_units(texts, options.unit)


def _document_pairs(units: Units, found: Duplicates) -> list[tuple[int, int]]:
    """Return duplicate and canonical, as numbers of documents (an empty one has no unit)."""
    documents = np.flatnonzero(np.diff(units.offsets))
    pairs = zip(documents[found.units], documents[found.canonicals], strict=True)
    return [(int(document), int(canonical)) for document, canonical in pairs]


def _score_documents(
    labelled: LabelledTexts | PairedTexts,
    method: str,
    options: Options,
    pairs: list[tuple[int, int]],
    seconds: float,
) -> dict[str, Any]:
    clusters = join_pairs(len(labelled.texts), pairs)
    size_mb = _size_mb(labelled.texts)
    row: dict[str, Any] = {
        "set": labelled.name,
        "method": method,
        "threshold": options.threshold,
        "numbers": options.numbers,
        "documents": len(labelled.texts),
        "size_mb": round(size_mb, 2),
        "duplicates": len(pairs),
        "seconds": seconds,
        "mb_s": size_mb / seconds,
    }
    if isinstance(labelled, PairedTexts):
        scores = pair_scores(labelled.pairs, list_pairs(clusters))
        row |= {f"pair_{name}": scores[name] for name in ("precision", "recall", "f1")}
        labels = labelled.label().labels
    else:
        labels = labelled.labels
    row["adjusted_rand"] = adjusted_rand(labels, clusters)
    return row | {f"b_cubed_{name}": score for name, score in b_cubed(labels, clusters).items()}


def _measure_datasketch(
    labelled: LabelledTexts | PairedTexts, texts: Texts, options: Options
) -> dict[str, Any]:
    units = cut_units(texts, "document")
    options = replace(options, stretches=False)
    found = find_duplicates(texts, units, options)
    sentences = fold_sentences(texts, units, found, options)
    start = time.perf_counter()
    peer = find_with_datasketch(sentences, to_task(options))
    seconds = time.perf_counter() - start
    mine = dict(zip(found.units.tolist(), found.canonicals.tolist(), strict=True))
    theirs = {unit: canonical for unit, (canonical, _) in peer.items()}
    documents = np.flatnonzero(np.diff(units.offsets))
    pairs = [(int(documents[one]), int(documents[other])) for one, other in theirs.items()]
    row = _score_documents(labelled, "datasketch", options, pairs, seconds)
    return row | {"same_answer": mine == theirs}


def _size_mb(texts: Iterable[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def _run(
    name: str, texts: Sequence[str], reference_count: int, find: Find
) -> tuple[list[Passage], dict[str, Any]]:
    start = time.perf_counter()
    found = list(find(texts, reference_count))
    seconds = time.perf_counter() - start
    size_mb = _size_mb(texts)
    return found, {
        "set": name,
        "category": "run",
        "documents": len(texts),
        "size_mb": round(size_mb, 2),
        "passages": len(found),
        "seconds": seconds,
        "mb_s": size_mb / seconds,
    }


def _measure_judged(aligned: AlignedTexts, find: Find) -> list[dict[str, Any]]:
    found, run = _run(aligned.name, aligned.texts, aligned.reference_count, find)
    by_category: dict[str, tuple[list[Passage], list[Passage]]] = {
        category: ([], []) for category in sorted(set(aligned.judged.values()))
    }
    for passage, category in zip(aligned.gold, aligned.categories, strict=True):
        by_category[category][0].append(passage)
    judged: dict[tuple[Hashable, Hashable], str] = dict(aligned.judged.items())
    unjudged = 0
    for passage in found:
        if (passage.a, passage.b) not in judged:
            passage = Passage(*passage[3:], *passage[:3])
        if pair_category := judged.get((passage.a, passage.b)):
            by_category[pair_category][1].append(passage)
        else:
            unjudged += 1
    rows = [run | {"unjudged": unjudged}]
    if "none" in by_category:
        clean = by_category["none"][1]
        rows.append(
            {
                "set": aligned.name,
                "category": "none",
                "pairs": sum(category == "none" for category in aligned.judged.values()),
                "found": len(clean),
                "found_pairs": len({(passage.a, passage.b) for passage in clean}),
            }
        )
    if len(by_category) > 1:
        gold = [passage for some, _ in by_category.values() for passage in some]
        by_category["entire"] = (
            gold,
            [passage for _, some in by_category.values() for passage in some],
        )
    return rows + [
        {"set": aligned.name, "category": category, **plagdet(some_gold, some_found)}
        for category, (some_gold, some_found) in by_category.items()
        if category != "none"
    ]


def _recall_row(
    aligned: AlignedTexts,
    found: Sequence[Passage],
    category: str,
    some: Sequence[int] | None = None,
) -> dict[str, Any]:
    gold = aligned.gold if some is None else [aligned.gold[i] for i in some]
    shares = np.array(recall_by_passage(gold, found, symmetric=True))
    return {
        "set": aligned.name,
        "category": category,
        "gold": len(gold),
        "recall": float(shares.mean()) if len(gold) else None,
        "half": float((shares >= 0.5).mean()) if len(gold) else None,
    }


def _measure_stanzas(debian: StanzaTexts, found: Sequence[Passage]) -> dict[str, Any]:
    families: dict[tuple[str, str], list[int]] = {}
    for i, stanza in enumerate(debian.stanzas):
        folded = fold_text(debian.texts[stanza.document][stanza.start : stanza.stop])
        families.setdefault((stanza.label, folded), []).append(i)
    sides: dict[Hashable, list[Passage]] = {}
    for passage in found:
        sides.setdefault(passage.a, []).append(passage)
        turned = Passage(*passage[3:], *passage[:3])
        sides.setdefault(turned.a, []).append(turned)
    spans = [Passage(s.document, s.start, s.stop, None, 0, 0) for s in debian.stanzas]
    # Passages of each stanza; one of a text with itself says nothing.
    meeting = [
        [side for side in sides.get(own.a, ()) if _overlap(side, own) and not _leads_to(side, own)]
        for own in spans
    ]
    within, anywhere = [], []
    for family in families.values():
        for i in family[1:]:
            places = [spans[mate] for mate in family if mate != i]
            places += [Passage(*side[3:], None, 0, 0)
                       for mate in family if mate != i for side in meeting[mate]]  # fmt: skip
            joined = [
                side for side in meeting[i] if any(_leads_to(side, place) for place in places)
            ]
            within.append(_share_covered(spans[i], joined))
            anywhere.append(_share_covered(spans[i], meeting[i]))
    count = len(within)
    return {
        "set": debian.name,
        "category": "stanza",
        "stanzas": count,
        "recall": sum(within) / count if count else None,
        "recall_anywhere": sum(anywhere) / count if count else None,
        "half": sum(share >= 0.5 for share in within) / count if count else None,
    }


def _overlap(one: Passage, other: Passage) -> bool:
    """Return whether the first sides of two passages overlap."""
    return one.a == other.a and one.a_start < other.a_stop and other.a_start < one.a_stop


def _leads_to(one: Passage, place: Passage) -> bool:
    """Return whether the second side of a passage overlaps the first of another."""
    return one.b == place.a and one.b_start < place.a_stop and place.a_start < one.b_stop


def _share_covered(own: Passage, sides: Iterable[Passage]) -> float:
    """Return the share of a span that the first sides of passages cover."""
    covered, reached = 0, own.a_start
    for start, stop in sorted((side.a_start, side.a_stop) for side in sides):
        covered += max(min(stop, own.a_stop) - max(start, reached), 0)
        reached = max(reached, min(stop, own.a_stop))
    return covered / max(own.a_stop - own.a_start, 1)


def _take_group(aligned: AlignedTexts, group: str) -> AlignedTexts:
    """Return the documents of a group, and the gold passages between them."""
    keep = [i for i, other in enumerate(aligned.groups) if other == group]
    return _take(aligned, keep, {})


def take_pairs(aligned: AlignedTexts, count: int) -> AlignedTexts:
    """Return the first judged pairs of each category, and their documents."""
    chosen: dict[tuple[int, int], str] = {}
    for category in sorted(set(aligned.judged.values())):
        pairs = (pair for pair, other in aligned.judged.items() if other == category)
        chosen |= dict.fromkeys(islice(pairs, count), category)
    return _take(aligned, sorted({document for pair in chosen for document in pair}), chosen)


def _take(
    aligned: AlignedTexts, keep: Sequence[int], judged: dict[tuple[int, int], str]
) -> AlignedTexts:
    """Return some documents, in order, with the gold passages and judged pairs among them."""
    new: dict[Hashable, int] = {document: i for i, document in enumerate(keep)}
    some = [
        i
        for i, passage in enumerate(aligned.gold)
        if passage.a in new
        and passage.b in new
        and (not judged or (passage.a, passage.b) in judged)
    ]
    gold = [aligned.gold[i] for i in some]
    return AlignedTexts(
        aligned.name,
        [aligned.ids[i] for i in keep],
        [aligned.texts[i] for i in keep],
        [aligned.groups[i] for i in keep],
        sum(i < aligned.reference_count for i in keep),
        [passage._replace(a=new[passage.a], b=new[passage.b]) for passage in gold],
        [aligned.categories[i] for i in some],
        [aligned.ratios[i] for i in some],
        {(new[a], new[b]): category for (a, b), category in judged.items()},
    )
