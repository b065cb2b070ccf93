"""The stub: the file that a student fills in, in the language of the zoo."""

from __future__ import annotations

import textwrap
from pathlib import Path

from zoo.errors import UsageError
from zoo.exercises.exercise import Exercise, Function, Text
from zoo.files import write_atomic

_HEAD = Text(
    "练习：{title}\n\n写完后运行：zoo check {file}\n先看这一课：zoo lesson {lesson}",
    "Exercise: {title}.\n\nWhen it is written: zoo check {file}\nThe lesson: zoo lesson {lesson}",
)


def text(exercise: Exercise, file: str = "FILE") -> str:
    """Return the source text of a stub; `file` is its name in the instructions."""
    head = str(_HEAD).format(title=exercise.title, file=file, lesson=exercise.lesson)
    if exercise.stub is not None:
        return str(exercise.stub).format(head=head)
    parts = [head, textwrap.indent(str(exercise.formulas), "    ")]
    parts += [str(exercise.notes)] if exercise.notes else []
    lines = ['r"""' + "\n\n".join(parts), '"""', "", "import numpy as np", ""]
    lines += [f'EXERCISE = "{exercise.name}"']
    for function in exercise.functions:
        lines += ["", "", *_function(function)]
    return "\n".join(lines) + "\n"


def write(exercise: Exercise, path: Path, *, force: bool = False) -> None:
    """Write a stub to a file.

    Raises:
        UsageError: the file exists, and `force` is not set; its folder does not exist.
        OSError: it cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file, {exercise.name}.py")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: give another name, or --force to overwrite it")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist")
    write_atomic(path, text(exercise, str(path)))


def _function(function: Function) -> list[str]:
    lines = [f"def {function.signature}:", f'    """{function.doc}"""']
    lines += [f"    # TODO: {line}" for line in str(function.todo).splitlines()]
    return [*lines, "    raise NotImplementedError"]
