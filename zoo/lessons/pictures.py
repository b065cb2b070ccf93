"""The lessons' pictures: drawn in one style, saved small."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float = 5.6, height: float = 3.4) -> Figure:
    """Return an empty figure (inches) in the style of `zoo.plots`."""
    from matplotlib.figure import Figure

    import zoo.plots  # noqa: F401 - importing it sets the style

    return Figure(figsize=(width, height), layout="constrained")


def picture_path(name: str) -> Path:
    """Return and print a picture's path, in `lesson-output/` or $ZOO_LESSON_OUTPUT."""
    path = Path(os.environ.get("ZOO_LESSON_OUTPUT") or "lesson-output") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"picture: {path}")
    return path


def save(picture: Figure | Path, name: str) -> None:
    """Save a figure, or a copy of a PNG file, as a lesson's picture, small: in 256 colors."""
    import io

    from PIL import Image

    source: io.BytesIO | Path = io.BytesIO()
    if isinstance(picture, Path):
        source = picture
    else:
        picture.savefig(source, dpi=90)
    with Image.open(source) as image:
        image.convert("RGB").quantize(256).save(picture_path(name), optimize=True)
