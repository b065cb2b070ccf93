"""MNIST, embedded: 70,000 handwritten digits, 28x28, light on dark."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from zoo.datasets import idx
from zoo.datasets.dataset import Dataset, Split
from zoo.errors import DataError
from zoo.spec import ImageSpec

FILES = Path(__file__).parent / "files" / "mnist"
#: Over the raw bytes of training images, training labels, test images, test labels.
SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"


def load_test() -> Split:
    """Load the 10,000 test images alone."""
    images = idx.read(FILES / "t10k-images-idx3-ubyte.gz")
    labels = idx.read(FILES / "t10k-labels-idx1-ubyte.gz")
    return Split(images[..., np.newaxis], labels.astype(np.int64))


def load() -> Dataset:
    """Load MNIST; two in 24 training images (22, 23, 46, 47, ...: 5,000) are for validation.

    Neighbors, since even and odd rows come from two groups of writers.

    Raises:
        DataError: a file is damaged or is not the original.
    """
    images = idx.read(FILES / "train-images-idx3-ubyte.gz")
    labels = idx.read(FILES / "train-labels-idx1-ubyte.gz")
    test = load_test()
    digest = hashlib.sha256()
    for array in (images, labels, test.inputs, test.targets.astype(np.uint8)):
        digest.update(array.data)
    if digest.hexdigest() != SHA256:
        raise DataError(f"{FILES}: these are not the original MNIST files; install the zoo again")
    images, targets = images[..., np.newaxis], labels.astype(np.int64)
    held_out = np.arange(len(images)) // 2 % 12 == 11
    return Dataset(
        name="mnist",
        source="MNIST, Y. LeCun, C. Cortes, C. J. C. Burges",
        license="CC BY-SA 3.0",
        sha256=SHA256,
        # The mean and standard deviation of all training pixels, as every tutorial has them.
        spec=ImageSpec(1, 28, mean=(0.1307,), std=(0.3081,), background="dark", centered=True),
        labels=tuple("0123456789"),
        train=Split(images[~held_out], targets[~held_out]),
        validation=Split(images[held_out], targets[held_out]),
        test=test,
    )
