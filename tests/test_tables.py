"""Tables of other people: many classes, correlated columns, outliers, columns to leave out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
