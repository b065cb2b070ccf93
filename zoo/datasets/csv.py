"""CSV files; an error names the row and the column."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, nearest
from zoo.spec import TableSpec

_LARGEST = float(np.finfo(np.float32).max)


def rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the named columns of each row of a CSV file (UTF-8, header line), as text.

    Raises:
        DataError: no such file, not text, no header, missing columns (all are named), a row of
            the wrong length.
    """
    with _open(path) as (names, reader):
        missing = [name for name in columns if name not in names]
        if missing:
            hint = nearest(missing[0], names)
            raise DataError(f"{path}: missing columns: {', '.join(missing)}.{hint}")
        indices = [names.index(name) for name in columns]
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(
                    f"{path} line {reader.line_num}: {len(row)} fields, the header has {len(names)}"
                )
            yield [row[index] for index in indices]


def header(path: Path) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        DataError: as `rows`.
    """
    with _open(path) as (names, _):
        return names


@contextmanager
def _open(path: Path) -> Iterator[tuple[list[str], Any]]:
    """Yield the header and a reader of the lines below it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            yield [name.strip() for name in next(reader, [])], reader
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV text file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def numbers(texts: Sequence[str], columns: Sequence[str]) -> list[float]:
    """Turn one row's texts into numbers.

    Raises:
        DataError: an empty field, text, NaN or infinity; the column is named.
    """
    values = []
    for name, text in zip(columns, texts, strict=True):
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"column {name!r}: expected a number, found {text!r}") from None
        if not math.isfinite(value) or abs(value) > _LARGEST:
            raise DataError(f"column {name!r}: expected a finite number, found {text!r}")
        values.append(value)
    return values


def read(
    path: Path, columns: Sequence[str], target: str, labels: Sequence[str] = ()
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read a CSV file's features, float32 [n, columns], and targets: int64 or float32 [n].

    Args:
        path: the file.
        columns: the feature columns, in the order wanted.
        target: the target column.
        labels: the classes' names; without them the target is a number.

    Raises:
        DataError: as `rows`; no rows; or a field that is not a number or not a label, with its row
            (the first below the header is 1) and column.
    """
    features, targets = [], []
    for number, row in enumerate(rows(path, (*columns, target)), 1):
        try:
            features.append(numbers(row[:-1], columns))
            targets.append(_target(row[-1], target, labels))
        except DataError as error:
            raise DataError(f"{path} row {number}: {error}") from None
    if not features:
        raise DataError(f"{path}: no rows below the header")
    return np.array(features, np.float32), np.array(targets, np.int64 if labels else np.float32)


def _target(text: str, name: str, labels: Sequence[str]) -> float:
    if not labels:
        return numbers([text], [name])[0]
    if text not in labels:
        raise DataError(f"column {name!r}: expected one of {', '.join(labels)}, found {text!r}")
    return labels.index(text)


def spec(columns: Sequence[str], features: NDArray[np.float32]) -> TableSpec:
    """Return the spec of the columns, with the mean and standard deviation of these rows."""
    std = features.std(axis=0, dtype=np.float64)
    return TableSpec(
        columns=tuple(columns),
        mean=tuple(features.mean(axis=0, dtype=np.float64).tolist()),
        std=tuple(
            np.where(np.ptp(features, axis=0), std, 1.0).tolist()
        ),  # a column with one value has std 0
    )
