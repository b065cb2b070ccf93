"""加载 MNIST · Loading MNIST

Code: zoo/datasets/mnist.py, zoo/datasets/idx.py
Picture: loading_mnist.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# MNIST 是 70,000 张 28×28 的手写数字图，几乎每门课都用它。讲义用 `torchvision.datasets.MNIST`
# 加载，`download=True` 时从网上下载。这里数据随项目提供，不用上网：我们把四个文件摆成
# torchvision 要的目录，再用讲义的同一段程序加载，一个字都不用改。
#
# 顺便弄清三件事：文件里到底是什么；`ToTensor` 和 `Normalize` 各做了什么；0.1307 和 0.3081
# 从哪里来。

# %% [markdown] lang="en"
# ## Why
# MNIST is 70,000 handwritten digits of 28 x 28 pixels, and nearly every course uses it. The notes
# load it by `torchvision.datasets.MNIST`, which with `download=True` fetches it from the network.
# Here the data come with the project and no network is needed: we lay out its four files in the
# folders that torchvision expects, and load them by the program of the notes as it stands.
#
# On the way, three things become clear: what is in the files, what `ToTensor` and `Normalize` do,
# and where 0.1307 and 0.3081 come from.

# %% [markdown] lang="zh"
# ## 公式
# 文件里的像素 $v$ 是 0 到 255 的整数（uint8），图的形状是 $[28, 28]$。`ToTensor` 把它变成
# $[1, 28, 28]$ 的 float32，并除以 255；`Normalize` 再减均值、除以标准差：
#
# $$
# x = \frac{v / 255 - \mu}{\sigma}, \qquad \mu = 0.1307,\quad \sigma = 0.3081
# $$
#
# 均值和标准差取自全部 60,000 张训练图的 $M = 60000 \times 784$ 个像素：
#
# $$
# \mu = \frac{1}{M} \sum_{i=1}^{M} \frac{v_i}{255}, \qquad
# \sigma^2 = \frac{1}{M} \sum_{i=1}^{M} \left(\frac{v_i}{255} - \mu\right)^2
# $$
#
# 这样输入的均值约为 0，方差约为 1，正是权重初始化所假定的。背景的 0 变成
# $-0.1307 / 0.3081 = -0.4242$，最亮的 255 变成 $2.8215$。

# %% [markdown] lang="en"
# ## The formulas
# A pixel $v$ in the file is an integer from 0 to 255 (uint8), and an image has the shape
# $[28, 28]$. `ToTensor` makes it float32 of shape $[1, 28, 28]$ and divides by 255; `Normalize`
# then subtracts the mean and divides by the standard deviation:
#
# $$
# x = \frac{v / 255 - \mu}{\sigma}, \qquad \mu = 0.1307,\quad \sigma = 0.3081
# $$
#
# Both are taken over the $M = 60000 \times 784$ pixels of all 60,000 training images:
#
# $$
# \mu = \frac{1}{M} \sum_{i=1}^{M} \frac{v_i}{255}, \qquad
# \sigma^2 = \frac{1}{M} \sum_{i=1}^{M} \left(\frac{v_i}{255} - \mu\right)^2
# $$
#
# So inputs have a mean near 0 and a variance near 1, as the initialization of the weights assumes.
# The background's 0 becomes $-0.1307 / 0.3081 = -0.4242$, and the brightest 255 becomes $2.8215$.

# %% [markdown] lang="zh"
# ## 1. 文件里是什么
# IDX 格式：4 字节的魔数（第 3 字节是类型，8 表示 uint8；第 4 字节是维数），然后每一维的大小
# 各 4 字节，高位在前（big-endian），之后就是数据。`struct` 的 `">4i"` 读四个高位在前的整数。

# %% [markdown] lang="en"
# ## 1. What is in the files
# The IDX format: a magic number of 4 bytes (the third is the type, 8 for uint8; the fourth the
# number of dimensions), then 4 bytes for the size of each dimension, most significant byte first
# (big-endian), then the data. `">4i"` of `struct` reads four big-endian integers.

# %%
import gzip
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

import zoo
from zoo import datasets, lessons
from zoo.datasets import mnist

names = [
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
]  # fmt: skip
content = gzip.decompress((mnist.FILES / f"{names[2]}.gz").read_bytes())
magic, count, height, width = struct.unpack(">4i", content[:16])
lessons.say(
    f"{names[2]}：魔数 {magic}，{count} 张图，{height}x{width}",
    f"{names[2]}: magic number {magic}, {count} images of {height}x{width}",
)
assert (magic, len(content)) == (0x803, 16 + count * height * width)

# %% [markdown] lang="zh"
# ## 2. torchvision 的目录
# `MNIST(root)` 在 `root/MNIST/raw/` 里找四个解压后的文件，找到就不下载。我们放进一个临时目录。
# `MNIST` 一次读入内存，所以之后可以删掉目录。

# %% [markdown] lang="en"
# ## 2. torchvision's folders
# `MNIST(root)` looks for the four unpacked files in `root/MNIST/raw/`, and downloads nothing if
# they are there. We put them into a temporary folder. `MNIST` reads them into memory at once, so
# the folder can go afterwards.

# %%
transform = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))],
)
with tempfile.TemporaryDirectory() as root:
    raw = Path(root) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in names:
        with gzip.open(mnist.FILES / f"{name}.gz") as packed, (raw / name).open("wb") as file:
            shutil.copyfileobj(packed, file)
    train_dataset = MNIST(root, train=True, transform=transform, download=False)
    test_dataset = MNIST(root, train=False, transform=transform, download=False)
counts = train_dataset.targets.bincount().tolist()
lessons.say(
    f"{len(train_dataset)} 张训练图，{len(test_dataset)} 张测试图\n训练图里 0 到 9 各有 {counts}",
    f"{len(train_dataset)} images for training, {len(test_dataset)} for the test\n"
    f"of 0 to 9 for training: {counts}",
)
assert (len(train_dataset), len(test_dataset)) == (60_000, 10_000)

# %% [markdown] lang="zh"
# ## 3. 两个变换
# 不带变换时 `MNIST` 给出 PIL 图像。`ToTensor` 改三样：类型、范围、形状（通道放到最前面）。
# `Compose` 只是依次调用。

# %% [markdown] lang="en"
# ## 3. The two transforms
# Without a transform `MNIST` gives PIL images. `ToTensor` changes three things: the type, the range
# and the shape (channels first). `Compose` calls one after the other.

# %%
pixels = train_dataset.data[0]  # uint8 [28, 28], as in the file
image = transforms.ToPILImage()(pixels)
tensor = transforms.ToTensor()(image)
x, y = train_dataset[0]
for name, value in (("file", pixels), ("ToTensor", tensor), ("Normalize", x)):
    low, high = float(value.min()), float(value.max())
    print(f"{name:<10} {tuple(value.shape)} {value.dtype}, {low:.4f} to {high:.4f}")
lessons.agree("(v / 255 - 0.1307) / 0.3081", (pixels[None] / 255 - 0.1307) / 0.3081, x)

# %% [markdown] lang="zh"
# ## 4. 0.1307 和 0.3081
# 按公式算一遍。4,700 万个像素不必逐个变成浮点数：先数出 0 到 255 各出现多少次。

# %% [markdown] lang="en"
# ## 4. 0.1307 and 0.3081
# Computed by the formulas. The 47 million pixels need not all become floats: it is enough to count
# how often each of 0 to 255 occurs.

# %%
share = np.bincount(train_dataset.data.numpy().ravel(), minlength=256) / train_dataset.data.numel()
values = np.arange(256) / 255
mean = float(share @ values)
std = float(np.sqrt(share @ (values - mean) ** 2))
lessons.say(
    f"均值 {mean:.6f}，标准差 {std:.6f}；{100 * share[0]:.0f}% 的像素是 0",
    f"mean {mean:.6f}, standard deviation {std:.6f}; {100 * share[0]:.0f} % of the pixels are 0",
)
lessons.agree("mean", mean, 0.1307, tolerance=5e-5)
lessons.agree("standard deviation", std, 0.3081, tolerance=5e-5)

# %% [markdown] lang="zh"
# ## 5. 小批量
# 和讲义一样，`batch_size=64`。取第一个小批量，画出 24 张。

# %% [markdown] lang="en"
# ## 5. A mini-batch
# `batch_size=64` as in the notes. We take the first batch and draw 24 of it.

# %%
torch.manual_seed(0)
train_loader = DataLoader(train_dataset, batch_size=64, shuffle=True)
test_loader = DataLoader(test_dataset, batch_size=64, shuffle=False)
lessons.say(
    f"{len(train_loader)} 批训练，{len(test_loader)} 批测试",
    f"{len(train_loader)} batches for training, {len(test_loader)} for the test",
)
x, y = next(iter(train_loader))
print(f"batch: {tuple(x.shape)} {x.dtype}, mean {x.mean():.3f}, std {x.std():.3f}")
assert abs(x.mean()) < 0.1
assert abs(x.std() - 1) < 0.1

figure = lessons.figure(7.2, 3.2)
for axes, digit, label in zip(figure.subplots(3, 8).flat, x, y, strict=False):
    axes.imshow(digit[0].numpy(), cmap="gray")
    axes.set_title(str(int(label)), fontsize=9)
    axes.axis("off")
lessons.save(figure, "loading_mnist.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# 一行就够。zoo 保留 uint8（大小是 float32 的四分之一），用 SHA-256 核对四个文件，再从 60,000 张
# 里分出 5,000 张做验证：选轮数、选学习率只能看验证集，测试集留到最后。标准化在模型里面。

# %% [markdown] lang="en"
# ## The same with the zoo
# One line. The zoo keeps the images uint8 (a quarter of the size of float32), checks the four files
# by their SHA-256, and sets 5,000 of the 60,000 aside for validation: epochs and learning rates are
# chosen on them, and the test set is for the end. The normalization is inside the model.

# %%
data = datasets.load("mnist")
for name in ("train", "validation", "test"):
    inputs, targets = getattr(data, name)
    print(f"zoo, {name:<10} {inputs.shape} {inputs.dtype}, {targets.shape} {targets.dtype}")
score = zoo.card("cnn").score
lessons.say(f"zoo 的 cnn：全部测试图 {score}", f"zoo, cnn: {score} of all test images")
lessons.agree("the same test images", data.test.inputs[..., 0], test_dataset.data, tolerance=0)

# %% [markdown] lang="zh"
# ## 常见错误
# - **`Dataset not found. You can use download=True to download it`**：目录层次不对。
#   文件应在 `root/MNIST/raw/` 里，传给 `MNIST` 的是 `root`。
# - **用 `train_dataset.data` 训练**：它是没有变换过的 uint8。变换只在 `train_dataset[i]`
#   （也就是 `DataLoader`）里进行。
# - **除了两次 255**：自己先除，再用 `ToTensor`。对 float 数组 `ToTensor` 不再除，对 uint8 才除；
#   打印一批的最小值和最大值就能看出来，应是 -0.4242 到 2.8215。
# - **训练和测试用了不同的变换**：训练时标准化而测试时没有，不报错，准确率却低一截：基础卷积网络
#   用 5,000 张图训练两轮，是 85.0%，而不是 87.3%。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **`Dataset not found. You can use download=True to download it`**: the folders are wrong. The
#   files belong into `root/MNIST/raw/`, and `MNIST` takes `root`.
# - **Training on `train_dataset.data`**: these are the untransformed uint8 pixels. The transform is
#   applied in `train_dataset[i]` only, and so by a `DataLoader`.
# - **Divided by 255 twice**: once by hand and once by `ToTensor`, which divides uint8 but not
#   float. Print the smallest and the largest value of a batch: they should be -0.4242 and 2.8215.
# - **Different transforms for training and test**: if only the training images are normalized,
#   nothing fails, but the accuracy is lower than it should be: the basic CNN, trained on 5,000
#   images for two epochs, then has 85.0 % instead of 87.3 %.

# %% [markdown] lang="zh"
# ## 练习
# 1. 用 float32 保存全部训练图要多少内存？uint8 呢？
#
# <details markdown="1"><summary>答案</summary>
#
# $60000 \times 784 \times 4 = 188{,}160{,}000$ 字节，约 188 MB；uint8 是四分之一，47 MB。
#
# </details>
#
# 2. 修改代码：在 `Compose` 的最前面加 `transforms.RandomRotation(10)`。`train_dataset[0]` 取两次
#    还相等吗？测试集应不应该加？
#
# <details markdown="1"><summary>答案</summary>
#
# 不相等，每次取都重新随机转一个角度，这就是数据增强。测试集不加：测试要每次一样。所以要为
# 训练和测试各写一个 `transform`。
#
# </details>
#
# 3. 修改代码：不用 torchvision，把 `content` 变成形状 `[10000, 28, 28]` 的数组，并核对。
#
# <details markdown="1"><summary>答案</summary>
#
# ```python
# images = np.frombuffer(content, np.uint8, offset=16).reshape(count, height, width)
# lessons.agree("by hand", images, test_dataset.data, tolerance=0)
# ```
#
# 最大差是 0。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. How much memory do all training images take as float32, and as uint8?
#
# <details markdown="1"><summary>Answer</summary>
#
# $60000 \times 784 \times 4 = 188{,}160{,}000$ bytes, about 188 MB; uint8 takes a quarter, 47 MB.
#
# </details>
#
# 2. Change the code: put `transforms.RandomRotation(10)` first in `Compose`. Are two readings of
#    `train_dataset[0]` still equal? Should the test images have it?
#
# <details markdown="1"><summary>Answer</summary>
#
# No: each reading rotates by another random angle. This is data augmentation. The test images
# should not have it, since a test has to be the same each time; write a `transform` for each.
#
# </details>
#
# 3. Change the code: without torchvision, turn `content` into an array of shape `[10000, 28, 28]`,
#    and check it.
#
# <details markdown="1"><summary>Answer</summary>
#
# ```python
# images = np.frombuffer(content, np.uint8, offset=16).reshape(count, height, width)
# lessons.agree("by hand", images, test_dataset.data, tolerance=0)
# ```
#
# The largest difference is 0.
#
# </details>
