"""Images per second of every shipped ONNX file through `zoo.Session`, on the CPU.

    python benchmarks/inference.py            # writes benchmarks/results/inference.json

Each model predicts the 10,000 test images (a table model: its rows, repeated to 10,000) several
times, the models in turn, so that a machine whose speed drifts is unfair to none.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from zoo import Session, cards, datasets, hardware

ROUNDS, ROWS = 7, 10_000
RESULT = Path(__file__).parent / "results" / "inference.json"


def main() -> None:
    """Measure, print and write."""
    work: dict[str, tuple[Session, Any]] = {}
    for name in cards.shipped():
        session = Session(name, device="cpu")
        inputs = datasets.load(session.card.dataset.name).test.inputs
        work[name] = (session, np.resize(inputs, (ROWS, *inputs.shape[1:])))
    speeds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(ROUNDS + 1):
        for name, (session, inputs) in work.items():
            began = time.perf_counter()
            session.predict(inputs)
            if turn:  # the first is the warm-up
                speeds[name].append(ROWS / (time.perf_counter() - began))
    result: dict[str, Any] = {
        "command": "python benchmarks/inference.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "numpy"),
        "images_per_second": {
            name: {
                "median": round(statistics.median(found)),
                "min": round(min(found)),
                "max": round(max(found)),
            }
            for name, found in speeds.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    for name, speed in result["images_per_second"].items():
        print(f"{name:<12}{speed['median']:>12,} rows/s  ({speed['min']:,} to {speed['max']:,})")


if __name__ == "__main__":
    main()
