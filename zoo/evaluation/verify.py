"""Verification: a bundle against its card: hashes, and the metrics on the whole test set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zoo.bundle.card import figure
from zoo.bundle.folder import Bundle
from zoo.errors import DataError, VerificationError
from zoo.evaluation.evaluate import evaluate, moved

#: Rounding differs by processor, and with it a borderline row: two rows in 10,000 may.
ACCURACY_TOLERANCE = 2e-4
#: For losses and regression metrics, relative.
RELATIVE_TOLERANCE = 1e-3


class Verdict(NamedTuple):
    """The result for one bundle; `problem` is "" if it verifies."""

    name: str
    card: str
    measured: str
    problem: str


def verify(path: Path, device: str = "auto", data: str = "") -> Verdict:
    """Open a bundle, check its hashes and measure its ONNX file on the whole test set.

    Args:
        path: the bundle's folder, opened here, since a damaged card is a verdict too.
        device: of the session.
        data: where its own data are now; "": where they were.

    Returns:
        The verdict; a bundle that fails has the problem in it, and raises nothing.

    Raises:
        DeviceError: the device is not available.
    """
    name, claimed, measured = path.name, "", ""
    try:
        bundle = Bundle.open(path)
        card = bundle.card
        name, claimed = card.name, card.score
        bundle.check()
        bundle = moved(bundle, data) if data else bundle
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
