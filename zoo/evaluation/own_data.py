"""A user's own data for `zoo evaluate --data`, brought to a model's input as `zoo predict` does.

Classes are matched by their names, since their numbers depend on what a model was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo import datasets, images
from zoo.bundle.card import Card
from zoo.datasets import Split, classes, columns, custom, labelled, torchvision
from zoo.errors import DataError, UsageError, listed, nearest
from zoo.files import passed_over
from zoo.spec import ImageSpec, TableSpec

#: The parts of split data, the best one to evaluate on first.
_BEST = ("test", "validation", "train")


class OwnData(NamedTuple):
    """Rows to evaluate a model on.

    Attributes:
        split: the rows that could be read, as the model takes them.
        source: the data in words, with the part of them that is used.
        errors: of the rows that could not be read: the name and the reason.
        notes: lines that a user should read.
    """

    split: Split
    source: str
    errors: list[str]
    notes: list[str]


def read(card: Card, data: str, target: str = "") -> OwnData:
    """Read data with known answers for a model; the test part if they have one, otherwise all.

    Args:
        card: the model's.
        data: a folder of class folders, files of arrays (see `zoo.datasets.labelled`), a table, or
            the name of a dataset.
        target: the column of the answers in a table; by default that of the model's training.

    Raises:
        UsageError: not of the kind that the model takes, or no such column.
        DataError: missing or damaged, or classes that are not the model's.
    """
    path = Path(data).expanduser()
    if isinstance(card.spec, TableSpec):
        return _table(card, card.spec, path, target or card.recipe.target)
    notes = []
    if card.recipe.data and path.exists() and path.resolve() == Path(card.recipe.data).resolve():
        notes.append(
            f"{path}: the model was trained on part of these data; its own test set is what "
            "zoo evaluate measures without --data"
        )
    if not path.exists():
        named = data in (*datasets.names(), *torchvision.names())
        if path.name != data or (target and not named):
            raise DataError(f"{path}: no such file or folder")
        if target:
            raise UsageError(f"--target names a column of a table, given images: {path}")
        result = _named(card, card.spec, data)
    elif (arrays := labelled.read(path, target, card.spec)) is not None:
        result = _arrays(card, card.spec, str(path), arrays)
    elif target:
        raise UsageError(f"--target names a column of a table, given images: {path}")
    else:
        result = _folder(card, card.spec, path)
    return result._replace(notes=notes + result.notes)


def _table(card: Card, spec: TableSpec, path: Path, target: str) -> OwnData:
    table = custom.table_of(path)
    names = [name for name in table.header(path) if name]
    if target not in names:
        problem = f"there is no column {target!r}" if target else "expected --target COLUMN"
        hint = nearest(target, names)
        raise UsageError(f"{path}: {problem}; its columns: {listed(names)}.{hint}")
    split = Split(*columns.read(table.lines, path, spec, target, card.labels))
    return OwnData(split, str(path), [], [])


def _named(card: Card, spec: ImageSpec, name: str) -> OwnData:
    if name in datasets.names():
        dataset = datasets.load(name)
        if not isinstance(dataset.spec, ImageSpec):
            raise UsageError(f"this model takes images, given the table {name}")
        raw = torchvision.Raw(*dataset.test)
        labels = dataset.labels
    else:
        _, raw, labels = torchvision.read(name)
    return _arrays(card, spec, name, labelled.Arrays({"test": raw}, labels))


def _arrays(card: Card, spec: ImageSpec, source: str, arrays: labelled.Arrays) -> OwnData:
    part = next(part for part in _BEST if part in arrays.parts)
    pixels, numbers = arrays.parts[part]
    if len(arrays.parts) > 1:
        source = f"{source} ({part} part)"
    notes = list(arrays.notes)
    present = np.unique(numbers).tolist()
    labels = [str(number) for number in present]
    if arrays.names:
        if min(present) < 0 or max(present) >= len(arrays.names):
            raise DataError(f"{source}: {len(arrays.names)} names, but a class {max(present)}")
        labels = [arrays.names[number] for number in present]
    elif not set(labels) <= set(card.labels) and 0 <= min(present) <= max(present) < len(
        card.labels
    ):
        labels = [card.labels[number] for number in present]
        pairs = [f"{number} is {label!r}" for number, label in zip(present, labels, strict=True)]
        notes.append(f"{source}: classes by number alone, taken for the model's: {listed(pairs)}")
    places = dict(zip(present, _numbers(card, labels, source).tolist(), strict=True))
    inputs, errors = _fitted(pixels, spec)
    targets = np.array([places[number] for number in numbers.tolist()], np.int64)
    good = np.array([error is None for error in errors])
    failed = [f"{source}[{place}]: {errors[place]}" for place in np.flatnonzero(~good)]
    return _own(inputs[good], targets[good], source, failed, notes)


def _fitted(
    pixels: NDArray[np.uint8], spec: ImageSpec
) -> tuple[NDArray[np.uint8], list[str | None]]:
    """Bring images of any one size to a model's input; what fails is left as zeros."""
    errors: list[str | None] = [None] * len(pixels)
    if pixels.shape[1:] != spec.tensor.row:
        scaled = np.zeros((len(pixels), *spec.tensor.row), np.uint8)
        for place, image in enumerate(pixels):
            try:
                scaled[place] = images.scale(image, spec, "auto", "auto")
            except DataError as error:
                errors[place] = str(error)
        pixels = scaled
    inputs, faults = images.fit(pixels, spec)
    return inputs, [error or fault for error, fault in zip(errors, faults, strict=True)]


def _folder(card: Card, spec: ImageSpec, path: Path) -> OwnData:
    found = classes.parts(path) if path.is_dir() else {}
    part = next((part for part in _BEST if part in found), "")
    folder = found.get(part, path)
    contents = classes.read(classes.find(folder, 1), spec)
    numbers = _numbers(card, contents.labels, str(folder))
    notes = [passed_over(contents.passed_over)] if contents.passed_over else []
    failed = [f"{file}: {reason}" for file, reason in contents.errors]
    return _own(contents.inputs, numbers[contents.targets], str(folder), failed, notes)


def _numbers(card: Card, labels: Sequence[str], source: str) -> NDArray[np.int64]:
    """Return the model's number of each of these classes."""
    if unknown := [label for label in labels if label not in card.labels]:
        hint = nearest(unknown[0], card.labels)
        raise DataError(
            f"{source}: classes that the model does not have: {listed(unknown)}.{hint} "
            f"The model's: {listed(card.labels)}"
        )
    return np.array([card.labels.index(label) for label in labels], np.int64)


def _own(
    inputs: NDArray[np.uint8],
    targets: NDArray[np.int64],
    source: str,
    failed: list[str],
    notes: list[str],
) -> OwnData:
    if not len(inputs):
        raise DataError(f"{source}: no image can be read{f', first {failed[0]}' if failed else ''}")
    return OwnData(Split(inputs, targets), source, failed, notes)
