"""Dropout: each number is dropped with probability p while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(5)
    return [
        {"x": rng.standard_normal(shape), "u": rng.uniform(size=shape), "p": p,
        "training": training}
        for shape, p, training in (
            ((3, 4), 0.3, True), ((5, 7), 0.8, True), ((2, 3, 4), 0.5, True), ((4, 4), 0.25, False)
        )
    ]  # fmt: skip


def _torch(x: Any, u: Any, p: Any, training: Any) -> Any:
    return x * (u >= p) / (1 - p) if training else x * 1


def _masked(k: Any, value: Any, scale: Any, swapped: Any = False) -> Any:
    """The given array, dropped and scaled in training; in eval as it is."""
    keep = k.u < k.p if swapped else k.u >= k.p
    return value * keep * scale if k.training else value


_SCALE = Text(
    "没有重新缩放：留下的数要除以 1 - p，这样期望不变",
    "the mask is not rescaled: what is kept is divided by 1 - p, so that the mean stays the same",
)
_BY_P = Text(
    "缩放除错了：除以留下的概率 1 - p，不是 p",
    "the wrong divisor: divide by the probability of keeping, 1 - p, and not by p",
)
_SWAPPED = Text(
    "留下与丢弃弄反了：p 是丢弃的概率，u >= p 时留下",
    "kept and dropped are swapped: p is the probability of dropping; keep where u >= p",
)
_EVAL = Text(
    "eval 模式下什么也不丢：training 为 False 时原样返回",
    "nothing is dropped in eval mode: where training is False, return the input as it is",
)
_EVAL_SCALE = Text(
    "eval 模式下不缩放：训练时已经除过 1 - p",
    "nothing is scaled in eval mode: training has divided by 1 - p already",
)


def _mistakes(output: str, of: str) -> list[Mistake]:
    """The mistakes of forward and of backward are the same, of x and of dy."""
    return [
        Mistake("not_rescaled", output, lambda k: _masked(k, getattr(k, of), 1), _SCALE),
        Mistake("scaled_by_p", output, lambda k: _masked(k, getattr(k, of), 1 / k.p),
                _BY_P),
        Mistake("scaled_by_p", output,
                lambda k: _masked(k, getattr(k, of), 1 - k.p),
                Text("缩放方向反了：除以 1 - p，不是乘",
                     "the scale is upside down: divide by 1 - p, do not multiply")),
        Mistake("swapped", output,
                lambda k: _masked(k, getattr(k, of), 1 / (1 - k.p), True), _SWAPPED),
        Mistake("swapped", output,
                lambda k: _masked(k, getattr(k, of), 1 / k.p, True), _SWAPPED),
        Mistake("swapped", output,
                lambda k: _masked(k, getattr(k, of), 1, True), _SWAPPED),
        Mistake("eval_ignored", output,
                lambda k: getattr(k, of) * (k.u >= k.p) / (1 - k.p), _EVAL),
        Mistake("eval_scaled", output,
                lambda k: getattr(k, of) * ((k.u >= k.p) if k.training else 1 - k.p),
                _EVAL_SCALE),
        Mistake("mask_missing", output,
                lambda k: getattr(k, of) / (1 - k.p if k.training else 1),
                Text("忘了乘掩码", "forgot to multiply by the mask")),
        Mistake("mask_missing", output, lambda k: getattr(k, of) * 1,
                Text("什么也没丢：还要乘掩码、除以 1 - p",
                     "nothing is dropped: multiply by the mask, and divide by 1 - p")),
    ]  # fmt: skip


EXERCISE = Exercise(
    name="dropout",
    title=Text("Dropout 层，前向与反向", "Dropout, forward and backward"),
    lesson="dropout_by_hand",
    formulas=Text(
        """\
训练：   y = x m / (1 - p),    dx = dy m / (1 - p),    u >= p 处 m = 1，否则 0
eval：   y = x,                dx = dy

x、y、u、m、dy：同一形状；u：[0, 1) 上均匀的随机数；p：丢弃的概率""",
        """\
training:   y = x m / (1 - p),    dx = dy m / (1 - p),    m = 1 where u >= p, else 0
eval:       y = x,                dx = dy

x, y, u, m, dy: one shape; u: uniform random numbers in [0, 1); p: the probability of dropping""",
    ),
    functions=(
        function("forward", "x, u, p, training", "y", Text("返回 y。", "Return y."),
                 Text("由 u 得到掩码，再乘、再缩放", "the mask from u, then multiply and scale")),
        function("backward", "dy, u, p, training", "dx", Text("返回 dx。", "Return dx."),
                 Text("同一个掩码，同样的缩放", "the same mask, the same scale")),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x",)),
    mistakes=(*_mistakes("y", "x"), *_mistakes("dx", "dy")),
)  # fmt: skip
