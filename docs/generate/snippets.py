"""The code on a model's page: Python, ONNX Runtime alone, curl. Tests run it."""

from __future__ import annotations

import json

from zoo.bundle.card import Card
from zoo.spec import ImageSpec


def python(card: Card) -> str:
    """Return a program that predicts test rows by `zoo.Session` and loads the network in torch."""
    return (
        "import zoo\n"
        f"from zoo.datasets import {_module(card)}\n\n"
        f"rows = {_rows(card)}[:5]\n"
        f'session = zoo.Session("{card.name}")  # ONNX Runtime; imports no torch\n'
        f"print(session.predict(rows).{'labels' if card.labels else 'values'})\n\n"
        f'model = zoo.load("{card.name}")  # torch: nn.Module, eval mode, trained weights\n'
        "print(model)\n"
    )


def onnxruntime(card: Card) -> str:
    """Return a program that runs the file without the zoo."""
    (tensor,) = card.inputs
    shape = ", ".join(["1", *(str(size) for size in tensor.row)])
    names = ", ".join(f'"{output.name}"' for output in card.outputs)
    kept = ", ".join(output.name for output in card.outputs)
    comma = "," if len(card.outputs) == 1 else ""
    return (
        "import numpy as np\nimport onnxruntime\n\n"
        f'session = onnxruntime.InferenceSession("weights/{card.name}/model.onnx")\n'
        f"{tensor.name} = np.zeros(({shape}), np.{tensor.dtype})  # your data\n"
        f'{kept}{comma} = session.run([{names}], {{"{tensor.name}": {tensor.name}}})\n'
        f"print({kept})\n"
    )


def curl(card: Card) -> str:
    """Return the commands that ask a running `zoo serve`."""
    (tensor,) = card.inputs
    address = "http://127.0.0.1:8000"
    if isinstance(card.spec, ImageSpec):
        return (
            "curl -s --data-binary @demo-report/digits/digit-0000.png "
            f"{address}/v1/predict/{card.name}\n"
        )
    body = {
        "inputs": [
            {
                "name": tensor.name,
                "shape": [1, *tensor.row],
                "datatype": "FP32",
                "data": [0.0] * tensor.row[0],
            }
        ]
    }
    return f"curl -s --json '{json.dumps(body)}' {address}/v2/models/{card.name}/infer\n"


def _module(card: Card) -> str:
    return "mnist" if isinstance(card.spec, ImageSpec) else "load"


def _rows(card: Card) -> str:
    if isinstance(card.spec, ImageSpec):
        return "mnist.load_test().inputs"
    return f'load("{card.dataset.name}").test.inputs'
