"""The card: `card.json`, what is known of a trained model. Typed; nothing missing, nothing unknown.

And the bundle it lies in: a folder with `model.safetensors`, `model.onnx` and `card.json`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from zoo.errors import UsageError, VerificationError, unknown
from zoo.files import sha256, write_atomic
from zoo.recipe import Recipe
from zoo.spec import Spec, Task, TensorSpec

CARD, WEIGHTS, ONNX = "card.json", "model.safetensors", "model.onnx"
PLAN, LOG = "recipe.json", "log.jsonl"
_PACKAGE = Path(__file__).parent


class DatasetInfo(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which data: the SHA-256 is over the raw bytes, the numbers are rows in each part."""

    name: str
    source: str
    licence: str
    sha256: str
    train: int
    validation: int
    test: int
    #: A user's own classes: how many rows of each to train on.
    counts: tuple[int, ...] = ()


class Training(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the weights came about; `command` makes them again."""

    command: str
    seconds: float
    #: The epoch whose weights were kept; see the recipe's `keep`.
    epoch: int
    images_per_second: float
    device: str
    hardware: str
    threads: int
    versions: dict[str, str]
    #: The SHA-256 of the weights of the recipe's teacher.
    teacher: str = ""


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """ONNX Runtime on the CPU against torch, over the whole test set."""

    max_abs_difference: float
    same_top1: int
    samples: int


class Seeds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same recipe trained with several seeds: what the published figure is one of.

    `values` are test figures in the order of `seeds`; `std` is the sample standard deviation.
    """

    metric: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    std: float
    #: The seed whose weights are in the bundle, and why that one.
    shipped: int
    why: str


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """`recipe.json`: what a run was started to train."""

    model: str
    recipe: Recipe


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`card.json`. Metrics are shares (0 to 1) or in the target's own units.

    `test` is measured on the whole test set, which chose nothing; `validation` on the split
    that chose the epoch. `confusion[i][j]` counts test rows of class i predicted as j.
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
    licence: str
    limits: str
    seeds: Seeds | None = None

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
        """The score among those of the other seeds, as text; "" where one seed alone is known."""
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


def weights_dir() -> Path:
    """Return the folder of the shipped bundles: inside the wheel, or the repository's own."""
    inside = _PACKAGE / "weights"
    return inside if inside.is_dir() else _PACKAGE.parent / "weights"


def shipped() -> list[str]:
    """Return the names of the shipped bundles, sorted."""
    return sorted(path.parent.name for path in weights_dir().glob(f"*/{CARD}"))


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the folder of a bundle: the name of a shipped one, a path, hf://user/repo[@revision].

    Raises:
        UsageError: there is no such bundle; says what was looked for.
        ZooError: the Hub cannot be reached, and its bundle is not in the cache.
    """
    text = os.fspath(name_or_path)
    if text.startswith("hf://"):
        from zoo import hub

        return hub.download(text)
    if (weights_dir() / text / CARD).is_file():  # also teachers/resnet, which is not listed
        return weights_dir() / text
    path = Path(text).expanduser()
    if (path / CARD).is_file():
        return path
    if path.is_dir():
        what = "an unfinished run" if (path / "checkpoint.safetensors").exists() else "no bundle"
        raise UsageError(f"{text} is {what}: expected a folder with {CARD}, {WEIGHTS}, {ONNX}")
    if os.sep in text or path.exists():
        raise UsageError(f"{text} is no bundle: expected a folder with {CARD}, {WEIGHTS}, {ONNX}")
    raise unknown("model", text, shipped())


def plan(run: Path) -> Plan | None:
    """Read what a run was started to train; None where that is not known."""
    try:
        return msgspec.json.decode((run / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        return None


def parse(data: bytes, source: str) -> Card:
    """Read a card from JSON bytes; `source` names it in the message.

    Raises:
        VerificationError: no JSON, a missing or unknown field, a value of the wrong type.
    """
    try:
        card = msgspec.json.decode(data, type=Card)
    except msgspec.DecodeError as error:  # ValidationError is one too
        raise VerificationError(f"{source} is no valid card: {error}") from None
    if card.format != 1:
        raise VerificationError(f"{source} has card format {card.format}; this zoo reads format 1")
    return card


def read(bundle: Path) -> Card:
    """Read a bundle's card.

    Raises:
        UsageError: there is none. VerificationError: it is damaged.
    """
    try:
        return parse((bundle / CARD).read_bytes(), str(bundle / CARD))
    except FileNotFoundError:
        raise UsageError(f"{bundle} is no bundle: {CARD} is missing") from None


def write(bundle: Path, card: Card) -> None:
    """Write `card.json`, whole or not at all."""
    write_atomic(bundle / CARD, msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")


def check(bundle: Path, card: Card, *names: str) -> None:
    """Compare files of a bundle (all that the card names, if none is given) with their SHA-256.

    Raises:
        VerificationError: a file is missing or was changed.
    """
    for name in names or card.files:
        if not (bundle / name).is_file():
            raise VerificationError(f"bundle {bundle}: {name} is missing")
        expected = card.files.get(name)
        found = sha256(bundle / name)
        if found != expected:
            raise VerificationError(
                f"bundle {bundle}: {name} is not the file its card names "
                f"(SHA-256 {found[:12]}..., expected {str(expected)[:12]}...)"
            )


def replace(card: Card, **changes: Any) -> Card:
    """Return a copy of a card with some fields changed."""
    return msgspec.structs.replace(card, **changes)


def as_json(card: Card) -> dict[str, Any]:
    """Return the card as plain dicts, lists and numbers."""
    plain: dict[str, Any] = msgspec.to_builtins(card)
    return plain
