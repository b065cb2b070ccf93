"""Linear: every output is a weighted sum of all inputs. Lessons: linear model, backpropagation.

    y = x W^T + b                x [N, in], W [out, in], b [out], y [N, out]

y_no = sum_i x_ni W_oi + b_o, so, summing over every y that a letter is part of:

    dx_ni = sum_o dy_no W_oi     dx = dy W        [N, in]
    dW_oi = sum_n dy_no x_ni     dW = dy^T x      [out, in]
    db_o  = sum_n dy_no                           [out]
"""

from __future__ import annotations

from typing import Any, Unpack

from zoo.scratch.layer import Array, How, Layer, expect, uniform


class Linear(Layer):
    """As `torch.nn.Linear`: [..., in_features] to [..., out_features]."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, **how: Unpack[How]
    ) -> None:
        self.weight = uniform((out_features, in_features), in_features, how)
        self.bias = uniform((out_features,), in_features, how) if bias else None

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        w = self.weight.data
        expect(self, x, w.dtype, *["any"] * max(x.ndim - 1, 1), w.shape[1])
        y = x @ w.T
        if self.bias is not None:
            y += self.bias.data
        return y, (x,)

    def _backward(self, dy: Array, x: Array) -> Array:
        self._accumulate(dy, x)
        dx: Array = dy @ self.weight.data
        return dx

    def _accumulate(self, dy: Array, x: Array) -> None:
        dy, x = (a.reshape(a.size // a.shape[-1], a.shape[-1]) for a in (dy, x))  # all are rows
        self.weight.add(dy.T @ x)
        if self.bias is not None:
            self.bias.add(dy.sum(axis=0))
