"""The server, several processes on one port: started, watched, replaced, and gone with this one.

A worker that died or hangs is replaced. SIGHUP reads the models anew: each worker is replaced in
its turn, and ends when its successor, on the same socket, accepts connections.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from serve import log, server
from serve.metrics import MULTIPROCESS
from serve.models import again
from serve.options import Options
from zoo.bundle.folder import Bundle
from zoo.errors import Interrupted, ZooError

#: Seconds without a beat of its event loop after which a worker hangs.
_HANGS = 10.0
#: Deaths one after the other, none of them ready between, after which the server gives up.
_DEATHS = 5
#: Seconds that a worker may take to end beyond `drain` and `timeout`.
_GRACE = 5.0
_PR_SET_PDEATHSIG = 1
_log = logging.getLogger("zoo")


class _Worker:
    """A worker process; `ready` when it accepts connections."""

    def __init__(
        self, context: Any, options: Options, listener: socket.socket, held: Any, messages: Any
    ) -> None:
        self.listener, self.ready = listener, False
        #: `time.monotonic()` of its last beat; the clock is one for all processes.
        self.beat = context.RawValue("d", 0.0)
        arguments = (options, listener, held, messages, self.beat, os.getpid())
        self.process = context.Process(target=_work, args=arguments)
        self.process.start()

    def hangs(self, now: float) -> bool:
        return self.ready and now - max(self.beat.value, self.seen) > _HANGS

    #: When this process last was awake, and would have seen a beat.
    seen = 0.0


class _Workers:
    """All workers of a server.

    Args:
        options: the settings.
        held: the bundles, as read once; every worker gets these bytes.
        listeners: a listening socket for each worker.
        announce: called when the first worker accepts connections.
    """

    def __init__(
        self,
        options: Options,
        held: dict[str, Bundle],
        listeners: list[socket.socket],
        announce: Callable[[], object],
    ) -> None:
        self._options, self._held, self._announce = options, held, announce
        self._context: Any = multiprocessing.get_context("spawn")  # a fork copies held locks
        self._messages: Any = self._context.SimpleQueue()
        self._workers = [self._start(listener) for listener in listeners]
        self._leaving: list[_Worker] = []
        self._successor: _Worker | None = None
        self._outdated: list[int] = []  # workers that a reload has still to replace
        self._previous = held
        self._announced = False
        self._deaths = 0
        self._awake = time.monotonic()
        self.hung_up = False

    def _start(self, listener: socket.socket) -> _Worker:
        # its parent may have lost the folder to a cleaner of /tmp
        os.makedirs(os.environ[MULTIPROCESS], exist_ok=True)
        return _Worker(self._context, self._options, listener, self._held, self._messages)

    def step(self) -> None:
        """Look at every worker once.

        Raises:
            ZooError: a worker failed for a reason that its successor would have, too.
        """
        self._read_messages()
        now = time.monotonic()
        if now - self._awake > 1:  # this process slept itself: nobody's beats are too old
            _Worker.seen = now
        self._awake = now
        for number, worker in enumerate(self._workers):
            if worker.process.is_alive() and worker.hangs(now):
                _log.error("worker %s hangs, it is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()
            if not worker.process.is_alive():
                self._bury(worker)
                self._check_death(worker)
                _log.error("worker %s died, starting another", worker.process.pid)
                self._workers[number] = self._start(worker.listener)
        for worker in [one for one in self._leaving if not one.process.is_alive()]:
            self._bury(worker)
            self._leaving.remove(worker)
            if not self._leaving and not self._outdated:
                _log.warning("reloaded %s", ", ".join(self._held))
        if self.hung_up and not self._outdated:
            self.hung_up = False
            self._read_again()
        if self._outdated:
            self._replace()

    def _read_messages(self) -> None:
        while not self._messages.empty():
            pid, error = self._messages.get()
            if error is not None and not (self._successor and self._successor.process.pid == pid):
                raise error
            if error is not None:
                _log.error("%s", error)
                continue
            for worker in (*self._workers, self._successor):
                if worker is not None and worker.process.pid == pid:
                    worker.ready = True
                    worker.beat.value = time.monotonic()
            self._deaths = 0
            if not self._announced:
                self._announced = True
                self._announce()

    def _check_death(self, worker: _Worker) -> None:
        code = worker.process.exitcode
        self._read_messages()  # its reason, if it had one
        if code > 0:  # it ended by itself: its successor would, too
            raise ZooError(f"worker {worker.process.pid} ended with code {code}")
        self._deaths += not worker.ready
        if self._deaths >= _DEATHS:
            raise ZooError(f"{_DEATHS} workers died before they were ready (signal {-code})")

    def _read_again(self) -> None:
        self._previous = self._held
        try:
            self._held = again(self._options, self._held)
        except ZooError as error:
            _log.error("not reloaded, the models of before are served: %s", error)
        else:
            self._outdated = list(range(len(self._workers)))

    def _replace(self) -> None:
        """Go on with a reload: one worker at a time."""
        number = self._outdated[0]
        if self._successor is None:
            self._successor = self._start(self._workers[number].listener)
        elif not self._successor.process.is_alive():
            self._read_messages()  # its reason
            _log.error("not reloaded, the models of before are served")
            self._held = self._previous
            self._bury(self._successor)
            self._successor, self._outdated = None, []
        elif self._successor.ready:
            old, self._workers[number] = self._workers[number], self._successor
            self._successor = None
            os.kill(old.process.pid, server.REPLACED)
            self._leaving.append(old)
            self._outdated.pop(0)

    def _bury(self, worker: _Worker) -> None:
        # prometheus_client leaves this one untyped
        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]

    def stop(self, at_once: Callable[[], bool]) -> None:
        """End all workers: each gets the time for its requests, unless `at_once`."""
        successor = [self._successor] if self._successor else []
        workers = [*self._workers, *self._leaving, *successor]
        for worker in workers:
            worker.process.terminate()
        end = time.monotonic() + self._options.drain + self._options.timeout + _GRACE
        while any(one.process.is_alive() for one in workers):
            if at_once() or time.monotonic() > end:
                for worker in workers:
                    worker.process.kill()
            time.sleep(0.05)
        for worker in workers:
            worker.process.join()
            self._bury(worker)


def serve(
    options: Options,
    listener: socket.socket,
    workers: int,
    announce: Callable[[], object],
    held: dict[str, Bundle],
) -> None:
    """Serve in several processes until SIGTERM or Ctrl-C.

    Args:
        options: the settings.
        listener: from `serve.server.bind` or `bind_path`.
        workers: how many processes.
        announce: called when the first of them accepts connections.
        held: the bundles, from `serve.models.bundles`.

    Raises:
        ZooError: a worker failed; with its message and exit code.
        Interrupted: Ctrl-C twice.
    """
    log.setup(options.log_format)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: signals.append(number))
    with ExitStack() as stack:
        if MULTIPROCESS not in os.environ:
            folder = tempfile.TemporaryDirectory(prefix="zoo-metrics-", ignore_cleanup_errors=True)
            os.environ[MULTIPROCESS] = stack.enter_context(folder)
        listeners = [stack.enter_context(one) for one in _listeners(listener, workers)]
        every = _Workers(options, held, listeners, announce)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda number, frame: setattr(every, "hung_up", True))
        stack.callback(every.stop, lambda: signals.count(signal.SIGINT) > 1)
        while not signals:
            every.step()
            time.sleep(0.1)  # a signal to the whole group ends workers, too: no step after it
    if signals.count(signal.SIGINT) > 1:
        raise Interrupted("interrupted")


def _listeners(listener: socket.socket, workers: int) -> list[socket.socket]:
    """Return a socket for each worker, all on one port; Linux spreads the connections evenly."""
    if sys.platform != "linux" or listener.family == socket.AF_UNIX:
        return [listener] * workers
    host, port = listener.getsockname()[:2]
    listener.close()  # it is not shared, so that no other server took the port by mistake
    return [server.bind(host, port, shared=True) for _ in range(workers)]


def _work(
    options: Options,
    listener: socket.socket,
    held: dict[str, Bundle],
    messages: Any,
    beat: Any,
    parent: int,
) -> None:
    """Serve as one of several; send None when connections are accepted, or the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from now on, not first when models are loaded
    _end_with(parent)

    def alive() -> None:
        beat.value = time.monotonic()

    pid = os.getpid()
    try:
        server.serve(options, listener, lambda: messages.put((pid, None)), held, alive)
    except ZooError as error:
        messages.put((pid, error))
        sys.exit(error.exit_code)


def _end_with(parent: int) -> None:
    """End this process when its parent does, however that ends: its port is free then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even a stopped process
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=_watch_parent, name="zoo-parent", daemon=True).start()


def _watch_parent() -> None:
    process = multiprocessing.parent_process()
    assert process is not None
    process.join()
    os._exit(1)
