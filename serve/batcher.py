"""The batcher: requests that arrive while a batch runs wait, and are the next batch. No timer.

So an idle server answers at once, and a busy one forms batches as large as its load. The event loop
queues and answers. A batch that takes less time than a handover between threads runs in the loop
itself; a longer one runs in the model's thread, where ONNX Runtime releases the GIL, so that the
loop goes on reading and answering.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serve.errors import HttpError, overloaded
from serve.memory import Memory
from serve.statistics import Counts
from zoo.runtime.session import Session

_log = logging.getLogger("zoo")
#: A batch expected to take longer than this (seconds) goes to the thread.
_IN_LOOP = 1e-3
#: Inputs of more bytes than this count against the memory; the queue's length bounds the others.
_LARGE = 1 << 16

Outputs = list[NDArray[np.float32]]


class _Item(NamedTuple):
    inputs: NDArray[Any]
    future: asyncio.Future[Outputs]
    arrived: int  # by time.perf_counter_ns, as are all times here


class _Result(NamedTuple):
    outputs: Outputs | Exception
    times: tuple[int, int, int]  # began, joined, ran


class Batcher:
    """One model's queue. Made and used inside a running event loop.

    Args:
        session: runs the batches.
        max_batch: rows in a batch; a request with more runs alone.
        max_queue: requests that may wait; one more is refused.
        timeout: seconds until a request is given up.
        memory: for the large inputs of all models that wait or run.
        observe: called with the rows of each batch.
        counts: of the protocol's statistics.
    """

    def __init__(
        self,
        session: Session,
        *,
        max_batch: int,
        max_queue: int,
        timeout: float,
        memory: Memory,
        observe: Callable[[int], object],
        counts: Counts,
    ) -> None:
        self.session = session
        self._max_batch, self._max_queue, self._timeout = max_batch, max_queue, timeout
        self._memory, self._observe, self._counts = memory, observe, counts
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Item] = deque()
        self._busy = False
        self._row_seconds = session.warm_up(8) / 8
        self._work: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._runner = threading.Thread(
            target=self._thread, name=f"zoo-{session.card.name}", daemon=True
        )
        self._runner.start()

    @property
    def depth(self) -> int:
        """How many requests are in the queue."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._busy and not self._waiting

    async def infer(self, inputs: NDArray[Any], timeout: float | None = None) -> Outputs:
        """Run a request's rows, in a batch with those of others; return their outputs.

        Args:
            inputs: of the model's type, [rows, ...].
            timeout: the request's own, in seconds, if it is shorter than the queue's.

        Raises:
            HttpError: 503, the queue or the memory for large inputs is full, or the timeout is
                over; 500, the model failed.
        """
        arrived = time.perf_counter_ns()
        large = inputs.nbytes if inputs.nbytes > _LARGE else 0
        try:
            if len(self._waiting) >= self._max_queue:
                name = self.session.card.name
                raise overloaded(f"{name}: {self._max_queue} requests wait already")
            if large:
                self._memory.take(large)
        except HttpError:
            self._counts.failed(0)
            raise
        future: asyncio.Future[Outputs] = self._loop.create_future()
        self._waiting.append(_Item(inputs, future, arrived))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._next)  # after the requests that this turn of the loop reads
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        timer = self._loop.call_later(seconds, _expire, future, seconds)
        try:
            return await future
        except HttpError:
            self._counts.failed(time.perf_counter_ns() - arrived)
            raise
        finally:
            timer.cancel()
            if large:
                self._memory.give(large)

    def close(self) -> None:
        """End the thread, after the batch that runs."""
        self._work.put(None)

    def join(self) -> None:
        """Wait for the thread's end, as long as a request's timeout.

        A batch may run whose clients have all gone; a process that ends under it is aborted.
        """
        self._runner.join(self._timeout)

    def _next(self) -> None:
        batch: list[_Item] = []
        rows = 0
        while self._waiting:
            item = self._waiting[0]
            if batch and rows + len(item.inputs) > self._max_batch:
                break
            self._waiting.popleft()
            if not item.future.done():  # not timed out, and the client is still there
                batch.append(item)
                rows += len(item.inputs)
        self._busy = bool(batch)
        if not batch:
            return
        if rows * self._row_seconds > _IN_LOOP:
            self._work.put(batch)
        else:
            self._done(batch, self._run(batch))

    def _thread(self) -> None:
        while (batch := self._work.get()) is not None:
            try:
                self._loop.call_soon_threadsafe(self._done, batch, self._run(batch))
            except RuntimeError:  # the loop has been closed
                return

    def _run(self, batch: list[_Item]) -> _Result:
        began = joined = time.perf_counter_ns()
        outputs: Outputs | Exception
        try:
            inputs = [item.inputs for item in batch]
            joint = inputs[0] if len(batch) == 1 else np.concatenate(inputs)
            joined = time.perf_counter_ns()
            outputs = self.session.run(joint)
        except Exception as error:
            outputs = error
        return _Result(outputs, (began, joined, time.perf_counter_ns()))

    def _done(self, batch: list[_Item], result: _Result) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            self._loop.call_soon(self._next)
        outputs = result.outputs
        if isinstance(outputs, Exception):
            _log.error("%s failed", self.session.card.name, exc_info=outputs)
        split = time.perf_counter_ns()
        answered: list[int] = []
        start = 0
        for item in batch:
            end = start + len(item.inputs)
            if item.future.done():
                pass
            elif isinstance(outputs, Exception):
                item.future.set_exception(HttpError(500, str(outputs)))
            else:
                item.future.set_result([output[start:end] for output in outputs])
                answered.append(item.arrived)
            start = end
        self._observe(start)
        if not isinstance(outputs, Exception):
            now = time.perf_counter_ns()
            times = (*result.times, result.times[2] + now - split)
            self._counts.batch(rows=start, waited=answered, times=times, answered=now)


def _expire(future: asyncio.Future[Outputs], timeout: float) -> None:
    if not future.done():
        future.set_exception(overloaded(f"no answer within {timeout:g} s"))
