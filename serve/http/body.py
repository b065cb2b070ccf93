"""Request bodies, read and decompressed within bounds; and the compression of answers."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

from starlette.requests import Request

from serve.errors import HttpError, overloaded
from serve.memory import Memory
from serve.options import Options

#: Answers below this size (bytes) are not worth compressing.
WORTH_COMPRESSING = 1024
#: Compressed bodies up to this size (bytes) are at most a thousand times as large: a millisecond.
_SHORT = 1024
#: A gzip body may have several members, as many as this.
_MEMBERS = 1000
#: Bytes that are decompressed at a time; what follows a member's end in them is copied.
_CHUNK = 65_536


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


async def read_request(request: Request, options: Options, memory: Memory) -> bytes:
    """Read the complete body of one of Starlette's requests, decompressed.

    Raises:
        HttpError: as `read` and `decompress`. Disconnected: the client has gone.
    """
    length = request.headers.get("content-length")
    data = await read(
        request.receive, length.encode() if length else None, options.max_body, options.timeout,
        memory,
    )  # fmt: skip
    if encoding := request.headers.get("content-encoding", ""):
        data = await decompressed(data, encoding, options.max_body)
    return data


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
    parts: list[bytes] = []
    size = position = members = 0
    while position < len(body) or not members:
        members += 1
        if members > _MEMBERS:
            raise HttpError(400, f"the {encoding} body has more than {_MEMBERS} members")
        decompressor = zlib.decompressobj(-15 if raw_deflate else 47)
        while not decompressor.eof:
            chunk = body[position : position + _CHUNK]
            if not chunk:
                raise HttpError(400, f"the {encoding} body is cut short")
            try:
                parts.append(decompressor.decompress(chunk, limit + 1 - size))
            except zlib.error as error:
                raise HttpError(400, f"the {encoding} body is damaged ({error})") from None
            position += len(chunk)
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
        position -= len(decompressor.unused_data)
        if position < len(body) and encoding == "deflate":
            raise HttpError(400, "the deflate body is followed by something else")
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
    if len(body) < WORTH_COMPRESSING or not _takes_gzip(accepted):
        return body, False
    return gzip.compress(body, compresslevel=1, mtime=0), True


def _takes_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding has gzip, by name or as "*", and not with q=0."""
    quality: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality[name] = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    quality[name] = float(value)
                except ValueError:
                    quality[name] = 0.0
    return quality.get("gzip", quality.get("x-gzip", quality.get("*", 0.0))) > 0


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"the body is too large: expected at most {limit:,} bytes")
