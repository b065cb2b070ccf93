"""Images: from a file or its bytes to the uint8 array that a model takes, for all uses alike."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from zoo.errors import DataError
from zoo.spec import ImageSpec

try:
    import pyspng
except ImportError:  # no wheel for this platform: Pillow decodes everything
    pyspng = None

Invert = Literal["auto", "yes", "no"]
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .ico .tga .avif".split()
)
#: Larger images are refused by their header, before anything is decoded.
MAX_PIXELS = 64_000_000
_ANIMATED = {"GIF", "PNG", "WEBP", "AVIF"}


def decode(source: Path | bytes, spec: ImageSpec, invert: Invert = "auto") -> NDArray[np.uint8]:
    """Decode one still image to the input of a model with this spec.

    The camera's orientation is applied, transparent pixels become white, 16 bits become 8, an image
    that is not square is padded with the color of its border, then resized. With `invert`
    "auto", a dark-on-light image is inverted if the model was trained on light-on-dark ones.

    Returns:
        uint8 [size, size, channels].

    Raises:
        DataError: it is missing, empty, damaged, animated or too large; the message says which.
    """
    if isinstance(source, bytes) and (plain := _plain_png(source, spec)) is not None:
        return fit(plain, spec, invert)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning; see MAX_PIXELS
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                array = _pixels(image, spec)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except IsADirectoryError:
        raise DataError("is a folder, expected an image file") from None
    except Image.DecompressionBombError:
        raise DataError(f"too large: expected at most {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        raise DataError("not an image in a known format" if size else "empty file") from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError) as error:
        raise DataError(f"damaged image ({error})") from None
    return fit(array, spec, invert)


def fit(array: NDArray[np.uint8], spec: ImageSpec, invert: Invert = "auto") -> NDArray[np.uint8]:
    """Invert images on request, or those with a light background if the model expects a dark one.

    Args:
        array: uint8 [height, width, channels], or [n, height, width, channels].
        spec: its `background` is "dark" if the model expects light strokes on dark.
        invert: "auto", "yes" or "no".
    """
    if invert == "yes":
        return np.subtract(255, array, dtype=np.uint8)
    if invert == "no" or spec.background != "dark" or not array.size:
        return array
    light = border(array).mean(axis=(-1, -2)) > 127.5
    if not light.any():
        return array
    return np.where(light[..., None, None, None], np.subtract(255, array, dtype=np.uint8), array)


def scale(array: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    """Convert a decoded image to the input of a model with this spec, as `decode` does.

    Args:
        array: uint8 [height, width, 1 or 3].
        spec: gives the size and the channels.

    Returns:
        uint8 [size, size, channels].
    """
    return _pixels(Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array), spec)


def _plain_png(data: bytes, spec: ImageSpec) -> NDArray[np.uint8] | None:
    """Decode a PNG that already has the model's size and mode, four times as fast; or return None.

    PNG is lossless, so both decoders return the same pixels; Pillow decodes everything else.
    """
    if pyspng is None or data[:26] != _plain_header(spec.size, spec.channels):
        return None
    if b"tRNS" in data or b"acTL" in data or b"eXIf" in data:
        return None
    try:
        array: NDArray[np.uint8] = pyspng.load(data)
    except Exception:
        return None  # Pillow has the better error message
    return array.reshape(spec.size, spec.size, spec.channels)


@functools.cache
def _plain_header(size: int, channels: int) -> bytes:
    """Return the first 26 bytes of a PNG of this size, 8 bits deep, gray or RGB."""
    color = {1: 0, 3: 2}.get(channels, 255)
    side = size.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + side + side + bytes([8, color])


def _pixels(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{image.width}x{image.height} is too large: expected at most {MAX_PIXELS:,} pixels"
        )
    if image.format in _ANIMATED and getattr(image, "is_animated", False):
        frames = getattr(image, "n_frames", 2)
        raise DataError(f"animated ({frames} frames), expected one still image")
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I"):  # 16 bits and more
        deep = np.asarray(turned)
        deep = deep // 257 if deep.max(initial=0) > 255 else deep
        turned = Image.fromarray(deep.clip(0, 255).astype(np.uint8))
    elif turned.mode == "F":
        raise DataError("floating-point pixels, expected 8 or 16 bits")
    elif "A" in turned.mode or "transparency" in turned.info:
        turned = turned.convert("RGBA")
        white = Image.new("RGBA", turned.size, "white")
        turned = Image.alpha_composite(white, turned)
    turned = turned.convert("L" if spec.channels == 1 else "RGB")
    size = (spec.size, spec.size)
    if turned.size != size:
        if turned.width != turned.height:
            turned = _square(turned)
        turned = turned.resize(size, Image.Resampling.BILINEAR)  # antialiased when it shrinks
    return np.asarray(turned).reshape(spec.size, spec.size, spec.channels)


def _square(image: Image.Image) -> Image.Image:
    edge = np.median(border(np.asarray(image).reshape(image.height, image.width, -1)), axis=0)
    fill: Any = tuple(int(value) for value in edge)
    side = max(image.size)
    padded = Image.new(image.mode, (side, side), fill[0] if len(fill) == 1 else fill)
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return padded


def border(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the outermost pixels of images.

    array: [..., height, width, channels]; returns [..., pixels, channels].
    """
    sides = array[..., 1:-1, 0, :], array[..., 1:-1, -1, :]
    return np.concatenate([array[..., 0, :, :], array[..., -1, :, :], *sides], axis=-2)
