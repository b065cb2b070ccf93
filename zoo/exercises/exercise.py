"""What an exercise is: the functions to write, inputs to try, torch's results, typical mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from zoo import language

#: The arguments of the functions by name: NumPy arrays, and settings such as a stride.
Values = Mapping[str, Any]


class Text(NamedTuple):
    """One text in two languages; `str()` gives the one that the zoo speaks."""

    zh: str
    en: str

    def __str__(self) -> str:
        return self.zh if language.current() == "zh" else self.en


class Mistake(NamedTuple):
    """A typical wrong result.

    Attributes:
        key: its name, in the JSON document and in the tests.
        output: the result that it spoils, "dbias".
        wrong: computes the wrong result from all arguments and torch's results; what it raises
            stands for an error of the student's function.
        hint: where to look.
    """

    key: str
    output: str
    wrong: Callable[[SimpleNamespace], Any]
    hint: Text


@dataclass(frozen=True)
class Function:
    """One function that the student writes.

    Attributes:
        name: "forward", "backward" or "step".
        parameters: the names of its arguments, in order.
        returns: the names of its results, in order.
        doc: its docstring in the stub.
        todo: what the comments in its body ask for, a line each.
    """

    name: str
    parameters: tuple[str, ...]
    returns: tuple[str, ...]
    doc: Text
    todo: Text

    @property
    def signature(self) -> str:
        """The first line without "def" and colon: "forward(x, weight, bias)"."""
        return f"{self.name}({', '.join(self.parameters)})"


@dataclass(frozen=True)
class Check:
    """The verdict on one result of one function.

    Attributes:
        name: "backward: dbias".
        state: "right", "wrong", or "open" while it is not written.
        message: what was compared and how much it differs, in the language of the zoo.
        difference: the largest difference from torch's result, in float64; None where there is
            nothing to compare.
        mistake: the key of the recognized mistake, or None.
        hint: where to look, or None.
        given: the arguments of the first case that is wrong, or None.
    """

    name: str
    state: str
    message: str
    difference: float | None = None
    mistake: str | None = None
    hint: str | None = None
    given: str | None = None


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        name: "conv2d".
        title: its heading.
        lesson: the lesson that teaches it, for `zoo lesson`.
        formulas: the mathematics, and the shapes.
        notes: what else the stub says.
        functions: what to write.
        cases: draws the arguments of each case, float64; the first case is the smallest, and
            smooth, since the numerical gradient is taken there.
        expected: torch's results for one case, by name, with the gradient that backward is given;
            a function is skipped in a case whose results are not among them.
        mistakes: typical wrong results.
        stub: the whole stub, where it is not made of `functions`.
        judge: checks the student's module in another way.
    """

    name: str
    title: Text
    lesson: str
    formulas: Text | None = None
    notes: Text | None = None
    functions: tuple[Function, ...] = ()
    cases: Callable[[], Sequence[Values]] = tuple
    expected: Callable[[Values], Values] = dict
    mistakes: tuple[Mistake, ...] = ()
    stub: Text | None = None
    judge: Callable[[ModuleType], list[Check]] | None = None


def function(name: str, parameters: str, returns: str, doc: Text, todo: Text) -> Function:
    """Describe a function; the names are given with commas between them."""
    given, results = (
        tuple(part.strip() for part in text.split(",")) for text in (parameters, returns)
    )
    return Function(name, given, results, doc, todo)
