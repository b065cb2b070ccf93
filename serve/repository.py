"""The protocol's model repository: which models there are, and loading and unloading them.

Loading reads a model's bundle again, from where the server was started with it; nothing else can be
loaded. Requests in progress end with the session that they began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from serve import protocol
from serve.batcher import Batcher
from serve.errors import HttpError, Unsupported
from serve.models import Models
from zoo.bundle.folder import Bundle
from zoo.errors import ZooError
from zoo.runtime.session import Session

#: Seconds between looks at whether a queue is empty.
_POLL = 0.01


def index(models: Models, *, ready: bool = False) -> list[dict[str, str]]:
    """Return the models with their states; `ready`: only those that take requests."""
    rows = []
    for name in models.bundles:
        loaded = name in models.sessions
        state, reason = ("READY", "") if loaded else ("UNAVAILABLE", "unloaded")
        row = {"name": name, "version": protocol.VERSION, "state": state, "reason": reason}
        if loaded or not ready:
            rows.append(row)
    return rows


async def load(models: Models, name: str, parameters: Mapping[str, Any]) -> None:
    """Load a model, or load it again: its bundle is read anew, its queue replaced.

    Raises:
        HttpError: 400, model control is off, there are parameters, or the bundle is damaged;
            404, no such model.
    """
    _allowed(models, name)
    if parameters:
        names = ", ".join(sorted(parameters))
        raise Unsupported(f"load: the model's own configuration is used, given parameters {names}")
    async with models.changing:
        try:
            bundle, session = await asyncio.to_thread(_open, models, name)
        except (ZooError, OSError) as error:  # the one that is loaded stays
            raise HttpError(400, f"cannot load {name!r}: {error}") from None
        before = models.batchers.get(name)
        models.bundles[name], models.sessions[name] = bundle, session
        models.batchers[name] = models.queue(name, session)
        await _retire(before)


async def unload(models: Models, name: str) -> None:
    """Unload a model: requests in progress are answered, new ones get 404.

    Raises:
        HttpError: 400, model control is off; 404, no such model.
    """
    _allowed(models, name)
    async with models.changing:
        models.sessions.pop(name, None)
        await _retire(models.batchers.pop(name, None))


def _allowed(models: Models, name: str) -> None:
    if models.options.model_control != "explicit":
        raise Unsupported(
            "models are not loaded or unloaded by clients here: "
            "zoo serve --model-control explicit allows it"
        )
    if name not in models.bundles:
        raise HttpError(404, f"unknown model {name!r}, known: {', '.join(models.bundles)}")


def _open(models: Models, name: str) -> tuple[Bundle, Session]:
    bundle = Bundle.open(models.bundles[name].path).hold(name)
    session = models.load({name: bundle})[name]
    session.warm_up(8)  # here in a thread, so that the event loop goes on
    return bundle, session


async def _retire(batcher: Batcher | None) -> None:
    """End a queue that gets no new requests, once the last of its requests is answered."""
    while batcher is not None and not batcher.idle:
        await asyncio.sleep(_POLL)
    if batcher is not None:
        batcher.close()
