"""Data as NumPy arrays, whole in memory; images stay uint8 until the batch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from zoo.errors import UsageError, unknown
from zoo.recipe import Recipe
from zoo.spec import Spec, Task

_SOURCES = {
    "mnist": ("zoo.datasets.mnist", "load"),
    "diabetes": ("zoo.datasets.tables", "load_diabetes"),
    "breast-cancer": ("zoo.datasets.tables", "load_breast_cancer"),
}


class Split(NamedTuple):
    """Rows with their answers.

    inputs: uint8 [n, height, width, channels], or float32 [n, columns];
    targets: int64 [n] class numbers, or float32 [n] values.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Three fixed splits of one source; `labels` is empty in a regression.

    `notes`: what a user should know of it, a line each.
    """

    name: str
    source: str
    licence: str
    sha256: str
    spec: Spec
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()


def names() -> list[str]:
    """Return the names of the embedded datasets."""
    return sorted(_SOURCES)


def load(name: str) -> Dataset:
    """Load an embedded dataset.

    Raises:
        UsageError: unknown name. DataError: a file is damaged.
    """
    if name not in _SOURCES:
        raise unknown("dataset", name, names())
    module, function = _SOURCES[name]
    dataset: Dataset = getattr(importlib.import_module(module), function)()
    return dataset


def chosen(recipe: Recipe, name: str, task: Task, *, images: bool) -> Dataset:
    """Load what a recipe trains on: its own data, or else the embedded dataset `name`.

    Args:
        recipe: its data, target and size.
        name: the entry's dataset.
        task: decides what a table's target is.
        images: whether the model takes images, or else tables.

    Raises:
        UsageError: what the recipe names and what the model takes do not go together.
        DataError: the data is missing, damaged or too little. ZooError: it is not to be had.
    """
    if recipe.data:
        from zoo.datasets import custom

        return custom.load(recipe, task, images=images)
    if recipe.target or recipe.size:
        raise UsageError("--target and --size are for --data")
    return load(name)
