"""张量与 NumPy · Tensors and NumPy

Code: zoo/network/pipeline.py
"""

import numpy as np
import torch

from zoo import lessons
from zoo.datasets import mnist
from zoo.network.pipeline import channels_first

torch.manual_seed(0)

# 创建张量 Creating tensors: from numbers, of a shape, at random.
print("from a list:", torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
for name, tensor in {
    "zeros": torch.zeros(2, 3),
    "ones": torch.ones(2, 3, dtype=torch.int64),
    "arange": torch.arange(6).reshape(2, 3),
    "rand": torch.rand(2, 3),
}.items():
    print(f"{name:<8} {tuple(tensor.shape)} {tensor.dtype}: {tensor.numpy().round(3).tolist()}")

# 共享内存 A NumPy array and the tensor made from it share their memory; torch.tensor copies.
array = np.zeros(3, np.float32)
shared, copied = torch.from_numpy(array), torch.tensor(array)
array[0] = 7
print(f"after array[0] = 7: from_numpy {shared.tolist()}, torch.tensor {copied.tolist()}")
assert shared[0] == 7, "from_numpy shares"
assert copied[0] == 0, "tensor copies"
shared += 1
assert array.tolist() == [8, 1, 1], "and the other way round"

# 一张图片 An image: NumPy has [N, H, W, C] of uint8, torch's layers take [N, C, H, W] of float32.
digit = mnist.load_test().inputs[:1]
tensor = channels_first(torch.from_numpy(digit))
print(f"digit: {digit.shape} {digit.dtype} -> {tuple(tensor.shape)} {tensor.dtype}")
lessons.agree("the same pixels", tensor[0, 0], digit[0, :, :, 0], tolerance=0)
