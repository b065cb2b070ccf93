"""MSELoss: the mean of the squared errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(9)
    return [
        {"outputs": rng.standard_normal(shape), "targets": rng.standard_normal(shape)}
        for shape in ((4, 3), (5, 1), (2, 3, 2), (7,))
    ]


def _torch(outputs: Any, targets: Any) -> Any:
    from torch.nn import functional

    return functional.mse_loss(outputs, targets)


def _error(k: Any) -> Any:
    return k.outputs - k.targets


_MEAN = Text(
    "忘了除以 K：是平均（reduction='mean'），不是求和；K 是元素个数",
    "forgot 1/K: the loss is a mean (reduction='mean'), not a sum; K is the number of elements",
)
_ROWS = Text(
    "除以了行数 N：K 是所有元素的个数 outputs.size",
    "divided by the number of rows N: K is the number of all elements, outputs.size",
)
_TWO = Text("漏了平方求导得到的因子 2", "the factor 2 of the square's derivative is missing")
_SIGN = Text(
    "符号反了：对 outputs 求导，是 outputs - targets",
    "the sign is reversed: the derivative is by the outputs, so outputs - targets",
)

EXERCISE = Exercise(
    name="mse_loss",
    title=Text("损失函数 MSELoss，前向与反向", "MSELoss, forward and backward"),
    lesson="mse_loss_by_hand",
    formulas=Text(
        """\
L        = 1/K sum (outputs - targets)^2
doutputs = 2 (outputs - targets) / K

outputs、targets、doutputs：同一形状；K：元素个数；L：一个数""",
        """\
L        = 1/K sum (outputs - targets)^2
doutputs = 2 (outputs - targets) / K

outputs, targets, doutputs: one shape; K: the number of their elements; L: a number""",
    ),
    functions=(
        function("forward", "outputs, targets", "loss",
                 Text("返回损失，一个数。", "Return the loss, a number."),
                 Text("平方误差的平均", "the mean of the squared errors")),
        function("backward", "outputs, targets", "doutputs",
                 Text("返回损失对 outputs 的梯度。", "Return the gradient by the outputs."),
                 Text("对 outputs 求导", "the derivative by the outputs")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("outputs",), "loss", None),
    mistakes=(
        Mistake("sum_instead_of_mean", "loss", lambda k: (_error(k) ** 2).sum(), _MEAN),
        Mistake("rows_alone", "loss", lambda k: (_error(k) ** 2).sum() / len(k.outputs), _ROWS),
        Mistake("half", "loss", lambda k: (_error(k) ** 2).mean() / 2,
                Text("多了 1/2：这里（和 torch）没有",
                     "an extra factor 1/2, which torch does not have")),
        Mistake("square_missing", "loss", lambda k: np.abs(_error(k)).mean(),
                Text("这是平均绝对误差：要平方", "this is the mean absolute error: square it")),
        Mistake("square_missing", "loss", lambda k: _error(k).mean(),
                Text("忘了平方：正负误差会互相抵消",
                     "forgot to square: errors of both signs cancel")),
        Mistake("square_of_mean", "loss", lambda k: _error(k).mean() ** 2,
                Text("先平均再平方了：应先平方，再平均", "squared after the mean: square first")),
        Mistake("root", "loss", lambda k: np.sqrt((_error(k) ** 2).mean()),
                Text("多开了根号", "an extra square root")),
        Mistake("sum_instead_of_mean", "doutputs", lambda k: 2 * _error(k), _MEAN),
        Mistake("sum_instead_of_mean", "doutputs", _error, _MEAN),
        Mistake("rows_alone", "doutputs", lambda k: 2 * _error(k) / len(k.outputs), _ROWS),
        Mistake("half", "doutputs", lambda k: _error(k) / k.outputs.size, _TWO),
        Mistake("sign", "doutputs", lambda k: -2 * _error(k) / k.outputs.size, _SIGN),
        Mistake("sign", "doutputs", lambda k: -_error(k) / k.outputs.size, _SIGN),
    ),
)  # fmt: skip
