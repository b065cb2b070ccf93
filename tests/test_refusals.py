"""What a training cannot do is said in one line, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

Cli = Callable[..., Result]
NORMALIZED = """
from torch import nn

from zoo.entry import Entry
from zoo.recipe import Recipe


class Net(nn.Module):
    def __init__(self, channels=1, size=28, classes=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * size**2, 8), nn.BatchNorm1d(8), nn.Linear(8, classes)
        )

    def forward(self, x):
        return self.layers(x)


ENTRY = Entry(
    name="normalized", title="Batch normalization", lesson="softmax", network=Net,
    dataset="mnist", task="classification", recipe=Recipe(epochs=1), parameters=6_386, limits="",
)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, of which 33 images are to train on."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for part, counts in (("train", (17, 16)), ("validation", (4, 4)), ("test", (4, 4))):
        for name, count in zip("ab", counts, strict=True):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cnn", "--seed", 2**32), "seed=4294967296"),
        (("cnn", "--seed", -1), "seed=-1"),
        (("cnn", "--size", 100_000, "--data", "PICTURES"), "try a smaller --size"),
        (("normalized", "--size", 8, "--batch-size", 32, "--data", "PICTURES"),
         "of 33 rows one remains for the last step of an epoch: try batch_size=33"),
        (("normalized", "--size", 8, "--batch-size", 1, "--data", "PICTURES"), "try batch_size=3"),
    ],
)  # fmt: skip
def test_refused_in_one_line(
    zoo_cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...], said: str,
) -> None:  # fmt: skip
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "normalized.py").write_text(NORMALIZED)
    monkeypatch.setenv("ZOO_MODELS", str(tmp_path / "models"))
    given = [pictures if word == "PICTURES" else word for word in words]
    done = zoo_cli("train", *given, "--out", tmp_path / "run")
    assert done.exit_code in (1, 2), done.output
    assert said in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("zoo:")]
    assert "unforeseen" not in line
    assert not (tmp_path / "run").exists()


def test_one_row_left_is_no_problem_without_batch_normalization(
    zoo_cli: Cli, pictures: Path, tmp_path: Path
) -> None:
    done = zoo_cli(
        "train", "softmax", "--data", pictures, "--size", 8, "--batch-size", 32, "--epochs", 3,
        "--set", "epochs=1", "--set", "keep=last", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "zoo: epochs is given twice: 1 is taken" in done.stderr
    assert "epoch   1 of 1" in done.stderr
