"""The judge: a student's functions beside torch, and beside the numerical gradient."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from zoo.exercises import hints, numeric
from zoo.exercises.compare import TOLERANCE_SINGLE, close, largest
from zoo.exercises.exercise import Check, Exercise, Function, Text
from zoo.exercises.trial import Trial, trials

_MISSING = Text("文件里没有函数 {signature}", "the file has no function {signature}")
_OPEN = Text("还没有写：TODO", "not written yet: TODO")
_OPEN_ONE = Text("{output} 是 None：还没有写", "{output} is None: not written yet")
_KIND = Text("{output} 是 {kind}，应为 NumPy 数组", "{output} is a {kind}, expected a NumPy array")
_KIND_HINT = Text(
    "列表、torch 张量等先变成 NumPy 数组：np.array(...)",
    "make lists, torch tensors and the like NumPy arrays first: np.array(...)",
)
_SHAPE = Text(
    "{output} 的形状是 {shape}，应为 {expected}",
    "{output} has the shape {shape}, expected {expected}",
)
_NAN = Text(
    "{output} 里有 nan 或 inf，第一个在 {index}",
    "{output} contains nan or inf, the first at {index}",
)
_DIFFERS = Text(
    "与 torch 最大相差 {difference:.2g}，在 {index}：你的 {yours:.6g}，torch {theirs:.6g}；"
    "{total} 组输入中 {wrong} 组不对",
    "differs from torch by {difference:.2g} at {index}: yours {yours:.6g}, torch's {theirs:.6g}; "
    "wrong in {wrong} of {total} cases",
)
_AGREES = Text(
    "{total} 组输入，与 torch 最大差 {difference:.1g}",
    "{total} cases, largest difference from torch {difference:.1g}",
)
_NUMERIC = Text("，与数值梯度最大差 {:.1g}", ", from the numerical gradient {:.1g}")
_CONSISTENT = Text(
    "。它正是你自己的 forward 的（数值）梯度：先改正 forward",
    ". It is the (numerical) gradient of your own forward, though: correct forward first",
)
_DTYPE = Text(
    "{output} 在 float32 输入时是 {dtype}：结果应与输入同类型",
    "{output} is {dtype} for float32 inputs: it should have their dtype",
)
_DTYPE_HINT = Text(
    "np.zeros(shape) 是 float64：用 np.zeros_like(x)，或 np.zeros(shape, x.dtype)",
    "np.zeros(shape) is float64: use np.zeros_like(x), or np.zeros(shape, x.dtype)",
)
_SINGLE = Text(
    "{output} 在 float64 时正确，在 float32 时相差 {difference:.2g}",
    "{output} is right in float64, and differs by {difference:.2g} in float32",
)
_CHANGED = Text("改动了自己的输入：{names}", "changes its own input: {names}")
_CHANGED_HINT = Text(
    "x += ...、x[...] = ... 会改动调用者的数组：写 x = x + ...，或先 x.copy()",
    "x += ... and x[...] = ... change the caller's array: write x = x + ..., or x.copy() first",
)


def judge(exercise: Exercise, module: ModuleType) -> list[Check]:
    """Check all functions of a student's module."""
    if exercise.judge is not None:
        return exercise.judge(module)
    checks: list[Check] = []
    for function in exercise.functions:
        if not callable(getattr(module, function.name, None)):
            message = str(_MISSING).format(signature=function.signature)
            checks.append(Check(function.name, "open", message))
            continue
        done = trials(exercise, function, module)
        checks += _function(exercise, function, done, module)
    return checks


def _function(
    exercise: Exercise, function: Function, done: Sequence[Trial], module: ModuleType
) -> list[Check]:
    if any(trial.todo for trial in done):
        return [Check(function.name, "open", str(_OPEN))]
    checks: list[Check] = []
    failed = [trial for trial in done if trial.error]
    answered = [trial for trial in done if not trial.error]
    for output in function.returns if answered else ():
        name = f"{function.name}: {output}"
        problem = _form(name, output, answered)
        checks.append(problem or _numbers(exercise, function, name, output, done, module))
    if failed:
        checks.insert(0, _error(exercise, function, done, failed[0]))
    changed = sorted({name for trial in answered for name in trial.changed})
    if changed:
        message = str(_CHANGED).format(names=", ".join(changed))
        name, hint = f"{function.name}: {changed[0]}", str(_CHANGED_HINT)
        checks.append(Check(name, "wrong", message, mistake="input_changed", hint=hint))
    return checks


def _error(exercise: Exercise, function: Function, done: Sequence[Trial], failed: Trial) -> Check:
    """The check of a function that raised an error, with the mistake that raises it."""
    double = [trial for trial in done if not trial.single]
    found = next(
        (
            hint
            for output in function.returns
            if any(output in trial.results for trial in double)
            and (hint := hints.typical(exercise.mistakes, output, double))
        ),
        None,
    )
    assert failed.error is not None
    text = found.text if found else hints.for_error(failed.error)
    key, line = found.key if found else "error", str(text) if text else None
    return Check(function.name, "wrong", failed.error, None, key, line, failed.given)


def _form(name: str, output: str, answered: Sequence[Trial]) -> Check | None:
    """Return a failed check where a result is no array of floats of the right dtype."""
    for trial in answered:
        value = trial.results[output]
        if value is None and getattr(trial.known, output) is None:
            continue
        if value is None:
            return Check(name, "open", str(_OPEN_ONE).format(output=output))
        number = isinstance(value, np.generic | int | float)
        if not isinstance(value, np.ndarray) and not number:
            message = str(_KIND).format(output=output, kind=type(value).__name__)
            return Check(name, "wrong", message, mistake="kind", hint=str(_KIND_HINT))
        if np.asarray(value).dtype.kind not in "fiub":
            message = str(_KIND).format(output=output, kind=f"{np.asarray(value).dtype} array")
            return Check(name, "wrong", message, mistake="kind", hint=str(_KIND_HINT))
    return None


def _numbers(
    exercise: Exercise, function: Function, name: str, output: str, done: Sequence[Trial],
    module: ModuleType,
) -> Check:  # fmt: skip
    """Compare the numbers of one result with torch's, in float64 and in float32."""
    double = [
        trial for trial in done if not trial.single and getattr(trial.known, output) is not None
    ]
    answered = [trial for trial in double if output in trial.results]
    wrong = [trial for trial in answered if not _agrees(trial, output)]
    slopes = _slopes(exercise, function, output, module)
    if wrong:
        return _wrong(exercise, name, output, double, wrong, slopes)
    for trial in done:
        if trial.single and not trial.error and getattr(trial.known, output) is not None:
            value = np.asarray(trial.results[output])
            if value.ndim and value.dtype != np.float32:
                message = str(_DTYPE).format(output=output, dtype=value.dtype)
                return Check(name, "wrong", message, None, "dtype", str(_DTYPE_HINT))
            if not _agrees(trial, output, TOLERANCE_SINGLE):
                difference = largest(value, getattr(trial.known, output))[0]
                message = str(_SINGLE).format(output=output, difference=difference)
                return Check(name, "wrong", message, difference, "float32")
    difference = max(
        (largest(t.results[output], getattr(t.known, output))[0] for t in answered), default=0.0
    )
    message = str(_AGREES).format(total=len(answered), difference=difference)
    if slopes is not None and answered and answered[0] is double[0]:
        indices, numbers = slopes
        gap = largest(np.ravel(answered[0].results[output])[indices], numbers)[0]
        if np.isfinite(gap) and gap < 1e-3:
            message += str(_NUMERIC).format(gap)
    return Check(name, "right", message, difference)


def _wrong(
    exercise: Exercise, name: str, output: str, double: Sequence[Trial], wrong: Sequence[Trial],
    slopes: Any,
) -> Check:  # fmt: skip
    """Say how a result is wrong, by how much, and which mistake it looks like."""
    trial = wrong[0]
    given, expected = np.asarray(trial.results[output]), getattr(trial.known, output)
    difference: float | None = None
    if given.shape != expected.shape:
        shapes = {"shape": list(given.shape), "expected": list(expected.shape)}
        message = str(_SHAPE).format(output=output, **shapes)
    elif not np.isfinite(given).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(given))[0])
        message = str(_NAN).format(output=output, index=list(index))
    else:
        difference, index = largest(given, expected)
        message = str(_DIFFERS).format(
            difference=difference, index=list(index), yours=given[index], theirs=expected[index],
            wrong=len(wrong), total=len(double),
        )  # fmt: skip
    if slopes is not None and wrong[0] is double[0] and given.shape == expected.shape:
        indices, numbers = slopes
        message += str(_CONSISTENT) if close(np.ravel(given)[indices], numbers, 1e-5) else ""
    hint = hints.find(exercise.mistakes, output, double)
    key, text = (hint.key, str(hint.text)) if hint else (None, None)
    return Check(name, "wrong", message, difference, key, text, trial.given)


def _agrees(trial: Trial, output: str, tolerance: float = 1e-7) -> bool:
    return close(trial.results[output], getattr(trial.known, output), tolerance)


def _slopes(exercise: Exercise, function: Function, output: str, module: ModuleType) -> Any:
    """Return the numerical gradient of the student's own forward, in the first case.

    None where the result is no gradient, or the student's forward cannot be used.
    """
    forward = next((one for one in exercise.functions if one.name == "forward"), None)
    wrt = output.removeprefix("d")
    if forward is None or function is forward or wrt not in forward.parameters:
        return None
    values = dict(exercise.cases()[0])
    known = values | dict(exercise.expected(values))
    student = getattr(module, "forward", None)
    upstream = next((known[name] for name in ("dy", "dh_next") if name in known), 1.0)

    def scalar(x: numeric.Array) -> float:
        arguments = [x if name == wrt else known[name] for name in forward.parameters]
        assert student is not None
        answer = student(*(a.copy() if isinstance(a, np.ndarray) else a for a in arguments))
        y = answer[0] if isinstance(answer, tuple | list) else answer
        if np.shape(y) != np.shape(known[forward.returns[0]]):
            raise ValueError
        return float((y * upstream).sum()) if np.ndim(y) else float(y)

    try:
        with np.errstate(all="ignore"):
            return numeric.gradient(scalar, known[wrt])
    except (Exception, SystemExit):
        return None  # the check of forward says why
