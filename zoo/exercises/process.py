"""The process that runs a student's file, apart from the zoo: `zoo check` starts it.

    python -P -m zoo.exercises.process FILE EXERCISE EVENTS SECONDS

It writes what happens as JSON lines to EVENTS: {"printed": line}, {"more": count of other lines},
and at the end {"checks": [...]} or {"ended": error}; where it was when its time was over, to
EVENTS.stack.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.exercises import catalogue
from zoo.exercises.exercise import Check, Exercise, Text
from zoo.exercises.judge import judge
from zoo.exercises.trial import explain

#: Lines of the student's own prints that are kept.
LINES = 20
#: Bytes that the student's code may take, beyond what torch has.
MEMORY = 4 << 30
_IMPORT = Text("不能导入：{error}", "cannot be imported: {error}")


def examine(exercise: Exercise, path: Path) -> list[Check]:
    """Load a student's file and check it, in this process and without limits."""
    module = ModuleType("student")
    module.__file__ = str(path)
    sys.modules["student"] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        message = str(_IMPORT).format(error=explain(error, str(path)))
        return [Check("file", "wrong", message, mistake="import")]
    return judge(exercise, module)


class _Printed(io.TextIOBase):
    """Passes the first lines on, and counts the others."""

    def __init__(self, report: Callable[..., None]) -> None:
        self.report, self.count, self.rest = report, 0, ""

    def write(self, text: str) -> int:
        *lines, rest = (self.rest + text).split("\n")
        self.rest = rest[:1000]
        for line in lines:
            self.count += 1
            if self.count <= LINES:
                self.report(printed=line[:1000])
        return len(text)

    def close_lines(self) -> None:
        if self.rest:
            self.write("\n")
        if self.count > LINES:
            self.report(more=self.count - LINES)


def main() -> None:
    """Run a student's file; see the top of this file."""
    file, name, events, seconds = sys.argv[1:]
    exercise = catalogue.get(name)
    for values in exercise.cases():  # imports torch: that is not the student's time
        exercise.expected(values)
    import torch  # noqa: F401 - the network has no such cases

    sys.argv = [file]
    sys.path.append(str(Path(file).resolve().parent))  # last: a student's random.py hides none
    with open(events, "a", encoding="utf-8") as log, open(f"{events}.stack", "w") as stack:

        def tell(**event: Any) -> None:
            log.write(json.dumps(event) + "\n")
            log.flush()

        printed = _Printed(tell)
        sys.stdout = sys.stderr = printed
        _limit_memory()
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=stack)
        try:
            checks = examine(exercise, Path(file))
            tell(checks=[asdict(check) for check in checks])
        except BaseException as error:
            tell(ended=explain(error, file))
        faulthandler.cancel_dump_traceback_later()
        printed.close_lines()
    os._exit(0)  # threads that the student started and did not end are not waited for


def _limit_memory() -> None:
    """Limit this process's memory, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
