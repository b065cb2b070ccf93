"""卷积神经网络（高级篇） GoogLeNet · GoogLeNet

Code: zoo/models/googlenet.py
Picture: googlenet.png
"""

import numpy as np
import torch

import zoo
from zoo import lessons, plots
from zoo.datasets import mnist
from zoo.evaluation import metrics
from zoo.network.pipeline import Pipeline, run_torch

card = zoo.card("googlenet")
model = zoo.load("googlenet")

# 形状与参数 Shapes and parameters, part by part, seen by a hook on each.
shapes: dict[str, tuple[int, ...]] = {}
for name, part in model.named_children():
    part.register_forward_hook(lambda _, x, y, name=name: shapes.update({name: tuple(y.shape)}))
with torch.inference_mode():
    model(torch.zeros(2, 1, 28, 28))
for name, part in model.named_children():
    print(f"{name:<7} {sum(p.numel() for p in part.parameters()):7,} parameters -> {shapes[name]}")
total = sum(p.numel() for p in model.parameters())
print(f"together {total:,}")
assert total == card.parameters
assert shapes["incep1"] == (2, 88, 12, 12)
assert shapes["incep2"] == (2, 88, 4, 4)

# 测试 The trained network on 2,000 test digits, and what it gets wrong.
images, targets = (part[:2000] for part in mnist.load_test())
logits = run_torch(Pipeline(model, card.spec, card.task).eval(), images)
found = metrics.measure(card.task, logits, targets)
print(f"accuracy {100 * found['accuracy']:.2f} % on {len(images)}; on all 10,000: {card.score}")
assert found["accuracy"] > 0.98
wrong = np.flatnonzero(logits.argmax(axis=1) != targets)[:20]
captions = [f"{targets[row]} as {logits[row].argmax()}" for row in wrong]
path = lessons.picture_path("googlenet.png")
plots.contact_sheet(images[wrong], captions, [False] * len(wrong), path)
