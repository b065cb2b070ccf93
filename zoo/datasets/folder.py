"""A folder of class folders as a dataset: `root/cat/1.png`, `root/dog/old/2.jpg`, ...

`ImageFolder` is a `torch.utils.data.Dataset`, for a DataLoader; `read` reads all of it at once.
Images are decoded by `zoo.images`, so training sees what `zoo predict` sees. Imports torch.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from zoo import images
from zoo.errors import DataError
from zoo.files import readable
from zoo.spec import ImageSpec


class ImageFolder(Dataset[tuple[NDArray[np.uint8], int]]):
    """Images in class folders; item i is (uint8 [size, size, channels], int class number).

    Every file with an image's suffix below a class folder counts, however deep; hidden files and
    folders do not.

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
        DataError: no such folder, fewer than 2 class folders, one without images. And from an
            item: its file cannot be read; the path and the reason.
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
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
        classes = sorted(path for path in root.iterdir() if _visible(path) and path.is_dir())
        if len(classes) < 2:
            found = f"only {classes[0].name!r}" if classes else "none"
            raise DataError(f"{root}: expected at least 2 class folders, found {found}")
        self.labels = tuple(readable(path.name) for path in classes)
        files = [_files(path) for path in classes]
        for label, own in zip(self.labels, files, strict=True):
            if not own:
                raise DataError(f"{root}: class folder {label!r} holds no images")
        self.paths = [path for own in files for path in own]
        self.targets = np.repeat(np.arange(len(files), dtype=np.int64), [len(own) for own in files])
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


class Folder(NamedTuple):
    """The images of a folder.

    inputs: uint8 [n, size, size, channels]; targets: int64 [n]; labels: the classes' names;
    errors: (path, reason) of each file that could not be read; digests: (path, SHA-256 of its
    bytes) of every file, in the order of `ImageFolder.paths`.
    """

    inputs: NDArray[np.uint8]
    targets: NDArray[np.int64]
    labels: tuple[str, ...]
    errors: list[tuple[Path, str]]
    digests: list[tuple[Path, bytes]]


def read(root: str | os.PathLike[str], **options: Any) -> Folder:
    """Read a folder of class folders into arrays; each file is read once.

    Args:
        root: the folder that holds the class folders.
        options: size, channels, background, centered and invert, as `ImageFolder` takes them.

    Raises:
        DataError: as `ImageFolder`, or a class of which no image can be read. A single file that
            cannot be read is in `errors` instead.
    """
    root = Path(root)
    folder = ImageFolder(root, **options)
    arrays: list[NDArray[np.uint8]] = []
    targets: list[int] = []
    failed: list[tuple[int, Path, str]] = []
    digests: list[tuple[Path, bytes]] = []
    for path, target in zip(folder.paths, folder.targets.tolist(), strict=True):
        data = b""
        try:
            data = path.read_bytes()
            arrays.append(images.decode(data, folder.spec, invert=folder.invert))
            targets.append(target)
        except DataError as error:
            failed.append((target, path, str(error)))
        except OSError as error:
            failed.append((target, path, f"cannot be read ({error.strerror or error})"))
        digests.append((path, hashlib.sha256(data).digest()))
    read_classes = set(targets)
    for target, path, reason in failed:
        if target not in read_classes:
            label = folder.labels[target]
            raise DataError(f"class {label!r}: no image can be read; {path}: {reason}")
    errors = [(path, reason) for _, path, reason in failed]
    return Folder(np.stack(arrays), np.array(targets, np.int64), folder.labels, errors, digests)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in images.SUFFIXES
        and all(_visible(Path(part)) for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")
