"""`zoo tune` and the engine "auto": the fastest on this machine, never a less accurate one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo.datasets import mnist
from zoo.runtime.choices import Result, Tuning

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, zoo_command: list[str]) -> Path:
    """A cache in which two models are tuned."""
    cache = tmp_path_factory.mktemp("cache")
    words = [*zoo_command, "tune", "softmax", "linear", "--seconds", "0.005"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split()[:5] == ["model", "engine", "file", "threads", "test"]
    for model, score in (("softmax", "0.9935"), ("linear", "0.4579")):
        ways = [row.split() for row in rows if row.startswith(f"{model} ")]
        assert {way[4] for way in ways if way[1] == "onnx" and way[2] == "model.onnx"} == {score}
        assert sum(row.count("*") for row in rows if row.startswith(f"{model} ")) == 2
    return cache


def test_auto_answers_as_the_card_says(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, digits: mnist.Split
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tuned))
    session = zoo.Session("softmax", engine="auto", device="cpu")
    assert session.device == "cpu"
    right = session.predict(digits.inputs).indices == digits.targets  # 10,000: large batches
    assert np.mean(right) >= zoo.card("softmax").test["accuracy"] - 0.001
    parts = [session.predict(digits.inputs[n : n + 4]).indices for n in range(0, 40, 4)]
    few = np.concatenate(parts)
    np.testing.assert_array_equal(few == digits.targets[:40], right[:40])


def test_without_a_tuning_auto_is_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: mnist.Split
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    auto, plain = (zoo.Session("cnn", engine=name, device="cpu") for name in ("auto", "onnx"))
    answers = (session.run(digits.inputs[:300]) for session in (auto, plain))
    for found, expected in zip(*answers, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_damaged_cache_is_no_tuning(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (folder := tmp_path / "torch-tutorial-zoo" / "tuning").mkdir(parents=True)
    for path in (tuned / "torch-tutorial-zoo" / "tuning").iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:50])
    assert zoo.Session("softmax", engine="auto", device="cpu").device == "cpu"


def test_commands_take_the_tuned_engine(tuned: Path, zoo_process: Cli, digit_folder: Path) -> None:
    for command in (
        ("predict", "softmax", digit_folder, "--json"),
        ("benchmark", "softmax", "--seconds", 0.01, "--batch", 1, "--json"),
    ):
        done = zoo_process(*command, XDG_CACHE_HOME=str(tuned))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_accuracy_goes_before_speed() -> None:
    plain = Result("onnx", "model.onnx", 2, 0.9935, (100.0, 1000.0))
    one = Result("onnx", "model.onnx", 1, 0.9935, (150.0, 600.0))
    int8 = Result("onnx", "model-int8.onnx", 2, 0.9930, (90.0, 3000.0))
    rough = Result("openvino", "model.onnx", 2, 0.9900, (900.0, 9000.0))
    noise = Result("openvino", "model.onnx", 1, 0.9935, (101.0, 1010.0))
    tuning = Tuning("softmax", "", {}, (plain, one, int8, rough, noise))
    assert tuning.choose(1) == one
    assert tuning.choose(256) == int8
    assert tuning.choose(256, threads=1) == noise
    assert Tuning("softmax", "", {}, (plain, rough)).choose(1) == plain
    assert Tuning("softmax", "", {}, (plain, noise)).choose(1) == plain
    few = Result("onnx", "model.onnx", 1, 0.9935, (98.0, 990.0))
    assert Tuning("softmax", "", {}, (plain, few, noise)).choose(256) == few
