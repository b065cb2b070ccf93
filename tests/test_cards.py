"""Cards and bundles: strict, and a changed file is noticed by everything that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import zoo
from zoo.bundle.card import CARD, ONNX, WEIGHTS
from zoo.bundle.folder import Bundle, weights_dir
from zoo.errors import VerificationError


def test_a_card_comes_back_as_it_was_written(broken_copy: Path) -> None:
    card = Bundle.open(broken_copy).card
    Bundle.write(broken_copy, card)
    assert Bundle.open(broken_copy).card == card
    shipped = weights_dir() / "linear" / CARD
    assert (broken_copy / CARD).read_bytes() == shipped.read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda card: card.pop("labels"), "missing required field `labels`"),
        (lambda card: card.update(color="red"), "unknown field `color`"),
        (lambda card: card["recipe"].pop("epochs"), r"`epochs` - at `\$.recipe`"),
        (lambda card: card["recipe"].update(warmth=1), r"unknown field `warmth` - at `\$.recipe`"),
        (lambda card: card.update(parameters="11"), r"Expected `int`, got `str`"),
        (lambda card: card.update(task="poetry"), "Invalid enum value 'poetry'"),
        (
            lambda card: card.update(format=4),
            "card format 4; this version of the zoo reads formats 1 to 3",
        ),
    ],
)
def test_a_wrong_card_is_refused_by_every_command(
    broken_copy: Path, change: Callable[[Any], Any], reason: str, zoo_cli: Callable[..., Any]
) -> None:
    path = broken_copy / CARD
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(VerificationError, match=reason):
        zoo.card(broken_copy)
    for command in ("info", "verify", "evaluate", "export"):
        result = zoo_cli(command, broken_copy)
        assert result.exit_code == 5, (command, result.stderr)
        assert "Traceback" not in result.stderr


def test_a_card_of_format_1_is_converted_on_reading(
    broken_copy: Path, zoo_cli: Callable[..., Any]
) -> None:
    expected = msgspec.structs.replace(zoo.card(broken_copy), format=2)
    path = broken_copy / CARD
    plain = json.loads(path.read_text())
    plain |= {"format": 1, "licence": plain.pop("license")}
    plain["dataset"]["licence"] = plain["dataset"].pop("license")
    plain["recipe"]["average"] = plain["recipe"].pop("ema_decay")
    plain["recipe"]["distillation"] = plain["recipe"].pop("alpha")
    path.write_text(json.dumps(plain))
    assert zoo.card(broken_copy) == expected
    assert zoo_cli("verify", broken_copy).exit_code == 0
    del plain["licence"]
    path.write_text(json.dumps(plain))
    with pytest.raises(VerificationError, match="missing required field `license`"):
        zoo.card(broken_copy)


def test_a_torn_card_is_refused(broken_copy: Path) -> None:
    path = broken_copy / CARD
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(VerificationError, match="is not a valid card"):
        zoo.card(broken_copy)


@pytest.mark.parametrize("name", [ONNX, WEIGHTS])
def test_a_changed_or_missing_file_is_refused(
    broken_copy: Path, name: str, zoo_cli: Callable[..., Any]
) -> None:
    data = bytearray((broken_copy / name).read_bytes())
    data[-3] ^= 1
    (broken_copy / name).write_bytes(data)
    uses = {ONNX: ("predict", broken_copy, "x.csv"), WEIGHTS: ("export", broken_copy)}
    for args in (uses[name], ("verify", broken_copy)):
        result = zoo_cli(*args)
        assert result.exit_code == 5
        assert f"{name} does not match its card (SHA-256" in result.stderr + result.stdout
    (broken_copy / name).unlink()
    for args in (uses[name], ("verify", broken_copy)):
        result = zoo_cli(*args)
        assert result.exit_code == 5
        assert f"{name} is missing" in result.stderr + result.stdout


def test_a_card_that_boasts_fails_verification(
    broken_copy: Path, zoo_cli: Callable[..., Any]
) -> None:
    card = Bundle.open(broken_copy).card
    Bundle.write(
        broken_copy,
        msgspec.structs.replace(card, test={**card.test, "mse": card.test["mse"] * 0.9}),
    )
    result = zoo_cli("verify", broken_copy)
    assert result.exit_code == 5
    assert "mse is" in result.stdout
    assert "verification failed: linear" in result.stderr
