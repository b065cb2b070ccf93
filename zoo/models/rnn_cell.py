"""The same recurrent network with nn.RNNCell, one row at a time. Lesson: RNNCell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.entry import Entry
from zoo.models import rnn


class RNNCell(nn.Module):
    """nn.RNNCell in an explicit loop; takes RNN's weights and computes the same logits."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10) -> None:
        super().__init__()
        self.hidden_size = 128
        self.cell = nn.RNNCell(channels * size, self.hidden_size)
        nn.init.orthogonal_(self.cell.weight_hh)  # as in zoo.models.rnn
        self.fc = nn.Linear(self.hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images [N, channels, size, size] to logits [N, classes]."""
        x = x.transpose(1, 2).flatten(2)  # [N, 1, 28, 28] -> [N, 28 rows, 28]
        h = torch.zeros(x.shape[0], self.hidden_size, dtype=x.dtype, device=x.device)
        for row in x.unbind(1):  # [N, 28], 28 times
            h = self.cell(row, h)  # [N, 128]
        logits: Tensor = self.fc(h)  # [N, 10]
        return logits

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Load RNNCell's own state, or that of RNN: `rnn.weight_ih_l0` is `cell.weight_ih`, ..."""
        renamed = {
            key.replace("rnn.", "cell.").removesuffix("_l0"): value
            for key, value in state_dict.items()
        }
        return super().load_state_dict(renamed, *args, **kwargs)


ENTRY = Entry(
    name="rnn_cell",
    title="Recurrent network over the 28 rows (nn.RNNCell)",
    lesson="循环神经网络（基础篇） RNNCell",
    network=RNNCell,
    dataset="mnist",
    task="classification",
    recipe=rnn.ENTRY.recipe,
    parameters=21_514,
    limits=rnn.ENTRY.limits,
)
