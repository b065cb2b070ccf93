"""手写均方误差 MSELoss · MSELoss by hand

Code: zoo/scratch/loss.py
Picture: mse_loss_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 损失把“错得多厉害”变成一个数，反向传播就从这个数出发。回归问题最常用均方误差：
# 把每个输出与目标之差平方，再取平均。它的公式简单，出错却常在两处：
# 平均除以的是**元素个数**还是样本个数；输出与目标的形状悄悄广播成了别的样子。本课先写循环，
# 在纸上算三个数，再与 `zoo.scratch` 和 torch 对照，最后把损失画成曲线，
# 看它的梯度为什么对离群值特别敏感。

# %% [markdown] lang="en"
# ## Why
# A loss turns "how wrong" into one number, and back-propagation starts from it. Regression mostly
# uses the mean squared error: square each difference of output and target, then take the mean. The
# formula is simple, and mistakes happen in two places all the same: whether the mean divides by
# the number of **elements** or of samples, and whether the shapes of outputs and targets were
# quietly broadcast to something else. We write the loops, work out three numbers on paper, compare
# with `zoo.scratch` and torch, and draw the loss to see why its gradient is so sensitive to
# outliers.

# %% [markdown] lang="zh"
# ## 公式
# 输出 $o$ 与目标 $t$ 都是 `[N, D]`，$L$ 是一个数：
#
# $$
# L = \frac{1}{K} \sum_{n=1}^{N} \sum_{d=1}^{D} (o_{nd} - t_{nd})^2, \qquad
# \frac{\partial L}{\partial o_{nd}} = \frac{2\,(o_{nd} - t_{nd})}{K}
# $$
#
# `reduction="mean"` 时 $K = N D$，是**全部元素**的个数；`reduction="sum"` 时 $K = 1$。旧讲义里的
# `size_average=True` 就是今天的 `"mean"`，`reduce=False` 就是今天的 `"none"`，返回 `[N, D]`
# 的各项，不求和。
#
# 为什么是平方？若目标等于输出加上正态分布的噪声，最大似然就是最小化平方和；
# 最优的常数预测是平均值，而绝对误差 $|o - t|$ 的最优常数是中位数。

# %% [markdown] lang="en"
# ## The formulas
# The outputs $o$ and the targets $t$ are both `[N, D]`, and $L$ is one number:
#
# $$
# L = \frac{1}{K} \sum_{n=1}^{N} \sum_{d=1}^{D} (o_{nd} - t_{nd})^2, \qquad
# \frac{\partial L}{\partial o_{nd}} = \frac{2\,(o_{nd} - t_{nd})}{K}
# $$
#
# With `reduction="mean"`, $K = N D$ is the number of **all elements**; with `reduction="sum"`,
# $K = 1$. What older notes call `size_average=True` is `"mean"` today, and their `reduce=False` is
# `"none"`, which returns the `[N, D]` terms and adds nothing up.
#
# Why squares? If the target is the output plus normally distributed noise, the largest likelihood
# is the smallest sum of squares. The best constant prediction is then the mean, while that of the
# absolute error $|o - t|$ is the median.

# %% [markdown] lang="zh"
# ## 第一步：循环
# 前向累加平方差，反向逐个写出梯度。

# %% [markdown] lang="en"
# ## Step 1: loops
# Forward adds up the squared differences, backward writes the gradient of each element.

# %%
import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch
from zoo.errors import DataError


def mse_forward(outputs, targets):
    """Return the loss of outputs and targets [N, D]."""
    total = 0.0
    for n in range(outputs.shape[0]):
        for d in range(outputs.shape[1]):
            total += (outputs[n, d] - targets[n, d]) ** 2
    return total / outputs.size


def mse_backward(outputs, targets):
    """Return the gradient by the outputs, [N, D]."""
    gradient = np.zeros_like(outputs)
    for n in range(outputs.shape[0]):
        for d in range(outputs.shape[1]):
            gradient[n, d] = 2 * (outputs[n, d] - targets[n, d]) / outputs.size
    return gradient


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 一行三个数，$K = 3$：
#
# | 输出 o | 1 | 2 | 3 |
# |---|---|---|---|
# | 目标 t | 2 | 2 | 5 |
# | o - t | -1 | 0 | -2 |
# | (o - t)² | 1 | 0 | 4 |
# | 2 (o - t) / 3 | -0.6667 | 0 | -1.3333 |
#
# $L = (1 + 0 + 4) / 3 = 1.6667$。梯度为负，表示输出应当增大；差 2 的那个数，拉力是差 1 的两倍。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# One row of three numbers, so $K = 3$:
#
# | output o | 1 | 2 | 3 |
# |---|---|---|---|
# | target t | 2 | 2 | 5 |
# | o - t | -1 | 0 | -2 |
# | (o - t)² | 1 | 0 | 4 |
# | 2 (o - t) / 3 | -0.6667 | 0 | -1.3333 |
#
# $L = (1 + 0 + 4) / 3 = 1.6667$. A negative gradient says that the output should grow, and the
# number that is off by 2 is pulled twice as hard as the one that is off by 1.

# %%
outputs, targets = np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 2.0, 5.0]])
loss, gradient = mse_forward(outputs, targets), mse_backward(outputs, targets)
print(f"loss {loss:.4f}, gradient {gradient.round(4).tolist()}")
lessons.agree("loss on paper", loss, 5 / 3, 1e-12)
lessons.agree("gradient on paper", gradient, [[-2 / 3, 0, -4 / 3]], 1e-12)

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `zoo.scratch.MSELoss` 前向记住输出与目标，`backward()` 不需要上游梯度，因为
# $\partial L/\partial L = 1$。`lessons.beside_loss` 与 torch 对照损失和梯度，再与循环对照；`"sum"`
# 与 `"mean"` 恰好差 $K = 320$ 倍。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# `zoo.scratch.MSELoss` remembers outputs and targets in forward; its `backward()` takes no
# gradient from above, since $\partial L/\partial L = 1$. `lessons.beside_loss` compares loss and
# gradient with torch's, then we compare the loops. `"sum"` is exactly $K = 320$ times `"mean"`.

# %%
rng = np.random.default_rng(0)
outputs, targets = rng.standard_normal((32, 10)), rng.standard_normal((32, 10))
loss, gradient = lessons.beside_loss(scratch.MSELoss(), nn.MSELoss(), outputs, targets)
lessons.agree("loss, loops", mse_forward(outputs, targets), loss, 1e-12)
lessons.agree("d outputs, loops", mse_backward(outputs, targets), gradient, 1e-12)
total = scratch.MSELoss(reduction="sum")(outputs, targets)
print(f"sum / mean = {total / loss:.1f}")
lessons.agree("sum", total, 320 * loss, 1e-9)

# %% [markdown] lang="zh"
# ## 形状的陷阱
# 目标是 `[32]`、输出是 `[32, 1]` 时，相减会广播成 `[32, 32]`：每个输出与**每个**目标相减。torch
# 给一条警告，然后照算；损失变成别的东西，训练出来的模型只会预测平均值。`zoo.scratch`
# 要求形状完全相同，否则一行话报错。

# %% [markdown] lang="en"
# ## The trap of shapes
# With targets `[32]` and outputs `[32, 1]` the subtraction broadcasts to `[32, 32]`: each output
# minus **every** target. Torch warns and goes on; the loss is now something else, and a model that
# is trained with it learns to predict the mean. `zoo.scratch` insists on equal shapes and says so
# in one line.

# %%
column, flat = rng.standard_normal((32, 1)), rng.standard_normal(32)
print("[32, 1] - [32]:", list((column - flat).shape))
wrong = np.mean((column - flat) ** 2)
right = scratch.MSELoss()(column, flat[:, None])
lessons.say(f"损失成了 {wrong:.3f}，应为 {right:.3f}", f"loss {wrong:.3f} instead of {right:.3f}")
try:
    scratch.MSELoss()(column, flat)
    raise AssertionError("expected a complaint about the shapes")
except DataError as error:
    print(error)
assert abs(wrong - right) > 0.01

# %% [markdown] lang="zh"
# ## 离群值
# 100 个数在 1 附近，另有一个是 100。让一个常数 $c$ 去拟合：均方误差的最小处是平均值，被一个数拉到
# 2 附近；绝对误差 `nn.L1Loss` 的最小处是中位数，几乎不动；`nn.SmoothL1Loss` 居中，近处像平方、
# 远处像绝对值（P. Huber，1964）。

# %% [markdown] lang="en"
# ## Outliers
# 100 numbers are near 1, and one is 100. We fit a constant $c$: the squared error is smallest at
# the mean, which that one number pulls to about 2. The absolute error, `nn.L1Loss`, is smallest at
# the median, which hardly moves. `nn.SmoothL1Loss` is between them, like the square nearby and
# like the absolute value far away (P. Huber, 1964).

# %%
torch.manual_seed(0)
numbers = 1 + 0.1 * torch.randn(101)
numbers[-1] = 100
constants = torch.linspace(0, 4, 401)
curves = {}
lessons.say("损失最小处：", "the loss is smallest at:")
for name, criterion in (
    ("MSE", nn.MSELoss()),
    ("L1", nn.L1Loss()),
    ("SmoothL1", nn.SmoothL1Loss()),
):
    losses = torch.stack([criterion(c.expand(101), numbers) for c in constants])
    curves[name] = losses - losses.min()
    print(f"  {name:<9} c = {constants[losses.argmin()]:.2f}")
lessons.say(
    f"平均值 {numbers.mean():.2f}，中位数 {numbers.median():.2f}",
    f"mean {numbers.mean():.2f}, median {numbers.median():.2f}",
)
assert abs(constants[curves["MSE"].argmin()] - numbers.mean()) < 0.02
assert abs(constants[curves["L1"].argmin()] - numbers.median()) < 0.02

figure = lessons.figure(5.6, 3.2)
axes = figure.subplots()
for (name, losses), color in zip(curves.items(), ("#2563a8", "#c2571a", "#2f8f4e"), strict=True):
    axes.plot(constants, losses, color=color, label=name)
axes.axvline(numbers.mean(), color="0.6", linestyle=":")
axes.axvline(numbers.median(), color="0.6", linestyle=":")
axes.set(
    title="one outlier among 101 numbers", xlabel="constant c", ylabel="loss above its minimum"
)
axes.set_ylim(0, 2)
axes.grid(alpha=0.25)
axes.legend(frameon=False)
lessons.save(figure, "mse_loss_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 输出 `[N, 1]`、目标 `[N]`：损失停在目标的方差附近降不下去。写 `targets[:, None]`，或者
#   `outputs.squeeze(1)`。
# - 自己用 `"sum"` 却沿用 `"mean"` 的学习率：梯度大了几百倍，几步之内就是 `nan`。
# - 用均方误差训练分类器（Sigmoid 之后）：错得最离谱时梯度最小，见课程“三种激活函数的比较”。
#   分类用交叉熵。

# %% [markdown] lang="en"
# ## Usual mistakes
# - Outputs `[N, 1]` and targets `[N]`: the loss stays near the variance of the targets. Write
#   `targets[:, None]` or `outputs.squeeze(1)`.
# - `"sum"` with the learning rate of `"mean"`: the gradient is hundreds of times larger, and after
#   a few steps the loss is `nan`.
# - The squared error for a classifier, after a sigmoid: the gradient is smallest where the answer
#   is most wrong; see the lesson "Activations compared". Classifiers use cross-entropy.

# %% [markdown] lang="zh"
# ## 练习
# 1. 把上面三个数的目标都加 1，输出也都加 1，损失和梯度变吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 不变：两者都只依赖差 $o - t$。
#
# </details>
#
# 2. 批大小从 32 改成 64，`"mean"` 的梯度中每个元素大约变成多少？
#
# <details markdown="1"><summary>答案</summary>
#
# $K$ 加倍，每个元素减半；但权重的梯度是 64 行之和，所以大小与 32 行时相近。正因如此，用 `"mean"`
# 时改变批大小不必大改学习率。
#
# </details>
#
# 3. 把循环改成绝对误差 $\frac{1}{K}\sum|o - t|$，反向写什么？对纸上的例子得到多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 前向 `total += abs(outputs[n, d] - targets[n, d])`，反向
# `np.sign(outputs[n, d] - targets[n, d]) / outputs.size`。损失是 1，梯度是 -0.3333、0、-0.3333，与
# `nn.L1Loss` 相同。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Add 1 to all three targets and to all three outputs of the example. Do the loss and the
#    gradient change?
#
# <details markdown="1"><summary>Answer</summary>
#
# No: both depend on the difference $o - t$ alone.
#
# </details>
#
# 2. The batch grows from 32 to 64. What becomes of each element of the gradient with `"mean"`?
#
# <details markdown="1"><summary>Answer</summary>
#
# $K$ doubles, so each element halves. The gradient of the weights is a sum over 64 rows, though,
# and so it is about as large as with 32. That is why with `"mean"` another batch size needs no
# very different learning rate.
#
# </details>
#
# 3. Change the loops to the absolute error $\frac{1}{K}\sum|o - t|$. What does backward say, and
#    what comes out for the example on paper?
#
# <details markdown="1"><summary>Answer</summary>
#
# Forward has `total += abs(outputs[n, d] - targets[n, d])`, backward
# `np.sign(outputs[n, d] - targets[n, d]) / outputs.size`. The loss is 1 and the gradient -0.3333,
# 0, -0.3333, as with `nn.L1Loss`.
#
# </details>
