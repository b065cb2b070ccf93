"""The HTTP application: plain ASGI for `infer`, Starlette for everything else."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from serve import protocol
from serve.access_log import Access
from serve.errors import FAILED, HttpError, stopping
from serve.http import body, images, management, openapi, pages, v1
from serve.http.guard import Guard
from serve.http.infer import infer
from serve.http.reply import json
from serve.metrics import CONTENT_TYPE
from serve.models import Models
from zoo.runtime.session import Session

_MODEL = "/v2/models/{model}"
_VERSION = _MODEL + "/versions/{version}"
_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto")


class App:
    """The ASGI application over the loaded models."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._guard = Guard(models.options)
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")  # as for uvicorn itself
        self._behind_proxy = ProxyHeadersMiddleware(self._answer, trusted)
        self._infer = {
            address: name
            for name in models.sessions
            for address in (
                f"{models.options.root_path}/v2/models/{name}/infer",
                f"{models.options.root_path}/v2/models/{name}/versions/{protocol.VERSION}/infer",
            )
        }
        self._starlette = Starlette(
            routes=_routes(models),
            exception_handlers={
                HttpError: _on_http_error,
                body.Disconnected: _on_disconnected,
                HTTPException: _on_starlette_error,
                Exception: _on_failure,
            },
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._models.start()
        yield
        self._models.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._starlette(scope, receive, send)
            return
        for name, _ in scope["headers"]:
            if name in _FORWARDED:
                await self._behind_proxy(scope, receive, send)
                return
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        models = self._models
        began = time.perf_counter()
        name = self._infer.get(scope["path"])
        status = 499  # what the log shows if the client went away
        models.running += 1
        try:
            try:
                self._guard.check(scope)
            except HttpError as error:
                status = error.status
                headers = dict(error.headers)
                answer = Response(error.body, status, headers, media_type="application/json")
                await answer(scope, receive, send)
                return
            if name is not None:
                status = await infer(models, name, scope, receive, send)
            else:

                async def watched(message: Any) -> None:
                    nonlocal status
                    if message["type"] == "http.response.start":
                        status = message["status"]
                        if models.closing:
                            message["headers"].append((b"connection", b"close"))
                    await send(message)

                await self._starlette(scope, receive, watched)
        finally:
            model = name or scope.get("path_params", {}).get("model", "-")
            models.done(_access(scope) if models.logs else None, model, status, began)


def _access(scope: Any) -> Access:
    client = scope.get("client") or ("-",)
    raw = scope.get("raw_path")  # not every ASGI server gives it
    return Access(
        client[0], scope["method"], raw.decode("latin-1") if raw else quote(scope["path"])
    )


def _routes(models: Models) -> list[BaseRoute]:
    def session(request: Request) -> Session:
        return models.session(
            request.path_params["model"], request.path_params.get("version", protocol.VERSION)
        )

    def metadata(request: Request) -> dict[str, Any]:
        return protocol.model_metadata(session(request).card)

    def ready(request: Request) -> dict[str, Any]:
        if models.leaving:
            raise stopping()
        return {"ready": True}

    def model_ready(request: Request) -> dict[str, Any]:
        return {"name": session(request).card.name, **ready(request)}

    async def unknown_infer(request: Request) -> Response:
        session(request)  # raises: requests for the models that are served never come here
        raise HttpError(404, "no such model")

    async def metrics(request: Request) -> Response:
        return Response(models.metrics.text(), media_type=CONTENT_TYPE)

    def card(request: Request) -> dict[str, Any]:
        # "ready" is KServe's V1 readiness
        fields: dict[str, Any] = msgspec.to_builtins(session(request).card)
        return fields | {"ready": not models.leaving}

    names = list(models.sessions)
    described = openapi.document(names, models.options.root_path)
    documents: dict[str, Callable[[Request], Any]] = {
        "/v2": lambda request: protocol.server_metadata(),
        "/v2/health/live": lambda request: {"live": True},
        "/v2/health/ready": ready,
        _MODEL: metadata,
        _VERSION: metadata,
        _MODEL + "/ready": model_ready,
        _VERSION + "/ready": model_ready,
        "/v1/models": lambda request: pages.models(models),
        "/v1/models/{model}": card,
        "/openapi.json": lambda request: described,
    }

    def document(function: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return json(function(request))

        return endpoint

    return [
        *management.routes(models),  # before a model's: no model is named "stats"
        *(Route(path, document(function)) for path, function in documents.items()),
        Route(_MODEL + "/infer", unknown_infer, methods=["POST"]),
        Route(_VERSION + "/infer", unknown_infer, methods=["POST"]),
        Route("/v1/models/{model}:predict", partial(v1.predict, models), methods=["POST"]),
        Route("/v1/predict/{model}", partial(images.predict, models), methods=["POST"]),
        Route("/v1/models/{model}/{picture}", partial(pages.picture, models)),
        Route("/metrics", metrics),
        Route("/docs", partial(pages.docs, openapi.page(names))),
        Route("/", pages.index),
        Route("/favicon.ico", pages.icon),
        Mount("/page", pages.PageFiles(directory=pages.PAGE)),
    ]


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    headers = dict(error.headers)
    return Response(error.body, error.status, headers, media_type="application/json")


async def _on_disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # for the log: nobody reads it


async def _on_starlette_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {
        404: f"no such address: {request.url.path}; see /docs",
        405: f"{request.method}: not allowed here",
    }.get(error.status_code, error.detail)
    same = HttpError(error.status_code, message, **(error.headers or {}))
    return await _on_http_error(request, same)


async def _on_failure(request: Request, error: Exception) -> Response:
    return Response(FAILED, 500, media_type="application/json")
