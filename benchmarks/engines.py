"""Each model by `--engine auto` after `zoo tune`, and by each engine alone: rows/s, side by side.

    python benchmarks/engines.py          # writes benchmarks/results/engines.json

The engines alone are what one writes with their own packages: the shipped `model.onnx`, all
outputs, their default settings and one thread. All take turns in one process, in another order
each time, with a pause between two, in which threads that wait in busy loops come to rest. Needs
the extra `openvino`; takes some minutes.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from typing import Any

import measure
import numpy as np
import onnxruntime as ort
import openvino
from numpy.typing import NDArray

from zoo import Session, hardware
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle, shipped
from zoo.evaluation import tuning
from zoo.evaluation.evaluate import dataset
from zoo.runtime import choices

#: Two sessions of one file differ by some percent, by where their memory lies: each is opened
#: several times.
OPENED = 5
ROUNDS, SECONDS, PAUSE = 4, 0.1, 0.03

Run = Callable[[NDArray[Any]], Any]


def main() -> None:
    """Tune, measure, print and write."""
    bundles = [Bundle.open(name) for name in shipped()]
    models = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        tunings = {each.model: each for each in tuning.tune(bundles)}
        for bundle in bundles:
            name = bundle.card.name
            models[name] = compare(bundle, tunings[name])
            for batch, found in models[name].items():
                speeds = found["rows_per_second"].values()
                medians = (f"{each['median']:>10,.0f}" for each in speeds)
                share = f"{found['ours_to_best']:>7}"
                print(f"{name:<10}{batch:>4}", *medians, share, found["auto"])
    result = {
        "command": "python benchmarks/engines.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "openvino", "numpy"),
        "rounds": OPENED * ROUNDS,
        "models": models,
    }
    measure.write("engines", result)


def compare(bundle: Bundle, tuned: choices.Tuning) -> dict[str, Any]:
    """Return the rows/s of a model for each batch size, and ours as a share of the best alone."""
    inputs = dataset(bundle).test.inputs
    speeds: dict[int, dict[str, list[float]]] = {batch: {} for batch in choices.BATCHES}
    for opened in range(OPENED):
        runs = contenders(bundle)
        for batch in choices.BATCHES:
            rows = np.resize(inputs, (batch, *inputs.shape[1:]))
            for turn in range(ROUNDS + 1):
                # What ran before has its part in the clock and the caches.
                order = random.Random(100 * opened + turn).sample(list(runs), len(runs))
                for side in order:
                    time.sleep(PAUSE)
                    rate = rows_per_second(runs[side], rows)
                    if turn:  # the first is the warm-up
                        speeds[batch].setdefault(side, []).append(rate)
    results = {}
    for batch in choices.BATCHES:
        figures = {side: measure.spread(speeds[batch][side], 0) for side in runs}
        best = max(each["median"] for side, each in figures.items() if side != "zoo")
        way = tuned.choose(batch)
        results[str(batch)] = {
            "ours_to_best": round(figures["zoo"]["median"] / best, 3),
            "auto": f"{way.engine} {way.file} {way.threads}",
            "rows_per_second": figures,
        }
    return results


def contenders(bundle: Bundle) -> dict[str, Run]:
    """Return how to run a model: by the zoo, and by each engine alone."""
    graph, name = bundle.read(ONNX), bundle.card.inputs[0].name
    runs: dict[str, Run] = {"zoo": Session(bundle, engine="auto", device="cpu").run}
    for threads in (0, 1):  # 0: its default
        suffix = ", 1 thread" if threads else ""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        runs[f"ONNX Runtime{suffix}"] = bare(session, name)
        settings = {"INFERENCE_NUM_THREADS": threads} if threads else {}
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(bundle.path / ONNX), "CPU", settings)
        runs[f"OpenVINO{suffix}"] = request(compiled.create_infer_request(), name)
    return runs


def bare(session: ort.InferenceSession, name: str) -> Run:
    """Return a run of ONNX Runtime alone."""
    return lambda rows: session.run(None, {name: rows})


def request(infer: openvino.InferRequest, name: str) -> Run:
    """Return a run of OpenVINO alone; its outputs are views of the request's memory."""
    return lambda rows: infer.infer({name: rows}).to_tuple()


def rows_per_second(run: Run, rows: NDArray[Any]) -> float:
    """Return how many rows a second a run takes."""
    count, began = 0, time.perf_counter()
    while True:
        run(rows)
        count += 1
        if (elapsed := time.perf_counter() - began) >= SECONDS:
            return count * len(rows) / elapsed


if __name__ == "__main__":
    main()
