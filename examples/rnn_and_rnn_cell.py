"""循环神经网络（基础篇） RNN 与 RNNCell · RNN and RNNCell

Code: zoo/models/rnn.py, zoo/models/rnn_cell.py, zoo/scratch/rnn.py
Picture: rnn_and_rnn_cell.png

把 "hello" 变成 "ohlol" Learn "hello" -> "ohlol", letter by letter, both ways.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo import lessons, scratch

LETTERS = "ehlo"
x = F.one_hot(torch.tensor([LETTERS.index(letter) for letter in "hello"]), 4).float()  # [5, 4]
y = torch.tensor([LETTERS.index(letter) for letter in "ohlol"])  # [5]


def by_cell(cell: nn.RNNCell, letters: Tensor) -> Tensor:
    """自己写循环 The loop over the letters by ourselves; [5, 4] -> [5, 4]."""
    hidden = torch.zeros(4)
    steps = []
    for letter in letters:
        hidden = cell(letter, hidden)
        steps.append(hidden)
    return torch.stack(steps)


def by_rnn(rnn: nn.RNN, letters: Tensor) -> Tensor:
    """nn.RNN 自带循环 The loop inside nn.RNN."""
    return rnn(letters, torch.zeros(1, 4))[0]


def learn(network: nn.Module, forward) -> tuple[list[float], str]:
    """Train until the loss barely falls; return the losses and what it then says."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = []
    for _ in range(100):
        outputs = forward(network, x)  # the hidden state of 4 numbers is the score of 4 letters
        loss = F.cross_entropy(outputs, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, "".join(LETTERS[i] for i in forward(network, x).argmax(dim=1))


torch.manual_seed(2)
cell, rnn = nn.RNNCell(4, 4), nn.RNN(4, 4)
losses = {}
for name, network, forward in (("RNNCell", cell, by_cell), ("RNN", rnn, by_rnn)):
    losses[name], said = learn(network, forward)
    print(f"{name:<8} loss {losses[name][0]:.3f} -> {losses[name][-1]:.3f}, hello -> {said}")
    assert said == "ohlol"

# 同样的权重 With the same weights both give the same numbers; so do the zoo's two models.
cell.load_state_dict({key.removesuffix("_l0"): value for key, value in rnn.state_dict().items()})
lessons.agree("RNNCell and RNN", by_cell(cell, x), by_rnn(rnn, x))
hand = scratch.RNN(4, 4)
hand.load_state_dict({key: value.numpy() for key, value in rnn.state_dict().items()})
outputs, _ = hand(x[:, None].numpy())  # [5 letters, batch of 1, 4]
lessons.agree("RNN by hand", outputs[:, 0], by_rnn(rnn, x))
whole, stepwise = zoo.load("rnn"), zoo.load("rnn_cell")
stepwise.load_state_dict(whole.state_dict())
rows = torch.randn(8, 1, 28, 28)
lessons.agree("the zoo's rnn and rnn_cell", stepwise(rows), whole(rows))

figure = lessons.figure()
axes = figure.subplots()
for (name, values), color in zip(losses.items(), ("#2563a8", "#c2571a"), strict=True):
    axes.plot(values, color=color, label=name)
axes.set(title='learning "hello" -> "ohlol"', xlabel="step", ylabel="cross-entropy")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
lessons.save(figure, "rnn_and_rnn_cell.png")
