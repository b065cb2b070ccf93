"""A folder of class folders, read without torch: `root/cat/1.png`, `root/dog/old/2.jpg`, ...

Every picture below a class folder counts, however deep and whatever its name: content decides.
What is passed over is counted. `zoo.datasets.folder` has the same for a DataLoader of torch.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo import images
from zoo.errors import DataError
from zoo.files import is_left_about, passed_over, readable
from zoo.spec import ImageSpec

#: Names of folders that are a part of the data, in any case, and no class.
PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


@dataclass
class Classes:
    """The pictures of a folder of class folders.

    Attributes:
        root: the folder.
        labels: the names of the class folders, sorted; a class number is an index of it.
        paths: the files, class by class, sorted in each.
        targets: int64 [n], their class numbers.
        unread: sub-folders that cannot be read, each with the reason.
        passed_over: how many files are no pictures, by suffix.
    """

    root: Path
    labels: tuple[str, ...] = ()
    paths: list[Path] = field(default_factory=list)
    targets: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    unread: list[tuple[Path, str]] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


class Folder(NamedTuple):
    """The images of a folder.

    inputs: uint8 [n, size, size, channels]; targets: int64 [n]; labels: the classes' names;
    errors: (path, reason) of each file or folder that could not be read; digests: (path, SHA-256
    of its bytes) of every file, in the order of `Classes.paths`; passed_over: files that are no
    pictures, by suffix.
    """

    inputs: NDArray[np.uint8]
    targets: NDArray[np.int64]
    labels: tuple[str, ...]
    errors: list[tuple[Path, str]]
    digests: list[tuple[Path, bytes]]
    passed_over: Counter[str]


def parts(root: Path) -> dict[str, Path]:
    """Find the folders of a split: `train`, `validation` and `test`, in any case or by a synonym.

    A folder is a part if it holds class folders; one without them may be a class that is called so.

    Returns:
        Those there are; empty where the folder is not split.

    Raises:
        DataError: two folders for one part, or parts without class folders.
    """
    folders = _folders(root)
    named = {
        part: [folder for folder in folders if folder.name.lower() in names]
        for part, names in PARTS.items()
    }
    found = {}
    for part, some in named.items():
        split = [folder for folder in some if _folders(folder)]
        if len(split) > 1:
            names = " and ".join(f"{folder.name}/" for folder in split)
            raise DataError(f"{root}: {names} are both the {part} part, expected one")
        if split:
            found[part] = split[0]
    if not found and len(folders) > 1 and len(folders) == sum(map(len, named.values())):
        names = " and ".join(f"{folder.name}/" for folder in folders)
        raise DataError(f"{root}: {names} hold no class folders")
    return found


def others(root: Path, found: dict[str, Path]) -> list[str]:
    """Return the names of the folders that are no part of a split folder."""
    return [folder.name for folder in _folders(root) if folder not in found.values()]


def find(root: str | os.PathLike[str], least: int = 2) -> Classes:
    """Find the pictures of a folder of class folders; linked folders are followed, each once.

    Raises:
        DataError: no such folder, fewer than `least` class folders, one without images or with
            a blank name.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    folders = _folders(root)
    if len(folders) < least:
        found = f"only {folders[0].name!r}" if folders else "none"
        raise DataError(f"{root}: expected at least {least} class folders, found {found}")
    classes = Classes(root, tuple(readable(folder.name) for folder in folders))
    if blank := [name for name in classes.labels if not name.strip()]:
        raise DataError(f"{root}: class folder {blank[0]!r} has a blank name")
    counts = []
    for label, folder in zip(classes.labels, folders, strict=True):
        passed = classes.passed_over.copy()
        paths = sorted(path for path in _walk(folder, classes) if _is_picture(path, classes))
        if not paths:
            reasons = [reason for path, reason in classes.unread if folder in (path, *path.parents)]
            why = reasons[:1] or [passed_over(classes.passed_over - passed)]
            raise DataError(
                f"{root}: class folder {label!r} holds no images{f' ({why[0]})' if why[0] else ''}"
            )
        classes.paths += paths
        counts.append(len(paths))
    for path in root.iterdir():  # beside the class folders: of no class
        if not path.is_dir() and not is_left_about(path.name):
            classes.passed_over[_suffix(path)] += 1
    classes.targets = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return classes


def read(classes: Classes, spec: ImageSpec, invert: images.Invert = "auto") -> Folder:
    """Read the pictures into arrays, each once and as `zoo predict` reads it.

    Raises:
        DataError: a class of which no image can be read. A single file that cannot be read is in
            `errors` instead.
    """
    arrays: list[NDArray[np.uint8]] = []
    targets: list[int] = []
    failed: list[tuple[int, Path, str]] = []
    digests: list[tuple[Path, bytes]] = []
    for path, target in zip(classes.paths, classes.targets.tolist(), strict=True):
        data = b""
        try:
            data = path.read_bytes()
            arrays.append(images.decode(data, spec, invert=invert))
            targets.append(target)
        except DataError as error:
            failed.append((target, path, str(error)))
        except OSError as error:
            failed.append((target, path, f"cannot be read ({error.strerror or error})"))
        digests.append((path, hashlib.sha256(data).digest()))
    read_classes = set(targets)
    for target, path, reason in failed:
        if target not in read_classes:
            label = classes.labels[target]
            raise DataError(f"class {label!r}: no image can be read; {path}: {reason}")
    errors = [*((path, reason) for _, path, reason in failed), *classes.unread]
    labels, numbers = classes.labels, np.array(targets, np.int64)
    return Folder(np.stack(arrays), numbers, labels, errors, digests, classes.passed_over)


def _walk(folder: Path, classes: Classes) -> Iterator[Path]:
    """Yield the files below a folder; what a link leads to a second time is not entered again."""

    def failed(error: OSError) -> None:
        reason = f"cannot be read ({error.strerror or error})"
        classes.unread.append((Path(os.fsdecode(error.filename)), reason))

    seen: set[tuple[int, int]] = set()
    for base, folders, names in os.walk(folder, onerror=failed, followlinks=True):
        status = os.stat(base)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(itertools.filterfalse(is_left_about, folders))
        yield from (Path(base, name) for name in names if not is_left_about(name))


def _is_picture(path: Path, classes: Classes) -> bool:
    """Say whether a file is a picture, by its name or its first bytes; count it if it is none."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        if regular and path.suffix.lower() in images.SUFFIXES:
            return True  # if it is damaged, that is an error, not a file passed over
        if regular:
            with path.open("rb") as file:
                if images.is_picture(file.read(32)):
                    return True
    except OSError as error:
        classes.unread.append((path, f"cannot be read ({error.strerror or error})"))
        return False
    classes.passed_over[_suffix(path) if regular else "that are no files"] += 1
    return False


def _suffix(path: Path) -> str:
    return path.suffix.lower() or "without a suffix"


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted; what systems leave about does not count."""
    try:
        return sorted(
            path for path in root.iterdir() if not is_left_about(path.name) and path.is_dir()
        )
    except OSError:
        return []  # whoever reads its files has the reason
