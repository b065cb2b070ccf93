"""What the unmodified tritonclient gets from a server; run in a process of its own.

python tests/triton_check.py HOST:PORT
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from zoo.datasets import mnist


def main(address: str) -> None:
    client = triton.InferenceServerClient(address, concurrency=4)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cnn")
    assert client.is_model_ready("cnn", "1")
    assert not client.is_model_ready("nope")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("cnn")
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}]

    test = mnist.load_test()
    images = test.inputs[:300]
    reference = None
    for binary_in in (True, False):
        for binary_out in (True, False):
            for packing in (None, "gzip", "deflate"):
                tensor = triton.InferInput("images", list(images.shape), "UINT8")
                tensor.set_data_from_numpy(images, binary_data=binary_in)
                wanted = [
                    triton.InferRequestedOutput(name, binary_data=binary_out)
                    for name in ("probabilities", "logits")
                ]
                result = client.infer(
                    "cnn",
                    [tensor],
                    outputs=wanted,
                    request_id="x7",
                    model_version="1" if binary_in else "",
                    request_compression_algorithm=packing,
                    response_compression_algorithm=packing,
                )
                assert result.get_response()["id"] == "x7"
                found = result.as_numpy("probabilities")
                assert found.shape == (300, 10)
                assert result.as_numpy("logits").shape == (300, 10)
                reference = found if reference is None else reference
                np.testing.assert_array_equal(found, reference)
    assert np.mean(reference.argmax(axis=1) == test.targets[:300]) > 0.98

    two = triton.InferInput("images", [2, 28, 28, 1], "UINT8")
    two.set_data_from_numpy(images[:2])
    everything = client.infer("cnn", [two])  # no outputs named: all of them
    assert everything.as_numpy("logits").shape == (2, 10)

    waiting = []
    for start in range(0, 64, 4):
        tensor = triton.InferInput("images", [4, 28, 28, 1], "UINT8")
        tensor.set_data_from_numpy(images[start : start + 4])
        waiting.append(client.async_infer("cnn", [tensor]))
    for start, request in zip(range(0, 64, 4), waiting, strict=True):
        found = request.get_result().as_numpy("probabilities")
        np.testing.assert_allclose(found, reference[start : start + 4], atol=1e-5)

    features = np.ones((3, 10), np.float32)
    tensor = triton.InferInput("features", [3, 10], "FP32")
    tensor.set_data_from_numpy(features)
    assert client.infer("linear", [tensor]).as_numpy("prediction").shape == (3, 1)

    def refused(model: str, name: str, array: np.ndarray, kind: str, reason: str) -> None:
        tensor = triton.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array)
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, [tensor])
        assert reason in str(caught.value)

    refused("nope", "images", images[:1], "UINT8", "unknown model 'nope'")
    refused("cnn", "pictures", images[:1], "UINT8", "expected 'images' alone")
    refused("cnn", "images", images[:1, :14], "UINT8", "expected shape [batch, 28, 28, 1]")
    refused("cnn", "images", images[:1].astype(np.float32), "FP32", "expected datatype UINT8")
    nan = np.full((1, 10), np.nan, np.float32)
    refused("linear", "features", nan, "FP32", "expected finite numbers")
    print("all right")


if __name__ == "__main__":
    main(sys.argv[1])
