"""Datasets of torchvision, by name; those that are not in the cache yet are downloaded to it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ZooError, last_line, needs_extra, unknown

#: The arguments of a torchvision class for its training and for its test part.
_BY_FLAG = ({"train": True}, {"train": False})
_BY_NAME = ({"split": "train"}, {"split": "test"})
_EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
#: Name -> torchvision's class, and its arguments for both parts.
_KNOWN: dict[str, tuple[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "mnist": ("MNIST", _BY_FLAG),
    "fashion-mnist": ("FashionMNIST", _BY_FLAG),
    "kmnist": ("KMNIST", _BY_FLAG),
    "qmnist": ("QMNIST", _BY_FLAG),
    "usps": ("USPS", _BY_FLAG),
    "cifar10": ("CIFAR10", _BY_FLAG),
    "cifar100": ("CIFAR100", _BY_FLAG),
    "svhn": ("SVHN", _BY_NAME),
    "stl10": ("STL10", _BY_NAME),
} | {
    f"emnist-{split}": ("EMNIST", tuple({"split": split} | flag for flag in _BY_FLAG))  # type: ignore[misc]  # mypy takes it for a tuple of any length
    for split in _EMNIST
}


class Raw(NamedTuple):
    """Images, uint8 [n, h, w, 1 or 3], with the source's own class numbers, int64 [n]."""

    images: NDArray[np.uint8]
    numbers: NDArray[np.int64]


def names() -> list[str]:
    """Return the known names, sorted."""
    return sorted(_KNOWN)


def cache() -> Path:
    """Return the folder that datasets are downloaded to."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "torch-tutorial-zoo"


def read(name: str) -> tuple[Raw, Raw, tuple[str, ...]]:
    """Return the training part, the test part and the classes' names (empty: their numbers).

    Raises:
        UsageError: unknown name. ZooError: it is not in the cache, and cannot be downloaded.
    """
    if name not in _KNOWN:
        raise unknown("data (there is no such file or folder)", name, names())
    kind, parts = _KNOWN[name]
    with needs_extra("train", f"data {name!r}"):
        from torchvision import datasets
    # Under torchrun several processes would write the same files: there they have to be cached.
    options = {"root": cache(), "download": "TORCHELASTIC_RUN_ID" not in os.environ}
    loaded = []
    try:
        with needs_extra("train", f"data {name!r}"), contextlib.redirect_stdout(sys.stderr):
            for part in parts:
                loaded.append(getattr(datasets, kind)(**options, **part))
    except (OSError, RuntimeError) as error:
        reason = last_line(error)
        raise ZooError(
            f"data {name!r} is not in {cache()} and cannot be downloaded ({reason})"
        ) from None
    train, test = (_raw(part, transposed=kind == "EMNIST") for part in loaded)
    return train, test, tuple(getattr(loaded[0], "classes", ()))


def _raw(part: Any, *, transposed: bool) -> Raw:
    """Read all images of a part; those of EMNIST are stored transposed."""
    rows = [(np.asarray(image), int(number)) for image, number in part]
    images = np.stack([image for image, _ in rows])
    images = images[..., np.newaxis] if images.ndim == 3 else images
    numbers = np.array([number for _, number in rows], np.int64)
    return Raw(images.swapaxes(1, 2) if transposed else images, numbers)
