"""ONNX Runtime itself, or the line that repairs it: an install may be there and not load."""

from __future__ import annotations

from zoo import install
from zoo.errors import ZooError, first_line

try:
    import onnxruntime as ort

    ort.InferenceSession  # noqa: B018 - of two packages over each other, parts may be missing
except (ImportError, AttributeError, OSError) as error:
    raise ZooError(
        f"ONNX Runtime does not load ({first_line(error)}): {install.repair()}"
    ) from None

__all__ = ["ort"]
