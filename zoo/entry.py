"""Entry: what one file in `zoo/models/` declares. Recipe: the complete description of a training.

All are frozen records that msgspec checks field by field, so a card, a `--set` option and a
checkpoint meet the same types and the same messages.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from zoo.errors import UsageError, nearest, unknown

if TYPE_CHECKING:
    from torch import nn

Task = Literal["classification", "binary", "regression"]
Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of a model: its name, its NumPy dtype, its shape (symbolic: "batch")."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class ImageSpec(Struct, frozen=True, forbid_unknown_fields=True, tag="image", tag_field="kind"):
    """Images: uint8 [batch, size, size, channels]; mean and std per channel, of pixels / 255."""

    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: "dark": light strokes on a dark ground, so a dark-on-light image is to be inverted first.
    background: Literal["dark", "any"] = "any"

    @property
    def tensor(self) -> TensorSpec:
        """The model's input."""
        return TensorSpec("images", "uint8", ("batch", self.size, self.size, self.channels))


class TableSpec(Struct, frozen=True, forbid_unknown_fields=True, tag="table", tag_field="kind"):
    """Tables: float32 [batch, columns], in the columns' own units; mean and std per column."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def tensor(self) -> TensorSpec:
        """The model's input."""
        return TensorSpec("features", "float32", ("batch", len(self.columns)))


Spec = ImageSpec | TableSpec


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training, complete. Every field can be set with `zoo train --set field=value`."""

    #: What to train on, if not the entry's dataset: see `zoo.datasets.custom`. A path is absolute.
    data: str = ""
    #: Of a CSV file: the column to tell.
    target: str = ""
    #: The side of the square that every image becomes; 0: as the data has it, 28 for a folder.
    size: Natural = 0
    #: pretrained: from the shipped weights, as far as they fit.
    init: Literal["random", "pretrained"] = "random"
    epochs: Positive
    batch_size: Positive = 128
    #: muon: for matrices and kernels but the last layer's; AdamW for the rest.
    optimizer: Literal["sgd", "adamw", "muon"] = "adamw"
    #: An epoch's rows: each once, or as many, drawn so that each class comes equally often.
    sampler: Literal["uniform", "balanced"] = "uniform"
    #: The peak learning rate.
    lr: NotNegative = 1e-3
    #: Of SGD and Muon (Nesterov where it is not 0).
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 0.0
    #: onecycle: cosine up over the first `warmup` share of the steps, cosine down to 0.
    schedule: Literal["constant", "onecycle"] = "onecycle"
    warmup: Fraction = 0.25
    label_smoothing: Fraction = 0.0
    #: A trained classifier (name or path) to learn from; see `zoo.training.distillation`.
    teacher: str = ""
    #: Both sides' logits are divided by it before their softmax.
    temperature: Annotated[float, Meta(gt=0)] = 2.0
    #: The teacher's part of the loss, the labels have the rest.
    distillation: Annotated[float, Meta(ge=0, le=1)] = 0.9
    #: Largest gradient norm; 0 leaves gradients as they are.
    clip_norm: NotNegative = 0.0
    #: Decay of the exponential moving average of the weights; 0 switches it off.
    average: Fraction = 0.0
    #: Augmentation, each drawn uniformly from [-value, value]: degrees, pixels, share, degrees.
    rotate: NotNegative = 0.0
    translate: NotNegative = 0.0
    scale: Fraction = 0.0
    shear: NotNegative = 0.0
    #: Standard deviation, in pixels, of a smooth random displacement field.
    elastic: NotNegative = 0.0
    #: Of the layers' arithmetic; bf16: torch's autocast, fast where the processor or GPU has it.
    precision: Literal["fp32", "bf16"] = "fp32"
    #: What takes the steps: torch, or the layers, losses and optimizers by hand in NumPy.
    engine: Literal["torch", "numpy"] = "torch"
    #: Which epoch's weights are kept: the best on the validation split, or the last.
    keep: Literal["best", "last"] = "best"
    seed: int = 1

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some fields changed; strings are read as the field's type.

        Raises:
            UsageError: an unknown field (the nearest is named) or a value outside its range.
        """
        fields = {field.name: field.type for field in msgspec.structs.fields(Recipe)}
        for name, value in changes.items():
            if name not in fields:
                raise unknown("recipe field", name, fields)
            choices = get_args(fields[name]) if get_origin(fields[name]) is Literal else ()
            if choices and value not in choices:
                near = nearest(str(value), choices)
                raise UsageError(f"recipe {name}={value}: expected {', '.join(choices)}.{near}")
        try:
            return msgspec.convert(msgspec.structs.asdict(self) | changes, Recipe, strict=False)
        except msgspec.ValidationError as error:
            given = ", ".join(f"{name}={value}" for name, value in changes.items())
            raise UsageError(f"recipe {given}: {error}") from None


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: the name of its file and of its bundle.
        title: one line in English.
        lesson: the heading of the notes, in Chinese.
        network: the `nn.Module` class. Image models are called with `channels`, `size`,
            `classes`; table models with `columns`, `outputs`.
        dataset: a name that `zoo.datasets.load` knows.
        task: decides the loss, the metrics and the head of the ONNX graph.
        recipe: how it is trained.
        parameters: how many there are with the default sizes; tested.
        limits: what the trained model is not good for.
    """

    name: str
    title: str
    lesson: str
    network: Callable[..., nn.Module]
    dataset: str
    task: Task
    recipe: Recipe
    parameters: int
    limits: str

    @property
    def takes_images(self) -> bool:
        """Whether the network is one of images, or else of tables."""
        return "columns" not in inspect.signature(self.network).parameters

    def recipe_on(self, data: str) -> Recipe:
        """Return the recipe to start from on other data.

        Without teacher and deformations: what helps with digits harms elsewhere (Fashion-MNIST,
        resnet, 10 epochs: 91.20 % on the validation split with them, 92.42 % without).
        """
        if data in ("", self.dataset):
            return self.recipe
        path = os.path.abspath(os.path.expanduser(data))
        data = path if os.path.exists(path) else data
        plain = dict.fromkeys(("rotate", "translate", "scale", "shear", "elastic"), 0.0)
        return self.recipe.replace(data=data, teacher="", **plain)

    def build(self, spec: Spec, classes: int) -> nn.Module:
        """Make an untrained network for inputs of this kind; `classes` is 0 in a regression."""
        if isinstance(spec, ImageSpec):
            return self.network(channels=spec.channels, size=spec.size, classes=classes)
        outputs = classes if self.task == "classification" else 1
        return self.network(columns=len(spec.columns), outputs=outputs)
