"""Evaluation: a network or a bundle over a whole split, by torch or by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo import cards, datasets
from zoo.datasets import Dataset, Split
from zoo.errors import VerificationError
from zoo.evaluation import metrics
from zoo.spec import ImageSpec

if TYPE_CHECKING:
    from torch import nn

_BATCH = 500


class Evaluation(NamedTuple):
    """Metrics over a split, the confusion matrix (empty in a regression), the raw outputs."""

    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    outputs: NDArray[np.float32]
    device: str


def run_torch(pipeline: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Run a `zoo.network.pipeline.Pipeline` over raw inputs; return its first output.

    Args:
        pipeline: in eval mode, on the device where it shall run.
        inputs: uint8 [n, H, W, C] or float32 [n, columns].

    Returns:
        float32 [n, classes] logits, or [n, 1] predictions.
    """
    import torch

    device = next(pipeline.parameters()).device
    with torch.inference_mode():
        parts = [
            pipeline(torch.from_numpy(inputs[at : at + _BATCH]).to(device))[0].float().cpu()
            for at in range(0, len(inputs), _BATCH)
        ]
    outputs: NDArray[np.float32] = torch.cat(parts).numpy()
    return outputs


def dataset(bundle: Path) -> Dataset:
    """Load what a bundle was trained on.

    Raises:
        VerificationError: it is no longer the same. Else as `zoo.datasets.chosen`.
    """
    card = cards.read(bundle)
    images = isinstance(card.spec, ImageSpec)
    found = datasets.chosen(card.recipe, card.dataset.name, card.task, images=images)
    if found.sha256 != card.dataset.sha256:
        raise VerificationError(
            f"bundle {bundle}: trained on other data named {card.dataset.name!r} "
            f"(SHA-256 {card.dataset.sha256[:12]}..., here {found.sha256[:12]}...)"
        )
    return found


def evaluate(
    bundle: Path,
    split: Split | None = None,
    engine: str = "onnx",
    device: str = "auto",
) -> Evaluation:
    """Evaluate a bundle on a split; by default on the whole test set of its own dataset.

    Args:
        bundle: a bundle's folder.
        split: the rows.
        engine: "torch", or one of `zoo.Session`'s.
        device: where it runs.

    Raises:
        VerificationError: the files are not those of the card, or the data is not the same.
        DeviceError: the device is not there.
    """
    card = cards.read(bundle)
    if split is None:
        split = dataset(bundle).test
    if engine == "torch":
        from zoo.network.device import torch_device
        from zoo.network.pipeline import Pipeline
        from zoo.network.pretrained import load

        place = torch_device(device)
        pipeline = Pipeline(load(bundle), card.spec, card.task).eval().to(place)
        outputs, device = run_torch(pipeline, split.inputs), place.type
    else:
        from zoo.runtime.session import Session

        session = Session(bundle, engine=engine, device=device)
        outputs, device = session.run(split.inputs)[0], session.device
    return Evaluation(
        metrics.measure(card.task, outputs, split.targets),
        metrics.confusion(card.task, outputs, split.targets),
        outputs,
        device,
    )
