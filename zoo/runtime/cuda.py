"""A session on a GPU: a few fixed batch sizes, with buffers that are bound once (IO binding).

A batch is padded to a power of two, so that cuDNN selects its algorithms once per size. Each size
has two slots, a pinned host buffer and a device buffer: while one slot computes, the rows of the
other are copied. With CUDA graphs a slot's kernels are recorded once and replayed.
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
from numpy.typing import NDArray

from zoo.runtime.library import ort
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
        device: of the buffers: "cuda"; "cpu" runs the same way without a GPU.
        graphs: the session was opened with `enable_cuda_graph`; its runs must not overlap.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: TensorSpec,
        outputs: Sequence[TensorSpec],
        *,
        device: str = "cuda",
        graphs: bool = False,
    ) -> None:
        self._session, self._inputs, self._outputs = session, inputs, outputs
        self._device, self._graphs = device, graphs
        self._slots: dict[int, list[_Slot]] = {}
        self._allocating = threading.Lock()
        workers = 1 if graphs else _SLOTS
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="zoo-gpu")

    def run(self, rows: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Return the outputs of rows with exactly the dtype and row shape of the model's input."""
        if not len(rows):  # a GPU buffer has one row at least
            rows = np.zeros((1, *rows.shape[1:]), rows.dtype)
            return [output[:0] for output in self.run(rows)]
        chunks = [rows[start : start + LARGEST] for start in range(0, len(rows), LARGEST)]
        slots = [self._slot(len(chunk), number) for number, chunk in enumerate(chunks)]
        results = list(self._pool.map(_Slot.run, slots, chunks))
        if len(results) == 1:
            return results[0]
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    def _slot(self, rows: int, number: int) -> _Slot:
        size = 1 << (rows - 1).bit_length()
        with self._allocating:
            slots = self._slots.setdefault(size, [])
            number %= 1 if self._graphs else _SLOTS  # consecutive chunks alternate
            while len(slots) <= number:
                graph = str(len(self._slots)) if self._graphs else None
                slots.append(
                    _Slot(self._session, size, self._inputs, self._outputs, self._device, graph)
                )
            return slots[number]


class _Slot:
    """The buffers of one batch size, bound to the session's input and outputs."""

    def __init__(
        self,
        session: ort.InferenceSession,
        size: int,
        inputs: TensorSpec,
        outputs: Sequence[TensorSpec],
        device: str,
        graph: str | None,
    ) -> None:
        self._session, self._lock = session, threading.Lock()
        shape = (size, *inputs.row)
        self._host = np.zeros(shape, inputs.dtype)
        if device == "cuda":
            _pin(self._host)
        self._input = ort.OrtValue.ortvalue_from_shape_and_type(shape, self._host.dtype, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(inputs.name, self._input)
        self._results = []
        for spec in outputs:
            shape = (size, *spec.row)
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)
            self._binding.bind_ortvalue_output(spec.name, value)
            self._results.append(value)
        self._options = ort.RunOptions()
        if graph is not None:
            self._options.add_run_config_entry("gpu_graph_id", graph)

    def run(self, rows: NDArray[Any]) -> list[NDArray[np.float32]]:
        with self._lock:
            self._host[: len(rows)] = rows
            self._host[len(rows) :] = 0  # padding: rows of an earlier, larger batch
            self._input.update_inplace(self._host)
            self._session.run_with_iobinding(self._binding, self._options)
            return [value.numpy()[: len(rows)].copy() for value in self._results]


def _pin(array: NDArray[Any]) -> None:
    """Make an array's memory pinned: the GPU copies it directly. If refused, copies are slower."""
    cuda = ctypes.CDLL(DRIVER)
    context = ctypes.c_void_p()
    if cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0):
        return
    cuda.cuCtxSetCurrent(context)
    address, portable = ctypes.c_void_p(array.ctypes.data), 1
    if cuda.cuMemHostRegister_v2(address, ctypes.c_size_t(array.nbytes), portable) == 0:
        finish = weakref.finalize(array, cuda.cuMemHostUnregister, address)
        finish.atexit = False  # at exit the driver may be unloaded already
