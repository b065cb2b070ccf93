"""Losses: one number L from outputs and targets, and where backward starts: dL/d(outputs).

    MSELoss            L = 1/K sum (o - t)^2                         do = 2 (o - t) / K
    BCELoss            L = -1/K sum t log p + (1-t) log(1-p)         dp = (p - t) / (p (1-p)) / K
    BCEWithLogitsLoss  the same with p = sigmoid(o)                  do = (p - t) / K
                       = 1/K sum max(o, 0) - o t + log(1 + e^-|o|), which cannot overflow
    NLLLoss            L = -1/K sum_n l[n, t_n]                      dl = -1/K at [n, t_n], else 0
    CrossEntropyLoss   L = -1/K sum_n sum_c q[n,c] log s[n,c]        do = (s - q) / K
    DistillationLoss   L = T^2/K sum_n sum_c q[n,c] log (q / s)[n,c] do = T (s - q) / K

o, p, l: outputs, floats of any shape, or [N, C]; t: targets of the outputs' shape, or class numbers
[N]. K: with reduction "mean" the number of elements (MSE, BCE) or of rows N, with "sum" 1.
s = softmax(o) over the classes; q = (1 - e) onehot(t) + e / C with label smoothing e. Distillation
has s = softmax(o / T) and q = softmax(t / T), of a teacher's logits t, at temperature T.

    loss = criterion(outputs, targets)          a float
    doutputs = criterion.backward()             the outputs' shape and dtype
"""

from __future__ import annotations

import numpy as np

from zoo.errors import DataError, UsageError, ZooError, unknown
from zoo.scratch.activation import log_softmax, sigmoid
from zoo.scratch.layer import Array, expect


class Loss:
    """The base of all losses; each computes its sum and the gradient of the sum, without 1/K.

    Raises:
        UsageError: a reduction that is neither "mean" nor "sum".
        DataError: outputs or targets of another shape, dtype or range.
        ZooError: a backward without its forward.
    """

    _kept: tuple[Array, Array] | None = None

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise unknown("reduction", reduction, ("mean", "sum"))
        self.reduction = reduction

    def __call__(self, outputs: Array, targets: Array) -> float:
        """Compute the loss, and keep what backward needs."""
        expect(f"{self} (outputs)", outputs, "float")
        self._check(outputs, targets)
        if not outputs.size:
            raise DataError(f"{self}: expected at least one row, given none")
        self._kept = outputs, targets
        return float(self._sum(outputs, targets)) / self._divisor(outputs)

    def backward(self) -> Array:
        """Return dL/d(outputs)."""
        if self._kept is None:
            raise ZooError(f"{self}.backward: expected a loss computed before each backward pass")
        (outputs, targets), self._kept = self._kept, None
        gradient = self._slope(outputs, targets)
        gradient /= self._divisor(outputs)
        return gradient

    def __str__(self) -> str:
        return type(self).__name__

    def _check(self, outputs: Array, targets: Array) -> None:
        expect(f"{self} (targets)", targets, outputs.dtype, *outputs.shape)

    def _divisor(self, outputs: Array) -> int:
        return outputs.size if self.reduction == "mean" else 1

    def _sum(self, outputs: Array, targets: Array) -> float:
        raise NotImplementedError

    def _slope(self, outputs: Array, targets: Array) -> Array:
        raise NotImplementedError


class MSELoss(Loss):
    """As `torch.nn.MSELoss`."""

    def _sum(self, outputs: Array, targets: Array) -> float:
        return float(np.square(outputs - targets).sum())

    def _slope(self, outputs: Array, targets: Array) -> Array:
        return 2 * (outputs - targets)


class BCELoss(Loss):
    """As `torch.nn.BCELoss`, of probabilities: a logarithm is -100 or more, a divisor 1e-12."""

    def _check(self, outputs: Array, targets: Array) -> None:
        super()._check(outputs, targets)
        if not ((outputs >= 0) & (outputs <= 1)).all():
            raise DataError(f"{self}: expected probabilities from 0 to 1 (or BCEWithLogitsLoss)")

    def _sum(self, outputs: Array, targets: Array) -> float:
        with np.errstate(divide="ignore"):  # log 0 = -inf becomes -100
            yes, no = (np.maximum(np.log(p), -100) for p in (outputs, 1 - outputs))
        return -float((targets * yes + (1 - targets) * no).sum())

    def _slope(self, outputs: Array, targets: Array) -> Array:
        slope: Array = (outputs - targets) / np.maximum(outputs * (1 - outputs), 1e-12)
        return slope


class BCEWithLogitsLoss(Loss):
    """As `torch.nn.BCEWithLogitsLoss`."""

    def _sum(self, outputs: Array, targets: Array) -> float:
        rest = np.log1p(np.exp(-np.abs(outputs)))
        return float((np.maximum(outputs, 0) - outputs * targets + rest).sum())

    def _slope(self, outputs: Array, targets: Array) -> Array:
        return sigmoid(outputs) - targets


class NLLLoss(Loss):
    """As `torch.nn.NLLLoss`, of log-probabilities [N, C]; the targets are integers [N]."""

    def _check(self, outputs: Array, targets: Array) -> None:
        expect(f"{self} (outputs)", outputs, "float", "batch", "classes")
        expect(f"{self} (targets)", targets, "integer", len(outputs))
        if targets.size and not 0 <= targets.min() <= targets.max() < outputs.shape[1]:
            known = f"class numbers from 0 to {outputs.shape[1] - 1}"
            raise DataError(
                f"{self} (targets): expected {known}, given {targets.min()} to {targets.max()}"
            )

    def _divisor(self, outputs: Array) -> int:
        return len(outputs) if self.reduction == "mean" else 1

    def _sum(self, outputs: Array, targets: Array) -> float:
        return -float(outputs[np.arange(len(outputs)), targets].sum())

    def _slope(self, outputs: Array, targets: Array) -> Array:
        slope = np.zeros_like(outputs)
        slope[np.arange(len(outputs)), targets] = -1
        return slope


class CrossEntropyLoss(NLLLoss):
    """As `torch.nn.CrossEntropyLoss`, of logits [N, C]; the targets are integers [N].

    Raises:
        UsageError: also for a label smoothing outside 0 to 1.
    """

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise UsageError(f"label_smoothing: expected 0 to 1, given {label_smoothing}")
        self.smoothing = label_smoothing

    def _sum(self, outputs: Array, targets: Array) -> float:
        logs = log_softmax(outputs)
        even = -float(logs.sum()) / outputs.shape[1]
        return float((1 - self.smoothing) * super()._sum(logs, targets) + self.smoothing * even)

    def _slope(self, outputs: Array, targets: Array) -> Array:
        slope = np.exp(log_softmax(outputs))
        slope[np.arange(len(outputs)), targets] -= 1 - self.smoothing
        slope -= self.smoothing / outputs.shape[1]
        return slope


class DistillationLoss(Loss):
    """Kullback-Leibler divergence from a teacher's logits [N, C], the targets, at a temperature.

    Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015.
    """

    def __init__(self, reduction: str = "mean", temperature: float = 1.0) -> None:
        super().__init__(reduction)
        self.temperature = temperature

    def _divisor(self, outputs: Array) -> int:
        return len(outputs) if self.reduction == "mean" else 1

    def _logs(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        return log_softmax(outputs / self.temperature), log_softmax(targets / self.temperature)

    def _sum(self, outputs: Array, targets: Array) -> float:
        ours, teachers = self._logs(outputs, targets)
        return self.temperature**2 * float((np.exp(teachers) * (teachers - ours)).sum())

    def _slope(self, outputs: Array, targets: Array) -> Array:
        ours, teachers = self._logs(outputs, targets)
        slope: Array = self.temperature * (np.exp(ours) - np.exp(teachers))
        return slope
