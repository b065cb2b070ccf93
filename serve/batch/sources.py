"""Sources: what `zoo predict` reads. Each gives rows one by one, in the order of the input.

A row is its name, what is held of it, and the function that turns this into the model's input; so
rows that were done before can be passed over without decoding them, and a row can be decoded in
another process than the one that found it.
"""

from __future__ import annotations

import glob
import itertools
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serve.batch import remote
from zoo import images
from zoo.datasets import csv, idx
from zoo.errors import DataError, first_line, needs_extra
from zoo.files import readable
from zoo.spec import ImageSpec, Spec, TableSpec

#: Rows in a block: what one run of the session takes, and what a job does or has not done.
BLOCK = 256
#: Bytes of one image file or archive member; a larger one is an error, not a full memory.
MAX_FILE = 64_000_000

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone
Row = tuple[str, Any, Callable[[Any, Any], NDArray[Any]]]
#: A path and its kind; "error: ..." is what is wrong with it.
File = tuple[str, str]


class Block(NamedTuple):
    """Some rows.

    names: one a row; errors: None, or why the row could not be read, one a row;
    inputs: the rows without an error, as the model takes them.
    """

    names: list[str]
    errors: list[str | None]
    inputs: NDArray[Any]


def read(
    given: Iterable[str], spec: Spec, invert: images.Invert = "auto", skip: int = 0
) -> Iterator[Block]:
    """Read inputs for a model.

    Images: files, folders (recursive), globs, .zip and .tar archives, .npy, .npz, IDX, Parquet with
    a column of image bytes; `-` reads paths from stdin. Tables: .csv, .npy, .npz, Parquet.
    Images, folders, globs and Parquet may be on remote storage; see `serve.batch.remote`.

    Nothing is raised for an input that cannot be read: it is a row with its error.

    Args:
        given: as on the command line.
        spec: the model's input.
        invert: see `zoo.images.decode`.
        skip: blocks to pass over.
    """
    found = rows(files(given), spec)
    for _ in itertools.islice(found, skip * BLOCK):
        pass
    while some := list(itertools.islice(found, BLOCK)):
        yield block(some, spec, invert)


def block(some: Iterable[Row], spec: Spec, invert: images.Invert) -> Block:
    """Turn some rows into what the model takes."""
    names: list[str] = []
    good: list[NDArray[Any]] = []
    errors: list[str | None] = []
    for name, held, load in some:
        names.append(readable(name))
        try:
            good.append(load(held, spec))
            errors.append(None)
        except DataError as error:
            errors.append(str(error))
    empty = np.empty((0, *spec.tensor.row), spec.tensor.dtype)
    inputs = np.stack(good) if good else empty
    if isinstance(spec, ImageSpec):
        inputs = images.fit(inputs, spec, invert)
    return Block(names, errors, inputs)


def count(given: Iterable[str]) -> int | None:
    """Return how many image files there are, or None where an input holds many rows."""
    total = 0
    for text in given:
        path = Path(text)
        if path.is_dir():
            total += sum(1 for _ in _walk(text))
        elif text == "-" or _kind(text) != "image" or not path.exists():
            return None
        else:
            total += 1
    return total


def _fail(message: str, spec: Spec) -> NDArray[Any]:
    raise DataError(message)


def files(given: Iterable[str]) -> Iterator[File]:
    """Turn what was given into files; a folder is walked, a glob expanded, each sorted."""
    for text in given:
        yield from _files(text)


def rows(files: Iterable[File], spec: Spec) -> Iterator[Row]:
    """Yield the rows of files; their bytes are read here or when the row is loaded."""
    image = isinstance(spec, ImageSpec)
    for path, kind in files:
        try:
            if kind == "image" and image:
                yield path, path, _image
            elif kind.startswith("error: "):
                yield path, kind.removeprefix("error: "), _fail
            else:
                yield from _many(path, kind, spec)
        except DataError as error:
            yield path, str(error).removeprefix(f"{path}: "), _fail


def _image(path: str, spec: ImageSpec) -> NDArray[np.uint8]:
    data = remote.read(path, MAX_FILE) if remote.is_url(path) else _file(path)
    return images.decode(data, spec, "no")


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
        array = _array(path, kind, spec)
        check = _same if isinstance(spec, ImageSpec) else _finite
        for number in range(len(array)):
            yield f"{path}[{number}]", array[number], check
    elif isinstance(spec, TableSpec):
        if kind != "csv":
            raise DataError("this model takes a table: expected .csv, .npy, .npz or .parquet")
        for number, texts in enumerate(csv.rows(Path(path), spec.columns)):
            yield f"{path}[{number}]", texts, _numbers
    elif kind in ("zip", "tar"):
        for name, data in _members(path, kind):
            yield f"{path}/{name}", data, _member
    else:
        raise DataError("this model takes images, not a table")


def _kind(path: str) -> str:
    name = path.lower()
    if os.path.splitext(name)[1] in images.SUFFIXES:
        return "image"
    if name.endswith((".npy", ".npz", ".csv", ".zip", ".parquet")):
        return name.rpartition(".")[2]
    if name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")):
        return "tar"
    return "idx" if idx.looks_like_idx(path) else "image"


def _files(text: str) -> Iterator[File]:
    if text == "-":
        for line in sys.stdin.buffer:  # bytes: a name need not be UTF-8
            if line.strip():
                path = os.fsdecode(line.rstrip(b"\r\n"))
                yield path, _kind(path)
        return
    path = os.path.expanduser(text)
    found: Iterator[File]
    if remote.is_url(text):
        if "*" not in text and os.path.splitext(text)[1].lower() in (*images.SUFFIXES, ".parquet"):
            yield text, _kind(text)
            return
        try:
            found = ((url, _kind(url)) for url in remote.find(text, images.SUFFIXES))
        except DataError as error:
            found = iter([(text, f"error: {error}")])
        missing = "nothing there to read"
    elif os.path.isdir(path):
        found = _walk(path)
        missing = "a folder without images"
    elif not os.path.exists(path) and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        found = ((name, _kind(name)) for name in matches if os.path.isfile(name))
        missing = "no file matches"
    else:
        yield path, _kind(path)
        return
    first = next(found, (text, f"error: {missing}"))
    yield first
    yield from found


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    for base, folders, files in os.walk(folder):
        folders.sort()
        start = os.path.join(base, "")  # once a folder: joining each name would take longer
        for name in sorted(files):
            if name[name.rfind(".") :].lower() in images.SUFFIXES:
                yield start + name, "image"


def _file(path: str) -> bytes:
    """Read a whole image file; plain system calls, since a job has a hundred thousand of them."""
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


def _member(data: bytes | str, spec: ImageSpec) -> NDArray[np.uint8]:
    """Decode an archive's member, or raise what is wrong with it."""
    if isinstance(data, str):
        raise DataError(data)
    return images.decode(data, spec, "no")


def _members(path: str, kind: str) -> Iterator[tuple[str, bytes | str]]:
    """Yield the images of an archive, in its own order, nothing unpacked to disk."""
    too_large = f"too large: expected at most {MAX_FILE:,} bytes"
    found = False
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if os.path.splitext(member.filename)[1].lower() in images.SUFFIXES:
                        found = True
                        try:
                            large = member.file_size > MAX_FILE
                            yield member.filename, too_large if large else archive.read(member)
                        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
                            yield member.filename, f"damaged in the archive ({error})"
        else:
            with tarfile.open(path) as tar:
                for entry in tar:
                    suffix = os.path.splitext(entry.name)[1].lower()
                    if entry.isfile() and suffix in images.SUFFIXES:
                        found = True
                        file = tar.extractfile(entry)
                        assert file is not None
                        yield entry.name, too_large if entry.size > MAX_FILE else file.read()
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"damaged archive ({error})") from None
    if not found:
        raise DataError("an archive without images")


def _array(path: str, kind: str, spec: Spec) -> NDArray[Any]:
    """Open a file of arrays; an .npy file is mapped, not read."""
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
    """Check an array of rows; one image alone and gray ones without channels are welcome."""
    given = f"{array.dtype} {list(array.shape)}"
    want = spec.tensor.row
    text = ", ".join(map(str, want))
    if isinstance(spec, TableSpec):
        if array.dtype.kind != "f" or array.shape[1:] != want:
            raise DataError(f"holds {given}, expected float32 [n, {text}]")
        return array
    if spec.channels == 1 and array.shape[-2:] == want[:2]:
        array = array[..., np.newaxis]
    if array.shape == want:
        array = array[np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != want:
        raise DataError(f"holds {given}, expected uint8 [n, {text}]")
    return array


def _same(row: NDArray[Any], spec: ImageSpec) -> NDArray[Any]:
    return row


def _finite(row: NDArray[Any], spec: TableSpec) -> NDArray[np.float32]:
    if not np.isfinite(row).all():
        raise DataError("expected finite numbers, found NaN or infinity")
    return np.asarray(row, np.float32)


def _numbers(texts: list[str], spec: TableSpec) -> NDArray[np.float32]:
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
                if isinstance(spec, TableSpec):
                    yield name, [row[column] for column in columns], _cells
                else:
                    yield name, row[columns[0]], _cell
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"damaged Parquet file ({first_line(error)})") from None


def _holds_images(pa: Any, kind: Any) -> bool:
    """Say whether a column holds bytes, plain or as {bytes, path} (the way of Hugging Face)."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _cell(value: Any, spec: ImageSpec) -> NDArray[np.uint8]:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise DataError("no image: the cell is empty")
    return images.decode(data, spec, "no")


def _cells(values: list[Any], spec: TableSpec) -> NDArray[np.float32]:
    texts = ["" if value is None else str(value) for value in values]
    return _numbers(texts, spec)
