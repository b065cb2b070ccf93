"""自动求导 · Autograd

Code: zoo/training/step.py
"""

import torch

from zoo import lessons

# y = x^3 + 2x, so dy/dx = 3x^2 + 2.
x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
y = (x**3 + 2 * x).sum()
print("y was made by", type(y.grad_fn).__name__)
y.backward()
print("x.grad    =", x.grad.tolist())
lessons.agree("3x^2 + 2", x.grad, 3 * x**2 + 2, tolerance=1e-12)

# 数值梯度 The same without any calculus: (f(x + h) - f(x - h)) / 2h.
h = 1e-6
numeric = (((x + h) ** 3 + 2 * (x + h)) - ((x - h) ** 3 + 2 * (x - h))) / (2 * h)
lessons.agree("finite differences", x.grad, numeric, tolerance=1e-8)

# 梯度会累加 Gradients add up: this is why a training step begins with zero_grad().
once = x.grad.clone()
(x**3 + 2 * x).sum().backward()
print("after a second backward:", x.grad.tolist())
lessons.agree("twice the gradient", x.grad, 2 * once, tolerance=1e-12)
x.grad.zero_()

# 不求导 No graph: detach() and no_grad(), for counting a loss and for changing a weight.
with torch.no_grad():
    z = x * 2
print("requires_grad:", x.requires_grad, z.requires_grad, (x * 2).detach().requires_grad)
assert not z.requires_grad
assert (x * 2).requires_grad

# 链式法则 The chain rule over a matrix product: d sum(sigmoid(Wv)) / dW = s(1 - s) v^T.
torch.manual_seed(0)
w = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
v = torch.randn(3, dtype=torch.float64)
s = torch.sigmoid(w @ v)
s.sum().backward()
lessons.agree("s(1 - s) v^T", w.grad, torch.outer(s * (1 - s), v), tolerance=1e-12)
