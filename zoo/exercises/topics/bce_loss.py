"""BCELoss: the cross-entropy of a probability and a yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(10)
    cases: list[Values] = [
        {
            "outputs": rng.uniform(0.05, 0.95, shape),
            "targets": rng.integers(0, 2, shape).astype(np.float64),
        }
        for shape in ((4, 3), (5, 1), (7,))
    ]
    certain = {"outputs": np.array([0.0, 1, 0.5, 1]), "targets": np.array([0.0, 1, 1, 0])}
    return [*cases, certain]


def _torch(outputs: Any, targets: Any) -> Any:
    from torch.nn import functional

    return functional.binary_cross_entropy(outputs, targets)


def _log(p: Any, unbounded: Any = False) -> Any:
    return np.log(p) if unbounded else np.maximum(np.log(p), -100)


def _sum(k: Any, unbounded: Any = False) -> Any:
    p, t = k.outputs, k.targets
    return -(t * _log(p, unbounded) + (1 - t) * _log(1 - p, unbounded)).sum()


def _slope(k: Any, unbounded: Any = False) -> Any:
    p = k.outputs
    divisor = p * (1 - p)
    return (p - k.targets) / (divisor if unbounded else np.maximum(divisor, 1e-12))


_MEAN = Text(
    "忘了除以 K：是平均（reduction='mean'），不是求和",
    "forgot 1/K: the loss is a mean (reduction='mean'), not a sum",
)
_BOUND = Text(
    "p 是 0 或 1 时得到 nan 或 inf：对数限制在 -100 以上，分母限制在 1e-12 以上",
    "nan or inf where p is 0 or 1: bound the logarithm by -100 from below, and the divisor by "
    "1e-12",
)

EXERCISE = Exercise(
    name="bce_loss",
    title=Text("损失函数 BCELoss，前向与反向", "BCELoss, forward and backward"),
    lesson="bce_loss_by_hand",
    formulas=Text(
        """\
L        = -1/K sum ( t log p + (1 - t) log(1 - p) )
doutputs = 1/K (p - t) / (p (1 - p))

p：outputs，概率；t：targets，0 或 1；同一形状；K：元素个数；L：一个数""",
        """\
L        = -1/K sum ( t log p + (1 - t) log(1 - p) )
doutputs = 1/K (p - t) / (p (1 - p))

p: outputs, probabilities; t: targets, 0 or 1; one shape; K: the number of elements; L: a number""",
    ),
    notes=Text(
        "p 可以正好是 0 或 1：与 torch 一样，每个对数至少为 -100，分母 p (1 - p) 至少为 1e-12。",
        "p may be just 0 or 1: as in torch, each logarithm is at least -100, and the divisor\n"
        "p (1 - p) at least 1e-12.",
    ),
    functions=(
        function("forward", "outputs, targets", "loss",
                 Text("返回损失，一个数。", "Return the loss, a number."),
                 Text("注意 log 0", "mind log 0")),
        function("backward", "outputs, targets", "doutputs",
                 Text("返回损失对 outputs 的梯度。", "Return the gradient by the outputs."),
                 Text("注意除以 0", "mind a division by 0")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("outputs",), "loss", None),
    mistakes=(
        Mistake("sum_instead_of_mean", "loss", _sum, _MEAN),
        Mistake("unbounded", "loss", lambda k: _sum(k, True) / k.outputs.size, _BOUND),
        Mistake("sign", "loss", lambda k: -_sum(k) / k.outputs.size,
                Text("漏了前面的负号：损失是正的", "the minus in front is missing: a loss is "
                     "positive")),
        Mistake("swapped", "loss",
                lambda k: -(k.targets * _log(1 - k.outputs)
                            + (1 - k.targets) * _log(k.outputs)).mean(),
                Text("p 与 1 - p 换错了：t 乘 log p，1 - t 乘 log(1 - p)",
                     "p and 1 - p are swapped: t goes with log p, and 1 - t with log(1 - p)")),
        Mistake("second_term_missing", "loss",
                lambda k: -(k.targets * _log(k.outputs)).mean(),
                Text("少了第二项 (1 - t) log(1 - p)：t = 0 的也要算",
                     "the second term (1 - t) log(1 - p) is missing: t = 0 counts, too")),
        Mistake("sum_instead_of_mean", "doutputs", _slope, _MEAN),
        Mistake("unbounded", "doutputs", lambda k: _slope(k, True) / k.outputs.size, _BOUND),
        Mistake("unbounded", "doutputs",
                lambda k: (-k.targets / k.outputs + (1 - k.targets) / (1 - k.outputs))
                / k.outputs.size, _BOUND),
        Mistake("sign", "doutputs", lambda k: -_slope(k) / k.outputs.size,
                Text("符号反了：是 p - t", "the sign is reversed: it is p - t")),
        Mistake("divisor_missing", "doutputs", lambda k: (k.outputs - k.targets) / k.outputs.size,
                Text("(p - t) / K 是对 logits 的梯度；对 p 的还要除以 p (1 - p)",
                     "(p - t) / K is the gradient by the logits; that by p has the divisor "
                     "p (1 - p)")),
        Mistake("second_term_missing", "doutputs",
                lambda k: -k.targets / np.maximum(k.outputs, 1e-12) / k.outputs.size,
                Text("少了第二项：(1 - t) / (1 - p)",
                     "the second term is missing: (1 - t) / (1 - p)")),
    ),
)  # fmt: skip
