import numpy as np

EXERCISE = "cross_entropy_loss"


def log_softmax(outputs):
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def forward(outputs, targets):
    rows = np.arange(len(targets))
    return -log_softmax(outputs)[rows, targets].mean()


def backward(outputs, targets):
    rows = np.arange(len(targets))
    gradient = np.exp(log_softmax(outputs))
    gradient[rows, targets] -= 1
    return gradient / len(targets)
