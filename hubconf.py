"""PyTorch Hub: `torch.hub.load("OWNER/REPO", "resnet")`, or a checkout with `source="local"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

dependencies = ["torch", "safetensors", "numpy", "PIL", "msgspec"]


def _entry(name: str) -> Callable[..., nn.Module]:
    def entry(pretrained: bool = True) -> nn.Module:
        return zoo.load(name, pretrained=pretrained)

    entry.__name__ = name
    entry.__doc__ = f"The model {name!r}, in eval mode; pretrained=False gives fresh weights."
    return entry


for _name in zoo.list_models():
    globals()[_name] = _entry(_name)
