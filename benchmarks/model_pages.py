"""Latency, throughput and memory of every shipped model on the CPU, for the site's model pages.

    python benchmarks/model_pages.py          # writes benchmarks/results/model_pages.json

One measurement of each model in a process of its own: latency is that of `Session.run` at batch 1,
throughput that of the best batch size, memory the largest resident set of the process with the
session, without torch, at batch 256.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import measure
import numpy as np

from zoo import Session, hardware
from zoo.bundle.folder import Bundle, shipped
from zoo.runtime import benchmark

SECONDS = 2.0


def measure_one(name: str) -> dict[str, float]:
    """Measure one model in this process."""
    session = Session(name, device="cpu")
    spec = session.card.inputs[0]
    rows = np.random.default_rng(0).integers(0, 256, (256, *spec.row)).astype(spec.dtype)
    session.predict(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = benchmark.benchmark([Bundle.open(name)], device="cpu", seconds=SECONDS)
    single = next(each for each in found if each.batch == 1)
    best = max(found, key=lambda each: each.rows_per_second)
    return {
        "p50_ms": round(single.p50_ms, 4),
        "p99_ms": round(single.p99_ms, 4),
        "rows_per_second": round(best.rows_per_second),
        "batch": best.batch,
        "peak_rss_mib": round(peak),
    }


def main() -> None:
    """Measure each model in a process of its own, print and write."""
    if len(sys.argv) == 2:
        print(json.dumps(measure_one(sys.argv[1])))
        return
    models = {}
    for name in shipped():
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        models[name] = json.loads(done.stdout)
        print(f"{name:<12}{models[name]}")
    result = {
        "command": "python benchmarks/model_pages.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "numpy"),
        "models": models,
    }
    measure.write("model_pages", result)


if __name__ == "__main__":
    main()
