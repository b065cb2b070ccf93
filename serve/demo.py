"""The tour: train a CNN, export it, prove the export, read real digits from files, show it all."""

from __future__ import annotations

import base64
import html
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from serve.batch.run import run as predict_all
from serve.batch.sinks import Collect, Job
from zoo import datasets, registry
from zoo.bundle.card import Card
from zoo.bundle.folder import Bundle
from zoo.datasets import mnist
from zoo.errors import UsageError, needs_extra
from zoo.files import write_atomic
from zoo.runtime.session import Session

MODEL, DIGITS, SHOWN = "cnn", 200, 40


def demo(out: Path, *, epochs: int = 3, device: str = "auto") -> Path:
    """Run the tour into a folder.

    Args:
        out: made if missing; what an earlier tour left there is replaced.
        epochs: of the training; 3 take some ten seconds on two cores.
        device: for training and prediction.

    Returns:
        The path of the report: one HTML file with everything in it.

    Raises:
        UsageError: the folder holds something that is not an earlier tour.
    """
    if out.exists() and any(out.iterdir()) and not (out / "run").is_dir():
        raise UsageError(f"{out} is not empty and holds no earlier demo: give another --out")
    with needs_extra("train", "zoo demo"):
        from zoo.training.start import train
    run, digits = out / "run", out / "digits"
    for folder in (run, digits):
        shutil.rmtree(folder, ignore_errors=True)

    began = time.perf_counter()
    _say(f"1/4  train {MODEL} on 55,000 MNIST images for {epochs} epochs")
    train(MODEL, registry.get(MODEL).recipe.replace(epochs=epochs, teacher=""), run, device=device)
    card = Bundle.open(run).card
    _say(
        f"2/4  ONNX file written; against torch on {card.parity.samples:,} test images: "
        f"largest difference {card.parity.max_abs_difference:.1e}, "
        f"same answer on {card.parity.same_top1:,}"
    )
    _say(f"3/4  write {DIGITS} real test digits as PNG files and predict the folder")
    answers = _write_digits(digits)
    session = Session(run, device=device)
    found = Collect()
    tally = predict_all(session, [str(digits)], found, top=3)
    with Job(out / "predictions.csv", {}, resume=False).open() as sink:
        sink.write({name: [row[name] for row in found.rows] for name in found.rows[0]})
    right = sum(row["label"] == answers[Path(row["source"]).name] for row in found.rows)
    _say(f"     {right} of {tally.rows} right")
    _say("4/4  write the report")
    report = out / "report.html"
    write_atomic(report, _report(out, card, session, found.rows, answers))
    _say(f"done in {time.perf_counter() - began:.0f} s: test accuracy {card.score}")
    return report


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write_digits(folder: Path) -> dict[str, str]:
    """Write test digits as PNG files; return the true label of each file name."""
    from PIL import Image

    folder.mkdir(parents=True)
    test = mnist.load_test()
    answers = {}
    for number in range(DIGITS):
        name = f"digit-{number:04d}.png"
        Image.fromarray(test.inputs[number, :, :, 0]).save(folder / name)
        answers[name] = str(test.targets[number])
    return answers


def _report(
    out: Path,
    card: Card,
    session: Session,
    rows: list[dict[str, Any]],
    answers: dict[str, str],
) -> str:
    from zoo import plots

    digits = mnist.load_test()
    plots.contact_sheet(
        digits.inputs[:SHOWN],
        [f"{row['label']}  {100 * row['probability']:.0f} %" for row in rows[:SHOWN]],
        [row["label"] == answers[Path(row["source"]).name] for row in rows[:SHOWN]],
        out / "digits.png",
    )
    test = datasets.load(card.dataset.name).test
    found = session.predict(test.inputs)
    wrong = np.flatnonzero(found.indices != test.targets)
    sure = found.probabilities[wrong].max(axis=1)
    worst = wrong[np.argsort(-sure, kind="stable")][:20]
    plots.contact_sheet(
        test.inputs[worst],
        [f"{test.targets[i]} read as {found.indices[i]}" for i in worst],
        [False] * len(worst),
        out / "mistakes.png",
    )
    parity, training = card.parity, card.training
    facts = {
        "Test accuracy · 测试准确率": f"{card.score} of {card.dataset.test:,} images",
        "Parameters · 参数": f"{card.parameters:,}",
        "Training · 训练": f"{training.seconds:.1f} s, {card.recipe.epochs} epochs, "
        f"{training.images_per_second:,.0f} images/s, {training.hardware}",
        "ONNX against torch · 导出一致性": f"largest logit difference "
        f"{parity.max_abs_difference:.1e}, same answer on {parity.same_top1:,} of "
        f"{parity.samples:,} test images",
        "Made by · 命令": training.command,
    }
    table = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
        for key, value in facts.items()
    )
    pictures = [
        ("Training curves · 训练曲线", out / "run" / "curves.png", ""),
        (
            "Digits read from PNG files · 读自 PNG 文件的数字",
            out / "digits.png",
            "The answer and its probability; a wrong answer is orange. 橙色为错误答案。",
        ),
        ("Confusion matrix · 混淆矩阵", out / "run" / "confusion.png", ""),
        (
            "The most confident mistakes · 最自信的错误",
            out / "mistakes.png",
            "True label, then what the model read. 真实标签与模型的答案。",
        ),
    ]
    figures = "".join(
        f"<h2>{title}</h2>{f'<p>{note}</p>' if note else ''}"
        f'<img alt="{title}" src="data:image/png;base64,'
        f'{base64.b64encode(path.read_bytes()).decode()}">'
        for title, path, note in pictures
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{card.name} · {card.score}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; color: #1b1b1b; background: #fff }}
h1 {{ margin-bottom: 0 }} h2 {{ margin: 2rem 0 .3rem; font-size: 1.15rem }}
th {{ text-align: left; padding-right: 1.5rem; font-weight: 600; vertical-align: top }}
img {{ max-width: 100%; height: auto }} p {{ margin: .2rem 0; color: #555 }}
</style>
<h1>{html.escape(card.title)}</h1><p>{html.escape(card.lesson)}</p>
<table>{table}</table>{figures}
</html>
"""
