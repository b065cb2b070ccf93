"""卷积神经网络（高级篇） 残差块与 ResNet · Residual block and ResNet

Code: zoo/models/resnet.py
Picture: resnet.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 网络越深，能表示的函数越多，可是梯度要穿过的层也越多。反向传播每过一层就乘一次该层的
# 雅可比矩阵：每次略小于 1，几十层之后就没了（梯度消失）；每次略大于 1，几十层之后就爆了。
# 何恺明等人（2015）的残差块在两层卷积旁边加了一条“捷径”，让 $x$ 原样通过。
#
# 很多教材只说“残差解决了梯度消失”。这一课把它测出来，结论没有那么简单：初始化、归一化和
# 捷径各管一件事。测完再训练讲义里的 `ResidualBlock` 和 `Net`。

# %% [markdown] lang="en"
# ## Why
# A deeper network can represent more functions, but its gradient has more layers to cross. Going
# back, each layer multiplies the gradient by its Jacobian matrix. If each factor is a little below
# 1, nothing is left after a few dozen layers (the gradient vanishes); if each is a little above 1,
# the gradient explodes. The residual block of He et al. (2015) adds a shortcut beside two
# convolutions, on which $x$ passes unchanged.
#
# Many courses stop at "residuals cure the vanishing gradient". This lesson measures it, and the
# answer is less simple: initialization, normalization and the shortcut each do a part of the work.
# Then it trains the `ResidualBlock` and the `Net` of the notes.

# %% [markdown] lang="zh"
# ## 公式
# 普通块：$y = \mathrm{ReLU}(f(x))$；残差块：$y = \mathrm{ReLU}(x + f(x))$，其中
# $f(x) = W_2 * \mathrm{ReLU}(W_1 * x)$，$x$、$f(x)$、$y$ 的形状都是 $[N, C, H, W]$，
# 所以卷积要用 `padding=1` 保持大小，输入输出通道数也要相同。
#
# 不计最后的 ReLU，反向是
#
# $$
# \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}
# \left(I + \frac{\partial f}{\partial x}\right)
# $$
#
# 普通块没有 $I$。再看权重的方差。设每个输出由 $n$ 个输入求和得到（这里
# $n = 8 \cdot 3 \cdot 3 = 72$）：
#
# $$
# \text{torch 默认：}\ \mathrm{Var}(w) = \frac{1}{3n}, \qquad
# \text{He：}\ \mathrm{Var}(w) = \frac{2}{n}
# $$
#
# 两者的标准差相差 $\sqrt 6$ 倍。He 初始化（何恺明等，2015，*Delving Deep into Rectifiers*）
# 里的 2 正好补上 ReLU 丢掉的一半。

# %% [markdown] lang="en"
# ## The formulas
# A plain block is $y = \mathrm{ReLU}(f(x))$ and a residual block is $y = \mathrm{ReLU}(x + f(x))$,
# with $f(x) = W_2 * \mathrm{ReLU}(W_1 * x)$. All of $x$, $f(x)$ and $y$ have the shape
# $[N, C, H, W]$: that is why the convolutions have `padding=1`, and as many outputs as inputs.
#
# Without the last ReLU, the way back is
#
# $$
# \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}
# \left(I + \frac{\partial f}{\partial x}\right)
# $$
#
# and a plain block has no $I$. Now the variance of the weights. Let each output be a sum over $n$
# inputs (here $n = 8 \cdot 3 \cdot 3 = 72$):
#
# $$
# \text{default of torch: } \mathrm{Var}(w) = \frac{1}{3n}, \qquad
# \text{He: } \mathrm{Var}(w) = \frac{2}{n}
# $$
#
# Their standard deviations differ by a factor of $\sqrt 6$. The 2 of He initialization (He et al.,
# 2015, *Delving Deep into Rectifiers*) makes up for the half that ReLU throws away.

# %% [markdown] lang="zh"
# ## 一个块，八种做法
# 下面的块可以带捷径或不带（`shortcut`），带批归一化或不带（`norm`）。
# 块里没有归一化时，`nn.Identity()` 什么也不做。

# %% [markdown] lang="en"
# ## One block, eight ways
# This block has a shortcut or none (`shortcut`), and batch normalization or none (`norm`).
# `nn.Identity()` stands where there is none and does nothing.

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


class Block(nn.Module):
    """Two convolutions, 8 -> 8 channels, with or without normalization and shortcut."""

    def __init__(self, norm, shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.shortcut = shortcut

    def forward(self, x):
        """[N, 8, H, W] -> [N, 8, H, W]."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(x + y) if self.shortcut else F.relu(y)


def he(module):
    """Give a convolution He's weights; leave other modules as they are."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


# %% [markdown] lang="zh"
# ## 测量梯度
# 把 20 个块（40 层卷积）串起来，在末端送入一个范数为 1 的随机梯度，看每个块的入口处
# 还剩多少。每种组合取 5 个随机种子的中位数。`retain_grad()` 让 torch 保留中间结果的梯度，
# 平时它只留叶子节点的。

# %% [markdown] lang="en"
# ## Measure the gradient
# Put 20 blocks (40 convolutions) in a row, send a random gradient of norm 1 into the end, and see
# how much arrives at the entry of each block. Each combination is measured with 5 seeds, and the
# median is taken. `retain_grad()` makes torch keep the gradient of a result on the way; otherwise
# it keeps only those of leaves.

# %%
DEPTH = 20


def gradients(seed, init, norm, shortcut):
    """Return the norm of the gradient at the entry of each of DEPTH blocks."""
    torch.manual_seed(seed)
    blocks = [Block(norm, shortcut) for _ in range(DEPTH)]
    x = torch.randn(4, 8, 12, 12, requires_grad=True)
    entries = []
    for block in blocks:
        if init == "He":
            block.apply(he)
        x.retain_grad()
        entries.append(x)
        x = block(x)
    direction = torch.randn_like(x)
    x.backward(direction / direction.norm())
    return [entry.grad.norm().item() for entry in entries]


measured = {}
lessons.say(
    "末端送入 1，第 1 个块的入口处收到：", "1 goes in at the end; the first block receives:"
)
for init in ("default", "He"):
    for norm in (False, True):
        for shortcut in (False, True):
            runs = [gradients(seed, init, norm, shortcut) for seed in range(5)]
            curve = np.median(runs, axis=0)
            kind = "residual" if shortcut else "plain"
            measured[init, norm, shortcut] = curve
            name = f"{init} init, {'batch norm' if norm else 'no norm'}, {kind}"
            print(f"  {name:<38} {curve[0]:.1e}")

first = {key: curve[0] for key, curve in measured.items()}
assert first["default", False, False] < 1e-12, "vanishes"
assert 1e-3 < first["He", False, False] < 2, "hardly fades"
assert 0.3 < first["default", False, True] < 3, "stays"
assert first["He", False, True] > 100, "explodes"
assert first["default", True, False] > 50, "explodes with batch normalization too"
assert first["He", True, False] > 50, "explodes with batch normalization too"
assert 2 < first["default", True, True] < 100, "stays"
assert 2 < first["He", True, True] < 100, "stays"

# %% [markdown] lang="zh"
# ## 数字说明了什么
# - **默认初始化、普通块**：梯度几乎为零。原因主要是权重太小：和 He 相比，每层少 $\sqrt 6$ 倍，
#   40 层就是 $6^{20} \approx 4 \times 10^{15}$ 倍。换成 He 初始化，还剩四分之一。
# - **He、残差、无归一化**：梯度爆炸。捷径和 $f$ 的方差相加，每个块翻一倍，20 个块的范数约为
#   $\sqrt{2}^{\,20} = 1024$ 倍。
# - **有批归一化**：初始化的大小不再起作用（归一化把它除掉了），两种初始化的结果很接近。
#   但普通块加批归一化，梯度仍然爆炸；Yang 等人（2019）从理论上证明了这一点。
# - **批归一化加残差**：两种初始化都只增大 15 倍左右。第 $l$ 块的输入方差随 $l$ 增大，而 $f$ 的方差
#   固定为 1，所以块越深越接近恒等映射（De 和 Smith，2020）。
#
# 结论：**捷径不能代替初始化，初始化也不能代替捷径**；真正的 ResNet 三样都用。何恺明等人在
# 论文里也说，他们的普通网络有批归一化，训练变差“不太可能是梯度消失造成的”。
# 默认初始化、残差、无归一化这一种恰好也稳定，因为权重小，$f$ 小，块近似恒等映射。

# %% [markdown] lang="en"
# ## What the figures say
# - **Default initialization, plain**: almost nothing arrives. The reason is mostly that the weights
#   are too small: by $\sqrt 6$ in each layer, compared with He, which over 40 layers makes
#   $6^{20} \approx 4 \times 10^{15}$. With He initialization a quarter is left.
# - **He, residual, no normalization**: it explodes. The variances of the shortcut and of $f$ add
#   up, so each block doubles the variance: about $\sqrt{2}^{\,20} = 1024$ times the norm after 20.
# - **With batch normalization** the size of the first weights no longer matters (it is divided
#   out), so both initializations give nearly the same. But plain blocks with batch normalization
#   still explode; Yang et al. (2019) derive this.
# - **Batch normalization and residual**: with both initializations the gradient grows about 15
#   times. The variance of the input of block $l$ grows with $l$ while that of $f$ stays at 1,
#   so deep blocks are close to the identity (De and Smith, 2020).
#
# In short, **the shortcut does not replace a good initialization, nor the other way around**; a
# real ResNet has all three. He et al. say as much: their plain networks had batch normalization,
# and the harder training was "unlikely to be caused by vanishing gradients". The case of default
# initialization, residual, no normalization is stable as well, because small weights make $f$
# small and each block nearly the identity. The small `Net` below relies on this.

# %%
figure = lessons.figure(7.6, 3.4)
left, right = figure.subplots(1, 2, sharey=True)
for axes, norm in ((left, False), (right, True)):
    for init, color in (("default", "#2563a8"), ("He", "#c2571a")):
        for shortcut, line in ((False, "--"), (True, "-")):
            label = f"{init}, {'residual' if shortcut else 'plain'}"
            curve = measured[init, norm, shortcut]
            axes.plot(range(1, DEPTH + 1), curve, line, color=color, label=label)
    axes.set(title="batch normalization" if norm else "no normalization", xlabel="block")
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.grid(alpha=0.25)
left.set(yscale="log", ylabel="norm of the gradient")
right.legend(frameon=False, loc="lower right")
lessons.save(figure, "resnet.png")

# %% [markdown] lang="zh"
# ## 讲义的网络
# 数据：自己的 `Dataset`，读 MNIST 的 IDX 文件，每 12 张取 1 张训练（5,000 张），每 5 张取 1 张
# 测试（2,000 张）。网络和讲义一样：卷积、池化、残差块，两遍，最后一个全连接层。注意残差块的
# 顺序：先相加，再激活。

# %% [markdown] lang="en"
# ## The network of the notes
# The data: a `Dataset` of our own that reads MNIST's IDX files and takes every 12th image for
# training (5,000) and every 5th for the test (2,000). The network is that of the notes:
# convolution, pooling, residual block, twice, and a linear layer. Note the order in the block:
# first add, then activate.


# %%
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


class ResidualBlock(nn.Module):
    """relu(x + f(x)), f two convolutions."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x):
        """[N, channels, H, W] -> the same shape."""
        y = F.relu(self.conv1(x))
        y = self.conv2(y)
        return F.relu(x + y)


class Net(nn.Module):
    """The ResNet of the notes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=5)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=5)
        self.rblock1 = ResidualBlock(16)
        self.rblock2 = ResidualBlock(32)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(512, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        x = self.mp(F.relu(self.conv1(x)))  # [N, 16, 12, 12]
        x = self.rblock1(x)
        x = self.mp(F.relu(self.conv2(x)))  # [N, 32, 4, 4]
        x = self.rblock2(x)
        return self.fc(x.flatten(1))  # [N, 512] -> [N, 10]


torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
train_set, test_set = Digits("train", 12), Digits("t10k", 5)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=500)
model = Net().to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

# %% [markdown] lang="zh"
# ## 训练与测试
# 标准的循环：前向、损失、清零、反向、更新。训练一轮，测一次。

# %% [markdown] lang="en"
# ## Train and test
# The standard cycle: forward, loss, zero the gradients, backward, step. After each epoch, a test.


# %%
def train(epoch):
    """Go through the training images once."""
    total = 0.0
    for images, labels in train_loader:
        images, labels = images.to(device), labels.to(device)
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    print(f"epoch {epoch}: loss {total / len(train_set):.3f}", end="")


def test():
    """Return the fraction of the test images that are right."""
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            predicted = model(images.to(device)).argmax(dim=1)
            correct += (predicted.cpu() == labels).sum().item()
    return correct / len(test_set)


for epoch in range(1, 4):
    train(epoch)
    accuracy = test()
    print(f", accuracy {100 * accuracy:.1f} %")
assert accuracy > 0.8

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# 同样的网络，zoo 已经训练好。它更准，是因为用了 55,000 张图、25 轮、变形的数字、学习率调度、
# 权重平均，还向一个更大的“教师”学习（`zoo info resnet` 列出全部配方）。

# %% [markdown] lang="en"
# ## The same with the zoo
# The zoo has this network trained. It is more accurate because its recipe has 55,000 images,
# 25 epochs, deformed digits, a schedule of the learning rate, averaged weights and a larger
# teacher to learn from (`zoo info resnet` lists the whole recipe).

# %%
images, labels = mnist.load_test()
prediction = zoo.Session("resnet").predict(images[::5])
right = np.mean(prediction.indices == labels[::5])
score = zoo.card("resnet").score
lessons.say(
    f"zoo：这 2,000 张对 {100 * right:.1f}%，全部 10,000 张 {score}",
    f"zoo: {100 * right:.1f} % of these 2,000, {score} of all 10,000",
)
assert right > accuracy

# %% [markdown] lang="zh"
# ## 常见错误
# - **形状对不上**：`RuntimeError: The size of tensor a (12) must match the size of tensor b (8)`。
#   两次 3×3 卷积忘了 `padding=1`，$x$ 是 12×12，$f(x)$ 成了 8×8，不能相加。
# - **先激活再相加**：写成 `x + F.relu(y)`，块只能加不能减，$f$ 的负值都丢了。
# - **只看损失不看梯度**：训练“不动”时，先打印 `p.grad.norm()`。第一层是 1e-18 还是 1e+3，
#   要改的东西完全不同。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **The shapes do not fit**: `RuntimeError: The size of tensor a (12) must match the size of
#   tensor b (8)`. Without `padding=1` two 3 x 3 convolutions turn 12 x 12 into 8 x 8, which cannot
#   be added to $x$.
# - **Activate, then add**: with `x + F.relu(y)` the block can only add, never subtract; the
#   negative values of $f$ are lost.
# - **To look at the loss only**: when training "does not move", print `p.grad.norm()` first.
#   Whether the first layer has 1e-18 or 1e+3 decides what to change.

# %% [markdown] lang="zh"
# ## 练习
# 1. 手算：只看权重方差，默认初始化的普通网络比 He 初始化的每个块小多少倍？20 个块呢？
#
# <details markdown="1"><summary>答案</summary>
#
# 每层 $\sqrt 6 \approx 2.45$ 倍，每块两层，6 倍；20 个块 $6^{20} \approx 3.7 \times 10^{15}$ 倍。
#
# </details>
#
# 2. 修改代码：把 `Block.forward` 的残差一支改成 `F.relu(x + 0.1 * y)`。He 初始化、无归一化时，
#    第一个块收到多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 不再爆炸，约为 0.72。每个块的方差只乘 $1 + 0.01$，不再翻倍。很多没有归一化的深层网络
# 就是这样做的：把残差支路缩小，或者从零开始（Zhang 等，2019，Fixup）。
#
# </details>
#
# 3. 修改代码：在 `ResidualBlock.forward` 里去掉 `x +` 再训练。三轮以后准确率差多少？为什么？
#
# <details markdown="1"><summary>答案</summary>
#
# 同样的种子，从 93.0% 降到 42.4%。再加一行 `model.apply(he)`，没有捷径也有 92.5%。
# 所以在这个小网络里，差距来自默认初始化太小，不是因为没有捷径；深得多时捷径才不可缺少。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. On paper: by the variance of the weights alone, how many times smaller is the gradient of the
#    plain network with the default initialization than with He's, per block and over 20 blocks?
#
# <details markdown="1"><summary>Answer</summary>
#
# $\sqrt 6 \approx 2.45$ per layer and 6 per block of two layers;
# $6^{20} \approx 3.7 \times 10^{15}$ over 20 blocks.
#
# </details>
#
# 2. Change the code: let the residual case of `Block.forward` return `F.relu(x + 0.1 * y)`. How
#    much arrives at the first block with He initialization and no normalization?
#
# <details markdown="1"><summary>Answer</summary>
#
# It no longer explodes: about 0.72. Each block multiplies the variance by $1 + 0.01$ instead of 2.
# Many deep networks without normalization do this: they scale the residual branch down, or start
# it at zero (Zhang et al., 2019, Fixup).
#
# </details>
#
# 3. Change the code: remove `x +` from `ResidualBlock.forward` and train again. How much does the
#    accuracy after three epochs change, and why?
#
# <details markdown="1"><summary>Answer</summary>
#
# With the same seed, it falls from 93.0 % to 42.4 %. Add the line `model.apply(he)`, and without
# the shortcut it is 92.5 %. So in this small network the gap comes from the small default
# initialization and not from the missing shortcut, which only much deeper networks need.
#
# </details>
