"""手写卷积层 Conv2d · Conv2d by hand

Code: zoo/scratch/naive/conv.py, zoo/scratch/conv.py, zoo/scratch/windows.py
Picture: conv2d_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 上一课的卷积只有一张图、一个通道。真正的 `nn.Conv2d`
# 还有批次、输入和输出通道、步长（stride）和填充（padding）。公式只是多几个下标，
# 但照公式写的循环慢得无法训练。
#
# 这一课先写循环，再把同样的计算写成一次矩阵乘法（im2col）：这样卷积层就是一个全连接层，
# 反向传播直接套用 $dW = dY X^\top$ 与 $dX = W^\top dY$
# （K. Chellapilla 等，2006）。深度学习库早已采用这个办法。

# %% [markdown] lang="en"
# ## Why
# The convolution of the last lesson had one image and one channel. The real `nn.Conv2d` has a
# batch, input and output channels, a stride and a padding. The formula only gets more indices,
# but loops written from it are too slow to train anything.
#
# This lesson writes the loops first, and then the same computation as one matrix product
# (im2col). In that form a convolution layer is a linear layer, and backward is what it was there:
# $dW = dY X^\top$ and $dX = W^\top dY$. Deep learning libraries have long used this form (K.
# Chellapilla et al., High performance convolutional neural networks for document processing,
# 2006).

# %% [markdown] lang="zh"
# ## 公式
# 形状：$x\,[N, C, H, W]$，权重 $w\,[O, C, k_h, k_w]$，偏置 $b\,[O]$，输出 $y\,[N, O, H', W']$。
# 步长 $s$，填充 $P$：
#
# $$
# H' = \left\lfloor \frac{H + 2P - k_h}{s} \right\rfloor + 1, \qquad
# y_{nopq} = b_o + \sum_{c,i,j} w_{ocij}\; x_{n,\,c,\,ps+i-P,\,qs+j-P}
# $$
#
# 下标落在图像之外的 $x$ 取零。把每个窗口写成矩阵 $X$ 的一列，$X$ 的形状是
# $[C k_h k_w,\; N H' W']$，把 $w$ 看成 $[O,\; C k_h k_w]$，就有
#
# $$
# Y = W X + b, \quad dW = dY\,X^\top, \quad db = \sum_{\text{列}} dY, \quad dX = W^\top dY
# $$
#
# 最后把 $dX$ 的每一列加回它来自的窗口，得到 $dx$（col2im），落在填充里的部分丢掉。

# %% [markdown] lang="en"
# ## The formulas
# Shapes: $x\,[N, C, H, W]$, weight $w\,[O, C, k_h, k_w]$, bias $b\,[O]$, output
# $y\,[N, O, H', W']$. With stride $s$ and padding $P$:
#
# $$
# H' = \left\lfloor \frac{H + 2P - k_h}{s} \right\rfloor + 1, \qquad
# y_{nopq} = b_o + \sum_{c,i,j} w_{ocij}\; x_{n,\,c,\,ps+i-P,\,qs+j-P}
# $$
#
# An $x$ whose index lies outside the image is zero. Write each window as a column of a matrix $X$
# of shape $[C k_h k_w,\; N H' W']$, and read $w$ as $[O,\; C k_h k_w]$. Then
#
# $$
# Y = W X + b, \quad dW = dY\,X^\top, \quad db = \sum_{\text{columns}} dY, \quad dX = W^\top dY
# $$
#
# At the end each column of $dX$ is added back to the window it came from, which gives $dx$
# (col2im); what falls into the padding is dropped.

# %% [markdown] lang="zh"
# ## 第一步：用循环写
# 下面打印的就是 `zoo/scratch/naive/conv.py` 里的代码。`_products` 列出求和式里的每一个乘积：它在
# $y$、$w$、$x$ 里各是哪个位置；落在填充里的跳过。前向把乘积加到 $y$ 上；反向走同样的循环，把 $dy$
# 分给乘积的两个因子。
#
# 循环的次数是 $N\,O\,H'\,W'\,C\,k_h\,k_w$。这里很小，而一个批次 64 张的 MNIST 图像经过 10 个
# $5\times 5$ 的卷积核就要九百多万次乘法。

# %% [markdown] lang="en"
# ## Step one: in plain loops
# What is printed below is the code in `zoo/scratch/naive/conv.py`. `_products` lists every
# product of the sum by its place in $y$, in $w$ and in $x$, and skips those that lie in the
# padding. Forward adds the product to $y$; backward runs the same loop and hands $dy$ to both
# factors of the product.
#
# The loop runs $N\,O\,H'\,W'\,C\,k_h\,k_w$ times. That is little here; but a batch of 64 MNIST
# images under 10 kernels of $5\times 5$ takes more than nine million multiplications.

# %%
import inspect

import numpy as np
from torch import nn

from zoo import lessons, scratch
from zoo.datasets import mnist
from zoo.scratch import naive

print(inspect.getsource(naive.conv2d))
print(inspect.getsource(naive.conv2d_backward))
products = 64 * 10 * 24 * 24 * 1 * 5 * 5
lessons.say(f"64 张图的乘法次数：{products:,}", f"multiplications for 64 images: {products:,}")

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# 一张 $3\times 3$ 的图，核 $2\times 2$，步长 2，填充 1，两个输出通道：
#
# $$
# x = \begin{pmatrix}1&2&3\\4&5&6\\7&8&9\end{pmatrix}, \quad
# w_0 = \begin{pmatrix}1&2\\3&4\end{pmatrix}, \quad
# w_1 = \begin{pmatrix}0&1\\0&-1\end{pmatrix}, \quad b = (0, 10)
# $$
#
# 补零后是 $5\times 5$，有 $2\times 2$ 个窗口（$\lfloor(3+2-2)/2\rfloor+1=2$）。每个窗口一列，$W$
# 的每一行是一个输出通道：
#
# $$
# X = \begin{pmatrix}0&0&0&5\\0&0&4&6\\0&2&0&8\\1&3&7&9\end{pmatrix}, \quad
# W = \begin{pmatrix}1&2&3&4\\0&1&0&-1\end{pmatrix}, \quad
# WX + b = \begin{pmatrix}4&18&36&77\\9&7&7&7\end{pmatrix}
# $$
#
# 设传回的梯度为 $dY$，则
#
# $$
# dY = \begin{pmatrix}1&-1&2&0\\0&1&0&1\end{pmatrix}, \quad
# dY X^\top = \begin{pmatrix}0&8&-2&12\\5&6&10&12\end{pmatrix}, \quad db = (2, 2)
# $$
#
# $$
# W^\top dY = \begin{pmatrix}1&-1&2&0\\2&-1&4&1\\3&-3&6&0\\4&-5&8&-1\end{pmatrix}
# \;\to\; dx = \begin{pmatrix}4&-3&-5\\4&0&1\\8&0&-1\end{pmatrix}
# $$
#
# 例如第一列 $(1,2,3,4)$ 属于左上角的窗口，其中三个数落在填充里，只有 $4$ 回到 $x_{00}$。

# %% [markdown] lang="en"
# ## Step two: on paper
# One $3\times 3$ image, a $2\times 2$ kernel, stride 2, padding 1, two output channels:
#
# $$
# x = \begin{pmatrix}1&2&3\\4&5&6\\7&8&9\end{pmatrix}, \quad
# w_0 = \begin{pmatrix}1&2\\3&4\end{pmatrix}, \quad
# w_1 = \begin{pmatrix}0&1\\0&-1\end{pmatrix}, \quad b = (0, 10)
# $$
#
# With its border of zeros the image is $5\times 5$ and has $2\times 2$ windows
# ($\lfloor(3+2-2)/2\rfloor+1=2$). Each window is a column, and each row of $W$ is an output
# channel:
#
# $$
# X = \begin{pmatrix}0&0&0&5\\0&0&4&6\\0&2&0&8\\1&3&7&9\end{pmatrix}, \quad
# W = \begin{pmatrix}1&2&3&4\\0&1&0&-1\end{pmatrix}, \quad
# WX + b = \begin{pmatrix}4&18&36&77\\9&7&7&7\end{pmatrix}
# $$
#
# Say $dY$ comes back. Then
#
# $$
# dY = \begin{pmatrix}1&-1&2&0\\0&1&0&1\end{pmatrix}, \quad
# dY X^\top = \begin{pmatrix}0&8&-2&12\\5&6&10&12\end{pmatrix}, \quad db = (2, 2)
# $$
#
# $$
# W^\top dY = \begin{pmatrix}1&-1&2&0\\2&-1&4&1\\3&-3&6&0\\4&-5&8&-1\end{pmatrix}
# \;\to\; dx = \begin{pmatrix}4&-3&-5\\4&0&1\\8&0&-1\end{pmatrix}
# $$
#
# The first column $(1,2,3,4)$, for example, belongs to the window at the top left. Three of its
# numbers lie in the padding; only the $4$ goes back to $x_{00}$.

# %%
x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
w = np.array([[1.0, 2, 3, 4], [0, 1, 0, -1]])  # [O, C kh kw]
b = np.array([0.0, 10])
padded = np.pad(x[0, 0], 1)
corners = [(0, 0), (0, 2), (2, 0), (2, 2)]  # of the windows, two apart
columns = np.stack([padded[p : p + 2, q : q + 2].ravel() for p, q in corners], axis=1)
y = w @ columns + b[:, None]
print(f"X =\n{columns}\nY =\n{y}")

dy = np.array([[1.0, -1, 2, 0], [0, 1, 0, 1]])
dw, db, dcolumns = dy @ columns.T, dy.sum(axis=1), w.T @ dy
dpadded = np.zeros_like(padded)
for (p, q), column in zip(corners, dcolumns.T, strict=True):
    dpadded[p : p + 2, q : q + 2] += column.reshape(2, 2)
dx = dpadded[1:4, 1:4]
print(f"dW =\n{dw}\ndb = {db}\ndX =\n{dcolumns}\ndx =\n{dx}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("Y", y, [[4, 18, 36, 77], [9, 7, 7, 7]], 0)
lessons.agree("dW", dw, [[0, 8, -2, 12], [5, 6, 10, 12]], 0)
lessons.agree("dx", dx, [[4, -3, -5], [4, 0, 1], [8, 0, -1]], 0)

kernels, gradient = w.reshape(2, 1, 2, 2), dy.reshape(1, 2, 2, 2)
loops = naive.conv2d_backward(gradient, x, kernels, stride=2, padding=1)
lessons.say("与循环的结果比较：", "Beside the loops:")
lessons.agree("Y", naive.conv2d(x, kernels, b, 2, 1).reshape(2, 4), y, 0)
lessons.agree("dx", loops[0][0, 0], dx, 0)
lessons.agree("dW", loops[1].reshape(2, 4), dw, 0)
lessons.agree("db", loops[2], db, 0)

# %% [markdown] lang="zh"
# ## 第三步：快的版本，与 torch 并排
# `scratch.Conv2d` 就是上面的矩阵乘法，只是窗口由 NumPy 的滑动窗口视图一次取出，而不是逐个切片。
# 随机数据，三个通道变四个，步长 2，填充 1：输出、$dx$、$dW$、$db$ 与 torch 的差都在舍入误差之内，
# 循环版本也一样。
#
# 多个输入通道并没有新东西：$X$ 的列更长，一个输出是所有通道之和；反过来，$dx$
# 的每个通道收到所有输出通道的梯度。

# %% [markdown] lang="en"
# ## Step three: the fast one, beside torch
# `scratch.Conv2d` is the matrix product above; it only takes all windows at once, through NumPy's
# sliding view, and not slice by slice. On random data, three channels to four, stride 2, padding
# 1: output, $dx$, $dW$ and $db$ differ from torch's by rounding only, and so do the loops'.
#
# More input channels bring nothing new. The columns of $X$ are longer, and an output is a sum
# over all channels; in return each channel of $dx$ gets gradients from all output channels.

# %%
rng = np.random.default_rng(0)
layer = scratch.Conv2d(3, 4, 3, stride=2, padding=1, rng=rng, dtype=np.float64)
peer = nn.Conv2d(3, 4, 3, stride=2, padding=1)
x = rng.standard_normal((2, 3, 9, 9))
lessons.say("与 torch 比较：", "Beside torch:")
y, dy, dx = lessons.beside(layer, peer, x)

lessons.say("与循环的结果比较：", "Beside the loops:")
slow = naive.conv2d(x, layer.weight.data, layer.bias.data, stride=2, padding=1)
slow_dx, slow_dw, slow_db = naive.conv2d_backward(dy, x, layer.weight.data, stride=2, padding=1)
lessons.agree("y", slow, y, 1e-10)
lessons.agree("dx", slow_dx, dx, 1e-10)
lessons.agree("dW", slow_dw, layer.weight.grad, 1e-10)
lessons.agree("db = sum of dy", slow_db, dy.sum(axis=(0, 2, 3)), 1e-10)

# %% [markdown] lang="zh"
# ## 卷积核看见什么
# 同一个层，权重不靠训练，而是手工填入：Sobel 算子，右边减左边，或下边减上边。颜色是输出的符号：
# 蓝正、红负（第一张是原图）。笔画由暗到亮的一侧与由亮到暗的一侧符号相反，没有笔画的地方是零。

# %% [markdown] lang="en"
# ## What a kernel sees
# The same layer, with weights that are not trained but filled in by hand: the Sobel operator,
# right minus left, or lower minus upper. Color is the sign of the output, blue above and red
# below zero (the first picture is the digit). Where a stroke begins and where it ends the signs
# are opposite; where there is no stroke the output is zero.

# %%
sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
edges = scratch.Conv2d(1, 2, 3, padding=1, bias=False, dtype=np.float64)
edges.load_state_dict({"weight": np.stack([sobel, sobel.T])[:, None]})
digit = mnist.load_test().inputs[0, :, :, 0] / 255
vertical, horizontal = edges(digit[None, None])[0]
print(f"digit {digit.shape}, edges {vertical.shape}")  # padding 1 keeps the size
background = np.abs(vertical[:4]).max() + np.abs(horizontal[:4]).max()
assert background == 0, "there is no stroke in the first rows"
assert vertical.min() < -2 < 2 < vertical.max(), "the two sides of a stroke have opposite signs"
figure = lessons.figure(6.4, 2.45)
for axes, (name, picture) in zip(
    figure.subplots(1, 3),
    {"digit": digit, "vertical edges": vertical, "horizontal edges": horizontal}.items(),
    strict=True,
):
    limits = {"vmin": 0, "vmax": 1} if name == "digit" else {"vmin": -4, "vmax": 4}
    axes.imshow(picture, cmap="gray" if name == "digit" else "RdBu", **limits)
    axes.set_title(name)
    axes.axis("off")
lessons.save(figure, "conv2d_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **输出大小差一。** 忘了取整或忘了加一。步长 2
#   时最后几行可能进不了任何窗口（上面补零后的第五行就没有用到），它们的梯度是零，不是错误。
# - **填充的梯度没有裁掉。** $dx$ 的形状变成补零后的形状。要用 `[P:P+H, P:P+W]` 裁回来。
# - **通道顺序错了。** 图像解码后是 $[N, H, W, C]$，层要 $[N, C, H, W]$。用
#   `transpose(0, 3, 1, 2)`；用 `reshape` 不报错，但像素全乱了。
# - **没有清零梯度。** `weight.grad` 会累加，第二次反向之后是两次之和。每一步之前调用
#   `zero_grad()`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **The output is one too large or too small.** The rounding or the $+1$ was forgotten. With a
#   stride of 2 the last rows may be in no window at all (above, the fifth row of the padded image
#   is unused); their gradient is zero, and that is no error.
# - **The padding's gradient is not cut off.** Then $dx$ has the shape of the padded image. Cut it
#   with `[P:P+H, P:P+W]`.
# - **The order of the channels is wrong.** A decoded image is $[N, H, W, C]$; the layer wants
#   $[N, C, H, W]$. Use `transpose(0, 3, 1, 2)`; a `reshape` raises no error but scrambles the
#   pixels.
# - **Gradients are not zeroed.** `weight.grad` accumulates; after a second backward pass it is
#   the sum of two. Call `zero_grad()` before each step.

# %% [markdown] lang="zh"
# ## 练习
# 1. $28\times 28$ 的图像，核 $5\times 5$，要让输出仍是 $28\times 28$（步长 1），填充取多少？
#    步长改为 2 呢，输出多大？
#
# <details markdown="1"><summary>答案</summary>
#
# $28 + 2P - 5 + 1 = 28$，$P = 2$。步长 2 时 $\lfloor(28+4-5)/2\rfloor + 1 = 14$。
#
# </details>
#
# 2. 把纸上的例子改成步长 1：`corners = [(p, q) for p in range(4) for q in range(4)]`，并令
#    `dy = np.ones((2, 16))`。运行前先想：$dx$ 的九个数会怎样？
#
# <details markdown="1"><summary>答案</summary>
#
# 窗口现在重叠，每个像素都恰好处在四个窗口里，各遇到核的一个位置，所以 $dx$
# 处处是两个核所有数之和：$(1+2+3+4) + (0+1+0-1) = 10$。（先删去与纸上的数以及与 `naive` 的比较，
# 它们仍按步长 2。）
#
# </details>
#
# 3. $1\times 1$ 的卷积核做什么？用 `scratch.Linear` 写出同样的计算并检验。
#
# <details markdown="1"><summary>答案</summary>
#
# 它在每个像素上对通道做一次全连接，像素之间互不相干：
#
# ```python
# point = scratch.Conv2d(3, 4, 1, rng=rng, dtype=np.float64)
# dense = scratch.Linear(3, 4, dtype=np.float64)
# dense.load_state_dict({"weight": point.weight.data[:, :, 0, 0], "bias": point.bias.data})
# pixels = dense(x.transpose(0, 2, 3, 1))  # channels last: [2, 9, 9, 4]
# lessons.agree("1 x 1", point(x), pixels.transpose(0, 3, 1, 2), 1e-10)
# ```
#
# Inception 块用它来减少通道数。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. For $28\times 28$ images and a $5\times 5$ kernel, which padding keeps the output at
#    $28\times 28$ (stride 1)? And how large is the output with a stride of 2?
#
# <details markdown="1"><summary>Answer</summary>
#
# $28 + 2P - 5 + 1 = 28$, so $P = 2$. With stride 2 it is $\lfloor(28+4-5)/2\rfloor + 1 = 14$.
#
# </details>
#
# 2. Change the example on paper to stride 1:
#    `corners = [(p, q) for p in range(4) for q in range(4)]`, with `dy = np.ones((2, 16))`. Think
#    before you run it: what will the nine numbers of $dx$ be?
#
# <details markdown="1"><summary>Answer</summary>
#
# The windows overlap now. Every pixel is in just four of them and meets each place of the kernel
# once, so $dx$ is everywhere the sum of both kernels: $(1+2+3+4) + (0+1+0-1) = 10$. (Delete the
# comparisons with the numbers on paper and with `naive` first; they keep to stride 2.)
#
# </details>
#
# 3. What does a $1\times 1$ kernel do? Write the same computation with `scratch.Linear`, and
#    check it.
#
# <details markdown="1"><summary>Answer</summary>
#
# At each pixel it is a linear layer over the channels; the pixels do not see each other:
#
# ```python
# point = scratch.Conv2d(3, 4, 1, rng=rng, dtype=np.float64)
# dense = scratch.Linear(3, 4, dtype=np.float64)
# dense.load_state_dict({"weight": point.weight.data[:, :, 0, 0], "bias": point.bias.data})
# pixels = dense(x.transpose(0, 2, 3, 1))  # channels last: [2, 9, 9, 4]
# lessons.agree("1 x 1", point(x), pixels.transpose(0, 3, 1, 2), 1e-10)
# ```
#
# An Inception block uses it to make the channels fewer.
#
# </details>
