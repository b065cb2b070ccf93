"""A finished training is never lost, and a wrong model never taken."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import measured
from PIL import Image

import zoo
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError, VerificationError
from zoo.export import parity

Cli = Callable[..., Any]

LARGE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return {body}
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's models; the current folder is another one."""
    folder, here = tmp_path / "models", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.setenv("ZOO_MODELS", str(folder))
    monkeypatch.chdir(here)
    return folder


def test_large_logits_are_judged_by_their_size() -> None:
    rng = np.random.default_rng(0)
    large = rng.normal(0, 100, (50, 10)).astype(np.float32)
    noisy = large + rng.normal(0, 1e-4, large.shape).astype(np.float32)
    found = parity.difference(large, noisy)
    assert found.max_abs_difference > parity.ATOL
    assert parity.check_fp32(large, noisy, found) == pytest.approx(2e-6 * np.abs(large).max())
    small, off = large / 100, large / 100 + 2e-4
    with pytest.raises(VerificationError, match=r"allowed 1\.0e-04"):
        parity.check_fp32(small, off, parity.difference(small, off))
    parity.check_fp32(small, off, parity.difference(small, off), own_error=1e-4)
    tied = np.zeros((50, 10), np.float32)
    tied[:, 3], tied[:, 5] = 1.0, 1.0 - 8e-5
    other = tied.copy()
    other[0, 3] -= 9e-5  # within 1e-4, and no rounding
    with pytest.raises(VerificationError, match="same top-1 on 49 of 50"):
        parity.check_fp32(tied, other, parity.difference(tied, other))
    parity.check_fp32(tied, other, parity.difference(tied, other), own_error=1e-5)


def test_a_model_with_large_logits_ends_as_a_bundle(models: Path, zoo_cli: Cli) -> None:
    (models / "loud.py").write_text(LARGE.format(body="3000 * self.fc(x.flatten(1))"))
    done = zoo_cli("train", "loud", "--epochs", 1, "--set", "lr=1e-6", "--out", "run")
    assert done.exit_code == 0, done.stderr
    card = Bundle.open("run").card
    assert card.parity.max_abs_difference > parity.ATOL
    assert zoo.Session("run", device="cpu").predict(np.zeros((1, 28, 28, 1), np.uint8)).labels


def test_what_cannot_be_exported_is_said_before_the_first_epoch(models: Path, zoo_cli: Cli) -> None:
    body = "self.fc(x.flatten(1)) if x.sum() > 0 else self.fc(-x.flatten(1))"
    (models / "odd.py").write_text(LARGE.format(body=body))
    done = zoo_cli("train", "odd", "--epochs", 1, "--out", "run")
    assert done.exit_code == 5, done.stderr
    assert "cannot be exported to ONNX, so nothing was trained" in done.stderr
    assert not Path("run").exists()


def test_a_refused_file_leaves_the_trained_weights(
    zoo_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parity, "ATOL", -1.0)
    monkeypatch.setattr(parity, "RTOL", -1.0)
    monkeypatch.setattr(parity, "OWN", -1.0)
    done = zoo_cli("train", "logistic", "--epochs", 3, "--out", "run")
    assert done.exit_code == 5
    assert "weights, card and log are kept in run" in done.stderr
    assert "zoo export run" in done.stderr
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert zoo_cli("evaluate", "run", "--engine", "torch").exit_code == 0
    assert "refused" in zoo_cli("info", "run").stdout + zoo_cli("info", "run").stderr
    assert "tries it again" in zoo_cli("predict", "run", "x.csv").stderr
    exported = zoo_cli("export", "run", "-o", "again.onnx")
    assert exported.exit_code == 0, exported.stderr
    assert Path("again.onnx").stat().st_size > 500


@pytest.mark.slow
def test_the_check_of_large_photos_needs_little_memory(
    tmp_path: Path, zoo_command: list[str]
) -> None:
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder := tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (224, 224, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
    words = ["train", "cnn", "--data", "photos", "--size", "224", "--epochs", "1", "--out", "run"]
    done, peak = measured([*zoo_command, *words])
    assert done.returncode == 0, done.stderr
    assert peak < 2500 * 2**20


def test_trainings_at_the_same_time_have_folders_of_their_own(
    tmp_path: Path, zoo_command: list[str]
) -> None:
    words = [*zoo_command, "train", "logistic", "--epochs", "3"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = sorted(process.communicate()[0].strip() for process in running)
    assert printed == ["runs/logistic", "runs/logistic-2", "runs/logistic-3"]
    for name in printed:
        Bundle.open(tmp_path / name).check()
        assert not list((tmp_path / name).glob(".*"))


def test_a_folder_in_use_is_refused(zoo_cli: Cli, tmp_path: Path) -> None:
    from zoo.files import locked

    (run := tmp_path / "run").mkdir()
    with locked(run / ".lock"):
        for words in (("logistic", "--out", run), ("--resume", run)):
            done = zoo_cli("train", *words)
            assert done.exit_code == 2
            assert "is in use by another training" in done.stderr
    assert zoo_cli("train", "logistic", "--epochs", 1, "--out", run).exit_code == 0


def test_a_path_is_never_a_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo_process: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Bundle.open("logistic").path, "cnn")  # the user's own, of that name
    for name in ("./cnn", "cnn/", f"../{tmp_path.name}/cnn", str(tmp_path / "cnn")):
        assert Bundle.open(name).card.name == "logistic", name
        assert zoo.card(name).name == "logistic"
    for missing in ("./resnet", "resnet/", "../resnet"):
        with pytest.raises(UsageError, match="is not a bundle: expected a folder"):
            Bundle.open(missing)
    os.chdir("cnn")
    assert Bundle.open(".").card.name == "logistic"
    os.chdir("..")
    done = zoo_process("info", "cnn")
    assert done.stdout.splitlines()[0].split()[1] == "cnn:"
    assert done.stderr == "cnn: the shipped model; ./cnn names the bundle in this folder\n"
    assert zoo_process("info", "resnet").stderr == ""
    assert Bundle.open("teachers/resnet").card.name == "resnet"


def test_data_that_moved_are_found_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo_cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (60, 3))
    lines = [f"{a},{b},{c},{'yes' if a > 0 else 'no'}" for a, b, c in table]
    Path("first").mkdir()
    Path("second").mkdir()
    Path("first/t.csv").write_text("\n".join(["a,b,c,answer", *lines]) + "\n")
    words = ("logistic", "--data", "first/t.csv", "--target", "answer", "--epochs", 3)
    assert zoo_cli("train", *words, "--out", "run").exit_code == 0
    score = Bundle.open("run").card.test["accuracy"]
    Path("first/t.csv").rename("second/t.csv")
    new = ("--data", "second/t.csv")
    for words in (("verify", "run"), ("export", "run", "-o", "a.onnx"), ("evaluate", "run")):
        done = zoo_cli(*words, *new)
        assert done.exit_code == 0, (words, done.stderr)
    assert f"accuracy {score:.4f}" in zoo_cli("evaluate", "run", *new).stdout
    done = zoo_cli("reproduce", "run", *new)
    assert done.exit_code == 0, done.stderr
    assert "the same bytes" in done.stdout
    done = zoo_cli("export", "run", "-o", "b.onnx")
    assert done.exit_code == 0, done.stderr
    assert "proven on generated inputs, the data are not at hand: " in done.stderr
    assert "of 1,000 generated inputs" in done.stderr
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    refused = zoo_cli("export", "run", "--precision", "int8")
    assert refused.exit_code == 1
    Path("other.csv").write_text("\n".join(["a,b,c,answer", *reversed(lines)]) + "\n")
    for words in (("verify", "run"), ("export", "run"), ("reproduce", "run")):
        done = zoo_cli(*words, "--data", "other.csv")
        assert done.exit_code == 5, (words, done.stderr)
        assert "trained on other data" in done.stdout + done.stderr
    assert "was trained on mnist, which is here" in zoo_cli("export", "cnn", *new).stderr
    assert "the data of one bundle" in zoo_cli("verify", *new).stderr


def test_a_training_is_resumed_where_its_data_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo_cli: Cli
) -> None:
    from zoo.training import process

    monkeypatch.chdir(tmp_path)
    rows = [f"{n},{n % 7},{'a' if n % 3 else 'b'}" for n in range(60)]
    Path("t.csv").write_text("\n".join(["x,y,answer", *rows]) + "\n")
    words = ("train", "logistic", "--data", "t.csv", "--target", "answer", "--epochs", 4)
    assert zoo_cli(*words, "--out", "whole").exit_code == 0
    monkeypatch.setattr(process, "stop_signals", lambda: contextlib.nullcontext(lambda: True))
    assert zoo_cli(*words, "--out", "run").exit_code == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    Path("t.csv").rename("moved.csv")
    assert zoo_cli("train", "--resume", "run").exit_code == 1
    done = zoo_cli("train", "--resume", "run", "--data", "moved.csv")
    assert done.exit_code == 0, done.stderr
    weights = [Path(run, "model.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]
    assert Bundle.open("run").card.recipe.data == str(tmp_path / "moved.csv")
