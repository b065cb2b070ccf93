import numpy as np

EXERCISE = "batch_norm2d"


AXES = (0, 2, 3)


def forward(x, weight, bias, running_mean, running_var, momentum, eps, training):
    mean, var = running_mean, running_var
    if training:
        count = x.size // x.shape[1]
        mean, var = x.mean(axis=AXES), x.var(axis=AXES)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * var * count / (count - 1)
    z = (x - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None]
    y = weight[:, None, None] * z + bias[:, None, None]
    return y, running_mean, running_var


def backward(dy, x, weight, eps):
    count = x.size // x.shape[1]
    mean = x.mean(axis=AXES, keepdims=True)
    r = 1 / np.sqrt(x.var(axis=AXES, keepdims=True) + eps)
    z = (x - mean) * r
    dweight = (dy * z).sum(axis=AXES)
    dbias = dy.sum(axis=AXES)
    dx = dy - dbias[:, None, None] / count - z * dweight[:, None, None] / count
    dx = weight[:, None, None] * r * dx
    return dx, dweight, dbias
