"""Files: what the inputs of `zoo predict` stand for. Folders are walked, globs are expanded.

A file is its path and its kind: how it is read, or "error: ..." where it cannot be.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from serve.batch import remote
from zoo import images
from zoo.datasets import csv, idx
from zoo.errors import DataError

File = tuple[str, str]


def files(inputs: Iterable[str]) -> Iterator[File]:
    """Yield the files of the inputs, in their order; within a folder or glob, sorted.

    Args:
        inputs: files, folders, globs, remote addresses; `-` reads paths from stdin.
    """
    for text in inputs:
        yield from _files(text)


def _files(text: str) -> Iterator[File]:
    if text == "-":
        for line in sys.stdin.buffer:  # bytes: a name need not be UTF-8
            if line.strip():
                path = os.fsdecode(line.rstrip(b"\r\n"))
                yield path, kind(path)
        return
    path = os.path.expanduser(text)
    several: Iterator[File]
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
    elif not os.path.exists(path) and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        several = ((name, kind(name)) for name in matches if os.path.isfile(name))
        missing = "no file matches"
    else:
        yield path, kind(path)
        return
    yield next(several, (text, f"error: {missing}"))
    yield from several


def walk(folder: str) -> Iterator[File]:
    """Yield the images of a folder, recursively: its own, then those of its sub-folders."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(folder for folder in folders if not is_hidden(folder))
        start = os.path.join(base, "")  # once a folder: joining each name would take longer
        for name in sorted(names):
            if name[name.rfind(".") :].lower() in images.SUFFIXES and name[0] != ".":
                yield start + name, "image"


def is_hidden(path: str) -> bool:
    """Say whether a file is one that systems leave about: hidden, or a Mac's `__MACOSX/._x.png`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/") if part)


def kind(path: str) -> str:
    """Return how a file is read, by its name: "image", "csv", "npy", "tar", "idx" and so on."""
    name = path.lower()
    if os.path.splitext(name)[1] in images.SUFFIXES:
        return "image"
    if csv.looks_like_csv(name):
        return "csv"
    if name.endswith((".npy", ".npz", ".zip", ".parquet")):
        return name.rpartition(".")[2]
    if name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")):
        return "tar"
    return "idx" if idx.looks_like_idx(path) else "image"


def count(inputs: Iterable[str]) -> int | None:
    """Return how many image files the inputs stand for, None where that is not known in advance."""
    total = 0
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            total += sum(1 for _ in walk(text))
        elif text == "-" or kind(text) != "image" or not path.exists():
            return None
        else:
            total += 1
    return total
