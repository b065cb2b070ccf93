"""手写最大池化层 MaxPool2d · MaxPool2d by hand

Code: zoo/scratch/naive/pool.py, zoo/scratch/pool.py
Picture: max_pool2d_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 池化把特征图缩小：每个窗口只留一个数，后面的层计算量随之减少。它没有参数，所以反向只有一个问题：
# $dy$ 该还给窗口里的哪个像素？
#
# 最大池化的答案是“谁赢了给谁”。窗口重叠时，一个像素可能赢好几次，梯度要相加；
# 有并列时要定一个规矩。这一课把这几件事在一个 $3\times3$ 的例子里全部遇到，再与平均池化对照。

# %% [markdown] lang="en"
# ## Why
# Pooling makes a feature map smaller: each window leaves one number, and the layers behind it
# have less to compute. It has no parameters, so backward has one question only: which pixel of
# the window gets $dy$?
#
# Max pooling answers "the one that won". Where windows overlap a pixel can win several times, and
# the gradients add up; and for ties there has to be a rule. This lesson meets all of this in one
# $3\times3$ example, and then compares with average pooling.

# %% [markdown] lang="zh"
# ## 公式
# $x\,[N, C, H, W]$，$y\,[N, C, H', W']$，核 $k$，步长 $s$，填充 $P$（填的是 $-\infty$，
# 永远不会赢），每个通道各算各的：
#
# $$
# y_{ncpq} = \max_{0\le i,j<k} x_{n,\,c,\,ps+i-P,\,qs+j-P}, \qquad
# H' = \left\lfloor \frac{H + 2P - k}{s} \right\rfloor + 1
# $$
#
# 最大值对赢家的导数是 1，对其余的数是 0（它们动一点点，$y$ 不变）。设 $(u^*, v^*)$ 是窗口
# $(p, q)$ 的赢家，则
#
# $$
# dx_{ncuv} = \sum_{p,q} dy_{ncpq}\,\big[(u^*,v^*)_{pq} = (u,v)\big]
# $$
#
# 方括号在条件成立时为 1，否则为 0。并列时函数在那一点不可导，torch
# 约定取扫描顺序（先行后列）的第一个，这里照做。

# %% [markdown] lang="en"
# ## The formulas
# $x\,[N, C, H, W]$, $y\,[N, C, H', W']$, kernel $k$, stride $s$, padding $P$ (filled with
# $-\infty$, which never wins); each channel by itself:
#
# $$
# y_{ncpq} = \max_{0\le i,j<k} x_{n,\,c,\,ps+i-P,\,qs+j-P}, \qquad
# H' = \left\lfloor \frac{H + 2P - k}{s} \right\rfloor + 1
# $$
#
# The derivative of a maximum with respect to the winner is 1, and with respect to all others 0:
# move them a little, and $y$ stays. Let $(u^*, v^*)$ be the winner of the window $(p, q)$; then
#
# $$
# dx_{ncuv} = \sum_{p,q} dy_{ncpq}\,\big[(u^*,v^*)_{pq} = (u,v)\big]
# $$
#
# where the bracket is 1 if the condition holds, else 0. At a tie the function has no derivative;
# torch takes the first one in scan order (row by row), and so do we.

# %% [markdown] lang="zh"
# ## 第一步：用循环写
# 前向除了 $y$ 还返回赢家的行和列，就像 torch 的 `return_indices=True`。比较用 `>` 而不是 `>=`：
# 并列时先到的保住位置。有了赢家，反向就是一个循环。

# %% [markdown] lang="en"
# ## Step one: in plain loops
# Besides $y$, forward returns the rows and columns of the winners, as torch does with
# `return_indices=True`. It compares with `>` and not with `>=`, so at a tie the first one keeps
# its place. Given the winners, backward is one loop.

# %%
import inspect

import numpy as np
from torch import nn

from zoo import lessons, scratch
from zoo.datasets import mnist
from zoo.scratch import naive

print(inspect.getsource(naive.max_pool2d))
print(inspect.getsource(naive.max_pool2d_backward))

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# 核 $2\times2$，步长 1，窗口重叠：
#
# $$
# x = \begin{pmatrix}1&8&2\\4&3&6\\7&0&5\end{pmatrix} \;\to\;
# y = \begin{pmatrix}8&8\\7&6\end{pmatrix}, \qquad
# dy = \begin{pmatrix}1&2\\3&4\end{pmatrix} \;\to\;
# dx = \begin{pmatrix}0&3&0\\0&0&4\\3&0&0\end{pmatrix}
# $$
#
# 上面两个窗口的赢家都是同一个 8，它得到 $1 + 2 = 3$；左下窗口 $\{4,3,7,0\}$ 的赢家是 7，得到 3；
# 右下窗口 $\{3,6,0,5\}$ 的赢家是 6，得到 4。其余像素的梯度是 0，它们这一次什么也学不到。$dx$
# 的和等于 $dy$ 的和：梯度只是被分发，没有多也没有少。
#
# 步长 2、窗口不重叠时，每个窗口里恰好一个像素收到梯度。

# %% [markdown] lang="en"
# ## Step two: on paper
# Kernel $2\times2$, stride 1, so that windows overlap:
#
# $$
# x = \begin{pmatrix}1&8&2\\4&3&6\\7&0&5\end{pmatrix} \;\to\;
# y = \begin{pmatrix}8&8\\7&6\end{pmatrix}, \qquad
# dy = \begin{pmatrix}1&2\\3&4\end{pmatrix} \;\to\;
# dx = \begin{pmatrix}0&3&0\\0&0&4\\3&0&0\end{pmatrix}
# $$
#
# The two upper windows have the same winner, the 8, which gets $1 + 2 = 3$. In the window at the
# bottom left, $\{4,3,7,0\}$, the 7 wins and gets 3; at the bottom right, $\{3,6,0,5\}$, the 6
# wins and gets 4. All other pixels have gradient 0; nothing is learned through them this time.
# The sum of $dx$ is the sum of $dy$: the gradient is only handed out, and none is lost or added.
#
# With stride 2 the windows do not overlap, and just one pixel of each window gets a gradient.

# %%
x = np.array([[1.0, 8, 2], [4, 3, 6], [7, 0, 5]])[None, None]
dy = np.array([[1.0, 2], [3, 4]])[None, None]
y, winners = naive.max_pool2d(x, kernel=2, stride=1)
dx = naive.max_pool2d_backward(dy, winners, x)
print(f"y =\n{y[0, 0]}\ndx =\n{dx[0, 0]}")
print("winners:", winners.reshape(-1, 2).tolist())
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("y", y[0, 0], [[8, 8], [7, 6]], 0)
lessons.agree("dx", dx[0, 0], [[0, 3, 0], [0, 0, 4], [3, 0, 0]], 0)
lessons.agree("sum dx = sum dy", dx.sum(), dy.sum(), 0)

ties = np.full((1, 1, 2, 2), 5.0)
_, winners = naive.max_pool2d(ties, kernel=2, stride=2)
print("four equal numbers, winner:", winners.ravel().tolist())
assert winners.ravel().tolist() == [0, 0]

# %% [markdown] lang="zh"
# ## 第三步：快的版本，与 torch 并排
# `scratch.MaxPool2d` 不逐个窗口循环，而是逐个核位置循环：核的第 $(i, j)$
# 个位置遇到的所有像素是一个切片，四个切片逐个取 `np.maximum`，就得到全部窗口的最大值。核
# $2\times2$ 只需三次 NumPy 调用，不论图有多大。反向再走一遍切片，等于 $y$
# 而且还没有赢家的位置收下 $dy$。

# %% [markdown] lang="en"
# ## Step three: the fast one, beside torch
# `scratch.MaxPool2d` does not loop over windows but over the places of the kernel: all pixels
# that place $(i, j)$ meets are one slice, and `np.maximum` over the four slices gives the maximum
# of every window. A kernel of $2\times2$ takes three NumPy calls, however large the image is.
# Backward goes over the slices again: where the slice equals $y$ and the window has no winner so
# far, it takes $dy$.

# %%
x = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
for setting in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}):
    lessons.say(f"与 torch 和循环比较，{setting}：", f"Beside torch and the loops, {setting}:")
    layer = scratch.MaxPool2d(**setting)
    y, dy, dx = lessons.beside(layer, nn.MaxPool2d(**setting), x)
    kernel, padding = setting["kernel_size"], setting.get("padding", 0)
    slow, winners = naive.max_pool2d(x, kernel, setting.get("stride", kernel), padding)
    lessons.agree("loops: y", slow, y, 0)
    lessons.agree("loops: dx", naive.max_pool2d_backward(dy, winners, x), dx, 1e-12)
lessons.say("平均池化，与 torch 比较：", "Average pooling, beside torch:")
y, dy, dx = lessons.beside(scratch.AvgPool2d(2), nn.AvgPool2d(2), x)
shared = np.repeat(np.repeat(dy, 2, axis=2), 2, axis=3) / 4
lessons.agree("dx = dy / 4, everywhere", dx, shared, 1e-12)

# %% [markdown] lang="zh"
# ## 最大与平均
# 平均池化把 $dy$ 平分给窗口里的每个像素；最大池化全给一个。在一张数字上：
# 最大池化后笔画仍是满亮度，平均池化把它冲淡了。第三张图是最大池化里全 1 的 $dy$ 传回之处：
# 每个窗口一个点。没有笔画的地方四个数都是 0，并列，由左上角得到，所以背景上是规则的点阵。

# %% [markdown] lang="en"
# ## Maximum and average
# Average pooling shares $dy$ evenly among the pixels of the window; max pooling gives all of it
# to one. On a digit: after max pooling the strokes are as bright as before, average pooling
# dilutes them. The last picture shows where a $dy$ of all ones goes in max pooling: one point in
# each window. Where there is no stroke all four numbers are 0, a tie that the top left pixel
# wins, and so the background is a regular grid of points.

# %%
digit = mnist.load_test().inputs[:1, :, :, 0][:, None] / 255  # [1, 1, 28, 28]
layer = scratch.MaxPool2d(2)
largest, average = layer(digit), scratch.AvgPool2d(2)(digit)
receivers = layer.backward(np.ones_like(largest))
ink = digit.max()
print(f"brightest: {ink:.3f}, max pooling {largest.max():.3f}, average {average.max():.3f}")
print(f"receivers: {int(receivers.sum())} of {receivers.size}")
assert largest.max() == ink >= average.max()
assert largest.mean() > average.mean()
assert np.isclose(average.mean(), digit.mean())
assert receivers.sum() == 14 * 14

figure = lessons.figure(8.4, 2.4)
pictures = {
    "digit, 28 x 28": digit,
    "max pooling": largest,
    "average pooling": average,
    "where dy goes (max)": receivers,
}
for axes, (name, picture) in zip(figure.subplots(1, 4), pictures.items(), strict=True):
    axes.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1)
    axes.set_title(name, fontsize=9)
    axes.axis("off")
lessons.save(figure, "max_pool2d_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **用 `x == y` 找赢家，却不管并列。** 并列的像素都会收到 $dy$，梯度凭空变多（ReLU 之后满是 0，
#   并列极其常见）。检查 $dx$ 的和是否等于 $dy$ 的和。
# - **重叠的窗口写成 `=`。** 同一个赢家只留下最后一份；要 `+=`。
# - **用 0 填充。** 输入全是负数时，0 会赢，边上的输出就错了。填 $-\infty$。
# - **忘了默认步长。** `nn.MaxPool2d(2)` 的步长默认等于核的大小，不是 1；卷积的默认步长才是 1。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **Winners found by `x == y`, with no rule for ties.** All tied pixels get $dy$, and gradient
#   appears from nowhere (after ReLU there are zeros all over, and ties are common). Check that
#   the sum of $dx$ is the sum of $dy$.
# - **`=` where windows overlap.** A winner of several windows keeps the last share only; it has
#   to be `+=`.
# - **Padding with 0.** When all inputs are negative the 0 wins, and outputs at the border are
#   wrong. Pad with $-\infty$.
# - **The default stride.** `nn.MaxPool2d(2)` has the kernel's size as its stride, not 1; it is
#   the convolution whose default is 1.

# %% [markdown] lang="zh"
# ## 练习
# 1. 在纸上：例子里的 8 改成 3，$y$ 和 $dx$ 是什么？
#
# <details markdown="1"><summary>答案</summary>
#
# $x$ 的第一行是 $1, 3, 2$。左上窗口 $\{1,3,4,3\}$ 赢家 4，右上窗口 $\{3,2,3,6\}$ 赢家 6：
# $y = \begin{pmatrix}4&6\\7&6\end{pmatrix}$，
# $dx = \begin{pmatrix}0&0&0\\1&0&6\\3&0&0\end{pmatrix}$，6 赢了两次，得 $2 + 4$。
#
# </details>
#
# 2. 把 `naive.max_pool2d` 里的 `>` 改成 `>=`（复制一份再改），输入换成 `np.maximum(x, 0)`。与
#    torch 比较，$y$ 和 $dx$ 哪个还相同？
#
# <details markdown="1"><summary>答案</summary>
#
# $y$ 相同，$dx$ 不同：并列时改成最后一个赢。ReLU 之后全为 0 的窗口很多，差别立刻显出来。
#
# </details>
#
# 3. 对全为负数的 `x = -np.ones((1, 1, 2, 2))`，用核 3、步长 1、填充 1，分别填 0 与 $-\infty$，
#    各得什么？
#
# <details markdown="1"><summary>答案</summary>
#
# `naive.max_pool2d(x, 3, 1, 1)` 处处得 $-1$；先用 `np.pad` 补一圈 0 再池化（填充取 0）处处得 0：
#
# ```python
# x = -np.ones((1, 1, 2, 2))
# print(naive.max_pool2d(x, 3, 1, 1)[0])
# zeros = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
# print(naive.max_pool2d(zeros, 3, 1)[0])
# ```
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. On paper: change the 8 of the example to 3. What are $y$ and $dx$?
#
# <details markdown="1"><summary>Answer</summary>
#
# The first row of $x$ is $1, 3, 2$. In the upper left window, $\{1,3,4,3\}$, the 4 wins; in the
# upper right one, $\{3,2,3,6\}$, the 6: $y = \begin{pmatrix}4&6\\7&6\end{pmatrix}$ and
# $dx = \begin{pmatrix}0&0&0\\1&0&6\\3&0&0\end{pmatrix}$. The 6 wins twice and gets $2 + 4$.
#
# </details>
#
# 2. In (a copy of) `naive.max_pool2d` change `>` to `>=`, and take `np.maximum(x, 0)` as the
#    input. Beside torch, which of $y$ and $dx$ is still the same?
#
# <details markdown="1"><summary>Answer</summary>
#
# $y$ is the same, $dx$ is not: at a tie the last one wins now. After ReLU many windows are all
# zeros, and the difference shows at once.
#
# </details>
#
# 3. For `x = -np.ones((1, 1, 2, 2))`, all negative, with kernel 3, stride 1 and padding 1: what
#    comes out when the padding is 0, and what when it is $-\infty$?
#
# <details markdown="1"><summary>Answer</summary>
#
# `naive.max_pool2d(x, 3, 1, 1)` gives $-1$ everywhere. A border of zeros by `np.pad` first, and
# then pooling without padding, gives 0 everywhere:
#
# ```python
# x = -np.ones((1, 1, 2, 2))
# print(naive.max_pool2d(x, 3, 1, 1)[0])
# zeros = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
# print(naive.max_pool2d(zeros, 3, 1)[0])
# ```
#
# </details>
