"""看进网络里面：卷积核、特征图与显著图 · Looking inside: filters, maps and saliency

Code: zoo/models/cnn.py
Picture: looking_inside.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 训练好的网络常被叫做黑箱，其实第一层完全可以看懂：它只有 10 个 5×5 的卷积核。
# 但是“看图猜名字”靠不住：给一张特征图起名叫“边缘检测器”很容易，证明它真的检测边缘要动手测量。
# 本课对随库发布的 `cnn` 做三次测量：每个卷积核对什么图案反应最强；去掉它正确率下降多少；
# 哪些像素决定了答案。所有图片来自验证集，训练时没有用过。

# %% [markdown] lang="en"
# ## Why
# A trained network is often called a black box, yet its first layer can be understood: it is 10
# filters of 5×5. Looking at a picture and guessing a name is not enough, though. It is easy to
# call a feature map an "edge detector", and it takes a measurement to show that it detects edges.
# This lesson measures three things about the zoo's `cnn`: which pattern excites each filter most,
# how much accuracy is lost without the filter, and which pixels decide the answer. All images are
# from the validation set, which took no part in training.

# %% [markdown] lang="zh"
# ## 公式
# 卷积核 $w$（`[25]`，由 5×5 展平）对图块 $p$（`[25]`）的响应是内积加偏置：
#
# $$
# a = w^\top p + b
# $$
#
# 两个图案 $p$、$q$ 有多像，用减去均值后的余弦来量，1 是同一图案，-1 是黑白相反：
#
# $$
# \cos(p, q) = \frac{(p - \bar p)^\top (q - \bar q)}
# {\lVert p - \bar p \rVert \, \lVert q - \bar q \rVert}
# $$
#
# 图片 $x$（`[1, 28, 28]`）的显著图是所选类别的得分 $z_c$ 对每个像素的梯度的绝对值（K. Simonyan
# 等，2013），形状与图片相同；梯度乘以像素与背景 $x_0$ 之差，则是该像素对得分的一阶贡献（A.
# Shrikumar 等，2016）：
#
# $$
# S = \left| \frac{\partial z_c}{\partial x} \right|, \qquad
# C = \frac{\partial z_c}{\partial x} \odot (x - x_0)
# $$

# %% [markdown] lang="en"
# ## The formulas
# The answer of a filter $w$ (`[25]`, 5×5 flattened) to a patch $p$ (`[25]`) is an inner product
# plus a bias:
#
# $$
# a = w^\top p + b
# $$
#
# How alike two patterns $p$ and $q$ are, the cosine says after their means are subtracted; 1 is
# the same pattern, -1 its negative:
#
# $$
# \cos(p, q) = \frac{(p - \bar p)^\top (q - \bar q)}
# {\lVert p - \bar p \rVert \, \lVert q - \bar q \rVert}
# $$
#
# The saliency map of an image $x$ (`[1, 28, 28]`) is the absolute gradient of the chosen class's
# score $z_c$ by each pixel (K. Simonyan et al., 2013), and has the shape of the image. The
# gradient times the pixel's difference from the background $x_0$ is the pixel's contribution to
# the score, to first order (A. Shrikumar et al., 2016):
#
# $$
# S = \left| \frac{\partial z_c}{\partial x} \right|, \qquad
# C = \frac{\partial z_c}{\partial x} \odot (x - x_0)
# $$

# %% [markdown] lang="zh"
# ## 取出卷积核
# `zoo.load("cnn")` 返回训练好的普通 `nn.Module`，权重就是张量，可以直接取出来。

# %% [markdown] lang="en"
# ## Taking out the filters
# `zoo.load("cnn")` returns a trained, ordinary `nn.Module`. Its weights are tensors, so we can
# simply take them.

# %%
import math

import torch
from torch.nn import functional as F

import zoo
from zoo import language, lessons
from zoo.datasets import mnist

data = mnist.load()
images = torch.from_numpy(data.validation.inputs[:2000])  # uint8 [2000, 28, 28, 1]
x = (images.permute(0, 3, 1, 2) / 255 - 0.1307) / 0.3081  # [2000, 1, 28, 28]
y = torch.from_numpy(data.validation.targets[:2000])
model = zoo.load("cnn")  # trained, in eval mode
filters = model.conv1.weight.detach().view(10, 25)


@torch.no_grad()
def accuracy(x):
    """Return the fraction of the images that the model classifies right."""
    return (model(x).argmax(dim=1) == y).float().mean().item()


full = accuracy(x)
print(f"conv1 {list(model.conv1.weight.shape)}")
lessons.say(f"2000 张图片的正确率 {full:.3f}", f"accuracy on 2,000 images {full:.3f}")
assert full > 0.98

# %% [markdown] lang="zh"
# ## 每个卷积核喜欢什么
# `F.unfold` 把每张图片切成 24×24 个 5×5 的图块，于是卷积就是一次矩阵乘法，先验证这一点。
# 然后对每个卷积核，找出 115 万个图块里响应最强的 2000 个，取平均：
# 这就是它在真实数字上“最喜欢的图案”。

# %% [markdown] lang="en"
# ## What each filter likes
# `F.unfold` cuts each image into 24×24 patches of 5×5, which makes the convolution one matrix
# product; we check that first. Then we find, for each filter, the 2,000 patches out of 1.15
# million with the strongest answers, and take their mean: that is the filter's favorite pattern on
# real digits.

# %%
patches = F.unfold(x, kernel_size=5).transpose(1, 2).reshape(-1, 25)  # [2000 * 24 * 24, 25]
answers = patches @ filters.T + model.conv1.bias.detach()  # [1152000, 10]
with torch.no_grad():
    maps = model.conv1(x)  # [2000, 10, 24, 24]
lessons.agree("patches @ filters", answers.T, maps.transpose(0, 1).reshape(10, -1), 1e-4)

favorites = torch.stack([patches[answers[:, k].topk(2000).indices].mean(dim=0) for k in range(10)])
print(f"favorites {list(favorites.shape)}")

# %% [markdown] lang="zh"
# ## 给图案起名
# 准备一本“图案字典”：八个方向的边缘、四个方向的亮线与暗线、亮点与暗点，各有几个位置，共 66 个。
# 把每个最喜欢的图案与字典里的全部图案求余弦，最像的那个就是名字；最大余弦不到 0.8 的，
# 老实写“不确定”。

# %% [markdown] lang="en"
# ## Naming the patterns
# We write a dictionary of patterns: edges in eight directions, bright and dark lines in four,
# bright and dark spots, each at several places, 66 in all. The cosine of each favorite with every
# pattern says which one is nearest, and that is its name. Where the largest cosine is below 0.8 we
# honestly say "unclear".

# %%
down, right = torch.meshgrid(torch.arange(5.0) - 2, torch.arange(5.0) - 2, indexing="ij")
SIDES_ZH = ["右", "右上", "上", "左上", "左", "左下", "下", "右下"]
SIDES_EN = "right, upper right, top, upper left, left, lower left, bottom, lower right".split(", ")
patterns = []  # the name in Chinese, in English, and a patch [5, 5]
for shift in (-1, 0, 1):
    for number in range(8):  # edges: bright on one side
        angle = math.radians(45 * number)
        distance = right * math.cos(angle) - down * math.sin(angle) - shift
        edge = torch.sigmoid(2 * distance)
        patterns.append((f"边缘，{SIDES_ZH[number]}亮", f"edge, bright {SIDES_EN[number]}", edge))
    for number, stroke in enumerate("-/|\\"):  # lines through the middle or beside it
        angle = math.radians(45 * number)
        distance = right * math.sin(angle) + down * math.cos(angle) - shift
        line = torch.exp(-((distance / 0.8) ** 2))
        patterns.append((f"亮线 {stroke}", f"line {stroke}", line))
        patterns.append((f"暗线 {stroke}", f"dark line {stroke}", -line))
    for other in (-1, 0, 1):
        spot = torch.exp(-((right - shift) ** 2 + (down - other) ** 2) / 2)
        patterns.append(("亮点", "spot", spot))
        patterns.append(("暗点", "dark spot", -spot))
assert len(patterns) == 66


def standard(patches):
    """Subtract its mean from each patch [.., 25] and divide it by its length."""
    patches = patches - patches.mean(dim=-1, keepdim=True)
    return patches / patches.norm(dim=-1, keepdim=True)


shapes = standard(torch.stack([patch.flatten() for *_, patch in patterns]))  # [66, 25]
cosines, nearest = (standard(favorites) @ shapes.T).max(dim=1)  # [10], [10]
weight_cosines, weight_nearest = (standard(filters) @ shapes.T).max(dim=1)


def name(cosine, number, chinese):
    """Return the name of the nearest pattern, if it is near enough."""
    if cosine < 0.8:
        return "不确定" if chinese else "unclear"
    return patterns[number][0 if chinese else 1]


chinese = language.current() == "zh"
for k in range(10):
    liked = name(cosines[k], nearest[k], chinese)
    drawn = name(weight_cosines[k], weight_nearest[k], chinese)
    lessons.say(
        f"{k} 号：{cosines[k]:.2f} {liked}   （权重：{weight_cosines[k]:.2f} {drawn}）",
        f"filter {k}: {cosines[k]:.2f} {liked}   (weights: {weight_cosines[k]:.2f} {drawn})",
    )
clear = int((cosines >= 0.8).sum())
by_weights = int((weight_cosines >= 0.8).sum())
lessons.say(
    f"10 个里有名字的：{clear} 个；只看权重：{by_weights} 个",
    f"named: {clear} of 10; by the weights alone: {by_weights}",
)
assert clear >= 5
assert cosines.mean() > weight_cosines.mean() + 0.1

# %% [markdown] lang="zh"
# 结果：六个有名字，五个是不同方向的边缘，一个是斜线；四个不确定。
# 括号里是只看**权重**本身得到的名字，只有两个超过 0.8，而且 7 号的权重最像“暗线”，
# 它在数字上真正响应的却是边缘：数字里很少有亮底暗线。要问的是“它响应什么”，不是“它长得像什么”。

# %% [markdown] lang="en"
# The result: six have a name, five of them are edges in different directions and one is a slanted
# line; four are unclear. In parentheses is the name that the **weights** alone would give. Only
# two of those exceed 0.8, and the weights of filter 7 look like a dark line, while what it answers
# to on digits is an edge: dark lines on a bright ground are rare in digits. The question is what a
# filter answers to, not what it looks like.

# %% [markdown] lang="zh"
# ## 哪个卷积核重要
# 把一个卷积核的权重和偏置置零，再测一次正确率，测完恢复。

# %% [markdown] lang="en"
# ## Which filters matter
# We set a filter's weights and bias to zero, measure the accuracy again, and put them back.

# %%
without = []
for k in range(10):
    with torch.no_grad():
        weight, bias = model.conv1.weight[k].clone(), model.conv1.bias[k].clone()
        model.conv1.weight[k], model.conv1.bias[k] = 0, 0
        without.append(accuracy(x))
        model.conv1.weight[k], model.conv1.bias[k] = weight, bias
lessons.say("依次去掉 0 到 9 号之后的正确率：", "accuracy without filter 0, 1, ... 9:")
print([round(score, 3) for score in without])
most = without.index(min(without))
lessons.say(
    f"最要紧的是 {most} 号：{name(cosines[most], nearest[most], True)}",
    f"filter {most} matters most: {name(cosines[most], nearest[most], False)}",
)
assert accuracy(x) == full
assert min(without) < full - 0.1
assert max(without) > full - 0.01

# %% [markdown] lang="zh"
# ## 哪些像素决定答案
# 对**输入**求梯度只要一行：让 `inputs.requires_grad` 为真，对所选类别的得分调用 `backward()`。
# 检验的办法是“擦除”：把每张图最重要的 30 个像素改成背景，正确率跌得越多，说明挑得越准。
# 对照是随机擦掉 30 个有笔画的像素。

# %% [markdown] lang="en"
# ## Which pixels decide
# The gradient by the **input** takes one line: `inputs` requires a gradient, and we call
# `backward()` on the scores of the chosen classes. The check is erasing: we set the 30 most
# important pixels of each image to the background. The more the accuracy falls, the better they
# were chosen. Beside it, 30 random pixels of the stroke are erased.


# %%
def gradient(network):
    """Return the gradient of the winning scores by the pixels, [2000, 1, 28, 28]."""
    inputs = x.clone().requires_grad_()
    logits = network(inputs)
    logits.max(dim=1).values.sum().backward()
    return inputs.grad


def erased(importance):
    """Return the accuracy with the 30 most important pixels of each image erased."""
    largest = importance.flatten(1).topk(30, dim=1).indices
    return accuracy(x.flatten(1).scatter(1, largest, x.min().item()).view_as(x))


torch.manual_seed(0)
ink = x > 0
slope = gradient(model)
saliency, contribution = slope.abs(), slope * (x - x.min())
scores = {
    "random stroke pixels": erased(torch.rand_like(x) * ink),
    "|gradient|": erased(saliency),
    "contribution": erased(contribution),
}
lessons.say("擦掉 30 个像素之后的正确率：", "accuracy with 30 pixels erased:")
for what, score in scores.items():
    print(f"  {what:<21} {score:.3f}")
on_ink = (saliency * ink).sum() / saliency.sum()
lessons.say(
    f"笔画占像素的 {ink.float().mean():.0%}，占 |梯度| 的 {on_ink:.0%}",
    f"the stroke has {ink.float().mean():.0%} of the pixels, {on_ink:.0%} of |gradient|",
)
torch.manual_seed(0)
fresh = gradient(zoo.load("cnn", pretrained=False)).abs()
fresh_on_ink = (fresh * ink).sum() / fresh.sum()
lessons.say(f"没有训练过的网络：{fresh_on_ink:.0%}", f"in an untrained network {fresh_on_ink:.0%}")
assert scores["contribution"] < scores["random stroke pixels"] - 0.2
assert scores["|gradient|"] > scores["contribution"] + 0.2
assert abs(fresh_on_ink - on_ink) < 0.1

# %% [markdown] lang="zh"
# 两个结论都值得记住。第一，|梯度| 最大的像素并不是“网络看到的像素”：
# 擦掉它们的损失还不如随机擦笔画，因为梯度的 73% 落在背景上，那里**变亮**才会改变答案，
# 擦掉它们什么也不变。乘上像素值的“贡献”才指出真正支撑答案的笔画。第二，没有训练过的网络，
# 显著图落在笔画上的比例几乎一样：显著图好看，不说明网络学会了什么（J. Adebayo 等，2018）。

# %% [markdown] lang="en"
# Both results are worth remembering. First, the pixels with the largest |gradient| are not the
# pixels "that the network sees": erasing them costs less than erasing random pixels of the stroke,
# since 73% of the gradient lies on the background. The answer would change if those pixels became
# **brighter**, and erasing them changes nothing. It is the contribution, which multiplies by the
# pixel, that points at the strokes which carry the answer. Second, the saliency map of an
# untrained network lies on the stroke to nearly the same part: a convincing saliency map does not
# show that the network has learned anything (J. Adebayo et al., 2018).

# %% [markdown] lang="zh"
# ## 画在一起
# 前三行是 10 个卷积核：权重（蓝负橙正）、最喜欢的图案、对同一个数字的特征图（ReLU 之后）；
# 后三行是十个数字、它们的 |梯度| 和贡献。

# %% [markdown] lang="en"
# ## All in one picture
# The first three rows are the 10 filters: weights (blue is negative, orange positive), favorite
# patterns, and the feature maps (after ReLU) of one digit. The last three rows are ten digits,
# their |gradient| and their contributions.

# %%
figure = lessons.figure(8.0, 5.2)
grid = figure.subplots(6, 10)
digits = [int((y == digit).nonzero()[0]) for digit in range(10)]
brightest = maps[digits[5]].max().item()  # one scale for all maps


def coarse(image):
    """Round to 6 levels, for a smaller file."""
    return (6 * image / image.abs().max()).round().numpy()


for k in range(10):
    bound = filters.abs().max().item()
    grid[0, k].imshow(filters[k].view(5, 5).numpy(), cmap="PuOr_r", vmin=-bound, vmax=bound)
    title = name(cosines[k], nearest[k], False).replace(", bright ", "\nbright\n")
    grid[0, k].set_title(f"{k}: {title}", fontsize=7)
    grid[1, k].imshow(favorites[k].view(5, 5).numpy(), cmap="gray")
    grid[2, k].imshow(F.relu(maps[digits[5], k]).numpy(), cmap="gray", vmax=brightest)
    grid[3, k].imshow(coarse(images[digits[k], :, :, 0].float()), cmap="gray")
    grid[4, k].imshow(coarse(saliency[digits[k], 0]), cmap="gray")
    grid[5, k].imshow(coarse(contribution[digits[k], 0]), cmap="PuOr_r", vmin=-6, vmax=6)
ROWS = ["weights", "favorite", "maps of a 5", "image", "|gradient|", "contribution"]
for row, label in enumerate(ROWS):
    grid[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
for axes in grid.flat:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
lessons.save(figure, "looking_inside.png")

# %% [markdown] lang="zh"
# ## 常见错误
# - 每张特征图各自缩放到全黑全白再看：几乎为零的图也会显得很强。要比较就用同一个 `vmin`、`vmax`。
# - 忘记 `requires_grad_()`，`inputs.grad` 是 `None`；或者对已经是计算结果的张量求梯度，也得到
#   `None` 和一条警告。先 `clone()`，再 `requires_grad_()`。
# - 没有 `model.eval()`：有 Dropout 或批归一化的网络，每次得到的显著图都不同。`zoo.load`
#   返回的模型已经在评估模式。
# - 只看一张好看的图就下结论。给出在许多图片上量出的数，并与随机的对照相比。

# %% [markdown] lang="en"
# ## Usual mistakes
# - Each map is scaled to black and white by itself: a map that is almost zero looks strong, too.
#   To compare maps, give all the same `vmin` and `vmax`.
# - `requires_grad_()` is missing, and `inputs.grad` is `None`. The same happens, with a warning,
#   for a tensor that is itself the result of a computation. First `clone()`, then
#   `requires_grad_()`.
# - `model.eval()` is missing: with dropout or batch normalization the saliency map is another one
#   each time. A model from `zoo.load` is in evaluation mode already.
# - A conclusion from one nice image. Give a figure measured on many images, beside a random
#   control.

# %% [markdown] lang="zh"
# ## 练习
# 1. 为什么求余弦之前要减去均值？不减会怎样？
#
# <details markdown="1"><summary>答案</summary>
#
# 不减均值时，一个全亮的图块与任何亮图案的余弦都很大，名字由平均亮度决定，而不由形状决定。
# 减去均值后只比较形状。
#
# </details>
#
# 2. 把 `erased` 里的 30 改成 10，三个正确率各是多少？次序变吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 随机 0.983，|梯度| 0.980，贡献 0.790：擦得少，差别变小，|梯度| 与随机几乎相同，贡献仍然远远领先。
#
# </details>
#
# 3. 把模型换成 `zoo.load("googlenet")`，它的 `conv1` 也是 10 个 5×5。有几个卷积核能起名？
#    （断言里的数字需要放宽。）
#
# <details markdown="1"><summary>答案</summary>
#
# 7 个：六个边缘，一条斜线；只看权重仍然只有 2 个。去掉 3、6 或 7 号时，正确率都降到 0.88 左右：
# 分工不像 `cnn` 那样集中在一个卷积核上。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. Why is the mean subtracted before the cosine? What happens without that?
#
# <details markdown="1"><summary>Answer</summary>
#
# Without it, a patch that is bright all over has a large cosine with every bright pattern, and the
# name depends on the mean brightness instead of the shape. With the means subtracted only the
# shapes are compared.
#
# </details>
#
# 2. Change the 30 in `erased` to 10. What are the three accuracies, and does the order change?
#
# <details markdown="1"><summary>Answer</summary>
#
# Random 0.983, |gradient| 0.980, contribution 0.790: with fewer pixels the differences are
# smaller. |gradient| and random are nearly the same now, and the contribution is far ahead as
# before.
#
# </details>
#
# 3. Use `zoo.load("googlenet")`, whose `conv1` has 10 filters of 5×5, too. How many of them get a
#    name? (The figures in the assertions need more room.)
#
# <details markdown="1"><summary>Answer</summary>
#
# Seven: six edges and one slanted line; by the weights there are 2, as before. Without filter 3, 6
# or 7 the accuracy is about 0.88: the work does not depend on a single filter as much as in `cnn`.
#
# </details>
