"""Weights of older bundles under the names and in the order that the networks have today.

Up to card format 2, `googlenet` joined the branches of an Inception block with the pooling first;
the lectures' own class, and since format 3 the zoo's, joins 1x1, 5x5, 3x3, pooling. `resnet` called
its blocks `block1` and `block2`; in the lectures and since format 3 they are `rblock1`, `rblock2`.
"""

from __future__ import annotations

from typing import Any

from zoo.bundle.card import Card

#: Where each of a block's 88 channels was: 1x1 (16), 5x5 (24), 3x3 (24), pooling (24).
_INCEPTION = [*range(24, 40), *range(40, 64), *range(64, 88), *range(24)]


def current(card: Card, state: dict[str, Any]) -> dict[str, Any]:
    """Return a bundle's weights as the network of today takes them.

    Args:
        card: the bundle's.
        state: name -> NumPy array or torch tensor, as in the bundle's file.
    """
    if card.format >= 3:
        return state
    if card.name == "resnet":
        return {_renamed(name): value for name, value in state.items()}
    if card.name == "googlenet":
        return {name: _reordered(name, value) for name, value in state.items()}
    return state


def _renamed(name: str) -> str:
    return f"r{name}" if name.startswith(("block1.", "block2.")) else name


def _reordered(name: str, value: Any) -> Any:
    """Reorder the inputs of the layers behind a block: of a convolution, or of the last layer."""
    if name == "conv2.weight":
        return value[:, _INCEPTION]
    if name == "fc.weight":  # [classes, 88 x positions]
        rows = value.reshape(len(value), len(_INCEPTION), -1)
        return rows[:, _INCEPTION].reshape(value.shape)
    return value
