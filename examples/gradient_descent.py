"""梯度下降 · Gradient descent

Code: zoo/models/linear.py
Picture: gradient_descent.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 穷举只能用于一两个参数。梯度下降只需要知道脚下的坡度：梯度指向损失上升最快的方向，
# 所以向相反的方向走一小步，再看，再走。参数有多少个，办法都一样；所有网络都是这样训练的。
#
# 这一课先用讲义的三个点，不用 torch，把公式写成普通的 Python；然后比较三种走法：
# 每步看全部数据（批量）、每步看一行（随机）、每步看几行（小批量）。
#
# ## 公式
#
# 模型 $\hat{y} = wx$，$N$ 行数据的损失和它的导数：
#
# $$
# L(w) = \frac{1}{N} \sum_{i=1}^{N} (w x_i - y_i)^2, \qquad \frac{\mathrm{d}L}{\mathrm{d}w} =
# \frac{1}{N} \sum_{i=1}^{N} 2 x_i (w x_i - y_i)
# $$
#
# 更新，$\eta$ 是学习率：
#
# $$
# w \leftarrow w - \eta \frac{\mathrm{d}L}{\mathrm{d}w}
# $$
#
# 损失是抛物线，曲率 $\lambda = \frac{2}{N} \sum x_i^2$。
# 每一步到最低点的距离乘以 $1 - \eta \lambda$，所以 $\eta < 2 / \lambda$ 时收敛，更大则发散。
#
# ## 批量梯度下降
#
# `cost` 是损失，`gradient` 是它的导数，都对全部三行取平均。

# %% [markdown] lang="en"
# ## Why
#
# Trying all values works for one or two parameters. Gradient descent only needs the slope where
# it stands: the gradient points where the loss grows fastest, so take a small step the other way,
# look again, and go on. It is the same for any number of parameters, and all networks are trained
# like this.
#
# This lesson first takes the three points of the notes and writes the formulas in plain Python,
# without torch. Then it compares three ways to go: all rows in each step (batch), one row in each
# step (stochastic), a few rows in each step (mini-batch).
#
# ## The formulas
#
# The loss of the model $\hat{y} = wx$ over $N$ rows, and its derivative:
#
# $$
# L(w) = \frac{1}{N} \sum_{i=1}^{N} (w x_i - y_i)^2, \qquad \frac{\mathrm{d}L}{\mathrm{d}w} =
# \frac{1}{N} \sum_{i=1}^{N} 2 x_i (w x_i - y_i)
# $$
#
# The update, with the learning rate $\eta$:
#
# $$
# w \leftarrow w - \eta \frac{\mathrm{d}L}{\mathrm{d}w}
# $$
#
# The loss is a parabola of curvature $\lambda = \frac{2}{N} \sum x_i^2$. Each step multiplies the
# distance to the lowest point by $1 - \eta \lambda$: with $\eta < 2 / \lambda$ this converges,
# with a larger $\eta$ it diverges.
#
# ## Batch gradient descent
#
# `cost` is the loss and `gradient` its derivative, both averaged over all three rows.

# %%
import torch

from zoo import lessons
from zoo.models.linear import Linear

x_data = [1.0, 2.0, 3.0]
y_data = [2.0, 4.0, 6.0]


def cost(xs, ys, w):
    """Return the mean squared error."""
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        total += (w * x - y) ** 2
    return total / len(xs)


def gradient(xs, ys, w):
    """Return the derivative of the cost."""
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        total += 2 * x * (w * x - y)
    return total / len(xs)


w = 1.0
for epoch in range(100):
    slope = gradient(x_data, y_data, w)
    if epoch in (0, 1, 2, 10, 50, 99):
        print(
            f"epoch {epoch:2d}: w = {w:.4f}, cost {cost(x_data, y_data, w):.6f}, slope {slope:.4f}"
        )
    w -= 0.01 * slope
print(f"x = 4: y = {w * 4:.3f}")
lessons.agree("w", w, 2.0, tolerance=1e-3)

# %% [markdown] lang="zh"
# 坡度越来越小，步子也跟着变小，不用改学习率：到 2 的距离是 1、0.9067、0.8220……，
# 每步乘以 $1 - 0.01 \cdot 9.33 = 0.9067$。
#
# ## 学习率
#
# 三个点的曲率是 $\lambda = 28 / 3 = 9.33$，界限是 $2 / \lambda = 0.214$。
# 下面每个学习率都走 20 步：太小走得慢；$1 / \lambda$ 附近一步就到；超过界限，距离每步都变大。

# %% [markdown] lang="en"
# The slope becomes smaller and smaller, and the steps with it, at the same learning rate: the
# distance to 2 is 1, 0.9067, 0.8220 and so on, each step times $1 - 0.01 \cdot 9.33 = 0.9067$.
#
# ## The learning rate
#
# The curvature for the three points is $\lambda = 28 / 3 = 9.33$, so the limit is
# $2 / \lambda = 0.214$. Each learning rate below takes 20 steps: a small one is slow; near
# $1 / \lambda$ one step is enough; beyond the limit each step increases the distance.


# %%
def descend(rate, steps=20):
    """Return w after each step, starting from 1."""
    w, way = 1.0, [1.0]
    for _ in range(steps):
        w -= rate * gradient(x_data, y_data, w)
        way.append(w)
    return way


ways = {rate: descend(rate) for rate in (0.01, 0.1, 0.2, 0.22)}
for rate, way in ways.items():
    factor = 1 - rate * 28 / 3
    print(f"rate {rate:.2f}: factor {factor:5.2f}, w = {way[-1]:.4f}")
    lessons.agree("2 - factor ** 20", way[-1], 2 - factor**20, tolerance=1e-9)
assert abs(ways[0.22][-1] - 2) > 1  # further away than at the start

# %% [markdown] lang="zh"
# ## 随机与小批量
#
# 现在用 30 行带噪声的数据，最好的 $w$ 有公式：$w^* = \sum x_i y_i / \sum x_i^2$。
# 同样看 30 遍数据：批量法每遍走 1 步，小批量（6 行）走 5 步，随机法走 30 步。步数多的走得快，
# 但每一步的方向只是估计，所以到了最低点附近仍会摆动；批越小，摆动越大。
#
# 数据要先打乱：`randperm` 给出一个随机的顺序，`split` 把它切成批。

# %% [markdown] lang="en"
# ## Stochastic and mini-batch
#
# Now take 30 rows with noise, for which a formula gives the best $w$:
# $w^* = \sum x_i y_i / \sum x_i^2$. Each way sees the data 30 times: batch takes 1 step each
# time, mini-batch (6 rows) 5 steps, stochastic 30 steps. More steps go faster, but the direction
# of each is only an estimate, so they move about near the lowest point; the smaller the batch,
# the more.
#
# The rows are shuffled first: `randperm` gives a random order and `split` cuts it into batches.

# %%
generator = torch.Generator().manual_seed(1)
x = torch.linspace(0.1, 3, 30)  # [30]
y = 2 * x + 0.4 * torch.randn(30, generator=generator)
best = ((x * y).sum() / (x * x).sum()).item()


def loss(w):
    """Return the mean squared error over all rows."""
    return ((w * x - y) ** 2).mean().item()


def train(batch_size, rate=0.03, epochs=30):
    """Return w after each step, starting from 0."""
    w, way = 0.0, [0.0]
    for _ in range(epochs):
        for rows in torch.randperm(30, generator=generator).split(batch_size):
            w -= rate * (2 * x[rows] * (w * x[rows] - y[rows])).mean().item()
            way.append(w)
    return way


lessons.say(
    f"公式：w = {best:.4f}，损失 {loss(best):.4f}",
    f"formula: w = {best:.4f}, loss {loss(best):.4f}",
)
runs = {"batch (30 rows)": train(30), "mini-batch (6)": train(6), "stochastic (1)": train(1)}
for name, way in runs.items():
    last = torch.tensor(way[-(len(way) - 1) // 3 :])  # the last 10 epochs
    steps, moves = len(way) - 1, last.max() - last.min()
    lessons.say(
        f"{name:<16} {steps:3d} 步：w = {way[-1]:.4f}，损失 {loss(way[-1]):.4f}，"
        f"w 摆动 {moves:.4f}",
        f"{name:<16} {steps:3d} steps: w = {way[-1]:.4f}, loss {loss(way[-1]):.4f}, "
        f"w moves by {moves:.4f}",
    )
lessons.agree("batch: w", runs["batch (30 rows)"][-1], best, tolerance=0.01)
lessons.agree("mini-batch: w", runs["mini-batch (6)"][-1], best, tolerance=0.15)
lessons.agree("stochastic: w", runs["stochastic (1)"][-1], best, tolerance=0.4)

# %% [markdown] lang="zh"
# ## 画出来
#
# 左图：三个点上四种学习率的 $w$；0.22 超过界限，越摆越远。右图：30 行数据上三种走法的损失，
# 横轴是看过几遍数据，纵轴是对数坐标。

# %% [markdown] lang="en"
# ## Draw it
#
# On the left is $w$ for the three points at four learning rates; 0.22 is beyond the limit and
# swings further and further out. On the right is the loss of the three ways over the 30 rows, by
# how often the data were seen; its axis is logarithmic.

# %%
figure = lessons.figure(8.4, 3.2)
left, right = figure.subplots(1, 2)
colors = ("#2563a8", "#3a7d44", "#c2571a", "#8a3ffc")
for (rate, way), color in zip(ways.items(), colors, strict=True):
    left.plot(way, color=color, marker="o", markersize=2.5, linewidth=1, label=f"rate {rate}")
left.axhline(2, color="0.6", linewidth=1, zorder=0)
left.set(title="three points: w by step", xlabel="step", ylabel="w", ylim=(-2, 6))
left.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
for (name, way), color in zip(runs.items(), colors[:3], strict=True):
    epochs = torch.linspace(0, 30, len(way))
    right.plot(epochs, [loss(w) for w in way], color=color, linewidth=1.2, label=name)
right.axhline(loss(best), color="0.6", linewidth=1, zorder=0)
right.set(title="30 rows: loss by epoch", xlabel="epoch", yscale="log")
right.legend(frameon=False, fontsize=8)
for axes in (left, right):
    axes.grid(alpha=0.25)
lessons.save(figure, "gradient_descent.png")

# %% [markdown] lang="zh"
# ## 与 autograd 和优化器对照
#
# 公式写的梯度就是 `backward()` 得到的梯度，`optimizer.step()` 做的就是 `w -= rate * gradient`。
# 这里的模型是 zoo 的 `Linear`。

# %% [markdown] lang="en"
# ## Beside autograd and an optimizer
#
# The gradient by the formula is the one that `backward()` finds, and `optimizer.step()` does
# `w -= rate * gradient`. The model here is the zoo's `Linear`.

# %%
model = Linear(columns=1)
with torch.no_grad():
    model.linear.weight.fill_(0.5)
    model.linear.bias.fill_(0.0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.03)

torch.nn.MSELoss()(model(x[:, None]), y[:, None]).backward()
optimizer.step()
formula = (2 * x * (0.5 * x - y)).mean()
lessons.agree("mean 2x(wx - y)", model.linear.weight.grad[0, 0], formula)
lessons.agree("w - rate * gradient", model.linear.weight[0, 0], 0.5 - 0.03 * formula)
w = model.linear.weight.item()
lessons.say(f"更新后 w = {w:.4f}", f"after the step w = {w:.4f}")

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **损失变成 `nan` 或越来越大**：学习率超过了界限。除以 10 再试。
# - **损失几乎不动**：学习率太小，或者打印的 `w` 不是正在训练的那个。乘以 10 再试。
# - **符号写反**：`w += rate * slope` 沿着坡往上走，损失每步都变大，与学习率太大的现象相同；
#   把学习率减小也没有用，就该查符号。
# - **随机法不打乱**：数据按类别或大小排列时，连续很多步都偏向同一边。
#   `DataLoader` 里写 `shuffle=True`。
#
# ## 练习
#
# 1. 在三个点的程序里，学习率取多少时一步就到 $w = 2$？运行 `descend` 验证。
#
# <details markdown="1"><summary>答案</summary>
#
# $1 - \eta \lambda = 0$，$\eta = 3 / 28 = 0.1071$。`descend(3 / 28, steps=1)` 返回 `[1.0, 2.0]`。
#
# </details>
#
# 2. 把 `train(1)` 的学习率从 0.03 降到 0.003，`epochs` 改为 300。最后 $w$ 摆动多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 摆动的幅度（最后三分之一的最大值减最小值）降到 0.07 左右，原来约 0.41。学习率越小，
# 单行的噪声被平均得越多；代价是步数多十倍。训练中逐渐减小学习率，可以二者兼得。
#
# </details>
#
# 3. 给 `gradient` 和 `cost` 加上偏置 $b$，用数据 $y = 3x + 1$ 训练，学习率 0.05，2000 步。
#    写出 $\partial L / \partial b$。
#
# <details markdown="1"><summary>答案</summary>
#
# $\partial L / \partial b = \frac{1}{N} \sum 2 (w x_i + b - y_i)$。从 $w = 1$，$b = 0$ 出发，
# 得到 $w = 3.0000$，$b = 1.0000$。两个梯度要先都算好，再更新两个参数。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **The loss becomes `nan` or keeps growing**: the learning rate is beyond the limit. Divide it
#   by 10.
# - **The loss hardly moves**: the learning rate is too small, or the `w` that you print is not
#   the one that you train. Multiply the rate by 10.
# - **The sign is wrong**: `w += rate * slope` walks uphill, and the loss grows with each step,
#   just as with a large learning rate. If a smaller rate does not help, look at the sign.
# - **Stochastic steps without shuffling**: if the rows are sorted by class or by size, many steps
#   in a row lean to the same side. Write `shuffle=True` in the `DataLoader`.
#
# ## Exercises
#
# 1. For the three points, which learning rate reaches $w = 2$ in a single step? Check by
#    `descend`.
#
# <details markdown="1"><summary>Answer</summary>
#
# $1 - \eta \lambda = 0$, so $\eta = 3 / 28 = 0.1071$. `descend(3 / 28, steps=1)` returns
# `[1.0, 2.0]`.
#
# </details>
#
# 2. Lower the rate of `train(1)` from 0.03 to 0.003 and set `epochs` to 300. How far does $w$
#    still move at the end?
#
# <details markdown="1"><summary>Answer</summary>
#
# Over the last third, the largest $w$ minus the smallest is about 0.07; it was 0.41. A smaller
# rate averages the noise of more rows; the price is ten times as many steps. Lowering the rate
# during training gives both.
#
# </details>
#
# 3. Add a bias $b$ to `gradient` and `cost`, and train on $y = 3x + 1$ with a learning rate of
#    0.05 for 2,000 steps. Write down $\partial L / \partial b$ first.
#
# <details markdown="1"><summary>Answer</summary>
#
# $\partial L / \partial b = \frac{1}{N} \sum 2 (w x_i + b - y_i)$. From $w = 1$ and $b = 0$ you
# get $w = 3.0000$ and $b = 1.0000$. Compute both gradients before you change either parameter.
#
# </details>
