"""A training step: forward, loss, zero the gradients, backward, step.

Here by autograd; `zoo.training.by_hand` takes the same step without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Entry
from zoo.errors import UsageError
from zoo.recipe import Recipe
from zoo.spec import Spec
from zoo.training.by_hand import ByHand
from zoo.training.distillation import Teacher
from zoo.training.parameter_groups import parameter_groups


class Step(Protocol):
    """One step of a training."""

    def __call__(self, x: Tensor, y: Tensor, lr: float, weight: float = 1.0) -> Tensor | float:
        """Move the weights by one batch; return the loss from before the move.

        Args:
            x: normalized inputs, float32 [N, channels, size, size] or [N, columns].
            y: their targets, int64 [N] class numbers or float32 [N] values.
            lr: the learning rate of this step.
            weight: a factor of the loss, where x holds only some rows of a batch; see
                `zoo.training.distributed`.
        """

    def state(self) -> dict[str, Tensor]:
        """Return the optimizers' memory (momentum, ...), by name."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""


def make_step(network: nn.Module, entry: Entry, spec: Spec, classes: int, recipe: Recipe) -> Step:
    """Return the step of the recipe's engine; both engines move the weights of `network`.

    Raises:
        UsageError: the teacher does not fit, or the engine cannot train this model or precision.
    """
    if recipe.engine == "torch":
        return _Autograd(network, entry, spec, classes, recipe)
    if recipe.precision != "fp32":
        raise UsageError(f"engine 'numpy' computes in fp32, given precision {recipe.precision!r}")
    return ByHand(network, entry, spec, classes, recipe)


class _Autograd:
    def __init__(
        self, network: nn.Module, entry: Entry, spec: Spec, classes: int, recipe: Recipe
    ) -> None:
        self._network, self._clip = network, recipe.clip_norm
        self._bf16 = recipe.precision == "bf16"
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
        # bf16: matrix products and convolutions alone; the weights and the loss stay in float32,
        # where a small update is not rounded away.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._bf16):
            outputs = self._network(x).float()  # forward
            loss = self._criterion(outputs, y)  # loss
            if self._teacher:
                loss = self._teacher.loss(loss, outputs, x)
        if weight != 1.0:
            loss = loss * weight
        self._network.zero_grad()  # zero the gradients
        loss.backward()  # backward
        if self._clip:  # one batch with a huge gradient must not undo all the steps before it
            nn.utils.clip_grad_norm_(self._network.parameters(), self._clip)
        for optimizer in self._optimizers:
            optimizer.step()  # step
        return loss.detach()  # without its graph, whose memory the next step needs

    def state(self) -> dict[str, Tensor]:
        return {
            f"{which}.{number}.{name}": value
            for which, optimizer in enumerate(self._optimizers)
            for number, named in optimizer.state_dict()["state"].items()
            for name, value in named.items()
            if isinstance(value, Tensor)
        }

    def load(self, state: dict[str, Tensor]) -> None:
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimizers]
        for key, tensor in state.items():
            which, number, name = key.split(".", 2)
            states[int(which)].setdefault(int(number), {})[name] = tensor
        for optimizer, own in zip(self._optimizers, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": own, "param_groups": groups})


def _criterion(entry: Entry, recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    if entry.task == "regression":
        return lambda outputs, y: F.mse_loss(outputs[:, 0], y)
    if entry.task == "binary":
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits[:, 0], y.float())
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)


def _optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    hidden, weights, biases = parameter_groups(network.parameters(), recipe)
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    # fused: one kernel updates all parameters, instead of some for each
    if recipe.optimizer == "sgd":
        momentum: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.looks_ahead}
        return [torch.optim.SGD(groups, lr=recipe.lr, fused=True, **momentum)]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=recipe.lr, fused=True)]
    if hidden:
        optimizers.append(_muon(hidden, recipe))
    return optimizers


def _muon(kernels: list[nn.Parameter], recipe: Recipe) -> torch.optim.Muon:
    """Return torch's Muon, which takes only matrices, over convolution kernels as well.

    A kernel [C_out, C_in, k, k] is the matrix [C_out, C_in k k].
    """
    matrices = [nn.Parameter(p.detach().view(len(p), -1)) for p in kernels]  # the same memory
    muon = torch.optim.Muon(
        matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum,
        nesterov=recipe.looks_ahead, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip

    def take_gradients(*_: object) -> None:
        for kernel, matrix in zip(kernels, matrices, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)

    muon.register_step_pre_hook(take_gradients)
    return muon
