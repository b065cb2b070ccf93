"""The HTTP application: a plain ASGI hot path for `infer`, Starlette for everything else."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serve import protocol
from serve.batcher import Batcher
from serve.errors import HttpError, overloaded
from serve.http import body, openapi
from serve.http.reply import reply
from serve.metrics import CONTENT_TYPE, Metrics
from serve.options import Options, bundles
from zoo import images
from zoo.errors import DataError
from zoo.runtime.session import Session
from zoo.spec import ImageSpec

PAGE = Path(__file__).parent / "page"
PICTURES = ("curves.png", "confusion.png")
_CURL = "application/x-www-form-urlencoded"  # what `curl --data-binary @digit.png` says it sends
_JSON = (b"content-type", b"application/json")
_CSP = "default-src 'self'; img-src 'self' data: blob:"


_FRESH = {"cache-control": "no-cache"}  # an upgraded server shows its new page


class _Page(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_FRESH)
        return response


class App:
    """The ASGI application over some bundles.

    Attributes:
        draining: set when the server stops: what comes now is answered 503.
        running: requests that are being worked on.
        batchers: each model's queue, from the start of the event loop on.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.draining = False
        self.running = 0
        self._sessions: dict[str, Session] = {}
        self._bundles = bundles(options.models)
        for name, bundle in self._bundles.items():
            session = Session(
                bundle,
                device=options.device,
                threads=options.threads,
                spin=False,
                graphs=options.graphs,
                fp16=options.fp16,
            )
            self._sessions[name] = session
        self.batchers: dict[str, Batcher] = {}
        self._metrics = Metrics()
        self._log = {"text": _log_text, "json": _log_json}.get(options.log)
        self._infer: dict[str, str] = {}
        for name in self._sessions:
            self._infer[f"/v2/models/{name}/infer"] = name
            self._infer[f"/v2/models/{name}/versions/{protocol.VERSION}/infer"] = name
        self._rest = self._starlette()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        began = time.perf_counter()
        name = self._infer.get(scope["path"])
        status = 499  # what the log shows if the client went away
        self.running += 1
        try:
            if name is not None:
                status = await self._answer_infer(name, scope, receive, send)
            else:

                async def watched(message: Any) -> None:
                    nonlocal status
                    if message["type"] == "http.response.start":
                        status = message["status"]
                        if self.draining:
                            message["headers"].append((b"connection", b"close"))
                    await send(message)

                await self._rest(scope, receive, watched)
        finally:
            self.done(scope, name or scope.get("path_params", {}).get("model", "-"), status, began)

    def done(self, scope: Any, model: str, status: int, began: float) -> None:
        """Count and log a request, HTTP or gRPC, that was counted in `running` when it began."""
        self.running -= 1
        seconds = time.perf_counter() - began
        self._metrics.done(model if model in self._sessions else "-", status, seconds)
        if self._log is not None:
            self._log(scope, status, seconds)

    async def _answer_infer(self, name: str, scope: Any, receive: Any, send: Any) -> int:
        """The hot path: body to arrays to the batcher and back."""
        status, extra, packing = 200, [], ""
        try:
            if scope["method"] != "POST":
                raise HttpError(405, f"{scope['method']}: expected POST", allow="POST")
            length = encoding = header_length = None
            for key, value in scope["headers"]:
                if key == b"content-length":
                    length = value
                elif key == b"content-encoding":
                    encoding = value
                elif key == b"inference-header-content-length":
                    header_length = value.decode("latin-1")
                elif key == b"accept-encoding":
                    packing = value.decode("latin-1")
            data = await body.read(receive, length, self.options.max_body, self.options.timeout)
            if self.draining:  # only now: closing over an unread body would reset the connection
                raise stopping()
            if encoding is not None:
                data = body.unpack(data, encoding.decode("latin-1"), self.options.max_body)
            batcher = self.batchers[name]
            card = batcher.session.card
            request = protocol.parse(data, header_length, card)
            answer, json_length = protocol.answer(
                request, await batcher.infer(request.inputs), card
            )
            if json_length is None:
                extra = [_JSON]
            else:
                extra = [
                    (b"content-type", b"application/octet-stream"),
                    (b"inference-header-content-length", b"%d" % json_length),
                ]
        except HttpError as error:
            status, answer = error.status, error.body
            extra = [_JSON, *((k.encode(), v.encode()) for k, v in error.headers)]
        except body.Disconnected:
            return 499
        if packing:
            answer, packed = body.pack(answer, packing)
            if packed:
                extra.append((b"content-encoding", packed.encode()))
        if self.draining:
            extra.append((b"connection", b"close"))
        extra.append((b"content-length", b"%d" % len(answer)))
        await reply(send, status, extra, answer)
        return status

    def _starlette(self) -> Starlette:
        model = "/v2/models/{model}"
        versions = model + "/versions/{version}"
        get: dict[str, Callable[[Request], Any]] = {
            "/v2": lambda request: protocol.server_metadata(),
            "/v2/health/live": lambda request: {"live": True},
            "/v2/health/ready": self._ready,
            model: lambda request: protocol.model_metadata(self._session(request).card),
            versions: lambda request: protocol.model_metadata(self._session(request).card),
            model + "/ready": self._model_ready,
            versions + "/ready": self._model_ready,
            "/v1/models": lambda request: [self._summary(name) for name in self._sessions],
            "/v1/models/{model}": lambda request: self._session(request).card,
            "/openapi.json": lambda request: openapi.document(list(self._sessions)),
        }

        def json(function: Callable[[Request], Any]) -> Callable[[Request], Any]:
            async def endpoint(request: Request) -> Response:
                return _json(function(request))

            return endpoint

        return Starlette(
            routes=[
                *(Route(path, json(function)) for path, function in get.items()),
                Route(model + "/infer", self._unknown_infer, methods=["POST"]),
                Route(versions + "/infer", self._unknown_infer, methods=["POST"]),
                Route("/v1/predict/{model}", self._predict, methods=["POST"]),
                Route("/v1/models/{model}/{picture}", self._picture),
                Route("/metrics", self._show_metrics),
                Route("/docs", self._docs),
                Route("/", self._index),
                Mount("/page", _Page(directory=PAGE)),
            ],
            exception_handlers={
                HttpError: _on_http_error,
                HTTPException: _on_starlette_error,
                Exception: _on_failure,
            },
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        for name, session in self._sessions.items():
            observe = self._metrics.add_model(name, partial(self._depth, name))
            self.batchers[name] = Batcher(
                session,
                max_batch=self.options.max_batch,
                max_queue=self.options.max_queue,
                timeout=self.options.timeout,
                observe=observe,
            )
        yield
        for batcher in self.batchers.values():
            batcher.close()

    def _depth(self, name: str) -> int:
        return self.batchers[name].depth

    def _session(self, request: Request) -> Session:
        params = request.path_params
        return self.session(params["model"], params.get("version", protocol.VERSION))

    def session(self, name: str, version: str) -> Session:
        """Return the model's session.

        Raises:
            HttpError: 404, no such model or version.
        """
        if name not in self._sessions:
            known = ", ".join(self._sessions)
            raise HttpError(404, f"unknown model {name!r}, known: {known}")
        if version != protocol.VERSION:
            raise HttpError(404, f"model {name!r} has no version {version!r}, known: 1")
        return self._sessions[name]

    def _ready(self, request: Request) -> dict[str, bool]:
        if self.draining:
            raise stopping()
        return {"ready": True}

    def _model_ready(self, request: Request) -> dict[str, Any]:
        return {"name": self._session(request).card.name, **self._ready(request)}

    async def _unknown_infer(self, request: Request) -> Response:
        self._session(request)  # raises: the known ones never come here
        raise HttpError(404, "no such model")

    def _summary(self, name: str) -> dict[str, Any]:
        card = self._sessions[name].card
        return {
            "name": name,
            "title": card.title,
            "lesson": card.lesson,
            "task": card.task,
            "parameters": card.parameters,
            "score": card.score,
            "dataset": card.dataset.name,
            "labels": card.labels,
            "input": card.inputs[0],
            "pictures": [
                f"v1/models/{name}/{picture}"
                for picture in PICTURES
                if (self._bundles[name].path / picture).is_file()
            ],
            "limits": card.limits,
        }

    async def _picture(self, request: Request) -> Response:
        name = self._session(request).card.name
        picture = request.path_params["picture"]
        if picture not in PICTURES or not (self._bundles[name].path / picture).is_file():
            raise HttpError(404, f"no picture {picture!r}, known: {', '.join(PICTURES)}")
        return FileResponse(self._bundles[name].path / picture)

    async def _predict(self, request: Request) -> Response:
        """Answer `POST /v1/predict/{model}`: image files in, labels and probabilities out."""
        session = self._session(request)
        spec = session.card.spec
        if not isinstance(spec, ImageSpec):
            where = f"/v2/models/{session.card.name}/infer"
            raise HttpError(400, f"{session.card.name} takes features, not images: use {where}")
        invert = request.query_params.get("invert", "auto")
        if invert not in ("auto", "yes", "no"):
            raise HttpError(400, f"invert: expected auto, yes or no, given {invert!r}")
        files = await self._files(request)
        if self.draining:
            raise stopping()
        arrays = await run_in_threadpool(_decode, files, spec, invert)
        good = [array for array in arrays if not isinstance(array, str)]
        rows: Iterator[list[float]] = iter(())
        if good:
            outputs = await self.batchers[session.card.name].infer(np.stack(good))
            rows = iter(outputs[1].tolist())
        predictions: list[dict[str, Any]] = []
        for (name, _), array in zip(files, arrays, strict=True):
            if isinstance(array, str):
                predictions.append({"name": name, "error": array})
                continue
            probabilities = dict(zip(session.card.labels, next(rows), strict=True))
            label = max(probabilities, key=probabilities.__getitem__)
            predictions.append(
                {
                    "name": name,
                    "label": label,
                    "probability": probabilities[label],
                    "probabilities": probabilities,
                }
            )
        status = 200 if good else 400
        document: dict[str, Any] = {"model": session.card.name, "predictions": predictions}
        if not good:
            document["error"] = predictions[0]["error"]
        return _json(document, status)

    async def _files(self, request: Request) -> list[tuple[str, bytes]]:
        """Return the image files of a request: its body, or the parts of a multipart form."""
        options = self.options
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        known = kind in ("", "multipart/form-data", "application/octet-stream", _CURL)
        if not known and not kind.startswith("image/"):
            expected = "image/*, application/octet-stream or multipart/form-data"
            raise HttpError(415, f"Content-Type {kind!r}: expected {expected}")
        length = request.headers.get("content-length")
        data = await body.read(
            request.receive, length.encode() if length else None, options.max_body, options.timeout
        )
        data = body.unpack(data, request.headers.get("content-encoding", ""), options.max_body)
        if kind != "multipart/form-data":
            if not data:
                raise HttpError(400, "the body is empty: expected an image")
            return [("", data)]

        async def whole() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        try:
            async with Request(request.scope, whole).form(max_files=1000) as form:
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

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def _docs(self, request: Request) -> Response:
        page = openapi.page(list(self._sessions))
        return Response(page, media_type="text/html", headers={"content-security-policy": _CSP})

    async def _index(self, request: Request) -> Response:
        return FileResponse(
            PAGE / "index.html", headers={"content-security-policy": _CSP, **_FRESH}
        )


def stopping() -> HttpError:
    """Build the 503 for what comes while the server drains."""
    return overloaded("the server is stopping")


def _decode(files: list[tuple[str, bytes]], spec: ImageSpec, invert: Any) -> list[Any]:
    """Decode each file to an array, or to the text of what is wrong with it."""
    found: list[Any] = []
    for _, data in files:
        try:
            found.append(images.decode(data, spec, invert))
        except DataError as error:
            found.append(str(error))
    return found


def _json(document: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    headers = dict(error.headers)
    return Response(error.body, error.status, headers, media_type="application/json")


async def _on_starlette_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {
        404: f"no such address: {request.url.path}; see /docs",
        405: f"{request.method}: not allowed here",
    }.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    return Response(
        HttpError(error.status_code, message).body, error.status_code, headers,
        media_type="application/json",
    )  # fmt: skip


async def _on_failure(request: Request, error: Exception) -> Response:
    return _json({"error": "the server failed; its log says more"}, 500)


def _log_text(scope: Any, status: int, seconds: float) -> None:
    client = (scope.get("client") or ("-",))[0]
    sys.stderr.write(
        f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {client} {scope['method']} "
        f"{_printable(scope)} {status} {1000 * seconds:.2f} ms\n"
    )


def _log_json(scope: Any, status: int, seconds: float) -> None:
    line = {
        "time": time.time(),
        "client": (scope.get("client") or ("-",))[0],
        "method": scope["method"],
        "path": _printable(scope),
        "status": status,
        "ms": round(1000 * seconds, 3),
    }
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")


def _printable(scope: Any) -> str:
    """Return the path as the client sent it: still quoted, so that it stays on one line."""
    return str(scope["raw_path"].decode("latin-1"))
