"""Net: a whole network by the standard flow, trained on a part of MNIST."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from zoo.exercises.exercise import Check, Exercise, Text
from zoo.exercises.trial import explain

#: Images to train on, images to measure on (of the validation split), and what must be reached.
TRAIN, MEASURE, ACCURACY = 10_000, 2_000, 0.9

_MISSING = Text("文件里没有 {name}", "the file has no {name}")
_OPEN = Text("还没有写：TODO", "not written yet: TODO")
_NO_MODULE = Text(
    "Net 应当继承 nn.Module：class Net(nn.Module)", "Net must be an nn.Module: class Net(nn.Module)"
)
_EMPTY = Text(
    "Net 没有参数：在 __init__ 里把层赋给 self（self.fc = nn.Linear(...)）",
    "Net has no parameters: assign layers to self in __init__ (self.fc = nn.Linear(...))",
)
_KIND = Text("forward 返回了 {kind}，应为张量", "forward returned a {kind}, expected a tensor")
_SHAPE = Text(
    "输入 [{rows}, 1, 28, 28]，输出的形状是 {shape}，应为 [{rows}, 10]",
    "for inputs [{rows}, 1, 28, 28] the output has the shape {shape}, expected [{rows}, 10]",
)
_MODULE = Text("{count:,} 个参数", "{count:,} parameters")
_FORWARD = Text("[N, 1, 28, 28] -> [N, 10]", "[N, 1, 28, 28] -> [N, 10]")
_TRAINED = Text("每一步都清零梯度，所有参数都更新了", "gradients are zeroed, all parameters learn")
_REACHED = Text(
    "在 {count:,} 张没有训练过的图上正确率 {accuracy:.1%}，要求 {wanted:.0%}",
    "accuracy {accuracy:.1%} on {count:,} images it was not trained on, {wanted:.0%} is wanted",
)
_FROZEN = Text("这些参数没有变：{names}", "these parameters did not change: {names}")
_ACCUMULATED = Text(
    "梯度没有清零：{count} 步里有 {bad} 步，梯度是累加的",
    "gradients are not zeroed: in {bad} of {count} steps they were added to the old ones",
)
_HINTS = {
    "module": Text(
        "只有 nn.Module 才登记它的层，才有 parameters()",
        "an nn.Module alone registers its layers, and has parameters()",
    ),
    "flatten": Text(
        "forward 里先展平：x = x.flatten(1)，批留在第 0 轴；view 的大小别写死",
        "flatten first in forward: x = x.flatten(1), which keeps the batch at axis 0; fix no batch "
        "size in view",
    ),
    "frozen": Text(
        "每一步都要有 loss.backward() 和 optimizer.step()，并把 net.parameters() 交给优化器",
        "every step needs loss.backward() and optimizer.step(), and the optimizer needs "
        "net.parameters()",
    ),
    "partly_frozen": Text(
        "forward 里没有用到这些层，或优化器只拿到了一部分参数",
        "forward does not use these layers, or the optimizer has but a part of the parameters",
    ),
    "zero_grad": Text(
        "每一步在 backward 之前调用 optimizer.zero_grad()",
        "call optimizer.zero_grad() in every step, before backward",
    ),
    "nan": Text(
        "参数变成了 nan 或 inf：学习率太大",
        "parameters became nan or inf: the learning rate is too large",
    ),
    "softmax": Text(
        "forward 已经做了 softmax：CrossEntropyLoss 自己会做，forward 返回 logits",
        "forward ends in a softmax: CrossEntropyLoss has its own, so return the logits",
    ),
    "chance": Text(
        "和猜差不多：检查学习率（太大或太小），以及 loss 用的是不是 forward 的输出",
        "as good as a guess: look at the learning rate (too large, too small), and whether the "
        "loss is that of forward's output",
    ),
    "more": Text(
        "方向对了：多训练几轮，学习率大一点或加 momentum，或加一个隐藏层",
        "it learns: train for more epochs, with a larger learning rate or momentum, or add a "
        "hidden layer",
    ),
}


def _judge(module: ModuleType) -> list[Check]:
    """Build the network, run it, train it, and measure it."""
    import torch

    torch.manual_seed(0)
    missing = [name for name in ("Net", "train") if not callable(getattr(module, name, None))]
    if missing:
        return [Check(name, "open", str(_MISSING).format(name=name)) for name in missing]
    try:
        net = module.Net()
    except Exception as error:
        return [_raised("Net", error, module)]
    if not isinstance(net, torch.nn.Module):
        return [Check("Net", "wrong", str(_NO_MODULE), mistake="no_module", hint=_hint("module"))]
    checks = [_forward(net, module, rows) for rows in (4, 1)]
    if worst := next((check for check in checks if check.state != "right"), None):
        return [worst]
    parameters = list(net.parameters())
    if not parameters:
        return [Check("Net", "wrong", str(_EMPTY), mistake="no_parameters")]
    count = sum(parameter.numel() for parameter in parameters)
    built = [Check("Net", "right", str(_MODULE).format(count=count)), checks[0]]
    return built + _train(net, module)


def _forward(net: Any, module: ModuleType, rows: int) -> Check:
    """Check the form of the output."""
    import torch

    try:
        with torch.no_grad():
            y = net(torch.rand(rows, 1, 28, 28))
    except NotImplementedError:
        return Check("Net.forward", "open", str(_OPEN))
    except Exception as error:
        return _raised("Net.forward", error, module, "flatten")
    if y is None:
        return Check("Net.forward", "open", str(_OPEN))
    if not isinstance(y, torch.Tensor):
        message = str(_KIND).format(kind=type(y).__name__)
        return Check("Net.forward", "wrong", message, mistake="kind")
    if y.shape != (rows, 10):
        message = str(_SHAPE).format(rows=rows, shape=list(y.shape))
        hint = str(_HINTS["flatten"])
        return Check("Net.forward", "wrong", message, mistake="shape", hint=hint)
    return Check("Net.forward", "right", str(_FORWARD))


def _train(net: Any, module: ModuleType) -> list[Check]:
    """Let the student train the network, and look at what became of it."""
    import torch

    loader, images, labels = _data()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    added = _watch(next(value for value in net.parameters()))
    try:
        module.train(net, loader)
    except NotImplementedError:
        return [Check("train", "open", str(_OPEN))]
    except Exception as error:
        return [_raised("train", error, module)]
    after = {name: value.detach().cpu() for name, value in net.named_parameters()}
    still = [name for name, value in before.items() if torch.equal(value, after[name])]
    if len(still) == len(before):
        message = str(_FROZEN).format(names=", ".join(still))
        if not added:  # nothing was computed at all
            return [Check("train", "open", str(_OPEN), mistake="frozen", hint=_hint("frozen"))]
        return [Check("train", "wrong", message, mistake="frozen", hint=_hint("frozen"))]
    checks = [Check("train", "right", str(_TRAINED))]
    if still:
        message, key = str(_FROZEN).format(names=", ".join(still)), "partly_frozen"
        checks = [Check("train", "wrong", message, mistake=key, hint=_hint(key))]
    elif sum(added) > len(added) / 2:
        message = str(_ACCUMULATED).format(bad=sum(added), count=len(added))
        checks = [Check("train", "wrong", message, mistake="zero_grad", hint=_hint("zero_grad"))]
    try:
        with torch.no_grad():
            outputs = net.cpu().eval()(images)
    except Exception as error:
        return [*checks, _raised("accuracy", error, module)]
    accuracy = float((outputs.argmax(dim=1) == labels).double().mean())
    figures = {"count": MEASURE, "accuracy": accuracy, "wanted": ACCURACY}
    message = str(_REACHED).format(**figures)
    if accuracy >= ACCURACY:
        return [*checks, Check("accuracy", "right", message)]
    sums = outputs.sum(dim=1)
    if not all(bool(value.isfinite().all()) for value in after.values()):
        key = "nan"
    elif bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        key = "softmax"
    else:
        key = "chance" if accuracy < 0.2 else "more"
    return [*checks, Check("accuracy", "wrong", message, mistake=key, hint=_hint(key))]


def _watch(parameter: Any) -> list[bool]:
    """Note for every backward pass whether its gradient was added to an old one."""
    fresh: list[Any] = []
    added: list[bool] = []

    def computed(gradient: Any) -> None:
        fresh[:] = [gradient.detach().clone()]

    def accumulated(owner: Any) -> None:
        old = owner.grad - fresh[0]
        added.append(bool(old.abs().max() > 1e-3 * fresh[0].abs().max()))

    parameter.register_hook(computed)
    parameter.register_post_accumulate_grad_hook(accumulated)
    return added


def _data() -> tuple[Any, Any, Any]:
    """Return a loader of training batches, and images and labels of the validation split."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from zoo.datasets import mnist

    dataset = mnist.load()

    def tensors(split: Any, count: int) -> tuple[Any, Any]:
        # [N, 28, 28, 1] to [N, 1, 28, 28], but not by permute: view() fails after such a layer
        images = torch.from_numpy(split.inputs[:count]).reshape(-1, 1, 28, 28) / 255
        return (images - 0.1307) / 0.3081, torch.from_numpy(split.targets[:count])

    generator = torch.Generator().manual_seed(0)
    rows = TensorDataset(*tensors(dataset.train, TRAIN))
    loader = DataLoader(rows, batch_size=64, shuffle=True, generator=generator)
    return loader, *tensors(dataset.validation, MEASURE)


def _raised(name: str, error: Exception, module: ModuleType, key: str | None = None) -> Check:
    hint = _hint(key) if key and "shape" in str(error) else None
    message = explain(error, getattr(module, "__file__", None))
    return Check(name, "wrong", message, mistake="error", hint=hint)


def _hint(key: str) -> str:
    return str(_HINTS[key])


EXERCISE = Exercise(
    name="net",
    title=Text("标准流程：写一个网络并训练它", "the standard flow: write a network and train it"),
    lesson="nn_standard_flow",
    stub=Text(
        '''\
"""{head}

标准流程：准备数据；写一个类（__init__ 与 forward）；损失函数与优化器；
训练循环：前向、损失、梯度清零、反向、更新。
loader 给出 MNIST 的一万张训练图，每批 64 张；在两千张没有训练过的图上正确率要到 90 %。
"""

import torch
from torch import nn

EXERCISE = "net"


class Net(nn.Module):
    """一个分类网络。"""

    def __init__(self):
        super().__init__()
        # TODO: 定义各层，例如 self.fc = nn.Linear(784, 10)

    def forward(self, x):
        """x：float32 [N, 1, 28, 28]，已归一化；返回 logits [N, 10]。"""
        # TODO: 展平，逐层计算；最后不要 softmax
        raise NotImplementedError


def train(net, loader):
    """训练 net 若干轮；for images, labels in loader 走一轮。"""
    # TODO: criterion = nn.CrossEntropyLoss()，optimizer = torch.optim.SGD(...)
    # TODO: 每一批：前向、损失、optimizer.zero_grad()、loss.backward()、optimizer.step()
    raise NotImplementedError
''',
        '''\
"""{head}

The standard flow: prepare the data; write a class (__init__ and forward); loss and optimizer;
the training cycle: forward, loss, zero the gradients, backward, step.
loader has 10,000 training images of MNIST in batches of 64; 90 % of 2,000 images that the network
was not trained on must be right.
"""

import torch
from torch import nn

EXERCISE = "net"


class Net(nn.Module):
    """A classifier."""

    def __init__(self):
        super().__init__()
        # TODO: the layers, such as self.fc = nn.Linear(784, 10)

    def forward(self, x):
        """From x, float32 [N, 1, 28, 28], normalized, compute the logits [N, 10]."""
        # TODO: flatten, then layer by layer; no softmax at the end
        raise NotImplementedError


def train(net, loader):
    """Train net for some epochs; `for images, labels in loader` is one."""
    # TODO: criterion = nn.CrossEntropyLoss(), optimizer = torch.optim.SGD(...)
    # TODO: each batch: forward, loss, optimizer.zero_grad(), loss.backward(), optimizer.step()
    raise NotImplementedError
''',
    ),
    judge=_judge,
)
