"""MaxPool2d: the largest number of every window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function
from zoo.exercises.windows import pool, pool_back, windows


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(2)
    shapes = (
        ((2, 2, 4, 4), 2, 2), ((1, 3, 5, 5), 3, 1), ((3, 1, 7, 6), 2, 3), ((2, 2, 5, 7), 3, 2)
    )  # fmt: skip
    cases: list[Values] = [
        {"x": rng.standard_normal(x), "kernel_size": size, "stride": stride}
        for x, size, stride in shapes
    ]
    ties = rng.integers(0, 2, (2, 2, 6, 6)).astype(np.float64)
    cases.append({"x": ties, "kernel_size": 2, "stride": 2})
    cases.append({"x": -1 - ties, "kernel_size": 3, "stride": 1})  # no zeros, all negative
    return cases


def _torch(x: Any, kernel_size: Any, stride: Any) -> Any:
    from torch.nn import functional

    return functional.max_pool2d(x, kernel_size, stride)


def _dx(k: Any, mode: Any) -> Any:
    return pool_back(k.dy, k.x, k.kernel_size, k.stride, mode)


_STRIDE = Text(
    "忽略了步长 stride：第 (p, q) 个窗口从 (p·stride, q·stride) 开始",
    "the stride is ignored: window (p, q) starts at (p * stride, q * stride)",
)

EXERCISE = Exercise(
    name="max_pool2d",
    title=Text("池化层 MaxPool2d，前向与反向", "MaxPool2d, forward and backward"),
    lesson="max_pool2d_by_hand",
    formulas=Text(
        """\
y[n,c,p,q] = max_{i,j} x[n, c, p s + i, q s + j],          0 <= i, j < k

dx[n, c, p s + i*, q s + j*] += dy[n,c,p,q]       (i*, j*)：最大值在窗口里的位置

x [N, C, H, W]，y 与 dy [N, C, OH, OW]，k 是窗口大小，s 是步长
OH = (H - k) // s + 1, OW = (W - k) // s + 1""",
        """\
y[n,c,p,q] = max_{i,j} x[n, c, p s + i, q s + j],          0 <= i, j < k

dx[n, c, p s + i*, q s + j*] += dy[n,c,p,q]       (i*, j*): where its maximum is

x [N, C, H, W], y and dy [N, C, OH, OW], k the kernel size, s the stride
OH = (H - k) // s + 1, OW = (W - k) // s + 1""",
    ),
    notes=Text(
        "窗口里有几个相等的最大值时，只有第一个（按行）得到梯度，与 torch 一样。",
        "Where a window has several equal maxima, the first one alone (row by row) gets the\n"
        "gradient, as in torch.",
    ),
    functions=(
        function(
            "forward", "x, kernel_size, stride", "y",
            Text("返回 y [N, C, OH, OW]。", "Return y [N, C, OH, OW]."),
            Text("每个窗口的最大值", "the maximum of every window"),
        ),
        function(
            "backward", "dy, x, kernel_size, stride", "dx",
            Text("返回 dx，与 x 同形状。", "Return dx, of the shape of x."),
            Text("把 dy 加到每个窗口最大值的位置", "add dy at the place of each window's maximum"),
        ),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x",)),
    mistakes=(
        Mistake("stride_ignored", "y", lambda k: pool(k.x, k.kernel_size, k.kernel_size), _STRIDE),
        Mistake("stride_ignored", "y", lambda k: pool(k.x, k.kernel_size, 1), _STRIDE),
        Mistake(
            "starts_at_zero", "y",
            lambda k: np.maximum(pool(k.x, k.kernel_size, k.stride), 0),
            Text(
                "最大值从 0 开始找：窗口里可能全是负数，从 -inf 或第一个数开始",
                "the search starts at 0: a window may be all negative, so start at -inf or at its "
                "first number",
            ),
        ),
        Mistake(
            "mean", "y",
            lambda k: windows(k.x, (k.kernel_size,) * 2, k.stride).mean(axis=(4, 5)),
            Text("算的是平均池化，应取最大值", "this is average pooling: take the maximum"),
        ),
        Mistake(
            "ties", "dx", lambda k: _dx(k, "ties"),
            Text(
                "相等的最大值都得到了梯度：只有第一个得到（argmax，而不是 x == max 的掩码）",
                "all of equal maxima get the gradient: the first one alone does (argmax, and not a "
                "mask x == max)",
            ),
        ),
        Mistake(
            "ties", "dx", lambda k: _dx(k, "share"),
            Text(
                "相等的最大值平分了梯度：torch 只给第一个",
                "equal maxima share the gradient: in torch the first one alone gets it",
            ),
        ),
        Mistake(
            "ties", "dx", lambda k: _dx(k, "last"),
            Text(
                "梯度给了最后一个相等的最大值：应给第一个（比较时用 >，不用 >=）",
                "the last of equal maxima gets the gradient: the first one does (compare with >, "
                "not >=)",
            ),
        ),
        Mistake(
            "overwritten", "dx", lambda k: _dx(k, "overwrite"),
            Text(
                "窗口互相重叠：要用 += 累加，= 会盖掉前面窗口的梯度",
                "windows overlap: add with +=, since = overwrites what the windows before left",
            ),
        ),
        Mistake(
            "everywhere", "dx", lambda k: _dx(k, "all"),
            Text(
                "窗口里每个数都得到了梯度：只有最大值的位置得到",
                "every number of a window gets the gradient: the place of the maximum alone does",
            ),
        ),
        Mistake(
            "everywhere", "dx", lambda k: _dx(k, "mean"),
            Text(
                "这是平均池化的梯度：只有最大值的位置得到 dy",
                "this is the gradient of average pooling: the place of the maximum alone gets dy",
            ),
        ),
        Mistake(
            "stride_ignored", "dx",
            lambda k: pool_back(k.dy, k.x, k.kernel_size, k.kernel_size, "first"), _STRIDE,
        ),
        Mistake(
            "stride_ignored", "dx", lambda k: pool_back(k.dy, k.x, k.kernel_size, 1, "first"),
            _STRIDE,
        ),
    ),
)  # fmt: skip
