"""Runs a lesson's code cells in a process of its own, in one language, and keeps what each prints.

The processes are forked from one that has imported torch, which takes longer than most lessons.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import sys
import types
from pathlib import Path

from docs.generate import cells
from docs.generate.words import Language

#: Seconds that a lesson may take, on a busy machine.
LIMIT = 300


def run(script: Path, language: Language, folder: Path) -> list[str]:
    """Return what each code cell of a script prints; its picture goes to `folder`/lesson-output.

    Raises:
        RuntimeError: the script failed or took too long; the message is the end of its traceback.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "zoo.lessons", "zoo.plots", __name__])
    result, log = folder / "outputs.json", folder / "log.txt"
    process = context.Process(target=_work, args=(script, language, folder, result, log))
    process.start()
    process.join(LIMIT)
    process.kill()  # where it has not ended by then
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{script.name} failed:\n{log.read_text()[-2000:]}")
    outputs: list[str] = json.loads(result.read_text(encoding="utf-8"))
    return outputs


def execute(script: Path) -> list[str]:
    """Run the cells of a script as `__main__` in this process; return what each prints."""
    module = types.ModuleType("__main__")
    module.__file__ = str(script)  # inspect.getsource reads it
    sys.modules["__main__"] = module
    sys.argv = [str(script)]
    outputs = []
    for cell in cells.code(cells.read(script)):
        # Empty lines before it, so that line numbers are those of the script.
        compiled = compile("\n" * (cell.line - 1) + cell.source, str(script), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            # the lesson's own script, as its reader runs it, cell by cell
            exec(compiled, module.__dict__)
        outputs.append("\n".join(line.rstrip() for line in stdout.getvalue().splitlines()))
    return outputs


def _work(script: Path, language: Language, folder: Path, result: Path, log: Path) -> None:
    import torch

    os.chdir(folder)
    os.environ.pop("ZOO_LESSON_OUTPUT", None)
    os.environ["ZOO_LANG"] = language
    sys.stderr = log.open("w")
    torch.set_num_threads(1)  # the same sums on every machine
    result.write_text(json.dumps(execute(script)), encoding="utf-8")
