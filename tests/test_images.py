"""Images: one path from any file to the array a model takes, and one clear line for the rest."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from zoo.datasets import mnist
from zoo.errors import DataError
from zoo.images import MAX_PIXELS, MAX_SIDE, Limits, TooLarge, decode, fit, is_picture
from zoo.spec import ImageSpec

GRAY = ImageSpec(channels=1, size=28, mean=(0.0,), std=(1.0,), background="dark")
DIGIT = ImageSpec(1, 28, (0.0,), (1.0,), background="dark", centered=True)
COLOR = ImageSpec(channels=3, size=32, mean=(0.0,) * 3, std=(1.0,) * 3)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "TGA"])
def test_lossless_formats_give_the_very_pixels(kind: str, digits: mnist.Split) -> None:
    for image in digits.inputs[:20]:
        data = encoded(Image.fromarray(image[:, :, 0]), kind)
        np.testing.assert_array_equal(decode(data, GRAY), image)


def test_lossy_formats_come_close(digits: mnist.Split) -> None:
    image = digits.inputs[0]
    for kind in ("JPEG", "WEBP"):
        found = decode(encoded(Image.fromarray(image[:, :, 0]), kind, quality=95), GRAY)
        assert np.abs(found.astype(int) - image).mean() < 6


@pytest.mark.parametrize(
    "kind",
    "PNG JPEG GIF WEBP BMP TIFF AVIF JPEG2000 ICO ICNS DDS QOI SGI PPM HEIF".split(),
)
def test_a_picture_is_known_by_its_first_bytes(kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    data = encoded(Image.new("RGB", (32, 32), "red"), kind)
    assert is_picture(data[:32])
    assert not is_picture(data[1:33])
    assert not is_picture(data[:1])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BMI;age\n24.1;60\n", b"P1,P2\n1,2\n", b"RIFF\0\0\0\0WAVEfmt ",
        b"%PDF-1.7", b"PK\3\4", b"\0\0\0\x20ftypisom", b"\0\0\x08\x03\0\0\x27\x10",
        b"\x93NUMPY\x01\0", b"II, a text", b"PAR1",
    ],
)  # fmt: skip
def test_other_files_are_no_pictures(head: bytes) -> None:
    assert not is_picture(head.ljust(32, b"\0"))


def test_heic_is_read_with_its_extra_and_names_it_without(
    tmp_path: Path, digits: mnist.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    heif = pytest.importorskip("pillow_heif")
    image = digits.inputs[0]
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(image[:, :, 0])).save(file, quality=95)
    path = tmp_path / "photo.jpg"  # the content decides, not the suffix
    path.write_bytes(file.getvalue())
    for source in (path, file.getvalue()):
        assert np.abs(decode(source, GRAY).astype(int) - image).mean() < 6
    with pytest.raises(DataError, match=r"damaged|format"):
        decode(file.getvalue()[:200], GRAY)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF")
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    with pytest.raises(DataError, match=r"pip install .*\[heic\]'"):
        decode(path, GRAY)


def test_files_and_bytes_are_the_same(tmp_path: Path, digits: mnist.Split) -> None:
    path = tmp_path / "数字 7.png"
    data = encoded(Image.fromarray(digits.inputs[0, :, :, 0]))
    path.write_bytes(data)
    np.testing.assert_array_equal(decode(path, GRAY), decode(data, GRAY))


def test_dark_on_light_is_inverted_and_light_on_dark_never(digits: mnist.Split) -> None:
    for spec in (GRAY, DIGIT):
        assert fit(digits.inputs, spec)[0] is digits.inputs
        images, errors = fit(255 - digits.inputs, spec)
        np.testing.assert_array_equal(images, digits.inputs)
        assert errors == [None] * len(images)
    some = digits.inputs[:3]
    np.testing.assert_array_equal(fit(some, GRAY, invert="yes")[0], 255 - some)
    assert fit(255 - some, GRAY, invert="no")[0].mean() > 127
    bright = np.full((1, 32, 32, 3), 250, np.uint8)
    assert fit(bright, COLOR)[0] is bright, "only models of dark backgrounds invert"


def test_transparency_is_laid_on_white_and_then_inverted(digits: mnist.Split) -> None:
    """A digit drawn in black on nothing, as drawing programs save it."""
    ink = digits.inputs[0, :, :, 0]
    rgba = np.zeros((28, 28, 4), np.uint8)
    rgba[..., 3] = ink
    found = decode(encoded(Image.fromarray(rgba)), GRAY)[:, :, 0]
    assert np.abs(found.astype(int) - ink).max() <= 1
    palette = Image.fromarray(255 - ink).convert("P")
    palette.info["transparency"] = 0
    assert decode(encoded(palette, transparency=0), GRAY).shape == (28, 28, 1)


def test_sixteen_bits_become_eight(digits: mnist.Split) -> None:
    image = digits.inputs[0, :, :, 0]
    deep = Image.fromarray(image.astype(np.uint16) * 257)
    assert deep.mode.startswith("I")
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encoded(deep, kind), GRAY)[:, :, 0], image)


@pytest.mark.parametrize(
    ("dtype", "full"), [(np.uint16, 1023), (np.uint16, 4095), (np.float32, 1.0), (np.float32, 255)]
)
def test_fewer_bits_and_floats_are_read_for_what_they_are(
    dtype: Any, full: float, digits: mnist.Split
) -> None:
    image = digits.inputs[0, :, :, 0]
    deep = Image.fromarray((image.astype(np.float64) / 255 * full).astype(dtype))
    found = decode(encoded(deep, "TIFF"), GRAY)[:, :, 0]
    assert np.abs(found.astype(int) - image).max() <= 1


def test_a_wrong_checksum_is_refused_as_pillow_does(digits: mnist.Split) -> None:
    data = bytearray(encoded(Image.fromarray(digits.inputs[0, :, :, 0])))
    data[data.index(b"IDAT") + 20] ^= 4
    with pytest.raises(DataError, match="damaged image"):
        decode(bytes(data), DIGIT)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 200_000), (30_000, 3)])
def test_no_step_on_the_way_is_larger_than_the_picture(size: tuple[int, int]) -> None:
    import tracemalloc

    data = encoded(Image.new("L", size, 255))
    tracemalloc.start()
    for spec in (DIGIT, COLOR):
        if max(size) > MAX_SIDE:
            with pytest.raises(DataError, match="too large: expected at most"):
                decode(data, spec)
        elif spec is COLOR:
            assert decode(data, spec).shape == (32, 32, 3)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_camera_orientation_is_applied(digits: mnist.Split) -> None:
    upright = Image.fromarray(digits.inputs[0, :, :, 0])
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    data = encoded(upright.rotate(90, expand=True), "TIFF", exif=exif)
    np.testing.assert_array_equal(decode(data, GRAY)[:, :, 0], np.asarray(upright))


def test_other_sizes_are_padded_to_a_square_and_resized(digits: mnist.Split) -> None:
    big = Image.fromarray(digits.inputs[0, :, :, 0]).resize((280, 280), Image.Resampling.BOX)
    found = decode(encoded(big), GRAY).astype(int)
    assert np.abs(found - digits.inputs[0]).mean() < 6
    wide = Image.new("RGB", (200, 100), (10, 200, 30))
    found = decode(encoded(wide), COLOR)
    assert found.shape == (32, 32, 3)
    assert (found == [10, 200, 30]).all(), "padded with the border's own color"
    assert decode(encoded(Image.new("L", (1, 1))), GRAY).shape == (28, 28, 1)


def test_bad_images_are_told_apart(tmp_path: Path) -> None:
    gray = Image.new("L", (40, 40), 30)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    frames = {"save_all": True, "append_images": [noise], "duration": 100}
    cases = {
        b"": "empty file",
        b"this is no image at all": "not an image in a known format",
        encoded(noise)[:400]: "damaged image",
        encoded(gray, "GIF", **frames): r"animated \(2 frames\)",
        encoded(gray, "PNG", **frames): "animated",
        encoded(gray, "WEBP", **frames): "animated",
        encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"): "not finite",
    }
    for data, reason in cases.items():
        with pytest.raises(DataError, match=reason):
            decode(data, GRAY)
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "none.png", GRAY)
    with pytest.raises(DataError, match="is a folder"):
        decode(tmp_path, GRAY)


@pytest.mark.parametrize("side", [8_100, 30_000])
def test_huge_images_are_refused_by_their_header(side: int) -> None:
    """Both sides of Pillow's own limits; the second is what it calls a decompression bomb."""
    header = encoded(Image.new("1", (1, 1)))
    at = header.index(b"IHDR")
    body = b"IHDR" + side.to_bytes(4, "big") * 2 + header[at + 12 : at + 17]
    import zlib

    data = header[:at] + body + zlib.crc32(body).to_bytes(4, "big") + header[at + 21 :]
    with pytest.raises(DataError, match=f"too large: expected at most {MAX_PIXELS:,} pixels"):
        decode(data, GRAY)


def large(kind: str, digit: np.ndarray) -> bytes:
    """A digit of 25 megapixels, as a file of a kind."""
    light = Image.fromarray(digit).resize((5000, 5000), Image.Resampling.BOX)
    dark = Image.eval(light, lambda value: 255 - value)
    if kind == "jpeg":
        return encoded(dark.convert("RGB"), "JPEG")
    if kind == "progressive":
        return encoded(dark.convert("RGB"), "JPEG", progressive=True)
    if kind == "rgba":
        image = Image.new("RGBA", light.size)
        image.putalpha(light)
        return encoded(image, compress_level=1)
    if kind == "palette":
        return encoded(dark.convert("P"), "GIF")
    if kind == "la":
        return encoded(Image.merge("LA", (Image.new("L", light.size), light)), compress_level=1)
    if kind == "16 bits":
        return encoded(Image.fromarray(np.asarray(dark).astype(np.uint16) * 257), compress_level=1)
    if kind == "floats":
        return encoded(Image.fromarray(np.asarray(dark).astype(np.float32) / 255), "TIFF")
    return encoded(dark.convert("RGB"), kind)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
@pytest.mark.parametrize(
    "kind", ["jpeg", "progressive", "rgba", "palette", "la", "16 bits", "floats", "BMP"]
)
def test_a_large_picture_takes_the_memory_that_is_reserved(
    kind: str, tmp_path: Path, digits: mnist.Split
) -> None:
    """And it is the same picture: what is scaled while it is decoded, as what was small before."""
    small = Image.fromarray(255 - digits.inputs[0, :, :, 0]).resize(
        (500, 500), Image.Resampling.BOX
    )
    np.save(tmp_path / "small.npy", decode(encoded(small), DIGIT))
    (tmp_path / "picture").write_bytes(large(kind, digits.inputs[0, :, :, 0]))
    code = (
        "import contextlib, sys; from pathlib import Path; import numpy as np\n"
        "from zoo import images; from zoo.spec import ImageSpec; from zoo.datasets import digits\n"
        "def peak():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(status.split('VmHWM:')[1].split()[0]) * 1024\n"
        "reserved = []\n"
        "def reserve(size):\n"
        "    reserved.append(size)\n"
        "    return contextlib.nullcontext()\n"
        "data, before = Path('picture').read_bytes(), peak()\n"
        "limits = images.Limits(reserve=reserve)\n"
        "seen = images.decode(data, digits.SPEC, limits=limits)\n"
        "print(peak() - before - reserved[0])\n"
        "print(np.abs(seen.astype(int) - np.load('small.npy')).mean())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    excess, difference = done.stdout.split()
    assert int(excess) < 40_000_000
    assert float(difference) < 6


def test_the_orientation_of_a_large_picture_is_applied(digits: mnist.Split) -> None:
    upright = Image.fromarray(digits.inputs[0, :, :, 0]).resize((2800, 2800))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG"):
        turned = encoded(upright.rotate(90, expand=True), kind, exif=exif)
        difference = decode(turned, GRAY).astype(int) - decode(encoded(upright, kind), GRAY)
        assert np.abs(difference).mean() < 2


def test_formats_that_nobody_sends_are_not_opened(tmp_path: Path) -> None:
    """EPS would start Ghostscript; the others have decoders that hardly anybody looks after."""
    gray = Image.new("L", (40, 40), 30)
    files = [encoded(gray, kind) for kind in ("EPS", "PCX")]
    files.append(b"8BPS\0\1" + bytes(6) + b"\0\1\0\0\0\2\0\0\0\2\0\x08\0\1" + bytes(20))
    files.append(b"SIMPLE  =                    T".ljust(80) + b" " * 2800)
    for data in files:
        with pytest.raises(DataError, match="not an image in a known format"):
            decode(data, GRAY)
        assert not is_picture(data[:32])


def test_limits_of_a_server() -> None:
    picture = encoded(Image.new("L", (40, 40), 30))
    with pytest.raises(TooLarge, match="40x40 is too large: expected at most 1,000 pixels"):
        decode(picture, GRAY, limits=Limits(pixels=1000))
    with pytest.raises(DataError, match="not an image in a known format"):
        decode(picture, GRAY, limits=Limits(formats=("JPEG",)))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Each scan of a progressive JPEG goes over the whole picture, however short it is."""
    data = encoded(Image.new("L", (64, 64), 30), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    assert decode(data, GRAY).shape == (28, 28, 1)
    with pytest.raises(DataError, match="scans, expected at most 100"):
        decode(data[:start] + scan * 200 + data[-2:], GRAY)
