"""线性模型 · Linear model

Code: zoo/models/linear.py
Picture: linear_model.png

数据 x = 1, 2, 3, y = 2x; 穷举 w, 看损失 Try a range of weights and look at the loss.
"""

import numpy as np
import torch
from torch.nn import functional as F

from zoo import lessons
from zoo.models.linear import Linear

x = torch.tensor([[1.0], [2.0], [3.0]])
y = torch.tensor([[2.0], [4.0], [6.0]])
model = Linear(columns=1)


@torch.no_grad()
def loss(w: float, b: float = 0.0) -> float:
    """Set the model's weight and bias; return its mean squared error."""
    model.linear.weight.fill_(w)
    model.linear.bias.fill_(b)
    return F.mse_loss(model(x), y).item()


weights = np.linspace(0, 4, 41)
losses = [loss(w) for w in weights]
for w, value in list(zip(weights, losses, strict=True))[::10]:
    print(f"w = {w:.1f}  loss = {value:.4f}")
best = weights[int(np.argmin(losses))]
print(f"the smallest loss, {min(losses):.4f}, is at w = {best:.1f}")
lessons.agree("w of the smallest loss", best, 2.0)
lessons.agree("mean (wx - y)^2 at w = 3", loss(3), ((3 * x - y) ** 2).mean())

offsets = np.linspace(-2, 2, 41)
surface = [[loss(w, b) for w in weights] for b in offsets]
figure = lessons.figure(7.2, 3.2)
left, right = figure.subplots(1, 2)
left.plot(weights, losses, color="#2563a8")
left.plot([best], [min(losses)], "o", color="#c2571a")
left.set(title="loss of y = wx", xlabel="w", ylabel="mean squared error")
left.grid(alpha=0.25)
lines = right.contour(weights, offsets, surface, levels=[0.2, 1, 3, 8, 15, 25], cmap="viridis")
right.clabel(lines, fontsize=8)
right.plot([2], [0], "o", color="#c2571a")
right.set(title="loss of y = wx + b", xlabel="w", ylabel="b")
lessons.save(figure, "linear_model.png")
