"""`--engine numpy`: training, evaluation and prediction with the layers by hand."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import labels, rows_of
from test_train import start, step_of, wait_for

import zoo
from zoo import datasets, registry
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.network.pipeline import Normalize, channels_first
from zoo.recipe import Recipe
from zoo.training.step import make_step

Process = Callable[..., "subprocess.CompletedProcess[str]"]


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


def test_a_training_by_hand_ends_as_a_bundle(tmp_path: Path, zoo_process: Process) -> None:
    run = tmp_path / "softmax"
    done = zoo_process(
        "train", "softmax", "--engine", "numpy", "--epochs", 1, "--set", "teacher=", "--out", run
    )
    assert done.returncode == 0, done.stderr
    card = Bundle.open(run).card
    assert card.recipe.engine == "numpy"
    assert card.test["accuracy"] > 0.95
    images = datasets.load("mnist").test.inputs[:500]
    by_hand = zoo.Session(run, engine="numpy").predict(images)
    by_onnx = zoo.Session(run, device="cpu").predict(images)
    assert by_hand.labels == by_onnx.labels
    np.testing.assert_allclose(by_hand.probabilities, by_onnx.probabilities, atol=1e-4)


def test_a_training_by_hand_that_was_stopped_ends_with_the_same_bytes(
    tmp_path: Path, zoo_command: list[str], zoo_process: Process
) -> None:
    options = (
        "--engine",
        "numpy",
        "--epochs",
        1,
        "--set",
        "optimizer=sgd",
        "--lr",
        "0.05",
        "--set",
        "teacher=",
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert zoo_process("train", "softmax", *options, "--out", whole).returncode == 0
    process = start(zoo_command, "train", "softmax", *options, "--out", parts)
    wait_for(lambda: step_of(parts) >= 0)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert step_of(parts) > 0
    done = zoo_process("train", "--resume", parts)
    assert done.returncode == 0, done.stderr
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
