"""Convolution and pooling with typical mistakes in them, for comparison: slow and short."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def pad(x: Any, padding: int) -> Any:
    """Put `padding` zeros around [N, C, H, W] (or crop, where it is negative)."""
    if padding < 0:
        return x[:, :, -padding:padding, -padding:padding]
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def windows(x: Any, size: tuple[int, int], stride: int) -> Any:
    """Return all windows, [N, C, OH, OW, kh, kw]."""
    return sliding_window_view(x, size, axis=(2, 3))[:, :, ::stride, ::stride]


def correlate(x: Any, weight: Any, stride: int = 1, padding: int = 0) -> Any:
    """Compute a convolution layer's output without bias, [N, O, OH, OW]."""
    view = windows(pad(x, padding), weight.shape[2:], stride)
    return np.einsum("ncpqij,ocij->nopq", view, weight)


def weight_gradient(dy: Any, x: Any, size: tuple[int, int], stride: int, padding: int) -> Any:
    """Compute dweight for each image, [N, O, C, kh, kw]."""
    return np.einsum("nopq,ncpqij->nocij", dy, windows(pad(x, padding), size, stride))


def spread(
    dy: Any, weight: Any, x: Any, stride: int, padding: int, *, step: int | None = None,
    overwrite: bool = False,
) -> Any:  # fmt: skip
    """Compute dx of a convolution: every dy[n,o,p,q] times the kernel, back into its window.

    Args:
        dy: [N, O, OH, OW].
        weight: [O, C, kh, kw].
        x: the input, for its shape.
        stride: of the layer.
        padding: of the layer.
        step: the distance between the windows, where it is wrongly not the stride.
        overwrite: wrongly let the last window win instead of adding.

    Returns:
        The gradient of the padded input [N, C, H + 2 padding, W + 2 padding].
    """
    dx = np.zeros_like(pad(x, padding))
    (kh, kw), step = weight.shape[2:], step or stride
    for p in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            part = dx[:, :, p * step : p * step + kh, q * step : q * step + kw]
            piece = np.einsum("no,ocij->ncij", dy[:, :, p, q], weight)
            part[...] = piece if overwrite else part + piece
    return dx


def pool(x: Any, size: int, stride: int) -> Any:
    """Return the maxima of all windows, [N, C, OH, OW]."""
    return windows(x, (size, size), stride).max(axis=(4, 5))


def pool_back(dy: Any, x: Any, size: int, stride: int, mode: str) -> Any:
    """Compute dx of max pooling with a mistake.

    Args:
        dy: [N, C, OH, OW].
        x: [N, C, H, W].
        size: of the window, in pixels.
        stride: in pixels.
        mode: "ties": every maximum of a window gets dy; "share": they divide it; "all": every
            pixel gets it; "mean": every pixel gets its share; "overwrite": the last window wins;
            "last": the last of equal maxima gets it.
    """
    dx = np.zeros_like(x)
    for p in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            place = np.s_[:, :, p * stride : p * stride + size, q * stride : q * stride + size]
            window, up = x[place], dy[:, :, p, q][..., None, None]
            mask = (window == window.max(axis=(2, 3), keepdims=True)).astype(x.dtype)
            flat = mask.reshape(*mask.shape[:2], -1)
            if mode in ("overwrite", "first"):
                flat[...] = np.eye(flat.shape[-1])[flat.argmax(axis=-1)]
            elif mode == "last":
                flat[...] = np.eye(flat.shape[-1])[size * size - 1 - flat[..., ::-1].argmax(-1)]
            elif mode == "share":
                mask /= mask.sum(axis=(2, 3), keepdims=True)
            elif mode in ("all", "mean"):
                mask[...] = 1 if mode == "all" else 1 / size**2
            dx[place] = mask * up if mode == "overwrite" else dx[place] + mask * up
    return dx
