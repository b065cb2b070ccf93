"""Whether a graph is what its card says: a bundle may be a stranger's, or put together by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.bundle.card import Card
from zoo.runtime.library import ort
from zoo.spec import ImageSpec, TensorSpec

_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


def mismatch(session: ort.InferenceSession, card: Card) -> str:
    """Return how a graph's declared inputs and outputs differ from those of its card, or ""."""
    for graph, specs in (
        (session.get_inputs(), card.inputs),
        (session.get_outputs(), card.outputs),
    ):
        names, expected = [one.name for one in graph], [spec.name for spec in specs]
        if names != expected:
            return f"the graph has {', '.join(names)}, the card {', '.join(expected) or 'none'}"
        for one, spec in zip(graph, specs, strict=True):
            same = len(one.shape) == len(spec.shape) and all(
                a == b or not (isinstance(a, int) and isinstance(b, int))
                for a, b in zip(one.shape, spec.shape, strict=True)
            )
            if not same or one.type != _TYPES.get(spec.dtype):
                return f"the graph's {one.name} is {one.type} {one.shape}, the card's is {spec}"
    return next(_contradictions(card), "")


def _contradictions(card: Card) -> Iterator[str]:
    """Yield what cannot be right on a card, whatever its graph."""
    spec = card.spec
    if isinstance(spec, ImageSpec):
        row: tuple[int, ...] = (spec.size, spec.size, spec.channels)
    else:
        row = (len(spec.columns),)
    if len(card.inputs) != 1 or card.inputs[0].row != row:
        yield f"the card's input is {', '.join(map(str, card.inputs))}, expected rows of {row}"
    count = 1 if card.task == "regression" else 2
    if len(card.outputs) != count:
        yield f"the card has {len(card.outputs)} outputs, a {card.task} has {count}"
    if count == 2 and card.outputs[1].row != (len(card.labels),):
        yield f"the card has {len(card.labels)} labels, its output is {card.outputs[1]}"


def wrong_answer(outputs: Sequence[NDArray[Any]], specs: Sequence[TensorSpec], rows: int) -> str:
    """Return how the outputs of a run with some rows differ from their specs, or ""."""
    for output, spec in zip(outputs, specs, strict=True):
        if output.shape != (rows, *spec.row) or output.dtype != np.dtype(spec.dtype):
            return f"{spec.name} of {rows} rows is {output.dtype} {output.shape}, expected {spec}"
    return ""
