"""Ship a model: copy the run that is best on validation, with the figures of all seeds on its card.

python benchmarks/ship.py runs/weights/cnn-[0-9] --to weights/cnn

A maintainers' script; `make weights` calls it after it has trained one run for each seed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from zoo.bundle.card import ONNX, WEIGHTS, Card, Seeds
from zoo.bundle.folder import Bundle
from zoo.bundle.run import LOG
from zoo.errors import UsageError, ZooError

_COPIED = (WEIGHTS, ONNX, LOG, "curves.png", "confusion.png")


def summarize(bundles: Sequence[Bundle]) -> Seeds:
    """Sum up runs of one recipe with several seeds; the best on validation is the one to ship.

    Raises:
        UsageError: fewer than two, not the same model and recipe, or a seed twice.
    """
    cards = sorted((bundle.card for bundle in bundles), key=lambda card: card.recipe.seed)
    if len(cards) < 2:
        raise UsageError(f"expected two or more finished runs, given {len(cards)}")
    recipes = {(card.name, card.recipe.replace(seed=0), card.dataset.sha256) for card in cards}
    seeds = tuple(card.recipe.seed for card in cards)
    if len(recipes) > 1 or len({*seeds}) < len(seeds):
        raise UsageError("expected runs of one model and recipe, with another seed each")
    metric = cards[0].metric
    values = tuple(card.test[metric] for card in cards)
    best = max(cards, key=_validation)  # never by the test set
    return Seeds(
        metric=metric,
        seeds=seeds,
        values=values,
        mean=statistics.mean(values),
        std=statistics.stdev(values),
        shipped=best.recipe.seed,
        why=f"best of {len(cards)} seeds on the validation split",
    )


def _validation(card: Card) -> tuple[float, ...]:
    metrics = card.validation
    return (-metrics["mse"],) if card.metric == "r2" else (metrics["accuracy"], -metrics["loss"])


def ship(bundles: Sequence[Bundle], to: Path) -> Card:
    """Copy the run that is best on validation to `to`, with all seeds' figures on its card.

    Raises:
        UsageError: as `summarize`. VerificationError: a file does not match its card.
    """
    seeds = summarize(bundles)
    (best,) = (bundle for bundle in bundles if bundle.card.recipe.seed == seeds.shipped)
    best.check()
    to.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (best.path / name).exists():
            shutil.copyfile(best.path / name, to / name)
    return Bundle.write(to, msgspec.structs.replace(best.card, seeds=seeds)).card


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ship the run that is best on validation.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Finished runs, one for each seed.")
    parser.add_argument(
        "--to", required=True, type=Path, metavar="DIR", help="The bundle's folder."
    )
    args = parser.parse_args()
    try:
        card = ship([Bundle.open(run) for run in args.runs], args.to)
    except ZooError as error:
        print(f"ship: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(args.to)
    print(f"{card.name}: seed {card.recipe.seed}, {card.score} {card.spread}", file=sys.stderr)
