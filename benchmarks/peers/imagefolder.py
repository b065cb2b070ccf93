"""Predict a folder the usual way: torchvision's ImageFolder, a DataLoader, the eager network.

python imagefolder.py FOLDER OUT.csv [--workers N]

Says on stderr, in JSON, how many seconds the images took; imports and loading are done by then.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import zoo


def main() -> None:
    """Predict and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    transform = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.ToTensor(),
            transforms.Normalize((0.1307,), (0.3081,)),
        ]
    )
    model = zoo.load("cnn")
    folder = ImageFolder(args.folder, transform)
    began = time.perf_counter()
    answers: list[tuple[int, float]] = []
    with torch.inference_mode():
        for images, _ in DataLoader(folder, batch_size=256, num_workers=args.workers):
            found = model(images).softmax(dim=1).max(dim=1)
            answers += zip(found.indices.tolist(), found.values.tolist(), strict=True)
    with open(args.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "label", "probability"])
        for (path, _), (label, probability) in zip(folder.samples, answers, strict=True):
            writer.writerow([path, label, round(probability, 6)])
    seconds = time.perf_counter() - began
    print(json.dumps({"images": len(answers), "seconds": seconds}), file=sys.stderr)


if __name__ == "__main__":
    main()
