"""多分类问题 Softmax · Softmax classifier

Code: zoo/models/softmax.py, zoo/evaluation/metrics.py
Picture: softmax_classifier.png
"""

import torch
from torch import nn

import zoo
from zoo import lessons
from zoo.datasets import mnist
from zoo.network.pipeline import Pipeline

# 从得分到概率 From scores to probabilities: exp(z) / sum exp(z).
z = torch.tensor([[0.2, 0.1, -0.1]])
p = z.exp() / z.exp().sum()
print("scores", *(f"{v:.1f}" for v in z[0]), "-> probabilities", *(f"{v:.4f}" for v in p[0]))
lessons.agree("torch.softmax", p, torch.softmax(z, dim=1))

# 交叉熵 Cross-entropy is -log of the probability of the true class; here class 0.
loss = -p[0, 0].log()
print(f"loss -log {p[0, 0]:.4f} = {loss:.4f}")
lessons.agree("nn.CrossEntropyLoss", loss, nn.CrossEntropyLoss()(z, torch.tensor([0])))
together = nn.NLLLoss()(torch.log_softmax(z, dim=1), torch.tensor([0]))
lessons.agree("LogSoftmax, then NLLLoss", loss, together)

# 真实的模型 The trained network, 784-512-256-128-64-10, on 1,000 test digits.
card = zoo.card("softmax")
images, targets = (part[:1000] for part in mnist.load_test())
model = Pipeline(zoo.load("softmax"), card.spec, card.task).eval()
with torch.inference_mode():
    logits, probabilities = model(torch.from_numpy(images))
right = probabilities.argmax(dim=1) == torch.from_numpy(targets)
print(f"{card.parameters:,} parameters, {right.sum()} of {len(right)} right")
lessons.agree("probabilities sum to 1", probabilities.sum(dim=1), torch.ones(1000))
assert right.float().mean() > 0.97

unsure = int(probabilities.max(dim=1).values.argmin())
print(f"least sure of image {unsure}: {probabilities[unsure].max():.2f}, a {targets[unsure]}")
figure = lessons.figure(6.4, 2.8)
left, axes = figure.subplots(1, 2, width_ratios=[1, 1.8])
left.imshow(images[unsure, :, :, 0], cmap="gray")
left.set_title(f"least sure of 1,000: a {targets[unsure]}")
left.axis("off")
axes.bar(range(10), probabilities[unsure].tolist(), color="#2563a8")
axes.set(title="its probabilities", xlabel="class", xticks=range(10), ylim=(0, 1))
lessons.save(figure, "softmax_classifier.png")
