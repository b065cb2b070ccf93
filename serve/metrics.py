"""Prometheus metrics of the server, per model; summed over the worker processes.

Where no other process reads them, requests and batches are noted in a list, and counted together
when the metrics are read: one at a time, that took a twentieth of a small request's CPU time.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: The environment variable with the folder in which several processes share their metrics.
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
_LATENCY = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
#: Notes that are counted at once, at the latest.
_NOTES = 1000


class Metrics:
    """The server's counters; `done` and `batch` are called on the hot path."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ["model"]
        self._requests = Counter(
            "zoo_requests_total", "Requests answered.", ["model", "code"], registry=self._registry
        )
        self._errors = Counter(
            "zoo_errors_total", "Requests answered with 4xx or 5xx.", labels,
            registry=self._registry,
        )  # fmt: skip
        self._latency = Histogram(
            "zoo_request_seconds", "Seconds from the start of a request to its answer.", labels,
            buckets=_LATENCY, registry=self._registry,
        )  # fmt: skip
        self._rows = Histogram(
            "zoo_batch_rows", "Rows in a batch.", labels, buckets=_BATCH, registry=self._registry
        )
        self._depth = Gauge(
            "zoo_queue_depth", "Requests in the queue.", labels, registry=self._registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._depths: dict[str, Callable[[], int]] = {}
        self._shared = MULTIPROCESS in os.environ
        self._answered: list[tuple[str, int, float]] = []
        self._batches: list[tuple[str, int]] = []

    def add_model(self, name: str, depth: Callable[[], int]) -> Callable[[int], None]:
        """Create a model's series, all at 0; return the function to call with each batch's rows."""
        self._depths[name] = depth
        for metric in (self._latency, self._errors, self._rows):
            metric.labels(name)
        return partial(self._batch, name)

    def done(self, model: str, code: int, seconds: float) -> None:
        """Count an answered request; a model that is not served counts as "-"."""
        self._answered.append((model, code, seconds))
        self._noted(len(self._answered))

    def _batch(self, model: str, rows: int) -> None:
        self._batches.append((model, rows))
        self._noted(len(self._batches))

    def _noted(self, number: int) -> None:
        if self._shared or number >= _NOTES:
            self._count()

    def _count(self) -> None:
        answered, self._answered = self._answered, []
        batches, self._batches = self._batches, []
        seconds, rows = defaultdict(list), defaultdict(list)
        for model, _, duration in answered:
            seconds[model].append(duration)
        for model, size in batches:
            rows[model].append(float(size))
        for (model, code), number in Count((model, code) for model, code, _ in answered).items():
            self._requests.labels(model, str(code)).inc(number)
            if code >= 400:
                self._errors.labels(model).inc(number)
        for model, durations in seconds.items():
            if model in self._depths:
                _observe(self._latency.labels(model), _LATENCY, durations)
        for model, sizes in rows.items():
            _observe(self._rows.labels(model), _BATCH, sizes)

    def refresh(self) -> None:
        """Count, and set the gauges; with several workers each does so, whichever is scraped."""
        self._count()
        for name, depth in self._depths.items():
            self._depth.labels(name).set(depth())

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        self.refresh()
        # without the folder, which a cleaner of /tmp may take away: this process's own
        if not os.path.isdir(os.environ.get(MULTIPROCESS, "")):
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        # prometheus_client leaves this one untyped
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _observe(histogram: Histogram, bounds: Sequence[float], values: list[float]) -> None:
    """Add values to a histogram, each bucket once; its public method adds one value."""
    histogram._sum.inc(sum(values))
    for bucket, number in Count(bisect_left(bounds, value) for value in values).items():
        histogram._buckets[bucket].inc(number)  # the last one is that of infinity
