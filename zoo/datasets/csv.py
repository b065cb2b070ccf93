"""CSV files: one reader for training, evaluation and `zoo predict`; an error names the line.

What `zoo.datasets.dialect` finds is read: semicolons, tabs, decimal commas, UTF-16, gzip.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.datasets.dialect import Dialect, binary, detect, with_point
from zoo.errors import DataError, first_line, listed, nearest
from zoo.spec import TableSpec

LARGEST = float(np.finfo(np.float32).max)
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
#: Characters of a line; a longer one is an error, not a full memory.
_LONGEST = 1 << 24


class Line(NamedTuple):
    """A row of a table.

    Attributes:
        number: of its first line in the file; the header is usually 1.
        texts: the fields of the columns that were asked for, with a decimal point if numbers.
        kept: the fields of the columns to keep, as they are.
        error: why there are none, or "".
    """

    number: int
    texts: list[str]
    kept: tuple[str, ...] = ()
    error: str = ""


def looks_like_csv(path: str) -> bool:
    """Return whether the name is that of a CSV file, gzipped or not."""
    return path.lower().endswith(SUFFIXES)


def header(path: Path) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        DataError: as `lines`.
    """
    with _open(path, ()) as (names, _, _):
        return names


def described(path: Path) -> str:
    """Return how a file is read, if not as UTF-8 with commas: "Windows-1252, separated by tabs".

    Raises:
        DataError: as `lines`.
    """
    with _open(path, ()) as (_, _, dialect):
        plain = dialect.encoding in ("utf-8", "utf-8-sig") and dialect.delimiter == ","
        return "" if plain else dialect.text


def lines(path: Path, columns: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Line]:
    """Yield the rows of a CSV file, a few in memory at a time; blank lines are passed over.

    A row that cannot be read is one with its error, and the next one is read all the same: also
    where a quotation mark was never closed.

    Args:
        path: the file, gzipped or not.
        columns: names of columns that hold numbers.
        keep: names of columns whose text is wanted as it is.

    Raises:
        DataError: no such file, not text, no header, no rows; a column that is missing, or that
            the header names twice.
    """
    with _open(path, (*columns, *keep)) as (names, records, dialect):
        wanted, kept = (_indices(names, some, path, dialect.text) for some in (columns, keep))
        comma = dialect.decimal(wanted) == ","
        empty = True
        for number, row, error in records:
            empty = False
            own = tuple(row[index] if index < len(row) else "" for index in kept)
            if error:  # what is kept may be what the row is known by
                yield Line(number, [], own, error)
                continue
            texts = [row[index] for index in wanted]
            try:
                yield Line(number, list(map(with_point, texts)) if comma else texts, own)
            except DataError as reason:
                yield Line(number, [], own, str(reason))
        if empty:
            raise DataError(f"{path}: no rows below the header")


def rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts of the named columns, row by row.

    Raises:
        DataError: as `lines`, and for the first row that cannot be read.
    """
    for line in lines(path, columns):
        if line.error:
            raise DataError(f"{path} line {line.number}: {line.error}")
        yield line.texts


def raw(path: Path) -> Iterator[tuple[int, list[str], str]]:
    """Yield (line, fields, error) of all rows, the header included where there is one.

    Raises:
        DataError: no such file, not text.
    """
    with _open(path, ()) as (names, records, dialect):
        yield 1 + dialect.skipped, names, ""
        yield from records


def _indices(names: Sequence[str], columns: Sequence[str], path: Path, text: str) -> list[int]:
    """Return where the columns are in the header."""
    check_names(names, columns, path, f" ({text})")
    return [names.index(name) for name in columns]


def check_names(
    names: Sequence[str], columns: Sequence[str], path: object, dialect: str = ""
) -> None:
    """Check that a table has some columns, each of them once.

    Raises:
        DataError: one is missing or there twice; the message says what was found.
    """
    if missing := [name for name in columns if name not in names]:
        if all(is_number(name) for name in names):
            raise DataError(f"{path}: line 1 holds numbers, expected the names of the columns")
        hint = nearest(missing[0], names)
        raise DataError(
            f"{path}: missing columns: {listed(missing)}.{hint} Found: {listed(names)}{dialect}"
        )
    if twice := [name for name in dict.fromkeys(columns) if names.count(name) > 1]:
        raise DataError(f"{path}: the header has a column twice: {listed(twice)}")


def is_number(text: str) -> bool:
    """Return whether a text is a number, or nan."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Lines:
    """The lines of a file, counted; those of a bad record can be given back, all but the first."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file, self._path = file, path
        self._returned: deque[str] = deque()
        self.number = 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else self._file.readline(_LONGEST)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST:
            most = f"expected at most {_LONGEST:,} characters"
            raise DataError(f"{self._path} line {self.number}: too long, {most}")
        self.taken.append(line)
        return line

    def give_back(self) -> None:
        """Give back all lines of this record but its first."""
        self._returned.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield (line, fields, error) of each record; the first one is the header."""
    reader, width = csv.reader(lines, delimiter=delimiter), 0
    while True:
        lines.taken.clear()
        first, error, row = lines.number + 1, "", []
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as reason:
            error = first_line(reason)
        if not error and not "".join(row).strip() and len(row) < 2:
            continue
        width = width or len(row)
        if not error and len(row) != width:
            error = f"{len(row)} fields, the header has {width}"
        if error and len(lines.taken) > 1:
            lines.give_back()
            error = "a quotation mark is not closed"
        yield first, row, error


@contextmanager
def _open(
    path: Path, wanted: Sequence[str]
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str], str]], Dialect]]:
    """Yield the header, the records below it, and the dialect."""
    try:
        with binary(path) as file:
            dialect = detect(file, wanted)
            with io.TextIOWrapper(file, dialect.encoding, newline="") as text:
                source = _Lines(text, path)
                for _ in range(dialect.skipped):
                    next(source)
                records = _records(source, dialect.delimiter)
                _, names, error = next(records, (0, [], "no header"))
                if error:
                    raise DataError(f"line 1: {error}")
                yield [name.strip() for name in names], records, dialect
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except EOFError:
        raise DataError(f"{path}: the gzip stream is cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({first_line(error)})") from None
    except UnicodeError as error:
        raise DataError(f"{path}: not a CSV text file ({first_line(error)})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataError as error:
        reason = str(error)
        raise DataError(reason if reason.startswith(str(path)) else f"{path}: {reason}") from None


def numbers(texts: Sequence[str], columns: Sequence[str]) -> list[float]:
    """Turn one row's texts into numbers.

    Raises:
        DataError: an empty field, text, NaN or infinity; the column is named.
    """
    values = []
    for name, text in zip(columns, texts, strict=True):
        try:
            value = float(text if "_" not in text else "")  # to Python, 1_000 is a number
        except ValueError:
            raise DataError(f"column {name!r}: expected a number, found {text!r}") from None
        if not math.isfinite(value) or abs(value) > LARGEST:
            what = "a number in the range of float32" if math.isfinite(value) else "a finite number"
            raise DataError(f"column {name!r}: expected {what}, found {text!r}")
        values.append(value)
    return values


def check_range(row: NDArray[Any], columns: Sequence[str]) -> None:
    """Check that the numbers of a row, [columns] of any type, are finite in float32.

    Raises:
        DataError: one is not; the column is named.
    """
    good = np.abs(row) <= LARGEST  # false for NaN
    if not good.all():
        wrong = int(np.argmin(good))
        what = "a number in the range of float32" if np.isfinite(row[wrong]) else "a finite number"
        raise DataError(f"column {columns[wrong]!r}: expected {what}, found {row[wrong]}")


def read(
    path: Path, columns: Sequence[str], target: str, labels: Sequence[str] = ()
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read a CSV file's features, float32 [n, columns], and targets: int64 or float32 [n].

    Args:
        path: the file.
        columns: the feature columns, in the order wanted.
        target: the target column.
        labels: the classes' names; without them the target is a number.

    Raises:
        DataError: as `lines`; a row that cannot be read, or a field that is not a number or not a
            label, with its line and column.
    """
    return read_lines(lines, path, columns, target, labels)


def read_lines(
    source: Callable[..., Iterator[Line]],
    path: Path,
    columns: Sequence[str],
    target: str,
    labels: Sequence[str],
    convert: Callable[[Sequence[str]], list[float]] | None = None,
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read features and targets as `read` does, from a CSV file's `lines` or another table's.

    `convert` turns the fields of a row into features; by default each of them is a number.
    """
    features, targets = [], []
    numeric, keep = ((*columns, target), ()) if not labels else (tuple(columns), (target,))
    for line in source(path, numeric, keep):
        try:
            if line.error:
                raise DataError(line.error)
            fields = line.texts[: len(columns)]
            features.append(convert(fields) if convert else numbers(fields, columns))
            targets.append(
                _class(line.kept[0], target, labels)
                if labels
                else numbers(line.texts[-1:], (target,))[0]
            )
        except DataError as error:
            raise DataError(f"{path} line {line.number}: {error}") from None
    return np.array(features, np.float32), np.array(targets, np.int64 if labels else np.float32)


def _class(text: str, name: str, labels: Sequence[str]) -> int:
    if (text := text.strip()) not in labels:
        hint = nearest(text, labels)
        raise DataError(f"column {name!r}: expected one of {listed(labels)}, found {text!r}.{hint}")
    return labels.index(text)


def classes(source: Callable[..., Iterator[Line]], path: Path, target: str) -> tuple[str, ...]:
    """Return the different texts of a column, sorted.

    Raises:
        DataError: as `lines`, or a row whose field is blank.
    """
    texts = set()
    for line in source(path, (), (target,)):
        if line.error:
            raise DataError(f"{path} line {line.number}: {line.error}")
        if not (text := line.kept[0].strip()):
            raise DataError(f"{path} line {line.number}: column {target!r} is blank")
        texts.add(text)
    return tuple(sorted(texts))


def spec(columns: Sequence[str], features: NDArray[np.float32]) -> TableSpec:
    """Return the spec of the columns, with the mean and standard deviation of these rows."""
    std = features.std(axis=0, dtype=np.float64)
    return TableSpec(
        columns=tuple(columns),
        mean=tuple(features.mean(axis=0, dtype=np.float64).tolist()),
        std=tuple(
            np.where(np.ptp(features, axis=0), std, 1.0).tolist()
        ),  # a column with one value has std 0
    )
