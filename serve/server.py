"""The server, one process: uvicorn around the HTTP application, gRPC beside it, and a clean end.

SIGTERM or Ctrl-C: no new connections; requests in progress are answered; new ones over connections
that are open already are refused with 503; then exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from serve.http import connection
from serve.http.app import App
from serve.models import Models
from serve.options import Options
from zoo.errors import ZooError, needs_extra

#: Seconds in which requests over open connections still get their 503.
_DRAIN = 0.5
_M_MMAP_THRESHOLD = -3  # of mallopt(3)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, models: Models) -> None:
        super().__init__(config)
        self._models = models
        self._grpc: Any = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal again at the end: a clean stop is exit 0."""
        before = {n: signal.signal(n, self.handle_exit) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._models.options.grpc and not self.should_exit:
            from serve.grpc.service import Endpoint

            self._grpc = Endpoint(self._models)
            await self._grpc.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._models.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self._grpc is not None:
            await self._grpc.drain()
        end = time.monotonic() + self._models.options.timeout
        await asyncio.sleep(_DRAIN)
        while self._models.running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if self._grpc is not None:
            await self._grpc.stop()
        await super().shutdown(sockets)


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Open the listening socket.

    Args:
        host: an address of this machine.
        port: 0 takes a free one.
        shared: let other sockets listen on the same port (SO_REUSEPORT).

    Raises:
        ZooError: the address is taken or is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ZooError(f"cannot listen on {host}:{port}: {reason}") from None
    listener.set_inheritable(True)
    return listener


def grpc_address(host: str, port: int) -> str:
    """Return the address for `Options.grpc`; port 0 takes a free one.

    Raises:
        ZooError: a package of the extra is not installed; the address is taken or not available.
    """
    with needs_extra("grpc", "gRPC"):  # here, not first in each worker
        for name in ("grpc", "google.protobuf", "grpc_health"):
            importlib.import_module(name)
    listener = bind(host, port)
    port = listener.getsockname()[1]
    listener.close()  # gRPC binds by itself, each worker with SO_REUSEPORT
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _return_large_blocks() -> None:
    """Let glibc give blocks of a mebibyte and more back to the system as soon as they are free.

    By itself it comes to keep blocks of up to 32 MiB for later, in each thread: hundreds of MiB
    after some large pictures.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def serve(options: Options, listener: socket.socket, announce: Callable[[], object]) -> None:
    """Serve in this process until SIGTERM or Ctrl-C.

    Args:
        options: the settings.
        listener: from `bind`.
        announce: called when the models are loaded.

    Raises:
        ZooError: a model cannot be loaded, or the device is not available.
    """
    # by default a model's thread that has its result could wait 5 ms for the GIL
    sys.setswitchinterval(0.0005)
    _return_large_blocks()
    models = Models(options)
    announce()
    config = uvicorn.Config(
        App(models),
        log_level="warning",
        access_log=False,
        lifespan="on",
        http=connection.limited(options.timeout),
        loop="auto",
        server_header=False,
        backlog=2048,
        timeout_keep_alive=options.keep_alive,  # type: ignore[arg-type]  # fractions are fine
        timeout_graceful_shutdown=int(options.timeout) + 1,
    )
    _Server(config, models).run(sockets=[listener])
