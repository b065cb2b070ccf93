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
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.batch import remote
from serve.batch.files import File, is_hidden
from zoo import arrays, images
from zoo.datasets import csv, idx
from zoo.errors import DataError, first_line, needs_extra
from zoo.spec import ImageSpec, Spec, TableSpec

#: Rows in a block: what one run of the session takes, and the unit in which a job is resumed.
BLOCK = 256
#: Bytes of one image file or archive member; a larger one is an error, not a full memory.
MAX_FILE = 64_000_000

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone
Row = tuple[str, Any, Callable[..., NDArray[Any]]]


def rows(files: Iterable[File], spec: Spec) -> Iterator[Row]:
    """Yield the rows of files; an image file is read when its row is loaded, others here."""
    image = isinstance(spec, ImageSpec)
    for path, kind in files:
        try:
            if kind == "image" and image:
                yield path, path, _image
            elif kind.startswith("error: "):
                raise DataError(kind.removeprefix("error: "))
            else:
                yield from _many(path, kind, spec)
        except DataError as error:
            yield path, str(error).removeprefix(f"{path}: "), _decode


def _image(path: str, spec: ImageSpec, **how: Any) -> NDArray[np.uint8]:
    data = remote.read(path, MAX_FILE) if remote.is_url(path) else _file(path)
    return images.read(data, spec, **how)


def preview(row: Row, side: int) -> Image.Image | None:
    """Return a row's picture, as it is, for people to look at; None if it cannot be shown.

    Args:
        row: from `rows`, of a model that takes images.
        side: of the square into which it is reduced.
    """
    _, data, load = row
    try:
        if isinstance(data, np.ndarray):
            assert isinstance(load, partial)
            pixels = arrays.eight_bits(data, load.keywords["white"])
            return images.preview(Image.fromarray(np.squeeze(pixels)), side)
        if load is _image:
            data = remote.read(data, MAX_FILE) if remote.is_url(data) else _file(data)
        return images.preview(data, side) if isinstance(data, bytes) else None
    except Exception:  # the row has its error, from where it is decoded for the model
        return None


def _many(path: str, kind: str, spec: Spec) -> Iterator[Row]:
    """Read a file that holds many rows."""
    if remote.is_url(path):
        if kind != "parquet":
            raise DataError("on remote storage: expected images, folders or .parquet")
    elif not os.path.exists(path):
        raise DataError("no such file")
    if kind == "parquet":
        yield from _parquet(path, spec)
    elif kind in ("npy", "npz", "idx"):
        array, white = _array(path, kind, spec)
        load = partial(_finite, white=white)
        for number, row in enumerate(array):
            yield f"{path}[{number}]", row, load
    elif isinstance(spec, TableSpec):
        if kind != "csv":
            raise DataError("this model takes a table: expected .csv, .npy, .npz or .parquet")
        for number, texts in enumerate(csv.rows(Path(path), spec.columns)):
            yield f"{path}[{number}]", texts, _numbers
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


def _array(path: str, kind: str, spec: Spec) -> tuple[NDArray[Any], float]:
    """Open a file of arrays, as `_fitting`; an .npy file is mapped into memory, not read."""
    if kind == "idx":
        return _fitting(idx.read(Path(path)), spec)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if kind == "npy":
            return _fitting(loaded, spec)
        with loaded:
            if len(loaded.files) != 1:
                names = ", ".join(loaded.files) or "none"
                raise DataError(f"expected one array in the .npz file, found {names}")
            return _fitting(loaded[loaded.files[0]], spec)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"damaged .{kind} file ({error})") from None


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


def _finite(row: NDArray[Any], spec: Spec, *, white: float, **how: Any) -> NDArray[Any]:
    """Return the row in the model's dtype, which its array was checked to fit."""
    if isinstance(spec, ImageSpec):
        return images.of_its_size(arrays.eight_bits(row, white), spec, **how)
    if not (np.abs(row, dtype=np.float64) <= np.finfo(np.float32).max).all():  # NaN too
        raise DataError("expected finite numbers, found NaN, infinity or more than float32 holds")
    return np.asarray(row, np.float32)


def _numbers(texts: list[str], spec: TableSpec, **how: Any) -> NDArray[np.float32]:
    return np.array(csv.numbers(texts, spec.columns), np.float32)


def _parquet(path: str, spec: Spec) -> Iterator[Row]:
    with needs_extra("parquet", "a Parquet file"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        file = pq.ParquetFile(remote.open_file(path) if remote.is_url(path) else path)
        schema = file.schema_arrow
        if isinstance(spec, TableSpec):
            missing = [name for name in spec.columns if name not in schema.names]
            if missing:
                raise DataError(f"missing columns: {', '.join(missing)}")
            columns = list(spec.columns)
        else:
            columns = [field.name for field in schema if _holds_images(pa, field.type)]
            if len(columns) != 1:
                names = ", ".join(columns) or "none"
                raise DataError(f"expected one column of image bytes, found {names}")
        number = 0
        for batch in file.iter_batches(BLOCK, columns=columns):
            for row in batch.to_pylist():
                name = f"{path}[{number}]"
                number += 1
                cells = [row[column] for column in columns]
                if isinstance(spec, TableSpec):
                    yield name, ["" if cell is None else str(cell) for cell in cells], _numbers
                else:
                    data = cells[0]["bytes"] if isinstance(cells[0], dict) else cells[0]
                    empty = "no image: the cell is empty"
                    yield name, data if isinstance(data, bytes) else empty, _decode
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"damaged Parquet file ({first_line(error)})") from None


def _holds_images(pa: Any, kind: Any) -> bool:
    """Say whether a column holds bytes, plain or as {bytes, path} (the way of Hugging Face)."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
