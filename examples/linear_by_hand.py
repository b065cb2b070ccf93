"""手写全连接层 Linear · Linear by hand

Code: zoo/scratch/naive/linear.py, zoo/scratch/linear.py
Picture: linear_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 全连接层是最简单的有参数的层，也是其他层的样板：卷积展开成矩阵之后是它，循环网络的每一步是它，
# 注意力里的投影还是它。把它的反向传播弄清楚，后面大多只是换下标。
#
# 这一课从三重循环开始，在纸上算一个三行三列的例子，再看到三个循环就是三次矩阵乘法，最后用它一层在
# MNIST 上训练，看看权重长什么样。

# %% [markdown] lang="en"
# ## Why
# The linear layer is the simplest layer with parameters, and the pattern for the others: a
# convolution is one once its windows are written as a matrix, each step of a recurrent network is
# one, and so are the projections of attention. When its backward pass is clear, most of what
# follows is a change of indices.
#
# This lesson starts with three nested loops, works out an example of three rows and three columns
# on paper, finds that the three loops are three matrix products, and in the end trains this one
# layer on MNIST to see what its weights look like.

# %% [markdown] lang="zh"
# ## 公式
# 形状：$x\,[N, I]$，权重 $W\,[O, I]$，偏置 $b\,[O]$，输出 $y\,[N, O]$：
#
# $$
# y_{no} = \sum_{i} x_{ni} W_{oi} + b_o, \qquad y = xW^\top + b
# $$
#
# 已知 $dy = \partial L/\partial y\,[N, O]$。$x_{ni}$ 出现在第 $n$ 行的每个输出里，$W_{oi}$
# 出现在每一行的第 $o$ 个输出里，$b_o$ 也是；把各处的贡献相加：
#
# $$
# dx_{ni} = \sum_o dy_{no} W_{oi}, \qquad dW_{oi} = \sum_n dy_{no} x_{ni},
# \qquad db_o = \sum_n dy_{no}
# $$
#
# $$
# dx = dy\,W, \qquad dW = dy^\top x, \qquad db = \mathbf 1^\top dy
# $$
#
# 记不住就看形状：$dW$ 要与 $W$ 同为 $[O, I]$，手上只有 $dy\,[N, O]$ 和 $x\,[N, I]$，
# 能乘出来的只有 $dy^\top x$。

# %% [markdown] lang="en"
# ## The formulas
# Shapes: $x\,[N, I]$, weight $W\,[O, I]$, bias $b\,[O]$, output $y\,[N, O]$:
#
# $$
# y_{no} = \sum_{i} x_{ni} W_{oi} + b_o, \qquad y = xW^\top + b
# $$
#
# Given is $dy = \partial L/\partial y\,[N, O]$. $x_{ni}$ is in every output of row $n$; $W_{oi}$
# is in output $o$ of every row, and so is $b_o$. Add up what comes from all places:
#
# $$
# dx_{ni} = \sum_o dy_{no} W_{oi}, \qquad dW_{oi} = \sum_n dy_{no} x_{ni},
# \qquad db_o = \sum_n dy_{no}
# $$
#
# $$
# dx = dy\,W, \qquad dW = dy^\top x, \qquad db = \mathbf 1^\top dy
# $$
#
# If you cannot remember them, look at the shapes: $dW$ has to be $[O, I]$ as $W$ is; at hand are
# $dy\,[N, O]$ and $x\,[N, I]$, and the only product of the two with that shape is $dy^\top x$.

# %% [markdown] lang="zh"
# ## 第一步：用循环写
# 反向的循环与前向相同。前向里的每个乘积 $W_{oi} x_{ni}$，在反向里把 $dy_{no}$ 乘上另一个因子，
# 加到自己的梯度上。

# %% [markdown] lang="en"
# ## Step one: in plain loops
# The loops of backward are those of forward. For each product $W_{oi} x_{ni}$ of the forward
# pass, backward multiplies $dy_{no}$ with the one factor and adds it to the gradient of the
# other.

# %%
import inspect

import numpy as np
from torch import nn

from zoo import lessons, scratch
from zoo.datasets import mnist
from zoo.scratch import naive

print(inspect.getsource(naive.linear))
print(inspect.getsource(naive.linear_backward))

# %% [markdown] lang="zh"
# ## 第二步：在纸上
# 三行数据，三个输入，两个输出：
#
# $$
# x = \begin{pmatrix}1&0&-1\\2&1&0\\0&1&1\end{pmatrix}, \quad
# W = \begin{pmatrix}1&2&3\\4&5&6\end{pmatrix}, \quad b = (1, -1), \quad
# y = \begin{pmatrix}-1&-3\\5&12\\6&10\end{pmatrix}
# $$
#
# 例如 $y_{00} = 1\cdot1 + 0\cdot2 + (-1)\cdot3 + 1 = -1$。设
#
# $$
# dy = \begin{pmatrix}1&10\\0&1\\-1&0\end{pmatrix}
# $$
#
# $dx$ 的每一行是 $W$ 的两行按 $dy$ 加权：第一行 $1\cdot(1,2,3) + 10\cdot(4,5,6) = (41, 52, 63)$。
# $dW$ 的每一行是 $x$ 的三行按 $dy$ 的一列加权：第二行
# $10\cdot(1,0,-1) + 1\cdot(2,1,0) = (12, 1, -10)$。
#
# $$
# dx = \begin{pmatrix}41&52&63\\4&5&6\\-1&-2&-3\end{pmatrix}, \quad
# dW = \begin{pmatrix}1&-1&-2\\12&1&-10\end{pmatrix}, \quad db = (0, 11)
# $$

# %% [markdown] lang="en"
# ## Step two: on paper
# Three rows of data, three inputs, two outputs:
#
# $$
# x = \begin{pmatrix}1&0&-1\\2&1&0\\0&1&1\end{pmatrix}, \quad
# W = \begin{pmatrix}1&2&3\\4&5&6\end{pmatrix}, \quad b = (1, -1), \quad
# y = \begin{pmatrix}-1&-3\\5&12\\6&10\end{pmatrix}
# $$
#
# For example $y_{00} = 1\cdot1 + 0\cdot2 + (-1)\cdot3 + 1 = -1$. Let
#
# $$
# dy = \begin{pmatrix}1&10\\0&1\\-1&0\end{pmatrix}
# $$
#
# A row of $dx$ is the two rows of $W$ weighted by $dy$: the first is
# $1\cdot(1,2,3) + 10\cdot(4,5,6) = (41, 52, 63)$. A row of $dW$ is the three rows of $x$ weighted
# by a column of $dy$: the second is $10\cdot(1,0,-1) + 1\cdot(2,1,0) = (12, 1, -10)$.
#
# $$
# dx = \begin{pmatrix}41&52&63\\4&5&6\\-1&-2&-3\end{pmatrix}, \quad
# dW = \begin{pmatrix}1&-1&-2\\12&1&-10\end{pmatrix}, \quad db = (0, 11)
# $$

# %%
x = np.array([[1.0, 0, -1], [2, 1, 0], [0, 1, 1]])
w = np.array([[1.0, 2, 3], [4, 5, 6]])
b = np.array([1.0, -1])
dy = np.array([[1.0, 10], [0, 1], [-1, 0]])
y = naive.linear(x, w, b)
dx, dw, db = naive.linear_backward(dy, x, w)
print(f"y =\n{y}\ndx =\n{dx}\ndW =\n{dw}\ndb = {db}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("y", y, [[-1, -3], [5, 12], [6, 10]], 0)
lessons.agree("dx", dx, [[41, 52, 63], [4, 5, 6], [-1, -2, -3]], 0)
lessons.agree("dW", dw, [[1, -1, -2], [12, 1, -10]], 0)
lessons.agree("db", db, [0, 11], 0)
lessons.say("与矩阵乘法比较：", "Beside the matrix products:")
lessons.agree("y = x W^T + b", y, x @ w.T + b, 0)
lessons.agree("dx = dy W", dx, dy @ w, 0)
lessons.agree("dW = dy^T x", dw, dy.T @ x, 0)
outer = sum(np.outer(dy[n], x[n]) for n in range(3))  # one outer product for each row
lessons.agree("dW = sum of outer products", dw, outer, 0)

# %% [markdown] lang="zh"
# ## 第三步：快的版本，与 torch 并排
# `scratch.Linear` 只有这三行矩阵乘法。784 个输入，10 个输出，一批 32 行：与 torch、与循环都一致。

# %% [markdown] lang="en"
# ## Step three: the fast one, beside torch
# `scratch.Linear` is these three matrix products and no more. With 784 inputs, 10 outputs and a
# batch of 32 rows it agrees with torch and with the loops.

# %%
rng = np.random.default_rng(0)
layer = scratch.Linear(784, 10, rng=rng, dtype=np.float64)
x = rng.standard_normal((32, 784))
lessons.say("与 torch 比较：", "Beside torch:")
y, dy, dx = lessons.beside(layer, nn.Linear(784, 10), x)
lessons.say("与循环的结果比较：", "Beside the loops:")
lessons.agree("y", naive.linear(x, layer.weight.data, layer.bias.data), y, 1e-10)
slow_dx, slow_dw, slow_db = naive.linear_backward(dy, x, layer.weight.data)
lessons.agree("dx", slow_dx, dx, 1e-10)
lessons.agree("dW", slow_dw, layer.weight.grad, 1e-10)
lessons.agree("db", slow_db, layer.bias.grad, 1e-10)

# %% [markdown] lang="zh"
# ## 只用这一层：MNIST
# 一个全连接层加交叉熵就是 softmax 回归。像素缩放到 0 到 1，SGD 走 300 步，批次 64。
# 测试准确率接近九成，而权重的每一行可以还原成一张 $28\times28$ 的图：蓝色的像素给这个数字加分，
# 红色的减分。数字 0 的中央是红的，那里有笔画就不像 0。

# %% [markdown] lang="en"
# ## This layer alone: MNIST
# One linear layer and cross-entropy are softmax regression. Pixels from 0 to 1, 300 steps of SGD,
# batches of 64. The test accuracy comes close to 90%, and each row of the weight can be shown as
# an image of $28\times28$: blue pixels count for the digit, red ones against it. The middle of
# the 0 is red: a stroke there speaks against a 0.

# %%
data = mnist.load()
layer = scratch.Linear(784, 10, rng=rng)
criterion, optimizer = scratch.CrossEntropyLoss(), scratch.SGD(layer.parameters(), lr=0.1)
order = rng.permutation(len(data.train.inputs))
for step in range(300):
    rows = order[64 * step : 64 * (step + 1)]
    pixels = (data.train.inputs[rows].reshape(64, 784) / 255).astype(np.float32)
    optimizer.zero_grad()
    loss = criterion(layer(pixels), data.train.targets[rows])
    layer.accumulate(criterion.backward())
    optimizer.step()
pixels = (data.test.inputs.reshape(-1, 784) / 255).astype(np.float32)
accuracy = (layer(pixels).argmax(axis=1) == data.test.targets).mean()
print(f"test accuracy: {accuracy:.1%}")
assert accuracy > 0.86
images = layer.weight.data.reshape(10, 28, 28)
print(f"middle of the 0: {images[0, 12:16, 12:16].mean():.2f}")
assert images[0, 12:16, 12:16].mean() < 0

figure = lessons.figure(6.4, 2.9)
for digit, axes in enumerate(figure.subplots(2, 5).ravel()):
    axes.imshow(images[digit], cmap="RdBu", vmin=-0.4, vmax=0.4)
    axes.set_title(f"W[{digit}]", fontsize=9)
    axes.axis("off")
lessons.save(figure, "linear_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **漏了转置。** torch 的权重是 $[O, I]$，前向要 `x @ W.T`。$I = O$ 时漏了也不报错，结果却错了；
#   测试时让 $N$、$I$、$O$ 互不相同。
# - **偏置梯度没有沿批次求和。** $db$ 的形状应为 $[O]$，而不是 $[N, O]$。
# - **`=` 而不是 `+=`。** 同一层用两次（或两次反向）时，后一次把前一次的梯度抹掉。torch 是累加的，
#   所以才有 `zero_grad()`。
# - **除了两次 $N$。** 损失已经取了平均，$dW = dy^\top x$ 就不要再除。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **A missing transpose.** torch's weight is $[O, I]$, and forward is `x @ W.T`. With $I = O$
#   nothing complains, and the result is wrong; test with $N$, $I$ and $O$ all different.
# - **The bias's gradient is not summed over the batch.** $db$ has shape $[O]$, not $[N, O]$.
# - **`=` instead of `+=`.** When a layer is used twice (or goes backward twice), the second
#   gradient erases the first. torch accumulates, and that is why there is a `zero_grad()`.
# - **Divided by $N$ twice.** The loss is a mean already; $dW = dy^\top x$ is not to be divided
#   again.

# %% [markdown] lang="zh"
# ## 练习
# 1. 纸上的例子里把 $dy$ 的第二行改成 $(0, 0)$。$dx$、$dW$、$db$ 哪些变了？
#
# <details markdown="1"><summary>答案</summary>
#
# $dx$ 的第二行变成 0；$dW$ 的第二行变成 $10\cdot(1,0,-1) = (10, 0, -10)$；$db = (0, 10)$。$dW$
# 的第一行不变，因为 $dy_{10}$ 本来就是 0。
#
# </details>
#
# 2. 把一批数据的每一行重复一次（`x` 与 `dy` 各变成两倍长）。$dW$ 怎样变？如果损失取平均呢？
#
# <details markdown="1"><summary>答案</summary>
#
# $dW = dy^\top x$ 变成两倍：每一行各贡献一次。损失取平均时 $dy$ 里的 $1/N$ 减半，$dW$ 不变。
#
# </details>
#
# 3. 把训练的学习率从 0.1 改成 0.001，准确率大约多少？再把 300 步改成 600 步，仍用 0.1 呢？
#
# <details markdown="1"><summary>答案</summary>
#
# 0.001：57.1%，三百步远远不够走到谷底；600 步：90.3%，比 300 步的 89.3% 多一点。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. In the example on paper change the second row of $dy$ to $(0, 0)$. What changes in $dx$, $dW$
#    and $db$?
#
# <details markdown="1"><summary>Answer</summary>
#
# The second row of $dx$ becomes 0; the second row of $dW$ becomes
# $10\cdot(1,0,-1) = (10, 0, -10)$; $db = (0, 10)$. The first row of $dW$ stays, since $dy_{10}$
# was 0 before.
#
# </details>
#
# 2. Repeat each row of a batch (`x` and `dy` become twice as long). What happens to $dW$? And if
#    the loss is a mean?
#
# <details markdown="1"><summary>Answer</summary>
#
# $dW = dy^\top x$ doubles: each row contributes once. When the loss is a mean, the $1/N$ in $dy$
# halves, and $dW$ stays as it was.
#
# </details>
#
# 3. Change the learning rate of the training from 0.1 to 0.001. What is the accuracy now? And
#    with 0.1 again, but 600 steps in place of 300?
#
# <details markdown="1"><summary>Answer</summary>
#
# With 0.001 it is 57.1%: three hundred steps that small are far from enough. With 600 steps it is
# 90.3%, a little more than the 89.3% after 300.
#
# </details>
