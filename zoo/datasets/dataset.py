"""A dataset in memory: three fixed splits of one source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from zoo.spec import Spec


class Split(NamedTuple):
    """Rows with their targets.

    inputs: uint8 [n, height, width, channels], or float32 [n, columns];
    targets: int64 [n] class numbers, or float32 [n] values.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Three fixed splits of one source; `labels` is empty in a regression.

    `notes`: lines that a user should read before training, such as files that cannot be read.
    """

    name: str
    source: str
    license: str
    sha256: str
    spec: Spec
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
