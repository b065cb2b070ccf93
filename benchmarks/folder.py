"""A folder of digits as PNG files: `zoo predict` and torchvision's ImageFolder, side by side.

    python benchmarks/folder.py                    # writes benchmarks/results/folder.json
    python benchmarks/folder.py --files 100000 --rounds 1 --ours-only  # folder-100000.json

Both are whole processes, start and imports included, on the same files; the peer is
`peers/imagefolder.py`, with no and with two loader processes, the faster counts. Peak memory is
that of the largest process; the peer's loader processes come on top of it.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import measure
import msgspec
from PIL import Image

from zoo import hardware
from zoo.datasets import mnist

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
IMAGEFOLDER = (sys.executable, str(HERE / "peers" / "imagefolder.py"))
COMMANDS: dict[str, tuple[str, ...]] = {
    "zoo": (str(BIN / "zoo"), "predict", "cnn", "FOLDER", "-o", "OUT"),
    "imagefolder, 0 workers": (*IMAGEFOLDER, "FOLDER", "OUT", "--workers", "0"),
    "imagefolder, 2 workers": (*IMAGEFOLDER, "FOLDER", "OUT", "--workers", "2"),
}


def main() -> int:
    """Measure, print and write; exit 1 when the answers disagree."""
    parser = argparse.ArgumentParser(description="a folder of PNG files, side by side")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true", help="leave the peer out")
    args = parser.parse_args()
    sides = ["zoo"] if args.ours_only else list(COMMANDS)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    labels: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "digits", Path(temporary) / "out.csv"
        write_digits(folder, args.files)
        for turn in range(args.rounds + 1):
            for name in sides:
                places = {"FOLDER": str(folder), "OUT": str(out)}
                found = whole_process([places.get(word, word) for word in COMMANDS[name]])
                labels[name] = read(out)
                out.unlink()
                if turn:  # the first compiles bytecode and fills the page cache
                    runs[name].append(found)
                    print(f"{turn} {name:<24}", found)
    figures: dict[str, Any] = {
        name: {key: measure.spread([run[key] for run in found]) for key in found[0]}
        | {"accuracy": accuracy(labels[name])}
        for name, found in runs.items()
    }
    result: dict[str, Any] = {
        "command": f"python benchmarks/folder.py {' '.join(sys.argv[1:])}".strip(),
        "hardware": hardware.processor(),
        "versions": hardware.versions(
            "torch", "torchvision", "onnxruntime-gpu", "onnxruntime", "pillow", "numpy"
        ),
        "files": args.files,
        "rounds": args.rounds,
        "figures": figures,
    }
    agree = args.files
    if len(sides) > 1:
        peer = min(sides[1:], key=lambda name: float(figures[name]["seconds"]["median"]))
        agree = sum(labels[peer].get(path) == label for path, label in labels["zoo"].items())
        result |= {
            "peer": peer,
            "same_answer": agree,
            "ours_to_peer": {
                key: round(figures["zoo"][key]["median"] / figures[peer][key]["median"], 3)
                for key in ("seconds", "images_per_second", "peak_rss_mib")
            },
        }
        print(f"same answer {agree:,} of {args.files:,}; ours to {peer}: {result['ours_to_peer']}")
    measure.write("folder" if args.files == 10_000 else f"folder-{args.files}", result)
    return int(agree < 0.999 * args.files)


def write_digits(folder: Path, files: int) -> None:
    """Write the test digits as PNG files in a sub-folder a class, again and again until enough."""
    test = mnist.load_test()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
    encoded: list[bytes] = []
    for number in range(files):
        if number < len(test.targets):
            png = BytesIO()
            Image.fromarray(test.inputs[number, :, :, 0]).save(png, "PNG")
            encoded.append(png.getvalue())
        row = number % len(test.targets)
        (folder / str(test.targets[row]) / f"{number:06}.png").write_bytes(encoded[row])


def whole_process(command: list[str]) -> dict[str, float]:
    """Run a command; return its wall seconds, peak memory and own images per second."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
    # A child starts with its parent's peak, so ours must be below what is measured.
    if usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        raise SystemExit("the benchmark itself takes more memory than what it measures")
    return {
        "seconds": seconds,
        "images_per_second": speed(said),
        "peak_rss_mib": usage.ru_maxrss / 1024,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }


def speed(said: str) -> float:
    """Return the images per second that a command says it had."""
    ours = re.search(r"([\d,]+) rows/s", said)
    if ours:
        return float(ours[1].replace(",", ""))
    found = msgspec.json.decode(said.strip().splitlines()[-1])
    return float(found["images"] / found["seconds"])


def read(path: Path) -> dict[str, int]:
    """Return the answers: a label a file, by class and name."""
    with path.open(newline="") as file:
        return {
            "/".join(Path(r["source"]).parts[-2:]): int(r["label"]) for r in csv.DictReader(file)
        }


def accuracy(labels: dict[str, int]) -> float:
    """Return the share of right answers; the sub-folder is the class."""
    right = sum(int(path.partition("/")[0]) == label for path, label in labels.items())
    return round(right / len(labels), 4)


if __name__ == "__main__":
    sys.exit(main())
