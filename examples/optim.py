"""优化器 optim · Optimizers (optim)

Code: zoo/training/step.py
Picture: optim.png
"""

import numpy as np
import torch

from zoo import lessons

# 狭长的山谷 A long narrow valley, f = a^2 / 2 + 10 b^2, whose bottom is at (0, 0).
START, STEPS = [-9.0, 2.2], 60


def valley(a, b):
    """Return f at (a, b), tensors or arrays."""
    return a**2 / 2 + 10 * b**2


def descend(make) -> np.ndarray:
    """Return the way down, [STEPS + 1, 2]."""
    point = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = make([point])
    way = [point.detach().clone()]
    for _ in range(STEPS):
        optimizer.zero_grad()
        valley(*point).backward()
        optimizer.step()
        way.append(point.detach().clone())
    return torch.stack(way).numpy()


ways = {
    "SGD": descend(lambda p: torch.optim.SGD(p, lr=0.09)),
    "SGD, momentum 0.8": descend(lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.8)),
    "AdamW": descend(lambda p: torch.optim.AdamW(p, lr=0.6, weight_decay=0.0)),
}
for name, way in ways.items():
    print(f"{name:<18} f {valley(*way[0]):.1f} -> {valley(*way[-1]):.1e} in {STEPS} steps")
    assert valley(*way[-1]) < 0.05 * valley(*way[0])

# step() 只是这一行 SGD's step() is this one line: p = p - lr * gradient.
lessons.agree("SGD by its formula", ways["SGD"][1], np.array(START) * [1 - 0.09, 1 - 0.09 * 20])

figure = lessons.figure(6.4, 3.2)
axes = figure.subplots()
a, b = np.meshgrid(np.linspace(-10, 3, 200), np.linspace(-3, 3, 200))
axes.contour(a, b, valley(a, b), levels=[0.5, 3, 10, 25, 50, 90], colors="0.8", linewidths=1)
for (name, way), color in zip(ways.items(), ("#2563a8", "#c2571a", "#3a7d44"), strict=True):
    axes.plot(*way.T, marker="o", markersize=2.5, linewidth=1, color=color, label=name)
axes.set(title=f"{STEPS} steps down a narrow valley", xlabel="a", ylabel="b")
axes.legend(frameon=False, fontsize=8, loc="lower left", ncols=3)
lessons.save(figure, "optim.png")
