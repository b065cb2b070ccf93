"""Comparison of runs: the recipe fields that differ, and the figures. No torch.

zoo compare runs/cnn runs/cnn-2
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from zoo.bundle.card import CARD, figure
from zoo.bundle.folder import Bundle, shipped
from zoo.bundle.run import LOG, plan
from zoo.errors import UsageError, VerificationError, unknown


class Row(NamedTuple):
    """One run; until it has ended `test` and `parameters` are None, `epoch` is the best so far."""

    run: str
    model: str
    recipe: dict[str, Any]
    metric: str
    test: float | None
    validation: float | None
    epoch: int | None
    seconds: float
    parameters: int | None
    #: The validation metric after each epoch.
    history: list[float]


def read(name: str) -> Row:
    """Read a bundle, by name or path, or a run that has not ended.

    Raises:
        UsageError: no such bundle or run. VerificationError: its card or log is damaged.
    """
    path = Path(name)
    bundle, unfinished = None, None if (path / CARD).exists() else plan(path)
    if unfinished is None:
        known = shipped()
        if not path.exists() and path.name == name and name not in known and ":" not in name:
            raise unknown("run or model", name, known)
        bundle = Bundle.open(name)
        path = bundle.path
    log = path / LOG
    try:
        lines = log.read_bytes().splitlines() if log.exists() else []
        epochs: list[dict[str, Any]] = [msgspec.json.decode(line) for line in lines]
        metric = "" if not epochs else "r2" if "r2" in epochs[0]["validation"] else "accuracy"
        history = [float(epoch["validation"][metric]) for epoch in epochs]
        seconds = sum(float(epoch["seconds"]) for epoch in epochs)
    except (msgspec.DecodeError, KeyError, TypeError):
        raise VerificationError(f"{log} is not the log of a training") from None
    if bundle is not None:
        card = bundle.card
        return Row(
            name, card.name, msgspec.structs.asdict(card.recipe), card.metric,
            card.test[card.metric], card.validation[card.metric], card.training.epoch,
            card.training.seconds, card.parameters, history,
        )  # fmt: skip
    assert unfinished is not None
    best = max(history, default=None)
    epoch = None if best is None else history.index(best) + 1
    recipe = msgspec.structs.asdict(unfinished.recipe)
    return Row(name, unfinished.model, recipe, metric, None, best, epoch, seconds, None, history)


def differing(rows: list[Row]) -> list[str]:
    """Return the recipe fields that are not the same in all runs."""
    return [name for name in rows[0].recipe if len({row.recipe[name] for row in rows}) > 1]


def table(rows: list[Row]) -> list[list[str]]:
    """Return the comparison as rows of text, the header first."""
    fields = differing(rows)
    lines = [["run", "model", *fields, "test", "validation", "epoch", "seconds", "parameters"]]
    for row in rows:
        test, validation = (
            "" if value is None else figure(row.metric, value)
            for value in (row.test, row.validation)
        )
        lines.append(
            [
                row.run, row.model, *(f"{row.recipe[name]}" for name in fields),
                test or "unfinished", validation, f"{row.epoch or ''}", f"{row.seconds:.1f}",
                "" if row.parameters is None else f"{row.parameters:,}",
            ]
        )  # fmt: skip
    return lines


def plot(rows: list[Row], path: Path) -> None:
    """Draw the validation metric of each run over its epochs.

    Raises:
        UsageError: the runs have no epoch yet, or not the same metric.
    """
    metrics = sorted({row.metric for row in rows if row.history})
    if len(metrics) != 1:
        have = ", ".join(metrics) or "none yet"
        raise UsageError(f"--plot draws one validation metric, these runs have: {have}")
    from zoo import plots

    plots.validation({row.run: row.history for row in rows}, path, metrics[0])
