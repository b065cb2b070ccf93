"""Damaged inputs by the thousand: each is a row, none ends the job, none fills the memory."""

from __future__ import annotations

import bz2
import csv
import io
import json
import lzma
import random
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import measured
from PIL import Image

from zoo import images
from zoo.datasets import mnist, tables

#: Bytes of resident memory that a job may take, and of addresses that it may ask for.
_PEAK, _ADDRESSES = 500_000_000, 6_000_000_000
_FORMS = {
    "png": {}, "jpg": {"format": "JPEG"}, "tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "webp": {"lossless": True}, "avif": {}, "gif": {}, "bmp": {}, "jp2": {"format": "JPEG2000"},
}  # fmt: skip


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Damage bytes as disks, networks and attackers do."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(changed))
        match chance.randrange(7):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:  # a length or a size in a header
                value = chance.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 60_000))
                at = chance.randrange(min(len(changed), 64))
                changed[at : at + 4] = value.to_bytes(4, chance.choice(("big", "little")))
            case 3:
                del changed[max(at, 1) :]
            case 4:
                part = changed[at : at + chance.randrange(1, 64)]
                changed[at:at] = part * chance.choice((1, 2, 50))
            case 5:
                del changed[at : at + chance.randrange(1, 32)]
                changed = changed or bytearray(1)
            case _:
                changed[at:] = other[at:] or b"\0"
    return bytes(changed)


def pictures(digits: mnist.Split) -> Iterator[tuple[str, bytes]]:
    for suffix, options in _FORMS.items():
        for number in range(4):
            digit = Image.fromarray(digits.inputs[number][:, :, 0])
            image = digit if number < 2 else digit.resize((90, 120)).convert("RGB")
            file = io.BytesIO()
            image.save(file, **{"format": suffix.upper(), **options})  # type: ignore[arg-type]
            yield suffix, file.getvalue()


def containers(digits: mnist.Split) -> Iterator[tuple[str, bytes]]:
    members = [data for suffix, data in pictures(digits) if suffix in ("png", "jpg")]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for number, data in enumerate(members):
                archive.writestr(f"d/{number}.png", data)
        yield "zip", file.getvalue()
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            for number, data in enumerate(members):
                entry = tarfile.TarInfo(f"d/{number}.png")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        yield "tar" + mode[1:].replace(":", "."), file.getvalue()
    file = io.BytesIO()
    np.save(file, digits.inputs[:4])
    yield "npy", file.getvalue()
    file = io.BytesIO()
    np.savez_compressed(file, digits.inputs[:4])
    yield "npz", file.getvalue()
    file = io.BytesIO()
    pq.write_table(pa.table({"image": members[:4]}), file)
    yield "parquet", file.getvalue()
    yield "gz", bz2.compress(members[0])
    yield "xz", lzma.compress(members[0])


def run(
    command: list[str], names: list[str], model: str
) -> tuple[list[dict[str, str | None]], subprocess.CompletedProcess[bytes]]:
    """Predict files in a process of its own, within the limits; returns the rows it wrote."""
    job = [*command, "predict", model, "-", "-o", "out.jsonl", "--device", "cpu"]
    Path("list.txt").write_text("\n".join(names))
    with Path("list.txt").open("rb") as listed:
        done, peak = measured(job, addresses=_ADDRESSES, stdin=listed)
    assert done.returncode in (0, 3), done.stderr[-2000:]
    assert b"Traceback" not in done.stderr
    assert peak < _PEAK, f"{peak:,} bytes"
    return [json.loads(line) for line in Path("out.jsonl").read_bytes().splitlines()], done


def refused(data: bytes) -> bool:
    """Say whether Pillow refuses a picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if width * height > images.MAX_PIXELS:
                    return True
                image.load()
        except Exception:
            return True
    return False


def write(
    originals: list[tuple[str, bytes]], count: int, seed: int
) -> tuple[list[str], dict[str, bytes]]:
    chance = random.Random(seed)
    written = {}
    for number in range(count):
        suffix, data = originals[number % len(originals)]
        name = f"{number:04d}.{suffix}"
        written[name] = mutated(data, chance.choice(originals)[1], chance)
        Path(name).write_bytes(written[name])
    return list(written), written


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on memory")


def test_four_thousand_damaged_pictures(zoo_command: list[str], digits: mnist.Split) -> None:
    names, written = write(list(pictures(digits)), 4_000, seed=1)
    rows, _ = run(zoo_command, names, "cnn")
    assert [row["source"] for row in rows] == names
    answered = [row["source"] for row in rows if row["error"] is None]
    assert 200 < len(answered) < 3_800  # damage that does not show, and damage that does
    assert [name for name in answered if refused(written[name or ""])] == []


def test_a_thousand_damaged_archives_and_arrays(
    zoo_command: list[str], digits: mnist.Split
) -> None:
    names, _ = write(list(containers(digits)), 1_000, seed=2)
    rows, _ = run(zoo_command, names, "cnn")
    with_rows = {(row["source"] or "").split("/")[0].split("[")[0] for row in rows}
    assert with_rows == set(names)
    assert any(row["error"] for row in rows)
    assert any(row["label"] for row in rows)


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_damaged_tables(suffix: str, zoo_command: list[str]) -> None:
    with (tables.FILES / "diabetes.csv").open(newline="") as text:
        header, *lines = list(csv.reader(text))[:20]
    file = io.BytesIO()
    if suffix == "csv":
        file.write("\n".join(map(",".join, [header, *lines])).encode())
    else:
        values = np.array(lines, np.float64)
        if suffix == "npy":
            np.save(file, values[:, :-1])
        else:
            pq.write_table(pa.table(dict(zip(header, values.T, strict=True))), file)
    names, _ = write([(suffix, file.getvalue())], 300, seed=3)
    rows, _ = run(zoo_command, names, "linear")
    assert {(row["source"] or "").split("[")[0] for row in rows} == set(names)
    assert any(row["error"] for row in rows)
