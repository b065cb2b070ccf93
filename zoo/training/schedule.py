"""The schedule: which rows each epoch takes in which order, and the learning rate of each step.

Both depend on nothing but the recipe, the data and the number of the epoch or step, so a resumed
training needs no memory of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.datasets import Dataset
from zoo.recipe import Recipe
from zoo.spec import Task


def row_order(targets: NDArray[Any], recipe: Recipe, epoch: int) -> Tensor:
    """Return the row numbers of an epoch, int64 [n], in the order in which they are trained on.

    Args:
        targets: int64 [n] class numbers of the training rows, or float32 [n] values.
        recipe: its seed and sampler.
        epoch: counted from 0.
    """
    # A generator of its own, on the CPU: the same order on every device, whatever else is drawn.
    generator = torch.Generator().manual_seed(recipe.seed * 10_007 + epoch)
    if recipe.sampler == "uniform":
        return torch.randperm(len(targets), generator=generator)
    # With replacement: a rare class has too few rows to come as often as the others without it.
    chances = torch.from_numpy(1 / np.bincount(targets)[targets])
    return torch.multinomial(chances, len(targets), replacement=True, generator=generator)


def learning_rate(recipe: Recipe, done: float) -> float:
    """Return the learning rate after a fraction `done` of all steps.

    Source of the one-cycle schedule: L. Smith, N. Topin, Super-Convergence, 2018.
    """
    if recipe.schedule == "constant":
        factor = 1.0
    elif done < recipe.warmup:
        # Up first, as the first gradients are the least reliable; 0.04 (torch's OneCycleLR has
        # 1 / 25) and not 0, so that the first step moves the weights too.
        factor = 0.04 + 0.96 * (1 - math.cos(math.pi * done / recipe.warmup)) / 2
    else:  # and down to 0: the last steps average out the noise of the batches
        factor = (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup))) / 2
    return recipe.lr * factor


def stable_rate(data: Dataset, task: Task) -> float:
    """Return the largest learning rate at which gradient descent on a table surely converges.

    The loss of a linear model is quadratic in its weights (for the squared error; for the
    cross-entropy its curvature is at most a quarter of the inputs'), and gradient descent with
    Nesterov's momentum is stable up to 1 / L, the largest eigenvalue of its second derivatives.
    Columns that are correlated make that large: with one rate for all tables, some diverge. Source:
    Y. Nesterov, "Introductory lectures on convex optimization" (2004), section 2.2.
    """
    inputs = data.train.inputs.astype(np.float64)
    columns = (inputs - np.array(data.spec.mean)) / np.array(data.spec.std)
    columns = np.hstack([columns, np.ones((len(columns), 1))])  # the bias
    largest = float(np.linalg.eigvalsh(columns.T @ columns / len(columns))[-1])
    curvature = 2 * largest if task == "regression" else largest / 4
    rate = 1 / max(curvature, 1e-12)
    rate = rate if task == "regression" else min(rate, 0.1)  # of a batch, which is not all rows
    return float(f"{rate:.3g}")
