"""Request bodies, read and decompressed within bounds; and the compression of answers."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

from serve.errors import HttpError, overloaded
from serve.memory import Memory

#: Answers below this size (bytes) are not worth compressing.
_WORTH_COMPRESSING = 1024
#: Compressed bodies up to this size (bytes) are at most a thousand times as large: a millisecond.
_SHORT = 1024


class Disconnected(Exception):
    """The client went away before its request was complete."""


async def read(
    receive: Any, length: bytes | None, limit: int, timeout: float, memory: Memory
) -> bytes:
    """Read a complete body.

    Args:
        receive: of the ASGI request.
        length: its Content-Length, if there is one.
        limit: bytes that it may have.
        timeout: seconds that it may take.
        memory: for all bodies that are being read.

    Raises:
        HttpError: 413 beyond `limit`, 503 beyond `timeout` or if there is no memory for it now.
        Disconnected: the client has gone.
    """
    if length is not None and (len(length) > 18 or int(length) > limit):
        raise _too_large(limit)  # int() refuses thousands of digits with an error of its own
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    if not message.get("more_body"):  # nearly always
        body: bytes = message["body"]
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts, size = [message["body"]], 0
    try:
        memory.take(len(parts[0]))
        size = len(parts[0])
        async with asyncio.timeout(timeout):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                parts.append(message["body"])
                if size + len(parts[-1]) > limit:
                    raise _too_large(limit)
                memory.take(len(parts[-1]))
                size += len(parts[-1])
    except TimeoutError:
        raise overloaded(f"the body did not arrive within {timeout:g} s") from None
    finally:
        memory.give(size)
    return b"".join(parts)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding, holding `limit` bytes and one at most: a small body can be a bomb.

    Raises:
        HttpError: 415 unknown encoding, 400 damaged, 413 too large.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise HttpError(415, f"Content-Encoding {encoding!r}: expected gzip or deflate")
    # 47: a gzip or a zlib header; some clients send deflate without one
    raw_deflate = encoding == "deflate" and (not body or body[0] & 0x0F != 8)
    decompressor = zlib.decompressobj(-15 if raw_deflate else 47)
    try:
        data = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise HttpError(400, f"the {encoding} body is damaged ({error})") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not decompressor.eof:
        raise HttpError(400, f"the {encoding} body is cut short")
    return data


async def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding as `decompress` does; in a thread if that may take long."""
    if len(body) <= _SHORT:
        return decompress(body, encoding, limit)
    return await asyncio.to_thread(decompress, body, encoding, limit)


def compress(body: bytes, accepted: str) -> tuple[bytes, bool]:
    """Compress an answer with gzip if its client accepts that and it is worth it.

    Args:
        body: the answer.
        accepted: the request's Accept-Encoding.

    Returns:
        What to send, and whether it is compressed.
    """
    names = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    if len(body) < _WORTH_COMPRESSING or "gzip" not in names:
        return body, False
    return gzip.compress(body, compresslevel=1, mtime=0), True


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"the body is too large: expected at most {limit:,} bytes")
