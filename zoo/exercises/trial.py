"""A trial: one call of a student's function with the arguments of one case."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from zoo.errors import first_line
from zoo.exercises.exercise import Exercise, Function, Text, Values

_COUNT = Text(
    "{name} 返回了 {given}，应返回 {count} 个结果：{returns}",
    "{name} returned {given}, expected {count} results: {returns}",
)
_LINE = Text("第 {line} 行：", "line {line}: ")
_MEMORY = Text("内存不够：数组太大，或循环不断申请内存", "out of memory: an array is too large")


@dataclass(frozen=True)
class Trial:
    """What came of a call.

    Attributes:
        known: all arguments and torch's results, float64.
        given: the arguments of this function, in a line.
        single: whether the arguments were float32.
        results: the function's results by name; missing after an error.
        error: the error, in a line with its place; None where there was none.
        todo: whether the function is not written yet.
        changed: names of arguments that the function changed.
    """

    known: SimpleNamespace
    given: str
    single: bool = False
    results: Values = field(default_factory=dict)
    error: str | None = None
    todo: bool = False
    changed: tuple[str, ...] = ()


def trials(exercise: Exercise, function: Function, module: ModuleType) -> list[Trial]:
    """Call a student's function in every case: in float64, then in float32."""
    done: list[Trial] = []
    student = getattr(module, function.name)
    cases = [dict(values) for values in exercise.cases()]
    known = [values | dict(exercise.expected(values)) for values in cases]
    for single in (False, True):
        for values in known:
            if not set(function.returns) <= set(values):
                continue  # torch has no such results in this case: the backward pass of eval mode
            done.append(call(student, function, values, single=single))
            if done[-1].todo:
                return done
    return done


def call(
    student: Callable[..., Any], function: Function, values: Values, *, single: bool = False
) -> Trial:
    """Call a student's function with copies of its arguments."""
    arguments = [_copy(values[name], single) for name in function.parameters]
    before = [_copy(argument, False, keep=True) for argument in arguments]
    trial: dict[str, Any] = {
        "known": SimpleNamespace(**values),
        "given": describe({name: values[name] for name in function.parameters}),
        "single": single,
    }
    try:
        with np.errstate(all="ignore"):
            answer = student(*arguments)
    except NotImplementedError:
        return Trial(**trial, todo=True)
    except (Exception, SystemExit) as error:
        return Trial(**trial, error=explain(error, _file(student)))
    if answer is None:
        return Trial(**trial, todo=True)
    if len(function.returns) == 1:
        results = {function.returns[0]: answer}
    elif isinstance(answer, tuple | list) and len(answer) == len(function.returns):
        results = dict(zip(function.returns, answer, strict=True))
    else:
        count = {"count": len(function.returns), "returns": ", ".join(function.returns)}
        many = isinstance(answer, tuple | list)
        given = _results(len(answer)) if many else _article(answer)
        error_line = str(_COUNT).format(name=function.name, given=given, **count)
        return Trial(**trial, error=error_line)
    changed = tuple(
        name
        for name, old, new in zip(function.parameters, before, arguments, strict=True)
        if isinstance(old, np.ndarray) and not _same(old, new)
    )
    kept = {name: _copy(value, False, keep=True) for name, value in results.items()}
    return Trial(**trial, results=kept, changed=changed)


def explain(error: BaseException, file: str | None) -> str:
    """Return an error in a line, with the last line of the student's file that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    reason = str(_MEMORY) if isinstance(error, MemoryError) else first_line(error)
    kind = type(error).__name__
    text = kind if reason == kind else f"{kind}: {reason}"
    return (str(_LINE).format(line=lines[-1]) if lines else "") + text


def describe(values: Values) -> str:
    """Return arguments in a line: "x [2, 3], stride 2"."""
    parts = []
    for name, value in values.items():
        shown = list(value.shape) if isinstance(value, np.ndarray) else value
        parts.append(f"{name} {shown}")
    return ", ".join(parts)


def _file(student: Callable[..., Any]) -> str | None:
    return getattr(getattr(student, "__code__", None), "co_filename", None)


def _copy(value: Any, single: bool, keep: bool = False) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if single and not keep and value.dtype.kind == "f":
        return value.astype(np.float32)
    return np.array(value)


def _same(old: Any, new: Any) -> bool:
    return bool(
        old.shape == new.shape and old.dtype == new.dtype and np.array_equal(old, new, _nan(old))
    )


def _nan(array: Any) -> bool:
    return bool(array.dtype.kind == "f")


def _results(count: int) -> str:
    return str(Text(f"{count} 个结果", f"{count} result{'s' * (count != 1)}"))


def _article(answer: Any) -> str:
    return str(Text(f"一个 {type(answer).__name__}", f"one {type(answer).__name__}"))
