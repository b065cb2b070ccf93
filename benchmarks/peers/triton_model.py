"""The model that Triton's Python backend runs: ONNX Runtime over all requests of a batch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Triton looks for this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        model = parameters["model"]["string_value"]
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests that dynamic batching gives as one batch."""
        images = [triton.get_input_tensor_by_name(r, "images").as_numpy() for r in requests]
        found = self.session.run(["probabilities"], {"images": np.concatenate(images)})[0]
        ends = np.cumsum([len(image) for image in images])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("probabilities", part)])
            for part in np.split(found, ends)
        ]
