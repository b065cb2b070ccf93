"""卷积神经网络（基础篇） · Basic convolutional network

Code: zoo/models/cnn.py
Picture: basic_cnn.png
"""

import torch
from torch.nn import functional as F

import zoo
from zoo import lessons
from zoo.datasets import mnist
from zoo.network.pipeline import Normalize, channels_first

card = zoo.card("cnn")
model = zoo.load("cnn")  # trained, eval mode
images, targets = (torch.from_numpy(part[:1000]) for part in mnist.load_test())
x = Normalize(card.spec)(channels_first(images))

# 形状 The shapes on the way; 28 - 5 + 1 = 24, half of it 12, 12 - 5 + 1 = 8, half of it 4.
with torch.inference_mode():
    maps = model.conv1(x)
    print(f"images {tuple(x.shape)}\nconv1  {tuple(maps.shape)}")
    pooled = F.relu(F.max_pool2d(maps, 2))
    print(f"pool   {tuple(pooled.shape)}")
    deep = F.relu(F.max_pool2d(model.conv2(pooled), 2))
    print(f"conv2, pool {tuple(deep.shape)}\nflat   {tuple(deep.flatten(1).shape)}")
    logits = model.fc(deep.flatten(1))
    lessons.agree("model(x) is these steps", logits, model(x))

# 参数 Parameters: a convolution has out * (in * 5 * 5 + 1), whatever the size of the image.
counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
print("parameters:", counts, "together", sum(counts.values()))
assert counts == {"conv1": 10 * 26, "conv2": 20 * 251, "fc": 10 * 321}

right = int((logits.argmax(dim=1) == targets).sum())
print(f"{right} of {len(targets)} test digits right; on all 10,000: {card.score}")
assert right > 980

figure = lessons.figure(7.2, 3.0)
grid = figure.subplots(2, 6)
for axes in grid.flat:
    axes.axis("off")
grid[0, 0].imshow(images[0, :, :, 0].numpy(), cmap="gray")
grid[0, 0].set_title("image", fontsize=9)
for number, axes in enumerate([*grid[0, 1:], *grid[1, 1:]]):
    axes.imshow(pooled[0, number].numpy(), cmap="viridis")
    axes.set_title(f"map {number}", fontsize=9)
figure.suptitle("what the ten filters of conv1 see, after pooling and ReLU")
lessons.save(figure, "basic_cnn.png")
