"""Triton as nvidia-pytriton's documentation starts it: `Triton.bind` over ONNX Runtime.

python pytriton_server.py --port P --model model.onnx [--threads N] [--http-threads N]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import onnxruntime as ort
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def serve(args: argparse.Namespace) -> None:
    """Bind the session and serve until SIGTERM."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])

    @batch
    def infer(images: np.ndarray) -> list[Any]:
        return session.run(["probabilities"], {"images": images})

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=args.port,
        http_thread_count=args.http_threads,
        allow_grpc=False,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="cnn",
            infer_func=infer,
            inputs=[Tensor(name="images", dtype=np.uint8, shape=(28, 28, 1))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--http-threads", type=int, default=8)
    serve(parser.parse_args())
