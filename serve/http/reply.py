"""A whole answer in one write: over ASGI, head and body would be two system calls."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


async def reply(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send an answer that is ready; `headers` hold its content-length.

    Under uvicorn's httptools protocol it goes straight to the transport, unless the connection is
    to be closed or its client reads slowly; then, and under any other server, by ASGI.
    """
    cycle = getattr(send, "__self__", None)
    if (
        type(cycle) is RequestResponseCycle
        and cycle.keep_alive
        and cycle.scope["method"] != "HEAD"
        and not (cycle.disconnected or cycle.response_started or cycle.flow.write_paused)
        and all(name != b"connection" for name, _ in headers)
    ):
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", body)
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(b"".join(parts))
        cycle.on_response()
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
