"""Containers: layers after each other, and layers beside each other. Lesson: advanced CNN.

    Sequential  y = f_k(... f_2(f_1(x)))        dx: each layer's dx is the dy of the layer before
    Add         y = f_1(x) + ... + f_k(x)       dx = sum_i f_i.backward(dy)
    Concat      y = [f_1(x), ..., f_k(x)]       dx = sum_i f_i.backward(dy_i), dy cut like y
    Identity    y = x                           dx = dy
    Flatten     y = x in another shape          dx = dy in x's shape

A residual block is Add(Identity(), f): dx = dy + f.backward(dy), so the gradient has a way past f.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from zoo.errors import DataError
from zoo.scratch.layer import Array, Layer, Module, expect


class _Container(Layer):
    """Layers whose names in the state are "0", "1", ... or their keywords."""

    def __init__(self, *layers: Layer, **named: Layer) -> None:
        self.layers = {str(number): layer for number, layer in enumerate(layers)} | named

    def children(self) -> dict[str, Module]:
        """Return the layers by name."""
        return dict(self.layers)


class Sequential(_Container):
    """As `torch.nn.Sequential`: Sequential(Flatten(), ReLU()) or Sequential(fc=Linear(3, 2))."""

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        for layer in self.layers.values():
            x = layer(x)
        return x, ()

    def _backward(self, dy: Array) -> Array:
        for layer in reversed(self.layers.values()):
            dy = layer.backward(dy)
        return dy

    def _accumulate(self, dy: Array) -> None:
        layers = list(self.layers.values())
        while layers and not any(True for _ in layers[0].parameters()):
            del layers[0]  # it has no parameters
        for layer in reversed(layers[1:]):
            dy = layer.backward(dy)
        if layers:
            layers[0].accumulate(dy)


class Add(_Container):
    """The sum of all branches, whose outputs have one shape.

    Source: K. He et al., Deep Residual Learning for Image Recognition, 2015.
    """

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        first, *others = (branch(x) for branch in self.layers.values())
        for other in others:
            expect(f"{self} (a branch)", other, first.dtype, *first.shape)
        return sum(others, start=first), ()

    def _backward(self, dy: Array) -> Array:
        first, *others = (branch.backward(dy) for branch in self.layers.values())
        return sum(others, start=first)


class Concat(_Container):
    """The outputs of all branches joined along `dim`; the other dimensions are equal.

    Source: C. Szegedy et al., Going Deeper with Convolutions, 2014.
    """

    def __init__(self, *branches: Layer, dim: int = 1) -> None:
        super().__init__(*branches)
        self.dim = dim

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        parts = [branch(x) for branch in self.layers.values()]
        try:
            y = np.concatenate(parts, axis=self.dim)
        except ValueError:
            shapes = ", ".join(str(list(part.shape)) for part in parts)
            message = (
                f"expected branches of equal shape except in dimension {self.dim}, given {shapes}"
            )
            raise DataError(f"{self}: {message}") from None
        return y, tuple(accumulate(part.shape[self.dim] for part in parts))

    def _backward(self, dy: Array, *ends: int) -> Array:
        parts = np.split(dy, ends[:-1], axis=self.dim)
        pairs = zip(self.layers.values(), parts, strict=True)
        first, *others = (branch.backward(part) for branch, part in pairs)
        return sum(others, start=first)


class Identity(Layer):
    """As `torch.nn.Identity`: the shortcut of a residual block."""

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        return x, ()

    def _backward(self, dy: Array) -> Array:
        return dy


class Flatten(Layer):
    """As `torch.nn.Flatten`: by default [N, ...] to [N, all the rest]."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        start, end = (range(x.ndim)[dim] for dim in (self.start_dim, self.end_dim))
        size = int(np.prod(x.shape[start : end + 1]))
        return x.reshape(*x.shape[:start], size, *x.shape[end + 1 :]), x.shape

    def _backward(self, dy: Array, *shape: int) -> Array:
        return dy.reshape(shape)
