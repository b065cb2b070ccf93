"""Dropout in plain loops. Lesson: Dropout by hand. The fast one: ../dropout.py.

    m[k] = 0 where u[k] < p, else 1 / (1 - p)       u[k] drawn evenly from 0 to 1
    y[k] = m[k] x[k]                                dx[k] = m[k] dy[k]

Source: N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting,
2014 (scaled in training, as in torch, and not in evaluation).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def dropout(x: Array, draws: Array, p: float) -> tuple[Array, Array]:
    """Map x, of any shape, to y and the mask, as in training.

    draws: evenly distributed in 0 to 1, the shape of x. p: from 0 to below 1.
    """
    y, mask = np.zeros_like(x), np.zeros_like(x)
    for k in np.ndindex(x.shape):
        if draws[k] >= p:
            mask[k] = 1 / (1 - p)
        y[k] = mask[k] * x[k]
    return y, mask


def dropout_backward(dy: Array, mask: Array) -> Array:
    """From dy and the mask of the forward pass compute dx; all of one shape."""
    dx = np.zeros_like(dy)
    for k in np.ndindex(dy.shape):
        dx[k] = mask[k] * dy[k]
    return dx
