"""Dropout: in training each number is dropped with probability p, the others make up for it.

    m = 0 with probability p, else 1 / (1 - p)      drawn at each forward, so that E[m] = 1
    y = m x,    dx = m dy                           x, m, y, dy, dx of one shape
    in eval mode y = x

Source: N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting,
2014 (scaled in training, as in torch, and not in evaluation).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.errors import UsageError
from zoo.scratch.layer import Array, Layer


class Dropout(Layer):
    """As `torch.nn.Dropout`, for any shape; the mask is drawn from `rng`.

    Raises:
        UsageError: p is not in 0 to 1.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise UsageError(f"p: expected a number from 0 to 1, given {p}")
        self.p, self.rng = p, rng or np.random.default_rng()

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        if not self.training:
            return x, (1,)
        mask = (self.rng.random(x.shape, np.float32) >= self.p).astype(x.dtype)
        mask *= 1 / (1 - self.p) if self.p < 1 else 0
        return x * mask, (mask,)

    def _backward(self, dy: Array, mask: Array) -> Array:
        return dy * mask
