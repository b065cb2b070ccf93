"""The training step by hand: layers, losses and optimizers of `zoo.scratch`, in NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from zoo import scratch
from zoo.entry import Entry
from zoo.recipe import Recipe
from zoo.spec import Spec
from zoo.training import distillation
from zoo.training.parameter_groups import parameter_groups


class ByHand:
    """A `zoo.training.step.Step` without autograd.

    The layers work on the memory of the torch network's parameters, so that averaging, validation,
    checkpoint and bundle see the weights where they always are.
    """

    def __init__(
        self, network: nn.Module, entry: Entry, spec: Spec, classes: int, recipe: Recipe
    ) -> None:
        self._layers = scratch.make(entry.name, spec, entry.task, classes)
        self._clip, self._alpha = recipe.clip_norm, recipe.alpha
        self._classification = entry.task == "classification"
        torch_parameters = dict(network.named_parameters())
        for name, parameter in self._layers.named_parameters():
            parameter.data = torch_parameters[name].detach().numpy()
        self._layers.train()
        self._criterion: scratch.Loss
        if self._classification:
            self._criterion = scratch.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        elif entry.task == "binary":
            self._criterion = scratch.BCEWithLogitsLoss()
        else:
            self._criterion = scratch.MSELoss()
        self._teacher = None
        if recipe.teacher:
            distillation.check(recipe, spec, classes)
            self._teacher = scratch.build(recipe.teacher)
            self._distillation = scratch.DistillationLoss(temperature=recipe.temperature)
        self._parameters = list(self._layers.parameters())
        self._optimizers = _optimizers(self._parameters, recipe)

    def __call__(self, x: Tensor, y: Tensor, lr: float, weight: float = 1.0) -> float:
        """Take one step, as the protocol says; `weight` is always 1: there is one process."""
        targets = y.numpy()
        if not self._classification:  # one output a row
            targets = targets.astype(np.float32)[:, np.newaxis]
        outputs = self._layers(x.numpy())  # forward
        loss = self._criterion(outputs, targets)  # loss
        if self._teacher is not None:
            divergence = self._distillation(outputs, self._teacher(x.numpy()))
            loss = self._alpha * divergence + (1 - self._alpha) * loss
        for optimizer in self._optimizers:
            optimizer.zero_grad()  # zero the gradients
        gradient = self._criterion.backward()
        if self._teacher is not None:  # the gradient of a weighted sum is that of its terms
            gradient = self._alpha * self._distillation.backward() + (1 - self._alpha) * gradient
        self._layers.accumulate(gradient)  # backward; nobody needs the gradient of the images
        if self._clip:
            self._clip_norm()
        for optimizer in self._optimizers:
            optimizer.lr = lr
            optimizer.step()  # step
        return loss

    def _clip_norm(self) -> None:
        """Scale the gradients so that all of them together are a vector of at most this length."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = sum(float(np.vdot(g, g)) for g in gradients) ** 0.5
        if norm > self._clip:
            for gradient in gradients:
                gradient *= self._clip / (norm + 1e-6)

    def state(self) -> dict[str, Tensor]:
        """Return the optimizers' memory, by name."""
        return {
            f"{number}.{name}": torch.from_numpy(array)
            for number, optimizer in enumerate(self._optimizers)
            for name, array in optimizer.state_dict().items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        for number, optimizer in enumerate(self._optimizers):
            prefix = f"{number}."
            optimizer.load_state_dict(
                {
                    key.removeprefix(prefix): tensor.numpy()
                    for key, tensor in state.items()
                    if key.startswith(prefix)
                }
            )


def _optimizers(
    parameters: list[scratch.Parameter], recipe: Recipe
) -> list[scratch.SGD | scratch.AdamW | scratch.Muon]:
    hidden, weights, biases = parameter_groups(parameters, recipe)
    lr, momentum, decay = recipe.lr, recipe.momentum, recipe.weight_decay
    optimizers: list[scratch.SGD | scratch.AdamW | scratch.Muon] = []
    for group, group_decay in ((weights, decay), (biases, 0.0)):
        if recipe.optimizer == "sgd":
            optimizers.append(
                scratch.SGD(
                    group, lr, momentum, weight_decay=group_decay, nesterov=recipe.looks_ahead
                )
            )
        else:
            optimizers.append(scratch.AdamW(group, lr, weight_decay=group_decay))
    if hidden:
        optimizers.append(scratch.Muon(hidden, lr, momentum, weight_decay=decay))
    return optimizers
