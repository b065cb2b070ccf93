"""Distillation: a network learns from the outputs of a trained one, besides the labels.

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
    """Return the SHA-256 of the weights of the recipe's teacher; "" without a teacher."""
    if not recipe.teacher:
        return ""
    return Bundle.open(recipe.teacher).card.files[WEIGHTS]


def check(recipe: Recipe, spec: Spec, classes: int) -> None:
    """Check that the recipe's teacher takes these inputs and has as many classes.

    Raises:
        UsageError: it does not.
    """
    card = Bundle.open(recipe.teacher).card
    if card.task != "classification" or (card.spec, len(card.labels)) != (spec, classes):
        raise UsageError(
            f"teacher {recipe.teacher!r} has {len(card.labels)} classes of {card.dataset.name}: "
            f"expected one with the same inputs and {classes} classes; "
            f"--set teacher= trains without a teacher"
        )


class Teacher:
    """The recipe's teacher, on the network's device, and its term of the loss."""

    def __init__(self, recipe: Recipe, spec: Spec, classes: int, device: torch.device) -> None:
        check(recipe, spec, classes)
        self._network: nn.Module = load(recipe.teacher).to(device)
        self._temperature, self._alpha = recipe.temperature, recipe.alpha

    def loss(self, loss: Tensor, logits: Tensor, x: Tensor) -> Tensor:
        """Return (1 - alpha) loss + alpha T^2 KL(teacher || network), at temperature T.

        T^2 makes up for the gradients of the divergence, which are smaller by that factor.

        Args:
            loss: a scalar, by the labels.
            logits: the network's, float32 [N, classes].
            x: the inputs of both, normalized, float32 [N, channels, size, size].
        """
        with torch.no_grad():
            theirs = F.log_softmax(self._network(x).float() / self._temperature, dim=1)
        ours = F.log_softmax(logits / self._temperature, dim=1)
        divergence = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return self._alpha * self._temperature**2 * divergence + (1 - self._alpha) * loss
