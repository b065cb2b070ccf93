"""ReLU: negative numbers become 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(6)
    whole = rng.integers(-2, 3, (4, 5)).astype(np.float64)  # with zeros
    shapes = ((3, 4), (2, 3, 2, 2), (7,))
    return [*({"x": rng.standard_normal(shape)} for shape in shapes), {"x": whole}]


def _torch(x: Any) -> Any:
    return x.relu()


EXERCISE = Exercise(
    name="relu",
    title=Text("激活函数 ReLU，前向与反向", "ReLU, forward and backward"),
    lesson="relu_by_hand",
    formulas=Text(
        """\
y  = max(x, 0)
dx = dy（x > 0 处），其余为 0          （x = 0 处也是 0）

x、y、dy：同一形状""",
        """\
y  = max(x, 0)
dx = dy where x > 0, else 0           (also 0 at x = 0)

x, y, dy: one shape""",
    ),
    functions=(
        function("forward", "x", "y", Text("返回 y。", "Return y."),
                 Text("不要改动 x", "leave x as it is")),
        function("backward", "dy, x", "dx", Text("返回 dx。", "Return dx."),
                 Text("用链式法则", "by the chain rule")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x",)),
    mistakes=(
        Mistake("absolute", "y", lambda k: np.abs(k.x),
                Text("这是绝对值：负数应变成 0", "this is the absolute value: negative numbers "
                     "become 0")),
        Mistake("swapped", "y", lambda k: np.minimum(k.x, 0),
                Text("留下了负数：留下的应是正数", "the negative numbers are kept: keep the "
                     "positive ones")),
        Mistake("zero", "dx", lambda k: k.dy * (k.x >= 0),
                Text("x = 0 处梯度是 0：条件用 x > 0，不是 x >= 0",
                     "the gradient at x = 0 is 0: the condition is x > 0, and not x >= 0")),
        Mistake("derivative_missing", "dx", lambda k: k.dy,
                Text("负数处梯度是 0：乘以 (x > 0)",
                     "the gradient is 0 where x is negative: multiply "
                     "by (x > 0)")),
        Mistake("mask_of_gradient", "dx", lambda k: np.maximum(k.dy, 0),
                Text("条件看错了对象：看 x 的符号，不是 dy 的",
                     "the condition is on the wrong array: it is the sign of x, not of dy")),
        Mistake("mask_of_gradient", "dx", lambda k: np.maximum(k.dy, 0) * (k.x > 0),
                Text("条件看错了对象：只看 x 的符号，不看 dy 的",
                     "the condition is on the wrong array: it is the sign of x alone, not of dy")),
        Mistake("upstream_forgotten", "dx", lambda k: (k.x > 0) * 1.0,
                Text("忘了乘 dy（链式法则）", "forgot to multiply by dy (chain rule)")),
        Mistake("times_x", "dx", lambda k: k.dy * np.maximum(k.x, 0),
                Text("乘的是 y，应乘导数：x > 0 处是 1",
                     "multiplied by y: multiply by the derivative, "
                     "which is 1 where x > 0")),
    ),
)  # fmt: skip
