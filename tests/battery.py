"""Digits as people draw and photograph them: hands and prints under conditions, all generated.

`pictures()` yields (source, digit, condition, picture). Hands are strokes drawn by a pen; prints
are the free fonts that come with matplotlib. Nothing here is copied from a data set.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
PRINTS = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf", "cmr10.ttf", "cmss10.ttf",
)  # fmt: skip
#: Of each hand: slant, width of the digit, width of the pen.
HANDS = (
    (0.0, 0.9, 0.07), (0.12, 0.75, 0.055), (-0.08, 1.0, 0.09), (0.2, 0.8, 0.045),
    (0.05, 0.65, 0.11), (-0.15, 0.95, 0.06), (0.1, 0.85, 0.075), (0.25, 0.7, 0.05),
)  # fmt: skip
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
Point = tuple[float, float]


def arc(x: float, y: float, rx: float, ry: float, begin: float, end: float) -> list[Point]:
    angles = [math.radians(begin + (end - begin) * step / 24) for step in range(25)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


#: The strokes of each digit in a box of 1, y downwards; and how every other hand draws it.
STROKES: dict[int, list[list[Point]]] = {
    0: [arc(0.5, 0.5, 0.32, 0.46, -90, 270)],
    1: [[(0.5, 0.04), (0.5, 0.96)]],
    2: [[*arc(0.5, 0.3, 0.3, 0.26, -170, 30), (0.2, 0.95), (0.82, 0.95)]],
    3: [arc(0.48, 0.27, 0.28, 0.23, -150, 90) + arc(0.48, 0.73, 0.32, 0.25, -90, 150)],
    4: [[(0.58, 0.05), (0.15, 0.65), (0.85, 0.65)], [(0.62, 0.35), (0.62, 0.97)]],
    5: [[(0.78, 0.06), (0.3, 0.06), (0.26, 0.45), *arc(0.48, 0.68, 0.3, 0.28, -140, 140)]],
    6: [[(0.66, 0.05), *arc(0.5, 0.68, 0.29, 0.28, -180, 180)]],
    7: [[(0.18, 0.07), (0.82, 0.07), (0.42, 0.96)]],
    8: [arc(0.5, 0.27, 0.25, 0.23, 90, 450), arc(0.5, 0.73, 0.3, 0.24, -90, 270)],
    9: [[*arc(0.5, 0.32, 0.28, 0.27, 0, 360), (0.78, 0.32), (0.7, 0.96)]],
}
OTHER: dict[int, list[list[Point]]] = {
    1: [[(0.3, 0.25), (0.52, 0.04), (0.52, 0.96)]],
    4: [[(0.3, 0.05), (0.22, 0.55), (0.82, 0.52)], [(0.7, 0.1), (0.66, 0.96)]],
    7: [[(0.18, 0.07), (0.82, 0.07), (0.42, 0.96)], [(0.35, 0.5), (0.72, 0.5)]],
}


def drawn(digit: int, hand: int, size: int = 200) -> np.ndarray:
    """Return the ink of a digit by a hand, float [size, size] of 0 to 1."""
    slant, wide, pen = HANDS[hand]
    phase = np.random.default_rng(10 * hand + digit).uniform(0, 6.28, 3)
    scale, side = 4 * size, 0.68 * 4 * size
    image = Image.new("L", (scale, scale))
    draw = ImageDraw.Draw(image)
    strokes = OTHER.get(digit, STROKES[digit]) if hand % 2 else STROKES[digit]
    radius = pen * side / 2
    for stroke in strokes:
        points = []
        for x, y in stroke:  # a hand that is not quite steady
            x += 0.018 * (math.sin(9 * y + phase[0]) + math.sin(7 * x + phase[1]))
            y += 0.018 * math.sin(8 * x + phase[2])
            x, y = (x - 0.5) * wide + slant * (0.5 - y), y - 0.5
            points.append((scale / 2 + side * x, scale / 2 + side * y))
        draw.line(points, fill=255, width=int(2 * radius), joint="curve")
        for x, y in points:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), np.float64) / 255


def printed(digit: int, font: str, size: int = 200) -> np.ndarray:
    image = Image.new("L", (2 * size, 2 * size))
    draw = ImageDraw.Draw(image)
    face = ImageFont.truetype(FONTS / font, int(1.24 * size))
    left, top, right, bottom = draw.textbbox((0, 0), str(digit), font=face)
    draw.text((size - (left + right) / 2, size - (top + bottom) / 2), str(digit), 255, face)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), np.float64) / 255


def colored(ink: np.ndarray, paper: Any, pen: Any) -> np.ndarray:
    """Return ink of a color on paper of a color, float [height, width, 3] of 0 to 255."""
    return paper + (np.asarray(pen, float) - paper) * ink[..., np.newaxis]


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((pixels + 0.5).clip(0, 255).astype(np.uint8))


def placed(ink: np.ndarray, size: tuple[int, int], x: float, y: float, scale: float) -> np.ndarray:
    side = int(len(ink) * scale)
    small = Image.fromarray((ink * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BOX)
    whole = Image.new("L", size)
    whole.paste(small, (int(x * size[0] - side / 2), int(y * size[1] - side / 2)))
    return np.asarray(whole, np.float64) / 255


def smoothed(values: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((values * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float64) / 255


def conditions(rng: np.random.Generator) -> dict[str, Callable[[np.ndarray], Image.Image]]:
    """Return what may befall a digit, by name."""

    def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
        return pixels + rng.normal(0, sigma, pixels.shape)

    def light(shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
        return np.linspace(high, low, shape[1])[np.newaxis, :, np.newaxis] * np.ones((*shape, 3))

    def photo(ink: np.ndarray) -> Image.Image:
        paper = colored(placed(ink, (360, 480), 0.47, 0.52, 1.0), (205, 198, 185), (45, 45, 60))
        shaded = picture(noisy(paper * light(paper.shape[:2], 0.55, 1.0), 5))
        file = io.BytesIO()
        shaded.filter(ImageFilter.GaussianBlur(1.2)).save(file, "JPEG", quality=60)
        return Image.open(file)

    def shadow(ink: np.ndarray) -> Image.Image:
        lit = np.ones(ink.shape)
        lit[:, : int(0.45 * lit.shape[1])] = 0.5
        return picture(colored(ink, (235,) * 3, (40,) * 3) * smoothed(lit, 3)[..., np.newaxis])

    def table(ink: np.ndarray) -> Image.Image:
        sheet = colored(placed(ink, (208, 208), 0.5, 0.5, 1.0), (235,) * 3, (30,) * 3)
        return picture(noisy(np.pad(sheet, ((26, 26), (26, 26), (0, 0)), constant_values=40), 2))

    def turned_sheet(ink: np.ndarray) -> Image.Image:
        mask = np.zeros((300, 300))
        mask[20:250, 60:300] = 1
        on = np.asarray(picture(mask * 255).rotate(4, Image.Resampling.BILINEAR), float) / 255
        sheet = colored(placed(ink, (300, 300), 0.55, 0.45, 0.75), (230, 228, 220), (35, 35, 70))
        wood = np.full((300, 300, 3), (120, 85, 55), float)
        return picture(noisy(wood + (sheet - wood) * on[..., np.newaxis], 4))

    def frame(ink: np.ndarray) -> Image.Image:
        pixels = colored(ink, (248,) * 3, (20,) * 3)
        pixels[:8] = pixels[-5:] = pixels[:, :6] = pixels[:, -9:] = 0
        return picture(pixels)

    def lined(ink: np.ndarray, *, squares: bool) -> Image.Image:
        paper = np.full((*ink.shape, 3), 250.0)
        paper[16::24] = paper[17::24] = (150, 170, 215)
        if squares:
            paper[:, 10::24] = (165, 185, 205)
        return picture(noisy(colored(ink, paper, (25, 30, 90)), 3))

    def transparent(ink: np.ndarray, color: int) -> Image.Image:
        return Image.fromarray(
            np.dstack([np.full((*ink.shape, 3), color, np.uint8), (ink * 255).astype(np.uint8)])
        )

    def plain(paper: Any, pen: Any) -> Callable[[np.ndarray], Image.Image]:
        return lambda ink: picture(colored(ink, paper, pen))

    def on(size: tuple[int, int], *where: float) -> Callable[[np.ndarray], Image.Image]:
        return lambda ink: picture(colored(placed(ink, size, *where), WHITE, BLACK))

    return {
        "dark on light": plain(WHITE, BLACK),
        "light on dark": plain(BLACK, WHITE),
        "gray paper": plain((200,) * 3, (60,) * 3),
        "dim": plain((95,) * 3, (30,) * 3),
        "dark mode": plain((32, 33, 36), (200, 205, 210)),
        "red on blue": plain((40, 60, 200), (220, 40, 40)),
        "yellow on white": plain(WHITE, (250, 215, 40)),
        "blue on yellow": plain((250, 230, 120), (40, 70, 190)),
        "small": on((400, 400), 0.5, 0.5, 0.36),
        "off center": on((300, 300), 0.72, 0.3, 0.7),
        "phone, 9:16": on((360, 640), 0.5, 0.5, 0.75),
        "phone photo": photo,
        "lit from a side": lambda ink: picture(colored(ink, light(ink.shape, 110, 228), (32,) * 3)),
        "half in shadow": shadow,
        "chalk": lambda ink: picture(
            noisy(colored(ink * (0.75 + 0.25 * rng.random(ink.shape)), (38, 70, 52), (225,) * 3), 9)
        ),
        "white on transparency": lambda ink: transparent(ink, 255),
        "black on transparency": lambda ink: transparent(ink, 0),
        "table edge": table,
        "sheet on a table": turned_sheet,
        "scanner frame": frame,
        "ruled paper": lambda ink: lined(ink, squares=False),
        "squared paper": lambda ink: lined(ink, squares=True),
        "noise": lambda ink: picture(noisy(colored(ink, (215,) * 3, (70,) * 3), 22)),
        "low contrast": lambda ink: picture(noisy(colored(ink, (240,) * 3, (196,) * 3), 3)),
        "blurred": lambda ink: picture(colored(smoothed(ink, 4), (240,) * 3, (40,) * 3)),
        "12 bits in 16": lambda ink: Image.fromarray((4080 - ink * 4080).astype(np.uint16)),
    }


def pictures(every: int = 1, only: str = "") -> Iterator[tuple[str, int, str, Image.Image]]:
    """Yield source, digit, condition and picture; of each source every n-th digit.

    With `only`, the pictures of one condition alone.
    """
    sources: list[tuple[str, Callable[[int], np.ndarray]]] = [
        *((f"hand {hand}", lambda digit, hand=hand: drawn(digit, hand)) for hand in range(8)),
        *((font, lambda digit, font=font: printed(digit, font)) for font in PRINTS),
    ]
    for number, (name, ink) in enumerate(sources):
        for digit in range(number % every, 10, every):
            rng = np.random.default_rng(zlib.crc32(f"{name} {digit}".encode()))
            pixels = ink(digit)
            for condition, apply in conditions(rng).items():
                if only in ("", condition):
                    yield name, digit, condition, apply(pixels)
