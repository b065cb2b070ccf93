"""Convolution in plain loops. Lessons: the convolution layer, Conv2d by hand. Fast: ../conv.py.

    y[n,o,p,q] = b[o] + sum_{c,i,j} w[o,c,i,j] x[n, c, p s + i - P, q s + j - P]

s is the stride and P the padding; outside x there are zeros. Each product of the sum passes the
gradient of its y on to both of its factors, so backward is the same loop:

    dw[o,c,i,j] += dy[n,o,p,q] x[n, c, ...]        dx[n, c, ...] += dy[n,o,p,q] w[o,c,i,j]
    db[o] += dy[n,o,p,q]

Source: Y. LeCun et al., Gradient-based learning applied to document recognition, 1998.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Place = tuple[int, int, int, int]


def conv2d(x: Array, w: Array, b: Array, stride: int = 1, padding: int = 0) -> Array:
    """Map x [N, C, H, W] to y [N, O, OH, OW], with w [O, C, kh, kw] and b [O]; all floats."""
    height = (x.shape[2] + 2 * padding - w.shape[2]) // stride + 1
    width = (x.shape[3] + 2 * padding - w.shape[3]) // stride + 1
    y = np.zeros((len(x), len(w), height, width), x.dtype)
    for n, o, p, q in np.ndindex(y.shape):
        y[n, o, p, q] = b[o]
    for y_place, w_place, x_place in _products(x, w, y, stride, padding):
        y[y_place] += w[w_place] * x[x_place]
    return y


def conv2d_backward(
    dy: Array, x: Array, w: Array, stride: int = 1, padding: int = 0
) -> tuple[Array, Array, Array]:
    """From dy [N, O, OH, OW] compute dx [N, C, H, W], dw [O, C, kh, kw] and db [O]."""
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(len(w), w.dtype)
    for n, o, p, q in np.ndindex(dy.shape):
        db[o] += dy[n, o, p, q]
    for y_place, w_place, x_place in _products(x, w, dy, stride, padding):
        dw[w_place] += dy[y_place] * x[x_place]
        dx[x_place] += dy[y_place] * w[w_place]
    return dx, dw, db


def _products(
    x: Array, w: Array, y: Array, stride: int, padding: int
) -> Iterator[tuple[Place, Place, Place]]:
    """Yield, for every product that is added up, its place in y, in w and in x."""
    for n, o, p, q in np.ndindex(y.shape):
        for c, i, j in np.ndindex(w.shape[1:]):
            row, column = p * stride + i - padding, q * stride + j - padding
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:  # the padding is zero
                yield (n, o, p, q), (o, c, i, j), (n, c, row, column)
