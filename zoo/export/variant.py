"""Variants of an ONNX file: precision, opset, a fixed batch, with or without the preprocessing.

fp32  the network as it is; held to torch within 1e-4 and the same top-1.
fp16  the network in half precision; inputs, normalizing, outputs and softmax stay as they are.
int8  static quantization (QDQ): 8-bit weights and activations, whose ranges are those of up to
      1,024 training rows. In float32 stay the convolution that reads the image (over one channel
      it is slower in int8) and what a Gemm or MatMul gives, until the next one reads it: logits
      are not clipped. A table's standardized columns have outliers ten deviations out: there
      activations have 16 bits, and the file has opset 21. An x86 processor without VNNI (before
      2019) may round worse: `zoo evaluate` says how it is on yours.
"""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from zoo.errors import UsageError, unknown

Precision = Literal["fp32", "fp16", "int8"]
Preprocess = Literal["graph", "none"]
#: The default is what ONNX Runtime 1.18 and later load; torch's converter reaches these.
OPSET, OPSETS = 20, range(15, 27)


class Variant(Struct, frozen=True):
    """Which ONNX file of a network; the default is the one in its bundle.

    Attributes:
        precision: of the network's weights and arithmetic.
        opset: None takes 20, or what the precision needs.
        batch: rows that the file takes, always; None: any number.
        preprocess: "graph": raw input, as on the card; "none": the file's input is named `input`
            and takes float32 [batch, channels, height, width] or columns, normalized already.
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
