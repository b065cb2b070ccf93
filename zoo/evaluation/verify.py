"""Verification: is a bundle what its card says? Hashes, contract, and the whole test set again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zoo.bundle.card import figure
from zoo.bundle.folder import Bundle
from zoo.errors import DataError, VerificationError
from zoo.evaluation.evaluate import evaluate

#: Another processor may round a borderline row to the other side: two rows in 10,000.
ACCURACY_TOLERANCE = 2e-4
#: For losses and regression metrics, relative.
RELATIVE_TOLERANCE = 1e-3


class Verdict(NamedTuple):
    """The result for one bundle: `problem` is "" where all is well."""

    name: str
    card: str
    measured: str
    problem: str


def verify(path: Path, device: str = "auto") -> Verdict:
    """Open a bundle, check its hashes and measure its ONNX file on the whole test set.

    Args:
        path: the bundle's folder. It is opened here, since a damaged card is a verdict too.
        device: where the ONNX file runs.

    Returns:
        The verdict; a bundle that fails raises nothing, its verdict has the problem.

    Raises:
        DeviceError: the device is not there.
    """
    name, claimed, measured = path.name, "", ""
    try:
        bundle = Bundle.open(path)
        card = bundle.card
        name, claimed = card.name, card.score
        bundle.check()
        metrics = evaluate(bundle, device=device).metrics
        measured = figure(card.metric, metrics[card.metric])
        for key, value in card.test.items():
            difference = abs(metrics.get(key, float("inf")) - value)
            allowed = ACCURACY_TOLERANCE if key == "accuracy" else RELATIVE_TOLERANCE * abs(value)
            if not difference <= allowed:
                return Verdict(
                    name, claimed, measured,
                    f"{key} is {metrics.get(key)}, the card says {value}",
                )  # fmt: skip
    except (DataError, VerificationError) as error:
        return Verdict(name, claimed, measured, str(error))
    return Verdict(name, claimed, measured, "")
