"""手写卷积层 Conv2d · Conv2d by hand

Code: zoo/scratch/conv.py
Picture: conv2d_by_hand.png
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch
from zoo.datasets import mnist

rng = np.random.default_rng(0)

# 一个窗口 One output is one window times the kernel, summed.
layer = scratch.Conv2d(1, 1, kernel_size=3, bias=False, dtype=np.float64)
layer.load_state_dict({"weight": np.arange(1.0, 10).reshape(1, 1, 3, 3)})
rows = [[3, 4, 6, 5, 7], [2, 4, 6, 8, 2], [1, 6, 7, 8, 4], [9, 7, 4, 6, 2], [3, 7, 5, 4, 1]]
image = np.array(rows, np.float64)[None, None]  # [1, 1, 5, 5]
y = layer(image)
window = image[0, 0, :3, :3]
print(f"first window:\n{window}\nits output: {(window * layer.weight.data[0, 0]).sum():g}")
print(f"all outputs:\n{y[0, 0]}")
lessons.agree("the first of all", y[0, 0, 0, 0], (window * layer.weight.data[0, 0]).sum(), 0)

# 前向与反向 Forward and backward beside torch: 3 -> 4 channels, stride 2, padding 1.
layer = scratch.Conv2d(3, 4, 3, stride=2, padding=1, rng=rng, dtype=np.float64)
peer = nn.Conv2d(3, 4, 3, stride=2, padding=1)
y, dy, dx = lessons.beside(layer, peer, rng.standard_normal((2, 3, 9, 9)))
# 偏置的梯度 A bias is added at every place, so its gradient is the sum over all of them.
lessons.agree("d bias = sum of dy", layer.bias.grad, dy.sum(axis=(0, 2, 3)), 1e-10)

# 边缘 A kernel that looks for edges, over a digit.
sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
edges = scratch.Conv2d(1, 2, 3, padding=1, bias=False, dtype=np.float64)
edges.load_state_dict({"weight": np.stack([sobel, sobel.T])[:, None]})
digit = mnist.load_test().inputs[0, :, :, 0] / 255
vertical, horizontal = edges(digit[None, None])[0]
figure = lessons.figure(6.4, 2.45)
for axes, (name, picture) in zip(
    figure.subplots(1, 3),
    {"digit": digit, "vertical edges": vertical, "horizontal edges": horizontal}.items(),
    strict=True,
):
    limits = {"vmin": 0, "vmax": 1} if name == "digit" else {"vmin": -4, "vmax": 4}
    axes.imshow(picture, cmap="gray" if name == "digit" else "RdBu", **limits)
    axes.set_title(name)
    axes.axis("off")
lessons.save(figure, "conv2d_by_hand.png")
