"""Inputs on remote storage: pyarrow's file systems and fsspec's, over a real HTTP server."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of
from PIL import Image

from zoo.datasets import mnist

Cli = Callable[..., Any]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def storage(digit_folder: Path) -> Iterator[str]:
    """The address of a storage that holds the folder of digits."""
    handler = partial(_Quiet, directory=str(digit_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_folder_is_read_in_the_order_of_a_local_one(
    zoo_cli: Cli, digit_folder: Path, storage: str
) -> None:
    (digit_folder / "z.png").write_bytes((digit_folder / "a" / "00.png").read_bytes())
    (digit_folder / "a" / "04.png").write_bytes(b"nonsense")
    (digit_folder / "a" / "notes.txt").write_text("no image")
    expected = rows_of(zoo_cli("predict", "cnn", digit_folder, "--json"))
    assert len(expected) == 31
    for root in (digit_folder.as_uri(), storage):
        for given in (root, f"{root}/"):
            found = rows_of(zoo_cli("predict", "cnn", given, "--json"))
            for row, other in zip(found, expected, strict=True):
                name = str(other["source"]).removeprefix(str(digit_folder))
                assert row == other | {"source": root + name}


def test_single_files_and_globs(zoo_cli: Cli, digits: mnist.Split, storage: str) -> None:
    found = rows_of(
        zoo_cli("predict", "resnet", f"{storage}/a/03.png", f"{storage}/*/*9.png", "--json")
    )
    numbers = [3, 9, 19, 29]
    assert [row["source"][-6:-4] for row in found] == [f"{number:02d}" for number in numbers]
    assert [row["label"] for row in found] == [str(digits.targets[number]) for number in numbers]


def test_parquet(zoo_cli: Cli, digits: mnist.Split, tmp_path: Path) -> None:
    cells = []
    for image in digits.inputs[:300]:
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0]).save(file, "PNG")
        cells.append(file.getvalue())
    pq.write_table(pa.table({"image": cells}), "digits.parquet")
    url = (tmp_path / "digits.parquet").as_uri()
    expected = rows_of(zoo_cli("predict", "cnn", "digits.parquet", "--json"))
    found = rows_of(zoo_cli("predict", "cnn", url, "--json"))
    assert [row.pop("source") for row in found] == [f"{url}[{number}]" for number in range(300)]
    assert found == [{k: v for k, v in row.items() if k != "source"} for row in expected]


def test_what_cannot_be_read_is_a_row_with_its_error(zoo_cli: Cli, storage: str) -> None:
    for given, reason in (
        (f"{storage}/none.png", "no such file"),
        (f"{storage}/none.parquet", "no such file"),
        (f"{storage}/none", "nothing there to read"),
        (f"{storage}/*.zip", "nothing there to read"),
        ("file:///nowhere/none.png", "no such file"),
        ("nowhere://a/b.png", "cannot be read (Protocol not known: nowhere)"),
    ):
        refused = zoo_cli("predict", "cnn", given)
        assert refused.exit_code == 1
        assert f"first {given}: {reason}" in refused.stderr
    Path("a.zip").write_bytes(b"")
    refused = zoo_cli("predict", "cnn", f"{Path.cwd().as_uri()}/*.zip")
    assert "on remote storage: expected images, folders or .parquet" in refused.stderr
