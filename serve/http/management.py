"""Triton's extensions over HTTP: statistics, configuration, repository, trace, logging, memory.

Source: https://github.com/triton-inference-server/server, docs/protocol
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serve import protocol, repository
from serve.errors import HttpError, Unsupported
from serve.http import body
from serve.http.reply import json
from serve.models import Models

_MODEL = "/v2/models/{model}"
_VERSION = _MODEL + "/versions/{version}"
_CHANGE = "/v2/repository/models/{model}"


def routes(models: Models) -> list[BaseRoute]:
    """Return the routes; those of a model's statistics must come before those of a model."""

    def name(request: Request) -> str:
        path = request.path_params
        return models.session(path["model"], path.get("version", protocol.VERSION)).card.name

    async def all_statistics(request: Request) -> Response:
        return json({"model_stats": [models.counts[name].document() for name in models.sessions]})

    async def statistics(request: Request) -> Response:
        return json({"model_stats": [models.counts[name(request)].document()]})

    async def configuration(request: Request) -> Response:
        return json(models.config(name(request)))

    async def index(request: Request) -> Response:
        wanted = await _fields(models, request)
        ready = wanted.get("ready")
        if ready not in (None, True, False):
            raise HttpError(400, f"ready: expected true or false, given {ready!r}")
        return json(repository.index(models, ready=ready is True))

    async def load(request: Request) -> Response:
        parameters = _object(await _fields(models, request), "parameters")
        await repository.load(models, request.path_params["model"], parameters)
        return json({})

    async def unload(request: Request) -> Response:
        await body_ignored(request)
        await repository.unload(models, request.path_params["model"])
        return json({})

    async def body_ignored(request: Request) -> None:
        await _fields(models, request)  # tritonclient sends "unload_dependents": there are none

    def settings(current: dict[str, Any], what: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if "model" in request.path_params:
                name(request)
            wanted = await _fields(models, request) if request.method == "POST" else {}
            return json(protocol.unchanged(wanted, current, what))

        return endpoint

    both = ["GET", "POST"]
    trace = settings(protocol.TRACE, "trace")
    return [
        Route("/v2/models/stats", all_statistics),
        *(Route(model + "/stats", statistics) for model in (_MODEL, _VERSION)),
        *(Route(model + "/config", configuration) for model in (_MODEL, _VERSION)),
        Route("/v2/repository/index", index, methods=["POST"]),
        Route(_CHANGE + "/load", load, methods=["POST"]),
        Route(_CHANGE + "/unload", unload, methods=["POST"]),
        Route("/v2/trace/setting", trace, methods=both),
        Route(_MODEL + "/trace/setting", trace, methods=both),
        Route("/v2/logging", settings(protocol.LOGGING, "logging"), methods=both),
        *_shared_memory(),
    ]


def _shared_memory() -> list[BaseRoute]:
    """Return the routes of shared memory: nothing is registered, and nothing can be."""

    async def status(request: Request) -> Response:
        if region := request.path_params.get("region"):
            raise HttpError(404, f"no shared memory region {region!r} is registered")
        return json([])

    async def register(request: Request) -> Response:
        raise Unsupported(protocol.NO_SHARED_MEMORY)

    async def unregister(request: Request) -> Response:
        return json({})  # as Triton answers where nothing is registered

    found: list[BaseRoute] = []
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        for at in (f"/v2/{kind}", f"/v2/{kind}/region/{{region}}"):
            found.append(Route(at + "/status", status))
            found.append(Route(at + "/unregister", unregister, methods=["POST"]))
        found.append(Route(at + "/register", register, methods=["POST"]))
    return found


async def _fields(models: Models, request: Request) -> dict[str, Any]:
    """Return a request's JSON object; no body is an empty one."""
    data = await body.read_request(request, models.options, models.bodies)
    if not data:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, f"request: {error}") from None


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise HttpError(400, f"{name}: expected an object, given {value!r}")
    return value or {}
