"""模型与数据迁移到 GPU · Model and data on the GPU

Code: zoo/network/device.py
"""

# %% [markdown] lang="zh"
# ## 为什么
# 训练就是大量的矩阵乘法，而矩阵乘法里的每个元素可以同时算。CPU 有几个到几十个核，GPU 有上千个
# 简单的运算单元，正适合这种工作。PyTorch 的代码几乎不用改：说明用哪个设备，把**模型**搬过去，
# 再把**每个小批量**搬过去，一共加三处。
#
# 这一课把讲义的卷积网络按这个办法写好。没有 GPU 的电脑也能运行：同样的代码，设备是 `cpu`。

# %% [markdown] lang="en"
# ## Why
# Training is mostly matrix multiplication, and all elements of a product can be computed at the
# same time. A CPU has a few cores, or some dozens; a GPU has thousands of simple units, made for
# this work. PyTorch code hardly changes: say which device, move the **model** there, and move
# **each batch** there. That is three places.
#
# This lesson writes the convolutional network of the notes in this way. It runs on a computer
# without a GPU too: the code is the same and the device is `cpu`.

# %% [markdown] lang="zh"
# ## 公式
# GPU 有自己的内存，数据要先复制过去。一步的时间大致是
#
# $$
# t = t_{\text{启动}} + \frac{\text{字节数}}{\text{带宽}} + \frac{\text{运算次数}}{\text{算力}}
# $$
#
# 一个小批量 $[64, 1, 28, 28]$ 的 float32 图有 $64 \times 784 \times 4 = 200{,}704$ 字节。
# 模型太小、批量太小时，时间花在启动和复制上，GPU 不一定比 CPU 快；批量加大，第三项才占主要部分。
#
# 浮点加法的顺序会影响最后一位，GPU 和 CPU 的顺序不同，所以结果只是接近，不会逐位相同。
# float32 约有 7 位有效数字；NVIDIA 的 TF32 模式只保留 10 位尾数，约 3 位有效数字。

# %% [markdown] lang="en"
# ## The formulas
# A GPU has memory of its own, and data have to be copied there first. A step takes about
#
# $$
# t = t_{\text{launch}} + \frac{\text{bytes}}{\text{bandwidth}} +
# \frac{\text{operations}}{\text{operations per second}}
# $$
#
# A batch $[64, 1, 28, 28]$ of float32 images has $64 \times 784 \times 4 = 200{,}704$ bytes. With a
# small model and a small batch the time goes into launching and copying, and a GPU need not be
# faster than a CPU; only with larger batches does the third term matter most.
#
# The order of floating-point additions changes the last digit. A GPU adds in another order than a
# CPU, so results are close but not the same bit for bit. float32 has about 7 significant digits;
# NVIDIA's TF32 mode keeps 10 bits of the fraction, about 3 digits.

# %% [markdown] lang="zh"
# ## 1. 选设备
# 讲义的那一行：有 CUDA 就用第一块显卡，否则用 CPU。张量的 `.device` 说明它在哪里，`.to(device)`
# 返回一个副本（已经在那里就返回自己），原来的张量不动。

# %% [markdown] lang="en"
# ## 1. Choose the device
# The line of the notes: the first GPU if there is CUDA, else the CPU. The `.device` of a tensor
# says where it is. `.to(device)` returns a copy there (or the tensor itself, if it is there
# already); the tensor itself does not move.

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
from zoo.errors import DeviceError
from zoo.network.device import torch_device

device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
lessons.say(f"设备：{device}", f"device: {device}")
x = torch.ones(2, 3)
there = x.to(device)
lessons.say(
    f"x 在 {x.device}，副本在 {there.device}", f"x is on {x.device}, its copy on {there.device}"
)
assert there.device.type == device.type
assert x.device.type == "cpu"

# %% [markdown] lang="zh"
# ## 2. 模型与数据
# `model.to(device)` 和张量不同：它**原地**搬动所有参数，不写 `model = ` 也行。优化器记住的是参数，
# 所以在搬动之后再建。数据留在 CPU 上的 `Dataset` 里，每次只搬一个小批量，显存就够用。
# `pin_memory=True` 让 `DataLoader` 把批放在锁页内存里，复制到显卡更快；没有显卡时不要用。

# %% [markdown] lang="en"
# ## 2. The model and the data
# Unlike with a tensor, `model.to(device)` moves all parameters **in place**; `model = ` is not
# necessary. The optimizer keeps the parameters, so make it after the move. The data stay in the
# `Dataset` on the CPU, and only one batch at a time goes to the GPU, so that its memory suffices.
# `pin_memory=True` lets the `DataLoader` put batches into pinned memory, from which they are copied
# faster; leave it out where there is no GPU.


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
    """The basic CNN of the notes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.pooling = nn.MaxPool2d(2)
        self.fc = nn.Linear(320, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        x = F.relu(self.pooling(self.conv1(x)))
        x = F.relu(self.pooling(self.conv2(x)))
        return self.fc(x.flatten(1))


torch.manual_seed(0)
train_set, test_set = Digits("train", 12), Digits("t10k", 5)
pinned = device.type == "cuda"
train_loader = DataLoader(train_set, batch_size=32, shuffle=True, pin_memory=pinned)
test_loader = DataLoader(test_set, batch_size=500, pin_memory=pinned)

model = Net()
model.to(device)  # 1. the model
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
devices = {str(parameter.device) for parameter in model.parameters()}
lessons.say(f"参数在 {devices}", f"the parameters are on {devices}")

# %% [markdown] lang="zh"
# ## 3. 训练与测试
# 训练里搬图和标签，测试里也要搬。`loss.item()` 和 `.cpu()` 会等显卡算完再取回数值，
# 所以不要每一步都打印，那样显卡总在等。累加放在显卡上，一轮只取一次。

# %% [markdown] lang="en"
# ## 3. Train and test
# Images and labels move in the training, and in the test as well. `loss.item()` and `.cpu()` wait
# for the GPU and fetch the value, so do not print at each step: the GPU would always be waiting.
# Add up on the GPU and fetch once per epoch.


# %%
def train(epoch):
    """Go through the training images once."""
    total = torch.zeros((), device=device)
    for images, labels in train_loader:
        images, labels = images.to(device), labels.to(device)  # 2. the batch
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(labels)  # stays on the device
    print(f"epoch {epoch}: loss {total.item() / len(train_set):.3f}", end="")


def test():
    """Return the fraction of the test images that are right."""
    correct = torch.zeros((), device=device)
    with torch.no_grad():
        for images, labels in test_loader:
            images, labels = images.to(device), labels.to(device)  # 3. here too
            correct += (model(images).argmax(dim=1) == labels).sum()
    return correct.item() / len(test_set)


for epoch in range(1, 4):
    train(epoch)
    accuracy = test()
    print(f", accuracy {100 * accuracy:.1f} %")
assert accuracy > 0.87

# %% [markdown] lang="zh"
# ## 4. 取回来
# NumPy 和画图只认 CPU 上的张量：先 `.cpu()`。保存模型也先搬回 CPU，别的电脑不一定有显卡。
# 同样的权重在两个设备上给出接近的得分，这里核对一下。

# %% [markdown] lang="en"
# ## 4. And back
# NumPy and pictures take tensors on the CPU only: call `.cpu()` first. Move a model back before you
# save it, too; another computer may have no GPU. The same weights give nearly the same scores on
# both devices, which we check here.

# %%
images = test_set.images[:500]
with torch.no_grad():
    on_device = model(images.to(device)).cpu()
    on_cpu = model.cpu()(images)
devices = {str(parameter.device) for parameter in model.parameters()}
lessons.say(f"参数在 {devices}", f"the parameters are on {devices}")
tolerance = 0.0 if device.type == "cpu" else 0.1  # a GPU may use TF32 in convolutions
lessons.agree("scores on both devices", on_device, on_cpu, tolerance)
same = (on_device.argmax(dim=1) == on_cpu.argmax(dim=1)).sum().item()
lessons.say(
    f"{len(images)} 张图里 {same} 张答案相同",
    f"the same answer for {same} of {len(images)} images",
)
assert same >= 498

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# 所有命令都有 `--device auto|cpu|cuda`。`auto` 取最好的并说明取了哪个；点名要 `cuda` 而没有，
# 就以退出码 4 结束，绝不悄悄改用 CPU。

# %% [markdown] lang="en"
# ## The same with the zoo
# All commands have `--device auto|cpu|cuda`. `auto` takes the best one and says which; `cuda` by
# name ends with exit code 4 if there is none, and never uses the CPU in silence.

# %%
auto, score = torch_device("auto"), zoo.card("cnn").score
lessons.say(
    f"zoo：auto 取 {auto}；cnn 在全部 10,000 张上 {score}",
    f"zoo: auto takes {auto}; cnn {score} of all 10,000",
)
if not torch.cuda.is_available():
    try:
        torch_device("cuda")
    except DeviceError as error:
        print("zoo:", str(error).partition(":")[0])
    else:
        raise AssertionError("cuda is said to be there and is not")

# %% [markdown] lang="zh"
# ## 常见错误
# - **`Expected all tensors to be on the same device`**：模型搬了，某个小批量没搬，常常是 `test`
#   里忘了；或者 `forward` 里新建的张量（例如 RNN 的 `h0`）在 CPU 上，要写
#   `torch.zeros(..., device=x.device)`。
# - **写了 `x.to(device)` 却没赋值**：张量不会原地搬动，要写 `x = x.to(device)`。
# - **计时得到的快得离谱**：显卡是异步的，调用立即返回。计时前后都要 `torch.cuda.synchronize()`，
#   并且先跑几次预热。
# - **`can't convert cuda:0 device type tensor to numpy`**：先 `.cpu()`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **`Expected all tensors to be on the same device`**: the model moved and a batch did not, often
#   in `test`; or `forward` makes a tensor on the CPU, such as the `h0` of an RNN. Write
#   `torch.zeros(..., device=x.device)`.
# - **`x.to(device)` without `x =`**: a tensor does not move in place; write `x = x.to(device)`.
# - **A timing too good to be true**: a GPU works asynchronously, and a call returns at once. Call
#   `torch.cuda.synchronize()` before and after, and run a few steps first to warm up.
# - **`can't convert cuda:0 device type tensor to numpy`**: call `.cpu()` first.

# %% [markdown] lang="zh"
# ## 练习
# 1. 把全部 60,000 张训练图作为 float32 一次搬到显卡，要多少显存？放得下吗？这样有什么好处？
#
# <details markdown="1"><summary>答案</summary>
#
# $60000 \times 784 \times 4 \approx 188$ MB，放得下；以后每步不用再复制。但数据再大一百倍就不行，
# 所以一般还是一批一批地搬。
#
# </details>
#
# 2. 修改代码：把 `model.to(device)` 移到 `optimizer = ...` 之后。还能训练吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 能，准确率一样：`nn.Module.to` 换的是参数里的数据，`Parameter` 对象还是原来的。但有状态的优化器
# （例如已经走过几步的 Adam）的状态不会跟着搬，所以养成先搬再建的习惯。
#
# </details>
#
# 3. 修改代码：第 3 节里不要 `loss.detach()`，直接 `total += loss * len(labels)`，再打印
#    `total.requires_grad`。为什么不好？
#
# <details markdown="1"><summary>答案</summary>
#
# 得到 `True`：`total` 连着每一步的计算图，一轮结束前都不能释放，占用的内存一步步增加。
# 损失和准确率不变。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. How much memory of the GPU do all 60,000 training images take as float32? Do they fit, and what
#    is it good for?
#
# <details markdown="1"><summary>Answer</summary>
#
# $60000 \times 784 \times 4 \approx 188$ MB, which fits, and no step has to copy any more. With a
# hundred times as much data it would not, so one usually moves batch by batch.
#
# </details>
#
# 2. Change the code: put `model.to(device)` behind `optimizer = ...`. Does it still train?
#
# <details markdown="1"><summary>Answer</summary>
#
# It does, with the same accuracy: `nn.Module.to` replaces the data in the parameters, and the
# `Parameter` objects stay. But the state of an optimizer (of an Adam that has made some steps, say)
# does not move with them, so make it a habit to move first.
#
# </details>
#
# 3. Change the code: in section 3, use `total += loss * len(labels)` without `detach()`, and print
#    `total.requires_grad`. What is wrong with it?
#
# <details markdown="1"><summary>Answer</summary>
#
# It is `True`: `total` holds on to the graph of each step, which cannot be freed before the epoch
# ends, and memory grows step by step. Loss and accuracy are the same.
#
# </details>
