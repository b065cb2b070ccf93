"""Export to ONNX: the graph, its parity with torch, its variants and test vectors."""
