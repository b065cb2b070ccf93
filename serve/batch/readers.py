"""Readers: files to rows, one by one: images, archives, arrays, CSV and Parquet.

A row is its name, its data, and the function that turns the data into the model's input. So rows
that are finished can be passed over without decoding them, and a row can be decoded in another
process than the one that read it.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.batch import remote
from serve.batch.files import File, is_hidden
from zoo import images
from zoo.datasets import csv, idx, labelled, parquet, pixels
from zoo.errors import DataError, UsageError, first_line, listed, needs_extra
from zoo.spec import ImageSpec, Spec, TableSpec

#: Rows in a block: what one run of the session takes, and the unit in which a job is resumed.
BLOCK = 256
#: Bytes of one image file or archive member; a larger one is an error, not a full memory.
MAX_FILE = 64_000_000

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone
_Load = Callable[..., NDArray[Any]]
#: Name, data, load, and where columns are kept (`--keep`) their texts.
Row = tuple[str, Any, _Load] | tuple[str, Any, _Load, tuple[str | None, ...]]


def rows(files: Iterable[File], spec: Spec, keep: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of files; an image file is read when its row is loaded, others here.

    Raises:
        UsageError: columns are to be kept, and a file has none.
    """
    image = isinstance(spec, ImageSpec)
    for path, kind in files:
        if keep and kind not in ("csv", "parquet") and not kind.startswith("error: "):
            raise UsageError(f"--keep: expected .csv or .parquet files, {path} has no columns")
        try:
            if kind == "image" and image:
                yield path, path, _image
            elif kind.startswith("error: "):
                raise DataError(kind.removeprefix("error: "))
            else:
                yield from _many(path, kind, spec, keep)
        except DataError as error:
            yield path, str(error).removeprefix(f"{path}: "), _decode


def _image(path: str, spec: ImageSpec, **how: Any) -> NDArray[np.uint8]:
    data = remote.read(path, MAX_FILE) if remote.is_url(path) else _file(path)
    return images.read(data, spec, **how)


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
        name, array = _array(path, kind, spec)
        for number, row in enumerate(array):
            yield f"{name}[{number}]", row, _finite
    elif isinstance(spec, TableSpec):
        if kind != "csv":
            raise DataError("this model takes a table: expected .csv, .npy, .npz or .parquet")
        for number, line in enumerate(csv.lines(Path(path), spec.columns, keep)):
            name, error = f"{path}[{number}]", line.error and f"line {line.number}: {line.error}"
            yield name, error or line.texts, _numbers, line.kept
    elif kind == "csv":
        yield from _pixels(path, keep)
    elif kind in ("zip", "tar"):
        for name, data in _members(path, kind):
            yield f"{path}/{name}", data, _decode
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
        if len(data) == 65_536:
            parts = [data]
            while part := os.read(file, 1 << 20):
                parts.append(part)
                if len(parts) > MAX_FILE >> 20:
                    raise DataError(f"too large: expected at most {MAX_FILE:,} bytes")
            data = b"".join(parts)
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


def _members(path: str, kind: str) -> Iterator[tuple[str, bytes | str]]:
    """Yield the images of an archive, in its own order, nothing unpacked to disk."""
    too_large = f"too large: expected at most {MAX_FILE:,} bytes"
    empty = True
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if _is_image(member.filename):
                        empty = False
                        try:
                            large = member.file_size > MAX_FILE
                            yield member.filename, too_large if large else archive.read(member)
                        except Exception as error:  # its compression's own: LZMA, bzip2, ...
                            yield member.filename, f"damaged in the archive ({first_line(error)})"
        else:
            with tarfile.open(path) as tar:
                for entry in tar:
                    if entry.isfile() and _is_image(entry.name):
                        empty = False
                        file = tar.extractfile(entry)
                        assert file is not None
                        yield entry.name, too_large if entry.size > MAX_FILE else file.read()
    except DataError:
        raise
    except Exception as error:  # its compression's own, too
        raise DataError(f"damaged archive ({first_line(error)})") from None
    if empty:
        raise DataError("an archive without images")


def _is_image(name: str) -> bool:
    """Say whether a member of an archive is an image, by its name."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in images.SUFFIXES and not is_hidden(name.removeprefix("./"))


def _array(path: str, kind: str, spec: Spec) -> tuple[str, NDArray[Any]]:
    """Open a file of arrays; an .npy file is mapped into memory, not read. Return its name too.

    Of the arrays of an .npz file, those of images or features are taken; the name says which.
    """
    if kind == "idx":
        return path, _fitting(idx.pictures(Path(path)), spec)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if kind == "npy":
            return path, _fitting(loaded, spec)
        with loaded:
            name = _inputs(loaded.files)
            array = _fitting(loaded[name], spec)
            return path if len(loaded.files) == 1 else f"{path}/{name}", array
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


def _fitting(array: NDArray[Any], spec: Spec) -> NDArray[Any]:
    """Check an array of rows; it may also be one image, and gray images may lack the channels."""
    holds = f"holds {array.dtype} {list(array.shape)}"
    row = spec.tensor.row
    expected = f"expected {spec.tensor.dtype} [n, {', '.join(map(str, row))}]"
    if isinstance(spec, TableSpec):
        if array.dtype.kind != "f" or array.shape[1:] != row:
            raise DataError(f"{holds}, {expected}")
        return array
    if spec.channels == 1 and array.shape[-2:] == row[:2]:
        array = array[..., np.newaxis]
    if array.shape == row:
        array = array[np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != row:
        raise DataError(f"{holds}, {expected}")
    return array


def _finite(row: NDArray[Any], spec: Spec, **how: Any) -> NDArray[Any]:
    """Return the row in the model's dtype, which its array was checked to fit."""
    if isinstance(spec, TableSpec):
        csv.check_range(row, spec.columns)
    row = np.asarray(row, spec.tensor.dtype)
    return images.of_its_size(row, spec, **how) if isinstance(spec, ImageSpec) else row


def _numbers(texts: list[str] | str, spec: TableSpec, **how: Any) -> NDArray[np.float32]:
    """Turn a row's texts into numbers; a text instead of them is why there are none."""
    if isinstance(texts, str):
        raise DataError(texts)
    return np.array(csv.numbers(texts, spec.columns), np.float32)


def _pixels(path: str, keep: Sequence[str]) -> Iterator[Row]:
    """Yield the images of a CSV file of pixels."""
    if pixels.layout(csv.header(Path(path))) is None:
        raise DataError("this model takes images, not a table: expected columns of pixels")
    for number, picture in enumerate(pixels.read(Path(path), keep)):
        error = picture.error and f"line {picture.line}: {picture.error}"
        yield f"{path}[{number}]", error or picture.image, _of_any_size, picture.kept


def _of_any_size(image: NDArray[np.uint8] | str, spec: ImageSpec, **how: Any) -> NDArray[np.uint8]:
    """Bring uint8 [height, width, channels] to the model's size; a text is why there is none."""
    if isinstance(image, str):
        raise DataError(image)
    if image.shape == spec.tensor.row:
        return images.of_its_size(image, spec, **how)
    return images.scale(image, spec, **how)


def _parquet(path: str, spec: Spec, keep: Sequence[str]) -> Iterator[Row]:
    with needs_extra("parquet", "a Parquet file"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        file = pq.ParquetFile(remote.open_file(path) if remote.is_url(path) else path)
        schema = file.schema_arrow
        if isinstance(spec, TableSpec):
            columns = list(spec.columns)
        else:
            columns = [field.name for field in schema if parquet.holds_images(field.type)]
            if len(columns) != 1:
                names = ", ".join(columns) or "none"
                raise DataError(f"expected one column of image bytes, found {names}")
        csv.check_names(schema.names, [*columns, *keep], path)
        number = 0
        for batch in file.iter_batches(BLOCK, columns=list(dict.fromkeys([*columns, *keep]))):
            for row in batch.to_pylist():
                name = f"{path}[{number}]"
                number += 1
                cells = [row[column] for column in columns]
                kept = tuple(None if row[key] is None else str(row[key]) for key in keep)
                if isinstance(spec, TableSpec):
                    texts = ["" if cell is None else str(cell) for cell in cells]
                    yield name, texts, _numbers, kept
                else:
                    data = cells[0]["bytes"] if isinstance(cells[0], dict) else cells[0]
                    empty = "no image: the cell is empty"
                    yield name, data if isinstance(data, bytes) else empty, _decode, kept
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"damaged Parquet file ({first_line(error)})") from None
