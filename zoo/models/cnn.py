"""The basic CNN: two convolutions, two poolings, one linear layer. Lesson: basic CNN."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Entry
from zoo.recipe import Recipe


class CNN(nn.Module):
    """conv 1->10 k5, maxpool, ReLU, conv 10->20 k5, maxpool, ReLU, 320->10."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10) -> None:
        super().__init__()
        side = ((size - 4) // 2 - 4) // 2  # 28 -> 24 -> 12 -> 8 -> 4
        self.conv1 = nn.Conv2d(channels, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.fc = nn.Linear(20 * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, channels, size, size] to logits [N, classes]."""
        x = F.relu(F.max_pool2d(self.conv1(x), 2))  # [N, 1, 28, 28] -> [N, 10, 12, 12]
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # [N, 20, 4, 4]
        x = x.flatten(1)  # [N, 320]
        logits: Tensor = self.fc(x)  # [N, 10]
        return logits


ENTRY = Entry(
    name="cnn",
    title="Basic convolutional network",
    lesson="卷积神经网络（基础篇）",
    network=CNN,
    dataset="mnist",
    task="classification",
    recipe=Recipe(
        epochs=20,
        batch_size=128,
        lr=6e-3,
        weight_decay=0.01,
        ema_decay=0.998,
        teacher="resnet",
        rotate=8,
        translate=1.5,
        scale=0.08,
        shear=5,
        elastic=0.4,
    ),
    parameters=8_490,
    limits="Centered single digits as in MNIST; anything else gets a digit too.",
)
