"""Cards and bundles: strict, and a changed file is noticed by everything that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo import cards
from zoo.errors import VerificationError


def test_a_card_comes_back_as_it_was_written(broken_copy: Path) -> None:
    card = cards.read(broken_copy)
    cards.write(broken_copy, card)
    assert cards.read(broken_copy) == card
    shipped = cards.weights_dir() / "linear" / cards.CARD
    assert (broken_copy / cards.CARD).read_bytes() == shipped.read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda card: card.pop("labels"), "missing required field `labels`"),
        (lambda card: card.update(colour="red"), "unknown field `colour`"),
        (lambda card: card["recipe"].pop("epochs"), r"`epochs` - at `\$.recipe`"),
        (lambda card: card["recipe"].update(warmth=1), r"unknown field `warmth` - at `\$.recipe`"),
        (lambda card: card.update(parameters="11"), r"Expected `int`, got `str`"),
        (lambda card: card.update(task="poetry"), "Invalid enum value 'poetry'"),
        (lambda card: card.update(format=2), "card format 2; this zoo reads format 1"),
    ],
)
def test_a_wrong_card_is_refused_by_every_command(
    broken_copy: Path, change: Callable[[Any], Any], reason: str, zoo_cli: Callable[..., Any]
) -> None:
    path = broken_copy / cards.CARD
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(VerificationError, match=reason):
        zoo.card(broken_copy)
    for command in ("info", "verify", "evaluate", "export"):
        result = zoo_cli(command, broken_copy)
        assert result.exit_code == 5, (command, result.stderr)
        assert "Traceback" not in result.stderr


def test_a_torn_card_is_refused(broken_copy: Path) -> None:
    path = broken_copy / cards.CARD
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(VerificationError, match="is no valid card"):
        zoo.card(broken_copy)


@pytest.mark.parametrize("name", [cards.ONNX, cards.WEIGHTS])
def test_a_changed_or_missing_file_is_refused(
    broken_copy: Path, name: str, zoo_cli: Callable[..., Any]
) -> None:
    data = bytearray((broken_copy / name).read_bytes())
    data[-3] ^= 1
    (broken_copy / name).write_bytes(data)
    uses = {cards.ONNX: ("predict", broken_copy, "x.csv"), cards.WEIGHTS: ("export", broken_copy)}
    for args in (uses[name], ("verify", broken_copy)):
        result = zoo_cli(*args)
        assert result.exit_code == 5
        assert f"{name} is not the file its card names" in result.stderr + result.stdout
    (broken_copy / name).unlink()
    for args in (uses[name], ("verify", broken_copy)):
        result = zoo_cli(*args)
        assert result.exit_code == 5
        assert f"{name} is missing" in result.stderr + result.stdout


def test_a_card_that_boasts_fails_verification(
    broken_copy: Path, zoo_cli: Callable[..., Any]
) -> None:
    card = cards.read(broken_copy)
    cards.write(broken_copy, cards.replace(card, test={**card.test, "mse": card.test["mse"] * 0.9}))
    result = zoo_cli("verify", broken_copy)
    assert result.exit_code == 5
    assert "mse is" in result.stdout
    assert "verification failed: linear" in result.stderr
