"""The records of a run: what it was started to train, and a line for each epoch. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from zoo.recipe import Recipe

PLAN, LOG = "recipe.json", "log.jsonl"


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """`recipe.json`: what a run was started to train."""

    model: str
    recipe: Recipe


class EpochLog(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `log.jsonl`. Seconds are those of training alone, without validation."""

    epoch: int
    loss: float
    lr: float
    validation: dict[str, float]
    seconds: float
    images_per_second: float


def plan(run: Path) -> Plan | None:
    """Read what a run was started to train; None where that is not known."""
    try:
        return msgspec.json.decode((run / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        return None
