EXERCISE = "sgd"


def step(w, gradient, velocity, lr, momentum, dampening, weight_decay, nesterov):
    g = gradient + weight_decay * w
    if momentum == 0:
        return w - lr * g, None
    v = g if velocity is None else momentum * velocity + (1 - dampening) * g
    if nesterov:
        return w - lr * (g + momentum * v), v
    return w - lr * v, v
