"""A session: a bundle, ready to run. No torch; the device asked for or an error.

session = Session("cnn", device="auto")
session.predict(images)                 # uint8 [batch, 28, 28, 1], any batch size
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from zoo import cards
from zoo.errors import DataError, DeviceError, UsageError, VerificationError, needs_extra, unknown
from zoo.runtime.cuda import DRIVER, Runner
from zoo.spec import ImageSpec

ENGINES = ("onnx", "numpy", "openvino")
DEVICES = ("auto", "cpu", "cuda", "tensorrt", "mps")
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "mps": "CoreMLExecutionProvider",
}
#: Rows a run: enough to fill the cores, little enough to stay in their cache.
_CHUNK = 256

Run = Callable[[NDArray[Any]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True)
class Prediction:
    """What a model says of each row.

    Attributes:
        labels: the most probable class's name, a row; empty in a regression.
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
        name: a shipped bundle's name, or the path of a bundle.
        engine: "onnx" is ONNX Runtime; "numpy" the layers by hand, "openvino" Intel's runtime for
            the same ONNX file (the extra of that name), both on the CPU.
        device: "cuda" and "tensorrt" never run on the CPU; "auto" takes CUDA if it works, else
            the CPU.
        threads: of one run of ONNX Runtime or OpenVINO on the CPU; 0 takes all cores.
        spin: let ONNX Runtime's threads wait busily for the next run: faster alone, wasteful
            beside other work.
        graphs: record CUDA graphs and replay them; on "cuda" alone.
        fp16: let TensorRT compute in half precision; on "tensorrt" alone.

    Attributes:
        card: the bundle's card.
        device: the device taken: "cpu", "cuda", "tensorrt" or "mps".

    Raises:
        UsageError: no such bundle or device name.
        VerificationError: the bundle's file is not the card's.
        DeviceError: the device is not there, and why.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
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
        for given, option, only in ((graphs, "graphs", "cuda"), (fp16, "fp16", "tensorrt")):
            if given and device != only:
                raise UsageError(f"{option} is for device {only!r}, given device {device!r}")
        bundle = cards.locate(name)
        self.card = cards.read(bundle)
        self._input = self.card.inputs[0]
        self._row = tuple(self._input.shape[1:])
        self._labels = np.array(self.card.labels, object)
        if engine != "onnx":
            if device not in ("auto", "cpu"):
                raise UsageError(f"engine {engine!r} runs on the CPU, given device {device!r}")
            self.device = "cpu"
            if engine == "openvino":
                run = _openvino(_graph(bundle, self.card), self._input.name, threads)
                self._run: Run = partial(_chunks, run)
                return
            from zoo.scratch import Pipeline, build

            self._run = Pipeline(build(bundle), self.card.spec, self.card.task)
            return
        session, self.device = _open(
            _graph(bundle, self.card),
            device,
            _session_options(threads, spin),
            {
                "cuda": {
                    "cudnn_conv_algo_search": "HEURISTIC",
                    "enable_cuda_graph": str(int(graphs)),
                },
                "tensorrt": {"trt_fp16_enable": str(fp16)},
            },
        )
        if self.device in ("cuda", "tensorrt"):
            self._run = Runner(session, self._input, self.card.outputs, graphs=graphs).run
        else:
            name = self._input.name
            self._run = partial(_chunks, lambda inputs: session.run(None, {name: inputs}))

    def run(self, inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Run the graph over any number of rows; return its outputs, in the card's order.

        Args:
            inputs: exactly the card's input: dtype and all but the first dimension.

        Raises:
            DataError: another dtype or shape, or a number that is not finite.
        """
        spec = self._input
        if inputs.dtype != spec.dtype or inputs.shape[1:] != self._row or inputs.ndim < 2:
            raise DataError(
                f"{spec.name}: expected {spec.dtype} {_shape(spec.shape)}, "
                f"given {inputs.dtype} {_shape(inputs.shape)}"
            )
        if spec.dtype == "float32" and not np.isfinite(inputs).all():
            raise DataError(f"{spec.name}: expected finite numbers, given NaN or infinity")
        return list(self._run(inputs))

    def warm_up(self, rows: int = 1) -> float:
        """Run some rows of zeros three times, so that real ones do not wait for allocations.

        Returns:
            The seconds that the fastest took.
        """
        zeros = np.zeros((rows, *(int(size) for size in self._row)), self._input.dtype)
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
                features, as the card says; a grey image may leave the channels out.

        Raises:
            DataError: see `run`.
        """
        spec = self.card.spec
        if isinstance(spec, ImageSpec) and spec.channels == 1 and inputs.ndim == 3:
            inputs = inputs[..., np.newaxis]
        outputs = self.run(inputs)
        if self.card.task == "regression":
            nothing = np.empty((len(inputs), 0), np.float32)
            return Prediction([], nothing, np.empty(0, np.int64), outputs[0][:, 0])
        indices = outputs[1].argmax(axis=1).astype(np.int64)
        labels = self._labels[indices].tolist()
        return Prediction(labels, outputs[1], indices, np.empty(0, np.float32))


def _graph(bundle: Path, card: cards.Card) -> bytes:
    try:
        graph = (bundle / cards.ONNX).read_bytes()
    except FileNotFoundError:
        raise VerificationError(f"bundle {bundle}: {cards.ONNX} is missing") from None
    if hashlib.sha256(graph).hexdigest() != card.files.get(cards.ONNX):
        raise VerificationError(f"bundle {bundle}: {cards.ONNX} is not the file its card names")
    return graph


def _chunks(run: Run, inputs: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
    inputs = np.ascontiguousarray(inputs)
    if len(inputs) <= _CHUNK:
        return run(inputs)
    parts = [run(inputs[at : at + _CHUNK]) for at in range(0, len(inputs), _CHUNK)]
    return [np.concatenate(group) for group in zip(*parts, strict=True)]


def _openvino(graph: bytes, name: str, threads: int) -> Run:
    """Compile for the CPU; OpenVINO computes in bfloat16 where the processor is fast at it.

    But not on tables: their raw columns have more digits than bfloat16.
    """
    with needs_extra("openvino", "engine 'openvino'"):
        import openvino
    core = openvino.Core()
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if name != "images":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", settings)

    def run(inputs: NDArray[Any]) -> Sequence[NDArray[np.float32]]:  # a request for each: threads
        found: Sequence[NDArray[np.float32]]
        found = compiled.create_infer_request().infer({name: inputs}).to_tuple()
        return found

    return run


def cpu_session(graph: bytes, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Open a bare ONNX Runtime session on the CPU."""
    options = options or _session_options(0)
    return ort.InferenceSession(graph, options, providers=[PROVIDERS["cpu"]])


def _session_options(threads: int, spin: bool = True) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.log_severity_level = 4  # what goes wrong is told in our own words
    return options


def _open(
    graph: bytes, device: str, options: ort.SessionOptions, settings: dict[str, dict[str, str]]
) -> tuple[ort.InferenceSession, str]:
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
    raise DeviceError(f"device {device!r} was asked for and is not there: {reason}")


def _open_provider(
    graph: bytes, device: str, options: ort.SessionOptions, settings: dict[str, dict[str, str]]
) -> ort.InferenceSession | None:
    """Open a session whose first provider really is the device's, or return None."""
    there = ort.get_available_providers()
    if PROVIDERS[device] not in there:
        return None
    if device in settings and hasattr(ort, "preload_dlls"):
        ort.preload_dlls(directory="")  # torch's own CUDA wheels, without importing torch
    behind = ("cuda", "cpu") if device == "tensorrt" else ("cpu",)  # for what it has no kernel
    providers = [(PROVIDERS[each], settings.get(each, {})) for each in (device, *behind)]
    try:
        session = ort.InferenceSession(graph, options, providers=providers)
    except Exception:
        return None
    return session if session.get_providers()[0] == PROVIDERS[device] else None


def cuda_missing() -> str | None:
    """Return why CUDA cannot be used, or None if a driver and a GPU are there."""
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


def _shape(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
