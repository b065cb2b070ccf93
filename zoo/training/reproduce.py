"""Does a published figure hold? Train by the card's own recipe and seeds, and compare.

zoo reproduce cnn
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from zoo.bundle.card import CARD, WEIGHTS, Card, Seeds, figure
from zoo.bundle.folder import Bundle
from zoo.bundle.run import Plan, plan
from zoo.errors import UsageError
from zoo.evaluation.evaluate import dataset

#: A figure may be off by twice its standard deviation over seeds, and always by so much.
TOLERANCE = 0.0005


class Trial(NamedTuple):
    """One seed: what the card says and what came out; `weights` speaks of the shipped one's."""

    seed: int
    card: float
    measured: float
    weights: str


class Verdict(NamedTuple):
    """All seeds; `problem` is "" where the figure holds."""

    name: str
    metric: str
    trials: tuple[Trial, ...]
    published: float
    allowed: float
    measured: float
    problem: str


def reproduce(
    bundle: Bundle,
    *,
    seeds: int | None = None,
    out: Path = Path("runs/reproduce"),
    device: str = "auto",
) -> Verdict:
    """Train a bundle's model again, by its card, into `out/MODEL-SEED`.

    The figure holds if the mean over the seeds is within the card's own spread. The weights of the
    shipped seed must come out byte for byte, where hardware, threads and versions are the card's.

    Args:
        bundle: whose figure to check.
        seeds: how many, the shipped one first; by default all that the card names.
        out: where the runs go; one that was stopped goes on, one that ended is taken as it is.
        device: as of `zoo.training.start.train`.

    Raises:
        UsageError: a folder holds another training. Else as `train`.
    """
    card = bundle.card
    if card.recipe.data:
        dataset(bundle)  # not after hours of training on something else
    claim = card.seeds or Seeds(
        metric=card.metric, seeds=(card.recipe.seed,), values=(card.test[card.metric],),
        mean=card.test[card.metric], std=0.0, shipped=card.recipe.seed, why="the only one",
    )  # fmt: skip
    said = dict(zip(claim.seeds, claim.values, strict=True))
    problems, trials = [], []
    for seed in sorted(said, key=lambda seed: seed != claim.shipped)[:seeds]:
        run = _train(card, seed, out / f"{card.name}-{seed}", device)
        again, weights = Bundle.open(run).card, ""
        if seed == claim.shipped:
            weights = "the same bytes"
            if again.files[WEIGHTS] != card.files[WEIGHTS]:
                weights = f"other bytes: {_elsewhere(card, again) or 'on the same machine kind'}"
                if not _elsewhere(card, again):
                    problems.append(f"{run / WEIGHTS} is not the shipped one's bytes")
        trials.append(Trial(seed, said[seed], again.test[claim.metric], weights))
    mean = statistics.mean(trial.measured for trial in trials)
    allowed = max(2 * claim.std, TOLERANCE)
    if abs(mean - claim.mean) > allowed + 1e-9:
        found, published = (figure(claim.metric, value) for value in (mean, claim.mean))
        problems.append(f"{found} is not within the published {published}")
    return Verdict(
        card.name, claim.metric, tuple(trials), claim.mean, allowed, mean, "; ".join(problems)
    )


def table(found: Verdict) -> list[list[str]]:
    """Return the verdict as text, its head first."""
    rows = [["seed", "card", "measured", "weights"]]
    for seed, said, measured, weights in found.trials:
        rows.append([f"{seed}", *(figure(found.metric, v) for v in (said, measured)), weights])
    means = (figure(found.metric, value) for value in (found.published, found.measured))
    allowed = found.allowed * (100 if found.metric == "accuracy" else 1)
    return [*rows, ["mean", *means, f"{found.problem or 'holds'} (+- {allowed:.3g} allowed)"]]


def _train(card: Card, seed: int, run: Path, device: str) -> Path:
    import torch

    from zoo.training import checkpoint, start

    recipe = card.recipe.replace(seed=seed)
    started = plan(run)
    if started is not None and started != Plan(card.name, recipe):
        raise UsageError(f"{run} holds another training than the card's: remove it")
    if (run / CARD).exists():
        print(f"{run} has ended before: taken as it is, remove it to train again", file=sys.stderr)
        return run
    threads = torch.get_num_threads()
    torch.set_num_threads(card.training.threads)  # sums are added up in parts, one a thread
    try:
        if checkpoint.exists(run):
            return start.resume(run, name=card.name, device=device)
        return start.train(card.name, recipe, run, device=device)
    finally:
        torch.set_num_threads(threads)


def _elsewhere(card: Card, again: Card) -> str:
    """Say in what the machine of the card differs from this one."""
    there, here = (
        {"device": each.device, "hardware": each.hardware, "threads": each.threads}
        | {"teacher": each.teacher}
        | each.versions
        for each in (card.training, again.training)
    )
    return ", ".join(
        f"{what} {there.get(what)}, here {here.get(what)}"
        for what in sorted({*there, *here})
        if there.get(what) != here.get(what)
    )
