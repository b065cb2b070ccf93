"""Data: IDX both ways and damaged, MNIST as the original, tables and what can be wrong in them."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import datasets
from zoo.datasets import csv, idx, mnist
from zoo.errors import DataError, UsageError

CODES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_bytes(code: int, shape: tuple[int, ...], data: bytes) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


@settings(max_examples=60, deadline=None)
@given(
    code=st.sampled_from(sorted(CODES)),
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    zipped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_idx_reads_every_type_and_shape(
    tmp_path_factory: pytest.TempPathFactory,
    code: int,
    shape: tuple[int, ...],
    zipped: bool,
    seed: int,
) -> None:
    array = np.random.default_rng(seed).integers(0, 100, shape).astype(CODES[code])
    path = tmp_path_factory.mktemp("idx") / "file"
    data = idx_bytes(code, shape, array.tobytes())
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    found = idx.read(path)
    assert found.dtype == np.dtype(CODES[code]).newbyteorder("=")
    np.testing.assert_array_equal(found, array)


GOOD = idx_bytes(8, (3, 2, 2), bytes(12))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begins with nothing"),
        (b"PK\x03\x04 something", "not an IDX file"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 1, 9]), "not an IDX file"),
        (GOOD[:9], "header is cut short"),
        (GOOD[:-1], "needs 12 bytes of data, found 11"),
        (GOOD + b"x", "needs 12 bytes of data, found more"),
        (gzip.compress(GOOD, mtime=0)[:-12], "cut short"),
        (
            gzip.compress(GOOD, mtime=0)[:14] + b"\xff\xff\xff" + gzip.compress(GOOD, mtime=0)[17:],
            "damaged",
        ),
        (idx_bytes(8, (0xFFFFFFFF, 0xFFFFFFFF), b"1"), "needs"),
    ],
)
def test_damaged_idx_files_are_refused_with_the_reason(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    path = tmp_path / "bad.idx"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        idx.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_idx_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        idx.read(tmp_path / "none.idx")


def test_mnist_is_the_original() -> None:
    sums = {
        "train-images-idx3": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1": "27ae3e4e09519cfbb04c329615203637",
    }
    for name, expected in sums.items():
        data = gzip.decompress((mnist.FILES / f"{name}-ubyte.gz").read_bytes())
        assert hashlib.md5(data).hexdigest() == expected


def test_mnist_is_split_for_good() -> None:
    data = datasets.load("mnist")
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [
        55_000,
        5_000,
        10_000,
    ]
    assert data.train.inputs.dtype == np.uint8
    assert data.train.inputs.shape[1:] == (28, 28, 1)
    raw = idx.read(mnist.FILES / "train-images-idx3-ubyte.gz")
    np.testing.assert_array_equal(
        data.validation.inputs[..., 0], raw[np.arange(60_000) // 2 % 12 == 11]
    )
    assert min(np.bincount(data.validation.targets)) > 400
    # the constants of the notes are those of these images
    pixels = raw.astype(np.float64) / 255
    assert data.spec.mean == pytest.approx([pixels.mean()], abs=5e-5)
    assert data.spec.std == pytest.approx([pixels.std()], abs=5e-5)


@pytest.mark.parametrize(
    ("name", "rows", "columns"), [("diabetes", 442, 10), ("breast-cancer", 569, 30)]
)
def test_tables(name: str, rows: int, columns: int) -> None:
    data = datasets.load(name)
    parts = (data.train, data.validation, data.test)
    assert sum(len(part.targets) for part in parts) == rows
    assert all(part.inputs.shape[1:] == (columns,) for part in parts)
    standard = (data.train.inputs - data.spec.mean) / data.spec.std
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-6)
    # no row is in two parts
    seen = [row.tobytes() for part in parts for row in part.inputs]
    assert len(set(seen)) == rows


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'mnist'"):
        datasets.load("minst")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "t.csv: empty file"),
        ("a,B\n1,2\n", r"missing columns: b\. Did you mean 'B'\?|missing columns: b"),
        ("a,b\n1\n", "line 2: 1 fields, the header has 2"),
        ("a,b\n1,2,3\n", "line 2: 3 fields"),
    ],
)
def test_csv_faults_are_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        list(csv.rows(path, ["a", "b"]))


def test_csv_takes_a_byte_order_mark_other_columns_and_any_order(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufeffb,x, a\n1,2,3\n\n4,5,6\n", encoding="utf-8")
    assert list(csv.rows(path, ["a", "b"])) == [["3", "1"], ["6", "4"]]
    path.write_bytes(b"\xff\xfe\x00bad!")
    with pytest.raises(DataError, match="not a CSV text file"):
        list(csv.rows(path, ["a"]))


@pytest.mark.parametrize("text", ["", "tall", "nan", "inf", "1e99", "1,5", "1_000"])
def test_numbers_must_be_finite_numbers(text: str) -> None:
    with pytest.raises(DataError, match="column 'bmi': expected a"):
        csv.numbers([text], ["bmi"])
