"""Tanh: into -1 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(7)
    shapes = ((3, 4), (2, 3, 2, 2), (7,))
    large = np.array([[-1000.0, -20, -1], [0, 20, 1000]])
    return [*({"x": rng.standard_normal(shape)} for shape in shapes), {"x": large}]


def _torch(x: Any) -> Any:
    return x.tanh()


def _naive(k: Any) -> Any:
    return (np.exp(k.x) - np.exp(-k.x)) / (np.exp(k.x) + np.exp(-k.x))


_SQUARE = Text("导数是 1 - y²，y = tanh(x)", "the derivative is 1 - y^2, with y = tanh(x)")

EXERCISE = Exercise(
    name="tanh",
    title=Text("激活函数 Tanh，前向与反向", "Tanh, forward and backward"),
    lesson="tanh_by_hand",
    formulas=Text(
        """\
y  = (e^x - e^-x) / (e^x + e^-x)
dx = dy (1 - y^2)

x、y、dy：同一形状""",
        """\
y  = (e^x - e^-x) / (e^x + e^-x)
dx = dy (1 - y^2)

x, y, dy: one shape""",
    ),
    notes=Text(
        "x 可以很大（1000）：直接照公式算会得到 inf / inf = nan。可以用 np.tanh，也可以变形。",
        "x may be large (1000), where the formula as it stands gives inf / inf = nan.\n"
        "Use np.tanh, or transform it.",
    ),
    functions=(
        function("forward", "x", "y", Text("返回 y。", "Return y."),
                 Text("对很大的 x 也要对", "right for large x, too")),
        function("backward", "dy, x", "dx", Text("返回 dx。", "Return dx."),
                 Text("用链式法则", "by the chain rule")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x",)),
    mistakes=(
        Mistake("overflow", "y", _naive,
                Text("大的 x 溢出：exp(1000) = inf，inf / inf = nan。用 np.tanh",
                     "overflow: exp(1000) = inf, and inf / inf = nan. Use np.tanh")),
        Mistake("overflow", "dx", lambda k: k.dy * (1 - _naive(k) ** 2),
                Text("大的 x 溢出：exp(1000) = inf，inf / inf = nan。用 np.tanh",
                     "overflow: exp(1000) = inf, and inf / inf = nan. Use np.tanh")),
        Mistake("of_input", "dx", lambda k: k.dy * (1 - k.x**2),
                Text("用了 1 - x²，应是 1 - y²，y = tanh(x)",
                     "1 - x^2 is taken, expected 1 - y^2 with y = tanh(x)")),
        Mistake("square_missing", "dx", lambda k: k.dy * (1 - np.tanh(k.x)), _SQUARE),
        Mistake("sigmoid_derivative", "dx",
                lambda k: k.dy * np.tanh(k.x) * (1 - np.tanh(k.x)),
                Text("y (1 - y) 是 Sigmoid 的导数；Tanh 的是 1 - y²",
                     "y (1 - y) is the derivative of the sigmoid; that of tanh is 1 - y^2")),
        Mistake("derivative_missing", "dx", lambda k: k.dy, _SQUARE),
        Mistake("upstream_forgotten", "dx", lambda k: 1 - np.tanh(k.x) ** 2,
                Text("忘了乘 dy（链式法则）", "forgot to multiply by dy (chain rule)")),
    ),
)  # fmt: skip
