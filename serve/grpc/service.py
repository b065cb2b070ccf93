"""The same models over gRPC: the protocol's service, and the health and reflection services.

In the HTTP server's process and event loop, with the same queues, counters and access log. Raw
tensors are answered with raw ones, typed contents with typed contents.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf import message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from numpy.typing import NDArray

from serve import protocol
from serve.access_log import Access
from serve.errors import HttpError, Unsupported, overloaded
from serve.grpc import management, request
from serve.grpc.messages import POOL as _pool
from serve.http.large import LARGE
from serve.keys import accepted
from serve.models import Models
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
        parse = message.FromString
        if method.name == "ModelInfer":
            parse = partial(request.read, self._models)

        def encode(fields: dict[str, Any]) -> bytes:
            reply: bytes = answer(**fields).SerializeToString()
            return reply

        async def handle(_: AsyncIterator[bytes], context: Any) -> bytes:
            try:
                received = self._received(context)
                return await self._counted(name, received, parse, function, encode, context)
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
        name, parse = f"{SERVICE}/{method.name}", partial(request.read, self._models)

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
                            name, _ready(data), parse, self._infer, encode, context
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
        message: Awaitable[bytes],
        parse: Callable[[bytes], Any],
        function: Callable[[Any], Any],
        encode: Callable[[dict[str, Any]], bytes],
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
            data = await message
            try:
                if len(data) > LARGE:
                    asked = await self._models.in_turn(len(data), parse, data)
                else:
                    asked = parse(data)
            except DecodeError:
                raise HttpError(400, f"expected the message of {name}") from None
            del data  # as large as a body, while its rows wait
            model = str(getattr(asked, "model_name", getattr(asked, "name", "-")))
            result = function(asked)
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

    async def _infer(self, asked: request.Asked) -> dict[str, Any]:
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


async def _ready(data: bytes) -> bytes:
    """Return a message that a stream has received already."""
    return data


def _client(context: Any) -> str:
    """Return a peer's address."""
    return unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
