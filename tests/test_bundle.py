"""`Bundle`: opened once, by whatever names it, and every file checked as it is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.bundle import folder
from zoo.bundle.card import CARD, ONNX, WEIGHTS
from zoo.errors import UsageError, VerificationError

Cli = Callable[..., Any]


def test_a_bundle_is_opened_by_name_by_path_or_as_it_is(broken_copy: Path) -> None:
    by_name = zoo.Bundle.open("linear")
    assert by_name.card == zoo.card("linear")
    assert by_name.path == folder.weights_dir() / "linear"
    for name in (broken_copy, str(broken_copy)):
        by_path = zoo.Bundle.open(name)
        assert (by_path.path, by_path.card) == (broken_copy, by_name.card)
    assert zoo.Bundle.open(by_name) is by_name


def test_what_is_read_is_checked(broken_copy: Path) -> None:
    bundle = zoo.Bundle.open(broken_copy)
    bundle.check()
    for name in (ONNX, WEIGHTS):
        data = bundle.read(name)
        assert hashlib.sha256(data).hexdigest() == bundle.card.files[name]
        (broken_copy / name).write_bytes(data[:-1] + b"?")
        with pytest.raises(VerificationError, match=rf"{name} does not match its card \(SHA-256"):
            bundle.read(name)
        with pytest.raises(VerificationError, match=f"{name} does not match its card"):
            bundle.check()
        (broken_copy / name).unlink()
        with pytest.raises(VerificationError, match=f"{name} is missing"):
            bundle.read(name)
        (broken_copy / name).write_bytes(data)
    (broken_copy / "notes.txt").write_text("not on the card")
    with pytest.raises(VerificationError, match=r"notes\.txt does not match its card"):
        bundle.read("notes.txt")


def test_what_is_not_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown model 'resnt'\. Did you mean 'resnet'"):
        zoo.Bundle.open("resnt")
    with pytest.raises(UsageError, match="is not a bundle: expected a folder with card"):
        zoo.Bundle.open(tmp_path)
    (tmp_path / "checkpoint.safetensors").touch()
    with pytest.raises(UsageError, match="is an unfinished run"):
        zoo.Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "args",
    [
        ("info", "BUNDLE"),
        ("evaluate", "BUNDLE"),
        ("evaluate", "BUNDLE", "--engine", "torch"),
        ("evaluate", "BUNDLE", "--engine", "numpy"),
        ("export", "BUNDLE", "-o", "copy/"),
        ("export", "BUNDLE", "--format", "triton"),
        ("predict", "BUNDLE", "table.npy"),
        ("verify", "BUNDLE"),
        ("compare", "BUNDLE"),
        ("benchmark", "BUNDLE", "--batch", "1", "--seconds", "0.01"),
    ],
    ids=" ".join,
)
def test_a_command_parses_the_card_once(
    args: tuple[str, ...], broken_copy: Path, zoo_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    np.save("table.npy", np.ones((2, 10), np.float32))
    parsed: list[str] = []
    parse = folder.parse

    def counted(data: bytes, source: str) -> Any:
        parsed.append(source)
        return parse(data, source)

    monkeypatch.setattr(folder, "parse", counted)
    done = zoo_cli(*(broken_copy if arg == "BUNDLE" else arg for arg in args))
    assert done.exit_code == 0, done.stderr
    assert parsed == [str(broken_copy / CARD)]


def rewritten(bundle: Path, **changed: Any) -> Path:
    """Change fields of a bundle's card."""
    card = json.loads((bundle / CARD).read_bytes()) | changed
    (bundle / CARD).write_text(json.dumps(card))
    return bundle


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../x", "a\\b", "<b>x</b>", "x y\n", "a?b", "a%2fb", "-x", "n" * 200],
)
def test_names_of_a_card_that_cannot_be_names_are_refused(name: str, broken_copy: Path) -> None:
    with pytest.raises(VerificationError, match="is not a valid card: name "):
        zoo.Bundle.open(rewritten(broken_copy, name=name))
    files = json.loads((broken_copy / CARD).read_bytes())["files"]
    with pytest.raises(VerificationError, match="is not a valid card: files "):
        zoo.Bundle.open(rewritten(broken_copy, name="x", files=files | {name: "0" * 64}))


def test_a_name_may_be_of_any_script(broken_copy: Path) -> None:
    assert (
        zoo.Bundle.open(rewritten(broken_copy, name="手写_数字-2.b")).card.name == "手写_数字-2.b"
    )


def test_only_files_in_the_bundle_are_read(broken_copy: Path, tmp_path: Path) -> None:
    bundle = zoo.Bundle.open(broken_copy)
    data = bundle.read(ONNX)
    (tmp_path / "secret").write_bytes(data)
    (broken_copy / ONNX).unlink()
    (broken_copy / ONNX).symlink_to(tmp_path / "secret")  # with the right SHA-256, even
    with pytest.raises(VerificationError, match="is a link to a file outside of it"):
        bundle.read(ONNX)
    (broken_copy / "data").mkdir()
    (broken_copy / ONNX).unlink()
    (broken_copy / "data" / ONNX).write_bytes(data)
    (broken_copy / ONNX).symlink_to("data/" + ONNX)  # as Kubernetes mounts files
    assert bundle.read(ONNX) == data
    (broken_copy / ONNX).unlink()
    os.mkfifo(broken_copy / ONNX)  # would wait for a writer for ever
    with pytest.raises(VerificationError, match="is not a file"):
        bundle.read(ONNX)


def test_only_pictures_in_the_bundle_are_shown(broken_copy: Path, tmp_path: Path) -> None:
    bundle = zoo.Bundle.open(broken_copy)
    picture = broken_copy / "curves.png"
    png = picture.read_bytes()
    assert bundle.picture("curves.png") == png
    (tmp_path / "elsewhere.png").write_bytes(png)
    for target in (tmp_path / "elsewhere.png", Path("/etc/passwd"), Path("/dev/zero")):
        picture.unlink()
        picture.symlink_to(target)
        assert bundle.picture("curves.png") is None
    picture.unlink()
    picture.write_text("secret, linked hard")
    assert bundle.picture("curves.png") is None
    picture.write_bytes(png + bytes(4_000_000))
    assert bundle.picture("curves.png") is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"labels": ["0", "1"], "task": "classification"}, "outputs, a classification has 2"),
        ({"outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 1]}]}, "the graph"),
        ({"inputs": [{"name": "features", "dtype": "uint8", "shape": ["batch", 8]}]}, "the graph"),
        ({"inputs": [{"name": "features", "dtype": "float32", "shape": ["batch", 9]}]}, "the g"),
        ({"inputs": []}, "is not a valid card: "),
    ],
)
def test_a_graph_that_does_not_fit_its_card_is_refused(
    changed: dict[str, Any], reason: str, broken_copy: Path, zoo_cli: Cli
) -> None:
    rewritten(broken_copy, **changed)
    for words in (["serve", broken_copy, "--port", 0], ["evaluate", broken_copy]):
        result = zoo_cli(*words)
        assert result.exit_code == 5, result.stderr
        (line,) = result.stderr.splitlines()
        assert reason in line
        assert result.stdout == ""


def test_a_graph_that_cannot_be_loaded_is_refused(broken_copy: Path, zoo_cli: Cli) -> None:
    files = json.loads((broken_copy / CARD).read_bytes())["files"]
    (broken_copy / ONNX).write_bytes(b"no graph")
    rewritten(broken_copy, files=files | {ONNX: hashlib.sha256(b"no graph").hexdigest()})
    result = zoo_cli("serve", broken_copy, "--port", 0)
    assert result.exit_code == 5
    (line,) = result.stderr.splitlines()
    assert "model.onnx cannot be loaded: " in line
