"""OpenVINO, Intel's runtime, for the same ONNX file."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo import hardware
from zoo.errors import needs_extra
from zoo.runtime.providers import Run
from zoo.spec import TensorSpec


def compile_graph(graph: bytes, inputs: TensorSpec, threads: int) -> Run:
    """Compile an ONNX file for the CPU, in bfloat16 where the processor supports it.

    Tables are computed in float32: their raw columns have more digits than bfloat16 holds.
    """
    with needs_extra("openvino", "engine 'openvino'"):
        import openvino
    core = openvino.Core()
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads or hardware.thread_limit()}
    if inputs.dtype != "uint8":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    name = inputs.name
    compiled = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", settings)

    local = threading.local()

    def run(rows: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
        # One request per thread: threads may run at the same time, but not share a request, and a
        # new one for each run would take longer than a small batch.
        if not hasattr(local, "request") or not len(rows):  # no rows: a used one keeps its outputs
            local.request = compiled.create_infer_request()
        outputs = local.request.infer({name: rows}).to_tuple()
        return [output.copy() for output in outputs]  # they are views of the request's memory

    return run
