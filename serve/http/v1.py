"""KServe's V1 protocol: `POST /v1/models/{model}:predict`, instances in, predictions out.

Source: https://kserve.github.io/website, "V1 Protocol"
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from serve import protocol
from serve.errors import HttpError, overloaded, stopping
from serve.http import body, tensors
from serve.http.large import LARGE
from serve.http.reply import json
from serve.models import Models
from zoo.bundle.card import Card
from zoo.errors import DataError
from zoo.images import TooLarge
from zoo.spec import ImageSpec, TensorSpec


class _Request(Struct):
    instances: list[Any]


_decoder = msgspec.json.Decoder(_Request)


async def predict(models: Models, request: Request) -> Response:
    """Answer with a prediction for each instance.

    An instance is one row of the model's input, or an object with it under the input's name; for
    an image model also {"b64": "..."}, an image file in base64, prepared as /v1/predict does. A
    prediction is the one output's row, or an object of them by the outputs' names.
    """
    name = request.path_params["model"]
    models.batcher(name)  # a model that is not served is an error before its body is read
    data = await body.read_request(request, models.options, models.bodies)
    if models.draining:
        raise stopping()
    batcher = models.batcher(name)  # the one of now: the model may have been loaded again
    card = batcher.session.card
    if len(data) > LARGE:
        read = await models.in_turn(len(data), _inputs, data, card.inputs[0])
    else:
        read = _inputs(data, card.inputs[0])
    array = await _decoded(models, read, card) if isinstance(read, list) else read
    outputs = await batcher.infer(array)
    names = [output.name for output in card.outputs]
    columns = [output.tolist() for output in outputs]
    if len(names) == 1:
        return json({"predictions": columns[0]})
    predictions = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return json({"predictions": predictions})


async def _decoded(models: Models, files: list[bytes], card: Card) -> NDArray[Any]:
    """Decode and prepare image files, within the memory and the time of all requests."""
    if not isinstance(card.spec, ImageSpec):
        raise HttpError(400, f"instances: {card.name} takes features, not images in b64")
    how = {"prepare": "auto", "invert": "auto"}
    seconds = models.options.timeout
    try:
        async with asyncio.timeout(seconds):
            decoded = await models.decoding.decode(files, card.spec, how)
    except TimeoutError:
        raise overloaded(f"no answer within {seconds:g} s") from None
    for number, array in enumerate(decoded):
        if isinstance(array, DataError):
            status = 413 if isinstance(array, TooLarge) else 400
            raise HttpError(status, f"instances[{number}]: {array}")
    return np.stack([array for array in decoded if not isinstance(array, DataError)])


def _inputs(data: bytes, spec: TensorSpec) -> NDArray[Any] | list[bytes]:
    """Read the instances: an array of rows, or the files that they are in base64.

    Raises:
        HttpError: 400, what is wrong with them.
    """
    try:
        instances = _decoder.decode(data).instances
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, f"request: {error}") from None
    rows = [_row(instance, spec.name) for instance in instances]
    shape = ", ".join(map(str, spec.row))
    if not rows:
        raise HttpError(400, f"instances: expected one or more of shape [{shape}], given none")
    if any(isinstance(row, dict) for row in rows):
        return [_file(number, row) for number, row in enumerate(rows)]
    array = tensors.nested(rows, spec)
    if array.shape != (len(rows), *spec.row):
        given = ", ".join(map(str, array.shape[1:]))
        raise HttpError(400, f"instances: expected each of shape [{shape}], given [{given}]")
    return protocol.finite(array, spec)


def _file(number: int, instance: Any) -> bytes:
    """Return the file of {"b64": "..."}."""
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise HttpError(400, f'instances[{number}]: expected {{"b64": "..."}} as in the others')
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise HttpError(400, f"instances[{number}]: b64: {error}") from None


def _row(instance: Any, name: str) -> Any:
    if not isinstance(instance, dict) or "b64" in instance:
        return instance
    if list(instance) != [name]:
        given = ", ".join(instance) or "none"
        raise HttpError(400, f"instances: expected an object with {name!r} alone, given {given}")
    return instance[name]
