"""Metrics in NumPy: every published number is computed here, whatever the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.spec import Task


def measure(task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Measure outputs against targets.

    Args:
        task: selects the metrics.
        outputs: float32, logits [n, classes] or predictions [n, 1].
        targets: int64 [n] class numbers or float32 [n] values.

    Returns:
        accuracy (a fraction) and loss (mean cross-entropy, nats), or mse, mae and r2 (NaN if all
        targets are the same).
    """
    outputs = outputs.astype(np.float64)
    if task == "regression":
        error = outputs[:, 0] - targets
        mse, variance = float(np.mean(error**2)), float(np.var(targets.astype(np.float64)))
        return {
            "mse": mse,
            "mae": float(np.mean(np.abs(error))),
            "r2": 1 - mse / variance if variance else float("nan"),
        }
    top = outputs.max(axis=1)
    log_sum = top + np.log(np.exp(outputs - top[:, None]).sum(axis=1))
    loss = float(np.mean(log_sum - outputs[np.arange(len(targets)), targets]))
    return {"accuracy": float(np.mean(outputs.argmax(axis=1) == targets)), "loss": loss}


def confusion(
    task: Task, outputs: NDArray[Any], targets: NDArray[Any]
) -> tuple[tuple[int, ...], ...]:
    """Count rows of class i predicted as class j; empty in a regression.

    Args:
        task: of the model.
        outputs: float32 [n, classes], logits.
        targets: int64 [n].
    """
    if task == "regression":
        return ()
    classes = outputs.shape[1]
    counts = np.bincount(targets * classes + outputs.argmax(axis=1), minlength=classes**2)
    return tuple(tuple(row) for row in counts.reshape(classes, classes).tolist())


def better(task: Task, new: dict[str, float], old: dict[str, float] | None) -> bool:
    """Return whether the new validation metrics are at least as good as the old ones."""
    if old is None:
        return True
    return new["mse"] <= old["mse"] if task == "regression" else new["accuracy"] >= old["accuracy"]
