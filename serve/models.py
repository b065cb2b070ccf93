"""The loaded models, the one core under HTTP and gRPC: sessions, queues and counters.

A protocol looks a model up (`session`), sends its rows through the model's queue (`batchers`), and
counts each request: `running` when it begins, `done` when it ends.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from serve import access_log, protocol
from serve.access_log import Access
from serve.batcher import Batcher
from serve.errors import HttpError
from serve.metrics import Metrics
from serve.options import Options
from serve.statistics import Counts
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.runtime.session import Session


class Models:
    """Some bundles, loaded and ready to answer.

    Attributes:
        options: the server's settings.
        bundles: by the names they are served under, as are the next two.
        sessions: each bundle on its device.
        batchers: each session's queue, between `start` and `close`.
        metrics: what `/metrics` shows.
        counts: what the protocol's statistics show, by model.
        changing: held while a model is loaded or unloaded; see `serve.repository`.
        running: requests in progress, over any protocol.
        draining: set when the server stops: new requests are refused with 503.

    Raises:
        UsageError: no such bundle, or two with one name.
        VerificationError: a bundle does not match its card.
        DeviceError: the device is not available.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.bundles = bundles(options.models)
        self.sessions = {name: self.open(bundle) for name, bundle in self.bundles.items()}
        self.batchers: dict[str, Batcher] = {}
        self.metrics = Metrics()
        self.counts = {name: Counts(name) for name in self.bundles}
        self.changing = asyncio.Lock()
        self.running = 0
        self.draining = False
        self._log = access_log.FORMATS.get(options.log)

    def open(self, bundle: Bundle) -> Session:
        """Return a bundle's session, with the server's settings."""
        options = self.options
        return Session(
            bundle,
            device=options.device,
            threads=options.threads,
            spin=False,  # threads that wait busily would take the event loop's core
            graphs=options.graphs,
            fp16=options.fp16,
        )

    def start(self) -> None:
        """Open the queues; inside the running event loop, which is the one they belong to."""
        for name, session in self.sessions.items():
            self.batchers[name] = self.queue(name, session)

    def queue(self, name: str, session: Session) -> Batcher:
        """Return a new queue for a model; inside the running event loop."""
        return Batcher(
            session,
            max_batch=self.options.max_batch,
            max_queue=self.options.max_queue,
            timeout=self.options.timeout,
            observe=self.metrics.add_model(name, partial(self.depth, name)),
            counts=self.counts[name],
        )

    def close(self) -> None:
        """End the queues' threads."""
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
        if not equals or not re.fullmatch(r"[\w.-]+", name) or Path(text).exists():
            name, path = "", text
        bundle = Bundle.open(path)
        name = name or bundle.card.name
        if name in opened:
            raise UsageError(
                f"{opened[name].path} and {bundle.path} are both named {name!r}: put another name "
                f"before one, as in other={path}"
            )
        opened[name] = Bundle(bundle.path, msgspec.structs.replace(bundle.card, name=name))
    return opened
