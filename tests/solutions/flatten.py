EXERCISE = "flatten"


def forward(x):
    return x.reshape(len(x), -1)


def backward(dy, x):
    return dy.reshape(x.shape)
