"""The zoo: the models every PyTorch course teaches, trained, measured and exported.

    import zoo

    zoo.list_models()                       # the names
    zoo.card("resnet")                      # what is known of it; no torch
    model = zoo.load("resnet")              # nn.Module with trained weights
    session = zoo.Session("resnet")         # ONNX Runtime; no torch
    session.predict(images)                 # uint8 [batch, 28, 28, 1]

Importing zoo imports neither torch nor onnxruntime.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from zoo.version import __version__

if TYPE_CHECKING:
    from zoo.cards import Card
    from zoo.entry import Entry
    from zoo.errors import (
        DataError,
        DeviceError,
        Interrupted,
        UsageError,
        VerificationError,
        ZooError,
    )
    from zoo.network.pretrained import load
    from zoo.recipe import Recipe
    from zoo.runtime.session import Prediction, Session
    from zoo.spec import ImageSpec, TableSpec, TensorSpec

_HOMES = {
    "Card": "cards",
    "Entry": "entry",
    "Recipe": "recipe",
    **dict.fromkeys(["ImageSpec", "TableSpec", "TensorSpec"], "spec"),
    **dict.fromkeys(
        ["DataError", "DeviceError", "Interrupted", "UsageError", "VerificationError", "ZooError"],
        "errors",
    ),
    "load": "network.pretrained",
    "Prediction": "runtime.session",
    "Session": "runtime.session",
}

__all__ = [  "__version__",  # noqa: RUF022 - the three functions first
    "list_models", "card", "load", "Session", "Prediction", "Card", "Entry", "Recipe",
    "ImageSpec", "TableSpec", "TensorSpec", "ZooError", "UsageError", "DataError", "DeviceError",
    "VerificationError", "Interrupted",
]  # fmt: skip


def list_models() -> list[str]:
    """Return the names of all models, sorted; `load` and the commands take them."""
    from zoo import registry

    return registry.names()


def card(name: str | os.PathLike[str]) -> Card:
    """Return the card of a shipped bundle, by name, or of any bundle, by path.

    Raises:
        UsageError: no such bundle. VerificationError: the card is damaged.
    """
    from zoo import cards

    return cards.read(cards.locate(name))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"zoo.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
