"""The exported files in other runtimes, as the guide's table says; `make test-all` runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT

PUBLISHED = ROOT / "benchmarks" / "results" / "runtimes.json"


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `benchmarks/runtimes.py` finds now; environments that are missing are made."""
    written = tmp_path_factory.mktemp("runtimes") / "runtimes.json"
    script = ROOT / "benchmarks" / "runtimes.py"
    words = [sys.executable, script, "--folder", ROOT / ".runtimes", "--to", written]
    subprocess.run(words, check=True, timeout=3000)
    found: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))["runtimes"]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".uv").exists(), reason="make demo brings uv, which it needs")
@pytest.mark.parametrize("runtime", json.loads(PUBLISHED.read_text(encoding="utf-8"))["runtimes"])
def test_a_runtime_runs_what_the_guide_says(runtime: str, matrix: dict[str, Any]) -> None:
    if runtime.startswith("onnxruntime-") and not shutil.which("npm"):
        pytest.skip("no npm")
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))["runtimes"][runtime]
    for form, models in published.items():
        for model, before in models.items():
            now = matrix[runtime][form][model]
            if isinstance(before, str):
                assert now == before or isinstance(now, float), (form, model)
            else:  # rounding differs by processor
                assert isinstance(now, float), (form, model, now)
                assert now <= max(4 * before, 1e-4), (form, model)
