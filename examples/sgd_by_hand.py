"""手写优化器 SGD · SGD by hand

Code: zoo/scratch/naive/sgd.py, zoo/scratch/sgd.py
Picture: sgd_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 反向传播给出梯度，优化器决定怎样用它。最简单的 SGD 只有一行：$w \leftarrow w - \eta g$。
# `torch.optim.SGD` 另有四个开关：动量（momentum）、阻尼（dampening）、权重衰减（weight decay）和
# Nesterov。它们的先后次序和第一步的特例，各本教科书写法不一；要与 torch 逐步相同，就得照 torch
# 的写法。
#
# 这一课在纸上各走三步，用普通 Python 写一遍，与 torch 走同样的四十步，
# 再看动量在一条狭长的山谷里有什么用。

# %% [markdown] lang="en"
# ## Why
# Back-propagation gives the gradient; the optimizer decides what to do with it. The plainest SGD
# is one line, $w \leftarrow w - \eta g$. `torch.optim.SGD` has four more switches: momentum,
# dampening, weight decay and Nesterov. Textbooks differ in their order and in what happens at the
# first step; whoever wants the same steps as torch has to write them as torch does.
#
# This lesson takes three steps of each on paper, writes them in plain Python, goes forty steps
# side by side with torch, and then looks at what momentum is good for in a long narrow valley.

# %% [markdown] lang="zh"
# ## 公式
# 每个参数 $w$ 配一个同样形状的速度 $v$。学习率 $\eta$，动量 $\mu$，阻尼 $\tau$，权重衰减
# $\lambda$：
#
# $$
# \begin{aligned}
# g &\leftarrow \frac{\partial L}{\partial w} + \lambda w \\
# v &\leftarrow \begin{cases} g & \text{第一步} \\ \mu v + (1-\tau)\,g & \text{以后} \end{cases} \\
# w &\leftarrow w - \eta\,v \qquad \text{Nesterov：}\; w \leftarrow w - \eta\,(g + \mu v)
# \end{aligned}
# $$
#
# 没有动量时 $v = g$。权重衰减等于在损失里加 $\tfrac{\lambda}{2}\lVert w\rVert^2$。梯度不变时 $v$
# 趋于 $g/(1-\mu)$（$\tau=0$）：$\mu = 0.9$ 相当于十倍的学习率，改动量时要记得这一点。来源：I.
# Sutskever 等，2013；写法依 torch 文档。

# %% [markdown] lang="en"
# ## The formulas
# Each parameter $w$ has a velocity $v$ of the same shape. With learning rate $\eta$, momentum
# $\mu$, dampening $\tau$ and weight decay $\lambda$:
#
# $$
# \begin{aligned}
# g &\leftarrow \frac{\partial L}{\partial w} + \lambda w \\
# v &\leftarrow \begin{cases} g & \text{first step} \\ \mu v + (1-\tau)\,g & \text{later}
# \end{cases} \\
# w &\leftarrow w - \eta\,v \qquad \text{Nesterov:}\; w \leftarrow w - \eta\,(g + \mu v)
# \end{aligned}
# $$
#
# Without momentum $v = g$. Weight decay is the same as adding
# $\tfrac{\lambda}{2}\lVert w\rVert^2$ to the loss. While the gradient stays the same, $v$ tends
# to $g/(1-\mu)$ (with $\tau=0$): a momentum of 0.9 is in the end a learning rate ten times as
# large, which is worth remembering whenever you change it. Source: I. Sutskever et al., 2013; in
# the form of torch's documentation.

# %% [markdown] lang="zh"
# ## 第一步：普通 Python
# `naive.sgd_step` 里权重、梯度、速度都是数的列表，一个一个地更新。

# %% [markdown] lang="en"
# ## Step one: plain Python
# In `naive.sgd_step` weights, gradients and velocities are lists of numbers, updated one by one.

# %%
import inspect

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch
from zoo.scratch import naive

print(inspect.getsource(naive.sgd_step))

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# 取 $L = \tfrac12 w^2$，梯度就是 $w$ 本身，从 $w = 10$ 出发，$\eta = 0.1$，各走三步。以动量
# $\mu = 0.9$ 为例：
#
# - 第一步：$g = 10$，$v = 10$，$w = 10 - 1 = 9$
# - 第二步：$g = 9$，$v = 0.9\cdot10 + 9 = 18$，$w = 9 - 1.8 = 7.2$
# - 第三步：$g = 7.2$，$v = 0.9\cdot18 + 7.2 = 23.4$，$w = 7.2 - 2.34 = 4.86$
#
# Nesterov 的第一步已不同：$v = 10$，走 $g + 0.9v = 19$，$w = 8.1$。
#
# | | 第一步 | 第二步 | 第三步 |
# |---|---|---|---|
# | 普通 | 9 | 8.1 | 7.29 |
# | 动量 0.9 | 9 | 7.2 | 4.86 |
# | 动量 0.9，阻尼 0.5 | 9 | 7.65 | 6.0525 |
# | 动量 0.9，权重衰减 0.1 | 8.9 | 6.931 | 4.3965 |
# | 动量 0.9，Nesterov | 8.1 | 5.751 | 3.2732 |
#
# 阻尼的第一步与不加阻尼相同，因为第一步 $v \leftarrow g$，不乘 $1-\tau$。

# %% [markdown] lang="en"
# ## Step two: on paper
# Take $L = \tfrac12 w^2$, whose gradient is $w$ itself; start from $w = 10$ with $\eta = 0.1$,
# and take three steps of each. With a momentum of $\mu = 0.9$:
#
# - first step: $g = 10$, $v = 10$, $w = 10 - 1 = 9$
# - second step: $g = 9$, $v = 0.9\cdot10 + 9 = 18$, $w = 9 - 1.8 = 7.2$
# - third step: $g = 7.2$, $v = 0.9\cdot18 + 7.2 = 23.4$, $w = 7.2 - 2.34 = 4.86$
#
# Nesterov differs at the first step already: $v = 10$, the step is $g + 0.9v = 19$, and
# $w = 8.1$.
#
# | | first step | second | third |
# |---|---|---|---|
# | plain | 9 | 8.1 | 7.29 |
# | momentum 0.9 | 9 | 7.2 | 4.86 |
# | momentum 0.9, dampening 0.5 | 9 | 7.65 | 6.0525 |
# | momentum 0.9, weight decay 0.1 | 8.9 | 6.931 | 4.3965 |
# | momentum 0.9, Nesterov | 8.1 | 5.751 | 3.2732 |
#
# With dampening the first step is the same as without, since the first step is $v \leftarrow g$,
# with no factor $1-\tau$.

# %%
ON_PAPER = {
    "plain": ({}, [9, 8.1, 7.29]),
    "momentum": ({"momentum": 0.9}, [9, 7.2, 4.86]),
    "dampening": ({"momentum": 0.9, "dampening": 0.5}, [9, 7.65, 6.0525]),
    "weight decay": ({"momentum": 0.9, "weight_decay": 0.1}, [8.9, 6.931, 4.3965]),
    "Nesterov": ({"momentum": 0.9, "nesterov": True}, [8.1, 5.751, 3.2732]),
}
for name, (setting, expected) in ON_PAPER.items():
    weights, velocities, path = [10.0], None, []
    for _ in range(3):
        gradients = weights  # of L = w^2 / 2
        weights, velocities = naive.sgd_step(weights, gradients, velocities, lr=0.1, **setting)
        path += weights
    lessons.agree(name, path, expected, 5e-5)
    print("  ", np.round(path, 4).tolist())

# %% [markdown] lang="zh"
# ## 第三步：四十步，与 torch 并排
# 五个输入的线性回归，随机数据。循环版本、`scratch.SGD`、`torch.optim.SGD` 从同样的权重出发，
# 各走四十步；五种设置下权重都一致。

# %% [markdown] lang="en"
# ## Step three: forty steps beside torch
# A linear regression with five inputs on random data. The plain Python, `scratch.SGD` and
# `torch.optim.SGD` start from the same weights and take forty steps each; under all five settings
# they end at the same weights.

# %%
rng = np.random.default_rng(0)
x, y = rng.standard_normal((64, 5)), rng.standard_normal((64, 1))
start = rng.standard_normal((1, 5))
losses = {}
for name, (setting, _) in ON_PAPER.items():
    layer = scratch.Linear(5, 1, bias=False, dtype=np.float64)
    layer.load_state_dict({"weight": start})
    criterion = scratch.MSELoss()
    optimizer = scratch.SGD(layer.parameters(), lr=0.02, **setting)
    peer = nn.Linear(5, 1, bias=False, dtype=torch.float64)
    peer.load_state_dict({"weight": torch.from_numpy(start)})
    peer_optimizer = torch.optim.SGD(peer.parameters(), lr=0.02, **setting)
    weights, velocities = start[0].tolist(), None
    losses[name] = []
    for _ in range(40):
        losses[name].append(criterion(layer(x), y))
        optimizer.zero_grad()
        layer.backward(criterion.backward())
        gradients = layer.weight.grad[0].tolist()
        weights, velocities = naive.sgd_step(weights, gradients, velocities, lr=0.02, **setting)
        optimizer.step()

        peer_optimizer.zero_grad()
        nn.functional.mse_loss(peer(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        peer_optimizer.step()
    print(f"{name}: loss {losses[name][0]:.3f} -> {losses[name][-1]:.3f}")
    lessons.agree("w: scratch, torch", layer.weight.data, peer.weight, 1e-10)
    lessons.agree("w: plain Python, torch", [weights], peer.weight, 1e-10)
    assert losses[name][-1] < losses[name][0]

# %% [markdown] lang="zh"
# ## 动量有什么用：狭长的山谷
# 损失 $L = \tfrac12(w_0^2 + 25\,w_1^2)$ 在 $w_1$ 方向陡，在 $w_0$ 方向平。
# 学习率受陡的方向限制（$\eta < 2/25 = 0.08$ 才不发散），平的方向就慢。
# 动量把平的方向上始终同号的梯度积累起来，陡的方向上正负相消。从 $(-10, 2)$ 出发，$\eta = 0.03$，
# 走 60 步：普通 SGD 还在半路，加了动量的已接近谷底。

# %% [markdown] lang="en"
# ## What momentum is good for: a long narrow valley
# The loss $L = \tfrac12(w_0^2 + 25\,w_1^2)$ is steep along $w_1$ and flat along $w_0$. The steep
# direction limits the learning rate (it diverges unless $\eta < 2/25 = 0.08$), and then the flat
# direction is slow. Momentum adds up the gradients of the flat direction, which all have one
# sign, while those of the steep direction cancel. Start from $(-10, 2)$ with $\eta = 0.03$, and
# take 60 steps: plain SGD is still on its way, and with momentum the bottom is close.

# %%
curvature = np.array([1.0, 25.0])


def descend(steps=60, lr=0.03, **setting):
    """Return the path [steps + 1, 2] of SGD through the valley."""
    weights, velocities, path = [-10.0, 2.0], None, [[-10.0, 2.0]]
    for _ in range(steps):
        gradients = curvature * weights
        weights, velocities = naive.sgd_step(weights, gradients, velocities, lr=lr, **setting)
        path.append(weights)
    return np.array(path)


paths = {
    "plain": descend(),
    "momentum 0.8": descend(momentum=0.8),
    "Nesterov 0.8": descend(momentum=0.8, nesterov=True),
}
ends = {name: (curvature * path[-1] ** 2).sum() / 2 for name, path in paths.items()}
lessons.say("60 步之后的损失：", "Loss after 60 steps:")
for name, end in ends.items():
    print(f"{name:<14} {end:.1e}")
assert ends["momentum 0.8"] < ends["plain"] / 100
assert ends["Nesterov 0.8"] < ends["plain"] / 100
assert abs(descend(lr=0.081)[-1, 1]) > 2, "above 2 / 25 the steep direction diverges"

figure = lessons.figure(8.0, 3.2)
left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
w0, w1 = np.meshgrid(np.linspace(-11, 5, 200), np.linspace(-2.4, 2.4, 200))
levels = np.geomspace(0.5, 130, 9)
left.contour(w0, w1, (w0**2 + 25 * w1**2) / 2, levels=levels, colors="0.8", linewidths=0.8)
for (name, path), color in zip(paths.items(), ("#2563a8", "#c2571a", "#3a7d44"), strict=True):
    left.plot(*path.T, "o-", color=color, markersize=2, linewidth=1, label=name)
    loss = (curvature * path**2).sum(axis=1) / 2
    right.semilogy(loss, color=color, linewidth=1.3, label=name)
left.plot(0, 0, "k*")
left.set(title="the way through the valley", xlabel="$w_0$", ylabel="$w_1$")
right.set(title="loss", xlabel="step")
right.grid(alpha=0.25)
right.legend(frameon=False, fontsize=8)
lessons.save(figure, "sgd_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **第一步也乘了 $1-\tau$，或从 $v=0$ 开始算动量。** 没有阻尼时看不出来；有阻尼时从第一步起就与
#   torch 不同。
# - **权重衰减加在更新之后。** `w -= lr * weight_decay * w` 是 AdamW 那种“解耦”的写法；SGD
#   是先加进梯度，再进入动量。
# - **不调用 `zero_grad()`。** 梯度累加，效果像一个关不掉的动量 1。
# - **加了动量却不减小学习率。** $\mu = 0.9$ 时每步最终大约十倍长；损失振荡或发散，就把 $\eta$
#   减小。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **The factor $1-\tau$ at the first step too, or a momentum that starts from $v=0$.** Without
#   dampening nothing shows; with it the steps differ from torch's from the first one on.
# - **Weight decay after the update.** `w -= lr * weight_decay * w` is the "decoupled" form of
#   AdamW; SGD adds it to the gradient first, so that it goes into the momentum.
# - **No `zero_grad()`.** Gradients accumulate, much like a momentum of 1 that cannot be switched
#   off.
# - **Momentum, but the same learning rate.** With $\mu = 0.9$ steps become about ten times as
#   long in the end; when the loss swings or diverges, make $\eta$ smaller.

# %% [markdown] lang="zh"
# ## 练习
# 1. 在纸上算：$L = \tfrac12w^2$，$w = 10$，$\eta = 0.1$，没有动量，权重衰减 0.1，走两步。
#
# <details markdown="1"><summary>答案</summary>
#
# 每步 $w \leftarrow w - 0.1(w + 0.1w) = 0.89w$，所以是 8.9，7.921。
#
# </details>
#
# 2. 梯度恒为 1，$\mu = 0.9$，不加阻尼。写一个循环，看 $v$ 五十步之后是多少。阻尼取 0.9 呢？
#
# <details markdown="1"><summary>答案</summary>
#
# ```python
# weights, velocities = [0.0], None
# for _ in range(50):
#     weights, velocities = naive.sgd_step([0.0], [1.0], velocities, lr=1, momentum=0.9)
# print(velocities)  # [9.9484622479268]
# ```
#
# 趋于 $1/(1-0.9) = 10$。阻尼 0.9 时 $v$ 始终是 1：它成了梯度的滑动平均。
#
# </details>
#
# 3. 在山谷里把动量换成 0.95，60 步之后的损失比 0.8 时大还是小？为什么？
#
# <details markdown="1"><summary>答案</summary>
#
# 大得多：0.82，而 0.8 时是 $8.1\times10^{-5}$。速度积累得太多，冲过谷底再荡回来，60
# 步里还没停下。动量并非越大越好，它与学习率、曲率有关。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. On paper: $L = \tfrac12w^2$, $w = 10$, $\eta = 0.1$, no momentum, weight decay 0.1; take two
#    steps.
#
# <details markdown="1"><summary>Answer</summary>
#
# Each step is $w \leftarrow w - 0.1(w + 0.1w) = 0.89w$, so 8.9 and 7.921.
#
# </details>
#
# 2. The gradient is always 1, $\mu = 0.9$, no dampening. Write a loop, and look at $v$ after
#    fifty steps. And with a dampening of 0.9?
#
# <details markdown="1"><summary>Answer</summary>
#
# ```python
# weights, velocities = [0.0], None
# for _ in range(50):
#     weights, velocities = naive.sgd_step([0.0], [1.0], velocities, lr=1, momentum=0.9)
# print(velocities)  # [9.9484622479268]
# ```
#
# It tends to $1/(1-0.9) = 10$. With a dampening of 0.9, $v$ is 1 all the time: it has become a
# moving average of the gradient.
#
# </details>
#
# 3. In the valley set the momentum to 0.95. Is the loss after 60 steps larger or smaller than
#    with 0.8? Why?
#
# <details markdown="1"><summary>Answer</summary>
#
# Much larger: 0.82, against $8.1\times10^{-5}$ with 0.8. The velocity has grown too large; it
# overshoots the bottom and swings back, and 60 steps are not enough for it to settle. More
# momentum is not always better: it depends on the learning rate and the curvature.
#
# </details>
