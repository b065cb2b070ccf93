"""IDX files, the format of MNIST: a big-endian header, then the numbers; plain or gzipped.

Header: two zero bytes, a type code, the number of dimensions, then one uint32 a dimension
(http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

_CHUNK = 1 << 24
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def looks_like_idx(path: str) -> bool:
    """Return whether the name is that of an IDX file, gzipped or not."""
    name = os.path.basename(path).lower().removesuffix(".gz")
    return ".idx" in name or name.endswith("-ubyte")


def is_transposed(name: str) -> bool:
    """Return whether a file's images lie on their side: those of EMNIST do, as it is published.

    By its name, which begins with `emnist-` or holds it: nothing in the file says so.
    """
    return "emnist" in os.path.basename(name).lower()


def pictures(path: Path) -> NDArray[Any]:
    """Read an IDX file as `read` does; images of EMNIST are turned upright.

    Raises:
        DataError: as `read`.
    """
    array = read(path)
    return array.swapaxes(1, 2) if array.ndim == 3 and is_transposed(path.name) else array


def read(path: Path) -> NDArray[Any]:
    """Read an IDX file into an array of its own type, in native byte order.

    Raises:
        DataError: no such file, not IDX, damaged, cut short, or longer than its header says.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=raw) as file:
                    return _parse(file, path)
            return _parse(raw, path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except EOFError:
        raise DataError(f"{path}: the gzip stream is cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _parse(file: IO[bytes] | gzip.GzipFile, path: Path) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise DataError(f"{path}: not an IDX file (it begins with {magic.hex(' ') or 'nothing'})")
    dtype, dimensions = np.dtype(_TYPES[magic[2]]), magic[3]
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{path}: the IDX header is cut short")
    shape = struct.unpack(f">{dimensions}I", header)
    expected = math.prod(shape) * dtype.itemsize
    data = bytearray()  # in chunks: a false header must not reserve as much memory as it promises
    while len(data) <= expected and (chunk := file.read(min(_CHUNK, expected + 1 - len(data)))):
        data += chunk
    if len(data) != expected:
        actual = "more" if len(data) > expected else f"{len(data)}"
        raise DataError(f"{path}: shape {shape} needs {expected} bytes of data, found {actual}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
