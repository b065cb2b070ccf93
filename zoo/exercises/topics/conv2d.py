"""Conv2d: one small linear layer at every position of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function
from zoo.exercises.windows import correlate, pad, spread, weight_gradient


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(1)
    shapes = (
        ((2, 2, 4, 5), (3, 2, 3, 3), 1, 0),
        ((3, 2, 5, 5), (2, 2, 3, 3), 1, 1),
        ((2, 3, 7, 6), (2, 3, 3, 2), 2, 1),
        ((1, 1, 6, 6), (2, 1, 2, 2), 3, 0),
        ((2, 2, 4, 4), (2, 2, 1, 1), 1, 0),
    )
    return [
        {
            "x": rng.standard_normal(x),
            "weight": rng.standard_normal(weight),
            "bias": rng.standard_normal(weight[0]),
            "stride": stride,
            "padding": padding,
        }
        for x, weight, stride, padding in shapes
    ]


def _torch(x: Any, weight: Any, bias: Any, stride: Any, padding: Any) -> Any:
    from torch.nn import functional

    return functional.conv2d(x, weight, bias, stride, padding)


def _y(k: Any, weight: Any = None, stride: Any = None, padding: Any = None) -> Any:
    weight = k.weight if weight is None else weight
    stride = stride or k.stride
    y = correlate(k.x, weight, stride, k.padding if padding is None else padding)
    return y + k.bias[:, None, None]


def _dx(k: Any, weight: Any = None, **mistake: Any) -> Any:
    weight = k.weight if weight is None else weight
    padded = spread(k.dy, weight, k.x, k.stride, k.padding, **mistake)
    return pad(padded, -k.padding) if k.padding else padded


def _dweight(k: Any, padding: Any = None) -> Any:
    padding = k.padding if padding is None else padding
    return weight_gradient(k.dy, k.x, k.weight.shape[2:], k.stride, padding)


_FLIP = Text(
    "卷积核没有翻回来：dx 是 dy 与翻转 180° 的核的（全）卷积，即每个 dy[n,o,p,q] "
    "乘以没有翻转的核，加回它的窗口",
    "a kernel not flipped back: dx is the full correlation of dy with the kernel turned by 180 "
    "degrees, that is: every dy[n,o,p,q] times the kernel as it is, added back to its window",
)
_STRIDE = Text(
    "忽略了步长 stride：第 (p, q) 个窗口从 (p·stride, q·stride) 开始",
    "the stride is ignored: window (p, q) starts at (p * stride, q * stride)",
)
_PADDING = Text(
    "忽略了填充 padding：先用 np.pad 在高和宽的两边各补 padding 个 0",
    "the padding is ignored: first put `padding` zeros on all sides of height and width (np.pad)",
)

EXERCISE = Exercise(
    name="conv2d",
    title=Text("卷积层 Conv2d，前向与反向", "Conv2d, forward and backward"),
    lesson="conv2d_by_hand",
    formulas=Text(
        """\
y[n,o,p,q] = b[o] + sum_{c,i,j} W[o,c,i,j] x[n, c, p s + i, q s + j]      （先填充 x）

dx[n, c, p s + i, q s + j] += sum_o W[o,c,i,j] dy[n,o,p,q]      （对填充后的 x；最后裁掉）
dW[o,c,i,j] = sum_{n,p,q} dy[n,o,p,q] x[n, c, p s + i, q s + j]
db[o]       = sum_{n,p,q} dy[n,o,p,q]

x [N, C, H, W]，weight [O, C, kh, kw]，bias [O]，y 与 dy [N, O, OH, OW]，s 是步长
OH = (H + 2 padding - kh) // s + 1, OW = (W + 2 padding - kw) // s + 1""",
        """\
y[n,o,p,q] = b[o] + sum_{c,i,j} W[o,c,i,j] x[n, c, p s + i, q s + j]      (x is padded first)

dx[n, c, p s + i, q s + j] += sum_o W[o,c,i,j] dy[n,o,p,q]      (of the padded x; then crop)
dW[o,c,i,j] = sum_{n,p,q} dy[n,o,p,q] x[n, c, p s + i, q s + j]
db[o]       = sum_{n,p,q} dy[n,o,p,q]

x [N, C, H, W], weight [O, C, kh, kw], bias [O], y and dy [N, O, OH, OW], s the stride
OH = (H + 2 padding - kh) // s + 1, OW = (W + 2 padding - kw) // s + 1""",
    ),
    notes=Text(
        "stride 与 padding 是整数，高和宽相同。先用循环写对，再想怎样写快。",
        "stride and padding are integers, the same for height and width. Write it with loops:\n"
        "right first, fast later.",
    ),
    functions=(
        function(
            "forward", "x, weight, bias, stride, padding", "y",
            Text("返回 y [N, O, OH, OW]。", "Return y [N, O, OH, OW]."),
            Text(
                "先填充 x，算出 OH 和 OW\n对每个窗口：与核逐个相乘，求和，加偏置",
                "pad x, compute OH and OW\nfor every window: times the kernel, summed, plus the "
                "bias",
            ),
        ),
        function(
            "backward", "dy, x, weight, bias, stride, padding", "dx, dweight, dbias",
            Text("返回 dx, dweight, dbias。", "Return dx, dweight, dbias."),
            Text(
                "对每个窗口：dweight 与（填充后的）dx 各加上它的一份\n最后裁掉 dx 的填充",
                "for every window: add its part to dweight and to the padded dx\ncrop the padding "
                "of dx at the end",
            ),
        ),
    ),
    cases=_cases,
    expected=gradients(_torch, ("x", "weight", "bias")),
    mistakes=(
        Mistake(
            "kernel_flipped", "y", lambda k: _y(k, k.weight[..., ::-1, ::-1]),
            Text(
                "核被翻转了：Conv2d 算的是互相关，核不翻转",
                "the kernel is flipped: Conv2d computes a cross-correlation, without a flip",
            ),
        ),
        Mistake("stride_ignored", "y", lambda k: _y(k, stride=1), _STRIDE),
        Mistake("padding_ignored", "y", lambda k: _y(k, padding=0), _PADDING),
        Mistake(
            "bias_missing", "y", lambda k: _y(k) - k.bias[:, None, None],
            Text("忘了加偏置 bias[o]", "forgot to add the bias[o]"),
        ),
        Mistake(
            "channels_not_summed", "y",
            lambda k: correlate(k.x[:, :1], k.weight[:, :1], k.stride, k.padding)
            + k.bias[:, None, None],
            Text(
                "只用了第一个输入通道：要对所有通道 c 求和",
                "only the first input channel is used: sum over all channels c",
            ),
        ),
        Mistake(
            "bias_counted_often", "y",
            lambda k: _y(k) + (k.weight.shape[1] - 1) * k.bias[:, None, None],
            Text(
                "偏置加了不止一次：每个输出只加一次，放在通道的循环之外",
                "the bias is added for every input channel: add it once, outside the channels' "
                "loop",
            ),
        ),
        Mistake("kernel_not_flipped", "dx", lambda k: _dx(k, k.weight[..., ::-1, ::-1]), _FLIP),
        Mistake("stride_ignored", "dx", lambda k: _dx(k, step=1), _STRIDE),
        Mistake(
            "overwritten", "dx", lambda k: _dx(k, overwrite=True),
            Text(
                "窗口互相重叠：要用 += 累加，= 会盖掉前面窗口的梯度",
                "windows overlap: add with +=, since = overwrites what the windows before left",
            ),
        ),
        Mistake(
            "not_cropped", "dx", lambda k: spread(k.dy, k.weight, k.x, k.stride, k.padding),
            Text(
                "忘了裁掉填充：dx 与 x 同形状",
                "the padding is not cropped: dx has the shape of x",
            ),
        ),
        Mistake("padding_ignored",
        "dx", lambda k: spread(k.dy, k.weight, k.x, k.stride, 0), _PADDING),
        Mistake("padding_ignored", "dweight", lambda k: _dweight(k, 0).sum(axis=0), _PADDING),
        Mistake(
            "kernel_flipped", "dweight", lambda k: _dweight(k).sum(axis=0)[..., ::-1, ::-1],
            Text(
                "dweight 翻转了 180°：dW[.., i, j] 对应窗口里的 (i, j)，不翻转",
                "dweight is turned by 180 degrees: dW[.., i, j] belongs to (i, j) in the window",
            ),
        ),
        Mistake(
            "overwritten", "dweight", lambda k: _dweight(k)[-1],
            Text(
                "只剩最后一个样本：对批要累加（+=），不是赋值",
                "only the last image is left: add over the batch with +=, not =",
            ),
        ),
        Mistake(
            "batch_not_summed", "dbias", lambda k: k.dy.sum(axis=(2, 3)),
            Text(
                "偏置的梯度没有对批求和：db[o] 对 n、p、q 都求和（axis=(0, 2, 3)）",
                "a bias gradient not summed over the batch: db[o] is summed over n, p and q "
                "(axis=(0, 2, 3))",
            ),
        ),
        Mistake(
            "positions_not_summed", "dbias", lambda k: k.dy.sum(axis=0),
            Text(
                "偏置的梯度没有对位置求和：db[o] 对 n、p、q 都求和（axis=(0, 2, 3)）",
                "a bias gradient not summed over the positions: db[o] is summed over n, p and q "
                "(axis=(0, 2, 3))",
            ),
        ),
        Mistake(
            "overwritten", "dbias", lambda k: k.dy[-1].sum(axis=(1, 2)),
            Text(
                "只剩最后一个样本：对批要累加（+=），不是赋值",
                "only the last image is left: add over the batch with +=, not =",
            ),
        ),
        Mistake(
            "mean_instead_of_sum", "dbias", lambda k: k.dy.mean(axis=(0, 2, 3)),
            Text(
                "用了平均，应当求和：db[o] = sum_{n,p,q} dy[n,o,p,q]",
                "a mean where a sum is due: db[o] = sum_{n,p,q} dy[n,o,p,q]",
            ),
        ),
    ),
)  # fmt: skip
