"""`zoo tune`: every way to run a model on this machine's CPU, measured and kept.

The ways are ONNX Runtime with each ONNX file of the bundle and, where it is installed, OpenVINO,
with one thread to all cores. They take turns, so that a machine whose speed drifts is unfair to
none.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo import hardware
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.datasets import Split
from zoo.errors import ZooError
from zoo.evaluation import evaluate, metrics
from zoo.progress import Bar
from zoo.runtime import choices
from zoo.runtime.choices import BATCHES, Result, Tuning
from zoo.runtime.session import Session

ROUNDS = 9
#: Seconds before each measurement, in which the threads of the one before stop to wait busily.
_PAUSE = 0.02
#: Engine, file, threads.
Way = tuple[str, str, int]


def tune(bundles: Sequence[Bundle], seconds: float = 0.05) -> list[Tuning]:
    """Measure bundles and keep the results for `Session(engine="auto")`.

    Args:
        bundles: what to measure; each on the whole test set of its own data for the score. Where
            that is not at hand, a line says so, and only threads are chosen: any other engine or
            file could be less accurate.
        seconds: of one of the seven measurements of a way at a batch size.

    Raises:
        VerificationError, DeviceError: as `Session`.
    """
    tunings = []
    with Bar("tune", len(bundles), unit="models") as bar:
        for bundle in bundles:
            choices.write(bundle, _measure(bundle, seconds))
            tuning = choices.read(bundle)
            assert tuning is not None
            tunings.append(tuning)
            bar.advance(1, bundle.card.name)
    return tunings


def ways(bundle: Bundle) -> Iterator[Way]:
    """Yield the ways to run a bundle: engine, file, threads (1, 2, 4, ... and all cores)."""
    cores = hardware.cores()
    for count in sorted({cores, *(1 << bits for bits in range(cores.bit_length()))}):
        for file in choices.onnx_files(bundle):
            yield "onnx", file, count
        if find_spec("openvino") is not None:
            yield "openvino", ONNX, count


def _measure(bundle: Bundle, seconds: float) -> list[Result]:
    spec, tried = bundle.card.inputs[0], list(ways(bundle))
    try:
        test = evaluate.dataset(bundle).test
        inputs = test.inputs
    except ZooError as error:
        print(f"{bundle.card.name}: {error}; only threads are chosen", file=sys.stderr)
        test, inputs = None, np.ones((BATCHES[-1], *spec.row), spec.dtype)
        tried = [way for way in tried if way[:2] == ("onnx", ONNX)]
    sessions = {
        way: Session(bundle, engine=way[0], file=way[1], threads=way[2], device="cpu")
        for way in tried
    }
    scores = {way: _score(bundle, session, test) for way, session in sessions.items()}
    speeds: dict[Way, tuple[list[float], list[float]]] = {way: ([], []) for way in sessions}
    for turn in range(ROUNDS + 1):
        for number, batch in enumerate(BATCHES):
            rows = np.resize(inputs, (batch, *spec.row))
            for way, session in sessions.items():
                time.sleep(_PAUSE)
                rate = _rate(session, rows, seconds)
                if turn:  # the first round is the warm-up
                    speeds[way][number].append(rate)
    return [
        Result(*way, scores[way], (statistics.median(first), statistics.median(second)))
        for way, (first, second) in speeds.items()
    ]


def _score(bundle: Bundle, session: Session, test: Split | None) -> float:
    if test is None:
        return 0.0
    measured = metrics.measure(bundle.card.task, session.run(test.inputs)[0], test.targets)
    return measured.get("accuracy", measured.get("r2", 0.0))


def _rate(session: Session, rows: NDArray[Any], seconds: float) -> float:
    runs, began = 0, time.perf_counter()
    while True:
        session.run(rows)
        runs += 1
        if (elapsed := time.perf_counter() - began) >= seconds:
            return runs * len(rows) / elapsed


def plot(tunings: Sequence[Tuning], path: Path) -> None:
    """Draw for each model how fast each engine is, relative to ONNX Runtime as without a tuning."""
    from zoo.plots import bars

    rows: dict[str, dict[str, float]] = {}
    for tuning in tunings:
        for number, batch in enumerate(BATCHES):
            plain = [each for each in tuning.results if each.plain]
            base = max(plain, key=lambda each: each.threads).rows_per_second[number]
            kinds = rows.setdefault(f"{tuning.model}, batch {batch}", {})
            for each in tuning.results:
                kind = each.engine if each.file == ONNX else f"{each.engine} {each.file[6:-5]}"
                kinds[kind] = max(kinds.get(kind, 0.0), each.rows_per_second[number] / base)
    bars(rows, path, title=hardware.processor(), x="rows/s, times ONNX Runtime's")
