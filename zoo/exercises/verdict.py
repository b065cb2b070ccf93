"""The verdict as text: a line for each check, and the hints below."""

from __future__ import annotations

from zoo.exercises import catalogue
from zoo.exercises.check import Report
from zoo.exercises.exercise import Text
from zoo.table import width

_STATES = {
    "right": Text("正确", "right"),
    "wrong": Text("有误", "wrong"),
    "open": Text("待写", "to do"),
}
_HINT, _GIVEN = Text("提示：", "hint: "), Text("输入：", "inputs: ")
_PASSED = Text("通过：{right} 项全部正确", "passed: {right} of {right} right")
_NOT_YET = Text("还没有通过：{total} 项中 {right} 项正确", "not yet: {right} of {total} right")
_UNCHECKED = Text("没有能检查", "not checked")
_MORE = Text("……另有 {count:,} 行", "... {count:,} more lines")
_LESSON = Text("。这一课：zoo lesson {lesson}", "; its lesson: zoo lesson {lesson}")


def lines(report: Report) -> list[str]:
    """Return a report in lines, in the language of the zoo."""
    head = report.file
    if report.exercise in catalogue.ORDER:
        exercise = catalogue.get(report.exercise)
        head = f"{exercise.name}: {exercise.title} · {report.file}"
    texts = [head]
    states = {key: str(text) for key, text in _STATES.items()}
    longest = max((width(check.name) for check in report.checks), default=0)
    widest = max(map(width, states.values()))
    for check in report.checks:
        state = states[check.state]
        name = check.name + " " * (longest - width(check.name))
        texts.append(f"{state}{' ' * (widest - width(state))}  {name}  {check.message}")
        margin = " " * (widest + longest + 4)
        texts += [f"{margin}{_GIVEN}{check.given}"] if check.given else []
        texts += [f"{margin}{_HINT}{check.hint}"] if check.hint else []
    right = sum(check.state == "right" for check in report.checks)
    last = str(_PASSED if report.passed else _NOT_YET).format(right=right, total=len(report.checks))
    last = str(_UNCHECKED) if [check.name for check in report.checks] == ["file"] else last
    if not report.passed and report.exercise in catalogue.ORDER:
        last += str(_LESSON).format(lesson=catalogue.get(report.exercise).lesson)
    return [*texts, last]


def printed(report: Report) -> list[str]:
    """Return what the student's code printed, in lines that begin with its file."""
    more = [str(_MORE).format(count=report.more)] if report.more else []
    return [f"{report.file}: {line}" for line in (*report.printed, *more)]
