"""Weights that were trained elsewhere, as a bundle.

    zoo import my_cnn.pth --model cnn
    zoo import net.safetensors --model softmax --data wine.csv --target class

The file is what `torch.save(model.state_dict(), "my_cnn.pth")` wrote, or safetensors.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import torch

from zoo import hardware, registry
from zoo.bundle.card import CARD, Training
from zoo.errors import DataError, UsageError, listed
from zoo.evaluation import metrics
from zoo.files import sha256
from zoo.network.pipeline import Pipeline, run_torch
from zoo.network.state import load_state, read_state
from zoo.recipe import Recipe
from zoo.training import checkpoint, finish
from zoo.training.checkpoint import Progress
from zoo.training.start import build_network, claimed, free_folder, load_data


def import_weights(weights: Path, name: str, recipe: Recipe, run: Path | None = None) -> Path:
    """Turn a state dict of a model's network into a bundle: measured, exported, proven.

    Where only the names of the tensors differ, they are taken in the order of the layers, and
    stderr says which.

    Args:
        weights: what `torch.save(network.state_dict(), path)` or safetensors wrote; no code in it
            is run. The network took its input normalized as the zoo does: pixels of 0 to 1, less
            the mean of the training images, over their standard deviation.
        name: a model of the registry.
        recipe: names the data that the weights are for, and measured on.
        run: the folder to write; by default runs/NAME, or the next free number.

    Returns:
        The folder.

    Raises:
        UsageError: unknown model, or the folder already holds a run.
        DataError: no state dict, one that does not fit the network, or NaN or infinity in it.
        VerificationError: the network cannot be exported.
    """
    entry = registry.get(name)
    state = read_state(weights)  # before the folder is made
    if strange := [name for name, value in state.items() if not value.isfinite().all()]:
        raise DataError(f"{weights}: NaN or infinity in {listed(strange)}")
    run = run or free_folder(Path("runs") / name)
    with claimed(run):
        if checkpoint.exists(run) or (run / CARD).exists():
            raise UsageError(f"{run} already holds a run: give another folder")
        progress = Progress(model=name, recipe=recipe)
        data = load_data(entry, progress, run)
        network = build_network(entry, data, progress.recipe).eval()
        if renamed := load_state(network, state, str(weights)):
            print(f"{weights}: taken by their order: {', '.join(renamed)}", file=sys.stderr)
        outputs = run_torch(Pipeline(network, data.spec, entry.task).eval(), data.validation.inputs)
        progress.best = metrics.measure(entry.task, outputs, data.validation.targets)
        training = Training(
            command=_command(weights, name, recipe),
            seconds=0.0, epoch=0, images_per_second=0.0, device="cpu",
            hardware=hardware.processor(), threads=torch.get_num_threads(),
            versions=hardware.versions(*finish.PACKAGES), imported=sha256(weights),
        )  # fmt: skip
        finish.finish(run, entry, data, network, progress, training)
    return run


def _command(weights: Path, name: str, recipe: Recipe) -> str:
    text = f"zoo import {shlex.quote(weights.name)} --model {name}"
    for option in ("data", "target", "drop", "size"):
        if value := getattr(recipe, option):
            text += f" --{option} {shlex.quote(str(value))}"
    return text
