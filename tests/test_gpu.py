"""The GPU's benchmark runs its code paths on the CPU, so that a GPU's minutes are not for bugs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PARTS = ("doctor", "parity", "inference", "bounds", "serve", "training")


@pytest.mark.slow
def test_every_part_runs_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    words = ["--quick", "--device", "cpu", "--out", str(out), "--only", *PARTS]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    for part in PARTS:
        assert "error" not in result[part], result[part]
    for way, figures in result["inference"]["cnn"].items():
        assert "error" not in figures, (way, figures)
    assert result["parity"]["cnn"]["fp16"]["same_top1"] >= 499
    assert result["serve"]["16"]["requests_per_second"] > 0
    assert "| zoo serve | 16 connections |" in done.stdout


def test_one_part_that_fails_loses_nothing(tmp_path: Path) -> None:
    """Without a GPU every part fails, says why, and the findings of doctor are there."""
    from zoo.runtime.providers import cuda_missing

    if cuda_missing() is None:
        pytest.skip("there is a GPU here")
    out = tmp_path / "gpu.json"
    words = ["--quick", "--out", str(out), "--only", "bounds", "serve"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    result = json.loads(out.read_text())
    assert "is not available" in result["serve"]["error"]
    assert result["bounds"]["error"]
