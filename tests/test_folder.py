"""Image folders and CSV files as torch datasets: real files, good and bad, through DataLoaders."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from zoo import images
from zoo.datasets import csv, load, tables
from zoo.datasets.folder import ImageFolder, read
from zoo.errors import DataError

# Python 3.12 and 3.13 warn when a DataLoader forks while torch has threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Two classes in PNG, JPEG, GIF; gray, color, alpha; one broken, some to be skipped."""
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (20, 20, 3), np.uint8)
    root = tmp_path / "animals"
    for name in ("dog", "cat/old", "dog/.hidden", ".cache"):
        (root / name).mkdir(parents=True)
    Image.fromarray(color).save(root / "dog" / "a.png")
    Image.fromarray(color[:, :, 0]).save(root / "dog" / "b.PNG")
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(root / "dog" / "c.jpg")
    Image.fromarray(color).convert("RGBA").save(root / "cat" / "a.png")
    Image.fromarray(color[:, :, 0]).save(root / "cat" / "old" / "b.gif")
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "a.png").read_bytes()[:60])
    (root / "cat" / "notes.txt").write_text("not an image")
    for hidden in ("dog/.thumb.png", "dog/.hidden/x.png", ".cache/x.png"):
        (root / hidden).write_bytes((root / "cat" / "a.png").read_bytes())
    return root


def test_an_image_folder_finds_classes_and_files(animals: Path) -> None:
    folder = ImageFolder(animals, size=16, channels=3)
    assert folder.labels == ("cat", "dog")
    found = [str(path.relative_to(animals)) for path in folder.paths]
    assert found == ["cat/a.png", "cat/broken.png", "cat/old/b.gif", *(f"dog/{n}" for n in
                     ("a.png", "b.PNG", "c.jpg"))]  # fmt: skip
    assert folder.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert folder.targets.dtype == np.int64
    assert len(folder) == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_an_item_is_what_predict_would_see(animals: Path, channels: int) -> None:
    folder = ImageFolder(animals, size=16, channels=channels, background="dark", invert="auto")
    for number, path in enumerate(folder.paths):
        if path.name == "broken.png":
            continue
        array, target = folder[number]
        assert array.dtype == np.uint8
        assert array.shape == (16, 16, channels)
        assert target == folder.targets[number]
        assert np.array_equal(array, images.decode(path, folder.spec))


def test_invert_reaches_the_decoder(animals: Path) -> None:
    plain = ImageFolder(animals, size=8, invert="no")
    inverted = ImageFolder(animals, size=8, invert="yes")
    assert np.array_equal(255 - plain[3][0], inverted[3][0])


def test_a_broken_file_says_which_it_is(animals: Path) -> None:
    folder = ImageFolder(animals)
    with pytest.raises(DataError, match=r"broken\.png: damaged image"):
        folder[1]
    folder.paths[0].unlink()
    with pytest.raises(DataError, match=r"a\.png: cannot be read \(No such file"):
        folder[0]


def test_read_goes_on_past_a_broken_file(animals: Path) -> None:
    found = read(animals, size=16, channels=3)
    assert found.inputs.shape == (5, 16, 16, 3)
    assert found.inputs.dtype == np.uint8
    assert found.targets.tolist() == [0, 0, 1, 1, 1]
    assert found.targets.dtype == np.int64
    assert found.labels == ("cat", "dog")
    ((path, reason),) = found.errors
    assert path == animals / "cat" / "broken.png"
    assert reason.startswith("damaged image")
    folder = ImageFolder(animals, size=16, channels=3)
    expected = np.stack([folder[number][0] for number in (0, 2, 3, 4, 5)])
    assert np.array_equal(found.inputs, expected)


def test_batches_come_from_two_processes(animals: Path) -> None:
    (animals / "cat" / "broken.png").unlink()
    loader = DataLoader(ImageFolder(animals, size=16), batch_size=2, num_workers=2)
    batches = list(loader)
    assert [tuple(x.shape) for x, _ in batches] == [(2, 16, 16, 1), (2, 16, 16, 1), (1, 16, 16, 1)]
    assert batches[0][0].dtype == torch.uint8
    assert torch.cat([y for _, y in batches]).tolist() == [0, 0, 1, 1, 1]


def test_folders_that_cannot_be_used(tmp_path: Path, animals: Path) -> None:
    def refused(root: Path, message: str) -> None:
        with pytest.raises(DataError, match=message):
            ImageFolder(root)

    refused(tmp_path / "nowhere", "nowhere: no such folder")
    refused(animals / "dog" / "a.png", r"a\.png: not a folder")
    refused(animals / "cat" / "old", "at least 2 class folders, found none")
    refused(animals / "cat", "at least 2 class folders, found only 'old'")
    (animals / "fish").mkdir()
    refused(animals, "class folder 'fish' holds no images")
    (animals / "fish" / "a.png").write_bytes(b"nothing")
    (animals / "fish" / "b.png").write_bytes(b"")
    wanted = r"class 'fish': no image can be read; .*a\.png: not an image in a known format"
    with pytest.raises(DataError, match=wanted):
        read(animals)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small CSV file with a column too many."""
    path = tmp_path / "table.csv"
    path.write_text("height,name,weight,kind\n1.5,ann,50,a\n1.8,bob,80,b\n1.7,cid,70.5,a\n")
    return path


def test_a_table_for_a_regression(table: Path) -> None:
    features, targets = csv.read(table, ["height"], "weight")
    assert (features.dtype, features.shape) == (np.float32, (3, 1))
    assert features[2].tolist() == [np.float32(1.7)]
    assert (targets.dtype, targets.tolist()) == (np.float32, [50, 80, 70.5])


def test_a_table_for_classes(table: Path) -> None:
    features, targets = csv.read(table, ["weight", "height"], "kind", labels=["a", "b"])
    assert (targets.dtype, targets.tolist()) == (np.int64, [0, 1, 0])
    assert features[:, 0].tolist() == [50, 80, 70.5]


def test_the_embedded_table_is_read_so(table: Path) -> None:
    data = load("breast-cancer")
    path = tables.FILES / "breast-cancer.csv"
    features, targets = csv.read(path, data.spec.columns, "diagnosis", data.labels)
    train = np.arange(len(features)) % 5 < 3
    assert np.array_equal(features[train], data.train.inputs)
    assert np.array_equal(targets[train], data.train.targets)


@pytest.mark.parametrize(
    ("line", "labels", "message"),
    [
        ("tall,dan,80,a", (), "line 5: column 'height': expected a number, found 'tall'"),
        ("1.6,dan,,a", (), "line 5: column 'weight': expected a number, found ''"),
        ("1.6,dan,nan,a", (), "line 5: column 'weight': expected a finite number"),
        ("1.6,dan,80,c", ("a", "b"), "line 5: column 'kind': expected one of a, b, found 'c'"),
        ("1.6,dan", (), "line 5: 2 fields, the header has 4"),
    ],
)
def test_a_bad_row_is_named(table: Path, line: str, labels: tuple[str, ...], message: str) -> None:
    table.write_text(table.read_text() + line + "\n")
    with pytest.raises(DataError, match=re.escape(message)):
        csv.read(table, ["height"], "kind" if labels else "weight", labels)


def test_csv_files_that_cannot_be_used(tmp_path: Path, table: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        csv.read(tmp_path / "nothing.csv", ["a"], "b")
    with pytest.raises(DataError, match="missing columns: hight"):
        csv.read(table, ["hight"], "weight")
    table.write_text("height,weight\n")
    with pytest.raises(DataError, match="no rows below the header"):
        csv.read(table, ["height"], "weight")
