EXERCISE = "mse_loss"


def forward(outputs, targets):
    return ((outputs - targets) ** 2).mean()


def backward(outputs, targets):
    return 2 * (outputs - targets) / outputs.size
