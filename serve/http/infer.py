"""The hot path, `POST /v2/models/{model}/infer`: body to arrays, to the model's queue, and back.

Plain ASGI: Starlette's routing and request objects would take longer than a small model's run.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from serve.errors import FAILED, HttpError, stopping
from serve.http import body, tensors
from serve.http.reply import reply
from serve.models import Models

_log = logging.getLogger("zoo")
#: Answers for more rows than this, and longer ones (bytes), are made and compressed in a thread.
_MANY_ROWS, _LONG_ANSWER = 1000, 1 << 18
_JSON = (b"content-type", b"application/json")


async def infer(models: Models, name: str, scope: Any, receive: Any, send: Any) -> int:
    """Answer an infer request for a model that is served; return the status, 499 if unanswered."""
    options = models.options
    status, headers, accepted, compressed = 200, [], "", False
    try:
        if scope["method"] != "POST":
            raise HttpError(405, f"{scope['method']}: expected POST", allow="POST")
        length = encoding = header_length = None
        for key, value in scope["headers"]:
            if key == b"content-length":
                length = value
            elif key == b"content-encoding":
                encoding = value
            elif key == b"inference-header-content-length":
                header_length = value.decode("latin-1")
            elif key == b"accept-encoding":
                accepted = value.decode("latin-1")
        data = await body.read(receive, length, options.max_body, options.timeout, models.bodies)
        if models.draining:  # only now: closing over an unread body would reset the connection
            raise stopping()
        if encoding is not None:
            data = await body.decompressed(data, encoding.decode("latin-1"), options.max_body)
        batcher = models.batchers.get(name) or models.batcher(name)
        card = batcher.session.card
        if tensors.is_large(data, header_length):
            request = await models.in_turn(len(data), tensors.parse, data, header_length, card)
        else:
            request = tensors.parse(data, header_length, card)
        outputs = await batcher.infer(request.inputs, request.timeout)
        if len(request.inputs) > _MANY_ROWS:
            answer, json_length = await asyncio.to_thread(tensors.answer, request, outputs, card)
        else:
            answer, json_length = tensors.answer(request, outputs, card)
        if json_length is None:
            headers = [_JSON]
        else:
            headers = [
                (b"content-type", b"application/octet-stream"),
                (b"inference-header-content-length", b"%d" % json_length),
            ]
    except HttpError as error:
        status, answer = error.status, error.body
        headers = [_JSON, *((k.encode(), v.encode()) for k, v in error.headers)]
    except body.Disconnected:
        return 499
    except Exception:
        _log.exception("infer of %r failed", name)
        status, answer, headers = 500, FAILED, [_JSON]
    if accepted:
        if len(answer) > _LONG_ANSWER:
            answer, compressed = await asyncio.to_thread(body.compress, answer, accepted)
        else:
            answer, compressed = body.compress(answer, accepted)
        if compressed:
            headers.append((b"content-encoding", b"gzip"))
    if len(answer) >= body.WORTH_COMPRESSING or compressed:
        headers.append((b"vary", b"accept-encoding"))
    if models.closing:
        headers.append((b"connection", b"close"))
    headers.append((b"content-length", b"%d" % len(answer)))
    await reply(send, status, headers, answer)
    return status
