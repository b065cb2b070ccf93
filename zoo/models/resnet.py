"""A small ResNet: two residual blocks. Lesson: residual network.

Source: K. He et al., Deep Residual Learning for Image Recognition, 2015 (the block, without
batch normalization, as in the notes).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Entry
from zoo.recipe import Recipe


class ResidualBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))): the gradient also flows past both convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to the same shape."""
        y = F.relu(self.conv1(x))
        y = self.conv2(y)
        return F.relu(x + y)


class ResNet(nn.Module):
    """conv 1->16 k5, ReLU, pool, block(16), conv 16->32 k5, ReLU, pool, block(32), 512->10."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10) -> None:
        super().__init__()
        side = ((size - 4) // 2 - 4) // 2  # 28 -> 24 -> 12 -> 8 -> 4
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=5)
        self.rblock1 = ResidualBlock(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=5)
        self.rblock2 = ResidualBlock(32)
        self.fc = nn.Linear(32 * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, channels, size, size] to logits [N, classes]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # [N, 1, 28, 28] -> [N, 16, 12, 12]
        x = self.rblock1(x)  # [N, 16, 12, 12]
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # [N, 32, 4, 4]
        x = self.rblock2(x)  # [N, 32, 4, 4]
        x = x.flatten(1)  # [N, 512]
        logits: Tensor = self.fc(x)  # [N, 10]
        return logits


ENTRY = Entry(
    name="resnet",
    title="Small ResNet with two residual blocks",
    lesson="卷积神经网络（高级篇） ResNet",
    network=ResNet,
    dataset="mnist",
    task="classification",
    recipe=Recipe(
        epochs=25,
        batch_size=128,
        lr=4e-3,
        weight_decay=0.1,
        teacher="teachers/resnet",
        ema_decay=0.998,
        rotate=10,
        translate=2,
        scale=0.1,
        shear=6,
        elastic=0.6,
    ),
    parameters=41_514,
    limits="Centered single digits as in MNIST; anything else gets a digit too.",
)
