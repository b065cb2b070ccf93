"""手写激活函数 ReLU · ReLU by hand

Code: zoo/scratch/activation.py
Picture: relu_by_hand.png
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

layer, peer = scratch.ReLU(), nn.ReLU()
points = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
y = layer(points)
slope = layer.backward(np.ones(5))
for row in zip(points, y, slope, strict=True):
    print("x {:4.1f}  y {:7.4f}  dy/dx {:.4f}".format(*row))

# 前向与反向 Forward and backward beside torch; dx = dy times 1 where x > 0, else 0.
x = np.linspace(-5, 5, 201)
y, dy, dx = lessons.beside(layer, peer, x)
lessons.agree("dx by the formula", dx, dy * ((x > 0).astype(float)), 1e-12)

y = layer(x)
figure = lessons.figure(5.0, 3.0)
axes = figure.subplots()
axes.plot(x, y, color="#2563a8", label="y")
axes.plot(x, layer.backward(np.ones_like(x)), "--", color="#c2571a", label="dy/dx")
axes.set(title="ReLU", xlabel="x")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
lessons.save(figure, "relu_by_hand.png")
