"""Files: what the inputs of `zoo predict` stand for. Folders are walked, globs are expanded.

A file is its path and its kind: how it is read, or "error: ..." where it cannot be. Two kinds hold
no rows: `PASSED` is a file in a folder that is not a picture, which is counted; `PAUSE` says that a
list on stdin has no further line for now, so that what was read need not wait for it.
"""

from __future__ import annotations

import glob
import itertools
import os
import queue
import stat
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from serve.batch import remote
from zoo import images
from zoo.datasets import csv, idx
from zoo.errors import DataError
from zoo.files import is_left_about

File = tuple[str, str]

PASSED, PAUSE = "passed over", "pause"
#: Seconds without a line on stdin after which the rows so far are predicted.
_PATIENCE = 0.5
#: Bytes at the beginning of a file that tell its kind; a tar archive's signature ends at 263.
_HEAD = 512
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


def files(inputs: Iterable[str]) -> Iterator[File]:
    """Yield the files of the inputs, in their order; within a folder or glob, sorted.

    Args:
        inputs: files, folders, globs, remote addresses; `-` reads such names from stdin.
    """
    for text in inputs:
        yield from _listed() if text == "-" else _files(text)


def _listed() -> Iterator[File]:
    """Yield the files that a list on stdin names, one a line, as soon as they are there."""
    lines: queue.Queue[str | Exception | None] = queue.Queue(10_000)

    def read() -> None:
        try:
            for line in _names(sys.stdin.buffer):
                lines.put(line)
            lines.put(None)
        except Exception as error:  # raised where the files are taken
            lines.put(error)

    threading.Thread(target=read, name="zoo-stdin", daemon=True).start()
    empty = True
    while True:
        try:
            line = lines.get(timeout=_PATIENCE)
        except queue.Empty:
            yield "-", PAUSE
            continue
        if isinstance(line, Exception):
            raise line
        if line is None:
            break
        if line.strip():
            empty = False
            yield from _files(line)
    if empty:
        yield "-", "error: an empty list on stdin"


def _names(stream: Any) -> Iterator[str]:
    """Yield the lines of a list; a byte order mark is none of it, and a name need not be UTF-8."""
    first = stream.readline()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, which PowerShell writes
        yield from (first + stream.read()).decode("utf-16", "replace").splitlines()
        return
    for line in itertools.chain([first.removeprefix(b"\xef\xbb\xbf")], stream):
        yield os.fsdecode(line.rstrip(b"\r\n"))


def _files(text: str) -> Iterator[File]:
    path = os.path.expanduser(text)
    several: Iterator[File]
    if "\0" in text:
        yield text.replace("\0", "\\0"), "error: a name that holds the character NUL"
        return
    if remote.is_url(text):
        if "*" not in text and os.path.splitext(text)[1].lower() in (*images.SUFFIXES, ".parquet"):
            yield text, kind(text)
            return
        try:
            several = ((url, kind(url)) for url in remote.find(text, images.SUFFIXES))
        except DataError as error:
            several = iter([(text, f"error: {error}")])
        missing = "nothing there to read"
    elif os.path.isdir(path):
        several = walk(path)
        missing = "a folder without images"
    elif not os.path.lexists(path) and glob.has_magic(path):
        several = _matches(path)
        missing = "no file matches"
    else:
        yield path, kind(path)
        return
    empty = True
    for file in several:
        empty = empty and file[1] == PASSED
        yield file
    if empty:
        yield text, f"error: {missing}"


def _matches(pattern: str) -> Iterator[File]:
    """Yield the files that a glob matches; a folder that it matches is walked."""
    literal, parts = "", pattern.split(os.sep)
    while len(parts) > 1 and os.path.isdir(os.path.join(literal, parts[0]) or os.sep):
        literal = (
            os.path.join(literal, parts.pop(0)) or os.sep
        )  # `photos[1]/*.png`: a folder's name
    pattern = os.path.join(glob.escape(literal), *parts)
    for name in sorted(glob.glob(pattern, recursive=True)):
        if not os.path.isdir(name):
            yield name, kind(name)
        elif "**" not in parts:  # which matches what is within, too
            yield from walk(name)


def walk(folder: str) -> Iterator[File]:
    """Yield the images of a folder, recursively: its own, then those of its sub-folders.

    Links to folders are followed, but for one that leads back to a folder it lies in. What is not
    an image by its name or its content is `PASSED`.
    """
    waiting: list[tuple[str, tuple[str, ...]]] = [(folder, ())]
    while waiting:
        base, departures = waiting.pop()
        try:
            with os.scandir(base) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield base, f"error: cannot be read ({error.strerror})"
            continue
        below = []
        for entry in found:
            name = entry.name
            if is_left_about(name):
                continue
            if entry.is_dir():
                links = departures
                if entry.is_symlink():
                    links = (*departures, os.path.realpath(base))
                    if _leads_back(entry.path, links):
                        yield entry.path, PASSED
                        continue
                below.append((entry.path, links))
            elif name[name.rfind(".") :].lower() in images.SUFFIXES:
                regular = entry.is_file() or entry.is_symlink()  # a broken link is a row's error
                yield (
                    entry.path,
                    "image" if regular else PASSED,
                )  # reading a pipe could wait forever
            else:
                picture = entry.is_file() and images.is_picture(_head(entry.path))
                yield entry.path, "image" if picture else PASSED
        waiting += reversed(below)


def _leads_back(link: str, departures: tuple[str, ...]) -> bool:
    """Say whether a link leads to a folder that one of these folders is, or lies in."""
    target = os.path.realpath(link)
    return any(folder == target or folder.startswith(target + os.sep) for folder in departures)


def kind(path: str) -> str:
    """Return how a file is read: "image", "csv", "npy", "tar", "idx" and so on.

    An image's name is enough, since its content decides when it is decoded. Another local file's
    content decides, and its name where the content does not tell.
    """
    name = path.lower()
    if os.path.splitext(name)[1] in images.SUFFIXES:
        return "image"
    head = b"" if remote.is_url(path) else _head(path)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _kind_of_zip(path)
    if csv.looks_like_csv(name):
        return "csv"
    if head[257:262] == b"ustar" or (head and name.endswith(_ARCHIVES)):
        return "tar"
    if images.is_picture(head):
        return "image"
    if name.endswith((".npy", ".npz", ".zip", ".parquet")):
        return name.rpartition(".")[2]
    if idx.looks_like_idx(path):
        return "idx"
    if head[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7") and tarfile.is_tarfile(path):
        return "tar"
    return "tar" if name.endswith(_ARCHIVES) else "image"


def _kind_of_zip(path: str) -> str:
    """Tell a zip archive from NumPy's .npz file, which is one, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # damaged, as its reader will say
        names = []
    arrays = all(name.endswith(".npy") for name in names) if names else path.endswith(".npz")
    return "npz" if arrays else "zip"


def _head(path: str) -> bytes:
    """Return a file's first bytes; none if it cannot be read, or only once, as a pipe."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb", buffering=0) as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def count(inputs: Iterable[str]) -> int | None:
    """Return how many image files the inputs stand for, None where that is not known in advance."""
    total = 0
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            total += sum(1 for file in walk(text) if file[1] != PASSED)
        elif text == "-" or not path.exists() or kind(text) != "image":
            return None
        else:
            total += 1
    return total
