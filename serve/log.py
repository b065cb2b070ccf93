"""The server's lines on stderr: none waits for its reader, none raises, and each can be JSON.

Beside the access log these are the messages of uvicorn, `logging` and `warnings`, and tracebacks. A
line that cannot be written, because the disk is full or nobody reads the pipe, is counted, and
the count is logged as soon as lines can be written again.
"""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import threading
import time
from typing import Any, Literal

import msgspec

#: What a pipe takes at once if it takes anything (bytes); see pipe(7).
_PIECE = 4096
_PATIENCE = 100  # milliseconds for the rest of a line whose first piece is written

Format = Literal["text", "json"]
_lost = 0
_json = False
_poll: Any = None


def write(line: str) -> None:
    """Write a line to stderr, or count it as lost."""
    global _lost
    if _lost:
        count, _lost = _lost, 0
        lost = f"{count} lines of this log were lost"
        if not _write(msgspec.json.encode({"message": lost}).decode() if _json else lost):
            _lost = count
    if not _write(line):
        _lost += 1


def _write(line: str) -> bool:
    global _poll
    data = line.encode("utf-8", "backslashreplace") + b"\n"
    try:
        if _poll is None and hasattr(select, "poll"):
            _poll = select.poll()
            _poll.register(2, select.POLLOUT)
        for start in range(0, len(data), _PIECE):
            if _poll is not None and not _poll.poll(_PATIENCE if start else 0):
                return False
            os.write(2, data[start : start + _PIECE])
    except OSError:
        return False
    return True


def keep_standard_files() -> None:
    """Open what of stdin, stdout and stderr is closed: the next socket would be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # for the life of the process


def setup(form: Format) -> None:
    """Send what `logging`, `warnings` and uncaught exceptions say through `write`."""
    global _json
    _json = form == "json"
    handler = _Handler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.root.handlers = [handler]
    logging.captureWarnings(True)
    if form == "json":
        sys.stderr = _Lines()
        sys.excepthook = _uncaught
        threading.excepthook = lambda failed: _uncaught(
            failed.exc_type, failed.exc_value, failed.exc_traceback
        )


def _uncaught(kind: Any, error: Any, traceback: Any) -> None:
    logging.getLogger("zoo").critical("%s", kind.__name__, exc_info=(kind, error, traceback))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write(self.format(record))


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(document).decode()


class _Lines(io.TextIOBase):
    """A stderr for whatever prints there by itself: each of its lines becomes JSON."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, lines):
            message = {"time": time.time(), "level": "info", "logger": "stderr", "message": line}
            write(msgspec.json.encode(message).decode())
        return len(text)

    def fileno(self) -> int:
        return 2
