"""Sinks: where predictions go. A file is written beside its place and renamed at the end.

What is written so far survives a kill: `.NAME.part` holds whole blocks of rows, `.NAME.job` says of
which job, and `--resume` goes on behind the last whole block.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from serve.batch.sources import BLOCK
from zoo.errors import UsageError, needs_extra
from zoo.files import write_atomic

SUFFIXES = (".csv", ".jsonl", ".parquet")

#: Columns of equal length, by name: `source`, then what was predicted, then `error`.
Columns = dict[str, list[Any]]


class Sink(Protocol):
    """Takes rows, a block at a time."""

    def write(self, columns: Columns) -> None:
        """Write some rows."""


class Table:
    """A plain table on stdout; the first rows settle the widths."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def write(self, columns: Columns) -> None:
        """Print some rows."""
        names = [name for name in columns if name != "error"]
        rows = list(zip(*(map(_cell, columns[name]) for name in names), strict=True))
        if not self._widths:
            self._widths = [
                max(len(name), *(len(row[place]) for row in rows))
                for place, name in enumerate(names)
            ]
            self._print(names)
        for row, error in zip(rows, columns["error"], strict=True):
            if error is None:
                self._print(row)
            else:
                print(f"{row[0]:{self._widths[0]}}  error: {error}")

    def _print(self, cells: Any) -> None:
        first, *rest = (
            f"{cell:{'<' if place == 0 else '>'}{width}}"
            for place, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
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
        """Keep some rows."""
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
        text = {name for name in columns if name in ("source", "error") or "label" in name}
        kinds = [(name, pa.string() if name in text else pa.float32()) for name in columns]
        batch = pa.record_batch(columns, schema=pa.schema(kinds))
        if self._header:
            self._file.write(batch.schema.serialize())
            self._header = False
        self._file.write(batch.serialize())
        self._file.flush()


class Job:
    """A file to write, and how far an earlier try came.

    Attributes:
        done: whole blocks that are written already.
    """

    def __init__(self, path: Path, description: dict[str, Any], resume: bool) -> None:
        self._suffix = path.suffix.lower()
        if self._suffix not in SUFFIXES:
            raise UsageError(f"output {path}: expected a name ending in {', '.join(SUFFIXES)}")
        if self._suffix == ".parquet":
            with needs_extra("parquet", "a .parquet output"):
                pass
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._job = path.with_name(f".{path.name}.job")
        self._note = msgspec.json.encode(description)
        self.done = 0
        if not resume:
            return
        if not self._part.exists():
            if path.exists():
                raise UsageError(f"--resume: {path} is finished; there is nothing to go on with")
            return  # killed before the first block, or never begun: begin
        if not self._job.exists() or self._job.read_bytes() != self._note:
            raise UsageError(
                f"--resume: {self._part} belongs to another job; run the same command as before, "
                f"or leave --resume out to start over"
            )
        self.done = self._cut()

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open the sink; the file takes its place if all went well.

        A kill or Ctrl-C leaves what is done for --resume; any other error leaves nothing.

        Raises:
            OSError: it cannot be written.
        """
        try:
            write_atomic(self._job, self._note)
            with self._part.open("ab" if self.done else "wb") as file:
                yield self._sink(file)
            if self._suffix == ".parquet":
                self._to_parquet()
            self._part.replace(self._path)
            self._job.unlink()
        except Exception as error:
            self._part.unlink(missing_ok=True)
            self._job.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename = str(self._path)
            raise

    def _sink(self, file: IO[bytes]) -> Sink:
        if self._suffix == ".csv":
            return _Csv(file, fresh=not self.done)
        if self._suffix == ".jsonl":
            return _Jsonl(file)
        return _Arrow(file, fresh=not self.done)

    def _cut(self) -> int:
        """Cut the part off behind its last whole block; return how many blocks stay."""
        if self._suffix == ".parquet":
            ends = list(_messages(self._part)) or [0]  # the first is the schema's
        else:
            with self._part.open("rb") as file:
                records = _records(file, header=self._suffix == ".csv")
                ends = [0, *itertools.islice(records, BLOCK - 1, None, BLOCK)]
        with self._part.open("r+b") as file:
            file.truncate(ends[-1])
        return len(ends) - 1

    def _to_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        whole = self._part.with_suffix(".whole")
        with (
            self._part.open("rb") as file,
            pa.ipc.open_stream(file) as stream,
            pq.ParquetWriter(whole, stream.schema) as writer,
        ):
            for batch in stream:
                writer.write_batch(batch)
        whole.replace(self._part)


def _messages(path: Path) -> Iterator[int]:
    """Yield the offset behind each whole message of an Arrow stream."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        while True:
            try:
                pa.ipc.read_message(file)
            except (pa.ArrowException, OSError, EOFError):
                return
            yield file.tell()


def _records(file: IO[bytes], *, header: bool) -> Iterator[int]:
    """Yield the offset behind each whole record; a quoted CSV field may hold line ends."""
    quotes = at = 0
    for line in file:
        at += len(line)
        quotes += line.count(b'"') if header else 0
        if not line.endswith(b"\n"):
            return
        if quotes % 2 == 0:
            if header:
                header, quotes = True, 0
                if at == len(line):
                    continue  # the header line is no record
            yield at
