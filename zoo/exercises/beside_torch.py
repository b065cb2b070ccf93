"""torch's results for the arguments of a case: its forward pass, and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.exercises.exercise import Values


def gradients(
    forward: Callable[..., Any], wrt: Sequence[str], output: str = "y", upstream: str | None = "dy"
) -> Callable[[Values], Values]:
    """Return what computes torch's results for a case.

    Args:
        forward: takes the arguments by name, arrays as tensors, and returns a tensor.
        wrt: the arguments whose gradients are results: "x" gives "dx".
        output: the name of what `forward` returns.
        upstream: the name of the gradient that backward is given, drawn here; None: `forward`
            returns a loss.
    """

    def results(values: Values) -> Values:
        import torch

        tensors: dict[str, Any] = {
            name: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }
        for name in wrt:
            tensors[name].requires_grad_()
        y = forward(**tensors)
        found: dict[str, Any] = {output: y.detach().numpy()}
        if upstream is None:
            y.backward()
        else:
            found[upstream] = np.random.default_rng(7).standard_normal(y.shape)
            y.backward(torch.from_numpy(found[upstream]))
        return found | {f"d{name}": tensors[name].grad.numpy() for name in wrt}

    return results
