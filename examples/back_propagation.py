"""反向传播 · Back-propagation

Code: zoo/scratch/linear.py, zoo/scratch/activation.py, zoo/scratch/loss.py
Picture: back_propagation.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 一个网络是许多简单运算的复合。直接写出损失对第一层权重的导数，公式会长得无法使用。
# 反向传播只要求每种运算回答一个**局部**问题：已知损失对我的输出的梯度，
# 损失对我的输入和参数的梯度是多少？然后从损失开始，一层一层往回传。
# `loss.backward()` 做的就是这件事；这一课先用纸笔做一遍。
#
# ## 公式
#
# 链式法则，$z = f(x)$ 是其中一步：
#
# $$
# \frac{\partial L}{\partial x} =
# \frac{\partial L}{\partial z} \cdot \frac{\partial z}{\partial x}
# $$
#
# 右边第一个因子从后面传来，第二个因子是局部梯度，只与这一步有关。
# 对一层线性层 $z = W h + b$（$h$ 是 $[n]$，$W$ 是 $[m, n]$，$z$ 是 $[m]$）：
#
# $$
# \frac{\partial L}{\partial W} = \frac{\partial L}{\partial z} h^\top,
# \qquad \frac{\partial L}{\partial b} = \frac{\partial L}{\partial z},
# \qquad \frac{\partial L}{\partial h} = W^\top \frac{\partial L}{\partial z}
# $$
#
# 它们的形状依次是 $[m, n]$、$[m]$、$[n]$，与 $W$、$b$、$h$ 相同。ReLU 更简单：
# 输入为正处原样传回，其余为 0。
#
# ## 一个数：L = (wx − y)²
#
# 取 $w = 1$，$x = 2$，$y = 4$。前向三步：乘法得 2，减法得 −2，平方得 4。反向三步：
# 平方的局部梯度是 $2r = -4$；减法是 1，仍为 −4；乘法把梯度乘以另一个因子 $x$，得 −8。

# %% [markdown] lang="en"
# ## Why
#
# A network is a composition of many simple operations. Written out, the derivative of the loss
# with respect to a weight of the first layer is too long to use. Back-propagation asks each
# operation only one **local** question: given the gradient of the loss with respect to my output,
# what is it with respect to my input and my parameters? Start at the loss and pass the answers
# back, layer by layer. This is what `loss.backward()` does, and what this lesson first does on
# paper.
#
# ## The formulas
#
# The chain rule, where $z = f(x)$ is one of the steps:
#
# $$
# \frac{\partial L}{\partial x} =
# \frac{\partial L}{\partial z} \cdot \frac{\partial z}{\partial x}
# $$
#
# The first factor on the right comes from behind; the second is the local gradient, which depends
# on this step alone. For a linear layer $z = W h + b$ ($h$ is $[n]$, $W$ is $[m, n]$, $z$ is
# $[m]$):
#
# $$
# \frac{\partial L}{\partial W} = \frac{\partial L}{\partial z} h^\top,
# \qquad \frac{\partial L}{\partial b} = \frac{\partial L}{\partial z},
# \qquad \frac{\partial L}{\partial h} = W^\top \frac{\partial L}{\partial z}
# $$
#
# Their shapes are $[m, n]$, $[m]$ and $[n]$, those of $W$, $b$ and $h$. ReLU is simpler: the
# gradient passes where the input was positive, and is 0 elsewhere.
#
# ## One number: L = (wx − y)²
#
# Take $w = 1$, $x = 2$, $y = 4$. Forward, three steps: the product is 2, the difference −2, the
# square 4. Backward, three steps: the local gradient of the square is $2r = -4$; that of the
# difference is 1, so it stays −4; the product multiplies by the other factor, $x$, which gives
# −8.

# %%
import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch

w, x, y = 1.0, 2.0, 4.0
product = w * x  # 2
residual = product - y  # -2
loss = residual**2  # 4

d_residual = 2 * residual  # -4
d_product = d_residual * 1  # -4
d_w = d_product * x  # -8
print(f"loss {loss:g}; d residual {d_residual:g}, d product {d_product:g}, d w {d_w:g}")

leaf = torch.tensor(w, requires_grad=True)
((leaf * x - y) ** 2).backward()
lessons.agree("d w", d_w, leaf.grad)

# %% [markdown] lang="zh"
# ## 讲义里的程序
#
# 用这个梯度训练 $y = wx$：三个样本，一次一个（随机梯度下降）。更新权重放在 `no_grad()` 里：
# 它是普通的赋值，不应当进入计算图。讲义写 `w.data = w.data - 0.01 * w.grad.data`，意思相同。

# %% [markdown] lang="en"
# ## The program of the notes
#
# Train $y = wx$ with this gradient, on three samples, one at a time (stochastic gradient
# descent). The update stands inside `no_grad()`: it is a plain assignment and must not become
# part of the graph. The notes write `w.data = w.data - 0.01 * w.grad.data`, which means the same.

# %%
x_data = [1.0, 2.0, 3.0]
y_data = [2.0, 4.0, 6.0]
w = torch.tensor([1.0], requires_grad=True)

for epoch in range(100):
    for x, y in zip(x_data, y_data, strict=True):
        loss = (w * x - y) ** 2  # forward: builds the graph
        loss.backward()  # backward: fills w.grad, frees the graph
        with torch.no_grad():
            w -= 0.01 * w.grad
        w.grad.zero_()
    if epoch in (0, 1, 9, 99):
        print(f"epoch {epoch:2d}: loss {loss.item():.6f}, w = {w.item():.4f}")
print(f"x = 4: y = {(w * 4).item():.4f}")
lessons.agree("w", w, [2.0], tolerance=1e-3)

# %% [markdown] lang="zh"
# ## 两层网络，数字写在纸上
#
# 输入 $x = (1, 2)$，两个隐藏单元，一个输出，目标 $y = 1$：
#
# $$
# W_1 = \begin{pmatrix} 1 & -1 \\ 0.5 & 1 \end{pmatrix}, \qquad W_2 =
# \begin{pmatrix} 2 & 1 \end{pmatrix}, \qquad b_1 = b_2 = 0
# $$
#
# 前向：$z = W_1 x = (-1,\ 2.5)$，$h = \max(0, z) = (0,\ 2.5)$，$\hat{y} = W_2 h = 2.5$，
# $L = (2.5 - 1)^2 = 2.25$。
#
# 反向：$\partial L / \partial \hat{y} = 2 \cdot 1.5 = 3$；
# $\partial L / \partial W_2 = 3 h^\top = (0,\ 7.5)$；
# $\partial L / \partial h = 3 W_2^\top = (6,\ 3)$；ReLU 挡住第一个，
# $\partial L / \partial z = (0,\ 3)$；最后 $\partial L / \partial W_1$ 的第一行是 0，
# 第二行是 $3 x^\top = (3,\ 6)$。
#
# 第一个隐藏单元这次没有工作，所以通向它的权重这次也学不到东西。

# %% [markdown] lang="en"
# ## Two layers, with numbers on paper
#
# The input is $x = (1, 2)$; there are two hidden units and one output; the target is $y = 1$:
#
# $$
# W_1 = \begin{pmatrix} 1 & -1 \\ 0.5 & 1 \end{pmatrix}, \qquad W_2 =
# \begin{pmatrix} 2 & 1 \end{pmatrix}, \qquad b_1 = b_2 = 0
# $$
#
# Forward: $z = W_1 x = (-1,\ 2.5)$, $h = \max(0, z) = (0,\ 2.5)$, $\hat{y} = W_2 h = 2.5$ and
# $L = (2.5 - 1)^2 = 2.25$.
#
# Backward: $\partial L / \partial \hat{y} = 2 \cdot 1.5 = 3$;
# $\partial L / \partial W_2 = 3 h^\top = (0,\ 7.5)$;
# $\partial L / \partial h = 3 W_2^\top = (6,\ 3)$; ReLU stops the first of them,
# $\partial L / \partial z = (0,\ 3)$; at last, the first row of $\partial L / \partial W_1$ is 0
# and the second is $3 x^\top = (3,\ 6)$.
#
# The first hidden unit was off for this input, so the weights that lead to it learn nothing from
# it.

# %%
x, y = np.array([1.0, 2.0]), 1.0
w1, w2 = np.array([[1.0, -1.0], [0.5, 1.0]]), np.array([[2.0, 1.0]])

z = w1 @ x  # [2]
h = np.maximum(0, z)  # [2]
y_pred = w2 @ h  # [1]
loss = (y_pred[0] - y) ** 2

d_y_pred = 2 * (y_pred - y)  # [1]
d_w2 = np.outer(d_y_pred, h)  # [1, 2], as w2
d_h = w2.T @ d_y_pred  # [2]
d_z = d_h * (z > 0)  # [2]
d_w1 = np.outer(d_z, x)  # [2, 2], as w1
d_x = w1.T @ d_z  # [2]
print("z", z, " h", h, " y_pred", y_pred, f" loss {loss}")
print("d y_pred", d_y_pred, " d w2", d_w2[0], " d h", d_h, " d z", d_z)
print("d w1", d_w1.tolist(), " d x", d_x)
assert d_w1.tolist() == [[0, 0], [3, 6]]

tensors = [torch.tensor(array, requires_grad=True) for array in (w1, w2, x)]
torch_w1, torch_w2, torch_x = tensors
((torch_w2 @ torch.relu(torch_w1 @ torch_x) - y) ** 2).sum().backward()
for name, ours, theirs in zip(("d w1", "d w2", "d x"), (d_w1, d_w2, d_x), tensors, strict=True):
    lessons.agree(name, ours, theirs.grad, tolerance=0)

# %% [markdown] lang="zh"
# ## 把两张图画出来
#
# 蓝色是前向的值，橙色是反向的梯度，箭头上下各写一个；两个权重矩阵的梯度写在方框下面。

# %% [markdown] lang="en"
# ## Draw both graphs
#
# The values of the forward pass are blue, the gradients of the backward pass are orange, above
# and below each arrow; those of the two weight matrices stand below their boxes.


# %%
def numbers(vector):
    """Return a vector as "(1, 2.5)"."""
    return "(" + ", ".join(f"{value:g}" for value in vector) + ")"


def draw(axes, title, nodes, values, gradients):
    """Draw a chain of operations with a value and a gradient on each arrow."""
    axes.set(xlim=(-0.4, len(nodes) - 0.6), ylim=(-0.8, 0.7))
    axes.axis("off")
    axes.set_title(title, fontsize=10)
    for place, text in enumerate(nodes):
        box = {"boxstyle": "round", "facecolor": "#fff3e0", "edgecolor": "0.5"}
        axes.text(place, 0, text, ha="center", va="center", bbox=box, zorder=4)
    for place, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
        style = {"arrowstyle": "-|>", "color": "0.5", "shrinkA": 16, "shrinkB": 27}
        axes.annotate("", (place + 1, 0), (place, 0), arrowprops=style)
        axes.text(place + 0.5, 0.18, value, ha="center", va="bottom", color="#2563a8", fontsize=9)
        axes.text(place + 0.5, -0.18, gradient, ha="center", va="top", color="#c2571a", fontsize=9)


figure = lessons.figure(8.4, 3.8)
top, bottom = figure.subplots(2, 1)
draw(
    top,
    "one number: x = 2, y = 4 (blue: values; orange: gradients of the loss)",
    ["w", "times x", "minus y", "square", "loss"],
    ["w = 1", "wx = 2", "r = -2", "4"],
    ["-8", "-4", "-4", "1"],
)
draw(
    bottom,
    "two layers: x = (1, 2), y = 1",
    ["x", "$W_1$", "ReLU", "$W_2$", "$(\\hat{y} - y)^2$", "loss"],
    [numbers(x), f"z = {numbers(z)}", f"h = {numbers(h)}", f"{y_pred[0]:g}", f"{loss:g}"],
    [numbers(d_x), numbers(d_z), numbers(d_h), f"{d_y_pred[0]:g}", "1"],
)
for place, rows in ((1, d_w1), (3, d_w2)):  # the gradients that the optimizer wants
    text = "gradient:\n" + "\n".join(numbers(row) for row in rows)
    bottom.text(place, -0.3, text, ha="center", va="top", color="#c2571a", fontsize=9)
lessons.save(figure, "back_propagation.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
#
# `zoo.scratch` 里每一层都是 NumPy 写的：`layer(x)` 前向，`layer.backward(dy)` 反向，返回 `dx`，
# 并把参数的梯度存起来。反向就是倒着走一遍的循环；一批 6 行，结果与 autograd 相差不到 1e-12。

# %% [markdown] lang="en"
# ## The same with the zoo
#
# In `zoo.scratch` every layer is written in NumPy: `layer(x)` goes forward, `layer.backward(dy)`
# goes back, returns `dx` and stores the gradients of the parameters. The backward pass is a loop
# over the layers in reverse. With a batch of 6 rows, the results differ from autograd's by less
# than 1e-12.

# %%
rng = np.random.default_rng(0)
layers = [
    scratch.Linear(4, 8, rng=rng, dtype=np.float64),
    scratch.Tanh(),
    scratch.Linear(8, 3, rng=rng, dtype=np.float64),
]
criterion = scratch.CrossEntropyLoss()
inputs, targets = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)

values = inputs
for layer in layers:
    values = layer(values)
loss = criterion(values, targets)
gradient = criterion.backward()
for layer in reversed(layers):
    lessons.say(f"梯度 {gradient.shape} 进入 {layer}", f"gradient {gradient.shape} enters {layer}")
    gradient = layer.backward(gradient)

# the same weights in torch
network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
ours = [parameter for layer in layers for parameter in layer.parameters()]
with torch.no_grad():
    for parameter, own in zip(network.parameters(), ours, strict=True):
        parameter.copy_(torch.from_numpy(own.data))
start = torch.tensor(inputs, requires_grad=True)
torch_loss = nn.CrossEntropyLoss()(network(start), torch.from_numpy(targets))
torch_loss.backward()
lessons.agree("loss", loss, torch_loss, 1e-12)
lessons.agree("d inputs", gradient, start.grad, 1e-12)
for (name, parameter), own in zip(network.named_parameters(), ours, strict=True):
    lessons.agree(f"d {name}", own.grad, parameter.grad, 1e-12)

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **漏了转置**：写成 `d_h = w2 @ d_y_pred`，多半报形状错误；方阵却不报错，只是结果不对。
#   先写下每个梯度的形状：它等于被求导的那个量的形状。
# - **ReLU 的掩码用错了量**：掩码看的是它的**输入** `z`（`z > 0`），乘在传回来的梯度上，
#   而不是看梯度的正负。
# - **用更新后的权重求梯度**：先把 `W2` 改了，再用它算 `d_h`。应当先算完所有梯度，再更新。
# - **在图里更新叶子**：`w -= 0.01 * w.grad` 不放进 `no_grad()`，
#   报错 `a leaf Variable that requires grad is being used in an in-place operation`。
#
# ## 练习
#
# 1. 讲义的题目：$L = (wx + b - y)^2$，$x = 1$，$y = 2$，$w = 1$，$b = 2$。
#    求 $\partial L / \partial w$ 和 $\partial L / \partial b$，再用 torch 核对。
#
# <details markdown="1"><summary>答案</summary>
#
# $wx + b = 3$，$r = 1$，$L = 1$。$\partial L / \partial r = 2$，
# 所以 $\partial L / \partial w = 2x = 2$，$\partial L / \partial b = 2$。
#
# </details>
#
# 2. 把两层网络里的 $W_1$ 改为 $\begin{pmatrix} 1 & 1 \\ 0.5 & 1 \end{pmatrix}$。
#    先在纸上求 $\partial L / \partial W_1$，再运行代码（去掉其中的 `assert`）。
#
# <details markdown="1"><summary>答案</summary>
#
# $z = h = (3,\ 2.5)$，$\hat{y} = 8.5$，$L = 56.25$，$\partial L / \partial \hat{y} = 15$，
# $\partial L / \partial z = (30,\ 15)$。两行是 $(30,\ 60)$ 和 $(15,\ 30)$：
# 第一个单元现在也学习了。
#
# </details>
#
# 3. 在讲义的程序里删掉 `w.grad.zero_()`，看 `w` 怎样变化。
#
# <details markdown="1"><summary>答案</summary>
#
# 梯度不断累加，`w` 不再停在 2：它越过 2 之后继续走，来回摆动。第 10、
# 100 个 epoch 之后 `w` 是 2.98 和 1.91。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **A transpose is missing**: `d_h = w2 @ d_y_pred` mostly fails with a shape error, but with a
#   square matrix it does not, and is wrong. Write down the shape of each gradient first: it is
#   that of the quantity itself.
# - **The mask of ReLU is taken from the wrong values**: it looks at its **input** `z` (`z > 0`)
#   and multiplies the gradient that comes back; the sign of that gradient does not matter.
# - **Weights are changed too early**: `W2` is updated, and then used to compute `d_h`. Compute
#   all gradients first, then update.
# - **A leaf is updated inside the graph**: `w -= 0.01 * w.grad` without `no_grad()` fails with
#   `a leaf Variable that requires grad is being used in an in-place operation`.
#
# ## Exercises
#
# 1. From the notes: $L = (wx + b - y)^2$ with $x = 1$, $y = 2$, $w = 1$, $b = 2$. Find
#    $\partial L / \partial w$ and $\partial L / \partial b$, then check by torch.
#
# <details markdown="1"><summary>Answer</summary>
#
# $wx + b = 3$, $r = 1$, $L = 1$. $\partial L / \partial r = 2$, so
# $\partial L / \partial w = 2x = 2$ and $\partial L / \partial b = 2$.
#
# </details>
#
# 2. Change $W_1$ of the two-layer network to $\begin{pmatrix} 1 & 1 \\ 0.5 & 1 \end{pmatrix}$.
#    Find $\partial L / \partial W_1$ on paper, then run the code (without its `assert`).
#
# <details markdown="1"><summary>Answer</summary>
#
# $z = h = (3,\ 2.5)$, $\hat{y} = 8.5$, $L = 56.25$, $\partial L / \partial \hat{y} = 15$,
# $\partial L / \partial z = (30,\ 15)$. The two rows are $(30,\ 60)$ and $(15,\ 30)$: now the
# first unit learns too.
#
# </details>
#
# 3. Delete `w.grad.zero_()` from the program of the notes and watch `w`.
#
# <details markdown="1"><summary>Answer</summary>
#
# The gradients add up, and `w` no longer stops at 2: it goes past it and swings from one side to
# the other. After 10 and after 100 epochs `w` is 2.98 and 1.91.
#
# </details>
