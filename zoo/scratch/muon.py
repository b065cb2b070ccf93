"""Muon: each matrix takes a step that is equally long in all directions.

    m <- momentum m + (1 - momentum) g          mean of the gradients
    u  = momentum m + (1 - momentum) g          Nesterov: one step ahead
    x  = u / |u|, then five times               Newton-Schulz: the singular values of x go to
         x <- a x + (b s + c s^2) x, s = x x^T  about 1, its singular vectors stay
    w <- (1 - lr weight_decay) w
    w <- w - 0.2 sqrt(max(rows, columns)) lr x  as long a step as AdamW's with the same lr

w, g, m, u, x [rows, columns]; a kernel [C_out, C_in, k, k] is the matrix [C_out, C_in k k];
(a, b, c) = (3.4445, -4.775, 2.0315). The same steps as `torch.optim.Muon` with adjust_lr_fn
"match_rms_adamw", which iterates in bfloat16; here it is float32.

Source: K. Jordan, Muon: An optimizer for hidden layers in neural networks, 2024; the length of the
step: J. Liu et al., Muon is Scalable for LLM Training, 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from zoo.scratch.layer import Array, Parameter

_A, _B, _C = 3.4445, -4.775, 2.0315
_ITERATIONS = 5


class Muon:
    """As `torch.optim.Muon`; parameters without a gradient stay as they are."""

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3, momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:  # fmt: skip
        self.parameters = list(parameters)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self._means = [np.zeros_like(parameter.data) for parameter in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move every parameter, in place."""
        for parameter, m in zip(self.parameters, self._means, strict=True):
            if (g := parameter.grad) is None:
                continue
            w = parameter.data
            m *= self.momentum
            m += (1 - self.momentum) * g
            ahead = self.momentum * m + (1 - self.momentum) * g
            x = _orthogonal(ahead.reshape(len(w), -1))
            w *= 1 - self.lr * self.weight_decay
            w -= (0.2 * max(x.shape) ** 0.5 * self.lr) * x.reshape(w.shape)

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays that the next step needs, by name."""
        return {f"{number}.mean": m for number, m in enumerate(self._means)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Put back what `state_dict` returned."""
        for number, m in enumerate(self._means):
            m[...] = state[f"{number}.mean"]


def _orthogonal(x: Array) -> Array:
    """Return a matrix with the same singular vectors and singular values near 1."""
    if x.shape[0] > x.shape[1]:  # the smaller of the two products x x^T and x^T x
        return _orthogonal(x.T).T
    x = x / max(float(np.linalg.norm(x)), 1e-7)
    for _ in range(_ITERATIONS):
        s = x @ x.T
        x = _A * x + (_B * s + _C * (s @ s)) @ x
    return x
