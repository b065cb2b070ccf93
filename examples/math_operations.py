"""数学运算 · Math operations

Code: zoo/evaluation/metrics.py
"""

import numpy as np
import torch

from zoo import lessons
from zoo.evaluation import metrics

a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
b = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
x, y = a.numpy(), b.numpy()

# 逐元素 Element by element, and the matrix product.
print("a + b =", (a + b).tolist())
print("a * b =", (a * b).tolist(), " element by element")
print("a @ b =", (a @ b).tolist(), " matrix product")
lessons.agree("a + b", torch.add(a, b), x + y)
lessons.agree("a * b", torch.mul(a, b), x * y)
lessons.agree("a @ b", torch.matmul(a, b), x @ y)

# 广播 Broadcasting: the row is added to every row.
row = torch.tensor([100.0, 200.0])
print("a + row =", (a + row).tolist())
lessons.agree("a + row", a + row, x + np.array([100, 200]))

# 归约 Reductions; dim says which dimension disappears.
print("sum", a.sum().item(), " sum(dim=0)", a.sum(dim=0).tolist(), " mean", a.mean().item())
lessons.agree("sum(dim=1)", a.sum(dim=1), x.sum(axis=1))

# 原地操作 A name with "_" at its end works in place.
c = a.clone()
c.add_(1)
print("clone().add_(1):", c.tolist(), " a is still", a.tolist())
assert torch.equal(c, a + 1)

# 准确率 Put together: accuracy is argmax, ==, mean; the loss is log, exp, sum.
logits = torch.tensor([[3.0, 1.0, 0.0], [0.2, 0.1, 0.4], [0.0, 5.0, 1.0], [2.0, 1.0, 0.5]])
targets = torch.tensor([0, 2, 1, 1])
accuracy = (logits.argmax(dim=1) == targets).double().mean()
loss = (logits.exp().sum(dim=1).log() - logits[torch.arange(4), targets]).mean()
zoo = metrics.measure("classification", logits.numpy(), targets.numpy())
print(f"accuracy {accuracy:.2f}, loss {loss:.4f}; zoo.evaluation.metrics says {zoo}")
lessons.agree("accuracy", accuracy, zoo["accuracy"])
lessons.agree("loss", loss, zoo["loss"])
