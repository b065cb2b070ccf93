"""手写交叉熵 CrossEntropyLoss · CrossEntropyLoss by hand

Code: zoo/scratch/loss.py, zoo/scratch/activation.py
Picture: cross_entropy_loss_by_hand.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 几乎所有分类网络都用交叉熵训练。网络最后一层给每个类别一个得分（logit），softmax 把得分变成概率，
# 交叉熵则问：正确类别得到的概率有多大？概率越小，损失越大。它的梯度出奇地简单——概率减去目标。
# 但照公式直接写，得分一大就会溢出；真正的实现都要先减去最大值，这叫 log-sum-exp 技巧。
# 本课先写循环，在纸上算一行，看朴素写法如何出错，再与 `zoo.scratch` 和 torch 对照。

# %% [markdown] lang="en"
# ## Why
# Nearly every classifier is trained with cross-entropy. The last layer gives each class a score
# (logit), softmax turns the scores into probabilities, and cross-entropy asks how much probability
# the right class got: the less, the larger the loss. Its gradient is surprisingly simple, namely
# the probabilities minus the target. Written down as the formula stands, however, it overflows
# when scores are large. Every real implementation subtracts the largest score first, which is
# called the log-sum-exp trick. We write the loops, work out one row on paper, see how the plain
# version fails, and compare with `zoo.scratch` and torch.

# %% [markdown] lang="zh"
# ## 公式
# 得分 $z$ 是 `[N, C]`，目标 $t$ 是 `[N]`，每个是 0 到 $C-1$ 的整数，$L$ 是一个数：
#
# $$
# p_{nc} = \frac{e^{z_{nc}}}{\sum_{j} e^{z_{nj}}}, \qquad
# L = -\frac{1}{N} \sum_{n} \ln p_{n t_n}
# = \frac{1}{N} \sum_{n} \Big( \ln \sum_{j} e^{z_{nj}} - z_{n t_n} \Big)
# $$
#
# 对得分求导：第一项的导数恰好是 softmax，第二项只在正确类别处是 $-1$，
#
# $$
# \frac{\partial L}{\partial z_{nc}} = \frac{p_{nc} - [c = t_n]}{N}
# $$
#
# 每行梯度之和为 0：一个类别得到的，正是其他类别失去的。所有得分加上同一个数 $a$，概率不变；取
# $a = -\max_j z_j$，指数就都不大于 0：
#
# $$
# \ln \sum_j e^{z_j} = m + \ln \sum_j e^{z_j - m}, \qquad m = \max_j z_j
# $$

# %% [markdown] lang="en"
# ## The formulas
# The scores $z$ are `[N, C]`, the targets $t$ are `[N]` integers from 0 to $C-1$, and $L$ is one
# number:
#
# $$
# p_{nc} = \frac{e^{z_{nc}}}{\sum_{j} e^{z_{nj}}}, \qquad
# L = -\frac{1}{N} \sum_{n} \ln p_{n t_n}
# = \frac{1}{N} \sum_{n} \Big( \ln \sum_{j} e^{z_{nj}} - z_{n t_n} \Big)
# $$
#
# The derivative of the first term by a score is just the softmax, and the second term adds $-1$ at
# the right class:
#
# $$
# \frac{\partial L}{\partial z_{nc}} = \frac{p_{nc} - [c = t_n]}{N}
# $$
#
# Each row of the gradient adds up to 0: what one class gains the others lose. Adding one number
# $a$ to all scores leaves the probabilities as they are; with $a = -\max_j z_j$ no exponent is
# above 0:
#
# $$
# \ln \sum_j e^{z_j} = m + \ln \sum_j e^{z_j - m}, \qquad m = \max_j z_j
# $$

# %% [markdown] lang="zh"
# ## 第一步：循环
# 先是照公式写的朴素版本：每行一个 softmax，取正确类别的负对数。反向就是概率，在正确类别处减 1，
# 再除以 $N$。

# %% [markdown] lang="en"
# ## Step 1: loops
# First the plain version, as the formula stands: a softmax for each row, and the negative
# logarithm at the right class. Backward is the probabilities, minus 1 at the right class, over
# $N$.

# %%
import math

import numpy as np
from torch import nn

from zoo import lessons, scratch


def naive_softmax(scores):
    """Return the probabilities of one row of scores [C]."""
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def cross_entropy_forward(logits, targets):
    """Return the loss of logits [N, C] and class numbers [N]."""
    total = 0.0
    for n in range(len(targets)):
        p = naive_softmax(logits[n])
        total += -math.log(p[targets[n]])
    return total / len(targets)


def cross_entropy_backward(logits, targets):
    """Return the gradient by the logits, [N, C]."""
    gradient = np.zeros_like(logits)
    for n in range(len(targets)):
        p = naive_softmax(logits[n])
        for c in range(logits.shape[1]):
            one_hot = 1 if c == targets[n] else 0
            gradient[n, c] = (p[c] - one_hot) / len(targets)
    return gradient


# %% [markdown] lang="zh"
# ## 第二步：纸上的数字
# 一行三个类别，正确的是 0 号：
#
# | 类别 | 0 | 1 | 2 | 和 |
# |---|---|---|---|---|
# | z | 2 | 1 | 0.1 | |
# | e^z | 7.3891 | 2.7183 | 1.1052 | 11.2125 |
# | p | 0.6590 | 0.2424 | 0.0986 | 1 |
# | dz | -0.3410 | 0.2424 | 0.0986 | 0 |
#
# $L = -\ln 0.6590 = 0.4170$。0 号的得分应当升高（梯度为负），另外两个按各自的概率降低。

# %% [markdown] lang="en"
# ## Step 2: the numbers on paper
# One row with three classes, of which class 0 is right:
#
# | class | 0 | 1 | 2 | sum |
# |---|---|---|---|---|
# | z | 2 | 1 | 0.1 | |
# | e^z | 7.3891 | 2.7183 | 1.1052 | 11.2125 |
# | p | 0.6590 | 0.2424 | 0.0986 | 1 |
# | dz | -0.3410 | 0.2424 | 0.0986 | 0 |
#
# $L = -\ln 0.6590 = 0.4170$. The score of class 0 should rise (a negative gradient), and the other
# two should fall, each in proportion to its probability.

# %%
logits, targets = np.array([[2.0, 1.0, 0.1]]), np.array([0])
loss = cross_entropy_forward(logits, targets)
gradient = cross_entropy_backward(logits, targets)
print(f"loss {loss:.4f}, gradient {gradient.round(4).tolist()}")
lessons.agree("loss on paper", loss, 0.4170, 5e-5)
lessons.agree("gradient on paper", gradient, [[-0.3410, 0.2424, 0.0986]], 5e-5)

# %% [markdown] lang="zh"
# ## 数值稳定性
# 得分 1000 和 0、正确的是 1 号：答案显然是 1000，朴素版本却溢出。得分 -1000 和 -2000 更隐蔽：
# 不溢出，但两个 $e^z$ 都成了 0，变成 0 除以 0。减去最大值之后，最大的指数是 $e^0 = 1$，分母至少是
# 1，不会溢出，也不会除以 0。还要**一起**算对数与 softmax：先得到概率 0 再取对数，就是负无穷。

# %% [markdown] lang="en"
# ## Numerical stability
# Scores of 1000 and 0 with class 1 right: the answer is clearly 1000, and the plain version
# overflows. Scores of -1000 and -2000 fail in another way: nothing overflows, but both $e^z$
# become 0, and 0 is divided by 0. With the largest score subtracted, the largest power is
# $e^0 = 1$ and the denominator is at least 1: no overflow and no division by 0. The logarithm and
# the softmax have to be computed **together**, since the logarithm of a probability that has
# become 0 is minus infinity.


# %%
def stable_cross_entropy(scores, target):
    """Return the loss of one row of scores [C], for any scores."""
    largest = max(scores)
    total = sum(math.exp(score - largest) for score in scores)
    return largest + math.log(total) - scores[target]


for scores, target, expected in (([1000.0, 0.0], 1, 1000), ([-1000.0, -2000.0], 0, 0)):
    try:
        naive = str(-math.log(naive_softmax(scores)[target]))
    except (OverflowError, ZeroDivisionError) as error:
        naive = type(error).__name__
    stable = stable_cross_entropy(scores, target)
    by_scratch = scratch.CrossEntropyLoss()(np.array([scores]), np.array([target]))
    lessons.say(
        f"得分 {scores}：朴素 {naive}，稳定 {stable}，zoo.scratch {by_scratch}",
        f"scores {scores}: naive {naive}, stable {stable}, zoo.scratch {by_scratch}",
    )
    assert naive in ("OverflowError", "ZeroDivisionError")
    assert stable == by_scratch == expected

# %% [markdown] lang="zh"
# ## 第三步：NumPy 与 torch
# `zoo.scratch.CrossEntropyLoss` 对整批做同样的事：`z - z.max(axis=-1, keepdims=True)`，再减去
# `log(sum(exp(...)))`，这就是 `log_softmax`。与 torch 对照损失和梯度，与循环对照，
# 再验证每行梯度之和为 0。

# %% [markdown] lang="en"
# ## Step 3: NumPy and torch
# `zoo.scratch.CrossEntropyLoss` does the same for a whole batch:
# `z - z.max(axis=-1, keepdims=True)`, minus `log(sum(exp(...)))`, which is `log_softmax`. We
# compare the loss and the gradient with torch's and with the loops, and check that each row of the
# gradient adds up to 0.

# %%
rng = np.random.default_rng(0)
logits, targets = 5 * rng.standard_normal((128, 10)), rng.integers(0, 10, 128)
criterion, peer = scratch.CrossEntropyLoss(), nn.CrossEntropyLoss()
loss, gradient = lessons.beside_loss(criterion, peer, logits, targets)
lessons.agree("loss, loops", cross_entropy_forward(logits, targets), loss, 1e-12)
lessons.agree("d logits, loops", cross_entropy_backward(logits, targets), gradient, 1e-12)
lessons.agree("each row sums to 0", gradient.sum(axis=1), np.zeros(128), 1e-12)

# %% [markdown] lang="zh"
# ## 损失多大算好
# 什么都没学到的网络给 $C$ 个类别相同的概率，损失是 $\ln C$：十类时 2.303。
# 训练一开始的损失应当在这附近；高出很多，说明初始的得分太大。图里是损失与正确类别概率的关系：
# 概率接近 0 时损失没有上限，所以一张标错的图片就可能占去整批损失的大半。
# 右图是损失对正确类别得分的梯度 $p - 1$：错得越离谱，它的绝对值越大，但不会超过 1。

# %% [markdown] lang="en"
# ## What a good loss is
# A network that has learned nothing gives all $C$ classes the same probability, and its loss is
# $\ln C$: 2.303 with ten classes. A training should start near that; a much larger value says that
# the first scores are too large. The picture shows the loss by the probability of the right class.
# Near 0 it has no bound, so one image with a wrong label can be most of a batch's loss. On the
# right is the gradient by the right class's score, $p - 1$: the more wrong, the larger its
# absolute value, which is never above 1.

# %%
uniform = criterion(np.zeros((4, 10)), np.array([0, 3, 5, 9]))
lessons.say(
    f"得分全部相同：损失 {uniform:.4f}，ln 10 = {math.log(10):.4f}",
    f"equal scores: loss {uniform:.4f}, ln 10 = {math.log(10):.4f}",
)
lessons.agree("ln C", uniform, math.log(10), 1e-12)
p = np.linspace(0.005, 1, 200)
figure = lessons.figure(7.2, 3.0)
left, right = figure.subplots(1, 2)
left.plot(p, -np.log(p), color="#2563a8")
left.plot(0.1, math.log(10), "o", color="#c2571a")
left.annotate("ln 10: no idea", (0.1, math.log(10)), (0.2, 2.6), color="#c2571a")
left.set(title="loss of one row", xlabel="p of the right class", ylabel="-ln p", ylim=(0, 5.3))
right.plot(p, p - 1, color="#2563a8")
right.set(title="gradient by its score", xlabel="p of the right class", ylabel="p - 1")
for axes in (left, right):
    axes.grid(alpha=0.25)
lessons.save(figure, "cross_entropy_loss_by_hand.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 网络最后加了 softmax，又用 `CrossEntropyLoss`：做了两次 softmax，概率被压平，
#   十类时损失最低也只有 1.46。网络应当直接输出得分。
# - 目标写成 one-hot 的整数矩阵：torch 需要 `[N]` 的类别号（`int64`），或者 `[N, C]`
#   的**浮点**概率。
# - 目标从 1 数到 C：torch 报 `Target C is out of bounds`，在 GPU 上则是一条看不懂的断言错误。
#   类别号从 0 开始。

# %% [markdown] lang="en"
# ## Usual mistakes
# - A softmax at the end of the network and `CrossEntropyLoss` as well: softmax is applied twice,
#   the probabilities are flattened, and with ten classes the loss cannot fall below 1.46. The
#   network should return scores.
# - Targets as a one-hot matrix of integers: torch wants class numbers `[N]` (`int64`), or
#   **floating-point** probabilities `[N, C]`.
# - Targets counted from 1 to C: torch says `Target C is out of bounds`, and on a GPU it is an
#   assertion that is hard to read. Class numbers start at 0.

# %% [markdown] lang="zh"
# ## 练习
# 1. “两次 softmax 最低 1.46”是怎么来的？
#
# <details markdown="1"><summary>答案</summary>
#
# 第一次 softmax 的输出最好也只是 $(1, 0, \dots, 0)$。把它当得分：
# $-\ln \frac{e}{e + 9} = \ln(e + 9) - 1 = 1.461$。
#
# </details>
#
# 2. 把纸上例子的得分都加 100，再都乘 2，损失各变成多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 加 100：不变，0.4170。乘 2（得分 4、2、0.2）：`stable_cross_entropy([4, 2, 0.2], 0)` 得到
# 0.1464，差距拉大，网络更有把握。
#
# </details>
#
# 3. 给循环加上标签平滑 $\varepsilon = 0.1$：目标从 one-hot 换成 $q_c = 0.9\,[c = t] + 0.1 / C$。
#    纸上例子的梯度应当是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 反向改成 `p[c] - 0.9 * one_hot - 0.1 / 3`，得到 -0.2743、0.2091、0.0652，与
# `scratch.CrossEntropyLoss(label_smoothing=0.1)` 相同。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Where does the 1.46 of the double softmax come from?
#
# <details markdown="1"><summary>Answer</summary>
#
# The first softmax returns $(1, 0, \dots, 0)$ at best. With these as scores the loss is
# $-\ln \frac{e}{e + 9} = \ln(e + 9) - 1 = 1.461$.
#
# </details>
#
# 2. Add 100 to all scores of the example on paper, or multiply them by 2. What does the loss
#    become?
#
# <details markdown="1"><summary>Answer</summary>
#
# With 100 added it is 0.4170 as before. Multiplied by 2 (scores 4, 2 and 0.2),
# `stable_cross_entropy([4, 2, 0.2], 0)` gives 0.1464: the differences have grown, and the network
# is surer.
#
# </details>
#
# 3. Add label smoothing of $\varepsilon = 0.1$ to the loops: the target is
#    $q_c = 0.9\,[c = t] + 0.1 / C$ instead of one-hot. What should the gradient of the example be?
#
# <details markdown="1"><summary>Answer</summary>
#
# Backward becomes `p[c] - 0.9 * one_hot - 0.1 / 3` and gives -0.2743, 0.2091, 0.0652, as
# `scratch.CrossEntropyLoss(label_smoothing=0.1)` does.
#
# </details>
