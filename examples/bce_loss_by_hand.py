"""手写二分类交叉熵 BCELoss · BCELoss by hand

Code: zoo/scratch/loss.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 两个例子 loss = -mean (t log p + (1 - t) log(1 - p)): sure and right, sure and wrong.
for p in (0.9, 0.1):
    print(f"p = {p}, target 1: loss {scratch.BCELoss()(np.array([p]), np.array([1.0])):.4f}")

rng = np.random.default_rng(0)
logits = 3 * rng.standard_normal((64, 1))
targets = rng.integers(0, 2, (64, 1)).astype(np.float64)
p = 1 / (1 + np.exp(-logits))
print("BCELoss, of probabilities:")
loss, _ = lessons.beside_loss(scratch.BCELoss(), nn.BCELoss(), p, targets)
print("BCEWithLogitsLoss, of logits:")
criterion = scratch.BCEWithLogitsLoss()
same, gradient = lessons.beside_loss(criterion, nn.BCEWithLogitsLoss(), logits, targets)
lessons.agree("both losses", loss, same, 1e-12)
lessons.agree("d logits = (p - t) / n", gradient, (p - targets) / 64, 1e-12)

# 为什么要合并 Why the two in one: at a logit of -800 a sigmoid of its own has become 0.
with np.errstate(over="ignore", divide="ignore"):
    apart = -np.log(1 / (1 + np.exp(800.0)))
together = criterion(np.array([-800.0]), np.array([1.0]))
print(f"logit -800, target 1: apart {apart}, together {together}")
assert together == 800
