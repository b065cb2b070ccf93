"""`zoo.load`: a trained network as an ordinary `nn.Module`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zoo import cards, registry
from zoo.errors import VerificationError, needs_extra

if TYPE_CHECKING:
    from torch import nn


def load(name: str | os.PathLike[str], *, pretrained: bool = True) -> nn.Module:
    """Load a network in eval mode, on the CPU.

    It takes normalized float32 images [batch, channels, height, width] (or standardized features
    [batch, columns]), as in the notes; `zoo.network.pipeline.Pipeline` puts the normalization and
    the softmax around it, `zoo.Session` does all of it without torch.

    Args:
        name: a model's name, the path of a bundle, or hf://user/repo on the Hugging Face Hub.
        pretrained: False gives fresh weights, from torch's global generator.

    Raises:
        UsageError: no such model or bundle. VerificationError: the bundle was changed.
        ZooError: torch is not installed.
    """
    with needs_extra("train", "zoo.load"):
        import safetensors.torch

        if not pretrained and os.fspath(name) in registry.names():
            from zoo import datasets

            entry = registry.get(os.fspath(name))
            data = datasets.load(entry.dataset)
            return entry.build(data.spec, len(data.labels)).eval()
        bundle = cards.locate(name)
        card = cards.read(bundle)
        network = registry.get(card.name).build(card.spec, len(card.labels))
        if pretrained:
            cards.check(bundle, card, cards.WEIGHTS)
            state = safetensors.torch.load_file(bundle / cards.WEIGHTS)
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise VerificationError(
                    f"bundle {bundle}: the weights do not fit model {card.name!r}: {reason}"
                ) from None
        return network.eval()
