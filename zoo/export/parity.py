"""The proof of an ONNX file: the same answers as torch, on real data, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.bundle.card import Card, Parity, figure
from zoo.errors import VerificationError, first_line
from zoo.runtime.providers import cpu_session
from zoo.spec import TableSpec

#: fp32: the largest difference allowed between a logit of ONNX Runtime and of torch, both on CPU.
ATOL = 1e-4
#: fp16 and int8 may lose this fraction of accuracy or R2, and of a table model's largest output.
LOST, LOOSE = 0.001, 0.01
BATCHES = (1, 2, 3, 7, 1000)
#: Rows of one run over the test set.
PART = 500

#: Runs an ONNX file over rows, so many at a time; returns its first output.
RunGraph = Callable[[NDArray[Any], int], NDArray[np.float32]]


class Measured(Parity, frozen=True):
    """A file over the whole test set, beside torch in float32: differences and both's metrics."""

    test: dict[str, float]
    fp32: dict[str, float]

    def describe(self, metric: str, precision: str) -> str:
        """Return the figures in one line, with the scores where the precision is not fp32."""
        scores = ""
        if precision != "fp32":
            score, torch = (figure(metric, part[metric]) for part in (self.test, self.fp32))
            scores = f"{precision} {score}, in torch {torch}; "
        return (
            f"{scores}largest difference from torch {self.max_abs_difference:.1e}, same top-1 on "
            f"{self.same_top1:,} of {self.samples:,} test rows"
        )


def filled(rows: NDArray[Any], batch: int) -> NDArray[Any]:
    """Fill up the last batch with the first rows again: some files take whole batches alone."""
    return np.resize(rows, (-(-len(rows) // batch) * batch, *rows.shape[1:]))


def open_graph(graph: bytes) -> RunGraph:
    """Open an ONNX file in ONNX Runtime on the CPU.

    Raises:
        VerificationError: ONNX Runtime does not load it.
    """
    try:
        session = cpu_session(graph)
    except Exception as error:
        reason = first_line(error)
        raise VerificationError(f"ONNX Runtime does not load the ONNX graph: {reason}") from None
    name = session.get_inputs()[0].name

    def run(rows: NDArray[Any], size: int) -> NDArray[np.float32]:
        whole = filled(rows, size)
        parts = (whole[start : start + size] for start in range(0, len(whole), size))
        outputs: NDArray[np.float32] = np.concatenate(
            [session.run(None, {name: part})[0] for part in parts]
        )
        return outputs[: len(rows)]

    return run


def compare(graph: bytes, expected: NDArray[np.float32], samples: NDArray[Any]) -> Parity:
    """Compare an ONNX file with torch, sample by sample and at several batch sizes.

    Args:
        graph: the file.
        expected: torch's first output for the samples.
        samples: raw inputs: the whole test set.

    Raises:
        VerificationError: they do not agree.
    """
    run = open_graph(graph)
    parity = difference(expected, run(samples, PART))
    check_batches(run, samples, expected, check_fp32(expected, parity))
    return parity


def difference(expected: NDArray[Any], outputs: NDArray[Any]) -> Parity:
    """Return how far two outputs of the same rows are apart."""
    same = int((expected.argmax(axis=1) == outputs.argmax(axis=1)).sum())
    return Parity(float(np.abs(expected - outputs).max()), same, len(outputs))


def check_fp32(expected: NDArray[Any], parity: Parity) -> float:
    """Hold a float32 file to torch; return the difference that was allowed.

    Raises:
        VerificationError: a larger difference, or another top-1.
    """
    # A regression's unit is its target's: its tolerance is relative to the outputs.
    limit = ATOL * max(1.0, float(np.abs(expected).max())) if expected.shape[1] == 1 else ATOL
    if not parity.max_abs_difference <= limit or parity.same_top1 != parity.samples:
        raise VerificationError(
            f"the ONNX graph disagrees with torch: largest difference "
            f"{parity.max_abs_difference:.2e} (allowed {limit:.0e}), same top-1 on "
            f"{parity.same_top1} of {parity.samples} samples; nothing was written"
        )
    return limit


def check_lossy(card: Card, measured: Measured, largest: float) -> float:
    """Hold fp16 and int8 to fp32: 0.1 points of accuracy (or R2), 1 % of a table model's outputs.

    Returns:
        The difference that two batch sizes may have: 1 % of the largest output.

    Raises:
        VerificationError: more was lost.
    """
    test, fp32 = measured.test[card.metric], measured.fp32[card.metric]
    far = isinstance(card.spec, TableSpec) and measured.max_abs_difference > LOOSE * largest
    if far or not fp32 - test <= LOST + 1e-9:
        raise VerificationError(
            f"not good enough on the {measured.samples:,} test rows: {card.metric} {test:.4f}, in "
            f"fp32 {fp32:.4f} (allowed {LOST} less), largest difference "
            f"{measured.max_abs_difference:.2e}; nothing was written"
        )
    return LOOSE * largest


def check_batches(
    run: RunGraph, samples: NDArray[Any], expected: NDArray[Any], limit: float
) -> None:
    """Hold each of several batch sizes to the expected outputs.

    Raises:
        VerificationError: one of them gives something else.
    """
    for size in BATCHES:
        rows, want = filled(samples[:size], size), filled(expected[:size], size)
        if not np.abs(run(rows, size) - want).max() <= limit:
            raise VerificationError(f"the ONNX graph gives something else at batch size {size}")
