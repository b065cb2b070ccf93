"""Images with labels in files of arrays, as they are passed around: trained on and predicted."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import labels, rows_of, write_idx
from PIL import Image
from typer.testing import Result

import zoo
from zoo import datasets
from zoo.datasets import Dataset, labelled, mnist
from zoo.errors import DataError, UsageError

Cli = Callable[..., Result]
TRAIN, TEST = slice(100), slice(100, 120)


def load(data: object, **recipe: Any) -> Dataset:
    recipe = {"epochs": 1, "data": str(data)} | recipe
    return datasets.chosen(zoo.Recipe(**recipe), "mnist", "classification", images=True)


def check(data: Dataset, digits: mnist.Split, test: bool = True) -> None:
    """Check that the data are the first 120 test digits, 100 of them to train on."""
    assert data.labels == tuple("0123456789")
    train = np.concatenate([data.train.inputs, data.validation.inputs])
    expected = {image.tobytes() for image in digits.inputs[TRAIN if test else slice(120)]}
    if test:
        assert np.array_equal(data.test.inputs, digits.inputs[TEST])
        assert np.array_equal(data.test.targets, digits.targets[TEST])
    else:
        train = np.concatenate([train, data.test.inputs])
    assert {image.tobytes() for image in train} == expected


def write_parts(folder: Path, names: tuple[str, str, str, str], digits: mnist.Split) -> None:
    """Write the digits as IDX files: images and labels to train on, then to test on."""
    folder.mkdir(parents=True, exist_ok=True)
    images, targets = digits.inputs[:120, :, :, 0], digits.targets[:120]
    turned = images.swapaxes(1, 2) if "emnist" in names[0] else images
    contents = (turned[TRAIN], targets[TRAIN], turned[TEST], targets[TEST])
    for name, array in zip(names, contents, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        write_idx(folder / name, array)
        if name.endswith(".gz"):
            (folder / name).write_bytes(gzip.compress((folder / name).read_bytes()))


@pytest.mark.parametrize(
    "names",
    [
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte",
         "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte.gz", "t10k-labels.idx1-ubyte"),
        ("train-images-idx3-ubyte/train-images-idx3-ubyte",
         "train-labels-idx1-ubyte/train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte/t10k-images-idx3-ubyte",
         "t10k-labels-idx1-ubyte/t10k-labels-idx1-ubyte"),
        ("emnist-digits-train-images-idx3-ubyte.gz", "emnist-digits-train-labels-idx1-ubyte.gz",
         "emnist-digits-test-images-idx3-ubyte.gz", "emnist-digits-test-labels-idx1-ubyte.gz"),
        ("Train-Images.idx3-ubyte", "TRAIN-LABELS.idx1-ubyte",
         "test-images.idx3", "test-labels.idx1"),
    ],
    ids=["7-zip", "mixed", "kaggle", "emnist", "case"],
)  # fmt: skip
def test_idx_files_by_every_name(
    names: tuple[str, str, str, str], tmp_path: Path, digits: mnist.Split, zoo_cli: Cli
) -> None:
    write_parts(tmp_path / "idx", names, digits)
    data = load(tmp_path / "idx")
    check(data, digits)
    assert bool(data.notes and "published transposed: turned" in data.notes[0]) == (
        "emnist" in names[0]
    )
    rows = rows_of(zoo_cli("predict", "cnn", tmp_path / "idx" / names[2], "--json"))
    assert labels(rows) == digits.targets[TEST].tolist()


def test_letters_get_their_names_and_others_a_hint(tmp_path: Path, digits: mnist.Split) -> None:
    numbers = np.arange(26 * 3) % 26 + 1
    images = digits.inputs[: len(numbers), :, :, 0]
    for prefix in ("emnist-letters-", ""):
        folder = tmp_path / f"letters{prefix}"
        folder.mkdir()
        write_idx(folder / f"{prefix}train-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}train-labels-idx1-ubyte", numbers)
    data = load(tmp_path / "lettersemnist-letters-")
    assert data.labels == tuple("abcdefghijklmnopqrstuvwxyz")
    (hint, *_) = load(tmp_path / "letters").notes
    assert hint.startswith("if train-images-idx3-ubyte is of EMNIST, its images lie on their side")


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (("x_train", "y_train", "x_test", "y_test"), "plain"),
        (("train_images", "train_labels", "test_images", "test_labels"), "column"),
        (("X_train", "Y_train", "X_val", "Y_val"), "flat"),
        (("trainX", "trainY", "testX", "testY"), "first"),
        (("images", "labels"), "unit"),
        (("X", "y"), "one-hot"),
        (("x", "y"), "names"),
    ],
)
def test_npz_files_by_every_name(
    names: tuple[str, ...], form: str, digits: mnist.Split, zoo_cli: Cli
) -> None:
    pictures: np.ndarray = digits.inputs[:120, :, :, 0]
    targets: np.ndarray = digits.targets[:120]
    pictures = {"flat": pictures.reshape(120, -1), "first": pictures[:, None],
                "unit": (pictures / 255).astype(np.float32)}.get(form, pictures)  # fmt: skip
    targets = {"column": targets[:, None], "one-hot": np.eye(10)[targets],
               "names": targets.astype(str)}.get(form, targets)  # fmt: skip
    split = len(names) == 4
    contents = (pictures[TRAIN], targets[TRAIN], pictures[TEST], targets[TEST])
    arrays = contents if split else (pictures, targets)
    np.savez("digits.npz", **dict(zip(names, arrays, strict=True)))
    check(load("digits.npz"), digits, test=split)
    if form == "plain":
        rows = rows_of(zoo_cli("predict", "cnn", "digits.npz", "--json"))
        assert labels(rows) == digits.targets[TEST].tolist()
        assert rows[0]["source"] == "digits.npz/x_test[0]"


def test_csv_files_of_pixels(digits: mnist.Split, tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    folder.mkdir()
    header = ",".join(["label", *(f"pixel{number}" for number in range(784))]) + "\n"
    for part, rows in (("train", TRAIN), ("test", TEST)):
        text = "".join(
            ",".join(map(str, [label, *image.ravel()])) + "\n"
            for image, label in zip(digits.inputs[rows], digits.targets[rows], strict=True)
        )
        (folder / f"mnist_{part}.csv").write_text(header + text if part == "train" else text)
    check(load(folder), digits)
    whole = folder / "all.csv"
    bare = "".join(line.partition(",")[2] + "\n" for line in text.splitlines())
    whole.write_text(header + (folder / "mnist_train.csv").read_text().partition("\n")[2] + text)
    check(load(whole), digits, test=False)
    whole.unlink()
    (folder / "mnist_test.csv").write_text(header.partition(",")[2] + bare)  # as Kaggle's
    data = load(folder)
    assert data.notes[0] == "mnist_test.csv has no labels and is passed over"
    (folder / "mnist_train.csv").write_text(header + text.replace(",0,", ",999,", 1))
    with pytest.raises(DataError, match=r"mnist_train\.csv line 2: pixel '999': expected a whole"):
        load(folder)
    (folder / "mnist_train.csv").write_text(header + text.replace("\n", "\n,", 1))
    with pytest.raises(DataError, match=r"mnist_train\.csv line 3: 786 fields, the header has 785"):
        load(folder)


@pytest.mark.parametrize("layout", ["data", "mnist", "."])
def test_parquet_files_of_the_hub(layout: str, digits: mnist.Split, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder = tmp_path / "hub" / layout
    folder.mkdir(parents=True)
    (tmp_path / "hub" / "README.md").write_text("# A dataset")
    kinds = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": [*"0123456789"]},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": kinds}})}
    for part, rows in (("train", TRAIN), ("test", TEST)):
        cells = []
        for image in digits.inputs[rows]:
            file = io.BytesIO()
            Image.fromarray(image[:, :, 0]).save(file, "PNG")
            cells.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"image": cells, "label": digits.targets[rows]})
        table = table.replace_schema_metadata(metadata)
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")
    check(load(tmp_path / "hub"), digits)
    one = load(folder / "train-00000-of-00001.parquet")
    assert sum(len(part.targets) for part in (one.train, one.validation, one.test)) == 100
    with pytest.raises(UsageError, match="no column 'digit' of labels; there are label"):
        load(tmp_path / "hub", target="digit")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": [1], "b": [2]}, "expected arrays x_train and y_train, images and labels, or X and y;"
         " found a, b"),
        ({"x": np.zeros((2, 5)), "y": [0, 1]}, "x holds float64 [2, 5], expected images"),
        ({"x": np.full((2, 4, 4), -9), "y": [0, 1]}, "x: expected pixels of 0 to 255 or of 0 to 1"),
        ({"x": np.full((2, 4, 4), np.nan), "y": [0, 1]}, "x: pixels that are not finite numbers"),
        ({"x": np.zeros((2, 4, 4)), "y": [0, 1, 1]}, "2 images, 3 labels"),
        ({"x": np.zeros((2, 4, 4)), "y": np.zeros((2, 3))}, "expected a class number or name"),
        ({"x": np.zeros((2, 4, 4)), "y": ["a", " "]}, "a label is blank"),
        ({"x": np.zeros((2, 4, 4)), "y": ["a", "a"]}, "expected at least 2 classes, found 1"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_learned_are_one_line(
    arrays: dict[str, Any], reason: str, zoo_cli: Cli
) -> None:
    np.savez("x.npz", **arrays)
    done = zoo_cli("train", "softmax", "--data", "x.npz")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.stderr
    assert reason in done.stderr


def test_a_class_that_is_in_the_test_part_alone_is_named() -> None:
    parts = {"x_train": np.zeros((4, 8, 8)), "x_test": np.zeros((1, 8, 8))}
    np.savez("x.npz", y_train=["a", "b", "a", "b"], y_test=["zebra"], **parts)
    with pytest.raises(DataError, match=r"x\.npz, test: class 'zebra' is not among those to train"):
        load("x.npz")


def test_npz_files_that_are_damaged_or_not_clear(zoo_cli: Cli, digits: mnist.Split) -> None:
    np.savez("x.npz", x_train=digits.inputs[:3], x_val=digits.inputs[:3])
    done = zoo_cli("predict", "cnn", "x.npz")
    assert "expected one array of inputs in the .npz file, found x_train, x_val" in done.stderr
    Path("x.npz").write_bytes(Path("x.npz").read_bytes()[:200])
    with pytest.raises(DataError, match=r"x\.npz: damaged \.npz file"):
        load("x.npz")


def test_the_part_and_the_kind_of_an_array_are_in_its_name() -> None:
    assert labelled.role("x_train") == labelled.role("train-images") == ("train", "x")
    assert labelled.role("valLabels") == labelled.role("y_dev") == ("validation", "y")
    assert labelled.role("X") == labelled.role("images") == ("", "x")
    assert labelled.role("weights") is labelled.role("train") is None
