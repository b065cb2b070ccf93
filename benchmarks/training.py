"""Training: `zoo train cnn`, and the tutorials' own way with the same network, side by side.

    python benchmarks/training.py            # writes benchmarks/results/training.json

- images/s with the same network, batch size (64), optimizer and no augmentation;
- seconds of training, and of the whole process, until a test accuracy: the tutorial is tested after
  each of its epochs; ours trains by a short recipe, chosen on the validation split, and is tested
  once, at its end;
- the ratio that no faster step could beat: as if the convolutions were all there is;
- the share of the machine's measured GEMM peak that a training step reaches, per model; and the
  same step with the network under torch.compile, where there is a C++ compiler.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import measure
import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo import datasets, hardware, registry
from zoo.bundle.folder import Bundle
from zoo.datasets.mnist import FILES
from zoo.network.pipeline import Normalize, channels_first
from zoo.training.step import make_step

TUTORIAL = [sys.executable, str(measure.HERE / "peers" / "tutorial.py")]
PLAIN = {
    "batch_size": 64, "optimizer": "sgd", "lr": 0.01, "momentum": 0.5, "schedule": "constant",
    "ema_decay": 0, "weight_decay": 0, "rotate": 0, "translate": 0, "scale": 0, "shear": 0,
    "elastic": 0, "teacher": "",
}  # fmt: skip
#: Ours until 98.7 % and until 99 %.
QUICK: dict[str, dict[str, Any]] = {
    "0.987": {"teacher": "", "epochs": 1, "rotate": 0, "shear": 0, "elastic": 0},
    "0.99": {"teacher": "", "epochs": 3},
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="training, side by side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12, help="of the tutorial's training")
    args = parser.parse_args()
    theirs: list[list[dict[str, float]]] = []
    plain: list[float] = []
    half: list[float] = []
    quick: dict[str, list[dict[str, float]]] = {target: [] for target in QUICK}
    with tempfile.TemporaryDirectory() as scratch:
        data = idx_files(Path(scratch))
        for turn in range(args.rounds):
            theirs.append(tutorial(data, args.epochs))
            plain.append(ours(Path(scratch), {"epochs": 2} | PLAIN)["images_per_second"])
            brief = {"epochs": 2, "precision": "bf16"} | PLAIN
            half.append(ours(Path(scratch), brief)["images_per_second"])
            for target, recipe in QUICK.items():
                quick[target].append(ours(Path(scratch), recipe))
            print(f"{turn + 1}: tutorial {theirs[-1][-1]}, ours {plain[-1]:,.0f}, {half[-1]:,.0f} "
                  f"in bf16, "
                  f"{ {target: found[-1] for target, found in quick.items()} }")  # fmt: skip
    peer_speed = [line["images_per_second"] for run in theirs for line in run]
    speeds = {
        "zoo": measure.spread(plain, 0),
        "zoo, bf16": measure.spread(half, 0),
        "tutorial": measure.spread(peer_speed, 0),
    }
    reached = {}
    for target, found in quick.items():
        bad = [run["accuracy"] for run in found if run["accuracy"] < float(target)]
        if bad:
            raise SystemExit(f"ours was to reach {target}, and reached {bad}")
        until = [next((line["seconds"] for line in run if line["accuracy"] >= float(target)), None)
                 for run in theirs]  # fmt: skip
        entry: dict[str, Any] = {
            "zoo": {key: measure.spread([run[key] for run in found], 4) for key in found[0]},
            "zoo_recipe": QUICK[target],
            "tutorial_seconds": until,
            "tutorial_best_accuracy": [max(line["accuracy"] for line in run) for run in theirs],
        }
        if all(until):
            there = measure.spread([one for one in until if one])
            entry["ratio"] = round(there["median"] / entry["zoo"]["seconds"]["median"], 1)
        reached[target] = entry
    result = {
        "command": f"python benchmarks/training.py {' '.join(sys.argv[1:])}".strip(),
        "hardware": hardware.processor(),
        "versions": hardware.versions("torch", "torchvision", "numpy"),
        "rounds": args.rounds,
        "images_per_second_at_batch_64": speeds,
        "ratio": round(speeds["zoo"]["median"] / speeds["tutorial"]["median"], 2),
        "ratio_if_convolutions_were_all": round(
            convolutions_alone() / speeds["tutorial"]["median"], 2
        ),
        "until_test_accuracy": reached,
        "gemm": gemm_shares(),
    }
    print(json.dumps(result, indent=1))
    measure.write("training", result)


def idx_files(folder: Path) -> Path:
    """Unpack the embedded MNIST to where torchvision looks for it."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES.glob("*.gz"):
        with gzip.open(file) as packed, (raw / file.stem).open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    return folder


def tutorial(data: Path, epochs: int) -> list[dict[str, float]]:
    """Train the tutorial's way; a line an epoch."""
    command = [*TUTORIAL, "--data", str(data), "--epochs", str(epochs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(folder: Path, recipe: dict[str, Any]) -> dict[str, float]:
    """Run `zoo train cnn` by a recipe; images/s of its best epoch, seconds, test accuracy."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    changes = [word for key, value in recipe.items() for word in ("--set", f"{key}={value}")]
    zoo = str(Path(sys.executable).with_name("zoo"))
    began = time.perf_counter()
    command = [zoo, "train", "cnn", "--device", "cpu", "--out", str(run), *changes]
    # As a user has it: without the bytecode of torch, each process would compile its sources again.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=env)
    whole = time.perf_counter() - began
    card = Bundle.open(run).card
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {
        "images_per_second": lines[-1]["images_per_second"],
        "seconds": card.training.seconds,
        "process_seconds": whole,
        "accuracy": card.test["accuracy"],
    }


def convolutions_alone(batch: int = 64) -> float:
    """Return images/s if a step of `cnn` were its two convolutions and their gradients alone.

    In float32, channels last, which is the faster layout for them on a CPU.
    """
    network = registry.get("cnn").build(datasets.load("mnist").spec, 10)
    last = {"memory_format": torch.channels_last}
    first = torch.randn(batch, 1, 28, 28).contiguous(**last)
    second = torch.randn(batch, 10, 12, 12).contiguous(**last).requires_grad_()

    def run() -> None:
        for layer, x, wanted in ((network.conv1, first, []), (network.conv2, second, [second])):
            y = layer(x)
            torch.autograd.grad(y, [*layer.parameters(), *wanted], y.detach())

    return batch / best(run)


def gemm_shares(batch: int = 128) -> dict[str, Any]:
    """Return the measured GEMM peak, and the share of it that a training step reaches."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    peak = 2 * 2048**3 / best(lambda: torch.mm(a, b)) / 1e9
    data = datasets.load("mnist")
    x = Normalize(data.spec)(channels_first(torch.from_numpy(data.train.inputs[:batch])))
    y = torch.from_numpy(data.train.targets[:batch])
    models = {}
    torch.compiler.config.force_disable_caches = True  # what compiling takes the first time
    for name in ("softmax", "cnn", "googlenet", "resnet", "rnn", "rnn_cell"):
        entry = registry.get(name)
        recipe = entry.recipe.replace(teacher="")
        network = entry.build(data.spec, len(data.labels))
        take = make_step(network, entry, data.spec, len(data.labels), recipe)
        with FlopCounterMode(display=False) as counter:
            take(x, y, 1e-4)
        seconds = best(partial(take, x, y, 1e-4))
        rate = counter.get_total_flops() / seconds / 1e9
        models[name] = {
            "images_per_second": round(batch / seconds),
            "gflop_per_second": round(rate, 1),
            "share_of_peak": round(rate / peak, 3),
        }
        if shutil.which("g++"):
            began = time.perf_counter()
            compiled = torch.compile(entry.build(data.spec, len(data.labels)))
            again = make_step(compiled, entry, data.spec, len(data.labels), recipe)
            again(x, y, 1e-4)
            models[name] |= {
                "compile_seconds": round(time.perf_counter() - began, 1),
                "compiled_images_per_second": round(batch / best(partial(again, x, y, 1e-4))),
            }
    return {"peak_gflop_per_second": round(peak, 1), "batch": batch, "models": models}


def best(run: Any, seconds: float = 1.0) -> float:
    """Return the seconds of the fastest of many runs."""
    found, end = [], time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


if __name__ == "__main__":
    main()
