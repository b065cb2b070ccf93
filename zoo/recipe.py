"""Recipe: the complete description of a training, as a frozen record that msgspec checks.

Cards, `--set` options and checkpoints are all read by these types, with the same messages.
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
    """Everything that decides how a model is trained; `zoo train --set FIELD=VALUE` sets a field.

    The comment above a field is its help text.
    """

    #: Data to train on instead of the model's own: the absolute path of a folder of class folders,
    #: of IDX, npz, CSV or Parquet files, or the name of a torchvision dataset.
    data: str = ""
    #: Column of the CSV or Parquet file that the model learns to predict.
    target: str = ""
    #: Columns of a table that are left out, with commas between them.
    drop: str = ""
    #: Side in pixels of the square that every image is resized to; 0 keeps the size of the data,
    #: which for a folder of images is 28.
    size: Natural = 0
    #: Preparation of pictures of digits: auto finds, scales and centers the digit in each as in
    #: MNIST, if the pictures are digits; none only resizes. Other pictures are only resized.
    prepare: Literal["auto", "none"] = "auto"
    #: Initial weights: random; pretrained, which takes the shipped weights of every layer whose
    #: shape is the same; or a bundle of the same model, whose columns of a table go by their names.
    init: str = "random"
    #: Number of passes over the training data.
    epochs: Positive
    #: Number of rows in each step; the last step of an epoch takes those that remain.
    batch_size: Positive = 128
    #: Optimizer: sgd, adamw, or muon, which takes the matrices and kernels of all layers but the
    #: last, with AdamW for the rest.
    optimizer: Literal["sgd", "adamw", "muon"] = "adamw"
    #: Rows of an epoch: uniform takes each row once, balanced draws as many rows so that every
    #: class comes equally often, for data with rare classes.
    sampler: Literal["uniform", "balanced"] = "uniform"
    #: Peak of the learning rate, by which every step is multiplied; 0, for tables and sgd, takes
    #: the largest at which gradient descent is stable, by the largest eigenvalue of the data.
    lr: NotNegative = 1e-3
    #: Momentum of SGD and Muon; 0 is without momentum.
    momentum: Fraction = 0.9
    #: Whether the momentum is in Nesterov's form, which looks a step ahead.
    nesterov: bool = True
    #: Weight decay: each step shrinks the weights, but not the biases, by the fraction
    #: lr * weight_decay.
    weight_decay: NotNegative = 0.0
    #: Learning rate over the steps: constant, or onecycle, which rises along a cosine over the
    #: first steps and falls along another one to 0.
    schedule: Literal["constant", "onecycle"] = "onecycle"
    #: Fraction of the steps over which the learning rate rises to its peak, in schedule onecycle.
    warmup: Fraction = 0.25
    #: Fraction of the target probability that is spread evenly over all classes.
    label_smoothing: Fraction = 0.0
    #: Trained classifier, by name or path, whose outputs the model learns from besides the labels;
    #: empty trains without a teacher.
    teacher: str = ""
    #: Temperature of the distillation: the logits of teacher and model are divided by it before
    #: their softmax, so that more than 1 shows which wrong classes the teacher finds likely.
    temperature: Annotated[float, Meta(gt=0)] = 2.0
    #: Fraction of the loss that comes from the teacher; the labels have the rest.
    alpha: Annotated[float, Meta(ge=0, le=1)] = 0.9
    #: Largest norm of all gradients together; larger ones are scaled down to it. 0 does not clip.
    clip_norm: NotNegative = 0.0
    #: Decay per step of the exponential moving average (EMA) of the weights, which is what is
    #: validated and kept; 0 keeps the weights themselves.
    ema_decay: Fraction = 0.0
    #: Largest rotation of an image in degrees, either way; each image draws its own.
    rotate: NotNegative = 0.0
    #: Largest translation of an image in pixels, along each axis, either way.
    translate: NotNegative = 0.0
    #: Largest change of an image's width and height, as a fraction of them, either way.
    scale: Fraction = 0.0
    #: Largest shear of an image in degrees, either way.
    shear: NotNegative = 0.0
    #: Standard deviation in pixels of the smooth random field that displaces an image's pixels.
    elastic: NotNegative = 0.0
    #: Precision of the layers' arithmetic: fp32, or bf16 (torch's autocast), which is faster where
    #: the processor or GPU has instructions for it; the weights stay float32.
    precision: Literal["fp32", "bf16"] = "fp32"
    #: What computes the steps: torch, or the layers, losses and optimizers by hand in NumPy.
    engine: Literal["torch", "numpy"] = "torch"
    #: Epoch whose weights are kept: the best one on the validation split, or the last one.
    keep: Literal["best", "last"] = "best"
    #: Seed of the initial weights, of the order of the rows and of the augmentation.
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 1

    @property
    def looks_ahead(self) -> bool:
        """Whether the optimizer takes Nesterov's form: without momentum there is none."""
        return self.nesterov and self.momentum > 0

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some fields changed; text is converted to the field's type.

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
            fields_given = ", ".join(f"{name}={value}" for name, value in changes.items())
            raise UsageError(f"recipe {fields_given}: {error}") from None


#: How the notes train every classifier of MNIST: plain SGD, the weights of the last epoch.
NOTES = Recipe(
    epochs=10, batch_size=64, optimizer="sgd", lr=0.01, momentum=0.5, nesterov=False,
    schedule="constant", keep="last",
)  # fmt: skip
