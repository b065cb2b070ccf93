"""Recipe: the complete description of a training, a frozen record that msgspec checks.

A card, a `--set` option and a checkpoint meet the same types and the same messages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from zoo.errors import UsageError, nearest, unknown

Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


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
    alpha: Annotated[float, Meta(ge=0, le=1)] = 0.9
    #: Largest gradient norm; 0 leaves gradients as they are.
    clip_norm: NotNegative = 0.0
    #: Decay of the exponential moving average of the weights; 0 switches it off.
    ema_decay: Fraction = 0.0
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
