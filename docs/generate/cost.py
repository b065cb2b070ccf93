"""The multiply-adds of an ONNX graph for one row of input."""

from __future__ import annotations

import math
from typing import Any


def multiply_adds(model: Any) -> int:
    """Return the multiply-adds of the convolutions and matrix products at batch 1.

    A product of [n, k] and [k, m] has n * k * m; a convolution, for each number of its output, as
    many as its kernel has weights. Biases, activations and pooling are not counted, as usual.

    Args:
        model: an `onnx.ModelProto`; it is not changed.

    Raises:
        ValueError: the shape of a product's operand cannot be derived.
    """
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True, strict_mode=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            output = shapes[node.output[0]]
            if not output or 0 in output:
                raise ValueError(f"{node.op_type} {node.name}: its shape is not known")
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += math.prod(output) * shapes[node.input[0]][-2 if transposed else -1]
    return total
