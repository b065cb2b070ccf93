"""`Bundle`: opened once, by whatever names it, and every file checked as it is read."""

from __future__ import annotations

import hashlib
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
