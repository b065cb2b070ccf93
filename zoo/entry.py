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


#: A batch size that holds every table.
ALL_ROWS = 1_000_000
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
        sizes = inspect.signature(self.network).parameters
        return self.dataset not in TABLES and ("columns" not in sizes or "channels" in sizes)

    @property
    def takes_tables(self) -> bool:
        """Whether the network takes tables; the softmax classifier takes both."""
        return not self.takes_images or "columns" in inspect.signature(self.network).parameters

    def recipe_on(self, data: str, recipe: Recipe | None = None, target: str = "") -> Recipe:
        """Return a recipe for other data: without teacher and augmentation.

        What helps with digits harms elsewhere (Fashion-MNIST, resnet, 10 epochs: 91.20 % on the
        validation split with the augmentation, 92.42 % without).

        Args:
            data: a path, or the name of a dataset; "" is the model's own.
            recipe: by default the model's best.
            target: the column of a table that is learned.
        """
        recipe = recipe or self.recipe
        if data in ("", self.dataset):
            return recipe
        path = os.path.abspath(os.path.expanduser(data))
        data = path if os.path.exists(path) else data
        plain = dict.fromkeys(("rotate", "translate", "scale", "shear", "elastic"), 0.0)
        recipe = recipe.replace(data=data, teacher="", **plain)
        if recipe.optimizer == "sgd" and not self.takes_images:
            # One step size does not fit every table: `lr=0` takes it from the data's spectrum.
            recipe = recipe.replace(lr=0)
            if self.task == "regression":  # all rows in each step, to the least-squares solution
                recipe = recipe.replace(batch_size=ALL_ROWS, epochs=max(recipe.epochs, 2000))
        elif target and self.takes_tables:  # a table has fewer rows than MNIST
            recipe = recipe.replace(batch_size=32, epochs=100, ema_decay=0)
        return recipe

    def build(self, spec: Spec, classes: int) -> nn.Module:
        """Build a network with fresh weights for these inputs; `classes` is 0 in a regression.

        A network whose `__init__` does not take these sizes, as a student writes it, has its own.

        Raises:
            UsageError: its own sizes do not fit, or `__init__` needs other arguments.
        """
        if isinstance(spec, ImageSpec):
            sizes = {"channels": spec.channels, "size": spec.size, "classes": classes}
        else:
            sizes = {"columns": len(spec.columns), "outputs": 1}
            if self.task == "classification":
                taken_as = inspect.signature(self.network).parameters
                name = "classes" if "classes" in taken_as else "outputs"
                sizes = {"columns": len(spec.columns), name: classes}
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
