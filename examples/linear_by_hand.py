"""手写全连接层 Linear · Linear by hand

Code: zoo/scratch/linear.py
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

# 一个例子 y = x W^T + b, in numbers.
layer = scratch.Linear(3, 2, dtype=np.float64)
layer.load_state_dict({"weight": np.array([[1.0, 2, 3], [4, 5, 6]]), "bias": np.array([0.5, -0.5])})
x = np.array([[1.0, 0, -1]])
print(f"x {x[0]} -> y {layer(x)[0]}")
dx = layer.backward(np.array([[1.0, 10]]))
print(f"dy [1, 10] -> dx {dx[0]} = 1 * [1 2 3] + 10 * [4 5 6]")
print(f"dW =\n{layer.weight.grad}\ndb = {layer.bias.grad}")
lessons.agree("dx", dx, [[41, 52, 63]], 0)
lessons.agree("dW", layer.weight.grad, [[1, 0, -1], [10, 0, -10]], 0)

# 前向与反向 Forward and backward beside torch, 784 -> 10, a batch of 32.
rng = np.random.default_rng(0)
layer = scratch.Linear(784, 10, rng=rng, dtype=np.float64)
x = rng.standard_normal((32, 784))
y, dy, dx = lessons.beside(layer, nn.Linear(784, 10), x)
lessons.agree("dx = dy W", dx, dy @ layer.weight.data, 1e-10)
lessons.agree("dW = dy^T x", layer.weight.grad, dy.T @ x, 1e-10)
