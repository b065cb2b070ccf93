"""The layers of the notes in plain loops: slow, and as close to the formulas as code can be.

    from zoo.scratch import naive

    y = naive.conv2d(x, weight, bias, stride=2, padding=1)
    dx, dweight, dbias = naive.conv2d_backward(dy, x, weight, stride=2, padding=1)

One number after the other, no matrix product, no sum over an axis. The fast layers of `zoo.scratch`
compute the same, which the lessons by hand and the tests assert; read these first.
"""

from zoo.scratch.naive.batchnorm import batch_norm2d, batch_norm2d_backward
from zoo.scratch.naive.conv import conv2d, conv2d_backward
from zoo.scratch.naive.dropout import dropout, dropout_backward
from zoo.scratch.naive.flatten import flatten, flatten_backward
from zoo.scratch.naive.linear import linear, linear_backward
from zoo.scratch.naive.pool import max_pool2d, max_pool2d_backward
from zoo.scratch.naive.sgd import sgd_step

__all__ = [
    "batch_norm2d", "batch_norm2d_backward", "conv2d", "conv2d_backward", "dropout",
    "dropout_backward", "flatten", "flatten_backward", "linear", "linear_backward", "max_pool2d",
    "max_pool2d_backward", "sgd_step",
]  # fmt: skip
