"""Sinks: where predictions go, a block of rows at a time. A file's bytes are flushed with each."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from typing import IO, Any, Protocol

import msgspec

#: Columns of equal length, by name: `source`, then what was predicted, then `error`.
Columns = dict[str, list[Any]]

#: Columns of numbers; all others are text, those that were kept too.
_NUMBER = re.compile(r"prediction|probability(_\d+)?")

SUFFIXES = (".csv", ".jsonl", ".parquet")


class Sink(Protocol):
    """Takes rows, a block at a time."""

    def write(self, columns: Columns) -> None:
        """Write a block of rows."""


class Table:
    """A plain table on stdout; the first block sets the widths."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def write(self, columns: Columns) -> None:
        """Print a block of rows."""
        names = [name for name in columns if name != "error"]
        rows = list(zip(*(map(_cell, columns[name]) for name in names), strict=True))
        if not self._widths:
            self._widths = [
                max(len(name), *(len(row[column]) for row in rows))
                for column, name in enumerate(names)
            ]
            self._print(names)
        for row, error in zip(rows, columns["error"], strict=True):
            if error is None:
                self._print(row)
            else:
                print(f"{row[0]:{self._widths[0]}}  error: {error}")

    def _print(self, cells: Any) -> None:
        first, *rest = (
            f"{cell:{'>' if column else '<'}{width}}"
            for column, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
        )
        print(first, *rest, sep="  ")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


class Collect:
    """Keeps the rows, for one JSON document."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, columns: Columns) -> None:
        """Keep a block of rows."""
        self.rows.extend(_rows(columns))


def _rows(columns: Columns) -> Iterator[dict[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


class _Csv:
    def __init__(self, file: IO[bytes], fresh: bool) -> None:
        self._file, self._header = file, fresh

    def write(self, columns: Columns) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if self._header:
            writer.writerow(columns)
            self._header = False
        writer.writerows(zip(*columns.values(), strict=True))
        self._file.write(text.getvalue().encode())
        self._file.flush()


class _Jsonl:
    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._encode = file, msgspec.json.Encoder().encode_lines

    def write(self, columns: Columns) -> None:
        self._file.write(self._encode(list(_rows(columns))))
        self._file.flush()


class _Arrow:
    """Arrow's stream format, which can be cut and appended to as a Parquet file cannot."""

    def __init__(self, file: IO[bytes], fresh: bool) -> None:
        import pyarrow as pa

        self._pa, self._file, self._header = pa, file, fresh

    def write(self, columns: Columns) -> None:
        pa = self._pa
        kinds = [
            (name, pa.float32() if _NUMBER.fullmatch(name) else pa.string()) for name in columns
        ]
        batch = pa.record_batch(columns, schema=pa.schema(kinds))
        if self._header:
            self._file.write(batch.schema.serialize())
            self._header = False
        self._file.write(batch.serialize())
        self._file.flush()


def writer(file: IO[bytes], suffix: str, fresh: bool) -> Sink:
    """Return the sink for an output file; `fresh`: a header has to be written first."""
    if suffix == ".jsonl":
        return _Jsonl(file)
    return _Csv(file, fresh) if suffix == ".csv" else _Arrow(file, fresh)


def on_stdout(format: str) -> Sink:
    """Return the sink for stdout: "table", "csv" or "jsonl"; the latter two in UTF-8."""
    if format == "table":
        return Table()
    return writer(sys.stdout.buffer, f".{format}", fresh=True)
