"""What an ONNX file says of itself, without the package onnx, which the base install lacks.

It is at the top level of the file's protobuf message (onnx.proto: `ModelProto` has `ir_version` as
field 1, `opset_import` as field 8, whose `OperatorSetIdProto` has `domain` as field 1 and `version`
as field 2, and `metadata_props` as field 14, with `key` and `value`); the graph is skipped as a
whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Header(NamedTuple):
    """What decides which runtimes load a file, and its metadata."""

    ir_version: int
    opset: int
    metadata: dict[str, str]


def read(file: bytes) -> Header:
    """Return the header of an ONNX file; 0 stands for what the file does not say."""
    ir_version = opset = 0
    metadata: dict[str, str] = {}
    for number, value in _fields(file):
        if number == 1 and isinstance(value, int):
            ir_version = value
        elif number == 8 and isinstance(value, bytes):
            entry = dict(_fields(value))
            if not entry.get(1):  # the domain of the standard operators is the empty one
                opset = int(entry.get(2, 0))
        elif number == 14 and isinstance(value, bytes):
            pair = dict(_fields(value))
            key, text = (bytes(pair.get(field, b"")).decode() for field in (1, 2))
            metadata[key] = text
    return Header(ir_version, opset, metadata)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: number and value."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
        elif kind == 2:
            length, at = _varint(message, at)
            yield number, message[at : at + length]
            at += length
        else:  # fixed 64 or 32 bits
            at += 8 if kind == 1 else 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, the least first; the highest bit says that more follow."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
