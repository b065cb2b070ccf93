"""What the side-by-side benchmarks share: medians, the peers' environments, the result file."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from zoo import Session

HERE = Path(__file__).parent
ROOT = HERE.parent


def spread(found: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Return the median and the range."""
    named = {"median": statistics.median(found), "min": min(found), "max": max(found)}
    return {name: round(value, digits) for name, value in named.items()}


def speeds(work: dict[Any, tuple[Session, np.ndarray]], rounds: int) -> dict[Any, dict[str, float]]:
    """Return the rows/s of sessions over their rows, all in turn, after a warm-up of each.

    In turn, so that a machine whose speed drifts is unfair to none.
    """
    found: dict[Any, list[float]] = {key: [] for key in work}
    for turn in range(rounds + 1):
        for key, (session, rows) in work.items():
            began = time.perf_counter()
            session.predict(rows)
            if turn:
                found[key].append(len(rows) / (time.perf_counter() - began))
    return {key: spread(each, 0) for key, each in found.items()}


def write(name: str | Path, result: dict[str, Any]) -> None:
    """Write `results/NAME.json`, or a path."""
    path = name if isinstance(name, Path) else HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(f"written: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


def pins(name: str) -> dict[str, str]:
    """Return the versions that `peers/NAME.txt` pins."""
    lines = (HERE / "peers" / f"{name}.txt").read_text().split()
    return dict(line.split("==") for line in lines)


def environment(name: str, python: str = "3.11") -> Path:
    """Return the Python of a peer's own environment, made on first use from its pins."""
    folder = HERE / ".peers" / name
    wanted = (HERE / "peers" / f"{name}.txt").read_text()
    ready = folder / "ready.txt"
    if not ready.exists() or ready.read_text() != wanted:
        uv = ROOT / ".uv" / "bin" / "uv"
        tool = str(uv) if uv.exists() else shutil.which("uv")
        if tool is None:
            raise SystemExit("uv is missing: run `make`, or install uv")
        print(f"installing {name} into {folder.relative_to(ROOT)}")
        subprocess.run([tool, "venv", "-q", "--clear", "--python", python, folder], check=True)
        install = [tool, "pip", "install", "-q", "--python", str(folder / "bin" / "python")]
        subprocess.run([*install, "-r", str(HERE / "peers" / f"{name}.txt")], check=True)
        ready.write_text(wanted)
    return folder / "bin" / "python"
