"""The page at `/`, its files and pictures, the summaries of the models it shows, and `/docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from serve.errors import HttpError
from serve.http.reply import json
from serve.models import Models
from zoo.bundle.folder import PICTURES
from zoo.spec import TableSpec

PAGE = Path(__file__).parent / "page"
_NO_SNIFF = {"x-content-type-options": "nosniff"}
_CSP = _NO_SNIFF | {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"  # no other site shows the page in a frame
}
_NO_CACHE = {"cache-control": "no-cache"}  # after an upgrade, browsers show the new page


class PageFiles(StaticFiles):
    """The page's own files."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with a file that the browser asks for again each time."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_NO_CACHE)
        return response


async def index(request: Request) -> Response:
    """Answer `GET /`: the page; to KServe's V1 clients, which take no HTML by name, "alive"."""
    if "text/html" not in request.headers.get("accept", "text/html"):
        return json({"status": "alive"})
    return FileResponse(PAGE / "index.html", headers=_CSP | _NO_CACHE | {"vary": "accept"})


async def icon(request: Request) -> Response:
    """Answer `GET /favicon.ico`, which browsers ask for wherever they are."""
    return FileResponse(PAGE / "icon.svg", headers=_NO_CACHE)


async def docs(page: str, request: Request) -> Response:
    """Answer `GET /docs` with the page of `serve.http.openapi`."""
    return Response(page, media_type="text/html", headers=_CSP)


async def picture(models: Models, request: Request) -> Response:
    """Answer `GET /v1/models/{model}/{picture}`: a file of the bundle."""
    name, picture = request.path_params["model"], request.path_params["picture"]
    models.session(name)
    data = models.bundles[name].picture(picture) if picture in PICTURES else None
    if data is None:
        raise HttpError(404, f"no picture {picture!r}, known: {', '.join(PICTURES)}")
    return Response(data, media_type="image/png", headers=_NO_SNIFF)


def models(models: Models) -> dict[str, Any]:
    """Return the body of `GET /v1/models`: names, as KServe has them, and the page's summaries."""
    return {
        "models": list(models.sessions),
        "summaries": [summary(models, name) for name in models.sessions],
    }


def summary(models: Models, name: str) -> dict[str, Any]:
    """Return what `GET /v1/models` shows of a model."""
    card = models.sessions[name].card
    table: dict[str, Any] = {}
    if isinstance(card.spec, TableSpec):  # the means of the training data, as values to begin with
        values = [float(f"{value:.4g}") for value in card.spec.mean]
        table = {"columns": card.spec.columns, "example": values}
    return {
        **table,
        "name": name,
        "title": card.title,
        "lesson": card.lesson,
        "task": card.task,
        "parameters": card.parameters,
        "score": card.score,
        "dataset": card.dataset.name,
        "labels": card.labels,
        "input": card.inputs[0],
        "pictures": [f"v1/models/{name}/{picture}" for picture in _pictures(models, name)],
        "limits": card.limits,
    }


def _pictures(models: Models, name: str) -> list[str]:
    bundle = models.bundles[name]
    return [picture for picture in PICTURES if bundle.picture(picture) is not None]
