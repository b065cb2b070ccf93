"""`POST /v1/predict/{model}`: image files in, labels and probabilities out."""

from __future__ import annotations

import asyncio
import base64
import io
from asyncio import FIRST_COMPLETED
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response

from serve.errors import HttpError, overloaded, stopping
from serve.http import body
from serve.http.reply import json
from serve.models import Models
from zoo import images
from zoo.bundle.card import Card
from zoo.errors import DataError
from zoo.spec import ImageSpec

#: The query parameters and their values, the default first.
_QUERY = {"prepare": ("auto", "none"), "invert": ("auto", "yes", "no"), "seen": ("no", "yes")}
_CHUNK = 1 << 18  # bytes of a form that are read at a time
_CURL = "application/x-www-form-urlencoded"  # what `curl --data-binary @digit.png` sends


async def predict(models: Models, request: Request) -> Response:
    """Answer with a prediction for each file, or with its error; the others are still predicted.

    Raises:
        HttpError: what is wrong with the request; 503, its time is over or the server is busy.
        Disconnected: the client has gone.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + models.options.timeout
    session = models.session(request.path_params["model"])
    card, spec = session.card, session.card.spec
    if not isinstance(spec, ImageSpec):
        where = f"/v2/models/{card.name}/infer"
        raise HttpError(400, f"{card.name} takes features, not images: use {where}")
    how = _options(request)
    with_seen = how.pop("seen") == "yes"
    files = await _files(request, models)
    if models.draining:
        raise stopping()
    with models.bodies.hold(sum(len(data) for _, data in files)):
        work = asyncio.ensure_future(_predict(models, card, files, how, with_seen))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((work, gone), timeout=end - loop.time(), return_when=FIRST_COMPLETED)
        finally:
            gone.cancel()
            work.cancel()  # nothing happens if it is done
    if not work.done():
        if gone.done():
            raise body.Disconnected
        raise overloaded(f"no answer within {models.options.timeout:g} s")
    return work.result()


async def _gone(request: Request) -> None:
    """Wait until the client goes, which it may do once it has its answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _predict(
    models: Models, card: Card, files: list[tuple[str, bytes]], how: dict[str, str], with_seen: bool
) -> Response:
    spec = card.spec
    assert isinstance(spec, ImageSpec)
    decoded = await models.decoding.decode([data for _, data in files], spec, how)
    good = [array for array in decoded if not isinstance(array, DataError)]
    rows: Iterator[list[float]] = iter(())
    if good:
        outputs = await models.batcher(card.name).infer(np.stack(good))
        rows = iter(outputs[1].tolist())
    predictions: list[dict[str, Any]] = []
    for (name, _), array in zip(files, decoded, strict=True):
        if isinstance(array, DataError):
            predictions.append({"name": name, "error": str(array)})
            continue
        probabilities = dict(zip(card.labels, next(rows), strict=True))
        label = max(probabilities, key=probabilities.__getitem__)
        predictions.append(
            {
                "name": name,
                "label": label,
                "probability": probabilities[label],
                "probabilities": probabilities,
            }
        )
        if with_seen:
            predictions[-1]["seen"] = _data_uri(array)
    document: dict[str, Any] = {"model": card.name, "predictions": predictions}
    if good:
        return json(document)
    document["error"] = predictions[0]["error"]
    too_large = all(isinstance(error, images.TooLarge) for error in decoded)
    return json(document, 413 if too_large else 400)


def _options(request: Request) -> dict[str, str]:
    """Return the query parameters of `_QUERY`, each with one of its values."""
    options = {}
    for name, values in _QUERY.items():
        options[name] = request.query_params.get(name, values[0])
        if options[name] not in values:
            expected = " or ".join((", ".join(values[:-1]), values[-1]))
            raise HttpError(400, f"{name}: expected {expected}, given {options[name]!r}")
    return options


def _data_uri(array: NDArray[np.uint8]) -> str:
    """Return an image, uint8 [height, width, 1 or 3], as a PNG file in a data URI."""
    file = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def _files(request: Request, models: Models) -> list[tuple[str, bytes]]:
    """Return the names and bytes of the files: the body, or the parts of a multipart form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    expected = kind in ("", "multipart/form-data", "application/octet-stream", _CURL)
    if not expected and not kind.startswith("image/"):
        kinds = "image/*, application/octet-stream or multipart/form-data"
        raise HttpError(415, f"Content-Type {kind!r}: expected {kinds}")
    data = await body.read_request(request, models.options, models.bodies)
    if kind != "multipart/form-data":
        if not data:
            raise HttpError(400, "the body is empty: expected an image")
        return [("", data)]

    position = 0

    async def receive() -> Any:
        nonlocal position
        if position:
            await asyncio.sleep(0)  # others' turn: a large form takes a tenth of a second
        part = data[position : position + _CHUNK]
        position += _CHUNK
        return {"type": "http.request", "body": part, "more_body": position < len(data)}

    try:
        async with Request(request.scope, receive).form(max_files=1000) as form:
            files = [
                (part.filename or key, await part.read())
                for key, part in form.multi_items()
                if not isinstance(part, str)
            ]
    except (MultiPartException, HTTPException, KeyError) as error:
        raise HttpError(400, f"multipart form: {error}") from None
    if not files:
        raise HttpError(400, "the form has no file: expected one image or more")
    return files
