"""Batch normalization in plain loops. Lesson: BatchNorm2d by hand. The fast one: ../batchnorm.py.

    m = 1/M sum x,  v = 1/M sum (x - m)^2,  z = (x - m) / sqrt(v + eps),  y = gamma z + beta

for each channel alone, over its M = N H W numbers. Backward follows this graph step by step: x
reaches y directly, through m and through v. With r = 1 / sqrt(v + eps) and dz = gamma dy:

    dv = sum dz (x - m) (-1/2) r^3
    dm = sum dz (-r)  +  dv 1/M sum -2 (x - m)             (the second sum is 0)
    dx = dz r  +  dv 2 (x - m) / M  +  dm / M

Source: S. Ioffe, C. Szegedy, Batch Normalization, 2015, section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def batch_norm2d(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """Map x [N, C, H, W] to y of the same shape, as in training; gamma and beta are [C]."""
    y = np.zeros_like(x)
    for c in range(x.shape[1]):
        m, v = _statistics(x, c)
        r = 1 / np.sqrt(v + eps)
        for n, i, j in np.ndindex(x[:, c].shape):
            y[n, c, i, j] = gamma[c] * (x[n, c, i, j] - m) * r + beta[c]
    return y


def batch_norm2d_backward(
    dy: Array, x: Array, gamma: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """From dy [N, C, H, W] compute dx [N, C, H, W], dgamma [C] and dbeta [C]."""
    dx, dgamma, dbeta = np.zeros_like(x), np.zeros_like(gamma), np.zeros_like(gamma)
    for c in range(x.shape[1]):
        m, v = _statistics(x, c)
        r, size = 1 / np.sqrt(v + eps), x[:, c].size
        dm = dv = 0.0
        for n, i, j in np.ndindex(x[:, c].shape):
            centered, dz = x[n, c, i, j] - m, gamma[c] * dy[n, c, i, j]
            dgamma[c] += dy[n, c, i, j] * centered * r
            dbeta[c] += dy[n, c, i, j]
            dv += dz * centered * -0.5 * r**3
            dm += dz * -r  # the way through v adds 0: the centered numbers sum to 0
        for n, i, j in np.ndindex(x[:, c].shape):
            centered, dz = x[n, c, i, j] - m, gamma[c] * dy[n, c, i, j]
            dx[n, c, i, j] = dz * r + dv * 2 * centered / size + dm / size
    return dx, dgamma, dbeta


def _statistics(x: Array, c: int) -> tuple[float, float]:
    """Return the mean and the (biased) variance of channel c."""
    m = v = 0.0
    for n, i, j in np.ndindex(x[:, c].shape):
        m += x[n, c, i, j] / x[:, c].size
    for n, i, j in np.ndindex(x[:, c].shape):
        v += (x[n, c, i, j] - m) ** 2 / x[:, c].size
    return m, v
