"""Parameter groups: which parameters Muon takes, and which of the others decay.

The same for torch's optimizers and for those by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from torch import nn

from zoo import scratch
from zoo.recipe import Recipe

P = TypeVar("P", nn.Parameter, scratch.Parameter)


def parameter_groups(parameters: Iterable[P], recipe: Recipe) -> tuple[list[P], list[P], list[P]]:
    """Divide parameters into Muon's, the others that decay, and those that do not: the biases.

    Muon takes the matrices of the hidden layers. The last matrix computes the outputs, for which
    AdamW was found to be better (source: see `zoo.scratch.muon`).
    """
    parameters = list(parameters)
    weights = [parameter for parameter in parameters if parameter.data.ndim > 1]
    biases = [parameter for parameter in parameters if parameter.data.ndim <= 1]
    hidden = weights[:-1] if recipe.optimizer == "muon" else []
    return hidden, weights[len(hidden) :], biases
