"""The start of a training, new or resumed: everything before its loop.

    zoo train cnn
    zoo train --resume runs/cnn

Under torchrun, several processes share the rows of each batch: see `zoo.training.distributed`.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from zoo import datasets, registry
from zoo.bundle.card import CARD
from zoo.bundle.folder import Bundle
from zoo.bundle.run import Plan, plan
from zoo.datasets import Dataset, custom
from zoo.entry import Entry
from zoo.errors import UsageError, first_line
from zoo.files import locked
from zoo.network.pipeline import Pipeline
from zoo.recipe import Recipe
from zoo.spec import TableSpec
from zoo.training import checkpoint, distillation, distributed, finish, initial, process
from zoo.training.checkpoint import Progress, Tensors
from zoo.training.loop import loop
from zoo.training.schedule import stable_rate
from zoo.training.tensorboard import epoch_writer

_LOCK = ".lock"


def train(
    name: str, recipe: Recipe, run: Path, *, device: str = "auto", tensorboard: bool = False
) -> Path:
    """Train a model by a recipe into a run folder, which ends as a bundle.

    Args:
        name: a model of the registry.
        recipe: `registry.get(name).recipe`, or `.replace(...)` of it.
        run: the folder to write; it is created if it is missing.
        device: "auto", "cpu", "cuda" or "mps".
        tensorboard: write scalars into `run/tensorboard` too.

    Returns:
        `run`.

    Raises:
        UsageError: unknown model, or the folder already holds a run.
        DeviceError: the device is not available.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint of this very step is written.
        ZooError: the loss is no longer finite, a worker was lost, TensorBoard is not installed.
    """
    entry = registry.get(name)
    if recipe.data:  # its absolute path, so that the run can be resumed from another folder
        recipe = recipe.replace(data=entry.recipe_on(recipe.data).data)
    saved: Tensors = {}
    with claimed(run):
        if recipe.init not in ("random", "pretrained") and not recipe.init.startswith("hf://"):
            path = initial.source(entry, recipe.init).path
            recipe = recipe.replace(init=str(path.resolve()))
        progress = Progress(model=name, recipe=recipe)
        if distributed.restarted():
            if checkpoint.exists(run):
                progress, saved = checkpoint.load(run, Plan(name, recipe))
        elif distributed.first() and (checkpoint.exists(run) or (run / CARD).exists()):
            raise UsageError(f"{run} already holds a run: resume it, or give another folder")
        return _start(entry, progress, saved, run, device, tensorboard)


def resume(
    run: Path, *, name: str | None = None, data: str = "", device: str = "auto",
    tensorboard: bool = False,
) -> Path:  # fmt: skip
    """Resume a training from its last checkpoint, to the same end as without the stop.

    If the last checkpoint is damaged, the one before it is taken, and stderr says so. `data` is the
    place that the run's own data have moved to.

    Raises:
        UsageError: no checkpoint, or one of another model than `name`.
        ZooError: both checkpoints are damaged. Otherwise as `train`.
    """
    if not run.is_dir():
        checkpoint.load(run, plan(run))  # says what is missing; nothing is made
    with claimed(run):
        progress, saved = checkpoint.load(run, plan(run))
        if name is not None and progress.model != name:
            raise UsageError(
                f"{run} holds a checkpoint of model {progress.model!r}, not of {name!r}"
            )
        entry = registry.get(progress.model)
        if progress.stretches:
            process.keep_threads(progress.stretches[-1].threads)
        if data:
            if not progress.recipe.data:
                raise UsageError(f"--data: {run} trains on {entry.dataset}, which is here")
            place = entry.recipe_on(data).data
            progress.recipe = progress.recipe.replace(data=place)
        return _start(entry, progress, saved, run, device, tensorboard)


def further(
    run: Path, epochs: int, *, name: str | None = None, data: str = ""
) -> tuple[str, Recipe]:
    """Return the model and the recipe of a run that goes on where another one ended.

    Args:
        run: the one that ended; the new one begins with its weights.
        epochs: of both together.
        name: its model, if the user says it.
        data: the place that its own data have moved to.

    Raises:
        UsageError: it has not ended, has as many epochs already, or is of another model.
    """
    if not (run / CARD).exists():
        raise UsageError(f"{run} has not ended: resume it without --epochs")
    bundle = Bundle.open(run.absolute())
    card = bundle.card
    if name not in (None, card.name):
        raise UsageError(f"{run} is a run of model {card.name!r}, not of {name!r}")
    done = 0 if card.training.imported else card.recipe.epochs
    if epochs <= done:
        raise UsageError(f"{run} has {done} epochs, given --epochs {epochs}: expected more")
    print(f"{epochs - done} epochs more, from the weights of {run}", file=sys.stderr)
    recipe = card.recipe.replace(epochs=epochs - done, init=str(bundle.path.resolve()))
    return card.name, recipe.replace(data=data) if data else recipe


def free_folder(path: Path) -> Path:
    """Make the path, or the first of path-2, path-3, ... that does not exist; return it.

    To make a folder is to claim it: of several trainings that start at the same time each has its
    own. Where torchrun has started the workers again: the last one that exists, if unfinished.

    Raises:
        OSError: it cannot be made.
    """
    number, free, last = 1, path, path
    while free.exists() or not _made(free):
        number, last = number + 1, free
        free = path.with_name(f"{path.name}-{number}")
        if distributed.restarted() and not free.exists() and not (last / CARD).exists():
            return last
    return free


def _made(folder: Path) -> bool:
    """Make a folder in the first process; return False if another process was faster."""
    if not distributed.first():
        return True
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold a run's folder for one training; a folder in which nothing was written goes again.

    Raises:
        UsageError: another training is writing to it. OSError: it cannot be made.
    """
    if not distributed.first():
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        with locked(run / _LOCK) as held:
            if not held:
                raise UsageError(f"{run} is in use by another training: give another folder")
            yield
    finally:
        with suppress(OSError):
            run.rmdir()  # only if it is empty
            if run.parent.name == "runs":
                run.parent.rmdir()


def _start(
    entry: Entry, progress: Progress, saved: Tensors, run: Path, device: str, tensorboard: bool
) -> Path:
    recipe = progress.recipe
    if recipe.engine == "numpy":
        if device not in ("auto", "cpu"):
            raise UsageError(f"engine 'numpy' trains on the CPU, given device {device!r}")
        if distributed.launched():
            raise UsageError("engine 'numpy' trains in one process: start it without torchrun")
        device = "cpu"
    # With another teacher, a resumed training would end with other bytes than without the stop.
    teacher = distillation.weights(recipe)
    if progress.teacher not in ("", teacher):
        raise UsageError(
            f"{run}: teacher {recipe.teacher!r} has other weights ({teacher[:12]}...) than when "
            f"the training began ({progress.teacher[:12]}...): start a new run"
        )
    progress.teacher = teacher
    process.keep_freed_memory()
    with distributed.workers(device, run) as workers:
        process.make_deterministic(workers.device)
        folder = run / "tensorboard" if tensorboard and workers.rank == 0 else None
        with epoch_writer(folder, progress) as write_epoch:
            data = load_data(entry, progress, run)
            recipe = progress.recipe
            network = build_network(entry, data, recipe)
            if recipe.init != "random" and not saved:
                initial.load(network, entry, data, recipe.init)
            _check_last_step(entry, data, network, recipe)
            # The zoo's own networks on their own data are known to: it would take seconds.
            if not saved and distributed.first() and (recipe.data or not registry.built_in(entry)):
                finish.check_export(entry, data, network)
            best = loop(run, entry, data, network, progress, saved, workers, write_epoch)
    if distributed.first():
        network.load_state_dict(best)
        training = finish.trained(entry, data, progress, workers)
        finish.finish(run, entry, data, network.eval(), progress, training)
    return run


def load_data(entry: Entry, progress: Progress, run: Path) -> Dataset:
    """Load what the recipe trains on, and check that it is still what the training began with."""
    recipe = progress.recipe
    images = entry.takes_images and not (entry.takes_tables and custom.is_table(recipe))
    data = datasets.chosen(recipe, entry.dataset, entry.task, images=images)
    if progress.data not in ("", data.sha256):
        raise UsageError(
            f"{run}: {data.source} has changed since the training began: start a new run"
        )
    progress.data = data.sha256
    if recipe.lr == 0 and isinstance(data.spec, TableSpec):
        progress.recipe = recipe = recipe.replace(lr=stable_rate(data, entry.task))
    if recipe.sampler == "balanced" and not data.labels:
        raise UsageError("sampler 'balanced' is for classes, this model has none")
    for note in data.notes:
        print(f"{data.name}: {note}", file=sys.stderr)
    return data


def build_network(entry: Entry, data: Dataset, recipe: Recipe) -> nn.Module:
    """Build the network with fresh weights; check that it takes images of the data's size."""
    torch.manual_seed(recipe.seed)
    if not recipe.data or isinstance(data.spec, TableSpec):
        return entry.build(data.spec, len(data.labels))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about a layer without inputs
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


def _check_last_step(entry: Entry, data: Dataset, network: nn.Module, recipe: Recipe) -> None:
    """Raise UsageError if one row remains for a step, and the network's normalization needs two."""
    rows, size = len(data.train.targets), recipe.batch_size
    if (rows % size or size) != 1 and rows != 1:
        return
    trial = Pipeline(copy.deepcopy(network), data.spec, entry.task).train()
    try:
        with torch.no_grad():
            trial(torch.from_numpy(data.train.inputs[:1]))
    except ValueError as error:  # torch's: "Expected more than 1 value per channel"
        better = next(more for more in range(max(size, 2), rows + 2) if rows % more != 1)
        raise UsageError(
            f"batch_size={size}: of {rows:,} rows one remains for the last step of an epoch: try "
            f"batch_size={better} ({first_line(error)})"
        ) from None
