"""循环神经网络（基础篇） RNN 与 RNNCell · RNN and RNNCell

Code: zoo/models/rnn.py, zoo/models/rnn_cell.py, zoo/scratch/rnn.py
Picture: rnn_and_rnn_cell.png
"""

# %% [markdown] lang="zh"
# ## 为什么
# 天气、股价、一句话，都是有先后的序列：后面的值取决于前面的。全连接网络要把整个序列拼成一个
# 长向量，长度一变就不能用，权重也多得吓人。循环网络每次只读一个元素，用**同一个**线性层，把读到
# 的内容和记忆（隐藏状态）合成新的记忆。序列多长，参数都一样多。
#
# PyTorch 有两种写法：`nn.RNNCell` 只算一步，循环自己写；`nn.RNN` 把循环也包在里面。
# 这一课先用两种写法做讲义的练习，把 “hello” 变成 “ohlol”，再换成嵌入层，最后让网络一行一行地
# 读 MNIST 图。

# %% [markdown] lang="en"
# ## Why
# The weather, a price, a sentence: these are sequences, in which what comes later depends on what
# came before. A fully connected network would have to join the whole sequence to one long vector,
# with a huge number of weights that fit one length only. A recurrent network reads one element at a
# time and uses **the same** linear layer each time to turn what it reads and its memory, the hidden
# state, into a new memory. However long the sequence is, the number of parameters is the same.
#
# PyTorch has it in two ways: `nn.RNNCell` computes one step, and the loop is yours; `nn.RNN` has
# the loop inside. This lesson does the exercise of the notes both ways, "hello" to "ohlol", then
# with an embedding, and at last lets a network read MNIST's images row by row.

# %% [markdown] lang="zh"
# ## 公式
# 第 $t$ 步的输入 $x_t$ 形状是 $[B, n]$，隐藏状态 $h_t$ 是 $[B, m]$：
#
# $$
# h_t = \tanh\left(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}\right), \qquad h_0 = 0
# $$
#
# $W_{ih}$ 是 $[m, n]$，$W_{hh}$ 是 $[m, m]$。反向时梯度要穿过所有的步（BPTT）：
#
# $$
# \frac{\partial h_T}{\partial h_t} = \prod_{k=t+1}^{T}
# \mathrm{diag}\left(1 - h_k^2\right) W_{hh}
# $$
#
# 同一个 $W_{hh}$ 乘了 $T - t$ 次，所以序列长时梯度容易消失或爆炸。
#
# 形状是最容易弄错的地方（$S$ 是序列长度，$L$ 是层数）：
#
# | | 输入 | 隐藏状态 | 输出 |
# |---|---|---|---|
# | `RNNCell` | $[B, n]$ | $[B, m]$ | $[B, m]$ |
# | `RNN` | $[S, B, n]$ | $[L, B, m]$ | $[S, B, m]$ |
# | `RNN(batch_first=True)` | $[B, S, n]$ | $[L, B, m]$ | $[B, S, m]$ |

# %% [markdown] lang="en"
# ## The formulas
# The input $x_t$ of step $t$ has the shape $[B, n]$, and the hidden state $h_t$ $[B, m]$:
#
# $$
# h_t = \tanh\left(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}\right), \qquad h_0 = 0
# $$
#
# $W_{ih}$ is $[m, n]$ and $W_{hh}$ is $[m, m]$. On the way back the gradient crosses all steps
# (back-propagation through time):
#
# $$
# \frac{\partial h_T}{\partial h_t} = \prod_{k=t+1}^{T}
# \mathrm{diag}\left(1 - h_k^2\right) W_{hh}
# $$
#
# The same $W_{hh}$ is multiplied $T - t$ times, so that in long sequences the gradient easily
# vanishes or explodes.
#
# The shapes are what goes wrong most often ($S$ is the length of the sequence, $L$ the number of
# layers):
#
# | | input | hidden state | output |
# |---|---|---|---|
# | `RNNCell` | $[B, n]$ | $[B, m]$ | $[B, m]$ |
# | `RNN` | $[S, B, n]$ | $[L, B, m]$ | $[S, B, m]$ |
# | `RNN(batch_first=True)` | $[B, S, n]$ | $[L, B, m]$ | $[B, S, m]$ |

# %% [markdown] lang="zh"
# ## 1. 一步和整个循环
# 让 `RNNCell` 用 `RNN` 的权重，自己写循环，结果应当完全一样。`nn.RNN` 返回两样：每一步的输出，
# 和最后的隐藏状态；单层时，输出的最后一步就是隐藏状态。

# %% [markdown] lang="en"
# ## 1. One step, and the whole loop
# Give the `RNNCell` the weights of the `RNN` and write the loop ourselves: the results have to be
# the same. `nn.RNN` returns two things, the outputs of all steps and the last hidden state; with
# one layer, the last output is the hidden state.

# %%
import gzip

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo import lessons
from zoo.datasets import mnist

batch_size, seq_len, input_size, hidden_size = 2, 3, 4, 2
torch.manual_seed(0)
rnn = nn.RNN(input_size, hidden_size)
cell = nn.RNNCell(input_size, hidden_size)
cell.load_state_dict({name.removesuffix("_l0"): w for name, w in rnn.state_dict().items()})

sequence = torch.randn(seq_len, batch_size, input_size)
out, hidden = rnn(sequence, torch.zeros(1, batch_size, hidden_size))
print("RNN: out", tuple(out.shape), "hidden", tuple(hidden.shape))

h = torch.zeros(batch_size, hidden_size)
for step, x in enumerate(sequence):
    h = cell(x, h)
    by_formula = torch.tanh(
        x @ cell.weight_ih.T + cell.bias_ih
        + (out[step - 1] if step else 0 * h) @ cell.weight_hh.T + cell.bias_hh
    )  # fmt: skip
    lessons.agree(f"step {step}: RNNCell", h, out[step])
    lessons.agree(f"step {step}: the formula", by_formula, out[step])
lessons.agree("last output is hidden", out[-1], hidden[0])

# %% [markdown] lang="zh"
# ## 2. hello → ohlol，RNNCell
# 四个字母 e、h、l、o 编号 0 到 3，每个字母变成一个 4 维的独热向量。隐藏状态也取 4 维，
# 直接当作四个类的得分，每一步做一次分类。整个序列的损失是各步损失之和，然后一次反向传播。

# %% [markdown] lang="en"
# ## 2. hello to ohlol with RNNCell
# The four letters e, h, l and o are numbered 0 to 3, and each becomes a one-hot vector of 4
# numbers. The hidden state has 4 numbers as well, which serve as the scores of the four classes, so
# each step is a classification. The loss of the sequence is the sum over its steps, and there is
# one backward pass for all of them.

# %%
idx2char = ["e", "h", "l", "o"]
x_data = [1, 0, 2, 2, 3]  # hello
y_data = [3, 1, 2, 3, 2]  # ohlol
inputs = F.one_hot(torch.tensor(x_data), 4).float().view(5, 1, 4)  # [S, B, n]
labels = torch.tensor(y_data)  # [5]
criterion = nn.CrossEntropyLoss()
curves = {}


class CellModel(nn.Module):
    """One step: RNNCell, whose hidden state is the score of the letters."""

    def __init__(self):
        super().__init__()
        self.rnncell = nn.RNNCell(input_size=4, hidden_size=4)

    def forward(self, x, hidden):
        """[B, 4], [B, 4] -> [B, 4]."""
        return self.rnncell(x, hidden)


def word(scores):
    """Return the word of the most probable letters; scores [5, 4]."""
    return "".join(idx2char[i] for i in scores.argmax(dim=1))


torch.manual_seed(2)
net = CellModel()
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
curves["RNNCell"] = []
for _ in range(30):
    optimizer.zero_grad()
    hidden, loss, steps = torch.zeros(1, 4), 0, []
    for x, label in zip(inputs, labels.view(5, 1), strict=True):
        hidden = net(x, hidden)
        loss = loss + criterion(hidden, label)
        steps.append(hidden)
    loss.backward()
    optimizer.step()
    curves["RNNCell"].append(loss.item() / 5)
said = word(torch.cat(steps))
print(f"RNNCell:   loss {curves['RNNCell'][0]:.3f} -> {curves['RNNCell'][-1]:.3f}, hello -> {said}")
assert said == "ohlol"

# %% [markdown] lang="zh"
# ## 3. hello → ohlol，RNN 与嵌入层
# 用 `nn.RNN`，不写循环：所有步的输出摊平成 $[S \times B, 4]$，一次算损失。
#
# 独热向量的缺点是维数高、稀疏，而且是写死的。嵌入层 `nn.Embedding(4, 10)` 是一张 4×10 的表，
# 第 $i$ 行就是字母 $i$ 的向量，和权重一起学习。后面再加一个线性层，隐藏状态就不必等于类别数。
# 这里 `batch_first=True`，形状是 $[B, S, n]$。

# %% [markdown] lang="en"
# ## 3. hello to ohlol with RNN, and with an embedding
# With `nn.RNN` there is no loop to write: the outputs of all steps are flattened to
# $[S \times B, 4]$, and the loss is computed at once.
#
# One-hot vectors are long, sparse and fixed. An embedding, `nn.Embedding(4, 10)`, is a table of
# 4 x 10: row $i$ is the vector of letter $i$, learned with the other weights. With a linear layer
# behind, the hidden state need not have as many numbers as there are classes. Here
# `batch_first=True`, and shapes are $[B, S, n]$.


# %%
class RNNModel(nn.Module):
    """The loop inside nn.RNN; one-hot letters."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(input_size=4, hidden_size=4, num_layers=1)

    def forward(self, x):
        """[S, B, 4] -> [S * B, 4]."""
        hidden = torch.zeros(1, x.size(1), 4)
        out, _ = self.rnn(x, hidden)
        return out.view(-1, 4)


class EmbeddingModel(nn.Module):
    """Embedding 4 -> 10, two layers of 8, linear 8 -> 4."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(4, 10)
        self.rnn = nn.RNN(input_size=10, hidden_size=8, num_layers=2, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        """[B, S] letters as int64 -> [B * S, 4]."""
        hidden = torch.zeros(2, x.size(0), 8)
        x = self.emb(x)  # [B, S, 10]
        x, _ = self.rnn(x, hidden)  # [B, S, 8]
        return self.fc(x).view(-1, 4)


for name, kind, x in (
    ("RNN", RNNModel, inputs),
    ("embedding", EmbeddingModel, torch.tensor([x_data])),
):
    torch.manual_seed(2)
    net = kind()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    curves[name] = []
    for _ in range(30):
        optimizer.zero_grad()
        outputs = net(x)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        curves[name].append(loss.item())
    said = word(outputs)
    print(f"{name + ':':<10} loss {curves[name][0]:.3f} -> {curves[name][-1]:.3f}, hello -> {said}")
    assert said == "ohlol"
assert curves["embedding"][-1] < curves["RNN"][-1]

# %% [markdown] lang="zh"
# 独热的两条曲线几乎重合（种子相同，权重也相同；一个损失求和，一个求平均，而 Adam 不受梯度的
# 倍数影响）。它们降不到 0，因为得分就是 tanh 的输出，只能在 -1 和 1 之间。嵌入加线性层没有这个
# 限制。

# %% [markdown] lang="en"
# The two one-hot curves are nearly the same: the same seed gives the same weights, and although one
# loss is a sum and the other a mean, Adam does not depend on a constant factor of the gradient.
# They cannot reach 0, since the scores are outputs of tanh, between -1 and 1. The embedding with
# its linear layer has no such limit.

# %% [markdown] lang="zh"
# ## 4. 一行一行地读 MNIST
# 一张图有 28 行，每行 28 个像素：序列长 28，输入 28 维。读完最后一行，用隐藏状态分类。优化器
# 和上面一样用 Adam，学习率 0.001，每 10 张取 1 张训练（6,000 张），批量 32。
# 梯度要穿过 28 步，所以 $W_{hh}$ 用正交矩阵初始化，更新前把梯度的范数剪到 1 以内。

# %% [markdown] lang="en"
# ## 4. MNIST, row by row
# An image has 28 rows of 28 pixels: a sequence of 28 inputs of 28 numbers. After the last row the
# hidden state is classified. The optimizer is Adam as above, with a learning rate of 0.001; every
# 10th image is for training (6,000), in batches of 32. The gradient crosses 28 steps; so $W_{hh}$
# starts as an orthogonal matrix, and the norm of the gradient is clipped to 1 before each step.


# %%
class Digits(Dataset):
    """Every step-th image of MNIST, normalized: float32 [1, 28, 28] and its class."""

    def __init__(self, part, step):
        images = gzip.decompress((mnist.FILES / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((mnist.FILES / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)[::step]
        labels = np.frombuffer(labels, np.uint8, offset=8)[::step]
        self.images = (torch.tensor(images) / 255 - 0.1307) / 0.3081
        self.labels = torch.tensor(labels, dtype=torch.long)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Net(nn.Module):
    """Reads the rows of an image, then classifies the hidden state."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(input_size=28, hidden_size=128, batch_first=True)
        nn.init.orthogonal_(self.rnn.weight_hh_l0)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        """[N, 1, 28, 28] -> logits [N, 10]."""
        out, _ = self.rnn(x.squeeze(1))  # [N, 28 rows, 28] -> [N, 28, 128]
        return self.fc(out[:, -1])  # the last step


torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
train_set, test_set = Digits("train", 10), Digits("t10k", 5)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
model = Net().to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)


def train(epoch):
    """Go through the training images once."""
    total = 0.0
    for images, targets in train_loader:
        images, targets = images.to(device), targets.to(device)
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        total += loss.item() * len(targets)
    print(f"epoch {epoch}: loss {total / len(train_set):.3f}", end="")


def test():
    """Return the fraction of the test images that are right."""
    with torch.no_grad():
        predicted = model(test_set.images.to(device)).argmax(dim=1).cpu()
    return (predicted == test_set.labels).float().mean().item()


for epoch in range(1, 4):
    train(epoch)
    accuracy = test()
    print(f", accuracy {100 * accuracy:.1f} %")
assert accuracy > 0.75

# %% [markdown] lang="zh"
# ## 5. 它什么时候认出来的
# 把前 $t$ 行之后的隐藏状态也拿去分类，就能看到网络读到第几行才知道答案。网络只为最后一行训练过，
# 中间的准确率低是正常的。

# %% [markdown] lang="en"
# ## 5. When does it know?
# Classify the hidden state after the first $t$ rows as well, and you see at which row the network
# knows the answer. It was trained for the last row only, so low accuracies on the way are expected.

# %%
with torch.no_grad():
    out, _ = model.rnn(test_set.images.to(device).squeeze(1))  # [2000, 28, 128]
    predicted = model.fc(out).argmax(dim=2).cpu()  # [2000, 28]
by_row = (predicted == test_set.labels[:, None]).float().mean(dim=0)
for row in (14, 21, 28):
    lessons.say(
        f"读完 {row} 行：准确率 {100 * by_row[row - 1]:.0f}%",
        f"after {row} rows: accuracy {100 * by_row[row - 1]:.0f} %",
    )
assert by_row[13] < by_row[27]

figure = lessons.figure(7.6, 3.2)
left, right = figure.subplots(1, 2)
for (name, losses), line in zip(curves.items(), ("-", "--", "-"), strict=True):
    color = "#c2571a" if name == "embedding" else "#2563a8"
    left.plot(losses, line, color=color, label=name, alpha=0.5 if name == "RNNCell" else 1)
left.set(title='learning "hello" -> "ohlol"', xlabel="step", ylabel="cross-entropy", ylim=(0, None))
left.legend(frameon=False)
right.plot(range(1, 29), by_row, "o-", markersize=3, color="#2563a8")
right.set(title="MNIST: rows read", xlabel="rows", ylabel="test accuracy", ylim=(0, 1))
for axes in (left, right):
    axes.grid(alpha=0.25)
lessons.save(figure, "rnn_and_rnn_cell.png")

# %% [markdown] lang="zh"
# ## 用 zoo 来做
# zoo 的 `rnn` 就是这个网络（隐藏状态 128 维），用 Muon 优化器和变形的数字训练 30 轮。
# `rnn_cell` 是自己写循环的那一个，可以装进同样的权重，得到同样的结果。

# %% [markdown] lang="en"
# ## The same with the zoo
# The zoo's `rnn` is this network, with a hidden state of 128 numbers, trained for 30 epochs with
# the Muon optimizer and deformed digits. `rnn_cell` is the one with its own loop; it takes the same
# weights and gives the same results.

# %%
images, targets = mnist.load_test()
prediction = zoo.Session("rnn").predict(images[::5])
right_ones = np.mean(prediction.indices == targets[::5])
score = zoo.card("rnn").score
lessons.say(
    f"zoo：这 2,000 张对 {100 * right_ones:.1f}%，全部 10,000 张 {score}",
    f"zoo: {100 * right_ones:.1f} % of these 2,000, {score} of all 10,000",
)
assert right_ones > accuracy
whole, stepwise = zoo.load("rnn"), zoo.load("rnn_cell")
stepwise.load_state_dict(whole.state_dict())
with torch.no_grad():
    lessons.agree(
        "rnn and rnn_cell", stepwise(test_set.images[:8]), whole(test_set.images[:8]), 1e-4
    )

# %% [markdown] lang="zh"
# ## 常见错误
# - **忘了 `batch_first=True`**：不报错，但网络把批当成序列来读，一轮以后的准确率只有 12%。
#   先打印一次各步的形状。
# - **隐藏状态带到下一个小批量**：`Trying to backward through the graph a second time`。
#   每个序列从 `torch.zeros` 开始，或者用 `hidden.detach()` 断开。
# - **损失突然变成很大或 `nan`**：梯度爆炸，用 `clip_grad_norm_`。
# - **独热向量当标签**：`CrossEntropyLoss` 的标签用类别编号，独热只用于输入。

# %% [markdown] lang="en"
# ## Usual mistakes
# - **No `batch_first=True`**: nothing fails, but the network reads the batch as the sequence, and
#   has 12 % after an epoch. Print the shape of each step once.
# - **The hidden state is kept for the next batch**: `Trying to backward through the graph a second
#   time`. Start each sequence from `torch.zeros`, or cut the graph with `hidden.detach()`.
# - **The loss jumps, or is `nan`**: the gradient explodes; use `clip_grad_norm_`.
# - **One-hot vectors as labels**: `CrossEntropyLoss` takes class numbers; one-hot is for inputs.

# %% [markdown] lang="zh"
# ## 练习
# 1. `nn.RNN(28, 128)` 有多少个参数？序列从 28 步变成 280 步呢？
#
# <details markdown="1"><summary>答案</summary>
#
# $128 \times 28 + 128 \times 128 + 128 + 128 = 20{,}224$，和步数无关。加上线性层的 1,290 个，
# 就是 zoo 卡片上的 21,514。
#
# </details>
#
# 2. 手算：独热模型的得分在 -1 和 1 之间，一步的损失最低是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 正确的得分是 1，其余三个是 -1：$\log\left(1 + 3 e^{-2}\right) = 0.341$。30 步之后的曲线正向它
# 靠近。
#
# </details>
#
# 3. 修改代码：`Net` 的 `nn.RNN` 换成 `nn.LSTM`（其余不变，去掉正交初始化那一行），训练三轮。
#    准确率是多少？
#
# <details markdown="1"><summary>答案</summary>
#
# 91.0%，`nn.RNN` 是 86.0%。LSTM 的门（Hochreiter 和 Schmidhuber，1997）让梯度更容易穿过很多步；
# 它的参数也多，是 `nn.RNN` 的四倍。
#
# </details>

# %% [markdown] lang="en"
# ## Exercises
# 1. How many parameters has `nn.RNN(28, 128)`? And for a sequence of 280 steps instead of 28?
#
# <details markdown="1"><summary>Answer</summary>
#
# $128 \times 28 + 128 \times 128 + 128 + 128 = 20{,}224$, for any number of steps. With the 1,290
# of the linear layer that makes the 21,514 on the zoo's card.
#
# </details>
#
# 2. On paper: the scores of the one-hot model are between -1 and 1. What is the least loss of a
#    step?
#
# <details markdown="1"><summary>Answer</summary>
#
# The true letter has 1 and the other three have -1: $\log\left(1 + 3 e^{-2}\right) = 0.341$, which
# the curve is approaching after 30 steps.
#
# </details>
#
# 3. Change the code: let `Net` use `nn.LSTM` instead of `nn.RNN` (nothing else changes; remove the
#    line with the orthogonal initialization) and train for three epochs. What is the accuracy?
#
# <details markdown="1"><summary>Answer</summary>
#
# 91.0 %, where `nn.RNN` has 86.0 %. The gates of an LSTM (Hochreiter and Schmidhuber, 1997) let the
# gradient pass more steps; it also has four times as many parameters.
#
# </details>
