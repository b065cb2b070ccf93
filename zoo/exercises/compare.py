"""Whether two arrays agree, and where they differ the most."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Of the largest magnitude: what rounding may differ by, in float64 and in float32.
TOLERANCE, TOLERANCE_SINGLE = 1e-7, 5e-4


def close(given: Any, expected: Any, tolerance: float = TOLERANCE) -> bool:
    """Return whether two arrays have the same shape and nearly the same numbers, nan included."""
    if expected is None:  # torch has nothing to compare with
        return True
    given, expected = np.asarray(given), np.asarray(expected)
    if given.dtype.kind not in "fiub" or given.shape != expected.shape:
        return False
    finite = expected[np.isfinite(expected)]
    scale = max(float(np.abs(finite).max(initial=0.0)), 1e-2)
    return bool(np.allclose(given, expected, rtol=0, atol=tolerance * scale, equal_nan=True))


def largest(given: Any, expected: Any) -> tuple[float, tuple[int, ...]]:
    """Return the largest difference of two arrays of one shape, and its index."""
    if np.size(expected) == 0:
        return 0.0, ()
    difference = np.abs(np.asarray(given, np.float64) - expected)
    difference = np.where(np.isnan(difference), np.inf, difference)
    index = np.unravel_index(int(difference.argmax()), difference.shape)
    return float(difference[index]), tuple(int(i) for i in index)
