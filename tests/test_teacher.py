"""Distillation and bf16 steps, through `zoo train`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import zoo
from zoo import datasets, registry
from zoo.bundle.card import CARD, WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.recipe import Recipe
from zoo.training import checkpoint
from zoo.training.step import make_step

QUICK = ("--epochs", "1", "--batch-size", "500", "--set", "ema_decay=0")
PLAIN = [f"--set={name}=0" for name in ("rotate", "translate", "scale", "shear", "elastic")]


def test_the_loss_is_a_mix_of_labels_and_teacher() -> None:
    data = datasets.load("mnist")
    x, y = torch.randn(8, 1, 28, 28), torch.arange(8)
    recipe = Recipe(epochs=1, teacher="cnn", temperature=3.0, alpha=0.25)
    network = registry.get("softmax").build(data.spec, 10)
    with torch.no_grad():
        ours, known = network(x), zoo.load("cnn")(x)
        q, p = (F.softmax(logits / 3, dim=1) for logits in (known, ours))
        divergence = (q * (q.log() - p.log())).sum() / 8
        expected = 0.25 * 9 * divergence + 0.75 * F.cross_entropy(ours, y)
    take = make_step(network, registry.get("softmax"), data.spec, 10, recipe)
    torch.testing.assert_close(take(x, y, 1e-3), expected)


def test_the_card_names_the_teachers_weights(tmp_path: Path, zoo_cli: Callable[..., Any]) -> None:
    run = tmp_path / "softmax"
    done = zoo_cli(
        "train", "softmax", *QUICK, *PLAIN, "--set", "teacher=cnn", "--set", "precision=bf16",
        "--out", run,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    card = zoo.card(run)
    assert card.training.teacher == zoo.card("cnn").files[WEIGHTS]
    assert "--set teacher=cnn" in card.training.command
    assert "--set precision=bf16" in card.training.command
    assert card.test["accuracy"] > 0.9
    assert zoo.load(run)(torch.zeros(1, 1, 28, 28)).dtype == torch.float32


def test_a_resumed_training_has_the_teacher_it_began_with(
    tmp_path: Path, zoo_cli: Callable[..., Any]
) -> None:
    own = tmp_path / "teacher"
    shutil.copytree(Bundle.open("softmax").path, own)  # quicker than the other classifiers
    run, options = tmp_path / "run", ("--set", f"teacher={own}", "--batch-size", "5500")
    done = zoo_cli("train", "softmax", *QUICK, *options, *PLAIN, "--out", run)
    assert done.exit_code == 0, done.stderr
    assert checkpoint.load(run)[0].teacher == zoo.card("softmax").files[WEIGHTS]
    for name in (WEIGHTS, CARD):
        shutil.copyfile(Bundle.open("resnet").path / name, own / name)
    done = zoo_cli("train", "--resume", run)
    assert done.exit_code == 2
    assert "start a new run" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("softmax", "--set", "teacher=resnets"), "Did you mean 'resnet'"),
        (("softmax", "--set", "teacher=logistic"), "teacher 'logistic' has 2 classes"),
        (("linear", "--set", "teacher=cnn"), "teacher 'cnn' has 10 classes of mnist"),
        (("softmax", "--set", "temperature=0"), "temperature"),
        (("softmax", "--engine", "numpy", "--set", "precision=bf16"), "computes in fp32"),
    ],
)
def test_a_wrong_teacher_is_one_clear_line(
    args: tuple[str, ...], words: str, tmp_path: Path, zoo_cli: Callable[..., Any]
) -> None:
    done = zoo_cli("train", *args, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.strip().count("\n") <= 1  # the line that names the training may stand first
