"""手写整个网络 · A whole network by hand

Code: zoo/scratch/networks.py, zoo/scratch/container.py, zoo/scratch/naive/conv.py
Picture: cnn_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 前面几课的层一个一个都对了。把它们接起来，就是一个能训练的卷积网络，不需要自动求导：每一层收到
# $dy$，留下自己的参数梯度，把 $dx$ 交给前一层。
#
# 这一课做四件事：在纸上走完一个极小网络的前向和反向；
# 用循环版本的层、仓库里训练好的权重认出一个数字；把快的版本的每个梯度与 torch 比较；最后只用
# NumPy 在 MNIST 上训练三百步，并让 torch 走同样的步子作证。

# %% [markdown] lang="en"
# ## Why
# In the lessons before this one the layers came out right one by one. Connected, they are a
# convolutional network that can be trained without autograd: each layer gets $dy$, keeps the
# gradients of its own parameters, and hands $dx$ to the layer before it.
#
# This lesson does four things: it walks through a tiny network on paper, forward and backward; it
# reads a digit with the layers in plain loops and the shipped weights; it compares every gradient
# of the fast layers with torch's; and in the end it trains on MNIST for three hundred steps in
# NumPy alone, with torch taking the same steps as a witness.

# %% [markdown] lang="zh"
# ## 公式
# 网络是 `zoo` 的 `cnn`，即讲义中“基础篇”的网络。批次大小为 $N$：
#
# | 层 | 输出形状 | 参数 |
# |---|---|---|
# | 输入 | $[N, 1, 28, 28]$ | |
# | 卷积 $5\times5$ | $[N, 10, 24, 24]$ | $250 + 10$ |
# | 最大池化 2，ReLU | $[N, 10, 12, 12]$ | |
# | 卷积 $5\times5$ | $[N, 20, 8, 8]$ | $5000 + 20$ |
# | 最大池化 2，ReLU | $[N, 20, 4, 4]$ | |
# | 展平 | $[N, 320]$ | |
# | 全连接 | $[N, 10]$ | $3200 + 10$ |
#
# 网络是函数的复合 $z = f_8(\dots f_2(f_1(x)))$，损失是交叉熵。链式法则从后往前：
#
# $$
# dz = \frac{\mathrm{softmax}(z) - \mathrm{onehot}(t)}{N}, \qquad
# dx_k = \left(\frac{\partial f_k}{\partial x_k}\right)^{\!\top} dx_{k+1}, \qquad
# dw_k = \left(\frac{\partial f_k}{\partial w_k}\right)^{\!\top} dx_{k+1}
# $$
#
# 第一层不需要算 $dx_1$：图像不是参数，没有人用它（`network.accumulate` 因此省下这一步）。

# %% [markdown] lang="en"
# ## The formulas
# The network is the zoo's `cnn`, the basic network of the notes. With a batch of $N$:
#
# | layer | output shape | parameters |
# |---|---|---|
# | input | $[N, 1, 28, 28]$ | |
# | convolution $5\times5$ | $[N, 10, 24, 24]$ | $250 + 10$ |
# | max pooling 2, ReLU | $[N, 10, 12, 12]$ | |
# | convolution $5\times5$ | $[N, 20, 8, 8]$ | $5000 + 20$ |
# | max pooling 2, ReLU | $[N, 20, 4, 4]$ | |
# | flatten | $[N, 320]$ | |
# | linear | $[N, 10]$ | $3200 + 10$ |
#
# It is a composition $z = f_8(\dots f_2(f_1(x)))$, and the loss is cross-entropy. The chain rule
# runs from the back to the front:
#
# $$
# dz = \frac{\mathrm{softmax}(z) - \mathrm{onehot}(t)}{N}, \qquad
# dx_k = \left(\frac{\partial f_k}{\partial x_k}\right)^{\!\top} dx_{k+1}, \qquad
# dw_k = \left(\frac{\partial f_k}{\partial w_k}\right)^{\!\top} dx_{k+1}
# $$
#
# The first layer need not compute $dx_1$: the image is no parameter, and nobody uses it
# (`network.accumulate` saves this step).

# %% [markdown] lang="zh"
# ## 第一步：在纸上
# 一张 $3\times3$ 的图，一个 $2\times2$ 的卷积核，偏置 $-2$，池化窗口 $2\times2$，全连接 $1\to2$，
# 正确类别是 1：
#
# $$
# x = \begin{pmatrix}1&2&0\\0&1&3\\2&1&0\end{pmatrix}, \quad
# w = \begin{pmatrix}1&0\\-1&1\end{pmatrix}, \quad
# a = \begin{pmatrix}0.5\\-0.5\end{pmatrix}
# $$
#
# 前向：卷积得 $\begin{pmatrix}0&2\\-3&-2\end{pmatrix}$，池化得 2（右上角胜出），ReLU 得 $h = 2$，
# $z = ah = (1, -1)$，$\mathrm{softmax}(z) = (0.8808, 0.1192)$，损失 $-\ln 0.1192 = 2.1269$。
#
# 反向：$dz = (0.8808, 0.1192 - 1) = (0.8808, -0.8808)$；
#
# $$
# da = dz\,h = (1.7616, -1.7616), \qquad dh = a^\top dz = 0.4404 + 0.4404 = 0.8808
# $$
#
# $h > 0$，ReLU 原样放行；池化把它交给右上角；那里的窗口是
# $\begin{pmatrix}2&0\\1&3\end{pmatrix}$，所以 $db = 0.8808$，
#
# $$
# dw = 0.8808\begin{pmatrix}2&0\\1&3\end{pmatrix}
#    = \begin{pmatrix}1.7616&0\\0.8808&2.6424\end{pmatrix}, \qquad
# dx = 0.8808\begin{pmatrix}0&1&0\\0&-1&1\\0&0&0\end{pmatrix}
# $$

# %% [markdown] lang="en"
# ## Step one: on paper
# A $3\times3$ image, one $2\times2$ kernel, a bias of $-2$, a pooling window of $2\times2$, a
# linear layer $1\to2$; the right class is 1:
#
# $$
# x = \begin{pmatrix}1&2&0\\0&1&3\\2&1&0\end{pmatrix}, \quad
# w = \begin{pmatrix}1&0\\-1&1\end{pmatrix}, \quad
# a = \begin{pmatrix}0.5\\-0.5\end{pmatrix}
# $$
#
# Forward: the convolution gives $\begin{pmatrix}0&2\\-3&-2\end{pmatrix}$, pooling 2 (the top
# right wins), ReLU $h = 2$; $z = ah = (1, -1)$, $\mathrm{softmax}(z) = (0.8808, 0.1192)$, and the
# loss is $-\ln 0.1192 = 2.1269$.
#
# Backward: $dz = (0.8808, 0.1192 - 1) = (0.8808, -0.8808)$;
#
# $$
# da = dz\,h = (1.7616, -1.7616), \qquad dh = a^\top dz = 0.4404 + 0.4404 = 0.8808
# $$
#
# $h > 0$, so ReLU lets it pass; pooling hands it to the top right; the window there is
# $\begin{pmatrix}2&0\\1&3\end{pmatrix}$, so $db = 0.8808$ and
#
# $$
# dw = 0.8808\begin{pmatrix}2&0\\1&3\end{pmatrix}
#    = \begin{pmatrix}1.7616&0\\0.8808&2.6424\end{pmatrix}, \qquad
# dx = 0.8808\begin{pmatrix}0&1&0\\0&-1&1\\0&0&0\end{pmatrix}
# $$

# %%
import numpy as np
import torch
from torch.nn import functional as F

import zoo
from zoo import lessons, scratch
from zoo.datasets import mnist
from zoo.scratch import naive

tiny = scratch.Sequential(
    conv=scratch.Conv2d(1, 1, 2, dtype=np.float64),
    pool=scratch.MaxPool2d(2),
    relu=scratch.ReLU(),
    flatten=scratch.Flatten(),
    fc=scratch.Linear(1, 2, bias=False, dtype=np.float64),
)
kernel, bias = np.array([[[[1.0, 0], [-1, 1]]]]), np.array([-2.0])
weight = np.array([[0.5], [-0.5]])
tiny.load_state_dict({"conv.weight": kernel, "conv.bias": bias, "fc.weight": weight})
x = np.array([[1.0, 2, 0], [0, 1, 3], [2, 1, 0]])[None, None]

criterion = scratch.CrossEntropyLoss()
z = tiny(x)
loss = criterion(z, np.array([1]))
dx = tiny.backward(criterion.backward())
print(f"z = {z[0]}, loss = {loss:.4f}")
for name, parameter in tiny.named_parameters():
    print(f"d {name} = {parameter.grad.round(4).tolist()}")
print(f"dx =\n{dx[0, 0].round(4)}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("loss", loss, 2.1269, 5e-5)
lessons.agree("dw", tiny.layers["conv"].weight.grad[0, 0], [[1.7616, 0], [0.8808, 2.6424]], 5e-5)
lessons.agree("dx", dx[0, 0], 0.8808 * np.array([[0, 1, 0], [0, -1, 1], [0, 0, 0]]), 5e-5)

# %% [markdown] lang="zh"
# ## 第二步：循环版本认出一个数字
# 下面的 `make_net` 用 `zoo.scratch` 写出同样的网络，层的名字与 torch 模型一致，
# 所以能直接装入仓库里训练好的权重。再用 `naive` 的循环对一张测试图走一遍：四十六万多次乘法，
# 一两秒钟，结果与快的版本相同。

# %% [markdown] lang="en"
# ## Step two: the plain loops read a digit
# `make_net` below writes the same network with `zoo.scratch`. The names of its layers are those
# of the torch model, so the shipped weights fit as they are. Then the loops of `naive` take one
# test image through it: more than 460,000 multiplications in a second or two, and the result is
# that of the fast layers.


# %%
def make_net(rng, dtype):
    """Return the network of the notes with fresh weights, in layers of NumPy."""
    how = {"rng": rng, "dtype": dtype}
    return scratch.Sequential(
        conv1=scratch.Conv2d(1, 10, 5, **how),
        pool1=scratch.MaxPool2d(2),
        relu1=scratch.ReLU(),
        conv2=scratch.Conv2d(10, 20, 5, **how),
        pool2=scratch.MaxPool2d(2),
        relu2=scratch.ReLU(),
        flatten=scratch.Flatten(),
        fc=scratch.Linear(320, 10, **how),
    )


def prepare(images, dtype=np.float64):
    """Turn uint8 images [N, 28, 28, 1] into normalized floats [N, 1, 28, 28]."""
    x = images.transpose(0, 3, 1, 2) / 255
    return ((x - 0.1307) / 0.3081).astype(dtype)


shipped = zoo.load("cnn").double()
state = {name: tensor.numpy() for name, tensor in shipped.state_dict().items()}
net = make_net(np.random.default_rng(0), np.float64)
net.load_state_dict(state)

data = mnist.load()
x = prepare(data.test.inputs[:1])
h = naive.conv2d(x, state["conv1.weight"], state["conv1.bias"])
h, _ = naive.max_pool2d(h, kernel=2, stride=2)
h = naive.conv2d(np.maximum(h, 0), state["conv2.weight"], state["conv2.bias"])
h, _ = naive.max_pool2d(h, kernel=2, stride=2)
h = naive.flatten(np.maximum(h, 0))
z = naive.linear(h, state["fc.weight"], state["fc.bias"])
print(f"multiplications: {10 * 24 * 24 * 25 + 20 * 8 * 8 * 250 + 320 * 10:,}")
print(f"digit {z.argmax()}, label {data.test.targets[0]}")
assert z.argmax() == data.test.targets[0]
lessons.say("循环与快的版本：", "The loops and the fast layers:")
lessons.agree("logits", z, net(x), 1e-9)

# %% [markdown] lang="zh"
# ## 第三步：每个梯度与 torch 比较
# 五百张测试图，同样的权重。手写网络的输出、损失和六个参数的梯度，与 torch
# 的自动求导相差只在舍入误差之内。

# %% [markdown] lang="en"
# ## Step three: every gradient beside torch
# Five hundred test images, the same weights. Outputs, loss and the gradients of all six
# parameters differ from those of torch's autograd by rounding only.

# %%
x, targets = prepare(data.test.inputs[:500]), data.test.targets[:500]
logits = net(x)
right = int((logits.argmax(axis=1) == targets).sum())
lessons.say(
    f"训练好的权重，手写的层：{len(targets)} 张里对了 {right} 张",
    f"shipped weights in layers by hand: {right} of {len(targets)} digits right",
)
assert right > 490
loss = criterion(logits, targets)
net.accumulate(criterion.backward())

expected = shipped(torch.from_numpy(x))
expected_loss = F.cross_entropy(expected, torch.from_numpy(targets))
expected_loss.backward()
lessons.agree("logits", logits, expected, 1e-9)
lessons.agree("loss", loss, expected_loss, 1e-9)
theirs = dict(shipped.named_parameters())
for name, parameter in net.named_parameters():
    lessons.agree(f"d {name}", parameter.grad, theirs[name].grad, 1e-9)

# %% [markdown] lang="zh"
# ## 训练：torch 走同样的步子
# 从随机权重出发，标准流程一步不少：清零梯度、前向、损失、反向、更新。先用 float64 走 20 步，让
# torch 从同样的权重、同样的批次、同样的 SGD 出发：二十步之后所有权重仍然一致。可见不仅梯度对，
# 优化器也对。

# %% [markdown] lang="en"
# ## Training: torch takes the same steps
# From random weights, by the standard flow: zero the gradients, forward, loss, backward, update.
# First 20 steps in float64, with torch starting from the same weights on the same batches with
# the same SGD. After the twenty steps all weights are still the same; so not only the gradients
# are right but the optimizer too.


# %%
def batches(count, dtype):
    """Yield `count` batches of 64 training digits, drawn without repetition."""
    order = np.random.default_rng(1).permutation(len(data.train.inputs))
    for step in range(count):
        rows = order[64 * step : 64 * (step + 1)]
        yield prepare(data.train.inputs[rows], dtype), data.train.targets[rows]


net = make_net(np.random.default_rng(0), np.float64)
optimizer = scratch.SGD(net.parameters(), lr=0.1, momentum=0.5)
peer = zoo.load("cnn", pretrained=False).double()
peer.load_state_dict({name: torch.tensor(array) for name, array in net.state_dict().items()})
peer.train()
peer_optimizer = torch.optim.SGD(peer.parameters(), lr=0.1, momentum=0.5)
peer_losses = []
for x, targets in batches(20, np.float64):
    optimizer.zero_grad()
    loss = criterion(net(x), targets)
    net.accumulate(criterion.backward())  # backward, without dL/dx of the images
    optimizer.step()

    peer_optimizer.zero_grad()
    peer_loss = F.cross_entropy(peer(torch.from_numpy(x)), torch.from_numpy(targets))
    peer_loss.backward()
    peer_optimizer.step()
    peer_losses.append(peer_loss.item())
lessons.say("20 步之后，与 torch 比较：", "After 20 steps, beside torch:")
lessons.agree("loss", loss, peer_losses[-1], 1e-9)
for name, tensor in peer.state_dict().items():
    lessons.agree(name, net.state_dict()[name], tensor, 1e-9)

# %% [markdown] lang="zh"
# ## 三百步
# 现在只靠手写的层，float32，三百个批次，每张训练图最多看一次。每 30 步用验证集的 1,000
# 张图看一眼准确率，最后在全部 10,000 张测试图上给出结果。更长的训练是
# `zoo train cnn --engine numpy`：同样的层，同样的配方，只是引擎换成 NumPy。

# %% [markdown] lang="en"
# ## Three hundred steps
# Now the layers by hand alone, in float32, for three hundred batches, so that each training image
# is seen at most once. Every 30 steps 1,000 images of the validation split give the accuracy on
# the way, and at the end all 10,000 test images give the result. For a longer training there is
# `zoo train cnn --engine numpy`: the same layers under the recipe of the zoo, with NumPy as the
# engine.


# %%
def accuracy(net, images, targets):
    """Return the fraction of images that the network classifies right."""
    right = 0
    for start in range(0, len(images), 500):
        logits = net(prepare(images[start : start + 500], np.float32))
        right += (logits.argmax(axis=1) == targets[start : start + 500]).sum()
    return right / len(images)


net = make_net(np.random.default_rng(0), np.float32)
optimizer = scratch.SGD(net.parameters(), lr=0.1, momentum=0.5)
losses, steps, accuracies = [], [], []
for step, (x, targets) in enumerate(batches(300, np.float32), start=1):
    optimizer.zero_grad()
    losses.append(criterion(net(x), targets))
    net.accumulate(criterion.backward())
    optimizer.step()
    if step % 30 == 0:
        steps.append(step)
        inputs, labels = data.validation.inputs[:1000], data.validation.targets[:1000]
        accuracies.append(accuracy(net, inputs, labels))
first, last = np.mean(losses[:10]), np.mean(losses[-10:])
print(f"loss: {first:.2f} -> {last:.2f} (mean of 10 steps)")
result = accuracy(net, data.test.inputs, data.test.targets)
print(f"test accuracy: {result:.1%}")
assert last < first / 4
assert result > 0.93

figure = lessons.figure(7.0, 3.0)
left, right = figure.subplots(1, 2)
left.plot(range(1, 301), losses, color="#2563a8", linewidth=1, label="by hand")
left.plot(range(1, 21), peer_losses, ".", color="#c2571a", markersize=4, label="torch, 20 steps")
left.set(title="training loss", xlabel="step", ylim=(0, 2.6))
left.legend(frameon=False, fontsize=8)
right.plot(steps, [100 * value for value in accuracies], "o-", color="#3a7d44", markersize=4)
right.set(title="validation accuracy, %", xlabel="step", ylim=(80, 100))
for axes in (left, right):
    axes.grid(alpha=0.25)
lessons.save(figure, "cnn_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **反向的顺序写错。** 必须与前向完全相反；某一层漏掉，
#   形状常常还对得上（ReLU、池化之间尤其如此），但损失不降。逐层与数值梯度比较。
# - **忘了除以 $N$。** 损失是平均值，$dz$ 也要除以批次大小；漏掉就等于学习率大了 64 倍：
#   这里的损失会冲到 $10^{14}$，测试准确率停在 10% 左右。
# - **没有清零梯度。** 参数梯度会累加，每一步都混进以前所有的步。
# - **一个层对象用在两处。** `scratch` 的层只记住最近一次前向；两处 ReLU 要写两个对象，否则第二次
#   `backward` 会报错。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **The wrong order in backward.** It must be the exact reverse of forward. When a layer is left
#   out the shapes may still fit (ReLU above all), but the loss does not fall. Compare layer by
#   layer with the numeric gradient.
# - **No division by $N$.** The loss is a mean, so $dz$ is divided by the batch size too. Without
#   it the learning rate is in effect 64 times as large: here the loss shoots up to $10^{14}$, and
#   the test accuracy stays at about 10%.
# - **Gradients are not zeroed.** They accumulate, and each step mixes in all the steps before.
# - **One layer object in two places.** A layer of `scratch` remembers its last forward pass only.
#   Two ReLUs are two objects; else the second `backward` raises an error.

# %% [markdown] lang="zh"
# ## 练习
# 1. 纸上的例子，把偏置从 $-2$ 改成 $-5$。损失和各个梯度是多少？这样的神经元还能学吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 卷积输出全为负，ReLU 之后 $h = 0$，$z = (0, 0)$，损失 $\ln 2 = 0.6931$。$da = dz\,h = 0$，ReLU
# 处导数为 0，卷积的梯度也全是 0：对这个输入它不再学习（“死亡 ReLU”）。
#
# </details>
#
# 2. 给 `conv1` 加上 `padding=2`。还要改哪里？训练三百步，准确率大约多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 大小变成 $28 \to 28 \to 14 \to 10 \to 5$，全连接的输入是 $20\cdot 5\cdot 5 = 500$，即
# `scratch.Linear(500, 10)`；不改会得到一行错误，说明期望与给出的形状。（与 torch
# 和仓库权重的比较要先删去。）测试准确率 96.8%，与原来的 96.6% 没有可靠的差别。
#
# </details>
#
# 3. 在 `conv1` 后面加一层 `norm1=scratch.BatchNorm2d(10, dtype=dtype)`，计算测试准确率之前调用
#    `net.eval()`，看验证准确率之前和之后也要切换模式。结果如何？
#
# <details markdown="1"><summary>答案</summary>
#
# 测试准确率 97.2%，原来是 96.6%；但换随机种子（`default_rng(1)`、`default_rng(2)`），
# 原来的网络也有 97.5% 和 97.0%，所以只凭一次训练还不能说它更好。忘了 `eval()` 时，每 500
# 张图用自己的统计量，
# 结果还会把验证图混进运行统计量。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. In the example on paper change the bias from $-2$ to $-5$. What are the loss and the
#    gradients? Can such a neuron still learn?
#
# <details markdown="1"><summary>Answer</summary>
#
# All outputs of the convolution are negative; after ReLU $h = 0$, $z = (0, 0)$, and the loss is
# $\ln 2 = 0.6931$. $da = dz\,h = 0$; the slope of ReLU is 0, and so are all gradients of the
# convolution. On this input it learns nothing more (a "dead ReLU").
#
# </details>
#
# 2. Give `conv1` a `padding=2`. What else has to change? What is the accuracy after three hundred
#    steps?
#
# <details markdown="1"><summary>Answer</summary>
#
# The sizes become $28 \to 28 \to 14 \to 10 \to 5$, so the linear layer has
# $20\cdot 5\cdot 5 = 500$ inputs: `scratch.Linear(500, 10)`. Without this change one line of
# error tells the expected and the given shape. (Delete the comparisons with torch and the shipped
# weights first.) The test accuracy is 96.8%, not reliably different from the 96.6% before.
#
# </details>
#
# 3. Add a layer `norm1=scratch.BatchNorm2d(10, dtype=dtype)` after `conv1`; call `net.eval()`
#    before each accuracy and `net.train()` after it. What comes out?
#
# <details markdown="1"><summary>Answer</summary>
#
# The test accuracy is 97.2% and was 96.6%. But with other seeds (`default_rng(1)`,
# `default_rng(2)`) the old network reaches 97.5% and 97.0%, so one training does not show that
# this is better. Without `eval()`
# each 500 images are normalized by their own statistics, and the validation images get into the
# running statistics.
#
# </details>
