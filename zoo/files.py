"""Files: written atomically, locked, and identified by their SHA-256."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import listed


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


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock on a lock file, if nobody else does; yields whether it is held.

    The system frees it with the process, however that ends. The package filelock does the same; its
    import would take a fifth of the time of a job with 10,000 images.

    Raises:
        OSError: the lock file cannot be written.
    """
    file, held = os.open(path, os.O_RDWR | os.O_CREAT), False
    try:
        held = _try_lock(file)
        if held:  # its holder may have removed the file between the opening and the lock
            held = path.exists() and os.path.samestat(os.fstat(file), path.stat())
        yield held
    finally:
        if held:
            path.unlink(missing_ok=True)
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_left_about(name: str) -> bool:
    """Say whether systems leave files or folders of this name about: hidden ones and the like."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def passed_over(suffixes: Counter[str]) -> str:
    """Return what was passed over in a line: "12 files passed over: 8 .mp4, 3 .txt, 1 .pdf"."""
    total = suffixes.total()
    if not total:
        return ""
    named = [(-count, suffix or "without a suffix") for suffix, count in suffixes.items()]
    names = listed([f"{-count:,} {suffix}" for count, suffix in sorted(named)])
    return f"{total:,} {'file' if total == 1 else 'files'} passed over: {names}"


def readable(name: str) -> str:
    """Return a file's name as text that can be encoded: bytes that are not UTF-8 become \\xff."""
    if name.isascii():
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
