"""手写批量归一化层 BatchNorm2d · BatchNorm2d by hand

Code: zoo/scratch/naive/batchnorm.py, zoo/scratch/batchnorm.py
Picture: batch_norm2d_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 批量归一化把每个通道的数变成均值 0、方差 1，再乘 $\gamma$ 加 $\beta$。前向三行就写完了，
# 反向却是手写各层里最容易推错的：均值和方差都由 $x$ 算出，所以一个 $x_k$ 不只影响自己的输出，
# 还影响同一通道里所有的输出。
#
# 这一课沿着计算图一步一步推：$dy \to dz \to dv \to dm \to dx$，在纸上验算一个 $3\times 3$
# 的例子，再化简成一行，最后看训练和评估两种模式的差别。

# %% [markdown] lang="en"
# ## Why
# Batch normalization brings the numbers of each channel to mean 0 and variance 1, multiplies them
# by $\gamma$ and adds $\beta$. Forward is three lines. Backward is the one that is easiest to get
# wrong among all layers by hand: mean and variance are computed from $x$, so an $x_k$ moves not
# only its own output but every output of its channel.
#
# This lesson follows the graph step by step, $dy \to dz \to dv \to dm \to dx$, checks a
# $3\times 3$ example on paper, reduces the result to one line, and then looks at what differs
# between training and evaluation.

# %% [markdown] lang="zh"
# ## 公式
# $x$ 的形状是 $[N, C, H, W]$，每个通道有 $M = NHW$ 个数，$\gamma$、$\beta$ 形状 $[C]$。
# 对一个通道（S. Ioffe、C. Szegedy，2015）：
#
# $$
# m = \frac1M\sum_k x_k, \quad v = \frac1M\sum_k (x_k-m)^2,
# \quad r = \frac{1}{\sqrt{v+\varepsilon}}, \quad z_k = (x_k-m)\,r, \quad y_k = \gamma z_k + \beta
# $$
#
# 反向。$\gamma$ 和 $\beta$ 用在每个位置上，梯度是和；$dz_k = \gamma\,dy_k$：
#
# $$
# d\gamma = \sum_k dy_k\, z_k, \qquad d\beta = \sum_k dy_k
# $$
#
# $v$ 只通过 $r$ 起作用，$\partial r/\partial v = -\tfrac12 r^3$；$m$ 出现在每个 $z_k$ 里（$v$
# 里也有 $m$，但那一项含 $\sum_k (x_k-m) = 0$）：
#
# $$
# dv = \sum_k dz_k\,(x_k-m)\left(-\tfrac12\right) r^3, \qquad dm = -r\sum_k dz_k
# $$
#
# $x_k$ 有三条路：直接进 $z_k$，经过 $v$，经过 $m$：
#
# $$
# dx_k = dz_k\, r + dv\,\frac{2(x_k-m)}{M} + \frac{dm}{M}
#      = \gamma r\left(dy_k - \frac{d\beta}{M} - z_k\frac{d\gamma}{M}\right)
# $$
#
# 右边一式由代入 $dv$、$dm$ 和 $x_k - m = z_k/r$ 得到：从 $dy$ 里减去它的均值，再减去它沿 $z$
# 方向的分量。

# %% [markdown] lang="en"
# ## The formulas
# $x$ has shape $[N, C, H, W]$; each channel has $M = NHW$ numbers; $\gamma$ and $\beta$ have
# shape $[C]$. For one channel (S. Ioffe, C. Szegedy, 2015):
#
# $$
# m = \frac1M\sum_k x_k, \quad v = \frac1M\sum_k (x_k-m)^2,
# \quad r = \frac{1}{\sqrt{v+\varepsilon}}, \quad z_k = (x_k-m)\,r, \quad y_k = \gamma z_k + \beta
# $$
#
# Backward. $\gamma$ and $\beta$ are used at every place, so their gradients are sums;
# $dz_k = \gamma\,dy_k$:
#
# $$
# d\gamma = \sum_k dy_k\, z_k, \qquad d\beta = \sum_k dy_k
# $$
#
# $v$ acts through $r$ alone, with $\partial r/\partial v = -\tfrac12 r^3$; $m$ is in every $z_k$
# (and in $v$ too, but that term has the factor $\sum_k (x_k-m) = 0$):
#
# $$
# dv = \sum_k dz_k\,(x_k-m)\left(-\tfrac12\right) r^3, \qquad dm = -r\sum_k dz_k
# $$
#
# $x_k$ has three ways to the output: directly into $z_k$, through $v$, and through $m$:
#
# $$
# dx_k = dz_k\, r + dv\,\frac{2(x_k-m)}{M} + \frac{dm}{M}
#      = \gamma r\left(dy_k - \frac{d\beta}{M} - z_k\frac{d\gamma}{M}\right)
# $$
#
# The form on the right follows when $dv$, $dm$ and $x_k - m = z_k/r$ are put in: take from $dy$
# its mean, and then its part in the direction of $z$.

# %% [markdown] lang="zh"
# ## 第一步：用循环写
# `naive.batch_norm2d_backward` 逐个数累加 $dv$ 和 $dm$，再走一遍得到 $dx$，
# 与上面的推导一行对一行。注意它要扫两遍：不看完整个通道，就不知道任何一个 $dx_k$。

# %% [markdown] lang="en"
# ## Step one: in plain loops
# `naive.batch_norm2d_backward` adds up $dv$ and $dm$ number by number and then goes over the
# channel again for $dx$, line by line as in the derivation above. It has to go twice: without the
# whole channel no single $dx_k$ is known.

# %%
import inspect

import numpy as np
from torch import nn

from zoo import lessons, scratch
from zoo.scratch import naive

print(inspect.getsource(naive.batch_norm2d_backward))

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# 一张 $3\times 3$ 的图，一个通道，$M = 9$，取 $\varepsilon = 0$，$\gamma = 2$，$\beta = 1$：
#
# $$
# x = \begin{pmatrix}2&5&8\\5&5&5\\8&5&2\end{pmatrix}, \quad m = 5,
# \quad v = \frac{4\cdot 3^2}{9} = 4, \quad r = \frac12
# $$
#
# $$
# z = \begin{pmatrix}-1.5&0&1.5\\0&0&0\\1.5&0&-1.5\end{pmatrix}, \quad
# y = \begin{pmatrix}-2&1&4\\1&1&1\\4&1&-2\end{pmatrix}
# $$
#
# 设 $dy$ 只在左上角是 9，其余为 0。于是 $d\beta = 9$，$d\gamma = 9\cdot(-1.5) = -13.5$，左上角的
# $dz = 18$，
#
# $$
# dv = 18\cdot(-3)\cdot\left(-\tfrac12\right)\cdot\tfrac18 = 3.375,
# \qquad dm = -\tfrac12\cdot 18 = -9
# $$
#
# 左上角：$dx = 18\cdot\frac12 + 3.375\cdot\frac{2\cdot(-3)}{9} - \frac99 = 9 - 2.25 - 1 = 5.75$。
# 等于 $m$ 的五个数只剩最后一项 $-1$。全部是
#
# $$
# dx = \begin{pmatrix}5.75&-1&1.25\\-1&-1&-1\\1.25&-1&-3.25\end{pmatrix}
# $$
#
# $dy$ 只有一个数不为零，$dx$ 却处处不为零。$dx$ 的和是 0：整个通道加一个常数，$y$ 不变；
# $\sum_k dx_k z_k$ 也是 0：整个通道放大，$y$ 也不变（$\varepsilon = 0$ 时）。

# %% [markdown] lang="en"
# ## Step two: on paper
# One $3\times 3$ image, one channel, $M = 9$, with $\varepsilon = 0$, $\gamma = 2$ and
# $\beta = 1$:
#
# $$
# x = \begin{pmatrix}2&5&8\\5&5&5\\8&5&2\end{pmatrix}, \quad m = 5,
# \quad v = \frac{4\cdot 3^2}{9} = 4, \quad r = \frac12
# $$
#
# $$
# z = \begin{pmatrix}-1.5&0&1.5\\0&0&0\\1.5&0&-1.5\end{pmatrix}, \quad
# y = \begin{pmatrix}-2&1&4\\1&1&1\\4&1&-2\end{pmatrix}
# $$
#
# Let $dy$ be 9 at the top left and 0 elsewhere. Then $d\beta = 9$,
# $d\gamma = 9\cdot(-1.5) = -13.5$, $dz = 18$ at the top left, and
#
# $$
# dv = 18\cdot(-3)\cdot\left(-\tfrac12\right)\cdot\tfrac18 = 3.375,
# \qquad dm = -\tfrac12\cdot 18 = -9
# $$
#
# Top left:
# $dx = 18\cdot\frac12 + 3.375\cdot\frac{2\cdot(-3)}{9} - \frac99 = 9 - 2.25 - 1 = 5.75$. The five
# numbers that equal $m$ have the last term only, $-1$. All of it:
#
# $$
# dx = \begin{pmatrix}5.75&-1&1.25\\-1&-1&-1\\1.25&-1&-3.25\end{pmatrix}
# $$
#
# One number of $dy$ is not zero, and no number of $dx$ is zero. The sum of $dx$ is 0, since a
# constant added to the channel does not change $y$; and $\sum_k dx_k z_k$ is 0 too, since scaling
# the channel does not change $y$ either (with $\varepsilon = 0$).

# %%
x = np.array([[2.0, 5, 8], [5, 5, 5], [8, 5, 2]])[None, None]
dy = np.zeros_like(x)
dy[0, 0, 0, 0] = 9
gamma, beta = np.array([2.0]), np.array([1.0])
y = naive.batch_norm2d(x, gamma, beta, eps=0)
dx, dgamma, dbeta = naive.batch_norm2d_backward(dy, x, gamma, eps=0)
print(f"y =\n{y[0, 0]}\ndgamma = {dgamma}, dbeta = {dbeta}\ndx =\n{dx[0, 0]}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("y", y[0, 0], [[-2, 1, 4], [1, 1, 1], [4, 1, -2]], 1e-12)
lessons.agree("dx", dx[0, 0], [[5.75, -1, 1.25], [-1, -1, -1], [1.25, -1, -3.25]], 1e-12)

z = (x - 5) / 2
one_line = gamma * 0.5 * (dy - dbeta / 9 - z * dgamma / 9)
lessons.say("与化简后的一行公式比较：", "Beside the formula in one line:")
lessons.agree("dx", dx, one_line, 1e-12)
lessons.agree("sum dx", dx.sum(), 0, 1e-12)
lessons.agree("sum dx z", (dx * z).sum(), 0, 1e-12)

# %% [markdown] lang="zh"
# ## 第三步：快的版本，与 torch 并排
# 三个通道，均值和标准差各不相同。`scratch.BatchNorm2d` 用的就是那一行公式，
# 沿着批次、高、宽三个轴一次求和。归一化之后每个通道的均值为 0，标准差为 1；图是前后的直方图。

# %% [markdown] lang="en"
# ## Step three: the fast one, beside torch
# Three channels with different means and standard deviations. `scratch.BatchNorm2d` is the
# formula in one line, with its sums taken over batch, height and width at once. Afterwards each
# channel has mean 0 and standard deviation 1; the picture shows the histograms before and after.

# %%
rng = np.random.default_rng(0)
centers = np.array([-4.0, 1.0, 6.0])[:, None, None]
spreads = np.array([0.5, 1.0, 2.0])[:, None, None]
x = centers + spreads * rng.standard_normal((16, 3, 8, 8))

layer, peer = scratch.BatchNorm2d(3, dtype=np.float64), nn.BatchNorm2d(3)
lessons.say("与 torch 比较：", "Beside torch:")
y, dy, dx = lessons.beside(layer, peer, x)
lessons.say("与循环的结果比较：", "Beside the loops:")
lessons.agree("y", naive.batch_norm2d(x, np.ones(3), np.zeros(3)), y, 1e-10)
slow_dx, slow_dgamma, slow_dbeta = naive.batch_norm2d_backward(dy, x, np.ones(3))
lessons.agree("dx", slow_dx, dx, 1e-10)
lessons.agree("dgamma", slow_dgamma, layer.weight.grad, 1e-10)
lessons.agree("dbeta", slow_dbeta, layer.bias.grad, 1e-10)

axes = (0, 2, 3)
for name, array in (("x", x), ("y", y)):
    print(f"{name}: mean {array.mean(axes).round(3) + 0.0}, std {array.std(axes).round(3)}")
assert np.allclose(y.mean(axes), 0, atol=1e-9)
assert np.allclose(y.std(axes), 1, atol=1e-4)

figure = lessons.figure(7.0, 3.0)
for panel, name, array in zip(figure.subplots(1, 2), ("before", "after"), (x, y), strict=True):
    for channel, color in enumerate(("#2563a8", "#c2571a", "#3a7d44")):
        values = array[:, channel].ravel()
        panel.hist(values, bins=40, alpha=0.6, color=color, label=f"channel {channel}")
    panel.set(title=f"{name} normalization", xlabel="value", yticks=[])
    panel.spines["left"].set_visible(False)
panel.legend(frameon=False, fontsize=8)
lessons.save(figure, "batch_norm2d_by_hand.png")

# %% [markdown] lang="zh"
# ## 训练与评估
# 评估时可能只有一张图，不能再用批次的统计量，于是训练时顺便记下运行均值和运行方差，
# 每个批次向当前值靠近十分之一（`momentum=0.1`）：
#
# $$
# \bar m \leftarrow 0.9\,\bar m + 0.1\,m,
# \qquad \bar v \leftarrow 0.9\,\bar v + 0.1\,\frac{M}{M-1}\,v
# $$
#
# 运行方差用无偏估计（除以 $M-1$），归一化时用的却是有偏的（除以 $M$），torch 也是如此。
# 评估时均值和方差是常数，与 $x$ 无关，反向只剩 $dx = \gamma r\,dy$。

# %% [markdown] lang="en"
# ## Training and evaluation
# In evaluation there may be one image only, and no batch to take statistics of. So training keeps
# a running mean and a running variance, and each batch moves them a tenth of the way
# (`momentum=0.1`):
#
# $$
# \bar m \leftarrow 0.9\,\bar m + 0.1\,m,
# \qquad \bar v \leftarrow 0.9\,\bar v + 0.1\,\frac{M}{M-1}\,v
# $$
#
# The running variance takes the unbiased estimate (divided by $M-1$), the normalization the
# biased one (divided by $M$), as in torch. In evaluation mean and variance are constants that do
# not depend on $x$, and backward is just $dx = \gamma r\,dy$.

# %%
lessons.say("一个批次之后的运行统计量：", "Running statistics after one batch:")
lessons.agree("running mean", layer.running_mean, peer.running_mean, 1e-10)
lessons.agree("running variance", layer.running_var, peer.running_var, 1e-10)
lessons.agree("0.1 m", layer.running_mean, 0.1 * x.mean(axes), 1e-10)
layer.eval()
peer.eval()
for parameter in (*layer.parameters(), *peer.parameters()):
    parameter.grad = None
lessons.say("评估模式，与 torch 比较：", "In evaluation, beside torch:")
y, dy, dx = lessons.beside(layer, peer, x)
r = 1 / np.sqrt(layer.running_var + layer.eps)
lessons.agree("dx = r dy", dx, dy * r[:, None, None], 1e-10)

# %% [markdown] lang="zh"
# ## 常见错误
# - **把均值和方差当常数求导。** 在训练模式里写成 $dx = \gamma r\,dy$：形状对，和 torch 比就错。
#   检查 $dx$ 每个通道的和，应当为 0。
# - **评估前忘了 `eval()`。** 结果随同一批里的其他图片而变；批次大小为 1 且图像只有 $1\times 1$
#   时，每个通道只有一个数，方差无从谈起，torch 和 `scratch` 都会报错。
# - **求统计量时少了轴。** `x.mean(axis=0)` 是每个像素一个均值（形状 $[C,H,W]$），应为
#   `axis=(0, 2, 3)`。
# - **前面的卷积还带偏置。** 归一化减去均值，偏置随之消失；它的梯度是 $dx$ 在该通道上的和，也就是
#   0。写 `bias=False`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **Mean and variance are taken for constants.** With $dx = \gamma r\,dy$ in training mode the
#   shape is right, and the numbers are not torch's. Check the sum of $dx$ in each channel: it
#   should be 0.
# - **`eval()` is forgotten before evaluation.** The results then depend on the other images of
#   the batch. With a batch of one image of $1\times 1$ a channel has a single number, which has
#   no variance; torch and `scratch` raise an error.
# - **An axis is missing in the statistics.** `x.mean(axis=0)` is a mean for each pixel (shape
#   $[C,H,W]$); it should be `axis=(0, 2, 3)`.
# - **The convolution before it has a bias.** Normalization subtracts the mean, and the bias goes
#   with it; its gradient is the sum of $dx$ over the channel, which is 0. Write `bias=False`.

# %% [markdown] lang="zh"
# ## 练习
# 1. 在纸上的例子里用错误的公式 $dx = \gamma r\,dy$，会得到什么？怎样不靠 torch 发现它错了？
#
# <details markdown="1"><summary>答案</summary>
#
# 左上角是 $2\cdot\frac12\cdot 9 = 9$，其余为 0。和为 9 而不是 0，可是整个通道加一个常数并不改变
# $y$，所以正确的 $dx$ 之和必为 0。
#
# </details>
#
# 2. 把纸上例子的 `x` 乘以 10（`eps=0`）。$y$ 和 $dx$ 怎样变？先想再运行。
#
# <details markdown="1"><summary>答案</summary>
#
# $z$ 不变，所以 $y$、$d\gamma$、$d\beta$ 不变；$r$ 变为十分之一，$dx$ 也变为十分之一：左上角
# 0.575。权重放大，梯度缩小，因此可以用较大的学习率（Ioffe 与 Szegedy，3.3 节）。
#
# </details>
#
# 3. 反复送入同一个批次，多少次之后运行均值与批次均值相差不到 1%？写循环检验。
#
# <details markdown="1"><summary>答案</summary>
#
# 从 0 开始，$k$ 次之后差 $0.9^k$ 倍；$0.9^{43} \approx 0.0108$，$0.9^{44} \approx 0.0097$，所以是
# 44 次。
#
# ```python
# layer, count = scratch.BatchNorm2d(3, dtype=np.float64), 0
# while np.abs(layer.running_mean / x.mean(axes) - 1).max() >= 0.01:
#     layer(x)
#     count += 1
# print(count)  # 44
# ```
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. What does the wrong formula $dx = \gamma r\,dy$ give for the example on paper? How does one
#    see without torch that it is wrong?
#
# <details markdown="1"><summary>Answer</summary>
#
# $2\cdot\frac12\cdot 9 = 9$ at the top left, 0 elsewhere. The sum is 9 and not 0; but a constant
# added to the whole channel does not change $y$, so the sum of the right $dx$ must be 0.
#
# </details>
#
# 2. Multiply the `x` of the example on paper by 10 (`eps=0`). How do $y$ and $dx$ change? Think
#    before you run it.
#
# <details markdown="1"><summary>Answer</summary>
#
# $z$ stays, so $y$, $d\gamma$ and $d\beta$ stay. $r$ is a tenth, and so is $dx$: 0.575 at the top
# left. Larger weights get smaller gradients; this is why batch normalization stands large
# learning rates (Ioffe and Szegedy, section 3.3).
#
# </details>
#
# 3. Feed the same batch again and again. After how many times do running mean and batch mean
#    differ by less than 1%? Check it with a loop.
#
# <details markdown="1"><summary>Answer</summary>
#
# Starting from 0, the difference after $k$ times is the fraction $0.9^k$;
# $0.9^{43} \approx 0.0108$ and $0.9^{44} \approx 0.0097$, so 44 times.
#
# ```python
# layer, count = scratch.BatchNorm2d(3, dtype=np.float64), 0
# while np.abs(layer.running_mean / x.mean(axes) - 1).max() >= 0.01:
#     layer(x)
#     count += 1
# print(count)  # 44
# ```
#
# </details>
