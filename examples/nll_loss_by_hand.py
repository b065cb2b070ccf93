"""手写负对数似然 NLLLoss · NLLLoss by hand

Code: zoo/scratch/loss.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 取出正确类别的那个数 loss = -mean of log p[t]: it takes one number from each row.
p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
targets = np.array([0, 1])
loss, gradient = lessons.beside_loss(scratch.NLLLoss(), nn.NLLLoss(), np.log(p), targets)
print(f"-(log 0.7 + log 0.3) / 2 = {loss:.4f}, gradient {gradient.tolist()}")
lessons.agree("by the formula", loss, -(np.log(0.7) + np.log(0.3)) / 2, 1e-12)

# LogSoftmax + NLLLoss = CrossEntropyLoss
rng = np.random.default_rng(0)
logits, targets = rng.standard_normal((64, 10)), rng.integers(0, 10, 64)
log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
print("a batch of 64 rows, 10 classes:")
loss, _ = lessons.beside_loss(scratch.NLLLoss(), nn.NLLLoss(), log_p, targets)
lessons.agree("CrossEntropyLoss", loss, scratch.CrossEntropyLoss()(logits, targets), 1e-12)
