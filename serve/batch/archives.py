"""Archives: the pictures in .zip and .tar files, one by one, nothing unpacked to disk."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from tarfile import HeaderError
from typing import Any

from zoo import images
from zoo.errors import DataError, first_line
from zoo.files import is_left_about

#: Bytes of one image file or archive member; a larger one is an error, not a full memory.
MAX_FILE = 64_000_000
TOO_LARGE = f"too large: expected at most {MAX_FILE:,} bytes"
_HEAD = 512  # bytes of a member that tell its kind

#: Of a member: its name, and its bytes, or why there are none, or None: passed over.
Member = tuple[str, bytes | str | None]


def members(path: str, kind: str) -> Iterator[Member]:
    """Yield the members of an archive, "zip" or "tar", in its own order.

    Raises:
        DataError: it is damaged; the members before the damage have been yielded.
    """
    return _zip(path) if kind == "zip" else _tar(path)


def _zip(path: str) -> Iterator[Member]:
    """Yield the members of a .zip file, in its own order, nothing unpacked to disk."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:
        raise DataError(f"damaged archive ({first_line(error)})") from None
    with archive:
        for info in archive.infolist():
            name = _name(info)
            if info.is_dir() or _left_about(name):
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
        return TOO_LARGE if _is_image(info.filename) else None
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


def _tar(path: str) -> Iterator[Member]:
    """Yield the members of a .tar file, compressed or not, in its own order."""
    offset = 0
    try:
        with tarfile.open(path, tarinfo=_Entry) as archive:
            for entry in archive:
                offset = archive.offset
                if entry.isdir() or any(
                    map(is_left_about, entry.name.removeprefix("./").split("/"))
                ):
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
    return TOO_LARGE if len(data) > MAX_FILE else data


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
    """Raise DataError unless the archive ends with its end mark.

    The standard library has these errors, and their type stubs do not.
    """
    if isinstance(archive.ending, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
        return
    damaged = isinstance(archive.ending, tarfile.InvalidHeaderError)  # type: ignore[attr-defined]
    reason = "a damaged header" if damaged else "no end mark, so it may be cut short"
    raise DataError(f"damaged archive at byte {archive.offset:,} ({reason}): the rest is not read")


def _left_about(name: str) -> bool:
    return any(is_left_about(part) for part in name.split("/") if part not in ("", "."))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in images.SUFFIXES
