"""Training as the tutorials write it: torchvision's MNIST, a DataLoader, SGD; one epoch a line.

python tutorial.py --data DIR --epochs N

Prints JSON lines: epoch, seconds of training so far, images/s, accuracy on the test set.
"""

import argparse
import json
import time

import torch
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from zoo.models.cnn import CNN


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()
    torch.manual_seed(1)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    train_set = datasets.MNIST(args.data, train=True, download=False, transform=transform)
    test_set = datasets.MNIST(args.data, train=False, download=False, transform=transform)
    train_loader = DataLoader(train_set, shuffle=True, batch_size=64)
    test_loader = DataLoader(test_set, shuffle=False, batch_size=64)
    model = CNN()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    seconds = 0.0
    for epoch in range(args.epochs):
        began = time.perf_counter()
        for inputs, target in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), target)
            loss.backward()
            optimizer.step()
        took = time.perf_counter() - began
        seconds += took
        correct = 0
        with torch.no_grad():
            for inputs, target in test_loader:
                correct += (model(inputs).argmax(dim=1) == target).sum().item()
        line = {
            "epoch": epoch + 1,
            "seconds": round(seconds, 3),
            "images_per_second": round(len(train_set) / took, 1),
            "accuracy": correct / len(test_set),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
