"""Large JSON requests, in bounded memory: their numbers become an array a piece at a time.

Decoded whole, 16 MB of nested lists take half a gigabyte, and seconds in which nothing else runs.
Meant for a thread: no step here holds the interpreter for longer than some tens of milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray

from serve.errors import HttpError
from zoo.spec import TensorSpec

#: Larger JSON (bytes) is read here.
LARGE = 1 << 18
#: Bytes of a field that is not data; of the text of numbers that is decoded at a time.
_FIELD, _PIECE = 1 << 16, 1 << 16
_DEPTH = 8  # of nested lists
_EXPECTED = {"uint8": "integers from 0 to 255", "float32": "numbers"}
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[],"))


class _Tensor(Struct):
    name: str
    datatype: str
    shape: Raw
    data: Raw = Raw()
    parameters: Raw = Raw(b"{}")


class _Document(Struct):
    inputs: tuple[_Tensor]  # a second one is an error before it is decoded
    id: str | None = None
    outputs: Raw = Raw(b"[]")
    parameters: Raw = Raw(b"{}")


_document = msgspec.json.Decoder(_Document)
_numbers: dict[str, msgspec.json.Decoder[Any]] = {
    "uint8": msgspec.json.Decoder(list[Annotated[int, Meta(ge=0, le=255)]]),
    "float32": msgspec.json.Decoder(list[float]),
}


def decode(body: bytes, spec: TensorSpec) -> dict[str, Any]:
    """Decode a request with one input.

    Args:
        body: JSON.
        spec: of the model's input.

    Returns:
        The document as it is; only the input's `data` is an array, of the model's dtype, flat.

    Raises:
        HttpError: 400, a field is too large, or `data` is not what the model takes.
        msgspec.DecodeError: not JSON, or not of this form. Or RecursionError: nested too deeply.
    """
    document = _document.decode(body)
    (tensor,) = document.inputs
    parts: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": _field("shape", tensor.shape),
        "parameters": _field("parameters", tensor.parameters),
    }
    if bytes(memoryview(tensor.data)[:5]) not in (b"", b"null"):
        parts["data"] = _array(bytes(tensor.data), spec)
    return {
        "inputs": [parts],
        "id": document.id,
        "outputs": _field("outputs", document.outputs),
        "parameters": _field("parameters", document.parameters),
    }


def _field(name: str, raw: Raw) -> Any:
    if (size := len(memoryview(raw))) > _FIELD:
        raise HttpError(400, f"{name}: expected at most {_FIELD:,} bytes, given {size:,}")
    return msgspec.json.decode(raw)


def _array(text: bytes, spec: TensorSpec) -> NDArray[Any]:
    """Read a list of numbers, or nested lists of one length at each depth."""
    wrong = HttpError(400, f"{spec.name}: data: expected {_EXPECTED[spec.dtype]}, flat or nested")
    if not _is_regular(text.translate(None, _NOT_BRACKETS)):
        raise wrong
    text = text.translate(None, b"[] \t\r\n")
    pieces = [np.zeros(0, spec.dtype)]
    start = 0
    while start < len(text):
        end = text.find(b",", start + _PIECE)
        end = len(text) if end < 0 else end
        try:
            numbers = _numbers[spec.dtype].decode(b"[%b]" % text[start:end])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise wrong from None
        with np.errstate(over="ignore"):  # becomes infinity, which is refused with the others
            pieces.append(np.array(numbers, spec.dtype))
        start = end + 1
    return np.concatenate(pieces)


def _is_regular(brackets: bytes) -> bool:
    """Say whether the brackets and commas of valid JSON are those of an array's nested lists."""
    depth = len(brackets) - len(brackets.lstrip(b"["))
    if not 1 <= depth <= _DEPTH:
        return False
    block = brackets[depth - 1 : brackets.index(b"]") + 1]
    for start in range(depth - 1, 0, -1):
        end = brackets.find(block + b"]", start)  # of the list whose first element starts here
        if end < 0:
            return False
        block = b"[" + (block + b",") * ((end - start) // (len(block) + 1)) + block + b"]"
        if not brackets.startswith(block, start - 1):
            return False
    return block == brackets
