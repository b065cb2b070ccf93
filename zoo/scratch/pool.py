"""Pooling: one number for each window, in each channel alone. Lesson: basic CNN.

    max      y[n,c,p,q] = max_{i,j} x[n, c, p s + i, q s + j]
             dx gets dy where the maximum was: the first of equal ones in scan order, as in torch
    average  y[n,c,p,q] = 1/K sum_{i,j} x[n, c, p s + i, q s + j]
             dx gets dy / K at every pixel of the window

x [N, C, H, W], y [N, C, OH, OW]; i, j run over the kernel, s is the stride. Where windows overlap,
the gradients add. Padding is -inf for the maximum, 0 for the average; K is the kernel's area or,
with count_include_pad=False, the number of its pixels that are not padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.errors import UsageError
from zoo.scratch.layer import Array, Layer
from zoo.scratch.windows import Pair, Windows, batch_first, batch_last


class _Pool(Layer):
    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0
    ) -> None:
        self.windows = Windows(kernel_size, kernel_size if stride is None else stride, padding)
        kernel, pad = self.windows.kernel, self.windows.padding
        if 2 * pad[0] > kernel[0] or 2 * pad[1] > kernel[1]:
            raise UsageError(f"padding: expected at most half of kernel {kernel}, given {pad}")


class MaxPool2d(_Pool):
    """As `torch.nn.MaxPool2d`: [N, C, H, W] to [N, C, OH, OW]; a NaN makes its windows NaN.

    Raises:
        UsageError: a kernel or stride below 1, a padding above half the kernel.
    """

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        padded = self.windows.pad(self, x, -np.inf)
        first, *others = self.windows.parts(padded)
        y = first.copy()
        for part in others:
            np.maximum(y, part, out=y)
        return batch_first(y), (padded, y)

    def _backward(self, dy: Array, padded: Array, y: Array) -> Array:
        dy, dx = batch_last(dy), np.zeros_like(padded)
        free = np.ones(y.shape, bool)  # windows without a maximum so far
        pairs = list(zip(self.windows.parts(padded), self.windows.parts(dx), strict=True))
        for part, gradient in pairs:
            hit = part == y
            hit &= free
            free ^= hit
            if self.windows.apart:
                np.multiply(dy, hit, out=gradient)  # no other window writes there
            else:
                gradient += dy * hit
        if free.any():  # NaN equals nothing: the last one gets the gradient, as in torch
            for part, gradient in reversed(pairs):
                hit = np.isnan(part) & free
                free ^= hit
                gradient += dy * hit
        return self.windows.crop(dx)


class AvgPool2d(_Pool):
    """As `torch.nn.AvgPool2d`: [N, C, H, W] to [N, C, OH, OW].

    Raises:
        UsageError: a kernel or stride below 1, a padding above half the kernel.
    """

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding)
        self.border = float(count_include_pad)  # what a padding pixel counts as

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        padded = self.windows.pad(self, x)
        ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
        y, count = self._sum(padded), self._sum(self.windows.pad(self, ones, self.border))
        y /= count
        return batch_first(y), (padded.shape, count)

    def _sum(self, padded: Array) -> Array:
        first, *others = self.windows.parts(padded)
        total = first.copy()
        for part in others:
            total += part
        return total

    def _backward(self, dy: Array, padded: tuple[int, ...], count: Array) -> Array:
        mean, dx = batch_last(dy) / count, np.zeros(padded, dy.dtype)
        for gradient in self.windows.parts(dx):
            gradient += mean
        return self.windows.crop(dx)
