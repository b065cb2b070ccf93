"""Datasets of torchvision, by name; what is not in the cache yet is downloaded to it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ZooError, last_line, needs_extra, unknown

#: Name -> torchvision's class, and how it is asked for its training and for its test part.
_BY_FLAG = ({"train": True}, {"train": False})
_BY_NAME = ({"split": "train"}, {"split": "test"})
_EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
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
    """Images with their class numbers, as the source counts: uint8 [n, h, w, 1 or 3], int64 [n]."""

    images: NDArray[np.uint8]
    numbers: NDArray[np.int64]


def names() -> list[str]:
    """Return the known names, sorted."""
    return sorted(_KNOWN)


def cache() -> Path:
    """Return the folder of what was downloaded."""
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
    # Under torchrun several processes would write the same files: there they must be cached.
    here = {"root": cache(), "download": "TORCHELASTIC_RUN_ID" not in os.environ}
    found = []
    try:
        with needs_extra("train", f"data {name!r}"), contextlib.redirect_stdout(sys.stderr):
            for part in parts:
                found.append(getattr(datasets, kind)(**here, **part))
    except (OSError, RuntimeError) as error:
        reason = last_line(error)
        raise ZooError(
            f"data {name!r} is not in {cache()} and cannot be downloaded ({reason})"
        ) from None
    train, test = (_raw(part, turned=kind == "EMNIST") for part in found)
    return train, test, tuple(getattr(found[0], "classes", ()))


def _raw(part: Any, *, turned: bool) -> Raw:
    """Read a part whole; EMNIST's images lie on their side, mirrored."""
    rows = [(np.asarray(image), int(number)) for image, number in part]
    images = np.stack([image for image, _ in rows])
    images = images[..., np.newaxis] if images.ndim == 3 else images
    numbers = np.array([number for _, number in rows], np.int64)
    return Raw(images.swapaxes(1, 2) if turned else images, numbers)
