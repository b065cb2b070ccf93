"""梯度下降 · Gradient descent

Code: zoo/models/linear.py
Picture: gradient_descent.png

批量与随机 All rows a step (batch), and one row a step (stochastic).
"""

import torch

from zoo import lessons
from zoo.models.linear import Linear

generator = torch.Generator().manual_seed(1)
x = torch.linspace(0.1, 3, 30)[:, None]  # [30, 1]
y = 2 * x + 0.4 * torch.randn(30, 1, generator=generator)
slope = (x * y).sum() / (x * x).sum()  # the best w in y = wx, in closed form
LR, EPOCHS = 0.03, 30


def descend(rows_a_step: int) -> list[float]:
    """Return w after every step: w = w - lr * mean 2x(wx - y)."""
    model = Linear(columns=1)
    w = model.linear.weight
    with torch.no_grad():
        w.fill_(0.0)
        model.linear.bias.fill_(0.0)
        steps = [w.item()]
        for _ in range(EPOCHS):
            for rows in torch.randperm(30, generator=generator).split(rows_a_step):
                w -= LR * (2 * x[rows] * (model(x[rows]) - y[rows])).mean()
                steps.append(w.item())
    return steps


def loss(w: float) -> float:
    """Return the mean squared error over all rows."""
    return ((w * x - y) ** 2).mean().item()


batch, stochastic = descend(30), descend(1)
print(f"least squares: w = {slope:.4f}, loss {loss(slope.item()):.4f}")
for name, steps in (("batch", batch), ("stochastic", stochastic)):
    print(f"{name:<11} {len(steps) - 1:3d} steps: w = {steps[-1]:.4f}, loss {loss(steps[-1]):.4f}")

# 公式与自动求导 The formula is what autograd finds.
w = torch.tensor(0.5, requires_grad=True)
((w * x - y) ** 2).mean().backward()
lessons.agree("mean 2x(wx - y)", (2 * x * (0.5 * x - y)).mean(), w.grad)
lessons.agree("batch: w", batch[-1], slope, tolerance=0.01)
lessons.agree("stochastic: w", stochastic[-1], slope, tolerance=0.3)

figure = lessons.figure(7.2, 3.2)
left, right = figure.subplots(1, 2, sharey=True)
for axes, name, steps in ((left, "batch", batch), (right, "stochastic", stochastic)):
    axes.plot([loss(w) for w in steps], color="#2563a8", linewidth=1.2)
    axes.axhline(loss(slope.item()), color="0.6", linewidth=1, zorder=0)
    axes.set(title=f"{name}: {EPOCHS} epochs", xlabel="step", yscale="log")
    axes.grid(alpha=0.25)
left.set_ylabel("loss over all rows")
lessons.save(figure, "gradient_descent.png")
