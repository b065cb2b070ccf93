"""The loaded models, the one core under HTTP and gRPC: sessions, queues and counters.

A protocol looks a model up (`session`), sends its rows through the model's queue (`batchers`), and
counts each request: `running` when it begins, `done` when it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from serve import access_log, protocol
from serve.access_log import Access
from serve.batcher import Batcher
from serve.decoding import Decoding
from serve.errors import HttpError, overloaded
from serve.memory import Memory
from serve.metrics import Metrics
from serve.options import Options
from serve.statistics import Counts
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.runtime.session import Session
from zoo.spec import is_name

#: Bodies of the largest size for which there is memory at a time.
_BODIES = 4

Result = TypeVar("Result")


class Models:
    """Some bundles, loaded and ready to answer.

    Args:
        options: the server's settings.
        held: from `bundles`, read before; otherwise they are read now.

    Attributes:
        options: the server's settings.
        bundles: by the names they are served under, as are the next two.
        sessions: each bundle on its device.
        batchers: each session's queue, between `start` and `close`.
        decoding: the threads that decode pictures, between `start` and `close`.
        bodies: the memory for request bodies of all requests in progress.
        waiting: the memory for large inputs that wait or run, of all models.
        large: the turn of a large request; see `in_turn`.
        metrics: what `/metrics` shows.
        counts: what the protocol's statistics show, by model.
        changing: held while models are loaded or unloaded; see `serve.repository`, too.
        logs: whether there is an access log.
        running: requests in progress, over any protocol.
        leaving: set when the server is to stop: it is not ready, and still answers.
        closing: set when no connection is to be kept after its next answer.
        draining: set when it stops: new requests are refused with 503.

    Raises:
        UsageError: no such bundle, or two with one name.
        VerificationError: a bundle does not match its card.
        DeviceError: the device is not available.
    """

    def __init__(self, options: Options, held: dict[str, Bundle] | None = None) -> None:
        self.options = options
        self.bundles = bundles(options.models) if held is None else held
        self.sessions = self.load(self.bundles)
        self.batchers: dict[str, Batcher] = {}
        self.decoding: Decoding
        self.bodies = Memory(_BODIES * options.max_body)
        self.waiting = Memory(_BODIES * options.max_body)
        self.large = asyncio.Semaphore()
        self.metrics = Metrics()
        self.counts = {name: Counts(name) for name in self.bundles}
        self.changing = asyncio.Lock()
        self.running = 0
        self.leaving = self.closing = self.draining = False
        self._log = access_log.FORMATS.get(options.log)
        self.logs = self._log is not None

    def load(self, bundles: dict[str, Bundle]) -> dict[str, Session]:
        """Load bundles; one that does not do what its card says is an error now.

        Raises:
            VerificationError, DeviceError: as the class.
        """
        sessions = {name: self._open(bundle) for name, bundle in bundles.items()}
        for name, session in sessions.items():
            session.check()
            bundles[name].held.pop(ONNX, None)  # the engine has its own copy
        return sessions

    def _open(self, bundle: Bundle) -> Session:
        options = self.options
        return Session(
            bundle,
            engine=options.engine,
            device=options.device,
            threads=options.threads,
            spin=False,  # threads that wait busily would take the event loop's core
            graphs=options.graphs,
            fp16=options.fp16,
        )

    def start(self) -> None:
        """Open the queues; inside the running event loop, which is the one they belong to."""
        self.decoding = Decoding(self.options)
        self._open_queues()

    def _open_queues(self) -> None:
        for name, session in self.sessions.items():
            self.batchers[name] = self.queue(name, session)

    def queue(self, name: str, session: Session) -> Batcher:
        """Return a new queue for a model; inside the running event loop."""
        return Batcher(
            session,
            max_batch=self.options.max_batch,
            max_queue=self.options.max_queue,
            timeout=self.options.timeout,
            memory=self.waiting,
            observe=self.metrics.add_model(name, partial(self.depth, name)),
            counts=self.counts[name],
        )

    async def reload(self) -> None:
        """Read the bundles anew and answer with them from then on; inside the event loop.

        Requests that wait already are answered by the version that they came for.

        Raises:
            ZooError: one of them cannot be served; nothing has changed.
        """
        loop = asyncio.get_running_loop()
        async with self.changing:
            held = await loop.run_in_executor(None, again, self.options, self.bundles)
            loaded = {name: held[name] for name in self.sessions}  # the others stay unloaded
            sessions = await loop.run_in_executor(None, self.load, loaded)
            old = list(self.batchers.values())
            self.bundles, self.sessions = held, sessions
            self._open_queues()
        for batcher in old:  # none of its requests lives longer
            loop.call_later(self.options.timeout + 1, batcher.close)

    def close(self) -> None:
        """End the queues' threads."""
        self.decoding.close()
        for batcher in self.batchers.values():
            batcher.close()
        for batcher in self.batchers.values():
            batcher.join()

    def depth(self, name: str) -> int:
        """Return how many requests are in a model's queue; 0 if it is not loaded."""
        return self.batchers[name].depth if name in self.batchers else 0

    def batcher(self, name: str) -> Batcher:
        """Return the model's queue.

        Raises:
            HttpError: 404, no such model, or it is not loaded.
        """
        self.session(name)
        return self.batchers[name]

    def config(self, name: str) -> dict[str, Any]:
        """Return the configuration of a model that is loaded, as the protocol has it."""
        session = self.sessions[name]
        kind = "KIND_CPU" if session.device == "cpu" else "KIND_GPU"
        return protocol.model_config(session.card, self.options.max_batch, kind)

    def session(self, name: str, version: str = protocol.VERSION) -> Session:
        """Return the model's session.

        Raises:
            HttpError: 404, no such model or version, or it is not loaded.
        """
        if name not in self.sessions:
            if name in self.bundles:
                raise HttpError(404, f"model {name!r} is not loaded")
            names = ", ".join(self.bundles)
            raise HttpError(404, f"unknown model {name!r}, known: {names}")
        if version != protocol.VERSION:
            raise HttpError(404, f"model {name!r} has no version {version!r}, known: 1")
        return self.sessions[name]

    async def in_turn(self, size: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call what parses a large request, of so many bytes: in a thread, one after the other.

        Raises:
            HttpError: 503, too many of them wait, or for too long; and what `function` raises.
        """
        timeout = self.options.timeout
        with self.bodies.hold(size):
            try:
                async with asyncio.timeout(timeout), self.large:
                    return await asyncio.to_thread(function, *arguments)
            except TimeoutError:
                raise overloaded(f"no answer within {timeout:g} s") from None

    def done(self, access: Access | None, model: str, status: int, began: float) -> None:
        """Count and log a request that was counted in `running` when it began.

        Args:
            access: what the log shows of it; None if there is no log.
            model: the name that it asked for, served or not; "-" if none.
            status: of the answer, as HTTP has them; 499 if the client went away.
            began: `time.perf_counter()` at its start.
        """
        self.running -= 1
        seconds = time.perf_counter() - began
        # any other name counts as "-": clients must not add series to the metrics
        self.metrics.done(model if model in self.sessions else "-", status, seconds)
        if self._log is not None and access is not None:
            self._log(access, status, seconds)


def bundles(models: Iterable[str]) -> dict[str, Bundle]:
    """Open the bundles, by the names they are served under; each card has that name.

    Args:
        models: names or paths; another name to serve it under may stand before one:
            "fashion=runs/resnet-2".

    Raises:
        UsageError: no such bundle, or two with one name. VerificationError: its card is damaged.
    """
    opened: dict[str, Bundle] = {}
    for text in models:
        name, equals, path = text.partition("=")
        if not equals or not is_name(name) or Path(text).exists():
            name, path = "", text
        bundle = Bundle.open(path)
        name = name or bundle.card.name
        if name in opened:
            raise UsageError(
                f"{opened[name].path} and {bundle.path} are both named {name!r}: put another name "
                f"before one, as in other={path}"
            )
        opened[name] = bundle.hold(name)
    return opened


def again(options: Options, served: Iterable[str]) -> dict[str, Bundle]:
    """Open the bundles once more, under the names that they are served under.

    Raises:
        ZooError: one of them cannot be read, or has another name now.
    """
    opened = bundles(options.models)
    if set(opened) != set(served):
        raise UsageError(f"the names are {', '.join(opened)} now, served: {', '.join(served)}")
    return opened
