"""A model repository for Triton Inference Server's ONNX Runtime backend (KServe uses it too).

repository([Bundle.open("cnn")], "models")  # then: tritonserver --model-repository=models

The graph has the preprocessing in it and takes decoded images, so Triton needs no other model.
Opset 20 needs a Triton with ONNX Runtime 1.18 or newer: 24.07 and later.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zoo.bundle.card import ONNX, Card
from zoo.bundle.folder import Bundle
from zoo.errors import unknown
from zoo.files import write_atomic
from zoo.spec import TensorSpec

KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU"}
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_LABELS = "labels.txt"


def repository(
    bundles: Iterable[Bundle],
    folder: Path,
    *,
    kind: str = "cpu",
    max_batch: int = 64,
) -> list[Path]:
    """Write bundles as a Triton model repository; other models in the folder are kept.

    Args:
        bundles: the models.
        folder: the repository: folder/NAME/config.pbtxt, labels.txt and 1/model.onnx.
        kind: where Triton runs them: "cpu" or "gpu".
        max_batch: the most rows that Triton's dynamic batching joins.

    Returns:
        The models' folders.

    Raises:
        UsageError: unknown kind. VerificationError: a file does not match its card.
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    written = []
    for bundle in bundles:
        card, graph = bundle.card, bundle.read(ONNX)
        model = folder / card.name
        (model / "1").mkdir(parents=True, exist_ok=True)
        write_atomic(model / "1" / "model.onnx", graph)
        if card.labels:
            write_atomic(model / _LABELS, "".join(f"{label}\n" for label in card.labels))
        write_atomic(model / "config.pbtxt", config(card, kind, max_batch))
        written.append(model)
    return written


def config(card: Card, kind: str, max_batch: int) -> str:
    """Return `config.pbtxt`; Triton adds the batch dimension to the shapes."""
    inputs = "".join(_tensor("input", tensor) for tensor in card.inputs)
    outputs = "".join(
        _tensor("output", tensor, _LABELS if tensor.name == "probabilities" else "")
        for tensor in card.outputs
    )
    return (
        f'name: "{card.name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {max_batch}\n'
        f"{inputs}{outputs}dynamic_batching {{ }}\n"
        f"instance_group [ {{ count: 1, kind: {KINDS[kind]} }} ]\n"
    )


def _tensor(field: str, tensor: TensorSpec, labels: str = "") -> str:
    dims = ", ".join(str(size) for size in tensor.shape[1:])
    more = f', label_filename: "{labels}"' if labels else ""
    return (
        f'{field} [ {{ name: "{tensor.name}", data_type: {_TYPES[tensor.dtype]}, '
        f"dims: [ {dims} ]{more} }} ]\n"
    )
