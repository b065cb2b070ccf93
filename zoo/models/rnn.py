"""A recurrent network that reads an image row by row. Lesson: RNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.entry import Entry
from zoo.recipe import Recipe


class RNN(nn.Module):
    """nn.RNN (tanh) over the rows; the last hidden state is classified."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10) -> None:
        super().__init__()
        self.hidden_size = 128
        self.rnn = nn.RNN(channels * size, self.hidden_size, batch_first=True)
        # An orthogonal matrix keeps a gradient's norm through 28 steps: A. Saxe et al., Exact
        # Solutions to the Nonlinear Dynamics of Learning in Deep Linear Neural Networks, 2013.
        nn.init.orthogonal_(self.rnn.get_parameter("weight_hh_l0"))
        self.fc = nn.Linear(self.hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, channels, size, size] to logits [N, classes]."""
        x = x.transpose(1, 2).flatten(2)  # [N, 1, 28, 28] -> [N, 28 rows, 28]
        h0 = torch.zeros(1, x.shape[0], self.hidden_size, dtype=x.dtype, device=x.device)
        _, h = self.rnn(x, h0)  # h [1, N, 128]
        logits: Tensor = self.fc(h[-1])  # [N, 10]
        return logits


ENTRY = Entry(
    name="rnn",
    title="Recurrent network over the 28 rows (nn.RNN)",
    lesson="循环神经网络（基础篇） RNN",
    network=RNN,
    dataset="mnist",
    task="classification",
    recipe=Recipe(
        epochs=30,
        batch_size=128,
        optimizer="muon",
        lr=5e-3,
        momentum=0.95,
        weight_decay=0.15,
        clip_norm=1.0,
        ema_decay=0.998,
        rotate=8,
        translate=1.5,
        scale=0.08,
        shear=5,
        elastic=0.4,
    ),
    parameters=21_514,
    limits="Centered single digits as in MNIST; anything else gets a digit too.",
)
