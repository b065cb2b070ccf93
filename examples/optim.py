"""优化器 optim · Optimizers (optim)

Code: zoo/training/step.py
Picture: optim.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 梯度只说往哪边走，没有说走多远、要不要参考前几步。把梯度变成更新的规则就是优化器。
# `torch.optim` 的所有优化器用法相同：建立时交给它参数，训练时 `zero_grad()`、`backward()`、
# `step()`；所以换一个优化器只要改一行。
#
# 这一课先核对公式，再看三种优化器怎样走下一个狭长的山谷，最后做讲义的练习：
# 用各种优化器训练同一个线性模型，比较损失曲线。
#
# ## 公式
#
# $\theta$ 是参数，$g$ 是它的梯度，$\eta$ 是学习率，下面的运算都逐元素进行，形状与 $\theta$ 相同。
# 带动量的 SGD（$v$ 从 0 开始）：
#
# $$
# v \leftarrow \mu v + g, \qquad \theta \leftarrow \theta - \eta v
# $$
#
# Adam（Kingma 与 Ba，2015）还记住梯度平方的平均，用它给每个参数各自的步长，$t$ 是步数：
#
# $$
# m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad s \leftarrow \beta_2 s + (1 - \beta_2) g^2
# $$
#
# $$
# \theta \leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} +
# \epsilon}
# $$
#
# ## 按公式走十步
#
# 山谷是 $f(a, b) = a^2 / 2 + 10 b^2$，梯度是 $(a,\ 20b)$：$b$ 方向比 $a$ 方向陡 20 倍。
# 手写的动量与 `torch.optim.SGD` 走同样的十步。

# %% [markdown] lang="en"
# ## Why
#
# A gradient says which way to go, but not how far, nor whether the steps before should count. The
# rule that turns gradients into updates is the optimizer. All optimizers of `torch.optim` are
# used alike: they take the parameters when they are created, and training calls `zero_grad()`,
# `backward()` and `step()`. To try another one, change one line.
#
# This lesson first checks a formula, then watches three optimizers go down a narrow valley, and
# at last does the exercise of the notes: train the same linear model with many optimizers and
# compare the loss curves.
#
# ## The formulas
#
# $\theta$ is a parameter, $g$ its gradient, $\eta$ the learning rate; everything below is done
# element by element, in the shape of $\theta$. SGD with momentum ($v$ starts at 0):
#
# $$
# v \leftarrow \mu v + g, \qquad \theta \leftarrow \theta - \eta v
# $$
#
# Adam (Kingma and Ba, 2015) also remembers the average of the squared gradients, which gives each
# parameter a step size of its own; $t$ counts the steps:
#
# $$
# m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad s \leftarrow \beta_2 s + (1 - \beta_2) g^2
# $$
#
# $$
# \theta \leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} +
# \epsilon}
# $$
#
# ## Ten steps by the formula
#
# The valley is $f(a, b) = a^2 / 2 + 10 b^2$ with the gradient $(a,\ 20b)$: it is 20 times as
# steep along $b$ as along $a$. Momentum written by hand takes the same ten steps as
# `torch.optim.SGD`.

# %%
import numpy as np
import torch

from zoo import lessons, registry

START = [-9.0, 2.2]


def valley(point):
    """Return f at (a, b)."""
    a, b = point
    return a**2 / 2 + 10 * b**2


LR, MOMENTUM = 0.03, 0.8
point = torch.tensor(START, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.SGD([point], lr=LR, momentum=MOMENTUM)

by_hand, velocity = torch.tensor(START, dtype=torch.float64), 0.0
for step in range(1, 11):
    optimizer.zero_grad()
    valley(point).backward()
    optimizer.step()
    gradient = by_hand * torch.tensor([1.0, 20.0])  # df/da = a, df/db = 20 b
    velocity = MOMENTUM * velocity + gradient
    by_hand = by_hand - LR * velocity
    if step in (1, 2, 10):
        print(f"step {step:2d}: a = {point[0].item():.4f}, b = {point[1].item():.4f}")
lessons.agree("10 steps by the formula", by_hand, point, tolerance=1e-12)

# %% [markdown] lang="zh"
# ## 三条下山的路
#
# SGD 的学习率受最陡的方向限制（$2 / 20 = 0.1$），于是在 $b$ 方向来回跳，在 $a$ 方向却走得慢。
# 动量把来回的部分抵消，把同向的部分积累起来。Adam 把两个方向的步长拉平，所以一开始几乎斜着直走；
# 但惯性把它带过谷底，还要绕回来。三种方法都下降了 99 % 以上。

# %% [markdown] lang="en"
# ## Three ways down
#
# The learning rate of SGD is limited by the steepest direction ($2 / 20 = 0.1$): it jumps to and
# fro along $b$ and is slow along $a$. Momentum cancels what goes to and fro and adds up what
# keeps its direction. Adam takes steps of the same size along both, so at first it walks straight
# down at an angle; but it then runs past the bottom and has to come back in circles. All three
# lower $f$ by more than 99 %.


# %%
def descend(make, steps=60):
    """Return the points on the way down, [steps + 1, 2]."""
    point = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = make([point])
    way = [point.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        valley(point).backward()
        optimizer.step()
        way.append(point.detach().clone())
    return torch.stack(way).numpy()


ways = {
    "SGD": descend(lambda p: torch.optim.SGD(p, lr=0.09)),
    "SGD, momentum": descend(lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.8)),
    "Adam": descend(lambda p: torch.optim.Adam(p, lr=0.6)),
}
for name, way in ways.items():
    print(f"{name:<14} f: {valley(way[0]):.1f} -> {valley(way[20]):.2e} -> {valley(way[60]):.2e}")
    assert valley(way[60]) < 0.01 * valley(way[0])

# %% [markdown] lang="zh"
# ## 讲义的练习：换优化器
#
# 同样的数据、同样的起点、200 步，只换优化器。LBFGS 一步要多次计算损失，
# 所以 `step()` 接受一个函数 `closure`；其他优化器也接受它，于是一个循环就够了。
#
# 学习率是各自调过的：同一个 0.1 对不同的优化器意义不同，所以这张表不是排名。这个问题很小，
# 损失正好是二次函数；LBFGS 估计曲率，第 1 步之后就到了，但它需要没有噪声的梯度，不适合小批量。

# %% [markdown] lang="en"
# ## The exercise of the notes: change the optimizer
#
# The same data, the same start, 200 steps; only the optimizer changes. LBFGS computes the loss
# several times in one step, so its `step()` takes a function, the `closure`; the others take it
# too, and one loop serves all.
#
# The learning rates were set for each: 0.1 means something different to each optimizer, so this
# table is no ranking. The problem is small, and its loss is exactly quadratic; LBFGS estimates
# the curvature and is there after its first step, but it needs gradients without noise and does
# not suit mini-batches.

# %%
x = torch.tensor([[1.0], [2.0], [3.0]])
y = torch.tensor([[2.0], [4.0], [6.0]])


def train(make, steps=200):
    """Train y = wx + b from the same start; return the losses."""
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    criterion = torch.nn.MSELoss()
    optimizer = make(model.parameters())

    def closure():
        """Compute the loss and its gradients: LBFGS asks for them several times a step."""
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


optim = torch.optim
optimizers = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.5),
    "Adagrad": lambda p: optim.Adagrad(p, lr=1.0),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.05),
    "Adam": lambda p: optim.Adam(p, lr=0.2),
    "Adamax": lambda p: optim.Adamax(p, lr=0.5),
    "ASGD": lambda p: optim.ASGD(p, lr=0.1),
    "Rprop": lambda p: optim.Rprop(p, lr=0.01),
    "LBFGS": lambda p: optim.LBFGS(p, lr=1.0),
}
losses = {name: train(make) for name, make in optimizers.items()}
for name, values in losses.items():
    steps = sum(value >= 1e-3 for value in values)
    loss = f"{name:<14} {values[0]:.1f} -> {values[-1]:.1e}"
    lessons.say(f"{loss}，{steps:3d} 步不小于 0.001", f"{loss}, {steps:3d} steps at 0.001 or more")
    assert values[-1] < 1e-2

# %% [markdown] lang="zh"
# ## 画出来
#
# 左图是三条下山的路，灰线是等高线；右图是九种优化器的损失，纵轴是对数坐标。

# %% [markdown] lang="en"
# ## Draw it
#
# On the left are the three ways down, with contour lines in gray; on the right the losses of nine
# optimizers on a logarithmic axis.

# %%
figure = lessons.figure(8.4, 3.4)
left, right = figure.subplots(1, 2)
colors = ("#2563a8", "#c2571a", "#3a7d44")
a, b = np.meshgrid(np.linspace(-10, 3, 200), np.linspace(-3, 3, 200))
left.contour(a, b, valley((a, b)), levels=[0.5, 3, 10, 25, 50, 90], colors="0.8", linewidths=1)
for (name, way), color in zip(ways.items(), colors, strict=True):
    left.plot(*way.T, marker="o", markersize=2.5, linewidth=1, color=color, label=name)
left.set(title="60 steps down a narrow valley", xlabel="a", ylabel="b")
left.legend(frameon=False, fontsize=8, loc="lower left", ncols=3)
for name, values in losses.items():
    right.plot(np.maximum(values, 1e-12), linewidth=1.2, label=name)
right.set(title="y = wx + b on three points: loss", xlabel="step", yscale="log")
right.set_ylim(1e-13, 1e7)
right.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
right.grid(alpha=0.25)
lessons.save(figure, "optim.png")

# %% [markdown] lang="zh"
# ## 参数组与学习率的安排
#
# 一个优化器可以有几组参数，各有各的设置：权重衰减通常只用于权重矩阵，不用于偏置。
# 学习率可以随 epoch 变化：`StepLR` 每 3 个 epoch 乘以 0.1；
# `schedule.step()` 在 `optimizer.step()` 之后调用。
#
# zoo 的配方也是这几样：优化器、学习率、动量、权重衰减、`schedule`；
# `zoo/training/step.py` 里建立优化器的正是同样的参数组。

# %% [markdown] lang="en"
# ## Parameter groups and schedules
#
# An optimizer can have several groups of parameters with settings of their own: weight decay is
# usually applied to weight matrices and not to biases. The learning rate can change by epoch:
# `StepLR` multiplies it by 0.1 every 3 epochs; call `schedule.step()` after `optimizer.step()`.
#
# A recipe of the zoo has the same parts: optimizer, learning rate, momentum, weight decay,
# schedule. `zoo/training/step.py` creates its optimizer from just such groups.

# %%
model = torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
weights = [p for p in model.parameters() if p.ndim > 1]
biases = [p for p in model.parameters() if p.ndim == 1]
groups = [{"params": weights, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}]
optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
rates = []
for _ in range(9):  # epochs
    rates.append(optimizer.param_groups[0]["lr"])
    optimizer.step()  # here: a whole epoch of steps
    schedule.step()
print("lr", [round(rate, 4) for rate in rates])
assert abs(rates[8] - 0.001) < 1e-9

for name in ("logistic", "cnn", "resnet"):
    recipe = registry.get(name).recipe
    print(f"zoo {name:<9} {recipe.optimizer}, lr {recipe.lr}, schedule {recipe.schedule}")

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **换了优化器，学习率没有换**：上面的练习里 SGD 用 0.1，Adagrad 用 1.0，Rprop 用 0.01，
#   Adam 用 0.2。每换一次都要重新选。
# - **模型重建之后，优化器还指着旧参数**：损失一动不动。先建模型，移到设备上，再建优化器。
# - **`schedule.step()` 写在批的循环里**：学习率在第一个 epoch 就降到接近 0。
#   `StepLR` 每个 epoch 调用一次。
# - **`optimizer.zero_grad()` 只清它自己的参数**：不在优化器里的参数的梯度会继续累加。
#
# ## 练习
#
# 1. 山谷里把 SGD 的学习率改为 0.11。会怎样？先算后试。
#
# <details markdown="1"><summary>答案</summary>
#
# $b$ 每步乘以 $1 - 0.11 \cdot 20 = -1.2$，发散：60 步之后 $b = 2.2 \cdot 1.2^{60}$，约 124000，
# $f$ 约为 1.5e+11。
#
# </details>
#
# 2. 用 NumPy 按公式写出 Adam 的第一步，$\beta_1 = 0.9$，$\beta_2 = 0.999$，$\eta = 0.6$，
#    从 $(-9, 2.2)$ 开始。为什么两个坐标移动的距离相同？
#
# <details markdown="1"><summary>答案</summary>
#
# $t = 1$ 时 $m / (1 - \beta_1) = g$，$s / (1 - \beta_2) = g^2$，更新就是 $\eta \, g / |g|$，
# 即梯度的符号乘以 0.6。新的点是 $(-8.4,\ 1.6)$，与梯度的大小无关。
#
# </details>
#
# 3. 给练习的线性模型的 SGD 加上 `weight_decay=0.1`。损失还能到 0 吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 不能：停在 0.008 左右。权重衰减给梯度加上 $0.1 \, \theta$，把 $w$ 和 $b$ 往 0 拉，
# 最低点不再是 $w = 2$，$b = 0$。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **Another optimizer, the same learning rate**: in the exercise above SGD has 0.1, Adagrad 1.0,
#   Rprop 0.01 and Adam 0.2. Choose it again with each change.
# - **The optimizer still points at the parameters of an older model**: the loss does not move.
#   Create the model, move it to its device, then create the optimizer.
# - **`schedule.step()` stands in the loop over batches**: the learning rate is close to 0 within
#   the first epoch. Call `StepLR` once an epoch.
# - **`optimizer.zero_grad()` zeroes only its own parameters**: the gradients of parameters that
#   it does not have go on adding up.
#
# ## Exercises
#
# 1. Set the learning rate of SGD in the valley to 0.11. What happens? Compute first, then try.
#
# <details markdown="1"><summary>Answer</summary>
#
# Each step multiplies $b$ by $1 - 0.11 \cdot 20 = -1.2$, which diverges: after 60 steps
# $b = 2.2 \cdot 1.2^{60}$, about 124,000, and $f$ is about 1.5e+11.
#
# </details>
#
# 2. Write the first step of Adam by the formula in NumPy, with $\beta_1 = 0.9$,
#    $\beta_2 = 0.999$, $\eta = 0.6$, from $(-9, 2.2)$. Why do both coordinates move by the same
#    distance?
#
# <details markdown="1"><summary>Answer</summary>
#
# At $t = 1$, $m / (1 - \beta_1) = g$ and $s / (1 - \beta_2) = g^2$, so the update is
# $\eta \, g / |g|$: the sign of the gradient times 0.6. The new point is $(-8.4,\ 1.6)$, whatever
# the size of the gradient.
#
# </details>
#
# 3. Add `weight_decay=0.1` to the SGD of the linear model. Can the loss still reach 0?
#
# <details markdown="1"><summary>Answer</summary>
#
# No: it stops at about 0.008. Weight decay adds $0.1 \, \theta$ to the gradient and pulls $w$ and
# $b$ towards 0, so the lowest point is no longer at $w = 2$ and $b = 0$.
#
# </details>
