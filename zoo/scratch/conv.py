"""Conv2d: one small linear layer, applied at every position of the image. Lesson: basic CNN.

    y[n,o,p,q] = b[o] + sum_{c,i,j} W[o,c,i,j] x[n, c, p s + i, q s + j]       (x is padded first)

    x [N, C, H, W], W [O, C, kh, kw], b [O], y [N, O, OH, OW], s the stride

As one matrix product (im2col): write what each window holds as a column,

    X[(c,i,j), (p,q,n)] = x[n, c, p s + i, q s + j]           X [C kh kw, OH OW N]
    Y = W X + b                                               W [O, C kh kw], Y [O, OH OW N]

then backward is that of a linear layer, and the columns are added back where they came from:

    dW = dY X^T,   db = sum of dY over positions and images,   dX = W^T dY
    dx[n, c, p s + i, q s + j] += dX[(c,i,j), (p,q,n)]        (col2im: windows overlap, so they add)

Source: Y. LeCun et al., Gradient-based learning applied to document recognition, 1998.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from zoo.scratch.layer import Array, How, Layer, expect, uniform
from zoo.scratch.windows import Pair, Windows, batch_first, batch_last


class Conv2d(Layer):
    """As `torch.nn.Conv2d` without groups and dilation: [N, C, H, W] to [N, O, OH, OW].

    Raises:
        UsageError: a kernel or stride below 1, a padding below 0.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Pair, stride: int | Pair = 1,
        padding: int | Pair = 0, bias: bool = True, **how: Unpack[How],
    ) -> None:  # fmt: skip
        self.windows = Windows(kernel_size, stride, padding)
        kernel = self.windows.kernel
        self._workspaces: dict[str, Array] = {}
        fan_in = in_channels * kernel[0] * kernel[1]
        self.weight = uniform((out_channels, in_channels, *kernel), fan_in, how)
        self.bias = uniform((out_channels,), fan_in, how) if bias else None

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        w, (sh, sw) = self.weight.data, self.windows.stride
        expect(self, x, w.dtype, "batch", w.shape[1], "height", "width")
        padded = self.windows.pad(self, x)  # [C, H, W, N]
        views = sliding_window_view(padded, self.windows.kernel, axis=(1, 2))[:, ::sh, ::sw]
        positions = views.shape[1:4]  # OH, OW, N
        columns = self._workspace("X", (w[0].size, views[0, ..., 0, 0].size), x.dtype)
        columns.reshape(*w.shape[1:], *positions)[...] = views.transpose(0, 4, 5, 1, 2, 3)  # im2col
        y = w.reshape(len(w), -1) @ columns
        if self.bias is not None:
            y += self.bias.data[:, np.newaxis]
        return batch_first(y.reshape(len(w), *positions)), (columns, padded.shape)

    def _backward(self, dy: Array, columns: Array, padded: tuple[int, ...]) -> Array:
        positions, w = self._accumulate(dy, columns, padded), self.weight.data
        dcolumns = self._workspace("dX", columns.shape, dy.dtype)
        np.matmul(w.reshape(len(w), -1).T, positions, out=dcolumns)
        pixels = dcolumns.reshape(w.shape[1], w[0, 0].size, *dy.shape[2:], len(dy)).swapaxes(0, 1)
        dx = np.zeros(padded, dy.dtype)
        for part, pixel in zip(self.windows.parts(dx), pixels, strict=True):  # col2im
            part += pixel
        return self.windows.crop(dx)

    def _accumulate(self, dy: Array, columns: Array, padded: tuple[int, ...]) -> Array:
        """Add dW and db; return dY [O, OH OW N]."""
        positions = batch_last(dy).reshape(dy.shape[1], columns.shape[1])
        # X dY^T and not dY X^T: BLAS divides the longer side among its threads.
        dw = np.ascontiguousarray((columns @ positions.T).T)
        self.weight.add(dw.reshape(self.weight.data.shape))
        if self.bias is not None:
            self.bias.add(positions.sum(axis=1))
        return positions

    def _workspace(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an array without content; in training the same one at each step.

        To get as much memory from the system takes longer than to fill it.
        """
        array = self._workspaces.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            array = np.empty(shape, dtype)
            self._workspaces = self._workspaces | {name: array} if self.training else {}
        return array
