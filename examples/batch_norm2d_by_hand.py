"""手写批量归一化层 BatchNorm2d · BatchNorm2d by hand

Code: zoo/scratch/batchnorm.py
Picture: batch_norm2d_by_hand.png
"""

import numpy as np
from torch import nn

from zoo import lessons, scratch

rng = np.random.default_rng(0)
centers = np.array([-4.0, 1.0, 6.0])[:, None, None]
spreads = np.array([0.5, 1.0, 2.0])[:, None, None]
x = centers + spreads * rng.standard_normal((16, 3, 8, 8))  # three channels, all different

layer, peer = scratch.BatchNorm2d(3, dtype=np.float64), nn.BatchNorm2d(3)
y, dy, dx = lessons.beside(layer, peer, x)
over = (0, 2, 3)
for name, array in (("x", x), ("y", y)):
    print(f"{name}: mean {array.mean(over).round(3) + 0.0}, deviation {array.std(over).round(3)}")
assert np.allclose(y.mean(over), 0, atol=1e-9)
assert np.allclose(y.std(over), 1, atol=1e-4)
# 平移无关 A shift of x changes nothing in y, so dx sums to 0 in each channel.
lessons.agree("dx sums to 0", dx.sum(over), np.zeros(3), 1e-9)

# 运行统计量 Running statistics, a tenth of the way a batch, are what evaluation uses.
lessons.agree("running mean", layer.running_mean, peer.running_mean, 1e-10)
lessons.agree("running variance", layer.running_var, peer.running_var, 1e-10)
lessons.agree("after one batch", layer.running_mean, 0.1 * x.mean(over), 1e-10)
layer.eval()
peer.eval()
print("in evaluation:")
for parameter in (*layer.parameters(), *peer.parameters()):
    parameter.grad = None
lessons.beside(layer, peer, x)

figure = lessons.figure(7.0, 3.0)
for axes, name, array in zip(figure.subplots(1, 2), ("before", "after"), (x, y), strict=True):
    for channel, color in enumerate(("#2563a8", "#c2571a", "#3a7d44")):
        values = array[:, channel].ravel()
        axes.hist(values, bins=40, alpha=0.6, color=color, label=f"channel {channel}")
    axes.set(title=f"{name} normalization", xlabel="value", yticks=[])
    axes.spines["left"].set_visible(False)
axes.legend(frameon=False, fontsize=8)
lessons.save(figure, "batch_norm2d_by_hand.png")
