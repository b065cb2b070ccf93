"""Linear: one matrix product and a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(0)
    return [
        {
            "x": rng.standard_normal((rows, inputs)),
            "weight": rng.standard_normal((outputs, inputs)),
            "bias": rng.standard_normal(outputs),
        }
        for rows, inputs, outputs in ((3, 4, 2), (5, 3, 3), (1, 6, 4), (4, 1, 3))
    ]


def _torch(x: Any, weight: Any, bias: Any) -> Any:
    from torch.nn import functional

    return functional.linear(x, weight, bias)


_TRANSPOSE = Text(
    "少了转置：weight 是 [out, in]，写出两边的形状再看哪个要 .T",
    "a missing transpose: weight is [out, in]; write both shapes down, then see which needs .T",
)
_BATCH = Text(
    "偏置的梯度没有对批求和：每个样本都加了同一个 bias，所以 dbias = sum_n dy[n]（axis=0）",
    "a bias gradient not summed over the batch: every row adds the same bias, so dbias = "
    "sum_n dy[n] (axis=0)",
)

EXERCISE = Exercise(
    name="linear",
    title=Text("全连接层 Linear，前向与反向", "Linear, forward and backward"),
    lesson="linear_by_hand",
    formulas=Text(
        """\
y = x W^T + b                    y[n,o] = sum_i x[n,i] W[o,i] + b[o]

dx[n,i] = sum_o dy[n,o] W[o,i]
dW[o,i] = sum_n dy[n,o] x[n,i]
db[o]   = sum_n dy[n,o]

x [N, in]，weight [out, in]，bias [out]，y 与 dy [N, out]""",
        """\
y = x W^T + b                    y[n,o] = sum_i x[n,i] W[o,i] + b[o]

dx[n,i] = sum_o dy[n,o] W[o,i]
dW[o,i] = sum_n dy[n,o] x[n,i]
db[o]   = sum_n dy[n,o]

x [N, in], weight [out, in], bias [out], y and dy [N, out]""",
    ),
    notes=Text(
        "dy 是损失对 y 的梯度；每个梯度与它的变量同形状。",
        "dy is the gradient of the loss by y; each gradient has the shape of its variable.",
    ),
    functions=(
        function(
            "forward", "x, weight, bias", "y",
            Text("返回 y [N, out]。", "Return y [N, out]."),
            Text("一次矩阵乘法，再加偏置", "one matrix product, plus the bias"),
        ),
        function(
            "backward", "dy, x, weight, bias", "dx, dweight, dbias",
            Text("返回 dx, dweight, dbias。", "Return dx, dweight, dbias."),
            Text("三个梯度；先核对形状", "three gradients; compare the shapes first"),
        ),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x", "weight", "bias")),
    mistakes=(
        Mistake("transpose", "y", lambda k: k.x @ k.weight + k.bias, _TRANSPOSE),
        Mistake(
            "bias_missing", "y", lambda k: k.x @ k.weight.T,
            Text("忘了加偏置 bias", "forgot to add the bias"),
        ),
        Mistake(
            "bias_sign", "y", lambda k: k.x @ k.weight.T - k.bias,
            Text("偏置应当加上，不是减去", "the bias is added, not subtracted"),
        ),
        Mistake("transpose", "dx", lambda k: k.dy @ k.weight.T, _TRANSPOSE),
        Mistake("transpose", "dweight", lambda k: k.x.T @ k.dy, _TRANSPOSE),
        Mistake("batch_not_summed", "dbias", lambda k: k.dy, _BATCH),
        Mistake(
            "wrong_axis", "dbias", lambda k: k.dy.sum(axis=1),
            Text(
                "求和的轴错了：对批（axis=0）求和，不是对输出",
                "the sum is over the wrong axis: sum over the batch (axis=0), not over the outputs",
            ),
        ),
        Mistake(
            "summed_too_much", "dbias", lambda k: k.dy.sum(),
            Text(
                "求和求成了一个数：dbias 是 [out]，只对批（axis=0）求和",
                "summed to one number: dbias is [out], summed over the batch alone (axis=0)",
            ),
        ),
    ),
)  # fmt: skip
