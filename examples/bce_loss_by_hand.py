"""手写二分类交叉熵 BCELoss · BCELoss by hand

Code: zoo/scratch/loss.py, zoo/scratch/activation.py
Picture: bce_loss_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 问题只有“是”与“否”两个答案时，网络输出一个概率 $p$，用二分类交叉熵训练。PyTorch 有两个：`BCELoss`
# 接受概率，`BCEWithLogitsLoss` 接受得分，在内部做 Sigmoid。数学上二者相同，数值上却不同：得分是
# -800 时，前者的概率已经变成 0，对数是负无穷，torch 只好截断在 -100，梯度更是早已消失；
# 后者给出正确答案 800。本课先写循环，在纸上算三行，再比较二者，并与 `zoo.scratch` 和 torch 对照。

# %% [markdown] lang="en"
# ## Why
# When a question has two answers, yes and no, the network returns one probability $p$ and is
# trained with binary cross-entropy. PyTorch has two of it: `BCELoss` takes probabilities,
# `BCEWithLogitsLoss` takes scores and applies the sigmoid inside. In mathematics they are the
# same, in numbers they are not. At a score of -800 the probability has become 0 and its logarithm
# minus infinity; torch has to cut it off at -100, and the gradient is lost even before that. The
# other one gives the right answer, 800. We write the loops, work out three rows on paper, compare
# the two, and check `zoo.scratch` against torch.

# %% [markdown] lang="zh"
# ## 公式
# 概率 $p$ 与目标 $t$（0 或 1，也可以是中间的数）形状相同，这里是 `[N, 1]`，$L$ 是一个数：
#
# $$
# L = -\frac{1}{N} \sum_{n} \Big( t_n \ln p_n + (1 - t_n) \ln (1 - p_n) \Big), \qquad
# \frac{\partial L}{\partial p_n} = \frac{p_n - t_n}{N \, p_n (1 - p_n)}
# $$
#
# 令 $p = \sigma(z)$，Sigmoid 的导数 $p(1-p)$ 恰好与分母约去，对得分的梯度非常简单：
#
# $$
# \frac{\partial L}{\partial z_n} = \frac{\partial L}{\partial p_n} \cdot p_n (1 - p_n)
# = \frac{p_n - t_n}{N}
# $$
#
# `BCEWithLogitsLoss` 直接用得分计算，指数里只有 $-|z| \le 0$，不会溢出：
#
# $$
# L = \frac{1}{N} \sum_{n} \Big( \max(z_n, 0) - z_n t_n + \ln (1 + e^{-|z_n|}) \Big)
# $$
#
# 推导：$t = 1$ 时损失是 $-\ln \sigma(z) = \ln(1 + e^{-z})$，$z \ge 0$ 时正是上式；$z < 0$ 时提出
# $e^{-z}$，得到 $-z + \ln(1 + e^{z})$，也是上式。$t = 0$ 时同理。

# %% [markdown] lang="en"
# ## The formulas
# The probabilities $p$ and the targets $t$ (0 or 1, or between them) have one shape, here
# `[N, 1]`, and $L$ is one number:
#
# $$
# L = -\frac{1}{N} \sum_{n} \Big( t_n \ln p_n + (1 - t_n) \ln (1 - p_n) \Big), \qquad
# \frac{\partial L}{\partial p_n} = \frac{p_n - t_n}{N \, p_n (1 - p_n)}
# $$
#
# With $p = \sigma(z)$ the derivative of the sigmoid, $p(1-p)$, cancels the denominator, and the
# gradient by the score is very simple:
#
# $$
# \frac{\partial L}{\partial z_n} = \frac{\partial L}{\partial p_n} \cdot p_n (1 - p_n)
# = \frac{p_n - t_n}{N}
# $$
#
# `BCEWithLogitsLoss` computes from the scores, and its only exponent is $-|z| \le 0$, so that
# nothing overflows:
#
# $$
# L = \frac{1}{N} \sum_{n} \Big( \max(z_n, 0) - z_n t_n + \ln (1 + e^{-|z_n|}) \Big)
# $$
#
# The derivation: with $t = 1$ the loss is $-\ln \sigma(z) = \ln(1 + e^{-z})$. For $z \ge 0$ that
# is the formula; for $z < 0$ we take $e^{-z}$ out of the logarithm and get $-z + \ln(1 + e^{z})$,
# which is the formula again. With $t = 0$ it goes the same way.

# %% [markdown] lang="zh"
# ## 第一步：循环
# 按第一个公式写，输入是概率。

# %% [markdown] lang="en"
# ## Step 1: loops
# These follow the first formula, for probabilities.

# %%
import math

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch


def bce_forward(p, targets):
    """Return the loss of probabilities and targets [N, 1]."""
    total = 0.0
    for n in range(len(p)):
        yes, no = math.log(p[n, 0]), math.log(1 - p[n, 0])
        total -= targets[n, 0] * yes + (1 - targets[n, 0]) * no
    return total / len(p)


def bce_backward(p, targets):
    """Return the gradient by the probabilities, [N, 1]."""
    gradient = np.zeros_like(p)
    for n in range(len(p)):
        slope = (p[n, 0] - targets[n, 0]) / (p[n, 0] * (1 - p[n, 0]))
        gradient[n, 0] = slope / len(p)
    return gradient


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 三行，$N = 3$：
#
# | p | 目标 t | 损失 | p - t | dp |
# |---|---|---|---|---|
# | 0.9 | 1 | 0.1054 | -0.1 | -0.3704 |
# | 0.5 | 0 | 0.6931 | 0.5 | 0.6667 |
# | 0.1 | 1 | 2.3026 | -0.9 | -3.3333 |
#
# $L = (0.1054 + 0.6931 + 2.3026) / 3 = 1.0337$。例如第一行的
# $dp = -0.1 / (0.9 \times 0.1) / 3 = -0.3704$。答错又很有把握的第三行，损失和梯度都最大；
# 而对得分的梯度只是 $(p - t)/3$，最大也不超过 $\tfrac13$。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# Three rows, so $N = 3$:
#
# | p | target t | loss | p - t | dp |
# |---|---|---|---|---|
# | 0.9 | 1 | 0.1054 | -0.1 | -0.3704 |
# | 0.5 | 0 | 0.6931 | 0.5 | 0.6667 |
# | 0.1 | 1 | 2.3026 | -0.9 | -3.3333 |
#
# $L = (0.1054 + 0.6931 + 2.3026) / 3 = 1.0337$. In the first row, for example,
# $dp = -0.1 / (0.9 \times 0.1) / 3 = -0.3704$. The third row is wrong and sure of it, and has the
# largest loss and gradient. The gradient by the score is only $(p - t)/3$, and never above
# $\tfrac13$.

# %%
p = np.array([[0.9], [0.5], [0.1]])
targets = np.array([[1.0], [0.0], [1.0]])
loss, gradient = bce_forward(p, targets), bce_backward(p, targets)
print(f"loss {loss:.4f}, gradient {gradient.flatten().round(4).tolist()}")
lessons.agree("loss on paper", loss, 1.0337, 5e-5)
lessons.agree("gradient on paper", gradient, [[-0.3704], [0.6667], [-3.3333]], 5e-5)

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `zoo.scratch` 的两个损失分别与 torch 对照，再与循环对照；最后验证两条路相同：
# 概率的损失等于得分的损失，得分的梯度等于 $(p - t)/N$。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# Both losses of `zoo.scratch` stand beside torch's, then beside the loops. At the end we check
# that both ways are the same: the loss of the probabilities is that of the scores, and the
# gradient by the scores is $(p - t)/N$.

# %%
rng = np.random.default_rng(0)
z = 3 * rng.standard_normal((64, 1))
targets = rng.integers(0, 2, (64, 1)).astype(np.float64)
p = scratch.Sigmoid()(z)
print("BCELoss:")
loss, gradient = lessons.beside_loss(scratch.BCELoss(), nn.BCELoss(), p, targets)
lessons.agree("loss, loops", bce_forward(p, targets), loss, 1e-12)
lessons.agree("d p, loops", bce_backward(p, targets), gradient, 1e-12)
print("BCEWithLogitsLoss:")
criterion, peer = scratch.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss()
same, slope = lessons.beside_loss(criterion, peer, z, targets)
lessons.agree("both losses", same, loss, 1e-12)
lessons.agree("d z = (p - t) / N", slope, (p - targets) / 64, 1e-12)

# %% [markdown] lang="zh"
# ## 数值稳定性
# 目标是 1，得分从 0 降到 -800，看 torch 的两种写法。float32 里，Sigmoid 之后再取对数的那一种，
# 损失最多 100（PyTorch 把对数截断在 -100），梯度成了 0：错得最厉害的样本再也学不动。
# 合在一起的那一种，损失就是 $-z$，梯度一直是 -1。

# %% [markdown] lang="en"
# ## Numerical stability
# The target is 1 and the score goes from 0 down to -800; we look at both ways in torch. In
# float32, the way with a sigmoid and then a logarithm has a loss of 100 at most (PyTorch cuts the
# logarithm off at -100), and its gradient becomes 0: the sample that is most wrong cannot learn
# any more. In the way that does both at once the loss is $-z$, and the gradient stays -1.

# %%
scores = torch.tensor([0.0, -10.0, -50.0, -100.0, -200.0, -800.0])
ones = torch.ones(6)
results = {}
for name in ("apart", "together"):
    z = scores.clone().requires_grad_()
    if name == "apart":
        rows = nn.BCELoss(reduction="none")(torch.sigmoid(z), ones)
    else:
        rows = nn.BCEWithLogitsLoss(reduction="none")(z, ones)
    rows.sum().backward()
    results[name] = (rows.tolist(), z.grad.tolist())
    print(f"{name:<9} loss    ", [round(value, 3) for value in results[name][0]])
    print(f"{name:<9} gradient", [round(value, 3) for value in results[name][1]])
assert max(results["apart"][0]) == 100
assert results["apart"][1][-1] == 0
assert results["together"][0][-1] == 800
assert results["together"][1][-1] == -1

# %% [markdown] lang="zh"
# ## 图
# 左：目标是 1 时，两种写法的损失随得分的变化；右：梯度。分开的写法，损失在 -90 附近跳到 100
# 之后就平了（float32 的 $p$ 成了 0）；梯度消失得更早，-28 以下就几乎是 0，因为 PyTorch 让分母
# $p(1-p)$ 不小于 $10^{-12}$。

# %% [markdown] lang="en"
# ## The picture
# On the left the loss of both ways by the score, with the target 1; on the right the gradient. In
# two steps the loss jumps to 100 near -90, where the $p$ of float32 becomes 0, and is flat from
# there. The gradient is lost earlier: below -28 it is almost 0, since PyTorch keeps the
# denominator $p(1-p)$ at $10^{-12}$ or more.

# %%
z = torch.linspace(-200, 20, 441)
ones = torch.ones(441)
figure = lessons.figure(7.2, 3.0)
left, right = figure.subplots(1, 2)
for name, color, style in (("apart", "#c2571a", "-"), ("together", "#2563a8", "--")):
    inputs = z.clone().requires_grad_()
    if name == "apart":
        rows = nn.BCELoss(reduction="none")(torch.sigmoid(inputs), ones)
    else:
        rows = nn.BCEWithLogitsLoss(reduction="none")(inputs, ones)
    rows.sum().backward()
    left.plot(z, rows.detach(), style, color=color, label=name)
    right.plot(z, inputs.grad, style, color=color, label=name)
z = torch.tensor([-25.0, -35.0], requires_grad=True)
nn.BCELoss(reduction="sum")(torch.sigmoid(z), torch.ones(2)).backward()
lessons.say("分开的写法，得分 -25 与 -35 处的梯度：", "apart, gradient at scores -25 and -35:")
print([round(value, 3) for value in z.grad.tolist()])
assert z.grad[0] < -0.9
assert z.grad[1] > -0.01

left.set(title="loss, target 1, float32", xlabel="score z")
right.set(title="gradient by the score", xlabel="score z")
for axes in (left, right):
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
lessons.save(figure, "bce_loss_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 把得分送进 `BCELoss`：torch 报错，要求输入在 0 与 1 之间。加上 Sigmoid，或者（更好）改用
#   `BCEWithLogitsLoss`。
# - 把概率送进 `BCEWithLogitsLoss`：不报错，但 Sigmoid 做了两次，损失最低只有
#   $-\ln \sigma(1) = 0.3133$。网络最后不要加 Sigmoid。
# - 目标是整数：torch 报类型不符。写 `targets.float()`；形状也要与输出一样是 `[N, 1]`。
# - 正例很少时损失很快变小，模型却总说“否”：看召回率，或给正例加权 `pos_weight`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - Scores go into `BCELoss`: torch raises an error, since the input has to be between 0 and 1. Add
#   a sigmoid, or better, use `BCEWithLogitsLoss`.
# - Probabilities go into `BCEWithLogitsLoss`: there is no error, but the sigmoid is applied twice,
#   and the loss for a target of 1 cannot fall below $-\ln \sigma(1) = 0.3133$. Put no sigmoid at
#   the end of the network.
# - The targets are integers: torch complains about the type. Write `targets.float()`; the shape
#   has to be `[N, 1]`, too, like that of the outputs.
# - With few positive samples the loss is small soon, while the model always says no: look at the
#   recall, or weight the positive ones by `pos_weight`.

# %% [markdown] lang="zh"
# ## 练习
# 1. 目标是 0.5 时，哪个 $p$ 使损失最小？最小值是 0 吗？
#
# <details markdown="1"><summary>答案</summary>
#
# $p = 0.5$（梯度 $p - t = 0$），最小值是 $\ln 2 = 0.6931$，不是 0：它是目标本身的熵。
#
# </details>
#
# 2. 二分类交叉熵与 `CrossEntropyLoss` 有什么关系？用代码验证。
#
# <details markdown="1"><summary>答案</summary>
#
# 得分 $z$ 的二分类等于得分 $[0, z]$ 的两类交叉熵：
# `scratch.CrossEntropyLoss()(np.hstack([0 * z, z]), targets[:, 0].astype(int))` 与
# `scratch.BCEWithLogitsLoss()(z, targets)` 相同（用第三步的 `z` 和 `targets`）。
#
# </details>
#
# 3. 写一个循环版的 `BCEWithLogitsLoss`，对 $z = -800$、$t = 1$ 应当得到多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 每行 `max(z, 0) - z * t + math.log1p(math.exp(-abs(z)))`，得到 800.0。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. With a target of 0.5, which $p$ has the smallest loss, and is that loss 0?
#
# <details markdown="1"><summary>Answer</summary>
#
# $p = 0.5$, where the gradient $p - t$ is 0. The loss there is $\ln 2 = 0.6931$ and not 0: it is
# the entropy of the target itself.
#
# </details>
#
# 2. How is binary cross-entropy related to `CrossEntropyLoss`? Check it in code.
#
# <details markdown="1"><summary>Answer</summary>
#
# A score $z$ of two classes is the same as the scores $[0, z]$:
# `scratch.CrossEntropyLoss()(np.hstack([0 * z, z]), targets[:, 0].astype(int))` equals
# `scratch.BCEWithLogitsLoss()(z, targets)`, with `z` and `targets` of step 3.
#
# </details>
#
# 3. Write `BCEWithLogitsLoss` as a loop. What should it return for $z = -800$ and $t = 1$?
#
# <details markdown="1"><summary>Answer</summary>
#
# Each row is `max(z, 0) - z * t + math.log1p(math.exp(-abs(z)))`, which gives 800.0.
#
# </details>
