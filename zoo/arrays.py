"""Arrays of pictures as people hold them: of 0 to 1 or of 0 and 1, channels first, flattened, one.

    rows = shaped(array, spec)              # a view [n, size, size, channels], or None
    eight_bits(rows, white(rows))           # uint8

Nothing is read twice and nothing copied before `eight_bits`: `array` may be mapped from a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError
from zoo.spec import ImageSpec

#: Numbers that are looked at together, so that a large file is not in memory at once.
_CHUNK = 1 << 22
#: Rounding that a resampling leaves outside of 0 to 1, as a fraction of white.
_ROUNDING = 1e-3
#: How much likelier than by chance the neighbor of a 1 is a 1, in drawings of black and white;
#: lines of one pixel have 0.2, noise has 0.
_DRAWN = 0.12


def shaped(array: NDArray[Any], spec: ImageSpec) -> NDArray[Any] | None:
    """Return an array of pictures as [n, size, size, channels], or None if its shape is another.

    Args:
        array: [n, size, size, channels] or [n, channels, size, size]; gray pictures also
            [n, size, size] or [n, size * size]; one picture also without n.
        spec: gives size and channels.
    """
    size, channels = spec.size, spec.channels
    row, ndim, shape = (size, size, channels), array.ndim, array.shape
    if ndim in (3, 4) and shape[-3:] == row:
        rows = array
    elif channels == 1 and ndim in (2, 3) and shape[-2:] == (size, size):
        rows = array[..., np.newaxis]
    elif ndim in (3, 4) and shape[-3:] == (channels, size, size):
        rows = np.moveaxis(array, -3, -1)
    elif channels == 1 and ndim in (1, 2) and shape[-1] == size * size:
        rows = array.reshape(*shape[:-1], *row)
    else:
        return None
    return rows[np.newaxis] if rows.ndim == 3 else rows


def white(pictures: NDArray[Any]) -> float:
    """Return the number that stands for white in pictures, which are all of one kind.

    That is 1 for bool, for floats of 0 to 1, and for whole numbers of 0 and 1 that are a drawing
    in black and white, not an almost black picture's noise; 255 for others up to 255; 1023, 4095,
    16383 or 65535 for larger whole numbers.

    Raises:
        DataError: no numbers, negative ones, or larger ones than these.
    """
    kind = pictures.dtype.kind
    if kind == "b":
        return 1.0
    if kind not in "iuf":
        raise DataError(f"expected numbers, given {pictures.dtype}")
    low = high = 0.0
    for chunk in _chunks(pictures):
        finite = {"where": np.isfinite(chunk)} if kind == "f" else {}  # the others: see eight_bits
        low = min(low, float(chunk.min(initial=0, **finite)))
        high = max(high, float(chunk.max(initial=0, **finite)))
        if pictures.dtype == np.uint8 and high > 1:
            return 255.0
    if kind == "f" and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return 1.0
    if low < -255 * _ROUNDING or high > (255 * (1 + _ROUNDING) if kind == "f" else 65535):
        raise DataError(
            f"expected pixels of 0 to 255 or of 0 to 1, given {low:g} to {high:g}; "
            f"the model normalizes them itself"
        )
    if high > 255 and kind != "f":
        return whole_scale(high)
    return 1.0 if high == 1 and kind != "f" and _is_drawn(pictures) else 255.0


def whole_scale(largest: float) -> float:
    """Return what white is among whole numbers up to `largest`, of 10, 12, 14 or 16 bits."""
    return next((2.0**bits - 1 for bits in (10, 12, 14, 16) if largest < 2**bits), largest)


def eight_bits(pictures: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Return pictures as uint8, where 255 is white.

    Raises:
        DataError: a pixel is NaN or infinite.
    """
    if pictures.dtype == np.uint8 and white == 255:
        return pictures
    values = pictures.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError("pixels that are not finite numbers")
    return (values * (255 / white) + 0.5).clip(0, 255).astype(np.uint8)


def _chunks(pictures: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _CHUNK // max(1, pictures[:1].size))
    for start in range(0, len(pictures), rows):
        yield pictures[start : start + rows]


def _is_drawn(pictures: NDArray[Any]) -> bool:
    """Say whether ones among zeros lie together, as in a drawing; a sample is looked at.

    pictures: [n, height, width, channels].
    """
    ones = np.pad(pictures[:1000] > 0, ((0, 0), (1, 1), (1, 1), (0, 0)))
    share = float(ones[:, 1:-1, 1:-1].mean())
    height, width = (length - 2 for length in ones.shape[1:3])
    steps = [(y, x) for y in (0, 1, 2) for x in (0, 1, 2) if (y, x) != (1, 1)]
    beside = [ones[:, y : y + height, x : x + width][ones[:, 1:-1, 1:-1]].mean() for y, x in steps]
    return share == 1 or (float(np.mean(beside)) - share) / (1 - share) > _DRAWN
