"""Reproduction: train by a card's own recipe and seeds, and compare with its figures.

zoo reproduce cnn
"""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from zoo.bundle.card import CARD, WEIGHTS, Card, Seeds, figure
from zoo.bundle.folder import Bundle
from zoo.bundle.run import Plan, plan
from zoo.errors import UsageError
from zoo.evaluation.evaluate import dataset

#: A figure may differ by twice its standard deviation over seeds, and always by what chance alone
#: explains; of an R2 that is this much.
TOLERANCE = 0.0005


class Trial(NamedTuple):
    """One seed: the card's figure and the measured one.

    `weights`: how those of the shipped seed compare with the shipped file; "" for other seeds.
    """

    seed: int
    card: float
    measured: float
    weights: str


class Verdict(NamedTuple):
    """All seeds; `published` and `measured` are means over them.

    `allowed`: by how much these may differ; `problem`: "" where the figure is reproduced.
    """

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

    The figure is reproduced if the mean over the seeds is within the card's own spread. The weights
    of the shipped seed must have the same bytes, where hardware, threads and versions are the same.

    Args:
        bundle: its figure is checked.
        seeds: how many to train with, the shipped one first; by default all of the card's.
        out: the folder of the runs; one that was stopped is resumed, one that has ended is used.
        device: as in `zoo.training.start.train`.

    Raises:
        UsageError: a folder holds another training, or the weights were imported. Else as `train`.
    """
    card = bundle.card
    if card.training.imported:
        raise UsageError(f"{bundle.path}: its weights were imported, not trained by its recipe")
    if card.recipe.data:
        dataset(bundle)  # other data are an error now, and not after hours of training
    claim = card.seeds or Seeds(
        metric=card.metric, seeds=(card.recipe.seed,), values=(card.test[card.metric],),
        mean=card.test[card.metric], std=0.0, shipped=card.recipe.seed, why="the only one",
    )  # fmt: skip
    published = dict(zip(claim.seeds, claim.values, strict=True))
    problems, trials = [], []
    for seed in sorted(published, key=lambda seed: seed != claim.shipped)[:seeds]:
        run = _train(card, seed, out / f"{card.name}-{seed}", device)
        measured, weights = Bundle.open(run).card, ""
        if seed == claim.shipped:
            weights = "the same bytes"
            if measured.files[WEIGHTS] != card.files[WEIGHTS]:
                differences = _differences(card, measured)
                weights = f"other bytes: {differences or 'on the same machine kind'}"
                if not differences:
                    problems.append(f"{run / WEIGHTS} does not have the bytes of the shipped file")
        trials.append(Trial(seed, published[seed], measured.test[claim.metric], weights))
    mean = statistics.mean(trial.measured for trial in trials)
    allowed = max(2 * claim.std, _chance(card, claim))
    if abs(mean - claim.mean) > allowed + 1e-9:
        problems.append(
            f"{figure(claim.metric, mean)} is not within the published "
            f"{figure(claim.metric, claim.mean)}"
        )
    return Verdict(
        card.name, claim.metric, tuple(trials), claim.mean, allowed, mean, "; ".join(problems)
    )


def _chance(card: Card, claim: Seeds) -> float:
    """Return what chance alone explains: two standard errors of an accuracy on so many rows."""
    if claim.metric != "accuracy":
        return TOLERANCE
    share = min(max(claim.mean, 1 / card.dataset.test), 1 - 1 / card.dataset.test)
    return 2 * math.sqrt(share * (1 - share) / card.dataset.test)


def table(verdict: Verdict) -> list[list[str]]:
    """Return the verdict as rows of text, the header first."""
    metric = verdict.metric
    rows = [
        [f"{seed}", figure(metric, published), figure(metric, measured), weights]
        for seed, published, measured, weights in verdict.trials
    ]
    allowed = verdict.allowed * (100 if metric == "accuracy" else 1)
    outcome = f"{verdict.problem or 'holds'} (+- {allowed:.3g} allowed)"
    means = figure(metric, verdict.published), figure(metric, verdict.measured)
    return [["seed", "card", "measured", "weights"], *rows, ["mean", *means, outcome]]


def _train(card: Card, seed: int, run: Path, device: str) -> Path:
    import torch

    from zoo.training import checkpoint, start

    recipe = card.recipe.replace(seed=seed)
    started = plan(run)
    if started is not None and started != Plan(card.name, recipe):
        raise UsageError(f"{run} holds another training than the card's: remove it")
    if (run / CARD).exists():
        print(f"{run} is a finished run and is used: remove it to train again", file=sys.stderr)
        return run
    threads = torch.get_num_threads()
    torch.set_num_threads(
        card.training.threads
    )  # each adds up its part of a sum: the order decides the rounding
    try:
        if checkpoint.exists(run):
            return start.resume(run, name=card.name, device=device)
        return start.train(card.name, recipe, run, device=device)
    finally:
        torch.set_num_threads(threads)


def _differences(card: Card, measured: Card) -> str:
    """Return in what the conditions of two trainings differ, as text."""
    published, here = (
        {"device": training.device, "hardware": training.hardware}
        | {"on": training.threads_text, "teacher": training.teacher}
        | training.versions
        for training in (card.training, measured.training)
    )
    return ", ".join(
        f"{name} {published.get(name)}, here {here.get(name)}"
        for name in sorted({*published, *here})
        if published.get(name) != here.get(name)
    )
