"""张量与 NumPy · Tensors and NumPy

Code: zoo/network/pipeline.py
Picture: tensors.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 网络的输入、权重、梯度和输出都是张量：同一种数的多维数组。torch 的张量与 NumPy 的数组几乎一样，
# 多了两样东西：可以记录梯度，可以放到 GPU 上。读数据、画图用 NumPy，训练用 torch，
# 所以两者之间的转换每个程序里都有。
#
# 看一个张量，先看三件事：**形状**（`shape`）、**数的类型**（`dtype`）、
# 在哪个**设备**上（`device`）。多数报错都是这三样之一不符。
#
# ## 公式
#
# $[N, C, H, W]$ 的张量有 $N \cdot C \cdot H \cdot W$ 个数，在内存里排成一条。
# 下标为 $(n, c, h, w)$ 的数排在第
#
# $$
# ((n \cdot C + c) \cdot H + h) \cdot W + w
# $$
#
# 个（从 0 数起）。每一维向前一格在内存里跨过的距离叫步长（stride）：$(C H W,\ H W,\ W,\ 1)$。
# `reshape` 和转置常常只改形状和步长，不移动数据。
#
# ## 建立张量
#
# 从列表建立；按形状建立；按随机数建立。整数列表得到 int64，带小数点的列表得到 float32。

# %% [markdown] lang="en"
# ## Why
#
# The inputs, weights, gradients and outputs of a network are tensors: arrays of numbers of one
# kind, with any number of dimensions. Tensors of torch are almost the same as arrays of NumPy,
# with two additions: they can record gradients, and they can live on a GPU. NumPy reads data and
# draws pictures, torch trains, so every program converts between them.
#
# Of a tensor, look at three things first: its **shape**, the type of its numbers (**dtype**), and
# its **device**. Most errors say that one of the three does not fit.
#
# ## The formulas
#
# A tensor of shape $[N, C, H, W]$ has $N \cdot C \cdot H \cdot W$ numbers, which stand in memory
# in one row. The number with the index $(n, c, h, w)$ is at position
#
# $$
# ((n \cdot C + c) \cdot H + h) \cdot W + w
# $$
#
# counted from 0. How far one step along a dimension goes in memory is its stride:
# $(C H W,\ H W,\ W,\ 1)$. `reshape` and transposition often change only shape and strides and
# move no data.
#
# ## Create tensors
#
# From a list, of a shape, at random. A list of integers becomes int64; with decimal points it
# becomes float32.

# %%
import numpy as np
import torch

from zoo import lessons
from zoo.datasets import mnist
from zoo.network.pipeline import channels_first

torch.manual_seed(0)
for name, tensor in {
    "[[1, 2], [3, 4]]": torch.tensor([[1, 2], [3, 4]]),
    "[1.0, 2.0]": torch.tensor([1.0, 2.0]),
    "zeros(2, 3)": torch.zeros(2, 3),
    "arange(6)": torch.arange(6),
    "linspace(0, 1, 5)": torch.linspace(0, 1, 5),
    "rand(2, 3)": torch.rand(2, 3),
}.items():
    values = str(tensor.numpy().round(2)).replace("\n", "")
    print(f"{name:<18} {tuple(tensor.shape)!s:<7} {tensor.dtype}: {values}")

# %% [markdown] lang="zh"
# ## 形状与下标
#
# `reshape` 改变形状；`-1` 表示“其余的都在这一维”。下标与 NumPy 相同：`a[1]` 是一行，
# `a[:, 1]` 是一列，`None` 添一个长度为 1 的维，布尔张量选出满足条件的数。切片与原张量共享内存，
# 改一个，另一个也变。

# %% [markdown] lang="en"
# ## Shapes and indices
#
# `reshape` changes the shape; `-1` means all the rest. Indices work as in NumPy: `a[1]` is a row,
# `a[:, 1]` a column, `None` adds a dimension of size 1, and a tensor of booleans picks the
# numbers where it is true. A slice shares its memory with the tensor: change one, and the other
# changes.

# %%
a = torch.arange(12).reshape(3, 4)  # [3, 4]
print("a[1]    ", a[1].tolist())
print("a[:, 1] ", a[:, 1].tolist())
print("a[a > 8]", a[a > 8].tolist())
for name, view in {
    "a": a,
    "a.reshape(2, -1)": a.reshape(2, -1),
    "a.T": a.T,
    "a[:, ::2]": a[:, ::2],
    "a[:, None]": a[:, None],
}.items():
    print(f"{name:<17} shape {tuple(view.shape)!s:<10} stride {view.stride()}")
column = a[:, 1]
column[0] = 100
assert a[0, 1] == 100, "a slice shares its memory"
assert a.T.is_contiguous() is False

# %% [markdown] lang="zh"
# ## 与 NumPy 来回
#
# `torch.from_numpy` 和 `.numpy()` **共享**内存，不复制；`torch.tensor` 复制。共享很快，
# 但要记住改一处、两处都变。NumPy 的小数默认是 float64，网络的权重是 float32：
# 喂给网络之前先 `.float()`。

# %% [markdown] lang="en"
# ## To NumPy and back
#
# `torch.from_numpy` and `.numpy()` **share** memory and copy nothing; `torch.tensor` copies.
# Sharing is fast, but a change on one side is a change on both. NumPy's floats are float64 by
# default and a network's weights float32, so call `.float()` before you feed them to a network.

# %%
array = np.zeros(3)  # float64
shared, copied = torch.from_numpy(array), torch.tensor(array)
array[0] = 7
print(f"array[0] = 7: from_numpy {shared.tolist()}, torch.tensor {copied.tolist()}")
shared += 1
print(f"shared += 1: array {array.tolist()}")
assert array.tolist() == [8, 1, 1]
assert copied.tolist() == [0, 0, 0]

weight = torch.ones(2, requires_grad=True)
back = weight.detach().cpu().numpy()  # no graph, on the CPU, then NumPy
print("detach().cpu().numpy():", type(back).__name__, back.dtype)
print(f"{shared.dtype} -> .float() -> {shared.float().dtype}")

# %% [markdown] lang="zh"
# ## 一张图片
#
# NumPy 读出的图片是 `[N, H, W, C]`、uint8、0 到 255；torch 的卷积层要 `[N, C, H, W]`、float32。
# `permute` 换维的顺序，`float` 换类型；zoo 的 `channels_first` 就是这两步。最后用切片、翻转、
# 转置和比较各做一种变换，画出来，下面写着各自的形状。

# %% [markdown] lang="en"
# ## An image
#
# An image read by NumPy is `[N, H, W, C]`, uint8, from 0 to 255; torch's convolutions take
# `[N, C, H, W]`, float32. `permute` changes the order of the dimensions and `float` the type; the
# zoo's `channels_first` does these two steps. At last, a slice, a flip, a transposition and a
# comparison each change the image; the picture shows the results with their shapes.

# %%
digits = mnist.load_test().inputs[:4]  # uint8 [4, 28, 28, 1]
images = torch.from_numpy(digits).permute(0, 3, 1, 2).float()  # float32 [4, 1, 28, 28]
print(f"{digits.shape} {digits.dtype} -> {tuple(images.shape)} {images.dtype}")
lessons.agree("the zoo's channels_first", channels_first(torch.from_numpy(digits)), images, 0)
n, h, w = 3, 14, 12
lessons.agree(
    "position in memory", images.reshape(-1)[(n * 28 + h) * 28 + w], images[n, 0, h, w], 0
)

digit = images[0, 0]  # [28, 28]
changed = {
    "digit": digit,
    "digit[::2, ::2]": digit[::2, ::2],
    "digit.flip(1)": digit.flip(1),
    "digit.T": digit.T,
    "255 - digit": 255 - digit,
    "digit > 127": digit > 127,
}
figure = lessons.figure(8.4, 2.25)
for axes, (name, picture) in zip(figure.subplots(1, 6), changed.items(), strict=True):
    axes.imshow(picture.numpy(), cmap="gray")
    axes.set_title(name, fontsize=9)
    axes.set_xlabel(str(list(picture.shape)), fontsize=8)
    axes.set(xticks=[], yticks=[])
lessons.save(figure, "tensors.png")

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **`mat1 and mat2 must have the same dtype, but got Double and Float`**：一个是 float64，
#   一个是 float32。从 NumPy 来的那个加 `.float()`。
# - **`Can't call numpy() on Tensor that requires grad`**：先 `.detach()`；
#   在 GPU 上的还要先 `.cpu()`。
# - **用 `reshape` 代替 `permute`**：把 `[N, H, W, C]` `reshape` 成 `[N, C, H, W]` 不报错，
#   灰度图也看不出来，彩色图却成了一团乱：数没有跟着维走。
# - **`view size is not compatible`**：转置之后的张量在内存里不连续，`view` 做不到。用 `reshape`，
#   它在必要时复制。
#
# ## 练习
#
# 1. `torch.arange(24).reshape(2, 3, 4)` 的步长是多少？下标 `(1, 2, 3)` 的数是几？先算后试。
#
# <details markdown="1"><summary>答案</summary>
#
# 步长是 `(12, 4, 1)`；位置是 $(1 \cdot 3 + 2) \cdot 4 + 3 = 23$，数就是 23。
#
# </details>
#
# 2. 只用切片，把 `digit` 的中间 14 × 14 个像素取出来，再把原图的这一块改为 0。`images` 变了吗？
#
# <details markdown="1"><summary>答案</summary>
#
# `digit[7:21, 7:21]`；`digit[7:21, 7:21] = 0` 之后 `images[0, 0, 7:21, 7:21].sum()` 是 0，
# 因为 `digit` 是 `images` 的切片。`digits` 没有变：`.float()` 已经复制过一次。
#
# </details>
#
# 3. 把上面的 `permute(0, 3, 1, 2)` 改成 `reshape(4, 1, 28, 28)`。为什么结果相同？
#    什么时候就不同了？
#
# <details markdown="1"><summary>答案</summary>
#
# 只有一个通道，换维不改变数在内存里的次序，所以两种写法结果相同。有 3 个通道时，
# `torch.arange(12).reshape(1, 2, 2, 3)` 的 `permute` 得到第一个通道 `[[0, 3], [6, 9]]`，
# `reshape(1, 3, 2, 2)` 得到 `[[0, 1], [2, 3]]`。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **`mat1 and mat2 must have the same dtype, but got Double and Float`**: one is float64 and the
#   other float32. Add `.float()` to the one that comes from NumPy.
# - **`Can't call numpy() on Tensor that requires grad`**: call `.detach()` first, and on a GPU
#   `.cpu()` too.
# - **`reshape` instead of `permute`**: to `reshape` `[N, H, W, C]` into `[N, C, H, W]` fails
#   nowhere and does no harm to gray images, but scrambles colored ones: the numbers do not follow
#   their dimensions.
# - **`view size is not compatible`**: a transposed tensor is not contiguous in memory, and `view`
#   cannot do it. Use `reshape`, which copies where it must.
#
# ## Exercises
#
# 1. What are the strides of `torch.arange(24).reshape(2, 3, 4)`? Which number has the index
#    `(1, 2, 3)`? Compute first, then try.
#
# <details markdown="1"><summary>Answer</summary>
#
# The strides are `(12, 4, 1)`; the position is $(1 \cdot 3 + 2) \cdot 4 + 3 = 23$, and so is the
# number.
#
# </details>
#
# 2. Use slices alone to take the middle 14 × 14 pixels of `digit`, then set this part of the
#    image to 0. Did `images` change?
#
# <details markdown="1"><summary>Answer</summary>
#
# `digit[7:21, 7:21]`; after `digit[7:21, 7:21] = 0`, `images[0, 0, 7:21, 7:21].sum()` is 0,
# because `digit` is a slice of `images`. `digits` did not change: `.float()` has made a copy.
#
# </details>
#
# 3. Replace `permute(0, 3, 1, 2)` by `reshape(4, 1, 28, 28)`. Why is the result the same? When
#    would it not be?
#
# <details markdown="1"><summary>Answer</summary>
#
# With a single channel, the new order of the dimensions leaves the numbers in the same order in
# memory, so both are the same. With 3 channels they differ: for
# `torch.arange(12).reshape(1, 2, 2, 3)`, `permute` gives the first channel `[[0, 3], [6, 9]]`,
# and `reshape(1, 3, 2, 2)` gives `[[0, 1], [2, 3]]`.
#
# </details>
