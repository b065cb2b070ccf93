"""fp16 and int8: the network in half precision, the graph quantized; see `zoo.export.variant`."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.export.parity import filled
from zoo.network.pipeline import Pipeline, channels_first

CALIBRATION = 1024
_MATRICES = ["Gemm", "MatMul"]


class Half(nn.Module):
    """A network made to compute in half precision, float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Tensor:
        """Map what the network maps, to what it gives."""
        y: Tensor = self.network(x.half()).float()
        return y


def normalized(pipeline: Pipeline, inputs: NDArray[Any]) -> NDArray[Any]:
    """Do to raw inputs what a caller of a file without preprocessing does."""
    x = torch.from_numpy(inputs)
    rows: NDArray[Any] = pipeline.normalise(channels_first(x) if pipeline.image else x).numpy()
    return rows


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


def quantize(
    model: onnx.ModelProto, rows: NDArray[Any], batch: int, *, wide: bool
) -> onnx.ModelProto:
    """Quantize a float32 model to int8, with the ranges that `rows` have; `wide`: to 16 bits."""
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
        quantized = onnx.load(path)
    _shorten(quantized.graph)
    return quantized


def _fold(graph: onnx.GraphProto) -> None:
    """Transpose weights here, not in the file: only what is constant is quantized once for all."""
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
