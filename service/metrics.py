"""Metrics for Prometheus: what was asked, how long it took, what was found, how much there is."""

import os
from collections import Counter as Count
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dedup.results import Result

Sizes = Callable[[], Mapping[str, Mapping[str, int]]]

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DOCUMENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Of what an index counts, what is a size.
_SIZES: Final = ("documents", "units", "duplicates", "chars", "postings", "bytes")


class Metrics:
    """Counters of one process; of all of them where several answer.

    Parameters
    ----------
    sizes
        Returns the figures of each open collection; called when metrics are read.
    jobs
        Returns how many jobs there are in each state.
    """

    def __init__(self, sizes: Sizes, jobs: Callable[[], Mapping[str, int]]) -> None:
        registry = CollectorRegistry()
        self._requests = Counter(
            "dedup_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "dedup_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._documents = Counter("dedup_documents", "Documents put in.", registry=registry)
        self._chars = Counter("dedup_chars", "Code points of them.", registry=registry)
        self._units = Counter("dedup_units", "Units of them.", registry=registry)
        self._duplicates = Counter(
            "dedup_duplicates", "Units that are duplicates.", ["kind"], registry=registry
        )
        self._commits = Histogram(
            "dedup_commit_documents",
            "Documents put in together.",
            buckets=_DOCUMENTS,
            registry=registry,
        )
        self._queue = Gauge(
            "dedup_queue_requests",
            "Requests that wait.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        # The files of all processes, where there are several.
        is_shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._registry = CollectorRegistry() if is_shared else registry
        if is_shared:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._registry.register(_Sizes(sizes, jobs))

    def count_request(
        self, method: str, route: str, status: int, seconds: float, waiting: int
    ) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._queue.set(waiting)

    def count_results(self, results: Sequence[Result]) -> None:
        """Count what one commit put in."""
        self._commits.observe(len(results))
        self._documents.inc(len(results))
        self._chars.inc(sum(one.stats.chars for one in results))
        self._units.inc(sum(one.stats.units for one in results))
        kinds = Count(row.kind for one in results for row in one.duplicates)
        for kind, count in kinds.items():
            self._duplicates.labels(kind).inc(count)

    def write(self) -> tuple[bytes, str]:
        """Return what Prometheus reads, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_1_0_0


class _Sizes(Collector):
    """Figures that are looked up when they are read."""

    def __init__(self, sizes: Sizes, jobs: Callable[[], Mapping[str, int]]) -> None:
        self._sizes, self._jobs = sizes, jobs

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield them."""
        sizes = self._sizes()
        for name in _SIZES:
            gauge = GaugeMetricFamily(
                f"dedup_collection_{name}", f"{name.capitalize()} of a collection.", None, ["name"]
            )
            for collection, values in sizes.items():
                gauge.add_metric([collection], values[name])
            yield gauge
        jobs = GaugeMetricFamily("dedup_jobs", "Jobs that are kept.", None, ["state"])
        for state, count in self._jobs().items():
            jobs.add_metric([state], count)
        yield jobs
