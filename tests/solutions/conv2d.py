import numpy as np

EXERCISE = "conv2d"


def windows(x, weight, stride, padding):
    """Yield every output's place and its window in the padded input."""
    kh, kw = weight.shape[2:]
    for p in range((x.shape[2] + 2 * padding - kh) // stride + 1):
        for q in range((x.shape[3] + 2 * padding - kw) // stride + 1):
            rows = slice(p * stride, p * stride + kh)
            yield p, q, (slice(None), slice(None), rows, slice(q * stride, q * stride + kw))


def forward(x, weight, bias, stride, padding):
    sides = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), sides, sides))
    places = list(windows(x, weight, stride, padding))
    height, width = places[-1][0] + 1, places[-1][1] + 1
    y = np.zeros((len(x), len(weight), height, width), x.dtype)
    for p, q, window in places:
        y[:, :, p, q] = np.tensordot(padded[window], weight, ([1, 2, 3], [1, 2, 3])) + bias
    return y


def backward(dy, x, weight, bias, stride, padding):
    sides = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), sides, sides))
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for p, q, window in windows(x, weight, stride, padding):
        up = dy[:, :, p, q]
        dpadded[window] += np.tensordot(up, weight, 1)
        dweight += np.tensordot(up.T, padded[window], 1)
    dx = dpadded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    dbias = dy.sum(axis=(0, 2, 3))
    return dx, dweight, dbias
