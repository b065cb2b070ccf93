"""fp16 and int8: the network in half precision, the quantized graph; see `zoo.export.variant`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnx_ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import DeduplicateInitializersPass
from torch import Tensor, nn

from zoo.export.parity import filled
from zoo.network.pipeline import Pipeline, channels_first

#: The most training rows to calibrate int8 on.
CALIBRATION = 1024
_MATRICES = ["Gemm", "MatMul"]


class Half(nn.Module):
    """A network that computes in half precision; its input and output are float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Tensor:
        """Map the network's input to its output, shapes as they are."""
        y: Tensor = self.network(x.half()).float()
        return y


def normalized(pipeline: Pipeline, inputs: NDArray[Any]) -> NDArray[Any]:
    """Normalize raw inputs as the caller of a file without preprocessing does."""
    x = torch.from_numpy(inputs)
    rows: NDArray[Any] = pipeline.normalise(channels_first(x) if pipeline.image else x).numpy()
    return rows


def defuse(graph: onnx.GraphProto) -> None:
    """Turn MatMul(Transpose(x), weight) into the equivalent Transpose(MatMul(x, weight)).

    ONNX Runtime 1.31 fuses the former in half precision on the CPU, and crashes.
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
    """Quantize a float32 model to int8 by ONNX Runtime's static quantization.

    Args:
        model: as the exporter returns it.
        rows: inputs for calibration: their activations' ranges become the int8 scales.
        batch: rows of one calibration run.
        wide: 16-bit activations.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name, padded = model.graph.input[0].name, filled(rows, batch)
    batches = ({name: padded[start : start + batch]} for start in range(0, len(padded), batch))
    with tempfile.TemporaryDirectory(prefix="zoo-int8-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        # Folds constants: only weights that are constant, not transposed at run time, become int8.
        quant_pre_process(path, path, skip_symbolic_shape=True)
        model = onnx.load(path)
        quantize_static(
            model,
            path,
            SimpleNamespace(get_next=lambda: next(batches, None)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", *_MATRICES],
            activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in model.graph.node if node.op_type == "Conv"][:1],
            extra_options={"OpTypesToExcludeOutputQuantization": _MATRICES},
        )
        quantized = onnx.load(path)
    del quantized.opset_import[1:]  # ONNX Runtime's own, which no node needs
    constants = {each.name: each for each in quantized.graph.initializer}
    for node in quantized.graph.node:  # a bias: scales [1] beside a zero point [] stop some readers
        if node.op_type == "DequantizeLinear" and len(node.input) == 3:
            scale, zero = (constants[name] for name in node.input[1:])
            if list(scale.dims) == [1] and not zero.dims:
                del scale.dims[:]
    return _shorten(quantized)


def _shorten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep one of equal constants, and shorten the names of all values but inputs and outputs.

    An unrolled recurrent network has more bytes of names and biases than of 8-bit weights.
    """
    short = onnx_ir.from_proto(model)
    DeduplicateInitializersPass()(short)
    constants = short.graph.initializers.values()
    values = [value for value in constants if value.shape is None or value.shape.rank() < 2]
    for node in short.graph:
        node.name = ""
        values += [value for value in node.outputs if not value.is_graph_output()]
    for number, value in enumerate(values):
        value.name = f"v{number}"
    return onnx_ir.to_proto(short)
