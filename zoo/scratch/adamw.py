"""AdamW: each weight has its own step, from the mean and the spread of its gradients.

    w <- (1 - lr weight_decay) w                the decay stands apart from the gradient
    m <- b1 m + (1 - b1) g                      mean of the gradients
    v <- b2 v + (1 - b2) g^2                    mean of their squares
    w <- w - lr m' / (sqrt(v') + eps)           m' = m / (1 - b1^t), v' = v / (1 - b2^t)

g, m, v [the shape of w]; t counts the steps; m and v begin at 0, which m' and v' make up for. The
same steps as `torch.optim.AdamW`.

Source: I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from zoo.scratch.layer import Array, Parameter


class AdamW:
    """As `torch.optim.AdamW`; parameters without a gradient stay as they are."""

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2,
    ) -> None:  # fmt: skip
        self.parameters = list(parameters)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self._steps = 0
        self._means = [np.zeros_like(parameter.data) for parameter in self.parameters]
        self._squares = [np.zeros_like(parameter.data) for parameter in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move every parameter, in place."""
        self._steps += 1
        b1, b2 = self.betas
        size = self.lr / (1 - b1**self._steps)
        correction = (1 - b2**self._steps) ** 0.5
        for parameter, m, v in zip(self.parameters, self._means, self._squares, strict=True):
            if (g := parameter.grad) is None:
                continue
            w = parameter.data
            w *= 1 - self.lr * self.weight_decay
            m *= b1
            m += (1 - b1) * g
            v *= b2
            v += (1 - b2) * np.square(g)
            divisor = np.sqrt(v)
            divisor /= correction
            divisor += self.eps
            np.divide(m, divisor, out=divisor)
            divisor *= size
            w -= divisor

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays that the next step needs, by name."""
        state = {"step": np.array(self._steps)}
        for number, (m, v) in enumerate(zip(self._means, self._squares, strict=True)):
            state |= {f"{number}.mean": m, f"{number}.square": v}
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Put back what `state_dict` returned."""
        self._steps = int(state["step"])
        for number, (m, v) in enumerate(zip(self._means, self._squares, strict=True)):
            m[...], v[...] = state[f"{number}.mean"], state[f"{number}.square"]
