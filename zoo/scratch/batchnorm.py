"""BatchNorm2d: each channel to mean 0 and variance 1 over the batch, then scaled and shifted.

    m = mean of x, v = mean of (x - m)^2        over the M = N H W numbers of one channel
    z = (x - m) r,  r = 1 / sqrt(v + eps)
    y = gamma z + beta                          x, z, y [N, C, H, W]; m, v, r, gamma, beta [C]

Backward, all sums over one channel: dgamma = sum dy z, dbeta = sum dy. An x_k moves its own z_k
directly, and every z_l through m and v: dz_l/dx_k = r (1[k = l] - 1/M - z_k z_l / M). With
dz = gamma dy this gives

    dx = gamma r (dy - dbeta / M - z dgamma / M)

Running statistics: s <- (1 - momentum) s + momentum m, and the same with the unbiased variance
v M / (M - 1). In eval mode they stand for m and v, which x then does not move: dx = gamma r dy.

Source: S. Ioffe, C. Szegedy, Batch Normalization, 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from zoo.errors import DataError
from zoo.scratch.layer import Array, Layer, Parameter, expect
from zoo.scratch.windows import batch_first, batch_last


class BatchNorm2d(Layer):
    """As `torch.nn.BatchNorm2d`: [N, C, H, W] to the same shape.

    momentum None: the running statistics are the mean over all batches so far.

    Raises:
        DataError: also, in training, for a single number per channel: it has no variance.
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, *, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.running_mean: Array = np.zeros(num_features, dtype)
        self.running_var: Array = np.ones(num_features, dtype)
        self.num_batches_tracked: Array = np.zeros((), np.int64)

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        m, v = self.running_mean, self.running_var
        expect(self, x, m.dtype, "batch", len(m), "height", "width")
        last = batch_last(x)
        rows = last.reshape(len(m), x.size // len(m))  # [C, M]
        if self.training:
            m, v = rows.mean(axis=1), rows.var(axis=1)
            self._track(m, v, rows.shape[1])
        r = 1 / np.sqrt(v + self.eps)
        z = rows - m[:, np.newaxis]
        z *= r[:, np.newaxis]
        y = z.copy()
        if self.weight is not None and self.bias is not None:
            y *= self.weight.data[:, np.newaxis]
            y += self.bias.data[:, np.newaxis]
        return batch_first(y.reshape(last.shape)), (z, r, self.training)

    def _track(self, m: Array, v: Array, size: int) -> None:
        if size < 2:
            raise DataError(f"{self}: expected more than one number per channel in training")
        self.num_batches_tracked += 1
        fraction = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean += fraction * (m - self.running_mean)
        self.running_var += fraction * (v * (size / (size - 1)) - self.running_var)

    def _backward(self, dy: Array, z: Array, r: Array, training: bool) -> Array:
        last = batch_last(dy)
        dx = last.reshape(z.shape)
        dgamma, dbeta = (dx * z).sum(axis=1), dx.sum(axis=1)
        if training:
            dx = dx - (dbeta / z.shape[1])[:, np.newaxis]
            dx -= z * (dgamma / z.shape[1])[:, np.newaxis]
        if self.weight is not None and self.bias is not None:
            r = r * self.weight.data
            self.weight.add(dgamma)
            self.bias.add(dbeta)
        return batch_first((dx * r[:, np.newaxis]).reshape(last.shape))
