"""训练出错的七种样子 · What goes wrong

Code: zoo/models/softmax.py, zoo/models/rnn.py
Picture: what_goes_wrong.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 训练失败时，PyTorch 往往什么也不说：程序照常运行，损失照常打印，只是结果不对。
# 本课故意犯七种初学者最常犯的错误，每种只改几行，其余完全相同，并画出它的曲线。
# 记住这些曲线的样子，以后看到类似的曲线，就知道先查哪里。
#
# 数据是 MNIST 的 4000 张训练图片，正确率都在 2000 张验证图片上测；测试集不参与任何选择。

# %% [markdown] lang="en"
# ## Why
# When training fails, PyTorch often says nothing: the program runs, the loss is printed, and only
# the result is wrong. This lesson makes seven of the beginner's usual mistakes on purpose. Each
# one changes a few lines and leaves the rest as it is, and we draw its curve. Remember what these
# curves look like: when you meet one like it, you know where to look first.
#
# The data are 4,000 training images of MNIST. Accuracies are measured on 2,000 validation images;
# the test set takes part in no choice.

# %% [markdown] lang="zh"
# ## 公式
# 带动量的 SGD 对每个参数 $w$（任意形状，$g$ 与 $v$ 同形）做：
#
# $$
# v \leftarrow \mu v + g, \qquad w \leftarrow w - \eta v, \qquad g = \frac{\partial L}{\partial w}
# $$
#
# 多数错误都可以在这里找到位置：
#
# - 忘记清零：用的不是这一批的梯度 $g_t$，而是 $g_1 + g_2 + \dots + g_t$。
# - 学习率太大：二次函数 $L = \tfrac{1}{2} a w^2$ 上，普通梯度下降一步后
#   $w \leftarrow (1 - \eta a) w$，$\eta > 2/a$ 时越走越远。
# - 输入没有归一化：第一层 $y = xW^\top$ 的梯度是
#   $\partial L/\partial W = \delta^\top x$（$\delta = \partial L/\partial y$，形状 `[N, 128]`，$x$
#   是 `[N, 784]`），$x$ 大几百倍，梯度也大几百倍。
# - ReLU 死亡：对所有样本都有 $xW^\top + b \le 0$，导数恒为 0，这一行权重再也不动。
# - RNN 爆炸：穿过 $T$ 步的梯度是 $T$ 个矩阵的乘积，每个放大 1.6 倍，28 步就可能放大
#   $1.6^{28} \approx 520000$ 倍。

# %% [markdown] lang="en"
# ## The formulas
# SGD with momentum does the following for each parameter $w$ (any shape; $g$ and $v$ have the same
# one):
#
# $$
# v \leftarrow \mu v + g, \qquad w \leftarrow w - \eta v, \qquad g = \frac{\partial L}{\partial w}
# $$
#
# Most of the mistakes have their place in it:
#
# - Gradients not zeroed: what is used is not this batch's gradient $g_t$ but
#   $g_1 + g_2 + \dots + g_t$.
# - Learning rate too large: on a parabola $L = \tfrac{1}{2} a w^2$ a step of plain gradient
#   descent gives $w \leftarrow (1 - \eta a) w$, and with $\eta > 2/a$ every step leads farther
#   away.
# - Inputs not normalized: the gradient of a first layer $y = xW^\top$ is
#   $\partial L/\partial W = \delta^\top x$ (where $\delta = \partial L/\partial y$ is `[N, 128]`
#   and $x$ is `[N, 784]`). If $x$ is hundreds of times larger, so is the gradient.
# - Dead ReLU: if $xW^\top + b \le 0$ for every sample, the derivative is always 0 and this row of
#   weights never moves again.
# - Exploding RNN: the gradient through $T$ steps is a product of $T$ matrices. If each one
#   enlarges by 1.6, 28 steps may enlarge by $1.6^{28} \approx 520000$.

# %% [markdown] lang="zh"
# ## 正常的训练
# 先写好正常的样子作为对照。`train` 是标准流程：前向、损失、清零、反向、更新；两个参数 `zero_grad`
# 和 `clip` 是为后面的实验留的开关。每次都从同一组初始权重出发，这样曲线的差别只来自那一处错误。

# %% [markdown] lang="en"
# ## A healthy run
# First the healthy run to compare with. `train` is the standard cycle: forward, loss, zero the
# gradients, backward, step. Its parameters `zero_grad` and `clip` are switches for the experiments
# below. Every run starts from the same weights, so that a difference between two curves comes from
# the one mistake alone.

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from zoo import lessons
from zoo.datasets import mnist

data = mnist.load()
pixels = torch.from_numpy(data.train.inputs[:4000]).float().flatten(1)  # [4000, 784], 0 to 255
y = torch.from_numpy(data.train.targets[:4000])
valid_pixels = torch.from_numpy(data.validation.inputs[:2000]).float().flatten(1)
valid_y = torch.from_numpy(data.validation.targets[:2000])
x, valid_x = ((p / 255 - 0.1307) / 0.3081 for p in (pixels, valid_pixels))


def make_net():
    """Make a network of 784, 128 and 10 units."""
    torch.manual_seed(0)  # every run starts from the same weights
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def train(net, x, y, lr=0.05, epochs=3, zero_grad=True, clip=None):
    """Train with SGD in batches of 64; return the loss of each step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.5)
    net.train()
    losses = []
    for _ in range(epochs):
        for inputs, targets in zip(x.split(64), y.split(64), strict=True):
            loss = F.cross_entropy(net(inputs), targets)
            if zero_grad:
                optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
    return losses


@torch.no_grad()
def accuracy(net, x):
    """Return the fraction of the validation images that are classified right."""
    return (net(x).argmax(dim=1) == valid_y).float().mean().item()


def report(name, losses, score):
    """Print the first loss, the mean of the last 20, and the accuracy."""
    last = sum(losses[-20:]) / 20
    print(f"{name:<16} loss {losses[0]:6.3f} -> {last:6.3f}   accuracy {score:.3f}")


net = make_net()
healthy = train(net, x, y)
healthy_score = accuracy(net, valid_x)
report("healthy", healthy, healthy_score)
assert healthy_score > 0.85

# %% [markdown] lang="zh"
# ## 三处只改一行的错误
# 第一，不调用 `zero_grad()`。`backward()` 是把梯度**加**到 `.grad` 上，不清零就一直累积，
# 相当于动量系数为 1：每步越走越大，损失只降了几步，之后剧烈跳动，再也降不下来。
#
# 第二，学习率 2，是正常值的 40 倍。损失几步之内跳高，然后停在 2.3 附近，也就是 $\ln 10$：
# 网络对每张图片都给十个类别几乎相同的概率。
#
# 第三，直接送入 0 到 255 的像素。初始损失高达 25，然后同样停在 2.3。网络和学习率都没有问题，
# 问题在输入的尺度。

# %% [markdown] lang="en"
# ## Three mistakes of one line
# First, `zero_grad()` is not called. `backward()` **adds** to `.grad`, so without zeroing the
# gradients pile up as with a momentum of 1: the steps grow, the loss falls for a few steps only,
# then it jumps about and never comes down.
#
# Second, a learning rate of 2, which is 40 times the healthy one. Within a few steps the loss
# jumps up, then it stays near 2.3, which is $\ln 10$: the network gives all ten classes nearly the
# same probability, whatever the image.
#
# Third, pixels from 0 to 255 go in as they are. The loss starts at 25 and ends at 2.3 as well.
# Nothing is wrong with the network or the learning rate; the scale of the inputs is.

# %%
net = make_net()
no_zero = train(net, x, y, zero_grad=False)
no_zero_score = accuracy(net, valid_x)
report("no zero_grad()", no_zero, no_zero_score)

net = make_net()
large_lr = train(net, x, y, lr=2)
large_lr_score = accuracy(net, valid_x)
report("lr = 2", large_lr, large_lr_score)

net = make_net()
raw = train(net, pixels, y)
raw_score = accuracy(net, valid_pixels)
report("raw pixels", raw, raw_score)

assert max(no_zero_score, large_lr_score, raw_score) < 0.5
assert abs(sum(large_lr[-20:]) / 20 - math.log(10)) < 0.1
assert abs(sum(raw[-20:]) / 20 - math.log(10)) < 0.1

# %% [markdown] lang="zh"
# ## 死掉的 ReLU
# 学习率太大时到底坏了什么？数一数：有多少隐藏单元对全部 2000 张验证图片都输出 0。前 10 步用学习率
# 2，之后 6 个周期改回 0.05。坏掉只要几步，改回正常的学习率却救不活：死掉的单元没有梯度，
# 没有梯度就不会变。剩下的五分之一还能学，所以正确率会回升，这里回到 0.82。

# %% [markdown] lang="en"
# ## Dead ReLUs
# What does the large learning rate break? Let us count the hidden units that are 0 for all 2,000
# validation images. The first 10 steps have a learning rate of 2; then 6 epochs follow with 0.05.
# The damage takes a few steps, and the right learning rate does not repair it: a dead unit has no
# gradient, and without a gradient it does not change. The fifth that is left can learn, so the
# accuracy recovers, here to 0.82.


# %%
@torch.no_grad()
def dead(net):
    """Return the fraction of hidden units that are 0 for every validation image."""
    return (net[:2](valid_x) == 0).all(dim=0).float().mean().item()


net = make_net()
dead_units = [dead(net)]
for step in range(10):
    batch = slice(64 * step, 64 * (step + 1))
    train(net, x[batch], y[batch], lr=2, epochs=1)
    dead_units.append(dead(net))
hurt = dead_units[-1]
for _ in range(6):
    train(net, x, y, lr=0.05, epochs=1)
    dead_units.append(dead(net))
lessons.say(
    f"死掉的单元：{dead_units[0]:.0%} -> {hurt:.0%} -> {dead_units[-1]:.0%}",
    f"dead units: {dead_units[0]:.0%} -> {hurt:.0%} -> {dead_units[-1]:.0%}",
)
late_score = accuracy(net, valid_x)
lessons.say(
    f"6 个正常的周期之后正确率 {late_score:.3f}，一次正常训练 3 个周期就有 {healthy_score:.3f}",
    f"accuracy after 6 good epochs {late_score:.3f}; a healthy run has {healthy_score:.3f} after 3",
)
assert dead_units[0] < 0.05
assert hurt > 0.5
assert dead_units[-1] > hurt - 0.1

# %% [markdown] lang="zh"
# ## 忘记 eval()
# 这次网络里有批归一化和 Dropout。训练得很好，但评估时忘了 `net.eval()`：Dropout
# 继续随机丢掉一半的单元，批归一化继续用当前这一批的均值和方差。于是**同一个网络、同样的图片**，
# 正确率取决于一批放几张：一批 2 张时只剩一半左右，而 `eval()` 模式下不论一批几张，结果都一样。

# %% [markdown] lang="en"
# ## No eval()
# This network has batch normalization and dropout. It is trained well, but at evaluation we forget
# `net.eval()`: dropout goes on dropping half of the units at random, and batch normalization goes
# on using the mean and variance of the current batch. So for **the same network and the same
# images** the accuracy depends on how many images are in a batch: with 2 it is about half. In
# `eval()` mode the size of the batch changes nothing.

# %%
torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)
)
train(net, x, y)
batch_sizes = [2, 4, 8, 16, 32, 64, 128]
scores = {}
lessons.say(f"正确率，一批 {batch_sizes} 张", f"accuracy with batches of {batch_sizes}")
for mode in ("train", "eval"):
    net.train(mode == "train")
    scores[mode] = []
    for size in batch_sizes:
        with torch.no_grad():
            predicted = torch.cat([net(part).argmax(dim=1) for part in valid_x.split(size)])
        scores[mode].append((predicted == valid_y).float().mean().item())
    print(f"{mode + '()':<8}", [round(score, 3) for score in scores[mode]])
assert scores["train"][0] < 0.65
assert max(scores["eval"]) - min(scores["eval"]) < 0.002
assert min(scores["eval"]) > max(scores["train"])

# %% [markdown] lang="zh"
# ## 不裁剪梯度的 RNN
# 一个 ReLU 的 RNN 把 28 行逐行读入，循环矩阵是 1.6 倍的正交矩阵，学习率 0.2。不裁剪时，
# 梯度几步之内就极大，权重被推到很远，损失变成 `nan`，之后永远是 `nan`。加一行
# `clip_grad_norm_(..., 1.0)`，方向不变，长度最多为 1，同样的网络就能学下去（R. Pascanu 等，
# 2013）。

# %% [markdown] lang="en"
# ## An RNN without clipping
# An RNN with ReLU reads the 28 rows one by one. Its recurrent matrix is 1.6 times an orthogonal
# one, and the learning rate is 0.2. Without clipping, the gradient is huge within a few steps, the
# weights are thrown far away, and the loss becomes `nan` and stays `nan`. With one more line,
# `clip_grad_norm_(..., 1.0)`, the gradient keeps its direction and its length is at most 1, and
# the same network learns (R. Pascanu et al., 2013).


# %%
class RowNet(nn.Module):
    """Read the rows of an image one by one, with ReLU as the activation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.RNN(28, 64, batch_first=True, nonlinearity="relu")
        self.fc = nn.Linear(64, 10)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain=1.6)

    def forward(self, x):
        """Map [N, 784] to logits [N, 10]."""
        outputs, _ = self.rnn(x.view(-1, 28, 28))  # [N, 28 rows, 64]
        return self.fc(outputs[:, -1])


net = RowNet()
exploding = train(net, x, y, lr=0.2, epochs=1)
broken_at = next(i for i, loss in enumerate(exploding) if not math.isfinite(loss))
lessons.say(
    f"不裁剪：从第 {broken_at} 步起损失不再是有限的数",
    f"without clipping: the loss is not finite from step {broken_at} on",
)
net = RowNet()
clipped = train(net, x, y, lr=0.2, epochs=1, clip=1.0)
clipped_score = accuracy(net, valid_x)
report("clipped at 1", clipped, clipped_score)
assert clipped_score > 0.3

# %% [markdown] lang="zh"
# ## 过拟合
# 只用 200 张图片训练 40 个周期：训练损失趋近 0，验证损失先降后升。验证损失最低的那个周期之后，
# 网络只是在背诵这 200 张图片。解药按效果排序通常是：更多数据、数据增强、正则化（Dropout、weight
# decay）、早停。这里与前面 4000 张图片的结果对比就能看到数据的作用。

# %% [markdown] lang="en"
# ## Overfitting
# We train on 200 images alone for 40 epochs: the training loss goes to 0, while the validation
# loss falls and then rises. After the epoch with the lowest validation loss the network only
# learns those 200 images by heart. The usual cures are more data, augmentation, regularization
# (dropout, weight decay) and early stopping. What more data are worth, the comparison with the
# 4,000 images above shows.

# %%
net = make_net()
train_losses, valid_losses = [], []
for _ in range(40):
    train(net, x[:200], y[:200], lr=0.1, epochs=1)
    with torch.no_grad():
        train_losses.append(F.cross_entropy(net(x[:200]), y[:200]).item())
        valid_losses.append(F.cross_entropy(net(valid_x), valid_y).item())
best = valid_losses.index(min(valid_losses))
overfit_score = accuracy(net, valid_x)
print(f"training loss   {train_losses[0]:.3f} -> {train_losses[-1]:.3f}")
print(
    f"validation loss {valid_losses[0]:.3f} -> {valid_losses[best]:.3f} -> {valid_losses[-1]:.3f}"
)
lessons.say(
    f"验证损失在第 {best + 1} 个周期最低；200 张图片的正确率 {overfit_score:.3f}",
    f"lowest validation loss in epoch {best + 1}; accuracy with 200 images {overfit_score:.3f}",
)
assert train_losses[-1] < 0.05
assert valid_losses[-1] > min(valid_losses) + 0.03
assert overfit_score < healthy_score - 0.05

# %% [markdown] lang="zh"
# ## 画在一起
# 橙色是出错的训练，蓝色是正常的对照。

# %% [markdown] lang="en"
# ## All in one picture
# Orange is the run that goes wrong, blue the healthy one beside it.

# %%
BLUE, ORANGE = "#2563a8", "#c2571a"
figure = lessons.figure(9.8, 4.4)
grid = figure.subplots(2, 4).flatten()
for axes, title, losses in (
    (grid[0], "no zero_grad()", no_zero),
    (grid[1], "learning rate 2", large_lr),
    (grid[2], "pixels 0 to 255", raw),
):
    axes.plot(healthy, color=BLUE, linewidth=1)
    axes.plot(losses, color=ORANGE, linewidth=1)
    axes.set(title=title, xlabel="step", ylabel="loss", ylim=(0, 8))
grid[3].plot(dead_units, "o-", color=ORANGE, markersize=3)
grid[3].axvline(10, color="0.5", linestyle=":")
grid[3].text(10.2, 0.05, "lr = 0.05,\nepochs", fontsize=8)
grid[3].text(4.4, 0.05, "lr = 2,\nsteps", fontsize=8)
grid[3].set(title="dead ReLUs", xlabel="step, then epoch", ylabel="fraction dead", ylim=(0, 1))
grid[4].plot(batch_sizes, scores["eval"], "o-", color=BLUE, markersize=3, label="eval()")
grid[4].plot(batch_sizes, scores["train"], "o-", color=ORANGE, markersize=3, label="train()")
grid[4].set(title="no eval()", xlabel="batch size", ylabel="accuracy", xscale="log")
grid[4].set_xticks([2, 8, 32, 128], ["2", "8", "32", "128"])
grid[5].plot(clipped, color=BLUE, linewidth=1, label="clipped")
grid[5].plot(exploding[:broken_at], "o-", markersize=3, color=ORANGE, label="not clipped")
grid[5].plot(broken_at - 1, exploding[broken_at - 1], "x", color=ORANGE, label="then nan")
grid[5].set(title="exploding RNN", xlabel="step", ylabel="loss", yscale="log")
grid[6].plot(train_losses, color=BLUE, label="training")
grid[6].plot(valid_losses, color=ORANGE, label="validation")
grid[6].axvline(best, color="0.5", linestyle=":")
grid[6].set(title="overfitting 200 images", xlabel="epoch", ylabel="loss", ylim=(0, 2))
names = ["healthy", "no zero_grad", "lr 2", "raw pixels", "200 images"]
bars = [healthy_score, no_zero_score, large_lr_score, raw_score, overfit_score]
grid[7].barh(names[::-1], bars[::-1], color=[ORANGE] * 4 + [BLUE])
grid[7].set(title="validation accuracy", xlim=(0, 1))
for axes in grid:
    axes.grid(alpha=0.25)
for axes in grid[4:7]:
    axes.legend(frameon=False, fontsize=8)
figure.suptitle("orange: what goes wrong; blue: the healthy run", fontsize=10)
lessons.save(figure, "what_goes_wrong.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 损失停在 $\ln C$（十类时为 2.303）：网络给每类相同的概率。先查学习率和输入的尺度，
#   再看隐藏单元是否全死。
# - 损失是 `nan`：从第一次出现的那一步往回查，打印那一步之前的梯度范数；降低学习率或裁剪梯度。
#   等它自己恢复是没有用的，`nan` 加任何数还是 `nan`。
# - 训练时正确率高，部署后一次一张却很差：评估前没有 `net.eval()`。
#   （批归一化的网络在训练模式下输入一张图片，`BatchNorm1d` 会直接报错，算是运气好。）
# - 用训练集的正确率判断好坏：过拟合时它总是接近 100%。一定要看没有参加训练的图片。

# %% [markdown] lang="en"
# ## Usual mistakes
# - The loss stays at $\ln C$ (2.303 with ten classes): the network gives all classes the same
#   probability. Look at the learning rate and the scale of the inputs first, then count dead
#   units.
# - The loss is `nan`: go back from the first step that has it and print the norm of the gradient
#   before it; lower the learning rate, or clip. Waiting does not help, since `nan` plus anything
#   is `nan`.
# - The accuracy is high in training and poor in production, one image at a time: `net.eval()` was
#   not called. (With one image in training mode, `BatchNorm1d` raises an error, which is the lucky
#   case.)
# - Judging by the accuracy on the training images: when a network overfits, it is always near
#   100%. Look at images that took no part in training.

# %% [markdown] lang="zh"
# ## 练习
# 1. 不清零时，为什么损失一开始还能降几步？
#
# <details markdown="1"><summary>答案</summary>
#
# 开始时累积的梯度与当前梯度方向相近，相当于学习率逐渐变大，损失下降；累积得越多，
# 走过最低点之后越停不下来，因为要等反方向的梯度把累积的和抵消掉。
#
# </details>
#
# 2. 不改学习率，只把 `raw pixels` 的输入除以 255（不减均值），还会停在 2.3 吗？改一改，
#    正确率应当是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 不会。`net = make_net(); train(net, pixels / 255, y); accuracy(net, valid_pixels / 255)` 得到约
# 0.88，只比归一化的 0.90 略低：尺度最要紧，减均值还能再快一点。
#
# </details>
#
# 3. 把死 ReLU 实验里的 `nn.ReLU()` 换成 `nn.LeakyReLU(0.1)`，之后再训练 6 个周期，正确率是多少？
#    `dead` 又是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# `dead` 是 0：负半轴的斜率是 0.1，梯度不会消失。但正确率只有 0.79，并不比 ReLU 的 0.82 高：学习率
# 2 不只弄死单元，也把权重推到了很远的地方。真正的解药是一开始就用合适的学习率；`LeakyReLU`
# 只保证单元还能动。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Without zeroing, why does the loss still fall in the first steps?
#
# <details markdown="1"><summary>Answer</summary>
#
# At first the sum of the gradients points where the current gradient points, as if the learning
# rate grew, and the loss falls. The larger the sum is, the longer it goes on beyond the lowest
# point, since gradients of the other direction have to cancel the sum first.
#
# </details>
#
# 2. Keep the learning rate and only divide the input of `raw pixels` by 255 (subtract no mean).
#    Does the loss still stay at 2.3? Change it: what accuracy should come out?
#
# <details markdown="1"><summary>Answer</summary>
#
# It does not. `net = make_net(); train(net, pixels / 255, y); accuracy(net, valid_pixels / 255)`
# gives about 0.88, a little below the 0.90 of normalized inputs: the scale matters most, and
# subtracting the mean makes it somewhat faster still.
#
# </details>
#
# 3. In the experiment with dead ReLUs, replace `nn.ReLU()` by `nn.LeakyReLU(0.1)`. What is the
#    accuracy after the 6 epochs, and what does `dead` say?
#
# <details markdown="1"><summary>Answer</summary>
#
# `dead` is 0: with a slope of 0.1 on the negative side the gradient does not vanish. The accuracy
# is 0.79, though, and no better than the 0.82 of ReLU: the learning rate of 2 did not only kill
# units, it also threw the weights far away. The cure is a fitting learning rate from the start;
# `LeakyReLU` only makes sure that every unit can still move.
#
# </details>
