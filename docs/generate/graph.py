"""An ONNX graph as a drawing: boxes and arrows from top to bottom, in SVG.

Operations that only compute shapes and constants are left out, and a row of operations that
repeats, such as the 28 steps of a recurrent network, is one box.
"""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _LANE = 168, 40, 18, 26, 26
#: Fill by kind of operation.
_FILLS = {
    "Conv": "#d6e4f5", "Gemm": "#d6e4f5", "MatMul": "#d6e4f5", "MaxPool": "#f8e3d2",
    "AveragePool": "#f8e3d2", "Relu": "#e2f1de", "Tanh": "#e2f1de", "Softmax": "#e2f1de",
    "input": "#ffffff", "output": "#ffffff",
}  # fmt: skip


@dataclass
class Box:
    """One box: its lines of text, and the boxes whose results it takes."""

    title: str
    detail: str
    kind: str
    sources: list[Box] = field(default_factory=list)
    layer: int = 0
    x: float = 0.0

    @property
    def width(self) -> int:
        """Width in pixels; a lane is where an arrow passes a layer."""
        return _LANE if self.kind == "lane" else _WIDTH


def svg(model: Any, title: str) -> str:
    """Return the drawing of an `onnx.ModelProto` as an SVG document."""
    layers = _layers(_boxes(model))
    width = max(_row_width(layer) for layer in layers) + 2 * _GAP_X
    for _ in range(4):  # each box moves to below what it takes
        for layer in layers:
            _place(layer, width)
    height = len(layers) * (_HEIGHT + _GAP_Y) + _GAP_Y
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>{html.escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    boxes = [box for layer in layers for box in layer]
    lines += [_arrow(source, box) for box in boxes for source in box.sources]
    lines += [_draw(box) for box in boxes]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _boxes(model: Any) -> list[Box]:
    """Return the boxes of a model, sources before those that take them."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {value.name: _shape(value) for value in values}
    parameters = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    made: dict[str, Box] = {}
    boxes = []
    for value in graph.input:
        made[value.name] = Box(value.name, shapes[value.name], "input")
        boxes.append(made[value.name])
    for nodes, times in _repeats([node for node in graph.node if _carries_data(node, graph)]):
        sources = [made[name] for node in nodes for name in node.input if name in made]
        if times > 1:
            counts = Counter(node.op_type for node in nodes)
            words = [op if counts[op] == times else f"{counts[op] // times} {op}" for op in counts]
            box = Box(f"{times} steps", ", ".join(words), nodes[0].op_type)
        else:
            (node,) = nodes
            box = Box(_name(node, parameters), shapes.get(node.output[0], ""), node.op_type)
        box.sources = list({id(source): source for source in sources}.values())
        boxes.append(box)
        made |= {name: box for node in nodes for name in node.output}
    for value in graph.output:
        boxes.append(Box(value.name, shapes[value.name], "output", [made[value.name]]))
    return boxes


def _carries_data(node: Any, graph: Any) -> bool:
    """Say whether a node's result depends on the input's values, and not on its shape alone."""
    names = {value.name for value in graph.input}
    for other in graph.node:
        if other.op_type != "Shape" and names & set(other.input):
            names |= set(other.output)
    return bool(names & set(node.output))


def _repeats(nodes: list[Any]) -> list[tuple[list[Any], int]]:
    """Return the nodes in their order; a row of them that repeats often is one group."""
    groups, start = [], 0
    kinds = [node.op_type for node in nodes]
    while start < len(nodes):
        best = (1, 1)  # period, times
        for period in range(1, 6):
            motif, times = kinds[start : start + period], 1
            while kinds[start + times * period : start + (times + 1) * period] == motif:
                times += 1
            if times >= 10 and period * times > best[0] * best[1]:
                best = (period, times)
        end = start + best[0] * best[1]
        groups.append((nodes[start:end], best[1]))
        start = end
    return groups


def _shape(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    return " × ".join(str(dim.dim_value) if dim.dim_value else "batch" for dim in dims)


def _name(node: Any, parameters: dict[str, tuple[int, ...]]) -> str:
    weight = next((parameters[name] for name in node.input[1:] if name in parameters), ())
    if node.op_type == "Conv":
        return f"Conv {weight[2]}×{weight[3]}, {weight[1]} → {weight[0]}"
    if node.op_type == "Gemm" and len(weight) == 2:
        return f"Gemm {weight[1]} → {weight[0]}"
    if node.op_type in ("MaxPool", "AveragePool"):
        kernel = next(a.ints for a in node.attribute if a.name == "kernel_shape")
        return f"{node.op_type} {kernel[0]}×{kernel[1]}"
    return str(node.op_type)


def _layers(boxes: list[Box]) -> list[list[Box]]:
    """Return the boxes in layers, each below all that it takes; long arrows get lanes."""
    for box in boxes:
        box.layer = max((source.layer + 1 for source in box.sources), default=0)
    layers: list[list[Box]] = [[] for _ in range(max(box.layer for box in boxes) + 1)]
    for box in boxes:
        layers[box.layer].append(box)
    for box in boxes:
        for number, source in enumerate(box.sources):
            for layer in range(source.layer + 1, box.layer):
                lane = next(
                    (b for b in layers[layer] if b.kind == "lane" and b.sources == [source]), None
                )
                if lane is None:
                    lane = Box("", "", "lane", [source], layer)
                    layers[layer].append(lane)
                source = lane
            box.sources[number] = source
    return layers


def _row_width(layer: list[Box]) -> int:
    return sum(box.width for box in layer) + _GAP_X * (len(layer) - 1)


def _place(layer: list[Box], width: float) -> None:
    def wanted(box: Box) -> float:
        return sum(s.x for s in box.sources) / len(box.sources) if box.sources else width / 2

    layer.sort(key=wanted)
    x = (width - _row_width(layer)) / 2
    for box in layer:
        box.x = x + box.width / 2
        x += box.width + _GAP_X


def _top(box: Box) -> float:
    return _GAP_Y + box.layer * (_HEIGHT + _GAP_Y)


def _arrow(source: Box, box: Box) -> str:
    start, end = _top(source) + _HEIGHT, _top(box)
    if source.kind == "lane":
        start -= _HEIGHT
        path = f"M{source.x:.0f} {start:.0f} v{_HEIGHT} "
        start += _HEIGHT
    else:
        path = f"M{source.x:.0f} {start:.0f} "
    middle = (start + end) / 2
    path += f"C{source.x:.0f} {middle:.0f} {box.x:.0f} {middle:.0f} {box.x:.0f} {end:.0f}"
    head = ""
    if box.kind != "lane":
        head = f'<path d="M{box.x - 4:.0f} {end - 6:.0f} l4 6 l4 -6z" fill="#555555"/>'
    return f'<path d="{path}" fill="none" stroke="#555555"/>{head}'


def _draw(box: Box) -> str:
    if box.kind == "lane":
        return ""
    left, top = box.x - _WIDTH / 2, _top(box)
    fill = _FILLS.get(box.kind, "#eeeeee")
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
        f'fill="{fill}" stroke="#888888"/>'
        f'<text x="{box.x:.0f}" y="{top + 17:.0f}" text-anchor="middle" font-weight="bold">'
        f"{html.escape(box.title)}</text>"
        f'<text x="{box.x:.0f}" y="{top + 32:.0f}" text-anchor="middle" font-size="11" '
        f'fill="#444444">{html.escape(box.detail)}</text>'
    )
