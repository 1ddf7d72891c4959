"""Parts of the benchmark: what each measures, and the key its results stand under."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import (
    comparison,
    durable,
    generator,
    labelled,
    plants,
    quality,
    service,
    speed,
    start,
    workloads,
)
from benchmarks.environments import PINS
from benchmarks.peers import PEERS
from benchmarks.scores import Passage
from benchmarks.stores import STORES
from benchmarks.workloads import Workload
from dedup.columns import Texts
from dedup.matches import list_matches
from dedup.options import Options
from dedup.passages import PassageOptions, find_passages

# Seeds of all that is made and not read.
SEEDS = {"planted": 1, "generated": 1, "pairs": 7}

AREAS = ("quality", "speed")

# Peers and stores that need no environment of their own.
LIGHT_PEERS = tuple(name for name, peer in PEERS.items() if peer.distribution not in PINS)
LIGHT_STORES = tuple(name for name, kind in STORES.items() if kind.distribution not in PINS)


@dataclass(frozen=True)
class Setting:
    """What parts are measured on.

    Attributes
    ----------
    data
        Folder of outside sets, laid out as its loaders say; it may be absent.
    quick
        Whether smaller texts and fewer rounds do.
    pythons
        Other interpreters to look for peers in.
    soak_minutes
        How long the service is asked all it can do, where it is not quick.
    """

    data: Path
    quick: bool = False
    pythons: Sequence[str] = ()
    soak_minutes: float = 2.0
    options: Options = field(default_factory=Options)

    @property
    def rounds(self) -> int:
        """Rounds of which the median counts."""
        return 1 if self.quick else 3

    @cached_property
    def natural(self) -> list[Workload]:
        """All natural text, nothing where there is none; or the beginning of each."""
        return workloads.natural(self.data, 1.0 if self.quick else 1e6)

    @property
    def parts(self) -> list[Workload]:
        """Natural text, planted text where there is none; to be grown."""
        return self.natural or [workloads.planted(10.0, SEEDS["planted"])]

    @cached_property
    def generated(self) -> generator.Generated:
        """Documents with planted repeats."""
        return generator.generate(0.5 if self.quick else 5.0, SEEDS["generated"])

    def sample(self, size_mb: float) -> Workload:
        """Return natural text of a size, planted text where there is none."""
        if self.natural:
            return workloads.mix(self.natural, size_mb)
        return workloads.planted(size_mb, SEEDS["planted"])


@dataclass(frozen=True)
class Part:
    """A part that is measured by itself.

    Attributes
    ----------
    measure
        Returns what stands under the part's name in the results.
    needs
        Folders of outside data without which there is nothing to measure.
    """

    area: str
    measure: Callable[[Setting], Any]
    needs: Sequence[str] = ()


def _measure_datasketch(setting: Setting) -> list[dict[str, Any]]:
    texts = [workloads.planted(1 if setting.quick else 3, SEEDS["planted"])]
    texts += [text for text in workloads.natural(setting.data, 2.0) if text.name == "eebo"]
    return [speed.compare_with_datasketch(text, setting.options, setting.rounds) for text in texts]


def _measure_stages(setting: Setting) -> list[dict[str, Any]]:
    size, rounds = (1.0, 1) if setting.quick else (10.0, 5)
    texts = [workloads.planted(size, SEEDS["planted"]), *workloads.natural(setting.data, size)]
    return [speed.measure_stages(text, setting.options, rounds) for text in texts]


def _measure_peers(setting: Setting) -> dict[str, Any]:
    names, size = (LIGHT_PEERS, 1.0) if setting.quick else (tuple(PEERS), 16.0)
    return comparison.compare_with_peers(
        setting.sample(size), setting.options, setting.rounds, setting.pythons, names
    )


def _measure_planted_peers(setting: Setting) -> dict[str, Any]:
    names, size = (LIGHT_PEERS, 0.5) if setting.quick else (tuple(PEERS), 2.0)
    made = generator.generate(size, SEEDS["generated"])
    return comparison.compare_with_peers(
        Workload("generated", made.documents),
        setting.options,
        1,
        setting.pythons,
        names,
        made.planted,
    )


def _find_passages(threads: int, options: PassageOptions | None = None) -> labelled.Find:
    """Return a finder of passages."""

    def find(documents: Sequence[str], reference_count: int) -> list[Passage]:
        texts = Texts.from_bytes([text.encode() for text in documents])
        numbers = [str(number) for number in range(len(texts))]
        matches = list_matches(texts, numbers, find_passages(texts, options, threads))
        return [
            Passage(
                int(match.document),
                match.start,
                match.stop,
                int(match.match.document),
                match.match.start,
                match.match.stop,
            )
            for match in matches
        ]

    return find


def _measure_trade(setting: Setting) -> list[dict[str, Any]]:
    threads = os.cpu_count() or 1
    return [
        {"options": name}
        | labelled.measure_pan(setting.data, _find_passages(threads, options), setting.quick)
        for name, options in plants.list_trades()
    ]


def _measure_growth(setting: Setting) -> list[dict[str, Any]]:
    sizes = [1.0, 8.0] if setting.quick else [10.0, 100.0, 1000.0]
    return comparison.measure_growth(setting.parts, sizes, setting.rounds)


def _measure_memory(setting: Setting) -> list[dict[str, Any]]:
    whole = sum(part.size_mb for part in setting.parts)
    return comparison.measure_memory(
        setting.parts, [2.0 * whole, whole, whole / 10], setting.rounds
    )


def _measure_index(setting: Setting) -> dict[str, Any]:
    units, singles = (100_000, 30) if setting.quick else (10_000_000, 300)
    return durable.measure_index(setting.parts, units, setting.rounds, singles)


def _measure_stores(setting: Setting) -> dict[str, Any]:
    if setting.quick:
        return durable.measure_stores(setting.parts, 50_000, 2.0, LIGHT_STORES)
    return durable.measure_stores(setting.parts, 1_000_000, 30.0)


def _measure_service(setting: Setting) -> dict[str, Any]:
    seconds, batches, overload_seconds = (1.0, 2, 3.0) if setting.quick else (20.0, 20, 60.0)
    return service.measure_service(setting.parts, seconds, batches, overload_seconds)


def _measure_soak(setting: Setting) -> dict[str, Any]:
    seconds = 20.0 if setting.quick else 60 * setting.soak_minutes
    return service.measure_soak(setting.parts, seconds)


def _measure_recall(setting: Setting) -> list[dict[str, Any]]:
    pairs = 4_000 if setting.quick else 40_000
    return quality.measure_recall(setting.options, pairs, SEEDS["pairs"])


PARTS = {
    "recall": Part("quality", _measure_recall),
    "promise": Part("quality", lambda at: quality.check_promise(at.options)),
    "kinds": Part("quality", lambda at: quality.measure_by_kind(at.generated, at.options)),
    "precision": Part("quality", lambda at: quality.measure_precision(at.generated, at.options)),
    "estimator": Part("quality", lambda at: quality.measure_estimator(at.options)),
    "documents": Part(
        "quality", lambda at: labelled.measure_documents(at.data, at.options, quick=at.quick)
    ),
    "passages": Part(
        "quality",
        lambda at: labelled.measure_passages(
            at.data, _find_passages(os.cpu_count() or 1), quick=at.quick
        ),
    ),
    "edits": Part("quality", lambda at: plants.measure_edits(at.quick)),
    "trade": Part("quality", _measure_trade, ["pan13"]),
    "sentences": Part("quality", lambda at: quality.measure_sentences(at.data), ["ersatz"]),
    "golden_rules": Part(
        "quality", lambda at: quality.measure_golden_rules(at.data), ["pysbd_golden"]
    ),
    "datasketch": Part("speed", _measure_datasketch),
    "stages": Part("speed", _measure_stages),
    "start": Part("speed", lambda at: start.measure_start(at.options, at.rounds, not at.quick)),
    "peers": Part("speed", _measure_peers),
    "planted_peers": Part("speed", _measure_planted_peers),
    "corpus": Part("speed", lambda at: speed.measure_corpus(at.natural, at.rounds), ["natural"]),
    "growth": Part("speed", _measure_growth),
    "memory": Part("speed", _measure_memory),
    "index": Part("speed", _measure_index),
    "stores": Part("speed", _measure_stores),
    "service": Part("speed", _measure_service),
    "soak": Part("speed", _measure_soak),
}
