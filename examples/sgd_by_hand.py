"""手写优化器 SGD · SGD by hand

Code: zoo/scratch/sgd.py
Picture: sgd_by_hand.png
"""

import numpy as np
import torch
from torch import nn

from zoo import lessons, scratch

rng = np.random.default_rng(0)
x, y = rng.standard_normal((64, 5)), rng.standard_normal((64, 1))
SETTINGS = {
    "plain": {"lr": 0.02},
    "momentum": {"lr": 0.02, "momentum": 0.9},
    "dampening": {"lr": 0.02, "momentum": 0.9, "dampening": 0.5},
    "weight decay": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.5},
    "Nesterov": {"lr": 0.02, "momentum": 0.9, "nesterov": True},
}
start = {"weight": rng.standard_normal((1, 5)), "bias": np.zeros(1)}
losses: dict[str, list[float]] = {}
for name, setting in SETTINGS.items():
    # 同一步骤 The same 40 steps, by hand and by torch, from the same weights.
    layer = scratch.Linear(5, 1, dtype=np.float64)
    layer.load_state_dict(start)
    criterion, optimizer = scratch.MSELoss(), scratch.SGD(layer.parameters(), **setting)
    peer = nn.Linear(5, 1, dtype=torch.float64)
    peer.load_state_dict({key: torch.from_numpy(array) for key, array in start.items()})
    theirs = torch.optim.SGD(peer.parameters(), **setting)
    losses[name] = []
    for _ in range(40):
        losses[name].append(float(criterion(layer(x), y)))
        optimizer.zero_grad()
        layer.backward(criterion.backward())
        optimizer.step()

        theirs.zero_grad()
        nn.functional.mse_loss(peer(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        theirs.step()
    print(f"{name}: loss {losses[name][0]:.3f} -> {losses[name][-1]:.3f}")
    lessons.agree("weight after 40 steps", layer.weight.data, peer.weight, 1e-10)
    assert losses[name][-1] < losses[name][0]

figure = lessons.figure()
axes = figure.subplots()
for name, values in losses.items():
    axes.plot(values, label=name, linewidth=1.3)
axes.set(title="the same steps by hand and by torch", xlabel="step", ylabel="mean squared error")
axes.grid(alpha=0.25)
axes.legend(frameon=False, fontsize=8)
lessons.save(figure, "sgd_by_hand.png")
