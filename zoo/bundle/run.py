"""The records of a run: its model and recipe, and one line per epoch. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from zoo.recipe import Recipe

PLAN, LOG = "recipe.json", "log.jsonl"


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """`recipe.json`: the model and the recipe of a run."""

    model: str
    recipe: Recipe


class EpochLog(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `log.jsonl`; the seconds are training time, without validation."""

    epoch: int
    loss: float
    lr: float
    validation: dict[str, float]
    seconds: float
    images_per_second: float


def plan(run: Path) -> Plan | None:
    """Read `recipe.json`; None if it is missing or damaged."""
    try:
        return msgspec.json.decode((run / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        return None
