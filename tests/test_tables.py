"""Tables of other people: many classes, correlated columns, outliers, columns to leave out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import rows_of

import zoo
from zoo.bundle.folder import Bundle
from zoo.evaluation.evaluate import dataset

Cli = Callable[..., Any]


def write(path: str, columns: np.ndarray, target: list[Any], name: str = "answer") -> None:
    head = ",".join([*(f"c{number}" for number in range(columns.shape[1])), name])
    lines = [
        ",".join([*(f"{value:.5g}" for value in row), str(answer)])
        for row, answer in zip(columns, target, strict=True)
    ]
    Path(path).write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kind", ["correlated", "outlier", "few rows", "large units"])
def test_linear_is_at_the_least_squares_solution_of_any_table(kind: str, zoo_cli: Cli) -> None:
    rng = np.random.default_rng(3)
    rows = 40 if kind == "few rows" else 300
    columns = rng.normal(0, 1, (rows, 6))
    if kind == "correlated":
        columns = rng.normal(0, 1, (rows, 3)) @ rng.normal(0, 1, (3, 29))
        columns += 0.3 * rng.normal(0, 1, columns.shape)
    target = columns @ rng.normal(0, 5, columns.shape[1]) + rng.normal(0, 2, rows)
    if kind == "outlier":
        columns[0, 0] = 1e4
    if kind == "large units":
        columns, target = columns * [1e-3, 1, 1e3, 1, 1, 1e5], 1e6 + 1e5 * target
    write("t.csv", columns, target.tolist())
    done = zoo_cli("train", "linear", "--data", "t.csv", "--target", "answer", "--out", "run")
    assert done.exit_code == 0, done.stderr
    data, card = dataset(Bundle.open("run")), Bundle.open("run").card
    inputs, test = (
        np.hstack([part.inputs, np.ones((len(part.inputs), 1))]) for part in (data.train, data.test)
    )
    solution = np.linalg.lstsq(inputs.astype(float), data.train.targets, rcond=None)[0]
    error = ((test @ solution - data.test.targets) ** 2).mean()
    assert card.test["r2"] == pytest.approx(1 - error / data.test.targets.var(), abs=2e-3)


def test_softmax_takes_a_table_with_many_classes(zoo_cli: Cli) -> None:
    rng = np.random.default_rng(0)
    names = ["白葡萄酒", "红葡萄酒", "rosé", "sparkling wine", "dessert"]
    centers = rng.normal(0, 3, (5, 13))
    kinds = rng.integers(0, 5, 250)
    columns = centers[kinds] + rng.normal(0, 1, (250, 13))
    write("wine.csv", columns, [f" {names[kind]} " for kind in kinds], name="class")
    words = ("train", "softmax", "--data", "wine.csv", "--target", "class", "--epochs", 20)
    done = zoo_cli(*words, "--drop", "c12", "--out", "run")
    assert done.exit_code == 0, done.stderr
    card = Bundle.open("run").card
    assert card.labels == tuple(sorted(names))
    assert card.spec.columns == tuple(f"c{number}" for number in range(12))  # type: ignore[union-attr]
    assert card.test["accuracy"] > 0.9
    answers = rows_of(zoo_cli("predict", "run", "wine.csv", "--json"))
    right = [row["label"] == names[kind] for row, kind in zip(answers, kinds, strict=True)]
    assert np.mean(right) > 0.95
    for words in (
        ("evaluate", "run"),
        ("evaluate", "run", "--engine", "torch"),
        ("export", "run", "-o", "w.onnx"),
        ("verify", "run"),
        ("train", "--resume", "run"),
    ):
        assert zoo_cli(*words).exit_code == 0, words
    assert zoo.Session("run", device="cpu").predict(columns[:3, :12].astype(np.float32)).labels
    for options, said in (
        (("--drop", "c99"), "--drop c99: no such column. Did you mean 'c9'?"),
        (("--drop", "class"), "--drop class: the target"),
    ):
        done = zoo_cli("train", "softmax", "--data", "wine.csv", "--target", "class", *options)
        assert done.exit_code == 2
        assert said in done.stderr
    done = zoo_cli("train", "logistic", "--data", "wine.csv", "--target", "class")
    assert (done.exit_code, "has 5 classes" in done.stderr) == (1, True)


def test_an_empty_label_is_refused_by_its_line(zoo_cli: Cli) -> None:
    write("t.csv", np.zeros((30, 2)), ["a", "b", "  "] * 10)
    done = zoo_cli("train", "softmax", "--data", "t.csv", "--target", "answer")
    assert done.exit_code == 1
    assert "t.csv line 4: column 'answer' is blank" in done.stderr


@pytest.fixture
def flats() -> Path:
    """Prices by size (some empty), city (a text, some empty) and garden (yes or no)."""
    rng = np.random.default_rng(5)
    lines = ["size,city,garden,price"]
    worth = {"北京": 900.0, "上海": 800.0, "Köln": 300.0, "": 500.0}
    for number in range(400):
        size, city = rng.uniform(30, 120), list(worth)[rng.integers(4)]
        garden = ("yes", "no")[rng.integers(2)]
        price = 5 * size + worth[city] + 100 * (garden == "yes")
        text = ("", "NA", "n/a", "?")[number % 4] if number % 20 < 4 else f"{size:.2f}"
        lines.append(f"{text},{city},{garden},{price:.2f}")
    Path("flats.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path("flats.csv")


def test_texts_are_categories_and_empty_fields_take_the_mean(flats: Path, zoo_cli: Cli) -> None:
    done = zoo_cli("train", "linear", "--data", flats, "--target", "price", "--out", "run")
    assert done.exit_code == 0, done.stderr
    assert "column 'garden' is a category: no, yes" in done.stderr
    assert "column 'size': 80 of 400 fields are empty, taken as the training rows' mean" in (
        done.stderr
    )
    spec = Bundle.open("run").card.spec
    assert isinstance(spec, zoo.TableSpec)
    assert spec.columns == (
        "size", "city=Köln", "city=上海", "city=北京", "garden=no", "garden=yes",
    )  # fmt: skip
    assert (spec.categories, spec.missing) == (("city", "garden"), ("size", "city"))
    sizes = [line.split(",")[0] for line in flats.read_text(encoding="utf-8").splitlines()[1:]]
    known = [float(size) for size in sizes if size.replace(".", "").isdigit()]
    assert abs(spec.mean[0] - np.mean(known)) < 3, "of the training rows alone"

    session = zoo.Session("run")
    mean = spec.mean[0]
    rows = [
        {"size": 60, "city": "Köln", "garden": "no"},
        {"size": None, "city": "北京", "garden": "yes"},
        {"size": float("nan"), "city": None, "garden": "yes"},
    ]
    expected = [5 * 60 + 300, 5 * mean + 1000, 5 * mean + 600]
    found = session.predict(rows).values
    assert found is not None
    assert np.allclose(found.ravel(), expected, atol=40)
    frame = pd.DataFrame(rows[1:2]).convert_dtypes()  # its empty field is pandas' own NA
    frame["size"] = pd.array([None], dtype="Int64")
    again = session.predict(frame).values
    assert again is not None
    assert again[0] == found[1]
    with pytest.raises(zoo.DataError, match="columns of different lengths: size 1, city 2"):
        session.predict({"size": [1], "city": ["Köln"] * 2, "garden": ["no"] * 2})
    Path("new.csv").write_text(
        "garden,city,size\nno,Köln,60\nyes,北京,\nyes,NA,null\nno,London,50\n,Köln,50\nno,Köln,x\n",
        encoding="utf-8",
    )
    rows = rows_of(zoo_cli("predict", "run", "new.csv", "--json"))
    said = [row.get("error") or "" for row in rows]
    assert said[:3] == ["", "", ""]
    assert "column 'city': expected one of Köln, 上海, 北京, found 'London'" in said[3]
    assert "column 'garden': expected one of no, yes, found ''" in said[4]
    assert "column 'size': expected a number, found 'x'" in said[5]
    assert np.allclose([row["prediction"] for row in rows[:3]], found.ravel(), atol=1e-2)
    for command in (("verify", "run"), ("export", "run", "-o", "run.onnx"),
                    ("evaluate", "run", "--data", flats, "--target", "price")):  # fmt: skip
        done = zoo_cli(*command)
        assert done.exit_code == 0, done.output


def test_parquet_and_csv_are_the_same_table(flats: Path, zoo_cli: Cli) -> None:
    frame = pd.read_csv(flats, keep_default_na=True, na_values=["?"])
    frame.to_parquet("flats.parquet")
    for name in ("flats.csv", "flats.parquet"):
        done = zoo_cli(
            "train", "linear", "--data", name, "--target", "price", "--out", f"{name}-run"
        )
        assert done.exit_code == 0, done.stderr
    one, other = (Bundle.open(f"{name}-run").card for name in ("flats.csv", "flats.parquet"))
    assert one.spec == other.spec
    assert one.test == other.test


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([str(n) if n != 7 else "twelve" for n in range(60)], "expected a number, found 'twelve'"),
        ([f"name {n}" for n in range(60)], "more than 50 different texts"),
        (["NA"] * 60, "column 'x' is empty"),
    ],
)
def test_columns_that_are_neither(zoo_cli: Cli, column: list[str], said: str) -> None:
    lines = ["x,y,kind", *(f"{text},{n},{'ab'[n % 2]}" for n, text in enumerate(column))]
    Path("t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = zoo_cli("train", "logistic", "--data", "t.csv", "--target", "kind", "--out", "run")
    assert done.exit_code == 1
    assert said in done.stderr
    assert not Path("run").exists()
    done = zoo_cli(
        "train", "logistic", "--data", "t.csv", "--target", "kind", "--drop", "x", "--out", "run"
    )
    assert done.exit_code == 0, done.stderr


def test_numbers_beyond_half_precision_are_said(zoo_cli: Cli) -> None:
    columns = np.random.default_rng(0).normal(0, 1, (200, 3))
    write("big.csv", columns, (3e5 + 1e5 * columns @ [1.0, 2.0, 3.0]).tolist())
    done = zoo_cli("train", "linear", "--data", "big.csv", "--target", "answer", "--out", "run")
    assert done.exit_code == 0, done.stderr
    done = zoo_cli("export", "run", "--precision", "fp16", "-o", "half.onnx")
    assert done.exit_code == 5
    assert "half precision ends at 65,504" in done.stderr
    assert not Path("half.onnx").exists()


def test_training_begins_with_the_weights_of_a_bundle(zoo_cli: Cli) -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(0, 1, (200, 3))
    target = columns @ [3.0, -2.0, 1.0] + 5
    write("one.csv", columns, target.tolist())
    Path("two.csv").write_text(
        "c2,new,c0,answer\n"
        + "".join(f"{a},{b},{c},{t}\n" for (c, b, a), t in zip(columns, target, strict=True))
    )
    options = ("--target", "answer", "--data")
    assert zoo_cli("train", "linear", *options, "one.csv", "--out", "one").exit_code == 0
    done = zoo_cli(
        "train", "linear", *options, "two.csv", "--init", "one", "--epochs", 1, "--lr", 1e-12,
        "--out", "two",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    one, two = (zoo.load(f"./{name}").state_dict()["linear.weight"][0] for name in ("one", "two"))
    assert two[0] == pytest.approx(float(one[2]), abs=1e-6), "c2"
    assert two[2] == pytest.approx(float(one[0]), abs=1e-6), "c0"
    assert two[1] != pytest.approx(float(one[1]), abs=1e-3), "new"
    assert Bundle.open("two").card.recipe.init == str(Path("one").resolve())
    for init, said in (
        ("logistic", "a bundle of model 'logistic'"),
        ("nowhere", "init=nowhere: expected"),
    ):
        refused = zoo_cli("train", "linear", "--init", init, "--out", "three")
        assert refused.exit_code == 2
        assert said in refused.stderr
    assert not Path("three").exists()


def test_a_run_goes_on_after_its_end(zoo_cli: Cli) -> None:
    columns = np.random.default_rng(0).normal(0, 1, (200, 3))
    write("t.csv", columns, (columns[:, 0] > 0).astype(int).tolist())
    on = ("train", "logistic", "--data", "t.csv", "--target", "answer", "--epochs", 5)
    assert zoo_cli(*on, "--out", "run").exit_code == 0
    done = zoo_cli("train", "--resume", "run", "--epochs", 12, "--out", "more")
    assert done.exit_code == 0, done.stderr
    assert "7 epochs more, from the weights of run" in done.stderr
    first, more = Bundle.open("run").card, Bundle.open("more").card
    assert (more.recipe.epochs, more.recipe.init) == (7, str(Path("run").resolve()))
    assert more.test["loss"] < first.test["loss"]
    for words, said in (
        (("--resume", "run", "--epochs", 5), "has 5 epochs, given --epochs 5: expected more"),
        (("--resume", "nowhere", "--epochs", 5), "has not ended: resume it without --epochs"),
        (("--resume", "run", "--epochs", 9, "--lr", 1), "leave them out"),
    ):
        refused = zoo_cli("train", *words)
        assert refused.exit_code == 2, refused.output
        assert said in refused.stderr
