"""Accuracy, size and speed of each model in fp32, fp16 and int8, and of fp32 through OpenVINO.

    python benchmarks/variants.py            # writes benchmarks/results/variants.json

Each variant is exported as a bundle (`zoo export MODEL --precision ... -o DIR/`), evaluated on the
whole test set, and run over 10,000 test images (a table model: its rows, repeated) through
`zoo.Session` on the CPU: all variants of all models in turn, several rounds. OpenVINO takes part
where its package is installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import measure
import msgspec
import numpy as np

from zoo import Session, datasets, hardware
from zoo.bundle.card import ONNX, figure
from zoo.bundle.folder import Bundle, shipped
from zoo.evaluation.evaluate import evaluate

ROUNDS, ROWS = 9, 10_000
PRECISIONS = ("fp32", "fp16", "int8")
RESULT = measure.HERE / "results" / "variants.json"


def main() -> None:
    """Export, measure, print and write."""
    from zoo.export.bundle import export_bundle
    from zoo.export.variant import Variant

    models: dict[str, dict[str, dict[str, Any]]] = {}
    work: dict[tuple[str, str], tuple[Session, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in shipped():
            models[name] = {}
            inputs = datasets.load(Bundle.open(name).card.dataset.name).test.inputs
            rows = np.resize(inputs, (ROWS, *inputs.shape[1:]))
            bundles = {each: Path(folder) / f"{name}-{each}" for each in PRECISIONS}
            for precision, bundle in bundles.items():
                export_bundle(Bundle.open(name), f"{bundle}/", Variant(precision=precision))
            if hardware.version("openvino"):
                bundles["openvino"] = Bundle.open(name).path
            for variant, bundle in bundles.items():
                engine = "openvino" if variant == "openvino" else "onnx"
                models[name][variant] = {
                    "bytes": (bundle / ONNX).stat().st_size,
                    "test": evaluate(bundle, engine=engine, device="cpu").metrics,
                }
                work[name, variant] = Session(bundle, engine=engine, device="cpu"), rows
    for (name, variant), found in measure.speeds(work, ROUNDS).items():
        models[name][variant]["images_per_second"] = found
    result = {
        "command": "python benchmarks/variants.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "openvino", "numpy"),
        "rounds": ROUNDS,
        "models": models,
    }
    measure.write("variants", result)
    sys.stdout.write(table())


def table() -> str:
    """Return the result as a table in Markdown."""
    models = msgspec.json.decode(RESULT.read_bytes())["models"]
    engines = list(next(iter(models.values())))
    shown = {"openvino": "fp32, OpenVINO"}
    head = [
        "model",
        *(f"score {each}" for each in PRECISIONS),
        *(f"{'kB ' * (not at)}{each}" for at, each in enumerate(PRECISIONS)),
        *(f"{'rows/s ' * (not at)}{shown.get(each, each)}" for at, each in enumerate(engines)),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for name, found in models.items():
        metric = "accuracy" if "accuracy" in found["fp32"]["test"] else "r2"
        cells = [
            f"`{name}`",
            *(figure(metric, found[each]["test"][metric]) for each in PRECISIONS),
            *(f"{found[each]['bytes'] / 1000:,.1f}" for each in PRECISIONS),
            *(f"{found[each]['images_per_second']['median']:,.0f}" for each in engines),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
