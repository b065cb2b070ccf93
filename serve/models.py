"""The loaded models, the one core under HTTP and gRPC: sessions, queues and counters.

A protocol looks a model up (`session`), sends its rows through the model's queue (`batchers`), and
counts each request: `running` when it begins, `done` when it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from serve import access_log, protocol
from serve.access_log import Access
from serve.batcher import Batcher
from serve.errors import HttpError
from serve.metrics import Metrics
from serve.options import Options
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.runtime.session import Session
from zoo.spec import is_name


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
        metrics: what `/metrics` shows.
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
        self.metrics = Metrics()
        self.running = 0
        self.leaving = self.closing = self.draining = False
        self._log = access_log.FORMATS.get(options.log)

    def load(self, bundles: dict[str, Bundle]) -> dict[str, Session]:
        """Load bundles; one that does not do what its card says is an error now.

        Raises:
            VerificationError, DeviceError: as the class.
        """
        options = self.options
        sessions = {
            name: Session(
                bundle,
                device=options.device,
                threads=options.threads,
                spin=False,  # threads that wait busily would take the event loop's core
                graphs=options.graphs,
                fp16=options.fp16,
            )
            for name, bundle in bundles.items()
        }
        for name, session in sessions.items():
            session.check()
            bundles[name].held.pop(ONNX, None)  # the engine has its own copy
        return sessions

    def start(self) -> None:
        """Open the queues; inside the running event loop, which is the one they belong to."""
        for name, session in self.sessions.items():
            self.batchers[name] = Batcher(
                session,
                max_batch=self.options.max_batch,
                max_queue=self.options.max_queue,
                timeout=self.options.timeout,
                observe=self.metrics.add_model(name, partial(self.depth, name)),
            )

    async def reload(self) -> None:
        """Read the bundles anew and answer with them from then on; inside the event loop.

        Requests that wait already are answered by the version that they came for.

        Raises:
            ZooError: one of them cannot be served; nothing has changed.
        """
        loop = asyncio.get_running_loop()
        held = await loop.run_in_executor(None, again, self.options, self.bundles)
        sessions = await loop.run_in_executor(None, self.load, held)
        old = list(self.batchers.values())
        self.bundles, self.sessions = held, sessions
        self.start()
        for batcher in old:  # none of its requests lives longer
            loop.call_later(self.options.timeout + 1, batcher.close)

    def close(self) -> None:
        """End the queues' threads."""
        for batcher in self.batchers.values():
            batcher.close()

    def depth(self, name: str) -> int:
        """Return how many requests are in a model's queue."""
        return self.batchers[name].depth

    def session(self, name: str, version: str = protocol.VERSION) -> Session:
        """Return the model's session.

        Raises:
            HttpError: 404, no such model or version.
        """
        if name not in self.sessions:
            names = ", ".join(self.sessions)
            raise HttpError(404, f"unknown model {name!r}, known: {names}")
        if version != protocol.VERSION:
            raise HttpError(404, f"model {name!r} has no version {version!r}, known: 1")
        return self.sessions[name]

    def done(self, access: Access, model: str, status: int, began: float) -> None:
        """Count and log a request that was counted in `running` when it began.

        Args:
            access: what the log shows of it.
            model: the name that it asked for, served or not; "-" if none.
            status: of the answer, as HTTP has them; 499 if the client went away.
            began: `time.perf_counter()` at its start.
        """
        self.running -= 1
        seconds = time.perf_counter() - began
        # any other name counts as "-": clients must not add series to the metrics
        self.metrics.done(model if model in self.sessions else "-", status, seconds)
        if self._log is not None:
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
