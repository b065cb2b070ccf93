"""`POST /v1/predict/{model}`: image files in, labels and probabilities out."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response

from serve.errors import HttpError, stopping
from serve.http import body
from serve.http.reply import json
from serve.models import Models
from serve.options import Options
from zoo import images
from zoo.errors import DataError
from zoo.spec import ImageSpec

#: The query parameters and their values, the default first.
_QUERY = {"prepare": ("auto", "none"), "invert": ("auto", "yes", "no"), "seen": ("no", "yes")}
_CURL = "application/x-www-form-urlencoded"  # what `curl --data-binary @digit.png` sends


async def predict(models: Models, request: Request) -> Response:
    """Answer with a prediction for each file, or with its error; the others are still predicted."""
    session = models.session(request.path_params["model"])
    card, spec = session.card, session.card.spec
    if not isinstance(spec, ImageSpec):
        where = f"/v2/models/{card.name}/infer"
        raise HttpError(400, f"{card.name} takes features, not images: use {where}")
    how = _options(request)
    with_seen = how.pop("seen") == "yes"
    files = await _files(request, models.options)
    if models.draining:
        raise stopping()
    # in a thread: a thousand large pictures must not block the event loop
    decoded = await run_in_threadpool(_decode, [data for _, data in files], spec, how)
    good = [array for array in decoded if not isinstance(array, str)]
    rows: Iterator[list[float]] = iter(())
    if good:
        outputs = await models.batcher(card.name).infer(np.stack(good))
        rows = iter(outputs[1].tolist())
    predictions: list[dict[str, Any]] = []
    for (name, _), array in zip(files, decoded, strict=True):
        if isinstance(array, str):
            predictions.append({"name": name, "error": array})
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
    if not good:
        document["error"] = predictions[0]["error"]
    return json(document, 200 if good else 400)


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


async def _files(request: Request, options: Options) -> list[tuple[str, bytes]]:
    """Return the names and bytes of the files: the body, or the parts of a multipart form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    expected = kind in ("", "multipart/form-data", "application/octet-stream", _CURL)
    if not expected and not kind.startswith("image/"):
        kinds = "image/*, application/octet-stream or multipart/form-data"
        raise HttpError(415, f"Content-Type {kind!r}: expected {kinds}")
    data = await body.read_request(request, options)
    if kind != "multipart/form-data":
        if not data:
            raise HttpError(400, "the body is empty: expected an image")
        return [("", data)]

    async def receive() -> Any:
        return {"type": "http.request", "body": data, "more_body": False}

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


def _decode(files: list[bytes], spec: ImageSpec, how: Any) -> list[NDArray[np.uint8] | str]:
    """Decode each file to uint8 [size, size, channels], or to the text of what is wrong with it."""
    decoded: list[NDArray[np.uint8] | str] = []
    for data in files:
        try:
            decoded.append(images.decode(data, spec, **how))
        except DataError as error:
            decoded.append(str(error))
    return decoded
