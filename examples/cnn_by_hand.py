"""手写整个网络 · A whole network by hand

Code: zoo/scratch/networks.py, zoo/models/cnn.py

训练好的权重, 手写的层 The trained weights of `cnn` in layers of NumPy alone.
"""

import numpy as np
import torch
from torch.nn import functional as F

import zoo
from zoo import lessons, scratch
from zoo.datasets import mnist
from zoo.network.pipeline import Normalize, channels_first

card, peer = zoo.card("cnn"), zoo.load("cnn").double()
network = scratch.make("cnn", card.spec, card.task, len(card.labels), dtype=np.float64)
network.load_state_dict({name: tensor.numpy() for name, tensor in peer.state_dict().items()})

images, targets = (part[:500] for part in mnist.load_test())
x = Normalize(card.spec)(channels_first(torch.from_numpy(images))).double()
logits = network(x.numpy())
right = int((logits.argmax(axis=1) == targets).sum())
print(f"{right} of {len(targets)} test digits right, without torch in the network")
assert right > 490
lessons.agree("logits", logits, peer(x), 1e-9)

# 反向 Backward through all of it, and every gradient beside autograd's.
criterion = scratch.CrossEntropyLoss()
loss = criterion(logits, targets)
network.backward(criterion.backward())
expected = F.cross_entropy(peer(x), torch.from_numpy(targets))
expected.backward()
lessons.agree("loss", loss, expected, 1e-9)
theirs = dict(peer.named_parameters())
for name, parameter in network.named_parameters():
    lessons.agree(f"d {name}", parameter.grad, theirs[name].grad, 1e-9)

# 一步 One step of SGD by hand, and the loss on these digits is smaller.
optimizer = scratch.SGD(network.parameters(), lr=0.01)
optimizer.step()
after = criterion(network(x.numpy()), targets)
print(f"loss {loss:.6f} -> {after:.6f} after one step")
assert after < loss
