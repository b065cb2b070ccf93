"""卷积神经网络（高级篇） GoogLeNet · GoogLeNet

Code: zoo/models/googlenet.py
Picture: googlenet.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 写网络时最难定的是超参数：卷积核用 1×1、3×3 还是 5×5？GoogLeNet（Szegedy 等，2014）的回答是
# 都用：一个 Inception 块里并排放几条支路，把结果按通道拼在一起，哪条有用由训练决定。
# 块本身在 `inception_block` 一课里拆开讲；这一课把两个块串成讲义的 `Net`，训练它，再看它
# 认错了哪些图。
#
# 还有一件事值得学：当网络里有重复的结构，就把它写成一个类（`InceptionA`），而不是抄几遍代码。

# %% [markdown] lang="en"
# ## Why
# The hardest thing to settle in a network is its hyperparameters: should a kernel be 1 x 1, 3 x 3
# or 5 x 5? GoogLeNet (Szegedy et al., 2014) answers: all of them. An Inception block has several
# branches side by side and joins their results along the channels; training decides which of them
# is of use. The lesson `inception_block` takes the block apart. This lesson puts two blocks into
# the `Net` of the notes, trains it, and looks at the images it gets wrong.
#
# There is one more thing to learn: where a structure is repeated in a network, make it a class
# (`InceptionA`) instead of copying its code.

# %% [markdown] lang="zh"
# ## 公式
# 每个块四条支路，输入 $[N, C, H, W]$，输出 $[N, 88, H, W]$，大小不变，只改通道数：
#
# $$
# y = \mathrm{concat}\left(y_{1\times1}, y_{5\times5}, y_{3\times3}, y_{pool}\right), \qquad
# 16 + 24 + 24 + 24 = 88
# $$
#
# 于是各层的形状是
#
# $$
# 1 \times 28^2 \to 10 \times 24^2 \to 10 \times 12^2 \to 88 \times 12^2 \to 20 \times 8^2
# \to 20 \times 4^2 \to 88 \times 4^2 = 1408
# $$
#
# 第二个卷积的输入通道必须是 88，全连接层的输入必须是 1408。

# %% [markdown] lang="en"
# ## The formulas
# Each block has four branches. Its input is $[N, C, H, W]$ and its output $[N, 88, H, W]$: the size
# stays, the channels change.
#
# $$
# y = \mathrm{concat}\left(y_{1\times1}, y_{5\times5}, y_{3\times3}, y_{pool}\right), \qquad
# 16 + 24 + 24 + 24 = 88
# $$
#
# The shapes through the network are
#
# $$
# 1 \times 28^2 \to 10 \times 24^2 \to 10 \times 12^2 \to 88 \times 12^2 \to 20 \times 8^2
# \to 20 \times 4^2 \to 88 \times 4^2 = 1408
# $$
#
# so the second convolution must have 88 input channels, and the linear layer 1408 inputs.

# %% [markdown] lang="zh"
# ## 1. 准备数据
# 这个网络每张图的计算量是基础卷积网络的十几倍，所以数据取得更少：每 15 张取 1 张训练（4,000 张），
# 每 10 张取 1 张测试（1,000 张）。批量取 16，两轮有 500 次更新。

# %% [markdown] lang="en"
# ## 1. Prepare the data
# For each image this network computes more than ten times as much as the basic CNN, so it gets less
# data: every 15th image for training (4,000) and every 10th for the test (1,000). Batches have 16
# images, so that two epochs make 500 steps.

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
train_set, test_set = Digits("train", 15), Digits("t10k", 10)
train_loader = DataLoader(train_set, batch_size=16, shuffle=True)
test_loader = DataLoader(test_set, batch_size=250)

# %% [markdown] lang="zh"
# ## 2. 设计模型
# `InceptionA` 的输入通道是参数，因为两个块的输入不同：10 和 20。四条支路的输出大小必须一样，
# 所以 3×3 卷积填充 1，5×5 卷积填充 2。`torch.cat(outputs, dim=1)` 在第 1 维，也就是通道上拼接。

# %% [markdown] lang="en"
# ## 2. Design the model
# The input channels of `InceptionA` are an argument, since the two blocks differ: 10 and 20. All
# four branches have to give images of one size, so a 3 x 3 convolution has a padding of 1 and a
# 5 x 5 one a padding of 2. `torch.cat(outputs, dim=1)` joins along dimension 1, the channels.


# %%
class InceptionA(nn.Module):
    """Four branches, joined along the channels: 16 + 24 + 24 + 24 = 88."""

    def __init__(self, in_channels):
        super().__init__()
        self.branch1x1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_2 = nn.Conv2d(16, 24, kernel_size=5, padding=2)
        self.branch3x3_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch3x3_2 = nn.Conv2d(16, 24, kernel_size=3, padding=1)
        self.branch3x3_3 = nn.Conv2d(24, 24, kernel_size=3, padding=1)
        self.branch_pool = nn.Conv2d(in_channels, 24, kernel_size=1)

    def forward(self, x):
        """[N, in_channels, H, W] -> [N, 88, H, W]."""
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3 = self.branch3x3_3(self.branch3x3_2(self.branch3x3_1(x)))
        branch_pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([branch1x1, branch5x5, branch3x3, branch_pool], dim=1)


class Net(nn.Module):
    """The small GoogLeNet of the notes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(88, 20, kernel_size=5)
        self.incep1 = InceptionA(in_channels=10)
        self.incep2 = InceptionA(in_channels=20)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(1408, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        x = F.relu(self.mp(self.conv1(x)))  # [N, 10, 12, 12]
        x = self.incep1(x)  # [N, 88, 12, 12]
        x = F.relu(self.mp(self.conv2(x)))  # [N, 20, 4, 4]
        x = self.incep2(x)  # [N, 88, 4, 4]
        x = x.view(x.size(0), -1)  # [N, 1408]
        return self.fc(x)


torch.set_num_threads(1)  # batches are small: more threads would wait for each other
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Net().to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

# %% [markdown] lang="zh"
# ## 3. 各部分的形状与参数
# 钩子（hook）在每次前向之后被调用，能看到输入和输出，不用改 `forward`。

# %% [markdown] lang="en"
# ## 3. Shapes and parameters of the parts
# A hook is called after each forward pass of a module and sees its input and output, without a
# change to `forward`.

# %%
shapes = {}
hooks = [
    part.register_forward_hook(lambda _, x, y, name=name: shapes.update({name: tuple(y.shape)}))
    for name, part in model.named_children()
]
with torch.no_grad():
    model(test_set.images[:1].to(device))
for hook in hooks:
    hook.remove()
for name, part in model.named_children():
    count = sum(parameter.numel() for parameter in part.parameters())
    print(f"{name:<7} {count:7,} parameters -> {shapes[name]}")
total = sum(parameter.numel() for parameter in model.parameters())
print(f"together {total:,} parameters")
assert total == zoo.card("googlenet").parameters
assert shapes["incep1"] == (1, 88, 12, 12)
assert shapes["incep2"] == (1, 88, 4, 4)

# %% [markdown] lang="zh"
# 将近一半的参数在 `conv2`：88 个输入通道，20 个输出通道，5×5 的核，
# $88 \times 20 \times 25 = 44000$。两个块各有两万个左右。

# %% [markdown] lang="en"
# Almost half of the parameters are in `conv2`: 88 input channels, 20 output channels and kernels of
# 5 x 5 make $88 \times 20 \times 25 = 44000$. Each block has around twenty thousand.

# %% [markdown] lang="zh"
# ## 4. 训练与测试
# 和基础卷积网络的程序一字不差：换模型，不必换训练代码。

# %% [markdown] lang="en"
# ## 4. Train and test
# Word for word the program of the basic CNN: for another model the training code stays.

# %%
losses, accuracies = [], []


def train(epoch):
    """Go through the training images once."""
    total = 0.0
    for images, labels in train_loader:
        images, labels = images.to(device), labels.to(device)
        outputs = model(images)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    losses.append(total / len(train_set))
    print(f"epoch {epoch}: loss {losses[-1]:.3f}", end="")


def test():
    """Count the test images that are right."""
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            predicted = model(images.to(device)).argmax(dim=1)
            correct += (predicted.cpu() == labels).sum().item()
    accuracies.append(correct / len(test_set))
    print(f", accuracy {100 * accuracies[-1]:.1f} %")


for epoch in range(1, 3):
    train(epoch)
    test()
assert accuracies[-1] > 0.85

# %% [markdown] lang="zh"
# ## 5. 认错了哪些
# 一个准确率说不清错在哪里。把认错的图画出来，标上真实类别和预测。

# %% [markdown] lang="en"
# ## 5. What it gets wrong
# An accuracy does not say what goes wrong. So we draw the images that are wrong, with their class
# and the prediction.

# %%
with torch.no_grad():
    predicted = model(test_set.images.to(device)).argmax(dim=1).cpu()
wrong = (predicted != test_set.labels).nonzero().flatten()
lessons.say(
    f"{len(test_set)} 张里认错了 {len(wrong)} 张", f"{len(wrong)} of {len(test_set)} are wrong"
)
figure = lessons.figure(7.2, 3.4)
for number, axes in enumerate(figure.subplots(3, 8).flat):
    axes.axis("off")
    if number < len(wrong):
        index = wrong[number]
        axes.imshow(test_set.images[index, 0].numpy(), cmap="gray")
        axes.set_title(f"{test_set.labels[index]} as {predicted[index]}", fontsize=9)
lessons.save(figure, "googlenet.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# 同样的结构，同样的 97,298 个参数。zoo 用 55,000 张图训练 18 轮，数字随机变形，学习率按计划下降，
# 权重取滑动平均，并向 `resnet` 学习。

# %% [markdown] lang="en"
# ## The same with the zoo
# The same layers and the same 97,298 parameters, trained on 55,000 images for 18 epochs with
# deformed digits, a schedule of the learning rate, averaged weights and `resnet` as the teacher.

# %%
images, labels = mnist.load_test()
prediction = zoo.Session("googlenet").predict(images[::10])
right = np.mean(prediction.indices == labels[::10])
score = zoo.card("googlenet").score
lessons.say(
    f"zoo：这 1,000 张对 {100 * right:.1f}%，全部 10,000 张 {score}",
    f"zoo: {100 * right:.1f} % of these 1,000, {score} of all 10,000",
)
assert right > accuracies[-1]

# %% [markdown] lang="zh"
# ## 常见错误
# - **`Sizes of tensors must match except in dimension 1`**：某条支路改变了图的大小，通常是忘了
#   `padding`，或者平均池化没写 `stride=1`（默认等于核的大小）。
# - **`expected input[...] to have 10 channels, but got 88 channels`**：`conv2` 的输入通道写成了
#   前一个卷积的输出数，忘了中间的块把通道变成 88。
# - **`torch.cat(outputs, dim=0)`**：在批上拼接，若通道数恰好相同就不报错，批变大几倍，
#   到算损失时才报错。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **`Sizes of tensors must match except in dimension 1`**: a branch changes the size of the image.
#   Usually `padding` is missing, or the average pooling has no `stride=1` (the default is the size
#   of its kernel).
# - **`expected input[...] to have 10 channels, but got 88 channels`**: the input channels of
#   `conv2` are those of the convolution before it; the block between makes them 88.
# - **`torch.cat(outputs, dim=0)`**: joins along the batch. If the branches have equally many
#   channels this passes, the batch grows, and only the loss complains.

# %% [markdown] lang="zh"
# ## 练习
# 1. 手算：`InceptionA(20)` 有多少个参数？和程序的输出比一比。
#
# <details markdown="1"><summary>答案</summary>
#
# 1×1 支路 $16 \times 21 = 336$；5×5 支路 $336 + 24 \times (16 \times 25 + 1) = 9960$；
# 3×3 支路 $336 + 24 \times (16 \times 9 + 1) + 24 \times (24 \times 9 + 1) = 9024$；
# 池化支路 $24 \times 21 = 504$。一共 19,824 个，就是 `incep2` 那一行。
#
# </details>
#
# 2. 修改代码：去掉两个块（`conv2` 的输入改为 10，`fc` 的输入改为 320）。还剩多少参数？
#    它就是哪一课的网络？
#
# <details markdown="1"><summary>答案</summary>
#
# 8,490 个，正是 `basic_cnn` 的网络。
#
# </details>
#
# 3. 修改代码：块里的卷积之间没有激活函数。在 `torch.cat` 的结果外面套上 `F.relu`，两轮以后
#    的准确率是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 91.0%，原来是 93.1%：刚开始的两轮里没有好处。不加也能学，是因为两个块之间有池化和 ReLU；但块内
# 每条支路的几个卷积连在一起仍是一个线性函数。原论文在每个卷积之后都用 ReLU。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. On paper: how many parameters has `InceptionA(20)`? Compare with the output.
#
# <details markdown="1"><summary>Answer</summary>
#
# The 1 x 1 branch has $16 \times 21 = 336$; the 5 x 5 branch
# $336 + 24 \times (16 \times 25 + 1) = 9960$; the 3 x 3 branch
# $336 + 24 \times (16 \times 9 + 1) + 24 \times (24 \times 9 + 1) = 9024$; the pooling branch
# $24 \times 21 = 504$. Together 19,824, as the line `incep2` says.
#
# </details>
#
# 2. Change the code: remove both blocks (`conv2` then has 10 input channels and `fc` 320 inputs).
#    How many parameters are left, and which lesson's network is this?
#
# <details markdown="1"><summary>Answer</summary>
#
# 8,490: it is the network of `basic_cnn`.
#
# </details>
#
# 3. Change the code: there is no activation between the convolutions of a block. Put `F.relu`
#    around the result of `torch.cat`. What is the accuracy after two epochs?
#
# <details markdown="1"><summary>Answer</summary>
#
# 91.0 %, where it was 93.1 %: no gain in the first two epochs. The network learns without it since
# there are pooling and ReLU between the blocks; but inside a block, the convolutions of a branch
# together are still one linear function. The paper has a ReLU after every convolution.
#
# </details>
