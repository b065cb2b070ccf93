"""The pipeline: from the array that a decoder returns to probabilities, as it is exported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.spec import ImageSpec, Spec, Task, TensorSpec

_BATCH = 500  # rows of one run over a split


def channels_first(images: Tensor) -> Tensor:
    """Turn uint8 [N, H, W, C] into float32 [N, C, H, W], still 0 to 255."""
    return images.permute(0, 3, 1, 2).to(torch.float32)


class Normalize(nn.Module):
    """(x - mean) / std; an image's mean and std are those of its pixels / 255."""

    shift: Tensor
    scale: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        shape = (1, -1, 1, 1) if isinstance(spec, ImageSpec) else (1, -1)
        self.register_buffer("shift", _column(spec.mean, spec.unit, shape))
        self.register_buffer("scale", _column(spec.std, spec.unit, shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, C, H, W] or [N, columns] to the same shape."""
        return (x - self.shift) / self.scale


def _column(values: Sequence[float], unit: float, shape: tuple[int, ...]) -> Tensor:
    return (torch.tensor(values, dtype=torch.float64) * unit).to(torch.float32).reshape(shape)


class Pipeline(nn.Module):
    """The model as it is served: raw input to named outputs, as on the card."""

    sides: Tensor

    def __init__(self, network: nn.Module, spec: Spec, task: Task) -> None:
        super().__init__()
        self.network = network
        self.normalise = Normalize(spec)  # spelled as in the shipped ONNX files, byte for byte
        self.image = isinstance(spec, ImageSpec)
        self.task = task
        if task == "binary":  # by one Mul; zeros would need the batch's shape, at run time
            self.register_buffer("sides", torch.tensor([0.0, 1.0]), persistent=False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Map the raw input to (logits, probabilities), or to (prediction,) in a regression.

        inputs: uint8 [N, H, W, C] images or float32 [N, columns] features.
        """
        x = self.normalise(channels_first(inputs) if self.image else inputs)
        y: Tensor = self.network(x)
        if self.task == "regression":
            return (y,)
        if self.task == "binary":  # logits [0, z]: their softmax is [1 - sigmoid(z), sigmoid(z)]
            y = y * self.sides
        return y, torch.softmax(y, dim=1)


def own_error(
    pipeline: Pipeline, inputs: NDArray[Any], outputs: NDArray[np.float32], rows: int = 200
) -> float:
    """Return how far a pipeline in float32 is from the same one in float64.

    Args:
        pipeline: in eval mode, on the CPU.
        inputs: as for `run_torch`; of many, as many as `rows`, evenly spaced.
        outputs: its first outputs for them.
        rows: what is compared.

    Returns:
        The largest difference; 0 where the network does not run in float64.
    """
    chosen = np.linspace(0, len(inputs) - 1, min(rows, len(inputs))).astype(int)
    exact = copy.deepcopy(pipeline).double()
    at_a_time = TensorSpec("", "", ("batch", *inputs.shape[1:])).rows(rows) // 2 or 1
    parts = []
    try:
        with torch.inference_mode():
            for start in range(0, len(chosen), at_a_time):
                x = torch.from_numpy(inputs[chosen[start : start + at_a_time]])
                x = channels_first(x) if pipeline.image else x
                y = exact.network(exact.normalise(x.double()))
                parts.append(
                    torch.cat([torch.zeros_like(y), y], 1) if exact.task == "binary" else y
                )
    except RuntimeError:  # a network of the user's that insists on float32
        return 0.0
    return float(np.abs(torch.cat(parts).numpy() - outputs[chosen]).max(initial=0.0))


def run_torch(pipeline: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Run a `Pipeline` over raw inputs; return its first output.

    Args:
        pipeline: in eval mode; it runs on the device of its parameters.
        inputs: uint8 [n, H, W, C] or float32 [n, columns].

    Returns:
        float32 [n, classes] logits, or [n, 1] predictions.
    """
    device = next(pipeline.parameters()).device
    rows = TensorSpec("", "", ("batch", *inputs.shape[1:])).rows(_BATCH)
    with torch.inference_mode():
        parts = [
            pipeline(torch.from_numpy(inputs[start : start + rows]).to(device))[0].float().cpu()
            for start in range(0, len(inputs), rows)
        ]
    outputs: NDArray[np.float32] = torch.cat(parts).numpy()
    return outputs
