"""线性模型 · Linear model

Code: zoo/models/linear.py
Picture: linear_model.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 机器学习的三样东西在最小的例子里就齐了：**数据**、带有未知参数的**模型**、
# 衡量模型好坏的**损失**。“学习”就是找出让损失最小的参数。这一课用最笨的办法来找：
# 把参数的可能取值全部试一遍。它能让人看见损失的形状，也能看出这个办法为什么走不远。
#
# 数据是学习的小时数 $x$ 和得分 $y$：学 1、2、3 小时，得 2、4、6 分。问：学 4 小时得几分？
#
# ## 公式
#
# 模型 $\hat{y} = wx$ 只有一个参数，$N = 3$ 行数据上的均方误差（MSE）是
#
# $$
# L(w) = \frac{1}{N} \sum_{i=1}^{N} (w x_i - y_i)^2
# $$
#
# 代入三个点：$L(w) = \frac{14}{3} (w - 2)^2$，一条开口向上的抛物线，最低点在 $w = 2$。
# 加上偏置以后有两个参数，损失是一个曲面：
#
# $$
# L(w, b) = \frac{1}{N} \sum_{i=1}^{N} (w x_i + b - y_i)^2
# $$
#
# ## 穷举一个参数
#
# 讲义里的程序：`forward` 预测，`loss` 算一行的平方误差，外层循环试 0 到 4 之间的 41 个 $w$。

# %% [markdown] lang="en"
# ## Why
#
# The three parts of machine learning are all there in the smallest example: **data**, a **model**
# with unknown parameters, and a **loss** that measures how good the model is. Learning means to
# find the parameters of the smallest loss. This lesson finds them in the simplest way, by trying
# all values. It shows the shape of the loss, and why this way does not lead far.
#
# The data are hours of study $x$ and points $y$: 1, 2 and 3 hours gave 2, 4 and 6 points. How
# many points do 4 hours give?
#
# ## The formulas
#
# The model $\hat{y} = wx$ has a single parameter. Its mean squared error (MSE) over $N = 3$ rows
# is
#
# $$
# L(w) = \frac{1}{N} \sum_{i=1}^{N} (w x_i - y_i)^2
# $$
#
# With the three points this is $L(w) = \frac{14}{3} (w - 2)^2$, a parabola with its lowest point
# at $w = 2$. With a bias there are two parameters, and the loss is a surface:
#
# $$
# L(w, b) = \frac{1}{N} \sum_{i=1}^{N} (w x_i + b - y_i)^2
# $$
#
# ## Try all values of one parameter
#
# This is the program of the notes: `forward` predicts, `loss` computes the squared error of one
# row, and the outer loop tries 41 values of $w$ between 0 and 4.

# %%
import numpy as np
import torch

from zoo import lessons
from zoo.models.linear import Linear

x_data = [1.0, 2.0, 3.0]
y_data = [2.0, 4.0, 6.0]


def forward(x, w):
    """Return the prediction for one row."""
    return w * x


def loss(x, y, w):
    """Return the squared error of one row."""
    return (forward(x, w) - y) ** 2


w_list, mse_list = [], []
for w in np.arange(0.0, 4.1, 0.1):
    total = 0.0
    for x, y in zip(x_data, y_data, strict=True):
        total += loss(x, y, w)
    w_list.append(w)
    mse_list.append(total / 3)

for w, mse in list(zip(w_list, mse_list, strict=True))[::10]:
    print(f"w = {w:.1f}: MSE {mse:.4f}")
best = w_list[int(np.argmin(mse_list))]
lessons.say(f"w = {best:.1f} 处 MSE 最小", f"the smallest MSE is at w = {best:.1f}")
print(f"x = 4: y = {forward(4, best):.1f}")
lessons.agree("MSE by the formula", mse_list, 14 / 3 * (np.array(w_list) - 2) ** 2, 1e-9)
assert abs(best - 2) < 1e-9

# %% [markdown] lang="zh"
# $w = 1$ 与 $w = 3$ 的损失相同，都是 4.6667：抛物线以 2 为对称轴。穷举只看得到网格上的点；
# 这里最低点恰好在网格上，一般并不如此（见练习 1）。
#
# ## 不用循环
#
# 张量一次算完：`w` 写成 $[41, 1]$，`x` 是 $[3]$，广播得到 $[41, 3]$ 的预测，再沿第二维取平均，
# 得到 41 个损失。数字与循环的相同，代码更短，数据多时也快得多。

# %% [markdown] lang="en"
# The loss at $w = 1$ and at $w = 3$ is the same, 4.6667: the parabola is symmetric about 2. The
# search sees only the points of its grid; here the lowest point happens to be one of them, which
# is not so in general (see exercise 1).
#
# ## Without loops
#
# Tensors do it all at once: with `w` of shape $[41, 1]$ and `x` of shape $[3]$, broadcasting
# gives predictions of shape $[41, 3]$, and the mean over the second dimension the 41 losses. The
# numbers are those of the loops, the code is shorter, and much faster when there are many rows.

# %%
x, y = torch.tensor(x_data), torch.tensor(y_data)
w = torch.tensor(w_list, dtype=torch.float32)[:, None]  # [41, 1]
predictions = w * x  # [41, 3]
mse = ((predictions - y) ** 2).mean(dim=1)  # [41]
print(
    f"w {tuple(w.shape)} * x {tuple(x.shape)} -> {tuple(predictions.shape)} -> {tuple(mse.shape)}"
)
lessons.agree("MSE without loops", mse, mse_list)

# %% [markdown] lang="zh"
# ## 两个参数：损失曲面
#
# 加上 $b$，要试的组合变成 41 × 41 个。右图画出等高线：最低点在 $(2, 0)$，
# 周围是一个斜放的狭长山谷，因为 $w$ 大一点可以由 $b$ 小一点来补偿。

# %% [markdown] lang="en"
# ## Two parameters: the surface of the loss
#
# With $b$ there are 41 × 41 pairs to try. The contour lines on the right show the lowest point at
# $(2, 0)$, in a long valley that lies aslant: a larger $w$ can be made up for by a smaller $b$.

# %%
b = torch.arange(-20, 21)[:, None, None] / 10  # [41, 1, 1]: -2 to 2
surface = ((w * x + b - y) ** 2).mean(dim=2)  # [41 of b, 41 of w]
row, column = divmod(int(surface.argmin()), 41)
place = f"w = {w[column, 0]:.1f}, b = {b[row, 0, 0]:.1f}"
lessons.say(
    f"{surface.numel()} 个组合，MSE 最小处 {place}",
    f"{surface.numel()} pairs; the smallest MSE is at {place}",
)
lessons.agree("w, b of the smallest", [w[column, 0], b[row, 0, 0]], [2.0, 0.0])

figure = lessons.figure(7.2, 3.2)
left, right = figure.subplots(1, 2)
left.plot(w_list, mse_list, color="#2563a8")
left.plot([2], [0], "o", color="#c2571a")
left.set(title="loss of y = wx", xlabel="w", ylabel="mean squared error")
left.grid(alpha=0.25)
levels = [0.2, 1, 3, 8, 15, 25]
lines = right.contour(w_list, b[:, 0, 0], surface, levels=levels, cmap="viridis")
right.clabel(lines, fontsize=8)
right.plot([2], [0], "o", color="#c2571a")
right.set(title="loss of y = wx + b", xlabel="w", ylabel="b")
lessons.save(figure, "linear_model.png")

# %% [markdown] lang="zh"
# ## 用 torch 的层来写
#
# `nn.Linear(1, 1)` 就是 $wx + b$。zoo 的 `Linear` 只在外面包了一个类；把它的权重设为某个值，
# 它的损失与上面的表一致。
#
# 穷举到此为止：zoo 的 `linear` 有 11 个参数，每个试 41 个值要算 $41^{11}$ 次，
# 约 $5 \times 10^{17}$。下一课换一个办法：沿着坡往下走。

# %% [markdown] lang="en"
# ## By torch's layer
#
# `nn.Linear(1, 1)` is $wx + b$, and the zoo's `Linear` is a class around it. Set its weights to
# some value, and its loss is that of the table above.
#
# Trying all values ends here: the zoo's `linear` has 11 parameters, and 41 values for each make
# $41^{11}$ losses, about $5 \times 10^{17}$. The next lesson does something better: it walks
# downhill.

# %%
model = Linear(columns=1)
with torch.no_grad():
    model.linear.weight.fill_(3.0)
    model.linear.bias.fill_(0.0)
    value = torch.nn.MSELoss()(model(x[:, None]), y[:, None])  # [3, 1] and [3, 1]
print(f"Linear at w = 3, b = 0: MSE {value:.4f}")
lessons.agree("as in the table", value, mse_list[30])

parameters = sum(parameter.numel() for parameter in Linear(columns=10).parameters())
lessons.say(
    f"{parameters} 个参数要算 {41.0**parameters:.1e} 次损失",
    f"{parameters} parameters need {41.0**parameters:.1e} losses",
)

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **`range(0, 4, 0.1)`**：`range` 只接受整数，
#   报错 `'float' object cannot be interpreted as an integer`。用 `np.arange` 或 `np.linspace`。
# - **`np.arange` 的终点**：`np.arange(0, 4, 0.1)` 不含 4.0，所以讲义写 4.1。想要确切的个数，
#   用 `np.linspace(0, 4, 41)`。
# - **浮点数用 `==` 比较**：`np.arange` 的第 21 个值未必恰好等于 2.0。
#   用 `np.isclose` 或者比较差的绝对值。
# - **忘了除以 $N$**：最低点的位置不变，但损失的大小随行数变化，不同大小的数据之间无法比较。
#
# ## 练习
#
# 换了数据或损失之后，要去掉与公式核对的几行 `lessons.agree`。
#
# 1. 把数据改为 $y = (2.1, 3.9, 6.2)$。用公式 $w^* = \sum x_i y_i / \sum x_i^2$ 求最好的 $w$，
#    再与穷举的结果比较。
#
# <details markdown="1"><summary>答案</summary>
#
# $w^* = 28.5 / 14 = 2.0357$。穷举只能得到网格上最近的点 2.0；要更准就要更密的网格。
#
# </details>
#
# 2. 用数据 $y = 3x + 1$（即 4、7、10）运行两个参数的穷举，$b$ 的范围不变。最小损失在哪里？
#
# <details markdown="1"><summary>答案</summary>
#
# 在 $w = 3.0$，$b = 1.0$，损失为 0（到舍入误差）。
#
# </details>
#
# 3. 把损失换成平均绝对误差 $|w x - y|$，画出曲线。它与抛物线有什么不同？
#
# <details markdown="1"><summary>答案</summary>
#
# 把 `loss` 的返回值改为 `abs(forward(x, w) - y)`。曲线是一个 V 形，最低点仍在 $w = 2$：
# $w = 0$ 处为 4，斜率处处是 ±2，离最低点再近也不变小。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **`range(0, 4, 0.1)`**: `range` takes integers only and fails with
#   `'float' object cannot be interpreted as an integer`. Use `np.arange` or `np.linspace`.
# - **The end of `np.arange`**: `np.arange(0, 4, 0.1)` does not contain 4.0, which is why the
#   notes write 4.1. If you want a certain number of values, use `np.linspace(0, 4, 41)`.
# - **Floats are compared by `==`**: value number 21 of `np.arange` need not be exactly 2.0. Use
#   `np.isclose`, or compare the absolute difference.
# - **The division by $N$ is missing**: the lowest point stays where it is, but the loss grows
#   with the number of rows, and data of different sizes cannot be compared.
#
# ## Exercises
#
# With other data or another loss, delete the lines of `lessons.agree` that compare with the
# formula.
#
# 1. Change the data to $y = (2.1, 3.9, 6.2)$. Find the best $w$ by the formula
#    $w^* = \sum x_i y_i / \sum x_i^2$ and compare it with the search.
#
# <details markdown="1"><summary>Answer</summary>
#
# $w^* = 28.5 / 14 = 2.0357$. The search can only find the nearest point of its grid, 2.0; more
# digits need a finer grid.
#
# </details>
#
# 2. Run the search over two parameters with $y = 3x + 1$ (4, 7, 10) and the same range of $b$.
#    Where is the smallest loss?
#
# <details markdown="1"><summary>Answer</summary>
#
# At $w = 3.0$ and $b = 1.0$, where it is 0 (up to rounding).
#
# </details>
#
# 3. Use the mean absolute error $|w x - y|$ as the loss and draw its curve. How does it differ
#    from the parabola?
#
# <details markdown="1"><summary>Answer</summary>
#
# Let `loss` return `abs(forward(x, w) - y)`. The curve is a V with its lowest point at $w = 2$
# again: it is 4 at $w = 0$, and its slope is ±2 everywhere, which does not become smaller near
# the lowest point.
#
# </details>
