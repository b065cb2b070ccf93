"""手写展平层 Flatten · Flatten by hand

Code: zoo/scratch/naive/flatten.py, zoo/scratch/container.py
Picture: flatten_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 卷积层给出 $[N, C, H, W]$，全连接层要 $[N, I]$。展平层在两者之间：数一个不变，只换形状。
# 它的反向也只是把形状换回来。
#
# 这么简单的层为什么要单独一课？因为它规定了次序：第 $c$ 个通道、第 $i$ 行、第 $j$
# 列的数排在第几个。全连接层的权重是按这个次序学的；次序一错，形状检查照样通过，结果却成了乱猜。
# 这一课最后就用训练好的 `cnn` 演示一次。

# %% [markdown] lang="en"
# ## Why
# A convolution layer gives $[N, C, H, W]$; a linear layer takes $[N, I]$. Flatten stands between
# them: no number changes, only the shape. Its backward pass puts the shape back.
#
# Why a lesson for a layer so simple? Because it fixes an order: at which position the number of
# channel $c$, row $i$ and column $j$ stands. The weights of the linear layer are learned for this
# order. With another order every check of shapes still passes, and the results are guesses. The
# end of this lesson shows it with the trained `cnn`.

# %% [markdown] lang="zh"
# ## 公式
# $x\,[N, C, H, W]$，$y\,[N, CHW]$。一个通道接一个通道，一行接一行（NumPy 和 torch 的 C 次序，
# 最后一维变得最快）：
#
# $$
# y_{n,\,k} = x_{ncij}, \qquad k = (cH + i)W + j
# $$
#
# 反过来，从 $k$ 得到 $j = k \bmod W$，$i = \lfloor k/W \rfloor \bmod H$，
# $c = \lfloor k/(HW) \rfloor$。每个 $x$ 恰好对应一个 $y$，系数是 1，所以
#
# $$
# dx_{ncij} = dy_{n,\,(cH+i)W+j}
# $$
#
# 批次那一维不展平：每一行还是一张图。

# %% [markdown] lang="en"
# ## The formulas
# $x\,[N, C, H, W]$, $y\,[N, CHW]$. Channel after channel, row after row (the C order of NumPy and
# torch, in which the last dimension runs fastest):
#
# $$
# y_{n,\,k} = x_{ncij}, \qquad k = (cH + i)W + j
# $$
#
# The other way round, $j = k \bmod W$, $i = \lfloor k/W \rfloor \bmod H$ and
# $c = \lfloor k/(HW) \rfloor$. To each $x$ belongs just one $y$, with factor 1, so
#
# $$
# dx_{ncij} = dy_{n,\,(cH+i)W+j}
# $$
#
# The batch dimension is not flattened: each row is still one image.

# %% [markdown] lang="zh"
# ## 第一步：用循环写
# 两个函数，同样的下标，只是等号两边对调。

# %% [markdown] lang="en"
# ## Step one: in plain loops
# Two functions with the same indices; only the sides of the assignment are exchanged.

# %%
import inspect

import numpy as np
import torch
from torch import nn

import zoo
from zoo import lessons, scratch
from zoo.datasets import mnist
from zoo.scratch import naive

print(inspect.getsource(naive.flatten))
print(inspect.getsource(naive.flatten_backward))

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# 一张图，两个通道，每个 $3\times3$，即 $[1, 2, 3, 3] \to [1, 18]$：
#
# $$
# x_{00} = \begin{pmatrix}1&2&3\\4&5&6\\7&8&9\end{pmatrix}, \quad
# x_{01} = \begin{pmatrix}10&20&30\\40&50&60\\70&80&90\end{pmatrix}
# \;\to\; y = (1, 2, \dots, 9, 10, 20, \dots, 90)
# $$
#
# 通道 1、第 2 行、第 0 列的数是 70，下标 $k = (1\cdot3 + 2)\cdot3 + 0 = 15$。设
# $dy = (0, 1, 2, \dots, 17)$，则 $dx$ 的两个通道是
#
# $$
# \begin{pmatrix}0&1&2\\3&4&5\\6&7&8\end{pmatrix}, \quad
# \begin{pmatrix}9&10&11\\12&13&14\\15&16&17\end{pmatrix}
# $$

# %% [markdown] lang="en"
# ## Step two: on paper
# One image with two channels of $3\times3$, so $[1, 2, 3, 3] \to [1, 18]$:
#
# $$
# x_{00} = \begin{pmatrix}1&2&3\\4&5&6\\7&8&9\end{pmatrix}, \quad
# x_{01} = \begin{pmatrix}10&20&30\\40&50&60\\70&80&90\end{pmatrix}
# \;\to\; y = (1, 2, \dots, 9, 10, 20, \dots, 90)
# $$
#
# The number at channel 1, row 2, column 0 is 70, and its index is
# $k = (1\cdot3 + 2)\cdot3 + 0 = 15$. With $dy = (0, 1, 2, \dots, 17)$ the two channels of $dx$
# are
#
# $$
# \begin{pmatrix}0&1&2\\3&4&5\\6&7&8\end{pmatrix}, \quad
# \begin{pmatrix}9&10&11\\12&13&14\\15&16&17\end{pmatrix}
# $$

# %%
channel = np.arange(1.0, 10).reshape(3, 3)
x = np.stack([channel, 10 * channel])[None]  # [1, 2, 3, 3]
y = naive.flatten(x)
dy = np.arange(18.0)[None]
dx = naive.flatten_backward(dy, x)
print("y =", y[0].tolist())
print(f"x[0, 1, 2, 0] = {x[0, 1, 2, 0]:g}, y[0, 15] = {y[0, 15]:g}")
print(f"dx, channel 1 =\n{dx[0, 1]}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("y[0, 15]", y[0, 15], 70, 0)
lessons.agree("dx, channel 0", dx[0, 0], [[0, 1, 2], [3, 4, 5], [6, 7, 8]], 0)
lessons.agree("dx, channel 1", dx[0, 1], [[9, 10, 11], [12, 13, 14], [15, 16, 17]], 0)

# %% [markdown] lang="zh"
# ## 一张图
# 格子里写的是下标 $k$，颜色表示通道。左边是展平之前的两个通道，右边是两种次序：通道在前（torch 与
# NumPy 的展平）时，同一通道的九个数挨在一起；通道在后时，同一像素的两个通道挨在一起。

# %% [markdown] lang="en"
# ## One picture
# The number in a cell is its index $k$, the color its channel. On the left are the two channels
# before flattening, on the right the two orders: with channels first, as torch and NumPy flatten,
# the nine numbers of a channel stand together; with channels last, the two channels of a pixel
# do.


# %%
def draw(axes, name, indices, channels):
    """Draw a table of indices; blue cells are channel 0, orange ones channel 1."""
    colors = np.array([[0.75, 0.85, 0.95], [0.97, 0.80, 0.65]])[channels]
    axes.imshow(colors)
    for (row, column), number in np.ndenumerate(indices):
        axes.text(column, row, str(number), ha="center", va="center", fontsize=9)
    axes.set_xticks(np.arange(-0.5, indices.shape[1]), [])
    axes.set_yticks(np.arange(-0.5, indices.shape[0]), [])
    axes.grid(color="white", linewidth=2)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(name, fontsize=10)


indices = np.arange(18).reshape(2, 3, 3)  # k = (c H + i) W + j
orders = {"channels first": indices, "channels last": indices.transpose(1, 2, 0)}
figure = lessons.figure(8.4, 2.7)
grid = figure.add_gridspec(2, 4, width_ratios=(1, 1, 0.1, 5.4))
for number in range(2):
    owners = np.full((3, 3), number)
    draw(figure.add_subplot(grid[:, number]), f"channel {number}", indices[number], owners)
for row, (name, order) in enumerate(orders.items()):
    flat = order.reshape(1, 18)
    print(f"{name}: {flat[0].tolist()}")
    draw(figure.add_subplot(grid[row, 3]), f"flattened, {name}", flat, flat // 9)
lessons.save(figure, "flatten_by_hand.png")

# %% [markdown] lang="zh"
# ## 第三步：快的版本，与 torch 并排
# `scratch.Flatten` 就是一次 `reshape`，不动数据（NumPy 尽可能只换一个“视图”）。与
# torch、与循环都完全相等：这里没有算术，差是零，不只是很小。

# %% [markdown] lang="en"
# ## Step three: the fast one, beside torch
# `scratch.Flatten` is one `reshape`. It moves no data where NumPy can make do with a new view. It
# equals torch and the loops exactly: there is no arithmetic here, and the difference is zero, not
# just small.

# %%
x = np.random.default_rng(0).standard_normal((4, 3, 5, 6))
layer = scratch.Flatten()
lessons.say("与 torch 比较：", "Beside torch:")
y, dy, dx = lessons.beside(layer, nn.Flatten(), x)
print(f"x {x.shape} -> y {y.shape}; dy {dy.shape} -> dx {dx.shape}")
lessons.say("与循环的结果比较：", "Beside the loops:")
lessons.agree("y", naive.flatten(x), y, 0)
lessons.agree("dx", naive.flatten_backward(dy, x), dx, 0)
assert np.shares_memory(layer(x), x), "a view: no number was copied"

# %% [markdown] lang="zh"
# ## 次序错了会怎样
# 训练好的 `cnn` 在展平之前是 $[N, 20, 4, 4]$。先照正确的次序展平，
# 再把通道挪到最后（$[N, 4, 4, 20]$，TensorFlow 常用的布局）再展平。两种都是 $[N, 320]$，
# 全连接层都肯收，准确率却天差地别。

# %% [markdown] lang="en"
# ## With the wrong order
# In the trained `cnn` the features are $[N, 20, 4, 4]$ before they are flattened. First flatten
# them in the right order; then move the channels to the end ($[N, 4, 4, 20]$, the layout that is
# common in TensorFlow) and flatten that. Both are $[N, 320]$, the linear layer takes both, and
# the accuracies are worlds apart.

# %%
images, labels = (part[:1000] for part in mnist.load_test())
x = torch.from_numpy((images.transpose(0, 3, 1, 2) / 255 - 0.1307) / 0.3081).float()
model = zoo.load("cnn")
with torch.no_grad():
    features = torch.relu(torch.max_pool2d(model.conv1(x), 2))
    features = torch.relu(torch.max_pool2d(model.conv2(features), 2))  # [N, 20, 4, 4]
    right_order = model.fc(features.flatten(1))
    wrong_order = model.fc(features.permute(0, 2, 3, 1).flatten(1))
accuracies = [
    float((logits.argmax(dim=1).numpy() == labels).mean()) for logits in (right_order, wrong_order)
]
lessons.say(
    f"准确率：次序正确 {accuracies[0]:.1%}，通道在最后 {accuracies[1]:.1%}",
    f"accuracy: right order {accuracies[0]:.1%}, channels last {accuracies[1]:.1%}",
)
assert accuracies[0] > 0.98
assert accuracies[1] < 0.4

# %% [markdown] lang="zh"
# ## 常见错误
# - **连批次一起展平。** `x.reshape(-1)` 或 `torch.flatten(x)` 得到一维；要
#   `x.reshape(len(x), -1)` 或 `torch.flatten(x, 1)`。
# - **用 `reshape` 代替转置。** 从 $[N, H, W, C]$ 到 $[N, C, H, W]$ 要 `transpose(0, 3, 1, 2)`；
#   `reshape` 不报错，只是把数打乱。
# - **全连接的输入大小写死。** 图像或填充一改，$CHW$ 就变。打印展平前的形状，
#   或者用一张图跑一遍得到它。
# - **`view` 报错。** 转置之后内存不连续，torch 的 `view` 不能用；改用 `reshape` 或 `flatten`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **The batch is flattened too.** `x.reshape(-1)` and `torch.flatten(x)` give one dimension;
#   write `x.reshape(len(x), -1)` or `torch.flatten(x, 1)`.
# - **`reshape` in place of a transpose.** From $[N, H, W, C]$ to $[N, C, H, W]$ it takes
#   `transpose(0, 3, 1, 2)`; a `reshape` raises no error, it scrambles the numbers.
# - **A fixed input size of the linear layer.** $CHW$ changes with the image and the padding.
#   Print the shape before flattening, or run one image through to get it.
# - **`view` raises an error.** After a transpose the memory is not contiguous, and torch's `view`
#   refuses; use `reshape` or `flatten`.

# %% [markdown] lang="zh"
# ## 练习
# 1. `cnn` 的特征 $[N, 20, 4, 4]$ 展平之后，第 100 个数（从 0 数起）来自哪个通道、哪一行、哪一列？
#
# <details markdown="1"><summary>答案</summary>
#
# $100 = 6\cdot16 + 4$，所以通道 6；$4 = 1\cdot4 + 0$，第 1 行第 0 列。用
# `np.unravel_index(100, (20, 4, 4))` 检验，得 `(6, 1, 0)`。
#
# </details>
#
# 2. 不改 `wrong_order` 的展平，只重排 `model.fc.weight` 的列，让它重新认得数字。
#
# <details markdown="1"><summary>答案</summary>
#
# 权重 $[10, 320]$ 先还原成 $[10, 20, 4, 4]$，用同样的转置，再展平：
#
# ```python
# weight = model.fc.weight.reshape(10, 20, 4, 4).permute(0, 2, 3, 1).flatten(1)
# logits = features.permute(0, 2, 3, 1).flatten(1) @ weight.T + model.fc.bias
# lessons.agree("reordered", logits, right_order, 1e-4)
# ```
#
# 把权重从一个框架搬到另一个框架时，做的正是这件事。
#
# </details>
#
# 3. `scratch.Flatten(2)` 对 $[4, 3, 5, 6]$ 给出什么形状？`Flatten(0)` 呢？与 torch 比较。
#
# <details markdown="1"><summary>答案</summary>
#
# 参数是从哪一维开始展平：$[4, 3, 30]$ 和 $[360]$。
# `lessons.beside(scratch.Flatten(2), nn.Flatten(2), x)`，其中 `x` 是那个 float64 数组，差为零。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. When the features $[N, 20, 4, 4]$ of the `cnn` are flattened, which channel, row and column
#    does number 100 (counted from 0) come from?
#
# <details markdown="1"><summary>Answer</summary>
#
# $100 = 6\cdot16 + 4$, so channel 6; $4 = 1\cdot4 + 0$, so row 1, column 0.
# `np.unravel_index(100, (20, 4, 4))` says the same: `(6, 1, 0)`.
#
# </details>
#
# 2. Leave the flattening of `wrong_order` as it is. Reorder the columns of `model.fc.weight`
#    instead, so that it reads digits again.
#
# <details markdown="1"><summary>Answer</summary>
#
# Bring the weight $[10, 320]$ back to $[10, 20, 4, 4]$, apply the same transpose, and flatten
# again:
#
# ```python
# weight = model.fc.weight.reshape(10, 20, 4, 4).permute(0, 2, 3, 1).flatten(1)
# logits = features.permute(0, 2, 3, 1).flatten(1) @ weight.T + model.fc.bias
# lessons.agree("reordered", logits, right_order, 1e-4)
# ```
#
# This is what has to be done when weights move from one framework to another.
#
# </details>
#
# 3. Which shape does `scratch.Flatten(2)` give for $[4, 3, 5, 6]$? And `Flatten(0)`? Compare with
#    torch.
#
# <details markdown="1"><summary>Answer</summary>
#
# The argument is the dimension to start from: $[4, 3, 30]$ and $[360]$.
# `lessons.beside(scratch.Flatten(2), nn.Flatten(2), x)`, with `x` the float64 array, shows a
# difference of zero.
#
# </details>
