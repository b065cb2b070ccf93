"""Check a student's file: read which exercise it is, run it in a process of its own, report."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import language
from zoo.errors import UsageError, first_line, needs_extra
from zoo.exercises import catalogue
from zoo.exercises.exercise import Check, Exercise, Text

#: Seconds that the import of torch may take, on a slow disk.
START = 300.0

_ABSENT = Text("{path}：没有这个文件", "{path}: no such file")
_FOLDER = Text("{path} 是文件夹，应为一个文件", "{path} is a folder, expected a file")
_ABSENT_STUB = Text(
    "{path}：没有这个文件。取得练习的模板：zoo exercise {name} -o {name}.py",
    "{path}: no such file. To get the stub of an exercise: zoo exercise {name} -o {name}.py",
)
_UNNAMED = Text(
    '{path}：没有写明是哪个练习，应有一行 EXERCISE = "conv2d"（见 zoo exercise）',
    '{path}: does not say which exercise it is, expected a line EXERCISE = "conv2d" (see zoo '
    "exercise)",
)
_ENCODING = Text(
    "不是 UTF-8 编码：请在编辑器里另存为 UTF-8", "is not UTF-8: save it as UTF-8 in the editor"
)
_SYNTAX = Text("第 {line} 行有语法错误：{error}", "line {line}: syntax error: {error}")
_TIME = Text(
    "{seconds:g} 秒内没有结束（--timeout）{place}",
    "did not end in {seconds:g} s (--timeout){place}",
)
_PLACE = Text("：停在第 {line} 行的 {name}", ": at line {line}, in {name}")
_TIME_HINT = Text(
    "死循环？看循环的条件会不会变成假；若只是慢，用 --timeout 加长时间",
    "an endless loop? See whether its condition can become false; if it is merely slow, give more "
    "time with --timeout",
)
_ENDED = Text(
    "进程自己结束了（{reason}），没有检查完", "its process ended by itself ({reason}), unchecked"
)


@dataclass(frozen=True)
class Report:
    """What came of a check.

    Attributes:
        file: as it was given.
        exercise: the exercise's name.
        passed: whether every check is right.
        seconds: the time it took.
        checks: the verdicts.
        printed: the first lines that the student's code printed.
        more: how many other lines it printed.
    """

    file: str
    exercise: str
    passed: bool
    seconds: float
    checks: list[Check]
    printed: list[str]
    more: int = 0


def check(path: Path, *, seconds: float = 60.0) -> Report:
    """Check a student's file.

    Args:
        path: the file.
        seconds: the time that its code may take; the import of torch is not counted.

    Raises:
        UsageError: there is no such file, or it does not say which exercise it is.
        ZooError: torch is not installed.
    """
    started = time.monotonic()
    source = _read(path)
    if broken := _broken(path, source):
        return Report(str(path), _named(source), False, 0.0, [broken], [])
    exercise = _exercise(path, ast.parse(source))
    with needs_extra("train", "zoo check"):
        if importlib.util.find_spec("torch") is None:
            raise ModuleNotFoundError("torch is not installed", name="torch")
    checks, printed, more = _run(exercise, path, seconds)
    passed = bool(checks) and all(check.state == "right" for check in checks)
    took = round(time.monotonic() - started, 2)
    return Report(str(path), exercise.name, passed, took, checks, printed, more)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise UsageError(str(_FOLDER).format(path=path)) from None
    except (FileNotFoundError, NotADirectoryError):
        known = path.stem in catalogue.ORDER
        text = _ABSENT_STUB if known else _ABSENT
        raise UsageError(str(text).format(path=path, name=path.stem)) from None


def _exercise(path: Path, tree: ast.Module) -> Exercise:
    """Return the exercise that the line EXERCISE = "..." names, without running the file."""
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if "EXERCISE" in [target.id for target in targets if isinstance(target, ast.Name)]:
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            if isinstance(value, str):
                return catalogue.get(value)
    raise UsageError(str(_UNNAMED).format(path=path))


def _named(source: bytes) -> str:
    """Return the name of the exercise in a file that cannot be parsed, or ""."""
    match = re.search(rb"""^EXERCISE\s*=\s*["'](\w+)["']""", source, re.M)
    return match[1].decode() if match else ""


def _broken(path: Path, source: bytes) -> Check | None:
    """Return the failed check of a file that is not Python, or None."""
    try:
        source.decode(tokenize.detect_encoding(io.BytesIO(source).readline)[0])
    except (SyntaxError, UnicodeDecodeError):
        return Check("file", "wrong", str(_ENCODING), mistake="encoding")
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line, reason = getattr(error, "lineno", None) or 1, getattr(error, "msg", None)
        message = str(_SYNTAX).format(line=line, error=reason or first_line(error))
        return Check("file", "wrong", message, mistake="syntax")
    return None


def _run(exercise: Exercise, path: Path, seconds: float) -> tuple[list[Check], list[str], int]:
    """Run the file in a process of its own; return the checks and what it printed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        events, stack = Path(folder) / "events", Path(folder) / "events.stack"
        events.touch()
        command = [sys.executable, "-P", "-m", "zoo.exercises.process", str(path.resolve())]
        process = subprocess.Popen(
            [*command, exercise.name, str(events), str(seconds)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=_environment(), start_new_session=True,
        )  # fmt: skip
        late = False
        try:
            process.wait(timeout=START + seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _kill(process)
        told = _events(events)
        printed, more = told.get("printed", []), told.get("more", [0])[0]
        if "checks" in told:
            return [Check(**fields) for fields in told["checks"][0]], printed, more
        where = stack.read_text(errors="replace") if stack.exists() else ""
        if late or "Timeout" in where:
            return [_late(where, path, seconds)], printed, more
    code = process.returncode
    reason = signal.Signals(-code).name if code < 0 else f"exit {code}"
    message = str(_ENDED).format(reason=told.get("ended", [reason])[0])
    return [Check("file", "wrong", message, mistake="ended")], printed, more


def _environment() -> dict[str, str]:
    """Our environment, with the language decided, and this zoo found in any folder."""
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "ZOO_LANG": language.current(),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CUDA_VISIBLE_DEVICES": "",  # a GPU's driver takes more than the memory limit
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and what it has started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


def _events(path: Path) -> dict[str, list[Any]]:
    """Return what the process told, by kind, in order."""
    events: dict[str, list[Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        for kind, value in json.loads(line).items():
            events.setdefault(kind, []).append(value)
    return events


def _late(where: str, path: Path, seconds: float) -> Check:
    frame = re.search(rf'File "{re.escape(str(path.resolve()))}", line (\d+) in (\S+)', where)
    place = str(_PLACE).format(line=frame[1], name=frame[2]) if frame else ""
    message = str(_TIME).format(seconds=seconds, place=place)
    return Check("file", "wrong", message, mistake="timeout", hint=str(_TIME_HINT))
