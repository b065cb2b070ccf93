"""Batch inference: sources -> session -> sinks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serve import sources
from serve.sinks import Sink
from zoo.images import Invert
from zoo.progress import Bar
from zoo.session import Prediction, Session


@dataclass
class Tally:
    """What a job did: rows read, rows that failed, the first failure, and the seconds it took."""

    rows: int = 0
    failed: int = 0
    first_error: str = ""
    seconds: float = 0.0


def run(
    session: Session, given: Sequence[str], sink: Sink, *, top: int = 1, invert: Invert = "auto"
) -> Tally:
    """Predict every input in order and write a row for each; a bad input is a row with its error.

    Args:
        session: the model.
        given: files, folders, globs; see `serve.sources.read`.
        sink: takes the rows.
        top: how many classes a row names.
        invert: see `zoo.images.decode`.
    """
    tally = Tally()
    began = time.perf_counter()
    with Bar(f"predict {session.card.name}", sources.count(given)) as bar:
        for block in sources.read(given, session.card.spec, invert):
            sink.write(_rows(block, session.predict(block.inputs), session.card.labels, top))
            tally.rows += len(block.names)
            for name, error in zip(block.names, block.errors, strict=True):
                if error is not None:
                    tally.first_error = tally.first_error or f"{name}: {error}"
                    tally.failed += 1
            tally.seconds = time.perf_counter() - began
            bar.advance(len(block.names), f"{tally.rows / tally.seconds:,.0f} rows/s")
    return tally


def _rows(
    block: sources.Block, found: Prediction, labels: Sequence[str], top: int
) -> list[dict[str, Any]]:
    rows = []
    good = iter(range(len(block.inputs)))
    order = np.argsort(-found.probabilities, axis=1, kind="stable")[:, :top].tolist()
    unknown = {"label": None, "probability": None}
    for name, error in zip(block.names, block.errors, strict=True):
        row: dict[str, Any] = {"source": name}
        place = None if error is not None else next(good)
        if not labels:
            row["prediction"] = None if place is None else float(found.values[place])
        elif place is None:  # the same columns as every other row
            row |= unknown | ({"top": [unknown] * min(top, len(labels))} if top > 1 else {})
        else:
            guesses = [
                {"label": labels[index], "probability": float(found.probabilities[place, index])}
                for index in order[place]
            ]
            row |= guesses[0] | ({"top": guesses} if top > 1 else {})
        rows.append(row | {"error": error})
    return rows
