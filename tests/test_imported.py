"""`zoo import`: weights of the lessons' own programs become bundles like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import Result

import zoo
from zoo.bundle.folder import Bundle
from zoo.bundle.readme import readme

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(zoo.load("linear").state_dict())


def test_weights_of_the_notes_own_program(zoo_cli: Cli, tmp_path: Path) -> None:
    shipped = zoo.load("cnn").state_dict()
    named = {f"module.net.{number}": value for number, value in enumerate(shipped.values())}
    torch.save({"epoch": 10, "model_state_dict": named}, tmp_path / "my cnn.pth")
    done = zoo_cli("import", tmp_path / "my cnn.pth", "--model", "cnn", "--out", tmp_path / "cnn")
    assert done.exit_code == 0, done.stderr
    assert "taken by their order: net.0 -> " in done.stderr
    bundle, own = Bundle.open(tmp_path / "cnn"), zoo.card("cnn")
    assert bundle.card.test["accuracy"] == own.test["accuracy"]
    assert bundle.card.validation["accuracy"] > 0.99
    assert bundle.card.training.command == "zoo import 'my cnn.pth' --model cnn"
    assert not (tmp_path / "cnn" / "curves.png").exists()
    for command in (("info",), ("verify",), ("export", "-o", tmp_path / "cnn.onnx")):
        ran = zoo_cli(command[0], tmp_path / "cnn", *command[1:])
        assert ran.exit_code == 0, ran.output
    onnxruntime.InferenceSession(tmp_path / "cnn.onnx", providers=["CPUExecutionProvider"])
    assert "were trained elsewhere" in readme(bundle.card, "me/cnn")
    said = zoo_cli("info", tmp_path / "cnn").output
    assert "elsewhere; imported by zoo import" in said
    refused = zoo_cli("reproduce", tmp_path / "cnn")
    assert refused.exit_code == 2
    assert "its weights were imported" in refused.stderr


def test_own_table(zoo_cli: Cli, tmp_path: Path) -> None:
    lines = ["a,b,kind", *(f"{n % 7},{(n * 5) % 11},{'xyz'[n % 3]}" for n in range(90))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    network = zoo.registry.get("softmax").network(columns=2, classes=3)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    options = ("--data", tmp_path / "t.csv", "--target", "kind", "--out", tmp_path / "own")
    done = zoo_cli("import", tmp_path / "w.safetensors", "--model", "softmax", *options)
    assert done.exit_code == 0, done.stderr
    assert zoo.Session(tmp_path / "own").predict([{"a": 1, "b": 2}]).labels[0] in "xyz"


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("none", 1, "no such file"),
        ("pickled", 1, "Save network.state_dict(), not the network itself"),
        ("text", 1, "is not a state dict"),
        ("folder", 1, "is not a state dict"),
        ("half", 1, "or damaged"),
        ("other shape", 1, "expected [1, 10]"),
        ("other names", 1, "has no "),
        ("NaN", 1, "NaN or infinity in bias"),
        ("other model", 2, "did you mean"),
    ],
)
def test_what_cannot_be_imported(
    zoo_cli: Cli,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    kind: str,
    code: int,
    words: str,
) -> None:
    path, model = tmp_path / "w.pth", "linear"
    if kind == "pickled":
        torch.save(nn.Linear(10, 1), path)
    elif kind == "text":
        path.write_text("hello")
    elif kind == "folder":
        path.mkdir()
    elif kind == "half":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "other shape":
        torch.save({name: torch.zeros(3, *value.shape) for name, value in state.items()}, path)
    elif kind == "other names":
        torch.save({"first": torch.zeros(2), **state}, path)
        torch.save({"x": next(iter(state.values()))}, path)
    elif kind == "NaN":
        torch.save(state | {"bias": torch.full((1,), torch.nan)}, path)
    elif kind == "other model":
        torch.save(state, path)
        model = "linea"
    done = zoo_cli("import", path, "--model", model, "--out", tmp_path / "out")
    assert done.exit_code == code, done.output
    assert words in done.stderr.lower() if kind == "other model" else words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_kept(
    zoo_cli: Cli, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, tmp_path / "w.pth")
    args = ("import", tmp_path / "w.pth", "--model", "linear", "--out", tmp_path / "out")
    assert zoo_cli(*args).exit_code == 0
    before = (tmp_path / "out" / "card.json").read_bytes()
    again = zoo_cli(*args)
    assert again.exit_code == 2
    assert "already holds a run" in again.stderr
    assert (tmp_path / "out" / "card.json").read_bytes() == before
    assert json.loads(before)["training"]["imported"]
