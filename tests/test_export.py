"""Export: the same bytes each time, and never without agreement."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import unversioned

import zoo
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle, weights_dir
from zoo.datasets import mnist
from zoo.errors import VerificationError
from zoo.export.parity import compare
from zoo.network.pipeline import Pipeline, run_torch


@pytest.mark.usefixtures("exports_once")
def test_another_process_exports_the_same_bytes(
    zoo_command: list[str], zoo_cli: Callable[..., Any]
) -> None:
    exports = {name: ("export", *args, "-o", name) for name, args in {
        "fp32": ("rnn",), "int8": ("cnn", "--precision", "int8"),
    }.items()}  # fmt: skip
    Path("other").mkdir()
    options = {
        "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": "other",
        "env": os.environ | {"OMP_NUM_THREADS": "1"},  # three processes on perhaps two cores
    }  # fmt: skip
    others = {name: subprocess.Popen([*zoo_command, *exports[name]], **options) for name in exports}
    for name, process in others.items():
        assert zoo_cli(*exports[name]).exit_code == 0
        stdout, stderr = process.communicate(timeout=300)
        assert (process.returncode, stdout) == (0, f"{name}\n"), stderr
        assert stderr.count("\n") == 1
        assert name != "fp32" or "same top-1 on 10,000 of 10,000" in stderr
        assert Path(name).read_bytes() == Path("other", name).read_bytes()


@pytest.mark.usefixtures("exports_once")
def test_the_default_name_is_the_models(zoo_cli: Callable[..., Any]) -> None:
    assert zoo_cli("export", "linear").stdout == "linear.onnx\n"
    shipped = weights_dir() / "linear" / ONNX
    assert unversioned(Path("linear.onnx").read_bytes()) == unversioned(shipped.read_bytes())


def test_a_graph_that_disagrees_is_refused(digits: mnist.Split) -> None:
    card = zoo.card("cnn")
    graph = Bundle.open("cnn").read(ONNX)
    network = zoo.load("cnn")
    pipeline = Pipeline(network, card.spec, card.task).eval()
    samples = digits.inputs[:2_000]
    parity = compare(graph, run_torch(pipeline, samples), samples)
    assert parity.max_abs_difference <= 1e-4
    with torch.no_grad():
        network.fc.bias[3] += 1e-3
    with pytest.raises(VerificationError, match=r"disagrees with torch"):
        compare(graph, run_torch(pipeline, samples), samples)


@pytest.mark.usefixtures("exports_once")
def test_a_file_that_cannot_be_written_is_said_so(zoo_cli: Callable[..., Any]) -> None:
    result = zoo_cli("export", "linear", "-o", "missing/linear.onnx")
    assert result.exit_code == 1
    assert "missing" in result.stderr
    assert "No such file or directory" in result.stderr
