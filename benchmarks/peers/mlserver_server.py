"""MLServer with a custom runtime over ONNX Runtime, in the server's own process.

python mlserver_server.py --port P --model model.onnx [--threads N] [--batch N]
"""

from __future__ import annotations

import argparse
import asyncio
import socket

import numpy as np
import onnxruntime as ort
from mlserver import MLModel, MLServer
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Digits(MLModel):
    """The V2 request's pixels in, probabilities out."""

    async def load(self) -> bool:
        """Open the session."""
        parameters = self.settings.parameters
        options = ort.SessionOptions()
        options.intra_op_num_threads = parameters.extra["threads"]
        self.session = ort.InferenceSession(
            parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the graph; adaptive batching has joined the requests by then."""
        given = payload.inputs[0]
        images = np.array(given.data.root, np.uint8).reshape(given.shape)
        found = self.session.run(["probabilities"], {"images": images})[0]
        output = ResponseOutput(
            name="probabilities",
            shape=list(found.shape),
            datatype="FP32",
            data=found.ravel().tolist(),
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def free_port() -> int:
    """Return a port for gRPC, which MLServer cannot leave out."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    args = parser.parse_args()
    settings = Settings(
        host="127.0.0.1",
        http_port=args.port,
        grpc_port=free_port(),
        metrics_endpoint=None,
        parallel_workers=0,
        gzip_enabled=False,
        debug=False,
    )
    model = ModelSettings(
        name="cnn",
        implementation=Digits,
        max_batch_size=args.batch,
        max_batch_time=0.001 if args.batch else 0,
        parameters=ModelParameters(uri=args.model, extra={"threads": args.threads}),
    )
    asyncio.run(MLServer(settings).start([model]))
