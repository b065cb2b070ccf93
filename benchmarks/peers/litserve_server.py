"""LitServe over ONNX Runtime.

python litserve_server.py --port P --model model.onnx [--threads N] [--batch N] [--fast-queue]
"""

import argparse
from typing import Any

import litserve
import numpy as np
import onnxruntime as ort


class Digits(litserve.LitAPI):
    """Decodes, batches, runs and answers."""

    def __init__(self, model: str, threads: int, **options: Any) -> None:
        super().__init__(**options)
        self.model, self.threads = model, threads

    def setup(self, device: str) -> None:
        """Open the session in the worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = ort.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    # LitServe gives FastAPI the annotations of decode_request and encode_response; without them it
    # reads the JSON itself.
    def decode_request(self, request) -> np.ndarray:
        """Turn the 784 numbers into an image."""
        return np.array(request["data"], np.uint8).reshape(28, 28, 1)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Stack the images that wait."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the graph; without batching one image comes alone."""
        images = x if x.ndim == 4 else x[np.newaxis]
        found = self.session.run(["probabilities"], {"images": images})[0]
        return found if x.ndim == 4 else found[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Give each request its row."""
        return list(output)

    def encode_response(self, output: np.ndarray):
        """Answer with the probabilities."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--batch-timeout", type=float, default=0.0)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--fast-queue", action="store_true")
    args = parser.parse_args()
    batching: dict[str, Any] = {"max_batch_size": args.batch, "batch_timeout": args.batch_timeout}
    server = litserve.LitServer(
        Digits(args.model, args.threads, **(batching if args.batch > 1 else {})),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=args.fast_queue,
    )
    server.run(
        host="127.0.0.1",
        port=args.port,
        num_api_servers=args.servers,
        log_level="warning",
        generate_client_file=False,
    )
