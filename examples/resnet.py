"""卷积神经网络（高级篇） 残差块与 ResNet · Residual block and ResNet

Code: zoo/models/resnet.py
Picture: resnet.png

梯度消失 Through many layers a gradient fades; the residual block gives it a way past.
"""

import torch
from torch import nn
from torch.nn import functional as F

import zoo
from zoo import lessons
from zoo.datasets import mnist
from zoo.evaluation import metrics
from zoo.models.resnet import ResidualBlock
from zoo.network.pipeline import Pipeline, run_torch

DEPTH = 20


class Plain(ResidualBlock):
    """The same two convolutions without "x +"."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, channels, H, W] to the same shape."""
        return F.relu(self.conv2(F.relu(self.conv1(x))))


# 残差块 The block is relu(x + f(x)).
torch.manual_seed(0)
block, x = ResidualBlock(8), torch.randn(2, 8, 12, 12)
with torch.no_grad():
    by_steps = F.relu(x + block.conv2(F.relu(block.conv1(x))))
    lessons.agree("relu(x + f(x))", block(x), by_steps)


def gradients(kind: type[nn.Module]) -> list[float]:
    """Return the size of the gradient at the entry of each of DEPTH blocks."""
    torch.manual_seed(0)
    y = torch.randn(4, 8, 12, 12)
    entries = []
    for layer in (kind(8) for _ in range(DEPTH)):
        y = y.requires_grad_() if y.is_leaf else y
        y.retain_grad()
        entries.append(y)
        y = layer(y)
    y.mean().backward()
    return [entry.grad.norm().item() for entry in entries]


plain, residual = gradients(Plain), gradients(ResidualBlock)
print(f"gradient at the last of {DEPTH} blocks: plain {plain[-1]:.1e}, residual {residual[-1]:.1e}")
print(f"gradient at the first:            plain {plain[0]:.1e}, residual {residual[0]:.1e}")
assert plain[0] < 1e-6 * plain[-1], "fades"
assert residual[0] > 0.1 * residual[-1], "does not fade"

card = zoo.card("resnet")
images, targets = (part[:1000] for part in mnist.load_test())
logits = run_torch(Pipeline(zoo.load("resnet"), card.spec, card.task).eval(), images)
accuracy = metrics.measure(card.task, logits, targets)["accuracy"]
print(f"ResNet: {100 * accuracy:.2f} % of {len(images)} test digits; of all 10,000: {card.score}")
assert accuracy > 0.985

figure = lessons.figure()
axes = figure.subplots()
axes.plot(range(1, DEPTH + 1), residual, "o-", markersize=3, color="#2563a8", label="residual")
axes.plot(range(1, DEPTH + 1), plain, "o-", markersize=3, color="#c2571a", label="plain")
axes.set(title="size of the gradient on its way back", xlabel="block", yscale="log")
axes.set_xticks([1, 5, 10, 15, 20])
axes.grid(alpha=0.25)
axes.legend(frameon=False, loc="lower right")
lessons.save(figure, "resnet.png")
