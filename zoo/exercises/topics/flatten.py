"""Flatten: the numbers of each image in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(4)
    return [{"x": rng.standard_normal(s)} for s in ((3, 2, 2, 4), (1, 4, 3), (4, 1, 2, 5), (2, 6))]


def _torch(x: Any) -> Any:
    return x.flatten(1)


_BATCH = Text(
    "批也被展平了：保留第 0 轴，x.reshape(len(x), -1)",
    "the batch is flattened, too: keep axis 0, x.reshape(len(x), -1)",
)
_ORDER = Text(
    "元素的次序不对：展平是按行的（C 顺序），不要先转置",
    "the numbers are in another order: flatten row by row (C order), without a transpose",
)

EXERCISE = Exercise(
    name="flatten",
    title=Text("展平层 Flatten，前向与反向", "Flatten, forward and backward"),
    lesson="flatten_by_hand",
    formulas=Text(
        """\
y[n, :] = x[n] 的全部数字，逐行
dx      = dy，换成 x 的形状

x [N, ...]，y 与 dy [N, K]""",
        """\
y[n, :] = all numbers of x[n], row by row
dx      = dy, in the shape of x

x [N, ...], y and dy [N, K]""",
    ),
    functions=(
        function("forward", "x", "y", Text("返回 y [N, K]。", "Return y [N, K]."),
                 Text("换形状，保留批", "another shape; keep the batch")),
        function("backward", "dy, x", "dx", Text("返回 dx，与 x 同形状。",
                 "Return dx, of the shape of x."), Text("换回 x 的形状", "back to the shape of x")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x",)),
    mistakes=(
        Mistake("batch_flattened", "y", lambda k: k.x.ravel(), _BATCH),
        Mistake("batch_flattened", "y", lambda k: k.x.reshape(1, -1), _BATCH),
        Mistake("order", "y", lambda k: k.x.reshape(len(k.x), -1, order="F"), _ORDER),
        Mistake("order", "y", lambda k: np.moveaxis(k.x, 1, -1).reshape(len(k.x), -1), _ORDER),
        Mistake("order", "dx", lambda k: k.dy.reshape(k.x.shape, order="F"), _ORDER),
        Mistake("shape_not_restored", "dx", lambda k: k.dy,
                Text("dx 要换回 x 的形状：dy.reshape(x.shape)",
                     "dx needs the shape of x again: dy.reshape(x.shape)")),
    ),
)  # fmt: skip
