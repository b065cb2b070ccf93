"""The layers of the lecture notes by hand: NumPy alone, forward and backward, as in `torch.nn`.

    from zoo import scratch

    network = scratch.build("cnn")              # with the shipped weights; scratch.Pipeline around
    network = scratch.Sequential(scratch.Flatten(), scratch.Linear(784, 10))
    criterion = scratch.CrossEntropyLoss()
    optimizer = scratch.SGD(network.parameters(), lr=0.1, momentum=0.9)

    optimizer.zero_grad()
    loss = criterion(network(x), targets)       # x float32 [batch, 1, 28, 28], targets int [batch]
    network.backward(criterion.backward())      # or network.accumulate(...): without dL/dx
    optimizer.step()

One file per layer or family; each opens with its formulas. Start with `linear.py`, then `layer.py`.
"""

from zoo.scratch.activation import LogSoftmax, ReLU, Sigmoid, Tanh
from zoo.scratch.adamw import AdamW
from zoo.scratch.batchnorm import BatchNorm2d
from zoo.scratch.build import Pipeline, build
from zoo.scratch.container import Add, Concat, Flatten, Identity, Sequential
from zoo.scratch.conv import Conv2d
from zoo.scratch.dropout import Dropout
from zoo.scratch.layer import Layer, Module, Parameter
from zoo.scratch.linear import Linear
from zoo.scratch.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    DistillationLoss,
    Loss,
    MSELoss,
    NLLLoss,
)
from zoo.scratch.muon import Muon
from zoo.scratch.networks import make
from zoo.scratch.pool import AvgPool2d, MaxPool2d
from zoo.scratch.rnn import RNN, RNNCell
from zoo.scratch.sgd import SGD

__all__ = [  # noqa: RUF022 - by family
    "Layer", "Module", "Parameter", "Linear", "Conv2d", "MaxPool2d", "AvgPool2d", "BatchNorm2d",
    "Dropout", "ReLU", "Tanh", "Sigmoid", "LogSoftmax", "RNN", "RNNCell",
    "Sequential", "Add", "Concat", "Identity", "Flatten",
    "Loss", "MSELoss", "BCELoss", "BCEWithLogitsLoss", "NLLLoss", "CrossEntropyLoss",
    "DistillationLoss",
    "SGD", "AdamW", "Muon",
    "build", "make", "Pipeline",
]  # fmt: skip
