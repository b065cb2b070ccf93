"""The Open Inference Protocol V2: what HTTP and gRPC share.

Source: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import HttpError
from zoo.bundle.card import Card
from zoo.spec import TensorSpec
from zoo.version import __version__

VERSION = "1"
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}
EXTENSIONS = ["binary_tensor_data"]


def finite(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Return the array.

    Raises:
        HttpError: 400, it has NaN or infinity.
    """
    if spec.dtype == "float32" and not np.isfinite(array).all():
        raise HttpError(400, f"{spec.name}: expected finite numbers, given NaN or infinity")
    return array


def only(tensors: Sequence[Any], spec: TensorSpec) -> Any:
    """Return the one input of a request, its name, datatype and shape checked.

    Raises:
        HttpError: 400, there is another number of inputs, or they do not match the contract.
    """
    if [tensor.name for tensor in tensors] != [spec.name]:
        names = ", ".join(tensor.name for tensor in tensors)[:200] or "none"
        raise HttpError(400, f"inputs: expected {spec.name!r} alone, given {names}")
    tensor = tensors[0]
    datatype = DATATYPES[spec.dtype]
    if tensor.datatype != datatype:
        raise HttpError(400, f"{spec.name}: expected datatype {datatype}, given {tensor.datatype}")
    shape = tensor.shape
    # int64, as gRPC has them: a product of numbers of any length could not be written as text
    right = len(shape) == len(spec.shape) and 1 <= shape[0] < 2**63
    if not right or tuple(shape[1:]) != spec.shape[1:]:
        text = ", ".join(map(str, spec.shape))
        raise HttpError(400, f"{spec.name}: expected shape [{text}], given {str(shape)[:100]}")
    return tensor


def chosen(outputs: Sequence[Any], card: Card) -> list[int]:
    """Return the numbers of the outputs that a request names; of all, if it names none.

    Raises:
        HttpError: 400, the model has no output of that name, or it is named twice: an answer that
            repeats its outputs could be as large as a client likes.
    """
    names = [output.name for output in card.outputs]
    numbers: list[int] = []
    for output in outputs:
        if output.name not in names:
            raise HttpError(400, f"outputs: no {output.name!r}, known: {', '.join(names)}")
        number = names.index(output.name)
        if number in numbers:
            raise HttpError(400, f"outputs: {output.name!r} is named twice: expected each once")
        numbers.append(number)
    return numbers or list(range(len(names)))


def server_metadata() -> dict[str, Any]:
    """Return the body of `GET /v2`."""
    return {"name": "torch-tutorial-zoo", "version": __version__, "extensions": EXTENSIONS}


def model_metadata(card: Card) -> dict[str, Any]:
    """Return the body of `GET /v2/models/{model}`; -1 is the batch."""

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        shape = [-1 if isinstance(size, str) else size for size in spec.shape]
        return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": shape}

    return {
        "name": card.name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [tensor(spec) for spec in card.inputs],
        "outputs": [tensor(spec) for spec in card.outputs],
    }
