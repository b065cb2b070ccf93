"""Sinks: where predictions go. A file is written beside its place and renamed at the end."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from zoo.errors import UsageError

SUFFIXES = (".csv", ".jsonl")


class Sink(Protocol):
    """Takes rows: dicts with `source`, then `label`, `probability`, ... or `error`."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write some rows."""


class Table:
    """A plain table on stdout; the first rows settle the widths."""

    def __init__(self) -> None:
        self._width = 0

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Print some rows."""
        if not self._width:
            self._width = max(6, *(len(row["source"]) for row in rows))
            names = [name for name in rows[0] if name not in ("source", "error", "top")]
            print(f"{'source':{self._width}}", *(f"{name:>11}" for name in names), sep="  ")
        for row in rows:
            if row["error"] is not None:
                print(f"{row['source']:{self._width}}  error: {row['error']}")
                continue
            top = row.get("top") or [row]
            for place, guess in enumerate(top):
                name = row["source"] if place == 0 else ""
                values = [
                    guess[key] for key in ("label", "probability", "prediction") if key in guess
                ]
                cells = [f"{v:>11.4f}" if isinstance(v, float) else f"{v:>11}" for v in values]
                print(f"{name:{self._width}}", *cells, sep="  ")


class Collect:
    """Keeps the rows, for one JSON document."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep some rows."""
        self.rows.extend(rows)


class _Csv:
    def __init__(self, file: IO[str]) -> None:
        self._file, self._writer = file, csv.writer(file)
        self._header = False

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            flat = {key: value for key, value in row.items() if key != "top"}
            error = flat.pop("error")
            for place, guess in enumerate(row.get("top") or []):
                flat |= {f"{key}_{place + 1}": value for key, value in guess.items()}
            if not self._header:
                self._writer.writerow([*flat, "error"])
                self._header = True
            self._writer.writerow([*flat.values(), error or ""])
        self._file.flush()


class _Jsonl:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self._file.write(msgspec.json.encode(row).decode() + "\n")
        self._file.flush()


@contextmanager
def open_file(path: Path) -> Iterator[Sink]:
    """Open a .csv or .jsonl file for writing; it takes its place only if all went well.

    Raises:
        UsageError: another suffix. OSError: it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"output {path}: expected a name ending in {' or '.join(SUFFIXES)}")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            yield _Csv(file) if suffix == ".csv" else _Jsonl(file)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            error.filename = str(path)
        raise


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
