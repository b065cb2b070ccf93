"""Training on the user's own data, through the command line: folders, IDX files, tables, names."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import battery
import msgspec
import numpy as np
import pytest
import torch
from conftest import write_idx
from PIL import Image
from test_server import Server
from typer.testing import CliRunner, Result

import cli
import zoo
from zoo import datasets
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.datasets import Dataset, mnist, torchvision
from zoo.spec import ImageSpec

Cli = Callable[..., Result]
COLORS = {"blue": (40, 60, 220), "green": (30, 200, 60), "红": (220, 50, 40)}


def draw(color: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """A noisy picture of one color, of any size and shape."""
    height, width = rng.integers(20, 60, 2)
    noise = rng.integers(-40, 40, (height, width, 3))
    return Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four class folders: PNG, JPEG, GIF and BMP; RGB, palette, alpha and gray; one bad file."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data") / "my colors"
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(60):
            suffix, mode = (("png", "RGB"), ("jpg", "RGB"), ("gif", "P"), ("png", "RGBA"))[
                number % 4
            ]
            draw(color, rng).convert(mode).save(root / name / f"{number:02d}.{suffix}")
    draw(COLORS["红"], rng).convert("L").save(root / "红" / "gray.bmp")
    (root / "红" / "bad.png").write_bytes(b"nonsense")
    (root / "rare").mkdir()
    draw((250, 250, 250), rng).save(root / "rare" / "only.png")
    return root


@pytest.fixture(scope="session")
def color_run(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cnn trained on them, and what was said."""
    run = tmp_path_factory.mktemp("runs") / "colors"
    words = ["train", "cnn", "--data", colors.name, "--size", "20", "--epochs", "6"]
    words += ["--batch-size", "16", "--set", "ema_decay=0", "--out", str(run)]
    with contextlib.chdir(colors.parent):
        done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{run}\n"
    return run, done.stderr


@pytest.fixture
def idx_folder(tmp_path: Path, digits: mnist.Split) -> Path:
    """600 digits as IDX files, the classes 3 to 8 alone, some packed and some not."""
    folder = tmp_path / "idx"
    folder.mkdir()
    rows = np.flatnonzero((digits.targets >= 3) & (digits.targets <= 8))[:600]
    for part, some in (("train", rows[:500]), ("t10k", rows[500:])):
        images = folder / f"{part}-images-idx3-ubyte"
        write_idx(images, digits.inputs[some, :, :, 0])
        (folder / f"{images.name}.gz").write_bytes(gzip.compress(images.read_bytes(), mtime=0))
        images.unlink()
        write_idx(folder / f"{part}-labels-idx1-ubyte", digits.targets[some])
    return folder


def write_csv(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """A table with row numbers, two columns that matter, one that is always 7, and two targets."""
    rng = np.random.default_rng(0)
    rows: list[list[Any]] = [["", "area", "rooms", "floor", "price", "kind"]]
    for number in range(200):
        area, rooms = rng.uniform(30, 200), int(rng.integers(1, 7))
        price = 3000 * area + 10_000 * rooms + rng.normal(0, 100)
        rows.append([number, f"{area:.3f}", rooms, 7, f"{price:.2f}", "big" if area > 115 else "a"])
    return write_csv(tmp_path / "houses.csv", rows)


def load(data: object, **recipe: Any) -> Dataset:
    recipe = {"epochs": 1, "data": str(data)} | recipe
    return datasets.chosen(zoo.Recipe(**recipe), "mnist", "classification", images=True)


# --- a folder of class folders ---


def test_what_is_wrong_with_a_folder_is_said_once(color_run: tuple[Path, str]) -> None:
    said = color_run[1]
    assert "my colors: 1 of 183 files cannot be read, first " in said
    assert "红/bad.png: not an image in a known format" in said
    assert "uneven: 49 images of 'blue' to train on, 1 of 'rare'; --set sampler=" in said
    assert "classes without an image in the validation part: rare" in said
    assert "classes without an image in the test part: rare" in said


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name has to be UTF-8")
def test_class_folders_and_files_may_have_names_that_are_no_utf8(tmp_path: Path) -> None:
    names = [os.fsdecode(name.encode("gbk")) for name in ("狗", "马")]
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        for place in range(5):
            picture = draw(tuple(COLORS.values())[number], np.random.default_rng(place))
            picture.save(tmp_path / name / f"{name}{place}.png")
    assert load(tmp_path).labels == (r"\xb9\xb7", r"\xc2\xed")


def test_a_rare_class_is_learned_by_drawing_it_as_often(
    tmp_path: Path, digits: mnist.Split, zoo_cli: Cli
) -> None:
    threes, eights = (np.flatnonzero(digits.targets == label) for label in (3, 8))
    for part, some in (
        ("train", np.r_[threes[:500], eights[:15]]), ("t10k", np.r_[threes[500:], eights[500:]])
    ):  # fmt: skip
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", digits.inputs[some, :, :, 0])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", digits.targets[some])
    recall = {}
    for sampler in ("uniform", "balanced"):
        run = tmp_path / sampler
        done = zoo_cli(
            "train", "cnn", "--data", tmp_path, "--epochs", 4, "--out", run,
            "--set", f"sampler={sampler}", "--batch-size", 32, "--set", "ema_decay=0",
        )  # fmt: skip
        assert "--set sampler=balanced" in done.stderr
        row = Bundle.open(run).card.confusion[1]
        recall[sampler] = row[1] / sum(row)
    assert recall["balanced"] > recall["uniform"] + 0.05
    assert zoo_cli("train", "linear", "--set", "sampler=balanced").exit_code == 2


def test_the_network_and_the_card_fit_the_folder(colors: Path, color_run: tuple[Path, str]) -> None:
    card = zoo.card(color_run[0])
    assert card.labels == ("blue", "green", "rare", "红")
    assert isinstance(card.spec, ImageSpec)
    assert (card.spec.channels, card.spec.size, card.spec.background) == (3, 20, "any")
    assert card.test["accuracy"] == 1.0
    assert (card.dataset.name, card.dataset.counts) == ("my colors", (49, 49, 1, 49))
    assert (card.dataset.train, card.dataset.validation, card.dataset.test) == (148, 16, 18)
    assert card.recipe.data == str(colors)
    assert f"zoo train cnn --data '{colors}' --set size=20 --set epochs=6" in card.training.command
    assert (card.recipe.teacher, card.recipe.elastic) == ("", 0)
    assert "digit" not in card.limits


def test_what_comes_after_training_finds_the_folder(
    colors: Path, color_run: tuple[Path, str], zoo_cli: Cli
) -> None:
    run = color_run[0]
    for engine in ("onnx", "torch", "numpy"):
        found = zoo_cli("evaluate", run, "--engine", engine, "--json")
        assert json.loads(found.stdout)["metrics"]["accuracy"] == 1.0, found.stderr
    assert zoo_cli("verify", run).exit_code == 0
    exported = zoo_cli("export", run, "-o", "colors.onnx")
    assert "same top-1 on 18 of 18 test rows" in exported.stderr
    table = zoo_cli("predict", run, *sorted(colors.glob("*/04.*")), colors / "红" / "01.jpg")
    assert [line.split()[-2] for line in table.stdout.splitlines()[1:]] == [*COLORS, "红"]


def test_predict_sees_what_training_saw(colors: Path, color_run: tuple[Path, str]) -> None:
    data = load(colors, size=20)
    seen = np.concatenate([data.train.inputs, data.validation.inputs, data.test.inputs])
    from serve.batch.sources import read

    card = zoo.card(color_run[0])
    blocks = [block.inputs for block in read([str(colors)], card.spec)]
    rows = sorted(image.tobytes() for image in np.concatenate(blocks))
    assert rows == sorted(image.tobytes() for image in seen)


def test_it_is_served_with_its_own_labels(
    colors: Path, color_run: tuple[Path, str], zoo_command: list[str]
) -> None:
    server = Server(zoo_command, color_run[0])
    picture = (colors / "green" / "02.gif").read_bytes()
    _, _, answer = server.request("POST", "/v1/predict/cnn", picture, Content_Type="image/gif")
    (found,) = json.loads(answer)["predictions"]
    assert found["label"] == "green"
    assert set(found["probabilities"]) == {*COLORS, "rare"}
    (model,) = json.loads(server.request("GET", "/v1/models")[2])[
        "summaries"
    ]  # what the page shows
    assert model["labels"] == ["blue", "green", "rare", "红"]
    assert model["input"]["shape"] == ["batch", 20, 20, 3]
    assert model["dataset"] == "my colors"
    assert server.stop()[0] == 0


def test_data_that_has_changed_or_gone_is_said_so(
    colors: Path, color_run: tuple[Path, str], tmp_path: Path, zoo_cli: Cli
) -> None:
    copy = Path(shutil.copytree(colors, tmp_path / "copy"))
    run = Path(shutil.copytree(color_run[0], tmp_path / "run"))
    card = Bundle.open(run).card
    Bundle.write(run, msgspec.structs.replace(card, recipe=card.recipe.replace(data=str(copy))))
    assert zoo_cli("evaluate", run).exit_code == 0
    (copy / "红" / "00.png").unlink()
    for command in ("evaluate", "verify", "reproduce"):
        done = zoo_cli(command, run)
        assert done.exit_code == 5
        assert "trained on other data named 'my colors'" in done.stderr + done.stdout
    # Float32 needs the data for its proof alone; int8 calibrates on them.
    done = zoo_cli("export", run, "-o", tmp_path / "a.onnx")
    assert done.exit_code == 0
    assert "proven on generated inputs, the data are not at hand: " in done.stderr
    assert "trained on other data named 'my colors'" in done.stderr
    done = zoo_cli("export", run, "--precision", "int8", "-o", tmp_path / "b.onnx")
    assert done.exit_code == 5
    assert "trained on other data named 'my colors'" in done.stderr
    shutil.rmtree(copy)
    done = zoo_cli("evaluate", run)
    assert done.exit_code == 1
    assert done.stderr == f"zoo: {copy}: no such file or folder\n"
    assert zoo_cli("verify", run).exit_code == 5


def test_folders_that_are_split_already_stay_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    root = tmp_path / "parts"
    for part, count in (("train", 20), ("val", 3), ("test", 5)):
        for name in ("blue", "红"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                draw(COLORS[name], rng).save(root / part / name / f"{number}.png")
    data = load(root)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [40, 6, 10]
    shutil.rmtree(root / "test")
    data = load(root)  # one part held out: nobody may choose by it
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [36, 4, 6]
    shutil.copytree(root / "val" / "红", root / "val" / "pink")
    with pytest.raises(zoo.DataError, match=r"val: class 'pink' is not among those to train on"):
        load(root)


@pytest.fixture
def split_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of parts, each with the class folders blue and green."""

    def make(*names: str, flat: tuple[str, ...] = ()) -> Path:
        root = tmp_path / "split"
        rng = np.random.default_rng(3)
        for name in names:
            for label in ("blue", "green"):
                (root / name / label).mkdir(parents=True)
                for number in range(12 if name.lower().startswith("train") else 3):
                    draw(COLORS[label], rng).save(root / name / label / f"{number}.png")
        for name in flat:
            (root / name).mkdir(parents=True)
            draw(COLORS["blue"], rng).save(root / name / "1.png")
        return root

    return make


@pytest.mark.parametrize(
    ("names", "flat", "counts", "said"),
    [
        (("Train", "validation", "Test"), (), (24, 6, 6), "Train/ is the training set, "
         "validation/ is the validation set, Test/ is the test set"),
        (("training", "DEV"), (), (22, 2, 6),
         "training/ is the training set, DEV/ is the test set"),
        (("TRAIN", "Val", "evaluation"), ("Meta",), (24, 6, 6), "TRAIN/ is the training set, "
         "Val/ is the validation set, evaluation/ is the test set, passed over: Meta/"),
        (("Train",), ("Test",), (20, 2, 2), "Train/ is the training set, passed over: Test/"),
        (("train",), (), (20, 2, 2), "train/ is the training set"),
        ((), ("train", "bus", "car"), None, ""),
    ],
)  # fmt: skip
def test_parts_are_known_in_any_case_and_by_their_synonyms(
    names: tuple[str, ...], flat: tuple[str, ...], counts: tuple[int, ...] | None, said: str,
    split_folder: Callable[..., Path],
) -> None:  # fmt: skip
    root = split_folder(*names, flat=flat)
    if counts is None:  # a class may have such a name
        for name in flat:
            draw(COLORS["blue"], np.random.default_rng(0)).save(root / name / "2.png")
            draw(COLORS["blue"], np.random.default_rng(0)).save(root / name / "3.png")
        assert load(root).labels == ("bus", "car", "train")
        return
    data = load(root)
    assert data.labels == ("blue", "green")
    assert tuple(len(part.targets) for part in (data.train, data.validation, data.test)) == counts
    assert data.notes == (said,)


@pytest.mark.parametrize(
    ("names", "flat", "reason"),
    [
        (("train", "Training", "test"), (), "Training/ and train/ are both the train part"),
        (("val", "test"), (), "val/ and test/ but no folder to train on, expected train/"),
        ((), ("train", "test"), "test/ and train/ hold no class folders"),
        (("train",), ("bus", "car"), "rename it if it is a class"),
        (("train", " "), (), "give that folder alone"),
    ],
)
def test_parts_that_are_not_clear_are_refused(
    names: tuple[str, ...], flat: tuple[str, ...], reason: str, split_folder: Callable[..., Path]
) -> None:
    with pytest.raises(zoo.DataError, match=reason):
        load(split_folder(*names, flat=flat))


def test_content_decides_and_the_rest_is_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name in ("blue", "green"):
        (tmp_path / "x" / name / "deep").mkdir(parents=True)
        for number, file in enumerate(("a", "b.txt", "c.jfif", "deep/d.png", "e.PNG")):
            draw(COLORS[name], rng).save(tmp_path / "x" / name / file, ("PNG", "JPEG")[number % 2])
        (tmp_path / "x" / name / "notes.txt").write_text("BM, P5 and so on")
        (tmp_path / "x" / name / ".hidden.txt").write_text("")
    for path in ("blue/film.mp4", "blue/README", "readme.txt", "lost.png"):
        (tmp_path / "x" / path).write_bytes(b"\0\0\0\x20ftypisom")
    os.mkfifo(tmp_path / "x" / "green" / "pipe.png")
    (tmp_path / "x" / "__MACOSX").mkdir()
    data = load(tmp_path / "x")
    assert sum(len(part.targets) for part in (data.train, data.validation, data.test)) == 10
    assert data.labels == ("blue", "green")
    assert data.notes[0] == (
        "7 files passed over: 3 .txt, 1 .mp4, 1 .png, 1 that are no files, 1 without a suffix"
    )


def test_linked_folders_are_read_once_and_loops_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in ("real/blue", "real/green", "x"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("blue", "green"):
        for number in range(4):
            draw(COLORS[name], rng).save(tmp_path / "real" / name / f"{number}.png")
        (tmp_path / "real" / name / "again").symlink_to(tmp_path / "real" / name)
        (tmp_path / "x" / name).symlink_to(tmp_path / "real" / name)
    data = load(tmp_path / "x")
    assert data.labels == ("blue", "green")
    assert sum(len(part.targets) for part in (data.train, data.validation, data.test)) == 8


def test_unreadable_folders_and_blank_labels_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    for name in ("blue", "green", "green/locked"):
        (tmp_path / "x" / name).mkdir(parents=True)
        for number in range(4):
            draw(COLORS["blue"], rng).save(tmp_path / "x" / name / f"{number}.png")
    scandir = os.scandir

    def locked(path: Any) -> Any:  # as for anyone but root, for whom every folder is readable
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", locked)
        (note,) = load(tmp_path / "x").notes
    assert note.startswith("1 of 9 files cannot be read, first ")
    assert note.endswith("green/locked: cannot be read (Permission denied)")
    (tmp_path / "x" / " ").mkdir()
    with pytest.raises(zoo.DataError, match="class folder ' ' has a blank name"):
        load(tmp_path / "x")


def test_a_folder_is_split_the_same_way_each_time(colors: Path) -> None:
    one, two = load(colors, seed=1), load(colors, seed=2)
    assert one.sha256 == two.sha256
    for part in ("train", "validation", "test"):
        a, b = getattr(one, part), getattr(two, part)
        assert np.array_equal(a.inputs, b.inputs)
        assert np.array_equal(a.targets, b.targets)


def test_gray_images_stay_gray_and_digits_dark(tmp_path: Path, digits: mnist.Split) -> None:
    for number in range(40):
        folder = tmp_path / "gray" / str(digits.targets[number] % 2)
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(digits.inputs[number, :, :, 0])
        picture.convert("RGB" if number % 2 else "L").save(folder / f"{number}.png")
    data = load(tmp_path / "gray")
    assert isinstance(data.spec, ImageSpec)
    assert (data.spec.channels, data.spec.background) == (1, "dark")
    pixels = data.train.inputs / 255
    assert data.spec.mean == pytest.approx([pixels.mean()])
    assert data.spec.std == pytest.approx([pixels.std()])
    Image.new("L", (9, 9), 240).save(tmp_path / "gray" / "0" / "light.png")
    lighter = load(tmp_path / "gray").spec
    assert isinstance(lighter, ImageSpec)
    assert lighter.background == "any"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographed digits in class folders 0 to 9, and one sheet that is blank."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for condition in ("gray paper", "red on blue"):
        for source, digit, _, picture in battery.pictures(only=condition):
            if "hand" in source:
                folder = root / str(digit)
                folder.mkdir(parents=True, exist_ok=True)
                picture.resize((90, 90)).save(folder / f"{source} {condition}.png")
    Image.new("L", (90, 60), 250).save(root / "3" / "blank.png")
    return root


@pytest.mark.slow
def test_digits_in_photos_are_prepared_for_training_as_for_predict(
    photos: Path, zoo_cli: Cli
) -> None:
    data = load(photos)
    spec = data.spec
    assert isinstance(spec, ImageSpec)
    assert (spec.channels, spec.size, spec.background, spec.centered) == (1, 28, "dark", True)
    said = "\n".join(data.notes)
    assert "1 of 161 files cannot be read" in said
    assert "blank.png: no digit" in said
    assert "the pictures are digits: each is found, scaled and centered as in MNIST" in said
    from serve.batch.sources import read

    seen = np.concatenate([data.train.inputs, data.validation.inputs, data.test.inputs])
    blocks = [block.inputs for block in read([str(photos)], spec)]
    rows = sorted(image.tobytes() for image in np.concatenate(blocks))
    assert rows == sorted(image.tobytes() for image in seen)

    done = zoo_cli(
        "train", "cnn", "--data", photos, "--init", "pretrained", "--epochs", 1,
        "--set", "lr=0.0005", "--set", "ema_decay=0", "--out", "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "the pictures are digits" in done.stderr
    card = zoo.card("run")
    assert card.spec.centered  # type: ignore[union-attr]
    assert card.test["accuracy"] > 0.9
    found = zoo_cli("evaluate", "run", "--json")
    assert json.loads(found.stdout)["metrics"]["accuracy"] == card.test["accuracy"]
    picture = battery.conditions(np.random.default_rng(1))["sheet on a table"](battery.drawn(2, 1))
    assert zoo.Session("run").predict(picture).labels == ["2"]


def test_digits_stay_as_they_are_on_request(photos: Path) -> None:
    data = load(photos, prepare="none")
    assert isinstance(data.spec, ImageSpec)
    assert (data.spec.channels, data.spec.background, data.spec.centered) == (3, "any", False)
    assert "the pictures are digits" not in "".join(data.notes)


def test_other_pictures_in_numbered_folders_stay_as_they_are(tmp_path: Path) -> None:
    """The names of the classes alone do not make digits of photos, or of other digits."""
    rng = np.random.default_rng(0)
    for number, color in enumerate(COLORS.values()):
        (tmp_path / "things" / str(number)).mkdir(parents=True)
        (tmp_path / "mixed" / str(number)).mkdir(parents=True)
        for place in range(12):
            name = f"{place}.png"
            draw(color, rng).save(tmp_path / "things" / str(number) / name)
            ink = battery.drawn((number + 4) % 10, place % 8)  # a 4 in the folder of the 0
            plain = battery.conditions(rng)["dark on light"](ink)
            plain.save(tmp_path / "mixed" / str(number) / name)
    for folder in ("things", "mixed"):
        spec = load(tmp_path / folder).spec
        assert isinstance(spec, ImageSpec)
        assert not spec.centered
        assert spec.background == "any"


def test_arrays_of_digits_agree_with_predict(tmp_path: Path, digits: mnist.Split) -> None:
    """What of IDX files is not quite in MNIST's form is prepared, or left out, as in predict."""
    images = digits.inputs[:400, :, :, 0].copy()
    images[5] = 0  # no digit
    images[7] = np.where(images[7] > 40, images[7] // 3, 0)  # too faint to be in that form
    for part, rows in (("train", slice(300)), ("t10k", slice(300, 400))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", digits.targets[:400][rows])
    data = load(tmp_path)
    assert isinstance(data.spec, ImageSpec)
    assert data.spec.centered
    assert data.notes == ("images without a digit, which are left out: 1",)
    rows = np.concatenate([data.train.inputs, data.validation.inputs])
    from zoo.images import fit

    assert fit(rows, data.spec)[0] is rows, "predict leaves them as they are"
    assert len(rows) == 299
    plain = load(tmp_path, prepare="none")
    assert not plain.spec.centered  # type: ignore[union-attr]
    assert len(plain.train.inputs) + len(plain.validation.inputs) == 300


# --- IDX files ---


def test_idx_files_with_names(idx_folder: Path, zoo_cli: Cli, digits: mnist.Split) -> None:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")
    (idx_folder / "labels.txt").write_text("\n".join(words))
    done = zoo_cli("train", "softmax", "--data", "idx", "--epochs", "5", "--out", "run")
    assert done.exit_code == 0, done.stderr
    card = zoo.card("run")
    assert card.labels == words[3:]
    assert (card.dataset.train, card.dataset.validation, card.dataset.test) == (449, 51, 100)
    assert card.test["accuracy"] > 0.7
    found = zoo_cli("predict", "run", idx_folder / "t10k-images-idx3-ubyte.gz", "--json")
    rows = json.loads(found.stdout)["rows"]
    assert {row["label"] for row in rows} <= set(words[3:])
    (idx_folder / "labels.txt").unlink()
    assert load(idx_folder / "train-images-idx3-ubyte.gz").labels == tuple("345678")


def test_idx_files_get_another_size_as_pictures_do(idx_folder: Path, digits: mnist.Split) -> None:
    for file in idx_folder.glob("t10k*"):
        file.unlink()
    data = load(idx_folder, size=20)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [404, 45, 51]
    spec = ImageSpec(1, 20, (0.0,), (1.0,))
    digit = digits.inputs[(digits.targets >= 3) & (digits.targets <= 8)][0]
    Image.fromarray(digit[:, :, 0]).save("one.png")
    expected = zoo.images.decode(Path("one.png"), spec)
    seen = np.concatenate([data.train.inputs, data.validation.inputs, data.test.inputs])
    assert (seen == expected).all(axis=(1, 2, 3)).any()


def test_fashion_mnist_is_known_by_its_bytes() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip(f"no {folder}: apt-get install dataset-fashion-mnist")
    assert load(folder).labels[-1] == "Ankle boot"


# --- tables ---


def test_a_regression_of_a_column(houses: Path, zoo_cli: Cli) -> None:
    rows = [row[:5] for row in csv.reader(houses.read_text().splitlines())]
    write_csv(houses, rows)
    done = zoo_cli(
        "train", "linear", "--data", houses, "--target", "price", "--epochs", 300, "--out", "run"
    )
    assert done.exit_code == 0, done.stderr
    card = zoo.card("run")
    assert isinstance(card.spec, zoo.TableSpec)
    assert card.spec.columns == ("area", "rooms", "floor")
    assert card.test["r2"] > 0.999
    assert zoo_cli("verify", "run").exit_code == 0
    (answer, *_) = json.loads(zoo_cli("predict", "run", houses, "--json").stdout)["rows"]
    assert answer["prediction"] == pytest.approx(float(rows[1][4]), rel=0.02)


def test_two_classes_of_a_column(houses: Path, zoo_cli: Cli) -> None:
    done = zoo_cli("train", "logistic", "--data", houses, "--target", "kind", "--out", "run")
    assert done.exit_code == 0, done.stderr
    card = zoo.card("run")
    assert card.labels == ("a", "big")
    assert card.test["accuracy"] > 0.9
    assert zoo_cli("evaluate", "run").exit_code == 0
    (answer, *_) = json.loads(zoo_cli("predict", "run", houses, "--json").stdout)["rows"]
    assert answer["label"] in card.labels


# --- going on, and beginning from what is known ---


def test_a_stopped_training_goes_on_from_elsewhere(
    idx_folder: Path, tmp_path: Path, zoo_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.training import checkpoint

    words = ("train", "cnn", "--data", "idx", "--epochs", "2", "--out")
    assert zoo_cli(*words, "whole").exit_code == 0
    saves: list[int] = []
    save = checkpoint.save

    def interrupted(run: Path, at: checkpoint.Progress, tensors: Any) -> None:
        save(run, at, tensors)
        saves.append(at.step)
        if len(saves) == 2:
            raise OSError("no space")

    monkeypatch.setattr("zoo.training.loop.CHECKPOINT_EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", interrupted)
        assert zoo_cli(*words, "stopped").exit_code == 1
    monkeypatch.chdir("/")
    done = zoo_cli("train", "--resume", tmp_path / "stopped")
    assert done.exit_code == 0, done.stderr
    weights = [(tmp_path / run / WEIGHTS).read_bytes() for run in ("whole", "stopped")]
    assert weights[0] == weights[1]
    (idx_folder / "labels.txt").write_text("")
    labels = idx_folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\3")
    done = zoo_cli("train", "--resume", tmp_path / "stopped")
    assert done.exit_code == 2
    assert "has changed since the training began" in done.stderr


def test_pretrained_weights_are_taken_where_they_fit(
    colors: Path, idx_folder: Path, zoo_cli: Cli
) -> None:
    words = ("train", "cnn", "--init", "pretrained", "--epochs", 1, "--set", "lr=0", "--out")
    done = zoo_cli(*words, "colors", "--data", colors)
    assert "weights of 'cnn' taken, fresh: conv1.weight, fc.weight, fc.bias" in done.stderr
    known, fine = zoo.load("cnn").state_dict(), zoo.load("colors").state_dict()
    assert torch.equal(fine["conv2.weight"], known["conv2.weight"])
    assert fine["conv1.weight"].shape == (10, 3, 5, 5)
    done = zoo_cli(*words, "digits", "--data", idx_folder)
    assert "fresh: fc.weight, fc.bias" in done.stderr


# --- names that torchvision knows ---


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    return torchvision.cache()


def test_a_name_is_read_from_the_cache(cache: Path, idx_folder: Path) -> None:
    raw = cache / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in idx_folder.iterdir():
        data = file.read_bytes()
        plain = gzip.decompress(data) if file.suffix == ".gz" else data
        (raw / file.name.removesuffix(".gz")).write_bytes(plain)
    data, same = load("fashion-mnist"), load(raw)
    assert data.labels == ("Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag")
    assert data.name == "fashion-mnist"
    assert data.sha256 == same.sha256
    assert np.array_equal(data.test.inputs, same.test.inputs)


def test_letters_stand_upright(cache: Path, idx_folder: Path) -> None:
    raw = cache / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in idx_folder.iterdir():
        data = file.read_bytes()
        plain = gzip.decompress(data) if file.suffix == ".gz" else data
        part = file.name.removesuffix(".gz").replace("t10k", "test")
        (raw / f"emnist-letters-{part}").write_bytes(plain)
    data, same = load("emnist-letters"), load(raw)
    assert data.labels == same.labels == ("c", "d", "e", "f", "g", "h")
    assert np.array_equal(data.test.inputs, same.test.inputs)


def test_without_a_network_that_is_said(cache: Path, zoo_cli: Cli) -> None:
    done = zoo_cli("train", "cnn", "--data", "kmnist")
    assert done.exit_code == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"zoo: data 'kmnist' is not in {cache} and cannot be downloaded (")
    assert not Path("runs").exists()


# --- what cannot be ---


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("cnn", "--data", "fasion-mnist"), 2, "Did you mean 'fashion-mnist'?"),
        (("cnn", "--data", "no/such"), 1, "no such file or folder"),
        (("cnn", "--data", "houses.csv"), 2, "this model takes images: expected a folder"),
        (("softmax", "--data", "houses.csv"), 2, "with --target COLUMN, softmax takes any"),
        (("softmax", "--data", "hoses.csv", "--target", "price"), 1, "no such file or folder"),
        (("linear", "--data", "idx"), 2, "this model takes a table: expected a .csv file"),
        (("linear", "--data", "houses.csv"), 2, "expected --target COLUMN; its columns: area, "),
        (("linear", "--data", "houses.csv", "--target", "prize"), 2, "no column 'prize'"),
        (("logistic", "--data", "houses.csv", "--target", "rooms"), 1, "has 6 classes (1, 2, 3"),
        (("linear", "--data", "houses.csv", "--target", "price", "--size", 3), 2, "for images"),
        (("cnn", "--data", "idx", "--target", "x"), 2, "names a column of a table"),
        (("cnn", "--data", "kmnist", "--target", "x"), 2, "names a column of a table"),
        (("cnn", "--size", "20"), 2, "--target and --size are for --data"),
        (("cnn", "--data", "idx", "--size", "8"), 2, "cannot take images of 8x8: try a larger"),
        (("cnn", "--data", "idx/notes.txt"), 1, "expected IDX files named train-images-idx3"),
        (("cnn", "--data", "empty"), 1, "expected at least 2 class folders, found none"),
        (("cnn", "--data", "idx", "--init", "pretraind"), 2, "Did you mean 'pretrained'"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[object, ...], code: int, said: str, idx_folder: Path, houses: Path, zoo_cli: Cli
) -> None:
    (idx_folder / "notes.txt").write_text("taken in spring")
    Path("empty").mkdir()
    done = zoo_cli("train", *words)
    assert said in done.stderr
    assert done.exit_code == code
    assert done.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_too_few_names_and_too_little_data(idx_folder: Path, tmp_path: Path) -> None:
    (idx_folder / "labels.txt").write_text("a\nb")
    with pytest.raises(zoo.DataError, match=r"expected 9 names of classes, all different"):
        load(idx_folder)
    for name in "ab":
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / "few" / name / "1.png")
    with pytest.raises(zoo.DataError, match="too little data, nothing is left for the test part"):
        load(tmp_path / "few")
