"""A small GoogLeNet: two Inception blocks. Lesson: advanced CNN.

Source: C. Szegedy et al., Going Deeper with Convolutions, 2014 (the block; sizes as in the notes).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Entry
from zoo.recipe import Recipe


class InceptionBlock(nn.Module):
    """Four branches, joined along the channels in the slides' order: 16 + 24 + 24 + 24 = 88."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch_pool = nn.Conv2d(in_channels, 24, kernel_size=1)
        self.branch1x1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_2 = nn.Conv2d(16, 24, kernel_size=5, padding=2)
        self.branch3x3_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch3x3_2 = nn.Conv2d(16, 24, kernel_size=3, padding=1)
        self.branch3x3_3 = nn.Conv2d(24, 24, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, 88, H, W]."""
        pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))  # 24
        one = self.branch1x1(x)  # 16
        five = self.branch5x5_2(self.branch5x5_1(x))  # 24
        three = self.branch3x3_3(self.branch3x3_2(self.branch3x3_1(x)))  # 24
        return torch.cat([one, five, three, pool], dim=1)


class GoogLeNet(nn.Module):
    """conv 1->10 k5, pool, ReLU, Inception, conv 88->20 k5, pool, ReLU, Inception, 1408->10."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10) -> None:
        super().__init__()
        side = ((size - 4) // 2 - 4) // 2  # 28 -> 24 -> 12 -> 8 -> 4
        self.conv1 = nn.Conv2d(channels, 10, kernel_size=5)
        self.incep1 = InceptionBlock(10)
        self.conv2 = nn.Conv2d(88, 20, kernel_size=5)
        self.incep2 = InceptionBlock(20)
        self.fc = nn.Linear(88 * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, channels, size, size] to logits [N, classes]."""
        x = F.relu(F.max_pool2d(self.conv1(x), 2))  # [N, 1, 28, 28] -> [N, 10, 12, 12]
        x = self.incep1(x)  # [N, 88, 12, 12]
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # [N, 20, 4, 4]
        x = self.incep2(x)  # [N, 88, 4, 4]
        x = x.flatten(1)  # [N, 1408]
        logits: Tensor = self.fc(x)  # [N, 10]
        return logits


ENTRY = Entry(
    name="googlenet",
    title="Small GoogLeNet with two Inception blocks",
    lesson="卷积神经网络（高级篇） GoogLeNet",
    network=GoogLeNet,
    dataset="mnist",
    task="classification",
    recipe=Recipe(
        epochs=18,
        batch_size=128,
        lr=3e-3,
        weight_decay=0.05,
        ema_decay=0.998,
        teacher="resnet",
        rotate=10,
        translate=2,
        scale=0.1,
        shear=6,
        elastic=0.5,
    ),
    parameters=97_298,
    limits="Centered single digits as in MNIST; anything else gets a digit too.",
)
