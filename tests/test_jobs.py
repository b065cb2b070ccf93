"""Jobs that are stopped, resumed and disturbed: every input once, in order, nothing lost."""

from __future__ import annotations

import bz2
import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.datasets import mnist

Cli = Callable[..., Any]


def png(digits: mnist.Split, number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(digits.inputs[number][:, :, 0]).save(file, "PNG", compress_level=1)
    return file.getvalue()


def damaged(kind: int, good: bytes) -> bytes:
    """Damage a picture in one of ten ways."""
    image = Image.open(io.BytesIO(good))
    file = io.BytesIO()
    if kind == 0:
        return b""
    if kind == 1:
        return good[: len(good) // 2]
    if kind == 2:
        return good[:-20] + bytes([good[-20] ^ 1]) + good[-19:]  # one bit: the checksum is wrong
    if kind == 3:
        return b"no picture at all"
    if kind == 4:
        return bz2.compress(good)
    if kind == 5:
        Image.new("L", (60_000, 1)).save(file, "PNG")
    elif kind == 6:
        image.save(file, "PNG", save_all=True, append_images=[image.rotate(90)])
    elif kind == 7:
        image.save(file, "JPEG")
        return file.getvalue()[:300]
    elif kind == 8:
        Image.new("L", (200, 200), 255).save(file, "PNG")  # blank paper
    else:
        image.save(file, "TIFF")
        return file.getvalue()[:100]
    return file.getvalue()


def sources(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["source"] for row in csv.DictReader(file)]


def test_twenty_thousand_files_a_hundred_damaged_three_kills(
    zoo_command: list[str], digits: mnist.Split
) -> None:
    folder = Path("many")
    folder.mkdir()
    pictures = [png(digits, number) for number in range(500)]
    bad = dict(zip(range(77, 20_000, 199), range(100), strict=False))
    assert len(bad) == 100
    for number in range(20_000):
        data = pictures[number % 500]
        if number in bad:
            data = damaged(bad[number] % 10, data)
        (folder / f"{number:05d}.png").write_bytes(data)
    job = [*zoo_command, "predict", "cnn", "many", "-o", "out.csv", "--resume"]
    part = Path(".out.csv.part")
    for kill in range(3):
        process = subprocess.Popen(job, stderr=subprocess.DEVNULL)
        start = part.stat().st_size if part.exists() else 0
        while not part.exists() or part.stat().st_size < start + 100_000:
            assert process.poll() is None, f"the job ended before kill {kill}"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(job, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "of them written before" in done.stderr
    assert "100 of 20,000 inputs failed, first many/00077.png: empty file" in done.stderr
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [f"many/{number:05d}.png" for number in range(20_000)]
    assert [number for number, row in enumerate(rows) if row["error"]] == sorted(bad)
    right = [row["label"] == str(digits.targets[n % 500]) for n, row in enumerate(rows)]
    assert np.mean(right) > 0.98


@pytest.fixture
def stopped(digits: mnist.Split, zoo_command: list[str]) -> Callable[[str], list[str]]:
    """Start a job on 2,000 files, stop it after some blocks, and return its command."""

    def start(name: str) -> list[str]:
        Path("d").mkdir()
        data = [png(digits, number) for number in range(100)]
        for number in range(2_000):
            Path(f"d/{number:04d}.png").write_bytes(data[number % 100])
        job = [*zoo_command, "predict", "googlenet", "d", "-o", name]
        process = subprocess.Popen(job, stderr=subprocess.DEVNULL)
        part = Path(f".{name}.part")
        while not part.exists() or part.stat().st_size < 16_000:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return job

    return start


def _run(job: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(job, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_changed_inputs_are_told_by_what_is_written(
    name: str, stopped: Callable[[str], list[str]]
) -> None:
    job = stopped(name)
    Path("d/0000a.png").write_bytes(Path("d/0000.png").read_bytes())
    added = _run([*job, "--resume"])
    assert added.returncode == 2
    assert "row 2 that is written is d/0001.png, now it is d/0000a.png" in added.stderr
    Path("d/0000a.png").unlink()
    Path("d/0003.png").rename("kept")
    removed = _run([*job, "--resume"])
    assert removed.returncode == 2
    assert "row 4 that is written is d/0003.png, now it is d/0004.png" in removed.stderr
    Path("kept").rename("d/0003.png")
    Path("d/1999a.png").write_bytes(Path("d/0000.png").read_bytes())  # not yet read: no harm
    done = _run([*job, "--resume"])
    assert done.returncode == 0, done.stderr
    assert "2,001 rows (" in done.stderr
    if name == "out.csv":
        assert sources(Path(name)) == sorted(f"d/{path.name}" for path in Path("d").iterdir())


def test_a_changed_file_of_rows_is_another_job(zoo_command: list[str], digits: mnist.Split) -> None:
    inputs = np.tile(digits.inputs[:1000], (4, 1, 1, 1))
    np.save("a.npy", inputs)
    job = [*zoo_command, "predict", "googlenet", "a.npy", "-o", "out.csv"]
    process = subprocess.Popen(job, stderr=subprocess.DEVNULL)
    while not Path(".out.csv.part").exists() or Path(".out.csv.part").stat().st_size < 16_000:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    np.save("a.npy", inputs[::-1])
    refused = _run([*job, "--resume"])
    assert refused.returncode == 2
    assert "belongs to another job, with other inputs" in refused.stderr


def test_a_second_job_with_the_same_output_is_refused(
    zoo_command: list[str], digits: mnist.Split
) -> None:
    Path("list").mkdir()
    Path("list/0.png").write_bytes(png(digits, 0))
    Path("link.csv").symlink_to("out.csv")
    job = [*zoo_command, "predict", "cnn", "-", "-o", "out.csv"]
    first = subprocess.Popen(job, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert first.stdin is not None
    while not Path(".out.csv.lock").exists():
        assert first.poll() is None
        time.sleep(0.01)
    for name in ("out.csv", "link.csv"):
        second = _run([*zoo_command, "predict", "cnn", "list", "-o", name])
        assert second.returncode == 2
        assert "is being written by another job" in second.stderr
    first.communicate(b"list\n", timeout=60)
    assert first.returncode == 0
    assert sources(Path("out.csv")) == ["list/0.png"]
    assert not Path(".out.csv.lock").exists()


def test_a_linked_output_stays_a_link(zoo_cli: Cli, digits: mnist.Split) -> None:
    Path("0.png").write_bytes(png(digits, 0))
    Path("there").mkdir()
    Path("out.csv").symlink_to("there/real.csv")
    for _ in range(2):
        assert zoo_cli("predict", "cnn", "0.png", "-o", "out.csv").exit_code == 0
        assert Path("out.csv").is_symlink()
        assert sources(Path("there/real.csv")) == ["0.png"]
    assert os.listdir("there") == ["real.csv"]


def test_an_output_that_is_a_folder_is_refused(zoo_cli: Cli, digits: mnist.Split) -> None:
    Path("0.png").write_bytes(png(digits, 0))
    Path("out.csv").mkdir()
    refused = zoo_cli("predict", "cnn", "0.png", "-o", "out.csv")
    assert (refused.exit_code, "out.csv is a folder" in refused.stderr) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_full_disk_loses_nothing(name: str, zoo_command: list[str], digits: mnist.Split) -> None:
    Path("d").mkdir()
    for number in range(1_200):
        Path(f"d/{number:04d}.png").write_bytes(png(digits, number))
    job = [*zoo_command, "predict", "cnn", "d", "-o", name]

    import resource  # not on Windows

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    full = _run(job, preexec_fn=limit)
    assert full.returncode == 1
    assert "zoo: what is written is in" in full.stderr
    assert "Traceback" not in full.stderr
    assert not Path(name).exists()
    assert Path(f".{name}.part").stat().st_size > 8_000
    done = _run([*job, "--resume"])
    assert done.returncode == 0, done.stderr
    assert "1,200 rows (" in done.stderr
    assert not [path for path in os.listdir() if path.startswith(".")]
