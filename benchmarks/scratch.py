"""Training by hand and by torch: an epoch of `zoo.scratch` and of eager torch, side by side.

    python benchmarks/scratch.py             # writes benchmarks/results/scratch.json

Both sides start from the same weights and see the same batches in the same order: the 55,000
training digits of MNIST, normalized floats, batches of 128, SGD with learning rate 0.05 and
momentum 0.9, no augmentation. torch computes with as many threads as there are cores, NumPy's BLAS
does so by itself. An epoch includes picking the rows of each batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import measure
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo import datasets, hardware, registry, scratch
from zoo.spec import ImageSpec

MODELS, ROUNDS, BATCH, LR, MOMENTUM = ("softmax", "cnn"), 7, 128, 0.05, 0.9
Epoch = Callable[[NDArray[np.int64]], None]


def by_hand(network: scratch.Layer, x: NDArray[np.float32], y: NDArray[np.int64]) -> Epoch:
    """Return one epoch in NumPy, over the rows in the order given."""
    criterion = scratch.CrossEntropyLoss()
    optimizer = scratch.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)

    def epoch(order: NDArray[np.int64]) -> None:
        for at in range(0, len(order), BATCH):
            rows = order[at : at + BATCH]
            optimizer.zero_grad()
            criterion(network(x[rows]), y[rows])
            network.accumulate(criterion.backward())
            optimizer.step()

    return epoch


def by_torch(network: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> Epoch:
    """Return the same epoch in eager torch."""
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)

    def epoch(order: NDArray[np.int64]) -> None:
        for rows in torch.from_numpy(order).split(BATCH):
            optimizer.zero_grad()
            criterion(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()

    return epoch


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(hardware.cores())
    data = datasets.load("mnist")
    assert isinstance(data.spec, ImageSpec)
    models: dict[str, dict[str, object]] = {}
    for name in MODELS:
        torch.manual_seed(1)
        theirs = registry.get(name).build(data.spec, len(data.labels))
        ours = scratch.make(name, data.spec, "classification", len(data.labels))
        ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
        normalize = scratch.Pipeline(ours, data.spec, "classification").normalize
        x, tests = (np.ascontiguousarray(normalize(s.inputs)) for s in (data.train, data.test))
        sides = {
            "zoo": by_hand(ours, x, data.train.targets),
            "torch": by_torch(theirs, x, data.train.targets),
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        rng = np.random.default_rng(1)
        for turn in range(ROUNDS + 1):
            order = rng.permutation(len(x))
            for side, epoch in sides.items():
                began = time.perf_counter()
                epoch(order)
                if turn:  # the first is the warm-up
                    seconds[side].append(time.perf_counter() - began)
        with torch.inference_mode():
            answers = {
                "zoo": np.concatenate([ours(part) for part in np.split(tests, 20)]),
                "torch": theirs(torch.from_numpy(tests)).numpy(),
            }
        figures = {side: measure.spread(found) for side, found in seconds.items()}
        ratio = round(figures["zoo"]["median"] / figures["torch"]["median"], 2)
        right = {
            side: float((logits.argmax(axis=1) == data.test.targets).mean())
            for side, logits in answers.items()
        }
        models[name] = {
            "ours_to_torch": ratio,
            "seconds_per_epoch": figures,
            "test_accuracy": {"epochs": ROUNDS + 1} | right,
        }
        medians = (f"{figures[side]['median']:.2f} s" for side in sides)
        print(f"{name:<10}", *medians, f"x{ratio}", *(f"{share:.4f}" for share in right.values()))
    result = {
        "command": "python benchmarks/scratch.py",
        "hardware": hardware.processor(),
        "versions": hardware.versions("numpy", "torch"),
        "threads": hardware.cores(),
        "rounds": ROUNDS,
        "models": models,
    }
    measure.write("scratch", result)


if __name__ == "__main__":
    main()
