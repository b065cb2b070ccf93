"""三种激活函数的比较：ReLU、Tanh、Sigmoid · Activations compared: ReLU, Tanh, Sigmoid

Code: zoo/scratch/activation.py
Picture: activations.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 两个线性层叠在一起还是一个线性层：$(xW_1^\top)W_2^\top = x(W_2W_1)^\top$。
# 层与层之间的激活函数才让网络能表示弯曲的东西。讲义里有三个：ReLU、Tanh、Sigmoid。
# 它们的函数值差别一眼就能看出，真正决定训练好坏的却是**导数**：反向传播每经过一层，
# 梯度就要乘一次导数。本课把三个函数和导数画在一张图里，再用三个小实验看清三件事：饱和、死掉的
# ReLU、以及深度。

# %% [markdown] lang="en"
# ## Why
# Two linear layers in a row are still one linear layer: $(xW_1^\top)W_2^\top = x(W_2W_1)^\top$. It
# is the activation between the layers that lets a network represent anything curved. The notes
# have three: ReLU, Tanh and Sigmoid. How their values differ is seen at a glance, but what decides
# the training is their **derivative**: back-propagation multiplies the gradient by it in every
# layer. This lesson draws the three functions and derivatives in one picture, and then shows in
# three small experiments what saturation, a dead ReLU and depth mean.

# %% [markdown] lang="zh"
# ## 公式
# 三个函数都逐元素作用，$x$、$y$ 与梯度的形状相同：
#
# $$
# \mathrm{ReLU}(x) = \max(x, 0), \qquad \frac{dy}{dx} = 1 \text{ if } x > 0 \text{ else } 0
# $$
#
# $$
# \tanh(x) = \frac{e^x - e^{-x}}{e^x + e^{-x}}, \qquad \frac{dy}{dx} = 1 - y^2 \le 1
# $$
#
# $$
# \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad \frac{dy}{dx} = y (1 - y) \le \frac{1}{4}
# $$
#
# 两者其实是同一条曲线：$\tanh(x) = 2\sigma(2x) - 1$。$L$ 层网络里，第一层的梯度含有 $L$ 个导数与
# $L$ 个权重矩阵的乘积：
#
# $$
# \frac{\partial y_L}{\partial x} = D_L W_L \cdots D_2 W_2 D_1 W_1, \qquad
# D_l = \mathrm{diag}\left(\frac{dy_l}{dx_l}\right)
# $$
#
# Sigmoid 的导数最大只有 1/4，20 层乘下来，仅导数这一项就不超过 $4^{-20} \approx 10^{-12}$。

# %% [markdown] lang="en"
# ## The formulas
# All three work element by element: $x$, $y$ and the gradients have one shape.
#
# $$
# \mathrm{ReLU}(x) = \max(x, 0), \qquad \frac{dy}{dx} = 1 \text{ if } x > 0 \text{ else } 0
# $$
#
# $$
# \tanh(x) = \frac{e^x - e^{-x}}{e^x + e^{-x}}, \qquad \frac{dy}{dx} = 1 - y^2 \le 1
# $$
#
# $$
# \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad \frac{dy}{dx} = y (1 - y) \le \frac{1}{4}
# $$
#
# The last two are one curve: $\tanh(x) = 2\sigma(2x) - 1$. In a network of $L$ layers the gradient
# that reaches the input holds the product of $L$ derivatives and $L$ weight matrices:
#
# $$
# \frac{\partial y_L}{\partial x} = D_L W_L \cdots D_2 W_2 D_1 W_1, \qquad
# D_l = \mathrm{diag}\left(\frac{dy_l}{dx_l}\right)
# $$
#
# The derivative of the sigmoid is 1/4 at most; over 20 layers the derivatives alone leave no more
# than $4^{-20} \approx 10^{-12}$.

# %% [markdown] lang="zh"
# ## 函数值与导数
# 导数用自动求导得到：对 `y.sum()` 反向传播，`x.grad` 就是每一点的 $dy/dx$。我们量出导数的最大值，
# 以及导数降到 0.01 以下的位置：从那里起，函数**饱和**了。

# %% [markdown] lang="en"
# ## Values and derivatives
# Autograd gives the derivatives: after a backward pass from `y.sum()`, `x.grad` is $dy/dx$ at each
# point. We measure the largest derivative, and where it falls below 0.01: beyond that point the
# function is **saturated**.

# %%
import torch
from torch import nn

from zoo import lessons

activations = {"ReLU": nn.ReLU(), "Tanh": nn.Tanh(), "Sigmoid": nn.Sigmoid()}
points = torch.linspace(-6, 6, 1201)
values, slopes = {}, {}
for name, activation in activations.items():
    x = points.clone().requires_grad_()
    y = activation(x)
    y.sum().backward()
    values[name], slopes[name] = y.detach(), x.grad
    flat = points[(x.grad < 0.01) & (points > 0)]
    print(f"{name:<8} dy/dx <= {x.grad.max():.2f}")
    if len(flat):
        lessons.say(
            f"         从 x = {flat[0]:.2f} 起导数小于 0.01",
            f"         below 0.01 from x = {flat[0]:.2f} on",
        )
assert slopes["ReLU"].max() == slopes["Tanh"].max() == 1
assert slopes["Sigmoid"].max() == 0.25
lessons.agree("tanh(x) = 2 sigmoid(2x) - 1", torch.tanh(points), 2 * torch.sigmoid(2 * points) - 1)

# %% [markdown] lang="zh"
# ## 饱和：错得越离谱，学得越慢
# 一个 Sigmoid 神经元 $p = \sigma(z)$，目标是 1，损失是均方误差 $(p - 1)^2$，直接对 $z$
# 做梯度下降。从 $z = 0$ 出发很快学会；从 $z = -8$ 出发，答案错得最彻底，梯度却只有
# $2(p-1)\,p(1-p) \approx -0.0007$，200 步几乎没有动。换成交叉熵 $-\ln p$，梯度是
# $p - 1 \approx -1$，问题消失：这就是分类不用均方误差的原因。

# %% [markdown] lang="en"
# ## Saturation: the more wrong, the slower
# A sigmoid neuron $p = \sigma(z)$ has the target 1 and the squared error $(p - 1)^2$ as its loss,
# and we do gradient descent on $z$ itself. From $z = 0$ it learns soon. From $z = -8$ the answer
# is as wrong as can be, and yet the gradient is only $2(p-1)\,p(1-p) \approx -0.0007$: in 200
# steps it hardly moves. With cross-entropy $-\ln p$ the gradient is $p - 1 \approx -1$, and the
# problem is gone. That is why classifiers are not trained with the squared error.


# %%
def descend(start, loss_of, steps=200, lr=0.5):
    """Move z by gradient descent; return the probability after each step."""
    z = torch.tensor(float(start), requires_grad=True)
    probabilities = []
    for _ in range(steps):
        loss = loss_of(z)
        (gradient,) = torch.autograd.grad(loss, z)
        with torch.no_grad():
            z -= lr * gradient
        probabilities.append(torch.sigmoid(z).item())
    return probabilities


def squared_error(z):
    """Return (p - 1)^2."""
    return (torch.sigmoid(z) - 1) ** 2


def cross_entropy(z):
    """Return -log p."""
    return -nn.functional.logsigmoid(z)


neurons = {
    "MSE from z = 0": descend(0, squared_error),
    "MSE from z = -8": descend(-8, squared_error),
    "BCE from z = -8": descend(-8, cross_entropy),
}
lessons.say("200 步之后的概率 p：", "p after 200 steps:")
for name, probabilities in neurons.items():
    print(f"  {name:<16} {probabilities[-1]:.4f}")
assert neurons["MSE from z = 0"][-1] > 0.9
assert neurons["MSE from z = -8"][-1] < 0.01
assert neurons["BCE from z = -8"][-1] > 0.9

# %% [markdown] lang="zh"
# ## 死掉的 ReLU
# 一个神经元 $y = \mathrm{ReLU}(wx + b)$，输入在 0 到 1 之间，目标 $y = x$，但 $b$ 从 -3 开始：
# 所有样本都落在负半轴，输出全是 0，梯度也全是 0，训练多久都不动。LeakyReLU 在负半轴留下 0.1
# 的斜率，同样的起点能学会。

# %% [markdown] lang="en"
# ## A dead ReLU
# A neuron $y = \mathrm{ReLU}(wx + b)$ gets inputs from 0 to 1 and should learn $y = x$, but $b$
# starts at -3: every sample is on the negative side, every output is 0, and so is every gradient.
# It does not move, however long it is trained. LeakyReLU leaves a slope of 0.1 on the negative
# side and learns from the same start.

# %%
x = torch.linspace(0, 1, 50)[:, None]  # [50, 1]
for activation in (nn.ReLU(), nn.LeakyReLU(0.1)):
    neuron = nn.Linear(1, 1)
    nn.init.ones_(neuron.weight)
    nn.init.constant_(neuron.bias, -3)
    optimizer = torch.optim.SGD(neuron.parameters(), lr=0.5)
    for _ in range(500):
        loss = nn.functional.mse_loss(activation(neuron(x)), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bias = round(neuron.bias.item(), 2) + 0.0
    print(f"{type(activation).__name__:<10} loss {loss.item():.4f}, bias -3 -> {bias}")
    assert (bias == -3) if isinstance(activation, nn.ReLU) else (loss.item() < 0.001)

# %% [markdown] lang="zh"
# ## 深度
# 20 层、每层 100 个单元的网络，量每一层权重的梯度范数，再与最后一层相比。
# 权重用适合各自激活函数的初始化：ReLU 用 He（K. He 等，2015），Tanh 和 Sigmoid 用 Xavier（X.
# Glorot、Y. Bengio，2010）。ReLU 和 Tanh 的梯度一路保持同一量级；Sigmoid 的梯度到第一层只剩
# $10^{-12}$ 左右，与公式的估计一致：靠近输入的层几乎得不到任何信号。

# %% [markdown] lang="en"
# ## Depth
# In a network of 20 layers with 100 units each we measure the norm of the gradient of each layer's
# weights, relative to the last layer's. The weights are initialized to suit the activation: He for
# ReLU (K. He et al., 2015), Xavier for Tanh and Sigmoid (X. Glorot, Y. Bengio, 2010). With ReLU
# and Tanh the gradient keeps its order of magnitude. With Sigmoid about $10^{-12}$ of it reaches
# the first layer, as the formula says: the layers near the input get next to no signal.

# %%
DEPTH = 20
lessons.say("第一层的梯度与最后一层之比：", "gradient of the first layer / of the last:")
norms = {}
for name, activation in activations.items():
    torch.manual_seed(0)
    layers = [nn.Linear(100, 100) for _ in range(DEPTH)]
    h = torch.randn(256, 100)
    for layer in layers:
        if name == "ReLU":
            nn.init.kaiming_normal_(layer.weight)
        else:
            nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        h = activation(layer(h))
    (h * torch.randn(256, 100)).sum().backward()  # any loss: here a random direction
    norms[name] = [(layer.weight.grad.norm() / layers[-1].weight.grad.norm()) for layer in layers]
    print(f"  {name:<8} {norms[name][0]:.1e}")
assert 0.1 < norms["ReLU"][0] < 10
assert 0.1 < norms["Tanh"][0] < 10
assert norms["Sigmoid"][0] < 1e-9

# %% [markdown] lang="zh"
# ## 画在一起
# 左上是函数值，右上是导数，左下是每层的梯度（对数坐标），右下是饱和的神经元。

# %% [markdown] lang="en"
# ## All in one picture
# At the top the values and the derivatives; at the bottom the gradient by layer (logarithmic) and
# the saturated neuron.

# %%
COLORS = {"ReLU": "#2563a8", "Tanh": "#2f8f4e", "Sigmoid": "#c2571a"}
figure = lessons.figure(8.4, 5.4)
(top_left, top_right), (low_left, low_right) = figure.subplots(2, 2)
for name, color in COLORS.items():
    top_left.plot(points, values[name], color=color, label=name)
    top_right.plot(points, slopes[name], color=color, label=name)
    low_left.plot(range(1, DEPTH + 1), norms[name], "o-", markersize=3, color=color, label=name)
for (name, probabilities), style in zip(neurons.items(), ("-", "--", ":"), strict=True):
    low_right.plot(probabilities, style, color="#c2571a", label=name)
top_left.set(title="y", xlabel="x", ylim=(-1.2, 3))
top_right.set(title="dy/dx", xlabel="x")
low_left.set(title="gradient, relative to the last layer", xlabel="layer", yscale="log")
low_left.set_xticks([1, 5, 10, 15, 20])
low_right.set(title="a sigmoid neuron, target 1", xlabel="step", ylabel="p")
for axes in (top_left, top_right, low_left, low_right):
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
lessons.save(figure, "activations.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 最后一层之后又加了 ReLU 再送进 `CrossEntropyLoss`：负的得分全被抹成 0，
#   正确类别的得分是负数时它没有梯度。最后一层之后什么都不要加，损失里已经有 softmax。
# - 深层网络用 Sigmoid 作隐藏层的激活，损失长时间不动。换成 ReLU；Sigmoid 留给二分类的输出和门控。
# - 用 ReLU 却保留 Xavier 或 PyTorch 默认的初始化：层数一多，信号和梯度逐层变小。改用
#   `kaiming_normal_`。

# %% [markdown] lang="en"
# ## Usual mistakes
# - A ReLU after the last layer, before `CrossEntropyLoss`: all negative scores become 0, and when
#   the right class has a negative score it gets no gradient. Put nothing after the last layer; the
#   loss contains the softmax.
# - Sigmoid in the hidden layers of a deep network: the loss does not move for a long time. Use
#   ReLU, and keep Sigmoid for the output of two classes and for gates.
# - ReLU with Xavier's or PyTorch's default initialization: with many layers, signal and gradient
#   shrink from layer to layer. Use `kaiming_normal_`.

# %% [markdown] lang="zh"
# ## 练习
# 1. 不用计算机：Tanh 的导数降到 0.01 时，$y$ 是多少？$x$ 大约是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# $1 - y^2 = 0.01$，所以 $y = \sqrt{0.99} \approx 0.995$，
# $x = \tfrac{1}{2} \ln \frac{1 + y}{1 - y} \approx 2.99$，与输出的 3.00 相符（图上每 0.01
# 一个点）。
#
# </details>
#
# 2. 把深度实验里 ReLU 的初始化也换成 Xavier，比值和最后一层的输出 `h.std()` 分别是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 比值不变，还是 1.6；`h.std()` 从 0.44 降到 0.0004。Xavier 的权重在这里正好小 $\sqrt 2$ 倍，ReLU
# 网络的输出于是小 $2^{20/2} = 1024$ 倍；各层梯度缩小的倍数相同，所以只看比值发现不了，
# 要看信号本身。
#
# </details>
#
# 3. 加上 `nn.ELU()` 和 `nn.GELU()`，用 He 初始化，看导数的最大值和 20 层的比值。
#
# <details markdown="1"><summary>答案</summary>
#
# ELU：导数最大 1.00，比值 1.6；GELU：最大 1.13，比值 3.0。两者在 20 层里都保持梯度的量级，
# 在负半轴也都有梯度，不会像 ReLU 那样死掉。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Without a computer: when the derivative of Tanh falls to 0.01, what is $y$, and about what is
#    $x$?
#
# <details markdown="1"><summary>Answer</summary>
#
# $1 - y^2 = 0.01$, so $y = \sqrt{0.99} \approx 0.995$ and
# $x = \tfrac{1}{2} \ln \frac{1 + y}{1 - y} \approx 2.99$, which agrees with the 3.00 of the output
# (there is a point every 0.01).
#
# </details>
#
# 2. In the experiment with depth, use Xavier for ReLU, too. What are the ratio and the last
#    layer's `h.std()`?
#
# <details markdown="1"><summary>Answer</summary>
#
# The ratio is 1.6 as before, while `h.std()` falls from 0.44 to 0.0004. Xavier's weights are
# smaller by $\sqrt 2$ here, which makes the output of the ReLU network smaller by
# $2^{20/2} = 1024$. The gradients of all layers shrink alike, so the ratio does not tell; one has
# to look at the signal itself.
#
# </details>
#
# 3. Add `nn.ELU()` and `nn.GELU()` with He's initialization, and look at the largest derivative
#    and at the ratio over 20 layers.
#
# <details markdown="1"><summary>Answer</summary>
#
# ELU: at most 1.00, ratio 1.6. GELU: at most 1.13, ratio 3.0. Over 20 layers both keep the
# gradient's order of magnitude, and both have a gradient on the negative side, so that they do not
# die as ReLU does.
#
# </details>
