"""ONNX Runtime's execution providers: a session on the requested device, or the reason why not."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo import hardware
from zoo.errors import DeviceError
from zoo.runtime.cuda import DRIVER
from zoo.runtime.library import ort

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "mps")
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "mps": "CoreMLExecutionProvider",
}

Run = Callable[[NDArray[Any]], Sequence[NDArray[np.float32]]]


def cpu_session(graph: bytes, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Open a bare ONNX Runtime session on the CPU."""
    options = options or session_options(0)
    return ort.InferenceSession(graph, options, providers=[PROVIDERS["cpu"]])


def session_options(threads: int, spin: bool = True) -> ort.SessionOptions:
    """Return the options of every session; see `zoo.Session` for threads and spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or hardware.thread_limit()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.log_severity_level = 4  # errors are raised with their reason: no log besides
    return options


def open_session(
    graph: bytes, device: str, options: ort.SessionOptions, settings: dict[str, dict[str, str]]
) -> tuple[ort.InferenceSession, str]:
    """Open a session on a device; return it and the device it is on.

    Args:
        graph: an ONNX file.
        device: one of `DEVICES`; "auto" takes CUDA if it works, else the CPU.
        options: from `session_options`.
        settings: options of the providers, by device.

    Raises:
        DeviceError: the device is not available, and why.
    """
    if device == "cpu":
        return cpu_session(graph, options), device
    wanted = "cuda" if device == "auto" else device
    reason = "no CoreML provider" if device == "mps" else cuda_missing()
    if reason is None or device == "mps":
        session = _open_provider(graph, wanted, options, settings)
        if session is not None:
            return session, wanted
        if device != "mps":
            reason = f"ONNX Runtime's {PROVIDERS[wanted]} did not start (zoo doctor helps)"
            if device == "auto":
                print(f"device auto: the CPU, since {reason}", file=sys.stderr)
    if device == "auto":
        return cpu_session(graph, options), "cpu"
    raise DeviceError(f"device {device!r} is not available: {reason}")


def _open_provider(
    graph: bytes, device: str, options: ort.SessionOptions, settings: dict[str, dict[str, str]]
) -> ort.InferenceSession | None:
    """Open a session whose first provider really is the device's, or return None."""
    if PROVIDERS[device] not in ort.get_available_providers():
        return None
    if device in settings and hasattr(ort, "preload_dlls"):
        ort.preload_dlls(directory="")  # finds the CUDA wheels that torch installs, without torch
    # The fallbacks run those nodes for which the provider has no kernel.
    fallbacks = ("cuda", "cpu") if device == "tensorrt" else ("cpu",)
    providers = [(PROVIDERS[name], settings.get(name, {})) for name in (device, *fallbacks)]
    try:
        session = ort.InferenceSession(graph, options, providers=providers)
    except Exception:
        return None
    return session if session.get_providers()[0] == PROVIDERS[device] else None


def cuda_missing() -> str | None:
    """Return why CUDA cannot be used, or None if there are a driver and a GPU."""
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return f"this onnxruntime {ort.__version__} is built without CUDA"
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"no NVIDIA driver ({DRIVER})"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or not count:
        return "the NVIDIA driver finds no GPU"
    return None
