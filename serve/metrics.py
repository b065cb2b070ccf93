"""Prometheus metrics of the server, per model; summed over the worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable

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
        self._codes: dict[tuple[str, int], Counter] = {}
        self._latencies: dict[str, Histogram] = {}
        self._depths: dict[str, Callable[[], int]] = {}

    def add_model(self, name: str, depth: Callable[[], int]) -> Callable[[float], None]:
        """Create a model's series, all at 0; return the function to call with each batch's rows."""
        self._depths[name] = depth
        self._latencies[name] = self._latency.labels(name)
        self._errors.labels(name)
        return self._rows.labels(name).observe

    def done(self, model: str, code: int, seconds: float) -> None:
        """Count an answered request; a model that is not served counts as "-"."""
        if (counter := self._codes.get((model, code))) is None:
            counter = self._codes[model, code] = self._requests.labels(model, str(code))
        counter.inc()
        if code >= 400:
            self._errors.labels(model).inc()
        if (latency := self._latencies.get(model)) is not None:
            latency.observe(seconds)

    def refresh(self) -> None:
        """Set the gauges; with several workers each does so on its own, whichever is scraped."""
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
