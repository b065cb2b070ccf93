"""The shipped weights in the lectures' own classes, typed from the slides: the same accuracy."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import safetensors.torch
import torch
from conftest import ROOT
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo import datasets
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.network.pipeline import Pipeline, run_torch


class InceptionA(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_2 = nn.Conv2d(16, 24, kernel_size=5, padding=2)
        self.branch3x3_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch3x3_2 = nn.Conv2d(16, 24, kernel_size=3, padding=1)
        self.branch3x3_3 = nn.Conv2d(24, 24, kernel_size=3, padding=1)
        self.branch_pool = nn.Conv2d(in_channels, 24, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_1(x)
        branch5x5 = self.branch5x5_2(branch5x5)
        branch3x3 = self.branch3x3_1(x)
        branch3x3 = self.branch3x3_2(branch3x3)
        branch3x3 = self.branch3x3_3(branch3x3)
        branch_pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branch_pool = self.branch_pool(branch_pool)
        return torch.cat([branch1x1, branch5x5, branch3x3, branch_pool], dim=1)


class GoogLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(88, 20, kernel_size=5)
        self.incep1 = InceptionA(in_channels=10)
        self.incep2 = InceptionA(in_channels=20)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(1408, 10)

    def forward(self, x: Tensor) -> Tensor:
        in_size = x.size(0)
        x = F.relu(self.mp(self.conv1(x)))
        x = self.incep1(x)
        x = F.relu(self.mp(self.conv2(x)))
        x = self.incep2(x)
        x = x.view(in_size, -1)
        return self.fc(x)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x))
        y = self.conv2(y)
        return F.relu(x + y)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=5)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=5)
        self.mp = nn.MaxPool2d(2)
        self.rblock1 = ResidualBlock(16)
        self.rblock2 = ResidualBlock(32)
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        in_size = x.size(0)
        x = self.mp(F.relu(self.conv1(x)))
        x = self.rblock1(x)
        x = self.mp(F.relu(self.conv2(x)))
        x = self.rblock2(x)
        x = x.view(in_size, -1)
        return self.fc(x)


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.pooling = nn.MaxPool2d(2)
        self.fc = nn.Linear(320, 10)

    def forward(self, x: Tensor) -> Tensor:
        batch_size = x.size(0)
        x = F.relu(self.pooling(self.conv1(x)))
        x = F.relu(self.pooling(self.conv2(x)))
        x = x.view(batch_size, -1)
        return self.fc(x)


class Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Linear(784, 512)
        self.l2 = nn.Linear(512, 256)
        self.l3 = nn.Linear(256, 128)
        self.l4 = nn.Linear(128, 64)
        self.l5 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 784)
        x = F.relu(self.l1(x))
        x = F.relu(self.l2(x))
        x = F.relu(self.l3(x))
        x = F.relu(self.l4(x))
        return self.l5(x)


LECTURES = {"googlenet": GoogLeNet, "resnet": ResNet, "cnn": CNN, "softmax": Softmax}


@pytest.mark.parametrize("name", LECTURES)
def test_the_lectures_class_with_our_weights_is_as_accurate(name: str) -> None:
    network = LECTURES[name]()
    network.load_state_dict(
        safetensors.torch.load_file(ROOT / "weights" / name / WEIGHTS), strict=True
    )
    card = zoo.card(name)
    test = datasets.load("mnist").test
    found = run_torch(Pipeline(network, card.spec, card.task).eval(), test.inputs).argmax(axis=1)
    # 99.52 % for googlenet, 99.68 % for resnet: to the last picture what the card says.
    assert (found == test.targets).sum() == round(card.test["accuracy"] * len(test.targets))


@pytest.mark.parametrize("name", ["googlenet", "resnet"])
def test_weights_of_a_bundle_from_before_are_put_in_todays_order(name: str, tmp_path: Path) -> None:
    """Up to card format 2: pooling first in a block, and blocks without the r."""
    bundle = Bundle.open(name)
    new = safetensors.torch.load(bundle.read(WEIGHTS))
    if name == "resnet":
        old = {key.removeprefix("r"): value for key, value in new.items()}
    else:
        one, five, three, pool = new["conv2.weight"].split([16, 24, 24, 24], dim=1)
        old = new | {"conv2.weight": torch.cat([pool, one, five, three], dim=1)}
        parts = new["fc.weight"].split([16 * 16, 24 * 16, 24 * 16, 24 * 16], dim=1)
        old["fc.weight"] = torch.cat([parts[3], *parts[:3]], dim=1)
    folder = tmp_path / "old"
    folder.mkdir()
    safetensors.torch.save_file({k: v.contiguous() for k, v in old.items()}, folder / WEIGHTS)
    from zoo.files import sha256

    files = {WEIGHTS: sha256(folder / WEIGHTS)}
    Bundle.write(folder, msgspec.structs.replace(bundle.card, format=2, files=files))
    for key, value in zoo.load(folder).state_dict().items():
        assert torch.equal(value, new[key]), key
    from zoo import scratch

    for key, array in scratch.build(folder).state_dict().items():
        assert (array == new[key].numpy()).all(), key
