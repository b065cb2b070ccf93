"""Jobs over many files: every source and sink, killed and resumed, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import labels, measured, rows_of
from PIL import Image

from zoo import install
from zoo.datasets import mnist, tables

Cli = Callable[..., Any]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0]).save(file, "PNG")
    return file.getvalue()


def test_archives_are_read_in_their_own_order(zoo_cli: Cli, digits: mnist.Split) -> None:
    order = [5, 1, 9, 0]
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("read.me", "no image")
        for number in order:
            archive.writestr(f"d/{number}.png", png(digits.inputs[number]))
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")):
        with tarfile.open(name, mode) as tar:
            for number in order:
                data = png(digits.inputs[number])
                entry = tarfile.TarInfo(f"d/{number}.png")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tgz"):
        rows = rows_of(zoo_cli("predict", "resnet", name, "--json"))
        assert [row["source"] for row in rows] == [f"{name}/d/{number}.png" for number in order]
        assert labels(rows) == digits.targets[order].tolist()


def test_damaged_archives_are_told_apart(zoo_cli: Cli, digits: mnist.Split) -> None:
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", png(digits.inputs[number]))
    data = bytearray(Path("a.zip").read_bytes())
    data[data.index(b"1.png") + 40] ^= 0xFF
    Path("one.zip").write_bytes(data)
    rows = rows_of(zoo_cli("predict", "resnet", "one.zip", "--json"))
    assert [row["label"] for row in rows] == ["7", None, "1"]
    assert "damaged in the archive" in rows[1]["error"]
    Path("cut.zip").write_bytes(data[:200])
    Path("none.tar").write_bytes(b"nonsense" * 100)
    with zipfile.ZipFile("empty.zip", "w") as archive:
        archive.writestr("notes.txt", "x")
    for name, reason in (
        ("cut.zip", "damaged archive"),
        ("none.tar", "damaged archive"),
        ("empty.zip", "an archive without images"),
        ("missing.zip", "no such file"),
    ):
        result = zoo_cli("predict", "cnn", name)
        assert result.exit_code == 1
        assert reason in result.stderr


def test_npz_and_paths_on_stdin(
    zoo_process: Cli, zoo_cli: Cli, digit_folder: Path, digits: mnist.Split, zoo_command: list[str]
) -> None:
    np.savez_compressed("one.npz", images=digits.inputs[:300])
    rows = rows_of(zoo_cli("predict", "resnet", "one.npz", "--json"))
    assert np.mean(np.array(labels(rows)) == digits.targets[:300]) > 0.99
    np.savez("two.npz", a=digits.inputs[:2], b=digits.inputs[:2])
    refused = zoo_cli("predict", "resnet", "two.npz")
    assert refused.exit_code == 1
    assert "expected one array of inputs in the .npz file, found a, b" in refused.stderr
    paths = f"{digit_folder}/a/03.png\n\nmissing.png\n{digit_folder}/b/20.png\n"
    done = subprocess.run(
        [*zoo_command, "predict", "resnet", "-", "--json"],
        input=paths, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    found = [row["label"] for row in json.loads(done.stdout)["rows"]]
    assert found == [str(digits.targets[3]), None, str(digits.targets[20])]


def test_parquet_in_and_out(zoo_cli: Cli, digits: mnist.Split) -> None:
    images = [png(image) for image in digits.inputs[:600]]
    images[7] = None  # type: ignore[call-overload]  # an empty cell is the point
    pq.write_table(pa.table({"id": list(range(600)), "image": images}), "plain.parquet")
    nested = [{"bytes": data, "path": "x"} for data in images]
    pq.write_table(pa.table({"image": nested}), "nested.parquet")
    for name in ("plain.parquet", "nested.parquet"):
        result = zoo_cli("predict", "resnet", name, "-o", "out.parquet", "--top", "2")
        assert result.exit_code == 3, result.stderr
        table = pq.read_table("out.parquet")
        assert table.column_names == [
            "source", "label", "probability", "label_2", "probability_2", "error",
        ]  # fmt: skip
        rows = table.to_pylist()
        assert len(rows) == 600
        assert rows[7]["error"] == "no image: the cell is empty"
        assert rows[599]["source"] == f"{name}[599]"
        right = [row["label"] == str(true) for row, true in zip(rows, digits.targets, strict=False)]
        assert np.mean(right) > 0.99
        assert table.schema.field("probability").type == pa.float32()
    with (tables.FILES / "diabetes.csv").open() as file:
        table_rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    pq.write_table(pa.Table.from_pylist(table_rows), "t.parquet")
    found = rows_of(zoo_cli("predict", "linear", "t.parquet", "--json"))
    expected = rows_of(zoo_cli("predict", "linear", tables.FILES / "diabetes.csv", "--json"))
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    refused = zoo_cli("predict", "cnn", "t.parquet")
    assert "expected one column of image bytes, found none" in refused.stderr
    Path("bad.parquet").write_bytes(b"PAR1nonsensePAR1")
    assert "damaged Parquet file" in zoo_cli("predict", "cnn", "bad.parquet").stderr


def test_a_missing_extra_is_named_before_anything_runs(digit_folder: Path) -> None:
    words = ["zoo", "predict", "cnn", str(digit_folder), "-o", "out.parquet"]
    code = f"import cli, sys; sys.modules['pyarrow'] = None; sys.argv = {words!r}; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "zoo: a .parquet output needs the package 'pyarrow', which is not installed: "
        f"{install.command('parquet')}\n"
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, digits: mnist.Split) -> Path:
    """6,000 real digits as PNG files, one of them damaged."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(6_000):
        (folder / f"{number:05d}, a.png").write_bytes(png(digits.inputs[number]))
    (folder / "01000, a.png").write_bytes(b"nonsense")
    return folder


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    name: str, many: Path, zoo_cli: Cli, zoo_command: list[str]
) -> None:
    job = ["predict", "googlenet", str(many), "--top", "2", "-o"]
    assert zoo_cli(*job, f"whole-{name}").exit_code == 3
    kills = 0
    for _ in range(3):
        resume = ["--resume"] if kills else []
        process = subprocess.Popen([*zoo_command, *job, name, *resume], stderr=subprocess.DEVNULL)
        part, size = Path(f".{name}.part"), -1
        start = part.stat().st_size if kills else 0
        while process.poll() is None and size <= start + 20_000:  # some blocks further
            size = part.stat().st_size if part.exists() else -1
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 2
    assert not Path(name).exists()

    other = zoo_cli("predict", "googlenet", many, "-o", name, "--resume")
    assert other.exit_code == 2
    assert "belongs to another job" in other.stderr
    with Path(f".{name}.part").open("ab") as file:
        file.write(b'"torn')  # what a kill in the middle of a write leaves
    done = zoo_cli(*job, name, "--resume")
    assert done.exit_code == 3, done.stderr
    if name == "out.parquet":
        assert pq.read_table(name).equals(pq.read_table(f"whole-{name}"))
    else:
        assert Path(name).read_bytes() == Path(f"whole-{name}").read_bytes()
    assert not [path for path in os.listdir() if path.startswith(".")]
    again = zoo_cli(*job, name, "--resume")
    assert again.exit_code == 2
    assert "is finished" in again.stderr


def test_memory_does_not_grow_with_the_input(many: Path, zoo_command: list[str]) -> None:
    """Peak memory over 24,000 files against 1,000: the same blocks, one after the other."""

    def peak(given: list[str]) -> int:
        return measured([*zoo_command, "predict", "cnn", *given, "-o", "out.csv"])[1]

    assert peak([str(many)] * 4) < 1.15 * peak([f"{many}/00*.png"])
