"""ModelInferRequest: from its bytes to what is asked for."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import message_factory
from numpy.typing import NDArray

from serve import protocol
from serve.errors import HttpError, stopping
from serve.grpc import management
from serve.grpc.messages import POOL
from serve.models import Models
from zoo.bundle.card import Card

#: Where typed contents are; how many of their numbers are converted at a time.
_CONTENTS = {"uint8": "uint_contents", "float32": "fp32_contents"}
_PIECE = 1 << 16
_MESSAGE = message_factory.GetMessageClass(
    POOL.FindMessageTypeByName("inference.ModelInferRequest")
)


class Asked(NamedTuple):
    """A ModelInferRequest without its message, which takes several times the memory.

    `numbers`: of the outputs asked for; `counts`: for each, how many classes, 0 for the tensor;
    `limit`: the request's own in seconds; `raw`: whether its tensor, and so the answer's, is raw.
    """

    model_name: str
    card: Card
    id: str
    numbers: list[int]
    counts: list[int]
    limit: float | None
    raw: bool
    inputs: NDArray[Any]


def read(models: Models, data: bytes) -> Asked:
    """Read a message; in any thread.

    Raises:
        HttpError: 400, 404, 503, as over HTTP. DecodeError: another message.
    """
    message = _MESSAGE.FromString(data)
    try:
        version = message.model_version or protocol.VERSION
        card = models.session(message.model_name, version).card
        if models.draining:
            raise stopping()
        numbers = protocol.chosen(message.outputs, card)
        counts = [0] * len(numbers)
        for index, output in enumerate(message.outputs):
            wanted = management.parameters(output.parameters)
            protocol.refuse_shared_memory(wanted, output.name)
            counts[index] = protocol.classes(wanted, card.outputs[numbers[index]], card)
        limit = protocol.seconds(management.parameters(message.parameters))
        raw, inputs = bool(message.raw_input_contents), _inputs(message, card)
    except HttpError as error:
        error.model = message.model_name
        raise
    return Asked(card.name, card, message.id, numbers, counts, limit, raw, inputs)


def _inputs(message: Any, card: Card) -> NDArray[Any]:
    """Read the tensor of a ModelInferRequest.

    Raises:
        HttpError: 400, with what was given and what was expected.
    """
    spec = card.inputs[0]
    tensor = protocol.only(message.inputs, spec)
    protocol.refuse_shared_memory(management.parameters(tensor.parameters), tensor.name)
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    size = math.prod(tensor.shape)
    raw = message.raw_input_contents
    field = "raw_input_contents" if raw else _CONTENTS[spec.dtype]
    if len(raw) > 1 or filled != ([] if raw else [field]):
        fields = ", ".join(filled + ["raw_input_contents"] * len(raw)) or "no contents"
        raise HttpError(400, f"{spec.name}: expected {field} alone, given {fields}")
    values = raw[0] if raw else getattr(tensor.contents, field)
    need = size * dtype.itemsize if raw else size
    if len(values) != need:
        raise HttpError(400, f"{spec.name}: shape {tensor.shape} needs {need} "
                             f"{'bytes' if raw else 'values'}, given {len(values)}")  # fmt: skip
    if raw:
        array = np.frombuffer(values, dtype)
    else:
        array = np.empty(size, dtype)
        for start in range(0, size, _PIECE):  # each number becomes an object on its way
            piece = np.array(values[start : start + _PIECE], "f4" if dtype.kind == "f" else "u4")
            if dtype.kind == "u" and piece.max() > 255:
                raise HttpError(400, f"{spec.name}: expected integers from 0 to 255")
            array[start : start + _PIECE] = piece
    return protocol.finite(array.reshape(tensor.shape), spec)
