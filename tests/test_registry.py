"""The registry: names without imports, one file a model, a new file is a new model."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import datasets, install, registry
from zoo.errors import UsageError, ZooError
from zoo.recipe import Recipe
from zoo.spec import ImageSpec

PARAMETERS = {
    "linear": 11,
    "logistic": 31,
    "softmax": 575_050,
    "cnn": 8_490,
    "googlenet": 97_298,
    "resnet": 41_514,
    "rnn": 21_514,
    "rnn_cell": 21_514,
}


def test_the_eight_models_of_the_notes_are_there() -> None:
    assert zoo.list_models() == registry.names() == sorted(PARAMETERS)


@pytest.mark.parametrize("name", registry.names())
def test_parameters_are_as_declared(name: str) -> None:
    entry = registry.get(name)
    network = zoo.load(name, pretrained=False)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == entry.parameters == PARAMETERS.get(name, count)


@pytest.mark.parametrize("name", registry.names())
def test_networks_take_any_batch_and_adapt_to_their_data(name: str) -> None:
    entry = registry.get(name)
    spec = datasets.load(entry.dataset).spec
    if not isinstance(spec, ImageSpec):
        network = entry.build(spec, 2)
        assert network(torch.zeros(3, len(spec.columns))).shape == (3, 1)
        return
    for channels, size, classes in ((1, 28, 10), (3, 32, 7)):
        other = ImageSpec(channels, size, (0.5,) * channels, (0.5,) * channels)
        network = entry.build(other, classes)
        for batch in (1, 5):
            assert network(torch.zeros(batch, channels, size, size)).shape == (batch, classes)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'resnt'\. Did you mean 'resnet'\?"):
        registry.get("resnt")


def test_recipes_are_typed() -> None:
    recipe = registry.get("cnn").recipe
    assert recipe.replace(epochs="3", lr="0.5").epochs == 3
    with pytest.raises(UsageError, match=r"unknown recipe field 'eopchs'\. Did you mean 'epochs'"):
        recipe.replace(eopchs=3)
    for field, value in (("epochs", "many"), ("lr", "-1"), ("optimizer", "adm"), ("epochs", "0")):
        with pytest.raises(UsageError, match=f"{field}={value}"):
            recipe.replace(**{field: value})
    with pytest.raises(AttributeError):
        recipe.epochs = 4  # type: ignore[misc]  # that it cannot be set is the point
    assert Recipe(epochs=1) == Recipe(epochs=1)


NEW_MODEL = '''
"""A model in a file of its own: one hidden layer."""
from torch import nn
from zoo import Entry, Recipe

class Tiny(nn.Module):
    def __init__(self, channels=1, size=28, classes=10):
        super().__init__()
        self.hidden = nn.Linear(channels * size * size, 32)
        self.out = nn.Linear(32, classes)

    def forward(self, x):
        return self.out(self.hidden(x.flatten(1)).relu())

ENTRY = Entry(
    name="tiny", title="One hidden layer", lesson="test", network=Tiny, dataset="mnist",
    task="classification", recipe=Recipe(epochs=1, batch_size=500, lr=5e-3), parameters=25_450,
    limits="none",
)
'''


def test_a_new_file_is_a_new_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    zoo_cli: Callable[..., Any],
    digit_folder: Path,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "tiny.py").write_text(textwrap.dedent(NEW_MODEL))
    monkeypatch.setenv("ZOO_MODELS", str(models))
    assert "tiny" in zoo.list_models()
    assert "tiny" in zoo_cli("list").stdout

    trained = zoo_cli("train", "tiny", "--out", "run")
    assert trained.exit_code == 0, trained.stderr
    exported = zoo_cli("export", "run", "-o", "tiny.onnx")
    assert exported.exit_code == 0, exported.stderr
    assert Path("tiny.onnx").read_bytes() == Path("run/model.onnx").read_bytes()
    predicted = zoo_cli("predict", "run", digit_folder)
    assert predicted.exit_code == 0, predicted.stderr
    assert len(predicted.stdout.splitlines()) == 31
    assert zoo.card("run").test["accuracy"] > 0.9


BARE = """
import torch
from torch import nn

class Block(nn.Module):
    def forward(self, x):
        return torch.relu(x)

class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.l1 = nn.Linear(784, 32)
        self.block = Block()
        self.l2 = nn.Linear(32, 10)

    def forward(self, x):
        return self.l2(self.block(self.l1(x.view(-1, 784))))
"""


def test_a_students_class_alone_is_a_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    zoo_cli: Callable[..., Any],
    digit_folder: Path,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "mine.py").write_text(BARE)
    monkeypatch.setenv("ZOO_MODELS", str(models))
    trained = zoo_cli("train", "mine", "--epochs", "1", "--batch-size", "512", "--lr", "0.1")
    assert trained.exit_code == 0, trained.stderr
    assert zoo.card("runs/mine").test["accuracy"] > 0.85
    assert zoo_cli("export", "runs/mine", "-o", "mine.onnx").exit_code == 0
    assert zoo_cli("predict", "runs/mine", digit_folder).exit_code == 0
    assert zoo.load("runs/mine")(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("784, 32", "400, 32"), "mat1 and mat2 shapes cannot be multiplied"),
        (("32, 10", "32, 7"), r"expected to map float32 \[2, 1, 28, 28\] to \[2, 10\]"),
        (("__init__(self)", "__init__(self, hidden)"), "its __init__ needs 'hidden'"),
        (("class Net", "class Other"), "expected ENTRY"),
    ],
)
def test_a_students_class_that_does_not_fit_gets_one_line(
    change: tuple[str, str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    zoo_cli: Callable[..., Any],
) -> None:
    (tmp_path / "mine.py").write_text(BARE.replace(*change))
    monkeypatch.setenv("ZOO_MODELS", str(tmp_path))
    refused = zoo_cli("train", "mine", "--epochs", "1")
    assert refused.exit_code in (1, 2)
    assert len(refused.stderr.splitlines()) == 1
    assert re.search(reason, refused.stderr)


def test_a_new_file_in_the_package_is_a_new_model(tmp_path: Path) -> None:
    """The same, where models live: a copy of the package with one more file."""
    import subprocess

    source = Path(zoo.__file__).parent
    ignore = shutil.ignore_patterns("mnist", "weights", "__pycache__")
    shutil.copytree(source, tmp_path / "zoo", ignore=ignore)
    (tmp_path / "zoo" / "models" / "tiny.py").write_text(NEW_MODEL)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport zoo\nfrom zoo import registry\n"
        "assert 'tiny' in zoo.list_models()\nprint(registry.get('tiny').title)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "One hidden layer\n"


def test_a_file_without_an_entry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setenv("ZOO_MODELS", str(tmp_path))
    with pytest.raises(ZooError, match=r"'empty': expected ENTRY = Entry\(name='empty'"):
        registry.get("empty")


def test_a_missing_extra_names_itself(tmp_path: Path) -> None:
    """Where torch cannot be imported, the message says what to install."""
    import subprocess

    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['safetensors'] = None\n"
        "import cli; sys.argv = ['zoo', 'train', 'cnn']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert install.command("train") in done.stderr
    assert "Traceback" not in done.stderr
