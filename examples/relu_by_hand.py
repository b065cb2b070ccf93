"""手写激活函数 ReLU · ReLU by hand

Code: zoo/scratch/activation.py
Picture: relu_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# ReLU 是最简单的激活函数：负数变成 0，正数不变。它没有参数，反向传播也只有一条规则，
# 所以最适合作为“手写一层”的第一课。本课分三步：先用最朴素的循环写前向和反向；
# 再用纸笔算一个小例子；最后看 `zoo.scratch` 的 NumPy 版本，与 `torch.nn.ReLU` 逐个数对照。
# 还要回答一个常被跳过的问题：$x = 0$ 处没有导数，程序里怎么办？

# %% [markdown] lang="en"
# ## Why
# ReLU is the simplest activation: negative numbers become 0, positive ones stay. It has no
# parameters, and one rule is all of its backward pass, so it makes the best first lesson in
# writing a layer by hand. We go in three steps: forward and backward in the plainest loops; a
# small example on paper; and the NumPy version of `zoo.scratch` beside `torch.nn.ReLU`, number by
# number. We also answer a question that is often skipped: there is no derivative at $x = 0$, so
# what does the program do there?

# %% [markdown] lang="zh"
# ## 公式
# $x$、$y$、$dy = \partial L/\partial y$、$dx = \partial L/\partial x$ 形状相同，这里是 `[N, D]`，
# 每个元素各自计算：
#
# $$
# y = \max(x, 0), \qquad dx = dy \cdot \frac{dy}{dx} =
# \begin{cases} dy & x > 0 \\ 0 & x \le 0 \end{cases}
# $$
#
# 链式法则在这里就是“放行或拦住”：输入为正，上游来的梯度原样通过；否则变成 0。
# 反向只需要知道哪些输入是正的，所以前向要把这件事记下来。$y > 0$ 与 $x > 0$ 是同一回事，因此记住
# $y$ 就够了，不必另存 $x$。

# %% [markdown] lang="en"
# ## The formulas
# $x$, $y$, $dy = \partial L/\partial y$ and $dx = \partial L/\partial x$ have one shape, here
# `[N, D]`, and each element is computed by itself:
#
# $$
# y = \max(x, 0), \qquad dx = dy \cdot \frac{dy}{dx} =
# \begin{cases} dy & x > 0 \\ 0 & x \le 0 \end{cases}
# $$
#
# The chain rule is a gate here: where the input is positive, the gradient from above passes
# unchanged; elsewhere it becomes 0. Backward has to know only which inputs were positive, so
# forward must remember that. Since $y > 0$ means the same as $x > 0$, remembering $y$ is enough,
# and $x$ need not be kept.

# %% [markdown] lang="zh"
# ## 第一步：循环
# 两重循环，逐个元素。慢，但没有任何可以藏错误的地方。

# %% [markdown] lang="en"
# ## Step 1: loops
# Two loops, one element at a time. It is slow, but there is nowhere for a mistake to hide.

# %%
import numpy as np
from torch import nn

from zoo import lessons, scratch


def relu_forward(x):
    """Return y for x [N, D]."""
    y = np.zeros_like(x)
    for n in range(x.shape[0]):
        for d in range(x.shape[1]):
            if x[n, d] > 0:
                y[n, d] = x[n, d]
    return y


def relu_backward(dy, y):
    """Return dx for dy [N, D] and the y of forward."""
    dx = np.zeros_like(dy)
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            if y[n, d] > 0:
                dx[n, d] = dy[n, d]
    return dx


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 一行五个数，上游梯度是 1 到 5：
#
# | x | -2 | -1 | 0 | 1 | 2 |
# |---|---|---|---|---|---|
# | y | 0 | 0 | 0 | 1 | 2 |
# | dy | 1 | 2 | 3 | 4 | 5 |
# | dx | 0 | 0 | 0 | 4 | 5 |
#
# 前三个输入不是正数，不管上游梯度多大，都到此为止。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# One row of five numbers, and the gradients from above are 1 to 5:
#
# | x | -2 | -1 | 0 | 1 | 2 |
# |---|---|---|---|---|---|
# | y | 0 | 0 | 0 | 1 | 2 |
# | dy | 1 | 2 | 3 | 4 | 5 |
# | dx | 0 | 0 | 0 | 4 | 5 |
#
# The first three inputs are not positive, so the gradient ends there, however large it is.

# %%
x = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]])
dy = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
y = relu_forward(x)
dx = relu_backward(dy, y)
print("y ", y.tolist())
print("dx", dx.tolist())
lessons.agree("y on paper", y, [[0, 0, 0, 1, 2]], 0)
lessons.agree("dx on paper", dx, [[0, 0, 0, 4, 5]], 0)

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `zoo.scratch.ReLU` 把循环换成两个整体运算：前向 `np.maximum(x, 0)`，反向 `dy * (y > 0)`，
# 布尔数组当作 0 和 1。`lessons.beside` 让它和 `torch.nn.ReLU` 处理同样的输入与上游梯度，
# 打印最大差；我们再把循环版也比一遍。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# `zoo.scratch.ReLU` replaces the loops by two operations on whole arrays: `np.maximum(x, 0)`
# forward and `dy * (y > 0)` backward, where the Boolean array counts as 0 and 1. `lessons.beside`
# gives it and `torch.nn.ReLU` the same inputs and gradients and prints the largest difference;
# then we compare the loops, too.

# %%
layer, peer = scratch.ReLU(), nn.ReLU()
x = np.random.default_rng(0).standard_normal((32, 10))
y, dy, dx = lessons.beside(layer, peer, x)
lessons.agree("y, loops", relu_forward(x), y, 0)
lessons.agree("dx, loops", relu_backward(dy, y), dx, 0)

# %% [markdown] lang="zh"
# ## 零点与数值梯度
# 检查手写的反向，最可靠的办法是数值梯度：把 $x$ 左右各挪一小步 $h$，看 $y$ 变了多少，
# $\frac{f(x+h) - f(x-h)}{2h}$。除了 0 以外处处相符。在 0 处，左边斜率是 0，右边是 1，
# 中心差分得到中间的 0.5，而程序（torch 也一样）约定取 0。从 0 到 1 的任何数都是合法的次梯度；
# 因为实数恰好等于 0 极为少见，取哪一个对训练几乎没有影响，但用数值梯度检查时要避开这一点，
# 否则会误报错误。

# %% [markdown] lang="en"
# ## At zero, and the numeric gradient
# The most reliable check of a backward pass is the numeric gradient: we move $x$ by a small step
# $h$ to both sides and see how much $y$ changes, $\frac{f(x+h) - f(x-h)}{2h}$. It agrees
# everywhere but at 0. There the slope is 0 on the left and 1 on the right, the central difference
# gives 0.5 between them, and the program (torch, too) takes 0 by convention. Every number from 0
# to 1 is a valid subgradient. A real number is hardly ever exactly 0, so the choice makes next to
# no difference in training, but a numeric check has to avoid this point, or it reports an error
# that is none.

# %%
points = np.linspace(-3, 3, 13)  # -3, -2.5, ... 3; the seventh is 0
h = 1e-6
numeric = (np.maximum(points + h, 0) - np.maximum(points - h, 0)) / (2 * h)
layer(points)
slopes = layer.backward(np.ones_like(points))
lessons.say(
    f"x = 0 处：反向传播 {slopes[6]}，数值梯度 {numeric[6]:.2f}",
    f"at x = 0: backward {slopes[6]}, numeric {numeric[6]:.2f}",
)
elsewhere = points != 0
lessons.agree("elsewhere", slopes[elsewhere], numeric[elsewhere], 1e-8)
assert slopes[6] == 0
assert abs(numeric[6] - 0.5) < 1e-6

# %% [markdown] lang="zh"
# ## 图
# 蓝线是 $y$，橙色虚线是 $dy/dx$，圆点是数值梯度；只有 0 处的圆点不在线上。

# %% [markdown] lang="en"
# ## The picture
# The blue line is $y$, the dashed orange one $dy/dx$, and the dots are numeric gradients. Only the
# dot at 0 is off the line.

# %%
x = np.linspace(-3, 3, 601)
y = layer(x)
figure = lessons.figure(5.0, 3.0)
axes = figure.subplots()
axes.plot(x, y, color="#2563a8", label="y")
axes.plot(x, layer.backward(np.ones_like(x)), "--", color="#c2571a", label="dy/dx")
axes.plot(points, numeric, "o", markersize=4, color="#c2571a", label="numeric dy/dx")
axes.set(title="ReLU", xlabel="x")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
lessons.save(figure, "relu_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 反向时写成 `dx = (y > 0)`，忘了乘上游梯度 `dy`：单独测试时 `dy` 恰好全是 1，看不出来；
#   放进网络里损失就降不下去。测试要用随机的 `dy`。
# - 用 `dy > 0` 代替 `y > 0` 作开关：判断的应当是前向的值，不是梯度的正负。
# - 原地修改输入（`x[x < 0] = 0`）：如果前一层还要用 $x$ 来求梯度，它的梯度就错了。PyTorch 的
#   `inplace=True` 会在这种情况下报错，NumPy 不会。

# %% [markdown] lang="en"
# ## Usual mistakes
# - `dx = (y > 0)` in backward, without the factor `dy`: a test in which `dy` happens to be all
#   ones does not show it, while in a network the loss does not come down. Test with a random `dy`.
# - `dy > 0` as the gate instead of `y > 0`: what decides is the value in forward, not the sign of
#   the gradient.
# - The input is changed in place (`x[x < 0] = 0`): if the layer before still needs $x$ for its
#   gradient, that gradient is wrong. With `inplace=True` PyTorch raises an error in such a case;
#   NumPy does not.

# %% [markdown] lang="zh"
# ## 练习
# 1. 为什么记住 $y$ 比记住 $x$ 更省内存？
#
# <details markdown="1"><summary>答案</summary>
#
# $y$ 反正要作为下一层的输入保存下来，两层共用同一个数组；若另存 $x$，就多占一份。
#
# </details>
#
# 2. 一个输入全为负数的神经元，训练多久之后会恢复？
#
# <details markdown="1"><summary>答案</summary>
#
# 不会恢复：$dx$ 与权重的梯度都恒为 0。只有前面的层改变了它的输入，它才可能再次为正。
# 见课程“三种激活函数的比较”。
#
# </details>
#
# 3. 把循环改成 LeakyReLU（负半轴斜率 0.1）。上面五个数的 $y$ 和 $dx$ 应当是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 前向的 `else` 写 `y[n, d] = 0.1 * x[n, d]`，反向的 `else` 写 `dx[n, d] = 0.1 * dy[n, d]`。$y$ 为
# -0.2、-0.1、0、1、2，$dx$ 为 0.1、0.2、0.3、4、5。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Why does remembering $y$ take less memory than remembering $x$?
#
# <details markdown="1"><summary>Answer</summary>
#
# $y$ is kept anyway as the input of the next layer, so both share one array; $x$ would be one
# array more.
#
# </details>
#
# 2. A neuron gets negative inputs only. After how much training does it recover?
#
# <details markdown="1"><summary>Answer</summary>
#
# Never: $dx$ and the gradients of the weights are always 0. It can become positive again only if
# the layers before it change its input. See the lesson "Activations compared".
#
# </details>
#
# 3. Change the loops to LeakyReLU with a slope of 0.1 on the negative side. What should $y$ and
#    $dx$ of the five numbers be?
#
# <details markdown="1"><summary>Answer</summary>
#
# Forward gets `else: y[n, d] = 0.1 * x[n, d]`, backward `else: dx[n, d] = 0.1 * dy[n, d]`. $y$ is
# -0.2, -0.1, 0, 1, 2, and $dx$ is 0.1, 0.2, 0.3, 4, 5.
#
# </details>
