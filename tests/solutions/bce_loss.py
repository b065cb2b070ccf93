import numpy as np

EXERCISE = "bce_loss"


def bounded_log(p):
    return np.maximum(np.log(p), -100)


def forward(outputs, targets):
    yes = targets * bounded_log(outputs)
    no = (1 - targets) * bounded_log(1 - outputs)
    return -(yes + no).mean()


def backward(outputs, targets):
    divisor = np.maximum(outputs * (1 - outputs), 1e-12)
    return (outputs - targets) / divisor / outputs.size
