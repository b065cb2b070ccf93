"""`zoo predict --show`: pictures, what the model sees of them, and answers, as one PNG file."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import battery
import msgspec
import numpy as np
import pytest
from conftest import write_idx
from PIL import Image

import zoo
from serve.batch import sheet
from zoo import images
from zoo.bundle.folder import Bundle, weights_dir
from zoo.datasets import mnist
from zoo.spec import ImageSpec

Cli = Callable[..., Any]


def cell(path: Path, number: int) -> tuple[Image.Image, Image.Image]:
    """The picture of a row, and what the model sees, as they are on the sheet."""
    with Image.open(path) as whole:
        columns = whole.width // sheet._WIDTH
        x = number % columns * sheet._WIDTH + sheet._GAP
        y = sheet._HEAD + number // columns * sheet._HEIGHT
        boxes = [(left, y, left + sheet._SIDE, y + sheet._SIDE)
                 for left in (x, x + sheet._SIDE + sheet._GAP)]  # fmt: skip
        left, right = (whole.crop(box) for box in boxes)
        return left, right


def shown(image: Image.Image, size: int = 28) -> np.ndarray:
    """A crisp enlargement, as large as it was before."""
    small = image.convert("L").resize((size, size), Image.Resampling.NEAREST)
    assert (
        small.resize(image.size, Image.Resampling.NEAREST).tobytes() == image.convert("L").tobytes()
    ), "whole multiples of a pixel"
    return np.asarray(small)


def spec() -> ImageSpec:
    found = zoo.card("cnn").spec
    assert isinstance(found, ImageSpec)
    return found


def test_a_folder_of_photos(zoo_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, condition in (("a", "phone photo"), ("b", "red on blue")):
        picture = battery.conditions(np.random.default_rng(0))[condition](battery.drawn(4, 0))
        picture.save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "c.png").write_bytes(b"nonsense")
    Image.new("L", (60, 40), 250).save(tmp_path / "photos" / "d.png")
    plain = zoo_cli("predict", "cnn", "photos")
    result = zoo_cli("predict", "cnn", "photos", "--show", "sheet.png")
    assert result.exit_code == 3
    assert result.stdout == plain.stdout
    assert result.stderr.splitlines()[-1] == "sheet.png: 4 rows"
    for number, name in enumerate("ab"):
        picture, seen = cell(tmp_path / "sheet.png", number)
        expected = images.decode(tmp_path / "photos" / f"{name}.png", spec())
        np.testing.assert_array_equal(shown(seen), expected[:, :, 0])
    red_on_blue = np.asarray(cell(tmp_path / "sheet.png", 1)[0]).astype(int)
    assert (red_on_blue[5, 5] == (40, 60, 200)).all(), "the picture is in its own colors"
    for number, color in ((2, 244), (3, 250)):  # unreadable: nothing; without a digit: as it is
        picture, seen = cell(tmp_path / "sheet.png", number)
        assert abs(int(np.asarray(picture.convert("L"))[56, 56]) - color) <= 2
        assert len(set(np.asarray(seen.convert("L")).ravel().tolist())) == 1


@pytest.mark.parametrize("kind", ["zip", "npy", "idx", "parquet", "glob"])
def test_every_kind_of_input(
    kind: str, zoo_cli: Cli, digits: mnist.Split, digit_folder: Path
) -> None:
    some = digits.inputs[:7, :, :, 0]
    files = []
    for image in some:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    given = f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(given, "w") as archive:
            for number, data in enumerate(files):
                archive.writestr(f"{number}.png", data)
    elif kind == "npy":
        np.save(given, (some / 255).astype(np.float32))
    elif kind == "idx":
        given = "x-images-idx3-ubyte"
        write_idx(Path(given), some)
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"image": files}), given)
    else:
        given = "digits/a/0[0-6].png"
    result = zoo_cli("predict", "cnn", given, "--show", "sheet.png", "-o", "answers.csv")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.endswith("sheet.png: 7 rows\n")
    for number, image in enumerate(some):
        for picture in cell(Path("sheet.png"), number):
            np.testing.assert_array_equal(shown(picture), image)


def test_a_large_job_shows_its_first_rows(zoo_cli: Cli, digits: mnist.Split) -> None:
    np.save("many.npy", digits.inputs[:1000])
    result = zoo_cli("predict", "softmax", "many.npy", "--show", "sheet.png", "-o", "x.csv")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == "sheet.png: the first 100 of 1,000 rows"
    np.testing.assert_array_equal(shown(cell(Path("sheet.png"), 99)[1]), digits.inputs[99, :, :, 0])


@pytest.fixture
def chinese(tmp_path: Path) -> Path:
    """The shipped cnn with the digits' Chinese names."""
    path = Path(shutil.copytree(weights_dir() / "cnn", tmp_path / "chinese"))
    card = msgspec.structs.replace(Bundle.open(path).card, labels=tuple("零一二三四五六七八九"))
    Bundle.write(path, card)
    return path


def test_names_without_a_font_are_numbers_and_said_so(
    zoo_cli: Cli, chinese: Path, digit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "_FONTS", ())
    sheet._fonts.cache_clear()
    try:
        result = zoo_cli("predict", chinese, digit_folder / "a", "--show", "sheet.png")
        assert result.exit_code == 0, result.stderr
        assert "class numbers" in result.stderr.splitlines()[-1]
        plain = zoo_cli("predict", "cnn", digit_folder / "a", "--show", "plain.png")
        assert plain.stderr.splitlines()[-1] == "plain.png: 15 rows"
    finally:
        sheet._fonts.cache_clear()


def test_a_font_is_taken_only_for_characters_that_it_has() -> None:
    for font in sheet._fonts(18):
        assert sheet._covers(font, "7 %")
        assert not sheet._covers(font, "\U000f1234")
    fonts = [font for font in sheet._fonts(18) if sheet._covers(font, "数字")]
    assert sheet._covers(sheet._font(18, "数字 7"), "数字 7") is bool(fonts)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("cnn", "digits", "--show", "sheet.jpg"), "sheet.jpg: expected a name ending in .png"),
        (("cnn", "digits", "--show", "none/sheet.png"), "there is no folder none"),
        (("linear", "x.csv", "--show", "sheet.png"), "--show draws images: linear takes a table"),
        (("cnn", "digits", "--show", "digits/a/00.png"), "is one of the inputs"),
        (("cnn", "digits", "--show", "s.png", "--engine", "ray"), "leave out --engine ray"),
        (
            ("cnn", "digits", "--show", "s.png", "-o", "x.csv", "--resume"),
            "leave out --resume",
        ),
    ],
)
def test_bad_usage_is_said_before_the_work(
    args: tuple[str, ...], reason: str, zoo_cli: Cli, digit_folder: Path
) -> None:
    result = zoo_cli("predict", *args)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stdout == ""
    assert not list(Path().glob("*.png"))
