"""The two embedded tables."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from zoo.datasets import csv
from zoo.datasets.dataset import Dataset, Split

FILES = Path(__file__).parent / "files" / "tabular"


def load_diabetes() -> Dataset:
    """Load the diabetes table: 10 measurements -> progression after one year."""
    columns = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    return _load(
        "diabetes",
        columns,
        "progression",
        labels=(),
        source="Diabetes, B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, 2004",
        license="published with the paper Least Angle Regression, free to use",
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
        license="CC BY 4.0",
    )


def _load(
    name: str,
    columns: tuple[str, ...],
    target: str,
    *,
    labels: tuple[str, ...],
    source: str,
    license: str,
) -> Dataset:
    """Load a table; every fifth row is for the test, the one before it for validation."""
    path = FILES / f"{name}.csv"
    features, targets = csv.read(path, columns, target, labels)
    fifth = np.arange(len(targets)) % 5
    train = fifth < 3
    return Dataset(
        name=name,
        source=source,
        license=license,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        spec=csv.spec(columns, features[train]),
        labels=labels,
        train=Split(features[train], targets[train]),
        validation=Split(features[fifth == 3], targets[fifth == 3]),
        test=Split(features[fifth == 4], targets[fifth == 4]),
    )
