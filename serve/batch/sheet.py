"""A contact sheet of a batch job: each picture, what the model sees of it, and the answer.

Drawn with Pillow. The first `LIMIT` rows alone, so that a job of any size keeps small copies of
these only.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from serve.batch import readers
from serve.batch.readers import Row
from serve.batch.sinks import Columns
from serve.batch.sources import Block
from zoo.bundle.card import Card
from zoo.errors import UsageError
from zoo.files import write_atomic
from zoo.spec import ImageSpec

#: Rows on a sheet, cells beside each other.
LIMIT, _COLUMNS = 100, 5
#: Pixels: of a picture's side, between things, of a cell, of the line above all cells.
_SIDE, _GAP = 112, 10
_WIDTH, _HEIGHT, _HEAD = 2 * _SIDE + 4 * _GAP, _SIDE + 74, 40
_TEXT, _SOFT, _BAD, _PAPER, _LINE = "#1b2430", "#5b6675", "#b42318", "white", "#d5dae1"
#: Fonts with many characters, and which font of the file; the first that has a text's is used.
_FONTS = (
    ("DejaVuSans.ttf", 0), ("NotoSansCJK-Regular.ttc", 2), ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSansSC-Regular.otf", 0), ("SourceHanSansSC-Regular.otf", 0), ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0), ("DroidSansFallbackFull.ttf", 0), ("DroidSansFallback.ttf", 0),
    ("uming.ttc", 0), ("msyh.ttc", 0), ("simhei.ttf", 0), ("simsun.ttc", 0), ("PingFang.ttc", 0),
    ("Hiragino Sans GB.ttc", 0), ("STHeiti Light.ttc", 0), ("Arial Unicode.ttf", 0),
)  # fmt: skip


class Sheet:
    """The contact sheet of one job.

    Args:
        path: of the PNG file.
        card: of the model.

    Raises:
        UsageError: another suffix, no such folder, or the model takes tables.
    """

    def __init__(self, path: Path, card: Card) -> None:
        if not isinstance(card.spec, ImageSpec):
            raise UsageError(f"--show draws images: {card.name} takes a table")
        if path.suffix.lower() != ".png":
            raise UsageError(f"--show {path}: expected a name ending in .png")
        if not path.parent.is_dir():
            raise UsageError(f"--show {path}: there is no folder {path.parent}")
        self._path, self._card = path, card
        self._pictures: list[Image.Image | None] = []
        self._cells: list[tuple[str, Image.Image | None, str, str]] = []
        self._no_font = False

    def look(self, rows: Sequence[Row]) -> None:
        """Keep small copies of a block's pictures, before they are decoded for the model."""
        for row in rows[: LIMIT - len(self._pictures)]:
            self._pictures.append(readers.preview(row, _SIDE))

    def answer(self, block: Block, columns: Columns) -> None:
        """Keep a block's answers, and what the model saw."""
        inputs = iter(block.inputs)
        for number in range(min(len(block.names), LIMIT - len(self._cells))):
            error = block.errors[number]
            seen = None if error is not None else _image(next(inputs))
            label, value = "", ""
            if error is None and self._card.labels:
                label = columns["label"][number]
                value = f"{100 * columns['probability'][number]:.1f} %"
            elif error is None:
                value = f"{columns['prediction'][number]:.4g}"
            self._cells.append((columns["source"][number], seen, label or value, error or value))

    def save(self, rows: int) -> str:
        """Write the file; return a line that says what is on it.

        Args:
            rows: of the whole job.

        Raises:
            OSError: it cannot be written.
        """
        shown = len(self._cells)
        what = f"{shown:,} row{'' if shown == 1 else 's'}"
        if shown < rows:
            what = f"the first {shown:,} of {rows:,} rows"
        columns = max(2, min(_COLUMNS, shown))
        lines = max(1, -(-shown // columns))
        size = (columns * _WIDTH, _HEAD + lines * _HEIGHT)
        sheet = Image.new("RGB", size, _PAPER)
        draw = ImageDraw.Draw(sheet)
        title = f"{self._card.name}: {what}; left the picture, right as the model sees it"
        self._write(draw, (_GAP, _GAP), title, 15, size[0] - 2 * _GAP)
        for number in range(shown):
            x, y = number % columns * _WIDTH, _HEAD + number // columns * _HEIGHT
            self._cell(sheet, draw, x, y, number)
        file = io.BytesIO()
        sheet.save(file, "PNG")
        write_atomic(self._path, file.getvalue())
        said = f"{self._path}: {what}"
        if self._no_font:
            said += "; no font here has all characters: class numbers and ? stand for the others"
        return said

    def _cell(
        self, sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, number: int
    ) -> None:
        name, seen, label, value = self._cells[number]
        left, right = x + _GAP, x + 2 * _GAP + _SIDE
        for image, place in ((self._pictures[number], left), (seen, right)):
            box = (place - 1, y - 1, place + _SIDE, y + _SIDE)
            draw.rectangle(box, outline=_LINE, fill=None if image else "#f1f3f6")
            if image is not None:
                small = _enlarged(image)
                middle = [(_SIDE - length) // 2 for length in small.size]
                sheet.paste(small, (place + middle[0], y + middle[1]))
        width, below = 2 * _SIDE + _GAP, y + _SIDE + 4
        self._write(draw, (left, below), name, 11, width, _SOFT, keep_end=True)
        if seen is None:
            self._wrap(draw, (left, below + 16), value, 11, width)
            return
        if not self._can_write(label, 18):
            label = f"class {self._card.labels.index(label)}"
        if label == value:
            self._write(draw, (left, below + 16), label, 18, width)
            return
        self._write(draw, (left, below + 16), label, 18, width - 64)
        percent = _font(13, "")
        end = left + width - percent.getlength(value)
        self._write(draw, (int(end), below + 20), value, 13, width)

    def _can_write(self, text: str, size: int) -> bool:
        if _covers(_font(size, text), text):
            return True
        self._no_font = True
        return False

    def _write(
        self, draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, width: int,
        color: str = _TEXT, *, keep_end: bool = False,
    ) -> None:  # fmt: skip
        """Write one line, shortened to a width; characters that no font has become ?."""
        font = _font(size, text)
        if not self._can_write(text, size):
            text = "".join(letter if _covers(font, letter) else "?" for letter in text)
        if font.getlength(text) > width:
            dots = "..." if not _covers(font, "…") else "…"
            while text and font.getlength(text + dots) > width:
                text = text[1:] if keep_end else text[:-1]
            text = dots + text if keep_end else text + dots
        draw.text(place, text, color, font)

    def _wrap(
        self, draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, width: int
    ) -> None:
        """Write an error in up to three lines."""
        font, lines = _font(size, text), [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and len(lines) < 3 and font.getlength(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
        for number, line in enumerate(lines):
            self._write(draw, (place[0], place[1] + 14 * number), line, size, width, _BAD)


def checked(path: Path, card: Card, inputs: Sequence[str], *, resume: bool, engine: str) -> Sheet:
    """Return the contact sheet of a job, if it can have one.

    Raises:
        UsageError: as `Sheet`; it is an input; or the job is resumed, or of Ray.
    """
    if resume or engine == "ray":
        other = "--resume" if resume else "--engine ray"
        raise UsageError(f"--show draws what one process reads from the start: leave out {other}")
    if path.exists() and any(
        path.resolve().is_relative_to(Path(text).resolve()) for text in inputs if text != "-"
    ):
        raise UsageError(f"--show {path} is one of the inputs: give another name")
    return Sheet(path, card)


def _image(array: Any) -> Image.Image:
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)


def _enlarged(image: Image.Image) -> Image.Image:
    """Return a small image in whole multiples of its pixels, so that they stay crisp."""
    factor = _SIDE // max(image.size)
    if factor <= 1:
        copy = image.copy()
        copy.thumbnail((_SIDE, _SIDE))
        return copy
    width, height = image.size
    return image.resize((factor * width, factor * height), Image.Resampling.NEAREST)


@functools.cache
def _fonts(size: int) -> tuple[Any, ...]:
    """Return Pillow's own font, and those with more characters that this machine has."""
    fonts: list[Any] = [ImageFont.load_default(size)]
    for name, index in _FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size, index=index))
        except OSError:
            continue
    return tuple(fonts)


def _font(size: int, text: str) -> Any:
    """Return the first font that has all characters of a text, else the one that has most."""
    plain = ImageFont.load_default(size)
    if text.isascii():
        return plain
    return max(_fonts(size), key=lambda font: sum(_covers(font, letter) for letter in text))


@functools.cache
def _covers(font: Any, text: str) -> bool:
    """Say whether a font has all characters of a text: what it lacks looks like a non-character."""
    if text.isascii():
        return True
    missing = np.asarray(font.getmask("\uffff"))
    return all(
        letter.isspace() or not np.array_equal(np.asarray(font.getmask(letter)), missing)
        for letter in set(text)
        if not letter.isascii()
    )
