"""线性回归 · Linear regression

Code: zoo/models/linear.py, zoo/datasets/tables.py
Picture: linear_regression.png
"""

import numpy as np
import torch
from torch import nn

import zoo
from zoo import datasets, lessons, plots
from zoo.evaluation import metrics
from zoo.models.linear import Linear
from zoo.network.pipeline import Normalize

# 数据 442 patients, 10 measurements each -> how far their diabetes went in a year.
data = datasets.load("diabetes")
normalize = Normalize(data.spec)
x, y = normalize(torch.from_numpy(data.train.inputs)), torch.from_numpy(data.train.targets)
print(f"train {tuple(x.shape)}, test {data.test.inputs.shape}")

# 模型, 损失, 优化器 Model, loss, optimizer; then the loop.
torch.manual_seed(0)
model = Linear(columns=10)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(400):
    loss = criterion(model(x)[:, 0], y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 100 == 0:
        print(f"epoch {epoch:3d}: loss {loss.item():.1f}")

# 解析解 The same line by least squares, and the one that ships.
ones = np.ones((len(x), 1))
solution = np.linalg.lstsq(np.hstack([x.double().numpy(), ones]), y.double().numpy(), rcond=None)[0]
closed = Linear(columns=10)
with torch.no_grad():
    closed.linear.weight.copy_(torch.from_numpy(solution[None, :-1]))
    closed.linear.bias.copy_(torch.from_numpy(solution[-1:]))
    test = normalize(torch.from_numpy(data.test.inputs))
    found, exact, shipped = (m(test).numpy() for m in (model, closed, zoo.load("linear")))
print(f"test R2 {metrics.measure('regression', found, data.test.targets)['r2']:.4f}")
lessons.agree("with least squares", found, exact, tolerance=0.5)  # of values from 25 to 346
lessons.agree("the shipped model with it", shipped, exact, tolerance=0.5)
path = lessons.picture_path("linear_regression.png")
plots.predictions(found[:, 0], data.test.targets, path, "diabetes")
