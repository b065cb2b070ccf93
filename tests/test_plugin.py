"""A model in somebody else's package: built, installed, listed, trained, used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from test_registry import NEW_MODEL

from zoo import Session
from zoo.bundle.folder import Bundle

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "zoo-tiny"
version = "1.0"
dependencies = ["torch-tutorial-zoo"]

[project.entry-points."zoo.models"]
tiny = "zoo_tiny:ENTRY"
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The folder that a plug-in's wheel was installed into."""
    source, dist, site = tmp_path / "source", tmp_path / "dist", tmp_path / "site"
    (source / "zoo_tiny").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "zoo_tiny" / "__init__.py").write_text(NEW_MODEL)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = dist.glob("zoo_tiny-1.0-*.whl")
    uv = ROOT / ".uv" / "bin" / "uv"
    pip = [str(uv) if uv.exists() else shutil.which("uv"), "pip"]
    pip = pip if pip[0] else [sys.executable, "-m", "pip"]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    return site


def test_an_installed_package_brings_a_model(
    installed: Path, zoo_process: Callable[..., Any], zoo_cli: Callable[..., Any]
) -> None:
    assert "tiny" not in zoo_cli("list").stdout
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    with ThreadPoolExecutor() as pool:
        train = ("train", "tiny", "--epochs", 1, "--out", "run")
        training = pool.submit(zoo_process, *train, PYTHONPATH=path)
        listed = zoo_process("list", PYTHONPATH=path)
        assert "tiny" in listed.stdout, listed.stderr
        trained = training.result()
    assert (trained.returncode, trained.stdout) == (0, "run\n"), trained.stderr
    card = Bundle.open(Path("run")).card
    assert (card.name, card.parameters) == ("tiny", 25_450)
    assert card.test["accuracy"] > 0.9

    # What serves needs the bundle alone, not the package.
    images = np.zeros((2, 28, 28, 1), np.uint8)
    assert Session("run", device="cpu").predict(images).probabilities.shape == (2, 10)
    predicted = zoo_process("evaluate", "run", "--engine", "torch", PYTHONPATH=path)
    assert predicted.returncode == 0, predicted.stderr
    assert f"accuracy {card.test['accuracy']:.4f}" in predicted.stdout
    without = zoo_cli("evaluate", "run", "--engine", "torch")
    assert without.exit_code == 2
    assert "unknown model 'tiny'" in without.stderr
