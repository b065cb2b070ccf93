"""The process that trains: its stop signals, its random numbers, its determinism, its memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from zoo import hardware

#: By these a user, torchrun or a scheduler sets the number of threads.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


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


def use_free_cores(activity: hardware.Activity) -> None:
    """Set torch's CPU threads to the cores that other programs leave free, unless the user did.

    The threads of a step wait for each other in busy loops. One that has to share its core with
    another program holds up all of them: beside one busy program two threads on two cores train
    `cnn` at 0.4 times the speed of one thread. Their number stays the same for the whole training,
    because it decides the rounding of sums, and so the bytes of the weights.

    Args:
        activity: of the other programs; made a while ago.
    """
    if not _chosen():
        threads = min(torch.get_num_threads(), activity.free_cores())
        _set_threads(threads, "as many as other programs leave free")


def keep_threads(before: int) -> None:
    """Set torch's CPU threads to those of a training that is resumed, unless the user set them.

    So it ends with the bytes that it would have had without the stop.
    """
    if not _chosen():
        _set_threads(min(before, hardware.cores()), "as many as before")


def _chosen() -> bool:
    return any(os.environ.get(name) for name in _VARIABLES)


def _set_threads(threads: int, reason: str) -> None:
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
        text = f"{threads} CPU thread{'s' if threads > 1 else ''}, {reason}"
        print(f"{text} (OMP_NUM_THREADS sets their number)", file=sys.stderr)


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
