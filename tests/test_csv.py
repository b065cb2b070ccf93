"""CSV files as people have them: every dialect, damaged rows, columns to keep, images as rows."""

from __future__ import annotations

import csv as plain_csv
import gzip
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import labels, rows_of
from typer.testing import Result

import zoo
from zoo import datasets
from zoo.datasets import csv, mnist, tables
from zoo.errors import DataError

Cli = Callable[..., Result]
COLUMNS = ["größe", "gewicht"]
TEXT = "größe,gewicht,name\n1.5,70.25,jürgen\n-2,1e3,zoë\n"
NUMBERS = [["1.5", "70.25"], ["-2", "1e3"]]


def in_dialect(delimiter: str = ",", decimal: str = ".", end: str = "\n") -> str:
    text = TEXT.replace(",", delimiter)
    return (text.replace(".", ",") if decimal == "," else text).replace("\n", end)


@pytest.mark.parametrize(
    "data",
    [
        in_dialect().encode(),
        in_dialect().encode("utf-8-sig"),
        in_dialect(end="\r\n").encode("utf-16"),
        in_dialect("\t").encode("utf-16-be"),
        in_dialect("\t").encode("utf-16-le"),
        in_dialect().encode("utf-32"),
        in_dialect().encode("latin-1"),
        in_dialect(";", ",").encode("cp1252"),
        in_dialect(";", ",", "\r\n").encode("utf-8-sig"),
        in_dialect(";").encode(),
        in_dialect("\t", ",").encode(),
        in_dialect("|", end="\r").encode(),
        b"sep=;\r\n" + in_dialect(";", ",").encode(),
        gzip.compress(in_dialect(";", ",").encode("cp1252"), mtime=0),
        in_dialect().replace("\n", "\n\n").encode(),
        in_dialect().replace("70.25", '"70,25"').replace("1.5", '"1,5"').encode(),
    ],
)
def test_the_dialect_is_found(data: bytes) -> None:
    Path("t.csv").write_bytes(data)
    found = list(csv.lines(Path("t.csv"), COLUMNS, ["name"]))
    assert [line.texts for line in found] == NUMBERS
    assert [line.kept for line in found] == [("jürgen",), ("zoë",)]
    assert csv.header(Path("t.csv")) == [*COLUMNS, "name"]


def test_names_of_any_kind_stay_in_one_line() -> None:
    Path("t.csv").write_text('"a\nb",c\n1,2\n')
    with pytest.raises(DataError, match=r"missing columns: x\. Found: a b, c \(") as caught:
        list(csv.lines(Path("t.csv"), ["x"]))
    assert "\n" not in str(caught.value)


def test_chinese_is_read_as_gbk_and_umlauts_in_pairs_are_not() -> None:
    for header, encoding in (("身高,体重,姓名", "gbk"), ("Höhe,Größe,Übermaß", "cp1252")):
        Path("t.csv").write_bytes(f"{header}\n1,2,{header[0]}\n".encode(encoding))
        assert csv.header(Path("t.csv")) == header.split(",")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "t.csv: empty file"),
        (b"\n \n", "t.csv: empty file"),
        (b"a,b\n\n", "t.csv: no rows below the header"),
        (b"1,2\n3,4\n", "line 1 holds numbers, expected the names of the columns"),
        (b"a,a,b\n1,2,3\n", "the header has a column twice: a"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x81", "not a CSV text file: expected UTF-8, UTF-16,"),
        (b"a\0,b\n1,2\n", "its first line has NUL bytes"),
        ("é,ä\n".encode() + b"\xe9,1\n", "it is UTF-8 in part, with bytes that are not"),
        (b"\xff\xfea\0,\0b", "it begins as UTF-16, and is not"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "the gzip stream is cut short"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + b"\xff" * 8, "the gzip stream is damaged"),
        (b"a,b\n" + b"1" * (1 << 24), "t.csv line 2: too long, expected at most 16,777,216"),
        (";".join("cdefghij").encode() + b"\n", r"missing columns: a, b\. Found: c, d, e, f, g "
         r"and 3 more \(UTF-8, separated by semicolons\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(data: bytes, reason: str) -> None:
    Path("t.csv").write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        list(csv.lines(Path("t.csv"), ["a", "b"]))
    assert "\n" not in str(caught.value)


def test_a_bad_row_has_its_line_and_the_next_one_is_read() -> None:
    text = (
        'a,b,name\n1,2,"two\nlines"\n1,2\n3,4,x,y\n\n5,"6,not closed\n7,8,z\n9,10,w\n1\x001,2,nul\n'
    )
    Path("t.csv").write_text(text)
    found = [(line.number, line.texts, line.kept, line.error)
             for line in csv.lines(Path("t.csv"), ["a", "b"], ["name"])]  # fmt: skip
    assert found == [
        (2, ["1", "2"], ("two\nlines",), ""),
        (4, [], ("",), "2 fields, the header has 3"),
        (5, [], ("x",), "4 fields, the header has 3"),
        (7, [], ("",), "a quotation mark is not closed"),
        (8, ["7", "8"], ("z",), ""),
        (9, ["9", "10"], ("w",), ""),
        (10, ["1\x001", "2"], ("nul",), ""),
    ]


def test_a_point_among_decimal_commas_is_an_error_and_not_a_thousand() -> None:
    Path("t.csv").write_text("a;b\n1,5;2,5\n1.234;3\n1.234,5;4\n")
    found = list(csv.lines(Path("t.csv"), ["a", "b"]))
    assert [line.texts for line in found] == [["1.5", "2.5"], [], ["1234.5", "4"]]
    assert "'1.234' has a decimal point" in found[1].error


def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo("pipe.csv")
    threading.Thread(
        target=lambda: Path("pipe.csv").write_bytes(b"a;b\n1;2\n"), daemon=True
    ).start()
    assert [line.texts for line in csv.lines(Path("pipe.csv"), ["b"])] == [["2"]]


# --- predict ---


@pytest.fixture
def patients() -> list[dict[str, str]]:
    """Six rows of the breast cancer table, with an id that has leading zeros."""
    with (tables.FILES / "breast-cancer.csv").open() as file:
        rows = list(plain_csv.DictReader(file))[:6]
    return [{"id": f"00{number}"} | row for number, row in enumerate(rows)]


def written(rows: list[dict[str, str]], **dialect: Any) -> str:
    file = io.StringIO()
    writer = plain_csv.DictWriter(file, rows[0], lineterminator="\n", **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def test_any_dialect_gets_the_same_answers(zoo_cli: Cli, patients: list[dict[str, str]]) -> None:
    Path("a.csv").write_text(written(patients))
    Path("b.tsv").write_text(written(patients, delimiter="\t").replace(".", ","), "utf-16")
    Path("c.csv.gz").write_bytes(gzip.compress(written(patients, delimiter=";").encode()))
    answers = [
        [row["probability"] for row in rows_of(zoo_cli("predict", "logistic", name, "--json"))]
        for name in ("a.csv", "b.tsv", "c.csv.gz")
    ]
    assert len(answers[0]) == 6
    assert answers[0] == answers[1] == answers[2]


def test_one_bad_row_does_not_end_the_file(zoo_cli: Cli, patients: list[dict[str, str]]) -> None:
    lines = written(patients).splitlines()
    lines[2] = lines[2].rpartition(",")[0]
    lines[4] += ",1"
    lines[5] = lines[5].replace(patients[4]["mean radius"], "1e39")
    Path("t.csv").write_text("\n".join(lines))
    done = zoo_cli("predict", "logistic", "t.csv", "--json", "--keep", "id")
    assert done.exit_code == 3
    rows = rows_of(done)
    assert [row["error"] for row in rows] == [
        None,
        "line 3: 31 fields, the header has 32",
        None,
        "line 5: 33 fields, the header has 32",
        "column 'mean radius': expected a number in the range of float32, found '1e39'",
        None,
    ]
    assert [row["id"] for row in rows] == ["000", "001", "002", "003", "004", "005"]
    assert list(rows[0])[:2] == ["source", "id"]


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_a_number_too_large_for_float32_is_its_row(kind: str, zoo_cli: Cli) -> None:
    spec = zoo.card("linear").spec
    assert isinstance(spec, zoo.TableSpec)
    rows = np.tile(np.array(spec.mean), (4, 1))
    rows[1, 2], rows[2, 3] = -1e39, np.nan
    if kind == "npy":
        np.save("t.npy", rows)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.table(dict(zip(spec.columns, rows.T, strict=True))), "t.parquet")
    done = zoo_cli("predict", "linear", f"t.{kind}", "--json")
    assert done.exit_code == 3
    errors = [row["error"] or "" for row in rows_of(done)]
    assert errors[0] == errors[3] == ""
    assert "column 'bmi': expected a number in the range of float32, found" in errors[1]
    assert "column 'bp': expected a finite number, found" in errors[2]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_are_kept_in_every_output(
    suffix: str, zoo_cli: Cli, patients: list[dict[str, str]]
) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    Path("t.csv").write_text(written(patients) + "7\n")
    out = f"out.{suffix}"
    done = zoo_cli("predict", "logistic", "t.csv", "gone.csv", "-o", out,
                   "--keep", "id", "--keep", "diagnosis")  # fmt: skip
    assert done.exit_code == 3, done.stderr
    rows: list[dict[str, Any]]
    if suffix == "parquet":
        rows = pq.read_table(out).to_pylist()
    elif suffix == "jsonl":
        rows = [json.loads(line) for line in Path(out).read_text().splitlines()]
    else:
        rows = list(plain_csv.DictReader(Path(out).read_text().splitlines()))
    assert [row["id"] or None for row in rows] == [*(f"00{n}" for n in range(6)), "7", None]
    assert [row["diagnosis"] for row in rows[:6]] == [row["diagnosis"] for row in patients]
    assert rows[0]["error"] in (None, "")


def test_columns_of_parquet_are_kept_beside_images_too(zoo_cli: Cli, digits: mnist.Split) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq
    from PIL import Image

    files = []
    for image in digits.inputs[:3]:
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0]).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    files.append({"bytes": b"nothing", "path": None})
    pq.write_table(pa.table({"image": files, "number": [1, 2, None, 4]}), "t.parquet")
    rows = rows_of(zoo_cli("predict", "cnn", "t.parquet", "--keep", "number", "--json"))
    assert [row["number"] for row in rows] == ["1", "2", None, "4"]
    assert labels(rows[:3]) == digits.targets[:3].tolist()
    assert rows[3]["error"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--keep", "ld"), "unknown column of t.csv 'ld'. Did you mean 'id'?"),
        (("--keep", "id", "--keep", "id"), "--keep id: given twice"),
        (("--keep", "label"), "the answers have a column of this name already"),
        (("--keep", "probability_2"), "the answers have a column of this name already"),
        (("--keep", "error"), "the answers have a column of this name already"),
        (("x.npy", "--keep", "id"), "expected .csv or .parquet files, x.npy has no columns"),
    ],
)
def test_columns_that_cannot_be_kept(
    words: tuple[str, ...], reason: str, zoo_cli: Cli, patients: list[dict[str, str]]
) -> None:
    Path("t.csv").write_text(written(patients))
    done = zoo_cli("predict", "logistic", "t.csv", *words, "-o", "out.csv")
    assert done.exit_code == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("out.csv").exists()


# --- images in a CSV file ---


def pixel_csv(digits: mnist.Split, count: int, form: str) -> str:
    """Rows of digits: "label" first with a header, "plain" without one, "last" as OpenML."""
    names = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]
    text = {"label": ",".join(["label", *names]) + "\n",
            "last": ",".join([*(f"pixel{n}" for n in range(1, 785)), "class"]) + "\n",
            "bare": ",".join(f"pixel{n}" for n in range(784)) + "\n"}.get(form, "")  # fmt: skip
    for image, label in zip(digits.inputs[:count], digits.targets, strict=False):
        cells = list(map(str, image.ravel()))
        own = [str(label)]
        row = {"last": cells + own, "bare": cells}.get(form, own + cells)
        text += ",".join(row) + "\n"
    return text


@pytest.mark.parametrize("form", ["label", "plain", "last", "bare"])
def test_digits_in_a_csv_file_are_predicted(form: str, zoo_cli: Cli, digits: mnist.Split) -> None:
    Path("t.csv").write_text(pixel_csv(digits, 20, form))
    rows = rows_of(zoo_cli("predict", "cnn", "t.csv", "--json"))
    assert labels(rows) == digits.targets[:20].tolist()


def test_bad_pixels_are_their_row(zoo_cli: Cli, digits: mnist.Split) -> None:
    lines = pixel_csv(digits, 4, "label").splitlines()
    lines[1] = lines[1].replace(",0,", ",x,", 1)
    lines[2] = lines[2].replace(",0,", ",256,", 1)
    lines[3] += ",0"
    Path("t.csv").write_text("\n".join(lines))
    rows = rows_of(zoo_cli("predict", "cnn", "t.csv", "--json"))
    assert [row["error"] for row in rows] == [
        "line 2: pixel 'x': expected 0 to 255",
        "line 3: pixel '256': expected a whole number from 0 to 255",
        "line 4: 786 fields, the header has 785",
        None,
    ]


# --- training ---


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("", 1, "t.csv: empty file"),
        ("a,b,kind\n", 1, "t.csv: no rows below the header"),
        ("a,a,kind\n1,2,x\n3,4,y\n", 1, "t.csv: the header has a column twice: a"),
        ("a,kind,kind\n1,x,y\n3,x,y\n", 1, "t.csv: the header has a column twice: kind"),
        (
            "a,b,kind\n1,2,x\n3,4,x\n",
            1,
            "column 'kind' has 1 class (x), expected 2 (softmax takes more)",
        ),
        ("a,b,kind\n1,2,x\n3,4, \n", 1, "t.csv line 3: column 'kind' is blank"),
        ("a,b,kind\n1,2,x\n3,y\n", 1, "t.csv line 3: 2 fields, the header has 3"),
        ("a,b,kind\n1,tall,x\n3,4,y\n", 1, "t.csv line 2: column 'b': expected a number, found"),
        ("a,b,kind\n1,2,x\n3,1e39,y\n", 1, "line 3: column 'b': expected a number in the range"),
        ("kind\nx\ny\n", 1, "t.csv: there is no column besides 'kind' to learn from"),
        ("a,b,kint\n1,2,x\n3,4,y\n", 2, "no column 'kind'; its columns: a, b, kint. Did you mean"),
    ],
)
def test_a_table_that_cannot_be_learned_is_one_line(
    text: str, code: int, reason: str, zoo_cli: Cli
) -> None:
    Path("t.csv").write_text(text)
    done = zoo_cli("train", "logistic", "--data", "t.csv", "--target", "kind")
    assert (done.exit_code, done.stderr.count("\n")) == (code, 1), done.stderr
    assert reason in done.stderr
    assert not Path("runs").exists()


def test_a_table_of_any_dialect_is_learned_alike() -> None:
    rng = np.random.default_rng(0)
    rows = [{"größe": f"{a:.4f}", "rang": str(number), "art": " groß" if a > 0 else "klein"}
            for number, a in enumerate(rng.normal(size=80))]  # fmt: skip
    Path("a.csv").write_text(written(rows))
    Path("b.csv").write_bytes(written(rows, delimiter=";").replace(".", ",").encode("cp1252"))
    one, two = (
        datasets.chosen(zoo.Recipe(epochs=1, data=name, target="art"), "", "binary", images=False)
        for name in ("a.csv", "b.csv")
    )
    assert one.labels == two.labels == ("groß", "klein")
    assert one.notes == ()
    assert two.notes == ("read as Windows-1252, separated by semicolons",)
    assert np.array_equal(one.train.inputs, two.train.inputs)
    assert np.array_equal(one.test.targets, two.test.targets)
