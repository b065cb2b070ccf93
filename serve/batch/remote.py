"""Remote storage: files named by an address such as s3://bucket/folder/digit.png.

pyarrow's own file systems (s3, gs, abfs, hdfs, file) come first; any other scheme is fsspec's.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from zoo.errors import DataError, ZooError, first_line, needs_extra


def is_url(path: str) -> bool:
    """Return whether a path is an address on remote storage."""
    return "://" in path


def read(url: str, most: int) -> bytes:
    """Read a file of at most `most` bytes.

    Raises:
        DataError: it does not exist, cannot be read or is too large.
    """
    with _file_system(url) as (system, base, path):
        data: bytes = system.cat_file(base + path)
    if len(data) > most:
        raise DataError(f"too large: expected at most {most:,} bytes")
    return data


def open_file(url: str) -> Any:
    """Open a file of which only parts are needed.

    Raises:
        DataError: it does not exist or cannot be read.
    """
    with _file_system(url) as (system, base, path):
        return system.open(base + path, "rb")


def find(url: str, suffixes: Collection[str]) -> list[str]:
    """Find the files that an address with `*` matches, or those of a folder by their suffixes.

    Returns:
        Addresses, sorted; a folder's in the order of a local one: files, then sub-folders.

    Raises:
        DataError: it cannot be listed.
    """
    with _file_system(url) as (system, base, path):
        if "*" in path:
            names = sorted(system.glob(base + path))
        else:
            names = [
                name
                for name in sorted(system.find(base + path), key=_walk_order)
                if PurePosixPath(name).suffix.lower() in suffixes
            ]
    return [url.removesuffix(path) + name.removeprefix(base) for name in names]


def _walk_order(name: str) -> list[tuple[bool, str]]:
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]


@contextmanager
def _file_system(url: str) -> Iterator[tuple[Any, str, str]]:
    """Yield the file system, its name for the root, and the path from there, with its slash."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    try:
        system, base = _open_system(f"{scheme}://{host}/")
        yield system, base, slash + path
    except ZooError:
        raise
    except FileNotFoundError:
        raise DataError("no such file") from None
    except Exception as error:  # every storage has its own errors
        reason = first_line(error)
        raise DataError(f"cannot be read ({reason})") from None


@functools.cache
def _open_system(root: str) -> tuple[Any, str]:
    with needs_extra("ray", "remote storage"):
        import fsspec
        import pyarrow.fs
        from fsspec.implementations.arrow import ArrowFSWrapper
    try:
        system, base = pyarrow.fs.FileSystem.from_uri(root)
        system = ArrowFSWrapper(system)
    except pyarrow.ArrowInvalid:
        system, base = fsspec.core.url_to_fs(root)
    return system, base.rstrip("/")
