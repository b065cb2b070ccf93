"""Export to ONNX: the graph, its proof beside torch, its variants and test vectors."""
