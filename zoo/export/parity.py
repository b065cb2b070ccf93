"""Parity: an ONNX file has torch's outputs, on the whole test set and at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.bundle.card import Card, Parity, figure
from zoo.errors import VerificationError, first_line
from zoo.runtime.providers import cpu_session
from zoo.spec import TableSpec, TensorSpec

#: fp32: the largest difference between a logit of ONNX Runtime and of torch, both on the CPU. Where
#: the numbers are larger, so is their rounding: then it is the greatest of this, of the fraction
#: `RTOL` of the largest output (float32 holds 1.2e-7 of a number, and a sum loses more), and of
#: `OWN` times torch's own error, measured against the same network in float64. A regression's unit
#: is its target's: its tolerance is `ATOL` of the largest output.
ATOL, RTOL, OWN = 1e-4, 2e-6, 4.0
#: fp16 and int8: how much lower accuracy or R2 may be, and the largest difference allowed, as a
#: fraction of the largest output (of table models, and between batch sizes).
MAX_LOSS, MAX_DIFFERENCE = 0.001, 0.01
BATCHES = (1, 2, 3, 7, 1000)
#: Rows of one run over the test set.
ROWS = 500

#: Runs an ONNX file on rows, a number of them at a time; returns its first output.
RunGraph = Callable[[NDArray[Any], int], NDArray[np.float32]]


class Measured(Parity, frozen=True):
    """A file on the whole test set against torch in float32: parity, and the metrics of both."""

    test: dict[str, float]
    fp32: dict[str, float]

    def describe(self, metric: str, precision: str) -> str:
        """Return the figures in one line, with the scores where the precision is not fp32."""
        scores = ""
        if precision != "fp32":
            score, torch = (figure(metric, part[metric]) for part in (self.test, self.fp32))
            scores = f"{precision} {score}, in torch {torch}; "
        rows = "test rows" if self.test else "generated inputs"
        return (
            f"{scores}largest difference from torch {self.max_abs_difference:.1e}, same top-1 on "
            f"{self.same_top1:,} of {self.samples:,} {rows}"
        )


def filled(rows: NDArray[Any], batch: int) -> NDArray[Any]:
    """Fill the last batch with the first rows: a file with a fixed batch takes no fewer."""
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
        padded = filled(rows, size)
        batches = (padded[start : start + size] for start in range(0, len(padded), size))
        outputs: NDArray[np.float32] = np.concatenate(
            [session.run(None, {name: batch})[0] for batch in batches]
        )
        return outputs[: len(rows)]

    return run


def compare(
    graph: bytes, expected: NDArray[np.float32], samples: NDArray[Any], own_error: float = 0.0
) -> Parity:
    """Compare an ONNX file with torch, sample by sample and at several batch sizes.

    Args:
        graph: the file.
        expected: torch's first output for the samples, float32 [n, classes] or [n, 1].
        samples: raw inputs: the whole test set.
        own_error: of torch in float32, against float64.

    Raises:
        VerificationError: they differ by more than is allowed.
    """
    run = open_graph(graph)
    outputs = run(samples, run_rows(samples))
    parity = difference(expected, outputs)
    check_batches(run, samples, expected, check_fp32(expected, outputs, parity, own_error))
    return parity


def run_rows(samples: NDArray[Any], most: int = ROWS) -> int:
    """Return how many samples to run at a time, within the memory for one run."""
    return TensorSpec("", "", ("batch", *samples.shape[1:])).rows(most)


def difference(expected: NDArray[Any], outputs: NDArray[Any]) -> Parity:
    """Return the difference between two outputs [n, classes] of the same rows."""
    same = int((expected.argmax(axis=1) == outputs.argmax(axis=1)).sum())
    return Parity(float(np.abs(expected - outputs).max()), same, len(outputs))


def rounding(expected: NDArray[Any], own_error: float = 0.0, relative: float = RTOL) -> float:
    """Return what rounding explains of a float32 file's difference from torch; see `ATOL`."""
    return max(relative * float(np.abs(expected).max(initial=0.0)), OWN * own_error)


def check_fp32(
    expected: NDArray[Any], outputs: NDArray[Any], parity: Parity, own_error: float = 0.0
) -> float:
    """Check a float32 file against torch; return the difference that is allowed, see `ATOL`.

    Raises:
        VerificationError: a larger difference, or another top-1 where torch's own two outputs are
            further apart than rounding explains.
    """
    explained = rounding(expected, own_error, ATOL if expected.shape[1] == 1 else RTOL)
    limit = max(ATOL, explained)
    row = np.arange(len(expected))
    lead = expected.max(axis=1) - expected[row, outputs.argmax(axis=1)]  # 0 where top-1 agrees
    if not parity.max_abs_difference <= limit or (lead > 2 * explained).any():
        raise VerificationError(
            f"the ONNX graph disagrees with torch: largest difference "
            f"{parity.max_abs_difference:.2e} (allowed {limit:.1e}), same top-1 on "
            f"{parity.same_top1} of {parity.samples} samples"
        )
    return limit


def check_lossy(card: Card, measured: Measured, largest: float) -> float:
    """Check fp16 or int8 against fp32; see `MAX_LOSS` and `MAX_DIFFERENCE`.

    Returns:
        The difference that is allowed between two batch sizes.

    Raises:
        VerificationError: the accuracy or R2 is too low, or the difference too large.
    """
    test, fp32 = measured.test[card.metric], measured.fp32[card.metric]
    limit = MAX_DIFFERENCE * largest
    too_far = isinstance(card.spec, TableSpec) and measured.max_abs_difference > limit
    if too_far or not fp32 - test <= MAX_LOSS + 1e-9:
        raise VerificationError(
            f"not good enough on the {measured.samples:,} test rows: {card.metric} {test:.4f}, in "
            f"fp32 {fp32:.4f} (allowed {MAX_LOSS} less), largest difference "
            f"{measured.max_abs_difference:.2e}"
        )
    return limit


def check_batches(
    run: RunGraph, samples: NDArray[Any], expected: NDArray[Any], limit: float
) -> None:
    """Check that the outputs do not depend on the batch size.

    Raises:
        VerificationError: they do.
    """
    for size in sorted({run_rows(samples, size) for size in BATCHES}):
        rows, want = filled(samples[:size], size), filled(expected[:size], size)
        if not np.abs(run(rows, size) - want).max() <= limit:
            raise VerificationError(f"the ONNX graph's outputs differ at batch size {size}")
