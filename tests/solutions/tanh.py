import numpy as np

EXERCISE = "tanh"


def forward(x):
    return np.tanh(x)


def backward(dy, x):
    y = forward(x)
    return dy * (1 - y**2)
