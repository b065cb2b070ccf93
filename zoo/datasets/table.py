"""A CSV file as a `torch.utils.data.Dataset`. Imports torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from zoo.datasets import tables


class CsvRows(Dataset[tuple[NDArray[np.float32], Any]]):
    """Rows of a CSV file with a header line; item i is (float32 [columns], target).

    The file is read once, whole; rows keep their order, columns that are not named are left out.

    Args:
        path: the file.
        columns: the names of the feature columns, in the order wanted.
        target: the name of the target column.
        labels: the classes' names; the target is then an int64 class number. Without them it is
            a float32 value.

    Attributes:
        features: float32 [n, columns].
        targets: int64 [n] or float32 [n].

    Raises:
        DataError: no such file, a missing column, no rows; or a field that is no number or no
            known label, with its row (the first below the header is 1) and column.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[str],
        target: str,
        labels: Sequence[str] = (),
    ) -> None:
        self.labels = tuple(labels)
        self.features, self.targets = tables.read(Path(path), columns, target, self.labels)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], Any]:
        return self.features[index], self.targets[index]
