"""Images per second of every shipped ONNX file through `zoo.Session`, on the CPU.

    python benchmarks/inference.py            # writes benchmarks/results/inference.json

Each model predicts the 10,000 test images (a table model: its rows, repeated to 10,000) several
times, the models in turn, so that a machine whose speed drifts is unfair to none.
"""

from __future__ import annotations

from typing import Any

import measure
import numpy as np

from zoo import Session, datasets, hardware
from zoo.bundle.folder import shipped

ROUNDS, ROWS = 7, 10_000


def main() -> None:
    """Measure, print and write."""
    work: dict[str, tuple[Session, Any]] = {}
    for name in shipped():
        session = Session(name, device="cpu")
        inputs = datasets.load(session.card.dataset.name).test.inputs
        work[name] = (session, np.resize(inputs, (ROWS, *inputs.shape[1:])))
    found = measure.speeds(work, ROUNDS)
    result = {
        "command": "python benchmarks/inference.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "numpy"),
        "images_per_second": found,
    }
    measure.write("inference", result)
    for name, speed in found.items():
        low, high = speed["min"], speed["max"]
        print(f"{name:<12}{speed['median']:>12,.0f} rows/s  ({low:,.0f} to {high:,.0f})")


if __name__ == "__main__":
    main()
