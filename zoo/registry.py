"""The registry: every file in `zoo/models/` is a model; so is every `zoo.models` entry point.

`names()` only lists files; `get(name)` imports that one file. A folder named in the environment
variable ZOO_MODELS is searched too (several are joined as in PATH), so that a model can be tried
without being installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from zoo.entry import Entry
from zoo.errors import ZooError, needs_extra, unknown

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


def get(name: str) -> Entry:
    """Import the one file that declares `name` and return its `ENTRY`.

    Raises:
        UsageError: no model has this name; the nearest one is named.
        ZooError: the file declares no ENTRY, or torch is not installed.
    """
    with needs_extra("train", f"model {name!r}"):
        if (file := _files().get(name)) is not None:
            if file.parent == _MODELS:
                entry = getattr(importlib.import_module(f"zoo.models.{name}"), "ENTRY", None)
            else:
                entry = getattr(_load_file(name, file), "ENTRY", None)
        elif (point := _plugins().get(name)) is not None:
            entry = point.load()
        else:
            raise unknown("model", name, names())
    if not isinstance(entry, Entry) or entry.name != name:
        raise ZooError(f"model file {name!r}: expected ENTRY = Entry(name={name!r}, ...)")
    return entry


def _load_file(name: str, file: Path) -> object:
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
