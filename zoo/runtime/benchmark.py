"""`zoo benchmark`: rows/s and latency of sessions, by model, device and batch size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo import hardware
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
    models: Sequence[str],
    device: str = "auto",
    batches: Iterable[int] = BATCHES,
    seconds: float = 0.5,
    **options: Any,
) -> list[Measurement]:
    """Measure `Session.run` on random inputs.

    Args:
        models: names or paths of bundles.
        device: of the sessions; "auto" measures every one that is there.
        batches: rows in a run.
        seconds: for each measurement, after a tenth of that as warm-up.
        options: the session's others: `engine`, `threads`, `graphs`, `fp16`.

    Raises:
        DeviceError: a device that was named is not there.
    """
    found = []
    with Bar("benchmark", None, unit="runs") as bar:
        for model in models:
            for session in _sessions(model, device, options):
                for batch in batches:
                    found.append(_measure(session, batch, seconds))
                    last = found[-1]
                    bar.advance(last.runs, f"{model} {session.device} batch {batch}")
    return found


def _sessions(model: str, device: str, options: dict[str, Any]) -> Iterable[Session]:
    if device != "auto" or options.get("engine", "onnx") != "onnx":
        yield Session(model, device=device, **options)
        return
    for each in ("cpu", "cuda", "mps"):
        try:
            yield Session(model, device=each, **options)
        except DeviceError:
            if each == "cpu":
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


def report(found: Sequence[Measurement], engine: str) -> dict[str, Any]:
    """Return the measurements with hardware and versions, for JSON."""
    return {
        "engine": engine,
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "openvino", "numpy"),
        "measurements": [measurement._asdict() for measurement in found],
    }


def plot(found: Sequence[Measurement], path: Path) -> None:
    """Draw rows/s over the batch size, a line per model and device."""
    from zoo.plots import lines

    series: dict[str, tuple[list[float], list[float]]] = {}
    for each in found:
        xs, ys = series.setdefault(f"{each.model} ({each.device})", ([], []))
        xs.append(each.batch)
        ys.append(each.rows_per_second)
    lines(series, path, title=hardware.processor(), x="rows in a batch", y="rows/s")
