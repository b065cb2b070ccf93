"""Maximum pooling in plain loops. Lesson: MaxPool2d by hand. The fast one: ../pool.py.

    y[n,c,p,q] = max_{i,j} x[n, c, p s + i - P, q s + j - P]

s is the stride; the padding P holds minus infinity, so it never wins. Forward remembers the row and
the column of each winner, and backward adds dy there; all other numbers had no influence on y.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def max_pool2d(x: Array, kernel: int, stride: int, padding: int = 0) -> tuple[Array, Array]:
    """Map x [N, C, H, W] to y [N, C, OH, OW] and the winners' rows and columns [N, C, OH, OW, 2].

    Of equal numbers the first in scan order wins, as in torch.
    """
    height = (x.shape[2] + 2 * padding - kernel) // stride + 1
    width = (x.shape[3] + 2 * padding - kernel) // stride + 1
    y = np.full((*x.shape[:2], height, width), -np.inf, x.dtype)
    winners = np.zeros((*y.shape, 2), np.int64)
    for n, c, p, q in np.ndindex(y.shape):
        for i, j in np.ndindex(kernel, kernel):
            row, column = p * stride + i - padding, q * stride + j - padding
            inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
            if inside and x[n, c, row, column] > y[n, c, p, q]:
                y[n, c, p, q] = x[n, c, row, column]
                winners[n, c, p, q] = row, column
    return y, winners


def max_pool2d_backward(dy: Array, winners: Array, x: Array) -> Array:
    """From dy [N, C, OH, OW] and the winners compute dx [N, C, H, W], the shape of x."""
    dx = np.zeros_like(x)
    for n, c, p, q in np.ndindex(dy.shape):
        row, column = winners[n, c, p, q]
        dx[n, c, row, column] += dy[n, c, p, q]  # windows may overlap: add
    return dx
