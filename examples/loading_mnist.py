"""加载 MNIST · Loading MNIST

Code: zoo/datasets/mnist.py, zoo/datasets/idx.py
Picture: loading_mnist.png
"""

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from zoo import datasets, lessons, plots
from zoo.network.pipeline import Normalize, channels_first

# 数据随项目提供 The data ships with the project: four IDX files, checked by their SHA-256.
data = datasets.load("mnist")
for name in ("train", "validation", "test"):
    inputs, targets = getattr(data, name)
    print(f"{name:<10} {inputs.shape} {inputs.dtype}, {targets.shape} {targets.dtype}")
print(f"{data.source}; {data.license}; SHA-256 {data.sha256[:12]}...")
print("of each digit, train:", np.bincount(data.train.targets).tolist())

# 均值与标准差 0.1307 and 0.3081 are not magic: those of all 60,000 training images' pixels / 255.
parts = [data.train.inputs, data.validation.inputs]
share = sum(np.bincount(part.ravel(), minlength=256) for part in parts) / (60_000 * 28 * 28)
values = np.arange(256) / 255
mean = float(share @ values)
std = float(np.sqrt(share @ (values - mean) ** 2))
print(f"mean {mean:.6f}, standard deviation {std:.6f}")
lessons.agree("mean", mean, data.spec.mean[0], tolerance=5e-5)
lessons.agree("standard deviation", std, data.spec.std[0], tolerance=5e-5)

# 一个小批量 A batch, normalized: ToTensor and Normalize of the notes.
split = TensorDataset(*map(torch.from_numpy, data.test))
x, y = next(iter(DataLoader(split, batch_size=64)))
batch = Normalize(data.spec)(channels_first(x))
print(f"batch {tuple(batch.shape)}, {batch.min():.4f} to {batch.max():.4f}")
notes = (x.permute(0, 3, 1, 2) / 255 - 0.1307) / 0.3081
lessons.agree("as in the notes", batch, notes)
path = lessons.picture_path("loading_mnist.png")
plots.contact_sheet(x[:30].numpy(), [str(int(label)) for label in y[:30]], [True] * 30, path)
