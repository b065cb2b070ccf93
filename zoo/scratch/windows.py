"""Windows that slide over images: what convolution and pooling share.

    OH = floor((H + 2 padding - kernel) / stride) + 1, and the same for OW

Outside, images are [N, C, H, W] as in torch. Inside, the memory is ordered [C, H, W, N], batch
last: then what one pixel of the kernel meets, at all positions and in all images, is in a few long
runs of memory, and every NumPy call works on runs of N numbers or more. What a layer returns is a
view of such memory in torch's shape; elementwise layers keep the order, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zoo.errors import DataError, UsageError
from zoo.scratch.layer import Array, expect

Pair = tuple[int, int]


def batch_last(x: Array) -> Array:
    """[N, C, H, W] to contiguous [C, H, W, N]; free where the memory is in that order already."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0))


def batch_first(x: Array) -> Array:
    """View [C, H, W, N] as [N, C, H, W]."""
    return x.transpose(3, 0, 1, 2)


class Windows:
    """The geometry of one layer; each argument is an int, or a pair (vertical, horizontal)."""

    def __init__(self, kernel: int | Pair, stride: int | Pair, padding: int | Pair) -> None:
        self.kernel = _pair("kernel_size", kernel, 1)
        self.stride = _pair("stride", stride, 1)
        self.padding = _pair("padding", padding, 0)
        #: Whether no two windows share a pixel.
        self.apart = all(s >= k for s, k in zip(self.stride, self.kernel, strict=True))

    def pad(self, who: object, x: Array, value: float = 0) -> Array:
        """Turn [N, C, H, W] into [C, H + 2 padding, W + 2 padding, N].

        Raises:
            DataError: no image, or one smaller than the kernel.
        """
        expect(who, x, "float", "batch", "channels", "height", "width")
        (n, c, h, w), (kh, kw), (ph, pw) = x.shape, self.kernel, self.padding
        if h + 2 * ph < kh or w + 2 * pw < kw:
            least = f"{kh - 2 * ph} x {kw - 2 * pw}"
            raise DataError(f"{who}: expected images of at least {least}, given {h} x {w}")
        if ph == pw == 0:
            return batch_last(x)
        padded = np.full((c, h + 2 * ph, w + 2 * pw, n), value, x.dtype)
        padded[:, ph : ph + h, pw : pw + w] = x.transpose(1, 2, 3, 0)
        return padded

    def crop(self, padded: Array) -> Array:
        """Undo `pad`: view [C, H + 2 padding, W + 2 padding, N] as [N, C, H, W]."""
        (ph, pw), (h, w) = self.padding, padded.shape[1:3]
        return batch_first(padded[:, ph : h - ph, pw : w - pw])

    def parts(self, padded: Array) -> Iterator[Array]:
        """For each pixel of the kernel, in scan order, view what it meets: [C, OH, OW, N]."""
        (kh, kw), (sh, sw), (h, w) = self.kernel, self.stride, padded.shape[1:3]
        for i in range(kh):
            for j in range(kw):
                yield padded[:, i : h - kh + i + 1 : sh, j : w - kw + j + 1 : sw]


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    both = (value, value) if isinstance(value, int) else value
    if len(both) != 2 or min(both) < least:
        raise UsageError(f"{name}: expected an int or a pair of ints from {least}, given {value!r}")
    return both
