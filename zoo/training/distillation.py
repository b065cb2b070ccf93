"""Distillation: a trained network's answers as a part of what another one is to learn.

Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.network.pretrained import load
from zoo.recipe import Recipe
from zoo.spec import Spec


def weights(recipe: Recipe) -> str:
    """Return the SHA-256 of the weights of the recipe's teacher; "" if it has none."""
    if not recipe.teacher:
        return ""
    return Bundle.open(recipe.teacher).card.files[WEIGHTS]


def check(recipe: Recipe, spec: Spec, classes: int) -> None:
    """Raise a UsageError if the recipe's teacher is none for these inputs and classes."""
    card = Bundle.open(recipe.teacher).card
    if card.task != "classification" or (card.spec, len(card.labels)) != (spec, classes):
        raise UsageError(
            f"teacher {recipe.teacher!r} knows {len(card.labels)} classes of {card.dataset.name}: "
            f"expected one of the same inputs and {classes} classes; --set teacher= trains without"
        )


class Teacher:
    """The recipe's teacher, on the network's device, and its part in the loss."""

    def __init__(self, recipe: Recipe, spec: Spec, classes: int, device: torch.device) -> None:
        check(recipe, spec, classes)
        self._network: nn.Module = load(recipe.teacher).to(device)
        self._temperature, self._alpha = recipe.temperature, recipe.alpha

    def loss(self, loss: Tensor, logits: Tensor, x: Tensor) -> Tensor:
        """Mix the loss by the labels with T^2 KL(teacher || network) at temperature T.

        Args:
            loss: a scalar.
            logits: [N, classes], the network's.
            x: what it has seen, normalized [N, channels, size, size].
        """
        with torch.no_grad():
            known = F.log_softmax(self._network(x).float() / self._temperature, dim=1)
        ours = F.log_softmax(logits / self._temperature, dim=1)
        divergence = F.kl_div(ours, known, reduction="batchmean", log_target=True)
        return self._alpha * self._temperature**2 * divergence + (1 - self._alpha) * loss
