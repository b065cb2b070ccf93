"""Evaluation: a network or a bundle over a whole split, by torch or by ONNX Runtime."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo import datasets
from zoo.bundle.folder import Bundle
from zoo.datasets import Dataset, Split
from zoo.errors import VerificationError
from zoo.evaluation import metrics
from zoo.spec import ImageSpec


class Evaluation(NamedTuple):
    """Metrics over a split, the confusion matrix (empty in a regression), the raw outputs."""

    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    outputs: NDArray[np.float32]
    device: str


def dataset(bundle: Bundle) -> Dataset:
    """Load what a bundle was trained on.

    Raises:
        VerificationError: it is no longer the same. Else as `zoo.datasets.chosen`.
    """
    card = bundle.card
    images = isinstance(card.spec, ImageSpec)
    data = datasets.chosen(card.recipe, card.dataset.name, card.task, images=images)
    if data.sha256 != card.dataset.sha256:
        raise VerificationError(
            f"bundle {bundle.path}: trained on other data named {card.dataset.name!r} "
            f"(SHA-256 {card.dataset.sha256[:12]}..., here {data.sha256[:12]}...)"
        )
    return data


def evaluate(
    bundle: Bundle,
    split: Split | None = None,
    engine: str = "onnx",
    device: str = "auto",
) -> Evaluation:
    """Evaluate a bundle on a split; by default on the whole test set of its own dataset.

    Args:
        bundle: what to evaluate.
        split: the rows.
        engine: "torch", or one of `zoo.Session`'s.
        device: where it runs.

    Raises:
        VerificationError: the files are not those of the card, or the data is not the same.
        DeviceError: the device is not there.
    """
    card = bundle.card
    if split is None:
        split = dataset(bundle).test
    if engine == "torch":
        from zoo.network.device import torch_device
        from zoo.network.pipeline import Pipeline, run_torch
        from zoo.network.pretrained import load

        where = torch_device(device)
        pipeline = Pipeline(load(bundle), card.spec, card.task).eval().to(where)
        outputs, device = run_torch(pipeline, split.inputs), where.type
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
