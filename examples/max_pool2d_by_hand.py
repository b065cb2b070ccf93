"""手写最大池化层 MaxPool2d · MaxPool2d by hand

Code: zoo/scratch/pool.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 每个窗口取最大 Of each window the largest; its gradient goes back to the place it came from.
layer = scratch.MaxPool2d(2)
x = np.array([[3.0, 4, 6, 5], [2, 9, 6, 8], [1, 6, 7, 8], [9, 7, 4, 6]])[None, None]
print(f"x:\n{x[0, 0]}\ny:\n{layer(x)[0, 0]}")
dx = layer.backward(np.array([[10.0, 20], [30, 40]])[None, None])
print(f"dx for dy = 10, 20, 30, 40:\n{dx[0, 0]}")
lessons.agree("nothing is lost", dx.sum(), 100, 0)

# 前向与反向 Forward and backward beside torch; the second has windows that overlap.
x = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
print("kernel 2:")
lessons.beside(scratch.MaxPool2d(2), nn.MaxPool2d(2), x)
print("kernel 3, stride 2, padding 1:")
overlapping = {"kernel_size": 3, "stride": 2, "padding": 1}
lessons.beside(scratch.MaxPool2d(**overlapping), nn.MaxPool2d(**overlapping), x)
print("average, kernel 2:")
lessons.beside(scratch.AvgPool2d(2), nn.AvgPool2d(2), x)
