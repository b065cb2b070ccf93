"""A connection: uvicorn's, with limits on what comes before a request and on the time it takes.

The parser keeps a header line until it ends, so a line without an end would fill the memory.
uvicorn limits neither that nor the time in which a request begins.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Header lines of a request; bytes of them and of the address together.
MAX_HEADERS, MAX_HEAD = 100, 32_768
#: Files that the process needs besides its connections.
_FILES = 64
#: Seconds between two warnings of one kind.
_QUIET = 60.0

_log = logging.getLogger("uvicorn.error")


class _Refused(Exception):
    """The head of a request is beyond the limits."""


class Connection(HttpToolsProtocol):
    """One connection. `limited` makes the class that uvicorn takes."""

    seconds: float
    most: int
    _warned = -_QUIET
    _status = HTTPStatus.BAD_REQUEST
    _timer: asyncio.TimerHandle | None = None
    #: Bytes since the last event of the parser: of a line that has no end yet.
    _pending = 0
    _advanced = _in_head = False
    _length = 0

    # asyncio's type is of any transport, uvicorn's of one that can write
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; refuse one connection too many, while there are files left to do it with."""
        super().connection_made(transport)
        if len(self.connections) <= self.most:
            self._limit_time()
            return
        kind = type(self)
        if time.monotonic() - kind._warned >= _QUIET:
            kind._warned = time.monotonic()
            _log.warning("zoo: %d connections are open, further ones get 503", self.most)
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{self.most} connections are open already")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came; see that something comes of it."""
        if self.transport.is_closing():
            return
        self._advanced = False
        self._length = len(data)
        super().data_received(data)
        if self._advanced:
            self._pending = 0
        else:
            self._pending += len(data)
            if self._pending > MAX_HEAD:
                self._too_long()
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._limit_time()  # the first bytes of a request, or the rest of one that is answered

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._advanced = self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start what answers the request, if its head is within the limits."""
        self._advanced = True
        # the sum is looked at only if it can be too large
        if len(self.headers) > MAX_HEADERS or (
            self._pending + self._length > MAX_HEAD
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            > MAX_HEAD
        ):
            self._status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _Refused
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._advanced = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be parsed, or is beyond the limits; as JSON."""
        if self._status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            self._too_long()
        else:
            self._refuse(self._status, msg)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if its client does not read what was sent."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _limit_time(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._in_head:
            why = f"no complete request within {self.seconds:g} s"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, why)
        else:
            self.transport.close()

    def _too_long(self) -> None:
        why = f"expected at most {MAX_HEADERS} headers and {MAX_HEAD:,} bytes of them"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer by hand, unless another answer has begun, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = msgspec.json.encode({"error": why})
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def limited(seconds: float) -> type[Connection]:
    """Return the class of connections for uvicorn.

    Args:
        seconds: in which the head of a request must come, from the connection's begin or the
            first byte on.
    """
    return type("Connection", (Connection,), {"seconds": seconds, "most": _most_connections()})


def _most_connections() -> int:
    """Return how many connections the process can have, by its limit on open files."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(files - _FILES, files // 2, 1)
