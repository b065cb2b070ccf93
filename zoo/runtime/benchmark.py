"""`zoo benchmark`: rows/s and latency of sessions, by model, device and batch size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo import hardware
from zoo.bundle.folder import Bundle
from zoo.errors import DeviceError
from zoo.progress import Bar
from zoo.runtime.session import Session

BATCHES = (1, 8, 64, 256, 1024)


class Measurement(NamedTuple):
    """One model on one device at one batch size; latencies are of a whole batch, in ms."""

    model: str
    device: str
    batch: int
    rows_per_second: float
    p50_ms: float
    p99_ms: float
    runs: int


def benchmark(
    bundles: Sequence[Bundle],
    device: str = "auto",
    batches: Iterable[int] = BATCHES,
    seconds: float = 0.5,
    **options: Any,
) -> list[Measurement]:
    """Measure `Session.run` on random inputs.

    Args:
        bundles: what to measure.
        device: of the sessions; "auto" measures every available one.
        batches: rows in a run.
        seconds: of each measurement; a tenth of it is warm-up before.
        options: other options of `Session`: `engine`, `threads`, `graphs`, `fp16`.

    Raises:
        DeviceError: the named device is not available.
    """
    measurements = []
    with Bar("benchmark", None, unit="runs") as bar:
        for bundle in bundles:
            for session in _sessions(bundle, device, options):
                for batch in batches:
                    measurement = _measure(session, batch, seconds)
                    measurements.append(measurement)
                    bar.advance(
                        measurement.runs, f"{measurement.model} {session.device} batch {batch}"
                    )
    return measurements


def _sessions(bundle: Bundle, device: str, options: dict[str, Any]) -> Iterable[Session]:
    if device != "auto" or options.get("engine", "onnx") != "onnx":
        yield Session(bundle, device=device, **options)
        return
    for name in ("cpu", "cuda", "mps"):
        try:
            yield Session(bundle, device=name, **options)
        except DeviceError:
            if name == "cpu":
                raise


def _measure(session: Session, batch: int, seconds: float) -> Measurement:
    spec = session.card.inputs[0]
    shape = (batch, *spec.row)
    inputs = np.random.default_rng(0).integers(0, 256, shape).astype(spec.dtype)
    end = time.perf_counter() + seconds / 10
    while time.perf_counter() < end:
        session.run(inputs)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        session.run(inputs)
        times.append(time.perf_counter() - start)
    rate = batch * len(times) / (time.perf_counter() - began)
    ranked = sorted(times)
    return Measurement(
        session.card.name,
        session.device,
        batch,
        round(rate, 1),
        round(1000 * statistics.median(ranked), 4),
        round(1000 * ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))], 4),
        len(times),
    )


def latency(bundle: Bundle) -> Measurement:
    """Measure a bundle at batch 1 on the CPU, for a tenth of a second: what `zoo info` shows."""
    return _measure(Session(bundle, device="cpu"), 1, 0.1)


def report(measurements: Sequence[Measurement], engine: str) -> dict[str, Any]:
    """Return the measurements with hardware and versions, for JSON."""
    return {
        "engine": engine,
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "openvino", "numpy"),
        "measurements": [measurement._asdict() for measurement in measurements],
    }


def plot(measurements: Sequence[Measurement], path: Path) -> None:
    """Draw rows/s against batch size, one line per model and device."""
    from zoo.plots import lines

    series: dict[str, tuple[list[float], list[float]]] = {}
    for measurement in measurements:
        xs, ys = series.setdefault(f"{measurement.model} ({measurement.device})", ([], []))
        xs.append(measurement.batch)
        ys.append(measurement.rows_per_second)
    lines(series, path, title=hardware.processor(), x="rows in a batch", y="rows/s")
