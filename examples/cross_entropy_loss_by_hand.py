"""手写交叉熵 CrossEntropyLoss · CrossEntropyLoss by hand

Code: zoo/scratch/loss.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 一行 One row: loss = log sum exp z - z[t]; its gradient is softmax(z) - one-hot(t).
logits, targets = np.array([[2.0, 1.0, 0.1]]), np.array([0])
criterion = scratch.CrossEntropyLoss()
loss, gradient = lessons.beside_loss(criterion, nn.CrossEntropyLoss(), logits, targets)
p = np.exp(logits) / np.exp(logits).sum()
print(f"probabilities {p[0].round(4)}, loss -log {p[0, 0]:.4f} = {loss:.4f}")
print(f"gradient      {gradient[0].round(4)}")
lessons.agree("softmax - one-hot", gradient, p - np.eye(3)[targets], 1e-12)

rng = np.random.default_rng(0)
print("a batch of 128 rows, 10 classes:")
logits, targets = 5 * rng.standard_normal((128, 10)), rng.integers(0, 10, 128)
_, gradient = lessons.beside_loss(criterion, nn.CrossEntropyLoss(), logits, targets)
# 每行和为 0 What one class gains the others lose.
lessons.agree("each row sums to 0", gradient.sum(axis=1), np.zeros(128), 1e-12)

# 不溢出 Large scores: the largest is taken away before exp, so nothing overflows.
large = criterion(np.array([[1000.0, 0.0]]), np.array([1]))
print("scores 1000 and 0, target 1: loss", large)
assert large == 1000
