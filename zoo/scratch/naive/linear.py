"""The linear layer in plain loops. Lesson: Linear by hand. The fast one: ../linear.py.

y[n,o] = b[o] + sum_i w[o,i] x[n,i]

dx[n,i] += dy[n,o] w[o,i]       dw[o,i] += dy[n,o] x[n,i]       db[o] += dy[n,o]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear(x: Array, w: Array, b: Array) -> Array:
    """Map x [N, in] to y [N, out], with w [out, in] and b [out]; all floats."""
    y = np.zeros((len(x), len(w)), x.dtype)
    for n, o in np.ndindex(y.shape):
        y[n, o] = b[o]
        for i in range(x.shape[1]):
            y[n, o] += w[o, i] * x[n, i]
    return y


def linear_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    """From dy [N, out] compute dx [N, in], dw [out, in] and db [out]."""
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(len(w), w.dtype)
    for n, o in np.ndindex(dy.shape):
        db[o] += dy[n, o]
        for i in range(x.shape[1]):
            dx[n, i] += dy[n, o] * w[o, i]
            dw[o, i] += dy[n, o] * x[n, i]
    return dx, dw, db
