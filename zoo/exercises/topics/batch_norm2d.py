"""BatchNorm2d: each channel to mean 0 and variance 1 over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function

_SUM = (0, 2, 3)


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(3)
    cases: list[Values] = []
    for shape, momentum, eps, training in (
        ((3, 2, 2, 2), 0.1, 1e-5, True), ((4, 3, 3, 2), 0.3, 0.1, True),
        ((2, 1, 5, 4), 0.1, 1e-5, True), ((2, 3, 3, 3), 0.1, 0.1, False),
    ):  # fmt: skip
        case = {
            "x": 2 * rng.standard_normal(shape) + 1,
            "weight": rng.uniform(0.5, 2, shape[1]),
            "bias": rng.standard_normal(shape[1]),
            "running_mean": rng.standard_normal(shape[1]),
            "running_var": rng.uniform(0.5, 2, shape[1]),
        }
        cases.append(case | {"momentum": momentum, "eps": eps, "training": training})
    return cases


def _torch(x: Any, running_mean: Any, running_var: Any, **others: Any) -> Any:
    from torch.nn import functional

    return functional.batch_norm(x, running_mean.clone(), running_var.clone(), **others)


def _expected(values: Values) -> Values:
    import torch
    from torch.nn import functional

    found = dict(gradients(_torch, ("x", "weight", "bias"))(values))
    mean, var = (torch.from_numpy(values[name].copy()) for name in ("running_mean", "running_var"))
    x, training, momentum = torch.from_numpy(values["x"]), values["training"], values["momentum"]
    functional.batch_norm(x, mean, var, training=training, momentum=momentum)
    found |= {"running_mean_after": mean.numpy(), "running_var_after": var.numpy()}
    if not training:  # backward is asked for training alone
        found = {name: value for name, value in found.items() if not name.startswith("d")}
    return found


def _wide(vector: Any) -> Any:
    return vector[:, None, None]


def _normal(k: Any, axes: Any = _SUM, ddof: Any = 0, eps_outside: Any = False) -> Any:
    """The normalized x, perhaps with a mistake, by the running statistics in eval mode."""
    if k.training:
        mean, var = k.x.mean(axis=axes, keepdims=True), k.x.var(axis=axes, ddof=ddof, keepdims=True)
    else:
        mean, var = _wide(k.running_mean), _wide(k.running_var)
    return (k.x - mean) / (np.sqrt(var) + k.eps if eps_outside else np.sqrt(var + k.eps))


def _y(k: Any, **mistake: Any) -> Any:
    return _wide(k.weight) * _normal(k, **mistake) + _wide(k.bias)


def _dx(k: Any, mean: Any = 1.0, var: Any = 1.0) -> Any:
    """The right dx, with the terms of the mean and of the variance times some factors."""
    z, r = _normal(k), 1 / np.sqrt(k.x.var(axis=_SUM) + k.eps)
    of_mean = k.dy.mean(axis=_SUM, keepdims=True)
    of_var = z * (k.dy * z).mean(axis=_SUM, keepdims=True)
    return _wide(k.weight * r) * (k.dy - mean * of_mean - var * of_var)


def _count(k: Any) -> Any:
    return k.x.size / k.x.shape[1]


def _batch_statistics(k: Any) -> Any:
    mean, var = k.x.mean(axis=_SUM, keepdims=True), k.x.var(axis=_SUM, keepdims=True)
    return _wide(k.weight) * (k.x - mean) / np.sqrt(var + k.eps) + _wide(k.bias)


def _running(
    k: Any, name: str, statistic: str, ddof: int = 0, swapped: bool = False, always: bool = False
) -> Any:
    old = getattr(k, name)
    if not (k.training or always):
        return old
    new = k.x.mean(axis=_SUM) if statistic == "mean" else k.x.var(axis=_SUM, ddof=ddof)
    share = 1 - k.momentum if swapped else k.momentum
    return (1 - share) * old + share * new


_AXES = Text(
    "求平均的轴错了：每个通道一个均值和方差，对 N、H、W 取（axis=(0, 2, 3)）",
    "the statistics are over the wrong axes: one mean and variance for each channel, over N, H and "
    "W (axis=(0, 2, 3))",
)
_MOMENTUM = Text(
    "momentum 用反了：新的统计量占 momentum，旧的占 1 - momentum",
    "momentum is reversed: the batch's statistic has the weight momentum, the old one 1 - momentum",
)
_EVAL = Text(
    "eval 模式下不更新 running 统计量", "the running statistics do not change in eval mode"
)
_TWICE = Text(
    "批的平均算了两次：dx 里 sum(dy)/M 与 sum(dy·z)/M 各减一次、各除以 M 一次",
    "a batch mean counted twice: dx subtracts sum(dy) / M and z sum(dy z) / M once each, each "
    "divided by M once",
)

EXERCISE = Exercise(
    name="batch_norm2d",
    title=Text("批归一化层 BatchNorm2d，前向与反向", "BatchNorm2d, forward and backward"),
    lesson="batch_norm2d_by_hand",
    formulas=Text(
        """\
m = x 的平均，v = (x - m)^2 的平均              每个通道，对它的 M = N H W 个数
z = (x - m) r,   r = 1 / sqrt(v + eps)
y = weight z + bias

running_mean <- (1 - momentum) running_mean + momentum m
running_var  <- (1 - momentum) running_var  + momentum v M / (M - 1)

dbias = sum dy,   dweight = sum dy z             每个通道
dx = weight r (dy - dbias / M - z dweight / M)

x、y、z、dy [N, C, H, W]，其余 [C]""",
        """\
m = mean of x, v = mean of (x - m)^2             for each channel, over its M = N H W numbers
z = (x - m) r,   r = 1 / sqrt(v + eps)
y = weight z + bias

running_mean <- (1 - momentum) running_mean + momentum m
running_var  <- (1 - momentum) running_var  + momentum v M / (M - 1)

dbias = sum dy,   dweight = sum dy z             for each channel
dx = weight r (dy - dbias / M - z dweight / M)

x, y, z, dy [N, C, H, W], all others [C]""",
    ),
    notes=Text(
        "training 为 False 时（eval），用 running_mean、running_var 代替 m、v，并原样返回它们。\n"
        "backward 只做训练模式。",
        "Where training is False, running_mean and running_var take the place of m and v, and are\n"
        "returned as they are. backward is that of training alone.",
    ),
    functions=(
        function(
            "forward", "x, weight, bias, running_mean, running_var, momentum, eps, training",
            "y, running_mean_after, running_var_after",
            Text("返回 y 和新的 running_mean、running_var。",
                 "Return y and the new running_mean and running_var."),
            Text("训练：用批的统计量，并更新 running\neval：用 running",
                 "training: by the batch's statistics, and update the running ones\n"
                 "eval: by the running ones"),
        ),
        function(
            "backward", "dy, x, weight, eps", "dx, dweight, dbias",
            Text("返回 dx, dweight, dbias（训练模式）。",
                 "Return dx, dweight, dbias (of training)."),
            Text("x 也通过 m 和 v 影响 y", "x acts on y through m and v, too"),
        ),
    ),
    cases=_cases,
    expected=_expected,
    mistakes=(
        Mistake("eps_outside", "y", lambda k: _y(k, eps_outside=True),
                Text("eps 应在根号里面：sqrt(v + eps)",
                     "eps belongs under the root: sqrt(v + eps)")),
        Mistake("unbiased", "y", lambda k: _y(k, ddof=1),
                Text("归一化用有偏方差（除以 M）；M - 1 只用于 running_var",
                     "normalize by the biased variance (divided by M); M - 1 is for running_var")),
        Mistake("wrong_axis", "y", lambda k: _y(k, axes=(0,)), _AXES),
        Mistake("wrong_axis", "y", lambda k: _y(k, axes=(2, 3)), _AXES),
        Mistake("wrong_axis", "y", lambda k: _y(k, axes=(0, 1, 2, 3)), _AXES),
        Mistake("eval_ignored", "y", _batch_statistics,
                Text("eval 模式下要用 running_mean 和 running_var，不是批的统计量",
                     "in eval mode use running_mean and running_var, not the batch's statistics")),
        Mistake("scale_missing", "y", _normal,
                Text("忘了乘 weight、加 bias", "forgot to scale by weight and to add bias")),
        Mistake("momentum_swapped", "running_mean_after",
                lambda k: _running(k, "running_mean", "mean", swapped=True), _MOMENTUM),
        Mistake("momentum_swapped", "running_var_after",
                lambda k: _running(k, "running_var", "var", ddof=1, swapped=True), _MOMENTUM),
        Mistake("biased", "running_var_after", lambda k: _running(k, "running_var", "var"),
                Text("running_var 用无偏方差：v M / (M - 1)",
                     "running_var takes the unbiased variance: v M / (M - 1)")),
        Mistake("eval_ignored", "running_mean_after",
                lambda k: _running(k, "running_mean", "mean", always=True), _EVAL),
        Mistake("eval_ignored", "running_var_after",
                lambda k: _running(k, "running_var", "var", ddof=1, always=True), _EVAL),
        Mistake("statistics_constant", "dx", lambda k: _dx(k, 0, 0),
                Text("把 m 和 v 当成了常数：x 也通过它们影响 y，dx 还有两项",
                     "m and v are taken as constants: x acts on y through them too, dx has two "
                     "more terms")),
        Mistake("mean_twice", "dx", lambda k: _dx(k, 2, 1), _TWICE),
        Mistake("mean_twice", "dx", lambda k: _dx(k, 2, 2), _TWICE),
        Mistake("mean_twice", "dx", lambda k: _dx(k, 1, 2), _TWICE),
        Mistake("mean_twice", "dx", lambda k: _dx(k, 1 / _count(k), 1 / _count(k)), _TWICE),
        Mistake("count_missing", "dx", lambda k: _dx(k, _count(k), _count(k)),
                Text("忘了除以 M = N H W：dbias / M，z dweight / M",
                     "forgot to divide by M = N H W: dbias / M, z dweight / M")),
        Mistake("variance_missing", "dx", lambda k: _dx(k, 1, 0),
                Text("少了方差的一项：- z sum(dy z) / M", "the term of the variance is missing: "
                     "- z sum(dy z) / M")),
        Mistake("mean_missing", "dx", lambda k: _dx(k, 0, 1),
                Text("少了均值的一项：- sum(dy) / M", "the term of the mean is missing: "
                     "- sum(dy) / M")),
        Mistake("weight_missing", "dx", lambda k: _dx(k) / _wide(k.weight),
                Text("忘了乘 weight：dz = weight dy", "forgot the factor weight: dz = weight dy")),
        Mistake("not_normalized", "dweight", lambda k: (k.dy * k.x).sum(axis=_SUM),
                Text("dweight 乘的是归一化后的 z，不是 x",
                     "dweight is the sum of dy times the normalized z, not x")),
        Mistake("not_normalized", "dweight",
                lambda k: (k.dy * (k.x - k.x.mean(axis=_SUM, keepdims=True))).sum(axis=_SUM),
                Text("只减了均值：dweight 乘的是 z = (x - m) r", "only the mean is subtracted: "
                     "dweight is the sum of dy times z = (x - m) r")),
        Mistake("mean_instead_of_sum", "dweight",
                lambda k: (k.dy * _normal(k)).mean(axis=_SUM),
                Text("应求和，不是平均：dweight = sum dy z", "a mean where a sum is due: "
                     "dweight = sum dy z")),
        Mistake("mean_instead_of_sum", "dbias", lambda k: k.dy.mean(axis=_SUM),
                Text("应求和，不是平均：dbias = sum dy", "a mean where a sum is due: "
                     "dbias = sum dy")),
        Mistake("batch_not_summed", "dbias", lambda k: k.dy.sum(axis=(2, 3)),
                Text("没有对批求和：axis=(0, 2, 3)", "not summed over the batch: axis=(0, 2, 3)")),
    ),
)  # fmt: skip
