"""手写负对数似然 NLLLoss · NLLLoss by hand

Code: zoo/scratch/loss.py, zoo/scratch/activation.py
"""

# %% [markdown] lang="zh"
# ## 为什么
# `NLLLoss` 是最短的损失：从每行取出正确类别的对数概率，变号，求平均。它几乎没有计算，
# 却值得单独一课，因为它说清了一件常被混淆的事：`CrossEntropyLoss` = `LogSoftmax` + `NLLLoss`。
# 输入必须是**对数概率**；送进概率或得分，它照样返回一个数，只是毫无意义。名字来自最大似然：
# 让训练数据出现的概率最大，等价于让负对数似然最小。本课先写循环，在纸上算两行，再与 `zoo.scratch`
# 和 torch 对照，并看三种送错的输入各得到什么。

# %% [markdown] lang="en"
# ## Why
# `NLLLoss` is the shortest loss: it takes the log-probability of the right class from each row,
# changes the sign, and returns the mean. It computes next to nothing, and it deserves a lesson all
# the same, because it explains something that is often confused: `CrossEntropyLoss` is
# `LogSoftmax` and `NLLLoss` in one. Its input has to be **log-probabilities**. For probabilities
# or scores it returns a number just the same, and the number means nothing. The name is from
# maximum likelihood: making the training data as probable as possible is the same as making the
# negative log-likelihood small. We write the loops, work out two rows on paper, compare with
# `zoo.scratch` and torch, and see what comes out for inputs of the wrong kind.

# %% [markdown] lang="zh"
# ## 公式
# 对数概率 $l$ 是 `[N, C]`，目标 $t$ 是 `[N]` 的类别号，$L$ 是一个数：
#
# $$
# L = -\frac{1}{N} \sum_{n=1}^{N} l_{n t_n}, \qquad
# \frac{\partial L}{\partial l_{nc}} = \begin{cases}
# -\frac{1}{N} & c = t_n \\ 0 & c \ne t_n \end{cases}
# $$
#
# 为什么是对数：各行独立时，全部数据的似然是乘积 $\prod_n p_{n t_n}$。一千个 0.1 相乘是
# $10^{-1000}$，双精度只能表示到大约 $10^{-308}$，结果成了 0；取对数后乘积变成和，
# $1000 \ln 0.1 = -2302.6$，毫无困难。
#
# `LogSoftmax` 的反向是 $dz = dl - p \sum_j dl_j$。把上面的 $dl$ 代入：每行
# $\sum_j dl_j = -\tfrac1N$，于是 $dz = \tfrac1N (p - \text{one-hot})$，正是交叉熵的梯度。

# %% [markdown] lang="en"
# ## The formulas
# The log-probabilities $l$ are `[N, C]`, the targets $t$ are class numbers `[N]`, and $L$ is one
# number:
#
# $$
# L = -\frac{1}{N} \sum_{n=1}^{N} l_{n t_n}, \qquad
# \frac{\partial L}{\partial l_{nc}} = \begin{cases}
# -\frac{1}{N} & c = t_n \\ 0 & c \ne t_n \end{cases}
# $$
#
# Why logarithms: with independent rows the likelihood of all data is the product
# $\prod_n p_{n t_n}$. A thousand times 0.1 is $10^{-1000}$, and double precision ends near
# $10^{-308}$, so the product becomes 0. The logarithm turns the product into a sum,
# $1000 \ln 0.1 = -2302.6$, and there is no difficulty.
#
# The backward pass of `LogSoftmax` is $dz = dl - p \sum_j dl_j$. With the $dl$ from above, each
# row has $\sum_j dl_j = -\tfrac1N$, and so $dz = \tfrac1N (p - \text{one-hot})$, which is the
# gradient of cross-entropy.

# %% [markdown] lang="zh"
# ## 第一步：循环
# 前向每行只取一个数；反向每行只有一个位置不是 0。

# %% [markdown] lang="en"
# ## Step 1: loops
# Forward takes one number from each row; backward has one element per row that is not 0.

# %%
import math

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch


def nll_forward(log_p, targets):
    """Return the loss of log-probabilities [N, C] and class numbers [N]."""
    total = 0.0
    for n in range(len(targets)):
        total -= log_p[n, targets[n]]
    return total / len(targets)


def nll_backward(log_p, targets):
    """Return the gradient by the log-probabilities, [N, C]."""
    gradient = np.zeros_like(log_p)
    for n in range(len(targets)):
        gradient[n, targets[n]] = -1 / len(targets)
    return gradient


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 两行三类，目标是 0 和 1：
#
# | 行 | 概率 p | 目标 | ln p[t] | 梯度 |
# |---|---|---|---|---|
# | 0 | 0.7, 0.2, 0.1 | 0 | -0.3567 | -0.5, 0, 0 |
# | 1 | 0.1, 0.3, 0.6 | 1 | -1.2040 | 0, -0.5, 0 |
#
# $L = (0.3567 + 1.2040) / 2 = 0.7803$。第二行答错了（最大的是 2 号），它的损失是第一行的三倍多；
# 而梯度两行一样，都是 $-\tfrac12$：“错多少”要等反向穿过 `LogSoftmax` 时才乘进去。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# Two rows with three classes, and the targets are 0 and 1:
#
# | row | probabilities p | target | ln p[t] | gradient |
# |---|---|---|---|---|
# | 0 | 0.7, 0.2, 0.1 | 0 | -0.3567 | -0.5, 0, 0 |
# | 1 | 0.1, 0.3, 0.6 | 1 | -1.2040 | 0, -0.5, 0 |
#
# $L = (0.3567 + 1.2040) / 2 = 0.7803$. The second row is wrong (class 2 is the largest), and its
# loss is more than three times that of the first. The gradient is the same in both, $-\tfrac12$:
# how wrong the row is comes in only when backward passes through `LogSoftmax`.

# %%
p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
targets = np.array([0, 1])
loss, gradient = nll_forward(np.log(p), targets), nll_backward(np.log(p), targets)
print(f"loss {loss:.4f}, gradient {gradient.tolist()}")
lessons.agree("loss on paper", loss, 0.7803, 1e-4)
lessons.agree("gradient on paper", gradient, [[-0.5, 0, 0], [0, -0.5, 0]], 0)

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `zoo.scratch.NLLLoss` 用一次花式索引取出所有正确类别：`outputs[np.arange(N), targets]`。与 torch
# 对照，再与循环对照。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# `zoo.scratch.NLLLoss` takes all right classes by one fancy index,
# `outputs[np.arange(N), targets]`. We compare it with torch and with the loops.

# %%
rng = np.random.default_rng(0)
logits, targets = rng.standard_normal((64, 10)), rng.integers(0, 10, 64)
log_softmax, criterion = scratch.LogSoftmax(), scratch.NLLLoss()
log_p = log_softmax(logits)
loss, gradient = lessons.beside_loss(criterion, nn.NLLLoss(), log_p, targets)
lessons.agree("loss, loops", nll_forward(log_p, targets), loss, 1e-12)
lessons.agree("d log p, loops", nll_backward(log_p, targets), gradient, 0)

# %% [markdown] lang="zh"
# ## LogSoftmax + NLLLoss = CrossEntropyLoss
# 损失相同；把 NLL 的梯度送进 `LogSoftmax` 的反向，也得到交叉熵的梯度。
# 最后用长长的乘积验证为什么要取对数。

# %% [markdown] lang="en"
# ## LogSoftmax + NLLLoss = CrossEntropyLoss
# The losses are equal, and the gradient of NLL, sent through the backward pass of `LogSoftmax`, is
# that of cross-entropy. At the end, the long product shows why there is a logarithm.

# %%
both = scratch.CrossEntropyLoss()
lessons.agree("the same loss", both(logits, targets), loss, 1e-12)
lessons.agree("the same gradient", log_softmax.backward(gradient), both.backward(), 1e-12)

likelihood = np.prod(np.full(1000, 0.1))
log_likelihood = np.sum(np.log(np.full(1000, 0.1)))
lessons.say(
    f"1000 个 0.1：乘积 {likelihood}，对数之和 {log_likelihood:.1f}",
    f"1000 times 0.1: product {likelihood}, sum of logarithms {log_likelihood:.1f}",
)
assert likelihood == 0
assert abs(log_likelihood - 1000 * math.log(0.1)) < 1e-6

# %% [markdown] lang="zh"
# ## 送错输入会怎样
# 同样的得分和目标，分别把对数概率、概率、得分送进 `nn.NLLLoss`。三次都不报错。概率给出 -1 与 0
# 之间的数：**损失为负**就是认出这个错误的记号。得分给出的数可正可负，没有下限，
# 训练时会一路降到负无穷。先取 `softmax` 再取 `log` 的写法在得分差很大时得到负无穷，`log_softmax`
# 不会。

# %% [markdown] lang="en"
# ## Inputs of the wrong kind
# For the same scores and targets, `nn.NLLLoss` gets log-probabilities, probabilities and scores.
# It complains of none. Probabilities give a number between -1 and 0: **a negative loss** is the
# sign of this mistake. Scores give any number, without a lower bound, and training drives it to
# minus infinity. Taking `softmax` first and `log` afterwards gives minus infinity when the scores
# are far apart, which `log_softmax` does not.

# %%
z, t = torch.from_numpy(logits), torch.from_numpy(targets)
kinds = {"log-probabilities": z.log_softmax(dim=1), "probabilities": z.softmax(dim=1), "scores": z}
losses = {name: nn.NLLLoss()(value, t).item() for name, value in kinds.items()}
for name, value in losses.items():
    print(f"{name:<18} loss {value:7.4f}")
assert losses["log-probabilities"] > 0
assert -1 < losses["probabilities"] < 0

far = torch.tensor([[0.0, -800.0]], dtype=torch.float64)
apart, together = far.softmax(dim=1).log()[0, 1], far.log_softmax(dim=1)[0, 1]
lessons.say(
    f"得分 0 与 -800：log(softmax) 得 {apart}，log_softmax 得 {together}",
    f"scores 0 and -800: log(softmax) {apart}, log_softmax {together}",
)
assert apart == -math.inf
assert together == -800

# %% [markdown] lang="zh"
# ## 常见错误
# - 网络最后是 `Softmax`，损失用 `NLLLoss`：损失是负数，如上面所见。把 `Softmax` 换成
#   `LogSoftmax`，或者什么都不加、改用 `CrossEntropyLoss`。
# - 网络最后是 `LogSoftmax`，损失用 `CrossEntropyLoss`：结果碰巧不错，因为对数概率再做一次
#   log-softmax 不变，只是白算一遍。
# - 预测时把对数概率当概率报告：要先 `exp()`。取最大的类别则不需要，因为对数不改变次序。

# %% [markdown] lang="en"
# ## Usual mistakes
# - The network ends in `Softmax` and the loss is `NLLLoss`: the loss is negative, as seen above.
#   Use `LogSoftmax` instead of `Softmax`, or put nothing at the end and use `CrossEntropyLoss`.
# - The network ends in `LogSoftmax` and the loss is `CrossEntropyLoss`: the result is right by
#   luck, since a second log-softmax does not change log-probabilities; it is only computed in
#   vain.
# - Log-probabilities are reported as probabilities: apply `exp()` first. The class with the
#   largest one needs no `exp()`, since the logarithm keeps the order.

# %% [markdown] lang="zh"
# ## 练习
# 1. 为什么对数概率再做一次 log-softmax 不变？
#
# <details markdown="1"><summary>答案</summary>
#
# log-softmax 减去的是 $\ln \sum_j e^{l_j} = \ln \sum_j p_j = \ln 1 = 0$。
#
# </details>
#
# 2. 一个四选一的问题，模型总是给四类相同的概率。`NLLLoss` 是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# $-\ln \tfrac14 = \ln 4 = 1.3863$，与样本数和目标无关。
#
# </details>
#
# 3. 给循环加上类别权重 $w$（`[C]`）：$L = -\sum_n w_{t_n} l_{n t_n} / \sum_n w_{t_n}$。
#    纸上的例子取 $w = (1, 2, 1)$，应当得到多少？用 `nn.NLLLoss(weight=...)` 检查。
#
# <details markdown="1"><summary>答案</summary>
#
# $(0.3567 + 2 \times 1.2040) / 3 = 0.9215$。注意分母是权重之和 3，而不是行数 2。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Why does a second log-softmax leave log-probabilities as they are?
#
# <details markdown="1"><summary>Answer</summary>
#
# It subtracts $\ln \sum_j e^{l_j} = \ln \sum_j p_j = \ln 1 = 0$.
#
# </details>
#
# 2. A model gives four classes the same probability, always. What is its `NLLLoss`?
#
# <details markdown="1"><summary>Answer</summary>
#
# $-\ln \tfrac14 = \ln 4 = 1.3863$, whatever the number of samples and the targets.
#
# </details>
#
# 3. Add class weights $w$ (`[C]`) to the loops: $L = -\sum_n w_{t_n} l_{n t_n} / \sum_n w_{t_n}$.
#    What comes out for the example on paper with $w = (1, 2, 1)$? Check it by
#    `nn.NLLLoss(weight=...)`.
#
# <details markdown="1"><summary>Answer</summary>
#
# $(0.3567 + 2 \times 1.2040) / 3 = 0.9215$. Note that the divisor is the sum of the weights, 3,
# and not the number of rows, 2.
#
# </details>
