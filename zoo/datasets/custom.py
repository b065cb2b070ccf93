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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import files, hardware, images, preparation
from zoo.datasets import classes, columns, csv, digits, labelled, parquet, torchvision
from zoo.datasets.dataset import Dataset, Split
from zoo.errors import DataError, UsageError, listed, nearest
from zoo.recipe import Recipe
from zoo.spec import ImageSpec, Task

#: The side in pixels of the images of a folder, unless the recipe has another.
_SIZE = 28
_USES = {"train": "training", "validation": "validation", "test": "test"}
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
    files of arrays, see `zoo.datasets.labelled`; the name of a torchvision dataset. Tables: a CSV
    file with a header line, or a Parquet file.
    """
    path = Path(recipe.data)
    if recipe.drop and images:
        raise UsageError(f"--drop is for the columns of a table, given {path}")
    if not images:
        return _table(path, recipe, task)
    if not path.exists():
        named = recipe.data in torchvision.names()
        if path.name != recipe.data or (recipe.target and not named):
            raise DataError(f"{path}: no such file or folder")
        if recipe.target:
            raise UsageError(f"--target names a column of a table, given images: {path}")
        train, test, labels = torchvision.read(recipe.data)
        raw = labelled.Arrays({"train": train, "test": test}, labels)
        return _arrays(recipe, f"torchvision's {recipe.data}", raw)
    if (arrays := labelled.read(path, recipe.target, size=recipe.size)) is not None:
        return _arrays(recipe, str(path), arrays)
    if recipe.target:
        raise UsageError(f"--target names a column of a table, given images: {path}")
    return _folder(path, recipe)


def is_table(recipe: Recipe) -> bool:
    """Say whether a recipe's data are a table, for a model that takes images, too."""
    path = Path(recipe.data)
    if not recipe.target or not path.is_file():
        return False
    if csv.looks_like_csv(path.name):
        return True  # a CSV file of pixels has no --target
    return path.suffix.lower() == ".parquet" and not parquet.has_images(path)


def table_of(path: Path) -> Any:
    """Return the module that reads a table: `header` and `lines`.

    Raises:
        UsageError: neither CSV nor Parquet.
    """
    if csv.looks_like_csv(path.name):
        return csv
    if path.suffix.lower() == ".parquet":
        return parquet
    raise UsageError(f"this model takes a table: expected a .csv file (or .parquet), given {path}")


def _table(path: Path, recipe: Recipe, task: Task) -> Dataset:
    target = recipe.target
    table = table_of(path)
    if recipe.size:
        raise UsageError(f"--size is for images, given {path}")
    names = [name for name in table.header(path) if name]  # a column without a name: row numbers
    if target not in names:
        problem = f"there is no column {target!r}" if target else "expected --target COLUMN"
        hint = nearest(target, names)
        raise UsageError(f"{path}: {problem}; its columns: {listed(names)}.{hint}")
    labels: tuple[str, ...] = ()
    if task != "regression":
        labels = csv.classes(table.lines, path, target)
        if len(labels) < 2 or (task == "binary" and len(labels) > 2):
            expected = "2 (softmax takes more)" if task == "binary" else "at least 2"
            raise DataError(
                f"{path}: column {target!r} has {len(labels)} class{'es'[: 2 * (len(labels) > 1)]} "
                f"({listed(labels)}), expected {expected}"
            )
    dropped = [name.strip() for name in recipe.drop.split(",") if name.strip()]
    for name in dropped:
        if name not in names or name == target:
            problem = "the target" if name == target else "no such column"
            raise UsageError(f"{path}: --drop {name}: {problem}.{nearest(name, names)}")
    own = [name for name in names if name != target and name not in dropped]
    if not own:
        raise DataError(f"{path}: there is no column besides {target!r} to learn from")
    found = columns.find(table.lines, path, own)
    rows = Split(*columns.read(table.lines, path, found.spec, target, labels))
    parts = _split({"train": rows}, path)
    if not labels and not all(np.ptp(part.targets) for part in parts.values()):
        raise DataError(f"{path}: too few rows, or {target!r} is the same in all of them")
    spec, parts = columns.measured(found.spec, parts)
    how = csv.described(path) if table is csv else ""
    return _dataset(
        path.stem, str(path), labels, parts, spec, hashlib.sha256(path.read_bytes()).hexdigest(),
        [f"read as {how}"] * bool(how) + found.notes,
    )  # fmt: skip


def _folder(path: Path, recipe: Recipe) -> Dataset:
    folders, notes = _split_folders(path)
    parts: Parts = {}
    labels: tuple[str, ...] = ()
    digest, errors, passed_over = hashlib.sha256(), [], Counter[str]()
    found = {part: classes.find(it, 2 if part == "train" else 1) for part, it in folders.items()}
    # If all are gray, _pictures makes them so.
    spec = ImageSpec(3, recipe.size or _SIZE, (0.0,) * 3, (1.0,) * 3)
    train = found["train"]
    _check_memory(sum(len(one.paths) for one in found.values()), spec, path)
    are_digits = recipe.prepare == "auto" and digits.are_digits(
        train.paths, train.targets, train.labels
    )
    if are_digits:
        spec = ImageSpec(1, spec.size, (0.0,), (1.0,), background="dark", centered=True)
    for part, folder in folders.items():
        contents = classes.read(found[part], spec)
        labels = labels or contents.labels
        numbers = _class_numbers(contents.labels, labels, folder)
        parts[part] = Split(contents.inputs, numbers[contents.targets])
        errors += contents.errors
        passed_over += contents.passed_over
        for file, file_digest in contents.digests:
            digest.update(os.fsencode(f"{file.relative_to(path).as_posix()}\0"))
            digest.update(file_digest)
    if errors:
        file, reason = errors[0]
        total = len(errors) + sum(len(part.targets) for part in parts.values())
        notes.append(f"{len(errors):,} of {total:,} files cannot be read, first {file}: {reason}")
    if passed_over:
        notes.append(files.passed_over(passed_over))
    if are_digits:
        notes.append(
            "the pictures are digits: each is found, scaled and centered as in MNIST, here and by "
            "zoo predict; --set prepare=none leaves them as they are"
        )
    return _pictures(recipe, str(path), labels, parts, digest.hexdigest(), notes, are_digits)


def _check_memory(count: int, spec: ImageSpec, source: object) -> None:
    """Raise DataError if so many images, and the copy that splitting them makes, do not fit."""
    need, free = 2 * count * spec.channels * spec.size**2, hardware.free_memory()
    if free is not None and need > free:
        raise DataError(
            f"{source}: {count:,} images of {spec.size}x{spec.size} take {need / 1e9:,.1f} GB of "
            f"memory, of which {free / 1e9:,.1f} GB are free: try a smaller --size"
        )


def _split_folders(path: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folders of class folders to train and to test on, and a note on which is which."""
    found = classes.parts(path)
    if not found:
        return {"train": path}, []
    others = classes.others(path, found)
    if "train" not in found:
        names = " and ".join(f"{folder.name}/" for folder in found.values())
        raise DataError(f"{path}: {names} but no folder to train on, expected train/")
    if len(found) == 1 and (classes_too := [name for name in others if not _is_part(name)]):
        raise DataError(
            f"{path}: {found['train'].name}/ holds class folders and is beside "
            f"{listed(classes_too)}: give that folder alone, or rename it if it is a class"
        )
    if "validation" in found and "test" not in found:  # one part held out: nobody may choose by it
        found["test"] = found.pop("validation")
    uses = [f"{folder.name}/ is the {_USES[part]} set" for part, folder in found.items()]
    if others:
        uses.append(f"passed over: {listed([f'{name}/' for name in others])}")
    return found, [", ".join(uses)]


def _is_part(name: str) -> bool:
    return any(name.lower() in names for names in classes.PARTS.values())


def _class_numbers(
    classes: Sequence[Any], training: Sequence[Any], source: object, names: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Return the number of each class, which is its index among the classes to train on.

    Classes may be numbers, which have these names.
    """
    numbers = {label: number for number, label in enumerate(training)}
    if new := [label for label in classes if label not in numbers]:
        name = names[new[0]] if isinstance(new[0], int) and new[0] < len(names) else new[0]
        raise DataError(f"{source}: class {name!r} is not among those to train on")
    return np.array([numbers[label] for label in classes], np.int64)


def _arrays(recipe: Recipe, source: str, arrays: labelled.Arrays) -> Dataset:
    """Build a dataset of images with class numbers; class n has the n-th of the names."""
    raw, names = dict(arrays.parts), arrays.names
    train = raw["train"]
    if "validation" in raw and "test" not in raw:  # one part held out: nobody may choose by it
        raw["test"] = raw.pop("validation")
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
    _check_memory(sum(len(pixels) for pixels, _ in raw.values()), spec, source)
    parts = {
        part: Split(
            _scaled(pixels, spec),
            _class_numbers(numbers.tolist(), classes, f"{source}, {part}", names),
        )
        for part, (pixels, numbers) in raw.items()
    }
    return _pictures(recipe, source, labels, parts, digest.hexdigest(), list(arrays.notes))


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
    squares = np.zeros(pixels.shape[-1])  # of whole numbers, so exact in any order
    for image in pixels:
        squares += np.square(image, dtype=np.uint16).sum(axis=(0, 1), dtype=np.float64)
    squares /= pixels[..., 0].size
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
