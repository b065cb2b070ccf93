"""Infer requests over HTTP: bodies to arrays and back.

JSON, flat or nested, and Triton's binary tensor extension: `Inference-Header-Content-Length` bytes
of JSON, then the tensors; 0 is a raw request, the tensor alone.
Source: https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from serve.errors import HttpError
from serve.http import large
from serve.protocol import (
    VERSION,
    chosen,
    classes,
    classified,
    finite,
    only,
    packed_texts,
    refuse_shared_memory,
    seconds,
)
from zoo.bundle.card import Card
from zoo.spec import TensorSpec

T = TypeVar("T")


class _Input(Struct, Generic[T]):
    name: str
    shape: list[int]
    datatype: str
    data: T | None = None
    parameters: dict[str, Any] | None = None


class _Output(Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(Struct, Generic[T]):
    """What may be absent may be null as well: many clients send all fields of their classes."""

    inputs: list[_Input[T]]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None


class Wanted(NamedTuple):
    """An output to return: its number, whether as binary, and how many classes; 0: the tensor."""

    number: int
    binary: bool
    classes: int = 0


class Infer(NamedTuple):
    """A request: the input, the outputs to return, and its own time limit in seconds."""

    id: str
    inputs: NDArray[Any]
    outputs: list[Wanted]
    timeout: float | None = None


#: By the input's dtype, for flat data, which nearly all clients send; typed decoding is faster.
_flat: dict[str, msgspec.json.Decoder[Any]] = {
    "uint8": msgspec.json.Decoder(_Request[list[int]]),
    "float32": msgspec.json.Decoder(_Request[list[float]]),
}
_any = msgspec.json.Decoder(_Request[Any])


def is_large(body: bytes, header_length: str | None) -> bool:
    """Say whether `parse` should run in a thread: the JSON of a request is large."""
    binary = header_length is not None and header_length.isdigit() and len(header_length) < 7
    return len(body) > large.LARGE and not (binary and int(header_length or 0) <= large.LARGE)


def parse(body: bytes, header_length: str | None, card: Card) -> Infer:
    """Read an infer request.

    Args:
        body: JSON, or JSON and then tensors, or one raw tensor.
        header_length: the value of `Inference-Header-Content-Length`, if there is one.
        card: the model's contract.

    Raises:
        HttpError: 400, with what was given and what was expected.
    """
    spec = card.inputs[0]
    binary = b""
    if header_length is not None:
        # int() refuses thousands of digits with an error of its own
        if not re.fullmatch(r"[0-9]{1,18}", header_length):
            raise HttpError(
                400, f"Inference-Header-Content-Length: not a size: {header_length[:30]!r}"
            )
        size = int(header_length)
        if size == 0:
            everything = [Wanted(number, True) for number in range(len(card.outputs))]
            return Infer("", finite(_raw(body, spec), spec), everything)
        if size > len(body):
            raise HttpError(
                400, f"Inference-Header-Content-Length is {size}, the body has {len(body)} bytes"
            )
        body, binary = body[:size], body[size:]
    request, flat = _decode(body, spec)
    tensor = only(request.inputs, spec)
    parameters = tensor.parameters or {}
    refuse_shared_memory(parameters, tensor.name)
    binary_size = parameters.get("binary_data_size")
    if binary_size is None:
        if binary:
            raise HttpError(400, f"{len(binary)} bytes after the JSON belong to no input")
        array = _json_data(tensor, flat, spec)
    else:
        array = _binary_data(binary, binary_size, tensor, spec)
    inputs = finite(array.reshape(tensor.shape), spec)
    limit = seconds(request.parameters) if request.parameters else None
    return Infer(request.id or "", inputs, _wanted(request, card), limit)


def _decode(body: bytes, spec: TensorSpec) -> tuple[_Request[Any], bool]:
    """Return the request, and whether its data is flat: a list of numbers, or an array."""
    if len(body) > large.LARGE:
        try:
            return msgspec.convert(large.decode(body, spec), _Request[Any]), True
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise HttpError(400, f"request: {error}") from None
    try:
        return _flat[spec.dtype].decode(body), True
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # nested data, or an error that the next decoder describes
    try:
        return _any.decode(body), False
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, f"request: {error}") from None


def _json_data(tensor: _Input[Any], flat: bool, spec: TensorSpec) -> NDArray[Any]:
    if tensor.data is None:
        raise HttpError(400, f"{spec.name}: data is missing")
    array: NDArray[Any]
    try:
        if isinstance(tensor.data, np.ndarray):
            array = tensor.data
        elif not flat:
            array = nested(tensor.data, spec).reshape(-1)
        elif spec.dtype == "uint8":
            array = np.frombuffer(bytearray(tensor.data), np.uint8)  # faster than bytes(list)
        else:
            with np.errstate(
                over="ignore"
            ):  # a number too large becomes infinity, which `finite` refuses
                array = np.array(tensor.data, np.float32)
    except (ValueError, OverflowError):  # a number beyond a byte
        array = nested(tensor.data, spec).reshape(-1)
    if array.size != math.prod(tensor.shape):
        raise HttpError(400, f"{spec.name}: shape {tensor.shape} needs {math.prod(tensor.shape)} "
                             f"values, given {array.size}")  # fmt: skip
    return array


def nested(data: Any, spec: TensorSpec) -> NDArray[Any]:
    """Return nested lists as an array of the input's type, of the shape that they have.

    Raises:
        HttpError: 400, what is wrong with them.
    """
    expected = "integers from 0 to 255" if spec.dtype == "uint8" else "numbers"
    try:
        numbers = np.array(data)
    except (ValueError, OverflowError):
        numbers = np.array(None)
    kinds = "iu" if spec.dtype == "uint8" else "iuf"
    if numbers.dtype.kind not in kinds or numbers.ndim == 0:
        raise HttpError(400, f"{spec.name}: data: expected {expected}, flat or nested")
    if spec.dtype == "uint8" and numbers.size and (numbers.min() < 0 or numbers.max() > 255):
        raise HttpError(400, f"{spec.name}: data: expected {expected}")
    with np.errstate(over="ignore"):  # infinity is refused later
        return numbers.astype(spec.dtype)


def _binary_data(binary: bytes, size: Any, tensor: _Input[Any], spec: TensorSpec) -> NDArray[Any]:
    expected = math.prod(tensor.shape) * np.dtype(spec.dtype).itemsize
    if tensor.data is not None:
        raise HttpError(400, f"{spec.name}: has both data and binary_data_size")
    if type(size) is not int or size != expected:
        raise HttpError(400, f"{spec.name}: shape {tensor.shape} needs {expected} bytes, "
                             f"binary_data_size is {size}")  # fmt: skip
    if len(binary) != size:
        raise HttpError(400, f"{spec.name}: binary_data_size is {size}, {len(binary)} bytes came")
    return np.frombuffer(binary, np.dtype(spec.dtype).newbyteorder("<"))


def _raw(body: bytes, spec: TensorSpec) -> NDArray[Any]:
    """Read a body that is the tensor alone; the batch follows from its size."""
    row = math.prod(spec.row) * np.dtype(spec.dtype).itemsize
    if not body or len(body) % row:
        raise HttpError(400, f"raw request: expected a multiple of {row} bytes, given {len(body)}")
    shape = (len(body) // row, *spec.row)
    return np.frombuffer(body, np.dtype(spec.dtype).newbyteorder("<")).reshape(shape)


def _wanted(request: _Request[Any], card: Card) -> list[Wanted]:
    default = (request.parameters or {}).get("binary_data_output") is True
    if not request.outputs:
        return [Wanted(number, default) for number in range(len(card.outputs))]
    wanted = []
    for output, number in zip(request.outputs, chosen(request.outputs, card), strict=True):
        parameters = output.parameters or {}
        refuse_shared_memory(parameters, output.name)
        binary = parameters.get("binary_data", default) is True
        count = classes(parameters, card.outputs[number], card) if parameters else 0
        wanted.append(Wanted(number, binary, count))
    return wanted


def answer(
    request: Infer, outputs: Sequence[NDArray[np.float32]], card: Card
) -> tuple[bytes, int | None]:
    """Build the body of the answer.

    Returns:
        The body, and the length of its JSON part if tensors follow it, else None.
    """
    tensors, blobs = [], []
    for number, binary, count in request.outputs:
        array: NDArray[Any] = outputs[number]
        if count:
            array = classified(array, count, card)
        tensor: dict[str, Any] = {
            "name": card.outputs[number].name,
            "datatype": "BYTES" if count else "FP32",
            "shape": array.shape,
        }
        if binary:
            blob = packed_texts(array) if count else array.astype("<f4", copy=False).tobytes()
            blobs.append(blob)
            tensor["parameters"] = {"binary_data_size": len(blob)}
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    document = {"model_name": card.name, "model_version": VERSION, "outputs": tensors}
    if request.id:
        document["id"] = request.id
    head = msgspec.json.encode(document)
    return (head + b"".join(blobs), len(head)) if blobs else (head, None)
