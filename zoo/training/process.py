"""The process that trains: its stop signals, its random numbers, its determinism, its memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Catch the first SIGINT or SIGTERM; yield a function that says whether one has come."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return
    handlers: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def receive(number: int, frame: object) -> None:
        received.append(number)
        restore()  # so that a second signal ends the program at once

    for number in (signal.SIGINT, signal.SIGTERM):
        handlers[number] = signal.signal(number, receive)
    try:
        yield lambda: bool(received)
    finally:
        restore()


def seed(device: torch.device, number: int) -> None:
    """Seed the generator that draws on the device.

    `torch.manual_seed` seeds those of all devices, which without a GPU takes a tenth of a step.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)


def make_deterministic(device: torch.device) -> None:
    """Have CUDA add up sums in the same order each time; on a CPU torch does so by itself."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False  # it times the kernels, and takes another each time


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees (glibc): the next step needs the same again.

    Otherwise the system maps and zeroes the pages of each large array at each step: up to a third
    of a step's time on a CPU.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system, or another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
