"""卷积神经网络（高级篇） Inception 块 · Inception block

Code: zoo/models/googlenet.py
Picture: inception_block.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 前面的网络是一条直线：一层接一层。GoogLeNet（Szegedy 等，2014）把一层换成并排的几条支路，
# 每条用不同大小的卷积核看同一张图，再把结果拼起来。这样就不必猜哪个核最合适：好用的支路，
# 训练会给它大的权重。
#
# 代价是计算量，尤其是 5×5 卷积。解决办法是 1×1 卷积：它不看周围的像素，只在通道之间做加权求和，
# 先把通道数降下来，再做大卷积。这一课先算清这笔账，再写出讲义的 `InceptionA`，核对四条支路，
# 最后训练一个只有一个块的小网络。

# %% [markdown] lang="en"
# ## Why
# The networks so far are a straight line, one layer after another. GoogLeNet (Szegedy et al., 2014)
# replaces a layer by several branches side by side. Each looks at the same image with kernels of
# another size, and the results are joined. Nobody has to guess which kernel is best: training gives
# large weights to the branches that help.
#
# The price is computing, above all for the 5 x 5 convolution. The remedy is the 1 x 1 convolution:
# it does not look at the pixels around, and only sums over the channels with weights. It first
# lowers the number of channels, and the large convolution comes after. This lesson first counts
# what that saves, then writes the `InceptionA` of the notes, checks its four branches, and trains a
# small network with one block.

# %% [markdown] lang="zh"
# ## 公式
# 1×1 卷积把 $x$，形状 $[N, C, H, W]$，变成 $y$，形状 $[N, C', H, W]$：
#
# $$
# y_{n,o,i,j} = b_o + \sum_{c=1}^{C} w_{o,c}\; x_{n,c,i,j}
# $$
#
# 这就是对每个像素的 $C$ 个通道用同一个线性层。$k \times k$ 卷积保持大小不变时，要填充
# $p = (k-1)/2$，乘法次数是
#
# $$
# H \cdot W \cdot C \cdot C' \cdot k^2
# $$
#
# 讲义的例子：192 个通道、28×28 的图，变成 32 个通道。直接用 5×5：
# $28^2 \times 192 \times 32 \times 25 = 120{,}422{,}400$ 次；先用 1×1 降到 16 个通道：
# $28^2 \times 192 \times 16 + 28^2 \times 16 \times 32 \times 25 = 12{,}443{,}648$ 次，约十分之一。

# %% [markdown] lang="en"
# ## The formulas
# A 1 x 1 convolution turns $x$ of shape $[N, C, H, W]$ into $y$ of shape $[N, C', H, W]$:
#
# $$
# y_{n,o,i,j} = b_o + \sum_{c=1}^{C} w_{o,c}\; x_{n,c,i,j}
# $$
#
# which is the same linear layer for the $C$ channels of each pixel. A $k \times k$ convolution that
# keeps the size has a padding of $p = (k-1)/2$, and this many multiplications:
#
# $$
# H \cdot W \cdot C \cdot C' \cdot k^2
# $$
#
# The example of the notes: 192 channels of 28 x 28 become 32. A 5 x 5 convolution at once takes
# $28^2 \times 192 \times 32 \times 25 = 120{,}422{,}400$; with a 1 x 1 convolution to 16 channels
# first it is $28^2 \times 192 \times 16 + 28^2 \times 16 \times 32 \times 25 = 12{,}443{,}648$,
# about a tenth.

# %% [markdown] lang="zh"
# ## 1. 1×1 卷积
# 验证两件事：它等于对通道用的线性层；乘法次数和公式一致。

# %% [markdown] lang="en"
# ## 1. The 1 x 1 convolution
# Two checks: it is a linear layer over the channels, and the number of multiplications is that of
# the formula.

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

torch.manual_seed(0)
conv = nn.Conv2d(3, 2, kernel_size=1)
x = torch.randn(1, 3, 4, 4)
pixels = x.permute(0, 2, 3, 1)  # channels last, as nn.Linear takes them
with torch.no_grad():
    linear = F.linear(pixels, conv.weight.view(2, 3), conv.bias).permute(0, 3, 1, 2)
    lessons.agree("1 x 1 is a linear layer", conv(x), linear)


def multiplications(conv, side):
    """Of a convolution that keeps the image's side."""
    return conv.weight.numel() * side * side


direct = multiplications(nn.Conv2d(192, 32, kernel_size=5, padding=2), 28)
narrow = multiplications(nn.Conv2d(192, 16, kernel_size=1), 28)
narrow += multiplications(nn.Conv2d(16, 32, kernel_size=5, padding=2), 28)
lessons.say(
    f"直接 5x5：{direct:,} 次乘法；先 1x1：{narrow:,} 次；相差 {direct / narrow:.1f} 倍",
    f"5x5 at once: {direct:,} multiplications; 1x1 first: {narrow:,}; "
    f"{direct / narrow:.1f} times fewer",
)
assert (direct, narrow) == (120_422_400, 12_443_648)

# %% [markdown] lang="zh"
# ## 2. InceptionA
# 四条支路：1×1；1×1 加 5×5；1×1 加两个 3×3（两个 3×3 的视野也是 5×5）；平均池化加 1×1。
# 输入通道数是参数，输出总是 $16 + 24 + 24 + 24 = 88$ 个通道。

# %% [markdown] lang="en"
# ## 2. InceptionA
# Four branches: 1 x 1; 1 x 1 and 5 x 5; 1 x 1 and twice 3 x 3 (which together also see 5 x 5
# pixels); average pooling and 1 x 1. The number of input channels is an argument; the output always
# has $16 + 24 + 24 + 24 = 88$ channels.


# %%
class InceptionA(nn.Module):
    """The Inception block of the notes."""

    def __init__(self, in_channels):
        super().__init__()
        self.branch1x1 = nn.Conv2d(in_channels, 16, kernel_size=1)

        self.branch5x5_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_2 = nn.Conv2d(16, 24, kernel_size=5, padding=2)

        self.branch3x3_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch3x3_2 = nn.Conv2d(16, 24, kernel_size=3, padding=1)
        self.branch3x3_3 = nn.Conv2d(24, 24, kernel_size=3, padding=1)

        self.branch_pool = nn.Conv2d(in_channels, 24, kernel_size=1)

    def branches(self, x):
        """[N, in_channels, H, W] -> the four results, each [N, 16 or 24, H, W]."""
        branch1x1 = self.branch1x1(x)

        branch5x5 = self.branch5x5_1(x)
        branch5x5 = self.branch5x5_2(branch5x5)

        branch3x3 = self.branch3x3_1(x)
        branch3x3 = self.branch3x3_2(branch3x3)
        branch3x3 = self.branch3x3_3(branch3x3)

        branch_pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branch_pool = self.branch_pool(branch_pool)
        return [branch1x1, branch5x5, branch3x3, branch_pool]

    def forward(self, x):
        """[N, in_channels, H, W] -> [N, 88, H, W]."""
        return torch.cat(self.branches(x), dim=1)


NAMES = ("1x1", "1x1, 5x5", "1x1, 3x3, 3x3", "average pool, 1x1")
block = InceptionA(in_channels=10)
x = torch.randn(1, 10, 12, 12)
with torch.no_grad():
    for name, branch in zip(NAMES, block.branches(x), strict=True):
        print(f"{name:<18} {tuple(x.shape)} -> {tuple(branch.shape)}")
    print("joined             ->", tuple(block(x).shape))
    reference = zoo.load("googlenet").incep1
    block.load_state_dict(reference.state_dict())  # the zoo's weights have the same names
    lessons.agree("our block and the zoo's", block(x), reference(x))

# %% [markdown] lang="zh"
# ## 3. 和一个大卷积比
# 同样从 10 个通道到 88 个，一个普通 5×5 卷积要多少参数、多少次乘法？
# 这里输入只有 10 个通道，差别不大；输入有 88 个通道时差别就大了。

# %% [markdown] lang="en"
# ## 3. Beside one large convolution
# How many parameters and multiplications does one 5 x 5 convolution take that also makes 88
# channels? With 10 input channels the difference is small; with 88 it is large.

# %%
for channels in (10, 88):
    plain = nn.Conv2d(channels, 88, kernel_size=5, padding=2)
    block = InceptionA(channels)
    counts = [sum(p.numel() for p in part.parameters()) for part in (plain, block)]
    products = [
        sum(multiplications(conv, 12) for conv in part.modules() if isinstance(conv, nn.Conv2d))
        for part in (plain, block)
    ]
    lessons.say(
        f"{channels} 个通道：参数 {counts[0]:,} 和 {counts[1]:,}（块）个，"
        f"乘法 {products[0]:,} 和 {products[1]:,} 次",
        f"{channels} channels: {counts[0]:,} and {counts[1]:,} (block) parameters, "
        f"{products[0]:,} and {products[1]:,} multiplications",
    )
assert products[0] > 7 * products[1]

# %% [markdown] lang="zh"
# ## 4. 训练一个块
# 完整的网络在 `googlenet` 一课；这里只放一个块，几秒就能训练。数据每 20 张取 1 张训练
# （3,000 张），每 10 张取 1 张测试（1,000 张），批量 16。

# %% [markdown] lang="en"
# ## 4. Train one block
# The whole network is in the lesson `googlenet`; this one has a single block and trains in seconds.
# Every 20th image is for training (3,000), every 10th for the test (1,000), in batches of 16.


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


class Net(nn.Module):
    """A convolution, one block, a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.incep1 = InceptionA(in_channels=10)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(88 * 6 * 6, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        x = F.relu(self.mp(self.conv1(x)))  # [N, 10, 12, 12]
        x = F.relu(self.mp(self.incep1(x)))  # [N, 88, 6, 6]
        return self.fc(x.flatten(1))  # [N, 3168] -> [N, 10]


torch.manual_seed(0)
torch.set_num_threads(1)  # batches are small: more threads would wait for each other
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
train_set, test_set = Digits("train", 20), Digits("t10k", 10)
train_loader = DataLoader(train_set, batch_size=16, shuffle=True)
test_loader = DataLoader(test_set, batch_size=250)
model = Net().to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
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


for epoch in range(1, 4):
    train(epoch)
    test()
assert accuracies[-1] > 0.85

# %% [markdown] lang="zh"
# ## 5. 四条支路看到什么
# 一张测试图，每条支路的前六个通道。平均池化的支路最模糊，1×1 的支路只是把 10 个通道重新混合，
# 带大核的两条支路对更大范围的笔画有响应。

# %% [markdown] lang="en"
# ## 5. What the four branches see
# One test image, and the first six channels of each branch. The branch with average pooling is the
# most blurred one, that of 1 x 1 only mixes the ten channels again, and the two with larger kernels
# answer to longer pieces of a stroke.

# %%
with torch.no_grad():
    x = F.relu(model.mp(model.conv1(test_set.images[:1].to(device))))
    maps = model.incep1.branches(x)
figure = lessons.figure(7.0, 4.4)
for row, name, branch in zip(figure.subplots(4, 6), NAMES, maps, strict=True):
    for number, axes in enumerate(row):
        axes.imshow(branch[0, number].cpu().numpy(), cmap="viridis")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
figure.suptitle("the first six channels of each branch, for one digit")
lessons.save(figure, "inception_block.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# zoo 的 `googlenet` 有两个这样的块，用 55,000 张图训练了 18 轮。

# %% [markdown] lang="en"
# ## The same with the zoo
# The zoo's `googlenet` has two of these blocks and is trained on 55,000 images for 18 epochs.

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
# - **`Sizes of tensors must match except in dimension 1. Expected size 12 but got size 8`**：
#   5×5 卷积忘了 `padding=2`。每条支路的高和宽必须相同。
# - **平均池化没写 `stride=1`**：`F.avg_pool2d(x, 3)` 的步长默认等于核的大小，图缩小到 4×4。
# - **把列表直接交给下一层**：`conv2d() received an invalid combination of arguments`。
#   先 `torch.cat(..., dim=1)`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **`Sizes of tensors must match except in dimension 1. Expected size 12 but got size 8`**: the
#   5 x 5 convolution has no `padding=2`. All branches need the same height and width.
# - **Average pooling without `stride=1`**: the stride of `F.avg_pool2d(x, 3)` is the size of its
#   kernel, and the image shrinks to 4 x 4.
# - **The list goes straight into the next layer**: `conv2d() received an invalid combination of
#   arguments`. First `torch.cat(..., dim=1)`.

# %% [markdown] lang="zh"
# ## 练习
# 1. 两个 3×3 卷积（通道数都是 $C$）和一个 5×5 卷积视野相同，权重各有多少？
#
# <details markdown="1"><summary>答案</summary>
#
# $2 \times 9 C^2 = 18 C^2$ 和 $25 C^2$：少 28%，中间还能多一个激活函数。
#
# </details>
#
# 2. 修改代码：5×5 支路去掉 1×1 卷积（`branch5x5_2` 直接从输入通道到 24）。输入 88 个通道时，
#    这个块有多少参数？
#
# <details markdown="1"><summary>答案</summary>
#
# 66,496 个，原来是 24,720 个：去掉了 1×1 的 $88 \times 16 + 16 = 1424$ 个，5×5 卷积却从
# $16 \times 24 \times 25 + 24 = 9624$ 变成 $88 \times 24 \times 25 + 24 = 52824$ 个。
#
# </details>
#
# 3. 修改代码：在第 4 节之前让 `InceptionA.forward` 只拼接第一条和最后一条支路
#    （`fc` 的输入改为 $40 \times 36 = 1440$）。三轮以后的准确率是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 89.7%，四条支路时是 93.0%。剩下的两条支路都没有大卷积核，只有平均池化看得到周围的像素。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Two 3 x 3 convolutions, all with $C$ channels, see as many pixels as one 5 x 5 convolution. How
#    many weights have they, and how many has the one?
#
# <details markdown="1"><summary>Answer</summary>
#
# $2 \times 9 C^2 = 18 C^2$ and $25 C^2$: 28 % fewer, and there is room for one more activation.
#
# </details>
#
# 2. Change the code: remove the 1 x 1 convolution of the 5 x 5 branch (`branch5x5_2` goes from the
#    input channels to 24 at once). How many parameters has the block with 88 input channels?
#
# <details markdown="1"><summary>Answer</summary>
#
# 66,496 instead of 24,720: without the $88 \times 16 + 16 = 1424$ of the 1 x 1 convolution, the
# 5 x 5 convolution has $88 \times 24 \times 25 + 24 = 52824$ instead of
# $16 \times 24 \times 25 + 24 = 9624$.
#
# </details>
#
# 3. Change the code: before section 4, let `InceptionA.forward` join the first and the last branch
#    only (`fc` then has $40 \times 36 = 1440$ inputs). What is the accuracy after three epochs?
#
# <details markdown="1"><summary>Answer</summary>
#
# 89.7 %, where four branches reach 93.0 %. Neither of the two that are left has a large kernel;
# only the average pooling sees the pixels around.
#
# </details>
