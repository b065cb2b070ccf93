"""The demo: train a CNN, export it, check the export, predict real digits from files, report."""

from __future__ import annotations

import base64
import html
import shutil
import sys
import time
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from serve.batch.job import Job
from serve.batch.run import run as predict_all
from serve.batch.sinks import Collect
from zoo import hardware, registry
from zoo.bundle.card import Card
from zoo.bundle.folder import Bundle
from zoo.datasets import mnist
from zoo.errors import UsageError, needs_extra
from zoo.files import write_atomic
from zoo.runtime.session import Session

#: The model, how many test digits are written as files, and how many of them the report shows.
MODEL, DIGITS, SHOWN = "cnn", 200, 40


def demo(out: Path, *, epochs: int = 3, device: str = "auto") -> Path:
    """Run the demo into a folder.

    Args:
        out: created if missing; what an earlier demo left there is replaced.
        epochs: of the training; 3 take some ten seconds on two cores.
        device: for training and prediction.

    Returns:
        The path of the report: one HTML file with everything in it.

    Raises:
        UsageError: the folder holds something that is not an earlier demo.
    """
    if out.exists() and any(out.iterdir()) and not (out / "run").is_dir():
        raise UsageError(f"{out} is not empty and holds no earlier demo: give another --out")
    activity = hardware.Activity()  # of other programs, while torch is imported
    with needs_extra("train", "zoo demo"):
        from zoo.training.process import use_free_cores
        from zoo.training.start import train
    run, digits = out / "run", out / "digits"
    for folder in (run, digits):
        shutil.rmtree(folder, ignore_errors=True)

    began = time.perf_counter()
    _print(f"1/4  train {MODEL} on 55,000 MNIST images for {epochs} epochs")
    use_free_cores(activity)
    train(MODEL, registry.get(MODEL).recipe.replace(epochs=epochs, teacher=""), run, device=device)
    card = Bundle.open(run).card
    _print(
        f"2/4  ONNX file written; against torch on {card.parity.samples:,} test images: "
        f"largest difference {card.parity.max_abs_difference:.1e}, "
        f"same answer on {card.parity.same_top1:,}"
    )
    _print(f"3/4  write {DIGITS} real test digits as PNG files and predict the folder")
    labels = _write_digits(digits)
    session, predictions = Session(run, device=device), Collect()
    tally = predict_all(session, [str(digits)], predictions, top=3)
    rows = predictions.rows
    with Job(out / "predictions.csv", {}, resume=False).open() as sink:
        sink.write({name: [row[name] for row in rows] for name in rows[0]})
    right = [row["label"] == labels[Path(row["source"]).name] for row in rows]
    _print(f"     {sum(right)} of {tally.rows} right")
    _print("4/4  write the report")
    _draw(out, session, rows[:SHOWN], right[:SHOWN])
    report = out / "report.html"
    write_atomic(report, _report(out, card))
    _print(f"done in {time.perf_counter() - began:.0f} s: test accuracy {card.score}")
    return report


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write_digits(folder: Path) -> dict[str, str]:
    """Write test digits as PNG files; return the true label of each file name."""
    from PIL import Image

    folder.mkdir(parents=True)
    test = mnist.load_test()
    labels = {}
    for number in range(DIGITS):
        name = f"digit-{number:04d}.png"
        Image.fromarray(test.inputs[number, :, :, 0]).save(folder / name)
        labels[name] = str(test.targets[number])
    return labels


def _draw(out: Path, session: Session, rows: list[dict[str, Any]], right: list[bool]) -> None:
    """Draw the digits with their predictions, and the mistakes with the highest probability."""
    from zoo import plots

    test = mnist.load_test()
    plots.contact_sheet(
        test.inputs[: len(rows)],
        [f"{row['label']}  {100 * row['probability']:.0f} %" for row in rows],
        right,
        out / "digits.png",
    )
    predictions = session.predict(test.inputs)
    wrong = np.flatnonzero(predictions.indices != test.targets)
    confidence = predictions.probabilities[wrong].max(axis=1)
    worst = wrong[np.argsort(-confidence, kind="stable")][:20]
    plots.contact_sheet(
        test.inputs[worst],
        [f"{test.targets[i]} read as {predictions.indices[i]}" for i in worst],
        [False] * len(worst),
        out / "mistakes.png",
    )


def _report(out: Path, card: Card) -> str:
    """Fill in `demo.html`: the card's figures as text, the pictures as data URLs."""
    parity, training = card.parity, card.training
    fields = {
        "name": card.name,
        "title": card.title,
        "lesson": card.lesson,
        "score": card.score,
        "tested": f"{card.dataset.test:,}",
        "parameters": f"{card.parameters:,}",
        "seconds": f"{training.seconds:.1f}",
        "epochs": f"{card.recipe.epochs}",
        "speed": f"{training.images_per_second:,.0f}",
        "hardware": training.hardware,
        "difference": f"{parity.max_abs_difference:.1e}",
        "same": f"{parity.same_top1:,}",
        "compared": f"{parity.samples:,}",
        "command": training.command,
    }
    pictures = {
        path.stem: base64.b64encode(path.read_bytes()).decode()
        for path in (
            out / "run" / "curves.png",
            out / "run" / "confusion.png",
            out / "digits.png",
            out / "mistakes.png",
        )
    }
    template = Template(Path(__file__).with_name("demo.html").read_text(encoding="utf-8"))
    return template.substitute(
        {name: html.escape(value) for name, value in fields.items()}, **pictures
    )
