"""手写随机失活层 Dropout · Dropout by hand

Code: zoo/scratch/naive/dropout.py, zoo/scratch/dropout.py
Picture: dropout_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 随机失活（dropout）在训练时以概率 $p$ 把每个数置零，让网络不能依赖任何单独一个神经元，
# 以此抑制过拟合（N. Srivastava 等，2014）。评估时什么也不做。
#
# 代码只有几行，容易错的是三处：留下的数要除以 $1-p$；反向必须用前向的同一个掩码；
# 训练和评估的行为不同。它还是第一个带随机数的层：怎样与 torch 比较？答案是固定掩码。

# %% [markdown] lang="en"
# ## Why
# In training, dropout sets each number to zero with probability $p$, so that a network cannot
# rely on any single neuron; this works against overfitting (N. Srivastava et al., 2014). In
# evaluation it does nothing.
#
# The code is a few lines, and three things go wrong in it: what is kept has to be divided by
# $1-p$; backward has to use the mask of the forward pass; and training and evaluation differ. It
# is also the first layer with random numbers. How can it be compared with torch? With the same
# mask.

# %% [markdown] lang="zh"
# ## 公式
# $x$、掩码 $m$、$y$、$dx$、$dy$ 形状相同，任意。$u_k$ 在 0 到 1 之间均匀抽取：
#
# $$
# m_k = \begin{cases} 0 & u_k < p \\ \dfrac{1}{1-p} & u_k \ge p \end{cases}
# \qquad y_k = m_k x_k, \qquad dx_k = m_k\, dy_k
# $$
#
# 掩码不依赖 $x$，对 $x$ 求导时它是常数，所以反向就是再乘一次。除以 $1-p$ 使期望不变，方差却变大：
#
# $$
# E[m] = (1-p)\cdot\frac{1}{1-p} = 1, \qquad
# \mathrm{Var}[m] = (1-p)\cdot\frac{1}{(1-p)^2} - 1 = \frac{p}{1-p}
# $$
#
# 因为 $E[y] = x$，评估时可以直接令 $y = x$。原论文是训练时不缩放、评估时乘 $1-p$；torch
# 和这里都在训练时缩放（inverted dropout），这样推理时一个乘法也不用做。

# %% [markdown] lang="en"
# ## The formulas
# $x$, the mask $m$, $y$, $dx$ and $dy$ have one shape, any. $u_k$ is drawn evenly between 0 and
# 1:
#
# $$
# m_k = \begin{cases} 0 & u_k < p \\ \dfrac{1}{1-p} & u_k \ge p \end{cases}
# \qquad y_k = m_k x_k, \qquad dx_k = m_k\, dy_k
# $$
#
# The mask does not depend on $x$. In the derivative it is a constant, so backward multiplies by
# it once more. The division by $1-p$ keeps the expectation; the variance grows:
#
# $$
# E[m] = (1-p)\cdot\frac{1}{1-p} = 1, \qquad
# \mathrm{Var}[m] = (1-p)\cdot\frac{1}{(1-p)^2} - 1 = \frac{p}{1-p}
# $$
#
# Since $E[y] = x$, evaluation can simply take $y = x$. The paper does not scale in training and
# multiplies by $1-p$ in evaluation; torch, and we, scale in training ("inverted dropout"), so
# that inference does not cost a single multiplication.

# %% [markdown] lang="zh"
# ## 第一步：用循环写
# 随机数 `draws` 作为参数传入，函数本身就是确定的，可以测试。前向返回掩码，反向要用它。

# %% [markdown] lang="en"
# ## Step one: in plain loops
# The random numbers `draws` are an argument, so the function itself is deterministic and can be
# tested. Forward returns the mask, and backward takes it.

# %%
import inspect

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch
from zoo.scratch import naive

print(inspect.getsource(naive.dropout))
print(inspect.getsource(naive.dropout_backward))

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# $p = 0.5$，留下的数乘 2：
#
# $$
# x = \begin{pmatrix}1&2&3\\4&5&6\\7&8&9\end{pmatrix}, \quad
# u = \begin{pmatrix}0.9&0.1&0.7\\0.4&0.5&0.2\\0.8&0.3&0.6\end{pmatrix}, \quad
# m = \begin{pmatrix}2&0&2\\0&2&0\\2&0&2\end{pmatrix}, \quad
# y = \begin{pmatrix}2&0&6\\0&10&0\\14&0&18\end{pmatrix}
# $$
#
# $u = 0.5$ 不小于 $p$，留下。设 $dy$ 全为 1，则 $dx = m$：留下的像素梯度是 2，丢掉的是 0。
# 丢掉的数这一步没有影响输出，当然也得不到梯度。

# %% [markdown] lang="en"
# ## Step two: on paper
# With $p = 0.5$, what is kept is doubled:
#
# $$
# x = \begin{pmatrix}1&2&3\\4&5&6\\7&8&9\end{pmatrix}, \quad
# u = \begin{pmatrix}0.9&0.1&0.7\\0.4&0.5&0.2\\0.8&0.3&0.6\end{pmatrix}, \quad
# m = \begin{pmatrix}2&0&2\\0&2&0\\2&0&2\end{pmatrix}, \quad
# y = \begin{pmatrix}2&0&6\\0&10&0\\14&0&18\end{pmatrix}
# $$
#
# $u = 0.5$ is not below $p$ and stays. With a $dy$ of all ones, $dx = m$: a kept pixel has
# gradient 2, a dropped one 0. What was dropped had no influence on the output, so it gets no
# gradient either.

# %%
x = np.arange(1.0, 10).reshape(3, 3)
draws = np.array([[0.9, 0.1, 0.7], [0.4, 0.5, 0.2], [0.8, 0.3, 0.6]])
y, mask = naive.dropout(x, draws, p=0.5)
dx = naive.dropout_backward(np.ones((3, 3)), mask)
print(f"y =\n{y}\ndx =\n{dx}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("y", y, [[2, 0, 6], [0, 10, 0], [14, 0, 18]], 0)
lessons.agree("dx", dx, [[2, 0, 2], [0, 2, 0], [2, 0, 2]], 0)

# %% [markdown] lang="zh"
# ## 第三步：快的版本，与 torch 并排
# 两边的随机数发生器不同，掩码不会一样，能比的有两样：统计（丢掉的比例、均值），
# 以及给定同一个掩码之后的每一个数。`scratch.Dropout` 的掩码从输出里读出来（$y = 0$
# 之处就是丢掉的），再交给 torch 的自动求导去乘。

# %% [markdown] lang="en"
# ## Step three: the fast one, beside torch
# The two random generators differ, and so do the masks. Two things can be compared: the
# statistics (the dropped fraction, the mean), and every single number once both have the same
# mask. The mask of `scratch.Dropout` is read from its output (it dropped where $y = 0$), and
# torch's autograd multiplies by that.

# %%
P = 0.3
layer = scratch.Dropout(P, rng=np.random.default_rng(0))
x = np.random.default_rng(1).uniform(1, 2, (200, 500))
y = layer(x)
torch.manual_seed(0)
theirs = nn.Dropout(P)(torch.from_numpy(x)).numpy()
for name, values in (("by hand", y), ("torch", theirs)):
    print(f"{name:<8} dropped {(values == 0).mean():.2%}, mean {values.mean():.4f}")
    assert abs((values == 0).mean() - P) < 0.01, "p of them are dropped"
    assert abs(values.mean() - x.mean()) < 0.02, "the mean stays"
kept = y != 0
lessons.agree("kept: y = x / (1 - p)", y[kept], x[kept] / (1 - P), 1e-10)
lessons.agree("torch: y = x / (1 - p)", theirs[theirs != 0], x[theirs != 0] / (1 - P), 1e-10)

dy = np.random.default_rng(2).standard_normal(x.shape)
dx = layer.backward(dy)
inputs = torch.tensor(x, requires_grad=True)
(inputs * torch.from_numpy(kept) / (1 - P)).backward(torch.from_numpy(dy))
lessons.say("同一个掩码，与 torch 和循环比较：", "One mask, beside torch and the loops:")
lessons.agree("dx, torch", dx, inputs.grad, 1e-10)
draws = np.random.default_rng(0).random(x.shape, np.float32)  # what the layer drew
slow, mask = naive.dropout(x, draws, P)
lessons.agree("y, loops", slow, y, 1e-10)
lessons.agree("dx, loops", naive.dropout_backward(dy, mask), dx, 1e-10)

layer.eval()
lessons.say("评估模式：", "In evaluation:")
lessons.agree("y = x", layer(x), nn.Dropout(P).eval()(torch.from_numpy(x)), 0)
lessons.agree("dx = dy", layer.backward(dy), dy, 0)

# %% [markdown] lang="zh"
# ## 均值不变，噪声变大
# 一百个 1 经过随机失活再取平均，重复一万次。均值总在 1，标准差是 $\sqrt{p/(1-p)/100}$：$p = 0.1$
# 时约 0.033，$p = 0.5$ 时 0.1，$p = 0.9$ 时 0.3。$p$ 越大，每一步训练看到的噪声越大，
# 训练也就越久（论文说要两三倍的时间）；隐藏层常用 0.5，正是论文的取值。

# %% [markdown] lang="en"
# ## The mean stays, the noise grows
# Take a hundred ones through dropout, average them, and do so ten thousand times. The mean is
# always 1; the standard deviation is $\sqrt{p/(1-p)/100}$, which is about 0.033 for $p = 0.1$,
# 0.1 for $p = 0.5$ and 0.3 for $p = 0.9$. The larger $p$, the more noise there is in each
# training step, and the longer training takes (two to three times as long, says the paper). For
# hidden layers 0.5 is common; it is the value
# of the paper.

# %%
figure = lessons.figure(6.0, 3.0)
axes = figure.subplots()
for p, color in ((0.1, "#2563a8"), (0.5, "#c2571a"), (0.9, "#3a7d44")):
    layer = scratch.Dropout(p, rng=np.random.default_rng(3))
    means = layer(np.ones((10_000, 100))).mean(axis=1)
    expected = (p / (1 - p) / 100) ** 0.5
    print(f"p {p}: mean {means.mean():.3f}, std {means.std():.3f}, formula {expected:.3f}")
    assert abs(means.mean() - 1) < 0.02
    assert abs(means.std() / expected - 1) < 0.05
    bins = (np.arange(102) - 0.5) / (1 - p) / 100  # one for each number of ones that stay
    axes.hist(means, bins=bins, density=True, alpha=0.6, color=color, label=f"p = {p}")
axes.set(title="mean of 100 ones after dropout", xlabel="mean", yticks=[], xlim=(0, 2.2))
axes.spines["left"].set_visible(False)
axes.legend(frameon=False)
lessons.save(figure, "dropout_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **忘了除以 $1-p$。** 训练时激活的均值只有评估时的 $1-p$ 倍，评估的结果就偏了；
#   只看训练损失发现不了。
# - **反向时重新抽掩码。** 形状对，梯度是错的：被丢掉的数收到梯度，留下的没有。
# - **评估前忘了 `eval()`。** 同一张图两次结果不同，准确率下降。
# - **把 `p` 当成保留的比例。** torch 的 `p` 是丢掉的比例；老教材和论文里的 $p$ 常是保留的比例。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **No division by $1-p$.** In training the mean of the activations is $1-p$ of what it is in
#   evaluation, and the results of evaluation are off; the training loss alone does not show it.
# - **A new mask in backward.** The shape is right and the gradient is wrong: dropped numbers get
#   a gradient, and kept ones do not.
# - **`eval()` is forgotten before evaluation.** The same image gives two results, and the
#   accuracy falls.
# - **`p` taken for the fraction that is kept.** In torch `p` is the fraction that is dropped; in
#   the paper it is the fraction that is kept.

# %% [markdown] lang="zh"
# ## 练习
# 1. 在纸上的例子里取 $p = 0.25$，$u$ 不变。$m$、$y$ 是什么？
#
# <details markdown="1"><summary>答案</summary>
#
# 只有 $u = 0.1$ 和 $u = 0.2$ 小于 0.25，丢掉 2 和 6；其余乘 $\tfrac43$：
# $y = \tfrac43\begin{pmatrix}1&0&3\\4&5&0\\7&8&9\end{pmatrix}$。
#
# </details>
#
# 2. 去掉除以 $1-p$（`kept * x`），$p = 0.3$，$y$ 的均值是多少？先算再运行。
#
# <details markdown="1"><summary>答案</summary>
#
# $x$ 的均值约 1.5，留下七成：约 $0.7\cdot1.5 = 1.05$。
#
# ```python
# print((kept * x).mean())  # 1.0519974742206353
# ```
#
# </details>
#
# 3. 连着两层 `Dropout(0.5)`，一个数留下来的概率是多少？留下的乘以几？用代码检验，并与一层
#    `Dropout(0.75)` 比较。
#
# <details markdown="1"><summary>答案</summary>
#
# $0.5\cdot0.5 = 0.25$，乘以 $2\cdot2 = 4$；与一层 $p = 0.75$ 的分布相同。
#
# ```python
# rng = np.random.default_rng(0)
# twice = scratch.Sequential(scratch.Dropout(0.5, rng=rng), scratch.Dropout(0.5, rng=rng))
# for layer in (twice, scratch.Dropout(0.75, rng=rng)):
#     y = layer(np.ones((1000, 1000)))
#     print(f"{(y > 0).mean():.2f} {y.max():.0f}")  # 0.25 4, twice
# ```
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. In the example on paper take $p = 0.25$ with the same $u$. What are $m$ and $y$?
#
# <details markdown="1"><summary>Answer</summary>
#
# Only $u = 0.1$ and $u = 0.2$ are below 0.25, so the 2 and the 6 are dropped; all others are
# multiplied by $\tfrac43$: $y = \tfrac43\begin{pmatrix}1&0&3\\4&5&0\\7&8&9\end{pmatrix}$.
#
# </details>
#
# 2. Leave out the division by $1-p$ (`kept * x`), with $p = 0.3$. What is the mean of $y$?
#    Compute first, then run it.
#
# <details markdown="1"><summary>Answer</summary>
#
# The mean of $x$ is about 1.5, and seven tenths stay: about $0.7\cdot1.5 = 1.05$.
#
# ```python
# print((kept * x).mean())  # 1.0519974742206353
# ```
#
# </details>
#
# 3. Two layers of `Dropout(0.5)` in a row: what is the probability that a number is kept, and by
#    how much is it multiplied? Check it in code, and compare with one `Dropout(0.75)`.
#
# <details markdown="1"><summary>Answer</summary>
#
# $0.5\cdot0.5 = 0.25$, multiplied by $2\cdot2 = 4$; the distribution is that of one layer with
# $p = 0.75$.
#
# ```python
# rng = np.random.default_rng(0)
# twice = scratch.Sequential(scratch.Dropout(0.5, rng=rng), scratch.Dropout(0.5, rng=rng))
# for layer in (twice, scratch.Dropout(0.75, rng=rng)):
#     y = layer(np.ones((1000, 1000)))
#     print(f"{(y > 0).mean():.2f} {y.max():.0f}")  # 0.25 4, twice
# ```
#
# </details>
