"""What lessons print, and their checks: a layer by hand against torch's, printed and asserted."""

from __future__ import annotations

from typing import Any

from zoo import language
from zoo.errors import VerificationError


def say(chinese: str, english: str) -> None:
    """Print one of two texts: the one in the language of `zoo.language`."""
    print(chinese if language.current() == "zh" else english)


def agree(what: str, ours: Any, theirs: Any, tolerance: float = 1e-5) -> float:
    """Print and return the largest difference of two arrays of one shape (NumPy, torch, lists).

    Raises:
        VerificationError: the shapes differ, or the difference is above `tolerance` or NaN.
    """
    import numpy as np

    left, right = (
        np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, np.float64)
        for value in (ours, theirs)
    )
    if left.shape != right.shape:
        raise VerificationError(f"{what}: shapes {left.shape} and {right.shape}")
    largest = float(np.abs(left - right).max(initial=0.0))
    words = "最大差" if language.current() == "zh" else "largest difference"
    print(f"{what:<28} {left.shape!s:<18} {words} {largest:.1e}")
    if not largest <= tolerance:
        raise VerificationError(f"{what}: largest difference {largest}, allowed {tolerance}")
    return largest


def beside(layer: Any, peer: Any, x: Any) -> tuple[Any, Any, Any]:
    """Run a layer by hand and torch's, forward and backward, and print their differences.

    Args:
        layer: of `zoo.scratch`; its state is copied into `peer`.
        peer: the `torch.nn` module with the same arguments.
        x: float64, the input of both; any shape that the layer takes.

    Returns:
        y, dy (random) and dx of the layer by hand, float64 arrays.

    Raises:
        VerificationError: an output or a gradient differs by more than 1e-10.
    """
    import numpy as np
    import torch

    peer.double().load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in layer.state_dict().items()}
    )
    inputs = torch.tensor(x, requires_grad=True)
    y, expected = layer(x), peer(inputs)
    dy = np.random.default_rng(0).standard_normal(y.shape)
    dx = layer.backward(dy)
    expected.backward(torch.from_numpy(dy))
    agree("y", y, expected, 1e-10)
    agree("dx", dx, inputs.grad, 1e-10)
    for (name, ours), theirs in zip(layer.named_parameters(), peer.parameters(), strict=True):
        agree(f"d {name}", ours.grad, theirs.grad, 1e-10)
    return y, dy, dx


def beside_loss(criterion: Any, peer: Any, outputs: Any, targets: Any) -> tuple[float, Any]:
    """Run a loss by hand and torch's, forward and backward, and print their differences.

    Returns:
        The loss and its gradient by hand.

    Raises:
        VerificationError: one of them differs by more than 1e-10.
    """
    import torch

    logits = torch.tensor(outputs, requires_grad=True)
    loss, expected = criterion(outputs, targets), peer(logits, torch.from_numpy(targets))
    gradient = criterion.backward()
    expected.backward()
    agree("loss", loss, expected, 1e-10)
    agree("d outputs", gradient, logits.grad, 1e-10)
    return float(loss), gradient
