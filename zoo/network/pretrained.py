"""`zoo.load`: a trained network as an ordinary `nn.Module`."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING

import msgspec

from zoo import registry
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.bundle.layout import current
from zoo.entry import Entry
from zoo.errors import UsageError, VerificationError, last_line, needs_extra
from zoo.spec import ImageSpec, Spec

if TYPE_CHECKING:
    from torch import Tensor, nn


def load(
    name: str | os.PathLike[str] | Bundle,
    *,
    pretrained: bool = True,
    classes: int | None = None,
    channels: int | None = None,
) -> nn.Module:
    """Load a network in eval mode, on the CPU.

    It takes normalized float32 images [batch, channels, height, width], or standardized features
    [batch, columns]. `zoo.network.pipeline.Pipeline` adds normalization and softmax;
    `zoo.Session` takes raw inputs without torch.

    Args:
        name: a model's name, the path of a bundle, hf://user/repo on the Hugging Face Hub, or an
            open bundle.
        pretrained: False: random weights, from torch's global generator.
        classes: for data with as many classes: the last layer is new, the others are trained.
        channels: of an image model, for images with as many: the first layer is new.

    Raises:
        UsageError: no such model or bundle, or classes and channels that it cannot have; a table
            model's input is its columns, and a regression has no classes.
        VerificationError: the weights do not match the card. ZooError: torch is not installed.
    """
    with needs_extra("train", "zoo.load"):
        import safetensors.torch

        if not pretrained and name in registry.names():
            from zoo import datasets

            entry = registry.get(str(name))
            data = datasets.load(entry.dataset)
            return _build(entry, data.spec, len(data.labels), classes, channels).eval()
        bundle = Bundle.open(name)
        card = bundle.card
        entry = registry.get(card.name)
        network = _build(entry, card.spec, len(card.labels), classes, channels)
        if pretrained:
            state = current(card, safetensors.torch.load(bundle.read(WEIGHTS)))
            if classes is not None or channels is not None:
                state = _fitting(network, state)
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                reason = last_line(error)
                raise VerificationError(
                    f"bundle {bundle.path}: the weights do not fit model {card.name!r}: {reason}"
                ) from None
        return network.eval()


def _build(
    entry: Entry, spec: Spec, labels: int, classes: int | None, channels: int | None
) -> nn.Module:
    """Build the network, with other classes or channels than the spec's where they are given."""
    for name, value in (("classes", classes), ("channels", channels)):
        try:
            operator.index(value or 0)  # NumPy's whole numbers, too
        except TypeError:
            raise UsageError(f"{name}={value!r}: expected a whole number") from None
    if classes is not None and (entry.task != "classification" or classes < 2):
        kind = "2 or more" if entry.task == "classification" else f"none: {entry.task}"
        raise UsageError(f"classes={classes}: {entry.name} can have {kind}")
    if channels is not None:
        if not isinstance(spec, ImageSpec) or channels < 1:
            kind = "1 or more" if isinstance(spec, ImageSpec) else "none: it takes a table"
            raise UsageError(f"channels={channels}: {entry.name} can have {kind}")
        mean, std = (spec.mean[:1] * channels, spec.std[:1] * channels)
        spec = msgspec.structs.replace(spec, channels=channels, mean=mean, std=std)
    return entry.build(spec, classes or labels)


def _fitting(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with the fresh ones of the layers whose shape is another."""
    fresh = network.state_dict()
    same = {
        name for name, value in fresh.items() if name in state and state[name].shape == value.shape
    }
    # A layer is new as a whole: an old bias belongs to the old weights.
    layers = {name.rpartition(".")[0] for name in fresh if name not in same}
    return {
        name: value if name not in same or name.rpartition(".")[0] in layers else state[name]
        for name, value in fresh.items()
    }
