"""Sources: what `zoo predict` reads. Each becomes blocks of rows, in the order of the input."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo import images
from zoo.datasets import idx, tabular
from zoo.entry import ImageSpec, Spec, TableSpec
from zoo.errors import DataError

#: Rows in a block: what one run of the session takes.
BLOCK = 256


class Block(NamedTuple):
    """Some rows.

    names: one a row; errors: None, or why the row could not be read, one a row;
    inputs: the rows without an error, as the model takes them.
    """

    names: list[str]
    errors: list[str | None]
    inputs: NDArray[Any]


class Row(NamedTuple):
    """One input on its own, or the reason why there is none."""

    name: str
    data: NDArray[Any] | None
    error: str | None = None


def read(given: Iterable[str], spec: Spec, invert: images.Invert = "auto") -> Iterator[Block]:
    """Read inputs for a model: image files, folders, globs, .npy, IDX (for images), CSV (tables).

    Nothing is raised for an input that cannot be read: it is a row with its error.
    """
    rows = (row for text in given for row in _rows(text, spec, invert))
    while some := list(itertools.islice(rows, BLOCK)):
        good = [row.data for row in some if row.data is not None]
        empty = np.empty((0, *(int(n) for n in spec.tensor.shape[1:])), spec.tensor.dtype)
        yield Block(
            [row.name for row in some],
            [row.error for row in some],
            np.stack(good) if good else empty,
        )


def count(given: Iterable[str]) -> int | None:
    """Return how many files there are, or None where a file holds many rows."""
    total = 0
    for text in given:
        for path in _paths(text):
            if not isinstance(path, Path) or _array_file(path) or path.suffix.lower() == ".csv":
                return None
            total += 1
    return total


def _paths(text: str) -> Iterator[Path | DataError]:
    """Turn one argument into files: a folder is walked, a glob expanded, both sorted."""
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in images.SUFFIXES and file.is_file()
        )
        yield from found
        if not found:
            yield DataError("a folder without images")
    elif not path.exists() and glob.has_magic(text):
        matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        files = [file for file in matches if file.is_file()]
        yield from files
        if not files:
            yield DataError("no file matches")
    else:
        yield path


def _rows(text: str, spec: Spec, invert: images.Invert) -> Iterator[Row]:
    for path in _paths(text):
        if isinstance(path, DataError):
            yield Row(text, None, str(path))
            continue
        try:
            if isinstance(spec, TableSpec):
                yield from _table_rows(path, spec)
            elif _array_file(path):
                array = _images(_array(path), spec)
                for number, image in enumerate(array):
                    yield Row(f"{path}[{number}]", images.fit(image, spec, invert))
            elif path.suffix.lower() == ".csv":
                raise DataError("this model takes images, not a table")
            else:
                yield Row(str(path), images.decode(path, spec, invert))
        except DataError as error:
            message = str(error).removeprefix(f"{path}: ")
            yield Row(str(path), None, message)


def _array_file(path: Path) -> bool:
    return path.suffix.lower() == ".npy" or idx.looks_like_idx(path)


def _array(path: Path) -> NDArray[Any]:
    if path.suffix.lower() != ".npy":
        return idx.read(path)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"damaged .npy file ({error})") from None
    return array


def _images(array: NDArray[Any], spec: ImageSpec) -> NDArray[Any]:
    """Check an array of images; one image alone and grey ones without channels are welcome."""
    want = (spec.size, spec.size, spec.channels)
    given = f"{array.dtype} {list(array.shape)}"
    if spec.channels == 1 and array.shape[-2:] == want[:2]:
        array = array[..., np.newaxis]
    if array.shape == want:
        array = array[np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != want:
        raise DataError(f"holds {given}, expected uint8 [n, {', '.join(map(str, want))}]")
    return array


def _table_rows(path: Path, spec: TableSpec) -> Iterator[Row]:
    if path.suffix.lower() == ".npy":
        array = _array(path)
        if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != len(spec.columns):
            raise DataError(
                f"holds {array.dtype} {list(array.shape)}, expected float32 "
                f"[n, {len(spec.columns)}]"
            )
        for number, row in enumerate(array):
            good = np.isfinite(row).all()
            error = None if good else "expected finite numbers, found NaN or infinity"
            yield Row(f"{path}[{number}]", row.astype(np.float32) if good else None, error)
        return
    if path.suffix.lower() != ".csv":
        raise DataError("this model takes a table: expected a .csv or .npy file")
    for number, texts in enumerate(tabular.rows(path, spec.columns)):
        name = f"{path}[{number}]"
        try:
            yield Row(name, np.array(tabular.numbers(texts, spec.columns), np.float32))
        except DataError as error:
            yield Row(name, None, str(error))
