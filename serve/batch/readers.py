"""Readers: files to rows, one by one: images, archives, arrays, CSV and Parquet.

A row is its name, its data, and the function that turns the data into the model's input. So rows
that are finished can be passed over without decoding them, and a row can be decoded in another
process than the one that read it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tarfile import HeaderError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.batch import remote
from serve.batch.files import PASSED, PAUSE, File, is_left_about
from zoo import images
from zoo.datasets import csv, idx
from zoo.errors import DataError, first_line, needs_extra
from zoo.files import readable
from zoo.spec import ImageSpec, Spec, TableSpec

#: Rows in a block: what one run of the session takes, and the unit in which a job is resumed.
BLOCK = 256
#: Bytes of one image file or archive member; a larger one is an error, not a full memory.
MAX_FILE = 64_000_000
_TOO_LARGE = f"too large: expected at most {MAX_FILE:,} bytes"

_HEAD = 512  # bytes of a member that tell its kind
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone
#: Its name, its data, and what loads it. Without a loader it is no row: a file that was passed
#: over, or a pause, as in `serve.batch.files`.
Row = tuple[str, Any, Callable[..., NDArray[Any]] | None]


def rows(files: Iterable[File], spec: Spec) -> Iterator[Row]:
    """Yield the rows of files; an image file is read when its row is loaded, others here."""
    image = isinstance(spec, ImageSpec)
    for path, kind in files:
        try:
            if kind == "image" and image:
                yield path, path, _image
            elif kind in (PASSED, PAUSE):
                yield path, kind, None
            elif kind.startswith("error: "):
                raise DataError(kind.removeprefix("error: "))
            else:
                empty = True
                for row in _many(path, kind, spec):
                    empty = False
                    yield row
                if empty:
                    raise DataError("holds no rows")
        except DataError as error:
            yield path, str(error).removeprefix(f"{path}: "), _decode
        except Exception as error:  # one odd file must not end a job of thousands
            yield path, unforeseen(path, error), _decode


def unforeseen(name: str, error: Exception) -> str:
    """Return the text of an error that no reader expects; `--debug` shows where it was raised."""
    logging.getLogger("zoo").debug("%s", readable(name), exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _image(path: str, spec: ImageSpec, **how: Any) -> NDArray[np.uint8]:
    data = remote.read(path, MAX_FILE) if remote.is_url(path) else _file(path)
    return images.read(data, spec, **how)


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
        for number, row in enumerate(_array(path, kind, spec)):
            yield f"{path}[{number}]", row, _finite
    elif isinstance(spec, TableSpec):
        if kind != "csv":
            raise DataError("this model takes a table: expected .csv, .npy, .npz or .parquet")
        for number, texts in enumerate(csv.rows(Path(path), spec.columns)):
            yield f"{path}[{number}]", texts, _numbers
    elif kind in ("zip", "tar"):
        empty = True
        for name, data in _zip(path) if kind == "zip" else _tar(path):
            empty = empty and data is None
            row = f"{path}/{name}"
            yield (row, PASSED, None) if data is None else (row, data, _decode)
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
                raise DataError(_TOO_LARGE)
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


#: Of a member of an archive: its name, and its bytes, or why there are none, or None: passed over.
_Member = tuple[str, bytes | str | None]


def _zip(path: str) -> Iterator[_Member]:
    """Yield the members of a .zip file, in its own order, nothing unpacked to disk."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:
        raise DataError(f"damaged archive ({first_line(error)})") from None
    with archive:
        for info in archive.infolist():
            name = _name(info)
            if info.is_dir() or is_left_about(name):
                continue
            try:
                yield name, _zip_member(archive, info)
            except Exception as error:  # its compression's own: LZMA, bzip2, ...
                yield name, f"damaged in the archive ({first_line(error)})"


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | str | None:
    if stat.S_ISLNK(info.external_attr >> 16):  # its data is the path that it leads to
        target = posixpath.join(posixpath.dirname(info.filename), archive.read(info).decode())
        try:
            info = archive.getinfo(posixpath.normpath(target))
        except KeyError:
            return "a link to what is not in the archive"
    if info.file_size > MAX_FILE:
        return _TOO_LARGE if _is_image(info.filename) else None
    if not _is_image(info.filename):
        with archive.open(info) as file:
            if not images.is_picture(file.read(_HEAD)):
                return None
    return archive.read(info)


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name: without the flag for UTF-8, the system's that zipped it.

    `zipfile` takes it for the code page 437 of the United States, as the format says; Chinese
    systems write GBK. GB 2312, its everyday part, does not mistake accented Latin letters.
    """
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    raw = info.orig_filename.encode("cp437", "replace")
    for encoding in ("utf-8", "gb2312", "gbk"):
        with contextlib.suppress(UnicodeDecodeError):
            if encoding != "gbk" or max(raw) >= 0xB0:  # in code page 437: frames and Greek letters
                return raw.decode(encoding)
    return info.filename


def _tar(path: str) -> Iterator[_Member]:
    """Yield the members of a .tar file, compressed or not, in its own order."""
    offset = 0
    try:
        with tarfile.open(path, tarinfo=_Entry) as archive:
            for entry in archive:
                offset = archive.offset
                if entry.isdir() or is_left_about(entry.name):
                    continue
                try:
                    yield entry.name, _tar_member(archive, entry)
                except KeyError:
                    yield entry.name, "a link to what is not in the archive"
                except tarfile.TarError as error:
                    yield entry.name, f"damaged in the archive ({first_line(error)})"
            offset = archive.offset
            _check_end(archive)
    except DataError:
        raise
    except Exception as error:  # its compression's own, too
        where = f" behind byte {offset:,}" if offset else ""
        raise DataError(f"damaged archive{where} ({first_line(error)})") from None


def _tar_member(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | str | None:
    file = archive.extractfile(entry)  # of a link: what it leads to
    if file is None:
        return None  # a device or a pipe
    head = file.read(_HEAD)
    if not (_is_image(entry.name) or images.is_picture(head)):
        return None
    data = head + file.read(MAX_FILE - len(head) + 1)
    return _TOO_LARGE if len(data) > MAX_FILE else data


class _Entry(tarfile.TarInfo):
    """A member that notes why no further one follows: `tarfile` itself stops without a word."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Any:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            tarfile.ending = error
            raise


def _check_end(archive: Any) -> None:
    """Raise DataError unless the archive ends with its end mark."""
    if isinstance(archive.ending, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
        return
    damaged = isinstance(archive.ending, tarfile.InvalidHeaderError)  # type: ignore[attr-defined]
    reason = "a damaged header" if damaged else "no end mark, so it may be cut short"
    raise DataError(f"damaged archive at byte {archive.offset:,} ({reason}): the rest is not read")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in images.SUFFIXES


def _array(path: str, kind: str, spec: Spec) -> NDArray[Any]:
    """Open a file of arrays; an .npy file is mapped into memory, not read."""
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


def _finite(
    row: NDArray[Any], spec: Spec, *, prepare: Any, invert: Any, first_frame: bool
) -> NDArray[Any]:
    """Return the row in the model's dtype, which its array was checked to fit."""
    if isinstance(spec, TableSpec) and not np.isfinite(row).all():
        raise DataError("expected finite numbers, found NaN or infinity")
    row = np.asarray(row, spec.tensor.dtype)
    return images.of_its_size(row, spec, prepare, invert) if isinstance(spec, ImageSpec) else row


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
