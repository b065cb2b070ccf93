"""The contract of a model: its input, its outputs and its task."""

from __future__ import annotations

import math
import re
from typing import ClassVar, Literal

from msgspec import Struct

Task = Literal["classification", "binary", "regression"]


#: Bytes that the activations of one run may take, and float32 planes per element of an input.
_RUN_MEMORY, _PLANES = 512 << 20, 64


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of a model: its name, its NumPy dtype, its shape (symbolic: "batch")."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row, without the batch."""
        return tuple(int(size) for size in self.shape[1:])

    def rows(self, most: int) -> int:
        """Return how many rows to run at a time: at most `most`, and within the memory for one run.

        A network of this zoo keeps fewer than 64 float32 planes of the size of an input's row.
        """
        return max(1, min(most, _RUN_MEMORY // (4 * _PLANES * math.prod(self.row))))


class ImageSpec(Struct, frozen=True, forbid_unknown_fields=True, tag="image", tag_field="kind"):
    """Images: uint8 [batch, size, size, channels]; mean and std per channel, of pixels / 255."""

    #: Mean and std are those of inputs / unit.
    unit: ClassVar[float] = 255.0
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: "dark": light strokes on a dark background; a dark-on-light image has to be inverted first.
    background: Literal["dark", "any"] = "any"
    #: Whether the strokes are scaled and centered as in MNIST: their longer side is 20 of 28 pixels
    #: and their center of mass in the middle; see `zoo.preparation`.
    centered: bool = False

    @property
    def tensor(self) -> TensorSpec:
        """The model's input."""
        return TensorSpec("images", "uint8", ("batch", self.size, self.size, self.channels))


class TableSpec(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="table",
    tag_field="kind",
):  # fmt: skip
    """Tables: float32 [batch, columns], in the columns' own units; mean and std per column."""

    unit: ClassVar[float] = 1.0
    columns: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: Columns of texts: each text is an input of its own, "column=text"; see zoo.datasets.columns.
    categories: tuple[str, ...] = ()
    #: Columns in which fields may be empty.
    missing: tuple[str, ...] = ()

    @property
    def tensor(self) -> TensorSpec:
        """The model's input."""
        return TensorSpec("features", "float32", ("batch", len(self.columns)))


Spec = ImageSpec | TableSpec


def is_name(text: str) -> bool:
    """Return whether a text can name a model: in addresses, file names, metrics and on pages.

    Letters and digits of any script, "_", "-" and ".", at most 128; not first "." or "-".
    """
    return re.fullmatch(r"\w[\w.-]{0,127}", text) is not None


def outputs(task: Task, classes: int) -> tuple[TensorSpec, ...]:
    """Return the outputs of a model for a task; `classes` is 0 in a regression."""
    if task == "regression":
        return (TensorSpec("prediction", "float32", ("batch", 1)),)
    shape = ("batch", classes)
    return (
        TensorSpec("logits", "float32", shape),
        TensorSpec("probabilities", "float32", shape),
    )
