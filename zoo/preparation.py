"""From a picture of a digit to what MNIST's models take: light strokes on black, in the middle.

As MNIST was made (Y. LeCun, C. Cortes, C. Burges): the longer side of the digit is 20 of 28 pixels
and its center of mass is in the middle. The pictures that people take differ: gray, colored or
unevenly lit paper, a small digit in a corner, ruled lines, the edge of a table. So the ink is found
by its distance from the background around it, in color, not by its brightness:

1. the background: the color of the border, if that is even; else twice: by a median over a wide
   window, and by a morphological closing (for dark ink) or opening (for light ink), which follow
   the edge of a shadow;
2. the ink is what differs from both, above the noise and above Otsu's threshold;
3. of its connected components the heaviest near the middle, and those close to it; what touches
   the border of the picture is the edge of a table or a ruled line, if anything else is there;
4. cropped, scaled, strokes of less than two pixels thickened, contrast to full, centered.

Both polarities are tried; the one whose ink is more in one place is taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from zoo.errors import DataError

Gray = NDArray[np.uint8]
#: Longer side of the picture in which the ink is looked for, and of the one for the median.
SIDE, COARSE = 256, 48
#: Windows, as fractions of the shorter side: wider than a stroke, narrower than a sheet.
_MEDIAN, _STROKE = 0.45, 0.3
#: Fractions of the side: of the digit in the result; of a stroke in pixels of the result.
_BOX, _THIN = 20 / 28, 1.9
#: The least contrast between ink and background, of 255, and how many times the noise it must be.
_CONTRAST, _NOISES = 12.0, 3.2
#: The most that a border of one color varies, of 255, and that strokes cover of a picture.
_EVEN, _MOST = 12, 0.35


class _Ink(NamedTuple):
    """A digit: its strokes, float32 [height, width] of 0 to 1, and how likely they are one."""

    strokes: NDArray[np.float32]
    score: float


def is_prepared(images: Gray) -> NDArray[np.bool_]:
    """Say which images are in the models' own form: contrast, and a border that is black.

    Args:
        images: uint8 [n, size, size, 1].
    """
    sides = images[:, 1:-1, 0, 0], images[:, 1:-1, -1, 0]
    border = np.concatenate([images[:, 0, :, 0], images[:, -1, :, 0], *sides], axis=1)
    black = (np.median(border, axis=1) <= 8) & (border.mean(axis=1) <= 32)
    result: NDArray[np.bool_] = black & (images.max(axis=(1, 2, 3), initial=0) >= 128)
    return result


def are_centered(images: Gray) -> bool:
    """Say whether images are made as MNIST was: by and large in its box, about the center of mass.

    Args:
        images: uint8 [n, size, size, 1], light on dark; a sample of them is looked at.
    """
    sample = images[:: max(1, len(images) // 500), :, :, 0].astype(np.float32)
    size, mass = sample.shape[1], sample.sum(axis=(1, 2)) + 1e-6
    steps = np.arange(size) - (size - 1) / 2
    y, x = (np.abs((sample.sum(axis=axis) * steps).sum(axis=1) / mass) for axis in (2, 1))
    ink = sample > 64
    sides = [ink.any(axis=axis).sum(axis=1) for axis in (2, 1)]
    longer = np.maximum(*sides) / size
    centered = float(np.percentile(np.maximum(y, x), 90)) <= 1.0 * size / 28
    return centered and 0.6 <= float(np.median(longer)) <= 0.8


_NO_DIGIT = "no digit: the picture is blank, or its contrast is too low"


def prepare(picture: Gray, size: int, ink: str = "auto") -> Gray:
    """Find the digit in a picture and bring it to the form of MNIST.

    Args:
        picture: uint8 [height, width, 1 or 3], of any size.
        size: of the result.
        ink: "dark" or "light" of the digit beside its background; "auto" finds out.

    Returns:
        uint8 [size, size].

    Raises:
        DataError: the picture is blank, or too faint to tell ink from noise.
    """
    picture = _shrink(picture)
    even = _even_background(picture)
    median = _median(picture) if even is None else even
    distance = _norm(picture.astype(np.int16) - median)
    smooth = np.dstack([_blur(channel, 0.8) for channel in np.moveaxis(picture, 2, 0)])
    window = int(_STROKE * min(picture.shape[:2])) | 1
    found = []
    for kind, outer, inner in (("dark", np.maximum, np.minimum), ("light", np.minimum, np.maximum)):
        if ink in ("auto", kind):
            background = even
            if background is None:
                background = _slide(_slide(smooth, window, outer), window, inner).astype(np.int16)
            sign = 1 if kind == "dark" else -1
            contrast = _norm((sign * (background - picture)).clip(0))
            if (candidate := _digit(np.minimum(contrast, distance), picture)) is not None:
                found.append(candidate)
    if not found:
        raise DataError(_NO_DIGIT)
    return _center(max(found, key=lambda candidate: candidate.score).strokes, size)


def _even_background(picture: Gray) -> NDArray[np.int16] | None:
    """Return the color of the border if that is the same all around, int16 [channels]; or None.

    None, too, where most of the picture has another color: a sheet on a table, a scanner's frame.
    Otherwise it is the background of all, and strokes may be as wide as they are: the windows,
    which follow a shading, would take the middle of a wide stroke for background.
    """
    sides = picture[0], picture[-1], picture[:, 0], picture[:, -1]
    border = np.concatenate(sides).astype(np.int16)
    low, high = np.percentile(border, (2, 98), axis=0)
    if (high - low).max() > _EVEN:
        return None
    color: NDArray[np.int16] = np.median(border, axis=0).astype(np.int16)
    other = _norm(picture.astype(np.int16) - color) > 2 * _EVEN
    return color if other.mean() < _MOST else None


def _shrink(picture: Gray) -> Gray:
    height, width = picture.shape[:2]
    factor = SIDE / max(height, width)
    if factor >= 1:
        return picture
    return _resize(picture, (max(1, round(width * factor)), max(1, round(height * factor))))


def _resize(
    picture: Gray, size: tuple[int, int], how: Image.Resampling = Image.Resampling.BOX
) -> Gray:
    channels = [Image.fromarray(channel) for channel in np.moveaxis(picture, 2, 0)]
    return np.dstack([np.asarray(channel.resize(size, how)) for channel in channels])


def _filter(channel: Gray, margin: int, kernel: Any) -> Gray:
    """Apply one of Pillow's filters to [height, width], as if the border went on outside."""
    padded = Image.fromarray(np.pad(channel, margin, mode="edge")).filter(kernel)
    return np.asarray(padded)[margin:-margin, margin:-margin]


def _blur(channel: Gray, radius: float) -> Gray:
    return _filter(channel, int(3 * radius) + 1, ImageFilter.GaussianBlur(radius))


def _median(picture: Gray) -> Gray:
    """Return the median over a wide window: the background, where ink covers less than half."""
    height, width = picture.shape[:2]
    factor = COARSE / max(height, width)
    size = max(8, round(width * factor)), max(8, round(height * factor))
    small = _resize(picture, size)
    window = int(_MEDIAN * min(size)) | 1
    kernel = ImageFilter.MedianFilter(window)
    channels = [_filter(channel, window // 2, kernel) for channel in np.moveaxis(small, 2, 0)]
    return _resize(np.dstack(channels), (width, height), Image.Resampling.BILINEAR)


def _slide(picture: Gray, window: int, extreme: Any) -> Gray:
    """Return the maximum or minimum over square windows, in log2(window) passes for each axis."""
    for axis in (0, 1):
        margins = [(0, 0)] * picture.ndim
        margins[axis] = (window // 2, window // 2)
        rows, reach = np.moveaxis(np.pad(picture, margins, mode="edge"), axis, 0), 1
        while reach < window:
            step = min(reach, window - reach)
            rows, reach = extreme(rows[:-step], rows[step:]), reach + step
        picture = np.moveaxis(rows, 0, axis)
    return picture


def _norm(difference: NDArray[np.int16]) -> Gray:
    """Return the length of differences in color, [height, width, channels] to [height, width]."""
    squares = np.square(difference, dtype=np.float32).sum(axis=2)
    # Of three channels two differ much, between most colors: so 1.6, not 3.
    scale = 1.0 if difference.shape[2] == 1 else 1.6
    result: Gray = np.sqrt(squares / scale).clip(0, 255).astype(np.uint8)
    return result


def _digit(contrast: Gray, picture: Gray) -> _Ink | None:
    """Return the digit among what differs from the background; None if nothing does enough."""
    smooth = _blur(contrast, 1.0)
    noise = 1.4826 * float(np.median(contrast)) + 1  # of a normal distribution, by its median
    least = max(_CONTRAST, _NOISES * noise)
    if smooth.size < 32 or np.partition(smooth.ravel(), -10)[-10] < least:
        return None
    threshold = max(0.85 * _otsu(smooth), least)
    labels, count = _label(smooth > threshold)
    if not count:
        return None
    parts = _Components(labels, count, smooth)
    kept, main = parts.choose()
    region = np.concatenate([[False], kept])[labels]
    top, bottom, left, right = parts.box(kept)
    margin = max(2, int(0.04 * max(bottom - top, right - left)))
    window = (
        slice(max(0, top - margin), bottom + margin + 1),
        slice(max(0, left - margin), right + margin + 1),
    )
    near = _blur((region * 255).astype(np.uint8), max(1.0, margin / 2)) > 8
    full = float(np.percentile(contrast[region], 70))
    none = min(0.6 * threshold, 0.5 * full)
    strokes = ((np.where(near, contrast, 0)[window] - none) / (full - none)).clip(0, 1)
    weight = float(parts.weight[kept].sum())
    gathered = weight / float(parts.weight.sum())
    # A digit has one background around it; the corner of a sheet has the sheet and the table.
    around = picture[window][~near[window]].astype(np.float32)
    spread = float(around.std(axis=0).max()) if len(around) else 0.0
    even = 1 / (1 + (spread / 20) ** 2)
    return _Ink(strokes.astype(np.float32), weight * gathered * even * float(parts.central[main]))


class _Components:
    """The connected components of a mask: where each is, and how heavy.

    Args:
        labels: int [height, width], 0 outside of all components.
        count: how many there are.
        contrast: uint8 [height, width].
    """

    def __init__(self, labels: NDArray[Any], count: int, contrast: Gray) -> None:
        height, width = labels.shape
        flat = labels.ravel()
        self.side = max(height, width)
        self.area = np.bincount(flat, minlength=count + 1)[1:]
        self.weight = np.bincount(flat, contrast.ravel().astype(float), count + 1)[1:]
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        self.inside = ~np.isin(np.arange(1, count + 1), edge)
        rows, columns = np.nonzero(labels)
        which = labels[rows, columns] - 1
        self.top, self.left = np.full(count, height), np.full(count, width)
        self.bottom, self.right = np.zeros(count, int), np.zeros(count, int)
        np.minimum.at(self.top, which, rows)
        np.maximum.at(self.bottom, which, rows)
        np.minimum.at(self.left, which, columns)
        np.maximum.at(self.right, which, columns)
        y, x = (
            (self.top + self.bottom) / 2 / height - 0.5,
            (self.left + self.right) / 2 / width - 0.5,
        )
        self.central = 1 - 1.6 * (y**2 + x**2)  # 1 in the middle, 0.2 in a corner

    def box(self, kept: NDArray[np.bool_]) -> tuple[int, int, int, int]:
        """Return top, bottom, left and right of some components, all inclusive."""
        top, bottom = int(self.top[kept].min()), int(self.bottom[kept].max())
        return top, bottom, int(self.left[kept].min()), int(self.right[kept].max())

    def choose(self) -> tuple[NDArray[np.bool_], int]:
        """Return which components are the digit, and which is the main one."""
        length = np.maximum(self.bottom - self.top, self.right - self.left) + 1
        usable = self.inside & (length >= 0.05 * self.side) & (self.area >= 10)
        if not usable.any():
            usable = self.inside & (self.area >= 6)
        if not usable.any():  # a digit that fills the picture, from border to border
            usable = np.ones_like(self.inside)
        main = int(np.argmax(np.where(usable, self.weight * self.central, -1)))
        kept = np.arange(len(usable)) == main
        mean = self.weight / self.area
        reach = 0.12 * length[main]
        heavy = usable & (self.weight >= 0.03 * self.weight[main]) & (mean >= 0.5 * mean[main])
        for _ in range(2):  # the bar of a 5 that does not touch it, and what is close to that
            top, bottom, left, right = self.box(kept)
            near = (self.left <= right + reach) & (self.right >= left - reach)
            near &= (self.top <= bottom + reach) & (self.bottom >= top - reach)
            kept |= near & heavy
        return kept, main


def _otsu(values: Gray) -> float:
    """Return the threshold between two groups of values (N. Otsu, 1979)."""
    counts = np.bincount(values.ravel(), minlength=256).astype(float)
    below, levels = np.cumsum(counts), np.arange(256.0)
    sums = np.cumsum(counts * levels)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.argmax(np.nan_to_num(between, posinf=0.0)) + 0.5)


def _label(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    """Number the 8-connected components of a mask, from 1; return the numbers and their count.

    By the runs of each row, which are joined with those they touch in the row above.
    """
    labels = np.zeros(mask.shape, np.int32)
    parent = [0]

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    above: list[tuple[int, int, int]] = []
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    for row, step in enumerate(steps):
        runs = []
        for begin, end in zip(np.flatnonzero(step == 1), np.flatnonzero(step == -1), strict=True):
            touching = {root(label) for b, e, label in above if b <= end and e >= begin}
            if touching:
                label = min(touching)
                for other in touching:
                    parent[other] = label
            else:
                label = len(parent)
                parent.append(label)
            labels[row, begin:end] = label
            runs.append((int(begin), int(end), label))
        above = runs
    roots = np.array([root(label) for label in range(len(parent))])
    numbers, dense = np.unique(roots, return_inverse=True)
    return dense[labels], len(numbers) - 1


def _center(strokes: NDArray[np.float32], size: int) -> Gray:
    """Scale strokes to MNIST's box and put their center of mass into the middle."""
    rows, columns = (np.flatnonzero(strokes.max(axis=axis) > 0.3) for axis in (1, 0))
    if not len(rows):
        raise DataError(_NO_DIGIT)
    strokes = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = size * _BOX / max(strokes.shape)
    height, width = (max(1, round(length * factor)) for length in strokes.shape)
    image = Image.fromarray((strokes * 255).astype(np.uint8))
    digit = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    if factor < 1:
        digit = _thicken(digit)
    digit = digit.astype(np.float32) * (255 / max(1, int(digit.max())))
    mass = digit.sum()
    y = float((digit.sum(axis=1) * np.arange(height)).sum() / mass)
    x = float((digit.sum(axis=0) * np.arange(width)).sum() / mass)
    middle = (size - 1) / 2
    top = min(max(round(middle - y), 0), size - height)
    left = min(max(round(middle - x), 0), size - width)
    result = np.zeros((size, size), np.uint8)
    result[top : top + height, left : left + width] = (digit + 0.5).astype(np.uint8)
    return result


def _thicken(digit: Gray) -> Gray:
    """Thicken strokes of less than about two pixels, which MNIST's pens do not draw."""
    padded = np.pad(digit, 1).astype(np.float32) / 255
    edges = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    # Area over length: the outline is twice as long, and 1.27 times that where it is slanted.
    width = float(padded.sum() / max(edges / (2 * 1.27), 1e-6))
    if width >= _THIN:
        return digit
    spread = _blur(np.pad(digit, 1), 0.55 * (_THIN - width) + 0.35)[1:-1, 1:-1]
    full = float(np.percentile(spread[digit > 0.25 * digit.max()], 60))
    return (spread * (255 / max(full, 1.0))).clip(0, 255).astype(np.uint8)
