"""线性回归 · Linear regression

Code: zoo/models/linear.py, zoo/datasets/tables.py
Picture: linear_regression.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 线性回归是最小的神经网络：一个神经元，没有激活函数。它能说明标准流程的每一步，
# 而且有精确解可以对照，所以训练程序对不对，一比就知道。
#
# 先写讲义里的程序：三个点 $x = 1, 2, 3$，$y = 2, 4, 6$，让模型自己找到 $y = 2x$；再换成真实数据：
# 442 位糖尿病患者的 10 项测量值，预测一年后病情的进展（Efron 等，2004）。
#
# ## 公式
#
# $X$ 的形状是 $[N, D]$（$N$ 行，$D$ 列），$w$ 是 $[1, D]$，$b$ 是 $[1]$，
# 预测 $\hat{y}$ 和目标 $y$ 都是 $[N, 1]$：
#
# $$
# \hat{y} = X w^\top + b, \qquad L = \frac{1}{N} \sum_{i=1}^{N} (\hat{y}_i - y_i)^2
# $$
#
# $$
# \frac{\partial L}{\partial w} = \frac{2}{N} (\hat{y} - y)^\top X,
# \qquad \frac{\partial L}{\partial b} = \frac{2}{N} \sum_{i=1}^{N} (\hat{y}_i - y_i)
# $$
#
# 梯度不用自己写，`backward()` 会算。
#
# ## 讲义里的程序
#
# 数据写成 $[3, 1]$ 的张量：3 行，每行 1 个数。模型是一个类，`__init__` 里放一个 `Linear(1, 1)`，
# `forward` 里调用它。

# %% [markdown] lang="en"
# ## Why
#
# Linear regression is the smallest neural network: one neuron without an activation. It shows
# every part of the standard flow, and it has an exact solution to compare with, so you can tell
# whether the training is right.
#
# First comes the program of the lecture notes: three points, $x = 1, 2, 3$ and $y = 2, 4, 6$,
# from which the model has to find $y = 2x$. Then come real data: 10 measurements of 442 diabetes
# patients, and how far the disease went within a year (Efron et al., 2004).
#
# ## The formulas
#
# $X$ has the shape $[N, D]$ ($N$ rows, $D$ columns), $w$ is $[1, D]$, $b$ is $[1]$; the
# predictions $\hat{y}$ and the targets $y$ are $[N, 1]$:
#
# $$
# \hat{y} = X w^\top + b, \qquad L = \frac{1}{N} \sum_{i=1}^{N} (\hat{y}_i - y_i)^2
# $$
#
# $$
# \frac{\partial L}{\partial w} = \frac{2}{N} (\hat{y} - y)^\top X,
# \qquad \frac{\partial L}{\partial b} = \frac{2}{N} \sum_{i=1}^{N} (\hat{y}_i - y_i)
# $$
#
# You need not write the gradients: `backward()` computes them.
#
# ## The program of the notes
#
# The data are tensors of shape $[3, 1]$: 3 rows with 1 number each. The model is a class with a
# `Linear(1, 1)` in `__init__`, which `forward` calls.

# %%
import warnings

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo import datasets, lessons

torch.manual_seed(0)

x_data = torch.tensor([[1.0], [2.0], [3.0]])  # [3, 1]
y_data = torch.tensor([[2.0], [4.0], [6.0]])  # [3, 1]


class LinearModel(torch.nn.Module):
    """y = wx + b."""

    def __init__(self, columns=1):
        super().__init__()
        self.linear = torch.nn.Linear(columns, 1)

    def forward(self, x):
        """Map [N, columns] to [N, 1]."""
        return self.linear(x)


model = LinearModel()
criterion = torch.nn.MSELoss(reduction="sum")  # the notes: MSELoss(size_average=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

for epoch in range(1000):
    y_pred = model(x_data)  # forward
    loss = criterion(y_pred, y_data)  # loss
    optimizer.zero_grad()  # zero the gradients
    loss.backward()  # backward
    optimizer.step()  # step
    if epoch in (0, 1, 10, 100, 999):
        print(f"epoch {epoch:3d}: loss {loss.item():.6f}")

w, b = model.linear.weight.item(), model.linear.bias.item()
print(f"w = {w:.4f}, b = {b:.4f}")
with torch.no_grad():
    y_test = model(torch.tensor([[4.0]]))
print(f"x = 4: y = {y_test.item():.4f}")
lessons.agree("y at x = 4", y_test, [[8.0]], tolerance=0.01)

# %% [markdown] lang="zh"
# 1000 次之后 $w = 2$，$b = 0$，对没有见过的 $x = 4$ 预测 8。
#
# ## `size_average` 与 `reduction`
#
# 上面的损失用 `reduction="sum"`，即讲义里的 `size_average=False`。
# 三个误差 $-1, -2, -3$ 的平方是 1、4、9：`"none"` 返回这三个数，`"sum"` 返回 14，
# `"mean"` 返回 14 / 3。旧的参数名仍然可用，但 torch 会警告；下面的代码核对了它们对应的新名字。
#
# 选哪一个会影响学习率：`"sum"` 的梯度是 `"mean"` 的 $N$ 倍。

# %% [markdown] lang="en"
# After 1,000 steps $w = 2$ and $b = 0$, and the prediction for $x = 4$, which the model has never
# seen, is 8.
#
# ## `size_average` and `reduction`
#
# The loss above has `reduction="sum"`, which the notes write as `size_average=False`. The squares
# of the three errors $-1, -2, -3$ are 1, 4 and 9: `"none"` returns these three numbers, `"sum"`
# returns 14 and `"mean"` 14 / 3. The old arguments still work, with a warning from torch; the
# code checks which new name each stands for.
#
# The choice matters for the learning rate: the gradient of `"sum"` is $N$ times that of `"mean"`.

# %%
y_pred = torch.tensor([[1.0], [2.0], [3.0]])  # as if w = 1, b = 0
for reduction in ("none", "sum", "mean"):
    value = torch.nn.MSELoss(reduction=reduction)(y_pred, y_data)
    print(f"reduction={reduction!r}: {value.tolist()}")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the old names still work, with a warning
    for old in ({"size_average": False}, {"size_average": True}, {"reduce": False}):
        print(f"MSELoss(**{old}) -> reduction={torch.nn.MSELoss(**old).reduction!r}")
    assert torch.nn.MSELoss(size_average=False).reduction == "sum"
    assert torch.nn.MSELoss(reduce=False).reduction == "none"

# %% [markdown] lang="zh"
# ## 真实数据：`Dataset` 与 `DataLoader`
#
# 每一列减去训练集的均值，再除以训练集的标准差。`y` 保持原来的单位（25 到 346），
# 所以损失会是几千：它是平方误差。

# %% [markdown] lang="en"
# ## Real data: `Dataset` and `DataLoader`
#
# From each column the mean of the training rows is subtracted, and the result is divided by their
# standard deviation. `y` keeps its own unit (25 to 346), so the loss will be in the thousands: it
# is a squared error.


# %%
class DiabetesDataset(Dataset):
    """Rows of the diabetes table: 10 measurements, and the progression after one year."""

    def __init__(self, rows, mean, std):
        self.x = torch.from_numpy((rows.inputs - mean) / std)  # float32 [N, 10]
        self.y = torch.from_numpy(rows.targets)[:, None]  # float32 [N, 1]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


table = datasets.load("diabetes")
mean, std = table.train.inputs.mean(axis=0), table.train.inputs.std(axis=0)
train_set = DiabetesDataset(table.train, mean, std)
validation_set = DiabetesDataset(table.validation, mean, std)
test_set = DiabetesDataset(table.test, mean, std)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
x, y = train_set[0]
lessons.say(
    f"{len(train_set)} 行，{len(train_loader)} 批",
    f"{len(train_set)} rows, {len(train_loader)} batches",
)
print(f"train_set[0]: x {tuple(x.shape)}, y {y.item():.0f}")
low, high = train_set.y.min(), train_set.y.max()
lessons.say(f"目标从 {low:.0f} 到 {high:.0f}", f"targets from {low:.0f} to {high:.0f}")

# %% [markdown] lang="zh"
# ## 训练
#
# 循环与三个点的程序相同，只是多了一层：每个 epoch 里逐批取数据。最后一批只有 10 行，
# 所以用 `reduction="mean"`，步长才与批的大小无关。有 GPU 就把模型搬过去，每一批也要搬到同一个设备；
# 结果用 `.cpu()` 取回来。
#
# 好坏用 $R^2$ 衡量：$R^2 = 1 - \text{均方误差} / \text{目标的方差}$，1 是完美，
# 0 相当于永远猜平均值。

# %% [markdown] lang="en"
# ## Training
#
# The cycle is that of the three points with one more loop around it, over the batches of an
# epoch. The last batch has only 10 rows, so `reduction="mean"` keeps the size of a step
# independent of the batch size. Where there is a GPU, the model moves there, and each batch has to
# go to the same device; `.cpu()` brings the results back.
#
# The measure is $R^2 = 1 - \text{mean squared error} / \text{variance of the targets}$: 1 is
# perfect, 0 is as good as always predicting the mean.

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = LinearModel(columns=10).to(device)  # first to its device, then the optimizer
criterion = torch.nn.MSELoss(reduction="mean")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)


def train():
    """Go once over the training rows; return the mean loss of a row."""
    total = 0.0
    for x, y in train_loader:
        x, y = x.to(device), y.to(device)
        y_pred = model(x)  # forward
        loss = criterion(y_pred, y)  # loss
        optimizer.zero_grad()  # zero the gradients
        loss.backward()  # backward
        optimizer.step()  # step
        total += loss.item() * len(x)
    return total / len(train_set)


def predict(rows):
    """Return the predictions [N, 1] for a data set, on the CPU."""
    with torch.no_grad():
        return model(rows.x.to(device)).cpu()


def test(rows):
    """Return R2: 1 is perfect, 0 is no better than the mean of the targets."""
    error = ((predict(rows) - rows.y) ** 2).mean()
    return 1 - (error / rows.y.var(correction=0)).item()


losses, scores = [], []
for epoch in range(1, 101):
    losses.append(train())
    scores.append(test(validation_set))
    if epoch in (1, 2, 5, 10, 50, 100):
        print(f"epoch {epoch:3d}: loss {losses[-1]:8.1f}, validation R2 {scores[-1]:6.3f}")
score = test(test_set)
lessons.say(f"测试集 R2 {score:.3f}", f"test R2 {score:.3f}")
assert score > 0.4

# %% [markdown] lang="zh"
# ## 与精确解比较
#
# 给 $X$ 添一列 1（对应 $b$），最小二乘法一步就得到损失最小的 $w$ 和 $b$。
# 没有任何直线的训练损失比它更低。SGD 到达它上方百分之一以内，然后在附近摆动，
# 因为每一批的梯度只是全部数据的梯度的估计。右图里，点离灰线越近，预测越准。

# %% [markdown] lang="en"
# ## Compared with the exact solution
#
# With a column of ones added to $X$ (for $b$), the least-squares method finds in one step the $w$
# and $b$ of the smallest loss. No other line has a smaller training loss. SGD comes within one
# percent of it and then moves about nearby, because the gradient of a batch is only an estimate
# of the gradient over all rows. On the right, a prediction is the better the closer its point is
# to the gray line.

# %%
ones = np.ones((len(train_set), 1))
matrix = np.hstack([train_set.x.double().numpy(), ones])  # [266, 11]: a column of ones for b
solution = np.linalg.lstsq(matrix, train_set.y.double().numpy(), rcond=None)[0]  # [11, 1]
exact = ((matrix @ solution - train_set.y.numpy()) ** 2).mean()
trained = criterion(predict(train_set), train_set.y).item()
lessons.say(
    f"训练损失：最小二乘 {exact:.1f}，SGD {trained:.1f}",
    f"training loss: least squares {exact:.1f}, SGD {trained:.1f}",
)
exact_b, sgd_b = solution[-1, 0], model.linear.bias.item()
lessons.say(
    f"b：最小二乘 {exact_b:.2f}，SGD {sgd_b:.2f}，y 的均值 {train_set.y.mean():.2f}",
    f"b: least squares {exact_b:.2f}, SGD {sgd_b:.2f}, mean of y {train_set.y.mean():.2f}",
)
assert exact <= trained < 1.01 * exact

figure = lessons.figure(7.2, 3.2)
left, right = figure.subplots(1, 2)
left.plot(range(1, 101), losses, color="#2563a8", label="SGD")
left.axhline(exact, color="0.6", linewidth=1, zorder=0, label="least squares")
left.set(title="training loss", xlabel="epoch", ylabel="mean squared error", yscale="log")
left.grid(alpha=0.25)
left.legend(frameon=False)
right.plot(test_set.y, predict(test_set), "o", color="#c2571a", markersize=3)
right.plot([25, 346], [25, 346], color="0.6", linewidth=1, zorder=0)
right.set(title=f"88 test rows: R2 {score:.3f}", xlabel="target", ylabel="prediction")
right.grid(alpha=0.25)
lessons.save(figure, "linear_regression.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
#
# `zoo.Session("linear")` 打开随包发布的模型，直接接受原始的表格数据：标准化已经写进 ONNX 图里，
# 调用的人不会忘记，也不会用错均值。训练用 `zoo train linear`：每一步用全部 266 行，动量 0.95，
# 600 个 epoch，到达最小二乘解，五个随机种子的 $R^2$ 前六位都相同。测试集 $R^2$ 是 0.458，
# 我们是 0.452：88 行数据上的这点差距不能说明哪个更好。

# %% [markdown] lang="en"
# ## The same with the zoo
#
# `zoo.Session("linear")` opens the model that ships with the package. It takes the rows as they
# are in the table: the standardization is part of the ONNX graph, so nobody can forget it or use
# another mean. It was trained by `zoo train linear`: all 266 rows in each step, momentum 0.95,
# 600 epochs, which reaches the least-squares solution; over five seeds, the first six digits of
# $R^2$ agree. Its test $R^2$ is 0.458 and ours 0.452: over 88 rows, this says nothing about which
# is better.

# %%
session = zoo.Session("linear")  # ONNX Runtime: trained weights, no torch
predictions = session.predict(table.test.inputs).values  # the rows as they are in the table
card = zoo.card("linear")
r2 = 1 - ((predictions - table.test.targets) ** 2).mean() / table.test.targets.var()
lessons.say(
    f"前三位患者：{predictions[:3].round(1)}；测试集 R2 {r2:.3f}",
    f"first three patients: {predictions[:3].round(1)}; test R2 {r2:.3f}",
)
lessons.agree("R2 on the card", r2, card.test["r2"])
lessons.agree("our model and the zoo's", predict(test_set)[:, 0], predictions, tolerance=30)

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **形状不同却不报错**：`y_pred` 是 `[32, 1]`，`y` 是 `[32]`，相减会广播成 `[32, 32]`。
#   torch 会警告 `Using a target size ... that is different to the input size`，不要忽略它，
#   给 `y` 加上 `[:, None]`。
# - **没有标准化**：第一个 epoch 的损失就是 `inf`，然后是 `nan`。先把每一列标准化。
# - **`nan` 之后继续训练**：权重一旦成为 `nan` 就回不来。减小学习率，从头再来。
# - **用测试集的均值做标准化**：测试集的信息进入了模型，测得的分数偏高。
#
# ## 练习
#
# 1. 在三个点的程序里把学习率改为 0.1。会怎样？再把 `reduction` 改为 `"mean"` 呢？
#
# <details markdown="1"><summary>答案</summary>
#
# `"sum"` 时损失从 44 涨到 238，然后到 `nan`；`"mean"` 时收敛到 $w = 2$。
# 损失的曲率（二阶导数矩阵的最大特征值）在 `"sum"` 下是 33.3，
# 动量为 $\mu$ 的 SGD 要求 $\eta < 2 (1 + \mu) / 33.3 = 0.09$；`"mean"` 下曲率是三分之一，
# 界限是 0.27。
#
# </details>
#
# 2. 用纸算出第一步：从 $w = 1$，$b = 0$ 出发，`reduction="sum"`，$\eta = 0.01$，没有动量。
#
# <details markdown="1"><summary>答案</summary>
#
# 误差是 $-1, -2, -3$。$\partial L / \partial w = 2 (-1 \cdot 1 - 2 \cdot 2 - 3 \cdot 3) = -28$，
# $\partial L / \partial b = 2 (-1 - 2 - 3) = -12$。所以 $w = 1.28$，$b = 0.12$。
#
# </details>
#
# 3. 把 `batch_size` 改为 266，训练 1000 个 epoch。训练损失离精确解还有多远？
#
# <details markdown="1"><summary>答案</summary>
#
# 2960.0，精确解是 2954.9。现在每一步都用全部数据，不再摆动，但列 `s1` 和 `s2` 高度相关，
# 损失在某个方向上几乎是平的，沿这个方向走得很慢。zoo 的配方因此用学习率 0.1 和动量 0.95。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **Shapes differ and nothing fails**: with `y_pred` of shape `[32, 1]` and `y` of shape `[32]`,
#   the difference is broadcast to `[32, 32]`. torch warns:
#   `Using a target size ... that is different to the input size`. Do not ignore it; write
#   `y[:, None]`.
# - **The columns are not standardized**: the loss of the first epoch is already `inf`, and then
#   `nan`. Standardize each column.
# - **Training goes on after `nan`**: weights that are `nan` stay `nan`. Lower the learning rate
#   and start from the beginning.
# - **The test rows are standardized with their own mean**: the model then knows something about
#   the test set, and the score is too good.
#
# ## Exercises
#
# 1. Set the learning rate to 0.1 in the program with three points. What happens? And with
#    `reduction="mean"`?
#
# <details markdown="1"><summary>Answer</summary>
#
# With `"sum"` the loss goes from 44 to 238 and on to `nan`; with `"mean"` it converges to
# $w = 2$. The curvature of the loss (the largest eigenvalue of its second derivatives) is 33.3
# with `"sum"`, and SGD with momentum $\mu$ needs $\eta < 2 (1 + \mu) / 33.3 = 0.09$. With
# `"mean"` the curvature is a third of that, and the limit is 0.27.
#
# </details>
#
# 2. Compute the first step on paper: from $w = 1$ and $b = 0$, with `reduction="sum"`,
#    $\eta = 0.01$ and no momentum.
#
# <details markdown="1"><summary>Answer</summary>
#
# The errors are $-1, -2, -3$.
# $\partial L / \partial w = 2 (-1 \cdot 1 - 2 \cdot 2 - 3 \cdot 3) = -28$ and
# $\partial L / \partial b = 2 (-1 - 2 - 3) = -12$. So $w = 1.28$ and $b = 0.12$.
#
# </details>
#
# 3. Set `batch_size` to 266 and train for 1,000 epochs. How far from the exact solution is the
#    training loss?
#
# <details markdown="1"><summary>Answer</summary>
#
# It is 2960.0, and the exact solution has 2954.9. Every step now uses all rows, so nothing moves
# about any more. But the columns `s1` and `s2` are highly correlated: in one direction the loss
# is almost flat, and the way along it is slow. This is why the zoo's recipe has a learning rate
# of 0.1 and a momentum of 0.95.
#
# </details>
