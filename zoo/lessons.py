"""The lessons: one short script per heading of the notes, in `examples/`.

    zoo.lessons.lessons()               # name, headings, script, what implements it, picture
    zoo.lessons.run("gradient_descent")

A script's docstring is its entry: a first line "中文 · English", a line "Code: file, file" and,
where it draws one, a line "Picture: file.png". What stands below `run` here is what the scripts
share. Importing this module imports no torch.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import VerificationError, ZooError, needs_extra, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PACKAGE = Path(__file__).parent
#: The order of the notes; every script of the folder is in it.
ORDER = (
    "tensors",
    "math_operations",
    "autograd",
    "optim",
    "nn_standard_flow",
    "linear_model",
    "gradient_descent",
    "back_propagation",
    "linear_regression",
    "logistic_regression",
    "dataset_and_dataloader",
    "softmax_classifier",
    "gpu",
    "loading_mnist",
    "basic_cnn",
    "inception_block",
    "googlenet",
    "resnet",
    "rnn_and_rnn_cell",
    "conv2d_by_hand",
    "max_pool2d_by_hand",
    "batch_norm2d_by_hand",
    "flatten_by_hand",
    "linear_by_hand",
    "dropout_by_hand",
    "relu_by_hand",
    "tanh_by_hand",
    "sigmoid_by_hand",
    "mse_loss_by_hand",
    "bce_loss_by_hand",
    "cross_entropy_loss_by_hand",
    "nll_loss_by_hand",
    "sgd_by_hand",
    "cnn_by_hand",
)


@dataclass(frozen=True)
class Lesson:
    """One heading of the notes.

    Attributes:
        name: the script's name without ".py".
        heading_zh: the heading in Chinese.
        heading_en: the heading in English.
        script: the file to run.
        implements: the files that hold what it shows, from the repository's root ("zoo/...").
        picture: the name of the PNG file it draws, or None.
    """

    name: str
    heading_zh: str
    heading_en: str
    script: Path
    implements: tuple[str, ...]
    picture: str | None


def folder() -> Path:
    """Return the folder of the scripts: inside the wheel, or the repository's own."""
    inside = _PACKAGE / "examples"
    return inside if inside.is_dir() else _PACKAGE.parent / "examples"


def lessons() -> list[Lesson]:
    """Return all lessons in the order of the notes. Reads the scripts, imports none of them.

    Raises:
        ZooError: a script is missing, or its docstring is not an entry.
    """
    return [_read(name) for name in ORDER]


def get(name: str) -> Lesson:
    """Return one lesson.

    Raises:
        UsageError: no lesson has this name; the nearest one is named. ZooError: as `lessons`.
    """
    if name not in ORDER:
        raise unknown("lesson", name, ORDER)
    return _read(name)


def run(name: str) -> None:
    """Run one lesson in this process; it prints what it shows and says where its picture is.

    Raises:
        UsageError: no lesson has this name. ZooError: torch is not installed.
        VerificationError: what the lesson claims does not hold.
    """
    import runpy

    script = get(name).script
    with needs_extra("train", f"lesson {name!r}"):
        runpy.run_path(str(script), run_name="__main__")


def figure(width: float = 5.6, height: float = 3.4) -> Figure:
    """Return an empty figure (inches) in the style of `zoo.plots`."""
    from matplotlib.figure import Figure

    import zoo.plots  # noqa: F401 - it sets the style

    return Figure(figsize=(width, height), layout="constrained")


def picture_path(name: str) -> Path:
    """Return where a lesson's picture goes, and say so: `lesson-output/` or $ZOO_LESSON_OUTPUT."""
    path = Path(os.environ.get("ZOO_LESSON_OUTPUT") or "lesson-output") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"picture: {path}")
    return path


def save(picture: Figure | Path, name: str) -> None:
    """Save a figure, or a copy of a PNG file, as a lesson's picture: in 256 colours, so small."""
    import io

    from PIL import Image

    source: io.BytesIO | Path = io.BytesIO()
    if isinstance(picture, Path):
        source = picture
    else:
        picture.savefig(source, dpi=90)
    with Image.open(source) as image:
        image.convert("RGB").quantize(256).save(picture_path(name), optimize=True)


def agree(what: str, ours: Any, theirs: Any, tolerance: float = 1e-5) -> float:
    """Print and return the largest difference of two arrays of one shape (NumPy, torch, lists).

    Raises:
        VerificationError: the shapes differ, or the difference is above `tolerance` or NaN.
    """
    import numpy as np

    left, right = (
        np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, np.float64)
        for value in (ours, theirs)
    )
    if left.shape != right.shape:
        raise VerificationError(f"{what}: shapes {left.shape} and {right.shape}")
    largest = float(np.abs(left - right).max(initial=0.0))
    print(f"{what:<28} {left.shape!s:<18} largest difference {largest:.1e}")
    if not largest <= tolerance:
        raise VerificationError(f"{what}: largest difference {largest}, expected <= {tolerance}")
    return largest


def beside(layer: Any, peer: Any, x: Any) -> tuple[Any, Any, Any]:
    """Run a layer by hand and torch's own, forward and backward, and print how far they agree.

    Args:
        layer: of `zoo.scratch`; its state is copied into `peer`.
        peer: the `torch.nn` module of the same arguments.
        x: float64, the input of both.

    Returns:
        y, dy (drawn at random) and dx of the layer by hand, arrays.

    Raises:
        VerificationError: an output or a gradient differs by more than 1e-10.
    """
    import numpy as np
    import torch

    peer.double().load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in layer.state_dict().items()}
    )
    given = torch.tensor(x, requires_grad=True)
    y, expected = layer(x), peer(given)
    dy = np.random.default_rng(0).standard_normal(y.shape)
    dx = layer.backward(dy)
    expected.backward(torch.from_numpy(dy))
    agree("y", y, expected, 1e-10)
    agree("dx", dx, given.grad, 1e-10)
    for (name, ours), theirs in zip(layer.named_parameters(), peer.parameters(), strict=True):
        agree(f"d {name}", ours.grad, theirs.grad, 1e-10)
    return y, dy, dx


def beside_loss(criterion: Any, peer: Any, outputs: Any, targets: Any) -> tuple[float, Any]:
    """Run a loss by hand and torch's own, forward and backward, and print how far they agree.

    Returns:
        The loss and its gradient by hand.

    Raises:
        VerificationError: one of them differs by more than 1e-10.
    """
    import torch

    given = torch.tensor(outputs, requires_grad=True)
    loss, expected = criterion(outputs, targets), peer(given, torch.from_numpy(targets))
    gradient = criterion.backward()
    expected.backward()
    agree("loss", loss, expected, 1e-10)
    agree("d outputs", gradient, given.grad, 1e-10)
    return float(loss), gradient


def _read(name: str) -> Lesson:
    script = folder() / f"{name}.py"
    try:
        text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    except FileNotFoundError:
        raise ZooError(f"lesson {name!r}: {script} is missing; install the zoo again") from None
    head, *lines = text.splitlines() or [""]
    chinese, _, english = (part.strip() for part in head.partition(" · "))
    code, picture = _field(lines, "Code"), _field(lines, "Picture")
    if not (chinese and english and code):
        raise ZooError(f'{script}: expected a docstring "中文 · English" with a line "Code: ..."')
    files = tuple(part.strip() for part in code.split(","))
    return Lesson(name, chinese, english, script, files, picture or None)


def _field(lines: Sequence[str], key: str) -> str:
    found = [line.removeprefix(f"{key}:").strip() for line in lines if line.startswith(f"{key}:")]
    return found[0] if found else ""
