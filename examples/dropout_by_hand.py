"""手写随机失活层 Dropout · Dropout by hand

Code: zoo/scratch/dropout.py

随机数不同, 掩码相同才能比较 Random numbers differ, so torch gets the mask that was drawn by hand.
"""

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch

P = 0.3
layer = scratch.Dropout(P, rng=np.random.default_rng(0))
x = np.random.default_rng(1).uniform(1, 2, (200, 500))

# 训练 In training: dropped with probability p, the rest divided by 1 - p.
y = layer(x)
mask = y != 0
print("x:", x[0, :6].round(3), "\ny:", y[0, :6].round(3))
theirs = nn.Dropout(P)(torch.from_numpy(x)).numpy()
for name, values in (("by hand", y), ("torch", theirs)):
    print(f"{name:<8} dropped {100 * (values == 0).mean():.2f} %, mean {values.mean():.4f}")
    assert abs((values == 0).mean() - P) < 0.01, "p of them are dropped"
    assert abs(values.mean() - x.mean()) < 0.02, "the mean stays"
lessons.agree("kept: x / (1 - p)", y[mask], x[mask] / (1 - P), 1e-10)
lessons.agree("torch does the same", theirs[theirs != 0], x[theirs != 0] / (1 - P), 1e-10)

# 反向 Backward: the same mask on the gradient, as autograd has it.
dy = np.random.default_rng(2).standard_normal(x.shape)
dx = layer.backward(dy)
start = torch.tensor(x, requires_grad=True)
(start * torch.from_numpy(mask) / (1 - P)).backward(torch.from_numpy(dy))
lessons.agree("dx", dx, start.grad, 1e-10)

# 评估 In evaluation nothing happens.
layer.eval()
lessons.agree("evaluation: y = x", layer(x), nn.Dropout(P).eval()(torch.from_numpy(x)), 0)
lessons.agree("evaluation: dx = dy", layer.backward(dy), dy, 0)
