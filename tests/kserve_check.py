"""What KServe's unmodified clients get from a server; run with a Python that has kserve.

python tests/kserve_check.py HTTP_ADDRESS GRPC_ADDRESS
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def request(rows: np.ndarray) -> InferRequest:
    tensor = InferInput("features", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=False)
    return InferRequest("linear", [tensor])


async def main(http: str, grpc: str) -> None:
    rows = np.arange(20, dtype=np.float32).reshape(2, 10)
    answers = []
    for protocol in ("v1", "v2"):
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        assert await client.is_server_live(http)
        assert await client.is_model_ready(http, "linear")
        if protocol == "v1":
            found = await client.infer(http, {"instances": rows.tolist()}, model_name="linear")
            answers.append(np.array(found["predictions"]))
        else:
            assert await client.is_server_ready(http)
            assert not await client.is_model_ready(http, "nope")
            found = await client.infer(http, request(rows), model_name="linear")
            answers.append(found.outputs[0].as_numpy())
        await client.close()
    client = InferenceGRPCClient(grpc)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("linear")
    found = await client.infer(request(rows))
    answers.append(found.outputs[0].as_numpy())
    await client.close()
    for answer in answers:
        assert answer.shape == (2, 1)
        np.testing.assert_allclose(answer, answers[0], rtol=1e-6)
    print("all right")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
