"""`zoo.load`: a trained network as an ordinary `nn.Module`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zoo import registry
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.errors import VerificationError, last_line, needs_extra

if TYPE_CHECKING:
    from torch import nn


def load(name: str | os.PathLike[str] | Bundle, *, pretrained: bool = True) -> nn.Module:
    """Load a network in eval mode, on the CPU.

    It takes normalized float32 images [batch, channels, height, width], or standardized features
    [batch, columns]. `zoo.network.pipeline.Pipeline` adds normalization and softmax;
    `zoo.Session` takes raw inputs without torch.

    Args:
        name: a model's name, the path of a bundle, hf://user/repo on the Hugging Face Hub, or an
            open bundle.
        pretrained: False: random weights, from torch's global generator.

    Raises:
        UsageError: no such model or bundle. VerificationError: the weights do not match the card.
        ZooError: torch is not installed.
    """
    with needs_extra("train", "zoo.load"):
        import safetensors.torch

        if not pretrained and name in registry.names():
            from zoo import datasets

            entry = registry.get(str(name))
            data = datasets.load(entry.dataset)
            return entry.build(data.spec, len(data.labels)).eval()
        bundle = Bundle.open(name)
        card = bundle.card
        network = registry.get(card.name).build(card.spec, len(card.labels))
        if pretrained:
            state = safetensors.torch.load(bundle.read(WEIGHTS))
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                reason = last_line(error)
                raise VerificationError(
                    f"bundle {bundle.path}: the weights do not fit model {card.name!r}: {reason}"
                ) from None
        return network.eval()
