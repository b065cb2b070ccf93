"""Entry: what one file in `zoo/models/` declares."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.recipe import Recipe
from zoo.spec import ImageSpec, Spec, Task

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: the name of its file and of its bundle.
        title: one line in English.
        lesson: the heading of its lecture notes, in Chinese.
        network: the `nn.Module` class. Image models are called with `channels`, `size`,
            `classes`; table models with `columns`, `outputs`.
        dataset: a name that `zoo.datasets.load` knows.
        task: decides the loss, the metrics and the outputs of the ONNX graph.
        recipe: how it is trained.
        parameters: how many the network has with its default sizes; a test counts them.
        limits: what the trained model is not good for.
    """

    name: str
    title: str
    lesson: str
    network: Callable[..., nn.Module]
    dataset: str
    task: Task
    recipe: Recipe
    parameters: int
    limits: str

    @property
    def takes_images(self) -> bool:
        """Whether the network takes images; otherwise it takes tables."""
        return "columns" not in inspect.signature(self.network).parameters

    def recipe_on(self, data: str) -> Recipe:
        """Return the default recipe for other data: without teacher and augmentation.

        What helps with digits harms elsewhere (Fashion-MNIST, resnet, 10 epochs: 91.20 % on the
        validation split with the augmentation, 92.42 % without).

        Args:
            data: a path, or the name of a dataset; "" is the model's own.
        """
        if data in ("", self.dataset):
            return self.recipe
        path = os.path.abspath(os.path.expanduser(data))
        data = path if os.path.exists(path) else data
        plain = dict.fromkeys(("rotate", "translate", "scale", "shear", "elastic"), 0.0)
        return self.recipe.replace(data=data, teacher="", **plain)

    def build(self, spec: Spec, classes: int) -> nn.Module:
        """Build a network with fresh weights for these inputs; `classes` is 0 in a regression."""
        if isinstance(spec, ImageSpec):
            return self.network(channels=spec.channels, size=spec.size, classes=classes)
        outputs = classes if self.task == "classification" else 1
        return self.network(columns=len(spec.columns), outputs=outputs)
