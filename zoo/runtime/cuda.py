"""How a session runs on a GPU: fixed batch sizes between buffers that are bound once.

A batch is padded to a power of two, so that cuDNN chooses its algorithms once for each size. Each
size has two slots, a page-locked input and its place on the GPU: while one computes, the rows of
the other are copied. With CUDA graphs a slot's kernels are recorded once and replayed.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from zoo.spec import TensorSpec

#: The NVIDIA driver's library.
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: Rows of the largest batch.
LARGEST = 4096
_SLOTS = 2


class Runner:
    """Runs any number of rows through an open ONNX Runtime session.

    Args:
        session: on the GPU.
        inputs: the model's input.
        outputs: the model's outputs.
        place: where the buffers are: "cuda"; "cpu" runs the same way without a GPU.
        graphs: the session was opened with `enable_cuda_graph`; its runs must not overlap.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: TensorSpec,
        outputs: Sequence[TensorSpec],
        *,
        place: str = "cuda",
        graphs: bool = False,
    ) -> None:
        self._session, self._inputs, self._outputs = session, inputs, outputs
        self._place, self._graphs = place, graphs
        self._slots: dict[int, list[_Slot]] = {}
        self._making = threading.Lock()
        workers = 1 if graphs else _SLOTS
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="zoo-gpu")

    def run(self, rows: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Return the outputs of some rows, which are exactly as the model's input says."""
        if not len(rows):
            rows = np.zeros((1, *rows.shape[1:]), rows.dtype)
            return [output[:0] for output in self.run(rows)]
        chunks = [rows[at : at + LARGEST] for at in range(0, len(rows), LARGEST)]
        places = [self._slot(len(chunk), number) for number, chunk in enumerate(chunks)]
        found = list(self._pool.map(_Slot.run, places, chunks))
        if len(found) == 1:
            return found[0]
        return [np.concatenate(group) for group in zip(*found, strict=True)]

    def _slot(self, rows: int, number: int) -> _Slot:
        size = 1 << (rows - 1).bit_length()
        with self._making:
            slots = self._slots.setdefault(size, [])
            number %= 1 if self._graphs else _SLOTS
            while len(slots) <= number:
                graph = str(len(self._slots)) if self._graphs else None
                slots.append(
                    _Slot(self._session, size, self._inputs, self._outputs, self._place, graph)
                )
            return slots[number]


class _Slot:
    """One batch size's buffers, and the binding between them."""

    def __init__(
        self,
        session: ort.InferenceSession,
        size: int,
        inputs: TensorSpec,
        outputs: Sequence[TensorSpec],
        place: str,
        graph: str | None,
    ) -> None:
        self._session, self._lock = session, threading.Lock()
        shape = (size, *inputs.row)
        self._host = np.zeros(shape, inputs.dtype)
        if place == "cuda":
            _page_lock(self._host)
        self._there = ort.OrtValue.ortvalue_from_shape_and_type(shape, self._host.dtype, place, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(inputs.name, self._there)
        self._found = []
        for spec in outputs:
            shape = (size, *spec.row)
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, place, 0)
            self._binding.bind_ortvalue_output(spec.name, value)
            self._found.append(value)
        self._options = ort.RunOptions()
        if graph is not None:
            self._options.add_run_config_entry("gpu_graph_id", graph)

    def run(self, rows: NDArray[Any]) -> list[NDArray[np.float32]]:
        with self._lock:
            self._host[: len(rows)] = rows
            self._host[len(rows) :] = 0
            self._there.update_inplace(self._host)
            self._session.run_with_iobinding(self._binding, self._options)
            return [value.numpy()[: len(rows)].copy() for value in self._found]


def _page_lock(array: NDArray[Any]) -> None:
    """Let the GPU fetch an array by itself; where the driver refuses, copies are only slower."""
    cuda = ctypes.CDLL(DRIVER)
    context = ctypes.c_void_p()
    if cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0):
        return
    cuda.cuCtxSetCurrent(context)
    address, portable = ctypes.c_void_p(array.ctypes.data), 1
    if cuda.cuMemHostRegister_v2(address, ctypes.c_size_t(array.nbytes), portable) == 0:
        finish = weakref.finalize(array, cuda.cuMemHostUnregister, address)
        finish.atexit = False  # the driver is gone by then
