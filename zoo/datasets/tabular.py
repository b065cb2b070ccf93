"""Tables: a CSV reader that names the row and column at fault; the two embedded tables."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.datasets import Dataset, Split
from zoo.entry import TableSpec
from zoo.errors import DataError, nearest

_LARGEST = float(np.finfo(np.float32).max)
FILES = Path(__file__).parent / "files" / "tabular"


def rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the named columns of each row of a CSV file (UTF-8, header line), as text.

    Raises:
        DataError: no such file, not text, no header, a missing column (all are named), a row
            of the wrong length.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                hint = nearest(missing[0], header)
                raise DataError(f"{path}: missing columns: {', '.join(missing)}.{hint}")
            places = [header.index(name) for name in columns]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path} line {reader.line_num}: {len(row)} fields, "
                        f"the header has {len(header)}"
                    )
                yield [row[place] for place in places]
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


def load_diabetes() -> Dataset:
    """Load the diabetes table: 10 measurements -> progression after one year."""
    columns = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    return _load(
        "diabetes",
        columns,
        "progression",
        labels=(),
        source="Diabetes, B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, 2004",
        licence="published with the paper Least Angle Regression, free to use",
    )


def load_breast_cancer() -> Dataset:
    """Load the breast cancer table: 30 measurements -> benign (0) or malignant (1)."""
    measures = (
        "radius, texture, perimeter, area, smoothness, compactness, concavity, concave points, "
        "symmetry, fractal dimension"
    ).split(", ")
    kinds = ("mean {}", "{} error", "worst {}")
    return _load(
        "breast-cancer",
        tuple(kind.format(measure) for kind in kinds for measure in measures),
        "diagnosis",
        labels=("benign", "malignant"),
        source="UCI Breast Cancer Wisconsin (Diagnostic), W. H. Wolberg, W. N. Street, "
        "O. L. Mangasarian, 1995",
        licence="CC BY 4.0",
    )


def _load(
    name: str,
    columns: tuple[str, ...],
    target: str,
    *,
    labels: tuple[str, ...],
    source: str,
    licence: str,
) -> Dataset:
    """Every fifth row is for the test, the one before it for validation: 3/5, 1/5, 1/5."""
    path = FILES / f"{name}.csv"
    table = list(rows(path, (*columns, target)))
    features = np.array([numbers(row[:-1], columns) for row in table], np.float32)
    targets: NDArray[Any]
    if labels:
        targets = np.array([labels.index(row[-1]) for row in table], np.int64)
    else:
        targets = np.array([float(row[-1]) for row in table], np.float32)
    place = np.arange(len(table)) % 5
    train = place < 3
    return Dataset(
        name=name,
        source=source,
        licence=licence,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        spec=TableSpec(
            columns=columns,
            mean=tuple(features[train].mean(axis=0, dtype=np.float64).tolist()),
            std=tuple(features[train].std(axis=0, dtype=np.float64).tolist()),
        ),
        labels=labels,
        train=Split(features[train], targets[train]),
        validation=Split(features[place == 3], targets[place == 3]),
        test=Split(features[place == 4], targets[place == 4]),
    )
