"""Activations: one function of each number. x, y, dy, dx have one shape. Lesson: backpropagation.

    ReLU        y = max(x, 0)                   dx = dy where y > 0, else 0 (at x = 0 too)
    Tanh        y = tanh(x)                     dx = dy (1 - y^2)
    Sigmoid     y = 1 / (1 + e^-x)              dx = dy y (1 - y)
    LogSoftmax  y = x - log sum_j e^x_j         dx = dy - e^y sum_j dy_j        over the last axis

Nothing overflows: the sigmoid comes from e^-|x|, the log-softmax from x - max x, which leaves the
differences between the numbers, and so the result, as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.scratch.layer import Array, Layer


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), for any x."""
    small = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, small) / (1 + small)
    return y


def log_softmax(x: Array) -> Array:
    """The logarithm of the softmax over the last axis."""
    y: Array = x - x.max(axis=-1, keepdims=True)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y


class ReLU(Layer):
    """As `torch.nn.ReLU`, for any shape."""

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        y = np.maximum(x, 0)
        return y, (y,)

    def _backward(self, dy: Array, y: Array) -> Array:
        dx: Array = dy * (y > 0)
        return dx


class Tanh(Layer):
    """As `torch.nn.Tanh`, for any shape."""

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        y = np.tanh(x)
        return y, (y,)

    def _backward(self, dy: Array, y: Array) -> Array:
        dx: Array = dy * (1 - y * y)
        return dx


class Sigmoid(Layer):
    """As `torch.nn.Sigmoid`, for any shape."""

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        y = sigmoid(x)
        return y, (y,)

    def _backward(self, dy: Array, y: Array) -> Array:
        dx: Array = dy * (y * (1 - y))
        return dx


class LogSoftmax(Layer):
    """As `torch.nn.LogSoftmax(dim=-1)`, for any shape."""

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        y = log_softmax(x)
        return y, (y,)

    def _backward(self, dy: Array, y: Array) -> Array:
        dx: Array = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
        return dx
