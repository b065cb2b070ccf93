"""Pictures to arrays for all requests: in a few threads, in bounded memory, while somebody waits.

A request has one piece of work in the threads' queue at a time, so that a form of a thousand
pictures and a single picture take turns. It stops at the next picture when its client has gone or
its time is over. One picture sent for several models at a time, as the page does, is decoded once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import overloaded
from serve.memory import Memory
from serve.options import Options
from zoo import hardware, images
from zoo.errors import DataError
from zoo.images import Limits, TooLarge
from zoo.spec import ImageSpec

#: What the server decodes, as Pillow names it; HEIF with the extra `heic`.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF")
#: Small files go to a thread together: as many, and as many bytes.
_FILES, _BYTES = 16, 1 << 16
#: Smaller files (bytes) are decoded again sooner than they are looked up.
_WORTH_SHARING = 4096
#: Larger files (bytes) are hashed in a thread.
_LONG_HASH = 1 << 18
_REMEMBERED = 32

Decoded = NDArray[np.uint8] | DataError


@dataclass
class _Work:
    """A picture that is being decoded, or was; and how many requests wait for it."""

    task: asyncio.Task[Decoded]
    stopped: list[bool] = field(default_factory=list)
    waiting: int = 0


class Decoding:
    """The threads that decode. Used inside the running event loop.

    Args:
        options: its `decode_memory`, `max_pixels` and `max_queue`.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._memory = Memory(options.decode_memory)
        self._pool = ThreadPoolExecutor(max(2, min(4, hardware.cores())), "zoo-decode")
        self._requests = 0
        self._shared: OrderedDict[tuple[Any, ...], _Work] = OrderedDict()

    async def decode(
        self, files: Sequence[bytes], spec: ImageSpec, how: dict[str, Any]
    ) -> list[Decoded]:
        """Decode the files of a request; cancelled, it stops after the picture that it is at.

        Args:
            files: encoded pictures.
            spec: of the model.
            how: `prepare` and `invert` of `zoo.images.decode`.

        Returns:
            For each file uint8 [size, size, channels], or what is wrong with it.

        Raises:
            HttpError: 503, too many requests wait already.
        """
        if self._requests >= self._options.max_queue:
            raise overloaded(f"{self._requests} requests with pictures wait already")
        self._requests += 1
        try:
            if len(files) == 1 and len(files[0]) >= _WORTH_SHARING:
                return [await self._once(files[0], spec, how)]
            return await self._all(files, spec, how, [])
        finally:
            self._requests -= 1

    def close(self) -> None:
        """End the threads, each after the picture that it is at."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _once(self, data: bytes, spec: ImageSpec, how: dict[str, Any]) -> Decoded:
        """Decode a file, or wait with the other requests that have sent the same one."""
        if len(data) < _LONG_HASH:
            digest = hashlib.blake2b(data).digest()
        else:
            digest = await asyncio.to_thread(lambda: hashlib.blake2b(data).digest())
        form = (spec.size, spec.channels, spec.background, spec.centered)
        key = (digest, *form, *sorted(how.items()))
        work = self._shared.get(key)
        if work is None:
            stopped: list[bool] = []
            task = asyncio.create_task(self._first(data, spec, how, stopped))
            work = self._shared[key] = _Work(task, stopped)
            while len(self._shared) > _REMEMBERED:
                self._shared.popitem(last=False)
        work.waiting += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.waiting -= 1
            if not work.waiting and not work.task.done():
                work.stopped.append(True)
                work.task.cancel()
                if self._shared.get(key) is work:
                    del self._shared[key]

    async def _first(
        self, data: bytes, spec: ImageSpec, how: dict[str, Any], stopped: list[bool]
    ) -> Decoded:
        return (await self._all([data], spec, how, stopped))[0]

    async def _all(
        self, files: Sequence[bytes], spec: ImageSpec, how: dict[str, Any], stopped: list[bool]
    ) -> list[Decoded]:
        decoded: list[Decoded] = []
        loop = asyncio.get_running_loop()
        try:
            while len(decoded) < len(files):
                start = end = len(decoded)
                size = 0
                while end < len(files) and end - start < _FILES and (size == 0 or size < _BYTES):
                    size += len(files[end])
                    end += 1
                part = files[start:end]
                decoded += await loop.run_in_executor(
                    self._pool, self._decode, part, spec, how, stopped
                )
        except asyncio.CancelledError:
            stopped.append(True)
            raise
        return decoded

    def _decode(
        self, files: Sequence[bytes], spec: ImageSpec, how: dict[str, Any], stopped: list[bool]
    ) -> list[Decoded]:
        """Decode some files in one of the threads; no more of them once `stopped` has a value."""

        def reserve(size: int) -> AbstractContextManager[None]:
            if size > self._memory.total:
                raise TooLarge(
                    f"too large: it takes {size:,} bytes to decode, expected at most "
                    f"{self._memory.total:,}"
                )
            return self._memory.reserve(size, lambda: bool(stopped))

        limits = Limits(self._options.max_pixels, FORMATS, reserve)
        decoded: list[Decoded] = []
        for data in files:
            if stopped:
                break
            try:
                decoded.append(images.decode(data, spec, **how, limits=limits))
            except DataError as error:
                # not the error itself: its traceback would keep the picture in memory
                decoded.append(type(error)(str(error)))
        return decoded
