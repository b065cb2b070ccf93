"""Images: from a file or its bytes to the uint8 array that a model takes, for all uses alike."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import warnings
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from zoo import arrays, preparation
from zoo.errors import DataError, ZooError, first_line, needs_extra
from zoo.spec import ImageSpec

try:
    import pyspng
except ImportError:  # no wheel for this platform: Pillow decodes everything
    pyspng = None

Prepare = Literal["auto", "none"]
Invert = Literal["auto", "yes", "no"]
_INK = {"auto": "auto", "yes": "dark", "no": "light"}
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .ico .tga .avif .heic "
    ".heif .jfif .jp2".split()
)
#: Larger images are refused by their header, before anything is decoded.
MAX_PIXELS, MAX_SIDE = 64_000_000, 32_000
#: What is decoded, as Pillow names it; HEIF with the extra `heic`. Nothing that starts a program of
#: its own, as EPS starts Ghostscript, and none of Pillow's rarely used decoders.
FORMATS = (
    "PNG", "JPEG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "ICNS", "DDS", "QOI",
    "SGI", "SUN", "JPEG2000", "AVIF", "HEIF",
)  # fmt: skip
#: A picture is scaled down while it is decoded, but not below this longer side: four times the
#: pixels in which `zoo.preparation` looks for a digit.
_LONGEST = 2 * preparation.SIDE
_ORIENTATION = 0x0112  # EXIF's tag
#: Pixels that are scaled down at a time.
_STRIP = 1 << 20
#: Scans of a progressive JPEG: encoders write about ten, and each takes the time of a picture.
_MAX_SCANS = 100
#: Bytes per pixel that decoders take, by format and by Pillow's mode; see `_cost`.
_FORMAT_COST = {"WEBP": 16, "TIFF": 12, "HEIF": 12, "AVIF": 12, "JPEG2000": 16}
_MODE_COST = {"1": 1, "L": 1, "P": 1, "I;16": 2}
_ANIMATED = {"GIF", "PNG", "WEBP", "AVIF"}
#: What files of pictures begin with, all of which Pillow reads. ISO media files, BMP and the
#: Netpbm formats take more than a prefix; TGA has no signature at all.
_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a",
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",  # TIFF, BigTIFF
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",  # JPEG 2000
    b"\0\0\x01\0", b"icns", b"DDS ", b"qoif", b"\x59\xa6\x6a\x95", b"\x01\xda",
)  # fmt: skip
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_NETPBM = re.compile(rb"P[1-7fF][ \t\r\n]+[-0-9#WT]")
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


class TooLarge(DataError):
    """A picture beyond the limits on pixels or memory."""


@dataclass(frozen=True)
class Limits:
    """What a picture may be and take; the defaults are those of the command line.

    Attributes:
        pixels: larger pictures are refused.
        formats: those of `FORMATS` that are decoded.
        reserve: called with the bytes of memory that a decode will take, at most; what it returns
            is entered before and left after it. Raises `TooLarge` to refuse.
    """

    pixels: int = MAX_PIXELS
    formats: tuple[str, ...] = FORMATS
    reserve: Callable[[int], AbstractContextManager[object]] = nullcontext


_NO_LIMITS = Limits()


def decode(
    source: Path | bytes | Image.Image,
    spec: ImageSpec,
    prepare: Prepare = "auto",
    invert: Invert = "auto",
    first_frame: bool = False,
    limits: Limits = _NO_LIMITS,
) -> NDArray[np.uint8]:
    """Decode one still image to the input of a model with this spec.

    The camera's orientation is applied, 10 to 16 bits become 8, transparent pixels get a
    background, and an image that is not square is padded with the color of its border. With
    `prepare` "auto", the digit in a picture is found, scaled and centered for a model that was
    trained on such digits; see `zoo.preparation`.

    Args:
        source: a file's path or its bytes, or an open image.
        spec: the model's input.
        prepare: "auto", or "none" to resize the picture as it is.
        invert: "yes" for dark on light, "no" for light on dark, "auto" finds out.
        first_frame: of an animation, take the first frame.
        limits: of its size, format and memory.

    Returns:
        uint8 [size, size, channels].

    Raises:
        TooLarge: it is beyond the limits.
        DataError: it is missing, empty, damaged or animated, shows no digit, or is HEIC
            and the extra `heic` is not installed; the message says which.
    """
    array = read(source, spec, prepare, invert, first_frame, limits)
    images, (error,) = fit(array[np.newaxis], spec, prepare, invert)
    if error is not None:
        raise DataError(error)
    image: NDArray[np.uint8] = images[0]
    return image


def read(
    source: Path | bytes | Image.Image,
    spec: ImageSpec,
    prepare: Prepare = "auto",
    invert: Invert = "auto",
    first_frame: bool = False,
    limits: Limits = _NO_LIMITS,
) -> NDArray[np.uint8]:
    """Decode an image as `decode` does, but for `fit`, which takes many at once.

    Raises:
        DataError: as `decode`.
    """
    if isinstance(source, bytes) and (plain := _plain_png(source, spec)) is not None:
        return of_its_size(plain, spec, prepare, invert)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning; see MAX_PIXELS
            if isinstance(source, Image.Image):
                return _pixels(source, spec, prepare, invert, first_frame)
            with _open(source, limits.formats) as image:
                _check_size(image, limits.pixels)
                with limits.reserve(_cost(image, source, _longest(spec))):
                    try:
                        return _pixels(image, spec, prepare, invert, first_frame)
                    finally:
                        image.close()  # its pixels go before the next picture's come
    except FileNotFoundError:
        raise DataError("no such file") from None
    except IsADirectoryError:
        raise DataError("is a folder, expected an image file") from None
    except Image.DecompressionBombError:
        raise TooLarge(f"too large: expected at most {limits.pixels:,} pixels") from None
    except UnidentifiedImageError:
        empty = source == b"" or (isinstance(source, Path) and not source.stat().st_size)
        raise DataError("empty file" if empty else "not an image in a known format") from None
    except DataError:
        raise
    except ZooError as error:  # HEIC without its plugin
        raise DataError(str(error)) from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"damaged image ({first_line(error)})") from None


def is_picture(head: bytes) -> bool:
    """Say whether a file is a picture, by its first bytes (32 are enough) and not by its name.

    PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, HEIC, JPEG 2000, ICO, ICNS, DDS, QOI, SGI, Sun
    raster and Netpbm. True says what the file claims to be: it can still be damaged.
    """
    if head.startswith(_SIGNATURES):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in _AVIF | _HEIC
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return _NETPBM.match(head) is not None


def _open(source: Path | bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open an image with Pillow, and HEIC with the plugin of the extra `heic`.

    The plugin is loaded for the first HEIC file: nothing else needs it.
    """
    plain = [name for name in formats if name != "HEIF"]  # not one of Pillow's own
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r", plain)
    except UnidentifiedImageError:
        if isinstance(source, bytes):
            head = source[:12]
        else:
            with source.open("rb") as file:
                head = file.read(12)
        if "HEIF" not in formats or head[4:8] != b"ftyp" or head[8:12] not in _HEIC:
            raise
    with needs_extra("heic", "a HEIC image"):
        import pillow_heif
    pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r", ["HEIF"])


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return the width and height that the header of an encoded image says; None: it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(data) as image:
                width, height = image.size
                return width, height
    except Exception:  # whoever decodes it has the reason
        return None


def fit(
    images: NDArray[np.uint8], spec: ImageSpec, prepare: Prepare = "auto", invert: Invert = "auto"
) -> tuple[NDArray[np.uint8], list[str | None]]:
    """Bring images of the model's size to its form: light on dark, and centered if it needs that.

    What is in that form already stays as it is.

    Args:
        images: uint8 [n, size, size, channels], from `read` or `of_its_size`.
        spec: the model's input.
        prepare: as for `decode`.
        invert: as for `decode`.

    Returns:
        The images in that form, and for each why it is not, or None.
    """
    errors: list[str | None] = [None] * len(images)
    if not len(images):
        return images, errors
    if not spec.centered or prepare == "none":
        if invert == "yes":
            return np.subtract(255, images, dtype=np.uint8), errors
        if invert == "no" or spec.background != "dark":
            return images, errors
        light = border(images).mean(axis=(-1, -2)) > 127.5
        if not light.any():
            return images, errors
        inverse = np.subtract(255, images, dtype=np.uint8)
        return np.where(light[:, None, None, None], inverse, images), errors
    done = preparation.is_prepared(images)
    if done.all():
        return images, errors
    result = np.array(images)
    for number in np.flatnonzero(~done):
        inverse = np.subtract(255, images[number], dtype=np.uint8)
        if invert == "auto" and preparation.is_prepared(inverse[np.newaxis])[0]:
            result[number] = inverse  # dark on white, and else as it should be
            continue
        try:
            ink = "auto" if invert == "auto" else "light"
            digit = preparation.prepare(images[number], spec.size, ink)
            result[number] = digit[..., np.newaxis]
        except DataError as error:
            errors[number] = str(error)
        except Exception as error:  # an odd picture must not end a job of thousands
            errors[number] = f"{type(error).__name__}: {first_line(error)}"
    return result, errors


def scale(
    array: NDArray[np.uint8],
    spec: ImageSpec,
    prepare: Prepare = "none",
    invert: Invert = "no",
) -> NDArray[np.uint8]:
    """Convert a decoded image to the input of a model with this spec, as `read` does.

    Args:
        array: uint8 [height, width, 1 or 3].
        spec: gives the size and the channels.
        prepare: as for `decode`; by default the image is resized as it is.
        invert: as for `decode`.

    Returns:
        uint8 [size, size, channels].

    Raises:
        DataError: it shows no digit, for a model of digits and with `prepare`.
    """
    image = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
    return _pixels(image, spec, prepare, invert, first_frame=True)


def preview(source: bytes | Image.Image, side: int) -> Image.Image:
    """Return a small copy of an image for people to look at: upright, but with no preparation.

    Args:
        source: a file's bytes, or an open image.
        side: of the square into which it is reduced; a smaller image keeps its size.

    Returns:
        An RGB image; what is transparent is gray.

    Raises:
        DataError: too large, or pixels that are not numbers. And whatever a decoder raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = source if isinstance(source, Image.Image) else _open(source)
    _check_size(image)
    image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at a fraction of its size
    image.load()
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    image = _eight_bits(image)
    if "A" in image.mode.upper() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "#9aa3ae"), image)
    image = image.convert("RGB")
    image.thumbnail((side, side))
    return image


def _plain_png(data: bytes, spec: ImageSpec) -> NDArray[np.uint8] | None:
    """Decode a PNG that already has the model's size and mode, four times as fast; or return None.

    PNG is lossless, so both decoders return the same pixels; Pillow decodes everything else.
    """
    if pyspng is None or data[:26] != _plain_header(spec.size, spec.channels):
        return None
    if b"tRNS" in data or b"acTL" in data or b"eXIf" in data or not _is_intact(data):
        return None
    try:
        array: NDArray[np.uint8] = pyspng.load(data)
    except Exception:
        return None  # Pillow has the better error message
    return array.reshape(spec.size, spec.size, spec.channels)


def _is_intact(data: bytes) -> bool:
    """Say whether the checksums of a PNG's chunks are right: this decoder does not look at them."""
    position = 8
    while (end := position + 12 + int.from_bytes(data[position : position + 4], "big")) <= len(
        data
    ):
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        position = end
    return position == len(data)


@functools.cache
def _plain_header(size: int, channels: int) -> bytes:
    """Return the first 26 bytes of a PNG of this size, 8 bits deep, gray or RGB."""
    color = {1: 0, 3: 2}.get(channels, 255)
    side = size.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + side + side + bytes([8, color])


def _longest(spec: ImageSpec) -> int:
    return max(_LONGEST, 2 * spec.size)


def _cost(image: Image.Image, source: Path | bytes, longest: int) -> int:
    """Return about how many bytes the decode of an open image takes, at most.

    Asks a JPEG to be decoded at a fraction of its size, the one format that can.

    Raises:
        DataError: a progressive JPEG of more scans than any encoder writes.
    """
    pixels = image.width * image.height
    if image.format not in ("JPEG", "MPO"):
        kind = _FORMAT_COST.get(image.format or "", 0)
        return pixels * (kind or _MODE_COST.get(image.mode, 4))
    cost = 0
    if image.info.get("progressive"):  # the coefficients of all scans, 2 bytes each
        if isinstance(source, bytes) and (scans := source.count(b"\xff\xda")) > _MAX_SCANS:
            raise DataError(f"damaged image ({scans} scans, expected at most {_MAX_SCANS})")
        layers = [layer[1] * layer[2] for layer in getattr(image, "layer", [])] or [1]
        cost = 2 * pixels * sum(layers) // max(layers)
    width, height = (max(1, side * longest // max(image.size)) for side in image.size)
    image.draft(None, (width, height))  # None keeps the mode
    return cost + 4 * image.width * image.height


def _reduced(image: Image.Image, longest: int) -> Image.Image:
    """Scale a large image down by a whole number, its longer side to `longest` or somewhat more.

    A strip at a time: conversions of the whole image would each take its size again.
    """
    factor = max(image.size) // longest
    if factor < 2:
        return image
    width, height = image.size
    if image.mode in ("P", "PA") or "transparency" in image.info:
        mode = "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
    elif image.mode.startswith("I;"):
        mode = "I"
    else:
        kept = ("L", "LA", "RGB", "RGBA", "CMYK", "I", "F")
        mode = image.mode if image.mode in kept else "L" if image.mode == "1" else "RGB"
    small = Image.new(mode, (-(-width // factor), -(-height // factor)))
    step = factor * max(1, _STRIP // (factor * width))
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(top + step, height)))
        small.paste(strip.convert(mode).reduce(factor), (0, top // factor))
    with contextlib.suppress(Exception):  # of a damaged EXIF
        small.getexif()[_ORIENTATION] = image.getexif()[_ORIENTATION]
    return small


def _pixels(
    image: Image.Image, spec: ImageSpec, prepare: Prepare, invert: Invert, first_frame: bool
) -> NDArray[np.uint8]:
    _check_size(image)
    if not first_frame and image.format in _ANIMATED and getattr(image, "is_animated", False):
        frames = getattr(image, "n_frames", 2)
        raise DataError(f"animated ({frames} frames), expected one still image")
    image.load()
    image = _reduced(image, _longest(spec))
    with contextlib.suppress(Exception):  # a damaged orientation leaves the picture as it lies
        image = ImageOps.exif_transpose(image)
    find_digit = spec.centered and prepare == "auto"
    image = _opaque(_eight_bits(image), by_contrast=find_digit)
    size = (spec.size, spec.size)
    if find_digit and image.size != size:
        picture = np.asarray(image if image.mode == "L" else image.convert("RGB"))
        picture = picture.reshape(*picture.shape[:2], -1)
        return preparation.prepare(picture, spec.size, _INK[invert])[..., np.newaxis]
    image = image.convert("L" if spec.channels == 1 else "RGB")
    if image.size != size:
        image = _square(image, spec.size)
    array = np.asarray(image).reshape(spec.size, spec.size, spec.channels)
    return of_its_size(array, spec, prepare, invert)


def _check_size(image: Image.Image, pixels: int = MAX_PIXELS) -> None:
    width, height = image.size
    if width * height > pixels or max(width, height) > MAX_SIDE:
        raise TooLarge(
            f"{width}x{height} is too large: expected at most {pixels:,} pixels, and at most "
            f"{MAX_SIDE:,} on a side"
        )


def of_its_size(
    image: NDArray[np.uint8], spec: ImageSpec, prepare: Prepare = "auto", invert: Invert = "auto"
) -> NDArray[np.uint8]:
    """Return an image that has the model's size, for `fit`: inverted if that was asked for.

    `fit` cannot know: to it, what `read` has prepared is light on dark already.
    """
    asked = spec.centered and prepare == "auto" and invert == "yes"
    return np.subtract(255, image, dtype=np.uint8) if asked else image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits: 10 and 12 bits kept in 16, and floats, for what they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float32)
    if not np.isfinite(values).all():
        raise DataError("pixels that are not finite numbers")
    largest = float(values.max(initial=0))
    full = 255.0
    if image.mode == "F" and largest <= 1:
        full = 1.0
    elif largest > 255:
        full = arrays.whole_scale(largest)
    return Image.fromarray((values * (255 / full)).clip(0, 255).astype(np.uint8))


def _opaque(image: Image.Image, *, by_contrast: bool) -> Image.Image:
    """Lay a transparent image on white; with `by_contrast`, a light drawing on black."""
    if "A" not in image.mode.upper() and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    behind = "white"
    if by_contrast:
        gray, alpha = image.convert("L"), np.asarray(image.getchannel("A"), np.float32)
        if (np.asarray(gray) * alpha).sum() > 128 * alpha.sum():
            behind = "black"
    return Image.alpha_composite(Image.new("RGBA", image.size, behind), image).convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    """Resize an image so that its longer side fits, and pad the shorter one."""
    factor = size / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR)  # antialiased when it shrinks
    if width == height:
        return small
    edge = np.median(border(np.asarray(small).reshape(height, width, -1)), axis=0)
    fill: Any = tuple(int(value) for value in edge)
    padded = Image.new(image.mode, (size, size), fill[0] if len(fill) == 1 else fill)
    padded.paste(small, ((size - width) // 2, (size - height) // 2))
    return padded


def border(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the outermost pixels of images.

    array: [..., height, width, channels]; returns [..., pixels, channels].
    """
    sides = array[..., 1:-1, 0, :], array[..., 1:-1, -1, :]
    return np.concatenate([array[..., 0, :, :], array[..., -1, :, :], *sides], axis=-2)
