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
    """Say whether a path is an address on remote storage."""
    return "://" in path


def read(url: str, most: int) -> bytes:
    """Read a whole file of at most `most` bytes.

    Raises:
        DataError: it is not there, cannot be read or is too large.
    """
    with _place(url) as (system, base, path):
        data: bytes = system.cat_file(base + path)
    if len(data) > most:
        raise DataError(f"too large: expected at most {most:,} bytes")
    return data


def open_file(url: str) -> Any:
    """Open a file for those who need not read all of it.

    Raises:
        DataError: it is not there or cannot be read.
    """
    with _place(url) as (system, base, path):
        return system.open(base + path, "rb")


def find(url: str, suffixes: Collection[str]) -> list[str]:
    """Find the files that an address with `*` matches, or those of a folder by their suffixes.

    Returns:
        Addresses, sorted; of a folder as a local one is walked: its files, then its sub-folders.

    Raises:
        DataError: it cannot be listed.
    """
    with _place(url) as (system, base, path):
        if "*" in path:
            found = sorted(system.glob(base + path))
        else:
            every = system.find(base + path)
            known = (name for name in every if PurePosixPath(name).suffix.lower() in suffixes)
            found = sorted(known, key=_walked)
    return [url.removesuffix(path) + name.removeprefix(base) for name in found]


def _walked(name: str) -> list[tuple[bool, str]]:
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]


@contextmanager
def _place(url: str) -> Iterator[tuple[Any, str, str]]:
    """Give the file system, its name for the root, and the path from there, with its slash."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    try:
        system, base = _system(f"{scheme}://{host}/")
        yield system, base, slash + path
    except ZooError:
        raise
    except FileNotFoundError:
        raise DataError("no such file") from None
    except Exception as error:  # each storage has errors of its own
        reason = first_line(error)
        raise DataError(f"cannot be read ({reason})") from None


@functools.cache
def _system(root: str) -> tuple[Any, str]:
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
