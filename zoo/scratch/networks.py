"""The zoo's eight networks from layers by hand; for shapes and sources see `zoo/models/`.

The names in their states are those of the torch models. Where a torch model calls F.relu, these
have a layer, which keeps what backward needs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Unpack

import numpy as np

from zoo.errors import unknown
from zoo.scratch.activation import ReLU
from zoo.scratch.container import Add, Concat, Flatten, Identity, Sequential
from zoo.scratch.conv import Conv2d
from zoo.scratch.layer import Array, How, Layer, expect
from zoo.scratch.linear import Linear
from zoo.scratch.pool import AvgPool2d, MaxPool2d
from zoo.scratch.rnn import RNN, RNNCell
from zoo.spec import ImageSpec, Spec, Task


class _Block(Layer):
    """Layers under the names of the torch model, connected in `body`."""

    body: Layer

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        return self.body(x), ()

    def _backward(self, dy: Array) -> Array:
        return self.body.backward(dy)


class _Inception(_Block):
    def __init__(self, channels: int, **how: Unpack[How]) -> None:
        self.branch_pool = Conv2d(channels, 24, 1, **how)
        self.branch1x1 = Conv2d(channels, 16, 1, **how)
        self.branch5x5_1 = Conv2d(channels, 16, 1, **how)
        self.branch5x5_2 = Conv2d(16, 24, 5, padding=2, **how)
        self.branch3x3_1 = Conv2d(channels, 16, 1, **how)
        self.branch3x3_2 = Conv2d(16, 24, 3, padding=1, **how)
        self.branch3x3_3 = Conv2d(24, 24, 3, padding=1, **how)
        self.body = Concat(
            self.branch1x1,
            Sequential(self.branch5x5_1, self.branch5x5_2),
            Sequential(self.branch3x3_1, self.branch3x3_2, self.branch3x3_3),
            Sequential(AvgPool2d(3, stride=1, padding=1), self.branch_pool),
        )


class _Residual(_Block):
    def __init__(self, channels: int, **how: Unpack[How]) -> None:
        self.conv1 = Conv2d(channels, channels, 3, padding=1, **how)
        self.conv2 = Conv2d(channels, channels, 3, padding=1, **how)
        residual = Sequential(self.conv1, ReLU(), self.conv2)
        self.body = Sequential(Add(Identity(), residual), ReLU())


class _Rows(Layer):
    """A network that reads an image row by row and classifies the last hidden state."""

    def __init__(self, channels: int, size: int, classes: int, **how: Unpack[How]) -> None:
        self.image, self.width = (channels, size, size), channels * size
        self._recurrent(128, **how)
        self.fc = Linear(128, classes, **how)

    def _recurrent(self, hidden: int, **how: Unpack[How]) -> None:
        raise NotImplementedError

    def _rows(self, x: Array) -> Array:
        """[N, C, H, W] to H steps [H, N, C W]."""
        expect(self, x, "float", "batch", *self.image)
        return x.transpose(2, 0, 1, 3).reshape(self.image[1], len(x), self.width)

    def _images(self, dx: Array) -> Array:
        """[H, N, C W] to [N, C, H, W]."""
        channels, size, _ = self.image
        return dx.reshape(size, dx.shape[1], channels, size).transpose(1, 2, 0, 3)


class _ByRNN(_Rows):
    def _recurrent(self, hidden: int, **how: Unpack[How]) -> None:
        self.rnn = RNN(self.width, hidden, **how)

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        _, h = self.rnn(self._rows(x))
        return self.fc(h[0]), ()

    def _backward(self, dy: Array) -> Array:
        dx, _ = self.rnn.backward(None, self.fc.backward(dy)[np.newaxis])
        return self._images(dx)


class _ByCell(_Rows):
    def _recurrent(self, hidden: int, **how: Unpack[How]) -> None:
        self.cell = RNNCell(self.width, hidden, **how)

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        rows, states = self._rows(x), [np.zeros((len(x), 128), x.dtype)]
        for row in rows:
            states.append(self.cell.step(row, states[-1]))
        return self.fc(states[-1]), (rows, states)

    def _backward(self, dy: Array, rows: Array, states: list[Array]) -> Array:
        dh, dx = self.fc.backward(dy), np.empty_like(rows)
        for t in range(len(rows) - 1, -1, -1):
            dx[t], dh = self.cell.step_backward(dh, rows[t], states[t], states[t + 1])
        return self._images(dx)


def _neuron(columns: int, outputs: int, **how: Unpack[How]) -> Layer:
    return Sequential(linear=Linear(columns, outputs, **how))


def _softmax(channels: int, size: int, classes: int, **how: Unpack[How]) -> Layer:
    layers: dict[str, Layer] = {"flatten": Flatten()}
    sizes = (channels * size * size, 512, 256, 128, 64, classes)
    for number, (before, after) in enumerate(pairwise(sizes), start=1):
        layers |= {f"l{number}": Linear(before, after, **how), f"relu{number}": ReLU()}
    del layers["relu5"]  # the last layer gives the logits
    return Sequential(**layers)


def _cnn(channels: int, size: int, classes: int, **how: Unpack[How]) -> Layer:
    return Sequential(
        conv1=Conv2d(channels, 10, 5, **how), pool1=MaxPool2d(2), relu1=ReLU(),
        conv2=Conv2d(10, 20, 5, **how), pool2=MaxPool2d(2), relu2=ReLU(),
        flatten=Flatten(), fc=Linear(20 * _positions(size), classes, **how),
    )  # fmt: skip


def _googlenet(channels: int, size: int, classes: int, **how: Unpack[How]) -> Layer:
    return Sequential(
        conv1=Conv2d(channels, 10, 5, **how), pool1=MaxPool2d(2), relu1=ReLU(),
        incep1=_Inception(10, **how),
        conv2=Conv2d(88, 20, 5, **how), pool2=MaxPool2d(2), relu2=ReLU(),
        incep2=_Inception(20, **how),
        flatten=Flatten(), fc=Linear(88 * _positions(size), classes, **how),
    )  # fmt: skip


def _resnet(channels: int, size: int, classes: int, **how: Unpack[How]) -> Layer:
    return Sequential(
        conv1=Conv2d(channels, 16, 5, **how), relu1=ReLU(), pool1=MaxPool2d(2),
        rblock1=_Residual(16, **how),
        conv2=Conv2d(16, 32, 5, **how), relu2=ReLU(), pool2=MaxPool2d(2),
        rblock2=_Residual(32, **how),
        flatten=Flatten(), fc=Linear(32 * _positions(size), classes, **how),
    )  # fmt: skip


def _positions(size: int) -> int:
    """Return how many pixels two 5x5 convolutions and poolings leave: 28 -> 24 -> 12 -> 8 -> 4."""
    return int((((size - 4) // 2 - 4) // 2) ** 2)


_NETWORKS: dict[str, Callable[..., Layer]] = {
    "linear": _neuron, "logistic": _neuron, "softmax": _softmax, "cnn": _cnn,
    "googlenet": _googlenet, "resnet": _resnet, "rnn": _ByRNN, "rnn_cell": _ByCell,
}  # fmt: skip


def make(name: str, spec: Spec, task: Task, classes: int, **how: Unpack[How]) -> Layer:
    """Build a network with fresh weights for these inputs, as `zoo.Entry.build` does.

    Args:
        name: a model of the zoo.
        spec: the kind and shape of its inputs.
        task: decides how many outputs a model of tables has.
        classes: how many there are; 0 in a regression.
        how: `rng`, a NumPy generator for the initial weights; `dtype`, float32 or float64.

    Raises:
        UsageError: no network of this name is written by hand.
    """
    if name not in _NETWORKS:
        raise unknown("network by hand", name, _NETWORKS)
    if isinstance(spec, ImageSpec):
        return _NETWORKS[name](spec.channels, spec.size, classes, **how)
    outputs = classes if task == "classification" else 1
    return _NETWORKS[name](len(spec.columns), outputs, **how)
