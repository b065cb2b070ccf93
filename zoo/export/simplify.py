"""What torch's exporter writes and other runtimes stumble over, left out of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

Array = NDArray[Any]

#: Of zeros as their first input, these make zeros.
_STAY_ZEROS = ("Slice", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "MatMul", "Gemm")
_RECURRENT = ("RNN", "LSTM", "GRU")


def simplify(graph: GraphProto) -> None:
    """Change a graph, with the shapes of its values, to one that computes the same bits."""
    _plain_reshapes(graph)
    # what the body of a loop or a branch reads from outside is not among the inputs of its node
    if not any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        _no_zero_states(graph)
        _remove_unused(graph)


def _plain_reshapes(graph: GraphProto) -> None:
    """Leave out `allowzero=1` where the shape has no zero: several runtimes do not know it."""
    constants = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        if (numpy_helper.to_array(constants[node.input[1]]) != 0).all():
            del node.attribute[:]  # it is the only one that there is


def _no_zero_states(graph: GraphProto) -> None:
    """Leave out the zeros that a recurrent network begins with, and their product with weights.

    They have as many rows as the batch, so where that is free, a graph computes their shape
    (Shape, Concat, Expand), which compilers for small devices often cannot.
    """
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    fixed = {"", *constants}  # "": an input that is left out
    for node in graph.node:  # each stands behind those that it needs
        if fixed.issuperset(node.input):
            fixed.update(node.output)
    for node in graph.node:
        value = constants.get(node.input[0]) if node.op_type == "Expand" else None
        if value is not None and value.size == 1 and not value.any():
            _follow(graph, node.output[0], value, constants, fixed)


def _follow(
    graph: GraphProto, name: str, row: Array, constants: Mapping[str, Array], fixed: set[str]
) -> None:
    """Follow equal rows to the sums and states that they are a part of, and take them out there.

    Args:
        graph: to change.
        name: of the rows.
        row: one of them: a single zero at first, whatever their width, and then the bias that
            they get after a product with weights.
        constants: the graph's, by name.
        fixed: the names of all that does not depend on the graph's inputs.
    """
    zeros = not row.any()
    for node in [node for node in graph.node if name in node.input]:
        others = [each for each in node.input if each != name]
        kind, output = node.op_type, node.output[0]
        first = zeros and node.input[0] == name and fixed.issuperset(others)
        last = constants.get(others[-1]) if others else None
        if kind == "Add" and len(others) == 1 and others[0] not in fixed:
            _take_out(graph, node, others[0], row)
        elif kind == "Add" and zeros and last is not None:
            _follow(graph, output, last if last.any() else row, constants, fixed)
        elif kind == "Gemm" and first and len(others) == 2:
            if last is not None and all(
                each.f == 1 for each in node.attribute if each.name == "beta"
            ):
                _follow(graph, output, last if last.any() else row, constants, fixed)
        elif kind in _STAY_ZEROS and first:
            _follow(graph, output, row, constants, fixed)
        elif kind in _RECURRENT and zeros:
            for number in range(5, min(len(node.input), 7)):  # h and c: zeros where left out
                if node.input[number] == name:
                    node.input[number] = ""


def _take_out(graph: GraphProto, node: NodeProto, rest: str, row: Array) -> None:
    """Let a sum have one row in place of many, if the others are as many as the `rest` has."""
    values = (*graph.value_info, *graph.input, *graph.output)
    shapes = {each.name: list(each.type.tensor_type.shape.dim) for each in values}
    found, given = shapes.get(node.output[0], []), shapes.get(rest, [])
    more = len(found) - len(given)
    if not given or not all(dim.dim_value or dim.dim_param for dim in given):
        return  # two unknown sizes may be different ones
    if found[more:] != given or any(dim.dim_value != 1 for dim in found[:more]):
        return
    row = row.reshape([1] * (len(found) - row.ndim) + list(row.shape))
    name = f"{node.output[0]}_row"
    graph.initializer.append(numpy_helper.from_array(row, name))
    node.input[:] = [name, rest]


def _remove_unused(graph: GraphProto) -> None:
    """Remove what no output needs; onnxscript's function for it changes all bytes of a file."""
    needed = {output.name for output in graph.output}
    for number in reversed(range(len(graph.node))):
        node = graph.node[number]
        if needed.intersection(node.output):
            needed.update(node.input)
        else:
            del graph.node[number]
    unused = [each for each in graph.initializer if each.name not in needed]
    for constant in unused:
        graph.initializer.remove(constant)
