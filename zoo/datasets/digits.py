"""Whether the pictures of a folder are digits, for `zoo.preparation` to find in each.

The names of the classes alone do not tell: photos of ten other things may be numbered too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo import images
from zoo.datasets import mnist
from zoo.errors import DataError
from zoo.spec import ImageSpec

SPEC = ImageSpec(1, 28, (0.0,), (1.0,), background="dark", centered=True)
#: Pictures of each class that are looked at, and the fraction of them that has to look like the
#: digit. Of hands and prints under difficult conditions 0.8 do, of MNIST's own 0.96; by chance 0.1.
_SAMPLE, _ENOUGH = 12, 0.5


def are_digits(paths: Sequence[Path], targets: NDArray[np.int64], labels: Sequence[str]) -> bool:
    """Say whether pictures show the digits after which their classes are named.

    They do if the classes are named 0 to 9, or some of these, and if what is found in a sample of
    the pictures is mostly nearest to a training image of MNIST's digit of that name.

    Args:
        paths: of the pictures.
        targets: int64 [n], their class numbers.
        labels: the names of the classes.
    """
    if not set(labels) <= set("0123456789"):
        return False
    train = mnist.load().train
    known, digits = _vectors(train.inputs[::10]), train.targets[::10]
    fractions = []
    for number, label in enumerate(labels):
        own = np.flatnonzero(targets == number)
        chosen = own[np.linspace(0, len(own) - 1, min(_SAMPLE, len(own))).astype(int)]
        prepared = [image for index in chosen if (image := _prepared(paths[index])) is not None]
        if not prepared:
            return False
        nearest = digits[np.argmax(_vectors(np.stack(prepared)) @ known.T, axis=1)]
        fractions.append(np.count_nonzero(nearest == int(label)) / len(chosen))
    return float(np.mean(fractions)) > _ENOUGH


def _prepared(path: Path) -> NDArray[np.uint8] | None:
    try:
        return images.decode(path.read_bytes(), SPEC)
    except (DataError, OSError):
        return None


def _vectors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images, [n, 28, 28, 1], blurred a little, as vectors of mean 0 and length 1."""
    padded = np.pad(pixels[..., 0], ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    blurred = sum(padded[:, y : y + 28, x : x + 28] for y in range(3) for x in range(3))
    vectors: NDArray[np.float32] = np.asarray(blurred).reshape(len(pixels), -1)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
