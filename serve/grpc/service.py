"""The same models over gRPC: the Open Inference Protocol's service, and the health service.

In the HTTP server's process and event loop, before the same queues; counted and logged as HTTP
requests are. Tensors are answered as they came: raw bytes for raw bytes, typed for typed contents.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serve import protocol
from serve.errors import HttpError
from serve.http.app import App, stopping
from zoo.bundle.card import Card
from zoo.errors import ZooError

SERVICE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
#: Seconds in which answers that are ready still go out, once nothing runs any more.
_GRACE = 1.0
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
}
#: Where typed contents are.
_CONTENTS = {"uint8": "uint_contents", "float32": "fp32_contents"}

# Not the default pool: a client's generated code in the same process has messages of these names.
_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(
    (Path(__file__).parent / "proto" / "services.binpb").read_bytes()
).file:
    _pool.Add(_file)
_Health = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{HEALTH}CheckResponse"))


class Endpoint:
    """The gRPC server over an application. Made and used inside its event loop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._stopping = asyncio.Event()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", app.options.max_body),
                ("grpc.max_send_message_length", -1),
            ]
        )
        self._serve(
            SERVICE,
            ServerLive=lambda request: {"live": True},
            ServerReady=lambda request: {"ready": not app.draining},
            ModelReady=self._model_ready,
            ServerMetadata=lambda request: protocol.server_metadata(),
            ModelMetadata=lambda request: protocol.model_metadata(
                app.session(request.name, request.version or protocol.VERSION).card
            ),
            ModelInfer=self._infer,
        )
        self._serve(HEALTH, Check=self._check, Watch=self._watch)

    async def start(self) -> None:
        """Listen; ZooError if the address was taken meanwhile."""
        try:
            self._server.add_insecure_port(self._app.options.grpc)
        except RuntimeError:
            raise ZooError(f"cannot listen on {self._app.options.grpc} for gRPC") from None
        await self._server.start()

    def drain(self) -> None:
        """Tell those who watch the health that the end is near."""
        self._stopping.set()

    async def stop(self) -> None:
        """End; what still comes is refused as UNAVAILABLE."""
        await self._server.stop(_GRACE)

    def _serve(self, service: str, **functions: Callable[..., Any]) -> None:
        handlers = {}
        for method in _pool.FindServiceByName(service).methods:
            question = message_factory.GetMessageClass(method.input_type)
            answer = message_factory.GetMessageClass(method.output_type)
            function = functions[method.name]
            if method.server_streaming:
                handlers[method.name] = grpc.unary_stream_rpc_method_handler(
                    function, question.FromString, answer.SerializeToString
                )
            else:
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                    self._counted(f"/{service}/{method.name}", question, function, answer)
                )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )

    def _counted(
        self, path: str, question: Any, function: Callable[[Any], Any], answer: Any
    ) -> Callable[[bytes, Any], Any]:
        """Wrap a method: bytes to bytes, errors to status codes, counted and logged."""

        async def handle(data: bytes, context: Any) -> Any:
            began = time.perf_counter()
            model, status = "-", 500
            self._app.running += 1
            try:
                try:
                    request = question.FromString(data)
                except DecodeError:
                    raise HttpError(400, f"expected the message of {path[1:]}") from None
                model = str(getattr(request, "model_name", getattr(request, "name", "-")))
                found = function(request)
                found = await found if inspect.isawaitable(found) else found
                reply = answer(**found).SerializeToString()
                status = 200
                return reply
            except HttpError as error:
                status, said = error.status, str(error)
            except asyncio.CancelledError:  # the client has gone, or its deadline is over
                status = 499
                raise
            finally:
                client = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
                scope = {"client": (client,), "method": "POST", "raw_path": path.encode()}
                self._app.done(scope, model, status, began)
            await context.abort(_CODES.get(status, grpc.StatusCode.INTERNAL), said)

        return handle

    def _model_ready(self, request: Any) -> dict[str, bool]:
        try:
            self._app.session(request.name, request.version or protocol.VERSION)
        except HttpError:
            return {"ready": False}  # as Triton answers, so that a client's question is no error
        return {"ready": not self._app.draining}

    async def _infer(self, request: Any) -> dict[str, Any]:
        version = request.model_version or protocol.VERSION
        card = self._app.session(request.model_name, version).card
        if self._app.draining:
            raise stopping()
        numbers = protocol.chosen(request.outputs, card)
        outputs = await self._app.batchers[card.name].infer(_inputs(request, card))
        tensors, blobs = [], []
        for number in numbers:
            array = outputs[number]
            name = card.outputs[number].name
            tensor: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": array.shape}
            if request.raw_input_contents:
                blobs.append(array.astype("<f4", copy=False).tobytes())
            else:
                tensor["contents"] = {"fp32_contents": array.ravel().tolist()}
            tensors.append(tensor)
        return {
            "model_name": card.name,
            "model_version": protocol.VERSION,
            "id": request.id,
            "outputs": tensors,
            "raw_output_contents": blobs,
        }

    def _health(self, service: str) -> int:
        if service not in ("", SERVICE, HEALTH):
            return _UNKNOWN
        return _NOT_SERVING if self._app.draining else _SERVING

    def _check(self, request: Any) -> dict[str, int]:
        if (status := self._health(request.service)) == _UNKNOWN:
            raise HttpError(404, f"unknown service {request.service!r}, known: {SERVICE}")
        return {"status": status}

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield _Health(status=self._health(request.service))
        await self._stopping.wait()
        yield _Health(status=self._health(request.service))


def _inputs(request: Any, card: Card) -> NDArray[Any]:
    """Read the tensor of a ModelInferRequest.

    Raises:
        HttpError: 400, with what was given and what was expected.
    """
    spec = card.inputs[0]
    tensor = protocol.only(request.inputs, spec)
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    size = math.prod(tensor.shape)
    raw = request.raw_input_contents
    field = "raw_input_contents" if raw else _CONTENTS[spec.dtype]
    if len(raw) > 1 or filled != ([] if raw else [field]):
        given = ", ".join(filled + ["raw_input_contents"] * len(raw)) or "no contents"
        raise HttpError(400, f"{spec.name}: expected {field} alone, given {given}")
    values = raw[0] if raw else getattr(tensor.contents, field)
    need = size * dtype.itemsize if raw else size
    if len(values) != need:
        raise HttpError(400, f"{spec.name}: shape {tensor.shape} needs {need} "
                             f"{'bytes' if raw else 'values'}, given {len(values)}")  # fmt: skip
    if raw:
        array = np.frombuffer(values, dtype)
    else:
        array = np.array(values, np.uint32 if spec.dtype == "uint8" else dtype)
        if spec.dtype == "uint8" and array.max() > 255:
            raise HttpError(400, f"{spec.name}: expected integers from 0 to 255")
        array = array.astype(dtype, copy=False)
    return protocol.finite(array.reshape(tensor.shape), spec)
