"""nn 与标准流程 · nn and the standard flow

Code: zoo/training/loop.py, zoo/training/step.py, zoo/models/logistic.py
Picture: nn_standard_flow.png
"""

# %% [markdown] lang="zh"
# ## 为什么
#
# 从线性回归到残差网络，训练程序的骨架始终是同一个，只有四步：
#
# 1. **准备数据**：`Dataset` 给出一行，`DataLoader` 把若干行凑成一批；
# 2. **定义模型**：一个继承 `torch.nn.Module` 的类，`__init__` 里放层，`forward` 里写计算；
# 3. **损失与优化器**：`criterion` 衡量预测错了多少，`optimizer` 根据梯度修改参数；
# 4. **训练循环**：初始化权重之后，反复执行前向、损失、梯度清零、反向、更新。
#
# 记住这四步，以后每一课只需要换掉其中的一块。这一课用它来判断乳腺肿瘤是良性（0）还是恶性（1）：
# 每行有 30 个测量值。
#
# ## 公式
#
# 一批有 $N$ 行，$X$ 的形状是 $[N, 30]$，标签 $y$ 的形状是 $[N, 1]$。模型先算 8 个隐藏值，
# 再算一个概率：
#
# $$
# H = \max(0,\ X W_1^\top + b_1), \qquad \hat{y} = \sigma(H W_2^\top + b_2)
# $$
#
# 其中 $W_1$ 是 $[8, 30]$，$W_2$ 是 $[1, 8]$，$H$ 是 $[N, 8]$，$\sigma(z) = 1 / (1 + e^{-z})$。
# 损失是二元交叉熵：
#
# $$
# L = -\frac{1}{N} \sum_{i=1}^{N} \bigl( y_i \ln \hat{y}_i + (1 - y_i) \ln (1 - \hat{y}_i) \bigr)
# $$
#
# 带动量的 SGD 对每个参数 $\theta$ 做同样的事，$\eta$ 是学习率，$\mu$ 是动量，$v$ 从 0 开始：
#
# $$
# v \leftarrow \mu v + \frac{\partial L}{\partial \theta},
# \qquad \theta \leftarrow \theta - \eta v
# $$
#
# ## 第一步：准备数据
#
# `Dataset` 只需要回答两个问题：一共有多少行（`__len__`），第 `index` 行是什么（`__getitem__`）。
# `DataLoader` 负责打乱和分批。30 个测量值的单位各不相同，所以每一列先减去均值、再除以标准差；
# 均值和标准差只从训练集计算，验证集和测试集用的也是它们。

# %% [markdown] lang="en"
# ## Why
#
# From linear regression to residual networks, a training program has the same four parts:
#
# 1. **Prepare the data**: a `Dataset` returns one row, a `DataLoader` puts rows together into
#    batches.
# 2. **Define the model**: a class that derives from `torch.nn.Module`, with the layers in
#    `__init__` and the computation in `forward`.
# 3. **Choose the loss and the optimizer**: `criterion` measures how wrong the predictions are,
#    `optimizer` changes the parameters by their gradients.
# 4. **Run the training cycle**: initialize the weights, then repeat forward, loss, zero the
#    gradients, backward, step.
#
# Every later lesson replaces one of these parts and keeps the others. Here the four parts learn
# to tell benign breast tumors (0) from malignant ones (1), from 30 measurements a row.
#
# ## The formulas
#
# A batch has $N$ rows: $X$ has the shape $[N, 30]$ and the targets $y$ the shape $[N, 1]$. The
# model computes 8 hidden values, and from them one probability:
#
# $$
# H = \max(0,\ X W_1^\top + b_1), \qquad \hat{y} = \sigma(H W_2^\top + b_2)
# $$
#
# $W_1$ is $[8, 30]$, $W_2$ is $[1, 8]$, $H$ is $[N, 8]$ and $\sigma(z) = 1 / (1 + e^{-z})$. The
# loss is the binary cross-entropy:
#
# $$
# L = -\frac{1}{N} \sum_{i=1}^{N} \bigl( y_i \ln \hat{y}_i + (1 - y_i) \ln (1 - \hat{y}_i) \bigr)
# $$
#
# SGD with momentum does the same to every parameter $\theta$; $\eta$ is the learning rate, $\mu$
# the momentum, and $v$ starts at 0:
#
# $$
# v \leftarrow \mu v + \frac{\partial L}{\partial \theta},
# \qquad \theta \leftarrow \theta - \eta v
# $$
#
# ## Part 1: prepare the data
#
# A `Dataset` answers two questions: how many rows there are (`__len__`), and what row number
# `index` is (`__getitem__`). The `DataLoader` shuffles the rows and cuts them into batches. The
# 30 measurements have different units, so each column is standardized: subtract the mean, divide
# by the standard deviation. Both come from the training rows alone and are applied to the
# validation and test rows as well.

# %%
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo import datasets, lessons, registry

torch.manual_seed(0)


class CancerDataset(Dataset):
    """The rows of a table: 30 measurements, and 0 (benign) or 1 (malignant)."""

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
validation_set = CancerDataset(table.validation, mean, std)  # with the training mean and std
test_set = CancerDataset(table.test, mean, std)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)

lessons.say(
    f"{len(train_set)} 行 = {len(train_loader)} 批",
    f"{len(train_set)} rows = {len(train_loader)} batches",
)
x, y = next(iter(train_loader))
print(f"x {tuple(x.shape)}, y {tuple(y.shape)}, {y.dtype}")

# %% [markdown] lang="zh"
# ## 第二步：定义模型
#
# `__init__` 先调用 `super().__init__()`，然后把层存为属性，
# 这样 `parameters()` 才能找到它们的权重。`forward` 写一批数据怎样变成预测；调用时写 `model(x)`，
# 不要写 `model.forward(x)`。`backward` 不用写，autograd 会根据 `forward` 的计算得到它。
#
# 训练的起点是权重的初值。`nn.Linear` 建立时已经填入随机数；
# 这里按 Xavier 的方法（Glorot 与 Bengio，2010）再填一次，让读者看到它在哪里发生。初值不能全为 0：
# 那样 8 个隐藏单元的值和梯度永远都是 0。
#
# 模型和每一批数据要在同一个设备上：有 GPU 用 GPU，没有就用 CPU。`model.to(device)` 原地移动参数；
# 张量的 `.to(device)` 返回新的张量，要接住它。

# %% [markdown] lang="en"
# ## Part 2: define the model
#
# `__init__` calls `super().__init__()` first and then stores the layers as attributes: that is
# how `parameters()` finds their weights. `forward` says how a batch becomes predictions; call it
# as `model(x)`, not as `model.forward(x)`. There is no `backward` to write, since autograd
# derives it from what `forward` computes.
#
# Training starts from the first values of the weights. `nn.Linear` fills them with random numbers
# when it is created; here they are filled once more by Xavier's method (Glorot and Bengio, 2010),
# so that you see where it happens. They must not all be 0: the values and the gradients of the 8
# hidden units would then stay 0 forever.
#
# The model and every batch must be on the same device, a GPU if there is one and the CPU
# otherwise. `model.to(device)` moves the parameters in place; `.to(device)` of a tensor returns a
# new tensor, which you have to assign.


# %%
class Model(nn.Module):
    """30 measurements -> 8 hidden values -> the probability of a malignant tumor."""

    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(30, 8)
        self.linear2 = nn.Linear(8, 1)
        self.relu = nn.ReLU()
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        """Map [N, 30] to probabilities [N, 1]."""
        x = self.relu(self.linear1(x))  # [N, 30] -> [N, 8]
        return self.sigmoid(self.linear2(x))  # [N, 8] -> [N, 1]


def initialize(layer):
    """Set the first values of a layer's weights."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Model()
model.apply(initialize)  # calls initialize() with every layer
model.to(device)
x, y = x.to(device), y.to(device)  # the batch from above
for name, parameter in model.named_parameters():
    print(f"{name:<14} {tuple(parameter.shape)}")
count = sum(parameter.numel() for parameter in model.parameters())
lessons.say(f"共 {count} 个参数", f"{count} parameters")
print(f"model(x): {tuple(model(x).shape)}")
assert count == 30 * 8 + 8 + 8 * 1 + 1

# %% [markdown] lang="zh"
# ## 第三步：损失与优化器
#
# `reduction` 决定 32 行的 32 个损失怎样变成一个数：`"none"` 原样返回，`"sum"` 相加，
# `"mean"` 取平均。旧讲义里的 `size_average=False` 就是今天的 `reduction="sum"`，
# `reduce=False` 就是 `reduction="none"`。取平均时，步长不随批的大小变化，所以学习率可以沿用。
# 优化器得到 `model.parameters()`，它以后要修改的正是这些张量。

# %% [markdown] lang="en"
# ## Part 3: loss and optimizer
#
# `reduction` decides how the 32 losses of 32 rows become one number: `"none"` returns them as
# they are, `"sum"` adds them, `"mean"` averages them. What old lecture notes call
# `size_average=False` is `reduction="sum"` today, and `reduce=False` is `reduction="none"`. With
# the mean, the size of a step does not depend on the batch size, so the learning rate can stay.
# The optimizer takes `model.parameters()`, the tensors that it will change.

# %%
criterion = nn.BCELoss(reduction="mean")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

with torch.no_grad():
    value = criterion(model(x), y)
    lessons.say(f"训练之前的损失 {value:.4f}", f"loss before training {value:.4f}")
    for reduction in ("none", "sum", "mean"):
        value = nn.BCELoss(reduction=reduction)(model(x), y)
        text = tuple(value.shape) or f"{value:.4f}"
        print(f"reduction={reduction!r}: {text}")
    total = nn.BCELoss(reduction="sum")(model(x), y)
    lessons.agree("sum / N = mean", total / len(x), criterion(model(x), y))

# %% [markdown] lang="zh"
# ## 第四步：先看一步
#
# 循环之前，先把五行代码走一遍，只盯住一个参数：最后一层的偏置。第一步时 $v$ 就是梯度本身，
# 所以偏置的变化应当正好是 $-0.01$ 乘以梯度。

# %% [markdown] lang="en"
# ## Part 4: one step first
#
# Before the loop, take its five lines once and watch a single parameter, the bias of the last
# layer. In the first step $v$ is the gradient itself, so the bias must change by exactly $-0.01$
# times its gradient.

# %%
before = model.linear2.bias.detach().clone()
y_pred = model(x)  # 1. forward
loss = criterion(y_pred, y)  # 2. loss
optimizer.zero_grad()  # 3. zero the gradients
loss.backward()  # 4. backward
optimizer.step()  # 5. step
gradient = model.linear2.bias.grad
after = model.linear2.bias.item()
lessons.say(
    f"偏置 {before.item():.4f}，梯度 {gradient.item():.4f}，更新后 {after:.6f}",
    f"bias {before.item():.4f}, gradient {gradient.item():.4f}, after the step {after:.6f}",
)
lessons.agree("b - lr * gradient", before - 0.01 * gradient, model.linear2.bias)

# %% [markdown] lang="zh"
# ## 训练循环
#
# `train()` 把训练集走一遍，称为一个 epoch；`test()` 只算准确率，不求梯度。
# 每个 epoch 之后在**验证集**上看准确率。测试集只在最后用一次：如果用它来决定何时停止，
# 它就不再能说明模型在新数据上的表现。

# %% [markdown] lang="en"
# ## The training cycle
#
# `train()` goes over the training rows once, which is called an epoch; `test()` only counts and
# needs no gradients. After each epoch the accuracy is measured on the **validation** rows. The
# test rows are used once, at the end: if they decided when to stop, they would no longer say how
# the model does on new data.


# %%
def train():
    """Go once over the training rows; return the mean loss of a row."""
    model.train()
    total = 0.0
    for x, y in train_loader:
        x, y = x.to(device), y.to(device)
        y_pred = model(x)  # 1. forward
        loss = criterion(y_pred, y)  # 2. loss
        optimizer.zero_grad()  # 3. zero the gradients
        loss.backward()  # 4. backward
        optimizer.step()  # 5. step
        total += loss.item() * len(x)  # .item(): a number without its graph
    return total / len(train_set)


def test(rows):
    """Return the accuracy, from 0 to 1."""
    model.eval()
    with torch.no_grad():  # no graph is needed here
        y_pred = (model(rows.x.to(device)) > 0.5).float().cpu()
    return (y_pred == rows.y).float().mean().item()


EPOCHS = 60
losses, accuracies = [], []
for epoch in range(1, EPOCHS + 1):
    losses.append(train())
    accuracies.append(test(validation_set))
    if epoch in (1, 2, 5) or epoch % 20 == 0:
        print(f"epoch {epoch:2d}: loss {losses[-1]:.4f}, validation {100 * accuracies[-1]:.2f} %")

accuracy = test(test_set)  # once, when everything is decided
lessons.say(
    f"测试集 {len(test_set)} 行：准确率 {100 * accuracy:.2f} %",
    f"{len(test_set)} test rows: accuracy {100 * accuracy:.2f} %",
)
assert accuracy > 0.93
assert losses[-1] < 0.25 * losses[0]

# %% [markdown] lang="zh"
# ## 画出曲线
#
# 损失曲线是训练程序的体温计：下降说明五行代码都在起作用；一条直线或者 `nan` 说明有一行错了。

# %% [markdown] lang="en"
# ## Draw the curves
#
# The loss curve shows whether training works: it falls if all five lines do their part; a flat
# line or `nan` says that one of them is wrong.

# %%
figure = lessons.figure(7.2, 3.2)
left, right = figure.subplots(1, 2)
epochs = range(1, EPOCHS + 1)
left.plot(epochs, losses, color="#2563a8")
left.set(title="training loss", xlabel="epoch", ylabel="mean cross-entropy", ylim=(0, None))
right.plot(epochs, [100 * value for value in accuracies], color="#c2571a")
right.set(title="validation accuracy, %", xlabel="epoch")
for axes in (left, right):
    axes.grid(alpha=0.25)
lessons.save(figure, "nn_standard_flow.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
#
# 同样的四步，zoo 写成一条命令：`zoo train logistic`。数据集、模型和**配方**（`recipe`）
# 登记在 `zoo/models/logistic.py`，循环在 `zoo/training/loop.py`，
# 上面的五行在 `zoo/training/step.py`，注释相同。它的模型更简单：只有一个线性层，31 个参数，
# 测试集准确率却是 99.12 %。
#
# 它好在哪里？学习率先升后降（`onecycle`），而不是固定不变；权重衰减限制了 30 个相关的列上的权重；
# 保留的是验证集上最好的那一个 epoch；训练被打断可以继续，结果逐字节相同。不过测试集只有 113 行，
# 一行就是 0.88 个百分点，所以不要把我们的网络和它之间的差距看得太重。

# %% [markdown] lang="en"
# ## The same with the zoo
#
# The zoo has the same four parts behind one command, `zoo train logistic`. The dataset, the model
# and the **recipe** are declared in `zoo/models/logistic.py`, the loop is in
# `zoo/training/loop.py`, and the five lines above are in `zoo/training/step.py`, with the same
# comments. Its model is simpler, one linear layer with 31 parameters, and yet reaches 99.12 % on
# the test rows.
#
# What does it do better? The learning rate rises and falls (`onecycle`) instead of staying the
# same; weight decay limits the weights of 30 columns that say similar things; the epoch with the
# best validation result is kept; an interrupted training can be resumed, to the same bytes. But
# there are only 113 test rows, and one row is 0.88 percentage points: do not make too much of the
# distance between this model and ours.

# %%
recipe = registry.get("logistic").recipe  # `zoo train logistic` trains by it
prediction = zoo.Session("logistic").predict(table.test.inputs)  # the model that it left
right = (prediction.indices == table.test.targets).mean()

print(f"epochs {recipe.epochs}, lr {recipe.lr}, momentum {recipe.momentum}, {recipe.schedule}")
parameters = zoo.card("logistic").parameters
lessons.say(
    f"zoo 的模型：{parameters} 个参数，测试集准确率 {100 * right:.2f} %",
    f"the zoo's model: {parameters} parameters, test accuracy {100 * right:.2f} %",
)
lessons.agree("the accuracy on its card", right, zoo.card("logistic").test["accuracy"])

# %% [markdown] lang="zh"
# ## 常见错误
#
# - **忘记 `zero_grad()`**：`backward()` 把新梯度加到旧梯度上，步子越走越大。开头损失反而降得快，
#   之后又升上去。见练习 1。
# - **忘记 `super().__init__()`**：给 `self.linear1` 赋值时报错
#   `cannot assign module before Module.__init__() call`。
# - **累加 `loss` 而不是 `loss.item()`**：每一批的计算图都被保留下来，内存随批数增长。
# - **没有标准化**：测量值从千分之几到几千，sigmoid 从第一步起就饱和，
#   梯度几乎为 0（偏置的梯度约为 1e-11）；损失停在 33.5，准确率停在 63.16 %，即全部猜良性。
#
# ## 练习
#
# 1. 删掉 `train()` 里的 `optimizer.zero_grad()`，会看到什么？
#
# <details markdown="1"><summary>答案</summary>
#
# 梯度不断累加，相当于动量为 1，没有什么让它停下来。损失先降得更快（第 5 个 epoch 为 0.12，
# 原来是 0.46），然后回升，第 60 个 epoch 时为 0.80，而正确的程序是 0.10。
#
# </details>
#
# 2. 把动量改为 0.9，学习率不变。60 个 epoch 之后训练损失是多少？为什么？
#
# <details markdown="1"><summary>答案</summary>
#
# 约 0.042，原来是 0.099。梯度方向不变时，$v$ 趋于梯度的 $1 / (1 - \mu)$ 倍：动量 0.5 时是 2 倍，
# 0.9 时是 10 倍，所以同样的 epoch 数走得更远。
#
# </details>
#
# 3. 用 `nn.init.zeros_` 初始化所有权重。准确率停在多少？哪些参数还在变？
#
# <details markdown="1"><summary>答案</summary>
#
# 停在 63.16 %（验证集中良性的比例）。隐藏值全是 0，所以 $W_2$ 的梯度是 0；$W_2$ 是 0，
# 所以 $W_1$ 和 $b_1$ 的梯度也是 0。只有最后的偏置 $b_2$ 在学，它学到的只是两类的比例。
#
# </details>

# %% [markdown] lang="en"
# ## Usual mistakes
#
# - **`zero_grad()` is missing**: `backward()` adds the new gradients to the old ones, and the
#   steps grow. The loss falls faster at first and then rises again. See exercise 1.
# - **`super().__init__()` is missing**: the assignment to `self.linear1` fails with
#   `cannot assign module before Module.__init__() call`.
# - **`loss` is added up instead of `loss.item()`**: the graph of every batch is kept, and the
#   memory grows with the number of batches.
# - **The inputs are not standardized**: the measurements go from thousandths to thousands, the
#   sigmoid is saturated from the first step on, and hardly any gradient is left (about 1e-11 for
#   the bias). The loss stays at 33.5 and the accuracy at 63.16 %, which is to call every tumor
#   benign.
#
# ## Exercises
#
# 1. Delete `optimizer.zero_grad()` from `train()`. What do you see?
#
# <details markdown="1"><summary>Answer</summary>
#
# The gradients add up, as if the momentum were 1, and nothing slows them down. The loss falls
# faster at first (0.12 at epoch 5, where it was 0.46) and then rises: it is 0.80 at epoch 60,
# where the correct program has 0.10.
#
# </details>
#
# 2. Set the momentum to 0.9 and keep the learning rate. What is the training loss after 60
#    epochs, and why?
#
# <details markdown="1"><summary>Answer</summary>
#
# About 0.042 instead of 0.099. While the gradient keeps its direction, $v$ approaches
# $1 / (1 - \mu)$ times the gradient: 2 times with momentum 0.5, 10 times with 0.9. The same
# number of epochs therefore goes further.
#
# </details>
#
# 3. Initialize all weights by `nn.init.zeros_`. Where does the accuracy stay? Which parameters
#    still change?
#
# <details markdown="1"><summary>Answer</summary>
#
# It stays at 63.16 %, the part of the validation rows that is benign. All hidden values are 0, so
# the gradient of $W_2$ is 0; $W_2$ is 0, so the gradients of $W_1$ and $b_1$ are 0 too. Only the
# last bias $b_2$ learns, and all it can learn is how often each class occurs.
#
# </details>
