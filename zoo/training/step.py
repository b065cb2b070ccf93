"""A training step: forward, loss, zero the gradients, backward, step; by autograd or by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import scratch
from zoo.entry import Entry
from zoo.errors import UsageError
from zoo.recipe import Recipe
from zoo.scratch import (
    SGD,
    AdamW,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    DistillationLoss,
    Loss,
    MSELoss,
    Muon,
    make,
)
from zoo.spec import Spec
from zoo.training import checkpoint
from zoo.training.distillation import Teacher, check

P = TypeVar("P", nn.Parameter, scratch.Parameter)


class Step(Protocol):
    """One step of a training."""

    def __call__(self, x: Tensor, y: Tensor, lr: float, weight: float = 1.0) -> Tensor | float:
        """Take normalized inputs and their targets; move the weights; return the loss.

        `weight`: of the loss, for some of a batch's rows; see `zoo.training.distributed`.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what the optimizer has to remember."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""


def step(network: nn.Module, entry: Entry, spec: Spec, classes: int, recipe: Recipe) -> Step:
    """Return the step of the recipe's engine; both move the weights of `network`."""
    if recipe.engine == "torch":
        return _Autograd(network, entry, spec, classes, recipe)
    if recipe.precision != "fp32":
        raise UsageError(f"engine 'numpy' computes in fp32, given precision {recipe.precision!r}")
    return _ByHand(network, entry, spec, classes, recipe)


class _Autograd:
    def __init__(
        self, network: nn.Module, entry: Entry, spec: Spec, classes: int, recipe: Recipe
    ) -> None:
        self._network, self._clip = network, recipe.clip_norm
        self._half = recipe.precision == "bf16"
        self._teacher: Teacher | None = None
        if recipe.teacher:
            device = next(network.parameters()).device
            self._teacher = Teacher(recipe, spec, classes, device)
        self._criterion = _criterion(entry, recipe)
        self._optimizers = _optimizers(network, recipe)

    def __call__(self, x: Tensor, y: Tensor, lr: float, weight: float = 1.0) -> Tensor:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._half):
            outputs = self._network(x).float()  # forward
            loss = self._criterion(outputs, y)  # loss
            if self._teacher:
                loss = self._teacher.loss(loss, outputs, x)
        if weight != 1.0:
            loss = loss * weight
        self._network.zero_grad()  # zero the gradients
        loss.backward()  # backward
        if self._clip:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._clip)
        for optimizer in self._optimizers:
            optimizer.step()  # step
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        return checkpoint.optimizer_tensors(self._optimizers)

    def load(self, state: dict[str, Tensor]) -> None:
        checkpoint.load_optimizers(self._optimizers, state)


def _criterion(entry: Entry, recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    if entry.task == "regression":
        return lambda outputs, y: F.mse_loss(outputs[:, 0], y)
    if entry.task == "binary":
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits[:, 0], y.float())
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)


def _parts(parameters: Iterable[P], recipe: Recipe) -> tuple[list[P], list[P], list[P]]:
    """Part them: Muon's, and of the others those that are decayed and those that are not: biases.

    Muon takes what stands between hidden layers. The last matrix gives the answers.
    """
    parameters = list(parameters)
    weights = [p for p in parameters if p.data.ndim > 1]
    biases = [p for p in parameters if p.data.ndim <= 1]
    hidden = weights[:-1] if recipe.optimizer == "muon" else []
    return hidden, weights[len(hidden) :], biases


def _optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    hidden, weights, biases = _parts(network.parameters(), recipe)
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    momentum = recipe.momentum
    if recipe.optimizer == "sgd":  # one fused kernel updates all parameters
        return [
            torch.optim.SGD(
                groups, lr=recipe.lr, momentum=momentum, nesterov=momentum > 0, fused=True
            )
        ]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=recipe.lr, fused=True)]
    if hidden:
        found.append(_muon(hidden, recipe))
    return found


def _muon(kernels: list[nn.Parameter], recipe: Recipe) -> torch.optim.Muon:
    """Make torch's Muon take kernels too: [C_out, C_in, k, k] is the matrix [C_out, C_in k k]."""
    matrices = [nn.Parameter(p.detach().view(len(p), -1)) for p in kernels]  # the same memory
    momentum = recipe.momentum
    muon = torch.optim.Muon(
        matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=momentum,
        nesterov=momentum > 0, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip

    def take_gradients(*_: object) -> None:
        for kernel, matrix in zip(kernels, matrices, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)

    muon.register_step_pre_hook(take_gradients)
    return muon


class _ByHand:
    """The same step with `zoo.scratch`: layers, loss and optimizer in NumPy.

    The layers work on the memory of the torch network's parameters, so that averaging, validation,
    checkpoint and bundle see what they always see.
    """

    def __init__(
        self, network: nn.Module, entry: Entry, spec: Spec, classes: int, recipe: Recipe
    ) -> None:
        self._layers = make(entry.name, spec, entry.task, classes)
        self._clip, self._tabular = recipe.clip_norm, entry.task != "classification"
        theirs = dict(network.named_parameters())
        for name, parameter in self._layers.named_parameters():
            parameter.data = theirs[name].detach().numpy()
        self._layers.train()
        self._criterion: Loss = CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._teacher, self._alpha = None, recipe.alpha
        if recipe.teacher:
            check(recipe, spec, classes)
            self._teacher = scratch.build(recipe.teacher)
            self._distillation = DistillationLoss(temperature=recipe.temperature)
        if entry.task != "classification":
            self._criterion = MSELoss() if entry.task == "regression" else BCEWithLogitsLoss()
        self._parameters = list(self._layers.parameters())
        hidden, weights, biases = _parts(self._parameters, recipe)
        momentum, decay = recipe.momentum, recipe.weight_decay
        self._optimizers: list[SGD | AdamW | Muon] = []
        for parameters, decayed in ((weights, decay), (biases, 0.0)):
            if recipe.optimizer == "sgd":
                self._optimizers.append(
                    SGD(parameters, recipe.lr, momentum, weight_decay=decayed,
                            nesterov=momentum > 0)
                )  # fmt: skip
            else:
                self._optimizers.append(AdamW(parameters, recipe.lr, weight_decay=decayed))
        if hidden:
            self._optimizers.append(Muon(hidden, recipe.lr, momentum, weight_decay=decay))

    def __call__(self, x: Tensor, y: Tensor, lr: float, weight: float = 1.0) -> float:
        targets = y.numpy()
        if self._tabular:
            targets = targets.astype(np.float32)[:, np.newaxis]
        outputs = self._layers(x.numpy())  # forward
        loss = self._criterion(outputs, targets)  # loss
        if self._teacher is not None:
            known = self._distillation(outputs, self._teacher(x.numpy()))
            loss = self._alpha * known + (1 - self._alpha) * loss
        for optimizer in self._optimizers:
            optimizer.zero_grad()  # zero the gradients
        gradient = self._criterion.backward()
        if self._teacher is not None:
            gradient = self._alpha * self._distillation.backward() + (1 - self._alpha) * gradient
        self._layers.accumulate(gradient)  # backward
        if self._clip:
            self._clip_norm()
        for optimizer in self._optimizers:
            optimizer.lr = lr
            optimizer.step()  # step
        return loss

    def _clip_norm(self) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = sum(float(np.vdot(g, g)) for g in gradients) ** 0.5
        if norm > self._clip:
            for gradient in gradients:
                gradient *= self._clip / (norm + 1e-6)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{number}.{name}": torch.from_numpy(array)
            for number, optimizer in enumerate(self._optimizers)
            for name, array in optimizer.state_dict().items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        for number, optimizer in enumerate(self._optimizers):
            mine = f"{number}."
            optimizer.load_state_dict(
                {
                    name.removeprefix(mine): tensor.numpy()
                    for name, tensor in state.items()
                    if name.startswith(mine)
                }
            )
