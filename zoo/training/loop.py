"""The training loop, in the order of the lecture notes: one for every model and device.

    zoo train cnn

Data, model, loss and optimizer; then for each batch forward, loss, zero the gradients, backward,
step. What comes before it is in `zoo.training.start`, the five lines of a step are in
`zoo.training.step`, what comes after it is in `zoo.training.finish`.

Each step draws its randomness from (seed, step) alone, and the checkpoint holds all the rest, so a
training that was killed and resumed ends with the same bytes.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from zoo.bundle.run import EpochLog
from zoo.datasets import Dataset
from zoo.entry import Entry
from zoo.errors import Interrupted, ZooError
from zoo.evaluation import metrics
from zoo.network.pipeline import Normalize, Pipeline, channels_first, run_torch
from zoo.progress import Bar
from zoo.recipe import Recipe
from zoo.training import augment, process
from zoo.training.checkpoint import Progress, Tensors
from zoo.training.distributed import Workers
from zoo.training.schedule import learning_rate, row_order
from zoo.training.state import State
from zoo.training.step import make_step
from zoo.training.tensorboard import EpochWriter

#: Seconds between two checkpoints. They are written at the ends of epochs, of which a small model
#: has a hundred a second; a stop by signal writes the checkpoint of that very step.
CHECKPOINT_EVERY = 2.0
#: Steps between two looks at the loss: to read it is to wait for the device.
_SHOW_EVERY = 20
#: At most so many epochs get a line of their own.
_LINES = 30


def loop(
    run: Path, entry: Entry, data: Dataset, network: nn.Module, progress: Progress, saved: Tensors,
    workers: Workers, write_epoch: EpochWriter,
) -> dict[str, Tensor]:  # fmt: skip
    """Train `network` from where `progress` stands to the end; return the weights to keep."""
    recipe, device = progress.recipe, workers.device
    # Data, on the device for the whole training; images stay uint8, a quarter of float32
    inputs = torch.from_numpy(data.train.inputs).to(device)
    targets = torch.from_numpy(data.train.targets).to(device)
    normalize = Normalize(data.spec).to(device)
    epoch_steps = math.ceil(len(inputs) / recipe.batch_size)
    steps = recipe.epochs * epoch_steps
    # Model, and beside it the moving average (EMA) of its weights
    average = copy.deepcopy(network.to(device))
    # Loss and optimizer, both in the step
    take_step = make_step(workers.wrap(network), entry, data.spec, len(data.labels), recipe)
    state = State(run, progress, network, average, take_step)
    _begin(state, saved, workers)

    # Epochs
    with process.stop_signals() as stop_requested, _bar(progress, len(inputs)) as bar:
        while progress.step < steps:
            epoch, done = divmod(progress.step, epoch_steps)  # done: of a resumed epoch
            batches = row_order(data.train.targets, recipe, epoch).to(device)
            loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device)
            began = time.perf_counter()
            network.train()
            for taken, rows in enumerate(batches.split(recipe.batch_size)[done:], 1):
                if workers.stop(stop_requested(), progress.step):
                    break
                # A seed for each step: so there is no generator's state to keep for a resume.
                process.seed(device, recipe.seed * 1_000_003 + progress.step)
                x, y = _augmented(inputs[rows], recipe), targets[rows]
                lr = learning_rate(recipe, progress.step / steps)
                own, weight = workers.own_rows(len(rows))
                # Forward, loss, zero the gradients, backward, step
                loss = take_step(normalize(x[own]), y[own], lr, weight)
                _update_average(average, network, recipe.ema_decay, progress.step)
                loss_sum += loss  # on the device: nothing waits for its value
                progress.step += 1
                if progress.step % _SHOW_EVERY == 0:
                    speed = taken * recipe.batch_size / (time.perf_counter() - began)
                    _show_step(bar, progress, loss, speed, len(inputs))
            # The processes add up their losses now: only the first of them validates.
            progress.loss_sum = workers.mean(loss_sum)
            progress.seconds += time.perf_counter() - began
            if progress.step < (epoch + 1) * epoch_steps:
                _interrupt(state, steps, workers)

            # Validation
            scores = _validate(state, entry, data, epoch_steps, workers)
            if workers.rank == 0:
                state.end_epoch(entry.task, scores, lr, epoch_steps, len(inputs))
                write_epoch(progress.history[-1])
                _show_epoch(bar, progress, len(inputs))
            progress.loss_sum = progress.seconds = 0.0

            # Checkpoint
            due = time.monotonic() - state.saved_at > CHECKPOINT_EVERY
            if workers.rank == 0 and (due or progress.step == steps):
                state.save()
    return state.best


def _begin(state: State, saved: Tensors, workers: Workers) -> None:
    """Go on from a checkpoint, if there is one, and write the first one of this process."""
    if saved:
        state.restore(saved)
    state.progress.enter_threads(torch.get_num_threads())
    if workers.rank == 0:
        state.claim()
    processes = "" if workers.alone else f" x {workers.count}"
    model, run = state.progress.model, state.run
    print(f"train {model} on {workers.device}{processes} into {run}", file=sys.stderr)
    workers.any(False)  # all have read the checkpoint before the first process writes one
    if workers.rank == 0:
        state.save()  # a folder that cannot be written to is known before the first step


def _augmented(x: Tensor, recipe: Recipe) -> Tensor:
    """Return a batch as float32; images in torch's layout, and augmented if the recipe says so."""
    if x.ndim == 4:
        # On the device, which moves bytes faster than the CPU: a view and one conversion.
        x = channels_first(x)
    return augment.augment(x, recipe) if augment.augments(recipe) else x


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's.

    Warm-up: with the full decay from the first step on, the average would hold the random weights
    that it began with for hundreds of steps. So the decay is 0.1 at first, and rises.
    """
    if not decay:
        return
    decay = min(decay, (1 + step) / (10 + step))
    for mean, current in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(current, 1 - decay)
    for statistic, current_statistic in zip(average.buffers(), network.buffers(), strict=True):
        statistic.copy_(current_statistic)  # running statistics are averages already


def _interrupt(state: State, steps: int, workers: Workers) -> NoReturn:
    """Write the checkpoint of this very step, and end the training."""
    if workers.rank == 0:
        state.save()
    workers.any(False)  # the other processes stay until it is written
    model, step = state.progress.model, state.progress.step
    raise Interrupted(
        f"interrupted at step {step} of {steps}; resume with: "
        f"zoo train {model} --resume {state.run}"
    )


def _validate(
    state: State, entry: Entry, data: Dataset, epoch_steps: int, workers: Workers
) -> dict[str, float]:
    """Return the metrics on the validation split; {} in the processes that do not validate.

    Raises:
        ZooError: the loss or a metric is not finite; every process raises it.
    """
    progress, scores = state.progress, dict[str, float]()
    if workers.rank == 0:
        pipeline = Pipeline(state.kept, data.spec, entry.task).to(workers.device).eval()
        outputs = run_torch(pipeline, data.validation.inputs)
        scores = metrics.measure(entry.task, outputs, data.validation.targets)
    if workers.any(not all(map(math.isfinite, (progress.loss_sum, *scores.values())))):
        raise ZooError(
            f"training of {entry.name} diverged in epoch {progress.step // epoch_steps} (loss "
            f"{progress.loss_sum / epoch_steps}): try a lower lr than {progress.recipe.lr:g}, or "
            f"clip_norm"
        )
    return scores


def _bar(progress: Progress, rows: int) -> Bar:
    title, total = f"train {progress.model}", progress.recipe.epochs * rows
    return Bar(title, total, unit="", start=_rows_done(progress, rows))


def _rows_done(progress: Progress, rows: int) -> int:
    """Return how many rows of all epochs are done: the last batch of an epoch may be smaller."""
    size = progress.recipe.batch_size
    epoch, step = divmod(progress.step, math.ceil(rows / size))
    return epoch * rows + step * size


def _show_step(bar: Bar, progress: Progress, loss: Tensor | float, speed: float, rows: int) -> None:
    history = progress.history
    validation = f", {_score(history[-1])}" if history else ""
    note = f"epoch {len(history) + 1}: loss {float(loss):.4f}, {speed:,.0f} rows/s{validation}"
    bar.reach(_rows_done(progress, rows), note)


def _show_epoch(bar: Bar, progress: Progress, rows: int) -> None:
    last, epochs = progress.history[-1], progress.recipe.epochs
    text = f"loss {last.loss:.4g}, {last.images_per_second:,.0f} rows/s, {_score(last)}"
    bar.reach(_rows_done(progress, rows), f"epoch {last.epoch}: {text}")
    if last.epoch % math.ceil(epochs / _LINES) == 0 or last.epoch == epochs:
        bar.line(f"epoch {last.epoch:3d} of {epochs}: {text}")


def _score(epoch: EpochLog) -> str:
    if "accuracy" in epoch.validation:
        return f"validation {100 * epoch.validation['accuracy']:.2f} %"
    return f"validation R2 {epoch.validation['r2']:.4f}"
