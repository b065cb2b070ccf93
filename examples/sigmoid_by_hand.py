"""手写激活函数 Sigmoid · Sigmoid by hand

Code: zoo/scratch/activation.py, zoo/models/logistic.py
Picture: sigmoid_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# Sigmoid 把任何得分变成 0 与 1 之间的数，可以当作“是”的概率，所以逻辑回归、二分类的输出和 LSTM
# 的门都用它。它只有一行公式，却有三种写法：两种会溢出，一种不会。本课先写循环，在纸上算一个例子，
# 再比较三种写法，最后与 `zoo.scratch` 和 torch 对照。

# %% [markdown] lang="en"
# ## Why
# Sigmoid turns any score into a number between 0 and 1, which can be read as the probability of
# "yes". Logistic regression, the output for two classes and the gates of an LSTM use it. Its
# formula is one line, and yet there are three ways to write it: two of them overflow, one does
# not. We write the loops first, work out an example on paper, compare the three ways, and end
# beside `zoo.scratch` and torch.

# %% [markdown] lang="zh"
# ## 公式
# 形状都是 `[N, D]`，逐元素计算：
#
# $$
# y = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad dx = dy \; y (1 - y)
# $$
#
# 推导：
#
# $$
# \frac{dy}{dx} = \frac{e^{-x}}{(1 + e^{-x})^2}
# = \frac{1}{1 + e^{-x}} \cdot \frac{e^{-x}}{1 + e^{-x}} = y (1 - y)
# $$
#
# 最后一步用到 $1 - y = \frac{e^{-x}}{1 + e^{-x}} = \sigma(-x)$。导数在 $y = \tfrac12$ 时最大，等于
# $\tfrac14$：每穿过一层 Sigmoid，梯度至少缩小到四分之一。
#
# 分子分母同乘 $e^x$ 得到第二种写法；两种写法各在一侧安全，合起来对任何 $x$ 都不溢出：
#
# $$
# \sigma(x) = \begin{cases} \dfrac{1}{1 + e^{-x}} & x \ge 0 \\[2ex]
# \dfrac{e^{x}}{1 + e^{x}} & x < 0 \end{cases}
# $$

# %% [markdown] lang="en"
# ## The formulas
# Everything is `[N, D]` and computed element by element:
#
# $$
# y = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad dx = dy \; y (1 - y)
# $$
#
# The derivation:
#
# $$
# \frac{dy}{dx} = \frac{e^{-x}}{(1 + e^{-x})^2}
# = \frac{1}{1 + e^{-x}} \cdot \frac{e^{-x}}{1 + e^{-x}} = y (1 - y)
# $$
#
# The last step uses $1 - y = \frac{e^{-x}}{1 + e^{-x}} = \sigma(-x)$. The derivative is largest at
# $y = \tfrac12$, where it is $\tfrac14$: each layer of sigmoids lets at most a quarter of the
# gradient through.
#
# Multiplying numerator and denominator by $e^x$ gives a second form. Each of the two is safe on
# one side, and together they do not overflow for any $x$:
#
# $$
# \sigma(x) = \begin{cases} \dfrac{1}{1 + e^{-x}} & x \ge 0 \\[2ex]
# \dfrac{e^{x}}{1 + e^{x}} & x < 0 \end{cases}
# $$

# %% [markdown] lang="zh"
# ## 第一步：循环
# 前向照定义写，反向只用 $y$ 和 $dy$。

# %% [markdown] lang="en"
# ## Step 1: loops
# Forward is written down from the definition, backward from $y$ and $dy$ alone.

# %%
import math

import numpy as np
from torch import nn

from zoo import datasets, lessons, scratch


def naive_sigmoid(x):
    """Return the sigmoid of one number, as the definition says."""
    return 1 / (1 + math.exp(-x))


def sigmoid_forward(x):
    """Return y for x [N, D]."""
    y = np.zeros_like(x)
    for n in range(x.shape[0]):
        for d in range(x.shape[1]):
            y[n, d] = naive_sigmoid(x[n, d])
    return y


def sigmoid_backward(dy, y):
    """Return dx for dy [N, D] and the y of forward."""
    dx = np.zeros_like(dy)
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            dx[n, d] = dy[n, d] * y[n, d] * (1 - y[n, d])
    return dx


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 三个数，保留四位小数：
#
# | x | -1 | 0 | 2 |
# |---|---|---|---|
# | y | 0.2689 | 0.5 | 0.8808 |
# | y (1 - y) | 0.1966 | 0.25 | 0.1050 |
# | dy | 1 | 2 | 3 |
# | dx | 0.1966 | 0.5 | 0.3150 |
#
# 可以顺便验算对称性：$\sigma(1) = 1 - 0.2689 = 0.7311$。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# Three numbers, to four decimals:
#
# | x | -1 | 0 | 2 |
# |---|---|---|---|
# | y | 0.2689 | 0.5 | 0.8808 |
# | y (1 - y) | 0.1966 | 0.25 | 0.1050 |
# | dy | 1 | 2 | 3 |
# | dx | 0.1966 | 0.5 | 0.3150 |
#
# The symmetry is easily checked along with it: $\sigma(1) = 1 - 0.2689 = 0.7311$.

# %%
x = np.array([[-1.0, 0.0, 2.0]])
dy = np.array([[1.0, 2.0, 3.0]])
y = sigmoid_forward(x)
dx = sigmoid_backward(dy, y)
print("y ", y.round(4).tolist())
print("dx", dx.round(4).tolist())
lessons.agree("y on paper", y, [[0.2689, 0.5, 0.8808]], 5e-5)
lessons.agree("dx on paper", dx, [[0.1966, 0.5, 0.3150]], 5e-5)
lessons.agree("sigmoid(-x) = 1 - sigmoid(x)", sigmoid_forward(-x), 1 - y, 1e-12)

# %% [markdown] lang="zh"
# ## 数值稳定性
# 第一种写法在 $x = -1000$ 时要算 $e^{1000}$，溢出；第二种在 $x = +1000$ 时溢出。
# 按符号选用安全的一种，指数永远不大于 0，就不会溢出。
#
# 还有一处更隐蔽：$x = 40$ 时，双精度的 $y$ 已经恰好等于 1，$1 - y$ 成了 0，信息丢失。
# 需要“不是”的概率时，直接算 $\sigma(-x)$，不要算 $1 - \sigma(x)$；需要 $\ln y$ 时，用 `logsigmoid`
# 或 `BCEWithLogitsLoss`，不要先算 $y$ 再取对数。

# %% [markdown] lang="en"
# ## Numerical stability
# At $x = -1000$ the first form computes $e^{1000}$, which overflows; the second one does at
# $x = +1000$. If the sign decides which one is used, the exponent is never above 0 and nothing
# overflows.
#
# Another fault is harder to see: at $x = 40$ the $y$ of double precision is exactly 1, so $1 - y$
# is 0 and the information is lost. If you need the probability of "no", compute $\sigma(-x)$, not
# $1 - \sigma(x)$. If you need $\ln y$, use `logsigmoid` or `BCEWithLogitsLoss`, and do not take
# the logarithm of $y$.


# %%
def stable_sigmoid(x):
    """Return the sigmoid of one number, for any x."""
    small = math.exp(-abs(x))  # between 0 and 1
    return 1 / (1 + small) if x >= 0 else small / (1 + small)


try:
    naive_sigmoid(-1000.0)
    raise AssertionError("expected an overflow")
except OverflowError as error:
    print("naive sigmoid(-1000):", type(error).__name__)
print("stable sigmoid(-1000):", stable_sigmoid(-1000.0))
print(
    "1 - sigmoid(40) =", 1 - stable_sigmoid(40.0), f"  sigmoid(-40) = {stable_sigmoid(-40.0):.2e}"
)
assert stable_sigmoid(-1000.0) == 0
assert stable_sigmoid(1000.0) == 1
assert 1 - stable_sigmoid(40.0) == 0
assert 4e-18 < stable_sigmoid(-40.0) < 5e-18

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `zoo.scratch.Sigmoid` 用的就是稳定的写法，只是整个数组一起算：`small = np.exp(-abs(x))`，再用
# `np.where(x >= 0, 1, small) / (1 + small)`。与 torch、与循环、再与极端的输入对照。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# `zoo.scratch.Sigmoid` is the stable form for whole arrays: `small = np.exp(-abs(x))`, then
# `np.where(x >= 0, 1, small) / (1 + small)`. We compare it with torch, with the loops, and at
# extreme inputs.

# %%
layer, peer = scratch.Sigmoid(), nn.Sigmoid()
x = 3 * np.random.default_rng(0).standard_normal((32, 10))
y, dy, dx = lessons.beside(layer, peer, x)
lessons.agree("y, loops", sigmoid_forward(x), y, 1e-12)
lessons.agree("dx, loops", sigmoid_backward(dy, y), dx, 1e-12)
extreme = np.array([-1000.0, -40.0, 0.0, 40.0, 1000.0])
lessons.agree("extreme x", [stable_sigmoid(number) for number in extreme], layer(extreme), 1e-15)

# %% [markdown] lang="zh"
# ## 训练好的逻辑回归里的 Sigmoid
# 随库发布的 `logistic` 只有一个神经元：30 个标准化的特征乘权重、加偏置，得到得分 $z$，再由 Sigmoid
# 变成恶性或良性的概率。在 113 行测试数据上用我们的层计算概率，概率大于 0.5 与得分大于 0
# 是同一回事，所以**预测**不需要 Sigmoid；需要它的是**概率**本身：可以据此设别的阈值，
# 或者说出模型有多大把握。大多数行离中点很远，模型对它们很有把握。

# %% [markdown] lang="en"
# ## Sigmoid in a trained logistic regression
# The zoo's `logistic` is a single neuron: 30 standardized features times weights, plus a bias, are
# the score $z$, and Sigmoid turns it into a probability. We compute the probabilities of the 113
# test rows with our layer. A probability above 0.5 means the same as a score above 0, so the
# **prediction** does not need the Sigmoid. The **probability** does: it lets us choose another
# threshold, or say how sure the model is. Most rows are far from the middle, and the model is sure
# of them.

# %%
data = datasets.load("breast-cancer")
network = scratch.build("logistic")  # one Linear layer, by hand, with the trained weights
logits, probabilities = scratch.Pipeline(network, data.spec, "binary")(data.test.inputs)
z = logits[:, 1].astype(np.float64)  # the scores
p = layer(z)
lessons.agree("the model's probabilities", p, probabilities[:, 1], 1e-6)
sure = ((p > 0.9) | (p < 0.1)).mean()
accuracy = ((p > 0.5) == (data.test.targets.flatten() == 1)).mean()
lessons.say(
    f"{len(z)} 行，得分从 {z.min():.1f} 到 {z.max():.1f}，正确率 {accuracy:.3f}",
    f"{len(z)} rows, scores {z.min():.1f} to {z.max():.1f}, accuracy {accuracy:.3f}",
)
lessons.say(
    f"p 小于 0.1 或大于 0.9 的占 {sure:.0%}",
    f"p below 0.1 or above 0.9: {sure:.0%} of the rows",
)
assert ((p > 0.5) == (z > 0)).all()
assert accuracy > 0.95
assert sure > 0.7

# %% [markdown] lang="zh"
# ## 图
# 蓝线是 $y$，橙色虚线是 $dy/dx$，最高处只有 0.25；阴影是导数不到 0.01 的地方。

# %% [markdown] lang="en"
# ## The picture
# The blue line is $y$ and the dashed orange one $dy/dx$, which is 0.25 at its highest. Where it is
# shaded the derivative is below 0.01.

# %%
x = np.linspace(-8, 8, 321)
y = layer(x)
slopes = layer.backward(np.ones_like(x))
edge = x[(slopes < 0.01) & (x > 0)][0]
lessons.say(
    f"导数最大 {slopes.max()}，从 |x| = {edge:.2f} 起小于 0.01",
    f"largest dy/dx {slopes.max()}, below 0.01 from |x| = {edge:.2f}",
)
assert slopes.max() == 0.25
figure = lessons.figure(5.0, 3.0)
axes = figure.subplots()
axes.plot(x, y, color="#2563a8", label="y")
axes.plot(x, slopes, "--", color="#c2571a", label="dy/dx")
axes.axvspan(edge, 8, color="0.9")
axes.axvspan(-8, -edge, color="0.9")
axes.set(title="Sigmoid", xlabel="x", xlim=(-8, 8))
axes.grid(alpha=0.25)
axes.legend(frameon=False)
lessons.save(figure, "sigmoid_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 网络最后加了 Sigmoid，又用 `BCEWithLogitsLoss`：等于做了两次 Sigmoid，输出被压在 0.5 与 0.73
#   之间，损失降不下去。二者只留其一。
# - 反向里写 `x * (1 - x)`：公式里是输出 $y$。
# - 多分类时对每个类别用 Sigmoid 再取最大：可以运行，但各类的概率之和不是 1。互斥的类别用 softmax。

# %% [markdown] lang="en"
# ## Usual mistakes
# - A sigmoid at the end of the network and `BCEWithLogitsLoss` as well: the sigmoid is applied
#   twice, the second output lies between 0.5 and 0.73, and the loss does not come down. Keep one
#   of the two.
# - `x * (1 - x)` in backward: the formula has the output $y$.
# - A sigmoid for each of several exclusive classes: it runs, but the probabilities do not add up
#   to 1. Use softmax for exclusive classes.

# %% [markdown] lang="zh"
# ## 练习
# 1. $y = 0.9$ 时导数是多少？与最大值 0.25 相比呢？
#
# <details markdown="1"><summary>答案</summary>
#
# $0.9 \times 0.1 = 0.09$，大约是最大值的三分之一。
#
# </details>
#
# 2. 把循环里的 `naive_sigmoid` 换成 `stable_sigmoid`，上面的对照还成立吗？对 `x = -1000` 呢？
#
# <details markdown="1"><summary>答案</summary>
#
# 全部成立，差别在 $10^{-16}$ 的量级；`sigmoid_forward(np.array([[-1000.0]]))` 现在返回 0，
# 不再报错。
#
# </details>
#
# 3. 在 `x = -2` 用中心差分（$h = 10^{-5}$）检查导数，应当得到多少？
#
# <details markdown="1"><summary>答案</summary>
#
# `(stable_sigmoid(-2 + h) - stable_sigmoid(-2 - h)) / (2 * h)` 得到 0.1050，与 $x = 2$ 处相同：
# 导数是偶函数。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. What is the derivative where $y = 0.9$, and how does it compare with the largest one, 0.25?
#
# <details markdown="1"><summary>Answer</summary>
#
# $0.9 \times 0.1 = 0.09$, about a third of it.
#
# </details>
#
# 2. In the loops, replace `naive_sigmoid` by `stable_sigmoid`. Do the comparisons still hold? And
#    what about `x = -1000`?
#
# <details markdown="1"><summary>Answer</summary>
#
# All of them hold, with differences of about $10^{-16}$, and
# `sigmoid_forward(np.array([[-1000.0]]))` returns 0 now instead of raising an error.
#
# </details>
#
# 3. Check the derivative at `x = -2` by a central difference with $h = 10^{-5}$. What should come
#    out?
#
# <details markdown="1"><summary>Answer</summary>
#
# `(stable_sigmoid(-2 + h) - stable_sigmoid(-2 - h)) / (2 * h)` gives 0.1050, the same as at
# $x = 2$: the derivative is an even function.
#
# </details>
