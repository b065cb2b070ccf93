"""Flattening in plain loops. Lesson: Flatten by hand. The fast one: `Flatten` in ../container.py.

y[n, (c H + i) W + j] = x[n, c, i, j]           dx[n, c, i, j] = dy[n, (c H + i) W + j]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def flatten(x: Array) -> Array:
    """Map x [N, C, H, W] to y [N, C H W]: channel after channel, row after row."""
    _, channels, height, width = x.shape
    y = np.zeros((len(x), channels * height * width), x.dtype)
    for n, c, i, j in np.ndindex(x.shape):
        y[n, (c * height + i) * width + j] = x[n, c, i, j]
    return y


def flatten_backward(dy: Array, x: Array) -> Array:
    """From dy [N, C H W] compute dx [N, C, H, W], the shape of x."""
    _, _, height, width = x.shape
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(x.shape):
        dx[n, c, i, j] = dy[n, (c * height + i) * width + j]
    return dx
