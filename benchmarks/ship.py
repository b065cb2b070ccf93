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
from zoo.export.bundle import build
from zoo.export.variant import Variant
from zoo.files import sha256, write_atomic

_COPIED = (WEIGHTS, ONNX, LOG, "curves.png", "confusion.png")
#: Ships beside the file of 32 bits where `zoo tune` found it at least 1.5 times as fast, for one
#: row or for 256, so that `--engine auto` can take it where torch is not installed.
INT8 = "model-int8.onnx"
_FASTER = ("softmax", "googlenet", "rnn", "rnn_cell")


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
    bundle = Bundle.write(to, msgspec.structs.replace(best.card, seeds=seeds))
    return (add_int8(bundle) if bundle.card.name in _FASTER else bundle).card


def add_int8(bundle: Bundle) -> Bundle:
    """Export a bundle in int8, into itself.

    Raises:
        VerificationError: it loses too much accuracy.
    """
    write_atomic(bundle.path / INT8, build(bundle, Variant("int8")).graph)
    files = bundle.card.files | {INT8: sha256(bundle.path / INT8)}
    return Bundle.write(bundle.path, msgspec.structs.replace(bundle.card, files=files))


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
