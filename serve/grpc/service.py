"""The same models over gRPC: the protocol's service, and the health and reflection services.

In the HTTP server's process and event loop, with the same queues, counters and access log. Raw
tensors are answered with raw ones, typed contents with typed contents.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from numpy.typing import NDArray

from serve import protocol
from serve.access_log import Access
from serve.errors import HttpError, Unsupported, overloaded, stopping
from serve.grpc import management
from serve.http.large import LARGE
from serve.keys import accepted
from serve.models import Models
from zoo.bundle.card import Card
from zoo.errors import ZooError

SERVICE = "inference.GRPCInferenceService"
#: Seconds in which answers that are ready still go out, once no request is in progress.
_GRACE = 1.0
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
}
#: Calls in progress; messages that are being received, of which each may be as large as a body;
#: streams, each of which may hold one more. A call beyond the first and the last is refused.
_CALLS, _RECEIVING, _STREAMS = 1024, 4, 32
#: Numbers of typed contents that are converted at a time.
_PIECE = 1 << 16
#: Where typed contents are.
_CONTENTS = {"uint8": "uint_contents", "float32": "fp32_contents"}

# Not the default pool: a client's generated code in the same process has messages of these names.
_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(
    (Path(__file__).parent / "proto" / "services.binpb").read_bytes()
).file:
    _pool.Add(_file)
for _module in (health_pb2, reflection_pb2):  # for reflection, which shows one pool
    _file = descriptor_pb2.FileDescriptorProto()
    _module.DESCRIPTOR.CopyToProto(_file)
    _pool.Add(_file)


_INFER = message_factory.GetMessageClass(_pool.FindMessageTypeByName("inference.ModelInferRequest"))


class _Asked(NamedTuple):
    """A ModelInferRequest without its message, which takes several times the memory."""

    model_name: str
    card: Card
    id: str
    numbers: list[int]
    counts: list[int]
    limit: float | None
    raw: bool
    inputs: NDArray[Any]


class Endpoint:
    """The gRPC server of the loaded models. Made and used inside the running event loop."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[_Keys(models)] if models.options.keys else None,
            maximum_concurrent_rpcs=_CALLS,
            options=[
                ("grpc.max_receive_message_length", models.options.max_body),
                ("grpc.max_send_message_length", -1),
                ("grpc.http2.bdp_probe", 0),
            ],
        )
        self._receiving, self._streams = asyncio.Semaphore(_RECEIVING), 0
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        functions: dict[str, Callable[[Any], Any]] = {
            "ServerLive": lambda request: {"live": True},
            "ServerReady": lambda request: {"ready": not models.leaving},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda request: protocol.server_metadata(),
            "ModelMetadata": lambda request: protocol.model_metadata(
                models.session(request.name, request.version or protocol.VERSION).card
            ),
            "ModelInfer": self._infer,
            **management.functions(models),
        }
        methods = _pool.FindServiceByName(SERVICE).methods_by_name
        handlers = {
            # as a stream: its one message is read when there is room, not before
            name: grpc.stream_unary_rpc_method_handler(self._unary(methods[name], function))
            for name, function in functions.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream(methods["ModelStreamInfer"])
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=_pool)

    async def start(self) -> None:
        """Listen.

        Raises:
            ZooError: the address was taken meanwhile.
        """
        options = self._models.options
        try:
            if options.certfile:
                pair = (Path(options.keyfile).read_bytes(), Path(options.certfile).read_bytes())
                secure = grpc.ssl_server_credentials([pair])
                self._server.add_secure_port(options.grpc, secure)
            else:
                self._server.add_insecure_port(options.grpc)
        except RuntimeError:
            raise ZooError(f"cannot listen on {self._models.options.grpc} for gRPC") from None
        for name in (SERVICE, health.SERVICE_NAME):  # "", the whole server, is SERVING already
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def drain(self) -> None:
        """Set the health to NOT_SERVING, so that load balancers send nothing more."""
        await self._health.enter_graceful_shutdown()

    async def stop(self) -> None:
        """End; new requests are refused as UNAVAILABLE."""
        await self._server.stop(_GRACE)

    def _unary(
        self, method: Any, function: Callable[[Any], Any]
    ) -> Callable[[AsyncIterator[bytes], Any], Any]:
        """Wrap a method: bytes to bytes, errors to status codes."""
        message = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        name = f"{SERVICE}/{method.name}"
        parse = self._asked if method.name == "ModelInfer" else message.FromString

        def encode(fields: dict[str, Any]) -> bytes:
            reply: bytes = answer(**fields).SerializeToString()
            return reply

        async def handle(_: AsyncIterator[bytes], context: Any) -> bytes:
            try:
                return await self._counted(
                    name, parse, function, encode, await self._received(context), context
                )
            except HttpError as error:
                refused = error.with_traceback(None)  # whose frames would keep the message
            code = _CODES.get(refused.status, grpc.StatusCode.INTERNAL)
            if isinstance(refused, Unsupported):
                code = grpc.StatusCode.UNIMPLEMENTED
            try:
                await context.abort(code, str(refused))
            except grpc.aio.AbortError:
                raise
            except Exception:  # gRPC's own: it has refused a large message, or the client has gone
                raise asyncio.CancelledError from None
            raise AssertionError("abort raises")

        return handle

    def _stream(self, method: Any) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        """Wrap ModelStreamInfer: requests in, answers out in their order, errors among them."""
        answer = message_factory.GetMessageClass(method.output_type)
        name = f"{SERVICE}/{method.name}"

        def encode(response: dict[str, Any]) -> bytes:
            # each request has one answer; clients of decoupled models wait for this mark
            response["parameters"] = {"triton_final_response": {"bool_param": True}}
            reply: bytes = answer(infer_response=response).SerializeToString()
            return reply

        async def handle(_: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            if self._streams >= _STREAMS:
                await context.abort(_CODES[503], f"{_STREAMS} streams are open already")
            self._streams += 1
            try:
                while isinstance(data := await context.read(), bytes):  # otherwise EOF
                    try:
                        reply = await self._counted(
                            name, self._asked, self._infer, encode, data, context
                        )
                    except HttpError as error:
                        reply = answer(error_message=str(error)).SerializeToString()
                    yield reply
            finally:
                self._streams -= 1

        return handle

    async def _received(self, context: Any) -> bytes:
        """Return the one message of a call; the call's iterator would keep it for longer.

        Raises:
            HttpError: 503, it did not arrive in time; 400, there is none.
        """
        timeout = self._models.options.timeout
        try:
            async with asyncio.timeout(timeout), self._receiving:
                data = await context.read()
        except TimeoutError:
            raise overloaded(f"the message did not arrive within {timeout:g} s") from None
        if not isinstance(data, bytes):  # grpc.aio.EOF
            raise HttpError(400, "expected a message, given none")
        return data

    async def _counted(
        self,
        name: str,
        parse: Callable[[bytes], Any],
        function: Callable[[Any], Any],
        encode: Callable[[dict[str, Any]], bytes],
        data: bytes,
        context: Any,
    ) -> bytes:
        """Return a request's answer; it is counted and logged, whatever comes of it.

        Raises:
            HttpError: it is refused, or the server failed.
        """
        began = time.perf_counter()
        model, status = "-", 500
        self._models.running += 1
        try:
            try:
                if len(data) > LARGE:
                    request = await self._models.in_turn(len(data), parse, data)
                else:
                    request = parse(data)
            except DecodeError:
                raise HttpError(400, f"expected the message of {name}") from None
            del data  # as large as a body, while its rows wait
            model = str(getattr(request, "model_name", getattr(request, "name", "-")))
            result = function(request)
            reply = encode(await result if inspect.isawaitable(result) else result)
            status = 200
            return reply
        except HttpError as error:
            status, model = error.status, error.model or model
            raise
        except Exception:
            logging.getLogger("zoo").exception("%s failed", name)
            raise HttpError(500, "the server failed; its log says more") from None
        except asyncio.CancelledError:  # the client has gone, or its deadline is over
            status = 499
            raise
        finally:
            access = Access(_client(context), "POST", f"/{name}")
            self._models.done(access, model, status, began)

    def _model_ready(self, request: Any) -> dict[str, bool]:
        try:
            self._models.session(request.name, request.version or protocol.VERSION)
        except HttpError:
            return {"ready": False}  # as Triton answers: asking is not an error
        return {"ready": not self._models.leaving}

    def _asked(self, data: bytes) -> _Asked:
        """Read a ModelInferRequest; in any thread.

        Raises:
            HttpError: 400, 404, 503, as over HTTP. DecodeError: another message.
        """
        request = _INFER.FromString(data)
        try:
            version = request.model_version or protocol.VERSION
            card = self._models.session(request.model_name, version).card
            if self._models.draining:
                raise stopping()
            numbers = protocol.chosen(request.outputs, card)
            counts = [0] * len(numbers)
            for index, output in enumerate(request.outputs):
                wanted = management.parameters(output.parameters)
                protocol.refuse_shared_memory(wanted, output.name)
                counts[index] = protocol.classes(wanted, card.outputs[numbers[index]], card)
            limit = protocol.seconds(management.parameters(request.parameters))
            raw, inputs = bool(request.raw_input_contents), _inputs(request, card)
        except HttpError as error:
            error.model = request.model_name
            raise
        return _Asked(card.name, card, request.id, numbers, counts, limit, raw, inputs)

    async def _infer(self, asked: _Asked) -> dict[str, Any]:
        card = asked.card
        outputs = await self._models.batcher(card.name).infer(asked.inputs, asked.limit)
        tensors, blobs = [], []
        for number, count in zip(asked.numbers, asked.counts, strict=True):
            array: NDArray[Any] = outputs[number]
            if count:
                array = protocol.classified(array, count, card)
            name, datatype = card.outputs[number].name, "BYTES" if count else "FP32"
            tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
            if asked.raw:
                blobs.append(
                    protocol.packed_texts(array)
                    if count
                    else array.astype("<f4", copy=False).tobytes()
                )
            elif count:
                texts = [text.encode() for text in array.ravel().tolist()]
                tensor["contents"] = {"bytes_contents": texts}
            else:
                tensor["contents"] = {"fp32_contents": array.ravel().tolist()}
            tensors.append(tensor)
        return {
            "model_name": card.name,
            "model_version": protocol.VERSION,
            "id": asked.id,
            "outputs": tensors,
            "raw_output_contents": blobs,
        }


class _Keys(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses calls without the API key, except those of the health service."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._keys = [key.encode() for key in models.options.keys]

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        given = {
            k: v if isinstance(v, bytes) else v.encode() for k, v in details.invocation_metadata
        }
        path = details.method
        if path.startswith(f"/{health.SERVICE_NAME}/") or accepted(
            self._keys, given.get("authorization"), given.get("x-api-key")
        ):
            return await continuation(details)

        async def refuse(request: Any, context: Any) -> None:
            self._models.running += 1
            access = Access(_client(context), "POST", path)
            self._models.done(access, "-", 401, time.perf_counter())
            reason = "expected the API key in the metadata: authorization: Bearer KEY"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, reason)

        method = await continuation(details)
        if method is not None and method.request_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)  # before its first message
        return grpc.unary_unary_rpc_method_handler(refuse)


def _client(context: Any) -> str:
    """Return a peer's address."""
    return unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")


def _inputs(request: Any, card: Card) -> NDArray[Any]:
    """Read the tensor of a ModelInferRequest.

    Raises:
        HttpError: 400, with what was given and what was expected.
    """
    spec = card.inputs[0]
    tensor = protocol.only(request.inputs, spec)
    protocol.refuse_shared_memory(management.parameters(tensor.parameters), tensor.name)
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    size = math.prod(tensor.shape)
    raw = request.raw_input_contents
    field = "raw_input_contents" if raw else _CONTENTS[spec.dtype]
    if len(raw) > 1 or filled != ([] if raw else [field]):
        fields = ", ".join(filled + ["raw_input_contents"] * len(raw)) or "no contents"
        raise HttpError(400, f"{spec.name}: expected {field} alone, given {fields}")
    values = raw[0] if raw else getattr(tensor.contents, field)
    need = size * dtype.itemsize if raw else size
    if len(values) != need:
        raise HttpError(400, f"{spec.name}: shape {tensor.shape} needs {need} "
                             f"{'bytes' if raw else 'values'}, given {len(values)}")  # fmt: skip
    if raw:
        array = np.frombuffer(values, dtype)
    else:
        array = np.empty(size, dtype)
        for start in range(0, size, _PIECE):  # each number becomes an object on its way
            piece = np.array(values[start : start + _PIECE], "f4" if dtype.kind == "f" else "u4")
            if dtype.kind == "u" and piece.max() > 255:
                raise HttpError(400, f"{spec.name}: expected integers from 0 to 255")
            array[start : start + _PIECE] = piece
    return protocol.finite(array.reshape(tensor.shape), spec)
