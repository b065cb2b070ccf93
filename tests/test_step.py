"""`--engine numpy`: training, evaluation and prediction with the layers by hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import labels, rows_of
from test_train import has_steps, step_of, wait_for

import zoo
from zoo import datasets, registry
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.network.pipeline import Normalize, channels_first
from zoo.recipe import Recipe
from zoo.training.step import make_step


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("name", registry.names())
def test_ten_steps_by_hand_are_those_of_torch(name: str, optimizer: str) -> None:
    entry = registry.get(name)
    data = datasets.load(entry.dataset)
    recipe = Recipe(epochs=1, weight_decay=0.02, clip_norm=0.5).replace(optimizer=optimizer)
    if entry.dataset == "mnist" and optimizer == "adamw":
        recipe = recipe.replace(teacher="cnn")
    losses, weights = {}, {}
    for engine in ("torch", "numpy"):
        torch.manual_seed(1)
        network = entry.build(data.spec, len(data.labels))
        take = make_step(network, entry, data.spec, len(data.labels), recipe.replace(engine=engine))
        losses[engine] = []
        for at in range(10):
            x = torch.from_numpy(data.train.inputs[at * 20 : at * 20 + 20])
            if x.ndim == 4:
                x = channels_first(x)
            y = torch.from_numpy(data.train.targets[at * 20 : at * 20 + 20])
            losses[engine].append(float(take(Normalize(data.spec)(x), y, 1e-4 * (at + 1))))
        weights[engine] = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    np.testing.assert_allclose(losses["numpy"], losses["torch"], rtol=1e-3)
    # AdamW takes the sign of gradients near 0, where rounding decides: not each weight is equal.
    # Muon iterates in bfloat16 in torch.
    largest = 2e-5 if optimizer == "muon" else 2e-6
    difference = np.abs(weights["numpy"] - weights["torch"]).mean()
    assert difference < largest


@pytest.fixture(scope="module")
def by_hand(
    tmp_path_factory: pytest.TempPathFactory, zoo_fork: Callable[..., Any], small_mnist: Path
) -> tuple[Path, Path]:
    """The same training by hand, at the same time: to its end, and stopped after an epoch."""
    folder = tmp_path_factory.mktemp("by-hand")
    whole, parts = folder / "whole", folder / "parts"
    words = ("train", "cnn", "--engine", "numpy", "--data", small_mnist, "--epochs", 3)
    words += ("--batch-size", 64, "--set", "ema_decay=0.9", "--out")
    processes = [zoo_fork(*words, run, said=run.with_suffix(".said")) for run in (whole, parts)]
    wait_for(lambda: has_steps(parts))
    os.kill(processes[1].pid, signal.SIGTERM)
    for process, run, code in zip(processes, (whole, parts), (0, 130), strict=True):
        process.join(300)
        assert process.exitcode == code, run.with_suffix(".said").read_text()
    return whole, parts


def test_a_training_by_hand_ends_as_a_bundle(by_hand: tuple[Path, Path]) -> None:
    run = by_hand[0]
    card = Bundle.open(run).card
    assert card.recipe.engine == "numpy"
    assert card.test["accuracy"] > 0.95
    images = datasets.load("mnist").test.inputs[:500]
    numpy, onnx = (zoo.Session(run, engine=engine, device="cpu") for engine in ("numpy", "onnx"))
    ours, theirs = numpy.predict(images), onnx.predict(images)
    assert ours.labels == theirs.labels
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


def test_a_training_by_hand_that_was_stopped_ends_with_the_same_bytes(
    by_hand: tuple[Path, Path], zoo_cli: Callable[..., Any]
) -> None:
    whole, parts = by_hand
    assert 0 < step_of(parts) < step_of(whole)
    done = zoo_cli("train", "--resume", parts)
    assert done.exit_code == 0, done.stderr
    assert (whole / WEIGHTS).read_bytes() == (parts / WEIGHTS).read_bytes()


def test_evaluate_and_predict_by_hand(zoo_cli: Callable[..., object], digit_folder: Path) -> None:
    done = zoo_cli("evaluate", "logistic", "--engine", "numpy")
    assert done.exit_code == 0
    assert "logistic (numpy, cpu) on 113 test rows: accuracy 0.9912" in done.stdout
    both = [
        labels(rows_of(zoo_cli("predict", "resnet", digit_folder, "--json", "--engine", engine)))
        for engine in ("onnx", "numpy")
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 30


def test_by_hand_is_on_the_cpu(tmp_path: Path, zoo_cli: Callable[..., object]) -> None:
    with pytest.raises(UsageError, match="engine 'numpy' runs on the CPU, given device 'cuda'"):
        zoo.Session("cnn", engine="numpy", device="cuda")
    with pytest.raises(UsageError, match=r"unknown engine 'nump'\. Did you mean 'numpy'"):
        zoo.Session("cnn", engine="nump")
    done = zoo_cli(
        "train", "cnn", "--engine", "numpy", "--device", "cuda", "--out", tmp_path / "run"
    )
    assert done.exit_code == 2
    assert "engine 'numpy' trains on the CPU" in done.stderr
