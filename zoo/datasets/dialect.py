"""The dialect of a CSV file: its compression, encoding, delimiter and decimal mark.

Spreadsheets write semicolons and decimal commas in half of the world, and encodings of their own.
`csv.Sniffer` is no help: it takes any character that recurs for the delimiter (the "e" of a column
of names, the "." of numbers), and fails on a single column. Here the candidates are few, and each
of them is judged by what it makes of the first rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from zoo.errors import DataError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_HEAD, _CHUNK = 1 << 16, 1 << 20
#: Those of UTF-32 come first: they begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8 = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)  # one character of several bytes
#: Frequent Chinese characters and full-width punctuation, in GBK.
_GBK = re.compile(rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]")
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)*|[.,]\d+)([eE][-+]?\d+)?\s*")
_COMMA = re.compile(r"\s*[-+]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][-+]?\d+)?\s*")
_POINT = re.compile(r"\s*[-+]?(\d{1,3}(,\d{3})+|\d*)\.\d+([eE][-+]?\d+)?\s*")
_THOUSANDS = re.compile(r"\s*[-+]?[1-9]\d{0,2}(,\d{3})+\s*")
_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n')


class Dialect(NamedTuple):
    """How a CSV file is read.

    Attributes:
        encoding: Python's name of it.
        delimiter: one of `DELIMITERS`.
        skipped: lines above the header: 1 where Excel's `sep=;` is the first line.
        sample: the first rows, the header included.
    """

    encoding: str
    delimiter: str
    skipped: int
    sample: list[list[str]]

    def decimal(self, indices: Sequence[int]) -> str:
        """Return the decimal mark of some columns: "," if more numbers have it than have a point.

        Where commas separate the fields, a quoted "1,234" is taken for thousands.
        """
        cells = [row[index] for row in self.sample[1:] for index in indices if index < len(row)]
        commas = [cell for cell in cells if _COMMA.fullmatch(cell)]
        if self.delimiter == ",":
            commas = [cell for cell in commas if not _THOUSANDS.fullmatch(cell)]
        points = [cell for cell in cells if _POINT.fullmatch(cell)]
        return "," if len(commas) > len(points) else "."

    @property
    def text(self) -> str:
        """The dialect in words, for messages."""
        encoding = {"cp1252": "Windows-1252", "gb18030": "GBK"}.get(self.encoding, self.encoding)
        if encoding.startswith("utf"):
            encoding = encoding.upper().removesuffix("-SIG")
        return f"{encoding}, separated by {DELIMITERS[self.delimiter]}"


def with_point(text: str) -> str:
    """Return a number that has a decimal comma with a point, and any other text as it is.

    Raises:
        DataError: it has a point alone, which may be either mark.
    """
    if _COMMA.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if _POINT.fullmatch(text):
        raise DataError(f"{text!r} has a decimal point, other numbers of the file have commas")
    return text


@contextmanager
def binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is gzipped or not, so that it can be read twice: a pipe is copied to disk.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb") as raw:
        file: IO[bytes] = raw
        if not raw.seekable():
            file = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115  # closed below
            while chunk := raw.read(_CHUNK):
                file.write(chunk)
            file.seek(0)
        with file:
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if gzipped:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield cast("IO[bytes]", unzipped)
            else:
                yield file


def detect(file: IO[bytes], wanted: Sequence[str] = ()) -> Dialect:
    """Find the dialect of a CSV file, which is left at its start.

    Args:
        file: it is read once to its end, for its encoding, and never held in memory.
        wanted: names of columns; the delimiter by which most of them are found is the right one.

    Raises:
        DataError: empty, or not text.
    """
    encoding = _encoding(file)
    file.seek(0)
    data = file.read(_HEAD)
    whole = len(data) < _HEAD
    text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    file.seek(0)
    if not text.strip():
        raise DataError("empty file")
    if (line := _SEPARATOR.match(text)) and line[1] in DELIMITERS:
        return Dialect(encoding, line[1], 1, _sample(text[line.end() :], line[1], whole))
    samples = {mark: _sample(text, mark, whole) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: _score(samples[mark], wanted))
    if any("\0" in name for name in samples[best][0]):
        raise DataError("not a text file: its first line has NUL bytes")
    return Dialect(encoding, best, 0, samples[best])


def _sample(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    """Parse the first rows; the last one may be cut."""
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    return rows if whole or len(rows) < 2 else rows[:-1]


def _score(rows: list[list[str]], wanted: Sequence[str]) -> tuple[float, ...]:
    """Judge a delimiter by its rows: names found, rows of one length, numbers, fields."""
    names = {name.strip() for name in rows[0]} if rows else set()
    width = len(rows[0]) if rows else 0
    if width < 2:
        return (0.0,)
    cells = [cell for row in rows for cell in row]
    return (
        1 + sum(name in names for name in wanted),
        sum(len(row) == width for row in rows) / len(rows),
        sum(_NUMBER.fullmatch(cell) is not None for cell in cells) / len(cells),
        width,
    )


def _encoding(file: IO[bytes]) -> str:
    """Find an encoding in which the whole file can be decoded."""
    head = file.read(_HEAD)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "")
    if not encoding and len(head) > 3:  # ASCII in UTF-16: every other byte is 0
        zeros = [head[start::2].count(0) / len(head[start::2]) for start in (0, 1)]
        if max(zeros) > 0.7 and min(zeros) < 0.1:
            encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    if encoding:
        if not _decodes(file, encoding):
            raise DataError(f"not a CSV text file: it begins as {encoding.upper()}, and is not")
        return encoding
    if _decodes(file, "utf-8"):
        return "utf-8"
    some = _high_bytes(file)
    characters = _UTF8.findall(some)
    others = len(_HIGH.findall(_UTF8.sub(b" ", some)))
    if len(characters) > others:
        raise DataError("not a CSV text file: it is UTF-8 in part, with bytes that are not")
    chinese = sum(map(len, _GBK.findall(some))) > 0.7 * sum(map(len, _HIGH.findall(some)))
    encoding = "gb18030" if chinese else "cp1252"
    if not _decodes(file, encoding):
        raise DataError("not a CSV text file: expected UTF-8, UTF-16, Windows-1252 or GBK")
    return encoding


def _decodes(file: IO[bytes], encoding: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _high_bytes(file: IO[bytes]) -> bytes:
    """Return the first 64 KiB of those lines that are not ASCII."""
    file.seek(0)
    lines: list[bytes] = []
    while sum(map(len, lines)) < _HEAD and (line := file.readline(_HEAD)):
        if not line.isascii():
            lines.append(line)
    return b"".join(lines)
