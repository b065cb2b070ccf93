"""A session: a bundle, ready to run, without torch, on the requested device or not at all.

session = Session("cnn", device="auto")
session.predict(images)                 # uint8 [batch, 28, 28, 1], any batch size
session.predict_images(["a.png", "b.jpg"])
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo import arrays
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.errors import (
    DataError,
    UsageError,
    VerificationError,
    ZooError,
    first_line,
    unknown,
)
from zoo.images import Invert, Prepare
from zoo.runtime import choices, contract
from zoo.runtime import inputs as given
from zoo.runtime.cuda import Runner
from zoo.runtime.openvino import compile_graph
from zoo.runtime.providers import DEVICES, Run, cuda_missing, open_session, session_options
from zoo.spec import ImageSpec

ENGINES = ("auto", "onnx", "numpy", "openvino")
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
            the same ONNX file (the extra of that name), both on the CPU; "auto" on the CPU the
            fastest one that `zoo tune` measured here, else "onnx".
        file: the bundle's ONNX file, for a bundle with several.
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
        VerificationError: the ONNX file does not match the card, or cannot be loaded.
        DeviceError: the device is not available, and why.
    """

    def __init__(
        self,
        name: str | os.PathLike[str] | Bundle,
        *,
        engine: str = "onnx",
        file: str = ONNX,
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
        self._opened = {
            "name": bundle.path, "engine": engine, "file": file, "device": device,
            "threads": threads, "spin": spin, "graphs": graphs, "fp16": fp16,
        }  # fmt: skip
        self.card = bundle.card
        self._input = self.card.inputs[0]
        self._dtype, self._row = np.dtype(self._input.dtype), self._input.row
        self._rows = self._input.rows(_CHUNK)
        self._labels = np.array(self.card.labels, object)
        self._run: Run
        self.device = "cpu"
        on_gpu = device not in ("auto", "cpu") or (device == "auto" and cuda_missing() is None)
        if engine == "auto" and not on_gpu and (tuning := choices.read(bundle)) is not None:
            small, large = (tuning.choose(batch, threads) for batch in choices.BATCHES)
            few, *other = (self._open(bundle, one.engine, one.file, one.threads, "cpu", spin)
                           for one in dict.fromkeys((small, large)))  # fmt: skip
            self._run = few
            if other:
                many = other[0]
                self._run = lambda rows: (few if len(rows) <= choices.SMALL else many)(rows)
        else:
            engine = "onnx" if engine == "auto" else engine
            self._run = self._open(bundle, engine, file, threads, device, spin, graphs, fp16)

    def _open(
        self, bundle: Bundle, engine: str, file: str, threads: int, device: str, spin: bool,
        graphs: bool = False, fp16: bool = False,
    ) -> Run:  # fmt: skip
        """Open a bundle in an engine."""
        if engine == "onnx":
            return self._onnxruntime(bundle, file, threads, device, spin, graphs, fp16)
        if device not in ("auto", "cpu"):
            raise UsageError(f"engine {engine!r} runs on the CPU, given device {device!r}")
        if engine == "openvino":
            return partial(
                _chunks, compile_graph(bundle.read(file), self._input, threads), self._rows
            )
        from zoo.scratch import Pipeline, build

        return Pipeline(build(bundle), self.card.spec, self.card.task)

    def _onnxruntime(
        self, bundle: Bundle, file: str, threads: int, device: str, spin: bool,
        graphs: bool, fp16: bool,
    ) -> Run:  # fmt: skip
        settings = {
            "cuda": {
                "cudnn_conv_algo_search": "HEURISTIC",
                "enable_cuda_graph": str(int(graphs)),
            },
            "tensorrt": {"trt_fp16_enable": str(fp16)},
        }
        graph = bundle.read(file)
        try:
            session, self.device = open_session(
                graph, device, session_options(threads, spin), settings
            )
        except ZooError:
            raise
        except Exception as error:  # ONNX Runtime's own; nothing but the graph causes it
            raise VerificationError(
                f"bundle {bundle.path}: {file} cannot be loaded: {first_line(error)}"
            ) from None
        if problem := contract.mismatch(session, self.card):
            raise VerificationError(f"bundle {bundle.path}: {problem}")
        if self.device in ("cuda", "tensorrt"):
            return Runner(session, self._input, self.card.outputs, graphs=graphs).run
        name, names = self._input.name, [output.name for output in session.get_outputs()]
        return partial(_chunks, lambda inputs: session.run(names, {name: inputs}), self._rows)

    def __getstate__(self) -> dict[str, Any]:
        """Return how it was opened: a process that unpickles it opens the bundle by its path."""
        return self._opened

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the bundle again."""
        self.__init__(**state)  # type: ignore[misc]

    def run(self, inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Run the graph on any number of rows; return its outputs in the card's order.

        Args:
            inputs: of exactly the card's dtype and row shape.

        Raises:
            DataError: another dtype or shape, or a number that is not finite.
        """
        if inputs.dtype != self._dtype or inputs.shape[1:] != self._row or inputs.ndim < 2:
            spec = self._input
            raise DataError(
                f"{spec.name}: expected {spec.dtype} {_shape(spec.shape)}, "
                f"given {inputs.dtype} {_shape(inputs.shape)}"
            )
        # The sum of squares is quicker than a look at each number. It is not finite where one of
        # them is not, and where they are so large that it is worth the look.
        suspect = self._dtype.kind == "f" and not isfinite(np.vdot(inputs, inputs))
        if suspect and not np.isfinite(inputs).all():
            raise DataError(f"{self._input.name}: expected finite numbers, given NaN or infinity")
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

    def check(self) -> None:
        """Run two rows of zeros, to see before any request that the graph answers as its card says.

        Raises:
            VerificationError: it fails, or its outputs have another shape or dtype.
        """
        try:
            outputs = self._run(np.zeros((2, *self._input.row), self._input.dtype))
            problem = contract.wrong_answer(outputs, self.card.outputs, 2)
        except Exception as error:  # ONNX Runtime's own
            problem = first_line(error)
        if problem:
            raise VerificationError(f"{self.card.name}: the graph does not fit its card: {problem}")

    def predict(self, inputs: Any) -> Prediction:
        """Predict any number of rows.

        Args:
            inputs: uint8 [batch, height, width, channels] images or float32 [batch, columns]
                features, as the card says, which go to the model as they are; a gray image may
                leave the channels out. Anything else as `predict_images` or `predict_table` takes
                it: paths, bytes, PIL images and arrays of other forms; data frames and dicts.

        Raises:
            DataError: see `run`, `predict_images` and `predict_table`.
        """
        spec, own = self.card.spec, self._input
        if isinstance(inputs, np.ndarray) and inputs.dtype == own.dtype:
            image = isinstance(spec, ImageSpec)
            if image and own.row[2] == 1 and inputs.shape[1:] == own.row[:2]:
                inputs = inputs[..., np.newaxis]
            # a drawing of 0 and 1 is no image of 0 to 255; the first row tells most of them apart
            if inputs.shape[1:] == own.row and not (
                image and not inputs[:1].tobytes().strip(b"\0\1") and arrays.white(inputs) == 1
            ):
                return self._predict(inputs)
        if isinstance(spec, ImageSpec):
            return self.predict_images(inputs)
        return self.predict_table(inputs)

    def predict_images(
        self, images: Any, *, prepare: Prepare = "auto", invert: Invert = "auto"
    ) -> Prediction:
        """Predict images, each prepared as `zoo predict` does; see `zoo.images.decode`.

        Args:
            images: a path (str or Path), the bytes of a file, a PIL image, or a list of these and
                of arrays [height, width] or [height, width, channels] of any size. Or an array of
                images of the model's size: [batch, height, width, channels] or
                [batch, channels, height, width], for gray ones also [batch, height, width] or
                [batch, height * width]; one image also without the batch. Its numbers are 0 to
                255, 0 to 1 in floats, 0 and 1, or 10 to 16 bits.
            prepare: "auto" finds, scales and centers digits; "none" only resizes.
            invert: "yes" for dark on light, "no" for light on dark, "auto" finds out.

        Raises:
            DataError: an image that cannot be read, and its number or path; an array of another
                shape or range; or the model takes a table.
        """
        if not isinstance(self.card.spec, ImageSpec):
            raise DataError(f"{self.card.name} takes a table, not images: use predict_table")
        return self._predict(given.pictures(images, self.card.spec, prepare, invert))

    def predict_table(self, table: Any) -> Prediction:
        """Predict the rows of a table; columns are matched by name, and others ignored.

        Args:
            table: a data frame of pandas or polars, a table of PyArrow, a list of dicts (rows), a
                dict of columns or of the numbers of one row, or the path of a CSV file. Or without
                names, in the order of the card: an array of numbers [batch, columns], a list of
                such rows, or one row.

        Raises:
            DataError: missing columns, all of them named; a value that is not a finite number,
                and its row, counted from 0, and column; or the model takes images.
        """
        if isinstance(self.card.spec, ImageSpec):
            raise DataError(f"{self.card.name} takes images, not a table: use predict_images")
        return self._predict(given.table(table, self.card.spec))

    def _predict(self, rows: NDArray[Any]) -> Prediction:
        outputs = self.run(rows)
        if self.card.task == "regression":
            no_classes = np.empty((len(rows), 0), np.float32)
            return Prediction([], no_classes, np.empty(0, np.int64), outputs[0][:, 0])
        indices = outputs[1].argmax(axis=1).astype(np.int64)
        labels = self._labels[indices].tolist()
        return Prediction(labels, outputs[1], indices, np.empty(0, np.float32))


def _chunks(run: Run, rows: int, inputs: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
    """Run at most so many rows at a time."""
    inputs = np.ascontiguousarray(inputs)
    if len(inputs) <= rows:
        return run(inputs)
    results = [run(inputs[start : start + rows]) for start in range(0, len(inputs), rows)]
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _shape(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
