"""Request bodies: read within bounds, unpacked within bounds; and packing answers."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

from serve.errors import HttpError, overloaded

#: Answers below this size are not worth packing.
_WORTH_PACKING = 1024


class Disconnected(Exception):
    """The client went away before its request was whole."""


async def read(receive: Any, length: bytes | None, limit: int, timeout: float) -> bytes:
    """Read a whole body.

    Raises:
        HttpError: 413 beyond `limit` bytes, 503 if it takes longer than `timeout` seconds.
        Disconnected: the client has gone.
    """
    if length is not None and int(length) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    if not message.get("more_body"):  # nearly always
        body: bytes = message["body"]
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts, size = [message["body"]], len(message["body"])
    try:
        async with asyncio.timeout(timeout):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                parts.append(message["body"])
                size += len(parts[-1])
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise overloaded(f"the body did not arrive within {timeout:g} s") from None
    return b"".join(parts)


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding, without ever holding more than `limit` bytes.

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
    unpacker = zlib.decompressobj(-15 if raw_deflate else 47)
    try:
        data = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise HttpError(400, f"the {encoding} body is damaged ({error})") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise HttpError(400, f"the {encoding} body is cut short")
    return data


def pack(body: bytes, accepted: str) -> tuple[bytes, str | None]:
    """Pack an answer as the client accepts it, if it is worth it."""
    if len(body) < _WORTH_PACKING:
        return body, None
    known = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    if "gzip" in known:
        return gzip.compress(body, compresslevel=1, mtime=0), "gzip"
    if "deflate" in known:
        return zlib.compress(body, level=1), "deflate"
    return body, None


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"the body is too large: expected at most {limit:,} bytes")
