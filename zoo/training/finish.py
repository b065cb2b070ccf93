"""The end of a training: best weights, test figures, pictures, ONNX file and card."""

from __future__ import annotations

import copy
import shlex
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from zoo import hardware, plots
from zoo.bundle.card import FORMAT, ONNX, WEIGHTS, Card, DatasetInfo, Parity, Training
from zoo.bundle.folder import Bundle
from zoo.datasets import Dataset
from zoo.entry import Entry
from zoo.errors import VerificationError, ZooError, last_line
from zoo.evaluation import metrics
from zoo.export.graph import contract, export
from zoo.files import sha256, write_atomic
from zoo.network.pipeline import Pipeline, run_torch
from zoo.recipe import Recipe
from zoo.spec import outputs
from zoo.training.checkpoint import Progress
from zoo.training.distributed import Workers

CURVES, CONFUSION = "curves.png", "confusion.png"
_LIMITS = "Trained on {} alone; anything else gets an answer too."
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy")


def finish(
    run: Path,
    entry: Entry,
    data: Dataset,
    network: nn.Module,
    progress: Progress,
    training: Training,
) -> Card:
    """Turn a run whose training is over into a bundle.

    Args:
        run: its folder.
        entry: the model.
        data: what it was trained on; its test set is used here for the first time.
        network: has the weights to keep, in eval mode.
        progress: where the training ended.
        training: `trained(...)`, or that of imported weights.

    Raises:
        VerificationError: the network cannot be exported, or the graph does not agree with it;
            everything but the ONNX file is written.
        OSError: the folder cannot be written.
    """
    # Once, and on the CPU whatever trained it: the card's figures and what the ONNX file has to
    # agree with are the same outputs.
    pipeline = Pipeline(network, data.spec, entry.task).cpu().eval()
    predictions = run_torch(pipeline, data.test.inputs)
    weights = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    )
    write_atomic(run / WEIGHTS, weights)
    meta = contract(entry.name, entry.task, data.labels, sha256(run / WEIGHTS))
    parity, refused, files = Parity(0.0, 0, 0), "", [WEIGHTS]
    try:
        graph, parity = export(pipeline, data.spec, meta, data.test.inputs, predictions)
    except Exception as error:  # the exporter's own, too: a finished training is never lost
        refused = last_line(error) if not isinstance(error, ZooError) else str(error)
    else:
        write_atomic(run / ONNX, graph)
        files.append(ONNX)
    own_data = progress.recipe.data != ""
    card = Card(
        format=FORMAT,
        name=entry.name,
        title=entry.title,
        lesson=entry.lesson,
        task=entry.task,
        labels=data.labels,
        spec=data.spec,
        inputs=(data.spec.tensor,),
        outputs=outputs(entry.task, len(data.labels)),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        test=metrics.measure(entry.task, predictions, data.test.targets),
        validation=progress.best or {},
        confusion=metrics.confusion(entry.task, predictions, data.test.targets),
        parity=parity,
        dataset=_dataset(data, own_data),
        recipe=progress.recipe,
        training=training,
        files={name: sha256(run / name) for name in files},
        license="unknown" if own_data else "Apache-2.0",
        limits=_LIMITS.format(data.name) if own_data else entry.limits,
    )
    if progress.history:
        plots.curves(progress.history, progress.best_epoch, run / CURVES, entry.name)
    if card.labels:
        plots.confusion(card.confusion, card.labels, run / CONFUSION, f"{card.name} {card.score}")
    else:
        plots.predictions(predictions[:, 0], data.test.targets, run / CONFUSION, card.name)
    Bundle.write(run, card)
    if refused:
        raise VerificationError(
            f"{entry.name}: test {card.score}; weights, card and log are kept in {run}, without an "
            f"ONNX file: {refused}. To try it again: zoo export {shlex.quote(str(run))}"
        )
    print(f"{entry.name}: test {card.score}, bundle in {run}", file=sys.stderr)
    return card


def check_export(entry: Entry, data: Dataset, network: nn.Module) -> None:
    """Export a network before it is trained, and compare a few rows: it has to end as a bundle.

    Raises:
        VerificationError: torch's exporter cannot export it, or the graph does not agree with it.
    """
    pipeline = Pipeline(copy.deepcopy(network).cpu(), data.spec, entry.task).eval()
    samples = data.validation.inputs[:7]
    meta = contract(entry.name, entry.task, data.labels, "")
    try:
        export(pipeline, data.spec, meta, samples, run_torch(pipeline, samples))
    except Exception as error:  # the exporter's own
        reason = str(error) if isinstance(error, ZooError) else last_line(error)
        raise VerificationError(
            f"model {entry.name!r} cannot be exported to ONNX, so nothing was trained: {reason}"
        ) from None


def _dataset(data: Dataset, own_data: bool) -> DatasetInfo:
    counts: tuple[int, ...] = ()
    if own_data and data.labels:
        counts = tuple(np.bincount(data.train.targets, minlength=len(data.labels)).tolist())
    return DatasetInfo(
        name=data.name,
        source=data.source,
        license=data.license,
        sha256=data.sha256,
        train=len(data.train.targets),
        validation=len(data.validation.targets),
        test=len(data.test.targets),
        counts=counts,
    )


def trained(entry: Entry, data: Dataset, progress: Progress, workers: Workers) -> Training:
    """Return the card's record of a training that is over."""
    device, seconds = workers.device, sum(epoch.seconds for epoch in progress.history)
    cuda = device.type == "cuda"
    # One that began after the last step, to make the bundle again, has trained nothing.
    stretches = tuple(part for part in progress.stretches if part.step < progress.step)
    return Training(
        command=workers.command + command(entry, progress.recipe),
        seconds=round(seconds, 2),
        epoch=progress.best_epoch,
        images_per_second=round(len(data.train.targets) * len(progress.history) / seconds, 1),
        device=device.type,
        hardware=torch.cuda.get_device_name(device) if cuda else hardware.processor(),
        threads=stretches[-1].threads if stretches else torch.get_num_threads(),
        versions=hardware.versions(*PACKAGES),
        teacher=progress.teacher,
        stretches=stretches if len(stretches) > 1 else (),
    )


def command(entry: Entry, recipe: Recipe) -> str:
    """Return the command that trains by this recipe."""
    text = f"zoo train {entry.name}"
    if recipe.data:
        text += f" --data {shlex.quote(recipe.data)}"
    default = entry.recipe_on(recipe.data, target=recipe.target)
    for field in Recipe.__struct_fields__:
        if (value := getattr(recipe, field)) != getattr(default, field):
            text += f" --set {shlex.quote(f'{field}={value}')}"
    return text
