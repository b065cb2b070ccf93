import numpy as np

EXERCISE = "sigmoid"


def forward(x):
    small = np.exp(-np.abs(x))  # cannot overflow
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def backward(dy, x):
    y = forward(x)
    return dy * y * (1 - y)
