"""Images in a CSV file, a row each: pixels from 0 to 255, row by row, and a label or not.

As MNIST is passed around (`label,1x1,1x2,...`, Kaggle's `label,pixel0,...`, OpenML's
`pixel1,...,class`), with a header line or without one. Without one, the label is the first field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.datasets import csv, idx
from zoo.errors import DataError, listed

_LABELS = {"label", "labels", "class", "target", "y", "digit", "letter", "character"}
_PIXEL = re.compile(r"(pixel|px|pix|p|x|v|col)?[ _-]?\d+([x_,-]\d+)?", re.IGNORECASE)
#: Sides in pixels: two columns are no picture.
_SMALLEST = 4


class Layout(NamedTuple):
    """Where the fields of a row are: `pixels` are side * side of them, `label` one or None."""

    side: int
    pixels: list[int]
    label: int | None
    header: bool


class Picture(NamedTuple):
    """A row: its line in the file, uint8 [side, side, 1], its label, fields kept; or the error."""

    line: int
    image: NDArray[np.uint8] | None
    label: str
    kept: tuple[str, ...] = ()
    error: str = ""


def layout(first: Sequence[str]) -> Layout | None:
    """Find the pixels by the first line of a CSV file; None: it is another table."""
    header = not all(map(csv.is_number, first)) or list(first) == list(map(str, range(len(first))))
    if not header:
        side = math.isqrt(len(first))
        label = 0 if len(first) == side**2 + 1 else None
        pixels = list(range(len(first)))[0 if label is None else 1 :]
    else:
        labels = [place for place, name in enumerate(first) if name.lower() in _LABELS]
        label = labels[0] if len(labels) == 1 else None
        pixels = [
            place for place, name in enumerate(first) if place != label and _PIXEL.fullmatch(name)
        ]
        if label is None and len(pixels) == math.isqrt(len(pixels)) ** 2 + 1:
            label = pixels.pop(0)  # a header of numbers: 0, 1, 2, ...
    side = math.isqrt(len(pixels))
    if side**2 != len(pixels) or side < _SMALLEST:
        return None
    return Layout(side, pixels, label, header)


def looks_like_pixels(path: Path) -> bool:
    """Return whether a CSV file holds images.

    Raises:
        DataError: no such file, not text.
    """
    return layout(csv.header(path)) is not None


def read(path: Path, keep: Sequence[str] = ()) -> Iterator[Picture]:
    """Yield the images of a CSV file; those of EMNIST, stored transposed, are turned.

    A row that cannot be read is one with its error.

    Args:
        path: the file.
        keep: names of other columns whose text is wanted.

    Raises:
        DataError: no such file, not text, no pixels in it, no rows.
    """
    records = csv.raw(path)
    number, first, _ = next(records)
    if (form := layout(first)) is None:
        expected = "expected columns of pixels, such as 784 for 28 x 28, and a label or not"
        raise DataError(f"{path}: a table without images: {expected}. Found: {listed(first)}")
    if keep and not form.header:
        raise DataError(f"{path}: no header line, so no column {keep[0]!r}")
    csv.check_names(first, keep, path)
    kept = [first.index(name) for name in keep]
    turned, empty = idx.is_transposed(path.name), True
    if not form.header:
        empty = False
        yield _picture(number, first, form, [], turned)
    for number, fields, error in records:
        empty = False
        yield (
            Picture(number, None, "", (), error)
            if error
            else _picture(number, fields, form, kept, turned)
        )
    if empty:
        raise DataError(f"{path}: no rows below the header")


def _picture(
    number: int, fields: Sequence[str], form: Layout, kept: Sequence[int], turned: bool
) -> Picture:
    own = tuple(fields[place] for place in kept)
    label = "" if form.label is None else fields[form.label].strip()
    texts = [fields[place] for place in form.pixels]
    try:
        try:
            values = np.array(list(map(int, texts)), np.float64)  # twice as fast as from floats
        except (ValueError, OverflowError):
            values = np.array(texts, np.float64)
    except ValueError:
        wrong = next(field for place in form.pixels if not csv.is_number(field := fields[place]))
        return Picture(number, None, label, own, f"pixel {wrong!r}: expected 0 to 255")
    good = (values >= 0) & (values <= 255) & (values == np.floor(values))
    if not good.all():
        wrong = fields[form.pixels[int(np.argmin(good))]]
        error = f"pixel {wrong!r}: expected a whole number from 0 to 255"
        return Picture(number, None, label, own, error)
    image = values.astype(np.uint8).reshape(form.side, form.side, 1)
    return Picture(number, image.swapaxes(0, 1) if turned else image, label, own)
