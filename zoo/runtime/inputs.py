"""What people hand to a session: paths, bytes, PIL images, arrays, data frames; to its input.

Duck typing keeps torch, pandas and polars out: what can become a NumPy array is an array.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo import arrays, images
from zoo.datasets import columns, csv
from zoo.errors import DataError, nearest
from zoo.files import readable
from zoo.images import Invert, Prepare
from zoo.spec import ImageSpec, TableSpec

_LARGEST = float(np.finfo(np.float32).max)


def pictures(
    given: Any, spec: ImageSpec, prepare: Prepare = "auto", invert: Invert = "auto"
) -> NDArray[np.uint8]:
    """Return pictures as the model takes them: uint8 [n, size, size, channels].

    Args:
        given: see `Session.predict_images`.
        spec: the model's input.
        prepare: as for `zoo.images.decode`.
        invert: as for `zoo.images.decode`.

    Raises:
        DataError: an element that cannot be read; it is named.
    """
    items: list[Any] = []
    if _is_array(given):
        rows = _array(np.asarray(given), spec, prepare, invert)
    elif isinstance(given, str | bytes | bytearray | memoryview | os.PathLike | Image.Image):
        items = [given]
        rows = _items(items, spec, prepare, invert)
    elif isinstance(given, Iterable) and not isinstance(given, Mapping):
        items = list(given)
        rows = _items(items, spec, prepare, invert)
    else:
        raise DataError(f"images: {_expected(given)}")
    result, errors = images.fit(rows, spec, prepare, invert)
    for number, error in enumerate(errors):
        if error is not None:
            raise DataError(f"{_name(number, items)}: {error}")
    return result


def _expected(given: Any) -> str:
    return f"expected a path, bytes, a PIL image or an array, given {type(given).__name__}"


def _is_array(given: Any) -> bool:
    return hasattr(given, "__array__") and not isinstance(given, Image.Image)


def _array(
    array: NDArray[Any], spec: ImageSpec, prepare: Prepare, invert: Invert
) -> NDArray[np.uint8]:
    if (rows := arrays.shaped(array, spec)) is None:
        size, channels = spec.size, spec.channels
        raise DataError(
            f"images: expected uint8 [batch, {size}, {size}, {channels}], "
            f"given {array.dtype} [{', '.join(map(str, array.shape))}]; "
            f"pictures of other sizes go in a list"
        )
    try:
        white = arrays.white(rows)
    except DataError as error:
        raise DataError(f"images: {error}") from None
    if rows.dtype.kind == "f" and not (good := np.isfinite(rows).all(axis=(1, 2, 3))).all():
        raise DataError(f"images[{int(good.argmin())}]: pixels that are not finite numbers")
    return images.of_its_size(arrays.eight_bits(rows, white), spec, prepare, invert)


def _items(
    items: list[Any], spec: ImageSpec, prepare: Prepare, invert: Invert
) -> NDArray[np.uint8]:
    """Read the elements of a list; arrays of one form are of one kind, and so read together."""
    if items and all(map(_is_array, items)):
        parts = [np.asarray(item) for item in items]
        views = [arrays.shaped(part, spec) for part in parts]
        fitting = [view for view in views if view is not None and len(view) == 1]
        if len(fitting) == len(items) and len({part.dtype for part in parts}) == 1:
            return _array(np.concatenate(fitting), spec, prepare, invert)
    rows = np.empty((len(items), spec.size, spec.size, spec.channels), np.uint8)
    for number, item in enumerate(items):
        try:
            rows[number] = images.read(_source(item), spec, prepare, invert)
        except DataError as error:
            raise DataError(f"{_name(number, items)}: {error}") from None
    return rows


def _source(item: Any) -> Path | bytes | Image.Image:
    """Return one element of a list as `zoo.images.read` takes it."""
    if isinstance(item, str | os.PathLike):
        return Path(os.fsdecode(item))
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if isinstance(item, Image.Image):
        return item
    if not _is_array(item):
        raise DataError(_expected(item))
    array = np.asarray(item)
    picture = array[0] if array.ndim == 4 and len(array) == 1 else array
    if picture.ndim == 3 and picture.shape[0] in (1, 3) and picture.shape[-1] not in (1, 3, 4):
        picture = np.moveaxis(picture, 0, -1)
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3, 4) or not picture.size:
        raise DataError(
            f"expected an array [height, width] or [height, width, channels], "
            f"given {array.dtype} [{', '.join(map(str, array.shape))}]"
        )
    pixels = arrays.eight_bits(picture, arrays.white(picture[np.newaxis]))
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _name(number: int, items: Sequence[Any]) -> str:
    """Return how an element is named: by its number, unless it is the only one, and its path."""
    path = ""
    if items and isinstance(items[number], str | os.PathLike):
        path = readable(os.fsdecode(items[number]))
    if len(items) == 1:
        return path or "image"
    return f"images[{number}] ({path})" if path else f"images[{number}]"


def table(given: Any, spec: TableSpec) -> NDArray[np.float32]:
    """Return rows as the model takes them: float32 [n, columns].

    Args:
        given: see `Session.predict_table`.
        spec: the model's input.

    Raises:
        DataError: columns that are missing (all are named), or a value that is not a finite number
            (its row and column are named).
    """
    if isinstance(given, str | os.PathLike):
        texts = list(csv.rows(Path(os.fsdecode(given)), columns.names(spec)))
        return _inputs(list(zip(*texts, strict=True)) or [[] for _ in columns.names(spec)], spec)
    if _is_frame(given):
        names = list(getattr(given, "column_names", None) or given.columns)
        return _inputs([given[name] for name in _matched(names, spec)], spec)
    if isinstance(given, Mapping) or _is_series(given):  # columns, or one row
        values = [given[name] for name in _matched(list(given.keys()), spec)]
        one = any(np.ndim(value) == 0 for value in values)
        return _inputs([[value] for value in values] if one else values, spec)
    if not _is_array(given) and isinstance(given, Iterable):
        given = list(given)
        if all(isinstance(row, Mapping) for row in given):
            for number, row in enumerate(given):
                _matched(list(row), spec, f"row {number}: ")
            return _inputs([[row[name] for row in given] for name in columns.names(spec)], spec)
    return _rows(given, spec)


def _is_frame(given: Any) -> bool:
    """Say whether this is a frame of pandas or polars, or a table of PyArrow."""
    return hasattr(given, "columns") and hasattr(given, "__getitem__")


def _is_series(given: Any) -> bool:
    """Say whether this is a row of a pandas frame: its numbers have the columns' names."""
    return hasattr(given, "index") and any(isinstance(key, str) for key in _keys(given))


def _keys(given: Any) -> Iterable[Any]:
    keys = getattr(given, "keys", None)
    return keys() if callable(keys) else ()


def _matched(names: list[Any], spec: TableSpec, where: str = "") -> tuple[str, ...]:
    """Return the model's columns, all of which must be among the names, once."""
    wanted = columns.names(spec)
    if missing := [name for name in wanted if name not in names]:
        hint = nearest(missing[0], [str(name) for name in names])
        raise DataError(f"{where}missing columns: {', '.join(missing)}.{hint}")
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise DataError(f"{where}column {twice[0]!r} is there {names.count(twice[0])} times")
    return wanted


def _rows(given: Any, spec: TableSpec) -> NDArray[np.float32]:
    """Return an array, or lists of numbers, as rows; one row may be without the batch."""
    expected = f"features: expected float32 [batch, {len(spec.columns)}]"
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths
        raise DataError(f"{expected}, given rows of different lengths") from None
    if array.ndim == 1 and len(array) == len(spec.columns):
        array = array[np.newaxis]
    if array.ndim != 2 or array.shape[1] != len(spec.columns):
        raise DataError(f"{expected}, given {array.dtype} {list(array.shape)}")
    return _numbers(list(array.T), spec)


def _inputs(given: Sequence[Any], spec: TableSpec) -> NDArray[np.float32]:
    """Return a table's columns, by `columns.names`, as float32 [n, columns]."""
    if not spec.categories and not spec.missing:
        return _numbers(given, spec)
    _check_lengths(columns.names(spec), given)
    rows = []
    for number, row in enumerate(zip(*given, strict=True)):
        texts = ["" if value is None else str(value) for value in row]
        try:
            rows.append(columns.values(texts, spec))
        except DataError as error:
            raise DataError(f"row {number}, {error}") from None
    return np.array(rows, np.float32).reshape(len(rows), len(spec.columns))


def _numbers(given: Sequence[Any], spec: TableSpec) -> NDArray[np.float32]:
    """Return columns of values as float32 [n, columns]."""
    values = [np.asarray(column) for column in given]
    _check_lengths(spec.columns, values)
    result = np.empty((len(values[0]), len(values)), np.float64)
    for column, (name, array) in enumerate(zip(spec.columns, values, strict=True)):
        try:
            result[:, column] = array.astype(np.float64)
        except (ValueError, TypeError):
            _refuse(array, name)
        bad = ~(np.abs(result[:, column]) <= _LARGEST)  # NaN and infinity too
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"row {row}, column {name!r}: expected a finite number, given {array[row]}"
            )
    return result.astype(np.float32)


def _check_lengths(names: Sequence[str], given: Sequence[Any]) -> None:
    """Raise DataError if columns are not equally long."""
    if len({len(column) for column in given}) > 1:
        lengths = ", ".join(
            f"{name} {len(column)}" for name, column in zip(names, given, strict=True)
        )
        raise DataError(f"columns of different lengths: {lengths}")


def _refuse(values: NDArray[Any], name: str) -> NoReturn:
    """Raise the error of the first value that is not a number."""
    for row, value in enumerate(values):
        try:
            float(value)
        except (ValueError, TypeError):
            raise DataError(
                f"row {row}, column {name!r}: expected a number, given {value!r}"
            ) from None
    raise DataError(f"column {name!r}: expected numbers, given {values.dtype}")
