"""卷积神经网络（高级篇） Inception 块 · Inception block

Code: zoo/models/googlenet.py
Picture: inception_block.png
"""

import torch
from torch import nn
from torch.nn import functional as F

import zoo
from zoo import lessons
from zoo.datasets import mnist
from zoo.network.pipeline import Normalize, channels_first


def multiplications(conv: nn.Conv2d, side: int) -> int:
    """Of a convolution that keeps the image's side."""
    return conv.weight.numel() * side * side


# 1x1 卷积 Why 1x1: fewer channels first make the large convolution ten times cheaper.
direct = multiplications(nn.Conv2d(192, 32, 5, padding=2), 28)
narrow = multiplications(nn.Conv2d(192, 16, 1), 28)
narrow += multiplications(nn.Conv2d(16, 32, 5, padding=2), 28)
print(f"5x5 on 192 channels: {direct:,} multiplications; 1x1 to 16 channels first: {narrow:,}")
assert (direct, narrow) == (120_422_400, 12_443_648)

# 四个分支 Four branches over one input, joined along the channels.
card = zoo.card("googlenet")
model = zoo.load("googlenet")
block = model.incep1
digit = torch.from_numpy(mnist.load_test().inputs[:1])
with torch.inference_mode():
    x = F.relu(F.max_pool2d(model.conv1(Normalize(card.spec)(channels_first(digit))), 2))
    branches = {
        "average pool, 1x1": block.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1)),
        "1x1": block.branch1x1(x),
        "1x1, 5x5": block.branch5x5_2(block.branch5x5_1(x)),
        "1x1, 3x3, 3x3": block.branch3x3_3(block.branch3x3_2(block.branch3x3_1(x))),
    }
    y = block(x)
for name, branch in branches.items():
    print(f"{name:<18} {tuple(x.shape)} -> {tuple(branch.shape)}")
print("joined             ->", tuple(y.shape))
assert y.shape[1] == sum(branch.shape[1] for branch in branches.values()) == 88
lessons.agree("block(x) is the four joined", y, torch.cat(list(branches.values()), dim=1), 0)

figure = lessons.figure(7.0, 4.4)
grid = figure.subplots(4, 6)
for row, (name, branch) in zip(grid, branches.items(), strict=True):
    for number, axes in enumerate(row):
        axes.imshow(branch[0, number].numpy(), cmap="viridis")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
figure.suptitle("the first six channels of each branch, for one digit")
lessons.save(figure, "inception_block.png")
