"""Recipes: each model trained as the notes do, and from there to the best recipe, step by step.

    python benchmarks/recipes.py [--seeds 1 2 3] [--jobs 2] [--folder runs/recipes]

Writes results/recipes.json: the test accuracy (R2 for `linear`) of every model by `--recipe notes`,
with the first seed; and of `cnn` after each step from that recipe to its best one, mean and
standard deviation over the seeds. Runs that the folder has are not repeated. One thread a training,
so that the figures come out again. Nothing is chosen by them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measure
import msgspec

#: What is changed at each step, on top of the steps before.
STEPS: dict[str, dict[str, Any]] = {
    "notes": {},
    "AdamW, one-cycle": {
        "optimizer": "adamw", "schedule": "onecycle", "lr": 6e-3, "batch_size": 128,
    },
    "20 epochs": {"epochs": 20},
    "best epoch": {"keep": "best"},
    "averaging, weight decay": {"ema_decay": 0.998, "weight_decay": 0.01},
    "deformed digits": {
        "rotate": 8, "translate": 1.5, "scale": 0.08, "shear": 5, "elastic": 0.4,
    },
    "teacher": {"teacher": "resnet"},
}  # fmt: skip
MODELS = ("softmax", "cnn", "googlenet", "resnet", "rnn", "rnn_cell", "linear", "logistic")


def train(model: str, changes: dict[str, Any], seed: int, folder: Path) -> float:
    """Train a model and return its score on the test set."""
    out = folder / f"{model}-{len(changes)}-{seed}"
    if (out / "card.json").exists():
        return score(out)
    settings = [f"--set={name}={value}" for name, value in (changes | {"seed": seed}).items()]
    command = [sys.executable, "-m", "zoo", "train", model, "--recipe", "notes", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *settings], env=environment, capture_output=True, text=True, check=False,
        cwd=measure.HERE.parent,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    print(f"{model}, seed {seed}, {len(changes)} changes: {score(out)}", flush=True)
    return score(out)


def score(run: Path) -> float:
    """Return the accuracy or the R2 of a run on the test set."""
    test = msgspec.json.decode((run / "card.json").read_bytes())["test"]
    return float(test.get("accuracy", test.get("r2")))


def main() -> None:
    """Train everything and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/recipes"))
    args = parser.parse_args()
    folder = args.folder.resolve()
    with ThreadPoolExecutor(args.jobs) as pool:
        others = {
            model: [pool.submit(train, model, {}, args.seeds[0], folder)]
            for model in MODELS
            if model != "cnn"
        }
        changes: dict[str, Any] = {}
        steps = {}
        for name, own in STEPS.items():
            changes = changes | own
            steps[name] = [pool.submit(train, "cnn", changes, seed, folder) for seed in args.seeds]
        walk = [
            {"step": name, "changes": STEPS[name], **spread([run.result() for run in runs])}
            for name, runs in steps.items()
        ]
        notes = {model: spread([run.result() for run in runs]) for model, runs in others.items()}
    notes["cnn"] = {name: walk[0][name] for name in ("mean", "deviation", "scores")}
    measure.write("recipes", {"seeds": args.seeds, "notes": notes, "cnn": walk})


def spread(scores: list[float]) -> dict[str, Any]:
    """Return the mean and the standard deviation of scores."""
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return {
        "mean": round(statistics.fmean(scores), 5), "deviation": round(deviation, 5),
        "scores": scores,
    }  # fmt: skip


if __name__ == "__main__":
    main()
