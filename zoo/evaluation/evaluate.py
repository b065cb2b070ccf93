"""Evaluation: a bundle on a split, by torch or by a session's engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from zoo import datasets
from zoo.bundle.folder import Bundle
from zoo.datasets import Dataset, Split
from zoo.errors import UsageError, VerificationError, ZooError
from zoo.evaluation import metrics
from zoo.spec import ImageSpec


class Evaluation(NamedTuple):
    """Metrics, confusion matrix (empty in a regression), first outputs [rows, ...], and device."""

    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    outputs: NDArray[np.float32]
    device: str


def dataset(bundle: Bundle) -> Dataset:
    """Load the dataset that a bundle was trained on.

    Raises:
        VerificationError: its SHA-256 is not the card's. Others as `zoo.datasets.chosen`.
    """
    card = bundle.card
    images = isinstance(card.spec, ImageSpec)
    data = datasets.chosen(card.recipe, card.dataset.name, card.task, images=images)
    if data.sha256 != card.dataset.sha256:
        raise VerificationError(
            f"bundle {bundle.path}: trained on other data named {card.dataset.name!r} "
            f"(SHA-256 {card.dataset.sha256[:12]}..., here {data.sha256[:12]}...); --data PATH "
            "names another place"
        )
    return data


def moved(bundle: Bundle, data: str) -> Bundle:
    """Return a bundle whose own data are at another place than when it was trained.

    Args:
        bundle: trained on data of the user's.
        data: the new place, as `zoo train --data` takes it.

    Raises:
        UsageError: the bundle was trained on embedded data. VerificationError: these are other data
        than it was trained on, by their SHA-256. Others as `zoo.datasets.chosen`.
    """
    card = bundle.card
    if not card.recipe.data:
        raise UsageError(f"--data: {card.name} was trained on {card.dataset.name}, which is here")
    place = str(Path(data).expanduser().absolute()) if Path(data).expanduser().exists() else data
    recipe = card.recipe.replace(data=place)
    found = dataclasses.replace(bundle, card=msgspec.structs.replace(card, recipe=recipe))
    dataset(found)
    return found


def if_moved(bundle: Bundle, data: str) -> Bundle | None:
    """Return what `moved` does if the bundle's own data are gone and these are they; or None."""
    own = bundle.card.recipe.data
    if not own or Path(own).exists():
        return None
    try:
        return moved(bundle, data)
    except ZooError:
        return None


def evaluate(
    bundle: Bundle,
    split: Split | None = None,
    engine: str = "onnx",
    device: str = "auto",
) -> Evaluation:
    """Evaluate a bundle on a split; by default on the whole test set of its own dataset.

    Args:
        bundle: the model.
        split: the rows; None: the test set.
        engine: "torch", or one of `zoo.Session`'s.
        device: of the engine.

    Raises:
        VerificationError: a file or the dataset does not match the card.
        DeviceError: the device is not available.
    """
    card = bundle.card
    if split is None:
        split = dataset(bundle).test
    if engine == "torch":
        from zoo.network.device import torch_device
        from zoo.network.pipeline import Pipeline, run_torch
        from zoo.network.pretrained import load

        target = torch_device(device)
        pipeline = Pipeline(load(bundle), card.spec, card.task).eval().to(target)
        outputs, device = run_torch(pipeline, split.inputs), target.type
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
