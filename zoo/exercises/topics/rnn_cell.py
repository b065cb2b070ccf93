"""RNNCell: one step of a recurrent network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.exercises.beside_torch import gradients
from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function

_WRT = ("x", "h", "w_ih", "w_hh", "b_ih", "b_hh")


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(13)
    return [
        {
            "x": rng.standard_normal((rows, inputs)),
            "h": rng.standard_normal((rows, hidden)),
            "w_ih": rng.standard_normal((hidden, inputs)),
            "w_hh": rng.standard_normal((hidden, hidden)),
            "b_ih": rng.standard_normal(hidden),
            "b_hh": rng.standard_normal(hidden),
        }
        for rows, inputs, hidden in ((2, 3, 4), (5, 3, 3), (1, 4, 2), (4, 2, 5))
    ]


def _torch(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    import torch

    return torch.rnn_tanh_cell(x, h, w_ih, w_hh, b_ih, b_hh)


def _z(k: Any) -> Any:
    return k.x @ k.w_ih.T + k.b_ih + k.h @ k.w_hh.T + k.b_hh


def _dz(k: Any) -> Any:
    return k.dh_next * (1 - np.tanh(_z(k)) ** 2)


#: Each result of backward, from dz.
_FROM_DZ: dict[str, Callable[[Any, Any], Any]] = {
    "dx": lambda k, dz: dz @ k.w_ih,
    "dh": lambda k, dz: dz @ k.w_hh,
    "dw_ih": lambda k, dz: dz.T @ k.x,
    "dw_hh": lambda k, dz: dz.T @ k.h,
    "db_ih": lambda k, dz: dz.sum(axis=0),
    "db_hh": lambda k, dz: dz.sum(axis=0),
}
_TRANSPOSE = Text(
    "少了或多了一个转置：h W_hh^T 的反向是 dz W_hh",
    "a transpose is missing, or one too many: the backward pass of h W_hh^T is dz W_hh",
)
_BATCH = Text(
    "偏置的梯度没有对批求和：db = sum_n dz[n]（axis=0）",
    "a bias gradient not summed over the batch: db = sum_n dz[n] (axis=0)",
)
_NO_SLOPE = Text(
    "忘了 tanh 的导数：dz = dh_next (1 - h_next²)",
    "forgot the derivative of tanh: dz = dh_next (1 - h_next^2)",
)
_SLOPE_OF_Z = Text(
    "tanh 的导数用 h_next，不是 z：1 - h_next²",
    "the derivative of tanh is 1 - h_next^2, and not 1 - z^2",
)


def _all(key: str, dz: Callable[[Any], Any], hint: Text) -> list[Mistake]:
    """The mistakes that a wrong dz makes in every result."""

    def mistake(name: str, result: Callable[[Any, Any], Any]) -> Mistake:
        return Mistake(key, name, lambda k: result(k, dz(k)), hint)

    return [mistake(name, result) for name, result in _FROM_DZ.items()]


EXERCISE = Exercise(
    name="rnn_cell",
    title=Text("循环单元 RNNCell，前向与反向", "RNNCell, forward and backward"),
    lesson="rnn_and_rnn_cell",
    formulas=Text(
        """\
z      = x W_ih^T + b_ih + h W_hh^T + b_hh
h_next = tanh(z)

dz    = dh_next (1 - h_next^2)
dx    = dz W_ih,     dh    = dz W_hh
dW_ih = dz^T x,      dW_hh = dz^T h,      db_ih = db_hh = sum_n dz[n]

x [N, in]，h、h_next 与 z [N, hidden]，w_ih [hidden, in]，w_hh [hidden, hidden]，b [hidden]""",
        """\
z      = x W_ih^T + b_ih + h W_hh^T + b_hh
h_next = tanh(z)

dz    = dh_next (1 - h_next^2)
dx    = dz W_ih,     dh    = dz W_hh
dW_ih = dz^T x,      dW_hh = dz^T h,      db_ih = db_hh = sum_n dz[n]

x [N, in], h, h_next and z [N, hidden], w_ih [hidden, in], w_hh [hidden, hidden], b [hidden]""",
    ),
    functions=(
        function("forward", "x, h, w_ih, w_hh, b_ih, b_hh", "h_next",
                 Text("返回 h_next [N, hidden]。", "Return h_next [N, hidden]."),
                 Text("两次矩阵乘法、两个偏置，再 tanh",
                      "two matrix products, two biases, then tanh")),
        function("backward", "dh_next, x, h, w_ih, w_hh, b_ih, b_hh",
                 "dx, dh, dw_ih, dw_hh, db_ih, db_hh",
                 Text("返回 dx, dh, dw_ih, dw_hh, db_ih, db_hh。",
                      "Return dx, dh, dw_ih, dw_hh, db_ih, db_hh."),
                 Text("先求 dz，其余与 Linear 相同", "first dz; the rest is as for Linear")),
    ),
    cases=_cases,
    expected=gradients(_torch, _WRT, "h_next", "dh_next"),
    mistakes=(
        Mistake("tanh_missing", "h_next", _z, Text("忘了 tanh", "forgot tanh")),
        Mistake("bias_missing", "h_next", lambda k: np.tanh(_z(k) - k.b_hh),
                Text("忘了 b_hh", "forgot b_hh")),
        Mistake("bias_missing", "h_next", lambda k: np.tanh(_z(k) - k.b_ih),
                Text("忘了 b_ih", "forgot b_ih")),
        Mistake("bias_missing", "h_next", lambda k: np.tanh(_z(k) - k.b_ih - k.b_hh),
                Text("忘了两个偏置", "forgot both biases")),
        Mistake("state_ignored", "h_next", lambda k: np.tanh(k.x @ k.w_ih.T + k.b_ih + k.b_hh),
                Text("忘了上一个状态：h W_hh^T", "forgot the state before: h W_hh^T")),
        Mistake("transpose", "h_next",
                lambda k: np.tanh(k.x @ k.w_ih.T + k.b_ih + k.h @ k.w_hh + k.b_hh),
                Text("w_hh 少了转置：h W_hh^T。它是方阵，形状不会报错",
                     "a missing transpose of w_hh: h W_hh^T. It is square, so no error shows it")),
        Mistake("transpose", "dh", lambda k: _dz(k) @ k.w_hh.T, _TRANSPOSE),
        Mistake("transpose", "dx", lambda k: _dz(k) @ k.w_ih.T, _TRANSPOSE),
        Mistake("transpose", "dw_hh", lambda k: k.h.T @ _dz(k), _TRANSPOSE),
        Mistake("new_state", "dw_hh", lambda k: _dz(k).T @ np.tanh(_z(k)),
                Text("用了新的状态：dw_hh = dz^T h，h 是输入的旧状态",
                     "the new state is taken: dw_hh = dz^T h, with the old state h that was "
                     "given")),
        Mistake("batch_not_summed", "db_ih", _dz, _BATCH),
        Mistake("batch_not_summed", "db_hh", _dz, _BATCH),
        *_all("derivative_missing", lambda k: k.dh_next, _NO_SLOPE),
        *_all("of_input", lambda k: k.dh_next * (1 - _z(k) ** 2), _SLOPE_OF_Z),
        *_all("square_missing", lambda k: k.dh_next * (1 - np.tanh(_z(k))), _SLOPE_OF_Z),
    ),
)  # fmt: skip
