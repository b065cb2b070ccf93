"""The catalogue: one short script per heading of the notes, in `examples/`, in the notes' order.

    zoo.lessons.lessons()               # name, headings, script, files, picture
    zoo.lessons.run("gradient_descent")

A script's docstring is its entry: a first line "中文 · English", a line "Code: file, file" and,
where it draws one, a line "Picture: file.png".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo import language
from zoo.errors import ZooError, needs_extra, unknown

_PACKAGE = Path(__file__).parent.parent
#: All scripts of the folder, in the order of the notes.
ORDER = tuple(
    """
    tensors math_operations autograd optim nn_standard_flow linear_model gradient_descent
    back_propagation linear_regression logistic_regression dataset_and_dataloader
    softmax_classifier gpu loading_mnist weight_initialization basic_cnn inception_block googlenet
    resnet rnn_and_rnn_cell what_goes_wrong looking_inside
    convolution_by_hand conv2d_by_hand max_pool2d_by_hand batch_norm2d_by_hand flatten_by_hand
    linear_by_hand dropout_by_hand activations relu_by_hand tanh_by_hand sigmoid_by_hand
    mse_loss_by_hand bce_loss_by_hand cross_entropy_loss_by_hand nll_loss_by_hand sgd_by_hand
    cnn_by_hand
    """.split()
)


@dataclass(frozen=True)
class Lesson:
    """One heading of the notes.

    Attributes:
        name: of the script, without ".py".
        heading_zh: the heading in Chinese.
        heading_en: the heading in English.
        script: the file to run.
        implements: the files with the code it shows, from the repository's root ("zoo/...").
        picture: the name of the PNG file it draws, or None.
        aim: the first sentence of its text, in the language of `zoo.language`.
    """

    name: str
    heading_zh: str
    heading_en: str
    script: Path
    implements: tuple[str, ...]
    picture: str | None
    aim: str = ""


def folder() -> Path:
    """Return the folder of the scripts: in the wheel, or in the repository."""
    packaged = _PACKAGE / "examples"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "examples"


def names() -> list[str]:
    """Return the names of all lessons, in the order of the notes."""
    return list(ORDER)


def lessons() -> list[Lesson]:
    """Return all lessons in the order of the notes. Reads the scripts, imports none of them.

    Raises:
        ZooError: a script is missing, or its docstring is not an entry.
    """
    return [_read(name) for name in ORDER]


def get(name: str) -> Lesson:
    """Return one lesson: by its name, its number in the notes' order, or a part of its headings.

    Of several that match, the one whose name or heading begins so comes first.

    Raises:
        UsageError: no lesson matches; the nearest one is named. ZooError: as `lessons`.
    """
    if name in ORDER:
        return _read(name)
    if name.isdecimal() and 1 <= int(name) <= len(ORDER):
        return _read(ORDER[int(name) - 1])
    wanted = name.strip().lower()
    matches = []
    for lesson in lessons() if wanted else ():
        texts = [lesson.name, lesson.heading_zh.lower(), lesson.heading_en.lower()]
        if any(wanted in text for text in texts):
            matches.append((not any(text.startswith(wanted) for text in texts), lesson))
    if not matches:
        raise unknown("lesson", name, ORDER)
    return min(matches, key=lambda match: match[0])[1]


def run(name: str) -> None:
    """Run one lesson in this process; it prints its results and the path of its picture.

    Raises:
        UsageError: no lesson has this name. ZooError: torch is not installed.
        VerificationError: two results of the lesson that should agree do not.
    """
    import runpy

    lesson = get(name)
    print(f"{lesson.heading_zh} · {lesson.heading_en}")
    for title, text in (("aim", lesson.aim), ("file", str(lesson.script))):
        if text:
            print(f"{language.translate(title)}: {text}")
    print(flush=True)
    with needs_extra("train", f"lesson {lesson.name!r}"):
        runpy.run_path(str(lesson.script), run_name="__main__")


def _read(name: str) -> Lesson:
    script = folder() / f"{name}.py"
    try:
        source = script.read_text(encoding="utf-8")
        text = ast.get_docstring(ast.parse(source)) or ""
    except FileNotFoundError:
        raise ZooError(f"lesson {name!r}: {script} is missing; reinstall the zoo") from None
    head, *lines = text.splitlines() or [""]
    chinese, _, english = (part.strip() for part in head.partition(" · "))
    code, picture = _field(lines, "Code"), _field(lines, "Picture")
    if not (chinese and english and code):
        raise ZooError(f'{script}: expected a docstring "中文 · English" with a line "Code: ..."')
    files = tuple(part.strip() for part in code.split(","))
    return Lesson(name, chinese, english, script, files, picture or None, _aim(source))


#: Chinese characters and punctuation.
_WIDE = "[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"


def _aim(source: str) -> str:
    """Return the first sentence of a script's Markdown in the language; "" if it has none."""
    _, _, cell = source.partition(f'# %% [markdown] lang="{language.current()}"\n')
    lines = [line.removeprefix("#").strip() for line in cell.partition("# %%")[0].splitlines()]
    text = " ".join(line for line in lines if line and not line.startswith("#"))
    text = re.sub(f"(?<={_WIDE}) (?={_WIDE})", "", text)  # Chinese has no space at a line's end
    first = re.match(r".+?(?:[。！？]|[.!?](?= |$))", text)
    return first[0] if first else ""


def _field(lines: Sequence[str], key: str) -> str:
    values = [line.removeprefix(f"{key}:").strip() for line in lines if line.startswith(f"{key}:")]
    return values[0] if values else ""
