"""A session: a bundle, ready to run, without torch, on the requested device or not at all.

session = Session("cnn", device="auto")
session.predict(images)                 # uint8 [batch, 28, 28, 1], any batch size
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.errors import DataError, UsageError, unknown
from zoo.runtime.cuda import Runner
from zoo.runtime.openvino import compile_graph
from zoo.runtime.providers import DEVICES, Run, open_session, session_options
from zoo.spec import ImageSpec

ENGINES = ("onnx", "numpy", "openvino")
#: Rows per run on the CPU: enough to use all cores, few enough for their activations to stay in
#: the cache.
_CHUNK = 256


@dataclass(frozen=True)
class Prediction:
    """A model's predictions for a batch.

    Attributes:
        labels: the name of each row's most probable class; empty in a regression.
        probabilities: float32 [batch, classes]; [batch, 0] in a regression.
        indices: int64 [batch], the most probable class; empty in a regression.
        values: float32 [batch], the predicted value; empty unless a regression.
    """

    labels: list[str]
    probabilities: NDArray[np.float32]
    indices: NDArray[np.int64]
    values: NDArray[np.float32]


class Session:
    """A bundle, ready to predict.

    Args:
        name: a shipped bundle's name, the path of a bundle, hf://user/repo, or an open bundle.
        engine: "onnx" is ONNX Runtime; "numpy" the layers by hand, "openvino" Intel's runtime for
            the same ONNX file (the extra of that name), both on the CPU.
        device: "cuda" and "tensorrt" never fall back to the CPU; "auto" takes CUDA if it works,
            else the CPU.
        threads: of one run of ONNX Runtime or OpenVINO on the CPU; 0: one per core.
        spin: let ONNX Runtime's threads wait for the next run in a busy loop: faster alone,
            slower beside other work.
        graphs: record CUDA graphs and replay them; for device "cuda" only.
        fp16: let TensorRT compute in half precision; for device "tensorrt" only.

    Attributes:
        card: the bundle's card.
        device: the device in use: "cpu", "cuda", "tensorrt" or "mps".

    Raises:
        UsageError: no such bundle or device name.
        VerificationError: the ONNX file does not match the card.
        DeviceError: the device is not available, and why.
    """

    def __init__(
        self,
        name: str | os.PathLike[str] | Bundle,
        *,
        engine: str = "onnx",
        device: str = "auto",
        threads: int = 0,
        spin: bool = True,
        graphs: bool = False,
        fp16: bool = False,
    ) -> None:
        if device not in DEVICES:
            raise unknown("device", device, DEVICES)
        if engine not in ENGINES:
            raise unknown("engine", engine, ENGINES)
        for value, option, needed in ((graphs, "graphs", "cuda"), (fp16, "fp16", "tensorrt")):
            if value and device != needed:
                raise UsageError(f"{option} is for device {needed!r}, given device {device!r}")
        bundle = Bundle.open(name)
        self.card = bundle.card
        self._input = self.card.inputs[0]
        self._labels = np.array(self.card.labels, object)
        self._run: Run
        if engine == "onnx":
            settings = {
                "cuda": {
                    "cudnn_conv_algo_search": "HEURISTIC",
                    "enable_cuda_graph": str(int(graphs)),
                },
                "tensorrt": {"trt_fp16_enable": str(fp16)},
            }
            options = session_options(threads, spin)
            session, self.device = open_session(bundle.read(ONNX), device, options, settings)
            if self.device in ("cuda", "tensorrt"):
                self._run = Runner(session, self._input, self.card.outputs, graphs=graphs).run
            else:
                name = self._input.name
                self._run = partial(_chunks, lambda inputs: session.run(None, {name: inputs}))
            return
        if device not in ("auto", "cpu"):
            raise UsageError(f"engine {engine!r} runs on the CPU, given device {device!r}")
        self.device = "cpu"
        if engine == "openvino":
            self._run = partial(_chunks, compile_graph(bundle.read(ONNX), self._input, threads))
        else:
            from zoo.scratch import Pipeline, build

            self._run = Pipeline(build(bundle), self.card.spec, self.card.task)

    def run(self, inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Run the graph on any number of rows; return its outputs in the card's order.

        Args:
            inputs: of exactly the card's dtype and row shape.

        Raises:
            DataError: another dtype or shape, or a number that is not finite.
        """
        spec = self._input
        if inputs.dtype != spec.dtype or inputs.shape[1:] != spec.row or inputs.ndim < 2:
            raise DataError(
                f"{spec.name}: expected {spec.dtype} {_shape(spec.shape)}, "
                f"given {inputs.dtype} {_shape(inputs.shape)}"
            )
        if spec.dtype == "float32" and not np.isfinite(inputs).all():
            raise DataError(f"{spec.name}: expected finite numbers, given NaN or infinity")
        return list(self._run(inputs))

    def warm_up(self, rows: int = 1) -> float:
        """Run rows of zeros three times, so that the first request does not wait for allocations.

        Returns:
            The seconds of the fastest run.
        """
        zeros = np.zeros((rows, *self._input.row), self._input.dtype)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            self._run(zeros)
            times.append(time.perf_counter() - began)
        return min(times)

    def predict(self, inputs: NDArray[Any]) -> Prediction:
        """Predict any number of rows.

        Args:
            inputs: uint8 [batch, height, width, channels] images or float32 [batch, columns]
                features, as the card says; a gray image may leave the channels out.

        Raises:
            DataError: see `run`.
        """
        spec = self.card.spec
        if isinstance(spec, ImageSpec) and spec.channels == 1 and inputs.ndim == 3:
            inputs = inputs[..., np.newaxis]
        outputs = self.run(inputs)
        if self.card.task == "regression":
            no_classes = np.empty((len(inputs), 0), np.float32)
            return Prediction([], no_classes, np.empty(0, np.int64), outputs[0][:, 0])
        indices = outputs[1].argmax(axis=1).astype(np.int64)
        labels = self._labels[indices].tolist()
        return Prediction(labels, outputs[1], indices, np.empty(0, np.float32))


def _chunks(run: Run, inputs: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
    """Run at most `_CHUNK` rows at a time."""
    inputs = np.ascontiguousarray(inputs)
    if len(inputs) <= _CHUNK:
        return run(inputs)
    results = [run(inputs[start : start + _CHUNK]) for start in range(0, len(inputs), _CHUNK)]
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _shape(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
