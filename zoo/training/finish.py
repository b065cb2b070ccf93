"""The end of a training: best weights, test figures, pictures, ONNX file and card."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from zoo import hardware, plots
from zoo.bundle.card import FORMAT, ONNX, WEIGHTS, Card, DatasetInfo, Training
from zoo.bundle.folder import Bundle
from zoo.datasets import Dataset
from zoo.entry import Entry
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
    workers: Workers,
) -> Card:
    """Turn a run whose training is over into a bundle; `network` holds the weights to keep.

    Raises:
        VerificationError: the exported graph does not agree with the network.
        OSError: the folder cannot be written.
    """
    device = workers.device
    # On the CPU, whatever trained: what the card says and what the ONNX file is held to is one run.
    pipeline = Pipeline(network, data.spec, entry.task).cpu().eval()
    logits = run_torch(pipeline, data.test.inputs)
    weights = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    )
    write_atomic(run / WEIGHTS, weights)
    graph, parity = export(
        pipeline,
        data.spec,
        contract(entry.name, entry.task, data.labels, sha256(run / WEIGHTS)),
        data.test.inputs,
        logits,
    )
    write_atomic(run / ONNX, graph)
    own = progress.recipe.data != ""
    seconds = sum(log.seconds for log in progress.history)
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
        test=metrics.measure(entry.task, logits, data.test.targets),
        validation=progress.best or {},
        confusion=metrics.confusion(entry.task, logits, data.test.targets),
        parity=parity,
        dataset=DatasetInfo(
            name=data.name,
            source=data.source,
            license=data.license,
            sha256=data.sha256,
            train=len(data.train.targets),
            validation=len(data.validation.targets),
            test=len(data.test.targets),
            counts=tuple(np.bincount(data.train.targets, minlength=len(data.labels)).tolist())
            if own and data.labels
            else (),
        ),
        recipe=progress.recipe,
        training=Training(
            command=workers.command + command(entry, progress.recipe),
            seconds=round(seconds, 2),
            epoch=progress.best_epoch,
            images_per_second=round(len(data.train.targets) * len(progress.history) / seconds, 1),
            device=device.type,
            hardware=torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else hardware.processor(),
            threads=torch.get_num_threads(),
            versions=hardware.versions(*PACKAGES),
            teacher=progress.teacher,
        ),
        files={name: sha256(run / name) for name in (WEIGHTS, ONNX)},
        license="unknown" if own else "Apache-2.0",
        limits=_LIMITS.format(data.name) if own else entry.limits,
    )
    plots.curves(progress.history, progress.best_epoch, run / CURVES, entry.name)
    if card.labels:
        plots.confusion(card.confusion, card.labels, run / CONFUSION, f"{card.name} {card.score}")
    else:
        plots.predictions(logits[:, 0], data.test.targets, run / CONFUSION, card.name)
    Bundle.write(run, card)
    print(f"{entry.name}: test {card.score}, bundle in {run}", file=sys.stderr)
    return card


def command(entry: Entry, recipe: Recipe) -> str:
    """Return the command that runs this very recipe."""
    text = f"zoo train {entry.name}"
    if recipe.data:
        text += f" --data {shlex.quote(recipe.data)}"
    start = entry.recipe_on(recipe.data)
    for field in Recipe.__struct_fields__:
        if (value := getattr(recipe, field)) != getattr(start, field):
            text += f" --set {shlex.quote(f'{field}={value}')}"
    return text
