"""Inputs on which an earlier version failed: each with its right answer or its right error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import rows_of

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


@pytest.mark.parametrize("name", ANSWERS)
def test_what_earlier_versions_failed_on(name: str, zoo_cli: Cli) -> None:
    wanted = ANSWERS[name]
    result = zoo_cli("predict", "resnet", FIELD / name, "--json")
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
