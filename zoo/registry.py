"""The registry: every file in `zoo/models/` is a model; so is every `zoo.models` entry point.

`names()` only lists files; `get(name)` imports that one file. A folder named in the environment
variable ZOO_MODELS is searched too (several are joined as in PATH), so that a model can be tried
without being installed. There a file with a class `Net(nn.Module)` alone is a model, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from zoo.entry import Entry
from zoo.errors import UsageError, ZooError, needs_extra, unknown
from zoo.recipe import NOTES
from zoo.spec import is_name

_MODELS = Path(__file__).parent / "models"
_GROUP = "zoo.models"


def _files() -> dict[str, Path]:
    folders = [Path(part) for part in os.environ.get("ZOO_MODELS", "").split(os.pathsep) if part]
    files: dict[str, Path] = {}
    for folder in [_MODELS, *folders]:
        for file in sorted(folder.glob("*.py")):
            if not file.stem.startswith("_"):
                files.setdefault(file.stem, file)
    return files


def _plugins() -> dict[str, importlib.metadata.EntryPoint]:
    import importlib.metadata

    return {point.name: point for point in importlib.metadata.entry_points(group=_GROUP)}


def names() -> list[str]:
    """Return the names of all models, sorted. Imports none of them."""
    return sorted({*_files(), *_plugins()})


def built_in(entry: Entry) -> bool:
    """Say whether an entry is one of the zoo's own models."""
    return (_files().get(entry.name) or Path()).parent == _MODELS


def get(name: str) -> Entry:
    """Import the one file that declares `name` and return its `ENTRY`.

    Raises:
        UsageError: no model has this name; the nearest one is named. Its name cannot be one.
        ZooError: the file declares no ENTRY, or torch is not installed.
    """
    if name in _files() and not is_name(name):  # its card could not be read after the training
        raise UsageError(f"{name}.py: expected a file name of letters, digits, '_', '-' and '.'")
    with needs_extra("train", f"model {name!r}"):
        if (file := _files().get(name)) is not None:
            if file.parent == _MODELS:
                entry = getattr(importlib.import_module(f"zoo.models.{name}"), "ENTRY", None)
            else:
                module = _load_file(name, file)
                entry = getattr(module, "ENTRY", None) or _bare_entry(name, module)
        elif (point := _plugins().get(name)) is not None:
            entry = point.load()
        else:
            raise unknown("model", name, names())
    if not isinstance(entry, Entry) or entry.name != name:
        raise ZooError(
            f"model file {name!r}: expected ENTRY = Entry(name={name!r}, ...), or a class Net"
        )
    return entry


def _bare_entry(name: str, module: ModuleType) -> Entry | None:
    """Build the entry of a file that only has a class `Net`, or one class of a network.

    It learns MNIST's digits as the notes do.
    """
    from torch import nn

    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]
    network = getattr(module, "Net", own[0] if len(own) == 1 else None)
    if network is None:
        return None
    title = (module.__doc__ or "").strip().partition("\n")[0] or name
    return Entry(
        name=name, title=title, lesson=title, network=network, dataset="mnist",
        task="classification", recipe=NOTES, parameters=0, limits="Not known.",
    )  # fmt: skip


def _load_file(name: str, file: Path) -> ModuleType:
    module_name = f"zoo_models_{name}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module
