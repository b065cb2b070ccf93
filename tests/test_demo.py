"""The tour, whole: what it says, what it leaves, and that the report stands alone."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zoo


def test_the_demo_trains_exports_predicts_and_reports(zoo_cli: Callable[..., Any]) -> None:
    result = zoo_cli("demo", "--out", "tour", "--epochs", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "tour/report.html\n"
    assert zoo.card("tour/run").test["accuracy"] > 0.97
    assert len(list(Path("tour/digits").glob("*.png"))) == 200
    with open("tour/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    said = re.search(r"(\d+) of 200 right", result.stderr)
    assert said
    assert int(said[1]) >= 192

    page = Path("tour/report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert zoo.card("tour/run").score in page

    Path("other").mkdir()
    Path("other/thesis.txt").write_text("precious")
    refused = zoo_cli("demo", "--out", "other")
    assert refused.exit_code == 2
    assert Path("other/thesis.txt").read_text() == "precious"
