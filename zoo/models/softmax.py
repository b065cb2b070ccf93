"""The softmax classifier: five fully connected layers. Lesson: softmax classifier on MNIST."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Entry
from zoo.recipe import Recipe


class Softmax(nn.Module):
    """784-512-256-128-64-10 with ReLU between; the loss computes the softmax.

    With `columns` it takes the rows of a table instead of images.
    """

    def __init__(
        self, channels: int = 1, size: int = 28, classes: int = 10, columns: int = 0
    ) -> None:
        super().__init__()
        self.l1 = nn.Linear(columns or channels * size * size, 512)
        self.l2 = nn.Linear(512, 256)
        self.l3 = nn.Linear(256, 128)
        self.l4 = nn.Linear(128, 64)
        self.l5 = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, channels, size, size], or rows [N, columns], to logits."""
        x = x.flatten(1)  # [N, 1, 28, 28] -> [N, 784]
        x = F.relu(self.l1(x))  # [N, 512]
        x = F.relu(self.l2(x))  # [N, 256]
        x = F.relu(self.l3(x))  # [N, 128]
        x = F.relu(self.l4(x))  # [N, 64]
        logits: Tensor = self.l5(x)  # [N, 10]
        return logits


ENTRY = Entry(
    name="softmax",
    title="Softmax classifier (fully connected)",
    lesson="多分类问题 Softmax",
    network=Softmax,
    dataset="mnist",
    task="classification",
    recipe=Recipe(
        epochs=30,
        batch_size=128,
        lr=2e-3,
        weight_decay=0.01,
        ema_decay=0.999,
        teacher="resnet",
        rotate=12,
        translate=2,
        scale=0.12,
        shear=8,
        elastic=0.7,
    ),
    parameters=575_050,
    limits="Centered single digits as in MNIST; anything else gets a digit too.",
)
