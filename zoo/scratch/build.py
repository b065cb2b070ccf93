"""`zoo.scratch.build`: a shipped network by hand. `Pipeline`: from raw input to probabilities."""

from __future__ import annotations

import os

import numpy as np

from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.bundle.layout import current
from zoo.errors import DataError, VerificationError, needs_extra
from zoo.scratch.activation import log_softmax
from zoo.scratch.layer import Array, Layer, expect
from zoo.scratch.networks import make
from zoo.spec import ImageSpec, Spec, Task

#: Rows at once: what the layers keep for backward stays small.
_BATCH = 100


def build(
    name: str | os.PathLike[str] | Bundle, *, pretrained: bool = True, seed: int | None = None
) -> Layer:
    """Build a network in eval mode, with the weights of its bundle.

    It takes normalized float32 images [batch, channels, height, width] (or standardized features
    [batch, columns]), as that of `zoo.load`; `Pipeline` normalizes them first.

    Args:
        name: a model's name, the path of a bundle, or a bundle that is open.
        pretrained: False gives fresh weights, drawn from `seed`.

    Raises:
        UsageError: no such model or bundle, or no network by hand for it.
        VerificationError: the bundle was changed.
        ZooError: safetensors is not installed.
    """
    bundle = Bundle.open(name)
    card = bundle.card
    rng = np.random.default_rng(seed)
    network = make(card.name, card.spec, card.task, len(card.labels), rng=rng)
    if pretrained:
        with needs_extra("train", "zoo.scratch.build"):
            from safetensors.numpy import load
        try:
            network.load_state_dict(current(card, load(bundle.read(WEIGHTS))))
        except DataError as error:
            raise VerificationError(f"bundle {bundle.path}: {error}") from None
    network.eval()
    return network


class Pipeline:
    """`zoo.network.pipeline.Pipeline` in NumPy: raw input in, outputs as on the card.

    Args:
        network: takes normalized float32 input, in eval mode.
        spec: the input's kind, mean and standard deviation.
        task: decides the outputs.
    """

    def __init__(self, network: Layer, spec: Spec, task: Task) -> None:
        self.network, self.spec, self.task = network, spec, task
        shape = (1, -1, 1, 1) if isinstance(spec, ImageSpec) else (1, -1)
        self.shift, self.scale = (
            (np.array(values) * spec.unit).astype(np.float32).reshape(shape)
            for values in (spec.mean, spec.std)
        )

    def normalize(self, inputs: Array) -> Array:
        """Map uint8 [N, H, W, C] to float32 [N, C, H, W], or float32 [N, columns] to itself.

        Raises:
            DataError: another shape or dtype than the card's.
        """
        tensor = self.spec.tensor
        expect(tensor.name, inputs, tensor.dtype, *tensor.shape)
        x = inputs.transpose(0, 3, 1, 2) if isinstance(self.spec, ImageSpec) else inputs
        x = x.astype(np.float32)
        x -= self.shift
        x /= self.scale
        return x

    def __call__(self, inputs: Array) -> tuple[Array, ...]:
        """Map raw input to (logits, probabilities) float32 [N, classes], or (prediction [N, 1],).

        inputs: uint8 [N, H, W, C] images or float32 [N, columns] features, any N.

        Raises:
            DataError: another shape or dtype than the card's.
        """
        starts = range(0, max(len(inputs), 1), _BATCH)
        parts = [self.network(self.normalize(inputs[i : i + _BATCH])) for i in starts]
        y = np.concatenate(parts)
        if self.task == "regression":
            return (y,)
        if self.task == "binary":  # logits [0, z]: their softmax is [1 - sigmoid(z), sigmoid(z)]
            y = np.concatenate([np.zeros_like(y), y], axis=1)
        return y, np.exp(log_softmax(y))
