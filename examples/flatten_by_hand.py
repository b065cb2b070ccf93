"""手写展平层 Flatten · Flatten by hand

Code: zoo/scratch/container.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 只换形状 The numbers stay, the shape changes; backward gives the gradient its shape back.
x = np.arange(2.0 * 3 * 2 * 2).reshape(2, 3, 2, 2)
layer = scratch.Flatten()
y, dy, dx = lessons.beside(layer, nn.Flatten(), x)
print(f"x {x.shape} -> y {y.shape}; dy {dy.shape} -> dx {dx.shape}")
print("first row of y:", y[0].tolist())
assert y.shape == (2, 12)
assert dx.shape == x.shape
lessons.agree("dx is dy in x's shape", dx, dy.reshape(x.shape), 0)
