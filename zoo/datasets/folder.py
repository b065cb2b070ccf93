"""A folder of class folders as a dataset: `root/cat/1.png`, `root/dog/old/2.jpg`, ...

`ImageFolder` is a `torch.utils.data.Dataset`, for a DataLoader; `zoo.datasets.classes` finds and
reads the files, and needs no torch; `read` reads all of them at once.
Images are decoded by `zoo.images`, so training sees what `zoo predict` sees. Imports torch.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from zoo import images
from zoo.datasets import classes
from zoo.datasets.classes import Folder
from zoo.errors import DataError
from zoo.spec import ImageSpec


class ImageFolder(Dataset[tuple[NDArray[np.uint8], int]]):
    """Images in class folders; item i is (uint8 [size, size, channels], int class number).

    Every picture below a class folder counts, however deep; hidden files and folders do not.

    Args:
        root: the folder that holds the class folders.
        size: the side of the square that every image becomes.
        channels: 1 for gray, 3 for RGB.
        background: "dark" if the model is to see only light strokes on a dark background.
        centered: whether the digit in a picture is found, scaled and centered as in MNIST.
        invert: as in `zoo.images.decode`.

    Attributes:
        labels: the names of the class folders, sorted; a class number is an index of it.
        paths: the files, class by class, sorted in each.
        targets: int64 [n], their class numbers.
        spec: what `zoo.images` decodes to.

    Raises:
        DataError: as `zoo.datasets.classes.find`. And from an item: its file cannot be read; the
            path and the reason.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        size: int = 28,
        channels: int = 1,
        background: Literal["dark", "any"] = "any",
        centered: bool = False,
        invert: images.Invert = "auto",
    ) -> None:
        self._found = classes.find(root)
        self.labels, self.paths = self._found.labels, self._found.paths
        self.targets = self._found.targets
        mean, std = (0.0,) * channels, (1.0,) * channels
        self.spec = ImageSpec(channels, size, mean, std, background, centered)
        self.invert = invert

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        path = self.paths[index]
        try:  # by its bytes, as `zoo predict` does
            array = images.decode(path.read_bytes(), self.spec, invert=self.invert)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        return np.array(array), int(self.targets[index])  # a copy: torch wants a writable one


def read(root: str | os.PathLike[str], **options: Any) -> Folder:
    """Read a folder of class folders into arrays; each file is read once.

    Args:
        root: the folder that holds the class folders.
        options: size, channels, background, centered and invert, as `ImageFolder` takes them.

    Raises:
        DataError: as `ImageFolder`, or a class of which no image can be read. A single file that
            cannot be read is in `errors` instead.
    """
    folder = ImageFolder(root, **options)
    return classes.read(folder._found, folder.spec, folder.invert)
