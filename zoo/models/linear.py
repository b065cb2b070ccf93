"""Linear regression: one neuron, no activation. Lesson: linear model, gradient descent."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.entry import Entry
from zoo.recipe import Recipe


class Linear(nn.Module):
    """y = x w + b, over standardized columns."""

    def __init__(self, columns: int = 10, outputs: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, columns] to [N, outputs]."""
        prediction: Tensor = self.linear(x)  # [N, 10] -> [N, 1]
        return prediction


ENTRY = Entry(
    name="linear",
    title="Linear regression",
    lesson="线性回归",
    network=Linear,
    dataset="diabetes",
    task="regression",
    # Gradient descent on all rows at once, until it is at the least-squares solution.
    recipe=Recipe(
        epochs=600,
        batch_size=266,
        optimizer="sgd",
        lr=0.1,
        momentum=0.95,
        schedule="constant",
        keep="last",
    ),
    # All rows in each step, a constant learning rate, no momentum.
    notes=Recipe(
        epochs=100,
        batch_size=266,
        optimizer="sgd",
        lr=0.01,
        momentum=0,
        schedule="constant",
        keep="last",
    ),
    parameters=11,
    limits="442 patients of one study; a teaching example, not for medical use.",
)
