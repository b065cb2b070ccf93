"""The columns of a table as a model's inputs: numbers, categories, and fields that are empty.

A column of texts becomes one input for each of its texts, named "color=red", which is 1 in the rows
that have it and 0 in the others. An empty field of a column that had empty fields in training takes
the column's mean over the training rows; of a category, 0 in all its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from zoo.datasets import csv
from zoo.datasets.csv import Line
from zoo.datasets.dataset import Split
from zoo.datasets.dialect import with_point
from zoo.errors import DataError, listed, nearest
from zoo.spec import TableSpec

#: Texts of a field that is empty, in lower case; pandas writes <NA>.
_EMPTY = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "<na>"))
#: Different texts that a category may have.
_MOST = 50

Lines = Callable[..., Iterator[Line]]


class Found(NamedTuple):
    """What a table's columns are.

    `spec`: without mean and std yet. `notes`: what a user would want to know.
    """

    spec: TableSpec
    notes: list[str]


class _Field(NamedTuple):
    """A column of the file: the inputs that it becomes, and what they are if it is empty."""

    name: str
    known: tuple[str, ...]  # the texts of a category
    empty: list[float] | None


@lru_cache(maxsize=16)
def _fields(spec: TableSpec) -> tuple[_Field, ...]:
    fields = []
    for name in names(spec):
        category = name in spec.categories
        own = [column for column in spec.columns if _column(spec, column) == name]
        empty = [0.0] * len(own) if category else [spec.mean[spec.columns.index(name)]]
        known = tuple(column.removeprefix(f"{name}=") for column in own) if category else ()
        fields.append(_Field(name, known, empty if name in spec.missing else None))
    return tuple(fields)


def names(spec: TableSpec) -> tuple[str, ...]:
    """Return the columns that a file must have, in the order of the inputs."""
    return tuple(dict.fromkeys(_column(spec, name) for name in spec.columns))


def _column(spec: TableSpec, name: str) -> str:
    return next((text for text in spec.categories if name.startswith(f"{text}=")), name)


def is_empty(text: str) -> bool:
    """Return whether a field is empty, or says so: NA, NaN, null, None, ?"""
    return text.strip().lower() in _EMPTY


def values(texts: Sequence[str], spec: TableSpec) -> list[float]:
    """Turn the fields of one row, by `names(spec)`, into the model's inputs, by `spec.columns`.

    Raises:
        DataError: a field that is empty where none was in training, no number, or no text that was
            there in training; the column is named.
    """
    if not spec.categories and not spec.missing:
        return csv.numbers(texts, spec.columns)
    inputs: list[float] = []
    for field, text in zip(_fields(spec), map(str.strip, texts), strict=True):
        if field.empty is not None and is_empty(text):
            inputs += field.empty
        elif not field.known:
            inputs += csv.numbers([text], [field.name])
        elif text in field.known:
            inputs += [float(text == one) for one in field.known]
        else:
            known, hint = listed(field.known), nearest(text, field.known)
            raise DataError(
                f"column {field.name!r}: expected one of {known}, found {text!r}.{hint}"
            )
    return inputs


def find(source: Lines, path: Path, columns: Sequence[str]) -> Found:
    """Look through a table: which columns are categories, which have empty fields.

    A column is a category if no field of it is a number.

    Args:
        source: `lines` of `zoo.datasets.csv` or `zoo.datasets.parquet`.
        path: the file.
        columns: their names.

    Raises:
        DataError: a column is empty, or has more texts than a category may have.
    """
    texts: dict[str, set[str]] = {name: set() for name in columns}
    numbers, empty = dict.fromkeys(columns, 0), dict.fromkeys(columns, 0)
    rows = 0
    for line in source(path, (), columns):
        if line.error:
            raise DataError(f"{path} line {line.number}: {line.error}")
        rows += 1
        for name, text in zip(columns, line.kept, strict=True):
            if is_empty(text):
                empty[name] += 1
            elif _is_number(text):
                numbers[name] += 1
            elif len(texts[name]) <= _MOST:
                texts[name].add(text.strip())
    inputs, categories, notes = [], [], []
    for name in columns:
        if empty[name] == rows:
            raise DataError(f"{path}: column {name!r} is empty: leave it out by --drop {name}")
        if numbers[name] or not texts[name]:  # a text among numbers is an error when it is read
            inputs.append(name)
            continue
        if len(texts[name]) > _MOST:
            raise DataError(
                f"{path}: column {name!r} has more than {_MOST} different texts, too many for a "
                f"category: leave it out by --drop {name}"
            )
        categories.append(name)
        inputs += [f"{name}={text}" for text in sorted(texts[name])]
        notes.append(f"column {name!r} is a category: {listed(sorted(texts[name]))}")
    if clash := [name for name in columns for text in categories if name.startswith(f"{text}=")]:
        raise DataError(f"{path}: column {clash[0]!r} is named like an input of a category")
    missing = tuple(name for name in columns if empty[name])
    for name in missing:
        takes = "0 in all its inputs" if name in categories else "the training rows' mean"
        notes.append(
            f"column {name!r}: {empty[name]:,} of {rows:,} fields are empty, taken as {takes}"
        )
    unknown = (float("nan"),) * len(inputs)
    return Found(TableSpec(tuple(inputs), unknown, unknown, tuple(categories), missing), notes)


def _is_number(text: str) -> bool:
    try:
        return csv.is_number(with_point(text.strip()))
    except DataError:  # a decimal point among decimal commas
        return True


def read(
    source: Lines, path: Path, spec: TableSpec, target: str, labels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64 | np.float32]]:
    """Read the inputs of all rows and their targets, as `zoo.datasets.csv.read` does.

    Raises:
        DataError: as `zoo.datasets.csv.read` and `values`.
    """
    return csv.read_lines(
        source, path, names(spec), target, labels, convert=lambda texts: values(texts, spec)
    )


def measured(spec: TableSpec, parts: dict[str, Split]) -> tuple[TableSpec, dict[str, Split]]:
    """Return the spec with the mean and std of the training rows, and the parts without NaN."""
    inputs = parts["train"].inputs
    known = ~np.isnan(inputs)
    total = np.where(known, inputs, 0).sum(axis=0, dtype=np.float64)
    mean: NDArray[np.float64] = total / np.maximum(known.sum(axis=0), 1)
    filled = {
        name: Split(
            np.where(np.isnan(part.inputs), mean, part.inputs).astype(np.float32), part.targets
        )
        for name, part in parts.items()
    }
    found = csv.spec(spec.columns, filled["train"].inputs)
    if spec.missing:  # of the rows that have a value, exactly
        found = msgspec.structs.replace(found, mean=tuple(mean.tolist()))
    return msgspec.structs.replace(found, categories=spec.categories, missing=spec.missing), filled
