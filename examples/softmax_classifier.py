"""多分类问题 Softmax · Softmax classifier

Code: zoo/models/softmax.py, zoo/evaluation/metrics.py
Picture: softmax_classifier.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 逻辑回归回答“是或不是”，只输出一个概率。手写数字有十类，就要十个概率，而且加起来等于 1。
# 让十个输出各做一次二分类是不行的：它们互不相关，可能同时都是 0.9。softmax 把十个任意的
# 得分变成一个概率分布；交叉熵损失只看正确那一类的概率，让它尽量大。
#
# 这一课先用三个数把 softmax 和损失算清楚，再写讲义的 MNIST 程序：五个全连接层。

# %% [markdown] lang="en"
# ## Why
# Logistic regression answers yes or no with one probability. Handwritten digits have ten classes,
# so there have to be ten probabilities, and they have to add up to 1. Ten yes-or-no answers would
# not do: they know nothing of each other and could all be 0.9. Softmax turns any ten scores into a
# probability distribution; the cross-entropy loss looks at the probability of the true class and
# makes it as large as it can.
#
# The lesson first computes softmax and loss for three numbers, and then writes the program of the
# notes for MNIST: five fully connected layers.

# %% [markdown] lang="zh"
# ## 公式
# 网络的输出 $z$ 形状是 $[N, K]$，每行 $K$ 个得分（logits），没有激活函数。
#
# $$
# p_k = \frac{e^{z_k}}{\sum_{j=1}^{K} e^{z_j}}, \qquad
# L = -\log p_t = -z_t + \log \sum_{j=1}^{K} e^{z_j}
# $$
#
# $t$ 是正确的类别。损失对得分的梯度非常简单：
#
# $$
# \frac{\partial L}{\partial z_k} = p_k - y_k
# $$
#
# $y$ 是独热向量，正确的类为 1，其余为 0。`nn.CrossEntropyLoss` 就是 `LogSoftmax` 加
# `NLLLoss`，一次算完，数值也稳定。它要的标签是整数类别，`int64`，形状 $[N]$，不是独热向量。
#
# 讲义里的 `size_average=True` 和 `reduce=True` 如今合成一个参数 `reduction`：
# `"mean"`（默认）、`"sum"` 或 `"none"`。

# %% [markdown] lang="en"
# ## The formulas
# The output $z$ of the network has the shape $[N, K]$: $K$ scores (logits) a row, without an
# activation.
#
# $$
# p_k = \frac{e^{z_k}}{\sum_{j=1}^{K} e^{z_j}}, \qquad
# L = -\log p_t = -z_t + \log \sum_{j=1}^{K} e^{z_j}
# $$
#
# $t$ is the true class. The gradient of the loss with respect to the scores is very simple:
#
# $$
# \frac{\partial L}{\partial z_k} = p_k - y_k
# $$
#
# with $y$ one-hot: 1 for the true class, 0 for the others. `nn.CrossEntropyLoss` is `LogSoftmax`
# and `NLLLoss` in one, and numerically stable. Its labels are class numbers, `int64` of shape
# $[N]$, not one-hot vectors.
#
# What older notes write as `size_average=True` and `reduce=True` is one argument today,
# `reduction`: `"mean"` (the default), `"sum"` or `"none"`.

# %% [markdown] lang="zh"
# ## 1. 三个得分
# 用讲义里的数：得分 0.2、0.1、-0.1，正确的类是 0。自己算一遍，再和 torch 比。

# %% [markdown] lang="en"
# ## 1. Three scores
# The numbers of the notes: scores 0.2, 0.1 and -0.1, and the true class is 0. We compute it
# ourselves and compare with torch.

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

z = torch.tensor([[0.2, 0.1, -0.1]], requires_grad=True)  # [1, 3]
target = torch.tensor([0])  # class 0, int64
p = z.exp() / z.exp().sum(dim=1, keepdim=True)
loss = -p[0, 0].log()
print("probabilities", *(f"{value:.4f}" for value in p[0]), f"loss {loss:.4f}")
lessons.agree("torch.softmax", p, torch.softmax(z, dim=1))
lessons.agree("CrossEntropyLoss", loss, nn.CrossEntropyLoss()(z, target))
lessons.agree("LogSoftmax, NLLLoss", loss, nn.NLLLoss()(torch.log_softmax(z, dim=1), target))
loss.backward()
print("gradient     ", *(f"{value:.4f}" for value in z.grad[0]))
lessons.agree("gradient p - y", p - torch.tensor([[1.0, 0.0, 0.0]]), z.grad)

# %% [markdown] lang="zh"
# `reduction` 决定一批里的损失怎样合成一个数。反向传播需要一个数；`"none"` 留下每个样本的损失，
# 可以用来找出最难的样本。

# %% [markdown] lang="en"
# `reduction` decides how the losses of a batch become one number. The backward pass needs one
# number; `"none"` keeps the loss of each sample, which finds the hardest ones.

# %%
scores = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
classes = torch.tensor([0, 0])  # the second row is wrong
for reduction in ("none", "sum", "mean"):
    print(f"{reduction:<5}", nn.CrossEntropyLoss(reduction=reduction)(scores, classes))

# %% [markdown] lang="zh"
# ## 2. 准备数据
# 自己的 `Dataset`：读 MNIST 的 IDX 文件，每 6 张取 1 张训练（10,000 张），每 5 张取 1 张测试
# （2,000 张），像素标准化。

# %% [markdown] lang="en"
# ## 2. Prepare the data
# A `Dataset` of our own reads MNIST's IDX files, takes every 6th image for training (10,000) and
# every 5th for the test (2,000), and normalizes the pixels.


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


torch.manual_seed(0)
train_set, test_set = Digits("train", 6), Digits("t10k", 5)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=500)

# %% [markdown] lang="zh"
# ## 3. 设计模型，选损失和优化器
# `view(-1, 784)` 把图拉直；中间四层用 ReLU，最后一层不激活。

# %% [markdown] lang="en"
# ## 3. Model, loss and optimizer
# `view(-1, 784)` flattens the images. There is a ReLU after each of the first four layers and none
# after the last.


# %%
class Net(nn.Module):
    """The fully connected network of the notes."""

    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(784, 512)
        self.l2 = nn.Linear(512, 256)
        self.l3 = nn.Linear(256, 128)
        self.l4 = nn.Linear(128, 64)
        self.l5 = nn.Linear(64, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        x = x.view(-1, 784)  # [N, 784]
        x = F.relu(self.l1(x))
        x = F.relu(self.l2(x))
        x = F.relu(self.l3(x))
        x = F.relu(self.l4(x))
        return self.l5(x)  # no activation here


device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Net().to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

# %% [markdown] lang="zh"
# ## 4. 训练与测试
# 第一轮进步很小：torch 默认的初始化对五层 ReLU 偏小，见 `weight_initialization` 一课。

# %% [markdown] lang="en"
# ## 4. Train and test
# The first epoch makes little progress: torch's default initialization is small for five layers
# with ReLU, see the lesson `weight_initialization`.

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


for epoch in range(1, 6):
    train(epoch)
    test()
assert accuracies[-1] > 0.8

# %% [markdown] lang="zh"
# ## 5. 最没把握的一张
# softmax 的好处是能看到模型有多大把握。找出最大概率最小的那张测试图，画出它的十个概率。
# 注意：概率高不等于一定对，网络常常过于自信（Guo 等，2017）。

# %% [markdown] lang="en"
# ## 5. The least certain image
# Softmax shows how sure the model is. We look for the test image whose largest probability is
# smallest and draw its ten probabilities. A high probability is no guarantee, though: networks are
# often too sure of themselves (Guo et al., 2017).

# %%
with torch.no_grad():
    probabilities = torch.softmax(model(test_set.images.to(device)), dim=1).cpu()
lessons.agree("each row adds up to 1", probabilities.sum(dim=1), torch.ones(len(test_set)))
unsure = int(probabilities.max(dim=1).values.argmin())
label = int(test_set.labels[unsure])
most = probabilities[unsure].max()
lessons.say(
    f"最没把握的是第 {unsure} 张，数字 {label}，最大的概率只有 {most:.2f}",
    f"least sure: image {unsure}, a {label}, with a largest probability of {most:.2f}",
)

figure = lessons.figure(8.4, 2.8)
left, middle, right = figure.subplots(1, 3, width_ratios=[1.5, 0.9, 1.5])
left.plot(range(1, 6), losses, "o-", markersize=3, color="#2563a8", label="training loss")
left.plot(range(1, 6), accuracies, "o-", markersize=3, color="#c2571a", label="test accuracy")
left.set(title="learning", xlabel="epoch", ylim=(0, None), xticks=range(1, 6))
left.grid(alpha=0.25)
left.legend(frameon=False)
middle.imshow(test_set.images[unsure, 0].numpy(), cmap="gray")
middle.set_title(f"least sure: a {label}")
middle.axis("off")
right.bar(range(10), probabilities[unsure].tolist(), color="#2563a8")
right.set(title="its probabilities", xlabel="class", xticks=range(10))
lessons.save(figure, "softmax_classifier.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# 同样的五层，zoo 用 55,000 张图训练了 30 轮，数字随机变形，权重取滑动平均，并向 `resnet` 学习。
# `predict` 返回类别、概率和标签名。

# %% [markdown] lang="en"
# ## The same with the zoo
# The same five layers, trained by the zoo on 55,000 images for 30 epochs with deformed digits,
# averaged weights and `resnet` as the teacher. `predict` returns classes, probabilities and labels.

# %%
images, labels = mnist.load_test()
prediction = zoo.Session("softmax").predict(images[::5])
right_ones = np.mean(prediction.indices == labels[::5])
score = zoo.card("softmax").score
lessons.say(
    f"zoo：这 2,000 张对 {100 * right_ones:.1f}%，全部 10,000 张 {score}",
    f"zoo: {100 * right_ones:.1f} % of these 2,000, {score} of all 10,000",
)
assert right_ones > accuracies[-1]

# %% [markdown] lang="zh"
# ## 常见错误
# - **softmax 之后再用 `CrossEntropyLoss`**：等于做了两次 softmax。不报错，但损失降不到
#   $\log(e + 9) - 1 = 1.46$ 以下。去掉模型里的 softmax。
# - **标签类型不对**：`expected target dtype to be Long or Byte, but got Int`，用
#   `labels.long()`。
# - **标签从 1 数到 10**：`Target 10 is out of bounds`。类别要从 0 开始。
# - **`argmax(dim=0)`**：得到 10 个数而不是 $N$ 个。类别在第 1 维。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **Softmax before `CrossEntropyLoss`**: that is softmax twice. Nothing fails, but the loss cannot
#   fall below $\log(e + 9) - 1 = 1.46$. Remove the softmax from the model.
# - **Labels of the wrong type**: `expected target dtype to be Long or Byte, but got Int`; use
#   `labels.long()`.
# - **Labels from 1 to 10**: `Target 10 is out of bounds`. Classes count from 0.
# - **`argmax(dim=0)`**: gives 10 numbers instead of $N$. The classes are in dimension 1.

# %% [markdown] lang="zh"
# ## 练习
# 1. 一个还没训练、十类等概率的网络，损失应该是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# $-\log \frac{1}{10} = \ln 10 = 2.303$。训练开始时的损失如果远大于它，先查数据和初始化。
#
# </details>
#
# 2. 手算：`sum` 和 `mean` 之间差多少倍？如果换成 `reduction="sum"`，学习率 0.01 还合适吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 差批量大小倍，这里是 32 倍，梯度也是。相当于学习率 0.32。要保持原来的训练，学习率改为
# $0.01 / 32$。
#
# </details>
#
# 3. 修改代码：让 `forward` 返回 `torch.softmax(self.l5(x), dim=1)`。五轮以后的损失和准确率是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 损失 2.283，准确率 18.9%；原来是 0.299 和 90.8%。两次 softmax 之后十个概率几乎相等，梯度很小。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. What is the loss of a network that is not trained yet and finds ten classes equally likely?
#
# <details markdown="1"><summary>Answer</summary>
#
# $-\log \frac{1}{10} = \ln 10 = 2.303$. If training begins far above it, check the data and the
# initialization.
#
# </details>
#
# 2. On paper: by which factor do `sum` and `mean` differ? With `reduction="sum"`, is a learning
#    rate of 0.01 still right?
#
# <details markdown="1"><summary>Answer</summary>
#
# By the size of the batch, here 32, and so do the gradients: as if the learning rate were 0.32. To
# train as before, use $0.01 / 32$.
#
# </details>
#
# 3. Change the code: let `forward` return `torch.softmax(self.l5(x), dim=1)`. What are the loss and
#    the accuracy after five epochs?
#
# <details markdown="1"><summary>Answer</summary>
#
# A loss of 2.283 and 18.9 %, instead of 0.299 and 90.8 %. After two softmaxes the ten probabilities
# are nearly equal, and gradients are small.
#
# </details>
