"""卷积神经网络（基础篇） · Basic convolutional network

Code: zoo/models/cnn.py
Picture: basic_cnn.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 全连接网络把 28×28 的图拉成 784 个数，相邻的像素和相距很远的像素一视同仁；数字往右挪两格，
# 对它就是另一个输入。卷积层让一个小窗口（卷积核）滑过整张图，处处用同样的权重，
# 所以参数少，并且保留了空间结构。池化层再把图缩小，只留下每个小方块里最强的响应。
#
# 这一课是讲义的程序：自己的 `Dataset`、`Net`、`train`、`test`。为了几秒钟跑完，只用 MNIST 的
# 六分之一；batch 也从 64 改为 32，好让图少时也有足够的更新次数。

# %% [markdown] lang="en"
# ## Why
# A fully connected network flattens a 28 x 28 image to 784 numbers. It treats neighboring pixels
# and distant ones alike, and a digit two pixels further right is quite another input. A
# convolution slides a small window, the kernel, over the whole image with the same weights
# everywhere. It has few parameters, and the layout of the image is kept. Pooling then shrinks the
# image and keeps the strongest response of each small square.
#
# This lesson is the program of the notes: a `Dataset` of our own, `Net`, `train` and `test`. To end
# within seconds it takes a sixth of MNIST only, and batches of 32 instead of 64, so that there are
# enough steps with fewer images.

# %% [markdown] lang="zh"
# ## 公式
# 输入 $x$ 的形状是 $[N, C_{in}, H, W]$，权重 $w$ 是 $[C_{out}, C_{in}, k, k]$，
# 输出 $y$ 是 $[N, C_{out}, H', W']$：
#
# $$
# y_{n,o,i,j} = b_o + \sum_{c=1}^{C_{in}} \sum_{u=0}^{k-1} \sum_{v=0}^{k-1}
# w_{o,c,u,v}\; x_{n,c,i+u,j+v}
# $$
#
# $$
# H' = \frac{H + 2p - k}{s} + 1 \quad (\text{向下取整}), \qquad
# \text{参数个数} = C_{out}\,(C_{in} k^2 + 1)
# $$
#
# $p$ 是填充，$s$ 是步长。本课的网络：
# $28 \to 24 \to 12 \to 8 \to 4$，最后 $20 \times 4 \times 4 = 320$ 个数进入全连接层。

# %% [markdown] lang="en"
# ## The formulas
# The input $x$ has the shape $[N, C_{in}, H, W]$, the weight $w$ $[C_{out}, C_{in}, k, k]$ and the
# output $y$ $[N, C_{out}, H', W']$:
#
# $$
# y_{n,o,i,j} = b_o + \sum_{c=1}^{C_{in}} \sum_{u=0}^{k-1} \sum_{v=0}^{k-1}
# w_{o,c,u,v}\; x_{n,c,i+u,j+v}
# $$
#
# $$
# H' = \frac{H + 2p - k}{s} + 1 \quad (\text{rounded down}), \qquad
# \text{parameters} = C_{out}\,(C_{in} k^2 + 1)
# $$
#
# $p$ is the padding and $s$ the stride. In the network of this lesson the side goes
# $28 \to 24 \to 12 \to 8 \to 4$, and $20 \times 4 \times 4 = 320$ numbers enter the linear layer.

# %% [markdown] lang="zh"
# ## 1. 准备数据
# MNIST 的 IDX 文件很简单：图像文件 16 字节的头，之后每张图 784 字节；标签文件 8 字节的头，
# 之后每个标签 1 字节。`Dataset` 只要两个方法：有多少（`__len__`）和第几个是什么
# （`__getitem__`）。像素除以 255，再减均值、除以标准差。

# %% [markdown] lang="en"
# ## 1. Prepare the data
# MNIST's IDX files are simple: images have a header of 16 bytes, then 784 bytes each; labels have a
# header of 8 bytes, then one byte each. A `Dataset` needs two methods: how many items there are
# (`__len__`), and what item number `index` is (`__getitem__`). Pixels are divided by 255, then the
# mean is subtracted and the result divided by the standard deviation.

# %%
import gzip

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo import lessons
from zoo.datasets import mnist


class Digits(Dataset):
    """Every step-th image of MNIST, normalized: float32 [1, 28, 28] and its class."""

    def __init__(self, part, step):
        images = gzip.decompress((mnist.FILES / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((mnist.FILES / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)[::step]
        labels = np.frombuffer(labels, np.uint8, offset=8)[::step]
        self.images = (torch.tensor(images) / 255 - 0.1307) / 0.3081
        self.labels = torch.tensor(labels, dtype=torch.long)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


torch.manual_seed(0)
train_set, test_set = Digits("train", 6), Digits("t10k", 5)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=500)
lessons.say(
    f"{len(train_set)} 张训练图，{len(test_set)} 张测试图",
    f"{len(train_set)} images for training, {len(test_set)} for the test",
)

# %% [markdown] lang="zh"
# ## 2. 设计模型
# 两次“卷积、池化、ReLU”，再接一个全连接层。最后不加激活：`CrossEntropyLoss` 里已有 softmax。
# 下面把一张图一步一步送进去，打印每一步的形状；`fc` 的 320 就是这样量出来的。

# %% [markdown] lang="en"
# ## 2. Design the model
# Twice convolution, pooling and ReLU, then a linear layer. There is no activation at the end, since
# `CrossEntropyLoss` includes the softmax. Below, one image goes in step by step and each shape is
# printed; this is how to find the 320 of `fc`.


# %%
class Net(nn.Module):
    """The basic CNN of the notes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.pooling = nn.MaxPool2d(2)
        self.fc = nn.Linear(320, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        batch_size = x.size(0)
        x = F.relu(self.pooling(self.conv1(x)))  # [N, 10, 12, 12]
        x = F.relu(self.pooling(self.conv2(x)))  # [N, 20, 4, 4]
        x = x.view(batch_size, -1)  # [N, 320]
        return self.fc(x)


model = Net()
x = test_set.images[:1]
for name, step in (
    ("conv1", model.conv1), ("pooling", model.pooling),
    ("conv2", model.conv2), ("pooling", model.pooling),
):  # fmt: skip
    shape = tuple(x.shape)
    x = step(x)
    print(f"{name:<8} {shape} -> {tuple(x.shape)}")
print("flat    ", tuple(x.view(1, -1).shape))
count = sum(parameter.numel() for parameter in model.parameters())
print(f"parameters: {count:,}")
assert count == 10 * (1 * 25 + 1) + 20 * (10 * 25 + 1) + 10 * (320 + 1)

# %% [markdown] lang="zh"
# ## 3. 损失与优化器
# 有 GPU 就把模型搬过去，每个小批量也要搬到同一个设备。优化器要在 `model.to(device)` 之后建。

# %% [markdown] lang="en"
# ## 3. Loss and optimizer
# Where there is a GPU, the model moves there, and each batch has to go to the same device. Make the
# optimizer after `model.to(device)`.

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model.to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

# %% [markdown] lang="zh"
# ## 4. 训练与测试
# 每一轮过一遍训练图，再在测试图上数对了多少。测试时不需要梯度，用 `torch.no_grad()`。
# `loss.item()` 取出一个 Python 数；如果累加 `loss` 本身，计算图会一直留在内存里。

# %% [markdown] lang="en"
# ## 4. Train and test
# Each epoch goes through the training images once and then counts how many test images are right.
# The test needs no gradients: `torch.no_grad()`. `loss.item()` is a Python number; adding up `loss`
# itself would keep every graph in memory.

# %%
losses, accuracies = [], []


def train(epoch):
    """Go through the training images once."""
    running = 0.0
    for batch, (images, labels) in enumerate(train_loader, 1):
        images, labels = images.to(device), labels.to(device)
        outputs = model(images)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
        if batch % 100 == 0:
            losses.append(running / 100)
            print(f"[{epoch}, {batch:3}] loss {losses[-1]:.3f}")
            running = 0.0


def test():
    """Count the test images that are right."""
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            predicted = model(images.to(device)).argmax(dim=1)
            correct += (predicted.cpu() == labels).sum().item()
    accuracies.append(correct / len(test_set))
    print(f"accuracy {100 * accuracies[-1]:.1f} %")


for epoch in range(1, 4):
    train(epoch)
    test()
assert accuracies[-1] > 0.92
assert losses[-1] < losses[0] / 3

# %% [markdown] lang="zh"
# ## 5. 画出来
# 左边是损失，每 100 个小批量一个点；右边是第一层的十个特征图，已经过池化和 ReLU。
# 训练后的卷积核对笔画的不同方向有响应。

# %% [markdown] lang="en"
# ## 5. Draw it
# On the left the loss, one point for each 100 batches; on the right the ten maps of the first layer
# for one digit, after pooling and ReLU. Different kernels answer to different strokes.

# %%
with torch.no_grad():
    maps = F.relu(model.pooling(model.conv1(test_set.images[:1].to(device))))[0].cpu()
figure = lessons.figure(7.6, 3.2)
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.5])
axes = left.subplots()
axes.plot(range(100, 100 * len(losses) + 1, 100), losses, "o-", markersize=3, color="#2563a8")
axes.set(title="training loss", xlabel="batch", ylim=(0, None))
axes.grid(alpha=0.25)
for number, axes in enumerate(right.subplots(3, 4).flat):
    axes.axis("off")
    if number == 0:
        axes.imshow(test_set.images[0, 0].numpy(), cmap="gray")
        axes.set_title("image", fontsize=8)
    elif number <= 10:
        axes.imshow(maps[number - 1].numpy(), cmap="viridis")
        axes.set_title(f"map {number - 1}", fontsize=8)
lessons.save(figure, "basic_cnn.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# zoo 里的 `cnn` 是同样的结构、同样的 8,490 个参数。它用 55,000 张图训练 20 轮，图像随机变形，
# 学习率按计划下降，权重取滑动平均，还向 `resnet` 学习，所以错误少得多。
# `zoo.Session` 用 ONNX Runtime 运行，不需要 torch，输入就是 uint8 的图。

# %% [markdown] lang="en"
# ## The same with the zoo
# The zoo's `cnn` has the same layers and the same 8,490 parameters. It is trained on 55,000 images
# for 20 epochs, with deformed digits, a schedule of the learning rate, averaged weights and
# `resnet` as its teacher, and so makes far fewer errors. `zoo.Session` runs it by ONNX Runtime,
# without torch, and takes uint8 images as they are.

# %%
images, labels = mnist.load_test()
prediction = zoo.Session("cnn").predict(images[::5])
right = np.mean(prediction.indices == labels[::5])
score = zoo.card("cnn").score
lessons.say(
    f"zoo：这 2,000 张对 {100 * right:.1f}%，全部 10,000 张 {score}",
    f"zoo: {100 * right:.1f} % of these 2,000, {score} of all 10,000",
)
assert right > accuracies[-1]

# %% [markdown] lang="zh"
# ## 常见错误
# - **`mat1 and mat2 shapes cannot be multiplied (32x320 and 400x10)`**：`fc` 的输入数算错了。
#   像上面那样打印形状，或者先写 `nn.LazyLinear(10)`。
# - **`Given groups=1, ... expected input[...] to have 1 channels`**：图的形状成了 `[N, 28, 28]`
#   或 `[N, 28, 28, 1]`。torch 要的是 `[N, 1, 28, 28]`。
# - **`view(batch_size, -1)` 写成 `view(-1, 320)` 而形状算错**：不报错，但小批量的大小变了，
#   到算损失时才报错。第一维用 `batch_size`，错误就停在出错的那一行。
# - **最后加了 `softmax`**：`CrossEntropyLoss` 要的是原始得分，它自己会算 softmax。算两次，训练就
#   几乎停住了（`softmax_classifier` 一课的练习 3 测过）。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **`mat1 and mat2 shapes cannot be multiplied (32x320 and 400x10)`**: the number of inputs of
#   `fc` is wrong. Print the shapes as above, or write `nn.LazyLinear(10)` first.
# - **`Given groups=1, ... expected input[...] to have 1 channels`**: the images have the shape
#   `[N, 28, 28]` or `[N, 28, 28, 1]`; torch takes `[N, 1, 28, 28]`.
# - **`view(-1, 320)` where the shape is another one**: this may pass and change the size of the
#   batch, and only the loss complains. With `batch_size` as the first size the error is raised in
#   the line that is wrong.
# - **`softmax` at the end**: `CrossEntropyLoss` takes the raw scores and computes the softmax
#   itself. Computed twice, training nearly stands still (exercise 3 of `softmax_classifier`
#   measures it).

# %% [markdown] lang="zh"
# ## 练习
# 1. 手算：把两个卷积都改为 `kernel_size=3`，不填充，`fc` 的输入有多少个？
#
# <details markdown="1"><summary>答案</summary>
#
# $28 \to 26 \to 13 \to 11 \to 5$（池化向下取整），$20 \times 5 \times 5 = 500$。
#
# </details>
#
# 2. 修改代码：第一层的参数占全部的百分之几？把 `fc` 换成讲义作业里的三层 `320-128-64-10`
#    （中间 ReLU），参数变成多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 第一层 260 个，占 3.1%。三层共 $41088 + 8256 + 650 = 49994$ 个，加上两个卷积的 5,280，
# 一共 55,274 个。
#
# </details>
#
# 3. 修改代码：去掉 `forward` 里的两个 `F.relu`。准确率会怎样？网络还剩下什么非线性？
#
# <details markdown="1"><summary>答案</summary>
#
# 三轮以后是 95.2%，有 ReLU 时是 95.5%，几乎一样。最大池化取四个数里最大的，本身就不是线性的。
# 再把 `nn.MaxPool2d` 换成 `nn.AvgPool2d`，整个网络就只是一个线性函数了。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. On paper: with `kernel_size=3` in both convolutions and no padding, how many inputs has `fc`?
#
# <details markdown="1"><summary>Answer</summary>
#
# $28 \to 26 \to 13 \to 11 \to 5$ (pooling rounds down), and $20 \times 5 \times 5 = 500$.
#
# </details>
#
# 2. Change the code: how many percent of the parameters are in the first layer? Replace `fc` by the
#    three layers of the notes' homework, `320-128-64-10` with ReLU between. How many parameters has
#    the network now?
#
# <details markdown="1"><summary>Answer</summary>
#
# The first layer has 260, 3.1 %. The three layers have $41088 + 8256 + 650 = 49994$; with the 5,280
# of the convolutions that makes 55,274.
#
# </details>
#
# 3. Change the code: remove both `F.relu` from `forward`. What happens to the accuracy, and what is
#    still not linear?
#
# <details markdown="1"><summary>Answer</summary>
#
# 95.2 % after three epochs, and 95.5 % with ReLU: hardly any difference. Max pooling takes the
# largest of four numbers, which is not linear either. With `nn.AvgPool2d` in place of
# `nn.MaxPool2d` the whole network would be one linear function.
#
# </details>
