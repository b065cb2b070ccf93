"""Whole-process time of the commands that should feel instant.

    python benchmarks/startup.py           # writes benchmarks/results/startup.json

Limits: `zoo --help` and `zoo list` 0.25 s, `zoo predict cnn one.png` 0.5 s, bytecode compiled (one
run of each is the warm-up). The medians of 11 runs, the commands in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from PIL import Image

from zoo import hardware
from zoo.datasets import mnist

RESULT = Path(__file__).parent / "results" / "startup.json"
LIMITS = {"zoo --help": 0.25, "zoo list": 0.25, "zoo predict cnn one.png": 0.5}


def main() -> int:
    """Measure, print and write; exit 1 beyond a limit."""
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(mnist.load_test().inputs[0, :, :, 0]).save(Path(folder) / "one.png")
        zoo = str(Path(sys.executable).with_name("zoo"))
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        seconds: dict[str, list[float]] = {command: [] for command in LIMITS}
        for turn in range(12):
            for command, found in seconds.items():
                began = time.perf_counter()
                args = [zoo, *command.split()[1:]]
                subprocess.run(args, cwd=folder, check=True, capture_output=True, env=env)
                if turn:
                    found.append(time.perf_counter() - began)
    result = {
        "command": "python benchmarks/startup.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("typer", "numpy", "onnxruntime-gpu", "onnxruntime"),
        "seconds": {
            command: {
                "median": round(statistics.median(found), 3),
                "min": round(min(found), 3),
                "max": round(max(found), 3),
                "limit": LIMITS[command],
            }
            for command, found in seconds.items()
        },
    }
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(RESULT.read_text())
    return int(any(statistics.median(seconds[command]) > LIMITS[command] for command in LIMITS))


if __name__ == "__main__":
    sys.exit(main())
