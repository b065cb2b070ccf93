"""卷积层的前向与反向 · The convolution layer, forward and backward

Code: zoo/scratch/naive/conv.py, zoo/scratch/conv.py
Picture: convolution_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 卷积层的前向计算不难：卷积核在图像上滑动，对应位置相乘再相加。难的是反向：卷积核只有四个数，
# 却被用了很多次；一个像素也同时参与好几个输出。它们的梯度怎么算？
#
# 这一课用 $3\times 3$ 的图像和 $2\times 2$ 的卷积核把两个方向都算一遍，小到可以在纸上验算。
# 你会看到：前向、$\partial L/\partial W$、$\partial L/\partial x$ 三个计算全都是卷积，
# 最后一个用的是旋转了 $180^\circ$ 的卷积核，而且要在 `dy` 四周补零（full convolution，
# “全卷积”）。批次、通道、步长和填充留给下一课 `conv2d_by_hand`。

# %% [markdown] lang="en"
# ## Why
# The forward pass of a convolution layer is easy: the kernel slides over the image; multiply what
# lies on top of each other, and add. Backward is the hard direction: the kernel has four numbers
# only, but each of them is used many times, and a pixel takes part in several outputs at once.
# What are their gradients?
#
# This lesson works both directions out for a $3\times 3$ image and a $2\times 2$ kernel, small
# enough to check on paper. You will see that the forward pass, $\partial L/\partial W$ and
# $\partial L/\partial x$ are all convolutions; the last one takes the kernel rotated by
# $180^\circ$ and pads `dy` with zeros on all sides (a "full" convolution). Batches, channels,
# strides and padding follow in the next lesson, `conv2d_by_hand`.

# %% [markdown] lang="zh"
# ## 公式
# 图像 $x$ 形状 $[3, 3]$，卷积核 $W$ 形状 $[2, 2]$，偏置 $b$ 是一个数，输出 $y$ 形状 $[2, 2]$：
#
# $$
# y_{pq} = b + \sum_{i=0}^{1}\sum_{j=0}^{1} W_{ij}\, x_{p+i,\,q+j}
# $$
#
# 设损失为 $L$，后一层传回 $dy = \partial L/\partial y$，形状与 $y$ 相同。$W_{ij}$ 出现在每个
# $y_{pq}$ 里，系数是 $x_{p+i,q+j}$；由链式法则，把所有出现之处加起来：
#
# $$
# dW_{ij} = \sum_{p,q} dy_{pq}\, x_{p+i,\,q+j}, \qquad db = \sum_{p,q} dy_{pq}
# $$
#
# 这与前向的公式一模一样，只是 $dy$ 当了卷积核。再看像素 $x_{uv}$：当 $p+i=u$、$q+j=v$ 时它乘的是
# $W_{ij}$，所以
#
# $$
# dx_{uv} = \sum_{p,q} dy_{pq}\, W_{u-p,\,v-q}
# $$
#
# $p$ 增大时 $W$ 的下标减小，方向相反：这就是卷积核要翻转的原因。下标超出 $W$ 的项为零，相当于先给
# $dy$ 四周各补一圈零，再与旋转 $180^\circ$ 的 $W$ 做前向那样的滑动。

# %% [markdown] lang="en"
# ## The formulas
# The image $x$ has shape $[3, 3]$, the kernel $W$ has shape $[2, 2]$, the bias $b$ is one number,
# and the output $y$ has shape $[2, 2]$:
#
# $$
# y_{pq} = b + \sum_{i=0}^{1}\sum_{j=0}^{1} W_{ij}\, x_{p+i,\,q+j}
# $$
#
# Let $L$ be the loss. The layer behind passes back $dy = \partial L/\partial y$, in the shape of
# $y$. $W_{ij}$ is in every $y_{pq}$, with the factor $x_{p+i,q+j}$; the chain rule adds up all
# these places:
#
# $$
# dW_{ij} = \sum_{p,q} dy_{pq}\, x_{p+i,\,q+j}, \qquad db = \sum_{p,q} dy_{pq}
# $$
#
# This is the formula of the forward pass again, with $dy$ as the kernel. Now the pixel $x_{uv}$:
# where $p+i=u$ and $q+j=v$, it is multiplied by $W_{ij}$, so
#
# $$
# dx_{uv} = \sum_{p,q} dy_{pq}\, W_{u-p,\,v-q}
# $$
#
# As $p$ grows, the index into $W$ falls: the two run in opposite directions, and that is why the
# kernel is flipped. Terms whose index lies outside $W$ are zero. This is the same as padding $dy$
# with a border of zeros and sliding $W$, rotated by $180^\circ$, over it as in the forward pass.

# %% [markdown] lang="zh"
# ## 前向：两层循环
# 先写最朴素的版本。`slide` 让卷积核走遍每个位置，取出窗口，逐个相乘再相加。
#
# 在纸上，左上角的输出是 $1\cdot 1 + 2\cdot 2 + 3\cdot 4 + 4\cdot 5 = 37$，其余三个是
# $47$、$67$、$77$。（深度学习里的“卷积”不翻转卷积核，数学上叫互相关。）

# %% [markdown] lang="en"
# ## Forward: plain loops
# The plainest version first. `slide` moves the kernel to every position, takes the window there,
# multiplies number by number, and adds.
#
# On paper the output at the top left is $1\cdot 1 + 2\cdot 2 + 3\cdot 4 + 4\cdot 5 = 37$, and the
# other three are $47$, $67$ and $77$. (What deep learning calls convolution does not flip the
# kernel in the forward pass; mathematics calls it cross-correlation.)

# %%
import numpy as np
from torch import nn

from zoo import lessons, scratch
from zoo.scratch import naive

x = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
w = np.array([[1.0, 2], [3, 4]])


def slide(image, kernel):
    """Slide the kernel over the image; at each position multiply and add."""
    height, width = image.shape[0] - kernel.shape[0] + 1, image.shape[1] - kernel.shape[1] + 1
    y = np.zeros((height, width))
    for p in range(height):
        for q in range(width):
            for i in range(kernel.shape[0]):
                for j in range(kernel.shape[1]):
                    y[p, q] += kernel[i, j] * image[p + i, q + j]
    return y


y = slide(x, w)
print(f"y =\n{y}")
lessons.say("与纸上的数比较：", "Beside the numbers on paper:")
lessons.agree("y", y, [[37, 47], [67, 77]], 0)

# %% [markdown] lang="zh"
# ## dW 与 db：把 dy 当作卷积核
# 假设后一层传回的梯度是
#
# $$
# dy = \begin{pmatrix} 1 & -1 \\ 2 & 0 \end{pmatrix}
# $$
#
# $W_{00}$ 依次乘过 $x$ 左上角的四个数 $1, 2, 4, 5$，所以
#
# $$
# dW_{00} = 1\cdot 1 + (-1)\cdot 2 + 2\cdot 4 + 0\cdot 5 = 7
# $$
#
# 同理 $dW_{01} = 2 - 3 + 10 = 9$，$dW_{10} = 4 - 5 + 14 = 13$，$dW_{11} = 5 - 6 + 16 = 15$。
# 偏置加在每个输出上，$db = 1 - 1 + 2 + 0 = 2$。

# %% [markdown] lang="en"
# ## dW and db: dy is the kernel
# Say the layer behind passes back
#
# $$
# dy = \begin{pmatrix} 1 & -1 \\ 2 & 0 \end{pmatrix}
# $$
#
# $W_{00}$ was multiplied in turn by the four numbers at the top left of $x$, $1, 2, 4, 5$, so
#
# $$
# dW_{00} = 1\cdot 1 + (-1)\cdot 2 + 2\cdot 4 + 0\cdot 5 = 7
# $$
#
# In the same way $dW_{01} = 2 - 3 + 10 = 9$, $dW_{10} = 4 - 5 + 14 = 13$ and
# $dW_{11} = 5 - 6 + 16 = 15$. The bias is added to every output, so $db = 1 - 1 + 2 + 0 = 2$.

# %%
dy = np.array([[1.0, -1], [2, 0]])
dw, db = slide(x, dy), dy.sum()
print(f"dW =\n{dw}\ndb = {db}")
lessons.agree("dW", dw, [[7, 9], [13, 15]], 0)

# %% [markdown] lang="zh"
# ## dx：先撒出去，再看成卷积
# 第一种算法直接照着前向走：每个 $dy_{pq}$ 乘上整个卷积核，撒回它来自的窗口，重叠处相加。
#
# $$
# dx = 1\begin{pmatrix}1&2&0\\3&4&0\\0&0&0\end{pmatrix}
# {} - 1\begin{pmatrix}0&1&2\\0&3&4\\0&0&0\end{pmatrix}
# {} + 2\begin{pmatrix}0&0&0\\1&2&0\\3&4&0\end{pmatrix}
# = \begin{pmatrix}1&1&-2\\5&5&-4\\6&8&0\end{pmatrix}
# $$
#
# 第二种算法站在像素的角度：补零后的 $dy$ 与翻转的卷积核滑动相乘。以正中间的像素为例：
#
# $$
# dx_{11} = 4\cdot 1 + 3\cdot(-1) + 2\cdot 2 + 1\cdot 0 = 5
# $$
#
# 两种算法的结果必须相同。如果忘了翻转，得到的是另一组数。

# %% [markdown] lang="en"
# ## dx: scatter first, then see the convolution
# The first way follows the forward pass: each $dy_{pq}$ times the whole kernel goes back to the
# window it came from, and where windows overlap the numbers add up.
#
# $$
# dx = 1\begin{pmatrix}1&2&0\\3&4&0\\0&0&0\end{pmatrix}
# {} - 1\begin{pmatrix}0&1&2\\0&3&4\\0&0&0\end{pmatrix}
# {} + 2\begin{pmatrix}0&0&0\\1&2&0\\3&4&0\end{pmatrix}
# = \begin{pmatrix}1&1&-2\\5&5&-4\\6&8&0\end{pmatrix}
# $$
#
# The second way takes the pixel's point of view: slide the flipped kernel over the padded $dy$.
# For the pixel in the middle,
#
# $$
# dx_{11} = 4\cdot 1 + 3\cdot(-1) + 2\cdot 2 + 1\cdot 0 = 5
# $$
#
# Both ways must give the same numbers. Without the flip the numbers are others.

# %%
scattered = np.zeros_like(x)
for p in range(2):
    for q in range(2):
        scattered[p : p + 2, q : q + 2] += dy[p, q] * w  # windows overlap: +=, not =
flipped = w[::-1, ::-1]  # rotated by 180 degrees
padded = np.pad(dy, 1)  # kernel size - 1 zeros on each side
dx = slide(padded, flipped)
print(f"padded dy =\n{padded}\nflipped W =\n{flipped}\ndx =\n{dx}")
lessons.agree("dx", dx, [[1, 1, -2], [5, 5, -4], [6, 8, 0]], 0)
lessons.say("撒回窗口，与全卷积比较：", "Scattered, beside the full convolution:")
lessons.agree("dx", scattered, dx, 0)
wrong = slide(padded, w)
lessons.say("不翻转卷积核，结果是错的：", "Without the flip the result is wrong:")
print(wrong)
assert not np.allclose(wrong, dx)

# %% [markdown] lang="zh"
# ## 不靠公式的检验：数值梯度
# 公式推错了怎么发现？让一个数动一点点，看损失变多少。取 $L = \sum_{pq} dy_{pq}\,y_{pq}$，它对 $y$
# 的梯度正好是 $dy$，于是
#
# $$
# \frac{\partial L}{\partial x_{uv}} \approx \frac{L(x_{uv}+h) - L(x_{uv}-h)}{2h}
# $$
#
# 这个检验对任何层都适用，慢，但不会犯你推导时犯的错。

# %% [markdown] lang="en"
# ## A check without the formula: the numeric gradient
# How does one find out that a formula is wrong? Move one number by a little, and look at what the
# loss does. With $L = \sum_{pq} dy_{pq}\,y_{pq}$ the gradient with respect to $y$ is just $dy$,
# so
#
# $$
# \frac{\partial L}{\partial x_{uv}} \approx \frac{L(x_{uv}+h) - L(x_{uv}-h)}{2h}
# $$
#
# This check works for every layer. It is slow, but it cannot repeat a mistake in your derivation.


# %%
def numeric(array, h=1e-3):
    """Return dL/d(array) by central differences; moves each number and puts it back."""
    gradient = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        before = array[place]
        array[place] = before + h
        above = (dy * slide(x, w)).sum()
        array[place] = before - h
        below = (dy * slide(x, w)).sum()
        array[place] = before
        gradient[place] = (above - below) / (2 * h)
    return gradient


lessons.say("与数值梯度比较：", "Beside the numeric gradient:")
lessons.agree("dx", dx, numeric(x), 1e-9)
lessons.agree("dW", dw, numeric(w), 1e-9)

# %% [markdown] lang="zh"
# ## 同样的计算，三种写法
# `naive.conv2d` 是上面循环的完整版（带批次和通道，形状 $[N, C, H, W]$）；`scratch.Conv2d`
# 把窗口排成矩阵的列，一次矩阵乘法做完（im2col）；`nn.Conv2d` 是 torch 的实现。
# 三者在同一个例子上给出同样的数。

# %% [markdown] lang="en"
# ## One computation, written three times
# `naive.conv2d` is the loop above in full, with batch and channels, for shapes $[N, C, H, W]$.
# `scratch.Conv2d` writes the windows as the columns of a matrix and does all of it in one matrix
# product (im2col). `nn.Conv2d` is torch's own. On one example all three give the same numbers.

# %%
images, kernels = x[None, None], w[None, None]  # [1, 1, 3, 3] and [1, 1, 2, 2]
naive_dx, naive_dw, naive_db = naive.conv2d_backward(dy[None, None], images, kernels)
lessons.say("带批次和通道的循环：", "The loops with batch and channels:")
lessons.agree("y", naive.conv2d(images, kernels, np.zeros(1))[0, 0], y, 0)
lessons.agree("dx", naive_dx[0, 0], dx, 0)
lessons.agree("dW", naive_dw[0, 0], dw, 0)
lessons.agree("db", naive_db, [db], 0)

layer, peer = scratch.Conv2d(1, 1, 2, dtype=np.float64), nn.Conv2d(1, 1, 2)
layer.load_state_dict({"weight": kernels, "bias": np.zeros(1)})
lessons.say("zoo.scratch 的矩阵乘法：", "The matrix product of zoo.scratch:")
lessons.agree("y", layer(images)[0, 0], y, 0)
lessons.agree("dx", layer.backward(dy[None, None])[0, 0], dx, 0)
layer.weight.grad = layer.bias.grad = None  # forget them: gradients add up
lessons.say("与 torch 比较，dy 是随机数：", "Beside torch, with a random dy:")
lessons.beside(layer, peer, images)

# %% [markdown] lang="zh"
# ## 一张图
# 三行是三个卷积：$y = x * W$，$dW = x * dy$，$dx = \mathrm{pad}(dy) * \mathrm{flip}(W)$。
# 橙色是算出橙色结果的那个窗口。

# %% [markdown] lang="en"
# ## One picture
# The three rows are the three convolutions: $y = x * W$, $dW = x * dy$ and
# $dx = \mathrm{pad}(dy) * \mathrm{flip}(W)$. The orange window gives the orange result.


# %%
def draw(axes, name, numbers, orange):
    """Draw a matrix as a table with its numbers; `orange` is a pair of slices."""
    colors = np.ones((*numbers.shape, 3))
    colors[orange] = (0.97, 0.80, 0.65)
    axes.imshow(colors)
    for (row, column), number in np.ndenumerate(numbers):
        axes.text(column, row, f"{number:g}", ha="center", va="center")
    axes.set_xticks(np.arange(-0.5, numbers.shape[1]), [])
    axes.set_yticks(np.arange(-0.5, numbers.shape[0]), [])
    axes.grid(color="0.6")
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_title(name, fontsize=10)


rows = [
    [("image x", x), ("kernel W", w), ("y", y)],
    [("image x", x), ("dy as the kernel", dy), ("dW", dw)],
    [("dy, padded with zeros", padded), ("W flipped", flipped), ("dx", dx)],
]
figure = lessons.figure(6.4, 6.0)
for tables, row in zip(figure.subplots(3, 3), rows, strict=True):
    window = (slice(1, 3), slice(1, 3))
    result = (slice(1, 2), slice(1, 2))
    for axes, (name, numbers), orange in zip(tables, row, (window, ..., result), strict=True):
        draw(axes, name, numbers, orange)
lessons.save(figure, "convolution_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - **反向时没有翻转卷积核。** 如果卷积核恰好中心对称（如均值滤波），测试会通过，换一个就错；
#   训练时损失仍可能下降，只是慢。用不对称的卷积核测试，并与数值梯度比较。
# - **撒回窗口时写成 `=`。** 重叠的窗口互相覆盖，$dx$ 只剩最后写入的那份。要用 `+=`。
# - **偏置的梯度没有对所有位置求和。** 形状 $[2,2]$ 的 $dy$ 被当成 $db$，或者只取了一个位置。
#   偏置加了几次，梯度就要加几次。
# - **在反向之前改动了 $x$。** $dW$ 要用前向时的 $x$；就地修改（如 `x *= 0.5`）之后算出的 $dW$
#   是错的，而且没有任何报错。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **The kernel is not flipped in backward.** With a kernel that is symmetric about its center (a
#   mean filter, say) the test passes, with another it fails; in training the loss may still fall,
#   only slowly. Test with an asymmetric kernel, and compare with the numeric gradient.
# - **`=` where the windows are written back.** Overlapping windows overwrite each other, and only
#   the last share of $dx$ is left. Write `+=`.
# - **The bias's gradient is not summed over all positions.** A $dy$ of shape $[2,2]$ is taken for
#   $db$, or just one place of it. A bias that is added four times gets the sum of four gradients.
# - **$x$ is changed before backward.** $dW$ needs the $x$ of the forward pass; after a change in
#   place (`x *= 0.5`) the computed $dW$ is wrong, and nothing complains.

# %% [markdown] lang="zh"
# ## 练习
# 1. 把 `dy` 改成全 1，先在纸上算 $dW$ 和 $dx$，再运行。$dx$
#    正中间的数为什么正好是卷积核所有数之和？
#
# <details markdown="1"><summary>答案</summary>
#
# $dW$ 是 $x$ 的四个窗口之和：$\begin{pmatrix}12&16\\24&28\end{pmatrix}$；
# $dx = \begin{pmatrix}1&3&2\\4&10&6\\3&7&4\end{pmatrix}$。中间的像素出现在全部四个窗口里，
# 依次遇到卷积核的每一个数，$1+2+3+4=10$；角上的像素只出现一次。（两处
# `lessons.agree(... on paper ...)` 会报错，因为纸上的数是原来那个 `dy` 的。）
#
# </details>
#
# 2. 卷积核换成 `w = np.array([[1.0, 2], [2, 1]])`，不翻转的 `wrong` 会怎样？
#
# <details markdown="1"><summary>答案</summary>
#
# 它与 `dx` 相同，`assert not np.allclose(wrong, dx)` 报错：这个卷积核旋转 $180^\circ$ 不变。
# 所以用对称的卷积核测试发现不了忘记翻转的错误。（要先删去几处与纸上的数的比较。）
#
# </details>
#
# 3. 图像换成 $4\times 4$，步长为 2。$dy$ 仍是 $2\times 2$，
#    要先做什么才能继续用“补零、翻转、滑动”？写出代码并用 `naive.conv2d_backward(..., stride=2)`
#    检验。
#
# <details markdown="1"><summary>答案</summary>
#
# 步长 2 等于先算步长 1 的全部输出（$3\times 3$），再每隔一个取一个；没取的输出梯度为零。
# 因此在 $dy$ 的数之间插零：
#
# ```python
# spread = np.zeros((3, 3))
# spread[::2, ::2] = dy
# dx = slide(np.pad(spread, 1), w[::-1, ::-1])  # [4, 4]
# image = np.arange(16.0).reshape(1, 1, 4, 4)
# same, _, _ = naive.conv2d_backward(dy[None, None], image, w[None, None], stride=2)
# lessons.agree("stride 2", dx, same[0, 0], 0)
# ```
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Set `dy` to all ones; work out $dW$ and $dx$ on paper, then run it. Why is the number in the
#    middle of $dx$ just the sum of the kernel?
#
# <details markdown="1"><summary>Answer</summary>
#
# $dW$ is the sum of the four windows of $x$: $\begin{pmatrix}12&16\\24&28\end{pmatrix}$;
# $dx = \begin{pmatrix}1&3&2\\4&10&6\\3&7&4\end{pmatrix}$. The pixel in the middle is in all
# four windows and meets every number of the kernel once, $1+2+3+4=10$; a pixel in a corner is
# in one window only. (The comparisons with the numbers on paper fail now: those
# belong to the first `dy`.)
#
# </details>
#
# 2. Take the kernel `w = np.array([[1.0, 2], [2, 1]])`. What happens to `wrong`, which is not
#    flipped?
#
# <details markdown="1"><summary>Answer</summary>
#
# It equals `dx`, and `assert not np.allclose(wrong, dx)` fails: this kernel does not change
# when it is rotated by $180^\circ$. A test with a symmetric kernel cannot find a forgotten
# flip. (Delete the comparisons with the numbers on paper first.)
#
# </details>
#
# 3. Take a $4\times 4$ image and a stride of 2. $dy$ is $2\times 2$ still. What has to be done
#    first, so that "pad, flip, slide" works again? Write the code, and check it with
#    `naive.conv2d_backward(..., stride=2)`.
#
# <details markdown="1"><summary>Answer</summary>
#
# A stride of 2 means: compute all outputs of stride 1 ($3\times 3$), and take every other
# one. The gradients of those that are not taken are zero. So put zeros between the numbers of
# $dy$:
#
# ```python
# spread = np.zeros((3, 3))
# spread[::2, ::2] = dy
# dx = slide(np.pad(spread, 1), w[::-1, ::-1])  # [4, 4]
# image = np.arange(16.0).reshape(1, 1, 4, 4)
# same, _, _ = naive.conv2d_backward(dy[None, None], image, w[None, None], stride=2)
# lessons.agree("stride 2", dx, same[0, 0], 0)
# ```
#
# </details>
