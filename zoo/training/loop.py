"""Training: one loop for every model and device, in the order of the notes.

    zoo train cnn

Data, model, loss and optimizer; then forward, loss, zero the gradients, backward, step. Each step
draws its randomness from (seed, step) alone and the checkpoint holds all the rest, so a training
that was killed and resumed ends with the same bytes. Under torchrun, several processes share the
rows of each batch: see `zoo.training.distributed`.
"""

from __future__ import annotations

import copy
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo import datasets, hardware, registry
from zoo.bundle.card import CARD, WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.bundle.run import LOG, PLAN, EpochLog, Plan, plan
from zoo.datasets import Dataset
from zoo.entry import Entry
from zoo.errors import Interrupted, UsageError, ZooError, first_line, last_line
from zoo.evaluation import metrics
from zoo.files import write_atomic
from zoo.network.pipeline import Normalize, Pipeline, channels_first, run_torch
from zoo.progress import Bar
from zoo.recipe import Recipe
from zoo.spec import ImageSpec
from zoo.training import augment, checkpoint, distillation, distributed, finish
from zoo.training.checkpoint import Progress
from zoo.training.distributed import Workers
from zoo.training.step import step
from zoo.training.tensorboard import Tell, board

#: Seconds between checkpoints, at epochs' ends; a stop by signal writes one at its very step.
CHECKPOINT_EVERY = 2.0
#: Steps between two looks at the loss.
_SHOW_EVERY = 20

Tensors = dict[str, dict[str, Tensor]]


def train(
    name: str, recipe: Recipe, run: Path, *, device: str = "auto", tensorboard: bool = False
) -> Path:
    """Train a model by a recipe into a run folder, which ends as a bundle.

    Args:
        name: a model of the registry.
        recipe: `registry.get(name).recipe`, or `.replace(...)` of it.
        run: the folder to write; made if missing.
        device: "auto", "cpu", "cuda" or "mps".
        tensorboard: write scalars into `run/tensorboard` too.

    Returns:
        `run`.

    Raises:
        UsageError: unknown model, or the folder already holds a run.
        DeviceError: the device is not there.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint of this very step is left.
        ZooError: the loss is no longer finite, a worker was lost, TensorBoard is not installed.
    """
    entry = registry.get(name)
    if recipe.data:  # by its full path, to be found from elsewhere too
        recipe = recipe.replace(data=entry.recipe_on(recipe.data).data)
    at = Progress(model=name, recipe=recipe)
    saved: Tensors = {}
    if distributed.restarted():
        if checkpoint.exists(run):
            at, saved = checkpoint.load(run, Plan(name, recipe))
    elif distributed.first() and (checkpoint.exists(run) or (run / CARD).exists()):
        raise UsageError(f"{run} already holds a run: resume it, or give another folder")
    return _start(entry, at, saved, run, device, tensorboard)


def resume(
    run: Path, *, name: str | None = None, device: str = "auto", tensorboard: bool = False
) -> Path:
    """Go on with a training from its last checkpoint, to the same end as without the stop.

    If the last checkpoint is not whole, the one before is taken, and stderr says so.

    Raises:
        UsageError: no checkpoint, or one of another model than `name`.
        ZooError: neither checkpoint is whole. Else as `train`.
    """
    at, saved = checkpoint.load(run, plan(run))
    if name is not None and at.model != name:
        raise UsageError(f"{run} holds a checkpoint of model {at.model!r}, not of {name!r}")
    return _start(registry.get(at.model), at, saved, run, device, tensorboard)


def _start(
    entry: Entry, at: Progress, saved: Tensors, run: Path, device: str, tensorboard: bool
) -> Path:
    if at.recipe.engine == "numpy":
        if device not in ("auto", "cpu"):
            raise UsageError(f"engine 'numpy' trains on the CPU, given device {device!r}")
        if distributed.launched():
            raise UsageError("engine 'numpy' trains in one process: start it without torchrun")
        device = "cpu"
    learns_from = distillation.weights(at.recipe)
    if at.teacher not in ("", learns_from):
        raise UsageError(
            f"{run} learns from the {at.recipe.teacher!r} with weights {at.teacher[:12]}..., "
            f"here they are {learns_from[:12]}...: start a new run"
        )
    at.teacher = learns_from
    hardware.keep_freed_memory()
    with distributed.workers(device, run) as workers:
        folder = run / "tensorboard" if tensorboard and workers.rank == 0 else None
        with board(folder, at) as tell:
            data, network = _train(entry, at, saved, run, workers, tell)
    if distributed.first():
        finish.finish(run, entry, data, network.eval(), at, workers)
    return run


def _train(
    entry: Entry,
    at: Progress,
    saved: Tensors,
    run: Path,
    workers: Workers,
    tell: Tell,
) -> tuple[Dataset, nn.Module]:
    recipe, device = at.recipe, workers.device
    _deterministic(device)

    # Data: whole in memory, on the device.
    data = datasets.chosen(recipe, entry.dataset, entry.task, images=entry.takes_images)
    if at.data not in ("", data.sha256):
        raise UsageError(
            f"{run}: {data.source} has changed since the training began: start a new run"
        )
    at.data = data.sha256
    if recipe.sampler == "balanced" and not data.labels:
        raise UsageError("sampler 'balanced' is for classes, this model has none")
    for note in data.notes:
        print(f"{data.name}: {note}", file=sys.stderr)
    inputs = torch.from_numpy(data.train.inputs).to(device)
    targets = torch.from_numpy(data.train.targets).to(device)
    image = isinstance(data.spec, ImageSpec)
    normalize = Normalize(data.spec).to(device)
    steps_per_epoch = math.ceil(len(inputs) / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch

    # Model.
    torch.manual_seed(recipe.seed)
    network = _network(entry, data, recipe)
    if recipe.init == "pretrained" and not saved:
        _pretrained(network, entry)
    network.to(device)
    average = copy.deepcopy(network)

    # Loss and optimizer.
    take_step = step(workers.wrap(network), entry, data.spec, len(data.labels), recipe)

    best: dict[str, Tensor] = saved.get("best", {})
    if saved:
        try:
            network.load_state_dict(saved["network"])
            average.load_state_dict(saved["average"])
        except RuntimeError as error:
            reason = last_line(error)
            raise ZooError(
                f"{run}: the checkpoint does not fit model {entry.name!r} as it is now: {reason}"
            ) from None
        take_step.load(saved.get("optimizer", {}))

    if workers.rank == 0:
        run.mkdir(parents=True, exist_ok=True)
        write_atomic(run / PLAN, msgspec.json.encode(Plan(entry.name, recipe)))

    def save() -> None:
        if workers.rank:
            return
        groups = {"network": network.state_dict(), "average": average.state_dict(), "best": best}
        groups["optimizer"] = take_step.state()
        checkpoint.save(run, at, groups)
        log = b"".join(msgspec.json.encode(line) + b"\n" for line in at.history)
        write_atomic(run / LOG, log)

    shared = "" if workers.alone else f" x {workers.count}"
    print(f"train {entry.name} on {device}{shared} into {run}", file=sys.stderr)
    saved_at = time.monotonic()
    workers.any(False)  # all have read the checkpoint before the first writes one
    save()  # an output that cannot be written is known before the first step
    with _stop_signals() as stopped, Bar(f"train {entry.name}", steps * recipe.batch_size) as bar:
        bar.advance(at.step * recipe.batch_size, "")
        while at.step < steps:
            epoch, done = divmod(at.step, steps_per_epoch)
            batches = _order(data.train.targets, recipe, epoch).to(device).split(recipe.batch_size)
            loss_sum = torch.tensor(at.loss_sum, dtype=torch.float64, device=device)
            began, first = time.perf_counter(), at.step
            network.train()
            for batch in batches[done:]:
                if workers.stop(stopped(), at.step):
                    break
                _seed(device, recipe.seed * 1_000_003 + at.step)
                x, y = inputs[batch], targets[batch]
                if image:
                    x = channels_first(x)
                if augment.augments(recipe):
                    x = augment.augment(x, recipe)
                lr = recipe.lr * _schedule(recipe, at.step / steps)
                mine, weight = workers.share(len(batch))
                # forward, loss, zero, backward, step
                loss = take_step(normalize(x[mine]), y[mine], lr, weight)
                if recipe.ema_decay:
                    _blend(average, network, recipe.ema_decay, at.step)
                loss_sum += loss
                at.step += 1
                if at.step % _SHOW_EVERY == 0:  # reading the loss waits for the device
                    speed = (at.step - first) * recipe.batch_size / (time.perf_counter() - began)
                    note = f"epoch {epoch + 1}: loss {float(loss):.4f}, {speed:,.0f} rows/s"
                    bar.advance(_SHOW_EVERY * recipe.batch_size, f"{note}{_found(at.history)}")
            at.loss_sum = workers.mean(loss_sum)
            at.seconds += time.perf_counter() - began
            if at.step < (epoch + 1) * steps_per_epoch:
                save()
                workers.any(False)  # the others stay until it is written
                raise Interrupted(
                    f"interrupted at step {at.step} of {steps}; go on with: "
                    f"zoo train {entry.name} --resume {run}"
                )

            kept = average if recipe.ema_decay else network
            found: dict[str, float] = {}
            if workers.rank == 0:
                pipeline = Pipeline(kept, data.spec, entry.task).to(device).eval()
                outputs_seen = run_torch(pipeline, data.validation.inputs)
                found = metrics.measure(entry.task, outputs_seen, data.validation.targets)
            if workers.any(not all(map(math.isfinite, (at.loss_sum, *found.values())))):
                raise ZooError(
                    f"training of {entry.name} diverged in epoch {epoch + 1} (loss "
                    f"{at.loss_sum / steps_per_epoch}): try a lower lr than {recipe.lr:g}, or "
                    f"clip_norm"
                )
            if workers.rank:
                at.loss_sum = at.seconds = 0.0
                continue
            if recipe.keep == "last" or metrics.better(entry.task, found, at.best):
                at.best, at.best_epoch = found, epoch + 1
                best = {key: tensor.clone() for key, tensor in kept.state_dict().items()}
            at.history.append(
                EpochLog(
                    epoch=epoch + 1,
                    loss=at.loss_sum / steps_per_epoch,
                    lr=lr,
                    validation=found,
                    seconds=at.seconds,
                    images_per_second=len(inputs) / at.seconds,
                )
            )
            tell(at.history[-1])
            at.loss_sum = at.seconds = 0.0
            if at.step == steps or time.monotonic() - saved_at > CHECKPOINT_EVERY:
                save()
                saved_at = time.monotonic()
            if (epoch + 1) % math.ceil(recipe.epochs / 30) == 0 or at.step == steps:
                bar.line(
                    f"epoch {epoch + 1:3d} of {recipe.epochs}: loss {at.history[-1].loss:.4g}, "
                    f"{at.history[-1].images_per_second:,.0f} rows/s{_found(at.history)}"
                )

    if workers.rank == 0:
        network.load_state_dict(best)
    return data, network


def _network(entry: Entry, data: Dataset, recipe: Recipe) -> nn.Module:
    """Build a fresh network, and see that it takes images of this size."""
    if not recipe.data or not entry.takes_images:
        return entry.build(data.spec, len(data.labels))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of a layer without inputs
            network = entry.build(data.spec, len(data.labels))
            row = torch.from_numpy(data.train.inputs[:1])
            Pipeline(network, data.spec, entry.task).eval()(row)
    except RuntimeError as error:
        side, reason = data.train.inputs.shape[1], first_line(error)
        raise UsageError(
            f"model {entry.name!r} cannot take images of {side}x{side}: try a larger --size "
            f"({reason})"
        ) from None
    return network


def _pretrained(network: nn.Module, entry: Entry) -> None:
    """Put the shipped weights into the layers that they fit, and say which start afresh."""
    known = safetensors.torch.load(Bundle.open(entry.name).read(WEIGHTS))
    state = network.state_dict()
    fits = {
        name: tensor for name, tensor in known.items()
        if name in state and state[name].shape == tensor.shape
    }  # fmt: skip
    network.load_state_dict(state | fits)
    fresh = ", ".join(name for name in state if name not in fits)
    print(f"weights of {entry.name!r} taken, fresh: {fresh or 'none'}", file=sys.stderr)


def _order(targets: NDArray[Any], recipe: Recipe, epoch: int) -> Tensor:
    """Return the epoch's order of the rows: a function of the data, seed and epoch alone."""
    draws = torch.Generator().manual_seed(recipe.seed * 10_007 + epoch)
    if recipe.sampler == "uniform":
        return torch.randperm(len(targets), generator=draws)
    chances = torch.from_numpy(1 / np.bincount(targets)[targets])  # of a row, beside the others
    return torch.multinomial(chances, len(targets), replacement=True, generator=draws)


def _schedule(recipe: Recipe, done: float) -> float:
    """Return the share of the peak learning rate after a share `done` of all steps."""
    if recipe.schedule == "constant":
        return 1.0
    if done < recipe.warmup:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * done / recipe.warmup)) / 2
    return (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup))) / 2


@torch.no_grad()
def _blend(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's; faster at first, when they are far."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for held, current in zip(average.buffers(), network.buffers(), strict=True):
        held.copy_(current)


def _found(history: list[EpochLog]) -> str:
    """Say what the last epoch reached on the validation split."""
    if not history:
        return ""
    found = history[-1].validation
    if "accuracy" in found:
        return f", validation {100 * found['accuracy']:.2f} %"
    return f", validation R2 {found['r2']:.4f}"


def _seed(device: torch.device, seed: int) -> None:
    """Seed the generator that draws on the device.

    `torch.manual_seed` seeds those of all devices, which without a GPU takes a tenth of a step.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _deterministic(device: torch.device) -> None:
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Catch the first SIGINT or SIGTERM and yield the question whether one came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        came.append(number)
        restore()  # the second one ends the program at once

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        restore()
