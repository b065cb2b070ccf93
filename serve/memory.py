"""A budget of memory that all requests share: what it cannot hold waits, or is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.errors import overloaded


class Memory:
    """A number of bytes, and how many of them are taken. For any thread.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold some bytes, which must be free now.

        Raises:
            HttpError: 503, they are not.
        """
        self.take(size)
        try:
            yield
        finally:
            self.give(size)

    def take(self, size: int) -> None:
        """Take some bytes, until `give`.

        Raises:
            HttpError: 503, they are not free.
        """
        with self._changed:
            if self._taken and self._taken + size > self.total:
                raise overloaded("other requests take the memory that this one needs")
            self._taken += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    @contextmanager
    def reserve(self, size: int, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Hold some bytes, at most `total`, as soon as they are free; waits in this thread.

        Raises:
            InterruptedError: `cancelled` said so while it waited.
        """
        with self._changed:
            while self._taken + size > self.total:
                if cancelled():
                    raise InterruptedError
                self._changed.wait(0.1)
            self._taken += size
        try:
            yield
        finally:
            self.give(size)
