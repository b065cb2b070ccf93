"""The server, one process: uvicorn around the HTTP application, gRPC beside it, and a clean end.

SIGTERM or Ctrl-C: for `--drain` seconds not ready, and all is still answered; then no new
connections; requests in progress are answered; new ones over connections that are open already are
refused with 503; then exit 0. A second Ctrl-C ends at once. SIGHUP reads the models anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.middleware.cors import CORSMiddleware

from serve import log
from serve.http import connection
from serve.http.app import App
from serve.models import Models
from serve.options import Options
from zoo.bundle.folder import Bundle
from zoo.errors import ZooError, first_line, needs_extra

#: Seconds in which requests over open connections still get their 503.
_DRAIN = 0.5
_M_MMAP_THRESHOLD = -3  # of mallopt(3)
#: Tells a worker that its successor accepts connections.
REPLACED = getattr(signal, "SIGUSR1", signal.SIGTERM)
#: What a page of an allowed origin may send.
_CORS_HEADERS = [
    "Authorization", "Content-Encoding", "Content-Type", "Inference-Header-Content-Length",
    "X-API-Key",
]  # fmt: skip
_log = logging.getLogger("zoo")


class _Server(uvicorn.Server):
    """Uvicorn's server with gRPC beside it, the stages of the end, and a reload on SIGHUP.

    Args:
        config: uvicorn's settings.
        models: what is served.
        announce: called when connections are accepted.
        beat: called ten times a second by the event loop, in a worker process; its parent takes
            the signals then.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        models: Models,
        announce: Callable[[], object],
        beat: Callable[[], object] | None,
    ) -> None:
        super().__init__(config)
        self._models = models
        self._announce, self._beat = announce, beat
        self._grpc: Any = None
        self._hung_up = self._replaced = False
        self._reloading: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal again at the end: a clean stop is exit 0."""
        handlers: dict[int, Any] = {signal.SIGTERM: self.handle_exit}
        # a terminal sends Ctrl-C to the workers as well as to their parent
        handlers[signal.SIGINT] = signal.SIG_IGN if self._beat else self.handle_exit
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = signal.SIG_IGN if self._beat else self._hang_up
        if self._beat is not None:
            handlers[REPLACED] = self._replace
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        if self._models.options.grpc:
            from serve.grpc.service import Endpoint

            self._grpc = Endpoint(self._models)
            await self._grpc.start()
        self._announce()

    async def on_tick(self, counter: int) -> bool:
        if self._beat is not None:
            self._beat()
            self._models.metrics.refresh()
        if self._hung_up and (self._reloading is None or self._reloading.done()):
            self._hung_up = False
            self._reloading = asyncio.create_task(self._reload())
        return await super().on_tick(counter)

    async def _reload(self) -> None:
        try:
            await self._models.reload()
        except Exception as error:  # whatever it is, the loaded ones go on
            _log.error("not reloaded, the models of before are served: %s", first_line(error))
        else:
            _log.warning("reloaded %s", ", ".join(self._models.bundles))

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._hung_up = True

    def _replace(self, number: int, frame: FrameType | None) -> None:
        self._replaced = self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            os._exit(130)  # asked for twice: nothing is waited for
        self._models.leaving = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, stop listening, answer what is in progress, and end.

        One that is replaced refuses nothing: its successor has the socket already.
        """
        if not self._replaced:
            await self._drain()
        self._models.closing = True
        self._models.draining = not self._replaced
        for server in self.servers:
            server.close()
        end = time.monotonic() + self._models.options.timeout
        await asyncio.sleep(_DRAIN)
        while self._models.running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if self._grpc is not None:
            await self._grpc.stop()
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        """For the seconds of `drain`, answer everything but whether the server is ready."""
        self._models.leaving = True
        if self._grpc is not None:
            await self._grpc.drain()
        end = time.monotonic() + self._models.options.drain
        counter = 0
        while time.monotonic() < end:
            await asyncio.sleep(0.1)
            counter += 1
            await self.on_tick(counter)


def bind_path(path: str) -> socket.socket:
    """Open the listening socket on a path (`--uds`); one that a dead server left is replaced.

    Raises:
        ZooError: a server listens there, the file is something else, or it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise ZooError(f"cannot listen on {path}: it is not a socket")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                if client.connect_ex(path) == 0:
                    raise ZooError(f"cannot listen on {path}: Address already in use")
            os.unlink(path)
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise ZooError(f"cannot listen on {path}: {error.strerror or error}") from None
    except ZooError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


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
    except (OSError, OverflowError, ValueError) as error:  # names may be too long, or hold NUL
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
        for name in ("grpc", "google.protobuf", "grpc_health", "grpc_reflection"):
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


def serve(
    options: Options,
    listener: socket.socket,
    announce: Callable[[], object],
    held: dict[str, Bundle] | None = None,
    beat: Callable[[], object] | None = None,
) -> None:
    """Serve in this process until SIGTERM or Ctrl-C.

    Args:
        options: the settings.
        listener: from `bind` or `bind_path`.
        announce: called when connections are accepted.
        held: the bundles, from `serve.models.bundles`; otherwise they are read now.
        beat: in a worker process, called by its event loop all the time.

    Raises:
        ZooError: a model cannot be loaded, or the device is not available.
    """
    # by default a model's thread that has its result could wait 5 ms for the GIL
    sys.setswitchinterval(0.0005)
    _return_large_blocks()
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    log.setup(options.log_format)
    models = Models(options, held)
    app: Any = App(models)
    if options.origins:
        app = CORSMiddleware(
            app,
            allow_origins=options.origins,
            allow_methods=["GET", "POST"],
            allow_headers=_CORS_HEADERS,
            expose_headers=["Inference-Header-Content-Length"],
        )
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # the application looks at them itself, where there are any
        lifespan="on",
        http=connection.limited(options.timeout),
        loop="auto",
        server_header=False,
        backlog=2048,
        timeout_keep_alive=options.keep_alive,  # type: ignore[arg-type]  # fractions are fine
        timeout_graceful_shutdown=int(options.timeout) + 1,
        root_path=options.root_path,
        ssl_certfile=options.certfile or None,
        ssl_keyfile=options.keyfile or None,
    )
    _Server(config, models, announce, beat).run(sockets=[listener])
