"""Variants of an ONNX file: precision, opset, a fixed batch, with or without the preprocessing.

fp32  the network as it is; held to torch within 1e-4 and the same top-1.
fp16  the network in half precision; inputs, normalising, outputs and softmax stay as they are.
int8  static quantisation (QDQ): 8-bit weights and activations, whose ranges are those of up to
      1,024 training rows. In float32 stay the convolution that reads the image (over one channel
      it is slower in int8) and what a Gemm or MatMul gives, until the next one reads it: logits
      are not clipped. A table's standardised columns have outliers ten deviations out: there
      activations have 16 bits, and the file has opset 21. An x86 processor without VNNI (before
      2019) may round worse: `zoo evaluate` says how it is on yours.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
import onnx
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.errors import UsageError, unknown
from zoo.network.pipeline import Pipeline, channels_first

Precision = Literal["fp32", "fp16", "int8"]
Preprocess = Literal["graph", "none"]
#: The default is what ONNX Runtime 1.18 and later load; torch's converter reaches these.
OPSET, OPSETS = 20, range(15, 27)
CALIBRATION = 1024
_MATRICES = ["Gemm", "MatMul"]


class Variant(Struct, frozen=True):
    """Which ONNX file of a network; the default is the one in its bundle.

    Attributes:
        precision: of the network's weights and arithmetic.
        opset: None takes 20, or what the precision needs.
        batch: rows that the file takes, always; None: any number.
        preprocess: "graph": raw input, as on the card; "none": the file's input is named `input`
            and takes float32 [batch, channels, height, width] or columns, normalised already.
    """

    precision: Precision = "fp32"
    opset: int | None = None
    batch: int | None = None
    preprocess: Preprocess = "graph"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise unknown("precision", self.precision, get_args(Precision))
        if self.preprocess not in get_args(Preprocess):
            raise unknown("preprocess", self.preprocess, get_args(Preprocess))
        if self.opset is not None and self.opset not in OPSETS:
            raise UsageError(f"opset {self.opset}: expected {OPSETS[0]} to {OPSETS[-1]}")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch {self.batch}: expected 1 or more")


class Half(nn.Module):
    """A network made to compute in half precision, float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Tensor:
        """Map what the network maps, to what it gives."""
        y: Tensor = self.network(x.half()).float()
        return y


def normalised(pipeline: Pipeline, inputs: NDArray[Any]) -> NDArray[Any]:
    """Do to raw inputs what a caller of a file without preprocessing does."""
    x = torch.from_numpy(inputs)
    rows: NDArray[Any] = pipeline.normalise(channels_first(x) if pipeline.image else x).numpy()
    return rows


def filled(rows: NDArray[Any], batch: int) -> NDArray[Any]:
    """Fill up the last batch with the first rows again: some files take whole batches alone."""
    return np.resize(rows, (-(-len(rows) // batch) * batch, *rows.shape[1:]))


def defuse(graph: onnx.GraphProto) -> None:
    """Turn MatMul(Transpose(x), weight) into Transpose(MatMul(x, weight)), where it is the same.

    ONNX Runtime 1.31 fuses the former, in half precision on the CPU, with a segmentation fault.
    """
    weights = {weight.name for weight in graph.initializer if len(weight.dims) == 2}
    before = {node.output[0]: node for node in graph.node if node.op_type == "Transpose"}
    for node in graph.node:
        transpose = before.get(node.input[0]) if node.op_type == "MatMul" else None
        if transpose is None or node.input[1] not in weights:
            continue
        perm, between = list(transpose.attribute[0].ints), transpose.output[0]
        if perm[-1] == len(perm) - 1 and sum(between in other.input for other in graph.node) == 1:
            x, weight, y = transpose.input[0], node.input[1], node.output[0]
            transpose.CopyFrom(onnx.helper.make_node("MatMul", [x, weight], [between]))
            node.CopyFrom(onnx.helper.make_node("Transpose", [between], [y], perm=perm))


def quantise(
    model: onnx.ModelProto, rows: NDArray[Any], batch: int, *, wide: bool
) -> onnx.ModelProto:
    """Quantise a float32 model to int8, with the ranges that `rows` have; `wide`: to 16 bits."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    _fold(model.graph)
    name, whole = model.graph.input[0].name, filled(rows, batch)
    parts = ({name: whole[at : at + batch]} for at in range(0, len(whole), batch))
    with tempfile.TemporaryDirectory(prefix="zoo-int8-") as folder:
        path = Path(folder) / "model.onnx"
        quantize_static(
            model,
            path,
            SimpleNamespace(get_next=lambda: next(parts, None)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", *_MATRICES],
            activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in model.graph.node if node.op_type == "Conv"][:1],
            extra_options={"OpTypesToExcludeOutputQuantization": _MATRICES},
        )
        quantised = onnx.load(path)
    _shorten(quantised.graph)
    return quantised


def _fold(graph: onnx.GraphProto) -> None:
    """Transpose weights here, not in the file: only what is constant is quantised once for all."""
    weights = {weight.name: weight for weight in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        name = node.input[0]
        if name in weights and sum(name in other.input for other in graph.node) == 1:
            array = onnx.numpy_helper.to_array(weights[name]).transpose(node.attribute[0].ints)
            weights[name].CopyFrom(onnx.numpy_helper.from_array(array, node.output[0]))
            graph.node.remove(node)


def _shorten(graph: onnx.GraphProto) -> None:
    """Shorten all names but those of inputs, outputs and weights; keep one of equal constants.

    An unrolled recurrent network has more bytes of names and biases than of 8-bit weights.
    """
    kept = [value.name for value in (*graph.input, *graph.output)]
    kept += [weight.name for weight in graph.initializer if len(weight.dims) > 1]
    names, count = {name: name for name in ("", *kept)}, itertools.count()
    first: dict[tuple[Any, ...], str] = {}
    for value in list(graph.initializer):
        array = onnx.numpy_helper.to_array(value)
        same = (array.dtype, array.shape, array.tobytes())
        if same in first:
            graph.initializer.remove(value)
        names[value.name] = value.name = first.setdefault(
            same, names.get(value.name, f"v{next(count)}")
        )
    for node in graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [names.setdefault(name, f"v{next(count)}") for name in side]
