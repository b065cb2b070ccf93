"""Readers: files to rows, one by one: images, archives, arrays, CSV and Parquet.

A row is its name, its data, and the function that turns the data into the model's input. So rows
that are finished can be passed over without decoding them, and a row can be decoded in another
process than the one that read it.
"""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.batch import archives, remote
from serve.batch.archives import MAX_FILE, TOO_LARGE
from serve.batch.files import PASSED, PAUSE, File
from zoo import arrays, images
from zoo.datasets import columns, csv, idx, labelled, parquet, pixels
from zoo.errors import DataError, UsageError, first_line, listed, needs_extra
from zoo.files import readable
from zoo.spec import ImageSpec, Spec, TableSpec

#: Rows in a block: what one run of the session takes, and the unit in which a job is resumed.
BLOCK = 256

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone


class Row(NamedTuple):
    """One row.

    Attributes:
        name: of the file, and within it.
        data: what `load` turns into the model's input.
        load: None where it is no row: a file that was passed over, or a pause, as in
            `serve.batch.files`.
        kept: the texts of the columns that are kept (`--keep`).
    """

    name: str
    data: Any
    load: Callable[..., NDArray[Any]] | None
    kept: Sequence[str | None] = ()


def rows(files: Iterable[File], spec: Spec, keep: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of files; an image file is read when its row is loaded, others here.

    Raises:
        UsageError: columns are to be kept, and a file has none.
    """
    image = isinstance(spec, ImageSpec)
    for path, kind in files:
        if (
            keep
            and kind not in ("csv", "parquet", PASSED, PAUSE)
            and not kind.startswith("error: ")
        ):
            raise UsageError(f"--keep: expected .csv or .parquet files, {path} has no columns")
        try:
            if kind == "image" and image:
                yield Row(path, path, _image)
            elif kind in (PASSED, PAUSE):
                yield Row(path, kind, None)
            elif kind.startswith("error: "):
                raise DataError(kind.removeprefix("error: "))
            else:
                empty = True
                for row in _many(path, kind, spec, keep):
                    empty = False
                    yield row
                if empty:
                    raise DataError("holds no rows")
        except DataError as error:
            yield Row(path, str(error).removeprefix(f"{path}: "), _decode)
        except Exception as error:  # one odd file must not end a job of thousands
            yield Row(path, unforeseen(path, error), _decode)


def unforeseen(name: str, error: Exception) -> str:
    """Return the text of an error that no reader expects; `--debug` shows where it was raised."""
    logging.getLogger("zoo").debug("%s", readable(name), exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _image(path: str, spec: ImageSpec, **how: Any) -> NDArray[np.uint8]:
    data = remote.read(path, MAX_FILE) if remote.is_url(path) else _file(path)
    return images.read(data, spec, **how)


def preview(row: Row, side: int) -> Image.Image | None:
    """Return a row's picture, as it is, for people to look at; None if it cannot be shown.

    Args:
        row: from `rows`, of a model that takes images.
        side: of the square into which it is reduced.
    """
    data, load = row.data, row.load
    try:
        if isinstance(data, np.ndarray):
            white = load.keywords["white"] if isinstance(load, partial) else 255.0
            shown = np.squeeze(arrays.eight_bits(data, white))
            return images.preview(Image.fromarray(shown), side)
        if load is _image:
            data = remote.read(data, MAX_FILE) if remote.is_url(data) else _file(data)
        return images.preview(data, side) if isinstance(data, bytes) else None
    except Exception:  # the row has its error, from where it is decoded for the model
        return None


def _many(path: str, kind: str, spec: Spec, keep: Sequence[str]) -> Iterator[Row]:
    """Read a file that holds many rows."""
    if remote.is_url(path):
        if kind != "parquet":
            raise DataError("on remote storage: expected images, folders or .parquet")
    elif not os.path.exists(path):
        raise DataError("no such file")
    if kind == "parquet":
        yield from _parquet(path, spec, keep)
    elif kind in ("npy", "npz", "idx"):
        name, array, white = _array(path, kind, spec)
        load = partial(_finite, white=white)
        for number, row in enumerate(array):
            yield Row(f"{name}[{number}]", row, load)
    elif isinstance(spec, TableSpec):
        if kind != "csv":
            raise DataError("this model takes a table: expected .csv, .npy, .npz or .parquet")
        for number, line in enumerate(csv.lines(Path(path), columns.names(spec), keep)):
            name, error = f"{path}[{number}]", line.error and f"line {line.number}: {line.error}"
            yield Row(name, error or line.texts, _numbers, line.kept)
    elif kind == "csv":
        yield from _pixels(path, keep)
    elif kind in ("zip", "tar"):
        empty = True
        for name, data in archives.members(path, kind):
            empty = empty and data is None
            row = f"{path}/{name}"
            yield Row(row, PASSED, None) if data is None else Row(row, data, _decode)
        if empty:
            raise DataError("an archive without images")
    else:
        raise DataError("this model takes images, not a table")


def _file(path: str) -> bytes:
    """Read an image file; by plain system calls, since a job has a hundred thousand of them."""
    try:
        file = os.open(path, _READ)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    try:
        data = os.read(file, 65_536)
        while part := os.read(file, 1 << 20):  # a pipe gives less than was asked for
            data += part
            if len(data) > MAX_FILE:
                raise DataError(TOO_LARGE)
    except IsADirectoryError:
        raise DataError("is a folder, expected an image file") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    finally:
        os.close(file)
    return data


def _decode(data: bytes | str, spec: ImageSpec, **how: Any) -> NDArray[np.uint8]:
    """Decode an image's bytes; a text instead of them is why there are none."""
    if isinstance(data, str):
        raise DataError(data)
    return images.read(data, spec, **how)


def _array(path: str, kind: str, spec: Spec) -> tuple[str, NDArray[Any], float]:
    """Open a file of arrays; an .npy file is mapped into memory, not read. Return its name too.

    Of the arrays of an .npz file, those of images or features are taken; the name says which. The
    last value is what is white, as of `_fitting`.
    """
    if kind == "idx":
        return path, *_fitting(idx.pictures(Path(path)), spec)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if kind == "npy":
            return path, *_fitting(loaded, spec)
        with loaded:
            name = _inputs(loaded.files)
            array, white = _fitting(loaded[name], spec)
            return path if len(loaded.files) == 1 else f"{path}/{name}", array, white
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"damaged .{kind} file ({error})") from None


def _inputs(names: Sequence[str]) -> str:
    """Return the array of an .npz file that holds a model's inputs, by its name."""
    inputs = [name for name in names if (labelled.role(name) or ("", ""))[1] == "x"]
    tests = [name for name in inputs if (labelled.role(name) or ("", ""))[0] == "test"]
    for some in (names, inputs, tests):
        if len(some) == 1:
            return some[0]
    raise DataError(f"expected one array of inputs in the .npz file, found {listed(names)}")


def _fitting(array: NDArray[Any], spec: Spec) -> tuple[NDArray[Any], float]:
    """Check an array and return its rows, as a view, and what is white in images."""
    holds = f"holds {array.dtype} {list(array.shape)}"
    row = spec.tensor.row
    expected = f"expected {spec.tensor.dtype} [n, {', '.join(map(str, row))}]"
    if isinstance(spec, TableSpec):
        rows = array[np.newaxis] if array.shape == row else array
        if array.dtype.kind not in "biuf" or rows.shape[1:] != row:
            raise DataError(f"{holds}, {expected}")
        return rows, 1.0
    images = arrays.shaped(array, spec)
    if images is None or array.dtype.kind not in "biuf":
        raise DataError(f"{holds}, {expected}")
    return images, arrays.white(images)


def _finite(
    row: NDArray[Any], spec: Spec, *, white: float, prepare: Any, invert: Any, first_frame: bool
) -> NDArray[Any]:
    """Return the row in the model's dtype, which its array was checked to fit."""
    if isinstance(spec, ImageSpec):
        return images.of_its_size(arrays.eight_bits(row, white), spec, prepare, invert)
    csv.check_range(row, spec.columns)
    return np.asarray(row, np.float32)


def _numbers(texts: list[str] | str, spec: TableSpec, **how: Any) -> NDArray[np.float32]:
    """Turn a row's texts into numbers; a text instead of them is why there are none."""
    if isinstance(texts, str):
        raise DataError(texts)
    return np.array(columns.values(texts, spec), np.float32)


def _pixels(path: str, keep: Sequence[str]) -> Iterator[Row]:
    """Yield the images of a CSV file of pixels."""
    if pixels.layout(csv.header(Path(path))) is None:
        raise DataError("this model takes images, not a table: expected columns of pixels")
    for number, picture in enumerate(pixels.read(Path(path), keep)):
        error = picture.error and f"line {picture.line}: {picture.error}"
        yield Row(f"{path}[{number}]", error or picture.image, _of_any_size, picture.kept)


def _of_any_size(
    image: NDArray[np.uint8] | str, spec: ImageSpec, *, prepare: Any, invert: Any, first_frame: bool
) -> NDArray[np.uint8]:
    """Bring uint8 [height, width, channels] to the model's size; a text is why there is none."""
    if isinstance(image, str):
        raise DataError(image)
    if image.shape == spec.tensor.row:
        return images.of_its_size(image, spec, prepare, invert)
    return images.scale(image, spec, prepare, invert)


def _parquet(path: str, spec: Spec, keep: Sequence[str]) -> Iterator[Row]:
    with needs_extra("parquet", "a Parquet file"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        file = pq.ParquetFile(remote.open_file(path) if remote.is_url(path) else path)
        schema = file.schema_arrow
        if isinstance(spec, TableSpec):
            wanted = list(columns.names(spec))
        else:
            wanted = [field.name for field in schema if parquet.holds_images(field.type)]
            if len(wanted) != 1:
                names = ", ".join(wanted) or "none"
                raise DataError(f"expected one column of image bytes, found {names}")
        csv.check_names(schema.names, [*wanted, *keep], path)
        number = 0
        for batch in file.iter_batches(BLOCK, columns=list(dict.fromkeys([*wanted, *keep]))):
            for row in batch.to_pylist():
                name = f"{path}[{number}]"
                number += 1
                cells = [row[column] for column in wanted]
                kept = tuple(None if row[key] is None else str(row[key]) for key in keep)
                if isinstance(spec, TableSpec):
                    texts = ["" if cell is None else str(cell) for cell in cells]
                    yield Row(name, texts, _numbers, kept)
                else:
                    data = cells[0]["bytes"] if isinstance(cells[0], dict) else cells[0]
                    empty = "no image: the cell is empty"
                    yield Row(name, data if isinstance(data, bytes) else empty, _decode, kept)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"damaged Parquet file ({first_line(error)})") from None
