"""Parquet files: tables, and images with labels in the way of the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from zoo.datasets.csv import Line, check_names
from zoo.errors import DataError, UsageError, first_line, listed, needs_extra

#: Rows that are in memory at a time.
_BATCH = 256
_LABELS = ("label", "labels", "class", "target", "y", "digit", "fine_label", "category")


class Labelled(NamedTuple):
    """An image's encoded bytes (None: the cell is empty), and its label: a number or a name."""

    data: bytes | None
    label: int | str


def header(path: Path) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        DataError: it is missing or damaged. ZooError: pyarrow is not installed.
    """
    with _open(path) as file:
        return list(file.schema_arrow.names)


def lines(path: Path, columns: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Line]:
    """Yield the rows of a table, as `zoo.datasets.csv.lines` does; the first row is line 1.

    Raises:
        DataError: as `header`; no rows, a column that is missing or there twice.
    """
    with _open(path) as file:
        check_names(file.schema_arrow.names, [*columns, *keep], path)
        if not file.metadata.num_rows:
            raise DataError(f"{path}: no rows")
        number = 0
        for batch in file.iter_batches(_BATCH, columns=list(dict.fromkeys([*columns, *keep]))):
            for row in batch.to_pylist():
                number += 1
                texts = {name: "" if cell is None else str(cell) for name, cell in row.items()}
                own = tuple(texts[name] for name in keep)
                yield Line(number, [texts[name] for name in columns], own)


def class_names(path: Path, target: str = "") -> tuple[str, ...]:
    """Return the names of the classes that the Hugging Face Hub's own metadata give, or ()."""
    with _open(path) as file:
        _, label = _columns(file.schema_arrow, path, target)
        try:
            described = json.loads(file.schema_arrow.metadata[b"huggingface"])
            names = described["info"]["features"][label]["names"]
        except (KeyError, TypeError, ValueError):
            return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def images(path: Path, target: str = "") -> Iterator[Labelled]:
    """Yield the images of a file with their labels.

    Args:
        path: the file, with one column of image bytes, plain or as {bytes, path}.
        target: the column of labels; by default the one that is called so.

    Raises:
        DataError: as `header`; no such columns, a blank label.
    """
    with _open(path) as file:
        image, label = _columns(file.schema_arrow, path, target)
        number = 0
        for batch in file.iter_batches(_BATCH, columns=[image, label]):
            for row in batch.to_pylist():
                cell, name = row[image], row[label]
                if name is None or not str(name).strip():
                    raise DataError(f"{path}[{number}]: column {label!r} is blank")
                data = cell["bytes"] if isinstance(cell, dict) else cell
                yield Labelled(data, name if isinstance(name, int) else str(name).strip())
                number += 1


def has_images(path: Path) -> bool:
    """Say whether a file has a column of images.

    Raises:
        DataError: it is damaged.
    """
    with _open(path) as file:
        return any(holds_images(column.type) for column in file.schema_arrow)


def holds_images(kind: Any) -> bool:
    """Say whether a column of this pyarrow type holds bytes, plain or as {bytes, path}."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _columns(schema: Any, path: Path, target: str) -> tuple[str, str]:
    """Return the names of the columns of images and of labels."""
    import pyarrow as pa

    found = [column.name for column in schema if holds_images(column.type)]
    if len(found) != 1:
        raise DataError(f"{path}: expected one column of image bytes, found {listed(found)}")
    types = pa.types
    others = [
        column.name
        for column in schema
        if types.is_integer(column.type)
        or types.is_string(column.type)
        or types.is_large_string(column.type)
        or types.is_dictionary(column.type)
    ]
    if target:
        if target not in others:
            raise UsageError(f"{path}: no column {target!r} of labels; there are {listed(others)}")
        return found[0], target
    named = [name for name in others if name.lower() in _LABELS] or others
    if len(named) != 1:
        raise UsageError(
            f"{path}: expected one column of labels, found {listed(named)}: give --target COLUMN"
        )
    return found[0], named[0]


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with needs_extra("parquet", "a Parquet file"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged Parquet file ({first_line(error)})") from None
