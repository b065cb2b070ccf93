"""Entry: what one file in `zoo/models/` declares."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import UsageError, first_line
from zoo.recipe import NOTES, Recipe
from zoo.spec import ImageSpec, Spec, Task

if TYPE_CHECKING:
    from torch import nn


#: The zoo's own data sets that are tables.
TABLES = ("diabetes", "breast-cancer")


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: the name of its file and of its bundle.
        title: one line in English.
        lesson: the heading of its lecture notes, in Chinese.
        network: the `nn.Module` class. Image models are called with `channels`, `size`,
            `classes`; table models with `columns`, `outputs`; with those that `__init__` takes.
        dataset: a name that `zoo.datasets.load` knows.
        task: decides the loss, the metrics and the outputs of the ONNX graph.
        recipe: how it is trained best.
        notes: how the lecture notes train it.
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
    notes: Recipe = NOTES

    @property
    def takes_images(self) -> bool:
        """Whether the network takes images; otherwise it takes tables."""
        table = self.dataset in TABLES
        return not table and "columns" not in inspect.signature(self.network).parameters

    def recipe_on(self, data: str, recipe: Recipe | None = None) -> Recipe:
        """Return a recipe for other data: without teacher and augmentation.

        What helps with digits harms elsewhere (Fashion-MNIST, resnet, 10 epochs: 91.20 % on the
        validation split with the augmentation, 92.42 % without).

        Args:
            data: a path, or the name of a dataset; "" is the model's own.
            recipe: by default the model's best.
        """
        recipe = recipe or self.recipe
        if data in ("", self.dataset):
            return recipe
        path = os.path.abspath(os.path.expanduser(data))
        data = path if os.path.exists(path) else data
        plain = dict.fromkeys(("rotate", "translate", "scale", "shear", "elastic"), 0.0)
        return recipe.replace(data=data, teacher="", **plain)

    def build(self, spec: Spec, classes: int) -> nn.Module:
        """Build a network with fresh weights for these inputs; `classes` is 0 in a regression.

        A network whose `__init__` does not take these sizes, as a student writes it, has its own.

        Raises:
            UsageError: its own sizes do not fit, or `__init__` needs other arguments.
        """
        if isinstance(spec, ImageSpec):
            sizes = {"channels": spec.channels, "size": spec.size, "classes": classes}
        else:
            outputs = classes if self.task == "classification" else 1
            sizes = {"columns": len(spec.columns), "outputs": outputs}
        parameters = inspect.signature(self.network).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return self.network(**sizes)
        taken = {p.name: sizes[p.name] for p in parameters if p.name in sizes}
        for parameter in parameters:
            needed = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD,
            )  # fmt: skip
            if needed and parameter.name not in sizes:
                raise UsageError(
                    f"model {self.name!r}: its __init__ needs {parameter.name!r}: give it a "
                    f"default value; the zoo gives {', '.join(sizes)} to one that takes them"
                )
        network = self.network(**taken)
        if len(taken) < len(sizes):
            self._check_sizes(network, spec, sizes["classes" if "classes" in sizes else "outputs"])
        return network

    def _check_sizes(self, network: nn.Module, spec: Spec, outputs: int) -> None:
        """Raise UsageError unless a network of fixed sizes maps these inputs to so many outputs."""
        import torch

        shape = (2, *spec.tensor.row)
        if isinstance(spec, ImageSpec):
            shape = (2, spec.channels, spec.size, spec.size)
        training = network.training
        try:
            with torch.no_grad():
                found = str(list(network.eval()(torch.zeros(shape)).shape))
        except Exception as error:
            found = first_line(error)
        network.train(training)
        if found != f"[2, {outputs}]":
            raise UsageError(
                f"model {self.name!r}: expected to map float32 {list(shape)} to [2, {outputs}], "
                f"found {found}; change its layers, or let its __init__ take the sizes of the data"
            )
