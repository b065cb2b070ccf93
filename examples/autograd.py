"""自动求导 · Autograd

Code: zoo/training/step.py
Picture: autograd.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 训练就是反复问一个问题：某个权重增加一点点，损失会增加多少？这个比值就是梯度。网络有几万个权重，
# 不可能逐个推导公式。autograd 的办法是：前向计算时把每一步运算记下来，连成一张**计算图**；
# 调用 `backward()` 时沿图倒着走一遍，用链式法则得到所有梯度。一次反向的代价与一次前向差不多，
# 与权重有多少无关。
#
# ## 公式
#
# 例子只有一个变量：$y = x^3 + 2x$。把它拆成图里的三步运算：
#
# $$
# a = x^3, \qquad b = 2x, \qquad y = a + b
# $$
#
# 每一步的导数很简单：$\partial y / \partial a = 1$，$\partial y / \partial b = 1$，
# $\mathrm{d}a / \mathrm{d}x = 3x^2$，$\mathrm{d}b / \mathrm{d}x = 2$。
# 链式法则沿一条路径把它们相乘，在几条路径汇合的地方把它们**相加**：
#
# $$
# \frac{\mathrm{d}y}{\mathrm{d}x} =
# \frac{\partial y}{\partial a} \frac{\mathrm{d}a}{\mathrm{d}x} +
# \frac{\partial y}{\partial b} \frac{\mathrm{d}b}{\mathrm{d}x} = 3x^2 + 2
# $$
#
# $x = 2$ 时 $y = 12$，梯度是 14。
#
# ## 建图与反向
#
# `requires_grad=True` 告诉 torch：记录用 `x` 做的运算。`x` 是**叶子**，梯度存在 `x.grad`。
# 中间结果的梯度用完就丢掉，想看就先调用 `retain_grad()`。

# %% [markdown] lang="en"
# ## Why
#
# Training asks one question again and again: if this weight grows a little, how much does the
# loss grow? That ratio is the gradient. A network has tens of thousands of weights, and nobody
# derives a formula for each. autograd records every operation of the forward computation, which
# gives a **computation graph**; `backward()` walks through it in reverse and finds all gradients
# by the chain rule. One backward pass costs about as much as a forward pass, however many weights
# there are.
#
# ## The formulas
#
# The example has a single variable: $y = x^3 + 2x$. Split it into the three operations of its
# graph:
#
# $$
# a = x^3, \qquad b = 2x, \qquad y = a + b
# $$
#
# The derivative of each is simple: $\partial y / \partial a = 1$, $\partial y / \partial b = 1$,
# $\mathrm{d}a / \mathrm{d}x = 3x^2$ and $\mathrm{d}b / \mathrm{d}x = 2$. The chain rule
# multiplies them along a path, and **adds** where paths meet:
#
# $$
# \frac{\mathrm{d}y}{\mathrm{d}x} =
# \frac{\partial y}{\partial a} \frac{\mathrm{d}a}{\mathrm{d}x} +
# \frac{\partial y}{\partial b} \frac{\mathrm{d}b}{\mathrm{d}x} = 3x^2 + 2
# $$
#
# At $x = 2$ this gives $y = 12$ and a gradient of 14.
#
# ## Build the graph, go back
#
# `requires_grad=True` tells torch to record what is computed from `x`. `x` is a **leaf**, and its
# gradient is stored in `x.grad`. The gradients of values in between are dropped after use; call
# `retain_grad()` first if you want to see them.

# %%
import torch

from zoo import lessons

x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
a = x**3
b = 2 * x
y = a + b
a.retain_grad()
b.retain_grad()
y.backward()

for name, tensor in {"x": x, "a": a, "b": b}.items():
    print(f"{name} = {tensor.item():g}, grad {tensor.grad.item():g}, is_leaf {tensor.is_leaf}")
print(f"y = {y.item():g}, grad_fn {y.grad_fn.name()}")
print("next:", [function.name() for function, _ in y.grad_fn.next_functions])
lessons.agree("3x^2 + 2", x.grad, 3 * x**2 + 2, tolerance=1e-12)

# %% [markdown] lang="zh"
# `grad_fn` 就是图：`y` 由加法得到，加法的两个输入由乘方和乘法得到。
#
# ## 把图画出来
#
# 方框是数，圆是运算。蓝色是前向的值，从左向右；橙色是反向的梯度，从右向左。
# 注意 `x` 有两条出去的路，两个梯度 12 和 2 在 `x` 处相加。

# %% [markdown] lang="en"
# `grad_fn` is the graph: `y` was made by an addition, whose inputs were made by a power and a
# multiplication.
#
# ## Draw the graph
#
# Boxes are numbers, circles are operations. The values of the forward pass are blue, from left to
# right; the gradients of the backward pass are orange, from right to left. `x` has two ways out,
# and their gradients, 12 and 2, are added at `x`.


# %%
def node(axes, place, text, shape="round"):
    """Draw a number (round box) or an operation (circle)."""
    face = "#fff3e0" if shape == "circle" else "#eaf1fb"
    box = {"boxstyle": shape, "facecolor": face, "edgecolor": "0.5"}
    axes.text(*place, text, ha="center", va="center", bbox=box, zorder=4)


def arrow(axes, start, end, value, gradient):
    """Draw an arrow with its value (blue, above) and its gradient (orange, below)."""
    style = {"arrowstyle": "-|>", "color": "0.5", "shrinkA": 18, "shrinkB": 22}
    axes.annotate("", end, start, arrowprops=style)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    up, down = {"ha": "center", "va": "bottom"}, {"ha": "center", "va": "top"}
    axes.annotate(value, middle, (0, 5), textcoords="offset points", color="#2563a8", **up)
    axes.annotate(gradient, middle, (0, -6), textcoords="offset points", color="#c2571a", **down)


figure = lessons.figure(7.2, 3.0)
axes = figure.subplots()
axes.set(xlim=(-0.5, 6.5), ylim=(-1.6, 1.6))
axes.axis("off")
arrow(axes, (0, 0), (2, 1), f"{x.item():g}", f"{(3 * x**2).item():g}")
arrow(axes, (0, 0), (2, -1), f"{x.item():g}", "2")
arrow(axes, (2, 1), (4, 0), f"a = {a.item():g}", f"{a.grad.item():g}")
arrow(axes, (2, -1), (4, 0), f"b = {b.item():g}", f"{b.grad.item():g}")
arrow(axes, (4, 0), (6, 0), f"{y.item():g}", "1")
node(axes, (0, 0), f"x = {x.item():g}\nx.grad = {x.grad.item():g}")
node(axes, (2, 1), "$x^3$", "circle")
node(axes, (2, -1), "$2x$", "circle")
node(axes, (4, 0), "+", "circle")
node(axes, (6, 0), f"y = {y.item():g}")
axes.set_title("blue: values, forward; orange: gradients of y, backward")
lessons.save(figure, "autograd.png")

# %% [markdown] lang="zh"
# ## 数值梯度
#
# 检验梯度不需要任何微积分：把 $x$ 向两边各移动一点，看 $y$ 变了多少。
#
# $$
# \frac{\mathrm{d}y}{\mathrm{d}x} \approx \frac{f(x + h) - f(x - h)}{2h}
# $$
#
# 它慢（每个权重要算两次前向），但可靠，是检查手写反向传播的标准办法。用 float64，
# 误差才不会被舍入淹没。

# %% [markdown] lang="en"
# ## The numeric gradient
#
# A gradient can be checked without calculus: move $x$ a little to both sides and see how much $y$
# changes.
#
# $$
# \frac{\mathrm{d}y}{\mathrm{d}x} \approx \frac{f(x + h) - f(x - h)}{2h}
# $$
#
# This is slow (two forward passes for each weight) but reliable, and the usual check of a
# backward pass written by hand. Use float64, or rounding hides what you want to see.


# %%
def f(value):
    """Return y."""
    return value**3 + 2 * value


h = 1e-6
with torch.no_grad():
    numeric = (f(x + h) - f(x - h)) / (2 * h)
lessons.say(
    f"autograd {x.grad.item():.9f}，数值梯度 {numeric.item():.9f}",
    f"autograd {x.grad.item():.9f}, numeric {numeric.item():.9f}",
)
lessons.agree("finite differences", x.grad, numeric, tolerance=1e-7)
assert torch.autograd.gradcheck(f, (x,))  # torch's own version of this check

# %% [markdown] lang="zh"
# ## 梯度会累加；何时不需要图
#
# 第二次 `backward()` 得到的 14 会加到原来的 14 上。所以训练循环的每一步都要先清零。评估模型、
# 手动修改权重时不需要图：`torch.no_grad()` 里的运算不记录；`detach()` 得到同一份数据、
# 但不在图里的张量。

# %% [markdown] lang="en"
# ## Gradients add up; when no graph is needed
#
# A second `backward()` adds its 14 to the 14 that is there. This is why each training step zeroes
# the gradients. Evaluating a model, or changing a weight by hand, needs no graph: inside
# `torch.no_grad()` nothing is recorded, and `detach()` returns a tensor with the same data
# outside the graph.

# %%
f(x).backward()
lessons.say(f"第二次 backward 之后：{x.grad:g}", f"after a second backward: {x.grad:g}")
assert x.grad.item() == 28
x.grad.zero_()
f(x).backward()
lessons.say(f"先清零：{x.grad:g}", f"zeroed first: {x.grad:g}")
assert x.grad.item() == 14

with torch.no_grad():
    inside = f(x)
print("requires_grad:", f(x).requires_grad, inside.requires_grad, f(x).detach().requires_grad)
assert not inside.requires_grad

# %% [markdown] lang="zh"
# ## 矩阵也一样
#
# 对矩阵，梯度与参数的形状相同。$s = \sigma(W v)$，$W$ 是 $[2, 3]$，$v$ 是 $[3]$；
# $L$ 是 $s$ 的和。链式法则给出一个外积，形状 $[2, 3]$：
#
# $$
# \frac{\partial L}{\partial W} = \bigl( s \odot (1 - s) \bigr) v^\top
# $$

# %% [markdown] lang="en"
# ## The same with matrices
#
# A gradient has the shape of its parameter. Let $s = \sigma(W v)$ with $W$ of shape $[2, 3]$ and
# $v$ of shape $[3]$, and let $L$ be the sum of $s$. The chain rule gives an outer product of
# shape $[2, 3]$:
#
# $$
# \frac{\partial L}{\partial W} = \bigl( s \odot (1 - s) \bigr) v^\top
# $$

# %%
torch.manual_seed(0)
w = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
v = torch.randn(3, dtype=torch.float64)
s = torch.sigmoid(w @ v)
s.sum().backward()
print("w.grad", tuple(w.grad.shape))
lessons.agree("s(1 - s) v^T", w.grad, torch.outer(s * (1 - s), v), tolerance=1e-12)

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **`element 0 of tensors does not require grad`**：
#   `backward()` 的起点与任何 `requires_grad=True` 的张量都没有联系。
#   多半是前向放进了 `no_grad()`，或者中途用了 `.numpy()`、`.item()`、`.detach()`。
# - **`Trying to backward through the graph a second time`**：第一次 `backward()` 之后图已释放。
#   重新做一次前向。
# - **`grad can be implicitly created only for scalar outputs`**：
#   只有一个数才能直接 `backward()`。先 `sum()` 或 `mean()`。
# - **`x.grad` 是 `None`**：`x` 不是叶子，例如写成了 `torch.tensor(2.0, requires_grad=True) * 1`。
#
# ## 练习
#
# 1. 先在纸上、再用代码求 $y = x^2 \cdot x$ 在 $x = 2$ 处的梯度，
#    把它看作两个因子 $a = x^2$ 与 $x$。
#
# <details markdown="1"><summary>答案</summary>
#
# 乘法把梯度乘以另一个因子：$\partial y / \partial a = x = 2$，直接的一路是 $a = 4$。
# 经过 $a$ 的一路是 $2 \cdot 2x = 8$。合计 $8 + 4 = 12 = 3x^2$。
#
# </details>
#
# 2. 把 $h$ 改为 `1e-12`。数值梯度还对吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 不对：它打印 14.001244608，只有前几位是对的。$f(x + h)$ 与 $f(x - h)$ 几乎相等，
# 相减后只剩舍入误差（约 1e-15），再除以 2e-12。
#
# </details>
#
# 3. 写一个循环，用 `x.grad` 让 $y = (x - 3)^2$ 最小，从 $x = 0$ 开始，步长 0.1，走 50 步。
#    更新 `x` 时要用 `torch.no_grad()`。
#
# <details markdown="1"><summary>答案</summary>
#
# ```python
# x = torch.tensor(0.0, requires_grad=True)
# for step in range(50):
#     ((x - 3) ** 2).backward()
#     with torch.no_grad():
#         x -= 0.1 * x.grad
#     x.grad.zero_()
# print(x)
# ```
#
# 打印 `tensor(3.0000, requires_grad=True)`：每一步到 3 的距离乘以 0.8，
# $3 \cdot 0.8^{50}$ 约为 0.00004。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **`element 0 of tensors does not require grad`**: what you call `backward()` on has no
#   connection to a tensor with `requires_grad=True`. Most often the forward pass is inside
#   `no_grad()`, or `.numpy()`, `.item()` or `.detach()` was used on the way.
# - **`Trying to backward through the graph a second time`**: the first `backward()` has freed the
#   graph. Do the forward pass again.
# - **`grad can be implicitly created only for scalar outputs`**: only a single number can start a
#   `backward()`. Take `sum()` or `mean()` first.
# - **`x.grad` is `None`**: `x` is not a leaf, as with
#   `torch.tensor(2.0, requires_grad=True) * 1`.
#
# ## Exercises
#
# 1. Find the gradient of $y = x^2 \cdot x$ at $x = 2$, on paper and then by code, with the two
#    factors $a = x^2$ and $x$.
#
# <details markdown="1"><summary>Answer</summary>
#
# A product multiplies the gradient by the other factor: $\partial y / \partial a = x = 2$, and
# the direct way has $a = 4$. The way through $a$ gives $2 \cdot 2x = 8$. The sum is
# $8 + 4 = 12 = 3x^2$.
#
# </details>
#
# 2. Set $h$ to `1e-12`. Is the numeric gradient still right?
#
# <details markdown="1"><summary>Answer</summary>
#
# No: it prints 14.001244608, of which only the first digits are right. $f(x + h)$ and $f(x - h)$
# are almost equal; their difference is mostly rounding error (about 1e-15), and that is divided
# by 2e-12.
#
# </details>
#
# 3. Write a loop that uses `x.grad` to minimize $y = (x - 3)^2$, from $x = 0$, with a step size
#    of 0.1, for 50 steps. Change `x` inside `torch.no_grad()`.
#
# <details markdown="1"><summary>Answer</summary>
#
# ```python
# x = torch.tensor(0.0, requires_grad=True)
# for step in range(50):
#     ((x - 3) ** 2).backward()
#     with torch.no_grad():
#         x -= 0.1 * x.grad
#     x.grad.zero_()
# print(x)
# ```
#
# It prints `tensor(3.0000, requires_grad=True)`: each step multiplies the distance to 3 by 0.8,
# and $3 \cdot 0.8^{50}$ is about 0.00004.
#
# </details>
