"""Logistic regression: one neuron and a sigmoid. Lesson: logistic regression."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.entry import Entry
from zoo.recipe import Recipe


class Logistic(nn.Module):
    """p = sigmoid(x w + b), over standardized columns.

    `forward` returns the logit: BCEWithLogitsLoss computes the sigmoid itself, where it
    cannot overflow, and the ONNX graph computes it at the end.
    """

    def __init__(self, columns: int = 30, outputs: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, columns] to logits [N, outputs]."""
        logit: Tensor = self.linear(x)  # [N, 30] -> [N, 1]
        return logit


ENTRY = Entry(
    name="logistic",
    title="Logistic regression",
    lesson="逻辑斯谛回归",
    network=Logistic,
    dataset="breast-cancer",
    task="binary",
    recipe=Recipe(
        epochs=100, batch_size=57, optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.01
    ),
    # Mini-batches from a DataLoader, a constant learning rate, no momentum.
    notes=Recipe(
        epochs=100,
        batch_size=32,
        optimizer="sgd",
        lr=0.01,
        momentum=0,
        schedule="constant",
        keep="last",
    ),
    parameters=31,
    limits="569 patients of one hospital; a teaching example, not for medical use.",
)
