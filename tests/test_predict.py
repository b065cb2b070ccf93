"""`zoo predict` on real files of every kind, good and bad."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import labels, rows_of
from PIL import Image

from zoo.datasets import mnist, tables

Cli = Callable[..., Any]


def test_one_image(zoo_cli: Cli, digit_folder: Path) -> None:
    result = zoo_cli("predict", "resnet", digit_folder / "a" / "00.png")
    assert result.exit_code == 0
    header, row = result.stdout.splitlines()
    assert header.split() == ["source", "label", "probability"]
    assert row.split()[1] == "7"
    assert "1 rows on " in result.stderr


def test_a_folder_is_walked_in_order(zoo_cli: Cli, digit_folder: Path, digits: mnist.Split) -> None:
    (digit_folder / "notes.txt").write_text("not an image, and not named as one")
    rows = rows_of(zoo_cli("predict", "resnet", f"{digit_folder}/", "--json"))
    assert rows[0]["source"] == str(digit_folder / "a" / "00.png")
    assert [Path(row["source"]).stem for row in rows] == [f"{n:02d}" for n in range(30)]
    assert labels(rows) == digits.targets[:30].tolist()
    assert all(row["probability"] > 0.3 and row["error"] is None for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name has to be UTF-8")
def test_a_name_that_is_no_utf8_harms_no_job(
    tmp_path: Path, digit_folder: Path, zoo_cli: Cli
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for name in ("数字.png", os.fsdecode("数字.png".encode("gbk")), "ok.png"):
        shutil.copyfile(digit_folder / "a" / "00.png", folder / name)
    shown = {"数字.png", r"\xca\xfd\xd7\xd6.png", "ok.png"}
    for output in ("a.csv", "a.jsonl", "a.parquet"):
        for given in (folder, folder / os.fsdecode("数字.png".encode("gbk"))):
            assert zoo_cli("predict", "cnn", given, "-o", output).exit_code == 0
    rows = rows_of(zoo_cli("predict", "cnn", folder, "--json"))
    assert {Path(row["source"]).name for row in rows} == shown
    assert labels(rows) == [7, 7, 7]
    paths = b"\n".join(sorted(map(os.fsencode, folder.iterdir())))
    piped = zoo_cli("predict", "cnn", "-", "--json", input=paths)
    assert {Path(row["source"]).name for row in rows_of(piped)} == shown


def test_globs_and_several_inputs_keep_their_order(
    zoo_cli: Cli, digit_folder: Path, digits: mnist.Split
) -> None:
    given = [
        digit_folder / "b" / "2*.png",
        digit_folder / "a" / "03.png",
        f"{digit_folder}/**/01.png",
    ]
    rows = rows_of(zoo_cli("predict", "resnet", *given, "--json"))
    order = [*range(20, 30), 3, 1]
    assert [Path(row["source"]).stem for row in rows] == [f"{n:02d}" for n in order]
    assert labels(rows) == digits.targets[order].tolist()


def test_arrays_and_idx_files(zoo_cli: Cli, tmp_path: Path, digits: mnist.Split) -> None:
    images = digits.inputs[:700]
    np.save(tmp_path / "four.npy", images)
    np.save(tmp_path / "three.npy", images[..., 0])
    np.save(tmp_path / "one.npy", images[0, :, :, 0])
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 700, 28, 28)
    (tmp_path / "x-images.idx3-ubyte").write_bytes(header + images.tobytes())
    (tmp_path / "x.idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    for name in ("four.npy", "three.npy", "x-images.idx3-ubyte", "x.idx3-ubyte.gz"):
        rows = rows_of(zoo_cli("predict", "resnet", name, "--json"))
        right = np.mean(np.array(labels(rows)) == digits.targets[:700])
        assert right > 0.99, name
        assert rows[699]["source"] == f"{name}[699]"
    assert labels(rows_of(zoo_cli("predict", "cnn", "one.npy", "--json"))) == [7]
    whole = rows_of(zoo_cli("predict", "cnn", mnist.FILES / "t10k-images-idx3-ubyte.gz", "--json"))
    assert np.mean(np.array(labels(whole)) == digits.targets) > 0.992


def test_tables(zoo_cli: Cli, tmp_path: Path) -> None:
    result = zoo_cli("predict", "logistic", tables.FILES / "breast-cancer.csv", "--json")
    rows = rows_of(result)
    with (tables.FILES / "breast-cancer.csv").open() as file:
        truth = [row["diagnosis"] for row in csv.DictReader(file)]
    assert np.mean([row["label"] == true for row, true in zip(rows, truth, strict=True)]) > 0.96
    values = rows_of(zoo_cli("predict", "linear", tables.FILES / "diabetes.csv", "--json"))
    assert len(values) == 442
    assert 50 < np.mean([row["prediction"] for row in values]) < 250
    table = zoo_cli("predict", "linear", tables.FILES / "diabetes.csv").stdout.splitlines()
    assert table[0].split() == ["source", "prediction"]
    features = np.array([[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87]])
    np.save(tmp_path / "f.npy", features)
    (row,) = rows_of(zoo_cli("predict", "linear", "f.npy", "--json"))
    assert row["prediction"] == pytest.approx(values[0]["prediction"], rel=1e-5)


def test_output_files(zoo_cli: Cli, digit_folder: Path, tmp_path: Path) -> None:
    bad = digit_folder / "a" / "000.png"
    bad.write_bytes(b"nonsense")
    for name in ("out.csv", "out.jsonl"):
        result = zoo_cli("predict", "resnet", digit_folder, "-o", name, "--top", "3")
        assert result.exit_code == 3
        assert result.stdout == ""
        assert "1 of 31 inputs failed" in result.stderr
    with open("out.csv", newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert len(table) == len(lines) == 31
    for row, line in zip(table, lines, strict=True):
        assert row["source"] == line["source"]
        assert (row["error"] or None) == line["error"]
        if line["error"] is None:
            assert (row["label"], row["label_3"]) == (line["label"], line["label_3"])
            assert float(row["probability"]) == pytest.approx(line["probability"])
            found = [line[f"probability{place}"] for place in ("", "_2", "_3")]
            assert found == sorted(found, reverse=True)
        else:
            assert line["label"] is None is line["probability_3"]
    assert "not an image in a known format" in lines[1]["error"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digits", "out.csv", "out.jsonl"]


def test_top_in_the_table(zoo_cli: Cli, digit_folder: Path) -> None:
    result = zoo_cli("predict", "cnn", digit_folder / "a" / "00.png", "--top", "20")
    header, row = result.stdout.splitlines()
    assert header.split()[-2:] == ["label_10", "probability_10"], "no more than there are"
    assert sum(map(float, row.split()[2::2])) == pytest.approx(1, abs=1e-3)


def test_dark_on_light_digits_are_recognized(
    zoo_cli: Cli, tmp_path: Path, digits: mnist.Split
) -> None:
    for number in range(20):
        paper = 255 - digits.inputs[number, :, :, 0]
        Image.fromarray(paper).resize((112, 112)).save(tmp_path / f"{number:02d}.jpg", quality=92)
    found = labels(rows_of(zoo_cli("predict", "resnet", "*.jpg", "--json")))
    assert found == digits.targets[:20].tolist()
    assert (
        labels(rows_of(zoo_cli("predict", "resnet", "*.jpg", "--json", "--invert", "yes"))) == found
    )
    args = ("predict", "resnet", "*.jpg", "--json", "--prepare", "none", "--invert", "no")
    raw = labels(rows_of(zoo_cli(*args)))
    assert np.mean(np.array(raw) == digits.targets[:20]) < 0.5


def save(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def test_one_bad_file_among_good_ones_loses_nothing(
    zoo_cli: Cli, digit_folder: Path, tmp_path: Path
) -> None:
    bad = {
        "empty.png": (b"", "empty file"),
        "text.png": (b"hello", "not an image in a known format"),
        "cut.png": ((digit_folder / "a" / "00.png").read_bytes()[:90], "damaged image"),
        "moving.png": (
            save(Image.new("L", (9, 9)), save_all=True, append_images=[Image.new("L", (9, 9), 9)]),
            "animated (2 frames)",
        ),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    good = digit_folder / "a" / "00.png"
    given = [word for name in (*bad, "missing.png") for word in (name, good)]
    result = zoo_cli("predict", "cnn", *given, "--json")
    assert result.exit_code == 3
    rows = rows_of(result)
    assert [row["error"] for row in rows[1::2]] == [None] * 5
    assert [row["label"] for row in rows[1::2]] == ["7"] * 5
    for row, (_, reason) in zip(rows[::2], [*bad.values(), (b"", "no such file")], strict=True):
        assert reason in row["error"]
        assert row["label"] is None
    assert "5 of 10 inputs failed, first empty.png: empty file" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.csv", None, "no such file"),
        ("empty.csv", "", "empty file"),
        ("few.csv", "age,sex\n1,2\n", "missing columns: bmi, bp, s1"),
        ("text.csv", "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6\n1,2,3,4,5,6,7,8,tall,10\n",
         "column 's5': expected a number, found 'tall'"),
        ("nan.csv", "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6\n1,2,3,nan,5,6,7,8,9,10\n",
         "column 'bp': expected a finite number, found 'nan'"),
        ("picture.png", "x", "this model takes a table"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_clear_line(
    name: str, content: str | None, reason: str, zoo_cli: Cli, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    result = zoo_cli("predict", "linear", name)
    assert result.exit_code == 1, "nothing could be predicted"
    assert reason in result.stdout
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_row_with_text_is_a_row_with_its_error(zoo_cli: Cli, tmp_path: Path) -> None:
    lines = (tables.FILES / "diabetes.csv").read_text().splitlines()[:6]
    lines[3] = lines[3].replace(lines[3].split(",")[2], "n/a", 1)
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = zoo_cli("predict", "linear", "t.csv", "--json")
    assert result.exit_code == 3
    errors = [row["error"] for row in rows_of(result)]
    assert errors[2] == "column 'bmi': expected a number, found 'n/a'"
    assert errors.count(None) == 4


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 28, 27), np.float32), "holds float32 [3, 28, 27], expected uint8"),
        (np.full((3, 28, 28), -0.42), "expected pixels of 0 to 255 or of 0 to 1, given -0.42 to 0"),
        (np.zeros((3, 32, 32), np.uint8), "holds uint8 [3, 32, 32], expected uint8"),
        (np.zeros(5, np.uint8), "holds uint8 [5]"),
        (np.array([{"a": 1}], dtype=object), "damaged .npy file"),
    ],
)
def test_arrays_of_another_shape_or_type(
    array: np.ndarray, reason: str, zoo_cli: Cli, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", array)
    result = zoo_cli("predict", "cnn", "x.npy")
    assert result.exit_code == 1
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (("nocnn", "x.png"), 2, "unknown model 'nocnn'. Did you mean 'cnn'?"),
        (("cnn", "empty"), 1, "a folder without images"),
        (("cnn", "none*.png"), 1, "no file matches"),
        (("cnn", "t.csv"), 1, "this model takes images, not a table"),
        (("cnn", "x.png", "-o", "out.txt"), 2, "expected a name ending in .csv, .jsonl, .parquet"),
        (("cnn", "x.png", "-o", "none/out.csv"), 1, "none"),
        (("cnn", "x.png", "-o", "out.csv", "--json"), 2, "-o and --json: expected one of them"),
        (("cnn", "x.png", "--resume"), 2, "give the same -o"),
        (("cnn", "x.png", "--top", "0"), 2, "--top"),
        (("cnn", "x.png", "--invert", "maybe"), 2, "maybe"),
        (("cnn", "x.png", "--device", "tpu"), 2, "tpu"),
        (("cnn",), 2, "inputs"),
    ],
)
def test_bad_usage(
    args: tuple[str, ...], code: int, reason: str, zoo_cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    result = zoo_cli("predict", *args)
    assert result.exit_code == code
    assert reason in result.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))]


def test_an_unwritable_output_leaves_the_old_file(zoo_cli: Cli, digit_folder: Path) -> None:
    """A job that ends in an error part-way does not replace what was there."""
    import os

    Path("out.csv").write_text("old")
    os.symlink("/dev/full", ".out.csv.part")  # a real full device
    result = zoo_cli("predict", "cnn", digit_folder, "-o", "out.csv")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert Path("out.csv").read_text() == "old"


FIELD_ZIP = {"digit.png": 0, "__MACOSX/._digit.png": 1, "._digit.png": 2, ".thumbs/x.png": 3}


def test_what_systems_leave_about_is_passed_over(
    zoo_cli: Cli, tmp_path: Path, digits: mnist.Split
) -> None:
    with zipfile.ZipFile("mac.zip", "w") as archive:
        for name, number in FIELD_ZIP.items():
            data = save(Image.fromarray(digits.inputs[number, :, :, 0]))
            archive.writestr(name, data)
            (tmp_path / "mac" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "mac" / name).write_bytes(data)
    for source in ("mac.zip", "mac"):
        (row,) = rows_of(zoo_cli("predict", "cnn", source, "--json"))
        assert row["source"] == f"{source}/digit.png"
        assert row["label"] == str(digits.targets[0])


@pytest.mark.parametrize("kind", ["bzip2", "lzma"])
def test_a_damaged_member_is_a_row(kind: str, zoo_cli: Cli, digits: mnist.Split) -> None:
    method = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}[kind]
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    with zipfile.ZipFile("a.zip", "w", method) as archive:
        archive.writestr("bad.png", save(Image.fromarray(noise)))
        archive.writestr("good.png", save(Image.fromarray(digits.inputs[0, :, :, 0])))
    data = bytearray(Path("a.zip").read_bytes())
    data[3_000:3_040] = bytes(40)
    Path("a.zip").write_bytes(data)
    done = zoo_cli("predict", "cnn", "a.zip", "--json")
    assert done.exit_code == 3
    bad, good = rows_of(done)
    assert "damaged in the archive" in bad["error"]
    assert good["label"] == str(digits.targets[0])


def test_a_damaged_xz_archive_is_an_error_and_the_rest_goes_on(
    zoo_cli: Cli, digit_folder: Path
) -> None:
    with tarfile.open("a.tar.xz", "w:xz") as archive:
        archive.add(digit_folder, "digits")
    data = bytearray(Path("a.tar.xz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    Path("a.tar.xz").write_bytes(data)
    done = zoo_cli("predict", "cnn", "a.tar.xz", digit_folder / "a" / "00.png", "--json")
    assert done.exit_code == 3
    *_, damaged, good = rows_of(done)
    assert damaged["error"].startswith("damaged archive behind byte ")
    assert good["label"] is not None


def test_an_unforeseen_error_of_one_input_is_its_row(
    zoo_cli: Cli, digit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo import images

    read = images.read

    def odd(source: bytes, *args: Any, **options: Any) -> Any:
        if source == (digit_folder / "a" / "01.png").read_bytes():
            raise ArithmeticError("as no decoder should")
        return read(source, *args, **options)

    monkeypatch.setattr(images, "read", odd)
    done = zoo_cli("predict", "cnn", digit_folder, "--json")
    assert done.exit_code == 3
    errors = [row["error"] for row in rows_of(done)]
    assert errors[1] == "ArithmeticError: as no decoder should"
    assert errors[:1] + errors[2:] == [None] * 29


def test_an_output_that_is_an_input_is_refused(zoo_cli: Cli) -> None:
    table = tables.FILES / "diabetes.csv"
    Path("own.csv").write_bytes(table.read_bytes())
    done = zoo_cli("predict", "linear", "own.csv", "-o", "own.csv")
    assert done.exit_code == 2
    assert "output own.csv is one of the inputs" in done.stderr
    assert Path("own.csv").read_bytes() == table.read_bytes()
