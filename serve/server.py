"""The server process: uvicorn around the application, one or several workers, and a clean end.

SIGTERM or Ctrl-C: no new connections; requests in flight are answered; what still comes over open
connections is refused with 503; then exit 0.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from serve.http.app import App
from serve.options import Options
from zoo.errors import ZooError, needs_extra

#: Seconds in which open connections are still told that the server stops.
_FAREWELL = 0.5


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app
        self._grpc: Any = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a server that stopped as it was told to has not failed."""
        before = {n: signal.signal(n, self.handle_exit) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._app.options.grpc and not self.should_exit:
            from serve.grpc.service import Endpoint

            self._grpc = Endpoint(self._app)
            await self._grpc.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self._grpc is not None:
            self._grpc.drain()
        end = time.monotonic() + self._app.options.timeout
        await asyncio.sleep(_FAREWELL)
        while self._app.running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if self._grpc is not None:
            await self._grpc.stop()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Raises:
        ZooError: the address is taken or cannot be had.
    """
    return _bind(host, port, shared=False)


def grpc_address(host: str, port: int) -> str:
    """Return the address for `Options.grpc`; port 0 takes a free one.

    Raises:
        ZooError: grpcio or protobuf is not installed; the address is taken or cannot be had.
    """
    with needs_extra("grpc", "gRPC"):
        for name in ("grpc", "google.protobuf"):  # the workers will; a missing one is told now
            importlib.import_module(name)
    listener = bind(host, port)
    port = listener.getsockname()[1]
    listener.close()  # gRPC binds by itself, each worker with SO_REUSEPORT
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
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


def _share(listener: socket.socket, count: int) -> list[socket.socket]:
    """Return a socket for each worker, all on one port; Linux spreads the connections evenly."""
    if sys.platform != "linux":
        return [listener] * count
    host, port = listener.getsockname()[:2]
    listener.close()  # the port is free: no other server shares it by mistake
    return [_bind(host, port, shared=True) for _ in range(count)]


def serve(
    options: Options, listener: socket.socket, workers: int, announce: Callable[[], object]
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        options: what and how.
        listener: from `bind`.
        workers: processes; one that is killed is replaced.
        announce: called when the models are loaded.

    Raises:
        ZooError: a model or the device cannot be had, with the exit code of what went wrong.
    """
    if workers == 1:
        _work(options, listener, announce)
        return
    stopping = False

    def stop(number: int, frame: Any) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="zoo-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder

        listeners = _share(listener, workers)
        news: Any = context.SimpleQueue()

        def start(place: int) -> Any:
            process = context.Process(target=_child, args=(options, listeners[place], news))
            process.start()
            return process

        processes = [start(place) for place in range(workers)]
        problem: ZooError | None = None
        told = False
        while not stopping and problem is None:
            time.sleep(0.1)
            for place, process in enumerate(processes):
                if process.is_alive() or stopping:
                    continue
                if process.exitcode > 0:  # it failed: another one would fail too
                    problem = ZooError(f"worker {process.pid} ended with code {process.exitcode}")
                    continue
                print(f"zoo: worker {process.pid} died, starting another", file=sys.stderr)
                processes[place] = start(place)
            while not news.empty():
                if (said := news.get()) is not None:
                    message, code = said
                    problem = ZooError(message)
                    problem.exit_code = code
                elif not told:
                    told = True
                    announce()
        for each in listeners:
            each.close()
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        if problem is not None:
            raise problem


def _child(options: Options, listener: socket.socket, news: Any) -> None:
    """Work as one of several; tell that the models are loaded (None), or (what is wrong, code)."""
    try:
        _work(options, listener, lambda: news.put(None))
    except ZooError as error:
        news.put((str(error), error.exit_code))
        sys.exit(error.exit_code)


def _work(options: Options, listener: socket.socket, loaded: Callable[[], object]) -> None:
    sys.setswitchinterval(0.0005)  # a model's thread that is done shall not wait 5 ms for the GIL
    app = App(options)
    loaded()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        http="httptools",
        loop="auto",
        server_header=False,
        backlog=2048,
        timeout_graceful_shutdown=int(options.timeout) + 1,
    )
    _Server(config, app).run(sockets=[listener])
