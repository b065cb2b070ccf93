"""A model repository for Triton Inference Server's ONNX Runtime backend (KServe uses it too).

repository([Bundle.open("cnn")], "models")  # then: tritonserver --model-repository=models

The graph has the preprocessing in it and takes decoded images, so Triton needs no other model.
Opset 20 needs a Triton with ONNX Runtime 1.18 or newer: 24.07 and later.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zoo.bundle import onnx_header
from zoo.bundle.card import ONNX, WEIGHTS, Card
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError, unknown
from zoo.files import write_atomic
from zoo.spec import TensorSpec, is_name

KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU"}
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_LABELS = "labels.txt"


def repository(
    bundles: Iterable[Bundle],
    folder: Path,
    *,
    kind: str = "cpu",
    max_batch: int = 64,
    name: str = "",
    graph: bytes = b"",
) -> list[Path]:
    """Write bundles as a Triton model repository; other models in the folder are kept.

    Args:
        bundles: the models; with `name` or `graph`, one alone.
        folder: the repository: folder/NAME/config.pbtxt, labels.txt and 1/model.onnx.
        kind: where Triton runs them: "cpu" or "gpu".
        max_batch: the most rows that Triton's dynamic batching joins.
        name: the model's name in the repository; "" is the card's.
        graph: another ONNX file of the bundle's network, with the same inputs and outputs.

    Returns:
        The models' folders.

    Raises:
        UsageError: unknown kind, or another model has that name in the folder. VerificationError: a
            file does not match its card.
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if name and not is_name(name):
        raise UsageError(f"name {name!r}: expected letters, digits, '_', '-' and '.'")
    written = []
    for bundle in bundles:
        card, file = bundle.card, graph or bundle.read(ONNX)
        model = folder / (name or card.name)
        _check_free(model, card)
        (model / "1").mkdir(parents=True, exist_ok=True)
        write_atomic(model / "1" / "model.onnx", file)
        if card.labels:
            write_atomic(model / _LABELS, "".join(f"{label}\n" for label in card.labels))
        write_atomic(model / "config.pbtxt", config(card, kind, max_batch, model.name))
        written.append(model)
    return written


def _check_free(model: Path, card: Card) -> None:
    """Raise UsageError if a model's folder holds another one than the card's, with any options."""
    if not model.exists():
        return
    try:
        found = onnx_header.read((model / "1" / "model.onnx").read_bytes()).metadata
    except (OSError, IndexError, ValueError):  # no such file, or none of ours
        found = {}
    if found.get("weights_sha256") != card.files[WEIGHTS]:
        raise UsageError(f"{model} holds another model: give another --name or folder")


def config(card: Card, kind: str, max_batch: int, name: str) -> str:
    """Return `config.pbtxt`; Triton adds the batch dimension to the shapes."""
    inputs = "".join(_tensor("input", tensor) for tensor in card.inputs)
    outputs = "".join(
        _tensor("output", tensor, _LABELS if tensor.name == "probabilities" else "")
        for tensor in card.outputs
    )
    return (
        f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {max_batch}\n'
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
