"""Variants of an ONNX file: precision, opset, a fixed batch, with or without the preprocessing.

fp32  the network unchanged; within 1e-4 of torch, with the same top-1.
fp16  the network in half precision; inputs, normalization, outputs and softmax are unchanged.
int8  static quantization (QDQ): 8-bit weights and activations, whose ranges are calibrated on up
      to 1,024 training rows. The convolution that reads the image stays in float32 (over one
      channel int8 is slower), as do the outputs of Gemm and MatMul, so that logits are not
      clipped. A table's standardized columns have outliers of ten standard deviations: its
      activations have 16 bits, for which the file needs opset 21. An x86 processor without VNNI
      (before 2019) may lose more accuracy: `zoo evaluate` measures it on yours.
"""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from zoo.errors import UsageError, unknown

Precision = Literal["fp32", "fp16", "int8"]
Preprocess = Literal["graph", "none"]
#: ONNX Runtime 1.18 and later load the default; torch's exporter supports the range.
OPSET, OPSETS = 20, range(15, 27)


class Variant(Struct, frozen=True):
    """A variant of a network's ONNX file; the default is the one in its bundle.

    Attributes:
        precision: of the network's weights and arithmetic.
        opset: None: 20, or the one that the precision needs.
        batch: the fixed number of rows that the file takes; None: any number.
        preprocess: "graph": raw input, as on the card; "none": the file's input is named `input`
            and takes normalized float32 [batch, channels, height, width] or [batch, columns].
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
