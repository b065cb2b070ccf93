"""Arrays: `zoo.Session.predict` and a bare ONNX Runtime loop over the same file, side by side.

    python benchmarks/inprocess.py           # writes benchmarks/results/inprocess.json

Each image model predicts the 10,000 test images. The bare loop is the least one can write: batches
of 256, the probabilities alone, argmax. Ours checks the input, keeps all outputs and gives labels.
"""

from __future__ import annotations

import time

import measure
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from zoo import Session, hardware
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle, shipped
from zoo.datasets import mnist
from zoo.spec import ImageSpec

ROUNDS, BATCH = 15, 256


def main() -> None:
    """Measure, print and write."""
    images = mnist.load_test().inputs
    models: dict[str, dict[str, object]] = {}
    for name in shipped():
        if not isinstance(Bundle.open(name).card.spec, ImageSpec):
            continue
        ours = Session(name, device="cpu")
        path = Bundle.open(name).path / ONNX
        theirs = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        speeds: dict[str, list[float]] = {"zoo": [], "bare": []}
        for turn in range(ROUNDS + 1):
            began = time.perf_counter()
            mine = ours.predict(images).indices
            between = time.perf_counter()
            plain = bare(theirs, images)
            ended = time.perf_counter()
            assert (mine == plain).all(), f"{name}: the answers differ"
            if turn:  # the first is the warm-up
                speeds["zoo"].append(len(images) / (between - began))
                speeds["bare"].append(len(images) / (ended - between))
        figures = {side: measure.spread(found, 0) for side, found in speeds.items()}
        ratio = round(figures["zoo"]["median"] / figures["bare"]["median"], 3)
        models[name] = {"ours_to_bare": ratio, "images_per_second": figures}
        medians = (figures[side]["median"] for side in ("zoo", "bare"))
        print(f"{name:<12}", *(f"{median:>10,.0f}" for median in medians), f"{ratio:>8}")
    result = {
        "command": "python benchmarks/inprocess.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "numpy"),
        "rounds": ROUNDS,
        "models": models,
    }
    measure.write("inprocess", result)


def bare(session: ort.InferenceSession, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Predict with ONNX Runtime and numpy alone."""
    found = []
    for at in range(0, len(images), BATCH):
        outputs = session.run(["probabilities"], {"images": images[at : at + BATCH]})
        found.append(outputs[0].argmax(axis=1))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
