"""`zoo evaluate --data`: a model on one's own data, prepared as `zoo predict` prepares it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_idx
from PIL import Image, ImageDraw
from test_imports import HEAVY, command, modules_after
from typer.testing import Result

import zoo
from zoo.bundle.folder import weights_dir
from zoo.datasets import mnist, tables

Cli = Callable[..., Result]
COUNT = 60


def measured(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 3), result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture
def class_folder(tmp_path: Path, digits: mnist.Split) -> Path:
    """60 digits in folders by class, as photos: dark on light, larger, off the center."""
    for number, label in enumerate(digits.targets[:COUNT]):
        folder = tmp_path / "mine" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        digit = Image.fromarray(255 - digits.inputs[number, :, :, 0])
        paper = Image.new("L", (200, 150), 250)
        paper.paste(digit.resize((90, 90)), (10, 45))
        paper.save(folder / f"{number:03d}.png")
    return tmp_path / "mine"


def test_a_folder_is_prepared_as_for_predict(class_folder: Path, zoo_cli: Cli) -> None:
    found = measured(zoo_cli("evaluate", "cnn", "--data", class_folder, "--json"))
    assert (found["rows"], found["failed"], found["data"]) == (COUNT, 0, str(class_folder))
    assert found["metrics"]["accuracy"] >= 0.95
    rows = json.loads(zoo_cli("predict", "cnn", class_folder, "--json").stdout)["rows"]
    right = [Path(row["source"]).parent.name == row["label"] for row in rows]
    assert found["metrics"]["accuracy"] == pytest.approx(np.mean(right))
    assert sum(map(sum, found["confusion"])) == COUNT
    table = zoo_cli("evaluate", "cnn", "--data", class_folder, "--plot", "matrix.png")
    assert table.stdout.startswith(f"cnn (onnx, cpu) on {COUNT} rows of {class_folder}: accuracy ")
    assert Path("matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_test_part_is_taken_if_there_is_one(class_folder: Path, zoo_cli: Cli) -> None:
    class_folder.rename("Testing")
    Path("data/train/0").mkdir(parents=True)
    Path("Testing").rename("data/Testing")
    Image.new("L", (28, 28)).save("data/train/0/x.png")
    found = measured(zoo_cli("evaluate", "cnn", "--data", "data", "--json"))
    assert (found["rows"], found["data"]) == (COUNT, "data/Testing")


def test_what_cannot_be_read_is_said_and_not_counted(class_folder: Path, zoo_cli: Cli) -> None:
    (class_folder / "0" / "bad.png").write_bytes(b"nonsense")
    Image.new("L", (99, 99), 200).save(class_folder / "0" / "blank.png")
    (class_folder / "0" / "notes.txt").write_text("from spring")
    done = zoo_cli("evaluate", "cnn", "--data", class_folder, "--json")
    found = measured(done)
    assert (done.exit_code, found["rows"], found["failed"]) == (3, COUNT, 2)
    assert "1 file passed over: 1 .txt" in done.stderr
    assert f"zoo: 2 of {COUNT + 2} inputs failed, first " in done.stderr


@pytest.mark.parametrize("form", ["idx", "test", "npz", "csv", "parquet"])
def test_files_of_arrays(form: str, digits: mnist.Split, zoo_cli: Cli) -> None:
    images, targets = digits.inputs[:200, :, :, 0], digits.targets[:200]
    Path("data").mkdir()
    if form in ("idx", "test"):
        for part, rows in (("t10k", slice(100, 200)), ("train", slice(100))):
            write_idx(Path(f"data/{part}-images-idx3-ubyte"), images[rows])
            write_idx(Path(f"data/{part}-labels-idx1-ubyte"), targets[rows])
            if form == "test":
                break  # evaluation needs nothing to train on
    elif form == "npz":
        np.savez("data/x.npz", x_test=images[100:], y_test=targets[100:])
    elif form == "csv":
        table = np.column_stack([targets[100:], images[100:].reshape(100, -1)])
        np.savetxt("data/x.csv", table, fmt="%d", delimiter=";")
    else:
        pa = pytest.importorskip("pyarrow")
        import io

        import pyarrow.parquet as pq

        cells = []
        for image in images[100:]:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            cells.append({"bytes": file.getvalue(), "path": None})
        pq.write_table(pa.table({"image": cells, "label": targets[100:]}), "data/test.parquet")
    found = measured(zoo_cli("evaluate", "softmax", "--data", "data", "--json"))
    session = zoo.Session("softmax")
    right = np.array(session.predict(digits.inputs[100:200]).labels) == targets[100:].astype(str)
    assert found["rows"] == 100
    assert found["metrics"]["accuracy"] == pytest.approx(right.mean())


def test_a_dataset_by_name_and_images_of_another_size(
    digits: mnist.Split, zoo_cli: Cli, tmp_path: Path
) -> None:
    whole = measured(zoo_cli("evaluate", "softmax", "--json"))
    named = measured(zoo_cli("evaluate", "softmax", "--data", "mnist", "--json"))
    assert whole["metrics"] == named["metrics"]
    pictures = []
    for number in range(40):
        paper = Image.new("RGB", (80, 80), "white")
        digit = Image.fromarray(255 - digits.inputs[number, :, :, 0]).resize((56, 56))
        paper.paste(digit, (4, 20))
        pictures.append(np.asarray(paper))
    np.savez("x.npz", images=np.stack(pictures), labels=digits.targets[:40])
    assert (
        measured(zoo_cli("evaluate", "cnn", "--data", "x.npz", "--json"))["metrics"]["accuracy"]
        > 0.9
    )


def test_tables(zoo_cli: Cli) -> None:
    """With semicolons and decimal commas; in Parquet as well."""
    pa_csv = pytest.importorskip("pyarrow.csv")
    import pyarrow.parquet as pq

    path = tables.FILES / "diabetes.csv"
    whole = zoo.Session("linear")
    features, targets = zoo_table(path, "progression")
    error = np.mean((whole.predict(features).values.ravel() - targets) ** 2)
    Path("t.csv").write_text(path.read_text().replace(",", ";").replace(".", ","))
    pq.write_table(pa_csv.read_csv(path), "t.parquet")
    for name in ("t.csv", "t.parquet"):
        done = zoo_cli("evaluate", "linear", "--data", name, "--target", "progression", "--json")
        assert measured(done)["metrics"]["mse"] == pytest.approx(error, rel=1e-4)
    Path("one.csv").write_text("\n".join(path.read_text().splitlines()[:2]))
    done = zoo_cli("evaluate", "linear", "--data", "one.csv", "--target", "progression", "--json")
    assert measured(done)["metrics"]["r2"] is None


def zoo_table(path: Path, target: str) -> tuple[np.ndarray, np.ndarray]:
    from zoo.datasets import csv

    spec = zoo.card("linear").spec
    assert isinstance(spec, zoo.TableSpec)
    return csv.read(path, spec.columns, target)


def test_classes_by_number_alone_are_said(zoo_cli: Cli, tmp_path: Path) -> None:
    """A bundle whose classes have names, on data that have numbers."""
    import shutil

    import msgspec

    from zoo.bundle.folder import Bundle

    bundle = Path(shutil.copytree(weights_dir() / "softmax", tmp_path / "named"))
    card = Bundle.open(bundle).card
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    Bundle.write(bundle, msgspec.structs.replace(card, labels=names))
    np.savez("x.npz", X=mnist.load_test().inputs[:50], y=mnist.load_test().targets[:50])
    done = zoo_cli("evaluate", bundle, "--data", "x.npz", "--json", "--engine", "numpy")
    assert measured(done)["metrics"]["accuracy"] > 0.9
    assert "taken for the model's: 0 is 'zero', 1 is 'one', 2 is 'two', 3 is 'three'" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("cnn", "--data", "none"), 2, "unknown data"),
        (("cnn", "--data", "./none/x"), 1, "no such f"),
        (("cnn", "--data", "animals"), 1, "classes that the model does not have: cat, dog."),
        (("cnn", "--data", "animals", "--target", "x"), 2, "--target names a column of a table"),
        (("cnn", "--data", "mnist", "--target", "x"), 2, "--target names a column of a table"),
        (("cnn", "--data", "animls.csv", "--target", "x"), 1, "no such file or folder"),
        (("cnn", "--target", "x"), 2, "--target is a column of --data: give both"),
        (("cnn", "--data", "t.csv"), 2, "this model takes images: expected"),
        (("linear", "--data", "animals"), 2, "this model takes a table: expected a .csv file"),
        (("logistic", "--data", "t.csv"), 2, "expected --target COLUMN; its columns: a, kind"),
        (("logistic", "--data", "t.csv", "--target", "kin"), 2, "Did you mean 'kind'?"),
        (("logistic", "--data", "t.csv", "--target", "kind"), 1, "missing columns: mean radius,"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[str, ...], code: int, reason: str, zoo_cli: Cli
) -> None:
    for name in ("cat", "dog"):
        Path("animals", name).mkdir(parents=True)
        picture = Image.new("L", (60, 60), "white")
        ImageDraw.Draw(picture).line([(10, 10), (40, 50)], "black", 6)
        picture.save(Path("animals", name, "1.png"))
    Path("t.csv").write_text("a,kind\n1,x\n")
    done = zoo_cli("evaluate", *words)
    assert reason in done.stderr
    assert (done.exit_code, done.stderr.count("\n"), done.stdout) == (code, 1, "")


def test_it_imports_no_torch(class_folder: Path) -> None:
    assert not modules_after(command("evaluate", "cnn", "--data", class_folder)) & HEAVY


def test_a_model_is_told_that_it_was_trained_on_these_data(
    tmp_path: Path, digits: mnist.Split, zoo_cli: Cli
) -> None:
    np.savez("x.npz", X=digits.inputs[:300], y=digits.targets[:300])
    done = zoo_cli("train", "softmax", "--data", "x.npz", "--epochs", 1, "--out", "run")
    assert done.exit_code == 0, done.stderr
    done = zoo_cli("evaluate", "run", "--data", "x.npz", "--json")
    assert "the model was trained on part of these data" in done.stderr
    assert measured(done)["rows"] == 300
