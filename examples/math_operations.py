"""数学运算 · Math operations

Code: zoo/evaluation/metrics.py
Picture: math_operations.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 网络里的计算只有几类：逐元素的加减乘除和函数、矩阵乘法、沿某一维的求和与取最大值。
# 认清每一类的形状规则，后面的课就只是把它们组合起来。张量的写法与 NumPy 几乎一样，
# 下面每一种都与 NumPy 对照。
#
# ## 公式
#
# 矩阵乘法，$A$ 是 $[n, k]$，$B$ 是 $[k, m]$，结果是 $[n, m]$：
#
# $$
# (A B)_{ij} = \sum_{l=1}^{k} A_{il} B_{lj}
# $$
#
# **广播**：形状不同的两个张量相加时，从最后一维往前对齐；每一维要么相同，
# 要么其中一个是 1（或者没有），长度为 1 的那个被重复。例如 $[3, 1] + [4] \to [3, 4]$。
#
# softmax 把一行 $K$ 个 logit 变成概率，交叉熵取正确类别的概率的负对数。后一种写法不必先算概率，
# 只要 logit：
#
# $$
# p_k = \frac{e^{z_k}}{\sum_{j=1}^{K} e^{z_j}}, \qquad L = -\ln p_y =
# \ln \sum_{j=1}^{K} e^{z_j} - z_y
# $$
#
# ## 逐元素运算与矩阵乘法
#
# `*` 是逐元素相乘，`@` 是矩阵乘法。函数（`exp`、`log`、`sqrt` 等）也是逐元素的。
# 线性层就是一次矩阵乘法：torch 把权重存成 $[\text{输出}, \text{输入}]$，所以要转置，
# 32 行 30 列乘以转置后的 $[30, 8]$，得到 $[32, 8]$。

# %% [markdown] lang="en"
# ## Why
#
# The computations of a network are of a few kinds: arithmetic and functions element by element,
# the matrix product, and sums or maxima along a dimension. Learn the shape rule of each, and the
# later lessons only combine them. Tensors are written almost like NumPy's arrays, and everything
# below is compared with NumPy.
#
# ## The formulas
#
# The matrix product of $A$, $[n, k]$, and $B$, $[k, m]$, is $[n, m]$:
#
# $$
# (A B)_{ij} = \sum_{l=1}^{k} A_{il} B_{lj}
# $$
#
# **Broadcasting**: when two tensors of different shapes are added, their shapes are aligned at
# the last dimension; in each dimension the sizes must be equal, or one of them 1 (or missing),
# and the tensor with size 1 is repeated. For example $[3, 1] + [4] \to [3, 4]$.
#
# The softmax turns a row of $K$ logits into probabilities, and the cross-entropy is minus the
# logarithm of the probability of the right class. Its second form needs no probabilities, only
# logits:
#
# $$
# p_k = \frac{e^{z_k}}{\sum_{j=1}^{K} e^{z_j}}, \qquad L = -\ln p_y =
# \ln \sum_{j=1}^{K} e^{z_j} - z_y
# $$
#
# ## Element by element, and the matrix product
#
# `*` multiplies element by element, `@` is the matrix product. Functions (`exp`, `log`, `sqrt`
# and so on) work element by element too. A linear layer is one matrix product: torch stores its
# weight as $[\text{outputs}, \text{inputs}]$, so it has to be transposed, and a batch of 32 rows
# with 30 columns times $[30, 8]$ is $[32, 8]$.

# %%
import numpy as np
import torch

from zoo import lessons
from zoo.evaluation import metrics

a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
b = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
x, y = a.numpy(), b.numpy()

print("a + b =", (a + b).tolist())
print("a * b =", (a * b).tolist())
print("a @ b =", (a @ b).tolist())
lessons.agree("a + b", a + b, x + y)
lessons.agree("a * b", a * b, x * y)
lessons.agree("a @ b", a @ b, x @ y)
lessons.agree("exp(a)", a.exp(), np.exp(x))

weight, rows = torch.ones(8, 30), torch.ones(32, 30)  # a linear layer and a batch
print(tuple(rows.shape), "@", tuple(weight.T.shape), "->", tuple((rows @ weight.T).shape))

# %% [markdown] lang="zh"
# ## 广播
#
# 给每一行加上同一个偏置、给每一列减去它的均值，靠的都是广播。图中深色的格子是原来的数，
# 浅色的是重复出来的。

# %% [markdown] lang="en"
# ## Broadcasting
#
# Adding the same bias to each row, or subtracting from each column its mean, is done by
# broadcasting. In the picture, dark cells are the original numbers and light ones are repeated.

# %%
column = torch.tensor([[0.0], [10.0], [20.0]])  # [3, 1]
row = torch.tensor([1.0, 2.0, 3.0, 4.0])  # [4]
table = column + row  # [3, 4]
print(f"{tuple(column.shape)} + {tuple(row.shape)} -> {tuple(table.shape)}: {table.tolist()}")
lessons.agree("column + row", table, column.numpy() + row.numpy())

centered = table - table.mean(dim=0)  # [3, 4] - [4]
lessons.say(
    f"减去每列的均值：{centered.tolist()}", f"minus the mean of each column: {centered.tolist()}"
)
try:
    table + torch.ones(3)  # 4 and 3 do not fit
except RuntimeError as error:
    print("error:", str(error).split(" at ")[0])

figure = lessons.figure(7.2, 2.4)
panels = figure.subplots(1, 3)
operands = {"column [3, 1]": column, "+ row [4]": row[None, :], "= table [3, 4]": table}
for axes, (name, tensor) in zip(panels, operands.items(), strict=True):
    repeated = torch.ones(3, 4)
    repeated[: tensor.shape[0], : tensor.shape[1]] = 0
    axes.imshow(repeated.numpy(), cmap="Oranges_r", vmin=-1, vmax=1.2)
    for i in range(3):
        for j in range(4):
            value = tensor.expand(3, 4)[i, j].item()
            axes.text(j, i, f"{value:g}", ha="center", va="center")
    axes.set(title=name, xticks=[], yticks=[])
lessons.save(figure, "math_operations.png")

# %% [markdown] lang="zh"
# ## 归约：`dim` 是消失的那一维
#
# `sum`、`mean`、`max`、`argmax` 把一维压成一个数。`dim=0` 沿着行号走，得到每一列的结果；
# `dim=1` 得到每一行的结果。`keepdim=True` 保留长度为 1 的维，正好用来广播。
# `max(dim=1)` 同时返回两样：`values` 是最大值，`indices` 是它们的位置，后者就是 `argmax`。
# 名字以 `_` 结尾的方法（`add_`）原地修改张量，不产生新的。

# %% [markdown] lang="en"
# ## Reductions: `dim` is the dimension that disappears
#
# `sum`, `mean`, `max` and `argmax` turn a dimension into one number. `dim=0` runs over the rows
# and gives one result a column; `dim=1` gives one a row. `keepdim=True` keeps the dimension with
# size 1, just right for broadcasting. `max(dim=1)` returns two things: `values`, the maxima, and
# `indices`, where they are, which is what `argmax` returns. A method whose name ends in `_`
# (`add_`) changes the tensor in place instead of making a new one.

# %%
print("table.sum()      ", table.sum().item())
print("table.sum(dim=0) ", table.sum(dim=0).tolist())
print("table.sum(dim=1) ", table.sum(dim=1).tolist())
print("table.argmax(1)  ", table.argmax(dim=1).tolist())
lessons.agree("sum(dim=1)", table.sum(dim=1), table.numpy().sum(axis=1))
parts = table / table.sum(dim=1, keepdim=True)  # [3, 4] / [3, 1]
lessons.agree("each row sums to 1", parts.sum(dim=1), torch.ones(3))

c = a.clone()
c.add_(1)
print("c = a.clone(); c.add_(1): c", c.tolist(), " a", a.tolist())
assert torch.equal(c, a + 1)

# %% [markdown] lang="zh"
# ## 合起来：softmax、损失与准确率
#
# 四行 logit，三个类别。先减去每行的最大值再取指数：结果不变，却不会溢出，
# 因为 $e^{1000}$ 在 float32 里是无穷大。准确率是 `argmax`、`==`、`mean` 三步；
# `zoo.evaluation.metrics` 用 NumPy 算出同样的数。

# %% [markdown] lang="en"
# ## Put together: softmax, loss and accuracy
#
# Four rows of logits, three classes. Subtract the maximum of each row before the exponential: the
# result is the same, but nothing overflows, while $e^{1000}$ is infinite in float32. The accuracy
# is `argmax`, `==`, `mean`; `zoo.evaluation.metrics` computes the same numbers with NumPy.


# %%
def softmax(z):
    """Return the probabilities of each row, [N, K]."""
    z = z - z.max(dim=1, keepdim=True).values  # [N, K] - [N, 1]
    return z.exp() / z.exp().sum(dim=1, keepdim=True)


logits = torch.tensor([[3.0, 1.0, 0.0], [0.2, 0.1, 0.4], [0.0, 5.0, 1.0], [2.0, 1.0, 0.5]])
targets = torch.tensor([0, 2, 1, 1])
p = softmax(logits)
loss = -p[torch.arange(4), targets].log().mean()  # row i, column targets[i]
accuracy = (logits.argmax(dim=1) == targets).float().mean()
print("p[0]", [round(value, 3) for value in p[0].tolist()])
lessons.say(f"损失 {loss:.4f}，准确率 {accuracy:.2f}", f"loss {loss:.4f}, accuracy {accuracy:.2f}")
lessons.agree("torch.softmax", p, torch.softmax(logits, dim=1))
lessons.agree("torch's cross-entropy", loss, torch.nn.CrossEntropyLoss()(logits, targets))
zoo = metrics.measure("classification", logits.numpy(), targets.numpy())
lessons.agree("the zoo's metrics", [loss, accuracy], [zoo["loss"], zoo["accuracy"]])

large = torch.tensor([[1000.0, 999.0]])
print("exp(1000) =", large.exp()[0, 0].item(), " softmax:", softmax(large)[0].tolist())
assert softmax(large).isfinite().all()

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **把 `*` 当作矩阵乘法**：两个方阵相乘不报错，结果却不对。矩阵乘法写 `@`。
# - **无意的广播**：`[32, 1]` 与 `[32]` 相减得到 `[32, 32]`。运算之前打印两边的形状。
# - **`softmax` 的 `dim` 写错**：`dim=0` 让每一列之和为 1，而不是每一行。用 `p.sum(dim=1)` 检查。
# - **对整数求均值**：`torch.arange(4).mean()` 报错 `mean(): could not infer output dtype`。
#   先 `.float()`。
# - **用 `==` 比较浮点数**：torch 与 NumPy 的 `exp` 在最后一位上就可能不同（见上面的输出）。
#   用 `torch.allclose(u, v)`，它容许很小的差。
#
# ## 练习
#
# 1. 先说出形状，再运行：`torch.ones(5, 1, 4) + torch.ones(3, 1)`。
#
# <details markdown="1"><summary>答案</summary>
#
# `[5, 3, 4]`：从后往前，4 与 1 得 4，1 与 3 得 3，5 与没有得 5。
#
# </details>
#
# 2. 不用循环，算出 `table` 每两行之间的欧氏距离，得到 $[3, 3]$ 的矩阵。
#
# <details markdown="1"><summary>答案</summary>
#
# `((table[:, None] - table[None]) ** 2).sum(dim=2).sqrt()`：
# $[3, 1, 4] - [1, 3, 4] \to [3, 3, 4]$，再沿最后一维求和。结果的对角线是 0，相邻两行的距离是 20，
# 第一行与第三行是 40。
#
# </details>
#
# 3. 去掉 `softmax` 里减最大值的那一行。哪些输出变了？
#
# <details markdown="1"><summary>答案</summary>
#
# 四行 logit 的结果不变（分子分母同乘 $e^{-\max}$）；`large` 的结果变成 `nan`（无穷除以无穷），
# 最后的 `assert` 失败。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **`*` is taken for the matrix product**: with two square matrices nothing fails, and the
#   result is wrong. The matrix product is `@`.
# - **Broadcasting that nobody wanted**: `[32, 1]` minus `[32]` is `[32, 32]`. Print both shapes
#   before the operation.
# - **The wrong `dim` for `softmax`**: with `dim=0` each column sums to 1, not each row. Check by
#   `p.sum(dim=1)`.
# - **The mean of integers**: `torch.arange(4).mean()` fails with
#   `mean(): could not infer output dtype`. Call `.float()` first.
# - **Floats are compared by `==`**: even the `exp` of torch and of NumPy may differ in the last
#   digit (see the output above). Use `torch.allclose(u, v)`, which allows a small difference.
#
# ## Exercises
#
# 1. Say the shape first, then run it: `torch.ones(5, 1, 4) + torch.ones(3, 1)`.
#
# <details markdown="1"><summary>Answer</summary>
#
# `[5, 3, 4]`: from the last dimension on, 4 and 1 give 4, 1 and 3 give 3, 5 and nothing give 5.
#
# </details>
#
# 2. Compute the Euclidean distance between each two rows of `table`, a matrix $[3, 3]$, without
#    loops.
#
# <details markdown="1"><summary>Answer</summary>
#
# `((table[:, None] - table[None]) ** 2).sum(dim=2).sqrt()`:
# $[3, 1, 4] - [1, 3, 4] \to [3, 3, 4]$, then the sum over the last dimension. The diagonal is 0,
# neighboring rows are 20 apart, the first and the third 40.
#
# </details>
#
# 3. Delete the line of `softmax` that subtracts the maximum. Which outputs change?
#
# <details markdown="1"><summary>Answer</summary>
#
# The results for the four rows of logits stay (numerator and denominator are both multiplied by
# $e^{-\max}$); that for `large` becomes `nan` (infinity divided by infinity), and the last
# `assert` fails.
#
# </details>
