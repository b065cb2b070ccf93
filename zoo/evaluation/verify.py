"""Verification: is a bundle what its card says? Hashes, contract, and the whole test set again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zoo import cards
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


def verify(bundle: Path, device: str = "auto") -> Verdict:
    """Re-check a bundle's hashes and measure its ONNX file on the whole test set.

    Returns:
        The verdict; a bundle that fails is no exception but a verdict with its problem.

    Raises:
        DeviceError: the device is not there.
    """
    name, claimed, measured = bundle.name, "", ""
    try:
        card = cards.read(bundle)
        name, claimed = card.name, card.score
        cards.check(bundle, card)
        found = evaluate(bundle, device=device)
        again = cards.replace(card, test=found.metrics)
        measured = again.score
        for key, value in card.test.items():
            difference = abs(found.metrics.get(key, float("inf")) - value)
            allowed = ACCURACY_TOLERANCE if key == "accuracy" else RELATIVE_TOLERANCE * abs(value)
            if not difference <= allowed:
                return Verdict(
                    name, claimed, measured,
                    f"{key} is {found.metrics.get(key)}, the card says {value}",
                )  # fmt: skip
    except (DataError, VerificationError) as error:
        return Verdict(name, claimed, measured, str(error))
    return Verdict(name, claimed, measured, "")
