"""逻辑斯谛回归 · Logistic regression

Code: zoo/models/logistic.py
Picture: logistic_regression.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 线性回归预测一个数；很多问题要的却是一个判断：考试通过还是没通过，肿瘤是良性还是恶性。
# 逻辑斯谛回归让模型给出**概率**：线性层的输出可以是任何实数，sigmoid 把它压到 0 与 1 之间。
#
# 先写讲义里的程序：学习 1、2、3 小时的三个学生，前两个没有通过，第三个通过，
# 问学习 4 小时通过的概率；再换成真实数据：569 个乳腺肿瘤，每个 30 项测量值。
#
# ## 公式
#
# $X$ 的形状是 $[N, D]$，$z$、概率 $p$ 和标签 $y$（0 或 1）都是 $[N, 1]$：
#
# $$
# z = X w^\top + b, \qquad p = \sigma(z) = \frac{1}{1 + e^{-z}}
# $$
#
# 损失是二元交叉熵（BCE）。$y = 1$ 时只剩第一项，$y = 0$ 时只剩第二项，
# 每一行的损失都是“正确类别的概率”的负对数：
#
# $$
# L = -\sum_{i=1}^{N} \bigl( y_i \ln p_i + (1 - y_i) \ln (1 - p_i) \bigr)
# $$
#
# 因为 $\sigma'(z) = p (1 - p)$，对 $z$ 的梯度非常简单：
#
# $$
# \frac{\partial L}{\partial z_i} = p_i - y_i
# $$
#
# ## 讲义里的程序
#
# 与线性回归的程序只差两处：`forward` 多了一个 sigmoid，损失从 `MSELoss` 换成 `BCELoss`。
# 讲义里的 `size_average=False` 今天写作 `reduction="sum"`。

# %% [markdown] lang="en"
# ## Why
#
# Linear regression predicts a number, but many questions ask for a decision: was the exam passed
# or not, is the tumor benign or malignant? Logistic regression answers with a **probability**:
# the output of a linear layer can be any number, and the sigmoid maps it to a value between 0
# and 1.
#
# First comes the program of the lecture notes: three students studied for 1, 2 and 3 hours, the
# first two failed and the third passed; how probable is it to pass after 4 hours? Then come real
# data: 569 breast tumors with 30 measurements each.
#
# ## The formulas
#
# $X$ has the shape $[N, D]$; $z$, the probabilities $p$ and the targets $y$ (0 or 1) are
# $[N, 1]$:
#
# $$
# z = X w^\top + b, \qquad p = \sigma(z) = \frac{1}{1 + e^{-z}}
# $$
#
# The loss is the binary cross-entropy (BCE). With $y = 1$ only its first term is left, with
# $y = 0$ only its second, so the loss of a row is minus the logarithm of the probability of its
# right class:
#
# $$
# L = -\sum_{i=1}^{N} \bigl( y_i \ln p_i + (1 - y_i) \ln (1 - p_i) \bigr)
# $$
#
# Since $\sigma'(z) = p (1 - p)$, the gradient with respect to $z$ is very simple:
#
# $$
# \frac{\partial L}{\partial z_i} = p_i - y_i
# $$
#
# ## The program of the notes
#
# It differs from that of linear regression in two places: `forward` ends in a sigmoid, and the
# loss is `BCELoss` instead of `MSELoss`. What the notes write as `size_average=False` is
# `reduction="sum"` today.

# %%
import torch
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo import datasets, lessons

torch.manual_seed(0)

x_data = torch.tensor([[1.0], [2.0], [3.0]])  # hours of study
y_data = torch.tensor([[0.0], [0.0], [1.0]])  # 1: the exam was passed


class LogisticRegressionModel(torch.nn.Module):
    """p = sigmoid(wx + b)."""

    def __init__(self, columns=1):
        super().__init__()
        self.linear = torch.nn.Linear(columns, 1)

    def forward(self, x):
        """Map [N, columns] to probabilities [N, 1]."""
        return torch.sigmoid(self.linear(x))  # the notes: F.sigmoid, the same function


model = LogisticRegressionModel()
criterion = torch.nn.BCELoss(reduction="sum")  # the notes: BCELoss(size_average=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

for epoch in range(1000):
    y_pred = model(x_data)  # forward
    loss = criterion(y_pred, y_data)  # loss
    optimizer.zero_grad()  # zero the gradients
    loss.backward()  # backward
    optimizer.step()  # step
    if epoch in (0, 10, 100, 999):
        print(f"epoch {epoch:3d}: loss {loss.item():.4f}")

hours = torch.linspace(0, 6, 121)[:, None]  # [121, 1]
with torch.no_grad():
    curve = model(hours)
    chance = model(torch.tensor([[4.0]])).item()
turn = -(model.linear.bias / model.linear.weight).item()
lessons.say(
    f"学习 4 小时，通过的概率 {chance:.3f}；{turn:.2f} 小时处为 0.5",
    f"probability of passing after 4 hours {chance:.3f}; 0.5 at {turn:.2f} hours",
)
assert chance > 0.8
assert 2 < turn < 3

# %% [markdown] lang="zh"
# 学习 4 小时通过的概率是 0.947。概率为 0.5 的地方叫**决策边界**：$wx + b = 0$，这里 $x = 2.41$，
# 在 2 和 3 之间，正如数据所示。
#
# ## 损失：公式与 `BCELoss`
#
# 把公式写成一行，与 `BCELoss` 的三种 `reduction` 逐一对照；再把 $z$ 当作叶子求梯度，
# 它就是 $p - y$。

# %% [markdown] lang="en"
# The probability of passing after 4 hours is 0.947. The place where it is 0.5 is called the
# **decision boundary**: $wx + b = 0$, here $x = 2.41$, between 2 and 3 as the data ask for.
#
# ## The loss: formula and `BCELoss`
#
# The formula takes one line; compare it with the three reductions of `BCELoss`. Then take the
# gradient with respect to $z$, which is $p - y$.

# %%
with torch.no_grad():
    p = model(x_data)
    by_hand = -(y_data * p.log() + (1 - y_data) * (1 - p).log())  # [3, 1]
print("p       ", [round(value, 3) for value in p[:, 0].tolist()])
print("loss    ", [round(value, 3) for value in by_hand[:, 0].tolist()])
print(f"sum {by_hand.sum():.4f}, mean {by_hand.mean():.4f}")
for reduction, expected in (("none", by_hand), ("sum", by_hand.sum()), ("mean", by_hand.mean())):
    lessons.agree(reduction, torch.nn.BCELoss(reduction=reduction)(p, y_data), expected)

# d loss / d z = p - y, where z = wx + b: all three gradients at once
z = model.linear(x_data).detach().requires_grad_()
criterion(torch.sigmoid(z), y_data).backward()
lessons.agree("d loss / d z = p - y", z.grad, p - y_data)

# %% [markdown] lang="zh"
# ## 为什么常用 `BCEWithLogitsLoss`
#
# 如果模型错得离谱，例如 $y = 1$ 而 $z = -200$，`sigmoid(z)` 在 float32 里就是 0，
# $\ln 0$ 是负无穷。`BCELoss` 因此把对数限制在 −100（见 torch 的文档），于是损失变成 100，
# 梯度变成 0：错得最厉害的一行什么也学不到。$z = -50$ 时损失还对，梯度已经消失。
# `BCEWithLogitsLoss` 直接接受 $z$，把两步合成一步计算，损失和梯度都正确。

# %% [markdown] lang="en"
# ## Why `BCEWithLogitsLoss` is often used instead
#
# If the model is far off, say $y = 1$ and $z = -200$, then `sigmoid(z)` is 0 in float32, and
# $\ln 0$ is minus infinity. `BCELoss` therefore limits the logarithm to −100 (torch's
# documentation says so). The loss becomes 100 and the gradient 0: the row that is most wrong
# teaches nothing. At $z = -50$ the loss is still right, but the gradient has vanished already.
# `BCEWithLogitsLoss` takes $z$ itself and computes both steps as one, with the right loss and the
# right gradient.

# %%
one = torch.ones(1)
for value in (-10.0, -50.0, -200.0):  # sure of class 0, and wrong
    z = torch.tensor([value], requires_grad=True)
    separate = torch.nn.BCELoss()(torch.sigmoid(z), one)
    separate.backward()
    line = f"z = {value:6.1f}: BCELoss {separate.item():5.1f}, gradient {z.grad.item():4.1f}"
    z.grad = None
    together = torch.nn.BCEWithLogitsLoss()(z, one)
    together.backward()
    print(f"{line};  with logits {together.item():5.1f}, gradient {z.grad.item():4.1f}")
assert z.grad.item() == -1

# %% [markdown] lang="zh"
# ## 真实数据
#
# 标准流程的四步都在这里：`Dataset` 与 `DataLoader`，同一个模型类（30 列），损失与优化器，
# 训练循环；模型和每一批都搬到同一个设备，有 GPU 就是 GPU。
# 除了准确率，还数一数**恶性的找到了几个**：把恶性判为良性，比反过来的后果严重得多，
# 而准确率把两种错误一样看待。

# %% [markdown] lang="en"
# ## Real data
#
# All parts of the standard flow are here: `Dataset` and `DataLoader`, the same model class (now
# with 30 columns), loss and optimizer, training cycle. The model and each batch move to the same
# device, a GPU where there is one. Besides the accuracy, count
# **how many of the malignant tumors are found**: to call a malignant tumor benign is much worse
# than the reverse, and the accuracy treats both errors alike.


# %%
class CancerDataset(Dataset):
    """Rows of the breast cancer table: 30 measurements, and 0 (benign) or 1 (malignant)."""

    def __init__(self, rows, mean, std):
        self.x = torch.from_numpy((rows.inputs - mean) / std)  # float32 [N, 30]
        self.y = torch.from_numpy(rows.targets).float()[:, None]  # float32 [N, 1]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


table = datasets.load("breast-cancer")
mean, std = table.train.inputs.mean(axis=0), table.train.inputs.std(axis=0)
train_set = CancerDataset(table.train, mean, std)
validation_set = CancerDataset(table.validation, mean, std)
test_set = CancerDataset(table.test, mean, std)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = LogisticRegressionModel(columns=30).to(device)  # first to its device, then the optimizer
criterion = torch.nn.BCELoss(reduction="mean")  # batches differ in size: the mean
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


def test(rows):
    """Return how many of the rows are classified right, and of the malignant ones, how many."""
    with torch.no_grad():
        right = (model(rows.x.to(device)).cpu() > 0.5) == rows.y.bool()
    return right.sum().item(), right[rows.y == 1].sum().item()


losses, accuracies = [], []
for epoch in range(1, 41):
    losses.append(train())
    accuracies.append(test(validation_set)[0] / len(validation_set))
    if epoch in (1, 2, 5, 10, 20, 40):
        print(f"epoch {epoch:2d}: loss {losses[-1]:.4f}, validation {100 * accuracies[-1]:.2f} %")
right, found = test(test_set)
accuracy, malignant = right / len(test_set), int(test_set.y.sum())
lessons.say(
    f"测试集 {len(test_set)} 行判对 {right} 行，{100 * accuracy:.2f} %",
    f"test: {right} of {len(test_set)} rows are right, {100 * accuracy:.2f} %",
)
lessons.say(
    f"{malignant} 个恶性肿瘤找到 {found} 个", f"{found} of {malignant} malignant tumors are found"
)
assert accuracy > 0.94

# %% [markdown] lang="zh"
# ## 画出结果
#
# 左图是三个学生的概率曲线，右图是真实数据的损失曲线。

# %% [markdown] lang="en"
# ## Draw the results
#
# The curve of probability for the three students is on the left, the loss curve of the real data
# on the right.

# %%
figure = lessons.figure(7.2, 3.2)
left, right = figure.subplots(1, 2)
left.plot(hours, curve, color="#2563a8")
left.plot(x_data, y_data, "o", color="#c2571a", label="data")
left.plot([turn], [0.5], "x", color="0.4", label=f"0.5 at {turn:.2f} hours")
left.set(title="three students", xlabel="hours", ylabel="probability of passing")
left.legend(frameon=False, loc="lower right")
right.plot(range(1, 41), losses, color="#2563a8")
right.set(
    title=f"breast cancer: test {100 * accuracy:.2f} %", xlabel="epoch", ylabel="training loss"
)
right.set_ylim(bottom=0)
for axes in (left, right):
    axes.grid(alpha=0.25)
lessons.save(figure, "logistic_regression.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
#
# zoo 的 `forward` 返回 $z$（logit），训练时用 `BCEWithLogitsLoss`，
# sigmoid 在导出的 ONNX 图的末尾。标准化也在图里，所以 `Session` 直接接受原始的 30 列，
# 返回类别的名字和两类的概率。它的配方（`zoo train logistic`）
# 另加了权重衰减 0.01 和先升后降的学习率；五个随机种子的测试集准确率都是 99.12 %，
# 与我们的程序相同。好处在于不用自己写，也不会在服务时忘记哪一步。

# %% [markdown] lang="en"
# ## The same with the zoo
#
# The zoo's `forward` returns $z$ (the logit); `BCEWithLogitsLoss` trains it, and the sigmoid is
# at the end of the exported ONNX graph. The standardization is in the graph too, so a `Session`
# takes the 30 columns as they are and returns class names and the probabilities of both classes.
# The recipe (`zoo train logistic`) adds weight decay of 0.01 and a learning rate that rises and
# falls. Over five seeds the test accuracy is 99.12 % each time, the same as ours. What you gain
# is that there is nothing to write, and no step to forget when the model is served.

# %%
session = zoo.Session("logistic")
prediction = session.predict(table.test.inputs)
card = zoo.card("logistic")
print(prediction.labels[:3])
print(prediction.probabilities[:3].round(3))  # benign, malignant
right = (prediction.indices == table.test.targets).mean()
lessons.say(f"测试集准确率 {100 * right:.2f} %", f"test accuracy {100 * right:.2f} %")
lessons.agree("accuracy on the card", right, card.test["accuracy"])

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **sigmoid 用了两次**：`forward` 已有 sigmoid，又用 `BCEWithLogitsLoss`。不会报错，
#   但损失降不到 0.31 以下（一行 $y = 1$ 的损失至少是 $-\ln \sigma(1)$）。二者只留一个。
# - **sigmoid 一次也没有，却用 `BCELoss`**：
#   报错 `all elements of input should be between 0 and 1`。
# - **标签是整数**：`BCELoss` 要求 `y` 与 `p` 同为 float，
#   报错 `Found dtype Long but expected Float`。写 `.float()`。
# - **换成 logit 之后仍与 0.5 比较**：概率 0.5 对应 $z = 0$，应当写 `model(x) > 0`。
#
# ## 练习
#
# 1. 把三个学生的程序训练 50000 次。$w$ 和决策边界怎样变化？损失会停下来吗？
#
# <details markdown="1"><summary>答案</summary>
#
# $w$ 从 1.81 长到 8.45，边界从 2.41 移到 2.48，损失从 0.76 降到 0.029，而且还会继续降。
# 三个点可以被完全分开，所以 $w$ 越大损失越小，没有最小值。权重衰减能让它停下来。
#
# </details>
#
# 2. 从 $\sigma'(z) = p (1 - p)$ 推出 $\partial L / \partial z = p - y$。
#
# <details markdown="1"><summary>答案</summary>
#
# 一行的 $\partial L / \partial p = -y / p + (1 - y) / (1 - p)$，
# 乘以 $p (1 - p)$ 得 $-y (1 - p) + (1 - y) p = p - y$。
#
# </details>
#
# 3. 改用 `BCEWithLogitsLoss`：`forward` 去掉 sigmoid，`test()` 与 0 比较。结果应当怎样？
#    再把概率的阈值从 0.5 降到 0.2，在**验证集**上数一数。
#
# <details markdown="1"><summary>答案</summary>
#
# 打印的损失和准确率与原来的相同。阈值 0.5 时，验证集的 42 个恶性找到 39 个，误报 2 个；
# 阈值 0.2 时找到 41 个，误报 11 个（阈值 0.2 即 $z > \ln 0.25 = -1.39$）。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **The sigmoid is applied twice**: `forward` has one, and the loss is `BCEWithLogitsLoss`.
#   Nothing fails, but the loss cannot fall below 0.31 for a row with $y = 1$ (which is
#   $-\ln \sigma(1)$). Keep one of the two.
# - **There is no sigmoid, and the loss is `BCELoss`**: it fails with
#   `all elements of input should be between 0 and 1`.
# - **The targets are integers**: `BCELoss` needs `y` as float, like `p`, and fails with
#   `Found dtype Long but expected Float`. Write `.float()`.
# - **Logits are still compared with 0.5**: the probability 0.5 belongs to $z = 0$, so write
#   `model(x) > 0`.
#
# ## Exercises
#
# 1. Train the program with three students for 50,000 steps. What happens to $w$ and to the
#    decision boundary? Does the loss come to rest?
#
# <details markdown="1"><summary>Answer</summary>
#
# $w$ grows from 1.81 to 8.45, the boundary moves from 2.41 to 2.48, and the loss falls from 0.76
# to 0.029, and would go on falling. The three points can be separated completely, so the loss is
# the smaller the larger $w$ is: it has no minimum. Weight decay would give it one.
#
# </details>
#
# 2. Derive $\partial L / \partial z = p - y$ from $\sigma'(z) = p (1 - p)$.
#
# <details markdown="1"><summary>Answer</summary>
#
# For one row $\partial L / \partial p = -y / p + (1 - y) / (1 - p)$. Times $p (1 - p)$ this is
# $-y (1 - p) + (1 - y) p = p - y$.
#
# </details>
#
# 3. Use `BCEWithLogitsLoss`: take the sigmoid out of `forward` and compare with 0 in `test()`.
#    What should come out? Then lower the threshold of the probability from 0.5 to 0.2, and count
#    on the **validation** rows.
#
# <details markdown="1"><summary>Answer</summary>
#
# The printed losses and accuracies are the same as before. With the threshold 0.5, 39 of the 42
# malignant validation rows are found, with 2 false alarms; with 0.2 it is 41, with 11 false
# alarms (0.2 means $z > \ln 0.25 = -1.39$).
#
# </details>
