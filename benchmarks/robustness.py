"""Measure the image models on digits as people draw and photograph them: `tests/battery.py`.

    python benchmarks/robustness.py            # measure, write results/robustness.json, the cards
    python benchmarks/robustness.py --cards    # write the cards alone, from the results

Each picture is a PNG file that `zoo.images.decode` reads, as `zoo predict` does: with
`--prepare auto` and, to compare, with `--prepare none`. The pictures are no part of any training
or selection of weights. Takes some minutes on two cores.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import zoo
from zoo import images
from zoo.bundle.card import Robustness
from zoo.bundle.folder import Bundle, shipped
from zoo.errors import DataError
from zoo.spec import ImageSpec

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import battery

RESULTS = Path(__file__).parent / "results" / "robustness.json"
MODELS = [name for name in shipped() if isinstance(zoo.card(name).spec, ImageSpec)]


def main() -> None:
    """Measure, and write what was measured."""
    if "--cards" not in sys.argv:
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(measure()), indent=1) + b"\n")
    result = msgspec.json.decode(RESULTS.read_bytes())
    for name in MODELS:
        bundle = Bundle.open(name)
        card = msgspec.structs.replace(bundle.card, robustness=robustness(result, name))
        if card != bundle.card:
            Bundle.write(bundle.path, card)
        print(f"{name}: {card.robustness}")


def measure(every: int = 1) -> dict[str, Any]:
    """Predict the battery with every image model.

    Args:
        every: of each source of digits every n-th digit is taken.

    Returns:
        For each condition the number of `pictures`; for each model the `wrong` ones of each
        condition as "source digit", and how many of them are wrong with `--prepare none`, `plain`.
    """
    arrays: dict[images.Prepare, list[Any]] = {"auto": [], "none": []}
    spec = zoo.card(MODELS[0]).spec
    assert isinstance(spec, ImageSpec)
    names, digits, conditions = [], [], []
    for source, digit, condition, picture in battery.pictures(every):
        file = io.BytesIO()
        picture.save(file, "PNG")
        names.append(f"{source} {digit}")
        digits.append(digit)
        conditions.append(condition)
        for prepare, decoded in arrays.items():
            try:
                decoded.append(images.decode(file.getvalue(), spec, prepare=prepare))
            except DataError:  # no digit was found: wrong
                decoded.append(None)
    counts = {name: conditions.count(name) for name in dict.fromkeys(conditions)}
    result: dict[str, Any] = {"pictures": counts, "models": {}}
    blank = np.zeros((spec.size, spec.size, spec.channels), np.uint8)
    for name in MODELS:
        session = zoo.Session(name, device="cpu")
        assert session.card.spec == spec
        wrong: dict[str, dict[str, list[str]]] = {}
        for prepare, decoded in arrays.items():
            failed = np.array([array is None for array in decoded])
            inputs = np.stack([blank if array is None else array for array in decoded])
            bad = failed | (session.predict(inputs).indices != np.array(digits))
            wrong[prepare] = {condition: [] for condition in counts}
            for number in np.flatnonzero(bad):
                wrong[prepare][conditions[number]].append(names[number])
        plain = {condition: len(found) for condition, found in wrong["none"].items()}
        result["models"][name] = {"wrong": wrong["auto"], "plain": plain}
    return result


def accuracies(result: Any, model: str, prepare: str = "auto") -> dict[str, float]:
    """Return a model's accuracy under each condition, from what `measure` returned."""
    found, counts = result["models"][model], result["pictures"]
    if prepare == "none":
        return {name: 1 - wrong / counts[name] for name, wrong in found["plain"].items()}
    return {name: 1 - len(wrong) / counts[name] for name, wrong in found["wrong"].items()}


def robustness(result: Any, model: str) -> Robustness:
    """Return what the card of a model says of it."""
    mean, plain = (
        float(np.mean(list(accuracies(result, model, prepare).values())))
        for prepare in ("auto", "none")
    )
    pictures = sum(result["pictures"].values())
    return Robustness(round(mean, 5), round(plain, 5), pictures, len(result["pictures"]))


def table() -> str:
    """Return the accuracies by condition and model in Markdown, without and with preparation."""
    result = msgspec.json.decode(RESULTS.read_bytes())
    before = {model: accuracies(result, model, "none") for model in MODELS}
    after = {model: accuracies(result, model) for model in MODELS}
    lines = [
        f"| condition | {' | '.join(f'`{model}`' for model in MODELS)} | mean |",
        "|---" + "|--:" * (len(MODELS) + 1) + "|",
    ]
    rows: list[tuple[str, list[float], list[float]]] = [
        (condition, *([each[model][condition] for model in MODELS] for each in (before, after)))
        for condition in result["pictures"]
    ]  # fmt: skip
    means = [[float(np.mean(list(each[model].values()))) for model in MODELS]
             for each in (before, after)]  # fmt: skip
    for name, *both in [*rows, ("**mean**", *means)]:
        pairs = zip(*((*values, float(np.mean(values))) for values in both), strict=True)
        cells = [f"{100 * old:.1f} → {100 * new:.1f}" for old, new in pairs]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
