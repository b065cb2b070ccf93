"""The version: of the package, of the cards and of the ONNX files it writes."""

__version__ = "0.2.0"
