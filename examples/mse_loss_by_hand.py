"""手写均方误差 MSELoss · MSELoss by hand

Code: zoo/scratch/loss.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 三个数 loss = mean (y - t)^2, its gradient 2 (y - t) / n.
outputs, targets = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0])
loss, gradient = lessons.beside_loss(scratch.MSELoss(), nn.MSELoss(), outputs, targets)
print(f"(1 + 0 + 4) / 3 = {loss:.4f}, gradient {gradient.round(4)}")
lessons.agree("by the formula", gradient, 2 * (outputs - targets) / 3, 1e-12)

rng = np.random.default_rng(0)
outputs, targets = rng.standard_normal((32, 10)), rng.standard_normal((32, 10))
print("a batch of 32 rows of 10:")
lessons.beside_loss(scratch.MSELoss(), nn.MSELoss(), outputs, targets)
