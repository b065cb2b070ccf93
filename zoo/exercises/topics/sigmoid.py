"""Sigmoid: into 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(8)
    shapes = ((3, 4), (2, 3, 2, 2), (7,))
    large = np.array([[-1000.0, -20, -1], [0, 20, 1000]])
    return [*({"x": rng.standard_normal(shape)} for shape in shapes), {"x": large}]


def _torch(x: Any) -> Any:
    return x.sigmoid()


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


_OVERFLOW = Text(
    "大的 x 溢出：exp(1000) = inf，inf / inf = nan。x >= 0 时用 1 / (1 + e^-x)，x < 0 时用 e^x / "
    "(1 + e^x)",
    "overflow: exp(1000) = inf, and inf / inf = nan. Take 1 / (1 + e^-x) where x >= 0, and "
    "e^x / (1 + e^x) where x < 0",
)
_SLOPE = Text("导数是 y (1 - y)，y = sigmoid(x)", "the derivative is y (1 - y), y = sigmoid(x)")

EXERCISE = Exercise(
    name="sigmoid",
    title=Text("激活函数 Sigmoid，前向与反向", "Sigmoid, forward and backward"),
    lesson="sigmoid_by_hand",
    formulas=Text(
        """\
y  = 1 / (1 + e^-x)
dx = dy y (1 - y)

x、y、dy：同一形状""",
        """\
y  = 1 / (1 + e^-x)
dx = dy y (1 - y)

x, y, dy: one shape""",
    ),
    functions=(
        function("forward", "x", "y", Text("返回 y。", "Return y."),
                 Text("对很大的 x（±1000）也要对", "right for large x (+-1000), too")),
        function("backward", "dy, x", "dx", Text("返回 dx。", "Return dx."),
                 Text("用链式法则", "by the chain rule")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x",)),
    mistakes=(
        Mistake("overflow", "y", lambda k: np.exp(k.x) / (1 + np.exp(k.x)), _OVERFLOW),
        Mistake("sign", "y", lambda k: _sigmoid(-k.x),
                Text("指数的符号反了：1 / (1 + e^-x)", "the sign in the exponent: 1 / (1 + e^-x)")),
        Mistake("tanh", "y", lambda k: np.tanh(k.x),
                Text("这是 Tanh；Sigmoid 的值在 0 与 1 之间",
                     "this is tanh; the sigmoid is between 0 and 1")),
        Mistake("overflow", "dx",
                lambda k: k.dy * (s := np.exp(k.x) / (1 + np.exp(k.x))) * (1 - s), _OVERFLOW),
        Mistake("overflow", "dx", lambda k: k.dy * np.exp(-k.x) / (1 + np.exp(-k.x)) ** 2,
                _OVERFLOW),
        Mistake("of_input", "dx", lambda k: k.dy * k.x * (1 - k.x),
                Text("用了 x (1 - x)，应是 y (1 - y)，y = sigmoid(x)",
                     "x (1 - x) is taken, expected y (1 - y) with y = sigmoid(x)")),
        Mistake("half_derivative", "dx", lambda k: k.dy * _sigmoid(k.x), _SLOPE),
        Mistake("half_derivative", "dx", lambda k: k.dy * (1 - _sigmoid(k.x)), _SLOPE),
        Mistake("tanh_derivative", "dx", lambda k: k.dy * (1 - _sigmoid(k.x) ** 2),
                Text("1 - y² 是 Tanh 的导数；Sigmoid 的是 y (1 - y)",
                     "1 - y^2 is the derivative of tanh; that of the sigmoid is y (1 - y)")),
        Mistake("sign", "dx", lambda k: -k.dy * _sigmoid(k.x) * (1 - _sigmoid(k.x)),
                Text("符号反了：导数 y (1 - y) 是正的",
                     "the sign is reversed: the derivative y (1 - y) is positive")),
        Mistake("derivative_missing", "dx", lambda k: k.dy, _SLOPE),
        Mistake("upstream_forgotten", "dx", lambda k: _sigmoid(k.x) * (1 - _sigmoid(k.x)),
                Text("忘了乘 dy（链式法则）", "forgot to multiply by dy (chain rule)")),
    ),
)  # fmt: skip
