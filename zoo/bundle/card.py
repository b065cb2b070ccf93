"""The card: `card.json`, the record of a trained model. Typed: a missing or unknown field fails."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from zoo.errors import VerificationError
from zoo.recipe import Recipe
from zoo.spec import Spec, Task, TensorSpec, is_name

#: The format of cards that this version writes.
FORMAT = 3
CARD, WEIGHTS, ONNX = "card.json", "model.safetensors", "model.onnx"


class DatasetInfo(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The dataset: `sha256` is that of its raw bytes; the numbers are rows of each split."""

    name: str
    source: str
    license: str
    sha256: str
    train: int
    validation: int
    test: int
    #: Training rows of each class, of a user's own data.
    counts: tuple[int, ...] = ()


class Stretch(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a training: from which step on, counted from 0, it had how many CPU threads."""

    step: int
    threads: int


class Training(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the weights were trained; `command` trains them again."""

    command: str
    seconds: float
    #: The epoch whose weights were kept; see the recipe's `keep`.
    epoch: int
    images_per_second: float
    device: str
    hardware: str
    #: At the end of the training; see `stretches`.
    threads: int
    versions: dict[str, str]
    #: The SHA-256 of the weights of the recipe's teacher.
    teacher: str = ""
    #: The SHA-256 of the user's file of weights, where `zoo import` made the bundle: of the recipe,
    #: the data alone hold then.
    imported: str = ""
    #: Where a training was resumed with another number of threads: its parts. Each thread adds up
    #: its share of a sum, so their number decides the rounding, and with it the weights' last bits.
    stretches: tuple[Stretch, ...] = ()

    @property
    def threads_text(self) -> str:
        """The CPU threads of the whole training: "2 threads, from step 300 on 1"."""
        parts = self.stretches or (Stretch(0, self.threads),)
        text = f"{parts[0].threads} thread{'s' if parts[0].threads > 1 else ''}"
        return text + "".join(f", from step {part.step} on {part.threads}" for part in parts[1:])


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """ONNX Runtime on the CPU against torch, over the whole test set."""

    max_abs_difference: float
    same_top1: int
    samples: int


class Seeds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Test metrics of the same recipe trained with several seeds.

    `values` are in the order of `seeds`; `std` is the sample standard deviation.
    """

    metric: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    std: float
    #: The seed whose weights are in the bundle, and why that one.
    shipped: int
    why: str


class Robustness(Struct, frozen=True, forbid_unknown_fields=True):
    """Digits as people draw and photograph them, by hands and prints under many conditions.

    `accuracy` is the mean over the conditions; `plain` the same with `--prepare none`;
    `benchmarks/robustness.py` measures both.
    """

    accuracy: float
    plain: float
    pictures: int
    conditions: int


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`card.json`. Metrics are fractions (0 to 1) or in the target's own units.

    `test` is measured on the whole test set, which chose nothing; `validation` on the split
    that selected the epoch. `confusion[i][j]` counts test rows of class i predicted as j.
    `files` maps each file of the bundle to its SHA-256.
    """

    format: int
    name: str
    title: str
    lesson: str
    task: Task
    labels: tuple[str, ...]
    spec: Spec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    test: dict[str, float]
    validation: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    parity: Parity
    dataset: DatasetInfo
    recipe: Recipe
    training: Training
    files: dict[str, str]
    license: str
    limits: str
    seeds: Seeds | None = None
    robustness: Robustness | None = None

    @property
    def metric(self) -> str:
        """The headline metric's name."""
        return "accuracy" if "accuracy" in self.test else "r2"

    @property
    def score(self) -> str:
        """The headline test metric, as text: an accuracy in percent, or R2 of a regression."""
        return figure(self.metric, self.test[self.metric])

    @property
    def spread(self) -> str:
        """Mean and standard deviation of the score over the seeds, as text; "" without seeds."""
        if self.seeds is None:
            return ""
        mean, std = self.seeds.mean, self.seeds.std
        shown = f"{100 * mean:.2f} +- {100 * std:.2f}"
        if self.seeds.metric != "accuracy":
            shown = f"{mean:.3f} +- {std:.3f}"
        return f"(mean {shown} over {len(self.seeds.seeds)} seeds)"


def figure(metric: str, value: float) -> str:
    """Return a headline metric as text."""
    return f"{100 * value:.2f} %" if metric == "accuracy" else f"R2 {value:.3f}"


def text(metrics: dict[str, float]) -> str:
    """Return metrics as text: "accuracy 0.9948, loss 0.0162"."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def parse(data: bytes, source: str) -> Card:
    """Read a card from JSON bytes; `source` names it in the message.

    Raises:
        VerificationError: not JSON, a missing or unknown field, a value of the wrong type, a name
            that cannot be one, or a format that this version does not read.
    """
    try:
        about = msgspec.json.decode(data, type=_Version)
        version = about.format
        if version == 1:
            return _checked(msgspec.convert(_from_format_1(msgspec.json.decode(data)), Card))
        if version in (2, FORMAT) and about.ready is None:
            return _checked(msgspec.json.decode(data, type=Card))
        if version in (2, FORMAT):
            fields = msgspec.json.decode(data)
            del fields["ready"]
            return _checked(msgspec.convert(fields, Card))
    except msgspec.DecodeError as error:  # ValidationError is one too
        raise VerificationError(f"{source} is not a valid card: {error}") from None
    raise VerificationError(
        f"{source} has card format {version}; this version of the zoo reads formats 1 to {FORMAT}"
    )


def _checked(card: Card) -> Card:
    """Return the card; it may be a stranger's, and its names become addresses and paths.

    Raises:
        msgspec.ValidationError: a name that cannot be one.
    """
    if not is_name(card.name):
        raise msgspec.ValidationError(
            f"name {card.name!r}: expected letters, digits, '_', '-' and '.', at most 128"
        )
    for file in card.files:
        if not is_name(file):
            raise msgspec.ValidationError(f"files {file!r}: expected the name of a file beside it")
    if not card.inputs or not card.outputs:
        raise msgspec.ValidationError("inputs and outputs: expected at least one")
    for tensor in (*card.inputs, *card.outputs):
        if not tensor.name or not tensor.name.isprintable():
            raise msgspec.ValidationError(f"{tensor.name!r}: expected the name of a tensor")
    return card


class _Version(Struct):
    format: int
    ready: bool | None = None  # what `zoo serve` adds to a card, for KServe's clients


def _from_format_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a card of version 0.2.0 and before the names that they have in format 2.

    Formats 2 and 3 have the same fields; see `zoo.bundle.layout` for the weights.
    """
    renamed = {"licence": "license", "average": "ema_decay", "distillation": "alpha"}

    def rename(fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields  # of the wrong type: msgspec refuses it with its own message
        return {renamed.get(name, name): value for name, value in fields.items()}

    plain = rename(plain) | {"format": 2}
    return plain | {part: rename(plain[part]) for part in ("dataset", "recipe") if part in plain}
