"""The state of a training: all that changes with its steps, which is what a checkpoint holds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from torch import Tensor, nn

from zoo.bundle.run import LOG, PLAN, EpochLog, Plan
from zoo.errors import ZooError, last_line
from zoo.evaluation import metrics
from zoo.files import write_atomic
from zoo.spec import Task
from zoo.training import checkpoint
from zoo.training.checkpoint import Progress, Tensors
from zoo.training.step import Step


@dataclass
class State:
    """What a training changes, and the run folder that it is written to."""

    run: Path
    progress: Progress
    network: nn.Module
    #: The moving average of the network's weights.
    average: nn.Module
    #: Holds the optimizers' memory.
    take_step: Step
    #: The weights of the epoch to keep, so far.
    best: dict[str, Tensor] = field(default_factory=dict)
    #: When the last checkpoint was written, by `time.monotonic`.
    saved_at: float = 0.0

    @property
    def kept(self) -> nn.Module:
        """What is validated, kept and shipped: the average, if the recipe has one."""
        return self.average if self.progress.recipe.ema_decay else self.network

    def restore(self, saved: Tensors) -> None:
        """Put back the tensors that `save` wrote.

        Raises:
            ZooError: they do not fit the network.
        """
        try:
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
        except RuntimeError as error:
            raise ZooError(
                f"{self.run}: the checkpoint does not fit model {self.progress.model!r} as it is "
                f"now: {last_line(error)}"
            ) from None
        self.take_step.load(saved.get("optimizer", {}))
        self.best = saved.get("best", {})

    def claim(self) -> None:
        """Make the run folder, with what it is to train."""
        self.run.mkdir(parents=True, exist_ok=True)
        plan = Plan(self.progress.model, self.progress.recipe)
        write_atomic(self.run / PLAN, msgspec.json.encode(plan))

    def save(self) -> None:
        """Write the checkpoint, and the log of its epochs."""
        groups = {"network": self.network.state_dict(), "average": self.average.state_dict()}
        groups |= {"best": self.best, "optimizer": self.take_step.state()}
        checkpoint.save(self.run, self.progress, groups)
        lines = (msgspec.json.encode(epoch) + b"\n" for epoch in self.progress.history)
        write_atomic(self.run / LOG, b"".join(lines))
        self.saved_at = time.monotonic()

    def end_epoch(
        self, task: Task, scores: dict[str, float], lr: float, steps: int, rows: int
    ) -> None:
        """Enter an epoch into the history; keep its weights if they are the best so far.

        Args:
            task: decides which metric is compared.
            scores: the metrics of `kept` on the validation split.
            lr: the learning rate of the last step.
            steps: of the epoch.
            rows: of the epoch.
        """
        progress, epoch = self.progress, len(self.progress.history) + 1
        if progress.recipe.keep == "last" or metrics.better(task, scores, progress.best):
            progress.best, progress.best_epoch = scores, epoch
            # Copies: the next step changes the network's tensors in place.
            self.best = {name: tensor.clone() for name, tensor in self.kept.state_dict().items()}
        progress.history.append(
            EpochLog(
                epoch=epoch,
                loss=progress.loss_sum / steps,
                lr=lr,
                validation=scores,
                seconds=progress.seconds,
                images_per_second=rows / progress.seconds,
            )
        )
