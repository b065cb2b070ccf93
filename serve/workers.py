"""The server, several processes on one port: started, watched, and replaced if they are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from serve import server
from serve.options import Options
from zoo.errors import ZooError


def serve(
    options: Options, listener: socket.socket, workers: int, announce: Callable[[], object]
) -> None:
    """Serve in several processes until SIGTERM or Ctrl-C.

    Args:
        options: the settings.
        listener: from `serve.server.bind`.
        workers: how many processes.
        announce: called when the first of them has loaded the models.

    Raises:
        ZooError: a worker failed; with its message and exit code.
    """
    stopping = False

    def stop(number: int, frame: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    context = multiprocessing.get_context("spawn")  # a fork copies locks without their threads
    with tempfile.TemporaryDirectory(prefix="zoo-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        listeners = _listeners(listener, workers)
        messages: Any = context.SimpleQueue()

        def start(number: int) -> Any:
            process = context.Process(target=_work, args=(options, listeners[number], messages))
            process.start()
            return process

        processes = [start(number) for number in range(workers)]
        problem: ZooError | None = None
        announced = False
        while not stopping and problem is None:
            time.sleep(0.1)
            for number, process in enumerate(processes):
                if process.is_alive() or stopping:
                    continue
                if process.exitcode > 0:  # it failed by itself: its successor would fail too
                    problem = ZooError(f"worker {process.pid} ended with code {process.exitcode}")
                    continue
                print(f"zoo: worker {process.pid} died, starting another", file=sys.stderr)
                processes[number] = start(number)
            while not messages.empty():
                if (error := messages.get()) is not None:
                    problem = error
                elif not announced:
                    announced = True
                    announce()
        for listener in listeners:
            listener.close()
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        if problem is not None:
            raise problem


def _listeners(listener: socket.socket, workers: int) -> list[socket.socket]:
    """Return a socket for each worker, all on one port; Linux spreads the connections evenly."""
    if sys.platform != "linux":
        return [listener] * workers
    host, port = listener.getsockname()[:2]
    listener.close()  # it is not shared, so that no other server took the port by mistake
    return [server.bind(host, port, shared=True) for _ in range(workers)]


def _work(options: Options, listener: socket.socket, messages: Any) -> None:
    """Serve as one of several; send None when the models are loaded, or the error."""
    try:
        server.serve(options, listener, lambda: messages.put(None))
    except ZooError as error:
        messages.put(error)
        sys.exit(error.exit_code)
