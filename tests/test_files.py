"""What inputs stand for: folders, links, pipes, lists, globs and archives as people have them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import labels, rows_of
from PIL import Image

from zoo.datasets import mnist

Cli = Callable[..., Any]


def picture(digits: mnist.Split, number: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(digits.inputs[number][:, :, 0]).save(file, form)
    return file.getvalue()


def true(digits: mnist.Split, *numbers: int) -> list[str]:
    return [str(digits.targets[number]) for number in numbers]


def test_content_decides_what_is_a_picture(zoo_cli: Cli, digits: mnist.Split) -> None:
    Path("d/sub").mkdir(parents=True)
    Path("d/0.jfif").write_bytes(picture(digits, 0, "JPEG"))
    Path("d/1").write_bytes(picture(digits, 1))
    Path("d/2.jp2").write_bytes(picture(digits, 2, "JPEG2000"))
    Path("d/3.dat").write_bytes(picture(digits, 3, "TIFF"))
    Path("d/a.txt").write_text("notes")
    Path("d/b.txt").write_text("notes")
    Path("d/sub/data.csv").write_text("a,b\n1,2\n")
    Path("d/Thumbs.db").write_bytes(b"left about by Windows")
    result = zoo_cli("predict", "resnet", "d", "--json")
    assert result.exit_code == 0, result.stderr
    assert labels(rows_of(result)) == [int(text) for text in true(digits, 0, 1, 2, 3)]
    assert "3 files passed over: 2 .txt, 1 .csv\n" in result.stderr
    for mode, archive in (("zip", "d.zip"), ("tar", "d.tar.gz")):
        if mode == "zip":
            with zipfile.ZipFile(archive, "w") as file:
                for path in sorted(Path("d").rglob("*")):
                    file.write(path)
        else:
            with tarfile.open(archive, "w:gz") as tar:
                tar.add("d")
        result = zoo_cli("predict", "resnet", archive, "--json")
        assert result.exit_code == 0, result.stderr
        assert sorted(row["label"] for row in rows_of(result)) == sorted(true(digits, 0, 1, 2, 3))
        assert "3 files passed over: 2 .txt, 1 .csv\n" in result.stderr


def test_a_file_of_rows_is_what_its_content_says(zoo_cli: Cli, digits: mnist.Split) -> None:
    np.save("plain.npy", digits.inputs[:3])
    np.savez("several.npz", digits.inputs[:3])
    Path("plain.npy").rename("a.npz")
    Path("several.npz").rename("b.npy")
    with zipfile.ZipFile("c.bin", "w") as archive:
        archive.writestr("0.png", picture(digits, 0))
    with tarfile.open("d", "w") as tar:
        entry = tarfile.TarInfo("0.png")
        entry.size = len(picture(digits, 0))
        tar.addfile(entry, io.BytesIO(picture(digits, 0)))
    for name, count in (("a.npz", 3), ("b.npy", 3), ("c.bin", 1), ("d", 1)):
        rows = rows_of(zoo_cli("predict", "resnet", name, "--json"))
        assert [row["label"] for row in rows] == true(digits, 0, 1, 2)[:count], name


def test_links_are_followed_but_not_in_a_circle(zoo_cli: Cli, digits: mnist.Split) -> None:
    Path("real").mkdir()
    Path("real/0.png").write_bytes(picture(digits, 0))
    Path("top").mkdir()
    Path("top/linked").symlink_to("../real")
    Path("real/back").symlink_to("../top")
    Path("top/1.png").symlink_to("../real/0.png")
    Path("top/2.png").symlink_to("nowhere.png")
    Path("top/own").symlink_to(".")
    result = zoo_cli("predict", "resnet", "top", "--json")
    rows = rows_of(result)
    assert [row["source"] for row in rows] == ["top/1.png", "top/2.png", "top/linked/0.png"]
    assert [row["error"] for row in rows] == [None, "no such file", None]
    assert "2 files passed over" in result.stderr
    assert result.exit_code == 3


def test_a_pipe_in_a_folder_stops_nobody_and_one_given_is_read(
    zoo_command: list[str], digits: mnist.Split
) -> None:
    Path("d").mkdir()
    os.mkfifo("d/a.png")
    os.mkfifo("d/b")
    Path("d/c.png").write_bytes(picture(digits, 1))
    command = [*zoo_command, "predict", "resnet", "--format", "csv"]
    done = subprocess.run([*command, "d"], capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().splitlines()[1].startswith("d/c.png,2,")
    assert b"2 files passed over: 1 .png, 1 without a suffix" in done.stderr
    data = picture(digits, 0)
    process = subprocess.Popen(
        [*command, "/dev/stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    for part in (data[:50], data[50:90], data[90:]):  # a pipe hands over what it has
        process.stdin.write(part)
        process.stdin.flush()
        time.sleep(0.3)
    output, _ = process.communicate(timeout=60)
    assert output.decode().splitlines()[1].startswith("/dev/stdin,7,")


def test_a_slow_list_is_answered_as_it_comes(zoo_command: list[str], digits: mnist.Split) -> None:
    for number in range(2):
        Path(f"{number}.png").write_bytes(picture(digits, number))
    process = subprocess.Popen(
        [*zoo_command, "predict", "resnet", "-", "--format", "jsonl"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(2):  # the answer comes although the list has not ended
        process.stdin.write(f"{number}.png\n".encode())
        process.stdin.flush()
        assert f'"source":"{number}.png","label":"{digits.targets[number]}"'.encode() in (
            process.stdout.readline()
        )
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16"], ids=["plain", "mark", "PowerShell"]
)
def test_lists_as_editors_and_shells_write_them(
    encoding: str, zoo_command: list[str], digits: mnist.Split
) -> None:
    Path("数字").mkdir()
    for number in range(2):
        Path(f"数字/{number}.png").write_bytes(picture(digits, number))
    lines = "数字/0.png\r\n\r\n数字\r\nno\0thing.png\r\n"  # a file, a folder, and damage
    done = subprocess.run(
        [*zoo_command, "predict", "resnet", "-", "--format", "csv"],
        input=lines.encode(encoding), capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    rows = [line.split(",") for line in done.stdout.decode().splitlines()[1:]]
    assert [row[1] for row in rows] == [*true(digits, 0, 0, 1), ""]
    assert rows[3][3] == "a name that holds the character NUL"


def test_an_empty_list_or_file_is_an_error(zoo_command: list[str], zoo_cli: Cli) -> None:
    done = subprocess.run(
        [*zoo_command, "predict", "cnn", "-"], input=b"\n", capture_output=True, check=False
    )
    assert (done.returncode, b"an empty list on stdin" in done.stderr) == (1, True)
    np.save("none.npy", np.zeros((0, 28, 28, 1), np.uint8))
    result = zoo_cli("predict", "cnn", "none.npy")
    assert (result.exit_code, "holds no rows" in result.stderr) == (1, True)


def test_a_glob_below_a_folder_with_brackets(zoo_cli: Cli, digits: mnist.Split) -> None:
    Path("a[1]/b*").mkdir(parents=True)
    Path("a[1]/0.png").write_bytes(picture(digits, 0))
    Path("a[1]/b*/1.png").write_bytes(picture(digits, 1))
    for pattern, numbers in (
        ("a[1]/*.png", [0]),
        ("a[1]/b*/*.png", [1]),
        ("a[1]/**/*.png", [0, 1]),
        ("a[1]/*", [0, 1]),
        ("a[1]", [0, 1]),
    ):
        rows = rows_of(zoo_cli("predict", "resnet", pattern, "--json"))
        assert [row["label"] for row in rows] == true(digits, *numbers), pattern


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_an_unreadable_folder_is_a_row(zoo_cli: Cli, digits: mnist.Split, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Path(f"d/{name}").mkdir(parents=True)
        Path(f"d/{name}/0.png").write_bytes(picture(digits, 0))
    Path("d/a").chmod(0)
    root = os.geteuid() == 0
    if root:  # nothing is unreadable to root: be somebody else for a moment
        for folder in (tmp_path, *list(tmp_path.parents)[:3]):
            folder.chmod(folder.stat().st_mode | 0o755)
        os.seteuid(65_534)
    try:
        result = zoo_cli("predict", "resnet", "d", "--format", "table")
    finally:
        if root:
            os.seteuid(0)
        Path("d/a").chmod(0o755)
    assert result.exit_code == 3, result.output
    assert "cannot be read (Permission denied)" in result.stderr


def _tar(digits: mnist.Split) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(3):
            entry = tarfile.TarInfo(f"{number}.png")
            entry.size = len(picture(digits, number))
            tar.addfile(entry, io.BytesIO(picture(digits, number)))
    return file.getvalue()


@pytest.mark.parametrize("where", ["in a header", "between members", "in a member", "in padding"])
def test_a_cut_archive_says_where(where: str, zoo_cli: Cli, digits: mnist.Split) -> None:
    data = _tar(digits)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        second = tar.getmembers()[1]
    end = {
        "in a header": second.offset + 100,
        "between members": second.offset,
        "in a member": second.offset_data + 20,
        "in padding": second.offset_data + second.size + 3,
    }[where]
    Path("cut.tar").write_bytes(data[:end])
    result = zoo_cli("predict", "resnet", "cut.tar", "--json")
    rows = rows_of(result)
    assert result.exit_code == 3
    assert rows[0]["label"] == "7"
    assert rows[-1]["source"] == "cut.tar"
    assert "damaged archive" in rows[-1]["error"]
    assert "byte" in rows[-1]["error"]


def test_links_in_archives(zoo_cli: Cli, digits: mnist.Split) -> None:
    with tarfile.open("links.tar", "w") as tar:
        entry = tarfile.TarInfo("d/0.png")
        entry.size = len(picture(digits, 0))
        tar.addfile(entry, io.BytesIO(picture(digits, 0)))
        for name, kind, target in (
            ("d/hard.png", tarfile.LNKTYPE, "d/0.png"),
            ("d/soft.png", tarfile.SYMTYPE, "0.png"),
            ("d/gone.png", tarfile.SYMTYPE, "../none.png"),
            ("d/pipe.png", tarfile.FIFOTYPE, ""),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            tar.addfile(link)
    with zipfile.ZipFile("links.zip", "w") as archive:
        archive.writestr("d/0.png", picture(digits, 0))
        for name, target in (("d/soft.png", "0.png"), ("d/gone.png", "../none.png")):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    for name, wanted in (("links.tar", ["7", "7", "7", None]), ("links.zip", ["7", "7", None])):
        result = zoo_cli("predict", "resnet", name, "--json")
        rows = rows_of(result)
        assert [row["label"] for row in rows] == wanted
        assert rows[-1]["error"] == "a link to what is not in the archive"
        assert ("1 file passed over: 1 .png" in result.stderr) == (name == "links.tar")


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("手写/数字一.png", "utf-8"),
        ("手写/数字一.png", "gbk"),
        ("镕基.png", "gbk"),
        ("數字.png", "gbk"),
        ("été/où.png", "utf-8"),
        ("été/où.png", "cp437"),
    ],
)
def test_names_in_zip_files_of_other_systems(
    name: str, encoding: str, zoo_cli: Cli, digits: mnist.Split
) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("x" * len(name.encode(encoding)), picture(digits, 0))
    data = Path("a.zip").read_bytes()
    raw = name.encode(encoding)
    Path("a.zip").write_bytes(data.replace(b"x" * len(raw), raw))
    (row,) = rows_of(zoo_cli("predict", "resnet", "a.zip", "--json"))
    assert (row["source"], row["label"]) == (f"a.zip/{name}", "7")


def test_the_first_frame_of_an_animation(zoo_cli: Cli, digits: mnist.Split) -> None:
    frames = [Image.fromarray(digits.inputs[number][:, :, 0]) for number in range(3)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(name, save_all=True, append_images=frames[1:], lossless=True)
        refused = zoo_cli("predict", "resnet", name)
        assert "animated (3 frames)" in refused.stderr
        (row,) = rows_of(zoo_cli("predict", "resnet", name, "--first-frame", "--json"))
        assert row["label"] == "7", name


def test_stdout_that_is_not_utf8(zoo_command: list[str], digits: mnist.Split) -> None:
    Path("数字.png").write_bytes(picture(digits, 0))
    for encoding in ("cp1252", "ascii", "gbk"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for words in (["list"], ["lesson"], ["info", "cnn"], ["predict", "cnn", "数字.png"]):
            done = subprocess.run(
                [*zoo_command, *words], env=environment, capture_output=True, check=False
            )
            assert done.returncode == 0, done.stderr
            done.stdout.decode(encoding)
        done = subprocess.run(
            [*zoo_command, "predict", "cnn", "数字.png", "--format", "csv", "-o", "out.csv"],
            env=environment, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        done = subprocess.run(
            [*zoo_command, "predict", "cnn", "数字.png", "-o", "out.csv"],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
        assert "数字.png,7," in Path("out.csv").read_text(encoding="utf-8")
