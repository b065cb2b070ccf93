"""Datasets as NumPy arrays in memory; images stay uint8 until they are in a batch."""

from __future__ import annotations

import importlib

from zoo.datasets.dataset import Dataset as Dataset
from zoo.datasets.dataset import Split as Split
from zoo.errors import UsageError, unknown
from zoo.recipe import Recipe
from zoo.spec import Task

_SOURCES = {
    "mnist": ("zoo.datasets.mnist", "load"),
    "diabetes": ("zoo.datasets.tables", "load_diabetes"),
    "breast-cancer": ("zoo.datasets.tables", "load_breast_cancer"),
}


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
    """Load what a recipe trains on: its own data, or otherwise the embedded dataset `name`.

    Args:
        recipe: its data, target and size.
        name: the entry's dataset.
        task: decides whether a table's target is a number or a class.
        images: whether the model takes images; otherwise it takes tables.

    Raises:
        UsageError: the recipe's data are not of the kind that the model takes.
        DataError: the data are missing, damaged or too few. ZooError: they cannot be downloaded.
    """
    if recipe.data:
        from zoo.datasets import custom

        return custom.load(recipe, task, images=images)
    if recipe.target or recipe.size:
        raise UsageError("--target and --size are for --data")
    return load(name)
