"""Initial weights from a bundle: `zoo train cnn --init pretrained`, `--init runs/mine`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import safetensors.torch
from torch import Tensor, nn

from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.bundle.layout import current
from zoo.datasets import Dataset
from zoo.entry import Entry
from zoo.errors import UsageError, nearest
from zoo.spec import TableSpec


def load(network: nn.Module, entry: Entry, data: Dataset, init: str) -> None:
    """Load a bundle's weights into the layers that they fit; print which layers stay fresh."""
    bundle = source(entry, init)
    weights = current(bundle.card, safetensors.torch.load(bundle.read(WEIGHTS)))
    state, theirs = network.state_dict(), bundle.card.spec
    if isinstance(theirs, TableSpec) and isinstance(data.spec, TableSpec):
        weights = _by_name(weights, theirs.columns, state, data.spec.columns)
    fitting = {
        name: tensor for name, tensor in weights.items()
        if name in state and state[name].shape == tensor.shape
    }  # fmt: skip
    network.load_state_dict(state | fitting)
    fresh = ", ".join(name for name in state if name not in fitting)
    origin = repr(entry.name) if init == "pretrained" else init
    print(f"weights of {origin} taken, fresh: {fresh or 'none'}", file=sys.stderr)


def source(entry: Entry, init: str) -> Bundle:
    """Open the bundle whose weights a training begins with.

    Raises:
        UsageError: there is none, or it is of another model.
    """
    try:
        bundle = Bundle.open(entry.name if init == "pretrained" else init)
    except UsageError:
        hint = nearest(init, ("random", "pretrained"))
        expected = f"expected random, pretrained, or a bundle of {entry.name}"
        raise UsageError(f"init={init}: {expected}.{hint}") from None
    if bundle.card.name != entry.name:
        raise UsageError(
            f"init={init}: a bundle of model {bundle.card.name!r}, expected one of {entry.name!r}"
        )
    return bundle


def _by_name(
    weights: dict[str, Tensor], theirs: Sequence[str], state: dict[str, Tensor], ours: Sequence[str]
) -> dict[str, Tensor]:
    """Bring the first layer's columns into the order of ours; new columns keep our weights."""
    first = next((name for name, tensor in state.items() if tensor.ndim == 2), "")
    if first not in weights or weights[first].shape != (len(state[first]), len(theirs)):
        return weights
    matrix = state[first].clone()
    if matrix.shape[1] != len(ours):  # a network of the user's: not the columns' layer
        return weights
    for column, name in enumerate(ours):
        if name in theirs:
            matrix[:, column] = weights[first][:, theirs.index(name)]
    return weights | {first: matrix}
