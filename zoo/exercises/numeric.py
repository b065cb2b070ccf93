"""The numerical gradient: how much a result changes when one number of an argument does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEP = 1e-5
#: Entries of one argument that are tried; a loop over a large kernel would take too long.
MOST = 48


def gradient(function: Callable[[Array], float], x: Array) -> tuple[NDArray[np.int64], Array]:
    """Compute central differences (f(x + h) - f(x - h)) / 2h, entry by entry.

    Args:
        function: of an array like x, to one number.
        x: float64, any shape; it is not changed.

    Returns:
        Flat indices of the entries tried (all, or `MOST` spread evenly), and their slopes.
    """
    indices = np.linspace(0, x.size - 1, min(x.size, MOST)).astype(np.int64)
    slopes = np.empty(len(indices))
    for number, index in enumerate(indices):
        ends = []
        for step in (STEP, -STEP):
            moved = x.copy()
            moved.flat[index] += step
            ends.append(function(moved))
        slopes[number] = (ends[0] - ends[1]) / (2 * STEP)
    return indices, slopes
