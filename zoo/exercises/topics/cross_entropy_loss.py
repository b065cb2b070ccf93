"""CrossEntropyLoss: softmax and the logarithm of the right class's probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(11)
    cases: list[Values] = [
        {
            "outputs": rng.standard_normal((rows, classes)),
            "targets": rng.integers(0, classes, rows),
        }
        for rows, classes in ((4, 3), (3, 3), (6, 10), (1, 4))
    ]
    large = {"outputs": 1000 * rng.standard_normal((3, 5)), "targets": np.array([0, 4, 2])}
    return [*cases, large]


def _torch(outputs: Any, targets: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets)


def _log_softmax(x: Any, axis: Any = 1, naive: Any = False) -> Any:
    if naive:
        return np.log(np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _sum(k: Any, **mistake: Any) -> Any:
    return -_log_softmax(k.outputs, **mistake)[np.arange(len(k.targets)), k.targets].sum()


def _softmax(k: Any, axis: Any = 1, naive: Any = False) -> Any:
    if naive:
        return np.exp(k.outputs) / np.exp(k.outputs).sum(axis=axis, keepdims=True)
    return np.exp(_log_softmax(k.outputs, axis))


def _one_hot(k: Any) -> Any:
    return np.eye(k.outputs.shape[1])[k.targets]


_MEAN = Text(
    "忘了除以 N：是平均（reduction='mean'），不是求和",
    "forgot 1/N: the loss is a mean over the rows (reduction='mean'), not a sum",
)
_AXIS = Text(
    "softmax 的轴错了：对每行的各个类别（axis=1），不是对批",
    "the softmax is over the wrong axis: over the classes of each row (axis=1), not over the batch",
)
_OVERFLOW = Text(
    "大的 logits 溢出：先减去每行的最大值再取 exp，并用 log-sum-exp，不要对 softmax 再取 log",
    "overflow with large logits: subtract each row's maximum before exp, and use log-sum-exp "
    "rather than the log of a softmax",
)
_ALL = Text(
    "除以了 N·C：只除以行数 N",
    "divided by N * C: divide by the number of rows N alone",
)

EXERCISE = Exercise(
    name="cross_entropy_loss",
    title=Text("损失函数 CrossEntropyLoss，前向与反向", "CrossEntropyLoss, forward and backward"),
    lesson="cross_entropy_loss_by_hand",
    formulas=Text(
        """\
s[n,c]        = e^o[n,c] / sum_k e^o[n,k]                    对类别的 softmax
L             = -1/N sum_n log s[n, t_n]
doutputs[n,c] = (s[n,c] - 1[c = t_n]) / N

o：outputs [N, C]，logits；t：targets [N]，类别号；L：一个数""",
        """\
s[n,c]        = e^o[n,c] / sum_k e^o[n,k]                    softmax over the classes
L             = -1/N sum_n log s[n, t_n]
doutputs[n,c] = (s[n,c] - 1[c = t_n]) / N

o: outputs [N, C], logits; t: targets [N], class numbers; L: a number""",
    ),
    notes=Text(
        "logits 可以很大（1000）：先减去每行的最大值，softmax 不变。",
        "Logits may be large (1000): subtract each row's maximum first; softmax stays the same.",
    ),
    functions=(
        function("forward", "outputs, targets", "loss",
                 Text("返回损失，一个数。", "Return the loss, a number."),
                 Text("log s 可以直接算：o - log(sum e^o)",
                      "log s can be computed directly: o - log(sum e^o)")),
        function("backward", "outputs, targets", "doutputs",
                 Text("返回损失对 outputs 的梯度 [N, C]。",
                      "Return the gradient by the outputs [N, C]."),
                 Text("softmax 减去 one-hot", "softmax minus one-hot")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("outputs",), "loss", None),
    mistakes=(
        Mistake("sum_instead_of_mean", "loss", _sum, _MEAN),
        Mistake("wrong_axis", "loss", lambda k: _sum(k, axis=0) / len(k.outputs), _AXIS),
        Mistake("overflow", "loss", lambda k: _sum(k, naive=True) / len(k.outputs), _OVERFLOW),
        Mistake("overflow", "loss", lambda k: -(
            k.outputs - np.log(np.exp(k.outputs).sum(axis=1, keepdims=True))
        )[np.arange(len(k.targets)), k.targets].mean(), _OVERFLOW),
        Mistake("overflow", "loss",
                lambda k: -np.log((_softmax(k))[np.arange(len(k.targets)), k.targets]).mean(),
                _OVERFLOW),
        Mistake("divided_by_all", "loss", lambda k: _sum(k) / k.outputs.size, _ALL),
        Mistake("sign", "loss", lambda k: -_sum(k) / len(k.outputs),
                Text("漏了前面的负号", "the minus in front is missing")),
        Mistake("log_missing", "loss",
                lambda k: -_softmax(k)[np.arange(len(k.targets)), k.targets].mean(),
                Text("忘了取对数：- log s", "forgot the logarithm: - log s")),
        Mistake("softmax_missing", "loss",
                lambda k: -k.outputs[np.arange(len(k.targets)), k.targets].mean(),
                Text("忘了 softmax：outputs 是 logits", "forgot the softmax: outputs are logits")),
        Mistake("sum_instead_of_mean", "doutputs", lambda k: _softmax(k) - _one_hot(k), _MEAN),
        Mistake("wrong_axis", "doutputs",
                lambda k: (_softmax(k, axis=0) - _one_hot(k)) / len(k.outputs), _AXIS),
        Mistake("overflow", "doutputs",
                lambda k: (_softmax(k, naive=True) - _one_hot(k)) / len(k.outputs), _OVERFLOW),
        Mistake("divided_by_all", "doutputs",
                lambda k: (_softmax(k) - _one_hot(k)) / k.outputs.size, _ALL),
        Mistake("one_hot_missing", "doutputs", lambda k: _softmax(k) / len(k.outputs),
                Text("忘了在正确类别处减 1", "forgot to subtract 1 at the right class")),
        Mistake("sign", "doutputs", lambda k: (_one_hot(k) - _softmax(k)) / len(k.outputs),
                Text("符号反了：softmax 减 one-hot", "the sign is reversed: softmax "
                     "minus one-hot")),
        Mistake("log_softmax", "doutputs",
                lambda k: (_log_softmax(k.outputs) - _one_hot(k)) / len(k.outputs),
                Text("用了 log-softmax，应是 softmax", "log-softmax is taken, expected softmax")),
    ),
)  # fmt: skip
