"""Sources: the inputs of `zoo predict` as blocks of rows, in the order of the inputs."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serve.batch.files import PAUSE, files
from serve.batch.readers import BLOCK, Row, rows, unforeseen
from zoo import images
from zoo.errors import DataError, UsageError
from zoo.files import readable
from zoo.spec import ImageSpec, Spec

#: Ends the last block.
_END = Row("", PAUSE, None)


class Block(NamedTuple):
    """Up to `BLOCK` rows.

    Attributes:
        names: of each row.
        errors: of each row: None, or why it could not be read.
        inputs: the rows without an error, as the model takes them.
        passed: how many files before or between these rows were passed over, by their suffix.
        kept: the texts of each row's columns that are kept.
    """

    names: list[str]
    errors: list[str | None]
    inputs: NDArray[Any]
    passed: Counter[str]
    kept: Sequence[Sequence[str | None]] = ()


def read(
    inputs: Iterable[str],
    spec: Spec,
    written: Iterable[str] = (),
    keep: Sequence[str] = (),
    watch: Callable[[list[Row]], None] | None = None,
    **how: Any,
) -> Iterator[Block]:
    """Read inputs for a model.

    Images: files, folders (recursive), globs, .zip and .tar archives, .npy, .npz, IDX, Parquet with
    a column of image bytes; `-` reads names from stdin. Tables: .csv, .npy, .npz, Parquet.
    Images, folders, globs and Parquet may be on remote storage; see `serve.batch.remote`.

    Nothing is raised for an input that cannot be read: it is a row with its error.

    Args:
        inputs: as on the command line.
        spec: the model's input.
        written: names of the rows that an earlier attempt has written: the first rows, in order.
        keep: columns of tables whose texts come along.
        watch: is called with each block's rows before they are decoded.
        how: `prepare`, `invert` and `first_frame` of `zoo.images.decode`.

    Raises:
        UsageError: the first rows are not those that are written.
    """
    some: list[Row] = []
    size = 0
    for row in itertools.chain(_after(rows(files(inputs), spec, keep), iter(written)), [_END]):
        if row.data is not PAUSE:
            some.append(row)
            size += row.load is not None
        if size == BLOCK or (some and row.data is PAUSE):
            if watch is not None:
                watch([row for row in some if row.load is not None])
            yield block(some, spec, **how)
            some, size = [], 0


def _after(rows: Iterable[Row], written: Iterator[str]) -> Iterator[Row]:
    """Pass over the rows that are written."""
    number = 0
    expected = next(written, None)
    for row in rows:
        if expected is None or row.load is None:
            yield row
            continue
        number += 1
        if readable(row.name) != expected:
            raise UsageError(_changed(number, expected, readable(row.name)))
        expected = next(written, None)
    if expected is not None:
        raise UsageError(_changed(number + 1, expected, "missing"))


def _changed(number: int, written: str, found: str) -> str:
    return (
        f"--resume: the inputs have changed: row {number:,} that is written is {written}, now it "
        f"is {found}; restore the inputs, or start a new job without --resume"
    )


def block(
    rows: Iterable[Row],
    spec: Spec,
    prepare: images.Prepare = "auto",
    invert: images.Invert = "auto",
    first_frame: bool = False,
) -> Block:
    """Turn rows into what the model takes; the options as for `zoo.images.decode`."""
    names: list[str] = []
    good: list[NDArray[Any]] = []
    errors: list[str | None] = []
    passed: Counter[str] = Counter()
    kept: list[Sequence[str | None]] = []
    how: dict[str, Any] = {"prepare": prepare, "invert": invert, "first_frame": first_frame}
    for name, data, load, own in rows:
        if load is None:
            passed[os.path.splitext(name)[1].lower()] += 1
            continue
        names.append(readable(name))
        kept.append(own)
        try:
            good.append(load(data, spec, **how))
            errors.append(None)
        except DataError as error:
            errors.append(str(error))
        except Exception as error:  # one odd input must not end a job of thousands
            errors.append(unforeseen(name, error))
    empty = np.empty((0, *spec.tensor.row), spec.tensor.dtype)
    inputs = np.stack(good) if good else empty
    if isinstance(spec, ImageSpec):
        inputs, faults = images.fit(inputs, spec, prepare, invert)
        if any(faults):
            inputs = inputs[[fault is None for fault in faults]]
            remaining = iter(faults)
            errors = [next(remaining) if error is None else error for error in errors]
    return Block(names, errors, inputs, passed, kept)
