"""KServe's V1 protocol: `POST /v1/models/{model}:predict`, instances in, predictions out.

Source: https://kserve.github.io/website, "V1 Protocol"
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from serve import protocol
from serve.errors import HttpError, stopping
from serve.http import body, tensors
from serve.http.large import LARGE
from serve.http.reply import json
from serve.models import Models
from zoo.spec import TensorSpec


class _Request(Struct):
    instances: list[Any]


_decoder = msgspec.json.Decoder(_Request)


async def predict(models: Models, request: Request) -> Response:
    """Answer with a prediction for each instance.

    An instance is one row of the model's input, or an object with it under the input's name. A
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
        array = await models.in_turn(len(data), _inputs, data, card.inputs[0])
    else:
        array = _inputs(data, card.inputs[0])
    outputs = await batcher.infer(array)
    names = [output.name for output in card.outputs]
    columns = [output.tolist() for output in outputs]
    if len(names) == 1:
        return json({"predictions": columns[0]})
    predictions = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return json({"predictions": predictions})


def _inputs(data: bytes, spec: TensorSpec) -> NDArray[Any]:
    """Read the instances.

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
    array = tensors.nested(rows, spec)
    if array.shape != (len(rows), *spec.row):
        given = ", ".join(map(str, array.shape[1:]))
        raise HttpError(400, f"instances: expected each of shape [{shape}], given [{given}]")
    return protocol.finite(array, spec)


def _row(instance: Any, name: str) -> Any:
    if not isinstance(instance, dict):
        return instance
    if list(instance) != [name]:
        given = ", ".join(instance) or "none"
        raise HttpError(400, f"instances: expected an object with {name!r} alone, given {given}")
    return instance[name]
