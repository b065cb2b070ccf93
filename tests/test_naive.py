"""The layers in plain loops compute what the fast layers of `zoo.scratch` compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo import scratch
from zoo.scratch import naive

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape)


def same(*pairs: tuple[Any, Any]) -> None:
    for ours, fast in pairs:
        np.testing.assert_allclose(ours, fast, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((1, 1), 1, 0), ((3, 2), 1, 1), ((3, 3), 2, 1), ((2, 3), 3, 2)],
)
def test_convolution(kernel: tuple[int, int], stride: int, padding: int) -> None:
    x, layer = normal(2, 3, 6, 5), scratch.Conv2d(3, 4, kernel, stride, padding, dtype=np.float64)
    w, b = layer.weight, layer.bias
    assert b is not None
    y = layer(x)
    same((naive.conv2d(x, w.data, b.data, stride, padding), y))
    dy = normal(*y.shape)
    dx, dw, db = naive.conv2d_backward(dy, x, w.data, stride, padding)
    same((dx, layer.backward(dy)), (dw, w.grad), (db, b.grad))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
@pytest.mark.parametrize("levels", [3, 10_000], ids=["many equal", "different"])
def test_maximum_pooling(kernel: int, stride: int, padding: int, levels: int) -> None:
    x = RNG.integers(-levels, 0, (2, 3, 6, 7)).astype(float)  # a padding of 0 would win
    layer = scratch.MaxPool2d(kernel, stride, padding)
    y, winners = naive.max_pool2d(x, kernel, stride, padding)
    same((y, layer(x)))
    dy = normal(*y.shape)
    same((naive.max_pool2d_backward(dy, winners, x), layer.backward(dy)))


def test_batch_normalization() -> None:
    x, layer = 3 + 2 * normal(4, 2, 3, 3), scratch.BatchNorm2d(2, dtype=np.float64)
    layer.load_state_dict(layer.state_dict() | {"weight": normal(2), "bias": normal(2)})
    gamma, beta = layer.weight, layer.bias
    assert gamma is not None
    assert beta is not None
    same((naive.batch_norm2d(x, gamma.data, beta.data), layer(x)))
    dy = normal(*x.shape)
    dx, dgamma, dbeta = naive.batch_norm2d_backward(dy, x, gamma.data)
    same((dx, layer.backward(dy)), (dgamma, gamma.grad), (dbeta, beta.grad))


def test_linear() -> None:
    x, layer = normal(5, 4), scratch.Linear(4, 3, dtype=np.float64)
    w, b = layer.weight, layer.bias
    assert b is not None
    same((naive.linear(x, w.data, b.data), layer(x)))
    dy = normal(5, 3)
    dx, dw, db = naive.linear_backward(dy, x, w.data)
    same((dx, layer.backward(dy)), (dw, w.grad), (db, b.grad))


def test_flatten() -> None:
    x, layer = normal(2, 3, 4, 5), scratch.Flatten()
    same((naive.flatten(x), layer(x)))
    dy = normal(2, 60)
    same((naive.flatten_backward(dy, x), layer.backward(dy)))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9])
def test_dropout(p: float) -> None:
    x, layer = normal(20, 30), scratch.Dropout(p, rng=np.random.default_rng(1))
    y, mask = naive.dropout(x, np.random.default_rng(1).random(x.shape, np.float32), p)
    same((y, layer(x)))
    assert (mask == 0).mean() == pytest.approx(p, abs=0.06)
    dy = normal(20, 30)
    same((naive.dropout_backward(dy, mask), layer.backward(dy)))


@pytest.mark.parametrize(
    "setting",
    [
        {}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5}, {"weight_decay": 0.1},
        {"momentum": 0.8, "weight_decay": 0.1, "nesterov": True},
    ],
    ids=str,
)  # fmt: skip
def test_sgd(setting: dict[str, Any]) -> None:
    parameter = scratch.Parameter(normal(4))
    weights, velocities = parameter.data.tolist(), None
    optimizer = scratch.SGD([parameter], lr=0.1, **setting)
    for _ in range(4):
        parameter.grad = normal(4)
        weights, velocities = naive.sgd_step(
            weights, parameter.grad.tolist(), velocities, lr=0.1, **setting
        )
        optimizer.step()
        same((weights, parameter.data))
