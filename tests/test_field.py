"""Inputs on which an earlier version failed: each with its right answer or its right error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import rows_of

from zoo.datasets import idx

FIELD = Path(__file__).parent / "field"
Cli = Callable[..., Any]

#: For each file the answers in order: a label, or in brackets a part of the row's error.
ANSWERS = {
    "01-exif-make-as-rational.jpg": ["0"],
    "01-exif-rational-minus1-0.jpg": ["0"],
    "02-60000x1.png": ["(60000x1 is too large)"],
    "03-damaged.avif": ["(damaged image)"],
    "04-damaged-bz2-member.zip": ["1", "(damaged in the archive)", "3", "4", "5"],
    "04-damaged.tar.xz": ["0", "1", "2", "3", "(damaged archive behind byte)"],
    "05-tar-one-bit-in-a-header.tar": ["0", "1", "2", "(damaged archive at byte 3,072)"],
    "06-hardlinks.tar": ["1", "1", "2", "2"],
    "07-macos.zip": ["1", "2", "3"],
    "08-names-in-gbk.zip": ["1", "2"],
    "12-really-npz.npy": list("0123456789"),
    "16-crc-k28_d1.png": ["(damaged image)"],
}


#: The same for tables, which `logistic` takes.
TABLES = {
    "13-ok.csv": ["benign"] * 6,
    "13-short-row.csv": ["benign"] * 2
    + ["(line 4: 29 fields, the header has 30)"]
    + ["benign"] * 3,
    "13-float64-too-large.npy": ["benign"] * 2 + ["(range of float32)"] + ["benign"] * 3,
    "14-column-twice.csv": ["(the header has a column twice: worst radius)"],
    "15-header-only.csv": ["(no rows below the header)"],
    "15-semicolons.csv": ["benign"] * 6,
}


@pytest.mark.parametrize("name", [*ANSWERS, *TABLES])
def test_what_earlier_versions_failed_on(name: str, zoo_cli: Cli) -> None:
    wanted = (ANSWERS | TABLES)[name]
    model = "logistic" if name in TABLES else "resnet"
    result = zoo_cli("predict", model, FIELD / name, "--json")
    rows = json.loads(result.stdout)["rows"]
    assert len(rows) == len(wanted)
    for row, answer in zip(rows, wanted, strict=True):
        if answer.startswith("("):
            assert answer.strip("()") in row["error"]
        else:
            assert (row["label"], row["error"]) == (answer, None)
    failed = sum(answer.startswith("(") for answer in wanted)
    assert result.exit_code == (0 if not failed else 1 if failed == len(wanted) else 3)


def test_the_names_of_an_archive_are_in_its_own_code_page(zoo_cli: Cli) -> None:
    rows = rows_of(zoo_cli("predict", "cnn", FIELD / "08-names-in-gbk.zip", "--json"))
    assert [row["source"].rpartition("/")[2] for row in rows] == ["手写数字1.png", "手写数字2.png"]


@pytest.mark.parametrize(
    "name", [path.name for path in sorted(FIELD.glob("*-d?.png"))], ids=lambda name: name[:-4]
)
@pytest.mark.parametrize("model", ["softmax", "cnn", "googlenet", "resnet", "rnn", "rnn_cell"])
def test_digits_that_people_draw_and_photograph(name: str, model: str, zoo_cli: Cli) -> None:
    (row,) = rows_of(zoo_cli("predict", model, FIELD / name, "--json"))
    assert row["label"] == name[-5]


def test_emnist_is_turned_for_predict_and_evaluate(zoo_cli: Cli) -> None:
    images = FIELD / "17-emnist" / "emnist-digits-test-images-idx3-ubyte.gz"
    rows = rows_of(zoo_cli("predict", "resnet", images, "--json"))
    truth = idx.read(FIELD / "17-emnist" / "emnist-digits-test-labels-idx1-ubyte.gz")
    assert [row["label"] for row in rows] == [str(label) for label in truth]
    result = zoo_cli("evaluate", "resnet", "--data", FIELD / "17-emnist", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["metrics"]["accuracy"] == 1.0


def test_a_column_twice_is_refused_for_training(zoo_cli: Cli) -> None:
    table = FIELD / "14-train-column-twice.csv"
    refused = zoo_cli("train", "logistic", "--data", table, "--target", "sick")
    assert refused.exit_code == 1
    assert "the header has a column twice: alpha" in refused.stderr
