"""Files: written atomically, and identified by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write to a temporary file beside `path`, fsync, rename: a reader never sees a torn file.

    Raises:
        OSError: no space, no permission; an existing file is unchanged.
    """
    if isinstance(data, str):
        data = data.encode()
    if path.exists() and not path.is_file():  # /dev/stdout, a named pipe: nothing to rename over
        path.write_bytes(data)
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # not the temporary file: messages show this name
        raise
    if os.name == "posix":  # the rename itself must survive a power failure
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def readable(name: str) -> str:
    """Return a file's name as text that can be encoded: bytes that are not UTF-8 become \\xff."""
    if name.isascii():
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
