"""The access log: one line on stderr for each request, HTTP or gRPC, as text or as JSON."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

import msgspec


class Access(NamedTuple):
    """A request: the client's address, the method, and the path as sent.

    The path is still percent-encoded, so that it stays on one line.
    """

    client: str
    method: str
    path: str


def text(access: Access, status: int, seconds: float) -> None:
    """Write a line for people."""
    sys.stderr.write(
        f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {access.client} {access.method} "
        f"{access.path} {status} {1000 * seconds:.2f} ms\n"
    )


def json(access: Access, status: int, seconds: float) -> None:
    """Write a line for programs."""
    line = {
        "time": time.time(),
        **access._asdict(),
        "status": status,
        "ms": round(1000 * seconds, 3),
    }
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")


#: By the name that `Options.log` has.
FORMATS = {"text": text, "json": json}
