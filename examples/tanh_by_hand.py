"""手写激活函数 Tanh · Tanh by hand

Code: zoo/scratch/activation.py, zoo/models/rnn.py
Picture: tanh_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# Tanh 把任何数压到 -1 与 1 之间，而且关于 0 对称，循环网络（RNN、LSTM）至今用它。
# 它的反向传播有一个漂亮的性质：导数可以只用输出 $y$ 写出来。但是照着定义写前向会出问题：$x = 1000$
# 时程序直接报错或得到 `nan`，$x$ 很小时又丢掉有效数字。本课先写朴素的循环，再在纸上算一个例子，
# 然后修好数值问题，最后与 `zoo.scratch` 和 torch 对照。

# %% [markdown] lang="en"
# ## Why
# Tanh squeezes every number between -1 and 1, symmetrically around 0, and recurrent networks (RNN,
# LSTM) use it to this day. Its backward pass has a nice property: the derivative can be written
# with the output $y$ alone. A forward pass written down from the definition has problems, though:
# at $x = 1000$ the program stops with an error or returns `nan`, and for a very small $x$ it loses
# digits. We write the plain loops first, work out an example on paper, mend the numerical
# problems, and compare with `zoo.scratch` and torch.

# %% [markdown] lang="zh"
# ## 公式
# 形状都是 `[N, D]`，逐元素计算：
#
# $$
# y = \tanh(x) = \frac{e^x - e^{-x}}{e^x + e^{-x}}, \qquad dx = dy\,(1 - y^2)
# $$
#
# 导数的推导用商的求导法则：令 $s = e^x - e^{-x}$、$c = e^x + e^{-x}$，则 $s' = c$、$c' = s$，
#
# $$
# \frac{dy}{dx} = \frac{s'c - sc'}{c^2} = \frac{c^2 - s^2}{c^2} = 1 - y^2
# $$
#
# 分子分母同乘 $e^{-|x|}$ 之类的因子，函数值不变，却不再溢出。对 $x \ge 0$：
#
# $$
# \tanh(x) = \frac{1 - e^{-2x}}{1 + e^{-2x}}, \qquad \tanh(-x) = -\tanh(x)
# $$

# %% [markdown] lang="en"
# ## The formulas
# Everything is `[N, D]` and computed element by element:
#
# $$
# y = \tanh(x) = \frac{e^x - e^{-x}}{e^x + e^{-x}}, \qquad dx = dy\,(1 - y^2)
# $$
#
# The derivative comes from the quotient rule. With $s = e^x - e^{-x}$ and $c = e^x + e^{-x}$ we
# have $s' = c$ and $c' = s$, so
#
# $$
# \frac{dy}{dx} = \frac{s'c - sc'}{c^2} = \frac{c^2 - s^2}{c^2} = 1 - y^2
# $$
#
# Multiplying numerator and denominator by $e^{-x}$ leaves the value as it is, and nothing
# overflows any more. For $x \ge 0$:
#
# $$
# \tanh(x) = \frac{1 - e^{-2x}}{1 + e^{-2x}}, \qquad \tanh(-x) = -\tanh(x)
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
import torch
from torch import nn

import zoo
from zoo import lessons, scratch
from zoo.datasets import mnist


def naive_tanh(x):
    """Return tanh of one number, as the definition says."""
    return (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))


def tanh_forward(x):
    """Return y for x [N, D]."""
    y = np.zeros_like(x)
    for n in range(x.shape[0]):
        for d in range(x.shape[1]):
            y[n, d] = naive_tanh(x[n, d])
    return y


def tanh_backward(dy, y):
    """Return dx for dy [N, D] and the y of forward."""
    dx = np.zeros_like(dy)
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            dx[n, d] = dy[n, d] * (1 - y[n, d] ** 2)
    return dx


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 三个数，保留四位小数：
#
# | x | -1 | 0 | 2 |
# |---|---|---|---|
# | y | -0.7616 | 0 | 0.9640 |
# | 1 - y² | 0.4200 | 1 | 0.0707 |
# | dy | 1 | 2 | 3 |
# | dx | 0.4200 | 2 | 0.2120 |
#
# 最后一列：$x = 2$ 已接近饱和，上游给的梯度最大（3），通过之后却最小。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# Three numbers, to four decimals:
#
# | x | -1 | 0 | 2 |
# |---|---|---|---|
# | y | -0.7616 | 0 | 0.9640 |
# | 1 - y² | 0.4200 | 1 | 0.0707 |
# | dy | 1 | 2 | 3 |
# | dx | 0.4200 | 2 | 0.2120 |
#
# Look at the last column: $x = 2$ is near saturation. It gets the largest gradient from above (3),
# and the least of it comes through.

# %%
x = np.array([[-1.0, 0.0, 2.0]])
dy = np.array([[1.0, 2.0, 3.0]])
y = tanh_forward(x)
dx = tanh_backward(dy, y)
print("y ", y.round(4).tolist())
print("dx", dx.round(4).tolist())
lessons.agree("y on paper", y, [[-0.7616, 0, 0.9640]], 5e-5)
lessons.agree("dx on paper", dx, [[0.4200, 2, 0.2120]], 5e-5)

# %% [markdown] lang="zh"
# ## 数值稳定性
# 朴素公式有两处毛病。$x$ 大时 $e^x$ 溢出：Python 的 `math.exp(1000)` 报 `OverflowError`，NumPy
# 则得到 `inf / inf = nan`。$x$ 小时 $e^x - e^{-x}$ 是两个几乎相等的数相减，有效数字被消去：
# $x = 10^{-10}$ 时，正确答案就是 $10^{-10}$，朴素公式的相对误差却有千万分之一。修好的写法用
# $e^{-2|x|}$，不会溢出；并用 `math.expm1(z)` 直接计算 $e^z - 1$，不会消去。

# %% [markdown] lang="en"
# ## Numerical stability
# The plain formula has two faults. For a large $x$, $e^x$ overflows: Python's `math.exp(1000)`
# raises an `OverflowError`, and NumPy gives `inf / inf = nan`. For a small $x$, $e^x - e^{-x}$
# subtracts two numbers that are nearly equal, and their digits cancel: at $x = 10^{-10}$ the right
# answer is $10^{-10}$, and the plain formula has a relative error of about one in ten million. The
# mended version uses $e^{-2|x|}$, which cannot overflow, and `math.expm1(z)`, which computes
# $e^z - 1$ without the cancellation.


# %%
def stable_tanh(x):
    """Return tanh of one number, for any x."""
    small = math.expm1(-2 * abs(x))  # e^(-2|x|) - 1, between -1 and 0
    return math.copysign(-small / (small + 2), x)


try:
    naive_tanh(1000.0)
    raise AssertionError("expected an overflow")
except OverflowError as error:
    print("naive tanh(1000):", type(error).__name__)
print("stable tanh(1000):", stable_tanh(1000.0))
tiny = 1e-10
naive_error = abs(naive_tanh(tiny) / tiny - 1)
stable_error = abs(stable_tanh(tiny) / tiny - 1)
lessons.say(
    f"x = 1e-10 的相对误差：朴素 {naive_error:.0e}，稳定 {stable_error:.0e}",
    f"relative error at 1e-10: naive {naive_error:.0e}, stable {stable_error:.0e}",
)
assert stable_tanh(1000.0) == 1
assert naive_error > 1e-9
assert stable_error < 1e-15

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `np.tanh` 内部已经处理好这两件事，所以 `zoo.scratch.Tanh` 的前向只有一行，反向是
# `dy * (1 - y * y)`。与 torch 对照，再与循环对照；很大和很小的输入也在内。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# `np.tanh` takes care of both inside, so the forward pass of `zoo.scratch.Tanh` is one line, and
# backward is `dy * (1 - y * y)`. We compare it with torch and with the loops, and very large and
# very small inputs as well.

# %%
layer, peer = scratch.Tanh(), nn.Tanh()
x = 3 * np.random.default_rng(0).standard_normal((32, 10))
y, dy, dx = lessons.beside(layer, peer, x)
lessons.agree("y, loops", tanh_forward(x), y, 1e-12)
lessons.agree("dx, loops", tanh_backward(dy, y), dx, 1e-12)
extreme = np.array([-1000.0, -1e-10, 0.0, 1e-10, 1000.0])
lessons.agree("extreme x, stable", [stable_tanh(number) for number in extreme], layer(extreme), 0)

# %% [markdown] lang="zh"
# ## 训练好的 RNN 里的 Tanh
# 随库发布的 `rnn` 每读一行图片就做一次
# $h_t = \tanh(x_t W_{ih}^\top + b_{ih} + h_{t-1} W_{hh}^\top + b_{hh})$，共 28 次。我们用自己的
# Tanh 层和它的权重走完这 28 步，与 torch 相符；再看所有隐藏状态：只有 1.5% 的 $|h|$ 超过 0.99，
# 平均导数是 0.62。训练好的网络大多工作在没有饱和的中间段。不过 28 个 0.62 相乘只剩百万分之一左右，
# 所以循环权重 $W_{hh}$ 要用正交矩阵初始化，尽量不再缩小梯度。

# %% [markdown] lang="en"
# ## Tanh in a trained RNN
# The zoo's `rnn` computes $h_t = \tanh(x_t W_{ih}^\top + b_{ih} + h_{t-1} W_{hh}^\top + b_{hh})$
# for each row of the image that it reads, 28 times. We go through the 28 steps with our own Tanh
# layer and its weights, and agree with torch. Then we look at all hidden states: only 1.5% of them
# have $|h|$ above 0.99, and the mean derivative is 0.62, so a trained network works mostly in the
# middle, where nothing is saturated. Still, 28 factors of 0.62 leave about one in a million, which
# is why the recurrent weights $W_{hh}$ start as an orthogonal matrix: they should not shrink the
# gradient, too.

# %%
model = zoo.load("rnn")
weights = {name: array.numpy().astype(float) for name, array in model.rnn.state_dict().items()}
images = mnist.load().validation.inputs[:500, :, :, 0]  # [500, 28 rows, 28]
rows = (images / 255 - 0.1307) / 0.3081
h = np.zeros((500, 128))
states = []
for t in range(28):
    z = rows[:, t] @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
    z += h @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
    h = layer(z)
    states.append(h)
with torch.no_grad():
    expected = model.rnn(torch.from_numpy(rows).float())[0]  # [500, 28, 128]
states = np.stack(states, axis=1)
lessons.agree("hidden states", states, expected, 1e-4)
saturated = (np.abs(states) > 0.99).mean()
slope = (1 - states**2).mean()
print(f"|h| > 0.99: {saturated:.1%}")
lessons.say(
    f"平均导数 {slope:.2f}，28 次方 {slope**28:.1e}",
    f"mean derivative {slope:.2f}, to the power of 28 {slope**28:.1e}",
)
assert saturated < 0.05
assert 0.5 < slope < 0.75

# %% [markdown] lang="zh"
# ## 图
# 蓝线是 $y$，橙色虚线是 $dy/dx$；阴影是导数不到 0.01 的地方，$|x| > 3$ 的神经元几乎不再学习。

# %% [markdown] lang="en"
# ## The picture
# The blue line is $y$ and the dashed orange one $dy/dx$. Where it is shaded the derivative is
# below 0.01: a neuron with $|x| > 3$ hardly learns.

# %%
x = np.linspace(-5, 5, 201)
y = layer(x)
slopes = layer.backward(np.ones_like(x))
edge = np.arctanh(np.sqrt(0.99))
lessons.say(f"|x| > {edge:.2f} 处导数小于 0.01", f"dy/dx is below 0.01 where |x| > {edge:.2f}")
figure = lessons.figure(5.0, 3.0)
axes = figure.subplots()
axes.plot(x, y, color="#2563a8", label="y")
axes.plot(x, slopes, "--", color="#c2571a", label="dy/dx")
axes.axvspan(edge, 5, color="0.9")
axes.axvspan(-5, -edge, color="0.9")
axes.set(title="Tanh", xlabel="x", xlim=(-5, 5))
axes.grid(alpha=0.25)
axes.legend(frameon=False)
lessons.save(figure, "tanh_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 反向里写 `1 - x ** 2`：公式里是输出 $y$，不是输入 $x$。$x$ 接近 0 时两者差不多，
#   只用小输入测试发现不了。
# - 前向之后原地修改了 $y$（例如 `y *= mask`），反向再用它就错了。要改先复制。
# - 训练时很多单元贴在 ±1，损失不动：输入没有归一化或权重太大。打印 `(abs(y) > 0.99).mean()`，
#   超过一半就是饱和。

# %% [markdown] lang="en"
# ## Usual mistakes
# - `1 - x ** 2` in backward: the formula has the output $y$, not the input $x$. Near 0 both are
#   about the same, and a test with small inputs does not show it.
# - $y$ is changed in place after forward (`y *= mask`), and backward uses the changed one. Copy it
#   before you change it.
# - Many units stick to ±1 in training and the loss does not move: the inputs are not normalized,
#   or the weights are too large. Print `(abs(y) > 0.99).mean()`; above one half the layer is
#   saturated.

# %% [markdown] lang="zh"
# ## 练习
# 1. $y = 0.5$ 处的导数是多少？不必知道 $x$。
#
# <details markdown="1"><summary>答案</summary>
#
# $1 - 0.5^2 = 0.75$。这正是“只用输出就能求导”的好处。
#
# </details>
#
# 2. 用 `naive_tanh` 处理 `np.float64(1000.0)` 时把 `math.exp` 换成 `np.exp`，得到什么？
#
# <details markdown="1"><summary>答案</summary>
#
# 得到 `nan` 和溢出警告，而不是异常：`inf - 0` 除以 `inf + 0` 是 `inf / inf`。这更危险，
# 因为程序继续运行。
#
# </details>
#
# 3. 只用 `scratch.Sigmoid` 写出 tanh，并检查与 `scratch.Tanh` 相符。
#
# <details markdown="1"><summary>答案</summary>
#
# `2 * scratch.Sigmoid()(2 * x) - 1`；与 `scratch.Tanh()(x)` 的最大差约 $10^{-16}$。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. What is the derivative where $y = 0.5$? You need not know $x$.
#
# <details markdown="1"><summary>Answer</summary>
#
# $1 - 0.5^2 = 0.75$. That is the use of a derivative that needs the output alone.
#
# </details>
#
# 2. In `naive_tanh`, replace `math.exp` by `np.exp` and call it with `np.float64(1000.0)`. What
#    comes out?
#
# <details markdown="1"><summary>Answer</summary>
#
# `nan` and warnings, instead of an exception: `inf - 0` divided by `inf + 0` is `inf / inf`. That
# is more dangerous, since the program goes on.
#
# </details>
#
# 3. Write tanh with `scratch.Sigmoid` alone, and check that it agrees with `scratch.Tanh`.
#
# <details markdown="1"><summary>Answer</summary>
#
# `2 * scratch.Sigmoid()(2 * x) - 1`; the largest difference from `scratch.Tanh()(x)` is about
# $10^{-16}$.
#
# </details>
