"""SGD: one step, with momentum, dampening, weight decay and Nesterov's look ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.exercises.exercise import Exercise, Mistake, Text, Values, function


def _cases() -> Sequence[Values]:
    rng = np.random.default_rng(12)
    cases: list[Values] = []
    for momentum, dampening, decay, nesterov in (
        (0.0, 0.0, 0.0, False), (0.0, 0.0, 0.1, False), (0.9, 0.0, 0.0, False),
        (0.8, 0.5, 0.0, False), (0.9, 0.0, 0.2, False), (0.9, 0.0, 0.1, True),
        (0.7, 0.3, 0.1, False),
    ):  # fmt: skip
        for first in (True, False) if momentum else (True,):
            shape = (3, 2) if first else (4,)
            velocity = None if first else rng.standard_normal(shape)
            case: dict[str, Any] = {
                "w": rng.standard_normal(shape),
                "gradient": rng.standard_normal(shape),
            }
            case |= {"velocity": velocity, "lr": 0.1, "momentum": momentum}
            case |= {"dampening": dampening, "weight_decay": decay, "nesterov": nesterov}
            cases.append(case)
    return cases


def _expected(values: Values) -> Values:
    """One step of torch's SGD: its functional form, which is quicker to import."""
    import torch
    from torch.optim.sgd import sgd

    w = torch.from_numpy(values["w"].copy())
    velocity = values["velocity"]
    buffers = [None if velocity is None else torch.from_numpy(velocity.copy())]
    settings = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    sgd(
        [w], [torch.from_numpy(values["gradient"].copy())], buffers,
        maximize=False, foreach=False, **{name: values[name] for name in settings},
    )  # fmt: skip
    after = None if buffers[0] is None else buffers[0].numpy()
    return {"w_after": w.numpy(), "velocity_after": after}


def _g(k: Any) -> Any:
    return k.gradient + k.weight_decay * k.w


def _v(k: Any, g: Any = None, first: Any = 1.0, later: Any = None) -> Any:
    """The velocity after the step; `first` and `later`: factors of the gradient."""
    g = _g(k) if g is None else g
    if not k.momentum:
        return g
    later = 1 - k.dampening if later is None else later
    return first * g if k.velocity is None else k.momentum * k.velocity + later * g


def _moved(k: Any, v: Any, g: Any = None, nesterov: Any = None) -> Any:
    nesterov = k.nesterov if nesterov is None else nesterov
    return k.w - k.lr * ((_g(k) if g is None else g) + k.momentum * v if nesterov else v)


def _of(key: str, velocity: Callable[[Any], Any], hint: Text) -> list[Mistake]:
    """The mistake in the velocity, and in the step that follows from it."""
    mistakes = [Mistake(key, "velocity_after", velocity, hint)]
    if not key.startswith("decay"):  # there the g of Nesterov is wrong, too
        mistakes.append(Mistake(key, "w_after", lambda k: _moved(k, velocity(k)), hint))
    return mistakes


_KINDS: tuple[tuple[str, Callable[[Any], Any], Text], ...] = (
    (
        "dampening_first", lambda k: _v(k, first=1 - k.dampening),
        Text("第一步（velocity 为 None）不用 dampening：v = g",
             "dampening does not apply in the first step (velocity is None): v = g"),
    ),
    (
        "dampening_ignored", lambda k: _v(k, later=1.0),
        Text("忽略了 dampening：v = momentum v + (1 - dampening) g",
             "dampening is ignored: v = momentum v + (1 - dampening) g"),
    ),
    (
        "decay_ignored", lambda k: _v(k, g=k.gradient),
        Text("忽略了 weight_decay：先把 weight_decay · w 加到梯度上",
             "weight_decay is ignored: first add weight_decay * w to the gradient"),
    ),
    (
        "decay_sign", lambda k: _v(k, g=k.gradient - k.weight_decay * k.w),
        Text("weight_decay 的符号反了：g + weight_decay · w",
             "the sign of the weight decay is reversed: g + weight_decay * w"),
    ),
    (
        "velocity_sign",
        lambda k: _g(k) if k.velocity is None or not k.momentum
        else -k.momentum * k.velocity + (1 - k.dampening) * _g(k),
        Text("velocity 的符号反了：v = + momentum v + (1 - dampening) g",
             "the sign of the velocity is reversed: v = + momentum v + "
             "(1 - dampening) g"),
    ),
    (
        "velocity_sign", lambda k: -_v(k, first=1.0) if k.velocity is None or not k.momentum
        else k.momentum * k.velocity - (1 - k.dampening) * _g(k),
        Text("velocity 里梯度的符号反了：v = momentum v + (1 - dampening) g，再 w - lr v",
             "the sign of the gradient in the velocity is reversed: v = momentum v + "
             "(1 - dampening) g, then w - lr v"),
    ),
    (
        "decay_dampened", lambda k: _g(k) if k.velocity is None or not k.momentum
        else k.momentum * k.velocity + (1 - k.dampening) * k.gradient + k.weight_decay * k.w,
        Text("weight_decay 在 dampening 之后才加：应先加到梯度，dampening 对两者都起作用",
             "the weight decay is added after the dampening: add it to the gradient first, since "
             "dampening acts on both"),
    ),
    (
        "decay_of_velocity",
        lambda k: _v(k, g=k.gradient + (
            0 if k.velocity is None or not k.momentum else k.weight_decay * k.velocity)),
        Text("weight_decay 乘在了 velocity 上：应是 weight_decay · w，加到梯度",
             "the weight decay is of the velocity: it is weight_decay * w, added to the gradient"),
    ),
    (
        "momentum_average",
        lambda k: _g(k) if not k.momentum
        else (k.momentum * (0 if k.velocity is None else k.velocity) + (1 - k.momentum) * _g(k)),
        Text("这是滑动平均（1 - momentum）：SGD 里 g 的系数是 1 - dampening，第一步 v = g",
             "this is a moving average (1 - momentum): in SGD the factor of g is 1 - dampening, "
             "and v = g in the first step"),
    ),
)  # fmt: skip

EXERCISE = Exercise(
    name="sgd",
    title=Text("优化器 SGD 的一步", "SGD, one step"),
    lesson="sgd_by_hand",
    formulas=Text(
        """\
g <- gradient + weight_decay w
v <- momentum v + (1 - dampening) g       第一步（velocity 为 None）：v <- g
w <- w - lr v                             nesterov：  w <- w - lr (g + momentum v)

w、gradient、velocity：同一形状""",
        """\
g <- gradient + weight_decay w
v <- momentum v + (1 - dampening) g       in the first step (velocity is None): v <- g
w <- w - lr v                             nesterov:  w <- w - lr (g + momentum v)

w, gradient, velocity: one shape""",
    ),
    notes=Text(
        "momentum 为 0 时：w <- w - lr g，velocity 返回 None。返回新的数组，不改动 w 和 velocity。",
        "With momentum 0: w <- w - lr g, and the velocity returned is None. Return new arrays;\n"
        "leave w and velocity as they are.",
    ),
    functions=(
        function(
            "step", "w, gradient, velocity, lr, momentum, dampening, weight_decay, nesterov",
            "w_after, velocity_after",
            Text("返回新的 w 和新的 velocity。", "Return the new w and the new velocity."),
            Text("先 weight_decay，再 velocity，最后移动 w",
                 "weight decay first, then the velocity, then move w"),
        ),
    ),
    cases=_cases,
    expected=_expected,
    mistakes=(
        *(mistake for kind in _KINDS for mistake in _of(*kind)),
        Mistake("decay_ignored", "w_after",
                lambda k: _moved(k, _v(k, g=k.gradient), g=k.gradient), _KINDS[2][2]),
        Mistake("decay_sign", "w_after",
                lambda k: _moved(k, _v(k, g=(g := k.gradient - k.weight_decay * k.w)), g=g),
                _KINDS[3][2]),
        Mistake(_KINDS[-2][0], "w_after", lambda k: _moved(k, _KINDS[-2][1](k), g=k.gradient),
                _KINDS[-2][2]),
        Mistake(_KINDS[-3][0], "w_after", lambda k: _moved(k, _KINDS[-3][1](k)), _KINDS[-3][2]),
        Mistake("decay_decoupled", "w_after",
                lambda k: _moved(k, _v(k, g=k.gradient), g=k.gradient)
                - k.lr * k.weight_decay * k.w,
                Text("weight_decay 直接用在了 w 上（AdamW 的做法）：SGD 里它先加到梯度，再进 "
                     "velocity",
                     "weight decay acts on w directly, as in AdamW: in SGD it is added to the "
                     "gradient, and so enters the velocity")),
        Mistake("decay_on_velocity", "w_after",
                lambda k: _moved(k, _v(k, g=k.gradient) + k.weight_decay * k.w, g=k.gradient),
                Text("weight_decay 加在了 velocity 之后：应先加到梯度，再算 velocity",
                     "weight decay is added after the velocity: add it to the gradient, then "
                     "compute the velocity")),
        Mistake("nesterov_ignored", "w_after", lambda k: _moved(k, _v(k), nesterov=False),
                Text("Nesterov 成了普通动量：nesterov 时走 g + momentum v",
                     "Nesterov is plain momentum here: with nesterov the step is g + momentum v")),
        Mistake("nesterov_gradient", "w_after",
                lambda k: k.w - k.lr * (k.gradient + k.momentum * _v(k) if k.nesterov else _v(k)),
                Text("Nesterov 里的 g 也要带 weight_decay",
                     "the g of Nesterov has the weight decay, "
                     "too")),
        Mistake("direction", "w_after", lambda k: 2 * k.w - _moved(k, _v(k)),
                Text("方向反了：w 减去 lr v，沿梯度下降",
                     "the wrong direction: w minus lr v, down the "
                     "gradient")),
        Mistake("lr_missing", "w_after",
                lambda k: k.w - (_g(k) + k.momentum * _v(k) if k.nesterov else _v(k)),
                Text("忘了学习率 lr", "forgot the learning rate lr")),
        Mistake("momentum_ignored", "w_after", lambda k: k.w - k.lr * _g(k),
                Text("忽略了动量：移动的是 velocity",
                     "momentum is ignored: the step is the velocity")),
        Mistake("lr_in_velocity", "velocity_after",
                lambda k: k.lr * _g(k) if k.velocity is None
                else k.momentum * k.velocity + k.lr * (1 - k.dampening) * _g(k),
                Text("学习率进了 velocity：torch 里 lr 在移动 w 时才乘",
                     "the learning rate is in the velocity: in torch lr multiplies the step of w")),
        Mistake("lr_in_velocity", "w_after",
                lambda k: k.w - (k.momentum * k.velocity + k.lr * (1 - k.dampening) * _g(k)
                                 if k.velocity is not None else k.lr * _g(k)),
                Text("学习率进了 velocity：torch 里 lr 在移动 w 时才乘",
                     "the learning rate is in the velocity: in torch lr multiplies the step of w")),
        Mistake("not_updated", "velocity_after",
                lambda k: np.zeros_like(k.w) if k.velocity is None else k.velocity,
                Text("返回的是旧的 velocity", "the velocity returned is the old one")),
    ),
)  # fmt: skip
