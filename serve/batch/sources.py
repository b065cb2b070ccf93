"""Sources: the inputs of `zoo predict` as blocks of rows, in the order of the inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serve.batch.files import files
from serve.batch.readers import BLOCK, Row, rows
from zoo import images
from zoo.errors import DataError, first_line
from zoo.files import readable
from zoo.spec import ImageSpec, Spec


class Block(NamedTuple):
    """Up to `BLOCK` rows.

    Attributes:
        names: of each row.
        errors: of each row: None, or why it could not be read.
        inputs: the rows without an error, as the model takes them.
    """

    names: list[str]
    errors: list[str | None]
    inputs: NDArray[Any]


def read(
    inputs: Iterable[str],
    spec: Spec,
    skip: int = 0,
    watch: Callable[[list[Row]], None] | None = None,
    **how: Any,
) -> Iterator[Block]:
    """Read inputs for a model.

    Images: files, folders (recursive), globs, .zip and .tar archives, .npy, .npz, IDX, Parquet with
    a column of image bytes; `-` reads paths from stdin. Tables: .csv, .npy, .npz, Parquet.
    Images, folders, globs and Parquet may be on remote storage; see `serve.batch.remote`.

    Nothing is raised for an input that cannot be read: it is a row with its error.

    Args:
        inputs: as on the command line.
        spec: the model's input.
        skip: blocks to pass over.
        watch: is called with each block's rows before they are decoded.
        how: `prepare` and `invert` of `zoo.images.decode`.
    """
    remaining = itertools.islice(rows(files(inputs), spec), skip * BLOCK, None)
    while some := list(itertools.islice(remaining, BLOCK)):
        if watch is not None:
            watch(some)
        yield block(some, spec, **how)


def block(rows: Iterable[Row], spec: Spec, **how: Any) -> Block:
    """Turn rows into what the model takes; `how` as for `read`."""
    names: list[str] = []
    good: list[NDArray[Any]] = []
    errors: list[str | None] = []
    for name, data, load in rows:
        names.append(readable(name))
        try:
            good.append(load(data, spec, **how))
            errors.append(None)
        except DataError as error:
            errors.append(str(error))
        except Exception as error:  # one odd input must not end a job of thousands
            errors.append(f"{type(error).__name__}: {first_line(error)}")
    empty = np.empty((0, *spec.tensor.row), spec.tensor.dtype)
    inputs = np.stack(good) if good else empty
    if isinstance(spec, ImageSpec):
        inputs, faults = images.fit(inputs, spec, **how)
        if any(faults):
            inputs = inputs[[fault is None for fault in faults]]
            remaining = iter(faults)
            errors = [next(remaining) if error is None else error for error in errors]
    return Block(names, errors, inputs)
