"""RNNCell and RNN: the same small layer at every step of a sequence. Lesson: RNN.

    z_t = x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh,     h_t = f(z_t),  f = tanh or ReLU

    x_t [N, in], h_t and z_t [N, hidden], W_ih [hidden, in], W_hh [hidden, hidden], b [hidden]

Backward through time: h_t acts on the loss as an output (dy_t), and through z_{t+1}:

    dh_t = dy_t + dz_{t+1} W_hh                 from the last step to the first
    dz_t = dh_t f'(z_t)                         tanh: 1 - h_t^2; ReLU: 1 where h_t > 0
    dx_t = dz_t W_ih
    dW_ih = sum_t dz_t^T x_t,   dW_hh = sum_t dz_t^T h_{t-1},   db_ih = db_hh = sum_{t,n} dz_t

What does not run through time (x W_ih^T, dx, dW) is one matrix product over all steps at once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Unpack

import numpy as np

from zoo.errors import unknown
from zoo.scratch.layer import Array, How, Module, expect, uniform


class _Recurrent(Module):
    def __init__(
        self, sizes: tuple[int, int], bias: bool, nonlinearity: str, suffix: str, how: How
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise unknown("nonlinearity", nonlinearity, ("tanh", "relu"))
        self.nonlinearity, hidden = nonlinearity, sizes[1]
        shapes = {"weight_ih": (hidden, sizes[0]), "weight_hh": (hidden, hidden)}
        biases = {"bias_ih": (hidden,), "bias_hh": (hidden,)} if bias else {}
        drawn = {name: uniform(shape, hidden, how) for name, shape in (shapes | biases).items()}
        self._all = list(drawn.values())
        vars(self).update({name + suffix: drawn[name] for name in drawn})  # names for the state

    @property
    def _weights(self) -> tuple[Array, Array]:
        return self._all[0].data, self._all[1].data

    def _inputs(self, x: Array) -> Array:
        """Compute x W_ih^T + b_ih + b_hh, for any number of rows."""
        z: Array = x @ self._weights[0].T
        for bias in self._all[2:]:
            z += bias.data
        return z

    def _step(self, z: Array, before: Array) -> None:
        """Turn z, which so far has the terms of the inputs, into h, in place."""
        z += before @ self._weights[1].T
        if self.nonlinearity == "tanh":
            np.tanh(z, out=z)
        else:
            np.maximum(z, 0, out=z)

    def _slope(self, h: Array) -> Array:
        """Compute f'(z) from h = f(z)."""
        return 1 - h * h if self.nonlinearity == "tanh" else (h > 0).astype(h.dtype)

    def _add(self, dz: Array, x: Array, before: Array) -> None:
        """Add the gradients of some rows: dz and h_{t-1} [rows, hidden], x [rows, in]."""
        self._all[0].add(dz.T @ x)
        self._all[1].add(dz.T @ before)
        for bias in self._all[2:]:
            bias.add(dz.sum(axis=0))


class RNNCell(_Recurrent):
    """As `torch.nn.RNNCell`: one step, x [N, in] and h [N, hidden] to the next h [N, hidden].

    `cell(x, h)` is kept for one `backward`; a loop over a sequence keeps its states itself and
    calls `step` and `step_backward`, as the network `rnn_cell` does.

    Raises:
        UsageError: a nonlinearity that is neither "tanh" nor "relu".
        DataError: another shape or dtype. ZooError: a backward without its forward.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        **how: Unpack[How],
    ) -> None:  # fmt: skip
        super().__init__((input_size, hidden_size), bias, nonlinearity, "", how)

    def __call__(self, x: Array, h: Array | None = None) -> Array:
        """Take one step from h (None: zeros)."""
        w = self._weights[1]
        h = np.zeros((len(x), len(w)), w.dtype) if h is None else h
        after = self.step(x, h)
        return self._keep(after, x, h, after)

    def backward(self, dh: Array) -> tuple[Array, Array]:
        """Map the gradient of the new h to those of x [N, in] and of the given h [N, hidden]."""
        return self.step_backward(dh, *self._recall(dh))

    def step(self, x: Array, h: Array) -> Array:
        """Compute the next h; keeps nothing."""
        w_ih, w_hh = self._weights
        expect(self, x, w_ih.dtype, "batch", w_ih.shape[1])
        expect(f"{self} (hidden state)", h, w_ih.dtype, len(x), len(w_hh))
        after = self._inputs(x)
        self._step(after, h)
        return after

    def step_backward(self, dh: Array, x: Array, h: Array, after: Array) -> tuple[Array, Array]:
        """Do what `backward` does, for the step that led from x and h to `after`."""
        dz = dh * self._slope(after)
        self._add(dz, x, h)
        return dz @ self._weights[0], dz @ self._weights[1]


class RNN(_Recurrent):
    """As `torch.nn.RNN` with one layer: x [T, N, in] to outputs [T, N, hidden], last h [1, N, ...].

    With batch_first x is [N, T, in] and the outputs are [N, T, hidden].

    Raises:
        UsageError: a nonlinearity that is neither "tanh" nor "relu".
        DataError: another shape or dtype. ZooError: a backward without its forward.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, **how: Unpack[How],
    ) -> None:  # fmt: skip
        super().__init__((input_size, hidden_size), bias, nonlinearity, "_l0", how)
        self.batch_first = batch_first

    def __call__(self, x: Array, h0: Array | None = None) -> tuple[Array, Array]:
        """Run over all steps from h0 [1, N, hidden] (None: zeros)."""
        w_ih, w_hh = self._weights
        order = ("batch", "steps") if self.batch_first else ("steps", "batch")
        expect(self, x, w_ih.dtype, *order, w_ih.shape[1])
        x = np.ascontiguousarray(self._turn(x))  # [T, N, in]
        states = np.zeros((len(x) + 1, x.shape[1], len(w_hh)), x.dtype)  # h_0 ... h_T
        if h0 is not None:
            expect(f"{self} (hidden state)", h0, x.dtype, 1, *states.shape[1:])
            states[0] = h0[0]
        states[1:] = self._inputs(x)
        for before, z in pairwise(states):
            self._step(z, before)
        return self._keep(self._turn(states[1:]), x, states), states[-1:].copy()

    def backward(self, dy: Array | None, dh: Array | None = None) -> tuple[Array, Array]:
        """Map the gradients of outputs and last h (None: zeros) to those of x and h0."""
        x, states = self._recall(dy)
        w_ih, w_hh = self._weights
        dz = np.zeros_like(states[1:]) if dy is None else self._turn(dy).copy()  # first dy_t
        back = (
            np.zeros_like(states[0]) if dh is None else dh[0]
        )  # the gradient of h_t through z_{t+1}
        expect(f"{self}.backward (hidden state)", back, x.dtype, *states.shape[1:])
        for t in range(len(x) - 1, -1, -1):
            dz[t] += back
            dz[t] *= self._slope(states[t + 1])
            back = dz[t] @ w_hh
        rows = dz.reshape(-1, len(w_hh))
        self._add(rows, x.reshape(-1, x.shape[2]), states[:-1].reshape(rows.shape))
        return self._turn(dz @ w_ih), back[np.newaxis]

    def _turn(self, x: Array) -> Array:
        """[N, T, any] to [T, N, any] and back, where the batch comes first."""
        return x.swapaxes(0, 1) if self.batch_first else x
