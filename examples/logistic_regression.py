"""逻辑斯谛回归 · Logistic regression

Code: zoo/models/logistic.py
Picture: logistic_regression.png

学习时间与是否通过 Hours of study, and whether the exam was passed.
"""

import torch
from torch import nn

import zoo
from zoo import datasets, lessons
from zoo.evaluation import metrics
from zoo.models.logistic import Logistic
from zoo.network.pipeline import Pipeline, run_torch

hours = torch.tensor([[1.0], [2.0], [3.0]])
passed = torch.tensor([[0.0], [0.0], [1.0]])

torch.manual_seed(0)
model = Logistic(columns=1)
criterion = nn.BCEWithLogitsLoss()  # the sigmoid and BCELoss in one
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
for epoch in range(301):
    loss = criterion(model(hours), passed)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 100 == 0:
        print(f"epoch {epoch:3d}: loss {loss.item():.4f}")

with torch.no_grad():
    grid = torch.linspace(0, 10, 200)[:, None]
    chance = torch.sigmoid(model(grid))
    print("P(passed) after 1, 2, 3, 4 hours:", end=" ")
    print(*(f"{p:.3f}" for p in torch.sigmoid(model(torch.tensor([[1.0], [2], [3], [4]])))[:, 0]))
    right = (torch.sigmoid(model(hours)) > 0.5) == passed.bool()
    separate = nn.BCELoss()(torch.sigmoid(model(hours)), passed)
    lessons.agree("BCELoss after a sigmoid", separate, criterion(model(hours), passed))
assert right.all(), "all three are classified as they were"
turn = (-model.linear.bias / model.linear.weight).item()
assert 2 < turn < 3, "the even chance lies between 2 and 3 hours"

# 真实数据 The same model over 30 columns, as it ships.
data = datasets.load("breast-cancer")
logits = run_torch(Pipeline(zoo.load("logistic"), data.spec, "binary").eval(), data.test.inputs)
accuracy = metrics.measure("binary", logits, data.test.targets)["accuracy"]
print(f"breast cancer, {len(logits)} test rows: accuracy {100 * accuracy:.2f} %")
assert accuracy == zoo.card("logistic").test["accuracy"], "what the card says"

figure = lessons.figure()
axes = figure.subplots()
axes.plot(grid.numpy(), chance.numpy(), color="#2563a8")
axes.plot(hours.numpy(), passed.numpy(), "o", color="#c2571a", label="data")
axes.axhline(0.5, color="0.6", linewidth=1, zorder=0)
axes.set(title=f"even chance at {turn:.2f} hours", xlabel="hours", ylabel="probability of passing")
axes.grid(alpha=0.25)
axes.legend(frameon=False, loc="lower right")
lessons.save(figure, "logistic_regression.png")
