"""Data as NumPy arrays, whole in memory; images stay uint8 until the batch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from zoo.entry import Spec
from zoo.errors import unknown

_SOURCES = {
    "mnist": ("zoo.datasets.mnist", "load"),
    "diabetes": ("zoo.datasets.tabular", "load_diabetes"),
    "breast-cancer": ("zoo.datasets.tabular", "load_breast_cancer"),
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
    """Three fixed splits of one source; `labels` is empty in a regression."""

    name: str
    source: str
    licence: str
    sha256: str
    spec: Spec
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


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
