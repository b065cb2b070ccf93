"""The zoo: the models every PyTorch course teaches, trained, measured and exported.

    import zoo

    zoo.list_models()                       # the names
    zoo.card("resnet")                      # its contract, metrics and recipe; no torch
    model = zoo.load("resnet")              # nn.Module with trained weights
    session = zoo.Session("resnet")         # ONNX Runtime; no torch
    session.predict(images)                 # uint8 [batch, 28, 28, 1]
    zoo.export(net, example, "net.onnx")    # a network of your own, proven against torch

Importing zoo imports neither torch nor onnxruntime.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from zoo.version import __version__ as __version__

if TYPE_CHECKING:
    from zoo.bundle.card import Card
    from zoo.bundle.folder import Bundle
    from zoo.entry import Entry
    from zoo.errors import (
        DataError,
        DeviceError,
        Interrupted,
        UsageError,
        VerificationError,
        ZooError,
    )
    from zoo.export.network import export_network as export
    from zoo.network.pretrained import load
    from zoo.recipe import Recipe
    from zoo.runtime.session import Prediction, Session
    from zoo.spec import ImageSpec, TableSpec, TensorSpec

#: Module -> the public names that it defines; each is imported when it is first asked for.
_PUBLIC = {
    "zoo.network.pretrained": ["load"],
    "zoo.runtime.session": ["Session", "Prediction"],
    "zoo.bundle.folder": ["Bundle"],
    "zoo.bundle.card": ["Card"],
    "zoo.entry": ["Entry"],
    "zoo.recipe": ["Recipe"],
    "zoo.spec": ["ImageSpec", "TableSpec", "TensorSpec"],
    "zoo.errors": [
        "ZooError", "UsageError", "DataError", "DeviceError", "VerificationError", "Interrupted",
    ],
}  # fmt: skip

__all__ = [  # noqa: RUF022 - the functions first
    "list_models", "card", "load", "export", "Session", "Prediction", "Bundle", "Card", "Entry",
    "Recipe", "ImageSpec", "TableSpec", "TensorSpec", "ZooError", "UsageError", "DataError",
    "DeviceError", "VerificationError", "Interrupted",
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
    from zoo.bundle.folder import Bundle

    return Bundle.open(name).card


if not TYPE_CHECKING:  # a type checker would take any name for one that there is

    def __getattr__(name: str) -> Any:
        for module, names in _PUBLIC.items():
            if name in names:
                value = globals()[name] = getattr(importlib.import_module(module), name)
                return value
        if name == "export":  # the package, which can be called
            return importlib.import_module("zoo.export")
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
