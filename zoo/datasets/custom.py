"""Custom data: folders of images, IDX files, CSV files and torchvision's datasets as a `Dataset`.

    zoo train cnn --data photos                     # a folder of class folders
    zoo train resnet --data fashion-mnist           # IDX files, or a dataset of torchvision
    zoo train logistic --data patients.csv --target diagnosis

Data that are not split yet are split here, always in the same way, whatever the recipe's seed: a
tenth of each class is the test set, and a tenth of the rest is the validation split.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import images, preparation
from zoo.datasets import csv, digits, idx, torchvision
from zoo.datasets.dataset import Dataset, Split
from zoo.datasets.torchvision import Raw
from zoo.errors import DataError, UsageError, needs_extra
from zoo.recipe import Recipe
from zoo.spec import ImageSpec, Task

#: The side in pixels of the images of a folder, unless the recipe has another.
_SIZE = 28
#: Names of folders that hold images to test or validate on.
_HELD_OUT = ("test", "val", "valid", "validation")
#: A note is made if the largest class has more than this many times the images of the smallest.
_UNEVEN = 10
#: SHA-256 of Fashion-MNIST: IDX files do not hold the names of the classes, these have well-known
#: ones.
_FASHION = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"
_FASHION_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip

Parts = dict[str, Split]


def load(recipe: Recipe, task: Task, *, images: bool) -> Dataset:
    """Load the data that a recipe names; see `zoo.datasets.chosen`.

    Images: a folder of class folders, or of `train/` and `test/` (or `val/`) with class folders;
    a folder of IDX files named like MNIST's, `.gz` or not, with the names of the classes in the
    lines of `labels.txt`; the name of a torchvision dataset. Tables: a CSV file with a header line.
    """
    path = Path(recipe.data)
    if images != (path.suffix.lower() != ".csv"):
        expected = "a table: expected a .csv file"
        if images:
            expected = "images: expected a folder of class folders, IDX files or a torchvision name"
        raise UsageError(f"this model takes {expected}, given {path}")
    if not images:
        return _table(path, recipe, task)
    if recipe.target:
        raise UsageError(f"--target names a column of a .csv file, given {path}")
    if not path.exists():
        if path.name != recipe.data:
            raise DataError(f"{path}: no such file or folder")
        train, test, labels = torchvision.read(recipe.data)
        return _arrays(recipe, f"torchvision's {recipe.data}", train, test, labels)
    if path.is_file() or any(idx.looks_like_idx(file.name) for file in path.iterdir()):
        return _idx(path, recipe)
    return _folder(path, recipe)


def _table(path: Path, recipe: Recipe, task: Task) -> Dataset:
    target = recipe.target
    if recipe.size:
        raise UsageError(f"--size is for images, given {path}")
    names = [name for name in csv.header(path) if name]  # a column without a name: row numbers
    if target not in names:
        problem = f"there is no column {target!r}" if target else "expected --target COLUMN"
        raise UsageError(f"{path}: {problem}; its columns: {', '.join(names)}")
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


def _folder(path: Path, recipe: Recipe) -> Dataset:
    with needs_extra("train", "a folder of class folders"):
        from zoo.datasets.folder import ImageFolder, read
    held_out = [path / name for name in _HELD_OUT if (path / name).is_dir()]
    folders = {"train": path}
    if (path / "train").is_dir() and held_out:  # with both, val/ is what its name says
        folders = {"train": path / "train", "test": held_out[0]}
        if len(held_out) > 1:
            folders["validation"] = held_out[1]
    parts: Parts = {}
    labels: tuple[str, ...] = ()
    digest, errors = hashlib.sha256(), []
    how: dict[str, Any] = {"channels": 3}  # if all are gray, _pictures makes them so
    listed = ImageFolder(folders["train"])
    are_digits = recipe.prepare == "auto" and digits.are_digits(
        listed.paths, listed.targets, listed.labels
    )
    if are_digits:
        how = {"channels": 1, "background": "dark", "centered": True}
    for part, folder in folders.items():
        contents = read(folder, size=recipe.size or _SIZE, **how)
        labels = labels or contents.labels
        numbers = _class_numbers(contents.labels, labels, folder)
        parts[part] = Split(contents.inputs, numbers[contents.targets])
        errors += contents.errors
        for file, file_digest in contents.digests:
            digest.update(os.fsencode(f"{file.relative_to(path).as_posix()}\0"))
            digest.update(file_digest)
    notes = []
    if errors:
        file, reason = errors[0]
        total = len(errors) + sum(len(part.targets) for part in parts.values())
        notes.append(f"{len(errors):,} of {total:,} files cannot be read, first {file}: {reason}")
    if are_digits:
        notes.append(
            "the pictures are digits: each is found, scaled and centered as in MNIST, here and by "
            "zoo predict; --set prepare=none leaves them as they are"
        )
    return _pictures(recipe, str(path), labels, parts, digest.hexdigest(), notes, are_digits)


def _class_numbers(
    classes: Sequence[Any], training: Sequence[Any], source: object
) -> NDArray[np.int64]:
    """Return the number of each class, which is its index among the classes to train on."""
    numbers = {label: number for number, label in enumerate(training)}
    if new := [label for label in classes if label not in numbers]:
        raise DataError(f"{source}: class {new[0]!r} is not among those to train on")
    return np.array([numbers[label] for label in classes], np.int64)


def _idx(path: Path, recipe: Recipe) -> Dataset:
    folder = path if path.is_dir() else path.parent
    names = {file.name.removesuffix(".gz"): file for file in sorted(folder.iterdir())}
    first = "train-images-idx3-ubyte"
    prefixes = {name.removesuffix(first) for name in names if name.endswith(first)}
    if path.is_file():
        prefixes &= {path.name.removesuffix(".gz").removesuffix(first)}
    if len(prefixes) != 1:
        count = (
            f"there are several: {', '.join(sorted(prefixes))}" if prefixes else "there are none"
        )
        raise DataError(f"{path}: expected IDX files named {first} (.gz) and so on, {count}")
    (prefix,) = prefixes

    def read(part: str) -> Raw | None:
        kinds = ("images-idx3", "labels-idx1")
        files = [names.get(f"{prefix}{part}-{kind}-ubyte") for kind in kinds]
        if files == [None, None]:
            return None
        if None in files:
            raise DataError(f"{folder}: expected {prefix}{part}-images and -labels, one is missing")
        pixels, numbers = (idx.read(file) for file in files if file)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or numbers.shape != pixels.shape[:1]:
            shapes = f"{pixels.dtype} {list(pixels.shape)} and {list(numbers.shape)}"
            raise DataError(f"{files[0]}: expected uint8 [n, height, width] and [n], not {shapes}")
        return Raw(pixels[..., np.newaxis], numbers.astype(np.int64))

    train = read("train")
    assert train is not None
    labels: tuple[str, ...] = ()
    if (file := folder / "labels.txt").is_file():
        labels = tuple(line.strip() for line in file.read_text("utf-8", "replace").splitlines())
    return _arrays(recipe, str(path), train, read("t10k") or read("test"), labels)


def _arrays(
    recipe: Recipe, source: str, train: Raw, test: Raw | None, names: Sequence[str]
) -> Dataset:
    """Build a dataset of images with class numbers; class n has the n-th of the names."""
    raw = {"train": train} | ({"test": test} if test else {})
    digest = hashlib.sha256()
    for pixels, numbers in raw.values():
        digest.update(np.ascontiguousarray(pixels).data)
        digest.update(numbers.astype(np.uint8).data)
    names = names or (_FASHION_LABELS if digest.hexdigest() == _FASHION else ())
    classes = np.unique(train.numbers).tolist()
    if names and (max(classes) >= len(names) or len(set(names)) < len(names)):
        raise DataError(f"{source}: expected {max(classes) + 1} names of classes, all different")
    labels = tuple(names[number] if names else str(number) for number in classes)
    spec = ImageSpec(train.images.shape[-1], recipe.size or max(train.images.shape[1:3]), (), ())
    parts = {
        part: Split(
            _scaled(pixels, spec), _class_numbers(numbers.tolist(), classes, f"{source}, {part}")
        )
        for part, (pixels, numbers) in raw.items()
    }
    return _pictures(recipe, source, labels, parts, digest.hexdigest(), [])


def _scaled(pixels: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    if pixels.shape[1:3] == (spec.size, spec.size):
        return np.ascontiguousarray(pixels)
    return np.stack([images.scale(image, spec) for image in pixels])


def _pictures(
    recipe: Recipe, source: str, labels: tuple[str, ...], parts: Parts, sha256: str,
    notes: list[str], are_digits: bool = False,
) -> Dataset:  # fmt: skip
    """Build a dataset of images: gray if all of them are, normalized by the training pixels.

    With `are_digits` the images are light on dark and centered as in MNIST.
    """
    if len(labels) < 2:
        raise DataError(f"{source}: expected at least 2 classes, found {len(labels)}")
    if all((part.inputs == part.inputs[..., :1]).all() for part in parts.values()):
        parts = {
            key: Split(np.ascontiguousarray(part.inputs[..., :1]), part.targets)
            for key, part in parts.items()
        }
    background: Literal["dark", "any"] = "dark" if are_digits else _background(parts)
    centered = are_digits
    if recipe.prepare == "auto" and background == "dark" and not are_digits:
        centered = preparation.are_centered(parts["train"].inputs)
        if centered:
            parts = _prepared(parts, notes)
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
        background=background,
        centered=centered,
    )
    counts = np.bincount(parts["train"].targets, minlength=len(labels))
    if counts.max() > _UNEVEN * counts.min():
        rarest, largest = int(counts.argmin()), int(counts.argmax())
        notes.append(
            f"classes are uneven: {counts[largest]:,} images of {labels[largest]!r} to train on, "
            f"{counts[rarest]:,} of {labels[rarest]!r}; "
            f"--set sampler=balanced draws them equally often"
        )
    for key in ("validation", "test"):
        missing = set(range(len(labels))) - set(parts[key].targets.tolist())
        if missing:
            names = ", ".join(labels[number] for number in sorted(missing))
            notes.append(f"classes without an image in the {key} part: {names}")
    name = Path(recipe.data).name
    return _dataset(name, source, labels, parts, spec, sha256, notes)


def _prepared(parts: Parts, notes: list[str]) -> Parts:
    """Prepare images as `zoo predict` will; those without a digit, which it refuses, go."""
    size = parts["train"].inputs.shape[1]
    spec = ImageSpec(1, size, (0.0,), (1.0,), background="dark", centered=True)
    prepared: Parts = {}
    missing = 0
    for key, part in parts.items():
        inputs, errors = images.fit(part.inputs, spec)
        if any(errors):
            good = np.array([error is None for error in errors])
            missing += int((~good).sum())
            inputs, part = inputs[good], Split(inputs[good], part.targets[good])
        prepared[key] = Split(inputs, part.targets)
    if missing:
        notes.append(f"images without a digit, which are left out: {missing:,}")
    return prepared


def _background(parts: Parts) -> Literal["dark", "any"]:
    """Return "dark" for light strokes on black, if none of these images would be inverted then.

    With "dark", `zoo predict` inverts images that are dark on light; photos stay as they are.
    """
    for part in parts.values():
        edge = images.border(part.inputs).mean(axis=(-1, -2))
        if part.inputs.shape[-1] != 1 or edge.max() > 127.5 or edge.mean() > 32:
            return "any"
    return "dark"


def _split(parts: Parts, source: object) -> Parts:
    """Return the three parts; those that are missing are taken from the training part."""
    parts = dict(parts)
    for key in ("test", "validation"):
        if key not in parts:
            inputs, targets = parts["train"]
            held_out = _tenth(targets)
            parts["train"] = Split(inputs[~held_out], targets[~held_out])
            parts[key] = Split(inputs[held_out], targets[held_out])
        if not len(parts[key].targets):
            raise DataError(f"{source}: too little data, nothing is left for the {key} part")
    return parts


def _tenth(targets: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of a tenth of the rows of each class: at least one, but never the only one."""
    held_out = np.zeros(len(targets), bool)
    classes = targets if targets.dtype == np.int64 else np.zeros(len(targets), np.int64)
    for label in np.unique(classes):
        # RandomState draws the same numbers in all versions of NumPy, a Generator does not
        rows = np.random.RandomState(0).permutation(np.flatnonzero(classes == label))
        held_out[rows[: max(1, round(len(rows) / 10)) if len(rows) > 1 else 0]] = True
    return held_out


def _dataset(
    name: str, source: str, labels: tuple[str, ...], parts: Parts, spec: Any, sha256: str,
    notes: Sequence[str] = (),
) -> Dataset:  # fmt: skip
    return Dataset(
        name=name, source=source, license="unknown", sha256=sha256, spec=spec, labels=labels,
        **parts, notes=tuple(notes),
    )  # fmt: skip
