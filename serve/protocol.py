"""The Open Inference Protocol V2: what HTTP and gRPC share.

Source: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import HttpError, Unsupported
from zoo.bundle.card import Card
from zoo.spec import TensorSpec
from zoo.version import __version__

VERSION = "1"
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository",
              "statistics"]  # fmt: skip
#: What the trace and logging extensions show; neither can be changed over the network.
TRACE = {
    "trace_file": "",
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_mode": "triton",
}
LOGGING = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}
NO_SHARED_MEMORY = "shared memory is not supported: send and receive tensors in the message"


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
    if len(tensors) != 1 or tensors[0].name != spec.name:
        names = ", ".join(tensor.name for tensor in islice(tensors, 10))[:200] or "none"
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


def seconds(parameters: Mapping[str, Any]) -> float | None:
    """Return a request's own time limit in seconds, from `timeout` in microseconds; 0 is none.

    Raises:
        HttpError: 400, it is no such number.
    """
    value = parameters.get("timeout")
    if value is None or (value == 0 and type(value) is int):
        return None
    if type(value) is not int or not 0 < value < 2**63:
        raise HttpError(400, f"timeout: expected microseconds, a positive integer, given {value!r}")
    return value / 1e6


def classes(parameters: Mapping[str, Any], spec: TensorSpec, card: Card) -> int:
    """Return how many classes an output is asked for as, by `classification`; 0 for the tensor.

    Raises:
        HttpError: 400, it is no such number, or the output has no classes.
    """
    count = parameters.get("classification")
    if count is None or (count == 0 and type(count) is int):
        return 0
    if type(count) is not int or count < 0:
        raise HttpError(400, f"{spec.name}: classification: expected how many classes, a positive "
                             f"integer, given {count!r}")  # fmt: skip
    if not card.labels or spec.shape[1:] != (len(card.labels),):
        raise HttpError(400, f"{spec.name}: classification: {card.name} has no classes")
    return min(count, len(card.labels))


def classified(rows: NDArray[np.float32], count: int, card: Card) -> NDArray[np.object_]:
    """Return the highest classes of each row, best first: texts [rows, count].

    Each is "value:index:label".

    Source: https://github.com/triton-inference-server/server,
    docs/protocol/extension_classification.md
    """
    best = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, np.object_)
    for row, numbers in enumerate(best.tolist()):
        for column, number in enumerate(numbers):
            texts[row, column] = f"{rows[row, number]:f}:{number}:{card.labels[number]}"
    return texts


def packed_texts(texts: NDArray[np.object_]) -> bytes:
    """Return BYTES as binary tensors have them: each text's length, 4 bytes, before it."""
    encoded = [text.encode() for text in texts.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def refuse_shared_memory(parameters: Mapping[str, Any], name: str) -> None:
    """Refuse a tensor that is, or is to be, in shared memory.

    Raises:
        Unsupported: it is. An answer elsewhere would let the client read what was there before.
    """
    if "shared_memory_region" in parameters:
        raise Unsupported(f"{name}: {NO_SHARED_MEMORY}")


def unchanged(settings: Mapping[str, Any], current: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the settings of tracing or logging, if a client asks for no others.

    Raises:
        Unsupported: it asks for others; null, which restores the default, is none.
        HttpError: 400, there is no such setting.
    """
    for name, value in settings.items():
        if name not in current:
            known = ", ".join(current)
            raise HttpError(400, f"{what}: no setting {name!r}, known: {known}")
        if value not in (None, current[name], [current[name]]):
            raise Unsupported(f"{what}: cannot be changed by clients, given {name}={value!r}")
    return dict(current)


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


def model_config(card: Card, max_batch: int, device: str) -> dict[str, Any]:
    """Return the body of `GET /v2/models/{model}/config`; its dims are without the batch.

    Source: https://github.com/triton-inference-server/common, protobuf/model_config.proto
    """

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        datatype = "TYPE_" + DATATYPES[spec.dtype]
        return {"name": spec.name, "data_type": datatype, "dims": list(spec.shape[1:])}

    return {
        "name": card.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": max_batch,
        "input": [tensor(spec) for spec in card.inputs],
        "output": [tensor(spec) for spec in card.outputs],
        "instance_group": [{"name": card.name, "kind": device, "count": 1}],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
    }
