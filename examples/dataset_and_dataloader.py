"""加载数据集 Dataset 与 DataLoader · Dataset and DataLoader

Code: zoo/datasets/csv.py, zoo/datasets/tables.py
Picture: dataset_and_dataloader.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 到目前为止，每一步都把全部数据一起送进模型。数据一多，内存放不下，而且看完全部数据才更新一次，
# 太慢；反过来每次只用一个样本，更新频繁，却用不上向量化计算，方向也很不稳定。小批量
# （mini-batch）取中间：每次几十个样本。
#
# PyTorch 把这件事分成两半。`Dataset` 回答两个问题：一共有几个样本，第 $i$ 个是什么。
# `DataLoader` 负责其余的：打乱、取一批、拼成张量、用几个进程并行。换一个数据集，只要换前者。

# %% [markdown] lang="en"
# ## Why
# So far each step has put all data through the model at once. With much data this does not fit into
# memory, and one update for a pass over everything is slow. One sample at a time updates often, but
# makes no use of vectorized computing, and each step points somewhere else. Mini-batches of a few
# dozen samples lie between.
#
# PyTorch splits the work in two. A `Dataset` answers two questions: how many samples there are, and
# what sample number $i$ is. A `DataLoader` does the rest: it shuffles, takes a batch, stacks it
# into tensors, and uses several processes if asked. For other data you change only the first.

# %% [markdown] lang="zh"
# ## 公式
# 三个词要分清。**epoch（轮）**：全部训练样本用过一遍。**batch size（批量大小）** $B$：一次用几个
# 样本。**iteration（迭代）**：更新一次。$N$ 个样本时
#
# $$
# \text{每轮的迭代数} = \left\lceil \frac{N}{B} \right\rceil
# $$
#
# `drop_last=True` 丢掉不满的最后一批，向上取整就变成向下取整。一批样本 $x$ 的形状是 $[B, 10]$，
# $y$ 是 $[B, 1]$，损失和它的梯度都是一批的平均：
#
# $$
# L = \frac{1}{B} \sum_{i=1}^{B} (\hat y_i - y_i)^2, \qquad
# \mathbb{E}\left[\nabla L_{\text{批}}\right] = \nabla L_{\text{全部}}
# $$
#
# 第二个式子说：打乱以后随机取的一批，梯度平均来看是对的，只是带噪声；$B$ 越大，噪声越小。

# %% [markdown] lang="en"
# ## The formulas
# Three words to keep apart. An **epoch** is one pass over all training samples. The **batch size**
# $B$ is how many are used at a time. An **iteration** is one update. With $N$ samples,
#
# $$
# \text{iterations per epoch} = \left\lceil \frac{N}{B} \right\rceil
# $$
#
# `drop_last=True` drops the last batch if it is not full, and rounding up becomes rounding down.
# The $x$ of a batch has the shape $[B, 10]$ and $y$ $[B, 1]$. The loss and its gradient are means:
#
# $$
# L = \frac{1}{B} \sum_{i=1}^{B} (\hat y_i - y_i)^2, \qquad
# \mathbb{E}\left[\nabla L_{\text{batch}}\right] = \nabla L_{\text{all}}
# $$
#
# The second one says that the gradient of a batch drawn at random is right on average; it only has
# noise, and the less of it the larger $B$ is.

# %% [markdown] lang="zh"
# ## 1. 自己的 Dataset
# 糖尿病数据（Efron 等，2004）：442 个病人，10 项测量，预测一年后的病情指数。每五行的最后一行
# 留作测试，和 zoo 的划分一样。均值和标准差只能用训练行来算，测试行也用同一组数。
#
# `__init__` 读文件，`__getitem__` 让 `dataset[i]` 能用，`__len__` 让 `len(dataset)` 能用。
# 数据大到内存放不下时，`__init__` 只记下文件名，`__getitem__` 才去读那一个文件。

# %% [markdown] lang="en"
# ## 1. A Dataset of our own
# The diabetes table (Efron et al., 2004): 442 patients, 10 measurements, and a number for the
# disease one year later, which we predict. The last of every five rows is for the test, as in the
# zoo. Mean and standard deviation come from the training rows only; the test rows use the same
# ones.
#
# `__init__` reads the file, `__getitem__` is what makes `dataset[i]` work, and `__len__` makes
# `len(dataset)` work. If the data do not fit into memory, `__init__` keeps only the names of files,
# and `__getitem__` reads the one it is asked for.

# %%
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo import datasets, lessons
from zoo.datasets import tables


class DiabetesDataset(Dataset):
    """The training or test rows: float32 [10] and [1], standardized by the training rows."""

    def __init__(self, path, training):
        rows = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)  # [442, 11]
        is_test = np.arange(len(rows)) % 5 == 4
        mean, std = rows[~is_test].mean(axis=0), rows[~is_test].std(axis=0)
        rows = (rows[~is_test] if training else rows[is_test]) - mean
        self.len = len(rows)
        self.x_data = torch.from_numpy(rows[:, :-1] / std[:-1])
        self.y_data = torch.from_numpy(rows[:, [-1]] / std[-1])

    def __getitem__(self, index):
        return self.x_data[index], self.y_data[index]

    def __len__(self):
        return self.len


train_set = DiabetesDataset(tables.FILES / "diabetes.csv", training=True)
test_set = DiabetesDataset(tables.FILES / "diabetes.csv", training=False)
x, y = train_set[0]
lessons.say(
    f"{len(train_set)} 行训练，{len(test_set)} 行测试",
    f"{len(train_set)} rows for training, {len(test_set)} for the test",
)
print(f"item 0: x {tuple(x.shape)} {x.dtype}, y {tuple(y.shape)} {y.dtype}")

# %% [markdown] lang="zh"
# ## 2. DataLoader
# `shuffle=True` 每一轮重新打乱；训练要打乱，测试不必。`num_workers=2` 会开两个进程提前准备
# 后面的批，只有 `__getitem__` 慢（读文件、解码图片）时才划算；这里数据已在内存，用默认的 0，
# 在主进程里取。Windows 和 macOS 的子进程会重新导入脚本，所以用 `num_workers` 的循环
# 要放在 `if __name__ == "__main__":` 里，否则报错（见练习 3）。

# %% [markdown] lang="en"
# ## 2. The DataLoader
# `shuffle=True` makes a new order for each epoch: for training, not for the test. `num_workers=2`
# starts two processes that prepare the next batches, which pays only if `__getitem__` is slow
# (reads files, decodes images). Here the data are in memory, and the default of 0 takes them in the
# main process. On Windows and macOS a worker imports the script again, so a loop with `num_workers`
# has to stand under `if __name__ == "__main__":` (see exercise 3).

# %%
torch.manual_seed(0)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True, num_workers=0)
sizes = [len(y) for x, y in train_loader]
lessons.say(
    f"每轮 {len(train_loader)} 次迭代，各批的大小是 {sizes}",
    f"{len(train_loader)} iterations per epoch, of these sizes: {sizes}",
)
assert len(sizes) == -(-len(train_set) // 32)
assert sum(sizes) == len(train_set)

numbers = DataLoader(range(8), batch_size=4, shuffle=True)
for epoch in (1, 2):
    batches = [batch.tolist() for batch in numbers]
    lessons.say(f"第 {epoch} 轮，8 个样本的顺序：{batches}", f"epoch {epoch}, 8 samples: {batches}")

# %% [markdown] lang="zh"
# ## 3. 模型与训练
# 两层循环：外层是轮，内层是迭代。`enumerate` 给出这是第几批。网络是 10-16-1；把训练写成函数，
# 好用三种批量大小比较：4、32 和全部 354 个。

# %% [markdown] lang="en"
# ## 3. The model and the training
# Two loops: the outer one over epochs, the inner one over iterations; `enumerate` counts the
# batches. The network is 10-16-1. Training is a function here, so that three batch sizes can be
# compared: 4, 32 and all 354.

# %%
EPOCHS = 30
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(10, 16)
        self.linear2 = nn.Linear(16, 1)

    def forward(self, x):
        """[N, 10] -> [N, 1]."""
        return self.linear2(F.relu(self.linear1(x)))


def train(batch_size):
    """Train a new model; return it, the loss of each epoch, and the number of updates."""
    torch.manual_seed(0)
    model = Net().to(device)
    criterion = nn.MSELoss()  # reduction="mean"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
    losses = []
    for _ in range(EPOCHS):
        total = 0.0
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        losses.append(total / len(train_set))
    return model, losses, EPOCHS * len(loader)


def test(model):
    """Return R2 on the test rows: 1 is perfect, 0 no better than their mean."""
    with torch.no_grad():
        predicted = model(test_set.x_data.to(device)).cpu()
    return (1 - F.mse_loss(predicted, test_set.y_data) / test_set.y_data.var(correction=0)).item()


curves, scores = {}, {}
for batch_size in (4, 32, len(train_set)):
    model, curves[batch_size], updates = train(batch_size)
    scores[batch_size] = test(model)
    last, r2 = curves[batch_size][-1], scores[batch_size]
    print(f"batch size {batch_size:3}: {updates:6} updates, loss {last:.3f}, R2 {r2:.3f}")
assert scores[32] > 0.35
assert curves[4][-1] < curves[32][-1] < curves[len(train_set)][-1]

# %% [markdown] lang="zh"
# ## 4. 比较
# 轮数相同，批量越小，更新次数越多，训练损失降得越低。但最低的训练损失不是最好的测试结果：
# 批量为 4 时更新了 2,670 次，损失 0.395，测试 R2 却是 0.415，不如批量为 32 时的 0.472：它开始
# 记住训练样本了（过拟合）。批量为全部时每轮只更新一次，学习率 0.01 时 30 次更新远远不够。

# %% [markdown] lang="en"
# ## 4. Compare
# For the same number of epochs a smaller batch means more updates and a lower training loss. The
# lowest training loss is not the best result on the test rows, though: a batch size of 4 makes
# 2,670 updates and ends with a loss of 0.395, but its test R2 of 0.415 is below the 0.472 of
# batches of
# 32. It begins to memorize its samples (it overfits). With all rows in one batch there is one
#     update per epoch, and at a learning rate of 0.01, 30 updates are far too few.

# %%
figure = lessons.figure()
axes = figure.subplots()
colors = ("#c2571a", "#2563a8", "#777777")
for (batch_size, losses), color in zip(curves.items(), colors, strict=True):
    label = f"batch size {batch_size}, test R2 {scores[batch_size]:.2f}"
    axes.plot(range(1, EPOCHS + 1), losses, color=color, label=label)
axes.set(title="three batch sizes", xlabel="epoch", ylabel="training loss", ylim=(0, None))
axes.grid(alpha=0.25)
axes.legend(frameon=False, loc="lower left")
lessons.save(figure, "dataset_and_dataloader.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# `datasets.load` 给出同样的划分（训练行再分出五分之一做验证，用来选轮数）；`linear` 是最简单的
# 线性模型，标准化在模型里面，所以直接收原始数值。这么小的表上，线性模型就够了。

# %% [markdown] lang="en"
# ## The same with the zoo
# `datasets.load` has the same test rows (and takes a fifth of all rows for validation, to choose
# the epoch). `linear` is the simplest linear model, with the standardization inside, so it takes
# the measurements as they are. For a table as small as this a linear model is enough.

# %%
x, y = datasets.load("diabetes").test
predicted = zoo.Session("linear").predict(x).values
r2 = 1 - np.mean((predicted.ravel() - y.ravel()) ** 2) / y.var()
score = zoo.card("linear").score
lessons.say(
    f"zoo：{len(y)} 行测试，R2 {r2:.3f}；卡片上是 {score}",
    f"zoo: {len(y)} test rows, R2 {r2:.3f}; on its card: {score}",
)
assert r2 > 0.4

# %% [markdown] lang="zh"
# ## 常见错误
# - **`y` 的形状是 `[N]`，预测是 `[N, 1]`**：`MSELoss` 会广播成 $N \times N$，只给一个警告，
#   损失降不下去。用 `rows[:, [-1]]` 保留列，而不是 `rows[:, -1]`。
# - **`mat1 and mat2 must have the same dtype`**：NumPy 默认 float64，模型是 float32。
#   读文件时写 `dtype=np.float32`。
# - **用全部数据算均值和标准差**：测试行的信息漏进了训练，成绩虚高。
# - **忘了 `shuffle=True`**：文件若按类别排好序，每批只有一类，网络学了后面的就忘了前面的。
#   MNIST 按数字排序后，基础卷积网络用 5,000 张图训练一轮，准确率是 9.4%，等于瞎猜。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **`y` of shape `[N]` and predictions of shape `[N, 1]`**: `MSELoss` broadcasts them to
#   $N \times N$, warns only, and the loss does not fall. `rows[:, [-1]]` keeps the column,
#   `rows[:, -1]` does not.
# - **`mat1 and mat2 must have the same dtype`**: NumPy's default is float64, the model is
#   float32. Read the file with `dtype=np.float32`.
# - **Mean and standard deviation of all data**: the test rows leak into training, and the result
#   looks better than it is.
# - **No `shuffle=True`**: if the file is sorted by class, each batch has one class only, and the
#   network forgets the first classes while it learns the last. On MNIST sorted by digit, the basic
#   CNN has 9.4 % after an epoch of 5,000 images: guessing.

# %% [markdown] lang="zh"
# ## 练习
# 1. 60,000 张图，`batch_size=64`，10 轮，一共多少次迭代？`drop_last=True` 呢？
#
# <details markdown="1"><summary>答案</summary>
#
# $60000 / 64 = 937.5$，每轮 938 次，共 9,380 次；丢掉最后一批则是 9,370 次。
#
# </details>
#
# 2. 修改代码：批量为全部时，把学习率改为 0.3。30 次更新够了吗？
#
# <details markdown="1"><summary>答案</summary>
#
# 够了：损失 0.416，R2 0.479。全部样本的梯度没有噪声，可以迈大步；
# 批量为 32 时用 0.3 就太大了，R2 是 -0.789。
#
# </details>
#
# 3. 修改代码：写一个两进程的程序，打印每批的大小。
#
# <details markdown="1"><summary>答案</summary>
#
# ```python
# if __name__ == "__main__":
#     loader = DataLoader(train_set, batch_size=32, shuffle=True, num_workers=2)
#     print([len(y) for x, y in loader])
# ```
#
# 得到 11 个 32 和一个 2。在 Windows 上去掉第一行，会得到 `RuntimeError: An attempt has been made
# to start a new process before the current process has finished its bootstrapping phase`。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. 60,000 images, `batch_size=64`, 10 epochs: how many iterations? And with `drop_last=True`?
#
# <details markdown="1"><summary>Answer</summary>
#
# $60000 / 64 = 937.5$: 938 per epoch, 9,380 in all; 9,370 without the last batches.
#
# </details>
#
# 2. Change the code: for the batch of all rows, set the learning rate to 0.3. Are 30 updates enough
#    now?
#
# <details markdown="1"><summary>Answer</summary>
#
# They are: a loss of 0.416 and an R2 of 0.479. The gradient of all samples has no noise and allows
# large steps; for a batch size of 32 a rate of 0.3 is too large and gives an R2 of -0.789.
#
# </details>
#
# 3. Change the code: write a program with two worker processes that prints the size of each batch.
#
# <details markdown="1"><summary>Answer</summary>
#
# ```python
# if __name__ == "__main__":
#     loader = DataLoader(train_set, batch_size=32, shuffle=True, num_workers=2)
#     print([len(y) for x, y in loader])
# ```
#
# It prints eleven times 32 and one 2. Without the first line, Windows answers with `RuntimeError:
# An attempt has been made to start a new process before the current process has finished its
# bootstrapping phase`.
#
# </details>
