"""Pictures: training curves, confusion matrix, predictions, contact sheets. PNG files."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from zoo.bundle.run import EpochLog

#: Fonts for class names in Chinese: the first one installed is used.
_CHINESE = (
    "CJK", "YaHei", "PingFang", "WenQuanYi", "Source Han", "SimHei", "SimSun", "Heiti", "Hiragino",
)  # fmt: skip
_FONTS = sorted(f for f in font_manager.get_font_names() if any(part in f for part in _CHINESE))
mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
mpl.rcParams["font.family"] = ["DejaVu Sans", *_FONTS[:1]]
# matplotlib 3.11 writes a line for each text in a font that has one weight only, as most of these
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
_BLUE, _ORANGE = "#2563a8", "#c2571a"


def curves(history: Sequence[EpochLog], kept: int, path: Path, title: str) -> None:
    """Draw training loss and validation metric by epoch; `kept` marks the selected epoch."""
    epochs = [log.epoch for log in history]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    style = {"marker": "o", "markersize": 3} if len(epochs) < 40 else {}
    left.plot(epochs, [log.loss for log in history], color=_BLUE, **style)
    left.set(title="training loss", xlabel="epoch", yscale="log")
    key, unit, name = ("accuracy", 100, "validation accuracy, %")
    if key not in history[-1].validation:
        key, unit, name = ("r2", 1, "validation R2")
    values = [unit * log.validation[key] for log in history]
    right.plot(epochs, values, color=_ORANGE, **style)
    right.axvline(kept, color="0.6", linewidth=1, zorder=0)
    right.set(title=f"{name}: {values[kept - 1]:.4g} (epoch {kept})", xlabel="epoch")
    if len(values) > 3:  # the low values of the first epochs would flatten the rest
        low, high = float(np.percentile(values, 15)), max(values)
        right.set_ylim(low - 0.1 * (high - low) - 1e-3, high + 0.1 * (high - low) + 1e-3)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    _save(figure, path)


def validation(runs: Mapping[str, Sequence[float]], path: Path, metric: str) -> None:
    """Draw the validation metric of several runs over their epochs."""
    unit, name = (100, "validation accuracy, %") if metric == "accuracy" else (1, "validation R2")
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for run, values in runs.items():
        style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(values) < 40 else {}
        axes.plot(range(1, len(values) + 1), [unit * v for v in values], label=run, **style)
    axes.set(title=name, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    _save(figure, path)


def confusion(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], path: Path, title: str
) -> None:
    """Draw a confusion matrix with its counts; only errors are colored, so that they stand out."""
    counts = np.array(matrix)
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    side = max(3.6, 0.5 * len(labels) + 1.4)
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(1, wrong.max() * 1.3))
    for i, j in np.ndindex(*counts.shape):
        if counts[i, j]:
            weight = "bold" if i != j else "normal"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=8, weight=weight)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(labels)), labels, rotation=45 if max(map(len, labels)) > 3 else 0)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _save(figure, path)


def predictions(predicted: NDArray[Any], true: NDArray[Any], path: Path, title: str) -> None:
    """Draw predicted against true values of a regression, float [n], with the diagonal."""
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes = figure.subplots()
    ends = [min(predicted.min(), true.min()), max(predicted.max(), true.max())]
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.scatter(true, predicted, s=14, color=_BLUE, alpha=0.7)
    axes.set(title=f"{title}: test rows", xlabel="true", ylabel="predicted")
    axes.grid(alpha=0.25)
    _save(figure, path)


def bars(groups: Mapping[str, Mapping[str, float]], path: Path, *, title: str, x: str) -> None:
    """Draw groups of horizontal bars: the value of each kind in each group; a line marks 1."""
    kinds = list(dict.fromkeys(kind for group in groups.values() for kind in group))
    figure = Figure(figsize=(7.5, 1.2 + 0.2 * len(groups) * len(kinds)), layout="constrained")
    axes = figure.subplots()
    colors, height = mpl.colormaps["tab10"], 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        values = [group.get(kind, 0.0) for group in groups.values()]
        places = [place + number * height for place in range(len(groups))]
        axes.barh(places, values, height=0.9 * height, label=kind, color=colors(number % 10))
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(groups))], list(groups))
    axes.invert_yaxis()
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set(title=title, xlabel=x)
    axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    _save(figure, path)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: Path,
    *,
    title: str,
    x: str,
    y: str,
) -> None:
    """Draw named lines, each (xs, ys), on logarithmic axes."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    colors = mpl.colormaps["tab10"]
    for number, (name, (xs, ys)) in enumerate(series.items()):
        style = "-" if number < 10 else "--"
        axes.plot(xs, ys, style, marker="o", markersize=3, label=name, color=colors(number % 10))
    axes.set(title=title, xlabel=x, ylabel=y, xscale="log", yscale="log")
    ticks = sorted({value for xs, _ in series.values() for value in xs})
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    _save(figure, path)


def contact_sheet(
    images: NDArray[np.uint8], captions: Sequence[str], right: Sequence[bool], path: Path
) -> None:
    """Draw small images in rows of ten, each with its caption; wrong ones in orange.

    images: uint8 [n, height, width, channels].
    """
    columns = 10
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(columns * 0.9, rows * 1.1), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, caption, good in zip(grid.flat, images, captions, right, strict=False):
        axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=8, color="black" if good else _ORANGE, pad=2)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(path, dpi=110, metadata={"Software": None})
    missing = [warning for warning in caught if str(warning.message).startswith("Glyph")]
    for warning in caught:
        if warning not in missing:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if missing:
        print(
            f"zoo: {path}: no font here has all characters, boxes stand for the others; install "
            f"one for Chinese, such as Noto Sans CJK (Debian, Ubuntu: fonts-noto-cjk)",
            file=sys.stderr,
        )
