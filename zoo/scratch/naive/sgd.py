"""One step of SGD in plain Python, one number at a time. Lesson: SGD by hand. Fast: ../sgd.py.

    g <- dL/dw + weight_decay w
    v <- momentum v + (1 - dampening) g         at the first step v <- g
    w <- w - lr v                               Nesterov: w <- w - lr (g + momentum v)

Source: I. Sutskever et al., On the importance of initialization and momentum, 2013; in the form of
`torch.optim.SGD`.
"""

from __future__ import annotations

from collections.abc import Sequence


def sgd_step(
    weights: Sequence[float], gradients: Sequence[float], velocities: Sequence[float] | None = None,
    *, lr: float, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
    nesterov: bool = False,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Return the weights and the velocities after one step.

    velocities: those that the last step returned; None at the first step.
    """
    new_weights, new_velocities = [], []
    for k, w in enumerate(weights):
        g = gradients[k] + weight_decay * w
        v = g if velocities is None else momentum * velocities[k] + (1 - dampening) * g
        step = g + momentum * v if nesterov else v
        new_weights.append(w - lr * step)
        new_velocities.append(v)
    return new_weights, new_velocities
