"""A user's own data, whatever form it has, as a `Dataset`.

    zoo train cnn --data photos                     # a folder of class folders
    zoo train resnet --data fashion-mnist           # IDX files, or a dataset of torchvision
    zoo train logistic --data patients.csv --target diagnosis

What is not split already is split here, the same way each time and whatever the recipe's seed: a
tenth of each class is the test set, and a tenth of the rest is for validation.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import images
from zoo.datasets import csv, idx, torchvision
from zoo.datasets.dataset import Dataset, Split
from zoo.datasets.torchvision import Raw
from zoo.errors import DataError, UsageError, needs_extra
from zoo.recipe import Recipe
from zoo.spec import ImageSpec, Task

_SIZE = 28
#: The names of the folders, IDX files' beginnings and parts that hold what is not for training.
_HELD_OUT = ("test", "val", "valid", "validation")
#: The largest class may have so many times the images of the smallest; beyond, it is said.
_UNEVEN = 10
#: The one set of IDX files whose classes have names that no file beside them tells.
_FASHION = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip

Parts = dict[str, Split]


def load(recipe: Recipe, task: Task, *, images: bool) -> Dataset:
    """Load the data that a recipe names; see `zoo.datasets.chosen`.

    Images: a folder of class folders, or of `train/` and `test/` (or `val/`) with class folders;
    IDX files of MNIST's names, `.gz` or not, in a folder (in `labels.txt`: the classes' names, a
    line each); a name that torchvision knows. Tables: a CSV file with a header line.
    """
    path = Path(recipe.data)
    if images != (path.suffix.lower() != ".csv"):
        want = "a table: expected a .csv file"
        if images:
            want = "images: expected a folder of class folders, IDX files or a torchvision name"
        raise UsageError(f"this model takes {want}, given {path}")
    if not images:
        return _table(path, recipe, task)
    if recipe.target:
        raise UsageError(f"--target names a column of a .csv file, given {path}")
    if not path.exists():
        if path.name != recipe.data:
            raise DataError(f"{path}: no such file or folder")
        train, test, known = torchvision.read(recipe.data)
        return _arrays(recipe, f"torchvision's {recipe.data}", train, test, known)
    if path.is_file() or any(idx.looks_like_idx(each.name) for each in path.iterdir()):
        return _idx(path, recipe)
    return _folder(path, recipe.size or _SIZE)


def _table(path: Path, recipe: Recipe, task: Task) -> Dataset:
    target = recipe.target
    if recipe.size:
        raise UsageError(f"--size is for images, given {path}")
    names = [name for name in csv.header(path) if name]  # a nameless column is a row number
    if target not in names:
        given = f"found no column {target!r}" if target else "expected --target COLUMN"
        raise UsageError(f"{path}: {given}; its columns: {', '.join(names)}")
    labels: tuple[str, ...] = ()
    if task != "regression":
        labels = tuple(sorted({row[0] for row in csv.rows(path, [target])}))
        if len(labels) < 2 or (task == "binary" and len(labels) > 2):
            raise DataError(
                f"{path}: column {target!r} has {len(labels)} classes ({', '.join(labels[:5])}), "
                f"expected 2"
            )
    columns = [name for name in names if name != target]
    rows = Split(*csv.read(path, columns, target, labels))
    parts = _split({"train": rows}, path)
    if not labels and not all(np.ptp(part.targets) for part in parts.values()):
        raise DataError(f"{path}: too few rows, or {target!r} is the same in all of them")
    return _dataset(
        path.stem, str(path), labels, parts, csv.spec(columns, parts["train"].inputs),
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip


def _folder(path: Path, size: int) -> Dataset:
    with needs_extra("train", "a folder of class folders"):
        from zoo.datasets.folder import read
    held_out = [path / name for name in _HELD_OUT if (path / name).is_dir()]
    folders = {"train": path}
    if (path / "train").is_dir() and held_out:  # with both, val/ is what its name says
        folders = {"train": path / "train", "test": held_out[0]}
        if len(held_out) > 1:
            folders["validation"] = held_out[1]
    parts: Parts = {}
    labels: tuple[str, ...] = ()
    digest, errors = hashlib.sha256(), []
    for part, folder in folders.items():
        found = read(folder, size=size, channels=3)
        labels = labels or found.labels
        numbers = _numbers(found.labels, labels, folder)
        parts[part] = Split(found.inputs, numbers[found.targets])
        errors += found.errors
        for file, content in found.digests:
            digest.update(os.fsencode(f"{file.relative_to(path).as_posix()}\0"))
            digest.update(content)
    notes = []
    if errors:
        file, reason = errors[0]
        total = len(errors) + sum(len(part.targets) for part in parts.values())
        notes.append(f"{len(errors):,} of {total:,} files cannot be read, first {file}: {reason}")
    return _pictures(path.name, str(path), labels, parts, digest.hexdigest(), notes)


def _numbers(found: Sequence[Any], known: Sequence[Any], where: object) -> NDArray[np.int64]:
    """Return the place of each class found among those of the training part."""
    places = {label: place for place, label in enumerate(known)}
    if new := [label for label in found if label not in places]:
        raise DataError(f"{where}: class {new[0]!r} is not among those to train on")
    return np.array([places[label] for label in found], np.int64)


def _idx(path: Path, recipe: Recipe) -> Dataset:
    folder = path if path.is_dir() else path.parent
    names = {file.name.removesuffix(".gz"): file for file in sorted(folder.iterdir())}
    first = "train-images-idx3-ubyte"
    begins = {name.removesuffix(first) for name in names if name.endswith(first)}
    if path.is_file():
        begins &= {path.name.removesuffix(".gz").removesuffix(first)}
    if len(begins) != 1:
        found = f"found several: {', '.join(sorted(begins))}" if begins else "found none"
        raise DataError(f"{path}: expected IDX files named {first} (.gz) and so on, {found}")
    (begin,) = begins

    def read(part: str) -> Raw | None:
        kinds = ("images-idx3", "labels-idx1")
        files = [names.get(f"{begin}{part}-{kind}-ubyte") for kind in kinds]
        if files == [None, None]:
            return None
        if None in files:
            raise DataError(f"{folder}: expected {begin}{part}-images and -labels, found one")
        pixels, numbers = (idx.read(file) for file in files if file)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or numbers.shape != pixels.shape[:1]:
            given = f"{pixels.dtype} {list(pixels.shape)} and {list(numbers.shape)}"
            raise DataError(f"{files[0]}: expected uint8 [n, height, width] and [n], found {given}")
        return Raw(pixels[..., np.newaxis], numbers.astype(np.int64))

    train = read("train")
    assert train is not None
    known: tuple[str, ...] = ()
    if (file := folder / "labels.txt").is_file():
        known = tuple(line.strip() for line in file.read_text("utf-8", "replace").splitlines())
    return _arrays(recipe, str(path), train, read("t10k") or read("test"), known)


def _arrays(
    recipe: Recipe, source: str, train: Raw, test: Raw | None, known: Sequence[str]
) -> Dataset:
    """Make a dataset of images with class numbers; class n has the n-th of the known names."""
    raw = {"train": train} | ({"test": test} if test else {})
    digest = hashlib.sha256()
    for pixels, numbers in raw.values():
        digest.update(np.ascontiguousarray(pixels).data)
        digest.update(numbers.astype(np.uint8).data)
    known = known or (_CLOTHES if digest.hexdigest() == _FASHION else ())
    values = np.unique(train.numbers).tolist()
    if known and (max(values) >= len(known) or len(set(known)) < len(known)):
        raise DataError(f"{source}: expected {max(values) + 1} names of classes, all different")
    labels = tuple(known[value] if known else str(value) for value in values)
    spec = ImageSpec(train.images.shape[-1], recipe.size or max(train.images.shape[1:3]), (), ())
    parts = {
        part: Split(_scaled(pixels, spec), _numbers(numbers.tolist(), values, f"{source}, {part}"))
        for part, (pixels, numbers) in raw.items()
    }
    return _pictures(Path(recipe.data).name, source, labels, parts, digest.hexdigest(), [])


def _scaled(pixels: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    if pixels.shape[1:3] == (spec.size, spec.size):
        return np.ascontiguousarray(pixels)
    return np.stack([images.scale(image, spec) for image in pixels])


def _pictures(
    name: str, source: str, labels: tuple[str, ...], parts: Parts, sha256: str, notes: list[str]
) -> Dataset:
    """Make a dataset of images: in gray if all are; normalized by the pixels to train on."""
    if len(labels) < 2:
        raise DataError(f"{source}: expected at least 2 classes, found {len(labels)}")
    if all((part.inputs == part.inputs[..., :1]).all() for part in parts.values()):
        parts = {
            key: Split(np.ascontiguousarray(part.inputs[..., :1]), part.targets)
            for key, part in parts.items()
        }
    parts = _split(parts, source)
    pixels = parts["train"].inputs
    mean = pixels.mean(axis=(0, 1, 2), dtype=np.float64)
    squares = np.square(pixels, dtype=np.uint16).mean(axis=(0, 1, 2), dtype=np.float64)
    std = np.sqrt(squares - mean**2)
    spec = ImageSpec(
        channels=pixels.shape[-1],
        size=pixels.shape[1],
        mean=tuple((mean / ImageSpec.unit).tolist()),
        std=tuple((np.where(std > 0, std / ImageSpec.unit, 1.0)).tolist()),
        background=_background(parts),
    )
    counts = np.bincount(parts["train"].targets, minlength=len(labels))
    if counts.max() > _UNEVEN * counts.min():
        few, many = int(counts.argmin()), int(counts.argmax())
        notes.append(
            f"classes are uneven: {counts[many]:,} images of {labels[many]!r} to train on, "
            f"{counts[few]:,} of {labels[few]!r}; --set sampler=balanced draws them equally often"
        )
    for key in ("validation", "test"):
        missing = set(range(len(labels))) - set(parts[key].targets.tolist())
        if missing:
            found = ", ".join(labels[place] for place in sorted(missing))
            notes.append(f"classes without an image in the {key} part: {found}")
    return _dataset(name, source, labels, parts, spec, sha256, notes)


def _background(parts: Parts) -> Literal["dark", "any"]:
    """Say "dark" of light strokes on black, where that turns no image of these around.

    Then `zoo predict` inverts what is dark on light; photos stay as they are.
    """
    for part in parts.values():
        edge = images.border(part.inputs).mean(axis=(-1, -2))
        if part.inputs.shape[-1] != 1 or edge.max() > 127.5 or edge.mean() > 32:
            return "any"
    return "dark"


def _split(parts: Parts, source: object) -> Parts:
    """Return the three parts; those that are not there are taken from the training part."""
    parts = dict(parts)
    for key in ("test", "validation"):
        if key not in parts:
            inputs, targets = parts["train"]
            held = _tenth(targets)
            parts["train"] = Split(inputs[~held], targets[~held])
            parts[key] = Split(inputs[held], targets[held])
        if not len(parts[key].targets):
            raise DataError(f"{source}: too little data, nothing is left for the {key} part")
    return parts


def _tenth(targets: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark a tenth of the rows of each class: at least one, but not the only one."""
    held = np.zeros(len(targets), bool)
    classes = targets if targets.dtype == np.int64 else np.zeros(len(targets), np.int64)
    for label in np.unique(classes):
        # RandomState: its numbers are the same in all versions of NumPy
        rows = np.random.RandomState(0).permutation(np.flatnonzero(classes == label))
        held[rows[: max(1, round(len(rows) / 10)) if len(rows) > 1 else 0]] = True
    return held


def _dataset(
    name: str, source: str, labels: tuple[str, ...], parts: Parts, spec: Any, sha256: str,
    notes: Sequence[str] = (),
) -> Dataset:  # fmt: skip
    return Dataset(
        name=name, source=source, license="unknown", sha256=sha256, spec=spec, labels=labels,
        **parts, notes=tuple(notes),
    )  # fmt: skip
