"""The access log: one line on stderr for each request, HTTP or gRPC, as text or as JSON."""

from __future__ import annotations

import time
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from serve import log

#: Characters of a client's text that a line shows.
_LONGEST = 1000


class Access(NamedTuple):
    """A request: the client's address, the method, and the path as sent.

    The path is still percent-encoded, so that it stays on one line. The address may be what a
    header says.
    """

    client: str
    method: str
    path: str


def text(access: Access, status: int, seconds: float) -> None:
    """Write a line for people."""
    log.write(
        f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {_plain(access.client)} {_plain(access.method)} "
        f"{_plain(access.path)} {status} {1000 * seconds:.2f} ms"
    )


def json(access: Access, status: int, seconds: float) -> None:
    """Write a line for programs."""
    line = {
        "time": time.time(),
        "client": _plain(access.client),
        "method": _plain(access.method),
        "path": _plain(access.path),
        "status": status,
        "ms": round(1000 * seconds, 3),
    }
    log.write(msgspec.json.encode(line).decode())


def _plain(text: str) -> str:
    """Return a client's text as one word without control characters, which forge other lines."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        text = quote(text, safe="/:[]%?&=")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


#: By the name that `Options.log` has.
FORMATS = {"text": text, "json": json}
