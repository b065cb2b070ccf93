"""反向传播 · Back-propagation

Code: zoo/scratch/linear.py, zoo/scratch/activation.py, zoo/scratch/loss.py

先手算一个数, 再算一个网络 First one number by hand, then a network, each beside autograd.
"""

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch

# 一个数 loss = (wx - y)^2: forward from left to right, backward from right to left.
w, x, y = 1.0, 2.0, 4.0
prediction = w * x  # 2
residual = prediction - y  # -2
loss = residual**2  # 4
d_residual = 2 * residual  # -4
d_prediction = d_residual * 1  # -4
d_w = d_prediction * x  # -8
print(f"loss {loss:g}, d loss / d w = {d_w:g}")
leaf = torch.tensor(w, requires_grad=True)
((leaf * x - y) ** 2).backward()
lessons.agree("d w", d_w, leaf.grad)

# 两层网络 Two layers: each hands the gradient of its output on to the layer before.
rng = np.random.default_rng(0)
layers = [
    scratch.Linear(4, 8, rng=rng, dtype=np.float64),
    scratch.Tanh(),
    scratch.Linear(8, 3, rng=rng, dtype=np.float64),
]
criterion = scratch.CrossEntropyLoss()
inputs, targets = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)

values = inputs
for layer in layers:
    values = layer(values)
by_hand = criterion(values, targets)
gradient = criterion.backward()
for layer in reversed(layers):
    print(f"gradient {gradient.shape} enters {layer}")
    gradient = layer.backward(gradient)

# 自动求导 The same network by torch.
network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
arrays = [p.data for layer in layers for p in layer.parameters()]
with torch.no_grad():
    for parameter, array in zip(network.parameters(), arrays, strict=True):
        parameter.copy_(torch.from_numpy(array))
start = torch.tensor(inputs, requires_grad=True)
torch_loss = nn.CrossEntropyLoss()(network(start), torch.from_numpy(targets))
torch_loss.backward()
lessons.agree("loss", by_hand, torch_loss, 1e-12)
lessons.agree("d inputs", gradient, start.grad, 1e-12)
grads = [p.grad for layer in layers for p in layer.parameters()]
for (name, parameter), grad in zip(network.named_parameters(), grads, strict=True):
    lessons.agree(f"d {name}", grad, parameter.grad, 1e-12)
